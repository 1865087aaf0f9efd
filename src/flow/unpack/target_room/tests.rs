//! What is still to be written, in bytes and in files.

use std::collections::{HashMap, HashSet};

use super::*;
use crate::base::digest::sha256;
use crate::base::path::BytePath;
use crate::plan::holds::{Becomes, Change};
use crate::plan::layout::tests::{dir, entry, file, symlink};
use crate::plan::needed_parts::Contents;

const FILE: usize = 1;
const EMPTY: usize = 2;
const HARDLINK: usize = 3;

fn tree() -> Fitted {
    let first = BytePath::new(&b"d/file"[..]).unwrap();
    let mut entries = vec![dir("d"), file("d/file", 5000), file("e", 0), entry("h", Kind::Hardlink(first), 0)];
    entries.push(symlink("l", "d"));
    entries[FILE].holes = [(0, 4096)].into();
    fitted(entries)
}

fn fitted(entries: Vec<Entry>) -> Fitted {
    let former = HashMap::new();
    let clamped = HashSet::new();
    Fitted { entries, former, changes: Vec::new(), clamped, names: None, fills_holes: false }
}

/// Gives `check` an extraction of which nothing is written yet, in a temporary target.
fn with_extraction<R>(fitted: &Fitted, check: impl FnOnce(&Path, &Extraction) -> R) -> R {
    let target = tempfile::tempdir().unwrap();
    let staging = Staging::begin(target.path(), &fitted.entries, &sha256(b"work")).unwrap();
    let contents = Contents::new(&fitted.entries);
    check(target.path(), &Extraction::new(&fitted.entries, &contents, &staging))
}

fn files(fitted: &Fitted, copies: u64, storage: StorageKind, delivered: &[usize]) -> u64 {
    with_extraction(fitted, |_, extraction| {
        delivered.iter().for_each(|at| extraction.set_delivered(*at));
        files_to_make(fitted, extraction, Copies { files: copies, bytes: 0 }, storage)
    })
}

#[test]
fn holes_take_room_only_where_they_are_filled() {
    let mut fitted = tree();
    assert_eq!(with_extraction(&fitted, |_, extraction| bytes_to_write(&fitted, extraction)), 904);
    fitted.fills_holes = true;
    assert_eq!(with_extraction(&fitted, |_, extraction| bytes_to_write(&fitted, extraction)), 5000);
}

#[test]
fn a_delivered_file_takes_no_more_room() {
    let fitted = tree();
    let bytes = with_extraction(&fitted, |_, extraction| {
        extraction.set_delivered(FILE);
        bytes_to_write(&fitted, extraction)
    });
    assert_eq!(bytes, 0);
}

#[test]
fn hard_links_count_only_in_memory() {
    let fitted = tree();
    // Folder, two files and symlink, and what the staging folder needs.
    assert_eq!(files(&fitted, 0, StorageKind::Kernel, &[]), 4 + Staging::LATER);
    assert_eq!(files(&fitted, 0, StorageKind::Memory, &[]), 5 + Staging::LATER);
    assert_eq!(files(&fitted, 0, StorageKind::Memory, &[HARDLINK]), 4 + Staging::LATER);
}

#[test]
fn an_empty_file_takes_no_cluster() {
    let fitted = tree();
    assert_eq!(files(&fitted, 0, StorageKind::Program, &[]), 3 + Staging::LATER);
    assert_eq!(files(&fitted, 0, StorageKind::Kernel, &[EMPTY]), 3 + Staging::LATER);
}

#[test]
fn copies_and_the_record_of_changes_are_files_too() {
    let mut fitted = tree();
    let path = fitted.entries[HARDLINK].path.clone();
    fitted.changes.push(Change { path, why: "no links".into(), becomes: Becomes::Copy });
    assert_eq!(files(&fitted, 1, StorageKind::Kernel, &[]), 6 + Staging::LATER);
    assert_eq!(files(&fitted, 1, StorageKind::Memory, &[]), 6 + Staging::LATER, "the copy has the link's name");
}

#[test]
fn more_bytes_than_are_free_are_refused() {
    let fitted = fitted(vec![file("huge", u64::MAX)]);
    let checked = with_extraction(&fitted, |target, extraction| {
        assert!(check_room(target, &tree_without_content(), extraction).is_ok());
        check_room(target, &fitted, extraction)
    });
    let Err(FlowError::Output(OutputError::NoRoom { needed, free, .. })) = checked else { panic!("{checked:?}") };
    assert!(needed == u64::MAX && free < needed);
}

fn tree_without_content() -> Fitted {
    fitted(vec![dir("d")])
}
