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
pub(crate) fn check_room(target: &Path, fitted: &Fitted, extraction: &Extraction) -> Result<(), FlowError> {
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
mod tests;
