//! What an earlier run left, and this one cannot build on.

use std::path::PathBuf;

use crate::base::path::show;
use crate::format::FormatError;

/// An earlier run left something that this one cannot build on.
#[derive(Debug, thiserror::Error)]
pub enum LeftoverError {
    /// A journal that cannot be resumed.
    #[error("an interrupted run left {}, which cannot be used{}: {source}", show(.path), unknown_owner(.unknown))]
    BadJournal {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: FormatError,
        /// A folder whose owner cannot be told without the journal.
        unknown: Option<PathBuf>,
    },
    /// An interrupted packing that differs from the one requested now.
    #[error("{0}")]
    OtherPacking(String),
    /// The folder to be removed holds a volume that looks complete.
    #[error("{} looks complete: an interrupted run had all but finished its bundle, and that is not removed", show(.0))]
    AllButFinished(PathBuf),
    /// The target holds the rest of a different unpacking.
    #[error("{} holds what an unpacking of another bundle, or of other files of this one, left unfinished", show(.0))]
    OtherUnpacking(PathBuf),
}

fn unknown_owner(folder: &Option<PathBuf>) -> String {
    folder.as_ref().map_or(String::new(), |folder| format!(", nor does it tell whose {} is", show(folder)))
}
