//! Rebuilds the rows of one stripe. A row takes one chunk of each part, and is rebuilt on its own from as many of its
//! chunks as the scheme needs.
//!
//! Not guaranteed: that a rebuilt chunk is right. Parity that does not fit its data gives other bytes, which only the
//! digest of a whole part shows.

use std::collections::{BTreeMap, BTreeSet};

use crate::base::gf::mul_add;
use crate::flow::bundle::part_source::ChunkSource;
use crate::flow::bundle::rebuilt_part::{PartProof, RebuiltPart};
use crate::format::part::{CHUNK, SEALED_CHUNK};
use crate::format::stripe::Scheme;
use crate::stage::erasure::Code;

/// The scheme of a bundle with parity, and the code that rebuilds its shards.
pub(super) struct Parity {
    pub(super) scheme: Scheme,
    pub(super) code: Code,
}

/// Where the chunks of one position of a stripe come from.
pub(super) enum ShardSource {
    /// There is no such part, and zeros stand for it: the last stripe may have less data than the others.
    Zeros,
    /// The proved chunks of a part that is being rebuilt, by its index among these parts.
    InMemory(usize),
    /// The drives, chunk by chunk.
    OnDrives(Box<dyn ChunkSource>),
}

/// Enough chunks of a row to rebuild the others.
pub(super) struct Row {
    /// Their positions in the stripe, in the order of `chunks`.
    pub(super) positions: Vec<usize>,
    /// Their plaintext.
    chunks: Vec<Vec<u8>>,
}

/// The shards that an attempt to rebuild parts has used.
#[derive(Default)]
pub(super) struct Used {
    pub(super) positions: BTreeSet<usize>,
    /// Most parity shards that one row has used.
    pub(super) parity_of_a_row: usize,
}

impl Used {
    pub(super) fn add(&mut self, row: &Row, scheme: Scheme) {
        let parity = row.positions.iter().filter(|position| **position >= usize::from(scheme.k)).count();
        self.parity_of_a_row = self.parity_of_a_row.max(parity);
        self.positions.extend(&row.positions);
    }
}

/// One stripe, and where its shards are read from.
pub(super) struct Stripe<'a> {
    pub(super) parity: &'a Parity,
    /// Its number in the bundle, from 0.
    pub(super) number: u32,
    /// Chunks of a part.
    pub(super) chunks: usize,
    /// By position, from 0.
    pub(super) shards: Vec<ShardSource>,
}

impl Stripe<'_> {
    /// The rows that have a missing chunk of a part that is being rebuilt.
    pub(super) fn rows_to_rebuild(&self, parts: &[RebuiltPart]) -> BTreeSet<usize> {
        let open = parts.iter().filter(|rebuilt| rebuilt.state == PartProof::Open);
        open.flat_map(|rebuilt| self.rows_of(rebuilt)).collect()
    }

    /// The rows of the missing chunks of a part.
    fn rows_of(&self, rebuilt: &RebuiltPart) -> Vec<usize> {
        let position = rebuilt.position();
        let missing = rebuilt.missing.iter();
        missing.map(|chunk| self.parity.scheme.row_of(*chunk, position, self.chunks)).collect()
    }

    /// The positions that are read from the drives: those of data, and those of parity.
    pub(super) fn positions_on_drives(&self) -> (Vec<usize>, Vec<usize>) {
        let on_drives = (0..self.shards.len()).filter(|position| self.is_on_drives(*position));
        on_drives.partition(|position| *position < usize::from(self.parity.scheme.k))
    }

    fn is_on_drives(&self, position: usize) -> bool {
        matches!(self.shards[position], ShardSource::OnDrives(_))
    }

    /// Reads as many chunks of a row as the scheme needs, but none of the positions in `without`; `None` if there are
    /// fewer. Chunks in memory come first, because they cost no reading.
    pub(super) fn gather(&self, row: usize, parts: &[RebuiltPart], without: &BTreeSet<usize>) -> Option<Row> {
        let needed = usize::from(self.parity.scheme.k);
        let mut found = Row { positions: Vec::with_capacity(needed), chunks: Vec::with_capacity(needed) };
        let mut order: Vec<usize> = (0..self.shards.len()).filter(|position| !without.contains(position)).collect();
        order.sort_by_key(|at| self.is_on_drives(*at));
        for position in order {
            if let Some(bytes) = self.read(row, position, parts) {
                found.positions.push(position);
                found.chunks.push(bytes);
            }
            if found.positions.len() == needed {
                return Some(found);
            }
        }
        None
    }

    /// One chunk of a row; `None` if it cannot be had.
    fn read(&self, row: usize, position: usize, parts: &[RebuiltPart]) -> Option<Vec<u8>> {
        let chunk = self.parity.scheme.chunk_of(row, position as u16, self.chunks);
        match &self.shards[position] {
            ShardSource::Zeros => Some(vec![0; CHUNK]),
            ShardSource::InMemory(at) => parts[*at].has(chunk).then(|| parts[*at].buf.plain(chunk).to_vec()),
            ShardSource::OnDrives(source) => {
                let mut sealed = vec![0; SEALED_CHUNK];
                let is_whole = source.read(chunk, &mut sealed);
                sealed.truncate(CHUNK);
                is_whole.then_some(sealed)
            }
        }
    }

    /// Rebuilds the chunks of a row that are missing in `parts`, as far as these are being rebuilt.
    pub(super) fn rebuild_row(&self, row: usize, found: &Row, parts: &mut [RebuiltPart], factors: &mut Factors) {
        for rebuilt in parts.iter_mut().filter(|rebuilt| rebuilt.state == PartProof::Open) {
            let position = rebuilt.position();
            let chunk = self.parity.scheme.chunk_of(row, position, self.chunks);
            let Ok(at) = rebuilt.missing.binary_search(&chunk) else { continue };
            let factors = factors.of(&self.parity.code, &found.positions, position.into());
            let out = rebuilt.chunk_mut(chunk);
            out.fill(0);
            for (factor, bytes) in factors.iter().zip(&found.chunks) {
                mul_add(*factor, bytes, out);
            }
            rebuilt.missing.remove(at);
        }
    }
}

/// The factors by which shards are rebuilt from others. Those for the last positions are kept, because most rows lack
/// the same shards.
#[derive(Default)]
pub(super) struct Factors {
    /// The positions that shards are rebuilt from.
    positions: Vec<usize>,
    /// By the position of the rebuilt shard: a factor for each of `positions`.
    known: BTreeMap<usize, Vec<u8>>,
}

impl Factors {
    fn of(&mut self, code: &Code, positions: &[usize], wanted: usize) -> &[u8] {
        if self.positions != positions {
            self.positions = positions.to_vec();
            self.known.clear();
        }
        self.known.entry(wanted).or_insert_with(|| code.recover(positions, &[wanted]).swap_remove(0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flow::bundle::part_finder::Loaded;
    use crate::format::head::Head;
    use crate::format::head::tests::striped;
    use crate::format::part::{Class, PartBuf};

    const CHUNKS: usize = 15;

    /// A shard on a drive, of which some chunks are bad. All its bytes are the same.
    struct FakeShard {
        byte: u8,
        bad: Vec<usize>,
    }

    impl ChunkSource for FakeShard {
        fn read(&self, index: usize, sealed: &mut [u8]) -> bool {
            sealed[..CHUNK].fill(self.byte);
            !self.bad.contains(&index)
        }
    }

    fn on_drive(byte: u8, bad: &[usize]) -> ShardSource {
        ShardSource::OnDrives(Box::new(FakeShard { byte, bad: bad.to_vec() }))
    }

    /// Two shards of data and two of parity.
    fn parity() -> Parity {
        Parity { scheme: Scheme::new(2, 2, 1).unwrap(), code: Code::new(2, 2) }
    }

    fn stripe(parity: &Parity, shards: Vec<ShardSource>) -> Stripe<'_> {
        Stripe { parity, number: 0, chunks: CHUNKS, shards }
    }

    /// A part of that head that is being rebuilt.
    fn open<'a>(head: &'a Head, part: usize, lost: &[usize]) -> RebuiltPart<'a> {
        let buf = PartBuf::new(Class::ALL[0]);
        RebuiltPart {
            part: &head.parts[part],
            buf,
            found: Loaded::Missing,
            missing: lost.to_vec(),
            lost: lost.to_vec(),
            state: PartProof::Open,
        }
    }

    fn gathered(stripe: &Stripe, row: usize, parts: &[RebuiltPart], without: &[usize]) -> Option<Vec<usize>> {
        stripe.gather(row, parts, &without.iter().copied().collect()).map(|row| row.positions)
    }

    #[test]
    fn chunks_in_memory_are_taken_before_those_on_drives() {
        let parity = parity();
        let head = striped(2, 2, 2);
        let parts = [open(&head, 1, &[])];
        let shards = vec![on_drive(1, &[]), ShardSource::InMemory(0), on_drive(3, &[]), ShardSource::Zeros];
        let stripe = stripe(&parity, shards);
        assert_eq!(gathered(&stripe, 0, &parts, &[]), Some(vec![1, 3]));
        assert_eq!(gathered(&stripe, 0, &parts, &[3]), Some(vec![1, 0]));
        assert_eq!(gathered(&stripe, 0, &parts, &[0, 3]), Some(vec![1, 2]));
    }

    #[test]
    fn a_row_with_too_few_chunks_is_not_gathered() {
        let parity = parity();
        // Position 0 has the chunk of row 4 at index 4; the other shards are shifted.
        let at = |position| parity.scheme.chunk_of(4, position, CHUNKS);
        let shards = vec![on_drive(1, &[4]), on_drive(2, &[at(1)]), on_drive(3, &[at(2)]), on_drive(4, &[])];
        let stripe = stripe(&parity, shards);
        assert_eq!(gathered(&stripe, 4, &[], &[]), None);
        assert_eq!(gathered(&stripe, 5, &[], &[]), Some(vec![0, 1]), "the next row has all its chunks");
        assert_eq!(gathered(&stripe, 5, &[], &[0, 1, 2]), None);
    }

    #[test]
    fn only_rows_of_parts_that_are_being_rebuilt_need_work() {
        let parity = parity();
        let head = striped(2, 2, 2);
        let mut short = open(&head, 1, &[9]);
        short.state = PartProof::Short;
        let parts = [open(&head, 0, &[3, 7]), short];
        assert_eq!(stripe(&parity, Vec::new()).rows_to_rebuild(&parts), BTreeSet::from([3, 7]));
    }

    #[test]
    fn positions_on_drives_are_told_by_data_and_parity() {
        let parity = parity();
        let shards = vec![ShardSource::Zeros, on_drive(2, &[]), on_drive(3, &[]), ShardSource::InMemory(0)];
        assert_eq!(stripe(&parity, shards).positions_on_drives(), (vec![1], vec![2]));
    }

    #[test]
    fn a_row_rebuilds_a_missing_chunk_and_leaves_the_others() {
        let parity = parity();
        let head = striped(2, 2, 2);
        // The code is linear, so bytes of data that are all zeros have parity of zeros.
        let shards = vec![ShardSource::InMemory(0), on_drive(0, &[]), on_drive(0, &[]), ShardSource::Zeros];
        let stripe = stripe(&parity, shards);
        let mut parts = [open(&head, 0, &[3, 6])];
        parts[0].chunk_mut(3).fill(9);
        let row = stripe.gather(3, &parts, &BTreeSet::new()).unwrap();
        stripe.rebuild_row(3, &row, &mut parts, &mut Factors::default());
        assert_eq!(parts[0].missing, [6]);
        assert!(parts[0].buf.plain(3).iter().all(|byte| *byte == 0));
    }

    #[test]
    fn the_row_with_the_most_parity_counts() {
        let scheme = parity().scheme;
        let row = |positions: &[usize]| Row { positions: positions.to_vec(), chunks: Vec::new() };
        let mut used = Used::default();
        [row(&[0, 2]), row(&[2, 3]), row(&[0, 1])].iter().for_each(|row| used.add(row, scheme));
        assert_eq!((used.positions, used.parity_of_a_row), (BTreeSet::from([0, 1, 2, 3]), 2));
    }
}
