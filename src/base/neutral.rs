//! Gives all files and folders of volumes the same metadata, so that a drive shows as little as it can of when it was
//! written and by which user: one time, one mode for files and one for folders, and the owner root if root writes. Not
//! covered: the times that a file system keeps for itself (creation, change of metadata), inode numbers, and the owner
//! if an ordinary user writes.

use std::fs::{File, FileTimes, Metadata, Permissions};
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt, fchown};
use std::path::Path;
use std::time::{Duration, SystemTime};

use crate::base::os;

/// 1980-01-01 00:00:00 UTC in seconds since 1970: the earliest moment that FAT can store.
const TIME: u64 = 315_532_800;
/// More seconds than the local time on a FAT can differ from UTC.
const ANY_ZONE: u64 = 2 * 86_400;
const FILE_MODE: u32 = 0o644;
const FOLDER_MODE: u32 = 0o755;

/// The common metadata, as one file system can store it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Neutral {
    time: SystemTime,
    is_fat: bool,
}

impl Neutral {
    /// Finds out what the file system of `folder` can store.
    ///
    /// FAT stores local time, so [`TIME`] on a FAT would show the time zone of this machine. A time before the earliest
    /// one becomes the earliest one in every zone. A FAT therefore gets a time that is two days too early.
    pub(crate) fn of(folder: &Path) -> io::Result<Self> {
        let is_fat = os::is_fat(folder)?;
        let secs = if is_fat { TIME - ANY_ZONE } else { TIME };
        Ok(Self { time: SystemTime::UNIX_EPOCH + Duration::from_secs(secs), is_fat })
    }

    /// Gives an open file or folder the common mode, owner and time, as far as the file system accepts them. The caller
    /// has written everything by then, and syncs afterwards. Returns whether the file system kept the time.
    ///
    /// # Errors
    /// The drive failed. A file system that refuses is no error.
    pub(crate) fn apply(self, file: &File) -> io::Result<bool> {
        let meta = file.metadata()?;
        if (meta.uid(), meta.gid()) != (0, 0) {
            unless_refused(fchown(file, Some(0), Some(0)))?;
        }
        if meta.mode() & 0o7777 != mode_of(&meta) {
            unless_refused(file.set_permissions(Permissions::from_mode(mode_of(&meta))))?;
        }
        unless_refused(file.set_times(FileTimes::new().set_accessed(self.time).set_modified(self.time)))?;
        // Some file systems accept a time without an error and keep their own.
        let kept = file.metadata()?.mtime();
        // A FAT reports its earliest moment in local time.
        Ok(kept.abs_diff(TIME as i64) <= ANY_ZONE)
    }

    /// Does the same for a file that an earlier run wrote, and syncs it. Leaves a file alone that has the metadata
    /// already.
    pub(crate) fn apply_to(self, path: &Path) -> io::Result<bool> {
        let file = os::open_regular(path)?;
        let meta = file.metadata()?;
        let has_time = (meta.mtime(), meta.mtime_nsec()) == (TIME as i64, 0);
        // A FAT does not record the zone of a time, so the time of an earlier run may come from another zone.
        if has_time && meta.mode() & 0o7777 == mode_of(&meta) && !self.is_fat {
            return Ok(true);
        }
        let took = self.apply(&file)?;
        file.sync_all()?;
        Ok(took)
    }

    /// Does the same for a folder and syncs it. Nothing in it is created or renamed afterwards, for that would change
    /// its time.
    pub(crate) fn apply_to_folder(self, path: &Path) -> io::Result<bool> {
        let took = self.apply(&File::open(path)?)?;
        os::sync_dir(path)?;
        Ok(took)
    }
}

fn mode_of(meta: &Metadata) -> u32 {
    if meta.is_dir() { FOLDER_MODE } else { FILE_MODE }
}

/// Takes a refusal as success: a volume is valid without neutral metadata.
fn unless_refused(done: io::Result<()>) -> io::Result<()> {
    match done {
        Err(error) if os::is_refusal(&error) || error.kind() == io::ErrorKind::ReadOnlyFilesystem => Ok(()),
        done => done,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn looks(path: &Path) -> (u32, i64, i64, i64) {
        let meta = path.symlink_metadata().unwrap();
        (meta.mode() & 0o7777, meta.mtime(), meta.mtime_nsec(), meta.atime())
    }

    #[test]
    fn files_and_folders_are_made_alike() {
        let dir = tempfile::tempdir().unwrap();
        let (file, folder) = (dir.path().join("file"), dir.path().join("folder"));
        std::fs::write(&file, b"x").unwrap();
        std::fs::create_dir(&folder).unwrap();
        let neutral = Neutral::of(dir.path()).unwrap();
        for mode in [0o600, 0o644, 0o777, 0o400] {
            std::fs::set_permissions(&file, Permissions::from_mode(mode)).unwrap();
            assert!(neutral.apply(&File::open(&file).unwrap()).unwrap());
            assert_eq!(looks(&file), (0o644, 315_532_800, 0, 315_532_800));
        }
        assert!(neutral.apply_to_folder(&folder).unwrap());
        assert_eq!(looks(&folder), (0o755, 315_532_800, 0, 315_532_800));
    }

    #[test]
    fn what_an_earlier_run_wrote_is_touched_once() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        std::fs::write(&file, b"x").unwrap();
        let neutral = Neutral::of(dir.path()).unwrap();
        assert!(neutral.apply_to(&file).unwrap());
        let changed = |path: &Path| path.metadata().map(|meta| (meta.ctime(), meta.ctime_nsec())).unwrap();
        let before = changed(&file);
        std::thread::sleep(Duration::from_millis(20));
        assert!(neutral.apply_to(&file).unwrap());
        assert_eq!(changed(&file), before);
        std::os::unix::fs::symlink(&file, dir.path().join("link")).unwrap();
        assert!(neutral.apply_to(&dir.path().join("link")).is_err(), "no link is followed");
    }

    #[test]
    fn what_is_refused_is_no_error_and_a_drive_that_fails_is() {
        assert!(unless_refused(Err(io::Error::from_raw_os_error(1))).is_ok());
        assert!(unless_refused(Err(io::Error::from_raw_os_error(38))).is_ok());
        assert!(unless_refused(Err(io::Error::from_raw_os_error(5))).is_err());
    }
}
