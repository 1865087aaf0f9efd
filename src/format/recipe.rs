//! Recipes: how a data part was made from the tar, that is, which stretches were stored, which were compressed, and
//! where the compressor was flushed. The sender cannot open what it sealed. With the sources and a recipe it makes the
//! very same plaintext again, for a drive that died and for the parity made from that part. Recipes stand only in
//! journals (FORMAT appendix A). They do not guarantee that the sources are unchanged; the hash tells.

use crate::base::text::unhex;
use crate::format::{FormatError, number};

const WHAT: &str = "a recipe";
/// Most bytes of tar in a frame, and the most that a compressor is told to expect.
const LONGEST: u64 = 64 << 20;
/// Most that a recipe may spell out: runs of frames and of their pieces together. A part of the largest class needs
/// some thousands.
const SPELLED: u64 = 1 << 16;
/// Most pieces of a frame. Each piece has a few KiB at least, except the last.
const PIECES: u64 = LONGEST / 4096 + 64;

/// How one frame of a part was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum FrameRecipe {
    /// A stored frame of so many bytes of tar.
    Stored(u64),
    /// A compressed frame.
    Frame {
        /// Bytes that the compressor was told to expect. If it got fewer, an empty block closed the frame early.
        told: u64,
        /// Count and bytes of equal pieces in a row. The compressor was flushed behind each piece.
        pieces: Vec<(u32, u64)>,
    },
}

/// How a data part was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recipe {
    /// Tar offset of its first byte.
    pub(crate) offset: u64,
    /// XXH3-128 of its plaintext up to the padding.
    pub(crate) hash: u128,
    /// Its frames in order, as count and frame of equal frames in a row.
    pub(crate) frames: Vec<(u32, FrameRecipe)>,
}

impl FrameRecipe {
    /// A compressed frame of `len` bytes of tar. `flushes` are the ascending places before its end where it was
    /// flushed.
    pub(crate) fn frame(told: usize, flushes: impl Iterator<Item = usize>, len: usize) -> Self {
        let mut pieces: Vec<(u32, u64)> = Vec::new();
        let mut before = 0;
        for at in flushes.chain([len]) {
            let piece = (at - before) as u64;
            match pieces.last_mut() {
                Some((times, last)) if *last == piece => *times += 1,
                _ => pieces.push((1, piece)),
            }
            before = at;
        }
        FrameRecipe::Frame { told: told as u64, pieces }
    }

    /// Bytes of tar in it.
    pub(crate) fn length(&self) -> u64 {
        match self {
            FrameRecipe::Stored(len) => *len,
            FrameRecipe::Frame { pieces, .. } => pieces.iter().map(|(times, len)| u64::from(*times) * len).sum(),
        }
    }

    fn encode(&self) -> String {
        match self {
            FrameRecipe::Stored(len) => format!("s{len}"),
            FrameRecipe::Frame { told, pieces } => {
                let pieces: Vec<String> =
                    pieces.iter().map(|(times, len)| times_of(*times, 'x', &len.to_string())).collect();
                format!("z{told}:{}", pieces.join("+"))
            }
        }
    }

    fn parse(text: &str) -> Option<Self> {
        if let Some(len) = text.strip_prefix('s') {
            return frame_len(len).map(FrameRecipe::Stored);
        }
        let (told, pieces) = text.strip_prefix('z')?.split_once(':')?;
        let pieces = pieces.split('+').map(parse_pieces).collect::<Option<Vec<_>>>()?;
        let told = frame_len(told)?;
        let all = pieces.iter().try_fold((0u64, 0u64), |(count, sum), (times, len)| {
            Some((count + u64::from(*times), sum.checked_add(u64::from(*times).checked_mul(*len)?)?))
        });
        let (count, sum) = all?;
        (sum <= told && count <= PIECES).then_some(FrameRecipe::Frame { told, pieces })
    }

    /// How many runs its text names, which [`SPELLED`] bounds.
    fn spelled(&self) -> u64 {
        match self {
            FrameRecipe::Stored(_) => 1,
            FrameRecipe::Frame { pieces, .. } => 1 + pieces.len() as u64,
        }
    }
}

impl Recipe {
    /// A recipe of these frames, of which equal neighbours become one run.
    pub(crate) fn new(offset: u64, hash: u128, frames: Vec<FrameRecipe>) -> Self {
        let mut runs: Vec<(u32, FrameRecipe)> = Vec::new();
        for made in frames {
            match runs.last_mut() {
                Some((times, last)) if *last == made => *times += 1,
                _ => runs.push((1, made)),
            }
        }
        Self { offset, hash, frames: runs }
    }

    /// Bytes of tar in the part. The sum saturates, for a planted recipe may claim anything.
    pub(crate) fn length(&self) -> u64 {
        let lengths = self.frames.iter().map(|(times, made)| u64::from(*times).saturating_mul(made.length()));
        lengths.fold(0, u64::saturating_add)
    }

    /// Its frames, one by one.
    pub(crate) fn each(&self) -> impl Iterator<Item = &FrameRecipe> {
        self.frames.iter().flat_map(|(times, made)| std::iter::repeat_n(made, *times as usize))
    }

    /// Three words with blanks between them: offset, hash, frames.
    pub(crate) fn encode(&self) -> String {
        let frames: Vec<String> =
            self.frames.iter().map(|(times, made)| times_of(*times, '*', &made.encode())).collect();
        format!("{} {:032x} {}", self.offset, self.hash, frames.join(","))
    }

    /// Parses the three words of [`Self::encode`].
    ///
    /// # Errors
    /// The words are no recipe, or spell out more than any part needs.
    pub(crate) fn parse(offset: &str, hash: &str, frames: &str) -> Result<Self, FormatError> {
        let mut runs = Vec::new();
        let mut spelled = 0;
        for run in frames.split(',') {
            let (times, text) = split_times(run, '*').ok_or_else(malformed)?;
            let made = FrameRecipe::parse(text).ok_or_else(malformed)?;
            spelled += made.spelled();
            FormatError::check_limit("the length of a recipe", spelled, SPELLED)?;
            runs.push((times, made));
        }
        let offset = number(offset).ok_or_else(malformed)?;
        let hash = unhex(hash).map(u128::from_be_bytes).ok_or_else(malformed)?;
        Ok(Self { offset, hash, frames: runs })
    }
}

fn malformed() -> FormatError {
    FormatError::malformed(WHAT, 0, "it is none")
}

/// Parses the bytes of tar in a frame or piece; `None` if no frame has so many, or none.
fn frame_len(text: &str) -> Option<u64> {
    number(text).filter(|len| (1..=LONGEST).contains(len))
}

/// Parses equal pieces in a row, as count and bytes.
fn parse_pieces(text: &str) -> Option<(u32, u64)> {
    let (times, len) = split_times(text, 'x')?;
    Some((times, frame_len(len)?))
}

/// `text`, with a count and `sign` before it if it stands for several.
fn times_of(times: u32, sign: char, text: &str) -> String {
    if times == 1 { text.to_string() } else { format!("{times}{sign}{text}") }
}

/// Undoes [`times_of`]; a count of 1 is never written.
fn split_times(text: &str, sign: char) -> Option<(u32, &str)> {
    match text.split_once(sign) {
        None => Some((1, text)),
        Some((times, text)) => number(times).filter(|times| *times > 1).map(|times| (times, text)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recipes_go_both_ways() {
        let frame = FrameRecipe::frame(1000, [100, 200, 300, 350].into_iter(), 400);
        assert_eq!(frame.encode(), "z1000:3x100+2x50");
        let stored = FrameRecipe::Stored(1 << 20);
        let recipe = Recipe::new(512, 77, vec![stored.clone(), stored, frame]);
        assert_eq!((recipe.frames.len(), recipe.each().count()), (2, 3));
        assert_eq!(recipe.length(), (2 << 20) + 400);
        let text = recipe.encode();
        let words: Vec<&str> = text.split(' ').collect();
        assert_eq!(words[2], "2*s1048576,z1000:3x100+2x50");
        assert_eq!(Recipe::parse(words[0], words[1], words[2]), Ok(recipe));
    }

    #[test]
    fn a_hash_is_read_only_as_it_is_written() {
        let written = format!("{:032x}", 0xabc);
        assert_eq!(Recipe::parse("0", &written, "s1").unwrap().hash, 0xabc);
        let upper = written.to_uppercase();
        let signed = format!("+{:031x}", 0xabc);
        let short = written[1..].to_string();
        let long = format!("0{written}");
        for wrong in [upper, signed, short, long] {
            assert!(matches!(Recipe::parse("0", &wrong, "s1"), Err(FormatError::Malformed { .. })), "{wrong}");
        }
    }

    #[test]
    fn what_no_part_has_is_refused() {
        let hash = "0".repeat(32);
        let parse = |frames: &str| Recipe::parse("0", &hash, frames);
        assert!(parse("s1").is_ok());
        for wrong in
            ["", "s", "s0", "s01", "t5", "z5", "z5:", "z5:6", "z5:0", "1*s5", "0*s5", "2*", "z9:2x5", "s67108865"]
        {
            assert!(matches!(parse(wrong), Err(FormatError::Malformed { .. })), "{wrong}");
        }
        assert_eq!(parse("4294967295*s67108864,s1").unwrap().length(), 4_294_967_295 * 67_108_864 + 1);
        let many = vec!["s1"; 1 << 17].join(",");
        assert!(matches!(parse(&many), Err(FormatError::Limit { .. })));
        let around = vec!["4294967295x67108864"; 64].join("+");
        assert!(matches!(parse(&format!("z67108864:{around}+64x67108864+985600")), Err(FormatError::Malformed { .. })));
        assert!(matches!(parse("z67108864:67108864x1"), Err(FormatError::Malformed { .. })));
        assert!(Recipe::parse("-1", &hash, "s1").is_err() && Recipe::parse("0", "00", "s1").is_err());
    }
}
