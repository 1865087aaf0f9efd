//! Writes the tar bytes of parts into the files they belong to. Parts come in any order and on any thread: the list
//! alone says which file a byte of tar is in, and where. A file that lies in one part is hashed while it is written.
//! An [`OrderedHash`] hashes the pieces of a longer file in order; a piece that comes too early is read back from the
//! target when its turn comes.
//!
//! Not guaranteed: that the target kept a file that was hashed while it was written. Only pieces that are read back
//! are compared with what was written.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU8, Ordering};

use crate::base::digest::{Digest, Hasher, Quick};
use crate::base::entry::{Entry, Flag};
use crate::base::fault::IoFault;
use crate::base::pool::lock;
use crate::plan::needed_parts::Contents;
use crate::stage::ordered_hash::OrderedHash;
use crate::stage::restore::{Placer, Staging};

/// What is known of a file's content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum FileState {
    /// Not complete yet.
    Pending,
    /// Complete in the staging folder, with the digest from the list.
    Verified,
    /// Complete, with another digest.
    Wrong,
    /// Delivered by an earlier run, and verified by this one.
    Delivered,
}

/// The state of each file, shared by all threads.
struct FileStates(Vec<AtomicU8>);

impl FileStates {
    fn new(files: usize) -> Self {
        Self((0..files).map(|_| AtomicU8::new(FileState::Pending as u8)).collect())
    }

    fn get(&self, file: usize) -> FileState {
        match self.0[file].load(Ordering::Acquire) {
            state if state == FileState::Verified as u8 => FileState::Verified,
            state if state == FileState::Wrong as u8 => FileState::Wrong,
            state if state == FileState::Delivered as u8 => FileState::Delivered,
            _ => FileState::Pending,
        }
    }

    fn set(&self, file: usize, state: FileState) {
        self.0[file].store(state as u8, Ordering::Release);
    }
}

/// Evidence that the target, not the bundle, corrupted a file we had to read back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum TargetFault {
    /// A piece was read back whose hash at the time of writing is not known: an earlier run wrote it, or its file has
    /// holes.
    Possible,
    /// A piece that this run wrote came back with another hash.
    Proven,
}

/// The quick hash of a piece as it was written; `None` if an earlier run wrote it, or if its file has holes.
type PieceHash = Option<u128>;

/// The files of one unpacking, and how far each has come. Shared by all threads.
pub(crate) struct Extraction<'a> {
    /// The entries to deliver. Files are referred to by their index here.
    pub(crate) entries: &'a [Entry],
    /// Where their contents lie in the tar.
    pub(crate) contents: &'a Contents,
    /// The folder in which files are put together.
    pub(crate) staging: &'a Staging,
    lane: OrderedHash<PieceHash>,
    states: FileStates,
    /// Files with pieces from earlier runs that have not been verified yet.
    unverified: Mutex<BTreeSet<usize>>,
    /// Pieces of long files that are written, as (file, offset), so that a part that is read again for another file
    /// does not write them twice.
    pieces: Mutex<BTreeSet<(usize, u64)>>,
    target_faults: Mutex<BTreeMap<usize, TargetFault>>,
}

impl<'a> Extraction<'a> {
    /// An unpacking of which nothing is written yet.
    pub(crate) fn new(entries: &'a [Entry], contents: &'a Contents, staging: &'a Staging) -> Self {
        Self {
            entries,
            contents,
            staging,
            lane: OrderedHash::default(),
            states: FileStates::new(entries.len()),
            unverified: Mutex::default(),
            pieces: Mutex::default(),
            target_faults: Mutex::default(),
        }
    }

    /// Whether the file is complete and has the digest from the list.
    pub(crate) fn is_whole(&self, file: usize) -> bool {
        matches!(self.states.get(file), FileState::Verified | FileState::Delivered)
    }

    /// Whether the file is complete and has another digest.
    pub(crate) fn is_wrong(&self, file: usize) -> bool {
        self.states.get(file) == FileState::Wrong
    }

    /// Whether an earlier run delivered the file.
    pub(crate) fn is_delivered(&self, file: usize) -> bool {
        self.states.get(file) == FileState::Delivered
    }

    /// Records that an earlier run delivered the file, and that it has been verified.
    pub(crate) fn set_delivered(&self, file: usize) {
        self.states.set(file, FileState::Delivered);
    }

    /// Whether the file has pieces from an earlier run that wait for the others.
    pub(crate) fn is_unverified(&self, file: usize) -> bool {
        lock(&self.unverified).contains(&file)
    }

    /// Forgets the files that came out wrong with pieces from earlier runs, and returns them, ascending. Those pieces
    /// may be the wrong ones, so the caller writes these files again from all their parts.
    pub(crate) fn restart_wrong_files(&self) -> Vec<usize> {
        let mut unverified = lock(&self.unverified);
        let wrong: Vec<usize> = unverified.iter().copied().filter(|file| self.is_wrong(*file)).collect();
        for file in &wrong {
            unverified.remove(file);
            lock(&self.pieces).retain(|(of, _)| of != file);
            lock(&self.target_faults).remove(file);
            self.states.set(*file, FileState::Pending);
        }
        wrong
    }

    /// Evidence against the target for a file that is not whole.
    pub(crate) fn target_fault(&self, file: usize) -> Option<TargetFault> {
        lock(&self.target_faults).get(&file).copied()
    }

    /// A writer for one thread.
    pub(crate) fn writer(&'a self) -> FileWriter<'a> {
        FileWriter { extraction: self, placer: self.staging.placer(), current: None, part: PartRange::default() }
    }

    /// Returns a function that reads a piece of `file` back into a hasher, and compares it with what was written.
    fn rehash<'s>(
        &'s self,
        file: usize,
        placer: &'s mut Placer<'a>,
    ) -> impl FnMut(&PieceHash, u64, u64, &mut Hasher) -> Result<(), IoFault> {
        move |written, offset, len, hasher| {
            let read_back = placer.hash(&self.entries[file], offset, len, hasher)?;
            match written {
                Some(written) if *written == read_back => {}
                Some(_) => self.note_target_fault(file, TargetFault::Proven),
                None => self.note_target_fault(file, TargetFault::Possible),
            }
            Ok(())
        }
    }

    /// Keeps the strongest evidence for each file.
    fn note_target_fault(&self, file: usize, fault: TargetFault) {
        let mut faults = lock(&self.target_faults);
        let known = faults.entry(file).or_insert(fault);
        *known = fault.max(*known);
    }
}

/// Writes parts into files, one part after the other.
pub(crate) struct FileWriter<'a> {
    extraction: &'a Extraction<'a>,
    placer: Placer<'a>,
    current: Option<CurrentFile>,
    part: PartRange,
}

/// The tar range of the part being written.
#[derive(Default)]
struct PartRange {
    start: u64,
    end: u64,
    /// Whether all bytes of the range will come. If not, they end at the part's first damage.
    is_whole: bool,
}

/// The file whose bytes are being written.
struct CurrentFile {
    index: usize,
    /// Hashes the file; `None` while earlier bytes of it have not been hashed.
    hasher: Option<Hasher>,
    /// Without a hasher, hashes this piece alone, to compare it when it is read back. A file with holes has neither:
    /// its holes are not written.
    piece_hash: Option<Quick>,
    /// Offset in the file at which this part's piece begins.
    from: u64,
    /// Offset in the file behind the bytes that are written of it so far.
    to: u64,
}

impl<'a> FileWriter<'a> {
    /// Begins a part that holds the tar bytes from `start` to `end`. If it is not `whole`, its bytes end early, and
    /// only files that end before that are written.
    pub(crate) fn begin_part(&mut self, start: u64, end: u64, whole: bool) {
        self.part = PartRange { start, end, is_whole: whole };
    }

    /// Writes the bytes that lie at offset `at` of the tar. Within a part they come in order.
    pub(crate) fn write(&mut self, at: u64, bytes: &[u8]) -> Result<(), IoFault> {
        let end = at + bytes.len() as u64;
        let extraction = self.extraction;
        for index in extraction.contents.within(extraction.entries, at, end) {
            let entry = &extraction.entries[index];
            if !self.is_wanted(index, entry) {
                continue;
            }
            let from = entry.at.max(at);
            let to = (entry.at + entry.size).min(end);
            self.write_piece(index, from - entry.at, &bytes[(from - at) as usize..(to - at) as usize])?;
            if to == (entry.at + entry.size).min(self.part.end) {
                self.end_file()?;
            }
        }
        Ok(())
    }

    /// Ends the part, at its end or at its first damage.
    pub(crate) fn end_part(&mut self) -> Result<(), IoFault> {
        self.end_file()
    }

    /// Adopts a piece that an earlier run wrote: `len` bytes at offset `from` of the file. It is hashed once all bytes
    /// before it are written.
    pub(crate) fn adopt_piece(&mut self, index: usize, (from, len): (u64, u64)) -> Result<(), IoFault> {
        let extraction = self.extraction;
        lock(&extraction.unverified).insert(index);
        lock(&extraction.pieces).insert((index, from));
        let size = extraction.entries[index].size;
        let rehash = extraction.rehash(index, &mut self.placer);
        match extraction.lane.offer(index as u32, size, (from, len, None), rehash)? {
            Some(digest) => self.conclude(index, digest),
            None => Ok(()),
        }
    }

    /// Verifies a complete file that an earlier run staged. It is removed if its digest is not the one in the list, so
    /// that it is written anew.
    pub(crate) fn verify_staged(&mut self, index: usize) -> Result<(), IoFault> {
        let entry = &self.extraction.entries[index];
        let mut hasher = Hasher::new();
        self.placer.hash(entry, 0, entry.size, &mut hasher)?;
        let digest = hasher.finish();
        if entry.sha256 == Some(digest) { self.conclude(index, digest) } else { self.placer.remove(entry) }
    }

    /// This thread's access to the files in the staging folder.
    pub(crate) fn placer(&mut self) -> &mut Placer<'a> {
        &mut self.placer
    }

    /// Whether this part has bytes of the file that are still to be written.
    fn is_wanted(&self, index: usize, entry: &Entry) -> bool {
        if entry.flag == Flag::Unreadable || self.extraction.is_whole(index) {
            return false;
        }
        self.has_all_of(entry) || (self.part.is_whole && !self.is_written(index, entry))
    }

    /// Whether the file lies in this part alone.
    fn has_all_of(&self, entry: &Entry) -> bool {
        entry.at >= self.part.start && entry.at + entry.size <= self.part.end
    }

    /// Whether this part's piece of a longer file is written already.
    fn is_written(&self, index: usize, entry: &Entry) -> bool {
        lock(&self.extraction.pieces).contains(&(index, entry.at.max(self.part.start) - entry.at))
    }

    fn write_piece(&mut self, index: usize, offset: u64, bytes: &[u8]) -> Result<(), IoFault> {
        let entry = &self.extraction.entries[index];
        if self.current.as_ref().is_none_or(|current| current.index != index) {
            self.end_file()?;
            self.current = Some(self.begin_file(index, offset));
        }
        self.placer.write(index as u32, entry, offset, bytes, self.has_all_of(entry))?;
        let current = self.current.as_mut().expect("just set");
        if let Some(hasher) = &mut current.hasher {
            hasher.update(bytes);
        }
        if let Some(piece_hash) = &mut current.piece_hash {
            piece_hash.update(bytes);
        }
        current.to += bytes.len() as u64;
        Ok(())
    }

    fn begin_file(&self, index: usize, offset: u64) -> CurrentFile {
        let entry = &self.extraction.entries[index];
        let hasher =
            if self.has_all_of(entry) { Some(Hasher::new()) } else { self.extraction.lane.take(index as u32, offset) };
        let piece_hash = (hasher.is_none() && entry.holes.is_empty()).then(Quick::default);
        CurrentFile { index, hasher, piece_hash, from: offset, to: offset }
    }

    /// Closes the current file. A file that lies in this part alone is complete or dropped; the piece of a longer one
    /// joins the hash of its file.
    fn end_file(&mut self) -> Result<(), IoFault> {
        let Some(CurrentFile { index, hasher, piece_hash, from, to }) = self.current.take() else { return Ok(()) };
        let extraction = self.extraction;
        let entry = &extraction.entries[index];
        if self.has_all_of(entry) {
            return match hasher.filter(|_| to == entry.size) {
                Some(hasher) => self.conclude(index, hasher.finish()),
                None => self.placer.remove(entry),
            };
        }
        self.placer.leave();
        lock(&extraction.pieces).insert((index, from));
        let rehash = extraction.rehash(index, &mut self.placer);
        let digest = match hasher {
            Some(hasher) => extraction.lane.give_back(index as u32, entry.size, (to, hasher), rehash)?,
            None => {
                let piece = (from, to - from, piece_hash.map(Quick::finish));
                extraction.lane.offer(index as u32, entry.size, piece, rehash)?
            }
        };
        match digest {
            Some(digest) => self.conclude(index, digest),
            None => Ok(()),
        }
    }

    /// Sets mode and time of a complete file, and compares its digest with the list. A salvage may have neither list
    /// nor manifest: then there is nothing to compare with, and the file counts as whole.
    fn conclude(&mut self, index: usize, digest: Digest) -> Result<(), IoFault> {
        let entry = &self.extraction.entries[index];
        let dressed = self.placer.complete(entry)?;
        if entry.sha256.is_none_or(|expected| expected == digest) {
            self.extraction.staging.count(dressed);
            self.extraction.states.set(index, FileState::Verified);
        } else {
            self.extraction.states.set(index, FileState::Wrong);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
