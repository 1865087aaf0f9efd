//! Copies the files of a whole volume to a drive, in the steps of `volume/writer.rs`, and reads them back as the drive
//! stores them. An interrupted copy is resumed inside a file: what the earlier run left is compared with the source,
//! never trusted. A file that could not be written, or was read back wrong, keeps its place on the drive under a
//! temporary name until the end, so that no other file gets the bad place.
//!
//! Not guaranteed: that the drive returns the same bytes tomorrow.

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use super::found::Volume;
use super::names::SUMS;
use super::writer::{FAILURES, NEUTRAL, SUMS_READY, SYNC_EVERY, close_durably, unpublish};
use crate::base::digest::{Digest, Hasher};
use crate::base::direct::DriveReader;
use crate::base::fault::{At, IoFault};
use crate::base::memory;
use crate::base::neutral::Neutral;
use crate::base::os;
use crate::format::{is_unfinished, unfinished};

/// Bytes of one read: at least as many as [`DriveReader`] hands out, because both are compared in one buffer.
const STRETCH: usize = 1 << 20;

/// Called with the number of bytes since the last call; `false` stops the work.
pub(crate) type Tick<'a> = &'a dyn Fn(u64) -> bool;

/// How the copy of one file ended, if the drive did not fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Copied {
    /// The file is on the drive, synced, under its name.
    Whole,
    /// The source has another digest than it should. The copy is removed.
    Wrong,
    /// The caller stopped the work. The next run resumes the unfinished file.
    Stopped,
}

/// Copies the files of one volume's folder to another folder.
pub(crate) struct Copier {
    from: Volume,
    to: PathBuf,
    reader: DriveReader,
    buf: Vec<u8>,
    /// The folder on the drive, open since before the first byte, so that a sync through it reports every loss. `None`
    /// before [`Copier::begin`].
    folder: Option<File>,
    /// Files on the drive that are dead: they only keep bad places under temporary names.
    dead: u32,
    /// Errors that a second attempt overcame, not yet reported.
    faults: Vec<IoFault>,
    shows_times: bool,
}

impl Copier {
    /// A copier to the folder `to`, which need not exist yet. Writes nothing.
    pub(crate) fn new(from: &Volume, to: &Path) -> Self {
        Self {
            from: from.clone(),
            to: to.to_path_buf(),
            reader: DriveReader::default(),
            buf: memory::zeros(STRETCH),
            folder: None,
            dead: 0,
            faults: Vec::new(),
            shows_times: false,
        }
    }

    /// Creates the folder, or prepares an existing one. Of the unfinished files that earlier runs left, the one with
    /// the highest number is kept to be resumed, and the others are removed. Returns the error of a loss before this
    /// run, which later syncs do not report again.
    pub(crate) fn begin(&mut self) -> Result<Option<io::Error>, IoFault> {
        match fs::create_dir(&self.to) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            other => other.at("create", &self.to)?,
        }
        // An earlier run may have created the folder and died before this sync.
        let above = self.to.parent().unwrap_or(&self.to);
        os::sync_dir(above).at("sync", above)?;
        let folder = File::open(&self.to).at("open", &self.to)?;
        // The mode is set from the beginning; the time is set at the end, because every new file changes it.
        self.neutral()?.apply(&folder).at(NEUTRAL, &self.to)?;
        self.keep_last_unfinished()?;
        let lost_before = os::forget_earlier_loss(&folder);
        self.folder = Some(folder);
        Ok(lost_before)
    }

    /// Gives the unfinished file with the highest number the first temporary name, and removes the others.
    fn keep_last_unfinished(&self) -> Result<(), IoFault> {
        let entries = fs::read_dir(&self.to).at("look into", &self.to)?;
        let names = entries.flatten().filter_map(|entry| entry.file_name().into_string().ok());
        let mut left: Vec<String> = names.filter(|name| is_unfinished(name)).collect();
        left.sort_by_key(|name| (name.len(), name.clone()));
        // A link or FIFO of that name is nothing to resume from.
        let last_meta = left.last().map(|name| self.to.join(name).symlink_metadata());
        let is_regular = last_meta.is_some_and(|meta| meta.is_ok_and(|meta| meta.is_file()));
        let last = if is_regular { left.pop() } else { None };
        for path in left.iter().map(|name| self.to.join(name)) {
            os::remove_if_there(&path).at("remove", &path)?;
        }
        if let Some(path) = last.map(|name| self.to.join(name)) {
            fs::rename(&path, self.temporary()).at("name", &path)?;
        }
        Ok(())
    }

    /// Removes the dead files and an unnamed SHA256SUMS, and with `done` also the unfinished file. Without `done` that
    /// file stays for the next run. Best effort: the drive may be gone.
    pub(crate) fn leave(&self, done: bool) {
        let _ = fs::remove_file(self.to.join(SUMS_READY));
        (0..self.dead + u32::from(done)).for_each(|dead| drop(fs::remove_file(self.to.join(unfinished(dead)))));
    }

    /// Takes the errors that a second attempt overcame since the last call, so that the caller warns of the drive.
    pub(crate) fn got_over(&mut self) -> Vec<IoFault> {
        std::mem::take(&mut self.faults)
    }

    /// Whether every byte that was read back came from the drive rather than from the system's cache.
    pub(crate) fn past_cache(&self) -> bool {
        !self.reader.saw_cache()
    }

    /// Whether some files on the drive show when they were written, because its file system takes no other times.
    pub(crate) fn shows_times(&self) -> bool {
        self.shows_times
    }

    fn neutral(&self) -> Result<Neutral, IoFault> {
        Neutral::of(&self.to).at("look at", &self.to)
    }

    /// Gives a file that the drive already holds the common mode and time of all volumes.
    pub(crate) fn make_neutral(&mut self, path: &Path) -> Result<(), IoFault> {
        self.shows_times |= !self.neutral()?.apply_to(path).at(NEUTRAL, path)?;
        Ok(())
    }

    /// The same for the folder. Must come last, because creating or removing a file changes the time of the folder.
    pub(crate) fn make_folder_neutral(&mut self) -> Result<(), IoFault> {
        self.shows_times |= !self.neutral()?.apply_to_folder(&self.to).at(NEUTRAL, &self.to)?;
        Ok(())
    }

    /// The name of the file in work. It has a new number after each dead file.
    fn temporary(&self) -> PathBuf {
        self.to.join(unfinished(self.dead))
    }

    /// Whether the drive stores a file with that digest at `path`; `None` if `tick` stops the work.
    pub(crate) fn holds(&mut self, path: &Path, sum: Digest, tick: Tick) -> io::Result<Option<bool>> {
        Ok(self.reader.digest(path, tick)?.map(|(stored, _)| stored == sum))
    }

    /// Takes the name from a file that was read back wrong, but leaves it its place on the drive.
    pub(crate) fn set_aside(&mut self, name: &str) -> Result<(), IoFault> {
        let path = self.to.join(name);
        fs::rename(&path, self.temporary()).at("set aside", &path)?;
        self.dead += 1;
        Ok(())
    }

    /// Copies a file. An unfinished copy on the drive is resumed as far as it agrees with the source.
    ///
    /// # Errors
    /// The source cannot be read, or the drive fails as a whole, is full, or failed in more than `FAILURES` places.
    pub(crate) fn copy(&mut self, name: &str, sum: Digest, tick: Tick) -> Result<Copied, IoFault> {
        self.with_retry(|copier| copier.copy_once(name, sum, tick))
    }

    /// Runs a write, and again under another temporary name if only one place of the drive failed.
    fn with_retry<T>(&mut self, once: impl Fn(&mut Self) -> Result<T, IoFault>) -> Result<T, IoFault> {
        loop {
            match once(self) {
                Err(fault) if os::is_of_one_place(&fault.source) && !fault.path.starts_with(&self.from.dir) => {
                    self.dead += 1;
                    if self.dead > FAILURES {
                        return Err(fault);
                    }
                    self.faults.push(fault);
                    // This sync takes the error of the dead file, so that the last sync does not report it.
                    let _ = self.folder.as_ref().map(os::sync_file_system);
                }
                other => return other,
            }
        }
    }

    fn copy_once(&mut self, name: &str, sum: Digest, tick: Tick) -> Result<Copied, IoFault> {
        let origin = self.from.path(name);
        let path = self.to.join(name);
        let temporary = self.temporary();
        let mut source = os::open_regular(&origin).at("read", &origin)?;
        let mut hasher = Hasher::new();
        let agreed = self.agreed(&mut source, &origin, &temporary, &mut hasher, tick)?;
        // A stopped comparison must not cut off bytes that were not compared yet.
        if !tick(0) {
            return Ok(Copied::Stopped);
        }
        let (at, mut file) = match agreed {
            Some(at) => (at, File::options().write(true).open(&temporary).at("open", &temporary)?),
            None => {
                hasher = Hasher::new();
                (0, os::create_anew(&temporary, File::options().write(true)).at("create", &path)?)
            }
        };
        source.seek(SeekFrom::Start(at)).at("read", &origin)?;
        file.set_len(at).and_then(|()| file.seek(SeekFrom::Start(at))).at("write", &path)?;
        if !self.append(&mut source, &origin, &mut file, &path, &mut hasher, tick)? {
            return Ok(Copied::Stopped);
        }
        if hasher.finish() != sum {
            os::remove_if_there(&temporary).at("remove", &temporary)?;
            return Ok(Copied::Wrong);
        }
        self.shows_times |= !close_durably(file, &temporary, &path, self.neutral()?)?;
        Ok(Copied::Whole)
    }

    /// Appends the rest of `source` to `file`, and feeds it to `hasher`. Returns `false` if `tick` stops the work.
    /// `origin` is the path of the source, `path` the one that errors of the file name.
    fn append(
        &mut self,
        source: &mut File,
        origin: &Path,
        file: &mut File,
        path: &Path,
        hasher: &mut Hasher,
        tick: Tick,
    ) -> Result<bool, IoFault> {
        let mut dirty = 0;
        loop {
            let len = fill(source, &mut self.buf).at("read", origin)?;
            if len == 0 {
                return Ok(true);
            }
            hasher.update(&self.buf[..len]);
            file.write_all(&self.buf[..len]).at("write", path)?;
            dirty += len;
            if dirty >= SYNC_EVERY {
                file.sync_data().at("sync", path)?;
                dirty = 0;
            }
            if !tick(len as u64) {
                return Ok(false);
            }
        }
    }

    /// How many bytes from its beginning a file on the drive agrees with the source; `None` if it cannot be opened.
    /// Feeds these bytes to `hasher`. `origin` is the path of the source, `path` that of the file on the drive.
    fn agreed(
        &mut self,
        source: &mut File,
        origin: &Path,
        path: &Path,
        hasher: &mut Hasher,
        tick: Tick,
    ) -> Result<Option<u64>, IoFault> {
        let buf = &mut self.buf;
        let mut at = 0;
        let mut failed = None;
        let read = self.reader.read(path, |stored| match fill(source, &mut buf[..stored.len()]) {
            Ok(len) => {
                let same = common(&stored[..len], &buf[..len]);
                hasher.update(&buf[..same]);
                at += same as u64;
                tick(same as u64) && same == stored.len()
            }
            Err(error) => {
                failed = Some(error);
                false
            }
        });
        match (failed, read) {
            (Some(error), _) => Err(error).at("read", origin),
            // The file must keep its bad place: the error makes it a dead file.
            (None, Err(error)) if os::is_of_one_place(&error) => Err(error).at("read", path),
            (None, read) => Ok(read.is_ok().then_some(at)),
        }
    }

    /// The offset at which the drive's copy first differs from the source; `None` if this time it does not.
    pub(crate) fn first_difference(&mut self, name: &str) -> Result<Option<u64>, IoFault> {
        let origin = self.from.path(name);
        let path = self.to.join(name);
        let mut source = os::open_regular(&origin).at("read", &origin)?;
        let len = source.metadata().at("read", &origin)?.len();
        let at = self.agreed(&mut source, &origin, &path, &mut Hasher::new(), &|_| true)?;
        let stored = fs::metadata(&path).at("read", &path)?.len();
        Ok(at.filter(|at| *at < len || stored > len))
    }

    /// Writes SHA256SUMS under its temporary name, and syncs the file system. This is the last write before the
    /// read-back, because a faulty drive could store a later one over a file that was already read.
    pub(crate) fn write_sums(&mut self, text: &[u8]) -> Result<(), IoFault> {
        let path = self.to.join(SUMS_READY);
        self.with_retry(|copier| {
            let temporary = copier.temporary();
            let mut file = os::create_anew(&temporary, File::options().write(true)).at("create", &path)?;
            file.write_all(text).at("write", &path)?;
            copier.shows_times |= !close_durably(file, &temporary, &path, copier.neutral()?)?;
            Ok(())
        })?;
        match &self.folder {
            Some(folder) => os::sync_file_system(folder).at("sync", &self.to),
            None => Ok(()),
        }
    }

    /// Whether the drive stores SHA256SUMS, still under its temporary name, as it was written.
    pub(crate) fn holds_sums(&mut self, text: &[u8]) -> io::Result<bool> {
        let mut stored = Vec::new();
        self.reader.read(&self.to.join(SUMS_READY), |bytes| {
            stored.extend_from_slice(bytes);
            stored.len() <= text.len()
        })?;
        Ok(stored == text)
    }

    /// Gives SHA256SUMS its name. From now on the volume looks complete.
    pub(crate) fn name_sums(&self) -> Result<(), IoFault> {
        let path = self.to.join(SUMS);
        os::rename_durably(&self.to.join(SUMS_READY), &path).at("name", &path)
    }
}

/// Removes the files `names` of a volume, and then its folder. Returns whether the folder is gone; a folder with
/// foreign files stays. SHA256SUMS goes first, durably, so that no incomplete volume looks complete. The others go in
/// reverse order: callers name the seals first, and these tell a later run whose files remain.
pub(crate) fn remove_whole(volume: &Volume, names: &[String]) -> Result<bool, IoFault> {
    let dir = &volume.dir;
    unpublish(dir)?;
    for path in names.iter().rev().map(|name| volume.path(name)) {
        os::remove_if_there(&path).at("remove", &path)?;
    }
    os::sync_dir(dir).at("sync", dir)?;
    let gone = fs::remove_dir(dir).is_ok();
    if let Some(above) = dir.parent().filter(|_| gone) {
        os::sync_dir(above).at("sync", above)?;
    }
    Ok(gone)
}

/// Reads until the buffer is full or the file ends. Returns how many bytes were read.
fn fill(file: &mut File, buf: &mut [u8]) -> io::Result<usize> {
    let mut len = 0;
    while len < buf.len() {
        match file.read(&mut buf[len..]) {
            Ok(0) => break,
            Ok(n) => len += n,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(len)
}

/// The length of the common beginning of both. The whole comparison comes first, because it is the usual case and fast.
fn common(one: &[u8], other: &[u8]) -> usize {
    if one == other {
        return one.len();
    }
    one.iter().zip(other).take_while(|(a, b)| a == b).count()
}

#[cfg(test)]
mod tests;
