//! Transfers between temporary folders, with copies that are changed behind the transfer's back.

use super::*;
use crate::base::digest::sha256;
use crate::base::monitor::Silent;
use std::fs;

/// Runs `test` on a transfer of a staged volume with two files, whose copy on the drive is whole but has no sums.
fn with_transfer(test: impl FnOnce(&mut Transfer)) {
    let place = tempfile::tempdir().unwrap();
    let from = place.path().join("volume-1");
    let drive = place.path().join("drive");
    let folder = drive.join("volume-1");
    fs::create_dir_all(&from).and_then(|()| fs::create_dir_all(&folder)).unwrap();
    let names = ["seal.age", "000001.age"];
    for dir in [&from, &folder] {
        names.iter().for_each(|name| fs::write(dir.join(name), name).unwrap());
    }
    let file =
        |name: &&str| ListedFile { name: name.to_string(), sum: sha256(name.as_bytes()), len: name.len() as u64 };
    let staged = Staged {
        volume: volume::read(&from).unwrap(),
        text: b"sums".to_vec(),
        files: names.iter().map(file).collect(),
    };
    let mut transfer = Transfer::new(&staged, &drive, &folder, &Silent);
    transfer.copier.begin().unwrap();
    test(&mut transfer);
}

#[test]
fn a_file_that_comes_back_wrong_is_copied_anew_once() {
    with_transfer(|transfer| {
        transfer.write_sums().unwrap();
        fs::write(transfer.folder.join("000001.age"), b"000001.AGE").unwrap();
        transfer.verify().unwrap();
        assert_eq!(transfer.changed.as_deref(), Some("000001.age"));
        assert_eq!(fs::read(transfer.folder.join("000001.age")).unwrap(), b"000001.age");
        let text = &transfer.notes.last().unwrap().text;
        assert!(text.starts_with("differs from its source from byte 7 on, read back from the drive"), "{text}");
    });
}

#[test]
fn the_second_file_that_comes_back_wrong_ends_the_run() {
    with_transfer(|transfer| {
        transfer.write_sums().unwrap();
        fs::write(transfer.folder.join("000001.age"), b"000001.AGE").unwrap();
        transfer.changed = Some("seal.age".into());
        let error = transfer.verify().unwrap_err();
        let FlowError::Load(LoadError::Changed { file, misread, .. }) = error else { panic!("another error") };
        assert_eq!((file.as_str(), misread), ("volume-1/000001.age", Misread::From(7)));
    });
}

#[test]
fn sums_that_come_back_wrong_are_written_anew_once() {
    with_transfer(|transfer| {
        transfer.write_sums().unwrap();
        fs::write(transfer.folder.join(SUMS_READY), b"SUMS").unwrap();
        transfer.verify().unwrap();
        assert_eq!(transfer.changed.as_deref(), Some(SUMS));
        assert_eq!(fs::read(transfer.folder.join(SUMS_READY)).unwrap(), b"sums");
    });
}

#[test]
fn a_source_that_changed_since_it_was_copied_is_not_copied_anew() {
    with_transfer(|transfer| {
        transfer.write_sums().unwrap();
        fs::write(transfer.folder.join("000001.age"), b"000001.AGE").unwrap();
        fs::write(transfer.staged.volume.dir.join("000001.age"), b"changed!!!").unwrap();
        let error = transfer.verify().unwrap_err();
        let FlowError::Load(LoadError::Source { files, .. }) = error else { panic!("another error") };
        assert_eq!(files[0].0, "000001.age");
        assert!(files[0].1.starts_with("had the right SHA-256 when it was first read"));
    });
}

#[test]
fn a_drive_that_fails_after_it_changed_a_file_is_named_as_faulty() {
    with_transfer(|transfer| {
        let fault = |path: &Path| IoFault {
            doing: "write",
            path: path.to_path_buf(),
            source: std::io::Error::from_raw_os_error(5),
        };
        let on_drive = fault(&transfer.folder.join("seal.age"));
        assert!(transfer.is_fault_of_drive(&on_drive, &Misread::Somewhere));
        assert!(!transfer.is_fault_of_drive(&on_drive, &Misread::Unreadable("no".into())), "it may be pulled out");
        let in_source = fault(&transfer.staged.volume.dir.join("seal.age"));
        assert!(!transfer.is_fault_of_drive(&in_source, &Misread::Somewhere));
    });
}

#[test]
fn a_drive_without_room_is_refused_before_anything_is_written() {
    with_transfer(|transfer| {
        let mut staged = Staged {
            volume: transfer.staged.volume.clone(),
            text: Vec::new(),
            files: vec![ListedFile { name: "000001.age".into(), sum: sha256(b""), len: 1 << 62 }],
        };
        let of = |staged: &Staged| {
            Transfer::new(staged, transfer.drive, transfer.folder, &Silent).check_room(&OnDrive::default())
        };
        assert!(matches!(of(&staged), Err(FlowError::Load(LoadError::Room { .. }))));
        staged.files[0].len = 1;
        assert!(of(&staged).is_ok());
    });
}
