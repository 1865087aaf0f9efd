//! A small bundle unpacked into a temporary folder.

use super::*;
use crate::base::monitor::Silent;
use crate::flow::bundle::part_decoder::tests::SmallBundle;
use crate::flow::unpack::report::tests::report;
use crate::plan::layout::tests::{dir, entry, file};

/// `d/b` lies in at least three parts of 4,096 bytes of tar.
fn small_bundle() -> SmallBundle {
    let folder = Entry { mode: 0o755, ..dir("d") };
    SmallBundle::new(vec![folder, file("d/a", 100), file("d/b", 9000)], 4096)
}

/// The part with the middle of `d/b`.
fn middle_of_b(small: &SmallBundle) -> u32 {
    ((small.entries[2].at + 4500) / 4096) as u32 + 1
}

fn request(target: &Path) -> UnpackRequest {
    let target = target.to_owned();
    UnpackRequest { volumes: Vec::new(), bundle: None, target, only: Vec::new(), overwrite: false, rename: false }
}

/// Unpacks what `request` asks for. Waits for the lock: a child process that another test forks inherits it, and holds
/// it until it runs its program.
fn run(small: &mut SmallBundle, request: &UnpackRequest, rounds: Rounds) -> Result<UnpackReport, FlowError> {
    for _ in 0..2000 {
        let entries = chosen(small.entries.clone(), &request.only)?;
        match unpack_opened(request, &mut small.bundle, entries, rounds, &Silent) {
            Err(FlowError::Output(OutputError::Busy(_))) => std::thread::sleep(std::time::Duration::from_millis(5)),
            done => return done,
        }
    }
    panic!("the lock is never free");
}

/// Names in a folder, sorted.
fn names(folder: &Path) -> Vec<String> {
    let folder = std::fs::read_dir(folder).unwrap();
    let mut names: Vec<String> = folder.map(|name| name.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn all_files_are_delivered_and_nothing_else_is_left() {
    let desk = tempfile::tempdir().unwrap();
    let target = desk.path().join("out");
    let report = run(&mut small_bundle(), &request(&target), Rounds::These(None)).unwrap();
    assert_eq!(report.outcome(), Outcome::Ok);
    assert_eq!((report.files, report.delivered, report.bytes, report.unproven), (2, 2, 9100, 0));
    assert_eq!((report.kept, report.selected, report.volumes_given), (None, false, 1));
    assert_eq!((names(&target), names(&target.join("d"))), (vec!["d".to_string()], vec!["a".into(), "b".into()]));
    assert!(std::fs::read(target.join("d/b")).unwrap() == [b'c'; 9000]);
}

#[test]
fn only_the_parts_of_the_chosen_files_are_needed() {
    let mut small = small_bundle();
    small.lose(middle_of_b(&small));
    let target = tempfile::tempdir().unwrap();
    let request = UnpackRequest { only: vec![b"d/a".to_vec()], ..request(target.path()) };
    let report = run(&mut small, &request, Rounds::These(None)).unwrap();
    assert_eq!((report.outcome(), report.files, report.selected), (Outcome::Ok, 1, true));
    assert_eq!(names(&target.path().join("d")), ["a"]);
}

#[test]
fn a_later_run_completes_what_a_missing_part_left_open() {
    let mut small = small_bundle();
    let number = middle_of_b(&small);
    let part = std::fs::read(small.part_file(number)).unwrap();
    small.lose(number);
    let target = tempfile::tempdir().unwrap();
    let first = run(&mut small, &request(target.path()), Rounds::These(None)).unwrap();
    assert_eq!((first.outcome(), first.delivered), (Outcome::Incomplete, 1));
    assert_eq!(first.kept, Some(target.path().join(".pouch-unfinished")));
    assert_eq!(names(&target.path().join("d")), ["a"]);
    std::fs::write(small.part_file(number), part).unwrap();
    small.bundle.volumes = vec![crate::stage::volume::read(small.drive.path()).unwrap()];
    let second = run(&mut small, &request(target.path()), Rounds::These(None)).unwrap();
    assert_eq!((second.outcome(), second.delivered, second.kept), (Outcome::Ok, 2, None));
    assert_eq!(names(target.path()), ["d"]);
    assert!(std::fs::read(target.path().join("d/b")).unwrap() == [b'c'; 9000]);
}

#[test]
fn after_the_last_round_nothing_is_kept() {
    let mut small = small_bundle();
    small.lose(middle_of_b(&small));
    let target = tempfile::tempdir().unwrap();
    let report = run(&mut small, &request(target.path()), Rounds::Last).unwrap();
    assert_eq!((report.outcome(), report.kept), (Outcome::Incomplete, None));
    assert_eq!(names(target.path()), ["d"]);
}

#[test]
fn an_existing_file_is_replaced_only_if_asked() {
    let target = tempfile::tempdir().unwrap();
    let existing = target.path().join("d/a");
    std::fs::create_dir(target.path().join("d")).unwrap();
    std::fs::write(&existing, b"mine").unwrap();
    let refused = run(&mut small_bundle(), &request(target.path()), Rounds::These(None));
    let Err(FlowError::Output(OutputError::Exists(path))) = refused else { panic!("{refused:?}") };
    assert_eq!(path, existing);
    assert_eq!((std::fs::read(&existing).unwrap(), names(target.path())), (b"mine".to_vec(), vec!["d".to_string()]));
    let request = UnpackRequest { overwrite: true, ..request(target.path()) };
    assert_eq!(run(&mut small_bundle(), &request, Rounds::These(None)).unwrap().outcome(), Outcome::Ok);
    assert_eq!(std::fs::read(&existing).unwrap(), [b'b'; 100]);
}

#[test]
fn a_folder_in_the_place_of_a_file_is_named_before_files_that_can_be_replaced() {
    let target = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(target.path().join("d/b")).unwrap();
    std::fs::write(target.path().join("d/a"), b"mine").unwrap();
    for overwrite in [false, true] {
        let request = UnpackRequest { overwrite, ..request(target.path()) };
        let refused = run(&mut small_bundle(), &request, Rounds::These(None));
        let Err(FlowError::Output(OutputError::InTheWay(path))) = refused else { panic!("{refused:?}") };
        assert_eq!(path, target.path().join("d/b"));
    }
}

#[test]
fn a_hostile_part_leaves_neither_a_staging_folder_nor_a_new_target() {
    let desk = tempfile::tempdir().unwrap();
    let mut small = small_bundle();
    small.bundle.head.statement.bundle = [8; 16];
    let target = desk.path().join("out");
    let error = run(&mut small, &request(&target), Rounds::These(None)).err().unwrap();
    assert_eq!(error.outcome(), Outcome::Hostile);
    assert!(!target.exists());
    std::fs::create_dir(&target).unwrap();
    run(&mut small, &request(&target), Rounds::These(None)).err().unwrap();
    assert!(target.exists(), "the user made it");
    assert!(names(&target).is_empty());
}

#[test]
fn a_target_within_a_volume_is_refused() {
    let mut small = small_bundle();
    let target = small.drive.path().join("out");
    let refused = run(&mut small, &request(&target), Rounds::These(None));
    let Err(FlowError::Usage(text)) = refused else { panic!("{refused:?}") };
    assert!(text.ends_with("files would lie open beside what is sealed"), "{text}");
    assert!(!target.exists());
}

#[test]
fn a_target_needs_a_folder_to_stand_in() {
    let desk = tempfile::tempdir().unwrap();
    let new = desk.path().join("new");
    assert!(make_target(&new).unwrap());
    assert!(!make_target(&new).unwrap(), "this call did not make it");
    let Err(FlowError::Usage(text)) = make_target(&desk.path().join("no/new")) else { panic!("it was made") };
    assert!(text.ends_with("the folder it would stand in does not exist"), "{text}");
    std::fs::write(desk.path().join("file"), b"").unwrap();
    assert!(matches!(make_target(&desk.path().join("file")), Err(FlowError::Usage(_))));
}

#[test]
fn a_path_that_is_not_in_the_bundle_is_named_as_it_was_typed() {
    let Err(FlowError::Usage(text)) = chosen(vec![file("a", 1)], &[b"b\n".to_vec()]) else { panic!("it was found") };
    assert_eq!(text, "there is no \"b\\x0a\" in this bundle; `pouch list` shows what is");
}

#[test]
fn a_refused_hard_link_was_counted_as_delivered_and_a_symlink_was_not() {
    let hardlink = Kind::Hardlink(crate::base::path::BytePath::new(&b"a"[..]).unwrap());
    let symlink = Kind::Symlink(Box::from(&b"a"[..]));
    let entries = [file("a", 1), entry("b", hardlink, 0), entry("c", symlink, 0)];
    let mut report = UnpackReport { unproven: 2, ..report(Path::new("/out")) };
    let refused = std::io::Error::other("no links here");
    report_refusal(&entries, 2, &refused, &mut report);
    assert_eq!((report.delivered, report.unproven), (3, 2));
    report_refusal(&entries, 1, &refused, &mut report);
    assert_eq!((report.delivered, report.unproven), (2, 1), "the file has no digest either");
    let lost: Vec<_> = report.lost.iter().map(|lost| (&lost.path[..], lost.cause, &*lost.why)).collect();
    let why =
        ["the target cannot hold this symlink: no links here", "the target cannot hold this hardlink: no links here"];
    assert_eq!(lost, [(&b"c"[..], Cause::Target, why[0]), (&b"b"[..], Cause::Target, why[1])]);
}
