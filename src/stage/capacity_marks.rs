//! The capacity test: finds out within two seconds whether a drive stores what is written to it. The test writes
//! marks past the cache at places spread over the free room, and reads all of them back after the last one. A
//! drive that claims more than it holds drops writes beyond its end, or wraps them around onto earlier ones.
//!
//! Not guaranteed: that a drive without a finding is sound. Most places are not tried, some file systems can be
//! tried only near their beginning, and a drive may have a cache of its own.
//! The test leaves nothing behind, except that a FAT drive that is pulled out during it may show less free room.

mod gaps;
mod mark_file;

use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::base::os::{self, StorageKind};
use crate::base::secret::random;
use gaps::{FIRST_STEP, Gaps, MOST_NOTES, next_step};
use mark_file::{MarkFile, MarkWriter, PIECE, WrittenMark};

/// Less free room than this is not tested: the real parts fill it and are read back soon enough.
const LEAST: u64 = 64 << 20;
/// Bytes at the start of the free room that are marked without gaps: writes that wrap around land on them.
const BEGINNING: u64 = 4 << 20;
/// Least bytes of any other mark: a stick would take as long for fewer.
const MARK: u64 = 64 << 10;
/// Offset of a first mark that shows whether the hole before it takes room.
const HOLE: u64 = 1 << 20;
/// Most bytes of marks.
const MOST_MARKS: u64 = 12 << 20;
/// Number of evenly spaced marks.
const SHARES: u64 = 16;
/// Deadlines, from the start of the test: for claiming room, for writing marks, and for the whole test.
const CLAIMED: Duration = Duration::from_millis(700);
const WRITTEN: Duration = Duration::from_millis(1300);
const DONE: Duration = Duration::from_millis(2000);
/// What a capacity test found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct CapacityReport {
    /// How many marks were read back or failed; 0 if the drive was not tested.
    pub(crate) places: usize,
    /// Marks that came back different, or failed in writing or reading: ascending offsets in the free room.
    pub(crate) wrong: Vec<u64>,
    /// The free room before the test, in bytes.
    pub(crate) room: u64,
}

/// Tests the drive that holds `folder`; ends early once `stop` returns `true`.
///
/// # Errors
/// The test could not be carried out, which says nothing about the drive.
pub(crate) fn try_out(folder: &Path, stop: &dyn Fn() -> bool) -> io::Result<CapacityReport> {
    let room = os::room(folder)?;
    let storing = os::storage_kind(folder)?;
    let mut report = CapacityReport { room: room.free, ..CapacityReport::default() };
    if storing == StorageKind::Memory || room.free < LEAST {
        return Ok(report);
    }
    let mark = room.cluster.next_power_of_two().clamp(MARK, PIECE);
    let run = CapacityTest { folder, stop, begun: Instant::now(), seed: random(), storing, mark, marks: Vec::new() };
    // Other programs may need some of the room meanwhile.
    let drive = TestedDrive { room: room.free / 16 * 15, size: os::size(folder)?, cluster: room.cluster };
    run.carry_out(drive, &mut report)?;
    report.wrong.sort_unstable();
    Ok(report)
}

/// The file system under test: free room to use, size of the whole, and cluster, in bytes.
struct TestedDrive {
    room: u64,
    size: u64,
    cluster: u64,
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
    fn carry_out(mut self, drive: TestedDrive, report: &mut CapacityReport) -> io::Result<()> {
        let first = MarkFile::new(self.folder)?;
        let mut writer = MarkWriter::new(self.seed);
        if !self.put(&first, HOLE, HOLE, self.mark, (&mut writer, report)) || !report.wrong.is_empty() {
            return Ok(());
        }
        self.marks.clear();
        let taken = first.file.metadata()?.blocks() * 512;
        let mark_file = if (1..HOLE).contains(&taken) {
            self.at_offsets(first, &drive, &mut writer, report)
        } else {
            self.behind_each_other(first, &drive, &mut writer, report)?
        };
        self.read_back(&mark_file, &mut writer, report);
        Ok(())
    }

    fn is_over(&self, end: Duration) -> bool {
        self.begun.elapsed() > end || (self.stop)()
    }

    /// For file systems with sparse files: claims all room for one file and writes each mark at its own offset.
    fn at_offsets(
        &mut self,
        mark_file: MarkFile,
        drive: &TestedDrive,
        writer: &mut MarkWriter,
        report: &mut CapacityReport,
    ) -> MarkFile {
        // ext4 writes 36 KiB of metadata per claimed GiB, other file systems less.
        let most = drive.room.min(MOST_NOTES << 15);
        let mut claimed = 0;
        let mut step = FIRST_STEP;
        while claimed < most && !self.is_over(CLAIMED) {
            let begun = Instant::now();
            let len = step.min(most - claimed);
            if os::claim(&mark_file.file, claimed, len).is_err() {
                break;
            }
            claimed += len;
            step = next_step(step, begun.elapsed());
        }
        // Without claimed room the file system would put the marks side by side.
        if claimed < LEAST {
            return mark_file;
        }
        for mark in beginning().chain(self.others(claimed, drive)) {
            if self.is_over(WRITTEN) || !self.put(&mark_file, mark.0, mark.0, mark.1, (writer, report)) {
                break;
            }
        }
        mark_file
    }

    /// For file systems that would fill a hole with zeros: gap files claim the room between marks, and the marks
    /// follow each other in one file. This works because these file systems give out room in order.
    fn behind_each_other(
        &mut self,
        first: MarkFile,
        drive: &TestedDrive,
        writer: &mut MarkWriter,
        report: &mut CapacityReport,
    ) -> io::Result<MarkFile> {
        let mut gaps = Gaps::new(self.folder, first, self.storing);
        let mark_file = MarkFile::new(self.folder)?;
        // A FAT writes 4 bytes per cluster, in both copies of its table.
        let most = drive.room.min(MOST_NOTES / 8 * drive.cluster.max(512));
        let mut marks: Vec<(u64, u64)> = beginning().chain(self.others(most, drive)).collect();
        marks.sort_unstable();
        let mut at = 0;
        let mut offset = 0;
        for (place, len) in marks {
            while at < place && !gaps.ended && !self.is_over(CLAIMED) {
                at += gaps.claim(place - at);
            }
            let last = at < place;
            if self.is_over(WRITTEN) || !self.put(&mark_file, at, offset, len, (writer, report)) || last {
                break;
            }
            at += len;
            offset += len;
        }
        Ok(mark_file)
    }

    /// Places and lengths of the marks behind the beginning, most telling first: the very end, places that would
    /// wrap into the middle of the beginning on a drive of a usual true size, and evenly spaced ones.
    fn others(&self, room: u64, drive: &TestedDrive) -> impl Iterator<Item = (u64, u64)> + use<> {
        let mark = self.mark;
        let last = room.saturating_sub(self.mark);
        let powers = (26..60).rev().map(|bit| 1 << bit);
        let distances = powers.chain((1..=5).map(|bit| drive.size >> bit));
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
        mark_file: &MarkFile,
        at: u64,
        offset: u64,
        len: u64,
        (writer, report): (&mut MarkWriter, &mut CapacityReport),
    ) -> bool {
        let mark = WrittenMark { at, offset, len };
        let failed = report.wrong.len();
        let goes_on = writer.write(mark_file, &mark, &mut report.wrong);
        if report.wrong.len() > failed {
            report.places += 1;
        } else if goes_on {
            self.marks.push(mark);
        }
        goes_on
    }

    fn read_back(&self, mark_file: &MarkFile, writer: &mut MarkWriter, report: &mut CapacityReport) {
        // Marks that went past the cache are on the drive. A sync would write only the metadata of the claimed
        // room, which can be a lot.
        if (self.storing == StorageKind::Program || !mark_file.is_direct())
            && mark_file
                .file
                .sync_data()
                .and_then(|()| os::drop_cached(&mark_file.file))
                .is_err_and(|e| os::is_of_one_place(&e))
        {
            report.wrong.extend(self.marks.last().map(|mark| mark.at));
        }
        for mark in &self.marks {
            if self.is_over(DONE) {
                break;
            }
            if let Some(is_right) = writer.reads(mark_file, mark) {
                report.places += 1;
                report.wrong.extend((!is_right).then_some(mark.at));
            }
        }
    }
}

/// Places and lengths of the marks that cover the beginning.
fn beginning() -> impl Iterator<Item = (u64, u64)> {
    (0..BEGINNING / PIECE).map(|piece| (piece * PIECE, PIECE))
}
