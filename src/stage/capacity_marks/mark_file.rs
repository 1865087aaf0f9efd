//! The marks of the capacity test, and the files that hold them. A mark is made of its place, so a mark that comes back
//! from another place, or from an earlier run, is wrong.
//!
//! Not guaranteed: that a mark went past the cache. [`MarkFile::is_direct`] tells.

use std::cell::Cell;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use crate::base::digest::quick;
use crate::base::direct::aligned;
use crate::base::os;

/// Most bytes of one write.
pub(super) const PIECE: u64 = 1 << 20;
/// A test file has this name for a moment where the file system cannot make nameless files.
const NAME: &str = ".pouch-spread";

/// A mark that was written.
pub(super) struct WrittenMark {
    /// Offset in the free room, if the file system gives out room as expected.
    pub(super) at: u64,
    /// Offset in the file.
    pub(super) offset: u64,
    pub(super) len: u64,
}

/// A file for marks, open past the cache as long as the file system takes that.
pub(super) struct MarkFile {
    pub(super) file: File,
    direct: Cell<bool>,
}

impl MarkFile {
    pub(super) fn new(folder: &Path) -> io::Result<Self> {
        let file = os::create_nameless(folder, NAME)?;
        let direct = os::pass_cache(&file, true).into();
        Ok(Self { file, direct })
    }

    pub(super) fn is_direct(&self) -> bool {
        self.direct.get()
    }

    /// Reads or writes past the cache; once the file system refuses that (EINVAL), through it.
    fn with(&self, mut deal: impl FnMut(&File) -> io::Result<()>) -> io::Result<()> {
        match deal(&self.file) {
            Err(error) if self.is_direct() && error.raw_os_error() == Some(22) => {
                os::pass_cache(&self.file, false);
                self.direct.set(false);
                deal(&self.file)
            }
            other => other,
        }
    }
}

/// Writes and reads marks in one aligned buffer, which direct I/O needs.
pub(super) struct MarkWriter {
    seed: [u8; 16],
    buf: Vec<u8>,
    start: usize,
}

impl MarkWriter {
    pub(super) fn new(seed: [u8; 16]) -> Self {
        let (buf, start) = aligned(PIECE as usize);
        Self { seed, buf, start }
    }

    /// The 16 bytes for place `at`. The random seed keeps an earlier run's marks from passing for this run's.
    fn block(&self, at: u64) -> [u8; 16] {
        let mut key = [0; 24];
        key[..16].copy_from_slice(&self.seed);
        key[16..].copy_from_slice(&at.to_le_bytes());
        quick(&key).to_le_bytes()
    }

    /// Writes a mark; a drive error adds it to `wrong`. Returns `false` on any other error.
    pub(super) fn write(&mut self, mark_file: &MarkFile, mark: &WrittenMark, wrong: &mut Vec<u64>) -> bool {
        let range = self.start..self.start + mark.len as usize;
        for (number, at) in (mark.at..mark.at + mark.len).step_by(16).enumerate() {
            let block = self.block(at);
            self.buf[self.start + number * 16..][..16].copy_from_slice(&block);
        }
        match mark_file.with(|file| file.write_all_at(&self.buf[range.clone()], mark.offset)) {
            Err(error) if os::is_of_one_place(&error) => wrong.push(mark.at),
            Err(_) => return false,
            Ok(()) => {}
        }
        true
    }

    /// Whether a mark reads as it was written; `None` if an error says nothing about the drive.
    pub(super) fn reads(&mut self, mark_file: &MarkFile, mark: &WrittenMark) -> Option<bool> {
        let range = self.start..self.start + mark.len as usize;
        match mark_file.with(|file| file.read_exact_at(&mut self.buf[range.clone()], mark.offset)) {
            Err(error) => os::is_of_one_place(&error).then_some(false),
            Ok(()) => {
                let mut blocks = self.buf[range].chunks(16).zip((mark.at..).step_by(16));
                Some(blocks.all(|(block, at)| block == self.block(at)))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MARK: WrittenMark = WrittenMark { at: 1 << 30, offset: 4096, len: 8192 };

    /// A file that holds [`MARK`].
    fn marked(folder: &Path, writer: &mut MarkWriter) -> MarkFile {
        let mark_file = MarkFile::new(folder).unwrap();
        let mut wrong = Vec::new();
        assert!(writer.write(&mark_file, &MARK, &mut wrong) && wrong.is_empty());
        mark_file
    }

    #[test]
    fn a_mark_reads_as_it_was_written() {
        let folder = tempfile::tempdir().unwrap();
        let mut writer = MarkWriter::new([7; 16]);
        let mark_file = marked(folder.path(), &mut writer);
        assert_eq!(writer.reads(&mark_file, &MARK), Some(true));
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "the file has no name");
    }

    #[test]
    fn a_mark_of_another_place_or_run_is_wrong() {
        let folder = tempfile::tempdir().unwrap();
        let mut writer = MarkWriter::new([7; 16]);
        let mark_file = marked(folder.path(), &mut writer);
        let elsewhere = WrittenMark { at: 2 << 30, ..MARK };
        assert_eq!(writer.reads(&mark_file, &elsewhere), Some(false));
        assert_eq!(MarkWriter::new([8; 16]).reads(&mark_file, &MARK), Some(false));
    }

    #[test]
    fn a_mark_that_ends_early_says_nothing_about_the_drive() {
        let folder = tempfile::tempdir().unwrap();
        let mut writer = MarkWriter::new([7; 16]);
        let mark_file = marked(folder.path(), &mut writer);
        mark_file.file.set_len(MARK.offset + 4096).unwrap();
        assert_eq!(writer.reads(&mark_file, &MARK), None);
    }
}
