//! Checking volumes without any key: every file that SHA256SUMS names, read once, on all cores.
//! `sha256sum -c SHA256SUMS` in the volume's folder says the same.

use std::collections::HashSet;
use std::fs::File;
use std::io;
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::base::digest::Digest;
use crate::base::memory;
use crate::base::monitor::{Monitor, Phase, go_on};
use crate::base::os;
use crate::base::pool::{lock, unlocked, workers};
use crate::base::threads::start;
use crate::flow::FlowError;
use crate::flow::gone::is_gone;
use crate::flow::open::gather_all;
use crate::flow::report::{CheckReport, Freshness, State, VolumeCheck};
use crate::flow::sweep::sweep;
use crate::format::{FormatError, limits, part, sums};
use crate::stage::journal::JOURNAL;
use crate::stage::volume::{self, SUMS, ScanError, Scanned, Volume};

const READ: usize = 1 << 20;

/// Checks all volumes at the given places.
pub fn check(paths: &[PathBuf], monitor: &dyn Monitor) -> Result<CheckReport, FlowError> {
    check_drives(paths, Freshness::AsTheyStand, monitor)
}

/// The same. Drives that can be pulled out are read past the system's cache, and so are all that were
/// plugged in again or mounted anew for it.
pub fn check_drives(paths: &[PathBuf], freshness: Freshness, monitor: &dyn Monitor) -> Result<CheckReport, FlowError> {
    let Scanned { volumes, passed_over } = gather_all(paths)?;
    let mut checks: Vec<VolumeCheck> = volumes.iter().map(blank).collect();
    let (mut jobs, mut lines) = (Vec::new(), 0);
    for (at, (volume, check)) in volumes.iter().zip(&mut checks).enumerate() {
        let drive = os::room(&volume.dir).ok().map(|room| room.device);
        let drive = drive.filter(|device| freshness != Freshness::AsTheyStand || os::block(*device).is_removable());
        let is_cached_below = || File::open(&volume.dir).is_ok_and(|dir| os::is_cached_below(&dir));
        check.past_cache = drive.is_some()
            && match freshness {
                Freshness::AsTheyStand => !is_cached_below(),
                Freshness::Remounted => false,
                Freshness::Replugged => true,
            };
        for (sum, name) in some_of(listed(volume, check), &mut lines, check) {
            match volume.file(&name) {
                None => check.missing.push(name),
                Some(found) if !found.regular => check.damaged.push((name, "is not a regular file".into())),
                Some(found) => match impossible(&name, found.len) {
                    Some(why) => check.damaged.push((name, why)),
                    None => jobs.push(Job { volume: at, name, sum, len: found.len, drive }),
                },
            }
        }
    }
    monitor.phase(Phase::Checking, jobs.iter().map(|job| job.len).sum());
    for (job, result) in jobs.iter().zip(hash_all(&volumes, &jobs, monitor)?) {
        let check = &mut checks[job.volume];
        check.bytes += job.len;
        if let Err(why) = result {
            check.damaged.push((job.name.clone(), why));
        }
    }
    for (check, volume) in checks.iter_mut().zip(&volumes) {
        conclude(check, volume);
    }
    Ok(CheckReport { volumes: checks, bundle: None, freshness, passed_over })
}

struct Job {
    volume: usize,
    name: String,
    sum: Digest,
    len: u64,
    /// The drive, where it is read past the cache.
    drive: Option<u64>,
}

fn blank(volume: &Volume) -> VolumeCheck {
    VolumeCheck {
        folder: volume.dir.clone(),
        state: State::Whole,
        past_cache: false,
        files: 0,
        bytes: 0,
        damaged: Vec::new(),
        missing: Vec::new(),
        trouble: None,
    }
}

/// What SHA256SUMS names; nothing, and trouble noted, where it cannot be used.
fn listed(volume: &Volume, check: &mut VolumeCheck) -> Vec<(Digest, String)> {
    let Some(read) = volume.read_small(SUMS, limits::SUMS_FILE) else {
        check.state = State::Incomplete;
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

type Verdict = Result<(), String>;

fn hash_all(volumes: &[Volume], jobs: &[Job], monitor: &dyn Monitor) -> Result<Vec<Verdict>, FlowError> {
    let hashing = Hashing { volumes, jobs, monitor, results: jobs.iter().map(|_| Mutex::new(Ok(()))).collect() };
    let anywhere: Vec<usize> = (0..jobs.len()).filter(|at| jobs[*at].drive.is_none()).collect();
    let mut drives: Vec<u64> = jobs.iter().filter_map(|job| job.drive).collect();
    drives.sort_unstable();
    drives.dedup();
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        let (hashing, next, anywhere) = (&hashing, &next, &anywhere[..]);
        drives.retain(|drive| {
            let drive = *drive;
            start(scope, move || hashing.drive(drive)).is_err()
        });
        for _ in 1..workers().min(anywhere.len()) {
            if start(scope, || hashing.some_of(anywhere, next)).is_err() {
                break;
            }
        }
        // Here is done what there is no thread for.
        drives.iter().for_each(|drive| hashing.drive(*drive));
        hashing.some_of(anywhere, next);
    });
    if monitor.cancelled() {
        return Err(FlowError::Cancelled);
    }
    Ok(hashing.results.into_iter().map(unlocked).collect())
}

/// Files that are hashed, and what came of each.
struct Hashing<'a> {
    volumes: &'a [Volume],
    jobs: &'a [Job],
    monitor: &'a dyn Monitor,
    results: Vec<Mutex<Verdict>>,
}

impl Hashing<'_> {
    /// All files of one drive, one after the other.
    fn drive(&self, drive: u64) {
        let own: Vec<usize> = (0..self.jobs.len()).filter(|at| self.jobs[*at].drive == Some(drive)).collect();
        let path = |at: &usize| self.volumes[self.jobs[*at].volume].dir.join(&self.jobs[*at].name);
        let paths: Vec<PathBuf> = own.iter().map(path).collect();
        sweep(&paths, self.monitor, |number, read| {
            *lock(&self.results[own[number]]) = verdict(&self.jobs[own[number]], read);
        });
    }

    /// Those of these files that no other thread has taken.
    fn some_of(&self, files: &[usize], next: &AtomicUsize) {
        let mut buf = memory::zeros(READ);
        loop {
            let at = next.fetch_add(1, Ordering::Relaxed);
            let Some(at) = files.get(at).filter(|_| !self.monitor.cancelled()) else { break };
            let job = &self.jobs[*at];
            *lock(&self.results[*at]) = hash(&self.volumes[job.volume], job, &mut buf, self.monitor);
        }
    }
}

fn hash(volume: &Volume, job: &Job, buf: &mut [u8], monitor: &dyn Monitor) -> Verdict {
    let file = volume.open(&job.name).map_err(|fault| fault.to_string())?;
    let tick = |bytes| {
        monitor.advance(bytes);
        go_on(monitor)
    };
    verdict(job, volume::digest(file, buf, tick))
}

fn verdict(job: &Job, read: io::Result<(Digest, u64)>) -> Verdict {
    let (found, len) = read.map_err(|error| format!("could not be read: {error}"))?;
    if found == job.sum {
        return Ok(());
    }
    let cut = if len < job.len { format!(", and ends after {len} bytes") } else { String::new() };
    Err(format!("has another SHA-256 than when it was written{cut}"))
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
