//! Writes a volume. Each file is written under a temporary name, synced, closed and renamed. SHA256SUMS is the last
//! file; then the file system is synced, and SHA256SUMS gets its name when the caller has read everything back.
//!
//! After an error a file is dead. Its sync is not tried again, because the system forgets what it could not write. The
//! file is written anew under another temporary name, while the dead file keeps the bad place. A drive that fails more
//! than [`FAILURES`] times, or as a whole, is left to the caller. All files, and at the end the folder, get one time
//! and one mode (`base/neutral.rs`).
//!
//! Not guaranteed: that the drive tells the truth about what it synced.

use std::collections::{HashMap, HashSet};
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::folder::{folder, is_free};
use super::names::{HEADS, LIST, SUMS};
use crate::base::digest::{Digest, Hasher, sha256};
use crate::base::direct::{DriveReader, marks};
use crate::base::fault::{At, IoFault};
use crate::base::neutral::Neutral;
use crate::base::os;
use crate::format::journal::JOURNAL;
use crate::format::seal::ALL_SEALS;
use crate::format::sums::NamedDigest;
use crate::format::volume_number::VolumeNumber;
use crate::format::{is_unfinished, part, sums, unfinished};

/// Bytes that may wait in memory for the drive. The bound keeps the progress honest.
pub(super) const SYNC_EVERY: usize = 8 << 20;

/// The temporary name of SHA256SUMS. The sequence of temporary names for other files does not contain it.
pub(crate) const SUMS_READY: &str = "unfinished-0.tmp";
/// The verb of an [`IoFault`] for setting mode and time: "cannot ... PATH".
pub(super) const NEUTRAL: &str = "set mode and time of";
/// How many files of a volume may fail and be written anew. With the next one the drive counts as failing.
pub(super) const FAILURES: u32 = 3;

/// A volume being written.
pub(crate) struct Writer {
    dir: PathBuf,
    /// The folder, open since before the first byte: a sync through it reports losses that no file reports.
    folder: File,
    /// Files that died or were read back wrong. They keep bad places under temporary names, numbered from 0.
    failed: u32,
    /// How many of the `failed` files died while they were written.
    died: u32,
    number: VolumeNumber,
    /// The lines of SHA256SUMS.
    sums: Vec<NamedDigest>,
    /// The digest of SHA256SUMS, once that is written.
    sum_of_sums: Option<Digest>,
    /// The names of all files that are written, SHA256SUMS by its temporary name.
    made: Vec<String>,
    /// Hashes of the stretches of each file, for the read-back of parts; `None` if parts are not read back.
    marks: Option<HashMap<String, Vec<u64>>>,
    neutral: Neutral,
    shows_times: bool,
}

impl Writer {
    /// Creates the folder of the volume, or takes one that [`is_free`].
    ///
    /// # Errors
    /// `AlreadyExists` if the folder holds files: they may be another bundle.
    pub(crate) fn create(path: &Path, number: VolumeNumber) -> Result<Self, IoFault> {
        let dir = folder(path, number);
        match fs::create_dir(&dir) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && is_free(&dir) => {
                os::remove_if_there(&dir.join(JOURNAL)).at("remove", &dir.join(JOURNAL))?;
            }
            other => other.at("create", &dir)?,
        }
        os::sync_dir(path).at("sync", path)?;
        Self::of(dir, number, Vec::new())
    }

    /// Resumes a volume of an earlier run. The files in `sums` stay, and get the common time and mode, because an older
    /// version may have set others. All other files of the format are removed, SHA256SUMS first.
    pub(crate) fn resume(path: &Path, number: VolumeNumber, sums: Vec<NamedDigest>) -> Result<Self, IoFault> {
        let dir = folder(path, number);
        let keep: HashSet<&str> = sums.iter().map(|file| file.name.as_str()).collect();
        remove_ours(&dir, |name| keep.contains(name))?;
        let mut writer = Self::of(dir, number, sums)?;
        for path in writer.made.iter().map(|name| writer.dir.join(name)) {
            writer.shows_times |= !writer.neutral.apply_to(&path).at(NEUTRAL, &path)?;
        }
        Ok(writer)
    }

    fn of(dir: PathBuf, number: VolumeNumber, sums: Vec<NamedDigest>) -> Result<Self, IoFault> {
        let folder = File::open(&dir).at("open", &dir)?;
        let neutral = Neutral::of(&dir).at("look at", &dir)?;
        // The mode is set from the beginning; the time is set at the end, because every new file changes it.
        let shows_times = !neutral.apply(&folder).at(NEUTRAL, &dir)?;
        let made = sums.iter().map(|file| file.name.clone()).collect();
        Ok(Self {
            dir,
            folder,
            failed: 0,
            died: 0,
            number,
            sums,
            sum_of_sums: None,
            made,
            marks: None,
            neutral,
            shows_times,
        })
    }

    /// Whether some files show when they were written, because the file system takes no other times.
    pub(crate) fn shows_times(&self) -> bool {
        self.shows_times
    }

    /// Takes the error of a loss before the first byte of this run, if there was one, so that later syncs do not report
    /// it again.
    pub(crate) fn forget_earlier_loss(&self) -> Option<io::Error> {
        os::forget_earlier_loss(&self.folder)
    }

    /// From now on keeps marks of what is written, for [`Writer::read_back`].
    pub(crate) fn keep_marks(&mut self) {
        self.marks = Some(HashMap::new());
    }

    /// Whether parts are to be read back, not only the small files.
    pub(crate) fn is_read_back(&self) -> bool {
        self.marks.is_some()
    }

    /// Names of the files that are to be read back. The small files always are, because without them nothing opens.
    pub(crate) fn to_read_back(&self) -> Vec<String> {
        match self.marks {
            Some(_) => self.made.clone(),
            None => self.small_files().cloned().collect(),
        }
    }

    /// Names of the written files that are no parts: seals, heads, list and SHA256SUMS.
    pub(crate) fn small_files(&self) -> impl Iterator<Item = &String> {
        self.made.iter().filter(|name| !part::is_part(name))
    }

    /// Reads a file back as the drive stores it. Returns the beginning of the first stretch that is not as it was
    /// written; `None` if all is. Without marks the whole file is one stretch.
    pub(crate) fn read_back(&self, name: &str, reader: &mut DriveReader) -> Result<Option<u64>, IoFault> {
        let path = self.dir.join(name);
        let read = match self.marks.as_ref().and_then(|marks| marks.get(name)) {
            Some(marks) => reader.first_change(&path, marks),
            // Files of an earlier run and streamed files have no marks, only a digest.
            None => {
                let stored = reader.digest(&path, |_| true);
                stored.map(|stored| (self.digest_of(name) != stored.map(|(stored, _)| stored)).then_some(0))
            }
        };
        read.at("read back", &path)
    }

    /// The digest of a written file; `None` if no file of that name is written.
    fn digest_of(&self, name: &str) -> Option<Digest> {
        if name == SUMS_READY {
            return self.sum_of_sums;
        }
        self.sums.iter().find(|file| file.name == name).map(|file| file.sha256)
    }

    /// Leaves an incomplete volume to a later run. SHA256SUMS, list and heads are removed: they would contradict the
    /// volumes that are finished without this one. Best effort: the drive may be gone.
    pub(crate) fn leave(self) {
        for name in [SUMS, SUMS_READY, LIST].into_iter().chain(HEADS) {
            let _ = fs::remove_file(self.dir.join(name));
        }
        self.remove_failed();
    }

    /// Removes the dead files and an unfinished one. Best effort: the drive may be gone.
    fn remove_failed(&self) {
        (0..=self.failed).for_each(|failed| drop(fs::remove_file(self.dir.join(unfinished(failed)))));
    }

    /// Takes the name from a file that the drive did not keep. The file goes on to occupy the bad place until the end.
    /// Best effort: if the renaming fails, the next file of that name replaces it.
    pub(crate) fn set_aside(&mut self, name: &str) {
        if fs::rename(self.dir.join(name), self.dir.join(unfinished(self.failed))).is_ok() {
            self.failed += 1;
        }
        self.forget(name);
    }

    /// Removes a name from all records, so that SHA256SUMS does not list it.
    fn forget(&mut self, name: &str) {
        self.sums.retain(|file| file.name != name);
        self.made.retain(|known| known != name);
        if let Some(marks) = &mut self.marks {
            marks.remove(name);
        }
    }

    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    pub(crate) fn number(&self) -> VolumeNumber {
        self.number
    }

    /// Writes a file with content in memory, whose digest the caller knows.
    ///
    /// # Errors
    /// The drive is full, fails as a whole, or has failed too often.
    pub(crate) fn put(&mut self, name: &str, bytes: &[u8], sha256: Digest) -> Result<(), IoFault> {
        self.write(name, |file| {
            for piece in bytes.chunks(SYNC_EVERY) {
                file.write_all(piece)?;
                if piece.len() == SYNC_EVERY {
                    file.sync_data()?;
                }
            }
            Ok(())
        })?;
        self.sums.push(NamedDigest { name: name.to_string(), sha256 });
        if let Some(known) = &mut self.marks {
            known.insert(name.to_string(), marks(bytes));
        }
        Ok(())
    }

    /// Writes a file from a stream, and replaces one of that name. Returns its length in bytes. Each new attempt calls
    /// `fill` again; it need not give the same bytes.
    pub(crate) fn put_stream(
        &mut self,
        name: &str,
        fill: impl Fn(&mut dyn Write) -> io::Result<()>,
    ) -> Result<u64, IoFault> {
        self.forget(name);
        let (sha256, len) = self.write(name, |file| {
            let mut out = Summed { file, hasher: Hasher::new(), len: 0, dirty: 0 };
            fill(&mut out)?;
            Ok((out.hasher.finish(), out.len))
        })?;
        self.sums.push(NamedDigest { name: name.to_string(), sha256 });
        Ok(len)
    }

    /// Writes SHA256SUMS under its temporary name, and syncs the file system. This is the last write before the
    /// read-back, because a faulty drive could store a later one over a file that was already read.
    pub(crate) fn write_sums(&mut self) -> Result<(), IoFault> {
        self.forget(SUMS_READY);
        self.sums.sort();
        let text: Vec<u8> = self.sums.iter().flat_map(|file| sums::line(&file.sha256, file.name.as_bytes())).collect();
        self.write(SUMS_READY, |file| file.write_all(&text))?;
        self.sum_of_sums = Some(sha256(&text));
        if let Some(known) = &mut self.marks {
            known.insert(SUMS_READY.to_string(), marks(&text));
        }
        os::sync_file_system(&self.folder).at("sync", &self.dir)
    }

    /// Gives SHA256SUMS its name, so that the volume looks complete, and removes the dead files.
    pub(crate) fn finish(&mut self) -> Result<(), IoFault> {
        let path = self.dir.join(SUMS);
        os::rename_durably(&self.dir.join(SUMS_READY), &path).at("name", &path)?;
        self.remove_failed();
        self.shows_times |= !self.neutral.apply_to_folder(&self.dir).at(NEUTRAL, &self.dir)?;
        Ok(())
    }

    /// Removes the volume. Returns `false` if that failed, for example because the drive is gone.
    pub(crate) fn abandon(self) -> bool {
        let removed = remove_ours(&self.dir, |_| false);
        let _ = fs::remove_dir(&self.dir);
        removed.is_ok()
    }

    /// Writes a file, and again under another temporary name if only one place of the drive failed.
    fn write<T>(&mut self, name: &str, fill: impl Fn(&mut File) -> io::Result<T>) -> Result<T, IoFault> {
        self.made.push(name.to_string());
        loop {
            match self.write_once(name, &fill) {
                Err(fault) if self.died < FAILURES && os::is_of_one_place(&fault.source) => {
                    self.failed += 1;
                    self.died += 1;
                    // This sync takes the error of the dead file, so that the last sync does not report it.
                    let _ = os::sync_file_system(&self.folder);
                }
                other => {
                    // A full drive may still take a smaller file in this room.
                    if other.is_err() {
                        let _ = fs::remove_file(self.dir.join(unfinished(self.failed)));
                        self.made.retain(|known| known != name);
                    }
                    return other;
                }
            }
        }
    }

    fn write_once<T>(&mut self, name: &str, fill: impl Fn(&mut File) -> io::Result<T>) -> Result<T, IoFault> {
        let temporary = self.dir.join(unfinished(self.failed));
        let path = self.dir.join(name);
        let mut file = os::create_anew(&temporary, File::options().write(true)).at("create", &path)?;
        let filled = fill(&mut file).at("write", &path)?;
        self.shows_times |= !close_durably(file, &temporary, &path, self.neutral)?;
        Ok(filled)
    }
}

/// Gives a written file the common mode and time, makes it durable and renames it. Returns whether the file system took
/// the time.
pub(super) fn close_durably(file: File, temporary: &Path, path: &Path, neutral: Neutral) -> Result<bool, IoFault> {
    let took = neutral.apply(&file).at(NEUTRAL, path)?;
    file.sync_all().at("sync", path)?;
    os::close(file).at("close", path)?;
    os::rename_durably(temporary, path).at("name", path)?;
    Ok(took)
}

/// Removes the SHA256SUMS of a volume that is not complete after all, durably and in any case of its name, so that the
/// volume no longer looks complete.
pub(crate) fn unpublish(dir: &Path) -> Result<(), IoFault> {
    for entry in fs::read_dir(dir).at("look into", dir)? {
        let entry = entry.at("look into", dir)?;
        if entry.file_name().eq_ignore_ascii_case(SUMS) {
            os::remove_if_there(&entry.path()).at("remove", &entry.path())?;
        }
    }
    os::sync_dir(dir).at("sync", dir)
}

/// Removes the files in a volume's folder that we write, except those to `keep` and the journal. Foreign files stay.
pub(crate) fn remove_ours(dir: &Path, keep: impl Fn(&str) -> bool) -> Result<(), IoFault> {
    let entries = match fs::read_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        other => other.at("look into", dir)?,
    };
    let names = entries.flatten().filter_map(|entry| entry.file_name().into_string().ok());
    let mut ours: Vec<String> = names.filter(|name| is_ours(name)).collect();
    // SHA256SUMS goes first, so that no incomplete volume looks complete. The seals go last, because they tell a run
    // that resumes from here whose files remain.
    ours.sort_by_key(|name| (name != SUMS, ALL_SEALS.contains(&name.as_str())));
    for name in ours.iter().filter(|name| !keep(name)) {
        let path = dir.join(name);
        fs::remove_file(&path).at("remove", &path)?;
    }
    os::sync_dir(dir).at("sync", dir)
}

/// Whether the writer of a volume makes files of that name; the journal is written by `stage/journal.rs`.
pub(crate) fn is_ours(name: &str) -> bool {
    let is_small = ALL_SEALS.contains(&name) || HEADS.contains(&name) || [SUMS, LIST].contains(&name);
    is_small || is_unfinished(name) || part::is_part(name)
}

/// Passes bytes on to a file, hashes and counts them, and syncs the file after every [`SYNC_EVERY`] bytes.
struct Summed<'a> {
    file: &'a mut File,
    hasher: Hasher,
    len: u64,
    dirty: usize,
}

impl Write for Summed<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let len = self.file.write(bytes)?;
        self.hasher.update(&bytes[..len]);
        self.len += len as u64;
        self.dirty += len;
        if self.dirty >= SYNC_EVERY {
            self.file.sync_data()?;
            self.dirty = 0;
        }
        Ok(len)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
