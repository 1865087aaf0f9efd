//! Adopts what an earlier run of the same unpacking placed or delivered. Every file is hashed again and compared with
//! the list before it counts, as the disk stores it and not as the system remembers it.
//!
//! Not guaranteed: that a disk is asked. A target in memory and some network file systems answer from memory.

use std::collections::BTreeSet;
use std::ops::Range;

use crate::base::digest::{Digest, Hasher};
use crate::base::entry::{Entry, Flag, Kind};
use crate::base::fault::IoFault;
use crate::base::monitor::{Monitor, Phase};
use crate::base::path::BytePath;
use crate::base::pool::side_by_side;
use crate::flow::FlowError;
use crate::flow::unpack::file_writer::{Extraction, FileWriter};
use crate::format::head::{Head, Part, PartKind};
use crate::plan::links::find;
use crate::stage::restore::MetadataResult;

/// How many entries a thread looks at before it asks for more.
const BATCH: usize = 64;

/// Identifies an unpacking by the bundle and the selected paths. A run goes on only from an earlier run of the same.
pub(crate) fn work(head: &Head, entries: &[Entry]) -> Digest {
    let mut hasher = Hasher::tagged("unfinished");
    hasher.update(head.statement.fingerprint().as_bytes());
    for entry in entries {
        hasher.update(b"\0");
        hasher.update(entry.path.as_bytes());
    }
    hasher.finish()
}

/// Looks at all that an earlier run left, on all cores, and records in the extraction what is whole.
pub(crate) fn adopt_earlier_run(extraction: &Extraction, head: &Head, monitor: &dyn Monitor) -> Result<(), FlowError> {
    extraction.staging.resume(extraction.entries)?;
    let adoption = Adoption { extraction, parts: PlacedStretches::new(head, &extraction.staging.placed()), monitor };
    monitor.phase(Phase::Resuming, extraction.entries.iter().map(|entry| entry.size).sum());
    let batches: Vec<usize> = (0..extraction.entries.len()).step_by(BATCH).collect();
    let adopted = side_by_side(&batches, || extraction.writer(), |writer, first| adoption.adopt_batch(writer, *first));
    adopted.into_iter().collect::<Result<(), FlowError>>()?;
    if extraction.staging.has_delivered() {
        adoption.adopt_delivered_without_content()?;
    }
    Ok(())
}

/// Which of these parts are still to be read, in the same order: those that no run has placed, and those with bytes of
/// a file that is neither whole nor waiting to be verified.
pub(crate) fn to_do(extraction: &Extraction, head: &Head, parts: &[u32]) -> Vec<u32> {
    let placed = extraction.staging.placed();
    let numbers = parts.iter().copied();
    numbers.filter(|number| is_to_do(extraction, &head.parts[*number as usize - 1], &placed)).collect()
}

/// Whether a part is still to be read. `placed` has the numbers of the parts that some run has placed.
fn is_to_do(extraction: &Extraction, part: &Part, placed: &BTreeSet<u32>) -> bool {
    match part.kind {
        PartKind::Data { offset, length } if placed.contains(&part.number) => {
            let mut within = extraction.contents.within(extraction.entries, offset, offset + length);
            within.any(|index| is_unfinished(extraction, index))
        }
        PartKind::Data { .. } | PartKind::Parity => true,
    }
}

/// Whether a file that the packer could read is neither whole nor waiting to be verified.
fn is_unfinished(extraction: &Extraction, index: usize) -> bool {
    let is_packed = extraction.entries[index].flag != Flag::Unreadable;
    is_packed && !extraction.is_whole(index) && !extraction.is_unverified(index)
}

/// The parts that hold bytes of these files, both ascending.
pub(crate) fn parts_of(extraction: &Extraction, head: &Head, files: &[usize]) -> Vec<u32> {
    let parts = head.data_parts().filter(|(_, offset, length)| holds_any(extraction, *offset..offset + length, files));
    parts.map(|(part, _, _)| part.number).collect()
}

/// Whether a stretch of the tar holds bytes of one of these files, which ascend.
fn holds_any(extraction: &Extraction, stretch: Range<u64>, files: &[usize]) -> bool {
    let mut within = extraction.contents.within(extraction.entries, stretch.start, stretch.end);
    within.any(|index| files.binary_search(&index).is_ok())
}

/// The adoption of what an earlier run left, shared by all threads.
struct Adoption<'a> {
    extraction: &'a Extraction<'a>,
    parts: PlacedStretches,
    monitor: &'a dyn Monitor,
}

impl Adoption<'_> {
    /// Looks at the files with content among [`BATCH`] entries from `first` on.
    fn adopt_batch(&self, writer: &mut FileWriter, first: usize) -> Result<(), FlowError> {
        let entries = self.extraction.entries;
        for (index, entry) in entries.iter().enumerate().skip(first).take(BATCH) {
            self.check_not_cancelled()?;
            if entry.has_content() && entry.flag != Flag::Unreadable {
                self.adopt_file(writer, index)?;
            }
            self.monitor.advance(entry.size);
        }
        Ok(())
    }

    /// Looks at a file with content. What is staged counts before what is delivered.
    fn adopt_file(&self, writer: &mut FileWriter, index: usize) -> Result<(), FlowError> {
        let extraction = self.extraction;
        let entry = &extraction.entries[index];
        let (staged, delivered) = writer.placer().lengths(entry)?;
        if let Some(len) = staged {
            writer.placer().forget_cached(entry)?;
            return self.adopt_staged(writer, index, len);
        }
        if extraction.staging.has_delivered()
            && delivered == Some(entry.size)
            && let Some(metadata) = metadata_of_delivered(writer, entry, entry.sha256)
        {
            extraction.staging.count(metadata);
            extraction.set_delivered(index);
        }
        Ok(())
    }

    /// Adopts a staged file of `len` bytes: a file of one part as a whole, a longer one piece by piece.
    fn adopt_staged(&self, writer: &mut FileWriter, index: usize, len: u64) -> Result<(), FlowError> {
        let entry = &self.extraction.entries[index];
        if !self.parts.is_cut(entry) {
            let adopted = if len == entry.size { writer.verify_staged(index) } else { writer.placer().remove(entry) };
            return Ok(adopted?);
        }
        // A longer file gets its full length with the first piece. One that is shorter has lost what was placed, and
        // is begun anew.
        if len == entry.size {
            for (from, to) in self.parts.placed_within(entry) {
                self.check_not_cancelled()?;
                writer.adopt_piece(index, (from, to - from))?;
            }
        }
        Ok(())
    }

    /// Looks for empty files and links that were delivered.
    fn adopt_delivered_without_content(&self) -> Result<(), IoFault> {
        let mut writer = self.extraction.writer();
        for (index, entry) in self.extraction.entries.iter().enumerate() {
            let is_delivered = match &entry.kind {
                Kind::File => entry.size == 0 && writer.placer().lengths(entry)?.1 == Some(0),
                Kind::Symlink(to) => writer.placer().is_linked(entry, to),
                Kind::Hardlink(first) => self.is_delivered_link(&mut writer, entry, first),
                Kind::Dir => false,
            };
            if is_delivered {
                self.extraction.set_delivered(index);
            }
        }
        Ok(())
    }

    /// Whether a hard link was delivered with the content of its file, as a link or as a copy. Only a copy has a mode
    /// and time of its own to count.
    fn is_delivered_link(&self, writer: &mut FileWriter, entry: &Entry, first: &BytePath) -> bool {
        let entries = self.extraction.entries;
        let Some(first) = find(entries, first.as_bytes()).map(|at| &entries[at]) else { return false };
        let sized = Entry { size: first.size, ..entry.clone() };
        let Some(metadata) = metadata_of_delivered(writer, &sized, first.sha256) else { return false };
        if self.extraction.staging.has_copies() {
            self.extraction.staging.count(metadata);
        }
        true
    }

    /// Hashing may take long, so the user can stop it between files and pieces.
    fn check_not_cancelled(&self) -> Result<(), FlowError> {
        if self.monitor.cancelled() { Err(FlowError::Cancelled) } else { Ok(()) }
    }
}

/// How the target took mode and time of a delivered file; `None` if its content is not the expected one, or cannot be
/// read.
fn metadata_of_delivered(writer: &mut FileWriter, entry: &Entry, expected: Option<Digest>) -> Option<MetadataResult> {
    let (digest, metadata) = writer.placer().digest_delivered(entry).ok()?;
    (expected == Some(digest)).then_some(metadata)
}

/// The stretch of the tar that a part holds.
struct PartStretch {
    start: u64,
    end: u64,
    /// Whether an earlier run placed the part.
    is_placed: bool,
}

impl PartStretch {
    fn new(start: u64, length: u64, is_placed: bool) -> Self {
        Self { start, end: start + length, is_placed }
    }

    /// The piece of a file in this stretch: offsets in the file, from and to.
    fn piece_of(&self, entry: &Entry) -> (u64, u64) {
        let from = self.start.max(entry.at) - entry.at;
        let to = self.end.min(entry.at + entry.size) - entry.at;
        (from, to)
    }
}

/// All data parts as stretches of the tar, in its order.
struct PlacedStretches {
    all: Vec<PartStretch>,
}

impl PlacedStretches {
    fn new(head: &Head, placed: &BTreeSet<u32>) -> Self {
        let parts = head.data_parts();
        let all = parts.map(|(part, start, length)| PartStretch::new(start, length, placed.contains(&part.number)));
        Self { all: all.collect() }
    }

    /// The parts that hold bytes of a file, in the order of the tar.
    fn touching<'a>(&'a self, entry: &'a Entry) -> impl Iterator<Item = &'a PartStretch> {
        let first = self.all.partition_point(|part| part.end <= entry.at);
        self.all[first..].iter().take_while(|part| part.start < entry.at + entry.size)
    }

    /// Whether a file lies in more than one part.
    fn is_cut(&self, entry: &Entry) -> bool {
        self.touching(entry).nth(1).is_some()
    }

    /// The pieces of a file that were placed: offsets in the file, from and to.
    fn placed_within<'a>(&'a self, entry: &'a Entry) -> impl Iterator<Item = (u64, u64)> + 'a {
        self.touching(entry).filter(|part| part.is_placed).map(|part| part.piece_of(entry))
    }
}

#[cfg(test)]
mod tests;
