//! Drives that stop answering while they are read (pulled out, unmounted, dead), and volumes of which this user may not
//! read everything. Neither is damage: of what could not be read nothing is known, and the same command goes on once
//! it can be. Not guaranteed: that a drive which answers now did so all along. Not seen: a file that opens and
//! cannot be read.

use std::io;
use std::path::PathBuf;

use crate::base::direct::DriveReader;
use crate::base::fault::{IoFault, is_denied};
use crate::flow::error::DriveError;
use crate::flow::{FlowError, Outcome};
use crate::stage::volume::{self, ALL_SEALS, HEADS, SUMS, ScanError, Volume};

/// Other files that are tried before a drive is called gone: all that is small may lie on one bad place.
const OTHERS: usize = 8;

/// Whether nothing of a volume can be read any more that was found there.
pub fn is_gone(volume: &Volume) -> bool {
    let small = |name: &str| name == SUMS || HEADS.contains(&name) || ALL_SEALS.contains(&name);
    let files = || volume.files.iter().filter(|file| file.regular).map(|file| file.name.as_str());
    let others: Vec<&str> = files().filter(|name| !small(name)).collect();
    let some = others.iter().copied().step_by(others.len().div_ceil(OTHERS).max(1));
    let tried: Vec<&str> = files().filter(|name| small(name)).chain(some).collect();
    let mut reader = DriveReader::default();
    match tried.is_empty() {
        true => volume::read(&volume.dir).is_err_and(|error| is_unanswered(&error)),
        false => !tried.iter().any(|name| answers(reader.read(&volume.path(name), |_| false))),
    }
}

/// A drive that refuses somebody is there.
fn answers(read: io::Result<()>) -> bool {
    read.map_or_else(|error| is_denied(&error), |()| true)
}

/// Whether the system could not look, and not because it may not.
fn is_unanswered(error: &ScanError) -> bool {
    matches!(error, ScanError::Io(fault) if !fault.is_denied())
}

/// The folders of those volumes whose drives are gone.
pub fn gone_among(volumes: &[Volume]) -> Vec<PathBuf> {
    volumes.iter().filter(|volume| is_gone(volume)).map(|volume| volume.dir.clone()).collect()
}

/// What failed for want of something that should be on these volumes, or for damage: that one is gone, if
/// it is, for then nobody knows.
pub fn or_gone(error: FlowError, volumes: &[Volume]) -> FlowError {
    let unread = matches!(&error, FlowError::Bundle(error) if error.outcome() == Outcome::Io);
    if !unread && !matches!(error.outcome(), Outcome::Damaged | Outcome::Incomplete) {
        return error;
    }
    let gone = gone_among(volumes);
    if gone.is_empty() { error } else { FlowError::Drive(DriveError::Gone(gone)) }
}

/// Whether the system refuses this user the volume's folder or a file in it.
pub fn is_refused(volume: &Volume) -> bool {
    let folder = matches!(&volume.fault, Some(ScanError::Io(fault)) if fault.is_denied());
    let mut files = volume.files.iter().filter(|found| found.regular);
    folder || files.any(|found| volume.open(&found.name).is_err_and(|fault: IoFault| fault.is_denied()))
}

/// The folders of those volumes that this user may not read.
pub fn denied_among(volumes: &[Volume]) -> Vec<PathBuf> {
    volumes.iter().filter(|volume| is_refused(volume)).map(|volume| volume.dir.clone()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flow::error::{BundleError, KeyringError};
    use std::fs;

    #[test]
    fn what_answers_anywhere_is_not_gone() {
        let drive = tempfile::tempdir().unwrap();
        let dir = drive.path().join("volume-1");
        fs::create_dir(&dir).unwrap();
        for name in [SUMS, "head.age", "000001.age", "000002.age"] {
            fs::write(dir.join(name), name).unwrap();
        }
        let volume = volume::read(&dir).unwrap();
        assert!(!is_gone(&volume));
        for name in [SUMS, "head.age", "000001.age"] {
            fs::remove_file(dir.join(name)).unwrap();
            assert!(!is_gone(&volume), "{name}");
        }
        // As if it had been unmounted.
        fs::remove_file(dir.join("000002.age")).unwrap();
        assert!(is_gone(&volume));
        let damaged = || FlowError::Bundle(BundleError::Damaged("all".into()));
        assert_eq!(or_gone(damaged(), std::slice::from_ref(&volume)).outcome(), Outcome::Io);
        assert_eq!(
            or_gone(FlowError::Key(KeyringError::NotGiven), std::slice::from_ref(&volume)).outcome(),
            Outcome::Key
        );
        let empty = volume::read(&dir).unwrap();
        assert!(!is_gone(&empty));
        assert_eq!(or_gone(damaged(), &[]).outcome(), Outcome::Damaged);
        fs::remove_dir(&dir).unwrap();
        assert!(is_gone(&empty));
    }
}
