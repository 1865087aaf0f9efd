//! Finds new homes for parts that lost theirs: volumes that have room and do not get more of a stripe than the scheme
//! allows (FORMAT section 8). A part without such a volume is left to parity.

use std::cmp::Reverse;
use std::collections::{HashMap, HashSet};

use crate::format::head::PartId;
use crate::format::stripe::Scheme;
use crate::format::volume_number::VolumeNumber;
use crate::plan::placement::Placement;

/// A part, and the volume it is to be written to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Home {
    pub(crate) part: PartId,
    pub(crate) volume: VolumeNumber,
}

/// The stripe of a part; `None` without parity.
pub(crate) fn stripe_of(part: PartId, scheme: Option<Scheme>) -> Option<u32> {
    scheme.map(|scheme| match part {
        PartId::Data(number) => scheme.of_data(number).stripe,
        PartId::Parity(number) => scheme.of_parity(number).stripe,
    })
}

/// Finds a volume for each of the `missing` parts, in their order, and passes over a part that no volume can take.
/// `room` is what the volumes still take, `held` is where the other parts are.
pub(crate) fn rehome(
    mut room: Placement,
    scheme: Option<Scheme>,
    volumes: u16,
    held: impl Iterator<Item = Home>,
    missing: &[PartId],
) -> Vec<Home> {
    let mut shards: HashMap<(u32, VolumeNumber), u16> = HashMap::new();
    for home in held {
        if let Some(stripe) = stripe_of(home.part, scheme) {
            *shards.entry((stripe, home.volume)).or_default() += 1;
        }
    }
    let most = scheme.map_or(u16::MAX, |scheme| scheme.c);
    let mut found = Vec::new();
    for &part in missing {
        let stripe = stripe_of(part, scheme).unwrap_or(0);
        let takes = |volume: &VolumeNumber| {
            let held = shards.get(&(stripe, *volume)).copied().unwrap_or(0);
            room.left(*volume) > 0 && (scheme.is_none() || held < most)
        };
        let open = VolumeNumber::all(volumes).filter(takes);
        // The volume with the most room; of equals the first.
        let Some(volume) = open.max_by_key(|volume| (room.left(*volume), Reverse(*volume))) else { continue };
        room.put(volume);
        *shards.entry((stripe, volume)).or_default() += 1;
        found.push(Home { part, volume });
    }
    found
}

/// The parts of a bundle with `data` data parts that are not `present`, data first.
pub(crate) fn missing_parts(data: u32, scheme: Option<Scheme>, present: &HashSet<PartId>) -> Vec<PartId> {
    let parity = scheme.map_or(0, |scheme| scheme.parity_parts(data));
    let all = (1..=data).map(PartId::Data).chain((1..=parity).map(PartId::Parity));
    all.filter(|part| !present.contains(part)).collect()
}

/// How many of the `missing` parts parity cannot replace: in each stripe, those beyond its parity.
pub(crate) fn beyond_parity(scheme: Option<Scheme>, missing: &[PartId]) -> usize {
    let mut by_stripe: HashMap<Option<u32>, usize> = HashMap::new();
    for part in missing {
        *by_stripe.entry(stripe_of(*part, scheme)).or_default() += 1;
    }
    let spare = scheme.map_or(0, |scheme| usize::from(scheme.m));
    by_stripe.into_values().map(|missing| missing.saturating_sub(spare)).sum()
}

#[cfg(test)]
mod tests {
    use super::PartId::{Data, Parity};
    use super::*;
    use crate::format::part::Class;
    use crate::plan::placement::{DriveRoom, Fill};

    const CLASS: Class = Class::ALL[0];

    fn room(parts: &[u64], scheme: Option<Scheme>) -> Placement {
        let drive = |(device, parts): (u64, &u64)| {
            let free = parts * CLASS.file_len() as u64 + 500_000;
            DriveRoom { device, free, cluster: 512, cap: None, reserve: 0 }
        };
        let drives: Vec<DriveRoom> = (1..).zip(parts).map(drive).collect();
        Placement::new(&drives, CLASS, Fill::Spread, scheme)
    }

    fn home(part: PartId, volume: u16) -> Home {
        Home { part, volume: VolumeNumber::new(volume) }
    }

    #[test]
    fn the_volume_with_the_most_room_takes_a_part() {
        let missing = [Data(1), Data(2), Data(3), Data(4)];
        let found = rehome(room(&[1, 2], None), None, 2, std::iter::empty(), &missing);
        let mut volumes: Vec<VolumeNumber> = found.iter().map(|home| home.volume).collect();
        assert_eq!(volumes[0], 2);
        volumes.sort_unstable();
        assert_eq!(volumes, [1, 2, 2], "the fourth finds none");
    }

    #[test]
    fn without_parity_every_missing_part_is_beyond_it() {
        assert_eq!(beyond_parity(None, &[Data(1), Data(2)]), 2);
        assert_eq!(beyond_parity(None, &[]), 0);
    }

    #[test]
    fn missing_parts_are_listed_data_first() {
        let present = HashSet::from([Data(2), Parity(1)]);
        assert_eq!(missing_parts(3, None, &present), [Data(1), Data(3)]);
        assert_eq!(missing_parts(3, Scheme::new(2, 1, 1), &present), [Data(1), Data(3), Parity(2)]);
    }

    #[test]
    fn no_volume_gets_more_of_a_stripe_than_the_scheme_allows() {
        let scheme = Scheme::new(2, 1, 1);
        // Of the first stripe volumes 1 and 2 hold the data; its parity was on volume 3.
        let held = [home(Data(1), 1), home(Data(2), 2), home(Data(3), 2), home(Parity(2), 1)];
        let missing = [Parity(1), Data(4)];
        let mut left = room(&[9, 9, 9, 9], scheme);
        left.close(VolumeNumber::new(3));
        let found = rehome(left.clone(), scheme, 4, held.into_iter(), &missing);
        assert_eq!(found, [home(Parity(1), 4), home(Data(4), 4)]);
        left.close(VolumeNumber::new(4));
        assert!(rehome(left, scheme, 4, held.into_iter(), &missing).is_empty());
        assert_eq!(beyond_parity(scheme, &missing), 0);
        assert_eq!(beyond_parity(scheme, &[Parity(1), Data(2), Parity(2)]), 1, "the first stripe lacks one too many");
    }
}
