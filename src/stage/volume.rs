//! Volumes on drives: reads the folder of a volume and its small files. `volume/names.rs` has the names of the files,
//! `volume/scan.rs` finds volumes, `volume/writer.rs` writes them and `volume/copier.rs` copies whole ones; both
//! writers see to it that no incomplete volume looks complete. Only regular files are opened, and no link on a drive
//! is followed.
//!
//! Not guaranteed: that a volume is what its names say. Only what opens with a key tells which bundle it belongs to.

mod copier;
mod names;
mod scan;
mod writer;

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use crate::base::digest::{Digest, Hasher};
use crate::base::fault::{At, IoFault, is_denied};
use crate::base::os;
use crate::format::journal::JOURNAL;
pub use crate::format::seal::{ALL_SEALS, PASSPHRASE_SEAL, SEALS};
use crate::format::{FormatError, is_unfinished, limits, part};
pub use copier::{Copied, Copier, Tick, no_longer_whole, remove_whole};
pub use names::{HEADS, LIST, SUMS, VolumeFile, is_volume_name, number_of};
pub use scan::{PassedOver, Search, scan};
pub use writer::{SUMS_READY, Writer, remove_ours, take_back};

/// The folder of volume `number` on the drive at `path`, whether it exists or not.
pub fn folder(path: &Path, number: u16) -> PathBuf {
    path.join(format!("volume-{number}"))
}

/// The existing folder of volume `number` on a drive, with its name in any case; else the path to create it under.
/// The exact name wins, then the first in byte order.
pub fn folder_on(drive: &Path, number: u16) -> PathBuf {
    let exact = folder(drive, number);
    let same = |name: &std::ffi::OsStr| exact.file_name().is_some_and(|exact| name.eq_ignore_ascii_case(exact));
    let names = fs::read_dir(drive).into_iter().flatten().flatten().map(|entry| entry.file_name());
    let mut there: Vec<_> = names.filter(|name| same(name)).collect();
    there.sort_unstable();
    match there.first() {
        Some(name) if exact.symlink_metadata().is_err() => drive.join(name),
        _ => exact,
    }
}

/// Renames the files of a volume to the exact names of the format, where the drive shows them in another case.
pub fn restore_exact_names(dir: &Path) -> Result<(), ScanError> {
    for found in read(dir)?.files {
        if let Some(on_drive) = &found.on_drive {
            let path = dir.join(on_drive);
            fs::rename(&path, dir.join(&found.name)).at("name", &path)?;
        }
    }
    Ok(os::sync_dir(dir).at("sync", dir)?)
}

/// Bytes of an unfinished file that [`is_free`] reads to tell whose it is: more than a seal has.
const LOOKED_AT: u64 = 64 << 10;

/// Whether a new volume can be written at `dir`: the folder is missing or empty, or holds only the first file of a run
/// that was killed while it wrote that. A journal counts if the drive kept none of its content.
pub fn is_free(dir: &Path) -> bool {
    let ours = |entry: io::Result<fs::DirEntry>| {
        entry.is_ok_and(|entry| match entry.file_name().to_str() {
            Some(JOURNAL) => is_a_beginning(&entry.path(), &[]),
            Some(name) => {
                is_unfinished(name) && is_a_beginning(&entry.path(), &[b"pouch-journal 1 ", b"age-encryption.o"])
            }
            None => false,
        })
    };
    match dir.symlink_metadata() {
        Err(error) => error.kind() == io::ErrorKind::NotFound,
        Ok(meta) => meta.is_dir() && fs::read_dir(dir).is_ok_and(|mut entries| entries.all(ours)),
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

/// Whether `named` knows every small file that a volume needs: a seal (to recipients or to a passphrase), the list and
/// both heads.
pub fn has_all_small(named: impl Fn(&str) -> bool) -> bool {
    (named(SEALS[0]) || named(PASSPHRASE_SEAL)) && named(LIST) && HEADS.iter().all(|head| named(head))
}

/// The folder of a volume, as it was when it was read.
#[derive(Debug, Clone)]
pub struct Volume {
    pub dir: PathBuf,
    /// Files in the folder, foreign ones too, sorted by name.
    pub files: Vec<VolumeFile>,
    /// How many more names the folder holds; none of them is a name of the format.
    pub others: usize,
    /// Why the folder could not be read. Then it is not known whether it is a volume.
    pub fault: Option<ScanError>,
}

/// Why a folder or a small file could not be read.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ScanError {
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
pub fn read(dir: &Path) -> Result<Volume, ScanError> {
    let (files, others) = read_folder(dir)?;
    Ok(Volume { dir: dir.to_owned(), files, others, fault: None })
}

/// Whether an error leaves open what the drive holds at a place. A missing name and a lack of permission do not: the
/// drive answered.
fn is_unknown(error: &io::Error) -> bool {
    error.kind() != io::ErrorKind::NotFound && !is_denied(error)
}

/// The files in a folder by name, and how many names were dropped: names that are not UTF-8, and, once
/// [`limits::FOLDER`] files are kept, names that are not of the format. So no number of foreign files can hide the
/// files of a volume.
fn read_folder(dir: &Path) -> Result<(Vec<VolumeFile>, usize), ScanError> {
    let (mut files, mut others, mut unknown) = (Vec::new(), 0, None);
    for (at, entry) in fs::read_dir(dir).at("look into", dir)?.enumerate() {
        FormatError::check_limit("the number of files in a folder", at as u64, limits::NAMES as u64)?;
        let entry = entry.at("look into", dir)?;
        let kept = |name: &str| files.len() < limits::FOLDER || names::may_be_ours(name);
        let Some(name) = entry.file_name().into_string().ok().filter(|name| kept(name)) else {
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
    pub fn unread(dir: &Path, fault: ScanError) -> Self {
        Self { dir: dir.to_owned(), files: Vec::new(), others: 0, fault: Some(fault) }
    }

    /// The file with that name of the format, in whatever case the drive shows it.
    pub fn file(&self, name: &str) -> Option<&VolumeFile> {
        self.files.binary_search_by(|file| file.name.as_str().cmp(name)).ok().map(|at| &self.files[at])
    }

    /// The number in the folder's name; `None` if the folder was renamed.
    pub fn number(&self) -> Option<u16> {
        number_of(self.dir.file_name()?.to_str()?)
    }

    /// The path of the file with that name: as the drive shows it, or the exact one if the file is missing.
    pub fn path(&self, name: &str) -> PathBuf {
        let on_drive = self.file(name).and_then(|found| found.on_drive.as_deref());
        self.dir.join(on_drive.unwrap_or(name))
    }

    /// Reads a whole file of at most `limit` bytes; `None` if the volume has no file of that name.
    pub fn read_small(&self, name: &str, limit: u64) -> Option<Result<Vec<u8>, ScanError>> {
        self.file(name)?;
        let file = self.open(name).map_err(ScanError::Io);
        Some(file.and_then(|file| read_to_limit(file, &self.path(name), limit)))
    }

    /// Reads the first bytes of a file, at most `len`. Returns them, and the open file positioned behind them.
    pub fn read_start(&self, name: &str, len: usize) -> Result<(Vec<u8>, File), IoFault> {
        let (mut file, mut start) = (self.open(name)?, Vec::new());
        (&mut file).take(len as u64).read_to_end(&mut start).at("read", &self.path(name))?;
        Ok((start, file))
    }

    /// Opens a file of the volume to be read.
    ///
    /// # Errors
    /// The file is a link, FIFO, folder or device, or the system refuses.
    pub fn open(&self, name: &str) -> Result<File, IoFault> {
        let path = self.path(name);
        let not_regular = self.file(name).is_some_and(|found| !found.regular);
        let file = if not_regular { Err(io::Error::other("not a regular file")) } else { os::open_regular(&path) };
        file.at("read", &path)
    }

    /// Whether it holds a seal, a head or a file with the name of a part.
    fn is_volume(&self) -> bool {
        self.has_index() || self.files.iter().any(|file| part::is_part(&file.name))
    }

    /// Whether it holds a seal or a head. A part alone may be a stray file.
    fn has_index(&self) -> bool {
        ALL_SEALS.iter().chain(&HEADS).any(|name| self.file(name).is_some())
    }
}

/// Reads a whole file of at most `limit` bytes. The bytes are counted as they come, because a drive may state any size.
pub fn read_small(path: &Path, limit: u64) -> Result<Vec<u8>, ScanError> {
    read_to_limit(os::open_regular(path).at("read", path)?, path, limit)
}

fn read_to_limit(file: File, path: &Path, limit: u64) -> Result<Vec<u8>, ScanError> {
    let mut bytes = Vec::new();
    file.take(limit + 1).read_to_end(&mut bytes).at("read", path)?;
    FormatError::check_limit("the size of a small file", bytes.len() as u64, limit)?;
    Ok(bytes)
}

/// SHA-256 of a file, and its length in bytes. `tick` gets the number of bytes after each read; its error ends the
/// reading.
pub fn digest(file: File, buf: &mut [u8], mut tick: impl FnMut(u64) -> io::Result<()>) -> io::Result<(Digest, u64)> {
    let (mut hasher, mut len) = (Hasher::new(), 0);
    read_through(file, buf, |bytes| {
        hasher.update(bytes);
        len += bytes.len() as u64;
        tick(bytes.len() as u64)
    })?;
    Ok((hasher.finish(), len))
}

/// Hands a file to `take`, in pieces of at most `buf.len()` bytes, until its end or the first error of `take`.
pub fn read_through(mut file: File, buf: &mut [u8], mut take: impl FnMut(&[u8]) -> io::Result<()>) -> io::Result<()> {
    loop {
        match file.read(buf) {
            Ok(0) => return Ok(()),
            Ok(n) => take(&buf[..n])?,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::digest::sha256;
    use crate::format::{UNFINISHED, sums};

    #[test]
    fn a_volume_is_found_as_written() {
        let drive = tempfile::tempdir().unwrap();
        let mut writer = Writer::create(drive.path(), 2).unwrap();
        writer.put("000001.age", b"part", sha256(b"part")).unwrap();
        let len = writer.put_stream("head.age", |out| out.write_all(b"head")).unwrap();
        assert_eq!(len, 4);
        assert!(!drive.path().join("volume-2/SHA256SUMS").exists(), "the last file");
        writer.write_sums().unwrap();
        assert!(!drive.path().join("volume-2/SHA256SUMS").exists(), "it lacks its name");
        writer.finish().unwrap();
        fs::write(drive.path().join("volume-2/.DS_Store"), b"foreign").unwrap();
        fs::create_dir(drive.path().join("System Volume Information")).unwrap();
        let found = scan(drive.path()).unwrap().volumes;
        assert_eq!(found.len(), 1);
        let names: Vec<_> = found[0].files.iter().map(|file| file.name.as_str()).collect();
        assert_eq!(names, [".DS_Store", "000001.age", "SHA256SUMS", "head.age"]);
        let text = found[0].read_small(SUMS, 1000).unwrap().unwrap();
        let lines = sums::parse(&text).unwrap();
        assert_eq!(lines, [(sha256(b"part"), "000001.age".into()), (sha256(b"head"), "head.age".into())]);
        assert_eq!(scan(&found[0].dir).unwrap().volumes.len(), 1, "given itself");
    }

    #[test]
    fn a_folder_is_free_but_for_what_a_run_left_that_died_with_its_first_file() {
        let drive = tempfile::tempdir().unwrap();
        let dir = drive.path().join("volume-1");
        assert!(is_free(&dir));
        fs::create_dir(&dir).unwrap();
        let seal = [&b"age-encryption.org/v1\n"[..], &[7; 3000]].concat();
        for ours in [&b""[..], b"age-enc", &seal, b"pouch-journal 1 00", &[0; 3000], &[0xff; 16]] {
            fs::write(dir.join(UNFINISHED), ours).unwrap();
            assert!(is_free(&dir), "{}", ours.escape_ascii());
        }
        let late = [&[0; 3000][..], b"text"].concat();
        for foreign in [&b"mine"[..], &late, &[0, 0xff], b"age-encryption?"] {
            fs::write(dir.join(UNFINISHED), foreign).unwrap();
            assert!(!is_free(&dir), "{}", foreign.escape_ascii());
        }
        fs::write(dir.join(UNFINISHED), b"").unwrap();
        for (journal, free) in [(&b""[..], true), (&[0; 700], true), (b"pouch-journal 1 ", false), (b"mine", false)] {
            fs::write(dir.join(JOURNAL), journal).unwrap();
            assert_eq!(is_free(&dir), free, "{}", journal.escape_ascii());
        }
        fs::write(dir.join(JOURNAL), b"").unwrap();
        Writer::create(drive.path(), 1).unwrap();
        assert!(!dir.join(JOURNAL).exists(), "no volume has one in the end");
        fs::write(dir.join("notes"), b"").unwrap();
        assert!(!is_free(&dir));
    }

    #[test]
    fn an_existing_folder_is_left_alone() {
        let drive = tempfile::tempdir().unwrap();
        fs::create_dir(drive.path().join("volume-1")).unwrap();
        Writer::create(drive.path(), 1).unwrap();
        fs::write(drive.path().join("volume-1/file"), b"").unwrap();
        let error = Writer::create(drive.path(), 1).err().unwrap();
        assert_eq!(error.source.kind(), io::ErrorKind::AlreadyExists);
    }

    #[test]
    fn an_abandoned_volume_leaves_nothing() {
        let drive = tempfile::tempdir().unwrap();
        let mut writer = Writer::create(drive.path(), 1).unwrap();
        writer.put("seal.age", b"x", sha256(b"x")).unwrap();
        let failed = writer.put_stream("list.age", |_| Err(io::Error::other("no")));
        assert!(failed.is_err());
        writer.abandon();
        assert_eq!(fs::read_dir(drive.path()).unwrap().count(), 0);
    }

    #[test]
    fn what_tells_whose_a_volume_is_goes_last() {
        let drive = tempfile::tempdir().unwrap();
        // A folder cannot be removed as a file, so the removal stops here as if the run had been killed.
        fs::create_dir(drive.path().join("000001.age")).unwrap();
        for name in [SUMS, "seal.age", "seal2.age", "head.age", "000002.age"] {
            fs::write(drive.path().join(name), b"").unwrap();
        }
        assert!(remove_ours(drive.path(), |_| false).is_err());
        let left = |name| drive.path().join(name).exists();
        assert!(!left(SUMS) && left("seal.age") && left("seal2.age"));
    }

    #[test]
    fn traps_are_seen_and_not_entered() {
        let drive = tempfile::tempdir().unwrap();
        let volume = drive.path().join("v");
        fs::create_dir(&volume).unwrap();
        std::os::unix::fs::symlink("/dev/zero", volume.join("000001.age")).unwrap();
        std::os::unix::fs::symlink(&volume, drive.path().join("link")).unwrap();
        let found = scan(drive.path()).unwrap().volumes;
        assert_eq!(found.len(), 1, "the link to it does not count");
        assert!(!found[0].files[0].regular && found[0].open("000001.age").is_err());
        fs::write(volume.join("seal.age"), [0; 100]).unwrap();
        assert!(matches!(read_small(&volume.join("seal.age"), 99), Err(ScanError::Format(_))));
    }
}
