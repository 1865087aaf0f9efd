//! A volume as a reader finds it: the names in its folder, and the content of its small files. Only regular files are
//! opened, and how much is read is limited.
//!
//! Not guaranteed: that the files still are as they were when the folder was read.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use super::names::{self, HEADS, VolumeFile, number_of};
use crate::base::fault::{At, IoFault, is_denied};
use crate::base::os;
use crate::format::seal::ALL_SEALS;
use crate::format::volume_number::VolumeNumber;
use crate::format::{FormatError, limits, part};

/// The folder of a volume, as it was when it was read.
#[derive(Debug, Clone)]
pub struct Volume {
    pub(crate) dir: PathBuf,
    /// Files in the folder, foreign ones too, sorted by name.
    pub(crate) files: Vec<VolumeFile>,
    /// How many more names the folder holds; none of them is a name of the format.
    pub(crate) others: usize,
    /// Why the folder could not be read. Then it is not known whether it is a volume.
    pub(crate) fault: Option<ScanError>,
}

/// Why a folder or a small file could not be read.
#[derive(Debug, Clone, thiserror::Error)]
pub(crate) enum ScanError {
    /// The system refused or failed a step.
    #[error(transparent)]
    Io(#[from] IoFault),
    /// A limit is exceeded: the folder has too many names, or the small file is too large.
    #[error(transparent)]
    Format(#[from] FormatError),
}

/// Reads a folder as a volume, whether it is one or not.
///
/// # Errors
/// The folder cannot be read, or holds more names than [`limits`] allow.
pub(crate) fn read(dir: &Path) -> Result<Volume, ScanError> {
    let (files, others) = read_folder(dir)?;
    Ok(Volume { dir: dir.to_owned(), files, others, fault: None })
}

/// Whether an error leaves open what the drive holds at a place. A missing name and a lack of permission do not: the
/// drive answered.
pub(super) fn is_unknown(error: &io::Error) -> bool {
    error.kind() != io::ErrorKind::NotFound && !is_denied(error)
}

/// The files in a folder by name, and how many names were dropped: names that are not UTF-8, and, once
/// [`limits::FOLDER`] files are kept, names that are not of the format. So no number of foreign files can hide the
/// files of a volume.
fn read_folder(dir: &Path) -> Result<(Vec<VolumeFile>, usize), ScanError> {
    let mut files = Vec::new();
    let mut others = 0;
    let mut unknown = None;
    for (at, entry) in fs::read_dir(dir).at("look into", dir)?.enumerate() {
        FormatError::check_limit("the number of files in a folder", at as u64, limits::NAMES as u64)?;
        let entry = entry.at("look into", dir)?;
        let name = entry.file_name().into_string().ok();
        let Some(name) = name.filter(|name| files.len() < limits::FOLDER || names::may_be_ours(name)) else {
            others += 1;
            continue;
        };
        FormatError::check_limit("the number of files of a volume", files.len() as u64, 2 * limits::FOLDER as u64)?;
        match entry.metadata() {
            Ok(meta) => files.push(VolumeFile { name, on_drive: None, len: meta.len(), regular: meta.is_file() }),
            // The file was removed after it was listed.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => unknown = Some(error),
        }
    }
    // One bad file must not hide the others. But a drive that answers for no file at all has no empty folder.
    if let Some(error) = unknown.filter(|_| files.is_empty()) {
        return Err(error).at("look into", dir)?;
    }
    names::spell(&mut files);
    Ok((files, others))
}

impl Volume {
    /// Stands for a folder that could not be read but is expected to be a volume, so that it is reported as one.
    pub(crate) fn unread(dir: &Path, fault: ScanError) -> Self {
        Self { dir: dir.to_owned(), files: Vec::new(), others: 0, fault: Some(fault) }
    }

    /// The file with that name of the format, in whatever case the drive shows it.
    pub(crate) fn file(&self, name: &str) -> Option<&VolumeFile> {
        self.files.binary_search_by(|file| file.name.as_str().cmp(name)).ok().map(|at| &self.files[at])
    }

    /// The number in the folder's name; `None` if the folder was renamed.
    pub(crate) fn number(&self) -> Option<VolumeNumber> {
        number_of(self.dir.file_name()?.to_str()?)
    }

    /// The path of the file with that name: as the drive shows it, or the exact one if the file is missing.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        let on_drive = self.file(name).and_then(|found| found.on_drive.as_deref());
        self.dir.join(on_drive.unwrap_or(name))
    }

    /// Reads a whole file of at most `limit` bytes; `None` if the volume has no file of that name.
    pub(crate) fn read_small(&self, name: &str, limit: u64) -> Option<Result<Vec<u8>, ScanError>> {
        self.file(name)?;
        let file = self.open(name).map_err(ScanError::Io);
        Some(file.and_then(|file| read_to_limit(file, &self.path(name), limit)))
    }

    /// Reads the first bytes of a file, at most `len`. Returns them, and the open file positioned behind them.
    pub(crate) fn read_start(&self, name: &str, len: usize) -> Result<(Vec<u8>, File), IoFault> {
        let mut file = self.open(name)?;
        let mut start = Vec::new();
        (&mut file).take(len as u64).read_to_end(&mut start).at("read", &self.path(name))?;
        Ok((start, file))
    }

    /// Opens a file of the volume to be read.
    ///
    /// # Errors
    /// The file is a link, FIFO, folder or device, or the system refuses.
    pub(crate) fn open(&self, name: &str) -> Result<File, IoFault> {
        let path = self.path(name);
        let not_regular = self.file(name).is_some_and(|found| !found.regular);
        let file = if not_regular { Err(io::Error::other("not a regular file")) } else { os::open_regular(&path) };
        file.at("read", &path)
    }

    /// Whether it holds a seal, a head or a file with the name of a part.
    pub(super) fn is_volume(&self) -> bool {
        self.has_index() || self.files.iter().any(|file| part::is_part(&file.name))
    }

    /// Whether it holds a seal or a head. A part alone may be a stray file.
    pub(super) fn has_index(&self) -> bool {
        ALL_SEALS.iter().chain(&HEADS).any(|name| self.file(name).is_some())
    }
}

/// Reads a whole file of at most `limit` bytes. The bytes are counted as they come, because a drive may state any size.
pub(crate) fn read_small(path: &Path, limit: u64) -> Result<Vec<u8>, ScanError> {
    read_to_limit(os::open_regular(path).at("read", path)?, path, limit)
}

fn read_to_limit(file: File, path: &Path, limit: u64) -> Result<Vec<u8>, ScanError> {
    let mut bytes = Vec::new();
    file.take(limit + 1).read_to_end(&mut bytes).at("read", path)?;
    FormatError::check_limit("the size of a small file", bytes.len() as u64, limit)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_small_file_is_read_up_to_its_limit() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("SEAL.AGE"), b"12345").unwrap();
        let volume = read(dir.path()).unwrap();
        assert_eq!(volume.read_small("seal.age", 5).unwrap().unwrap(), b"12345");
        assert!(matches!(volume.read_small("seal.age", 4), Some(Err(ScanError::Format(FormatError::Limit { .. })))));
        assert!(volume.read_small("head.age", 5).is_none());
        let (start, mut rest) = volume.read_start("seal.age", 2).unwrap();
        let mut behind = Vec::new();
        rest.read_to_end(&mut behind).unwrap();
        assert_eq!((&start[..], &behind[..]), (&b"12"[..], &b"345"[..]));
    }

    #[test]
    fn a_part_makes_a_folder_a_volume_and_only_seals_and_heads_are_its_index() {
        let dir = tempfile::tempdir().unwrap();
        let judged = |name: &str| {
            fs::write(dir.path().join(name), b"").unwrap();
            let volume = read(dir.path()).unwrap();
            (volume.is_volume(), volume.has_index())
        };
        assert_eq!(judged("list.age"), (false, false));
        assert_eq!(judged("000001.age"), (true, false));
        assert_eq!(judged("HEAD2.AGE"), (true, true));
    }

    #[test]
    fn a_folder_that_is_gone_or_closed_is_known_to_hold_nothing_for_us() {
        let known = [io::ErrorKind::NotFound, io::ErrorKind::PermissionDenied];
        assert!(known.into_iter().all(|kind| !is_unknown(&kind.into())));
        assert!(is_unknown(&io::Error::from_raw_os_error(5)));
    }
}
