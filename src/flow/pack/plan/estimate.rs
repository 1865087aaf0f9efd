//! Estimates how well the sources compress, from samples that all cores read and compress.
//!
//! Not guaranteed: that the rest of the files compresses like the samples.

use crate::base::entry::Hole;
use crate::base::memory;
use crate::base::pool::side_by_side;
use crate::flow::FlowError;
use crate::plan::layout::{Layout, holes_in};
use crate::stage::archive;
use crate::stage::compress::{Compressor, Level, ZstdError};
use crate::stage::walk::Walk;

/// Most samples of one tar.
const SAMPLES: u64 = 16;
/// Bytes of one sample. Samples are long, because shorter frames compress worse than those that will be written.
const SAMPLE_LEN: u64 = 1 << 20;

/// Bytes that the tar compresses to, from samples spread evenly over all that is no hole. Sources of up to 16 MiB are
/// sampled completely.
pub(super) fn estimate(walk: &Walk, layout: &Layout, level: Level) -> Result<u64, FlowError> {
    let holes = holes_in(&walk.entries);
    let hole_bytes: u64 = holes.iter().map(|(_, len)| len).sum();
    let data = layout.tail_start - hole_bytes;
    let tools = || (Compressor::new(level), memory::zeros(SAMPLE_LEN as usize));
    let samples = side_by_side(&sample_starts(data), tools, |(compressor, buf), start| {
        let compressor = compressor.as_mut().map_err(|error| error.clone())?;
        let sample = fill_sample(walk, layout, &holes, *start, buf);
        Ok::<_, ZstdError>((sample.len() as u64, packed_len(compressor, sample)?))
    });
    let mut raw = 0;
    let mut packed = 0;
    for sample in samples {
        let (raw_len, packed_len) = sample?;
        raw += raw_len;
        packed += packed_len;
    }
    let ratio = packed as f64 / raw.max(1) as f64;
    // Manifests are hex, which compresses to a little over half. Zeros compress to nearly nothing.
    let tail = (layout.len - layout.tail_start) * 6 / 10;
    Ok((data as f64 * ratio) as u64 + hole_bytes / 4000 + tail)
}

/// Where the samples begin in `data` bytes of tar, holes not counted; each at a whole block.
fn sample_starts(data: u64) -> Vec<u64> {
    let stride = (data / SAMPLES).max(SAMPLE_LEN) / 512 * 512;
    (0..SAMPLES).map(|at| at * stride).filter(|start| *start < data).collect()
}

/// Fills a sample that begins at byte `start`, holes not counted. It ends at the next hole at the latest.
fn fill_sample<'b>(walk: &Walk, layout: &Layout, holes: &[Hole], start: u64, buf: &'b mut [u8]) -> &'b [u8] {
    let (start, follow) = layout.past_holes(holes, start);
    let sample = &mut buf[..SAMPLE_LEN.min(follow) as usize];
    let found = layout.entries_in(&(start..start + sample.len() as u64));
    let entries = (found.start, &walk.entries[found.clone()], &layout.starts[found.clone()]);
    archive::fill(start, sample, entries, |index| walk.open(index), |_, _| true);
    sample
}

/// Bytes that a sample compresses to. It is compressed only if that seems worthwhile, as in packing.
fn packed_len(compressor: &mut Compressor, sample: &[u8]) -> Result<u64, ZstdError> {
    let guess = compressor.sample(sample);
    let len = if guess < sample.len() { compressor.frame(sample)?.len() } else { guess };
    Ok(len as u64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::monitor::Silent;
    use crate::plan::layout::lay_out;
    use crate::stage::walk::walk;

    const MIB: u64 = 1 << 20;

    /// The estimate for a folder with one file, which `write` makes at the path that it gets.
    fn estimate_of(write: impl FnOnce(&std::path::Path)) -> u64 {
        let desk = tempfile::tempdir().unwrap();
        write(&desk.path().join("file"));
        let mut walk = walk(&[desk.path().to_path_buf()], &Silent).unwrap();
        let layout = lay_out(&mut walk.entries, &mut Vec::new());
        estimate(&walk, &layout, Level::Quick).unwrap()
    }

    /// Bytes that do not compress.
    fn noise(len: u64) -> Vec<u8> {
        let mut state = 1_u64;
        let next = |_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 56) as u8
        };
        (0..len).map(next).collect()
    }

    #[test]
    fn up_to_sixteen_samples_cover_everything() {
        assert!(sample_starts(0).is_empty());
        assert_eq!(sample_starts(1), [0]);
        assert_eq!(sample_starts(MIB), [0]);
        assert_eq!(sample_starts(MIB + 1), [0, MIB]);
        assert_eq!(sample_starts(16 * MIB), (0..16).map(|at| at * MIB).collect::<Vec<_>>());
    }

    #[test]
    fn more_data_is_sampled_at_whole_blocks_evenly_spread() {
        let starts = sample_starts(32 * MIB + 8000);
        assert_eq!(starts, (0..16).map(|at| at * (2 * MIB)).collect::<Vec<_>>(), "500 bytes are less than a block");
    }

    #[test]
    fn files_that_do_not_compress_are_expected_at_their_size() {
        let noisy = estimate_of(|path| std::fs::write(path, noise(2 * MIB)).unwrap());
        assert!(noisy.abs_diff(2 * MIB) < 64 * 1024, "{noisy}");
    }

    #[test]
    fn files_that_compress_are_expected_to_shrink() {
        let plain = estimate_of(|path| std::fs::write(path, b"all work and no play ".repeat(100_000)).unwrap());
        assert!(plain < MIB / 8, "{plain}");
    }

    #[test]
    fn holes_take_next_to_nothing() {
        let sparse = estimate_of(|path| std::fs::File::create(path).unwrap().set_len(1 << 30).unwrap());
        assert!(sparse < MIB, "{sparse}");
    }
}
