//! Parts written into a real staging folder, in several orders and with several kinds of damage.

use super::*;
use crate::base::digest::sha256;
use crate::plan::layout::tests::file;

/// A tar of 3,000 bytes: `small` from 0 to 100, `long` from 500 to 2,500. Parts end at 1,500 and 3,000.
struct Bench {
    target: tempfile::TempDir,
    tar: Vec<u8>,
    entries: Vec<Entry>,
    contents: Contents,
}

const FIRST: (u64, u64) = (0, 1500);
const SECOND: (u64, u64) = (1500, 3000);
const SMALL: usize = 0;
const LONG: usize = 1;

impl Bench {
    fn new() -> Self {
        let tar: Vec<u8> = (0..3000).map(|at: u32| (at * 7 % 251) as u8).collect();
        let mut entries = vec![file("small", 100), file("long", 2000)];
        for (entry, at) in entries.iter_mut().zip([0, 500]) {
            entry.at = at;
            entry.sha256 = Some(sha256(&tar[at as usize..(at + entry.size) as usize]));
        }
        let contents = Contents::new(&entries);
        Self { target: tempfile::tempdir().unwrap(), tar, entries, contents }
    }

    fn staging(&self) -> Staging {
        let staging = Staging::begin(self.target.path(), &self.entries, &sha256(b"work")).unwrap();
        staging.make_dirs(&self.entries).unwrap();
        staging
    }

    /// Writes a part up to `end` of the tar, some bytes at a time.
    fn write(&self, writer: &mut FileWriter, part: (u64, u64), end: u64) {
        writer.begin_part(part.0, part.1, end == part.1);
        for at in (part.0..end).step_by(333) {
            writer.write(at, &self.tar[at as usize..(at + 333).min(end) as usize]).unwrap();
        }
        writer.end_part().unwrap();
    }
}

#[test]
fn parts_are_written_in_any_order() {
    for parts in [[FIRST, SECOND], [SECOND, FIRST]] {
        let bench = Bench::new();
        let staging = bench.staging();
        let extraction = Extraction::new(&bench.entries, &bench.contents, &staging);
        // Each part on a thread of its own.
        for part in parts {
            bench.write(&mut extraction.writer(), part, part.1);
        }
        assert!(extraction.is_whole(SMALL) && extraction.is_whole(LONG), "{parts:?}");
        assert_eq!(extraction.target_fault(LONG), None);
    }
}

#[test]
fn a_file_that_ends_before_the_damage_is_written() {
    let bench = Bench::new();
    let staging = bench.staging();
    let extraction = Extraction::new(&bench.entries, &bench.contents, &staging);
    bench.write(&mut extraction.writer(), FIRST, 999);
    assert!(extraction.is_whole(SMALL));
    assert!(!extraction.is_whole(LONG) && !extraction.is_wrong(LONG));
    bench.write(&mut extraction.writer(), SECOND, SECOND.1);
    bench.write(&mut extraction.writer(), FIRST, FIRST.1);
    assert!(extraction.is_whole(LONG), "the rest came with the next copy");
}

#[test]
fn a_file_whose_digest_is_not_in_the_list_is_wrong() {
    let mut bench = Bench::new();
    bench.entries[LONG].sha256 = Some(sha256(b"another"));
    let staging = bench.staging();
    let extraction = Extraction::new(&bench.entries, &bench.contents, &staging);
    for part in [FIRST, SECOND] {
        bench.write(&mut extraction.writer(), part, part.1);
    }
    assert!(extraction.is_wrong(LONG) && !extraction.is_whole(LONG));
    assert_eq!(extraction.target_fault(LONG), None, "nothing was read back: the list is wrong");
    assert!(extraction.restart_wrong_files().is_empty(), "no piece is from an earlier run");
}

#[test]
fn without_a_list_every_complete_file_counts_as_whole() {
    let mut bench = Bench::new();
    bench.entries[SMALL].sha256 = None;
    let staging = bench.staging();
    let extraction = Extraction::new(&bench.entries, &bench.contents, &staging);
    bench.write(&mut extraction.writer(), FIRST, FIRST.1);
    assert!(extraction.is_whole(SMALL));
}

#[test]
fn a_wrong_piece_from_an_earlier_run_is_blamed_on_the_target_and_written_again() {
    let bench = Bench::new();
    let staging = bench.staging();
    let extraction = Extraction::new(&bench.entries, &bench.contents, &staging);
    let mut writer = extraction.writer();
    // The earlier run left zeros in the place of the first piece.
    bench.write(&mut writer, SECOND, SECOND.1);
    writer.adopt_piece(LONG, (0, 1000)).unwrap();
    assert!(extraction.is_wrong(LONG));
    assert_eq!(extraction.target_fault(LONG), Some(TargetFault::Possible));
    assert_eq!(extraction.restart_wrong_files(), [LONG]);
    assert_eq!(extraction.target_fault(LONG), None);
    for part in [SECOND, FIRST] {
        bench.write(&mut writer, part, part.1);
    }
    assert!(extraction.is_whole(LONG));
}

#[test]
fn a_staged_file_is_kept_only_if_it_is_what_was_packed() {
    let bench = Bench::new();
    let staging = bench.staging();
    bench.write(&mut Extraction::new(&bench.entries, &bench.contents, &staging).writer(), FIRST, FIRST.1);
    let extraction = Extraction::new(&bench.entries, &bench.contents, &staging);
    extraction.writer().verify_staged(SMALL).unwrap();
    assert!(extraction.is_whole(SMALL));
    let mut other = bench.entries.clone();
    other[SMALL].sha256 = Some(sha256(b"another"));
    let extraction = Extraction::new(&other, &bench.contents, &staging);
    extraction.writer().verify_staged(SMALL).unwrap();
    assert!(!extraction.is_whole(SMALL));
}

#[test]
fn a_piece_that_comes_back_with_other_bytes_proves_a_fault_of_the_target() {
    let bench = Bench::new();
    let staging = bench.staging();
    let extraction = Extraction::new(&bench.entries, &bench.contents, &staging);
    // The second piece is written first, and read back once the first one is there.
    bench.write(&mut extraction.writer(), SECOND, SECOND.1);
    std::fs::write(staging.path().join("files/long"), vec![0; 2000]).unwrap();
    bench.write(&mut extraction.writer(), FIRST, FIRST.1);
    assert!(extraction.is_wrong(LONG));
    assert_eq!(extraction.target_fault(LONG), Some(TargetFault::Proven));
    assert!(extraction.restart_wrong_files().is_empty(), "no piece is from an earlier run");
}

#[test]
fn a_file_in_a_damaged_part_alone_is_removed_with_what_was_written_of_it() {
    let bench = Bench::new();
    let staging = bench.staging();
    let extraction = Extraction::new(&bench.entries, &bench.contents, &staging);
    bench.write(&mut extraction.writer(), FIRST, 50);
    assert!(!extraction.is_whole(SMALL) && !staging.path().join("files/small").exists());
    bench.write(&mut extraction.writer(), FIRST, FIRST.1);
    assert!(extraction.is_whole(SMALL), "the next copy is whole");
}

#[test]
fn a_part_that_is_read_again_writes_no_piece_twice() {
    let bench = Bench::new();
    let staging = bench.staging();
    let extraction = Extraction::new(&bench.entries, &bench.contents, &staging);
    let mut writer = extraction.writer();
    bench.write(&mut writer, SECOND, SECOND.1);
    std::fs::remove_file(staging.path().join("files/long")).unwrap();
    bench.write(&mut writer, SECOND, SECOND.1);
    assert!(!staging.path().join("files/long").exists());
}

#[test]
fn a_delivered_file_is_not_written_again() {
    let bench = Bench::new();
    let staging = bench.staging();
    let extraction = Extraction::new(&bench.entries, &bench.contents, &staging);
    extraction.set_delivered(SMALL);
    bench.write(&mut extraction.writer(), FIRST, FIRST.1);
    assert!(extraction.is_delivered(SMALL) && extraction.is_whole(SMALL));
    assert!(!staging.path().join("files/small").exists());
}

#[test]
fn adopted_pieces_wait_until_the_file_is_complete() {
    let bench = Bench::new();
    let staging = bench.staging();
    // An earlier run wrote the second part alone.
    bench.write(&mut Extraction::new(&bench.entries, &bench.contents, &staging).writer(), SECOND, SECOND.1);
    let extraction = Extraction::new(&bench.entries, &bench.contents, &staging);
    let mut writer = extraction.writer();
    writer.adopt_piece(LONG, (1000, 1000)).unwrap();
    assert!(extraction.is_unverified(LONG) && !extraction.is_whole(LONG));
    bench.write(&mut writer, FIRST, FIRST.1);
    assert!(extraction.is_whole(LONG));
    assert_eq!(extraction.target_fault(LONG), Some(TargetFault::Possible), "its first hash is not known");
}

#[test]
fn the_strongest_evidence_against_the_target_is_kept() {
    let bench = Bench::new();
    let staging = bench.staging();
    let extraction = Extraction::new(&bench.entries, &bench.contents, &staging);
    extraction.note_target_fault(LONG, TargetFault::Proven);
    extraction.note_target_fault(LONG, TargetFault::Possible);
    assert_eq!(extraction.target_fault(LONG), Some(TargetFault::Proven));
    assert_eq!(extraction.target_fault(SMALL), None);
}
