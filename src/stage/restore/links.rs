//! Symlinks; hard links, and copies for a target without them: content under each name is worth its room.

use std::io;
use std::os::fd::AsFd;
use std::path::Path;

use super::dress::{Dressed, apart, dress};
use super::{Dir, MetadataExt, OpenOptions, OpenOptionsExt, Staging};
use crate::base::entry::Entry;
use crate::base::fault::{At, IoFault};
use crate::base::os;
use crate::base::path::as_path;

impl Staging {
    /// Hard links become copies from now on.
    pub fn copy_links(&mut self) {
        self.copies = true;
    }

    /// Whether they do.
    pub fn has_copies(&self) -> bool {
        self.copies
    }

    /// A hard link to a file that is staged, or delivered already.
    pub(super) fn link(&self, first: &Path, entry: &Entry) -> io::Result<()> {
        let path = entry.path.as_path();
        // What an earlier run made there is made anew; a removal that fails is no link that cannot be held.
        os::if_there(self.root.remove_file(path))?;
        let linked = |from: &Dir| match self.copies {
            true => self.copy(from, first, path, entry),
            false => from.hard_link(first, &self.root, path),
        };
        match linked(&self.root) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => linked(&self.target),
            other => other,
        }
    }

    /// A symlink in the folder it stands in.
    pub(super) fn symlink(&self, parent: &Dir, to: &Path, entry: &Entry) -> io::Result<()> {
        let name = as_path(entry.path.name());
        os::if_there(parent.remove_file(name))?;
        parent.symlink_contents(to, name)?;
        // A link's time is a nicety that some file systems do not have.
        let _ = os::set_link_mtime(parent.as_fd(), name, entry.mtime);
        let off = parent.symlink_metadata(name).map(|meta| apart(entry.mtime, meta.mtime(), meta.mtime_nsec()));
        self.tally.add(Dressed { mode: true, off: off.unwrap_or(0) });
        Ok(())
    }

    /// Notes a link that the target refused; what is no refusal of such links is the target failing.
    pub(super) fn unless_refused(
        &self,
        at: usize,
        entry: &Entry,
        made: io::Result<()>,
        refused: &mut Vec<(usize, io::Error)>,
    ) -> Result<(), IoFault> {
        match made {
            Ok(()) => {}
            Err(error) if os::is_refusal(&error) || error.raw_os_error().is_none() => refused.push((at, error)),
            Err(error) => return Err(error).at("create", &self.shown(entry)),
        }
        Ok(())
    }

    fn copy(&self, from: &Dir, first: &Path, path: &Path, entry: &Entry) -> io::Result<()> {
        let mut source = from.open(first)?.into_std();
        let mut options = OpenOptions::new();
        options.write(true).create_new(true).mode(0o600);
        let mut file = self.root.open_with(path, &options)?.into_std();
        io::copy(&mut source, &mut file)?;
        self.tally.add(dress(&file, entry)?);
        Ok(())
    }
}
