//! Opens a bundle from folders on drives: finds its volumes, then a seal, a head and the list.
//!
//! Every volume carries all three. The first copy that is whole is used, and what is wrong with the others is noted.
//! What opens tells which bundle a file is of; names never do. If the volumes are of several bundles, none is chosen
//! unless the user says which.
//!
//! Not guaranteed: that any part is there or whole.

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

/// An opened bundle.
pub struct Bundle {
    pub head: Head,
    /// The bundle's own key, which opens parts, heads and lists.
    pub keyring: Keyring,
    /// The recipient that these are sealed to.
    pub recipient: Recipient,
    /// Its volumes, and those that may be its: nothing on them tells which bundle they are of.
    pub(crate) volumes: Vec<Volume>,
    /// Volumes that the user gave and that are of other bundles.
    pub(crate) passed_over: Vec<Volume>,
    /// What is wrong with volumes, and with copies of seal, head and list that were not needed.
    pub(crate) notes: Vec<Note>,
}

/// A bundle whose key was found; its head may be lost. All fields but the seal and the head are those of a [`Bundle`].
pub(crate) struct Unsealed {
    /// The first seal that holds the bundle's key.
    pub(crate) seal: Seal,
    pub(crate) keyring: Keyring,
    pub(crate) recipient: Recipient,
    pub(crate) volumes: Vec<Volume>,
    pub(crate) passed_over: Vec<Volume>,
    pub(crate) notes: Vec<Note>,
    /// The head, or what is wrong with every copy.
    head: Result<Head, NoCopy>,
}

/// Opens the bundle whose volumes are at or below the given places.
///
/// # Errors
/// As [`open`]; or there is no volume at these places.
pub(crate) fn open_at(
    paths: &[PathBuf],
    keyring: &Keyring,
    wanted: Option<&FingerprintStart>,
) -> Result<Bundle, FlowError> {
    let (volumes, passed_over) = gather_noting(paths)?;
    let mut bundle = open(volumes, keyring, wanted)?;
    // These come first, because only some notes about volumes are shown.
    bundle.notes.splice(0..0, notes_on_places(&passed_over));
    Ok(bundle)
}

/// Opens the only bundle of these volumes, or the one whose fingerprint begins as `wanted` says.
///
/// # Errors
/// No key opens a seal, no head can be used, or the volumes are of several bundles of which none is chosen.
pub fn open(volumes: Vec<Volume>, keyring: &Keyring, wanted: Option<&FingerprintStart>) -> Result<Bundle, FlowError> {
    let mut unsealed = unseal(volumes, keyring, wanted)?;
    let head = unsealed.head()?;
    Ok(unsealed.with(head))
}

/// Finds the key of the only bundle of these volumes, or of the one that is wanted, and its head if a copy can be used.
///
/// # Errors
/// As [`open`], but a head that cannot be used is no error here.
pub(crate) fn unseal(
    volumes: Vec<Volume>,
    keyring: &Keyring,
    wanted: Option<&FingerprintStart>,
) -> Result<Unsealed, FlowError> {
    let Unlocked { mut keys, bad: bad_seals, untried } = unlock(&volumes, keyring);
    if keys.is_empty() {
        return Err(or_gone(no_key(bad_seals, untried, keyring), &volumes));
    }
    let mut heads = Heads::find(&volumes, &keys, wanted);
    let Chosen { key, head } = choose_bundle(&mut heads, &volumes, &keys, wanted)?;
    let BundleKey { seal, keyring, recipient, .. } = keys.swap_remove(key);
    let sorted = Sorted::of(volumes, &keyring, head.as_ref().ok(), &heads.found);
    let mut notes = sorted.notes;
    // If no head can be used, the error says what is wrong with each copy.
    let bad_heads = if head.is_ok() { heads.bad } else { Vec::new() };
    let bad = bad_seals.into_iter().chain(bad_heads);
    notes.extend(worth_a_note(bad, &sorted.kept).map(|bad| note_of(&bad)));
    Ok(Unsealed { seal, keyring, recipient, volumes: sorted.kept, passed_over: sorted.passed_over, notes, head })
}

/// The bundle that is opened.
struct Chosen {
    /// The index of its key.
    key: usize,
    head: Result<Head, NoCopy>,
}

/// Chooses the bundle by its fingerprint. Takes the chosen head out of `heads`.
fn choose_bundle(
    heads: &mut Heads,
    volumes: &[Volume],
    keys: &[BundleKey],
    wanted: Option<&FingerprintStart>,
) -> Result<Chosen, FlowError> {
    match choose(heads.found.iter().map(|found| found.fingerprint.as_str()), wanted) {
        Choice::One(at) => {
            let found = heads.found.swap_remove(at);
            Ok(Chosen { key: found.key, head: found.read(volumes, keys).map_err(|bad| no_head(vec![bad])) })
        }
        Choice::Several(which) => {
            let meant = which.into_iter().map(|at| &heads.found[at]);
            Err(BundleError::Mixed(bundles(meant, volumes)).into())
        }
        Choice::None => match wanted {
            Some(wanted) if !heads.found.is_empty() => {
                let found = bundles(heads.found.iter(), volumes);
                Err(BundleError::NotTheOne { wanted: wanted.to_string(), found }.into())
            }
            _ => Ok(Chosen { key: choose_without_head(keys, volumes)?, head: Err(no_head(heads.bad.clone())) }),
        },
    }
}

fn no_head(bad: Vec<BadCopy>) -> NoCopy {
    NoCopy { what: IndexFile::Head, bad }
}

/// What an error says of bundles among which the user has to choose, in the order of their fingerprints.
fn bundles<'a>(found: impl Iterator<Item = &'a FoundHead>, volumes: &[Volume]) -> Vec<BundleAt> {
    let mut all: Vec<BundleAt> = found.map(|head| bundle_of(head, volumes)).collect();
    all.sort_by(|a, b| a.fingerprint.cmp(&b.fingerprint));
    all
}

fn bundle_of(head: &FoundHead, volumes: &[Volume]) -> BundleAt {
    BundleAt { fingerprint: Some(head.fingerprint.clone()), places: head.places(volumes) }
}

/// The index of the only key, or of the only one that opens more than a seal. A seal alone may have been planted, or
/// left by a packing that was interrupted.
fn choose_without_head(keys: &[BundleKey], volumes: &[Volume]) -> Result<usize, FlowError> {
    if keys.len() == 1 {
        return Ok(0);
    }
    let with_more: Vec<usize> = (0..keys.len()).filter(|at| opens_more(&keys[*at], volumes)).collect();
    match with_more[..] {
        [one] => Ok(one),
        _ => {
            let bundles = keys.iter().map(|key| BundleAt { fingerprint: None, places: key.seals.clone() });
            Err(BundleError::Mixed(bundles.collect()).into())
        }
    }
}

/// Whether a bundle's key opens more on the volumes than a seal.
fn opens_more(key: &BundleKey, volumes: &[Volume]) -> bool {
    let marks = Marks::of(&key.keyring, None);
    volumes.iter().any(|volume| marks.look_at(volume) == Belonging::Ours)
}

/// The error if no seal could be opened.
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

/// The bad copies on the volumes that are used. A seal that none of the keys opens is no fault, because it may be to
/// another recipient.
fn worth_a_note(bad: impl Iterator<Item = BadCopy>, volumes: &[Volume]) -> impl Iterator<Item = BadCopy> {
    let dirs: HashSet<&Path> = volumes.iter().map(|volume| volume.dir.as_path()).collect();
    bad.filter(move |bad| bad.fault != CopyFault::Wrong && bad.path.parent().is_some_and(|dir| dirs.contains(dir)))
}

fn note_of(BadCopy { path, fault }: &BadCopy) -> Note {
    Note::new(NoteKind::Volume, as_bytes(path), format!("could not be used: {fault}"))
}

/// Volumes, sorted by whether they may be of the bundle, and the notes on those that are not or could not be read.
struct Sorted {
    kept: Vec<Volume>,
    passed_over: Vec<Volume>,
    notes: Vec<Note>,
}

impl Sorted {
    /// `others` are the heads of other bundles. They tell the fingerprint of a volume that is passed over.
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

/// The note on a volume of another bundle, with that bundle's fingerprint if it is known.
pub(crate) fn passed_over(fingerprint: Option<&str>) -> String {
    match fingerprint {
        Some(fingerprint) => format!("is not of this bundle but of {fingerprint}; it is passed over"),
        None => "is not of this bundle: nothing on it opens with its key; it is passed over".into(),
    }
}

impl Unsealed {
    /// Takes the head. The caller may call this only once.
    ///
    /// # Errors
    /// No copy can be used, or the drives that may have one stopped answering.
    pub(crate) fn head(&mut self) -> Result<Head, FlowError> {
        let none = NoCopy { what: IndexFile::Head, bad: Vec::new() };
        let head = std::mem::replace(&mut self.head, Err(none));
        head.map_err(|none| or_gone(BundleError::NoCopy(none).into(), &self.volumes))
    }

    /// The bundle with that head, which may be one that was made anew from the parts.
    pub(crate) fn with(self, head: Head) -> Bundle {
        let Self { keyring, recipient, volumes, passed_over, notes, .. } = self;
        Bundle { head, keyring, recipient, volumes, passed_over, notes }
    }
}

impl Bundle {
    /// The volume, of this bundle or of another, that a folder lies in. `folder` is a canonical path.
    pub(crate) fn volume_around(&self, folder: &Path) -> Option<&Volume> {
        let mut all = self.volumes.iter().chain(&self.passed_over);
        all.find(|volume| volume.dir.canonicalize().is_ok_and(|dir| folder.starts_with(dir)))
    }

    /// Whether the header of one of the volume's heads opens with the bundle's key.
    pub(crate) fn owns(&self, volume: &Volume) -> bool {
        owns(&self.keyring, volume)
    }

    /// Reads the list that the statement names, from the first copy that is whole.
    pub fn read_list(&mut self) -> Result<Vec<Entry>, FlowError> {
        let (tar, hash) = (self.head.statement.tar, self.head.statement.list_hash);
        self.read_list_of(tar, Some(hash))
    }

    /// Reads the list from the first copy that is whole and fits a tar of `tar` bytes. Without a hash nothing proves
    /// that it is the one that was packed.
    ///
    /// # Errors
    /// No copy can be used, or the drives that may have one stopped answering.
    pub(crate) fn read_list_of(&mut self, tar: u64, hash: Option<Digest>) -> Result<Vec<Entry>, FlowError> {
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

#[cfg(test)]
mod tests;
