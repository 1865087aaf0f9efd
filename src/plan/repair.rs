//! Judges what can be recovered from the parts that are present, before anything is done. It reads no part: the caller
//! says which are present.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashSet};

use crate::base::json::{Value, json};
use crate::format::head::{Head, Part, PartKind};

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
        any_one: Vec<u16>,
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
        let fits = |here: &&u32| u32::checked_sub(spare, **here).map(|left| spare = left).is_some();
        volumes = volumes.min(here.iter().take_while(fits).count());
    }
    Some(Margin { shards: u16::try_from(worst).ok()?, volumes: u16::try_from(volumes).ok()? })
}

/// Volumes each of which would take data with it that can still be had now.
pub(crate) fn needed(head: &Head, there: &[bool]) -> Vec<u16> {
    let m = spare_of(head);
    let shares = shares(head, there);
    let mut needed = BTreeSet::new();
    for stripe in stripes(&shares) {
        let missing = missing(stripe);
        // A stripe that cannot be rebuilt can only lose data parts that are present.
        let matters = |share: &&Share| if missing > m { share.data } else { missing + share.here > m };
        needed.extend(stripe.iter().filter(matters).map(|share| share.volume));
    }
    needed.into_iter().collect()
}

/// How many parts are read to rebuild what is missing, and the volumes that have them: of each stripe that lacks data,
/// as many shards as it has data parts, from any of its volumes.
pub(crate) fn sources(head: &Head, there: &[bool]) -> (usize, Vec<u16>) {
    let hurt: BTreeSet<u32> = absent(head, there).map(|(_, stripe)| stripe).collect();
    let parts = head.parts.iter().zip(there);
    let of_hurt = parts.filter(|(part, _)| part.stripe.is_some_and(|(stripe, _)| hurt.contains(&stripe)));
    let volumes: BTreeSet<u16> = of_hurt.clone().filter(|(_, there)| **there).map(|(part, _)| part.volume).collect();
    (of_hurt.filter(|(part, _)| is_data(part)).count(), volumes.into_iter().collect())
}

/// What a volume has of a stripe: all answers come from shares, in one pass over the parts.
#[derive(Debug, Clone, Copy)]
struct Share {
    stripe: u32,
    volume: u16,
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
    part.stripe.map_or(part.number, |(stripe, _)| stripe)
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
fn any_one(shares: &[Share], m: u32) -> Vec<u16> {
    let mut over = 0;
    let mut helped: BTreeMap<u16, u32> = BTreeMap::new();
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
mod tests {
    use super::*;
    use crate::format::head::tests::striped;

    /// Which parts are present when these volumes are missing.
    fn without(head: &Head, volumes: &[u16]) -> Vec<bool> {
        head.parts.iter().map(|part| !volumes.contains(&part.volume)).collect()
    }

    #[test]
    fn what_is_missing_is_rebuilt_named_or_asked_for() {
        // Two stripes of 3 + 2 on five volumes, each shard of a stripe on its own volume.
        let head = striped(6, 3, 2);
        assert_eq!(judge(&head, &without(&head, &[])), Verdict::Complete);
        assert_eq!(judge(&head, &without(&head, &[1, 5])), Verdict::Repairable { rebuilt: vec![1, 4] });
        assert_eq!(judge(&head, &without(&head, &[4, 5])), Verdict::Complete);
        assert_eq!(sources(&head, &without(&head, &[1, 5])), (6, vec![2, 3, 4]), "three of each stripe");
        assert_eq!(sources(&head, &without(&head, &[4, 5])), (0, vec![]), "parity alone is not missed");
        let short = Verdict::Short { lost: vec![1, 2, 4, 5], any_one: vec![1, 2, 5], at_least: 1 };
        assert_eq!(judge(&head, &without(&head, &[1, 2, 5])), short);
        let shorter = Verdict::Short { lost: vec![1, 2, 3, 4, 5, 6], any_one: vec![], at_least: 2 };
        assert_eq!(judge(&head, &without(&head, &[1, 2, 3, 4])), shorter);
    }

    #[test]
    fn the_margin_shrinks_with_what_is_lost() {
        let head = striped(6, 3, 2);
        let margin = |volumes: &[u16]| margin(&head, &without(&head, volumes));
        assert_eq!(margin(&[]), Some(Margin { shards: 2, volumes: 2 }));
        assert_eq!(margin(&[2]), Some(Margin { shards: 1, volumes: 1 }));
        assert_eq!(margin(&[2, 4]), Some(Margin { shards: 0, volumes: 0 }));
        assert_eq!(margin(&[2, 4, 5]), None);
        let needed = |volumes: &[u16]| needed(&head, &without(&head, volumes));
        assert_eq!((needed(&[2]), needed(&[2, 4])), (vec![], vec![1, 3, 5]));
    }

    /// The same answers by brute force: volumes are taken away or added, and every stripe is counted again.
    mod plainly {
        use super::*;

        pub(crate) fn lost(head: &Head, there: &[bool]) -> Vec<u32> {
            let m = head.statement.scheme.map_or(0, |scheme| usize::from(scheme.m));
            let of = |stripe| head.parts.iter().zip(there).filter(move |(part, _)| stripe_of(part) == stripe);
            let gone = head.parts.iter().zip(there).filter(|(part, there)| {
                let missing = of(stripe_of(part)).filter(|(_, there)| !**there).count();
                !**there && part.kind != PartKind::Parity && missing > m
            });
            gone.map(|(part, _)| part.number).collect()
        }

        /// The parts that are present once all parts of these volumes are, or are not.
        fn with(head: &Head, there: &[bool], volumes: u32, become_there: bool) -> Vec<bool> {
            let changed = |part: &Part| volumes >> part.volume & 1 == 1;
            let each = head.parts.iter().zip(there);
            each.map(|(part, there)| if changed(part) { become_there } else { *there }).collect()
        }

        pub(crate) fn any_one(head: &Head, there: &[bool]) -> Vec<u16> {
            let completes = |volume: &u16| lost(head, &with(head, there, 1 << volume, true)).is_empty();
            (1..=head.statement.n).filter(completes).collect()
        }

        pub(crate) fn needed(head: &Head, there: &[bool]) -> Vec<u16> {
            let now = lost(head, there).len();
            let matters = |volume: &u16| lost(head, &with(head, there, 1 << volume, false)).len() > now;
            (1..=head.statement.n).filter(matters).collect()
        }

        /// The fewest volumes that bring everything back.
        pub(crate) fn fewest(head: &Head, there: &[bool]) -> u16 {
            let sets = (0u32..1 << head.statement.n).map(|set| set << 1);
            let enough = sets.filter(|set| lost(head, &with(head, there, *set, true)).is_empty());
            enough.map(u32::count_ones).min().unwrap() as u16
        }

        /// How many of the volumes that have parts may go, whichever they are.
        pub(crate) fn margin(head: &Head, there: &[bool]) -> u16 {
            let here = |volume: u16| head.parts.iter().zip(there).any(|(part, there)| *there && part.volume == volume);
            let all: u32 = (1..=head.statement.n).filter(|volume| here(*volume)).map(|volume| 1 << volume).sum();
            let sets = (0u32..1 << head.statement.n).map(|set| set << 1).filter(|set| set & !all == 0);
            let bad = sets.filter(|set| !lost(head, &with(head, there, *set, false)).is_empty());
            bad.map(u32::count_ones).min().unwrap() as u16 - 1
        }
    }

    /// Pseudo-random numbers, the same in every run.
    fn dice(mut state: u64) -> impl FnMut(u64) -> u64 {
        move |below| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) % below
        }
    }

    #[test]
    fn the_answers_are_those_of_the_straightforward_way() {
        let (mut roll, mut shorts, mut spared) = (dice(1), 0, 0);
        for _ in 0..4_000 {
            let (data, k, m, n) = (roll(12) + 1, roll(5) + 1, roll(4) + 1, roll(6) + 1);
            let mut head = striped(data as u32, k as u16, m as u16);
            head.statement.n = n as u16;
            if roll(4) == 0 {
                head.statement.scheme = None;
                head.parts.retain(|part| part.kind != PartKind::Parity);
                head.parts.iter_mut().for_each(|part| part.stripe = None);
            }
            head.parts.iter_mut().for_each(|part| part.volume = roll(n) as u16 + 1);
            let (gone, bad) = (roll(1 << n) & roll(1 << n), roll(8) + 2);
            let there: Vec<bool> =
                head.parts.iter().map(|part| gone >> (part.volume - 1) & 1 == 0 && roll(bad * 3) > 0).collect();
            let all = plainly::lost(&head, &there);
            match judge(&head, &there) {
                Verdict::Short { lost, any_one, at_least } => {
                    shorts += 1;
                    assert_eq!((&lost, &any_one), (&all, &plainly::any_one(&head, &there)), "{head:?} {there:?}");
                    let fewest = plainly::fewest(&head, &there);
                    assert!(at_least <= fewest && (at_least > 1 || fewest == 1), "{at_least} of {fewest}");
                }
                other => assert!(all.is_empty(), "{other:?}"),
            }
            assert_eq!(needed(&head, &there), plainly::needed(&head, &there));
            let left = margin(&head, &there);
            assert_eq!(left.is_some(), all.is_empty() && head.statement.scheme.is_some());
            if let Some(left) = left {
                spared += u32::from(left.volumes > 1);
                assert_eq!(left.volumes, plainly::margin(&head, &there), "{head:?} {there:?}");
            }
        }
        assert!(shorts > 500 && spared > 50, "{shorts} {spared}");
    }

    #[test]
    fn the_margin_is_that_of_the_worst_volumes() {
        // Taking the volume that hurts most, one by one, takes 1 first; losing 2 and 3 is worse.
        let mut head = striped(4, 2, 3);
        let volumes = [[1, 1, 4, 5, 6], [2, 2, 3, 3, 4]];
        for part in &mut head.parts {
            let (stripe, position) = part.stripe.unwrap();
            part.volume = volumes[stripe as usize][usize::from(position)];
        }
        let there = vec![true; head.parts.len()];
        assert_eq!(margin(&head, &there), Some(Margin { shards: 3, volumes: 1 }));
    }

    #[test]
    fn the_largest_bundle_is_judged_at_once() {
        let mut head = striped(80_000, 40, 10);
        assert_eq!((head.parts.len(), head.statement.n), (100_000, 50));
        head.statement.n = 1_000;
        head.parts.iter_mut().for_each(|part| {
            let (stripe, position) = part.stripe.unwrap();
            part.volume = ((stripe * 50 + u32::from(position)) % 1_000 + 1) as u16;
        });
        let started = processor_seconds();
        let here = without(&head, &[3, 7, 11]);
        assert_eq!(margin(&head, &here), Some(Margin { shards: 7, volumes: 7 }));
        assert!(needed(&head, &here).is_empty());
        assert!(matches!(judge(&head, &here), Verdict::Repairable { rebuilt } if rebuilt.len() == 300));
        let few = without(&head, &(1..=500).collect::<Vec<_>>());
        assert!(matches!(judge(&head, &few), Verdict::Short { lost, at_least: 40, .. } if lost.len() == 40_000));
        let just_enough = without(&head, &(1..=200).map(|volume| volume * 5).collect::<Vec<_>>());
        assert_eq!(margin(&head, &just_enough), Some(Margin { shards: 0, volumes: 0 }));
        assert_eq!(needed(&head, &just_enough).len(), 800);
        // More than a second would be too slow; the bound leaves room for slower machines.
        let took = processor_seconds() - started;
        assert!(took < 20.0, "{took}");
        println!("{took}");
    }

    /// Processor time of this thread: it does not depend on how busy the machine is.
    fn processor_seconds() -> f64 {
        let stat = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
        stat.split(' ').next().and_then(|nanos| nanos.parse::<f64>().ok()).unwrap_or(0.0) / 1e9
    }
}
