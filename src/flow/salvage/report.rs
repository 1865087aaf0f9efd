//! The report of a salvage: that of the unpacking, and the basis it rests on. Without a list or a manifest nothing
//! tells which files are missing, and the report does not claim that the result is complete.

use crate::base::json::{Document, Value, json};
use crate::base::monitor::NoteKind;
use crate::flow::Outcome;
use crate::flow::unpack::report::{PartState, UnpackReport};

/// What the salvage had to go by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Basis {
    /// A head: the parts are those that it names, and the fingerprint is the bundle's.
    pub head: bool,
    /// A list: the files are those that it names, each with its SHA-256.
    pub list: bool,
    /// The manifest in the tar: it names all files, most of them with a SHA-256.
    pub manifest: bool,
    /// Whether the tar was read from its beginning to its end, so that every folder and link was seen.
    pub seamless: bool,
    /// Delivered files without a SHA-256 to compare them with.
    pub unproven: u64,
    /// How many parity parts are of no use without a head.
    pub idle_parity: usize,
    /// Whether nothing says how many parts follow the last known one.
    pub endless: bool,
}

/// What was delivered, and on what basis.
#[derive(Debug, Clone)]
pub struct Salvaged {
    /// The report of the unpacking. Without a head, its fingerprint, verdict and margin mean nothing.
    pub report: UnpackReport,
    pub basis: Basis,
}

impl Salvaged {
    /// The result of an ordinary unpacking: head and list could be used.
    pub fn of_whole(report: UnpackReport) -> Self {
        Self { report, basis: Basis { head: true, list: true, seamless: true, ..Basis::default() } }
    }

    /// Whether no file is known to be damaged. If nothing names the files, a damaged part counts as damage too: it may
    /// have held any of them.
    pub fn intact(&self) -> bool {
        let knows_files = self.basis.list || self.basis.manifest;
        let is_damaged = self.report.bad_parts.iter().any(|part| part.state == PartState::Damaged);
        self.report.intact() && (knows_files || !is_damaged)
    }

    /// Whether head and list could be used, so that this is an unpacking like any other.
    pub fn is_ordinary(&self) -> bool {
        self.basis.head && self.basis.list
    }

    /// Whether a list or a manifest proves that everything that was asked for was delivered.
    pub fn complete(&self) -> bool {
        let Basis { list, manifest, seamless, unproven, .. } = self.basis;
        self.report.complete() && (list || (manifest && seamless && unproven == 0))
    }

    /// [`Outcome::Ok`] only if everything is proven whole. A target that failed, and a drive that is gone or may not be
    /// read, come before damage.
    pub fn outcome(&self) -> Outcome {
        if self.is_ordinary() || self.report.outcome() == Outcome::Io {
            return self.report.outcome();
        }
        let is_flaw = |kind: NoteKind| matches!(kind, NoteKind::Changed | NoteKind::Unreadable);
        let is_flawed = self.report.notes.iter().any(|note| is_flaw(note.kind));
        if !self.complete() && !self.report.denied.is_empty() {
            Outcome::Io
        } else if self.complete() && !is_flawed {
            Outcome::Ok
        } else {
            Outcome::Damaged
        }
    }

    /// For `--json`.
    pub fn to_json(&self) -> Document<'_> {
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
mod tests {
    use std::path::Path;

    use super::*;
    use crate::base::monitor::Note;
    use crate::flow::unpack::report::tests::{lost_by, report};
    use crate::flow::unpack::report::{BadPart, Cause};

    const MANIFEST: Basis =
        Basis { head: false, list: false, manifest: true, seamless: true, unproven: 0, idle_parity: 0, endless: false };

    fn salvaged(report: UnpackReport, basis: Basis) -> Salvaged {
        Salvaged { report, basis }
    }

    fn whole() -> UnpackReport {
        report(Path::new("/out"))
    }

    fn with_bad_part(state: PartState) -> UnpackReport {
        UnpackReport { bad_parts: vec![BadPart { number: 3, volume: 1, state, why: "it is".into() }], ..whole() }
    }

    #[test]
    fn an_ordinary_unpacking_keeps_its_outcome() {
        assert_eq!(Salvaged::of_whole(lost_by(Cause::Missing)).outcome(), Outcome::Incomplete);
        assert_eq!(Salvaged::of_whole(whole()).outcome(), Outcome::Ok);
        assert!(Salvaged::of_whole(whole()).is_ordinary());
    }

    #[test]
    fn a_manifest_proves_a_seamless_tar_without_unproven_files() {
        assert!(salvaged(whole(), MANIFEST).complete());
        assert_eq!(salvaged(whole(), MANIFEST).outcome(), Outcome::Ok);
        let less = [
            Basis { manifest: false, ..MANIFEST },
            Basis { seamless: false, ..MANIFEST },
            Basis { unproven: 1, ..MANIFEST },
        ];
        for basis in less {
            assert!(!salvaged(whole(), basis).complete(), "{basis:?}");
            assert_eq!(salvaged(whole(), basis).outcome(), Outcome::Damaged, "{basis:?}");
        }
    }

    #[test]
    fn a_list_proves_the_result_by_itself() {
        let basis = Basis { list: true, ..Basis::default() };
        assert!(salvaged(whole(), basis).complete());
        assert!(!salvaged(lost_by(Cause::Missing), basis).complete());
        assert_eq!(salvaged(lost_by(Cause::Missing), basis).outcome(), Outcome::Damaged, "no drive is asked for");
    }

    #[test]
    fn a_damaged_part_may_have_held_any_file_if_nothing_names_them() {
        let nothing = Basis::default();
        assert!(!salvaged(with_bad_part(PartState::Damaged), nothing).intact());
        assert!(salvaged(with_bad_part(PartState::Missing), nothing).intact());
        assert!(salvaged(with_bad_part(PartState::Damaged), MANIFEST).intact());
        assert!(!salvaged(lost_by(Cause::Damaged), MANIFEST).intact());
    }

    #[test]
    fn a_volume_that_may_not_be_read_matters_only_if_the_result_is_not_complete() {
        let denied = UnpackReport { denied: vec!["/media/red".into()], ..whole() };
        assert_eq!(salvaged(denied.clone(), MANIFEST).outcome(), Outcome::Ok);
        assert_eq!(salvaged(denied, Basis::default()).outcome(), Outcome::Io);
    }

    #[test]
    fn a_target_that_failed_comes_before_damage() {
        let failed = UnpackReport { failed: Some("no space".into()), ..lost_by(Cause::Damaged) };
        assert_eq!(salvaged(failed, Basis::default()).outcome(), Outcome::Io);
    }

    #[test]
    fn flaws_from_packing_are_damage_although_the_result_is_complete() {
        let changed = UnpackReport { notes: vec![Note::new(NoteKind::Changed, b"a", "changed")], ..whole() };
        assert!(salvaged(changed.clone(), MANIFEST).complete());
        assert_eq!(salvaged(changed, MANIFEST).outcome(), Outcome::Damaged);
    }

    #[test]
    fn the_json_says_nothing_that_only_a_head_knows() {
        let without = salvaged(with_bad_part(PartState::Damaged), Basis { endless: true, ..MANIFEST });
        let mut document = without.to_json();
        let json = document.object();
        for key in ["fingerprint", "volumes", "verdict", "margin"] {
            assert_eq!(json[key], Value::Null, "{key}");
        }
        assert_eq!((&json["bad_parts"][0]["number"], &json["bad_parts"][0]["volume"]), (&json!(3), &Value::Null));
        assert_eq!(
            (&json["salvage"]["head"], &json["salvage"]["more_parts_may_follow"]),
            (&json!(false), &json!(true))
        );
        let with = salvaged(with_bad_part(PartState::Damaged), Basis { head: true, ..MANIFEST });
        let mut document = with.to_json();
        assert_eq!(document.object()["fingerprint"], json!("YAQIM"));
        assert_eq!(document.object()["bad_parts"][0]["volume"], json!(1));
    }
}
