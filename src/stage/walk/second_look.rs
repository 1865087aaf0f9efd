//! The sources looked at once more when all of them has been read. While a file is read its stamp shows
//! whether it changes; this tells of what is not read: folders and links, and of files that changed after
//! they were read. What is packed of those is whole and as it was; their folder, and the person who packs, are
//! told.
//!
//! Not guaranteed: that it sees what changed without a trace in any time, or what changes after this look.

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
/// The coarsest step of a folder's time, in seconds (FAT). A name that comes within the step in which the
/// folder was listed leaves the time as it was.
const STEP: i64 = 2;

/// Names that this packing itself makes, by the number of the folder that they are in.
pub type OwnNames = HashMap<(u64, u64), HashSet<Vec<u8>>>;

/// What is not what it was.
#[derive(Debug, Default)]
pub struct SecondLook {
    /// About each of it, but not about what is below a folder that is gone.
    pub notes: Vec<Note>,
    /// Folders that hold something which is not packed.
    pub incomplete: Vec<usize>,
}

/// How an entry is not what it was.
#[derive(Debug)]
enum Drift {
    /// It is not there any more, or no folder any more.
    Gone,
    /// A source is not at its place any more. It is read all the same, for it is held open.
    Moved,
    /// Whether it changed cannot be told.
    Unknown(io::Error),
    /// A file or link changed, or another one is in its place.
    Changed,
    /// A folder's time changed, and names in it did, or only what is said of the folder itself.
    Touched { names: bool },
    /// A folder holds names that are not packed.
    Lacks(Vec<Box<[u8]>>),
    /// A folder changed because this packing wrote to it.
    OwnWork,
}

/// The entries as they were.
pub(super) struct Known<'a> {
    pub(super) entries: &'a [Entry],
    pub(super) stamps: &'a [Stamp],
    /// When the first of them was looked at, in seconds since 1970.
    pub(super) began: i64,
    pub(super) own: &'a OwnNames,
}

/// Where an entry is looked for.
pub(super) struct Spot<'a> {
    /// Its source, unless that is a file.
    pub(super) tree: Option<&'a OpenTree>,
    /// Where its source is.
    pub(super) source: &'a Path,
    /// Its path below the source; `None` for the source itself.
    pub(super) below: Option<&'a [u8]>,
}

impl Known<'_> {
    /// Looks at all entries that `spot` tells a place of, until `is_cancelled`: then `None`.
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

    fn folder_drift(&self, index: usize, spot: &Spot, status: &Status) -> Option<Drift> {
        let (entry, stamp) = (&self.entries[index], &self.stamps[index]);
        let is_same = Stamp::new(status) == *stamp;
        let is_told = is_same && entry.flag == Flag::Unreadable;
        // Its time does not tell if it changed shortly before it was listed.
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

    /// Names in a folder that should be packed and are not, nor are they `ours`.
    fn not_packed(&self, entry: &Entry, spot: &Spot, ours: Option<&HashSet<Vec<u8>>>) -> io::Result<Vec<Box<[u8]>>> {
        let tree = spot.tree.ok_or(io::ErrorKind::NotADirectory)?;
        let is_packed = |name: &[u8]| find(self.entries, &[entry.path.as_bytes(), b"/", name].concat()).is_some();
        tree.in_folder(spot.below.unwrap_or_default(), |folder| {
            let to_list = folder.to_list()?;
            let Listing { mut names, broke_off, .. } = Listing::hear(|| true, |hear| list(&to_list, hear));
            names.retain(|name| {
                let is_ours = ours.is_some_and(|ours| ours.contains(&name[..]));
                !is_ours && !is_packed(name) && !is_special(folder, name)
            });
            broke_off.map_or(Ok(names), Err)
        })
    }
}

impl Spot<'_> {
    /// How the entry is now. A source that is a folder is asked itself, wherever it was moved.
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

    /// Whether it is a source, and the path of that does not lead to it any more.
    fn is_moved(&self, stamp: &Stamp) -> bool {
        let is_another = |meta: std::fs::Metadata| Stamp::of(&meta).id() != stamp.id();
        self.below.is_none() && self.source.metadata().map_or_else(|error| is_gone(&error), is_another)
    }
}

/// Whether there is no such name.
fn is_gone(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

/// Whether a name is of something that is never packed, or went while the folder was listed.
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
