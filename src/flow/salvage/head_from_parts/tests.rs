//! Tables made of leads, and leads read from the parts of a small bundle.

use super::*;
use crate::flow::bundle::part_decoder::tests::SmallBundle;
use crate::flow::bundle::test_bundle::CLASS;
use crate::plan::layout::tests::file;
use crate::stage::volume;

const NOWHERE: [u8; HEADER] = [0; HEADER];

fn known(parts: &[(u32, u64)]) -> BTreeMap<u32, KnownPart> {
    let bundle = [7; 16];
    let of = |(number, offset): &(u32, u64)| {
        (*number, KnownPart { lead: Lead { bundle, number: *number, offset: *offset }, header: Box::new([1; HEADER]) })
    };
    parts.iter().map(of).collect()
}

/// Offset and length of each part, and whether it is there.
fn rows(parts: &[(u32, u64)], trails: &[(u32, u64, bool)]) -> Vec<(u64, u64, bool)> {
    let trail = |(number, length, last): &(u32, u64, bool)| {
        (*number, Trail { length: *length, first_member: None, last: *last })
    };
    let table = table(&known(parts), &trails.iter().map(trail).collect(), &NOWHERE);
    assert!(table.iter().zip(1..).all(|(part, number)| part.number == number));
    let row = |part: &Part| match part.kind {
        PartKind::Data { offset, length } => (offset, length, *part.header != NOWHERE),
        PartKind::Parity => unreachable!("there is none"),
    };
    table.iter().map(row).collect()
}

#[test]
fn parts_reach_to_the_next() {
    let whole = [(1, 0), (2, 1024), (3, 2048)];
    assert_eq!(rows(&whole, &[(3, 512, true)]), [(0, 1024, true), (1024, 1024, true), (2048, 512, true)]);
    assert_eq!(rows(&whole[..1], &[]), [(0, FAR, true)], "nothing says where it ends");
    let more = rows(&whole[..2], &[(2, 512, false)]);
    assert_eq!(more, [(0, 1024, true), (1024, 512, true), (1536, FAR - 1536, false)]);
}

#[test]
fn the_first_of_those_missing_has_the_stretch_of_all() {
    let rows = rows(&[(3, 2048), (6, 8192)], &[(3, 512, false), (6, 1024, true)]);
    let expected = [
        (0, 2048, false),
        (2048, 0, false),
        (2048, 512, true),
        (2560, 5632, false),
        (8192, 0, false),
        (8192, 1024, true),
    ];
    assert_eq!(rows, expected);
}

#[test]
fn parts_in_each_other_s_place_are_left_out() {
    let parts = known(&[(1, 0), (2, 0), (3, 1024), (4, 512), (5, 1024), (6, 4096)]);
    let keyring = Keyring::new();
    let mut survey = LeadSurvey { parts, ..LeadSurvey::new([7; 16], &keyring) };
    survey.drop_unordered();
    assert_eq!(survey.parts.into_keys().collect::<Vec<_>>(), [1, 3, 6]);
    assert_eq!(survey.notes.len(), 3);
    assert!(survey.notes.iter().all(|note| note.text.contains("begins where it cannot")));
}

/// A bundle of one file in four parts or more, of 4,096 bytes of tar each.
fn small_bundle() -> SmallBundle {
    SmallBundle::new(vec![file("a", 15_000)], 4096)
}

/// Looks at all files of the drive as they are now, for a bundle of that name.
fn survey(small: &SmallBundle, bundle: [u8; 16]) -> LeadSurvey<'_> {
    let mut survey = LeadSurvey::new(bundle, &small.bundle.keyring);
    look_at_all(&mut survey, small);
    survey
}

fn look_at_all(survey: &mut LeadSurvey, small: &SmallBundle) {
    let volume = volume::read(small.drive.path()).unwrap();
    volume.files.iter().for_each(|found| survey.look_at(&volume, found));
}

fn numbers(survey: &LeadSurvey) -> Vec<u32> {
    survey.parts.keys().copied().collect()
}

fn all_numbers(small: &SmallBundle) -> Vec<u32> {
    small.bundle.head.parts.iter().map(|part| part.number).collect()
}

#[test]
fn a_part_is_known_by_its_first_chunk_whatever_its_name_is() {
    let small = small_bundle();
    std::fs::rename(small.part_file(2), small.drive.path().join("holiday.jpg")).unwrap();
    std::fs::copy(small.part_file(1), small.drive.path().join("copy of a part")).unwrap();
    std::fs::write(small.drive.path().join("notes.txt"), b"mine").unwrap();
    let survey = survey(&small, [7; 16]);
    assert_eq!(numbers(&survey), all_numbers(&small));
    assert!(survey.notes.is_empty());
    assert_eq!((survey.class, survey.longest), (Some(CLASS), CLASS.file_len() as u64));
    assert_eq!(survey.parts[&2].lead, Lead { bundle: [7; 16], number: 2, offset: 4096 });
    assert_eq!(survey.parts[&2].header, small.bundle.head.parts[1].header);
}

#[test]
fn a_part_whose_first_chunk_is_damaged_is_not_known_and_noted() {
    let small = small_bundle();
    small.damage(2, 0);
    let survey = survey(&small, [7; 16]);
    assert!(!survey.parts.contains_key(&2) && survey.parts.contains_key(&3));
    let noted: Vec<_> = survey.notes.iter().map(|note| (&note.path[..], &*note.text)).collect();
    let why = "has a part's name, and does not begin like a part of this bundle that is whole";
    assert_eq!(noted, [(as_bytes(&small.part_file(2)), why)]);
}

#[test]
fn parts_that_name_another_bundle_are_not_known() {
    let small = small_bundle();
    let survey = survey(&small, [8; 16]);
    assert!(survey.parts.is_empty());
    assert_eq!(survey.notes.len(), all_numbers(&small).len());
    let why = "says that it is a part of another bundle, 07070707070707070707070707070707";
    assert!(survey.notes.iter().all(|note| note.text == why));
}

#[test]
fn of_two_files_that_are_one_part_the_first_counts() {
    let small = small_bundle();
    let mut survey = survey(&small, [7; 16]);
    *survey.parts.get_mut(&2).unwrap().header = NOWHERE;
    look_at_all(&mut survey, &small);
    assert_eq!(*survey.parts[&2].header, NOWHERE);
    let texts: Vec<&str> = survey.notes.iter().map(|note| &*note.text).collect();
    assert_eq!(texts, ["says that it is a part that another file is already"]);
}

#[test]
fn files_that_are_cut_short_are_known_and_prove_no_class() {
    let small = small_bundle();
    let cut = HEADER + 2 * SEALED_CHUNK;
    for number in all_numbers(&small) {
        let bytes = std::fs::read(small.part_file(number)).unwrap();
        std::fs::write(small.part_file(number), &bytes[..cut]).unwrap();
    }
    let survey = survey(&small, [7; 16]);
    assert_eq!(numbers(&survey), all_numbers(&small));
    assert_eq!((survey.class, survey.longest), (None, cut as u64));
}

#[test]
fn without_proof_the_smallest_class_that_fits_is_assumed() {
    let smallest = Class::ALL[0].file_len() as u64;
    let largest = Class::ALL[4].file_len() as u64;
    assert_eq!((class_for(0), class_for(smallest)), (Class::ALL[0], Class::ALL[0]));
    assert_eq!(class_for(smallest + 1), Class::ALL[1]);
    assert_eq!((class_for(largest), class_for(largest + 1)), (Class::ALL[4], Class::ALL[4]));
}

#[test]
fn a_lead_has_to_be_one_that_a_bundle_can_have() {
    let is_possible = |number, offset| is_possible(&Lead { bundle: [7; 16], number, offset });
    assert!(is_possible(1, 0) && is_possible(limits::PARTS, 512));
    assert!(!is_possible(0, 0) && !is_possible(limits::PARTS + 1, 512));
    assert!(!is_possible(2, 511) && !is_possible(2, FAR + 1));
}

#[test]
fn trails_are_read_where_the_next_part_is_missing() {
    let mut small = small_bundle();
    small.lose(2);
    let known = survey(&small, [7; 16]).parts;
    let last = *all_numbers(&small).last().unwrap();
    let trails = trails(&small.bundle, &known).unwrap();
    assert_eq!(trails.keys().copied().collect::<Vec<_>>(), [1, last]);
    assert_eq!((trails[&1].length, trails[&1].last), (4096, false));
    assert!(trails[&last].last);
    let table = table(&known, &trails, &NOWHERE);
    let kinds: Vec<PartKind> = table.iter().map(|part| part.kind).collect();
    let packed: Vec<PartKind> = small.bundle.head.parts.iter().map(|part| part.kind).collect();
    assert_eq!(kinds, packed, "the lost part lies between the others");
}
