//! What a check found: for each volume and, with a key, for the bundle. It has the exit code, the sentences about what
//! the check shows, and the JSON document. Nothing here claims more than was verified.

use std::path::{Path, PathBuf};

use crate::base::fault::IoFault;
use crate::base::json::{Value, json};
use crate::base::monitor::{Note, notes_json};
use crate::base::path::{escape, show};
use crate::flow::Outcome;
use crate::flow::drives::replug::Freshness;
use crate::format::volume_number::VolumeNumber;
use crate::plan::repair::{Margin, Verdict};
use crate::stage::volume::PassedOver;

/// What a volume turned out to be. Without a key only SHA256SUMS tells, which anyone can write anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum VolumeState {
    /// Every listed file is there and has its SHA-256.
    Whole,
    /// Files are missing, or the volume was never finished.
    Incomplete,
    /// Some file is not what was written, or SHA256SUMS itself is not.
    Damaged,
    /// The drive stopped answering. Of what could not be read nothing is known.
    Gone,
    /// This user may not read all files. Of the others nothing is known.
    Unreadable,
    /// SHA256SUMS names a path outside of the volume, or the volume exceeds a limit. No file was read.
    Unsafe,
}

impl VolumeState {
    /// The word in messages and in the JSON report.
    pub(crate) fn word(self) -> &'static str {
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

/// What the check found on one volume.
#[derive(Debug, Clone)]
pub(crate) struct VolumeCheck {
    pub(crate) folder: PathBuf,
    pub(crate) state: VolumeState,
    /// Whether the files were read past the system's cache.
    pub(crate) past_cache: bool,
    /// Whether the files were compared with the bundle's head, and the parts opened.
    pub(crate) held: bool,
    /// How many files SHA256SUMS lists.
    pub(crate) files: usize,
    /// How many of them were read.
    pub(crate) read: usize,
    /// How many bytes were read.
    pub(crate) bytes: u64,
    /// Number and bytes of the files of a volume without SHA256SUMS. `None` if it has one.
    pub(crate) unchecked: Option<(usize, u64)>,
    /// The names of damaged files, and what is wrong with each.
    pub(crate) damaged: Vec<(String, String)>,
    /// The names of files that the volume should have and does not have.
    pub(crate) missing: Vec<String>,
    /// The names of files that this user may not read, and what the system said of each.
    pub(crate) unread: Vec<(String, String)>,
    pub(crate) foreign: Foreign,
    /// What is wrong with the volume as a whole, as a sentence. `None` if the files say it all.
    pub(crate) trouble: Option<String>,
}

impl VolumeCheck {
    /// A volume of which nothing bad is known yet, because nothing was read.
    pub(super) fn of(folder: &Path) -> Self {
        Self {
            folder: folder.to_path_buf(),
            state: VolumeState::Whole,
            past_cache: false,
            held: false,
            files: 0,
            read: 0,
            bytes: 0,
            unchecked: None,
            damaged: Vec::new(),
            missing: Vec::new(),
            unread: Vec::new(),
            foreign: Foreign::default(),
            trouble: None,
        }
    }

    fn to_json(&self) -> Value {
        let names = self.foreign.names.iter().map(|name| escape(name.as_bytes()));
        json!({
            "folder": show(&self.folder), "state": self.state.word(), "past_cache": self.past_cache,
            "held": self.held, "files": self.files, "read": self.read, "bytes": self.bytes,
            "unchecked": self.unchecked.map(|(files, bytes)| json!({"files": files, "bytes": bytes})),
            "damaged": faults_json(&self.damaged), "missing": self.missing, "unreadable": faults_json(&self.unread),
            "trouble": self.trouble,
            "foreign": {"count": self.foreign.count, "names": names.collect::<Value>()},
        })
    }
}

/// Names of files with what is wrong with each.
fn faults_json(files: &[(String, String)]) -> Value {
    files.iter().map(|(name, why)| json!({"file": escape(name.as_bytes()), "why": why})).collect()
}

/// What lies in a volume's folder and is not of the volume. The check reads nothing of it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Foreign {
    /// How many files and folders there are.
    pub(crate) count: usize,
    /// The first [`Foreign::NAMED`] of their names.
    pub(crate) names: Vec<String>,
}

impl Foreign {
    /// Most names that are kept.
    pub(crate) const NAMED: usize = 20;
}

/// What a check found at all places given.
#[derive(Debug, Clone)]
pub(crate) struct CheckReport {
    /// In the order in which they were found.
    pub(crate) volumes: Vec<VolumeCheck>,
    /// `None` without a key that opens the bundle. The caller gets it from `survey_bundle`.
    pub(crate) bundle: Option<BundleCheck>,
    pub(crate) freshness: Freshness,
    /// The places given that hold no volume, or folders that were not searched for volumes.
    pub(crate) not_searched: Vec<PassedOver>,
}

/// What can be had of the bundle from the volumes given.
#[derive(Debug, Clone)]
pub(crate) struct BundleCheck {
    /// How many volumes the bundle has.
    pub(crate) volumes: u16,
    /// The numbers of the volumes here: those of which some part was found, and those that the head gives no parts.
    pub(crate) here: Vec<VolumeNumber>,
    pub(crate) verdict: Verdict,
    /// What else may be lost. `None` without parity, and if parts are lost already.
    pub(crate) margin: Option<Margin>,
    /// The numbers of volumes here that must not be lost, not even one of them.
    pub(crate) needed: Vec<VolumeNumber>,
    /// How many parts rebuilding reads, and the numbers of the volumes here that have them.
    pub(crate) sources: (usize, Vec<VolumeNumber>),
    pub(crate) notes: Vec<Note>,
}

impl BundleCheck {
    pub(crate) fn to_json(&self) -> Value {
        json!({
            "volumes": self.volumes, "here": self.here, "verdict": self.verdict.to_json(),
            "margin": self.margin.map_or(Value::Null, Margin::to_json), "needed": self.needed,
            "rebuilding_reads": {"parts": self.sources.0, "volumes": self.sources.1}, "notes": notes_json(&self.notes),
        })
    }
}

/// What whole volumes show without a key, and what not.
const WHOLE: &str = "This shows that nothing on these volumes changed since their SHA256SUMS was written; \
not who wrote it, nor that the bundle's other volumes exist.";

/// What whole volumes show with a key, and what not.
const HELD: &str = "This shows that head, list, parts and the seals that the key opens are the bundle's on these volumes, and that every part opens to its end; \
not who packed it, nor that the parts hold what the list says: `pouch unpack` shows that.";

fn not_searched_json(place: &PassedOver) -> Value {
    json!({
        "below": show(&place.below), "no_volume": place.no_volume, "deeper": place.deeper, "beyond": place.beyond,
        "set_aside": place.set_aside.iter().map(|path| show(path)).collect::<Value>(),
        "unread": place.unread.iter().map(IoFault::to_string).collect::<Vec<_>>(),
    })
}

impl CheckReport {
    /// What the check shows, and what not. `None` if a volume is not whole: then the states say more.
    pub(crate) fn shows(&self) -> Option<&'static str> {
        let held = self.volumes.iter().all(|volume| volume.held);
        self.volumes.iter().all(|volume| volume.state == VolumeState::Whole).then_some(if held { HELD } else { WHOLE })
    }

    /// The class of the worst volume. It is I/O also if some folder could not be searched, and incomplete also if the
    /// volumes do not give back the bundle, or a place given has no volume.
    pub(crate) fn outcome(&self) -> Outcome {
        let short = self.bundle.as_ref().is_some_and(|bundle| matches!(bundle.verdict, Verdict::Short { .. }));
        let could_not_search = self.not_searched.iter().any(PassedOver::has_failed);
        let has_bare_place = self.not_searched.iter().any(|place| place.no_volume);
        if self.has_volume(VolumeState::Unsafe) {
            Outcome::Hostile
        } else if self.has_volume(VolumeState::Gone) || self.has_volume(VolumeState::Unreadable) || could_not_search {
            Outcome::Io
        } else if self.has_volume(VolumeState::Damaged) {
            Outcome::Damaged
        } else if self.has_volume(VolumeState::Incomplete) || short || has_bare_place {
            Outcome::Incomplete
        } else {
            Outcome::Ok
        }
    }

    fn has_volume(&self, state: VolumeState) -> bool {
        self.volumes.iter().any(|volume| volume.state == state)
    }

    /// The document for `--json`. Names of files are escaped, because a drive may hold any.
    pub(crate) fn to_json(&self) -> Value {
        json!({
            "command": "check", "volumes": self.volumes.iter().map(VolumeCheck::to_json).collect::<Value>(),
            "not_proved": self.shows(),
            "not_searched": self.not_searched.iter().map(not_searched_json).collect::<Value>(),
            "replugged": self.freshness == Freshness::Replugged, "remounted": self.freshness == Freshness::Remounted,
            "read": self.freshness.words(),
            "bundle": self.bundle.as_ref().map(BundleCheck::to_json),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::volume_number::tests::volumes;

    fn report(states: &[VolumeState]) -> CheckReport {
        let volume = |state: &VolumeState| VolumeCheck { state: *state, ..VolumeCheck::of(Path::new("/d/volume-1")) };
        CheckReport {
            volumes: states.iter().map(volume).collect(),
            bundle: None,
            freshness: Freshness::AsTheyStand,
            not_searched: Vec::new(),
        }
    }

    fn bundle(verdict: Verdict) -> BundleCheck {
        let sources = (0, Vec::new());
        BundleCheck { volumes: 3, here: volumes([1]), verdict, margin: None, needed: vec![], sources, notes: vec![] }
    }

    #[test]
    fn the_worst_volume_decides() {
        use VolumeState::{Damaged, Gone, Incomplete, Unreadable, Unsafe, Whole};
        for (states, expected) in [
            (&[Whole, Whole][..], Outcome::Ok),
            (&[Whole, Incomplete], Outcome::Incomplete),
            (&[Incomplete, Damaged], Outcome::Damaged),
            (&[Damaged, Unreadable], Outcome::Io),
            (&[Damaged, Gone], Outcome::Io),
            (&[Gone, Unsafe], Outcome::Hostile),
        ] {
            assert_eq!(report(states).outcome(), expected, "{states:?}");
        }
    }

    #[test]
    fn whole_volumes_that_do_not_give_back_the_bundle_are_incomplete() {
        let mut report = report(&[VolumeState::Whole]);
        report.bundle = Some(bundle(Verdict::Short { lost: vec![2], any_one: volumes([2]), at_least: 1 }));
        assert_eq!(report.outcome(), Outcome::Incomplete);
        report.bundle = Some(bundle(Verdict::Repairable { rebuilt: vec![2] }));
        assert_eq!(report.outcome(), Outcome::Ok);
    }

    #[test]
    fn a_place_without_a_volume_and_a_folder_that_fails_are_not_passed_in_silence() {
        let place = PassedOver { no_volume: true, ..PassedOver::default() };
        let bare = CheckReport { not_searched: vec![place], ..report(&[VolumeState::Whole]) };
        assert_eq!(bare.outcome(), Outcome::Incomplete);
        let fault =
            |code| IoFault { doing: "look into", path: "/d/x".into(), source: std::io::Error::from_raw_os_error(code) };
        let unread = |code| PassedOver { unread: vec![fault(code)], ..PassedOver::default() };
        let of = |code| CheckReport { not_searched: vec![unread(code)], ..report(&[VolumeState::Whole]) }.outcome();
        assert_eq!(of(5), Outcome::Io);
        assert_eq!(of(13), Outcome::Ok, "a folder that is closed to this user is no failure");
    }

    #[test]
    fn only_a_check_with_the_key_claims_that_the_parts_open() {
        let mut report = report(&[VolumeState::Whole, VolumeState::Whole]);
        assert_eq!(report.shows(), Some(WHOLE));
        report.volumes[0].held = true;
        assert_eq!(report.shows(), Some(WHOLE), "one volume was not opened");
        report.volumes[1].held = true;
        assert_eq!(report.shows(), Some(HELD));
        report.volumes[1].state = VolumeState::Damaged;
        assert_eq!(report.shows(), None);
    }

    #[test]
    fn file_names_are_escaped_in_the_document() {
        let mut report = report(&[VolumeState::Damaged]);
        report.volumes[0].damaged = vec![("a\n".into(), "is empty".into())];
        report.volumes[0].unchecked = Some((2, 300));
        report.volumes[0].foreign = Foreign { count: 1, names: vec!["b\u{1b}".into()] };
        let volume = &report.to_json()["volumes"][0];
        assert_eq!(volume["damaged"], json!([{"file": "a\\x0a", "why": "is empty"}]));
        assert_eq!(volume["unchecked"], json!({"files": 2, "bytes": 300}));
        assert_eq!(volume["foreign"], json!({"count": 1, "names": ["b\\x1b"]}));
        assert_eq!(volume["state"], "damaged");
    }
}
