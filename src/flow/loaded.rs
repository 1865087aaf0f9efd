//! What loading a staged volume came to, or why it did not.

use std::path::PathBuf;

use crate::base::json::{Value, json};
use crate::base::monitor::{Note, notes_json};
use crate::base::path::show;
use crate::base::size::{count, grouped, human};
use crate::flow::Outcome;
use crate::format::FormatError;

/// Files that are named one by one in an error.
const SHOWN: usize = 10;

/// What was loaded.
#[derive(Debug, Clone)]
pub struct LoadReport {
    /// The staged volume.
    pub source: PathBuf,
    /// Its copy on the drive.
    pub folder: PathBuf,
    /// Files, without SHA256SUMS.
    pub files: usize,
    /// Their bytes.
    pub bytes: u64,
    /// Files that an earlier run brought there, found whole.
    pub kept: usize,
    /// Files that an earlier run brought there, and that were not as they were: copied again.
    pub again: Vec<String>,
    /// A file that the drive changed, or could not read, right after it was written: copied anew, and
    /// right then. Such a drive is not to be trusted.
    pub changed: Option<String>,
    /// Whether all was read past the system's cache.
    pub past_cache: bool,
    /// Whether the staged volume was removed.
    pub removed: bool,
    /// Why it could not be removed, although its copy is verified.
    pub not_removed: Option<String>,
    /// Its folder stayed, for there are other files in it.
    pub folder_stays: bool,
    /// What was worth saying.
    pub notes: Vec<Note>,
}

impl LoadReport {
    /// 7 if only the staged volume could not be removed.
    pub fn outcome(&self) -> Outcome {
        if self.not_removed.is_some() { Outcome::Io } else { Outcome::Ok }
    }

    /// For `--json`.
    pub fn to_json(&self) -> Value {
        json!({
            "command": "load", "source": show(&self.source), "folder": show(&self.folder), "files": self.files,
            "bytes": self.bytes, "kept": self.kept, "copied_again": self.again, "changed_by_drive": self.changed,
            "verified": true, "past_cache": self.past_cache, "safe_to_unplug": self.past_cache && self.changed.is_none(), "removed": self.removed,
            "not_removed": self.not_removed, "folder_stays": self.folder_stays, "notes": notes_json(&self.notes),
        })
    }
}

/// Why a volume is not on its drive.
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
    /// Its SHA256SUMS cannot be used.
    #[error("{}: {source}", show(.path))]
    Sums {
        /// The file.
        path: PathBuf,
        /// Why.
        source: FormatError,
    },
    /// It is not as its SHA256SUMS says.
    #[error("{} is not whole: {}", show(.folder), named(.files))]
    Source {
        /// The staged volume.
        folder: PathBuf,
        /// Which files, and what is wrong with them.
        files: Vec<(String, String)>,
    },
    /// The drive cannot take it.
    #[error("{} has {} bytes free and {} bytes are needed: {} are missing", show(.drive), grouped(*.free), grouped(*.needed), human(needed.saturating_sub(*.free)))]
    Room {
        /// The drive.
        drive: PathBuf,
        /// Bytes.
        needed: u64,
        /// Bytes.
        free: u64,
    },
    /// It was to be moved, to where no drive seems to be mounted.
    #[error("{} is {why}: no drive seems to be mounted there, so the staged volume is not moved", show(.drive))]
    NoDrive {
        /// The folder.
        drive: PathBuf,
        /// How that is known.
        why: &'static str,
    },
    /// Something else stands where the copy would.
    #[error("{} exists already and is not this volume: {why}", show(.folder))]
    Another {
        /// On the drive.
        folder: PathBuf,
        /// How that is known.
        why: String,
    },
    /// The drive does not store what it was given.
    #[error("the drive at {} did not keep what was written: {file} {misread}; do not trust this drive", show(.drive))]
    Changed {
        /// The drive.
        drive: PathBuf,
        /// The file, below the drive.
        file: String,
        /// How it came back.
        misread: Misread,
    },
}

impl LoadError {
    /// The class of the failure. A drive that changes what is written counts as I/O: nothing is
    /// lost, for the staged volume is whole, and another drive will do.
    pub fn outcome(&self) -> Outcome {
        match self {
            LoadError::Unfinished { .. } => Outcome::Incomplete,
            LoadError::Source { .. } | LoadError::Sums { source: FormatError::Malformed { .. }, .. } => {
                Outcome::Damaged
            }
            LoadError::Sums { .. } => Outcome::Hostile,
            LoadError::Room { .. } | LoadError::Changed { .. } => Outcome::Io,
            LoadError::Another { .. } | LoadError::NoDrive { .. } => Outcome::Usage,
        }
    }
}

/// How a file came back that was written well.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Misread {
    /// Other bytes, from there on.
    #[error("differs from its source from byte {} on", grouped(*.0))]
    From(u64),
    /// Other bytes, nobody could see where.
    #[error("differs from its source")]
    Somewhere,
    /// Other bytes the first time, the right ones the second time.
    #[error("was wrong when it was read once and right when it was read again")]
    Once,
    /// Not at all.
    #[error("cannot be read ({0})")]
    Unreadable(String),
}

fn named(files: &[(String, String)]) -> String {
    let mut all: Vec<String> = files.iter().take(SHOWN).map(|(name, why)| format!("{name} {why}")).collect();
    if files.len() > SHOWN {
        all.push(format!("and {}", count((files.len() - SHOWN) as u64, "more file")));
    }
    all.join(", ")
}
