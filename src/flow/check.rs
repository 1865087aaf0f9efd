//! Checks volumes: reads every file that SHA256SUMS names once, on all cores, and compares it with its hash. Without a
//! key, `sha256sum -c SHA256SUMS` in the folder of the volume says the same. With a key, the same pass opens the parts.
//!
//! Not guaranteed: who wrote a volume, or that the other volumes of the bundle exist. SHA256SUMS is not authenticated.
//! Of a drive that is gone, and of files that this user may not read, nothing is known.

pub(crate) mod read_files;
pub(crate) mod report;
pub(crate) mod survey;

use std::collections::HashSet;
use std::fs::File;
use std::path::PathBuf;

use crate::base::monitor::{Monitor, Phase};
use crate::base::os;
use crate::flow::bundle::head_check::HeadCheck;
use crate::flow::bundle::scan::{impossible, search};
use crate::flow::check::read_files::{FileFault, FileRead, FileToRead, read_all};
use crate::flow::check::report::{CheckReport, Foreign, VolumeCheck, VolumeState};
use crate::flow::drives::replug::Freshness;
use crate::flow::drives::unreachable::is_gone;
use crate::flow::error::{Proof, outcome_of};
use crate::flow::{FlowError, Outcome};
use crate::format::sums::{self, NamedDigest};
use crate::format::{FormatError, is_unfinished, limits, part};
use crate::stage::journal::JOURNAL;
use crate::stage::volume::{self, ALL_SEALS, HEADS, LIST, SUMS, ScanError, Volume};

/// Checks all volumes at the given places as they stand, without a key.
pub(crate) fn check(paths: &[PathBuf], monitor: &dyn Monitor) -> Result<CheckReport, FlowError> {
    check_drives(paths, Freshness::AsTheyStand, None, monitor)
}

/// Checks all volumes at the given places. Removable drives are read past the system's cache, and so are all drives
/// that were plugged in again or mounted anew for this check. With a `head`, the files of its bundle are compared with
/// it too.
///
/// # Errors
/// No volume was found, or the user stopped the run. A volume that is not whole is no error but in the report.
pub(crate) fn check_drives(
    paths: &[PathBuf],
    freshness: Freshness,
    head: Option<&HeadCheck>,
    monitor: &dyn Monitor,
) -> Result<CheckReport, FlowError> {
    let (volumes, passed_over) = search(paths)?;
    let mut checks: Vec<VolumeCheck> = Vec::with_capacity(volumes.len());
    let mut files: Vec<FileToRead> = Vec::new();
    let mut total = ListedTotal::default();
    for (at, volume) in volumes.iter().enumerate() {
        let own_head = head.filter(|head| head.is_of(volume));
        let drive = drive_past_cache(volume, freshness);
        let mut check = VolumeCheck::of(&volume.dir);
        check.held = own_head.is_some();
        check.past_cache = drive.is_some() && is_past_cache(volume, freshness);
        for NamedDigest { name, sha256: sum } in total.admit(listed_files(volume, &mut check), &mut check) {
            if let Some(len) = len_to_read(volume, &name, &mut check) {
                files.push(FileToRead { volume: at, name, sum, len, drive, head: own_head });
            }
        }
        checks.push(check);
    }
    monitor.phase(Phase::Checking, files.iter().map(|file| file.len).sum());
    for (file, read) in files.iter().zip(read_all(&volumes, &files, monitor)?) {
        add_read(&mut checks[file.volume], &file.name, read);
    }
    for (check, volume) in checks.iter_mut().zip(&volumes) {
        compare_with_head(check, volume, head);
        conclude(check, volume);
    }
    let not_searched = passed_over.into_iter().filter(|place| place.no_volume || place.folders() > 0).collect();
    Ok(CheckReport { volumes: checks, bundle: None, freshness, not_searched })
}

const NOT_OF_THE_BUNDLE: &str = "it is not of the bundle that was looked at with the key: nothing in it was opened";

/// The device number of a volume's drive; `None` if the volume is read through the system's cache.
fn drive_past_cache(volume: &Volume, freshness: Freshness) -> Option<u64> {
    let drive = os::room(&volume.dir).ok().map(|room| room.device);
    drive.filter(|device| freshness != Freshness::AsTheyStand || os::block(*device).is_removable())
}

/// Whether what is read comes from the drive itself. After a mere mount a cache below the file system may still answer;
/// after unplugging none can.
fn is_past_cache(volume: &Volume, freshness: Freshness) -> bool {
    match freshness {
        Freshness::AsTheyStand => !File::open(&volume.dir).is_ok_and(|dir| os::is_cached_below(&dir)),
        Freshness::Remounted => false,
        Freshness::Replugged => true,
    }
}

/// How many files the SHA256SUMS of all volumes list so far. The limit keeps many planted volumes from taking all the
/// memory.
#[derive(Default)]
struct ListedTotal(u64);

impl ListedTotal {
    /// Returns the listed files of one more volume. A volume that would exceed the limit is called unsafe instead, and
    /// does not count for the volumes after it.
    fn admit(&mut self, listed: Vec<NamedDigest>, check: &mut VolumeCheck) -> Vec<NamedDigest> {
        let all = self.0 + listed.len() as u64;
        match FormatError::check_limit("the number of files that all SHA256SUMS list", all, limits::LISTED) {
            Ok(()) => {
                self.0 = all;
                listed
            }
            Err(error) => {
                check.state = VolumeState::Unsafe;
                check.trouble = Some(format!("was not looked at: {error}; check it alone"));
                Vec::new()
            }
        }
    }
}

/// The files that SHA256SUMS names, with their hashes. If it cannot be used, there are none and `check` says why.
fn listed_files(volume: &Volume, check: &mut VolumeCheck) -> Vec<NamedDigest> {
    if let Some(fault) = &volume.fault {
        (check.state, check.trouble) = unusable(fault);
        return Vec::new();
    }
    let Some(read) = volume.read_small(SUMS, limits::SUMS_FILE) else {
        describe_unfinished(volume, check);
        return Vec::new();
    };
    match read.and_then(|bytes| Ok(sums::parse(&bytes)?)) {
        Ok(lines) => {
            check.files = lines.len();
            compare_listing(volume, &lines, check);
            lines
        }
        Err(error) => {
            (check.state, check.trouble) = unusable(&error);
            Vec::new()
        }
    }
}

/// The state of a volume whose folder or SHA256SUMS cannot be used, and the reason in words.
fn unusable(error: &ScanError) -> (VolumeState, Option<String>) {
    match error {
        ScanError::Io(fault) if fault.is_denied() => (VolumeState::Unreadable, Some(fault.to_string())),
        ScanError::Io(fault) => (VolumeState::Damaged, Some(fault.to_string())),
        ScanError::Format(error) if outcome_of(error, Proof::None) == Outcome::Hostile => {
            (VolumeState::Unsafe, Some(error.to_string()))
        }
        ScanError::Format(error) => (VolumeState::Damaged, Some(error.to_string())),
    }
}

/// Describes a volume without SHA256SUMS: how much it holds that could not be checked, and whether a packing can go on
/// from it.
fn describe_unfinished(volume: &Volume, check: &mut VolumeCheck) {
    check.state = VolumeState::Incomplete;
    check.foreign = foreign(volume, |name| is_ours(name) || name == JOURNAL || is_unfinished(name));
    let ours: Vec<_> = volume.files.iter().filter(|file| file.regular && is_ours(&file.name)).collect();
    check.unchecked = Some((ours.len(), ours.iter().map(|file| file.len).sum()));
    let trouble = if volume.file(JOURNAL).is_some() {
        "packing was interrupted here: the same pack command goes on from there"
    } else {
        "there is no SHA256SUMS: the volume was never finished, or lost it"
    };
    check.trouble = Some(trouble.into());
}

/// Compares the names in SHA256SUMS with those that a volume must have, and with the parts in its folder. A
/// SHA256SUMS that was cut at a line still parses, so the missing lines have to be noticed here.
fn compare_listing(volume: &Volume, lines: &[NamedDigest], check: &mut VolumeCheck) {
    let names: HashSet<&str> = lines.iter().map(|file| file.name.as_str()).collect();
    check.foreign = foreign(volume, |name| names.contains(name) || name == SUMS || part::is_part(name));
    if !volume::has_all_small(|name| names.contains(name)) {
        check.state = VolumeState::Damaged;
        check.trouble = Some("SHA256SUMS does not name a seal, the list and both heads: it was cut or changed".into());
    }
    let parts = volume.files.iter().map(|file| &file.name).filter(|name| part::is_part(name));
    let unlisted = parts.filter(|name| !names.contains(name.as_str()));
    check.damaged.extend(unlisted.map(|name| (name.clone(), "is not in SHA256SUMS".to_string())));
}

/// The length in bytes of a listed file; `None` if it is not worth reading. Then it goes into `check` as missing or
/// damaged.
fn len_to_read(volume: &Volume, name: &str, check: &mut VolumeCheck) -> Option<u64> {
    let Some(found) = volume.file(name) else {
        check.missing.push(name.to_string());
        return None;
    };
    let why = if found.regular { impossible(name, found.len) } else { Some("is not a regular file".into()) };
    if let Some(why) = why {
        check.damaged.push((name.to_string(), why));
        return None;
    }
    Some(found.len)
}

/// Whether the format has a seal, head, list or part of that name.
fn is_ours(name: &str) -> bool {
    ALL_SEALS.contains(&name) || HEADS.contains(&name) || name == LIST || part::is_part(name)
}

/// The files in a volume's folder that are not of the volume, as `is_ours` tells by their names.
fn foreign(volume: &Volume, is_ours: impl Fn(&str) -> bool) -> Foreign {
    let others: Vec<&String> = volume.files.iter().map(|file| &file.name).filter(|name| !is_ours(name)).collect();
    Foreign { count: others.len() + volume.others, names: others.into_iter().take(Foreign::NAMED).cloned().collect() }
}

fn add_read(check: &mut VolumeCheck, name: &str, read: FileRead) {
    check.read += 1;
    check.bytes += read.bytes;
    match read.verdict {
        Ok(()) => {}
        Err(FileFault::Denied(why)) => check.unread.push((name.to_string(), why)),
        Err(FileFault::Wrong(why)) => check.damaged.push((name.to_string(), why)),
    }
}

/// Adds what differs from the head, if one is given. A volume of another bundle gets a note instead, unless it has
/// trouble of its own.
fn compare_with_head(check: &mut VolumeCheck, volume: &Volume, head: Option<&HeadCheck>) {
    let Some(head) = head else { return };
    if !check.held {
        check.trouble.get_or_insert_with(|| NOT_OF_THE_BUNDLE.into());
        return;
    }
    if is_gone(volume) {
        return;
    }
    let known: HashSet<String> =
        check.damaged.iter().chain(&check.unread).map(|(name, _)| name).chain(&check.missing).cloned().collect();
    for (name, why) in head.wrong_index(volume).into_iter().filter(|(name, _)| !known.contains(name)) {
        if volume.open(&name).is_err_and(|fault| fault.is_denied()) {
            check.unread.push((name, "could not be read by you".into()));
        } else {
            check.damaged.push((name, why));
        }
    }
    check.missing.extend(head.missing_parts(volume).into_iter().filter(|name| !known.contains(name)));
}

/// Gives the volume its final state. A drive that fails for some file is asked once more, in case it is gone.
fn conclude(check: &mut VolumeCheck, volume: &Volume) {
    let is_gone = is_hurt(check) && is_gone(volume);
    check.state = final_state(check, is_gone);
    if is_gone {
        check.trouble = Some("the drive stopped answering while it was read".into());
    }
}

/// Whether something was found that a drive which is gone would explain.
fn is_hurt(check: &VolumeCheck) -> bool {
    let is_hurt = !check.damaged.is_empty() || !check.missing.is_empty() || check.state == VolumeState::Damaged;
    is_hurt && check.state != VolumeState::Unsafe
}

/// The state after all files were read. Damage counts more than files that this user may not read, and these count
/// more than missing files.
fn final_state(check: &VolumeCheck, is_gone: bool) -> VolumeState {
    if check.state == VolumeState::Unsafe {
        VolumeState::Unsafe
    } else if is_gone {
        VolumeState::Gone
    } else if !check.damaged.is_empty() {
        VolumeState::Damaged
    } else if !check.unread.is_empty() {
        VolumeState::Unreadable
    } else if !check.missing.is_empty() && check.state == VolumeState::Whole {
        VolumeState::Incomplete
    } else {
        check.state
    }
}

#[cfg(test)]
mod tests;
