//! Packed ranges into parts of one size: frames never span parts, every part starts at a tar
//! offset that is a multiple of 512 and is filled to within 2 % (FORMAT section 4).
//!
//! A range that does not fit is cut behind a block of its frame, what is then left of the part is
//! filled with stored bytes, and the rest is compressed again for the next part.

use std::ops::{DerefMut, Range};

use crate::format::frame::{CLOSE, Cut, Packed, last_cut, store, stored_blocks};
use crate::format::part::{Lead, PartBuf, TRAIL, Trail};

/// A part whose plaintext is complete.
pub struct FullPart<B> {
    /// From 1.
    pub number: u32,
    /// Where it begins in the tar.
    pub offset: u64,
    /// Bytes of tar that it holds.
    pub length: u64,
    /// Its plaintext.
    pub buf: B,
}

/// How the filler gets what it needs.
pub trait Supply {
    /// A part's memory.
    type Buf: DerefMut<Target = PartBuf>;
    /// Why it cannot go on.
    type Error;
    /// An empty part; waits for one.
    fn part(&mut self) -> Result<Self::Buf, Self::Error>;
    /// Packs `raw` anew, for an empty part: stretches of it, one behind the other.
    fn pack(&mut self, raw: &[u8]) -> Result<Vec<(Range<usize>, Packed)>, Self::Error>;
    /// Tar offset of the first member that starts in that stretch.
    fn first_member(&self, offset: u64, length: u64) -> Option<u64>;
    /// Takes a complete part.
    fn full(&mut self, part: FullPart<Self::Buf>) -> Result<(), Self::Error>;
}

/// Fills parts one after the other.
pub struct Filler<S: Supply> {
    bundle: [u8; 16],
    tar_len: u64,
    supply: S,
    current: Option<S::Buf>,
    number: u32,
    /// Where the current part begins in the tar, and how much it holds.
    offset: u64,
    length: u64,
}

impl<S: Supply> Filler<S> {
    /// For a tar of `tar_len` bytes.
    pub fn new(bundle: [u8; 16], tar_len: u64, supply: S) -> Self {
        Self { bundle, tar_len, supply, current: None, number: 1, offset: 0, length: 0 }
    }

    /// Takes the next stretch of the tar: its bytes, and the same packed.
    pub fn push(&mut self, raw: &[u8], packed: &Packed) -> Result<(), S::Error> {
        if packed.len(raw.len()) <= self.room()? {
            self.put(raw, packed);
        } else {
            let mut rest = raw;
            if let Packed::Frame { bytes, cuts } = packed {
                rest = &rest[self.cut(bytes, cuts)?..];
            }
            rest = &rest[self.store(rest)?..];
            self.flush()?;
            if rest.len() == raw.len() || *packed == Packed::Stored {
                self.push(rest, packed)?;
            } else {
                for (stretch, packed) in self.supply.pack(rest)? {
                    self.push(&rest[stretch], &packed)?;
                }
            }
        }
        if self.offset + self.length == self.tar_len {
            self.flush()?;
        }
        Ok(())
    }

    /// Bytes of frames that the part in the making still takes; `None` if there is none.
    pub fn room_left(&self) -> Option<usize> {
        self.current.as_ref().map(|part| part.free() - TRAIL)
    }

    /// Bytes that frames can still take in the current part.
    fn room(&mut self) -> Result<usize, S::Error> {
        if self.current.is_none() {
            let mut buf = self.supply.part()?;
            buf.clear();
            let lead = Lead { bundle: self.bundle, number: self.number, offset: self.offset };
            buf.append(&lead.encode());
            self.current = Some(buf);
        }
        Ok(self.part().free() - TRAIL)
    }

    fn part(&mut self) -> &mut PartBuf {
        self.current.as_mut().expect("room() was asked before")
    }

    /// Appends all of `raw`.
    fn put(&mut self, raw: &[u8], packed: &Packed) {
        match packed {
            Packed::Stored => store(raw, |bytes| self.part().append(bytes)),
            Packed::Frame { bytes, .. } => self.part().append(bytes),
        }
        self.length += raw.len() as u64;
    }

    /// Appends as much of the frame as fits; returns how many bytes of input that holds.
    fn cut(&mut self, frame: &[u8], cuts: &[Cut]) -> Result<usize, S::Error> {
        let room = self.room()?;
        let Some(cut) = last_cut(cuts, room) else { return Ok(0) };
        self.part().append(&frame[..cut.packed]);
        self.part().append(&CLOSE);
        self.length += cut.raw as u64;
        Ok(cut.raw)
    }

    /// Appends as much of `raw` as fits when it is stored; returns how much that was.
    fn store(&mut self, raw: &[u8]) -> Result<usize, S::Error> {
        let len = stored_blocks(self.room()?, raw.len());
        if len > 0 {
            self.put(&raw[..len], &Packed::Stored);
        }
        Ok(len)
    }

    fn flush(&mut self) -> Result<(), S::Error> {
        let Some(mut buf) = self.current.take() else { return Ok(()) };
        let (offset, length) = (self.offset, self.length);
        let last = offset + length == self.tar_len;
        let trail = Trail { length, first_member: self.supply.first_member(offset, length), last };
        let padding = buf.free() - TRAIL;
        buf.append(&trail.encode(padding));
        buf.pad();
        self.supply.full(FullPart { number: self.number, offset, length, buf })?;
        self.number += 1;
        self.offset += length;
        self.length = 0;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::secret::random;
    use crate::format::frame::stored_capacity;
    use crate::format::part::{Class, LEAD};
    use crate::plan::geometry::parts_at_most;

    const CLASS: Class = Class::ALL[0];
    const STEP: usize = 128 << 10;

    /// Pretends to compress: a frame of a stored frame's bytes for every `1/ratio` of the input.
    struct Pretend {
        ratio: usize,
        parts: Vec<(u64, u64, usize)>,
    }

    impl Supply for Pretend {
        type Buf = Box<PartBuf>;
        type Error = ();
        fn part(&mut self) -> Result<Self::Buf, ()> {
            Ok(Box::new(PartBuf::new(CLASS)))
        }
        fn pack(&mut self, raw: &[u8]) -> Result<Vec<(Range<usize>, Packed)>, ()> {
            let cut = |n: usize| Cut { raw: n * STEP, packed: (n * STEP).div_ceil(self.ratio) };
            let cuts = (1..raw.len().div_ceil(STEP)).map(cut).collect();
            let frame = Packed::Frame { bytes: vec![1; raw.len() / self.ratio], cuts };
            Ok(vec![(0..raw.len(), if self.ratio == 1 { Packed::Stored } else { frame })])
        }
        fn first_member(&self, _: u64, _: u64) -> Option<u64> {
            None
        }
        fn full(&mut self, part: FullPart<Self::Buf>) -> Result<(), ()> {
            assert_eq!(part.buf.free(), 0);
            assert_eq!(part.number as usize, self.parts.len() + 1);
            let lead = Lead::parse(&part.buf.plain(0)[..LEAD]).unwrap();
            assert_eq!((lead.number, lead.offset), (part.number, part.offset));
            let zeros =
                (0..CLASS.chunks()).rev().flat_map(|n| part.buf.plain(n).iter().rev()).take_while(|b| **b == 0).count();
            self.parts.push((part.offset, part.length, zeros));
            Ok(())
        }
    }

    fn fill(ratio: usize, tar: &[u8], range: usize) -> Vec<(u64, u64, usize)> {
        let mut filler = Filler::new(random(), tar.len() as u64, Pretend { ratio, parts: vec![] });
        for raw in tar.chunks(range) {
            for (stretch, packed) in filler.supply.pack(raw).unwrap() {
                filler.push(&raw[stretch], &packed).unwrap();
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
            assert!(range < 1 << 20 || parts.len() as u64 <= parts_at_most(tar.len() as u64, CLASS));
        }
    }

    #[test]
    fn a_tar_that_ends_with_a_part_makes_no_empty_one() {
        let len = stored_capacity(CLASS.room()) / 512 * 512;
        assert_eq!(fill(1, &vec![1; len], len).len(), 1);
        assert_eq!(fill(1, &vec![1; len + 512], len + 512).len(), 2);
        assert_eq!(fill(1, &vec![1; 512], 512).len(), 1);
    }
}
