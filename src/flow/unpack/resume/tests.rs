//! A second run over what a first one staged or delivered, in a real folder.

use std::path::Path;

use super::*;
use crate::base::digest::sha256;
use crate::base::monitor::Silent;
use crate::base::monitor::fake::Heard;
use crate::format::head::tests::striped;
use crate::plan::layout::tests::{entry, file, symlink};
use crate::plan::needed_parts::Contents;
use crate::stage::restore::{Fate, Staging, TargetError};

/// `long` lies in all three parts of 512 bytes, `small` in part 3 alone.
fn entries() -> Vec<Entry> {
    let mut entries = vec![file("long", 1100), file("small", 100)];
    for (entry, at) in entries.iter_mut().zip([100, 1300]) {
        entry.at = at;
        entry.sha256 = Some(sha256(&content(entry)));
    }
    let link = Kind::Hardlink(BytePath::new(&b"small"[..]).unwrap());
    entries.extend([file("void", 0), entry("y", link, 0), symlink("z", "small")]);
    entries
}

const LONG: usize = 0;
const SMALL: usize = 1;

/// The tar has the number of each byte in its place.
fn content(entry: &Entry) -> Vec<u8> {
    (entry.at..entry.at + entry.size).map(|at| (at % 251) as u8).collect()
}

/// Waits for the lock: a child process that another test forks inherits it, and holds it until it runs its program.
fn begin(target: &Path, entries: &[Entry]) -> Staging {
    for _ in 0..2000 {
        match Staging::begin(target, entries, &sha256(b"work")) {
            Err(TargetError::Busy(_)) => std::thread::sleep(std::time::Duration::from_millis(5)),
            begun => return begun.unwrap(),
        }
    }
    panic!("the lock is never free");
}

/// Writes parts (from 1) into the staging folder, and logs them.
fn place(extraction: &Extraction, parts: &[u32]) {
    let mut writer = extraction.writer();
    for number in parts {
        let start = u64::from(*number - 1) * 512;
        let tar: Vec<u8> = (start..start + 512).map(|at| (at % 251) as u8).collect();
        writer.begin_part(start, start + 512, true);
        writer.write(start, &tar).unwrap();
        writer.end_part().unwrap();
        extraction.staging.note_placed(*number).unwrap();
    }
}

/// Lets a first run place `parts`, changes what it left with `tamper`, and lets `look` see what a second run adopts.
fn second_run<R>(parts: &[u32], tamper: impl Fn(&Path), look: impl Fn(&Extraction, &Head) -> R) -> R {
    let head = striped(3, 2, 1);
    let target = tempfile::tempdir().unwrap();
    let entries = entries();
    let contents = Contents::new(&entries);
    let first = begin(target.path(), &entries);
    place(&Extraction::new(&entries, &contents, &first), parts);
    tamper(&first.path().join("files"));
    drop(first);
    let staging = begin(target.path(), &entries);
    let extraction = Extraction::new(&entries, &contents, &staging);
    adopt_earlier_run(&extraction, &head, &Silent).unwrap();
    look(&extraction, &head)
}

fn untouched(_: &Path) {}

#[test]
fn whole_files_are_adopted_and_none_of_their_parts_is_read_again() {
    second_run(&[1, 2, 3], untouched, |extraction, head| {
        assert!(extraction.is_whole(LONG) && extraction.is_whole(SMALL));
        assert!(to_do(extraction, head, &[1, 2, 3]).is_empty());
    });
}

#[test]
fn pieces_of_a_longer_file_are_adopted_and_the_other_parts_read() {
    second_run(&[1, 3], untouched, |extraction, head| {
        assert!(extraction.is_whole(SMALL) && !extraction.is_whole(LONG) && extraction.is_unverified(LONG));
        assert_eq!(to_do(extraction, head, &[1, 2, 3]), [2]);
        place(extraction, &[2]);
        assert!(extraction.is_whole(LONG));
    });
}

#[test]
fn a_part_whose_file_is_lost_is_read_again() {
    let remove = |files: &Path| std::fs::remove_file(files.join("small")).unwrap();
    second_run(&[1, 2, 3], remove, |extraction, head| {
        assert!(!extraction.is_whole(SMALL));
        assert_eq!(to_do(extraction, head, &[1, 2, 3]), [3]);
        assert!(to_do(extraction, head, &[1, 2]).is_empty(), "only the parts that were asked for");
    });
}

#[test]
fn a_file_that_is_not_what_was_packed_is_removed_and_its_part_read_again() {
    for wrong in [vec![0; 100], vec![0; 99]] {
        let tamper = |files: &Path| std::fs::write(files.join("small"), &wrong).unwrap();
        second_run(&[1, 2, 3], tamper, |extraction, head| {
            assert!(!extraction.is_whole(SMALL) && !extraction.staging.path().join("files/small").exists());
            assert_eq!(to_do(extraction, head, &[1, 2, 3]), [3]);
        });
    }
}

#[test]
fn a_longer_file_that_lost_its_end_is_begun_anew() {
    let cut = |files: &Path| std::fs::write(files.join("long"), [0; 1000]).unwrap();
    second_run(&[1, 2, 3], cut, |extraction, head| {
        assert!(!extraction.is_unverified(LONG));
        assert_eq!(to_do(extraction, head, &[1, 2, 3]), [1, 2, 3]);
    });
}

#[test]
fn a_longer_file_with_wrong_pieces_is_written_again_from_all_its_parts() {
    let spoil = |files: &Path| std::fs::write(files.join("long"), [0; 1100]).unwrap();
    second_run(&[1, 2, 3], spoil, |extraction, head| {
        assert!(extraction.is_wrong(LONG));
        assert_eq!(parts_of(extraction, head, &extraction.restart_wrong_files()), [1, 2, 3]);
    });
}

#[test]
fn files_and_links_that_were_delivered_are_found_in_the_target() {
    let head = striped(3, 2, 1);
    let target = tempfile::tempdir().unwrap();
    let entries = entries();
    let contents = Contents::new(&entries);
    let first = begin(target.path(), &entries);
    place(&Extraction::new(&entries, &contents, &first), &[1, 2, 3]);
    first.finish(&entries, |_| Fate::Keep).unwrap();
    first.deliver(&entries, false, true).unwrap();
    std::fs::remove_file(target.path().join("z")).unwrap();
    std::fs::write(target.path().join("long"), [0; 1100]).unwrap();
    let staging = begin(target.path(), &entries);
    let extraction = Extraction::new(&entries, &contents, &staging);
    adopt_earlier_run(&extraction, &head, &Silent).unwrap();
    let delivered: Vec<bool> = (0..entries.len()).map(|at| extraction.is_delivered(at)).collect();
    assert_eq!(delivered, [false, true, true, true, false], "`long` is another file now, and `z` is gone");
    assert_eq!(to_do(&extraction, &head, &[1, 2, 3]), [1, 2, 3]);
}

#[test]
fn a_file_that_the_packer_could_not_read_needs_no_part() {
    let mut entries = entries();
    entries[SMALL].flag = Flag::Unreadable;
    entries[LONG].flag = Flag::Unreadable;
    let target = tempfile::tempdir().unwrap();
    let contents = Contents::new(&entries);
    let staging = begin(target.path(), &entries);
    let extraction = Extraction::new(&entries, &contents, &staging);
    staging.note_placed(3).unwrap();
    assert_eq!(to_do(&extraction, &striped(3, 2, 1), &[1, 2, 3]), [1, 2], "a part that was never placed is read");
}

#[test]
fn an_unpacking_is_the_same_if_bundle_and_paths_are() {
    let head = striped(3, 2, 1);
    let other = striped(4, 2, 1);
    let entries = entries();
    assert_eq!(work(&head, &entries), work(&head, &entries));
    assert_ne!(work(&head, &entries), work(&other, &entries));
    assert_ne!(work(&head, &entries), work(&head, &entries[1..]));
}

#[test]
fn placed_parts_are_clipped_to_the_file() {
    let entries = entries();
    let stretches = PlacedStretches::new(&striped(3, 2, 1), &BTreeSet::from([1, 3]));
    assert!(stretches.is_cut(&entries[LONG]) && !stretches.is_cut(&entries[SMALL]));
    assert_eq!(stretches.placed_within(&entries[LONG]).collect::<Vec<_>>(), [(0, 412), (924, 1100)]);
    assert_eq!(stretches.placed_within(&entries[SMALL]).collect::<Vec<_>>(), [(0, 100)]);
    let edge = Entry { at: 512, ..file("edge", 512) };
    assert!(!stretches.is_cut(&edge), "it fills part 2");
    assert_eq!(stretches.placed_within(&edge).count(), 0);
}

#[test]
fn a_user_can_stop_while_the_earlier_run_is_looked_at() {
    let target = tempfile::tempdir().unwrap();
    let entries = entries();
    let contents = Contents::new(&entries);
    let staging = begin(target.path(), &entries);
    let extraction = Extraction::new(&entries, &contents, &staging);
    let adopted = adopt_earlier_run(&extraction, &striped(3, 2, 1), &Heard::stopping());
    assert!(matches!(adopted, Err(FlowError::Cancelled)));
}
