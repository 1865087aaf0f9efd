//! What a file system cannot hold of a bundle under any name: links, and files that are too large. Nothing is tried
//! here: the caller says what the file system holds.

use std::collections::{BTreeSet, HashMap, HashSet};

use crate::base::entry::{Entry, Kind};
use crate::base::path::BytePath;
use crate::base::size::{grouped, human};

/// What a file system holds, apart from names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Limits {
    pub(crate) symlinks: Symlinks,
    /// Most names of one file, and 1 where there are no hard links; `None` if the bundle needs no more than it holds.
    pub(crate) names: Option<u64>,
    /// Whether holes of files take room there.
    pub(crate) fills_holes: bool,
    /// The largest file in bytes; `None` if no limit is known.
    pub(crate) largest: Option<u64>,
    /// The first and the last second that it keeps; `None` if the bundle has no time beyond.
    pub(crate) times: (Option<i64>, Option<i64>),
}

/// Which symlinks a file system holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Symlinks {
    /// The longest content in bytes, and 0 where there are no symlinks; `None` if the bundle has none that is too long.
    pub(crate) longest: Option<usize>,
    /// Whether content must be UTF-8.
    pub(crate) only_text: bool,
}

/// What becomes of an entry that cannot be held as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Becomes {
    /// The entry stands under this path; what it holds moves with it.
    Renamed(BytePath),
    /// A hard link becomes a file of its own, under the name it has.
    Copy,
    /// The entry is left out; for a symlink, with the bytes that it points to.
    LeftOut(Option<Box<[u8]>>),
    /// A folder is left out, with everything in it.
    FolderLeftOut,
}

/// An entry that cannot be held as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// Its path in the bundle.
    pub(crate) path: BytePath,
    /// A phrase for the user.
    pub(crate) why: String,
    pub(crate) becomes: Becomes,
}

/// Returns the indices of links and files that cannot be held at all. `changes` gets them too, and also the hard links
/// that become copies.
pub(super) fn leave_out(entries: &[Entry], limits: &Limits, changes: &mut Vec<Change>) -> BTreeSet<usize> {
    let mut out = BTreeSet::new();
    let mut gone: HashSet<&[u8]> = HashSet::new();
    let mut names: HashMap<&[u8], u64> = HashMap::new();
    for (at, entry) in entries.iter().enumerate() {
        let change = match &entry.kind {
            Kind::Symlink(to) => limits.symlinks.refusal(to).map(|why| (why, Becomes::LeftOut(Some(to.clone())))),
            Kind::File if limits.largest.is_some_and(|largest| entry.size > largest) => {
                gone.insert(entry.path.as_bytes());
                let size = human(entry.size);
                let most = human(limits.largest.unwrap_or(0));
                let why = format!("it has {size}, and the target holds files of at most {most}");
                Some((why, Becomes::LeftOut(None)))
            }
            Kind::Hardlink(first) if gone.contains(first.as_bytes()) => {
                let why = format!("it is a hard link to {first}, which is too large for the target");
                Some((why, Becomes::LeftOut(None)))
            }
            Kind::Hardlink(first) => {
                let names = names.entry(first.as_bytes()).or_insert(1);
                let needs_copy = limits.names.filter(|most| (*names).is_multiple_of(*most));
                *names += 1;
                needs_copy.map(|most| (too_many_names(first, most), Becomes::Copy))
            }
            Kind::File | Kind::Dir => None,
        };
        let Some((why, becomes)) = change else { continue };
        if matches!(becomes, Becomes::LeftOut(_)) {
            out.insert(at);
        }
        changes.push(Change { path: entry.path.clone(), why, becomes });
    }
    out
}

/// Why a hard link to `first` becomes a copy on a file system that holds at most `most` names of one file.
fn too_many_names(first: &BytePath, most: u64) -> String {
    if most == 1 {
        return format!("the target cannot hold this hard link to {first}");
    }
    format!("the target holds at most {} names of one file, and {first} has more", grouped(most))
}

impl Symlinks {
    /// Why a symlink with that content is not held; `None` if it is.
    fn refusal(&self, to: &[u8]) -> Option<String> {
        match self.longest {
            Some(0) => Some("the target cannot hold this symlink".into()),
            Some(most) if to.len() > most => {
                let len = grouped(to.len() as u64);
                let most = grouped(most as u64);
                Some(format!("this symlink has {len} bytes, and the target holds symlinks of at most {most}"))
            }
            _ if self.only_text && std::str::from_utf8(to).is_err() => {
                Some("the target refuses symlinks that are no UTF-8".into())
            }
            _ => None,
        }
    }
}

/// How many copies of a file stand in for hard links: `links` of them are still to be made, and a file has at most
/// `most` names.
pub(crate) fn copies_of(links: u64, most: u64) -> u64 {
    links / most.max(1)
}

/// How an entry that has no place is left out.
pub(super) fn left_out_as(entry: &Entry) -> Becomes {
    match &entry.kind {
        Kind::Dir => Becomes::FolderLeftOut,
        Kind::Symlink(to) => Becomes::LeftOut(Some(to.clone())),
        Kind::File | Kind::Hardlink(_) => Becomes::LeftOut(None),
    }
}
