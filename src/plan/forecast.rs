//! Guesses where parts will end while the ranges before that place are still being compressed.
//!
//! Frames do not span parts: what a frame holds behind the end of a part is compressed again, so a frame should end
//! where its part does. That place is known once all ranges before it are in parts; until then it is extrapolated from
//! how far they have come. A wrong guess costs only time.

use std::collections::BTreeMap;

/// Bytes of frames that a part still takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RoomGuess {
    Exactly(usize),
    /// A guess, a little too low or too high.
    About(usize),
}

/// What is known of the ranges that are being compressed.
#[derive(Debug)]
pub(crate) struct Forecast {
    /// Bytes of frames that an empty part takes.
    whole: usize,
    /// The range that goes into parts next, and the bytes that the part in the making then takes.
    next: u64,
    room: usize,
    /// Bytes that this range and those behind it will pack to, by index, as far as that is known.
    coming: BTreeMap<u64, usize>,
}

impl Forecast {
    /// Begins with all ranges still to come; a part takes `whole` bytes of frames.
    pub(crate) fn new(whole: usize) -> Self {
        Self { whole, next: 0, room: whole, coming: BTreeMap::new() }
    }

    /// Notes that `done` of a range's `len` bytes are compressed, to `packed` bytes.
    pub(crate) fn progress(&mut self, index: u64, len: usize, done: usize, packed: usize) {
        // Less than a quarter of a range tells too little.
        if 4 * done >= len {
            self.coming.insert(index, (packed as u64 * len as u64 / (done as u64).max(1)) as usize);
        }
    }

    /// Notes that all ranges before `next` are in parts, and that the part in the making still takes `room` bytes.
    pub(crate) fn collected(&mut self, next: u64, room: usize) {
        (self.next, self.room) = (next, room);
        self.coming = self.coming.split_off(&next);
    }

    /// Whether all ranges before that one are in parts.
    pub(crate) fn is_next(&self, index: u64) -> bool {
        index == self.next
    }

    /// What the part that the range begins in takes from there on; `None` while too little is known of the ranges
    /// before it.
    pub(crate) fn room(&self, index: u64) -> Option<RoomGuess> {
        if self.is_next(index) {
            return Some(RoomGuess::Exactly(self.room));
        }
        let mut before = 0;
        for index in self.next..index {
            before += self.coming.get(&index)?;
        }
        // Parts that end on the way are counted as full.
        let room = if before < self.room { self.room - before } else { self.whole - (before - self.room) % self.whole };
        Some(RoomGuess::About(room))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_range_knows_and_later_ones_guess() {
        let mut forecast = Forecast::new(1000);
        assert_eq!((forecast.room(0), forecast.room(1)), (Some(RoomGuess::Exactly(1000)), None));
        forecast.progress(0, 800, 100, 30);
        assert_eq!(forecast.room(1), None, "an eighth tells too little");
        forecast.progress(0, 800, 200, 60);
        assert_eq!((forecast.room(1), forecast.room(2)), (Some(RoomGuess::About(760)), None));
        forecast.progress(1, 800, 800, 800);
        assert_eq!(forecast.room(2), Some(RoomGuess::About(960)), "a part ends in range 1");
        forecast.collected(1, 700);
        assert_eq!(forecast.room(1), Some(RoomGuess::Exactly(700)));
        assert_eq!(forecast.room(2), Some(RoomGuess::About(900)));
        forecast.collected(2, 5);
        assert_eq!(forecast.room(2), Some(RoomGuess::Exactly(5)));
        assert!(forecast.is_next(2) && !forecast.is_next(3));
    }

    #[test]
    fn a_part_that_just_ends_leaves_a_whole_one() {
        let mut forecast = Forecast::new(1000);
        forecast.progress(0, 10, 10, 1000);
        assert_eq!(forecast.room(1), Some(RoomGuess::About(1000)));
    }
}
