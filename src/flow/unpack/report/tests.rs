//! What a report comes to, decided from its losses and notes.

use std::path::Path;

use super::*;

/// A report without any loss.
pub(crate) fn report(target: &Path) -> UnpackReport {
    UnpackReport {
        fingerprint: "YAQIM".into(),
        target: target.to_owned(),
        volumes: 2,
        volumes_given: 2,
        selected: false,
        files: 3,
        delivered: 3,
        bytes: 30,
        unproven: 0,
        bad_parts: Vec::new(),
        mended: Vec::new(),
        verdict: Verdict::Complete,
        margin: None,
        lost: Vec::new(),
        failed: None,
        gone: Vec::new(),
        denied: Vec::new(),
        kept: None,
        changes: Vec::new(),
        otherwise: MetadataDifferences::default(),
        clamped: 0,
        renamed_in: None,
        notes: Vec::new(),
    }
}

/// A report of one file that was lost for this cause.
pub(crate) fn lost_by(cause: Cause) -> UnpackReport {
    let lost = vec![Lost { path: b"a".to_vec(), cause, why: "it is".into() }];
    UnpackReport { lost, delivered: 2, ..report(Path::new("/out")) }
}

fn noted(kind: NoteKind) -> UnpackReport {
    UnpackReport { notes: vec![Note::new(kind, b"a", "it is")], ..report(Path::new("/out")) }
}

/// Outcome, and whether it is complete and intact.
fn judged(report: &UnpackReport) -> (Outcome, bool, bool) {
    (report.outcome(), report.complete(), report.intact())
}

#[test]
fn without_losses_a_run_is_complete_and_intact() {
    assert_eq!(judged(&report(Path::new("/out"))), (Outcome::Ok, true, true));
    assert_eq!(judged(&noted(NoteKind::Property)), (Outcome::Ok, true, true));
}

#[test]
fn every_cause_has_its_outcome() {
    assert_eq!(judged(&lost_by(Cause::Missing)), (Outcome::Incomplete, false, true));
    assert_eq!(judged(&lost_by(Cause::Unread)), (Outcome::Io, false, true));
    assert_eq!(judged(&lost_by(Cause::Damaged)), (Outcome::Damaged, false, false));
    assert_eq!(judged(&lost_by(Cause::Target)), (Outcome::Damaged, false, true));
    assert_eq!(judged(&lost_by(Cause::Unkept)), (Outcome::Io, false, false));
}

#[test]
fn flaws_from_packing_count_as_damage_and_only_unread_files_are_incomplete() {
    assert_eq!(judged(&noted(NoteKind::Changed)), (Outcome::Damaged, true, true));
    assert_eq!(judged(&noted(NoteKind::Unreadable)), (Outcome::Damaged, false, true));
}

#[test]
fn a_drive_that_is_gone_matters_only_if_files_of_the_bundle_are_lost() {
    let gone = |report: UnpackReport| UnpackReport { gone: vec!["/media/red".into()], ..report };
    let outcome = |report: UnpackReport| (gone(report.clone()).lacks_gone(), gone(report).outcome());
    assert_eq!(outcome(report(Path::new("/out"))), (false, Outcome::Ok));
    assert_eq!(outcome(lost_by(Cause::Target)), (false, Outcome::Damaged));
    assert_eq!(outcome(lost_by(Cause::Missing)), (true, Outcome::Io));
}

#[test]
fn a_volume_that_may_not_be_read_matters_only_if_files_of_the_bundle_are_lost() {
    let denied = |report: UnpackReport| UnpackReport { denied: vec!["/media/red".into()], ..report };
    assert!(!denied(report(Path::new("/out"))).lacks_denied());
    assert!(!denied(lost_by(Cause::Target)).lacks_denied());
    assert!(denied(lost_by(Cause::Damaged)).lacks_denied());
    assert!(!lost_by(Cause::Damaged).lacks_denied());
    assert!(lost_by(Cause::Unread).lacks_denied(), "the part was refused, whatever the folder says");
}

#[test]
fn a_target_that_took_no_more_outweighs_everything() {
    let failed = UnpackReport { failed: Some("no space".into()), ..lost_by(Cause::Damaged) };
    assert_eq!(failed.outcome(), Outcome::Io);
}

#[test]
fn other_drives_help_only_against_losses_of_the_bundle() {
    let causes = [Cause::Missing, Cause::Unread, Cause::Damaged, Cause::Target, Cause::Unkept];
    assert_eq!(causes.map(Cause::is_of_bundle), [true, true, true, false, false]);
}

#[test]
fn the_json_counts_clamped_times_with_the_others() {
    let otherwise = MetadataDifferences { modes: 1, times: 2, off: 7 };
    let bad = |state| BadPart { number: 4, volume: VolumeNumber::new(2), state, why: "it is".into() };
    let bad_parts = vec![bad(PartState::Unread), bad(PartState::Damaged), bad(PartState::Missing)];
    let report = UnpackReport { otherwise, clamped: 3, bad_parts, ..lost_by(Cause::Damaged) };
    let mut document = report.to_json();
    let json = document.object();
    assert_eq!(json["otherwise"], json!({"modes": 1, "times": 5, "clamped": 3, "off_by_ns": 7}));
    assert_eq!((&json["intact"], &json["complete"]), (&json!(false), &json!(false)));
    assert_eq!(json["bad_parts"][0], json!({"number": 4, "volume": 2, "why": "it is", "state": "unreadable"}));
    assert_eq!(
        (&json["bad_parts"][1]["state"], &json["bad_parts"][2]["state"]),
        (&json!("damaged"), &json!("missing"))
    );
}
