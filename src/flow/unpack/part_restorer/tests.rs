//! Parts of a small bundle in a folder, placed into a real staging folder.

use super::*;
use crate::base::digest::sha256;
use crate::base::monitor::Silent;
use crate::flow::bundle::part_decoder::tests::SmallBundle;
use crate::flow::bundle::test_bundle::CLASS;
use crate::format::head::tests::striped;
use crate::format::volume_number::VolumeNumber;
use crate::plan::layout::tests::file;
use crate::plan::needed_parts::Contents;
use crate::stage::restore::Staging;

const SMALL: usize = 0;
const LONG: usize = 1;

/// `small` lies in the first parts, `long` in at least three of 4,096 bytes of tar.
struct PlacingBench {
    small: SmallBundle,
    contents: Contents,
    target: tempfile::TempDir,
}

impl PlacingBench {
    fn new() -> Self {
        let small = SmallBundle::new(vec![file("a", 100), file("b", 9000)], 4096);
        Self { contents: Contents::new(&small.entries), target: tempfile::tempdir().unwrap(), small }
    }

    fn staging(&self) -> Staging {
        Staging::begin(self.target.path(), &self.small.entries, &sha256(b"work")).unwrap()
    }

    fn parts(&self) -> Vec<u32> {
        self.small.bundle.head.parts.iter().map(|part| part.number).collect()
    }

    /// The part with the middle of `long`.
    fn middle(&self) -> u32 {
        ((self.small.entries[LONG].at + 4500) / 4096) as u32 + 1
    }

    fn place(&self, staging: &Staging) -> (Placed, [bool; 2]) {
        let extraction = Extraction::new(&self.small.entries, &self.contents, staging);
        let placed = place_parts(&self.small.bundle, &extraction, &self.parts(), &[], &Silent).unwrap();
        (placed, [SMALL, LONG].map(|file| extraction.is_whole(file)))
    }

    /// Places the first part with this defect, out of a buffer of zeros.
    fn place_zeros(&self, defect: PartDefect) -> Result<Placed, FlowError> {
        let staging = self.staging();
        let extraction = Extraction::new(&self.small.entries, &self.contents, &staging);
        let finder = Finder::new(&self.small.bundle);
        let placing = Placing::new(&self.small.bundle, &finder, &extraction, &Silent);
        let decompressor = Decompressor::new().unwrap();
        let mut tools = Tools { writer: extraction.writer(), decompressor, buf: None };
        let part = &self.small.bundle.head.parts[0];
        placing.place(part, Some(defect), &PartBuf::new(CLASS), &mut tools)?;
        Ok(unlocked(placing.placed))
    }
}

fn states(bad: &[BadPart]) -> Vec<(u32, PartState)> {
    bad.iter().map(|part| (part.number, part.state)).collect()
}

#[test]
fn whole_parts_give_whole_files_and_are_logged() {
    let bench = PlacingBench::new();
    let staging = bench.staging();
    let (placed, whole) = bench.place(&staging);
    assert_eq!(whole, [true, true]);
    assert!(placed.bad.is_empty() && placed.mended.is_empty() && placed.failed.is_none());
    assert_eq!((placed.verdict, placed.margin), (Verdict::Complete, None));
    assert_eq!(staging.placed(), BTreeSet::from_iter(bench.parts()));
}

#[test]
fn a_lost_part_costs_its_file_alone_and_is_not_logged() {
    let mut bench = PlacingBench::new();
    bench.small.lose(bench.middle());
    let staging = bench.staging();
    let (placed, whole) = bench.place(&staging);
    assert_eq!(whole, [true, false]);
    assert_eq!(states(&placed.bad), [(bench.middle(), PartState::Missing)]);
    assert_eq!(placed.bad[0].why, "was not found");
    assert!(!staging.placed().contains(&bench.middle()));
    let Verdict::Short { lost, .. } = placed.verdict else { panic!("{:?}", placed.verdict) };
    assert_eq!(lost, [bench.middle()]);
}

#[test]
fn a_damaged_part_is_named_with_its_file_and_chunk() {
    let bench = PlacingBench::new();
    bench.small.damage(bench.middle(), 3);
    let (placed, _) = bench.place(&bench.staging());
    assert_eq!(states(&placed.bad), [(bench.middle(), PartState::Damaged)]);
    assert!(placed.bad[0].why.ends_with("is damaged in chunk 4 of 15"), "{}", placed.bad[0].why);
    assert!(placed.gone.is_empty() && placed.denied.is_empty());
}

#[test]
fn a_part_with_less_tar_than_the_head_says_is_damaged() {
    let mut bench = PlacingBench::new();
    let last = bench.small.bundle.head.parts.last_mut().unwrap();
    let PartKind::Data { offset, length } = last.kind else { panic!("there is no parity") };
    last.kind = PartKind::Data { offset, length: length + 512 };
    let number = last.number;
    let (placed, _) = bench.place(&bench.staging());
    assert_eq!(states(&placed.bad), [(number, PartState::Damaged)]);
    let why = format!("holds {length} bytes of tar, {} were announced", length + 512);
    assert_eq!(placed.bad[0].why, why);
}

#[test]
fn a_part_with_another_lead_ends_the_run() {
    let mut bench = PlacingBench::new();
    bench.small.bundle.head.statement.bundle = [8; 16];
    let staging = bench.staging();
    let extraction = Extraction::new(&bench.small.entries, &bench.contents, &staging);
    let placed = place_parts(&bench.small.bundle, &extraction, &bench.parts(), &[], &Silent);
    assert!(matches!(placed, Err(FlowError::Format(_))));
}

#[test]
fn broken_content_ends_the_run_unless_it_was_rebuilt_without_proof() {
    let defect = |is_doubtful| PartDefect { readable: 1, is_doubtful, state: PartState::Damaged, why: "is cut".into() };
    let bench = PlacingBench::new();
    assert!(matches!(bench.place_zeros(defect(false)), Err(FlowError::Format(_))), "zeros are no lead");
    let bench = PlacingBench::new();
    let placed = bench.place_zeros(defect(true)).unwrap();
    assert_eq!(states(&placed.bad), [(1, PartState::Damaged)]);
    assert_eq!(placed.bad[0].why, "is cut", "the defect was there before the content");
}

#[test]
fn what_the_drives_had_decides_the_defect() {
    let partly = Loaded::Partly { bad: vec![3, 5], why: "is damaged".into() };
    let unread = Loaded::Unread { why: "no".into() };
    let defect = |loaded: &Loaded| PartDefect::of(loaded, 15).map(|defect| (defect.state, defect.readable));
    assert_eq!(defect(&Loaded::Whole), None);
    assert_eq!(defect(&partly), Some((PartState::Damaged, 3)));
    assert_eq!(defect(&unread), Some((PartState::Unread, 0)));
    assert_eq!(defect(&Loaded::Missing), Some((PartState::Missing, 0)));
}

#[test]
fn a_part_that_was_read_is_judged_by_what_was_found() {
    let head = striped(4, 2, 1);
    let findings = Findings {
        tried: &[1, 2],
        defective: BTreeSet::from([2]),
        placed_before: BTreeSet::from([2, 3]),
        wrong_parity: BTreeSet::from([1]),
    };
    let known: Vec<Option<bool>> = head.parts.iter().map(|part| findings.is_there(part)).collect();
    assert_eq!(known, [Some(true), Some(false), Some(true), None, Some(false), None]);
}

#[test]
fn parts_of_a_drive_that_is_gone_are_missing_and_not_damaged() {
    let bench = PlacingBench::new();
    let finder = Finder::new(&bench.small.bundle);
    let bad = |number, state| BadPart { number, volume: VolumeNumber::new(1), state, why: "cannot be read".into() };
    let bad = vec![bad(1, PartState::Damaged), bad(2, PartState::Unread)];
    let mut placed = Placed { bad, ..Placed::default() };
    placed.count_gone_as_missing(Vec::new(), &bench.small.bundle.head, &finder);
    assert_eq!(states(&placed.bad), [(1, PartState::Damaged), (2, PartState::Unread)], "its drive answers");
    let gone = vec![bench.small.drive.path().to_owned()];
    placed.count_gone_as_missing(gone.clone(), &bench.small.bundle.head, &finder);
    assert_eq!(states(&placed.bad), [(1, PartState::Missing), (2, PartState::Unread)]);
    assert_eq!((placed.bad[0].why.as_str(), placed.gone), ("its drive is gone", gone));
}

#[test]
fn a_target_that_fails_is_reported_and_not_an_error() {
    let bench = PlacingBench::new();
    let staging = bench.staging();
    // A folder in the place of a file: no write can succeed.
    std::fs::create_dir(staging.path().join("files/b")).unwrap();
    let (placed, whole) = bench.place(&staging);
    assert!(placed.failed.is_some());
    assert!(!whole[LONG]);
}
