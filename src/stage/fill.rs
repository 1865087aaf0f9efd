//! Packed ranges into parts of one size: frames never span parts, every part starts at a tar
//! offset that is a multiple of 512 and is filled to within 2 % (FORMAT section 4).
//!
//! A range that does not fit is cut behind a block of its frame, what is then left of the part is
//! filled with stored bytes, and the rest is compressed again for the next part.

use std::ops::{Deref, Range};

use crate::format::frame::{CLOSE, Cut, Packed, last_cut, store, stored_blocks};
use crate::format::part::{Class, Lead, Trail};
use crate::format::recipe::Made;

/// Plaintext that is copied only when its part is sealed.
pub enum Segment<R> {
    /// As it is.
    Bytes(Vec<u8>),
    /// A stored frame around that stretch of a range.
    Stored(R, Range<usize>),
}

impl<R: Deref<Target: AsRef<[u8]>>> Segment<R> {
    /// Hands out its bytes piece by piece.
    pub fn pieces(&self, mut out: impl FnMut(&[u8])) {
        match self {
            Segment::Bytes(bytes) => out(bytes),
            Segment::Stored(raw, stretch) => store(&raw.as_ref()[stretch.clone()], out),
        }
    }
}

impl<R: Deref<Target: AsRef<[u8]>>> Segment<R> {
    /// The same without the range.
    fn copied(self) -> Self {
        let mut bytes = Vec::new();
        self.pieces(|piece| bytes.extend_from_slice(piece));
        Segment::Bytes(bytes)
    }
}

/// A part whose plaintext is complete.
pub struct FullPart<R> {
    /// From 1.
    pub number: u32,
    /// Where it begins in the tar.
    pub offset: u64,
    /// Bytes of tar that it holds.
    pub length: u64,
    /// Its plaintext up to the padding, which is zeros.
    pub segments: Vec<Segment<R>>,
    /// How its frames were made.
    pub frames: Vec<Made>,
}

/// How the filler gets what it needs.
pub trait Supply {
    /// A range of the tar.
    type Raw: Clone + Deref<Target: AsRef<[u8]>>;
    /// Why it cannot go on.
    type Error;
    /// Packs `raw` anew, for an empty part: stretches of it, one behind the other.
    fn pack(&mut self, raw: &[u8]) -> Result<Vec<(Range<usize>, Packed)>, Self::Error>;
    /// Tar offset of the first member that starts in that stretch.
    fn first_member(&self, offset: u64, length: u64) -> Option<u64>;
    /// Takes a complete part.
    fn full(&mut self, part: FullPart<Self::Raw>) -> Result<(), Self::Error>;
}

/// Fills parts one after the other.
pub struct Filler<S: Supply> {
    class: Class,
    bundle: [u8; 16],
    tar_len: u64,
    supply: S,
    number: u32,
    /// Where the current part begins in the tar, and how much of it the part holds.
    offset: u64,
    length: u64,
    segments: Vec<Segment<S::Raw>>,
    frames: Vec<Made>,
    /// Bytes that frames can still take in the current part.
    room: usize,
}

impl<S: Supply> Filler<S> {
    /// For a tar of `tar_len` bytes in parts of that class. The first `done` parts are there already
    /// and hold the tar up to `offset`.
    pub fn new(class: Class, bundle: [u8; 16], tar_len: u64, (done, offset): (u32, u64), supply: S) -> Self {
        let (segments, frames, room) = (Vec::new(), Vec::new(), class.room());
        Self { class, bundle, tar_len, supply, number: done + 1, offset, length: 0, segments, frames, room }
    }

    /// Takes the next stretch of the tar, which is in that range, raw and packed.
    pub fn push(&mut self, raw: &S::Raw, stretch: Range<usize>, packed: Packed) -> Result<(), S::Error> {
        let hold = stretch.len() == raw.as_ref().len();
        self.add(raw, stretch, packed, hold)
    }

    /// `hold`: refer to the range rather than copy what is stored of it. A part then refers to no
    /// more ranges than fit into it, and to two that its ends cut, whatever else is split: for
    /// that many there is memory, and no more.
    fn add(&mut self, raw: &S::Raw, stretch: Range<usize>, packed: Packed, hold: bool) -> Result<(), S::Error> {
        if packed.len(stretch.len()) <= self.room {
            let made = packed.made(stretch.len());
            match packed {
                Packed::Stored => self.store(raw, stretch, hold),
                Packed::Frame { bytes, .. } => self.put(bytes, made),
            }
        } else {
            self.split(raw, stretch, packed)?;
        }
        if self.offset + self.length == self.tar_len { self.flush() } else { Ok(()) }
    }

    /// Bytes of frames that the part in the making still takes.
    pub fn room(&self) -> usize {
        self.room
    }

    /// Puts into the current part what still fits, the rest behind it.
    fn split(&mut self, raw: &S::Raw, stretch: Range<usize>, mut packed: Packed) -> Result<(), S::Error> {
        let mut rest = stretch.clone();
        let cut = if let Packed::Frame { cuts, .. } = &packed { last_cut(cuts, self.room) } else { None };
        if let Some(Cut { raw, packed: len }) = cut {
            let made = packed.made(raw);
            if let Packed::Frame { bytes, .. } = &mut packed {
                bytes.truncate(len);
                bytes.extend_from_slice(&CLOSE);
                self.put(std::mem::take(bytes), made);
            }
            rest.start += raw;
        }
        let fits = rest.start + stored_blocks(self.room, rest.len());
        if fits > rest.start {
            self.store(raw, rest.start..fits, true);
            rest.start = fits;
        }
        self.flush()?;
        if rest == stretch || packed == Packed::Stored {
            return self.add(raw, rest, packed, true);
        }
        let base = rest.start;
        for (stretch, packed) in self.supply.pack(&raw.as_ref()[rest])? {
            self.add(raw, base + stretch.start..base + stretch.end, packed, false)?;
        }
        Ok(())
    }

    /// Takes a frame, which fits.
    fn put(&mut self, frame: Vec<u8>, made: Made) {
        self.room -= frame.len();
        self.length += made.length();
        self.frames.push(made);
        self.segments.push(Segment::Bytes(frame));
    }

    /// Takes a stretch as a stored frame, which fits.
    fn store(&mut self, raw: &S::Raw, stretch: Range<usize>, hold: bool) {
        self.room -= Packed::Stored.len(stretch.len());
        self.length += stretch.len() as u64;
        self.frames.push(Made::Stored(stretch.len() as u64));
        let segment = Segment::Stored(raw.clone(), stretch);
        self.segments.push(if hold { segment } else { segment.copied() });
    }

    /// Hands the current part on, if it holds anything.
    fn flush(&mut self) -> Result<(), S::Error> {
        if self.segments.is_empty() {
            return Ok(());
        }
        let (number, offset, length) = (self.number, self.offset, self.length);
        let lead = Lead { bundle: self.bundle, number, offset };
        let last = offset + length == self.tar_len;
        let trail = Trail { length, first_member: self.supply.first_member(offset, length), last };
        let mut segments = std::mem::take(&mut self.segments);
        segments.insert(0, Segment::Bytes(lead.encode().to_vec()));
        segments.push(Segment::Bytes(trail.encode(self.room).to_vec()));
        let frames = std::mem::take(&mut self.frames);
        self.supply.full(FullPart { number, offset, length, segments, frames })?;
        self.number += 1;
        self.offset += length;
        (self.length, self.room) = (0, self.class.room());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::rc::Rc;

    use crate::base::secret::random;
    use crate::format::frame::stored_capacity;
    use crate::format::part::{LEAD, TRAIL};
    use crate::plan::geometry::data_at_most;

    const CLASS: Class = Class::ALL[0];
    const STEP: usize = 128 << 10;

    /// Pretends to compress: a frame of a stored frame's bytes for every `1/ratio` of the input.
    struct Pretend {
        ratio: usize,
        parts: Vec<(u64, u64, usize)>,
    }

    impl Supply for Pretend {
        type Raw = Rc<Vec<u8>>;
        type Error = ();
        fn pack(&mut self, raw: &[u8]) -> Result<Vec<(Range<usize>, Packed)>, ()> {
            let cut = |n: usize| Cut { raw: n * STEP, packed: (n * STEP).div_ceil(self.ratio) };
            let cuts = (1..raw.len().div_ceil(STEP)).map(cut).collect();
            let frame = Packed::Frame { bytes: vec![1; raw.len() / self.ratio], cuts, told: raw.len() };
            Ok(vec![(0..raw.len(), if self.ratio == 1 { Packed::Stored } else { frame })])
        }
        fn first_member(&self, _: u64, _: u64) -> Option<u64> {
            None
        }
        fn full(&mut self, part: FullPart<Self::Raw>) -> Result<(), ()> {
            let mut plain = Vec::new();
            part.segments.iter().for_each(|segment| segment.pieces(|bytes| plain.extend_from_slice(bytes)));
            assert_eq!(part.number as usize, self.parts.len() + 1);
            let lead = Lead::parse(&plain[..LEAD]).unwrap();
            assert_eq!((lead.number, lead.offset), (part.number, part.offset));
            let padding = CLASS.plain_len() - plain.len();
            let mut trail = plain.split_off(plain.len() - TRAIL);
            trail.resize(TRAIL + padding, 0);
            assert_eq!(Trail::parse(&trail).unwrap().length, part.length);
            self.parts.push((part.offset, part.length, padding));
            Ok(())
        }
    }

    fn fill(ratio: usize, tar: &[u8], range: usize) -> Vec<(u64, u64, usize)> {
        let mut filler = Filler::new(CLASS, random(), tar.len() as u64, (0, 0), Pretend { ratio, parts: vec![] });
        for raw in tar.chunks(range) {
            for (stretch, packed) in filler.supply.pack(raw).unwrap() {
                filler.push(&Rc::new(raw.to_vec()), stretch, packed).unwrap();
            }
        }
        filler.supply.parts
    }

    #[test]
    fn parts_are_full_and_begin_at_blocks() {
        let tar = vec![7u8; 9 * 512 * 12_345];
        for (ratio, range) in
            [(1, 1 << 20), (1, 512), (2, 1 << 20), (2, 8 << 20), (5, 1 << 20), (5, 8 << 20), (40, 8 << 20)]
        {
            let parts = fill(ratio, &tar, range);
            let mut at = 0;
            for (n, (offset, length, zeros)) in parts.iter().enumerate() {
                assert!(*offset == at && offset % 512 == 0);
                at += length;
                let last = n + 1 == parts.len();
                assert!(last || *zeros < CLASS.plain_len() / 50, "{ratio} {range}: {zeros} of part {n} are empty");
            }
            assert_eq!(at, tar.len() as u64);
            // The bound is for ranges as they are cut in earnest.
            assert!(range < 1 << 20 || parts.len() as u64 <= data_at_most(tar.len() as u64, CLASS));
        }
    }

    #[test]
    fn a_part_refers_to_no_more_ranges_than_fit_into_it() {
        struct Count(usize);
        impl Supply for Count {
            type Raw = Rc<Vec<u8>>;
            type Error = ();
            fn pack(&mut self, raw: &[u8]) -> Result<Vec<(Range<usize>, Packed)>, ()> {
                let pieces = (0..raw.len()).step_by(STEP);
                Ok(pieces.map(|at| (at..raw.len().min(at + STEP), Packed::Stored)).collect())
            }
            fn first_member(&self, _: u64, _: u64) -> Option<u64> {
                None
            }
            fn full(&mut self, part: FullPart<Self::Raw>) -> Result<(), ()> {
                let held = part.segments.iter().filter(|segment| matches!(segment, Segment::Stored(..))).count();
                self.0 = self.0.max(held);
                Ok(())
            }
        }
        // Guesses went wrong in every range: most of it is a small frame, the rest is stored.
        let mut filler = Filler::new(CLASS, random(), 100 * (1 << 20), (0, 0), Count(0));
        for _ in 0..100 {
            let raw = Rc::new(vec![1; 1 << 20]);
            let cut = (1 << 20) - 4096;
            filler.push(&raw, 0..cut, Packed::Frame { bytes: vec![1; 1000], cuts: vec![], told: 1 << 20 }).unwrap();
            filler.push(&raw, cut..1 << 20, Packed::Stored).unwrap();
            assert!(Rc::strong_count(&raw) <= 2);
        }
        assert!(filler.supply.0 <= 3, "{}", filler.supply.0);
    }

    #[test]
    fn a_tar_that_ends_with_a_part_makes_no_empty_one() {
        let len = stored_capacity(CLASS.room()) / 512 * 512;
        assert_eq!(fill(1, &vec![1; len], len).len(), 1);
        assert_eq!(fill(1, &vec![1; len + 512], len + 512).len(), 2);
        assert_eq!(fill(1, &vec![1; 512], 512).len(), 1);
    }
}
