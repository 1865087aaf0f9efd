//! An age header (C2SP age v1) as bytes: written here without GREASE, so that all our headers of
//! one kind have one length, and scanned here before any parser sees a hostile one.

use crate::base::text::base64;
use crate::format::{FormatError, limits, number};

const WHAT: &str = "an age header";
const INTRO: &str = "age-encryption.org/v1\n";
/// Letters of a full line of a stanza's body.
const BODY_LINE: usize = 64;

/// Most digits of a version, and the LF behind them.
const DIGITS: usize = 11;

/// One wrapped file key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stanza {
    /// `X25519`, `scrypt`, ...
    pub tag: String,
    /// What follows the tag in the line.
    pub args: Vec<String>,
    /// The wrapped key.
    pub body: Vec<u8>,
}

/// The header up to and with `---`: what its MAC covers.
pub fn unsigned(stanzas: &[Stanza]) -> Vec<u8> {
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
        // A body ends with a line that is not full, be it empty.
        if body.len() % BODY_LINE == 0 {
            out.push('\n');
        }
    }
    out.push_str("---");
    out.into_bytes()
}

/// Adds the MAC to [`unsigned`].
pub fn signed(mut unsigned: Vec<u8>, mac: &[u8; 32]) -> Vec<u8> {
    unsigned.extend_from_slice(format!(" {}\n", base64(mac)).as_bytes());
    unsigned
}

/// Length of the header at the start of `bytes`, which come from a drive.
///
/// # Errors
/// No age header; one over the limits of size or stanzas; an scrypt work factor over the limit.
/// All of it before anything is computed or allocated.
pub fn scan(bytes: &[u8]) -> Result<usize, FormatError> {
    scan_up_to(bytes, limits::WORK_FACTOR).map(|scanned| scanned.len)
}

/// What a scan finds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Scanned {
    /// Length of the header.
    pub len: usize,
    /// The highest scrypt work factor in it; 0 without one.
    pub work_factor: u8,
}

impl Scanned {
    /// Bytes of memory that deriving its key takes.
    pub fn memory(self) -> u64 {
        if self.work_factor == 0 { 0 } else { 1 << (self.work_factor + 10) }
    }
}

/// The same with another limit on work factors.
pub fn scan_up_to(bytes: &[u8], most_work: u8) -> Result<Scanned, FormatError> {
    let bad = |why: &str| FormatError::malformed(WHAT, 0, why);
    if !bytes.starts_with(INTRO.as_bytes()) {
        return Err(newer(bytes).unwrap_or_else(|| bad("it does not begin like one")));
    }
    let window = &bytes[..bytes.len().min(limits::AGE_HEADER)];
    let mut at = INTRO.len();
    let (mut stanzas, mut work_factor) = (0, 0);
    let (mut in_body, mut broken) = (false, false);
    for line in window[at..].split_inclusive(|b| *b == b'\n') {
        at += line.len();
        // Told at the end only: what is over a limit besides is over the limit first of all.
        broken |= in_body && line.starts_with(b"-");
        if line.starts_with(b"--- ") && line.ends_with(b"\n") {
            return if broken { Err(bad("a stanza's body has no end")) } else { Ok(Scanned { len: at, work_factor }) };
        }
        if line.starts_with(b"-> ") {
            stanzas += 1;
            in_body = true;
            FormatError::limit("the number of stanzas of an age header", stanzas, limits::AGE_STANZAS as u64)?;
            work_factor = work_factor.max(work_factor_of(line, most_work)?);
        } else {
            // The age crate forgives a body without the short line that ends it; age does not.
            in_body = in_body && line.trim_ascii_end().len() >= BODY_LINE;
        }
    }
    FormatError::limit("the length of an age header", bytes.len() as u64, limits::AGE_HEADER as u64)?;
    Err(bad("it has no end"))
}

/// A later version of age. One flipped bit looks like that, too: nothing here is authenticated.
fn newer(bytes: &[u8]) -> Option<FormatError> {
    let rest = bytes.strip_prefix(b"age-encryption.org/v")?;
    let digits = rest.iter().take(DIGITS).position(|byte| *byte == b'\n')?;
    let version = number(std::str::from_utf8(&rest[..digits]).ok()?)?;
    (version > 1).then_some(FormatError::Newer { what: WHAT, version })
}

/// The work factor in a stanza's first line, 0 if it is not scrypt's.
fn work_factor_of(line: &[u8], most: u8) -> Result<u8, FormatError> {
    let mut words = line.trim_ascii_end().split(|b| *b == b' ').skip(1);
    if words.next() != Some(b"scrypt") {
        return Ok(0);
    }
    let factor = words.nth(1).and_then(|word| std::str::from_utf8(word).ok()?.parse::<u64>().ok());
    let factor = factor.ok_or_else(|| FormatError::malformed(WHAT, 0, "its scrypt stanza has no work factor"))?;
    FormatError::limit("the scrypt work factor", factor, most.into())?;
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
