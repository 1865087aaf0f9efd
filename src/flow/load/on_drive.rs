//! What stands on the drive where a staged volume goes: nothing, a part of its copy that an earlier run left, or
//! something else, which is refused. Every file of the copy is read and compared with SHA256SUMS; none is trusted.
//!
//! Not guaranteed: that files which are whole now are whole after the rest was written. The transfer reads them again.

use std::collections::HashSet;
use std::io;
use std::path::Path;

use crate::base::fault::{At, is_denied};
use crate::base::monitor::{Monitor, Phase};
use crate::flow::FlowError;
use crate::flow::error::LoadError;
use crate::flow::load::staged::{ListedFile, Staged};
use crate::format::{is_unfinished, limits, part};
use crate::stage::journal::JOURNAL;
use crate::stage::volume::{self, Copier, SUMS, ScanError, Volume};

/// What stands on the drive.
#[derive(Default)]
pub(crate) struct OnDrive {
    /// Names of files that are there and have their SHA-256.
    pub(crate) whole: HashSet<String>,
    /// Names of files that are there and have another SHA-256, or cannot be read.
    pub(crate) again: Vec<String>,
    /// Whether the copy has a SHA256SUMS, so that it looks complete.
    pub(crate) has_sums: bool,
    /// Lengths in bytes of unfinished files.
    pub(crate) unfinished: Vec<u64>,
    /// The folder as it was found; `None` if there was none.
    pub(crate) volume: Option<Volume>,
}

impl OnDrive {
    /// Compares what is in `folder` with the SHA256SUMS of the staged volume.
    ///
    /// # Errors
    /// The folder is not the copy of this volume, or this user may not read it.
    pub(crate) fn look(
        staged: &Staged,
        folder: &Path,
        copier: &mut Copier,
        monitor: &dyn Monitor,
    ) -> Result<Self, FlowError> {
        let volume = match folder.symlink_metadata() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self::default()),
            Err(error) => return Err(error).at("look at", folder)?,
            Ok(meta) if !meta.is_dir() => return Err(another(folder, "it is no folder")),
            Ok(_) => volume::read(folder)?,
        };
        check_is_copy(staged, &volume)?;
        let unfinished = volume.files.iter().filter(|found| is_unfinished(&found.name) && found.regular);
        let mut found = Self {
            unfinished: unfinished.map(|found| found.len).collect(),
            has_sums: volume.file(SUMS).is_some(),
            ..Self::default()
        };
        found.compare_files(staged, &volume, copier, monitor)?;
        if found.whole.is_empty() && !found.has_sums && !volume::is_free(folder) {
            return Err(another(folder, "none of its files is one of this volume"));
        }
        found.volume = Some(volume);
        Ok(found)
    }

    /// Sorts the files of the copy into whole ones and those to copy again. A file that the drive fails to return is
    /// written anew; one that this user may not read is an error, because it may be whole.
    fn compare_files(
        &mut self,
        staged: &Staged,
        volume: &Volume,
        copier: &mut Copier,
        monitor: &dyn Monitor,
    ) -> Result<(), FlowError> {
        let files: Vec<&ListedFile> = staged.files.iter().filter(|file| volume.file(&file.name).is_some()).collect();
        monitor.phase(Phase::Resuming, files.iter().map(|file| file.len).sum());
        for file in files {
            let path = volume.path(&file.name);
            match copier.holds(&path, file.sum, &|bytes| goes_on(monitor, bytes)) {
                Ok(None) => return Err(FlowError::Cancelled),
                Ok(Some(true)) => drop(self.whole.insert(file.name.clone())),
                Err(error) if is_denied(&error) => return Err(error).at("read", &path)?,
                Ok(Some(false)) | Err(_) => self.again.push(file.name.clone()),
            }
        }
        Ok(())
    }

    /// Whether the drive holds nothing of this volume.
    pub(crate) fn is_nothing(&self) -> bool {
        self.whole.is_empty() && self.again.is_empty() && self.unfinished.is_empty()
    }

    /// The files that have to be written.
    pub(crate) fn missing<'a>(&self, staged: &'a Staged) -> Vec<&'a ListedFile> {
        staged.files.iter().filter(|file| !self.whole.contains(&file.name)).collect()
    }

    /// Bytes that have to be free on the drive, in whole clusters of so many bytes; `None` if nothing is to be written.
    pub(crate) fn room_needed(&self, staged: &Staged, cluster: u64) -> Option<u64> {
        let missing = self.missing(staged);
        if missing.is_empty() && self.has_sums {
            return None;
        }
        // A file that is written again needs room only until it takes the place of the old one.
        let (again, new): (Vec<&ListedFile>, Vec<&ListedFile>) =
            missing.into_iter().partition(|file| self.again.contains(&file.name));
        let largest_again = again.iter().map(|file| in_clusters(file.len, cluster)).max().unwrap_or(0);
        let new: u64 = new.iter().map(|file| in_clusters(file.len, cluster)).sum();
        let names = in_clusters(staged.files.len() as u64 * BYTES_OF_A_NAME, cluster);
        Some(new + largest_again + names + in_clusters(staged.text.len() as u64, cluster))
    }

    /// Bytes of unfinished files, which the copying reuses or removes.
    pub(crate) fn room_freed(&self, cluster: u64) -> u64 {
        self.unfinished.iter().map(|len| len.next_multiple_of(cluster.max(1))).fold(0, u64::saturating_add)
    }
}

/// Bytes that a file takes in the folder of the drive beside its content, estimated high.
const BYTES_OF_A_NAME: u64 = 128;

/// Refuses a folder that something tells is not the copy of the staged volume.
fn check_is_copy(staged: &Staged, volume: &Volume) -> Result<(), FlowError> {
    if let Some(text) = volume.read_small(SUMS, limits::SUMS_FILE) {
        let text = match text {
            Err(ScanError::Io(fault)) => return Err(fault.into()),
            text => text.ok(),
        };
        if text.as_ref() != Some(&staged.text) {
            return Err(another(&volume.dir, "its SHA256SUMS says other things"));
        }
    }
    if volume.file(JOURNAL).is_some() {
        return Err(another(&volume.dir, "it is being packed, or that was interrupted"));
    }
    let names: HashSet<&str> = staged.files.iter().map(|file| file.name.as_str()).collect();
    match volume.files.iter().find(|found| part::is_part(&found.name) && !names.contains(&found.name[..])) {
        Some(found) => Err(another(&volume.dir, &format!("it holds {}", found.name))),
        None => Ok(()),
    }
}

/// Counts what was read. Returns whether the run is to go on.
fn goes_on(monitor: &dyn Monitor, bytes: u64) -> bool {
    monitor.advance(bytes);
    !monitor.cancelled()
}

fn in_clusters(len: u64, cluster: u64) -> u64 {
    len.next_multiple_of(cluster.max(1))
}

fn another(folder: &Path, why: &str) -> FlowError {
    LoadError::Another { folder: folder.to_path_buf(), why: why.into() }.into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::digest::Digest;

    /// A staged volume with files of these lengths, and a SHA256SUMS of 80 bytes.
    fn staged(files: &[(&str, u64)]) -> Staged {
        let file = |(name, len): &(&str, u64)| ListedFile { name: name.to_string(), sum: Digest([0; 32]), len: *len };
        let volume = Volume { dir: "/s/volume-1".into(), files: Vec::new(), others: 0, fault: None };
        Staged { volume, text: vec![b'x'; 80], files: files.iter().map(file).collect() }
    }

    const FILES: [(&str, u64); 3] = [("seal.age", 1_500), ("head.age", 10), ("000001.age", 3_000)];
    const CLUSTER: u64 = 1_000;

    fn names(names: &[&str]) -> HashSet<String> {
        names.iter().map(|name| name.to_string()).collect()
    }

    #[test]
    fn room_is_counted_in_clusters_with_the_folder_and_the_sums() {
        let found = OnDrive::default();
        assert_eq!(found.room_needed(&staged(&FILES), CLUSTER), Some(2_000 + 1_000 + 3_000 + 1_000 + 1_000));
        assert_eq!(found.room_needed(&staged(&FILES), 0), Some(1_500 + 10 + 3_000 + 3 * 128 + 80), "bytes, if unknown");
    }

    #[test]
    fn of_files_that_are_written_again_only_the_largest_needs_room() {
        let again = vec!["seal.age".to_string(), "000001.age".to_string()];
        let found = OnDrive { again, ..OnDrive::default() };
        assert_eq!(found.room_needed(&staged(&FILES), CLUSTER), Some(1_000 + 3_000 + 1_000 + 1_000));
    }

    #[test]
    fn whole_files_need_no_room_and_a_complete_copy_needs_none_at_all() {
        let whole = names(&["seal.age", "head.age", "000001.age"]);
        let mut found = OnDrive { whole, ..OnDrive::default() };
        assert_eq!(found.room_needed(&staged(&FILES), CLUSTER), Some(1_000 + 1_000), "SHA256SUMS is missing");
        found.has_sums = true;
        assert_eq!(found.room_needed(&staged(&FILES), CLUSTER), None);
        found.whole.remove("head.age");
        assert_eq!(found.room_needed(&staged(&FILES), CLUSTER), Some(1_000 + 1_000 + 1_000));
    }

    #[test]
    fn unfinished_files_give_their_clusters_back() {
        let found = OnDrive { unfinished: vec![1_500, 10], ..OnDrive::default() };
        assert_eq!(found.room_freed(CLUSTER), 3_000);
        assert!(!found.is_nothing());
        let huge = OnDrive { unfinished: vec![1 << 63, 1 << 63], ..OnDrive::default() };
        assert_eq!(huge.room_freed(CLUSTER.next_power_of_two()), u64::MAX, "a drive may state any length");
    }
}
