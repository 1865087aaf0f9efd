//! Checks folders that a run is about to write to: they exist, and no other run works in them.
//!
//! Not guaranteed: that a drive is mounted at the folder, which `mounts.rs` looks at. On a file system without locks,
//! every run gets the lock.

use std::fs::File;
use std::io::ErrorKind;
use std::path::Path;

use crate::base::fault::At;
use crate::base::os;
use crate::base::path::show;
use crate::flow::error::{FlowError, OutputError};

/// Checks that `path` is a folder.
///
/// # Errors
/// [`FlowError::Usage`] if it is missing or no folder, and [`FlowError::Io`] if the system cannot tell.
pub(crate) fn check_is_folder(path: &Path) -> Result<(), FlowError> {
    match path.metadata() {
        Ok(found) if found.is_dir() => Ok(()),
        Err(error) if !matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
            Err(error).at("look at", path)?
        }
        _ => Err(FlowError::Usage(format!(
            "{} is no folder; is the drive plugged in and mounted? A new folder has to be made first",
            show(path)
        ))),
    }
}

/// Locks a folder. No other run works there until the caller drops the returned file.
///
/// # Errors
/// [`OutputError::Busy`] if another run holds the lock.
pub(crate) fn lock_folder(folder: &Path) -> Result<File, FlowError> {
    let open = File::open(folder).at("open", folder)?;
    if os::try_lock(&open).at("lock", folder)? {
        Ok(open)
    } else {
        Err(OutputError::Busy(format!("another pouch is at work in {}", show(folder))).into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_can_be_locked_once() {
        let folder = tempfile::tempdir().unwrap();
        check_is_folder(folder.path()).unwrap();
        let lock = lock_folder(folder.path()).unwrap();
        assert!(matches!(lock_folder(folder.path()), Err(FlowError::Output(OutputError::Busy(_)))));
        drop(lock);
        lock_folder(folder.path()).unwrap();
    }

    #[test]
    fn a_folder_that_is_not_there_cannot_be_locked() {
        let folder = tempfile::tempdir().unwrap();
        let Err(FlowError::Io(fault)) = lock_folder(&folder.path().join("missing")) else { panic!("it is not there") };
        assert_eq!(fault.doing, "open");
    }

    #[test]
    fn a_path_that_the_system_cannot_look_at_is_no_usage_error() {
        let too_long = std::path::PathBuf::from("/").join("x".repeat(300));
        let Err(FlowError::Io(fault)) = check_is_folder(&too_long) else { panic!("no such name can exist") };
        assert_eq!(fault.doing, "look at");
    }

    #[test]
    fn what_is_missing_or_a_file_is_a_usage_error() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        File::create(&file).unwrap();
        for path in [&file, &folder.path().join("missing"), &file.join("below")] {
            assert!(matches!(check_is_folder(path), Err(FlowError::Usage(_))), "{}", show(path));
        }
    }
}
