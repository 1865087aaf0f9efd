//! Whether the target holds everything under its name, tried before the first byte; with `--rename`
//! under which other, and the file beside the result that says so.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

use crate::base::entry::{Entry, Kind};
use crate::base::fault::{At, IoFault};
use crate::base::json::{Value, json};
use crate::base::monitor::{Monitor, Note, NoteKind};
use crate::base::path::{BytePath, as_bytes, escape};
use crate::base::size::{count, grouped};
use crate::flow::FlowError;
use crate::flow::error::OutputError;
use crate::flow::unpack::report::{Cause, Lost, UnpackReport};
use crate::plan::holds::{Becomes, Change, copies_of};
use crate::plan::links::find;
use crate::plan::name_folding::key;
use crate::plan::names::{Fitted, fit};
use crate::stage::target_probe::Probe;

/// What the first line of the record says.
const HEADING: &str = "# Names that this folder could not hold as they were packed. Each line: what was done, the path in\n\
# the bundle, the path here (for a symlink: what it points to), parted by tabs. What a renamed\n\
# folder holds moved with it. Controls and bytes that are no UTF-8 are \\xHH, a backslash is \\\\; in\n\
# a new name %XX is a byte, and %~N tells names apart.\n";

/// Entries as the target holds them, and what was left of trying that.
///
/// # Errors
/// Without `rename`, when any is to be changed: nothing was written.
pub fn fit_to(
    target: &Path,
    entries: Vec<Entry>,
    rename: bool,
    monitor: &dyn Monitor,
) -> Result<(Fitted, Option<PathBuf>), FlowError> {
    let probe = Probe::begin(target)?;
    let fitted = probe.limits(&entries).and_then(|limits| fit(entries, &probe, &limits));
    let left = probe.end();
    let fitted = match fitted {
        Ok(fitted) if fitted.changes.is_empty() || rename => return Ok((fitted, left)),
        fitted => fitted,
    };
    left.iter().for_each(|left| monitor.note(&left_behind(left)));
    Err(FlowError::Output(OutputError::Names { target: target.to_owned(), changes: fitted?.changes }))
}

/// What is said of something of ours that could not be removed.
pub fn left_behind(path: &Path) -> Note {
    let text = "is left of this run, for it could not be removed; nothing in it is needed any more: remove it (rm -r)";
    Note::new(NoteKind::Left, as_bytes(path), text)
}

impl Change {
    /// What is done, in a word, and where to.
    fn told(&self) -> (&'static str, String) {
        match &self.becomes {
            Becomes::Renamed(path) => ("renamed", path.to_string()),
            Becomes::Copy => ("copied", self.path.to_string()),
            Becomes::LeftOut(Some(to)) => ("symlink left out", escape(to).into_owned()),
            Becomes::LeftOut(None) => ("left out", String::new()),
            Becomes::FolderLeftOut => ("folder left out", String::new()),
        }
    }

    /// For `--json`.
    pub fn to_json(&self) -> Value {
        let (what, to) = self.told();
        json!({"path": self.path.to_string(), "what": what, "to": to, "why": self.why})
    }
}

/// Whether all hard links become copies there.
pub fn copies(fitted: &Fitted) -> bool {
    fitted.names == Some(1)
}

/// What takes room beside the files: copies in place of hard links.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Copies {
    /// How many.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// The copies in place of hard links, those that `is_there` left out.
pub fn copies_to_make(fitted: &Fitted, is_there: impl Fn(usize) -> bool) -> Copies {
    let Some(most) = fitted.names else { return Copies::default() };
    let mut links: HashMap<&[u8], u64> = HashMap::new();
    for (at, entry) in fitted.entries.iter().enumerate() {
        if let (Kind::Hardlink(first), false) = (&entry.kind, is_there(at)) {
            *links.entry(first.as_bytes()).or_default() += 1;
        }
    }
    let mut copies = Copies::default();
    for (first, links) in links {
        let files = copies_of(links, most);
        let size = find(&fitted.entries, first).map_or(0, |at| fitted.entries[at].size);
        copies.files += files;
        copies.bytes = copies.bytes.saturating_add(size.saturating_mul(files));
    }
    copies
}

/// Tells what was changed: in the report, under the paths of the bundle, and in a file beside what
/// is delivered.
pub fn tell(fitted: &Fitted, report: &mut UnpackReport) -> Result<(), IoFault> {
    let paths = report.lost.iter_mut().map(|lost| &mut lost.path);
    for path in paths.chain(report.notes.iter_mut().map(|note| &mut note.path)) {
        let old = BytePath::new(path.clone()).ok().and_then(|path| fitted.former.get(&path));
        old.into_iter().for_each(|old| *path = old.as_bytes().to_vec());
    }
    for change in &fitted.changes {
        if matches!(change.becomes, Becomes::LeftOut(_) | Becomes::FolderLeftOut) {
            report.files += u64::from(change.becomes == Becomes::LeftOut(None));
            report.lost.push(Lost {
                path: change.path.as_bytes().to_vec(),
                cause: Cause::Target,
                why: change.why.clone().into(),
            });
        }
    }
    if !fitted.changes.is_empty() {
        report.renamed_in = Some(record(&report.target, fitted)?);
        report.changes = fitted.changes.clone();
    }
    Ok(())
}

/// How many of what is delivered, by its index, had a time that the target does not count to.
pub fn clamped(fitted: &Fitted, is_delivered: impl Fn(usize) -> bool) -> u64 {
    let clamped = |(at, entry): (usize, &Entry)| is_delivered(at) && fitted.clamped.contains(&entry.path);
    fitted.entries.iter().enumerate().filter(|one| clamped(*one)).count() as u64
}

/// Tells which hard links became copies although nobody knew that they must.
pub fn tell_copied(fitted: &Fitted, copied: &[usize], report: &mut UnpackReport) {
    let known: HashSet<&BytePath> = fitted.changes.iter().map(|change| &change.path).collect();
    for at in copied {
        let path = &fitted.entries[*at].path;
        let path = fitted.former.get(path).unwrap_or(path);
        if !known.contains(path) {
            let text =
                "became a copy, for the target holds no more names of this file; later names are names of the copy";
            report.notes.push(Note::new(NoteKind::Property, path.as_bytes(), text));
        }
    }
}

/// Tells which modes and times are others than were packed.
pub fn tell_otherwise(report: &mut UnpackReport) {
    let (there, clamped) = (report.otherwise, report.clamped);
    let mut note = |text: String| report.notes.push(Note::new(NoteKind::Property, as_bytes(&report.target), text));
    if there.modes > 0 {
        note(format!("{} have another mode there; contents are not touched by that", count(there.modes, "item")));
    }
    let far = format!("off by up to {}", count(there.off.div_ceil(1_000_000_000), "second"));
    let which = match (clamped, there.times) {
        (0, 0) => return,
        (0, _) => format!("they are {far}"),
        (_, 0) => "they lie outside of what it counts and got the nearest that it can".into(),
        (clamped, times) => {
            let (clamped, times) = (grouped(clamped), grouped(times));
            format!("{clamped} outside of what it counts, which got the nearest that it can, and {times} {far}")
        }
    };
    note(format!("{} have times that the target cannot keep: {which}", count(there.times + clamped, "item")));
}

/// Writes the file, under the first name that is free; one that an earlier run of the same wrote,
/// or began to write, is taken.
fn record(target: &Path, fitted: &Fitted) -> Result<PathBuf, IoFault> {
    let line = |change: &Change| {
        let (what, to) = change.told();
        format!("{what}\t{}\t{to}\n", change.path)
    };
    let text = HEADING.to_string() + &fitted.changes.iter().map(line).collect::<String>();
    let tops: BTreeSet<Vec<u8>> = fitted.entries.iter().map(|entry| key(entry.path.top())).collect();
    for number in 1.. {
        let name = if number == 1 { "pouch-renamed.txt".into() } else { format!("pouch-renamed-{number}.txt") };
        let path = target.join(&name);
        if tops.contains(&key(name.as_bytes())) {
            continue;
        }
        let mut file = match File::create_new(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
                if !path.symlink_metadata().is_ok_and(|meta| meta.is_file() && meta.len() <= text.len() as u64) {
                    continue;
                }
                let begun = std::fs::read(&path).at("read", &path)?;
                if begun.len() < HEADING.len() || !text.as_bytes().starts_with(&begun) {
                    continue;
                }
                if begun.len() == text.len() {
                    return Ok(path);
                }
                std::fs::remove_file(&path).at("replace", &path)?;
                File::create_new(&path)
            }
            made => made,
        }
        .at("create", &path)?;
        file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).at("write", &path)?;
        return Ok(path);
    }
    unreachable!("there is always a next number")
}
