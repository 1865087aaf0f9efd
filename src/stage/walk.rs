//! Walks the sources once, before anything is packed: finds every entry, in the order of the tar. Everything below a
//! source is reached by handles of open folders (`walk/open_tree.rs`), now and later. A link is followed only if it is
//! named as a source itself. Not guaranteed: that a folder held no other names while it was listed.

mod dropped;
mod hard_links;
mod listing;
mod look;
mod open_tree;
mod reachable;
mod second_look;
mod stamp;

use std::fs::File;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::base::digest::{Digest, Hasher};
use crate::base::entry::{Entry, Flag, Kind};
use crate::base::fault::{At, IoFault};
use crate::base::monitor::{Monitor, Note, NoteKind, Phase};
use crate::base::os;
use crate::base::os::attributes::Attributes;
use crate::base::os::folder::Status;
use crate::base::path::{as_bytes, as_path, escape};
use dropped::Extras;
use hard_links::SharedFile;
use look::{FolderLook, FoundEntry, Look, LookedAt};
use open_tree::OpenTree;
use reachable::SourceFileSystem;
pub(crate) use second_look::{OwnNames, SecondLook};
use second_look::{Spot, WalkedEntries};
pub(crate) use stamp::Stamp;

/// Everything that is to be packed. An entry is known by its index in `entries`.
#[derive(Default)]
pub(crate) struct Walk {
    /// In the order of the tar.
    pub(crate) entries: Vec<Entry>,
    /// One for each entry, as it was when it was walked.
    pub(crate) stamps: Vec<Stamp>,
    /// What the person who packs is told: entries that are skipped, unreadable, followed or packed in another way.
    pub(crate) notes: Vec<Note>,
    /// One for each entry.
    extras: Vec<Extras>,
    /// Sorted by name, so that an entry's source is found by the first name of its path.
    sources: Vec<Source>,
    /// When the first name was looked at, in seconds since 1970.
    began: i64,
}

struct Source {
    /// The name that it is packed under.
    name: Box<[u8]>,
    /// Where it is on this machine, with a link at its end resolved.
    path: PathBuf,
    /// `None` for a source that is a file.
    tree: Option<OpenTree>,
    /// One for each file system that the source spans. The first is that of the source itself.
    grounds: Vec<SourceFileSystem>,
}

/// Why sources cannot be packed at all.
#[derive(Debug, thiserror::Error)]
pub enum WalkError {
    /// A source does not exist, or cannot be looked at.
    #[error(transparent)]
    Io(#[from] IoFault),
    /// A source has no last name to be packed under, such as `/`.
    #[error("{} has no name of its own to be packed under", crate::base::path::show(.0))]
    NoName(PathBuf),
    /// Two sources would be packed under one name.
    #[error("two sources are named \"{}\": {} and {}", escape(.name), crate::base::path::show(.one), crate::base::path::show(.two))]
    SameName {
        /// The name that both would get in the bundle.
        name: Box<[u8]>,
        one: PathBuf,
        two: PathBuf,
    },
    /// A source is a FIFO, socket or device. Below a source these are only skipped.
    #[error("{} is a {what}, which cannot be packed", crate::base::path::show(.path))]
    Special {
        path: PathBuf,
        /// The word for its kind, as in "FIFO".
        what: &'static str,
    },
    /// The drive of a source, or of a folder in one, stopped answering.
    #[error("{}: this source is gone: it stopped answering while it was read", crate::base::path::show(.0))]
    Gone(PathBuf),
    /// The person stopped the run.
    #[error("interrupted")]
    Cancelled,
}

/// Walks the sources. Each is packed under the last name of its path.
pub(crate) fn walk(sources: &[PathBuf], monitor: &dyn Monitor) -> Result<Walk, WalkError> {
    monitor.phase(Phase::Walking, 0);
    let mut walk = Walk { sources: named(sources)?, began: seconds_now(), ..Walk::default() };
    let mut shared = Vec::new();
    for at in 0..walk.sources.len() {
        shared.extend(walk.source(at, monitor)?);
    }
    walk.link(&shared);
    Ok(walk)
}

fn seconds_now() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs() as i64)
}

/// The first source that contains the folder `target`, or is that folder. Compares devices and inodes, so links and
/// bind mounts do not hide it.
pub(crate) fn source_around<'a>(sources: &'a [PathBuf], target: &Path) -> Result<Option<&'a PathBuf>, IoFault> {
    let target = target.canonicalize().at("look at", target)?;
    let mut ids = Vec::new();
    for folder in target.ancestors() {
        ids.extend(folder.metadata().ok().map(|meta| (meta.dev(), meta.ino())));
    }
    Ok(sources.iter().find(|source| source.metadata().is_ok_and(|meta| ids.contains(&(meta.dev(), meta.ino())))))
}

/// Names the sources and sorts them by name.
fn named(sources: &[PathBuf]) -> Result<Vec<Source>, WalkError> {
    let mut named = Vec::new();
    for path in sources {
        let name = match path.file_name() {
            Some(name) => Some(name.to_owned()),
            // A path such as `.` or `..` gets the name of the folder that it leads to.
            None => path.canonicalize().at("look at", path)?.file_name().map(|name| name.to_owned()),
        };
        let name = name.ok_or_else(|| WalkError::NoName(path.clone()))?;
        named.push(Source { name: as_bytes(Path::new(&name)).into(), path: path.clone(), tree: None, grounds: vec![] });
    }
    named.sort_by(|a, b| a.name.cmp(&b.name));
    for pair in named.windows(2) {
        if pair[0].name == pair[1].name {
            let one = pair[0].path.clone();
            let two = pair[1].path.clone();
            return Err(WalkError::SameName { name: pair[0].name.clone(), one, two });
        }
    }
    Ok(named)
}

impl Walk {
    /// The path of an entry on this machine. Only for messages: it may be too long for the system.
    pub(crate) fn real_path(&self, index: usize) -> PathBuf {
        let (source, below) = self.source_of(index);
        below.map_or_else(|| source.path.clone(), |below| source.path.join(as_path(below)))
    }

    /// Opens a file to be read, and notes what extras it has. No link below its source is followed.
    pub(crate) fn open(&self, index: usize) -> std::io::Result<File> {
        let file = match self.place_of(index) {
            Some((tree, folder, name)) => tree.in_folder(folder, |folder| folder.open_regular(name)),
            None => os::open_regular(&self.source_of(index).0.path),
        }?;
        self.extras[index].add(|| Attributes::of(&file));
        Ok(file)
    }

    /// One note on all attributes that no bundle carries; `None` if there are none. Files that were never opened count
    /// only with their flags.
    pub(crate) fn dropped(&self) -> Option<Note> {
        dropped::note(self.entries.iter().zip(&self.extras))
    }

    /// How long the caller must wait before it reads the first file, so that any later write shows in a file's times.
    pub(crate) fn until_times_tell(&self) -> Duration {
        let now = SystemTime::now();
        self.stamps.iter().map(|stamp| stamp.until_it_tells(now)).max().unwrap_or_default()
    }

    /// Looks at every entry again, except those that were reported already (`is_named`).
    ///
    /// # Errors
    /// The person stopped the run.
    pub(crate) fn look_again(
        &self,
        is_named: impl Fn(usize) -> bool + Sync,
        own: &OwnNames,
        monitor: &dyn Monitor,
    ) -> Result<SecondLook, WalkError> {
        self.sources.iter().filter_map(|source| source.tree.as_ref()).for_each(OpenTree::forget_ways);
        let known = WalkedEntries { entries: &self.entries, stamps: &self.stamps, began: self.began, own };
        let look = known.look_again(|index| (!is_named(index)).then(|| self.spot(index)), || monitor.cancelled());
        look.ok_or(WalkError::Cancelled)
    }

    fn spot(&self, index: usize) -> Spot<'_> {
        let (source, below) = self.source_of(index);
        Spot { tree: source.tree.as_ref(), source: &source.path, below }
    }

    /// A digest of the names, sizes and times of all files, which cannot be guessed without the files.
    pub(crate) fn digest(&self) -> Digest {
        let mut hasher = Hasher::tagged("walk");
        for (entry, stamp) in self.entries.iter().zip(&self.stamps).filter(|(entry, _)| entry.kind == Kind::File) {
            hasher.update(entry.path.as_bytes());
            hasher.update(&stamp.bytes());
        }
        hasher.finish()
    }

    /// A mark of each entry as it was walked, for the journal: a later run compares them with its own walk.
    pub(crate) fn marks(&self) -> Vec<u64> {
        self.entries.iter().zip(&self.stamps).map(|(entry, stamp)| stamp.mark(entry)).collect()
    }

    /// Checks whether the source of an entry still answers, after the entry was not found as it was. `errno` is the
    /// system's error for the entry, if there was one.
    ///
    /// # Errors
    /// The source is gone: its files must not be reported as bad ones.
    pub(crate) fn answers(&self, index: usize, errno: Option<i32>) -> Result<(), WalkError> {
        let ground = self.ground(index);
        if ground.answers(errno, self.source_of(index).0.tree.as_ref()) {
            Ok(())
        } else {
            Err(WalkError::Gone(ground.name().into()))
        }
    }

    /// Checks whether the sources of these entries still answer. Asks each file system once.
    ///
    /// # Errors
    /// One of the sources is gone.
    pub(crate) fn answer(&self, entries: impl Iterator<Item = usize>) -> Result<(), WalkError> {
        let mut asked: Vec<&SourceFileSystem> = Vec::new();
        for index in entries {
            let ground = self.ground(index);
            if !asked.iter().any(|known| std::ptr::eq(*known, ground)) {
                asked.push(ground);
                self.answers(index, None)?;
            }
        }
        Ok(())
    }

    /// The source of an entry, and the path of the entry below it; `None` for the source itself.
    fn source_of(&self, index: usize) -> (&Source, Option<&[u8]>) {
        let path = &self.entries[index].path;
        let at = self.sources.binary_search_by(|source| (*source.name).cmp(path.top()));
        let source = &self.sources[at.expect("every entry stands in a source")];
        (source, path.as_bytes().get(source.name.len() + 1..))
    }

    /// The tree of an entry's source, the path of its folder in there, and its name; `None` for the source itself.
    fn place_of(&self, index: usize) -> Option<(&OpenTree, &[u8], &[u8])> {
        let (source, below) = self.source_of(index);
        let tree = source.tree.as_ref()?;
        let below = below?;
        let slash = below.iter().rposition(|byte| *byte == b'/');
        Some(slash.map_or((tree, &b""[..], below), |at| (tree, &below[..at], &below[at + 1..])))
    }

    /// The ground of an entry's file system. A file that is mounted on its own has none: its source's stands in.
    fn ground(&self, index: usize) -> &SourceFileSystem {
        let grounds = &self.source_of(index).0.grounds;
        let device = self.stamps[index].dev;
        grounds.iter().find(|ground| ground.is_of(device)).unwrap_or(&grounds[0])
    }

    /// Walks one source. Returns its files with several names. An unreadable entry below the source becomes a note,
    /// unless its drive is gone.
    fn source(&mut self, at: usize, monitor: &dyn Monitor) -> Result<Vec<SharedFile>, WalkError> {
        let from = self.entries.len();
        let said = self.notes.len();
        self.follow(at)?;
        let Source { name, path, .. } = &self.sources[at];
        let look = Look { name, monitor };
        let status = Status::at(path).at("look at", path)?;
        if let Some(what) = status.special() {
            return Err(WalkError::Special { path: path.clone(), what });
        }
        let tree = status.is_dir().then(|| OpenTree::open(path)).transpose().at("open", path)?;
        let top = look.top(path);
        let listings = tree.as_ref().map(|tree| look.listings(tree)).unwrap_or_default();
        if monitor.cancelled() {
            return Err(WalkError::Cancelled);
        }
        self.sources[at].tree = tree;
        let shared = self.take(at, top, listings);
        self.stand_on(at, from)?;
        if self.notes[said..].iter().any(|note| note.kind == NoteKind::Unreadable) {
            self.answer(from..self.entries.len())?;
        }
        Ok(shared)
    }

    /// Resolves a source that is a link, and notes that its target is packed. So `a_link/` and `a_link` mean the same.
    fn follow(&mut self, at: usize) -> Result<(), WalkError> {
        let Source { name, path, .. } = &mut self.sources[at];
        if path.symlink_metadata().at("look at", path)?.is_symlink() {
            *path = path.canonicalize().at("follow the link", path)?;
            let to = crate::base::path::show(path);
            let text = format!("the source is a link; what it points to is packed: {to}");
            self.notes.push(Note::new(NoteKind::Followed, name, text));
        }
        Ok(())
    }

    /// Puts entries into the order of the tar: a folder comes before its content. Returns files with several names.
    fn take(&mut self, source: usize, top: [Option<LookedAt>; 2], mut listings: Vec<FolderLook>) -> Vec<SharedFile> {
        let mut shared = Vec::new();
        // Folders with entries left, each with its index. The source itself is in no folder: `None`.
        let mut open: Vec<(Option<usize>, std::vec::IntoIter<LookedAt>)> = Vec::new();
        open.push((None, top.into_iter().flatten().collect::<Vec<_>>().into_iter()));
        while let Some((folder, left)) = open.last_mut() {
            match left.next() {
                None => drop(open.pop()),
                Some(LookedAt::Remark(note)) => self.notes.push(note),
                Some(LookedAt::LeftOut(note)) => {
                    if let Some(folder) = folder {
                        self.entries[*folder].flag = Flag::Unreadable;
                    }
                    self.notes.push(note);
                }
                Some(LookedAt::Entry(FoundEntry { entry, stamp, identity, has_flags, listing })) => {
                    let index = self.entries.len();
                    self.entries.push(entry);
                    self.stamps.push(stamp);
                    self.extras.push(Extras::new(has_flags));
                    shared.extend(identity.map(|identity| SharedFile {
                        index: index as u32,
                        source,
                        identity: *identity,
                    }));
                    if let Some(number) = listing {
                        let FolderLook { found, attributes } = std::mem::take(&mut listings[number]);
                        self.extras[index].add(|| attributes);
                        open.push((Some(index), found.into_iter()));
                    }
                }
            }
        }
        shared
    }

    /// Turns the later names of each file into hard links to its first name.
    fn link(&mut self, shared: &[SharedFile]) {
        let found = hard_links::compare(shared);
        for (later, first) in found.links {
            let first = self.entries[first as usize].path.clone();
            let entry = &mut self.entries[later as usize];
            entry.kind = Kind::Hardlink(first);
            (entry.size, entry.holes) = (0, Box::default());
        }
        if let Some(first) = found.doubtful.first() {
            let more = match found.doubtful.len() - 1 {
                0 => String::new(),
                more => format!(", and so are {more} more"),
            };
            let text = format!(
                "has the number of another file, but not all that the system says of both agrees (size, times, mode, owner, count of names); it is packed as a file of its own{more}"
            );
            self.notes.push(Note::new(NoteKind::NotLinked, self.entries[*first as usize].path.as_bytes(), text));
        }
    }

    /// Finds the grounds of a source, whose entries begin at index `from`. A file stands on the folder that holds it.
    fn stand_on(&mut self, at: usize, from: usize) -> Result<(), IoFault> {
        let source = &self.sources[at];
        let folder = match &source.tree {
            Some(_) => source.path.as_path(),
            None => source.path.parent().filter(|parent| *parent != Path::new("")).unwrap_or(Path::new(".")),
        };
        let device = folder.metadata().at("look at", folder)?.dev();
        let mut grounds = vec![SourceFileSystem::of_source(folder, &source.path, device)];
        for index in from..self.entries.len() {
            let entry = &self.entries[index];
            let device = self.stamps[index].dev;
            if entry.kind == Kind::Dir && !grounds.iter().any(|ground| ground.is_of(device)) {
                let below = self.source_of(index).1.unwrap_or_default();
                grounds.push(SourceFileSystem::below(below, &self.real_path(index), device));
            }
        }
        self.sources[at].grounds = grounds;
        Ok(())
    }
}

#[cfg(test)]
mod tests;
