//! What loading a staged volume came to.

use std::path::PathBuf;

use crate::base::json::{Value, json};
use crate::base::monitor::{Note, notes_json};
use crate::base::path::show;
use crate::flow::Outcome;

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
