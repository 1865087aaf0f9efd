//! The lines about volumes and their bundle, from reports with literal values.

use super::*;
use crate::format::volume_number::tests::volumes;

fn volume(state: VolumeState) -> VolumeCheck {
    VolumeCheck {
        folder: "/d/volume-1".into(),
        state,
        past_cache: false,
        held: false,
        files: 4,
        read: 4,
        bytes: 33,
        unchecked: None,
        damaged: Vec::new(),
        missing: Vec::new(),
        unread: Vec::new(),
        foreign: Foreign::default(),
        trouble: None,
    }
}

fn bundle(here: &[u16], verdict: Verdict) -> BundleCheck {
    BundleCheck {
        volumes: 5,
        here: volumes(here.iter().copied()),
        verdict,
        margin: None,
        needed: Vec::new(),
        sources: (0, Vec::new()),
        notes: Vec::new(),
    }
}

fn short(any_one: &[u16], at_least: u16) -> Verdict {
    Verdict::Short { lost: vec![3], any_one: volumes(any_one.iter().copied()), at_least }
}

#[test]
fn the_volumes_that_are_here_are_named() {
    let of = |here: &[u16]| verdict(&bundle(here, Verdict::Complete));
    assert_eq!(of(&[]), "the bundle: none of its 5 volumes is here: every part of the data is whole");
    assert_eq!(of(&[2]), "the bundle: volume 2 of 5 is here: every part of the data is whole");
    assert_eq!(of(&[1, 2, 3, 5]), "the bundle: volumes 1-3, 5 of 5 are here: every part of the data is whole");
}

#[test]
fn what_rebuilding_reads_is_named_if_it_reads_whole_parts() {
    let mut repairable = bundle(&[1, 2], Verdict::Repairable { rebuilt: vec![3] });
    assert!(verdict(&repairable).ends_with("are here: 1 part missing or damaged, to be rebuilt"));
    repairable.sources = (6, volumes([1, 2]));
    assert!(verdict(&repairable).ends_with("to be rebuilt by reading 6 parts of volumes 1-2"));
}

#[test]
fn of_volumes_that_do_not_suffice_the_verdict_says_which_to_bring() {
    let of = |any_one: &[u16], at_least| verdict(&bundle(&[1], short(any_one, at_least)));
    assert!(of(&[], 2).ends_with("is here: 1 part cannot be rebuilt; at least 2 volumes more are needed, whole"));
    assert!(of(&[4], 1).ends_with("; volume 4, whole, would complete it"));
    assert!(of(&[4, 5], 1).ends_with("; any one of the volumes 4-5, whole, would complete it"));
}

#[test]
fn the_margin_is_drives_then_chunks_then_nothing() {
    let of = |volumes, shards| {
        margin(&BundleCheck { margin: Some(Margin { shards, volumes }), ..bundle(&[1], Verdict::Complete) }).unwrap()
    };
    assert_eq!(of(1, 3), "margin: any 1 more of these drives may be lost");
    assert_eq!(of(0, 2), "margin: 2 chunks of any row may be bad; no drive may be lost");
    assert!(of(0, 0).starts_with("margin: none; the next bad sector is data lost"));
}

#[test]
fn without_a_margin_only_a_repairable_bundle_promises_none() {
    let of = |verdict| margin(&bundle(&[1], verdict));
    assert!(of(Verdict::Repairable { rebuilt: vec![3] }).unwrap().starts_with("margin: none that can be promised"));
    assert_eq!(of(Verdict::Complete), None, "it has no parity");
    assert_eq!(of(short(&[], 2)), None, "the verdict has said more");
}

#[test]
fn the_amount_is_what_was_read_or_what_could_not_be() {
    assert_eq!(amount(&volume(VolumeState::Whole)), "4 files, 33 B");
    let missing = VolumeCheck { missing: vec!["000001.age".into()], ..volume(VolumeState::Incomplete) };
    assert_eq!(amount(&missing), "4 files, 33 B; 1 missing");
    let unfinished = VolumeCheck { unchecked: Some((1, 400)), ..volume(VolumeState::Incomplete) };
    assert_eq!(amount(&unfinished), "1 file, 400 B, not checked");
}

#[test]
fn every_state_but_whole_has_a_hint_of_its_own() {
    let of = |state| hint(&volume(state));
    assert_eq!(of(VolumeState::Whole), None);
    assert!(of(VolumeState::Unreadable).unwrap().contains("chmod"));
    assert!(of(VolumeState::Unsafe).unwrap().starts_with("nothing of it was used"));
    assert!(of(VolumeState::Gone).unwrap().starts_with("plug it in again"));
    assert!(of(VolumeState::Damaged).unwrap().starts_with("copy the volume again"));
    assert_eq!(of(VolumeState::Incomplete), of(VolumeState::Damaged));
    let unfinished = VolumeCheck { unchecked: Some((1, 400)), ..volume(VolumeState::Incomplete) };
    assert!(hint(&unfinished).unwrap().starts_with("if its packing was interrupted"));
}

#[test]
fn of_very_many_volumes_the_first_of_each_kind_are_listed_and_the_others_counted() {
    let mut volumes = vec![volume(VolumeState::Whole); MOST_WHOLE + 2];
    assert_eq!(others(&volumes[..MOST_WHOLE], &shown(&volumes[..MOST_WHOLE])), None);
    volumes.extend(vec![volume(VolumeState::Damaged); MOST_HURT]);
    volumes.push(volume(VolumeState::Gone));
    let shown = shown(&volumes);
    assert_eq!(shown.len(), MOST_WHOLE + MOST_HURT);
    assert!(shown.contains(&(MOST_WHOLE - 1)) && !shown.contains(&MOST_WHOLE));
    assert_eq!(others(&volumes, &shown).unwrap(), "and more volumes: 1 gone, 2 whole (--json has all)");
}
