//! A staged volume: a folder with a SHA256SUMS and all files that it names. Everything that can be told without reading
//! the files is checked before the drive is touched. A volume of which an interrupted `--move` removed some files
//! counts too, as long as the drive has these.
//!
//! Not guaranteed: that the files have the right content. The copying finds that out.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use crate::base::digest::Digest;
use crate::base::fault::At;
use crate::base::memory;
use crate::base::monitor::{Monitor, check_not_cancelled};
use crate::base::path::show;
use crate::flow::FlowError;
use crate::flow::bundle::scan::{gather, impossible};
use crate::flow::drives::folders::check_is_folder;
use crate::flow::error::LoadError;
use crate::format::sums::{self, NamedDigest};
use crate::format::{is_unfinished, limits, part};
use crate::stage::journal::JOURNAL;
use crate::stage::volume::{self, ALL_SEALS, SUMS, ScanError, Volume};

/// Bytes of one read.
const READ: usize = 1 << 20;

/// The one volume at or below a folder, with its canonical path.
///
/// # Errors
/// There is no volume, or more than one.
pub(crate) fn the_one(staged: &Path) -> Result<Volume, FlowError> {
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

/// The folder of the copy on the drive, whether it exists or not. It has the name of the staged one, in any case.
///
/// # Errors
/// The drive is no folder, or the copy would lie in the staged volume.
pub(crate) fn target_of(volume: &Volume, drive: &Path) -> Result<PathBuf, FlowError> {
    check_is_folder(drive)?;
    let Some(number) = volume.number() else {
        let text = format!("{} is not named as volumes are, volume-1 and so on", show(&volume.dir));
        return Err(FlowError::Usage(text));
    };
    let real = drive.canonicalize().at("look at", drive)?;
    let folder = volume::folder_on(drive, number);
    if real.starts_with(&volume.dir) || folder.canonicalize().is_ok_and(|folder| folder.starts_with(&volume.dir)) {
        let text = format!("{} is in the staged volume, or around it; give another drive", show(drive));
        return Err(FlowError::Usage(text));
    }
    Ok(folder)
}

/// A file that SHA256SUMS names.
pub(crate) struct ListedFile {
    pub(crate) name: String,
    /// The SHA-256 that it must have.
    pub(crate) sum: Digest,
    /// The length in bytes of the staged file; 0 if an interrupted `--move` removed that.
    pub(crate) len: u64,
}

/// A staged volume.
pub(crate) struct Staged {
    pub(crate) volume: Volume,
    /// The content of SHA256SUMS.
    pub(crate) text: Vec<u8>,
    /// All files that SHA256SUMS names, seals first: they tell an interrupted run whose volume it is.
    pub(crate) files: Vec<ListedFile>,
}

impl Staged {
    /// Reads SHA256SUMS and checks what it lists. `folder` is the copy on the drive: with `remove`, its SHA256SUMS will
    /// do, because an interrupted `--move` removes the staged one first.
    pub(crate) fn read(volume: Volume, folder: &Path, remove: bool) -> Result<Self, FlowError> {
        let path = sums_path(&volume, folder, remove)?;
        let text = match volume::read_small(&path, limits::SUMS_FILE) {
            Err(ScanError::Format(source)) => return Err(LoadError::Sums { path, source }.into()),
            other => other?,
        };
        let lines = sums::parse(&text).map_err(|source| LoadError::Sums { path, source })?;
        let mut files: Vec<ListedFile> = lines.into_iter().map(|line| with_len(line, &volume)).collect();
        files.sort_by_key(|file| !ALL_SEALS.contains(&file.name.as_str()));
        let staged = Self { volume, text, files };
        staged.check_listing()?;
        Ok(staged)
    }

    /// Checks that SHA256SUMS names what a volume holds, and that each staged file can be what it names.
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
            let why = if !names.contains(found.name.as_str()) {
                part::is_part(&found.name).then(|| "is not in SHA256SUMS".to_string())
            } else if !found.regular {
                Some("is not a regular file".into())
            } else {
                impossible(&found.name, found.len)
            };
            wrong.extend(why.map(|why| (found.name.clone(), why)));
        }
        self.refuse(wrong)
    }

    /// Checks that every file is staged. After an interrupted `--move`, files that are `whole` on the drive need not be
    /// staged any more.
    pub(crate) fn check_all_there(&self, whole: &HashSet<String>) -> Result<(), FlowError> {
        let has_sums = self.volume.file(SUMS).is_some();
        let absent = self.files.iter().filter(|file| self.volume.file(&file.name).is_none());
        let missing = absent.filter(|file| has_sums || !whole.contains(&file.name));
        self.refuse(missing.map(|file| (file.name.clone(), "is missing".to_string())).collect())
    }

    /// Checks that a staged volume without SHA256SUMS is the rest of a `--move`: every file that is left is still the
    /// one that the SHA256SUMS on the drive names.
    pub(crate) fn check_is_rest_of_move(&self, monitor: &dyn Monitor) -> Result<(), FlowError> {
        let volume = &self.volume;
        if volume.file(SUMS).is_some() {
            return Ok(());
        }
        let mut buf = memory::zeros(READ);
        for file in self.files.iter().filter(|file| volume.file(&file.name).is_some()) {
            let digest = volume::digest(volume.open(&file.name)?, &mut buf, |_| check_not_cancelled(monitor));
            if monitor.cancelled() {
                return Err(FlowError::Cancelled);
            }
            let (sum, _) = digest.at("read", &volume.path(&file.name))?;
            if sum != file.sum || volume.file(JOURNAL).is_some() {
                return Err(LoadError::Unfinished { staged: volume.dir.clone(), on_drive: None }.into());
            }
        }
        Ok(())
    }

    /// Fails if any of its files is wrong; each has a name and what is wrong with it.
    pub(crate) fn refuse(&self, wrong: Vec<(String, String)>) -> Result<(), FlowError> {
        if wrong.is_empty() {
            return Ok(());
        }
        Err(LoadError::Source { folder: self.volume.dir.clone(), files: wrong }.into())
    }

    /// The names of all files, in the order in which they are copied.
    pub(crate) fn names(&self) -> Vec<String> {
        self.files.iter().map(|file| file.name.clone()).collect()
    }

    /// The bytes of all staged files.
    pub(crate) fn bytes(&self) -> u64 {
        self.files.iter().map(|file| file.len).sum()
    }
}

fn with_len(NamedDigest { name, sha256: sum }: NamedDigest, volume: &Volume) -> ListedFile {
    ListedFile { len: volume.file(&name).map_or(0, |found| found.len), name, sum }
}

/// The path of the SHA256SUMS that counts: the staged one, or after an interrupted `--move` the one on the drive.
fn sums_path(volume: &Volume, folder: &Path, remove: bool) -> Result<PathBuf, FlowError> {
    if volume.file(SUMS).is_some() {
        return Ok(volume.path(SUMS));
    }
    let on_drive = volume::read(folder).map_or_else(|_| folder.join(SUMS), |copy| copy.path(SUMS));
    let is_on_drive = on_drive.is_file();
    if remove && is_on_drive {
        return Ok(on_drive);
    }
    let on_drive = is_on_drive.then(|| folder.to_path_buf());
    Err(LoadError::Unfinished { staged: volume.dir.clone(), on_drive }.into())
}
