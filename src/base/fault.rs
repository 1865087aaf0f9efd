//! An operation of the system that failed, with the words a person needs to find the place.

use std::io;
use std::path::{Path, PathBuf};

/// What was being done, where, and what the system answered.
#[derive(Debug, thiserror::Error)]
#[error("cannot {doing} {}: {source}", crate::base::path::show(path))]
pub struct IoFault {
    /// The verb: "read", "write", "create".
    pub doing: &'static str,
    /// The file or folder.
    pub path: PathBuf,
    /// The system's answer.
    pub source: io::Error,
}

impl IoFault {
    /// Whether the system said that there is no room left.
    pub fn is_full(&self) -> bool {
        matches!(
            self.source.kind(),
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge
        )
    }
}

/// Adds the verb and the place to an [`io::Result`].
pub trait At<T> {
    /// `doing` is the verb in "cannot {doing} {path}".
    fn at(self, doing: &'static str, path: &Path) -> Result<T, IoFault>;
}

impl<T> At<T> for io::Result<T> {
    fn at(self, doing: &'static str, path: &Path) -> Result<T, IoFault> {
        self.map_err(|source| IoFault { doing, path: path.to_owned(), source })
    }
}
