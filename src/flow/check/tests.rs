//! Small volumes in temporary folders, whole and hurt. The small files need no real content without a key.

use std::fs;

use super::*;
use crate::base::digest::Digest;
use crate::base::digest::sha256;
use crate::base::monitor::Silent;
use crate::base::monitor::fake::Heard;
use crate::flow::error::BundleError;

/// Every file that a volume needs, beside SHA256SUMS.
const SMALL: [&str; 4] = ["seal.age", "list.age", "head.age", "head2.age"];

/// A folder that stands for a drive, with one volume.
struct DriveWithVolume {
    folder: tempfile::TempDir,
    volume: PathBuf,
}

impl DriveWithVolume {
    /// The files of the volume hold their own names, and SHA256SUMS lists them.
    fn with_files(names: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let volume = folder.path().join("volume-1");
        fs::create_dir(&volume).unwrap();
        let drive = Self { folder, volume };
        names.iter().for_each(|name| drive.write(name, name.as_bytes()));
        drive.list(names);
        drive
    }

    fn write(&self, name: &str, bytes: &[u8]) {
        fs::write(self.volume.join(name), bytes).unwrap();
    }

    /// Writes a SHA256SUMS that lists these names, with the hash of each name.
    fn list(&self, names: &[&str]) {
        let lines = names.iter().flat_map(|name| sums::line(&sha256(name.as_bytes()), name.as_bytes()));
        self.write(SUMS, &lines.collect::<Vec<u8>>());
    }

    fn check(&self) -> VolumeCheck {
        let mut report = check(&[self.folder.path().to_path_buf()], &Silent).unwrap();
        assert_eq!(report.volumes.len(), 1);
        report.volumes.remove(0)
    }
}

fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(name, why)| (name.to_string(), why.to_string())).collect()
}

#[test]
fn a_volume_is_whole_if_every_listed_file_has_its_hash() {
    let found = DriveWithVolume::with_files(&SMALL).check();
    assert_eq!(found.state, VolumeState::Whole);
    assert_eq!((found.files, found.read, found.bytes), (4, 4, 33));
    assert_eq!((found.trouble, found.unchecked, found.foreign.count), (None, None, 0));
}

#[test]
fn a_file_with_another_content_is_damaged_and_the_others_are_read() {
    let drive = DriveWithVolume::with_files(&SMALL);
    drive.write("head.age", b"HEAD.age");
    let found = drive.check();
    assert_eq!((found.state, found.read), (VolumeState::Damaged, 4));
    assert_eq!(found.damaged, pairs(&[("head.age", "has another SHA-256 than when it was written")]));
}

#[test]
fn a_missing_file_makes_the_volume_incomplete_and_damage_counts_more() {
    let drive = DriveWithVolume::with_files(&SMALL);
    fs::remove_file(drive.volume.join("list.age")).unwrap();
    let found = drive.check();
    assert_eq!((found.state, found.missing, found.read), (VolumeState::Incomplete, vec!["list.age".to_string()], 3));
    drive.write("head.age", b"HEAD.age");
    assert_eq!(drive.check().state, VolumeState::Damaged);
}

#[test]
fn what_cannot_be_the_file_is_damaged_without_being_read() {
    let drive = DriveWithVolume::with_files(&[&SMALL[..], &["000001.age"]].concat());
    drive.write("list.age", b"");
    fs::remove_file(drive.volume.join("head.age")).unwrap();
    std::os::unix::fs::symlink("/dev/zero", drive.volume.join("head.age")).unwrap();
    let mut found = drive.check();
    found.damaged.sort();
    let expected = [
        ("000001.age", "has a length that no such file has (10 bytes)"),
        ("head.age", "is not a regular file"),
        ("list.age", "is empty"),
    ];
    assert_eq!((found.damaged, found.read), (pairs(&expected), 2));
}

#[test]
fn a_part_that_is_not_listed_is_damaged() {
    let drive = DriveWithVolume::with_files(&SMALL);
    drive.write("000007.par", b"part");
    let found = drive.check();
    assert_eq!(found.state, VolumeState::Damaged);
    assert_eq!(found.damaged, pairs(&[("000007.par", "is not in SHA256SUMS")]));
}

#[test]
fn sums_without_all_small_files_are_damaged_though_every_line_holds() {
    let drive = DriveWithVolume::with_files(&SMALL);
    drive.list(&["seal.age", "list.age", "head.age"]);
    let found = drive.check();
    assert_eq!((found.state, found.files, found.read), (VolumeState::Damaged, 3, 3));
    assert!(found.damaged.is_empty() && found.trouble.unwrap().contains("does not name a seal"));
}

#[test]
fn sums_that_lead_out_of_the_volume_are_unsafe_and_nothing_is_read() {
    let drive = DriveWithVolume::with_files(&SMALL);
    drive.list(&["seal.age", "../seal.age"]);
    let found = drive.check();
    assert_eq!((found.state, found.read), (VolumeState::Unsafe, 0));
}

#[test]
fn sums_that_break_the_format_are_damaged_and_nothing_is_read() {
    let drive = DriveWithVolume::with_files(&SMALL);
    drive.write(SUMS, b"no line of sha256sum\n");
    let found = drive.check();
    assert_eq!((found.state, found.files, found.read), (VolumeState::Damaged, 0, 0));
}

#[test]
fn a_volume_without_sums_is_incomplete_and_its_files_are_counted() {
    let drive = DriveWithVolume::with_files(&SMALL);
    fs::remove_file(drive.volume.join(SUMS)).unwrap();
    drive.write("notes.txt", b"mine");
    let found = drive.check();
    assert_eq!((found.state, found.read, found.unchecked), (VolumeState::Incomplete, 0, Some((4, 33))));
    assert_eq!(found.foreign.names, ["notes.txt"]);
    assert!(found.trouble.unwrap().contains("never finished"));
}

#[test]
fn a_journal_says_that_a_packing_goes_on_from_there() {
    let drive = DriveWithVolume::with_files(&SMALL);
    fs::remove_file(drive.volume.join(SUMS)).unwrap();
    drive.write(JOURNAL, b"");
    let found = drive.check();
    assert_eq!((found.state, found.foreign.count), (VolumeState::Incomplete, 0));
    assert!(found.trouble.unwrap().contains("the same pack command goes on"));
}

#[test]
fn foreign_files_are_all_counted_and_twenty_are_named() {
    let drive = DriveWithVolume::with_files(&SMALL);
    (10..35).for_each(|number| drive.write(&format!("photo-{number}.jpg"), b"x"));
    let found = drive.check();
    assert_eq!((found.state, found.foreign.count), (VolumeState::Whole, 25));
    assert_eq!(found.foreign.names.len(), Foreign::NAMED);
    assert_eq!(found.foreign.names[0], "photo-10.jpg");
}

#[test]
fn a_place_without_a_volume_is_reported_beside_the_volumes_of_the_others() {
    let drive = DriveWithVolume::with_files(&SMALL);
    let bare = tempfile::tempdir().unwrap();
    let report = check(&[drive.folder.path().to_path_buf(), bare.path().to_path_buf()], &Silent).unwrap();
    assert_eq!((report.volumes.len(), report.not_searched.len()), (1, 1));
    assert_eq!(report.not_searched[0].below, bare.path());
    assert_eq!(report.outcome(), Outcome::Incomplete);
}

#[test]
fn places_without_any_volume_are_an_error() {
    let bare = tempfile::tempdir().unwrap();
    let error = check(&[bare.path().to_path_buf()], &Silent).err().unwrap();
    assert!(matches!(error, FlowError::Bundle(BundleError::NoVolume(_))), "{error}");
}

#[test]
fn a_check_that_was_stopped_has_no_report() {
    let drive = DriveWithVolume::with_files(&SMALL);
    let error = check(&[drive.folder.path().to_path_buf()], &Heard::stopping()).err().unwrap();
    assert!(matches!(error, FlowError::Cancelled), "{error}");
}

#[test]
fn a_volume_that_lists_too_many_files_does_not_keep_the_next_from_being_read() {
    let line = || NamedDigest { name: "seal.age".into(), sha256: Digest([0; 32]) };
    let mut total = ListedTotal(limits::LISTED - 1);
    let mut planted = VolumeCheck::of("/d/volume-1".as_ref());
    assert!(total.admit(vec![line(), line()], &mut planted).is_empty());
    assert_eq!(planted.state, VolumeState::Unsafe);
    assert!(planted.trouble.unwrap().ends_with("over the limit of 1000000; check it alone"));
    let mut honest = VolumeCheck::of("/d/volume-2".as_ref());
    assert_eq!(total.admit(vec![line()], &mut honest).len(), 1);
    assert_eq!(honest.state, VolumeState::Whole);
}

/// The final state of a volume that was in `state` before, with one file of each kind that is asked for.
fn concluded(state: VolumeState, damaged: bool, unread: bool, missing: bool) -> VolumeState {
    let mut check = VolumeCheck { state, ..VolumeCheck::of("/d/volume-1".as_ref()) };
    let fault = || ("000001.age".to_string(), "no".to_string());
    check.damaged.extend(damaged.then(fault));
    check.unread.extend(unread.then(fault));
    check.missing.extend(missing.then(|| "000002.age".to_string()));
    final_state(&check, false)
}

#[test]
fn damage_counts_more_than_unread_files_and_these_more_than_missing_ones() {
    use VolumeState::{Damaged, Incomplete, Unreadable, Whole};
    assert_eq!(concluded(Whole, false, false, false), Whole);
    assert_eq!(concluded(Whole, false, false, true), Incomplete);
    assert_eq!(concluded(Whole, false, true, true), Unreadable);
    assert_eq!(concluded(Whole, true, true, true), Damaged);
    assert_eq!(concluded(Damaged, false, false, true), Damaged, "its SHA256SUMS was cut");
}

#[test]
fn a_drive_that_is_gone_explains_all_but_an_unsafe_listing() {
    let mut check = VolumeCheck::of("/d/volume-1".as_ref());
    assert!(!is_hurt(&check), "a whole volume need not be asked again");
    check.missing.push("000001.age".into());
    assert!(is_hurt(&check));
    assert_eq!(final_state(&check, true), VolumeState::Gone);
    check.state = VolumeState::Unsafe;
    assert!(!is_hurt(&check));
    assert_eq!(final_state(&check, true), VolumeState::Unsafe);
}

#[test]
fn what_keeps_a_volume_from_being_checked_decides_its_state() {
    let io = |code| {
        ScanError::Io(crate::base::fault::IoFault {
            doing: "look into",
            path: "/d".into(),
            source: std::io::Error::from_raw_os_error(code),
        })
    };
    assert_eq!(unusable(&io(13)).0, VolumeState::Unreadable);
    assert_eq!(unusable(&io(5)).0, VolumeState::Damaged);
    let limit = FormatError::Limit { what: "the size of a small file", value: 2, limit: 1 };
    assert_eq!(unusable(&ScanError::Format(limit)).0, VolumeState::Unsafe);
    assert_eq!(unusable(&ScanError::Format(FormatError::malformed(SUMS, 1, "no"))).0, VolumeState::Damaged);
}
