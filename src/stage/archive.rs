//! Fills a range of the tar from the source files. Ranges are independent: any thread fills any range.
//!
//! A file always takes the size it had in the walk, because every tar offset follows from those sizes. Missing
//! bytes become zeros, and surplus bytes are left out. Each deviation becomes a [`Fault`], and the list flags the
//! file. One read past the announced end finds surplus bytes, since some file systems announce less than they give.
//!
//! Not guaranteed: that a file without a fault was at rest while it was read. That rests on the caller's
//! `unchanged`, and on what a file's times show.

use std::fs::File;
use std::io::ErrorKind;
use std::ops::Range;
use std::os::unix::fs::FileExt;

use crate::base::digest::{Digest, sha256};
use crate::base::entry::{Entry, Flag};
use crate::format::member;

/// The bytes of a file in a range that does not hold the whole file. They are hashed later, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Piece {
    /// Index of the file in the walk's entries.
    pub(crate) entry: u32,
    /// Where the piece begins in the file, in bytes.
    pub(crate) offset: u64,
    /// Where the piece lies in the range's buffer.
    pub(crate) place: Range<usize>,
}

/// A file that could not be read as the walk found it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Fault {
    /// Index of the file in the walk's entries.
    pub(crate) entry: u32,
    /// [`Flag::Changed`] or [`Flag::Unreadable`], never clean.
    pub(crate) flag: Flag,
    /// What happened, as the rest of a sentence whose subject is the file.
    pub(crate) why: String,
    /// The system's error number; `None` if no system call failed.
    pub(crate) errno: Option<i32>,
}

/// A [`Fault`] that does not know its entry yet.
type Flaw = (Flag, String, Option<i32>);

fn unreadable(why: String, error: &std::io::Error) -> Flaw {
    (Flag::Unreadable, format!("{why}: {error}"), error.raw_os_error())
}

fn changed(why: &str) -> Flaw {
    (Flag::Changed, why.into(), None)
}

impl Fault {
    fn of(index: usize, (flag, why, errno): Flaw) -> Self {
        Self { entry: index as u32, flag, why, errno }
    }
}

/// What a filled range holds, besides its bytes.
#[derive(Debug, Default)]
pub(crate) struct Filled {
    /// Files that lie in the range whole, by entry index, with the digest of what was packed.
    pub(crate) whole: Vec<(u32, Digest)>,
    /// Pieces of files that reach beyond the range, in tar order.
    pub(crate) pieces: Vec<Piece>,
    /// At most one fault per file, for this range.
    pub(crate) faults: Vec<Fault>,
}

/// Fills `buf` with the tar bytes from `start` on: headers, contents and padding. The bag's own files before and
/// behind them are the caller's work.
///
/// `entries` are those of the range, the first one with index `first`; `starts` are the tar offsets of their
/// headers. `open` opens the file of an entry, and `unchanged` says whether it still is the file of the walk.
pub(crate) fn fill(
    start: u64,
    buf: &mut [u8],
    (first, entries, starts): (usize, &[Entry], &[u64]),
    open: impl Fn(usize) -> std::io::Result<File>,
    unchanged: impl Fn(usize, &File) -> bool,
) -> Filled {
    let end = start + buf.len() as u64;
    let mut filled = Filled::default();
    for (at, (entry, header_at)) in entries.iter().zip(starts).enumerate() {
        let index = first + at;
        // `put` and `zero` write only the bytes that lie in this range.
        let header = member::of_entry(entry);
        put(buf, start, *header_at, &header);
        let content = header_at + header.len() as u64;
        let content_end = content + entry.size;
        zero(buf, start, content_end..content_end.next_multiple_of(512));
        let here = content.max(start)..content_end.min(end);
        if entry.has_content() && here.start < here.end {
            // A whole file is hashed now, while it is in the core's cache. A piece must wait for the bytes before it.
            let place = (here.start - start) as usize..(here.end - start) as usize;
            let offset = here.start - content;
            let read = read(&mut buf[place.clone()], offset, entry, || open(index), |file| unchanged(index, file));
            filled.faults.extend(read.err().map(|flaw| Fault::of(index, flaw)));
            if here == (content..content_end) {
                filled.whole.push((index as u32, sha256(&buf[place])));
            } else {
                filled.pieces.push(Piece { entry: index as u32, offset, place });
            }
        } else if entry.kind == crate::base::entry::Kind::File && entry.size == 0 && content > start && content <= end {
            // An empty file belongs to the one range that holds the last byte of its header.
            filled.whole.push((index as u32, sha256(b"")));
            let opened = open(index).map_err(|error| unreadable(EMPTY_UNREAD.into(), &error));
            let fault = opened.and_then(|file| verdict(&file, Some(0), |file| unchanged(index, file))).err();
            filled.faults.extend(fault.map(|flaw| Fault::of(index, flaw)));
        }
    }
    filled
}

/// Why an empty file is unreadable: it has no byte that could be missing, so the text cannot say "packed as zeros".
const EMPTY_UNREAD: &str = "could not be opened; its size was 0, and it is packed as empty";

/// Judges a file that gave all bytes it was asked for. `end` is its announced size if this piece reaches it, so
/// only the last piece of a file looks for surplus bytes, and the file gets that fault once.
fn verdict(file: &File, end: Option<u64>, unchanged: impl FnOnce(&File) -> bool) -> Result<(), Flaw> {
    if end.is_some_and(|end| follows(file, end)) {
        return Err(changed(match end {
            Some(0) => "has content although its size was 0; it is packed as empty",
            _ => "holds more than its size said; what is beyond that is not packed",
        }));
    }
    if unchanged(file) { Ok(()) } else { Err(changed("changed while it was packed")) }
}

/// Whether the file has bytes from `end` on. A read error counts as no: the bytes before `end` were all read.
fn follows(file: &File, end: u64) -> bool {
    loop {
        match file.read_at(&mut [0], end) {
            Ok(read) => return read > 0,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(_) => return false,
        }
    }
}

/// Copies those of `bytes` that lie in the buffer. The buffer begins at `start` in the tar, `bytes` at `at`.
fn put(buf: &mut [u8], start: u64, at: u64, bytes: &[u8]) {
    let from = at.max(start);
    let to = (at + bytes.len() as u64).min(start + buf.len() as u64);
    if from < to {
        buf[(from - start) as usize..(to - start) as usize]
            .copy_from_slice(&bytes[(from - at) as usize..(to - at) as usize]);
    }
}

/// Zeros the bytes of `range`, in tar offsets, that lie in the buffer: a used buffer holds old bytes.
fn zero(buf: &mut [u8], start: u64, range: Range<u64>) {
    let from = range.start.max(start);
    let to = range.end.min(start + buf.len() as u64);
    if from < to {
        buf[(from - start) as usize..(to - start) as usize].fill(0);
    }
}

/// Reads `buf.len()` bytes of the file from `offset` on. Missing bytes become zeros. Holes become zeros without a
/// read, which would make a sparse file cost its full size.
///
/// # Errors
/// The first fault of the file. A read error ends the piece: the rest of it becomes zeros.
fn read(
    buf: &mut [u8],
    offset: u64,
    entry: &Entry,
    open: impl FnOnce() -> std::io::Result<File>,
    unchanged: impl FnOnce(&File) -> bool,
) -> Result<(), Flaw> {
    let file = open().map_err(|error| {
        buf.fill(0);
        unreadable("could not be opened, it is packed as zeros".into(), &error)
    })?;
    let end = offset + buf.len() as u64;
    let mut at = offset;
    let mut short = false;
    // The hole beyond all offsets stands for the end: it makes the loop read the data behind the last real hole.
    for (hole, len) in entry.holes.iter().copied().chain([(u64::MAX, 0)]) {
        let data_end = hole.min(end);
        if at < data_end {
            let (data, rest) = buf[(at - offset) as usize..].split_at_mut((data_end - at) as usize);
            short |= read_data(&file, data, at).inspect_err(|_| rest.fill(0))?;
            at = data_end;
        }
        let hole_end = hole.saturating_add(len).min(end);
        if at < hole_end {
            buf[(at - offset) as usize..(hole_end - offset) as usize].fill(0);
            at = hole_end;
        }
    }
    // A file that shrank is changed in any case, so `unchanged` need not be asked.
    if short {
        return Err(changed("shrank while it was packed; what is missing is packed as zeros"));
    }
    verdict(&file, (end == entry.size).then_some(end), unchanged)
}

/// Fills `buf` from the file. Returns `true` if the file ended too early; the rest of `buf` is zeros then.
fn read_data(file: &File, buf: &mut [u8], at: u64) -> Result<bool, Flaw> {
    let mut done = 0;
    while done < buf.len() {
        match file.read_at(&mut buf[done..], at + done as u64) {
            Ok(0) => {
                buf[done..].fill(0);
                return Ok(true);
            }
            Ok(n) => done += n,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => {
                buf[done..].fill(0);
                let place = at + done as u64;
                let why = format!("could not be read at byte {place}, what could not be read is packed as zeros");
                return Err(unreadable(why, &error));
            }
        }
    }
    Ok(false)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::layout::lay_out;
    use crate::plan::layout::tests::{dir, file, symlink};
    use std::io::Write;

    fn temp(content: &[u8]) -> File {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(content).unwrap();
        file
    }

    /// Fills the tar in ranges of `step` bytes. A file that is not in `files` cannot be opened.
    fn fill_all(
        entries: &[Entry],
        starts: &[u64],
        len: u64,
        step: usize,
        files: &[(usize, &File)],
    ) -> (Vec<u8>, Vec<Filled>) {
        let find = |index| files.iter().find(|(at, _)| *at == index).map(|(_, file)| file.try_clone());
        let open = |index| find(index).unwrap_or_else(|| Err(ErrorKind::NotFound.into()));
        let mut tar = vec![0xee; (len - starts[0]) as usize];
        let ranges = tar.chunks_mut(step).enumerate();
        let filled = ranges
            .map(|(at, buf)| fill(starts[0] + (at * step) as u64, buf, (0, entries, starts), open, |_, _| true))
            .collect();
        (tar, filled)
    }

    #[test]
    fn any_ranges_make_one_tar() {
        let content: Vec<u8> = (0..20_000u32).map(|n| (n * 7) as u8).collect();
        let (big, small) = (temp(&content), temp(b"small"));
        let mut entries =
            vec![dir("d"), file("d/big", 20_000), file("d/small", 5), file("d/zero", 0), symlink("l", "d")];
        let layout = lay_out(&mut entries, &mut Vec::new());
        let files = [(1, &big), (2, &small), (3, &small)];
        let (whole, _) = fill_all(&entries, &layout.starts, layout.tail_start, 1 << 20, &files);
        assert!(whole.windows(3).any(|w| w == &content[..3]));
        // The steps part headers from contents, and cut `d/big` into up to 40 pieces.
        for step in [512, 1024, 4096, 19_968] {
            let (tar, filled) = fill_all(&entries, &layout.starts, layout.tail_start, step, &files);
            assert!(tar == whole, "{step}");
            let digests: Vec<_> = filled.iter().flat_map(|f| &f.whole).collect();
            assert!(digests.contains(&&(2, sha256(b"small"))) && digests.contains(&&(3, sha256(b""))));
            let pieces: u64 = filled.iter().flat_map(|f| &f.pieces).map(|p| p.place.len() as u64).sum();
            assert_eq!(pieces, if step > 20_000 { 0 } else { 20_000 });
        }
    }

    #[test]
    fn what_is_missing_becomes_zeros_and_is_named() {
        let mut entries = vec![file("grew", 3), file("shrank", 2000), file("vanished", 10)];
        let layout = lay_out(&mut entries, &mut Vec::new());
        // The third file is not in `files`, so it cannot be opened.
        let (grew, shrank) = (temp(b"12345"), temp(b"12345"));
        let (tar, filled) = fill_all(&entries, &layout.starts, layout.tail_start, 1 << 20, &[(0, &grew), (1, &shrank)]);
        assert_eq!(tar.len() as u64, layout.tail_start - layout.starts[0]);
        let faults: Vec<_> = filled[0].faults.iter().map(|fault| (fault.entry, fault.flag)).collect();
        assert_eq!(faults, [(0, Flag::Changed), (1, Flag::Changed), (2, Flag::Unreadable)]);
        let at = (entries[1].at - layout.starts[0]) as usize;
        assert_eq!((&tar[at..at + 5], &tar[at + 5..at + 2000]), (&b"12345"[..], &[0; 1995][..]));
    }

    #[test]
    fn the_piece_that_reaches_the_end_looks_whether_more_follows() {
        let mut entries = vec![file("holed", 2000), file("longer", 2000), file("right", 2000)];
        // The first file ends in a hole: no data read reaches its end, and surplus bytes must be found there, too.
        entries[0].holes = vec![(512, 1488)].into();
        let layout = lay_out(&mut entries, &mut Vec::new());
        let (more, right) = (temp(&[7; 2001]), temp(&[7; 2000]));
        let files = [(0, &more), (1, &more), (2, &right)];
        for step in [512, 1024, 1 << 20] {
            let (_, filled) = fill_all(&entries, &layout.starts, layout.tail_start, step, &files);
            let faults: Vec<_> = filled.iter().flat_map(|filled| &filled.faults).collect();
            let named: Vec<_> = faults.iter().map(|fault| (fault.entry, fault.flag)).collect();
            assert_eq!(named, [(0, Flag::Changed), (1, Flag::Changed)], "{step}: once each, by the last piece");
            assert!(faults.iter().all(|fault| fault.why.contains("more than its size said")));
        }
    }

    #[test]
    fn the_rest_of_a_piece_behind_a_read_error_is_zeros() {
        let mut entries = vec![file("sparse", 4000)];
        entries[0].holes = vec![(1000, 500), (3000, 500)].into();
        let layout = lay_out(&mut entries, &mut Vec::new());
        // A folder can be opened like a file, but the system refuses to read it.
        let folder = tempfile::tempdir().unwrap();
        let unreadable = File::open(folder.path()).unwrap();
        let (tar, filled) = fill_all(&entries, &layout.starts, layout.tail_start, 1 << 20, &[(0, &unreadable)]);
        let faults: Vec<_> = filled[0].faults.iter().map(|fault| (fault.entry, fault.flag)).collect();
        assert_eq!(faults, [(0, Flag::Unreadable)]);
        assert!(filled[0].faults[0].why.contains("at byte 0"), "{}", filled[0].faults[0].why);
        let content = &tar[(entries[0].at - layout.starts[0]) as usize..][..4000];
        assert!(content.iter().all(|byte| *byte == 0));
    }

    #[test]
    fn holes_are_not_read() {
        let mut entries = vec![file("sparse", 4000)];
        entries[0].holes = vec![(1000, 500), (3000, 1000)].into();
        let layout = lay_out(&mut entries, &mut Vec::new());
        // The file has data where the entry has holes, so a read of a hole would show.
        let data = temp(&[7; 4000]);
        let (tar, filled) = fill_all(&entries, &layout.starts, layout.tail_start, 512, &[(0, &data)]);
        assert!(filled.iter().all(|filled| filled.faults.is_empty()));
        let content = &tar[(entries[0].at - layout.starts[0]) as usize..][..4000];
        let expected = [vec![7; 1000], vec![0; 500], vec![7; 1500], vec![0; 1000]].concat();
        assert!(content == expected);
    }
}
