//! How the files of a whole volume are copied to a drive: with the discipline of `volume/writer.rs`,
//! going on inside a file, and read back as the drive stores them. What an earlier run left is held
//! against the source and never trusted. A file that could not be written, or was read back wrong,
//! keeps its place under a temporary name until all is done, so that nothing else gets it. What this
//! does not guarantee: that a drive reads the same tomorrow.

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use super::writer::{FAILURES, NEUTRAL, SUMS_READY, SYNC_EVERY, close_durably};
use super::{SUMS, Volume};
use crate::base::digest::{Digest, Hasher};
use crate::base::direct::DriveReader;
use crate::base::fault::{At, IoFault};
use crate::base::memory;
use crate::base::neutral::Neutral;
use crate::base::os;
use crate::format::{is_unfinished, unfinished};

/// What is read in one go: at least what the drive's reader hands out.
const STRETCH: usize = 1 << 20;

/// Hears of bytes that were dealt with; `false` stops the work.
pub type Tick<'a> = &'a dyn Fn(u64) -> bool;

/// What became of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Copied {
    /// It is on the drive, synced.
    Whole,
    /// The source is not what it should be: nothing bears its name.
    Wrong,
    /// Told to stop: what is there is gone on from.
    Stopped,
}

/// Copies the files of one volume's folder to another folder.
pub struct Copier {
    from: Volume,
    to: PathBuf,
    reader: DriveReader,
    buf: Vec<u8>,
    /// The folder on the drive, open since before the first byte.
    folder: Option<File>,
    /// Files there that are dead, under their temporary names.
    dead: u32,
    /// Errors that were got over.
    faults: Vec<IoFault>,
    shows_times: bool,
}

impl Copier {
    /// The folder may be missing yet.
    pub fn new(from: &Volume, to: &Path) -> Self {
        let (from, to) = (from.clone(), to.to_path_buf());
        let (reader, buf) = (DriveReader::default(), memory::zeros(STRETCH));
        Self { from, to, reader, buf, folder: None, dead: 0, faults: Vec::new(), shows_times: false }
    }

    /// Makes the folder. Of what earlier runs left unfinished there the last is kept, to be gone on from.
    /// Leaves out of account what the drive lost before, and returns that error.
    pub fn begin(&mut self) -> Result<Option<io::Error>, IoFault> {
        match fs::create_dir(&self.to) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            other => other.at("create", &self.to)?,
        }
        // Also the name that a run made which died before it came to this.
        let above = self.to.parent().unwrap_or(&self.to);
        os::sync_dir(above).at("sync", above)?;
        let folder = File::open(&self.to).at("open", &self.to)?;
        // Its mode, from the beginning; its time comes in the end.
        self.neutral()?.apply(&folder).at(NEUTRAL, &self.to)?;
        let entries = fs::read_dir(&self.to).at("look into", &self.to)?;
        let names = entries.flatten().filter_map(|entry| entry.file_name().into_string().ok());
        let mut left: Vec<String> = names.filter(|name| is_unfinished(name)).collect();
        left.sort_by_key(|name| (name.len(), name.clone()));
        let regular = |name: &String| self.to.join(name).symlink_metadata().is_ok_and(|meta| meta.is_file());
        let last = if left.last().is_some_and(regular) { left.pop() } else { None };
        let last = last.map(|name| self.to.join(name));
        for path in left.iter().map(|name| self.to.join(name)) {
            os::remove_if_there(&path).at("remove", &path)?;
        }
        if let Some(last) = last {
            fs::rename(&last, self.temporary()).at("name", &last)?;
        }
        let lost_before = os::forget_earlier_loss(&folder);
        self.folder = Some(folder);
        Ok(lost_before)
    }

    /// Removes dead files, and once all is done also what was gone on from. Best effort: the drive may
    /// be gone.
    pub fn leave(&self, done: bool) {
        let _ = fs::remove_file(self.to.join(SUMS_READY));
        (0..self.dead + u32::from(done)).for_each(|dead| drop(fs::remove_file(self.to.join(unfinished(dead)))));
    }

    /// Errors that were got over, since this was last asked.
    pub fn got_over(&mut self) -> Vec<IoFault> {
        std::mem::take(&mut self.faults)
    }

    /// Whether all that was read back came past the system's cache.
    pub fn past_cache(&self) -> bool {
        !self.reader.saw_cache()
    }

    /// Whether some of the files on the drive show when they were written: its file system takes no other times.
    pub fn shows_times(&self) -> bool {
        self.shows_times
    }

    fn neutral(&self) -> Result<Neutral, IoFault> {
        Neutral::of(&self.to).at("look at", &self.to)
    }

    /// Gives a file that is there the mode and time of all.
    pub fn make_neutral(&mut self, path: &Path) -> Result<(), IoFault> {
        self.shows_times |= !self.neutral()?.apply_to(path).at(NEUTRAL, path)?;
        Ok(())
    }

    /// The same for the folder, once nothing more is made or removed in it.
    pub fn make_folder_neutral(&mut self) -> Result<(), IoFault> {
        self.shows_times |= !self.neutral()?.apply_to_folder(&self.to).at(NEUTRAL, &self.to)?;
        Ok(())
    }

    fn temporary(&self) -> PathBuf {
        self.to.join(unfinished(self.dead))
    }

    /// Whether the drive stores a file with that digest there; `None` if told to stop.
    pub fn holds(&mut self, path: &Path, sum: Digest, tick: Tick) -> io::Result<Option<bool>> {
        Ok(self.reader.digest(path, tick)?.map(|(stored, _)| stored == sum))
    }

    /// Takes a file's name away, not its place, for it is not what was written there.
    pub fn set_aside(&mut self, name: &str) -> Result<(), IoFault> {
        let path = self.to.join(name);
        fs::rename(&path, self.temporary()).at("set aside", &path)?;
        self.dead += 1;
        Ok(())
    }

    /// Copies a file, going on from an unfinished one as far as that is the same.
    pub fn copy(&mut self, name: &str, sum: Digest, tick: Tick) -> Result<Copied, IoFault> {
        self.anew(|copier| copier.copy_once(name, sum, tick))
    }

    /// Does it again under another name where one place of the drive failed.
    fn anew<T>(&mut self, once: impl Fn(&mut Self) -> Result<T, IoFault>) -> Result<T, IoFault> {
        loop {
            match once(self) {
                Err(fault) if os::is_of_one_place(&fault.source) && !fault.path.starts_with(&self.from.dir) => {
                    self.dead += 1;
                    if self.dead > FAILURES {
                        return Err(fault);
                    }
                    self.faults.push(fault);
                    // Heard here: what else the file system holds of it is of no interest at the end.
                    let _ = self.folder.as_ref().map(os::sync_file_system);
                }
                other => return other,
            }
        }
    }

    fn copy_once(&mut self, name: &str, sum: Digest, tick: Tick) -> Result<Copied, IoFault> {
        let (origin, path, temporary) = (self.from.path(name), self.to.join(name), self.temporary());
        let mut source = os::open_regular(&origin).at("read", &origin)?;
        let mut hasher = Hasher::new();
        let agreed = self.agreed(&mut source, &origin, &temporary, &mut hasher, tick)?;
        // What was not held against the source yet is not cut off.
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
        let mut dirty = 0;
        loop {
            let len = fill(&mut source, &mut self.buf).at("read", &origin)?;
            if len == 0 {
                break;
            }
            hasher.update(&self.buf[..len]);
            file.write_all(&self.buf[..len]).at("write", &path)?;
            dirty += len;
            if dirty >= SYNC_EVERY {
                file.sync_data().at("sync", &path)?;
                dirty = 0;
            }
            if !tick(len as u64) {
                return Ok(Copied::Stopped);
            }
        }
        if hasher.finish() != sum {
            os::remove_if_there(&temporary).at("remove", &temporary)?;
            return Ok(Copied::Wrong);
        }
        self.shows_times |= !close_durably(file, &temporary, &path, self.neutral()?)?;
        Ok(Copied::Whole)
    }

    /// How far a file of the drive is what the source begins with, both read from their beginning;
    /// `None` where there is none that can be opened.
    fn agreed(
        &mut self,
        source: &mut File,
        origin: &Path,
        path: &Path,
        hasher: &mut Hasher,
        tick: Tick,
    ) -> Result<Option<u64>, IoFault> {
        let (mut at, mut failed, buf) = (0, None, &mut self.buf);
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
            // Bad places are not to be had again.
            (None, Err(error)) if os::is_of_one_place(&error) => Err(error).at("read", path),
            (None, read) => Ok(read.is_ok().then_some(at)),
        }
    }

    /// Where the drive's copy of a file first differs from the source; `None` if it does not now.
    pub fn first_difference(&mut self, name: &str) -> Result<Option<u64>, IoFault> {
        let (origin, path) = (self.from.path(name), self.to.join(name));
        let mut source = os::open_regular(&origin).at("read", &origin)?;
        let len = source.metadata().at("read", &origin)?.len();
        let at = self.agreed(&mut source, &origin, &path, &mut Hasher::new(), &|_| true)?;
        let stored = fs::metadata(&path).at("read", &path)?.len();
        Ok(at.filter(|at| *at < len || stored > len))
    }

    /// Writes SHA256SUMS, but for its name, and syncs the file system: the last that is written before all
    /// is read back. What came later could land on what was read.
    pub fn write_sums(&mut self, text: &[u8]) -> Result<(), IoFault> {
        let path = self.to.join(SUMS_READY);
        self.anew(|copier| {
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

    /// Whether the drive stores SHA256SUMS as it was written.
    pub fn holds_sums(&mut self, text: &[u8]) -> io::Result<bool> {
        let mut stored = Vec::new();
        self.reader.read(&self.to.join(SUMS_READY), |bytes| {
            stored.extend_from_slice(bytes);
            stored.len() <= text.len()
        })?;
        Ok(stored == text)
    }

    /// Names SHA256SUMS: from now on the volume is complete.
    pub fn name_sums(&self) -> Result<(), IoFault> {
        let path = self.to.join(SUMS);
        os::rename_durably(&self.to.join(SUMS_READY), &path).at("name", &path)
    }
}

/// Removes these files of a volume and then its folder, if nothing else is in it; whether that went.
/// SHA256SUMS goes first, durably, so that at no moment a volume looks complete that is not; then the last
/// named first, for the seals, which are named first, tell a later run what the rest is of.
pub fn remove_whole(volume: &Volume, names: &[String]) -> Result<bool, IoFault> {
    let dir = &volume.dir;
    no_longer_whole(dir)?;
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

/// Removes SHA256SUMS of a volume that turned out not to be whole, in capitals or not.
pub fn no_longer_whole(dir: &Path) -> Result<(), IoFault> {
    for entry in fs::read_dir(dir).at("look into", dir)? {
        let entry = entry.at("look into", dir)?;
        if entry.file_name().eq_ignore_ascii_case(SUMS) {
            os::remove_if_there(&entry.path()).at("remove", &entry.path())?;
        }
    }
    os::sync_dir(dir).at("sync", dir)
}

/// Fills the buffer as far as the file goes.
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

/// How many bytes both begin with.
fn common(one: &[u8], other: &[u8]) -> usize {
    match one == other {
        true => one.len(),
        false => one.iter().zip(other).take_while(|(a, b)| a == b).count(),
    }
}

#[cfg(test)]
mod tests;
