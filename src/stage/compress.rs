//! Compresses tar ranges to zstd frames, and decodes frames. The only file that uses `zstd`. Law:
//! `decode(pack(x)) = x`.
//!
//! Frames do not span parts: a frame that crosses the end of a part is cut, and the input behind the cut is
//! compressed again. Once the caller knows how much room the part has left, the current frame ends there, so that
//! little work is done twice. A range that does not compress, by a few samples, stays raw: stored frames cost nothing
//! to make and can be cut anywhere.

use std::ops::Range;

use zstd::zstd_safe::zstd_sys::ZSTD_EndDirective as Directive;
use zstd::zstd_safe::zstd_sys::ZSTD_ErrorCode;
use zstd::zstd_safe::{
    CCtx, CParameter, DCtx, DParameter, InBuffer, OutBuffer, ResetDirective, Strategy, compress_bound, get_error_name,
};

use crate::base::memory;
use crate::format::frame::{CLOSE, Cut, Packed, last_cut, stored_blocks, stored_len};
use crate::format::limits;
use crate::plan::forecast::RoomGuess;

/// Input bytes between two cuts of a frame: the size of zstd's blocks, so that a flush costs nothing.
const STEP: usize = 128 * 1024;
/// The same near the end of a part, so that little room is left to fill with stored bytes.
const FINE: usize = 16 * 1024;
/// How near that is, in bytes of frame: more than one [`STEP`] usually packs to.
const NEAR: usize = 48 * 1024;
/// How far a frame goes on past the guessed end of its part, in bytes of frame: about the error of the guesses. The
/// real end then falls inside the frame, which the part filler cuts there.
const MARGIN: usize = 64 * 1024;
/// One sample per so many input bytes, but at least two and at most [`PROBES`] per range. A range shorter than half
/// of this is not sampled.
const PROBE_EVERY: usize = 512 * 1024;
const PROBES: usize = 8;
/// Input bytes of one sample.
const PROBE: usize = 8 * 1024;

/// How hard to compress: more time for fewer bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Level {
    /// About as small as zstd's level 3 in three quarters of its time: the fast strategy, with a table and a window
    /// large enough for ranges of this length.
    #[default]
    Quick,
    /// A level of zstd, 1 to 19.
    Zstd(i32),
}

/// An error that zstd returned, by zstd's own name for it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("zstd: {0}")]
pub struct ZstdError(String);

/// Turns an error code of zstd into an error.
///
/// # Panics
/// With [`memory::NoMemory`] if zstd ran out of memory: the input is not at fault then.
fn zstd_error(code: usize) -> ZstdError {
    if code == (ZSTD_ErrorCode::ZSTD_error_memory_allocation as usize).wrapping_neg() {
        memory::fail_for_lack_of(1 << limits::WINDOW_LOG);
    }
    ZstdError(get_error_name(code).to_string())
}

/// A compressor of one level. It is meant to be reused: zstd's memory and the scratch buffer are large.
pub struct Compressor {
    context: CCtx<'static>,
    probe: CCtx<'static>,
    /// The frame in the making, or the frame of a sample.
    scratch: Vec<u8>,
}

/// The frame in the compressor's scratch.
struct Frame {
    /// Input bytes in the frame.
    end: usize,
    /// Where the frame was flushed, ascending: it can be cut there.
    cuts: Vec<Cut>,
    /// The room that the frame has outgrown; `None` if the frame holds all input and fits.
    room: Option<RoomGuess>,
}

/// A context of zstd.
///
/// # Panics
/// With [`memory::NoMemory`] if the system has no memory for it.
fn new_context() -> CCtx<'static> {
    CCtx::try_create().unwrap_or_else(|| memory::fail_for_lack_of(1 << limits::WINDOW_LOG))
}

impl Compressor {
    /// Makes a compressor whose frames never ask for more than the window of the format.
    pub fn new(level: Level) -> Result<Self, ZstdError> {
        let mut context = new_context();
        // A frame may be cut later, and would then hold less than its header says.
        context.set_parameter(CParameter::ContentSizeFlag(false)).map_err(zstd_error)?;
        match level {
            Level::Quick => {
                context.set_parameter(CParameter::Strategy(Strategy::ZSTD_fast)).map_err(zstd_error)?;
                context.set_parameter(CParameter::WindowLog(limits::WINDOW_LOG)).map_err(zstd_error)?;
                context.set_parameter(CParameter::HashLog(17)).map_err(zstd_error)?;
                context.set_parameter(CParameter::MinMatch(7)).map_err(zstd_error)?;
            }
            Level::Zstd(level) => {
                context.set_parameter(CParameter::CompressionLevel(level)).map_err(zstd_error)?;
                if level > 17 {
                    // Higher levels would take windows that readers need not grant (FORMAT section 4).
                    context.set_parameter(CParameter::WindowLog(limits::WINDOW_LOG)).map_err(zstd_error)?;
                }
            }
        }
        Ok(Self { context, probe: new_context(), scratch: Vec::new() })
    }

    /// Measures how many bytes of memory zstd takes to compress at that level.
    pub(crate) fn memory(level: Level) -> Result<u64, ZstdError> {
        let mut compressor = Self::new(level)?;
        compressor.scratch.reserve(STEP);
        // Without a known input length, zstd allocates all that it may need at the first byte.
        compressor.feed(&[0], Directive::ZSTD_e_flush)?;
        Ok(compressor.context.sizeof() as u64)
    }

    /// Estimates from samples how many bytes `raw` packs to. A result of `raw.len()` or more means that compression is
    /// not worth trying: the samples shrank by less than 1 %. Half is assumed for a range too short for samples.
    pub fn sample(&mut self, raw: &[u8]) -> usize {
        if raw.len() < PROBE_EVERY / 2 {
            return raw.len() / 2;
        }
        let probes = (raw.len() / PROBE_EVERY).clamp(2, PROBES);
        let stride = (raw.len() - PROBE) / (probes - 1);
        let mut packed = 0;
        self.scratch.clear();
        self.scratch.reserve(compress_bound(PROBE));
        for at in 0..probes {
            // The first sample begins the range, the last one ends it.
            let sample = &raw[at * stride..][..PROBE];
            packed += self.probe.compress(&mut self.scratch, sample, 1).unwrap_or(PROBE);
        }
        if packed >= probes * PROBE / 100 * 99 {
            return stored_len(raw.len());
        }
        (raw.len() as u64 * packed as u64 / (probes * PROBE) as u64) as usize
    }

    /// Packs `raw` for parts that take `whole` bytes of frames each. Returns consecutive stretches of all of `raw`,
    /// which end at the ends of parts or a little behind.
    ///
    /// `room` is called again and again with the progress: bytes of `raw` compressed, and bytes of frames made of
    /// them. It returns how many bytes of frames still fit into the part in which `raw` begins, or `None` while that
    /// is unknown.
    pub(crate) fn pack(
        &mut self,
        raw: &[u8],
        whole: usize,
        mut room: impl FnMut(usize, usize) -> Option<RoomGuess>,
    ) -> Result<Vec<(Range<usize>, Packed)>, ZstdError> {
        let mut stretches = Vec::new();
        let mut at = 0;
        let mut before = 0;
        // Parts behind the first known end of a part begin empty, so their room is known.
        let mut later: Option<RoomGuess> = None;
        while at < raw.len() {
            let Frame { end, mut cuts, room } =
                self.frame_until(&raw[at..], |done, packed| later.or(room(at + done, before + packed)))?;
            let told = raw.len() - at;
            match room {
                Some(RoomGuess::Exactly(room)) => {
                    let filled = self.fill_part(at..raw.len(), room, cuts);
                    at = filled.last().map_or(at, |(stretch, _)| stretch.end);
                    stretches.extend(filled);
                    later = Some(RoomGuess::Exactly(whole));
                }
                Some(RoomGuess::About(_)) => {
                    self.close(cuts.pop().map_or(0, |cut| cut.packed));
                    stretches.push((at..at + end, self.frame_of(end, cuts, told)));
                    at += end;
                    later = Some(RoomGuess::About(whole));
                }
                None => {
                    stretches.push((at..raw.len(), self.frame_of(told, cuts, told)));
                    at = raw.len();
                }
            }
            before += self.scratch.len();
        }
        Ok(stretches)
    }

    /// Fills a part that has `room` bytes left: with the frame in `scratch`, closed at its last cut that fits, and then
    /// with stored bytes. `rest` is the input from the frame's first byte on. Returns consecutive stretches, at most
    /// two.
    fn fill_part(&mut self, rest: Range<usize>, room: usize, mut cuts: Vec<Cut>) -> Vec<(Range<usize>, Packed)> {
        let mut stretches = Vec::new();
        let mut at = rest.start;
        let mut free = room;
        let cut = last_cut(&cuts, room).unwrap_or_default();
        self.close(cut.packed);
        if cut.raw > 0 {
            cuts.retain(|before| before.raw < cut.raw);
            stretches.push((at..at + cut.raw, self.frame_of(cut.raw, cuts, rest.len())));
            at += cut.raw;
            free -= self.scratch.len();
        }
        // Stored bytes fill the rest of the part, which is less than one step.
        let stored = stored_blocks(free, rest.end - at);
        if stored > 0 {
            stretches.push((at..at + stored, Packed::Stored));
        }
        stretches
    }

    /// Compresses all of `raw` into one frame, without places to cut it.
    pub fn frame(&mut self, raw: &[u8]) -> Result<Vec<u8>, ZstdError> {
        self.context.reset(ResetDirective::SessionOnly).map_err(zstd_error)?;
        self.scratch.clear();
        memory::reserve(&mut self.scratch, compress_bound(raw.len()));
        self.context.compress2(&mut self.scratch, raw).map_err(zstd_error)?;
        Ok(memory::copy(&self.scratch))
    }

    /// Makes a frame of [`Compressor::pack`] again, byte for byte, from the same `raw`. `told` and `pieces` come from
    /// its recipe: the input length that zstd was told, and runs of (times, bytes) that ended in a flush. Other `raw`
    /// bytes give another frame, which only the recipe's hash shows.
    ///
    /// # Errors
    /// The frame takes more than `room` bytes: the recipe or `raw` is not the one of that frame.
    pub(crate) fn again(
        &mut self,
        raw: &[u8],
        told: u64,
        pieces: &[(u32, u64)],
        room: usize,
    ) -> Result<Vec<u8>, ZstdError> {
        self.begin(told as usize)?;
        let pieces = pieces.iter().flat_map(|(times, len)| std::iter::repeat_n(*len as usize, *times as usize));
        let mut at = 0;
        for len in pieces {
            if at == raw.len() {
                break;
            }
            let end = (at + len).min(raw.len());
            let last = end as u64 == told;
            // A frame that was cut never saw its last byte: zstd flushes it here, and `CLOSE` ends it below.
            self.feed(&raw[at..end], if last { Directive::ZSTD_e_end } else { Directive::ZSTD_e_flush })?;
            at = end;
            if self.scratch.len() > room {
                return Err(ZstdError("a frame became longer than its part".into()));
            }
        }
        if (at as u64) < told {
            self.scratch.extend_from_slice(&CLOSE);
        }
        Ok(memory::copy(&self.scratch))
    }

    /// The frame in `scratch`; stored if the frame is not shorter than its `raw` input bytes. `told` is the input
    /// length that zstd was told, which a recipe needs.
    fn frame_of(&self, raw: usize, cuts: Vec<Cut>, told: usize) -> Packed {
        if self.scratch.len() < raw {
            Packed::Frame { bytes: memory::copy(&self.scratch), cuts, told }
        } else {
            Packed::Stored
        }
    }

    /// Cuts the frame in `scratch` to `packed` bytes, which must be a cut, and closes it with an empty last block.
    fn close(&mut self, packed: usize) {
        self.scratch.truncate(packed);
        self.scratch.extend_from_slice(&CLOSE);
    }

    /// Compresses `raw` into `scratch` until all of it is in the frame or the frame outgrows `room`. An exact room is
    /// outgrown by one byte, a guessed one by [`MARGIN`].
    fn frame_until(
        &mut self,
        raw: &[u8],
        mut room: impl FnMut(usize, usize) -> Option<RoomGuess>,
    ) -> Result<Frame, ZstdError> {
        self.begin(raw.len())?;
        let mut cuts = Vec::with_capacity(raw.len() / STEP);
        let mut end = 0;
        let mut step = STEP;
        loop {
            let next = raw.len().min(end + step);
            let last = next == raw.len();
            self.feed(&raw[end..next], if last { Directive::ZSTD_e_end } else { Directive::ZSTD_e_flush })?;
            end = next;
            let len = self.scratch.len();
            let room = room(end, len);
            if matches!(room, Some(RoomGuess::Exactly(room)) if room < len + NEAR) {
                step = FINE;
            }
            let room = room.filter(|room| match room {
                RoomGuess::Exactly(room) => len + if last { 0 } else { CLOSE.len() } > *room,
                RoomGuess::About(room) => !last && len > *room + MARGIN,
            });
            if last && room.is_none() {
                return Ok(Frame { end, cuts, room });
            }
            if !last {
                cuts.push(Cut { raw: end, packed: len });
            }
            if room.is_some() {
                return Ok(Frame { end, cuts, room });
            }
        }
    }

    /// Begins a frame. zstd tunes itself to `told` input bytes, so the same frame needs the same number again.
    fn begin(&mut self, told: usize) -> Result<(), ZstdError> {
        self.context.reset(ResetDirective::SessionOnly).map_err(zstd_error)?;
        self.context.set_pledged_src_size(Some(told as u64)).map_err(zstd_error)?;
        self.scratch.clear();
        memory::reserve(&mut self.scratch, compress_bound(told) + 64);
        Ok(())
    }

    /// Compresses `piece` to the end of `scratch`, up to the flush or the end of the frame that `directive` names.
    fn feed(&mut self, piece: &[u8], directive: Directive) -> Result<(), ZstdError> {
        let mut input = InBuffer::around(piece);
        loop {
            let at = self.scratch.len();
            let mut output = OutBuffer::around_pos(&mut self.scratch, at);
            let left = self.context.compress_stream2(&mut output, &mut input, directive).map_err(zstd_error)?;
            if left == 0 && input.pos() == piece.len() {
                return Ok(());
            }
            // zstd had more output than room for it.
            self.scratch.reserve(STEP);
        }
    }
}

/// A decompressor. It is meant to be reused, as its window is large.
pub struct Decompressor {
    context: DCtx<'static>,
    window: Vec<u8>,
}

/// Why decoding stopped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DecodeError<E> {
    /// The bytes are no valid zstd frames, or ask for a larger window than the format allows.
    Zstd(ZstdError),
    /// The input ended within a frame.
    Truncated,
    /// The caller's sink returned this error.
    Sink(E),
}

impl Decompressor {
    /// Makes a decompressor that refuses a frame with a larger window than the format allows (8 MiB).
    pub fn new() -> Result<Self, ZstdError> {
        let mut context = DCtx::try_create().unwrap_or_else(|| memory::fail_for_lack_of(1 << limits::WINDOW_LOG));
        context.set_parameter(DParameter::WindowLogMax(limits::WINDOW_LOG)).map_err(zstd_error)?;
        Ok(Self { context, window: memory::zeros(256 * 1024) })
    }

    /// Decodes frames that arrive in `pieces` of any length, and passes over skippable frames. `sink` gets the content
    /// in windows of at most 256 KiB, so that memory does not depend on what a frame claims. `sink` bounds the length:
    /// a frame of zeros may go on without end.
    ///
    /// # Errors
    /// As [`DecodeError`]. What `sink` got before an error is the content up to there.
    pub fn decode<P: AsRef<[u8]>, E>(
        &mut self,
        pieces: impl Iterator<Item = P>,
        mut sink: impl FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<(), DecodeError<E>> {
        self.context.reset(ResetDirective::SessionOnly).map_err(|code| DecodeError::Zstd(zstd_error(code)))?;
        let mut between_frames = true;
        for piece in pieces {
            let piece = piece.as_ref();
            let mut input = InBuffer::around(piece);
            loop {
                let mut output = OutBuffer::around(&mut self.window[..]);
                let hint = self.context.decompress_stream(&mut output, &mut input);
                let hint = hint.map_err(|code| DecodeError::Zstd(zstd_error(code)))?;
                between_frames = hint == 0;
                let len = output.pos();
                // A full window may mean that zstd still holds output, even if all input is taken.
                let full = len == self.window.len();
                if len > 0 {
                    sink(&self.window[..len]).map_err(DecodeError::Sink)?;
                }
                if input.pos() == piece.len() && !full {
                    break;
                }
            }
        }
        if between_frames { Ok(()) } else { Err(DecodeError::Truncated) }
    }
}

#[cfg(test)]
mod tests;
