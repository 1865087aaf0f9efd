//! A part that is loaded, and rebuilt from the others of its stripe: which chunks are there, and who vouches for
//! them. What this does not say: how it is rebuilt.

use crate::flow::bundle::part_finder::Loaded;
use crate::format::head::Part;
use crate::format::part::{CHUNK, HEADER, PartBuf, SEALED_CHUNK};

/// A part as far as it could be loaded and rebuilt.
pub struct RebuiltPart<'a> {
    /// The part.
    pub part: &'a Part,
    /// Its plaintext, apart from the missing chunks.
    pub buf: PartBuf,
    /// What the drives had of it.
    pub found: Loaded,
    /// The chunks that the drives did not have and that could not be rebuilt, ascending.
    pub missing: Vec<usize>,
    /// The chunks that the drives did not have.
    pub(super) lost: Vec<usize>,
    pub(super) state: PartProof,
}

/// How far a part has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PartProof {
    /// The drives had all of it, or what was rebuilt is what the head names.
    Right,
    /// It is being rebuilt.
    Open,
    /// Some chunks cannot be rebuilt.
    Short,
    /// What was rebuilt is not what the head names.
    Wrong,
}

impl RebuiltPart<'_> {
    /// Whether all chunks are there.
    pub fn is_whole(&self) -> bool {
        self.missing.is_empty()
    }

    /// Whether no drive had the part, and nothing before its last missing chunk could be rebuilt.
    pub fn is_absent(&self) -> bool {
        matches!(self.found, Loaded::Missing | Loaded::Unread { .. })
            && self.missing.last().is_some_and(|last| last + 1 == self.missing.len())
    }

    /// Whether other bytes came of its stripe than those that the head names.
    pub fn is_wrong(&self) -> bool {
        self.state == PartProof::Wrong
    }

    /// How many chunks at its beginning can be read. Nothing vouches for rebuilt chunks of a part that is not
    /// whole: they count if the caller has something else to hold their content against.
    pub fn readable(&self, has_digests: bool) -> usize {
        let absent = if has_digests || self.state == PartProof::Right { &self.missing } else { &self.lost };
        absent.first().copied().unwrap_or(self.buf.chunks())
    }

    /// Whether rebuilt chunks are among those that can be read, and nothing vouches for them.
    pub fn is_doubtful(&self) -> bool {
        self.state == PartProof::Short && self.lost.first() != self.missing.first()
    }

    /// Whether a chunk is there as the drives or the head vouch for it.
    pub(super) fn has(&self, chunk: usize) -> bool {
        self.state == PartProof::Right || self.lost.binary_search(&chunk).is_err()
    }

    /// Begins anew with what the drives had.
    pub(super) fn reopen(&mut self) {
        (self.missing, self.state) = (self.lost.clone(), PartProof::Open);
    }

    pub(super) fn chunk_mut(&mut self, index: usize) -> &mut [u8] {
        &mut self.buf.file_mut()[HEADER + index * SEALED_CHUNK..][..CHUNK]
    }

    /// Its position in its stripe.
    pub(super) fn position(&self) -> u16 {
        self.part.stripe.map_or(0, |(_, position)| position)
    }
}
