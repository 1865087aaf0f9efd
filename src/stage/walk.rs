//! Looking at the sources, once: what there is, in the order of the tar. The one address of
//! `walkdir`. Nothing is opened but sparse files, to learn their holes; no link is followed but
//! one that is named as a source itself.

mod gone;
mod second_look;
mod stamp;

use std::collections::HashMap;
use std::fs::{File, Metadata};
use std::ops::RangeInclusive;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use crate::base::digest::{Digest, Hasher};
use crate::base::entry::{Entry, Flag, Hole, Kind, Time};
use crate::base::fault::{At, IoFault};
use crate::base::monitor::{Monitor, Note, NoteKind, Phase};
use crate::base::os;
use crate::base::path::{BytePath, as_bytes, as_path, escape, is_at_or_below};
use crate::base::pool::{side_by_side, workers};
use crate::format::limits;
use gone::Ground;
pub use second_look::{OwnNames, SecondLook};
pub use stamp::Stamp;

/// How many names one thread looks at before all share the work: the top is looked at again for
/// each further depth.
const TRUNK: usize = 10_000;

/// All that is to be packed.
pub struct Walk {
    /// In the order of the tar.
    pub entries: Vec<Entry>,
    /// For each entry.
    pub stamps: Vec<Stamp>,
    /// Skipped, unreadable and followed ones.
    pub notes: Vec<Note>,
    sources: Vec<Source>,
    /// When the first name was looked at.
    began: SystemTime,
}

struct Source {
    name: Box<[u8]>,
    path: PathBuf,
    /// Held open if it is a folder: files are opened below it, wherever it is moved.
    folder: Option<File>,
    grounds: Vec<Ground>,
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
    /// A source, or a folder in one, whose drive stopped answering.
    #[error("{}: this source is gone: it stopped answering while it was read", crate::base::path::show(.0))]
    Gone(PathBuf),
    /// Asked to stop.
    #[error("interrupted")]
    Cancelled,
}

/// Walks the sources; each goes under its last name.
pub fn walk(sources: &[PathBuf], monitor: &dyn Monitor) -> Result<Walk, WalkError> {
    monitor.phase(Phase::Walking, 0);
    let (sources, began) = (named(sources)?, SystemTime::now());
    let mut walk = Walk { entries: Vec::new(), stamps: Vec::new(), notes: Vec::new(), sources, began };
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
        named.push(Source {
            name: as_bytes(Path::new(&name)).into(),
            path: path.clone(),
            folder: None,
            grounds: vec![],
        });
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

    /// A digest of names, sizes and times of all files: nobody guesses it who has not got them.
    pub fn digest(&self) -> Digest {
        let mut hasher = Hasher::tagged("walk");
        for (entry, stamp) in self.entries.iter().zip(&self.stamps).filter(|(entry, _)| entry.kind == Kind::File) {
            hasher.update(entry.path.as_bytes());
            hasher.update(&stamp.bytes());
        }
        hasher.finish()
    }

    /// A mark of each entry as it is now.
    pub fn marks(&self) -> Vec<u64> {
        self.entries.iter().zip(&self.stamps).map(|(entry, stamp)| stamp.mark(entry)).collect()
    }

    fn source_of(&self, index: usize) -> (&Source, Option<&Path>) {
        let path = &self.entries[index].path;
        let at = self.sources.binary_search_by(|source| (*source.name).cmp(path.top()));
        let source = &self.sources[at.expect("every entry stands in a source")];
        (source, path.as_bytes().get(source.name.len() + 1..).map(as_path))
    }

    fn source(&mut self, at: usize, seen: &mut Seen, monitor: &dyn Monitor) -> Result<(), WalkError> {
        let (name, path) = (self.sources[at].name.clone(), self.sources[at].path.clone());
        let (from, said) = (self.entries.len(), self.notes.len());
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
        let look = Look { name: &name, root: &root, monitor };
        let (trunk, folders) = look.trunk();
        let mut branches = side_by_side(&folders, || (), |(), folder| look.branch(folder)).into_iter();
        if monitor.cancelled() {
            return Err(WalkError::Cancelled);
        }
        for (found, is_fork) in trunk {
            self.take(found, seen);
            let branch = is_fork.then(|| branches.next()).flatten();
            branch.into_iter().flatten().for_each(|found| self.take(found, seen));
        }
        self.stand_on(at, from)?;
        match self.notes[said..].iter().any(|note| note.kind == NoteKind::Unreadable) {
            true => self.answer(from..self.entries.len()),
            false => Ok(()),
        }
    }

    fn take(&mut self, found: Found, seen: &mut Seen) {
        match found {
            Found::Entry(mut entry, stamp, shared, note) => {
                self.notes.extend(note);
                if shared {
                    let index = self.entries.len() as u32;
                    let first = *seen.entry((stamp.dev, stamp.ino)).or_insert(index);
                    if first != index {
                        entry.kind = Kind::Hardlink(self.entries[first as usize].path.clone());
                        (entry.size, entry.holes) = (0, Box::default());
                    }
                }
                self.stamps.push(stamp);
                self.entries.push(entry);
            }
            Found::Skipped(note) => self.notes.push(note),
            Found::LeftOut(note) => {
                // The folder it is missing from, or is, is marked for the receiver.
                let is_around =
                    |entry: &&mut Entry| entry.kind == Kind::Dir && is_at_or_below(&note.path, entry.path.as_bytes());
                if let Some(folder) = self.entries.iter_mut().rev().find(is_around) {
                    folder.flag = Flag::Unreadable;
                }
                self.notes.push(note);
            }
        }
    }
}

/// A name, or why it could not be looked at.
type Walked = walkdir::Result<walkdir::DirEntry>;

/// The first index of each file that has several names.
type Seen = HashMap<(u64, u64), u32>;

/// What came of looking at one name.
enum Found {
    /// An entry, whether it is a file that may have other names, and what is worth saying of it.
    Entry(Entry, Stamp, bool, Option<Note>),
    /// Not packed, and rightly so.
    Skipped(Note),
    /// Not packed, though it should be.
    LeftOut(Note),
}

/// Looks at one source: its trunk on one thread, then all branches at once.
struct Look<'a> {
    name: &'a [u8],
    root: &'a Path,
    monitor: &'a dyn Monitor,
}

impl Look<'_> {
    /// All down to a depth where there are folders enough for all cores; a mark at each of those,
    /// whose contents follow it; and their paths.
    fn trunk(&self) -> (Vec<(Found, bool)>, Vec<PathBuf>) {
        for depth in 1.. {
            let walked: Vec<_> = self.walk(self.root, 0..=depth).collect();
            let forks: Vec<bool> = walked.iter().map(|found| is_folder_at(found, depth)).collect();
            let folders: Vec<PathBuf> = walked
                .iter()
                .zip(&forks)
                .filter_map(|(found, fork)| Some(found.as_ref().ok().filter(|_| *fork)?.path().to_owned()))
                .collect();
            let enough = folders.len() >= 8 * workers() || walked.len() > TRUNK;
            if folders.is_empty() || enough {
                let found = self.until_cancelled(walked.into_iter()).map(|found| self.look(found));
                return (found.zip(forks).collect(), folders);
            }
        }
        unreachable!("no folder is infinitely deep")
    }

    /// All that a folder holds.
    fn branch(&self, folder: &Path) -> Vec<Found> {
        self.walk(folder, 1..=usize::MAX).map(|found| self.look(found)).collect()
    }

    fn walk(&self, from: &Path, depths: RangeInclusive<usize>) -> impl Iterator<Item = Walked> {
        let walk = walkdir::WalkDir::new(from).min_depth(*depths.start()).max_depth(*depths.end());
        self.until_cancelled(walk.sort_by_file_name().into_iter())
    }

    fn until_cancelled(&self, walked: impl Iterator<Item = Walked>) -> impl Iterator<Item = Walked> {
        walked.take_while(|_| !self.monitor.cancelled())
    }

    /// The path in the bundle.
    fn path_of(&self, path: &Path) -> Vec<u8> {
        let below = path.strip_prefix(self.root).unwrap_or(Path::new(""));
        joined(self.name, as_bytes(below))
    }

    fn look(&self, found: Walked) -> Found {
        self.monitor.advance(1);
        let (path, result) = match &found {
            Ok(found) => (self.path_of(found.path()), self.entry(found)),
            Err(error) => {
                let why = error.io_error().map_or_else(|| "a loop".to_string(), |io| io.to_string());
                let text = format!("could not be looked at, it is not packed: {why}");
                (self.path_of(error.path().unwrap_or(self.root)), Err(text))
            }
        };
        result.unwrap_or_else(|text| Found::LeftOut(Note::new(NoteKind::Unreadable, &path, text)))
    }

    fn entry(&self, found: &walkdir::DirEntry) -> Result<Found, String> {
        let path = self.path_of(found.path());
        let note = |kind, text: String| Note::new(kind, &path, text);
        let name = BytePath::new(path.clone()).map_err(|fault| format!("its path {fault}, it is not packed"))?;
        let meta = found.metadata().map_err(|error| format!("could not be looked at, it is not packed: {error}"))?;
        if let Some(what) = special(&meta) {
            return Ok(Found::Skipped(note(NoteKind::Skipped, format!("a {what}, it is not packed"))));
        }
        let dropped = (meta.mode() & 0o7000 != 0 && !meta.is_symlink()).then(|| {
            let bits = format!("its set-id or sticky bits (mode {:o}) are not packed", meta.mode() & 0o7777);
            note(NoteKind::BitsDropped, bits)
        });
        let kind = kind(found.path(), &meta)
            .map_err(|error| format!("the link could not be read, it is not packed: {error}"))?;
        let size = if kind == Kind::File { meta.size() } else { 0 };
        let mode = if meta.is_symlink() { 0o777 } else { meta.mode() & 0o777 };
        let mtime = Time { secs: meta.mtime(), nanos: meta.mtime_nsec() as u32 };
        let holes = if kind == Kind::File { holes_of(found.path(), &meta) } else { Box::default() };
        let shared = kind == Kind::File && meta.nlink() > 1;
        let entry = Entry { path: name, kind, size, mode, mtime, at: 0, holes, sha256: None, flag: Flag::Clean };
        Ok(Found::Entry(entry, Stamp::of(&meta), shared, dropped))
    }
}

fn is_folder_at(found: &Walked, depth: usize) -> bool {
    found.as_ref().is_ok_and(|found| found.depth() == depth && found.file_type().is_dir())
}

fn kind(path: &Path, meta: &Metadata) -> std::io::Result<Kind> {
    if meta.is_dir() {
        return Ok(Kind::Dir);
    }
    if meta.is_symlink() {
        return Ok(Kind::Symlink(as_bytes(&std::fs::read_link(path)?).into()));
    }
    Ok(Kind::File)
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
mod tests;
