//! Sets modes and times, and reads back what the target made of them: file systems drop, clamp and round them without
//! an error.
//!
//! Not guaranteed: that a value survives a remount. A driver that remembers what it cannot store until then
//! (exfat-fuse) is believed.

use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::base::entry::{Entry, Time};
use crate::base::os;

/// How the target took the mode and time of one file, folder or link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct MetadataResult {
    /// Whether it has the packed mode.
    pub(crate) mode: bool,
    /// Nanoseconds between its time and the packed one.
    pub(crate) off: u64,
}

/// How many files, folders and links have another mode or time than the packed one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct MetadataDifferences {
    /// How many have another mode.
    pub(crate) modes: u64,
    /// How many have another time.
    pub(crate) times: u64,
    /// The largest difference of a time, in nanoseconds.
    pub(crate) off: u64,
}

/// Collects an [`MetadataDifferences`] from many threads.
#[derive(Default)]
pub(super) struct Tally {
    modes: AtomicU64,
    times: AtomicU64,
    off: AtomicU64,
}

impl Tally {
    pub(super) fn add(&self, dressed: MetadataResult) {
        self.modes.fetch_add(u64::from(!dressed.mode), Ordering::Relaxed);
        self.times.fetch_add(u64::from(dressed.off > 0), Ordering::Relaxed);
        self.off.fetch_max(dressed.off, Ordering::Relaxed);
    }

    pub(super) fn sum(&self) -> MetadataDifferences {
        MetadataDifferences {
            modes: self.modes.load(Ordering::Relaxed),
            times: self.times.load(Ordering::Relaxed),
            off: self.off.load(Ordering::Relaxed),
        }
    }
}

/// Sets the packed mode and time of an open file or folder, as far as the target supports them.
///
/// # Errors
/// Any failure other than a refusal: a target without modes or times is no error.
pub(super) fn set_metadata(file: &File, entry: &Entry) -> io::Result<MetadataResult> {
    // A refused mode must not cost the time. The mode comes last, because it may forbid further changes.
    unless_refused(os::set_mtime(file, entry.mtime))?;
    unless_refused(os::set_mode(file, entry.mode))?;
    look(file, entry)
}

/// Compares the mode and time of an open file or folder with the packed ones. Changes nothing.
pub(super) fn look(file: &File, entry: &Entry) -> io::Result<MetadataResult> {
    let meta = file.metadata()?;
    Ok(MetadataResult {
        mode: meta.mode() & 0o777 == entry.mode & 0o777,
        off: apart(entry.mtime, meta.mtime(), meta.mtime_nsec()),
    })
}

fn unless_refused(done: io::Result<()>) -> io::Result<()> {
    use io::ErrorKind::{InvalidInput, PermissionDenied, Unsupported};
    match done {
        Err(error) if matches!(error.kind(), PermissionDenied | Unsupported | InvalidInput) => Ok(()),
        done => done,
    }
}

/// Nanoseconds between a packed time and one from the file system; [`u64::MAX`] if they are further apart than that.
pub(super) fn apart(time: Time, secs: i64, nanos: i64) -> u64 {
    let apart = nanoseconds(time.secs, time.nanos.into()).abs_diff(nanoseconds(secs, nanos));
    u64::try_from(apart).unwrap_or(u64::MAX)
}

fn nanoseconds(secs: i64, nanos: i64) -> i128 {
    i128::from(secs) * 1_000_000_000 + i128::from(nanos)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::layout::tests::file;

    #[test]
    fn what_became_of_modes_and_times_is_asked() {
        let held = tempfile::tempfile().unwrap();
        let mut entry = file("a", 1);
        (entry.mode, entry.mtime) = (0o640, Time { secs: 1_000_000_001, nanos: 7 });
        assert_eq!(set_metadata(&held, &entry).unwrap(), MetadataResult { mode: true, off: 0 });
        assert_eq!(apart(entry.mtime, 1_000_000_001, 0), 7);
        assert_eq!(apart(Time { secs: -1, nanos: 500_000_000 }, 0, 0), 500_000_000);
        assert_eq!(apart(Time { secs: i64::MIN, nanos: 0 }, i64::MAX, 0), u64::MAX);
    }

    #[test]
    fn a_tally_counts_what_differs() {
        let tally = Tally::default();
        for (mode, off) in [(true, 0), (false, 3), (true, 9), (true, 5)] {
            tally.add(MetadataResult { mode, off });
        }
        assert_eq!(tally.sum(), MetadataDifferences { modes: 1, times: 3, off: 9 });
    }

    #[test]
    fn what_the_target_has_not_is_no_error() {
        assert!(unless_refused(Err(io::ErrorKind::PermissionDenied.into())).is_ok());
        assert!(unless_refused(Err(io::Error::from_raw_os_error(5))).is_err());
    }
}
