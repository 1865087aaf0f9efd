//! The verdicts of an unpacking, from reports with literal values.

use std::borrow::Cow;
use std::path::Path;

use super::*;
use crate::base::monitor::Note;
use crate::flow::unpack::report::{BadPart, Cause, Lost};
use crate::format::volume_number::tests::volumes;

/// The report of an unpacking that delivered all 4 files of a bundle on 3 volumes.
pub(crate) fn report() -> UnpackReport {
    UnpackReport {
        fingerprint: "YAQIM-ONIUV".into(),
        volumes: 3,
        volumes_given: 3,
        files: 4,
        delivered: 4,
        bytes: 33,
        ..crate::flow::unpack::report::tests::report(Path::new("/t"))
    }
}

pub(crate) fn bad_part(number: u32, volume: u16, state: PartState) -> BadPart {
    BadPart { number, volume: VolumeNumber::new(volume), state, why: "no".into() }
}

pub(crate) fn lost(cause: Cause) -> Lost {
    Lost { path: b"clip.mov".to_vec(), cause, why: Cow::Borrowed("no") }
}

/// One file of four is lost because parts 3 and 4, on volumes 2 and 3, are missing.
fn without_parts(verdict: Verdict) -> UnpackReport {
    let bad_parts = vec![bad_part(3, 2, PartState::Missing), bad_part(4, 3, PartState::Missing)];
    UnpackReport { delivered: 3, lost: vec![lost(Cause::Missing)], bad_parts, verdict, ..report() }
}

fn short(any_one: &[u16], at_least: u16) -> Verdict {
    Verdict::Short { lost: vec![3, 4], any_one: volumes(any_one.iter().copied()), at_least }
}

#[test]
fn all_files_of_the_bundle_or_all_that_were_asked_for_are_complete() {
    assert_eq!(complete(&report()), "yes: all 4 files of the bundle, 33 B in /t");
    let some = UnpackReport { selected: true, files: 1, delivered: 1, ..report() };
    assert_eq!(complete(&some), "yes: all 1 file of those asked for, 33 B in /t");
}

#[test]
fn lost_parts_that_hold_nothing_of_these_files_are_named() {
    let one = UnpackReport { bad_parts: vec![bad_part(7, 1, PartState::Missing)], ..report() };
    assert!(complete(&one).ends_with("; part 7 is missing or damaged, and what it lost holds no byte of these files"));
    let bad_parts = vec![bad_part(7, 1, PartState::Missing), bad_part(8, 1, PartState::Damaged)];
    let two = UnpackReport { bad_parts, ..report() };
    assert!(complete(&two).contains("; parts 7-8 are missing or damaged, and what they lost holds"));
}

#[test]
fn the_volumes_that_would_complete_the_files_are_named() {
    let of = |verdict| complete(&without_parts(verdict));
    let what = "no: 3 of 4 files of the bundle, 33 B in /t";
    assert_eq!(of(short(&[2, 3], 1)), format!("{what}; any one of the volumes 2-3 of 3, whole, would complete it"));
    assert_eq!(of(short(&[], 1)), format!("{what}; at least 1 of the volumes 2-3 of 3 are needed"));
    assert_eq!(of(short(&[], 2)), format!("{what}; bring volume 2-3 of 3 (parts 3-4 are missing)"));
    assert_eq!(of(short(&[3], 1)), format!("{what}; bring volume 2-3 of 3 (parts 3-4 are missing)"));
}

#[test]
fn damaged_parts_name_no_volume_to_bring() {
    let mut damaged = without_parts(short(&[], 1));
    damaged.bad_parts.iter_mut().for_each(|part| part.state = PartState::Damaged);
    assert_eq!(complete(&damaged), "no: 3 of 4 files of the bundle, 33 B in /t");
}

#[test]
fn a_volume_that_this_user_may_not_read_comes_before_one_to_bring() {
    let denied = UnpackReport { denied: vec!["/d/volume-2".into()], ..without_parts(short(&[2, 3], 1)) };
    assert!(complete(&denied).ends_with("; what you may not read may hold the rest"));
}

#[test]
fn what_the_bundle_never_had_is_told_from_what_is_lost() {
    let unreadable = || vec![Note::new(NoteKind::Unreadable, b"x", "could not be read")];
    let folder = UnpackReport { notes: unreadable(), ..report() };
    assert!(complete(&folder).ends_with("; folders named above lack something that is not in the bundle"));
    let file = UnpackReport { delivered: 3, notes: unreadable(), ..report() };
    assert!(complete(&file).starts_with("no: 3 of 4 files of the bundle"));
    assert!(complete(&file).ends_with("; not all of the sources could be packed, as named above"));
    let link = UnpackReport { lost: vec![lost(Cause::Target)], ..report() };
    assert_eq!(complete(&link), "no: all 4 files of the bundle, 33 B in /t; 1 link not, named above");
}

#[test]
fn only_what_was_compared_is_called_intact() {
    assert!(intact(&report()).starts_with("yes: every byte delivered"));
    let nothing = UnpackReport { delivered: 0, lost: vec![lost(Cause::Missing)], ..report() };
    assert!(intact(&nothing).starts_with("not known: nothing was delivered"));
    let damaged = UnpackReport { delivered: 3, lost: vec![lost(Cause::Damaged)], ..report() };
    assert!(intact(&damaged).starts_with("no: files are damaged, they were not delivered"));
    let unkept = UnpackReport { lost: vec![lost(Cause::Damaged), lost(Cause::Unkept)], ..report() };
    assert!(intact(&unkept).starts_with("no: the target does not keep"), "the target is at fault, not the bundle");
}

#[test]
fn a_file_that_changed_while_it_was_packed_limits_the_verdict() {
    let notes = vec![Note::new(NoteKind::Changed, b"x", "changed")];
    let changed = UnpackReport { notes, ..report() };
    assert!(intact(&changed).ends_with("when it was packed; 1 file may mix two states, named above"));
}

#[test]
fn a_long_list_of_parts_is_counted() {
    assert_eq!(parts(&[7]), "part 7 is");
    assert_eq!(parts(&[3, 4, 5, 9]), "parts 3-5, 9 are");
    let scattered: Vec<u32> = (1..100).step_by(2).collect();
    assert_eq!(parts(&scattered), "50 parts are");
}

#[test]
fn what_is_left_is_drives_then_chunks_then_nothing() {
    let of = |volumes, shards| left(Margin { shards, volumes });
    assert_eq!(of(2, 5), "left: any 2 drives more may be lost");
    assert_eq!(of(0, 1), "left: 1 chunk of any row may still be bad; no drive may be lost");
    assert!(of(0, 0).starts_with("left: no margin"));
}

#[test]
fn a_person_with_few_ports_is_asked_for_the_volume_that_helps_most() {
    let bad = [bad_part(3, 2, PartState::Missing), bad_part(4, 3, PartState::Damaged)];
    let of = |verdict: &Verdict, gone: &[PathBuf]| wanted(&Ask { volumes: 5, bad: &bad, verdict, gone });
    let missing = "parts 3-4 are missing or damaged";
    assert_eq!(of(&short(&[], 2), &[]), format!("{missing}; wanted: volume 2-3 of 5."));
    assert_eq!(
        of(&short(&[2, 3], 1), &[]),
        format!("{missing}; any one of the volumes 2-3 of 5, whole, completes it.")
    );
    let gone = of(&short(&[], 2), &["/d/volume-1".into()]);
    assert!(gone.starts_with("/d/volume-1: its drive is gone: it stopped answering while it was read. parts 3-4 are"));
}
