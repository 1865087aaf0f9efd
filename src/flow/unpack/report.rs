//! What unpacking delivered, lost and rebuilt, and what margin is left. Nothing here claims more than was verified.

use std::borrow::Cow;
use std::path::PathBuf;

use crate::base::json::{Document, Value, json};
use crate::base::monitor::{Note, NoteKind, note_json};
use crate::base::path::{escape, show};
use crate::flow::Outcome;
use crate::plan::holds::Change;
use crate::plan::repair::{Margin, Verdict};
use crate::stage::restore::MetadataDifferences;

/// What kept a file from being delivered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// A part is not there: another drive would help.
    Missing,
    /// A part is there that this user may not read.
    Unread,
    /// What is there is not what was packed.
    Damaged,
    /// The target cannot hold such a thing.
    Target,
    /// The target did not keep what it was given.
    Unkept,
}

impl Cause {
    /// Whether other drives of the bundle, or the same once more, may help.
    pub fn is_of_bundle(self) -> bool {
        matches!(self, Cause::Missing | Cause::Unread | Cause::Damaged)
    }
}

/// A file that was not delivered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lost {
    /// Its path.
    pub path: Vec<u8>,
    /// What kept it.
    pub cause: Cause,
    /// In words.
    pub why: Cow<'static, str>,
}

/// What is wrong with a part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PartState {
    /// It was not found at all.
    Missing,
    /// It was found, and this user may not read it.
    Unread,
    /// It was found and is damaged.
    Damaged,
}

impl PartState {
    /// The word for it.
    pub fn word(self) -> &'static str {
        match self {
            PartState::Missing => "missing",
            PartState::Unread => "unreadable",
            PartState::Damaged => "damaged",
        }
    }
}

/// A part that could not be used whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadPart {
    /// Its number.
    pub number: u32,
    /// The volume it belongs to.
    pub volume: u16,
    /// What is wrong with it.
    pub state: PartState,
    /// What was found, in words.
    pub why: String,
}

impl BadPart {
    fn to_json(&self) -> Value {
        json!({
            "number": self.number, "volume": self.volume, "why": self.why,
            "state": self.state.word(),
        })
    }
}

/// What unpacking delivered.
#[derive(Debug, Clone)]
pub struct UnpackReport {
    /// The bundle's fingerprint.
    pub fingerprint: String,
    /// Where the files are.
    pub target: PathBuf,
    /// Volumes of the bundle.
    pub volumes: u16,
    /// Volumes that were given.
    pub volumes_given: usize,
    /// Whether only some paths were asked for.
    pub selected: bool,
    /// Files asked for, hard links counted each.
    pub files: u64,
    /// Files delivered and verified.
    pub delivered: u64,
    /// Bytes of the delivered files.
    pub bytes: u64,
    /// Delivered files of which nothing says what their content should be: there was no list.
    pub unproven: u64,
    /// Parts missing or damaged, and not to be rebuilt.
    pub bad_parts: Vec<BadPart>,
    /// Parts missing or damaged, and rebuilt.
    pub mended: Vec<BadPart>,
    /// What could be had with the drives given.
    pub verdict: Verdict,
    /// What else may be lost; `None` without parity, and when parts are lost already.
    pub margin: Option<Margin>,
    /// Files not delivered.
    pub lost: Vec<Lost>,
    /// Why the target took no more, if it did not.
    pub failed: Option<String>,
    /// Folders of volumes whose drives stopped answering while they were read.
    pub gone: Vec<PathBuf>,
    /// Folders of volumes of which this user may not read everything, if anything was lacking.
    pub denied: Vec<PathBuf>,
    /// Where what was placed of the others is kept, for the same command to go on from.
    pub kept: Option<PathBuf>,
    /// What the target could not hold as it was packed.
    pub changes: Vec<Change>,
    /// The file beside the result that says so.
    pub renamed_in: Option<PathBuf>,
    /// What has another mode or time than it was packed with.
    pub otherwise: MetadataDifferences,
    /// How many had a time outside of what the target counts, and got the nearest.
    pub clamped: u64,
    /// Flaws from packing, and properties that the target could not take.
    pub notes: Vec<Note>,
}

impl UnpackReport {
    /// 7 if the target failed, or did not keep what it was given, or a drive is gone that something is missing of, 4 if what is there is damaged, was packed with flaws or does not
    /// fit the target, 3 if drives are missing.
    pub fn outcome(&self) -> Outcome {
        let flawed = |note: &Note| matches!(note.kind, NoteKind::Changed | NoteKind::Unreadable);
        let other = |lost: &Lost| !matches!(lost.cause, Cause::Missing | Cause::Unread);
        if self.failed.is_some() || self.lacks_gone() || self.lacks_denied() || self.is_unkept() {
            Outcome::Io
        } else if self.lost.iter().any(other) || self.notes.iter().any(flawed) {
            Outcome::Damaged
        } else if !self.lost.is_empty() {
            Outcome::Incomplete
        } else {
            Outcome::Ok
        }
    }

    /// Whether drives are gone, and files are not there that may be on them.
    pub fn lacks_gone(&self) -> bool {
        !self.gone.is_empty() && self.lost.iter().any(|lost| lost.cause.is_of_bundle())
    }

    /// Whether there are volumes that this user may not read, and files are not there that may be on them.
    pub fn lacks_denied(&self) -> bool {
        let unread = self.lost.iter().any(|lost| lost.cause == Cause::Unread);
        unread || (!self.denied.is_empty() && self.lost.iter().any(|lost| lost.cause.is_of_bundle()))
    }

    /// Whether all that was asked for is there, and all that was to be packed was.
    pub fn complete(&self) -> bool {
        self.lost.is_empty() && !self.notes.iter().any(|note| note.kind == NoteKind::Unreadable)
    }

    /// Whether the target gave back other bytes than it took.
    pub fn is_unkept(&self) -> bool {
        self.lost.iter().any(|lost| lost.cause == Cause::Unkept)
    }

    /// Whether no file was kept back because of damage, here or in the target.
    pub fn intact(&self) -> bool {
        self.lost.iter().all(|lost| !matches!(lost.cause, Cause::Damaged | Cause::Unkept))
    }

    /// For `--json`.
    pub fn to_json(&self) -> Document<'_> {
        let lost = self.lost.iter().map(|lost| json!({"path": escape(&lost.path), "why": lost.why}));
        let parts = |parts: &[BadPart]| parts.iter().map(BadPart::to_json).collect::<Value>();
        let object = json!({
            "command": "unpack", "fingerprint": self.fingerprint, "target": show(&self.target),
            "volumes": self.volumes, "volumes_given": self.volumes_given, "selected": self.selected,
            "files": self.files, "delivered": self.delivered, "bytes": self.bytes,
            "intact": self.intact(), "complete": self.complete(), "origin": "unknown",
            "failed": self.failed, "gone": self.gone.iter().map(|folder| show(folder)).collect::<Value>(),
            "unreadable": self.denied.iter().map(|folder| show(folder)).collect::<Value>(),
            "kept": self.kept.as_ref().map(|path| show(path)), "bad_parts": parts(&self.bad_parts), "rebuilt_parts": parts(&self.mended),
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
