//! From folders on drives to an opened bundle: volumes, seal, head, list.
//!
//! Every volume carries all three; whichever copy is whole will do. What belongs to which bundle
//! is told by what opens, never by names.

use std::path::{Path, PathBuf};

use crate::base::digest::Digest;
use crate::base::entry::Entry;
use crate::base::fault::{At, IoFault};
use crate::base::monitor::{Note, NoteKind};
use crate::base::path::{as_bytes, show};
use crate::base::size::count;
use crate::flow::FlowError;
use crate::flow::error::{BundleError, KeyringError};
use crate::flow::gone::or_gone;
use crate::flow::text::{TextError, head_text, read_list};
use crate::format::age::scan_up_to;
use crate::format::head::Head;
use crate::format::seal::{Mode, Seal, commitment};
use crate::format::{FormatError, limits};
use crate::stage::seal::{Identity, KeyError, Keyring, OUR_WORK_FACTOR, Recipient};
use crate::stage::volume::{ALL_SEALS, HEADS, LIST, PASSPHRASE_SEAL, PassedOver, ScanError, Volume, scan};

/// What one run spends on passphrase seals, as work factors count it: four like ours. The volumes of a bundle
/// share one; more are somebody's attempt to keep us busy.
const MOST_WORK: u64 = 4 << OUR_WORK_FACTOR;
/// What each of them counts at least.
const LEAST_WORK: u64 = 1 << 12;

/// A bundle that was opened.
pub struct Bundle {
    /// What it is and where its parts are.
    pub head: Head,
    /// Opens the parts.
    pub keyring: Keyring,
    /// Whom they are sealed to.
    pub recipient: Recipient,
    /// All volumes given, its own and those that nobody could tell.
    pub volumes: Vec<Volume>,
    /// What is wrong with seals and heads that were not needed.
    pub notes: Vec<Note>,
}

/// A bundle of which no more than the key is known.
pub struct Unsealed {
    /// As in the seal.
    pub seal: Seal,
    /// As in a [`Bundle`].
    pub keyring: Keyring,
    /// As in a [`Bundle`].
    pub recipient: Recipient,
    /// As in a [`Bundle`].
    pub volumes: Vec<Volume>,
    /// What is wrong with seals.
    pub notes: Vec<Note>,
}

/// The volumes at the given places and below them.
pub fn gather(paths: &[PathBuf]) -> Result<Vec<Volume>, FlowError> {
    Ok(search(paths)?.0)
}

/// The same, and for each place the folders that were not searched.
pub fn search(paths: &[PathBuf]) -> Result<(Vec<Volume>, Vec<PassedOver>), FlowError> {
    let (mut volumes, mut passed_over): (Vec<Volume>, Vec<PassedOver>) = (Vec::new(), Vec::new());
    for path in paths {
        if path.symlink_metadata().is_err_and(|error| error.kind() == std::io::ErrorKind::NotFound) {
            return Err(FlowError::Usage(format!(
                "{} does not exist; is the drive plugged in and mounted?",
                show(path)
            )));
        }
        if !path.metadata().at("look at", path)?.is_dir() {
            return Err(FlowError::Usage(format!(
                "{} is no folder; give the drive, or the volume's folder on it",
                show(path)
            )));
        }
        let found = scan(path)?;
        volumes.extend(found.volumes);
        passed_over.push(found.passed_over);
    }
    let mut seen = std::collections::HashSet::new();
    volumes.retain(|volume| seen.insert(volume.dir.canonicalize().unwrap_or_else(|_| volume.dir.clone())));
    if volumes.is_empty() {
        let paths: Vec<String> = paths.iter().map(|path| show(path)).collect();
        let others = match passed_over.iter().map(PassedOver::folders).sum::<u64>() {
            0 => String::new(),
            folders => format!(" (folders not searched: {folders})"),
        };
        return Err(FlowError::Bundle(BundleError::Missing(format!(
            "there is no volume at {}, nor up to {} folders below{others}",
            paths.join(", "),
            limits::DEPTH
        ))));
    }
    Ok((volumes, passed_over))
}

/// Opens the one bundle at the given places.
pub fn open_at(paths: &[PathBuf], keyring: &Keyring) -> Result<Bundle, FlowError> {
    let (volumes, passed_over) = search(paths)?;
    let mut bundle = open(volumes, keyring)?;
    // First of all: only some notes about volumes are shown.
    bundle.notes.splice(0..0, too_many(&passed_over));
    Ok(bundle)
}

/// What is said of places where not all folders were searched, for there were too many.
pub fn too_many(passed_over: &[PassedOver]) -> Vec<Note> {
    let crowded = passed_over.iter().filter(|place| place.beyond > 0);
    let text =
        |folders| format!("{} more in it were not searched for volumes: it holds too many", count(folders, "folder"));
    crowded.map(|place| Note::new(NoteKind::Volume, as_bytes(&place.below), text(place.beyond))).collect()
}

/// Whether a passphrase opens some of the volumes at the given places.
pub fn takes_passphrase(paths: &[PathBuf]) -> Result<bool, FlowError> {
    Ok(gather(paths)?.iter().any(|volume| volume.file(PASSPHRASE_SEAL).is_some()))
}

/// Opens the one bundle that these volumes carry.
pub fn open(volumes: Vec<Volume>, keyring: &Keyring) -> Result<Bundle, FlowError> {
    let mut unsealed = unseal(volumes, keyring)?;
    let head = unsealed.head()?;
    Ok(unsealed.with(head))
}

/// Opens the seal of the one bundle that these volumes carry.
pub fn unseal(volumes: Vec<Volume>, keyring: &Keyring) -> Result<Unsealed, FlowError> {
    let mut opened: Vec<Known> = Vec::new();
    let mut trouble = Trouble::default();
    let mut notes = Vec::new();
    for volume in by_work(&volumes, keyring) {
        if let Some(known) = opened.iter_mut().find(|known| known.owns(volume)) {
            known.volumes.push(show(&volume.dir));
            continue;
        }
        match open_seal(volume, keyring, &mut trouble, &mut notes)? {
            Some(seal) => match opened.iter_mut().find(|known| known.seal.bundle == seal.bundle) {
                Some(known) => known.volumes.push(show(&volume.dir)),
                None => opened.push(Known { seal, volumes: vec![show(&volume.dir)] }),
            },
            None => notes.push(Note::new(NoteKind::Volume, as_bytes(&volume.dir), "its seal could not be opened")),
        }
    }
    if opened.len() > 1 {
        // What an interrupted packing left is no bundle yet.
        let has_head = |known: &Known| volumes.iter().any(|volume| known.owns(volume));
        if opened.iter().any(has_head) {
            opened.retain(has_head);
        }
    }
    if opened.len() > 1 {
        return Err(FlowError::Bundle(BundleError::Mixed(
            opened.iter().map(|known| known.volumes.join(", ")).collect(),
        )));
    }
    let Some(known) = opened.pop() else { return Err(or_gone(trouble.into_error(keyring), &volumes)) };
    let keyring = ring_of(&known.seal)?;
    let recipient = Identity::parse(&known.seal.identity).map(|identity| identity.recipient());
    let recipient = recipient
        .map_err(|error| FlowError::Bundle(BundleError::Damaged(format!("the seal holds no usable key: {error}"))))?;
    Ok(Unsealed { seal: known.seal, keyring, recipient, volumes, notes })
}

impl Unsealed {
    /// The head, from whichever copy on whichever volume is whole.
    pub fn head(&mut self) -> Result<Head, FlowError> {
        let head = open_head(&self.volumes, &self.keyring, &self.seal, &mut self.notes);
        head.map_err(|error| or_gone(error, &self.volumes))
    }

    /// The bundle with that head.
    pub fn with(self, head: Head) -> Bundle {
        let Self { keyring, recipient, volumes, notes, .. } = self;
        Bundle { head, keyring, recipient, volumes, notes }
    }
}

/// A bundle whose seal was opened, and the volumes found to be its own.
struct Known {
    seal: Seal,
    volumes: Vec<String>,
}

impl Known {
    /// Whether one of the volume's heads opens with this bundle's key; spares a passphrase seal.
    fn owns(&self, volume: &Volume) -> bool {
        ring_of(&self.seal).is_ok_and(|ring| owns(&ring, volume))
    }
}

/// Whether one of the volume's heads opens with the bundle's key.
fn owns(ring: &Keyring, volume: &Volume) -> bool {
    let mut starts = HEADS.into_iter().filter_map(|name| volume.read_start(name, limits::AGE_HEADER).ok());
    starts.any(|(start, _)| ring.open_header(&start).is_ok())
}

fn ring_of(seal: &Seal) -> Result<Keyring, FlowError> {
    let damaged =
        |error: KeyError| FlowError::Bundle(BundleError::Damaged(format!("the seal holds no usable key: {error}")));
    let mut ring = Keyring::new();
    ring.add(Identity::parse(&seal.identity).map_err(damaged)?);
    Ok(ring)
}

/// What went wrong with seals, for when none opens.
#[derive(Default)]
struct Trouble {
    wrong: bool,
    damaged: Option<String>,
    limit: Option<FormatError>,
    /// The first file that opens and breaks the format.
    broken: Option<FlowError>,
    /// The first file that the system would not read.
    io: Option<IoFault>,
    /// Memory that was lacking for a passphrase seal.
    memory: Option<u64>,
    /// What passphrase seals cost that were tried: each like ours takes a second.
    work: u64,
}

impl Trouble {
    fn note(&mut self, error: KeyError) {
        match error {
            KeyError::Wrong => self.wrong = true,
            KeyError::NoMemory(bytes) => self.memory = Some(bytes),
            KeyError::Format(error @ (FormatError::Limit { .. } | FormatError::Newer { .. })) => {
                self.limit = Some(error)
            }
            other => self.damaged = Some(other.to_string()),
        }
    }

    /// Whether one more passphrase seal may be tried.
    fn may_guess(&mut self, sealed: &[u8]) -> bool {
        let factor = scan_up_to(sealed, limits::WORK_FACTOR).map_or(0, |scanned| scanned.work_factor);
        let work = if factor > 0 { LEAST_WORK.max(1 << factor) } else { 0 };
        let fits = self.work + work <= MOST_WORK;
        self.work += if fits { work } else { 0 };
        fits
    }

    fn breaks(&mut self, path: PathBuf, source: FormatError, notes: &mut Vec<Note>) {
        notes.push(Note::new(NoteKind::Volume, as_bytes(&path), format!("could not be used: {source}")));
        self.broken.get_or_insert(FlowError::Bundle(BundleError::BadFile { path, source }));
    }

    fn into_error(self, keyring: &Keyring) -> FlowError {
        if let Some(error) = self.broken {
            return error;
        }
        if let Some(error) = self.limit {
            return FlowError::Format(error);
        }
        if let Some(bytes) = self.memory {
            return FlowError::no_memory(bytes);
        }
        if keyring.is_empty() {
            return FlowError::Key(KeyringError::NotGiven);
        }
        if self.wrong {
            return FlowError::Key(KeyringError::Wrong { passphrase: keyring.has_passphrase() });
        }
        if let Some(fault) = self.io {
            return FlowError::Io(fault);
        }
        match self.damaged {
            Some(why) => BundleError::no_seal(true, format!("every seal on these volumes is damaged ({why})")).into(),
            None => BundleError::no_seal(false, "there is no seal on these volumes").into(),
        }
    }
}

/// Volumes in the order in which to try their seals: where a passphrase is to be tried, those like ours first, and
/// of the others those that cost least.
fn by_work<'a>(volumes: &'a [Volume], keyring: &Keyring) -> Vec<&'a Volume> {
    let mut all: Vec<&Volume> = volumes.iter().collect();
    if keyring.has_passphrase() {
        let start = |volume: &Volume| volume.read_start(PASSPHRASE_SEAL, limits::AGE_HEADER).ok();
        let work = |(start, _): (Vec<u8>, _)| scan_up_to(&start, limits::WORK_FACTOR).ok();
        let factor = |volume: &Volume| start(volume).and_then(work).map_or(u8::MAX, |scanned| scanned.work_factor);
        all.sort_by_cached_key(|volume| Some(factor(volume)).filter(|factor| *factor != OUR_WORK_FACTOR));
    }
    all
}

/// The volume's seal, from whichever copy opens.
fn open_seal(
    volume: &Volume,
    keyring: &Keyring,
    trouble: &mut Trouble,
    notes: &mut Vec<Note>,
) -> Result<Option<Seal>, FlowError> {
    for name in ALL_SEALS {
        let Some(read) = volume.read_small(name, limits::SEAL_FILE) else { continue };
        let opened = match read {
            Ok(bytes) if keyring.has_passphrase() && !trouble.may_guess(&bytes) => {
                let text = "was not tried: the passphrase was tried on as many seals as one run takes on";
                notes.push(Note::new(NoteKind::Volume, as_bytes(&volume.dir.join(name)), text));
                continue;
            }
            Ok(bytes) => keyring.open_small(&bytes, 2048),
            Err(ScanError::Format(error)) => Err(KeyError::Format(error)),
            Err(ScanError::Io(fault)) if fault.source.kind() == std::io::ErrorKind::PermissionDenied => {
                trouble.io.get_or_insert(fault);
                continue;
            }
            Err(ScanError::Io(fault)) => Err(KeyError::Damaged(fault.to_string())),
        };
        match opened {
            // It opened: what breaks the format now was sealed that way, not damaged. Another copy
            // may do all the same.
            Ok(text) => {
                match Seal::parse(&text).map_err(FlowError::from).and_then(|seal| check_seal(&seal).map(|()| seal)) {
                    Ok(seal) => return Ok(Some(seal)),
                    Err(FlowError::Format(source)) => trouble.breaks(volume.dir.join(name), source, notes),
                    Err(error) => return Err(error),
                }
            }
            Err(KeyError::Wrong) => trouble.wrong = true,
            Err(error) => {
                let path = volume.dir.join(name);
                notes.push(Note::new(NoteKind::Volume, as_bytes(&path), format!("could not be used: {error}")));
                trouble.note(error);
            }
        }
    }
    Ok(None)
}

fn check_seal(seal: &Seal) -> Result<(), FlowError> {
    if let Mode::Threshold { need, of } = seal.mode {
        let text =
            format!("this bundle opens with the cards of {need} of its {of} volumes, which this pouch cannot do yet");
        return Err(FlowError::Usage(text));
    }
    let identity = Identity::parse(&seal.identity);
    let identity = identity
        .map_err(|error| FlowError::Bundle(BundleError::Damaged(format!("the seal holds no usable key: {error}"))))?;
    if commitment(&seal.bundle, identity.secret().expose()) != seal.kcommit {
        let why = "its key is not the one it commits to".into();
        return Err(FlowError::Format(FormatError::Malformed { what: "the seal", line: 0, why }));
    }
    Ok(())
}

/// The head, from whichever copy on whichever volume is whole.
fn open_head(volumes: &[Volume], keyring: &Keyring, seal: &Seal, notes: &mut Vec<Note>) -> Result<Head, FlowError> {
    let (mut found, mut trouble) = (false, Trouble::default());
    for (volume, name) in volumes.iter().flat_map(|volume| HEADS.map(|name| (volume, name))) {
        let Some(read) = volume.read_small(name, limits::HEAD) else { continue };
        found = true;
        let path = volume.dir.join(name);
        let text = match read.map_err(|error| error.to_string()).and_then(|bytes| head_text(&bytes, keyring)) {
            Ok(text) => text,
            Err(why) => {
                notes.push(Note::new(NoteKind::Volume, as_bytes(&path), format!("could not be used: {why}")));
                continue;
            }
        };
        match head_of_seal(&text, seal) {
            Ok(head) if head.statement.profile == "open" => return Ok(head),
            Ok(head) => {
                let profile = head.statement.profile;
                let text = format!("this bundle has the profile {profile}, which this pouch cannot read yet");
                return Err(FlowError::Usage(text));
            }
            Err(source) => trouble.breaks(path, source, notes),
        }
    }
    Err(match (trouble.broken, found) {
        (Some(error), _) => error,
        (None, true) => {
            BundleError::no_index(true, "every head on these volumes is damaged, or of another bundle").into()
        }
        (None, false) => {
            BundleError::no_index(false, "there is no head on these volumes: they were never finished, or lost it")
                .into()
        }
    })
}

fn head_of_seal(text: &[u8], seal: &Seal) -> Result<Head, FormatError> {
    let head = Head::parse(text)?;
    if head.statement.bundle == seal.bundle && head.statement.kcommit == seal.kcommit {
        return Ok(head);
    }
    Err(FormatError::malformed("the head", 0, "it is sealed for this bundle but names another"))
}

impl Bundle {
    /// The volume given that a folder, as its canonical path, lies in.
    pub fn volume_around(&self, folder: &Path) -> Option<&Volume> {
        self.volumes.iter().find(|volume| volume.dir.canonicalize().is_ok_and(|dir| folder.starts_with(dir)))
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
        let (mut found, mut last, mut broken) = (false, String::new(), None);
        for volume in &self.volumes {
            if volume.file(LIST).is_none() {
                continue;
            }
            found = true;
            match read_list(volume, &self.keyring, tar, hash) {
                Ok(entries) => return Ok(entries),
                Err(TextError::Format(source)) => {
                    let path = volume.dir.join(LIST);
                    self.notes.push(Note::new(
                        NoteKind::Volume,
                        as_bytes(&path),
                        format!("could not be used: {source}"),
                    ));
                    broken.get_or_insert(FlowError::Bundle(BundleError::BadFile { path, source }));
                }
                Err(TextError::Damaged(why)) => {
                    let path = volume.dir.join(LIST);
                    last = format!(": {why}");
                    self.notes.push(Note::new(NoteKind::Volume, as_bytes(&path), format!("could not be used: {why}")));
                }
            }
        }
        if let Some(error) = broken {
            return Err(error);
        }
        let none = match found {
            true => BundleError::no_index(true, format!("every list on these volumes is damaged{last}")).into(),
            false => BundleError::no_index(false, "there is no list on these volumes").into(),
        };
        Err(or_gone(none, &self.volumes))
    }
}
