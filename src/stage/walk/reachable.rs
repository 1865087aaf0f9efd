//! Tells sources that stopped answering (unplugged, unmounted, dead) from bad files. Every file of such a source fails
//! like one on a bad sector, but nothing is known about it, so it must not be reported as damaged.
//!
//! Not guaranteed: that every dead drive is recognised. A drive counts as present if it fails every request while the
//! system has not given it up and still remembers its folders.

use std::io::{Error, ErrorKind, Result};
use std::path::{Path, PathBuf};

use super::open_tree::OpenTree;
use crate::base::os;
use crate::base::os::folder::{Folder, list};

/// How many names in a folder are tried before its drive counts as dead. A single one may just be bad.
const TRIED: usize = 16;

/// A file system that a source stands on, and the folder to ask whether it is still present: the topmost one on it.
pub(super) struct SourceFileSystem {
    asked: AskedFolder,
    /// The path for messages.
    name: PathBuf,
    /// The device number of the file system when it was walked.
    device: u64,
    /// Whether the system knew a disk behind it then. Only such a disk can be found missing.
    has_disk: bool,
}

/// Which folder is asked. It is opened anew each time, so that the file system that is mounted there now answers.
enum AskedFolder {
    At(PathBuf),
    /// A path below the source. The whole path may be too long for the system.
    Below(Box<[u8]>),
}

impl SourceFileSystem {
    /// The ground of a source itself. `folder` is asked, `name` is the path for messages.
    pub(super) fn of_source(folder: &Path, name: &Path, device: u64) -> Self {
        Self::new(AskedFolder::At(folder.into()), name, device)
    }

    /// The ground of another file system that is mounted below a source.
    pub(super) fn below(folder: &[u8], name: &Path, device: u64) -> Self {
        Self::new(AskedFolder::Below(folder.into()), name, device)
    }

    fn new(asked: AskedFolder, name: &Path, device: u64) -> Self {
        Self { asked, name: name.into(), device, has_disk: os::block(device).is_there() }
    }

    /// Whether files with that device number stand on it.
    pub(super) fn is_of(&self, device: u64) -> bool {
        self.device == device
    }

    pub(super) fn name(&self) -> &Path {
        &self.name
    }

    /// Whether the file system still answers, after something on it was not found as it was. `errno` is the system's
    /// error for that, if there was one. `tree` is the source, `None` for a file.
    pub(super) fn answers(&self, errno: Option<i32>, tree: Option<&OpenTree>) -> bool {
        let Some(said) = errno.map(Error::from_raw_os_error) else { return self.is_there(tree) };
        refuses(&said) || !os::is_of_a_gone_drive(&said) && self.is_there(tree)
    }

    /// Whether the folder answers from the same file system. After an unmount an empty folder is left, on another
    /// device. After an unplug the system may still remember the folders, so the disk itself is looked for as well.
    fn is_there(&self, tree: Option<&OpenTree>) -> bool {
        let asked = match (&self.asked, tree) {
            (AskedFolder::At(path), _) => Folder::open(path).and_then(|folder| self.ask(&folder)),
            (AskedFolder::Below(path), Some(tree)) => tree.in_folder_anew(path, |folder| self.ask(folder)),
            (AskedFolder::Below(_), None) => return false,
        };
        let is_plugged_in = !self.has_disk || os::block(self.device).is_there();
        is_plugged_in && asked.unwrap_or_else(|error| refuses(&error))
    }

    fn ask(&self, folder: &Folder) -> Result<bool> {
        Ok(folder.status()?.dev == self.device && lists(folder))
    }
}

/// Whether a folder gives an answer: it is empty, it refuses to be listed, or one of its first names can be looked at.
fn lists(folder: &Folder) -> bool {
    let mut names: Vec<Box<[u8]>> = Vec::new();
    let listed = folder.to_list().and_then(|to_list| {
        list(&to_list, |name| {
            names.push(name.into());
            names.len() < TRIED
        })
    });
    let is_empty = names.is_empty() && listed.is_ok();
    let refused = listed.is_err_and(|error| refuses(&error));
    is_empty || refused || names.iter().any(|name| folder.look_at(name).err().is_none_or(|error| is_answer(&error)))
}

/// A name that was removed meanwhile is an answer of the drive too.
fn is_answer(error: &Error) -> bool {
    refuses(error) || error.kind() == ErrorKind::NotFound
}

/// Whether the system refused for lack of permission. A drive that is gone does not do that.
fn refuses(error: &Error) -> bool {
    error.kind() == ErrorKind::PermissionDenied
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::MetadataExt;

    #[test]
    fn another_file_system_in_its_place_is_no_answer() {
        let dir = tempfile::tempdir().unwrap();
        let device = dir.path().metadata().unwrap().dev();
        let ground = |device| SourceFileSystem::of_source(dir.path(), dir.path(), device);
        assert!(ground(device).answers(None, None), "an empty folder");
        assert!(!ground(device + 1).answers(None, None), "an empty folder where something was mounted");
        let unplugged = SourceFileSystem {
            has_disk: true,
            device,
            ..SourceFileSystem::of_source(Path::new("/proc"), dir.path(), device)
        };
        assert!(!unplugged.answers(None, None));
    }
}
