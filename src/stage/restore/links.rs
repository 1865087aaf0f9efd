//! Hard links, and copies for a target without them: content under each name is worth its room.

use std::io;
use std::path::Path;

use super::dress::dress;
use super::{Dir, OpenOptions, OpenOptionsExt, Staging};
use crate::base::entry::Entry;

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
        let _ = self.root.remove_file(path);
        let linked = |from: &Dir| match self.copies {
            true => self.copy(from, first, path, entry),
            false => from.hard_link(first, &self.root, path),
        };
        match linked(&self.root) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => linked(&self.target),
            other => other,
        }
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
