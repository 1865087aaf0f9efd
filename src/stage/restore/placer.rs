//! Writes bytes to files of the staging folder, one [`Placer`] for each thread, and reads them back to be hashed. The
//! mode that an earlier run set may forbid that; the file then has another mode until it is complete.
//!
//! Not guaranteed: that written bytes are on the disk. [`Staging::deliver`] syncs them.

use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};

use super::metadata::{MetadataResult, look, set_metadata};
use super::staging::Staging;
use crate::base::digest::{Digest, Hasher, Quick};
use crate::base::entry::Entry;
use crate::base::fault::{At, IoFault};
use crate::base::open_path::OpenPath;
use crate::base::os;
use crate::base::os::folder::{Folder, Status};
use crate::base::path::BytePath;

/// Finds the folder of an entry, in the staging folder and in the target. Entries in list order cost few steps each,
/// because the folders on the way stay open.
pub(super) struct Places<'a> {
    staging: &'a Staging,
    staged: OpenPath<'a>,
    delivered: OpenPath<'a>,
}

impl<'a> Places<'a> {
    pub(super) fn new(staging: &'a Staging) -> Self {
        Self { staging, staged: OpenPath::new(&staging.root), delivered: OpenPath::new(&staging.target) }
    }

    /// The folder of an entry in the staging folder.
    pub(super) fn parent(&mut self, entry: &Entry) -> Result<&Folder, IoFault> {
        let opened = self.staged.parent_of(&entry.path);
        opened.map_err(|error| self.staging.fault("open the folder of", entry, error))
    }

    /// The folder of an entry in the target. It need not exist there yet.
    pub(super) fn delivered(&mut self, entry: &Entry) -> io::Result<&Folder> {
        self.delivered.parent_of(&entry.path)
    }

    /// The folder that holds a file: in the staging folder if the file is staged, else in the target.
    pub(super) fn folder_of(&mut self, file: &BytePath) -> io::Result<&Folder> {
        let staged = self.staged.parent_of(file).and_then(|folder| folder.look_at(file.name()));
        if os::if_there(staged)?.is_some() { self.staged.parent_of(file) } else { self.delivered.parent_of(file) }
    }
}

impl Staging {
    /// A writer for one thread. Several placers may write to one file.
    pub(crate) fn placer(&self) -> Placer<'_> {
        Placer::new(self)
    }
}

/// Writes files from one thread.
pub(crate) struct Placer<'a> {
    places: Places<'a>,
    /// The file that the last bytes went to, by the index of its entry: consecutive writes open it once.
    open: Option<(u32, File)>,
}

impl<'a> Placer<'a> {
    pub(super) fn new(staging: &'a Staging) -> Self {
        Self { places: Places::new(staging), open: None }
    }

    /// Writes bytes of the file with that index at `offset`, and leaves holes out. `new` means that this placer alone
    /// writes the file, so the file must not exist yet.
    pub(crate) fn write(
        &mut self,
        index: u32,
        entry: &Entry,
        offset: u64,
        bytes: &[u8],
        new: bool,
    ) -> Result<(), IoFault> {
        let staging = self.places.staging;
        if self.open.as_ref().is_none_or(|(open, _)| *open != index) {
            let parent = self.places.parent(entry)?;
            let name = entry.path.name();
            let opened = if new { parent.create_new(name) } else { open_to_write(parent, name) };
            let file = opened.map_err(|error| staging.fault("create", entry, error))?;
            if !new || !entry.holes.is_empty() {
                file.set_len(entry.size).map_err(|error| staging.fault("write", entry, error))?;
            }
            self.open = Some((index, file));
        }
        let file = &self.open.as_ref().expect("just opened").1;
        write_data(file, entry, offset, bytes).map_err(|error| staging.fault("write", entry, error))
    }

    /// Sets the mode and time of a file whose bytes are all placed. Returns how the target took them.
    pub(crate) fn complete(&mut self, entry: &Entry) -> Result<MetadataResult, IoFault> {
        let file = match self.open.take() {
            Some((_, file)) => file,
            None => self.reopen(entry)?,
        };
        set_metadata(&file, entry).at("set mode and time of", &self.places.staging.shown(entry))
    }

    /// Closes the open file.
    pub(crate) fn leave(&mut self) {
        self.open = None;
    }

    /// Feeds placed bytes of a file to `hasher`. Returns the quick hash (XXH3-128) of these bytes alone.
    pub(crate) fn hash(&mut self, entry: &Entry, offset: u64, len: u64, hasher: &mut Hasher) -> Result<u128, IoFault> {
        let file = self.reopen(entry)?;
        feed(&file, offset, len, hasher).at("read", &self.places.staging.shown(entry))
    }

    /// The lengths of the staged and the delivered file of an entry, in bytes; `None` where no regular file has its
    /// name.
    pub(crate) fn lengths(&mut self, entry: &Entry) -> Result<(Option<u64>, Option<u64>), IoFault> {
        let name = entry.path.name();
        let shown = self.places.staging.shown(entry);
        let staged = self.places.parent(entry)?.look_at(name);
        let delivered = self.places.delivered(entry).and_then(|folder| folder.look_at(name));
        Ok((len_of(staged).at("look at", &shown)?, len_of(delivered).at("look at", &shown)?))
    }

    /// Drops a staged file from the system's cache, so that it is read from the disk: the system may remember bytes
    /// that the disk lost.
    pub(crate) fn forget_cached(&mut self, entry: &Entry) -> Result<(), IoFault> {
        let file = self.reopen(entry)?;
        os::drop_cached(&file).at("read", &self.places.staging.shown(entry))
    }

    /// SHA-256 of the first `entry.size` bytes of a delivered file, as the disk stores them. Reading may need another
    /// mode, so the packed mode is set again afterwards, as far as the target allows.
    pub(crate) fn digest_delivered(&mut self, entry: &Entry) -> io::Result<(Digest, MetadataResult)> {
        let file = open_to_read(self.places.delivered(entry)?, entry.path.name())?;
        let mut hasher = Hasher::new();
        os::drop_cached(&file)?;
        let read = feed(&file, 0, entry.size, &mut hasher);
        let _ = os::set_mode(&file, entry.mode);
        let dressed = look(&file, entry)?;
        read.map(|_| (hasher.finish(), dressed))
    }

    /// Whether the delivered symlink holds exactly `to`.
    pub(crate) fn is_linked(&mut self, entry: &Entry, to: &[u8]) -> bool {
        let content = self.places.delivered(entry).and_then(|folder| folder.read_link(entry.path.name()));
        content.is_ok_and(|content| content == to)
    }

    /// Removes the staged file of an entry, if it exists.
    pub(crate) fn remove(&mut self, entry: &Entry) -> Result<(), IoFault> {
        self.open = None;
        let removed = os::if_there(self.places.parent(entry)?.remove_file(entry.path.name()));
        removed.map(drop).map_err(|error| self.places.staging.fault("remove", entry, error))
    }

    fn reopen(&mut self, entry: &Entry) -> Result<File, IoFault> {
        let opened = open_to_read(self.places.parent(entry)?, entry.path.name());
        opened.map_err(|error| self.places.staging.fault("open", entry, error))
    }
}

/// Opens a file of the staging folder to be written, or creates it. The mode that an earlier run set may forbid that,
/// and is replaced.
///
/// # Errors
/// The file has a second name, so a write would change a file elsewhere. [`Staging::resume`] made all files their
/// own before placing began: another program has linked this one since.
fn open_to_write(folder: &Folder, name: &[u8]) -> io::Result<File> {
    let file = match folder.open_or_create(name) {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            folder.set_mode(name, 0o600)?;
            folder.open_or_create(name)
        }
        opened => opened,
    }?;
    if file.metadata()?.nlink() > 1 {
        return Err(io::Error::other("another program gave it one more name meanwhile"));
    }
    Ok(file)
}

/// Opens a file to be read. If its mode forbids that, the mode becomes 0600; the caller sets the right one later.
pub(super) fn open_to_read(folder: &Folder, name: &[u8]) -> io::Result<File> {
    match folder.open_regular(name) {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            folder.set_mode(name, 0o600)?;
            folder.open_regular(name)
        }
        opened => opened,
    }
}

/// Feeds `len` bytes of a file from `offset` on to a hasher. Returns the quick hash of these bytes alone.
fn feed(file: &File, offset: u64, len: u64, hasher: &mut Hasher) -> io::Result<u128> {
    let mut quick = Quick::default();
    let mut buf = vec![0; 256 * 1024];
    let mut at = offset;
    while at < offset + len {
        let want = (offset + len - at).min(buf.len() as u64) as usize;
        file.read_exact_at(&mut buf[..want], at)?;
        hasher.update(&buf[..want]);
        quick.update(&buf[..want]);
        at += want as u64;
    }
    Ok(quick.finish())
}

/// Writes the bytes outside of holes, and those bytes in holes that are not zero. So a list with a wrong hole loses
/// nothing: the file on the disk has every byte that was hashed.
fn write_data(file: &File, entry: &Entry, offset: u64, bytes: &[u8]) -> io::Result<()> {
    let end = offset + bytes.len() as u64;
    let of = |from: u64, to: u64| &bytes[(from - offset) as usize..(to - offset) as usize];
    let first = entry.holes.partition_point(|(start, len)| start + len <= offset);
    let mut at = offset;
    for (start, len) in entry.holes[first..].iter().copied().chain([(u64::MAX, 0)]) {
        let data_end = start.clamp(at, end);
        let hole_end = start.saturating_add(len).clamp(data_end, end);
        let data = of(at, data_end);
        let hole = of(data_end, hole_end);
        if !data.is_empty() {
            file.write_all_at(data, at)?;
        }
        if !is_zero(hole) {
            file.write_all_at(hole, data_end)?;
        }
        at = hole_end;
        if at >= end {
            break;
        }
    }
    Ok(())
}

/// The length of a regular file in bytes; `None` for a missing one, and for anything else.
fn len_of(found: io::Result<Status>) -> io::Result<Option<u64>> {
    Ok(os::if_there(found)?.filter(Status::is_file).map(|status| status.size))
}

fn is_zero(bytes: &[u8]) -> bool {
    const ZEROS: [u8; 4096] = [0; 4096];
    bytes.chunks(ZEROS.len()).all(|chunk| *chunk == ZEROS[..chunk.len()])
}
