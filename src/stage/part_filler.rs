//! Fills parts of one size with packed ranges, in tar order. Frames never span parts, every part begins at a tar
//! offset that is a multiple of 512, and every part except the last is full to within 2 % (FORMAT section 4).
//!
//! A frame that does not fit is cut where it was flushed. Stored bytes fill the rest of the part, and the rest of the
//! range is compressed again for the next part.
//!
//! The filler does no I/O and seals nothing: [`Supply`] takes the full parts.

use std::ops::{Deref, Range};

use crate::format::frame::{CLOSE, Cut, Packed, last_cut, store, stored_blocks};
use crate::format::part::{Class, Lead, Trail};
use crate::format::recipe::FrameRecipe;

/// A stretch of a part's plaintext, which is copied into the part only when that is sealed.
pub(crate) enum Segment<R> {
    /// Whole frames: the lead, the trail, compressed or stored ones.
    Bytes(Vec<u8>),
    /// A stored frame around that stretch of a range. It keeps the range's buffer in memory.
    Stored(R, Range<usize>),
}

impl<R: Deref<Target: AsRef<[u8]>>> Segment<R> {
    /// Hands out the bytes piece by piece; a stored frame is made on the way.
    pub(crate) fn pieces(&self, mut out: impl FnMut(&[u8])) {
        match self {
            Segment::Bytes(bytes) => out(bytes),
            Segment::Stored(raw, stretch) => store(&raw.as_ref()[stretch.clone()], out),
        }
    }
}

impl<R: Deref<Target: AsRef<[u8]>>> Segment<R> {
    /// A copy of the bytes that lets go of the range's buffer.
    fn copied(self) -> Self {
        let mut bytes = Vec::new();
        self.pieces(|piece| bytes.extend_from_slice(piece));
        Segment::Bytes(bytes)
    }
}

/// A part whose plaintext is complete.
pub(crate) struct FullPart<R> {
    /// Number of the data part, from 1.
    pub(crate) number: u32,
    /// Tar offset of the first byte, a multiple of 512.
    pub(crate) offset: u64,
    /// Bytes of tar in the part.
    pub(crate) length: u64,
    /// The plaintext from the lead to the trail. Zeros pad it to the length of a part.
    pub(crate) segments: Vec<Segment<R>>,
    /// How each frame was made, in order, so that a later run can make the same part again.
    pub(crate) frames: Vec<FrameRecipe>,
}

/// What the filler asks for, and where its parts go. The tests replace the compressor and the sealer by it.
pub(crate) trait Supply {
    /// A counted reference to the bytes of a range: parts hold clones of it.
    type Raw: Clone + Deref<Target: AsRef<[u8]>>;
    /// An error that ends the filling.
    type Error;
    /// Packs `raw` again, for a part that is empty. Returns consecutive stretches of all of `raw`.
    fn pack(&mut self, raw: &[u8]) -> Result<Vec<(Range<usize>, Packed)>, Self::Error>;
    /// Tar offset of the first member that begins in that stretch of the tar; `None` if none does.
    fn first_member(&self, offset: u64, length: u64) -> Option<u64>;
    /// Takes a full part. Parts come in order.
    fn full(&mut self, part: FullPart<Self::Raw>) -> Result<(), Self::Error>;
}

/// Fills parts one after the other. Ranges must come in tar order, without gaps.
pub(crate) struct Filler<S: Supply> {
    class: Class,
    bundle: [u8; 16],
    tar_len: u64,
    supply: S,
    number: u32,
    /// Where the current part begins in the tar, and how many bytes of tar it holds so far.
    offset: u64,
    length: u64,
    segments: Vec<Segment<S::Raw>>,
    frames: Vec<FrameRecipe>,
    /// Bytes of frames that still fit into the current part; lead and trail are not counted.
    room: usize,
}

impl<S: Supply> Filler<S> {
    /// Makes a filler for a tar of `tar_len` bytes. The first `done` parts exist already, from an earlier run, and hold
    /// the tar up to `offset`.
    pub(crate) fn new(class: Class, bundle: [u8; 16], tar_len: u64, (done, offset): (u32, u64), supply: S) -> Self {
        Self {
            class,
            bundle,
            tar_len,
            supply,
            number: done + 1,
            offset,
            length: 0,
            segments: Vec::new(),
            frames: Vec::new(),
            room: class.room(),
        }
    }

    /// Takes the next stretch of the tar: `stretch` of the range `raw`, which was packed as `packed`. Once the tar is
    /// complete, the last part goes out.
    pub(crate) fn push(&mut self, raw: &S::Raw, stretch: Range<usize>, packed: Packed) -> Result<(), S::Error> {
        let hold = stretch.len() == raw.as_ref().len();
        self.add(raw, stretch, packed, hold)
    }

    /// Adds a stretch. With `hold`, a stored segment refers to the range instead of copying it. Only ranges that are
    /// stored as a whole and the two that a part's ends cut are held, so a part refers to no more ranges than fit into
    /// it, plus two. The buffer pools have memory for that many: with more the run could wait for itself.
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

    /// Bytes of frames that still fit into the current part. The forecast of later parts' ends begins with it.
    pub(crate) fn room(&self) -> usize {
        self.room
    }

    /// Adds a stretch that does not fit: what fits goes into the current part, the rest into the parts behind it.
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
        // Behind a cut, less than one more block of the frame fits, so storing there wastes little.
        let fits = rest.start + stored_blocks(self.room, rest.len());
        if fits > rest.start {
            self.store(raw, rest.start..fits, true);
            rest.start = fits;
        }
        self.flush()?;
        // An uncut frame and stored bytes go on as they are; the rest of a cut frame has no frame any more.
        if rest == stretch || packed == Packed::Stored {
            return self.add(raw, rest, packed, true);
        }
        // `pack` knows nothing of the range around its input: its stretches count from the start of the rest.
        let base = rest.start;
        for (stretch, packed) in self.supply.pack(&raw.as_ref()[rest])? {
            self.add(raw, base + stretch.start..base + stretch.end, packed, false)?;
        }
        Ok(())
    }

    /// Adds a compressed frame, which the caller knows to fit.
    fn put(&mut self, frame: Vec<u8>, made: FrameRecipe) {
        self.room -= frame.len();
        self.length += made.length();
        self.frames.push(made);
        self.segments.push(Segment::Bytes(frame));
    }

    /// Adds a stretch as a stored frame, which the caller knows to fit.
    fn store(&mut self, raw: &S::Raw, stretch: Range<usize>, hold: bool) {
        self.room -= Packed::Stored.len(stretch.len());
        self.length += stretch.len() as u64;
        self.frames.push(FrameRecipe::Stored(stretch.len() as u64));
        let segment = Segment::Stored(raw.clone(), stretch);
        self.segments.push(if hold { segment } else { segment.copied() });
    }

    /// Ends the current part between lead and trail and hands it to the supply; an empty part is not handed on. The
    /// trail's length field covers the padding, so that decoders skip it.
    fn flush(&mut self) -> Result<(), S::Error> {
        if self.segments.is_empty() {
            return Ok(());
        }
        let number = self.number;
        let offset = self.offset;
        let length = self.length;
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
        self.length = 0;
        self.room = self.class.room();
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

    /// Pretends to compress to `1/ratio` of the input, with a cut every [`STEP`]; ratio 1 stores. Notes of each part
    /// its offset, length and padding.
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
            // The bound holds for ranges as packing makes them, of 1 MiB or more.
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
        // The worst guess in every range: most of the range is a small frame, and the rest is stored.
        let mut filler = Filler::new(CLASS, random(), 100 * (1 << 20), (0, 0), Count(0));
        for _ in 0..100 {
            let raw = Rc::new(vec![1; 1 << 20]);
            let cut = (1 << 20) - 4096;
            filler.push(&raw, 0..cut, Packed::Frame { bytes: vec![1; 1000], cuts: vec![], told: 1 << 20 }).unwrap();
            filler.push(&raw, cut..1 << 20, Packed::Stored).unwrap();
            // The part in work may hold one reference besides this one.
            assert!(Rc::strong_count(&raw) <= 2);
        }
        assert!(filler.supply.0 <= 3, "{}", filler.supply.0);
    }

    #[test]
    fn a_tar_that_ends_with_a_part_makes_no_empty_one() {
        // The longest tar that one part can store.
        let len = stored_capacity(CLASS.room()) / 512 * 512;
        assert_eq!(fill(1, &vec![1; len], len).len(), 1);
        assert_eq!(fill(1, &vec![1; len + 512], len + 512).len(), 2);
        assert_eq!(fill(1, &vec![1; 512], 512).len(), 1);
    }
}
