//! Reads files of volumes once and hashes them: on all cores, or past the cache with one thread for each drive. With a
//! head, parts are opened in the same pass. Not told here: which files there should be.

use std::collections::BTreeSet;
use std::io;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::base::digest::{Digest, Hasher};
use crate::base::fault::is_denied;
use crate::base::memory;
use crate::base::monitor::{Monitor, check_not_cancelled};
use crate::base::pool::{lock, unlocked, workers};
use crate::base::threads::start;
use crate::flow::FlowError;
use crate::flow::bundle::head_check::{HeadCheck, PartCheck};
use crate::flow::bundle::scan::longest_file;
use crate::flow::drives::read_in_order::{SweptFile, SweptPiece, endless, sweep};
use crate::format::part;
use crate::stage::volume::{self, Volume};

/// Bytes of one read.
const READ: usize = 1 << 20;

/// A file to read, and the digest that it should have.
pub(super) struct FileToRead<'a> {
    /// The index of its volume in the volumes given.
    pub(super) volume: usize,
    pub(super) name: String,
    pub(super) sum: Digest,
    /// In bytes, as the folder showed it.
    pub(super) len: u64,
    /// The device number of its drive if it is read past the cache, else `None`.
    pub(super) drive: Option<u64>,
    /// `None` without a key, and if the volume is not of the bundle.
    pub(super) head: Option<&'a HeadCheck<'a>>,
}

/// What a file turned out to be.
pub(super) struct FileRead {
    /// How many bytes were read.
    pub(super) bytes: u64,
    pub(super) verdict: Result<(), FileFault>,
}

/// What keeps a file from being called whole.
pub(super) enum FileFault {
    /// This user may not read the file. So nothing is known of it.
    Denied(String),
    /// The file is not what it should be, or the drive fails to return it.
    Wrong(String),
}

impl From<io::Error> for FileFault {
    fn from(error: io::Error) -> Self {
        if is_denied(&error) {
            FileFault::Denied(format!("could not be read by you: {error}"))
        } else {
            FileFault::Wrong(format!("could not be read: {error}"))
        }
    }
}

/// A file that is being read.
struct FileReading<'a> {
    job: &'a FileToRead<'a>,
    hasher: Hasher,
    bytes: u64,
    /// Opens the part while it is read; `Err` says why the head has no such part. `None` if nothing is to be opened.
    part: Option<Result<PartCheck<'a>, String>>,
}

impl<'a> FileReading<'a> {
    fn of(job: &'a FileToRead<'a>) -> Self {
        let part = job.head.filter(|_| part::is_part(&job.name)).map(|head| head.part(&job.name));
        Self { job, hasher: Hasher::new(), bytes: 0, part }
    }

    fn take(&mut self, bytes: &[u8]) {
        self.hasher.update(bytes);
        self.bytes += bytes.len() as u64;
        if let Some(Ok(part)) = &mut self.part {
            part.take(bytes);
        }
    }

    /// `end` is how the reading ended. After an error of the drive the digest tells nothing.
    fn finish(self, end: io::Result<()>) -> FileRead {
        let bytes = self.bytes;
        let verdict = end.map_err(FileFault::from).and_then(|()| self.verdict().map_err(FileFault::Wrong));
        FileRead { bytes, verdict }
    }

    /// Judges by SHA256SUMS and, with a key, by the head. If only SHA256SUMS differs, the file itself is good.
    fn verdict(self) -> Result<(), String> {
        let sum = self.hasher.finish();
        let part = self.part.map(|part| part.and_then(|part| part.finish(sum)));
        if sum == self.job.sum {
            return part.unwrap_or(Ok(()));
        }
        if part == Some(Ok(())) {
            return Err("is the part that the head names, and SHA256SUMS has another SHA-256 for it".into());
        }
        let is_cut = self.bytes < self.job.len;
        let cut = if is_cut { format!(", and ends after {} bytes", self.bytes) } else { String::new() };
        Err(format!("has another SHA-256 than when it was written{cut}"))
    }
}

/// Reads all files. Returns what each turned out to be, in their order.
///
/// # Errors
/// Only if the user stopped the run. A file that cannot be read has a verdict.
pub(super) fn read_all(
    volumes: &[Volume],
    jobs: &[FileToRead],
    monitor: &dyn Monitor,
) -> Result<Vec<FileRead>, FlowError> {
    let results = jobs.iter().map(|_| Mutex::default()).collect();
    let work = SharedReading { volumes, jobs, monitor, results };
    let cached: Vec<usize> = (0..jobs.len()).filter(|at| jobs[*at].drive.is_none()).collect();
    let drives: BTreeSet<u64> = jobs.iter().filter_map(|job| job.drive).collect();
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        let work = &work;
        let mut unstarted = Vec::new();
        for drive in drives {
            if start(scope, move || work.read_drive(drive)).is_err() {
                unstarted.push(drive);
            }
        }
        for _ in 1..workers().min(cached.len()) {
            if start(scope, || work.read_shared(&cached, &next)).is_err() {
                break;
            }
        }
        // This thread does the work of those that the system did not start.
        unstarted.into_iter().for_each(|drive| work.read_drive(drive));
        work.read_shared(&cached, &next);
    });
    // Only a run that was stopped leaves files without a result.
    let all: Option<Vec<FileRead>> = work.results.into_iter().map(unlocked).collect();
    all.filter(|_| !monitor.cancelled()).ok_or(FlowError::Cancelled)
}

/// All files to read, shared by the threads that read them.
struct SharedReading<'a> {
    volumes: &'a [Volume],
    jobs: &'a [FileToRead<'a>],
    monitor: &'a dyn Monitor,
    /// One for each of `jobs`; `None` until the file was read.
    results: Vec<Mutex<Option<FileRead>>>,
}

impl SharedReading<'_> {
    /// Reads all files of one drive past the cache, one after the other.
    fn read_drive(&self, drive: u64) {
        let own: Vec<usize> = (0..self.jobs.len()).filter(|at| self.jobs[*at].drive == Some(drive)).collect();
        let jobs: Vec<&FileToRead> = own.iter().map(|at| &self.jobs[*at]).collect();
        sweep_files(self.volumes, &jobs, self.monitor, |number, read| *lock(&self.results[own[number]]) = Some(read));
    }

    /// Reads those of these files that no other thread takes, until all are taken.
    fn read_shared(&self, files: &[usize], next: &AtomicUsize) {
        let mut buf = memory::zeros(READ);
        loop {
            let at = next.fetch_add(1, Ordering::Relaxed);
            let Some(at) = files.get(at).filter(|_| !self.monitor.cancelled()) else { break };
            let job = &self.jobs[*at];
            *lock(&self.results[*at]) = Some(read(&self.volumes[job.volume], job, &mut buf, self.monitor));
        }
    }
}

/// Reads files of one drive past the cache, one after the other. `found` gets the index of each and its result.
fn sweep_files(
    volumes: &[Volume],
    jobs: &[&FileToRead],
    monitor: &dyn Monitor,
    mut found: impl FnMut(usize, FileRead),
) {
    let swept =
        |job: &&FileToRead| SweptFile { path: volumes[job.volume].path(&job.name), most: longest_file(&job.name) };
    let files: Vec<SweptFile> = jobs.iter().map(swept).collect();
    let mut reading = None;
    sweep(&files, monitor, |number, piece| {
        let current = reading.get_or_insert_with(|| FileReading::of(jobs[number]));
        match piece {
            SweptPiece::Bytes(bytes) => current.take(&bytes),
            SweptPiece::End(end) => {
                if let Some(reading) = reading.take() {
                    found(number, reading.finish(end));
                }
            }
        }
    });
}

/// Reads one file through the cache. Stops behind the most bytes that a file of that name has: some files have no end.
fn read(volume: &Volume, job: &FileToRead, buf: &mut [u8], monitor: &dyn Monitor) -> FileRead {
    let file = match volume.open(&job.name) {
        Ok(file) => file,
        Err(fault) => return FileRead { bytes: 0, verdict: Err(fault.source.into()) },
    };
    let mut reading = FileReading::of(job);
    let most = longest_file(&job.name);
    let end = volume::read_through(file, buf, |bytes| {
        reading.take(bytes);
        monitor.advance(bytes.len() as u64);
        if reading.bytes > most { Err(endless()) } else { check_not_cancelled(monitor) }
    });
    reading.finish(end)
}

#[cfg(test)]
mod tests;
