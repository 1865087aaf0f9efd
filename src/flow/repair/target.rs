//! The target of a repair: a folder outside of all volumes, with room for the new ones. A folder that stands in the way
//! of a new volume is taken for the leftover of an interrupted repair only if every file in it can be made again. All
//! else may be of value to its owner, and is left alone.
//!
//! Not guaranteed: that the room is still there when the volumes are written.

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
use crate::format::volume_number::VolumeNumber;
use crate::format::{is_unfinished, limits};
use crate::stage::volume::{self, ALL_SEALS, HEADS, LIST, SUMS};

/// Bytes of one read.
const READ: usize = 1 << 20;

/// What stands where a volume is to be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Occupant {
    /// There is nothing, or an empty folder.
    Free,
    /// An interrupted repair of this bundle left so many bytes. All of them can be made again.
    Leftover(u64),
    /// There is anything else, a finished volume included.
    Foreign,
}

/// Locks the target. While the returned file stays open, no other repair takes the new volumes for leftovers.
///
/// # Errors
/// The target is no folder, lies in a volume, or another run works there.
pub(crate) fn lock_target(target: &Path, bundle: &Bundle) -> Result<File, FlowError> {
    check_is_folder(target)?;
    let folder = target.canonicalize().at("look at", target)?;
    if let Some(volume) = bundle.volume_around(&folder) {
        let text =
            format!("{} lies in the volume {}; a volume is never repaired in place", show(&folder), show(&volume.dir));
        return Err(FlowError::Usage(text));
    }
    lock_folder(target)
}

/// Refuses a target without room for files of these lengths. Before they are written, `freed` bytes become free.
pub(crate) fn check_room(target: &Path, lengths: impl Iterator<Item = u64>, freed: u64) -> Result<(), FlowError> {
    let room = os::room(target).at("look at", target)?;
    let needed = lengths.map(|len| len.next_multiple_of(room.cluster.max(1))).sum();
    let free = room.free.saturating_add(freed);
    if needed > free {
        return Err(OutputError::NoRoom { target: target.to_path_buf(), needed, free }.into());
    }
    Ok(())
}

/// Looks at the folder in which volume `number` is to be written. Files in it are read and compared with the bundle.
pub(crate) fn occupant_of(
    dir: &Path,
    number: VolumeNumber,
    bundle: &Bundle,
    monitor: &dyn Monitor,
) -> Result<Occupant, FlowError> {
    if volume::is_free(dir) {
        return Ok(Occupant::Free);
    }
    let Some(files) = files_of(dir) else { return Ok(Occupant::Foreign) };
    let bytes: u64 = files.values().sum();
    monitor.phase(Phase::Checking, bytes);
    let names: Vec<&String> = files.keys().collect();
    let known = KnownFiles::of(dir, number, bundle, names.iter().any(|name| is_seal(name)));
    let ours = side_by_side(&names, || memory::zeros(READ), |buf, name| known.is_ours(name, buf, monitor));
    if monitor.cancelled() {
        return Err(FlowError::Cancelled);
    }
    // Without a seal, the run was killed while it wrote the first one.
    let is_first_seal = names.len() == 1 && is_unfinished(names[0]);
    let is_leftover = ours.into_iter().all(|ours| ours) && (known.has_seal || is_first_seal);
    Ok(if is_leftover { Occupant::Leftover(bytes) } else { Occupant::Foreign })
}

/// Removes a leftover. The seals go last: if this is interrupted too, they tell the next run whose the rest is.
pub(crate) fn remove_leftover(dir: &Path) -> Result<(), FlowError> {
    let mut names: Vec<String> = files_of(dir).unwrap_or_default().into_keys().collect();
    names.sort_by_key(|name| is_seal(name));
    for path in names.iter().map(|name| dir.join(name)) {
        fs::remove_file(&path).at("remove", &path)?;
    }
    Ok(os::sync_dir(dir).at("sync", dir)?)
}

fn is_seal(name: &str) -> bool {
    ALL_SEALS.contains(&name)
}

/// The files that a repair of one volume writes, as far as the bundle tells.
struct KnownFiles<'a> {
    dir: &'a Path,
    bundle: &'a Bundle,
    /// The parts of the volume by the names of their files.
    parts: HashMap<String, Digest>,
    /// Every seal on the bundle's volumes. The repair copied one of them.
    seals: HashSet<Vec<u8>>,
    /// Whether the folder holds a seal.
    has_seal: bool,
}

impl<'a> KnownFiles<'a> {
    fn of(dir: &'a Path, number: VolumeNumber, bundle: &'a Bundle, has_seal: bool) -> Self {
        let own = bundle.head.parts.iter().filter(|part| part.volume == number);
        let parts = own.map(|part| (part.file_name(), part.sha256)).collect();
        let copies = bundle.volumes.iter().flat_map(|volume| ALL_SEALS.map(|name| (volume, name)));
        let seals = copies.filter_map(|(volume, name)| volume.read_small(name, limits::SEAL_FILE)?.ok()).collect();
        Self { dir, bundle, parts, seals, has_seal }
    }

    /// Whether the bundle knows the file byte for byte, or its key opens the file. `buf` is for reading.
    fn is_ours(&self, name: &str, buf: &mut [u8], monitor: &dyn Monitor) -> bool {
        let path = self.dir.join(name);
        if let Some(sum) = self.parts.get(name) {
            has_digest(&path, *sum, buf, monitor)
        } else if is_seal(name) {
            self.seals.contains(&read_seal(&path))
        } else if name == LIST || HEADS.contains(&name) {
            opens(&path, self.bundle)
        } else if is_unfinished(name) {
            // Beside a seal, the unfinished file may be anything. Alone, it can only be the beginning of a seal.
            self.has_seal || self.seals.iter().any(|seal| seal.starts_with(&read_seal(&path)))
        } else {
            false
        }
    }
}

/// The bytes of a seal; none if it cannot be read.
fn read_seal(path: &Path) -> Vec<u8> {
    volume::read_small(path, limits::SEAL_FILE).unwrap_or_default()
}

fn has_digest(path: &Path, sum: Digest, buf: &mut [u8], monitor: &dyn Monitor) -> bool {
    let digest = os::open_regular(path).and_then(|file| volume::digest(file, buf, |bytes| go_on(monitor, bytes)));
    digest.is_ok_and(|(found, _)| found == sum)
}

/// Counts what was read; an error if the run is cancelled.
fn go_on(monitor: &dyn Monitor, bytes: u64) -> std::io::Result<()> {
    monitor.advance(bytes);
    check_not_cancelled(monitor)
}

/// Whether the key of the bundle opens the header of a head or list.
fn opens(path: &Path, bundle: &Bundle) -> bool {
    let mut start = Vec::new();
    let read = os::open_regular(path).and_then(|file| file.take(limits::AGE_HEADER as u64).read_to_end(&mut start));
    read.is_ok() && bundle.keyring.open_header(&start).is_ok()
}

/// Names and lengths of the files in a folder. `None` if it holds a SHA256SUMS, or anything but regular files.
fn files_of(dir: &Path) -> Option<HashMap<String, u64>> {
    if !dir.symlink_metadata().ok()?.is_dir() {
        return None;
    }
    let mut files = HashMap::new();
    for entry in fs::read_dir(dir).ok()?.take(limits::FOLDER) {
        let entry = entry.ok()?;
        let name = entry.file_name().into_string().ok()?;
        let meta = entry.metadata().ok()?;
        if name.eq_ignore_ascii_case(SUMS) || !meta.is_file() {
            return None;
        }
        files.insert(name, meta.len());
    }
    Some(files)
}

/// Whether two paths lead to one folder. Paths that do not exist are compared as they are written.
pub(crate) fn is_same_folder(one: &Path, other: &Path) -> bool {
    real_path(one) == real_path(other)
}

fn real_path(path: &Path) -> PathBuf {
    path.canonicalize().unwrap_or_else(|_| PathBuf::from(path))
}

#[cfg(test)]
mod tests;
