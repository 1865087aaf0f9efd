//! What a target takes, tried in a private folder of its own inside it, which is removed again.
//! Nothing is told from the file system's name but the one thing that cannot be tried.

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
use crate::plan::fold::is_same_text;
use crate::plan::holds::{Limits, Symlinks};
use crate::plan::names::Ground;

/// Always the same name, so that what a run left that was killed is found.
const NAME: &str = ".pouch-trial";
/// The most that FAT counts.
const FAT_LARGEST: u64 = u32::MAX as u64;
/// So many names of one file are tried, no more: any limit that is known lies below.
const MOST_NAMES: u64 = 1 << 17;
/// Where file systems begin and end: 1901 and 1970, FAT's 1980 in any time zone; then NTFS-like
/// drivers, ext4's 2446, FAT's 2107, 2106 and 2038.
const FIRST: [i64; 4] = [-(1 << 31), 0, 315_532_800, 315_619_200];
const LAST: [i64; 5] = [15_032_385_535, 4_354_819_198, 4_354_732_798, 4_294_967_295, 2_147_483_647];
/// A length that no file system stores beside the file's other data.
const HOLE: u64 = 1 << 20;
/// FAT counts in twos.
const COARSE: u64 = 2;

/// The folder.
pub struct Probe {
    path: PathBuf,
    folder: Folder,
    /// Each trial in a folder of its own.
    trials: Cell<u32>,
    /// Open and locked: one run at a time.
    _lock: File,
}

impl Probe {
    /// Makes the folder; what a killed run left in it is removed.
    pub fn begin(target: &Path) -> Result<Self, IoFault> {
        let mut path = target.join(NAME);
        loop {
            let mut private = DirBuilder::new();
            match private.mode(0o700).create(&path) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                    let is_dir = path.symlink_metadata().is_ok_and(|meta| meta.is_dir());
                    if !is_dir || !Folder::open(&path).is_ok_and(|folder| is_of_a_trial(&folder)) {
                        path.as_mut_os_string().push("-");
                        continue;
                    }
                }
                made => made.at("create", &path)?,
            }
            let lock = File::open(&path).at("open", &path)?;
            if os::try_lock(&lock).at("lock", &path)? {
                let folder = Folder::open(&path).at("open", &path)?;
                clear(&folder);
                return Ok(Self { path, folder, trials: Cell::new(0), _lock: lock });
            }
            path.as_mut_os_string().push("-");
        }
    }

    /// Links, sizes and times, as far as these entries have such.
    pub fn limits(&self, entries: &[Entry]) -> Result<Limits, IoFault> {
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

    /// Tries the longest symlink, and one that is no UTF-8.
    fn symlinks(&self, trial: &Folder, entries: &[Entry]) -> Result<Symlinks, IoFault> {
        let contents = || {
            entries.iter().filter_map(|entry| match &entry.kind {
                Kind::Symlink(to) => Some(&to[..]),
                Kind::Dir | Kind::File | Kind::Hardlink(_) => None,
            })
        };
        let takes = |content: &[u8]| {
            let takes = self.takes(trial.symlink(content, b"link"))?;
            os::if_there(trial.remove_file(b"link")).at("remove", &self.path)?;
            Ok::<bool, IoFault>(takes)
        };
        let takes_len = |len: usize| takes(&vec![b'x'; len]);
        let longest = contents().map(<[u8]>::len).max().unwrap_or(0);
        let longest = if longest == 0 || takes_len(longest)? { None } else { Some(most_of(longest, takes_len)?) };
        let raw = contents().find(|content| std::str::from_utf8(content).is_err());
        let only_text = match raw {
            // Short, so that nothing but its bytes is tried.
            Some(raw) => {
                let bad = raw.utf8_chunks().find(|chunk| !chunk.invalid().is_empty());
                !takes(bad.map_or(raw, |chunk| chunk.invalid()))?
            }
            None => false,
        };
        Ok(Symlinks { longest, only_text })
    }

    /// Gives a file as many names as any of these has.
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
                // That is another limit, and asked for where all is counted.
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

    /// Whether a file without content takes as much room as one with it; not, where the system does not say. The file
    /// has no name by then: what a killed run leaves is empty.
    fn fills_holes(&self, trial: &Folder) -> Result<bool, IoFault> {
        let file = trial.create_new(b"holes").at("create", &self.path)?;
        trial.remove_file(b"holes").at("remove", &self.path)?;
        let room = file.set_len(HOLE).and_then(|()| file.metadata()).map(|meta| meta.blocks() * 512);
        Ok(room.is_ok_and(|room| room >= HOLE))
    }

    /// Whether something could be made; an error that says nothing about what may be made is one, and
    /// so is any where nothing can be made any more.
    fn takes<T>(&self, made: io::Result<T>) -> Result<bool, IoFault> {
        match made {
            Ok(_) => Ok(true),
            Err(error) if os::is_refusal(&error) && self.path.is_dir() => Ok(false),
            Err(error) => Err(error).at("try names and links in", &self.path),
        }
    }

    /// Removes the folder; where it is, if that failed.
    pub fn end(self) -> Option<PathBuf> {
        let path = self.path.clone();
        drop(self);
        path.symlink_metadata().is_ok().then_some(path)
    }

    /// A new folder for a trial. Its path is as long as that of the folder in which files are put together.
    fn trial(&self) -> Result<Folder, IoFault> {
        self.trials.set(self.trials.get() + 1);
        let name = format!("{:012}", self.trials.get());
        let made = self.folder.make_folder(name.as_bytes()).and_then(|()| self.folder.enter(name.as_bytes()));
        made.at("create", &self.path.join(name))
    }
}

impl Ground for Probe {
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
            // How many folders there is room for is another limit, and asked for where all is counted.
            Err(fault) if os::is_full(&fault.source) => Ok(path.len()),
            reach => reach,
        }
    }
}

impl Probe {
    /// Makes the folders of a path, the last name too, and says how many bytes of it were taken.
    fn reach_in(&self, trial: &Folder, path: &[u8]) -> Result<usize, IoFault> {
        let mut place = OpenPath::new(trial);
        let mut reach = 0;
        for name in path.split(|byte| *byte == b'/') {
            let takes = |len: usize| {
                let takes = self.takes(place.here().make_folder(&name[..len]))?;
                if len < name.len() {
                    os::if_there(place.here().remove_folder(&name[..len])).at("remove", &self.path)?;
                }
                Ok(takes)
            };
            let slash = usize::from(reach > 0);
            if !takes(name.len())? {
                let len = most_of(name.len(), takes)?;
                return Ok(if len > 0 { reach + slash + len } else { reach });
            }
            reach += slash + name.len();
            // A folder that can be made and not be entered holds nothing.
            if reach < path.len() && !self.takes(place.enter(name))? {
                break;
            }
        }
        Ok(reach)
    }
}

impl Drop for Probe {
    fn drop(&mut self) {
        // What failed once may do now.
        for _ in 0..2 {
            clear(&self.folder);
            let _ = std::fs::remove_dir(&self.path);
        }
    }
}

/// The greatest length below `refused` that is taken, if all that are shorter are; 0 if none is.
fn most_of(refused: usize, takes: impl Fn(usize) -> Result<bool, IoFault>) -> Result<usize, IoFault> {
    let (mut most, mut refused) = (0, refused);
    while refused - most > 1 {
        let middle = most + (refused - most) / 2;
        if takes(middle)? { most = middle } else { refused = middle }
    }
    Ok(most)
}

/// Removes the folders in a folder, and what a trial makes in them; anything else stays.
fn clear(folder: &Folder) {
    let meet = |place: &OpenPath, name: &[u8]| {
        let Ok(status) = place.here().look_at(name) else { return Ok(false) };
        if !status.is_dir() && (!status.is_file() || status.size == 0) {
            let _ = place.here().remove_file(name);
        }
        Ok(status.is_dir())
    };
    let _ = traverse(folder, meet, |folder, name| {
        let _ = folder.remove_folder(name);
        Ok(())
    });
}

/// Whether a folder holds nothing but what a trial makes.
fn is_of_a_trial(folder: &Folder) -> bool {
    let meet = |place: &OpenPath, name: &[u8]| {
        let status = place.here().look_at(name)?;
        let is_of_a_trial = status.is_dir() || status.is_link() || status.size == 0;
        if is_of_a_trial { Ok(status.is_dir()) } else { Err(io::Error::other("it is somebody's")) }
    };
    traverse(folder, meet, |_, _| Ok(())).is_ok()
}

/// The first and the last second that the file keeps, where an entry lies before or behind.
fn times(file: &File, entries: &[Entry]) -> (Option<i64>, Option<i64>) {
    let secs = || entries.iter().filter(|entry| !matches!(entry.kind, Kind::Symlink(_))).map(|entry| entry.mtime.secs);
    let keeps = |secs: i64| {
        os::set_mtime(file, Time { secs, nanos: 0 }).ok()?;
        file.metadata().ok().map(|meta| meta.mtime()).filter(|there| there.abs_diff(secs) <= COARSE)
    };
    let made_of = |secs: i64| {
        os::set_mtime(file, Time { secs, nanos: 0 }).ok()?;
        file.metadata().ok().map(|meta| meta.mtime())
    };
    // The nearest of those that it keeps: what it makes of the time by itself, if that is no accident,
    // and the known ends. Where nothing is kept, that is another note.
    let bound = |extreme: Option<i64>, known: &[i64]| {
        let secs = extreme.filter(|secs| keeps(*secs).is_none())?;
        let kept = made_of(secs).into_iter().chain(known.iter().copied()).filter_map(keeps);
        kept.min_by_key(|there| there.abs_diff(secs))
    };
    (bound(secs().min(), &FIRST), bound(secs().max(), &LAST))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::layout::tests::{file, symlink};

    #[test]
    fn a_trial_leaves_nothing() {
        let target = tempfile::tempdir().unwrap();
        let left = target.path().join(NAME).join("7");
        std::fs::create_dir_all(left.join("deep/deep/deep/deep")).unwrap();
        std::fs::write(left.join("a:b"), b"").unwrap();
        let probe = Probe::begin(target.path()).unwrap();
        assert!(!left.exists(), "what a killed run left is gone");
        assert!(probe.keeps(b"plain").unwrap() && probe.keeps(b"a:b \xff.").unwrap());
        assert!(!probe.keeps(&[b'x'; 256]).unwrap());
        assert_eq!(probe.apart(&[b"a", b"A", b"a"]).unwrap(), [true, true, false]);
        let limits = probe.limits(&[file("a", 1), symlink("l", "a")]).unwrap();
        let all = Symlinks { longest: None, only_text: false };
        assert!(limits.symlinks == all && limits.names.is_none() && limits.largest.is_none());
        let deep = [&[b'x'; 255][..]; 30].join(&b'/');
        assert_eq!(probe.reach(&deep).unwrap(), deep.len());
        drop(probe);
        assert_eq!(std::fs::read_dir(target.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_failing_drive_refuses_no_name() {
        let target = tempfile::tempdir().unwrap();
        let probe = Probe::begin(target.path()).unwrap();
        let takes = |code: i32| probe.takes::<()>(Err(io::Error::from_raw_os_error(code)));
        for fault in [5, 12, 19, 24, 28, 30, 107, 121, 122] {
            assert!(takes(fault).is_err(), "{fault}");
        }
        for refusal in [1, 22, 36, 84, 95] {
            assert!(!takes(refusal).unwrap(), "{refusal}");
        }
        std::fs::remove_dir(&probe.path).unwrap();
        assert!(takes(22).is_err(), "nothing can be made where nothing is");
    }

    #[test]
    fn what_others_have_there_stays() {
        let target = tempfile::tempdir().unwrap();
        std::fs::create_dir(target.path().join(NAME)).unwrap();
        std::fs::write(target.path().join(NAME).join("diary"), b"mine").unwrap();
        let (one, two) = (Probe::begin(target.path()).unwrap(), Probe::begin(target.path()).unwrap());
        assert!(one.path != two.path && one.keeps(b"x").unwrap() && two.keeps(b"x").unwrap());
        drop((one, two));
        assert_eq!(std::fs::read(target.path().join(NAME).join("diary")).unwrap(), b"mine");
        assert_eq!(std::fs::read_dir(target.path()).unwrap().count(), 1);
    }

    #[test]
    fn the_longest_that_is_taken_is_found() {
        for most in [0, 1, 7, 254] {
            assert_eq!(most_of(255, |len| Ok(len <= most)).unwrap(), most);
        }
    }

    #[test]
    fn a_symlink_that_no_linux_takes_is_found() {
        let target = tempfile::tempdir().unwrap();
        let probe = Probe::begin(target.path()).unwrap();
        let limits = probe.limits(&[symlink("l", &"x".repeat(4096)), symlink("m", "\u{e9}")]).unwrap();
        assert!(limits.symlinks.longest.is_some_and(|most| (60..4096).contains(&most)), "{limits:?}");
    }

    #[test]
    fn times_out_of_range_are_found() {
        let held = tempfile::tempfile().unwrap();
        let mut entries = [file("a", 1), file("b", 1)];
        entries[1].mtime.secs = 1 << 50;
        let (first, last) = times(&held, &entries);
        assert!(first.is_none() && last.is_none_or(|last| LAST.contains(&last)), "{last:?}");
    }
}
