//! What became of a staged volume that was loaded. It has the exit code and the JSON document. Only a copy that was
//! read back whole has a report.

use std::path::PathBuf;

use crate::base::json::{Value, json};
use crate::base::monitor::{Note, notes_json};
use crate::base::path::show;
use crate::flow::Outcome;

/// A volume that was loaded and read back.
#[derive(Debug, Clone)]
pub(crate) struct LoadReport {
    /// The folder of the staged volume.
    pub(crate) source: PathBuf,
    /// The folder of its copy on the drive.
    pub(crate) folder: PathBuf,
    /// How many files it has, without SHA256SUMS.
    pub(crate) files: usize,
    /// The bytes of these files.
    pub(crate) bytes: u64,
    /// How many of them an earlier run had brought to the drive, whole.
    pub(crate) kept: usize,
    /// The names of those that an earlier run had brought and that were no longer whole. This run copied them again.
    pub(crate) again: Vec<String>,
    /// The name of a file that the drive changed, or could not read, right after it was written. Its second copy came
    /// back whole, and still the drive is not to be trusted. `None` if all came back whole at once.
    pub(crate) changed: Option<String>,
    /// Whether every file was read back past the system's cache.
    pub(crate) past_cache: bool,
    /// Whether the staged volume was removed.
    pub(crate) removed: bool,
    /// Why the staged volume could not be removed, although its copy is verified.
    pub(crate) not_removed: Option<String>,
    /// Whether the folder of the staged volume was to be removed and stayed. Other files may lie in it.
    pub(crate) folder_stays: bool,
    pub(crate) notes: Vec<Note>,
}

impl LoadReport {
    /// I/O if the staged volume could not be removed; the copy itself is whole in any case.
    pub(crate) fn outcome(&self) -> Outcome {
        if self.not_removed.is_some() { Outcome::Io } else { Outcome::Ok }
    }

    /// The document for `--json`. A program may unplug the drive only if it says that this is safe.
    pub(crate) fn to_json(&self) -> Value {
        json!({
            "command": "load", "source": show(&self.source), "folder": show(&self.folder), "files": self.files,
            "bytes": self.bytes, "kept": self.kept, "copied_again": self.again, "changed_by_drive": self.changed,
            "verified": true, "past_cache": self.past_cache,
            "safe_to_unplug": self.past_cache && self.changed.is_none(), "removed": self.removed,
            "not_removed": self.not_removed, "folder_stays": self.folder_stays, "notes": notes_json(&self.notes),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> LoadReport {
        LoadReport {
            source: "/s/volume-1".into(),
            folder: "/d/volume-1".into(),
            files: 4,
            bytes: 33,
            kept: 0,
            again: Vec::new(),
            changed: None,
            past_cache: true,
            removed: false,
            not_removed: None,
            folder_stays: false,
            notes: Vec::new(),
        }
    }

    #[test]
    fn a_drive_is_safe_to_unplug_if_it_kept_all_and_no_cache_answered() {
        let is_safe = |report: &LoadReport| report.to_json()["safe_to_unplug"] == true;
        assert!(is_safe(&report()));
        assert!(!is_safe(&LoadReport { past_cache: false, ..report() }));
        assert!(!is_safe(&LoadReport { changed: Some("seal.age".into()), ..report() }));
    }

    #[test]
    fn only_a_staged_volume_that_stays_is_a_failure() {
        assert_eq!(LoadReport { changed: Some("seal.age".into()), ..report() }.outcome(), Outcome::Ok);
        assert_eq!(LoadReport { folder_stays: true, removed: true, ..report() }.outcome(), Outcome::Ok);
        assert_eq!(LoadReport { not_removed: Some("no".into()), ..report() }.outcome(), Outcome::Io);
    }
}
