//! Finding volumes below a place: in the folder given and in the folders below it, down to a fixed depth, the
//! upper levels first. No link is followed. Not guaranteed: that every folder is looked into. The others are
//! counted or named, so that the caller can say which were not searched.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::{ALL_SEALS, HEADS, ScanError, Volume, is_unknown, looks_ours, read};
use crate::base::fault::{At, IoFault};
use crate::format::{FormatError, UNPACKING, limits, part};

/// Folders in which systems keep what was thrown away, in lower case.
const TRASH: [&str; 4] = [".trash", ".trashes", "$recycle.bin", "recycler"];
/// Folders that systems make on drives and close to users, in lower case: that these cannot be read is not
/// worth saying.
const SYSTEM: [&str; 6] = [
    "system volume information",
    "lost+found",
    ".spotlight-v100",
    ".fseventsd",
    ".temporaryitems",
    ".documentrevisions-v100",
];
/// Folders set aside that are named; more are counted.
const NAMED: usize = 100;

/// What was found below a place.
#[derive(Debug)]
pub struct Search {
    /// Its volumes, the upper levels first.
    pub volumes: Vec<Volume>,
    /// The folders that were not searched.
    pub passed_over: PassedOver,
}

/// Folders below a place that were not searched for volumes.
#[derive(Debug, Clone, Default)]
pub struct PassedOver {
    /// The place.
    pub below: PathBuf,
    /// Whether no volume was found there at all.
    pub no_volume: bool,
    /// How many lie deeper than a search goes.
    pub deeper: u64,
    /// How many were left when the search had looked into as many as it does, or hold too much.
    pub beyond: u64,
    /// Trash, and what an unpacking has not finished.
    pub set_aside: Vec<PathBuf>,
    /// Those that could not be read.
    pub unread: Vec<IoFault>,
}

impl PassedOver {
    /// Whether a folder could not be read that is not just closed to this user.
    pub fn has_failed(&self) -> bool {
        !self.unread.iter().all(IoFault::is_denied)
    }

    /// How many there are.
    pub fn folders(&self) -> u64 {
        self.deeper + self.beyond + self.set_aside.len() as u64 + self.unread.len() as u64
    }
}

/// The volumes at `path` and below it.
///
/// # Errors
/// The folder itself cannot be read; or nothing was found and the system does not say what some folder holds.
pub fn scan(path: &Path) -> Result<Search, ScanError> {
    search(path, limits::FOLDERS)
}

fn search(path: &Path, most: usize) -> Result<Search, ScanError> {
    let passed_over = PassedOver { below: path.to_owned(), ..PassedOver::default() };
    let mut walk = Walk { most, passed_over, ..Walk::default() };
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
struct Walk {
    /// Volumes with their depths.
    found: Vec<(usize, Volume)>,
    passed_over: PassedOver,
    /// Folders to look into.
    most: usize,
    /// Folders looked into, or in line for it.
    folders: usize,
    /// Names read.
    names: usize,
}

impl Walk {
    /// Adds the folder if it is a volume, and the folders in it to those that come next.
    fn look_into(&mut self, dir: PathBuf, depth: usize, below: &mut Vec<PathBuf>) -> Result<(), ScanError> {
        let looked = Names::of(&dir, limits::NAMES.saturating_sub(self.names)).and_then(|names| {
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

    fn put_in_line(&mut self, dir: PathBuf, depth: usize, below: &mut Vec<PathBuf>) {
        let name = lower(&dir);
        // Room is left for those named as volumes that lie among many others.
        let most = self.most + if looks_ours(&name) { usize::from(limits::VOLUMES) } else { 0 };
        if is_set_aside(&name) && self.passed_over.set_aside.len() < NAMED {
            self.passed_over.set_aside.push(dir);
        } else if depth == limits::DEPTH {
            self.passed_over.deeper += 1;
        } else if self.folders >= most {
            self.passed_over.beyond += 1;
        } else {
            self.folders += 1;
            below.push(dir);
        }
    }

    /// A folder that cannot be read stops nothing; one that is named as a volume counts as one.
    fn pass_over(&mut self, dir: &Path, depth: usize, error: ScanError) {
        let name = lower(dir);
        match error {
            ScanError::Io(fault) if fault.source.kind() == io::ErrorKind::NotFound => {}
            error if looks_ours(&name) => self.found.push((depth, Volume::unread(dir, error))),
            ScanError::Format(_) => self.passed_over.beyond += 1,
            ScanError::Io(fault) if !is_unknown(&fault.source) && SYSTEM.contains(&&*name) => {}
            ScanError::Io(fault) => self.passed_over.unread.push(fault),
        }
    }

    fn finish(mut self) -> Result<Search, ScanError> {
        let beside = self.found.iter().any(|(depth, _)| *depth == 1);
        // A stray part beside the folders of volumes makes no volume of the drive itself.
        self.found.retain(|(depth, volume)| *depth > 0 || volume.has_index() || !beside);
        let unknown = self.passed_over.unread.iter().position(|fault| is_unknown(&fault.source));
        if let Some(at) = unknown.filter(|_| self.found.is_empty()) {
            return Err(self.passed_over.unread.swap_remove(at).into());
        }
        self.found.sort_by_key(|(depth, volume)| (*depth, natural(&volume.dir)));
        // An empty trash hides nothing.
        self.passed_over.set_aside.retain(|dir| fs::read_dir(dir).is_ok_and(|mut entries| entries.next().is_some()));
        self.passed_over.no_volume = self.found.is_empty();
        let volumes = self.found.into_iter().map(|(_, volume)| volume).collect();
        Ok(Search { volumes, passed_over: self.passed_over })
    }
}

/// What a folder holds, by names alone: most folders on a drive are no volumes, and looking at each of their
/// files would take long.
struct Names {
    /// In the order in which they are looked into: those named as volumes first.
    folders: Vec<OsString>,
    may_be_volume: bool,
    all: usize,
    /// Folders among very many names that are not named as volumes, and are not kept.
    folders_left: u64,
}

impl Names {
    fn of(dir: &Path, most: usize) -> Result<Self, ScanError> {
        let mut names = Names { folders: Vec::new(), may_be_volume: false, all: 0, folders_left: 0 };
        for entry in fs::read_dir(dir).at("look into", dir)? {
            FormatError::limit("the number of files in a folder", names.all as u64, most as u64)?;
            let entry = entry.at("look into", dir)?;
            let name = entry.file_name();
            names.all += 1;
            names.may_be_volume |= name.to_str().is_some_and(|name| is_of_volume(&name.to_ascii_lowercase()));
            match entry.file_type() {
                // A link to a folder is not followed: it could lead anywhere.
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
    name.to_str().is_some_and(|name| looks_ours(&name.to_ascii_lowercase()))
}

fn order(name: &OsStr) -> (bool, usize, &OsStr) {
    (!is_named_as_volume(name), name.len(), name)
}

fn lower(dir: &Path) -> String {
    dir.file_name().map(|name| name.to_string_lossy().to_ascii_lowercase()).unwrap_or_default()
}

/// Whether what is in a folder of that name is meant to be gone, or never was a volume.
fn is_set_aside(name: &str) -> bool {
    TRASH.contains(&name) || name.starts_with(".trash-") || name == UNPACKING
}

/// volume-10 after volume-9.
fn natural(dir: &Path) -> (usize, PathBuf) {
    (dir.as_os_str().len(), dir.to_owned())
}

#[cfg(test)]
mod tests;
