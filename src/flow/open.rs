//! From folders on drives to an opened bundle: volumes, seal, head, list.
//!
//! Every volume carries all three; whichever copy is whole will do. What belongs to which bundle
//! is told by what opens, never by names.

use std::io::Read;
use std::path::PathBuf;

use crate::base::digest::{Digest, Hasher};
use crate::base::entry::Entry;
use crate::base::fault::At;
use crate::base::monitor::{Note, NoteKind};
use crate::base::path::{as_bytes, show};
use crate::flow::FlowError;
use crate::format::head::Head;
use crate::format::part::CHUNK;
use crate::format::seal::{Mode, Seal, commitment};
use crate::format::{FormatError, limits, list};
use crate::stage::compress::{DecodeError, Decompressor};
use crate::stage::seal::{Identity, KeyError, Keyring};
use crate::stage::stream::Opener;
use crate::stage::volume::{HEADS, LIST, PASSPHRASE_SEAL, SEALS, ScanError, Volume, scan};

/// A bundle that was opened.
pub struct Bundle {
    /// What it is and where its parts are.
    pub head: Head,
    /// Opens the parts.
    pub keyring: Keyring,
    /// All volumes given, its own and those that nobody could tell.
    pub volumes: Vec<Volume>,
    /// What is wrong with seals and heads that were not needed.
    pub notes: Vec<Note>,
}

/// The volumes at the given places.
pub fn gather(paths: &[PathBuf]) -> Result<Vec<Volume>, FlowError> {
    let mut volumes: Vec<Volume> = Vec::new();
    for path in paths {
        if path.symlink_metadata().is_err_and(|error| error.kind() == std::io::ErrorKind::NotFound) {
            return Err(FlowError::Usage(format!(
                "{} does not exist; is the drive plugged in and mounted?",
                show(path)
            )));
        }
        if !path.is_dir() {
            return Err(FlowError::Usage(format!(
                "{} is no folder; give the drive, or the volume's folder on it",
                show(path)
            )));
        }
        volumes.extend(scan(path)?);
    }
    let mut seen = std::collections::HashSet::new();
    volumes.retain(|volume| seen.insert(volume.dir.canonicalize().unwrap_or_else(|_| volume.dir.clone())));
    if volumes.is_empty() {
        let paths: Vec<String> = paths.iter().map(|path| show(path)).collect();
        return Err(FlowError::Missing(format!("there is no volume at {}, nor one folder below", paths.join(", "))));
    }
    Ok(volumes)
}

/// Whether a passphrase opens some of the volumes at the given places.
pub fn takes_passphrase(paths: &[PathBuf]) -> Result<bool, FlowError> {
    Ok(gather(paths)?.iter().any(|volume| volume.file(PASSPHRASE_SEAL).is_some()))
}

/// Opens the one bundle that these volumes carry.
pub fn open(volumes: Vec<Volume>, keyring: &Keyring) -> Result<Bundle, FlowError> {
    let mut opened: Vec<Known> = Vec::new();
    let mut trouble = Trouble::default();
    let mut notes = Vec::new();
    for volume in &volumes {
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
        return Err(FlowError::Mixed(opened.iter().map(|known| known.volumes.join(", ")).collect()));
    }
    let Some(known) = opened.pop() else { return Err(trouble.into_error(keyring)) };
    let keyring = ring_of(&known.seal)?;
    let head = open_head(&volumes, &keyring, &known.seal, &mut notes)?;
    Ok(Bundle { head, keyring, volumes, notes })
}

/// A bundle whose seal was opened, and the volumes found to be its own.
struct Known {
    seal: Seal,
    volumes: Vec<String>,
}

impl Known {
    /// Whether one of the volume's heads opens with this bundle's key; spares a passphrase seal.
    fn owns(&self, volume: &Volume) -> bool {
        let Ok(ring) = ring_of(&self.seal) else { return false };
        let opens =
            |name| matches!(volume.read_small(name, limits::HEAD), Some(Ok(bytes)) if ring.open_header(&bytes).is_ok());
        HEADS.into_iter().any(opens)
    }
}

fn ring_of(seal: &Seal) -> Result<Keyring, FlowError> {
    let damaged = |error: KeyError| FlowError::Damaged(format!("the seal holds no usable key: {error}"));
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
}

impl Trouble {
    fn note(&mut self, error: KeyError) {
        match error {
            KeyError::Wrong => self.wrong = true,
            KeyError::Format(error @ (FormatError::Limit { .. } | FormatError::Newer { .. })) => {
                self.limit = Some(error)
            }
            other => self.damaged = Some(other.to_string()),
        }
    }

    fn into_error(self, keyring: &Keyring) -> FlowError {
        if let Some(error) = self.limit {
            return FlowError::Format(error);
        }
        if keyring.is_empty() {
            return FlowError::NoKey;
        }
        if self.wrong {
            return FlowError::WrongKey;
        }
        match self.damaged {
            Some(why) => FlowError::Damaged(format!("every seal on these volumes is damaged ({why})")),
            None => FlowError::Missing("there is no seal on these volumes".into()),
        }
    }
}

/// The volume's seal, from whichever copy opens.
fn open_seal(
    volume: &Volume,
    keyring: &Keyring,
    trouble: &mut Trouble,
    notes: &mut Vec<Note>,
) -> Result<Option<Seal>, FlowError> {
    for name in SEALS.into_iter().chain([PASSPHRASE_SEAL]) {
        let Some(read) = volume.read_small(name, limits::SEAL_FILE) else { continue };
        let opened = match read {
            Ok(bytes) => keyring.open_small(&bytes, 2048),
            Err(ScanError::Format(error)) => Err(KeyError::Format(error)),
            Err(ScanError::Io(fault)) => Err(KeyError::Damaged(fault.to_string())),
        };
        match opened {
            Ok(text) => {
                // It opened: what breaks the format now was sealed that way, not damaged.
                let seal = Seal::parse(&text)?;
                check_seal(&seal)?;
                return Ok(Some(seal));
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
    let identity = identity.map_err(|error| FlowError::Damaged(format!("the seal holds no usable key: {error}")))?;
    if commitment(&seal.bundle, identity.secret().expose()) != seal.kcommit {
        let why = "its key is not the one it commits to".into();
        return Err(FlowError::Format(FormatError::Malformed { what: "the seal", line: 0, why }));
    }
    Ok(())
}

/// The head, from whichever copy on whichever volume is whole.
fn open_head(volumes: &[Volume], keyring: &Keyring, seal: &Seal, notes: &mut Vec<Note>) -> Result<Head, FlowError> {
    let mut found = false;
    for (volume, name) in volumes.iter().flat_map(|volume| HEADS.map(|name| (volume, name))) {
        let Some(read) = volume.read_small(name, limits::HEAD) else { continue };
        found = true;
        match read.map_err(|error| error.to_string()).and_then(|bytes| head_text(&bytes, keyring)) {
            Ok(text) => {
                let head = Head::parse(&text)?;
                if head.statement.profile != "open" {
                    let text = format!(
                        "this bundle has the profile {}, which this pouch cannot read yet",
                        head.statement.profile
                    );
                    return Err(FlowError::Usage(text));
                }
                if head.statement.bundle == seal.bundle && head.statement.kcommit == seal.kcommit {
                    return Ok(head);
                }
                let why = "it is sealed for this bundle but names another".into();
                return Err(FlowError::Format(FormatError::Malformed { what: "the head", line: 0, why }));
            }
            Err(why) => {
                let path = volume.dir.join(name);
                notes.push(Note::new(NoteKind::Volume, as_bytes(&path), format!("could not be used: {why}")));
            }
        }
    }
    Err(match found {
        true => FlowError::Damaged("every head on these volumes is damaged, or of another bundle".into()),
        false => FlowError::Missing("there is no head on these volumes: they were never finished, or lost it".into()),
    })
}

fn head_text(sealed: &[u8], keyring: &Keyring) -> Result<Vec<u8>, String> {
    let (key, len) = keyring.open_header(sealed).map_err(|error| error.to_string())?;
    let mut text = Vec::new();
    unseal(&sealed[len..], &key, limits::HEAD, |bytes| {
        text.extend_from_slice(bytes);
        Ok(())
    })
    .map_err(|error| error.to_string())?;
    Ok(text)
}

/// Why a sealed text could not be read.
#[derive(Debug, thiserror::Error)]
enum TextError {
    #[error("{0}")]
    Damaged(String),
    #[error(transparent)]
    Format(#[from] FormatError),
}

/// Opens and decompresses a text of at most `limit` bytes, piece by piece.
fn unseal(
    sealed: impl Read,
    key: &crate::base::secret::FileKey,
    limit: u64,
    mut sink: impl FnMut(&[u8]) -> Result<(), FormatError>,
) -> Result<(), TextError> {
    let damaged = |error: std::io::Error| TextError::Damaged(error.to_string());
    let mut opener = Opener::new(sealed, key).map_err(damaged)?;
    let mut decompressor = Decompressor::new().map_err(|error| TextError::Damaged(error.to_string()))?;
    let mut seen = 0;
    // The decoder takes pieces as they come; an error of the source ends them and is kept.
    let mut failed = None;
    let mut pieces = Pieces { opener: &mut opener, failed: &mut failed };
    let result = decompressor.decode(std::iter::from_fn(|| pieces.next()), |bytes| {
        seen += bytes.len() as u64;
        FormatError::limit("the length of a sealed text", seen, limit)?;
        sink(bytes)
    });
    if let Some(error) = failed {
        return Err(damaged(error));
    }
    result.map_err(|error| match error {
        DecodeError::Sink(error) => TextError::Format(error),
        DecodeError::Truncated => TextError::Damaged("its compressed text is cut short".into()),
        DecodeError::Zstd(error) => TextError::Damaged(error.to_string()),
    })
}

struct Pieces<'a, R: Read> {
    opener: &'a mut Opener<R>,
    failed: &'a mut Option<std::io::Error>,
}

impl<R: Read> Pieces<'_, R> {
    fn next(&mut self) -> Option<Vec<u8>> {
        let mut piece = vec![0; CHUNK];
        match self.opener.read(&mut piece) {
            Ok(0) => None,
            Ok(len) => {
                piece.truncate(len);
                Some(piece)
            }
            Err(error) => {
                *self.failed = Some(error);
                None
            }
        }
    }
}

impl Bundle {
    /// The list, from whichever copy is whole and is the one that the statement names.
    pub fn read_list(&mut self) -> Result<Vec<Entry>, FlowError> {
        let (mut found, mut last) = (false, String::new());
        for volume in &self.volumes {
            if volume.file(LIST).is_none() {
                continue;
            }
            found = true;
            match self.list_on(volume) {
                Ok(entries) => return Ok(entries),
                Err(ListError::Fatal(error)) => return Err(error),
                Err(ListError::Damaged(why)) => {
                    let path = volume.dir.join(LIST);
                    last = format!(": {why}");
                    self.notes.push(Note::new(NoteKind::Volume, as_bytes(&path), format!("could not be used: {why}")));
                }
            }
        }
        Err(match found {
            true => FlowError::Damaged(format!("every list on these volumes is damaged{last}")),
            false => FlowError::Missing("there is no list on these volumes".into()),
        })
    }

    fn list_on(&self, volume: &Volume) -> Result<Vec<Entry>, ListError> {
        let damaged = |why: String| ListError::Damaged(why);
        let path = volume.dir.join(LIST);
        let mut file = volume.open(LIST).map_err(|fault| damaged(fault.to_string()))?;
        let mut start = Vec::new();
        file.by_ref()
            .take(limits::AGE_HEADER as u64)
            .read_to_end(&mut start)
            .at("read", &path)
            .map_err(|f| damaged(f.to_string()))?;
        let (key, len) = self.keyring.open_header(&start).map_err(|error| damaged(error.to_string()))?;
        let sealed = start[len..].chain(file);
        let mut lines = Lines {
            reader: list::Reader::new(self.head.statement.tar),
            hasher: Hasher::tagged("list"),
            line: Vec::new(),
        };
        match unseal(std::io::BufReader::with_capacity(1 << 20, sealed), &key, limits::LIST, |bytes| lines.push(bytes))
        {
            Ok(()) => {}
            Err(TextError::Damaged(why)) => return Err(damaged(why)),
            Err(TextError::Format(error)) => return Err(ListError::Fatal(error.into())),
        }
        lines.finish(self.head.statement.list_hash)
    }
}

enum ListError {
    Damaged(String),
    Fatal(FlowError),
}

struct Lines {
    reader: list::Reader,
    hasher: Hasher,
    line: Vec<u8>,
}

impl Lines {
    fn push(&mut self, mut bytes: &[u8]) -> Result<(), FormatError> {
        self.hasher.update(bytes);
        while let Some(end) = bytes.iter().position(|b| *b == b'\n') {
            let (head, rest) = bytes.split_at(end + 1);
            if self.line.is_empty() {
                self.reader.line(head)?;
            } else {
                self.line.extend_from_slice(head);
                self.reader.line(&self.line)?;
                self.line.clear();
            }
            bytes = rest;
        }
        self.line.extend_from_slice(bytes);
        FormatError::limit("the length of a line of the list", self.line.len() as u64, limits::LIST_LINE as u64)
    }

    fn finish(self, expected: Digest) -> Result<Vec<Entry>, ListError> {
        if !self.line.is_empty() || self.hasher.finish() != expected {
            return Err(ListError::Damaged("it is not the list that the head names".into()));
        }
        Ok(self.reader.finish())
    }
}
