//! The sources looked at once more when all of them has been read. While a file is read its stamp shows
//! whether it changes; this tells of what is not read: folders and links, and of files that changed after
//! they were read. What is packed of those is whole and as it was; their folder, and the person who packs, are
//! told.
//!
//! Not guaranteed: that it sees what changed without a trace in any time, or what changes after this look.

use std::collections::{HashMap, HashSet};
use std::io;
use std::ops::Range;
use std::os::unix::fs::MetadataExt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::listing::Listing;
use super::open_tree::OpenTree;
use super::{Stamp, Walk, WalkError};
use crate::base::entry::{Flag, Kind};
use crate::base::monitor::{Monitor, Note, NoteKind};
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

impl Walk {
    /// How long to wait before the first file is read: until every write to one shows in its times.
    pub fn until_times_tell(&self) -> Duration {
        let now = SystemTime::now();
        self.stamps.iter().map(|stamp| stamp.until_it_tells(now)).max().unwrap_or_default()
    }

    /// Looks at every entry again, but for those that `is_named` already.
    ///
    /// # Errors
    /// The run was asked to stop.
    pub fn look_again(
        &self,
        is_named: impl Fn(usize) -> bool + Sync,
        own: &OwnNames,
        monitor: &dyn Monitor,
    ) -> Result<SecondLook, WalkError> {
        self.sources.iter().filter_map(|source| source.tree.as_ref()).for_each(OpenTree::forget_ways);
        let all = self.entries.len();
        let stretches: Vec<Range<usize>> = (0..all).step_by(SOME).map(|at| at..(at + SOME).min(all)).collect();
        let found = side_by_side(
            &stretches,
            || (),
            |(), stretch| {
                let wanted = stretch.clone().filter(|index| !monitor.cancelled() && !is_named(*index));
                wanted.filter_map(|index| Some((index, self.drift(index, own)?))).collect::<Vec<_>>()
            },
        );
        if monitor.cancelled() {
            return Err(WalkError::Cancelled);
        }
        let mut look = SecondLook::default();
        let mut lost_folder: Option<&[u8]> = None;
        for (index, drift) in found.into_iter().flatten() {
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
        Ok(look)
    }

    fn drift(&self, index: usize, own: &OwnNames) -> Option<Drift> {
        let is_folder = self.entries[index].kind == Kind::Dir;
        match self.status_now(index) {
            Err(error) if is_gone(&error) => Some(Drift::Gone),
            Err(error) => Some(Drift::Unknown(error)),
            Ok(status) if is_folder && !status.is_dir() => Some(Drift::Gone),
            Ok(status) if is_folder => self.folder_drift(index, &status, own),
            Ok(status) => (Stamp::new(&status) != self.stamps[index]).then_some(Drift::Changed),
        }
    }

    fn folder_drift(&self, index: usize, status: &Status, own: &OwnNames) -> Option<Drift> {
        let entry = &self.entries[index];
        let is_same = Stamp::new(status) == self.stamps[index];
        let is_told = is_same && entry.flag == Flag::Unreadable;
        let is_moved = self.is_moved(index);
        if !is_moved && (is_told || (is_same && !self.is_recent(index))) {
            return None;
        }
        let ours = own.get(&(status.dev, status.ino));
        match self.not_packed(index, ours) {
            Err(error) if is_gone(&error) => Some(Drift::Gone),
            Err(error) => Some(Drift::Unknown(error)),
            Ok(names) if !names.is_empty() => Some(Drift::Lacks(names)),
            Ok(_) if is_moved => Some(Drift::Moved),
            Ok(_) if is_same => None,
            Ok(_) if ours.is_some() => Some(Drift::OwnWork),
            Ok(_) => Some(Drift::Touched { names: status.mtime != (entry.mtime.secs, entry.mtime.nanos.into()) }),
        }
    }

    /// How an entry is now. A source that is a folder is asked itself, wherever it was moved.
    fn status_now(&self, index: usize) -> io::Result<Status> {
        if let Some((tree, folder, name)) = self.place_of(index) {
            return tree.in_folder(folder, |folder| folder.look_at(name));
        }
        let source = self.source_of(index).0;
        match &source.tree {
            Some(tree) => tree.in_folder(b"", Folder::status),
            None => Ok((&source.path.symlink_metadata()?).into()),
        }
    }

    /// Whether it is a source, and its path does not lead to it any more.
    fn is_moved(&self, index: usize) -> bool {
        let (source, below) = self.source_of(index);
        let is_another = |meta: std::fs::Metadata| (meta.dev(), meta.ino()) != self.stamps[index].id();
        below.is_none() && source.path.metadata().map_or_else(|error| is_gone(&error), is_another)
    }

    /// Whether a folder changed so shortly before it was listed that its time does not tell.
    fn is_recent(&self, index: usize) -> bool {
        let began = self.began.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs() as i64);
        self.entries[index].mtime.secs >= began - STEP
    }

    /// Names in a folder that should be packed and are not, nor are they `ours`.
    fn not_packed(&self, index: usize, ours: Option<&HashSet<Vec<u8>>>) -> io::Result<Vec<Box<[u8]>>> {
        let (source, below) = self.source_of(index);
        let tree = source.tree.as_ref().ok_or(io::ErrorKind::NotADirectory)?;
        let path = self.entries[index].path.as_bytes();
        tree.in_folder(below.unwrap_or_default(), |folder| {
            let to_list = folder.to_list()?;
            let Listing { mut names, broke_off, .. } = Listing::hear(|| true, |hear| list(&to_list, hear));
            let is_packed = |name: &[u8]| find(&self.entries, &[path, b"/", name].concat()).is_some();
            names.retain(|name| {
                let is_ours = ours.is_some_and(|ours| ours.contains(&name[..]));
                !is_ours && !is_packed(name) && !is_special(folder, name)
            });
            broke_off.map_or(Ok(names), Err)
        })
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
            (Drift::Moved, _) => "was renamed or moved away while it was packed; it is packed as it was".into(),
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
