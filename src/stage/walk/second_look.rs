//! Looks at the sources again when all files are read. A file that changes while it is read is noticed by its stamp.
//! This look notices the rest: folders and links, which are not read, and files that changed after they were read.
//! Entries that drifted in this way are packed whole, as they were. The person who packs gets a note on each, and a
//! folder that holds names which are not packed is flagged in the list.
//!
//! Not guaranteed: that a change is seen if it leaves all times as they were, or comes after this look.

use std::collections::{HashMap, HashSet};
use std::io;
use std::ops::Range;
use std::path::Path;

use super::listing::Listing;
use super::open_tree::OpenTree;
use super::stamp::Stamp;
use crate::base::entry::{Entry, Flag, Kind};
use crate::base::monitor::{Note, NoteKind};
use crate::base::os::folder::{Folder, Status, list};
use crate::base::path::{escape, is_at_or_below};
use crate::base::pool::side_by_side;
use crate::base::size::{count, first_ten};
use crate::plan::links::find;

/// Entries that one thread looks at before it asks for more.
const SOME: usize = 256;
/// The coarsest step of a folder's time, in seconds (FAT). A name that is added in the step in which the folder was
/// listed does not change its time.
const STEP: i64 = 2;

/// Names that this packing itself makes in folders that may lie inside a source, by device and inode of the folder.
pub(crate) type OwnNames = HashMap<(u64, u64), HashSet<Vec<u8>>>;

/// The result of the second look.
#[derive(Debug, Default)]
pub(crate) struct SecondLook {
    /// One note for each entry that drifted. Entries below a folder that is gone have none of their own.
    pub(crate) notes: Vec<Note>,
    /// Indices of folders that hold names which are not packed. The caller flags them.
    pub(crate) incomplete: Vec<usize>,
}

/// How an entry differs from what was walked.
#[derive(Debug)]
enum Drift {
    /// It does not exist any more, or is no folder any more.
    Gone,
    /// The path of a source no longer leads to it. It was read to the end, because it is held open.
    Moved,
    /// It could not be looked at, so a change can be neither seen nor excluded.
    Unknown(io::Error),
    /// A file or link changed, or was replaced.
    Changed,
    /// A folder changed but holds no new names. With `names` its modification time changed, so names did; else only
    /// its mode, owner or own name.
    Touched { names: bool },
    /// A folder holds these names, which are not packed.
    Lacks(Vec<Box<[u8]>>),
    /// A folder changed because this packing writes to it, and holds no other new names.
    OwnWork,
}

/// The entries as they were walked.
pub(super) struct WalkedEntries<'a> {
    pub(super) entries: &'a [Entry],
    pub(super) stamps: &'a [Stamp],
    /// When the walk began, in seconds since 1970.
    pub(super) began: i64,
    /// Names that do not count as new.
    pub(super) own: &'a OwnNames,
}

/// Where an entry is looked for.
pub(super) struct Spot<'a> {
    /// The open source; `None` if the source is a file.
    pub(super) tree: Option<&'a OpenTree>,
    /// The path of the source on this machine.
    pub(super) source: &'a Path,
    /// The path of the entry below the source; `None` for the source itself.
    pub(super) below: Option<&'a [u8]>,
}

impl WalkedEntries<'_> {
    /// Looks at all entries for which `spot` returns a place, on all cores. Returns `None` once `is_cancelled`.
    pub(super) fn look_again<'s>(
        &self,
        spot: impl Fn(usize) -> Option<Spot<'s>> + Sync,
        is_cancelled: impl Fn() -> bool + Sync,
    ) -> Option<SecondLook> {
        let all = self.entries.len();
        let stretches: Vec<Range<usize>> = (0..all).step_by(SOME).map(|at| at..(at + SOME).min(all)).collect();
        let drift = |index: usize| Some((index, self.drift(index, &spot(index)?)?));
        let found = side_by_side(
            &stretches,
            || (),
            |(), stretch| stretch.clone().take_while(|_| !is_cancelled()).filter_map(drift).collect::<Vec<_>>(),
        );
        (!is_cancelled()).then(|| self.sum_up(found.into_iter().flatten()))
    }

    /// Turns drifts, in the order of entries, into notes.
    fn sum_up(&self, found: impl Iterator<Item = (usize, Drift)>) -> SecondLook {
        let mut look = SecondLook::default();
        let mut lost_folder: Option<&[u8]> = None;
        for (index, drift) in found {
            let entry = &self.entries[index];
            let path = entry.path.as_bytes();
            if lost_folder.is_some_and(|folder| is_at_or_below(path, folder)) {
                continue;
            }
            if entry.kind == Kind::Dir && matches!(drift, Drift::Gone | Drift::Unknown(_)) {
                lost_folder = Some(path);
            }
            if matches!(drift, Drift::Lacks(_)) {
                look.incomplete.push(index);
            }
            look.notes.push(Note::new(drift.note_kind(), path, drift.text(&entry.kind)));
        }
        look
    }

    /// How one entry drifted; `None` if it is as it was.
    fn drift(&self, index: usize, spot: &Spot) -> Option<Drift> {
        let is_folder = self.entries[index].kind == Kind::Dir;
        match spot.status() {
            Err(error) if is_gone(&error) => Some(Drift::Gone),
            Err(error) => Some(Drift::Unknown(error)),
            Ok(status) if is_folder && !status.is_dir() => Some(Drift::Gone),
            Ok(status) if is_folder => self.folder_drift(index, spot, &status),
            Ok(status) => (Stamp::new(&status) != self.stamps[index]).then_some(Drift::Changed),
        }
    }

    /// The same for a folder. It is listed again if it changed, or if its time cannot tell whether it did. An unchanged
    /// folder that the list already flags as unreadable needs no second report.
    fn folder_drift(&self, index: usize, spot: &Spot, status: &Status) -> Option<Drift> {
        let entry = &self.entries[index];
        let stamp = &self.stamps[index];
        let is_same = Stamp::new(status) == *stamp;
        let is_told = is_same && entry.flag == Flag::Unreadable;
        // A folder that changed just before it was listed may have changed again within the same step of its time.
        let is_recent = entry.mtime.secs >= self.began - STEP;
        let is_moved = spot.is_moved(stamp);
        if !is_moved && (is_told || (is_same && !is_recent)) {
            return None;
        }
        let ours = self.own.get(&stamp.id());
        match self.not_packed(entry, spot, ours) {
            Err(error) if is_gone(&error) => Some(Drift::Gone),
            Err(error) => Some(Drift::Unknown(error)),
            Ok(names) if !names.is_empty() => Some(Drift::Lacks(names)),
            Ok(_) if is_moved => Some(Drift::Moved),
            Ok(_) if is_same => None,
            Ok(_) if ours.is_some() => Some(Drift::OwnWork),
            Ok(_) => Some(Drift::Touched { names: status.mtime != (entry.mtime.secs, entry.mtime.nanos.into()) }),
        }
    }

    /// Names in a folder that should be packed and are not, except those that are `ours`.
    fn not_packed(&self, entry: &Entry, spot: &Spot, ours: Option<&HashSet<Vec<u8>>>) -> io::Result<Vec<Box<[u8]>>> {
        let tree = spot.tree.ok_or(io::ErrorKind::NotADirectory)?;
        tree.in_folder(spot.below.unwrap_or_default(), |folder| {
            let to_list = folder.to_list()?;
            let Listing { mut names, broke_off, .. } = Listing::hear(|| true, |hear| list(&to_list, hear));
            names.retain(|name| {
                let is_ours = ours.is_some_and(|ours| ours.contains(&name[..]));
                !is_ours && !self.is_packed(entry, name) && !is_special(folder, name)
            });
            broke_off.map_or(Ok(names), Err)
        })
    }

    fn is_packed(&self, folder: &Entry, name: &[u8]) -> bool {
        find(self.entries, &[folder.path.as_bytes(), b"/", name].concat()).is_some()
    }
}

impl Spot<'_> {
    /// How the entry is now. A source that is a folder is looked at by its handle, wherever it was moved.
    fn status(&self) -> io::Result<Status> {
        match (self.tree, self.below) {
            (Some(tree), Some(below)) => {
                let slash = below.iter().rposition(|byte| *byte == b'/');
                let (folder, name) = slash.map_or((&b""[..], below), |at| (&below[..at], &below[at + 1..]));
                tree.in_folder(folder, |folder| folder.look_at(name))
            }
            (Some(tree), None) => tree.in_folder(b"", Folder::status),
            (None, _) => Ok((&self.source.symlink_metadata()?).into()),
        }
    }

    /// Whether the entry is a source whose path no longer leads to it.
    fn is_moved(&self, stamp: &Stamp) -> bool {
        self.below.is_none()
            && self.source.metadata().map_or_else(|error| is_gone(&error), |meta| Stamp::of(&meta).id() != stamp.id())
    }
}

/// Whether an error says that the name does not exist, rather than that it could not be looked at.
fn is_gone(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

/// Whether a name belongs to something that is never packed (a FIFO, socket or device), or was removed meanwhile.
fn is_special(folder: &Folder, name: &[u8]) -> bool {
    folder.look_at(name).map_or_else(|error| is_gone(&error), |status| status.special().is_some())
}

impl Drift {
    fn note_kind(&self) -> NoteKind {
        match self {
            Drift::OwnWork => NoteKind::OwnWork,
            _ => NoteKind::Outdated,
        }
    }

    fn text(&self, kind: &Kind) -> String {
        match (self, kind) {
            (Drift::Gone, Kind::Dir) => {
                "is not there any more: it was removed, renamed or moved away while it was packed".into()
            }
            (Drift::Gone, _) => "is not there any more; it is packed as it was".into(),
            (Drift::Moved, _) => {
                "is not at its place any more (renamed, moved or unmounted); it is packed as it was".into()
            }
            (Drift::Unknown(error), _) => {
                format!("could not be looked at again ({error}); whether it changed meanwhile is not known")
            }
            (Drift::Changed, Kind::Symlink(_)) => "changed while it was packed; the link is packed as it was".into(),
            (Drift::Changed, _) => "changed after it was read; it is packed as it was before".into(),
            (Drift::Touched { names: true }, _) => {
                "changed while it was packed; every name that is in it now is in the bundle".into()
            }
            (Drift::Touched { names: false }, _) => {
                "its mode, owner or name changed while it was packed; it is packed as it was".into()
            }
            (Drift::Lacks(names), _) => format!(
                "changed while it was packed; {} in it {} not in the bundle: {}",
                count(names.len() as u64, "name"),
                if names.len() == 1 { "is" } else { "are" },
                first_ten(names, |name| escape(name).into_owned(), |more| format!("and {more} more"))
            ),
            (Drift::OwnWork, _) => {
                "changed because this packing writes to it; every other name in it is in the bundle".into()
            }
        }
    }
}

#[cfg(test)]
mod tests;
