//! Lists the contents of a bundle: opens its list with a key and reports the entries. One volume suffices.
//!
//! Not guaranteed: that any file can be unpacked. No part is opened.

use std::path::PathBuf;

use crate::base::entry::Entry;
use crate::base::json::{Document, Value, json};
use crate::base::monitor::{Note, note_json};
use crate::base::path::escape;
use crate::flow::FlowError;
use crate::flow::bundle::open::open_at;
use crate::plan::choose::FingerprintStart;
use crate::stage::seal::Keyring;

/// The entries of a bundle.
#[derive(Debug, Clone)]
pub(crate) struct ListReport {
    pub(crate) fingerprint: String,
    /// In the order of the list: folders before what they hold.
    pub(crate) entries: Vec<Entry>,
    /// Findings about volumes, and copies of seal, head and list that could not be used.
    pub(crate) notes: Vec<Note>,
}

impl ListReport {
    /// For `--json`.
    pub(crate) fn to_json(&self) -> Document<'_> {
        let object = json!({"command": "list", "fingerprint": self.fingerprint});
        let entries = self.entries.iter().map(entry_json);
        Document::new(object).with("entries", entries).with("notes", self.notes.iter().map(note_json))
    }
}

fn entry_json(entry: &Entry) -> Value {
    json!({
        "path": escape(entry.path.as_bytes()), "type": entry.kind.word(), "size": entry.size,
        "mode": format!("{:04o}", entry.mode), "mtime": format!("{}.{:09}", entry.mtime.secs, entry.mtime.nanos),
        "sha256": entry.sha256.map(|sum| format!("{sum:?}")), "flag": entry.flag.word(),
    })
}

/// Lists the one bundle on these volumes, or the `wanted` one of several.
pub(crate) fn list(
    volumes: &[PathBuf],
    keyring: &Keyring,
    wanted: Option<&FingerprintStart>,
) -> Result<ListReport, FlowError> {
    let mut bundle = open_at(volumes, keyring, wanted)?;
    let entries = bundle.read_list()?;
    Ok(ListReport { fingerprint: bundle.head.statement.fingerprint(), entries, notes: bundle.notes })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::digest::Digest;
    use crate::base::entry::{Flag, Time};
    use crate::plan::layout::tests::{dir, file};

    #[test]
    fn an_entry_is_shown_with_octal_mode_and_time_to_the_nanosecond() {
        let mtime = Time { secs: -1, nanos: 5 };
        let packed = Entry { mtime, mode: 0o40, sha256: Some(Digest([0xab; 32])), ..file("a\n", 7) };
        let expected = json!({
            "path": "a\\x0a", "type": "file", "size": 7, "mode": "0040", "mtime": "-1.000000005",
            "sha256": "ab".repeat(32), "flag": null,
        });
        assert_eq!(entry_json(&packed), expected);
    }

    #[test]
    fn a_folder_has_no_digest_and_a_flag_is_named() {
        let shown = entry_json(&Entry { flag: Flag::Unreadable, ..dir("d") });
        assert_eq!(
            (&shown["sha256"], &shown["flag"], &shown["type"]),
            (&Value::Null, &json!("unreadable"), &json!("dir"))
        );
    }
}
