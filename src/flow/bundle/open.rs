//! From folders on drives to an opened bundle: volumes, seal, head, list.
//!
//! Every volume carries all three; whichever copy is whole will do, and what is wrong with the others is noted. What
//! belongs to which bundle is told by what opens, never by names. If there are several bundles, the first one found is
//! not taken for the one that is meant.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use crate::base::digest::Digest;
use crate::base::entry::Entry;
use crate::base::monitor::{Note, NoteKind};
use crate::base::path::as_bytes;
use crate::flow::FlowError;
use crate::flow::bundle::belonging::{Belonging, Marks};
use crate::flow::bundle::heads::{FoundHead, Heads};
use crate::flow::bundle::scan::{gather_noting, notes_on_places};
use crate::flow::bundle::sealed_text::read_list;
use crate::flow::bundle::unseal::{BundleKey, Unlocked, owns, unlock};
use crate::flow::drives::unreachable::or_gone;
use crate::flow::error::{BadCopy, BundleAt, BundleError, CopyFault, IndexFile, KeyringError, NoCopy};
use crate::format::head::Head;
use crate::format::seal::Seal;
use crate::plan::choose::{Choice, FingerprintStart, choose};
use crate::stage::seal::{Keyring, Recipient};
use crate::stage::volume::{LIST, Volume};

/// A bundle that was opened.
pub struct Bundle {
    /// What it is and where its parts are.
    pub head: Head,
    /// Opens the parts.
    pub keyring: Keyring,
    /// Whom they are sealed to.
    pub recipient: Recipient,
    /// Its volumes, and those of which nothing tells whose they are.
    pub volumes: Vec<Volume>,
    /// Volumes given that are of other bundles.
    pub passed_over: Vec<Volume>,
    /// What is wrong with seals and heads that were not needed.
    pub notes: Vec<Note>,
}

/// A bundle whose key was found.
pub struct Unsealed {
    /// As it was opened.
    pub seal: Seal,
    /// As in a [`Bundle`].
    pub keyring: Keyring,
    /// As in a [`Bundle`].
    pub recipient: Recipient,
    /// As in a [`Bundle`].
    pub volumes: Vec<Volume>,
    /// As in a [`Bundle`].
    pub passed_over: Vec<Volume>,
    /// As in a [`Bundle`].
    pub notes: Vec<Note>,
    /// Its head, or what is wrong with every copy.
    head: Result<Head, NoCopy>,
}

/// Opens the one bundle at the given places.
pub fn open_at(paths: &[PathBuf], keyring: &Keyring, wanted: Option<&FingerprintStart>) -> Result<Bundle, FlowError> {
    let (volumes, passed_over) = gather_noting(paths)?;
    let mut bundle = open(volumes, keyring, wanted)?;
    // First of all: only some notes about volumes are shown.
    bundle.notes.splice(0..0, notes_on_places(&passed_over));
    Ok(bundle)
}

/// Opens the one bundle that these volumes carry, or the one that is wanted.
pub fn open(volumes: Vec<Volume>, keyring: &Keyring, wanted: Option<&FingerprintStart>) -> Result<Bundle, FlowError> {
    let mut unsealed = unseal(volumes, keyring, wanted)?;
    let head = unsealed.head()?;
    Ok(unsealed.with(head))
}

/// Finds the key of the one bundle that these volumes carry, or of the one that is wanted; and its head, if one can be
/// used.
pub fn unseal(
    volumes: Vec<Volume>,
    keyring: &Keyring,
    wanted: Option<&FingerprintStart>,
) -> Result<Unsealed, FlowError> {
    let Unlocked { mut keys, bad, untried } = unlock(&volumes, keyring);
    if keys.is_empty() {
        return Err(or_gone(no_key(bad, untried, keyring), &volumes));
    }
    let mut heads = Heads::find(&volumes, &keys, wanted);
    let (key, head) = match choose(heads.found.iter().map(|found| found.fingerprint.as_str()), wanted) {
        Choice::One(at) => {
            let found = heads.found.swap_remove(at);
            let (key, head) = (found.key, found.read(&volumes, &keys));
            (key, head.map_err(|bad| NoCopy { what: IndexFile::Head, bad: vec![bad] }))
        }
        Choice::Several(which) => {
            let meant = which.into_iter().map(|at| &heads.found[at]);
            return Err(BundleError::Mixed(bundles(meant, &volumes)).into());
        }
        Choice::None => match wanted {
            Some(wanted) if !heads.found.is_empty() => {
                let (wanted, found) = (wanted.to_string(), bundles(heads.found.iter(), &volumes));
                return Err(BundleError::NotTheOne { wanted, found }.into());
            }
            _ => (without_head(&keys, &volumes)?, Err(NoCopy { what: IndexFile::Head, bad: heads.bad.clone() })),
        },
    };
    let BundleKey { seal, keyring, recipient, .. } = keys.swap_remove(key);
    let sorted = Sorted::of(volumes, &keyring, head.as_ref().ok(), &heads.found);
    let mut notes = sorted.notes;
    let index = bad.into_iter().chain(if head.is_ok() { heads.bad } else { Vec::new() });
    notes.extend(worth_a_note(index, &sorted.kept).map(|bad| note_of(&bad)));
    Ok(Unsealed { seal, keyring, recipient, volumes: sorted.kept, passed_over: sorted.passed_over, notes, head })
}

/// What is said of bundles when one is to be chosen, in an order that does not depend on the volumes'.
fn bundles<'a>(found: impl Iterator<Item = &'a FoundHead>, volumes: &[Volume]) -> Vec<BundleAt> {
    let at = |head: &FoundHead| BundleAt { fingerprint: Some(head.fingerprint.clone()), places: head.places(volumes) };
    let mut all: Vec<BundleAt> = found.map(at).collect();
    all.sort_by(|a, b| a.fingerprint.cmp(&b.fingerprint));
    all
}

/// The key, by index, of the one bundle that there is more of than seals: a seal alone may have been planted, or left by
/// a packing that was interrupted.
fn without_head(keys: &[BundleKey], volumes: &[Volume]) -> Result<usize, FlowError> {
    if keys.len() == 1 {
        return Ok(0);
    }
    let has_more = |key: &BundleKey| {
        let marks = Marks::of(&key.keyring, None);
        volumes.iter().any(|volume| marks.look_at(volume) == Belonging::Ours)
    };
    let with_more: Vec<usize> = (0..keys.len()).filter(|at| has_more(&keys[*at])).collect();
    match with_more[..] {
        [one] => Ok(one),
        _ => {
            let at = |key: &BundleKey| BundleAt { fingerprint: None, places: key.seals.clone() };
            Err(BundleError::Mixed(keys.iter().map(at).collect()).into())
        }
    }
}

/// No seal could be opened.
fn no_key(bad: Vec<BadCopy>, untried: Vec<PathBuf>, keyring: &Keyring) -> FlowError {
    let none = NoCopy { what: IndexFile::Seal, bad };
    match none.decisive() {
        Some(CopyFault::Denied(_) | CopyFault::Unread(_)) => BundleError::NoCopy(none).into(),
        _ if keyring.is_empty() => KeyringError::NotGiven.into(),
        Some(CopyFault::Wrong) => {
            KeyringError::Wrong { passphrase: keyring.has_passphrase(), seals: none.bad, untried }.into()
        }
        _ => BundleError::NoCopy(none).into(),
    }
}

/// Those in the volumes that are used. A seal that none of the keys opens is no fault: it may be to somebody else.
fn worth_a_note(bad: impl Iterator<Item = BadCopy>, volumes: &[Volume]) -> impl Iterator<Item = BadCopy> {
    let dirs: HashSet<&Path> = volumes.iter().map(|volume| volume.dir.as_path()).collect();
    bad.filter(move |bad| bad.fault != CopyFault::Wrong && bad.path.parent().is_some_and(|dir| dirs.contains(dir)))
}

fn note_of(BadCopy { path, fault }: &BadCopy) -> Note {
    Note::new(NoteKind::Volume, as_bytes(path), format!("could not be used: {fault}"))
}

/// Volumes, sorted by whether they are of the bundle.
struct Sorted {
    kept: Vec<Volume>,
    passed_over: Vec<Volume>,
    notes: Vec<Note>,
}

impl Sorted {
    fn of(volumes: Vec<Volume>, keyring: &Keyring, head: Option<&Head>, others: &[FoundHead]) -> Self {
        let marks = Marks::of(keyring, head);
        let mut sorted = Sorted { kept: Vec::new(), passed_over: Vec::new(), notes: Vec::new() };
        for (index, volume) in volumes.into_iter().enumerate() {
            if let Some(fault) = &volume.fault {
                sorted.note(&volume, fault.to_string());
            }
            match marks.look_at(&volume) {
                Belonging::Ours | Belonging::Unknown => sorted.kept.push(volume),
                Belonging::Foreign => {
                    let other = others.iter().find(|other| other.volumes.contains(&index));
                    sorted.note(&volume, passed_over(other.map(|other| other.fingerprint.as_str())));
                    sorted.passed_over.push(volume);
                }
            }
        }
        sorted
    }

    fn note(&mut self, volume: &Volume, text: String) {
        self.notes.push(Note::new(NoteKind::Volume, as_bytes(&volume.dir), text));
    }
}

/// What is said of a volume of another bundle.
pub fn passed_over(fingerprint: Option<&str>) -> String {
    match fingerprint {
        Some(fingerprint) => format!("is not of this bundle but of {fingerprint}; it is passed over"),
        None => "is not of this bundle: nothing on it opens with its key; it is passed over".into(),
    }
}

impl Unsealed {
    /// The head.
    ///
    /// # Errors
    /// No copy can be used.
    pub fn head(&mut self) -> Result<Head, FlowError> {
        let none = NoCopy { what: IndexFile::Head, bad: Vec::new() };
        let head = std::mem::replace(&mut self.head, Err(none));
        head.map_err(|none| or_gone(BundleError::NoCopy(none).into(), &self.volumes))
    }

    /// The bundle with that head.
    pub fn with(self, head: Head) -> Bundle {
        let Self { keyring, recipient, volumes, passed_over, notes, .. } = self;
        Bundle { head, keyring, recipient, volumes, passed_over, notes }
    }
}

impl Bundle {
    /// The volume given that a folder, as its canonical path, lies in.
    pub fn volume_around(&self, folder: &Path) -> Option<&Volume> {
        let mut all = self.volumes.iter().chain(&self.passed_over);
        all.find(|volume| volume.dir.canonicalize().is_ok_and(|dir| folder.starts_with(dir)))
    }

    /// Whether a volume is of this bundle.
    pub fn owns(&self, volume: &Volume) -> bool {
        owns(&self.keyring, volume)
    }

    /// The list, from whichever copy is whole and is the one that the statement names.
    pub fn read_list(&mut self) -> Result<Vec<Entry>, FlowError> {
        let (tar, hash) = (self.head.statement.tar, self.head.statement.list_hash);
        self.read_list_of(tar, Some(hash))
    }

    /// The list, from whichever copy is whole, for a tar of so many bytes; without a hash nothing
    /// says that it is the one.
    pub fn read_list_of(&mut self, tar: u64, hash: Option<Digest>) -> Result<Vec<Entry>, FlowError> {
        let mut bad = Vec::new();
        for volume in self.volumes.iter().filter(|volume| volume.file(LIST).is_some()) {
            match read_list(volume, &self.keyring, tar, hash) {
                Ok(entries) => {
                    self.notes.extend(bad.iter().map(note_of));
                    return Ok(entries);
                }
                Err(fault) => bad.push(BadCopy { path: volume.path(LIST), fault }),
            }
        }
        let none = NoCopy { what: IndexFile::List, bad };
        Err(or_gone(BundleError::NoCopy(none).into(), &self.volumes))
    }
}
