//! Head and list as they lie on a volume: opened, decompressed and, for the list, read line by
//! line as it comes.

use std::io::Read;

use crate::base::digest::{Digest, Hasher};
use crate::base::entry::Entry;
use crate::format::part::CHUNK;
use crate::format::{FormatError, limits, list};
use crate::stage::compress::{DecodeError, Decompressor};
use crate::stage::seal::Keyring;
use crate::stage::stream::Opener;
use crate::stage::volume::{LIST, Volume};

/// The head's text in a sealed head.
pub fn head_text(sealed: &[u8], keyring: &Keyring) -> Result<Vec<u8>, String> {
    let (key, len) = keyring.open_header(sealed).map_err(|error| error.with_own_key())?;
    let mut text = Vec::new();
    unseal(&sealed[len..], &key, limits::HEAD, |bytes| {
        text.extend_from_slice(bytes);
        Ok(())
    })
    .map_err(|error| error.to_string())?;
    Ok(text)
}

/// Why a sealed text could not be read.
#[derive(Debug, thiserror::Error)]
pub enum TextError {
    /// It does not open, or not to the end.
    #[error("{0}")]
    Damaged(String),
    /// It opens and breaks the format.
    #[error(transparent)]
    Format(#[from] FormatError),
}

/// Opens and decompresses a text of at most `limit` bytes, piece by piece.
fn unseal(
    sealed: impl Read,
    key: &crate::base::secret::FileKey,
    limit: u64,
    mut sink: impl FnMut(&[u8]) -> Result<(), FormatError>,
) -> Result<(), TextError> {
    let damaged = |error: std::io::Error| TextError::Damaged(error.to_string());
    let mut opener = Opener::new(sealed, key).map_err(damaged)?;
    let mut decompressor = Decompressor::new().map_err(|error| TextError::Damaged(error.to_string()))?;
    let mut seen = 0;
    // The decoder takes pieces as they come; an error of the source ends them and is kept.
    let mut failed = None;
    let mut pieces = Pieces { opener: &mut opener, failed: &mut failed };
    let result = decompressor.decode(std::iter::from_fn(|| pieces.next()), |bytes| {
        seen += bytes.len() as u64;
        FormatError::limit("the length of a sealed text", seen, limit)?;
        sink(bytes)
    });
    if let Some(error) = failed {
        return Err(damaged(error));
    }
    result.map_err(|error| match error {
        DecodeError::Sink(error) => TextError::Format(error),
        DecodeError::Truncated => TextError::Damaged("its compressed text is cut short".into()),
        DecodeError::Zstd(error) => TextError::Damaged(format!("its compressed text cannot be read ({error})")),
    })
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
pub fn read_list(volume: &Volume, keyring: &Keyring, tar: u64, hash: Option<Digest>) -> Result<Vec<Entry>, TextError> {
    let damaged = |why: String| TextError::Damaged(why);
    let (start, file) = volume.read_start(LIST, limits::AGE_HEADER).map_err(|fault| damaged(fault.to_string()))?;
    let (key, len) = keyring.open_header(&start).map_err(|error| damaged(error.with_own_key()))?;
    let sealed = std::io::BufReader::with_capacity(1 << 20, start[len..].chain(file));
    let reader = list::Reader::new(tar);
    let mut lines = Lines { reader, hasher: Hasher::tagged("list"), line: Vec::new() };
    unseal(sealed, &key, limits::LIST, |bytes| lines.push(bytes))?;
    lines.finish(hash)
}

struct Lines {
    reader: list::Reader,
    hasher: Hasher,
    line: Vec<u8>,
}

impl Lines {
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
        FormatError::limit("the length of a line of the list", self.line.len() as u64, limits::LIST_LINE as u64)
    }

    fn finish(self, expected: Option<Digest>) -> Result<Vec<Entry>, TextError> {
        let found = self.hasher.finish();
        if !self.line.is_empty() {
            return Err(TextError::Damaged("its last line is cut short".into()));
        }
        if expected.is_some_and(|expected| expected != found) {
            return Err(TextError::Damaged("it is not the list that the head names".into()));
        }
        Ok(self.reader.finish())
    }
}
