//! Reads what a drive stores, rather than what the system remembers of what it wrote. Some file systems can only be
//! read through a cache. [`DriveReader::saw_cache`] then says that reading has proved nothing about the drive.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;

use crate::base::digest::{Digest, Hasher, quick};
use crate::base::memory;
use crate::base::os;

/// Bytes that are read in one go. Each stretch of a file has one mark.
const STRETCH: usize = 1 << 20;
/// Alignment in bytes of a buffer for reading past the cache.
const ALIGNED: usize = 4096;

/// Reads files from drives, one after the other, with one buffer.
pub(crate) struct DriveReader {
    /// Holds one stretch from `start` on, where it is aligned.
    buf: Vec<u8>,
    start: usize,
    /// Whether a cache may have answered any read since the reader was made.
    cached: bool,
}

/// Makes a mark for each stretch of a file. The writer keeps the marks, rather than the bytes, until it reads the file
/// back.
pub(crate) fn marks(bytes: &[u8]) -> Vec<u64> {
    bytes.chunks(STRETCH).map(|stretch| quick(stretch) as u64).collect()
}

impl Default for DriveReader {
    fn default() -> Self {
        let (buf, start) = aligned(STRETCH);
        Self { buf, start, cached: false }
    }
}

/// A buffer, and the offset from which on `len` bytes of it are aligned for reading past the cache.
pub(crate) fn aligned(len: usize) -> (Vec<u8>, usize) {
    let buf = memory::zeros(len + ALIGNED);
    let start = buf.as_ptr().align_offset(ALIGNED);
    (buf, start)
}

impl DriveReader {
    /// Whether anything that was read so far may have come from a cache rather than from the drive.
    pub(crate) fn saw_cache(&self) -> bool {
        self.cached
    }

    /// Hands out a file from its beginning, stretch by stretch. Stops early once `take` returns false.
    pub(crate) fn read(&mut self, path: &Path, mut take: impl FnMut(&[u8]) -> bool) -> io::Result<()> {
        let (mut file, mut direct) = os::open_uncached(path)?;
        let mut done = 0;
        self.cached |= os::is_cached_below(&file);
        loop {
            let len = match self.fill(&mut file) {
                // Some file systems open a file for direct reading and then fail to read it: go on through the cache.
                Err(error) if direct && error.raw_os_error() == Some(22) => {
                    (file, direct) = (os::open_regular(path)?, false);
                    file.seek(SeekFrom::Start(done))?;
                    continue;
                }
                other => other?,
            };
            self.cached |= !direct;
            if len == 0 || !take(&self.buf[self.start..self.start + len]) {
                return Ok(());
            }
            done += len as u64;
        }
    }

    /// SHA-256 and length of a file as its drive stores it. `tick` gets the length of every stretch that was read.
    /// `None` if it returned false.
    pub(crate) fn digest(&mut self, path: &Path, tick: impl Fn(u64) -> bool) -> io::Result<Option<(Digest, u64)>> {
        let mut hasher = Hasher::new();
        let mut len = 0;
        let mut stopped = false;
        self.read(path, |bytes| {
            hasher.update(bytes);
            len += bytes.len() as u64;
            stopped = !tick(bytes.len() as u64);
            !stopped
        })?;
        Ok((!stopped).then(|| (hasher.finish(), len)))
    }

    /// Compares a file with the [`marks`] made while it was written. Returns the offset of the first stretch that
    /// differs or is missing, and `None` if the file is as it was.
    pub(crate) fn first_change(&mut self, path: &Path, marks: &[u64]) -> io::Result<Option<u64>> {
        let mut at = 0;
        let mut changed = false;
        self.read(path, |bytes| {
            changed = marks.get(at) != Some(&(quick(bytes) as u64));
            at += usize::from(!changed);
            !changed
        })?;
        // Marks that are left mean that the file was cut short.
        Ok((changed || at < marks.len()).then_some((at * STRETCH) as u64))
    }

    /// Fills the buffer with a whole stretch. Returns fewer bytes only at the end of the file.
    fn fill(&mut self, file: &mut File) -> io::Result<usize> {
        let mut done = 0;
        while done < STRETCH {
            match file.read(&mut self.buf[self.start + done..self.start + STRETCH]) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
                Ok(0) => break,
                Ok(len) => done += len,
            }
            // Past the cache the system returns whole blocks. A piece of a block is the end of the file.
            if done % ALIGNED != 0 {
                break;
            }
        }
        Ok(done)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::digest::sha256;

    #[test]
    fn files_of_any_length_are_read_as_they_are() {
        // The disk of the project, and memory, which cannot be read past the cache.
        for folder in [Path::new(env!("CARGO_MANIFEST_DIR")).join("target"), "/dev/shm".into(), std::env::temp_dir()] {
            let Ok(dir) = tempfile::tempdir_in(folder) else { continue };
            let mut reader = DriveReader::default();
            for len in [0, 1, 4095, 4096, 4097, STRETCH - 1, STRETCH, STRETCH + 1, 3 * STRETCH + 512] {
                let bytes: Vec<u8> = (0..len).map(|at| (at * 7) as u8).collect();
                let path = dir.path().join("file");
                std::fs::write(&path, &bytes).unwrap();
                assert_eq!(reader.digest(&path, |_| true).unwrap(), Some((sha256(&bytes), len as u64)));
                let mut pieces = 0;
                reader
                    .read(&path, |_| {
                        pieces += 1;
                        false
                    })
                    .unwrap();
                assert_eq!(pieces, usize::from(len > 0), "it ends when told");
                let was = marks(&bytes);
                assert_eq!(reader.first_change(&path, &was).unwrap(), None);
                if len > 0 {
                    let mut other = bytes.clone();
                    other[len - 1] ^= 1;
                    std::fs::write(&path, &other).unwrap();
                    let last = (len - 1) / STRETCH * STRETCH;
                    assert_eq!(reader.first_change(&path, &was).unwrap(), Some(last as u64));
                    std::fs::write(&path, &bytes[..len - 1]).unwrap();
                    assert_eq!(reader.first_change(&path, &was).unwrap(), Some(last as u64), "cut short");
                }
            }
        }
    }
}
