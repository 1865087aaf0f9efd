//! Takes up free room without writing it, in files that are claimed or lengthened step by step.
//!
//! Not guaranteed: that the files take up all the room. A file system that can only fill files with zeros would write
//! for too long, so the room ends early there.

use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

use super::mark_file::MarkFile;
use crate::base::os::{self, StorageKind};

/// Most metadata bytes that a file system may write for claimed room.
pub(super) const MOST_NOTES: u64 = 20 << 20;
/// Room is claimed in steps that double or halve, so that each takes about [`STEP`].
pub(super) const FIRST_STEP: u64 = 8 << 20;
const LARGEST_STEP: u64 = 1 << 30;
const STEP: Duration = Duration::from_millis(60);

/// The next step, in bytes, after one that took so long.
pub(super) fn next_step(step: u64, took: Duration) -> u64 {
    match took {
        took if took < STEP => (step * 2).min(LARGEST_STEP),
        took if took > STEP * 2 => (step / 2).max(FIRST_STEP),
        _ => step,
    }
}

/// Files that take up the room between marks.
pub(super) struct Gaps<'a> {
    folder: &'a Path,
    files: Vec<MarkFile>,
    /// Length of the last file, in bytes.
    len: u64,
    step: u64,
    storing: StorageKind,
    /// Whether the file system gives a file room beyond its end.
    by_claiming: bool,
    /// Bytes that the system may have written to lengthen files.
    filled: u64,
    pub(super) ended: bool,
}

impl<'a> Gaps<'a> {
    pub(super) fn new(folder: &'a Path, first: MarkFile, storing: StorageKind) -> Self {
        let len = first.file.metadata().map_or(0, |meta| meta.len());
        let files = vec![first];
        Self { folder, files, len, step: FIRST_STEP, storing, by_claiming: true, filled: 0, ended: false }
    }

    /// Takes a step of room, at most `most` bytes. Returns how many; 0 at a new file or method, or at the end.
    pub(super) fn claim(&mut self, most: u64) -> u64 {
        let begun = Instant::now();
        let len = self.step.min(most);
        match self.extend(len) {
            Ok(()) => {
                self.len += len;
                self.step = next_step(self.step, begun.elapsed());
                return len;
            }
            // The file has reached the greatest length that the file system allows.
            Err(error) if error.kind() == io::ErrorKind::FileTooLarge && self.len > 0 => {
                if let Ok(next) = MarkFile::new(self.folder) {
                    self.files.push(next);
                    self.len = 0;
                    return 0;
                }
            }
            Err(error) if self.by_claiming && matches!(error.raw_os_error(), Some(38 | 95)) => {
                self.by_claiming = false;
                return 0;
            }
            Err(_) => {}
        }
        self.ended = true;
        0
    }

    fn extend(&mut self, len: u64) -> io::Result<()> {
        let file = &self.files[self.files.len() - 1].file;
        if self.by_claiming {
            return os::claim(file, self.len, len);
        }
        if self.filled > MOST_NOTES {
            return Err(io::ErrorKind::Unsupported.into());
        }
        let before = dirtied();
        file.set_len(self.len + len)?;
        // Some drivers only allocate the room, others fill it with zeros.
        self.filled += match (before, dirtied()) {
            (Some(before), Some(after)) if self.storing == StorageKind::Kernel => after - before,
            _ => len,
        };
        Ok(())
    }
}

/// Bytes that this thread has caused to be written; `None` if the kernel does not count them.
fn dirtied() -> Option<u64> {
    let counts = std::fs::read_to_string("/proc/thread-self/io").ok()?;
    counts.lines().find_map(|line| line.strip_prefix("write_bytes: "))?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_double_or_halve_within_their_bounds() {
        let (short, right, long) = (STEP / 2, STEP, STEP * 3);
        assert_eq!(next_step(32 << 20, short), 64 << 20);
        assert_eq!(next_step(32 << 20, right), 32 << 20);
        assert_eq!(next_step(32 << 20, STEP * 2), 32 << 20);
        assert_eq!(next_step(32 << 20, long), 16 << 20);
        assert_eq!(next_step(LARGEST_STEP, short), LARGEST_STEP);
        assert_eq!(next_step(FIRST_STEP, long), FIRST_STEP);
    }

    #[test]
    fn a_gap_is_as_long_as_asked_for() {
        let folder = tempfile::tempdir().unwrap();
        let first = MarkFile::new(folder.path()).unwrap();
        let mut gaps = Gaps::new(folder.path(), first, StorageKind::Kernel);
        // A file system that cannot claim room says so once, and is lengthened from then on.
        let claimed = match gaps.claim(4096) {
            0 if !gaps.ended => gaps.claim(4096),
            claimed => claimed,
        };
        assert_eq!((claimed, gaps.len), (4096, 4096));
    }
}
