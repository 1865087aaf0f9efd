//! Tars of a small bundle, of which parts are lost, damaged or forged.

use super::*;
use crate::base::entry::Entry;
use crate::base::monitor::Silent;
use crate::flow::bundle::part_decoder::tests::SmallBundle;
use crate::format::head::PartKind;
use crate::plan::layout::tests::{dir, file};

/// Parts of 4,096 bytes of tar, so that `d/b` lies in at least three of them.
fn small_bundle() -> SmallBundle {
    SmallBundle::new(vec![dir("d"), file("d/a", 100), file("d/b", 9000), file("d/c", 10)], 4096)
}

/// The part with the middle of `d/b`, and with neither its header nor its end.
fn middle_of_b(small: &SmallBundle) -> u32 {
    ((small.entries[2].at + 4500) / 4096) as u32 + 1
}

/// Paths of whole and torn members, and the damaged parts.
fn read(small: &SmallBundle) -> (Vec<String>, Vec<String>, Vec<u32>) {
    let Unlisted { members, damaged } = read_tar(&small.bundle, &Silent).unwrap();
    let paths = |entries: &[Entry]| entries.iter().map(|entry| entry.path.to_string()).collect();
    (paths(&members.whole), paths(&members.torn), damaged.into_iter().collect())
}

#[test]
fn a_whole_tar_has_all_members_and_its_manifest() {
    let small = small_bundle();
    let Unlisted { members, damaged } = read_tar(&small.bundle, &Silent).unwrap();
    assert_eq!(members.whole.len(), 4);
    assert!(members.torn.is_empty() && members.refused.is_empty() && members.broken.is_empty());
    assert!(members.ended && !members.gaps && members.manifests[0].is_some());
    assert!(damaged.is_empty());
}

#[test]
fn a_lost_part_tears_its_file_and_is_not_called_damaged() {
    let mut small = small_bundle();
    small.lose(middle_of_b(&small));
    let (whole, torn, damaged) = read(&small);
    assert_eq!((&whole[..], &torn[..]), (&["d", "d/a", "d/c"].map(String::from)[..], &["d/b".to_string()][..]));
    assert!(damaged.is_empty());
}

#[test]
fn a_part_with_a_bad_first_chunk_is_damaged_and_not_read() {
    let small = small_bundle();
    small.damage(middle_of_b(&small), 0);
    let (_, torn, damaged) = read(&small);
    assert_eq!(torn, ["d/b"]);
    assert_eq!(damaged, [middle_of_b(&small)]);
}

#[test]
fn a_part_that_is_bad_behind_its_content_is_damaged_and_read() {
    let small = small_bundle();
    small.damage(middle_of_b(&small), 7);
    let (whole, torn, damaged) = read(&small);
    assert_eq!((whole.len(), torn.len()), (4, 0), "its tar lies in its first chunk");
    assert_eq!(damaged, [middle_of_b(&small)]);
}

#[test]
fn a_part_with_another_lead_is_damaged_and_not_read() {
    let mut small = small_bundle();
    small.bundle.head.statement.bundle = [8; 16];
    let (whole, torn, damaged) = read(&small);
    assert!(whole.is_empty() && torn.is_empty());
    assert_eq!(damaged, (1..=small.bundle.head.parts.len() as u32).collect::<Vec<_>>());
}

#[test]
fn only_a_part_without_a_known_end_may_be_shorter_than_the_head_says() {
    let mut small = small_bundle();
    let last = small.bundle.head.parts.last_mut().unwrap();
    let PartKind::Data { offset, length } = last.kind else { panic!("there is no parity") };
    last.kind = PartKind::Data { offset, length: length + 512 };
    let number = last.number;
    assert_eq!(read(&small).2, [number]);
    small.bundle.head.parts.last_mut().unwrap().kind = PartKind::Data { offset, length: FAR - offset };
    assert!(read(&small).2.is_empty());
}
