use super::*;
use crate::format::head::tests::striped;
use crate::format::volume_number::tests::volumes;

/// Which parts are present when these volumes are missing.
fn without(head: &Head, volumes: &[u16]) -> Vec<bool> {
    head.parts.iter().map(|part| !volumes.contains(&part.volume.get())).collect()
}

#[test]
fn what_is_missing_is_rebuilt_named_or_asked_for() {
    // Two stripes of 3 + 2 on five volumes, each shard of a stripe on its own volume.
    let head = striped(6, 3, 2);
    assert_eq!(judge(&head, &without(&head, &[])), Verdict::Complete);
    assert_eq!(judge(&head, &without(&head, &[1, 5])), Verdict::Repairable { rebuilt: vec![1, 4] });
    assert_eq!(judge(&head, &without(&head, &[4, 5])), Verdict::Complete);
    assert_eq!(sources(&head, &without(&head, &[1, 5])), (6, volumes([2, 3, 4])), "three of each stripe");
    assert_eq!(sources(&head, &without(&head, &[4, 5])), (0, vec![]), "parity alone is not missed");
    let short = Verdict::Short { lost: vec![1, 2, 4, 5], any_one: volumes([1, 2, 5]), at_least: 1 };
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
    assert_eq!((needed(&[2]), needed(&[2, 4])), (vec![], volumes([1, 3, 5])));
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
        let changed = |part: &Part| volumes >> part.volume.get() & 1 == 1;
        let each = head.parts.iter().zip(there);
        each.map(|(part, there)| if changed(part) { become_there } else { *there }).collect()
    }

    pub(crate) fn any_one(head: &Head, there: &[bool]) -> Vec<VolumeNumber> {
        let completes = |volume: &VolumeNumber| lost(head, &with(head, there, 1 << volume.get(), true)).is_empty();
        VolumeNumber::all(head.statement.n).filter(completes).collect()
    }

    pub(crate) fn needed(head: &Head, there: &[bool]) -> Vec<VolumeNumber> {
        let now = lost(head, there).len();
        let matters = |volume: &VolumeNumber| lost(head, &with(head, there, 1 << volume.get(), false)).len() > now;
        VolumeNumber::all(head.statement.n).filter(matters).collect()
    }

    /// The fewest volumes that bring everything back.
    pub(crate) fn fewest(head: &Head, there: &[bool]) -> u16 {
        let sets = (0u32..1 << head.statement.n).map(|set| set << 1);
        let enough = sets.filter(|set| lost(head, &with(head, there, *set, true)).is_empty());
        enough.map(u32::count_ones).min().unwrap() as u16
    }

    /// How many of the volumes that have parts may go, whichever they are.
    pub(crate) fn margin(head: &Head, there: &[bool]) -> u16 {
        let here = |volume| head.parts.iter().zip(there).any(|(part, there)| *there && part.volume == volume);
        let volumes = VolumeNumber::all(head.statement.n).filter(|volume| here(*volume));
        let all: u32 = volumes.map(|volume| 1 << volume.get()).sum();
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
            head.parts.iter_mut().for_each(|part| part.shard = None);
        }
        head.parts.iter_mut().for_each(|part| part.volume = VolumeNumber::new(roll(n) as u16 + 1));
        let (gone, bad) = (roll(1 << n) & roll(1 << n), roll(8) + 2);
        let there: Vec<bool> =
            head.parts.iter().map(|part| gone >> part.volume.index() & 1 == 0 && roll(bad * 3) > 0).collect();
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
        let shard = part.shard.unwrap();
        part.volume = VolumeNumber::new(volumes[shard.stripe as usize][usize::from(shard.position)]);
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
        let shard = part.shard.unwrap();
        let at = shard.stripe * 50 + u32::from(shard.position);
        part.volume = VolumeNumber::from_index(at as usize % 1_000);
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
