//! Finds drives that stopped answering while they were read (pulled out, unmounted, dead), and volumes of which this
//! user may not read everything. Neither is damage: nothing is known of what could not be read, and the same command
//! goes on once the drive answers.
//!
//! Not guaranteed: that a drive which answers now did so all along, or that a file which opens can also be read.

use std::io;
use std::path::PathBuf;

use crate::base::direct::DriveReader;
use crate::base::fault::{IoFault, is_denied};
use crate::flow::error::DriveError;
use crate::flow::{FlowError, Outcome};
use crate::stage::volume::{self, ALL_SEALS, HEADS, SUMS, ScanError, Volume};

/// Most other files that are tried before a drive counts as gone: all small files may lie on one bad place.
const OTHERS: usize = 8;

/// Whether a drive stopped answering: none of the files that were found in the volume can be read any more. The small
/// files are tried first, then some of the parts.
pub(crate) fn is_gone(volume: &Volume) -> bool {
    let files = volume.files.iter().filter(|file| file.regular).map(|file| file.name.as_str());
    let (small, others): (Vec<&str>, Vec<&str>) = files.partition(|name| is_small(name));
    let some = others.iter().copied().step_by(others.len().div_ceil(OTHERS).max(1));
    let tried: Vec<&str> = small.into_iter().chain(some).collect();
    let mut reader = DriveReader::default();
    if tried.is_empty() {
        volume::read(&volume.dir).is_err_and(|error| is_unanswered(&error))
    } else {
        !tried.iter().any(|name| answers(reader.read(&volume.path(name), |_| false)))
    }
}

fn is_small(name: &str) -> bool {
    name == SUMS || HEADS.contains(&name) || ALL_SEALS.contains(&name)
}

/// Whether the drive answered. A drive that denies this user access did.
fn answers(read: io::Result<()>) -> bool {
    read.map_or_else(|error| is_denied(&error), |()| true)
}

/// Whether the drive gave no answer. A drive that denies this user access did.
fn is_unanswered(error: &ScanError) -> bool {
    matches!(error, ScanError::Io(fault) if !fault.is_denied())
}

/// The folders of the volumes whose drives stopped answering.
pub(crate) fn gone_among(volumes: &[Volume]) -> Vec<PathBuf> {
    volumes.iter().filter(|volume| is_gone(volume)).map(|volume| volume.dir.clone()).collect()
}

/// The error to report for a failure that a drive which stopped answering explains: something on these volumes was
/// missing, damaged or unreadable. If a drive is gone, nothing is known of that, so the error is that the drive is
/// gone. All other errors stay as they are.
pub(crate) fn or_gone(error: FlowError, volumes: &[Volume]) -> FlowError {
    let is_unread = matches!(&error, FlowError::Bundle(error) if error.outcome() == Outcome::Io);
    if !is_unread && !matches!(error.outcome(), Outcome::Damaged | Outcome::Incomplete) {
        return error;
    }
    let gone = gone_among(volumes);
    if gone.is_empty() { error } else { FlowError::Drive(DriveError::Gone(gone)) }
}

/// Whether the system denies this user the volume's folder, or a file in it.
pub(crate) fn is_refused(volume: &Volume) -> bool {
    let is_folder_denied = matches!(&volume.fault, Some(ScanError::Io(fault)) if fault.is_denied());
    let mut files = volume.files.iter().filter(|found| found.regular);
    is_folder_denied || files.any(|found| volume.open(&found.name).is_err_and(|fault: IoFault| fault.is_denied()))
}

/// The folders of the volumes of which this user may not read everything.
pub(crate) fn denied_among(volumes: &[Volume]) -> Vec<PathBuf> {
    volumes.iter().filter(|volume| is_refused(volume)).map(|volume| volume.dir.clone()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flow::error::{BadCopy, BundleError, CopyFault, IndexFile, KeyringError, NoCopy};
    use std::fs;
    use std::path::Path;

    /// A volume with these files, read before any of them is removed.
    fn volume(drive: &Path, names: &[&str]) -> Volume {
        let dir = drive.join("volume-1");
        fs::create_dir(&dir).unwrap();
        names.iter().for_each(|name| fs::write(dir.join(name), name).unwrap());
        volume::read(&dir).unwrap()
    }

    fn remove(volume: &Volume, name: &str) {
        fs::remove_file(volume.dir.join(name)).unwrap();
    }

    fn fault(code: i32) -> IoFault {
        IoFault { doing: "read", path: "/media/a".into(), source: io::Error::from_raw_os_error(code) }
    }

    fn unread(code: i32) -> Volume {
        Volume::unread(Path::new("/media/a"), fault(code).into())
    }

    fn damaged() -> FlowError {
        BundleError::Damaged("all".into()).into()
    }

    const EIO: i32 = 5;
    const EACCES: i32 = 13;

    #[test]
    fn a_drive_answers_as_long_as_one_file_can_be_read() {
        let drive = tempfile::tempdir().unwrap();
        let volume = volume(drive.path(), &[SUMS, "head.age", "000001.age", "000002.age"]);
        assert!(!is_gone(&volume));
        for name in [SUMS, "head.age", "000001.age"] {
            remove(&volume, name);
            assert!(!is_gone(&volume), "{name}");
        }
        remove(&volume, "000002.age");
        assert!(is_gone(&volume), "as if it had been unmounted");
    }

    #[test]
    fn an_empty_volume_is_gone_with_its_folder() {
        let drive = tempfile::tempdir().unwrap();
        let volume = volume(drive.path(), &[]);
        assert!(!is_gone(&volume));
        fs::remove_dir(&volume.dir).unwrap();
        assert!(is_gone(&volume));
    }

    #[test]
    fn a_drive_that_denies_access_answers() {
        assert!(answers(Ok(())) && answers(Err(fault(EACCES).source)) && !answers(Err(fault(EIO).source)));
        assert!(is_unanswered(&fault(EIO).into()) && !is_unanswered(&fault(EACCES).into()));
    }

    #[test]
    fn a_drive_that_is_gone_explains_damage_and_what_is_missing_or_unread() {
        let drive = tempfile::tempdir().unwrap();
        let gone = volume(drive.path(), &[SUMS]);
        remove(&gone, SUMS);
        let gone = [gone];
        let no_list = |bad| BundleError::NoCopy(NoCopy { what: IndexFile::List, bad }).into();
        let bad = BadCopy { path: "list.age".into(), fault: CopyFault::Unread("bad sector".into()) };
        let missing = BundleError::Missing("nothing".into()).into();
        for error in [damaged(), missing, no_list(vec![]), no_list(vec![bad])] {
            let FlowError::Drive(DriveError::Gone(folders)) = or_gone(error, &gone) else { panic!("it is gone") };
            assert_eq!(folders, [gone[0].dir.clone()]);
        }
    }

    #[test]
    fn a_drive_that_is_gone_explains_no_missing_key_and_no_fault_of_another_place() {
        let drive = tempfile::tempdir().unwrap();
        let gone = volume(drive.path(), &[SUMS]);
        remove(&gone, SUMS);
        let gone = [gone];
        assert_eq!(or_gone(KeyringError::NotGiven.into(), &gone).outcome(), Outcome::Key);
        assert!(matches!(or_gone(fault(EIO).into(), &gone), FlowError::Io(_)));
    }

    #[test]
    fn while_all_drives_answer_an_error_stays_as_it_is() {
        let drive = tempfile::tempdir().unwrap();
        let there = volume(drive.path(), &[SUMS]);
        assert_eq!(or_gone(damaged(), &[there]).outcome(), Outcome::Damaged);
        assert_eq!(or_gone(damaged(), &[]).outcome(), Outcome::Damaged);
    }

    #[test]
    fn a_folder_that_denies_access_is_told_from_one_that_fails() {
        assert!(is_refused(&unread(EACCES)) && !is_refused(&unread(EIO)));
        assert_eq!(denied_among(&[unread(EIO), unread(EACCES)]), [Path::new("/media/a")]);
    }

    #[test]
    fn a_file_that_is_missing_is_not_denied() {
        let drive = tempfile::tempdir().unwrap();
        let volume = volume(drive.path(), &[SUMS, "000001.age"]);
        remove(&volume, "000001.age");
        assert!(!is_refused(&volume));
    }
}
