//! How a part was made of the tar: which stretches were stored, which compressed and where they were
//! flushed. The sender cannot open what is sealed, but who has the sources can make the very same
//! plaintext again: for a drive that died, and for parity that was made of it. Only in journals (FORMAT
//! section 2). What this does not guarantee: that the sources are what they were; the hash tells.

use crate::format::{FormatError, number};

const WHAT: &str = "a recipe";
/// No frame holds more of the tar, and none was announced with more.
const LONGEST: u64 = 64 << 20;
/// No part has more frames: the smallest takes 9 bytes and holds a block of the tar.
const FRAMES: usize = 1 << 17;

/// A frame of a part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Made {
    /// So many bytes of the tar, stored.
    Stored(u64),
    /// Compressed ones.
    Frame {
        /// Bytes that the compressor was told to expect. With fewer the frame was closed early.
        told: u64,
        /// What it was given at once: so many times so many bytes. It was flushed behind each.
        pieces: Vec<(u32, u64)>,
    },
}

/// A data part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recipe {
    /// Where it begins in the tar, in bytes.
    pub offset: u64,
    /// XXH3-128 of its plaintext up to the padding.
    pub hash: u128,
    /// Its frames, in order.
    pub frames: Vec<Made>,
}

impl Made {
    /// A frame of `len` bytes, flushed at these places before its end.
    pub fn frame(told: usize, flushes: impl Iterator<Item = usize>, len: usize) -> Self {
        let (mut pieces, mut before): (Vec<(u32, u64)>, _) = (Vec::new(), 0);
        for at in flushes.chain([len]) {
            let piece = (at - before) as u64;
            match pieces.last_mut() {
                Some((times, last)) if *last == piece => *times += 1,
                _ => pieces.push((1, piece)),
            }
            before = at;
        }
        Made::Frame { told: told as u64, pieces }
    }

    /// Bytes of tar in it.
    pub fn length(&self) -> u64 {
        match self {
            Made::Stored(len) => *len,
            Made::Frame { pieces, .. } => pieces.iter().map(|(times, len)| u64::from(*times) * len).sum(),
        }
    }

    fn encode(&self) -> String {
        match self {
            Made::Stored(len) => format!("s{len}"),
            Made::Frame { told, pieces } => {
                let pieces: Vec<String> =
                    pieces.iter().map(|(times, len)| times_of(*times, 'x', &len.to_string())).collect();
                format!("z{told}:{}", pieces.join("+"))
            }
        }
    }

    fn parse(text: &str) -> Option<Self> {
        let sane = |len: &u64| (1..=LONGEST).contains(len);
        if let Some(len) = text.strip_prefix('s') {
            return number(len).filter(sane).map(Made::Stored);
        }
        let (told, pieces) = text.strip_prefix('z')?.split_once(':')?;
        let piece = |text| {
            let (times, len) = split_times(text, 'x')?;
            Some((times, number(len).filter(sane)?))
        };
        let pieces = pieces.split('+').map(piece).collect::<Option<Vec<_>>>()?;
        let told = number(told).filter(sane)?;
        let made = Made::Frame { told, pieces };
        // Each factor fits into 32 bits: no sum of so few overflows.
        (made.length() <= told).then_some(made)
    }
}

impl Recipe {
    /// Bytes of tar in it.
    pub fn length(&self) -> u64 {
        self.frames.iter().map(Made::length).sum()
    }

    /// Three words: offset, hash, frames.
    pub fn encode(&self) -> String {
        let mut runs: Vec<(u32, &Made)> = Vec::new();
        for made in &self.frames {
            match runs.last_mut() {
                Some((times, last)) if *last == made => *times += 1,
                _ => runs.push((1, made)),
            }
        }
        let frames: Vec<String> = runs.iter().map(|(times, made)| times_of(*times, '*', &made.encode())).collect();
        format!("{} {:032x} {}", self.offset, self.hash, frames.join(","))
    }

    /// The recipe in three words.
    ///
    /// # Errors
    /// They are no recipe, or one that no part has.
    pub fn parse(offset: &str, hash: &str, frames: &str) -> Result<Self, FormatError> {
        let bad = || FormatError::malformed(WHAT, 0, "it is none");
        let mut all = Vec::new();
        for run in frames.split(',') {
            let (times, text) = split_times(run, '*').ok_or_else(bad)?;
            let made = Made::parse(text).ok_or_else(bad)?;
            FormatError::limit("the number of frames of a part", all.len() as u64 + u64::from(times), FRAMES as u64)?;
            all.extend(std::iter::repeat_n(made, times as usize));
        }
        let hash = (hash.len() == 32).then(|| u128::from_str_radix(hash, 16).ok()).flatten();
        Ok(Self { offset: number(offset).ok_or_else(bad)?, hash: hash.ok_or_else(bad)?, frames: all })
    }
}

/// `text`, or with a number before it for several.
fn times_of(times: u32, sign: char, text: &str) -> String {
    if times == 1 { text.to_string() } else { format!("{times}{sign}{text}") }
}

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
        let frame = Made::frame(1000, [100, 200, 300, 350].into_iter(), 400);
        assert_eq!(frame.encode(), "z1000:3x100+2x50");
        let stored = Made::Stored(1 << 20);
        let recipe = Recipe { offset: 512, hash: 77, frames: vec![stored.clone(), stored, frame] };
        assert_eq!(recipe.length(), (2 << 20) + 400);
        let text = recipe.encode();
        let words: Vec<&str> = text.split(' ').collect();
        assert_eq!(words[2], "2*s1048576,z1000:3x100+2x50");
        assert_eq!(Recipe::parse(words[0], words[1], words[2]), Ok(recipe));
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
        assert!(matches!(parse("4294967295*s9"), Err(FormatError::Limit { .. })));
        assert!(Recipe::parse("-1", &hash, "s1").is_err() && Recipe::parse("0", "00", "s1").is_err());
    }
}
