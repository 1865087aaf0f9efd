//! A position below an open folder, reached name by name. A move from one position to the next takes as many steps as
//! they are apart, however deep they are, and only a few folders are held open.

use std::collections::VecDeque;
use std::io;

use crate::base::os::folder::Folder;
use crate::base::path::BytePath;

/// How many folders of one path are held open. Those above are opened again on the way up.
const HELD: usize = 4;

/// The numbers of a folder's file system and of the folder itself.
type FolderId = (u64, u64);

/// The open folders on the way to a position.
pub(crate) struct OpenPath<'a> {
    root: &'a Folder,
    /// The path from the root to the position. Empty at the root.
    path: Vec<u8>,
    /// Where each name in `path` ends.
    ends: Vec<usize>,
    /// The folders that are no longer held open, from the top.
    closed: Vec<FolderId>,
    /// The folders below those. The last one is the position.
    held: VecDeque<Folder>,
    /// How many folders were opened. The tests bound it.
    #[cfg(test)]
    steps: usize,
}

impl<'a> OpenPath<'a> {
    /// Starts at the root.
    pub(crate) fn new(root: &'a Folder) -> Self {
        Self {
            root,
            path: Vec::new(),
            ends: Vec::new(),
            closed: Vec::new(),
            held: VecDeque::new(),
            #[cfg(test)]
            steps: 0,
        }
    }

    /// The folder at the position.
    pub(crate) fn here(&self) -> &Folder {
        self.held.back().unwrap_or(self.root)
    }

    /// The path from the root to the position.
    pub(crate) fn path(&self) -> &[u8] {
        &self.path
    }

    /// Moves to the folder at `path`. If a name on the way is no folder, returns the error and stays in the last
    /// folder.
    pub(crate) fn go_to(&mut self, path: &[u8]) -> io::Result<&Folder> {
        let shared = self.shared(path);
        // Fewer steps down from the root than up from here.
        if self.ends.len() - shared > shared {
            self.reset();
        }
        while self.ends.len() > shared {
            self.leave()?;
        }
        let done = self.path.len() + usize::from(!self.path.is_empty());
        for name in path[done.min(path.len())..].split(|byte| *byte == b'/').filter(|name| !name.is_empty()) {
            self.enter(name)?;
        }
        Ok(self.here())
    }

    /// Moves to the folder that contains the entry with this path.
    pub(crate) fn parent_of(&mut self, path: &BytePath) -> io::Result<&Folder> {
        self.go_to(path.parent().unwrap_or_default())
    }

    /// Moves into a folder of the current one.
    pub(crate) fn enter(&mut self, name: &[u8]) -> io::Result<()> {
        let folder = self.open(|path| path.here().enter(name))?;
        if self.held.len() == HELD {
            // The topmost folder is closed. Its numbers tell later whether `..` still leads to it.
            let id = id_of(&self.held[0])?;
            self.held.pop_front();
            self.closed.push(id);
        }
        self.held.push_back(folder);
        if !self.path.is_empty() {
            self.path.push(b'/');
        }
        self.path.extend_from_slice(name);
        self.ends.push(self.path.len());
        Ok(())
    }

    /// Moves to the folder above and returns the name of the one it left. `None` at the root.
    pub(crate) fn leave(&mut self) -> io::Result<Option<Vec<u8>>> {
        let (Some(left), Some(_)) = (self.held.pop_back(), self.ends.pop()) else { return Ok(None) };
        let end = self.ends.last().copied().unwrap_or(0);
        let name = self.path[end + usize::from(end > 0)..].to_vec();
        self.path.truncate(end);
        if self.held.is_empty() && end > 0 {
            let reopened = self.reopen(&left);
            // Where the path leads now is unknown, so the position is the root again.
            if reopened.is_err() {
                self.reset();
            }
            self.held.push_back(reopened?);
        }
        Ok(Some(name))
    }

    /// Opens the last closed folder again. That is `..`, provided it still is the folder passed on the way down. If a
    /// folder was moved meanwhile, the path from the root is taken instead.
    fn reopen(&mut self, left: &Folder) -> io::Result<Folder> {
        let passed = self.closed.pop();
        let above = self.open(|_| left.above());
        match above {
            Ok(folder) if id_of(&folder).ok() == passed => Ok(folder),
            _ => self.open(|path| path.root.enter(&path.path)),
        }
    }

    fn open(&mut self, open: impl FnOnce(&Self) -> io::Result<Folder>) -> io::Result<Folder> {
        #[cfg(test)]
        {
            self.steps += 1;
        }
        open(self)
    }

    fn reset(&mut self) {
        self.path.clear();
        self.ends.clear();
        self.closed.clear();
        self.held.clear();
    }

    /// How many leading names this path shares with another.
    fn shared(&self, path: &[u8]) -> usize {
        let same = self.path.iter().zip(path).take_while(|(a, b)| a == b).count();
        let within = self.ends.partition_point(|end| *end <= same);
        // Only the last of these names may be longer in the other path.
        let last = self.ends[..within].last().copied();
        let is_longer = last.is_some_and(|end| path.get(end).is_some_and(|byte| *byte != b'/'));
        if is_longer { within - 1 } else { within }
    }
}

fn id_of(folder: &Folder) -> io::Result<FolderId> {
    folder.status().map(|status| (status.dev, status.ino))
}

/// Visits everything below a folder, at any depth. `meet` gets each name and returns whether it is a folder to enter.
/// `left` gets the name of such a folder once everything in it was met, together with the folder above.
pub(crate) fn traverse(
    root: &Folder,
    mut meet: impl FnMut(&OpenPath, &[u8]) -> io::Result<bool>,
    mut left: impl FnMut(&Folder, &[u8]) -> io::Result<()>,
) -> io::Result<()> {
    let mut place = OpenPath::new(root);
    // The names still to meet in each folder on the way. Without recursion, depth takes no stack.
    let mut to_meet = vec![root.names()?];
    while let Some(names) = to_meet.last_mut() {
        match names.pop() {
            Some(name) if meet(&place, &name)? => {
                place.enter(&name)?;
                to_meet.push(place.here().names()?);
            }
            Some(_) => {}
            None => {
                to_meet.pop();
                if let Some(name) = place.leave()? {
                    left(place.here(), &name)?;
                }
            }
        }
    }
    Ok(())
}

/// Removes a file, or a folder with everything in it. Follows no link.
pub(crate) fn remove_all(folder: &Folder, name: &[u8]) -> io::Result<()> {
    if !folder.look_at(name)?.is_dir() {
        return folder.remove_file(name);
    }
    traverse(&folder.enter(name)?, remove_unless_folder, |folder, name| folder.remove_folder(name))?;
    folder.remove_folder(name)
}

/// Removes a name that is no folder. Returns whether it is a folder, to be entered.
fn remove_unless_folder(place: &OpenPath, name: &[u8]) -> io::Result<bool> {
    let is_dir = place.here().look_at(name)?.is_dir();
    if !is_dir {
        place.here().remove_file(name)?;
    }
    Ok(is_dir)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A folder with a chain of folders in it, and the path to the last of them.
    fn chain(depth: usize, name: &str) -> (tempfile::TempDir, Vec<u8>) {
        let dir = tempfile::tempdir().unwrap();
        let root = Folder::open(dir.path()).unwrap();
        let mut place = OpenPath::new(&root);
        for _ in 0..depth {
            place.here().make_folder(name.as_bytes()).unwrap();
            place.enter(name.as_bytes()).unwrap();
        }
        let path = place.path().to_vec();
        (dir, path)
    }

    #[test]
    fn a_way_costs_what_its_ends_are_apart() {
        const DEPTH: usize = 1000;
        let (dir, path) = chain(DEPTH, "d");
        let root = Folder::open(dir.path()).unwrap();
        let mut place = OpenPath::new(&root);
        // Down in the order of the list, and up again in the order in which folders get their modes.
        for depth in (0..=DEPTH).chain((0..=DEPTH).rev()) {
            let to = &path[..(depth * 2).saturating_sub(1)];
            place.go_to(to).unwrap();
            assert_eq!(place.path(), to);
        }
        assert!(place.steps <= 2 * DEPTH, "{} folders were opened", place.steps);
        assert!(place.held.is_empty() && place.closed.is_empty());
        remove_all(&root, b"d").unwrap();
        assert!(root.names().unwrap().is_empty());
    }

    #[test]
    fn no_path_is_too_long_and_few_folders_are_open() {
        let (dir, path) = chain(60, &"n".repeat(100));
        assert!(path.len() > 6000);
        let root = Folder::open(dir.path()).unwrap();
        let mut place = OpenPath::new(&root);
        place.go_to(&path).unwrap().create_new(b"file").unwrap();
        assert!(place.held.len() <= HELD);
        assert!(place.go_to(&path[..100]).unwrap().look_at(b"file").is_err());
        assert!(place.go_to(&path).unwrap().look_at(b"file").is_ok());
    }

    #[test]
    fn a_name_that_begins_alike_is_another() {
        let dir = tempfile::tempdir().unwrap();
        for folder in ["a/b", "ab/c", "a/bc/d"] {
            std::fs::create_dir_all(dir.path().join(folder)).unwrap();
            std::fs::write(dir.path().join(folder).join("here"), folder).unwrap();
        }
        let root = Folder::open(dir.path()).unwrap();
        let mut place = OpenPath::new(&root);
        for folder in ["a/b", "a/bc/d", "ab/c", "a/bc/d", "a/b", "ab/c"] {
            let file = place.go_to(folder.as_bytes()).unwrap().open_regular(b"here").unwrap();
            assert_eq!(std::io::read_to_string(file).unwrap(), folder);
        }
        assert!(place.go_to(b"a/b/none").is_err());
        assert_eq!(place.path(), b"a/b", "as far as there are folders");
    }

    #[test]
    fn a_folder_that_was_moved_away_is_not_followed_upwards() {
        let (dir, path) = chain(3 * HELD, "d");
        let outside = tempfile::tempdir().unwrap();
        let root = Folder::open(dir.path()).unwrap();
        let mut place = OpenPath::new(&root);
        place.go_to(&path).unwrap();
        // The fifth of the twelve folders moves elsewhere, with everything below it.
        let fifth = dir.path().join("d/d/d/d/d");
        std::fs::rename(&fifth, outside.path().join("d")).unwrap();
        while place.path().len() > "d/d/d/d/d".len() {
            if place.leave().is_err() {
                assert_eq!(place.path(), b"", "it begins again at the root");
                return;
            }
        }
        let Ok(_) = place.leave() else { return };
        assert!(place.here().look_at(b"d").is_err(), "above it is where it stood before, not where it stands now");
    }
}
