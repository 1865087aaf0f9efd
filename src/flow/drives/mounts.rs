//! Whether a drive seems to be mounted at a place, and what else is odd about it. Where no drive is mounted, its folder
//! is one of the system's own. Packing only asks about that, since the sender may have meant it; moving a staged volume
//! there is refused.
//!
//! Not guaranteed: that the drive at a place is the one that was meant, if another drive is mounted on its folder.

use std::collections::HashSet;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::base::fault::{At, IoFault};
use crate::base::monitor::{Note, NoteKind};
use crate::base::os;
use crate::base::path::as_bytes;
use crate::flow::FlowError;
use crate::flow::error::LoadError;
use crate::format::volume_number::VolumeNumber;
use crate::stage::volume::{self, SUMS};

/// Folders below which systems and people mount drives.
const MOUNTED: [&str; 3] = ["/media", "/mnt", "/run/media"];

/// Notes on what is odd about the places that volumes go to. `targets` has the place of each volume, in the order of
/// their numbers, and the device number of its file system. Each place is noted once.
pub(crate) fn notes<'a>(targets: impl Iterator<Item = (&'a Path, u64)>, sources: &[PathBuf]) -> Vec<Note> {
    let home = devices_at_home(sources);
    let mut ours: HashSet<PathBuf> = HashSet::new();
    let mut places: Vec<(&Path, u64)> = Vec::new();
    for (number, place) in VolumeNumber::numbered(targets) {
        ours.insert(volume::folder(place.0, number));
        if !places.contains(&place) {
            places.push(place);
        }
    }
    let has_drive = places.iter().any(|(_, device)| !home.contains(device));
    let mut notes = Vec::new();
    for (path, device) in places {
        // If all places are at home, and none where drives are mounted, the sender means to pack without a drive.
        if home.contains(&device) && (has_drive || is_for_drives(path)) {
            notes.push(drive_note(
                path,
                "is on the same file system as the sources or the system: is the drive mounted there?".into(),
            ));
        }
        notes.extend(unfinished(path, &ours).into_iter().map(|name| {
            let text = format!(
                "holds {name}, which was never finished and is none of this bundle: `pouch check` of that drive will tell of it; remove it if nobody needs it"
            );
            drive_note(path, text)
        }));
    }
    notes
}

fn drive_note(path: &Path, text: String) -> Note {
    Note::new(NoteKind::Drive, as_bytes(path), text)
}

/// The file systems of the sources and of the system itself.
fn devices_at_home(sources: &[PathBuf]) -> HashSet<u64> {
    let known = sources.iter().map(PathBuf::as_path).chain([Path::new("/")]);
    known.filter_map(|path| path.metadata().ok()).map(|meta| meta.dev()).collect()
}

/// The note that the system lost something that was written to a place before this run.
pub(crate) fn lost_before(place: &Path, error: &std::io::Error) -> Note {
    let text = format!(
        "the system lost something that was written there before this run ({error}): other files there may be damaged"
    );
    Note::new(NoteKind::Drive, as_bytes(place), text)
}

fn is_for_drives(path: &Path) -> bool {
    path.canonicalize().is_ok_and(|path| MOUNTED.iter().any(|mounted| path.starts_with(mounted)))
}

/// Names of the volumes at a place that hold something, were never finished, and are not `ours`; sorted.
fn unfinished(path: &Path, ours: &HashSet<PathBuf>) -> Vec<String> {
    let entries = std::fs::read_dir(path).into_iter().flatten().flatten();
    let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
    let names = names.filter(|name| volume::is_volume_name(name));
    let mut found: Vec<String> = names.filter(|name| is_left_over(&path.join(name), ours)).collect();
    found.sort();
    found
}

fn is_left_over(folder: &Path, ours: &HashSet<PathBuf>) -> bool {
    !ours.contains(folder) && !volume::is_free(folder) && !folder.join(SUMS).exists()
}

/// The note on a volume whose file system shows when its files were written.
pub(crate) const SHOWS_TIMES: &str = "shows when it was written: this file system takes no other times";

/// Whether two folders are on the same file system.
pub(crate) fn is_beside(drive: &Path, other: &Path) -> Result<bool, FlowError> {
    Ok(device_at(drive)? == device_at(other)?)
}

fn device_at(path: &Path) -> Result<u64, IoFault> {
    os::room(path).map(|room| room.device).at("look at", path)
}

/// Refuses to move a staged volume to a place where no drive seems to be mounted. The copy there would be the only one:
/// it may be lost with the power, lie on no drive at all, or be the very volume that is removed.
///
/// # Errors
/// [`LoadError::NoDrive`], or the system cannot tell.
pub(crate) fn refuse_to_move(drive: &Path, staged: &Path) -> Result<(), FlowError> {
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

fn is_volatile(path: &Path) -> Result<bool, IoFault> {
    os::is_volatile(path).at("look at", path)
}

/// Whether a folder is on the file system of the system or of the user's home, and is not itself a mount point.
fn is_of_the_system(drive: &Path) -> Result<bool, FlowError> {
    let home = std::env::var_os("HOME").filter(|home| Path::new(home).is_absolute());
    for own in [Some("/".into()), home].into_iter().flatten().filter(|own| Path::new(own).exists()) {
        if is_beside(drive, Path::new(&own))? {
            return Ok(os::mounted_at(drive).at("look at", drive)?.is_none());
        }
    }
    Ok(false)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    /// No file system has this number.
    const AWAY: u64 = u64::MAX;

    /// The device number of the system's own file system.
    fn here() -> u64 {
        Path::new("/").metadata().unwrap().dev()
    }

    /// The places that notes are about.
    fn noted(targets: &[(&str, u64)]) -> Vec<String> {
        let targets = targets.iter().map(|(path, device)| (Path::new(*path), *device));
        notes(targets, &[]).into_iter().map(|note| String::from_utf8(note.path).unwrap()).collect()
    }

    #[test]
    fn a_place_at_home_is_noted_if_another_volume_goes_to_a_drive() {
        assert_eq!(noted(&[("/nowhere/a", here()), ("/nowhere/b", AWAY)]), ["/nowhere/a"]);
    }

    #[test]
    fn places_that_are_all_at_home_are_meant() {
        assert!(noted(&[("/nowhere/a", here()), ("/nowhere/b", here())]).is_empty());
    }

    #[test]
    fn a_place_is_noted_once_for_all_its_volumes() {
        let targets = [("/nowhere/a", here()), ("/nowhere/b", AWAY), ("/nowhere/a", here())];
        assert_eq!(noted(&targets), ["/nowhere/a"]);
    }

    #[test]
    fn sources_on_a_drive_make_that_drive_a_home() {
        let source = tempfile::tempdir().unwrap();
        let device = source.path().metadata().unwrap().dev();
        let targets = [(Path::new("/nowhere/a"), device), (Path::new("/nowhere/b"), AWAY)];
        let found = notes(targets.into_iter(), &[source.path().to_path_buf()]);
        assert_eq!(found.len(), 1);
        assert!(found[0].text.contains("is the drive mounted there?"));
    }

    #[test]
    fn only_an_unfinished_volume_of_another_bundle_is_noted() {
        let drive = tempfile::tempdir().unwrap();
        let add = |volume: &str, file: &str| {
            fs::create_dir_all(drive.path().join(volume)).unwrap();
            fs::write(drive.path().join(volume).join(file), b"part").unwrap();
        };
        add("volume-1", "000001.age");
        add("volume-7", "000001.age");
        add("volume-8", "000001.age");
        add("volume-8", SUMS);
        add("footage", "000001.age");
        fs::create_dir(drive.path().join("volume-9")).unwrap();
        let found = notes([(drive.path(), AWAY)].into_iter(), &[]);
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].text.starts_with("holds volume-7, which was never finished"), "{}", found[0].text);
    }

    #[test]
    fn a_loss_before_this_run_is_noted_with_the_words_of_the_system() {
        let note = lost_before(Path::new("/media/a"), &std::io::Error::from_raw_os_error(5));
        assert_eq!((note.kind, &note.path[..]), (NoteKind::Drive, &b"/media/a"[..]));
        assert!(note.text.contains("os error 5"), "{}", note.text);
    }

    #[test]
    fn a_staged_volume_is_not_moved_within_its_file_system() {
        let drive = tempfile::tempdir().unwrap();
        let staged = drive.path().join("volume-1");
        fs::create_dir(&staged).unwrap();
        let error = refuse_to_move(drive.path(), &staged).unwrap_err();
        let FlowError::Load(LoadError::NoDrive { drive: refused, why }) = error else { panic!("{error}") };
        assert_eq!((refused.as_path(), why), (drive.path(), "on the same file system as the staged volume"));
    }

    #[test]
    fn a_place_that_is_not_there_is_beside_nothing() {
        let drive = tempfile::tempdir().unwrap();
        let error = is_beside(&drive.path().join("missing"), drive.path()).unwrap_err();
        assert!(matches!(error, FlowError::Io(fault) if fault.doing == "look at"));
    }
}
