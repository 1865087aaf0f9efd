//! What a bundle holds: its list, opened with a key and read; no part is opened.

use std::path::PathBuf;

use crate::base::entry::Entry;
use crate::base::json::{Document, json};
use crate::base::monitor::{Note, note_json};
use crate::base::path::escape;
use crate::flow::FlowError;
use crate::flow::bundle::open::open_at;
use crate::plan::choose::FingerprintStart;
use crate::stage::seal::Keyring;

/// What a bundle holds.
#[derive(Debug, Clone)]
pub struct ListReport {
    /// The bundle's fingerprint.
    pub fingerprint: String,
    /// Its entries.
    pub entries: Vec<Entry>,
    /// What is worth knowing about the volumes.
    pub notes: Vec<Note>,
}

impl ListReport {
    /// For `--json`.
    pub fn to_json(&self) -> Document<'_> {
        let entries = self.entries.iter().map(|entry| {
            json!({
                "path": escape(entry.path.as_bytes()), "type": entry.kind.word(), "size": entry.size,
                "mode": format!("{:04o}", entry.mode), "mtime": format!("{}.{:09}", entry.mtime.secs, entry.mtime.nanos),
                "sha256": entry.sha256.map(|sum| format!("{sum:?}")), "flag": entry.flag.word(),
            })
        });
        let object = json!({"command": "list", "fingerprint": self.fingerprint});
        Document::new(object).with("entries", entries).with("notes", self.notes.iter().map(note_json))
    }
}

/// What a bundle holds.
pub fn list(
    volumes: &[PathBuf],
    keyring: &Keyring,
    wanted: Option<&FingerprintStart>,
) -> Result<ListReport, FlowError> {
    let mut bundle = open_at(volumes, keyring, wanted)?;
    let entries = bundle.read_list()?;
    Ok(ListReport { fingerprint: bundle.head.statement.fingerprint(), entries, notes: bundle.notes })
}
