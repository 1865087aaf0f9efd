//! Tar ranges to zstd frames and back. The one address of `zstd`.
//!
//! Frames do not span parts: a frame that a part's end falls into is cut, and what it held behind
//! the cut is compressed again. As soon as somebody knows how much room the part has left, the
//! frame in the making is ended just there, so that little is done twice. What does not compress
//! (a few samples of the range say so) is left raw: it is stored in frames that cost nothing to
//! make and can be cut anywhere. Law: `decode(pack(x)) = x`.

use std::ops::Range;

use zstd::zstd_safe::zstd_sys::ZSTD_EndDirective as Directive;
use zstd::zstd_safe::{
    CCtx, CParameter, DCtx, DParameter, InBuffer, OutBuffer, ResetDirective, Strategy, compress_bound, get_error_name,
};

use crate::format::frame::{CLOSE, Cut, Packed, stored_capacity, stored_len};
use crate::format::limits;
use crate::format::part::BLOCK;
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
/// Range length from which it pays to probe.
const PROBE_FROM: usize = 256 * 1024;
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

fn zstd_error(code: usize) -> ZstdError {
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
        let mut context = CCtx::create();
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
        Ok(Self { context, probe: CCtx::create(), scratch: Vec::new() })
    }

    /// About how many bytes `raw` packs to, from samples; not less than `raw` itself if it is not
    /// worth trying.
    pub fn sample(&mut self, raw: &[u8]) -> usize {
        if raw.len() < PROBE_FROM {
            return raw.len() / 2;
        }
        let stride = (raw.len() - PROBE) / (PROBES - 1);
        let mut packed = 0;
        self.scratch.clear();
        self.scratch.reserve(compress_bound(PROBE));
        for at in 0..PROBES {
            let sample = &raw[at * stride..][..PROBE];
            packed += self.probe.compress(&mut self.scratch, sample, 1).unwrap_or(PROBE);
        }
        match packed < PROBES * PROBE / 100 * 99 {
            true => (raw.len() as u64 * packed as u64 / (PROBES * PROBE) as u64) as usize,
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
            let told = |done, packed| later.or(room(at + done, before + packed));
            let Frame { end, mut cuts, room } = self.frame_until(&raw[at..], told)?;
            match room {
                Some(Room::Exactly(room)) => {
                    let cut = cuts.into_iter().rfind(|cut| cut.packed + CLOSE.len() <= room).unwrap_or_default();
                    self.close(cut.packed);
                    if cut.raw > 0 {
                        stretches.push((at..at + cut.raw, self.frame_of(cut.raw, Vec::new())));
                        at += cut.raw;
                    }
                    // The rest of the part, a fraction of a block.
                    let free = room - if cut.raw > 0 { self.scratch.len() } else { 0 };
                    let stored = stored_capacity(free).min(raw.len() - at) / BLOCK as usize * BLOCK as usize;
                    if stored > 0 {
                        stretches.push((at..at + stored, Packed::Stored));
                        at += stored;
                    }
                    later = Some(Room::Exactly(whole));
                }
                Some(Room::About(_)) => {
                    self.close(cuts.pop().map_or(0, |cut| cut.packed));
                    stretches.push((at..at + end, self.frame_of(end, cuts)));
                    at += end;
                    later = Some(Room::About(whole));
                }
                None => {
                    stretches.push((at..raw.len(), self.frame_of(raw.len() - at, cuts)));
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
        self.scratch.reserve(compress_bound(raw.len()));
        self.context.compress2(&mut self.scratch, raw).map_err(zstd_error)?;
        Ok(self.scratch.to_vec())
    }

    /// What is in `scratch`, if it is less than the `raw` bytes it stands for.
    fn frame_of(&self, raw: usize, cuts: Vec<Cut>) -> Packed {
        if self.scratch.len() < raw { Packed::Frame { bytes: self.scratch.to_vec(), cuts } } else { Packed::Stored }
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
        self.context.reset(ResetDirective::SessionOnly).map_err(zstd_error)?;
        self.context.set_pledged_src_size(Some(raw.len() as u64)).map_err(zstd_error)?;
        self.scratch.clear();
        self.scratch.reserve(compress_bound(raw.len()) + 64);
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
        let mut context = DCtx::create();
        context.set_parameter(DParameter::WindowLogMax(limits::WINDOW_LOG)).map_err(zstd_error)?;
        Ok(Self { context, window: vec![0; 256 * 1024] })
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
mod tests {
    use super::*;
    use crate::base::secret::random;
    use crate::format::frame::{CLOSE, store};
    use crate::format::part::padding_frame;

    fn text(len: usize) -> Vec<u8> {
        (0..)
            .flat_map(|n: u32| format!("line {} of a text {}\n", n, n.wrapping_mul(2_654_435_761) % 977).into_bytes())
            .take(len)
            .collect()
    }

    fn noise(len: usize) -> Vec<u8> {
        std::iter::repeat_with(random::<32>).flatten().take(len).collect()
    }

    fn decode(frames: &[u8]) -> Result<Vec<u8>, DecodeError<()>> {
        let mut out = Vec::new();
        let take = |bytes: &[u8]| {
            out.extend_from_slice(bytes);
            Ok(())
        };
        Decompressor::new().unwrap().decode(frames.chunks(1000), take)?;
        Ok(out)
    }

    /// What a part holds: the stretches' frames, stored ones made here.
    fn frames(raw: &[u8], stretches: &[(Range<usize>, Packed)]) -> Vec<u8> {
        let mut out = Vec::new();
        for (stretch, packed) in stretches {
            match packed {
                Packed::Stored => store(&raw[stretch.clone()], |bytes| out.extend_from_slice(bytes)),
                Packed::Frame { bytes, .. } => out.extend_from_slice(bytes),
            }
        }
        out
    }

    #[test]
    fn frames_can_be_cut_where_they_say() {
        let raw = text(5 * STEP + 100);
        for level in [Level::Quick, Level::Zstd(1), Level::Zstd(3), Level::Zstd(19)] {
            let stretches = Compressor::new(level).unwrap().pack(&raw, 1 << 20, |_, _| None).unwrap();
            let [(_, Packed::Frame { bytes, cuts })] = &stretches[..] else { panic!() };
            assert_eq!(decode(bytes), Ok(raw.clone()));
            assert_eq!(cuts.len(), 5);
            for cut in cuts {
                let prefix = [&bytes[..cut.packed], &CLOSE].concat();
                assert_eq!(decode(&prefix), Ok(raw[..cut.raw].to_vec()));
            }
        }
    }

    #[test]
    fn a_part_that_is_known_to_end_is_filled_to_its_end() {
        let raw = [text(9 * STEP + 100), noise(STEP + 50), text(3 * STEP)].concat();
        let whole = 150_000;
        for (known_after, room) in [(0, 30_000), (5, 30_000), (0, 300), (0, whole), (3, 5)] {
            let asked = std::cell::Cell::new(0);
            let tell = |_, _| {
                asked.set(asked.get() + 1);
                (asked.get() > known_after).then_some(Room::Exactly(room))
            };
            let stretches = Compressor::new(Level::Quick).unwrap().pack(&raw, whole, tell).unwrap();
            assert!(stretches.windows(2).all(|two| two[0].0.end == two[1].0.start));
            assert_eq!(decode(&frames(&raw, &stretches)), Ok(raw.clone()));
            let (mut left, mut parts) = (room, 1);
            for (stretch, packed) in &stretches {
                let len = packed.len(stretch.len());
                if len > left {
                    assert!(left < 600, "{left} bytes stay free");
                    (left, parts) = (whole, parts + 1);
                }
                assert!(len <= left && (stretch.end % 512 == 0 || stretch.end == raw.len()));
                left -= len;
            }
            assert!(parts >= 3);
        }
    }

    #[test]
    fn noise_is_stored_and_text_is_not() {
        let mut compressor = Compressor::new(Level::Quick).unwrap();
        for len in [1 << 20, PROBE_FROM] {
            assert!(compressor.sample(&noise(len)) > len && compressor.sample(&text(len)) < len / 2);
        }
        let mut pack = |raw: &[u8]| compressor.pack(raw, 1 << 20, |_, _| None).unwrap();
        assert_eq!(pack(&noise(1 << 20)), [(0..1 << 20, Packed::Stored)]);
        assert_eq!(pack(&noise(1000)), [(0..1000, Packed::Stored)]);
        assert_eq!(pack(b""), []);
        let half = [text(600_000), noise(600_000)].concat();
        let frames = frames(&half, &pack(&half));
        assert!(frames.len() < 900_000 && decode(&frames) == Ok(half));
    }

    #[test]
    fn stored_frames_are_zstd_frames() {
        for len in [0, 1, 512, 131_072, 131_073, 300_000] {
            let raw = noise(len);
            let mut frames = padding_frame(8).to_vec();
            store(&raw, |bytes| frames.extend_from_slice(bytes));
            assert_eq!(decode(&frames), Ok(raw));
        }
    }

    #[test]
    fn what_is_no_frame_is_refused() {
        let good = Compressor::new(Level::Quick).unwrap().frame(&text(100_000)).unwrap();
        assert_eq!(decode(&good[..good.len() - 1]), Err(DecodeError::Truncated));
        assert!(matches!(decode(b"no zstd at all"), Err(DecodeError::Zstd(_))));
        // A window of 2^31 (window log 31): refused before any memory is taken.
        let greedy = [0x28, 0xB5, 0x2F, 0xFD, 0x00, 21 << 3, 0x01, 0x00, 0x00];
        assert!(matches!(decode(&greedy), Err(DecodeError::Zstd(_))));
    }

    #[test]
    fn zeros_without_end_are_cut_off_by_the_sink() {
        let bomb = Compressor::new(Level::Quick).unwrap().frame(&vec![0; 64 << 20]).unwrap();
        let mut seen = 0;
        let take = |bytes: &[u8]| {
            seen += bytes.len();
            if seen > 1 << 20 { Err("too much") } else { Ok(()) }
        };
        let result = Decompressor::new().unwrap().decode([&bomb[..]].into_iter(), take);
        assert_eq!(result, Err(DecodeError::Sink("too much")));
        assert!(seen <= (1 << 20) + 256 * 1024);
    }
}
