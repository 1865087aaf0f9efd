//! Loads parts from the drives, and rebuilds what is damaged or missing from the other parts of the stripe. Only chunks
//! whose tags are right are used. A rebuilt part that is whole is sealed again and compared with the head. If it is
//! another part, the sender sealed a shard that does not fit, and other shards are tried.
//!
//! Not guaranteed: that the rebuilt chunks of a part that is not whole are what was packed (see
//! [`RebuiltPart::readable`]), or that the right shards are found before the tries are used up.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::base::pool::lock;
use crate::flow::FlowError;
use crate::flow::bundle::part_source::PartSource;
use crate::flow::bundle::rebuilt_part::{PartProof, RebuiltPart};
use crate::flow::bundle::stripe_rows::{Factors, Parity, ShardSource, Stripe, Used};
use crate::format::head::{Head, Part};
use crate::format::part::{Class, PartBuf};
use crate::format::stripe::Scheme;
use crate::format::stripe::ShardPos;
use crate::plan::distrust::choices;
use crate::stage::erasure::Code;

/// Most choices of shards that one run tries after a choice that gave a wrong part.
const MOST_TRIES: usize = 256;

/// Puts damaged parts, which are given by stripe, into groups that are rebuilt together. A group reads the rest of its
/// stripe only once, but all its parts are in memory at the same time: about 64 MiB, or one larger part.
pub(crate) fn rebuild_groups<'d, 'p>(damaged: &'d BTreeMap<u32, Vec<&'p Part>>, class: Class) -> Vec<&'d [&'p Part]> {
    let most = (64 / usize::from(class.mib())).max(1);
    damaged.values().flat_map(|parts| parts.chunks(most)).collect()
}

/// Loads and rebuilds the parts of one bundle. All threads of a run share it.
pub(crate) struct PartRebuilder<'a> {
    head: &'a Head,
    source: &'a dyn PartSource,
    /// `None` if the bundle has no parity, so that nothing can be rebuilt.
    parity: Option<Parity>,
    class: Class,
    /// Positions that the last stripe with a wrong shard came out right without. Wrong shards are likely at the same
    /// positions in other stripes.
    last_left_out: Mutex<BTreeSet<usize>>,
    /// Numbers of the parity parts that were used when a wrong part came out.
    wrong_parity: Mutex<BTreeSet<u32>>,
    /// Choices of shards that may still be tried.
    tries_left: AtomicUsize,
}

impl<'a> PartRebuilder<'a> {
    /// Makes a rebuilder for the bundle with that head.
    pub(crate) fn new(head: &'a Head, source: &'a dyn PartSource) -> Self {
        let parity = head.statement.scheme.map(|scheme| {
            let code = Code::new(scheme.k.into(), scheme.m.into());
            Parity { scheme, code }
        });
        Self {
            head,
            source,
            parity,
            class: head.statement.class,
            last_left_out: Mutex::default(),
            wrong_parity: Mutex::default(),
            tries_left: AtomicUsize::new(MOST_TRIES),
        }
    }

    /// Numbers of the parity parts that were used when a wrong part came out: they, or other parts of their stripes, do
    /// not fit.
    pub(crate) fn wrong_parity(&self) -> BTreeSet<u32> {
        lock(&self.wrong_parity).clone()
    }

    /// Loads parts of one stripe and rebuilds what is missing in them. The caller may have failed to load them before;
    /// some drives need a second try.
    pub(crate) fn rebuild<'p>(&self, parts: &[&'p Part]) -> Result<Vec<RebuiltPart<'p>>, FlowError> {
        let loaded = parts.iter().map(|part| self.load(part, PartBuf::new(self.class)));
        let mut parts = loaded.collect::<Result<Vec<_>, _>>()?;
        self.fill_in(&mut parts)?;
        Ok(parts)
    }

    /// As [`Self::rebuild`] for one part, in the caller's buffer.
    pub(crate) fn rebuild_one<'p>(&self, part: &'p Part, buf: PartBuf) -> Result<RebuiltPart<'p>, FlowError> {
        let mut part = self.load(part, buf)?;
        self.fill_in(std::slice::from_mut(&mut part))?;
        Ok(part)
    }

    /// Loads a part. Its missing chunks are all that the drives do not have.
    fn load<'p>(&self, part: &'p Part, mut buf: PartBuf) -> Result<RebuiltPart<'p>, FlowError> {
        let found = self.source.load(part, &mut buf)?;
        let lost = found.bad(self.class.chunks());
        let state = if lost.is_empty() { PartProof::Right } else { PartProof::Short };
        Ok(RebuiltPart { part, buf, found, missing: lost.clone(), lost, state })
    }

    /// Rebuilds the missing chunks of parts of one stripe, as far as its parity allows.
    fn fill_in(&self, parts: &mut [RebuiltPart]) -> Result<(), FlowError> {
        let Some(parity) = &self.parity else { return Ok(()) };
        let Some(ShardPos { stripe: number, .. }) = parts.first().and_then(|rebuilt| rebuilt.part.shard) else {
            return Ok(());
        };
        if parts.iter().all(RebuiltPart::is_whole) {
            return Ok(());
        }
        let shards = self.shards(parity, number, parts)?;
        let stripe = Stripe { parity, number, chunks: self.class.chunks(), shards };
        // One sender's faults repeat, so what was wrong in another stripe is left out first.
        let likely_wrong = lock(&self.last_left_out).clone();
        if !likely_wrong.is_empty() {
            self.attempt(&stripe, parts, &likely_wrong, PartProof::Short)?;
            if parts.iter().all(|rebuilt| rebuilt.state == PartProof::Right) {
                return Ok(());
            }
        }
        let used = self.attempt(&stripe, parts, &BTreeSet::new(), PartProof::Short)?;
        self.try_others(&stripe, parts, used)
    }

    /// If a part came out wrong, some shard that was `used` does not fit. Leaves out other shards in turn until all
    /// parts come out right, or until the choices or the tries are used up.
    fn try_others(&self, stripe: &Stripe, parts: &mut [RebuiltPart], used: Used) -> Result<(), FlowError> {
        if !is_any_wrong(parts) {
            return Ok(());
        }
        let (data, parity) = stripe.positions_on_drives();
        let mut blamed = used.positions;
        for left_out in choices(&data, &parity, used.parity_of_a_row) {
            if !self.may_try() {
                break;
            }
            let used = self.attempt(stripe, parts, &left_out, PartProof::Wrong)?;
            if !is_any_wrong(parts) {
                // What gave right parts is not to blame.
                blamed.retain(|position| !used.positions.contains(position));
                self.note_wrong(stripe, &blamed);
                *lock(&self.last_left_out) = blamed;
                return Ok(());
            }
            blamed.extend(used.positions);
        }
        self.note_wrong(stripe, &blamed);
        Ok(())
    }

    /// Takes one of the tries; `false` if none is left.
    fn may_try(&self) -> bool {
        self.tries_left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok()
    }

    /// Rebuilds the parts in the state `from` and those that came out wrong, without the shards at some positions.
    /// Parts that cannot be rebuilt get the state `from` again. Returns the shards that were used.
    fn attempt(
        &self,
        stripe: &Stripe,
        parts: &mut [RebuiltPart],
        left_out: &BTreeSet<usize>,
        from: PartProof,
    ) -> Result<Used, FlowError> {
        for rebuilt in parts.iter_mut().filter(|rebuilt| [PartProof::Wrong, from].contains(&rebuilt.state)) {
            rebuilt.reopen();
        }
        let mut factors = Factors::default();
        let mut used = Used::default();
        for row in stripe.rows_to_rebuild(parts) {
            if let Some(found) = stripe.gather(row, parts, left_out) {
                used.add(&found, stripe.parity.scheme);
                stripe.rebuild_row(row, &found, parts, &mut factors);
            }
        }
        for rebuilt in parts.iter_mut().filter(|rebuilt| rebuilt.state == PartProof::Open) {
            rebuilt.state = self.judge(rebuilt)?.unwrap_or(from);
            if rebuilt.state == PartProof::Wrong {
                rebuilt.missing = rebuilt.lost.clone();
            }
        }
        Ok(used)
    }

    /// Whether a part came out right or wrong; `None` if it is not whole, so that its digest does not tell.
    fn judge(&self, rebuilt: &RebuiltPart) -> Result<Option<PartProof>, FlowError> {
        if !rebuilt.is_whole() {
            return Ok(None);
        }
        let is_right = self.source.is_as_packed(rebuilt.part, &rebuilt.buf)?;
        Ok(Some(if is_right { PartProof::Right } else { PartProof::Wrong }))
    }

    /// Notes the parity parts at these positions of a stripe as wrong. Positions of data are left out.
    fn note_wrong(&self, stripe: &Stripe, positions: &BTreeSet<usize>) {
        let scheme = stripe.parity.scheme;
        let parity = positions.iter().filter(|position| **position >= usize::from(scheme.k));
        let numbers = parity.map(|position| scheme.parity_number(stripe.number, *position as u16));
        lock(&self.wrong_parity).extend(numbers);
    }

    /// Where the chunks of a stripe come from, by position.
    fn shards(&self, parity: &Parity, stripe: u32, parts: &[RebuiltPart]) -> Result<Vec<ShardSource>, FlowError> {
        // A part that is being rebuilt is in memory already, as far as the drives have it.
        let mut sources = Vec::with_capacity(parity.scheme.shards());
        for position in 0..parity.scheme.shards() as u16 {
            let in_memory = parts.iter().position(|rebuilt| rebuilt.position() == position);
            sources.push(if let Some(index) = in_memory {
                ShardSource::InMemory(index)
            } else if let Some(part) = self.part_at(parity.scheme, stripe, position) {
                ShardSource::OnDrives(self.source.chunks_of(part)?)
            } else {
                ShardSource::Zeros
            });
        }
        Ok(sources)
    }

    /// The part at a position of a stripe; `None` for a data position behind the last data part.
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

fn is_any_wrong(parts: &[RebuiltPart]) -> bool {
    parts.iter().any(RebuiltPart::is_wrong)
}

#[cfg(test)]
mod tests;
