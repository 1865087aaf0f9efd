//! Checks before the first byte that the target has room for all that is still to be written, in bytes and in number
//! of files. Files that an earlier run placed or delivered take no more room.
//!
//! Not guaranteed: that the room suffices. The list does not tell what a file system needs for its own tables, and
//! another program may fill the target meanwhile.

use std::path::Path;

use crate::base::entry::{Entry, Kind};
use crate::base::fault::At;
use crate::base::os::{self, StorageKind};
use crate::flow::FlowError;
use crate::flow::error::OutputError;
use crate::flow::unpack::file_writer::Extraction;
use crate::flow::unpack::target_names::{Copies, copies_to_make};
use crate::plan::names::Fitted;
use crate::stage::restore::Staging;

/// Checks both limits.
///
/// # Errors
/// [`OutputError::NoRoom`], or [`OutputError::NoFiles`], and then nothing was written.
pub fn check_room(target: &Path, fitted: &Fitted, extraction: &Extraction) -> Result<(), FlowError> {
    let copies = copies_to_make(fitted, |at| extraction.is_delivered(at));
    let room = os::room(target).at("look at", target)?;
    let needed = bytes_to_write(fitted, extraction).saturating_add(copies.bytes);
    if needed > room.free {
        return Err(OutputError::NoRoom { target: target.to_owned(), needed, free: room.free }.into());
    }
    let Some(free) = os::files_left(target).at("look at", target)? else { return Ok(()) };
    let storage = os::storage_kind(target).at("look at", target)?;
    let needed = files_to_make(fitted, extraction, copies, storage);
    if needed > free {
        return Err(OutputError::NoFiles { target: target.to_owned(), needed, free }.into());
    }
    Ok(())
}

/// Whether an entry is still to be written: it is neither whole nor waiting to be verified.
fn is_open(extraction: &Extraction, at: usize) -> bool {
    !extraction.is_whole(at) && !extraction.is_unverified(at)
}

/// Bytes of the entries that are still to be written, without copies in place of hard links.
fn bytes_to_write(fitted: &Fitted, extraction: &Extraction) -> u64 {
    let open = fitted.entries.iter().enumerate().filter(|(at, _)| is_open(extraction, *at));
    open.map(|(_, entry)| fitted.room_of(entry)).sum()
}

/// How many files, folders and links are still to be made, as this kind of file system counts them.
fn files_to_make(fitted: &Fitted, extraction: &Extraction, copies: Copies, storage: StorageKind) -> u64 {
    // A file system in memory counts every name of a file.
    let counts_names = storage == StorageKind::Memory;
    // Drivers of FAT and the like have no limit of their own. They report free clusters, and an empty file takes none.
    let counts_clusters = storage == StorageKind::Program;
    let is_to_make = |(at, entry): &(usize, &Entry)| match &entry.kind {
        // An earlier run made all folders.
        Kind::Dir => !extraction.staging.is_resumed(),
        Kind::File if counts_clusters && entry.size == 0 => false,
        Kind::File | Kind::Symlink(_) => is_open(extraction, *at),
        Kind::Hardlink(_) => counts_names && !extraction.is_delivered(*at),
    };
    let entries = fitted.entries.iter().enumerate().filter(is_to_make).count() as u64;
    // The file that tells which names were changed.
    let record = u64::from(!fitted.changes.is_empty());
    // Where every name counts, a copy takes no more than the link it replaces.
    let copies = if counts_names { 0 } else { copies.files };
    entries + copies + record + Staging::LATER
}

#[cfg(test)]
mod tests {
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
}
