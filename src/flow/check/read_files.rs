//! Files of volumes, read once and hashed, on all cores or past the cache of each drive; with a head, parts are opened
//! in the same pass. What this does not tell: which files there should be.

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

const READ: usize = 1 << 20;

/// A file to be read, and the digest that it should have.
pub(super) struct FileToRead<'a> {
    pub(super) volume: usize,
    pub(super) name: String,
    pub(super) sum: Digest,
    pub(super) len: u64,
    /// The drive, where it is read past the cache.
    pub(super) drive: Option<u64>,
    /// The head, if the volume is of its bundle.
    pub(super) head: Option<&'a HeadCheck<'a>>,
}

/// What came of reading a file.
pub(super) struct FileRead {
    pub(super) bytes: u64,
    pub(super) verdict: Result<(), FileFault>,
}

/// What keeps a file from being called whole.
pub(super) enum FileFault {
    /// This user may not read it: nothing is known of it.
    Denied(String),
    /// It is not what it should be, or the drive does not give it back.
    Wrong(String),
}

impl From<io::Error> for FileFault {
    fn from(error: io::Error) -> Self {
        match is_denied(&error) {
            true => FileFault::Denied(format!("could not be read by you: {error}")),
            false => FileFault::Wrong(format!("could not be read: {error}")),
        }
    }
}

/// A file while it is read.
struct FileReading<'a> {
    job: &'a FileToRead<'a>,
    hasher: Hasher,
    bytes: u64,
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

    fn finish(self, end: io::Result<()>) -> FileRead {
        let bytes = self.bytes;
        let verdict = end.map_err(FileFault::from).and_then(|()| self.verdict().map_err(FileFault::Wrong));
        FileRead { bytes, verdict }
    }

    fn verdict(self) -> Result<(), String> {
        let sum = self.hasher.finish();
        let part = self.part.map(|part| part.and_then(|part| part.finish(sum)));
        if sum == self.job.sum {
            return part.unwrap_or(Ok(()));
        }
        if part == Some(Ok(())) {
            return Err("is the part that the head names, and SHA256SUMS has another SHA-256 for it".into());
        }
        let cut =
            if self.bytes < self.job.len { format!(", and ends after {} bytes", self.bytes) } else { String::new() };
        Err(format!("has another SHA-256 than when it was written{cut}"))
    }
}

pub(super) fn read_all(
    volumes: &[Volume],
    jobs: &[FileToRead],
    monitor: &dyn Monitor,
) -> Result<Vec<FileRead>, FlowError> {
    let results = jobs.iter().map(|_| Mutex::default()).collect();
    let work = Work { volumes, jobs, monitor, results };
    let anywhere: Vec<usize> = (0..jobs.len()).filter(|at| jobs[*at].drive.is_none()).collect();
    let mut drives: Vec<u64> = jobs.iter().filter_map(|job| job.drive).collect();
    drives.sort_unstable();
    drives.dedup();
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        let (work, next, anywhere) = (&work, &next, &anywhere[..]);
        drives.retain(|drive| {
            let drive = *drive;
            start(scope, move || work.drive(drive)).is_err()
        });
        for _ in 1..workers().min(anywhere.len()) {
            if start(scope, || work.some_of(anywhere, next)).is_err() {
                break;
            }
        }
        // Here is done what there is no thread for.
        drives.iter().for_each(|drive| work.drive(*drive));
        work.some_of(anywhere, next);
    });
    // Only a run that is to stop leaves some of them.
    let all: Option<Vec<FileRead>> = work.results.into_iter().map(unlocked).collect();
    all.filter(|_| !monitor.cancelled()).ok_or(FlowError::Cancelled)
}

/// Files that are read, and what came of each.
struct Work<'a> {
    volumes: &'a [Volume],
    jobs: &'a [FileToRead<'a>],
    monitor: &'a dyn Monitor,
    results: Vec<Mutex<Option<FileRead>>>,
}

impl Work<'_> {
    /// All files of one drive, one after the other.
    fn drive(&self, drive: u64) {
        let own: Vec<usize> = (0..self.jobs.len()).filter(|at| self.jobs[*at].drive == Some(drive)).collect();
        let jobs: Vec<&FileToRead> = own.iter().map(|at| &self.jobs[*at]).collect();
        read_drive(self.volumes, &jobs, self.monitor, |number, read| *lock(&self.results[own[number]]) = Some(read));
    }

    /// Those of these files that no other thread has taken.
    fn some_of(&self, files: &[usize], next: &AtomicUsize) {
        let mut buf = memory::zeros(READ);
        loop {
            let at = next.fetch_add(1, Ordering::Relaxed);
            let Some(at) = files.get(at).filter(|_| !self.monitor.cancelled()) else { break };
            let job = &self.jobs[*at];
            *lock(&self.results[*at]) = Some(read(&self.volumes[job.volume], job, &mut buf, self.monitor));
        }
    }
}

/// Reads files of one drive past the cache.
fn read_drive(volumes: &[Volume], jobs: &[&FileToRead], monitor: &dyn Monitor, mut found: impl FnMut(usize, FileRead)) {
    let file =
        |job: &&FileToRead| SweptFile { path: volumes[job.volume].path(&job.name), most: longest_file(&job.name) };
    let files: Vec<SweptFile> = jobs.iter().map(file).collect();
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

fn read(volume: &Volume, job: &FileToRead, buf: &mut [u8], monitor: &dyn Monitor) -> FileRead {
    let file = match volume.open(&job.name) {
        Ok(file) => file,
        Err(fault) => return FileRead { bytes: 0, verdict: Err(fault.source.into()) },
    };
    let (mut reading, most) = (FileReading::of(job), longest_file(&job.name));
    let end = volume::read_through(file, buf, |bytes| {
        reading.take(bytes);
        monitor.advance(bytes.len() as u64);
        if reading.bytes > most { Err(endless()) } else { check_not_cancelled(monitor) }
    });
    reading.finish(end)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::monitor::Silent;
    use crate::format::limits;

    #[test]
    fn a_file_that_goes_on_behind_its_end_is_not_read_for_ever() {
        let drive = tempfile::tempdir().unwrap();
        std::fs::write(drive.path().join("seal.age"), vec![7; 8 << 20]).unwrap();
        let volume = volume::read(drive.path()).unwrap();
        // Both as it stands, and past the cache of its drive.
        for drive in [None, Some(1)] {
            let job =
                FileToRead { volume: 0, name: "seal.age".into(), sum: Digest([0; 32]), len: 400, drive, head: None };
            let read = read_all(std::slice::from_ref(&volume), &[job], &Silent).unwrap().pop().unwrap();
            assert!(read.bytes <= limits::SEAL_FILE + 2 * READ as u64, "{}", read.bytes);
            let Err(FileFault::Wrong(why)) = read.verdict else { panic!("it is no seal") };
            assert!(why.contains("more bytes than any such file"), "{why}");
        }
    }
}
