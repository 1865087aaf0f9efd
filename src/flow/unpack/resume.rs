//! What an earlier run of the same unpacking placed or delivered, taken up: nothing of it counts
//! before it is held against the list, as the disk stores it. Where no disk is asked (memory, some networks),
//! that is what the system remembers.

use std::collections::BTreeSet;

use crate::base::digest::{Digest, Hasher};
use crate::base::entry::{Entry, Flag, Kind};
use crate::base::fault::IoFault;
use crate::base::monitor::{Monitor, Phase};
use crate::base::pool::side_by_side;
use crate::flow::FlowError;
use crate::flow::unpack::file_writer::{Extraction, FileWriter};
use crate::format::head::{Head, Part, PartKind};
use crate::plan::links::find;

/// Entries that one thread looks at before it asks for more.
const SOME: usize = 64;

/// What an unpacking is about: runs of the same go on from each other.
pub fn work(head: &Head, entries: &[Entry]) -> Digest {
    let mut hasher = Hasher::tagged("unfinished");
    hasher.update(head.statement.fingerprint().as_bytes());
    for entry in entries {
        hasher.update(b"\0");
        hasher.update(entry.path.as_bytes());
    }
    hasher.finish()
}

/// Looks at all that an earlier run left, on all cores; the extraction then knows what is whole.
pub fn adopt_earlier_run(extraction: &Extraction, head: &Head, monitor: &dyn Monitor) -> Result<(), FlowError> {
    extraction.staging.resume(extraction.entries)?;
    let parts = PlacedStretches::new(head, &extraction.staging.placed());
    monitor.phase(Phase::Resuming, extraction.entries.iter().map(|entry| entry.size).sum());
    let jobs: Vec<usize> = (0..extraction.entries.len()).step_by(SOME).collect();
    let looked = side_by_side(
        &jobs,
        || extraction.writer(),
        |writer, first| {
            for index in *first..(first + SOME).min(extraction.entries.len()) {
                if monitor.cancelled() {
                    return Err(FlowError::Cancelled);
                }
                let entry = &extraction.entries[index];
                if entry.kind == Kind::File && entry.has_content() && entry.flag != Flag::Unreadable {
                    look(extraction, writer, index, &parts, monitor)?;
                }
                monitor.advance(entry.size);
            }
            Ok(())
        },
    );
    looked.into_iter().collect::<Result<(), FlowError>>()?;
    if extraction.staging.has_delivered() {
        small_ones(extraction)?;
    }
    Ok(())
}

/// Which of these parts are still to be read: those that nobody placed, and those that hold bytes
/// of a file of which nothing is left.
pub fn to_do(extraction: &Extraction, head: &Head, parts: &[u32]) -> Vec<u32> {
    let placed = extraction.staging.placed();
    let lacks = |index: usize| {
        extraction.entries[index].flag != Flag::Unreadable
            && !extraction.is_whole(index)
            && !extraction.is_unverified(index)
    };
    let open = |number: &u32| match head.parts[*number as usize - 1].kind {
        PartKind::Data { offset, length } if placed.contains(number) => {
            extraction.contents.within(extraction.entries, offset, offset + length).any(lacks)
        }
        _ => true,
    };
    parts.iter().copied().filter(open).collect()
}

/// The parts that hold bytes of these files.
pub fn parts_of(extraction: &Extraction, head: &Head, files: &[usize]) -> Vec<u32> {
    let holds = |offset, length| {
        extraction
            .contents
            .within(extraction.entries, offset, offset + length)
            .any(|index| files.binary_search(&index).is_ok())
    };
    head.data_parts().filter(|(_, offset, length)| holds(*offset, *length)).map(|(part, _, _)| part.number).collect()
}

/// A file with content: staged, or delivered, or neither.
fn look(
    extraction: &Extraction,
    writer: &mut FileWriter,
    index: usize,
    parts: &PlacedStretches,
    monitor: &dyn Monitor,
) -> Result<(), FlowError> {
    let entry = &extraction.entries[index];
    let lengths = writer.placer().lengths(entry)?;
    if lengths.0.is_some() {
        writer.placer().forget_cached(entry)?;
    }
    match lengths {
        (Some(len), _) if parts.cut(entry) => {
            // A file that is too short has lost what was placed: it is begun anew.
            for (from, to) in parts.within(entry).filter(|_| len == entry.size) {
                if monitor.cancelled() {
                    return Err(FlowError::Cancelled);
                }
                writer.adopt_piece(index, (from, to - from))?;
            }
        }
        (Some(len), _) if len == entry.size => writer.verify_staged(index)?,
        (Some(_), _) => writer.placer().remove(entry)?,
        (None, Some(len))
            if extraction.staging.has_delivered()
                && len == entry.size
                && is_delivered(extraction, writer, entry, entry.sha256, true) =>
        {
            extraction.set_delivered(index);
        }
        _ => {}
    }
    Ok(())
}

/// Whether a file that was delivered is what was packed; if so, and if it `counts`, how it stands there
/// is noted.
fn is_delivered(
    extraction: &Extraction,
    writer: &mut FileWriter,
    entry: &Entry,
    expected: Option<Digest>,
    counts: bool,
) -> bool {
    let Ok((digest, dressed)) = writer.placer().digest_delivered(entry) else { return false };
    let same = expected == Some(digest);
    if same && counts {
        extraction.staging.count(dressed);
    }
    same
}

/// Empty files and links that were delivered.
fn small_ones(extraction: &Extraction) -> Result<(), IoFault> {
    let mut writer = extraction.writer();
    for (index, entry) in extraction.entries.iter().enumerate() {
        let there = match &entry.kind {
            Kind::File if entry.size == 0 => writer.placer().lengths(entry)?.1 == Some(0),
            Kind::Symlink(to) => writer.placer().is_linked(entry, to),
            Kind::Hardlink(first) => {
                let first = find(extraction.entries, first.as_bytes()).map(|at| &extraction.entries[at]);
                let same = |first: &Entry| {
                    let sized = Entry { size: first.size, ..entry.clone() };
                    is_delivered(extraction, &mut writer, &sized, first.sha256, extraction.staging.has_copies())
                };
                first.is_some_and(same)
            }
            _ => false,
        };
        if there {
            extraction.set_delivered(index);
        }
    }
    Ok(())
}

/// The parts of a bundle as stretches of its tar, and which of them an earlier run placed.
struct PlacedStretches {
    all: Vec<(u64, u64, bool)>,
}

impl PlacedStretches {
    /// From the head's table.
    fn new(head: &Head, placed: &BTreeSet<u32>) -> Self {
        let stretch =
            |(part, offset, length): (&Part, u64, u64)| (offset, offset + length, placed.contains(&part.number));
        Self { all: head.data_parts().map(stretch).collect() }
    }

    fn touching<'a>(&'a self, entry: &'a Entry) -> impl Iterator<Item = &'a (u64, u64, bool)> {
        let first = self.all.partition_point(|(_, end, _)| *end <= entry.at);
        self.all[first..].iter().take_while(|(start, _, _)| *start < entry.at + entry.size)
    }

    /// Whether a file lies in more than one part.
    fn cut(&self, entry: &Entry) -> bool {
        self.touching(entry).nth(1).is_some()
    }

    /// The stretches of a file, from and to, that were placed.
    fn within<'a>(&'a self, entry: &'a Entry) -> impl Iterator<Item = (u64, u64)> + 'a {
        let clip = |(start, end, _): &(u64, u64, bool)| {
            ((*start).max(entry.at) - entry.at, (*end).min(entry.at + entry.size) - entry.at)
        };
        self.touching(entry).filter(|(_, _, placed)| *placed).map(clip)
    }
}
