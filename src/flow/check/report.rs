//! What checking found, volume by volume and, with a key, for the bundle. Nothing here claims more than was verified.

use std::path::PathBuf;

use crate::base::fault::IoFault;
use crate::base::json::{Value, json};
use crate::base::monitor::{Note, notes_json};
use crate::base::path::{escape, show};
use crate::flow::Outcome;
use crate::flow::drives::replug::Freshness;
use crate::plan::repair::{Margin, Verdict};
use crate::stage::volume::PassedOver;

/// What a volume turned out to be, without any key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VolumeState {
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

impl VolumeState {
    /// The word for it.
    pub fn word(self) -> &'static str {
        match self {
            VolumeState::Whole => "whole",
            VolumeState::Incomplete => "incomplete",
            VolumeState::Damaged => "damaged",
            VolumeState::Gone => "gone",
            VolumeState::Unreadable => "unreadable",
            VolumeState::Unsafe => "unsafe",
        }
    }
}

/// A checked volume.
#[derive(Debug, Clone)]
pub struct VolumeCheck {
    /// Where it is.
    pub folder: PathBuf,
    /// What it is.
    pub state: VolumeState,
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

/// What the volumes given are to their bundle, with a key.
#[derive(Debug, Clone)]
pub struct BundleCheck {
    /// Volumes of the bundle.
    pub volumes: u16,
    /// Those that are whole, or at least have some of their parts.
    pub here: Vec<u16>,
    /// What could be had from them.
    pub verdict: Verdict,
    /// What else may be lost; `None` without parity, and when parts are lost already.
    pub margin: Option<Margin>,
    /// Volumes here, any one of which must not be lost.
    pub needed: Vec<u16>,
    /// Parts that rebuilding reads, and the volumes here that have them.
    pub sources: (usize, Vec<u16>),
    /// What is worth knowing about the volumes.
    pub notes: Vec<Note>,
}

impl BundleCheck {
    /// For `--json`.
    pub fn to_json(&self) -> Value {
        json!({
            "volumes": self.volumes, "here": self.here, "verdict": self.verdict.to_json(),
            "margin": self.margin.map_or(Value::Null, Margin::to_json), "needed": self.needed,
            "rebuilding_reads": {"parts": self.sources.0, "volumes": self.sources.1}, "notes": notes_json(&self.notes),
        })
    }
}

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
        let is_whole = |volume: &VolumeCheck| volume.state == VolumeState::Whole;
        let held = self.volumes.iter().all(|volume| volume.held);
        self.volumes.iter().all(is_whole).then_some(if held { HELD } else { WHOLE })
    }

    /// The worst of all volumes; 3 if they do not make the bundle whole, or a place given has no volume; 7 if not all could be searched.
    pub fn outcome(&self) -> Outcome {
        let short = self.bundle.as_ref().is_some_and(|bundle| matches!(bundle.verdict, Verdict::Short { .. }));
        let any = |state| self.volumes.iter().any(|volume| volume.state == state);
        if any(VolumeState::Unsafe) {
            Outcome::Hostile
        } else if any(VolumeState::Gone)
            || any(VolumeState::Unreadable)
            || self.not_searched.iter().any(PassedOver::has_failed)
        {
            Outcome::Io
        } else if any(VolumeState::Damaged) {
            Outcome::Damaged
        } else if any(VolumeState::Incomplete) || short || self.not_searched.iter().any(|place| place.no_volume) {
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
