//! How long the ranges are that the tar is read in, and the memory for them.
//!
//! What compresses wants long ranges, since a frame knows only what is in its own. What does not
//! is read, hashed, sealed and hashed again, and goes fastest in ranges that a core's cache keeps
//! from one to the next. Which is which shows when a range is packed: the next ones follow it.

use std::sync::{Arc, Mutex};

use crate::base::memory;
use crate::base::pool::{Lease, Pool, lock, workers};
use crate::format::part::Class;
use crate::plan::geometry::range_len;

/// Bytes of a range that does not compress.
const SHORT: u64 = 1 << 20;

/// Lends buffers for ranges.
#[derive(Clone)]
pub struct Ranges {
    long: (u64, Arc<Pool<Vec<u8>>>),
    short: (u64, Arc<Pool<Vec<u8>>>),
    /// Where the last range begins that is known to compress or not, and whether it does not.
    latest: Arc<Mutex<(u64, bool)>>,
}

impl Ranges {
    /// For parts of that class; `stored`: it is likely that little compresses.
    pub fn new(class: Class, stored: bool) -> Self {
        let pool = |len| (len, Pool::new(lent(class, len), move || memory::zeros(len as usize)));
        Self { long: pool(range_len(class)), short: pool(SHORT), latest: Arc::new(Mutex::new((0, stored))) }
    }

    /// About how many bytes of memory all of them are.
    pub fn memory(class: Class) -> u64 {
        [range_len(class), SHORT].into_iter().map(|len| lent(class, len) as u64 * len).sum()
    }

    /// A buffer for what comes next; waits for one. `None` once closed.
    pub fn take(&self) -> Option<Lease<Vec<u8>>> {
        let (len, pool) = if lock(&self.latest).1 { &self.short } else { &self.long };
        let mut buf = pool.take()?;
        buf.resize(*len as usize, 0);
        Some(buf)
    }

    /// A buffer for a range of whatever length; waits for one. `None` once closed.
    pub fn take_long(&self) -> Option<Lease<Vec<u8>>> {
        self.long.1.take()
    }

    /// The range that begins at `start` does not compress, or does.
    pub fn told(&self, start: u64, stored: bool) {
        let mut latest = lock(&self.latest);
        if start >= latest.0 {
            *latest = (start, stored);
        }
    }

    /// Nothing is lent any more.
    pub fn close(&self) {
        self.long.1.close();
        self.short.1.close();
    }
}

/// Ranges of that length in memory at once: some to read ahead, and all that a part refers to
/// until it is sealed.
fn lent(class: Class, len: u64) -> usize {
    2 * workers() + 2 + class.plain_len().div_ceil(len as usize)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_follow_what_was_packed_last() {
        let ranges = Ranges::new(Class::ALL[1], false);
        let len = || ranges.take().unwrap().len() as u64;
        assert_eq!(len(), range_len(Class::ALL[1]));
        ranges.told(8, true);
        assert_eq!(len(), SHORT);
        ranges.told(4, false);
        assert_eq!(len(), SHORT, "what lies before says nothing new");
        ranges.told(16, false);
        assert_eq!(len(), range_len(Class::ALL[1]));
        assert_eq!(Ranges::new(Class::ALL[1], true).take().unwrap().len() as u64, SHORT);
        ranges.close();
        assert!(ranges.take().is_none());
    }
}
