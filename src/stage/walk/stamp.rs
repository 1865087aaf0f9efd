//! What the system said of a file when it was walked: enough to notice later that the file changed or was replaced.
//! Not guaranteed: that a change is noticed which leaves size and all times as they were.

use std::fs::Metadata;
use std::time::{Duration, SystemTime};

use crate::base::digest::quick;
use crate::base::entry::{Entry, Kind};
use crate::base::os::folder::Status;

/// Longer than one step of the clock that Linux takes the times of files from.
const FINE_STEP: Duration = Duration::from_millis(20);
/// The same for file systems that keep whole seconds, or every second one (FAT).
const COARSE_STEP: Duration = Duration::from_secs(2);

/// Identity, size and times of a file. If two stamps of one path differ, the file changed between them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Stamp {
    pub(super) dev: u64,
    pub(super) ino: u64,
    size: u64,
    /// Seconds since 1970, and nanoseconds; so is `ctime`.
    mtime: (i64, i64),
    ctime: (i64, i64),
}

impl Stamp {
    /// The stamp that these metadata give.
    pub(crate) fn of(meta: &Metadata) -> Self {
        Self::new(&meta.into())
    }

    pub(super) fn new(status: &Status) -> Self {
        let Status { dev, ino, size, mtime, ctime, .. } = *status;
        Self { dev, ino, size, mtime, ctime }
    }

    /// Device and inode.
    pub(crate) fn id(&self) -> (u64, u64) {
        (self.dev, self.ino)
    }

    /// How long to wait until any write changes the times: until the clock of the file system has moved on since the
    /// last change. Times in the future need no wait, because any write changes them.
    pub(crate) fn until_it_tells(&self, now: SystemTime) -> Duration {
        let (secs, nanos) = self.mtime.max(self.ctime);
        let step = if nanos == 0 { COARSE_STEP } else { FINE_STEP };
        let since_epoch = Duration::new(secs.max(0) as u64, nanos as u32);
        let age = now.duration_since(SystemTime::UNIX_EPOCH + since_epoch);
        age.map_or(Duration::ZERO, |age| step.saturating_sub(age))
    }

    /// Size and times as bytes for a hash. Device and inode are left out, because they may differ in a later run.
    pub(super) fn bytes(&self) -> Vec<u8> {
        let numbers = [self.size as i64, self.mtime.0, self.mtime.1, self.ctime.0, self.ctime.1];
        numbers.iter().flat_map(|number| number.to_be_bytes()).collect()
    }

    /// 8 bytes of a hash of path, kind, size, mode and times, so that a changed entry has another mark. The change time
    /// counts for files only: of folders and links only what is packed of them matters.
    pub(super) fn mark(&self, entry: &Entry) -> u64 {
        let mut bytes = entry.path.as_bytes().to_vec();
        bytes.push(0);
        match &entry.kind {
            Kind::Symlink(to) => bytes.extend_from_slice(to),
            Kind::Hardlink(first) => bytes.extend_from_slice(first.as_bytes()),
            Kind::File => [self.ctime.0, self.ctime.1].iter().for_each(|n| bytes.extend(n.to_be_bytes())),
            Kind::Dir => {}
        }
        bytes.push(0);
        bytes.extend_from_slice(entry.kind.word().as_bytes());
        for number in [entry.size as i64, entry.mode.into(), entry.mtime.secs, entry.mtime.nanos.into()] {
            bytes.extend(number.to_be_bytes());
        }
        quick(&bytes) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_tell_once_the_clock_has_moved_on() {
        let at = |secs, nanos| Stamp { dev: 0, ino: 0, size: 0, mtime: (1, 5), ctime: (secs, nanos) };
        let now = SystemTime::UNIX_EPOCH + Duration::new(100, 15_000_000);
        let wait = |stamp: Stamp| stamp.until_it_tells(now).as_millis();
        assert_eq!(wait(at(100, 5_000_000)), 10, "10 ms of 20 are gone");
        assert_eq!(wait(at(99, 5_000_000)), 0);
        assert_eq!(wait(at(100, 0)), 1985, "whole seconds: 15 ms of 2 s are gone");
        assert_eq!(wait(at(98, 0)), 0);
        assert_eq!(wait(at(1000, 0)), 0, "a time in the future changes with any write");
        assert_eq!(wait(at(-5, 0)), 0);
    }
}
