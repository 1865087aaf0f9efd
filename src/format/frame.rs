//! zstd frames as bytes (RFC 8878): stored frames, which need no compressor, and compressed frames that are cut behind
//! a block. Both are ordinary frames to any zstd.

use crate::format::recipe::FrameRecipe;

/// Parts begin at multiples of this in the tar, in bytes.
const TAR_BLOCK: usize = crate::format::part::BLOCK as usize;
/// Most bytes of a block, and the window of a stored frame.
const BLOCK: usize = 128 * 1024;
/// Magic, a descriptor without flags, a window of 128 KiB.
const STORED_HEADER: [u8; 6] = [0x28, 0xB5, 0x2F, 0xFD, 0x00, 0x38];
/// A last, empty, raw block. It closes a frame that was cut behind a block.
pub(crate) const CLOSE: [u8; 3] = [0x01, 0x00, 0x00];

/// A place behind a flush where a frame can be cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Cut {
    /// Input bytes before the cut.
    pub(crate) raw: usize,
    /// Frame bytes before the cut, without [`CLOSE`].
    pub(crate) packed: usize,
}

/// A stretch of tar made ready for a part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Packed {
    /// The bytes do not compress. The part stores them raw, cut anywhere.
    Stored,
    /// One whole frame.
    Frame {
        bytes: Vec<u8>,
        /// Places where the compressor was flushed: ascending, all before the end.
        cuts: Vec<Cut>,
        /// Input bytes that the compressor was told to expect.
        told: usize,
    },
}

impl Packed {
    /// Bytes that it takes in a part; `raw` is the length of its input.
    pub(crate) fn len(&self, raw: usize) -> usize {
        match self {
            Packed::Stored => stored_len(raw),
            Packed::Frame { bytes, .. } => bytes.len(),
        }
    }

    /// How it was made, for the part's recipe. `raw` is the length of its input, or of the input before a cut.
    pub(crate) fn made(&self, raw: usize) -> FrameRecipe {
        match self {
            Packed::Stored => FrameRecipe::Stored(raw as u64),
            Packed::Frame { cuts, told, .. } => {
                FrameRecipe::frame(*told, cuts.iter().map(|cut| cut.raw).take_while(|at| *at < raw), raw)
            }
        }
    }
}

/// Length of a stored frame for `raw` bytes.
pub(crate) fn stored_len(raw: usize) -> usize {
    STORED_HEADER.len() + raw + 3 * raw.div_ceil(BLOCK).max(1)
}

/// Most raw bytes whose stored frame fits into `room` bytes.
pub(crate) fn stored_capacity(room: usize) -> usize {
    let room = room.saturating_sub(STORED_HEADER.len());
    let whole = room / (BLOCK + 3);
    whole * BLOCK + (room % (BLOCK + 3)).saturating_sub(3)
}

/// Most of `raw` bytes, in whole tar blocks, whose stored frame fits into `room`.
pub(crate) fn stored_blocks(room: usize, raw: usize) -> usize {
    stored_capacity(room).min(raw) / TAR_BLOCK * TAR_BLOCK
}

/// The last of `cuts` at which the frame, once closed, takes at most `room`; `None` if even the first takes more.
pub(crate) fn last_cut(cuts: &[Cut], room: usize) -> Option<Cut> {
    cuts.iter().rfind(|cut| cut.packed + CLOSE.len() <= room).copied()
}

/// Passes a stored frame of `raw` to `out` piece by piece, without a copy of it.
pub fn store(raw: &[u8], mut out: impl FnMut(&[u8])) {
    out(&STORED_HEADER);
    if raw.is_empty() {
        out(&CLOSE);
    }
    let blocks = raw.len().div_ceil(BLOCK);
    for (at, block) in raw.chunks(BLOCK).enumerate() {
        // Three bytes, little-endian: last block, type 0 (raw), size.
        let header = ((block.len() as u32) << 3) | u32::from(at + 1 == blocks);
        out(&header.to_le_bytes()[..3]);
        out(block);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_length_is_known_before() {
        for len in [0, 1, 511, BLOCK - 1, BLOCK, BLOCK + 1, 3 * BLOCK, 3 * BLOCK + 7] {
            let mut frame = Vec::new();
            store(&vec![7; len], |bytes| frame.extend_from_slice(bytes));
            assert_eq!(frame.len(), stored_len(len));
        }
    }

    #[test]
    fn the_capacity_is_the_most_that_fits() {
        for room in (0..20).chain(BLOCK - 5..BLOCK + 25).chain([1_000_000]) {
            let capacity = stored_capacity(room);
            assert!(capacity == 0 || stored_len(capacity) <= room, "{room}");
            assert!(stored_len(capacity + 1) > room, "{room}");
        }
    }
}
