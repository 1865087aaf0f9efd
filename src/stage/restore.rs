//! The only module that writes packed files to a target. It never reaches anything below the target by a whole path:
//! every step opens one name in an open folder and follows no link. So no list can lead a write out of the target,
//! and no path is too long.
//!
//! Every file goes into one staging folder inside the target. Links are made last, so no step can follow one while
//! files are placed. Whole files are then renamed into the target, which needs no second copy. An existing file is
//! replaced only with `overwrite`. Files that are not whole stay in the staging folder for a later run, with a log of
//! the parts that were placed.
//!
//! Not guaranteed: that the bytes are the packed ones; the caller compares each file with its SHA-256.

mod finish;
mod metadata;
mod placed_log;
mod placer;
mod resume;
mod tree;

use std::collections::BTreeSet;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use crate::base::digest::Digest;
use crate::base::entry::{Entry, Kind};
use crate::base::fault::{At, IoFault};
use crate::base::open_path::{OpenPath, remove_all};
use crate::base::os;
use crate::base::os::folder::Folder;
pub use finish::Finished;
use metadata::Tally;
pub use metadata::{MetadataDifferences, MetadataResult};
use placed_log::{LogState, PlacedLog};
pub use placer::Placer;
use placer::Places;

/// Name of the staging folder. It is always the same, so that a later run finds what an interrupted run left.
const STAGING: &str = crate::format::UNPACKING;
/// Marks the staging folder as ours, and carries the lock of the run that works in it.
const MARK: &str = "lock";
/// The [`PlacedLog`] of placed parts.
const LOG: &str = "placed";
/// The folder in which the packed tree is put together.
const FILES: &str = "files";
/// Holds files that are not whole, named by their index in the list, while the others are delivered.
const ASIDE: &str = "aside";
/// Holds parts of incomplete stripes until a later drive brings the rest.
const PARTS: &str = "parts";
/// The copy that replaces a file with several names; see `restore/resume.rs`.
const OWN: &str = "own";

/// The staging folder of one unpacking, locked against other runs.
pub struct Staging {
    target: Folder,
    target_path: PathBuf,
    /// The folder [`FILES`], under which entries have the paths that they get in the target.
    root: Folder,
    /// The staging folder itself.
    folder: Folder,
    name: String,
    log: PlacedLog,
    /// Whether an earlier run left files or a log to resume from.
    resumed: bool,
    /// Whether hard links become copies.
    copies: bool,
    /// Counts entries whose mode or time the target did not take.
    tally: Tally,
    /// The target, open since before the first write: a sync through it reports every write that the disk lost.
    held: File,
    /// The error of a loss before this run.
    lost_before: Option<io::Error>,
    /// Stays open, because its lock keeps a second run away.
    _lock: File,
}

/// Why a target cannot be unpacked into.
#[derive(Debug, thiserror::Error)]
pub enum TargetError {
    /// The system refused a step.
    #[error(transparent)]
    Io(#[from] IoFault),
    /// A folder has the name of the staging folder, but holds files and no mark of ours.
    #[error("{} is in the way and was not made by pouch", crate::base::path::show(.0))]
    Foreign(PathBuf),
    /// Another run holds the lock.
    #[error("another pouch is unpacking into {} now", crate::base::path::show(.0))]
    Busy(PathBuf),
    /// The staging folder belongs to the unpacking of another bundle or selection.
    #[error("{} is of other work", crate::base::path::show(.0))]
    Other(PathBuf),
}

/// What [`Staging::finish`] does with an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It is whole and will be delivered.
    Keep,
    /// It is not whole; its placed bytes are kept for a later run.
    Aside,
    /// An earlier run delivered it.
    There,
}

/// The first entry whose place in the target is taken. A file or link conflicts with anything of its name, a folder
/// with anything but a folder. With `overwrite` only two conflicts remain, because no rename solves them: a folder in
/// the place of a file or link, and a non-folder in the place of a folder. `is_there` tells, by index, which entries
/// an earlier run delivered: they conflict with nothing. Changes nothing.
pub fn first_conflict<'a>(
    target_path: &Path,
    entries: &'a [Entry],
    overwrite: bool,
    is_there: impl Fn(usize) -> bool,
) -> Result<Option<&'a Entry>, IoFault> {
    let target = Folder::open(target_path).at("open", target_path)?;
    let mut place = OpenPath::new(&target);
    let mut absent: Option<&Entry> = None;
    for (at, entry) in entries.iter().enumerate() {
        if absent.is_some_and(|folder| entry.path.is_at_or_below(folder.path.as_bytes())) {
            continue;
        }
        match place.parent_of(&entry.path).and_then(|folder| folder.look_at(entry.path.name())) {
            Ok(there) if entry.kind == Kind::Dir && there.is_dir() => {}
            Ok(there) if overwrite && entry.kind != Kind::Dir && !there.is_dir() => {}
            Ok(_) if is_there(at) => {}
            Ok(_) => return Ok(Some(entry)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => absent = Some(entry),
            Err(error) => return Err(error).at("look at", &target_path.join(entry.path.as_path())),
        }
    }
    Ok(None)
}

impl Staging {
    /// Files and folders of its own that a run may still make after placing has begun, so that the caller leaves
    /// inodes for them.
    pub const LATER: u64 = 1;

    /// Opens the target, which must exist, and the staging folder in it, whose name no entry has. `work` identifies
    /// the bundle and the selected entries: an earlier run with the same `work` is resumed. A staging folder of ours
    /// without a log is begun anew, because its files belong to no known bundle.
    pub fn begin(target_path: &Path, entries: &[Entry], work: &Digest) -> Result<Self, TargetError> {
        let target = Folder::open(target_path).at("open", target_path)?;
        let held = File::open(target_path).at("open", target_path)?;
        let name = free_name(entries);
        let path = target_path.join(&name);
        let mut left = false;
        loop {
            let new = make_private(&target, &name).at("create", &path)?;
            left |= !new;
            let folder = target.enter(name.as_bytes()).at("open", &path)?;
            if !new && os::if_there(folder.look_at(MARK.as_bytes())).at("look into", &path)?.is_none() {
                let names = folder.names().at("look into", &path)?;
                if !names.is_empty() {
                    return Err(TargetError::Foreign(path));
                }
            }
            let lock = private_file(&folder, MARK).at("lock", &path)?;
            if !os::try_lock(&lock).at("lock", &path)? {
                return Err(TargetError::Busy(target_path.to_owned()));
            }
            let file = || private_file(&folder, LOG).at("open", &path);
            let (log, resumed) = match PlacedLog::read(file()?, work).at("read", &path.join(LOG))? {
                LogState::Other => return Err(TargetError::Other(path)),
                LogState::Same(log) => {
                    make_private(&folder, FILES).at("create", &path)?;
                    (log, true)
                }
                LogState::Nothing if make_private(&folder, FILES).at("create", &path)? => {
                    // An existing folder without a log may be the rest of a run that had delivered everything. The
                    // log then starts as delivering, so that files in the target are compared with the list.
                    (PlacedLog::create(file()?, work, left).at("write", &path.join(LOG))?, left)
                }
                LogState::Nothing => {
                    remove_all(&target, name.as_bytes()).at("remove", &path)?;
                    continue;
                }
            };
            let root = folder.enter(FILES.as_bytes()).at("open", &path)?;
            let target_path = target_path.to_owned();
            let lost_before = os::forget_earlier_loss(&held);
            return Ok(Self {
                target,
                target_path,
                root,
                folder,
                name,
                log,
                resumed,
                copies: false,
                tally: Tally::default(),
                held,
                lost_before,
                _lock: lock,
            });
        }
    }

    /// Numbers of the data parts that this run and earlier runs placed.
    pub fn placed(&self) -> BTreeSet<u32> {
        self.log.placed()
    }

    /// Whether an earlier run left files or a log to resume from.
    pub fn is_resumed(&self) -> bool {
        self.resumed
    }

    /// The error of a write that the target's file system lost before this run, if the system reported it only now.
    pub fn lost_before(&self) -> Option<&io::Error> {
        self.lost_before.as_ref()
    }

    /// Whether an earlier run may have delivered files.
    pub fn has_delivered(&self) -> bool {
        self.log.delivering
    }

    /// Logs that every byte of a part is placed.
    pub fn note_placed(&self, part: u32) -> Result<(), IoFault> {
        self.log.part(part).at("write", &self.path().join(LOG))
    }

    /// The path of the staging folder, for messages and for callers that work by path.
    pub fn path(&self) -> PathBuf {
        self.target_path.join(&self.name)
    }

    /// The folder for parts of incomplete stripes. This module only removes it; the caller creates it when needed.
    pub fn kept_parts(&self) -> PathBuf {
        self.path().join(PARTS)
    }

    /// Creates all folders, for now with the owner's rights only: [`Staging::deliver`] sets the packed modes.
    pub fn make_dirs(&self, entries: &[Entry]) -> Result<(), IoFault> {
        let mut places = Places::new(self);
        for entry in entries.iter().filter(|entry| entry.kind == Kind::Dir) {
            match places.parent(entry)?.make_folder(entry.path.name()) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists && self.resumed => {}
                made => made.at("create", &self.shown(entry))?,
            }
        }
        Ok(())
    }

    /// A writer for one thread. Several placers may write to one file.
    pub fn placer(&self) -> Placer<'_> {
        Placer::new(self)
    }

    /// From now on hard links become copies, for a target that holds no links.
    pub fn copy_links(&mut self) {
        self.copies = true;
    }

    /// Whether hard links become copies.
    pub fn has_copies(&self) -> bool {
        self.copies
    }

    /// Moves everything from the staging folder into the target, then sets the modes and times of folders. Existing
    /// folders are merged. The staging folder is removed, unless `keep` leaves it to a later run. Returns how many
    /// entries have another mode or time, and the path of the staging folder if it could not be removed.
    ///
    /// # Errors
    /// The disk lost a write (everything is synced before it is moved, and again after); the target is gone; or,
    /// without `overwrite`, a file exists in the target. That file and the staging folder stay as they are.
    pub fn deliver(
        self,
        entries: &[Entry],
        overwrite: bool,
        keep: bool,
    ) -> Result<(MetadataDifferences, Option<PathBuf>), IoFault> {
        self.log.deliver().at("write", &self.path().join(LOG))?;
        self.sync()?;
        self.move_out(entries, overwrite)?;
        self.dress_dirs(entries);
        self.sync()?;
        let otherwise = self.tally.sum();
        let left = if keep { None } else { self.discard() };
        Ok((otherwise, left))
    }

    /// Syncs the target, and checks that its path still leads to it: an unplugged drive leaves an empty mount point.
    fn sync(&self) -> Result<(), IoFault> {
        os::sync_file_system(&self.held).at("sync", &self.target_path)?;
        if os::is_still(&self.target_path, &self.held).at("find", &self.target_path)? {
            return Ok(());
        }
        let gone = io::Error::other("something else is there now; was the drive unplugged?");
        Err(gone).at("find", &self.target_path)
    }

    /// The error for a step that failed on an entry.
    fn fault(&self, doing: &'static str, entry: &Entry, source: io::Error) -> IoFault {
        IoFault { doing, path: self.shown(entry), source }
    }

    /// The path that an error names: where the entry belongs in the target, not where it is staged.
    fn shown(&self, entry: &Entry) -> PathBuf {
        self.target_path.join(entry.path.as_path())
    }
}

/// Opens a file, and creates a missing one for its owner alone. An existing file keeps its content and mode.
fn private_file(folder: &Folder, name: &str) -> io::Result<File> {
    folder.open_or_create(name.as_bytes())
}

/// Creates a folder for its owner alone. Returns `false` if the name is taken.
fn make_private(folder: &Folder, name: &str) -> io::Result<bool> {
    match folder.make_folder(name.as_bytes()) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
        Err(error) => Err(error),
    }
}

/// The name of the staging folder, made longer until no top-level entry has it.
fn free_name(entries: &[Entry]) -> String {
    let mut name = STAGING.to_string();
    while entries.iter().any(|entry| entry.path.as_bytes() == name.as_bytes()) {
        name.push('-');
    }
    name
}

#[cfg(test)]
mod tests;
