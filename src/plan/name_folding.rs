//! When a file system may take two names for one, and how a name is spelled so that any file system takes it. No other
//! file uses `unicode-normalization`.

use unicode_normalization::UnicodeNormalization;

/// The key of a name. Names that any known file system takes for one have the same key: it leaves out case,
/// normalisation, marks without width, and what Windows cuts off the end. The reverse does not hold: names with one key
/// may still be two, which only a trial shows.
pub(crate) fn key(name: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(name.len());
    if name.is_ascii() {
        out.extend(name.iter().map(u8::to_ascii_lowercase));
    }
    for chunk in name.utf8_chunks().take_while(|_| !name.is_ascii()) {
        let visible = chunk.valid().chars().filter(|c| !is_ignorable(*c));
        // Upper case first, then lower: the long s, the sharp s and the Kelvin sign become the letters that others
        // write.
        let folded = visible.nfkd().flat_map(char::to_uppercase).flat_map(char::to_lowercase).nfkd();
        out.extend(folded.filter(|c| !is_ignorable(*c)).collect::<String>().as_bytes());
        out.extend_from_slice(chunk.invalid());
    }
    let end = out.iter().rposition(|byte| !matches!(byte, b'.' | b' ')).map_or(0, |at| at + 1);
    out.truncate(end);
    out
}

/// Characters without width, which some file systems ignore.
fn is_ignorable(c: char) -> bool {
    matches!(c, '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}'..='\u{1160}' | '\u{17b4}'..='\u{17b5}'
        | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
        | '\u{3164}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}' | '\u{fff0}'..='\u{fff8}'
        | '\u{e0000}'..='\u{e0fff}')
}

/// Whether two names differ at most in normalisation: some file systems return another form than they were given, and
/// answer to both.
pub(crate) fn is_same_text(a: &[u8], b: &[u8]) -> bool {
    match (std::str::from_utf8(a), std::str::from_utf8(b)) {
        (Ok(x), Ok(y)) => x == y || x.nfc().eq(y.nfc()),
        _ => a == b,
    }
}

/// The characters of a name, and single bytes where it is not UTF-8.
pub(crate) fn pieces(name: &[u8]) -> impl Iterator<Item = &[u8]> {
    name.utf8_chunks().flat_map(|chunk| {
        let valid = chunk.valid();
        let invalid = chunk.invalid();
        let chars = valid.char_indices().map(|(at, c)| &valid.as_bytes()[at..at + c.len_utf8()]);
        chars.chain(invalid.chunks(1))
    })
}

/// Spells a name with `%XX` for `%` itself, and for each byte of the pieces that `refused` picks by index and bytes.
pub(crate) fn percent(name: &[u8], refused: impl Fn(usize, &[u8]) -> bool) -> Vec<u8> {
    let mut out = Vec::with_capacity(name.len() + 6);
    for (at, piece) in pieces(name).enumerate() {
        if piece == b"%" || refused(at, piece) {
            piece.iter().for_each(|byte| out.extend_from_slice(format!("%{byte:02X}").as_bytes()));
        } else {
            out.extend_from_slice(piece);
        }
    }
    out
}

/// Undoes [`percent`] for the laws that tests hold, and drops a number such as `%~2` at the end. `None` if the name was not spelled so.
#[cfg(test)]
pub(crate) fn unpercent(name: &[u8]) -> Option<Vec<u8>> {
    let end = name.windows(2).rposition(|pair| pair == b"%~").unwrap_or(name.len());
    let mut out = Vec::with_capacity(name.len());
    let mut rest = &name[..end];
    while let Some(at) = rest.iter().position(|byte| *byte == b'%') {
        let digits = std::str::from_utf8(rest.get(at + 1..at + 3)?).ok()?;
        out.extend_from_slice(&rest[..at]);
        out.push(u8::from_str_radix(digits, 16).ok()?);
        rest = &rest[at + 3..];
    }
    out.extend_from_slice(rest);
    Some(out)
}

/// The beginning of a name spelled by [`percent`], `most` bytes at most, that divides neither a character nor a `%XX`.
pub(crate) fn cut(name: &[u8], most: usize) -> &[u8] {
    if name.len() <= most {
        return name;
    }
    let mut end = most;
    while end > 0 && (std::str::from_utf8(name).is_ok_and(|text| !text.is_char_boundary(end))) {
        end -= 1;
    }
    match name[..end].iter().rposition(|byte| *byte == b'%').filter(|at| at + 3 > end) {
        Some(at) => &name[..at],
        None => &name[..end],
    }
}

/// Whether DOS takes the name for a device: `CON`, `nul.txt`, `COM1`.
pub(crate) fn is_device(name: &[u8]) -> bool {
    let stem = name.split(|byte| *byte == b'.').next().unwrap_or_default().to_ascii_uppercase();
    let stem = String::from_utf8_lossy(&stem).trim_end().to_string();
    let port = stem.strip_prefix("COM").or_else(|| stem.strip_prefix("LPT"));
    matches!(&*stem, "CON" | "PRN" | "AUX" | "NUL" | "CLOCK$" | "CONIN$" | "CONOUT$")
        || matches!(port, Some("0" | "1" | "2" | "3" | "4" | "5" | "6" | "7" | "8" | "9" | "¹" | "²" | "³"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn names_that_may_be_one_have_one_key() {
        for (a, b) in [
            ("Aa", "aA"),
            ("caf\u{e9}", "cafe\u{301}"),
            ("Stra\u{df}e", "STRASSE"),
            ("\u{212a}", "k"),
            ("\u{17f}", "S"),
            ("a\u{200d}b", "ab"),
            ("trail.", "trail"),
            ("trail . ", "trail"),
            ("\u{130}", "i\u{307}"),
        ] {
            assert_eq!(key(a.as_bytes()), key(b.as_bytes()), "{a} {b}");
        }
        for (a, b) in [("a", "b"), ("\u{e9}", "e"), (".a", "a"), (" a", "a")] {
            assert_ne!(key(a.as_bytes()), key(b.as_bytes()), "{a} {b}");
        }
        assert_ne!(key(b"\xff"), key(b"\xfe"));
    }

    #[test]
    fn devices_are_known() {
        for name in ["con", "NUL.tar.gz", "com1", "LPT9.x", "aux .txt"] {
            assert!(is_device(name.as_bytes()), "{name}");
        }
        for name in ["cone", "com", "com10", "x.con", "lpt"] {
            assert!(!is_device(name.as_bytes()), "{name}");
        }
    }

    #[test]
    fn a_cut_parts_nothing() {
        assert_eq!(cut(b"ab%3A", 4), b"ab");
        assert_eq!(cut(b"ab%3Acd", 5), b"ab%3A");
        assert_eq!(cut("ab\u{e9}".as_bytes(), 3), b"ab");
        assert_eq!(cut(b"ab", 3), b"ab");
    }

    proptest! {
        #[test]
        fn what_is_spelled_with_percent_comes_back(
            name in proptest::collection::vec(any::<u8>(), 1..40),
            pick in any::<u64>(),
            number in any::<bool>(),
        ) {
            let mut spelled = percent(&name, |at, _| pick >> (at % 64) & 1 == 1);
            if number {
                spelled.extend_from_slice(b"%~12");
            }
            prop_assert_eq!(unpercent(&spelled), Some(name));
        }
    }
}
