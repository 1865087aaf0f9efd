//! Tests the format with bytes that were made without this program: every file under `tests/vectors/` goes through the
//! public parsers and encoders, and every rule of `docs/FORMAT.md` about bytes has such a file.
//! `tests/vectors/README.md` says how each was made.

use std::collections::{BTreeMap, BTreeSet};

use pouch::internals::base::digest::{Digest, sha256, tagged};
use pouch::internals::base::entry::{Entry, Flag, Kind, Time};
use pouch::internals::base::path::{BytePath, escape, unescape};
use pouch::internals::base::secret::FileKey;
use pouch::internals::base::text::{hex, spoken};
use pouch::internals::format::head::Head;
use pouch::internals::format::part::{CHUNK, Class, HEADER, Lead, PartBuf, TAG, Trail};
use pouch::internals::format::seal::{Mode, Seal, commitment};
use pouch::internals::format::stripe::Scheme;
use pouch::internals::format::{FormatError, age, bag, frame, list, member, sums};
use pouch::internals::stage::compress::{DecodeError, Decompressor};
use pouch::internals::stage::erasure::Code;
use pouch::internals::stage::seal::{Identity, Keyring};
use pouch::internals::stage::stream::PartSealer;

mod file;
mod forged;
mod forged_files;
mod kept;
mod readable;

use file::{Vector, unhex, vectors};

const SPEC: &str = "docs/FORMAT.md";

/// What a parser made of a vector.
type Outcome = Result<(), FormatError>;

fn run(vector: &Vector) -> Outcome {
    match vector.kind.as_str() {
        "age-header" => age_header(vector),
        "bag-name" => bag_name(vector),
        "bag-sums" => bag_sums(vector),
        "escape" => escaped(vector),
        "frame" => stored_frame(vector),
        "hash" => hash(vector),
        "head" => head(vector),
        "lead" => lead(vector),
        "list" => whole_list(vector),
        "member" => tar_member(vector),
        "parity" => parity(vector),
        "part" => part(vector),
        "seal" => seal(vector),
        "sums" => volume_sums(vector),
        "trail" => trail(vector),
        "zstd" => zstd_frames(vector),
        other => panic!("there is no test of the kind {other}"),
    }
}

/// The outcome in the words of a vector's `expect`.
fn class(outcome: &Outcome) -> &'static str {
    match outcome {
        Ok(()) => "ok",
        Err(FormatError::Malformed { .. }) => "malformed",
        Err(FormatError::Unsafe { .. }) => "unsafe",
        Err(FormatError::Limit { .. }) => "limit",
        Err(FormatError::Newer { .. }) => "newer",
    }
}

fn malformed(why: impl ToString) -> FormatError {
    FormatError::Malformed { what: "a vector", line: 0, why: why.to_string() }
}

fn age_header(vector: &Vector) -> Outcome {
    vector.is("length", age::scan(&vector.body)?);
    Ok(())
}

fn bag_name(vector: &Vector) -> Outcome {
    vector.is_body(&bag::encode(&vector.bytes("bytes")));
    Ok(())
}

fn bag_sums(vector: &Vector) -> Outcome {
    let name = vector.bytes("bytes");
    vector.is_body(&sums::line(&Digest(vector.array("sha256")), &name));
    assert_eq!(sums::line_len(&name), vector.body.len() as u64, "{}", vector.name);
    Ok(())
}

fn escaped(vector: &Vector) -> Outcome {
    let text = std::str::from_utf8(&vector.body).map_err(malformed)?;
    let name = unescape(text).ok_or_else(|| malformed("not escaped canonically"))?;
    vector.is("bytes", hex(&name));
    vector.is_body(escape(&name).as_bytes());
    Ok(())
}

/// Bytes that stand for a tar: 0, 1, ... 250, 0, ...
fn pattern(len: usize) -> Vec<u8> {
    (0..=250).cycle().take(len).collect()
}

fn stored(raw: &[u8]) -> Vec<u8> {
    let mut made = Vec::new();
    frame::store(raw, |bytes| made.extend_from_slice(bytes));
    made
}

fn stored_frame(vector: &Vector) -> Outcome {
    let made = stored(&pattern(vector.number("raw")));
    match vector.find("sha256") {
        Some(_) => {
            vector.is("length", made.len());
            vector.is("sha256", hex(&sha256(&made).0));
        }
        None => vector.is_body(&made),
    }
    Ok(())
}

fn hash(vector: &Vector) -> Outcome {
    if let Some(purpose) = vector.find("purpose") {
        vector.is("sha256", hex(&tagged(purpose, &vector.body).0));
    } else if vector.find("key").is_some() {
        let commits = commitment(&vector.array("bundle"), &vector.array("key"));
        vector.is("sha256", hex(&commits.0));
    } else {
        vector.is("spoken", spoken(&vector.bytes("digest"), 26, 5));
    }
    Ok(())
}

fn head(vector: &Vector) -> Outcome {
    let head = Head::parse(&vector.body)?;
    let said = &head.statement;
    let (bundle, class) = (hex(&said.bundle), said.class.mib());
    let found = [
        format!("{bundle} {} {class} {} {}", said.n, head.parts.len(), said.tar),
        format!("fingerprint {}", said.fingerprint()),
    ];
    assert_eq!(found.iter().map(String::as_str).collect::<Vec<_>>(), vector.wants(), "{}", vector.name);
    vector.is_body(head.encode().as_bytes());
    Ok(())
}

fn lead(vector: &Vector) -> Outcome {
    let lead = Lead::parse(&vector.body)?;
    let found = format!("{} {} {}", hex(&lead.bundle), lead.number, lead.offset);
    assert_eq!(vector.wants(), [found], "{}", vector.name);
    assert!(vector.body.starts_with(&lead.encode()), "{}", vector.name);
    Ok(())
}

fn trail(vector: &Vector) -> Outcome {
    let trail = Trail::parse(&vector.body)?;
    let first = trail.first_member.map_or("-".into(), |at| at.to_string());
    let found = format!("{} {first} {}", trail.length, if trail.last { "yes" } else { "no" });
    assert_eq!(vector.wants(), [found], "{}", vector.name);
    let start = trail.encode(vector.body.len() - pouch::internals::format::part::TRAIL);
    assert!(vector.body.starts_with(&start), "{}", vector.name);
    Ok(())
}

/// The body with its one hole replaced by the number in `holes`, which would be too many to keep in a file.
fn with_holes(vector: &Vector) -> Vec<u8> {
    let Some(holes) = vector.find("holes") else { return vector.body.clone() };
    let many: Vec<String> = (0..holes.parse::<u64>().unwrap()).map(|n| format!("[{},1]", 2 * n)).collect();
    String::from_utf8(vector.body.clone()).unwrap().replace("[[0,1]]", &format!("[{}]", many.join(","))).into_bytes()
}

fn whole_list(vector: &Vector) -> Outcome {
    let text = with_holes(vector);
    let kept = vector.find("kept").map_or(0, |_| vector.number("kept"));
    let mut reader = list::Reader::new(vector.number("tar")).after(kept);
    for line in text.split_inclusive(|byte| *byte == b'\n') {
        reader.line(line)?;
    }
    let entries = reader.finish();
    if vector.find("holes").is_none() {
        assert_eq!(entries.iter().map(described).collect::<Vec<_>>(), vector.wants(), "{}", vector.name);
    }
    assert!(entries.iter().map(list::encode).collect::<String>().into_bytes() == text, "{}", vector.name);
    Ok(())
}

fn described(entry: &Entry) -> String {
    let holes: Vec<String> = entry.holes.iter().map(|(at, len)| format!("{at}+{len}")).collect();
    let holes = if holes.is_empty() { "-".into() } else { holes.join(",") };
    let target = match &entry.kind {
        Kind::Symlink(target) => hex(target),
        Kind::Hardlink(first) => hex(first.as_bytes()),
        Kind::Dir | Kind::File => "-".into(),
    };
    let flag = match entry.flag {
        Flag::Clean => "clean",
        Flag::Changed => "changed",
        Flag::Unreadable => "unreadable",
    };
    let (kind, path, Time { secs, nanos }) = (entry.kind.word(), hex(entry.path.as_bytes()), entry.mtime);
    let (size, mode, at) = (entry.size, entry.mode, entry.at);
    format!("{kind} {path} {size} {mode:04o} {secs} {nanos} {at} {holes} {target} {flag}")
}

fn tar_member(vector: &Vector) -> Outcome {
    let path = vector.bytes("path");
    let target = vector.find("target").filter(|text| *text != "-").map(unhex).unwrap_or_default();
    let kind = match vector.get("entry") {
        "tag" => {
            vector.is_body(&member::of_tag_file(&String::from_utf8(path).unwrap(), vector.number("size")));
            return Ok(());
        }
        "dir" => Kind::Dir,
        "file" => Kind::File,
        "symlink" => Kind::Symlink(target.into()),
        "hardlink" => Kind::Hardlink(BytePath::new(target).unwrap()),
        other => panic!("{}: {other}", vector.name),
    };
    let entry = Entry {
        path: BytePath::new(path).unwrap(),
        kind,
        size: vector.number("size"),
        mode: u32::from_str_radix(vector.get("mode"), 8).unwrap(),
        mtime: Time { secs: vector.number("mtime"), nanos: 999_999_999 },
        at: 0,
        holes: Box::default(),
        sha256: None,
        flag: Flag::Clean,
    };
    vector.is_body(&member::of_entry(&entry));
    assert_eq!(member::len_of_entry(&entry), vector.body.len() as u64, "{}", vector.name);
    Ok(())
}

/// Compares the rows of the code, or the chunks of a parity part, each of which repeats one byte.
fn parity(vector: &Vector) -> Outcome {
    let (k, m) = (vector.number("k"), vector.number("m"));
    let scheme = Scheme::new(k as u16, m as u16, 1).ok_or_else(|| malformed("k and m make no stripes"))?;
    let code = Code::new(k, m);
    let factor = |position: usize, parity: usize| {
        let mut sum = [0];
        code.add(position, &[1], parity, &mut sum);
        sum[0]
    };
    let Some(plain) = vector.find("plain") else {
        let rows: Vec<String> =
            (k..k + m).map(|at| hex(&(0..k).map(|column| factor(column, at)).collect::<Vec<_>>())).collect();
        assert_eq!(vector.wants(), rows, "{}", vector.name);
        return Ok(());
    };
    let (chunks, data, position) = (vector.number("chunks"), vector.number("data"), vector.number("position"));
    let made: Vec<u8> = (0..chunks)
        .map(|chunk| {
            let row = scheme.row_of(chunk, position as u16, chunks);
            let mut sum = [0];
            for shard in 0..data {
                let byte = (17 * shard + 31 * scheme.chunk_of(row, shard as u16, chunks) + 1) as u8;
                code.add(shard, &[byte], position, &mut sum);
            }
            sum[0]
        })
        .collect();
    assert_eq!(plain, hex(&made), "{}", vector.name);
    Ok(())
}

fn part(vector: &Vector) -> Outcome {
    let header: [u8; HEADER] = vector.array("header");
    let mut ring = Keyring::new();
    ring.add(Identity::parse(vector.get("identity")).expect("a valid identity"));
    let (key, _) = ring.open_header(&header).expect("the header opens to its identity");
    vector.is("file-key", hex(key.expose()));
    let tar = pattern(vector.number("tar-length"));
    let lead =
        Lead { bundle: vector.array("bundle"), number: vector.number("number"), offset: vector.number("offset") };
    let class = Class::from_mib(1).unwrap();
    let mut buf = PartBuf::new(class);
    let file_key = FileKey::new(*key.expose());
    let mut sealer = PartSealer::new(&file_key, &header, &mut buf, |_, _| ());
    sealer.append(&lead.encode());
    sealer.append(&stored(&tar));
    let trail = Trail { length: tar.len() as u64, first_member: None, last: false };
    sealer.append(&trail.encode(class.room() - stored(&tar).len()));
    sealer.finish();
    let file = buf.file();
    assert_eq!(file.len(), HEADER + 15 * (CHUNK + TAG));
    vector.is("chunk-0", hex(&file[HEADER..HEADER + 64]));
    vector.is("last-tag", hex(&file[file.len() - TAG..]));
    vector.is("sha256", hex(&sha256(file).0));
    Ok(())
}

fn seal(vector: &Vector) -> Outcome {
    let seal = Seal::parse(&vector.body)?;
    let mode = match seal.mode {
        Mode::Normal => "normal".into(),
        Mode::Threshold { need, of } => format!("threshold-{need}-{of}"),
    };
    let cards = seal.cards.map_or("-".into(), |cards| hex(&cards.0));
    let key = Identity::parse(&seal.identity).expect("a valid identity").secret();
    let (bundle, kcommit) = (hex(&seal.bundle), hex(&seal.kcommit.0));
    assert_eq!(vector.wants(), [format!("{bundle} {mode} {kcommit} {cards} {}", hex(key.expose()))], "{}", vector.name);
    vector.is_body(seal.encode().as_bytes());
    Ok(())
}

fn volume_sums(vector: &Vector) -> Outcome {
    let lines = sums::parse(&vector.body)?;
    let found: Vec<String> = lines.iter().map(|file| format!("{} {}", hex(&file.sha256.0), file.name)).collect();
    assert_eq!(found, vector.wants(), "{}", vector.name);
    let made: Vec<u8> = lines.iter().flat_map(|file| sums::line(&file.sha256, file.name.as_bytes())).collect();
    match vector.find("ends") {
        None => vector.is_body(&made),
        Some(ends) => {
            let text = String::from_utf8(vector.body.clone()).map_err(malformed)?;
            assert!(ends == "crlf" && text.replace("\r\n", "\n").into_bytes() == made, "{}", vector.name);
        }
    }
    Ok(())
}

fn zstd_frames(vector: &Vector) -> Outcome {
    let mut plain = Vec::new();
    let take = |bytes: &[u8]| -> Result<(), ()> {
        plain.extend_from_slice(bytes);
        Ok(())
    };
    // In small pieces, so that the decoder meets the end of its input in every state.
    let decoded = Decompressor::new().unwrap().decode(vector.body.chunks(7), take);
    decoded.map_err(|error| match error {
        DecodeError::Zstd(error) => malformed(error),
        DecodeError::Truncated => malformed("cut short"),
        DecodeError::Sink(()) => unreachable!("the sink never fails"),
    })?;
    vector.is("length", plain.len());
    vector.is("sha256", hex(&sha256(&plain).0));
    Ok(())
}

#[test]
fn every_vector_is_met() {
    let all = vectors();
    let mut kinds: BTreeMap<&str, usize> = BTreeMap::new();
    let mut failed = Vec::new();
    for vector in &all {
        *kinds.entry(&vector.kind).or_default() += 1;
        // A vector that panics counts as one failure, and the others still run.
        let Ok(outcome) = std::panic::catch_unwind(|| run(vector)) else {
            failed.push(format!("{}: see above", vector.name));
            continue;
        };
        if class(&outcome) != vector.get("expect") {
            failed.push(format!("{}: {} was expected, found {outcome:?}", vector.name, vector.get("expect")));
        }
    }
    assert!(failed.is_empty(), "{} of {}:\n{}", failed.len(), all.len(), failed.join("\n"));
    assert!(all.len() > 300 && kinds.len() == 16, "the vectors were found: {kinds:?}");
}

/// Ids such as `[R-LIST-3]` in the specification.
fn ids(text: &str, letters: &[&str]) -> BTreeSet<String> {
    let inside = text.split('[').skip(1).filter_map(|rest| rest.split_once(']').map(|(id, _)| id));
    inside.filter(|id| letters.iter().any(|letter| id.starts_with(letter))).map(String::from).collect()
}

#[test]
fn rules_and_vectors_name_each_other() {
    let spec = std::fs::read_to_string(SPEC).unwrap();
    let written = ids(&spec, &["R-", "W-"]);
    let all = vectors();
    let tested: BTreeSet<String> = all.iter().flat_map(Vector::rules).map(String::from).collect();
    assert_eq!(written.difference(&tested).collect::<Vec<_>>(), Vec::<&String>::new(), "rules without a vector");
    assert_eq!(tested.difference(&written).collect::<Vec<_>>(), Vec::<&String>::new(), "vectors of no rule");
    // A rule to reject needs a vector that is rejected, not only one that is just accepted.
    let rejected = all.iter().filter(|vector| vector.get("expect") != "ok");
    let rejected: BTreeSet<&str> = rejected.flat_map(Vector::rules).collect();
    let idle: Vec<&String> =
        written.iter().filter(|id| id.starts_with("R-") && !rejected.contains(id.as_str())).collect();
    assert!(idle.is_empty(), "rules that no vector breaks: {idle:?}");
}

#[test]
fn every_rule_has_one_id() {
    let spec = std::fs::read_to_string(SPEC).unwrap();
    let mut seen = BTreeSet::new();
    for line in spec.lines().filter(|line| line.contains("MUST")) {
        let found = ids(line, &["R-", "W-", "B-"]);
        assert_eq!(found.len(), 1, "one rule per line, with its id: {line}");
        let id = found.first().unwrap().clone();
        if id.starts_with("R-") {
            assert!(line.contains("A reader MUST reject "), "{line}");
        }
        if id.starts_with("B-") {
            assert!(line.contains("(Held by "), "a rule of behaviour says which test holds it: {line}");
        }
        assert!(seen.insert(id), "an id occurs twice: {line}");
    }
    assert!(seen.len() > 100);
}
