//! What the workers do, one thread for each core: they read, hash and compress ranges, and seal parts. Each takes the
//! most urgent task from one queue.

use std::sync::atomic::Ordering;
use std::sync::mpsc;

use crate::base::digest::quick;
use crate::base::pool::{Lease, lock};
use crate::flow::FlowError;
use crate::flow::pack::parity_builder::ParityShard;
use crate::flow::pack::part_sealer::SealedDataPart;
use crate::flow::pack::pipeline::Pipeline;
use crate::flow::pack::pipeline::routes::Routes;
use crate::flow::pack::pipeline::task::{PackedRange, PackedStretches, RangePlace, Task};
use crate::flow::pack::source_reader::{Filling, Raw};
use crate::format::frame::{Packed, stored_len};
use crate::format::journal::{self, ReadRange};
use crate::format::volume_number::VolumeNumber;
use crate::stage::compress::Compressor;
use crate::stage::part_filler::FullPart;

impl Pipeline<'_> {
    /// Does tasks until the queue ends. The dispatcher hears on `filled` of each range that was read.
    pub(super) fn work(
        &self,
        packed: mpsc::Sender<PackedRange>,
        filled: mpsc::Sender<()>,
        routes: Routes,
    ) -> Result<(), FlowError> {
        let mut compressor = Compressor::new(self.job.level)?;
        while let Some(task) = self.queue.pop(|task| self.rank(task)) {
            match task {
                Task::Fill { place, buf } => {
                    self.fill(place, buf)?;
                    // A dispatcher that does not listen has stopped, and has reported why.
                    let _ = filled.send(());
                }
                Task::Reread { read, fresh, buf } => {
                    self.reread(read, fresh, buf)?;
                    let _ = filled.send(());
                }
                Task::Pack { place, raw } => {
                    let stretches = self.pack(place, &raw, &mut compressor)?;
                    if packed.send(PackedRange { index: place.index, raw, stretches }).is_err() {
                        return Ok(());
                    }
                }
                Task::Seal { part, volume } => self.seal(part, volume, &routes),
                Task::SealParity(shard) => self.seal_parity(shard, &routes),
            }
        }
        Ok(())
    }

    /// The urgency of a task; 0 is done first. Drives wait for parts. Of ranges, the one goes first whose place in its
    /// part is known; other ranges are read ahead before they are packed with a guess.
    pub(super) fn rank(&self, task: &Task) -> u8 {
        match task {
            Task::Seal { .. } | Task::SealParity(_) => 0,
            Task::Pack { place, .. } if lock(&self.forecast).is_next(place.index) => 1,
            Task::Fill { .. } | Task::Reread { .. } => 2,
            Task::Pack { .. } => 3,
        }
    }

    /// Reads a range, queues it to be packed, and hashes it.
    fn fill(&self, place: RangePlace, buf: Lease<Vec<u8>>) -> Result<(), FlowError> {
        let Filling { raw, pieces, clean } = self.reading.range(place.start, buf)?;
        if clean {
            // A range that could not be read well is not noted, so that a later run reads and packs it again.
            let read = ReadRange { start: place.start, len: raw.len() as u64, hash: quick(&raw) };
            self.job.log.note(&read.encode());
        }
        // Queued before hashing, which may take long: the collector may wait for this range.
        self.queue.push(Task::Pack { place, raw: raw.clone() });
        self.reading.hash(&raw, pieces);
        Ok(())
    }

    /// Compresses a range, or leaves it as it is where a sample shows that compressing gains nothing.
    fn pack(&self, place: RangePlace, raw: &[u8], compressor: &mut Compressor) -> Result<PackedStretches, FlowError> {
        let RangePlace { index, start } = place;
        let len = raw.len();
        let is_stored = compressor.sample(raw) >= len;
        self.ranges.note_packed(start, is_stored);
        if is_stored {
            lock(&self.forecast).progress(index, len, len, stored_len(len));
            return Ok(vec![(0..len, Packed::Stored)]);
        }
        let room = |done, packed| {
            let mut forecast = lock(&self.forecast);
            forecast.progress(index, len, done, packed);
            forecast.room(index)
        };
        Ok(compressor.pack(raw, self.job.class.room(), room)?)
    }

    /// Seals a data part and sends it to its drive. Parity that is complete now is queued to be sealed.
    fn seal(&self, part: FullPart<Raw>, volume: VolumeNumber, routes: &Routes) {
        let Some(SealedDataPart { sealed, shards, recipe }) = self.sealer.seal_data(part, volume) else { return };
        let number = sealed.part.number;
        self.job.log.note(&journal::recipe(number, &recipe));
        lock(&self.recipes).insert(number, recipe);
        routes.send(sealed);
        shards.into_iter().for_each(|shard| self.queue_sealing(Task::SealParity(shard)));
        self.count_down();
    }

    fn seal_parity(&self, shard: ParityShard, routes: &Routes) {
        let Some(sealed) = self.sealer.seal_parity(shard) else { return };
        routes.send(sealed);
        self.count_down();
    }

    /// Queues a part to be sealed, which keeps the queue open.
    pub(super) fn queue_sealing(&self, task: Task) {
        self.unfinished.fetch_add(1, Ordering::SeqCst);
        self.queue.push(task);
    }

    /// Counts a sealed part, the dispatcher or the collector as finished. The last of them ends the queue.
    pub(super) fn count_down(&self) {
        if self.unfinished.fetch_sub(1, Ordering::SeqCst) == 1 {
            self.queue.close();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::pool::Pool;
    use crate::flow::pack::pipeline::tests::{Desk, noise};
    use std::sync::Arc;

    fn place(index: u64) -> RangePlace {
        RangePlace { index, start: 0 }
    }

    fn buffer() -> Lease<Vec<u8>> {
        Pool::new(1, Vec::new).take().unwrap()
    }

    fn pack_task(index: u64) -> Task {
        Task::Pack { place: place(index), raw: Arc::new(buffer()) }
    }

    fn seal_task() -> Task {
        let part = FullPart { number: 1, offset: 0, length: 0, segments: Vec::new(), frames: Vec::new() };
        Task::Seal { part, volume: VolumeNumber::new(1) }
    }

    #[test]
    fn parts_come_first_then_the_next_range_then_reading_ahead() {
        let desk = Desk::new();
        let job = desk.job();
        let pipeline = Pipeline::new(&job, &[]);
        let read = ReadRange { start: 0, len: 0, hash: 0 };
        let tasks = [
            seal_task(),
            pack_task(0),
            Task::Fill { place: place(2), buf: buffer() },
            Task::Reread { read, fresh: 0..0, buf: buffer() },
            pack_task(1),
        ];
        assert_eq!(tasks.map(|task| pipeline.rank(&task)), [0, 1, 2, 2, 3]);
    }

    #[test]
    fn a_range_becomes_the_next_one_when_those_before_it_are_in_parts() {
        let desk = Desk::new();
        let job = desk.job();
        let pipeline = Pipeline::new(&job, &[]);
        lock(&pipeline.forecast).collected(1, 1000);
        assert_eq!([pipeline.rank(&pack_task(0)), pipeline.rank(&pack_task(1))], [3, 1]);
    }

    #[test]
    fn a_range_that_does_not_compress_is_stored_and_makes_the_next_ones_short() {
        let desk = Desk::new();
        let job = crate::flow::pack::pipeline::PackJob { estimate: 0, ..desk.job() };
        let pipeline = Pipeline::new(&job, &[]);
        let mut compressor = Compressor::new(job.level).unwrap();
        assert_eq!(pipeline.ranges.take().unwrap().len(), 2 << 20, "the estimate promised that it compresses");
        let stretches = pipeline.pack(place(0), &noise(1 << 20), &mut compressor).unwrap();
        assert_eq!(stretches, [(0..1 << 20, Packed::Stored)]);
        assert_eq!(pipeline.ranges.take().unwrap().len(), 1 << 20);
    }

    #[test]
    fn a_range_that_compresses_makes_the_next_ones_long() {
        let desk = Desk::new();
        let job = desk.job();
        let pipeline = Pipeline::new(&job, &[]);
        let mut compressor = Compressor::new(job.level).unwrap();
        assert_eq!(pipeline.ranges.take().unwrap().len(), 1 << 20, "the estimate promised that nothing compresses");
        let stretches = pipeline.pack(place(0), &[7; 1 << 20], &mut compressor).unwrap();
        assert!(stretches.iter().all(|(_, packed)| *packed != Packed::Stored));
        assert_eq!(stretches.last().unwrap().0.end, 1 << 20);
        assert_eq!(pipeline.ranges.take().unwrap().len(), 2 << 20);
    }

    #[test]
    fn the_queue_ends_with_the_last_part_that_is_sealed() {
        let desk = Desk::new();
        let job = desk.job();
        let pipeline = Pipeline::new(&job, &[]);
        pipeline.queue_sealing(seal_task());
        // The dispatcher, the collector, and the part.
        (0..3).for_each(|_| pipeline.count_down());
        assert!(pipeline.queue.pop(|_| 0).is_some());
        assert!(pipeline.queue.pop(|_| 0).is_none());
    }
}
