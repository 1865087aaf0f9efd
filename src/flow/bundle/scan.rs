//! Volumes at the places a person gave, and which files on them are not worth reading. Not told here: which bundle a
//! volume is of.

use std::collections::HashSet;
use std::path::PathBuf;

use crate::base::fault::At;
use crate::base::monitor::{Note, NoteKind};
use crate::base::path::{as_bytes, show};
use crate::base::size::count;
use crate::flow::FlowError;
use crate::flow::error::BundleError;
use crate::format::{limits, part};
use crate::stage::volume::{HEADS, LIST, PASSPHRASE_SEAL, PassedOver, ScanError, Volume, scan};

/// The volumes at the given places and below them.
///
/// # Errors
/// Also where none of them could be looked into.
pub fn gather(paths: &[PathBuf]) -> Result<Vec<Volume>, FlowError> {
    Ok(gather_noting(paths)?.0)
}

/// The same, and for each place the folders that were not searched.
pub fn gather_noting(paths: &[PathBuf]) -> Result<(Vec<Volume>, Vec<PassedOver>), FlowError> {
    let (volumes, passed_over) = search(paths)?;
    match volumes.iter().find_map(|volume| volume.fault.clone()) {
        Some(fault) if volumes.iter().all(|volume| volume.fault.is_some()) => Err(fault.into()),
        _ => Ok((volumes, passed_over)),
    }
}

/// The same, and for each place the folders that were not searched. A place that could not be looked into counts as a
/// volume, and so does a folder named as one.
pub fn search(paths: &[PathBuf]) -> Result<(Vec<Volume>, Vec<PassedOver>), FlowError> {
    let (mut volumes, mut passed_over): (Vec<Volume>, Vec<PassedOver>) = (Vec::new(), Vec::new());
    for path in paths {
        if path.symlink_metadata().is_err_and(|error| error.kind() == std::io::ErrorKind::NotFound) {
            return Err(FlowError::Usage(format!(
                "{} does not exist; is the drive plugged in and mounted?",
                show(path)
            )));
        }
        let meta = match path.metadata().at("look at", path) {
            Err(fault) if fault.is_denied() => {
                volumes.push(Volume::unread(path, ScanError::Io(fault)));
                continue;
            }
            meta => meta?,
        };
        if !meta.is_dir() {
            return Err(FlowError::Usage(format!(
                "{} is no folder; give the drive, or the volume's folder on it",
                show(path)
            )));
        }
        match scan(path) {
            Ok(found) => {
                volumes.extend(found.volumes);
                passed_over.push(found.passed_over);
            }
            Err(error) => volumes.push(Volume::unread(path, error)),
        }
    }
    let mut seen = HashSet::new();
    volumes.retain(|volume| seen.insert(volume.dir.canonicalize().unwrap_or_else(|_| volume.dir.clone())));
    if volumes.is_empty() {
        let paths: Vec<String> = paths.iter().map(|path| show(path)).collect();
        let others = match passed_over.iter().map(PassedOver::folders).sum::<u64>() {
            0 => String::new(),
            folders => format!(" (folders not searched: {folders})"),
        };
        return Err(FlowError::Bundle(BundleError::NoVolume(format!(
            "there is no volume at {}, nor up to {} folders below{others}",
            paths.join(", "),
            limits::DEPTH
        ))));
    }
    Ok((volumes, passed_over))
}

/// What is said of a place given that has none.
pub fn no_volume_here() -> String {
    format!("there is no volume here, nor up to {} folders below", limits::DEPTH)
}

/// What is said of places where there is no volume, and of those where not all folders were searched, for there were
/// too many.
pub fn notes_on_places(passed_over: &[PassedOver]) -> Vec<Note> {
    let bare = passed_over
        .iter()
        .filter(|place| place.no_volume)
        .map(|place| Note::new(NoteKind::Volume, as_bytes(&place.below), no_volume_here()));
    let crowded = passed_over.iter().filter(|place| place.beyond > 0);
    let text =
        |folders| format!("{} more in it were not searched for volumes: it holds too many", count(folders, "folder"));
    let crowded = crowded.map(|place| Note::new(NoteKind::Volume, as_bytes(&place.below), text(place.beyond)));
    bare.chain(crowded).collect()
}

/// Whether a passphrase opens some of the volumes at the given places.
pub fn takes_passphrase(paths: &[PathBuf]) -> Result<bool, FlowError> {
    Ok(gather(paths)?.iter().any(|volume| volume.file(PASSPHRASE_SEAL).is_some()))
}

/// Why a file of that length cannot be what was written, whatever is in it: then it is not read,
/// for it may have no end.
pub fn impossible(name: &str, len: u64) -> Option<String> {
    let wrong = match part::is_part(name) {
        true => !part::Class::ALL.map(|class| class.file_len() as u64).contains(&len),
        false => len > longest_file(name),
    };
    match len {
        0 => Some("is empty".into()),
        _ if wrong => Some(format!("has a length that no such file has ({len} bytes)")),
        _ => None,
    }
}

/// The most bytes that a file of that name has in any volume.
pub fn longest_file(name: &str) -> u64 {
    let [.., largest] = part::Class::ALL;
    match name {
        LIST => limits::LIST,
        name if HEADS.contains(&name) => limits::HEAD,
        name if part::is_part(name) => largest.file_len() as u64,
        _ => limits::SEAL_FILE,
    }
}
