//! Head and list as they lie on a volume: opened, decompressed and, for the list, read line by
//! line as it comes.

use std::cell::Cell;
use std::io::Read;

use crate::base::digest::{Digest, Hasher};
use crate::base::entry::Entry;
use crate::flow::error::CopyFault;
use crate::format::part::CHUNK;
use crate::format::{FormatError, limits, list};
use crate::stage::compress::{DecodeError, Decompressor};
use crate::stage::seal::{KeyError, Keyring};
use crate::stage::stream::Opener;
use crate::stage::volume::{LIST, Volume};

/// The head's text in a sealed head.
pub fn head_text(sealed: &[u8], keyring: &Keyring) -> Result<Vec<u8>, CopyFault> {
    let (key, len) = keyring.open_header(sealed).map_err(of_this_bundle)?;
    let mut text = Vec::new();
    unseal(&sealed[len..], &key, HEAD, |bytes| {
        text.extend_from_slice(bytes);
        Ok(())
    })?;
    Ok(text)
}

/// The first `len` bytes of the text in one of a volume's heads, fewer where it is shorter: no more is read of it than
/// that takes.
pub fn head_start(volume: &Volume, name: &str, keyring: &Keyring, len: usize) -> Result<Vec<u8>, CopyFault> {
    let (start, file) = volume.read_start(name, limits::AGE_HEADER).map_err(|fault| CopyFault::from(&fault))?;
    let (key, header) = keyring.open_header(&start).map_err(of_this_bundle)?;
    let mut opener =
        Opener::new(start[header..].chain(file.take(limits::HEAD)), &key).map_err(|error| CopyFault::from(&error))?;
    let (mut text, seen, mut failed) = (Vec::new(), Cell::new(0), None);
    let mut pieces = Pieces { opener: &mut opener, failed: &mut failed };
    let pieces = std::iter::from_fn(|| if seen.get() < len { pieces.next() } else { None });
    let mut decompressor = Decompressor::new().map_err(|error| broken(HEAD.what, error))?;
    let decoded = decompressor.decode(pieces, |bytes| {
        text.extend_from_slice(bytes);
        seen.set(text.len());
        Ok::<(), FormatError>(())
    });
    match (failed, decoded) {
        _ if text.len() >= len => text.truncate(len),
        (Some(error), _) => return Err(CopyFault::from(&error)),
        (None, Err(error)) => return Err(of_decoding(HEAD.what, error)),
        (None, Ok(())) => {}
    }
    Ok(text)
}

/// A text that is sealed to a bundle.
#[derive(Clone, Copy)]
struct Text {
    what: &'static str,
    /// Its most bytes.
    limit: u64,
}

const HEAD: Text = Text { what: "the head", limit: limits::HEAD };
const LIST_TEXT: Text = Text { what: "the list", limit: limits::LIST };

/// The keys are the bundle's own, so what none of them opens is not its, or not any more.
pub(super) fn of_this_bundle(error: KeyError) -> CopyFault {
    match CopyFault::from(error) {
        CopyFault::Wrong => CopyFault::Damaged("the bundle's key does not open it, or it is of another bundle".into()),
        other => other,
    }
}

/// What was authenticated and is no such text.
fn broken(what: &'static str, why: impl ToString) -> CopyFault {
    CopyFault::Broken(FormatError::malformed(what, 0, why.to_string()))
}

fn of_decoding(what: &'static str, error: DecodeError<FormatError>) -> CopyFault {
    match error {
        DecodeError::Sink(error) => CopyFault::Broken(error),
        DecodeError::Truncated => broken(what, "its last zstd frame is cut short"),
        DecodeError::Zstd(error) => broken(what, error),
    }
}

/// Opens and decompresses a text, piece by piece.
fn unseal(
    sealed: impl Read,
    key: &crate::base::secret::FileKey,
    text: Text,
    mut sink: impl FnMut(&[u8]) -> Result<(), FormatError>,
) -> Result<(), CopyFault> {
    let mut opener = Opener::new(sealed, key).map_err(|error| CopyFault::from(&error))?;
    let mut decompressor = Decompressor::new().map_err(|error| broken(text.what, error))?;
    let mut seen = 0;
    // The decoder takes pieces as they come; an error of the source ends them and is kept.
    let mut failed = None;
    let mut pieces = Pieces { opener: &mut opener, failed: &mut failed };
    let result = decompressor.decode(std::iter::from_fn(|| pieces.next()), |bytes| {
        seen += bytes.len() as u64;
        FormatError::check_limit("the length of a sealed text", seen, text.limit)?;
        sink(bytes)
    });
    match failed {
        Some(error) => Err(CopyFault::from(&error)),
        None => result.map_err(|error| of_decoding(text.what, error)),
    }
}

struct Pieces<'a, R: Read> {
    opener: &'a mut Opener<R>,
    failed: &'a mut Option<std::io::Error>,
}

impl<R: Read> Pieces<'_, R> {
    fn next(&mut self) -> Option<Vec<u8>> {
        let mut piece = vec![0; CHUNK];
        match self.opener.read(&mut piece) {
            Ok(0) => None,
            Ok(len) => {
                piece.truncate(len);
                Some(piece)
            }
            Err(error) => {
                *self.failed = Some(error);
                None
            }
        }
    }
}

/// The entries of a volume's list for a tar of so many bytes, if it is the one with that hash;
/// `None`: there is no head to say which hash that is.
pub fn read_list(volume: &Volume, keyring: &Keyring, tar: u64, hash: Option<Digest>) -> Result<Vec<Entry>, CopyFault> {
    let (start, file) = volume.read_start(LIST, limits::AGE_HEADER).map_err(|fault| CopyFault::from(&fault))?;
    let (key, len) = keyring.open_header(&start).map_err(of_this_bundle)?;
    let sealed = std::io::BufReader::with_capacity(1 << 20, start[len..].chain(file));
    let reader = list::Reader::new(tar);
    let mut lines = ListLines { reader, hasher: Hasher::tagged("list"), line: Vec::new() };
    unseal(sealed, &key, LIST_TEXT, |bytes| lines.push(bytes))?;
    lines.finish(hash)
}

struct ListLines {
    reader: list::Reader,
    hasher: Hasher,
    line: Vec<u8>,
}

impl ListLines {
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
