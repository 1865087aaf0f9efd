//! Sources that cannot be packed, or are no longer what they were.

use std::path::PathBuf;

use crate::base::path::show;
use crate::base::size::{count, first_ten};
use crate::flow::outcome::Outcome;
use crate::stage::walk::WalkError;

/// A source cannot be packed, or is no longer what it was.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// Found while the sources were listed.
    #[error(transparent)]
    Walk(WalkError),
    /// Sources that changed, came or went since an interrupted run.
    #[error("{} not as an interrupted run found {}: {}", are(.0), if .0.len() == 1 { "it" } else { "them" }, names(.0))]
    Changed(Vec<PathBuf>),
    /// Sources that changed, so that parts a drive lost cannot be packed again.
    #[error("{} since they were packed, so what a drive did not keep cannot be made again: {}", changed(.0), names(.0))]
    CannotRepack(Vec<PathBuf>),
}

impl SourceError {
    /// The class of the failure.
    pub fn outcome(&self) -> Outcome {
        match self {
            SourceError::Walk(WalkError::Cancelled) => Outcome::Interrupted,
            SourceError::Walk(WalkError::Gone(_)) | SourceError::CannotRepack(_) => Outcome::Io,
            SourceError::Walk(_) | SourceError::Changed(_) => Outcome::Usage,
        }
    }
}

fn are(files: &[PathBuf]) -> String {
    format!("{} {}", count(files.len() as u64, "source"), if files.len() == 1 { "is" } else { "are" })
}

fn changed(files: &[PathBuf]) -> String {
    format!("{} changed", count(files.len() as u64, "source"))
}

fn names(files: &[PathBuf]) -> String {
    first_ten(files, |path| show(path), |more| format!("and {more} more"))
}
