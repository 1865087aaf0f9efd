//! How a volume is written: a file gets a temporary name, is synced, closed and renamed; then the file
//! system is synced, and SHA256SUMS is the last one. After an error a file is dead: no sync is tried
//! twice, for the system forgets what it could not write. The same bytes are written anew under another
//! name while the dead file keeps its place; a drive that fails again and again, or as a whole, is left
//! to the caller. All files, and in the end the folder, get one time and one mode (`base/neutral.rs`). What this
//! does not guarantee: that the drive tells the truth about what it synced.

use std::collections::{HashMap, HashSet};
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::{ALL_SEALS, HEADS, LIST, SUMS, folder, is_free};
use crate::base::digest::{Digest, Hasher, sha256};
use crate::base::direct::{DriveReader, marks};
use crate::base::fault::{At, IoFault};
use crate::base::neutral::Neutral;
use crate::base::os;
use crate::format::journal::JOURNAL;
use crate::format::{is_unfinished, part, sums, unfinished};

/// Dirty data that may wait for the drive: bounded, so that progress is honest.
pub(super) const SYNC_EVERY: usize = 8 << 20;

/// SHA256SUMS until it has its name.
pub const SUMS_READY: &str = "unfinished-0.tmp";
/// What is done where a file gets its mode and time, in "cannot ... PATH".
pub(super) const NEUTRAL: &str = "set mode and time of";
/// Files of a volume that may fail before its drive counts as failing.
pub(super) const FAILURES: u32 = 3;

/// A volume being written.
pub struct Writer {
    dir: PathBuf,
    /// Its folder, open since before the first byte: for errors that only the file system knows of.
    folder: File,
    /// Files that died, or are not kept as they were written, under temporary names.
    failed: u32,
    /// Of these, files that died.
    died: u32,
    number: u16,
    sums: Vec<(String, Digest)>,
    /// Of SHA256SUMS, once that is written.
    sum_of_sums: Option<Digest>,
    made: Vec<String>,
    /// Of files that are to be read back, by name; `None` if none are.
    marks: Option<HashMap<String, Vec<u64>>>,
    neutral: Neutral,
    shows_times: bool,
}

impl Writer {
    /// Makes the folder, or takes an empty one.
    ///
    /// # Errors
    /// `AlreadyExists` where there is one that holds something: it may be somebody's bundle.
    pub fn create(path: &Path, number: u16) -> Result<Self, IoFault> {
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

    /// Goes on with a volume that an earlier run began and of which these files are to stay; what
    /// else is ours there is removed, SHA256SUMS first. An older program may have left other times and modes.
    pub fn take_up(path: &Path, number: u16, sums: Vec<(String, Digest)>) -> Result<Self, IoFault> {
        let dir = folder(path, number);
        let keep: HashSet<&str> = sums.iter().map(|(name, _)| name.as_str()).collect();
        remove_ours(&dir, |name| keep.contains(name))?;
        let mut writer = Self::of(dir, number, sums)?;
        for path in writer.made.iter().map(|name| writer.dir.join(name)) {
            writer.shows_times |= !writer.neutral.apply_to(&path).at(NEUTRAL, &path)?;
        }
        Ok(writer)
    }

    fn of(dir: PathBuf, number: u16, sums: Vec<(String, Digest)>) -> Result<Self, IoFault> {
        let folder = File::open(&dir).at("open", &dir)?;
        let neutral = Neutral::of(&dir).at("look at", &dir)?;
        // Its mode, from the beginning; its time comes in the end.
        let shows_times = !neutral.apply(&folder).at(NEUTRAL, &dir)?;
        let made = sums.iter().map(|(name, _)| name.clone()).collect();
        let (sum_of_sums, marks) = (None, None);
        Ok(Self { dir, folder, failed: 0, died: 0, number, sums, sum_of_sums, made, marks, neutral, shows_times })
    }

    /// Whether some of its files show when they were written: the file system takes no other times.
    pub fn shows_times(&self) -> bool {
        self.shows_times
    }

    /// Leaves out of account what the drive lost before the first byte of this run. Returns that error.
    pub fn forget_earlier_loss(&self) -> Option<io::Error> {
        os::forget_earlier_loss(&self.folder)
    }

    /// From now on notes what is written, for [`Writer::read_back`].
    pub fn remember(&mut self) {
        self.marks = Some(HashMap::new());
    }

    /// Whether parts are to be read back.
    pub fn is_read_back(&self) -> bool {
        self.marks.is_some()
    }

    /// Files that are to be read back: the small ones in any case, for without them nothing opens.
    pub fn to_read_back(&self) -> Vec<String> {
        match self.marks {
            Some(_) => self.made.clone(),
            None => self.small_files().cloned().collect(),
        }
    }

    /// Its files that are no parts.
    pub fn small_files(&self) -> impl Iterator<Item = &String> {
        self.made.iter().filter(|name| !part::is_part(name))
    }

    /// Reads a file back as the drive stores it: where it is not what was written, if anywhere.
    pub fn read_back(&self, name: &str, reader: &mut DriveReader) -> Result<Option<u64>, IoFault> {
        let path = self.dir.join(name);
        let read = match self.marks.as_ref().and_then(|marks| marks.get(name)) {
            Some(marks) => reader.first_change(&path, marks),
            // What an earlier run wrote, and small files.
            None => {
                let of_name = |(known, sum): &(String, Digest)| (known == name).then_some(*sum);
                let sum = if name == SUMS_READY { self.sum_of_sums } else { self.sums.iter().find_map(of_name) };
                let stored = reader.digest(&path, |_| true);
                stored.map(|stored| (sum != stored.map(|(stored, _)| stored)).then_some(0))
            }
        };
        read.at("read back", &path)
    }

    /// Leaves the volume to a later run: it is not complete. What it may already say of the bundle would contradict
    /// the volumes that are finished without it.
    pub fn leave(self) {
        for name in [SUMS, SUMS_READY, LIST].into_iter().chain(HEADS) {
            let _ = fs::remove_file(self.dir.join(name));
        }
        self.remove_failed();
    }

    /// Removes what was never finished. Best effort: the drive may be gone.
    fn remove_failed(&self) {
        (0..=self.failed).for_each(|failed| drop(fs::remove_file(self.dir.join(unfinished(failed)))));
    }

    /// Takes its name from a file that the drive did not keep: it goes on to hold its cells, and is
    /// removed in the end. Best effort: the name can be written over.
    pub fn set_aside(&mut self, name: &str) {
        if fs::rename(self.dir.join(name), self.dir.join(unfinished(self.failed))).is_ok() {
            self.failed += 1;
        }
        self.forget(name);
    }

    fn forget(&mut self, name: &str) {
        self.sums.retain(|(known, _)| known != name);
        self.made.retain(|known| known != name);
        if let Some(marks) = &mut self.marks {
            marks.remove(name);
        }
    }

    /// Its folder.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Its number.
    pub fn number(&self) -> u16 {
        self.number
    }

    /// Writes a file whose digest is known.
    pub fn put(&mut self, name: &str, bytes: &[u8], sha256: Digest) -> Result<(), IoFault> {
        self.write(name, |file| {
            for piece in bytes.chunks(SYNC_EVERY) {
                file.write_all(piece)?;
                if piece.len() == SYNC_EVERY {
                    file.sync_data()?;
                }
            }
            Ok(())
        })?;
        self.sums.push((name.to_string(), sha256));
        if let Some(known) = &mut self.marks {
            known.insert(name.to_string(), marks(bytes));
        }
        Ok(())
    }

    /// Writes a file from a stream; returns how long it became.
    pub fn put_stream(&mut self, name: &str, fill: impl Fn(&mut dyn Write) -> io::Result<()>) -> Result<u64, IoFault> {
        self.forget(name);
        let (sum, len) = self.write(name, |file| {
            let mut out = Summed { file, hasher: Hasher::new(), len: 0, dirty: 0 };
            fill(&mut out)?;
            Ok((out.hasher.finish(), out.len))
        })?;
        self.sums.push((name.to_string(), sum));
        Ok(len)
    }

    /// Writes SHA256SUMS, but for its name, and syncs the file system: the last that is written before all
    /// is read back. What came later could land on what was read.
    pub fn write_sums(&mut self) -> Result<(), IoFault> {
        self.forget(SUMS_READY);
        self.sums.sort();
        let text: Vec<u8> = self.sums.iter().flat_map(|(name, sum)| sums::line(sum, name.as_bytes())).collect();
        self.write(SUMS_READY, |file| file.write_all(&text))?;
        self.sum_of_sums = Some(sha256(&text));
        if let Some(known) = &mut self.marks {
            known.insert(SUMS_READY.to_string(), marks(&text));
        }
        os::sync_file_system(&self.folder).at("sync", &self.dir)
    }

    /// Names SHA256SUMS: from now on the volume is complete.
    pub fn finish(&mut self) -> Result<(), IoFault> {
        let path = self.dir.join(SUMS);
        os::rename_durably(&self.dir.join(SUMS_READY), &path).at("name", &path)?;
        self.remove_failed();
        self.shows_times |= !self.neutral.apply_to_folder(&self.dir).at(NEUTRAL, &self.dir)?;
        Ok(())
    }

    /// Removes what was written; `false` where that cannot be done: the drive may be gone.
    pub fn abandon(self) -> bool {
        let removed = remove_ours(&self.dir, |_| false);
        let _ = fs::remove_dir(&self.dir);
        removed.is_ok()
    }

    fn write<T>(&mut self, name: &str, fill: impl Fn(&mut File) -> io::Result<T>) -> Result<T, IoFault> {
        // Before it has the name: whoever abandons the volume removes it in either case.
        self.made.push(name.to_string());
        loop {
            match self.write_once(name, &fill) {
                Err(fault) if self.died < FAILURES && os::is_of_one_place(&fault.source) => {
                    (self.failed, self.died) = (self.failed + 1, self.died + 1);
                    // Heard here: what else the file system holds of it is of no interest at the end.
                    let _ = os::sync_file_system(&self.folder);
                }
                other => {
                    // What is full may still take something smaller.
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
        let (temporary, path) = (self.dir.join(unfinished(self.failed)), self.dir.join(name));
        let mut file = os::create_anew(&temporary, File::options().write(true)).at("create", &path)?;
        let filled = fill(&mut file).at("write", &path)?;
        self.shows_times |= !close_durably(file, &temporary, &path, self.neutral)?;
        Ok(filled)
    }
}

/// A file that was written in a volume's folder is made neutral and durable, and gets its name. Returns whether
/// it took the time of all files.
pub(super) fn close_durably(file: File, temporary: &Path, path: &Path, neutral: Neutral) -> Result<bool, IoFault> {
    let took = neutral.apply(&file).at(NEUTRAL, path)?;
    file.sync_all().at("sync", path)?;
    os::close(file).at("close", path)?;
    os::rename_durably(temporary, path).at("name", path)?;
    Ok(took)
}

/// A volume that looks complete is not after all.
pub fn take_back(dir: &Path) -> io::Result<()> {
    fs::remove_file(dir.join(SUMS))?;
    os::sync_dir(dir)
}

/// Removes the files of a volume's folder that we write, but for those to `keep`.
pub fn remove_ours(dir: &Path, keep: impl Fn(&str) -> bool) -> Result<(), IoFault> {
    let small = |name: &str| {
        ALL_SEALS.contains(&name) || HEADS.contains(&name) || [SUMS, LIST].contains(&name) || is_unfinished(name)
    };
    let entries = match fs::read_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        other => other.at("look into", dir)?,
    };
    let names = entries.flatten().filter_map(|entry| entry.file_name().into_string().ok());
    let mut ours: Vec<String> = names.filter(|name| small(name) || part::is_part(name)).collect();
    // SHA256SUMS first, so that at no moment a volume looks complete that is not; the seals last: they
    // tell a run that goes on from here whose the rest is.
    ours.sort_by_key(|name| (name != SUMS, ALL_SEALS.contains(&name.as_str())));
    for name in ours.iter().filter(|name| !keep(name)) {
        let path = dir.join(name);
        fs::remove_file(&path).at("remove", &path)?;
    }
    os::sync_dir(dir).at("sync", dir)
}

/// Sums and syncs what passes through.
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
