//! Parts made again from the sources, the very same plaintext sealed anew: their drive died, or did not
//! keep them. What was sealed cannot be opened here, so this is the only way; the recipe of each says
//! how its frames were made, and its hash whether the sources are still what they were.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use crate::base::digest::Digest;
use crate::base::entry::Flag;
use crate::base::fault::IoFault;
use crate::base::memory;
use crate::base::monitor::Phase;
use crate::base::pool::{lock, side_by_side, unlocked};
use crate::flow::FlowError;
use crate::flow::drives::drive::{Drive, DriveId, FailedDrive};
use crate::flow::error::SourceError;
use crate::flow::pack::parity_builder::Making;
use crate::flow::pack::part_sealer::{Sealed, SealedData, Sealing};
use crate::flow::pack::pipeline::PackJob;
use crate::flow::pack::settle::{Repack, Repacked};
use crate::flow::pack::source_reader::SourceReader;
use crate::format::frame::stored_len;
use crate::format::head::{Part, PartId};
use crate::format::journal::WrittenPart;
use crate::format::part::{Lead, Trail};
use crate::format::recipe::{FrameRecipe, Recipe};
use crate::plan::layout::manifest_digest;
use crate::plan::rehome::{Home, stripe_of};
use crate::stage::compress::Compressor;
use crate::stage::part_filler::{FullPart, Segment};
use crate::stage::volume::Writer;

/// Packs parts again from the sources, on all cores.
pub struct Repacker<'a> {
    /// What is packed, and how.
    pub job: &'a PackJob<'a>,
    /// Each file's digest, and how well it was read.
    pub files: &'a [(Digest, Flag)],
    /// How all data parts were made.
    pub recipes: &'a BTreeMap<u32, Recipe>,
}

impl Repack<Writer> for Repacker<'_> {
    fn repack(&self, homes: &[Home], drives: &mut [Drive]) -> Result<Repacked, FlowError> {
        let Self { job, files, recipes } = *self;
        let tar_of = |home: &Home| match home.part {
            PartId::Data(number) => recipes.get(&number).map_or(0, Recipe::length),
            PartId::Parity(_) => 0,
        };
        job.monitor.phase(Phase::Moving, homes.iter().map(tar_of).sum());
        let reading = SourceReader::new(job.walk, job.layout, job.monitor);
        let (parts, failed) = Remaker { job, files, recipes, reading }.remake(homes, drives)?;
        Ok(Repacked { parts, failed })
    }
}

/// Makes parts again.
struct Remaker<'a> {
    /// What is packed, and how.
    job: &'a PackJob<'a>,
    /// Each file's digest, and how well it was read.
    files: &'a [(Digest, Flag)],
    /// How all data parts were made.
    recipes: &'a BTreeMap<u32, Recipe>,
    /// The sources.
    reading: SourceReader<'a>,
}

/// Parts of one stripe, or one part, that are made together.
#[derive(Default)]
struct Batch {
    stripe: Option<u32>,
    homes: BTreeMap<PartId, u16>,
}

type Bytes = Arc<Vec<u8>>;

/// The drives as several threads write to them.
struct Drives<'a> {
    writers: BTreeMap<u16, (DriveId, Mutex<&'a mut Writer>)>,
    failed: Mutex<Vec<FailedDrive>>,
}

impl Drives<'_> {
    fn has_failed(&self, drive: DriveId) -> bool {
        lock(&self.failed).iter().any(|failed| failed.drive == drive)
    }

    /// Notes that a drive failed. Threads that write to two of its volumes may both see that; it fails once.
    fn fail(&self, drive: DriveId, fault: IoFault) {
        let mut failed = lock(&self.failed);
        if failed.iter().all(|known| known.drive != drive) {
            failed.push(FailedDrive { drive, fault });
        }
    }
}

impl Remaker<'_> {
    /// Makes these parts and writes them to their new volumes; what was written, and drives that failed
    /// at that.
    fn remake(&self, homes: &[Home], drives: &mut [Drive]) -> Result<(Vec<Part>, Vec<FailedDrive>), FlowError> {
        let mut batches: BTreeMap<(Option<u32>, Option<PartId>), Batch> = BTreeMap::new();
        for home in homes {
            let stripe = stripe_of(home.part, self.job.scheme);
            // Without parity each is its own.
            let batch = batches.entry((stripe, stripe.is_none().then_some(home.part))).or_default();
            batch.stripe = stripe;
            batch.homes.insert(home.part, home.volume);
        }
        let batches: Vec<Batch> = batches.into_values().collect();
        let mut writers = BTreeMap::new();
        for drive in drives {
            let id = drive.id;
            writers.extend(drive.writers.iter_mut().map(|writer| (writer.number(), (id, Mutex::new(writer)))));
        }
        let drives = Drives { writers, failed: Mutex::default() };
        let made = side_by_side(
            &batches,
            || Compressor::new(self.job.level),
            |compressor, batch| {
                let compressor = compressor.as_mut().map_err(|error| error.clone())?;
                self.make(batch, compressor, &drives)
            },
        );
        let mut parts = Vec::new();
        for some in made {
            parts.extend(some?);
        }
        Ok((parts, unlocked(drives.failed)))
    }

    fn make(&self, batch: &Batch, compressor: &mut Compressor, drives: &Drives) -> Result<Vec<Part>, FlowError> {
        let (job, mut parts) = (self.job, Vec::new());
        let making = job.scheme.map(|scheme| Making::new(scheme, job.class));
        let sealing = Sealing::new(job.recipient, job.class, 1, making);
        for number in self.data_for(batch) {
            if job.monitor.cancelled() {
                return Err(FlowError::Cancelled);
            }
            let home = batch.homes.get(&PartId::Data(number));
            let full = self.part(number, compressor)?;
            let Some(made) = sealing.data(full, home.copied().unwrap_or(0)) else { continue };
            let SealedData { sealed, recipe, .. } = made;
            if self.recipes.get(&number) != Some(&recipe) {
                return Err(self.changed(&recipe));
            }
            if home.is_some() {
                parts.extend(self.write(sealed, drives)?);
            }
        }
        let (Some(scheme), Some(stripe)) = (job.scheme, batch.stripe) else { return Ok(parts) };
        let positions = scheme.k..scheme.k + scheme.m;
        let home = |position| batch.homes.get(&PartId::Parity(scheme.parity_number(stripe, position))).copied();
        let volumes: Vec<u16> = positions.map(|position| home(position).unwrap_or(0)).collect();
        if volumes.iter().any(|volume| *volume > 0) {
            let last = self.data_of(stripe).end - 1;
            let shards = sealing.close(last, volumes);
            for shard in shards.into_iter().filter(|shard| shard.volume > 0) {
                if let Some(sealed) = sealing.parity(shard) {
                    parts.extend(self.write(sealed, drives)?);
                }
            }
        }
        Ok(parts)
    }

    /// The data parts that a batch is made from: for parity all of the stripe.
    fn data_for(&self, batch: &Batch) -> Vec<u32> {
        match batch.stripe {
            Some(stripe) if batch.homes.keys().any(|part| matches!(part, PartId::Parity(_))) => {
                self.data_of(stripe).collect()
            }
            _ => batch.homes.keys().map(|part| part.number()).collect(),
        }
    }

    /// Numbers of a stripe's data parts.
    fn data_of(&self, stripe: u32) -> std::ops::Range<u32> {
        let k = self.job.scheme.map_or(1, |scheme| u32::from(scheme.k));
        stripe * k + 1..((stripe + 1) * k).min(self.recipes.len() as u32) + 1
    }

    /// Writes a part to its drive, unless that has failed before.
    fn write(&self, sealed: Sealed, drives: &Drives) -> Result<Option<Part>, FlowError> {
        let Sealed { part, length, buf } = sealed;
        let Some((at, writer)) = drives.writers.get(&part.volume) else {
            return Err(FlowError::Defect("a part came to the wrong drive".into()));
        };
        // Held until the part is written: another thread may see the drive fail while this one waits for it.
        let mut writer = lock(writer);
        if drives.has_failed(*at) {
            return Ok(None);
        }
        if let Err(fault) = writer.put(&part.file_name(), buf.file(), part.sha256) {
            drives.fail(*at, fault);
            return Ok(None);
        }
        drop(writer);
        self.job.log.write(&WrittenPart::of(&part).encode());
        self.job.monitor.on_drive(part.volume, buf.file().len() as u64);
        self.job.monitor.advance(length);
        Ok(Some(part))
    }

    /// A data part's plaintext, made of the sources as its recipe says.
    fn part(&self, number: u32, compressor: &mut Compressor) -> Result<FullPart<Bytes>, FlowError> {
        let job = self.job;
        let lacks = || FlowError::Defect(format!("nobody noted how part {number} was made"));
        let recipe = self.recipes.get(&number).ok_or_else(lacks)?;
        let (mut at, mut room) = (recipe.offset, job.class.room());
        let lead = Lead { bundle: job.bundle, number, offset: recipe.offset };
        let mut segments = vec![Segment::Bytes(lead.encode().to_vec())];
        for made in recipe.each() {
            let raw = Arc::new(self.bytes(at, made.length() as usize));
            at += raw.len() as u64;
            let (segment, len) = match made {
                FrameRecipe::Stored(_) => (Segment::Stored(raw.clone(), 0..raw.len()), stored_len(raw.len())),
                FrameRecipe::Frame { told, pieces } => {
                    // What does not fit was not made of these bytes.
                    let frame = compressor.again(&raw, *told, pieces, room).map_err(|_| self.changed(recipe))?;
                    let len = frame.len();
                    (Segment::Bytes(frame), len)
                }
            };
            room = room.checked_sub(len).ok_or_else(|| self.changed(recipe))?;
            segments.push(segment);
        }
        let (offset, length) = (recipe.offset, recipe.length());
        let first_member = job.layout.first_member(&(offset..offset + length));
        let trail = Trail { length, first_member, last: offset + length == job.layout.len };
        segments.push(Segment::Bytes(trail.encode(room).to_vec()));
        Ok(FullPart { number, offset, length, segments, frames: recipe.each().cloned().collect() })
    }

    /// A stretch of the tar, which no frame has that begins before the manifests and ends in them.
    fn bytes(&self, start: u64, len: usize) -> Vec<u8> {
        let layout = self.job.layout;
        if start < layout.tail_start {
            let mut bytes = memory::zeros(len);
            // What could not be read then is zeros: the hash tells whether they were.
            let _ = self.reading.raw(start, &mut bytes);
            return bytes;
        }
        let digest = |at: usize| manifest_digest(self.files[at].0, self.files[at].1);
        let (mut at, mut bytes) = (layout.tail_start, Vec::with_capacity(len));
        let wanted = start..start + len as u64;
        // It ends early once all that is wanted is there.
        let _ = layout.write_tail(&self.job.walk.entries, digest, |some: &[u8]| {
            let here = at..at + some.len() as u64;
            let (from, to) = (wanted.start.max(here.start), wanted.end.min(here.end));
            if from < to {
                bytes.extend_from_slice(&some[(from - at) as usize..(to - at) as usize]);
            }
            at = here.end;
            if at < wanted.end { Ok(()) } else { Err(()) }
        });
        bytes.resize(len, 0);
        bytes
    }

    /// The sources are not what they were, or were not read well the first time.
    fn changed(&self, recipe: &Recipe) -> FlowError {
        let range = recipe.offset..recipe.offset + recipe.length();
        if let Err(fault) = self.reading.readable(range.start..range.end.min(self.job.layout.tail_start)) {
            return fault;
        }
        FlowError::Source(SourceError::CannotRepack(self.reading.files_in(&range)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flow::drives::drive::fake::fault;

    #[test]
    fn a_drive_that_two_threads_saw_fail_has_failed_once() {
        let drives = Drives { writers: BTreeMap::new(), failed: Mutex::default() };
        for (drive, failed) in [(0, 1), (0, 1), (1, 2), (0, 2)] {
            drives.fail(DriveId(drive), fault());
            assert!(drives.has_failed(DriveId(drive)));
            assert_eq!(lock(&drives.failed).len(), failed);
        }
        assert!(!drives.has_failed(DriveId(2)));
    }
}
