//! Seals parts in memory. The chunks of a data part pass into the parity of their stripe on the way, and the last data
//! part of a stripe brings its parity parts. Drives are not written to here.

use std::ops::Deref;
use std::sync::Arc;

use crate::base::digest::Quick;
use crate::base::pool::{Lease, Pool};
use crate::flow::pack::parity_builder::{ParityBuilder, ParityShard};
use crate::format::head::{Part, PartKind};
use crate::format::part::{Class, PartBuf};
use crate::format::recipe::Recipe;
use crate::format::volume_number::VolumeNumber;
use crate::stage::part_filler::FullPart;
use crate::stage::seal::{Recipient, part_header};
use crate::stage::stream::PartSealer;

/// Seals the parts of one bundle, on any number of threads.
pub(crate) struct BundleSealer<'a> {
    recipient: &'a Recipient,
    buffers: Arc<Pool<PartBuf>>,
    /// `None` without parity.
    parity: Option<ParityBuilder>,
}

/// A data part that was sealed.
pub(crate) struct SealedDataPart {
    pub(crate) sealed: SealedPart,
    /// The parity parts to seal next. Only the data part that completes a stripe has any.
    pub(crate) shards: Vec<ParityShard>,
    /// How the sources give the same plaintext again.
    pub(crate) recipe: Recipe,
}

/// A part on its way to its drive.
pub(crate) struct SealedPart {
    /// Its line in the head.
    pub(crate) part: Part,
    /// Bytes of tar in it; 0 for parity.
    pub(crate) length: u64,
    /// Its file.
    pub(crate) buf: Lease<PartBuf>,
}

impl<'a> BundleSealer<'a> {
    /// A sealer that holds at most `buffers` parts in memory.
    pub(crate) fn new(recipient: &'a Recipient, class: Class, buffers: usize, parity: Option<ParityBuilder>) -> Self {
        Self { recipient, buffers: Pool::new(buffers, move || PartBuf::new(class)), parity }
    }

    /// The memory for parts. Closing it stops all sealing.
    pub(crate) fn buffers(&self) -> &Arc<Pool<PartBuf>> {
        &self.buffers
    }

    /// Seals a data part for that volume; waits for memory. `None` once the buffers are closed.
    pub(crate) fn seal_data<R: Deref<Target: AsRef<[u8]>>>(
        &self,
        part: FullPart<R>,
        volume: VolumeNumber,
    ) -> Option<SealedDataPart> {
        let mut buf = self.buffers.take()?;
        let FullPart { number, offset, length, segments, frames } = part;
        let (header, file_key) = part_header(self.recipient);
        let adding = self.parity.as_ref().map(|parity| (parity, parity.begin(number)));
        let mut sealer = PartSealer::new(&file_key, &header, &mut buf, |chunk, plain| {
            if let Some((parity, shard)) = &adding {
                parity.add(shard, chunk, plain);
            }
        });
        let mut hash = Quick::default();
        for segment in segments {
            segment.pieces(|bytes| {
                hash.update(bytes);
                sealer.append(bytes);
            });
        }
        let recipe = Recipe::new(offset, hash.finish(), frames);
        let sha256 = sealer.finish();
        let shard = self.parity.as_ref().map(|parity| parity.place(number));
        let kind = PartKind::Data { offset, length };
        let part = Part { number, kind, shard, volume, sha256, header: Box::new(header) };
        let shards = adding.map_or(Vec::new(), |(parity, shard)| parity.finish(shard));
        Some(SealedDataPart { sealed: SealedPart { part, length, buf }, shards, recipe })
    }

    /// Ends the stripe of data part `last`, whose parity goes to these volumes; without volumes there is no parity.
    /// Returns the parity parts to seal if all data of the stripe is sealed already.
    pub(crate) fn close_stripe(&self, last: u32, volumes: Vec<VolumeNumber>) -> Vec<ParityShard> {
        match &self.parity {
            Some(parity) if !volumes.is_empty() => parity.close_stripe(last, volumes),
            Some(_) | None => Vec::new(),
        }
    }

    /// Seals a parity part; waits for memory. `None` once the buffers are closed.
    pub(crate) fn seal_parity(&self, shard: ParityShard) -> Option<SealedPart> {
        let mut buf = self.buffers.take()?;
        let (header, file_key) = part_header(self.recipient);
        let mut sealer = PartSealer::new(&file_key, &header, &mut buf, |_, _| ());
        self.parity.as_ref()?.read(&shard, |bytes| sealer.append(bytes));
        let sha256 = sealer.finish();
        let ParityShard { number, place, volume, .. } = shard;
        let part =
            Part { number, kind: PartKind::Parity, shard: Some(place), volume, sha256, header: Box::new(header) };
        Some(SealedPart { part, length: 0, buf })
    }
}

#[cfg(test)]
mod tests;
