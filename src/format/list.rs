//! The list: one line of canonical JSON per entry, in the order of the tar (FORMAT section 7).
//!
//! A list that passes keeps its rules: paths stay below the target, folders stand before what they hold, contents lie
//! apart from each other within the tar. It proves no more: anyone who knows the recipient can seal a bundle.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use crate::base::digest::Digest;
use crate::base::entry::{Entry, Flag, Hole, Kind, Time};
use crate::base::json;
use crate::base::path::{BytePath, escape, unescape};
use crate::base::text::{hex, unhex};
use crate::format::part::BLOCK;
use crate::format::{FormatError, limits, number};

const WHAT: &str = "the list";

/// The keys of a line in their order; keys that do not apply are left out.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ListLine<'a> {
    #[serde(borrow)]
    path: Cow<'a, str>,
    #[serde(rename = "type")]
    kind: Cow<'a, str>,
    mode: Cow<'a, str>,
    mtime: Cow<'a, str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    size: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    at: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sha256: Option<Cow<'a, str>>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    holes: Vec<Hole>,
    #[serde(skip_serializing_if = "Option::is_none")]
    target: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    flag: Option<Cow<'a, str>>,
}

/// The canonical line of an entry, with its LF.
pub fn encode(entry: &Entry) -> String {
    let file = entry.kind == Kind::File;
    let target = match &entry.kind {
        Kind::Symlink(target) => Some(escape(target)),
        Kind::Hardlink(first) => Some(escape(first.as_bytes())),
        _ => None,
    };
    let line = ListLine {
        path: escape(entry.path.as_bytes()),
        kind: entry.kind.word().into(),
        mode: format!("{:04o}", entry.mode).into(),
        mtime: format!("{}.{:09}", entry.mtime.secs, entry.mtime.nanos).into(),
        size: file.then_some(entry.size),
        at: entry.has_content().then_some(entry.at),
        sha256: entry.sha256.map(|sum| hex(&sum.0).into()),
        holes: entry.holes.to_vec(),
        target,
        flag: entry.flag.word().map(Cow::from),
    };
    json::line(&line)
}

/// Parses a line with its LF; `at` is its number, from 1.
///
/// # Errors
/// The line is not exactly what [`encode`] makes of an entry.
pub fn decode(line: &[u8], at: usize) -> Result<Entry, FormatError> {
    let entry = parse(line, at)?;
    if encode(&entry).as_bytes() != line {
        return Err(FormatError::malformed(WHAT, at, "it is not written canonically"));
    }
    Ok(entry)
}

/// Parses a line without the check that it is canonical: for a line that this program has written.
pub(crate) fn parse(line: &[u8], at: usize) -> Result<Entry, FormatError> {
    FormatError::check_limit("the length of a line of the list", line.len() as u64, limits::LIST_LINE as u64)?;
    let text = std::str::from_utf8(line).map_err(|_| malformed(at, "it is not UTF-8"))?;
    let body = text.strip_suffix('\n').ok_or_else(|| malformed(at, "it is cut short"))?;
    json::parse(body).and_then(entry).map_err(|why| malformed(at, why))
}

fn malformed(at: usize, why: impl Into<String>) -> FormatError {
    FormatError::malformed(WHAT, at, why)
}

/// Holds each entry of a list against the entries before it, and against the tar.
pub(crate) struct Sequence {
    tar_len: u64,
    /// Tar offset where the last content ends.
    content_end: u64,
    /// Bytes that the entries take, by the format's count.
    kept: u64,
    /// Indices of the folders that the last entry stands in, outermost first.
    open: Vec<usize>,
}

impl Sequence {
    /// Begins the list of a tar of `tar_len` bytes.
    pub(crate) fn new(tar_len: u64) -> Self {
        Self { tar_len, content_end: 0, kept: 0, open: Vec::new() }
    }

    /// Counts `kept` bytes as taken already, so that a test of the limit needs no list of that size.
    pub(crate) fn after(self, kept: u64) -> Self {
        Self { kept, ..self }
    }

    /// Takes the next entry; `before` are all entries so far.
    ///
    /// # Errors
    /// The entry is out of order, stands in no listed folder, has its content where it may not be, or is too much to
    /// keep.
    pub(crate) fn next(&mut self, before: &[Entry], entry: &Entry) -> Result<(), FormatError> {
        self.check(before, entry).map_err(|why| malformed(before.len() + 1, format!("\"{}\" {why}", entry.path)))?;
        self.kept += kept(entry);
        FormatError::check_limit("what is to be kept of the list, in bytes,", self.kept, limits::LIST_KEPT)?;
        if entry.has_content() {
            self.content_end = entry.at + entry.size;
        }
        if entry.kind == Kind::Dir {
            self.open.push(before.len());
        }
        Ok(())
    }

    fn check(&mut self, before: &[Entry], entry: &Entry) -> Result<(), String> {
        if before.last().is_some_and(|last| last.path >= entry.path) {
            return Err("stands out of order or twice".into());
        }
        while self.open.last().is_some_and(|dir| !entry.path.is_at_or_below(before[*dir].path.as_bytes())) {
            self.open.pop();
        }
        let folder = self.open.last().map(|dir| before[*dir].path.as_bytes());
        if folder != entry.path.parent() {
            return Err("stands in a folder that is not listed".into());
        }
        if let Kind::Hardlink(first) = &entry.kind {
            let found = before.binary_search_by(|e| e.path.cmp(first));
            if !found.is_ok_and(|at| before[at].kind == Kind::File) {
                return Err("is a hard link to no earlier file".into());
            }
        }
        if entry.has_content() {
            let end = entry.at.checked_add(entry.size).ok_or("ends beyond all numbers")?;
            if !entry.at.is_multiple_of(BLOCK) || entry.at < self.content_end || end > self.tar_len {
                return Err(format!("has its content at {}..{end}, which overlaps or leaves the tar", entry.at));
            }
        }
        Ok(())
    }
}

/// Bytes that an entry takes in memory, by the format's count.
pub(crate) fn kept(entry: &Entry) -> u64 {
    limits::ENTRY_KEPT + entry.names_len() as u64 + limits::HOLE_KEPT * entry.holes.len() as u64
}

/// Reads a list line by line and keeps its entries.
pub struct Reader {
    entries: Vec<Entry>,
    sequence: Sequence,
}

impl Reader {
    /// A reader for the list of a tar of `tar_len` bytes.
    pub fn new(tar_len: u64) -> Self {
        Self { entries: Vec::new(), sequence: Sequence::new(tar_len) }
    }

    /// See [`Sequence::after`].
    pub fn after(self, kept: u64) -> Self {
        Self { sequence: self.sequence.after(kept), ..self }
    }

    /// Takes the next line, with its LF.
    ///
    /// # Errors
    /// Those of [`decode`] and [`Sequence::next`].
    pub fn line(&mut self, line: &[u8]) -> Result<(), FormatError> {
        let entry = decode(line, self.entries.len() + 1)?;
        self.sequence.next(&self.entries, &entry)?;
        self.entries.push(entry);
        Ok(())
    }

    /// All entries, in the order of the list.
    pub fn finish(self) -> Vec<Entry> {
        self.entries
    }
}

fn entry(line: ListLine) -> Result<Entry, String> {
    let path = unescape(&line.path).ok_or("its path is not escaped canonically")?;
    let path = BytePath::new(path).map_err(|fault| format!("its path {fault}"))?;
    let target = line.target.map(|text| unescape(&text).ok_or("its target is not escaped canonically")).transpose()?;
    let kind = match (&*line.kind, target) {
        ("dir", None) => Kind::Dir,
        ("file", None) => Kind::File,
        ("symlink", Some(target)) if !target.is_empty() && target.len() <= 4096 && !target.contains(&0) => {
            Kind::Symlink(target.into())
        }
        ("hardlink", Some(first)) => {
            Kind::Hardlink(BytePath::new(first).map_err(|fault| format!("its target {fault}"))?)
        }
        _ => return Err("its type and target do not fit".into()),
    };
    let file = kind == Kind::File;
    let size = line.size.unwrap_or(0);
    if file != line.size.is_some() || line.at.is_some() != (size > 0) || size > i64::MAX as u64 {
        return Err("its size does not fit its type".into());
    }
    let sha256 = line.sha256.map(|text| unhex(&text).map(Digest).ok_or("its sha256 is no hash")).transpose()?;
    let flag = match line.flag.as_deref() {
        None => Flag::Clean,
        Some("changed") if file => Flag::Changed,
        Some("unreadable") if file || kind == Kind::Dir => Flag::Unreadable,
        Some(_) => return Err("its flag is not known".into()),
    };
    if sha256.is_some() != file {
        return Err("only files have a sha256, and all have one".into());
    }
    check_holes(&line.holes, size)?;
    let mode = parse_mode(&line.mode)?;
    let mtime = parse_time(&line.mtime)?;
    let at = line.at.unwrap_or(0);
    let holes = line.holes.into();
    Ok(Entry { path, kind, size, mode, mtime, at, holes, sha256, flag })
}

fn check_holes(holes: &[Hole], size: u64) -> Result<(), String> {
    if holes.len() > limits::HOLES {
        return Err(format!("it has {} holes, over the limit of {}", holes.len(), limits::HOLES));
    }
    let mut from = 0;
    for (start, len) in holes {
        let end = start.checked_add(*len).filter(|end| *len > 0 && *start >= from && *end <= size);
        // Two holes that touch would be one, and a list has only one way to write it.
        from = end.ok_or("its holes overlap or leave it")?.saturating_add(1);
    }
    Ok(())
}

fn parse_mode(text: &str) -> Result<u32, String> {
    u32::from_str_radix(text, 8).ok().filter(|mode| *mode <= 0o777).ok_or_else(|| "its mode is not 0000 to 0777".into())
}

fn parse_time(text: &str) -> Result<Time, String> {
    let parsed = text.split_once('.').and_then(|(secs, nanos)| {
        let nanos = (nanos.len() == 9).then(|| nanos.parse().ok()).flatten()?;
        Some(Time { secs: number(secs)?, nanos })
    });
    parsed.ok_or_else(|| "its mtime is not seconds.nanoseconds".into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(lines: &[&str]) -> Result<Vec<Entry>, FormatError> {
        let mut reader = Reader::new(1 << 40);
        for line in lines {
            reader.line(format!("{line}\n").as_bytes())?;
        }
        Ok(reader.finish())
    }

    const DIR: &str = r#"{"path":"d","type":"dir","mode":"0755","mtime":"1.000000000"}"#;

    fn file(path: &str, at: u64, size: u64) -> String {
        let sum = "00".repeat(32);
        let at = if size > 0 { format!(r#","at":{at}"#) } else { String::new() };
        format!(
            r#"{{"path":"{path}","type":"file","mode":"0644","mtime":"-1.500000000","size":{size}{at},"sha256":"{sum}"}}"#
        )
    }

    #[test]
    fn a_good_list_is_read() {
        let link = r#"{"path":"d/l","type":"symlink","mode":"0777","mtime":"0.000000000","target":"../\\\\xff"}"#;
        let hard = r#"{"path":"d/m","type":"hardlink","mode":"0644","mtime":"0.000000000","target":"d/a"}"#;
        let entries = read(&[DIR, &file("d/a", 512, 9), &file("d/b", 1024, 0), link, hard]).unwrap();
        assert_eq!(entries.len(), 5);
        assert_eq!(entries[1].mtime, Time { secs: -1, nanos: 500_000_000 });
        assert_eq!(entries[3].kind, Kind::Symlink(b"../\\xff"[..].into()));
    }

    #[test]
    fn what_leaves_the_target_is_refused() {
        for path in ["/etc/passwd", "../up", "d/../../up", "", "d//x", "d/", ".", "nul\\\\x00"] {
            assert!(read(&[DIR, &file(path, 512, 1)]).is_err(), "{path}");
        }
        let below_link = [
            r#"{"path":"d","type":"symlink","mode":"0777","mtime":"0.000000000","target":"/etc"}"#.to_string(),
            file("d/passwd", 512, 1),
        ];
        assert!(read(&[&below_link[0], &below_link[1]]).is_err(), "nothing stands below a link");
        assert!(read(&[&file("x/y", 512, 1)]).is_err(), "nor below a folder that is not listed");
        assert!(read(&[&file("x", 512, 1), &file("x/y", 1024, 1)]).is_err(), "nor below a file");
    }

    #[test]
    fn contents_lie_apart_within_the_tar() {
        let ok = read(&[&file("a", 512, 512), &file("b", 1024, 1)]);
        assert!(ok.is_ok());
        for (at, size) in [(513, 1), (512, 1 << 41), (1 << 40, 1), (512, i64::MAX as u64), (u64::MAX - 511, 1024)] {
            assert!(read(&[&file("a", at, size)]).is_err(), "{at} {size}");
        }
        assert!(read(&[&file("a", 1024, 512), &file("b", 1024, 1)]).is_err());
        assert!(read(&[&file("b", 512, 1), &file("a", 1024, 1)]).is_err(), "order");
        assert!(read(&[&file("a", 512, 1), &file("a", 1024, 1)]).is_err(), "twice");
    }

    #[test]
    fn only_the_canonical_line_is_taken() {
        let good = file("a", 512, 5);
        assert!(read(&[&good]).is_ok());
        for (from, to) in [
            (":5", ": 5"),
            (":5", ":5.0"),
            ("0644", "644"),
            ("0644", "4755"),
            ("-1.5", "-01.5"),
            (r#""size""#, r#""extra":1,"size""#),
            (r#""type":"file""#, r#""type":"fifo""#),
            (r#""size":5,"#, ""),
            (r#""at":512,"#, ""),
            (r#""path":"a""#, r#""path":"\u0061""#),
            (r#""path":"a""#, r#""path":"\\x61""#),
            (r#","sha256""#, r#","holes":[],"sha256""#),
        ] {
            let wrong = good.replacen(from, to, 1);
            assert_ne!(wrong, good);
            assert!(read(&[&wrong]).is_err(), "{wrong}");
        }
    }

    #[test]
    fn holes_lie_within_the_file_and_apart() {
        for (holes, good) in [
            ("[[0,4]]", true),
            ("[[0,1],[2,3]]", true),
            ("[[0,6]]", false),
            ("[[0,0]]", false),
            ("[[0,1],[1,1]]", false),
            ("[[2,1],[0,1]]", false),
            ("[[1,18446744073709551615]]", false),
        ] {
            let line = file("a", 512, 5).replace("\"}", &format!("\",\"holes\":{holes}}}"));
            assert_eq!(read(&[&line]).is_ok(), good, "{holes}");
        }
    }

    #[test]
    fn a_hard_link_names_an_earlier_file() {
        let hard = |to: &str| {
            format!(r#"{{"path":"z","type":"hardlink","mode":"0644","mtime":"0.000000000","target":"{to}"}}"#)
        };
        assert!(read(&[&file("a", 512, 1), &hard("a")]).is_ok());
        assert!(read(&[DIR, &hard("d")]).is_err());
        assert!(read(&[&hard("a")]).is_err());
        assert!(read(&[&hard("z")]).is_err());
    }

    #[test]
    fn what_is_kept_is_counted_before_it_is() {
        // The count is no less than what is really taken.
        assert!(size_of::<Entry>() as u64 + 16 <= limits::ENTRY_KEPT && size_of::<Hole>() as u64 <= limits::HOLE_KEPT);
        let link = r#"{"path":"l","type":"symlink","mode":"0777","mtime":"0.000000000","target":"12345"}"#;
        let holes = file("h", 512, 5).replace("\"}", "\",\"holes\":[[0,1],[2,1]]}");
        for (line, takes) in [(DIR, 144 + 1), (link, 144 + 1 + 5), (&*holes, 144 + 1 + 2 * 16)] {
            let read = |kept| Reader::new(1 << 20).after(kept).line(format!("{line}\n").as_bytes());
            assert_eq!(read(limits::LIST_KEPT - takes), Ok(()), "{line}");
            let refused = read(limits::LIST_KEPT - takes + 1);
            assert!(matches!(refused, Err(FormatError::Limit { limit: limits::LIST_KEPT, .. })), "{refused:?}");
        }
    }

    proptest! {
        #[test]
        fn any_name_comes_back(name in proptest::collection::vec(1u8..=255, 1..40), size in 0u64..1000) {
            prop_assume!(BytePath::new(name.clone()).is_ok() && !name.contains(&b'/'));
            let entry = Entry {
                path: BytePath::new(name).unwrap(), kind: Kind::File, size, mode: 0o600,
                mtime: Time { secs: -7, nanos: 1 }, at: if size > 0 { 512 } else { 0 }, holes: Box::default(),
                sha256: Some(Digest::ZERO), flag: Flag::Changed,
            };
            let mut reader = Reader::new(1 << 20);
            reader.line(encode(&entry).as_bytes()).unwrap();
            prop_assert_eq!(reader.finish(), vec![entry]);
        }
    }
}
