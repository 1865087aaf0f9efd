//! Files of one drive as it stores them: read one after the other past the cache, which is what drives
//! do best, and hashed beside that on another thread.

use std::borrow::Cow;
use std::io;
use std::path::PathBuf;
use std::sync::mpsc::sync_channel;

use crate::base::digest::{Digest, Hasher};
use crate::base::direct::DriveReader;
use crate::base::monitor::Monitor;
use crate::base::threads::start;

/// Stretches that may wait to be hashed.
const AHEAD: usize = 8;

enum Piece<'a> {
    Bytes(Cow<'a, [u8]>),
    End(io::Result<()>),
}

/// Hands out SHA-256 and length of each file, in order; of fewer if the work is to stop.
pub fn sweep(files: &[PathBuf], monitor: &dyn Monitor, found: impl FnMut(usize, io::Result<(Digest, u64)>)) {
    let mut sums = Sums { found, hasher: Hasher::new(), len: 0, number: 0 };
    let (give, take) = sync_channel(AHEAD);
    std::thread::scope(|scope| {
        let reading = start(scope, move || {
            read_all(files, monitor, |piece| {
                let piece = match piece {
                    Piece::Bytes(bytes) => Piece::Bytes(Cow::Owned(bytes.into_owned())),
                    Piece::End(read) => Piece::End(read),
                };
                give.send(piece).is_ok()
            });
        });
        if reading.is_ok() {
            take.into_iter().for_each(|piece| sums.add(piece));
        } else {
            read_all(files, monitor, |piece| {
                sums.add(piece);
                true
            });
        }
    });
}

/// Hands out the bytes of all files; `false` from `give` ends that.
fn read_all(files: &[PathBuf], monitor: &dyn Monitor, mut give: impl FnMut(Piece) -> bool) {
    let mut reader = DriveReader::default();
    for file in files {
        let read = reader.read(file, |bytes| {
            monitor.advance(bytes.len() as u64);
            give(Piece::Bytes(Cow::Borrowed(bytes))) && !monitor.cancelled()
        });
        if monitor.cancelled() || !give(Piece::End(read)) {
            return;
        }
    }
}

/// Digest and length of one file after the other.
struct Sums<F> {
    found: F,
    hasher: Hasher,
    len: u64,
    number: usize,
}

impl<F: FnMut(usize, io::Result<(Digest, u64)>)> Sums<F> {
    fn add(&mut self, piece: Piece) {
        match piece {
            Piece::Bytes(bytes) => {
                self.hasher.update(&bytes);
                self.len += bytes.len() as u64;
            }
            Piece::End(read) => {
                let sum = std::mem::take(&mut self.hasher).finish();
                let len = std::mem::take(&mut self.len);
                (self.found)(self.number, read.map(|()| (sum, len)));
                self.number += 1;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::digest::sha256;
    use crate::base::monitor::Silent;

    #[test]
    fn each_file_has_its_own_digest() {
        let dir = tempfile::tempdir().unwrap();
        let long: Vec<u8> = (0..3_000_001u32).map(|at| (at * 7) as u8).collect();
        let contents = [&b"one"[..], b"", &long, b"four"];
        let mut files: Vec<PathBuf> = (0..contents.len()).map(|number| dir.path().join(number.to_string())).collect();
        files.iter().zip(contents).for_each(|(file, bytes)| std::fs::write(file, bytes).unwrap());
        files.insert(1, dir.path().join("missing"));
        let mut all = Vec::new();
        sweep(&files, &Silent, |number, found| all.push((number, found.ok())));
        let sum = |number: usize| Some((sha256(contents[number]), contents[number].len() as u64));
        assert_eq!(all, [(0, sum(0)), (1, None), (2, sum(1)), (3, sum(2)), (4, sum(3))]);
    }
}
