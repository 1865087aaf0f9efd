//! Parity in the making: every data part adds what it holds to its stripe's rows while it is
//! sealed, on whichever worker; with the last one the stripe's parity parts are ready. What is in
//! memory is m parts for each stripe whose data is being sealed: one or two.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use crate::base::memory;
use crate::base::pool::lock;
use crate::format::part::{CHUNK, Class};
use crate::format::stripe::Scheme;
use crate::stage::erasure::Code;

/// All stripes of a bundle.
pub struct Making {
    scheme: Scheme,
    code: Code,
    chunks: usize,
    open: Mutex<BTreeMap<u32, Arc<OpenStripe>>>,
    /// Rows of stripes that are done: touching memory for the first time costs.
    spare: Arc<Mutex<Vec<Vec<u8>>>>,
}

/// One stripe's parity so far.
struct OpenStripe {
    /// For each row the sums of all m parity shards, one behind the other.
    rows: Vec<Mutex<Vec<u8>>>,
    state: Mutex<StripeState>,
    spare: Arc<Mutex<Vec<Vec<u8>>>>,
}

#[derive(Default)]
struct StripeState {
    /// Data parts that were added.
    added: u16,
    /// How many there are, and the volumes of the parity parts, once known.
    closed: Option<(u16, Vec<u16>)>,
}

/// A parity part that is ready to be sealed.
pub struct ParityShard {
    stripe: Arc<OpenStripe>,
    /// Of all parity parts, from 1.
    pub number: u32,
    /// Its stripe and its position in it.
    pub place: (u32, u16),
    /// The volume it goes to.
    pub volume: u16,
}

/// A data part that is being added.
pub struct Adding {
    stripe: Arc<OpenStripe>,
    place: (u32, u16),
}

impl Making {
    /// Nothing is added yet.
    pub fn new(scheme: Scheme, class: Class) -> Self {
        let code = Code::new(scheme.k.into(), scheme.m.into());
        Self { scheme, code, chunks: class.chunks(), open: Mutex::default(), spare: Arc::default() }
    }

    /// About how many bytes of memory the stripes in the making take.
    pub fn memory(scheme: Scheme, class: Class, workers: usize) -> u64 {
        let stripes = 1 + workers.div_ceil(scheme.k.into());
        (stripes * usize::from(scheme.m) * class.plain_len()) as u64
    }

    /// Stripe and position of a data part.
    pub fn place(&self, number: u32) -> (u32, u16) {
        self.scheme.of_data(number)
    }

    /// Data part `number` (from 1) comes next.
    pub fn begin(&self, number: u32) -> Adding {
        let place = self.place(number);
        Adding { stripe: self.stripe(place.0), place }
    }

    /// Adds one chunk of it.
    pub fn add(&self, part: &Adding, chunk: usize, plain: &[u8]) {
        let position = part.place.1;
        let mut row = lock(&part.stripe.rows[self.scheme.row_of(chunk, position, self.chunks)]);
        if row.is_empty() {
            *row = lock(&self.spare).pop().unwrap_or_default();
            row.clear();
            memory::reserve(&mut row, usize::from(self.scheme.m) * CHUNK);
            row.resize(usize::from(self.scheme.m) * CHUNK, 0);
        }
        for (parity, sum) in row.chunks_exact_mut(CHUNK).enumerate() {
            self.code.add(position.into(), plain, usize::from(self.scheme.k) + parity, sum);
        }
    }

    /// All of it was added; the parity parts, if it was the last of its stripe.
    pub fn end(&self, part: Adding) -> Vec<ParityShard> {
        lock(&part.stripe.state).added += 1;
        self.finished(part.place.0, part.stripe)
    }

    /// The stripe of data part `last` ends with it, and its parity goes to these volumes; its
    /// parity parts, if all its data was added by now.
    pub fn close(&self, last: u32, volumes: Vec<u16>) -> Vec<ParityShard> {
        let (number, position) = self.place(last);
        let stripe = self.stripe(number);
        lock(&stripe.state).closed = Some((position + 1, volumes));
        self.finished(number, stripe)
    }

    fn stripe(&self, number: u32) -> Arc<OpenStripe> {
        let make = || {
            let rows = (0..self.chunks).map(|_| Mutex::default()).collect();
            Arc::new(OpenStripe { rows, state: Mutex::default(), spare: self.spare.clone() })
        };
        lock(&self.open).entry(number).or_insert_with(make).clone()
    }

    fn finished(&self, number: u32, stripe: Arc<OpenStripe>) -> Vec<ParityShard> {
        let volumes = {
            let mut state = lock(&stripe.state);
            let StripeState { added, closed } = &mut *state;
            match closed {
                Some((data, volumes)) if data == added => std::mem::take(volumes),
                _ => return Vec::new(),
            }
        };
        lock(&self.open).remove(&number);
        let positions = self.scheme.k..self.scheme.k + self.scheme.m;
        let shard = |(position, volume)| {
            let part = self.scheme.parity_number(number, position);
            ParityShard { stripe: stripe.clone(), number: part, place: (number, position), volume }
        };
        positions.zip(volumes).map(shard).collect()
    }

    /// Hands out a parity part's plaintext, chunk by chunk.
    pub fn plaintext(&self, shard: &ParityShard, mut out: impl FnMut(&[u8])) {
        let position = shard.place.1;
        let at = usize::from(position - self.scheme.k) * CHUNK;
        for chunk in 0..self.chunks {
            out(&lock(&shard.stripe.rows[self.scheme.row_of(chunk, position, self.chunks)])[at..at + CHUNK]);
        }
    }
}

impl Drop for OpenStripe {
    fn drop(&mut self) {
        lock(&self.spare).extend(self.rows.drain(..).map(crate::base::pool::unlocked).filter(|row| !row.is_empty()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::gf::mul_add;

    #[test]
    fn parity_gives_back_a_lost_part() {
        let (scheme, class) = (Scheme::new(3, 2, 1).unwrap(), Class::ALL[0]);
        let (making, chunks) = (Making::new(scheme, class), class.chunks());
        let part = |number: u32, chunk: usize| vec![(number * 50) as u8 ^ chunk as u8; CHUNK];
        let mut shards = Vec::new();
        // Out of order, and the stripe is closed before its last part is there.
        for number in [3, 1, 2] {
            if number == 2 {
                assert!(making.close(3, vec![4, 5]).is_empty());
            }
            let adding = making.begin(number);
            (0..chunks).for_each(|chunk| making.add(&adding, chunk, &part(number, chunk)));
            shards = making.end(adding);
            assert_eq!(shards.is_empty(), number != 2);
        }
        assert_eq!(
            shards.iter().map(|shard| (shard.number, shard.place, shard.volume)).collect::<Vec<_>>(),
            [(1, (0, 3), 4), (2, (0, 4), 5)]
        );
        let plain = |shard| {
            let mut plain = Vec::new();
            making.plaintext(shard, |bytes| plain.extend_from_slice(bytes));
            plain
        };
        let parity: Vec<Vec<u8>> = shards.iter().map(plain).collect();
        let code = Code::new(3, 2);
        for row in 0..chunks {
            let chunk = |position| scheme.chunk_of(row, position, chunks);
            let have = [
                part(2, chunk(1)),
                parity[0][chunk(3) * CHUNK..][..CHUNK].to_vec(),
                parity[1][chunk(4) * CHUNK..][..CHUNK].to_vec(),
            ];
            let mut lost = vec![0; CHUNK];
            for (factor, bytes) in code.recover(&[1, 3, 4], &[2])[0].iter().zip(&have) {
                mul_add(*factor, bytes, &mut lost);
            }
            assert!(lost == part(3, chunk(2)), "row {row}");
        }
    }

    #[test]
    fn a_short_stripe_counts_what_it_has_not_as_zeros() {
        let (scheme, class) = (Scheme::new(4, 1, 5).unwrap(), Class::ALL[0]);
        let making = Making::new(scheme, class);
        let adding = making.begin(5);
        (0..class.chunks()).for_each(|chunk| making.add(&adding, chunk, &[9; CHUNK]));
        assert!(making.end(adding).is_empty());
        let shards = making.close(5, vec![1]);
        assert_eq!((shards.len(), shards[0].number, shards[0].place), (1, 2, (1, 4)));
    }
}
