//! The seam between rebuilding parts and reading them: parts come from drives through [`Finder`], or from memory in
//! unit tests.
//!
//! Not guaranteed: that a chunk is right because it opened. Its tag proves only that it was sealed for this part.

use crate::flow::FlowError;
use crate::flow::bundle::part_finder::{Finder, Loaded, PartChunks};
use crate::format::head::Part;
use crate::format::part::PartBuf;

/// A source of whole parts and of single chunks.
pub(crate) trait PartSource: Sync {
    /// Reads and opens a part into `buf`, as far as it can be had.
    fn load(&self, part: &Part, buf: &mut PartBuf) -> Result<Loaded, FlowError>;
    /// Prepares a part for reading single chunks. A missing part is no error: each of its chunks is missing then.
    fn chunks_of(&self, part: &Part) -> Result<Box<dyn ChunkSource>, FlowError>;
    /// Whether a plaintext is that of the part, as the head names it by its digest.
    fn is_as_packed(&self, part: &Part, plain: &PartBuf) -> Result<bool, FlowError>;
}

/// A source of single chunks of one part.
pub(crate) trait ChunkSource {
    /// Reads a chunk into `sealed` and opens it there: its plaintext is at the beginning. Returns `false` if no drive
    /// has the chunk whole.
    fn read(&self, index: usize, sealed: &mut [u8]) -> bool;
}

impl PartSource for Finder<'_> {
    fn load(&self, part: &Part, buf: &mut PartBuf) -> Result<Loaded, FlowError> {
        Finder::load(self, part, buf)
    }

    fn chunks_of(&self, part: &Part) -> Result<Box<dyn ChunkSource>, FlowError> {
        Ok(Box::new(self.shard(part)?))
    }

    fn is_as_packed(&self, part: &Part, plain: &PartBuf) -> Result<bool, FlowError> {
        Finder::is_as_packed(self, part, plain)
    }
}

impl ChunkSource for PartChunks {
    fn read(&self, index: usize, sealed: &mut [u8]) -> bool {
        self.chunk(index, sealed)
    }
}
