//! Throughput of each stage on one thread, in memory: the terms of the roofline (docs/decisions/013). `cargo bench`
//! prints a table; `scripts/bench` runs the same program, adds up the terms, and measures `cp -r` and `tar` for what is
//! missing here: reading, writing and the transfer between threads.

use divan::counter::BytesCount;
use divan::{Bencher, black_box};

use pouch::internals::base::crypto::ChunkKey;
use pouch::internals::base::digest::sha256;
use pouch::internals::base::secret::{FileKey, random};
use pouch::internals::format::frame::store;
use pouch::internals::format::part::{CHUNK, Class, HEADER, PartBuf};
use pouch::internals::stage::compress::{Compressor, Decompressor, Level};
use pouch::internals::stage::stream::{PartOpener, PartSealer};

/// Bytes of the longest ranges that packing makes.
const LEN: usize = 8 << 20;

fn main() {
    divan::main();
}

/// Random bytes stand for video, because neither compresses.
fn footage() -> Vec<u8> {
    std::iter::repeat_with(random::<4096>).flatten().take(LEN).collect()
}

/// Ranges of text: the file that `POUCH_BENCH_TEXT` names, or words of this crate's own files. Runs of words from
/// pseudo-random places give every benchmark the same text without plain repetition.
fn text() -> Vec<Vec<u8>> {
    if let Some(path) = std::env::var_os("POUCH_BENCH_TEXT") {
        return std::fs::read(path).expect("POUCH_BENCH_TEXT").chunks(LEN).map(<[u8]>::to_vec).collect();
    }
    let own = [
        include_str!("../src/flow/pack/pipeline.rs"),
        include_str!("../docs/FORMAT.md"),
        include_str!("../Cargo.lock"),
    ];
    let words: Vec<&str> = own.iter().flat_map(|text| text.split_inclusive(' ')).collect();
    let mut at = 1usize;
    let mut next = || {
        at = at.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        at >> 33
    };
    let mut out = Vec::with_capacity(LEN + 4096);
    while out.len() < LEN {
        let from = next() % (words.len() - 40);
        words[from..from + 1 + next() % 40].iter().for_each(|word| out.extend_from_slice(word.as_bytes()));
    }
    out.truncate(LEN);
    vec![out]
}

/// Throughput counts plaintext bytes, even where the input of a stage is packed.
fn total(ranges: &[Vec<u8>]) -> BytesCount {
    BytesCount::new(ranges.iter().map(Vec::len).sum::<usize>())
}

/// SHA-256, which packing does twice: over the files and over the parts.
#[divan::bench]
fn hash(bencher: Bencher) {
    let data = footage();
    bencher.counter(BytesCount::new(LEN)).bench_local(|| sha256(black_box(&data)));
}

/// Encryption alone: `hash` measures the digest that [`PartSealer`] computes as well.
#[divan::bench]
fn seal(bencher: Bencher) {
    let (key, class) = (ChunkKey::new(&FileKey::random(), &[1; 16]), Class::ALL[1]);
    let mut part = PartBuf::new(class);
    bencher.counter(BytesCount::new(class.plain_len())).bench_local(|| {
        for (index, chunk) in part.chunks_mut().enumerate() {
            black_box(key.seal(index as u64, false, &mut chunk[..CHUNK]));
        }
    });
}

/// Opening is in place, so every iteration gets a fresh copy; divan does not count the copying.
#[divan::bench]
fn open(bencher: Bencher) {
    let (key, header) = (FileKey::random(), [7; HEADER]);
    let mut sealed = PartBuf::new(Class::ALL[1]);
    PartSealer::new(&key, &header, &mut sealed, |_, _| ()).finish();
    let sealed_bytes = sealed.file().to_vec();
    let fresh = || {
        let mut part = PartBuf::new(Class::ALL[1]);
        part.file_mut().copy_from_slice(&sealed_bytes);
        part
    };
    bencher.with_inputs(fresh).input_counter(|_| BytesCount::new(Class::ALL[1].plain_len())).bench_local_refs(|part| {
        assert!(PartOpener::new(&key, &header, Class::ALL[1].chunks()).open_all(part).is_empty())
    });
}

/// One frame per range, at the default level and at zstd levels.
#[divan::bench(args = ["quick", "1", "3", "9"])]
fn compress_text(bencher: Bencher, level: &str) {
    let level = level.parse().map_or(Level::Quick, Level::Zstd);
    let (mut compressor, ranges) = (Compressor::new(level).expect("a level"), text());
    bencher.counter(total(&ranges)).bench_local(|| {
        ranges.iter().map(|range| compressor.frame(black_box(range)).expect("compresses").len()).sum::<usize>()
    });
}

/// What footage would cost if its ranges were not sampled.
#[divan::bench]
fn compress_footage(bencher: Bencher) {
    let (mut compressor, data) = (Compressor::new(Level::Quick).expect("a level"), footage());
    bencher.counter(BytesCount::new(LEN)).bench_local(|| compressor.frame(black_box(&data)).expect("compresses"));
}

/// The real cost of compression for footage: its ranges are sampled, found to be noise and stored.
#[divan::bench]
fn sample_footage(bencher: Bencher) {
    let (mut compressor, data) = (Compressor::new(Level::Quick).expect("a level"), footage());
    bencher.counter(BytesCount::new(LEN)).bench_local(|| compressor.sample(black_box(&data)));
}

#[divan::bench]
fn decompress_text(bencher: Bencher) {
    let (mut compressor, ranges) = (Compressor::new(Level::Quick).expect("a level"), text());
    let frames = ranges.iter().flat_map(|range| compressor.frame(range).expect("compresses")).collect();
    decompress(bencher, frames, total(&ranges));
}

/// Stored frames still pass through zstd, which copies them.
#[divan::bench]
fn decompress_stored(bencher: Bencher) {
    let mut frame = Vec::new();
    store(&footage(), |bytes| frame.extend_from_slice(bytes));
    decompress(bencher, frame, BytesCount::new(LEN));
}

/// Decodes chunk by chunk, as the plaintext of a part arrives.
fn decompress(bencher: Bencher, frames: Vec<u8>, raw: BytesCount) {
    let mut decompressor = Decompressor::new().expect("a decompressor");
    bencher.counter(raw).bench_local(|| {
        let take = |bytes: &[u8]| {
            black_box(bytes);
            Ok::<(), ()>(())
        };
        decompressor.decode(frames.chunks(CHUNK), take).expect("decodes");
    });
}
