//! The folder of a volume on a drive: where it is, and whether a new volume can be written there.
//!
//! Not guaranteed: that a folder stays free. Another program may write into it at any time.

use std::ffi::OsString;
use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use crate::base::os;
use crate::format::is_unfinished;
use crate::format::journal::JOURNAL;
use crate::format::volume_number::VolumeNumber;

/// The folder of volume `number` on the drive at `path`, whether it exists or not.
pub(crate) fn folder(path: &Path, number: VolumeNumber) -> PathBuf {
    path.join(format!("volume-{number}"))
}

/// The existing folder of volume `number` on a drive, with its name in any case; else the path to create it under.
/// The exact name wins, then the first in byte order.
pub(crate) fn folder_on(drive: &Path, number: VolumeNumber) -> PathBuf {
    let exact = folder(drive, number);
    let wanted = exact.file_name().unwrap_or_default();
    let names = fs::read_dir(drive).into_iter().flatten().flatten().map(|entry| entry.file_name());
    let mut there: Vec<OsString> = names.filter(|name| name.eq_ignore_ascii_case(wanted)).collect();
    there.sort_unstable();
    match there.first() {
        Some(name) if exact.symlink_metadata().is_err() => drive.join(name),
        _ => exact,
    }
}

/// Bytes of an unfinished file that [`is_free`] reads to tell whose it is: more than a seal has.
const LOOKED_AT: u64 = 64 << 10;

/// Whether a new volume can be written at `dir`: the folder is missing or empty, or holds only the first file of a run
/// that was killed while it wrote that. A journal counts if the drive kept none of its content.
pub(crate) fn is_free(dir: &Path) -> bool {
    match dir.symlink_metadata() {
        Err(error) => error.kind() == io::ErrorKind::NotFound,
        Ok(meta) => meta.is_dir() && fs::read_dir(dir).is_ok_and(holds_only_first_files),
    }
}

fn holds_only_first_files(mut entries: fs::ReadDir) -> bool {
    entries.all(|entry| entry.is_ok_and(|entry| is_first_file(&entry)))
}

/// Whether a file may be the first one of a run that was killed while it wrote that.
fn is_first_file(entry: &fs::DirEntry) -> bool {
    match entry.file_name().to_str() {
        Some(JOURNAL) => is_a_beginning(&entry.path(), &[]),
        Some(name) => is_unfinished(name) && is_a_beginning(&entry.path(), &[b"pouch-journal 1 ", b"age-encryption.o"]),
        None => false,
    }
}

/// Whether a file begins as one of `known`, as far as its length goes, or has lost its content. If the drive went away
/// before a sync, it may have kept only the length, with zeros or 0xFF for content, or an empty file.
fn is_a_beginning(path: &Path, known: &[&[u8; 16]]) -> bool {
    let mut start = Vec::new();
    let read = os::open_regular(path).and_then(|file| file.take(LOOKED_AT).read_to_end(&mut start));
    let begun = known.iter().any(|known| known.starts_with(&start[..start.len().min(known.len())]));
    let lost = [0, 0xff].iter().any(|blank| start.iter().all(|byte| byte == blank));
    read.is_ok() && (begun || lost)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_folder_of_a_volume_is_found_in_any_case_and_the_exact_name_wins() {
        let drive = tempfile::tempdir().unwrap();
        let seven = VolumeNumber::new(7);
        assert_eq!(folder_on(drive.path(), seven), drive.path().join("volume-7"), "to be created");
        for name in ["Volume-7", "VOLUME-7", "VOLUME-70"] {
            fs::create_dir(drive.path().join(name)).unwrap();
        }
        assert_eq!(folder_on(drive.path(), seven), drive.path().join("VOLUME-7"), "the first in byte order");
        fs::create_dir(drive.path().join("volume-7")).unwrap();
        assert_eq!(folder_on(drive.path(), seven), drive.path().join("volume-7"));
    }

    #[test]
    fn a_file_or_a_link_in_the_place_of_the_folder_is_not_free() {
        let drive = tempfile::tempdir().unwrap();
        fs::write(drive.path().join("file"), b"").unwrap();
        std::os::unix::fs::symlink(drive.path(), drive.path().join("link")).unwrap();
        assert!(!is_free(&drive.path().join("file")) && !is_free(&drive.path().join("link")));
    }
}
