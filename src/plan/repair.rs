//! Judges what can be recovered from the parts that are present, before anything is done. It reads no part: the caller
//! says which are present.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashSet};

use crate::base::json::{Value, json};
use crate::format::head::{Head, Part, PartKind};
use crate::format::volume_number::VolumeNumber;

/// What can be recovered.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) enum Verdict {
    /// All data parts are present.
    #[default]
    Complete,
    /// Data parts are missing, and the rest of their stripes gives them back.
    Repairable {
        /// Their numbers.
        rebuilt: Vec<u32>,
    },
    /// Data parts are missing, and what is present does not give them back.
    Short {
        /// Their numbers.
        lost: Vec<u32>,
        /// Missing volumes each of which alone would complete the bundle.
        any_one: Vec<VolumeNumber>,
        /// A lower bound on how many of the missing volumes it takes.
        at_least: u16,
    },
}

/// How much more may be lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Margin {
    /// Shards that the worst stripe can still spare.
    pub(crate) shards: u16,
    /// Further volumes, whichever they are, if nothing else is lost.
    pub(crate) volumes: u16,
}

impl Verdict {
    pub(crate) fn to_json(&self) -> Value {
        match self {
            Verdict::Complete => json!({"state": "complete"}),
            Verdict::Repairable { rebuilt } => json!({"state": "repairable", "parts": rebuilt}),
            Verdict::Short { lost, any_one, at_least } => {
                json!({"state": "short", "parts": lost, "any_one_of": any_one, "at_least": at_least})
            }
        }
    }
}

impl Margin {
    pub(crate) fn to_json(self) -> Value {
        json!({"drives": self.volumes, "shards": self.shards})
    }
}

/// Judges by `there`, which says of each part in the order of the head's table whether it is present.
pub(crate) fn judge(head: &Head, there: &[bool]) -> Verdict {
    let shares = shares(head, there);
    let lost = lost(head, there, &shares);
    let absent = absent(head, there).map(|(part, _)| part.number);
    match (absent.clone().next(), lost.is_empty()) {
        (None, _) => Verdict::Complete,
        (Some(_), true) => Verdict::Repairable { rebuilt: absent.collect() },
        (Some(_), false) => {
            let any_one = any_one(&shares, spare_of(head));
            let at_least = if any_one.is_empty() { least(&shares, spare_of(head)) } else { 1 };
            Verdict::Short { lost, any_one, at_least }
        }
    }
}

/// How much more may be lost; `None` without parity, or if data is lost already.
pub(crate) fn margin(head: &Head, there: &[bool]) -> Option<Margin> {
    let m = head.statement.scheme?.m.into();
    let mut worst = u32::MAX;
    let mut volumes = usize::MAX;
    for stripe in stripes(&shares(head, there)) {
        let mut spare = u32::checked_sub(m, missing(stripe))?;
        worst = worst.min(spare);
        // One stripe fails first, and it fails soonest with the volumes that hold most of it.
        let mut here: Vec<u32> = stripe.iter().map(|share| share.here).filter(|here| *here > 0).collect();
        here.sort_unstable_by_key(|here| Reverse(*here));
        let fit = here.iter().take_while(|here| u32::checked_sub(spare, **here).map(|left| spare = left).is_some());
        volumes = volumes.min(fit.count());
    }
    Some(Margin { shards: u16::try_from(worst).ok()?, volumes: u16::try_from(volumes).ok()? })
}

/// Volumes each of which would take data with it that can still be had now.
pub(crate) fn needed(head: &Head, there: &[bool]) -> Vec<VolumeNumber> {
    let m = spare_of(head);
    let shares = shares(head, there);
    let mut needed = BTreeSet::new();
    for stripe in stripes(&shares) {
        let missing = missing(stripe);
        // A stripe that cannot be rebuilt can only lose data parts that are present.
        let matter = stripe.iter().filter(|share| if missing > m { share.data } else { missing + share.here > m });
        needed.extend(matter.map(|share| share.volume));
    }
    needed.into_iter().collect()
}

/// How many parts are read to rebuild what is missing, and the volumes that have them: of each stripe that lacks data,
/// as many shards as it has data parts, from any of its volumes.
pub(crate) fn sources(head: &Head, there: &[bool]) -> (usize, Vec<VolumeNumber>) {
    let hurt: BTreeSet<u32> = absent(head, there).map(|(_, stripe)| stripe).collect();
    let parts = head.parts.iter().zip(there);
    let of_hurt = parts.filter(|(part, _)| part.shard.is_some_and(|shard| hurt.contains(&shard.stripe)));
    let here = of_hurt.clone().filter(|(_, there)| **there);
    let volumes: BTreeSet<VolumeNumber> = here.map(|(part, _)| part.volume).collect();
    (of_hurt.filter(|(part, _)| is_data(part)).count(), volumes.into_iter().collect())
}

/// What a volume has of a stripe: all answers come from shares, in one pass over the parts.
#[derive(Debug, Clone, Copy)]
struct Share {
    stripe: u32,
    volume: VolumeNumber,
    /// Shards that are present.
    here: u32,
    /// Shards that are missing.
    gone: u32,
    /// Whether a shard of data is present.
    data: bool,
}

/// Sorted by stripe and volume. Without parity, every part is a stripe of its own.
fn shares(head: &Head, there: &[bool]) -> Vec<Share> {
    let mut shares: Vec<Share> = head
        .parts
        .iter()
        .zip(there)
        .map(|(part, there)| {
            let stripe = stripe_of(part);
            let volume = part.volume;
            let data = *there && is_data(part);
            Share { stripe, volume, here: u32::from(*there), gone: u32::from(!there), data }
        })
        .collect();
    shares.sort_unstable_by_key(|share| (share.stripe, share.volume));
    shares.dedup_by(|next, kept| {
        let same = (next.stripe, next.volume) == (kept.stripe, kept.volume);
        if same {
            kept.here += next.here;
            kept.gone += next.gone;
            kept.data |= next.data;
        }
        same
    });
    shares
}

fn is_data(part: &Part) -> bool {
    matches!(part.kind, PartKind::Data { .. })
}

fn stripe_of(part: &Part) -> u32 {
    part.shard.map_or(part.number, |shard| shard.stripe)
}

fn stripes(shares: &[Share]) -> impl Iterator<Item = &[Share]> {
    shares.chunk_by(|one, other| one.stripe == other.stripe)
}

/// Shards of a stripe that are missing.
fn missing(stripe: &[Share]) -> u32 {
    stripe.iter().map(|share| share.gone).sum()
}

/// Shards that any stripe can spare.
fn spare_of(head: &Head) -> u32 {
    head.statement.scheme.map_or(0, |scheme| scheme.m.into())
}

/// Missing data parts, and their stripes.
fn absent<'a>(head: &'a Head, there: &'a [bool]) -> impl Iterator<Item = (&'a Part, u32)> + Clone {
    let parts = head.parts.iter().zip(there).filter(|(_, there)| !**there);
    parts.filter(|(part, _)| is_data(part)).map(|(part, _)| (part, stripe_of(part)))
}

/// Numbers of the data parts that cannot be rebuilt.
fn lost(head: &Head, there: &[bool], shares: &[Share]) -> Vec<u32> {
    let over = stripes(shares).filter(|stripe| missing(stripe) > spare_of(head));
    let over: HashSet<u32> = over.map(|stripe| stripe[0].stripe).collect();
    absent(head, there).filter(|(_, stripe)| over.contains(stripe)).map(|(part, _)| part.number).collect()
}

/// Volumes each of which alone would give every stripe enough shards.
fn any_one(shares: &[Share], m: u32) -> Vec<VolumeNumber> {
    let mut over = 0;
    let mut helped: BTreeMap<VolumeNumber, u32> = BTreeMap::new();
    for stripe in stripes(shares) {
        let missing = missing(stripe);
        if missing > m {
            over += 1;
            let enough = stripe.iter().filter(|share| missing - share.gone <= m);
            enough.for_each(|share| *helped.entry(share.volume).or_default() += 1);
        }
    }
    helped.into_iter().filter(|(_, stripes)| *stripes == over).map(|(volume, _)| volume).collect()
}

/// A lower bound on how many more volumes it takes, where no single one is enough.
fn least(shares: &[Share], m: u32) -> u16 {
    let mut worst = 2;
    let mut musts = BTreeSet::new();
    for stripe in stripes(shares) {
        let mut missing = missing(stripe);
        // Without these volumes the stripe stays lost, whatever others come.
        musts.extend(stripe.iter().filter(|share| share.gone > m).map(|share| share.volume));
        let mut gone: Vec<u32> = stripe.iter().map(|share| share.gone).collect();
        gone.sort_unstable();
        let mut volumes = 0;
        while missing > m {
            missing -= gone.pop().unwrap_or(missing);
            volumes += 1;
        }
        worst = worst.max(volumes);
    }
    worst.max(musts.len()).try_into().unwrap_or(u16::MAX)
}

#[cfg(test)]
mod tests;
