//! What packing would do, and what it did, as plain values; `--json` prints them as they are, the
//! terminal in sentences. Nothing here claims more than was verified.

use std::path::PathBuf;

use crate::base::json::{Value, json};
use crate::base::monitor::{Note, NoteKind, notes_json};
use crate::base::path::show;
use crate::flow::Outcome;
use crate::format::stripe::Scheme;

/// What packing would do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// Files, hard links counted each.
    pub files: u64,
    /// Folders.
    pub folders: u64,
    /// Symlinks.
    pub links: u64,
    /// Bytes of all files.
    pub bytes: u64,
    /// Size of the parts, in MiB.
    pub class: u16,
    /// Bytes of parts that an interrupted run packed, whole.
    pub packed: u64,
    /// Bytes of parts that it packed, and that are to be packed again.
    pub again: u64,
    /// Whether an interrupted run left nothing to go on from: it is removed.
    pub begins_anew: bool,
    /// Bytes still to come, from samples; of small files the most that they may take.
    pub expected: u64,
    /// The same if nothing compresses.
    pub at_most: u64,
    /// Bytes that the drives can take.
    pub room: u64,
    /// How many recipients can open it.
    pub recipients: usize,
    /// Whether a passphrase can open it.
    pub passphrase: bool,
    /// How parts stand in for each other.
    pub parity: Option<Scheme>,
    /// Memory that it may take, in bytes.
    pub memory: u64,
    /// Whether drives are filled one after the other.
    pub sequential: bool,
    /// Whether several of the drives given are one file system.
    pub shared_drive: bool,
    /// Whether the volumes are staged in one folder, to be copied to drives later.
    pub staged: bool,
    /// Each volume.
    pub volumes: Vec<VolumePlan>,
}

/// What would go onto one drive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VolumePlan {
    /// Where.
    pub folder: PathBuf,
    /// Free bytes of its file system.
    pub free: u64,
    /// The most it may take.
    pub cap: Option<u64>,
    /// Bytes expected, reserve and all.
    pub expected: u64,
}

impl Plan {
    /// For `--json`.
    pub fn to_json(&self) -> Value {
        let volumes = self.volumes.iter().map(|volume| {
            json!({"folder": show(&volume.folder), "free": volume.free, "cap": volume.cap, "expected": volume.expected})
        });
        json!({
            "files": self.files, "folders": self.folders, "links": self.links, "bytes": self.bytes,
            "class_mib": self.class, "packed": self.packed, "packed_again": self.again, "begins_anew": self.begins_anew, "expected": self.expected, "at_most": self.at_most, "room": self.room,
            "recipients": self.recipients, "passphrase": self.passphrase, "memory": self.memory,
            "shared_drive": self.shared_drive,
            "parity": self.parity.map(|scheme| json!({
                "k": scheme.k, "m": scheme.m, "c": scheme.c, "drives_may_be_lost": scheme.volumes_spared(),
                "bad_chunks_a_row": scheme.m, "chunks_a_row": scheme.shards(),
            })),
            "fill": if self.sequential { "sequential" } else { "spread" },
            "volumes": volumes.collect::<Value>(),
        })
    }
}

/// What was packed.
#[derive(Debug, Clone)]
pub struct PackReport {
    /// What was planned.
    pub plan: Plan,
    /// The bundle's fingerprint.
    pub fingerprint: String,
    /// Number of parts.
    pub parts: usize,
    /// Whether all drives were read back.
    pub read_back: bool,
    /// Whether that was past the system's memory, as far as can be known.
    pub past_cache: bool,
    /// Folders of the volumes, with the bytes of parts on each.
    pub volumes: Vec<(PathBuf, u64)>,
    /// Drives that were given up, and why: nothing on them counts.
    pub given_up: Vec<(PathBuf, String)>,
    /// Drives that hold their share whole, and did not at first: not to be trusted.
    pub distrusted: Vec<PathBuf>,
    /// Parts that are on no drive, and that parity stands for.
    pub spared: usize,
    /// Whether another drive took the place of one that an interrupted run wrote to.
    pub replaced: bool,
    /// What is worth knowing.
    pub notes: Vec<Note>,
}

/// What must be known of a drive that another took the place of.
pub const REPLACED: &str = "the drive that was replaced must not be handed on with these, should it turn up again: \
what it holds is of the same run, and its parts are elsewhere now";

impl PackReport {
    /// 7 if a drive failed or is not to be trusted, although the bundle is complete; 4 if sources changed or
    /// could not be read.
    pub fn outcome(&self) -> Outcome {
        let flawed = |note: &Note| matches!(note.kind, NoteKind::Changed | NoteKind::Unreadable | NoteKind::Outdated);
        if self.spared > 0 || !self.distrusted.is_empty() || !self.given_up.is_empty() {
            Outcome::Io
        } else if self.notes.iter().any(flawed) {
            Outcome::Damaged
        } else {
            Outcome::Ok
        }
    }

    /// For `--json`.
    pub fn to_json(&self) -> Value {
        let volumes = self.volumes.iter().map(|(folder, bytes)| json!({"folder": show(folder), "bytes": bytes}));
        json!({
            "command": "pack", "fingerprint": self.fingerprint, "parts": self.parts, "read_back": self.read_back, "past_cache": self.past_cache, "plan": self.plan.to_json(),
            "volumes": volumes.collect::<Value>(), "notes": notes_json(&self.notes),
            "given_up": self.given_up.iter().map(|(place, why)| json!({"drive": show(place), "why": why})).collect::<Value>(),
            "not_trusted": self.distrusted.iter().map(|place| show(place)).collect::<Vec<_>>(),
            "parts_left_to_parity": self.spared, "do_not_hand_on": self.replaced.then_some(REPLACED),
        })
    }
}
