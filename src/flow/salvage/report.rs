//! The report of a salvage: that of the unpacking, and the basis it rests on. Without a list or a manifest nothing
//! tells which files are missing, and the report does not claim that the result is complete.

use crate::base::json::{Document, Value, json};
use crate::base::monitor::NoteKind;
use crate::flow::Outcome;
use crate::flow::unpack::report::{PartState, UnpackReport};

/// What the salvage had to go by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Basis {
    /// A head: the parts are those that it names, and the fingerprint is the bundle's.
    pub(crate) head: bool,
    /// A list: the files are those that it names, each with its SHA-256.
    pub(crate) list: bool,
    /// The manifest in the tar: it names all files, most of them with a SHA-256.
    pub(crate) manifest: bool,
    /// Whether the tar was read from its beginning to its end, so that every folder and link was seen.
    pub(crate) seamless: bool,
    /// Delivered files without a SHA-256 to compare them with.
    pub(crate) unproven: u64,
    /// How many parity parts are of no use without a head.
    pub(crate) idle_parity: usize,
    /// Whether nothing says how many parts follow the last known one.
    pub(crate) endless: bool,
}

/// What was delivered, and on what basis.
#[derive(Debug, Clone)]
pub(crate) struct Salvaged {
    /// The report of the unpacking. Without a head, its fingerprint, verdict and margin mean nothing.
    pub(crate) report: UnpackReport,
    pub(crate) basis: Basis,
}

impl Salvaged {
    /// The result of an ordinary unpacking: head and list could be used.
    pub(crate) fn of_whole(report: UnpackReport) -> Self {
        Self { report, basis: Basis { head: true, list: true, seamless: true, ..Basis::default() } }
    }

    /// Whether no file is known to be damaged. If nothing names the files, a damaged part counts as damage too: it may
    /// have held any of them.
    pub(crate) fn intact(&self) -> bool {
        let knows_files = self.basis.list || self.basis.manifest;
        let is_damaged = self.report.bad_parts.iter().any(|part| part.state == PartState::Damaged);
        self.report.intact() && (knows_files || !is_damaged)
    }

    /// Whether head and list could be used, so that this is an unpacking like any other.
    pub(crate) fn is_ordinary(&self) -> bool {
        self.basis.head && self.basis.list
    }

    /// Whether a list or a manifest proves that everything that was asked for was delivered.
    pub(crate) fn complete(&self) -> bool {
        let Basis { list, manifest, seamless, unproven, .. } = self.basis;
        self.report.complete() && (list || (manifest && seamless && unproven == 0))
    }

    /// [`Outcome::Ok`] only if everything is proven whole. A target that failed, and a drive that is gone or may not be
    /// read, come before damage.
    pub(crate) fn outcome(&self) -> Outcome {
        if self.is_ordinary() || self.report.outcome() == Outcome::Io {
            return self.report.outcome();
        }
        let notes = &self.report.notes;
        let is_flawed = notes.iter().any(|note| matches!(note.kind, NoteKind::Changed | NoteKind::Unreadable));
        if !self.complete() && !self.report.denied.is_empty() {
            Outcome::Io
        } else if self.complete() && !is_flawed {
            Outcome::Ok
        } else {
            Outcome::Damaged
        }
    }

    /// For `--json`.
    pub(crate) fn to_json(&self) -> Document<'_> {
        let Basis { head, list, manifest, seamless, unproven, idle_parity, endless } = self.basis;
        let mut document = self.report.to_json();
        let json = document.object();
        json["intact"] = json!(self.intact());
        json["complete"] = json!(self.complete());
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

#[cfg(test)]
mod tests;
