//! Reads the header blocks of a tar member, for readers without a list; a list says everything that they do.
//!
//! Only what `format/member.rs` writes is accepted: the values that were read are written again and must give the same
//! blocks, so that no header means something else to another tar. pax records go by their lengths, because names may
//! hold newlines.

use crate::base::entry::Time;
use crate::format::part::BLOCK;
use crate::format::{FormatError, limits, member, number};

const WHAT: &str = "the tar";
const BLOCK_LEN: usize = BLOCK as usize;

/// What a member's header says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// The type byte.
    pub kind: u8,
    /// With `bag/` in front; a folder's name ends with a slash.
    pub name: Vec<u8>,
    /// A link's target; empty for other members.
    pub link: Vec<u8>,
    /// Bytes of content.
    pub size: u64,
    /// Permission bits.
    pub mode: u32,
    /// In whole seconds.
    pub mtime: Time,
}

/// Length in bytes of the header that begins with this block, pax records included.
pub(crate) fn header_len(block: &[u8; BLOCK_LEN]) -> Result<usize, FormatError> {
    if block[156] != b'x' {
        return Ok(BLOCK_LEN);
    }
    let size = field_size(block)?;
    FormatError::check_limit("the length of a member's pax records", size, limits::RECORDS)?;
    Ok(2 * BLOCK_LEN + (size + member::padding(size)) as usize)
}

/// Parses a whole header, of the length that [`header_len`] says.
///
/// # Errors
/// The blocks are not exactly those that `format/member.rs` writes.
pub fn parse(blocks: &[u8]) -> Result<Header, FormatError> {
    let block: &[u8; BLOCK_LEN] = blocks.last_chunk().ok_or_else(|| bad("a header is cut short"))?;
    let mut header = Header {
        kind: block[156],
        name: name(block),
        link: text(&block[157..257]).to_vec(),
        size: field_size(block)?,
        mode: octal(&block[100..108])? as u32,
        mtime: Time { secs: octal(&block[136..148])? as i64, nanos: 0 },
    };
    if let Some(first) = blocks.first_chunk::<BLOCK_LEN>().filter(|_| blocks.len() > BLOCK_LEN) {
        let records = blocks.get(BLOCK_LEN..).and_then(|rest| rest.get(..field_size(first).ok()? as usize));
        apply(&mut header, records.ok_or_else(|| bad("its pax records are cut short"))?)?;
    }
    let Header { kind, name, link, size, mode, mtime } = &header;
    if !b"0125".contains(kind) || member::of_values(*kind, name, link, *size, *mode, *mtime) != blocks {
        return Err(bad("a header is not as one of ours is written"));
    }
    Ok(header)
}

/// Puts pax records into the header that they describe.
fn apply(header: &mut Header, mut records: &[u8]) -> Result<(), FormatError> {
    while !records.is_empty() {
        let (key, value, rest) = record(records).ok_or_else(|| bad("a pax record is none"))?;
        match key {
            b"hdrcharset" => {}
            b"path" => header.name = value.to_vec(),
            b"linkpath" => header.link = value.to_vec(),
            b"size" => header.size = number(utf8(value)?).ok_or_else(|| bad("a pax size is no number"))?,
            b"mtime" => header.mtime.secs = number(utf8(value)?).ok_or_else(|| bad("a pax time is no number"))?,
            _ => return Err(bad("a pax record has a key that we do not write")),
        }
        records = rest;
    }
    Ok(())
}

/// The text of a pax record whose value is a number.
fn utf8(value: &[u8]) -> Result<&str, FormatError> {
    std::str::from_utf8(value).map_err(|_| bad("a pax record is no number"))
}

/// Key and value of the first record, and the bytes behind it; `None` if it is malformed.
fn record(records: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let blank = records.iter().take(8).position(|byte| *byte == b' ')?;
    let len: usize = number(std::str::from_utf8(&records[..blank]).ok()?)?;
    let body = records.get(blank + 1..len)?.strip_suffix(b"\n")?;
    let equals = body.iter().position(|byte| *byte == b'=')?;
    Some((&body[..equals], &body[equals + 1..], &records[len..]))
}

fn name(block: &[u8; BLOCK_LEN]) -> Vec<u8> {
    let name = text(&block[..100]);
    let prefix = text(&block[345..500]);
    if prefix.is_empty() { name.to_vec() } else { [prefix, b"/", name].concat() }
}

/// The size in its field: octal, or base 256 (from 2^33 on).
fn field_size(block: &[u8; BLOCK_LEN]) -> Result<u64, FormatError> {
    let field = &block[124..136];
    match field[0] {
        0x80 if field[1..4] == [0; 3] => Ok(u64::from_be_bytes(field[4..].try_into().expect("8 bytes"))),
        _ => octal(field),
    }
}

/// Parses octal digits that fill a field up to one NUL, as our fields have them.
fn octal(field: &[u8]) -> Result<u64, FormatError> {
    let digits = std::str::from_utf8(text(field)).ok().filter(|digits| digits.len() + 1 == field.len());
    let number = digits.and_then(|digits| u64::from_str_radix(digits, 8).ok());
    number.ok_or_else(|| bad("a header holds no number where one belongs"))
}

/// A field up to its first NUL.
fn text(field: &[u8]) -> &[u8] {
    &field[..field.iter().position(|byte| *byte == 0).unwrap_or(field.len())]
}

fn bad(why: &str) -> FormatError {
    FormatError::malformed(WHAT, 0, why)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn written(header: &Header) -> Vec<u8> {
        member::of_values(header.kind, &header.name, &header.link, header.size, header.mode, header.mtime)
    }

    fn file(name: &[u8]) -> Header {
        let mtime = Time { secs: 7, nanos: 0 };
        Header { kind: b'0', name: name.to_vec(), link: Vec::new(), size: 5, mode: 0o640, mtime }
    }

    #[test]
    fn what_needs_pax_comes_back() {
        let odd = [&b"bag/data/"[..], &[b'd'; 120], b"\n12 size=9\n", &[0xff; 90]].concat();
        for (name, link, size, secs) in [
            (&odd[..], &b""[..], 5, 7),
            (b"bag/data/x", &odd, 0, 0),
            (b"bag/data/x", b"", 1 << 40, -9),
            (b"bag/data/x", b"", 8, 1 << 40),
        ] {
            let header = Header { link: link.to_vec(), size, mtime: Time { secs, nanos: 0 }, ..file(name) };
            let blocks = written(&header);
            assert!(blocks.len() > 512);
            assert_eq!(header_len(blocks.first_chunk().unwrap()), Ok(blocks.len()));
            assert_eq!(parse(&blocks), Ok(header));
        }
    }

    #[test]
    fn what_others_write_is_refused() {
        let good = written(&file(b"bag/data/a"));
        for at in [0, 100, 110, 125, 140, 150, 156, 257, 300, 345, 505] {
            let mut wrong = good.clone();
            wrong[at] ^= 1;
            assert!(parse(&wrong).is_err(), "byte {at}");
        }
        let mut long = written(&file(&[b'n'; 300]));
        assert!(parse(&long[..512]).is_err() && parse(&long[512..]).is_err());
        long[124..136].copy_from_slice(b"00001000000\0");
        assert!(matches!(header_len(long.first_chunk().unwrap()), Err(FormatError::Limit { .. })));
    }

    proptest! {
        #[test]
        fn any_name_comes_back(name in proptest::collection::vec(1u8..=255, 1..300), size in any::<u32>()) {
            let header = Header { size: size.into(), ..file(&name) };
            prop_assert_eq!(parse(&written(&header)), Ok(header));
        }

        #[test]
        fn no_block_makes_it_panic(blocks in proptest::collection::vec(any::<u8>(), 1536)) {
            let _ = (parse(&blocks), header_len(blocks.first_chunk().unwrap()), parse(&blocks[..700]));
        }
    }
}
