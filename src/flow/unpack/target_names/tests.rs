//! Changes are reported under the paths of the bundle, and recorded in a real folder.

use super::*;
use crate::base::monitor::Silent;
use crate::flow::unpack::report::tests::report;
use crate::plan::layout::tests::{dir, entry, file};

fn path(text: &str) -> BytePath {
    BytePath::new(text.as_bytes()).unwrap()
}

fn fitted(entries: Vec<Entry>) -> Fitted {
    let former = HashMap::new();
    let clamped = HashSet::new();
    Fitted { entries, former, changes: Vec::new(), clamped, names: None, fills_holes: false }
}

fn hardlink(name: &str, first: &str) -> Entry {
    entry(name, Kind::Hardlink(path(first)), 0)
}

fn change(name: &str, becomes: Becomes) -> Change {
    Change { path: path(name), why: "it is too long".into(), becomes }
}

/// A file that was packed as `a:b` and is delivered as `a%3Ab`.
fn renamed() -> Fitted {
    let mut fitted = fitted(vec![file("a%3Ab", 3)]);
    fitted.former.insert(path("a%3Ab"), path("a:b"));
    fitted.changes.push(change("a:b", Becomes::Renamed(path("a%3Ab"))));
    fitted
}

#[test]
fn a_target_that_holds_everything_is_left_as_it_was() {
    let target = tempfile::tempdir().unwrap();
    let (fitted, left) = fit_to(target.path(), vec![dir("d"), file("d/a", 3)], false, &Silent).unwrap();
    assert_eq!((fitted.entries.len(), fitted.changes.len(), left), (2, 0, None));
    assert_eq!(std::fs::read_dir(target.path()).unwrap().count(), 0);
}

#[test]
fn no_copies_are_needed_where_the_target_has_names_enough() {
    let fitted = fitted(vec![file("a", 5), hardlink("b", "a")]);
    assert!(!only_copies(&fitted));
    assert_eq!(copies_to_make(&fitted, |_| false), Copies::default());
}

#[test]
fn every_hard_link_is_a_copy_where_files_have_one_name() {
    let mut fitted = fitted(vec![file("a", 5), hardlink("b", "a"), hardlink("c", "a")]);
    fitted.names = Some(1);
    assert!(only_copies(&fitted));
    assert_eq!(copies_to_make(&fitted, |_| false), Copies { files: 2, bytes: 10 });
    assert_eq!(copies_to_make(&fitted, |at| at == 1), Copies { files: 1, bytes: 5 }, "b is delivered already");
}

#[test]
fn a_copy_is_made_for_each_name_beyond_the_most() {
    let mut fitted = fitted(vec![file("a", 5), hardlink("b", "a"), hardlink("c", "a"), hardlink("d", "a")]);
    fitted.names = Some(3);
    assert_eq!(copies_to_make(&fitted, |_| false), Copies { files: 1, bytes: 5 });
    fitted.names = Some(4);
    assert_eq!(copies_to_make(&fitted, |_| false), Copies::default());
}

#[test]
fn copies_of_huge_files_do_not_overflow() {
    let mut fitted = fitted(vec![file("a", u64::MAX), hardlink("b", "a"), hardlink("c", "a")]);
    fitted.names = Some(1);
    assert_eq!(copies_to_make(&fitted, |_| false), Copies { files: 2, bytes: u64::MAX });
}

#[test]
fn a_report_names_paths_as_they_are_in_the_bundle() {
    let target = tempfile::tempdir().unwrap();
    let mut report = report(target.path());
    report.lost.push(Lost { path: b"a%3Ab".to_vec(), cause: Cause::Missing, why: "gone".into() });
    report.notes.push(Note::new(NoteKind::Changed, b"a%3Ab", "changed"));
    report.notes.push(Note::new(NoteKind::Volume, b"/media/red", "is damaged"));
    report_changes(&renamed(), &mut report).unwrap();
    assert_eq!(report.lost[0].path, b"a:b");
    assert_eq!((&report.notes[0].path[..], &report.notes[1].path[..]), (&b"a:b"[..], &b"/media/red"[..]));
    assert_eq!(report.renamed_in, Some(target.path().join("pouch-renamed.txt")));
    assert_eq!(report.changes, renamed().changes);
}

#[test]
fn what_is_left_out_is_lost_and_only_files_count() {
    let target = tempfile::tempdir().unwrap();
    let mut fitted = fitted(Vec::new());
    fitted.changes.push(change("dir", Becomes::FolderLeftOut));
    fitted.changes.push(change("file", Becomes::LeftOut(None)));
    fitted.changes.push(change("link", Becomes::LeftOut(Some(Box::from(&b"to"[..])))));
    fitted.changes.push(change("name", Becomes::Copy));
    let mut report = report(target.path());
    let files = report.files;
    report_changes(&fitted, &mut report).unwrap();
    assert_eq!(report.files, files + 1);
    let lost: Vec<_> = report.lost.iter().map(|lost| (&lost.path[..], lost.cause, &*lost.why)).collect();
    let expected = [&b"dir"[..], b"file", b"link"].map(|path| (path, Cause::Target, "it is too long"));
    assert_eq!(lost, expected);
    let record = std::fs::read_to_string(report.renamed_in.unwrap()).unwrap();
    let lines = "folder left out\tdir\t\nleft out\tfile\t\nsymlink left out\tlink\tto\ncopied\tname\tname\n";
    assert_eq!(record, format!("{HEADING}{lines}"));
}

#[test]
fn without_changes_there_is_no_record() {
    let target = tempfile::tempdir().unwrap();
    let mut report = report(target.path());
    report_changes(&fitted(vec![file("a", 1)]), &mut report).unwrap();
    assert_eq!(report.renamed_in, None);
    assert_eq!(std::fs::read_dir(target.path()).unwrap().count(), 0);
}

#[test]
fn a_record_of_an_earlier_run_is_kept_or_completed() {
    let target = tempfile::tempdir().unwrap();
    let first = write_record(target.path(), &renamed()).unwrap();
    let text = std::fs::read_to_string(&first).unwrap();
    assert_eq!(text, format!("{HEADING}renamed\ta:b\ta%3Ab\n"));
    assert_eq!(write_record(target.path(), &renamed()).unwrap(), first);
    std::fs::write(&first, &text[..text.len() - 3]).unwrap();
    assert_eq!(write_record(target.path(), &renamed()).unwrap(), first);
    assert_eq!(std::fs::read_to_string(&first).unwrap(), text);
    assert_eq!(std::fs::read_dir(target.path()).unwrap().count(), 1);
}

#[test]
fn a_foreign_file_keeps_the_name_of_the_record() {
    let heading_cut_short = &HEADING[..HEADING.len() - 1];
    let other_record = format!("{HEADING}renamed\tx:y\tx%3Ay\n");
    let longer = format!("{HEADING}{}", "x".repeat(1000));
    for foreign in ["mine", heading_cut_short, &other_record, &longer] {
        let target = tempfile::tempdir().unwrap();
        let taken = target.path().join("pouch-renamed.txt");
        std::fs::write(&taken, foreign).unwrap();
        let written = write_record(target.path(), &renamed()).unwrap();
        assert_eq!(written, target.path().join("pouch-renamed-2.txt"), "{foreign}");
        assert_eq!(std::fs::read_to_string(taken).unwrap(), foreign);
    }
}

#[test]
fn an_entry_with_the_name_of_the_record_keeps_it_in_any_case() {
    let target = tempfile::tempdir().unwrap();
    let mut fitted = renamed();
    fitted.entries.push(file("Pouch-Renamed.TXT", 1));
    fitted.entries.push(file("pouch-renamed-2.txt/x", 1));
    let written = write_record(target.path(), &fitted).unwrap();
    assert_eq!(written, target.path().join("pouch-renamed-3.txt"));
}

#[test]
fn clamped_times_count_if_the_entry_is_delivered() {
    let mut fitted = fitted(vec![file("a", 1), file("b", 1), file("c", 1)]);
    fitted.clamped.extend([path("a"), path("b")]);
    assert_eq!(count_clamped(&fitted, |at| at != 0), 1);
}

#[test]
fn a_copy_that_was_announced_is_not_noted_again() {
    let mut fitted = fitted(vec![file("a", 1), hardlink("b", "a"), hardlink("c%3A", "a")]);
    fitted.changes.push(change("b", Becomes::Copy));
    fitted.former.insert(path("c%3A"), path("c:"));
    let target = tempfile::tempdir().unwrap();
    let mut report = report(target.path());
    report_copies(&fitted, &[1, 2], &mut report);
    let noted: Vec<_> = report.notes.iter().map(|note| (note.kind, &note.path[..])).collect();
    assert_eq!(noted, [(NoteKind::Property, &b"c:"[..])]);
}

#[test]
fn modes_and_times_that_differ_are_told_in_words() {
    assert_eq!(modes_text(0), None);
    assert_eq!(modes_text(1).unwrap(), "1 item have another mode there; contents are not touched by that");
    let times = |times, off, clamped| times_text(MetadataDifferences { modes: 0, times, off }, clamped);
    let cannot = |items: &str, which: &str| Some(format!("{items} have times that the target cannot keep: {which}"));
    let nearest = "they lie outside of what it counts and got the nearest that it can";
    let both = "1 outside of what it counts, which got the nearest that it can, and 2 off by up to 1 second";
    assert_eq!(times(0, 0, 0), None);
    assert_eq!(times(2, 1_000_000_001, 0), cannot("2 items", "they are off by up to 2 seconds"));
    assert_eq!(times(0, 0, 3), cannot("3 items", nearest));
    assert_eq!(times(2, 1_000_000_000, 1), cannot("3 items", both));
}
