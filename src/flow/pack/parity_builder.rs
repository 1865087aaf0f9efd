//! Builds the parity of all stripes while their data parts are sealed. Each data part adds its chunks to the rows of
//! its stripe, on the thread that seals it. The thread that completes a stripe gets its parity parts to seal. Memory
//! holds m parts for each stripe whose data is being sealed: one or two.
//!
//! Not guaranteed: that every chunk is added exactly once. The caller sees to that.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use crate::base::memory;
use crate::base::pool::{lock, unlocked};
use crate::format::part::{CHUNK, Class};
use crate::format::stripe::{Scheme, ShardPos};
use crate::format::volume_number::VolumeNumber;
use crate::stage::erasure::Code;

/// The stripes of a bundle whose parity is being built.
pub(crate) struct ParityBuilder {
    scheme: Scheme,
    code: Code,
    /// Chunks of a part, which are also the rows of a stripe.
    chunks: usize,
    /// Stripes that lack data or are not closed yet, by number.
    open: Mutex<BTreeMap<u32, Arc<OpenStripe>>>,
    spare: SpareRows,
}

/// Rows of stripes that are done, to be used again: touching memory for the first time costs.
type SpareRows = Arc<Mutex<Vec<Vec<u8>>>>;

/// The parity of one stripe so far.
struct OpenStripe {
    /// For each row the sums of all m parity shards, one behind the other; empty before the first chunk of that row.
    rows: Vec<Mutex<Vec<u8>>>,
    state: Mutex<StripeState>,
    /// The rows go there once the last parity part is sealed.
    spare: SpareRows,
}

#[derive(Default)]
struct StripeState {
    /// Data parts that were added whole.
    added: u16,
    /// `None` until the stripe is closed.
    closed: Option<ClosedStripe>,
}

/// What is known of a stripe once it gets no more data parts.
struct ClosedStripe {
    data_parts: u16,
    /// The volumes of its parity parts, in the order of their positions.
    volumes: Vec<VolumeNumber>,
}

/// A parity part that is ready to be sealed.
pub(crate) struct ParityShard {
    stripe: Arc<OpenStripe>,
    /// Among all parity parts, from 1.
    pub(crate) number: u32,
    pub(crate) place: ShardPos,
    /// The volume that it goes to.
    pub(crate) volume: VolumeNumber,
}

/// A data part that is being added to its stripe.
pub(crate) struct DataShard {
    stripe: Arc<OpenStripe>,
    place: ShardPos,
}

impl ParityBuilder {
    /// A builder without any stripe. Each stripe opens with the first of its data parts.
    pub(crate) fn new(scheme: Scheme, class: Class) -> Self {
        let code = Code::new(scheme.k.into(), scheme.m.into());
        Self { scheme, code, chunks: class.chunks(), open: Mutex::default(), spare: Arc::default() }
    }

    /// About how many bytes of memory the open stripes take while so many workers seal.
    pub(crate) fn memory(scheme: Scheme, class: Class, workers: usize) -> u64 {
        let stripes = 1 + workers.div_ceil(scheme.k.into());
        (stripes * usize::from(scheme.m) * class.plain_len()) as u64
    }

    /// Stripe and position of a data part, both from 0.
    pub(crate) fn place(&self, number: u32) -> ShardPos {
        self.scheme.of_data(number)
    }

    /// Begins to add data part `number`, which counts from 1.
    pub(crate) fn begin(&self, number: u32) -> DataShard {
        let place = self.place(number);
        DataShard { stripe: self.open_stripe(place.stripe), place }
    }

    /// Adds one chunk of a data part. Other threads may add to the same stripe at the same time.
    pub(crate) fn add(&self, shard: &DataShard, chunk: usize, plain: &[u8]) {
        let position = shard.place.position;
        let mut row = lock(&shard.stripe.rows[self.scheme.row_of(chunk, position, self.chunks)]);
        if row.is_empty() {
            *row = lock(&self.spare).pop().unwrap_or_default();
            row.clear();
            let len = usize::from(self.scheme.m) * CHUNK;
            memory::reserve(&mut row, len);
            row.resize(len, 0);
        }
        for (parity, sum) in row.chunks_exact_mut(CHUNK).enumerate() {
            self.code.add(position.into(), plain, usize::from(self.scheme.k) + parity, sum);
        }
    }

    /// Ends a data part of which all chunks are added. Returns the parity parts if that completes the stripe.
    pub(crate) fn finish(&self, shard: DataShard) -> Vec<ParityShard> {
        lock(&shard.stripe.state).added += 1;
        self.take_if_complete(shard.place.stripe, shard.stripe)
    }

    /// Records that the stripe of data part `last` ends with it, and that its parity goes to these volumes. Returns the
    /// parity parts if all data of the stripe is added already.
    pub(crate) fn close_stripe(&self, last: u32, volumes: Vec<VolumeNumber>) -> Vec<ParityShard> {
        let ShardPos { stripe: number, position } = self.place(last);
        let stripe = self.open_stripe(number);
        lock(&stripe.state).closed = Some(ClosedStripe { data_parts: position + 1, volumes });
        self.take_if_complete(number, stripe)
    }

    /// Hands out the plaintext of a parity part, chunk by chunk.
    pub(crate) fn read(&self, shard: &ParityShard, mut out: impl FnMut(&[u8])) {
        let position = shard.place.position;
        let at = usize::from(position - self.scheme.k) * CHUNK;
        for chunk in 0..self.chunks {
            let row = lock(&shard.stripe.rows[self.scheme.row_of(chunk, position, self.chunks)]);
            out(&row[at..at + CHUNK]);
        }
    }

    fn open_stripe(&self, number: u32) -> Arc<OpenStripe> {
        lock(&self.open).entry(number).or_insert_with(|| self.make_stripe()).clone()
    }

    fn make_stripe(&self) -> Arc<OpenStripe> {
        let rows = (0..self.chunks).map(|_| Mutex::default()).collect();
        Arc::new(OpenStripe { rows, state: Mutex::default(), spare: self.spare.clone() })
    }

    /// Takes a stripe out of the open ones if it is closed and has all its data. Returns no parts otherwise.
    fn take_if_complete(&self, number: u32, stripe: Arc<OpenStripe>) -> Vec<ParityShard> {
        let Some(volumes) = lock(&stripe.state).take_volumes() else { return Vec::new() };
        lock(&self.open).remove(&number);
        let positions = self.scheme.k..self.scheme.k + self.scheme.m;
        let places = positions.map(|position| ShardPos { stripe: number, position });
        places.zip(volumes).map(|(place, volume)| self.parity_shard(&stripe, place, volume)).collect()
    }

    fn parity_shard(&self, stripe: &Arc<OpenStripe>, place: ShardPos, volume: VolumeNumber) -> ParityShard {
        let number = self.scheme.parity_number(place.stripe, place.position);
        ParityShard { stripe: stripe.clone(), number, place, volume }
    }
}

impl StripeState {
    /// The volumes of the parity parts once all data is added; `None` before that.
    fn take_volumes(&mut self) -> Option<Vec<VolumeNumber>> {
        let closed = self.closed.as_mut().filter(|closed| closed.data_parts == self.added)?;
        Some(std::mem::take(&mut closed.volumes))
    }
}

impl Drop for OpenStripe {
    fn drop(&mut self) {
        lock(&self.spare).extend(self.rows.drain(..).map(unlocked).filter(|row| !row.is_empty()));
    }
}

#[cfg(test)]
mod tests;
