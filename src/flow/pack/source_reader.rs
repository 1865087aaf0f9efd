//! The sources as ranges of the tar: read, hashed, and what was wrong with them. Any range, on any
//! thread; the digest of a file that is longer than its range meets in a lane. A file that another process
//! could write to is named, and counts as changed if its times need not tell of it.

use std::convert::Infallible;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use crate::base::digest::Digest;
use crate::base::entry::{Flag, Kind};
use crate::base::fault::At;
use crate::base::memory;
use crate::base::monitor::{Monitor, Note, NoteKind};
use crate::base::path::show;
use crate::base::pool::{Lease, lock, unlocked};
use crate::flow::FlowError;
use crate::plan::layout::Layout;
use crate::stage::archive::{self, Fault, Filled, Piece};
use crate::stage::holders::{Holder, Holders};
use crate::stage::ordered_hash::OrderedHash;
use crate::stage::walk::{Stamp, Walk, WalkError};

/// A filled range; it may be held by the lane for a while.
pub type Raw = Arc<Lease<Vec<u8>>>;

/// A file's digest, and how well it was read.
type SourceDigest = (Digest, Flag);

/// A range that was filled.
pub struct Filling {
    /// Its bytes.
    pub raw: Raw,
    /// Pieces of long files in it that are still to be hashed.
    pub pieces: Vec<Piece>,
    /// Whether all of it could be read, and nothing had changed.
    pub clean: bool,
}

/// Reads the sources.
pub struct SourceReader<'a> {
    walk: &'a Walk,
    layout: &'a Layout,
    monitor: &'a dyn Monitor,
    lane: OrderedHash<(Raw, Range<usize>)>,
    files: Mutex<Vec<SourceDigest>>,
    notes: Mutex<Vec<Note>>,
    /// Whether the manifests are packed already, by a run for which every file was as it should be.
    is_listed: bool,
}

impl<'a> SourceReader<'a> {
    /// Nothing is read yet.
    pub fn new(walk: &'a Walk, layout: &'a Layout, monitor: &'a dyn Monitor) -> Self {
        let files = Mutex::new(vec![(Digest::ZERO, Flag::Clean); walk.entries.len()]);
        Self { walk, layout, monitor, lane: OrderedHash::default(), files, notes: Mutex::default(), is_listed: false }
    }

    /// The same where an earlier run packed manifests too: no file gets a flag that those do not show. Every
    /// byte is read again and held against what was packed, so what is found now is only said.
    pub fn after_manifests(self, is_listed: bool) -> Self {
        Self { is_listed, ..self }
    }

    /// For each entry its digest (files only) and how well it was read, once all ranges are.
    pub fn digests(&self) -> Vec<SourceDigest> {
        lock(&self.files).clone()
    }

    /// The same at the end, and what is worth saying of the sources.
    ///
    /// # Errors
    /// A file without a digest, which is a defect of ours.
    pub fn finish(self) -> Result<(Vec<SourceDigest>, Vec<Note>), FlowError> {
        let files = unlocked(self.files);
        let lacks = |at: &usize| {
            let (digest, flag) = files[*at];
            self.walk.entries[*at].has_content() && flag == Flag::Clean && digest == Digest::ZERO
        };
        match (0..files.len()).find(lacks) {
            Some(at) => Err(FlowError::Defect(format!("{} was not hashed", show(&self.walk.real_path(at))))),
            None => Ok((files, unlocked(self.notes))),
        }
    }

    /// Looks which files other processes can write to. Before the first is read that shows who could change
    /// them without a trace in their times, after the last who came since.
    pub fn look_for_holders(&self) {
        let holders = match Holders::look() {
            Ok(holders) => holders,
            Err(error) => {
                let text = format!(
                    "cannot be looked at ({error}); whether a file was open for writing while it was packed is not known"
                );
                return self.say_once(Note::new(NoteKind::NotKnown, b"/proc", text));
            }
        };
        let files = self.walk.entries.iter().zip(&self.walk.stamps).enumerate();
        for (index, (_, stamp)) in files.filter(|(_, (entry, _))| entry.kind == Kind::File) {
            if let Some(holder) = holders.of(stamp.id()) {
                self.note_holder(index, &holder);
            }
        }
    }

    /// A write through a mapping may leave no trace; any other changes the file's times.
    fn note_holder(&self, index: usize, holder: &Holder) {
        let Holder { process, name, is_mapped } = holder;
        if !is_mapped {
            let text = format!(
                "is open for writing by {name} (process {process}); it is packed as it stands, finished or not"
            );
            return self.say_once(Note::new(NoteKind::Open, self.walk.entries[index].path.as_bytes(), text));
        }
        let mixed = if self.is_listed { "" } else { "; it may mix two states" };
        let why = format!(
            "could be changed unseen while it was packed, through the memory of {name} (process {process}){mixed}"
        );
        self.note_fault(Fault { entry: index as u32, flag: Flag::Changed, why, errno: None });
    }

    /// Whether every file that was read is what it was: then the manifests have a digest for each.
    pub fn is_clean(&self) -> bool {
        lock(&self.files).iter().all(|(_, flag)| *flag == Flag::Clean)
    }

    /// Fills the range that begins at `start` and hashes what it holds.
    ///
    /// The pieces in what it returns are still to be hashed: that may take long, as those of other ranges
    /// may wait for them.
    ///
    /// # Errors
    /// A source in it is gone: of what it holds nothing is known, not even that it cannot be read.
    pub fn range(&self, start: u64, mut buf: Lease<Vec<u8>>) -> Result<Filling, WalkError> {
        let walk = self.walk;
        let Filled { whole, pieces, faults } = self.fill(start, &mut buf, |index, file| {
            file.metadata().is_ok_and(|meta| Stamp::of(&meta) == walk.stamps[index])
        });
        self.answers(&faults)?;
        let clean = faults.is_empty();
        for fault in faults {
            self.note_fault(fault);
        }
        for (entry, digest) in whole {
            lock(&self.files)[entry as usize].0 = digest;
        }
        Ok(Filling { raw: Arc::new(buf), pieces, clean })
    }

    /// Fills a range without hashing anything, to see whether it is what it was.
    ///
    /// # Errors
    /// A source in it cannot be read; the range is filled all the same.
    pub fn raw(&self, start: u64, buf: &mut [u8]) -> Result<(), FlowError> {
        let faults = self.fill(start, buf, |_, _| true).faults;
        self.answers(&faults)?;
        match faults.into_iter().find(|fault| fault.flag == Flag::Unreadable) {
            Some(fault) => {
                let error = fault.errno.map_or(io::Error::other(fault.why), io::Error::from_raw_os_error);
                Ok(Err(error).at("read", &self.walk.real_path(fault.entry as usize))?)
            }
            None => Ok(()),
        }
    }

    /// Whether a stretch of the tar that is not what it was can be read at all.
    pub fn readable(&self, range: Range<u64>) -> Result<(), FlowError> {
        let mut buf = memory::zeros(1 << 20);
        let mut pieces = range.clone().step_by(buf.len());
        pieces.try_for_each(|at| {
            let len = (range.end - at).min(buf.len() as u64) as usize;
            self.raw(at, &mut buf[..len])
        })
    }

    /// Whether the sources of what is not as it was still answer.
    fn answers(&self, faults: &[Fault]) -> Result<(), WalkError> {
        faults.iter().try_for_each(|fault| self.walk.answers(fault.entry as usize, fault.errno))
    }

    fn fill(&self, start: u64, buf: &mut [u8], unchanged: impl Fn(usize, &File) -> bool) -> Filled {
        let (walk, layout) = (self.walk, self.layout);
        let front = &layout.front[(start as usize).min(layout.front.len())..];
        let front = &front[..front.len().min(buf.len())];
        buf[..front.len()].copy_from_slice(front);
        let found = layout.entries_in(&(start..start + buf.len() as u64));
        let entries = (found.start, &walk.entries[found.clone()], &layout.starts[found.clone()]);
        archive::fill(start, buf, entries, |index| walk.open(index), unchanged)
    }

    /// The files that have bytes in a stretch of the tar.
    pub fn files_in(&self, range: &Range<u64>) -> Vec<PathBuf> {
        let found = self.layout.entries_in(range);
        found.filter(|at| self.walk.entries[*at].has_content()).map(|at| self.walk.real_path(at)).collect()
    }

    /// Hashes pieces of long files, and what waits behind them.
    pub fn hash(&self, raw: &Raw, pieces: Vec<Piece>) {
        for piece in pieces {
            let size = self.walk.entries[piece.entry as usize].size;
            let (offset, len) = (piece.offset, piece.place.len() as u64);
            let held = (raw.clone(), piece.place);
            let hashed = self.lane.offer(piece.entry, size, (offset, len, held), |(raw, place), _, _, hasher| {
                hasher.update(&raw[place.clone()]);
                Ok::<(), Infallible>(())
            });
            if let Ok(Some(digest)) = hashed {
                lock(&self.files)[piece.entry as usize].0 = digest;
            }
        }
    }

    /// Says once of each file what is worst about it.
    fn note_fault(&self, fault: Fault) {
        let at = fault.entry as usize;
        let path = self.walk.entries[at].path.as_bytes();
        if self.is_listed && fault.flag == Flag::Changed {
            let text = format!("{}; every byte of it is the one that was packed before", fault.why);
            return self.say_once(Note::new(NoteKind::Outdated, path, text));
        }
        let mut files = lock(&self.files);
        let known = files[at].1;
        if known == fault.flag || known == Flag::Unreadable {
            return;
        }
        files[at].1 = fault.flag;
        drop(files);
        let kind = if fault.flag == Flag::Changed { NoteKind::Changed } else { NoteKind::Unreadable };
        let note = Note::new(kind, path, fault.why);
        self.monitor.note(&note);
        let mut notes = lock(&self.notes);
        notes.retain(|old| old.path != note.path);
        notes.push(note);
    }

    fn say_once(&self, note: Note) {
        let mut notes = lock(&self.notes);
        if notes.iter().all(|old| old.path != note.path) {
            self.monitor.note(&note);
            notes.push(note);
        }
    }
}
