//! Hands out the ranges of the tar as buffers come free. First come the ranges that an earlier run packed: they are
//! read again for their digests, and to see that nothing changed. Then come the new ranges. The end of the tar, the
//! manifests, comes once all digests are known.

use std::ops::Range;
use std::sync::{Arc, mpsc};

use crate::base::digest::quick;
use crate::base::pool::Lease;
use crate::flow::FlowError;
use crate::flow::error::SourceError;
use crate::flow::pack::pipeline::Pipeline;
use crate::flow::pack::pipeline::task::{RangePlace, Task};
use crate::flow::pack::source_reader::Filling;
use crate::format::journal::{ALL_CLEAN, ReadRange};
use crate::plan::geometry::range_len;
use crate::plan::layout::manifest_digest;

/// The run was stopped, for a reason that another thread has reported.
struct Stopped;

impl Pipeline<'_> {
    /// Hands out all ranges. Each message in `filled` stands for one range that was read.
    pub(super) fn dispatch(&self, filled: mpsc::Receiver<()>) -> Result<(), FlowError> {
        self.job.monitor.advance(self.job.before.tar);
        let Some(reread) = self.dispatch_rereads()? else { return Ok(()) };
        let Some(new) = self.dispatch_new()? else { return Ok(()) };
        // Once every range is read, no piece of a file waits for another one: all digests are known.
        for _ in 0..reread + new {
            if filled.recv().is_err() {
                return Ok(());
            }
        }
        self.reading.look_for_holders();
        if self.reading.is_clean() {
            self.job.log.note(ALL_CLEAN);
        }
        self.dispatch_tail(new);
        self.count_down();
        Ok(())
    }

    /// Hands out the ranges that an earlier run packed. Returns how many; `None` once the run is stopped.
    fn dispatch_rereads(&self) -> Result<Option<u64>, FlowError> {
        let end = self.job.before.tar.min(self.job.layout.tail_start);
        let mut hashed = 0;
        let mut count = 0;
        for read in &self.job.before.reads {
            if self.job.monitor.cancelled() {
                return Err(FlowError::Cancelled);
            }
            let fresh = fresh_stretch(read, hashed, end);
            let Some(mut buf) = self.ranges.take_long() else { return Ok(None) };
            buf.resize(read.len as usize, 0);
            hashed = fresh.end;
            self.queue.push(Task::Reread { read: *read, fresh, buf });
            count += 1;
        }
        Ok(Some(count))
    }

    /// Hands out the ranges from where the earlier run stopped up to the manifests. Returns how many; `None` once the
    /// run is stopped.
    fn dispatch_new(&self) -> Result<Option<u64>, FlowError> {
        let end = self.job.layout.tail_start;
        let mut place = RangePlace { index: 0, start: self.job.before.tar };
        while place.start < end {
            let Some(mut buf) = self.ranges.take() else { return Ok(None) };
            if self.job.monitor.cancelled() {
                return Err(FlowError::Cancelled);
            }
            let len = (buf.len() as u64).min(end - place.start);
            buf.truncate(len as usize);
            self.queue.push(Task::Fill { place, buf });
            place = RangePlace { index: place.index + 1, start: place.start + len };
        }
        Ok(Some(place.index))
    }

    /// Reads a range of an earlier run again, and hashes its stretch `fresh`.
    ///
    /// # Errors
    /// The range is not what it was, or cannot be read.
    pub(super) fn reread(&self, read: ReadRange, fresh: Range<u64>, mut buf: Lease<Vec<u8>>) -> Result<(), FlowError> {
        let whole = read.start..read.start + read.len;
        if fresh != whole {
            self.reading.raw(read.start, &mut buf)?;
            self.check_unchanged(&read, &buf)?;
            buf.truncate((fresh.end - fresh.start) as usize);
        }
        if !fresh.is_empty() {
            let Filling { raw, pieces, .. } = self.reading.range(fresh.start, buf)?;
            if fresh == whole {
                self.check_unchanged(&read, &raw)?;
            }
            self.reading.hash(&raw, pieces);
        }
        Ok(())
    }

    /// Compares a range with what the earlier run read there.
    ///
    /// # Errors
    /// It differs: the error names its files, or the one that cannot be read.
    fn check_unchanged(&self, read: &ReadRange, bytes: &[u8]) -> Result<(), FlowError> {
        if quick(bytes) == read.hash {
            return Ok(());
        }
        let whole = read.start..read.start + read.len;
        self.reading.readable(whole.clone())?;
        Err(FlowError::Source(SourceError::Changed(self.reading.files_in(&whole))))
    }

    /// Makes the manifests and hands them out in ranges that need not be read. The first one has that `index`.
    fn dispatch_tail(&self, index: u64) {
        let files = self.reading.digests();
        let layout = self.job.layout;
        let start = layout.tail_start.max(self.job.before.tar);
        self.ranges.note_packed(start, false);
        let mut tail = TailRanges {
            pipeline: self,
            next: RangePlace { index, start },
            packed_before: start - layout.tail_start,
            open: None,
        };
        let written = layout.write_tail(
            &self.job.walk.entries,
            |at| manifest_digest(files[at].0, files[at].1),
            |bytes: &[u8]| tail.add(bytes),
        );
        if written.is_ok() {
            tail.finish();
        }
    }
}

/// The stretch of a range that no earlier one covers, up to `end`. `hashed` is where the ranges before it end.
fn fresh_stretch(read: &ReadRange, hashed: u64, end: u64) -> Range<u64> {
    hashed.max(read.start)..end.min(read.start + read.len).max(hashed)
}

/// Cuts the end of the tar into ranges, which workers only have to pack.
struct TailRanges<'a, 'b> {
    pipeline: &'a Pipeline<'b>,
    /// The range that is being filled, or is begun next.
    next: RangePlace,
    /// Bytes still to come that are in parts of an earlier run already.
    packed_before: u64,
    /// The range that is being filled; `None` between two ranges.
    open: Option<Lease<Vec<u8>>>,
}

impl TailRanges<'_, '_> {
    /// Adds the next bytes of the tail, however many.
    fn add(&mut self, bytes: &[u8]) -> Result<(), Stopped> {
        let skip = self.packed_before.min(bytes.len() as u64);
        self.packed_before -= skip;
        let len = range_len(self.pipeline.job.class) as usize;
        let mut rest = &bytes[skip as usize..];
        while !rest.is_empty() {
            let mut buf = match self.open.take() {
                Some(buf) => buf,
                None => self.begin_range()?,
            };
            let (now, later) = rest.split_at(rest.len().min(len - buf.len()));
            buf.extend_from_slice(now);
            rest = later;
            if buf.len() == len {
                self.hand_out(buf);
            } else {
                self.open = Some(buf);
            }
        }
        Ok(())
    }

    fn begin_range(&self) -> Result<Lease<Vec<u8>>, Stopped> {
        let mut buf = self.pipeline.ranges.take().ok_or(Stopped)?;
        buf.clear();
        Ok(buf)
    }

    fn hand_out(&mut self, buf: Lease<Vec<u8>>) {
        let RangePlace { index, start } = self.next;
        self.next = RangePlace { index: index + 1, start: start + buf.len() as u64 };
        self.pipeline.queue.push(Task::Pack { place: RangePlace { index, start }, raw: Arc::new(buf) });
    }

    /// Hands out the last range, which may be short.
    fn finish(mut self) {
        if let Some(buf) = self.open.take() {
            self.hand_out(buf);
        }
    }
}

#[cfg(test)]
mod tests;
