//! The machine that packs: ranges of the tar through all cores into parts on all drives.
//!
//! ```text
//! dispatcher ──ranges──▶ workers ──packed──▶ collector ──full parts──▶ workers ──sealed──▶ writers
//!                        read, hash,          notes what goes           copy, seal,         one a drive
//!                        compress             into which part           hash
//! ```
//! Nothing waits but for a buffer (of ranges, or of parts) or for the range that is next; all
//! memory is in the pools. The tail of the tar (the manifests) starts when all digests are known.

mod collect;
mod dispatch;
mod range_lengths;
mod routes;
mod write;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};

use crate::base::digest::{Digest, quick};
use crate::base::entry::Flag;
use crate::base::monitor::{Monitor, Note};
use crate::base::pool::{Lease, Queue, Stop, lock, unlocked, workers};
use crate::base::threads::start;
use crate::flow::FlowError;
use crate::flow::drives::drive::{Drive, DriveId, FailedDrive};
use crate::flow::pack::parity_builder::{Making, ParityShard};
use crate::flow::pack::part_sealer::{SealedData, Sealing};
use crate::flow::pack::pipeline::range_lengths::Ranges;
use crate::flow::pack::source_reader::{Filling, Raw, SourceReader};
use crate::format::frame::{Packed, stored_len};
use crate::format::head::{Part, PartId};
use crate::format::journal::{self, ReadRange};
use crate::format::part::Class;
use crate::format::recipe::Recipe;
use crate::format::stripe::Scheme;
use crate::plan::forecast::Forecast;
use crate::plan::geometry::{Geometry, range_len};
use crate::plan::layout::Layout;
use crate::plan::placement::Placement;
use crate::plan::rehome;
use crate::stage::compress::{Compressor, Level};
use crate::stage::journal::JournalWriter;
use crate::stage::part_filler::FullPart;
use crate::stage::seal::Recipient;
use crate::stage::walk::Walk;
use routes::Routes;

/// What is to be packed, and how.
pub struct PackJob<'a> {
    /// The sources.
    pub walk: &'a Walk,
    /// Their tar.
    pub layout: &'a Layout,
    /// Size of the parts.
    pub class: Class,
    /// The bundle's name.
    pub bundle: [u8; 16],
    /// Whom the parts are sealed to.
    pub recipient: &'a Recipient,
    /// How hard to compress.
    pub level: Level,
    /// Bytes that the tar is expected to pack to.
    pub estimate: u64,
    /// How parts stand in for each other.
    pub scheme: Option<Scheme>,
    /// What an earlier run packed of it.
    pub before: &'a Before,
    /// Where is noted what is done.
    pub log: &'a JournalWriter,
    /// Hears of progress and may stop the work.
    pub monitor: &'a dyn Monitor,
}

/// What is on the drives already, whole.
#[derive(Debug, Clone, Default)]
pub struct Before {
    /// Its parts.
    pub parts: Vec<Part>,
    /// Data parts among them, the bytes of tar that they hold, and whole stripes.
    pub data: u32,
    /// See `data`.
    pub tar: u64,
    /// See `data`.
    pub stripes: u32,
    /// The ranges that this tar was read in, by their beginnings.
    pub reads: Vec<ReadRange>,
    /// How its data parts were made, also of those that are on no drive any more.
    pub recipes: BTreeMap<u32, Recipe>,
}

impl Before {
    /// Parts that are on no drive any more.
    pub fn lost(&self, scheme: Option<Scheme>) -> Vec<PartId> {
        rehome::missing_parts(self.data, scheme, &self.parts.iter().map(Part::id).collect())
    }
}

/// What packing learnt.
pub struct PipelineResult {
    /// Parts that are on drives, in order.
    pub parts: Vec<Part>,
    /// Parts that their drives did not take.
    pub unwritten: Vec<Part>,
    /// How the data parts were made, all of them.
    pub recipes: BTreeMap<u32, Recipe>,
    /// Drives that failed.
    pub failed: Vec<FailedDrive>,
    /// Drives that did not keep what they were given.
    pub distrusted: BTreeSet<DriveId>,
    /// For each entry: its digest (files only) and how well it was read.
    pub files: Vec<(Digest, Flag)>,
    /// Files that changed or could not be read.
    pub notes: Vec<Note>,
}

/// Stretches of a range, one behind the other.
type PackedStretches = Vec<(Range<usize>, Packed)>;

enum Task {
    Fill {
        index: u64,
        start: u64,
        buf: Lease<Vec<u8>>,
    },
    /// To be read once more: `fresh` is what no other such task hashes.
    Again {
        read: ReadRange,
        fresh: Range<u64>,
        buf: Lease<Vec<u8>>,
    },
    Pack {
        index: u64,
        start: u64,
        raw: Raw,
    },
    Seal {
        part: FullPart<Raw>,
        volume: u16,
    },
    Parity(ParityShard),
}

struct Done {
    index: u64,
    raw: Raw,
    packed: PackedStretches,
}

/// What all threads share.
struct Shared<'a> {
    job: &'a PackJob<'a>,
    queue: Arc<Queue<Task>>,
    ranges: Ranges,
    sealing: Sealing<'a>,
    /// Parts that are still to be sealed, one as long as more come, one as long as ranges do.
    unsealed: AtomicUsize,
    stop: Stop<FlowError>,
    forecast: Mutex<Forecast>,
    reading: SourceReader<'a>,
    written: Mutex<Vec<Part>>,
    unwritten: Mutex<Vec<Part>>,
    recipes: Mutex<BTreeMap<u32, Recipe>>,
    /// The volumes of each drive.
    drives: Vec<Vec<u16>>,
    failed: Mutex<Vec<FailedDrive>>,
    distrusted: Mutex<BTreeSet<DriveId>>,
}

/// Packs everything. `drives` are the volumes being written, grouped by file system; they come
/// back with their parts on them, also after an error. A drive that fails does not stop the others.
///
/// # Errors
/// The last drive failed too, or something else did.
pub fn run(job: &PackJob, placement: Placement, drives: &mut [Drive]) -> Result<PipelineResult, FlowError> {
    let all = Shared::new(job, drives);
    all.reading.look_for_holders();
    std::thread::scope(|scope| {
        let shared = &all;
        let (done_tx, done) = mpsc::channel();
        let (filled_tx, filled) = mpsc::channel();
        let mut routes = Routes::default();
        for drive in drives.iter_mut() {
            let (tx, rx) = mpsc::channel();
            routes.add(&drive.writers, tx);
            shared.needs(start(scope, move || shared.guarded(|| shared.write(drive, rx))));
        }
        shared.needs(start(scope, move || shared.guarded(|| shared.dispatch(filled))));
        for worker in 0..workers() {
            let (done, filled, routes) = (done_tx.clone(), filled_tx.clone(), routes.clone());
            let started = start(scope, move || shared.guarded(|| shared.work(done, filled, routes)));
            if worker == 0 {
                shared.needs(started);
            } else if started.is_err() {
                // Fewer do all the work, too.
                break;
            }
        }
        drop((done_tx, filled_tx, routes));
        shared.guarded(|| shared.collect(done, placement));
    });
    let Shared { stop, reading, written, unwritten, recipes, failed, distrusted, .. } = all;
    stop.into_result()?;
    let mut parts = unlocked(written);
    parts.sort_by_key(Part::id);
    let (files, notes) = reading.finish()?;
    let (unwritten, recipes, failed) = (unlocked(unwritten), unlocked(recipes), unlocked(failed));
    Ok(PipelineResult { parts, unwritten, recipes, failed, distrusted: unlocked(distrusted), files, notes })
}

/// Parts in memory at once: one with each worker, one with each drive.
fn parts_lent(drives: usize, workers: usize) -> usize {
    drives + workers.max(2)
}

/// The program itself, its threads and what allocators keep; and what is known of each entry.
const BASE: u64 = 16 << 20;
const ENTRY: u64 = 450;

/// About how many bytes of memory packing so many entries takes at most.
pub fn memory(geometry: Geometry, entries: usize, drives: usize, level: Level) -> Result<u64, FlowError> {
    let class = geometry.class;
    let (workers, range) = (workers(), range_len(class));
    // What is in the making is there twice, raw and packed.
    let ranges = Ranges::memory(class) + (2 * workers + 2) as u64 * range;
    let parts = (parts_lent(drives, workers) * class.file_len()) as u64;
    let compressors = (workers + 1) as u64 * (Compressor::memory(level)? + range);
    let parity = geometry.scheme.map_or(0, |scheme| Making::memory(scheme, class, workers));
    Ok(BASE + ENTRY * entries as u64 + ranges + parts + compressors + parity)
}

impl<'a> Shared<'a> {
    fn new(job: &'a PackJob, drives: &[Drive]) -> Self {
        let (class, workers) = (job.class, workers());
        let queue = Arc::new(Queue::default());
        // Manifests compress even if nothing else does.
        let ranges = Ranges::new(class, job.estimate >= job.layout.tail_start / 100 * 99);
        let making = job.scheme.map(|scheme| Making::new(scheme, class));
        let sealing = Sealing::new(job.recipient, class, parts_lent(drives.len(), workers), making);
        let stop = {
            let (queue, ranges, parts) = (queue.clone(), ranges.clone(), sealing.buffers().clone());
            Stop::new(move || {
                ranges.close();
                parts.close();
                queue.abandon();
            })
        };
        let is_listed = job.before.tar > job.layout.tail_start;
        let reading = SourceReader::new(job.walk, job.layout, job.monitor).after_manifests(is_listed);
        let forecast = Mutex::new(Forecast::new(class.room()));
        let unsealed = AtomicUsize::new(2);
        let written = Mutex::new(job.before.parts.clone());
        let recipes = Mutex::new(job.before.recipes.clone());
        let (drives, failed, unwritten) =
            (drives.iter().map(Drive::volumes).collect(), Mutex::default(), Mutex::default());
        Self {
            job,
            queue,
            ranges,
            sealing,
            unsealed,
            stop,
            forecast,
            reading,
            written,
            unwritten,
            recipes,
            drives,
            failed,
            distrusted: Mutex::default(),
        }
    }

    /// Without this thread nothing moves: if the system has none to spare, the others stop.
    fn needs<T>(&self, started: io::Result<T>) {
        if let Err(error) = started {
            self.stop.fail(FlowError::no_thread(&error));
        }
    }

    /// Runs a thread's work: an error stops the others, and so does a panic.
    fn guarded(&self, work: impl FnOnce() -> Result<(), FlowError>) {
        let _guard = self.stop.on_panic();
        if let Err(error) = work() {
            self.stop.fail(error);
        }
    }

    fn work(&self, done: mpsc::Sender<Done>, filled: mpsc::Sender<()>, routes: Routes) -> Result<(), FlowError> {
        let mut compressor = Compressor::new(self.job.level)?;
        while let Some(task) = self.queue.pop(|task| self.rank(task)) {
            match task {
                Task::Fill { index, start, buf } => {
                    let Filling { raw, pieces, clean } = self.reading.range(start, buf)?;
                    if clean {
                        // What could not be read is tried again by a run that goes on from this one.
                        let read = ReadRange { start, len: raw.len() as u64, hash: quick(&raw) };
                        self.job.log.note(&read.encode());
                    }
                    // Somebody else may be waiting for it, and hashing may take long.
                    self.queue.push(Task::Pack { index, start, raw: raw.clone() });
                    self.reading.hash(&raw, pieces);
                    let _ = filled.send(());
                }
                Task::Again { read, fresh, buf } => {
                    self.again(read, fresh, buf)?;
                    let _ = filled.send(());
                }
                Task::Pack { index, start, raw } => {
                    let packed = self.pack((index, start), &raw, &mut compressor)?;
                    if done.send(Done { index, raw, packed }).is_err() {
                        break;
                    }
                }
                Task::Seal { part, volume } => self.seal(part, volume, &routes),
                Task::Parity(shard) => self.seal_parity(shard, &routes),
            }
        }
        Ok(())
    }

    /// What is done first: parts that drives wait for; then the range of which it is known where
    /// its part ends. Rather than guess that for others, ranges are filled ahead.
    fn rank(&self, task: &Task) -> u8 {
        match task {
            Task::Seal { .. } | Task::Parity(_) => 0,
            Task::Pack { index, .. } if lock(&self.forecast).is_next(*index) => 1,
            Task::Fill { .. } | Task::Again { .. } => 2,
            Task::Pack { .. } => 3,
        }
    }

    /// Compresses a range.
    fn pack(
        &self,
        (index, start): (u64, u64),
        raw: &[u8],
        compressor: &mut Compressor,
    ) -> Result<PackedStretches, FlowError> {
        let len = raw.len();
        let stored = compressor.sample(raw) >= len;
        self.ranges.told(start, stored);
        if stored {
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

    /// A part that is to be sealed.
    fn to_seal(&self, task: Task) {
        self.unsealed.fetch_add(1, Ordering::SeqCst);
        self.queue.push(task);
    }

    /// One of them was; or no more come. With the last of all the work is done.
    fn settled(&self) {
        if self.unsealed.fetch_sub(1, Ordering::SeqCst) == 1 {
            self.queue.close();
        }
    }

    /// Seals a part, and tells its drive.
    fn seal(&self, part: FullPart<Raw>, volume: u16, routes: &Routes) {
        if let Some(SealedData { sealed, shards, recipe }) = self.sealing.data(part, volume) {
            let number = sealed.part.number;
            self.job.log.note(&journal::recipe(number, &recipe));
            lock(&self.recipes).insert(number, recipe);
            routes.send(sealed);
            shards.into_iter().for_each(|shard| self.to_seal(Task::Parity(shard)));
            self.settled();
        }
    }

    fn seal_parity(&self, shard: ParityShard, routes: &Routes) {
        if let Some(sealed) = self.sealing.parity(shard) {
            routes.send(sealed);
            self.settled();
        }
    }
}
