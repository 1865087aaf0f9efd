//! What a bundle holds, entry by entry: the common word of walk, list, tar and restore.

use crate::base::digest::Digest;
use crate::base::path::BytePath;

/// What an entry is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// A folder; it stands before all it holds.
    Dir,
    /// A regular file with its own content.
    File,
    /// A symbolic link; its target is bytes that are never followed.
    Symlink(Box<[u8]>),
    /// Another name of the file with that path, which stands earlier.
    Hardlink(BytePath),
}

impl Kind {
    /// The word for it in lists and reports.
    pub fn word(&self) -> &'static str {
        match self {
            Kind::Dir => "dir",
            Kind::File => "file",
            Kind::Symlink(_) => "symlink",
            Kind::Hardlink(_) => "hardlink",
        }
    }
}

/// A moment: whole seconds since 1970 (negative before) and nanoseconds after them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Time {
    /// Seconds since the epoch, rounded down.
    pub secs: i64,
    /// 0 to 999,999,999.
    pub nanos: u32,
}

/// Whether the content is what the file held when it was announced.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Flag {
    /// Read once, whole, and unchanged since the walk.
    #[default]
    Clean,
    /// The file changed while it was packed: the content may mix two states.
    Changed,
    /// A file that could not be read: its content is zeros and is not restored. A folder of which
    /// not everything could be read: what is missing has no entry.
    Unreadable,
}

impl Flag {
    /// The word for it in lists and reports; none for what is clean.
    pub fn word(self) -> Option<&'static str> {
        match self {
            Flag::Clean => None,
            Flag::Changed => Some("changed"),
            Flag::Unreadable => Some("unreadable"),
        }
    }
}

/// A run of bytes that no disk holds: offset and length within the file.
pub type Hole = (u64, u64);

/// One file, folder or link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Where it stands, below the root of the bundle.
    pub path: BytePath,
    /// What it is.
    pub kind: Kind,
    /// Bytes of content; 0 for all but files.
    pub size: u64,
    /// Permission bits, `0o000` to `0o777`.
    pub mode: u32,
    /// Last change of the content.
    pub mtime: Time,
    /// Tar offset of the first byte of content; 0 for all but files that are not empty.
    pub at: u64,
    /// Holes in ascending order, apart from each other.
    pub holes: Box<[Hole]>,
    /// SHA-256 of the stored content; `None` for all but files, and until it is known.
    pub sha256: Option<Digest>,
    /// How well it was read.
    pub flag: Flag,
}

impl Entry {
    /// Whether the entry has bytes in the tar.
    pub fn has_content(&self) -> bool {
        self.kind == Kind::File && self.size > 0
    }

    /// Bytes of its names: of its path and what it points to.
    pub fn names_len(&self) -> usize {
        let target = match &self.kind {
            Kind::Dir | Kind::File => 0,
            Kind::Symlink(target) => target.len(),
            Kind::Hardlink(first) => first.as_bytes().len(),
        };
        self.path.as_bytes().len() + target
    }

    /// Bytes that a disk must hold: the size without the holes.
    pub fn stored_size(&self) -> u64 {
        self.size - self.holes.iter().map(|(_, len)| len).sum::<u64>()
    }
}
