//! All that was placed, moved into the target; and the staging folder, removed at the end.

use std::io;
use std::path::PathBuf;

use super::{ASIDE, FILES, LOG, MARK, OWN, OpenPath, PARTS, Staging, remove_all};
use crate::base::entry::Entry;
use crate::base::fault::IoFault;
use crate::base::os;

impl Staging {
    /// Moves all entries that are staged: folders that exist in the target are merged, everything else replaces what
    /// is there if it may.
    pub(super) fn move_out(&self, entries: &[Entry], overwrite: bool) -> Result<(), IoFault> {
        let (mut from, mut to) = (OpenPath::new(&self.root), OpenPath::new(&self.target));
        let mut done: Option<&Entry> = None;
        for entry in entries {
            if done.is_some_and(|folder| entry.path.is_at_or_below(folder.path.as_bytes())) {
                continue;
            }
            let name = entry.path.name();
            let staged = from.parent_of(&entry.path).and_then(|folder| folder.look_at(name));
            let here = match staged {
                // It is not delivered, or was delivered before.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    done = Some(entry);
                    continue;
                }
                found => found.map_err(|error| self.fault("look at", entry, error))?,
            };
            let target = to.parent_of(&entry.path).map_err(|error| self.fault("open the folder of", entry, error))?;
            let there = target.look_at(name).ok();
            if here.is_dir() && there.as_ref().is_some_and(|there| there.is_dir()) {
                // One that we made read-only ourselves, in an earlier run; it is given its mode at the end.
                if there.is_some_and(|there| there.mode & 0o700 != 0o700) {
                    let _ = target.set_mode(name, 0o700);
                }
                continue;
            }
            let staged = from.here();
            if overwrite && there.is_some() {
                // A folder is never replaced by a file, nor the other way round: the system refuses.
                staged.rename(name, target, name).map_err(|error| self.fault("replace", entry, error))?;
            } else {
                staged.rename_new(name, target, name).map_err(|error| self.fault("create", entry, error))?;
            }
            done = Some(entry);
        }
        Ok(())
    }

    /// Removes the staging folder and all in it; what tells whose it is comes last, and stays if the
    /// rest cannot be removed. Where it is, if it could not be.
    pub fn discard(self) -> Option<PathBuf> {
        let path = self.path();
        // What failed once may do now.
        if self.clear().or_else(|_| self.clear()).is_ok() {
            // FUSE keeps open files under another name until they are closed; the folder is empty then.
            drop((self.root, self.folder, self.log, self._lock));
            let remove = || self.target.remove_folder(self.name.as_bytes());
            let _ = remove().or_else(|_| remove());
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
