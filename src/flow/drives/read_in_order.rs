//! Files of one drive as it stores them: read one after the other past the cache, which is what drives
//! do best, and hashed or opened beside that on another thread.

use std::borrow::Cow;
use std::io;
use std::path::PathBuf;
use std::sync::mpsc::sync_channel;

use crate::base::direct::DriveReader;
use crate::base::memory;
use crate::base::monitor::Monitor;
use crate::base::threads::start;

/// Stretches that may wait to be hashed.
const AHEAD: usize = 8;

/// A file to be read, and the most bytes that it may have.
pub struct SweptFile {
    /// Where it is.
    pub path: PathBuf,
    /// The file is left behind these bytes: what the system says of its size need not be true.
    pub most: u64,
}

/// A file goes on behind what it may have at most.
pub fn endless() -> io::Error {
    io::Error::other("it has more bytes than any such file, and the system says otherwise")
}

/// What comes of a file.
pub enum SweptPiece<'a> {
    /// Its next bytes.
    Bytes(Cow<'a, [u8]>),
    /// Nothing more, at its end or at an error.
    End(io::Result<()>),
}

/// Hands out the files piece by piece, in order, each with its place among them; fewer if the work is to stop.
pub fn sweep(files: &[SweptFile], monitor: &dyn Monitor, mut take: impl FnMut(usize, SweptPiece)) {
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
            // Without a second thread reading and hashing take turns.
            read_all(files, monitor, |number, piece| {
                take(number, piece);
                true
            });
        }
    });
}

/// Hands out the pieces of all files; `false` from `give` ends that.
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
