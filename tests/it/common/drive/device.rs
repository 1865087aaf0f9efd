//! The device under a [`super::Drive`]: blocks, and what is wrong with them. A fault holds for blocks of
//! files only: names, folders and lengths are kept apart and never at fault.

use std::collections::{BTreeSet, HashMap};
use std::ops::Range;
use std::time::{Duration, Instant};

use fuser::Errno;

/// Bytes of a block, the unit in which the device stores.
pub const BLOCK: usize = 4096;
type Block = [u8; BLOCK];

/// What a drive does wrong from the moment on that it is told to. Counts begin then.
#[derive(Debug, Clone)]
pub enum Fault {
    /// There are only `real` bytes: what goes beyond them is taken and dropped, and read as `fill`.
    Discard { real: u64, fill: u8 },
    /// There are only `real` bytes: what goes beyond them lands at the beginning again.
    Wrap { real: u64 },
    /// Writes fail once so many bytes were written.
    FailAfter { bytes: u64, errno: Errno },
    /// Everything fails, once so many bytes were written and read: it was pulled out.
    Gone { bytes: u64, errno: Errno },
    /// Once so many bytes were written, one sync of a file fails with EIO, and what was written to that
    /// file since its last sync is lost.
    SyncFails { bytes: u64 },
    /// Writes are acknowledged, synced, and never stored, once so many bytes were written.
    Forget { bytes: u64 },
    /// What is written to these blocks is acknowledged, synced, and never stored.
    Lose(Range<u64>),
    /// The first read of these blocks is right, every later one has a bit flipped.
    CorruptSecondRead(Range<u64>),
    /// None of its own: the kernel remembers nothing of files that are opened from now on.
    Uncached,
    /// None of its own: files have no holes, as on a FAT.
    NoHoles,
    /// None of its own: once so many bytes were read, every further read waits until the faults are set anew.
    Gate { bytes: u64 },
    /// Files say that they are so many bytes shorter than they are, as some file systems do.
    Understated { bytes: u64 },
    /// None of its own: nothing is made under a path of more bytes.
    LongPaths { most: usize },
    /// These blocks cannot be read.
    BadBlocks(Range<u64>),
    /// Bytes a second, writing and reading; one after the other, for it is one device.
    Slow { write: u64, read: u64 },
}

/// What the device is asked for.
#[derive(Debug, Clone, Copy)]
pub enum Work {
    Name,
    Write(u64),
    Read(u64),
}

/// A row of blocks, given to files in order.
pub struct Device {
    blocks: u64,
    fresh: u64,
    freed: BTreeSet<u64>,
    stored: HashMap<u64, Box<Block>>,
    reads: HashMap<u64, u32>,
    faults: Vec<Fault>,
    /// Whether something came to the gate.
    is_waited_at: bool,
    written: u64,
    moved: u64,
    busy_until: Instant,
}

impl Device {
    /// A sound one that says it holds so many bytes.
    pub fn new(claimed: u64) -> Self {
        Self {
            blocks: claimed / BLOCK as u64,
            fresh: 0,
            freed: BTreeSet::new(),
            stored: HashMap::new(),
            reads: HashMap::new(),
            faults: Vec::new(),
            is_waited_at: false,
            written: 0,
            moved: 0,
            busy_until: Instant::now(),
        }
    }

    /// From now on it has these faults and no others.
    pub fn set(&mut self, faults: &[Fault]) {
        self.faults = faults.to_vec();
        (self.written, self.moved) = (0, 0);
        self.is_waited_at = false;
        self.reads.clear();
    }

    /// Whether a read must wait.
    pub fn is_shut(&mut self) -> bool {
        let shut = |fault: &Fault| matches!(fault, Fault::Gate { bytes } if self.moved >= *bytes);
        self.is_waited_at |= self.faults.iter().any(shut);
        self.is_waited_at
    }

    /// Whether one waits.
    pub fn is_waited_at(&self) -> bool {
        self.is_waited_at
    }

    /// By how much files say that they are shorter than they are.
    pub fn understated(&self) -> u64 {
        let of = |fault: &Fault| if let Fault::Understated { bytes } = fault { *bytes } else { 0 };
        self.faults.iter().map(of).sum()
    }

    /// Blocks in all, and free ones.
    pub fn room(&self) -> (u64, u64) {
        (self.blocks, self.blocks - self.fresh + self.freed.len() as u64)
    }

    /// Blocks from the first to behind the last that was ever in use.
    pub fn reach(&self) -> u64 {
        self.fresh
    }

    /// Whether it takes on the work, and until when that lasts.
    pub fn admit(&mut self, work: Work) -> Result<Instant, Errno> {
        let (writes, moves) = match work {
            Work::Name => (0, 0),
            Work::Write(len) => (len, len),
            Work::Read(len) => (0, len),
        };
        self.written += writes;
        self.moved += moves;
        let mut rates = None;
        for fault in &self.faults {
            match fault {
                Fault::FailAfter { bytes, errno } if writes > 0 && self.written > *bytes => return Err(*errno),
                Fault::Gone { bytes, errno } if self.moved > *bytes || *bytes == 0 => return Err(*errno),
                Fault::Slow { write, read } => rates = Some((*write, *read)),
                _ => {}
            }
        }
        let seconds = match (rates, work) {
            (Some((rate, _)), Work::Write(len)) | (Some((_, rate)), Work::Read(len)) => len as f64 / rate as f64,
            _ => return Ok(Instant::now()),
        };
        self.busy_until = self.busy_until.max(Instant::now()) + Duration::from_secs_f64(seconds);
        Ok(self.busy_until)
    }

    pub fn is_uncached(&self) -> bool {
        self.faults.iter().any(|fault| matches!(fault, Fault::Uncached))
    }

    pub fn knows_holes(&self) -> bool {
        !self.faults.iter().any(|fault| matches!(fault, Fault::NoHoles))
    }

    /// Whether something can be made under a path of so many bytes.
    pub fn takes_path(&self, len: usize) -> bool {
        !self.faults.iter().any(|fault| matches!(fault, Fault::LongPaths { most } if len > *most))
    }

    /// Whether this sync is the one that fails.
    pub fn sync_fails(&mut self) -> bool {
        let is_due = |fault: &Fault| matches!(fault, Fault::SyncFails { bytes } if self.written > *bytes);
        let at = self.faults.iter().position(is_due);
        at.map(|at| self.faults.remove(at)).is_some()
    }

    /// The lowest block that is free.
    pub fn take(&mut self) -> Result<u64, Errno> {
        if let Some(block) = self.freed.pop_first() {
            return Ok(block);
        }
        if self.fresh == self.blocks {
            return Err(Errno::ENOSPC);
        }
        self.fresh += 1;
        Ok(self.fresh - 1)
    }

    /// Nobody needs that block any more. What is in it stays.
    pub fn give_back(&mut self, block: u64) {
        self.freed.insert(block);
    }

    /// As if it had never been written.
    pub fn lose(&mut self, block: u64) {
        self.stored.remove(&block);
    }

    pub fn store(&mut self, block: u64, bytes: Block) {
        let mut place = block;
        for fault in &self.faults {
            match fault {
                Fault::Discard { real, .. } if block >= real / BLOCK as u64 => return,
                Fault::Wrap { real } => place = block % (real / BLOCK as u64),
                Fault::Forget { bytes } if self.written > *bytes => return,
                Fault::Lose(range) if range.contains(&block) => return,
                _ => {}
            }
        }
        self.reads.remove(&block);
        self.stored.insert(place, Box::new(bytes));
    }

    /// What is stored there.
    pub fn load(&mut self, block: u64) -> Result<Block, Errno> {
        let mut place = block;
        let mut flip = false;
        for fault in &self.faults {
            match fault {
                Fault::Discard { real, fill } if block >= real / BLOCK as u64 => return Ok([*fill; BLOCK]),
                Fault::Wrap { real } => place = block % (real / BLOCK as u64),
                Fault::BadBlocks(range) if range.contains(&block) => return Err(Errno::EIO),
                Fault::CorruptSecondRead(range) if range.contains(&block) => {
                    let times = self.reads.entry(block).or_default();
                    flip = *times > 0;
                    *times += 1;
                }
                _ => {}
            }
        }
        let mut bytes = self.stored.get(&place).map_or([0; BLOCK], |block| **block);
        bytes[BLOCK / 3] ^= u8::from(flip);
        Ok(bytes)
    }
}
