//! File by file: what became of it, now that all parts were tried.

use std::collections::BTreeSet;

use crate::base::entry::{Entry, Flag, Kind};
use crate::base::monitor::{Note, NoteKind};
use crate::flow::unpack::file_writer::{Extraction, TargetFault};
use crate::flow::unpack::report::{BadPart, Cause, Lost, PartState};
use crate::format::head::Head;
use crate::plan::links::find;
use crate::plan::needed_parts::hurt_by;

/// What is delivered and what is not.
#[derive(Debug, Default)]
pub struct FileResults {
    /// For each entry: whether it is to be kept.
    pub kept: Vec<bool>,
    /// Files that are not delivered.
    pub lost: Vec<Lost>,
    /// Flaws from packing.
    pub notes: Vec<Note>,
    /// Files asked for, hard links counted each.
    pub files: u64,
    /// Files that are delivered.
    pub delivered: u64,
    /// Their bytes, hard links counted once.
    pub bytes: u64,
    /// Those of which nothing says what their content should be.
    pub unproven: u64,
}

const NOT_FOUND: &str = "it was not found in the parts";
const NOT_KEPT: &str = "it came whole out of the parts, and the target gave back other bytes of it than it took (or this machine's memory did)";
const NOT_TOLD: &str = "its content is not what the list says, or the target gave back other bytes of it than it took: another -o would tell";

/// What became of one file's content.
enum FileFate {
    Whole,
    Changed,
    Unreadable,
    /// It could not be read, and its size was 0.
    UnreadEmpty,
    Lost(Cause, &'static str),
}

/// Judges every file by what was placed of it; `stopped`: the target took no more before all parts
/// were tried.
pub fn judge(head: &Head, extraction: &Extraction, bad: &[BadPart], stopped: bool) -> FileResults {
    let of = |state| bad.iter().filter(|part| part.state == state).map(|part| part.number).collect();
    let hurt = |state| hurt_by(head, extraction.entries, extraction.contents, &of(state));
    let hurt = FilesHurt {
        damaged: hurt(PartState::Damaged),
        unread: hurt(PartState::Unread),
        missing: hurt(PartState::Missing),
    };
    let mut verdict = FileResults { kept: vec![true; extraction.entries.len()], ..FileResults::default() };
    for (at, entry) in extraction.entries.iter().enumerate() {
        let content = match &entry.kind {
            Kind::Dir if entry.flag == Flag::Unreadable => {
                let text =
                    "not all of this folder is in the bundle: it could not be read, or came while the rest was packed";
                verdict.notes.push(Note::new(NoteKind::Unreadable, entry.path.as_bytes(), text));
                continue;
            }
            Kind::File => at,
            Kind::Hardlink(first) => find(extraction.entries, first.as_bytes()).unwrap_or(at),
            _ => continue,
        };
        let fate = match fate(extraction, content, &hurt) {
            FileFate::Lost(_, NOT_FOUND) if stopped => FileFate::Lost(Cause::Target, "the target took no more"),
            fate => fate,
        };
        verdict.add(at, entry, fate);
        verdict.unproven += u64::from(verdict.kept[at] && extraction.entries[content].sha256.is_none());
    }
    verdict
}

/// Files that lack bytes, by index, and what is wrong with the parts that hold these.
struct FilesHurt {
    damaged: BTreeSet<usize>,
    unread: BTreeSet<usize>,
    missing: BTreeSet<usize>,
}

fn fate(extraction: &Extraction, content: usize, hurt: &FilesHurt) -> FileFate {
    let file = &extraction.entries[content];
    match file.flag {
        Flag::Unreadable if file.size == 0 => FileFate::UnreadEmpty,
        Flag::Unreadable => FileFate::Unreadable,
        flag if file.size == 0 || extraction.is_whole(content) => match flag {
            Flag::Changed => FileFate::Changed,
            _ => FileFate::Whole,
        },
        _ if extraction.is_wrong(content) && extraction.target_fault(content) == Some(TargetFault::Proven) => {
            FileFate::Lost(Cause::Unkept, NOT_KEPT)
        }
        _ if extraction.is_wrong(content) && extraction.target_fault(content).is_some() => {
            FileFate::Lost(Cause::Damaged, NOT_TOLD)
        }
        _ if extraction.is_wrong(content) => FileFate::Lost(Cause::Damaged, "its content is not what the list says"),
        _ if hurt.damaged.contains(&content) => FileFate::Lost(Cause::Damaged, "a part that holds it is damaged"),
        _ if hurt.unread.contains(&content) => {
            FileFate::Lost(Cause::Unread, "a part that holds it could not be read by you")
        }
        _ if hurt.missing.contains(&content) => FileFate::Lost(Cause::Missing, "a part that holds it is missing"),
        _ => FileFate::Lost(Cause::Damaged, NOT_FOUND),
    }
}

/// Whether nothing says what the content of a file, or of what a hard link names, should be.
pub fn is_unproven(entries: &[Entry], entry: &Entry) -> bool {
    match &entry.kind {
        Kind::File => entry.sha256.is_none(),
        Kind::Hardlink(first) => find(entries, first.as_bytes()).is_none_or(|at| entries[at].sha256.is_none()),
        Kind::Dir | Kind::Symlink(_) => false,
    }
}

impl FileResults {
    fn add(&mut self, at: usize, entry: &Entry, fate: FileFate) {
        let path = entry.path.as_bytes();
        self.files += 1;
        self.kept[at] = matches!(fate, FileFate::Whole | FileFate::Changed | FileFate::UnreadEmpty);
        if self.kept[at] {
            self.delivered += 1;
            self.bytes += entry.size;
        }
        match fate {
            FileFate::Whole => {}
            FileFate::Changed => {
                let text = "changed while it was packed, or a program could change it unseen; it may mix two states";
                self.notes.push(Note::new(NoteKind::Changed, path, text));
            }
            FileFate::Unreadable => {
                let text = "could not be read when it was packed; it is not in the bundle";
                self.notes.push(Note::new(NoteKind::Unreadable, path, text));
            }
            FileFate::UnreadEmpty => {
                let text = "could not be read when it was packed; its size was 0, and it is delivered as empty";
                self.notes.push(Note::new(NoteKind::Unreadable, path, text));
            }
            FileFate::Lost(cause, why) => self.lost.push(Lost { path: path.to_vec(), cause, why: why.into() }),
        }
    }
}
