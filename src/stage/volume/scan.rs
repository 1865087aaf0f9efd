//! Finds volumes in a given folder and in the folders below it, down to [`limits::DEPTH`] levels, the upper levels
//! first. No link is followed, and the numbers of folders and names are limited, so a search ends on any drive.
//! Not guaranteed: that every folder is searched. The others are counted or named, so that the caller can report them.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::found::{ScanError, Volume, is_unknown, read};
use super::names::{HEADS, is_volume_name};
use crate::base::fault::{At, IoFault};
use crate::format::seal::ALL_SEALS;
use crate::format::{FormatError, UNPACKING, limits, part};

/// Folders in which systems keep deleted files, in lower case.
const TRASH: [&str; 4] = [".trash", ".trashes", "$recycle.bin", "recycler"];
/// Folders that systems create on drives and close to users, in lower case. A lack of permission for these is not
/// reported.
const SYSTEM: [&str; 6] = [
    "system volume information",
    "lost+found",
    ".spotlight-v100",
    ".fseventsd",
    ".temporaryitems",
    ".documentrevisions-v100",
];
/// Folders of trash and of unpackings that one search names at most. Further ones are only counted.
const NAMED: usize = 100;

/// The result of a search.
#[derive(Debug)]
pub(crate) struct Search {
    /// The volumes, the upper levels first.
    pub(crate) volumes: Vec<Volume>,
    /// The folders that were not searched.
    pub(crate) passed_over: PassedOver,
}

/// Folders that a search did not look into, by reason.
#[derive(Debug, Clone, Default)]
pub(crate) struct PassedOver {
    /// The folder in which the search began.
    pub(crate) below: PathBuf,
    /// Whether the search found no volume at all.
    pub(crate) no_volume: bool,
    /// How many folders lie deeper than [`limits::DEPTH`] levels.
    pub(crate) deeper: u64,
    /// How many folders were left at the limit of folders, hold more names than the search may read, or are trash
    /// that `set_aside` has no room to name.
    pub(crate) beyond: u64,
    /// Trash and staging folders of unpackings that hold something, as far as one search names them.
    pub(crate) set_aside: Vec<PathBuf>,
    /// Folders that could not be read, with the reason.
    pub(crate) unread: Vec<IoFault>,
}

impl PassedOver {
    /// Whether reading a folder failed for another reason than a lack of permission.
    pub(crate) fn has_failed(&self) -> bool {
        !self.unread.iter().all(IoFault::is_denied)
    }

    /// How many folders were not searched, for all reasons together.
    pub(crate) fn folders(&self) -> u64 {
        self.deeper + self.beyond + self.set_aside.len() as u64 + self.unread.len() as u64
    }
}

/// Finds the volumes at `path` and below it.
///
/// # Errors
/// The folder at `path` cannot be read; or no volume was found, and the drive does not answer for some folder: a volume
/// may be in there.
pub(crate) fn scan(path: &Path) -> Result<Search, ScanError> {
    search(path, limits::FOLDERS)
}

/// The same with `most` folders to look into, so that a test can set a small limit.
fn search(path: &Path, most: usize) -> Result<Search, ScanError> {
    let passed_over = PassedOver { below: path.to_owned(), ..PassedOver::default() };
    let mut walk = FolderSearch { most, passed_over, ..FolderSearch::default() };
    let mut level = vec![path.to_owned()];
    for depth in 0..=limits::DEPTH {
        let mut below = Vec::new();
        for dir in level {
            walk.look_into(dir, depth, &mut below)?;
        }
        level = below;
    }
    walk.finish()
}

/// A search under way.
#[derive(Default)]
struct FolderSearch {
    /// Volumes with their depths; 0 is the folder given.
    found: Vec<(usize, Volume)>,
    passed_over: PassedOver,
    /// How many folders may be looked into.
    most: usize,
    /// Folders that were looked into or wait for it, without the one given.
    folders: usize,
    /// Names read so far, over all folders.
    names: usize,
}

impl FolderSearch {
    /// Adds the folder if it is a volume, and its folders to `below`, which are searched next.
    ///
    /// # Errors
    /// The folder given cannot be read. Other folders are passed over.
    fn look_into(&mut self, dir: PathBuf, depth: usize, below: &mut Vec<PathBuf>) -> Result<(), ScanError> {
        let looked = FolderNames::of(&dir, limits::NAMES.saturating_sub(self.names)).and_then(|names| {
            let volume = if names.may_be_volume { Some(read(&dir)?).filter(Volume::is_volume) } else { None };
            Ok((names, volume))
        });
        match looked {
            Ok((names, volume)) => {
                self.names += names.all;
                self.passed_over.beyond += names.folders_left;
                self.found.extend(volume.map(|volume| (depth, volume)));
                names.folders.iter().for_each(|name| self.put_in_line(dir.join(name), depth, below));
                Ok(())
            }
            Err(error) if depth == 0 => Err(error),
            Err(error) => {
                self.pass_over(&dir, depth, error);
                Ok(())
            }
        }
    }

    /// Adds a folder to those that are searched next, or records why it is not searched.
    fn put_in_line(&mut self, dir: PathBuf, depth: usize, below: &mut Vec<PathBuf>) {
        let name = lower(&dir);
        // Folders that are named as volumes have a reserve of their own: many other folders must not crowd them out.
        let most = self.most + if is_volume_name(&name) { usize::from(limits::VOLUMES) } else { 0 };
        if is_set_aside(&name) {
            self.set_aside(dir);
        } else if depth == limits::DEPTH {
            self.passed_over.deeper += 1;
        } else if self.folders >= most {
            self.passed_over.beyond += 1;
        } else {
            self.folders += 1;
            below.push(dir);
        }
    }

    /// Records a folder of trash or of an unpacking, which is never searched.
    fn set_aside(&mut self, dir: PathBuf) {
        if self.passed_over.set_aside.len() < NAMED {
            self.passed_over.set_aside.push(dir);
        } else {
            self.passed_over.beyond += 1;
        }
    }

    /// Records a folder that cannot be read. A folder that is named as a volume counts as one, so that the caller
    /// reports it.
    fn pass_over(&mut self, dir: &Path, depth: usize, error: ScanError) {
        let name = lower(dir);
        match error {
            ScanError::Io(fault) if fault.source.kind() == io::ErrorKind::NotFound => {}
            error if is_volume_name(&name) => self.found.push((depth, Volume::unread(dir, error))),
            ScanError::Format(_) => self.passed_over.beyond += 1,
            ScanError::Io(fault) if !is_unknown(&fault.source) && SYSTEM.contains(&&*name) => {}
            ScanError::Io(fault) => self.passed_over.unread.push(fault),
        }
    }

    /// Sorts the volumes, and drops what only looked like one.
    fn finish(mut self) -> Result<Search, ScanError> {
        let beside = self.found.iter().any(|(depth, _)| *depth == 1);
        // A stray part beside the folders of volumes does not make the drive itself a volume.
        self.found.retain(|(depth, volume)| *depth > 0 || volume.has_index() || !beside);
        let unknown = self.passed_over.unread.iter().position(|fault| is_unknown(&fault.source));
        if let Some(at) = unknown.filter(|_| self.found.is_empty()) {
            return Err(self.passed_over.unread.swap_remove(at).into());
        }
        self.found.sort_by_key(|(depth, volume)| (*depth, natural(&volume.dir)));
        // An empty trash hides no volume.
        self.passed_over.set_aside.retain(|dir| fs::read_dir(dir).is_ok_and(|mut entries| entries.next().is_some()));
        self.passed_over.no_volume = self.found.is_empty();
        let volumes = self.found.into_iter().map(|(_, volume)| volume).collect();
        Ok(Search { volumes, passed_over: self.passed_over })
    }
}

/// What the names in a folder tell. Most folders on a drive are no volumes, and a look at each of their files would
/// take long.
struct FolderNames {
    /// In the order in which they are searched: first those named as volumes.
    folders: Vec<OsString>,
    /// Whether a name is that of a seal, a head or a part.
    may_be_volume: bool,
    /// How many names the folder holds, of any kind.
    all: usize,
    /// Folders behind the first [`limits::FOLDER`] names that are not named as volumes. They are only counted.
    folders_left: u64,
}

impl FolderNames {
    /// Reads the names in a folder; more than `most` are an error.
    fn of(dir: &Path, most: usize) -> Result<Self, ScanError> {
        let mut names = FolderNames { folders: Vec::new(), may_be_volume: false, all: 0, folders_left: 0 };
        for entry in fs::read_dir(dir).at("look into", dir)? {
            FormatError::check_limit("the number of files in a folder", names.all as u64, most as u64)?;
            let entry = entry.at("look into", dir)?;
            let name = entry.file_name();
            names.all += 1;
            names.may_be_volume |= name.to_str().is_some_and(|name| is_of_volume(&name.to_ascii_lowercase()));
            match entry.file_type() {
                // A link to a folder is no folder here: it is not followed, because it could lead anywhere.
                Ok(kind) if kind.is_dir() && names.all > limits::FOLDER && !is_named_as_volume(&name) => {
                    names.folders_left += 1;
                }
                Ok(kind) if kind.is_dir() => names.folders.push(name),
                Err(error) if is_unknown(&error) => return Err(error).at("look at", &entry.path())?,
                _ => {}
            }
        }
        names.folders.sort_unstable_by(|a, b| order(a).cmp(&order(b)));
        Ok(names)
    }
}

/// Whether a file of that name makes its folder a volume.
fn is_of_volume(name: &str) -> bool {
    ALL_SEALS.contains(&name) || HEADS.contains(&name) || part::is_part(name)
}

fn is_named_as_volume(name: &OsStr) -> bool {
    name.to_str().is_some_and(|name| is_volume_name(&name.to_ascii_lowercase()))
}

/// Sorts folders named as volumes before others, then by length, so that `volume-10` follows `volume-9`.
fn order(name: &OsStr) -> (bool, usize, &OsStr) {
    (!is_named_as_volume(name), name.len(), name)
}

fn lower(dir: &Path) -> String {
    dir.file_name().map(|name| name.to_string_lossy().to_ascii_lowercase()).unwrap_or_default()
}

/// Whether a folder of that name (in lower case) holds deleted files or an unfinished unpacking, and so no volumes that
/// a person means.
fn is_set_aside(name: &str) -> bool {
    TRASH.contains(&name) || name.starts_with(".trash-") || name == UNPACKING
}

/// A sort key that puts `volume-10` behind `volume-9`.
fn natural(dir: &Path) -> (usize, PathBuf) {
    (dir.as_os_str().len(), dir.to_owned())
}

#[cfg(test)]
mod tests;
