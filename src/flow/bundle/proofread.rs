//! What is about to be sealed, read as a reader reads it: by the decoder and the parsers that readers use, and
//! held against the values that it was made of. What they refuse is not sealed, so that no bundle is finished
//! that nobody can open. What this does not cover: parts, whose frames are not decompressed here
//! (docs/DESIGN.md says why), and what becomes of the bytes on a drive, which `flow/drives/read_back.rs` reads.

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

/// Holds entries against a reader's rules about their order and places, in a tar of `tar_len` bytes.
pub fn check_sequence(entries: &[Entry], tar_len: u64) -> Result<(), FlowError> {
    let mut sequence = Sequence::new(tar_len);
    let mut each = entries.iter().enumerate();
    let refused = |error| match error {
        // There is more of the sources than one bundle takes: that is no defect.
        FormatError::Limit { .. } => FlowError::Format(error),
        _ => FlowError::Unopenable(error),
    };
    each.try_for_each(|(at, entry)| sequence.next(&entries[..at], entry)).map_err(refused)
}

/// Holds lines of a list against the entries that they were made of. `before` entries stand before these.
pub fn check_lines(text: &str, entries: &[Entry], before: usize) -> Result<(), FlowError> {
    let mut lines = text.split_inclusive('\n');
    for (number, entry) in (before + 1..).zip(entries) {
        let line = lines.next().unwrap_or_default();
        // As it comes back as the entry that it was made of, it is written as a reader would write it.
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

/// Holds the text of a head against a reader's rules and the values that it was made of.
pub fn check_head(text: &str, head: &Head) -> Result<(), FlowError> {
    let read = Head::parse(text.as_bytes()).map_err(FlowError::Unopenable)?;
    if read == *head { Ok(()) } else { Err(refused("the head", 0, "it comes back with other values")) }
}

/// Holds a seal against a reader's rules while the bundle's key is still known: its text must come back with the
/// same values, and its key must be the one it commits to and the one that parts are sealed to.
pub fn check_seal(seal: &Seal, recipient: &Recipient) -> Result<(), FlowError> {
    let read = Seal::parse(seal.encode().as_bytes()).map_err(FlowError::Unopenable)?;
    let of_values = |seal: &Seal| (seal.bundle, seal.mode, seal.kcommit, seal.cards);
    let identity = Identity::parse(&read.identity);
    let identity = identity.map_err(|error| refused("the seal", 0, format!("it holds no usable key: {error}")))?;
    let commits = commitment(&read.bundle, identity.secret().expose()) == read.kcommit;
    if of_values(&read) != of_values(seal) || *read.identity != *seal.identity {
        return Err(refused("the seal", 0, "it comes back with other values"));
    }
    if !commits || identity.recipient() != *recipient {
        return Err(refused("the seal", 0, "its key is not the one it commits to, or that parts are sealed to"));
    }
    Ok(())
}

/// Holds a sealed seal against the `text` in it: its header must pass a reader's limits, and the rest open
/// under its key.
pub fn check_sealed(file: &[u8], key: &FileKey, text: &[u8]) -> Result<(), FlowError> {
    FormatError::check_limit("the size of a seal", file.len() as u64, limits::SEAL_FILE)
        .map_err(FlowError::Unopenable)?;
    let header = scan(file).map_err(FlowError::Unopenable)?;
    // Opened in place, in memory that is wiped: the bundle's key is in it.
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

/// The decoder that readers use, for frames of head and list.
pub struct Frames(Decompressor);

impl Frames {
    /// With the window that readers grant.
    pub fn new() -> Result<Self, ZstdError> {
        Decompressor::new().map(Self)
    }

    /// Holds frames of `what` against the text that they were made of.
    pub fn check(&mut self, what: &'static str, frames: &[u8], text: &[u8]) -> Result<(), FlowError> {
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
