//! Finds parts that are whole, renamed, swapped, damaged or gone.

use super::*;
use crate::flow::bundle::test_bundle::{CLASS, TestBundle};
use std::fs;

const ONE: &str = "000001.age";
const TWO: &str = "000002.age";

/// Loads a part, by its index in the head, and checks all chunks that are open.
fn load(bundle: &Bundle, part: usize) -> Loaded {
    let mut buf = PartBuf::new(CLASS);
    let loaded = Finder::new(bundle).load(&bundle.head.parts[part], &mut buf).unwrap();
    let bad = loaded.bad(buf.chunks());
    // The number of the part fills its first three chunks behind the lead. The rest is zeros, apart from a few bytes.
    for chunk in (0..buf.chunks()).filter(|chunk| !bad.contains(chunk)) {
        let expected = if chunk < 3 { part as u8 + 1 } else { 0 };
        assert_eq!(buf.plain(chunk)[60_000], expected, "chunk {chunk}");
    }
    loaded
}

fn copy(test: &TestBundle, name: &str, volume: u16, copy: &str) {
    fs::copy(test.path(1, name), test.path(volume, copy)).unwrap();
}

#[track_caller]
fn assert_partly(loaded: Loaded, expected: &[usize], end: &str) {
    let Loaded::Partly { bad, why } = loaded else { panic!("{loaded:?}") };
    assert_eq!(bad, expected);
    assert!(why.ends_with(end), "{why}");
}

#[test]
fn a_part_is_found_by_its_name_without_a_search() {
    let test = TestBundle::new();
    let bundle = test.open();
    let finder = Finder::new(&bundle);
    let mut buf = PartBuf::new(CLASS);
    assert_eq!(finder.load(&bundle.head.parts[0], &mut buf).unwrap(), Loaded::Whole);
    assert!(finder.by_header.get().is_none());
}

#[test]
fn a_renamed_part_is_found_by_its_header() {
    let test = TestBundle::new();
    fs::rename(test.path(1, ONE), test.path(2, "clip.mov")).unwrap();
    let bundle = test.open();
    assert_eq!(load(&bundle, 0), Loaded::Whole);
    assert_eq!(Finder::new(&bundle).file(&bundle.head.parts[0]), Some(test.path(2, "clip.mov")));
}

#[test]
fn swapped_parts_are_found_by_their_headers() {
    let test = TestBundle::new();
    fs::rename(test.path(1, ONE), test.path(1, "other")).unwrap();
    fs::rename(test.path(2, TWO), test.path(1, ONE)).unwrap();
    fs::rename(test.path(1, "other"), test.path(2, TWO)).unwrap();
    let bundle = test.open();
    assert_eq!([load(&bundle, 0), load(&bundle, 1)], [Loaded::Whole, Loaded::Whole]);
}

#[test]
fn two_damaged_copies_make_a_whole_part() {
    let test = TestBundle::new();
    copy(&test, ONE, 2, "copy");
    test.damage(1, ONE, &[2, 3]);
    test.damage(2, "copy", &[9]);
    assert_eq!(load(&test.open(), 0), Loaded::Whole);
}

#[test]
fn what_all_copies_lack_is_told_of_the_best_one() {
    let test = TestBundle::new();
    copy(&test, ONE, 2, "copy");
    test.damage(1, ONE, &[2, 4, 9]);
    test.damage(2, "copy", &[2, 9]);
    assert_partly(load(&test.open(), 0), &[2, 9], "volume-2/copy is damaged in chunk 3 of 15 and 1 more");
}

#[test]
fn a_part_that_is_cut_short_keeps_its_first_chunks() {
    let test = TestBundle::new();
    test.change(1, ONE, |bytes| bytes.truncate(HEADER + 13 * SEALED_CHUNK + 100));
    let bundle = test.open();
    assert_partly(load(&bundle, 0), &[13, 14], "000001.age is damaged in chunk 14 of 15 and 1 more");
    assert!(!Finder::new(&bundle).is_there(&bundle.head.parts[0]), "it is too short to be whole");
    assert_eq!(Finder::new(&bundle).file(&bundle.head.parts[0]), Some(test.path(1, ONE)));
}

#[test]
fn a_part_without_any_file_is_missing() {
    let test = TestBundle::new();
    test.remove(1, ONE);
    let bundle = test.open();
    assert_eq!(load(&bundle, 0), Loaded::Missing);
    assert_eq!(Finder::new(&bundle).file(&bundle.head.parts[0]), None);
}

#[test]
fn a_header_that_does_not_open_costs_one_part_alone() {
    let test = TestBundle::new();
    let mut bundle = test.open();
    *bundle.head.parts[0].header = [0; HEADER];
    let all: Vec<usize> = (0..15).collect();
    assert_partly(load(&bundle, 0), &all, "does not open with the bundle's key");
    assert_eq!(load(&bundle, 1), Loaded::Whole);
}

#[test]
fn files_beyond_the_likeliest_are_searched_for_what_these_lack() {
    let test = TestBundle::new();
    test.damage(1, ONE, &[5]);
    (0..limits::COPIES).for_each(|number| copy(&test, ONE, 1, &format!("copy-{number:02}")));
    copy(&test, ONE, 2, "last");
    test.change(2, "last", |bytes| bytes[HEADER + 5 * SEALED_CHUNK + 5] ^= 1);
    let bundle = test.open();
    let finder = Finder::new(&bundle);
    let (likeliest, crowd) = finder.renamed_copies(&bundle.head.parts[0]);
    assert_eq!((likeliest.len(), crowd), (limits::COPIES, &[(1, "last".to_string())][..]));
    assert_eq!(load(&bundle, 0), Loaded::Whole);
}

#[test]
fn files_of_the_right_length_and_number_are_the_likeliest() {
    let test = TestBundle::new();
    let names = ["a", "b-000001", "c", "d-000001"];
    names.iter().for_each(|name| copy(&test, ONE, 1, name));
    ["c", "d-000001"].iter().for_each(|name| test.change(1, name, |bytes| bytes.truncate(1000)));
    let bundle = test.open();
    let finder = Finder::new(&bundle);
    let (likeliest, _) = finder.renamed_copies(&bundle.head.parts[0]);
    let order: Vec<&str> = likeliest.iter().map(|(_, name)| name.as_str()).collect();
    assert_eq!(order, ["b-000001", "a", "d-000001", "c"]);
}

#[test]
fn a_denied_copy_decides_before_one_that_fails() {
    let fault = |code| IoFault { doing: "read", path: "/a".into(), source: std::io::Error::from_raw_os_error(code) };
    let best = BestCopy::without_bytes(&[fault(5), fault(13)], 2);
    assert_eq!((best.bad, best.is_denied), (vec![0, 1], true));
    assert!(best.why.unwrap().contains("could not be read by you"));
    let best = BestCopy::without_bytes(&[fault(5)], 2);
    assert!(best.why.is_some() && !best.is_denied);
    let best = BestCopy::without_bytes(&[], 2);
    assert!(best.why.is_none() && !best.is_denied);
}

#[test]
fn files_that_were_not_tried_are_counted() {
    let damaged = || Some("it is damaged".to_string());
    let others = "1,234 more files that begin like it were not tried";
    assert_eq!(what_is_wrong(damaged(), 0), "it is damaged");
    assert_eq!(what_is_wrong(damaged(), 1234), format!("it is damaged; {others}"));
    assert_eq!(what_is_wrong(None, 0), "no copy of it is whole");
    assert_eq!(what_is_wrong(None, 1234), others);
}

#[test]
fn a_plaintext_is_as_packed_only_to_the_last_byte() {
    let test = TestBundle::new();
    let mut bundle = test.open();
    let mut buf = PartBuf::new(CLASS);
    let part = bundle.head.parts[0].clone();
    Finder::new(&bundle).load(&part, &mut buf).unwrap();
    assert!(Finder::new(&bundle).is_as_packed(&part, &buf).unwrap());
    buf.chunks_mut().last().unwrap()[7] ^= 1;
    assert!(!Finder::new(&bundle).is_as_packed(&part, &buf).unwrap());
    *bundle.head.parts[0].header = [0; HEADER];
    assert!(!Finder::new(&bundle).is_as_packed(&bundle.head.parts[0], &buf).unwrap(), "its header does not open");
}

#[test]
fn single_chunks_come_from_any_copy_that_has_them() {
    let test = TestBundle::new();
    copy(&test, ONE, 2, "copy");
    test.damage(1, ONE, &[3, 4]);
    test.damage(2, "copy", &[0, 4]);
    let bundle = test.open();
    let chunks = Finder::new(&bundle).shard(&bundle.head.parts[0]).unwrap();
    let mut sealed = vec![0; SEALED_CHUNK];
    let found = [0, 3, 0, 4].map(|index| chunks.chunk(index, &mut sealed));
    assert_eq!(found, [true, true, true, false]);
}

#[test]
fn a_part_is_gone_only_with_all_volumes_that_have_it() {
    let test = TestBundle::new();
    copy(&test, ONE, 2, ONE);
    let bundle = test.open();
    let finder = Finder::new(&bundle);
    let dirs = [test.volume(1).dir, test.volume(2).dir];
    let [one, two] = [&bundle.head.parts[0], &bundle.head.parts[1]];
    assert!(finder.seems_there(one, &dirs[..1]) && !finder.is_gone(one, &dirs[..1]));
    assert!(!finder.seems_there(one, &dirs) && finder.is_gone(one, &dirs));
    assert!(!finder.seems_there(two, &dirs[1..]) && finder.is_gone(two, &dirs[1..]));
    assert!(finder.seems_there(two, &dirs[..1]) && !finder.is_gone(two, &dirs[..1]));
}

#[test]
fn a_part_of_which_no_file_is_known_is_not_gone() {
    let test = TestBundle::new();
    fs::rename(test.path(1, ONE), test.path(1, "clip.mov")).unwrap();
    let bundle = test.open();
    let finder = Finder::new(&bundle);
    let part = &bundle.head.parts[0];
    assert!(!finder.seems_there(part, &[]) && !finder.is_gone(part, &[test.volume(1).dir]));
    assert!(finder.is_there(part), "this searches for it");
    assert!(finder.seems_there(part, &[]) && finder.is_gone(part, &[test.volume(1).dir]));
}
