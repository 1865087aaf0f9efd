//! Wrong answers of a file system, in listings and about single files. The kernel believes all of them.

use std::ffi::OsString;

use fuser::{FileAttr, FileType, INodeNo};

/// A wrong answer. Files and folders are given by their numbers: [`super::Drive::number`].
#[derive(Debug, Clone)]
pub enum Lie {
    /// Listings name this entry twice in a row, and once more at the end.
    Repeated(u64),
    /// Listings give this entry another type.
    Called(u64, FileType),
    /// During the first listing of this folder, the folder changes and the listing lacks `missed`.
    MissedOnce { folder: u64, missed: u64 },
    /// The listing of this folder fails after this many names.
    BreaksOff(u64, usize),
    /// Attributes of this file show the number of another file, and this many names.
    Shares { file: u64, number: u64, names: u32 },
    /// Attributes of this file call it a symlink, but it has no target.
    Link(u64),
    /// Every search for the next hole or data of this file returns `at`.
    StandsStill { file: u64, at: i64 },
}

/// An entry of a listing.
pub type Listed = (OsString, u64, FileType);

/// A listing with the lies applied. `first` is the folder's number if it was opened for the first time.
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

/// Whether this folder changes during its first listing.
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

/// Attributes as the kernel gets them for a number. Lookups still give the true number, as the kernel needs it to reach
/// the file.
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

/// Attributes as the kernel gets them for a name.
pub fn named(lies: &[Lie], mut attr: FileAttr) -> FileAttr {
    if lies.iter().any(|lie| matches!(lie, Lie::Link(number) if attr.ino == INodeNo(*number))) {
        attr.kind = FileType::Symlink;
    }
    attr
}

/// The offset that every search for a hole or data of this file returns, if that is a lie.
pub fn stands_still(lies: &[Lie], number: u64) -> Option<i64> {
    lies.iter().find_map(|lie| match lie {
        Lie::StandsStill { file, at } if *file == number => Some(*at),
        _ => None,
    })
}
