//! What salvaging has to say when it is over: what unpacking would, and what it rests on. Nothing
//! here claims more than was verified.

use crate::base::json::{Document, Value, json};
use crate::base::monitor::NoteKind;
use crate::flow::Outcome;
use crate::flow::unpack::report::{PartState, UnpackReport};

/// What there was to go by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Basis {
    /// A head: the parts are those that it names, and there is a fingerprint.
    pub head: bool,
    /// A list: what files there are, and the SHA-256 of each.
    pub list: bool,
    /// The manifest in the tar: which files there are, and the SHA-256 of most.
    pub manifest: bool,
    /// The tar was read from its beginning to its end: every folder and link was seen.
    pub seamless: bool,
    /// Files delivered that there was no SHA-256 to hold against.
    pub unproven: u64,
    /// Parity parts that are of no use without a head.
    pub idle_parity: usize,
    /// Nothing says how many parts follow the last that was found.
    pub endless: bool,
}

/// What was delivered, and what that rests on.
#[derive(Debug, Clone)]
pub struct Salvaged {
    /// As of any unpacking. Its fingerprint and its verdict are nobody's if there is no head.
    pub report: UnpackReport,
    /// What there was to go by.
    pub basis: Basis,
}

impl Salvaged {
    /// Of an unpacking that lacked neither head nor list.
    pub fn of_whole(report: UnpackReport) -> Self {
        Self { report, basis: Basis { head: true, list: true, seamless: true, ..Basis::default() } }
    }

    /// Whether no file is known to be damaged. Where nothing says which files there were, a damaged part may
    /// have held any.
    pub fn intact(&self) -> bool {
        let told = self.basis.list || self.basis.manifest;
        self.report.intact() && (told || !self.report.bad_parts.iter().any(|part| part.state == PartState::Damaged))
    }

    /// Whether nothing was lacking: then it is an unpacking like any other.
    pub fn is_ordinary(&self) -> bool {
        self.basis.head && self.basis.list
    }

    /// Whether a list or a manifest proves that all that was asked for is there.
    pub fn complete(&self) -> bool {
        let Basis { list, manifest, seamless, unproven, .. } = self.basis;
        self.report.complete() && (list || (manifest && seamless && unproven == 0))
    }

    /// 0 only if everything is proven whole; 7 if the target failed, a drive is gone or may not be read.
    pub fn outcome(&self) -> Outcome {
        let flawed = self.report.notes.iter().any(|note| matches!(note.kind, NoteKind::Changed | NoteKind::Unreadable));
        match () {
            () if self.is_ordinary() || self.report.outcome() == Outcome::Io => self.report.outcome(),
            () if !self.complete() && !self.report.denied.is_empty() => Outcome::Io,
            () if self.complete() && !flawed => Outcome::Ok,
            () => Outcome::Damaged,
        }
    }

    /// For `--json`.
    pub fn to_json(&self) -> Document<'_> {
        let Basis { head, list, manifest, seamless, unproven, idle_parity, endless } = self.basis;
        let mut document = self.report.to_json();
        let json = document.object();
        (json["intact"], json["complete"]) = (json!(self.intact()), json!(self.complete()));
        json["salvage"] = json!({
            "head": head, "list": list, "manifest": manifest, "seamless": seamless, "unproven": unproven,
            "idle_parity": idle_parity, "more_parts_may_follow": endless,
        });
        if !head {
            for key in ["fingerprint", "volumes", "verdict", "margin"] {
                json[key] = Value::Null;
            }
            for part in json["bad_parts"].as_array_mut().into_iter().flatten() {
                part["volume"] = Value::Null;
            }
        }
        document
    }
}
