//! What a file system may say wrongly of what it holds: in listings, and of files that are asked for. The kernel
//! believes all of it.

use std::ffi::OsString;

use fuser::{FileAttr, FileType, INodeNo};

/// A wrong word. Files and folders are known by their numbers: [`super::Drive::number`].
#[derive(Debug, Clone)]
pub enum Lie {
    /// Listings name this once more at once, and once more at their end.
    Repeated(u64),
    /// Listings call this what it is not.
    Called(u64, FileType),
    /// While this folder is listed for the first time, it changes, and the listing misses this.
    MissedOnce { folder: u64, missed: u64 },
    /// The listing of this folder fails after so many names.
    BreaksOff(u64, usize),
    /// Whoever asks for this file hears the number of another, and that so many names lead to it.
    Shares { file: u64, number: u64, names: u32 },
    /// Whoever asks for this file hears that it is a link, and it has no target.
    Link(u64),
    /// Wherever the next hole or the next byte of this file is looked for, it is there.
    StandsStill { file: u64, at: i64 },
}

/// A name in a listing.
pub type Listed = (OsString, u64, FileType);

/// The listing as it is told; `first` for that of a folder which was opened for the first time.
pub fn told(lies: &[Lie], first: Option<u64>, mut names: Vec<Listed>) -> Vec<Listed> {
    for lie in lies {
        match lie {
            Lie::Repeated(number) => {
                if let Some(at) = names.iter().position(|(_, there, _)| there == number) {
                    names.insert(at, names[at].clone());
                    names.push(names[at].clone());
                }
            }
            Lie::Called(number, kind) => {
                for (_, there, called) in &mut names {
                    *called = if there == number { *kind } else { *called };
                }
            }
            Lie::MissedOnce { folder, missed } if first == Some(*folder) => {
                names.retain(|(_, there, _)| there != missed)
            }
            Lie::MissedOnce { .. } | Lie::BreaksOff(..) | Lie::Shares { .. } => {}
            Lie::Link(_) | Lie::StandsStill { .. } => {}
        }
    }
    names
}

/// Whether a folder changes while it is listed for the first time.
pub fn changes(lies: &[Lie], folder: u64) -> bool {
    lies.iter().any(|lie| matches!(lie, Lie::MissedOnce { folder: number, .. } if *number == folder))
}

/// After how many names the listing of a folder fails.
pub fn breaks_off(lies: &[Lie], folder: u64) -> Option<usize> {
    lies.iter().find_map(|lie| match lie {
        Lie::BreaksOff(number, after) if *number == folder => Some(*after),
        _ => None,
    })
}

/// What is said of a file that is asked for. Names lead to files by their true numbers, so it is no way to find out.
pub fn asked(lies: &[Lie], mut attr: FileAttr) -> FileAttr {
    for lie in lies {
        match lie {
            Lie::Shares { file, number, names } if attr.ino == INodeNo(*file) => {
                attr.ino = INodeNo(*number);
                attr.nlink = *names;
                return attr;
            }
            _ => {}
        }
    }
    named(lies, attr)
}

/// What a name is said to be.
pub fn named(lies: &[Lie], mut attr: FileAttr) -> FileAttr {
    if lies.iter().any(|lie| matches!(lie, Lie::Link(number) if attr.ino == INodeNo(*number))) {
        attr.kind = FileType::Symlink;
    }
    attr
}

/// Where the next hole or the next byte of a file is, if that is a lie.
pub fn stands_still(lies: &[Lie], number: u64) -> Option<i64> {
    lies.iter().find_map(|lie| match lie {
        Lie::StandsStill { file, at } if *file == number => Some(*at),
        _ => None,
    })
}
