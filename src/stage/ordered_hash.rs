//! Hashes files whose pieces pass through many threads in any order. A digest is a chain, so the pieces of one file
//! must be hashed in order.
//!
//! A thread that offers the next piece hashes it, and then all pieces that wait behind it. A piece that comes too
//! early is kept, and its thread goes on: no thread waits for another. A kept piece holds its own resource (a leased
//! buffer, or a place to read from again), so the buffer pools bound the memory.
//!
//! Not guaranteed: that every file gets a digest. A missing piece or an error leaves its chain open.

use std::collections::{BTreeMap, HashMap};
use std::sync::Mutex;

use crate::base::digest::{Digest, Hasher};
use crate::base::pool::lock;

/// The chains of all files that are being hashed. `P` holds a piece until then. A finished chain is dropped.
pub(crate) struct OrderedHash<P> {
    /// Keyed by the file's index. No thread hashes while it holds this lock.
    chains: Mutex<HashMap<u32, Chain<P>>>,
}

struct Chain<P> {
    /// Offset in the file of the next byte to hash.
    next: u64,
    /// `None` while a thread hashes: the hasher is the right to extend this chain.
    hasher: Option<Hasher>,
    /// Pieces that came too early, by offset, with their lengths.
    waiting: BTreeMap<u64, (u64, P)>,
}

impl<P> Default for OrderedHash<P> {
    fn default() -> Self {
        Self { chains: Mutex::default() }
    }
}

impl<P> OrderedHash<P> {
    /// Offers `len` bytes of `file` at offset `at`. `hash` feeds a piece, with its offset and length, to the hasher.
    /// The call may hash pieces that other threads offered, too. Returns the digest if it hashes the last of `size`
    /// bytes; `None` means that bytes are missing or that another thread goes on with the chain.
    ///
    /// # Errors
    /// The first error of `hash`. The hasher is lost with it, so the file never gets a digest.
    pub(crate) fn offer<E>(
        &self,
        file: u32,
        size: u64,
        (at, len, piece): (u64, u64, P),
        mut hash: impl FnMut(&P, u64, u64, &mut Hasher) -> Result<(), E>,
    ) -> Result<Option<Digest>, E> {
        let mut chains = lock(&self.chains);
        let chain = chains.entry(file).or_insert_with(Chain::new);
        chain.waiting.insert(at, (len, piece));
        while let Some((at, len, piece, mut hasher)) = chains.get_mut(&file).and_then(Chain::take_next) {
            drop(chains);
            let result = hash(&piece, at, len, &mut hasher);
            // The piece gives its buffer back before this thread waits for the lock.
            drop(piece);
            result?;
            chains = lock(&self.chains);
            let Some(chain) = chains.get_mut(&file) else { break };
            chain.next = at + len;
            if chain.next == size {
                chains.remove(&file);
                return Ok(Some(hasher.finish()));
            }
            chain.hasher = Some(hasher);
        }
        Ok(None)
    }

    /// Lends the hasher if the chain stands at `at` and no thread hashes. The caller hashes the bytes from there on
    /// itself, while they are in its cache, and then calls [`OrderedHash::give_back`]. `None` means: offer the piece later.
    pub(crate) fn take(&self, file: u32, at: u64) -> Option<Hasher> {
        let mut chains = lock(&self.chains);
        let chain = chains.entry(file).or_insert_with(Chain::new);
        if chain.next == at { chain.hasher.take() } else { None }
    }

    /// Takes a lent hasher back, with which the caller hashed the file up to `next`. Hashes the pieces that wait
    /// behind it, and returns the digest if `size` is reached.
    ///
    /// # Errors
    /// As [`OrderedHash::offer`].
    pub(crate) fn give_back<E>(
        &self,
        file: u32,
        size: u64,
        (next, hasher): (u64, Hasher),
        mut hash: impl FnMut(&P, u64, u64, &mut Hasher) -> Result<(), E>,
    ) -> Result<Option<Digest>, E> {
        let mut chains = lock(&self.chains);
        if next == size {
            chains.remove(&file);
            return Ok(Some(hasher.finish()));
        }
        let Some(chain) = chains.get_mut(&file) else { return Ok(None) };
        (chain.next, chain.hasher) = (next, Some(hasher));
        let waiting = chain.waiting.remove(&next);
        // `offer` puts the piece back under the lock, and then works off the chain as for a new one.
        drop(chains);
        match waiting {
            Some((len, piece)) => self.offer(file, size, (next, len, piece), &mut hash),
            None => Ok(None),
        }
    }
}

impl<P> Chain<P> {
    fn new() -> Self {
        Self { next: 0, hasher: Some(Hasher::new()), waiting: BTreeMap::new() }
    }

    /// Takes the hasher and the next piece (offset, length, piece); `None` if either is not there.
    fn take_next(&mut self) -> Option<(u64, u64, P, Hasher)> {
        self.hasher.as_ref()?;
        let (len, piece) = self.waiting.remove(&self.next)?;
        Some((self.next, len, piece, self.hasher.take()?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::digest::sha256;
    use crate::base::secret::shuffle;

    #[allow(clippy::ptr_arg)] // `offer` hands out `&P`, and `P` is `Vec<u8>` here.
    fn feed(piece: &Vec<u8>, _: u64, _: u64, hasher: &mut Hasher) -> Result<(), ()> {
        hasher.update(piece);
        Ok(())
    }

    #[test]
    fn any_order_gives_the_digest() {
        let data: Vec<u8> = (0..10_000u32).map(|n| n as u8).collect();
        for _ in 0..20 {
            let mut pieces: Vec<(u64, Vec<u8>)> =
                data.chunks(777).enumerate().map(|(i, c)| (i as u64 * 777, c.to_vec())).collect();
            shuffle(&mut pieces);
            let lane = OrderedHash::default();
            let offer =
                |(at, piece): (u64, Vec<u8>)| lane.offer(1, 10_000, (at, piece.len() as u64, piece), feed).unwrap();
            let digests: Vec<Digest> = pieces.into_iter().filter_map(offer).collect();
            assert_eq!(digests, [sha256(&data)]);
        }
    }

    #[test]
    fn many_threads_bring_pieces() {
        let lane = OrderedHash::default();
        let data = vec![5u8; 64 * 1000];
        let digests: Vec<Digest> = std::thread::scope(|scope| {
            let lane = &lane;
            let workers: Vec<_> = (0..4u64)
                .map(|worker| {
                    scope.spawn(move || {
                        // Each thread brings every fourth piece, so that no thread can go on alone.
                        let mine = (0..64u64).filter(move |at| at % 4 == worker);
                        let offer = |at| lane.offer(9, 64_000, (at * 1000, 1000, vec![5u8; 1000]), feed).unwrap();
                        mine.filter_map(offer).collect::<Vec<_>>()
                    })
                })
                .collect();
            workers.into_iter().flat_map(|worker| worker.join().unwrap()).collect()
        });
        assert_eq!(digests, [sha256(&data)]);
    }

    #[test]
    fn a_taken_hasher_comes_back_to_what_waits() {
        let lane = OrderedHash::default();
        let mut hasher = lane.take(1, 0).unwrap();
        assert!(lane.take(1, 0).is_none(), "taken");
        // Both pieces wait, as the taken hasher stands at 0.
        assert_eq!(lane.offer(1, 9, (6, 3, b"ghi".to_vec()), feed), Ok(None));
        assert_eq!(lane.offer(1, 9, (3, 3, b"def".to_vec()), feed), Ok(None));
        hasher.update(b"abc");
        let digest = lane.give_back(1, 9, (3, hasher), feed).unwrap();
        assert_eq!(digest, Some(sha256(b"abcdefghi")));
    }
}
