//! Frames can be cut, stored, made again and decoded, and hostile ones stay within bounds.

use super::*;
use crate::base::secret::random;
use crate::format::frame::{CLOSE, store};
use crate::format::part::padding_frame;
use crate::format::recipe::FrameRecipe;

/// Text that compresses well, without two equal lines.
fn text(len: usize) -> Vec<u8> {
    (0..)
        .flat_map(|n: u32| format!("line {} of a text {}\n", n, n.wrapping_mul(2_654_435_761) % 977).into_bytes())
        .take(len)
        .collect()
}

/// Random bytes, which no level compresses.
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

/// The frames of all stretches, as a part would hold them.
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
        let [(_, Packed::Frame { bytes, cuts, .. })] = &stretches[..] else { panic!() };
        assert_eq!(decode(bytes), Ok(raw.clone()));
        assert_eq!(cuts.len(), 5);
        for cut in cuts {
            let prefix = [&bytes[..cut.packed], &CLOSE].concat();
            assert_eq!(decode(&prefix), Ok(raw[..cut.raw].to_vec()));
        }
    }
}

#[test]
fn what_was_made_can_be_made_again() {
    let raw = [text(9 * STEP + 100), noise(STEP + 50), text(3 * STEP)].concat();
    for level in [Level::Quick, Level::Zstd(1), Level::Zstd(6), Level::Zstd(19)] {
        for room in
            [None, Some(RoomGuess::Exactly(30_000)), Some(RoomGuess::About(20_000)), Some(RoomGuess::Exactly(300))]
        {
            let mut used = Compressor::new(level).unwrap();
            let stretches = used.pack(&raw, 100_000, |_, _| room).unwrap();
            // A compressor that was used for other bytes must make the same frame as a fresh one.
            let mut again = Compressor::new(level).unwrap();
            again.frame(&noise(5000)).unwrap();
            for (stretch, packed) in &stretches {
                let raw = &raw[stretch.clone()];
                match (packed.made(raw.len()), packed) {
                    (FrameRecipe::Frame { told, pieces }, Packed::Frame { bytes, .. }) => {
                        assert!(again.again(raw, told, &pieces, 1 << 20).unwrap() == *bytes, "{level:?} {room:?}");
                        assert!(again.again(raw, told, &pieces, 100).is_err());
                    }
                    (made, _) => assert_eq!(made, FrameRecipe::Stored(raw.len() as u64)),
                }
            }
        }
    }
}

#[test]
fn a_part_that_is_known_to_end_is_filled_to_its_end() {
    let raw = [text(9 * STEP + 100), noise(STEP + 50), text(3 * STEP)].concat();
    // The room becomes known after a number of calls, and may be too small for any cut.
    let whole = 150_000;
    for (known_after, room) in [(0, 30_000), (5, 30_000), (0, 300), (0, whole), (3, 5)] {
        let asked = std::cell::Cell::new(0);
        let tell = |_, _| {
            asked.set(asked.get() + 1);
            (asked.get() > known_after).then_some(RoomGuess::Exactly(room))
        };
        let stretches = Compressor::new(Level::Quick).unwrap().pack(&raw, whole, tell).unwrap();
        assert!(stretches.windows(2).all(|two| two[0].0.end == two[1].0.start));
        assert_eq!(decode(&frames(&raw, &stretches)), Ok(raw.clone()));
        let (mut left, mut parts) = (room, 1);
        for (stretch, packed) in &stretches {
            let len = packed.len(stretch.len());
            if len > left {
                // A part is left only when almost full.
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
fn a_guessed_end_makes_two_frames_that_can_be_cut() {
    let raw = text(9 * STEP + 100);
    let mut compressor = Compressor::new(Level::Quick).unwrap();
    let tell = |_, _| Some(RoomGuess::About(10_000));
    let stretches = compressor.pack(&raw, 1 << 20, tell).unwrap();
    let [(first, Packed::Frame { bytes, cuts, .. }), (second, _)] = &stretches[..] else { panic!("{stretches:?}") };
    assert_eq!((first.start, first.end, second.end), (0, second.start, raw.len()));
    assert!(bytes.len() > 10_000 + MARGIN && cuts.iter().any(|cut| cut.packed > 10_000));
    assert_eq!(decode(&frames(&raw, &stretches)), Ok(raw));
}

#[test]
fn noise_is_stored_and_text_is_not() {
    let mut compressor = Compressor::new(Level::Quick).unwrap();
    for len in [1 << 20, PROBE_EVERY / 2] {
        assert!(compressor.sample(&noise(len)) > len && compressor.sample(&text(len)) < len / 2);
    }
    let mut pack = |raw: &[u8]| compressor.pack(raw, 1 << 20, |_, _| None).unwrap();
    assert_eq!(pack(&noise(1 << 20)), [(0..1 << 20, Packed::Stored)]);
    assert_eq!(pack(&noise(1000)), [(0..1000, Packed::Stored)]);
    assert_eq!(pack(b""), []);
    // One half compresses, so the range is one frame: zstd itself stores the blocks of noise in it.
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
    // 64 MiB of zeros pack to a few KiB; the sink stops them after 1 MiB.
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
