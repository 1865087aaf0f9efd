//! A part: its size, its file in memory, and the two skippable frames around its zstd frames (FORMAT section 4).

use crate::base::memory;
use crate::format::FormatError;
use crate::format::limits;

/// Plaintext bytes of one chunk of an age payload.
pub const CHUNK: usize = 65_536;
/// Bytes that sealing adds to a chunk.
pub const TAG: usize = 16;
pub(crate) const SEALED_CHUNK: usize = CHUNK + TAG;
/// Bytes before the first chunk: an age header with one X25519 stanza, and the nonce.
pub const HEADER: usize = 168 + 16;
/// A tar consists of blocks of so many bytes; parts begin at one.
pub(crate) const BLOCK: u64 = 512;

const MAGIC: [u8; 4] = 0x184D_2A5Du32.to_le_bytes();
const NAME: &[u8; 5] = b"pouch";
const VERSION: u8 = 1;
/// Stands in a trail where no member begins in the part.
const NO_MEMBER: u64 = u64::MAX;

/// Length of a lead, the first frame of a part, in bytes.
pub(crate) const LEAD: usize = 8 + 5 + 1 + 16 + 4 + 8;
/// Length of a trail, the last frame of a part, in bytes without its padding.
pub const TRAIL: usize = 8 + 8 + 8 + 1;

/// The size of all parts of a bundle: about so many MiB for each file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Class(u16);

impl Class {
    /// All classes, smallest first.
    pub const ALL: [Class; 5] = [Class(1), Class(4), Class(16), Class(64), Class(256)];

    /// `None` if there is no class of that many MiB.
    pub fn from_mib(mib: u16) -> Option<Self> {
        Self::ALL.into_iter().find(|class| class.0 == mib)
    }

    /// The name of the class: 1, 4, 16, 64 or 256.
    pub fn mib(self) -> u16 {
        self.0
    }

    /// Chunks of a part: one less than the class in MiB holds. That leaves room for the tags and, except in the largest
    /// class, for the header.
    pub fn chunks(self) -> usize {
        usize::from(self.0) * 16 - 1
    }

    /// Plaintext bytes of a part.
    pub fn plain_len(self) -> usize {
        self.chunks() * CHUNK
    }

    /// Bytes of a part's file.
    pub(crate) fn file_len(self) -> usize {
        HEADER + self.chunks() * SEALED_CHUNK
    }

    /// Bytes of a part that zstd frames can take: its plaintext without lead and trail.
    pub fn room(self) -> usize {
        self.plain_len() - LEAD - TRAIL
    }
}

/// The file name of data part `number`.
pub fn file_name(number: u32) -> String {
    format!("{number:06}.age")
}

/// Whether a file name is that of a part, data or parity: six digits from 1 to 100,000, and `.age` or `.par`.
pub(crate) fn is_part(name: &str) -> bool {
    let digits = name.strip_suffix(".age").or(name.strip_suffix(".par")).unwrap_or("");
    let number = digits.parse().ok().filter(|_| digits.len() == 6 && digits.bytes().all(|b| b.is_ascii_digit()));
    number.is_some_and(|number: u32| (1..=limits::PARTS).contains(&number))
}

/// What the first frame of a part says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lead {
    /// The bundle's name.
    pub bundle: [u8; 16],
    /// The part's number, from 1.
    pub number: u32,
    /// Tar offset of the part's first byte.
    pub offset: u64,
}

impl Lead {
    /// The lead as a skippable frame.
    pub fn encode(&self) -> [u8; LEAD] {
        let mut out = [0; LEAD];
        out[0..4].copy_from_slice(&MAGIC);
        out[4..8].copy_from_slice(&(LEAD as u32 - 8).to_le_bytes());
        out[8..13].copy_from_slice(NAME);
        out[13] = VERSION;
        out[14..30].copy_from_slice(&self.bundle);
        out[30..34].copy_from_slice(&self.number.to_le_bytes());
        out[34..42].copy_from_slice(&self.offset.to_le_bytes());
        out
    }

    /// How this lead differs from what the head names for the part, in words; `None` if it does not.
    pub(crate) fn difference(&self, named: &Lead) -> Option<String> {
        if self.bundle != named.bundle {
            return Some("it says that it is a part of another bundle".into());
        }
        (self != named)
            .then(|| format!("it says that it is {}, and the head that it is {}", self.phrase(), named.phrase()))
    }

    fn phrase(&self) -> String {
        format!("part {}, which begins at byte {} of the tar", self.number, self.offset)
    }

    /// Parses the lead at the start of a part's plaintext.
    ///
    /// # Errors
    /// The lead is cut short, is not ours, or is of another version.
    pub fn parse(plain: &[u8]) -> Result<Self, FormatError> {
        let frame: &[u8; LEAD] = plain.first_chunk().ok_or_else(|| bad_lead("it is cut short"))?;
        if frame[0..4] != MAGIC || frame[8..13] != *NAME {
            return Err(bad_lead("it is no part of a pouch"));
        }
        if frame[13] > VERSION {
            return Err(FormatError::Newer { what: "a part", version: frame[13].into() });
        }
        let lead = Lead {
            bundle: frame[14..30].try_into().expect("16 bytes"),
            number: u32::from_le_bytes(frame[30..34].try_into().expect("4 bytes")),
            offset: u64::from_le_bytes(frame[34..42].try_into().expect("8 bytes")),
        };
        if lead.encode() != *frame {
            return Err(bad_lead("its length or version is not the one of version 1"));
        }
        Ok(lead)
    }
}

/// What the last frame of a part says. Only a reader without a head or list needs it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Trail {
    /// Bytes of tar in this part.
    pub length: u64,
    /// Tar offset of the first member that begins in this part; `None` if none does.
    pub first_member: Option<u64>,
    /// Whether the tar ends in this part.
    pub last: bool,
}

impl Trail {
    /// The start of the skippable frame; `padding` zero bytes follow it.
    pub fn encode(&self, padding: usize) -> [u8; TRAIL] {
        let mut out = [0; TRAIL];
        out[0..4].copy_from_slice(&MAGIC);
        out[4..8].copy_from_slice(&((TRAIL - 8 + padding) as u32).to_le_bytes());
        out[8..16].copy_from_slice(&self.length.to_le_bytes());
        out[16..24].copy_from_slice(&self.first_member.unwrap_or(NO_MEMBER).to_le_bytes());
        out[24] = self.last.into();
        out
    }

    /// Parses a whole last frame. Its padding is not looked at.
    pub fn parse(frame: &[u8]) -> Result<Self, FormatError> {
        let start = frame.first_chunk().ok_or_else(|| bad_trail("it is cut short"))?;
        Self::of(start, frame.len())
    }

    /// Parses the start of a last frame of `len` bytes.
    fn of(start: &[u8; TRAIL], len: usize) -> Result<Self, FormatError> {
        let first = u64::from_le_bytes(start[16..24].try_into().expect("8 bytes"));
        let trail = Trail {
            length: u64::from_le_bytes(start[8..16].try_into().expect("8 bytes")),
            first_member: (first != NO_MEMBER).then_some(first),
            last: start[24] == 1,
        };
        if trail.encode(len - TRAIL) != *start {
            return Err(bad_trail("its magic, length or last byte is wrong"));
        }
        Ok(trail)
    }
}

fn bad_lead(why: &str) -> FormatError {
    FormatError::malformed("a part's first frame", 0, why)
}

fn bad_trail(why: &str) -> FormatError {
    FormatError::malformed("a part's last frame", 0, why)
}

/// A part's file in memory, header included. Its plaintext lies where the sealed chunks will be, because sealing and
/// opening happen in place.
pub struct PartBuf(Vec<u8>);

impl PartBuf {
    /// A file of zeros.
    pub fn new(class: Class) -> Self {
        Self(memory::zeros(class.file_len()))
    }

    /// The age header and nonce at the start.
    pub(crate) fn header_mut(&mut self) -> &mut [u8; HEADER] {
        self.0.first_chunk_mut().expect("a part is longer than its header")
    }

    /// The chunks in order, each with room for its tag behind it.
    pub fn chunks_mut(&mut self) -> std::slice::ChunksExactMut<'_, u8> {
        self.0[HEADER..].chunks_exact_mut(SEALED_CHUNK)
    }

    pub(crate) fn chunks(&self) -> usize {
        (self.0.len() - HEADER) / SEALED_CHUNK
    }

    /// The plaintext of chunk `index` (from 0), once it is open.
    pub fn plain(&self, index: usize) -> &[u8] {
        &self.0[HEADER + index * SEALED_CHUNK..][..CHUNK]
    }

    /// The trail of an open part; `None` if it lies in a `bad` chunk (indices, ascending) or cannot be found.
    pub(crate) fn trail(&self, bad: &[usize]) -> Option<Trail> {
        let chunks = self.chunks();
        // Only zeros follow the fields of a trail, and its length is not 0: the last byte that is not zero is in it.
        let end =
            (0..chunks).rev().take_while(|index| is_good(*index, bad)).find_map(|index| self.last_not_zero(index))?;
        let starts = end.saturating_sub(TRAIL - 1)..=end.min(chunks * CHUNK - TRAIL);
        starts.into_iter().find_map(|start| {
            let mut fields = [0; TRAIL];
            for (offset, field) in fields.iter_mut().enumerate() {
                *field = self.good_byte(start + offset, bad)?;
            }
            Trail::of(&fields, chunks * CHUNK - start).ok()
        })
    }

    fn last_not_zero(&self, index: usize) -> Option<usize> {
        Some(index * CHUNK + self.plain(index).iter().rposition(|byte| *byte != 0)?)
    }

    fn good_byte(&self, at: usize, bad: &[usize]) -> Option<u8> {
        is_good(at / CHUNK, bad).then(|| self.plain(at / CHUNK)[at % CHUNK])
    }

    pub fn file(&self) -> &[u8] {
        &self.0
    }

    /// The whole file, for a caller that reads into it.
    pub fn file_mut(&mut self) -> &mut [u8] {
        &mut self.0
    }
}

fn is_good(index: usize, bad: &[usize]) -> bool {
    bad.binary_search(&index).is_err()
}

/// The file name of parity part `number`.
pub(crate) fn parity_name(number: u32) -> String {
    format!("{number:06}.par")
}

/// The first 8 bytes of a skippable frame of `len` bytes (at least 8) that says nothing.
pub(crate) fn padding_frame(len: usize) -> [u8; 8] {
    let mut out = [0; 8];
    out[0..4].copy_from_slice(&MAGIC);
    out[4..8].copy_from_slice(&(len as u32 - 8).to_le_bytes());
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_are_those_of_the_format() {
        let sizes: Vec<_> = Class::ALL.iter().map(|c| (c.mib(), c.chunks(), c.file_len())).collect();
        let expected = [(1, 15), (4, 63), (16, 255), (64, 1023), (256, 4095)].map(|(m, n)| (m, n, 184 + n * 65_552));
        assert_eq!(sizes, expected);
        assert!((Class(256).file_len() as u64) < u64::from(u32::MAX), "FAT32 takes every part");
    }

    #[test]
    fn names_are_fat_safe_and_strict() {
        assert_eq!(file_name(7), "000007.age");
        assert_eq!(parity_name(7), "000007.par");
        assert!(is_part("000007.age") && is_part("100000.par"));
        for wrong in ["000000.age", "7.age", "0000007.age", "000007.part", "+00007.age", "100001.age", "seal.age"] {
            assert!(!is_part(wrong), "{wrong}");
        }
    }

    #[test]
    fn chunks_have_room_for_their_tags() {
        let class = Class::ALL[0];
        let mut part = PartBuf::new(class);
        for (index, chunk) in part.chunks_mut().enumerate() {
            chunk[..CHUNK].fill(index as u8 + 1);
        }
        assert_eq!(part.chunks_mut().len(), class.chunks());
        assert!((0..class.chunks()).all(|index| part.plain(index).iter().all(|b| *b == index as u8 + 1)));
        assert_eq!(part.file()[HEADER + CHUNK..][..TAG], [0; TAG]);
        assert_eq!(part.header_mut(), &[0; HEADER]);
    }

    #[test]
    fn a_lead_is_read_as_written() {
        let lead = Lead { bundle: [9; 16], number: 70_000, offset: 1 << 40 };
        let bytes = lead.encode();
        assert_eq!(Lead::parse(&bytes), Ok(lead));
        for (at, value) in [(0, 0x51), (4, 35), (8, b'P'), (13, 0)] {
            let mut wrong = bytes;
            wrong[at] = value;
            assert!(matches!(Lead::parse(&wrong), Err(FormatError::Malformed { .. })), "byte {at}");
        }
        let mut newer = bytes;
        newer[13] = 2;
        assert_eq!(Lead::parse(&newer), Err(FormatError::Newer { what: "a part", version: 2 }));
        assert!(Lead::parse(&bytes[..41]).is_err());
    }

    #[test]
    fn a_trail_is_read_as_written() {
        for (first_member, last, padding) in [(None, true, 0), (Some(512), false, 1000)] {
            let trail = Trail { length: 1 << 33, first_member, last };
            let mut frame = trail.encode(padding).to_vec();
            frame.resize(TRAIL + padding, 0);
            assert_eq!(Trail::parse(&frame), Ok(trail));
            frame[24] = 2;
            assert!(Trail::parse(&frame).is_err());
        }
        assert!(Trail::parse(&[0; 24]).is_err());
    }

    #[test]
    fn a_trail_is_found_from_the_end() {
        let class = Class::ALL[0];
        let trail = Trail { length: 512, first_member: Some(0), last: false };
        for padding in [0, 1, CHUNK - TRAIL, CHUNK - 7, 3 * CHUNK] {
            let mut part = PartBuf::new(class);
            part.chunks_mut().for_each(|chunk| chunk[CHUNK..].fill(0xff));
            let start = class.plain_len() - TRAIL - padding;
            for (at, byte) in (start..).zip(trail.encode(padding)) {
                part.file_mut()[HEADER + at / CHUNK * SEALED_CHUNK + at % CHUNK] = byte;
            }
            assert_eq!(part.trail(&[]), Some(trail), "{padding}");
            assert_eq!(part.trail(&[start / CHUNK]), None, "{padding}");
            assert_eq!(part.trail(&[0]), Some(trail), "{padding}");
        }
        assert_eq!(PartBuf::new(class).trail(&[]), None);
    }

    #[test]
    fn a_lead_says_what_is_another() {
        let named = Lead { bundle: [1; 16], number: 1, offset: 0 };
        assert_eq!(named.difference(&named), None);
        let other = Lead { bundle: [2; 16], ..named };
        assert_eq!(other.difference(&named).unwrap(), "it says that it is a part of another bundle");
        let moved = Lead { offset: 512, ..named }.difference(&named).unwrap();
        assert!(moved.contains("at byte 512") && moved.contains("at byte 0"), "{moved}");
    }
}
