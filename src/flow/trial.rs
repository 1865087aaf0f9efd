//! Drives that do not store what is written to them, found before hours are spent on them. What is not
//! found here is found when all is read back; see `stage/spread.rs`.

use std::path::Path;

use crate::base::monitor::{Monitor, Note, NoteKind};
use crate::base::os;
use crate::base::path::as_bytes;
use crate::base::pool::{lock, unlocked};
use crate::base::threads::one_each;
use crate::flow::FlowError;
use crate::flow::error::{CapacityTestFailure, DriveError};
use crate::flow::plan::Planned;
use crate::flow::request::Request;
use crate::stage::spread::try_out;
use crate::stage::volume;

/// Tries the drives that will be read back and that nothing was written to so far.
pub fn before_packing(planned: &Planned, request: &Request, monitor: &dyn Monitor) -> Result<(), FlowError> {
    let mut drives: Vec<(u64, &Path)> = Vec::new();
    for (at, target) in planned.targets.iter().enumerate() {
        let wanted = request.verify.unwrap_or_else(|| os::block(target.device).is_removable());
        let is_known = drives.iter().any(|(device, _)| *device == target.device);
        if wanted && !is_known && volume::is_free(&volume::folder(&target.path, at as u16 + 1)) {
            drives.push((target.device, &target.path));
        }
    }
    let drives: Vec<&Path> = drives.into_iter().map(|(_, path)| path).collect();
    try_all(&drives, monitor)
}

/// Tries the drive that a staged volume comes to, unless it is the one that it lies on.
pub fn before_loading(staged: &Path, drive: &Path, monitor: &dyn Monitor) -> Result<(), FlowError> {
    match (os::room(staged), os::room(drive)) {
        (Ok(from), Ok(to)) if from.device != to.device => try_all(&[drive], monitor),
        _ => Ok(()),
    }
}

/// Tries them all at the same time.
fn try_all(drives: &[&Path], monitor: &dyn Monitor) -> Result<(), FlowError> {
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
