//! Judges every file once all parts were tried: whether it is delivered, and if not, why. The digest from the list
//! decides; the parts tell only what is wrong with a file that is not whole.
//!
//! Not guaranteed: that the cause is the only one. A file may lie in a damaged and in a missing part; the damaged one
//! is named.

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
pub(crate) struct FileResults {
    /// For each entry: whether it is to be kept. `false` only for files and hard links that are not delivered.
    pub(crate) kept: Vec<bool>,
    /// Files that are not delivered, because their content is not whole.
    pub(crate) lost: Vec<Lost>,
    /// Flaws from packing.
    pub(crate) notes: Vec<Note>,
    /// Files that were asked for. Each hard link counts.
    pub(crate) files: u64,
    /// Those of them that are delivered.
    pub(crate) delivered: u64,
    /// Bytes of the delivered files. The content of hard links counts once.
    pub(crate) bytes: u64,
    /// Delivered files without a digest to compare them with.
    pub(crate) unproven: u64,
}

const NOT_FOUND: &str = "it was not found in the parts";
const NOT_KEPT: &str = "it came whole out of the parts, and the target gave back other bytes of it than it took (or \
this machine's memory did)";
const NOT_TOLD: &str = "its content is not what the list says, or the target gave back other bytes of it than it took: \
another -o would tell";
const NOT_THE_LISTED: &str = "its content is not what the list says";

/// What became of the content of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum FileFate {
    Whole,
    /// Whole, but the file changed while it was packed.
    Changed,
    /// The packer could not read the file.
    Unreadable,
    /// The packer could not read the file, whose size was 0: it is delivered as an empty one.
    UnreadEmpty,
    Lost(Cause, &'static str),
}

/// Judges every file. `stopped` says that the target took no more before all parts were tried.
pub(crate) fn judge(head: &Head, extraction: &Extraction, bad: &[BadPart], stopped: bool) -> FileResults {
    let hurt = FilesHurt::by(head, extraction, bad);
    let mut results = FileResults { kept: vec![true; extraction.entries.len()], ..FileResults::default() };
    for (at, entry) in extraction.entries.iter().enumerate() {
        let content = match &entry.kind {
            Kind::Dir if entry.flag == Flag::Unreadable => {
                results.note_unread_folder(entry);
                continue;
            }
            Kind::File => at,
            Kind::Hardlink(first) => find(extraction.entries, first.as_bytes()).unwrap_or(at),
            Kind::Dir | Kind::Symlink(_) => continue,
        };
        results.add(at, entry, fate(extraction, content, &hurt, stopped));
        results.unproven += u64::from(results.kept[at] && extraction.entries[content].sha256.is_none());
    }
    results
}

/// Files that lack bytes, by index, grouped by what is wrong with the parts that hold these bytes.
#[derive(Default)]
struct FilesHurt {
    damaged: BTreeSet<usize>,
    unread: BTreeSet<usize>,
    missing: BTreeSet<usize>,
}

impl FilesHurt {
    /// A file may be in several groups, because it may lie in several bad parts.
    fn by(head: &Head, extraction: &Extraction, bad: &[BadPart]) -> Self {
        let entries = extraction.entries;
        let contents = extraction.contents;
        Self {
            damaged: hurt_by(head, entries, contents, &numbers_in(PartState::Damaged, bad)),
            unread: hurt_by(head, entries, contents, &numbers_in(PartState::Unread, bad)),
            missing: hurt_by(head, entries, contents, &numbers_in(PartState::Missing, bad)),
        }
    }
}

/// The numbers of the parts in a state.
fn numbers_in(state: PartState, bad: &[BadPart]) -> BTreeSet<u32> {
    bad.iter().filter(|part| part.state == state).map(|part| part.number).collect()
}

/// The fate of the file with index `content`.
fn fate(extraction: &Extraction, content: usize, hurt: &FilesHurt, stopped: bool) -> FileFate {
    let file = &extraction.entries[content];
    let is_complete = file.size == 0 || extraction.is_whole(content);
    match file.flag {
        Flag::Unreadable if file.size == 0 => FileFate::UnreadEmpty,
        Flag::Unreadable => FileFate::Unreadable,
        Flag::Changed if is_complete => FileFate::Changed,
        Flag::Clean if is_complete => FileFate::Whole,
        Flag::Changed | Flag::Clean => {
            let (cause, why) = why_lost(extraction, content, hurt, stopped);
            FileFate::Lost(cause, why)
        }
    }
}

/// Why a file is not whole. Wrong content comes before bad parts, and the target is blamed only with evidence.
fn why_lost(extraction: &Extraction, content: usize, hurt: &FilesHurt, stopped: bool) -> (Cause, &'static str) {
    if extraction.is_wrong(content) {
        return match extraction.target_fault(content) {
            Some(TargetFault::Proven) => (Cause::Unkept, NOT_KEPT),
            Some(TargetFault::Possible) => (Cause::Damaged, NOT_TOLD),
            None => (Cause::Damaged, NOT_THE_LISTED),
        };
    }
    if hurt.damaged.contains(&content) {
        (Cause::Damaged, "a part that holds it is damaged")
    } else if hurt.unread.contains(&content) {
        (Cause::Unread, "a part that holds it could not be read by you")
    } else if hurt.missing.contains(&content) {
        (Cause::Missing, "a part that holds it is missing")
    } else if stopped {
        (Cause::Target, "the target took no more")
    } else {
        (Cause::Damaged, NOT_FOUND)
    }
}

/// Whether there is no digest to compare a file with, or the file that a hard link names. `false` for folders and
/// symlinks.
pub(crate) fn is_unproven(entries: &[Entry], entry: &Entry) -> bool {
    match &entry.kind {
        Kind::File => entry.sha256.is_none(),
        Kind::Hardlink(first) => find(entries, first.as_bytes()).is_none_or(|at| entries[at].sha256.is_none()),
        Kind::Dir | Kind::Symlink(_) => false,
    }
}

impl FileResults {
    /// Counts a file or hard link.
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

    /// Notes a folder that the packer could not read completely. What is missing of it has no entry, and no loss is
    /// reported for it.
    fn note_unread_folder(&mut self, entry: &Entry) {
        let text = "not all of this folder is in the bundle: it could not be read, or came while the rest was packed";
        self.notes.push(Note::new(NoteKind::Unreadable, entry.path.as_bytes(), text));
    }
}

#[cfg(test)]
mod tests;
