//! Looking at the sources, once: what there is, in the order of the tar. The one address of
//! `walkdir`. Nothing is opened but sparse files, to learn their holes; no link is followed but
//! one that is named as a source itself.

use std::collections::HashMap;
use std::fs::{File, Metadata};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use crate::base::entry::{Entry, Flag, Hole, Kind, Time};
use crate::base::fault::{At, IoFault};
use crate::base::monitor::{Monitor, Note, NoteKind, Phase};
use crate::base::os;
use crate::base::path::{BytePath, as_bytes, as_path, escape, is_at_or_below};
use crate::format::limits;

/// What the system said of a file when it was walked: if it says otherwise after reading, the
/// file changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp {
    dev: u64,
    ino: u64,
    size: u64,
    mtime: (i64, i64),
    ctime: (i64, i64),
}

impl Stamp {
    /// Of a file as it is now.
    pub fn of(meta: &Metadata) -> Self {
        Self {
            dev: meta.dev(),
            ino: meta.ino(),
            size: meta.size(),
            mtime: (meta.mtime(), meta.mtime_nsec()),
            ctime: (meta.ctime(), meta.ctime_nsec()),
        }
    }
}

/// All that is to be packed.
pub struct Walk {
    /// In the order of the tar.
    pub entries: Vec<Entry>,
    /// For each entry.
    pub stamps: Vec<Stamp>,
    /// Skipped, unreadable and followed ones.
    pub notes: Vec<Note>,
    sources: Vec<Source>,
}

struct Source {
    name: Box<[u8]>,
    path: PathBuf,
    /// Held open if it is a folder: files are opened below it, wherever it is moved.
    folder: Option<File>,
}

/// Why sources cannot be packed at all.
#[derive(Debug, thiserror::Error)]
pub enum WalkError {
    /// A source is not there, or cannot be looked at.
    #[error(transparent)]
    Io(#[from] IoFault),
    /// A source has no last name that it could be packed under.
    #[error("{} has no name of its own to be packed under", crate::base::path::show(.0))]
    NoName(PathBuf),
    /// Two sources would be packed under one name.
    #[error("two sources are named \"{}\": {} and {}", escape(.name), crate::base::path::show(.one), crate::base::path::show(.two))]
    SameName {
        /// The name.
        name: Box<[u8]>,
        /// One of them.
        one: PathBuf,
        /// The other.
        two: PathBuf,
    },
    /// A source that is a FIFO, socket or device.
    #[error("{} is a {what}, which cannot be packed", crate::base::path::show(.path))]
    Special {
        /// Which.
        path: PathBuf,
        /// What it is.
        what: &'static str,
    },
    /// Asked to stop.
    #[error("interrupted")]
    Cancelled,
}

/// Walks the sources; each goes under its last name.
pub fn walk(sources: &[PathBuf], monitor: &dyn Monitor) -> Result<Walk, WalkError> {
    monitor.phase(Phase::Walking, 0);
    let mut walk = Walk { entries: Vec::new(), stamps: Vec::new(), notes: Vec::new(), sources: named(sources)? };
    let mut seen = HashMap::new();
    for at in 0..walk.sources.len() {
        walk.source(at, &mut seen, monitor)?;
    }
    Ok(walk)
}

/// The first source that contains `target` or is it.
pub fn source_around<'a>(sources: &'a [PathBuf], target: &Path) -> Result<Option<&'a PathBuf>, IoFault> {
    let target = target.canonicalize().at("look at", target)?;
    let mut ids = Vec::new();
    for folder in target.ancestors() {
        ids.extend(folder.metadata().ok().map(|meta| (meta.dev(), meta.ino())));
    }
    let around = |source: &&PathBuf| source.metadata().is_ok_and(|meta| ids.contains(&(meta.dev(), meta.ino())));
    Ok(sources.iter().find(around))
}

fn named(sources: &[PathBuf]) -> Result<Vec<Source>, WalkError> {
    let mut named = Vec::new();
    for path in sources {
        let name = match path.file_name() {
            Some(name) => Some(name.to_owned()),
            // `.`, `..` and the like: the name of what they stand for.
            None => path.canonicalize().at("look at", path)?.file_name().map(|name| name.to_owned()),
        };
        let name = name.ok_or_else(|| WalkError::NoName(path.clone()))?;
        named.push(Source { name: as_bytes(Path::new(&name)).into(), path: path.clone(), folder: None });
    }
    named.sort_by(|a, b| a.name.cmp(&b.name));
    for pair in named.windows(2) {
        if pair[0].name == pair[1].name {
            let (one, two) = (pair[0].path.clone(), pair[1].path.clone());
            return Err(WalkError::SameName { name: pair[0].name.clone(), one, two });
        }
    }
    Ok(named)
}

impl Walk {
    /// Where the entry with that index is on this machine.
    pub fn real_path(&self, index: usize) -> PathBuf {
        let (source, below) = self.source_of(index);
        below.map_or_else(|| source.path.clone(), |below| source.path.join(below))
    }

    /// Opens the file with that index to be read; no link is followed below its source.
    pub fn open(&self, index: usize) -> std::io::Result<File> {
        match self.source_of(index) {
            (Source { folder: Some(folder), .. }, Some(below)) => os::open_regular_below(folder, below),
            _ => os::open_regular(&self.real_path(index)),
        }
    }

    fn source_of(&self, index: usize) -> (&Source, Option<&Path>) {
        let path = &self.entries[index].path;
        let at = self.sources.binary_search_by(|source| (*source.name).cmp(path.top()));
        let source = &self.sources[at.expect("every entry stands in a source")];
        (source, path.as_bytes().get(source.name.len() + 1..).map(as_path))
    }

    fn source(
        &mut self,
        at: usize,
        seen: &mut HashMap<(u64, u64), u32>,
        monitor: &dyn Monitor,
    ) -> Result<(), WalkError> {
        let (name, path) = (self.sources[at].name.clone(), self.sources[at].path.clone());
        let meta = path.symlink_metadata().at("look at", &path)?;
        if meta.is_symlink() {
            path.metadata().at("follow the link", &path)?;
            let to = path.canonicalize().map(|to| crate::base::path::show(&to)).unwrap_or_default();
            self.notes.push(Note::new(
                NoteKind::Followed,
                &name,
                format!("the source is a link; what it points to is packed: {to}"),
            ));
        }
        // Following the root only; `a_link/` and `a_link` then mean the same.
        let root = if meta.is_symlink() { path.canonicalize().at("follow the link", &path)? } else { path.clone() };
        if let Some(what) = special(&root.metadata().at("look at", &root)?) {
            return Err(WalkError::Special { path, what });
        }
        self.sources[at].path = root.clone();
        self.sources[at].folder = File::open(&root).ok().filter(|_| root.is_dir());
        for found in walkdir::WalkDir::new(&root).sort_by_file_name() {
            if monitor.cancelled() {
                return Err(WalkError::Cancelled);
            }
            match found {
                Ok(found) => {
                    let below = found.path().strip_prefix(&root).unwrap_or(Path::new(""));
                    self.found(&joined(&name, as_bytes(below)), &found, seen);
                }
                Err(error) => self.unreadable(&name, &root, &error),
            }
            monitor.advance(1);
        }
        Ok(())
    }

    fn unreadable(&mut self, name: &[u8], root: &Path, error: &walkdir::Error) {
        let below = error.path().and_then(|path| path.strip_prefix(root).ok()).unwrap_or(Path::new(""));
        let why = error.io_error().map_or_else(|| "a loop".to_string(), |io| io.to_string());
        let path = joined(name, as_bytes(below));
        self.left_out(&path, format!("could not be looked at, it is not packed: {why}"));
    }

    /// Notes what is not packed, and marks the folder it is missing from, or is, for the receiver.
    fn left_out(&mut self, path: &[u8], text: String) {
        self.notes.push(Note::new(NoteKind::Unreadable, path, text));
        let is_around = |entry: &&mut Entry| entry.kind == Kind::Dir && is_at_or_below(path, entry.path.as_bytes());
        if let Some(folder) = self.entries.iter_mut().rev().find(is_around) {
            folder.flag = Flag::Unreadable;
        }
    }

    fn found(&mut self, path: &[u8], found: &walkdir::DirEntry, seen: &mut HashMap<(u64, u64), u32>) {
        let name = match BytePath::new(path) {
            Ok(name) => name,
            Err(fault) => return self.left_out(path, format!("its path {fault}, it is not packed")),
        };
        let meta = match found.metadata() {
            Ok(meta) => meta,
            Err(error) => return self.left_out(path, format!("could not be looked at, it is not packed: {error}")),
        };
        let mut note = |kind, text: String| self.notes.push(Note::new(kind, path, text));
        if let Some(what) = special(&meta) {
            return note(NoteKind::Skipped, format!("a {what}, it is not packed"));
        }
        if meta.mode() & 0o7000 != 0 && !meta.is_symlink() {
            let bits = format!("its set-id or sticky bits (mode {:o}) are not packed", meta.mode() & 0o7777);
            note(NoteKind::BitsDropped, bits);
        }
        let kind = match self.kind(found.path(), &meta, seen) {
            Ok(kind) => kind,
            Err(error) => return self.left_out(path, format!("the link could not be read, it is not packed: {error}")),
        };
        let size = if kind == Kind::File { meta.size() } else { 0 };
        let mode = if meta.is_symlink() { 0o777 } else { meta.mode() & 0o777 };
        let mtime = Time { secs: meta.mtime(), nanos: meta.mtime_nsec() as u32 };
        let holes = if kind == Kind::File { holes_of(found.path(), &meta) } else { Box::default() };
        self.stamps.push(Stamp::of(&meta));
        self.entries.push(Entry { path: name, kind, size, mode, mtime, at: 0, holes, sha256: None, flag: Flag::Clean });
    }

    fn kind(&self, path: &Path, meta: &Metadata, seen: &mut HashMap<(u64, u64), u32>) -> std::io::Result<Kind> {
        if meta.is_dir() {
            return Ok(Kind::Dir);
        }
        if meta.is_symlink() {
            return Ok(Kind::Symlink(as_bytes(&std::fs::read_link(path)?).into()));
        }
        if meta.nlink() > 1 {
            let index = self.entries.len() as u32;
            let first = *seen.entry((meta.dev(), meta.ino())).or_insert(index);
            if first != index {
                return Ok(Kind::Hardlink(self.entries[first as usize].path.clone()));
            }
        }
        Ok(Kind::File)
    }
}

fn joined(name: &[u8], below: &[u8]) -> Vec<u8> {
    if below.is_empty() { name.to_vec() } else { [name, b"/", below].concat() }
}

/// The word for what is neither file, folder nor link.
fn special(meta: &Metadata) -> Option<&'static str> {
    let kind = meta.file_type();
    [
        (kind.is_fifo(), "FIFO"),
        (kind.is_socket(), "socket"),
        (kind.is_char_device(), "character device"),
        (kind.is_block_device(), "block device"),
    ]
    .into_iter()
    .find_map(|(is, word)| is.then_some(word))
}

/// Holes of a file that takes less room than its size; none if they cannot be learnt, which
/// costs room but no byte.
fn holes_of(path: &Path, meta: &Metadata) -> Box<[Hole]> {
    if meta.blocks().saturating_mul(512) >= meta.size() {
        return Box::default();
    }
    let holes = os::open_regular(path).and_then(|file| os::holes(&file, meta.size(), limits::HOLES));
    holes.unwrap_or_default().into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::monitor::Silent;
    use std::os::unix::ffi::OsStrExt;

    fn tree() -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("src");
        std::fs::create_dir_all(root.join("a/empty")).unwrap();
        std::fs::write(root.join("a/x"), b"content").unwrap();
        std::fs::write(root.join("a.b"), b"").unwrap();
        std::fs::hard_link(root.join("a/x"), root.join("a/y")).unwrap();
        std::os::unix::fs::symlink("../nowhere", root.join("link")).unwrap();
        std::fs::write(root.join(std::ffi::OsStr::from_bytes(b"\xff\n")), b"odd").unwrap();
        dir
    }

    #[test]
    fn what_is_there_is_found_in_the_order_of_the_tar() {
        let dir = tree();
        let walk = walk(&[dir.path().join("src")], &Silent).unwrap();
        let shown: Vec<String> = walk.entries.iter().map(|e| format!("{} {}", e.kind.word(), e.path)).collect();
        let expected = [
            "dir src",
            "dir src/a",
            "dir src/a/empty",
            "file src/a/x",
            "hardlink src/a/y",
            "file src/a.b",
            "symlink src/link",
            "file src/\\xff\\x0a",
        ];
        assert_eq!(shown, expected);
        assert!(walk.entries.is_sorted_by_key(|entry| entry.path.clone()));
        assert_eq!(walk.real_path(3), dir.path().join("src/a/x"));
        assert_eq!(walk.real_path(0), dir.path().join("src"));
    }

    #[test]
    fn sources_go_under_their_last_names() {
        let dir = tree();
        let at = |path: &str| dir.path().join(path);
        std::os::unix::fs::symlink(at("src/a"), at("linked")).unwrap();
        let found = walk(&[at("src/a/x"), at("linked"), at("src/a/../a.b")], &Silent).unwrap();
        let tops: Vec<String> = found.entries.iter().map(|e| e.path.to_string()).collect();
        assert_eq!(tops, ["a.b", "linked", "linked/empty", "linked/x", "linked/y", "x"]);
        assert_eq!(found.notes.iter().map(|n| n.kind).collect::<Vec<_>>(), [NoteKind::Followed]);
        assert!(matches!(walk(&[at("src/a"), at("./src/a")], &Silent), Err(WalkError::SameName { .. })));
        assert!(matches!(walk(&["/".into()], &Silent), Err(WalkError::NoName(_))));
        assert!(matches!(walk(&[at("missing")], &Silent), Err(WalkError::Io(_))));
        assert!(matches!(walk(&["/dev/null".into()], &Silent), Err(WalkError::Special { .. })));
    }

    #[test]
    fn a_target_in_a_source_is_noticed() {
        let dir = tree();
        let at = |path: &str| dir.path().join(path);
        let sources = [at("src/a"), at("src/a.b")];
        assert_eq!(source_around(&sources, &at("src/a/empty")).unwrap(), Some(&sources[0]));
        assert_eq!(source_around(&sources, &at("src/a")).unwrap(), Some(&sources[0]));
        assert_eq!(source_around(&sources, &at("src")).unwrap(), None);
    }
}
