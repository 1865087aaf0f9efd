//! A staged volume as it must be to be loaded: whole, as far as can be seen without reading it.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use crate::base::digest::Digest;
use crate::base::fault::At;
use crate::base::path::show;
use crate::flow::FlowError;
use crate::flow::bundle::scan::gather;
use crate::flow::bundle::scan::impossible;
use crate::flow::drives::folders::check_is_folder;
use crate::flow::error::LoadError;
use crate::format::{is_unfinished, limits, part, sums};
use crate::stage::journal::JOURNAL;
use crate::stage::volume::{self, ALL_SEALS, SUMS, ScanError, Volume};

/// The volume that is meant.
pub fn the_one(staged: &Path) -> Result<Volume, FlowError> {
    let mut volumes = gather(&[staged.to_path_buf()])?;
    if volumes.len() > 1 {
        let names: Vec<String> = volumes.iter().map(|volume| show(&volume.dir)).collect();
        let text = format!("{} holds several volumes; load one at a time: {}", show(staged), names.join(", "));
        return Err(FlowError::Usage(text));
    }
    let mut volume = volumes.swap_remove(0);
    volume.dir = volume.dir.canonicalize().at("look at", &volume.dir)?;
    Ok(volume)
}

/// Where its copy goes: under the same name, outside of the volume.
pub(super) fn target_of(volume: &Volume, drive: &Path) -> Result<PathBuf, FlowError> {
    check_is_folder(drive)?;
    let Some(number) = volume.number() else {
        let text = format!("{} is not named as volumes are, volume-1 and so on", show(&volume.dir));
        return Err(FlowError::Usage(text));
    };
    let (real, folder) = (drive.canonicalize().at("look at", drive)?, volume::folder_on(drive, number));
    if real.starts_with(&volume.dir) || folder.canonicalize().is_ok_and(|folder| folder.starts_with(&volume.dir)) {
        let text = format!("{} is in the staged volume, or around it; give another drive", show(drive));
        return Err(FlowError::Usage(text));
    }
    Ok(folder)
}

/// A file that SHA256SUMS names.
pub struct ListedFile {
    /// Its name.
    pub name: String,
    /// What it must be.
    pub sum: Digest,
    /// As it is staged; 0 if it is not there.
    pub len: u64,
}

/// A staged volume.
pub struct Staged {
    /// Its folder.
    pub volume: Volume,
    /// Its SHA256SUMS.
    pub text: Vec<u8>,
    /// Seals first: they tell whose volume it is.
    pub files: Vec<ListedFile>,
}

impl Staged {
    /// Reads its SHA256SUMS: what a moving left that was interrupted has it on the drive, in `folder`.
    pub fn read(volume: Volume, folder: &Path, remove: bool) -> Result<Self, FlowError> {
        let mut path = volume.path(SUMS);
        if volume.file(SUMS).is_none() {
            // Moving takes away SHA256SUMS first: who is interrupted then has it on the drive.
            path = volume::read(folder).map_or(folder.join(SUMS), |there| there.path(SUMS));
            if !remove || !path.is_file() {
                let on_drive = path.is_file().then(|| folder.to_path_buf());
                return Err(LoadError::Unfinished { staged: volume.dir, on_drive }.into());
            }
        }
        let text = match volume::read_small(&path, limits::SUMS_FILE) {
            Err(ScanError::Format(source)) => return Err(LoadError::Sums { path, source }.into()),
            other => other?,
        };
        let lines = sums::parse(&text).map_err(|source| LoadError::Sums { path, source })?;
        let len = |name: &str| volume.file(name).map_or(0, |found| found.len);
        let mut files: Vec<ListedFile> =
            lines.into_iter().map(|(sum, name)| ListedFile { len: len(&name), name, sum }).collect();
        files.sort_by_key(|file| !ALL_SEALS.contains(&file.name.as_str()));
        let staged = Self { volume, text, files };
        staged.check_listing()?;
        Ok(staged)
    }

    /// That SHA256SUMS names what a volume holds, and that it can be what it should be.
    fn check_listing(&self) -> Result<(), FlowError> {
        let names: HashSet<&str> = self.files.iter().map(|file| file.name.as_str()).collect();
        let mut wrong = Vec::new();
        if !volume::has_all_small(|name| names.contains(name)) {
            wrong.push((SUMS.to_string(), "does not name a seal, the list and both heads".to_string()));
        }
        for taken in names.iter().filter(|name| is_unfinished(name) || **name == JOURNAL) {
            wrong.push((taken.to_string(), "is no file of a volume that is finished".to_string()));
        }
        for found in &self.volume.files {
            if part::is_part(&found.name) && !names.contains(found.name.as_str()) {
                wrong.push((found.name.clone(), "is not in SHA256SUMS".into()));
            } else if names.contains(found.name.as_str()) {
                let not_regular = (!found.regular).then(|| "is not a regular file".to_string());
                wrong.extend(
                    not_regular.or_else(|| impossible(&found.name, found.len)).map(|why| (found.name.clone(), why)),
                );
            }
        }
        self.refuse(wrong)
    }

    /// That every file is staged which is not on the drive.
    pub fn all_there(&self, whole: &HashSet<String>) -> Result<(), FlowError> {
        let has_sums = self.volume.file(SUMS).is_some();
        let absent = |file: &&ListedFile| self.volume.file(&file.name).is_none();
        let missing = self.files.iter().filter(absent).filter(|file| has_sums || !whole.contains(&file.name));
        self.refuse(missing.map(|file| (file.name.clone(), "is missing".to_string())).collect())
    }

    /// Fails if there is anything wrong with its files.
    pub fn refuse(&self, files: Vec<(String, String)>) -> Result<(), FlowError> {
        match files.is_empty() {
            true => Ok(()),
            false => Err(LoadError::Source { folder: self.volume.dir.clone(), files }.into()),
        }
    }

    /// Names of all its files.
    pub fn names(&self) -> Vec<String> {
        self.files.iter().map(|file| file.name.clone()).collect()
    }

    /// Bytes that are staged.
    pub fn bytes(&self) -> u64 {
        self.files.iter().map(|file| file.len).sum()
    }
}
