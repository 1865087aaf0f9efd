//! How the files of a whole volume are copied to a drive: with the discipline of `volume/writer.rs`,
//! going on inside a file, and read back as the drive stores them. What an earlier run left is
//! held against the source and never trusted. After an error nothing is tried twice.

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use super::SUMS;
use super::writer::{SYNC_EVERY, close_durably};
use crate::base::digest::{Digest, Hasher};
use crate::base::direct::DriveReader;
use crate::base::fault::{At, IoFault};
use crate::base::os;
use crate::format::UNFINISHED;

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
    from: PathBuf,
    to: PathBuf,
    reader: DriveReader,
    buf: Vec<u8>,
}

impl Copier {
    /// Both folders are there.
    pub fn new(from: &Path, to: &Path) -> Self {
        let (from, to) = (from.to_path_buf(), to.to_path_buf());
        Self { from, to, reader: DriveReader::default(), buf: vec![0; STRETCH] }
    }

    /// Whether the drive stores a file with that digest under that name; `None` if told to stop.
    pub fn holds(&mut self, name: &str, sum: Digest, tick: Tick) -> io::Result<Option<bool>> {
        Ok(self.reader.digest(&self.to.join(name), tick)?.map(|(stored, _)| stored == sum))
    }

    /// Copies a file, going on from an unfinished one as far as that is the same.
    pub fn copy(&mut self, name: &str, sum: Digest, tick: Tick) -> Result<Copied, IoFault> {
        let (origin, path, temporary) = (self.from.join(name), self.to.join(name), self.to.join(UNFINISHED));
        let mut source = os::open_regular(&origin).at("read", &origin)?;
        let mut hasher = Hasher::new();
        let at = match self.agreed(&mut source, &temporary, &mut hasher, tick).at("read", &origin)? {
            Some(at) => at,
            None => {
                os::remove_if_there(&temporary).at("remove", &temporary)?;
                hasher = Hasher::new();
                0
            }
        };
        // What was not held against the source yet is not cut off.
        if !tick(0) {
            return Ok(Copied::Stopped);
        }
        source.seek(SeekFrom::Start(at)).at("read", &origin)?;
        let mut file = File::options().write(true).create(true).truncate(false).open(&temporary).at("create", &path)?;
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
        close_durably(file, &temporary, &path)?;
        Ok(Copied::Whole)
    }

    /// How far an unfinished file is what the source begins with, both read from their beginning;
    /// `None` where there is none that can be read. Errors are those of the source.
    fn agreed(&mut self, source: &mut File, path: &Path, hasher: &mut Hasher, tick: Tick) -> io::Result<Option<u64>> {
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
        match failed {
            Some(error) => Err(error),
            None => Ok(read.is_ok().then_some(at)),
        }
    }

    /// Where the drive's copy of a file first differs from the source; `None` if it does not now.
    pub fn first_difference(&mut self, name: &str) -> io::Result<Option<u64>> {
        let mut source = os::open_regular(&self.from.join(name))?;
        let len = source.metadata()?.len();
        let at = self.agreed(&mut source, &self.to.join(name), &mut Hasher::new(), &|_| true)?;
        let stored = fs::metadata(self.to.join(name))?.len();
        Ok(at.filter(|at| *at < len || stored > len))
    }

    /// Writes SHA256SUMS under another name: the last that is written to the drive.
    pub fn write_sums(&self, text: &[u8]) -> Result<(), IoFault> {
        let (temporary, path) = (self.to.join(UNFINISHED), self.to.join(SUMS));
        os::remove_if_there(&temporary).at("remove", &temporary)?;
        let mut file = File::create_new(&temporary).at("create", &path)?;
        file.write_all(text).at("write", &path)?;
        file.sync_all().at("sync", &path)
    }

    /// Gives SHA256SUMS its name: from now on the volume is complete. If the drive does not store it as
    /// it is, it stays without, and this is the first byte that differs.
    pub fn name_sums(&mut self, text: &[u8]) -> Result<Option<u64>, IoFault> {
        let (temporary, path) = (self.to.join(UNFINISHED), self.to.join(SUMS));
        let mut stored = Vec::new();
        let read = self.reader.read(&temporary, |bytes| {
            stored.extend_from_slice(bytes);
            stored.len() <= text.len()
        });
        read.at("read", &temporary)?;
        if stored != text {
            return Ok(Some(common(&stored, text) as u64));
        }
        os::rename_durably(&temporary, &path).at("name", &path)?;
        Ok(None)
    }
}

/// Removes these files of a folder and then the folder, if nothing else is in it; whether it went.
/// SHA256SUMS goes first, durably, so that at no moment a volume looks complete that is not.
pub fn remove_whole(dir: &Path, names: &[String]) -> Result<bool, IoFault> {
    no_longer_whole(dir)?;
    for path in names.iter().map(|name| dir.join(name)) {
        os::remove_if_there(&path).at("remove", &path)?;
    }
    os::sync_dir(dir).at("sync", dir)?;
    let gone = fs::remove_dir(dir).is_ok();
    if let Some(above) = dir.parent().filter(|_| gone) {
        os::sync_dir(above).at("sync", above)?;
    }
    Ok(gone)
}

/// Removes SHA256SUMS of a volume that turned out not to be whole.
pub fn no_longer_whole(dir: &Path) -> Result<(), IoFault> {
    os::remove_if_there(&dir.join(SUMS)).at("remove", &dir.join(SUMS))?;
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
mod tests {
    use super::*;
    use crate::base::digest::sha256;
    use std::cell::Cell;

    const NAME: &str = "000001.age";

    struct Place {
        _dir: tempfile::TempDir,
        bytes: Vec<u8>,
        to: PathBuf,
        copier: Copier,
    }

    fn place(len: usize) -> Place {
        let dir = tempfile::tempdir().unwrap();
        let (from, to) = (dir.path().join("from"), dir.path().join("to"));
        let bytes: Vec<u8> = (0..len).map(|at| (at / 7 + at / 4099) as u8).collect();
        fs::create_dir(&from).and_then(|()| fs::create_dir(&to)).unwrap();
        fs::write(from.join(NAME), &bytes).unwrap();
        Place { copier: Copier::new(&from, &to), _dir: dir, bytes, to }
    }

    #[test]
    fn it_goes_on_where_both_agree_whatever_was_left() {
        let mut place = place(3 * STRETCH + 77);
        let sum = sha256(&place.bytes);
        let mut wrong = place.bytes.clone();
        wrong[STRETCH + 5] ^= 1;
        let longer = [&place.bytes[..], b"more"].concat();
        for left in [&b""[..], &place.bytes[..1], &place.bytes[..STRETCH + 9], &place.bytes, &wrong, &longer, b"other"]
        {
            fs::write(place.to.join(UNFINISHED), left).unwrap();
            assert_eq!(place.copier.copy(NAME, sum, &|_| true).unwrap(), Copied::Whole);
            assert!(fs::read(place.to.join(NAME)).unwrap() == place.bytes, "from {} bytes", left.len());
            assert_eq!(place.copier.holds(NAME, sum, &|_| true).unwrap(), Some(true));
        }
    }

    #[test]
    fn told_to_stop_it_leaves_what_can_be_gone_on_from() {
        let mut place = place(3 * STRETCH);
        let sum = sha256(&place.bytes);
        let seen = Cell::new(0);
        let stop = |bytes| {
            seen.set(seen.get() + bytes);
            seen.get() < STRETCH as u64
        };
        assert_eq!(place.copier.copy(NAME, sum, &stop).unwrap(), Copied::Stopped);
        assert_eq!(fs::read(place.to.join(UNFINISHED)).unwrap(), &place.bytes[..STRETCH]);
        assert!(!place.to.join(NAME).exists());
    }

    #[test]
    fn a_wrong_source_gets_no_name_and_a_difference_is_found() {
        let mut place = place(2 * STRETCH);
        assert_eq!(place.copier.copy(NAME, sha256(b"else"), &|_| true).unwrap(), Copied::Wrong);
        assert_eq!(fs::read_dir(&place.to).unwrap().count(), 0);
        let mut wrong = place.bytes.clone();
        wrong[STRETCH + 9] ^= 4;
        for (stored, at) in [(&wrong[..], STRETCH + 9), (&place.bytes[..100], 100)] {
            fs::write(place.to.join(NAME), stored).unwrap();
            assert_eq!(place.copier.first_difference(NAME).unwrap(), Some(at as u64));
        }
        fs::write(place.to.join(NAME), &place.bytes).unwrap();
        assert_eq!(place.copier.first_difference(NAME).unwrap(), None);
    }

    #[test]
    fn a_link_left_on_the_drive_is_not_written_through() {
        let mut place = place(100);
        let elsewhere = place.to.with_file_name("elsewhere");
        fs::write(&elsewhere, "mine").unwrap();
        std::os::unix::fs::symlink(&elsewhere, place.to.join(UNFINISHED)).unwrap();
        let sum = sha256(&place.bytes);
        assert_eq!(place.copier.copy(NAME, sum, &|_| true).unwrap(), Copied::Whole);
        assert_eq!(fs::read(elsewhere).unwrap(), b"mine");
    }
}
