//! An entry of a bundle: a file, folder or link with its metadata. The walk makes entries, the list and the tar carry
//! them, and restoring brings them back.

use crate::base::digest::Digest;
use crate::base::path::BytePath;

/// What an entry is, and where it leads if it is a link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// A folder. It comes before everything in it.
    Dir,
    /// A regular file with content of its own.
    File,
    /// A symbolic link. Its target is raw bytes, which Pouch never follows.
    Symlink(Box<[u8]>),
    /// A further name of a file. The path is that of the file's first entry, which comes earlier.
    Hardlink(BytePath),
}

impl Kind {
    /// The word in lists and reports.
    pub fn word(&self) -> &'static str {
        match self {
            Kind::Dir => "dir",
            Kind::File => "file",
            Kind::Symlink(_) => "symlink",
            Kind::Hardlink(_) => "hardlink",
        }
    }
}

/// A point in time. `secs` is negative before 1970; `nanos` counts forward from it in any case.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Time {
    /// Seconds since 1970-01-01 UTC, rounded down.
    pub secs: i64,
    /// 0 to 999,999,999.
    pub nanos: u32,
}

/// Whether the packed content is what the file held when the walk announced it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Flag {
    /// The file was read once and completely, and did not change after the walk.
    #[default]
    Clean,
    /// The file changed while it was packed. Its content may mix two states.
    Changed,
    /// A file that could not be read: its content is zeros and is not restored. Or a folder that could not be read
    /// completely: what is missing has no entry.
    Unreadable,
}

impl Flag {
    /// The word in lists and reports. `None` for [`Flag::Clean`].
    pub(crate) fn word(self) -> Option<&'static str> {
        match self {
            Flag::Clean => None,
            Flag::Changed => Some("changed"),
            Flag::Unreadable => Some("unreadable"),
        }
    }
}

/// A run of bytes that no disk stores and that reads as zeros: offset and length within the file.
pub(crate) type Hole = (u64, u64);

/// One file, folder or link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The path below the root of the bundle.
    pub path: BytePath,
    pub kind: Kind,
    /// Bytes of content, holes included. 0 unless it is a regular file.
    pub size: u64,
    /// Permission bits, `0o000` to `0o777`. A bundle carries no set-id or sticky bits.
    pub mode: u32,
    /// The last change of the content.
    pub mtime: Time,
    /// Tar offset of the first byte of content. 0 if there is no content.
    pub at: u64,
    /// In ascending order. Holes neither overlap nor touch.
    pub holes: Box<[Hole]>,
    /// SHA-256 of the content as stored, flagged files included. `None` for anything but a regular file, and until the
    /// file was read.
    pub sha256: Option<Digest>,
    pub flag: Flag,
}

impl Entry {
    /// Whether the entry has content in the tar. Folders, links and empty files have a header there and no content.
    pub(crate) fn has_content(&self) -> bool {
        self.kind == Kind::File && self.size > 0
    }

    /// Bytes of its path and its link target together, which a reader keeps in memory.
    pub(crate) fn names_len(&self) -> usize {
        let target = match &self.kind {
            Kind::Dir | Kind::File => 0,
            Kind::Symlink(target) => target.len(),
            Kind::Hardlink(first) => first.as_bytes().len(),
        };
        self.path.as_bytes().len() + target
    }

    /// Bytes that a disk needs for the content: the size without the holes.
    pub(crate) fn stored_size(&self) -> u64 {
        self.size - self.holes.iter().map(|(_, len)| len).sum::<u64>()
    }
}
