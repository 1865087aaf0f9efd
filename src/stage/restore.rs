//! The only file that writes what users packed. The one address of `cap-std`: no path is opened
//! that leaves the target, whatever a list says.
//!
//! All goes into one staging folder inside the target, with links last, so that nothing there
//! can be followed while files are placed. What is whole is then renamed out of it; there is no
//! second copy. An existing file is replaced only when told.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use cap_std::ambient_authority;
use cap_std::fs::{Dir, DirBuilder, DirBuilderExt, OpenOptions, OpenOptionsExt, Permissions, PermissionsExt};

use crate::base::digest::Hasher;
use crate::base::entry::{Entry, Kind};
use crate::base::fault::{At, IoFault};
use crate::base::os;
use crate::base::path::as_path;

/// The staging folder: always the same name, so that a later run finds what an interrupted one
/// left.
const STAGING: &str = ".pouch-unfinished";
/// In it: the mark that it is ours, which also holds the lock, and the folder of files.
const MARK: &str = "lock";
const FILES: &str = "files";

/// Where files are put together.
pub struct Staging {
    target: Dir,
    target_path: PathBuf,
    root: Dir,
    name: String,
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
}

/// The first entry that would have to replace something in the target, if there is one: a file
/// or link where something stands, a folder where something else does. With `overwrite` only what
/// no file can replace: a folder, or something else where a folder must stand. Nothing is changed.
pub fn first_conflict<'a>(
    target_path: &Path,
    entries: &'a [Entry],
    overwrite: bool,
) -> Result<Option<&'a Entry>, IoFault> {
    let target = Dir::open_ambient_dir(target_path, ambient_authority()).at("open", target_path)?;
    let mut absent: Option<&Entry> = None;
    for entry in entries {
        if absent.is_some_and(|folder| entry.path.is_at_or_below(folder.path.as_bytes())) {
            continue;
        }
        match target.symlink_metadata(entry.path.as_path()) {
            Ok(there) if entry.kind == Kind::Dir && there.is_dir() => {}
            Ok(there) if overwrite && entry.kind != Kind::Dir && !there.is_dir() => {}
            Ok(_) => return Ok(Some(entry)),
            Err(_) => absent = Some(entry),
        }
    }
    Ok(None)
}

impl Staging {
    /// Opens the target, which exists, and an empty staging folder in it, of a name that no entry
    /// has; what a run that died left there is removed.
    pub fn begin(target_path: &Path, entries: &[Entry]) -> Result<Self, TargetError> {
        let target = Dir::open_ambient_dir(target_path, ambient_authority()).at("open", target_path)?;
        let held = File::open(target_path).at("open", target_path)?;
        let name = free_name(entries);
        let path = target_path.join(&name);
        loop {
            let new = make_private(&target, &name).at("create", &path)?;
            let staging = target.open_dir(&name).at("open", &path)?;
            let empty = || staging.entries().is_ok_and(|mut entries| entries.next().is_none());
            if !new && staging.symlink_metadata(MARK).is_err() && !empty() {
                return Err(TargetError::Foreign(path));
            }
            let mut options = OpenOptions::new();
            options.write(true).create(true).mode(0o600);
            let lock = staging.open_with(MARK, &options).at("lock", &path)?.into_std();
            if !os::try_lock(&lock).at("lock", &path)? {
                return Err(TargetError::Busy(target_path.to_owned()));
            }
            if make_private(&staging, FILES).at("create", &path)? {
                let root = staging.open_dir(FILES).at("open", &path)?;
                return Ok(Self { target, target_path: target_path.to_owned(), root, name, held, _lock: lock });
            }
            target.remove_dir_all(&name).at("remove", &path)?;
        }
    }

    /// Makes all folders, for now with the owner's rights only.
    pub fn make_dirs(&self, entries: &[Entry]) -> Result<(), IoFault> {
        let mut private = DirBuilder::new();
        private.mode(0o700);
        let mut places = Places::new(self);
        for entry in entries.iter().filter(|entry| entry.kind == Kind::Dir) {
            let parent = places.parent(entry)?;
            parent.create_dir_with(as_path(entry.path.name()), &private).at("create", &self.shown(entry))?;
        }
        Ok(())
    }

    /// A writer for one thread.
    pub fn placer(&self) -> Placer<'_> {
        Placer { places: Places::new(self), open: None }
    }

    /// Empty files, hard links and symlinks, for the entries that `keep` wants; removes what was
    /// placed of the others. Returns the entries whose links could not be made here (a file
    /// system without links), with the reason.
    pub fn finish(&self, entries: &[Entry], keep: impl Fn(usize) -> bool) -> Result<Vec<(usize, io::Error)>, IoFault> {
        let mut places = Places::new(self);
        let mut refused = Vec::new();
        for (at, entry) in entries.iter().enumerate() {
            let name = as_path(entry.path.name());
            match &entry.kind {
                Kind::File if !keep(at) => {
                    let _ = places.parent(entry)?.remove_file(name);
                }
                Kind::File if entry.size == 0 => {
                    let mut placer = self.placer();
                    placer.write(at as u32, entry, 0, &[], true)?;
                    placer.complete(entry)?;
                }
                Kind::Hardlink(first) if keep(at) => {
                    let result = self.root.hard_link(first.as_path(), &self.root, entry.path.as_path());
                    refused.extend(result.err().map(|error| (at, error)));
                }
                _ => {}
            }
        }
        for (at, entry) in entries.iter().enumerate() {
            if let (Kind::Symlink(to), true) = (&entry.kind, keep(at)) {
                let parent = places.parent(entry)?;
                let name = as_path(entry.path.name());
                match parent.symlink_contents(as_path(to), name) {
                    // A link's time is a nicety that some file systems do not have.
                    Ok(()) => drop(os::set_link_mtime(parent.as_fd(), name, entry.mtime)),
                    Err(error) => refused.push((at, error)),
                }
            }
        }
        Ok(refused)
    }

    /// Moves everything out of the staging folder into the target, then gives folders their
    /// modes and times, and removes the staging folder, also after an error. Folders that exist
    /// are merged. Returns how many folders could not be given their mode and time.
    ///
    /// # Errors
    /// What the disk did not take (all is synced before it is moved, and again after); a target
    /// that is gone; with `overwrite` off, a file that exists there: it is left as it is.
    pub fn deliver(self, entries: &[Entry], overwrite: bool) -> Result<u64, IoFault> {
        let result = self.sync().and_then(|()| self.move_out(entries, overwrite));
        let result = result.map(|()| {
            let dirs = entries.iter().rev().filter(|entry| entry.kind == Kind::Dir);
            dirs.filter(|entry| self.dress_dir(entry).is_err()).count() as u64
        });
        let synced = result.and_then(|failed| self.sync().map(|()| failed));
        self.discard();
        synced
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

    /// Removes the staging folder and all in it.
    pub fn discard(self) {
        let _ = self.target.remove_dir_all(&self.name);
    }

    fn dress_dir(&self, entry: &Entry) -> io::Result<()> {
        let dir = self.target.open(entry.path.as_path())?;
        os::set_mtime(&dir, entry.mtime)?;
        os::set_mode(&dir, entry.mode)
    }

    /// The path to name in an error.
    fn shown(&self, entry: &Entry) -> PathBuf {
        self.target_path.join(entry.path.as_path())
    }
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

/// Moves `name` over: folders are merged, everything else replaces what is there if it may.
fn merge(from: &Dir, to: &Dir, name: &Path, overwrite: bool, shown: &Path) -> Result<(), IoFault> {
    let here = from.symlink_metadata(name).at("look at", shown)?;
    let there = to.symlink_metadata(name).ok();
    if here.is_dir() && there.as_ref().is_some_and(|meta| meta.is_dir()) {
        // One that we made read-only ourselves, in an earlier run; it is given its mode at the end.
        if there.is_some_and(|meta| meta.permissions().mode() & 0o700 != 0o700) {
            let _ = to.set_permissions(name, Permissions::from_mode(0o700));
        }
        let (from_dir, to_dir) = (from.open_dir(name).at("open", shown)?, to.open_dir(name).at("open", shown)?);
        for child in from_dir.entries().at("look into", shown)? {
            let child = child.at("look into", shown)?.file_name();
            merge(&from_dir, &to_dir, Path::new(&child), overwrite, &shown.join(&child))?;
        }
        return from.remove_dir(name).at("remove", shown);
    }
    if overwrite && there.is_some() {
        // A folder is never replaced by a file, nor the other way round: the system refuses.
        return from.rename(name, to, name).at("replace", shown);
    }
    os::rename_new(from.as_fd(), name, to.as_fd(), name).at("create", shown)
}

/// Opens folders once for all that stands in them.
struct Places<'a> {
    staging: &'a Staging,
    last: Option<(Vec<u8>, Dir)>,
}

impl<'a> Places<'a> {
    fn new(staging: &'a Staging) -> Self {
        Self { staging, last: None }
    }

    fn parent(&mut self, entry: &Entry) -> Result<&Dir, IoFault> {
        let Some(parent) = entry.path.parent() else { return Ok(&self.staging.root) };
        if self.last.as_ref().is_none_or(|(path, _)| path != parent) {
            let dir = self
                .staging
                .root
                .open_dir(as_path(parent))
                .at("open", &self.staging.target_path.join(as_path(parent)))?;
            self.last = Some((parent.to_vec(), dir));
        }
        Ok(&self.last.as_ref().expect("just set").1)
    }
}

/// Places bytes of files, from one thread.
pub struct Placer<'a> {
    places: Places<'a>,
    open: Option<(u32, File)>,
}

impl Placer<'_> {
    /// Writes bytes of the file with that index at `offset`, holes left out. `new`: nobody else
    /// writes to it, so it must not be there yet.
    pub fn write(&mut self, index: u32, entry: &Entry, offset: u64, bytes: &[u8], new: bool) -> Result<(), IoFault> {
        let shown = self.places.staging.shown(entry);
        if self.open.as_ref().is_none_or(|(open, _)| *open != index) {
            let mut options = OpenOptions::new();
            options.read(true).write(true).mode(0o600);
            if new {
                options.create_new(true)
            } else {
                options.create(true)
            };
            let file =
                self.places.parent(entry)?.open_with(as_path(entry.path.name()), &options).at("create", &shown)?;
            let file = file.into_std();
            if !new || !entry.holes.is_empty() {
                file.set_len(entry.size).at("write", &shown)?;
            }
            self.open = Some((index, file));
        }
        let file = &self.open.as_ref().expect("just opened").1;
        write_data(file, entry, offset, bytes).at("write", &shown)
    }

    /// Gives a file whose bytes are all placed its mode and time; `false` where the target
    /// cannot keep them.
    pub fn complete(&mut self, entry: &Entry) -> Result<bool, IoFault> {
        let shown = self.places.staging.shown(entry);
        let file = match self.open.take() {
            Some((_, file)) => file,
            None => self.reopen(entry)?,
        };
        let dressed = os::set_mode(&file, entry.mode).and_then(|()| os::set_mtime(&file, entry.mtime));
        match dressed {
            Ok(()) => Ok(true),
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::PermissionDenied | io::ErrorKind::Unsupported | io::ErrorKind::InvalidInput
                ) =>
            {
                Ok(false)
            }
            Err(error) => Err(error).at("set mode and time of", &shown),
        }
    }

    /// Forgets the open file: the next bytes are another's.
    pub fn leave(&mut self) {
        self.open = None;
    }

    /// Feeds bytes that were placed before to a hasher.
    pub fn hash(&mut self, entry: &Entry, offset: u64, len: u64, hasher: &mut Hasher) -> Result<(), IoFault> {
        let shown = self.places.staging.shown(entry);
        let file = self.reopen(entry)?;
        let mut buf = vec![0; 256 * 1024];
        let mut at = offset;
        while at < offset + len {
            let want = (offset + len - at).min(buf.len() as u64) as usize;
            file.read_exact_at(&mut buf[..want], at).at("read", &shown)?;
            hasher.update(&buf[..want]);
            at += want as u64;
        }
        Ok(())
    }

    fn reopen(&mut self, entry: &Entry) -> Result<File, IoFault> {
        let shown = self.places.staging.shown(entry);
        let mut options = OpenOptions::new();
        options.read(true).write(true);
        let file = self.places.parent(entry)?.open_with(as_path(entry.path.name()), &options).at("open", &shown)?;
        Ok(file.into_std())
    }
}

fn write_data(file: &File, entry: &Entry, offset: u64, bytes: &[u8]) -> io::Result<()> {
    let end = offset + bytes.len() as u64;
    let first = entry.holes.partition_point(|(start, len)| start + len <= offset);
    let mut at = offset;
    for (start, len) in entry.holes[first..].iter().copied().chain([(u64::MAX, 0)]) {
        let data_end = start.min(end);
        if at < data_end {
            file.write_all_at(&bytes[(at - offset) as usize..(data_end - offset) as usize], at)?;
        }
        at = at.max(start.saturating_add(len));
        if at >= end {
            break;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
