//! One part's tar bytes to where they belong, by the list alone: any part, in any order. Small
//! files are hashed as they pass; the pieces of large ones meet in a lane.

use std::sync::atomic::{AtomicU8, Ordering};

use crate::base::digest::{Digest, Hasher};
use crate::base::entry::{Entry, Flag};
use crate::base::fault::IoFault;
use crate::plan::want::Contents;
use crate::stage::lane::Lane;
use crate::stage::restore::{Placer, Staging};

const PENDING: u8 = 0;
const WHOLE: u8 = 1;
const WRONG: u8 = 2;

/// What all workers share.
pub struct Site<'a> {
    /// What is to be delivered.
    pub entries: &'a [Entry],
    /// Where its contents lie in the tar.
    pub contents: &'a Contents,
    /// Where it is put together.
    pub staging: &'a Staging,
    lane: Lane<()>,
    states: Vec<AtomicU8>,
    plain: AtomicU8,
}

impl<'a> Site<'a> {
    /// Nothing is placed yet.
    pub fn new(entries: &'a [Entry], contents: &'a Contents, staging: &'a Staging) -> Self {
        let states = entries.iter().map(|_| AtomicU8::new(PENDING)).collect();
        Self { entries, contents, staging, lane: Lane::default(), states, plain: AtomicU8::new(0) }
    }

    /// Whether the file with that index was placed whole, and is what was packed.
    pub fn is_whole(&self, index: usize) -> bool {
        self.states[index].load(Ordering::Acquire) == WHOLE
    }

    /// Whether it was placed whole, and is not what was packed.
    pub fn is_wrong(&self, index: usize) -> bool {
        self.states[index].load(Ordering::Acquire) == WRONG
    }

    /// Whether some file could not be given its mode or time.
    pub fn has_plain_files(&self) -> bool {
        self.plain.load(Ordering::Relaxed) > 0
    }

    /// A worker's hands.
    pub fn worker(&'a self) -> Worker<'a> {
        Worker { site: self, placer: self.staging.placer(), current: None, part: (0, 0) }
    }
}

/// Places the bytes of one part after the other.
pub struct Worker<'a> {
    site: &'a Site<'a>,
    placer: Placer<'a>,
    current: Option<Current>,
    /// The stretch of tar of the part in work.
    part: (u64, u64),
}

/// The file whose bytes pass now.
struct Current {
    index: usize,
    /// `None` where earlier bytes of the file have not been hashed yet.
    hasher: Option<Hasher>,
    /// Where the bytes of this part begin in the file, and how far they have come.
    from: u64,
    to: u64,
}

impl Worker<'_> {
    /// The bytes of tar from `offset` to `end` come next.
    pub fn begin(&mut self, offset: u64, end: u64) {
        self.part = (offset, end);
    }

    /// Takes tar bytes; `at` is where they lie in the tar.
    pub fn take(&mut self, at: u64, bytes: &[u8]) -> Result<(), IoFault> {
        let end = at + bytes.len() as u64;
        let (entries, contents) = (self.site.entries, self.site.contents);
        for index in contents.within(entries, at, end) {
            let entry = &entries[index];
            if entry.flag == Flag::Unreadable {
                continue;
            }
            let (from, to) = (entry.at.max(at), (entry.at + entry.size).min(end));
            self.place(index, from - entry.at, &bytes[(from - at) as usize..(to - at) as usize])?;
            if to == (entry.at + entry.size).min(self.part.1) {
                self.close()?;
            }
        }
        Ok(())
    }

    /// The part has no more bytes, be it at its end or at damage.
    pub fn end(&mut self) -> Result<(), IoFault> {
        self.close()
    }

    fn place(&mut self, index: usize, offset: u64, bytes: &[u8]) -> Result<(), IoFault> {
        let entry = &self.site.entries[index];
        if self.current.as_ref().is_none_or(|current| current.index != index) {
            self.close()?;
            let hasher =
                if self.is_alone(entry) { Some(Hasher::new()) } else { self.site.lane.take(index as u32, offset) };
            self.current = Some(Current { index, hasher, from: offset, to: offset });
        }
        self.placer.write(index as u32, entry, offset, bytes, self.is_alone(entry))?;
        let current = self.current.as_mut().expect("just set");
        if let Some(hasher) = &mut current.hasher {
            hasher.update(bytes);
        }
        current.to += bytes.len() as u64;
        Ok(())
    }

    /// Whether the file lies in this part as a whole.
    fn is_alone(&self, entry: &Entry) -> bool {
        entry.at >= self.part.0 && entry.at + entry.size <= self.part.1
    }

    fn close(&mut self) -> Result<(), IoFault> {
        let Some(Current { index, hasher, from, to }) = self.current.take() else { return Ok(()) };
        let entry = &self.site.entries[index];
        if self.is_alone(entry) {
            return match hasher.filter(|_| to == entry.size) {
                Some(hasher) => self.conclude(index, hasher.finish()),
                None => {
                    self.placer.leave();
                    Ok(())
                }
            };
        }
        self.placer.leave();
        let placer = &mut self.placer;
        let hash = |_: &(), at: u64, len: u64, hasher: &mut Hasher| placer.hash(entry, at, len, hasher);
        let digest = match hasher {
            Some(hasher) => self.site.lane.give_back(index as u32, entry.size, (to, hasher), hash)?,
            None => self.site.lane.offer(index as u32, entry.size, (from, to - from, ()), hash)?,
        };
        match digest {
            Some(digest) => self.conclude(index, digest),
            None => Ok(()),
        }
    }

    fn conclude(&mut self, index: usize, digest: Digest) -> Result<(), IoFault> {
        let entry = &self.site.entries[index];
        let dressed = self.placer.complete(entry)?;
        if !dressed {
            self.site.plain.store(1, Ordering::Relaxed);
        }
        // Without a list and a manifest nothing says what it should be.
        let state = if entry.sha256.is_none_or(|expected| expected == digest) { WHOLE } else { WRONG };
        self.site.states[index].store(state, Ordering::Release);
        Ok(())
    }
}
