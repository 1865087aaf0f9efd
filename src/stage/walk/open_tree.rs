//! A source that is held open, and the way to any folder in it: from the nearest folder above it that is still
//! open. So going from folder to folder costs one system call, at any depth, and no path is too long. Only few
//! folders are held open, however deep a source is.

use std::io;
use std::path::Path;
use std::sync::Mutex;

use crate::base::os::folder::Folder;
use crate::base::path::is_at_or_below;
use crate::base::pool::lock;

/// Two folders on one way that are held open stand at least so many bytes of path apart, if there is one between
/// them: the longest path keeps 17 open for each thread.
const APART: usize = 4_000;

/// The top of a source, held open wherever it is moved.
pub(super) struct OpenTree {
    top: Folder,
    /// Ways that no thread uses now.
    idle: Mutex<Vec<Way>>,
}

impl OpenTree {
    pub(super) fn open(top: &Path) -> io::Result<Self> {
        Ok(Self { top: Folder::open(top)?, idle: Mutex::default() })
    }

    /// Does something in the folder with that path below the top; the top's own path is empty.
    ///
    /// # Errors
    /// The folder cannot be reached.
    pub(super) fn in_folder<T>(&self, path: &[u8], act: impl FnOnce(&Folder) -> io::Result<T>) -> io::Result<T> {
        let mut way = self.idle_way(path);
        let done = way.go(&self.top, path).and_then(act);
        lock(&self.idle).push(way);
        done
    }

    /// The same, but nothing that is held open below the top is used: what is mounted in that place now is reached.
    pub(super) fn in_folder_anew<T>(&self, path: &[u8], act: impl FnOnce(&Folder) -> io::Result<T>) -> io::Result<T> {
        Way::default().go(&self.top, path).and_then(act)
    }

    /// Closes all folders below the top: what stands in their places now is reached from here on.
    pub(super) fn forget_ways(&self) {
        lock(&self.idle).clear();
    }

    /// The way that ends there, or any.
    fn idle_way(&self, path: &[u8]) -> Way {
        let mut idle = lock(&self.idle);
        match idle.iter().position(|way| way.path == path) {
            Some(at) => idle.swap_remove(at),
            None => idle.pop().unwrap_or_default(),
        }
    }
}

/// Folders above each other that are open.
#[derive(Default)]
struct Way {
    /// To the last of them.
    path: Vec<u8>,
    /// Each with the length of its path.
    open: Vec<(usize, Folder)>,
}

impl Way {
    fn go<'a>(&'a mut self, top: &'a Folder, path: &[u8]) -> io::Result<&'a Folder> {
        self.go_back_towards(path);
        let at = self.path.len();
        if path.len() > at {
            let below = if at == 0 { path } else { &path[at + 1..] };
            let folder = self.last(top).enter(below)?;
            self.keep(path, folder);
        }
        Ok(self.last(top))
    }

    fn last<'a>(&'a self, top: &'a Folder) -> &'a Folder {
        self.open.last().map_or(top, |(_, folder)| folder)
    }

    /// Closes what does not stand above `path`.
    fn go_back_towards(&mut self, path: &[u8]) {
        while self.open.last().is_some_and(|(len, _)| !is_at_or_below(path, &self.path[..*len])) {
            self.open.pop();
        }
        self.path.truncate(self.open.last().map_or(0, |(len, _)| *len));
    }

    /// The last folder makes room for the new one if both stand near the one above.
    fn keep(&mut self, path: &[u8], folder: Folder) {
        let above = self.open.len().checked_sub(2).map_or(0, |at| self.open[at].0);
        if path.len() - above <= APART {
            self.open.pop();
        }
        self.open.push((path.len(), folder));
        self.path = path.to_vec();
    }
}
