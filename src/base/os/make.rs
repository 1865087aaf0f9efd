//! What is made, renamed and removed in an open folder. Every call takes one name, so no path is too long, and the
//! last step follows no link: what is done in a folder stays in it.
//!
//! Not guaranteed: that a folder below is on the same file system. What is mounted in there is entered.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;

use super::folder::{Folder, list};
use super::fs::{FileType, RenameFlags};
use super::{AtFlags, Errno, Mode, OFlags, fs, stamps};
use crate::base::entry::Time;

/// A file for its owner alone.
const PRIVATE_FILE: Mode = Mode::RUSR.union(Mode::WUSR);
/// How files are opened: never through a link, and without waiting for a FIFO.
const CAREFULLY: OFlags = OFlags::NOFOLLOW.union(OFlags::NONBLOCK).union(OFlags::NOCTTY).union(OFlags::CLOEXEC);

impl Folder {
    /// The folder that this one stands in now.
    pub(crate) fn above(&self) -> io::Result<Self> {
        Ok(Self(fs::openat(&self.0, c"..", OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?))
    }

    /// All names in it.
    pub(crate) fn names(&self) -> io::Result<Vec<Vec<u8>>> {
        let mut names = Vec::new();
        list(&self.to_list()?, |name| {
            names.push(name.to_vec());
            true
        })?;
        Ok(names)
    }

    /// Makes a folder for its owner alone.
    pub(crate) fn make_folder(&self, name: &[u8]) -> io::Result<()> {
        Ok(fs::mkdirat(&self.0, one_name(name)?, Mode::RWXU)?)
    }

    /// Makes a file for its owner alone, where nothing has that name yet.
    pub(crate) fn create_new(&self, name: &[u8]) -> io::Result<File> {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | CAREFULLY;
        Ok(fs::openat(&self.0, one_name(name)?, flags, PRIVATE_FILE)?.into())
    }

    /// Opens a regular file to be read and written, as it is; where nothing has that name, makes one for its owner
    /// alone.
    pub(crate) fn open_or_create(&self, name: &[u8]) -> io::Result<File> {
        let flags = OFlags::RDWR | OFlags::CREATE | CAREFULLY;
        let file = File::from(fs::openat(&self.0, one_name(name)?, flags, PRIVATE_FILE)?);
        if file.metadata()?.is_file() { Ok(file) } else { Err(io::Error::other("it is not a regular file")) }
    }

    /// Opens a folder in it to be given a mode and a time.
    pub(crate) fn open_folder(&self, name: &[u8]) -> io::Result<File> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | CAREFULLY;
        Ok(fs::openat(&self.0, one_name(name)?, flags, Mode::empty())?.into())
    }

    /// Sets the permission bits of a file or folder in it, also of one that may not be opened.
    pub(crate) fn set_mode(&self, name: &[u8], mode: u32) -> io::Result<()> {
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let held = fs::openat(&self.0, one_name(name)?, flags, Mode::empty())?;
        if FileType::from_raw_mode(fs::fstat(&held)?.st_mode) == FileType::Symlink {
            return Err(io::Error::other("it is a symlink"));
        }
        // What is held in this way takes no mode itself; this is its name, whatever stands under the other one now.
        let itself = format!("/proc/self/fd/{}", held.as_raw_fd());
        Ok(fs::chmod(itself, Mode::from_bits_truncate(mode))?)
    }

    /// Sets the modification time of a link in it.
    pub(crate) fn set_link_mtime(&self, name: &[u8], time: Time) -> io::Result<()> {
        Ok(fs::utimensat(&self.0, one_name(name)?, &stamps(time), AtFlags::SYMLINK_NOFOLLOW)?)
    }

    /// Removes a file or link.
    pub(crate) fn remove_file(&self, name: &[u8]) -> io::Result<()> {
        Ok(fs::unlinkat(&self.0, one_name(name)?, AtFlags::empty())?)
    }

    /// Removes an empty folder.
    pub(crate) fn remove_folder(&self, name: &[u8]) -> io::Result<()> {
        Ok(fs::unlinkat(&self.0, one_name(name)?, AtFlags::REMOVEDIR)?)
    }

    /// Gives what has a name here another name in `to`; replaces what has that already.
    pub(crate) fn rename(&self, name: &[u8], to: &Folder, new: &[u8]) -> io::Result<()> {
        Ok(fs::renameat(&self.0, one_name(name)?, &to.0, one_name(new)?)?)
    }

    /// The same, but never replaces anything.
    pub(crate) fn rename_new(&self, name: &[u8], to: &Folder, new: &[u8]) -> io::Result<()> {
        let (name, new) = (one_name(name)?, one_name(new)?);
        match fs::renameat_with(&self.0, name, &to.0, new, RenameFlags::NOREPLACE) {
            Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => {
                // File systems without the flag (FAT over FUSE): look first, which is the best there is.
                match fs::statat(&to.0, new, AtFlags::SYMLINK_NOFOLLOW) {
                    Err(Errno::NOENT) => Ok(fs::renameat(&self.0, name, &to.0, new)?),
                    Err(error) => Err(error.into()),
                    Ok(_) => Err(io::ErrorKind::AlreadyExists.into()),
                }
            }
            renamed => Ok(renamed?),
        }
    }

    /// Gives a file in it one more name, in `to`.
    pub(crate) fn hard_link(&self, name: &[u8], to: &Folder, new: &[u8]) -> io::Result<()> {
        Ok(fs::linkat(&self.0, one_name(name)?, &to.0, one_name(new)?, AtFlags::empty())?)
    }

    /// Makes a symlink that holds these bytes.
    pub(crate) fn symlink(&self, content: &[u8], name: &[u8]) -> io::Result<()> {
        Ok(fs::symlinkat(content, &self.0, one_name(name)?)?)
    }
}

/// A name that leads to nothing but what stands in a folder.
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
