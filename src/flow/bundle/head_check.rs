//! Files of volumes held against the bundle's head, with a key. Parts are opened chunk by chunk in the pass
//! that hashes them, and must be the files that the head names; seals, heads and list must be the bundle's.
//! Anybody can write a SHA256SUMS anew, so it is not believed about what the key can tell. What this does not
//! show: that the parts hold what the list says, which unpacking does; nor a seal that the given keys do not
//! open, such as the passphrase's.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use crate::base::digest::Digest;
use crate::flow::bundle::open::Bundle;
use crate::flow::bundle::sealed_text::{head_text, read_list};
use crate::format::head::{Part, PartKind};
use crate::format::limits;
use crate::format::part::{CHUNK, HEADER, Lead, SEALED_CHUNK};
use crate::format::seal::Seal;
use crate::stage::seal::{KeyError, Keyring};
use crate::stage::stream::PartOpener;
use crate::stage::volume::{self, HEADS, LIST, SEALS, Volume};

/// A file of a volume, and what is wrong with it.
pub(crate) type Wrong = (String, String);

/// What the head says of the files on volumes.
pub struct HeadCheck<'a> {
    bundle: &'a Bundle,
    keyring: &'a Keyring,
    parts: HashMap<String, &'a Part>,
    text: String,
    /// Whether the keys are those of a recipient: then they open every seal to the recipients.
    opens_seals: bool,
}

impl<'a> HeadCheck<'a> {
    /// `keyring` are the keys that opened the bundle.
    pub fn new(bundle: &'a Bundle, keyring: &'a Keyring) -> Self {
        let parts = bundle.head.parts.iter().map(|part| (part.file_name(), part)).collect();
        let mut check = Self { bundle, keyring, parts, text: bundle.head.encode(), opens_seals: false };
        let all = bundle.volumes.iter().flat_map(|volume| SEALS.map(|name| (volume, name)));
        check.opens_seals = all.into_iter().any(|(volume, name)| check.seal(volume, name) == Some(Ok(())));
        check
    }

    /// Whether a volume is of the bundle, by anything on it but its name.
    pub(crate) fn is_of(&self, volume: &Volume) -> bool {
        let begins = |name: &str, part: &Part| {
            volume.read_start(name, HEADER).is_ok_and(|(start, _)| start == part.header.as_slice())
        };
        let is_other = self.bundle.passed_over.iter().any(|other| other.dir == volume.dir);
        if is_other {
            return false;
        }
        self.bundle.owns(volume)
            || SEALS.into_iter().any(|name| self.seal(volume, name) == Some(Ok(())))
            || self.parts_on(volume).into_iter().any(|part| begins(&part.file_name(), part))
    }

    /// The parts that files of a volume are by their names.
    fn parts_on(&self, volume: &Volume) -> Vec<&'a Part> {
        volume.files.iter().filter_map(|file| self.parts.get(&file.name).copied()).collect()
    }

    /// What opens the part of that name.
    ///
    /// # Errors
    /// The head names none, or not so that it could be opened.
    pub(crate) fn part(&self, name: &str) -> Result<PartCheck<'a>, String> {
        let part = self.parts.get(name).ok_or("is no part that the head names")?;
        let (key, _) =
            self.bundle.keyring.open_header(&part.header[..]).map_err(|_| "has no usable header in the head")?;
        let statement = &self.bundle.head.statement;
        let chunks = statement.class.chunks();
        let opener = PartOpener::new(&key, &part.header, chunks);
        let chunk = Vec::with_capacity(SEALED_CHUNK);
        let bad = Vec::new();
        Ok(PartCheck {
            part,
            bundle: statement.bundle,
            opener,
            chunks,
            header: HEADER,
            chunk,
            index: 0,
            bad,
            lead: None,
        })
    }

    /// The volume's seals, heads and list that are not the bundle's.
    pub(crate) fn wrong_index(&self, volume: &Volume) -> Vec<Wrong> {
        let seals = SEALS.into_iter().filter_map(|name| match self.seal(volume, name)? {
            Err(why) if self.opens_seals => Some((name.to_string(), why)),
            _ => None,
        });
        let why = |name: &str| {
            if name == LIST { "does not hold the bundle's list" } else { "does not hold the bundle's head" }
        };
        let others = wrong_copies(volume, self.bundle, &self.text);
        seals.chain(others.into_iter().map(|name| (name.to_string(), why(name).to_string()))).collect()
    }

    /// Whether a seal is the bundle's; `None` where there is none.
    fn seal(&self, volume: &Volume, name: &str) -> Option<Result<(), String>> {
        let bytes = volume.read_small(name, limits::SEAL_FILE)?.ok()?;
        let text = match self.keyring.open_small(&bytes, 2048) {
            Ok(text) => text,
            Err(KeyError::Wrong) => return Some(Err("does not open with the key that opens the bundle".into())),
            Err(error) => return Some(Err(format!("cannot be opened: {error}"))),
        };
        let statement = &self.bundle.head.statement;
        let same = |seal: &Seal| seal.bundle == statement.bundle && seal.kcommit == statement.kcommit;
        Some(if Seal::parse(&text).is_ok_and(|seal| same(&seal)) { Ok(()) } else { Err("is not the bundle's".into()) })
    }

    /// The parts that the head names for a volume and that are not on it.
    pub(crate) fn missing_parts(&self, volume: &Volume) -> Vec<String> {
        let Some(number) = self.number_of(volume) else { return Vec::new() };
        let own = self.bundle.head.parts.iter().filter(|part| part.volume == number).map(Part::file_name);
        own.filter(|name| volume.file(name).is_none()).collect()
    }

    /// Which volume it is: the one that most of its parts belong to; without any, the one it is named as.
    fn number_of(&self, volume: &Volume) -> Option<u16> {
        let named = |number: &u16| volume.dir.file_name() == volume::folder(Path::new(""), *number).file_name();
        let mut counts: BTreeMap<u16, usize> = BTreeMap::new();
        self.parts_on(volume).into_iter().for_each(|part| *counts.entry(part.volume).or_default() += 1);
        let most = counts.into_iter().max_by_key(|(number, parts)| (*parts, named(number)));
        most.map(|(number, _)| number).or_else(|| (1..=self.bundle.head.statement.n).find(named))
    }
}

/// Whether list and heads of a volume are those of the bundle; `head` is the text of its head.
pub fn index_is_whole(volume: &Volume, bundle: &Bundle, head: &str) -> bool {
    let all_there = HEADS.into_iter().chain([LIST]).all(|name| volume.file(name).is_some());
    all_there && wrong_copies(volume, bundle, head).is_empty()
}

/// The copies of head and list on a volume that are not the bundle's.
fn wrong_copies(volume: &Volume, bundle: &Bundle, head: &str) -> Vec<&'static str> {
    let statement = &bundle.head.statement;
    let differs = |name: &&str| {
        let sealed = volume.read_small(name, limits::HEAD).and_then(Result::ok);
        let text = sealed.and_then(|sealed| head_text(&sealed, &bundle.keyring).ok());
        text.is_none_or(|text| text != head.as_bytes())
    };
    let is_list = || read_list(volume, &bundle.keyring, statement.tar, Some(statement.list_hash)).is_ok();
    let mut wrong: Vec<&str> = HEADS.into_iter().filter(|name| volume.file(name).is_some()).filter(differs).collect();
    if volume.file(LIST).is_some() && !is_list() {
        wrong.push(LIST);
    }
    wrong
}

/// A part that is opened while its file is read.
pub(crate) struct PartCheck<'a> {
    part: &'a Part,
    bundle: [u8; 16],
    opener: PartOpener,
    chunks: usize,
    /// Bytes of the file's own header that are still to come. They are not looked at: the head has the header.
    header: usize,
    /// What is read of the next chunk.
    chunk: Vec<u8>,
    /// Its index.
    index: usize,
    bad: Vec<usize>,
    /// What the first chunk says of the part.
    lead: Option<Lead>,
}

impl PartCheck<'_> {
    /// Takes the next bytes of the file.
    pub(crate) fn take(&mut self, bytes: &[u8]) {
        let passed = self.header.min(bytes.len());
        self.header -= passed;
        let mut rest = &bytes[passed..];
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

    /// Whether it is the part that the head names; `sum` is the SHA-256 of what was read.
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
