//! Opens bundles from volumes that are whole, damaged or of several bundles.

use super::*;
use crate::flow::Outcome;
use crate::flow::bundle::test_bundle::{TAR, TestBundle, keyring};
use crate::stage::seal::Identity;
use crate::stage::volume::ScanError;
use std::fs;

/// Volumes of both bundles, and the keys to both.
fn both(one: &TestBundle, other: &TestBundle) -> (Vec<Volume>, Keyring) {
    ([one.volumes(), other.volumes()].concat(), keyring(&[&one.owner, &other.owner]))
}

fn start_of(test: &TestBundle) -> FingerprintStart {
    FingerprintStart::parse(&test.head.statement.fingerprint()).unwrap()
}

fn without_heads() -> TestBundle {
    let test = TestBundle::new();
    for volume in [1, 2] {
        test.remove(volume, "head.age");
        test.remove(volume, "head2.age");
    }
    test
}

#[track_caller]
fn refusal<T>(opened: Result<T, FlowError>) -> FlowError {
    opened.err().expect("it is refused")
}

/// The paths that the notes are about.
fn noted(notes: &[Note]) -> Vec<&[u8]> {
    notes.iter().map(|note| &note.path[..]).collect()
}

#[test]
fn the_only_bundle_at_a_place_is_opened() {
    let test = TestBundle::new();
    let mut bundle = open_at(&[test.drive.path().to_path_buf()], &test.keyring(), None).unwrap();
    assert!(bundle.head == test.head && bundle.recipient == test.key.recipient());
    assert_eq!((bundle.volumes.len(), bundle.passed_over.len(), bundle.notes.len()), (2, 0, 0));
    assert!(bundle.read_list().unwrap() == test.entries);
}

#[test]
fn without_any_key_the_error_says_that_none_was_given() {
    let test = TestBundle::new();
    let error = refusal(open(test.volumes(), &Keyring::new(), None));
    assert!(matches!(error, FlowError::Key(KeyringError::NotGiven)), "{error}");
}

#[test]
fn a_wrong_key_is_told_with_all_seals_that_it_does_not_open() {
    let test = TestBundle::new();
    let error = refusal(open(test.volumes(), &keyring(&[&Identity::generate()]), None));
    let FlowError::Key(KeyringError::Wrong { passphrase: false, seals, untried }) = error else { panic!("{error}") };
    assert_eq!((seals.len(), untried.len()), (4, 0));
}

#[test]
fn more_drives_may_help_if_there_is_no_seal() {
    let test = TestBundle::new();
    [1, 2].into_iter().for_each(|volume| test.keep_only(volume, &["head.age", "head2.age", "list.age"]));
    let error = refusal(open(test.volumes(), &test.keyring(), None));
    assert_eq!(error.outcome(), Outcome::Incomplete, "{error}");
}

#[test]
fn what_is_wrong_with_the_seals_decides_the_error() {
    let bad = |fault| BadCopy { path: "seal.age".into(), fault };
    let keys = keyring(&[&Identity::generate()]);
    let error = no_key(vec![bad(CopyFault::Damaged("cut".into()))], Vec::new(), &keys);
    assert_eq!(error.outcome(), Outcome::Damaged);
    let error = no_key(vec![bad(CopyFault::Wrong), bad(CopyFault::Unread("bad sector".into()))], Vec::new(), &keys);
    assert_eq!(error.outcome(), Outcome::Io, "the unread seal may be the right one");
    let error = no_key(vec![bad(CopyFault::Unread("bad sector".into()))], Vec::new(), &Keyring::new());
    assert_eq!(error.outcome(), Outcome::Io, "no key would help");
}

#[test]
fn of_two_bundles_none_is_chosen() {
    let (one, other) = (TestBundle::new(), TestBundle::new());
    let (volumes, keys) = both(&one, &other);
    let error = refusal(open(volumes, &keys, None));
    let FlowError::Bundle(BundleError::Mixed(found)) = error else { panic!("{error}") };
    let mut expected = [&one, &other].map(|test| BundleAt {
        fingerprint: Some(test.head.statement.fingerprint()),
        places: test.volumes().into_iter().map(|volume| volume.dir).collect(),
    });
    expected.sort_by(|a, b| a.fingerprint.cmp(&b.fingerprint));
    assert_eq!(found, expected, "in the order of fingerprints");
}

#[test]
fn the_wanted_bundle_is_opened_and_the_other_is_passed_over() {
    let (one, other) = (TestBundle::new(), TestBundle::new());
    let (volumes, keys) = both(&one, &other);
    let bundle = open(volumes, &keys, Some(&start_of(&other))).unwrap();
    assert!(bundle.head == other.head);
    let dirs: Vec<&Path> = bundle.passed_over.iter().map(|volume| volume.dir.as_path()).collect();
    assert_eq!(dirs, [one.volume(1).dir, one.volume(2).dir]);
    let text = format!("is not of this bundle but of {}; it is passed over", one.head.statement.fingerprint());
    assert!(bundle.notes.len() == 2 && bundle.notes.iter().all(|note| note.text == text), "{:?}", bundle.notes);
}

#[test]
fn a_bundle_that_is_not_there_is_not_replaced_by_another() {
    let (one, other) = (TestBundle::new(), TestBundle::new());
    let error = refusal(open(one.volumes(), &one.keyring(), Some(&start_of(&other))));
    let FlowError::Bundle(BundleError::NotTheOne { found, .. }) = error else { panic!("{error}") };
    assert_eq!(found[0].fingerprint, Some(one.head.statement.fingerprint()));
}

#[test]
fn a_bundle_without_a_head_can_be_unsealed_and_not_opened() {
    let test = without_heads();
    let mut unsealed = unseal(test.volumes(), &test.keyring(), None).unwrap();
    assert!(unsealed.recipient == test.key.recipient());
    let error = refusal(unsealed.head());
    let FlowError::Bundle(BundleError::NoCopy(NoCopy { what: IndexFile::Head, bad })) = error else {
        panic!("{error}")
    };
    assert!(bad.is_empty(), "{bad:?}");
    let bundle = unsealed.with(test.head.clone());
    assert_eq!(bundle.volumes.len(), 2);
}

#[test]
fn without_heads_the_bundle_that_has_more_than_seals_is_chosen() {
    let (full, planted) = (without_heads(), without_heads());
    [1, 2].into_iter().for_each(|volume| planted.keep_only(volume, &["seal.age"]));
    let (volumes, keys) = both(&planted, &full);
    let unsealed = unseal(volumes, &keys, None).unwrap();
    assert!(unsealed.recipient == full.key.recipient());
}

#[test]
fn of_two_bundles_without_heads_none_is_chosen() {
    let (one, other) = (without_heads(), without_heads());
    let (volumes, keys) = both(&one, &other);
    let error = refusal(unseal(volumes, &keys, None));
    let FlowError::Bundle(BundleError::Mixed(found)) = error else { panic!("{error}") };
    let places: Vec<usize> = found.iter().map(|bundle| bundle.places.len()).collect();
    assert_eq!(places, [4, 4], "their seals");
    assert!(found.iter().all(|bundle| bundle.fingerprint.is_none()));
}

#[test]
fn what_is_wrong_with_copies_that_were_not_needed_is_noted() {
    let test = TestBundle::new();
    for name in ["seal2.age", "head.age"] {
        test.change(1, name, |bytes| *bytes.last_mut().unwrap() ^= 1);
    }
    let bundle = open(test.volumes(), &test.keyring(), None).unwrap();
    let paths = ["seal2.age", "head.age"].map(|name| test.path(1, name));
    assert_eq!(noted(&bundle.notes), paths.each_ref().map(|path| as_bytes(path)));
}

#[test]
fn a_seal_to_another_recipient_is_no_fault() {
    let (test, other) = (TestBundle::new(), TestBundle::new());
    fs::copy(other.path(1, "seal.age"), test.path(1, "seal2.age")).unwrap();
    assert!(open(test.volumes(), &test.keyring(), None).unwrap().notes.is_empty());
}

#[test]
fn a_volume_that_could_not_be_read_is_kept_and_noted() {
    let test = TestBundle::new();
    let fault = ScanError::Format(crate::format::FormatError::malformed("it", 0, "no"));
    let unread = Volume::unread(Path::new("/media/a/volume-3"), fault);
    let bundle = open([test.volumes(), vec![unread]].concat(), &test.keyring(), None).unwrap();
    assert_eq!((bundle.volumes.len(), noted(&bundle.notes)), (3, vec![&b"/media/a/volume-3"[..]]));
}

#[test]
fn the_list_is_read_from_the_first_whole_copy() {
    let test = TestBundle::new();
    test.change(1, "list.age", |bytes| bytes[1000] ^= 1);
    let mut bundle = test.open();
    assert!(bundle.read_list().unwrap() == test.entries);
    assert_eq!(noted(&bundle.notes), [as_bytes(&test.path(1, "list.age"))]);
}

#[test]
fn a_list_that_the_statement_does_not_name_is_not_used() {
    let test = TestBundle::new();
    let mut bundle = test.open();
    bundle.head.statement.list_hash = Digest([3; 32]);
    let error = refusal(bundle.read_list());
    let FlowError::Bundle(BundleError::NoCopy(NoCopy { what: IndexFile::List, bad })) = error else {
        panic!("{error}")
    };
    assert!(bad.len() == 2 && bad.iter().all(|bad| matches!(bad.fault, CopyFault::Broken(_))), "{bad:?}");
    assert!(bundle.read_list_of(TAR, None).unwrap() == test.entries, "without a hash any list will do");
}

#[test]
fn more_drives_may_help_if_there_is_no_list() {
    let test = TestBundle::new();
    [1, 2].into_iter().for_each(|volume| test.remove(volume, "list.age"));
    assert_eq!(refusal(test.open().read_list()).outcome(), Outcome::Incomplete);
}

#[test]
fn a_folder_lies_in_the_volume_around_it() {
    let (one, other) = (TestBundle::new(), TestBundle::new());
    let (volumes, keys) = both(&one, &other);
    let bundle = open(volumes, &keys, Some(&start_of(&one))).unwrap();
    for volume in [one.volume(2), other.volume(1)] {
        let inside = volume.dir.canonicalize().unwrap().join("unpacked/clips");
        assert_eq!(bundle.volume_around(&inside).map(|found| &found.dir), Some(&volume.dir));
    }
    assert!(bundle.volume_around(&one.drive.path().canonicalize().unwrap()).is_none());
}
