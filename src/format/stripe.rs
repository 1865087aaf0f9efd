//! Stripes: which parts stand in for each other (FORMAT section 8). With parity, every part is a shard of a stripe of k
//! data parts and m parity parts. A row takes one chunk of each shard, shifted from shard to shard, so that damage at
//! one place of all files does not fall into one row.

/// Which shard of which stripe a part is. Both count from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ShardPos {
    pub stripe: u32,
    /// Data comes first, then parity from k on.
    pub position: u16,
}

/// The shape of a bundle's stripes: k, m and c of the statement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Scheme {
    /// Data shards of a stripe; the last stripe may have fewer.
    pub(crate) k: u16,
    /// Parity shards of a stripe; the last stripe has as many.
    pub m: u16,
    /// Most shards of a stripe that one volume may hold.
    pub(crate) c: u16,
}

impl Scheme {
    /// Most shards of a stripe: the code works over GF(2^8).
    pub(crate) const MOST: u16 = 255;

    /// `None` unless each number is at least 1, k + m is at most [`Self::MOST`], and c is at most k + m.
    pub fn new(k: u16, m: u16, c: u16) -> Option<Self> {
        let shards = k.checked_add(m).filter(|shards| *shards <= Self::MOST);
        (k >= 1 && m >= 1 && c >= 1 && shards.is_some_and(|shards| c <= shards)).then_some(Self { k, m, c })
    }

    /// Shards of a stripe that has all its data.
    pub(crate) fn shards(self) -> usize {
        usize::from(self.k + self.m)
    }

    /// Stripes of `data` data parts; the last one may be short.
    pub(crate) fn stripes(self, data: u32) -> u32 {
        data.div_ceil(self.k.into())
    }

    /// Parity parts for `data` data parts.
    pub(crate) fn parity_parts(self, data: u32) -> u32 {
        self.stripes(data) * u32::from(self.m)
    }

    /// The shard that a data part is, by its number (from 1).
    pub fn of_data(self, number: u32) -> ShardPos {
        let stripe = (number - 1) / u32::from(self.k);
        let position = (number - 1) % u32::from(self.k);
        ShardPos { stripe, position: position as u16 }
    }

    /// The shard that a parity part is. Parity parts have numbers of their own, from 1.
    pub fn of_parity(self, number: u32) -> ShardPos {
        let stripe = (number - 1) / u32::from(self.m);
        let which = (number - 1) % u32::from(self.m);
        ShardPos { stripe, position: self.k + which as u16 }
    }

    /// The number of the parity part at a position of a stripe; positions of parity begin at k.
    pub(crate) fn parity_number(self, stripe: u32, position: u16) -> u32 {
        stripe * u32::from(self.m) + u32::from(position - self.k) + 1
    }

    /// The chunk of the shard at `position` that belongs to `row`, in parts of `chunks` chunks. All count from 0.
    pub fn chunk_of(self, row: usize, position: u16, chunks: usize) -> usize {
        (row + usize::from(position) * self.step(chunks)) % chunks
    }

    /// The row that a chunk belongs to: the inverse of [`Self::chunk_of`].
    pub fn row_of(self, chunk: usize, position: u16, chunks: usize) -> usize {
        (chunk + chunks - usize::from(position) * self.step(chunks) % chunks) % chunks
    }

    /// How many volumes may be lost if nothing else is damaged.
    pub(crate) fn volumes_spared(self) -> u16 {
        self.m / self.c
    }

    /// How many chunks a row moves on from one shard to the next. The step spreads the shards evenly over the part, so
    /// that a run of bad chunks at one place of all of them takes few chunks of any row.
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
        let pair = |shard: ShardPos| (shard.stripe, shard.position);
        let data: Vec<_> = (1..=7).map(|number| pair(scheme.of_data(number))).collect();
        assert_eq!(data, [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (1, 2), (2, 0)]);
        assert_eq!((scheme.stripes(7), scheme.parity_parts(7)), (3, 6));
        for number in 1..=6 {
            let ShardPos { stripe, position } = scheme.of_parity(number);
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
