//! What a run has to say when it is over, as plain values; `--json` prints them as they are, the
//! terminal in sentences. Nothing here claims more than was verified.

use std::path::PathBuf;

use crate::base::entry::Entry;
use crate::base::fault::IoFault;
use crate::base::json::{Document, Value, json};
use crate::base::monitor::{Note, NoteKind, note_json, notes_json};
use crate::base::path::{escape, show};
use crate::flow::Outcome;
use crate::flow::received::BundleCheck;
use crate::format::stripe::Scheme;
use crate::plan::repair::Verdict;
use crate::stage::volume::PassedOver;

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

/// What is said of a volume on a file system that keeps its own times.
pub const SHOWS_TIMES: &str = "shows when it was written: this file system takes no other times";

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

/// What a volume turned out to be, without any key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Every file is there and has its SHA-256.
    Whole,
    /// Files are missing, or the volume was never finished.
    Incomplete,
    /// Files are not what they were.
    Damaged,
    /// Its drive stopped answering: of what could not be read nothing is known.
    Gone,
    /// This user may not read all of it: of what could not be read nothing is known.
    Unreadable,
    /// Its SHA256SUMS points out of the volume.
    Unsafe,
}

impl State {
    /// The word for it.
    pub fn word(self) -> &'static str {
        match self {
            State::Whole => "whole",
            State::Incomplete => "incomplete",
            State::Damaged => "damaged",
            State::Gone => "gone",
            State::Unreadable => "unreadable",
            State::Unsafe => "unsafe",
        }
    }
}

/// A checked volume.
#[derive(Debug, Clone)]
pub struct VolumeCheck {
    /// Where it is.
    pub folder: PathBuf,
    /// What it is.
    pub state: State,
    /// Whether it was read past the system's cache.
    pub past_cache: bool,
    /// Whether its files were held against the bundle's head, and its parts opened.
    pub held: bool,
    /// Files that SHA256SUMS lists.
    pub files: usize,
    /// Those of them that were read.
    pub read: usize,
    /// Their bytes.
    pub bytes: u64,
    /// Files and their bytes that there is no SHA256SUMS to check against.
    pub unchecked: Option<(usize, u64)>,
    /// Damaged files, and how.
    pub damaged: Vec<(String, String)>,
    /// Files that are not there.
    pub missing: Vec<String>,
    /// Files that this user may not read, and what the system said.
    pub unread: Vec<(String, String)>,
    /// What else lies in its folder.
    pub foreign: Foreign,
    /// Why the volume as a whole could not be checked.
    pub trouble: Option<String>,
}

/// What lies in a volume's folder and is not of the volume. Nothing of it is read.
#[derive(Debug, Clone, Default)]
pub struct Foreign {
    /// How many files and folders.
    pub count: usize,
    /// The first of their names.
    pub names: Vec<String>,
}

impl Foreign {
    /// Names that are kept.
    pub const NAMED: usize = 20;
}

/// What `check` found.
#[derive(Debug, Clone)]
pub struct CheckReport {
    /// Each volume.
    pub volumes: Vec<VolumeCheck>,
    /// What they are to their bundle, if a key was given.
    pub bundle: Option<BundleCheck>,
    /// What happened to the drives before.
    pub freshness: Freshness,
    /// What was not searched for volumes, place by place.
    pub not_searched: Vec<PassedOver>,
}

/// What is known of the caches that may stand before what is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Freshness {
    /// Nothing: drives are read as they stand there.
    AsTheyStand,
    /// It was mounted anew. Of something that is no disk nobody sees whether it was unplugged.
    Remounted,
    /// The drives were unplugged and plugged in again.
    Replugged,
}

impl Freshness {
    /// How the report says that, if there is anything to say.
    pub fn words(self) -> Option<&'static str> {
        match self {
            Freshness::AsTheyStand => None,
            Freshness::Remounted => Some(REMOUNTED),
            Freshness::Replugged => Some(REPLUGGED),
        }
    }
}

/// How volumes were read that lie on drives which were plugged in again.
const REPLUGGED: &str = "read from the drives after they were plugged in again";

/// The same where that cannot be seen.
const REMOUNTED: &str = "read after mounting anew what is no drive that can be seen to be unplugged (a file, memory, a program, a network): \
a cache below may have answered";

/// What volumes that are whole show without a key, and what not.
const WHOLE: &str = "This shows that nothing on these volumes changed since their SHA256SUMS was written; \
not who wrote it, nor that the bundle's other volumes exist.";

/// What they show with a key.
const HELD: &str = "This shows that head, list, parts and the seals that the key opens are the bundle's on these volumes, and that every part opens to its end; \
not who packed it, nor that the parts hold what the list says: `pouch unpack` shows that.";

/// A place with folders that were not searched, for `--json`.
fn not_searched(place: &PassedOver) -> Value {
    json!({
        "below": show(&place.below), "no_volume": place.no_volume, "deeper": place.deeper, "beyond": place.beyond,
        "set_aside": place.set_aside.iter().map(|path| show(path)).collect::<Value>(),
        "unread": place.unread.iter().map(IoFault::to_string).collect::<Vec<_>>(),
    })
}

impl CheckReport {
    /// What this shows, and what not; `None` if a volume is not whole: then each says what it is.
    pub fn shows(&self) -> Option<&'static str> {
        let is_whole = |volume: &VolumeCheck| volume.state == State::Whole;
        let held = self.volumes.iter().all(|volume| volume.held);
        self.volumes.iter().all(is_whole).then_some(if held { HELD } else { WHOLE })
    }

    /// The worst of all volumes; 3 if they do not make the bundle whole, or a place given has no volume; 7 if not all could be searched.
    pub fn outcome(&self) -> Outcome {
        let short = self.bundle.as_ref().is_some_and(|bundle| matches!(bundle.verdict, Verdict::Short { .. }));
        let any = |state| self.volumes.iter().any(|volume| volume.state == state);
        if any(State::Unsafe) {
            Outcome::Hostile
        } else if any(State::Gone) || any(State::Unreadable) || self.not_searched.iter().any(PassedOver::has_failed) {
            Outcome::Io
        } else if any(State::Damaged) {
            Outcome::Damaged
        } else if any(State::Incomplete) || short || self.not_searched.iter().any(|place| place.no_volume) {
            Outcome::Incomplete
        } else {
            Outcome::Ok
        }
    }

    /// For `--json`.
    pub fn to_json(&self) -> Value {
        let volumes = self.volumes.iter().map(|volume| {
            let file = |(name, why): &(String, String)| json!({"file": escape(name.as_bytes()), "why": why});
            let (damaged, unread) = (volume.damaged.iter().map(file), volume.unread.iter().map(file));
            json!({
                "folder": show(&volume.folder), "state": volume.state.word(), "past_cache": volume.past_cache, "held": volume.held,
                "files": volume.files, "read": volume.read, "bytes": volume.bytes, "unchecked": volume.unchecked.map(|(files, bytes)| json!({"files": files, "bytes": bytes})),
                "damaged": damaged.collect::<Value>(), "missing": volume.missing, "unreadable": unread.collect::<Value>(), "trouble": volume.trouble,
                "foreign": {"count": volume.foreign.count, "names": volume.foreign.names.iter().map(|name| escape(name.as_bytes())).collect::<Value>()},
            })
        });
        json!({
            "command": "check", "volumes": volumes.collect::<Value>(), "not_proved": self.shows(),
            "not_searched": self.not_searched.iter().map(not_searched).collect::<Value>(),
            "replugged": self.freshness == Freshness::Replugged, "remounted": self.freshness == Freshness::Remounted,
            "read": self.freshness.words(),
            "bundle": self.bundle.as_ref().map(BundleCheck::to_json),
        })
    }
}

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
