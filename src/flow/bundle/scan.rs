//! Finds the volumes at the places that the user gave, and tells by name and length which of their files are not worth
//! reading.
//!
//! Not guaranteed: that a volume is of the right bundle, or of any. Nothing is opened with a key here.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use crate::base::fault::At;
use crate::base::monitor::{Note, NoteKind};
use crate::base::path::{as_bytes, show};
use crate::base::size::count;
use crate::flow::FlowError;
use crate::flow::error::BundleError;
use crate::format::{limits, part};
use crate::stage::volume::{HEADS, LIST, PASSPHRASE_SEAL, PassedOver, ScanError, Search, Volume, scan};

/// The volumes at the given places and below them.
///
/// # Errors
/// As [`search`]; or none of the volumes could be looked into.
pub fn gather(paths: &[PathBuf]) -> Result<Vec<Volume>, FlowError> {
    Ok(gather_noting(paths)?.0)
}

/// As [`gather`]; also returns, for each place, the folders that were not searched.
pub(crate) fn gather_noting(paths: &[PathBuf]) -> Result<(Vec<Volume>, Vec<PassedOver>), FlowError> {
    let (volumes, passed_over) = search(paths)?;
    check_some_was_read(&volumes)?;
    Ok((volumes, passed_over))
}

/// Checks that at least one volume could be looked into. The error is that of the first one.
fn check_some_was_read(volumes: &[Volume]) -> Result<(), FlowError> {
    match volumes.iter().find_map(|volume| volume.fault.clone()) {
        Some(fault) if volumes.iter().all(|volume| volume.fault.is_some()) => Err(fault.into()),
        _ => Ok(()),
    }
}

/// Searches the given places. Returns the volumes, each once, and for each place the folders that were not searched. A
/// place that could not be looked into counts as a volume, and so does such a folder below it that is named as one.
///
/// # Errors
/// A place does not exist or is no folder, or there is no volume at any of them.
pub(crate) fn search(paths: &[PathBuf]) -> Result<(Vec<Volume>, Vec<PassedOver>), FlowError> {
    let mut volumes: Vec<Volume> = Vec::new();
    let mut passed_over: Vec<PassedOver> = Vec::new();
    for path in paths {
        match search_place(path)? {
            Ok(found) => {
                volumes.extend(found.volumes);
                passed_over.push(found.passed_over);
            }
            Err(error) => volumes.push(Volume::unread(path, error)),
        }
    }
    let mut seen = HashSet::new();
    volumes.retain(|volume| seen.insert(volume.dir.canonicalize().unwrap_or_else(|_| volume.dir.clone())));
    if volumes.is_empty() { Err(no_volume_at(paths, &passed_over)) } else { Ok((volumes, passed_over)) }
}

/// Searches one place. The inner error says that the place exists and could not be looked into.
fn search_place(path: &Path) -> Result<Result<Search, ScanError>, FlowError> {
    if path.symlink_metadata().is_err_and(|error| error.kind() == std::io::ErrorKind::NotFound) {
        return Err(FlowError::Usage(format!("{} does not exist; is the drive plugged in and mounted?", show(path))));
    }
    let meta = match path.metadata().at("look at", path) {
        Err(fault) if fault.is_denied() => return Ok(Err(ScanError::Io(fault))),
        meta => meta?,
    };
    if !meta.is_dir() {
        return Err(FlowError::Usage(format!(
            "{} is no folder; give the drive, or the volume's folder on it",
            show(path)
        )));
    }
    Ok(scan(path))
}

fn no_volume_at(paths: &[PathBuf], passed_over: &[PassedOver]) -> FlowError {
    let paths: Vec<String> = paths.iter().map(|path| show(path)).collect();
    let others = match passed_over.iter().map(PassedOver::folders).sum::<u64>() {
        0 => String::new(),
        folders => format!(" (folders not searched: {folders})"),
    };
    let text = format!("there is no volume at {}, nor up to {} folders below{others}", paths.join(", "), limits::DEPTH);
    BundleError::NoVolume(text).into()
}

/// The note on a place without a volume.
pub(crate) fn no_volume_here() -> String {
    format!("there is no volume here, nor up to {} folders below", limits::DEPTH)
}

/// The notes on places without a volume, and after them the notes on places that hold too many folders to search them
/// all.
pub(crate) fn notes_on_places(passed_over: &[PassedOver]) -> Vec<Note> {
    let bare = passed_over.iter().filter(|place| place.no_volume).map(|place| note_on(place, no_volume_here()));
    let crowded = passed_over.iter().filter(|place| place.beyond > 0).map(|place| {
        let folders = count(place.beyond, "folder");
        note_on(place, format!("{folders} more in it were not searched for volumes: it holds too many"))
    });
    bare.chain(crowded).collect()
}

fn note_on(place: &PassedOver, text: String) -> Note {
    Note::new(NoteKind::Volume, as_bytes(&place.below), text)
}

/// Whether some volume at the given places has a seal to a passphrase, so that it is worth asking for one.
pub(crate) fn takes_passphrase(paths: &[PathBuf]) -> Result<bool, FlowError> {
    Ok(gather(paths)?.iter().any(|volume| volume.file(PASSPHRASE_SEAL).is_some()))
}

/// Why a file of that length in bytes cannot be what was written, whatever it holds; `None` if it can. Such a file is
/// not read, because it may have no end.
pub(crate) fn impossible(name: &str, len: u64) -> Option<String> {
    if len == 0 {
        return Some("is empty".into());
    }
    let has_wrong_length = if part::is_part(name) {
        !part::Class::ALL.map(|class| class.file_len() as u64).contains(&len)
    } else {
        len > longest_file(name)
    };
    has_wrong_length.then(|| format!("has a length that no such file has ({len} bytes)"))
}

/// The most bytes that a file of that name has in any bundle. The limit of a seal applies to all other names.
pub(crate) fn longest_file(name: &str) -> u64 {
    let [.., largest] = part::Class::ALL;
    match name {
        LIST => limits::LIST,
        name if HEADS.contains(&name) => limits::HEAD,
        name if part::is_part(name) => largest.file_len() as u64,
        _ => limits::SEAL_FILE,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::fault::IoFault;
    use std::fs;

    /// A drive with these folders, each with a file of that name.
    fn drive(files: &[(&str, &str)]) -> tempfile::TempDir {
        let drive = tempfile::tempdir().unwrap();
        for (folder, file) in files {
            fs::create_dir_all(drive.path().join(folder)).unwrap();
            fs::write(drive.path().join(folder).join(file), b"content").unwrap();
        }
        drive
    }

    fn unread(code: i32) -> Volume {
        let source = std::io::Error::from_raw_os_error(code);
        Volume::unread(Path::new("/media/a"), IoFault { doing: "look into", path: "/media/a".into(), source }.into())
    }

    #[track_caller]
    fn usage_error(path: PathBuf) -> String {
        let Err(FlowError::Usage(text)) = gather(&[path]) else { panic!("it is no usage error") };
        text
    }

    #[test]
    fn a_volume_that_is_given_twice_counts_once() {
        let drive = drive(&[("volume-1", "seal.age"), ("volume-2", "head.age")]);
        let place = drive.path().to_path_buf();
        assert_eq!(gather(&[place.clone(), place.join("volume-2"), place]).unwrap().len(), 2);
    }

    #[test]
    fn a_place_that_is_missing_or_no_folder_is_a_usage_error() {
        let drive = drive(&[("volume-1", "seal.age")]);
        let file = drive.path().join("volume-1/seal.age");
        assert!(usage_error(file).contains("is no folder"));
        assert!(usage_error(drive.path().join("missing")).contains("does not exist"));
    }

    #[test]
    fn a_drive_without_a_volume_is_told_with_its_place() {
        let drive = drive(&[("footage", "clip.mov")]);
        let place = drive.path().to_path_buf();
        let Err(FlowError::Bundle(BundleError::NoVolume(text))) = gather(&[place]) else { panic!("there is none") };
        assert_eq!(text, format!("there is no volume at {}, nor up to 4 folders below", show(drive.path())));
    }

    #[test]
    fn a_volume_beside_a_place_without_one_is_enough() {
        let (full, bare) = (drive(&[("volume-1", "seal.age")]), drive(&[]));
        let places = [full.path().to_path_buf(), bare.path().to_path_buf()];
        let (volumes, passed_over) = gather_noting(&places).unwrap();
        assert_eq!(volumes.len(), 1);
        let notes = notes_on_places(&passed_over);
        assert_eq!(notes.len(), 1);
        assert_eq!((&notes[0].path[..], &*notes[0].text), (as_bytes(bare.path()), no_volume_here().as_str()));
    }

    #[test]
    fn the_first_fault_is_the_error_if_no_volume_could_be_read() {
        let Err(FlowError::Io(fault)) = check_some_was_read(&[unread(5), unread(13)]) else { panic!("none was read") };
        assert_eq!(fault.source.raw_os_error(), Some(5));
        let good = Volume { dir: "/media/b".into(), files: Vec::new(), others: 0, fault: None };
        assert!(check_some_was_read(&[unread(5), good]).is_ok());
    }

    #[test]
    fn places_without_a_volume_are_noted_before_crowded_ones() {
        let place = |below: &str| PassedOver { below: below.into(), ..PassedOver::default() };
        let crowded = PassedOver { beyond: 3, ..place("/media/a") };
        let bare = PassedOver { no_volume: true, ..place("/media/b") };
        let notes = notes_on_places(&[crowded, place("/media/c"), bare]);
        let texts: Vec<(&[u8], &str)> = notes.iter().map(|note| (&note.path[..], &*note.text)).collect();
        let expected: [(&[u8], &str); 2] = [
            (b"/media/b", "there is no volume here, nor up to 4 folders below"),
            (b"/media/a", "3 folders more in it were not searched for volumes: it holds too many"),
        ];
        assert_eq!(texts, expected);
    }

    #[test]
    fn a_passphrase_is_asked_for_only_where_a_seal_takes_one() {
        let (with, without) = (drive(&[("volume-1", PASSPHRASE_SEAL)]), drive(&[("volume-1", "seal.age")]));
        assert!(takes_passphrase(&[with.path().to_path_buf()]).unwrap());
        assert!(!takes_passphrase(&[without.path().to_path_buf()]).unwrap());
    }

    #[test]
    fn a_part_has_the_length_of_a_class() {
        assert_eq!(impossible("000001.age", 983_464), None);
        assert_eq!(impossible("000001.par", 268_435_624), None);
        let text = "has a length that no such file has (983465 bytes)";
        assert_eq!(impossible("000001.age", 983_465).as_deref(), Some(text));
        assert_eq!(impossible("000001.age", 0).as_deref(), Some("is empty"));
    }

    #[test]
    fn every_other_file_has_a_greatest_length() {
        for (name, most) in [("seal.age", 64 << 10), ("head2.age", 64 << 20), ("list.age", 4 << 30)] {
            assert_eq!((impossible(name, 1), impossible(name, most)), (None, None), "{name}");
            assert!(impossible(name, most + 1).is_some(), "{name}");
        }
        assert_eq!(longest_file("000001.par"), 268_435_624);
    }
}
