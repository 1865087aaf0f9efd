//! Checking volumes: every file that SHA256SUMS names, read once, on all cores. Without a key
//! `sha256sum -c SHA256SUMS` in the volume's folder says the same. With one, parts are opened in the same pass.

pub mod read_files;
pub mod report;
pub mod survey;

use std::collections::HashSet;
use std::fs::File;
use std::path::PathBuf;

use crate::base::digest::Digest;
use crate::base::monitor::{Monitor, Phase};
use crate::base::os;
use crate::flow::bundle::head_check::HeadCheck;
use crate::flow::bundle::scan::{impossible, search};
use crate::flow::check::read_files::{FileFault, FileToRead, read_all};
use crate::flow::check::report::{CheckReport, Foreign, VolumeCheck, VolumeState};
use crate::flow::drives::replug::Freshness;
use crate::flow::drives::unreachable::is_gone;
use crate::flow::error::{Proof, outcome_of};
use crate::flow::{FlowError, Outcome};
use crate::format::{FormatError, is_unfinished, limits, part, sums};
use crate::stage::journal::JOURNAL;
use crate::stage::volume::{self, ALL_SEALS, HEADS, LIST, PassedOver, SUMS, ScanError, Volume};

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
                    None => jobs.push(FileToRead { volume: at, name, sum, len: found.len, drive, head }),
                },
            }
        }
    }
    monitor.phase(Phase::Checking, jobs.iter().map(|job| job.len).sum());
    for (job, read) in jobs.iter().zip(read_all(&volumes, &jobs, monitor)?) {
        let check = &mut checks[job.volume];
        check.read += 1;
        check.bytes += read.bytes;
        match read.verdict {
            Ok(()) => {}
            Err(FileFault::Denied(why)) => check.unread.push((job.name.clone(), why)),
            Err(FileFault::Wrong(why)) => check.damaged.push((job.name.clone(), why)),
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
    let has_more = |place: &PassedOver| place.no_volume || place.folders() > 0;
    let not_searched = passed_over.into_iter().filter(has_more).collect();
    Ok(CheckReport { volumes: checks, bundle: None, freshness, not_searched })
}

const NOT_OF_THE_BUNDLE: &str = "it is not of the bundle that was looked at with the key: nothing in it was opened";

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

fn blank(volume: &Volume) -> VolumeCheck {
    VolumeCheck {
        folder: volume.dir.clone(),
        state: VolumeState::Whole,
        past_cache: false,
        held: false,
        files: 0,
        read: 0,
        bytes: 0,
        unchecked: None,
        damaged: Vec::new(),
        missing: Vec::new(),
        unread: Vec::new(),
        foreign: Foreign::default(),
        trouble: None,
    }
}

/// What keeps a whole volume from being checked.
fn troubled(check: &mut VolumeCheck, error: &ScanError) {
    (check.state, check.trouble) = match error {
        ScanError::Io(fault) if fault.is_denied() => (VolumeState::Unreadable, Some(fault.to_string())),
        ScanError::Io(fault) => (VolumeState::Damaged, Some(fault.to_string())),
        ScanError::Format(error) => match outcome_of(error, Proof::None) {
            Outcome::Hostile => (VolumeState::Unsafe, Some(error.to_string())),
            _ => (VolumeState::Damaged, Some(error.to_string())),
        },
    };
}

/// Adds what is not as the head says. Of a drive that is gone, and of what this user may not read, nothing is known.
fn hold(head: &HeadCheck, check: &mut VolumeCheck, volume: &Volume) {
    if is_gone(volume) {
        return;
    }
    let known = check.damaged.iter().chain(&check.unread).map(|(name, _)| name).chain(&check.missing);
    let known: HashSet<String> = known.cloned().collect();
    let is_closed = |name: &str| volume.open(name).is_err_and(|fault| fault.is_denied());
    for (name, why) in head.wrong_index(volume).into_iter().filter(|(name, _)| !known.contains(name)) {
        match is_closed(&name) {
            true => check.unread.push((name, "could not be read by you".into())),
            false => check.damaged.push((name, why)),
        }
    }
    check.missing.extend(head.missing_parts(volume).into_iter().filter(|name| !known.contains(name)));
}

/// What SHA256SUMS names; nothing, and trouble noted, where it cannot be used.
fn listed(volume: &Volume, check: &mut VolumeCheck) -> Vec<(Digest, String)> {
    if let Some(fault) = &volume.fault {
        troubled(check, fault);
        return Vec::new();
    }
    let Some(read) = volume.read_small(SUMS, limits::SUMS_FILE) else {
        check.state = VolumeState::Incomplete;
        check.foreign = foreign(volume, |name| is_ours(name) || name == JOURNAL || is_unfinished(name));
        let there = || volume.files.iter().filter(|file| file.regular && is_ours(&file.name));
        check.unchecked = Some((there().count(), there().map(|file| file.len).sum()));
        check.trouble = Some(match volume.file(JOURNAL) {
            Some(_) => "packing was interrupted here: the same pack command goes on from there".into(),
            None => "there is no SHA256SUMS: the volume was never finished, or lost it".into(),
        });
        return Vec::new();
    };
    match read.and_then(|bytes| Ok(sums::parse(&bytes)?)) {
        Ok(lines) => {
            check.files = lines.len();
            let names: HashSet<&str> = lines.iter().map(|(_, name)| name.as_str()).collect();
            check.foreign = foreign(volume, |name| names.contains(name) || name == SUMS || part::is_part(name));
            if !volume::has_all_small(|name| names.contains(name)) {
                check.state = VolumeState::Damaged;
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
            troubled(check, &error);
            Vec::new()
        }
    }
}

/// What a volume lists, unless all of them list more than one run takes on.
fn some_of(listed: Vec<(Digest, String)>, lines: &mut u64, check: &mut VolumeCheck) -> Vec<(Digest, String)> {
    let all = *lines + listed.len() as u64;
    match FormatError::check_limit("the number of files that all SHA256SUMS list", all, limits::LISTED) {
        Ok(()) => {
            *lines = all;
            listed
        }
        Err(error) => {
            check.state = VolumeState::Unsafe;
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
    Foreign { count: others().count() + volume.others, names: others().take(Foreign::NAMED).cloned().collect() }
}

fn conclude(check: &mut VolumeCheck, volume: &Volume) {
    if check.state == VolumeState::Unsafe {
        return;
    }
    let is_hurt = !check.damaged.is_empty() || !check.missing.is_empty() || check.state == VolumeState::Damaged;
    if is_hurt && is_gone(volume) {
        check.state = VolumeState::Gone;
        check.trouble = Some("the drive stopped answering while it was read".into());
    } else if !check.damaged.is_empty() {
        check.state = VolumeState::Damaged;
    } else if !check.unread.is_empty() {
        check.state = VolumeState::Unreadable;
    } else if !check.missing.is_empty() && check.state == VolumeState::Whole {
        check.state = VolumeState::Incomplete;
    }
}
