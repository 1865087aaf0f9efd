//! What a salvage comes to, decided from its basis and the report of the unpacking.

use std::path::Path;

use super::*;
use crate::base::monitor::Note;
use crate::flow::unpack::report::tests::{lost_by, report};
use crate::flow::unpack::report::{BadPart, Cause};
use crate::format::volume_number::VolumeNumber;

const MANIFEST: Basis =
    Basis { head: false, list: false, manifest: true, seamless: true, unproven: 0, idle_parity: 0, endless: false };

fn salvaged(report: UnpackReport, basis: Basis) -> Salvaged {
    Salvaged { report, basis }
}

fn whole() -> UnpackReport {
    report(Path::new("/out"))
}

fn with_bad_part(state: PartState) -> UnpackReport {
    UnpackReport {
        bad_parts: vec![BadPart { number: 3, volume: VolumeNumber::new(1), state, why: "it is".into() }],
        ..whole()
    }
}

#[test]
fn an_ordinary_unpacking_keeps_its_outcome() {
    assert_eq!(Salvaged::of_whole(lost_by(Cause::Missing)).outcome(), Outcome::Incomplete);
    assert_eq!(Salvaged::of_whole(whole()).outcome(), Outcome::Ok);
    assert!(Salvaged::of_whole(whole()).is_ordinary());
}

#[test]
fn a_manifest_proves_a_seamless_tar_without_unproven_files() {
    assert!(salvaged(whole(), MANIFEST).complete());
    assert_eq!(salvaged(whole(), MANIFEST).outcome(), Outcome::Ok);
    let less = [
        Basis { manifest: false, ..MANIFEST },
        Basis { seamless: false, ..MANIFEST },
        Basis { unproven: 1, ..MANIFEST },
    ];
    for basis in less {
        assert!(!salvaged(whole(), basis).complete(), "{basis:?}");
        assert_eq!(salvaged(whole(), basis).outcome(), Outcome::Damaged, "{basis:?}");
    }
}

#[test]
fn a_list_proves_the_result_by_itself() {
    let basis = Basis { list: true, ..Basis::default() };
    assert!(salvaged(whole(), basis).complete());
    assert!(!salvaged(lost_by(Cause::Missing), basis).complete());
    assert_eq!(salvaged(lost_by(Cause::Missing), basis).outcome(), Outcome::Damaged, "no drive is asked for");
}

#[test]
fn a_damaged_part_may_have_held_any_file_if_nothing_names_them() {
    let nothing = Basis::default();
    assert!(!salvaged(with_bad_part(PartState::Damaged), nothing).intact());
    assert!(salvaged(with_bad_part(PartState::Missing), nothing).intact());
    assert!(salvaged(with_bad_part(PartState::Damaged), MANIFEST).intact());
    assert!(!salvaged(lost_by(Cause::Damaged), MANIFEST).intact());
}

#[test]
fn a_volume_that_may_not_be_read_matters_only_if_the_result_is_not_complete() {
    let denied = UnpackReport { denied: vec!["/media/red".into()], ..whole() };
    assert_eq!(salvaged(denied.clone(), MANIFEST).outcome(), Outcome::Ok);
    assert_eq!(salvaged(denied, Basis::default()).outcome(), Outcome::Io);
}

#[test]
fn a_target_that_failed_comes_before_damage() {
    let failed = UnpackReport { failed: Some("no space".into()), ..lost_by(Cause::Damaged) };
    assert_eq!(salvaged(failed, Basis::default()).outcome(), Outcome::Io);
}

#[test]
fn flaws_from_packing_are_damage_although_the_result_is_complete() {
    let changed = UnpackReport { notes: vec![Note::new(NoteKind::Changed, b"a", "changed")], ..whole() };
    assert!(salvaged(changed.clone(), MANIFEST).complete());
    assert_eq!(salvaged(changed, MANIFEST).outcome(), Outcome::Damaged);
}

#[test]
fn the_json_says_nothing_that_only_a_head_knows() {
    let without = salvaged(with_bad_part(PartState::Damaged), Basis { endless: true, ..MANIFEST });
    let mut document = without.to_json();
    let json = document.object();
    for key in ["fingerprint", "volumes", "verdict", "margin"] {
        assert_eq!(json[key], Value::Null, "{key}");
    }
    assert_eq!((&json["bad_parts"][0]["number"], &json["bad_parts"][0]["volume"]), (&json!(3), &Value::Null));
    assert_eq!((&json["salvage"]["head"], &json["salvage"]["more_parts_may_follow"]), (&json!(false), &json!(true)));
    let with = salvaged(with_bad_part(PartState::Damaged), Basis { head: true, ..MANIFEST });
    let mut document = with.to_json();
    assert_eq!(document.object()["fingerprint"], json!("YAQIM"));
    assert_eq!(document.object()["bad_parts"][0]["volume"], json!(1));
}
