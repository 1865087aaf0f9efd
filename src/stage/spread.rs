//! Whether a drive stores what is written to it, tried within two seconds at places spread over its
//! free room: marks are written past the cache, and all read back after the last one. A stick that
//! claims more than it holds drops what lies beyond, or has it land on what came before.
//!
//! Only what is wrong is found. Nothing is proven: places lie between those that were tried, some file
//! systems can be tried nowhere but near their beginning, and a drive may have a cache of its own.
//! Nothing stays behind, but that a FAT whose drive is pulled out meanwhile may miss some room.

use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;
use std::time::{Duration, Instant};

use crate::base::digest::quick;
use crate::base::direct::aligned;
use crate::base::os::{self, Storing};
use crate::base::secret::random;

/// Of a drive with less room, all is soon written and read back.
const LEAST: u64 = 64 << 20;
/// The first so many bytes are marked throughout, for what wraps around to land on.
const BEGINNING: u64 = 4 << 20;
/// Bytes of the other marks, at least: fewer would take a stick no less time.
const MARK: u64 = 64 << 10;
/// What is written in one go.
const PIECE: u64 = 1 << 20;
/// Where the first mark is tried, for whether what lies before it takes room.
const HOLE: u64 = 1 << 20;
/// Bytes of marks, and of what file systems note about room that was claimed.
const MOST_MARKS: u64 = 12 << 20;
const MOST_NOTES: u64 = 20 << 20;
/// Into so many parts the room is divided by other marks.
const SHARES: u64 = 16;
/// When claiming, writing, and all of it ends.
const CLAIMED: Duration = Duration::from_millis(700);
const WRITTEN: Duration = Duration::from_millis(1300);
const DONE: Duration = Duration::from_millis(2000);
/// Room is claimed in steps that take about that long.
const FIRST_STEP: u64 = 8 << 20;
const LARGEST_STEP: u64 = 1 << 30;
const STEP: Duration = Duration::from_millis(60);
/// The name that files have for a moment where files without one cannot be made.
const NAME: &str = ".pouch-spread";

/// What came of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tried {
    /// How many places were read back or failed.
    pub places: usize,
    /// Those that are not what was written, or could not be written or read: where in the free room.
    pub wrong: Vec<u64>,
    /// The free room.
    pub room: u64,
}

/// Tries the drive that holds `folder`; ends early when told to `stop`.
///
/// # Errors
/// What kept it from trying, which says nothing about the drive.
pub fn try_out(folder: &Path, stop: &dyn Fn() -> bool) -> io::Result<Tried> {
    let (room, storing) = (os::room(folder)?, os::storing(folder)?);
    let mut tried = Tried { room: room.free, ..Tried::default() };
    if storing == Storing::Memory || room.free < LEAST {
        return Ok(tried);
    }
    let mark = room.cluster.next_power_of_two().clamp(MARK, PIECE);
    let run = Run { folder, stop, begun: Instant::now(), seed: random(), storing, mark, marks: Vec::new() };
    // Others may want some of it.
    let ground = Ground { room: room.free / 16 * 15, drive: os::size(folder)?, cluster: room.cluster };
    run.carry_out(ground, &mut tried)?;
    tried.wrong.sort_unstable();
    Ok(tried)
}

/// What there is to be tried.
struct Ground {
    room: u64,
    drive: u64,
    cluster: u64,
}

/// A mark that was written.
struct Mark {
    /// In the free room.
    at: u64,
    /// In the file.
    offset: u64,
    len: u64,
}

struct Run<'a> {
    folder: &'a Path,
    stop: &'a dyn Fn() -> bool,
    begun: Instant,
    seed: [u8; 16],
    storing: Storing,
    mark: u64,
    marks: Vec<Mark>,
}

impl Run<'_> {
    fn carry_out(mut self, ground: Ground, tried: &mut Tried) -> io::Result<()> {
        let first = Paper::new(self.folder)?;
        let mut pen = Pen::new(self.seed);
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

    /// Where files have holes: one file that has all the room, with marks at their offsets in it.
    fn at_offsets(&mut self, paper: Paper, ground: &Ground, pen: &mut Pen, tried: &mut Tried) -> Paper {
        // ext4 notes 36 KiB for each GiB, others less.
        let most = ground.room.min(MOST_NOTES << 15);
        let (mut claimed, mut step) = (0, FIRST_STEP);
        while claimed < most && !self.is_over(CLAIMED) {
            let (begun, len) = (Instant::now(), step.min(most - claimed));
            if os::claim(&paper.file, claimed, len).is_err() {
                break;
            }
            claimed += len;
            step = next_step(step, begun.elapsed());
        }
        // Without that, they lie wherever the file system likes: near each other.
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

    /// Where a hole in a file would be filled with zeros: room is claimed for other files in between,
    /// and the marks follow each other in their own. Such file systems give room out in order.
    fn behind_each_other(
        &mut self,
        first: Paper,
        ground: &Ground,
        pen: &mut Pen,
        tried: &mut Tried,
    ) -> io::Result<Paper> {
        let mut gaps = Gaps::new(self.folder, first, self.storing);
        let paper = Paper::new(self.folder)?;
        // An entry in a table for each cluster, twice.
        let most = ground.room.min(MOST_NOTES / 8 * ground.cluster.max(512));
        let mut marks: Vec<(u64, u64)> = beginning().chain(self.others(most, ground)).collect();
        marks.sort_unstable();
        let (mut at, mut offset) = (0, 0);
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

    /// Places and lengths of marks behind the beginning, those that tell most first: the very end, what
    /// would land in the middle of the beginning, and shares of the room.
    fn others(&self, room: u64, ground: &Ground) -> impl Iterator<Item = (u64, u64)> + use<> {
        let (mark, last) = (self.mark, room.saturating_sub(self.mark));
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

    /// Writes a mark; whether there is a point in going on.
    fn put(&mut self, paper: &Paper, at: u64, offset: u64, len: u64, (pen, tried): (&mut Pen, &mut Tried)) -> bool {
        let (mark, failed) = (Mark { at, offset, len }, tried.wrong.len());
        let goes_on = pen.write(paper, &mark, &mut tried.wrong);
        match tried.wrong.len() > failed {
            true => tried.places += 1,
            false if goes_on => self.marks.push(mark),
            false => {}
        }
        goes_on
    }

    fn read_back(&self, paper: &Paper, pen: &mut Pen, tried: &mut Tried) {
        // Where marks went past the cache they are on the drive, and nothing is gained by syncing what
        // was claimed, which can be a lot.
        if (self.storing == Storing::Program || !paper.is_direct())
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

/// The first bytes, throughout.
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

/// A file to write marks in.
struct Paper {
    file: File,
    direct: std::cell::Cell<bool>,
}

impl Paper {
    fn new(folder: &Path) -> io::Result<Self> {
        let file = os::create_nameless(folder, NAME)?;
        let direct = os::pass_cache(&file, true).into();
        Ok(Self { file, direct })
    }

    fn is_direct(&self) -> bool {
        self.direct.get()
    }

    /// Does something past the cache, or through it if that is not to be had.
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

/// Writes and reads marks.
struct Pen {
    seed: [u8; 16],
    buf: Vec<u8>,
    start: usize,
}

impl Pen {
    fn new(seed: [u8; 16]) -> Self {
        let (buf, start) = aligned(PIECE as usize);
        Self { seed, buf, start }
    }

    /// The bytes that stand there and nowhere else, this time and never again.
    fn block(&self, at: u64) -> [u8; 16] {
        let mut key = [0; 24];
        key[..16].copy_from_slice(&self.seed);
        key[16..].copy_from_slice(&at.to_le_bytes());
        quick(&key).to_le_bytes()
    }

    /// Writes a mark, noting it if the drive fails there; `false` if the system does not take it.
    fn write(&mut self, paper: &Paper, mark: &Mark, wrong: &mut Vec<u64>) -> bool {
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

    /// Whether a mark is there as it was written; `None` if that cannot be said.
    fn reads(&mut self, paper: &Paper, mark: &Mark) -> Option<bool> {
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

/// Files that take room between marks.
struct Gaps<'a> {
    folder: &'a Path,
    files: Vec<Paper>,
    /// Bytes of the last one.
    len: u64,
    step: u64,
    storing: Storing,
    /// Whether room can be had without a file being longer.
    by_claiming: bool,
    /// Bytes that it may have taken to make files longer.
    filled: u64,
    ended: bool,
}

impl<'a> Gaps<'a> {
    fn new(folder: &'a Path, first: Paper, storing: Storing) -> Self {
        let len = first.file.metadata().map_or(0, |meta| meta.len());
        let files = vec![first];
        Self { folder, files, len, step: FIRST_STEP, storing, by_claiming: true, filled: 0, ended: false }
    }

    /// Takes a step of room, at most `most` bytes; how much that was.
    fn claim(&mut self, most: u64) -> u64 {
        let (begun, len) = (Instant::now(), self.step.min(most));
        match self.extend(len) {
            Ok(()) => {
                self.len += len;
                self.step = next_step(self.step, begun.elapsed());
                return len;
            }
            // This file is as long as files may be.
            Err(error) if error.kind() == io::ErrorKind::FileTooLarge && self.len > 0 => {
                if let Ok(next) = Paper::new(self.folder) {
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
        // Some drivers only note the room, others fill it with zeros.
        self.filled += match (before, dirtied()) {
            (Some(before), Some(after)) if self.storing == Storing::Kernel => after - before,
            _ => len,
        };
        Ok(())
    }
}

/// Bytes that this thread has given the system to be written, if it counts them.
fn dirtied() -> Option<u64> {
    let counts = std::fs::read_to_string("/proc/thread-self/io").ok()?;
    counts.lines().find_map(|line| line.strip_prefix("write_bytes: "))?.parse().ok()
}
