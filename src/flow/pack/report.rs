//! The plan of a packing and the report of a finished one, as plain values. `--json` prints them as they are; the
//! terminal puts them into sentences.
//!
//! Not guaranteed: that the sizes of a [`Plan`] come true, because they rest on samples of the sources. A
//! [`PackReport`] claims only what the run has verified.

use std::path::PathBuf;

use crate::base::json::{Value, json};
use crate::base::monitor::{Note, NoteKind, notes_json};
use crate::base::path::show;
use crate::flow::Outcome;
use crate::format::stripe::Scheme;

/// What a packing would do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Plan {
    /// Files; each further name of a file counts as one more.
    pub(crate) files: u64,
    pub(crate) folders: u64,
    /// Symlinks; hard links count as files.
    pub(crate) links: u64,
    /// Bytes of all files, each counted once.
    pub(crate) bytes: u64,
    /// The class of the bundle: the size of its parts, in MiB.
    pub(crate) class: u16,
    /// Bytes of the parts that an interrupted run packed and that its drives kept.
    pub(crate) packed: u64,
    /// Bytes of the parts that the interrupted run packed and that this run has to pack again.
    pub(crate) again: u64,
    /// Whether an interrupted run left nothing to resume from, so that this run removes it and begins anew.
    pub(crate) begins_anew: bool,
    /// Bytes that are still to be written, estimated from samples; of small files the most that they may take.
    pub(crate) expected: u64,
    /// The same if nothing compresses.
    pub(crate) at_most: u64,
    /// Bytes that the drives can take, small files included.
    pub(crate) room: u64,
    pub(crate) recipients: usize,
    /// Whether a passphrase can open the bundle.
    pub(crate) passphrase: bool,
    /// How parts stand in for each other; `None` without parity.
    pub(crate) parity: Option<Scheme>,
    /// Bytes of memory that the run may take.
    pub(crate) memory: u64,
    /// Whether drives are filled one after the other.
    pub(crate) sequential: bool,
    /// Whether two of the given drives are one disk, so that a courier who loses one loses both.
    pub(crate) shared_drive: bool,
    /// Whether the volumes are staged in one folder, to be copied to drives later.
    pub(crate) staged: bool,
    /// In the order of the volume numbers.
    pub(crate) volumes: Vec<VolumePlan>,
}

/// What a packing would write to one volume.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct VolumePlan {
    /// The folder of the volume; it need not exist yet.
    pub(crate) folder: PathBuf,
    /// Free bytes of the file system, including those of an interrupted run's parts that this run removes.
    pub(crate) free: u64,
    /// Most bytes that the volume may still take, from `--volume-size`.
    pub(crate) cap: Option<u64>,
    /// Bytes that this run is expected to write, the reserve for small files included.
    pub(crate) expected: u64,
}

impl Plan {
    /// The object under `plan` in the report of `--json`.
    pub(crate) fn to_json(&self) -> Value {
        let volumes = self.volumes.iter().map(|volume| {
            json!({"folder": show(&volume.folder), "free": volume.free, "cap": volume.cap, "expected": volume.expected})
        });
        json!({
            "files": self.files, "folders": self.folders, "links": self.links, "bytes": self.bytes,
            "class_mib": self.class, "packed": self.packed, "packed_again": self.again,
            "begins_anew": self.begins_anew, "expected": self.expected, "at_most": self.at_most, "room": self.room,
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

/// What a packing has done.
#[derive(Debug, Clone)]
pub(crate) struct PackReport {
    pub(crate) plan: Plan,
    pub(crate) fingerprint: String,
    /// All parts of the bundle, parity included.
    pub(crate) parts: usize,
    /// Whether all drives were read back, parts included.
    pub(crate) read_back: bool,
    /// Whether everything was read back past the system's cache, as far as the system tells.
    pub(crate) past_cache: bool,
    /// The folder of each volume, and the bytes of parts on it.
    pub(crate) volumes: Vec<(PathBuf, u64)>,
    /// Drives that were given up, and why. Nothing on them counts.
    pub(crate) given_up: Vec<(PathBuf, String)>,
    /// Drives that hold their share whole now but did not keep a file at first, and are not to be trusted.
    pub(crate) distrusted: Vec<PathBuf>,
    /// Parts that are on no drive and left to parity.
    pub(crate) spared: usize,
    /// Whether another drive took the place of one that an interrupted run wrote to.
    pub(crate) replaced: bool,
    /// Notes about sources and targets. What drives did during the run only the monitor hears; the CLI adds that.
    pub(crate) notes: Vec<Note>,
}

/// What the sender is told about a drive whose place another one took.
pub(crate) const REPLACED: &str = "the drive that was replaced must not be handed on with these, should it turn up again: \
what it holds is of the same run, and its parts are elsewhere now";

impl PackReport {
    /// The class of the result, from which the exit code follows. A drive that failed or is not to be trusted (7)
    /// outranks sources that changed or could not be read (4), although the bundle is complete without that drive.
    pub(crate) fn outcome(&self) -> Outcome {
        if self.spared > 0 || !self.distrusted.is_empty() || !self.given_up.is_empty() {
            Outcome::Io
        } else if self.notes.iter().any(is_flaw) {
            Outcome::Damaged
        } else {
            Outcome::Ok
        }
    }

    /// The document that `pack --json` prints.
    pub(crate) fn to_json(&self) -> Value {
        let volumes = self.volumes.iter().map(|(folder, bytes)| json!({"folder": show(folder), "bytes": bytes}));
        let given_up = self.given_up.iter().map(|(place, why)| json!({"drive": show(place), "why": why}));
        json!({
            "command": "pack", "fingerprint": self.fingerprint, "parts": self.parts, "read_back": self.read_back,
            "past_cache": self.past_cache, "plan": self.plan.to_json(),
            "volumes": volumes.collect::<Value>(), "notes": notes_json(&self.notes),
            "given_up": given_up.collect::<Value>(),
            "not_trusted": self.distrusted.iter().map(|place| show(place)).collect::<Vec<_>>(),
            "parts_left_to_parity": self.spared, "do_not_hand_on": self.replaced.then_some(REPLACED),
        })
    }
}

/// Whether the bundle lacks a source as it is now.
fn is_flaw(note: &Note) -> bool {
    matches!(note.kind, NoteKind::Changed | NoteKind::Unreadable | NoteKind::Outdated)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(parity: Option<Scheme>) -> Plan {
        Plan {
            files: 3,
            folders: 1,
            links: 0,
            bytes: 15_000,
            class: 1,
            packed: 0,
            again: 7,
            begins_anew: false,
            expected: 2,
            at_most: 3,
            room: 4,
            recipients: 1,
            passphrase: false,
            parity,
            memory: 5,
            sequential: true,
            shared_drive: false,
            staged: false,
            volumes: vec![VolumePlan { folder: "/media/a/volume-1".into(), free: 9, cap: None, expected: 8 }],
        }
    }

    /// The report of a packing in which nothing went wrong.
    fn report() -> PackReport {
        PackReport {
            plan: plan(None),
            fingerprint: "abc".into(),
            parts: 2,
            read_back: true,
            past_cache: true,
            volumes: vec![("/media/a/volume-1".into(), 100)],
            given_up: Vec::new(),
            distrusted: Vec::new(),
            spared: 0,
            replaced: false,
            notes: Vec::new(),
        }
    }

    fn with_note(kind: NoteKind) -> PackReport {
        PackReport { notes: vec![Note::new(kind, b"file", "it is noted")], ..report() }
    }

    #[test]
    fn other_notes_are_no_flaw() {
        assert_eq!(report().outcome(), Outcome::Ok);
        for kind in [NoteKind::Skipped, NoteKind::Open, NoteKind::OwnWork, NoteKind::NotKnown, NoteKind::Drive] {
            assert_eq!(with_note(kind).outcome(), Outcome::Ok, "{kind:?}");
        }
    }

    #[test]
    fn a_source_that_is_not_packed_as_it_is_now_is_a_flaw() {
        for kind in [NoteKind::Changed, NoteKind::Unreadable, NoteKind::Outdated] {
            assert_eq!(with_note(kind).outcome(), Outcome::Damaged, "{kind:?}");
        }
    }

    #[test]
    fn a_drive_that_failed_outranks_a_changed_source() {
        let changed = || with_note(NoteKind::Changed);
        let place = PathBuf::from("/media/a");
        assert_eq!(PackReport { spared: 1, ..changed() }.outcome(), Outcome::Io);
        assert_eq!(PackReport { distrusted: vec![place.clone()], ..changed() }.outcome(), Outcome::Io);
        assert_eq!(PackReport { given_up: vec![(place, "it is gone".into())], ..changed() }.outcome(), Outcome::Io);
    }

    #[test]
    fn the_report_warns_of_a_replaced_drive_only_if_there_was_one() {
        assert_eq!(report().to_json()["do_not_hand_on"], Value::Null);
        assert_eq!(PackReport { replaced: true, ..report() }.to_json()["do_not_hand_on"], json!(REPLACED));
    }

    #[test]
    fn the_report_names_drives_and_volumes() {
        let given_up = vec![("/media/b".into(), "cannot write".into())];
        let made = PackReport { given_up, distrusted: vec!["/media/c".into()], spared: 4, ..report() }.to_json();
        assert_eq!(made["volumes"], json!([{"folder": "/media/a/volume-1", "bytes": 100}]));
        assert_eq!(made["given_up"], json!([{"drive": "/media/b", "why": "cannot write"}]));
        assert_eq!(made["not_trusted"], json!(["/media/c"]));
        assert_eq!((&made["parts_left_to_parity"], &made["plan"]["packed_again"]), (&json!(4), &json!(7)));
    }

    #[test]
    fn the_plan_says_how_many_drives_parity_spares() {
        assert_eq!(plan(None).to_json()["parity"], Value::Null);
        let parity = plan(Scheme::new(6, 4, 2)).to_json()["parity"].clone();
        assert_eq!((&parity["drives_may_be_lost"], &parity["chunks_a_row"]), (&json!(2), &json!(10)));
        assert_eq!(parity["bad_chunks_a_row"], json!(4));
    }

    #[test]
    fn the_plan_names_the_order_in_which_drives_are_filled() {
        let sequential = plan(None);
        assert_eq!(sequential.to_json()["fill"], json!("sequential"));
        assert_eq!(Plan { sequential: false, ..sequential }.to_json()["fill"], json!("spread"));
    }
}
