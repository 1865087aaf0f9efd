//! How a volume is written: a file gets a temporary name, is synced, and renamed; SHA256SUMS is the
//! last one. After an error nothing is tried twice: the caller leaves the volume to a later run, or
//! abandons it. What this does not guarantee: that the drive tells the truth about what it synced.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::{ALL_SEALS, HEADS, LIST, SUMS, folder, is_free};
use crate::base::digest::{Digest, Hasher};
use crate::base::direct::{DriveReader, marks};
use crate::base::fault::{At, IoFault};
use crate::base::os;
use crate::format::{UNFINISHED, part, sums};

/// Dirty data that may wait for the drive: bounded, so that progress is honest.
pub(super) const SYNC_EVERY: usize = 8 << 20;

/// A volume being written.
pub struct Writer {
    dir: PathBuf,
    number: u16,
    sums: Vec<(String, Digest)>,
    made: Vec<String>,
    /// Of files that are to be read back, by name; `None` if none are.
    marks: Option<HashMap<String, Vec<u64>>>,
}

impl Writer {
    /// Makes the folder, or takes an empty one.
    ///
    /// # Errors
    /// `AlreadyExists` where there is one that holds something: it may be somebody's bundle.
    pub fn create(path: &Path, number: u16) -> Result<Self, IoFault> {
        let dir = folder(path, number);
        match fs::create_dir(&dir) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && is_free(&dir) => {}
            other => other.at("create", &dir)?,
        }
        os::sync_dir(path).at("sync", path)?;
        Ok(Self { dir, number, sums: Vec::new(), made: Vec::new(), marks: None })
    }

    /// Goes on with a volume that an earlier run began and of which these files are to stay; what
    /// else is ours there is removed, SHA256SUMS first.
    pub fn take_up(path: &Path, number: u16, sums: Vec<(String, Digest)>) -> Result<Self, IoFault> {
        let dir = folder(path, number);
        let made: Vec<String> = sums.iter().map(|(name, _)| name.clone()).collect();
        remove_ours(&dir, |name| made.iter().any(|made| made == name))?;
        Ok(Self { dir, number, sums, made, marks: None })
    }

    /// From now on notes what is written, for [`Writer::read_back`].
    pub fn remember(&mut self) {
        self.marks = Some(HashMap::new());
    }

    /// Files that are to be read back.
    pub fn to_read_back(&self) -> Vec<String> {
        match self.marks {
            Some(_) => self.made.clone(),
            None => Vec::new(),
        }
    }

    /// Reads a file back as the drive stores it: where it is not what was written, if anywhere.
    pub fn read_back(&self, name: &str, reader: &mut DriveReader) -> Result<Option<u64>, IoFault> {
        let path = self.dir.join(name);
        let read = match self.marks.as_ref().and_then(|marks| marks.get(name)) {
            Some(marks) => reader.first_change(&path, marks),
            // What an earlier run wrote, and small files.
            None => {
                let sum = self.sums.iter().find(|(known, _)| known == name).map(|(_, sum)| *sum);
                let stored = reader.digest(&path, |_| true);
                stored.map(|stored| (sum != stored.map(|(stored, _)| stored)).then_some(0))
            }
        };
        read.at("read back", &path)
    }

    /// Leaves the volume to a later run: it is not complete.
    pub fn leave(self) {
        for name in [SUMS, UNFINISHED] {
            let _ = fs::remove_file(self.dir.join(name));
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
    pub fn put_stream(
        &mut self,
        name: &str,
        fill: impl FnOnce(&mut dyn Write) -> io::Result<()>,
    ) -> Result<u64, IoFault> {
        let mut summed = (Hasher::new(), 0);
        self.write(name, |file| {
            let mut out = Summed { file, hasher: &mut summed.0, len: &mut summed.1, dirty: 0 };
            fill(&mut out)
        })?;
        self.sums.push((name.to_string(), summed.0.finish()));
        Ok(summed.1)
    }

    /// Writes SHA256SUMS: from now on the volume is complete.
    pub fn finish(&mut self) -> Result<(), IoFault> {
        self.sums.sort();
        let text: Vec<u8> = self.sums.iter().flat_map(|(name, sum)| sums::line(sum, name.as_bytes())).collect();
        self.write(SUMS, |file| file.write_all(&text))?;
        if let Some(known) = &mut self.marks {
            known.insert(SUMS.to_string(), marks(&text));
        }
        Ok(())
    }

    /// Removes what was written. Best effort: the drive may be gone.
    pub fn abandon(self) {
        // SHA256SUMS first, so that at no moment a volume looks complete that is not.
        for name in [SUMS, UNFINISHED].into_iter().chain(self.made.iter().map(String::as_str)) {
            let _ = fs::remove_file(self.dir.join(name));
        }
        let _ = fs::remove_dir(&self.dir);
    }

    fn write(&mut self, name: &str, fill: impl FnOnce(&mut File) -> io::Result<()>) -> Result<(), IoFault> {
        let (temporary, path) = (self.dir.join(UNFINISHED), self.dir.join(name));
        let mut file = os::create_anew(&temporary, File::options().write(true)).at("create", &path)?;
        fill(&mut file).at("write", &path)?;
        file.sync_all().at("sync", &path)?;
        drop(file);
        // Before it has the name: whoever abandons the volume removes it in either case.
        self.made.push(name.to_string());
        name_durably(&self.dir, &path)
    }
}

/// What was written in a volume's folder gets its name.
pub(super) fn name_durably(dir: &Path, path: &Path) -> Result<(), IoFault> {
    fs::rename(dir.join(UNFINISHED), path).at("name", path)?;
    os::sync_dir(dir).at("sync", dir)
}

/// Removes the files of a volume's folder that we write, but for those to `keep`.
pub fn remove_ours(dir: &Path, keep: impl Fn(&str) -> bool) -> Result<(), IoFault> {
    let small =
        |name: &str| ALL_SEALS.contains(&name) || HEADS.contains(&name) || [SUMS, LIST, UNFINISHED].contains(&name);
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
    hasher: &'a mut Hasher,
    len: &'a mut u64,
    dirty: usize,
}

impl Write for Summed<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let len = self.file.write(bytes)?;
        self.hasher.update(&bytes[..len]);
        *self.len += len as u64;
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
