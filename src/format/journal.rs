//! The journal of a packing: what a later run needs to go on where an earlier run stopped (FORMAT appendix A). A copy
//! lies on up to two drives until all volumes are complete, and holds nothing that opens the bundle. Lines have no
//! checks yet here (`format/checked_lines.rs` adds them). Nothing authenticates a journal.

use std::collections::BTreeMap;

use crate::base::digest::Digest;
use crate::base::text::{base64, hex, unbase64, unhex};
use crate::format::checked_lines;
use crate::format::head::{Part, PartKind};
use crate::format::lines::Lines;
use crate::format::part::Class;
use crate::format::recipe::Recipe;
use crate::format::seal::{ALL_SEALS, PASSPHRASE_SEAL};
use crate::format::stripe::Scheme;
use crate::format::volume_number::VolumeNumber;
use crate::format::{FormatError, check_version, limits, number};

/// The name of its file.
pub(crate) const JOURNAL: &str = "journal";

const WHAT: &str = "the journal";
/// The line before the lines about the manifests if no file has a flag. Without it a later run packs the manifests
/// again, because that run may find other files changed.
pub const ALL_CLEAN: &str = "c\n";
/// Most bytes of tar in one range.
const LONGEST: u64 = 64 << 20;
/// Most runs of frames that all recipes together spell out: more than any tar has, to bound a planted journal.
const SPELLED: u64 = 1 << 22;

/// What is fixed when packing begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Opening {
    /// The bundle's random name.
    pub(crate) bundle: [u8; 16],
    /// R, to which parts, heads and list are sealed. It is secret, for parts can be forged with it.
    pub(crate) recipient: String,
    /// What the seals commit to.
    pub(crate) kcommit: Digest,
    pub(crate) class: Class,
    /// `None` without parity.
    pub(crate) scheme: Option<Scheme>,
    /// `H("options", ...)` over what the user must ask for again.
    pub(crate) options: Digest,
    /// `H("whom", ...)` over recipients and sources, so that recipients cannot be tried without the sources.
    pub(crate) whom: Digest,
    /// How many volumes the bundle has.
    pub(crate) volumes: u16,
    pub(crate) seals: Vec<VolumeSeal>,
    /// For each entry of the walk, 8 bytes of a hash of its path, type, size, mode and times.
    pub(crate) stamps: Vec<u64>,
}

/// The file of a seal on one of the volumes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VolumeSeal {
    pub(crate) volume: VolumeNumber,
    pub(crate) name: String,
    pub(crate) sha256: Digest,
}

/// A range of the tar that was read whole and unchanged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReadRange {
    /// Tar offset of its first byte.
    pub(crate) start: u64,
    /// In bytes.
    pub(crate) len: u64,
    /// XXH3-128 of its bytes.
    pub(crate) hash: u128,
}

/// A part that was written to its drive and synced.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WrittenPart {
    /// From 1; data and parity parts are numbered separately.
    pub(crate) number: u32,
    pub(crate) kind: PartKind,
    pub(crate) volume: VolumeNumber,
    /// SHA-256 of its file.
    pub(crate) sha256: Digest,
}

/// A journal as a drive kept it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Journal {
    pub opening: Opening,
    /// In the order of the lines.
    pub reads: Vec<ReadRange>,
    /// In the order of the lines; of two parts with one number the later counts.
    pub parts: Vec<WrittenPart>,
    /// How data parts were made, by their numbers.
    pub recipes: BTreeMap<u32, Recipe>,
    /// Whether the line [`ALL_CLEAN`] is there: the manifests were packed with a digest for every file.
    pub is_clean: bool,
    /// Lines that the drive did not keep. What they said is unknown.
    pub lost: usize,
}

impl Opening {
    /// Whether a passphrase opens the bundle.
    pub(crate) fn takes_passphrase(&self) -> bool {
        self.seals.iter().any(|seal| seal.name == PASSPHRASE_SEAL)
    }

    /// The lines that a journal begins with, up to `BEGUN`.
    pub fn encode(&self) -> String {
        let scheme = self.scheme.map_or("-".into(), |scheme| format!("{} {} {}", scheme.k, scheme.m, scheme.c));
        let mut out = format!(
            "pouch-journal 1\nbundle {}\nrecipient {}\nkcommit {:?}\nclass {}\nscheme {scheme}\noptions {:?}\nwhom {:?}\nvolumes {}\n",
            hex(&self.bundle),
            self.recipient,
            self.kcommit,
            self.class.mib(),
            self.options,
            self.whom,
            self.volumes,
        );
        out.push_str(&format!("SEALS {}\n", self.seals.len()));
        for VolumeSeal { volume, name, sha256 } in &self.seals {
            out.push_str(&format!("{volume} {name} {sha256:?}\n"));
        }
        let stamps: Vec<u8> = self.stamps.iter().flat_map(|stamp| stamp.to_be_bytes()).collect();
        out.push_str(&format!("STAMPS {}\nBEGUN\n", base64(&stamps)));
        out
    }

    fn parse(lines: &mut Lines) -> Result<Self, FormatError> {
        check_version(WHAT, lines.field("pouch-journal ")?)?;
        let bundle = unhex(lines.field("bundle ")?).ok_or_else(|| lines.bad("it is no bundle's name"))?;
        let recipient = lines.field("recipient ")?.to_string();
        let kcommit = digest(lines, "kcommit ")?;
        let class = lines.number::<u16>("class ", 1 << 10)?;
        let class = Class::ALL.into_iter().find(|known| known.mib() == class);
        let class = class.ok_or_else(|| lines.bad("there is no such class"))?;
        let scheme = match lines.optional("scheme ")? {
            None => None,
            Some(text) => Some(scheme(text).ok_or_else(|| lines.bad("it is no scheme"))?),
        };
        let options = digest(lines, "options ")?;
        let whom = digest(lines, "whom ")?;
        let volumes = lines.number("volumes ", limits::VOLUMES.into())?;
        let mut seals = Vec::new();
        for _ in 0..lines.count("SEALS ", 3 * u32::from(limits::VOLUMES))? {
            seals.push(seal(lines.next()?).ok_or_else(|| lines.bad("it is no line about a seal"))?);
        }
        let stamps = unbase64(lines.field("STAMPS ")?).filter(|stamps| stamps.len().is_multiple_of(8));
        let stamps = stamps.ok_or_else(|| lines.bad("it is no base64 of stamps"))?;
        let stamps = stamps.chunks_exact(8).map(|eight| u64::from_be_bytes(eight.try_into().expect("8 bytes")));
        let stamps = stamps.collect();
        lines.last(checked_lines::BEGUN)?;
        Ok(Self { bundle, recipient, kcommit, class, scheme, options, whom, volumes, seals, stamps })
    }
}

fn digest(lines: &mut Lines, key: &str) -> Result<Digest, FormatError> {
    let text = lines.field(key)?;
    unhex(text).map(Digest).ok_or_else(|| lines.bad("it is no digest"))
}

fn scheme(text: &str) -> Option<Scheme> {
    let mut numbers = text.split(' ').map(number::<u16>);
    let scheme = Scheme::new(numbers.next()??, numbers.next()??, numbers.next()??)?;
    numbers.next().is_none().then_some(scheme)
}

fn seal(line: &str) -> Option<VolumeSeal> {
    let mut words = line.split(' ');
    let volume = volume(words.next()?)?;
    let name = words.next()?;
    let sum = words.next()?;
    // A run writes files under these names, so a planted one must not pass.
    let sane = ALL_SEALS.contains(&name) && words.next().is_none();
    sane.then_some(VolumeSeal { volume, name: name.to_string(), sha256: Digest(unhex(sum)?) })
}

/// The number of a volume, if a bundle can have so many.
fn volume(word: &str) -> Option<VolumeNumber> {
    number(word).filter(|number| (1..=limits::VOLUMES).contains(number)).map(VolumeNumber::new)
}

impl ReadRange {
    /// Its line, with LF.
    pub fn encode(&self) -> String {
        format!("r {} {} {:032x}\n", self.start, self.len, self.hash)
    }
}

/// The line about how data part `number` was made.
pub fn recipe(number: u32, recipe: &Recipe) -> String {
    format!("m {number} {}\n", recipe.encode())
}

impl WrittenPart {
    /// What the journal notes of a sealed part.
    pub(crate) fn of(part: &Part) -> Self {
        Self { number: part.number, kind: part.kind, volume: part.volume, sha256: part.sha256 }
    }

    pub(crate) fn file_name(&self) -> String {
        self.kind.file_name(self.number)
    }

    /// Its line, with LF.
    pub fn encode(&self) -> String {
        let Self { number, volume, sha256, .. } = self;
        match self.kind {
            PartKind::Data { offset, length } => format!("d {number} {volume} {sha256:?} {offset} {length}\n"),
            PartKind::Parity => format!("p {number} {volume} {sha256:?}\n"),
        }
    }
}

impl Journal {
    /// Parses a journal. Lines behind the opening that do not fit their checks are left out; the first line that fits
    /// and is not understood ends the journal.
    ///
    /// # Errors
    /// The opening is damaged, or a later version wrote it.
    pub fn parse(text: &[u8]) -> Result<Self, FormatError> {
        // A later version may look different from the second line on, so its number is read first.
        if let Some(text) = checked_lines::fitting(text).next().and_then(|line| line.strip_prefix("pouch-journal ")) {
            check_version(WHAT, text)?;
        }
        let kept = checked_lines::read(WHAT, text)?;
        let opening = Opening::parse(&mut Lines::of(WHAT, &kept.opening))?;
        let mut reads = Vec::new();
        let mut parts = Vec::new();
        let mut recipes = BTreeMap::new();
        let mut spelled = 0;
        let mut is_clean = false;
        for line in kept.lines {
            let mut words = line.split(' ');
            let known = match words.next() {
                Some("r") => read(words).map(|read| reads.push(read)),
                Some("c") => words.next().is_none().then(|| is_clean = true),
                Some("d") => part(words, true).map(|part| parts.push(part)),
                Some("p") => part(words, false).map(|part| parts.push(part)),
                Some("m") => made(words)
                    .filter(|(_, recipe)| {
                        spelled += recipe.frames.len() as u64;
                        spelled <= SPELLED
                    })
                    .map(|(number, recipe)| drop(recipes.insert(number, recipe))),
                _ => None,
            };
            if known.is_none() {
                break;
            }
        }
        Ok(Self { opening, reads, parts, recipes, is_clean, lost: kept.lost })
    }
}

/// What the intact lines of a damaged journal still tell about whose volumes these are: the seals, and how many volumes
/// there are, or 0.
pub(crate) fn remains(text: &[u8]) -> (Vec<VolumeSeal>, u16) {
    let volumes = checked_lines::fitting(text).find_map(|line| number(line.strip_prefix("volumes ")?));
    (checked_lines::fitting(text).filter_map(seal).collect(), volumes.unwrap_or(0))
}

impl PartKind {
    fn is_within(self, most: u64) -> Option<Self> {
        match self {
            PartKind::Data { offset, length } if offset > most || length > most => None,
            other => Some(other),
        }
    }
}

fn read<'a>(mut words: impl Iterator<Item = &'a str>) -> Option<ReadRange> {
    let start = number(words.next()?)?;
    let len = number(words.next()?)?;
    let hash = u128::from_be_bytes(unhex(words.next()?)?);
    let sane = start <= limits::TAR && (1..=LONGEST).contains(&len) && words.next().is_none();
    sane.then_some(ReadRange { start, len, hash })
}

fn part<'a>(mut words: impl Iterator<Item = &'a str>, data: bool) -> Option<WrittenPart> {
    let number_ = number(words.next()?)?;
    let volume = volume(words.next()?)?;
    let sha256 = Digest(unhex(words.next()?)?);
    let kind = if data {
        PartKind::Data { offset: number(words.next()?)?, length: number(words.next()?)? }.is_within(limits::TAR)?
    } else {
        PartKind::Parity
    };
    let sane = (1..=limits::PARTS).contains(&number_) && words.next().is_none();
    sane.then_some(WrittenPart { number: number_, kind, volume, sha256 })
}

fn made<'a>(mut words: impl Iterator<Item = &'a str>) -> Option<(u32, Recipe)> {
    let number = number(words.next()?).filter(|number| (1..=limits::PARTS).contains(number))?;
    let recipe = Recipe::parse(words.next()?, words.next()?, words.next()?).ok()?;
    let sane = recipe.offset <= limits::TAR && recipe.length() <= limits::TAR && words.next().is_none();
    sane.then_some((number, recipe))
}

#[cfg(test)]
mod tests;
