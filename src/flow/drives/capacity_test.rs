//! Runs the capacity test on the drives of a run, so that a drive which does not store what is written to it is found
//! before hours are spent on it. The test itself is in `stage/capacity_marks.rs`.
//!
//! Not guaranteed: that a drive which passes is honest. Reading back after the last byte finds what this test misses.

use std::path::Path;

use crate::base::monitor::{Monitor, Note, NoteKind};
use crate::base::os;
use crate::base::path::as_bytes;
use crate::base::pool::{lock, unlocked};
use crate::base::threads::one_each;
use crate::flow::FlowError;
use crate::flow::error::{CapacityTestFailure, DriveError};
use crate::stage::capacity_marks::try_out;

/// Tests the drive that a staged volume is to be copied to. A drive that the staged volume itself lies on is not
/// tested, nor one of which the system does not say which file system it is.
pub(crate) fn test_before_loading(staged: &Path, drive: &Path, monitor: &dyn Monitor) -> Result<(), FlowError> {
    match (os::room(staged), os::room(drive)) {
        (Ok(from), Ok(to)) if from.device != to.device => test_capacity(&[drive], monitor),
        _ => Ok(()),
    }
}

/// Tests all these drives at the same time. A drive on which the test cannot be carried out passes.
///
/// # Errors
/// A drive gave back other bytes than it took. The first by its path is the error; the others become notes.
pub(crate) fn test_capacity(drives: &[&Path], monitor: &dyn Monitor) -> Result<(), FlowError> {
    let failures = std::sync::Mutex::new(Vec::new());
    one_each(drives, |drive| {
        let tried = try_out(drive, &|| monitor.cancelled()).unwrap_or_default();
        if !tried.wrong.is_empty() {
            lock(&failures).push(CapacityTestFailure { drive: drive.to_path_buf(), tried });
        }
    });
    // A test that was cut short says nothing about a drive.
    if monitor.cancelled() {
        return Err(FlowError::Cancelled);
    }
    report(unlocked(failures), monitor)
}

fn report(mut failures: Vec<CapacityTestFailure>, monitor: &dyn Monitor) -> Result<(), FlowError> {
    failures.sort_by(|a, b| a.drive.cmp(&b.drive));
    let mut failures = failures.into_iter();
    let Some(first) = failures.next() else { return Ok(()) };
    for more in failures {
        monitor.note(&Note::new(NoteKind::Volume, as_bytes(&more.drive), more.describe()));
    }
    Err(DriveError::FailedCapacityTest(first).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    use crate::base::monitor::fake::Heard;
    use crate::stage::capacity_marks::CapacityReport;

    fn failure(drive: &str) -> CapacityTestFailure {
        let tried = CapacityReport { places: 20, wrong: vec![1 << 30, 2 << 30], room: 4 << 30 };
        CapacityTestFailure { drive: drive.into(), tried }
    }

    #[test]
    fn drives_without_a_finding_pass() {
        let listener = Heard::default();
        assert!(report(Vec::new(), &listener).is_ok());
        assert!(listener.notes.lock().unwrap().is_empty());
    }

    #[test]
    fn the_first_drive_by_path_is_the_error_and_the_others_are_notes() {
        let listener = Heard::default();
        let error = report(vec![failure("/media/c"), failure("/media/a"), failure("/media/b")], &listener).unwrap_err();
        let FlowError::Drive(DriveError::FailedCapacityTest(first)) = error else { panic!("{error}") };
        assert_eq!(first.drive, Path::new("/media/a"));
        let notes = listener.notes.into_inner().unwrap();
        let noted: Vec<&[u8]> = notes.iter().map(|note| &note.path[..]).collect();
        assert_eq!(noted, [&b"/media/b"[..], b"/media/c"]);
        assert!(notes[0].text.contains("tried at 20 places") && notes[0].text.contains("wrong at 2 of them"));
    }

    #[test]
    fn a_test_that_was_cut_short_is_no_pass() {
        let stopped = Heard::stopping();
        assert!(matches!(test_capacity(&[], &stopped), Err(FlowError::Cancelled)));
    }

    #[test]
    fn the_drive_of_the_staged_volume_itself_is_not_tested() {
        // A test that began would end at once, as cancelled.
        let stopped = Heard::stopping();
        let drive = tempfile::tempdir().unwrap();
        let staged = drive.path().join("volume-1");
        assert!(test_before_loading(&staged, drive.path(), &stopped).is_ok(), "the system tells nothing of it");
        std::fs::create_dir(&staged).unwrap();
        assert!(test_before_loading(&staged, drive.path(), &stopped).is_ok());
    }
}
