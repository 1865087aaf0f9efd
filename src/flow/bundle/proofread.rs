//! Reads what a run is about to seal as a reader will read it, with the same decoder and parsers, and compares it with
//! the values that it was made of. What these refuse is not sealed, so that no run finishes a bundle that cannot be
//! opened.
//!
//! Not guaranteed: that parts can be read, since their frames are not decompressed here (docs/decisions/008 says why), or
//! that a drive keeps the bytes. `flow/drives/read_back.rs` reads them back.

use crate::base::crypto::ChunkKey;
use crate::base::entry::Entry;
use crate::base::secret::FileKey;
use crate::flow::FlowError;
use crate::format::age::scan;
use crate::format::head::Head;
use crate::format::list::{self, Sequence};
use crate::format::part::TAG;
use crate::format::seal::{Seal, commitment};
use crate::format::{FormatError, limits};
use crate::stage::compress::{DecodeError, Decompressor, ZstdError};
use crate::stage::seal::{Identity, Recipient};

const ANOTHER_TEXT: &str = "what was compressed comes back as another text";

/// Checks entries by a reader's rules about their order and places, in a tar of `tar_len` bytes.
///
/// # Errors
/// [`FlowError::Format`] if the sources are more than one bundle takes, which is no defect; else
/// [`FlowError::Unopenable`].
pub(crate) fn check_sequence(entries: &[Entry], tar_len: u64) -> Result<(), FlowError> {
    let mut sequence = Sequence::new(tar_len);
    let mut each = entries.iter().enumerate();
    each.try_for_each(|(at, entry)| sequence.next(&entries[..at], entry)).map_err(|error| match error {
        FormatError::Limit { .. } => FlowError::Format(error),
        FormatError::Malformed { .. } | FormatError::Unsafe { .. } | FormatError::Newer { .. } => {
            FlowError::Unopenable(error)
        }
    })
}

/// Checks that lines of a list come back as the entries that they were made of. `before` entries stand before these in
/// the list, for the line numbers of errors.
pub(crate) fn check_lines(text: &str, entries: &[Entry], before: usize) -> Result<(), FlowError> {
    let mut lines = text.split_inclusive('\n');
    for (number, entry) in (before + 1..).zip(entries) {
        let line = lines.next().unwrap_or_default();
        // A line that comes back as its entry is the canonical one, since the entry was encoded to it.
        let read = list::parse(line.as_bytes(), number).map_err(FlowError::Unopenable)?;
        if read != *entry {
            return Err(refused("the list", number, format!("\"{}\" comes back as another entry", entry.path)));
        }
    }
    match lines.next() {
        None => Ok(()),
        Some(_) => Err(refused("the list", before + entries.len() + 1, "it has a line of no entry")),
    }
}

/// Checks that the text of a head passes a reader's rules and comes back as the head that it was made of.
pub(crate) fn check_head(text: &str, head: &Head) -> Result<(), FlowError> {
    let read = Head::parse(text.as_bytes()).map_err(FlowError::Unopenable)?;
    if read == *head { Ok(()) } else { Err(refused("the head", 0, "it comes back with other values")) }
}

/// Checks a seal while the bundle's key is still known: its text must come back with the same values, and its key must
/// be the one that it commits to and the one that parts are sealed to.
pub(crate) fn check_seal(seal: &Seal, recipient: &Recipient) -> Result<(), FlowError> {
    let read = Seal::parse(seal.encode().as_bytes()).map_err(FlowError::Unopenable)?;
    let identity = Identity::parse(&read.identity)
        .map_err(|error| refused("the seal", 0, format!("it holds no usable key: {error}")))?;
    if !is_same(&read, seal) {
        return Err(refused("the seal", 0, "it comes back with other values"));
    }
    let is_committed = commitment(&read.bundle, identity.secret().expose()) == read.kcommit;
    if !is_committed || identity.recipient() != *recipient {
        return Err(refused("the seal", 0, "its key is not the one it commits to, or that parts are sealed to"));
    }
    Ok(())
}

/// Whether two seals have the same values, the bundle's key included.
fn is_same(one: &Seal, other: &Seal) -> bool {
    (one.bundle, one.mode, one.kcommit, one.cards) == (other.bundle, other.mode, other.kcommit, other.cards)
        && *one.identity == *other.identity
}

/// Checks the file of a seal: its header must pass a reader's limits, and the rest must open under `key` to `text`.
pub(crate) fn check_sealed(file: &[u8], key: &FileKey, text: &[u8]) -> Result<(), FlowError> {
    FormatError::check_limit("the size of a seal", file.len() as u64, limits::SEAL_FILE)
        .map_err(FlowError::Unopenable)?;
    let header = scan(file).map_err(FlowError::Unopenable)?;
    // The bundle's key is in the text, so it is opened in place, in memory that is wiped.
    let mut payload = zeroize::Zeroizing::new(file[header..].to_vec());
    let Some((nonce, chunk)) = payload.split_first_chunk_mut() else {
        return Err(refused("the seal", 0, "it is cut short"));
    };
    let opens = ChunkKey::new(key, nonce).open(0, true, chunk).is_ok();
    if opens && chunk.len() == text.len() + TAG && chunk.starts_with(text) {
        Ok(())
    } else {
        Err(refused("the seal", 0, "it does not open to its text"))
    }
}

/// Checks zstd frames with the decoder that readers use. One thread makes one and uses it for many frames.
pub(crate) struct Frames(Decompressor);

impl Frames {
    /// Makes a decoder with the largest window that readers grant.
    pub(crate) fn new() -> Result<Self, ZstdError> {
        Decompressor::new().map(Self)
    }

    /// Checks that frames come back as the text that they were made of. Errors name them as `what`.
    pub(crate) fn check(&mut self, what: &'static str, frames: &[u8], text: &[u8]) -> Result<(), FlowError> {
        let mut rest = text;
        let decoded = self.0.decode(std::iter::once(frames), |bytes| {
            rest = rest.strip_prefix(bytes).ok_or(())?;
            Ok::<(), ()>(())
        });
        match decoded {
            Ok(()) if rest.is_empty() => Ok(()),
            Ok(()) | Err(DecodeError::Sink(())) => Err(refused(what, 0, ANOTHER_TEXT)),
            Err(DecodeError::Truncated) => Err(refused(what, 0, "its compressed text is cut short")),
            Err(DecodeError::Zstd(error)) => Err(refused(what, 0, error.to_string())),
        }
    }
}

fn refused(what: &'static str, line: usize, why: impl Into<String>) -> FlowError {
    FlowError::Unopenable(FormatError::malformed(what, line, why))
}

#[cfg(test)]
mod tests;
