//! The report of an unpacking: what was delivered, lost and rebuilt, and what margin is left. It decides the outcome of
//! the run, and makes the JSON report.
//!
//! Not guaranteed: who packed the bundle. The report claims nothing that this run did not verify.

use std::borrow::Cow;
use std::path::PathBuf;

use crate::base::json::{Document, Value, json};
use crate::base::monitor::{Note, NoteKind, note_json};
use crate::base::path::{escape, show};
use crate::flow::Outcome;
use crate::format::volume_number::VolumeNumber;
use crate::plan::holds::Change;
use crate::plan::repair::{Margin, Verdict};
use crate::stage::restore::MetadataDifferences;

/// What kept a file from being delivered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cause {
    /// A part is on no drive that was given: another drive would help.
    Missing,
    /// A drive has a part that this user may not read.
    Unread,
    /// The drives have other bytes than those that were packed.
    Damaged,
    /// The target cannot hold the file, or took no more.
    Target,
    /// The target did not keep what was written to it.
    Unkept,
}

impl Cause {
    /// Whether other drives of the bundle, or a second try with the same ones, may help.
    pub(crate) fn is_of_bundle(self) -> bool {
        matches!(self, Cause::Missing | Cause::Unread | Cause::Damaged)
    }
}

/// A file that was not delivered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Lost {
    /// Raw bytes, not yet safe on a terminal.
    pub(crate) path: Vec<u8>,
    pub(crate) cause: Cause,
    /// The cause as a phrase for the user.
    pub(crate) why: Cow<'static, str>,
}

/// What is wrong with a part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PartState {
    /// No drive that was given has it.
    Missing,
    /// A drive has it, and this user may not read it.
    Unread,
    /// A drive has it, and it is damaged.
    Damaged,
}

impl PartState {
    /// The word in reports.
    pub(crate) fn word(self) -> &'static str {
        match self {
            PartState::Missing => "missing",
            PartState::Unread => "unreadable",
            PartState::Damaged => "damaged",
        }
    }
}

/// A data part that could not be used whole from the drives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct BadPart {
    /// Its number among the data parts, from 1.
    pub(crate) number: u32,
    /// The volume that the head names for it.
    pub(crate) volume: VolumeNumber,
    pub(crate) state: PartState,
    /// The finding as a phrase for the user.
    pub(crate) why: String,
}

impl BadPart {
    fn to_json(&self) -> Value {
        json!({
            "number": self.number, "volume": self.volume, "why": self.why,
            "state": self.state.word(),
        })
    }
}

/// What an unpacking delivered.
#[derive(Debug, Clone)]
pub(crate) struct UnpackReport {
    pub(crate) fingerprint: String,
    /// The folder that the files were delivered into.
    pub(crate) target: PathBuf,
    /// How many volumes the bundle has.
    pub(crate) volumes: u16,
    /// How many volumes were given.
    pub(crate) volumes_given: usize,
    /// Whether only some paths were asked for.
    pub(crate) selected: bool,
    /// Files that were asked for. Each hard link counts.
    pub(crate) files: u64,
    /// Those of them that were delivered.
    pub(crate) delivered: u64,
    /// Bytes of the delivered files. The content of hard links counts once.
    pub(crate) bytes: u64,
    /// Delivered files without a digest to compare them with. Only a salvage without a list has any.
    pub(crate) unproven: u64,
    /// Parts that are missing or damaged, and were not rebuilt.
    pub(crate) bad_parts: Vec<BadPart>,
    /// Parts that were missing or damaged, and were rebuilt.
    pub(crate) mended: Vec<BadPart>,
    /// What can be recovered with the drives given.
    pub(crate) verdict: Verdict,
    /// How much more may be lost; `None` without parity, if data is lost already, or if earlier runs placed parts.
    pub(crate) margin: Option<Margin>,
    /// Files that were not delivered.
    pub(crate) lost: Vec<Lost>,
    /// Why the target took no more; `None` if it took everything.
    pub(crate) failed: Option<String>,
    /// Folders of volumes whose drives stopped answering while they were read.
    pub(crate) gone: Vec<PathBuf>,
    /// Folders of volumes of which this user may not read everything. They are looked for only if a part was bad.
    pub(crate) denied: Vec<PathBuf>,
    /// The staging folder, if the same command can go on from it.
    pub(crate) kept: Option<PathBuf>,
    /// Entries that the target could not hold as packed.
    pub(crate) changes: Vec<Change>,
    /// The record of these changes, a file in the target.
    pub(crate) renamed_in: Option<PathBuf>,
    /// How many entries have another mode or time than the packed one.
    pub(crate) otherwise: MetadataDifferences,
    /// How many had a time outside of what the target counts, and got the nearest.
    pub(crate) clamped: u64,
    /// Flaws from packing, findings about volumes, and properties that the target could not take.
    pub(crate) notes: Vec<Note>,
}

impl UnpackReport {
    /// The outcome with the gravest cause: first the target or a drive that failed, then damage and flaws from packing,
    /// then missing drives.
    pub(crate) fn outcome(&self) -> Outcome {
        let is_flawed = self.notes.iter().any(|note| matches!(note.kind, NoteKind::Changed | NoteKind::Unreadable));
        let is_damaged = self.lost.iter().any(|lost| !matches!(lost.cause, Cause::Missing | Cause::Unread));
        if self.failed.is_some() || self.lacks_gone() || self.lacks_denied() || self.is_unkept() {
            Outcome::Io
        } else if is_damaged || is_flawed {
            Outcome::Damaged
        } else if !self.lost.is_empty() {
            Outcome::Incomplete
        } else {
            Outcome::Ok
        }
    }

    /// Whether drives are gone, and files are lost that may be on them.
    pub(crate) fn lacks_gone(&self) -> bool {
        !self.gone.is_empty() && self.lost.iter().any(|lost| lost.cause.is_of_bundle())
    }

    /// Whether this user may not read some part or volume, and files are lost that may be in it.
    pub(crate) fn lacks_denied(&self) -> bool {
        let is_unread = self.lost.iter().any(|lost| lost.cause == Cause::Unread);
        is_unread || (!self.denied.is_empty() && self.lost.iter().any(|lost| lost.cause.is_of_bundle()))
    }

    /// Whether everything that was asked for was delivered, and the packer could read all of it.
    pub(crate) fn complete(&self) -> bool {
        self.lost.is_empty() && !self.notes.iter().any(|note| note.kind == NoteKind::Unreadable)
    }

    /// Whether the target gave back other bytes of a file than it took.
    pub(crate) fn is_unkept(&self) -> bool {
        self.lost.iter().any(|lost| lost.cause == Cause::Unkept)
    }

    /// Whether no file was kept back because of damage, on the drives or in the target.
    pub(crate) fn intact(&self) -> bool {
        self.lost.iter().all(|lost| !matches!(lost.cause, Cause::Damaged | Cause::Unkept))
    }

    /// For `--json`.
    pub(crate) fn to_json(&self) -> Document<'_> {
        let lost = self.lost.iter().map(|lost| json!({"path": escape(&lost.path), "why": lost.why}));
        let object = json!({
            "command": "unpack", "fingerprint": self.fingerprint, "target": show(&self.target),
            "volumes": self.volumes, "volumes_given": self.volumes_given, "selected": self.selected,
            "files": self.files, "delivered": self.delivered, "bytes": self.bytes,
            "intact": self.intact(), "complete": self.complete(), "origin": "unknown",
            "failed": self.failed, "gone": paths_json(&self.gone), "unreadable": paths_json(&self.denied),
            "kept": self.kept.as_ref().map(|path| show(path)),
            "bad_parts": parts_json(&self.bad_parts), "rebuilt_parts": parts_json(&self.mended),
            "verdict": self.verdict.to_json(),
            "margin": self.margin.map_or(Value::Null, Margin::to_json),
            "changes": self.changes.iter().map(Change::to_json).collect::<Value>(),
            "otherwise": {
                "modes": self.otherwise.modes, "times": self.otherwise.times + self.clamped,
                "clamped": self.clamped, "off_by_ns": self.otherwise.off,
            },
            "renamed_in": self.renamed_in.as_ref().map(|path| show(path)),
        });
        Document::new(object).with("lost", lost).with("notes", self.notes.iter().map(note_json))
    }
}

fn parts_json(parts: &[BadPart]) -> Value {
    parts.iter().map(BadPart::to_json).collect()
}

fn paths_json(paths: &[PathBuf]) -> Value {
    paths.iter().map(|path| show(path)).collect()
}

#[cfg(test)]
pub(crate) mod tests;
