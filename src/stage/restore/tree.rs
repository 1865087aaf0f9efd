//! Whole folders of the staging folder: cleared of what is none of ours, moved into the target, and
//! removed at the end.

use std::collections::HashMap;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::{ASIDE, Dir, FILES, LOG, MARK, PARTS, Permissions, PermissionsExt, Staging};
use crate::base::fault::{At, IoFault};
use crate::base::os;

/// Removes what is none of the entries, given by their paths and whether they are folders: all that
/// is in the staging folder will be delivered.
pub(super) fn sweep(dir: &Dir, above: &[u8], known: &HashMap<&[u8], bool>) -> io::Result<()> {
    for child in dir.entries()? {
        let name = child?.file_name();
        let path = [above, name.as_bytes()].concat();
        let is_dir = dir.symlink_metadata(&name)?.is_dir();
        match known.get(&path[..]) {
            Some(true) if is_dir => sweep(&dir.open_dir(&name)?, &[&path[..], b"/"].concat(), known)?,
            Some(false) if !is_dir => {}
            _ if is_dir => dir.remove_dir_all(&name)?,
            _ => dir.remove_file(&name)?,
        }
    }
    Ok(())
}

/// Moves `name` over: folders are merged, everything else replaces what is there if it may.
pub(super) fn merge(from: &Dir, to: &Dir, name: &Path, overwrite: bool, shown: &Path) -> Result<(), IoFault> {
    let here = from.symlink_metadata(name).at("look at", shown)?;
    let there = to.symlink_metadata(name).ok();
    if here.is_dir() && there.as_ref().is_some_and(|meta| meta.is_dir()) {
        // One that we made read-only ourselves, in an earlier run; it is given its mode at the end.
        if there.is_some_and(|meta| meta.permissions().mode() & 0o700 != 0o700) {
            let _ = to.set_permissions(name, Permissions::from_mode(0o700));
        }
        let (from_dir, to_dir) = (from.open_dir(name).at("open", shown)?, to.open_dir(name).at("open", shown)?);
        for child in from_dir.entries().at("look into", shown)? {
            let child = child.at("look into", shown)?.file_name();
            merge(&from_dir, &to_dir, Path::new(&child), overwrite, &shown.join(&child))?;
        }
        return from.remove_dir(name).at("remove", shown);
    }
    if overwrite && there.is_some() {
        // A folder is never replaced by a file, nor the other way round: the system refuses.
        return from.rename(name, to, name).at("replace", shown);
    }
    os::rename_new(from.as_fd(), name, to.as_fd(), name).at("create", shown)
}

impl Staging {
    /// Removes the staging folder and all in it; what tells whose it is comes last, and stays if the
    /// rest cannot be removed. Where it is, if it could not be.
    pub fn discard(self) -> Option<PathBuf> {
        let path = self.path();
        // What failed once may do now.
        if self.clear().or_else(|_| self.clear()).is_ok() {
            // FUSE keeps open files under another name until they are closed; the folder is empty then.
            drop((self.root, self.folder, self.log, self._lock));
            let remove = || self.target.remove_dir(&self.name);
            let _ = remove().or_else(|_| remove());
        }
        let is_gone = path.symlink_metadata().is_err_and(|error| error.kind() == io::ErrorKind::NotFound);
        (!is_gone).then_some(path)
    }

    fn clear(&self) -> io::Result<()> {
        for folder in [FILES, ASIDE, PARTS] {
            os::if_there(self.folder.remove_dir_all(folder))?;
        }
        [LOG, MARK].into_iter().try_for_each(|file| os::if_there(self.folder.remove_file(file)))
    }
}
