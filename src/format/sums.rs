//! `SHA256SUMS` as coreutils writes and checks it. A volume's own file holds only our short, FAT-safe names; the bag's
//! file may hold any name, with coreutils' escapes, and `format/manifest.rs` reads it. Nothing authenticates a volume's
//! file: it finds damage, not forgery.

use crate::base::digest::Digest;
use crate::base::path::brief;
use crate::base::text::{hex, unhex};
use crate::format::{FormatError, limits};

const WHAT: &str = "SHA256SUMS";

/// A file by its name, and what it holds by its SHA-256. Sorted by name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NamedDigest {
    pub name: String,
    pub sha256: Digest,
}

/// One line as `sha256sum` prints it: hash, two blanks, name. A backslash before the hash marks an escaped name.
pub fn line(sha256: &Digest, name: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(64 + 4 + name.len());
    let escaped = needs_escape(name);
    if escaped {
        out.push(b'\\');
    }
    out.extend_from_slice(hex(&sha256.0).as_bytes());
    out.extend_from_slice(b"  ");
    for byte in name {
        match byte {
            b'\\' if escaped => out.extend_from_slice(b"\\\\"),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            byte => out.push(*byte),
        }
    }
    out.push(b'\n');
    out
}

/// Length of [`line`] in bytes. The layout of the tar needs it before any hash is known.
pub fn line_len(name: &[u8]) -> u64 {
    let extra = if needs_escape(name) { 1 + name.iter().filter(|b| b"\\\n\r".contains(b)).count() } else { 0 };
    (64 + 2 + name.len() + 1 + extra) as u64
}

fn needs_escape(name: &[u8]) -> bool {
    name.iter().any(|b| b"\\\n\r".contains(b))
}

/// Parses a volume's SHA256SUMS, in the order of its lines. A CR before the LF of a line does not count, because editors
/// and mail programs put one there.
///
/// # Errors
/// The file is over 16 MiB, or a line is not one that `sha256sum` prints for a file of ours, or a name stands twice. A
/// name that leads out of the folder or holds a control is [`FormatError::Unsafe`].
pub fn parse(bytes: &[u8]) -> Result<Vec<NamedDigest>, FormatError> {
    FormatError::check_limit("the size of SHA256SUMS", bytes.len() as u64, limits::SUMS_FILE)?;
    let mut out = Vec::new();
    let mut seen = std::collections::HashSet::new();
    for (at, line) in bytes.split_inclusive(|b| *b == b'\n').enumerate() {
        let line = line.strip_suffix(b"\n").ok_or_else(|| malformed(at, "the last line is cut short"))?;
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let line = std::str::from_utf8(line).map_err(|_| malformed(at, "it is not text"))?;
        let (sum, name) = line.split_once("  ").ok_or_else(|| malformed(at, "it is no line of sha256sum"))?;
        let sum = unhex(sum).ok_or_else(|| malformed(at, "it has no SHA-256"))?;
        if !is_our_name(name) {
            let why = format!("\"{}\" is no name that a volume holds", brief(name.as_bytes()));
            let leads_out = name.contains('/') || name == ".." || name.contains(|c: char| c.is_control() && c != '\r');
            return Err(if leads_out {
                FormatError::Unsafe { what: WHAT, line: at + 1, why }
            } else {
                malformed(at, why)
            });
        }
        if !seen.insert(name) {
            return Err(malformed(at, format!("\"{name}\" stands twice")));
        }
        out.push(NamedDigest { name: name.to_string(), sha256: Digest(sum) });
    }
    Ok(out)
}

/// `at` counts lines from 0.
fn malformed(at: usize, why: impl Into<String>) -> FormatError {
    FormatError::malformed(WHAT, at + 1, why)
}

/// Whether a volume may hold a file of this name: 1 to 64 lower-case letters, digits, dots and hyphens, which every
/// file system takes, beginning with neither dot nor hyphen.
pub(crate) fn is_our_name(name: &str) -> bool {
    (1..=64).contains(&name.len()) && name.bytes().all(is_plain) && !name.starts_with(['.', '-'])
}

fn is_plain(b: u8) -> bool {
    b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'.' || b == b'-'
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_those_of_coreutils() {
        let sum = Digest([0xab; 32]);
        let hash = "ab".repeat(32);
        for (name, expected) in [
            (&b"plain name"[..], format!("{hash}  plain name\n")),
            (b"new\nline", format!("\\{hash}  new\\nline\n")),
            (b"back\\slash\r", format!("\\{hash}  back\\\\slash\\r\n")),
        ] {
            assert_eq!(line(&sum, name), expected.as_bytes());
            assert_eq!(line_len(name), expected.len() as u64);
        }
    }

    #[test]
    fn a_volumes_own_file_is_strict() {
        let good = format!("{}  000001.age\n{}  seal.age\n", "00".repeat(32), "11".repeat(32));
        assert_eq!(parse(good.as_bytes()).unwrap().len(), 2);
        assert_eq!(parse(b"").unwrap().len(), 0);
        assert_eq!(parse(good.replace('\n', "\r\n").as_bytes()), parse(good.as_bytes()));
        assert_eq!(parse(good.replacen('\n', "\r\n", 1).as_bytes()), parse(good.as_bytes()));
        for wrong in [
            good.trim_end().to_string(),
            good.replace("seal.age", "000001.age"),
            good.replace("seal.age", "se\u{202e}al.age"),
            good.replace("11  ", "11 *"),
            good.replacen("00", "0g", 1),
            good.replace('\n', "\r\r\n"),
            good.replace("seal", "se\ral"),
            good.replace('\n', "\r"),
        ] {
            assert!(matches!(parse(wrong.as_bytes()), Err(FormatError::Malformed { .. })), "{wrong}");
        }
        for name in ["../seal.age", "/dev/zero", "..", "\u{1b}[2J"] {
            let wrong = good.replace("seal.age", name);
            assert!(matches!(parse(wrong.as_bytes()), Err(FormatError::Unsafe { line: 2, .. })), "{name}");
        }
        assert!(matches!(parse(&vec![b'0'; (16 << 20) + 1]), Err(FormatError::Limit { .. })));
    }
}
