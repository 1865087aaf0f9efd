//! Reads heads and lists from a volume: opens and decompresses them, and parses a list line by line as it comes.
//!
//! Not guaranteed: that a head or list is the right one. A caller checks the head against the seal; a list is checked
//! against the hash in the head, if there is a head.

use std::cell::Cell;
use std::io::Read;

use crate::base::digest::{Digest, Hasher};
use crate::base::entry::Entry;
use crate::base::secret::FileKey;
use crate::flow::error::CopyFault;
use crate::format::part::CHUNK;
use crate::format::{FormatError, limits, list};
use crate::stage::compress::{DecodeError, Decompressor};
use crate::stage::seal::{KeyError, Keyring};
use crate::stage::stream::Opener;
use crate::stage::volume::{LIST, Volume};

/// Opens the bytes of a sealed head. Returns its text, which is not parsed yet.
pub(crate) fn head_text(sealed: &[u8], keyring: &Keyring) -> Result<Vec<u8>, CopyFault> {
    let (key, len) = keyring.open_header(sealed).map_err(of_this_bundle)?;
    let mut text = Vec::new();
    unseal(&sealed[len..], &key, HEAD, |bytes| {
        text.extend_from_slice(bytes);
        Ok(())
    })?;
    Ok(text)
}

/// The first `len` bytes of the text in one of a volume's heads, or all of a shorter one. Reads no more of the file
/// than that takes, so damage behind these bytes is not seen.
pub(crate) fn head_start(volume: &Volume, name: &str, keyring: &Keyring, len: usize) -> Result<Vec<u8>, CopyFault> {
    let (start, file) = volume.read_start(name, limits::AGE_HEADER).map_err(|fault| CopyFault::from(&fault))?;
    let (key, header) = keyring.open_header(&start).map_err(of_this_bundle)?;
    let mut opener =
        Opener::new(start[header..].chain(file.take(limits::HEAD)), &key).map_err(|error| CopyFault::from(&error))?;
    let mut decompressor = Decompressor::new().map_err(|error| broken(HEAD.what, error))?;
    let mut pieces = Pieces { opener: &mut opener, failed: None };
    let mut text = Vec::new();
    let seen = Cell::new(0);
    // The decoder takes a chunk at a time, and no more once the text is long enough.
    let needed = std::iter::from_fn(|| if seen.get() < len { pieces.next() } else { None });
    let decoded = decompressor.decode(needed, |bytes| {
        text.extend_from_slice(bytes);
        seen.set(text.len());
        Ok::<(), FormatError>(())
    });
    if text.len() >= len {
        text.truncate(len);
        return Ok(text);
    }
    match pieces.failed {
        Some(error) => Err(CopyFault::from(&error)),
        None => decoded.map(|()| text).map_err(|error| of_decoding(HEAD.what, error)),
    }
}

/// A kind of text that is sealed to a bundle.
#[derive(Clone, Copy)]
struct Text {
    /// As errors name it.
    what: &'static str,
    /// Most bytes of the text.
    limit: u64,
}

/// The limits leave room for 100,000 parts and for some 15 million files.
const HEAD: Text = Text { what: "the head", limit: limits::HEAD };
const LIST_TEXT: Text = Text { what: "the list", limit: limits::LIST };

/// The fault of a copy that the bundle's own key does not open: the key is right, so the copy is damaged or of another
/// bundle.
pub(super) fn of_this_bundle(error: KeyError) -> CopyFault {
    match CopyFault::from(error) {
        CopyFault::Wrong => CopyFault::Damaged("the bundle's key does not open it, or it is of another bundle".into()),
        other => other,
    }
}

/// The fault of a text that was authenticated and breaks the format.
fn broken(what: &'static str, why: impl ToString) -> CopyFault {
    CopyFault::Broken(FormatError::malformed(what, 0, why.to_string()))
}

/// The fault of a text that opened and does not decompress to its end.
fn of_decoding(what: &'static str, error: DecodeError<FormatError>) -> CopyFault {
    match error {
        DecodeError::Sink(error) => CopyFault::Broken(error),
        DecodeError::Truncated => broken(what, "its last zstd frame is cut short"),
        DecodeError::Zstd(error) => broken(what, error),
    }
}

/// Opens and decompresses a text, and hands it to `sink` piece by piece. `sealed` begins behind the age header.
fn unseal(
    sealed: impl Read,
    key: &FileKey,
    text: Text,
    mut sink: impl FnMut(&[u8]) -> Result<(), FormatError>,
) -> Result<(), CopyFault> {
    let mut opener = Opener::new(sealed, key).map_err(|error| CopyFault::from(&error))?;
    let mut decompressor = Decompressor::new().map_err(|error| broken(text.what, error))?;
    let mut seen = 0;
    let mut pieces = Pieces { opener: &mut opener, failed: None };
    let decoded = decompressor.decode(&mut pieces, |bytes| {
        seen += bytes.len() as u64;
        FormatError::check_limit("the length of a sealed text", seen, text.limit)?;
        sink(bytes)
    });
    match pieces.failed {
        Some(error) => Err(CopyFault::from(&error)),
        None => decoded.map_err(|error| of_decoding(text.what, error)),
    }
}

/// The pieces that the decoder takes. They end at the first error of reading, which is kept here.
struct Pieces<'a, R: Read> {
    opener: &'a mut Opener<R>,
    failed: Option<std::io::Error>,
}

impl<R: Read> Iterator for Pieces<'_, R> {
    type Item = Vec<u8>;

    fn next(&mut self) -> Option<Vec<u8>> {
        let mut piece = vec![0; CHUNK];
        match self.opener.read(&mut piece) {
            Ok(0) => None,
            Ok(len) => {
                piece.truncate(len);
                Some(piece)
            }
            Err(error) => {
                self.failed = Some(error);
                None
            }
        }
    }
}

/// Reads the entries of a volume's list, which must fit a tar of `tar` bytes and have that hash. `None` stands for the
/// hash if there is no head to name it.
pub(crate) fn read_list(
    volume: &Volume,
    keyring: &Keyring,
    tar: u64,
    hash: Option<Digest>,
) -> Result<Vec<Entry>, CopyFault> {
    let (start, file) = volume.read_start(LIST, limits::AGE_HEADER).map_err(|fault| CopyFault::from(&fault))?;
    let (key, len) = keyring.open_header(&start).map_err(of_this_bundle)?;
    let sealed = std::io::BufReader::with_capacity(1 << 20, start[len..].chain(file));
    let mut lines = ListLines::new(tar);
    unseal(sealed, &key, LIST_TEXT, |bytes| lines.push(bytes))?;
    lines.finish(hash)
}

/// Parses a list from pieces that end anywhere.
struct ListLines {
    reader: list::Reader,
    /// Hashes the text so far.
    hasher: Hasher,
    /// The beginning of a line whose end has not come yet.
    line: Vec<u8>,
}

impl ListLines {
    fn new(tar: u64) -> Self {
        Self { reader: list::Reader::new(tar), hasher: Hasher::tagged("list"), line: Vec::new() }
    }

    /// Parses the lines that end in the next piece, and keeps the beginning of the one that does not.
    fn push(&mut self, mut bytes: &[u8]) -> Result<(), FormatError> {
        self.hasher.update(bytes);
        while let Some(end) = bytes.iter().position(|b| *b == b'\n') {
            let (head, rest) = bytes.split_at(end + 1);
            if self.line.is_empty() {
                self.reader.line(head)?;
            } else {
                self.line.extend_from_slice(head);
                self.reader.line(&self.line)?;
                self.line.clear();
            }
            bytes = rest;
        }
        self.line.extend_from_slice(bytes);
        FormatError::check_limit("the length of a line of the list", self.line.len() as u64, limits::LIST_LINE as u64)
    }

    /// Ends the list. Fails if the last line has no end, or if the text has another hash than the `expected` one.
    fn finish(self, expected: Option<Digest>) -> Result<Vec<Entry>, CopyFault> {
        if !self.line.is_empty() {
            return Err(broken(LIST_TEXT.what, "its last line does not end"));
        }
        let found = self.hasher.finish();
        if expected.is_some_and(|expected| expected != found) {
            return Err(broken(LIST_TEXT.what, "it is not the one that the head names"));
        }
        Ok(self.reader.finish())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::digest::tagged;
    use crate::flow::bundle::test_bundle::TestBundle;
    use crate::plan::layout::tests::dir;
    use crate::stage::compress::{Compressor, Level};
    use crate::stage::seal::header_for;
    use crate::stage::stream::Sealer;
    use std::io::Write;

    const SHORT: Text = Text { what: "the note", limit: 10 };

    /// Seals frames, and unseals them as a text of at most ten bytes.
    fn unsealed(frames: &[u8]) -> Result<Vec<u8>, CopyFault> {
        let (_, key) = header_for(&[]);
        let mut sealed = Vec::new();
        let mut sealer = Sealer::new(&mut sealed, b"", &key).unwrap();
        sealer.write_all(frames).unwrap();
        sealer.finish().unwrap();
        let mut text = Vec::new();
        unseal(&sealed[..], &key, SHORT, |bytes| {
            text.extend_from_slice(bytes);
            Ok(())
        })?;
        Ok(text)
    }

    fn frame(text: &[u8]) -> Vec<u8> {
        Compressor::new(Level::Quick).unwrap().frame(text).unwrap()
    }

    #[track_caller]
    fn assert_broken<T: std::fmt::Debug>(read: Result<T, CopyFault>, why: &str) {
        let Err(CopyFault::Broken(error)) = read else { panic!("{read:?}") };
        assert!(error.to_string().contains(why), "{error}");
    }

    /// Parses a list that comes in pieces of seven bytes.
    fn read_lines(text: &str, hash: Option<Digest>) -> Result<Vec<Entry>, CopyFault> {
        let mut lines = ListLines::new(1 << 20);
        for piece in text.as_bytes().chunks(7) {
            lines.push(piece).map_err(CopyFault::Broken)?;
        }
        lines.finish(hash)
    }

    fn list_text() -> String {
        ["clips", "stills"].map(|name| list::encode(&dir(name))).concat()
    }

    #[test]
    fn a_list_is_read_wherever_its_pieces_end() {
        let hash = tagged("list", list_text().as_bytes());
        assert_eq!(read_lines(&list_text(), Some(hash)), Ok(vec![dir("clips"), dir("stills")]));
        assert!(read_lines(&list_text(), None).is_ok(), "no head names the hash");
    }

    #[test]
    fn a_list_with_another_hash_is_not_the_one() {
        assert_broken(read_lines(&list_text(), Some(Digest([1; 32]))), "not the one that the head names");
    }

    #[test]
    fn a_list_that_is_cut_short_is_broken() {
        let text = list_text();
        assert_broken(read_lines(&text[..text.len() - 1], None), "its last line does not end");
    }

    #[test]
    fn a_broken_line_is_named_by_its_number() {
        assert_broken(read_lines(&(list_text() + "no line\n"), None), "line 3");
    }

    #[test]
    fn a_text_up_to_its_limit_is_read() {
        assert_eq!(unsealed(&frame(b"ten bytes.")), Ok(b"ten bytes.".to_vec()));
        let longer = unsealed(&frame(b"eleven byte"));
        assert!(
            matches!(longer, Err(CopyFault::Broken(FormatError::Limit { value: 11, limit: 10, .. }))),
            "{longer:?}"
        );
    }

    #[test]
    fn what_was_sealed_and_is_no_text_is_broken() {
        let frame = frame(b"ten bytes.");
        assert_broken(unsealed(&frame[..frame.len() - 1]), "its last zstd frame is cut short");
        assert_broken(unsealed(b"no frame at all"), "the note");
    }

    #[test]
    fn the_beginning_of_a_head_is_read_without_the_rest() {
        let test = TestBundle::new();
        let keyring = test.own_keyring();
        let text = test.head.encode().into_bytes();
        let start = |len| head_start(&test.volume(1), "head.age", &keyring, len);
        assert_eq!(start(20), Ok(text[..20].to_vec()));
        assert_eq!(start(text.len() + 1), Ok(text), "there is no more");
    }

    #[test]
    fn a_head_that_is_cut_short_is_damaged() {
        let test = TestBundle::new();
        test.change(1, "head.age", |bytes| bytes.truncate(1000));
        let start = head_start(&test.volume(1), "head.age", &test.own_keyring(), 20);
        assert!(matches!(start, Err(CopyFault::Damaged(_))), "{start:?}");
    }

    #[test]
    fn what_the_right_key_does_not_open_is_damaged_or_of_another_bundle() {
        let test = TestBundle::new();
        let sealed = std::fs::read(test.path(1, "head.age")).unwrap();
        let Err(CopyFault::Damaged(why)) = head_text(&sealed, &test.keyring()) else { panic!("it does not open") };
        assert_eq!(why, "the bundle's key does not open it, or it is of another bundle");
        let list = read_list(&test.volume(1), &test.keyring(), 1024, None);
        assert!(matches!(list, Err(CopyFault::Damaged(_))), "{list:?}");
    }
}
