//! Loads parts from the drives, and rebuilds what is damaged or missing from the other parts of the stripe.
//! Only chunks whose tags are right are used. Not guaranteed: that a rebuilt chunk is what was packed; the
//! caller compares the result with the digest of the part or of its files.

use std::collections::{BTreeMap, BTreeSet};

use crate::base::gf::mul_add;
use crate::flow::FlowError;
use crate::flow::find::{Finder, Loaded, Shard};
use crate::format::head::{Head, Part};
use crate::format::part::{CHUNK, Class, HEADER, PartBuf, SEALED_CHUNK};
use crate::format::stripe::Scheme;
use crate::stage::erasure::Code;

/// Where parts are read from. The real one is [`Finder`]; unit tests use a fake.
pub trait PartSource: Sync {
    /// Reads and opens a part into `buf`.
    fn load(&self, part: &Part, buf: &mut PartBuf) -> Result<Loaded, FlowError>;
    /// Opens a part for reading single chunks of it.
    fn chunks_of(&self, part: &Part) -> Result<Box<dyn ChunkSource>, FlowError>;
}

/// A part of which single chunks are read.
pub trait ChunkSource {
    /// Reads and opens a chunk into the beginning of `sealed`; `false` if no drive has it whole.
    fn read(&self, index: usize, sealed: &mut [u8]) -> bool;
}

impl PartSource for Finder<'_> {
    fn load(&self, part: &Part, buf: &mut PartBuf) -> Result<Loaded, FlowError> {
        Finder::load(self, part, buf)
    }

    fn chunks_of(&self, part: &Part) -> Result<Box<dyn ChunkSource>, FlowError> {
        Ok(Box::new(self.shard(part)?))
    }
}

impl ChunkSource for Shard {
    fn read(&self, index: usize, sealed: &mut [u8]) -> bool {
        self.chunk(index, sealed)
    }
}

/// A part as far as it could be loaded and rebuilt.
pub struct RebuiltPart<'a> {
    /// The part.
    pub part: &'a Part,
    /// Its plaintext, apart from the missing chunks.
    pub buf: PartBuf,
    /// What the drives had of it.
    pub found: Loaded,
    /// The chunks that the drives did not have and that could not be rebuilt, ascending.
    pub missing: Vec<usize>,
}

impl RebuiltPart<'_> {
    /// Whether all chunks are there.
    pub fn is_whole(&self) -> bool {
        self.missing.is_empty()
    }

    /// Whether no drive had the part, and nothing before its last missing chunk could be rebuilt.
    pub fn is_absent(&self) -> bool {
        self.found == Loaded::Missing && self.missing.last().is_some_and(|last| last + 1 == self.missing.len())
    }

    fn chunk_mut(&mut self, index: usize) -> &mut [u8] {
        &mut self.buf.file_mut()[HEADER + index * SEALED_CHUNK..][..CHUNK]
    }

    /// Its position in its stripe.
    fn position(&self) -> u16 {
        self.part.stripe.map_or(0, |(_, position)| position)
    }
}

/// Damaged parts by stripe, in groups that are rebuilt together: a group reads the rest of its stripe once,
/// but has to be in memory at once.
pub fn rebuild_groups<'d, 'p>(damaged: &'d BTreeMap<u32, Vec<&'p Part>>, class: Class) -> Vec<&'d [&'p Part]> {
    let most = (64 / usize::from(class.mib())).max(1);
    damaged.values().flat_map(|parts| parts.chunks(most)).collect()
}

/// Loads and rebuilds the parts of one bundle.
pub struct PartRebuilder<'a> {
    head: &'a Head,
    source: &'a dyn PartSource,
    /// `None` if the bundle has no parity.
    parity: Option<Parity>,
    class: Class,
}

struct Parity {
    scheme: Scheme,
    code: Code,
}

impl<'a> PartRebuilder<'a> {
    /// A rebuilder for the bundle of that head.
    pub fn new(head: &'a Head, source: &'a dyn PartSource) -> Self {
        let code = |scheme: Scheme| Code::new(scheme.k.into(), scheme.m.into());
        let parity = head.statement.scheme.map(|scheme| Parity { scheme, code: code(scheme) });
        Self { head, source, parity, class: head.statement.class }
    }

    /// Loads these parts of one stripe again, and rebuilds what is missing. They may be whole this time: some
    /// drives need a second try.
    pub fn rebuild<'p>(&self, parts: &[&'p Part]) -> Result<Vec<RebuiltPart<'p>>, FlowError> {
        let load = |part: &&'p Part| self.load(part, PartBuf::new(self.class));
        let mut parts = parts.iter().map(load).collect::<Result<Vec<_>, _>>()?;
        self.fill_in(&mut parts)?;
        Ok(parts)
    }

    /// The same for one part, in a buffer that the caller keeps.
    pub fn rebuild_one<'p>(&self, part: &'p Part, buf: PartBuf) -> Result<RebuiltPart<'p>, FlowError> {
        let mut part = self.load(part, buf)?;
        self.fill_in(std::slice::from_mut(&mut part))?;
        Ok(part)
    }

    fn load<'p>(&self, part: &'p Part, mut buf: PartBuf) -> Result<RebuiltPart<'p>, FlowError> {
        let found = self.source.load(part, &mut buf)?;
        let missing = found.bad(self.class.chunks());
        Ok(RebuiltPart { part, buf, found, missing })
    }

    /// Rebuilds the missing chunks of parts of one stripe, as far as there is parity.
    fn fill_in(&self, parts: &mut [RebuiltPart]) -> Result<(), FlowError> {
        let Some(parity) = &self.parity else { return Ok(()) };
        let Some((stripe, _)) = parts.first().and_then(|rebuilt| rebuilt.part.stripe) else { return Ok(()) };
        if parts.iter().all(RebuiltPart::is_whole) {
            return Ok(());
        }
        let stripe = Stripe { parity, chunks: self.class.chunks(), shards: self.shards(parity, stripe, parts)? };
        let mut factors = Factors::default();
        for row in stripe.rows_to_rebuild(parts) {
            if let Some(found) = stripe.gather(row, parts) {
                stripe.rebuild_row(row, &found, parts, &mut factors);
            }
        }
        Ok(())
    }

    /// Where the chunks of each position of a stripe come from.
    fn shards(&self, parity: &Parity, stripe: u32, parts: &[RebuiltPart]) -> Result<Vec<ShardSource>, FlowError> {
        let mut sources = Vec::with_capacity(parity.scheme.shards());
        for position in 0..parity.scheme.shards() as u16 {
            let in_memory = parts.iter().position(|rebuilt| rebuilt.position() == position);
            sources.push(match (in_memory, self.part_at(parity.scheme, stripe, position)) {
                (Some(at), _) => ShardSource::InMemory(at),
                (None, Some(part)) => ShardSource::OnDrives(self.source.chunks_of(part)?),
                (None, None) => ShardSource::Zeros,
            });
        }
        Ok(sources)
    }

    /// The part at a position of a stripe; `None` behind the last data part.
    fn part_at(&self, scheme: Scheme, stripe: u32, position: u16) -> Option<&'a Part> {
        let data_parts = self.head.data_parts().count() as u32;
        let k = u32::from(scheme.k);
        let index = if position < scheme.k {
            Some(stripe * k + u32::from(position)).filter(|index| *index < data_parts)?
        } else {
            data_parts + scheme.parity_number(stripe, position) - 1
        };
        self.head.parts.get(index as usize)
    }
}

/// Where the chunks of one position of a stripe come from.
enum ShardSource {
    /// Zeros: the last stripe may have less data than the others.
    Zeros,
    /// The chunks that are there of the part at this index, which is being rebuilt.
    InMemory(usize),
    /// The drives.
    OnDrives(Box<dyn ChunkSource>),
}

/// Enough chunks of a row to rebuild the others.
struct Row {
    /// Their positions in the stripe.
    positions: Vec<usize>,
    chunks: Vec<Vec<u8>>,
}

/// One stripe. A row takes one chunk of each of its parts, and is rebuilt on its own.
struct Stripe<'a> {
    parity: &'a Parity,
    /// Chunks of a part.
    chunks: usize,
    /// By position.
    shards: Vec<ShardSource>,
}

impl Stripe<'_> {
    fn rows_to_rebuild(&self, parts: &[RebuiltPart]) -> BTreeSet<usize> {
        let rows = |rebuilt: &RebuiltPart| {
            let position = rebuilt.position();
            let row = |chunk: &usize| self.parity.scheme.row_of(*chunk, position, self.chunks);
            rebuilt.missing.iter().map(row).collect::<Vec<_>>()
        };
        parts.iter().flat_map(rows).collect()
    }

    /// Reads as many chunks of a row as the scheme needs; `None` if there are fewer. Chunks in memory come
    /// first.
    fn gather(&self, row: usize, parts: &[RebuiltPart]) -> Option<Row> {
        let needed = usize::from(self.parity.scheme.k);
        let mut found = Row { positions: Vec::with_capacity(needed), chunks: Vec::with_capacity(needed) };
        let mut order: Vec<usize> = (0..self.shards.len()).collect();
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
            ShardSource::InMemory(at) => {
                let RebuiltPart { buf, missing, .. } = &parts[*at];
                missing.binary_search(&chunk).is_err().then(|| buf.plain(chunk).to_vec())
            }
            ShardSource::OnDrives(source) => {
                let mut sealed = vec![0; SEALED_CHUNK];
                let is_whole = source.read(chunk, &mut sealed);
                sealed.truncate(CHUNK);
                is_whole.then_some(sealed)
            }
        }
    }

    /// Rebuilds the chunks of a row that are missing in `parts`.
    fn rebuild_row(&self, row: usize, found: &Row, parts: &mut [RebuiltPart], factors: &mut Factors) {
        for rebuilt in parts {
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
struct Factors {
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

#[cfg(test)]
mod tests;
