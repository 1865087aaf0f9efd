//! Loads parts from the drives, and rebuilds what is damaged or missing from the other parts of the stripe.
//! Only chunks whose tags are right are used. A part that comes out whole is sealed again and compared with
//! the head; if it is another part, other shards are tried. Not guaranteed: that the rebuilt chunks of a part that
//! is not whole are what was packed; see [`RebuiltPart::readable`].

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
use crate::plan::distrust::choices;
use crate::stage::erasure::Code;

/// Choices of shards that are tried in one run after one that gave a wrong part.
const MOST_TRIES: usize = 256;

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
    /// Positions of the last stripe that came out right without them: other stripes may lie the same way.
    without: Mutex<BTreeSet<usize>>,
    /// Parity parts, by number, that were used where wrong parts came of it.
    wrong_parity: Mutex<BTreeSet<u32>>,
    tries: AtomicUsize,
}

impl<'a> PartRebuilder<'a> {
    /// A rebuilder for the bundle of that head.
    pub fn new(head: &'a Head, source: &'a dyn PartSource) -> Self {
        let code = |scheme: Scheme| Code::new(scheme.k.into(), scheme.m.into());
        let parity = head.statement.scheme.map(|scheme| Parity { scheme, code: code(scheme) });
        Self {
            head,
            source,
            parity,
            class: head.statement.class,
            without: Mutex::default(),
            wrong_parity: Mutex::default(),
            tries: AtomicUsize::new(MOST_TRIES),
        }
    }

    /// Numbers of the parity parts that wrong parts came of: they, or other parts of their stripes, do not fit.
    pub fn wrong_parity(&self) -> BTreeSet<u32> {
        lock(&self.wrong_parity).clone()
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
        let lost = found.bad(self.class.chunks());
        let state = if lost.is_empty() { PartProof::Right } else { PartProof::Short };
        Ok(RebuiltPart { part, buf, found, missing: lost.clone(), lost, state })
    }

    /// Rebuilds the missing chunks of parts of one stripe, as far as there is parity.
    fn fill_in(&self, parts: &mut [RebuiltPart]) -> Result<(), FlowError> {
        let Some(parity) = &self.parity else { return Ok(()) };
        let Some((number, _)) = parts.first().and_then(|rebuilt| rebuilt.part.stripe) else { return Ok(()) };
        if parts.iter().all(RebuiltPart::is_whole) {
            return Ok(());
        }
        let shards = self.shards(parity, number, parts)?;
        let stripe = Stripe { parity, number, chunks: self.class.chunks(), shards };
        let known = lock(&self.without).clone();
        if !known.is_empty() {
            self.attempt(&stripe, parts, &known, PartProof::Short)?;
            if parts.iter().all(|rebuilt| rebuilt.state == PartProof::Right) {
                return Ok(());
            }
        }
        let used = self.attempt(&stripe, parts, &BTreeSet::new(), PartProof::Short)?;
        self.try_others(&stripe, parts, used)
    }

    /// Some shard that was used is wrong, if any part is: does without some, as often as it may.
    fn try_others(&self, stripe: &Stripe, parts: &mut [RebuiltPart], used: Used) -> Result<(), FlowError> {
        let is_wrong = |parts: &[RebuiltPart]| parts.iter().any(RebuiltPart::is_wrong);
        if !is_wrong(parts) {
            return Ok(());
        }
        let (data, parity) = stripe.positions_on_drives();
        let mut blamed = used.positions;
        for without in choices(&data, &parity, used.parity_of_a_row) {
            let may_try = self.tries.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1));
            if may_try.is_err() {
                break;
            }
            let used = self.attempt(stripe, parts, &without, PartProof::Wrong)?;
            if !is_wrong(parts) {
                blamed.retain(|position| !used.positions.contains(position));
                self.note_wrong(stripe, &blamed);
                *lock(&self.without) = blamed;
                return Ok(());
            }
            blamed.extend(used.positions);
        }
        self.note_wrong(stripe, &blamed);
        Ok(())
    }

    /// Rebuilds the parts in that state, and those that came out wrong, without some positions.
    fn attempt(
        &self,
        stripe: &Stripe,
        parts: &mut [RebuiltPart],
        without: &BTreeSet<usize>,
        from: PartProof,
    ) -> Result<Used, FlowError> {
        let takes_part = |state: PartProof| state == PartProof::Wrong || state == from;
        parts.iter_mut().filter(|rebuilt| takes_part(rebuilt.state)).for_each(RebuiltPart::reopen);
        let (mut factors, mut used) = (Factors::default(), Used::default());
        for row in stripe.rows_to_rebuild(parts) {
            if let Some(found) = stripe.gather(row, parts, without) {
                used.add(&found, stripe.parity.scheme);
                stripe.rebuild_row(row, &found, parts, &mut factors);
            }
        }
        for rebuilt in parts.iter_mut().filter(|rebuilt| rebuilt.state == PartProof::Open) {
            let is_whole = rebuilt.is_whole();
            let is_right = is_whole && self.source.is_as_packed(rebuilt.part, &rebuilt.buf)?;
            rebuilt.state = match (is_right, is_whole) {
                (true, _) => PartProof::Right,
                (false, true) => PartProof::Wrong,
                (false, false) => from,
            };
            if rebuilt.state == PartProof::Wrong {
                rebuilt.missing = rebuilt.lost.clone();
            }
        }
        Ok(used)
    }

    /// Parity at these positions of a stripe gave wrong parts.
    fn note_wrong(&self, stripe: &Stripe, positions: &BTreeSet<usize>) {
        let scheme = stripe.parity.scheme;
        let parity = positions.iter().filter(|position| **position >= usize::from(scheme.k));
        let numbers = parity.map(|position| scheme.parity_number(stripe.number, *position as u16));
        lock(&self.wrong_parity).extend(numbers);
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

#[cfg(test)]
mod tests;
