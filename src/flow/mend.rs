//! Lost chunks from the others of their row. Only chunks whose tags fit are used; what comes out
//! is held against the digests of the files, or of the part, by whoever asked.

use std::collections::{BTreeMap, BTreeSet};

use crate::base::gf::mul_add;
use crate::flow::FlowError;
use crate::flow::find::{Finder, Shard};
use crate::format::head::{Head, Part};
use crate::format::part::{CHUNK, Class, HEADER, PartBuf, SEALED_CHUNK};
use crate::format::stripe::Scheme;
use crate::stage::erasure::Code;

/// A part that is to be rebuilt.
pub struct Wanted<'a> {
    /// Which.
    pub part: &'a Part,
    /// The chunks that it lacks.
    pub bad: Vec<usize>,
    /// The others.
    pub buf: PartBuf,
}

/// Hurt parts by their stripes, in groups that are rebuilt at once: together they need one reading
/// of the others, but all are in memory.
pub fn groups<'h, 'p>(hurt: &'h BTreeMap<u32, Vec<&'p Part>>, class: Class) -> Vec<(u32, &'h [&'p Part])> {
    let some = (64 / usize::from(class.mib())).max(1);
    hurt.iter().flat_map(|(stripe, parts)| parts.chunks(some).map(|parts| (*stripe, parts))).collect()
}

impl Wanted<'_> {
    fn chunk_mut(&mut self, index: usize) -> &mut [u8] {
        &mut self.buf.file_mut()[HEADER + index * SEALED_CHUNK..][..CHUNK]
    }
}

/// Rebuilds parts of one bundle.
pub struct Mender<'a> {
    head: &'a Head,
    finder: &'a Finder<'a>,
    scheme: Scheme,
    code: Code,
    chunks: usize,
    /// Data parts of the bundle.
    data: u32,
}

/// Where a shard's chunks come from.
enum Source {
    /// A short stripe has no such data: zeros.
    Nothing,
    /// The good chunks of a part that is wanted.
    Wanted(usize),
    /// Drives.
    Drives(Box<Shard>),
}

/// One row: the shards that are there, with their bytes, and those to be made.
struct Row {
    have: Vec<usize>,
    bytes: Vec<Vec<u8>>,
}

impl<'a> Mender<'a> {
    /// `None` where there is no parity.
    pub fn new(head: &'a Head, finder: &'a Finder<'a>) -> Option<Self> {
        let scheme = head.statement.scheme?;
        let code = Code::new(scheme.k.into(), scheme.m.into());
        let (chunks, data) = (head.statement.class.chunks(), head.data_parts().count() as u32);
        Some(Self { head, finder, scheme, code, chunks, data })
    }

    /// Rebuilds what the rows allow of parts of one stripe; what stays in `bad` is lost.
    pub fn mend(&self, stripe: u32, wanted: &mut [Wanted]) -> Result<(), FlowError> {
        let sources = self.sources(stripe, wanted)?;
        let rows: BTreeSet<usize> = wanted.iter().flat_map(|wanted| self.rows_of(wanted)).collect();
        let mut factors = Factors::default();
        for row in rows {
            let Some(found) = self.gather(row, &sources, wanted) else { continue };
            for wanted in wanted.iter_mut() {
                let position = position(wanted.part);
                let chunk = self.scheme.chunk_of(row, position, self.chunks);
                if let Ok(at) = wanted.bad.binary_search(&chunk) {
                    let factors = factors.of(&self.code, &found.have, position.into());
                    let out = wanted.chunk_mut(chunk);
                    out.fill(0);
                    factors.iter().zip(&found.bytes).for_each(|(factor, bytes)| mul_add(*factor, bytes, out));
                    wanted.bad.remove(at);
                }
            }
        }
        Ok(())
    }

    fn rows_of(&self, wanted: &Wanted) -> Vec<usize> {
        let row = |chunk: &usize| self.scheme.row_of(*chunk, position(wanted.part), self.chunks);
        wanted.bad.iter().map(row).collect()
    }

    /// For each position of the stripe where its chunks come from.
    fn sources(&self, stripe: u32, wanted: &[Wanted]) -> Result<Vec<Source>, FlowError> {
        (0..self.scheme.shards() as u16)
            .map(|at| {
                if let Some(wanted) = wanted.iter().position(|wanted| position(wanted.part) == at) {
                    return Ok(Source::Wanted(wanted));
                }
                match self.part(stripe, at) {
                    Some(part) => Ok(Source::Drives(Box::new(self.finder.shard(part)?))),
                    None => Ok(Source::Nothing),
                }
            })
            .collect()
    }

    /// The part at a position of a stripe.
    fn part(&self, stripe: u32, position: u16) -> Option<&'a Part> {
        let k = self.scheme.k;
        let index = match position < k {
            true => Some(stripe * u32::from(k) + u32::from(position)).filter(|index| *index < self.data)?,
            false => self.data + self.scheme.parity_number(stripe, position) - 1,
        };
        self.head.parts.get(index as usize)
    }

    /// k good chunks of a row; `None` if there are fewer.
    fn gather(&self, row: usize, sources: &[Source], wanted: &[Wanted]) -> Option<Row> {
        let k = usize::from(self.scheme.k);
        let mut found = Row { have: Vec::with_capacity(k), bytes: Vec::with_capacity(k) };
        // What costs no reading first.
        let cost = |at: &usize| u8::from(matches!(sources[*at], Source::Drives(_)));
        let mut order: Vec<usize> = (0..sources.len()).collect();
        order.sort_by_key(cost);
        for at in order {
            let chunk = self.scheme.chunk_of(row, at as u16, self.chunks);
            let bytes = match &sources[at] {
                Source::Nothing => Some(vec![0; CHUNK]),
                Source::Wanted(which) => {
                    let wanted = &wanted[*which];
                    wanted.bad.binary_search(&chunk).is_err().then(|| wanted.buf.plain(chunk).to_vec())
                }
                Source::Drives(shard) => {
                    let mut sealed = vec![0; SEALED_CHUNK];
                    shard.chunk(chunk, &mut sealed).then(|| {
                        sealed.truncate(CHUNK);
                        sealed
                    })
                }
            };
            if let Some(bytes) = bytes {
                found.have.push(at);
                found.bytes.push(bytes);
            }
            if found.have.len() == k {
                return Some(found);
            }
        }
        None
    }
}

/// A part's position in its stripe.
fn position(part: &Part) -> u16 {
    part.stripe.map_or(0, |(_, position)| position)
}

/// How a shard is made of others: the last answers, for rows mostly miss the same shards.
#[derive(Default)]
struct Factors {
    have: Vec<usize>,
    known: Vec<(usize, Vec<u8>)>,
}

impl Factors {
    fn of(&mut self, code: &Code, have: &[usize], wanted: usize) -> &[u8] {
        if self.have != have {
            (self.have, self.known) = (have.to_vec(), Vec::new());
        }
        let at = match self.known.iter().position(|(shard, _)| *shard == wanted) {
            Some(at) => at,
            None => {
                let mut made = code.recover(have, &[wanted]);
                self.known.push((wanted, made.pop().expect("one was asked for")));
                self.known.len() - 1
            }
        };
        &self.known[at].1
    }
}
