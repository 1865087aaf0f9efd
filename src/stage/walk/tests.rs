//! Tests of walks over real folders.

use super::*;
use crate::base::monitor::Silent;
use std::os::unix::ffi::OsStrExt;

fn tree() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("src");
    std::fs::create_dir_all(root.join("a/empty")).unwrap();
    std::fs::write(root.join("a/x"), b"content").unwrap();
    std::fs::write(root.join("a.b"), b"").unwrap();
    std::fs::hard_link(root.join("a/x"), root.join("a/y")).unwrap();
    std::os::unix::fs::symlink("../nowhere", root.join("link")).unwrap();
    std::fs::write(root.join(std::ffi::OsStr::from_bytes(b"\xff\n")), b"odd").unwrap();
    dir
}

#[test]
fn what_is_there_is_found_in_the_order_of_the_tar() {
    let dir = tree();
    let walk = walk(&[dir.path().join("src")], &Silent).unwrap();
    let shown: Vec<String> = walk.entries.iter().map(|e| format!("{} {}", e.kind.word(), e.path)).collect();
    let expected = [
        "dir src",
        "dir src/a",
        "dir src/a/empty",
        "file src/a/x",
        "hardlink src/a/y",
        "file src/a.b",
        "symlink src/link",
        "file src/\\xff\\x0a",
    ];
    assert_eq!(shown, expected);
    assert!(walk.entries.is_sorted_by_key(|entry| entry.path.clone()));
    assert_eq!(walk.real_path(3), dir.path().join("src/a/x"));
    assert_eq!(walk.real_path(0), dir.path().join("src"));
}

#[test]
fn sources_go_under_their_last_names() {
    let dir = tree();
    let at = |path: &str| dir.path().join(path);
    std::os::unix::fs::symlink(at("src/a"), at("linked")).unwrap();
    let found = walk(&[at("src/a/x"), at("linked"), at("src/a/../a.b")], &Silent).unwrap();
    let tops: Vec<String> = found.entries.iter().map(|e| e.path.to_string()).collect();
    assert_eq!(tops, ["a.b", "linked", "linked/empty", "linked/x", "linked/y", "x"]);
    assert_eq!(found.notes.iter().map(|n| n.kind).collect::<Vec<_>>(), [NoteKind::Followed]);
    assert!(matches!(walk(&[at("src/a"), at("./src/a")], &Silent), Err(WalkError::SameName { .. })));
    assert!(matches!(walk(&["/".into()], &Silent), Err(WalkError::NoName(_))));
    assert!(matches!(walk(&[at("missing")], &Silent), Err(WalkError::Io(_))));
    assert!(matches!(walk(&["/dev/null".into()], &Silent), Err(WalkError::Special { .. })));
}

#[test]
fn a_target_in_a_source_is_noticed() {
    let dir = tree();
    let at = |path: &str| dir.path().join(path);
    let sources = [at("src/a"), at("src/a.b")];
    assert_eq!(source_around(&sources, &at("src/a/empty")).unwrap(), Some(&sources[0]));
    assert_eq!(source_around(&sources, &at("src/a")).unwrap(), Some(&sources[0]));
    assert_eq!(source_around(&sources, &at("src")).unwrap(), None);
}

#[test]
fn a_file_that_went_or_is_bad_says_nothing_of_its_source() {
    let dir = tempfile::tempdir().unwrap();
    let (folder, alone) = (dir.path().join("folder"), dir.path().join("alone"));
    std::fs::create_dir(&folder).unwrap();
    std::fs::write(folder.join("file"), "x").unwrap();
    std::fs::write(&alone, "y").unwrap();
    let walk = walk(&[folder.clone(), alone.clone()], &Silent).unwrap();
    std::fs::remove_file(folder.join("file")).unwrap();
    std::fs::remove_file(&alone).unwrap();
    let all = walk.entries.len();
    for errno in [None, Some(2), Some(5), Some(6), Some(13), Some(116)] {
        assert!((0..all).all(|index| walk.answers(index, errno).is_ok()), "{errno:?}");
    }
    assert!((0..all).all(|index| walk.answers(index, Some(19)).is_err()), "ENODEV");
    assert!(walk.answer(0..all).is_ok());
    std::fs::remove_dir(&folder).unwrap();
    assert!(walk.answer(0..all).is_err());
    assert!(walk.answers(0, Some(13)).is_ok(), "somebody who is refused asks nothing");
}
