//! A bundle without a head: its data parts say themselves which they are. What a head would say
//! is put together from them, as far as it goes, so that all that works on an opened bundle works.
//!
//! A part is known by its first chunk, whatever its name: it opens with the bundle's key and
//! names bundle, number and tar offset. There is no other proof of where it belongs.

use std::borrow::Cow;
use std::collections::BTreeMap;
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
use crate::stage::seal::part_header;
use crate::stage::stream::PartOpener;
use crate::stage::volume::{Volume, VolumeFile};

/// Where a tar ends at the latest.
pub const FAR: u64 = i64::MAX as u64;

/// A part that names itself.
struct KnownPart {
    lead: Lead,
    header: Box<[u8; HEADER]>,
}

/// What files are, taken together.
#[derive(Default)]
struct LeadSurvey {
    /// By number.
    parts: BTreeMap<u32, KnownPart>,
    /// The size of all parts, once one proves it.
    class: Option<Class>,
    /// The longest part.
    longest: u64,
    notes: Vec<Note>,
}

/// The bundle with a head made of what its parts say. Its statement says nothing but the class.
pub fn from_leads(unsealed: Unsealed) -> Result<Bundle, FlowError> {
    let mut survey = LeadSurvey::default();
    for volume in &unsealed.volumes {
        for found in volume.files.iter().filter(|found| found.regular) {
            survey.look_at(&unsealed, volume, found);
        }
    }
    survey.drop_unordered();
    if survey.parts.is_empty() {
        let why = "on these volumes there is no head, and no data part of the bundle that opens";
        return Err(BundleError::Missing(why.into()).into());
    }
    let LeadSurvey { parts: known, class, longest, mut notes } = survey;
    let class = class.or(Class::ALL.into_iter().find(|class| class.file_len() as u64 >= longest));
    let statement = statement(&unsealed, class.unwrap_or(Class::ALL[4]));
    let (nowhere, _) = part_header(&unsealed.recipient);
    let parts = table(&known, &BTreeMap::new(), &nowhere);
    let mut bundle = unsealed.with(Head { statement, auth: Vec::new(), parts });
    bundle.notes.append(&mut notes);
    bundle.head.parts = table(&known, &trails(&bundle, &known)?, &nowhere);
    Ok(bundle)
}

impl LeadSurvey {
    fn look_at(&mut self, unsealed: &Unsealed, volume: &Volume, found: &VolumeFile) {
        let mut note = |text: Cow<'static, str>| {
            if is_part(&found.name) && found.name.ends_with(".age") {
                let path = volume.path(&found.name);
                self.notes.push(Note::new(NoteKind::Volume, as_bytes(&path), text));
            }
        };
        if let Err(fault) = volume.open(&found.name)
            && fault.is_denied()
        {
            return note("could not be read by you".into());
        }
        let Some((lead, key, header)) = first_chunk(unsealed, volume, found) else {
            return note("has a part's name, and does not begin like a part of this bundle that is whole".into());
        };
        if lead.bundle != unsealed.seal.bundle {
            return note(format!("says that it is a part of another bundle, {}", hex(&lead.bundle)).into());
        }
        if !(1..=limits::PARTS).contains(&lead.number) || lead.offset % BLOCK != 0 || lead.offset > FAR {
            return note("says that it is a part that no bundle can have".into());
        }
        self.longest = self.longest.max(found.len);
        self.class = self.class.or_else(|| class_of(volume, found, &key, &header));
        match self.parts.get(&lead.number) {
            Some(known) if known.header != header => note("says that it is a part that another file is already".into()),
            Some(_) => {}
            None => drop(self.parts.insert(lead.number, KnownPart { lead, header })),
        }
    }

    /// Parts whose place does not follow from those before them.
    fn drop_unordered(&mut self) {
        let mut end = 0;
        let notes = &mut self.notes;
        self.parts.retain(|number, known| {
            let follows = known.lead.offset >= end && (*number == 1) == (known.lead.offset == 0);
            if follows {
                // Each holds at least a block.
                end = known.lead.offset + BLOCK;
            } else {
                let text = "says that it begins where it cannot, after what other parts say; it was not used";
                notes.push(Note::new(NoteKind::Volume, file_name(*number).as_bytes(), text));
            }
            follows
        });
    }
}

/// What a file says in its first chunk, if that opens with the bundle's key.
fn first_chunk(unsealed: &Unsealed, volume: &Volume, found: &VolumeFile) -> Option<(Lead, FileKey, Box<[u8; HEADER]>)> {
    let (mut start, _) = volume.read_start(&found.name, HEADER + SEALED_CHUNK).ok()?;
    let header: Box<[u8; HEADER]> = Box::new(*start.first_chunk()?);
    let (key, len) = unsealed.keyring.open_header(&header[..]).ok()?;
    let chunk = start.get_mut(HEADER..HEADER + SEALED_CHUNK).filter(|_| len + 16 == HEADER)?;
    // No part is of one chunk: whatever its class, the first is not the last.
    PartOpener::new(&key, &header, Class::ALL[0].chunks()).open(0, chunk).then_some(())?;
    Some((Lead::parse(&chunk[..CHUNK]).ok()?, key, header))
}

/// The class whose last chunk is the file's: age marks it.
fn class_of(volume: &Volume, found: &VolumeFile, key: &FileKey, header: &[u8; HEADER]) -> Option<Class> {
    let file = volume.open(&found.name).ok()?;
    let proves = |class: &Class| {
        let (mut chunk, last) = (vec![0; SEALED_CHUNK], class.chunks() - 1);
        file.read_exact_at(&mut chunk, (HEADER + last * SEALED_CHUNK) as u64).is_ok()
            && PartOpener::new(key, header, class.chunks()).open(last, &mut chunk)
    };
    Class::ALL.into_iter().filter(|class| class.file_len() as u64 <= found.len).find(proves)
}

/// The trails of parts whose successor is not there: nothing else says where they end.
fn trails(bundle: &Bundle, known: &BTreeMap<u32, KnownPart>) -> Result<BTreeMap<u32, Trail>, FlowError> {
    let (finder, class) = (Finder::new(bundle), bundle.head.statement.class);
    let mut buf = PartBuf::new(class);
    let mut trails = BTreeMap::new();
    for number in known.keys().filter(|number| !known.contains_key(&(**number + 1))) {
        let loaded = finder.load(&bundle.head.parts[*number as usize - 1], &mut buf)?;
        // Where nothing was read the buffer holds another part.
        let is_read = !matches!(loaded, Loaded::Missing | Loaded::Unread { .. });
        let trail = is_read.then(|| buf.trail(&loaded.bad(class.chunks()))).flatten();
        trails.extend(trail.map(|trail| (*number, trail)));
    }
    Ok(trails)
}

/// A parts table without gaps: of parts that are not there it has a header that no file has, and
/// the first in a row of them has the stretch of all. If the tar goes on behind the last part,
/// there is one more.
fn table(known: &BTreeMap<u32, KnownPart>, trails: &BTreeMap<u32, Trail>, nowhere: &[u8; HEADER]) -> Vec<Part> {
    let mut table = Vec::new();
    let mut push = |header: &[u8; HEADER], offset, end| {
        let kind = PartKind::Data { offset, length: end - offset };
        let (number, header) = (table.len() as u32 + 1, Box::new(*header));
        table.push(Part { number, kind, stripe: None, volume: 0, sha256: Digest::ZERO, header });
        table.len() as u32 + 1
    };
    let (mut at, mut next) = (0, 1);
    for (number, KnownPart { lead, header }) in known {
        while next < *number {
            next = push(nowhere, at, lead.offset);
            at = lead.offset;
        }
        let bound = known.range(number + 1..).next().map_or(FAR, |(_, known)| known.lead.offset);
        let followed = known.contains_key(&(number + 1));
        let trail = trails.get(number).filter(|_| !followed);
        at = trail.map_or(bound, |trail| lead.offset.saturating_add(trail.length).min(bound));
        next = push(header, lead.offset, at);
    }
    let goes_on = known.keys().next_back().and_then(|last| trails.get(last)).is_some_and(|trail| !trail.last);
    if goes_on {
        push(nowhere, at, FAR);
    }
    table
}

/// Nobody's statement: the bundle's name, its class, and where its tar may end.
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
mod tests {
    use super::*;

    const NOWHERE: [u8; HEADER] = [0; HEADER];

    fn known(parts: &[(u32, u64)]) -> BTreeMap<u32, KnownPart> {
        let bundle = [7; 16];
        let of = |(number, offset): &(u32, u64)| {
            (
                *number,
                KnownPart { lead: Lead { bundle, number: *number, offset: *offset }, header: Box::new([1; HEADER]) },
            )
        };
        parts.iter().map(of).collect()
    }

    /// Offset and length of each part, and whether it is there.
    fn rows(parts: &[(u32, u64)], trails: &[(u32, u64, bool)]) -> Vec<(u64, u64, bool)> {
        let trail = |(number, length, last): &(u32, u64, bool)| {
            (*number, Trail { length: *length, first_member: None, last: *last })
        };
        let table = table(&known(parts), &trails.iter().map(trail).collect(), &NOWHERE);
        assert!(table.iter().zip(1..).all(|(part, number)| part.number == number));
        let row = |part: &Part| match part.kind {
            PartKind::Data { offset, length } => (offset, length, *part.header != NOWHERE),
            PartKind::Parity => unreachable!("there is none"),
        };
        table.iter().map(row).collect()
    }

    #[test]
    fn parts_reach_to_the_next() {
        let whole = [(1, 0), (2, 1024), (3, 2048)];
        assert_eq!(rows(&whole, &[(3, 512, true)]), [(0, 1024, true), (1024, 1024, true), (2048, 512, true)]);
        assert_eq!(rows(&whole[..1], &[]), [(0, FAR, true)], "nobody knows where it ends");
        let more = rows(&whole[..2], &[(2, 512, false)]);
        assert_eq!(more, [(0, 1024, true), (1024, 512, true), (1536, FAR - 1536, false)]);
    }

    #[test]
    fn the_first_of_those_missing_has_the_stretch_of_all() {
        let rows = rows(&[(3, 2048), (6, 8192)], &[(3, 512, false), (6, 1024, true)]);
        let expected = [
            (0, 2048, false),
            (2048, 0, false),
            (2048, 512, true),
            (2560, 5632, false),
            (8192, 0, false),
            (8192, 1024, true),
        ];
        assert_eq!(rows, expected);
    }

    #[test]
    fn parts_in_each_other_s_place_are_left_out() {
        let parts = known(&[(1, 0), (2, 0), (3, 1024), (4, 512), (5, 1024), (6, 4096)]);
        let mut survey = LeadSurvey { parts, ..LeadSurvey::default() };
        survey.drop_unordered();
        assert_eq!(survey.parts.into_keys().collect::<Vec<_>>(), [1, 3, 6]);
        assert_eq!(survey.notes.len(), 3);
        assert!(survey.notes.iter().all(|note| note.text.contains("begins where it cannot")));
    }
}
