//! Folders to write to: that they exist, and that no other run is writing there.

use std::fs::File;
use std::io::ErrorKind;
use std::path::Path;

use crate::base::fault::At;
use crate::base::os;
use crate::base::path::show;
use crate::flow::error::{FlowError, OutputError};

/// Checks that `path` is a folder. Where the system does not answer, its error is returned instead.
pub fn check_is_folder(path: &Path) -> Result<(), FlowError> {
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

/// Locks a folder. No other run works there while the returned file stays open.
pub fn lock_folder(folder: &Path) -> Result<File, FlowError> {
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
    fn what_is_missing_or_a_file_is_a_usage_error() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        File::create(&file).unwrap();
        for path in [&file, &folder.path().join("missing"), &file.join("below")] {
            assert!(matches!(check_is_folder(path), Err(FlowError::Usage(_))), "{}", show(path));
        }
    }
}
