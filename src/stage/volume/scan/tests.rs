use std::os::unix::ffi::OsStrExt;

use super::*;

/// A folder that stands for a drive, with these empty files and the folders above them.
fn drive(files: &[&str]) -> tempfile::TempDir {
    let drive = tempfile::tempdir().unwrap();
    for file in files {
        let path = drive.path().join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, b"").unwrap();
    }
    drive
}

/// The folders of the volumes that were found, relative to the drive.
fn found(drive: &tempfile::TempDir, search: &Search) -> Vec<String> {
    let below = |volume: &Volume| volume.dir.strip_prefix(drive.path()).unwrap().display().to_string();
    search.volumes.iter().map(below).collect()
}

#[test]
fn volumes_are_found_four_levels_down_and_what_is_deeper_is_counted() {
    let drive = drive(&[
        "a/b/c/volume-4/seal.age",
        "a/b/c/d/volume-5/seal.age",
        "a/b/c/d/foreign/file",
        "day2/volume-10/000001.age",
        "day2/volume-9/head.age",
        "volume-1/seal.age",
        "photos/2026/x.jpg",
    ]);
    let search = scan(drive.path()).unwrap();
    assert_eq!(found(&drive, &search), ["volume-1", "day2/volume-9", "day2/volume-10", "a/b/c/volume-4"]);
    assert_eq!((search.passed_over.deeper, search.passed_over.folders()), (2, 2));
}

#[test]
fn a_folder_whose_name_is_no_text_is_searched() {
    let drive = tempfile::tempdir().unwrap();
    let odd = drive.path().join(OsStr::from_bytes(b"Fotos f\xfcr M")).join("volume-1");
    fs::create_dir_all(&odd).unwrap();
    fs::write(odd.join("seal.age"), b"").unwrap();
    fs::write(odd.join(OsStr::from_bytes(b"\xff")), b"").unwrap();
    let search = scan(drive.path()).unwrap();
    assert_eq!((search.volumes[0].dir.clone(), search.volumes[0].others), (odd, 1));
}

#[test]
fn what_was_thrown_away_is_named_and_not_searched() {
    let drive = drive(&[
        ".Trash-1000/files/volume-1/seal.age",
        "$RECYCLE.BIN/S-1/volume-2/seal.age",
        "out/.pouch-unfinished/parts/000001.age",
        "volume-3/seal.age",
    ]);
    fs::create_dir(drive.path().join(".Trashes")).unwrap();
    let search = scan(drive.path()).unwrap();
    assert_eq!(found(&drive, &search), ["volume-3"]);
    let named: Vec<_> = search.passed_over.set_aside.iter().map(|path| lower(path)).collect();
    assert_eq!(named, [".trash-1000", "$recycle.bin", ".pouch-unfinished"], "an empty one holds nothing");
    let trash = scan(&drive.path().join(".Trash-1000")).unwrap();
    assert_eq!(trash.volumes.len(), 1, "unless it is asked for");
}

#[test]
fn trash_beyond_what_is_named_is_counted_and_not_searched() {
    let trash: Vec<String> = (0..NAMED + 2).map(|user| format!(".Trash-{user}/volume-1/seal.age")).collect();
    let mut files: Vec<&str> = trash.iter().map(String::as_str).collect();
    files.push("volume-3/seal.age");
    let drive = drive(&files);
    let search = scan(drive.path()).unwrap();
    assert_eq!(found(&drive, &search), ["volume-3"]);
    assert_eq!((search.passed_over.set_aside.len(), search.passed_over.beyond), (100, 2));
    assert_eq!(search.passed_over.folders(), 102);
}

#[test]
fn links_are_not_followed_at_any_level() {
    let drive = drive(&["a/volume-1/seal.age"]);
    for link in ["b", "a/c"] {
        std::os::unix::fs::symlink(drive.path().join("a"), drive.path().join(link)).unwrap();
    }
    assert_eq!(found(&drive, &scan(drive.path()).unwrap()), ["a/volume-1"]);
}

#[test]
fn a_search_ends_and_looks_into_what_is_named_as_a_volume_first() {
    let drive = drive(&["volume-7/seal.age", "a/volume-8/seal.age"]);
    for number in 0..9 {
        fs::create_dir(drive.path().join(format!("f{number}"))).unwrap();
    }
    let search = search(drive.path(), 9).unwrap();
    assert_eq!(found(&drive, &search), ["volume-7", "a/volume-8"]);
    assert_eq!(search.passed_over.beyond, 2, "volume-7 and a took the places of two others");
}

#[test]
fn a_stray_part_makes_a_drive_no_volume_but_an_index_does() {
    let stray = drive(&["000001.age", "volume-1/seal.age"]);
    assert_eq!(found(&stray, &scan(stray.path()).unwrap()), ["volume-1"]);
    let own = drive(&["000001.age", "old/x/volume-1/seal.age"]);
    assert_eq!(found(&own, &scan(own.path()).unwrap()), ["", "old/x/volume-1"]);
    let index = drive(&["head.age", "volume-1/seal.age"]);
    assert_eq!(found(&index, &scan(index.path()).unwrap()), ["", "volume-1"]);
}
