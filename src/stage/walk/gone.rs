//! Sources that stop answering: pulled out, unmounted, dead. Every file on them then reads like one on a
//! bad sector, but nothing is known of it. What is not guaranteed: a drive that fails whatever it is
//! asked, whose folders the system still remembers and which it has not given up, counts as there.

use std::fs::{Metadata, read_dir};
use std::io::{Error, ErrorKind};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::{Walk, WalkError};
use crate::base::entry::Kind;
use crate::base::fault::{At, IoFault};
use crate::base::os;

/// Names in a folder that are tried before nothing on its drive is said to answer: some may be bad.
const TRIED: usize = 16;

/// A folder to ask whether a file system is still there: the topmost one on it in a source.
pub(super) struct Ground {
    folder: PathBuf,
    /// How it is named to people.
    name: PathBuf,
    device: u64,
    has_disk: bool,
}

impl Ground {
    fn new(folder: &Path, name: &Path, device: u64) -> Self {
        let has_disk = os::block(device).is_there();
        Self { folder: folder.into(), name: name.into(), device, has_disk }
    }

    /// Whether it is there, on the file system that it was on: one that was unmounted leaves an empty folder.
    /// The system may still remember the folders of a disk that is gone.
    fn answers(&self) -> bool {
        let there = |meta: Metadata| meta.dev() == self.device;
        let is_there = self.folder.metadata().map_or_else(|error| refuses(&error), there);
        is_there && (!self.has_disk || os::block(self.device).is_there()) && lists(&self.folder)
    }
}

fn lists(folder: &Path) -> bool {
    let names = match read_dir(folder) {
        Ok(names) => names,
        Err(error) => return refuses(&error),
    };
    // What was removed in that moment says nothing against its drive.
    let answered = |error: Error| refuses(&error) || error.kind() == ErrorKind::NotFound;
    let looked_at = names.take(TRIED).map(|name| name.and_then(|name| name.metadata()));
    let mut answers = looked_at.map(|found| found.map_or_else(answered, |_| true)).peekable();
    answers.peek().is_none() || answers.any(|answered| answered)
}

/// What refuses somebody is there.
fn refuses(error: &Error) -> bool {
    error.kind() == ErrorKind::PermissionDenied
}

impl Walk {
    /// Notes where a source stands, and its entries from that index on.
    pub(super) fn stand_on(&mut self, at: usize, from: usize) -> Result<(), IoFault> {
        let source = &self.sources[at];
        let folder = match &source.folder {
            Some(_) => source.path.as_path(),
            None => source.path.parent().filter(|parent| *parent != Path::new("")).unwrap_or(Path::new(".")),
        };
        let device = folder.metadata().at("look at", folder)?.dev();
        let mut grounds = vec![Ground::new(folder, &source.path, device)];
        for index in from..self.entries.len() {
            let (entry, device) = (&self.entries[index], self.stamps[index].dev);
            if entry.kind == Kind::Dir && grounds.iter().all(|ground| ground.device != device) {
                let path = self.real_path(index);
                grounds.push(Ground::new(&path, &path, device));
            }
        }
        self.sources[at].grounds = grounds;
        Ok(())
    }

    fn ground(&self, index: usize) -> &Ground {
        let (grounds, device) = (&self.source_of(index).0.grounds, self.stamps[index].dev);
        grounds.iter().find(|ground| ground.device == device).unwrap_or(&grounds[0])
    }

    /// Asks, for an entry that was not found as it was, whether its source still answers; `errno`: what
    /// the system said of it, if anything.
    ///
    /// # Errors
    /// The source is gone.
    pub fn answers(&self, index: usize, errno: Option<i32>) -> Result<(), WalkError> {
        let ground = self.ground(index);
        let said = errno.map(Error::from_raw_os_error);
        let (refused, is_gone) =
            (said.as_ref().is_some_and(refuses), said.as_ref().is_some_and(os::is_of_a_gone_drive));
        match refused || !is_gone && ground.answers() {
            true => Ok(()),
            false => Err(WalkError::Gone(ground.name.clone())),
        }
    }

    /// Whether the sources of these entries still answer.
    ///
    /// # Errors
    /// One of them is gone.
    pub fn answer(&self, mut entries: impl Iterator<Item = usize>) -> Result<(), WalkError> {
        let mut asked: Vec<&Ground> = Vec::new();
        entries.try_for_each(|index| {
            let ground = self.ground(index);
            if asked.iter().any(|known| std::ptr::eq(*known, ground)) {
                return Ok(());
            }
            asked.push(ground);
            self.answers(index, None)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::monitor::Silent;

    #[test]
    fn another_file_system_in_its_place_is_no_answer() {
        let dir = tempfile::tempdir().unwrap();
        let device = dir.path().metadata().unwrap().dev();
        let ground = |device| Ground::new(dir.path(), dir.path(), device);
        assert!(ground(device).answers(), "an empty folder");
        assert!(!ground(device + 1).answers(), "an empty folder where something was mounted");
        let unplugged = Ground { has_disk: true, device, ..Ground::new(Path::new("/proc"), dir.path(), device) };
        assert!(!unplugged.answers());
    }

    #[test]
    fn a_file_that_went_or_is_bad_says_nothing_of_its_source() {
        let dir = tempfile::tempdir().unwrap();
        let (folder, alone) = (dir.path().join("folder"), dir.path().join("alone"));
        std::fs::create_dir(&folder).unwrap();
        std::fs::write(folder.join("file"), "x").unwrap();
        std::fs::write(&alone, "y").unwrap();
        let walk = super::super::walk(&[folder.clone(), alone.clone()], &Silent).unwrap();
        std::fs::remove_file(folder.join("file")).unwrap();
        std::fs::remove_file(&alone).unwrap();
        let all = walk.entries.len();
        for errno in [None, Some(2), Some(5), Some(6), Some(13), Some(116)] {
            assert!((0..all).all(|index| walk.answers(index, errno).is_ok()), "{errno:?}");
        }
        assert!((0..all).all(|index| walk.answers(index, Some(19)).is_err()), "ENODEV");
        assert!(walk.answer(0..all).is_ok());
        std::fs::remove_dir(&folder).unwrap();
        assert!(walk.answer(0..all).is_err());
        assert!(walk.answers(0, Some(13)).is_ok(), "somebody who is refused asks nothing");
    }
}
