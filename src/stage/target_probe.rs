//! Finds out what a target folder's file system can hold: names, paths, links, sizes, holes and times. The probe tries
//! them in a private folder inside the target, and removes that folder again.
//!
//! The type of the file system decides only one thing, because it cannot be tried cheaply: FAT's largest file.
//!
//! Not guaranteed: that there is room. Want of room is never taken for a limit of names or paths; room and the number
//! of files are checked elsewhere.

use std::cell::Cell;
use std::collections::HashMap;
use std::fs::{DirBuilder, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use crate::base::entry::{Entry, Kind, Time};
use crate::base::fault::{At, IoFault};
use crate::base::open_path::{OpenPath, traverse};
use crate::base::os;
use crate::base::os::folder::Folder;
use crate::plan::holds::{Limits, Symlinks};
use crate::plan::name_folding::is_same_text;
use crate::plan::names::NameTrial;

/// The trial folder always has the same name, so that a run finds what a killed run left.
const NAME: &str = ".pouch-trial";
/// Bytes of the largest file on a FAT, which keeps sizes in 32 bits.
const FAT_LARGEST: u64 = u32::MAX as u64;
/// Most names of one file that are tried. Every known limit is lower.
const MOST_NAMES: u64 = 1 << 17;
/// Earliest seconds of known file systems: 1901 (32 bits, signed), 1970, and FAT's 1980. A FAT keeps local time, so a
/// time one day inside stands for any time zone.
const FIRST: [i64; 4] = [-(1 << 31), 0, 315_532_800, 315_619_200];
/// Latest seconds of known file systems: ext4's 2446, FAT's 2107 and one day before, 2106 and 2038 (32 bits).
const LAST: [i64; 5] = [15_032_385_535, 4_354_819_198, 4_354_732_798, 4_294_967_295, 2_147_483_647];
/// Length of a test file, in bytes: too long for any file system to store within the inode.
const HOLE: u64 = 1 << 20;
/// A time counts as kept if it is off by at most so many seconds: FAT counts in steps of two.
const COARSE: u64 = 2;

/// The trial folder. Dropping the probe removes it.
pub(crate) struct Probe {
    path: PathBuf,
    folder: Folder,
    /// How many trials there were: each has a folder of its own, so that none sees names of another.
    trials: Cell<u32>,
    /// Held open and locked, so that another run takes another folder.
    _lock: File,
}

impl Probe {
    /// Makes and locks the trial folder, or takes over the one of a killed run and empties it. If the name belongs to
    /// a user's file or to a run at work, the probe appends `-` and tries again.
    pub(crate) fn begin(target: &Path) -> Result<Self, IoFault> {
        let mut path = target.join(NAME);
        loop {
            let mut private = DirBuilder::new();
            match private.mode(0o700).create(&path) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                    let is_dir = path.symlink_metadata().is_ok_and(|meta| meta.is_dir());
                    // What a user keeps under this name is never touched.
                    if !is_dir || !Folder::open(&path).is_ok_and(|folder| is_of_a_trial(&folder)) {
                        path.as_mut_os_string().push("-");
                        continue;
                    }
                }
                made => made.at("create", &path)?,
            }
            let lock = File::open(&path).at("open", &path)?;
            // The lock comes before the clearing: the folder may belong to a run at work.
            if os::try_lock(&lock).at("lock", &path)? {
                let folder = Folder::open(&path).at("open", &path)?;
                clear(&folder);
                return Ok(Self { path, folder, trials: Cell::new(0), _lock: lock });
            }
            path.as_mut_os_string().push("-");
        }
    }

    /// Tries links, holes and times, each only as far as `entries` have any. A limit that no entry exceeds is not
    /// looked for and stays `None`; only the largest file on a FAT is told in any case.
    pub(crate) fn limits(&self, entries: &[Entry]) -> Result<Limits, IoFault> {
        let trial = self.trial()?;
        let made = trial.create_new(b"file").at("create", &self.path)?;
        let limits = Limits {
            symlinks: self.symlinks(&trial, entries)?,
            names: self.names(&trial, entries)?,
            fills_holes: entries.iter().any(|entry| !entry.holes.is_empty()) && self.fills_holes(&trial)?,
            largest: os::is_fat(&self.path).at("look at", &self.path)?.then_some(FAT_LARGEST),
            times: times(&made, entries),
        };
        drop(made);
        clear(&trial);
        Ok(limits)
    }

    /// Tries a symlink as long as the longest one of `entries`, and the first bytes in one that are no UTF-8.
    fn symlinks(&self, trial: &Folder, entries: &[Entry]) -> Result<Symlinks, IoFault> {
        let mut contents = entries.iter().filter_map(|entry| match &entry.kind {
            Kind::Symlink(to) => Some(&to[..]),
            Kind::Dir | Kind::File | Kind::Hardlink(_) => None,
        });
        let longest = contents.clone().map(<[u8]>::len).max().unwrap_or(0);
        let longest = if longest == 0 || self.takes_len(trial, longest)? {
            None
        } else {
            Some(most_of(longest, |len| self.takes_len(trial, len))?)
        };
        let raw = contents.find(|content| std::str::from_utf8(content).is_err());
        let only_text = match raw {
            // Only the invalid bytes are tried, so that no limit of length interferes.
            Some(raw) => {
                let bad = raw.utf8_chunks().find(|chunk| !chunk.invalid().is_empty());
                !self.takes_link(trial, bad.map_or(raw, |chunk| chunk.invalid()))?
            }
            None => false,
        };
        Ok(Symlinks { longest, only_text })
    }

    fn takes_len(&self, trial: &Folder, len: usize) -> Result<bool, IoFault> {
        self.takes_link(trial, &vec![b'x'; len])
    }

    /// Tries a symlink with that content.
    fn takes_link(&self, trial: &Folder, content: &[u8]) -> Result<bool, IoFault> {
        let takes = self.takes(trial.symlink(content, b"link"))?;
        os::if_there(trial.remove_file(b"link")).at("remove", &self.path)?;
        Ok(takes)
    }

    /// Gives one file as many hard links as the most linked file of `entries` has. Returns how many names the file has
    /// when the next one is refused; `None` if all are taken.
    fn names(&self, trial: &Folder, entries: &[Entry]) -> Result<Option<u64>, IoFault> {
        let mut links: HashMap<&[u8], u64> = HashMap::new();
        for entry in entries {
            if let Kind::Hardlink(first) = &entry.kind {
                *links.entry(first.as_bytes()).or_default() += 1;
            }
        }
        let most = links.into_values().max().unwrap_or(0).min(MOST_NAMES);
        for at in 1..=most {
            match trial.hard_link(b"file", trial, at.to_string().as_bytes()) {
                // Want of room is no limit of names, and is checked where all entries are counted.
                Err(error) if at > 1 && os::is_full(&error) => return Ok(None),
                made => {
                    if !self.takes(made)? {
                        return Ok(Some(at));
                    }
                }
            }
        }
        Ok(None)
    }

    /// Whether a hole takes as much room as data; `false` if the system does not say. The file loses its name before it
    /// grows, so that a killed run leaves only an empty one.
    fn fills_holes(&self, trial: &Folder) -> Result<bool, IoFault> {
        let file = trial.create_new(b"holes").at("create", &self.path)?;
        trial.remove_file(b"holes").at("remove", &self.path)?;
        let room = file.set_len(HOLE).and_then(|()| file.metadata()).map(|meta| meta.blocks() * 512);
        Ok(room.is_ok_and(|room| room >= HOLE))
    }

    /// Whether the file system took what was to be made; `false` if it refused.
    ///
    /// # Errors
    /// The error is no refusal, for instance of a failing drive, or the trial folder is gone: then any refusal would
    /// be about the folder.
    fn takes<T>(&self, made: io::Result<T>) -> Result<bool, IoFault> {
        match made {
            Ok(_) => Ok(true),
            Err(error) if os::is_refusal(&error) && self.path.is_dir() => Ok(false),
            Err(error) => Err(error).at("try names and links in", &self.path),
        }
    }

    /// Removes the trial folder. Returns its path if that failed, so that the caller can name it.
    pub(crate) fn end(self) -> Option<PathBuf> {
        let path = self.path.clone();
        drop(self);
        path.symlink_metadata().is_ok().then_some(path)
    }

    /// Makes an empty folder for one trial. Its path is about as long as that of the staging folder for files, so that
    /// a limit on whole paths shows here as it will there.
    fn trial(&self) -> Result<Folder, IoFault> {
        self.trials.set(self.trials.get() + 1);
        let name = format!("{:012}", self.trials.get());
        let made = self.folder.make_folder(name.as_bytes()).and_then(|()| self.folder.enter(name.as_bytes()));
        made.at("create", &self.path.join(name))
    }
}

impl NameTrial for Probe {
    /// A name counts as kept if the folder then lists it, in any Unicode normalisation, and finds it.
    fn keeps(&self, name: &[u8]) -> Result<bool, IoFault> {
        let trial = self.trial()?;
        let mut kept = self.takes(trial.create_new(name))?;
        if kept {
            let found = trial.names().at("look into", &self.path)?;
            kept = found.iter().any(|found| is_same_text(found, name)) && trial.look_at(name).is_ok();
        }
        clear(&trial);
        Ok(kept)
    }

    /// A name that falls together with an earlier one, for instance in another case, cannot be created anew.
    fn apart(&self, names: &[&[u8]]) -> Result<Vec<bool>, IoFault> {
        let trial = self.trial()?;
        let apart = names.iter().map(|name| self.takes(trial.create_new(name))).collect();
        clear(&trial);
        apart
    }

    fn reach(&self, path: &[u8]) -> Result<usize, IoFault> {
        let trial = self.trial()?;
        let reach = self.reach_in(&trial, path);
        clear(&trial);
        match reach {
            // Want of room is no limit of paths, and is checked where all entries are counted.
            Err(fault) if os::is_full(&fault.source) => Ok(path.len()),
            reach => reach,
        }
    }
}

impl Probe {
    /// Makes a folder for each name of a path, also for the last one. Returns how many bytes of the path could be made;
    /// within the first name that is refused, the longest prefix counts.
    fn reach_in(&self, trial: &Folder, path: &[u8]) -> Result<usize, IoFault> {
        let mut place = OpenPath::new(trial);
        let mut reach = 0;
        for name in path.split(|byte| *byte == b'/') {
            let slash = usize::from(reach > 0);
            if !self.takes(place.here().make_folder(name))? {
                let len = most_of(name.len(), |len| self.takes_folder(place.here(), &name[..len]))?;
                return Ok(if len > 0 { reach + slash + len } else { reach });
            }
            reach += slash + name.len();
            // A folder that can be made but not entered can hold nothing.
            if reach < path.len() && !self.takes(place.enter(name))? {
                break;
            }
        }
        Ok(reach)
    }

    /// Tries a folder with that name, and removes it.
    fn takes_folder(&self, parent: &Folder, name: &[u8]) -> Result<bool, IoFault> {
        let takes = self.takes(parent.make_folder(name))?;
        os::if_there(parent.remove_folder(name)).at("remove", &self.path)?;
        Ok(takes)
    }
}

impl Drop for Probe {
    fn drop(&mut self) {
        // A removal that failed once may succeed the second time.
        for _ in 0..2 {
            clear(&self.folder);
            let _ = std::fs::remove_dir(&self.path);
        }
    }
}

/// The greatest length below `refused` that is taken, by bisection; 0 if none is. Assumes that every shorter length is
/// taken, too.
fn most_of(refused: usize, takes: impl Fn(usize) -> Result<bool, IoFault>) -> Result<usize, IoFault> {
    let mut most = 0;
    let mut refused = refused;
    while refused - most > 1 {
        let middle = most + (refused - most) / 2;
        if takes(middle)? { most = middle } else { refused = middle }
    }
    Ok(most)
}

/// Empties a trial folder: removes folders, links and empty files. A file with content is never of a trial, and stays.
fn clear(folder: &Folder) {
    let _ = traverse(folder, remove_if_empty, |folder, name| {
        let _ = folder.remove_folder(name);
        Ok(())
    });
}

/// Removes a link or an empty file. Returns whether the name is a folder, to be entered.
fn remove_if_empty(place: &OpenPath, name: &[u8]) -> io::Result<bool> {
    let Ok(status) = place.here().look_at(name) else { return Ok(false) };
    if !status.is_dir() && (!status.is_file() || status.size == 0) {
        let _ = place.here().remove_file(name);
    }
    Ok(status.is_dir())
}

/// Whether a folder holds only what a trial makes: folders, links and empty files, at any depth.
fn is_of_a_trial(folder: &Folder) -> bool {
    traverse(folder, check_is_of_a_trial, |_, _| Ok(())).is_ok()
}

/// Checks that a name may be of a trial. Returns whether it is a folder, to be entered.
fn check_is_of_a_trial(place: &OpenPath, name: &[u8]) -> io::Result<bool> {
    let status = place.here().look_at(name)?;
    let is_of_a_trial = status.is_dir() || status.is_link() || status.size == 0;
    if is_of_a_trial { Ok(status.is_dir()) } else { Err(io::Error::other("it is somebody's")) }
}

/// The first and the last second that `file` keeps. Each is `None` if no entry lies beyond it, or if nothing near it is
/// kept. Symlinks do not count.
fn times(file: &File, entries: &[Entry]) -> (Option<i64>, Option<i64>) {
    let timed = entries.iter().filter(|entry| !matches!(entry.kind, Kind::Symlink(_)));
    let secs = timed.map(|entry| entry.mtime.secs);
    (bound(file, secs.clone().min(), &FIRST), bound(file, secs.max(), &LAST))
}

/// The kept time that is nearest to `extreme`; `None` if the file system keeps that. Candidates are the `known` ends,
/// and what the file system itself makes of the time, but only if it keeps that when asked for it. If nothing is kept,
/// the report says so after the times are set.
fn bound(file: &File, extreme: Option<i64>, known: &[i64]) -> Option<i64> {
    let secs = extreme.filter(|secs| kept(file, *secs).is_none())?;
    let candidates = made_of(file, secs).into_iter().chain(known.iter().copied());
    candidates.filter_map(|candidate| kept(file, candidate)).min_by_key(|there| there.abs_diff(secs))
}

/// What the file system makes of a time, which may be the nearest that it has.
fn made_of(file: &File, secs: i64) -> Option<i64> {
    os::set_mtime(file, Time { secs, nanos: 0 }).ok()?;
    file.metadata().ok().map(|meta| meta.mtime())
}

/// The same if it is close enough to count as kept.
fn kept(file: &File, secs: i64) -> Option<i64> {
    made_of(file, secs).filter(|there| there.abs_diff(secs) <= COARSE)
}

#[cfg(test)]
mod tests;
