//! Hints for errors of real command lines.

use super::*;
use crate::cli::args::Cli;
use crate::flow::error::{BundleAt, CapacityTestFailure, Misread};
use crate::stage::capacity_marks::CapacityReport;
use clap::Parser as _;
use std::io;
use std::path::PathBuf;

fn command(line: &str) -> Command {
    Cli::try_parse_from(line.split(' ')).unwrap().command
}

/// The hint for an error of that command line; empty if there is none.
fn of(error: FlowError, line: &str) -> String {
    hint(&error, &command(line)).unwrap_or_default()
}

#[test]
fn options_that_contradict_each_other_are_named() {
    let few = |lose, drives| ParityError::TooFewDrives { lose, drives };
    let full = |mends| ParityError::NoRoomForData { lose: 199, mends, drives: 200 };
    for (error, text) in [
        (RequestError::NoRecipient, "nobody could open it: give a recipient (-r age1...) or a passphrase (-p)"),
        (RequestError::StagedInSeveral(2), "--volumes stages volumes in one folder, and 2 are given with -o"),
        (
            RequestError::SequentialAndLoss,
            "--fill sequential keeps files together on one drive, --lose must not: leave one of them out",
        ),
        (RequestError::Parity(few(1, 1)), "--lose 1 needs at least 2 drives, and 1 is given"),
        (RequestError::Parity(few(2, 2)), "--lose 2 needs at least 3 drives, and 2 are given"),
        (RequestError::Parity(full(false)), "--lose 199 leaves no room for data on 200 drives"),
        (RequestError::Parity(full(true)), "--lose 199 and --mend together leave no room for data on 200 drives"),
    ] {
        assert!(!error.to_string().contains("--"), "{error}");
        let error = FlowError::from(error);
        assert_eq!(message(&error), text);
        assert_eq!(error.outcome(), Outcome::Usage);
        assert_eq!(of(error, "pouch pack s -p -o d"), "");
    }
}

fn no_list(fault: CopyFault) -> FlowError {
    let bad = vec![BadCopy { path: PathBuf::from("list.age"), fault }];
    BundleError::NoCopy(NoCopy { what: IndexFile::List, bad }).into()
}

#[test]
fn no_hint_names_an_option_that_was_given() {
    let broken = CopyFault::Broken(FormatError::malformed("the list", 3, "no"));
    for fault in [CopyFault::Damaged("cut".into()), broken] {
        assert!(of(no_list(fault.clone()), "pouch unpack d -o o").contains("--salvage"));
        let salvaged = of(no_list(fault), "pouch unpack d -o o --salvage");
        assert!(!salvaged.contains("--salvage") && salvaged.contains("another volume"), "{salvaged}");
    }
    let at = |fingerprint: &str| BundleAt { fingerprint: Some(fingerprint.into()), places: vec![] };
    let two = || FlowError::from(BundleError::Mixed(vec![at("AAAAA-AAA"), at("AAAAA-AAB")]));
    assert!(of(two(), "pouch list d").contains("--bundle FINGERPRINT"));
    assert!(of(two(), "pouch list d --bundle AAAAA-AAA").contains("more letters"));
    let full = || FlowError::from(OutputError::NoRoom { target: "o".into(), needed: 2, free: 1 });
    assert!(of(full(), "pouch unpack d -o o").contains("--only"));
    assert!(!of(full(), "pouch unpack d -o o --only x").contains("--only"));
}

#[test]
fn no_hint_names_an_option_that_does_not_help() {
    let full = || FlowError::from(OutputError::NoRoom { target: "o".into(), needed: 2, free: 1 });
    assert!(!of(full(), "pouch repair d -o o").contains("--only"));
    let exists = || FlowError::from(OutputError::Exists("o".into()));
    assert!(of(exists(), "pouch unpack d -o o").contains("--overwrite"));
    assert!(!of(exists(), "pouch rehearse s -o o").contains("--overwrite"));
    let foreign = FlowError::from(OutputError::Foreign("o".into()));
    assert!(!of(foreign, "pouch unpack d -o o").contains("--overwrite"));
    let room = || FlowError::from(DriveError::NoRoom { needed: 2, room: 1 });
    assert!(of(room(), "pouch pack s -r a -o o").contains("-o)"));
    let staged = of(room(), "pouch pack s -r a -o o --volumes 2 --volume-size 1GB");
    assert!(!staged.contains("-o") && staged.contains("--volumes"), "{staged}");
    let lost = || FlowError::from(BundleError::Damaged("no seal is whole".into()));
    assert!(of(lost(), "pouch pack s -r a -o o").contains("--restart"));
    assert!(of(lost(), "pouch repair d -o o").contains("another volume"));
}

#[test]
fn a_hint_does_not_say_more_than_is_known() {
    let full = of(DriveError::RanFull { packed: 1, total: 19 }.into(), "pouch pack s -r a -o o");
    assert!(!full.contains("compressed worse"), "{full}");
    let wrong = KeyringError::Wrong { passphrase: false, seals: vec![], untried: vec![] };
    let wrong = of(wrong.into(), "pouch list d -i k");
    assert!(wrong.contains("passphrase"), "it may be sealed to one alone: {wrong}");
    let long = FormatError::Limit { what: "the length of a sealed text", value: 2, limit: 1 };
    let too_many = of(FlowError::Format(long.clone()), "pouch pack s -r k -o d");
    assert!(too_many.contains("Pack it as several"), "{too_many}");
    assert!(of(no_list(CopyFault::Broken(long)), "pouch list d").contains("no bundle made by pouch"));
    let lost = LoadError::Unfinished { staged: "v".into(), on_drive: None };
    let lost = of(FlowError::Load(lost), "pouch load v d");
    assert!(lost.contains("If its packing was interrupted") && lost.contains("repair"), "{lost}");
}

const PACK: &str = "pouch pack s -r a -o o";
const UNPACK: &str = "pouch unpack d -o o -i me.key";
const CHECK: &str = "pouch check d -i me.key";
const LOAD: &str = "pouch load v d";

fn fault(doing: &'static str, path: &str, code: i32) -> FlowError {
    IoFault { doing, path: path.into(), source: io::Error::from_raw_os_error(code) }.into()
}

const DENIED: i32 = 13;
const FULL: i32 = 28;
const BROKEN: i32 = 5;

#[test]
fn what_a_user_may_not_touch_is_a_key_a_place_to_write_or_a_file_to_read() {
    assert!(of(fault("read", "me.key", DENIED), UNPACK).starts_with("give an identity file of your own"));
    assert!(of(fault("read", "me.key", DENIED), CHECK).starts_with("give an identity file of your own"));
    assert!(of(fault("read", "me.key", DENIED), PACK).starts_with(READABLE), "it is a source here");
    assert!(of(fault("create", "o", DENIED), UNPACK).starts_with("you may not write there"));
    assert!(of(fault("look into", "d", DENIED), UNPACK).starts_with(READABLE));
}

#[test]
fn a_full_drive_needs_room_and_a_failed_one_another_try() {
    assert!(of(fault("write", "o/a", FULL), UNPACK).starts_with("free room where o/a is"));
    let again = "run the same command again once that is mended";
    assert_eq!(of(fault("write", "o/a", BROKEN), UNPACK), format!("{again}: it goes on from where it was"));
    assert_eq!(of(fault("write", "o/a", BROKEN), LOAD), format!("{again}: it goes on from where it was"));
    assert_eq!(of(fault("read", "d", BROKEN), CHECK), again, "a check begins anew");
}

#[test]
fn every_way_to_find_a_home_is_named_as_it_helps() {
    let no_home = |remedy| DriveError::NoHome { parts: 1, bytes: 1, why: vec![], remedy }.into();
    assert!(of(no_home(Remedy::None), PACK).starts_with("what tells what is where was on the drive that failed"));
    assert!(of(no_home(Remedy::Replace), PACK).contains("--replaced"));
    assert!(of(no_home(Remedy::Replug), PACK).contains("plug in again the drive that failed"));
    assert!(of(no_home(Remedy::Room), PACK).contains("one more -o"));
    let staged = of(no_home(Remedy::Room), "pouch pack s -r a -o o --volumes 2 --volume-size 1GB");
    assert!(staged.contains("larger --volumes") && !staged.contains("-o"), "{staged}");
}

#[test]
fn a_drive_that_ran_full_is_followed_by_one_with_room_for_the_rest_and_some_more() {
    let full = DriveError::RanFull { packed: 1_000, total: 10_000 };
    assert!(of(full.into(), PACK).contains("Add one more -o, with room for about 10.0 kB"));
}

#[test]
fn every_other_fault_of_a_drive_says_what_to_do_with_it() {
    let path = || PathBuf::from("/d/volume-1");
    let test = CapacityTestFailure { drive: "/d".into(), tried: CapacityReport::default() };
    for (error, words) in [
        (DriveError::Gone(vec![path()]), "that is no damage"),
        (DriveError::Denied(vec![path()]), READABLE),
        (DriveError::FailedCapacityTest(test), "nothing was written but what tried it"),
        (DriveError::TooSmall { folder: path(), needed: 2, room: 1 }, "nothing was written; free room there"),
        (DriveError::ReadBackDiffers { path: path(), offset: 0 }, "no volume of this run is complete"),
    ] {
        let hint = of(error.into(), PACK);
        assert!(hint.starts_with(words), "{hint}");
    }
}

#[test]
fn sources_that_cannot_be_packed_are_named_or_brought_back() {
    let walk = |error| of(SourceError::Walk(error).into(), PACK);
    let same = WalkError::SameName { name: b"x"[..].into(), one: "/a/x".into(), two: "/b/x".into() };
    assert!(walk(same).starts_with("give each once"));
    assert!(walk(WalkError::NoName("/".into())).starts_with("name the folders in it"));
    assert!(walk(WalkError::Gone("/media/camera".into())).contains("Plug it in again"));
    assert_eq!(walk(WalkError::Special { path: "/dev/null".into(), what: "device" }), "");
    assert!(of(SourceError::Changed(vec![]).into(), PACK).contains("--restart"));
    assert!(of(SourceError::CannotRepack(vec![]).into(), PACK).contains("--restart"));
}

#[test]
fn a_run_that_was_stopped_says_how_it_goes_on() {
    let walk = of(SourceError::Walk(WalkError::Cancelled).into(), PACK);
    assert_eq!(walk, of(FlowError::Cancelled, PACK));
    assert!(walk.contains("go on from where they were"));
}

#[test]
fn what_an_earlier_run_left_is_looked_at_before_it_is_removed() {
    let journal = |unknown| LeftoverError::BadJournal {
        path: "/d/journal".into(),
        source: FormatError::malformed("the journal", 1, "no"),
        unknown,
    };
    assert!(of(journal(None).into(), PACK).contains("--restart removes what it packed"));
    let unknown = of(journal(Some("/e/volume-2".into())).into(), PACK);
    assert!(unknown.contains("`pouch check /e/volume-2`") && unknown.contains("then say --restart"), "{unknown}");
    assert!(of(LeftoverError::OtherPacking("no".into()).into(), PACK).contains("The same command as then"));
    assert!(of(LeftoverError::AllButFinished("/d".into()).into(), PACK).contains("Without --restart"));
    assert!(of(LeftoverError::OtherUnpacking("/o/x".into()).into(), UNPACK).contains("remove /o/x if nobody needs it"));
}

#[test]
fn a_volume_that_was_not_loaded_is_finished_mended_or_given_another_drive() {
    let files = vec![("seal.age".to_string(), "is missing".to_string())];
    for (error, words) in [
        (LoadError::Unfinished { staged: "v".into(), on_drive: Some("/d/volume-1".into()) }, "say --move"),
        (LoadError::Source { folder: "v".into(), files }, "`pouch repair`"),
        (LoadError::Sums { path: "v".into(), source: FormatError::malformed("it", 1, "no") }, "`pouch repair`"),
        (LoadError::Room { drive: "d".into(), needed: 2, free: 1 }, "take a larger drive"),
        (LoadError::NoDrive { drive: "d".into(), why: "in memory" }, "mount the drive there"),
        (LoadError::Another { folder: "/d/volume-1".into(), why: "no".into() }, "remove /d/volume-1"),
        (LoadError::Changed { drive: "d".into(), file: "f".into(), misread: Misread::Once }, "onto another drive"),
    ] {
        let hint = of(error.into(), LOAD);
        assert!(hint.contains(words), "{hint}");
    }
}

#[test]
fn a_key_that_does_not_open_is_told_from_a_bundle_that_only_a_passphrase_opens() {
    let seal = |path: &str| BadCopy { path: path.into(), fault: CopyFault::Wrong };
    let wrong = |passphrase, seals| of(KeyringError::Wrong { passphrase, seals, untried: vec![] }.into(), UNPACK);
    assert!(wrong(true, vec![seal("/d/seal-p.age")]).starts_with("the passphrase is not the one"));
    assert!(wrong(false, vec![seal("/d/seal-p.age")]).contains("without -i"));
    let both = wrong(false, vec![seal("/d/seal-p.age"), seal("/d/seal.age")]);
    assert!(both.starts_with("it is sealed to others"), "{both}");
}

#[test]
fn keys_that_cannot_be_used_have_a_hint_if_there_is_something_to_do() {
    let bad = |source| of(KeyringError::BadFile { path: "me.key".into(), source }.into(), UNPACK);
    assert!(bad(KeyError::NoIdentity { line: 1, why: "no" }).contains("pouch keygen"));
    assert_eq!(bad(KeyError::Wrong), "");
    assert!(of(KeyringError::NotGiven.into(), UNPACK).contains("-i"));
    assert!(of(KeyringError::FileExists("me.key".into()).into(), "pouch keygen").contains("left alone"));
    assert_eq!(of(KeyringError::Refused("no".into()).into(), UNPACK), "");
}

#[test]
fn a_bundle_that_is_not_here_or_not_alone_is_brought_or_chosen() {
    for (error, words) in [
        (BundleError::Missing("no".into()), "bring another volume"),
        (BundleError::NoVolume("no".into()), "give the drives"),
        (BundleError::NotTheOne { wanted: "AAAAAAAA".into(), found: vec![] }, "bring the drives of that bundle"),
        (BundleError::Mixed(vec![BundleAt { fingerprint: None, places: vec![] }]), "may have been planted"),
    ] {
        let hint = of(error.into(), UNPACK);
        assert!(hint.contains(words), "{hint}");
    }
}

#[test]
fn the_fault_that_decides_has_the_hint() {
    let no_seal = |fault| {
        let bad = vec![BadCopy { path: "seal.age".into(), fault }];
        of(BundleError::NoCopy(NoCopy { what: IndexFile::Seal, bad }).into(), UNPACK)
    };
    assert!(no_seal(CopyFault::Denied("no".into())).starts_with(READABLE));
    assert_eq!(no_seal(CopyFault::NoMemory(1)), EXHAUSTED);
    assert!(no_seal(CopyFault::Unread("no".into())).contains("once that is mended"));
    assert!(no_seal(CopyFault::Reserved("no".into())).contains("get a newer pouch"));
    assert!(no_seal(CopyFault::Damaged("no".into())).contains("whose seal is whole"));
}

#[test]
fn targets_that_cannot_take_the_result_are_left_as_they_are() {
    let names = OutputError::Names { target: "o".into(), changes: vec![] };
    assert!(of(names.into(), UNPACK).contains("--rename"));
    assert!(of(OutputError::InTheWay("o/a".into()).into(), UNPACK).contains("move it away"));
    assert!(of(OutputError::VolumeExists("/o/volume-1".into()).into(), PACK).contains("`pouch check /o/volume-1`"));
    assert_eq!(of(OutputError::Busy("no".into()).into(), UNPACK), "");
}

#[test]
fn a_format_that_no_hint_explains_has_none() {
    let newer = FormatError::Newer { what: "the head", version: 2 };
    assert!(of(newer.into(), UNPACK).contains("get a newer pouch"));
    assert_eq!(of(FormatError::malformed("the head", 1, "no").into(), UNPACK), "");
    assert_eq!(of(FlowError::Usage("no".into()), UNPACK), "");
    assert!(of(FlowError::Defect("no".into()), UNPACK).contains("please report it"));
    assert!(of(FlowError::Unopenable(FormatError::malformed("it", 0, "no")), PACK).contains("no volume of this run"));
    assert_eq!(of(FlowError::no_memory(1), UNPACK), EXHAUSTED);
}

#[test]
fn the_document_has_message_hint_and_code() {
    let error = FlowError::Usage("a\u{1b}b".into());
    let document = to_json(&error, &command(UNPACK));
    assert_eq!(document["error"]["code"], 2);
    assert_eq!(document["error"]["hint"], Value::Null);
    assert!(!document["error"]["message"].as_str().unwrap().contains('\u{1b}'), "a terminal must not obey it");
    assert_eq!(to_json(&FlowError::Cancelled, &command(UNPACK))["error"]["code"], 130);
}
