//! The rows of one stripe: a row takes one chunk of each part, and is rebuilt on its own from as many of its chunks
//! as the scheme needs. Nothing here tells right chunks from wrong ones.

use std::collections::{BTreeMap, BTreeSet};

use crate::base::gf::mul_add;
use crate::flow::bundle::part_source::ChunkSource;
use crate::flow::bundle::rebuilt_part::{PartProof, RebuiltPart};
use crate::format::part::{CHUNK, SEALED_CHUNK};
use crate::format::stripe::Scheme;
use crate::stage::erasure::Code;

/// How the parts of a stripe stand in for each other.
pub(super) struct Parity {
    pub(super) scheme: Scheme,
    pub(super) code: Code,
}

/// Where the chunks of one position of a stripe come from.
pub(super) enum ShardSource {
    /// Zeros: the last stripe may have less data than the others.
    Zeros,
    /// The chunks that are there of the part at this index, which is being rebuilt.
    InMemory(usize),
    /// The drives.
    OnDrives(Box<dyn ChunkSource>),
}

/// Enough chunks of a row to rebuild the others.
pub(super) struct Row {
    /// Their positions in the stripe.
    pub(super) positions: Vec<usize>,
    chunks: Vec<Vec<u8>>,
}

/// What an attempt took.
#[derive(Default)]
pub(super) struct Used {
    pub(super) positions: BTreeSet<usize>,
    /// Shards of parity in the row with most of them.
    pub(super) parity_of_a_row: usize,
}

impl Used {
    pub(super) fn add(&mut self, row: &Row, scheme: Scheme) {
        let parity = row.positions.iter().filter(|position| **position >= usize::from(scheme.k)).count();
        self.parity_of_a_row = self.parity_of_a_row.max(parity);
        self.positions.extend(&row.positions);
    }
}

/// One stripe. A row takes one chunk of each of its parts, and is rebuilt on its own.
pub(super) struct Stripe<'a> {
    pub(super) parity: &'a Parity,
    /// From 0.
    pub(super) number: u32,
    /// Chunks of a part.
    pub(super) chunks: usize,
    /// By position.
    pub(super) shards: Vec<ShardSource>,
}

impl Stripe<'_> {
    pub(super) fn rows_to_rebuild(&self, parts: &[RebuiltPart]) -> BTreeSet<usize> {
        let open = parts.iter().filter(|rebuilt| rebuilt.state == PartProof::Open);
        let rows = |rebuilt: &RebuiltPart| {
            let position = rebuilt.position();
            let row = |chunk: &usize| self.parity.scheme.row_of(*chunk, position, self.chunks);
            rebuilt.missing.iter().map(row).collect::<Vec<_>>()
        };
        open.flat_map(rows).collect()
    }

    /// Positions of data and of parity that are read from the drives.
    pub(super) fn positions_on_drives(&self) -> (Vec<usize>, Vec<usize>) {
        let on_drives = |position: &usize| matches!(self.shards[*position], ShardSource::OnDrives(_));
        (0..self.shards.len()).filter(on_drives).partition(|position| *position < usize::from(self.parity.scheme.k))
    }

    /// Reads as many chunks of a row as the scheme needs, `without` some positions; `None` if there are fewer.
    /// Chunks in memory come first.
    pub(super) fn gather(&self, row: usize, parts: &[RebuiltPart], without: &BTreeSet<usize>) -> Option<Row> {
        let needed = usize::from(self.parity.scheme.k);
        let mut found = Row { positions: Vec::with_capacity(needed), chunks: Vec::with_capacity(needed) };
        let mut order: Vec<usize> = (0..self.shards.len()).filter(|position| !without.contains(position)).collect();
        order.sort_by_key(|at| matches!(self.shards[*at], ShardSource::OnDrives(_)));
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

    /// Rebuilds the chunks of a row that are missing in `parts`.
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

/// The factors that make a shard from others. The last ones are kept: most rows lack the same shards.
#[derive(Default)]
pub(super) struct Factors {
    positions: Vec<usize>,
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
