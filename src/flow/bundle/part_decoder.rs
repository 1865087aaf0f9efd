//! Decodes an opened data part to the stretch of the tar that it holds. The lead of the part has to be the one that
//! the head names, and the content has to be exactly as long as the head says.
//!
//! Not guaranteed: that the bytes are the packed ones. Each chunk was authenticated before it came here; the caller
//! compares each file with its digest.

use crate::flow::FlowError;
use crate::format::FormatError;
use crate::format::head::{Head, Part, PartKind};
use crate::format::part::{Lead, PartBuf};
use crate::stage::compress::{DecodeError, Decompressor, ZstdError};

/// A data part as the head names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PartDecoder {
    lead: Lead,
    /// Bytes of tar that the part holds.
    length: u64,
}

/// Why the content of a part is not the stretch of the tar that it should be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ContentFault {
    /// The frames decode, and hold less than the head says.
    #[error("holds {found} bytes of tar, {named} were announced")]
    Short { found: u64, named: u64 },
    /// The chunks end within a frame, as they do if a part is read only up to its first damage.
    #[error("its compressed content is cut short")]
    Truncated,
    #[error("its compressed content cannot be read ({0})")]
    Unreadable(ZstdError),
}

impl PartDecoder {
    /// `None` for a parity part, which holds no tar.
    pub(crate) fn new(head: &Head, part: &Part) -> Option<Self> {
        let PartKind::Data { offset, length } = part.kind else { return None };
        Some(Self { lead: Lead { bundle: head.statement.bundle, number: part.number, offset }, length })
    }

    /// Tar offset of the first byte.
    pub(crate) fn start(&self) -> u64 {
        self.lead.offset
    }

    /// Tar offset behind the last byte.
    pub(crate) fn end(&self) -> u64 {
        self.lead.offset + self.length
    }

    /// Compares the lead in the first chunk with the one that the head names.
    ///
    /// # Errors
    /// The lead is malformed, or is the lead of another part.
    pub(crate) fn check_lead(&self, buf: &PartBuf) -> Result<(), FormatError> {
        let lead = Lead::parse(buf.plain(0))?;
        match lead.difference(&self.lead) {
            Some(why) => Err(FormatError::Malformed { what: "a part", line: 0, why }),
            None => Ok(()),
        }
    }

    /// Decodes the first `chunks` chunks. `sink` gets each piece of tar with its tar offset. Returns why the content is
    /// not complete; `None` if it is.
    ///
    /// # Errors
    /// The part holds more tar than the head says, or an error of `sink`. The part is decoded no further then.
    pub(crate) fn decode(
        &self,
        buf: &PartBuf,
        chunks: usize,
        decompressor: &mut Decompressor,
        mut sink: impl FnMut(u64, &[u8]) -> Result<(), FlowError>,
    ) -> Result<Option<ContentFault>, FlowError> {
        let mut found = 0;
        let pieces = (0..chunks).map(|index| buf.plain(index));
        let decoded = decompressor.decode(pieces, |bytes| {
            let before = found;
            found += bytes.len() as u64;
            FormatError::check_limit("the length of a part's tar", found, self.length)?;
            sink(self.lead.offset + before, bytes)
        });
        match decoded {
            Ok(()) if found == self.length => Ok(None),
            Ok(()) => Ok(Some(ContentFault::Short { found, named: self.length })),
            Err(DecodeError::Truncated) => Ok(Some(ContentFault::Truncated)),
            Err(DecodeError::Zstd(error)) => Ok(Some(ContentFault::Unreadable(error))),
            Err(DecodeError::Sink(error)) => Err(error),
        }
    }
}

#[cfg(test)]
pub(crate) mod tests;
