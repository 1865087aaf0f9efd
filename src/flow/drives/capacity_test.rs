//! Drives that do not store what is written to them, found before hours are spent on them. What is not
//! found here is found when all is read back; see `stage/capacity_marks.rs`.

use std::path::Path;

use crate::base::monitor::{Monitor, Note, NoteKind};
use crate::base::os;
use crate::base::path::as_bytes;
use crate::base::pool::{lock, unlocked};
use crate::base::threads::one_each;
use crate::flow::FlowError;
use crate::flow::error::{CapacityTestFailure, DriveError};
use crate::stage::capacity_marks::try_out;

/// Tries the drive that a staged volume comes to, unless it is the one that it lies on.
pub fn test_before_loading(staged: &Path, drive: &Path, monitor: &dyn Monitor) -> Result<(), FlowError> {
    match (os::room(staged), os::room(drive)) {
        (Ok(from), Ok(to)) if from.device != to.device => test_capacity(&[drive], monitor),
        _ => Ok(()),
    }
}

/// Tries these drives, all at the same time.
///
/// # Errors
/// One of them gave back other bytes than it took; the others that did are notes.
pub fn test_capacity(drives: &[&Path], monitor: &dyn Monitor) -> Result<(), FlowError> {
    let untrue = std::sync::Mutex::new(Vec::new());
    one_each(drives, |drive| {
        let tried = try_out(drive, &|| monitor.cancelled()).unwrap_or_default();
        if !tried.wrong.is_empty() {
            lock(&untrue).push(CapacityTestFailure { drive: drive.to_path_buf(), tried });
        }
    });
    if monitor.cancelled() {
        return Err(FlowError::Cancelled);
    }
    let mut untrue = unlocked(untrue);
    untrue.sort_by(|a, b| a.drive.cmp(&b.drive));
    let mut untrue = untrue.into_iter();
    let first = untrue.next();
    for more in untrue {
        monitor.note(&Note::new(NoteKind::Volume, as_bytes(&more.drive), more.describe()));
    }
    first.map_or(Ok(()), |first| Err(FlowError::Drive(DriveError::FailedCapacityTest(first))))
}
