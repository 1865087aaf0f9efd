//! What is odd about the places that a bundle goes to, said before anything is written there: a drive that
//! seems not to be mounted, and volumes of others that were never finished. Only said, for nobody here
//! knows what was meant.

use std::collections::HashSet;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::base::monitor::{Note, NoteKind};
use crate::base::path::as_bytes;
use crate::stage::volume::{self, SUMS};

/// Where systems and people mount drives.
const MOUNTED: [&str; 3] = ["/media", "/mnt", "/run/media"];

/// All of it; `targets` are where each volume goes, and which file system that is on.
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
        .filter(|name| volume::looks_ours(name))
        .filter(|name| {
            let folder = path.join(name);
            !ours.contains(&folder) && !volume::is_free(&folder) && !folder.join(SUMS).exists()
        })
        .collect();
    found.sort();
    found
}
