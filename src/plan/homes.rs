//! New places for parts that lost theirs: where there is room, and where the rule still holds that a
//! volume has no more than its share of a stripe (FORMAT section 8).

use std::collections::{HashMap, HashSet};

use crate::format::head::{Part, PartKind};
use crate::format::stripe::Scheme;
use crate::plan::placement::Placement;

/// A part by what it carries: parity or not, and its number.
pub type Id = (bool, u32);

/// Which that is.
pub fn id(part: &Part) -> Id {
    (part.kind == PartKind::Parity, part.number)
}

/// The stripe of a part; without parity there is none.
pub fn stripe_of((parity, number): Id, scheme: Option<Scheme>) -> Option<u32> {
    scheme.map(|scheme| if parity { scheme.of_parity(number).0 } else { scheme.of_data(number).0 })
}

/// A volume for each of the `lost` parts that finds one. `room` is what the volumes still take, `held`
/// where the other parts are.
pub fn homes(
    mut room: Placement,
    scheme: Option<Scheme>,
    volumes: u16,
    held: impl Iterator<Item = (Id, u16)>,
    lost: &[Id],
) -> Vec<(Id, u16)> {
    let mut shards: HashMap<(u32, u16), u16> = HashMap::new();
    if let Some(scheme) = scheme {
        for (id, volume) in held {
            if let Some(stripe) = stripe_of(id, Some(scheme)) {
                *shards.entry((stripe, volume)).or_default() += 1;
            }
        }
    }
    let most = scheme.map_or(u16::MAX, |scheme| scheme.c);
    let mut found = Vec::new();
    for id in lost {
        let stripe = stripe_of(*id, scheme).unwrap_or(0);
        let held = |volume: &u16| shards.get(&(stripe, *volume)).copied().unwrap_or(0);
        let open = (1..=volumes).filter(|volume| room.left(*volume) > 0 && (scheme.is_none() || held(volume) < most));
        let Some(home) = open.max_by_key(|volume| (room.left(*volume), u16::MAX - volume)) else { continue };
        room.put(home);
        *shards.entry((stripe, home)).or_default() += 1;
        found.push((*id, home));
    }
    found
}

/// Parts that are not `there`, of a bundle with so many data parts; data first.
pub fn lacking(data: u32, scheme: Option<Scheme>, there: &HashSet<Id>) -> Vec<Id> {
    let parity = scheme.map_or(0, |scheme| scheme.parity_parts(data));
    let all = (1..=data).map(|number| (false, number)).chain((1..=parity).map(|number| (true, number)));
    all.filter(|id| !there.contains(id)).collect()
}

/// Of the `lost` parts, how many parity cannot stand for: those that a stripe lacks beyond what it has.
pub fn uncovered(scheme: Option<Scheme>, lost: &[Id]) -> usize {
    let mut lacking: HashMap<Option<u32>, usize> = HashMap::new();
    lost.iter().for_each(|id| *lacking.entry(stripe_of(*id, scheme)).or_default() += 1);
    let spare = scheme.map_or(0, |scheme| usize::from(scheme.m));
    lacking.into_values().map(|lack| lack.saturating_sub(spare)).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::part::Class;
    use crate::plan::placement::{Drive, Fill};

    const CLASS: Class = Class::ALL[0];

    fn room(parts: &[u64], scheme: Option<Scheme>) -> Placement {
        let drive = |(device, parts): (u64, &u64)| {
            let free = parts * CLASS.file_len() as u64 + 500_000;
            Drive { device, free, cluster: 512, cap: None, reserve: 0 }
        };
        let drives: Vec<Drive> = (1..).zip(parts).map(drive).collect();
        Placement::new(&drives, CLASS, Fill::Spread, scheme)
    }

    #[test]
    fn the_volume_with_the_most_room_takes_it() {
        let none = || std::iter::empty();
        let lost = [(false, 1), (false, 2), (false, 3), (false, 4)];
        let found = homes(room(&[1, 2], None), None, 2, none(), &lost);
        let mut volumes: Vec<u16> = found.iter().map(|(_, volume)| *volume).collect();
        assert_eq!(volumes[0], 2);
        volumes.sort_unstable();
        assert_eq!(volumes, [1, 2, 2], "the fourth finds none");
        assert_eq!((uncovered(None, &lost), uncovered(None, &[])), (4, 0));
        let there = HashSet::from([(false, 2), (true, 1)]);
        assert_eq!(lacking(3, None, &there), [(false, 1), (false, 3)]);
        assert_eq!(lacking(3, Scheme::new(2, 1, 1), &there), [(false, 1), (false, 3), (true, 2)]);
    }

    #[test]
    fn no_volume_gets_more_of_a_stripe_than_it_may() {
        let scheme = Scheme::new(2, 1, 1);
        // Of the first stripe volumes 1 and 2 hold the data, the parity was on 3.
        let held = [((false, 1), 1), ((false, 2), 2), ((false, 3), 2), ((true, 2), 1)];
        let lost = [(true, 1), (false, 4)];
        let mut left = room(&[9, 9, 9, 9], scheme);
        left.close(3);
        let found = homes(left.clone(), scheme, 4, held.into_iter(), &lost);
        assert_eq!(found, [((true, 1), 4), ((false, 4), 4)]);
        left.close(4);
        assert!(homes(left, scheme, 4, held.into_iter(), &lost).is_empty());
        assert_eq!(uncovered(scheme, &lost), 0);
        assert_eq!(uncovered(scheme, &[(true, 1), (false, 2), (true, 2)]), 1, "of two stripes, one lacks one too many");
    }
}
