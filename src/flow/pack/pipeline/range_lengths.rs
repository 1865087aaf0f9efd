//! Chooses how long the ranges are that the tar is read in, and lends the memory for them.
//!
//! Data that compresses wants long ranges, because a frame knows only what is in its own range. Data that does not
//! compress is read, hashed, sealed and hashed again. That is fastest in ranges that stay in a core's cache from one
//! step to the next. Packing a range shows which kind it is, and the next ranges follow it. A wrong guess costs only
//! time or a little space.

use std::sync::{Arc, Mutex};

use crate::base::memory;
use crate::base::pool::{Lease, Pool, lock, workers};
use crate::format::part::Class;
use crate::plan::geometry::range_len;

/// Bytes of a range of data that does not compress.
const SHORT: u64 = 1 << 20;

/// Lends buffers for ranges. Clones lend from the same memory.
#[derive(Clone)]
pub(crate) struct RangeBuffers {
    long: SizedPool,
    short: SizedPool,
    latest: Arc<Mutex<LatestRange>>,
}

/// Buffers for ranges of one length.
#[derive(Clone)]
struct SizedPool {
    /// Bytes of a range.
    len: u64,
    buffers: Arc<Pool<Vec<u8>>>,
}

/// The range furthest on in the tar that a worker has packed.
struct LatestRange {
    /// Its tar offset.
    start: u64,
    /// Whether it does not compress, so that it is stored.
    is_stored: bool,
}

impl SizedPool {
    fn new(class: Class, len: u64) -> Self {
        Self { len, buffers: Pool::new(lent(class, len), move || memory::zeros(len as usize)) }
    }
}

impl RangeBuffers {
    /// Buffers for a bundle of that class. With `is_stored` the ranges are short until one compresses.
    pub(crate) fn new(class: Class, is_stored: bool) -> Self {
        let latest = Arc::new(Mutex::new(LatestRange { start: 0, is_stored }));
        Self { long: SizedPool::new(class, range_len(class)), short: SizedPool::new(class, SHORT), latest }
    }

    /// About how many bytes of memory all buffers take together.
    pub(crate) fn memory(class: Class) -> u64 {
        [range_len(class), SHORT].into_iter().map(|len| lent(class, len) as u64 * len).sum()
    }

    /// A buffer as long as the next range should be; waits for one. `None` once closed.
    pub(crate) fn take(&self) -> Option<Lease<Vec<u8>>> {
        let SizedPool { len, buffers } = if lock(&self.latest).is_stored { &self.short } else { &self.long };
        let mut buf = buffers.take()?;
        buf.resize(*len as usize, 0);
        Some(buf)
    }

    /// A buffer with memory for the longest range, of any length now; waits for one. `None` once closed.
    pub(crate) fn take_long(&self) -> Option<Lease<Vec<u8>>> {
        self.long.buffers.take()
    }

    /// Notes whether the range that begins at tar offset `start` was stored. Ranges before the latest one do not count.
    pub(crate) fn note_packed(&self, start: u64, is_stored: bool) {
        let mut latest = lock(&self.latest);
        if start >= latest.start {
            *latest = LatestRange { start, is_stored };
        }
    }

    /// Lends nothing from now on, and wakes all threads that wait for a buffer.
    pub(crate) fn close(&self) {
        self.long.buffers.close();
        self.short.buffers.close();
    }
}

/// How many ranges of that length are in memory at once: some to read ahead, and all that a part refers to until it is
/// sealed.
fn lent(class: Class, len: u64) -> usize {
    2 * workers() + 2 + class.plain_len().div_ceil(len as usize)
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLASS: Class = Class::ALL[1];

    fn next_len(ranges: &RangeBuffers) -> u64 {
        ranges.take().unwrap().len() as u64
    }

    #[test]
    fn the_first_ranges_are_as_long_as_the_estimate_says() {
        assert_eq!(next_len(&RangeBuffers::new(CLASS, false)), 8 << 20);
        assert_eq!(next_len(&RangeBuffers::new(CLASS, true)), 1 << 20);
    }

    #[test]
    fn ranges_follow_the_one_that_was_packed_last() {
        let ranges = RangeBuffers::new(CLASS, false);
        ranges.note_packed(8, true);
        assert_eq!(next_len(&ranges), 1 << 20);
        ranges.note_packed(16, false);
        assert_eq!(next_len(&ranges), 8 << 20);
    }

    #[test]
    fn a_range_before_the_latest_one_tells_nothing() {
        let ranges = RangeBuffers::new(CLASS, false);
        ranges.note_packed(8, true);
        ranges.note_packed(4, false);
        assert_eq!(next_len(&ranges), 1 << 20);
    }

    #[test]
    fn a_buffer_that_was_cut_short_is_lent_at_full_length() {
        let ranges = RangeBuffers::new(CLASS, true);
        let mut buf = ranges.take().unwrap();
        buf.truncate(3);
        drop(buf);
        assert_eq!(next_len(&ranges), 1 << 20);
    }

    #[test]
    fn closed_buffers_are_not_lent() {
        let ranges = RangeBuffers::new(CLASS, false);
        ranges.close();
        assert!(ranges.take().is_none() && ranges.take_long().is_none());
    }
}
