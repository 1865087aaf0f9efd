//! Holds a source open, and reaches any folder in it from the nearest open folder above. So a step from folder to
//! folder costs a few system calls at any depth, and no path is too long. Each thread holds only a few folders open,
//! however deep the source is.
//!
//! Not guaranteed: that a folder is still at its path. An open folder is reached wherever it is moved.

use std::io;
use std::path::Path;
use std::sync::Mutex;

use crate::base::os::folder::Folder;
use crate::base::path::is_at_or_below;
use crate::base::pool::lock;

/// The top folder of a source, held open wherever it is moved.
pub(super) struct OpenTree {
    top: Folder,
    /// Ways that no thread uses now. A thread takes one and puts it back, so there are never more ways than threads.
    idle: Mutex<Vec<OpenFolders>>,
}

impl OpenTree {
    pub(super) fn open(top: &Path) -> io::Result<Self> {
        Ok(Self { top: Folder::open(top)?, idle: Mutex::default() })
    }

    /// Runs `act` on the folder with that path below the top. The path of the top is empty.
    ///
    /// # Errors
    /// The folder cannot be reached, or `act` failed.
    pub(super) fn in_folder<T>(&self, path: &[u8], act: impl FnOnce(&Folder) -> io::Result<T>) -> io::Result<T> {
        let mut way = self.idle_way(path);
        let done = way.go(&self.top, path).and_then(act);
        lock(&self.idle).push(way);
        done
    }

    /// The same, but without the folders that are held open below the top: reaches what is mounted at that place now.
    pub(super) fn in_folder_anew<T>(&self, path: &[u8], act: impl FnOnce(&Folder) -> io::Result<T>) -> io::Result<T> {
        OpenFolders::default().go(&self.top, path).and_then(act)
    }

    /// Closes all folders below the top. From now on paths lead to the folders that have them now.
    pub(super) fn forget_ways(&self) {
        lock(&self.idle).clear();
    }

    /// Takes the idle way that ends nearest above that path, else any, else a new one.
    fn idle_way(&self, path: &[u8]) -> OpenFolders {
        let mut idle = lock(&self.idle);
        let leading = idle.iter().enumerate().filter(|(_, way)| is_at_or_below(path, &way.path));
        match leading.max_by_key(|(_, way)| way.path.len()) {
            Some((at, _)) => idle.swap_remove(at),
            None => idle.pop().unwrap_or_default(),
        }
    }
}

/// Open folders on one path: all of them near its end, and ever fewer further up. So on the way back each folder is
/// reached from one not far above it. The longest path, 32 KiB with names of one byte, keeps 14 folders open.
#[derive(Default)]
struct OpenFolders {
    /// The path of the last open folder.
    path: Vec<u8>,
    /// From the top down, each with the length of its path.
    open: Vec<(usize, Folder)>,
}

impl OpenFolders {
    /// Goes to the folder with that path. If that fails, the way stays usable: it ends at the last folder reached.
    fn go<'a>(&'a mut self, top: &'a Folder, path: &[u8]) -> io::Result<&'a Folder> {
        self.go_back_towards(path);
        while self.path.len() < path.len() {
            let begin = if self.path.is_empty() { 0 } else { self.path.len() + 1 };
            let len = begin + stride(&path[begin..]);
            let folder = self.last(top).enter(&path[begin..len])?;
            self.open.push((len, folder));
            self.path = path[..len].to_vec();
            self.thin_out();
        }
        Ok(self.last(top))
    }

    fn last<'a>(&'a self, top: &'a Folder) -> &'a Folder {
        self.open.last().map_or(top, |(_, folder)| folder)
    }

    /// Closes the folders that are not on `path`.
    fn go_back_towards(&mut self, path: &[u8]) {
        while self.open.last().is_some_and(|(len, _)| !is_at_or_below(path, &self.path[..*len])) {
            self.open.pop();
        }
        self.path.truncate(self.open.last().map_or(0, |(len, _)| *len));
    }

    /// Closes each folder whose two neighbours are close to each other, measured by their distance from the end. What
    /// stays open grows with the logarithm of the path's length.
    fn thin_out(&mut self) {
        for at in (0..self.open.len() - 1).rev() {
            let above = if at == 0 { 0 } else { self.open[at - 1].0 };
            let below = self.open[at + 1].0;
            if below - above <= 3 * (self.path.len() - below) {
                self.open.remove(at);
            }
        }
    }
}

/// How many bytes of a path are entered in one step: at least half of it. Steps that halve leave some folders open on
/// a long way, and still are few.
fn stride(path: &[u8]) -> usize {
    let half = path.len() / 2;
    path[half..].iter().position(|byte| *byte == b'/').map_or(path.len(), |slash| half + slash)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::fs::{Mode, OFlags};
    use std::collections::HashSet;
    use std::os::unix::fs::MetadataExt;

    /// Makes `depth` nested folders with names of `name` bytes. Returns their paths, the empty one of the top first.
    fn chain(top: &Path, depth: usize, name: usize) -> Vec<Vec<u8>> {
        let name = "f".repeat(name);
        let mut at = rustix::fs::open(top, OFlags::PATH, Mode::empty()).unwrap();
        let mut paths = vec![Vec::new()];
        for level in 0..depth {
            rustix::fs::mkdirat(&at, &name, Mode::RWXU).unwrap();
            at = rustix::fs::openat(&at, &name, OFlags::PATH, Mode::empty()).unwrap();
            paths.push([&paths[level][..], if level > 0 { b"/" } else { b"" }, name.as_bytes()].concat());
        }
        paths
    }

    /// The inode of a folder, and how many folders are held open after reaching it.
    fn reach(tree: &OpenTree, path: &[u8]) -> (u64, usize) {
        let status = tree.in_folder(path, Folder::status).unwrap();
        let idle = lock(&tree.idle);
        assert_eq!(idle.len(), 1);
        (status.ino, idle[0].open.len())
    }

    #[test]
    fn a_way_leads_to_each_folder_of_any_depth_and_holds_few_open() {
        let dir = tempfile::tempdir().unwrap();
        // 20,099 bytes of path.
        let paths = chain(dir.path(), 100, 200);
        std::fs::create_dir(dir.path().join("aside")).unwrap();
        let tree = OpenTree::open(dir.path()).unwrap();
        let going_down: Vec<(u64, usize)> = paths.iter().map(|path| reach(&tree, path)).collect();
        assert!(going_down.iter().all(|(_, open)| *open <= 14), "{going_down:?}");
        let inodes: HashSet<u64> = going_down.iter().map(|(inode, _)| *inode).collect();
        assert!(inodes.len() == paths.len() && inodes.contains(&dir.path().metadata().unwrap().ino()));
        for (path, (inode, _)) in paths.iter().zip(&going_down).rev() {
            let (again, open) = reach(&tree, path);
            assert!(again == *inode && open <= 14, "going up: {again} for {inode}, {open} are open");
        }
        reach(&tree, &paths[100]);
        assert_eq!(reach(&tree, b"aside").1, 1, "what is not on the way is closed");
        let mut remove = std::process::Command::new("rm");
        assert!(remove.arg("-rf").arg(dir.path()).status().unwrap().success());
    }

    #[test]
    fn what_cannot_be_reached_spoils_no_way() {
        let dir = tempfile::tempdir().unwrap();
        let deep = b"folder/folder/folder".to_vec();
        std::fs::create_dir_all(dir.path().join("folder/folder/folder")).unwrap();
        std::os::unix::fs::symlink("folder", dir.path().join("link")).unwrap();
        let tree = OpenTree::open(dir.path()).unwrap();
        let reach = |path: &[u8]| tree.in_folder(path, |folder| folder.status().map(|status| status.ino));
        let known = reach(&deep).unwrap();
        for wrong in [&b"link"[..], b"link/folder", b"folder/missing", b"folder/folder/folder/folder"] {
            assert!(reach(wrong).is_err(), "{}", wrong.escape_ascii());
            assert_eq!(reach(&deep).unwrap(), known);
        }
        std::fs::rename(dir.path().join("folder"), dir.path().join("moved")).unwrap();
        std::fs::create_dir_all(dir.path().join("folder/folder/folder")).unwrap();
        assert_eq!(reach(&deep).unwrap(), known, "it is held open");
        let anew = tree.in_folder_anew(&deep, |folder| folder.status().map(|status| status.ino));
        assert_ne!(anew.unwrap(), known);
    }
}
