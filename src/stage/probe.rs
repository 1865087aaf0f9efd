//! What a target takes, tried in a private folder of its own inside it, which is removed again.
//! Nothing is told from the file system's name but the one thing that cannot be tried.

use std::cell::Cell;
use std::fs::{DirBuilder, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use crate::base::entry::{Entry, Kind, Time};
use crate::base::fault::{At, IoFault};
use crate::base::os;
use crate::base::path::{as_bytes, as_path};
use crate::plan::fold::is_same_text;
use crate::plan::names::{Ground, Limits};

/// Always the same name, so that what a run left that was killed is found.
const NAME: &str = ".pouch-trial";
/// The most that FAT counts.
const FAT_LARGEST: u64 = u32::MAX as u64;
/// Where file systems begin and end: 1901 and 1970, FAT's 1980 in any time zone; then NTFS-like
/// drivers, ext4's 2446, FAT's 2107, 2106 and 2038.
const FIRST: [i64; 4] = [-(1 << 31), 0, 315_532_800, 315_619_200];
const LAST: [i64; 5] = [15_032_385_535, 4_354_819_198, 4_354_732_798, 4_294_967_295, 2_147_483_647];
/// FAT counts in twos.
const COARSE: u64 = 2;

/// The folder.
pub struct Probe {
    folder: PathBuf,
    /// Each trial in a folder of its own.
    trials: Cell<u32>,
    /// Open and locked: one run at a time.
    _lock: File,
}

impl Probe {
    /// Makes the folder; what a killed run left in it is removed.
    pub fn begin(target: &Path) -> Result<Self, IoFault> {
        let mut folder = target.join(NAME);
        loop {
            let mut private = DirBuilder::new();
            match private.mode(0o700).create(&folder) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                    let is_dir = folder.symlink_metadata().is_ok_and(|meta| meta.is_dir());
                    if !is_dir || !is_empty(&folder, 2) {
                        folder.as_mut_os_string().push("-");
                        continue;
                    }
                }
                made => made.at("create", &folder)?,
            }
            let lock = File::open(&folder).at("open", &folder)?;
            if os::try_lock(&lock).at("lock", &folder)? {
                let probe = Self { folder, trials: Cell::new(0), _lock: lock };
                clear(&probe.folder, 2);
                return Ok(probe);
            }
            folder.as_mut_os_string().push("-");
        }
    }

    /// Links, sizes and times, as far as these entries have such.
    pub fn limits(&self, entries: &[Entry]) -> Result<Limits, IoFault> {
        let (file, link) = (self.folder.join("file"), self.folder.join("link"));
        let made = File::create_new(&file).at("create", &file)?;
        let symlinks = !entries.iter().any(|entry| matches!(entry.kind, Kind::Symlink(_)))
            || self.takes(std::os::unix::fs::symlink("file", &link), &link)?;
        os::remove_if_there(&link).at("remove", &link)?;
        let hardlinks = !entries.iter().any(|entry| matches!(entry.kind, Kind::Hardlink(_)))
            || self.takes(std::fs::hard_link(&file, &link), &link)?;
        os::remove_if_there(&link).at("remove", &link)?;
        let largest = os::is_fat(&self.folder).at("look at", &self.folder)?.then_some(FAT_LARGEST);
        let times = times(&made, entries);
        drop(made);
        let _ = std::fs::remove_file(&file);
        Ok(Limits { symlinks, hardlinks, largest, times })
    }

    /// Whether something could be made; an error that says nothing about what may be made is one, and
    /// so is any where nothing can be made any more.
    fn takes<T>(&self, made: io::Result<T>, path: &Path) -> Result<bool, IoFault> {
        match made {
            Ok(_) => Ok(true),
            Err(error) if os::is_refusal(&error) && self.folder.is_dir() => Ok(false),
            Err(error) => Err(error).at("create", path),
        }
    }

    /// Removes the folder; where it is, if that failed.
    pub fn end(self) -> Option<PathBuf> {
        let folder = self.folder.clone();
        drop(self);
        folder.symlink_metadata().is_ok().then_some(folder)
    }

    fn trial(&self) -> Result<PathBuf, IoFault> {
        self.trials.set(self.trials.get() + 1);
        let folder = self.folder.join(self.trials.get().to_string());
        std::fs::create_dir(&folder).at("create", &folder)?;
        Ok(folder)
    }
}

impl Ground for Probe {
    fn keeps(&self, name: &[u8]) -> Result<bool, IoFault> {
        let folder = self.trial()?;
        let path = folder.join(as_path(name));
        let mut kept = self.takes(File::create_new(&path), &path)?;
        if kept {
            let found = std::fs::read_dir(&folder).at("look into", &folder)?.flatten();
            kept = found.into_iter().any(|entry| is_same_text(as_bytes(Path::new(&entry.file_name())), name));
            kept &= path.symlink_metadata().is_ok();
        }
        remove(&folder, 1);
        Ok(kept)
    }

    fn apart(&self, names: &[&[u8]]) -> Result<Vec<bool>, IoFault> {
        let folder = self.trial()?;
        let made = names.iter().map(|name| {
            let path = folder.join(as_path(name));
            self.takes(File::create_new(&path), &path)
        });
        let apart = made.collect();
        remove(&folder, 1);
        apart
    }
}

impl Drop for Probe {
    fn drop(&mut self) {
        remove(&self.folder, 2);
        // What failed once may do now.
        remove(&self.folder, 2);
    }
}

/// Removes empty files and folders, so many floors down, as a trial makes them; anything else stays.
fn clear(folder: &Path, depth: u32) {
    for child in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        match child.path().symlink_metadata() {
            Ok(meta) if meta.is_dir() && depth > 0 => remove(&child.path(), depth - 1),
            Ok(meta) if !meta.is_file() || meta.len() == 0 => drop(std::fs::remove_file(child.path())),
            _ => {}
        }
    }
}

fn remove(folder: &Path, depth: u32) {
    clear(folder, depth);
    let _ = std::fs::remove_dir(folder);
}

/// Whether a folder holds nothing but what a trial makes.
fn is_empty(folder: &Path, depth: u32) -> bool {
    std::fs::read_dir(folder).into_iter().flatten().flatten().all(|child| match child.path().symlink_metadata() {
        Ok(meta) if meta.is_dir() => depth > 0 && is_empty(&child.path(), depth - 1),
        Ok(meta) => meta.len() == 0 || meta.is_symlink(),
        Err(_) => false,
    })
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
        std::fs::create_dir_all(&left).unwrap();
        std::fs::write(left.join("a:b"), b"").unwrap();
        let probe = Probe::begin(target.path()).unwrap();
        assert!(!left.exists(), "what a killed run left is gone");
        assert!(probe.keeps(b"plain").unwrap() && probe.keeps(b"a:b \xff.").unwrap());
        assert!(!probe.keeps(&[b'x'; 256]).unwrap());
        assert_eq!(probe.apart(&[b"a", b"A", b"a"]).unwrap(), [true, true, false]);
        let limits = probe.limits(&[file("a", 1), symlink("l", "a")]).unwrap();
        assert!(limits.symlinks && limits.hardlinks && limits.largest.is_none());
        drop(probe);
        assert_eq!(std::fs::read_dir(target.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_failing_drive_refuses_no_name() {
        let target = tempfile::tempdir().unwrap();
        let probe = Probe::begin(target.path()).unwrap();
        let takes = |code: i32| probe.takes::<()>(Err(io::Error::from_raw_os_error(code)), target.path());
        for fault in [5, 12, 19, 24, 28, 30, 107, 121, 122] {
            assert!(takes(fault).is_err(), "{fault}");
        }
        for refusal in [1, 22, 36, 84, 95] {
            assert!(!takes(refusal).unwrap(), "{refusal}");
        }
        std::fs::remove_dir(&probe.folder).unwrap();
        assert!(takes(22).is_err(), "nothing can be made where nothing is");
    }

    #[test]
    fn what_others_have_there_stays() {
        let target = tempfile::tempdir().unwrap();
        std::fs::create_dir(target.path().join(NAME)).unwrap();
        std::fs::write(target.path().join(NAME).join("diary"), b"mine").unwrap();
        let (one, two) = (Probe::begin(target.path()).unwrap(), Probe::begin(target.path()).unwrap());
        assert!(one.folder != two.folder && one.keeps(b"x").unwrap() && two.keeps(b"x").unwrap());
        drop((one, two));
        assert_eq!(std::fs::read(target.path().join(NAME).join("diary")).unwrap(), b"mine");
        assert_eq!(std::fs::read_dir(target.path()).unwrap().count(), 1);
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
