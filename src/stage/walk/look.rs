//! Looks at everything in one source, folder by folder, on all cores. Only folders are opened, and sparse files to
//! learn their holes. An entry that cannot be looked at becomes a note, and never ends the walk.
//!
//! Not guaranteed: that a file still is as it was looked at when it is packed. Its [`Stamp`] tells that later.

use std::fs::File;
use std::io;
use std::path::Path;

use super::hard_links::FileIdentity;
use super::listing::Listing;
use super::open_tree::OpenTree;
use super::stamp::Stamp;
use crate::base::branch::branch_out;
use crate::base::entry::{Entry, Flag, Hole, Kind, Time};
use crate::base::monitor::{Monitor, Note, NoteKind};
use crate::base::os;
use crate::base::os::attributes::Attributes;
use crate::base::os::folder::{Folder, Status, list};
use crate::base::path::{BytePath, escape};
use crate::base::size::count;
use crate::format::limits;

/// How often a folder is listed at most if it does not stop changing.
const MOST_LISTINGS: usize = 5;

/// The result of a look at one name. A name may give a remark and an entry.
pub(super) enum LookedAt {
    Entry(FoundEntry),
    /// A note on something that does not make the bundle incomplete.
    Remark(Note),
    /// A note on something that should be packed and is not: its folder is flagged as unreadable.
    LeftOut(Note),
}

/// An entry of the walk, with what only the walk needs.
pub(super) struct FoundEntry {
    pub(super) entry: Entry,
    pub(super) stamp: Stamp,
    /// Only for a file with several names. Boxed, because most files have one.
    pub(super) identity: Option<Box<FileIdentity>>,
    /// Whether a user gave it file flags, such as immutable.
    pub(super) has_flags: bool,
    /// Only for a folder: the number of its listing in [`Look::listings`].
    pub(super) listing: Option<usize>,
}

/// What one folder holds, in the order of its names.
#[derive(Default)]
pub(super) struct FolderLook {
    pub(super) found: Vec<LookedAt>,
    /// Those of the folder itself.
    pub(super) attributes: Attributes,
}

/// Queues a folder, by its path below the source, to be listed by any thread. Returns the number of its listing.
type Fork<'a> = dyn FnMut(Vec<u8>) -> usize + 'a;

/// One source while it is looked at.
pub(super) struct Look<'a> {
    /// The name that the source is packed under; all paths of entries begin with it.
    pub(super) name: &'a [u8],
    pub(super) monitor: &'a dyn Monitor,
}

/// Where an entry is looked at.
enum LookPlace<'a> {
    /// The entry is a source itself. Its path may lead through links, because the person named it.
    Source(&'a Path),
    /// A name in an open folder. A link of that name is not followed.
    In(&'a Folder, &'a [u8]),
}

impl Look<'_> {
    /// Looks at the source itself. If it is a folder, its listing is number 0 of [`Look::listings`].
    pub(super) fn top(&self, path: &Path) -> [Option<LookedAt>; 2] {
        self.look(self.name, &LookPlace::Source(path), &mut |_| 0)
    }

    /// Lists all folders of the source. Returns the listings by number; a folder's [`FoundEntry`] has its number.
    pub(super) fn listings(&self, tree: &OpenTree) -> Vec<FolderLook> {
        branch_out(Vec::new(), |below: Vec<u8>, fork| self.folder(tree, &below, fork))
    }

    /// Lists one folder, whose path below the source is `below`. A folder that cannot be opened gives one note.
    fn folder(&self, tree: &OpenTree, below: &[u8], fork: &mut Fork) -> FolderLook {
        let path = if below.is_empty() { self.name.to_vec() } else { [self.name, b"/", below].concat() };
        let found = tree.in_folder(below, |folder| {
            let to_list = folder.to_list()?;
            let listing = self.listing(folder, &to_list)?;
            Ok(FolderLook { found: self.names(folder, &path, listing, fork), attributes: Attributes::of(&to_list) })
        });
        found.unwrap_or_else(|error| {
            let text = format!("could not be looked into, what it holds is not packed: {error}");
            let note = Note::new(NoteKind::Unreadable, &path, text);
            FolderLook { found: vec![LookedAt::LeftOut(note)], attributes: Attributes::default() }
        })
    }

    /// One listing of a folder; it ends early if the person stops the run.
    fn hear(&self, to_list: &File) -> Listing {
        Listing::hear(|| !self.monitor.cancelled(), |hear| list(to_list, hear))
    }

    /// The names in a folder. While a folder changes, a listing may miss names that never changed. So a folder whose
    /// times changed meanwhile is listed again, until a listing gives no new name or [`MOST_LISTINGS`] are done.
    fn listing(&self, folder: &Folder, to_list: &File) -> io::Result<Listing> {
        let mut before = folder.status()?;
        let mut listing = self.hear(to_list);
        for _ in 1..MOST_LISTINGS {
            let after = folder.status()?;
            if (after.mtime, after.ctime) == (before.mtime, before.ctime) || !listing.add(self.hear(&folder.to_list()?))
            {
                break;
            }
            before = after;
        }
        Ok(listing)
    }

    /// Looks at every name of a listing.
    fn names(&self, folder: &Folder, path: &[u8], listing: Listing, fork: &mut Fork) -> Vec<LookedAt> {
        let mut found = said_of(path, &listing);
        for name in listing.names.iter().take_while(|_| !self.monitor.cancelled()) {
            let path = [path, b"/", name].concat();
            found.extend(self.look(&path, &LookPlace::In(folder, name), fork).into_iter().flatten());
        }
        found
    }

    /// Looks at one name: a remark on it, if there is one, and what is packed or left out.
    fn look(&self, path: &[u8], place: &LookPlace, fork: &mut Fork) -> [Option<LookedAt>; 2] {
        self.monitor.advance(1);
        self.entry(path, place, fork)
            .unwrap_or_else(|text| [Some(LookedAt::LeftOut(Note::new(NoteKind::Unreadable, path, text))), None])
    }

    /// The same.
    ///
    /// # Errors
    /// Why the entry is not packed, as the text of a note.
    fn entry(&self, path: &[u8], place: &LookPlace, fork: &mut Fork) -> Result<[Option<LookedAt>; 2], String> {
        let name = BytePath::new(path).map_err(|fault| format!("its path {fault}, it is not packed"))?;
        let status = place.status().map_err(|error| format!("could not be looked at, it is not packed: {error}"))?;
        if let Some(what) = status.special() {
            let text = format!("a {what}, it is not packed");
            return Ok([Some(LookedAt::Remark(Note::new(NoteKind::Skipped, path, text))), None]);
        }
        let kind =
            place.kind(&status).map_err(|error| format!("the link could not be read, it is not packed: {error}"))?;
        let is_file = kind == Kind::File;
        let below = path.get(self.name.len() + 1..).unwrap_or_default();
        let found = FoundEntry {
            listing: (kind == Kind::Dir).then(|| fork(below.to_vec())),
            identity: FileIdentity::of(&status).filter(|_| is_file).map(Box::new),
            stamp: Stamp::new(&status),
            has_flags: status.has_flags,
            entry: Entry {
                path: name,
                kind,
                size: if is_file { status.size } else { 0 },
                mode: if status.is_link() { 0o777 } else { status.mode & 0o777 },
                mtime: Time { secs: status.mtime.0, nanos: status.mtime.1 as u32 },
                at: 0,
                holes: if is_file { place.holes(&status) } else { Box::default() },
                sha256: None,
                flag: Flag::Clean,
            },
        };
        Ok([bits_dropped(path, &status).map(LookedAt::Remark), Some(LookedAt::Entry(found))])
    }
}

impl LookPlace<'_> {
    fn status(&self) -> io::Result<Status> {
        match self {
            LookPlace::Source(path) => Status::at(path),
            LookPlace::In(folder, name) => folder.look_at(name),
        }
    }

    fn kind(&self, status: &Status) -> io::Result<Kind> {
        match self {
            LookPlace::In(folder, name) if status.is_link() => match folder.read_link(name)? {
                // Linux makes no empty link, but some file systems show one.
                to if to.is_empty() => Err(io::Error::other("it is a link without a target")),
                to => Ok(Kind::Symlink(to.into())),
            },
            _ if status.is_dir() => Ok(Kind::Dir),
            _ => Ok(Kind::File),
        }
    }

    fn open(&self) -> io::Result<File> {
        match self {
            LookPlace::Source(path) => os::open_regular(path),
            LookPlace::In(folder, name) => folder.open_regular(name),
        }
    }

    /// The holes of a file that occupies less than its size. Where the system does not report them the file counts as
    /// data throughout, which costs room but loses no byte.
    fn holes(&self, status: &Status) -> Box<[Hole]> {
        if status.room >= status.size {
            return Box::default();
        }
        let holes = self.open().and_then(|file| os::holes(&file, status.size, limits::HOLES));
        holes.unwrap_or_default().into()
    }
}

/// Notes on a listing that broke off or repeated names.
fn said_of(path: &[u8], listing: &Listing) -> Vec<LookedAt> {
    let broke_off = listing.broke_off.as_ref().map(|error| {
        let text = format!("could not be listed to its end, what was not listed is not packed: {error}");
        LookedAt::LeftOut(Note::new(NoteKind::Unreadable, path, text))
    });
    let repeated = listing.repeated.first().map(|first| {
        let many = count(listing.repeated.len() as u64, "name");
        let text = format!("{many} listed more than once, such as \"{}\"; each is packed once", escape(first));
        LookedAt::Remark(Note::new(NoteKind::Repeated, path, text))
    });
    broke_off.into_iter().chain(repeated).collect()
}

/// A note on set-id and sticky bits, which no bundle carries; `None` if there are none.
fn bits_dropped(path: &[u8], status: &Status) -> Option<Note> {
    let bits = status.mode & 0o7777;
    let text = format!("its set-id or sticky bits (mode {bits:o}) are not packed");
    (bits & 0o7000 != 0 && !status.is_link()).then(|| Note::new(NoteKind::BitsDropped, path, text))
}
