//! Parts in order from what the workers packed in any: the one place of the engine where things
//! wait for their turn. What goes where is noted here; no byte is copied.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::mpsc;

use crate::base::os;
use crate::base::pool::lock;
use crate::flow::FlowError;
use crate::flow::drives::drive::DriveId;
use crate::flow::error::{DriveError, Remedy};
use crate::flow::pack::pipeline::{Done, PackedStretches, Shared, Task};
use crate::flow::pack::source_reader::Raw;
use crate::plan::forecast::RoomGuess;
use crate::plan::geometry::data_at_most;
use crate::plan::placement::Placement;
use crate::stage::compress::Compressor;
use crate::stage::part_filler::{Filler, FullPart, Supply};

impl Shared<'_> {
    /// Puts what the workers packed into parts, in order.
    pub(super) fn collect(&self, done: mpsc::Receiver<Done>, placement: Placement) -> Result<(), FlowError> {
        let compressor = Compressor::new(self.job.level)?;
        let supply =
            PartSupply { shared: self, compressor, placement, packed: self.job.before.tar, closed: BTreeSet::new() };
        let before = (self.job.before.data, self.job.before.tar);
        let mut filler = Filler::new(self.job.class, self.job.bundle, self.job.layout.len, before, supply);
        let mut waiting: BTreeMap<u64, Done> = BTreeMap::new();
        let (mut next, mut at) = (0, self.job.before.tar);
        while at < self.job.layout.len {
            if self.job.monitor.cancelled() {
                return Err(FlowError::Cancelled);
            }
            // No sender is left only when all workers have stopped, for a reason given elsewhere.
            let Ok(arrived) = done.recv() else { return Ok(()) };
            waiting.insert(arrived.index, arrived);
            while let Some(Done { raw, packed, .. }) = waiting.remove(&next) {
                for (stretch, packed) in packed {
                    filler.push(&raw, stretch, packed)?;
                }
                next += 1;
                lock(&self.forecast).collected(next, filler.room());
                at += raw.len() as u64;
            }
        }
        self.settled();
        Ok(())
    }
}

/// What the filler needs, from the pools and queues.
struct PartSupply<'a, 'b> {
    shared: &'a Shared<'b>,
    compressor: Compressor,
    placement: Placement,
    packed: u64,
    /// Drives that failed so far and get nothing more.
    closed: BTreeSet<DriveId>,
}

impl PartSupply<'_, '_> {
    /// Deals no more to drives that failed meanwhile, nor to those that do not keep what they are given if
    /// the others can take the rest. Where the others cannot hold all shards of a stripe as they must, the
    /// failed one is dealt its share all the same: parity stands for it.
    fn close_failed(&mut self) {
        let job = self.shared.job;
        let failed = lock(&self.shared.failed).iter().map(|failed| (failed.drive, true)).collect::<Vec<_>>();
        let lied = lock(&self.shared.distrusted).iter().map(|drive| (*drive, false)).collect::<Vec<_>>();
        for (drive, must) in failed.into_iter().chain(lied) {
            if !self.closed.insert(drive) {
                continue;
            }
            let mut others = self.placement.clone();
            self.shared.drives[drive.0].iter().for_each(|volume| others.close(*volume));
            let rest = data_at_most(job.layout.len - self.packed, job.class);
            if (must && !others.is_dealt_whole()) || others.capacity() >= rest {
                self.placement = others;
            }
        }
    }
}

impl PartSupply<'_, '_> {
    /// No drive has room any more: because of one that failed, or because it packs worse than was thought.
    fn no_room(&self) -> FlowError {
        let job = self.shared.job;
        let failed = lock(&self.shared.failed);
        if failed.is_empty() {
            return FlowError::Drive(DriveError::RanFull { packed: self.packed, total: job.layout.len });
        }
        let gone: Vec<u16> = failed.iter().flat_map(|failed| self.shared.drives[failed.drive.0].clone()).collect();
        let on_them = lock(&self.shared.written).iter().filter(|part| gone.contains(&part.volume)).count();
        let to_come = data_at_most(job.layout.len - self.packed, job.class) as usize;
        let parts = on_them + lock(&self.shared.unwritten).len() + to_come;
        let why = failed.iter().map(|failed| failed.fault.to_string()).collect();
        let all_full = failed.iter().all(|failed| os::is_full(&failed.fault.source));
        let remedy = Remedy::choose(!lock(&self.shared.distrusted).is_empty(), all_full);
        FlowError::Drive(DriveError::NoHome { parts, bytes: (parts * job.class.file_len()) as u64, why, remedy })
    }
}

impl Supply for PartSupply<'_, '_> {
    type Raw = Raw;
    type Error = FlowError;

    fn pack(&mut self, raw: &[u8]) -> Result<PackedStretches, FlowError> {
        let whole = self.shared.job.class.room();
        Ok(self.compressor.pack(raw, whole, |_, _| Some(RoomGuess::Exactly(whole)))?)
    }

    fn first_member(&self, offset: u64, length: u64) -> Option<u64> {
        self.shared.job.layout.first_member(&(offset..offset + length))
    }

    fn full(&mut self, part: FullPart<Raw>) -> Result<(), FlowError> {
        let total = self.shared.job.layout.len;
        self.close_failed();
        let Some(volume) = self.placement.data() else { return Err(self.no_room()) };
        let (number, end) = (part.number, part.offset + part.length);
        self.shared.to_seal(Task::Seal { part, volume });
        if self.placement.stripe_is_full() || end == total {
            let Some(volumes) = self.placement.parity() else { return Err(self.no_room()) };
            for shard in self.shared.sealing.close(number, volumes) {
                self.shared.to_seal(Task::Parity(shard));
            }
        }
        self.packed = end;
        Ok(())
    }
}
