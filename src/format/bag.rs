//! The BagIt side of the tar: the small files of a bag, and how a manifest spells names (RFC 8493, and what
//! bagit-python does; FORMAT section 3).

use std::borrow::Cow;

use crate::base::digest::Digest;
use crate::base::text::hex;

/// Folder of the bag in the tar, with its slash.
pub(crate) const ROOT: &[u8] = b"bag/";
/// Folder of the payload in the bag, with its slash.
pub(crate) const PAYLOAD: &[u8] = b"data/";
/// Content of `bagit.txt`.
pub(crate) const DECLARATION: &[u8] = b"BagIt-Version: 1.0\nTag-File-Character-Encoding: UTF-8\n";

/// Content of `bag-info.txt`: how many bytes in how many payload files.
pub(crate) fn info(bytes: u64, files: u64) -> Vec<u8> {
    format!("Payload-Oxum: {bytes}.{files}\n").into_bytes()
}

/// Spells a name for `manifest-sha256.txt`. CR, LF and bytes that are not UTF-8 are percent-encoded, and `%` only where
/// a validator would decode it. Two names may then look alike; the bag's `SHA256SUMS` tells them apart.
pub fn encode(name: &[u8]) -> Cow<'_, [u8]> {
    let text = std::str::from_utf8(name);
    if text.is_ok() && !name.iter().any(|b| b"\r\n%".contains(b)) {
        return Cow::Borrowed(name);
    }
    let mut out = Vec::with_capacity(name.len() + 8);
    let mut rest = name;
    for chunk in name.utf8_chunks() {
        for byte in chunk.valid().bytes() {
            let ambiguous = byte == b'%' && decodes(&rest[1..]);
            if matches!(byte, b'\r' | b'\n') || ambiguous {
                percent(&mut out, byte);
            } else {
                out.push(byte);
            }
            rest = &rest[1..];
        }
        chunk.invalid().iter().for_each(|byte| percent(&mut out, *byte));
        rest = &rest[chunk.invalid().len()..];
    }
    Cow::Owned(out)
}

/// Whether a validator reads `%` and these bytes as an encoded CR, LF or `%`.
fn decodes(after: &[u8]) -> bool {
    after.first_chunk::<2>().is_some_and(|two| matches!(&two.to_ascii_uppercase()[..], b"0A" | b"0D" | b"25"))
}

fn percent(out: &mut Vec<u8>, byte: u8) {
    out.extend_from_slice(format!("%{byte:02X}").as_bytes());
}

/// Why BagIt validators refuse or misread a name; `None` for ordinary names.
pub(crate) fn refused(name: &[u8]) -> Option<&'static str> {
    if name.iter().all(|byte| byte.is_ascii_graphic() && *byte != b'%') {
        return None;
    }
    let Ok(text) = std::str::from_utf8(name) else {
        return Some("the name is not UTF-8");
    };
    if text.contains(is_odd_separator) {
        return Some("the name holds a line separator that is not CR or LF");
    }
    if text.ends_with(char::is_whitespace) {
        return Some("the name ends with a blank");
    }
    if encode(name) != name {
        return Some("the name holds CR, LF or an encoded character");
    }
    None
}

/// Whether Python's `splitlines` ends a line here. CR and LF do not count, because [`encode`] spells them.
fn is_odd_separator(c: char) -> bool {
    matches!(c, '\u{b}' | '\u{c}' | '\u{1c}'..='\u{1e}' | '\u{85}' | '\u{2028}' | '\u{2029}')
}

/// A line of a manifest. `encoded` is a path below the bag, spelled by [`encode`].
pub fn manifest_line(sha256: &Digest, encoded: &[u8]) -> Vec<u8> {
    [hex(&sha256.0).as_bytes(), b"  ", encoded, b"\n"].concat()
}

/// Length of [`manifest_line`] in bytes. The layout of the tar needs it before any hash is known.
pub(crate) fn manifest_line_len(encoded: &[u8]) -> u64 {
    (64 + 2 + encoded.len() + 1) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_encoded_only_where_they_must() {
        for (raw, encoded) in [
            (&b"plain.txt"[..], &b"plain.txt"[..]),
            (b"100%.txt", b"100%.txt"),
            (b"a%41", b"a%41"),
            (b"a%0a", b"a%250a"),
            (b"a%25%0D", b"a%2525%250D"),
            (b"cr\rlf\n", b"cr%0Dlf%0A"),
            (b"\xff\xc3", b"%FF%C3"),
            ("ü%".as_bytes(), "ü%".as_bytes()),
            (b"%\xff%0a", b"%%FF%250a"),
        ] {
            assert_eq!(&*encode(raw), encoded);
        }
    }

    #[test]
    fn what_a_validator_refuses_is_known() {
        assert_eq!(refused(b"plain.txt"), None);
        assert_eq!(refused("grüße 漢字.txt".as_bytes()), None);
        for name in [&b"x "[..], b"\xff", b"a\nb", "a\u{2028}b".as_bytes(), b"a\x0bb", b"%25"] {
            assert!(refused(name).is_some());
        }
    }

    #[test]
    fn line_lengths_are_known_before_the_digest() {
        let line = manifest_line(&Digest::ZERO, b"data/x");
        assert_eq!(line, [&[b'0'; 64][..], b"  data/x\n"].concat());
        assert_eq!(manifest_line_len(b"data/x"), line.len() as u64);
    }
}
