//! The one thing that is a chain: the digest of a file whose pieces pass through many threads.
//!
//! Pieces are offered in any order. Whoever brings the next one hashes it, and then all that
//! wait behind it; nobody waits for anybody. What waits is held by its piece (a leased buffer,
//! or a place to read from again), so the pools bound it.

use std::collections::{BTreeMap, HashMap};
use std::sync::Mutex;

use crate::base::digest::{Digest, Hasher};
use crate::base::pool::lock;

/// Chains of pieces of type `P`, by file.
pub struct Lane<P> {
    chains: Mutex<HashMap<u32, Chain<P>>>,
}

struct Chain<P> {
    /// Where the next byte to hash lies in the file.
    next: u64,
    /// `None` while a thread hashes.
    hasher: Option<Hasher>,
    waiting: BTreeMap<u64, (u64, P)>,
}

impl<P> Default for Lane<P> {
    fn default() -> Self {
        Self { chains: Mutex::default() }
    }
}

impl<P> Lane<P> {
    /// Brings the `len` bytes of `file` from `at` on; `hash` feeds a piece to the hasher.
    /// Returns the digest once `size` bytes are hashed.
    ///
    /// # Errors
    /// The first error of `hash`; the file then never gets a digest.
    pub fn offer<E>(
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

    /// Takes the hasher if the chain stands at `at` and nobody hashes: the caller then hashes the
    /// bytes from there on itself and ends with [`Lane::give_back`].
    pub fn take(&self, file: u32, at: u64) -> Option<Hasher> {
        let mut chains = lock(&self.chains);
        let chain = chains.entry(file).or_insert_with(Chain::new);
        if chain.next == at { chain.hasher.take() } else { None }
    }

    /// Returns a hasher that was taken: the chain now stands at `next`. If that is `size`, the
    /// digest is complete; else pieces that waited are hashed.
    ///
    /// # Errors
    /// The first error of `hash`.
    pub fn give_back<E>(
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

    #[allow(clippy::ptr_arg)] // the lane's piece type
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
            let lane = Lane::default();
            let offer =
                |(at, piece): (u64, Vec<u8>)| lane.offer(1, 10_000, (at, piece.len() as u64, piece), feed).unwrap();
            let digests: Vec<Digest> = pieces.into_iter().filter_map(offer).collect();
            assert_eq!(digests, [sha256(&data)]);
        }
    }

    #[test]
    fn many_threads_bring_pieces() {
        let lane = Lane::default();
        let data = vec![5u8; 64 * 1000];
        let digests: Vec<Digest> = std::thread::scope(|scope| {
            let lane = &lane;
            let workers: Vec<_> = (0..4u64)
                .map(|worker| {
                    scope.spawn(move || {
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
        let lane = Lane::default();
        let mut hasher = lane.take(1, 0).unwrap();
        assert!(lane.take(1, 0).is_none(), "taken");
        assert_eq!(lane.offer(1, 9, (6, 3, b"ghi".to_vec()), feed), Ok(None));
        assert_eq!(lane.offer(1, 9, (3, 3, b"def".to_vec()), feed), Ok(None));
        hasher.update(b"abc");
        let digest = lane.give_back(1, 9, (3, hasher), feed).unwrap();
        assert_eq!(digest, Some(sha256(b"abcdefghi")));
    }
}
