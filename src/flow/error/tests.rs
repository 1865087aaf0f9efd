//! The class of every [`FlowError`], and what the errors of lower floors become.

use super::*;
use std::path::PathBuf;

fn fault() -> IoFault {
    IoFault { doing: "read", path: "/d".into(), source: io::Error::from_raw_os_error(5) }
}

fn malformed() -> FormatError {
    FormatError::malformed("the head", 1, "no")
}

#[test]
fn every_error_has_its_class() {
    for (error, expected) in [
        (FlowError::Usage("no".into()), Outcome::Usage),
        (SourceError::CannotRepack(vec![]).into(), Outcome::Io),
        (DriveError::Gone(vec![]).into(), Outcome::Io),
        (DriveError::NoRoom { needed: 2, room: 1 }.into(), Outcome::Io),
        (LeftoverError::OtherPacking("no".into()).into(), Outcome::Usage),
        (BundleError::Missing("no".into()).into(), Outcome::Incomplete),
        (BundleError::Damaged("no".into()).into(), Outcome::Damaged),
        (BundleError::NoVolume("no".into()).into(), Outcome::Usage),
        (BundleError::Mixed(vec![]).into(), Outcome::Usage),
        (BundleError::NotTheOne { wanted: "AAAAAAAA".into(), found: vec![] }.into(), Outcome::Usage),
        (KeyringError::NotGiven.into(), Outcome::Key),
        (OutputError::NoRoom { target: "/t".into(), needed: 2, free: 1 }.into(), Outcome::Io),
        (LoadError::Room { drive: "/d".into(), needed: 2, free: 1 }.into(), Outcome::Io),
        (fault().into(), Outcome::Io),
        (malformed().into(), Outcome::Hostile),
        (FlowError::Unopenable(malformed()), Outcome::Failed),
        (FlowError::Cancelled, Outcome::Interrupted),
        (FlowError::no_memory(1 << 30), Outcome::Failed),
        (FlowError::no_thread(&io::Error::other("no")), Outcome::Failed),
        (FlowError::Defect("no".into()), Outcome::Failed),
    ] {
        assert_eq!(error.outcome(), expected, "{error}");
    }
}

#[test]
fn a_newer_format_is_a_usage_error_and_a_broken_one_hostile() {
    assert_eq!(FlowError::from(malformed()).outcome(), Outcome::Hostile);
    let newer = FormatError::Newer { what: "the head", version: 2 };
    assert_eq!(FlowError::from(newer).outcome(), Outcome::Usage);
}

#[test]
fn whether_more_drives_would_help_depends_on_what_was_found() {
    let no_seal = |bad: Vec<BadCopy>| FlowError::from(BundleError::from(NoCopy { what: IndexFile::Seal, bad }));
    let damaged = BadCopy { path: PathBuf::from("seal.age"), fault: CopyFault::Damaged("cut".into()) };
    let (without_seal, damaged) = (no_seal(vec![]), no_seal(vec![damaged]));
    assert_eq!((without_seal.outcome(), damaged.outcome()), (Outcome::Incomplete, Outcome::Damaged));
    assert_eq!(damaged.to_string(), "no seal on these volumes can be used: seal.age: it is damaged: cut");
}

#[test]
fn a_walk_that_was_stopped_or_lost_its_drive_is_no_usage_error() {
    assert_eq!(FlowError::from(WalkError::Cancelled).outcome(), Outcome::Interrupted);
    assert_eq!(FlowError::from(WalkError::Gone(PathBuf::from("/media/camera"))).outcome(), Outcome::Io);
}

#[test]
fn a_scan_that_meets_a_limit_is_hostile_and_one_that_fails_is_not() {
    let crowded = FormatError::Limit { what: "the number of files in a folder", value: 2, limit: 1 };
    assert_eq!(FlowError::from(ScanError::Format(crowded)).outcome(), Outcome::Hostile);
    assert!(matches!(FlowError::from(ScanError::Io(fault())), FlowError::Io(_)));
}

#[test]
fn a_target_is_busy_taken_or_of_another_unpacking() {
    let of = |error: TargetError| FlowError::from(error);
    assert!(matches!(of(TargetError::Io(fault())), FlowError::Io(_)));
    assert!(matches!(of(TargetError::Foreign("/t".into())), FlowError::Output(OutputError::Foreign(_))));
    assert!(matches!(of(TargetError::Other("/t".into())), FlowError::Leftover(LeftoverError::OtherUnpacking(_))));
    assert_eq!(of(TargetError::Busy("/t".into())).to_string(), "another pouch is unpacking into /t now");
}
