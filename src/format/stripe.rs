//! Stripes: which parts stand in for each other (FORMAT section 8). Parts of a bundle with parity
//! are dealt to stripes of k data parts and m parity parts, each a shard; a row is one chunk of
//! each shard, shifted from shard to shard, so that damage at one place of all files does not
//! fall into one row.

/// The shape of stripes: a statement's k, m and c.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Scheme {
    /// Data shards of a stripe; the last stripe may have fewer.
    pub k: u16,
    /// Parity shards of a stripe.
    pub m: u16,
    /// Shards of a stripe that one volume may hold.
    pub c: u16,
}

impl Scheme {
    /// Shards of a stripe at most.
    pub const MOST: u16 = 255;

    /// Checks the numbers.
    pub fn new(k: u16, m: u16, c: u16) -> Option<Self> {
        let shards = k.checked_add(m).filter(|shards| *shards <= Self::MOST);
        (k >= 1 && m >= 1 && c >= 1 && shards.is_some_and(|shards| c <= shards)).then_some(Self { k, m, c })
    }

    /// Shards of a whole stripe.
    pub fn shards(self) -> usize {
        usize::from(self.k + self.m)
    }

    /// Stripes of so many data parts.
    pub fn stripes(self, data: u32) -> u32 {
        data.div_ceil(self.k.into())
    }

    /// Parity parts for so many data parts.
    pub fn parity_parts(self, data: u32) -> u32 {
        self.stripes(data) * u32::from(self.m)
    }

    /// Stripe (from 0) and position of a data part, by its number (from 1).
    pub fn of_data(self, number: u32) -> (u32, u16) {
        let (stripe, position) = ((number - 1) / u32::from(self.k), (number - 1) % u32::from(self.k));
        (stripe, position as u16)
    }

    /// The same of a parity part: these have numbers of their own, and positions from k on.
    pub fn of_parity(self, number: u32) -> (u32, u16) {
        let (stripe, which) = ((number - 1) / u32::from(self.m), (number - 1) % u32::from(self.m));
        (stripe, self.k + which as u16)
    }

    /// The number of a stripe's parity part at a position.
    pub fn parity_number(self, stripe: u32, position: u16) -> u32 {
        stripe * u32::from(self.m) + u32::from(position - self.k) + 1
    }

    /// The chunk of the shard at `position` that belongs to `row`, in parts of so many chunks.
    pub fn chunk_of(self, row: usize, position: u16, chunks: usize) -> usize {
        (row + usize::from(position) * self.step(chunks)) % chunks
    }

    /// The row that a chunk belongs to.
    pub fn row_of(self, chunk: usize, position: u16, chunks: usize) -> usize {
        (chunk + chunks - usize::from(position) * self.step(chunks) % chunks) % chunks
    }

    /// Volumes that may be lost.
    pub fn volumes_spared(self) -> u16 {
        self.m / self.c
    }

    /// From one shard to the next a row moves on by so many chunks: as far as spreads the shards
    /// evenly, so that a run of bad chunks at one place of all of them meets few to a row.
    fn step(self, chunks: usize) -> usize {
        (chunks / self.shards()).max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_positions_go_both_ways() {
        let scheme = Scheme::new(3, 2, 1).unwrap();
        let data: Vec<_> = (1..=7).map(|number| scheme.of_data(number)).collect();
        assert_eq!(data, [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (1, 2), (2, 0)]);
        assert_eq!((scheme.stripes(7), scheme.parity_parts(7)), (3, 6));
        for number in 1..=6 {
            let (stripe, position) = scheme.of_parity(number);
            assert!((3..5).contains(&position));
            assert_eq!(scheme.parity_number(stripe, position), number);
        }
        for (k, m, c) in [(0, 1, 1), (1, 0, 1), (1, 1, 0), (1, 1, 3), (250, 6, 1), (u16::MAX, 1, 1)] {
            assert_eq!(Scheme::new(k, m, c), None);
        }
    }

    #[test]
    fn rows_take_each_chunk_once() {
        for (k, m, chunks) in [(1, 1, 15), (3, 2, 15), (40, 2, 15), (40, 2, 63), (40, 2, 255), (153, 102, 63)] {
            let scheme = Scheme::new(k, m, 1).unwrap();
            for position in 0..k + m {
                let mut seen = vec![false; chunks];
                for row in 0..chunks {
                    let chunk = scheme.chunk_of(row, position, chunks);
                    assert!(!std::mem::replace(&mut seen[chunk], true));
                    assert_eq!(scheme.row_of(chunk, position, chunks), row);
                }
            }
        }
    }

    #[test]
    fn damage_at_one_place_of_all_shards_spreads_over_rows() {
        let scheme = Scheme::new(40, 2, 42).unwrap();
        for (chunks, run) in [(63, 1), (255, 1), (255, 12), (1023, 48)] {
            for first in 0..chunks - run {
                let mut hits = vec![0; chunks];
                for position in 0..42 {
                    (first..first + run).for_each(|chunk| hits[scheme.row_of(chunk, position, chunks)] += 1);
                }
                assert!(hits.iter().all(|hits| *hits <= 2), "{run} of {chunks} at {first}");
            }
        }
    }
}
