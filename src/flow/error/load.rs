//! Staged volumes that could not be copied to their drive.

use std::path::PathBuf;

use crate::base::path::show;
use crate::base::size::{count, first_ten, grouped, human};
use crate::flow::error::copies::{Proof, outcome_of};
use crate::flow::outcome::Outcome;
use crate::format::FormatError;

/// A staged volume could not be copied to its drive.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The staged volume has no SHA256SUMS.
    #[error("{} has no SHA256SUMS: it was never finished, or lost it", show(.staged))]
    Unfinished {
        /// Its folder.
        staged: PathBuf,
        /// A folder on the drive that has one: this may be the rest of what was moved there.
        on_drive: Option<PathBuf>,
    },
    /// The SHA256SUMS of the staged volume cannot be read as such.
    #[error("{}: {source}", show(.path))]
    Sums {
        /// The file.
        path: PathBuf,
        /// Why.
        source: FormatError,
    },
    /// Files of the staged volume differ from its SHA256SUMS.
    #[error("{} is not whole: {}", show(.folder), names(.files))]
    Source {
        /// The staged volume.
        folder: PathBuf,
        /// Each file, and what is wrong with it.
        files: Vec<(String, String)>,
    },
    /// The drive has too little free space.
    #[error("{} has {} bytes free and {} bytes are needed: {} are missing", show(.drive), grouped(*.free), grouped(*.needed), human(needed.saturating_sub(*.free)))]
    Room {
        /// The drive.
        drive: PathBuf,
        /// Bytes.
        needed: u64,
        /// Bytes.
        free: u64,
    },
    /// `--move` was given, and no drive seems to be mounted there.
    #[error("{} is {why}: no drive seems to be mounted there, so the staged volume is not moved", show(.drive))]
    NoDrive {
        /// The folder.
        drive: PathBuf,
        /// What shows that.
        why: &'static str,
    },
    /// Another volume, or something else, stands where the copy would go.
    #[error("{} exists already and is not this volume: {why}", show(.folder))]
    Another {
        /// On the drive.
        folder: PathBuf,
        /// What shows that.
        why: String,
    },
    /// The drive did not keep what was written to it.
    #[error("the drive at {} did not keep what was written: {file} {misread}; do not trust this drive", show(.drive))]
    Changed {
        /// The drive.
        drive: PathBuf,
        /// The file, as a path below the drive.
        file: String,
        /// How it was read back.
        misread: Misread,
    },
}

impl LoadError {
    /// The class of the failure. A drive that changes what is written counts as I/O: nothing is
    /// lost, for the staged volume is whole, and another drive will do.
    pub fn outcome(&self) -> Outcome {
        match self {
            LoadError::Unfinished { .. } => Outcome::Incomplete,
            LoadError::Source { .. } => Outcome::Damaged,
            LoadError::Sums { source, .. } => outcome_of(source, Proof::None),
            LoadError::Room { .. } | LoadError::Changed { .. } => Outcome::Io,
            LoadError::Another { .. } | LoadError::NoDrive { .. } => Outcome::Usage,
        }
    }
}

/// How a file that was written without an error was read back.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Misread {
    /// It differs from this byte on.
    #[error("differs from its source from byte {} on", grouped(*.0))]
    From(u64),
    /// It differs; the place is not known.
    #[error("differs from its source")]
    Somewhere,
    /// It differed once, and was right when read again.
    #[error("was wrong when it was read once and right when it was read again")]
    Once,
    /// It cannot be read.
    #[error("cannot be read ({0})")]
    Unreadable(String),
}

fn names(files: &[(String, String)]) -> String {
    first_ten(files, |(name, why)| format!("{name} {why}"), |more| format!("and {}", count(more as u64, "more file")))
}
