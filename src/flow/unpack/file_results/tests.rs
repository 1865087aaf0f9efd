//! Files of three parts, of which some are bad.

use super::*;
use crate::base::digest::{Digest, sha256};
use crate::base::path::BytePath;
use crate::format::head::tests::striped;
use crate::format::volume_number::VolumeNumber;
use crate::plan::layout::tests::{dir, entry, file, symlink};
use crate::plan::needed_parts::Contents;
use crate::stage::restore::Staging;

/// Files in a tar of three parts of 512 bytes: `a` in part 1, `b` in parts 1 and 2, `c` in part 3.
fn files() -> Vec<Entry> {
    let mut entries = vec![file("a", 100), file("b", 600), file("c", 100)];
    for (entry, at) in entries.iter_mut().zip([0, 200, 1200]) {
        entry.at = at;
        entry.sha256 = Some(Digest([1; 32]));
    }
    entries
}

const A: usize = 0;
const B: usize = 1;
const C: usize = 2;

fn bad(number: u32, state: PartState) -> BadPart {
    BadPart { number, volume: VolumeNumber::new(1), state, why: "it is".into() }
}

/// Judges entries, of which an earlier run delivered those at `whole`.
fn judged(entries: &[Entry], whole: &[usize], bad: &[BadPart], stopped: bool) -> FileResults {
    let target = tempfile::tempdir().unwrap();
    let staging = Staging::begin(target.path(), entries, &sha256(b"work")).unwrap();
    let contents = Contents::new(entries);
    let extraction = Extraction::new(entries, &contents, &staging);
    whole.iter().for_each(|at| extraction.set_delivered(*at));
    judge(&striped(3, 2, 1), &extraction, bad, stopped)
}

fn causes(results: &FileResults) -> Vec<(&[u8], Cause, &str)> {
    results.lost.iter().map(|lost| (&lost.path[..], lost.cause, &*lost.why)).collect()
}

#[test]
fn whole_files_are_delivered_and_counted() {
    let results = judged(&files(), &[A, B, C], &[], false);
    assert_eq!((results.files, results.delivered, results.bytes, results.unproven), (3, 3, 800, 0));
    assert_eq!(results.kept, [true; 3]);
    assert!(results.lost.is_empty() && results.notes.is_empty());
}

#[test]
fn the_state_of_a_part_is_the_cause_for_all_files_in_it() {
    let cause = |state| judged(&files(), &[C], &[bad(1, state)], false).lost.iter().map(|lost| lost.cause).collect();
    let causes: [Vec<Cause>; 3] = [PartState::Missing, PartState::Unread, PartState::Damaged].map(cause);
    let twice = |cause: Cause| vec![cause; 2];
    assert_eq!(causes, [twice(Cause::Missing), twice(Cause::Unread), twice(Cause::Damaged)]);
}

#[test]
fn damage_is_named_before_parts_that_are_unread_or_missing() {
    let of = |bad: &[BadPart]| judged(&files(), &[A, C], bad, false);
    let damaged = of(&[bad(1, PartState::Missing), bad(2, PartState::Damaged)]);
    assert_eq!(causes(&damaged), [(&b"b"[..], Cause::Damaged, "a part that holds it is damaged")]);
    let unread = of(&[bad(1, PartState::Unread), bad(2, PartState::Missing)]);
    assert_eq!(causes(&unread), [(&b"b"[..], Cause::Unread, "a part that holds it could not be read by you")]);
}

#[test]
fn a_file_that_came_out_of_no_part_is_damaged_unless_the_target_stopped_the_run() {
    let damaged = judged(&files(), &[A, B], &[], false);
    assert_eq!(causes(&damaged), [(&b"c"[..], Cause::Damaged, "it was not found in the parts")]);
    assert_eq!(damaged.kept, [true, true, false]);
    let stopped = judged(&files(), &[A, B], &[], true);
    assert_eq!(causes(&stopped), [(&b"c"[..], Cause::Target, "the target took no more")]);
    let missing = judged(&files(), &[A, B], &[bad(3, PartState::Missing)], true);
    assert_eq!(causes(&missing), [(&b"c"[..], Cause::Missing, "a part that holds it is missing")]);
}

#[test]
fn wrong_content_is_blamed_on_the_target_only_with_evidence() {
    let fault = |adopted: bool| {
        let mut entries = vec![file("a", 4)];
        entries[0].sha256 = Some(Digest([1; 32]));
        let target = tempfile::tempdir().unwrap();
        let staging = Staging::begin(target.path(), &entries, &sha256(b"work")).unwrap();
        let contents = Contents::new(&entries);
        let extraction = Extraction::new(&entries, &contents, &staging);
        let mut writer = extraction.writer();
        for (start, end) in [(0, 2), (2, 4)] {
            if adopted && start == 2 {
                writer.adopt_piece(0, (2, 2)).unwrap();
                continue;
            }
            writer.begin_part(start, end, true);
            writer.write(start, b"xx").unwrap();
            writer.end_part().unwrap();
        }
        why_lost(&extraction, 0, &FilesHurt::default(), false)
    };
    assert_eq!(fault(false), (Cause::Damaged, NOT_THE_LISTED));
    assert_eq!(fault(true), (Cause::Damaged, NOT_TOLD));
}

#[test]
fn flags_from_packing_become_notes() {
    let mut entries = files();
    entries[A].flag = Flag::Changed;
    entries[B].flag = Flag::Unreadable;
    entries[C] = Entry { flag: Flag::Unreadable, ..file("c", 0) };
    let results = judged(&entries, &[A], &[], false);
    assert_eq!(results.kept, [true, false, true], "an empty file that was not read is delivered");
    assert_eq!((results.files, results.delivered, results.unproven), (3, 2, 1));
    assert!(results.lost.is_empty());
    let kinds: Vec<NoteKind> = results.notes.iter().map(|note| note.kind).collect();
    assert_eq!(kinds, [NoteKind::Changed, NoteKind::Unreadable, NoteKind::Unreadable]);
}

#[test]
fn folders_and_symlinks_are_kept_and_not_counted() {
    let unread = Entry { flag: Flag::Unreadable, ..dir("e") };
    let results = judged(&[dir("d"), unread, symlink("l", "d")], &[], &[], false);
    assert_eq!((results.files, &results.kept[..]), (0, &[true; 3][..]));
    let noted: Vec<_> = results.notes.iter().map(|note| (note.kind, &note.path[..])).collect();
    assert_eq!(noted, [(NoteKind::Unreadable, &b"e"[..])]);
}

#[test]
fn a_hard_link_shares_the_fate_of_its_file_and_adds_no_bytes() {
    let link = |name: &str, to: &str| entry(name, Kind::Hardlink(BytePath::new(to.as_bytes()).unwrap()), 0);
    let mut entries = files();
    entries.extend([link("d", "a"), link("e", "c")]);
    let results = judged(&entries, &[A, B], &[bad(3, PartState::Missing)], false);
    assert_eq!(results.kept, [true, true, false, true, false]);
    assert_eq!((results.files, results.delivered, results.bytes), (5, 3, 700));
    assert_eq!(results.lost.iter().map(|lost| &lost.path[..]).collect::<Vec<_>>(), [b"c", b"e"]);
}

#[test]
fn a_file_without_a_digest_is_delivered_unproven_with_its_links() {
    let link = entry("d", Kind::Hardlink(BytePath::new(&b"a"[..]).unwrap()), 0);
    let mut entries = files();
    entries[A].sha256 = None;
    entries.push(link);
    assert_eq!(judged(&entries, &[A, B, C], &[], false).unproven, 2);
    assert_eq!(judged(&entries, &[B, C], &[], false).unproven, 0, "they are not delivered");
    assert!(is_unproven(&entries, &entries[A]) && is_unproven(&entries, &entries[3]));
    assert!(!is_unproven(&entries, &entries[B]) && !is_unproven(&entries, &dir("x")));
}
