//! Reading what a drive stores, not what the system remembers of what it was given.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;

use crate::base::digest::{Digest, Hasher, quick};
use crate::base::memory;
use crate::base::os;

/// What drives read in one go; and where a buffer must begin for the cache to be passed by.
const STRETCH: usize = 1 << 20;
const ALIGNED: usize = 4096;

/// Reads files from drives, one after the other.
pub struct DriveReader {
    buf: Vec<u8>,
    start: usize,
    cached: bool,
}

/// A mark of each stretch of a file, to be kept while it is on its way.
pub fn marks(bytes: &[u8]) -> Vec<u64> {
    bytes.chunks(STRETCH).map(|stretch| quick(stretch) as u64).collect()
}

impl Default for DriveReader {
    fn default() -> Self {
        let (buf, start) = aligned(STRETCH);
        Self { buf, start, cached: false }
    }
}

/// A buffer with `len` bytes from where on it can be used to pass the cache by.
pub fn aligned(len: usize) -> (Vec<u8>, usize) {
    let buf = memory::zeros(len + ALIGNED);
    let start = buf.as_ptr().align_offset(ALIGNED);
    (buf, start)
}

impl DriveReader {
    /// Whether anything so far may have come from some cache rather than from the drive.
    pub fn saw_cache(&self) -> bool {
        self.cached
    }

    /// Hands out a file from its beginning, stretch by stretch; ends early if `take` says so.
    pub fn read(&mut self, path: &Path, mut take: impl FnMut(&[u8]) -> bool) -> io::Result<()> {
        let (mut file, mut direct) = os::open_uncached(path)?;
        let mut done = 0;
        self.cached |= os::is_cached_below(&file);
        loop {
            let len = match self.fill(&mut file) {
                // Some file systems open files so and then cannot read them.
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

    /// SHA-256 and length of a file as its drive stores it; `tick` hears of every stretch that was
    /// read, and `None` comes if it says to stop.
    pub fn digest(&mut self, path: &Path, tick: impl Fn(u64) -> bool) -> io::Result<Option<(Digest, u64)>> {
        let (mut hasher, mut len, mut stopped) = (Hasher::new(), 0, false);
        self.read(path, |bytes| {
            hasher.update(bytes);
            len += bytes.len() as u64;
            stopped = !tick(bytes.len() as u64);
            !stopped
        })?;
        Ok((!stopped).then(|| (hasher.finish(), len)))
    }

    /// The first stretch of a file that is not what it was, by the marks made of its stretches while
    /// it was written: where that begins; `None` if all is as it was.
    pub fn first_change(&mut self, path: &Path, marks: &[u64]) -> io::Result<Option<u64>> {
        let (mut at, mut changed) = (0, false);
        self.read(path, |bytes| {
            changed = marks.get(at) != Some(&(quick(bytes) as u64));
            at += usize::from(!changed);
            !changed
        })?;
        Ok((changed || at < marks.len()).then_some((at * STRETCH) as u64))
    }

    /// A whole stretch, unless the file ends.
    fn fill(&mut self, file: &mut File) -> io::Result<usize> {
        let mut done = 0;
        while done < STRETCH {
            match file.read(&mut self.buf[self.start + done..self.start + STRETCH]) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
                Ok(0) => break,
                Ok(len) => done += len,
            }
            // Past the cache only whole blocks are read, so this is the end.
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
        // Where the project is built, and in memory, where nothing passes the cache by.
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
