//! Reads the files of one drive as the drive stores them: one after the other, past the cache, which drives do fastest.
//! The caller hashes or opens the pieces on another thread meanwhile.
//!
//! Not guaranteed: that a file's pieces are good when they come. Only [`SweptPiece::End`] says how its reading ended.

use std::borrow::Cow;
use std::io;
use std::path::PathBuf;
use std::sync::mpsc::sync_channel;

use crate::base::direct::DriveReader;
use crate::base::memory;
use crate::base::monitor::Monitor;
use crate::base::threads::start;

/// Stretches of up to 1 MiB that may wait for the caller. The bound keeps memory small if hashing is slower.
const AHEAD: usize = 8;

/// A file to be read.
pub(crate) struct SweptFile {
    pub(crate) path: PathBuf,
    /// Most bytes that are read of it. A drive may state any size, so the bytes are counted as they come.
    pub(crate) most: u64,
}

/// The error for a file that has more bytes than it may have.
pub(crate) fn endless() -> io::Error {
    io::Error::other("it has more bytes than any such file, and the system says otherwise")
}

/// What the caller gets of a file: its bytes in order, then one end.
pub(crate) enum SweptPiece<'a> {
    Bytes(Cow<'a, [u8]>),
    /// Nothing more comes of this file: it was read to its end, or reading failed.
    End(io::Result<()>),
}

/// Hands out the files piece by piece, in order. `take` gets the index of the file with each piece. If the run is to
/// stop, the file that is being read has no end, and the files behind it do not come.
pub(crate) fn sweep(files: &[SweptFile], monitor: &dyn Monitor, mut take: impl FnMut(usize, SweptPiece)) {
    let (give, taken) = sync_channel(AHEAD);
    std::thread::scope(|scope| {
        let reading = start(scope, move || {
            read_all(files, monitor, |number, piece| {
                let piece = match piece {
                    SweptPiece::Bytes(bytes) => SweptPiece::Bytes(Cow::Owned(memory::copy(&bytes))),
                    SweptPiece::End(read) => SweptPiece::End(read),
                };
                give.send((number, piece)).is_ok()
            });
        });
        if reading.is_ok() {
            taken.into_iter().for_each(|(number, piece)| take(number, piece));
        } else {
            // The system has no thread to spare, so reading and hashing take turns on this one.
            read_all(files, monitor, |number, piece| {
                take(number, piece);
                true
            });
        }
    });
}

/// Hands out the pieces of all files until `give` returns `false` or the run is to stop.
fn read_all(files: &[SweptFile], monitor: &dyn Monitor, mut give: impl FnMut(usize, SweptPiece) -> bool) {
    let mut reader = DriveReader::default();
    for (number, file) in files.iter().enumerate() {
        let mut len = 0;
        let read = reader.read(&file.path, |bytes| {
            len += bytes.len() as u64;
            monitor.advance(bytes.len() as u64);
            give(number, SweptPiece::Bytes(Cow::Borrowed(bytes))) && len <= file.most && !monitor.cancelled()
        });
        let read = if len > file.most { Err(endless()) } else { read };
        if monitor.cancelled() || !give(number, SweptPiece::End(read)) {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::monitor::Silent;
    use crate::base::monitor::fake::Heard;

    /// Files of a folder that hold so many zeros each, and may have at most as many bytes as `most` says.
    fn zeros(folder: &std::path::Path, lengths: &[usize], most: u64) -> Vec<SweptFile> {
        let file = |(number, length): (usize, &usize)| {
            let path = folder.join(number.to_string());
            std::fs::write(&path, vec![0; *length]).unwrap();
            SweptFile { path, most }
        };
        lengths.iter().enumerate().map(file).collect()
    }

    /// How the reading of each file ended: whether well, or the error in words.
    fn ends(files: &[SweptFile], monitor: &dyn Monitor) -> Vec<(usize, Result<(), String>)> {
        let mut ends = Vec::new();
        sweep(files, monitor, |number, piece| {
            if let SweptPiece::End(end) = piece {
                ends.push((number, end.map_err(|error| error.to_string())));
            }
        });
        ends
    }

    #[test]
    fn a_file_without_an_end_is_left_and_the_next_one_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let files = zeros(dir.path(), &[5 << 20, 3], 2 << 20);
        assert_eq!(ends(&files, &Silent), [(0, Err(endless().to_string())), (1, Ok(()))]);
    }

    #[test]
    fn a_file_of_the_greatest_length_is_read_to_its_end() {
        let dir = tempfile::tempdir().unwrap();
        let files = zeros(dir.path(), &[2 << 20, (2 << 20) + 1], 2 << 20);
        assert_eq!(ends(&files, &Silent), [(0, Ok(())), (1, Err(endless().to_string()))]);
    }

    #[test]
    fn a_run_that_is_stopped_leaves_the_file_without_an_end() {
        let dir = tempfile::tempdir().unwrap();
        assert!(ends(&zeros(dir.path(), &[100, 100], 1000), &Heard::stopping()).is_empty());
    }

    #[test]
    fn each_file_comes_whole_and_in_order() {
        let dir = tempfile::tempdir().unwrap();
        let long: Vec<u8> = (0..3_000_001u32).map(|at| (at * 7) as u8).collect();
        let contents = [&b"one"[..], b"", &long, b"four"];
        let mut files: Vec<PathBuf> = (0..contents.len()).map(|number| dir.path().join(number.to_string())).collect();
        files.iter().zip(contents).for_each(|(file, bytes)| std::fs::write(file, bytes).unwrap());
        files.insert(1, dir.path().join("missing"));
        let files: Vec<SweptFile> = files.into_iter().map(|path| SweptFile { path, most: 1 << 30 }).collect();
        let (mut all, mut read) = (Vec::new(), Vec::new());
        sweep(&files, &Silent, |number, piece| match piece {
            SweptPiece::Bytes(bytes) => read.extend_from_slice(&bytes),
            SweptPiece::End(end) => all.push((number, end.ok().map(|()| std::mem::take(&mut read)))),
        });
        let content = |number: usize| Some(contents[number].to_vec());
        assert!(all == [(0, content(0)), (1, None), (2, content(1)), (3, content(2)), (4, content(3))]);
    }
}
