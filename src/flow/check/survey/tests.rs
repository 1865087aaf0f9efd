//! What is known of the parts of a bundle, by what each lacks. The head has two stripes of 3 + 2 on five volumes: data
//! parts 1 to 3 and 4 to 6, and two parity parts for each.

use super::*;
use crate::base::digest::sha256;
use crate::base::monitor::Silent;
use crate::flow::check::check;
use crate::format::head::PartKind;
use crate::format::head::tests::striped;
use crate::format::volume_number::tests::volumes;
use crate::plan::repair::Margin;
use crate::stage::seal::{Identity, Keyring, part_header};

fn chunks(head: &Head) -> usize {
    head.statement.class.chunks()
}

/// A survey in which the first data parts lack these chunks.
fn survey(head: &Head, lacks: Vec<Lacks>) -> Survey {
    Survey::from_opened(head, lacks.into_iter().enumerate())
}

/// The chunk of the data part at `position` that is in that row.
fn in_row(head: &Head, row: usize, position: u16) -> Lacks {
    let chunk = head.statement.scheme.unwrap().chunk_of(row, position, chunks(head));
    Lacks::Chunks(vec![chunk as u16])
}

#[test]
fn as_many_parts_of_a_stripe_may_be_lost_as_it_has_parity() {
    let head = striped(6, 3, 2);
    let two = survey(&head, vec![Lacks::All, Lacks::All]);
    assert_eq!(two.usable, [true; 10]);
    assert_eq!(
        (two.whole[..3].to_vec(), two.found[..3].to_vec()),
        (vec![false, false, true], vec![false, false, true])
    );
    assert_eq!(two.verdict(&head), Verdict::Repairable { rebuilt: vec![1, 2] });
    let three = survey(&head, vec![Lacks::All, Lacks::All, Lacks::All]);
    assert_eq!(three.usable[..4], [false, false, false, true]);
    assert_eq!(three.verdict(&head), Verdict::Short { lost: vec![1, 2, 3], any_one: volumes([1, 2, 3]), at_least: 1 });
}

#[test]
fn bad_chunks_in_different_rows_do_not_add_up() {
    let head = striped(6, 3, 2);
    let spread = survey(&head, (0..3).map(|at| in_row(&head, 7 + usize::from(at), at)).collect());
    assert_eq!(spread.usable, [true; 10]);
    assert_eq!(spread.verdict(&head), Verdict::Repairable { rebuilt: vec![1, 2, 3] }, "no three whole parts are left");
    let same = survey(&head, (0..3).map(|at| in_row(&head, 7, at)).collect());
    assert_eq!(same.usable[..3], [false; 3]);
    assert!(matches!(same.verdict(&head), Verdict::Short { .. }));
}

#[test]
fn a_lost_part_takes_a_shard_from_every_row() {
    let head = striped(6, 3, 2);
    let one_chunk = || in_row(&head, 0, 2);
    let lost_and_hurt = survey(&head, vec![Lacks::All, Lacks::Chunks(vec![]), one_chunk()]);
    assert_eq!(lost_and_hurt.usable, [true; 10]);
    let two_lost = survey(&head, vec![Lacks::All, Lacks::All, one_chunk()]);
    assert_eq!(two_lost.usable[..3], [false; 3], "row 0 has three bad shards");
}

#[test]
fn a_part_that_is_whole_under_another_name_lacks_nothing() {
    let head = striped(6, 3, 2);
    let survey = survey(&head, vec![Lacks::Chunks(vec![])]);
    assert!(survey.whole[0] && survey.found[0] && survey.usable[0]);
    assert_eq!(survey.verdict(&head), Verdict::Complete);
}

#[test]
fn a_part_with_one_good_chunk_is_found_though_it_is_not_whole() {
    let head = striped(6, 3, 2);
    let bad: Vec<usize> = (1..chunks(&head)).collect();
    let survey = survey(&head, vec![Lacks::of(&bad, head.statement.class)]);
    assert!(!survey.whole[0] && survey.found[0] && survey.usable[0]);
}

#[test]
fn without_parity_a_single_bad_chunk_loses_its_part() {
    let mut head = striped(3, 3, 2);
    head.statement.scheme = None;
    head.parts.retain(|part| part.kind != PartKind::Parity);
    head.parts.iter_mut().for_each(|part| part.shard = None);
    let survey = survey(&head, vec![Lacks::Chunks(vec![5])]);
    assert_eq!(survey.usable, [false, true, true]);
    assert_eq!(survey.verdict(&head), Verdict::Short { lost: vec![1], any_one: volumes([1]), at_least: 1 });
}

/// A bundle of which volumes 1 to `here` have SHA256SUMS and files of the parts that the head gives them. The files are
/// too short to be parts, but their hashes are those in the head.
fn bundle_on(drive: &Path, here: u16) -> Bundle {
    let identity = Identity::generate();
    let recipient = identity.recipient();
    let mut head = striped(6, 3, 2);
    for part in &mut head.parts {
        part.sha256 = sha256(part.file_name().as_bytes());
        *part.header = part_header(&recipient).0;
    }
    let mut volumes = Vec::new();
    for number in 1..=here {
        let dir = volume::folder(drive, VolumeNumber::new(number));
        std::fs::create_dir(&dir).unwrap();
        let names: Vec<String> =
            head.parts.iter().filter(|part| part.volume == number).map(|part| part.file_name()).collect();
        names.iter().for_each(|name| std::fs::write(dir.join(name), name).unwrap());
        let lines = names.iter().flat_map(|name| sums::line(&sha256(name.as_bytes()), name.as_bytes()));
        std::fs::write(dir.join(SUMS), lines.collect::<Vec<u8>>()).unwrap();
        volumes.push(volume::read(&dir).unwrap());
    }
    let mut keyring = Keyring::new();
    keyring.add(identity);
    Bundle { head, keyring, recipient, volumes, passed_over: Vec::new(), notes: Vec::new() }
}

/// A report by which every file of these volumes was read and is as SHA256SUMS says.
fn all_whole(bundle: &Bundle) -> CheckReport {
    let dirs: Vec<_> = bundle.volumes.iter().map(|volume| volume.dir.clone()).collect();
    let mut report = check(&dirs, &Silent).unwrap();
    report.volumes.iter_mut().for_each(|check| check.damaged.clear());
    report
}

#[test]
fn parts_that_were_checked_are_believed_and_the_others_count_as_missing() {
    let drive = tempfile::tempdir().unwrap();
    let bundle = bundle_on(drive.path(), 4);
    let found = survey_bundle(&bundle, &all_whole(&bundle), &Silent).unwrap();
    assert_eq!((found.volumes, found.here), (5, volumes([1, 2, 3, 4])));
    assert_eq!(found.verdict, Verdict::Complete, "volume 5 has parity alone");
    assert_eq!(found.margin, Some(Margin { shards: 1, volumes: 1 }));
    assert!(found.needed.is_empty());
}

#[test]
fn a_part_that_the_check_found_damaged_is_opened_with_the_key() {
    let drive = tempfile::tempdir().unwrap();
    let bundle = bundle_on(drive.path(), 5);
    let mut report = all_whole(&bundle);
    report.volumes[0].damaged.push(("000001.age".into(), "has another SHA-256 than when it was written".into()));
    let survey = Survey::of(&bundle, &report, &Silent).unwrap();
    assert_eq!(survey.whole.iter().filter(|whole| !**whole).count(), 1);
    assert!(!survey.whole[0] && !survey.found[0], "no chunk of it opens");
    assert_eq!(survey.verdict(&bundle.head), Verdict::Repairable { rebuilt: vec![1] });
}

#[test]
fn only_files_that_were_checked_and_found_good_are_whole() {
    let drive = tempfile::tempdir().unwrap();
    let bundle = bundle_on(drive.path(), 1);
    let volume = &bundle.volumes[0];
    let mut report = all_whole(&bundle);
    assert_eq!(whole_files(volume, &report).len(), 2);
    report.volumes[0].damaged.push(("000001.age".into(), "is empty".into()));
    assert_eq!(whole_files(volume, &report).into_keys().collect::<Vec<_>>(), ["000004.age"]);
    report.volumes[0].missing.push("000004.age".into());
    assert!(whole_files(volume, &report).is_empty());
    report.volumes.clear();
    assert!(whole_files(volume, &report).is_empty(), "it was not checked");
}
