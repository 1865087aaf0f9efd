//! Ranges of the tar handed out as buffers come free: first those again that an earlier run has
//! packed, for their digests and to see that nothing changed; then the others; then the end of the
//! tar, which starts when all digests are known.

use std::sync::{Arc, mpsc};

use crate::base::digest::quick;
use crate::base::pool::Lease;
use crate::flow::FlowError;
use crate::flow::error::SourceError;
use crate::flow::pack::pipeline::{Shared, Task};
use crate::flow::pack::source_reader::Filling;
use crate::format::journal::{ALL_CLEAN, ReadRange};
use crate::plan::geometry::range_len;
use crate::plan::layout::manifest_digest;

impl Shared<'_> {
    /// Hands out all ranges.
    pub(super) fn dispatch(&self, filled: mpsc::Receiver<()>) -> Result<(), FlowError> {
        let (layout, before) = (self.job.layout, self.job.before);
        self.job.monitor.advance(before.tar);
        let Some(again) = self.dispatch_again()? else { return Ok(()) };
        let (mut index, mut start) = (0, before.tar);
        while start < layout.tail_start {
            let Some(mut buf) = self.ranges.take() else { return Ok(()) };
            if self.job.monitor.cancelled() {
                return Err(FlowError::Cancelled);
            }
            let len = (buf.len() as u64).min(layout.tail_start - start);
            buf.truncate(len as usize);
            self.queue.push(Task::Fill { index, start, buf });
            index += 1;
            start += len;
        }
        // Once every range is filled, no piece waits in the lane: all digests are known.
        for _ in 0..index + again {
            if filled.recv().is_err() {
                return Ok(());
            }
        }
        self.reading.look_for_holders();
        if self.reading.is_clean() {
            self.job.log.note(ALL_CLEAN);
        }
        self.dispatch_tail(index)?;
        self.settled();
        Ok(())
    }

    /// What was packed before; how many ranges that is. `None` once the work is stopped.
    fn dispatch_again(&self) -> Result<Option<u64>, FlowError> {
        let (mut at, mut count) = (0, 0);
        let end = self.job.before.tar.min(self.job.layout.tail_start);
        for read in &self.job.before.reads {
            if self.job.monitor.cancelled() {
                return Err(FlowError::Cancelled);
            }
            let fresh = at.max(read.start)..end.min(read.start + read.len).max(at);
            let Some(mut buf) = self.ranges.take_long() else { return Ok(None) };
            buf.resize(read.len as usize, 0);
            at = fresh.end;
            self.queue.push(Task::Again { read: *read, fresh, buf });
            count += 1;
        }
        Ok(Some(count))
    }

    /// Reads a range once more: it must be what it was.
    pub(super) fn again(
        &self,
        read: ReadRange,
        fresh: std::ops::Range<u64>,
        mut buf: Lease<Vec<u8>>,
    ) -> Result<(), FlowError> {
        let all = read.start..read.start + read.len;
        let same = |bytes: &[u8]| match quick(bytes) == read.hash {
            true => Ok(()),
            false => {
                self.reading.readable(all.clone())?;
                Err(FlowError::Source(SourceError::Changed(self.reading.files_in(&all))))
            }
        };
        if fresh != all {
            self.reading.raw(read.start, &mut buf)?;
            same(&buf)?;
            buf.truncate((fresh.end - fresh.start) as usize);
        }
        if !fresh.is_empty() {
            let Filling { raw, pieces, .. } = self.reading.range(fresh.start, buf)?;
            if fresh == all {
                same(&raw)?;
            }
            self.reading.hash(&raw, pieces);
        }
        Ok(())
    }

    fn dispatch_tail(&self, mut index: u64) -> Result<(), FlowError> {
        let files = self.reading.digests();
        let digest = |at: usize| manifest_digest(files[at].0, files[at].1);
        let (layout, step) = (self.job.layout, range_len(self.job.class) as usize);
        let mut start = layout.tail_start.max(self.job.before.tar);
        // Bytes of the tail that are in parts already.
        let mut over = start - layout.tail_start;
        self.ranges.told(start, false);
        let mut open: Option<Lease<Vec<u8>>> = None;
        let written = layout.write_tail(&self.job.walk.entries, digest, |mut bytes: &[u8]| {
            let skip = over.min(bytes.len() as u64);
            over -= skip;
            bytes = &bytes[skip as usize..];
            while !bytes.is_empty() {
                let mut buf = match open.take() {
                    Some(buf) => buf,
                    None => {
                        let mut buf = self.ranges.take().ok_or(())?;
                        buf.clear();
                        buf
                    }
                };
                let now = bytes.len().min(step - buf.len());
                buf.extend_from_slice(&bytes[..now]);
                bytes = &bytes[now..];
                if buf.len() == step {
                    self.queue.push(Task::Pack { index, start, raw: Arc::new(buf) });
                    (index, start) = (index + 1, start + step as u64);
                } else {
                    open = Some(buf);
                }
            }
            Ok::<(), ()>(())
        });
        if let (Ok(()), Some(buf)) = (written, open) {
            self.queue.push(Task::Pack { index, start, raw: Arc::new(buf) });
        }
        Ok(())
    }
}
