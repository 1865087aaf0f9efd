//! One part's tar bytes to where they belong, by the list alone: any part, in any order. Small
//! files are hashed as they pass; the pieces of large ones meet in a lane.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU8, Ordering};

use crate::base::digest::{Digest, Hasher, Quick};
use crate::base::entry::{Entry, Flag};
use crate::base::fault::IoFault;
use crate::base::pool::lock;
use crate::plan::want::Contents;
use crate::stage::lane::Lane;
use crate::stage::restore::{Placer, Staging};

const PENDING: u8 = 0;
const WHOLE: u8 = 1;
const WRONG: u8 = 2;
/// Whole, and in the target since an earlier run.
const THERE: u8 = 3;

/// What all workers share.
pub struct Site<'a> {
    /// What is to be delivered.
    pub entries: &'a [Entry],
    /// Where its contents lie in the tar.
    pub contents: &'a Contents,
    /// Where it is put together.
    pub staging: &'a Staging,
    /// Pieces that wait are read again: each with the hash it had as it passed, or none if an earlier run
    /// placed it.
    lane: Lane<Option<u128>>,
    states: Vec<AtomicU8>,
    /// Files of which earlier runs placed pieces that nobody has held against anything yet.
    trusted: Mutex<BTreeSet<usize>>,
    /// Pieces of long files that are in their places, by file and offset: a part that is read again
    /// for another file does not touch them.
    pieces: Mutex<BTreeSet<(usize, u64)>>,
    doubts: Mutex<BTreeMap<usize, Doubt>>,
}

/// What there is to hold against the target where a file comes out wrong of which it gave bytes back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Doubt {
    /// Nobody knows what it took.
    Possible,
    /// What it gave back is not what it took.
    Proven,
}

impl<'a> Site<'a> {
    /// Nothing is placed yet.
    pub fn new(entries: &'a [Entry], contents: &'a Contents, staging: &'a Staging) -> Self {
        let states = entries.iter().map(|_| AtomicU8::new(PENDING)).collect();
        Self {
            entries,
            contents,
            staging,
            lane: Lane::default(),
            states,
            trusted: Mutex::default(),
            pieces: Mutex::default(),
            doubts: Mutex::default(),
        }
    }

    /// Whether the file with that index was placed whole, and is what was packed.
    pub fn is_whole(&self, index: usize) -> bool {
        matches!(self.states[index].load(Ordering::Acquire), WHOLE | THERE)
    }

    /// Whether an earlier run delivered it.
    pub fn is_there(&self, index: usize) -> bool {
        self.states[index].load(Ordering::Acquire) == THERE
    }

    /// An earlier run delivered it, and it is what was packed.
    pub fn set_there(&self, index: usize) {
        self.states[index].store(THERE, Ordering::Release);
    }

    /// Whether pieces of it from an earlier run wait for the others.
    pub fn is_trusted(&self, index: usize) -> bool {
        lock(&self.trusted).contains(&index)
    }

    /// Files that came out wrong with pieces from earlier runs: they count as not begun from now
    /// on, for those pieces may be what is wrong.
    pub fn take_wrong(&self) -> Vec<usize> {
        let mut trusted = lock(&self.trusted);
        let wrong: Vec<usize> = trusted.iter().copied().filter(|index| self.is_wrong(*index)).collect();
        for index in &wrong {
            trusted.remove(index);
            lock(&self.pieces).retain(|(file, _)| file != index);
            lock(&self.doubts).remove(index);
            self.states[*index].store(PENDING, Ordering::Release);
        }
        wrong
    }

    /// Whether it was placed whole, and is not what was packed.
    pub fn is_wrong(&self, index: usize) -> bool {
        self.states[index].load(Ordering::Acquire) == WRONG
    }

    /// What there is to hold against the target, of a file that is not whole.
    pub fn doubt(&self, index: usize) -> Option<Doubt> {
        lock(&self.doubts).get(&index).copied()
    }

    /// Feeds pieces of a file that were placed before to a hasher, and holds them against what passed.
    fn hash_again<'s>(
        &'s self,
        index: usize,
        placer: &'s mut Placer<'a>,
    ) -> impl FnMut(&Option<u128>, u64, u64, &mut Hasher) -> Result<(), IoFault> {
        move |passed, at, len, hasher| {
            let came = placer.hash(&self.entries[index], at, len, hasher)?;
            let doubt = match passed {
                Some(passed) if *passed == came => return Ok(()),
                Some(_) => Doubt::Proven,
                None => Doubt::Possible,
            };
            let mut doubts = lock(&self.doubts);
            let known = doubts.entry(index).or_insert(doubt);
            *known = doubt.max(*known);
            Ok(())
        }
    }

    /// A worker's hands.
    pub fn worker(&'a self) -> Worker<'a> {
        Worker { site: self, placer: self.staging.placer(), current: None, part: (0, 0), whole: true }
    }
}

/// Places the bytes of one part after the other.
pub struct Worker<'a> {
    site: &'a Site<'a>,
    placer: Placer<'a>,
    current: Option<Current>,
    /// The stretch of tar of the part in work, and whether all of it comes.
    part: (u64, u64),
    whole: bool,
}

/// The file whose bytes pass now.
struct Current {
    index: usize,
    /// `None` where earlier bytes of the file have not been hashed yet.
    hasher: Option<Hasher>,
    /// Then the hash of this piece alone; of a file with holes none, for those are not placed.
    passed: Option<Quick>,
    /// Where the bytes of this part begin in the file, and how far they have come.
    from: u64,
    to: u64,
}

impl<'a> Worker<'a> {
    /// The bytes of tar from `offset` to `end` come next: a part. If not `whole`, they end early:
    /// then only files that end before are placed.
    pub fn begin(&mut self, offset: u64, end: u64, whole: bool) {
        (self.part, self.whole) = ((offset, end), whole);
    }

    /// Takes tar bytes; `at` is where they lie in the tar.
    pub fn take(&mut self, at: u64, bytes: &[u8]) -> Result<(), IoFault> {
        let end = at + bytes.len() as u64;
        let (entries, contents) = (self.site.entries, self.site.contents);
        for index in contents.within(entries, at, end) {
            let entry = &entries[index];
            let of_no_use = !self.is_alone(entry) && (!self.whole || self.is_placed(index, entry));
            if entry.flag == Flag::Unreadable || of_no_use || self.site.is_whole(index) {
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
            let passed = (hasher.is_none() && entry.holes.is_empty()).then(Quick::default);
            self.current = Some(Current { index, hasher, passed, from: offset, to: offset });
        }
        self.placer.write(index as u32, entry, offset, bytes, self.is_alone(entry))?;
        let current = self.current.as_mut().expect("just set");
        if let Some(hasher) = &mut current.hasher {
            hasher.update(bytes);
        }
        if let Some(passed) = &mut current.passed {
            passed.update(bytes);
        }
        current.to += bytes.len() as u64;
        Ok(())
    }

    /// Whether what this part has of a long file is in its place already.
    fn is_placed(&self, index: usize, entry: &Entry) -> bool {
        lock(&self.site.pieces).contains(&(index, entry.at.max(self.part.0) - entry.at))
    }

    /// Whether the file lies in this part as a whole.
    fn is_alone(&self, entry: &Entry) -> bool {
        entry.at >= self.part.0 && entry.at + entry.size <= self.part.1
    }

    fn close(&mut self) -> Result<(), IoFault> {
        let Some(Current { index, hasher, passed, from, to }) = self.current.take() else { return Ok(()) };
        let entry = &self.site.entries[index];
        if self.is_alone(entry) {
            return match hasher.filter(|_| to == entry.size) {
                Some(hasher) => self.conclude(index, hasher.finish()),
                None => self.placer.remove(entry),
            };
        }
        self.placer.leave();
        lock(&self.site.pieces).insert((index, from));
        let hash = self.site.hash_again(index, &mut self.placer);
        let digest = match hasher {
            Some(hasher) => self.site.lane.give_back(index as u32, entry.size, (to, hasher), hash)?,
            None => {
                self.site.lane.offer(index as u32, entry.size, (from, to - from, passed.map(Quick::finish)), hash)?
            }
        };
        match digest {
            Some(digest) => self.conclude(index, digest),
            None => Ok(()),
        }
    }

    /// Holds pieces of a long file that an earlier run placed, `(offset, length)` in the file,
    /// against its digest, as soon as the others are there.
    pub fn offer_again(&mut self, index: usize, (from, len): (u64, u64)) -> Result<(), IoFault> {
        let entry = &self.site.entries[index];
        lock(&self.site.trusted).insert(index);
        lock(&self.site.pieces).insert((index, from));
        let hash = self.site.hash_again(index, &mut self.placer);
        match self.site.lane.offer(index as u32, entry.size, (from, len, None), hash)? {
            Some(digest) => self.conclude(index, digest),
            None => Ok(()),
        }
    }

    /// Holds a file that an earlier run placed as a whole against its digest; removes it if it is
    /// not what was packed.
    pub fn check_again(&mut self, index: usize) -> Result<(), IoFault> {
        let (entry, mut hasher) = (&self.site.entries[index], Hasher::new());
        self.placer.hash(entry, 0, entry.size, &mut hasher)?;
        match hasher.finish() {
            digest if entry.sha256 == Some(digest) => self.conclude(index, digest),
            _ => self.placer.remove(entry),
        }
    }

    /// Access to what was placed.
    pub fn placer(&mut self) -> &mut Placer<'a> {
        &mut self.placer
    }

    fn conclude(&mut self, index: usize, digest: Digest) -> Result<(), IoFault> {
        let entry = &self.site.entries[index];
        let dressed = self.placer.complete(entry)?;
        // Without a list and a manifest nothing says what it should be.
        let state = if entry.sha256.is_none_or(|expected| expected == digest) { WHOLE } else { WRONG };
        if state == WHOLE {
            self.site.staging.count(dressed);
        }
        self.site.states[index].store(state, Ordering::Release);
        Ok(())
    }
}
