//! Whether a drive seems to be mounted where a volume is to be loaded: somebody may have forgotten to, and
//! then the folder is one of the system's own. A drive mounted on another drive's folder is not told
//! from the one that was meant.

use std::path::Path;

use crate::base::fault::At;
use crate::base::os;
use crate::flow::FlowError;
use crate::flow::error::LoadError;

/// Whether a folder is on the same file system as another.
pub fn is_beside(drive: &Path, other: &Path) -> Result<bool, FlowError> {
    let device = |path: &Path| os::room(path).map(|room| room.device).at("look at", path);
    Ok(device(drive)? == device(other)?)
}

/// Refuses to move a staged volume to where no drive seems to be: its copy there may be gone with the
/// power, or is no other than the one that is removed.
pub fn refuse_to_move(drive: &Path, staged: &Path) -> Result<(), FlowError> {
    let is_volatile = |path: &Path| os::is_volatile(path).at("look at", path);
    let why = if is_beside(drive, staged)? {
        "on the same file system as the staged volume"
    } else if is_volatile(drive)? && !is_volatile(staged)? {
        "in memory, or may be"
    } else if is_of_the_system(drive)? {
        "on the file system of this machine's own files"
    } else {
        return Ok(());
    };
    Err(LoadError::NoDrive { drive: drive.to_path_buf(), why }.into())
}

/// Whether a folder is on the system's file system, or on that with the user's files, and nothing is mounted
/// just there.
fn is_of_the_system(drive: &Path) -> Result<bool, FlowError> {
    let home = std::env::var_os("HOME").filter(|home| Path::new(home).is_absolute());
    for own in [Some("/".into()), home].into_iter().flatten().filter(|own| Path::new(own).exists()) {
        if is_beside(drive, Path::new(&own))? {
            return Ok(os::mounted_at(drive).at("look at", drive)?.is_none());
        }
    }
    Ok(false)
}
