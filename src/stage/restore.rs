//! The only file that writes what users packed. The one address of `cap-std`: no path is opened
//! that leaves the target, whatever a list says.
//!
//! All goes into one staging folder inside the target, with links last, so that nothing there
//! can be followed while files are placed. What is whole is then renamed out of it; there is no
//! second copy. An existing file is replaced only when told. What is not whole stays there for a
//! later run, with a log of what was placed.

mod dress;
mod links;
mod placed;
mod placer;
mod tree;

use std::collections::BTreeSet;
use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use cap_std::ambient_authority;
use cap_std::fs::{
    Dir, DirBuilder, DirBuilderExt, Metadata, MetadataExt, OpenOptions, OpenOptionsExt, Permissions, PermissionsExt,
};

use crate::base::digest::Digest;
use crate::base::entry::{Entry, Kind};
use crate::base::fault::{At, IoFault};
use crate::base::os;
use crate::base::path::as_path;
use dress::Tally;
pub use dress::{Dressed, Otherwise};
use placed::{Found, Log};
pub use placer::Placer;
use placer::Places;
use tree::{merge, sweep};

/// The staging folder: always the same name, so that a later run finds what an interrupted one
/// left.
const STAGING: &str = crate::format::UNPACKING;
/// In it: the mark that it is ours, which also holds the lock; the log of what was placed; the
/// folder of files; files that are not whole yet, by their numbers, while others are delivered;
/// parts that are kept until their stripes are complete.
const MARK: &str = "lock";
const LOG: &str = "placed";
const FILES: &str = "files";
const ASIDE: &str = "aside";
const PARTS: &str = "parts";

/// Where files are put together.
pub struct Staging {
    target: Dir,
    target_path: PathBuf,
    root: Dir,
    /// The staging folder itself.
    folder: Dir,
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
    let target = Dir::open_ambient_dir(target_path, ambient_authority()).at("open", target_path)?;
    let mut absent: Option<&Entry> = None;
    for (at, entry) in entries.iter().enumerate() {
        if absent.is_some_and(|folder| entry.path.is_at_or_below(folder.path.as_bytes())) {
            continue;
        }
        match target.symlink_metadata(entry.path.as_path()) {
            Ok(there) if entry.kind == Kind::Dir && there.is_dir() => {}
            Ok(there) if overwrite && entry.kind != Kind::Dir && !there.is_dir() => {}
            Ok(_) if is_there(at) => {}
            Ok(_) => return Ok(Some(entry)),
            Err(_) => absent = Some(entry),
        }
    }
    Ok(None)
}

impl Staging {
    /// Opens the target, which exists, and the staging folder in it, of a name that no entry has.
    /// `work` names what is unpacked: what a run of the same left there is taken up, what left no
    /// trace of what it was is removed.
    pub fn begin(target_path: &Path, entries: &[Entry], work: &Digest) -> Result<Self, TargetError> {
        let target = Dir::open_ambient_dir(target_path, ambient_authority()).at("open", target_path)?;
        let held = File::open(target_path).at("open", target_path)?;
        let name = free_name(entries);
        let path = target_path.join(&name);
        let mut left = false;
        loop {
            let new = make_private(&target, &name).at("create", &path)?;
            left |= !new;
            let folder = target.open_dir(&name).at("open", &path)?;
            let empty = || folder.entries().is_ok_and(|mut entries| entries.next().is_none());
            if !new && folder.symlink_metadata(MARK).is_err() && !empty() {
                return Err(TargetError::Foreign(path));
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
                    target.remove_dir_all(&name).at("remove", &path)?;
                    continue;
                }
            };
            let root = folder.open_dir(FILES).at("open", &path)?;
            let target_path = target_path.to_owned();
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

    /// Brings back what the last run could not deliver, and opens folders that it delivered and
    /// closed.
    pub fn take_up(&self, entries: &[Entry]) -> Result<(), IoFault> {
        let known = entries.iter().map(|entry| (entry.path.as_bytes(), entry.kind == Kind::Dir)).collect();
        sweep(&self.root, b"", &known).at("look into", &self.path())?;
        let mut places = Places::new(self);
        if let Ok(aside) = self.folder.open_dir(ASIDE) {
            for name in aside.entries().at("look into", &self.path())?.flatten().map(|entry| entry.file_name()) {
                let entry = name.to_str().and_then(|name| name.parse().ok()).and_then(|at: usize| entries.get(at));
                let Some(entry) = entry.filter(|entry| entry.kind == Kind::File) else { continue };
                let parent = places.parent(entry)?;
                os::rename_new(aside.as_fd(), Path::new(&name), parent.as_fd(), as_path(entry.path.name()))
                    .or_else(|error| if error.kind() == io::ErrorKind::AlreadyExists { Ok(()) } else { Err(error) })
                    .at("create", &self.shown(entry))?;
            }
        }
        for entry in entries.iter().filter(|entry| self.log.delivering && entry.kind == Kind::Dir) {
            // They are given their modes again at the end.
            let closed = |meta: Metadata| meta.is_dir() && meta.permissions().mode() & 0o700 != 0o700;
            if self.target.symlink_metadata(entry.path.as_path()).is_ok_and(closed) {
                let _ = self.target.set_permissions(entry.path.as_path(), Permissions::from_mode(0o700));
            }
        }
        Ok(())
    }

    /// Makes all folders, for now with the owner's rights only.
    pub fn make_dirs(&self, entries: &[Entry]) -> Result<(), IoFault> {
        let mut private = DirBuilder::new();
        private.mode(0o700);
        let mut places = Places::new(self);
        for entry in entries.iter().filter(|entry| entry.kind == Kind::Dir) {
            let parent = places.parent(entry)?;
            match parent.create_dir_with(as_path(entry.path.name()), &private) {
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

    /// Empty files, hard links and symlinks, for the entries that are kept; what was placed of
    /// others is put aside. Returns the entries whose links could not be made here (a file system
    /// without links), with the reason.
    pub fn finish(&self, entries: &[Entry], fate: impl Fn(usize) -> Fate) -> Result<Vec<(usize, io::Error)>, IoFault> {
        let mut places = Places::new(self);
        let mut refused = Vec::new();
        let aside = make_private(&self.folder, ASIDE).and_then(|_| self.folder.open_dir(ASIDE));
        for (at, entry) in entries.iter().enumerate() {
            let name = as_path(entry.path.name());
            match (&entry.kind, fate(at)) {
                (Kind::File, Fate::Aside) => {
                    let parent = places.parent(entry)?;
                    // Where it cannot be put aside it is not delivered either.
                    if !aside.as_ref().is_ok_and(|aside| parent.rename(name, aside, at.to_string()).is_ok()) {
                        let _ = parent.remove_file(name);
                    }
                }
                (Kind::File, Fate::Keep) if entry.size == 0 => {
                    let mut placer = self.placer();
                    placer.remove(entry)?;
                    placer.write(at as u32, entry, 0, &[], true)?;
                    self.tally.add(placer.complete(entry)?);
                }
                (Kind::Hardlink(first), Fate::Keep) => {
                    self.unless_refused(at, entry, self.link(first.as_path(), entry), &mut refused)?;
                }
                _ => {}
            }
        }
        for (at, entry) in entries.iter().enumerate() {
            if let (Kind::Symlink(to), Fate::Keep) = (&entry.kind, fate(at)) {
                let made = self.symlink(places.parent(entry)?, as_path(to), entry);
                self.unless_refused(at, entry, made, &mut refused)?;
            }
        }
        Ok(refused)
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
        let dirs = entries.iter().rev().filter(|entry| entry.kind == Kind::Dir);
        // One that cannot even be opened has neither.
        dirs.for_each(|entry| self.tally.add(self.dress_dir(entry).unwrap_or(Dressed { mode: false, off: 0 })));
        self.sync()?;
        let otherwise = self.tally.sum();
        let left = if keep { None } else { self.discard() };
        Ok((otherwise, left))
    }

    fn sync(&self) -> Result<(), IoFault> {
        os::sync_file_system(&self.held).at("sync", &self.target_path)?;
        match os::is_still(&self.target_path, &self.held).at("find", &self.target_path)? {
            true => Ok(()),
            false => Err(io::Error::other("something else is there now; was the drive unplugged?"))
                .at("find", &self.target_path),
        }
    }

    fn move_out(&self, entries: &[Entry], overwrite: bool) -> Result<(), IoFault> {
        for entry in entries.iter().filter(|entry| entry.path.parent().is_none()) {
            let name = entry.path.as_path();
            if self.root.symlink_metadata(name).is_ok() {
                merge(&self.root, &self.target, name, overwrite, &self.target_path.join(name))?;
            }
        }
        Ok(())
    }

    /// The path to name in an error.
    fn shown(&self, entry: &Entry) -> PathBuf {
        self.target_path.join(entry.path.as_path())
    }
}

/// Opens a file for its owner alone; made if it is not there, else as it is.
fn private_file(dir: &Dir, name: &str) -> io::Result<File> {
    // A FIFO would keep us waiting.
    if dir.symlink_metadata(name).is_ok_and(|meta| !meta.is_file()) {
        return Err(io::Error::other("it is not a regular file"));
    }
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).mode(0o600);
    Ok(dir.open_with(name, &options)?.into_std())
}

/// Makes a folder for its owner alone; `false` if it is there already.
fn make_private(dir: &Dir, name: &str) -> io::Result<bool> {
    let mut private = DirBuilder::new();
    private.mode(0o700);
    match dir.create_dir_with(name, &private) {
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
