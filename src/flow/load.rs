//! Loads a staged volume: copies it to its drive, reads every file back as the drive stores it, and only then gives
//! SHA256SUMS its name. Whatever stops a run, the next one compares what is on the drive with SHA256SUMS and goes on,
//! even inside a file.
//!
//! Not guaranteed: that the drive still returns these bytes when the receiver reads it. Nor that they came from the
//! drive itself where its driver is outside of the kernel; the report says whether a cache may have answered.

mod on_drive;
pub(crate) mod report;
mod staged;
mod transfer;

use std::path::{Path, PathBuf};

use crate::base::monitor::Monitor;
use crate::flow::FlowError;
use crate::flow::drives::folders::lock_folder;
use crate::flow::drives::mounts::{SHOWS_TIMES, is_beside, refuse_to_move};
use crate::flow::load::report::LoadReport;
use crate::flow::load::staged::{Staged, target_of, the_one};
use crate::flow::load::transfer::Transfer;
use crate::stage::volume;

/// What the user wants loaded.
pub(crate) struct LoadRequest {
    /// The staged volume, or a folder with one volume in it.
    pub(crate) staged: PathBuf,
    /// The folder of the drive. The copy becomes `volume-K` in it.
    pub(crate) drive: PathBuf,
    /// Whether the staged volume is removed once its copy is verified.
    pub(crate) remove: bool,
}

/// Copies a staged volume to a drive and reads it back.
///
/// # Errors
/// The staged volume is not whole, the place on the drive is taken or too small, or the drive did not keep the copy.
/// Then the copy has no SHA256SUMS. A staged volume that cannot be removed is no error but in the report.
pub(crate) fn load(request: &LoadRequest, monitor: &dyn Monitor) -> Result<LoadReport, FlowError> {
    let volume = the_one(&request.staged)?;
    let folder = target_of(&volume, &request.drive)?;
    if request.remove {
        refuse_to_move(&request.drive, &volume.dir)?;
    }
    let _lock = lock_folder(&request.drive)?;
    let _staged_lock = if request.remove { Some(lock_folder(&volume.dir)?) } else { None };
    let staged = Staged::read(volume, &folder, request.remove)?;
    let mut transfer = Transfer::new(&staged, &request.drive, &folder, monitor);
    note_same_file_system(&mut transfer, &request.drive, &staged.volume.dir)?;
    let found = transfer.look()?;
    staged.check_all_there(&found.whole)?;
    staged.check_is_rest_of_move(monitor)?;
    transfer.check_room(&found)?;
    transfer.bring(&found)?;
    // To look into a folder changes a time of it, so the last look comes before that is set.
    let loaded = volume::read(&folder).ok();
    transfer.make_folder_neutral()?;
    if transfer.shows_times() {
        transfer.note(&folder, SHOWS_TIMES);
    }
    let removed = request.remove.then(|| volume::remove_whole(&staged.volume, &staged.names()));
    Ok(LoadReport {
        source: staged.volume.dir.clone(),
        files: staged.files.len(),
        bytes: staged.files.iter().filter_map(|file| loaded.as_ref()?.file(&file.name)).map(|found| found.len).sum(),
        kept: found.whole.len(),
        again: found.again,
        past_cache: transfer.past_cache(),
        changed: transfer.changed,
        removed: matches!(removed, Some(Ok(_))),
        folder_stays: matches!(removed, Some(Ok(false) | Err(_))),
        not_removed: removed.and_then(Result::err).map(|fault| fault.to_string()),
        notes: transfer.notes,
        folder,
    })
}

fn note_same_file_system(transfer: &mut Transfer, drive: &Path, staged: &Path) -> Result<(), FlowError> {
    if is_beside(drive, staged)? {
        transfer.note(drive, "is on the same file system as the staged volume: is the drive mounted there?");
    }
    Ok(())
}

#[cfg(test)]
mod tests;
