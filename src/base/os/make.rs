//! Creates, renames and removes entries of an open folder. Every call takes a single name, so no path is too long. The
//! last step follows no link, so an effect stays in the folder.
//!
//! Not guaranteed: that a folder below is on the same file system. A file system that is mounted in there is entered.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;

use super::folder::{Folder, list};
use super::fs::{FileType, RenameFlags};
use super::{AtFlags, Errno, Mode, OFlags, fs, stamps};
use crate::base::entry::Time;

/// Only the owner may read and write the file.
const PRIVATE_FILE: Mode = Mode::RUSR.union(Mode::WUSR);
/// How files are opened: never through a link, and without waiting for a FIFO.
const CAREFULLY: OFlags = OFlags::NOFOLLOW.union(OFlags::NONBLOCK).union(OFlags::NOCTTY).union(OFlags::CLOEXEC);

impl Folder {
    /// The folder that contains this one now.
    pub(crate) fn above(&self) -> io::Result<Self> {
        Ok(Self(fs::openat(&self.0, c"..", OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?))
    }

    /// All names in it, in the order of the listing.
    pub(crate) fn names(&self) -> io::Result<Vec<Vec<u8>>> {
        let mut names = Vec::new();
        list(&self.to_list()?, |name| {
            names.push(name.to_vec());
            true
        })?;
        Ok(names)
    }

    /// Creates a folder for its owner alone.
    pub(crate) fn make_folder(&self, name: &[u8]) -> io::Result<()> {
        Ok(fs::mkdirat(&self.0, one_name(name)?, Mode::RWXU)?)
    }

    /// Creates a file for its owner alone. Fails if the name exists.
    pub(crate) fn create_new(&self, name: &[u8]) -> io::Result<File> {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | CAREFULLY;
        Ok(fs::openat(&self.0, one_name(name)?, flags, PRIVATE_FILE)?.into())
    }

    /// Opens a regular file for reading and writing, without cutting it. Creates one for its owner alone if the name
    /// does not exist.
    pub(crate) fn open_or_create(&self, name: &[u8]) -> io::Result<File> {
        let flags = OFlags::RDWR | OFlags::CREATE | CAREFULLY;
        let file = File::from(fs::openat(&self.0, one_name(name)?, flags, PRIVATE_FILE)?);
        if file.metadata()?.is_file() { Ok(file) } else { Err(io::Error::other("it is not a regular file")) }
    }

    /// Opens a folder in it, so that it can be given a mode and a time.
    pub(crate) fn open_folder(&self, name: &[u8]) -> io::Result<File> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | CAREFULLY;
        Ok(fs::openat(&self.0, one_name(name)?, flags, Mode::empty())?.into())
    }

    /// Sets the permission bits of a file or folder in it, even if this user may not open it.
    pub(crate) fn set_mode(&self, name: &[u8], mode: u32) -> io::Result<()> {
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let held = fs::openat(&self.0, one_name(name)?, flags, Mode::empty())?;
        if FileType::from_raw_mode(fs::fstat(&held)?.st_mode) == FileType::Symlink {
            return Err(io::Error::other("it is a symlink"));
        }
        // A handle from O_PATH takes no mode itself. This path leads to the same file, even if its name now means
        // another.
        let itself = format!("/proc/self/fd/{}", held.as_raw_fd());
        Ok(fs::chmod(itself, Mode::from_bits_truncate(mode))?)
    }

    /// Sets the modification time of a link itself, not of its target.
    pub(crate) fn set_link_mtime(&self, name: &[u8], time: Time) -> io::Result<()> {
        Ok(fs::utimensat(&self.0, one_name(name)?, &stamps(time), AtFlags::SYMLINK_NOFOLLOW)?)
    }

    /// Removes a file or link. Refuses a folder.
    pub(crate) fn remove_file(&self, name: &[u8]) -> io::Result<()> {
        Ok(fs::unlinkat(&self.0, one_name(name)?, AtFlags::empty())?)
    }

    /// Removes an empty folder.
    pub(crate) fn remove_folder(&self, name: &[u8]) -> io::Result<()> {
        Ok(fs::unlinkat(&self.0, one_name(name)?, AtFlags::REMOVEDIR)?)
    }

    /// Moves `name` to `new` in the folder `to`, and replaces a file that has that name.
    pub(crate) fn rename(&self, name: &[u8], to: &Folder, new: &[u8]) -> io::Result<()> {
        Ok(fs::renameat(&self.0, one_name(name)?, &to.0, one_name(new)?)?)
    }

    /// Moves like [`Self::rename`], but fails if `new` exists.
    pub(crate) fn rename_new(&self, name: &[u8], to: &Folder, new: &[u8]) -> io::Result<()> {
        let name = one_name(name)?;
        let new = one_name(new)?;
        match fs::renameat_with(&self.0, name, &to.0, new, RenameFlags::NOREPLACE) {
            Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => {
                // File systems without the flag (FAT over FUSE): look first. Another process may come in between.
                match fs::statat(&to.0, new, AtFlags::SYMLINK_NOFOLLOW) {
                    Err(Errno::NOENT) => Ok(fs::renameat(&self.0, name, &to.0, new)?),
                    Err(error) => Err(error.into()),
                    Ok(_) => Err(io::ErrorKind::AlreadyExists.into()),
                }
            }
            renamed => Ok(renamed?),
        }
    }

    /// Gives a file in it one more name, in the folder `to`.
    pub(crate) fn hard_link(&self, name: &[u8], to: &Folder, new: &[u8]) -> io::Result<()> {
        Ok(fs::linkat(&self.0, one_name(name)?, &to.0, one_name(new)?, AtFlags::empty())?)
    }

    /// Creates a symlink with these bytes as its target.
    pub(crate) fn symlink(&self, content: &[u8], name: &[u8]) -> io::Result<()> {
        Ok(fs::symlinkat(content, &self.0, one_name(name)?)?)
    }
}

/// Checks that a name leads to an entry of the folder itself, not to a path, the folder or the one above.
fn one_name(name: &[u8]) -> io::Result<&[u8]> {
    if matches!(name, b"" | b"." | b"..") || name.contains(&b'/') {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not one name"));
    }
    Ok(name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt, symlink};

    #[test]
    fn a_rename_replaces_nothing_unless_told() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["a", "b"] {
            std::fs::write(dir.path().join(name), name).unwrap();
        }
        let folder = Folder::open(dir.path()).unwrap();
        let refused = folder.rename_new(b"a", &folder, b"b").unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::AlreadyExists);
        folder.rename_new(b"a", &folder, b"c").unwrap();
        assert_eq!(std::fs::read(dir.path().join("b")).unwrap(), b"b");
        folder.rename(b"c", &folder, b"b").unwrap();
        assert_eq!(std::fs::read(dir.path().join("b")).unwrap(), b"a");
    }

    #[test]
    fn nothing_is_done_through_a_link_or_beside_the_folder() {
        let dir = tempfile::tempdir().unwrap();
        let outside = dir.path().join("outside");
        std::fs::write(&outside, "theirs").unwrap();
        std::fs::create_dir(dir.path().join("inside")).unwrap();
        symlink("../outside", dir.path().join("inside/link")).unwrap();
        let folder = Folder::open(&dir.path().join("inside")).unwrap();
        assert!(folder.open_or_create(b"link").is_err() && folder.create_new(b"link").is_err());
        assert!(folder.set_mode(b"link", 0o777).is_err() && folder.open_folder(b"link").is_err());
        folder.set_link_mtime(b"link", Time { secs: 7, nanos: 0 }).unwrap();
        for name in [&b"../outside"[..], b"..", b".", b"", b"link/x", b"/etc"] {
            assert!(folder.open_or_create(name).is_err() && folder.remove_file(name).is_err(), "{name:?}");
            assert!(folder.make_folder(name).is_err() && folder.symlink(b"x", name).is_err(), "{name:?}");
            assert!(folder.hard_link(b"link", &folder, name).is_err() && folder.set_mode(name, 0).is_err(), "{name:?}");
        }
        let theirs = outside.metadata().unwrap();
        assert!(std::fs::read(&outside).unwrap() == b"theirs" && theirs.permissions().mode() & 0o777 != 0o777);
        assert!(theirs.modified().unwrap() > std::time::UNIX_EPOCH + std::time::Duration::from_secs(7));
        assert_eq!(folder.names().unwrap(), [b"link"]);
    }

    #[test]
    fn a_file_that_may_not_be_opened_is_given_a_mode() {
        let dir = tempfile::tempdir().unwrap();
        let folder = Folder::open(dir.path()).unwrap();
        drop(folder.create_new(b"shut").unwrap());
        for mode in [0, 0o640] {
            folder.set_mode(b"shut", mode).unwrap();
            assert_eq!(dir.path().join("shut").metadata().unwrap().permissions().mode() & 0o777, mode);
        }
    }
}
