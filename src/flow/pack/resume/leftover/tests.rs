//! Leftovers in real folders, with a journal and one seal on each volume.

use super::*;
use crate::base::digest::Digest;
use crate::flow::pack::part_ledger::tests::part;
use crate::format::checked_lines::Checks;
use crate::format::head::PartId::{Data, Parity};
use crate::format::head::PartKind;
use crate::format::journal::{Opening, WrittenPart};
use crate::format::part::Class;
use std::fs;
use tempfile::TempDir;

/// What a run left that was stopped after it had written a seal to each volume, one volume on each drive.
pub(crate) struct Leftover {
    /// The drives.
    pub(crate) paths: Vec<PathBuf>,
    pub(crate) opening: Opening,
    _desk: TempDir,
}

impl Leftover {
    pub(crate) fn on(drives: u16) -> Self {
        let desk = tempfile::tempdir().unwrap();
        let paths: Vec<PathBuf> = (1..=drives).map(|number| desk.path().join(format!("drive-{number}"))).collect();
        let noted = |volume| VolumeSeal { volume, name: "seal.age".into(), sha256: sha256(&seal(volume)) };
        let opening = Opening {
            bundle: [3; 16],
            recipient: "age1x".into(),
            kcommit: Digest([4; 32]),
            class: Class::ALL[0],
            scheme: None,
            options: Digest([5; 32]),
            whom: Digest([9; 32]),
            volumes: drives,
            seals: VolumeNumber::all(drives).map(noted).collect(),
            stamps: vec![1, 2],
        };
        for (number, folder) in VolumeNumber::numbered(volume_folders(&paths)) {
            fs::create_dir_all(&folder).unwrap();
            fs::write(folder.join("seal.age"), seal(number)).unwrap();
        }
        Self { paths, opening, _desk: desk }
    }

    /// A path in the folder of a volume.
    pub(crate) fn file(&self, volume: u16, name: &str) -> PathBuf {
        let volume = VolumeNumber::new(volume);
        volume::folder(&self.paths[volume.index()], volume).join(name)
    }

    /// Writes the journal to a volume, with these lines behind its opening.
    pub(crate) fn write_journal(&self, volume: u16, lines: &str) {
        let text = Checks::default().add(&(self.opening.encode() + lines));
        fs::write(self.file(volume, JOURNAL), text).unwrap();
    }

    pub(crate) fn found(&self) -> Left {
        find(&self.paths).unwrap().expect("a run left something")
    }

    /// Damages the journal of a volume where it has this text.
    fn damage(&self, volume: u16, text: &str) {
        let path = self.file(volume, JOURNAL);
        let journal = fs::read_to_string(&path).unwrap();
        assert!(journal.contains(text));
        fs::write(path, journal.replacen(text, &"#".repeat(text.len()), 1)).unwrap();
    }
}

fn seal(number: VolumeNumber) -> Vec<u8> {
    format!("the seal of volume {number}").into_bytes()
}

/// What stands in the way of a new bundle there.
fn refused(paths: &[PathBuf]) -> FlowError {
    find(paths).err().expect("it is refused")
}

fn exists(error: FlowError) -> PathBuf {
    let FlowError::Output(OutputError::VolumeExists(folder)) = error else { panic!("{error}") };
    folder
}

fn other_packing(error: FlowError) -> String {
    let FlowError::Leftover(LeftoverError::OtherPacking(text)) = error else { panic!("{error}") };
    text
}

#[test]
fn an_interrupted_run_is_found_by_its_journal() {
    let run = Leftover::on(2);
    run.write_journal(1, "");
    let left = run.found();
    assert_eq!(left.journal().unwrap().opening, run.opening);
    assert_eq!(left.folders, volume_folders(&run.paths));
}

#[test]
fn empty_drives_are_free_for_a_new_bundle() {
    let desk = tempfile::tempdir().unwrap();
    let paths = [desk.path().join("one"), desk.path().join("two")];
    assert!(find(&paths).unwrap().is_none());
    let folder = volume::folder(&paths[0], VolumeNumber::new(1));
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join(JOURNAL), b"").unwrap();
    assert!(find(&paths).unwrap().is_none(), "the journal lost its content, and no seal was written yet");
}

#[test]
fn a_folder_with_foreign_files_is_not_touched() {
    let desk = tempfile::tempdir().unwrap();
    let folder = volume::folder(desk.path(), VolumeNumber::new(1));
    fs::create_dir(&folder).unwrap();
    fs::write(folder.join("notes"), b"mine").unwrap();
    assert_eq!(exists(refused(&[desk.path().to_path_buf()])), folder);
}

#[test]
fn a_copy_on_another_drive_stands_in_for_a_damaged_journal() {
    let run = Leftover::on(2);
    run.write_journal(1, "");
    run.write_journal(2, "");
    run.damage(1, "bundle ");
    assert_eq!(run.found().journal().unwrap().opening, run.opening);
}

#[test]
fn a_damaged_journal_still_tells_whose_the_volumes_are() {
    let run = Leftover::on(2);
    run.write_journal(1, "");
    run.damage(1, "bundle ");
    let left = run.found();
    let Err(FlowError::Leftover(LeftoverError::BadJournal { path, unknown, .. })) = left.journal() else {
        panic!("it cannot be used")
    };
    assert_eq!((path, unknown), (run.file(1, JOURNAL), None));
    assert!(left.may_go(true).is_ok(), "it can be removed");
}

#[test]
fn of_two_damaged_journals_the_one_that_names_more_seals_counts() {
    let run = Leftover::on(2);
    run.write_journal(1, "");
    run.write_journal(2, "");
    run.damage(1, "2 seal.age");
    run.damage(2, "bundle ");
    let error = run.found().journal().unwrap_err();
    let FlowError::Leftover(LeftoverError::BadJournal { path, .. }) = error else { panic!("{error}") };
    assert_eq!(path, run.file(2, JOURNAL));
}

#[test]
fn a_volume_that_a_damaged_journal_does_not_name_is_not_touched() {
    let run = Leftover::on(2);
    run.write_journal(1, "");
    run.damage(1, "2 seal.age");
    let error = refused(&run.paths);
    let FlowError::Leftover(LeftoverError::BadJournal { unknown, .. }) = error else { panic!("{error}") };
    assert_eq!(unknown, Some(volume::folder(&run.paths[1], VolumeNumber::new(2))));
}

#[test]
fn a_volume_with_another_seal_belongs_to_another_bundle() {
    let run = Leftover::on(2);
    run.write_journal(1, "");
    fs::write(run.file(2, "seal.age"), b"another seal").unwrap();
    assert_eq!(exists(refused(&run.paths)), volume::folder(&run.paths[1], VolumeNumber::new(2)));
}

#[test]
fn a_volume_without_a_seal_is_the_runs_if_it_holds_only_first_files() {
    let run = Leftover::on(2);
    run.write_journal(1, "");
    fs::remove_file(run.file(2, "seal.age")).unwrap();
    fs::write(run.file(2, "unfinished.tmp"), b"any bytes").unwrap();
    run.found();
    fs::write(run.file(2, "000001.age"), b"a part").unwrap();
    assert_eq!(exists(refused(&run.paths)), volume::folder(&run.paths[1], VolumeNumber::new(2)));
}

#[test]
fn a_volume_that_lists_parts_of_another_run_is_not_touched() {
    let run = Leftover::on(1);
    let kind = PartKind::Data { offset: 0, length: 512 };
    let written = WrittenPart { number: 1, kind, volume: VolumeNumber::new(1), sha256: Digest([1; 32]) };
    fs::write(run.file(1, SUMS), sums::line(&written.sha256, b"000001.age")).unwrap();
    run.write_journal(1, &written.encode());
    run.found();
    run.write_journal(1, "");
    assert_eq!(exists(refused(&run.paths)), volume::folder(&run.paths[0], VolumeNumber::new(1)));
}

#[test]
fn the_first_volume_has_to_be_given_first() {
    let run = Leftover::on(2);
    run.write_journal(1, "");
    let swapped = [run.paths[1].clone(), run.paths[0].clone()];
    let text = other_packing(refused(&swapped));
    assert_eq!(
        text,
        format!("{} holds the first volume of an interrupted run, and is not given first", show(&run.paths[0]))
    );
}

#[test]
fn two_runs_cannot_resume_the_same_packing() {
    let run = Leftover::on(1);
    run.write_journal(1, "");
    let left = run.found();
    assert!(matches!(refused(&run.paths), FlowError::Output(OutputError::Busy(_))));
    drop(left);
    run.found();
}

#[test]
fn only_all_volumes_together_can_be_removed() {
    let run = Leftover::on(2);
    run.write_journal(1, "");
    let left = find(&run.paths[..1]).unwrap().unwrap();
    let text = other_packing(left.may_go(true).unwrap_err());
    assert!(text.ends_with("is the first of 2 volumes that an interrupted run began, and 1 are given"), "{text}");
}

#[test]
fn a_volume_that_looks_complete_is_not_removed() {
    let run = Leftover::on(2);
    run.write_journal(1, "");
    fs::write(run.file(2, SUMS), b"").unwrap();
    let folder = volume::folder(&run.paths[1], VolumeNumber::new(2));
    let left = run.found();
    let asked = left.may_go(true).unwrap_err();
    assert!(matches!(asked, FlowError::Leftover(LeftoverError::AllButFinished(complete)) if complete == folder));
    assert_eq!(exists(left.remove().unwrap_err()), folder);
    assert!(run.file(1, JOURNAL).exists() && run.file(2, "seal.age").exists());
}

#[test]
fn behind_damaged_lines_a_complete_volume_may_be_of_any_run() {
    let run = Leftover::on(1);
    run.write_journal(1, "p 1 1 x\n");
    run.damage(1, "p 1 1 x");
    fs::write(run.file(1, SUMS), b"").unwrap();
    let left = run.found();
    assert_eq!(left.journal().unwrap().lost, 1);
    assert_eq!(exists(left.may_go(true).unwrap_err()), volume::folder(&run.paths[0], VolumeNumber::new(1)));
}

#[test]
fn what_is_removed_leaves_nothing_but_foreign_files() {
    let run = Leftover::on(2);
    run.write_journal(1, "");
    run.write_journal(2, "");
    fs::write(run.file(1, "000001.age"), b"a part").unwrap();
    fs::write(run.file(2, "notes"), b"mine").unwrap();
    run.found().remove().unwrap();
    assert!(!volume::folder(&run.paths[0], VolumeNumber::new(1)).exists());
    let names = fs::read_dir(volume::folder(&run.paths[1], VolumeNumber::new(2)))
        .unwrap()
        .map(|file| file.unwrap().file_name());
    assert_eq!(names.collect::<Vec<_>>(), ["notes"]);
}

#[test]
fn all_files_of_the_run_but_parts_that_stay_are_surplus() {
    let run = Leftover::on(2);
    run.write_journal(1, "");
    for (volume, name) in [(1, "000001.age"), (1, "unfinished.tmp"), (2, "000001.age"), (2, "000001.par"), (2, "notes")]
    {
        fs::write(run.file(volume, name), vec![1; 9000]).unwrap();
    }
    let left = run.found();
    let taken = |volume, names: &[&str]| -> u64 {
        let sizes = names.iter().map(|name| run.file(volume, name).metadata().unwrap());
        sizes.map(|meta| meta.len().max(meta.blocks() * 512)).sum()
    };
    let before = Before { parts: vec![part(Data(1), 1), part(Parity(1), 2)], ..Before::default() };
    let [one, two] = [&["seal.age", JOURNAL, "unfinished.tmp"][..], &["seal.age", "000001.age"]];
    assert_eq!(left.surplus(&before), [taken(1, one), taken(2, two)]);
    let all = [taken(1, one) + taken(1, &["000001.age"]), taken(2, two) + taken(2, &["000001.par"])];
    assert_eq!(left.surplus(&Before::default()), all, "foreign files are not its own");
}

#[test]
fn the_journal_tells_whether_a_passphrase_opens_the_bundle() {
    let mut run = Leftover::on(1);
    assert!(!takes_passphrase(&run.paths));
    run.write_journal(1, "");
    assert!(!takes_passphrase(&run.paths));
    let name = "seal-p.age".into();
    run.opening.seals.push(VolumeSeal { volume: VolumeNumber::new(1), name, sha256: Digest([2; 32]) });
    run.write_journal(1, "");
    assert!(takes_passphrase(&run.paths));
}
