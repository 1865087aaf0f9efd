//! Whether a drive seems to be mounted where volumes go, and what else is odd about the place. An unmounted drive's
//! folder is one of the system's own: packing only asks, since the sender may have meant it; moving a staged volume is
//! refused. Not seen: that a drive mounted on another drive's folder is not the one that was meant.

use std::collections::HashSet;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::base::fault::At;
use crate::base::monitor::{Note, NoteKind};
use crate::base::os;
use crate::base::path::as_bytes;
use crate::flow::FlowError;
use crate::flow::error::LoadError;
use crate::stage::volume::{self, SUMS};

/// Where systems and people mount drives.
const MOUNTED: [&str; 3] = ["/media", "/mnt", "/run/media"];

/// What is odd about the places; `targets` are where each volume goes, and which file system that is on.
pub fn notes<'a>(targets: impl Iterator<Item = (&'a Path, u64)>, sources: &[PathBuf]) -> Vec<Note> {
    let known = sources.iter().map(PathBuf::as_path).chain([Path::new("/")]);
    let home: HashSet<u64> = known.filter_map(|path| path.metadata().ok()).map(|meta| meta.dev()).collect();
    let (mut folders, mut paths): (HashSet<PathBuf>, Vec<(&Path, u64)>) = Default::default();
    for (number, target) in (1..).zip(targets) {
        folders.insert(volume::folder(target.0, number));
        if !paths.contains(&target) {
            paths.push(target);
        }
    }
    let away = paths.iter().any(|(_, device)| !home.contains(device));
    let mut notes = Vec::new();
    for (path, device) in paths {
        let note = |text: String| Note::new(NoteKind::Drive, as_bytes(path), text);
        if home.contains(&device) && (away || is_for_drives(path)) {
            notes.push(note(
                "is on the same file system as the sources or the system: is the drive mounted there?".into(),
            ));
        }
        notes.extend(unfinished(path, &folders).into_iter().map(|name| {
            note(format!(
                "holds {name}, which was never finished and is none of this bundle: `pouch check` of that drive will tell of it; remove it if nobody needs it"
            ))
        }));
    }
    notes
}

/// The system had lost something of what was written there before this run.
pub fn lost_before(place: &Path, error: &std::io::Error) -> Note {
    let text = format!(
        "the system lost something that was written there before this run ({error}): other files there may be damaged"
    );
    Note::new(NoteKind::Drive, as_bytes(place), text)
}

fn is_for_drives(path: &Path) -> bool {
    path.canonicalize().is_ok_and(|path| MOUNTED.iter().any(|mounted| path.starts_with(mounted)))
}

/// Names of volumes there that were never finished, but for those.
fn unfinished(path: &Path, ours: &HashSet<PathBuf>) -> Vec<String> {
    let entries = std::fs::read_dir(path).into_iter().flatten().flatten();
    let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
    let mut found: Vec<String> = names
        .filter(|name| volume::is_volume_name(name))
        .filter(|name| {
            let folder = path.join(name);
            !ours.contains(&folder) && !volume::is_free(&folder) && !folder.join(SUMS).exists()
        })
        .collect();
    found.sort();
    found
}

/// What is said of a volume on a file system that keeps its own times.
pub const SHOWS_TIMES: &str = "shows when it was written: this file system takes no other times";

/// Whether a folder is on the same file system as another.
pub fn is_beside(drive: &Path, other: &Path) -> Result<bool, FlowError> {
    let device = |path: &Path| os::room(path).map(|room| room.device).at("look at", path);
    Ok(device(drive)? == device(other)?)
}

/// Refuses to move a staged volume to where no drive seems to be: its copy there may be gone with the
/// power, or is no other than the one that is removed.
pub fn refuse_to_move(drive: &Path, staged: &Path) -> Result<(), FlowError> {
    let is_volatile = |path: &Path| os::is_volatile(path).at("look at", path);
    let why = if is_beside(drive, staged)? {
        "on the same file system as the staged volume"
    } else if is_volatile(drive)? && !is_volatile(staged)? {
        "in memory, or may be"
    } else if is_of_the_system(drive)? {
        "on the file system of this machine's own files"
    } else {
        return Ok(());
    };
    Err(LoadError::NoDrive { drive: drive.to_path_buf(), why }.into())
}

/// Whether a folder is on the system's file system, or on that with the user's files, and nothing is mounted
/// just there.
fn is_of_the_system(drive: &Path) -> Result<bool, FlowError> {
    let home = std::env::var_os("HOME").filter(|home| Path::new(home).is_absolute());
    for own in [Some("/".into()), home].into_iter().flatten().filter(|own| Path::new(own).exists()) {
        if is_beside(drive, Path::new(&own))? {
            return Ok(os::mounted_at(drive).at("look at", drive)?.is_none());
        }
    }
    Ok(false)
}
