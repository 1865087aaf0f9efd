//! What can be had from the parts that are there: the verdict before anything is done.

use std::collections::{BTreeMap, BTreeSet};

use crate::format::head::{Head, PartKind};

/// What can be had.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Verdict {
    /// All data parts are there.
    #[default]
    Complete,
    /// Data parts are missing, and the others of their stripes give them back.
    Repairable {
        /// Their numbers.
        rebuilt: Vec<u32>,
    },
    /// Data parts are lost with what is there.
    Short {
        /// Their numbers.
        lost: Vec<u32>,
        /// Missing volumes any one of which would complete it.
        any_one: Vec<u16>,
        /// How many of the missing volumes it takes at least.
        at_least: u16,
    },
}

/// How much more may go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Margin {
    /// Shards that the stripe that is worst off can still spare.
    pub shards: u16,
    /// Further volumes, whichever, that may be lost with nothing else being wrong.
    pub volumes: u16,
}

/// Judges by which parts are there, in the order of the head's table.
pub fn judge(head: &Head, there: &[bool]) -> Verdict {
    let missing = |there: &[bool]| lost(head, there);
    let lost = missing(there);
    let gone = |at: &usize| !there[*at] && matches!(head.parts[*at].kind, PartKind::Data { .. });
    let absent: Vec<u32> = (0..head.parts.len()).filter(gone).map(|at| head.parts[at].number).collect();
    match (absent.is_empty(), lost.is_empty()) {
        (true, _) => Verdict::Complete,
        (false, true) => Verdict::Repairable { rebuilt: absent },
        (false, false) => {
            let volumes: BTreeSet<u16> = volumes_of(head, there, false);
            let with = |volume: &u16| -> Vec<bool> {
                head.parts.iter().zip(there).map(|(part, there)| *there || part.volume == *volume).collect()
            };
            let any_one: Vec<u16> = volumes.into_iter().filter(|volume| missing(&with(volume)).is_empty()).collect();
            let at_least = if any_one.is_empty() { least(head, there) } else { 1 };
            Verdict::Short { lost, any_one, at_least }
        }
    }
}

/// What is left of the margin; `None` without parity, or when data is lost already.
pub fn margin(head: &Head, there: &[bool]) -> Option<Margin> {
    let scheme = head.statement.scheme?;
    let shards = stripes(head, there).values().map(|stripe| stripe.spare(scheme.m)).min()?;
    let shards = u16::try_from(shards).ok()?;
    // The worst volume to lose next takes the most shards of one stripe; c at most, and counted.
    let mut left = there.to_vec();
    let mut volumes = 0;
    loop {
        let next = volumes_of(head, &left, true).into_iter().map(|volume| {
            let without: Vec<bool> =
                head.parts.iter().zip(&left).map(|(part, there)| *there && part.volume != volume).collect();
            let worst = stripes(head, &without).values().map(|stripe| stripe.spare(scheme.m)).min().unwrap_or(0);
            (worst, without)
        });
        match next.min_by_key(|(worst, _)| *worst) {
            Some((worst, without)) if worst >= 0 => (left, volumes) = (without, volumes + 1),
            _ => return Some(Margin { shards, volumes }),
        }
    }
}

/// Volumes without any one of which data would be lost that now is not.
pub fn needed(head: &Head, there: &[bool]) -> Vec<u16> {
    let now = lost(head, there).len();
    let matters = |volume: &u16| {
        let left: Vec<bool> =
            head.parts.iter().zip(there).map(|(part, there)| *there && part.volume != *volume).collect();
        lost(head, &left).len() > now
    };
    volumes_of(head, there, true).into_iter().filter(matters).collect()
}

/// What is there of a stripe.
#[derive(Debug, Default)]
struct Stripe {
    /// Shards that are not there.
    missing: i32,
}

impl Stripe {
    fn spare(&self, m: u16) -> i32 {
        i32::from(m) - self.missing
    }
}

fn stripes(head: &Head, there: &[bool]) -> BTreeMap<u32, Stripe> {
    let mut stripes: BTreeMap<u32, Stripe> = BTreeMap::new();
    for (part, there) in head.parts.iter().zip(there) {
        let stripe = stripes.entry(part.stripe.map_or(part.number, |(stripe, _)| stripe)).or_default();
        stripe.missing += i32::from(!there);
    }
    stripes
}

/// Data parts that nothing gives back.
fn lost(head: &Head, there: &[bool]) -> Vec<u32> {
    let m = head.statement.scheme.map_or(0, |scheme| scheme.m);
    let stripes = stripes(head, there);
    let parts = head.parts.iter().zip(there).filter(|(part, there)| {
        let stripe = part.stripe.map_or(part.number, |(stripe, _)| stripe);
        !**there && matches!(part.kind, PartKind::Data { .. }) && stripes[&stripe].spare(m) < 0
    });
    parts.map(|(part, _)| part.number).collect()
}

/// Volumes that some part of is there, or is not.
fn volumes_of(head: &Head, there: &[bool], wanted: bool) -> BTreeSet<u16> {
    let parts = head.parts.iter().zip(there).filter(|(_, there)| **there == wanted);
    parts.map(|(part, _)| part.volume).collect()
}

/// A bound on how many more volumes it takes.
fn least(head: &Head, there: &[bool]) -> u16 {
    let (m, c) = head.statement.scheme.map_or((0, u16::MAX), |scheme| (scheme.m, scheme.c));
    let worst = stripes(head, there).values().map(|stripe| -stripe.spare(m)).max().unwrap_or(0).max(1);
    // No one volume completed it.
    (worst as u32).div_ceil(c.into()).max(2) as u16
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::head::tests::striped;

    /// What is there when these volumes are not.
    fn without(head: &Head, volumes: &[u16]) -> Vec<bool> {
        head.parts.iter().map(|part| !volumes.contains(&part.volume)).collect()
    }

    #[test]
    fn what_is_missing_is_rebuilt_named_or_asked_for() {
        // Two stripes of 3 + 2 on five volumes, each shard on one of its own.
        let head = striped(6, 3, 2);
        assert_eq!(judge(&head, &without(&head, &[])), Verdict::Complete);
        assert_eq!(judge(&head, &without(&head, &[1, 5])), Verdict::Repairable { rebuilt: vec![1, 4] });
        assert_eq!(judge(&head, &without(&head, &[4, 5])), Verdict::Complete);
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
}
