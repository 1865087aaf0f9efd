//! The capacity test: finds out within two seconds whether a drive stores what is written to it. The test writes
//! marks past the cache at places spread over the free room, and reads all of them back after the last one. A
//! drive that claims more than it holds drops writes beyond its end, or wraps them around onto earlier ones.
//!
//! Not guaranteed: that a drive without a finding is sound. Most places are not tried, some file systems can be
//! tried only near their beginning, and a drive may have a cache of its own.
//! The test leaves nothing behind, except that a FAT drive that is pulled out during it may show less free room.

use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;
use std::time::{Duration, Instant};

use crate::base::digest::quick;
use crate::base::direct::aligned;
use crate::base::os::{self, StorageKind};
use crate::base::secret::random;

/// Less free room than this is not tested: the real parts fill it and are read back soon enough.
const LEAST: u64 = 64 << 20;
/// Bytes at the start of the free room that are marked without gaps: writes that wrap around land on them.
const BEGINNING: u64 = 4 << 20;
/// Least bytes of any other mark: a stick would take as long for fewer.
const MARK: u64 = 64 << 10;
/// Most bytes of one write.
const PIECE: u64 = 1 << 20;
/// Offset of a first mark that shows whether the hole before it takes room.
const HOLE: u64 = 1 << 20;
/// Most bytes of marks, and most metadata bytes that a file system may write for claimed room.
const MOST_MARKS: u64 = 12 << 20;
const MOST_NOTES: u64 = 20 << 20;
/// Number of evenly spaced marks.
const SHARES: u64 = 16;
/// Deadlines, from the start of the test: for claiming room, for writing marks, and for the whole test.
const CLAIMED: Duration = Duration::from_millis(700);
const WRITTEN: Duration = Duration::from_millis(1300);
const DONE: Duration = Duration::from_millis(2000);
/// Room is claimed in steps that double or halve, so that each takes about [`STEP`].
const FIRST_STEP: u64 = 8 << 20;
const LARGEST_STEP: u64 = 1 << 30;
const STEP: Duration = Duration::from_millis(60);
/// A test file has this name for a moment where the file system cannot make nameless files.
const NAME: &str = ".pouch-spread";

/// What a capacity test found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CapacityReport {
    /// How many marks were read back or failed; 0 if the drive was not tested.
    pub places: usize,
    /// Marks that came back different, or failed in writing or reading: ascending offsets in the free room.
    pub wrong: Vec<u64>,
    /// The free room before the test, in bytes.
    pub room: u64,
}

/// Tests the drive that holds `folder`; ends early once `stop` returns `true`.
///
/// # Errors
/// The test could not be carried out, which says nothing about the drive.
pub fn try_out(folder: &Path, stop: &dyn Fn() -> bool) -> io::Result<CapacityReport> {
    let room = os::room(folder)?;
    let storing = os::storage_kind(folder)?;
    let mut tried = CapacityReport { room: room.free, ..CapacityReport::default() };
    if storing == StorageKind::Memory || room.free < LEAST {
        return Ok(tried);
    }
    let mark = room.cluster.next_power_of_two().clamp(MARK, PIECE);
    let run = CapacityTest { folder, stop, begun: Instant::now(), seed: random(), storing, mark, marks: Vec::new() };
    // Other programs may need some of the room meanwhile.
    let ground = TestedDrive { room: room.free / 16 * 15, drive: os::size(folder)?, cluster: room.cluster };
    run.carry_out(ground, &mut tried)?;
    tried.wrong.sort_unstable();
    Ok(tried)
}

/// The file system under test: free room to use, size of the whole, and cluster, in bytes.
struct TestedDrive {
    room: u64,
    drive: u64,
    cluster: u64,
}

/// A mark that was written.
struct WrittenMark {
    /// Offset in the free room, if the file system gives out room as expected.
    at: u64,
    /// Offset in the file.
    offset: u64,
    len: u64,
}

struct CapacityTest<'a> {
    folder: &'a Path,
    stop: &'a dyn Fn() -> bool,
    begun: Instant,
    seed: [u8; 16],
    storing: StorageKind,
    mark: u64,
    marks: Vec<WrittenMark>,
}

impl CapacityTest<'_> {
    fn carry_out(mut self, ground: TestedDrive, tried: &mut CapacityReport) -> io::Result<()> {
        let first = MarkFile::new(self.folder)?;
        let mut pen = MarkWriter::new(self.seed);
        if !self.put(&first, HOLE, HOLE, self.mark, (&mut pen, tried)) || !tried.wrong.is_empty() {
            return Ok(());
        }
        self.marks.clear();
        let taken = first.file.metadata()?.blocks() * 512;
        let paper = match (1..HOLE).contains(&taken) {
            true => self.at_offsets(first, &ground, &mut pen, tried),
            false => self.behind_each_other(first, &ground, &mut pen, tried)?,
        };
        self.read_back(&paper, &mut pen, tried);
        Ok(())
    }

    fn is_over(&self, end: Duration) -> bool {
        self.begun.elapsed() > end || (self.stop)()
    }

    /// For file systems with sparse files: claims all room for one file and writes each mark at its own offset.
    fn at_offsets(
        &mut self,
        paper: MarkFile,
        ground: &TestedDrive,
        pen: &mut MarkWriter,
        tried: &mut CapacityReport,
    ) -> MarkFile {
        // ext4 writes 36 KiB of metadata per claimed GiB, other file systems less.
        let most = ground.room.min(MOST_NOTES << 15);
        let mut claimed = 0;
        let mut step = FIRST_STEP;
        while claimed < most && !self.is_over(CLAIMED) {
            let begun = Instant::now();
            let len = step.min(most - claimed);
            if os::claim(&paper.file, claimed, len).is_err() {
                break;
            }
            claimed += len;
            step = next_step(step, begun.elapsed());
        }
        // Without claimed room the file system would put the marks side by side.
        if claimed < LEAST {
            return paper;
        }
        for mark in beginning().chain(self.others(claimed, ground)) {
            if self.is_over(WRITTEN) || !self.put(&paper, mark.0, mark.0, mark.1, (pen, tried)) {
                break;
            }
        }
        paper
    }

    /// For file systems that would fill a hole with zeros: gap files claim the room between marks, and the marks
    /// follow each other in one file. This works because these file systems give out room in order.
    fn behind_each_other(
        &mut self,
        first: MarkFile,
        ground: &TestedDrive,
        pen: &mut MarkWriter,
        tried: &mut CapacityReport,
    ) -> io::Result<MarkFile> {
        let mut gaps = Gaps::new(self.folder, first, self.storing);
        let paper = MarkFile::new(self.folder)?;
        // A FAT writes 4 bytes per cluster, in both copies of its table.
        let most = ground.room.min(MOST_NOTES / 8 * ground.cluster.max(512));
        let mut marks: Vec<(u64, u64)> = beginning().chain(self.others(most, ground)).collect();
        marks.sort_unstable();
        let mut at = 0;
        let mut offset = 0;
        for (place, len) in marks {
            while at < place && !gaps.ended && !self.is_over(CLAIMED) {
                at += gaps.claim(place - at);
            }
            let last = at < place;
            if self.is_over(WRITTEN) || !self.put(&paper, at, offset, len, (pen, tried)) || last {
                break;
            }
            (at, offset) = (at + len, offset + len);
        }
        Ok(paper)
    }

    /// Places and lengths of the marks behind the beginning, most telling first: the very end, places that would
    /// wrap into the middle of the beginning on a drive of a usual true size, and evenly spaced ones.
    fn others(&self, room: u64, ground: &TestedDrive) -> impl Iterator<Item = (u64, u64)> + use<> {
        let mark = self.mark;
        let last = room.saturating_sub(self.mark);
        let powers = (26..60).rev().map(|bit| 1 << bit);
        let distances = powers.chain((1..=5).map(|bit| ground.drive >> bit));
        let landing = distances.map(|distance| distance + BEGINNING / 2);
        let shares = (1..SHARES).map(|share| room / SHARES * share);
        let mut places: Vec<u64> = Vec::new();
        for place in [last].into_iter().chain(landing).chain(shares).map(|place| place / mark * mark) {
            let is_free = places.iter().all(|other| place.abs_diff(*other) >= mark);
            if is_free && (BEGINNING..=last).contains(&place) {
                places.push(place);
            }
        }
        places.truncate(((MOST_MARKS - BEGINNING) / mark) as usize);
        places.into_iter().map(move |place| (place, mark))
    }

    /// Writes a mark. Returns `false` if further marks make no sense.
    fn put(
        &mut self,
        paper: &MarkFile,
        at: u64,
        offset: u64,
        len: u64,
        (pen, tried): (&mut MarkWriter, &mut CapacityReport),
    ) -> bool {
        let mark = WrittenMark { at, offset, len };
        let failed = tried.wrong.len();
        let goes_on = pen.write(paper, &mark, &mut tried.wrong);
        match tried.wrong.len() > failed {
            true => tried.places += 1,
            false if goes_on => self.marks.push(mark),
            false => {}
        }
        goes_on
    }

    fn read_back(&self, paper: &MarkFile, pen: &mut MarkWriter, tried: &mut CapacityReport) {
        // Marks that went past the cache are on the drive. A sync would write only the metadata of the claimed
        // room, which can be a lot.
        if (self.storing == StorageKind::Program || !paper.is_direct())
            && paper
                .file
                .sync_data()
                .and_then(|()| os::drop_cached(&paper.file))
                .is_err_and(|e| os::is_of_one_place(&e))
        {
            tried.wrong.extend(self.marks.last().map(|mark| mark.at));
        }
        for mark in &self.marks {
            if self.is_over(DONE) {
                break;
            }
            if let Some(is_right) = pen.reads(paper, mark) {
                tried.places += 1;
                tried.wrong.extend((!is_right).then_some(mark.at));
            }
        }
    }
}

/// Places and lengths of the marks that cover the beginning.
fn beginning() -> impl Iterator<Item = (u64, u64)> {
    (0..BEGINNING / PIECE).map(|piece| (piece * PIECE, PIECE))
}

fn next_step(step: u64, took: Duration) -> u64 {
    match took {
        took if took < STEP => (step * 2).min(LARGEST_STEP),
        took if took > STEP * 2 => (step / 2).max(FIRST_STEP),
        _ => step,
    }
}

/// A file for marks, open past the cache as long as the file system takes that.
struct MarkFile {
    file: File,
    direct: std::cell::Cell<bool>,
}

impl MarkFile {
    fn new(folder: &Path) -> io::Result<Self> {
        let file = os::create_nameless(folder, NAME)?;
        let direct = os::pass_cache(&file, true).into();
        Ok(Self { file, direct })
    }

    fn is_direct(&self) -> bool {
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
struct MarkWriter {
    seed: [u8; 16],
    buf: Vec<u8>,
    start: usize,
}

impl MarkWriter {
    fn new(seed: [u8; 16]) -> Self {
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
    fn write(&mut self, paper: &MarkFile, mark: &WrittenMark, wrong: &mut Vec<u64>) -> bool {
        let range = self.start..self.start + mark.len as usize;
        for (number, at) in (mark.at..mark.at + mark.len).step_by(16).enumerate() {
            let block = self.block(at);
            self.buf[self.start + number * 16..][..16].copy_from_slice(&block);
        }
        match paper.with(|file| file.write_all_at(&self.buf[range.clone()], mark.offset)) {
            Err(error) if os::is_of_one_place(&error) => wrong.push(mark.at),
            Err(_) => return false,
            Ok(()) => {}
        }
        true
    }

    /// Whether a mark reads as it was written; `None` if an error says nothing about the drive.
    fn reads(&mut self, paper: &MarkFile, mark: &WrittenMark) -> Option<bool> {
        let range = self.start..self.start + mark.len as usize;
        match paper.with(|file| file.read_exact_at(&mut self.buf[range.clone()], mark.offset)) {
            Err(error) => os::is_of_one_place(&error).then_some(false),
            Ok(()) => {
                let mut blocks = self.buf[range].chunks(16).zip((mark.at..).step_by(16));
                Some(blocks.all(|(block, at)| block == self.block(at)))
            }
        }
    }
}

/// Files that take up the room between marks.
struct Gaps<'a> {
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
    ended: bool,
}

impl<'a> Gaps<'a> {
    fn new(folder: &'a Path, first: MarkFile, storing: StorageKind) -> Self {
        let len = first.file.metadata().map_or(0, |meta| meta.len());
        let files = vec![first];
        Self { folder, files, len, step: FIRST_STEP, storing, by_claiming: true, filled: 0, ended: false }
    }

    /// Takes a step of room, at most `most` bytes. Returns how many; 0 at a new file or method, or at the end.
    fn claim(&mut self, most: u64) -> u64 {
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
