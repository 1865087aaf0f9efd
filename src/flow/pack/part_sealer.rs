//! Parts sealed: data parts, whose chunks pass into the parity of their stripe on the way, and
//! parity parts.

use std::ops::Deref;
use std::sync::Arc;

use crate::base::digest::Quick;
use crate::base::pool::{Lease, Pool};
use crate::flow::pack::parity_builder::{Making, ParityShard};
use crate::format::head::{Part, PartKind};
use crate::format::part::{Class, PartBuf};
use crate::format::recipe::Recipe;
use crate::stage::part_filler::FullPart;
use crate::stage::seal::{Recipient, part_header};
use crate::stage::stream::PartSealer;

/// Seals parts to one recipient.
pub struct Sealing<'a> {
    recipient: &'a Recipient,
    buffers: Arc<Pool<PartBuf>>,
    making: Option<Making>,
}

/// A data part that was sealed.
pub struct SealedData {
    /// It goes to its drive.
    pub sealed: Sealed,
    /// With the last of its stripe, the parity parts that are to be sealed next.
    pub shards: Vec<ParityShard>,
    /// How the same plaintext can be made again.
    pub recipe: Recipe,
}

/// A part as it goes to its drive.
pub struct Sealed {
    /// What the head will say of it.
    pub part: Part,
    /// Bytes of tar that it holds.
    pub length: u64,
    /// Its file.
    pub buf: Lease<PartBuf>,
}

impl<'a> Sealing<'a> {
    /// With so many parts in memory.
    pub fn new(recipient: &'a Recipient, class: Class, buffers: usize, making: Option<Making>) -> Self {
        Self { recipient, buffers: Pool::new(buffers, move || PartBuf::new(class)), making }
    }

    /// The memory for parts.
    pub fn buffers(&self) -> &Arc<Pool<PartBuf>> {
        &self.buffers
    }

    /// Seals a data part; waits for memory. `None` once nothing is lent any more.
    pub fn data<R: Deref<Target: AsRef<[u8]>>>(&self, part: FullPart<R>, volume: u16) -> Option<SealedData> {
        let mut buf = self.buffers.take()?;
        let FullPart { number, offset, length, segments, frames } = part;
        let mut hash = Quick::default();
        let (header, file_key) = part_header(self.recipient);
        let making = self.making.as_ref().map(|making| (making, making.begin(number)));
        let mut sealer = PartSealer::new(&file_key, &header, &mut buf, |chunk, plain| {
            if let Some((making, adding)) = &making {
                making.add(adding, chunk, plain);
            }
        });
        for segment in segments {
            segment.pieces(|bytes| {
                hash.update(bytes);
                sealer.append(bytes);
            });
        }
        let recipe = Recipe::new(offset, hash.finish(), frames);
        let sha256 = sealer.finish();
        let stripe = self.making.as_ref().map(|making| making.place(number));
        let kind = PartKind::Data { offset, length };
        let part = Part { number, kind, stripe, volume, sha256, header: Box::new(header) };
        let shards = making.map_or(Vec::new(), |(making, adding)| making.end(adding));
        Some(SealedData { sealed: Sealed { part, length, buf }, shards, recipe })
    }

    /// The stripe of data part `last` ends with it: the parity parts to be sealed, if its data is.
    pub fn close(&self, last: u32, volumes: Vec<u16>) -> Vec<ParityShard> {
        self.making.as_ref().filter(|_| !volumes.is_empty()).map_or(Vec::new(), |making| making.close(last, volumes))
    }

    /// Seals a parity part; waits for memory. `None` once nothing is lent any more.
    pub fn parity(&self, shard: ParityShard) -> Option<Sealed> {
        let mut buf = self.buffers.take()?;
        let (header, file_key) = part_header(self.recipient);
        let mut sealer = PartSealer::new(&file_key, &header, &mut buf, |_, _| ());
        self.making.as_ref()?.plaintext(&shard, |bytes| sealer.append(bytes));
        let sha256 = sealer.finish();
        let ParityShard { number, place, volume, .. } = shard;
        let part =
            Part { number, kind: PartKind::Parity, stripe: Some(place), volume, sha256, header: Box::new(header) };
        Some(Sealed { part, length: 0, buf })
    }
}
