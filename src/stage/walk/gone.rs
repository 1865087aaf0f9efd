//! Sources that stop answering: pulled out, unmounted, dead. Every file on them then reads like one on a
//! bad sector, but nothing is known of it. What is not guaranteed: a drive that fails whatever it is
//! asked, whose folders the system still remembers and which it has not given up, counts as there.

use std::io::{Error, ErrorKind, Result};
use std::path::{Path, PathBuf};

use super::open_tree::OpenTree;
use crate::base::os;
use crate::base::os::folder::{Folder, list};

/// Names in a folder that are tried before nothing on its drive is said to answer: some may be bad.
const TRIED: usize = 16;

/// A folder to ask whether a file system is still there: the topmost one on it in a source.
pub(super) struct Ground {
    asked: Asked,
    /// How it is named to people.
    name: PathBuf,
    device: u64,
    has_disk: bool,
}

/// Which folder is asked. It is looked for anew each time: what is mounted there now answers.
enum Asked {
    At(PathBuf),
    /// Below the source, whose path may be too long for the system with this.
    Below(Box<[u8]>),
}

impl Ground {
    /// What a source as a whole stands on.
    pub(super) fn of_source(folder: &Path, name: &Path, device: u64) -> Self {
        Self::new(Asked::At(folder.into()), name, device)
    }

    /// What else is mounted below a source.
    pub(super) fn below(folder: &[u8], name: &Path, device: u64) -> Self {
        Self::new(Asked::Below(folder.into()), name, device)
    }

    fn new(asked: Asked, name: &Path, device: u64) -> Self {
        Self { asked, name: name.into(), device, has_disk: os::block(device).is_there() }
    }

    /// Whether it is what files with that device stand on.
    pub(super) fn is_of(&self, device: u64) -> bool {
        self.device == device
    }

    pub(super) fn name(&self) -> &Path {
        &self.name
    }

    /// Asks it, for something that was not found as it was, whether it still answers; `errno`: what the system said of
    /// that, if anything. `tree` is the source.
    pub(super) fn answers(&self, errno: Option<i32>, tree: Option<&OpenTree>) -> bool {
        let Some(said) = errno.map(Error::from_raw_os_error) else { return self.is_there(tree) };
        refuses(&said) || !os::is_of_a_gone_drive(&said) && self.is_there(tree)
    }

    /// Whether it is there, on the file system that it was on: one that was unmounted leaves an empty folder.
    /// The system may still remember the folders of a disk that is gone.
    fn is_there(&self, tree: Option<&OpenTree>) -> bool {
        let asked = match (&self.asked, tree) {
            (Asked::At(path), _) => Folder::open(path).and_then(|folder| self.ask(&folder)),
            (Asked::Below(path), Some(tree)) => tree.in_folder_anew(path, |folder| self.ask(folder)),
            (Asked::Below(_), None) => return false,
        };
        let is_plugged_in = !self.has_disk || os::block(self.device).is_there();
        is_plugged_in && asked.unwrap_or_else(|error| refuses(&error))
    }

    fn ask(&self, folder: &Folder) -> Result<bool> {
        Ok(folder.status()?.dev == self.device && lists(folder))
    }
}

fn lists(folder: &Folder) -> bool {
    let mut names: Vec<Box<[u8]>> = Vec::new();
    let listed = folder.to_list().and_then(|to_list| {
        list(&to_list, |name| {
            names.push(name.into());
            names.len() < TRIED
        })
    });
    // What was removed in that moment says nothing against its drive.
    let answered = |error: Error| refuses(&error) || error.kind() == ErrorKind::NotFound;
    let is_empty = names.is_empty() && listed.is_ok();
    let refused = listed.is_err_and(|error| refuses(&error));
    is_empty || refused || names.iter().any(|name| folder.look_at(name).map_or_else(answered, |_| true))
}

/// What refuses somebody is there.
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
        let ground = |device| Ground::of_source(dir.path(), dir.path(), device);
        assert!(ground(device).answers(None, None), "an empty folder");
        assert!(!ground(device + 1).answers(None, None), "an empty folder where something was mounted");
        let unplugged = Ground { has_disk: true, device, ..Ground::of_source(Path::new("/proc"), dir.path(), device) };
        assert!(!unplugged.answers(None, None));
    }
}
