//! Age headers (C2SP age v1) as bytes. Pouch writes its own headers here, without GREASE, so that all headers of one
//! kind have one length. It scans headers from drives here before the age crate parses them, because a hostile header
//! costs a parser quadratic time, or gigabytes of memory for scrypt. A scan does not check the MAC.

use crate::base::text::base64;
use crate::format::{FormatError, limits, number};

const WHAT: &str = "an age header";
const INTRO: &str = "age-encryption.org/v1\n";
/// Base64 letters in a full line of a stanza's body.
const BODY_LINE: usize = 64;

/// Bytes in which the LF behind a version must come: ten digits of a `u32`, and the LF.
const DIGITS: usize = 11;

/// One stanza of a header: the file key, wrapped for one recipient.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Stanza {
    /// Kind of recipient, such as `X25519` or `scrypt`.
    pub(crate) tag: String,
    /// The words behind the tag in the first line.
    pub(crate) args: Vec<String>,
    /// The wrapped file key, before base64.
    pub(crate) body: Vec<u8>,
}

/// The header up to and including `---`: the bytes that its MAC covers.
pub(crate) fn unsigned(stanzas: &[Stanza]) -> Vec<u8> {
    let mut out = String::from(INTRO);
    for stanza in stanzas {
        out.push_str(&format!("-> {}", stanza.tag));
        for arg in &stanza.args {
            out.push(' ');
            out.push_str(arg);
        }
        out.push('\n');
        let body = base64(&stanza.body);
        for line in body.as_bytes().chunks(BODY_LINE) {
            out.push_str(std::str::from_utf8(line).expect("base64 is ASCII"));
            out.push('\n');
        }
        // The last line of a body has fewer than 64 letters; behind full lines it is an empty one.
        if body.len().is_multiple_of(BODY_LINE) {
            out.push('\n');
        }
    }
    out.push_str("---");
    out.into_bytes()
}

/// Completes [`unsigned`] with its MAC.
pub(crate) fn signed(mut unsigned: Vec<u8>, mac: &[u8; 32]) -> Vec<u8> {
    unsigned.extend_from_slice(format!(" {}\n", base64(mac)).as_bytes());
    unsigned
}

/// Length in bytes of the age header at the start of `bytes`, which come from a drive.
///
/// # Errors
/// The bytes begin no age header, or one over the limits of size, stanzas or scrypt work. All this is checked before
/// any key is derived.
pub fn scan(bytes: &[u8]) -> Result<usize, FormatError> {
    scan_up_to(bytes, limits::WORK_FACTOR).map(|scanned| scanned.len)
}

/// What a scan finds in a header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Scanned {
    /// Length of the header in bytes.
    pub(crate) len: usize,
    /// The highest scrypt work factor, as a power of two; 0 if no stanza is scrypt's.
    pub(crate) work_factor: u8,
}

impl Scanned {
    /// Bytes of memory that scrypt takes to derive the key; 0 without scrypt.
    pub(crate) fn memory(self) -> u64 {
        if self.work_factor == 0 { 0 } else { 1 << (self.work_factor + 10) }
    }
}

/// Scans like [`scan`], but accepts work factors up to `most_work`: a key file that the user names may cost more than a
/// file that lies on a drive.
pub(crate) fn scan_up_to(bytes: &[u8], most_work: u8) -> Result<Scanned, FormatError> {
    if !bytes.starts_with(INTRO.as_bytes()) {
        return Err(newer(bytes).unwrap_or_else(|| malformed("it does not begin like one")));
    }
    let window = &bytes[..bytes.len().min(limits::AGE_HEADER)];
    let mut at = INTRO.len();
    let mut stanzas = 0;
    let mut work_factor = 0;
    let mut in_body = false;
    let mut broken = false;
    for line in window[at..].split_inclusive(|b| *b == b'\n') {
        at += line.len();
        // This fault is reported at the end only: a header that breaks a limit too is reported as over that limit.
        broken |= in_body && line.starts_with(b"-");
        if line.starts_with(b"--- ") && line.ends_with(b"\n") {
            if broken {
                return Err(malformed("a stanza's body has no end"));
            }
            return Ok(Scanned { len: at, work_factor });
        }
        if line.starts_with(b"-> ") {
            stanzas += 1;
            in_body = true;
            FormatError::check_limit("the number of stanzas of an age header", stanzas, limits::AGE_STANZAS as u64)?;
            work_factor = work_factor.max(work_factor_of(line, most_work)?);
        } else {
            // The age crate accepts a body without the short line that ends it; age itself does not.
            in_body = in_body && line.trim_ascii_end().len() >= BODY_LINE;
        }
    }
    FormatError::check_limit("the length of an age header", bytes.len() as u64, limits::AGE_HEADER as u64)?;
    Err(malformed("it has no end"))
}

fn malformed(why: &str) -> FormatError {
    FormatError::malformed(WHAT, 0, why)
}

/// The error for a later version of age; `None` if no higher number stands there. A flipped bit can look like one, for
/// nothing in a header is authenticated yet.
fn newer(bytes: &[u8]) -> Option<FormatError> {
    let rest = bytes.strip_prefix(b"age-encryption.org/v")?;
    let digits = rest.iter().take(DIGITS).position(|byte| *byte == b'\n')?;
    let version = number(std::str::from_utf8(&rest[..digits]).ok()?)?;
    (version > 1).then_some(FormatError::Newer { what: WHAT, version })
}

/// The work factor in a stanza's first line; 0 if the stanza is not scrypt's.
fn work_factor_of(line: &[u8], most: u8) -> Result<u8, FormatError> {
    let mut words = line.trim_ascii_end().split(|b| *b == b' ').skip(1);
    if words.next() != Some(b"scrypt") {
        return Ok(0);
    }
    let factor = words.nth(1).and_then(|word| number(std::str::from_utf8(word).ok()?));
    let factor = factor.ok_or_else(|| malformed("its scrypt stanza has no work factor"))?;
    FormatError::check_limit("the scrypt work factor", factor, most.into())?;
    Ok(factor as u8)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stanza() -> Stanza {
        Stanza { tag: "X25519".into(), args: vec!["A".repeat(43)], body: vec![0; 32] }
    }

    #[test]
    fn one_stanza_makes_168_bytes() {
        let header = signed(unsigned(&[stanza()]), &[0; 32]);
        assert_eq!(header.len(), 168);
        assert_eq!(scan(&header), Ok(168));
        let file = [&header[..], b"payload --- \n"].concat();
        assert_eq!(scan(&file), Ok(168));
    }

    #[test]
    fn bodies_wrap_at_64_letters() {
        for (len, lines) in [(0, 1), (47, 1), (48, 2), (49, 2)] {
            let text = unsigned(&[Stanza { body: vec![0; len], ..stanza() }]);
            assert_eq!(text.iter().filter(|b| **b == b'\n').count(), 2 + lines, "{len}");
        }
    }

    #[test]
    fn hostile_headers_are_stopped_before_they_are_parsed() {
        let endless = [INTRO.as_bytes(), &[b'x'; 200_000]].concat();
        assert!(matches!(scan(&endless), Err(FormatError::Limit { .. })));
        let many = unsigned(&vec![Stanza { body: vec![], ..stanza() }; 65]);
        assert!(matches!(scan(&signed(many, &[0; 32])), Err(FormatError::Limit { .. })));
        for (factor, good, in_key_file) in [
            ("18", true, true),
            ("20", true, true),
            ("21", false, true),
            ("22", false, true),
            ("23", false, false),
            ("-1", false, false),
            ("+15", false, false),
            ("015", false, false),
            ("", false, false),
        ] {
            let stanza = Stanza { tag: "scrypt".into(), args: vec!["c2FsdA".into(), factor.into()], body: vec![] };
            let header = signed(unsigned(&[stanza]), &[0; 32]);
            assert_eq!(scan(&header).is_ok(), good, "{factor}");
            let scanned = scan_up_to(&header, limits::KEY_WORK_FACTOR);
            assert_eq!(scanned.is_ok(), in_key_file, "{factor}");
            assert!(scanned.is_err() || scanned.map(|scanned| scanned.work_factor.to_string()) == Ok(factor.into()));
        }
        assert_eq!(Scanned { len: 0, work_factor: 20 }.memory(), 1 << 30);
        assert!(scan(b"age-encryption.org/v1\n-> X25519 abc\n").is_err());
        assert!(matches!(scan(b"something else"), Err(FormatError::Malformed { .. })));
        assert!(matches!(scan(b"age-encryption.org/v2\n-> x"), Err(FormatError::Newer { version: 2, .. })));
        assert!(matches!(scan(b"age-encryption.org/v0\n"), Err(FormatError::Malformed { .. })));
        let bodiless = b"age-encryption.org/v1\n-> X25519 abc\n--- mac\n";
        assert!(matches!(scan(bodiless), Err(FormatError::Malformed { .. })));
    }
}
