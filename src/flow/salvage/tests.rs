//! A small bundle without its list, and the decisions of a salvage.

use std::path::{Path, PathBuf};

use super::*;
use crate::base::digest::Digest;
use crate::base::monitor::Silent;
use crate::flow::bundle::part_decoder::tests::SmallBundle;
use crate::flow::error::IndexFile;
use crate::format::bag;
use crate::format::head::tests::striped;
use crate::plan::layout::tests::{dir, file};
use crate::stage::volume::VolumeFile;

fn request(target: &Path, only: &[&[u8]]) -> UnpackRequest {
    UnpackRequest {
        volumes: vec!["/media/red".into(), "/media/blue".into()],
        bundle: None,
        target: target.to_owned(),
        only: only.iter().map(|path| path.to_vec()).collect(),
        overwrite: false,
        rename: false,
    }
}

/// `d/b` lies in at least three parts of 4,096 bytes of tar.
fn small_bundle() -> SmallBundle {
    let folder = Entry { mode: 0o755, ..dir("d") };
    SmallBundle::new(vec![folder, file("d/a", 100), file("d/b", 9000), file("d/c", 10)], 4096)
}

/// The part with the middle of `d/b`.
fn middle_of_b(small: &SmallBundle) -> u32 {
    ((small.entries[2].at + 4500) / 4096) as u32 + 1
}

/// Salvages a bundle that has a head and no list.
fn salvaged(small: &mut SmallBundle, target: &Path, only: &[&[u8]]) -> Result<Salvaged, FlowError> {
    let basis = Basis { head: true, ..Basis::default() };
    by_the_tar(&request(target, only), &mut small.bundle, basis, &Silent)
}

fn path(text: &str) -> BytePath {
    BytePath::new(text.as_bytes()).unwrap()
}

fn lost(path: &str) -> Lost {
    Lost { path: path.as_bytes().to_vec(), cause: Cause::Missing, why: "it is".into() }
}

fn paths(entries: &[Entry]) -> Vec<String> {
    entries.iter().map(|entry| entry.path.to_string()).collect()
}

fn told(lost: &[Lost]) -> Vec<(&[u8], Cause, &str)> {
    lost.iter().map(|lost| (&lost.path[..], lost.cause, &*lost.why)).collect()
}

#[test]
fn a_whole_tar_is_proven_by_its_manifest() {
    let target = tempfile::tempdir().unwrap();
    let salvaged = salvaged(&mut small_bundle(), target.path(), &[]).unwrap();
    assert_eq!(salvaged.outcome(), Outcome::Ok);
    assert!(salvaged.complete() && salvaged.intact() && !salvaged.is_ordinary());
    assert_eq!((salvaged.report.files, salvaged.report.delivered, salvaged.basis.unproven), (3, 3, 0));
    assert!(salvaged.basis.manifest && salvaged.basis.seamless);
    assert!(std::fs::read(target.path().join("d/b")).unwrap() == [b'c'; 9000]);
}

#[test]
fn a_lost_part_costs_its_file_and_the_proof_that_nothing_else_is_missing() {
    let mut small = small_bundle();
    small.lose(middle_of_b(&small));
    let target = tempfile::tempdir().unwrap();
    let salvaged = salvaged(&mut small, target.path(), &[]).unwrap();
    assert_eq!(told(&salvaged.report.lost), [(&b"d/b"[..], Cause::Missing, "a part that holds it is missing")]);
    assert_eq!((salvaged.report.files, salvaged.report.delivered), (3, 2));
    assert!(salvaged.basis.manifest && !salvaged.basis.seamless && salvaged.intact());
    assert_eq!(salvaged.outcome(), Outcome::Damaged);
    assert_eq!(salvaged.report.kept, None, "no later run can bring more");
}

#[test]
fn only_the_selected_files_are_delivered_and_reported() {
    let mut small = small_bundle();
    small.lose(middle_of_b(&small));
    let target = tempfile::tempdir().unwrap();
    let salvaged = salvaged(&mut small, target.path(), &[b"d/c"]).unwrap();
    assert!(salvaged.report.lost.is_empty());
    assert_eq!((salvaged.report.files, salvaged.report.delivered), (1, 1));
    assert!(target.path().join("d/c").exists() && !target.path().join("d/a").exists());
}

#[test]
fn a_selected_file_that_is_lost_is_no_usage_error() {
    let mut small = small_bundle();
    small.lose(middle_of_b(&small));
    let target = tempfile::tempdir().unwrap();
    let lost = salvaged(&mut small, target.path(), &[b"d/b"]).unwrap();
    assert_eq!((lost.report.files, lost.report.delivered, lost.report.lost.len()), (1, 0, 1));
    let unknown = salvaged(&mut small, target.path(), &[b"d/x"]);
    assert!(matches!(unknown, Err(FlowError::Usage(_))));
}

#[test]
fn a_copy_that_may_be_good_later_is_not_done_without() {
    let copy = |fault: CopyFault| BadCopy { path: PathBuf::from("head.age"), fault };
    let damaged = || copy(CopyFault::Damaged("cut".into()));
    let newer = copy(CopyFault::Broken(FormatError::Newer { what: "the head", version: 2 }));
    let can = |bad: Vec<BadCopy>| can_do_without(&NoCopy { what: IndexFile::Head, bad });
    assert!(can(vec![]) && can(vec![damaged(), damaged()]));
    assert!(!can(vec![damaged(), copy(CopyFault::Denied("no".into()))]));
    assert!(!can(vec![damaged(), newer]));
}

#[test]
fn what_is_done_without_is_noted_and_other_errors_end_the_run() {
    let request = request(Path::new("/out"), &[]);
    let mut notes = Vec::new();
    assert!(matches!(usable(Ok(7), &request, &mut notes), Ok(Some(7))));
    assert!(matches!(usable::<u8>(Err(FlowError::Cancelled), &request, &mut notes), Err(FlowError::Cancelled)));
    assert!(notes.is_empty());
    let none = NoCopy { what: IndexFile::List, bad: Vec::new() };
    let text = none.to_string();
    let lost: Result<u8, FlowError> = Err(BundleError::NoCopy(none).into());
    assert!(matches!(usable(lost, &request, &mut notes), Ok(None)));
    assert_eq!(notes, [Note::new(NoteKind::Volume, b"/media/red", text)]);
}

#[test]
fn copies_of_a_parity_part_count_once() {
    let file = |name: &&str| VolumeFile { name: name.to_string(), on_drive: None, len: 1, regular: true };
    let volume = |names: &[&str]| Volume {
        dir: PathBuf::from("/media/red"),
        files: names.iter().map(file).collect(),
        others: 0,
        fault: None,
    };
    let volumes = [volume(&["000001.age", "000001.par"]), volume(&["000001.par", "000002.par", "par"])];
    assert_eq!(count_parity_files(&volumes), 2);
}

#[test]
fn a_selection_is_meant_as_the_user_types_it() {
    let entries = [dir("d"), file("d/a", 1)];
    let selection = Selection::new(&[b"./d/".to_vec(), b"e/f".to_vec()], &entries, &[lost("e/f")]);
    assert_eq!(selection.paths, [b"d".to_vec(), b"e/f".to_vec()]);
    assert!(selection.includes(b"d") && selection.includes(b"d/a") && selection.includes(b"e/f"));
    assert!(!selection.includes(b"da") && !selection.includes(b"e"));
    assert!(Selection::new(&[], &entries, &[]).includes(b"anything"));
}

#[test]
fn what_is_lost_can_be_selected_and_what_nothing_names_cannot() {
    let entries = || vec![dir("d"), file("d/a", 1), file("f", 1)];
    let choose = |only: &[&str]| {
        let only: Vec<Vec<u8>> = only.iter().map(|path| path.as_bytes().to_vec()).collect();
        let chosen = Selection::new(&only, &entries(), &[lost("e")]).choose(entries(), &[lost("e")]);
        chosen.map(|entries| paths(&entries))
    };
    assert_eq!(choose(&[]).unwrap(), ["d", "d/a", "f"]);
    assert_eq!(choose(&["d", "e"]).unwrap(), ["d", "d/a"]);
    assert!(choose(&["e"]).unwrap().is_empty());
    assert!(matches!(choose(&["d", "x"]), Err(FlowError::Usage(_))));
}

#[test]
fn a_torn_file_is_damaged_if_one_of_its_parts_is() {
    let head = striped(3, 2, 1);
    let cause = |damaged: &[u32]| {
        let damaged = BTreeSet::from_iter(damaged.iter().copied());
        let second_part = Entry { at: 512, ..file("b", 512) };
        LossReasons { head: &head, damaged: &damaged, seamless: false }.of_content(&second_part)
    };
    assert_eq!(cause(&[2]), (Cause::Damaged, "a part that holds it is damaged"));
    assert_eq!(cause(&[1, 3]), (Cause::Missing, "a part that holds it is missing"));
}

#[test]
fn a_file_that_only_the_manifest_names_is_missing_unless_something_is_damaged() {
    let head = striped(3, 2, 1);
    let cause =
        |damaged: BTreeSet<u32>, seamless| LossReasons { head: &head, damaged: &damaged, seamless }.of_unseen().0;
    assert_eq!(cause(BTreeSet::new(), false), Cause::Missing);
    assert_eq!(cause(BTreeSet::from([3]), false), Cause::Damaged);
    assert_eq!(cause(BTreeSet::new(), true), Cause::Damaged);
}

#[test]
fn each_file_that_is_not_delivered_is_lost_once() {
    let head = striped(3, 2, 1);
    let names = ["data/a", "data/b", "data/c", "data/z"];
    let text: Vec<u8> = names.iter().flat_map(|name| bag::manifest_line(&Digest([7; 32]), name.as_bytes())).collect();
    let manifest = Manifest::parse(&text, None).unwrap();
    let recovered = Recovered {
        entries: vec![file("a", 1)],
        torn: vec![file("b", 600)],
        refused: vec![(path("c"), "the tar holds that name twice")],
        ..Recovered::default()
    };
    let reasons = LossReasons { head: &head, damaged: &BTreeSet::new(), seamless: false };
    let torn = "a part that holds it is missing";
    let refused = "the tar holds that name twice";
    let unseen = "the manifest names it, and the part where it begins is missing";
    let known = [(&b"b"[..], Cause::Missing, torn), (&b"c"[..], Cause::Damaged, refused)];
    assert_eq!(told(&reasons.lost(&recovered, None)), known);
    let all = [known[0], known[1], (&b"z"[..], Cause::Missing, unseen)];
    assert_eq!(told(&reasons.lost(&recovered, Some(&manifest))), all);
}

#[test]
fn the_manifest_is_named_where_an_unpacking_names_the_list() {
    assert_eq!(
        name_manifest("its content is not what the list says".into()),
        "its content is not what the manifest says"
    );
    assert_eq!(name_manifest("a part that holds it is missing".into()), "a part that holds it is missing");
}

#[test]
fn flaws_are_noted_for_the_selected_paths() {
    let entries = [file("a", 1), dir("d"), file("x", 1)];
    let selection = Selection::new(&[b"a".to_vec(), b"d".to_vec()], &entries, &[]);
    let notes = flaws(&[path("a"), path("x")], &[path("d")], &selection);
    let noted: Vec<_> = notes.iter().map(|note| (note.kind, &note.path[..])).collect();
    assert_eq!(noted, [(NoteKind::Changed, &b"a"[..]), (NoteKind::Property, b"d")]);
    assert_eq!(
        notes[0].text,
        "the manifest does not vouch for it: it changed while it was packed, or a program could change it unseen, or \
         it could not be read and is zeros"
    );
}
