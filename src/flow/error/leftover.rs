//! Errors about what an earlier run left, if this run cannot go on from it. Nothing of it was changed. All of these are
//! of the class usage, because the user decides what becomes of it.

use std::path::PathBuf;

use crate::base::path::show;
use crate::format::FormatError;

/// Why this run cannot go on from what an earlier run left.
#[derive(Debug, thiserror::Error)]
pub enum LeftoverError {
    /// The journal of an interrupted packing cannot be used.
    #[error("an interrupted run left {}, which cannot be used{}: {source}", show(.path), unknown_owner(.unknown))]
    BadJournal {
        path: PathBuf,
        source: FormatError,
        /// A folder that may be of this packing or of another one. Without the journal nothing tells which.
        unknown: Option<PathBuf>,
    },
    /// The interrupted packing was another one than the one requested now. The text says how they differ.
    #[error("{0}")]
    OtherPacking(String),
    /// The folder that `--restart` would remove holds a volume that looks complete.
    #[error("{} looks complete: an interrupted run had all but finished its bundle, and that is not removed", show(.0))]
    AllButFinished(PathBuf),
    /// The target holds the staging folder of another unpacking.
    #[error("{} holds what an unpacking of another bundle, or of other files of this one, left unfinished", show(.0))]
    OtherUnpacking(PathBuf),
}

/// The end of a sentence; empty without a folder.
fn unknown_owner(folder: &Option<PathBuf>) -> String {
    folder.as_ref().map_or(String::new(), |folder| format!(", nor does it tell whose {} is", show(folder)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_journal_that_cannot_be_used_names_the_folder_that_only_it_could_explain() {
        let text = |unknown: Option<PathBuf>| {
            let source = FormatError::malformed("the journal", 3, "no");
            LeftoverError::BadJournal { path: "/d/j".into(), source, unknown }.to_string()
        };
        let left = "an interrupted run left /d/j, which cannot be used";
        let why = "the journal is malformed in line 3: no";
        assert_eq!(text(None), format!("{left}: {why}"));
        assert_eq!(text(Some("/d/volume-1".into())), format!("{left}, nor does it tell whose /d/volume-1 is: {why}"));
    }
}
