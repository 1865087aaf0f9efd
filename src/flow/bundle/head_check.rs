//! Checks files of volumes against the bundle's head, with the bundle's key. A part is opened chunk by chunk in the
//! pass that hashes it, and must be the file that the head names; seals, heads and lists must be the bundle's. Anyone
//! can write a new SHA256SUMS, so what the key can tell is never taken from there.
//!
//! Not guaranteed: that the parts hold what the list says, which only unpacking shows. A seal that the given keys do
//! not open, such as one to a passphrase, is not checked.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use crate::base::digest::Digest;
use crate::flow::bundle::open::Bundle;
use crate::flow::bundle::sealed_text::{head_text, read_list};
use crate::format::head::{Part, PartKind};
use crate::format::limits;
use crate::format::part::{CHUNK, HEADER, Lead, SEALED_CHUNK};
use crate::format::seal::Seal;
use crate::format::volume_number::VolumeNumber;
use crate::stage::seal::{KeyError, Keyring};
use crate::stage::stream::PartOpener;
use crate::stage::volume::{self, HEADS, LIST, SEALS, Volume};

/// The name of a file of a volume, and what is wrong with it.
pub(crate) type Wrong = (String, String);

/// Checks files of volumes against the head of one bundle.
pub(crate) struct HeadCheck<'a> {
    bundle: &'a Bundle,
    keyring: &'a Keyring,
    /// By file name.
    parts: HashMap<String, &'a Part>,
    /// The head's text.
    head_text: String,
    /// Whether the keys open some seal to the recipients. They are a recipient's then, and every such seal has to open.
    opens_seals: bool,
}

impl<'a> HeadCheck<'a> {
    /// Begins a check with the user's keys, which opened the bundle. Reads the seals of all its volumes.
    pub(crate) fn new(bundle: &'a Bundle, keyring: &'a Keyring) -> Self {
        let parts = bundle.head.parts.iter().map(|part| (part.file_name(), part)).collect();
        let mut check = Self { bundle, keyring, parts, head_text: bundle.head.encode(), opens_seals: false };
        check.opens_seals = bundle.volumes.iter().any(|volume| check.has_good_seal(volume));
        check
    }

    /// Whether a volume is of the bundle: by a head, a seal or the header of a part, never by its name. A volume that
    /// was passed over when the bundle was opened is not.
    pub(crate) fn is_of(&self, volume: &Volume) -> bool {
        if self.bundle.passed_over.iter().any(|other| other.dir == volume.dir) {
            return false;
        }
        self.bundle.owns(volume)
            || self.has_good_seal(volume)
            || self.parts_on(volume).into_iter().any(|part| has_start_of(volume, part))
    }

    fn has_good_seal(&self, volume: &Volume) -> bool {
        SEALS.into_iter().any(|name| self.check_seal(volume, name) == Some(Ok(())))
    }

    /// The parts that the files of a volume are named as.
    fn parts_on(&self, volume: &Volume) -> Vec<&'a Part> {
        volume.files.iter().filter_map(|file| self.parts.get(&file.name).copied()).collect()
    }

    /// Begins the check of the part with that file name.
    ///
    /// # Errors
    /// The head names no such part, or a header that the bundle's key does not open.
    pub(crate) fn part(&self, name: &str) -> Result<PartCheck<'a>, String> {
        let part = self.parts.get(name).ok_or("is no part that the head names")?;
        let (key, _) =
            self.bundle.keyring.open_header(&part.header[..]).map_err(|_| "has no usable header in the head")?;
        let statement = &self.bundle.head.statement;
        let chunks = statement.class.chunks();
        Ok(PartCheck {
            part,
            bundle: statement.bundle,
            opener: PartOpener::new(&key, &part.header, chunks),
            chunks,
            header_left: HEADER,
            chunk: Vec::with_capacity(SEALED_CHUNK),
            index: 0,
            bad: Vec::new(),
            lead: None,
        })
    }

    /// The seals, heads and list on a volume that are not the bundle's. Missing files are not among them.
    pub(crate) fn wrong_index(&self, volume: &Volume) -> Vec<Wrong> {
        let seals = SEALS.into_iter().filter_map(|name| match self.check_seal(volume, name)? {
            Err(why) if self.opens_seals => Some((name.to_string(), why)),
            Err(_) | Ok(()) => None,
        });
        let others = wrong_copies(volume, self.bundle, &self.head_text).into_iter().map(|name| {
            let why = if name == LIST { "does not hold the bundle's list" } else { "does not hold the bundle's head" };
            (name.to_string(), why.to_string())
        });
        seals.chain(others).collect()
    }

    /// Checks that a seal is the bundle's; `None` if the volume has none of that name, or it could not be read.
    fn check_seal(&self, volume: &Volume, name: &str) -> Option<Result<(), String>> {
        let bytes = volume.read_small(name, limits::SEAL_FILE)?.ok()?;
        let text = match self.keyring.open_small(&bytes, limits::SEAL_TEXT) {
            Ok(text) => text,
            Err(KeyError::Wrong) => return Some(Err("does not open with the key that opens the bundle".into())),
            Err(error) => return Some(Err(format!("cannot be opened: {error}"))),
        };
        let statement = &self.bundle.head.statement;
        Some(match Seal::parse(&text) {
            Ok(seal) if seal.bundle == statement.bundle && seal.kcommit == statement.kcommit => Ok(()),
            Ok(_) | Err(_) => Err("is not the bundle's".into()),
        })
    }

    /// File names of the parts that the head names for a volume and that it lacks; empty if it is not known which
    /// volume it is.
    pub(crate) fn missing_parts(&self, volume: &Volume) -> Vec<String> {
        let Some(number) = self.number_of(volume) else { return Vec::new() };
        let own = self.bundle.head.parts.iter().filter(|part| part.volume == number).map(Part::file_name);
        own.filter(|name| volume.file(name).is_none()).collect()
    }

    /// Which volume a folder is: the one that most of its parts belong to, or without parts the one it is named as. Of
    /// equal ones, the one that it is named as wins.
    fn number_of(&self, volume: &Volume) -> Option<VolumeNumber> {
        let mut counts: BTreeMap<VolumeNumber, usize> = BTreeMap::new();
        for part in self.parts_on(volume) {
            *counts.entry(part.volume).or_default() += 1;
        }
        let most = counts.into_iter().max_by_key(|(number, parts)| (*parts, is_named_as(volume, *number)));
        let mut all = VolumeNumber::all(self.bundle.head.statement.n);
        most.map(|(number, _)| number).or_else(|| all.find(|number| is_named_as(volume, *number)))
    }
}

/// Whether the volume's file with the name of a part begins with its header.
fn has_start_of(volume: &Volume, part: &Part) -> bool {
    volume.read_start(&part.file_name(), HEADER).is_ok_and(|(start, _)| start == part.header.as_slice())
}

fn is_named_as(volume: &Volume, number: VolumeNumber) -> bool {
    volume.dir.file_name() == volume::folder(Path::new(""), number).file_name()
}

/// Whether a volume has both heads and the list of the bundle; `head` is the text of the bundle's head.
pub(crate) fn index_is_whole(volume: &Volume, bundle: &Bundle, head: &str) -> bool {
    let has_all = HEADS.into_iter().chain([LIST]).all(|name| volume.file(name).is_some());
    has_all && wrong_copies(volume, bundle, head).is_empty()
}

/// The names of heads and list on a volume that are not the bundle's.
fn wrong_copies(volume: &Volume, bundle: &Bundle, head: &str) -> Vec<&'static str> {
    let statement = &bundle.head.statement;
    let keyring = &bundle.keyring;
    let heads = HEADS.into_iter().filter(|name| volume.file(name).is_some());
    let differing = heads.filter(|name| head_on(volume, name, keyring).is_none_or(|text| text != head.as_bytes()));
    let mut wrong: Vec<&str> = differing.collect();
    if volume.file(LIST).is_some() && read_list(volume, keyring, statement.tar, Some(statement.list_hash)).is_err() {
        wrong.push(LIST);
    }
    wrong
}

/// The text of a volume's head of that name; `None` if it cannot be read or opened.
fn head_on(volume: &Volume, name: &str, keyring: &Keyring) -> Option<Vec<u8>> {
    let sealed = volume.read_small(name, limits::HEAD)?.ok()?;
    head_text(&sealed, keyring).ok()
}

/// A part that is opened and checked while its file is read.
pub(crate) struct PartCheck<'a> {
    part: &'a Part,
    /// The bundle's name.
    bundle: [u8; 16],
    opener: PartOpener,
    /// How many chunks the part has.
    chunks: usize,
    /// Bytes of the file's own header that are still to come. They are skipped, since the head has the header.
    header_left: usize,
    /// The current chunk, as far as it was read.
    chunk: Vec<u8>,
    /// The index of the current chunk.
    index: usize,
    /// Indices of the chunks that do not open, ascending.
    bad: Vec<usize>,
    /// What the first chunk says of the part; `None` if it does not open or does not begin as a part does.
    lead: Option<Lead>,
}

impl PartCheck<'_> {
    /// Takes the next bytes of the file, in pieces of any length. What follows the last chunk is left to the digest.
    pub(crate) fn take(&mut self, bytes: &[u8]) {
        let skipped = self.header_left.min(bytes.len());
        self.header_left -= skipped;
        let mut rest = &bytes[skipped..];
        while !rest.is_empty() && self.index < self.chunks {
            let (now, later) = rest.split_at(rest.len().min(SEALED_CHUNK - self.chunk.len()));
            self.chunk.extend_from_slice(now);
            rest = later;
            if self.chunk.len() == SEALED_CHUNK {
                self.open_chunk();
            }
        }
    }

    fn open_chunk(&mut self) {
        if !self.opener.open(self.index, &mut self.chunk) {
            self.bad.push(self.index);
        } else if self.index == 0 {
            self.lead = Lead::parse(&self.chunk[..CHUNK]).ok();
        }
        self.chunk.clear();
        self.index += 1;
    }

    /// Ends the check: `sum` is the SHA-256 of the file.
    ///
    /// # Errors
    /// The file is not the part that the head names. The text says why, without the file's name.
    pub(crate) fn finish(mut self, sum: Digest) -> Result<(), String> {
        self.bad.extend(self.index..self.chunks);
        if let Some(first) = self.bad.first() {
            let more = if self.bad.len() > 1 { format!(" and {} more", self.bad.len() - 1) } else { String::new() };
            return Err(format!("does not open with the bundle's key in chunk {} of {}{more}", first + 1, self.chunks));
        }
        if let PartKind::Data { offset, .. } = self.part.kind {
            let named = Lead { bundle: self.bundle, number: self.part.number, offset };
            let lead = self.lead.ok_or("opens, but does not begin as a part does")?;
            if let Some(why) = lead.difference(&named) {
                return Err(format!("opens, but {why}"));
            }
        }
        if sum == self.part.sha256 { Ok(()) } else { Err("opens, but its SHA-256 is not the one in the head".into()) }
    }
}

#[cfg(test)]
mod tests;
