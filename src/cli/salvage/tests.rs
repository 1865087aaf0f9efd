//! The verdicts of a salvage, from reports with literal values.

use super::*;
use crate::cli::unpack::tests::{bad_part, lost, report};
use crate::flow::salvage::report::Basis;
use crate::flow::unpack::report::{Cause, UnpackReport};

/// A salvage that delivered all 4 files it knows of, by a manifest that was read without a gap.
fn by_manifest() -> Salvaged {
    Salvaged { report: report(), basis: Basis { manifest: true, seamless: true, ..Basis::default() } }
}

fn of(report: UnpackReport, basis: Basis) -> Salvaged {
    Salvaged { report, basis }
}

#[test]
fn a_list_or_a_manifest_proves_that_all_files_are_here() {
    assert_eq!(complete(&by_manifest()), "yes: all 4 files of the bundle, 33 B in /t, as the manifest proves");
    let list = of(report(), Basis { list: true, ..Basis::default() });
    assert_eq!(complete(&list), "yes: all 4 files of the bundle, 33 B in /t, as the list proves");
}

#[test]
fn without_list_and_manifest_nothing_is_complete() {
    let found = of(report(), Basis::default());
    assert!(complete(&found).starts_with("no: 4 of 4 files that were found, 33 B in /t; list and manifest are lost"));
    let nothing = of(UnpackReport { files: 0, delivered: 0, ..report() }, Basis::default());
    assert!(complete(&nothing).starts_with("no: no file was found"));
}

#[test]
fn a_manifest_with_gaps_proves_files_but_no_folders() {
    let basis = Basis { manifest: true, seamless: false, ..Basis::default() };
    assert!(complete(&of(report(), basis)).starts_with("no: all 4 files that the manifest names, 33 B in /t; which"));
    let basis = Basis { manifest: true, seamless: true, unproven: 1, ..Basis::default() };
    assert!(complete(&of(report(), basis)).ends_with("; the manifest does not vouch for all of them"));
    let short = UnpackReport { delivered: 3, lost: vec![lost(Cause::Damaged)], ..report() };
    let basis = Basis { manifest: true, ..Basis::default() };
    assert!(
        complete(&of(short, basis)).ends_with("3 of 4 files of the bundle, 33 B in /t; the others are named above")
    );
}

#[test]
fn only_a_hash_vouches_for_a_whole_file() {
    let yes = "yes: each byte delivered was authenticated with the bundle's key";
    assert_eq!(intact(&by_manifest()), yes);
    let some = Basis { manifest: true, unproven: 1, ..Basis::default() };
    assert_eq!(
        intact(&of(report(), some)),
        format!("{yes}; some files are known by that alone, no hash vouches for them")
    );
    let none = Basis { unproven: 4, ..Basis::default() };
    assert_eq!(intact(&of(report(), none)), format!("{yes}; no hash vouches for the files"));
}

#[test]
fn where_nothing_was_delivered_nothing_is_intact() {
    let nothing = || UnpackReport { files: 0, delivered: 0, ..report() };
    assert!(intact(&of(nothing(), Basis::default())).starts_with("not known: nothing was delivered"));
    let damaged = UnpackReport { bad_parts: vec![bad_part(1, 0, PartState::Damaged)], ..nothing() };
    assert_eq!(intact(&of(damaged, Basis::default())), "no: what there is, is damaged; nothing was delivered");
}

#[test]
fn damage_is_told_from_a_target_that_keeps_nothing() {
    let of_cause = |cause| {
        let report = UnpackReport { delivered: 3, lost: vec![lost(cause)], ..report() };
        intact(&of(report, Basis { list: true, ..Basis::default() }))
    };
    assert!(of_cause(Cause::Damaged).starts_with("no: what is damaged was not delivered"));
    assert!(of_cause(Cause::Unkept).starts_with("no: the target does not keep"));
    assert!(of_cause(Cause::Missing).starts_with("yes: "));
}

#[test]
fn parts_behind_the_last_are_not_known_without_a_head() {
    let bad = |numbers: &[u32]| numbers.iter().map(|number| bad_part(*number, 0, PartState::Missing)).collect();
    let of = |numbers: &[u32], endless| {
        let report = UnpackReport { bad_parts: bad(numbers), ..report() };
        missing(&Salvaged { report, basis: Basis { endless, ..Basis::default() } })
    };
    assert_eq!(of(&[], false), None);
    assert_eq!(of(&[], true).unwrap(), "how many parts follow the last is not known");
    assert_eq!(of(&[2], false).unwrap(), "missing: part 2");
    assert_eq!(of(&[2, 3], true).unwrap(), "missing: parts 2-3; how many follow the last is not known");
}
