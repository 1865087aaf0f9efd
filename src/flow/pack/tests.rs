//! Whole packings of three small files onto two folders, and how a failed one ends.

use super::*;
use crate::base::monitor::Silent;
use crate::flow::pack::plan::plan;
use crate::flow::pack::request::tests::request;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

/// A request to pack the files `a`, `b` and `c` onto the folders `one` and `two`, all below `desk`.
pub(super) fn request_on(desk: &Path) -> PackRequest {
    let source = desk.join("source");
    std::fs::create_dir(&source).unwrap();
    ["a", "b", "c"].iter().for_each(|name| std::fs::write(source.join(name), [b'x'; 5000]).unwrap());
    let outputs = ["one", "two"].map(|name| desk.join(name));
    outputs.iter().for_each(|output| std::fs::create_dir(output).unwrap());
    request(vec![source], outputs.to_vec())
}

/// All files in volumes of the request.
fn files_of(request: &PackRequest) -> Vec<PathBuf> {
    let names = |folder: &Path| std::fs::read_dir(folder).into_iter().flatten().map(|name| name.unwrap().path());
    request.outputs.iter().flat_map(|output| names(output)).flat_map(|volume| names(&volume)).collect()
}

fn count_of(name: &str, files: &[PathBuf]) -> usize {
    files.iter().filter(|file| file.ends_with(name)).count()
}

/// Packs after the plan was tampered with. Also returns what is on the drives then.
fn packed(tamper: fn(&mut Planned)) -> (Result<PackReport, FlowError>, Vec<PathBuf>) {
    let desk = tempfile::tempdir().unwrap();
    let request = request_on(desk.path());
    let mut planned = plan(&request, &Silent).unwrap();
    tamper(&mut planned);
    let result = pack(planned, &request, &Silent);
    (result, files_of(&request))
}

#[test]
fn every_volume_of_a_finished_bundle_looks_complete_and_has_no_journal() {
    let (result, files) = packed(|_| ());
    assert_eq!(result.unwrap().parts, 1);
    assert_eq!((count_of("SHA256SUMS", &files), count_of("journal", &files)), (2, 0));
}

#[test]
fn a_list_that_no_reader_takes_is_not_finished() {
    let tampers: [fn(&mut Planned); 3] = [
        |planned| planned.walk.entries[2].path = planned.walk.entries[1].path.clone(),
        |planned| planned.walk.entries.swap(1, 2),
        |planned| planned.walk.entries[1].mtime.nanos = 1_000_000_000,
    ];
    for tamper in tampers {
        let (done, files) = packed(tamper);
        let Err(error) = done else { panic!("it is refused") };
        assert!(matches!(error, FlowError::Unopenable(_)) && error.outcome() == Outcome::Failed, "{error}");
        assert!(error.to_string().contains("the list is malformed in line "), "{error}");
        assert!(files.is_empty(), "nothing is left: {files:?}");
    }
}

#[test]
fn drives_that_cannot_hold_the_bundle_are_not_written_to() {
    let (result, files) = packed(|planned| planned.plan.expected = planned.plan.room + 1);
    assert!(matches!(result, Err(FlowError::Drive(DriveError::NoRoom { .. }))));
    assert!(files.is_empty(), "{files:?}");
}

/// When the run is asked to stop.
#[derive(PartialEq)]
enum StopAt {
    /// The seals are written, and no part is.
    Packing,
    FirstPart,
}

/// Asks the run to stop at one place, and from then on.
struct Stopper {
    at: StopAt,
    asks: AtomicBool,
}

impl Stopper {
    fn new(at: StopAt) -> Self {
        Self { at, asks: AtomicBool::new(false) }
    }

    fn reach(&self, place: StopAt) {
        if self.at == place {
            self.asks.store(true, Ordering::SeqCst);
        }
    }
}

impl Monitor for Stopper {
    fn phase(&self, phase: Phase, _: u64) {
        if phase == Phase::Packing {
            self.reach(StopAt::Packing);
        }
    }
    fn advance(&self, _: u64) {}
    fn on_drive(&self, _: u16, _: u64) {
        self.reach(StopAt::FirstPart);
    }
    fn note(&self, _: &Note) {}
    fn cancelled(&self) -> bool {
        self.asks.load(Ordering::SeqCst)
    }
}

#[test]
fn a_packing_that_is_stopped_before_its_first_part_leaves_nothing() {
    let desk = tempfile::tempdir().unwrap();
    let request = request_on(desk.path());
    let planned = plan(&request, &Silent).unwrap();
    assert!(matches!(pack(planned, &request, &Stopper::new(StopAt::Packing)), Err(FlowError::Cancelled)));
    let files = files_of(&request);
    assert!(files.is_empty(), "{files:?}");
}

#[test]
fn an_interrupted_packing_is_resumed_from_its_parts() {
    let desk = tempfile::tempdir().unwrap();
    let request = request_on(desk.path());
    let planned = plan(&request, &Silent).unwrap();
    let Err(error) = pack(planned, &request, &Stopper::new(StopAt::FirstPart)) else { panic!("it is stopped") };
    assert_eq!(error.outcome(), Outcome::Interrupted);
    assert_eq!((count_of("SHA256SUMS", &files_of(&request)), count_of("journal", &files_of(&request))), (0, 1));
    let planned = plan(&request, &Silent).unwrap();
    assert_eq!(planned.before.parts.len(), 1, "it is not packed again");
    assert_eq!(pack(planned, &request, &Silent).unwrap().parts, 1);
    assert_eq!((count_of("SHA256SUMS", &files_of(&request)), count_of("journal", &files_of(&request))), (2, 0));
}

/// Whether the journal is still there after a run that noted so many parts failed with `error`.
fn keeps_journal(error: FlowError, parts: usize, is_resumed: bool) -> bool {
    let folder = tempfile::tempdir().unwrap();
    let log = JournalWriter::create(&[folder.path().to_path_buf()], "BEGUN\n").unwrap();
    (0..parts).for_each(|_| log.write("part\n"));
    retreat(error, VolumeSet::new(), log, is_resumed);
    folder.path().join("journal").exists()
}

#[test]
fn a_failed_run_leaves_its_journal_only_if_a_later_run_can_go_on() {
    assert!(keeps_journal(FlowError::Cancelled, 1, false));
    assert!(keeps_journal(FlowError::Cancelled, 0, true));
    assert!(!keeps_journal(FlowError::Cancelled, 0, false));
}

#[test]
fn no_run_goes_on_from_one_that_failed_by_a_defect() {
    assert!(!keeps_journal(FlowError::Defect("a defect".into()), 1, false));
    assert!(!keeps_journal(FlowError::Defect("a defect".into()), 1, true));
}

#[test]
fn without_a_part_in_the_journal_nothing_helps_parts_without_a_home() {
    for (parts, expected) in [(0, Remedy::None), (1, Remedy::Room)] {
        let folder = tempfile::tempdir().unwrap();
        let log = JournalWriter::create(&[folder.path().to_path_buf()], "BEGUN\n").unwrap();
        (0..parts).for_each(|_| log.write("part\n"));
        let no_home = DriveError::NoHome { parts: 3, bytes: 300, why: Vec::new(), remedy: Remedy::Room };
        let error = retreat(no_home.into(), VolumeSet::new(), log, false);
        let FlowError::Drive(DriveError::NoHome { parts: 3, remedy, .. }) = error else { panic!("{error}") };
        assert_eq!(remedy, expected);
        assert!(folder.path().join("journal").exists());
    }
}

#[test]
fn the_list_gets_digests_of_files_alone() {
    let desk = tempfile::tempdir().unwrap();
    let mut planned = plan(&request_on(desk.path()), &Silent).unwrap();
    let read = vec![(Digest([1; 32]), Flag::Changed); planned.walk.entries.len()];
    record_files(&mut planned, &read, vec![Note::new(NoteKind::Changed, b"source/a", "changed")]).unwrap();
    let (files, others): (Vec<_>, Vec<_>) = planned.walk.entries.iter().partition(|entry| entry.kind == Kind::File);
    assert!(files.len() == 3 && files.iter().all(|file| file.sha256 == Some(Digest([1; 32]))));
    assert!(files.iter().all(|file| file.flag == Flag::Changed));
    assert!(!others.is_empty() && others.iter().all(|other| other.sha256.is_none() && other.flag == Flag::Clean));
    assert!(planned.notes.iter().any(|note| note.kind == NoteKind::Changed));
}
