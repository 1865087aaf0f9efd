//! Where parts and single chunks of them are read from: from drives, or from memory in unit tests.

use crate::flow::FlowError;
use crate::flow::bundle::part_finder::{Finder, Loaded, PartChunks};
use crate::format::head::Part;
use crate::format::part::PartBuf;

/// Where parts are read from. The real one is [`Finder`]; unit tests use a fake.
pub trait PartSource: Sync {
    /// Reads and opens a part into `buf`.
    fn load(&self, part: &Part, buf: &mut PartBuf) -> Result<Loaded, FlowError>;
    /// Opens a part for reading single chunks of it.
    fn chunks_of(&self, part: &Part) -> Result<Box<dyn ChunkSource>, FlowError>;
    /// Whether a plaintext is the one of the part that the head names.
    fn is_as_packed(&self, part: &Part, plain: &PartBuf) -> Result<bool, FlowError>;
}

/// A part of which single chunks are read.
pub trait ChunkSource {
    /// Reads and opens a chunk into the beginning of `sealed`; `false` if no drive has it whole.
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
