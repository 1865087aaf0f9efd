//! Checking volumes: every file that SHA256SUMS names, read once, on all cores. Without a key
//! `sha256sum -c SHA256SUMS` in the volume's folder says the same. With one, parts are opened in the same pass.

use std::collections::HashSet;
use std::fs::File;
use std::io;
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::base::digest::{Digest, Hasher};
use crate::base::memory;
use crate::base::monitor::{Monitor, Phase, go_on};
use crate::base::os;
use crate::base::pool::{lock, unlocked, workers};
use crate::base::threads::start;
use crate::flow::FlowError;
use crate::flow::gone::is_gone;
use crate::flow::head_check::{HeadCheck, PartCheck};
use crate::flow::open::search;
use crate::flow::report::{CheckReport, Foreign, Freshness, NotSearched, State, VolumeCheck};
use crate::flow::sweep::{Piece, sweep};
use crate::format::{FormatError, is_unfinished, limits, part, sums};
use crate::stage::journal::JOURNAL;
use crate::stage::volume::{self, ALL_SEALS, HEADS, LIST, SUMS, ScanError, Volume};

const READ: usize = 1 << 20;

/// Checks all volumes at the given places.
pub fn check(paths: &[PathBuf], monitor: &dyn Monitor) -> Result<CheckReport, FlowError> {
    check_drives(paths, Freshness::AsTheyStand, None, monitor)
}

/// The same. Drives that can be pulled out are read past the system's cache, and so are all that were
/// plugged in again or mounted anew for it. What is of the bundle is held against its head.
pub fn check_drives(
    paths: &[PathBuf],
    freshness: Freshness,
    head: Option<&HeadCheck>,
    monitor: &dyn Monitor,
) -> Result<CheckReport, FlowError> {
    let (volumes, passed_over) = search(paths)?;
    let mut checks: Vec<VolumeCheck> = volumes.iter().map(blank).collect();
    let (mut jobs, mut lines) = (Vec::new(), 0);
    for (at, (volume, check)) in volumes.iter().zip(&mut checks).enumerate() {
        let head = head.filter(|head| head.is_of(volume));
        check.held = head.is_some();
        let drive = drive_of(volume, freshness);
        check.past_cache = drive.is_some() && is_past_cache(volume, freshness);
        for (sum, name) in some_of(listed(volume, check), &mut lines, check) {
            match volume.file(&name) {
                None => check.missing.push(name),
                Some(found) if !found.regular => check.damaged.push((name, "is not a regular file".into())),
                Some(found) => match impossible(&name, found.len) {
                    Some(why) => check.damaged.push((name, why)),
                    None => jobs.push(Job { volume: at, name, sum, len: found.len, drive, head }),
                },
            }
        }
    }
    monitor.phase(Phase::Checking, jobs.iter().map(|job| job.len).sum());
    for (job, read) in jobs.iter().zip(read_all(&volumes, &jobs, monitor)?) {
        let check = &mut checks[job.volume];
        check.read += 1;
        check.bytes += read.bytes;
        if let Err(why) = read.verdict {
            check.damaged.push((job.name.clone(), why));
        }
    }
    for (check, volume) in checks.iter_mut().zip(&volumes) {
        match head {
            Some(head) if check.held => hold(head, check, volume),
            Some(_) if check.trouble.is_none() => check.trouble = Some(NOT_OF_THE_BUNDLE.into()),
            _ => {}
        }
        conclude(check, volume);
    }
    let not_searched = passed_over.iter().filter(|place| place.folders() > 0).map(NotSearched::of).collect();
    Ok(CheckReport { volumes: checks, bundle: None, freshness, not_searched })
}

const NOT_OF_THE_BUNDLE: &str = "it is not of the bundle that the key opens: nothing in it was opened";

/// The drive of a volume, if it is to be read past the cache.
fn drive_of(volume: &Volume, freshness: Freshness) -> Option<u64> {
    let drive = os::room(&volume.dir).ok().map(|room| room.device);
    drive.filter(|device| freshness != Freshness::AsTheyStand || os::block(*device).is_removable())
}

fn is_past_cache(volume: &Volume, freshness: Freshness) -> bool {
    match freshness {
        Freshness::AsTheyStand => !File::open(&volume.dir).is_ok_and(|dir| os::is_cached_below(&dir)),
        Freshness::Remounted => false,
        Freshness::Replugged => true,
    }
}

struct Job<'a> {
    volume: usize,
    name: String,
    sum: Digest,
    len: u64,
    /// The drive, where it is read past the cache.
    drive: Option<u64>,
    /// The head, if the volume is of its bundle.
    head: Option<&'a HeadCheck<'a>>,
}

fn blank(volume: &Volume) -> VolumeCheck {
    VolumeCheck {
        folder: volume.dir.clone(),
        state: State::Whole,
        past_cache: false,
        held: false,
        files: 0,
        read: 0,
        bytes: 0,
        unchecked: None,
        damaged: Vec::new(),
        missing: Vec::new(),
        foreign: Foreign::default(),
        trouble: None,
    }
}

/// Adds what is not as the head says. Of a drive that is gone nothing is known.
fn hold(head: &HeadCheck, check: &mut VolumeCheck, volume: &Volume) {
    if is_gone(volume) {
        return;
    }
    let known: HashSet<String> = check.damaged.iter().map(|(name, _)| name).chain(&check.missing).cloned().collect();
    let wrong = head.wrong_index(volume).into_iter();
    check.damaged.extend(wrong.filter(|(name, _)| !known.contains(name)));
    check.missing.extend(head.missing_parts(volume).into_iter().filter(|name| !known.contains(name)));
}

/// What SHA256SUMS names; nothing, and trouble noted, where it cannot be used.
fn listed(volume: &Volume, check: &mut VolumeCheck) -> Vec<(Digest, String)> {
    let Some(read) = volume.read_small(SUMS, limits::SUMS_FILE) else {
        check.state = State::Incomplete;
        check.foreign = foreign(volume, |name| is_ours(name) || name == JOURNAL || is_unfinished(name));
        let there = || volume.files.iter().filter(|file| file.regular && is_ours(&file.name));
        check.unchecked = Some((there().count(), there().map(|file| file.len).sum()));
        check.trouble = Some(match volume.file(JOURNAL) {
            Some(_) => "packing was interrupted here: the same pack command goes on from there".into(),
            None => "there is no SHA256SUMS: the volume was never finished, or lost it".into(),
        });
        return Vec::new();
    };
    let parsed = match read {
        Ok(bytes) => sums::parse(&bytes),
        Err(ScanError::Format(error)) => Err(error),
        Err(ScanError::Io(fault)) => {
            check.state = State::Damaged;
            check.trouble = Some(fault.to_string());
            return Vec::new();
        }
    };
    match parsed {
        Ok(lines) => {
            check.files = lines.len();
            let names: HashSet<&str> = lines.iter().map(|(_, name)| name.as_str()).collect();
            check.foreign = foreign(volume, |name| names.contains(name) || name == SUMS || part::is_part(name));
            if !volume::has_all_small(|name| names.contains(name)) {
                check.state = State::Damaged;
                check.trouble =
                    Some("SHA256SUMS does not name a seal, the list and both heads: it was cut or changed".into());
            }
            let parts = volume.files.iter().filter(|file| part::is_part(&file.name));
            let unlisted: Vec<&str> =
                parts.map(|file| file.name.as_str()).filter(|name| !names.contains(name)).collect();
            check.damaged.extend(unlisted.iter().map(|name| (name.to_string(), "is not in SHA256SUMS".to_string())));
            lines
        }
        Err(error) => {
            let unsafe_file = matches!(error, FormatError::Unsafe { .. } | FormatError::Limit { .. });
            check.state = if unsafe_file { State::Unsafe } else { State::Damaged };
            check.trouble = Some(error.to_string());
            Vec::new()
        }
    }
}

/// What a volume lists, unless all of them list more than one run takes on.
fn some_of(listed: Vec<(Digest, String)>, lines: &mut u64, check: &mut VolumeCheck) -> Vec<(Digest, String)> {
    let all = *lines + listed.len() as u64;
    match FormatError::limit("the number of files that all SHA256SUMS list", all, limits::LISTED) {
        Ok(()) => {
            *lines = all;
            listed
        }
        Err(error) => {
            check.state = State::Unsafe;
            check.trouble = Some(format!("was not looked at: {error}; check it alone"));
            Vec::new()
        }
    }
}

/// Whether a file of a volume may be called that.
fn is_ours(name: &str) -> bool {
    ALL_SEALS.contains(&name) || HEADS.contains(&name) || name == LIST || part::is_part(name)
}

/// What lies in the folder and is not of the volume.
fn foreign(volume: &Volume, is_ours: impl Fn(&str) -> bool) -> Foreign {
    let others = || volume.files.iter().map(|file| &file.name).filter(|name| !is_ours(name));
    Foreign { count: others().count() + volume.odd, names: others().take(Foreign::NAMED).cloned().collect() }
}

/// What came of reading a file.
struct FileRead {
    bytes: u64,
    verdict: Result<(), String>,
}

/// A file while it is read.
struct Reading<'a> {
    job: &'a Job<'a>,
    hasher: Hasher,
    bytes: u64,
    part: Option<Result<PartCheck<'a>, String>>,
}

impl<'a> Reading<'a> {
    fn of(job: &'a Job<'a>) -> Self {
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
        let verdict = end.map_err(|error| format!("could not be read: {error}")).and_then(|()| self.verdict());
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

fn read_all(volumes: &[Volume], jobs: &[Job], monitor: &dyn Monitor) -> Result<Vec<FileRead>, FlowError> {
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
    jobs: &'a [Job<'a>],
    monitor: &'a dyn Monitor,
    results: Vec<Mutex<Option<FileRead>>>,
}

impl Work<'_> {
    /// All files of one drive, one after the other.
    fn drive(&self, drive: u64) {
        let own: Vec<usize> = (0..self.jobs.len()).filter(|at| self.jobs[*at].drive == Some(drive)).collect();
        let jobs: Vec<&Job> = own.iter().map(|at| &self.jobs[*at]).collect();
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
fn read_drive(volumes: &[Volume], jobs: &[&Job], monitor: &dyn Monitor, mut found: impl FnMut(usize, FileRead)) {
    let paths: Vec<PathBuf> = jobs.iter().map(|job| volumes[job.volume].dir.join(&job.name)).collect();
    let mut reading = None;
    sweep(&paths, monitor, |number, piece| {
        let current = reading.get_or_insert_with(|| Reading::of(jobs[number]));
        match piece {
            Piece::Bytes(bytes) => current.take(&bytes),
            Piece::End(end) => {
                if let Some(reading) = reading.take() {
                    found(number, reading.finish(end));
                }
            }
        }
    });
}

fn read(volume: &Volume, job: &Job, buf: &mut [u8], monitor: &dyn Monitor) -> FileRead {
    let file = match volume.open(&job.name) {
        Ok(file) => file,
        Err(fault) => return FileRead { bytes: 0, verdict: Err(fault.to_string()) },
    };
    let mut reading = Reading::of(job);
    let end = volume::read_through(file, buf, |bytes| {
        reading.take(bytes);
        monitor.advance(bytes.len() as u64);
        go_on(monitor)
    });
    reading.finish(end)
}

/// Why a file of that length cannot be what was written, whatever is in it: then it is not read,
/// for it may have no end.
pub fn impossible(name: &str, len: u64) -> Option<String> {
    let most = match name {
        volume::LIST => limits::LIST,
        name if volume::HEADS.contains(&name) => limits::HEAD,
        _ => limits::SEAL_FILE,
    };
    let wrong = match part::is_part(name) {
        true => !part::Class::ALL.map(|class| class.file_len() as u64).contains(&len),
        false => len > most,
    };
    match len {
        0 => Some("is empty".into()),
        _ if wrong => Some(format!("has a length that no such file has ({len} bytes)")),
        _ => None,
    }
}

fn conclude(check: &mut VolumeCheck, volume: &Volume) {
    if check.state == State::Unsafe {
        return;
    }
    let is_hurt = !check.damaged.is_empty() || !check.missing.is_empty() || check.state == State::Damaged;
    if is_hurt && is_gone(volume) {
        check.state = State::Gone;
        check.trouble = Some("the drive stopped answering while it was read".into());
    } else if !check.damaged.is_empty() {
        check.state = State::Damaged;
    } else if !check.missing.is_empty() && check.state == State::Whole {
        check.state = State::Incomplete;
    }
}
