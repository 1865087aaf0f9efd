//! Reads the sources as ranges of the tar: fills a range, hashes the files in it, and notes what was wrong with them.
//! Any thread reads any range. The pieces of a file that is longer than its range are hashed in a lane. A file that
//! another process could write to gets a note, and counts as changed if its times need not show the write.
//!
//! Not guaranteed: that a file without a note was at rest. `stage/archive.rs` and `stage/holders.rs` say what they
//! cannot see.

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

/// The bytes of a range. The lane may hold on to them until the bytes before them are hashed.
pub(crate) type Raw = Arc<Lease<Vec<u8>>>;

/// The digest of an entry, zeros if it has none (yet), and how well the entry was read.
type SourceDigest = (Digest, Flag);

/// A range that was filled.
pub(crate) struct Filling {
    pub(crate) raw: Raw,
    /// Pieces of long files, for [`SourceReader::hash`].
    pub(crate) pieces: Vec<Piece>,
    /// Whether every file in the range was read whole and unchanged.
    pub(crate) clean: bool,
}

/// Reads the sources of one run, from many threads.
pub(crate) struct SourceReader<'a> {
    walk: &'a Walk,
    layout: &'a Layout,
    monitor: &'a dyn Monitor,
    lane: OrderedHash<(Raw, Range<usize>)>,
    /// One for each entry of the walk.
    files: Mutex<Vec<SourceDigest>>,
    /// At most one for each path: the worst fault of a file, or the first other remark.
    notes: Mutex<Vec<Note>>,
    /// Whether an earlier run has packed manifests already, for which no file had a fault.
    is_listed: bool,
}

impl<'a> SourceReader<'a> {
    pub(crate) fn new(walk: &'a Walk, layout: &'a Layout, monitor: &'a dyn Monitor) -> Self {
        let files = Mutex::new(vec![(Digest::ZERO, Flag::Clean); walk.entries.len()]);
        Self { walk, layout, monitor, lane: OrderedHash::default(), files, notes: Mutex::default(), is_listed: false }
    }

    /// For a run that resumes behind packed manifests, if `is_listed`. A change is then noted but not flagged, because
    /// the manifests have no flag for it. Nothing is lost: every byte is read again and compared with what was packed.
    pub(crate) fn after_manifests(self, is_listed: bool) -> Self {
        Self { is_listed, ..self }
    }

    /// One for each entry. Digests are final once all ranges are read and all pieces hashed.
    pub(crate) fn digests(&self) -> Vec<SourceDigest> {
        lock(&self.files).clone()
    }

    /// Ends the reading. Returns what [`Self::digests`] returns, and the notes.
    ///
    /// # Errors
    /// [`FlowError::Defect`] if a file without a fault was not hashed.
    pub(crate) fn finish(self) -> Result<(Vec<SourceDigest>, Vec<Note>), FlowError> {
        let files = unlocked(self.files);
        for (at, entry) in self.walk.entries.iter().enumerate() {
            if entry.has_content() && files[at] == (Digest::ZERO, Flag::Clean) {
                return Err(FlowError::Defect(format!("{} was not hashed", show(&self.walk.real_path(at)))));
            }
        }
        Ok((files, unlocked(self.notes)))
    }

    /// Looks for processes that can write to the files. Called before the first file is read, to find those that could
    /// change it without a trace in its times, and after the last one, to find those that came since.
    pub(crate) fn look_for_holders(&self) {
        let holders = match Holders::look() {
            Ok(holders) => holders,
            Err(error) => {
                let text = format!(
                    "cannot be looked at ({error}); whether a file was open for writing while it was packed is not known"
                );
                return self.note_once(Note::new(NoteKind::NotKnown, b"/proc", text));
            }
        };
        let files = self.walk.entries.iter().zip(&self.walk.stamps).enumerate();
        for (index, (_, stamp)) in files.filter(|(_, (entry, _))| entry.kind == Kind::File) {
            if let Some(holder) = holders.of(stamp.id()) {
                self.note_holder(index, &holder);
            }
        }
    }

    /// Notes a process that can write to a file. A write through a mapping may leave no trace, so the file counts as
    /// changed. Any other write changes the file's times, and is noticed if it happens.
    fn note_holder(&self, index: usize, holder: &Holder) {
        let Holder { process, name, is_mapped } = holder;
        if !is_mapped {
            let text = format!(
                "is open for writing by {name} (process {process}); it is packed as it stands, finished or not"
            );
            return self.note_once(Note::new(NoteKind::Open, self.walk.entries[index].path.as_bytes(), text));
        }
        let mixed = if self.is_listed { "" } else { "; it may mix two states" };
        let why = format!(
            "could be changed unseen while it was packed, through the memory of {name} (process {process}){mixed}"
        );
        self.note_fault(Fault { entry: index as u32, flag: Flag::Changed, why, errno: None });
    }

    /// Whether no file has a fault so far, so that the manifests have a digest for each.
    pub(crate) fn is_clean(&self) -> bool {
        lock(&self.files).iter().all(|(_, flag)| *flag == Flag::Clean)
    }

    /// Fills the range of the tar that begins at `start`, hashes the files that lie in it whole, and notes faults.
    ///
    /// The caller hashes the returned pieces with [`Self::hash`]. That is a step of its own because it may take long:
    /// pieces of other ranges may wait for these.
    ///
    /// # Errors
    /// A source is gone. Nothing is known of its files then, not even that they cannot be read.
    pub(crate) fn range(&self, start: u64, mut buf: Lease<Vec<u8>>) -> Result<Filling, WalkError> {
        let walk = self.walk;
        let Filled { whole, pieces, faults } = self.fill(start, &mut buf, |index, file| {
            file.metadata().is_ok_and(|meta| Stamp::of(&meta) == walk.stamps[index])
        });
        self.check_sources_answer(&faults)?;
        let clean = faults.is_empty();
        for fault in faults {
            self.note_fault(fault);
        }
        for (entry, digest) in whole {
            lock(&self.files)[entry as usize].0 = digest;
        }
        Ok(Filling { raw: Arc::new(buf), pieces, clean })
    }

    /// Fills a range without hashing or noting anything: the caller compares it with what was packed.
    ///
    /// # Errors
    /// A source is gone, or a file cannot be read. The range is filled nevertheless, with zeros for what is missing.
    pub(crate) fn raw(&self, start: u64, buf: &mut [u8]) -> Result<(), FlowError> {
        let faults = self.fill(start, buf, |_, _| true).faults;
        self.check_sources_answer(&faults)?;
        match faults.into_iter().find(|fault| fault.flag == Flag::Unreadable) {
            Some(fault) => {
                let error = fault.errno.map_or(io::Error::other(fault.why), io::Error::from_raw_os_error);
                Ok(Err(error).at("read", &self.walk.real_path(fault.entry as usize))?)
            }
            None => Ok(()),
        }
    }

    /// Checks whether a stretch of the tar can be read at all. Called when it differs from what was packed, to tell a
    /// source that cannot be read from one that changed.
    pub(crate) fn readable(&self, range: Range<u64>) -> Result<(), FlowError> {
        let mut buf = memory::zeros(1 << 20);
        let mut pieces = range.clone().step_by(buf.len());
        pieces.try_for_each(|at| {
            let len = (range.end - at).min(buf.len() as u64) as usize;
            self.raw(at, &mut buf[..len])
        })
    }

    /// Checks whether the sources of the faulty files still answer.
    ///
    /// # Errors
    /// A source is gone.
    fn check_sources_answer(&self, faults: &[Fault]) -> Result<(), WalkError> {
        faults.iter().try_for_each(|fault| self.walk.answers(fault.entry as usize, fault.errno))
    }

    /// Fills `buf` from tar offset `start` on, which lies before the manifests. `unchanged` gets the index of an entry
    /// and its open file, and says whether the file is still as it was walked.
    fn fill(&self, start: u64, buf: &mut [u8], unchanged: impl Fn(usize, &File) -> bool) -> Filled {
        let walk = self.walk;
        let layout = self.layout;
        let front = &layout.front[(start as usize).min(layout.front.len())..];
        let front = &front[..front.len().min(buf.len())];
        buf[..front.len()].copy_from_slice(front);
        let found = layout.entries_in(&(start..start + buf.len() as u64));
        let entries = (found.start, &walk.entries[found.clone()], &layout.starts[found.clone()]);
        archive::fill(start, buf, entries, |index| walk.open(index), unchanged)
    }

    /// The paths on this machine of the files with content in a stretch of the tar.
    pub(crate) fn files_in(&self, range: &Range<u64>) -> Vec<PathBuf> {
        let found = self.layout.entries_in(range);
        found.filter(|at| self.walk.entries[*at].has_content()).map(|at| self.walk.real_path(at)).collect()
    }

    /// Hashes the pieces of a range, and the pieces of other ranges that wait for them. A piece whose turn has not come
    /// waits in the lane, and keeps the range in memory.
    pub(crate) fn hash(&self, raw: &Raw, pieces: Vec<Piece>) {
        for piece in pieces {
            let size = self.walk.entries[piece.entry as usize].size;
            let len = piece.place.len() as u64;
            let held = (raw.clone(), piece.place);
            let hashed = self.lane.offer(piece.entry, size, (piece.offset, len, held), |(raw, place), _, _, hasher| {
                hasher.update(&raw[place.clone()]);
                Ok::<(), Infallible>(())
            });
            if let Ok(Some(digest)) = hashed {
                lock(&self.files)[piece.entry as usize].0 = digest;
            }
        }
    }

    /// Flags a file and notes the fault. Only the worst fault of a file is kept: that it could not be read outranks
    /// that it changed.
    fn note_fault(&self, fault: Fault) {
        let at = fault.entry as usize;
        let path = self.walk.entries[at].path.as_bytes();
        if self.is_listed && fault.flag == Flag::Changed {
            let text = format!("{}; every byte of it is the one that was packed before", fault.why);
            return self.note_once(Note::new(NoteKind::Outdated, path, text));
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

    /// Keeps a note and tells the monitor, unless its path has a note already. That a file is open for writing is the
    /// least that can be said of it: it hides nothing else, and gives way.
    fn note_once(&self, note: Note) {
        let mut notes = lock(&self.notes);
        let is_least = note.kind == NoteKind::Open;
        if notes.iter().any(|old| old.path == note.path && (is_least || old.kind != NoteKind::Open)) {
            return;
        }
        self.monitor.note(&note);
        notes.retain(|old| old.path != note.path);
        notes.push(note);
    }
}

#[cfg(test)]
mod tests;
