//! Names as bytes: a path below an unnamed root, and the escaping by which bytes from a drive become text for a
//! terminal or a list.
//!
//! A [`BytePath`] cannot leave the folder it is applied to. It has no empty, `.` or `..` component, no NUL byte and no
//! leading slash, and its lengths are bounded (FORMAT section 12).

use std::borrow::Cow;

/// The longest path that Pouch reads or writes, in bytes.
pub(crate) const MAX_PATH: usize = 32 * 1024;
/// The longest name in a path, in bytes, as on ext4. exFAT and NTFS allow 255 UTF-16 units, which may be more bytes.
pub(crate) const MAX_COMPONENT: usize = 255;

/// A relative path: one or more names separated by `/`. Paths are ordered name by name, so a folder comes directly
/// before everything in it.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct BytePath(Box<[u8]>);

/// Why some bytes are not a [`BytePath`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PathFault {
    /// There are no bytes, or a name is empty: two slashes in a row, or a slash at either end.
    #[error("has an empty component")]
    Empty,
    /// A name is `.` or `..`.
    #[error("has the component \".\" or \"..\"")]
    Dots,
    #[error("holds a NUL byte")]
    Nul,
    /// The path is longer than [`MAX_PATH`], or a name is longer than [`MAX_COMPONENT`].
    #[error("is longer than a path may be")]
    TooLong,
}

impl BytePath {
    pub fn new(bytes: impl Into<Box<[u8]>>) -> Result<Self, PathFault> {
        let bytes = bytes.into();
        if bytes.len() > MAX_PATH {
            return Err(PathFault::TooLong);
        }
        if bytes.contains(&0) {
            return Err(PathFault::Nul);
        }
        for name in bytes.split(|b| *b == b'/') {
            match name {
                b"" => return Err(PathFault::Empty),
                b"." | b".." => return Err(PathFault::Dots),
                _ if name.len() > MAX_COMPONENT => return Err(PathFault::TooLong),
                _ => {}
            }
        }
        Ok(Self(bytes))
    }

    /// Takes bytes without checking them, so that a test can give other code a path that it must refuse.
    #[cfg(test)]
    pub(crate) fn unchecked(bytes: &[u8]) -> Self {
        Self(bytes.into())
    }

    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Everything before the last name. `None` for a path of one name.
    pub(crate) fn parent(&self) -> Option<&[u8]> {
        let slash = self.0.iter().rposition(|b| *b == b'/')?;
        Some(&self.0[..slash])
    }

    pub(crate) fn name(&self) -> &[u8] {
        self.0.rsplit(|b| *b == b'/').next().unwrap_or(&self.0)
    }

    /// The first name: that of the source under which the entry was packed.
    pub(crate) fn top(&self) -> &[u8] {
        self.0.split(|b| *b == b'/').next().unwrap_or(&self.0)
    }

    /// Whether this is `folder` itself or lies below it. Names count as a whole: `photos/a` is not below `photo`.
    pub(crate) fn is_at_or_below(&self, folder: &[u8]) -> bool {
        is_at_or_below(&self.0, folder)
    }

    /// The path as the file system takes it. Names on Unix are bytes, so nothing is converted.
    pub(crate) fn as_path(&self) -> &std::path::Path {
        as_path(&self.0)
    }
}

/// Does the work of [`BytePath::is_at_or_below`] for plain bytes.
pub(crate) fn is_at_or_below(path: &[u8], folder: &[u8]) -> bool {
    path.strip_prefix(folder).is_some_and(|rest| rest.is_empty() || rest[0] == b'/')
}

pub fn as_path(bytes: &[u8]) -> &std::path::Path {
    use std::os::unix::ffi::OsStrExt;
    std::path::Path::new(std::ffi::OsStr::from_bytes(bytes))
}

pub(crate) fn as_bytes(path: &std::path::Path) -> &[u8] {
    use std::os::unix::ffi::OsStrExt;
    path.as_os_str().as_bytes()
}

/// A path for people, escaped so that it is safe on a terminal.
pub(crate) fn show(path: &std::path::Path) -> String {
    escape(as_bytes(path)).into_owned()
}

/// Orders two paths name by name, as [`BytePath`] does.
pub(crate) fn compare(a: &[u8], b: &[u8]) -> std::cmp::Ordering {
    a.iter().map(slash_as_nul).cmp(b.iter().map(slash_as_nul))
}

/// Makes a slash sort before every byte of a name, because no name contains NUL.
fn slash_as_nul(byte: &u8) -> u8 {
    if *byte == b'/' { 0 } else { *byte }
}

impl Ord for BytePath {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        compare(&self.0, &other.0)
    }
}

impl PartialOrd for BytePath {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl std::fmt::Display for BytePath {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&escape(&self.0))
    }
}

impl std::fmt::Debug for BytePath {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "\"{self}\"")
    }
}

/// Whether a character is shown as it is. The set is part of the format (FORMAT section 7), so it must not follow the
/// tables of a later Unicode version.
fn is_plain(c: char) -> bool {
    !matches!(c,
        '\\' | '\0'..='\u{1f}' | '\u{7f}'..='\u{9f}'       // C0, DEL, C1, and the escape itself
        | '\u{61c}' | '\u{200b}'..='\u{200f}'              // marks without width
        | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' // separators, direction overrides
        | '\u{feff}' | '\u{fff9}'..='\u{fffb}'
        | '\u{e0000}'..='\u{e007f}')
}

/// Turns bytes into text without controls, direction marks or broken UTF-8. Each byte that cannot stand as it is
/// becomes `\xHH`, and a backslash becomes `\\`. [`unescape`] reverses it.
pub fn escape(bytes: &[u8]) -> Cow<'_, str> {
    // Most names are plain ASCII, which is quick to see.
    let ascii = bytes.iter().all(|byte| matches!(byte, b' '..=b'~') && *byte != b'\\');
    if let Ok(text) = std::str::from_utf8(bytes)
        && (ascii || text.chars().all(is_plain))
    {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(bytes.len() + 8);
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            match c {
                '\\' => out.push_str("\\\\"),
                c if is_plain(c) => out.push(c),
                c => push_hex(&mut out, c.encode_utf8(&mut [0; 4]).as_bytes()),
            }
        }
        push_hex(&mut out, chunk.invalid());
    }
    Cow::Owned(out)
}

/// Escapes at most the first 100 bytes: for a quotation, which may be of any length.
pub(crate) fn brief(bytes: &[u8]) -> String {
    const SHOWN: usize = 100;
    match bytes.get(..SHOWN) {
        Some(start) if bytes.len() > SHOWN => format!("{}...", escape(start)),
        _ => escape(bytes).into_owned(),
    }
}

/// Whether [`defuse`] leaves the character as it is.
fn is_harmless(c: char) -> bool {
    is_plain(c) || matches!(c, '\\' | '\n' | '\t')
}

/// Escapes controls and direction marks in a sentence. Newlines, tabs and backslashes stay, so this cannot be reversed.
pub(crate) fn defuse(text: &str) -> Cow<'_, str> {
    if text.chars().all(is_harmless) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        if is_harmless(c) { out.push(c) } else { push_hex(&mut out, c.encode_utf8(&mut [0; 4]).as_bytes()) }
    }
    Cow::Owned(out)
}

fn push_hex(out: &mut String, bytes: &[u8]) {
    for byte in bytes {
        out.push_str("\\x");
        out.push_str(&crate::base::text::hex(&[*byte]));
    }
}

/// Reverses [`escape`]. `None` for a text that [`escape`] does not write.
pub fn unescape(text: &str) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some(at) = rest.iter().position(|b| *b == b'\\') {
        out.extend_from_slice(&rest[..at]);
        rest = &rest[at + 1..];
        if let Some(tail) = rest.strip_prefix(b"\\") {
            out.push(b'\\');
            rest = tail;
        } else {
            let digits = std::str::from_utf8(rest.strip_prefix(b"x")?.get(..2)?).ok()?;
            out.extend(crate::base::text::unhex::<1>(digits)?);
            rest = &rest[3..];
        }
    }
    out.extend_from_slice(rest);
    // Every name has exactly one spelling. Any other one is refused.
    (escape(&out) == text).then_some(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_path_cannot_leave() {
        for (bytes, fault) in [
            (&b""[..], PathFault::Empty),
            (b"/etc/passwd", PathFault::Empty),
            (b"a//b", PathFault::Empty),
            (b"a/", PathFault::Empty),
            (b"..", PathFault::Dots),
            (b"a/../b", PathFault::Dots),
            (b"./a", PathFault::Dots),
            (b"a\0b", PathFault::Nul),
            (&[b'x'; 256], PathFault::TooLong),
        ] {
            assert_eq!(BytePath::new(bytes), Err(fault));
        }
        assert!(BytePath::new(&b"a/..b/c.."[..]).is_ok());
    }

    #[test]
    fn a_folder_stands_before_what_it_holds() {
        let mut paths = ["a.b", "a/z", "a", "a-", "b", "a/b/c", "a/b"].map(|p| BytePath::new(p.as_bytes()).unwrap());
        paths.sort();
        let shown: Vec<String> = paths.iter().map(|p| p.to_string()).collect();
        assert_eq!(shown, ["a", "a/b", "a/b/c", "a/z", "a-", "a.b", "b"]);
    }

    #[test]
    fn terminals_see_no_controls() {
        assert_eq!(escape(b"plain name.txt"), "plain name.txt");
        assert_eq!(escape("ü 漢".as_bytes()), "ü 漢");
        assert_eq!(escape(b"a\x1b[31m\n"), "a\\x1b[31m\\x0a");
        assert_eq!(escape("x\u{202e}gpj.exe".as_bytes()), "x\\xe2\\x80\\xaegpj.exe");
        assert_eq!(escape(b"\xff\\"), "\\xff\\\\");
    }

    #[test]
    fn what_is_quoted_is_cut() {
        assert_eq!(brief(b"short\n"), "short\\x0a");
        assert_eq!((brief(&[b'a'; 100]), brief(&[b'a'; 101])), ("a".repeat(100), "a".repeat(100) + "..."));
    }

    #[test]
    fn sentences_are_defused() {
        assert_eq!(defuse("two\nlines\t\\x1b"), "two\nlines\t\\x1b");
        assert_eq!(defuse("a\u{1b}[31m\u{202e}b\r"), "a\\x1b[31m\\xe2\\x80\\xaeb\\x0d");
    }

    #[test]
    fn unescape_takes_only_what_escape_writes() {
        for wrong in ["\\", "\\x", "\\x4", "\\x41", "\\n", "\\xFF", "\n"] {
            assert_eq!(unescape(wrong), None, "{wrong:?}");
        }
    }

    #[test]
    fn at_or_below_minds_the_slash() {
        let path = BytePath::new(&b"photos/a.jpg"[..]).unwrap();
        assert!(path.is_at_or_below(b"photos") && path.is_at_or_below(b"photos/a.jpg"));
        assert!(!path.is_at_or_below(b"photo") && !path.is_at_or_below(b"photos/a"));
        assert_eq!((path.parent(), path.name(), path.top()), (Some(&b"photos"[..]), &b"a.jpg"[..], &b"photos"[..]));
    }

    proptest! {
        #[test]
        fn escape_and_back(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            let text = escape(&bytes);
            prop_assert!(text.chars().all(|c| c == '\\' || is_plain(c)));
            prop_assert_eq!(unescape(&text), Some(bytes.clone()));
        }
    }
}
