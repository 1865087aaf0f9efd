//! Packs the tar: its ranges go through all cores into parts, and the parts to all drives at the same time.
//!
//! ```text
//! dispatcher ──ranges──▶ workers ──packed──▶ collector ──full parts──▶ workers ──sealed──▶ writers
//!                        read, hash,          notes what goes           copy, seal,         one a drive
//!                        compress             into which part           hash
//! ```
//! A thread waits only for a buffer, of a range or a part, or for the next range in order. All memory is in the pools.
//! The tail of the tar, the manifests, begins once all digests are known. A drive that fails does not stop the others.
//!
//! Not guaranteed: that every part ends up on a drive. The result names the parts that did not, and the drives that
//! failed; `settle.rs` finds a place for them.

mod collect;
mod dispatch;
mod range_lengths;
mod routes;
mod task;
mod workers;
mod write;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Mutex, mpsc};

use crate::base::digest::Digest;
use crate::base::entry::Flag;
use crate::base::monitor::{Monitor, Note};
use crate::base::pool::{Queue, Stop, unlocked, workers as worker_count};
use crate::base::threads::start;
use crate::flow::FlowError;
use crate::flow::drives::drive::{Drive, DriveId, FailedDrive};
use crate::flow::pack::parity_builder::ParityBuilder;
use crate::flow::pack::part_sealer::BundleSealer;
use crate::flow::pack::pipeline::range_lengths::RangeBuffers;
use crate::flow::pack::pipeline::routes::Routes;
use crate::flow::pack::pipeline::task::Task;
use crate::flow::pack::source_reader::SourceReader;
use crate::format::head::{Part, PartId};
use crate::format::journal::ReadRange;
use crate::format::part::Class;
use crate::format::recipe::Recipe;
use crate::format::stripe::Scheme;
use crate::format::volume_number::VolumeNumber;
use crate::plan::forecast::Forecast;
use crate::plan::geometry::{Geometry, range_len};
use crate::plan::layout::Layout;
use crate::plan::placement::Placement;
use crate::plan::rehome;
use crate::stage::compress::{Compressor, Level};
use crate::stage::journal::JournalWriter;
use crate::stage::seal::Recipient;
use crate::stage::walk::Walk;

/// Memory of the program itself, its threads and what allocators keep, in bytes.
const BASE_MEMORY: u64 = 16 << 20;
/// Memory for what is known of one entry, in bytes.
const ENTRY_MEMORY: u64 = 450;

/// What is to be packed, and how.
pub(crate) struct PackJob<'a> {
    pub(crate) walk: &'a Walk,
    /// The layout of the tar of that walk.
    pub(crate) layout: &'a Layout,
    /// The size of all parts.
    pub(crate) class: Class,
    /// The bundle's random name.
    pub(crate) bundle: [u8; 16],
    /// R, to which all parts are sealed.
    pub(crate) recipient: &'a Recipient,
    /// How hard to compress.
    pub(crate) level: Level,
    /// Bytes that the tar is expected to pack to.
    pub(crate) estimate: u64,
    /// `None` without parity.
    pub(crate) scheme: Option<Scheme>,
    /// What an earlier run packed already; empty for a new bundle.
    pub(crate) before: &'a Before,
    /// The journal of this run.
    pub(crate) log: &'a JournalWriter,
    /// Hears of progress, and may stop the run.
    pub(crate) monitor: &'a dyn Monitor,
}

/// What an earlier run left on the drives, as far as it was verified and this run builds on it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Before {
    /// The parts that are whole on their drives.
    pub(crate) parts: Vec<Part>,
    /// Data parts that the earlier run made, from the first one on without a gap. Some may be on no drive any more.
    pub(crate) data: u32,
    /// Bytes of tar in those data parts, from the beginning of the tar.
    pub(crate) tar: u64,
    /// Whole stripes of those data parts.
    pub(crate) stripes: u32,
    /// The ranges in which the earlier run read that part of the tar, in order.
    pub(crate) reads: Vec<ReadRange>,
    /// How those data parts were made, also the ones that are on no drive any more.
    pub(crate) recipes: BTreeMap<u32, Recipe>,
}

impl Before {
    /// Parts of the earlier run that are on no drive any more, data first.
    pub(crate) fn lost(&self, scheme: Option<Scheme>) -> Vec<PartId> {
        rehome::missing_parts(self.data, scheme, &self.parts.iter().map(Part::id).collect())
    }
}

/// What packing all ranges came to.
pub(crate) struct PipelineResult {
    /// Parts that are on their drives, in the order of the head.
    pub(crate) parts: Vec<Part>,
    /// Parts that were sealed and that their drives did not take or keep.
    pub(crate) unwritten: Vec<Part>,
    /// How each data part was made, those of an earlier run included.
    pub(crate) recipes: BTreeMap<u32, Recipe>,
    /// Drives that failed. At least one did not.
    pub(crate) failed: Vec<FailedDrive>,
    /// Drives that gave back something else than was written.
    pub(crate) distrusted: BTreeSet<DriveId>,
    /// For each entry its digest (files only) and how well it was read.
    pub(crate) files: Vec<(Digest, Flag)>,
    /// What is worth telling about the sources, such as files that changed.
    pub(crate) notes: Vec<Note>,
}

/// The work of one packing, and how far it has come. All threads share it.
struct Pipeline<'a> {
    job: &'a PackJob<'a>,
    queue: Arc<Queue<Task>>,
    ranges: RangeBuffers,
    sealer: BundleSealer<'a>,
    /// What the workers' queue stays open for: each part that is to be sealed, the dispatcher, and the collector.
    unfinished: AtomicUsize,
    stop: Stop<FlowError>,
    forecast: Mutex<Forecast>,
    reading: SourceReader<'a>,
    written: Mutex<Vec<Part>>,
    unwritten: Mutex<Vec<Part>>,
    recipes: Mutex<BTreeMap<u32, Recipe>>,
    /// The numbers of each drive's volumes, by [`DriveId`]; none for a drive that was given up.
    drive_volumes: Vec<Vec<VolumeNumber>>,
    failed: Mutex<Vec<FailedDrive>>,
    distrusted: Mutex<BTreeSet<DriveId>>,
}

/// Packs everything that an earlier run did not. The volumes on `drives` have their parts afterwards, also after an
/// error.
///
/// # Errors
/// The last drive failed too, the drives ran full, a source is gone or not what an earlier run packed of it, or the
/// user asked to stop.
pub(crate) fn run(job: &PackJob, placement: Placement, drives: &mut [Drive]) -> Result<PipelineResult, FlowError> {
    let pipeline = Pipeline::new(job, drives);
    pipeline.reading.look_for_holders();
    pipeline.run_threads(placement, drives);
    pipeline.into_result()
}

/// How many parts are in memory at once: one with each worker, one with each drive.
fn parts_lent(drives: usize, workers: usize) -> usize {
    drives + workers.max(2)
}

/// About how many bytes of memory packing so many entries takes at most.
pub(crate) fn memory(geometry: Geometry, entries: usize, drives: usize, level: Level) -> Result<u64, FlowError> {
    let class = geometry.class;
    let workers = worker_count();
    let range = range_len(class);
    // A range in the making is in memory twice, raw and packed.
    let ranges = RangeBuffers::memory(class) + (2 * workers + 2) as u64 * range;
    let parts = (parts_lent(drives, workers) * class.file_len()) as u64;
    let compressors = (workers + 1) as u64 * (Compressor::memory(level)? + range);
    let parity = geometry.scheme.map_or(0, |scheme| ParityBuilder::memory(scheme, class, workers));
    Ok(BASE_MEMORY + ENTRY_MEMORY * entries as u64 + ranges + parts + compressors + parity)
}

/// The stop of a run: the first failure closes whatever a thread may wait for.
fn stop_closing(queue: &Arc<Queue<Task>>, ranges: &RangeBuffers, sealer: &BundleSealer) -> Stop<FlowError> {
    let queue = queue.clone();
    let ranges = ranges.clone();
    let parts = sealer.buffers().clone();
    Stop::new(move || {
        ranges.close();
        parts.close();
        queue.abandon();
    })
}

impl<'a> Pipeline<'a> {
    fn new(job: &'a PackJob, drives: &[Drive]) -> Self {
        let queue = Arc::new(Queue::default());
        // Manifests compress even if nothing else does.
        let ranges = RangeBuffers::new(job.class, job.estimate >= job.layout.tail_start / 100 * 99);
        let parity = job.scheme.map(|scheme| ParityBuilder::new(scheme, job.class));
        let buffers = parts_lent(drives.len(), worker_count());
        let sealer = BundleSealer::new(job.recipient, job.class, buffers, parity);
        let stop = stop_closing(&queue, &ranges, &sealer);
        let has_packed_manifests = job.before.tar > job.layout.tail_start;
        Self {
            job,
            queue,
            ranges,
            sealer,
            unfinished: AtomicUsize::new(2),
            stop,
            forecast: Mutex::new(Forecast::new(job.class.room())),
            reading: SourceReader::new(job.walk, job.layout, job.monitor).after_manifests(has_packed_manifests),
            written: Mutex::new(job.before.parts.clone()),
            unwritten: Mutex::default(),
            recipes: Mutex::new(job.before.recipes.clone()),
            drive_volumes: drives.iter().map(Drive::volumes).collect(),
            failed: Mutex::default(),
            distrusted: Mutex::default(),
        }
    }

    /// Starts all threads, collects on this one, and returns when all have ended. The first failure is in `stop` then.
    fn run_threads(&self, placement: Placement, drives: &mut [Drive]) {
        std::thread::scope(|scope| {
            let (packed_sender, packed) = mpsc::channel();
            let (filled_sender, filled) = mpsc::channel();
            let mut routes = Routes::default();
            for drive in drives.iter_mut() {
                let (sender, parts) = mpsc::channel();
                routes.add(&drive.writers, sender);
                self.require(start(scope, move || self.guard(|| self.write(drive, parts))));
            }
            self.require(start(scope, move || self.guard(|| self.dispatch(filled))));
            for worker in 0..worker_count() {
                let (packed, filled, routes) = (packed_sender.clone(), filled_sender.clone(), routes.clone());
                let started = start(scope, move || self.guard(|| self.work(packed, filled, routes)));
                if worker == 0 {
                    self.require(started);
                } else if started.is_err() {
                    // Fewer workers do all the work, too.
                    break;
                }
            }
            // Each receiver ends once the last worker has dropped its senders.
            drop((packed_sender, filled_sender, routes));
            self.guard(|| self.collect(packed, placement));
        });
    }

    /// Stops the run if the system has no thread for a part of the work that cannot be missing.
    fn require<T>(&self, started: io::Result<T>) {
        if let Err(error) = started {
            self.stop.fail(FlowError::no_thread(&error));
        }
    }

    /// Does a thread's work. Its error stops the others, and so does a panic.
    fn guard(&self, work: impl FnOnce() -> Result<(), FlowError>) {
        let _guard = self.stop.on_panic();
        if let Err(error) = work() {
            self.stop.fail(error);
        }
    }

    /// The result, once all threads have ended.
    ///
    /// # Errors
    /// The first failure of any thread.
    fn into_result(self) -> Result<PipelineResult, FlowError> {
        self.stop.into_result()?;
        let mut parts = unlocked(self.written);
        parts.sort_by_key(Part::id);
        let (files, notes) = self.reading.finish()?;
        Ok(PipelineResult {
            parts,
            unwritten: unlocked(self.unwritten),
            recipes: unlocked(self.recipes),
            failed: unlocked(self.failed),
            distrusted: unlocked(self.distrusted),
            files,
            notes,
        })
    }
}

#[cfg(test)]
pub(super) mod tests;
