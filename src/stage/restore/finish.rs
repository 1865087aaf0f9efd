//! The step after all files are placed: makes empty files, hard links and symlinks. If the file system allows no more
//! names for a file, the file is copied, and its later names become links to the copy: the receiver gets the content
//! under every name, at the price of room.
//!
//! Not guaranteed: that the target can hold every link. The refused ones are returned with the reason.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use super::metadata::{MetadataResult, apart, set_metadata};
use super::placer::{Placer, Places};
use super::staging::{ASIDE, Staging, make_private};
use crate::base::entry::{Entry, Kind};
use crate::base::fault::IoFault;
use crate::base::os;
use crate::base::os::folder::Folder;
use crate::base::path::BytePath;

/// What [`Staging::finish`] does with an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It is whole and will be delivered.
    Keep,
    /// It is not whole; its placed bytes are kept for a later run.
    Aside,
    /// An earlier run delivered it.
    There,
}

/// Entries that could not be made as they were packed, by index.
#[derive(Debug, Default)]
pub(crate) struct Finished {
    /// Links that the target refused, for example on a file system without links, with the reason.
    pub(crate) refused: Vec<(usize, io::Error)>,
    /// Hard links that became copies, because their file had as many names as its file system allows.
    pub(crate) copied: Vec<usize>,
}

impl Staging {
    /// Makes the empty files, hard links and symlinks that are to be delivered, and puts files with [`Fate::Aside`]
    /// aside. Symlinks come last, so that no step before them can follow one.
    pub(crate) fn finish(&self, entries: &[Entry], fate: impl Fn(usize) -> Fate) -> Result<Finished, IoFault> {
        let mut finishing = Finishing {
            staging: self,
            aside: make_private(&self.folder, ASIDE).and_then(|_| self.folder.enter(ASIDE.as_bytes())),
            places: Places::new(self),
            files: Places::new(self),
            placer: self.placer(),
            newest: HashMap::new(),
            finished: Finished::default(),
        };
        for (at, entry) in entries.iter().enumerate() {
            match (&entry.kind, fate(at)) {
                (Kind::File, Fate::Aside) => finishing.put_aside(at, entry)?,
                (Kind::File, Fate::Keep) if entry.size == 0 => finishing.make_empty(at, entry)?,
                (Kind::Hardlink(first), Fate::Keep) => finishing.hard_link(at, entry, first)?,
                _ => {}
            }
        }
        for (at, entry) in entries.iter().enumerate() {
            if let (Kind::Symlink(to), Fate::Keep) = (&entry.kind, fate(at)) {
                finishing.symlink(at, entry, to)?;
            }
        }
        Ok(finishing.finished)
    }
}

struct Finishing<'a> {
    staging: &'a Staging,
    /// An error here costs only the bytes of files that are not whole, so it does not end the run.
    aside: io::Result<Folder>,
    places: Places<'a>,
    /// The folders of the files that hard links name. A single [`Places`] would reopen folders on the way to and fro
    /// for every link.
    files: Places<'a>,
    placer: Placer<'a>,
    /// The newest copy of a file, by the path of the file: its later names become links to that copy.
    newest: HashMap<&'a BytePath, &'a Entry>,
    finished: Finished,
}

impl<'a> Finishing<'a> {
    /// Moves a file out of the tree that is delivered. Its name becomes its index, so no folder is needed for it.
    fn put_aside(&mut self, at: usize, entry: &Entry) -> Result<(), IoFault> {
        let parent = self.places.parent(entry)?;
        let name = entry.path.name();
        let aside = self.aside.as_ref();
        // A file that cannot be moved is removed: it must not be delivered.
        if !aside.is_ok_and(|aside| parent.rename(name, aside, at.to_string().as_bytes()).is_ok()) {
            let _ = parent.remove_file(name);
        }
        Ok(())
    }

    fn make_empty(&mut self, at: usize, entry: &Entry) -> Result<(), IoFault> {
        self.placer.remove(entry)?;
        self.placer.write(at as u32, entry, 0, &[], true)?;
        let dressed = self.placer.complete(entry)?;
        self.staging.count(dressed);
        Ok(())
    }

    /// Gives a staged or delivered file one more name, or copies it.
    fn hard_link(&mut self, at: usize, entry: &'a Entry, first: &'a BytePath) -> Result<(), IoFault> {
        // An earlier run may have left a link here, which is made anew. If it cannot be removed, the link counts as
        // failed.
        let removed = os::if_there(self.places.parent(entry)?.remove_file(entry.path.name()));
        let made = removed.and_then(|_| {
            let file = self.newest.get(first).map_or(first, |copy| &copy.path);
            if self.staging.copies {
                return self.copy(entry, file);
            }
            match self.link(entry, file) {
                Err(error) if os::is_out_of_names(&error) => {
                    self.copy(entry, file)?;
                    self.newest.insert(first, entry);
                    self.finished.copied.push(at);
                    Ok(())
                }
                made => made,
            }
        });
        self.note(at, entry, made)
    }

    fn link(&mut self, entry: &Entry, file: &BytePath) -> io::Result<()> {
        let parent = self.places.parent(entry).map_err(|fault| fault.source)?;
        self.files.folder_of(file)?.hard_link(file.name(), parent, entry.path.name())
    }

    fn copy(&mut self, entry: &Entry, file: &BytePath) -> io::Result<()> {
        let from = self.files.folder_of(file)?.open_regular(file.name())?;
        let parent = self.places.parent(entry).map_err(|fault| fault.source)?;
        let to = parent.create_new(entry.path.name())?;
        copy_content(&from, &to)?;
        self.staging.count(set_metadata(&to, entry)?);
        Ok(())
    }

    /// Makes a symlink. The target path that it holds is neither checked nor followed.
    fn symlink(&mut self, at: usize, entry: &Entry, to: &[u8]) -> Result<(), IoFault> {
        let parent = self.places.parent(entry)?;
        let name = entry.path.name();
        let made = os::if_there(parent.remove_file(name)).and_then(|_| parent.symlink(to, name));
        if made.is_ok() {
            // Some file systems keep no time for links; that is counted below, not an error.
            let _ = parent.set_link_mtime(name, entry.mtime);
            let off = parent.look_at(name).map(|status| apart(entry.mtime, status.mtime.0, status.mtime.1));
            self.staging.count(MetadataResult { mode: true, off: off.unwrap_or(0) });
        }
        self.note(at, entry, made)
    }

    /// Records a link that the target refused. An error without a number comes from our own checks, such as "not a
    /// regular file", and counts as a refusal. Any other error means that the target failed, and ends the run.
    fn note(&mut self, at: usize, entry: &Entry, made: io::Result<()>) -> Result<(), IoFault> {
        match made {
            Ok(()) => {}
            Err(error) if os::is_refusal(&error) || error.raw_os_error().is_none() => {
                self.finished.refused.push((at, error));
            }
            Err(error) => return Err(self.staging.fault("create", entry, error)),
        }
        Ok(())
    }
}

/// Copies the content of a file to an empty one. Holes are skipped as far as the file system reports them.
pub(super) fn copy_content(from: &File, to: &File) -> io::Result<()> {
    let size = from.metadata()?.len();
    // A file system that cannot report holes is read as data throughout.
    let holes = os::holes(from, size, usize::MAX).unwrap_or_default();
    let mut buf = vec![0; 256 * 1024];
    let mut at = 0;
    for (hole, len) in holes.into_iter().chain([(size, 0)]) {
        while at < hole {
            let most = (hole - at).min(buf.len() as u64) as usize;
            let some = &mut buf[..most];
            from.read_exact_at(some, at)?;
            to.write_all_at(some, at)?;
            at += most as u64;
        }
        at = hole + len;
    }
    to.set_len(size)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_has_the_content_and_the_holes() {
        let (from, to) = (tempfile::tempfile().unwrap(), tempfile::tempfile().unwrap());
        for at in [1u64 << 20, 3 << 20] {
            from.write_all_at(&[7; 300_000], at).unwrap();
        }
        from.set_len(8 << 20).unwrap();
        copy_content(&from, &to).unwrap();
        assert_eq!(os::holes(&to, 8 << 20, 10).unwrap(), os::holes(&from, 8 << 20, 10).unwrap());
        let content = |file: &File| {
            let mut bytes = vec![0; 8 << 20];
            file.read_exact_at(&mut bytes, 0).unwrap();
            bytes
        };
        assert!(content(&from) == content(&to) && to.metadata().unwrap().len() == 8 << 20);
    }
}
