//! The heads on volumes, each statement once: which bundles there are. Of the copies of one statement the first that is
//! whole is used; of the others no more than the statement is read. What is wrong with a copy is noted, and the next one
//! is tried. What this does not tell: which of several bundles is meant.

use std::collections::BTreeSet;
use std::path::PathBuf;

use crate::flow::bundle::sealed_text::{head_start, head_text, of_this_bundle};
use crate::flow::bundle::unseal::BundleKey;
use crate::flow::error::{BadCopy, CopyFault};
use crate::format::head::Head;
use crate::format::{FormatError, limits};
use crate::plan::choose::{Choice, FingerprintStart, choose};
use crate::stage::volume::{HEADS, Volume};

/// A bundle, by its head.
pub struct FoundHead {
    /// The key that opens it, by index.
    pub key: usize,
    /// Its fingerprint.
    pub fingerprint: String,
    /// Volumes that have a head with this statement, by index.
    pub volumes: BTreeSet<usize>,
    start: Vec<u8>,
    /// The first copy that is whole.
    at: HeadCopy,
    /// What that says, if it may be the one that is wanted.
    head: Option<Head>,
}

/// A file of a volume.
#[derive(Clone, Copy)]
struct HeadCopy {
    volume: usize,
    name: &'static str,
}

/// All heads of these volumes.
#[derive(Default)]
pub struct Heads {
    /// Each statement once.
    pub found: Vec<FoundHead>,
    /// Copies that cannot be used.
    pub bad: Vec<BadCopy>,
}

/// What a copy turned out to be.
enum Looked {
    /// Of a statement that is known, by index.
    Known(usize),
    /// Of another, opened by the key with that index.
    New(usize, Box<Head>),
}

impl Heads {
    /// Reads the heads that these keys open.
    pub fn find(volumes: &[Volume], keys: &[BundleKey], wanted: Option<&FingerprintStart>) -> Self {
        let mut heads = Heads::default();
        for (index, volume) in volumes.iter().enumerate() {
            for name in HEADS.into_iter().filter(|name| volume.file(name).is_some()) {
                match heads.look_at(volume, name, keys) {
                    Ok(Looked::Known(known)) => drop(heads.found[known].volumes.insert(index)),
                    Ok(Looked::New(key, head)) => heads.add(key, *head, HeadCopy { volume: index, name }, wanted),
                    Err(fault) => heads.bad.push(BadCopy { path: volume.path(name), fault }),
                }
            }
        }
        heads
    }

    fn look_at(&self, volume: &Volume, name: &str, keys: &[BundleKey]) -> Result<Looked, CopyFault> {
        let key = key_of(volume, name, keys)?;
        let same_key = || self.found.iter().enumerate().filter(|(_, found)| found.key == key);
        if let Some(longest) = same_key().map(|(_, found)| found.start.len()).max() {
            let start = head_start(volume, name, &keys[key].keyring, longest)?;
            if let Some((known, _)) = same_key().find(|(_, found)| start.starts_with(&found.start)) {
                return Ok(Looked::Known(known));
            }
        }
        Ok(Looked::New(key, Box::new(read(volume, name, &keys[key])?)))
    }

    fn add(&mut self, key: usize, head: Head, at: HeadCopy, wanted: Option<&FingerprintStart>) {
        let fingerprint = head.statement.fingerprint();
        let may_be_it = choose([fingerprint.as_str()], wanted) == Choice::One(0);
        // Heads are large, and there may be many on a hostile drive: one is kept.
        let is_kept = may_be_it && self.found.iter().all(|found| found.head.is_none());
        let (start, volumes) = (head.start().into_bytes(), BTreeSet::from([at.volume]));
        self.found.push(FoundHead { key, fingerprint, volumes, start, at, head: is_kept.then_some(head) });
    }
}

impl FoundHead {
    /// What it says.
    pub fn read(self, volumes: &[Volume], keys: &[BundleKey]) -> Result<Head, BadCopy> {
        let volume = &volumes[self.at.volume];
        let bad = |fault| BadCopy { path: volume.path(self.at.name), fault };
        self.head.map_or_else(|| read(volume, self.at.name, &keys[self.key]).map_err(bad), Ok)
    }

    /// The folders of its volumes.
    pub fn places(&self, volumes: &[Volume]) -> Vec<PathBuf> {
        self.volumes.iter().map(|index| volumes[*index].dir.clone()).collect()
    }
}

/// The key that opens the head's header.
fn key_of(volume: &Volume, name: &str, keys: &[BundleKey]) -> Result<usize, CopyFault> {
    let (start, _) = volume.read_start(name, limits::AGE_HEADER).map_err(|fault| CopyFault::from(&fault))?;
    let mut fault = None;
    for (index, key) in keys.iter().enumerate() {
        match key.keyring.open_header(&start) {
            Ok(_) => return Ok(index),
            Err(error) => fault = Some(of_this_bundle(error)),
        }
    }
    Err(fault.unwrap_or(CopyFault::Wrong))
}

fn read(volume: &Volume, name: &str, key: &BundleKey) -> Result<Head, CopyFault> {
    let gone = || CopyFault::Unread("it was there a moment ago".into());
    let sealed = volume.read_small(name, limits::HEAD).ok_or_else(gone)??;
    let head = Head::parse(&head_text(&sealed, &key.keyring)?).map_err(CopyFault::Broken)?;
    if head.statement.bundle != key.seal.bundle || head.statement.kcommit != key.seal.kcommit {
        let why = "it is sealed for this bundle but names another";
        return Err(CopyFault::Broken(FormatError::malformed("the head", 0, why)));
    }
    match head.statement.profile.as_str() {
        "open" => Ok(head),
        profile => Err(CopyFault::Reserved(format!("it has the profile {profile}, which this pouch cannot read yet"))),
    }
}
