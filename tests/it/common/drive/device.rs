//! The block device under a [`super::Drive`], and its faults. Only blocks of files store wrong data: names, folders and
//! lengths are kept elsewhere and stay right.

use std::collections::{BTreeSet, HashMap};
use std::ops::Range;
use std::time::{Duration, Instant};

use fuser::Errno;

/// Bytes of a block, the unit of storage.
pub const BLOCK: usize = 4096;
type Block = [u8; BLOCK];

/// A way in which a drive misbehaves. Byte counts start when the faults are set.
#[derive(Debug, Clone)]
pub enum Fault {
    /// The drive holds only `real` bytes. It takes writes beyond them, drops them, and reads as `fill` there.
    Discard { real: u64, fill: u8 },
    /// The drive holds only `real` bytes. Blocks beyond them wrap around to the beginning.
    Wrap { real: u64 },
    /// Writes fail once this many bytes were written.
    FailAfter { bytes: u64, errno: Errno },
    /// Every request fails once this many bytes were written and read, as if the drive was pulled out.
    Gone { bytes: u64, errno: Errno },
    /// Once this many bytes were written, one sync of a file fails with EIO and loses what was written to that file
    /// since its last sync.
    SyncFails { bytes: u64 },
    /// Once this many bytes were written, writes are acknowledged and synced but never stored.
    Forget { bytes: u64 },
    /// Writes to these blocks are acknowledged and synced but never stored.
    Lose(Range<u64>),
    /// The first read of these blocks is right; every later one has a bit flipped.
    CorruptSecondRead(Range<u64>),
    /// No fault: the kernel caches nothing of files that are opened from now on.
    Uncached,
    /// No fault: files have no holes, as on FAT.
    NoHoles,
    /// No fault: once this many bytes were written and read, reads wait until the faults are set anew.
    Gate { bytes: u64 },
    /// Files report this many bytes less than they hold, as on some file systems.
    Understated { bytes: u64 },
    /// No fault: no path longer than this many bytes can be created.
    LongPaths { most: usize },
    /// These blocks cannot be read.
    BadBlocks(Range<u64>),
    /// Bytes per second for writes and for reads. The device does one request at a time.
    Slow { write: u64, read: u64 },
}

/// A request to the device, with its length in bytes.
#[derive(Debug, Clone, Copy)]
pub enum Work {
    Name,
    Write(u64),
    Read(u64),
}

/// Blocks, given to files from the lowest free one up.
pub struct Device {
    blocks: u64,
    fresh: u64,
    freed: BTreeSet<u64>,
    stored: HashMap<u64, Box<Block>>,
    reads: HashMap<u64, u32>,
    faults: Vec<Fault>,
    /// Whether a read has reached the gate and waits there.
    is_waited_at: bool,
    written: u64,
    moved: u64,
    busy_until: Instant,
}

impl Device {
    /// A sound device that claims this many bytes.
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

    /// Replaces the faults and restarts their byte counts.
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

    /// Whether a read waits at the gate.
    pub fn is_waited_at(&self) -> bool {
        self.is_waited_at
    }

    /// Bytes by which files understate their length.
    pub fn understated(&self) -> u64 {
        let of = |fault: &Fault| if let Fault::Understated { bytes } = fault { *bytes } else { 0 };
        self.faults.iter().map(of).sum()
    }

    /// The number of all blocks, and of free ones.
    pub fn room(&self) -> (u64, u64) {
        (self.blocks, self.blocks - self.fresh + self.freed.len() as u64)
    }

    /// One past the highest block that was ever in use.
    pub fn reach(&self) -> u64 {
        self.fresh
    }

    /// Accepts or refuses a request. Returns when the device will be done with it.
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

    /// Whether a path of this many bytes can be created.
    pub fn takes_path(&self, len: usize) -> bool {
        !self.faults.iter().any(|fault| matches!(fault, Fault::LongPaths { most } if len > *most))
    }

    /// Whether this sync fails, which uses the fault up.
    pub fn sync_fails(&mut self) -> bool {
        let is_due = |fault: &Fault| matches!(fault, Fault::SyncFails { bytes } if self.written > *bytes);
        let at = self.faults.iter().position(is_due);
        at.map(|at| self.faults.remove(at)).is_some()
    }

    /// Takes the lowest free block.
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

    /// Frees a block. Its content stays.
    pub fn give_back(&mut self, block: u64) {
        self.freed.insert(block);
    }

    /// Drops a block's content, as if it had never been written.
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

    /// Reads a block, with the faults applied.
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
