//! Tar ranges to zstd frames and back. The one address of `zstd`.
//!
//! Frames do not span parts: a frame that a part's end falls into is cut, and what it held behind
//! the cut is compressed again. As soon as somebody knows how much room the part has left, the
//! frame in the making is ended just there, so that little is done twice. What does not compress
//! (a few samples of the range say so) is left raw: it is stored in frames that cost nothing to
//! make and can be cut anywhere. Law: `decode(pack(x)) = x`.

use std::ops::Range;

use zstd::zstd_safe::zstd_sys::ZSTD_EndDirective as Directive;
use zstd::zstd_safe::zstd_sys::ZSTD_ErrorCode;
use zstd::zstd_safe::{
    CCtx, CParameter, DCtx, DParameter, InBuffer, OutBuffer, ResetDirective, Strategy, compress_bound, get_error_name,
};

use crate::base::memory;
use crate::format::frame::{CLOSE, Cut, Packed, last_cut, stored_blocks, stored_len};
use crate::format::limits;
use crate::plan::forecast::Room;

/// How often a frame can be cut, in bytes of input: zstd's blocks, so that flushing costs nothing.
const STEP: usize = 128 * 1024;
/// The same near the end of a part, so that little of it is left to be stored.
const FINE: usize = 16 * 1024;
/// How near, in bytes of frame: what a step is unlikely to exceed.
const NEAR: usize = 48 * 1024;
/// How far a frame goes on behind the place where its part is guessed to end, in bytes of frame:
/// about as much as guesses err.
const MARGIN: usize = 64 * 1024;
/// A sample is tried of each so many bytes, at least two and at most eight of a range; of ranges that
/// are shorter than half of that, none.
const PROBE_EVERY: usize = 512 * 1024;
const PROBES: usize = 8;
const PROBE: usize = 8 * 1024;

/// How hard to compress.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Level {
    /// About as small as zstd's level 3 in three quarters of its time: its fast strategy, with a
    /// table and a window that are as large as these ranges are worth.
    #[default]
    Quick,
    /// One of zstd's, 1 to 19.
    Zstd(i32),
}

/// zstd said no.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("zstd: {0}")]
pub struct ZstdError(String);

/// # Panics
/// With [`memory::NoMemory`] where zstd could not get its memory: nothing is wrong with what it was given.
fn zstd_error(code: usize) -> ZstdError {
    if code == (ZSTD_ErrorCode::ZSTD_error_memory_allocation as usize).wrapping_neg() {
        memory::lacks(1 << limits::WINDOW_LOG);
    }
    ZstdError(get_error_name(code).to_string())
}

/// A compressor of one level, used again and again.
pub struct Compressor {
    context: CCtx<'static>,
    probe: CCtx<'static>,
    scratch: Vec<u8>,
}

/// What the compressor's scratch holds.
struct Frame {
    /// Bytes of input in it.
    end: usize,
    /// Where it can be cut.
    cuts: Vec<Cut>,
    /// The room it has outgrown; `None` if it is whole.
    room: Option<Room>,
}

impl Compressor {
    /// A compressor of that level.
    pub fn new(level: Level) -> Result<Self, ZstdError> {
        let create = || CCtx::try_create().unwrap_or_else(|| memory::lacks(1 << limits::WINDOW_LOG));
        let mut context = create();
        let mut set = |parameter| context.set_parameter(parameter).map(drop).map_err(zstd_error);
        // A frame that is cut holds less than it would have announced.
        set(CParameter::ContentSizeFlag(false))?;
        match level {
            Level::Quick => {
                set(CParameter::Strategy(Strategy::ZSTD_fast))?;
                set(CParameter::WindowLog(limits::WINDOW_LOG))?;
                set(CParameter::HashLog(17))?;
                set(CParameter::MinMatch(7))?;
            }
            Level::Zstd(level) => {
                set(CParameter::CompressionLevel(level))?;
                if level > 17 {
                    // Higher levels want windows that readers need not grant (FORMAT section 4).
                    set(CParameter::WindowLog(limits::WINDOW_LOG))?;
                }
            }
        }
        Ok(Self { context, probe: create(), scratch: Vec::new() })
    }

    /// Bytes of memory that zstd takes at that level.
    pub fn memory(level: Level) -> Result<u64, ZstdError> {
        let mut compressor = Self::new(level)?;
        compressor.scratch.reserve(STEP);
        // It takes what it needs at the first byte, if it does not know that no more come.
        compressor.feed(&[0], Directive::ZSTD_e_flush)?;
        Ok(compressor.context.sizeof() as u64)
    }

    /// About how many bytes `raw` packs to, from samples; not less than `raw` itself if it is not
    /// worth trying.
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
            let sample = &raw[at * stride..][..PROBE];
            packed += self.probe.compress(&mut self.scratch, sample, 1).unwrap_or(PROBE);
        }
        match packed < probes * PROBE / 100 * 99 {
            true => (raw.len() as u64 * packed as u64 / (probes * PROBE) as u64) as usize,
            false => stored_len(raw.len()),
        }
    }

    /// Makes `raw` ready for parts that take `whole` bytes of frames. `room` hears how many bytes
    /// of `raw` are compressed, to how many, and tells what the part that `raw` begins in still
    /// takes, as far as it knows. Returns stretches of `raw`, one behind the other, that end where
    /// parts end or a little behind.
    pub fn pack(
        &mut self,
        raw: &[u8],
        whole: usize,
        mut room: impl FnMut(usize, usize) -> Option<Room>,
    ) -> Result<Vec<(Range<usize>, Packed)>, ZstdError> {
        let (mut stretches, mut at, mut before) = (Vec::new(), 0, 0);
        // Behind the first end of a part that is known, all ends are.
        let mut later: Option<Room> = None;
        while at < raw.len() {
            let known = |done, packed| later.or(room(at + done, before + packed));
            let Frame { end, mut cuts, room } = self.frame_until(&raw[at..], known)?;
            let told = raw.len() - at;
            match room {
                Some(Room::Exactly(room)) => {
                    let cut = last_cut(&cuts, room).unwrap_or_default();
                    self.close(cut.packed);
                    if cut.raw > 0 {
                        cuts.retain(|before| before.raw < cut.raw);
                        stretches.push((at..at + cut.raw, self.frame_of(cut.raw, cuts, told)));
                        at += cut.raw;
                    }
                    // The rest of the part, a fraction of a block.
                    let free = room - if cut.raw > 0 { self.scratch.len() } else { 0 };
                    let stored = stored_blocks(free, raw.len() - at);
                    if stored > 0 {
                        stretches.push((at..at + stored, Packed::Stored));
                        at += stored;
                    }
                    later = Some(Room::Exactly(whole));
                }
                Some(Room::About(_)) => {
                    self.close(cuts.pop().map_or(0, |cut| cut.packed));
                    stretches.push((at..at + end, self.frame_of(end, cuts, told)));
                    at += end;
                    later = Some(Room::About(whole));
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

    /// One frame around all of `raw`.
    pub fn frame(&mut self, raw: &[u8]) -> Result<Vec<u8>, ZstdError> {
        self.context.reset(ResetDirective::SessionOnly).map_err(zstd_error)?;
        self.scratch.clear();
        memory::reserve(&mut self.scratch, compress_bound(raw.len()));
        self.context.compress2(&mut self.scratch, raw).map_err(zstd_error)?;
        Ok(memory::copy(&self.scratch))
    }

    /// Makes a frame once more that was made so of these very bytes; at most `room` bytes of it.
    pub fn again(&mut self, raw: &[u8], told: u64, pieces: &[(u32, u64)], room: usize) -> Result<Vec<u8>, ZstdError> {
        self.begin(told as usize)?;
        let pieces = pieces.iter().flat_map(|(times, len)| std::iter::repeat_n(*len as usize, *times as usize));
        let mut at = 0;
        for len in pieces {
            if at == raw.len() {
                break;
            }
            let end = (at + len).min(raw.len());
            let last = end as u64 == told;
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

    /// What is in `scratch`, if it is less than the `raw` bytes it stands for.
    fn frame_of(&self, raw: usize, cuts: Vec<Cut>, told: usize) -> Packed {
        if self.scratch.len() < raw {
            Packed::Frame { bytes: memory::copy(&self.scratch), cuts, told }
        } else {
            Packed::Stored
        }
    }

    /// Ends the frame in `scratch` behind its first `packed` bytes.
    fn close(&mut self, packed: usize) {
        self.scratch.truncate(packed);
        self.scratch.extend_from_slice(&CLOSE);
    }

    /// Compresses into `scratch`, until all is done or the frame takes more than `room` says.
    fn frame_until(
        &mut self,
        raw: &[u8],
        mut room: impl FnMut(usize, usize) -> Option<Room>,
    ) -> Result<Frame, ZstdError> {
        self.begin(raw.len())?;
        let mut cuts = Vec::with_capacity(raw.len() / STEP);
        let (mut end, mut step) = (0, STEP);
        loop {
            let next = raw.len().min(end + step);
            let last = next == raw.len();
            self.feed(&raw[end..next], if last { Directive::ZSTD_e_end } else { Directive::ZSTD_e_flush })?;
            end = next;
            let len = self.scratch.len();
            let room = room(end, len);
            if matches!(room, Some(Room::Exactly(room)) if room < len + NEAR) {
                step = FINE;
            }
            let room = room.filter(|room| match room {
                Room::Exactly(room) => len + if last { 0 } else { CLOSE.len() } > *room,
                Room::About(room) => !last && len > *room + MARGIN,
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

    /// A new frame, of so many bytes as far as is known.
    fn begin(&mut self, told: usize) -> Result<(), ZstdError> {
        self.context.reset(ResetDirective::SessionOnly).map_err(zstd_error)?;
        self.context.set_pledged_src_size(Some(told as u64)).map_err(zstd_error)?;
        self.scratch.clear();
        memory::reserve(&mut self.scratch, compress_bound(told) + 64);
        Ok(())
    }

    fn feed(&mut self, piece: &[u8], directive: Directive) -> Result<(), ZstdError> {
        let mut input = InBuffer::around(piece);
        loop {
            let at = self.scratch.len();
            let mut output = OutBuffer::around_pos(&mut self.scratch, at);
            let left = self.context.compress_stream2(&mut output, &mut input, directive).map_err(zstd_error)?;
            if left == 0 && input.pos() == piece.len() {
                return Ok(());
            }
            self.scratch.reserve(STEP);
        }
    }
}

/// A decompressor, used again and again.
pub struct Decompressor {
    context: DCtx<'static>,
    window: Vec<u8>,
}

/// Why decoding stopped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DecodeError<E> {
    /// The frames are no zstd, or want more memory than is granted.
    Zstd(ZstdError),
    /// The input ended within a frame.
    Truncated,
    /// Whoever takes the bytes said stop.
    Sink(E),
}

impl Decompressor {
    /// Grants frames the window of the format and no more.
    pub fn new() -> Result<Self, ZstdError> {
        let mut context = DCtx::try_create().unwrap_or_else(|| memory::lacks(1 << limits::WINDOW_LOG));
        context.set_parameter(DParameter::WindowLogMax(limits::WINDOW_LOG)).map_err(zstd_error)?;
        Ok(Self { context, window: memory::zeros(256 * 1024) })
    }

    /// Decodes frames that come in pieces, skippable ones left out, and hands out what they hold
    /// in windows of at most 256 KiB: memory does not depend on what a frame claims.
    ///
    /// # Errors
    /// Bytes handed out before an error are what the frames held so far.
    pub fn decode<P: AsRef<[u8]>, E>(
        &mut self,
        pieces: impl Iterator<Item = P>,
        mut sink: impl FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<(), DecodeError<E>> {
        let zstd = |code| DecodeError::Zstd(zstd_error(code));
        self.context.reset(ResetDirective::SessionOnly).map_err(zstd)?;
        let mut between_frames = true;
        for piece in pieces {
            let piece = piece.as_ref();
            let mut input = InBuffer::around(piece);
            loop {
                let mut output = OutBuffer::around(&mut self.window[..]);
                let hint = self.context.decompress_stream(&mut output, &mut input).map_err(zstd)?;
                between_frames = hint == 0;
                let len = output.pos();
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
