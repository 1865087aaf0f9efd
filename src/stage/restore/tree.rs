//! Moves the staged tree into the target, gives the folders their modes and times, and removes the staging folder.
//!
//! Not guaranteed: that the move is atomic as a whole. Each rename is; a later run moves the rest.

use std::io;
use std::path::PathBuf;

use super::metadata::{MetadataResult, set_metadata};
use super::staging::{ASIDE, FILES, LOG, MARK, OWN, PARTS, Staging};
use crate::base::entry::{Entry, Kind};
use crate::base::fault::IoFault;
use crate::base::open_path::{OpenPath, remove_all};
use crate::base::os;

impl Staging {
    /// Moves all staged entries. Folders that exist in the target are merged; files and links replace existing ones
    /// only with `overwrite`. A folder that does not exist in the target moves in one rename, with all that it holds.
    pub(super) fn move_out(&self, entries: &[Entry], overwrite: bool) -> Result<(), IoFault> {
        let mut from = OpenPath::new(&self.root);
        let mut to = OpenPath::new(&self.target);
        // The folder or file that was moved last: entries below it moved with it.
        let mut done: Option<&Entry> = None;
        for entry in entries {
            if done.is_some_and(|folder| entry.path.is_at_or_below(folder.path.as_bytes())) {
                continue;
            }
            let name = entry.path.name();
            let staged = from.parent_of(&entry.path).and_then(|folder| folder.look_at(name));
            let here = match staged {
                // The entry is not to be delivered, or an earlier run delivered it.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    done = Some(entry);
                    continue;
                }
                found => found.map_err(|error| self.fault("look at", entry, error))?,
            };
            let target = to.parent_of(&entry.path).map_err(|error| self.fault("open the folder of", entry, error))?;
            let there = target.look_at(name).ok();
            if here.is_dir() && there.as_ref().is_some_and(|there| there.is_dir()) {
                // An earlier run may have made this folder read-only. It gets its mode again at the end.
                if there.is_some_and(|there| there.mode & 0o700 != 0o700) {
                    let _ = target.set_mode(name, 0o700);
                }
                continue;
            }
            let staged = from.here();
            if overwrite && there.is_some() {
                // The system refuses to replace a folder by a file, or a file by a folder.
                staged.rename(name, target, name).map_err(|error| self.fault("replace", entry, error))?;
            } else {
                staged.rename_new(name, target, name).map_err(|error| self.fault("create", entry, error))?;
            }
            done = Some(entry);
        }
        Ok(())
    }

    /// Sets the modes and times of delivered folders, the inner ones first, because a mode may close the way to them.
    pub(super) fn dress_dirs(&self, entries: &[Entry]) {
        let mut place = OpenPath::new(&self.target);
        for entry in entries.iter().rev().filter(|entry| entry.kind == Kind::Dir) {
            let folder = place.parent_of(&entry.path).and_then(|parent| parent.open_folder(entry.path.name()));
            // A folder that cannot be opened counts as one with another mode. Its time is not known.
            let dressed = folder.and_then(|folder| set_metadata(&folder, entry));
            self.tally.add(dressed.unwrap_or(MetadataResult { mode: false, off: 0 }));
        }
    }

    /// Removes the staging folder with all it holds. Returns its path if that failed. The log and the mark go last:
    /// as long as files remain, they tell a later run whose the files are.
    pub(crate) fn discard(self) -> Option<PathBuf> {
        let path = self.path();
        // A removal that failed once may succeed at the second attempt.
        if self.clear().or_else(|_| self.clear()).is_ok() {
            // FUSE keeps the hidden name of a removed file until the file is closed. The folder is empty only then.
            drop((self.root, self.folder, self.log, self._lock));
            let name = self.name.as_bytes();
            let _ = self.target.remove_folder(name).or_else(|_| self.target.remove_folder(name));
        }
        let is_gone = path.symlink_metadata().is_err_and(|error| error.kind() == io::ErrorKind::NotFound);
        (!is_gone).then_some(path)
    }

    fn clear(&self) -> io::Result<()> {
        for left in [FILES, ASIDE, PARTS, OWN] {
            os::if_there(remove_all(&self.folder, left.as_bytes()))?;
        }
        for file in [LOG, MARK] {
            os::if_there(self.folder.remove_file(file.as_bytes()))?;
        }
        Ok(())
    }
}
