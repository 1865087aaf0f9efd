//! Where repaired volumes go: a folder outside all volumes that has room for them. What an
//! interrupted repairing left there is told from what is somebody else's, which is left alone.

use std::collections::{HashMap, HashSet};
use std::fs::{self, File};
use std::io::Read as _;
use std::path::{Path, PathBuf};

use crate::base::digest::Digest;
use crate::base::fault::At;
use crate::base::memory;
use crate::base::monitor::{Monitor, Phase, check_not_cancelled};
use crate::base::os;
use crate::base::path::show;
use crate::base::pool::side_by_side;
use crate::flow::FlowError;
use crate::flow::bundle::open::Bundle;
use crate::flow::drives::folders::{check_is_folder, lock_folder};
use crate::flow::error::OutputError;
use crate::format::{is_unfinished, limits};
use crate::stage::volume::{self, ALL_SEALS, HEADS, LIST, SUMS};

const READ: usize = 1 << 20;

/// What stands where a volume is to be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Occupant {
    /// Nothing, or an empty folder.
    Free,
    /// What an interrupted repairing of this bundle left, so many bytes: all of it can be made again.
    Leftover(u64),
    /// Anything else.
    Foreign,
}

/// Refuses a target that is no folder, or lies in a volume. As long as the folder that is returned
/// stays open, no other repairing takes what this one writes for something left behind.
pub fn take(target: &Path, bundle: &Bundle) -> Result<File, FlowError> {
    check_is_folder(target)?;
    let folder = target.canonicalize().at("look at", target)?;
    if let Some(volume) = bundle.volume_around(&folder) {
        let text =
            format!("{} lies in the volume {}; a volume is never repaired in place", show(&folder), show(&volume.dir));
        return Err(FlowError::Usage(text));
    }
    lock_folder(target)
}

/// Refuses a target without room for files of these lengths; `freed` bytes there will be freed.
pub fn check_room(target: &Path, files: impl Iterator<Item = u64>, freed: u64) -> Result<(), FlowError> {
    let room = os::room(target).at("look at", target)?;
    let needed = files.map(|len| len.next_multiple_of(room.cluster.max(1))).sum();
    let free = room.free.saturating_add(freed);
    match needed > free {
        true => Err(FlowError::Output(OutputError::NoRoom { target: target.to_path_buf(), needed, free })),
        false => Ok(()),
    }
}

/// Looks at the folder of a volume to be written. Only such files count as left by us that this
/// bundle knows byte for byte, or that open with its key; with a SHA256SUMS it is finished.
pub fn standing(dir: &Path, number: u16, bundle: &Bundle, monitor: &dyn Monitor) -> Result<Occupant, FlowError> {
    if volume::is_free(dir) {
        return Ok(Occupant::Free);
    }
    let Some(files) = files_of(dir) else { return Ok(Occupant::Foreign) };
    let seals = seals_of(bundle);
    let known: HashMap<String, Digest> = bundle
        .head
        .parts
        .iter()
        .filter(|part| part.volume == number)
        .map(|part| (part.file_name(), part.sha256))
        .collect();
    let all: u64 = files.values().sum();
    monitor.phase(Phase::Checking, all);
    let sealed = files.keys().any(|name| ALL_SEALS.contains(&name.as_str()));
    let names: Vec<&String> = files.keys().collect();
    let ours = side_by_side(
        &names,
        || memory::zeros(READ),
        |buf, name| {
            let path = dir.join(name);
            if let Some(sum) = known.get(*name) {
                return is_part(&path, *sum, buf, monitor);
            }
            let small = || volume::read_small(&path, limits::SEAL_FILE).unwrap_or_default();
            match name.as_str() {
                name if ALL_SEALS.contains(&name) => seals.contains(&small()),
                name if name == LIST || HEADS.contains(&name) => opens(&path, bundle),
                // Whatever was being written, beside a seal; else it can only be the first seal itself.
                name if is_unfinished(name) => sealed || seals.iter().any(|seal| seal.starts_with(&small())),
                _ => false,
            }
        },
    );
    if monitor.cancelled() {
        return Err(FlowError::Cancelled);
    }
    let first = files.len() == 1 && files.keys().all(|name| is_unfinished(name));
    Ok(if ours.into_iter().all(|ours| ours) && (sealed || first) { Occupant::Leftover(all) } else { Occupant::Foreign })
}

/// Takes away what was left, seals last: they tell whose it is, should this be interrupted too.
pub fn clear(dir: &Path) -> Result<(), FlowError> {
    let mut names: Vec<String> = files_of(dir).unwrap_or_default().into_keys().collect();
    names.sort_by_key(|name| ALL_SEALS.contains(&name.as_str()));
    for path in names.iter().map(|name| dir.join(name)) {
        fs::remove_file(&path).at("remove", &path)?;
    }
    Ok(os::sync_dir(dir).at("sync", dir)?)
}

fn is_part(path: &Path, sum: Digest, buf: &mut [u8], monitor: &dyn Monitor) -> bool {
    let tick = |bytes| {
        monitor.advance(bytes);
        check_not_cancelled(monitor)
    };
    let digest = os::open_regular(path).and_then(|file| volume::digest(file, buf, tick));
    digest.is_ok_and(|(found, _)| found == sum)
}

/// Whether a head or list is sealed to this bundle; an interrupted one still bears another name.
fn opens(path: &Path, bundle: &Bundle) -> bool {
    let mut start = Vec::new();
    let read = os::open_regular(path).and_then(|file| file.take(limits::AGE_HEADER as u64).read_to_end(&mut start));
    read.is_ok() && bundle.keyring.open_header(&start).is_ok()
}

/// Names and lengths; `None` where there is a SHA256SUMS, or anything but regular files.
fn files_of(dir: &Path) -> Option<HashMap<String, u64>> {
    if !dir.symlink_metadata().ok()?.is_dir() {
        return None;
    }
    let mut files = HashMap::new();
    for entry in fs::read_dir(dir).ok()?.take(limits::FOLDER) {
        let entry = entry.ok()?;
        let (name, meta) = (entry.file_name().into_string().ok()?, entry.metadata().ok()?);
        if name.eq_ignore_ascii_case(SUMS) || !meta.is_file() {
            return None;
        }
        files.insert(name, meta.len());
    }
    Some(files)
}

/// Every seal on the bundle's volumes: one of them was copied.
fn seals_of(bundle: &Bundle) -> HashSet<Vec<u8>> {
    let all = bundle.volumes.iter().flat_map(|volume| ALL_SEALS.map(|name| (volume, name)));
    all.filter_map(|(volume, name)| volume.read_small(name, limits::SEAL_FILE)?.ok()).collect()
}

/// Whether two paths are one folder.
pub fn same(one: &Path, other: &Path) -> bool {
    let real = |path: &Path| path.canonicalize().unwrap_or_else(|_| PathBuf::from(path));
    real(one) == real(other)
}
