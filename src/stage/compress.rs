//! Tar ranges to zstd frames and back. The one address of `zstd`.
//!
//! What does not compress (a probe of the range says so) is left raw: it is stored in frames
//! that cost nothing to make and can be cut anywhere. Law: `decode(pack(x)) = x`.

use zstd::zstd_safe::zstd_sys::ZSTD_EndDirective as Directive;
use zstd::zstd_safe::{
    CCtx, CParameter, DCtx, DParameter, InBuffer, OutBuffer, ResetDirective, compress_bound, get_error_name,
};

use crate::format::frame::{Cut, Packed};
use crate::format::limits;

/// How often a frame can be cut, in bytes of input.
pub const COARSE: usize = 512 * 1024;
/// The same where little room is left in a part.
pub const FINE: usize = 32 * 1024;
/// Range length from which it pays to probe.
const PROBE_FROM: usize = 256 * 1024;
const PROBES: usize = 8;
const PROBE: usize = 16 * 1024;

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

impl Compressor {
    /// Levels are zstd's, 1 to 19.
    pub fn new(level: i32) -> Result<Self, ZstdError> {
        let mut context = CCtx::create();
        context.set_parameter(CParameter::CompressionLevel(level)).map_err(zstd_error)?;
        if level > 17 {
            // Higher levels want windows that readers need not grant (FORMAT section 4).
            context.set_parameter(CParameter::WindowLog(limits::WINDOW_LOG)).map_err(zstd_error)?;
        }
        Ok(Self { context, probe: CCtx::create(), scratch: Vec::new() })
    }

    /// Makes `raw` ready for a part; a frame can be cut every `step` bytes of input.
    pub fn pack(&mut self, raw: &[u8], step: usize) -> Result<Packed, ZstdError> {
        if raw.is_empty() || (raw.len() >= PROBE_FROM && !self.compresses(raw)) {
            return Ok(Packed::Stored);
        }
        self.context.reset(ResetDirective::SessionOnly).map_err(zstd_error)?;
        let steps = raw.len().div_ceil(step);
        let mut bytes = Vec::with_capacity(compress_bound(raw.len()) + 64 * steps);
        let mut cuts = Vec::with_capacity(steps);
        for (at, piece) in raw.chunks(step).enumerate() {
            let last = at + 1 == steps;
            let directive = if last { Directive::ZSTD_e_end } else { Directive::ZSTD_e_flush };
            self.feed(piece, directive, &mut bytes)?;
            if !last {
                cuts.push(Cut { raw: (at + 1) * step, packed: bytes.len() });
            }
        }
        if bytes.len() >= raw.len() {
            return Ok(Packed::Stored);
        }
        Ok(Packed::Frame { bytes, cuts })
    }

    /// One frame around all of `text`.
    pub fn frame(&mut self, text: &[u8]) -> Result<Vec<u8>, ZstdError> {
        self.context.reset(ResetDirective::SessionOnly).map_err(zstd_error)?;
        let mut bytes = Vec::with_capacity(compress_bound(text.len()) + 64);
        self.feed(text, Directive::ZSTD_e_end, &mut bytes)?;
        Ok(bytes)
    }

    /// Bytes that `sample` compresses to, for an estimate.
    pub fn measure(&mut self, sample: &[u8]) -> Result<usize, ZstdError> {
        Ok(self.pack(sample, COARSE)?.len(sample.len()))
    }

    fn feed(&mut self, piece: &[u8], directive: Directive, out: &mut Vec<u8>) -> Result<(), ZstdError> {
        let mut input = InBuffer::around(piece);
        loop {
            if out.capacity() - out.len() < 1024 {
                out.reserve(64 * 1024);
            }
            let at = out.len();
            let mut output = OutBuffer::around_pos(out, at);
            let left = self.context.compress_stream2(&mut output, &mut input, directive).map_err(zstd_error)?;
            if left == 0 && input.pos() == piece.len() {
                return Ok(());
            }
        }
    }

    /// Whether samples of `raw` shrink by at least a hundredth.
    fn compresses(&mut self, raw: &[u8]) -> bool {
        let stride = (raw.len() - PROBE) / (PROBES - 1);
        let mut packed = 0;
        self.scratch.resize(compress_bound(PROBE), 0);
        for at in 0..PROBES {
            let sample = &raw[at * stride..][..PROBE];
            packed += self.probe.compress(&mut self.scratch[..], sample, 1).unwrap_or(PROBE);
        }
        packed < PROBES * PROBE / 100 * 99
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

    #[test]
    fn frames_can_be_cut_where_they_say() {
        let raw = text(3 * COARSE + 100);
        for level in [1, 3, 19] {
            let Packed::Frame { bytes, cuts } = Compressor::new(level).unwrap().pack(&raw, COARSE).unwrap() else {
                panic!()
            };
            assert_eq!(decode(&bytes), Ok(raw.clone()));
            assert_eq!(cuts.len(), 3);
            for cut in cuts {
                let prefix = [&bytes[..cut.packed], &CLOSE].concat();
                assert_eq!(decode(&prefix), Ok(raw[..cut.raw].to_vec()));
            }
        }
    }

    #[test]
    fn noise_is_stored_and_text_is_not() {
        let mut compressor = Compressor::new(3).unwrap();
        assert_eq!(compressor.pack(&noise(1 << 20), COARSE), Ok(Packed::Stored));
        assert_eq!(compressor.pack(&noise(1000), COARSE), Ok(Packed::Stored));
        assert_eq!(compressor.pack(b"", COARSE), Ok(Packed::Stored));
        assert!(matches!(compressor.pack(&text(1 << 20), COARSE), Ok(Packed::Frame { .. })));
        let half = [text(600_000), noise(600_000)].concat();
        let Ok(Packed::Frame { bytes, .. }) = compressor.pack(&half, COARSE) else { panic!() };
        assert!(bytes.len() < 900_000 && decode(&bytes) == Ok(half));
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
        let good = Compressor::new(3).unwrap().frame(&text(100_000)).unwrap();
        assert_eq!(decode(&good[..good.len() - 1]), Err(DecodeError::Truncated));
        assert!(matches!(decode(b"no zstd at all"), Err(DecodeError::Zstd(_))));
        // A window of 2^31 (window log 31): refused before any memory is taken.
        let greedy = [0x28, 0xB5, 0x2F, 0xFD, 0x00, 21 << 3, 0x01, 0x00, 0x00];
        assert!(matches!(decode(&greedy), Err(DecodeError::Zstd(_))));
    }

    #[test]
    fn zeros_without_end_are_cut_off_by_the_sink() {
        let bomb = Compressor::new(3).unwrap().frame(&vec![0; 64 << 20]).unwrap();
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
