//! Small volumes, staged and loaded in temporary folders. Source and drive are one file system here, so the capacity
//! test is left out and no volume can be moved.

use std::collections::HashSet;
use std::fs;
use std::path::Path;

use super::*;
use crate::base::digest::sha256;
use crate::base::monitor::Silent;
use crate::base::monitor::fake::Heard;
use crate::flow::error::{LoadError, OutputError};
use crate::format::sums;
use crate::stage::journal::JOURNAL;
use crate::stage::volume::SUMS;

/// Every file that a volume needs, beside SHA256SUMS.
const SMALL: [&str; 4] = ["seal.age", "list.age", "head.age", "head2.age"];

/// A folder with a staged volume, and one that stands for a drive.
struct LoadPlace {
    folder: tempfile::TempDir,
    drive: tempfile::TempDir,
}

impl LoadPlace {
    fn new() -> Self {
        let place = Self { folder: tempfile::tempdir().unwrap(), drive: tempfile::tempdir().unwrap() };
        fs::create_dir(place.staged()).unwrap();
        SMALL.iter().for_each(|name| fs::write(place.staged().join(name), name).unwrap());
        place.list(&SMALL);
        place
    }

    fn staged(&self) -> PathBuf {
        self.folder.path().join("volume-3")
    }

    fn copy(&self) -> PathBuf {
        self.drive.path().join("volume-3")
    }

    /// Writes a staged SHA256SUMS that lists these names, with the hash of each name.
    fn list(&self, names: &[&str]) {
        let lines = names.iter().flat_map(|name| sums::line(&sha256(name.as_bytes()), name.as_bytes()));
        fs::write(self.staged().join(SUMS), lines.collect::<Vec<u8>>()).unwrap();
    }

    fn request(&self, remove: bool) -> LoadRequest {
        LoadRequest { staged: self.staged(), drive: self.drive.path().to_path_buf(), remove }
    }

    fn load(&self) -> LoadReport {
        load(&self.request(false), &Silent).unwrap()
    }

    fn refusal(&self) -> LoadError {
        match load(&self.request(false), &Silent) {
            Err(FlowError::Load(error)) => error,
            Err(error) => panic!("{error}"),
            Ok(_) => panic!("it was loaded"),
        }
    }

    /// The files of the staged volume that are wrong, and why.
    fn wrong_files(&self) -> Vec<(String, String)> {
        match self.refusal() {
            LoadError::Source { files, .. } => files,
            other => panic!("{other}"),
        }
    }

    /// Why what stands on the drive is not the copy.
    fn why_another(&self) -> String {
        match self.refusal() {
            LoadError::Another { why, .. } => why,
            other => panic!("{other}"),
        }
    }

    fn is_copy_whole(&self) -> bool {
        let same = |name: &&str| fs::read(self.copy().join(name)).ok() == fs::read(self.staged().join(name)).ok();
        SMALL.iter().chain(&[SUMS]).all(same) && fs::read_dir(self.copy()).unwrap().count() == 5
    }
}

fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(name, why)| (name.to_string(), why.to_string())).collect()
}

#[test]
fn a_volume_is_copied_whole_and_the_staged_one_stays() {
    let place = LoadPlace::new();
    let report = place.load();
    assert!(place.is_copy_whole());
    assert_eq!((report.files, report.bytes, report.kept), (4, 33, 0));
    assert_eq!((report.removed, report.changed, report.again.len()), (false, None, 0));
    assert!(report.notes.iter().any(|note| note.text.contains("is the drive mounted there?")));
}

#[test]
fn a_volume_that_is_loaded_is_only_read_again() {
    let place = LoadPlace::new();
    place.load();
    assert_eq!(place.load().kept, 4);
    assert!(place.is_copy_whole());
}

#[test]
fn a_later_run_brings_what_is_missing() {
    let place = LoadPlace::new();
    place.load();
    fs::remove_file(place.copy().join(SUMS)).unwrap();
    fs::remove_file(place.copy().join("list.age")).unwrap();
    fs::write(place.copy().join("unfinished.tmp"), b"list").unwrap();
    let report = place.load();
    assert_eq!((report.kept, report.again.len()), (3, 0));
    assert!(place.is_copy_whole());
}

#[test]
fn a_file_that_is_no_longer_whole_on_the_drive_is_copied_again() {
    let place = LoadPlace::new();
    place.load();
    fs::write(place.copy().join("head.age"), b"HEAD.age").unwrap();
    let report = place.load();
    assert_eq!((report.kept, &report.again[..]), (3, &["head.age".to_string()][..]));
    assert!(report.notes.iter().any(|note| note.text.contains("no longer what an earlier run wrote")));
    assert!(place.is_copy_whole());
}

#[test]
fn a_staged_file_that_changed_leaves_the_copy_without_sums() {
    let place = LoadPlace::new();
    fs::write(place.staged().join("head.age"), b"HEAD.age").unwrap();
    let expected = [("head.age", "has another SHA-256 than when it was written")];
    assert_eq!(place.wrong_files(), pairs(&expected));
    assert!(place.copy().join("seal.age").exists() && !place.copy().join(SUMS).exists());
}

#[test]
fn a_staged_file_that_is_missing_or_impossible_is_found_before_the_drive_is_touched() {
    let place = LoadPlace::new();
    fs::remove_file(place.staged().join("list.age")).unwrap();
    assert_eq!(place.wrong_files(), pairs(&[("list.age", "is missing")]));
    fs::write(place.staged().join("list.age"), b"").unwrap();
    assert_eq!(place.wrong_files(), pairs(&[("list.age", "is empty")]));
    fs::remove_file(place.staged().join("list.age")).unwrap();
    std::os::unix::fs::symlink("/dev/zero", place.staged().join("list.age")).unwrap();
    assert_eq!(place.wrong_files(), pairs(&[("list.age", "is not a regular file")]));
    assert!(!place.copy().exists());
}

#[test]
fn sums_must_name_what_a_volume_holds_and_nothing_unfinished() {
    let place = LoadPlace::new();
    fs::write(place.staged().join("000001.age"), b"part").unwrap();
    assert_eq!(place.wrong_files(), pairs(&[("000001.age", "is not in SHA256SUMS")]));
    fs::remove_file(place.staged().join("000001.age")).unwrap();
    place.list(&SMALL[..3]);
    assert_eq!(place.wrong_files(), pairs(&[(SUMS, "does not name a seal, the list and both heads")]));
    place.list(&[&SMALL[..], &["unfinished.tmp"]].concat());
    assert_eq!(place.wrong_files(), pairs(&[("unfinished.tmp", "is no file of a volume that is finished")]));
}

#[test]
fn sums_that_break_the_format_are_refused() {
    let place = LoadPlace::new();
    fs::write(place.staged().join(SUMS), b"no line of sha256sum\n").unwrap();
    assert!(matches!(place.refusal(), LoadError::Sums { .. }));
}

#[test]
fn an_unfinished_volume_names_the_copy_that_it_may_be_the_rest_of() {
    let place = LoadPlace::new();
    fs::copy(place.staged().join(SUMS), place.folder.path().join("sums")).unwrap();
    fs::remove_file(place.staged().join(SUMS)).unwrap();
    assert!(matches!(place.refusal(), LoadError::Unfinished { on_drive: None, .. }));
    fs::create_dir(place.copy()).unwrap();
    fs::rename(place.folder.path().join("sums"), place.copy().join(SUMS)).unwrap();
    assert!(matches!(place.refusal(), LoadError::Unfinished { on_drive: Some(folder), .. } if folder == place.copy()));
}

/// The staged volume, read as a `--move` reads it after it removed the staged SHA256SUMS.
fn rest_of_move(place: &LoadPlace) -> Staged {
    fs::create_dir(place.copy()).unwrap();
    fs::rename(place.staged().join(SUMS), place.copy().join(SUMS)).unwrap();
    Staged::read(the_one(&place.staged()).unwrap(), &place.copy(), true).unwrap()
}

#[test]
fn an_interrupted_move_needs_only_the_files_that_the_drive_lacks() {
    let place = LoadPlace::new();
    fs::remove_file(place.staged().join("head2.age")).unwrap();
    let staged = rest_of_move(&place);
    assert!(staged.check_all_there(&HashSet::from(["head2.age".to_string()])).is_ok());
    assert!(staged.check_all_there(&HashSet::new()).is_err());
    assert!(staged.check_is_rest_of_move(&Silent).is_ok());
}

#[test]
fn a_file_that_differs_from_the_copy_is_not_the_rest_of_a_move() {
    let place = LoadPlace::new();
    fs::write(place.staged().join("head.age"), b"HEAD.age").unwrap();
    let error = rest_of_move(&place).check_is_rest_of_move(&Silent).unwrap_err();
    assert!(matches!(error, FlowError::Load(LoadError::Unfinished { on_drive: None, .. })), "{error}");
}

#[test]
fn seals_are_copied_first() {
    let place = LoadPlace::new();
    place.list(&["head.age", "head2.age", "list.age", "seal.age"]);
    let staged = Staged::read(the_one(&place.staged()).unwrap(), &place.copy(), false).unwrap();
    assert_eq!(staged.names(), ["seal.age", "head.age", "head2.age", "list.age"]);
    assert_eq!(staged.bytes(), 33);
}

#[test]
fn something_else_on_the_drive_is_left_alone() {
    let place = LoadPlace::new();
    fs::write(place.copy(), b"a file").unwrap();
    assert_eq!(place.why_another(), "it is no folder");
    fs::remove_file(place.copy()).unwrap();
    fs::create_dir(place.copy()).unwrap();
    fs::write(place.copy().join("notes.txt"), b"mine").unwrap();
    assert_eq!(place.why_another(), "none of its files is one of this volume");
    fs::write(place.copy().join("000009.age"), b"part").unwrap();
    assert_eq!(place.why_another(), "it holds 000009.age");
    fs::write(place.copy().join(JOURNAL), b"journal").unwrap();
    assert_eq!(place.why_another(), "it is being packed, or that was interrupted");
    fs::write(place.copy().join(SUMS), b"other sums").unwrap();
    assert_eq!(place.why_another(), "its SHA256SUMS says other things");
    assert_eq!(fs::read_dir(place.copy()).unwrap().count(), 4);
}

#[test]
fn one_volume_is_loaded_at_a_time() {
    let place = LoadPlace::new();
    fs::create_dir(place.folder.path().join("volume-4")).unwrap();
    fs::write(place.folder.path().join("volume-4/seal.age"), b"seal").unwrap();
    let request = LoadRequest { staged: place.folder.path().to_path_buf(), ..place.request(false) };
    assert!(matches!(load(&request, &Silent), Err(FlowError::Usage(text)) if text.contains("one at a time")));
}

#[test]
fn a_volume_without_a_number_has_no_place_on_the_drive() {
    let place = LoadPlace::new();
    let renamed = place.folder.path().join("copy");
    fs::rename(place.staged(), &renamed).unwrap();
    let request = LoadRequest { staged: renamed, ..place.request(false) };
    assert!(
        matches!(load(&request, &Silent), Err(FlowError::Usage(text)) if text.contains("not named as volumes are"))
    );
}

#[test]
fn a_drive_in_the_staged_volume_or_around_it_is_refused() {
    let place = LoadPlace::new();
    let inside = place.staged().join("drive");
    fs::create_dir(&inside).unwrap();
    let refuses = |drive: &Path| {
        let request = LoadRequest { drive: drive.to_path_buf(), ..place.request(false) };
        matches!(load(&request, &Silent), Err(FlowError::Usage(text)) if text.contains("is in the staged volume"))
    };
    assert!(refuses(&inside) && refuses(place.folder.path()));
}

#[test]
fn a_volume_is_not_moved_within_one_file_system() {
    let place = LoadPlace::new();
    let error = load(&place.request(true), &Silent).err().unwrap();
    assert!(matches!(error, FlowError::Load(LoadError::NoDrive { .. })), "{error}");
    assert!(place.staged().join(SUMS).exists());
}

#[test]
fn two_runs_do_not_load_onto_one_drive() {
    let place = LoadPlace::new();
    let _lock = lock_folder(place.drive.path()).unwrap();
    let error = load(&place.request(false), &Silent).err().unwrap();
    assert!(matches!(error, FlowError::Output(OutputError::Busy(_))), "{error}");
}

#[test]
fn a_run_that_was_stopped_leaves_nothing_that_looks_complete() {
    let place = LoadPlace::new();
    let error = load(&place.request(false), &Heard::stopping()).err().unwrap();
    assert!(matches!(error, FlowError::Cancelled), "{error}");
    assert!(!place.copy().join(SUMS).exists());
    place.load();
    assert!(place.is_copy_whole());
}
