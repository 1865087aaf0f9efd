//! The only file that writes what users packed. Nothing below the target is reached by its path: every step opens
//! one name in an open folder and follows no link, so nothing that a list says leads out of the target, and no path
//! is too long.
//!
//! All goes into one staging folder inside the target, with links last, so that nothing there
//! can be followed while files are placed. What is whole is then renamed out of it; there is no
//! second copy. An existing file is replaced only when told. What is not whole stays there for a
//! later run, with a log of what was placed.

mod dress;
mod finish;
mod placed;
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
use dress::Tally;
pub use dress::{Dressed, Otherwise};
pub use finish::Finished;
use placed::{Found, Log};
pub use placer::Placer;
use placer::Places;

/// The staging folder: always the same name, so that a later run finds what an interrupted one
/// left.
const STAGING: &str = crate::format::UNPACKING;
/// In it: the mark that it is ours, which also holds the lock; the log of what was placed; the
/// folder of files; files that are not whole yet, by their numbers, while others are delivered;
/// parts that are kept until their stripes are complete; a file that takes the place of another.
const MARK: &str = "lock";
const LOG: &str = "placed";
const FILES: &str = "files";
const ASIDE: &str = "aside";
const PARTS: &str = "parts";
const OWN: &str = "own";

/// Where files are put together.
pub struct Staging {
    target: Folder,
    target_path: PathBuf,
    /// The folder of files.
    root: Folder,
    /// The staging folder itself.
    folder: Folder,
    name: String,
    log: Log,
    /// Whether an earlier run left something to go on from.
    resumed: bool,
    /// Hard links become copies.
    copies: bool,
    /// What has another mode or time than it should.
    tally: Tally,
    /// The target, open since before anything was written: it hears of every error of the disk.
    held: File,
    /// What the disk lost before.
    lost_before: Option<io::Error>,
    /// Held open: its lock keeps a second run away.
    _lock: File,
}

/// Why nothing can be unpacked there.
#[derive(Debug, thiserror::Error)]
pub enum TargetError {
    /// The system said no.
    #[error(transparent)]
    Io(#[from] IoFault),
    /// A folder of that name that is not ours.
    #[error("{} is in the way and was not made by pouch", crate::base::path::show(.0))]
    Foreign(PathBuf),
    /// Another run works there now.
    #[error("another pouch is unpacking into {} now", crate::base::path::show(.0))]
    Busy(PathBuf),
    /// What an unpacking of something else left.
    #[error("{} is of other work", crate::base::path::show(.0))]
    Other(PathBuf),
}

/// What is to become of an entry at the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It is delivered.
    Keep,
    /// It is not whole; what there is of it is kept for a later run.
    Aside,
    /// An earlier run delivered it.
    There,
}

/// The first entry that would have to replace something in the target, if there is one: a file
/// or link where something stands, a folder where something else does. With `overwrite` only what
/// no file can replace: a folder, or something else where a folder must stand. What `is_there`
/// already, by that index, is in nobody's way. Nothing is changed.
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
    /// How many files and folders of its own it may still make once placing has begun.
    pub const LATER: u64 = 1;

    /// Opens the target, which exists, and the staging folder in it, of a name that no entry has.
    /// `work` names what is unpacked: what a run of the same left there is taken up, what left no
    /// trace of what it was is removed.
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
            let (log, resumed) = match Log::read(file()?, work).at("read", &path.join(LOG))? {
                Found::Other => return Err(TargetError::Other(path)),
                Found::Same(log) => {
                    make_private(&folder, FILES).at("create", &path)?;
                    (log, true)
                }
                Found::Nothing if make_private(&folder, FILES).at("create", &path)? => {
                    // A folder without a word may be what is left of a run that was through: what is in
                    // the target may be its work.
                    (Log::create(file()?, work, left).at("write", &path.join(LOG))?, left)
                }
                Found::Nothing => {
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

    /// Parts that this run and earlier ones placed.
    pub fn placed(&self) -> BTreeSet<u32> {
        self.log.placed()
    }

    /// Whether an earlier run left something to go on from.
    pub fn is_resumed(&self) -> bool {
        self.resumed
    }

    /// What the target's file system lost before this run, if it told that only now.
    pub fn lost_before(&self) -> Option<&io::Error> {
        self.lost_before.as_ref()
    }

    /// Whether it may have delivered files.
    pub fn has_delivered(&self) -> bool {
        self.log.delivering
    }

    /// Remembers that all of a part is in its place.
    pub fn note_placed(&self, part: u32) -> Result<(), IoFault> {
        self.log.part(part).at("write", &self.path().join(LOG))
    }

    /// The staging folder.
    pub fn path(&self) -> PathBuf {
        self.target_path.join(&self.name)
    }

    /// The folder for parts that are kept; it need not be there.
    pub fn kept_parts(&self) -> PathBuf {
        self.path().join(PARTS)
    }

    /// Makes all folders, for now with the owner's rights only.
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

    /// A writer for one thread.
    pub fn placer(&self) -> Placer<'_> {
        Placer::new(self)
    }

    /// Hard links become copies from now on.
    pub fn copy_links(&mut self) {
        self.copies = true;
    }

    /// Whether they do.
    pub fn has_copies(&self) -> bool {
        self.copies
    }

    /// Moves everything out of the staging folder into the target, then gives folders their
    /// modes and times. Folders that exist are merged. The staging folder is removed, unless
    /// `keep`: there is something in it to go on from. Returns what has another mode or time, and the
    /// staging folder if it could not be removed.
    ///
    /// # Errors
    /// What the disk did not take (all is synced before it is moved, and again after); a target
    /// that is gone; with `overwrite` off, a file that exists there: it is left as it is. The
    /// staging folder is left too.
    pub fn deliver(
        self,
        entries: &[Entry],
        overwrite: bool,
        keep: bool,
    ) -> Result<(Otherwise, Option<PathBuf>), IoFault> {
        self.log.deliver().at("write", &self.path().join(LOG))?;
        self.sync()?;
        self.move_out(entries, overwrite)?;
        self.dress_dirs(entries);
        self.sync()?;
        let otherwise = self.tally.sum();
        let left = if keep { None } else { self.discard() };
        Ok((otherwise, left))
    }

    fn sync(&self) -> Result<(), IoFault> {
        os::sync_file_system(&self.held).at("sync", &self.target_path)?;
        if os::is_still(&self.target_path, &self.held).at("find", &self.target_path)? {
            return Ok(());
        }
        let gone = io::Error::other("something else is there now; was the drive unplugged?");
        Err(gone).at("find", &self.target_path)
    }

    /// What the system refused to do with an entry.
    fn fault(&self, doing: &'static str, entry: &Entry, source: io::Error) -> IoFault {
        IoFault { doing, path: self.shown(entry), source }
    }

    /// The path to name in an error.
    fn shown(&self, entry: &Entry) -> PathBuf {
        self.target_path.join(entry.path.as_path())
    }
}

/// Opens a file for its owner alone; made if it is not there, else as it is.
fn private_file(folder: &Folder, name: &str) -> io::Result<File> {
    folder.open_or_create(name.as_bytes())
}

/// Makes a folder for its owner alone; `false` if it is there already.
fn make_private(folder: &Folder, name: &str) -> io::Result<bool> {
    match folder.make_folder(name.as_bytes()) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
        Err(error) => Err(error),
    }
}

/// The staging folder's name, made longer until no entry stands under it.
fn free_name(entries: &[Entry]) -> String {
    let mut name = STAGING.to_string();
    while entries.iter().any(|entry| entry.path.as_bytes() == name.as_bytes()) {
        name.push('-');
    }
    name
}

#[cfg(test)]
mod tests;
