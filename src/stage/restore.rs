//! The only module that writes packed files to a target. It never reaches anything below the target by a whole path:
//! every step opens one name in an open folder and follows no link. So no list can lead a write out of the target,
//! and no path is too long.
//!
//! Every file goes into one staging folder inside the target. Links are made last, so no step can follow one while
//! files are placed. Whole files are then renamed into the target, which needs no second copy. An existing file is
//! replaced only with `overwrite`. Files that are not whole stay in the staging folder for a later run, with a log of
//! the parts that were placed.
//!
//! `restore/staging.rs` begins or resumes the staging folder, `restore/resume.rs` prepares it, `restore/placer.rs`
//! writes files, `restore/finish.rs` makes links, and `restore/tree.rs` moves the tree into the target.
//!
//! Not guaranteed: that the bytes are the packed ones; the caller compares each file with its SHA-256.

mod finish;
mod metadata;
mod placed_log;
mod placer;
mod resume;
mod staging;
mod tree;

use std::io;
use std::path::{Path, PathBuf};

use crate::base::entry::{Entry, Kind};
use crate::base::fault::{At, IoFault};
use crate::base::open_path::OpenPath;
use crate::base::os;
use crate::base::os::folder::Folder;
pub(crate) use finish::Fate;
pub(crate) use metadata::{MetadataDifferences, MetadataResult};
pub(crate) use placer::Placer;
use staging::LOG;
pub(crate) use staging::{Staging, TargetError};

/// The first entry whose place in the target is taken. A file or link conflicts with anything of its name, a folder
/// with anything but a folder. With `overwrite` only two conflicts remain, because no rename solves them: a folder in
/// the place of a file or link, and a non-folder in the place of a folder. `is_there` tells, by index, which entries
/// an earlier run delivered: they conflict with nothing. Changes nothing.
pub(crate) fn first_conflict<'a>(
    target_path: &Path,
    entries: &'a [Entry],
    overwrite: bool,
    is_there: impl Fn(usize) -> bool,
) -> Result<Option<&'a Entry>, IoFault> {
    let target = Folder::open(target_path).at("open", target_path)?;
    let mut place = OpenPath::new(&target);
    let mut absent: Option<&Entry> = None;
    for (at, entry) in entries.iter().enumerate() {
        if absent.is_some_and(|folder| entry.path.is_at_or_below(folder.path.as_bytes())) {
            continue;
        }
        match place.parent_of(&entry.path).and_then(|folder| folder.look_at(entry.path.name())) {
            Ok(there) if entry.kind == Kind::Dir && there.is_dir() => {}
            Ok(there) if overwrite && entry.kind != Kind::Dir && !there.is_dir() => {}
            Ok(_) if is_there(at) => {}
            Ok(_) => return Ok(Some(entry)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => absent = Some(entry),
            Err(error) => return Err(error).at("look at", &target_path.join(entry.path.as_path())),
        }
    }
    Ok(None)
}

impl Staging {
    /// Moves everything from the staging folder into the target, then sets the modes and times of folders. Existing
    /// folders are merged. The staging folder is removed, unless `keep` leaves it to a later run. Returns how many
    /// entries have another mode or time, and the path of the staging folder if it could not be removed.
    ///
    /// # Errors
    /// The disk lost a write (everything is synced before it is moved, and again after); the target is gone; or,
    /// without `overwrite`, a file exists in the target. That file and the staging folder stay as they are.
    pub(crate) fn deliver(
        self,
        entries: &[Entry],
        overwrite: bool,
        keep: bool,
    ) -> Result<(MetadataDifferences, Option<PathBuf>), IoFault> {
        self.log.deliver().at("write", &self.path().join(LOG))?;
        self.sync()?;
        self.move_out(entries, overwrite)?;
        self.dress_dirs(entries);
        self.sync()?;
        let otherwise = self.tally.sum();
        let left = if keep { None } else { self.discard() };
        Ok((otherwise, left))
    }

    /// Syncs the target, and checks that its path still leads to it: an unplugged drive leaves an empty mount point.
    fn sync(&self) -> Result<(), IoFault> {
        os::sync_file_system(&self.held).at("sync", &self.target_path)?;
        if os::is_still(&self.target_path, &self.held).at("find", &self.target_path)? {
            return Ok(());
        }
        let gone = io::Error::other("something else is there now; was the drive unplugged?");
        Err(gone).at("find", &self.target_path)
    }
}

#[cfg(test)]
mod tests;
