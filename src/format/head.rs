//! The head: what the bundle is and where each part lies (FORMAT section 7), as plain lines in a fixed order.
//!
//! The statement holds the hashes of the parts table and of the list, so that the fingerprint covers everything. A head
//! that passes does not prove who packed the bundle, nor that any part is whole.

use crate::base::digest::{Digest, tagged};
use crate::base::text::{base64, hex, unbase64, unhex};
use crate::format::lines::Lines;
use crate::format::part::{BLOCK, HEADER, file_name, parity_name};
use crate::format::statement::Statement;
use crate::format::stripe::ShardPos;
use crate::format::volume_number::VolumeNumber;
use crate::format::{FormatError, check_version, limits, number};

const WHAT: &str = "the head";

/// What a part carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PartKind {
    /// A stretch of the tar.
    Data {
        /// Tar offset of its first byte.
        offset: u64,
        /// In bytes.
        length: u64,
    },
    /// Parity of the part's stripe.
    Parity,
}

/// Identifies a part. Data parts and parity parts are numbered separately, each from 1; data parts sort first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum PartId {
    Data(u32),
    Parity(u32),
}

impl PartId {
    /// The number among parts of its kind, from 1.
    pub(crate) fn number(self) -> u32 {
        match self {
            PartId::Data(number) | PartId::Parity(number) => number,
        }
    }
}

/// A line of the parts table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// From 1 without gaps, separately for data and parity parts.
    pub number: u32,
    pub kind: PartKind,
    /// Which shard of its stripe it is; `None` in a bundle without parity.
    pub shard: Option<ShardPos>,
    /// The volume it was written to.
    pub volume: VolumeNumber,
    /// SHA-256 of its file.
    pub sha256: Digest,
    /// The first bytes of its file: age header and nonce. A reader opens the part under these, never under the drive's
    /// copy.
    pub header: Box<[u8; HEADER]>,
}

/// A line about who vouches for the statement. Reserved: no reader believes or shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Auth {
    /// `sshsig`, `pair`, or a kind of a later version.
    pub kind: String,
    /// In base64.
    pub value: String,
}

/// A whole head. SUMS and END follow from these fields.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    pub statement: Statement,
    pub auth: Vec<Auth>,
    /// In the order of the table: data parts first.
    pub parts: Vec<Part>,
}

impl Head {
    /// The head's text to the end of the statement: heads that begin alike are of one bundle.
    pub(crate) fn start(&self) -> String {
        let statement = self.statement.encode();
        format!("pouch-head 1\nSTATEMENT {}\n{statement}", statement.lines().count())
    }

    /// The canonical text, before it is compressed and sealed.
    pub fn encode(&self) -> String {
        let mut out = self.start();
        out.push_str(&format!("AUTH {}\n", self.auth.len()));
        for auth in &self.auth {
            out.push_str(&format!("{} {}\n", auth.kind, auth.value));
        }
        out.push_str(&format!("PARTS {}\n{}", self.parts.len(), parts_text(&self.parts)));
        out.push_str(&format!("SUMS {}\n", self.parts.len()));
        for part in &self.parts {
            out.push_str(&format!("{}  {}\n", hex(&part.sha256.0), part.file_name()));
        }
        out.push_str("END\n");
        out
    }

    /// Parses a decrypted head.
    ///
    /// # Errors
    /// The text is not canonical, the parts table is not the one of the statement's hash, or the parts do not cover the
    /// tar from end to end.
    pub fn parse(text: &[u8]) -> Result<Self, FormatError> {
        FormatError::check_limit("the size of the head", text.len() as u64, limits::HEAD)?;
        let text = std::str::from_utf8(text).map_err(|_| FormatError::malformed(WHAT, 0, "it is not UTF-8"))?;
        let mut lines = Lines::of(WHAT, text);
        check_version(WHAT, lines.field("pouch-head ")?)?;
        lines.field("STATEMENT ")?;
        let statement = Statement::parse(&mut lines)?;
        let mut auth = Vec::new();
        for _ in 0..lines.count("AUTH ", 64)? {
            let (kind, value) =
                lines.next()?.split_once(' ').ok_or_else(|| lines.bad("a signature has kind and value"))?;
            if kind.is_empty() || unbase64(value).is_none() {
                return Err(lines.bad("a signature has a kind and a value in base64"));
            }
            auth.push(Auth { kind: kind.into(), value: value.into() });
        }
        let mut parts = Vec::new();
        for _ in 0..lines.count("PARTS ", limits::PARTS)? {
            let part = Part::parse(lines.next()?).ok_or_else(|| lines.bad("it is no line of the parts table"))?;
            parts.push(part);
        }
        let head = Head { statement, auth, parts };
        // SUMS and END follow from what was read, so this comparison checks them too.
        if head.encode() != text {
            return Err(FormatError::malformed(WHAT, 0, "it is not written canonically"));
        }
        head.check().map_err(|why| FormatError::malformed(WHAT, 0, why))?;
        Ok(head)
    }

    /// Data parts in the order of the tar, each with its tar offset and length.
    pub fn data_parts(&self) -> impl Iterator<Item = (&Part, u64, u64)> {
        self.parts.iter().filter_map(|part| match part.kind {
            PartKind::Data { offset, length } => Some((part, offset, length)),
            PartKind::Parity => None,
        })
    }

    /// The rules that concern the whole table: its hash, the numbering, the stripes, and that data covers the tar.
    fn check(&self) -> Result<(), String> {
        let statement = &self.statement;
        if statement.parts as usize != self.parts.len() || statement.parts_hash != parts_hash(&self.parts) {
            return Err("its parts table is not the one the statement names".into());
        }
        if self.data_parts().next().is_none() {
            return Err("it names no part that holds data".into());
        }
        let scheme = statement.scheme;
        let mut end = 0u64;
        let mut data = 0;
        let mut parity = 0;
        for part in &self.parts {
            let (count, place, fits) = match part.kind {
                PartKind::Data { offset, length } => {
                    let fits = parity == 0 && offset == end && offset % BLOCK == 0 && length > 0;
                    end = end.checked_add(length).ok_or("its lengths are beyond all numbers")?;
                    (&mut data, scheme.map(|scheme| scheme.of_data(part.number.max(1))), fits)
                }
                PartKind::Parity => {
                    (&mut parity, scheme.map(|scheme| scheme.of_parity(part.number.max(1))), scheme.is_some())
                }
            };
            *count += 1;
            let numbered = part.number == *count && (1..=statement.n).contains(&part.volume.get());
            if !numbered || part.shard != place || !fits {
                return Err(format!("part {} does not follow the one before", part.number));
            }
        }
        if scheme.is_some_and(|scheme| scheme.parity_parts(data) != parity) {
            return Err(format!("it has {parity} parity parts for {data} data parts"));
        }
        if end != statement.tar {
            return Err(format!("its parts hold {end} bytes of a tar of {}", statement.tar));
        }
        Ok(())
    }
}

/// `H("parts", ...)` over the lines of the parts table.
pub fn parts_hash(parts: &[Part]) -> Digest {
    tagged("parts", parts_text(parts).as_bytes())
}

fn parts_text(parts: &[Part]) -> String {
    parts.iter().map(Part::encode).collect()
}

impl PartKind {
    /// The file name of the part of that kind and number.
    pub(crate) fn file_name(self, number: u32) -> String {
        match self {
            PartKind::Data { .. } => file_name(number),
            PartKind::Parity => parity_name(number),
        }
    }
}

impl Part {
    pub(crate) fn id(&self) -> PartId {
        match self.kind {
            PartKind::Data { .. } => PartId::Data(self.number),
            PartKind::Parity => PartId::Parity(self.number),
        }
    }

    /// The name of its file on its volume.
    pub fn file_name(&self) -> String {
        self.kind.file_name(self.number)
    }

    fn encode(&self) -> String {
        let (letter, offset, length) = match self.kind {
            PartKind::Data { offset, length } => ('d', offset.to_string(), length.to_string()),
            PartKind::Parity => ('p', "-".into(), "-".into()),
        };
        let (stripe, position) = match self.shard {
            Some(ShardPos { stripe, position }) => (stripe.to_string(), position.to_string()),
            None => ("-".into(), "-".into()),
        };
        let sum = hex(&self.sha256.0);
        let header = base64(&self.header[..]);
        format!("{} {letter} {stripe} {position} {} {offset} {length} {sum} {header}\n", self.number, self.volume)
    }

    fn parse(line: &str) -> Option<Self> {
        let fields: Vec<&str> = line.split(' ').collect();
        let [part, kind, stripe, position, volume, offset, length, sum, header] = fields[..] else {
            return None;
        };
        let kind = match (kind, offset, length) {
            ("p", "-", "-") => PartKind::Parity,
            ("d", offset, length) => PartKind::Data { offset: number(offset)?, length: number(length)? },
            _ => return None,
        };
        let shard = match (stripe, position) {
            ("-", "-") => None,
            (stripe, position) => Some(ShardPos { stripe: number(stripe)?, position: number(position)? }),
        };
        let header: [u8; HEADER] = unbase64(header)?.try_into().ok()?;
        Some(Part {
            number: number(part)?,
            kind,
            shard,
            volume: number(volume)?,
            sha256: Digest(unhex(sum)?),
            header: Box::new(header),
        })
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::format::part::Class;
    use crate::format::stripe::Scheme;

    /// A head of `data` data parts in stripes of k + m, each shard of a stripe on its own volume.
    pub(crate) fn striped(data: u32, k: u16, m: u16) -> Head {
        let scheme = Scheme::new(k, m, 1).unwrap();
        let mut parts: Vec<Part> = (1..=data).map(|number| part(number, u64::from(number - 1) * 512, 512)).collect();
        for number in 1..=scheme.parity_parts(data) {
            parts.push(Part { kind: PartKind::Parity, ..part(number, 0, 0) });
        }
        for part in &mut parts {
            let place =
                if part.kind == PartKind::Parity { scheme.of_parity(part.number) } else { scheme.of_data(part.number) };
            (part.shard, part.volume) = (Some(place), VolumeNumber::new(place.position + 1));
        }
        let mut head = head(parts, u64::from(data) * 512);
        (head.statement.scheme, head.statement.n) = (Some(scheme), k + m);
        head
    }

    fn part(number: u32, offset: u64, length: u64) -> Part {
        let kind = PartKind::Data { offset, length };
        let volume = VolumeNumber::new(1);
        Part { number, kind, shard: None, volume, sha256: Digest([1; 32]), header: Box::new([2; HEADER]) }
    }

    fn head(parts: Vec<Part>, tar: u64) -> Head {
        let statement = Statement {
            bundle: [7; 16],
            kcommit: Digest([8; 32]),
            profile: "open".into(),
            scheme: None,
            t: None,
            n: 2,
            class: Class::from_mib(4).unwrap(),
            parts: parts.len() as u32,
            tar,
            parts_hash: parts_hash(&parts),
            list_hash: Digest([9; 32]),
            date: None,
            audience: None,
            seq: None,
            reply: None,
        };
        Head { statement, auth: Vec::new(), parts }
    }

    #[test]
    fn a_head_is_read_as_written() {
        let mut plain = head(vec![part(1, 0, 1024), part(2, 1024, 700)], 1724);
        assert_eq!(Head::parse(plain.encode().as_bytes()), Ok(plain.clone()));
        plain.auth.push(Auth { kind: "sshsig".into(), value: "AAAA".into() });
        assert_eq!(Head::parse(plain.encode().as_bytes()), Ok(plain));
    }

    #[test]
    fn later_features_have_their_place() {
        let mut parts = vec![part(1, 0, 1024), part(2, 1024, 512), part(1, 0, 0)];
        parts[2].kind = PartKind::Parity;
        for (at, part) in parts.iter_mut().enumerate() {
            part.shard = Some(ShardPos { stripe: 0, position: at as u16 });
            part.volume = VolumeNumber::new(2);
        }
        let mut head = head(parts, 1536);
        head.statement.scheme = Scheme::new(2, 1, 1);
        (head.statement.t, head.statement.seq, head.statement.date) = (Some(2), Some(3), Some("2026-01-31".into()));
        assert_eq!(Head::parse(head.encode().as_bytes()), Ok(head));
    }

    #[test]
    fn stripes_are_read_as_written() {
        let head = striped(7, 3, 2);
        assert_eq!(head.parts.len(), 7 + 3 * 2);
        assert_eq!(Head::parse(head.encode().as_bytes()), Ok(head));
    }

    #[test]
    fn parts_must_cover_the_tar() {
        for (parts, tar) in [
            (vec![part(1, 0, 1024)], 2048),
            (vec![part(1, 512, 1024)], 1536),
            (vec![part(1, 0, 1000), part(2, 1000, 24)], 1024),
            (vec![part(2, 0, 1024)], 1024),
            (vec![part(1, 0, 1024), part(2, 0, 1024)], 2048),
            (vec![part(1, 0, u64::MAX - 511), part(2, u64::MAX - 511, 1024)], 512),
            (vec![], 512),
            (vec![], 0),
        ] {
            assert!(Head::parse(head(parts, tar).encode().as_bytes()).is_err());
        }
        let mut wrong = head(vec![part(1, 0, 1024)], 1024);
        wrong.parts[0].volume = VolumeNumber::new(3);
        wrong.statement.parts_hash = parts_hash(&wrong.parts);
        assert!(Head::parse(wrong.encode().as_bytes()).is_err(), "there are two volumes");
        wrong.parts[0].volume = VolumeNumber::new(2);
        assert!(Head::parse(wrong.encode().as_bytes()).is_err(), "not the hash of this table");
    }

    #[test]
    fn only_the_canonical_text_is_taken() {
        let text = head(vec![part(1, 0, 1024)], 1024).encode();
        for (from, to) in [
            ("class 4", "class 5"),
            ("class 4", "class 04"),
            ("profile open", "profile loud"),
            ("date -", "date"),
            ("k -\nm -\n", "m -\nk -\n"),
            ("END\n", "END\nmore\n"),
            ("END\n", "END"),
            ("1 d - -", "1 d - 0"),
            ("SUMS 1", "SUMS 2"),
            ("STATEMENT 18", "STATEMENT 17"),
            ("  000001.age", "  000002.age"),
            ("AUTH 0", "AUTH 1"),
        ] {
            let wrong = text.replacen(from, to, 1);
            assert_ne!(wrong, text);
            assert!(matches!(Head::parse(wrong.as_bytes()), Err(FormatError::Malformed { .. })), "{to}");
        }
        for (from, to) in [("pouch-head 1", "pouch-head 2"), ("format 1", "format 2")] {
            let newer = text.replacen(from, to, 1);
            assert!(matches!(Head::parse(newer.as_bytes()), Err(FormatError::Newer { .. })));
        }
        for (from, to) in [("PARTS 1", "PARTS 100001"), ("n 2", "n 1001")] {
            let huge = text.replacen(from, to, 1);
            assert!(matches!(Head::parse(huge.as_bytes()), Err(FormatError::Limit { .. })));
        }
    }

    #[test]
    fn a_fingerprint_can_be_read_aloud() {
        let print = head(vec![part(1, 0, 512)], 512).statement.fingerprint();
        assert_eq!(print.split('-').map(str::len).collect::<Vec<_>>(), [5, 5, 5, 5, 5, 1]);
    }
}
