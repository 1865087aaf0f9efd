//! Bytes as text: hex, base64 as age writes it, and base32 for reading aloud.

use data_encoding::{BASE32_NOPAD, BASE64_NOPAD, HEXLOWER};

pub fn hex(bytes: &[u8]) -> String {
    HEXLOWER.encode(bytes)
}

/// Decodes lower-case hex. `None` for upper case, for other characters, and unless it is exactly `N` bytes.
pub(crate) fn unhex<const N: usize>(text: &str) -> Option<[u8; N]> {
    HEXLOWER.decode(text.as_bytes()).ok()?.try_into().ok()
}

/// Standard base64 without padding, as age headers have it.
pub(crate) fn base64(bytes: &[u8]) -> String {
    BASE64_NOPAD.encode(bytes)
}

/// Decodes base64 without padding. `None` unless it is canonical: padding and stray bits at the end are refused.
pub(crate) fn unbase64(text: &str) -> Option<Vec<u8>> {
    BASE64_NOPAD.decode(text.as_bytes()).ok()
}

/// Upper-case base32 that a person can read aloud: the first `letters` letters, with a hyphen after each `group`
/// letters.
pub fn spoken(bytes: &[u8], letters: usize, group: usize) -> String {
    let all = BASE32_NOPAD.encode(bytes);
    let cut = &all.as_bytes()[..letters.min(all.len())];
    let groups: Vec<&str> = cut.chunks(group).map(|g| std::str::from_utf8(g).unwrap_or("")).collect();
    groups.join("-")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hex_is_canonical() {
        assert_eq!(unhex::<2>("0aff"), Some([0x0a, 0xff]));
        assert_eq!(unhex::<2>("0AFF"), None);
        assert_eq!(unhex::<2>("0aff00"), None);
    }

    #[test]
    fn base64_refuses_stray_bits() {
        assert_eq!(unbase64("AA").as_deref(), Some(&[0][..]));
        assert_eq!(unbase64("AB"), None, "the last four bits are not zero");
        assert_eq!(unbase64("AA=="), None, "no padding");
    }

    #[test]
    fn spoken_text_is_grouped() {
        assert_eq!(spoken(&[0; 20], 10, 4), "AAAA-AAAA-AA");
    }
}
