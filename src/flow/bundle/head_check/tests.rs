//! Checks of volumes that are whole, damaged, forged or mixed up.

use super::*;
use crate::base::digest::sha256;
use crate::base::secret::Secret;
use crate::flow::bundle::open::open;
use crate::flow::bundle::test_bundle::{TestBundle, keyring, seal_plain, seal_text, sealed_to};
use crate::format::part::file_name;
use crate::stage::seal::Identity;
use std::fs;

const PART: &str = "000001.age";

/// What the check of the first part says of these bytes, which come in pieces of an odd length.
fn check_part(bundle: &Bundle, test: &TestBundle, bytes: &[u8]) -> Result<(), String> {
    let keyring = test.keyring();
    let mut part = HeadCheck::new(bundle, &keyring).part(PART)?;
    bytes.chunks(50_001).for_each(|piece| part.take(piece));
    part.finish(sha256(bytes))
}

fn file(test: &TestBundle) -> Vec<u8> {
    fs::read(test.path(1, PART)).unwrap()
}

#[test]
fn a_part_as_the_head_names_it_passes() {
    let test = TestBundle::new();
    assert_eq!(check_part(&test.open(), &test, &file(&test)), Ok(()));
}

#[test]
fn damaged_chunks_are_counted_from_the_first_on() {
    let test = TestBundle::new();
    test.damage(1, PART, &[3]);
    let why = check_part(&test.open(), &test, &file(&test)).unwrap_err();
    assert_eq!(why, "does not open with the bundle's key in chunk 4 of 15");
    test.damage(1, PART, &[9, 14]);
    let why = check_part(&test.open(), &test, &file(&test)).unwrap_err();
    assert_eq!(why, "does not open with the bundle's key in chunk 4 of 15 and 2 more");
}

#[test]
fn chunks_that_are_cut_off_count_as_damaged() {
    let test = TestBundle::new();
    let cut = &file(&test)[..HEADER + 13 * SEALED_CHUNK + 1];
    let why = check_part(&test.open(), &test, cut).unwrap_err();
    assert_eq!(why, "does not open with the bundle's key in chunk 14 of 15 and 1 more");
}

#[test]
fn a_file_that_opens_must_have_the_digest_of_the_head() {
    let test = TestBundle::new();
    let mut bytes = file(&test);
    bytes[0] ^= 1;
    let expected = Err("opens, but its SHA-256 is not the one in the head".to_string());
    assert_eq!(check_part(&test.open(), &test, &bytes), expected, "the header is in the digest alone");
    let longer = [&file(&test)[..], b"more"].concat();
    assert_eq!(check_part(&test.open(), &test, &longer), expected);
}

#[test]
fn a_part_whose_lead_is_of_another_bundle_is_refused() {
    let test = TestBundle::new();
    let mut bundle = test.open();
    bundle.head.statement.bundle = [9; 16];
    let why = check_part(&bundle, &test, &file(&test)).unwrap_err();
    assert_eq!(why, "opens, but it says that it is a part of another bundle");
}

#[test]
fn a_part_without_a_lead_is_refused() {
    let test = TestBundle::new();
    let mut bundle = test.open();
    let (header, sum, bytes) = seal_plain(b"no lead", &test.key.recipient());
    (bundle.head.parts[0].header, bundle.head.parts[0].sha256) = (Box::new(header), sum);
    let why = check_part(&bundle, &test, bytes.file()).unwrap_err();
    assert_eq!(why, "opens, but does not begin as a part does");
}

#[test]
fn a_part_is_checked_only_if_the_head_names_it_with_a_header_that_opens() {
    let test = TestBundle::new();
    let mut bundle = test.open();
    *bundle.head.parts[0].header = [0; HEADER];
    let keyring = test.keyring();
    let check = HeadCheck::new(&bundle, &keyring);
    assert_eq!(check.part(&file_name(3)).err().as_deref(), Some("is no part that the head names"));
    assert_eq!(check.part(PART).err().as_deref(), Some("has no usable header in the head"));
    assert!(check.part("000002.age").is_ok());
}

#[test]
fn seals_heads_and_lists_of_another_bundle_are_named() {
    let (test, other) = (TestBundle::new(), TestBundle::new());
    let bundle = test.open();
    for name in ["seal2.age", "head2.age", "list.age"] {
        fs::copy(other.path(1, name), test.path(1, name)).unwrap();
    }
    let keyring = test.keyring();
    let check = HeadCheck::new(&bundle, &keyring);
    let expected = [
        ("seal2.age", "does not open with the key that opens the bundle"),
        ("head2.age", "does not hold the bundle's head"),
        ("list.age", "does not hold the bundle's list"),
    ];
    let expected = expected.map(|(name, why)| (name.to_string(), why.to_string()));
    assert_eq!(check.wrong_index(&test.volume(1)), expected);
    assert!(check.wrong_index(&test.volume(2)).is_empty());
}

#[test]
fn a_seal_of_the_same_recipient_for_another_bundle_is_named() {
    let test = TestBundle::new();
    let bundle = test.open();
    let text = seal_text(&Identity::generate(), |_| ());
    test.change(1, "seal.age", |bytes| *bytes = sealed_to(&test.owner.recipient(), text.as_bytes()));
    let keyring = test.keyring();
    let wrong = HeadCheck::new(&bundle, &keyring).wrong_index(&test.volume(1));
    assert_eq!(wrong, [("seal.age".to_string(), "is not the bundle's".to_string())]);
}

#[test]
fn seals_are_no_fault_for_keys_that_open_none() {
    let test = TestBundle::new();
    let bundle = test.open();
    let stranger = keyring(&[&Identity::generate()]);
    assert!(HeadCheck::new(&bundle, &stranger).wrong_index(&test.volume(1)).is_empty());
}

#[test]
fn an_index_is_whole_only_with_both_heads_and_the_list() {
    let test = TestBundle::new();
    let bundle = test.open();
    let head = test.head.encode();
    assert!(index_is_whole(&test.volume(1), &bundle, &head));
    assert!(!index_is_whole(&test.volume(1), &bundle, "another head"));
    test.remove(1, "head2.age");
    assert!(!index_is_whole(&test.volume(1), &bundle, &head));
    test.change(2, "list.age", |bytes| bytes[1000] ^= 1);
    assert!(!index_is_whole(&test.volume(2), &bundle, &head));
}

#[test]
fn a_volume_without_heads_is_told_by_a_seal_or_by_the_header_of_a_part() {
    let test = TestBundle::new();
    let bundle = test.open();
    let keyring = test.keyring();
    let check = HeadCheck::new(&bundle, &keyring);
    test.keep_only(1, &["seal.age"]);
    test.keep_only(2, &["000002.age"]);
    assert!(check.is_of(&test.volume(1)) && check.is_of(&test.volume(2)));
    test.change(2, "000002.age", |bytes| bytes[0] ^= 1);
    assert!(!check.is_of(&test.volume(2)));
}

#[test]
fn a_volume_that_was_passed_over_stays_another() {
    let secret = Secret::random();
    let [one, other] = [[1; 16], [2; 16]].map(|name| TestBundle::of(name, &secret, |_| ()));
    let volumes = [one.volumes(), other.volumes()].concat();
    let wanted = crate::plan::choose::FingerprintStart::parse(&one.head.statement.fingerprint()).unwrap();
    let keyring = keyring(&[&one.owner, &other.owner]);
    let bundle = open(volumes, &keyring, Some(&wanted)).unwrap();
    let check = HeadCheck::new(&bundle, &keyring);
    assert!(bundle.owns(&other.volume(1)), "its head opens with the same key");
    assert!(check.is_of(&one.volume(1)) && !check.is_of(&other.volume(1)));
}

#[test]
fn a_missing_part_is_missed_on_its_own_volume() {
    let test = TestBundle::new();
    let bundle = test.open();
    let keyring = test.keyring();
    let check = HeadCheck::new(&bundle, &keyring);
    assert!(check.missing_parts(&test.volume(1)).is_empty());
    test.remove(1, PART);
    assert_eq!(check.missing_parts(&test.volume(1)), [PART], "the folder's name tells which volume it is");
    fs::rename(test.path(1, ""), test.drive.path().join("copy")).unwrap();
    let renamed = volume::read(&test.drive.path().join("copy")).unwrap();
    assert!(check.missing_parts(&renamed).is_empty(), "nothing tells which volume it is");
}

#[test]
fn the_parts_on_a_volume_tell_more_than_its_name() {
    let test = TestBundle::new();
    let bundle = test.open();
    let keyring = test.keyring();
    let check = HeadCheck::new(&bundle, &keyring);
    fs::rename(test.path(1, PART), test.path(2, PART)).unwrap();
    test.remove(2, "000002.age");
    assert_eq!(check.number_of(&test.volume(2)), Some(VolumeNumber::new(1)));
    assert_eq!(check.number_of(&test.volume(1)), Some(VolumeNumber::new(1)), "it has no part, and its name says so");
}
