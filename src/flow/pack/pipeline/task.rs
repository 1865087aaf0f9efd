//! The pieces of work that the threads of the pipeline hand each other.

use std::ops::Range;

use crate::base::pool::Lease;
use crate::flow::pack::parity_builder::ParityShard;
use crate::flow::pack::source_reader::Raw;
use crate::format::frame::Packed;
use crate::format::journal::ReadRange;
use crate::format::volume_number::VolumeNumber;
use crate::stage::part_filler::FullPart;

/// Consecutive stretches of a range, and what each was packed to.
pub(super) type PackedStretches = Vec<(Range<usize>, Packed)>;

/// Where a range of this run is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct RangePlace {
    /// Among the ranges that this run packs, from 0.
    pub(crate) index: u64,
    /// Tar offset of its first byte.
    pub(crate) start: u64,
}

/// One piece of work for any worker.
pub(super) enum Task {
    /// A range to be read from the sources and hashed. Packing it is the next task.
    Fill { place: RangePlace, buf: Lease<Vec<u8>> },
    /// A range that an earlier run packed, to be compared with what it read. Only the stretch `fresh` is hashed here;
    /// the rest overlaps with other such ranges.
    Reread { read: ReadRange, fresh: Range<u64>, buf: Lease<Vec<u8>> },
    /// A range in memory to be compressed.
    Pack { place: RangePlace, raw: Raw },
    /// A full data part to be sealed for that volume.
    Seal { part: FullPart<Raw>, volume: VolumeNumber },
    /// A parity part to be sealed.
    SealParity(ParityShard),
}

/// A range that was compressed.
pub(super) struct PackedRange {
    pub(crate) index: u64,
    pub(crate) raw: Raw,
    pub(crate) stretches: PackedStretches,
}
