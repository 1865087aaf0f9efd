//! Packs parts again from the sources, because their drive failed or did not keep them. This run cannot open what it
//! sealed, so there is no other way. The recipe of a part says how its frames were made: the same sources give the very
//! same plaintext, which is sealed anew.
//!
//! Not guaranteed: that it is possible. If the sources changed, the hash in the recipe shows that, and the run ends.

use std::collections::BTreeMap;
use std::ops::Range;
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
use crate::flow::pack::parity_builder::ParityBuilder;
use crate::flow::pack::part_sealer::{BundleSealer, SealedDataPart, SealedPart};
use crate::flow::pack::pipeline::PackJob;
use crate::flow::pack::settle::{Repack, Repacked};
use crate::flow::pack::source_reader::SourceReader;
use crate::flow::pack::volume_set::wrong_drive;
use crate::format::frame::stored_len;
use crate::format::head::{Part, PartId};
use crate::format::part::{Lead, Trail};
use crate::format::recipe::{FrameRecipe, Recipe};
use crate::format::stripe::Scheme;
use crate::format::volume_number::VolumeNumber;
use crate::plan::layout::manifest_digest;
use crate::plan::rehome::{Home, stripe_of};
use crate::stage::compress::Compressor;
use crate::stage::part_filler::{FullPart, Segment};
use crate::stage::volume::Writer;

/// Packs parts again from the sources, on all cores.
#[derive(Clone, Copy)]
pub(crate) struct Repacker<'a> {
    pub(crate) job: &'a PackJob<'a>,
    /// For each entry its digest and how well it was read, as the manifests have them.
    pub(crate) files: &'a [(Digest, Flag)],
    /// How each data part was made.
    pub(crate) recipes: &'a BTreeMap<u32, Recipe>,
}

impl Repack<Writer> for Repacker<'_> {
    fn repack(&self, homes: &[Home], drives: &mut [Drive]) -> Result<Repacked, FlowError> {
        let monitor = self.job.monitor;
        monitor.phase(Phase::Moving, homes.iter().map(|home| self.tar_in(home.part)).sum());
        let reading = SourceReader::new(self.job.walk, self.job.layout, monitor);
        RepackRun { repacker: *self, reading, drives: DriveLocks::of(drives) }.repack_all(homes)
    }
}

impl Repacker<'_> {
    /// Bytes of tar in a part.
    fn tar_in(&self, part: PartId) -> u64 {
        match part {
            PartId::Data(number) => self.recipes.get(&number).map_or(0, Recipe::length),
            PartId::Parity(_) => 0,
        }
    }

    /// Numbers of a stripe's data parts. The last stripe may be short.
    fn data_of_stripe(&self, stripe: u32, scheme: Scheme) -> Range<u32> {
        let k = u32::from(scheme.k);
        stripe * k + 1..((stripe + 1) * k).min(self.recipes.len() as u32) + 1
    }

    /// The data parts that have to be made for a batch: the whole stripe if some parity is wanted.
    fn data_needed(&self, batch: &RepackBatch) -> Vec<u32> {
        let has_parity = batch.homes.keys().any(|part| matches!(part, PartId::Parity(_)));
        match batch.stripe {
            Some((stripe, scheme)) if has_parity => self.data_of_stripe(stripe, scheme).collect(),
            Some(_) | None => batch.homes.keys().map(|part| part.number()).collect(),
        }
    }
}

/// Parts that one thread makes, one after the other.
struct RepackBatch {
    /// The stripe that all of them are of, and its shape; `None` without parity.
    stripe: Option<(u32, Scheme)>,
    /// The volume that each part goes to.
    homes: BTreeMap<PartId, VolumeNumber>,
}

/// Divides parts into batches: one for each stripe, or without parity one for each part.
fn batches_of(homes: &[Home], scheme: Option<Scheme>) -> Vec<RepackBatch> {
    let mut batches: BTreeMap<(Option<u32>, Option<PartId>), RepackBatch> = BTreeMap::new();
    for home in homes {
        let stripe = stripe_of(home.part, scheme);
        let key = (stripe, stripe.is_none().then_some(home.part));
        let empty = RepackBatch { stripe: stripe.zip(scheme), homes: BTreeMap::new() };
        batches.entry(key).or_insert(empty).homes.insert(home.part, home.volume);
    }
    batches.into_values().collect()
}

/// The volumes and drives while several threads write to them.
struct DriveLocks<'a> {
    volumes: BTreeMap<VolumeNumber, LockedVolume<'a>>,
    failed: Mutex<Vec<FailedDrive>>,
}

struct LockedVolume<'a> {
    drive: DriveId,
    writer: Mutex<&'a mut Writer>,
}

impl<'a> DriveLocks<'a> {
    fn of(drives: &'a mut [Drive]) -> Self {
        let mut volumes = BTreeMap::new();
        for Drive { id, writers, .. } in drives {
            for writer in writers {
                volumes.insert(writer.number(), LockedVolume { drive: *id, writer: Mutex::new(writer) });
            }
        }
        Self { volumes, failed: Mutex::default() }
    }

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

/// The bytes of a range. A part holds a reference until it is sealed.
type Bytes = Arc<Vec<u8>>;

/// One run of packing parts again.
struct RepackRun<'a> {
    repacker: Repacker<'a>,
    reading: SourceReader<'a>,
    drives: DriveLocks<'a>,
}

impl RepackRun<'_> {
    /// Makes these parts and writes them to their new homes.
    fn repack_all(self, homes: &[Home]) -> Result<Repacked, FlowError> {
        let job = self.repacker.job;
        let made = side_by_side(
            &batches_of(homes, job.scheme),
            || Compressor::new(job.level),
            |compressor, batch| {
                let compressor = compressor.as_mut().map_err(|error| error.clone())?;
                self.repack_batch(batch, compressor)
            },
        );
        let parts: Vec<Vec<Part>> = made.into_iter().collect::<Result<_, FlowError>>()?;
        Ok(Repacked { parts: parts.concat(), failed: unlocked(self.drives.failed) })
    }

    /// Makes the parts of one batch. Returns those that were written: a drive may fail meanwhile.
    fn repack_batch(&self, batch: &RepackBatch, compressor: &mut Compressor) -> Result<Vec<Part>, FlowError> {
        let job = self.repacker.job;
        let parity = job.scheme.map(|scheme| ParityBuilder::new(scheme, job.class));
        let sealer = BundleSealer::new(job.recipient, job.class, 1, parity);
        let mut parts = Vec::new();
        for number in self.repacker.data_needed(batch) {
            if job.monitor.cancelled() {
                return Err(FlowError::Cancelled);
            }
            let home = batch.homes.get(&PartId::Data(number)).copied();
            let full = self.remake(number, compressor)?;
            let made = sealer.seal_data(full, home.unwrap_or(VolumeNumber::NONE));
            let Some(SealedDataPart { sealed, recipe, .. }) = made else { continue };
            if self.repacker.recipes.get(&number) != Some(&recipe) {
                return Err(self.changed(&recipe));
            }
            if home.is_some() {
                parts.extend(self.write(sealed)?);
            }
        }
        if let Some((stripe, scheme)) = batch.stripe {
            parts.extend(self.repack_parity(batch, stripe, scheme, &sealer)?);
        }
        Ok(parts)
    }

    /// Seals and writes the parity parts of a batch, once the data of the stripe has passed through the sealer.
    fn repack_parity(
        &self,
        batch: &RepackBatch,
        stripe: u32,
        scheme: Scheme,
        sealer: &BundleSealer,
    ) -> Result<Vec<Part>, FlowError> {
        let positions = scheme.k..scheme.k + scheme.m;
        let parts = positions.map(|position| PartId::Parity(scheme.parity_number(stripe, position)));
        let homes = parts.map(|part| batch.homes.get(&part).copied());
        let volumes: Vec<VolumeNumber> = homes.map(|home| home.unwrap_or(VolumeNumber::NONE)).collect();
        if volumes.iter().all(|volume| *volume == VolumeNumber::NONE) {
            return Ok(Vec::new());
        }
        let mut parts = Vec::new();
        let last = self.repacker.data_of_stripe(stripe, scheme).end - 1;
        let shards = sealer.close_stripe(last, volumes);
        for shard in shards.into_iter().filter(|shard| shard.volume != VolumeNumber::NONE) {
            if let Some(sealed) = sealer.seal_parity(shard) {
                parts.extend(self.write(sealed)?);
            }
        }
        Ok(parts)
    }

    /// Writes a part to its drive. `None` if the drive fails or has failed before.
    fn write(&self, sealed: SealedPart) -> Result<Option<Part>, FlowError> {
        let LockedVolume { drive, writer } = self.drives.volumes.get(&sealed.part.volume).ok_or_else(wrong_drive)?;
        // The drive is asked about under the lock: it may have failed while this thread waited.
        let mut writer = lock(writer);
        if self.drives.has_failed(*drive) {
            return Ok(None);
        }
        if let Err(fault) = self.repacker.job.write_part(&mut writer, &sealed) {
            self.drives.fail(*drive, fault);
            return Ok(None);
        }
        Ok(Some(sealed.part))
    }

    /// Makes the plaintext of a data part from the sources, as its recipe says.
    fn remake(&self, number: u32, compressor: &mut Compressor) -> Result<FullPart<Bytes>, FlowError> {
        let job = self.repacker.job;
        let Some(recipe) = self.repacker.recipes.get(&number) else {
            return Err(FlowError::Defect(format!("nobody noted how part {number} was made")));
        };
        let lead = Lead { bundle: job.bundle, number, offset: recipe.offset };
        let mut segments = vec![Segment::Bytes(lead.encode().to_vec())];
        let mut at = recipe.offset;
        let mut room = job.class.room();
        for made in recipe.each() {
            let raw = Arc::new(self.tar_bytes(at, made.length() as usize));
            at += raw.len() as u64;
            // A frame that does not fit was not made of these bytes.
            let (segment, len) = match made {
                FrameRecipe::Stored(_) => (Segment::Stored(raw.clone(), 0..raw.len()), stored_len(raw.len())),
                FrameRecipe::Frame { told, pieces } => {
                    let frame = compressor.again(&raw, *told, pieces, room).map_err(|_| self.changed(recipe))?;
                    let len = frame.len();
                    (Segment::Bytes(frame), len)
                }
            };
            room = room.checked_sub(len).ok_or_else(|| self.changed(recipe))?;
            segments.push(segment);
        }
        let offset = recipe.offset;
        let length = recipe.length();
        let first_member = job.layout.first_member(&(offset..offset + length));
        let trail = Trail { length, first_member, last: offset + length == job.layout.len };
        segments.push(Segment::Bytes(trail.encode(room).to_vec()));
        Ok(FullPart { number, offset, length, segments, frames: recipe.each().cloned().collect() })
    }

    /// A stretch of the tar. It must not begin before the manifests and end in them: no frame does.
    fn tar_bytes(&self, start: u64, len: usize) -> Vec<u8> {
        if start >= self.repacker.job.layout.tail_start {
            return self.tail_bytes(start..start + len as u64);
        }
        let mut bytes = memory::zeros(len);
        // Bytes that could not be read the first time were packed as zeros. If it is otherwise now, the hash of the
        // part shows that.
        let _ = self.reading.raw(start, &mut bytes);
        bytes
    }

    /// A stretch of the manifests, which are made again from the digests.
    fn tail_bytes(&self, wanted: Range<u64>) -> Vec<u8> {
        let Repacker { job, files, .. } = self.repacker;
        let len = (wanted.end - wanted.start) as usize;
        let mut bytes = Vec::with_capacity(len);
        let mut at = job.layout.tail_start;
        // The closure stops with an error once it has all bytes that are wanted.
        let _ = job.layout.write_tail(
            &job.walk.entries,
            |index| manifest_digest(files[index].0, files[index].1),
            |some: &[u8]| {
                let end = at + some.len() as u64;
                let from = wanted.start.max(at);
                let to = wanted.end.min(end);
                if from < to {
                    bytes.extend_from_slice(&some[(from - at) as usize..(to - at) as usize]);
                }
                at = end;
                if at < wanted.end { Ok(()) } else { Err(()) }
            },
        );
        bytes.resize(len, 0);
        bytes
    }

    /// The error for a part that does not come out as its recipe says: a source in it cannot be read, or it names the
    /// files that are not what they were.
    fn changed(&self, recipe: &Recipe) -> FlowError {
        let range = recipe.offset..recipe.offset + recipe.length();
        let in_sources = range.start..range.end.min(self.repacker.job.layout.tail_start);
        match self.reading.readable(in_sources) {
            Err(error) => error,
            Ok(()) => FlowError::Source(SourceError::CannotRepack(self.reading.files_in(&range))),
        }
    }
}

#[cfg(test)]
mod tests;
