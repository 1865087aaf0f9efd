//! Bytes into files of the staging folder, from many threads, and out of them again to be hashed.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use super::dress::{Dressed, dress, look};
use super::{Dir, OpenOptions, OpenOptionsExt, Permissions, PermissionsExt, Staging};
use crate::base::digest::{Digest, Hasher, Quick};
use crate::base::entry::Entry;
use crate::base::fault::{At, IoFault};
use crate::base::os;
use crate::base::path::as_path;

/// Opens folders once for all that stands in them.
pub(super) struct Places<'a> {
    staging: &'a Staging,
    last: Option<(Vec<u8>, Dir)>,
}

impl<'a> Places<'a> {
    pub(super) fn new(staging: &'a Staging) -> Self {
        Self { staging, last: None }
    }

    pub(super) fn parent(&mut self, entry: &Entry) -> Result<&Dir, IoFault> {
        let Some(parent) = entry.path.parent() else { return Ok(&self.staging.root) };
        if self.last.as_ref().is_none_or(|(path, _)| path != parent) {
            let dir = self
                .staging
                .root
                .open_dir(as_path(parent))
                .at("open", &self.staging.target_path.join(as_path(parent)))?;
            self.last = Some((parent.to_vec(), dir));
        }
        Ok(&self.last.as_ref().expect("just set").1)
    }
}

/// Places bytes of files, from one thread.
pub struct Placer<'a> {
    places: Places<'a>,
    open: Option<(u32, File)>,
}

impl<'a> Placer<'a> {
    pub(super) fn new(staging: &'a Staging) -> Self {
        Self { places: Places::new(staging), open: None }
    }

    /// Writes bytes of the file with that index at `offset`, holes left out. `new`: nobody else
    /// writes to it, so it must not be there yet.
    pub fn write(&mut self, index: u32, entry: &Entry, offset: u64, bytes: &[u8], new: bool) -> Result<(), IoFault> {
        let shown = self.places.staging.shown(entry);
        if self.open.as_ref().is_none_or(|(open, _)| *open != index) {
            let mut options = OpenOptions::new();
            options.read(true).write(true).mode(0o600);
            if new {
                options.create_new(true)
            } else {
                options.create(true)
            };
            let parent = self.places.parent(entry)?;
            let name = as_path(entry.path.name());
            let file = match new {
                true => parent.open_with(name, &options).map(|file| file.into_std()),
                false => open_to_write(parent, name, &options),
            }
            .at("create", &shown)?;
            if !new || !entry.holes.is_empty() {
                file.set_len(entry.size).at("write", &shown)?;
            }
            self.open = Some((index, file));
        }
        let file = &self.open.as_ref().expect("just opened").1;
        write_data(file, entry, offset, bytes).at("write", &shown)
    }

    /// Gives a file whose bytes are all placed its mode and time; what the target made of them.
    pub fn complete(&mut self, entry: &Entry) -> Result<Dressed, IoFault> {
        let file = match self.open.take() {
            Some((_, file)) => file,
            None => self.reopen(entry)?,
        };
        dress(&file, entry).at("set mode and time of", &self.places.staging.shown(entry))
    }

    /// Forgets the open file: the next bytes are another's.
    pub fn leave(&mut self) {
        self.open = None;
    }

    /// Feeds bytes that were placed before to a hasher; the hash of those alone.
    pub fn hash(&mut self, entry: &Entry, offset: u64, len: u64, hasher: &mut Hasher) -> Result<u128, IoFault> {
        let file = self.reopen(entry)?;
        feed(&file, offset, len, hasher).at("read", &self.places.staging.shown(entry))
    }

    /// The length of a file that is staged, and of one that is delivered; `None` where there is no
    /// such file.
    pub fn lengths(&mut self, entry: &Entry) -> Result<(Option<u64>, Option<u64>), IoFault> {
        let len = |meta: io::Result<super::Metadata>| meta.ok().filter(|meta| meta.is_file()).map(|meta| meta.len());
        let staged = len(self.places.parent(entry)?.symlink_metadata(as_path(entry.path.name())));
        Ok((staged, len(self.places.staging.target.symlink_metadata(entry.path.as_path()))))
    }

    /// Has a staged file read from the disk from now on: the system may remember what the disk did not take.
    pub fn forget_cached(&mut self, entry: &Entry) -> Result<(), IoFault> {
        let file = self.reopen(entry)?;
        os::drop_cached(&file).at("read", &self.places.staging.shown(entry))
    }

    /// SHA-256 of a file that was delivered, as long as the entry, and as the disk stores it; its mode is then
    /// as it should be, if that can be.
    pub fn digest_delivered(&self, entry: &Entry) -> io::Result<(Digest, Dressed)> {
        let (file, mut hasher) = (open_to_read(&self.places.staging.target, entry.path.as_path())?, Hasher::new());
        os::drop_cached(&file)?;
        let read = feed(&file, 0, entry.size, &mut hasher);
        let _ = os::set_mode(&file, entry.mode);
        let dressed = look(&file, entry)?;
        read.map(|_| (hasher.finish(), dressed))
    }

    /// Whether a link with what it should say was delivered.
    pub fn is_linked(&self, entry: &Entry, to: &[u8]) -> bool {
        self.places.staging.target.read_link_contents(entry.path.as_path()).is_ok_and(|there| there == as_path(to))
    }

    /// Removes what there is of a file.
    pub fn remove(&mut self, entry: &Entry) -> Result<(), IoFault> {
        self.open = None;
        match self.places.parent(entry)?.remove_file(as_path(entry.path.name())) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(error).at("remove", &self.places.staging.shown(entry))
            }
            _ => Ok(()),
        }
    }

    fn reopen(&mut self, entry: &Entry) -> Result<File, IoFault> {
        let shown = self.places.staging.shown(entry);
        open_to_read(self.places.parent(entry)?, as_path(entry.path.name())).at("open", &shown)
    }
}

/// Opens a file of the staging folder. One that an earlier run dressed may not be written to, and
/// one with another name elsewhere must not be.
fn open_to_write(dir: &Dir, path: &Path, options: &OpenOptions) -> io::Result<File> {
    let file = match dir.open_with(path, options) {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            dir.set_permissions(path, Permissions::from_mode(0o600))?;
            dir.open_with(path, options)
        }
        other => other,
    }?;
    let file = file.into_std();
    if std::os::unix::fs::MetadataExt::nlink(&file.metadata()?) <= 1 {
        return Ok(file);
    }
    dir.remove_file(path)?;
    Ok(dir.open_with(path, options)?.into_std())
}

/// Opens a file to be read and dressed; one that was given a mode that forbids it is given another
/// for now.
fn open_to_read(dir: &Dir, path: &Path) -> io::Result<File> {
    let file = match dir.open(path) {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            dir.set_permissions(path, Permissions::from_mode(0o600))?;
            dir.open(path)
        }
        other => other,
    }?;
    Ok(file.into_std())
}

/// Feeds a stretch of a file to a hasher; the hash of that stretch alone.
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

/// Writes what lies in no hole. A list that calls something a hole that is none loses nothing: what is
/// hashed is what is written.
fn write_data(file: &File, entry: &Entry, offset: u64, bytes: &[u8]) -> io::Result<()> {
    let end = offset + bytes.len() as u64;
    let of = |from: u64, to: u64| &bytes[(from - offset) as usize..(to - offset) as usize];
    let first = entry.holes.partition_point(|(start, len)| start + len <= offset);
    let mut at = offset;
    for (start, len) in entry.holes[first..].iter().copied().chain([(u64::MAX, 0)]) {
        let data_end = start.clamp(at, end);
        let hole_end = start.saturating_add(len).clamp(data_end, end);
        let (data, hole) = (of(at, data_end), of(data_end, hole_end));
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

fn is_zero(bytes: &[u8]) -> bool {
    const ZEROS: [u8; 4096] = [0; 4096];
    bytes.chunks(ZEROS.len()).all(|chunk| *chunk == ZEROS[..chunk.len()])
}
