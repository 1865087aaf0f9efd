//! Makes a head for a bundle that has none, so that everything that works on an opened bundle works on it. Data parts
//! name themselves: the first chunk of each holds its number and its place in the tar. A file is known by that chunk,
//! whatever its name is.
//!
//! Not guaranteed: that a part is where it says. Only the bundle's key vouches for a lead. Parity is not used, because
//! nothing names the stripes.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::fs::FileExt as _;

use crate::base::digest::Digest;
use crate::base::monitor::{Note, NoteKind};
use crate::base::path::as_bytes;
use crate::base::secret::FileKey;
use crate::base::text::hex;
use crate::flow::FlowError;
use crate::flow::bundle::open::{Bundle, Unsealed};
use crate::flow::bundle::part_finder::{Finder, Loaded};
use crate::flow::error::BundleError;
use crate::format::head::{Head, Part, PartKind};
use crate::format::limits;
use crate::format::part::{BLOCK, CHUNK, Class, HEADER, Lead, PartBuf, SEALED_CHUNK, Trail, file_name, is_part};
use crate::format::statement::Statement;
use crate::format::volume_number::VolumeNumber;
use crate::stage::seal::{Keyring, part_header};
use crate::stage::stream::PartOpener;
use crate::stage::volume::{Volume, VolumeFile};

/// The largest tar offset. It stands for the end of a part of which nothing says where it ends.
pub(crate) const FAR: u64 = i64::MAX as u64;

/// A part that names itself.
struct KnownPart {
    lead: Lead,
    header: Box<[u8; HEADER]>,
}

/// What the files of all volumes say together.
struct LeadSurvey<'a> {
    /// The bundle's name, as its seal has it.
    bundle: [u8; 16],
    keyring: &'a Keyring,
    /// The parts, by number.
    parts: BTreeMap<u32, KnownPart>,
    /// The size of all parts; `None` until a file proves it.
    class: Option<Class>,
    /// Bytes of the longest file that is a part.
    longest: u64,
    notes: Vec<Note>,
}

/// Returns the bundle with a head made from the leads of its parts. The statement of that head says nothing but the
/// bundle's name and class, and its fingerprint is not the bundle's.
///
/// # Errors
/// No data part of the bundle opens.
pub(crate) fn from_leads(unsealed: Unsealed) -> Result<Bundle, FlowError> {
    let mut survey = LeadSurvey::new(unsealed.seal.bundle, &unsealed.keyring);
    for volume in &unsealed.volumes {
        for found in volume.files.iter().filter(|found| found.regular) {
            survey.look_at(volume, found);
        }
    }
    survey.drop_unordered();
    if survey.parts.is_empty() {
        let why = "on these volumes there is no head, and no data part of the bundle that opens";
        return Err(BundleError::Missing(why.into()).into());
    }
    let LeadSurvey { parts: known, class, longest, mut notes, .. } = survey;
    let statement = statement(&unsealed, class.unwrap_or_else(|| class_for(longest)));
    let (nowhere, _) = part_header(&unsealed.recipient);
    // Parts are read under a first table, to find the trails from which the final one is made.
    let parts = table(&known, &BTreeMap::new(), &nowhere);
    let mut bundle = unsealed.with(Head { statement, auth: Vec::new(), parts });
    bundle.notes.append(&mut notes);
    bundle.head.parts = table(&known, &trails(&bundle, &known)?, &nowhere);
    Ok(bundle)
}

/// The smallest class with parts of that many bytes: files that are all cut short prove none.
fn class_for(longest: u64) -> Class {
    let fitting = Class::ALL.into_iter().find(|class| class.file_len() as u64 >= longest);
    fitting.unwrap_or(Class::ALL[4])
}

impl<'a> LeadSurvey<'a> {
    fn new(bundle: [u8; 16], keyring: &'a Keyring) -> Self {
        Self { bundle, keyring, parts: BTreeMap::new(), class: None, longest: 0, notes: Vec::new() }
    }

    /// Takes a file as a part. If it is none, and has the name of a data part, a note says why.
    fn look_at(&mut self, volume: &Volume, found: &VolumeFile) {
        let Err(why) = self.take(volume, found) else { return };
        if is_part(&found.name) && found.name.ends_with(".age") {
            self.notes.push(Note::new(NoteKind::Volume, as_bytes(&volume.path(&found.name)), why));
        }
    }

    /// Takes a file as the part that its first chunk says it is.
    ///
    /// # Errors
    /// Why the file is not taken, as a phrase for the user.
    fn take(&mut self, volume: &Volume, found: &VolumeFile) -> Result<(), Cow<'static, str>> {
        if volume.open(&found.name).is_err_and(|fault| fault.is_denied()) {
            return Err("could not be read by you".into());
        }
        let Some(FirstChunk { lead, key, header }) = first_chunk(self.keyring, volume, found) else {
            return Err("has a part's name, and does not begin like a part of this bundle that is whole".into());
        };
        if lead.bundle != self.bundle {
            return Err(format!("says that it is a part of another bundle, {}", hex(&lead.bundle)).into());
        }
        if !is_possible(&lead) {
            return Err("says that it is a part that no bundle can have".into());
        }
        self.longest = self.longest.max(found.len);
        self.class = self.class.or_else(|| class_of(volume, found, &key, &header));
        match self.parts.get(&lead.number) {
            Some(known) if known.header != header => {
                return Err("says that it is a part that another file is already".into());
            }
            Some(_) => {}
            None => drop(self.parts.insert(lead.number, KnownPart { lead, header })),
        }
        Ok(())
    }

    /// Drops parts whose place cannot follow those of the parts before them.
    fn drop_unordered(&mut self) {
        let mut end = 0;
        let notes = &mut self.notes;
        self.parts.retain(|number, known| {
            let follows = known.lead.offset >= end && (*number == 1) == (known.lead.offset == 0);
            if follows {
                // Each part holds at least a block.
                end = known.lead.offset + BLOCK;
            } else {
                let text = "says that it begins where it cannot, after what other parts say; it was not used";
                notes.push(Note::new(NoteKind::Volume, file_name(*number).as_bytes(), text));
            }
            follows
        });
    }
}

/// Whether some bundle may have a part with that number at that place.
fn is_possible(lead: &Lead) -> bool {
    (1..=limits::PARTS).contains(&lead.number) && lead.offset.is_multiple_of(BLOCK) && lead.offset <= FAR
}

/// What the first chunk of a file says, and what opens the others.
struct FirstChunk {
    lead: Lead,
    key: FileKey,
    header: Box<[u8; HEADER]>,
}

/// `None` if the first chunk does not open with the bundle's key, or holds no lead.
fn first_chunk(keyring: &Keyring, volume: &Volume, found: &VolumeFile) -> Option<FirstChunk> {
    let (mut start, _) = volume.read_start(&found.name, HEADER + SEALED_CHUNK).ok()?;
    let header: Box<[u8; HEADER]> = Box::new(*start.first_chunk()?);
    let (key, len) = keyring.open_header(&header[..]).ok()?;
    let chunk = start.get_mut(HEADER..HEADER + SEALED_CHUNK).filter(|_| len + 16 == HEADER)?;
    // A part of any class has several chunks, so its first one is never the last.
    PartOpener::new(&key, &header, Class::ALL[0].chunks()).open(0, chunk).then_some(())?;
    Some(FirstChunk { lead: Lead::parse(&chunk[..CHUNK]).ok()?, key, header })
}

/// The class whose last chunk the file has. age marks the last chunk, so one that opens as such proves the class.
fn class_of(volume: &Volume, found: &VolumeFile, key: &FileKey, header: &[u8; HEADER]) -> Option<Class> {
    let file = volume.open(&found.name).ok()?;
    let mut classes = Class::ALL.into_iter().filter(|class| class.file_len() as u64 <= found.len);
    classes.find(|class| opens_at_end(&file, *class, &PartOpener::new(key, header, class.chunks())))
}

/// Whether the file has the last chunk of a part of that class.
fn opens_at_end(file: &File, class: Class, opener: &PartOpener) -> bool {
    let last = class.chunks() - 1;
    let mut chunk = vec![0; SEALED_CHUNK];
    file.read_exact_at(&mut chunk, (HEADER + last * SEALED_CHUNK) as u64).is_ok() && opener.open(last, &mut chunk)
}

/// The trails, by number, of the parts whose successor is missing: nothing else says where these parts end.
fn trails(bundle: &Bundle, known: &BTreeMap<u32, KnownPart>) -> Result<BTreeMap<u32, Trail>, FlowError> {
    let finder = Finder::new(bundle);
    let class = bundle.head.statement.class;
    let mut buf = PartBuf::new(class);
    let mut trails = BTreeMap::new();
    for number in known.keys().filter(|number| !known.contains_key(&(**number + 1))) {
        let loaded = finder.load(&bundle.head.parts[*number as usize - 1], &mut buf)?;
        // If nothing was read, the buffer still holds another part.
        let is_read = !matches!(loaded, Loaded::Missing | Loaded::Unread { .. });
        let trail = is_read.then(|| buf.trail(&loaded.bad(class.chunks()))).flatten();
        trails.extend(trail.map(|trail| (*number, trail)));
    }
    Ok(trails)
}

/// Makes a parts table without gaps. A missing part gets the header `nowhere`, which no file has. Of several missing
/// parts in a row, the first gets the stretch of all, and the others are empty. If the tar goes on behind the last
/// known part, one more part stands for the rest.
fn table(known: &BTreeMap<u32, KnownPart>, trails: &BTreeMap<u32, Trail>, nowhere: &[u8; HEADER]) -> Vec<Part> {
    let mut table = Vec::new();
    let mut at = 0;
    for (number, KnownPart { lead, header }) in known {
        while table.len() as u32 + 1 < *number {
            table.push(data_part(table.len(), nowhere, at, lead.offset));
            at = lead.offset;
        }
        let bound = known.range(number + 1..).next().map_or(FAR, |(_, known)| known.lead.offset);
        let has_successor = known.contains_key(&(number + 1));
        let trail = trails.get(number).filter(|_| !has_successor);
        at = trail.map_or(bound, |trail| lead.offset.saturating_add(trail.length).min(bound));
        table.push(data_part(table.len(), header, lead.offset, at));
    }
    let last_trail = known.keys().next_back().and_then(|last| trails.get(last));
    if last_trail.is_some_and(|trail| !trail.last) {
        table.push(data_part(table.len(), nowhere, at, FAR));
    }
    table
}

/// A line of the table, `before` other ones. Volume and digest are not known, and nothing compares them.
fn data_part(before: usize, header: &[u8; HEADER], offset: u64, end: u64) -> Part {
    let kind = PartKind::Data { offset, length: end - offset };
    let header = Box::new(*header);
    Part { number: before as u32 + 1, kind, shard: None, volume: VolumeNumber::NONE, sha256: Digest::ZERO, header }
}

/// A statement that no packer wrote: the bundle's name and class, and the largest tar.
fn statement(unsealed: &Unsealed, class: Class) -> Statement {
    Statement {
        bundle: unsealed.seal.bundle,
        kcommit: unsealed.seal.kcommit,
        profile: "open".into(),
        scheme: None,
        t: None,
        n: 1,
        class,
        parts: 0,
        tar: FAR,
        parts_hash: Digest::ZERO,
        list_hash: Digest::ZERO,
        date: None,
        audience: None,
        seq: None,
        reply: None,
    }
}

#[cfg(test)]
mod tests;
