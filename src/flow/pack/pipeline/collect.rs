//! Puts the ranges that workers packed in any order into parts, in tar order. This is the one place of the pipeline
//! where ranges wait for their turn. It notes what goes into which part and to which volume; it compresses again the
//! frames that the end of a part cuts, and copies nothing else but stored stretches that it has to split.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::mpsc;

use crate::base::os;
use crate::base::pool::lock;
use crate::flow::FlowError;
use crate::flow::drives::drive::DriveId;
use crate::flow::error::{DriveError, Remedy};
use crate::flow::pack::pipeline::Pipeline;
use crate::flow::pack::pipeline::task::{PackedRange, PackedStretches, Task};
use crate::flow::pack::source_reader::Raw;
use crate::format::volume_number::VolumeNumber;
use crate::plan::forecast::RoomGuess;
use crate::plan::geometry::data_at_most;
use crate::plan::placement::Placement;
use crate::stage::compress::Compressor;
use crate::stage::part_filler::{Filler, FullPart, Supply};

impl Pipeline<'_> {
    /// Puts all packed ranges into parts, and queues the full parts to be sealed.
    pub(super) fn collect(&self, packed: mpsc::Receiver<PackedRange>, placement: Placement) -> Result<(), FlowError> {
        let before = self.job.before;
        let supply = PartSupply::new(self, placement)?;
        let done = (before.data, before.tar);
        let mut filler = Filler::new(self.job.class, self.job.bundle, self.job.layout.len, done, supply);
        let mut waiting: BTreeMap<u64, PackedRange> = BTreeMap::new();
        let mut next = 0;
        let mut at = before.tar;
        while at < self.job.layout.len {
            if self.job.monitor.cancelled() {
                return Err(FlowError::Cancelled);
            }
            // The channel ends early only when all workers have stopped, and one of them has reported why.
            let Ok(range) = packed.recv() else { return Ok(()) };
            waiting.insert(range.index, range);
            while let Some(PackedRange { raw, stretches, .. }) = waiting.remove(&next) {
                for (stretch, packed) in stretches {
                    filler.push(&raw, stretch, packed)?;
                }
                next += 1;
                lock(&self.forecast).collected(next, filler.room());
                at += raw.len() as u64;
            }
        }
        self.count_down();
        Ok(())
    }
}

/// Deals full parts to volumes, and packs the rests of ranges again.
struct PartSupply<'a, 'b> {
    pipeline: &'a Pipeline<'b>,
    compressor: Compressor,
    placement: Placement,
    /// Bytes of the tar that are in full parts.
    packed: u64,
    /// Drives that were dealt with, each once for being distrusted and once for having failed (`true`).
    handled: BTreeSet<(DriveId, bool)>,
}

impl<'a, 'b> PartSupply<'a, 'b> {
    fn new(pipeline: &'a Pipeline<'b>, placement: Placement) -> Result<Self, FlowError> {
        let compressor = Compressor::new(pipeline.job.level)?;
        Ok(Self { pipeline, compressor, placement, packed: pipeline.job.before.tar, handled: BTreeSet::new() })
    }

    /// Takes account of drives that failed, or did not keep a part, since the last part was dealt.
    fn close_bad_drives(&mut self) {
        let failed: Vec<DriveId> = lock(&self.pipeline.failed).iter().map(|failed| failed.drive).collect();
        let distrusted: Vec<DriveId> = lock(&self.pipeline.distrusted).iter().copied().collect();
        failed.into_iter().for_each(|drive| self.close_if_possible(drive, true));
        distrusted.into_iter().for_each(|drive| self.close_if_possible(drive, false));
    }

    /// Deals no more parts to a drive if the others have room for the rest. If they have not, a distrusted drive goes
    /// on getting parts. So does a failed one where all shards of a stripe are placed together, because parity stands
    /// for its share; elsewhere a failed drive gets nothing more.
    fn close_if_possible(&mut self, drive: DriveId, has_failed: bool) {
        if !self.handled.insert((drive, has_failed)) {
            return;
        }
        let mut others = self.placement.clone();
        self.pipeline.drive_volumes[drive.0].iter().for_each(|volume| others.close(*volume));
        if (has_failed && !others.is_dealt_whole()) || others.capacity() >= self.parts_to_come() {
            self.placement = others;
        }
    }

    /// Data parts that the rest of the tar takes if nothing compresses.
    fn parts_to_come(&self) -> u64 {
        let job = self.pipeline.job;
        data_at_most(job.layout.len - self.packed, job.class)
    }

    /// The error when no drive has room any more. If a drive failed, it counts the parts that have no home now;
    /// otherwise the sources packed worse than was estimated.
    fn no_room(&self) -> FlowError {
        let pipeline = self.pipeline;
        let failed = lock(&pipeline.failed);
        if failed.is_empty() {
            return FlowError::Drive(DriveError::RanFull { packed: self.packed, total: pipeline.job.layout.len });
        }
        let gone: Vec<VolumeNumber> =
            failed.iter().flat_map(|failed| pipeline.drive_volumes[failed.drive.0].iter().copied()).collect();
        let on_them = lock(&pipeline.written).iter().filter(|part| gone.contains(&part.volume)).count();
        let parts = on_them + lock(&pipeline.unwritten).len() + self.parts_to_come() as usize;
        let all_full = failed.iter().all(|failed| os::is_full(&failed.fault.source));
        FlowError::Drive(DriveError::NoHome {
            parts,
            bytes: (parts * pipeline.job.class.file_len()) as u64,
            why: failed.iter().map(|failed| failed.fault.to_string()).collect(),
            remedy: Remedy::choose(!lock(&pipeline.distrusted).is_empty(), all_full),
        })
    }
}

impl Supply for PartSupply<'_, '_> {
    type Raw = Raw;
    type Error = FlowError;

    fn pack(&mut self, raw: &[u8]) -> Result<PackedStretches, FlowError> {
        let whole = self.pipeline.job.class.room();
        Ok(self.compressor.pack(raw, whole, |_, _| Some(RoomGuess::Exactly(whole)))?)
    }

    fn first_member(&self, offset: u64, length: u64) -> Option<u64> {
        self.pipeline.job.layout.first_member(&(offset..offset + length))
    }

    /// Queues a part to be sealed for its volume. Behind the last data part of a stripe, its parity gets volumes too.
    fn full(&mut self, part: FullPart<Raw>) -> Result<(), FlowError> {
        self.close_bad_drives();
        let Some(volume) = self.placement.data() else { return Err(self.no_room()) };
        let number = part.number;
        let end = part.offset + part.length;
        self.pipeline.queue_sealing(Task::Seal { part, volume });
        if self.placement.stripe_is_full() || end == self.pipeline.job.layout.len {
            let Some(volumes) = self.placement.parity() else { return Err(self.no_room()) };
            for shard in self.pipeline.sealer.close_stripe(number, volumes) {
                self.pipeline.queue_sealing(Task::SealParity(shard));
            }
        }
        self.packed = end;
        Ok(())
    }
}

#[cfg(test)]
mod tests;
