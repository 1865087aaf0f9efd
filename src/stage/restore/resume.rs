//! Resumes the staging folder of an earlier run: removes what is no entry, brings back files that were put aside, and
//! copies files that have a second name elsewhere, so that no write reaches a foreign file. All of it happens before
//! any thread places a byte.
//!
//! Not guaranteed: that the remaining files hold the right bytes; the caller compares them with the list.

use std::collections::HashMap;
use std::io;

use super::finish::copy_content;
use super::placer::{Places, open_to_read};
use super::staging::{ASIDE, OWN, Staging};
use crate::base::entry::{Entry, Kind};
use crate::base::fault::{At, IoFault};
use crate::base::open_path::{OpenPath, remove_all, traverse};
use crate::base::os;
use crate::base::os::folder::Folder;

/// What may have an entry's path in the staging folder.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Expected {
    Folder,
    File,
    /// Links are made at the end, so whatever has the path is removed.
    Link,
}

impl Expected {
    fn of(entry: &Entry) -> Self {
        match entry.kind {
            Kind::Dir => Self::Folder,
            Kind::File => Self::File,
            Kind::Symlink(_) | Kind::Hardlink(_) => Self::Link,
        }
    }
}

impl Staging {
    /// Prepares the staging folder for placing. Afterwards it has all folders, the files that earlier runs could not
    /// deliver are in their places, and no staged file has a foreign name. Delivered folders that are closed by
    /// their modes are opened for the owner.
    pub(crate) fn resume(&self, entries: &[Entry]) -> Result<(), IoFault> {
        sweep(&self.root, entries).at("look into", &self.path())?;
        self.make_dirs(entries)?;
        self.bring_back(entries)?;
        self.copy_files_with_foreign_names(entries)?;
        if self.log.delivering {
            self.open_closed_folders(entries);
        }
        Ok(())
    }

    /// Creates all folders, for now with the owner's rights only: [`Staging::deliver`] sets the packed modes.
    pub(crate) fn make_dirs(&self, entries: &[Entry]) -> Result<(), IoFault> {
        let mut places = Places::new(self);
        for entry in entries.iter().filter(|entry| entry.kind == Kind::Dir) {
            match places.parent(entry)?.make_folder(entry.path.name()) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists && self.resumed => {}
                made => made.at("create", &self.shown(entry))?,
            }
        }
        Ok(())
    }

    /// Moves files that were put aside back to their paths. A file that was placed meanwhile stays; the copy in
    /// [`ASIDE`] is left.
    fn bring_back(&self, entries: &[Entry]) -> Result<(), IoFault> {
        let entered = os::if_there(self.folder.enter(ASIDE.as_bytes()));
        let Some(aside) = entered.at("open", &self.path())? else { return Ok(()) };
        let mut places = Places::new(self);
        for name in aside.names().at("look into", &self.path())? {
            let number = std::str::from_utf8(&name).ok().and_then(|name| name.parse::<usize>().ok());
            let entry = number.and_then(|at| entries.get(at)).filter(|entry| entry.kind == Kind::File);
            let Some(entry) = entry else { continue };
            match aside.rename_new(&name, places.parent(entry)?, entry.path.name()) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                renamed => renamed.at("create", &self.shown(entry))?,
            }
        }
        Ok(())
    }

    /// Copies every staged file that has a name outside of this unpacking: a write through it would change a foreign
    /// file. Hard links of the list that were delivered already are no foreign names.
    fn copy_files_with_foreign_names(&self, entries: &[Entry]) -> Result<(), IoFault> {
        let mut places = Places::new(self);
        let mut own_names: Option<HashMap<&[u8], Vec<&Entry>>> = None;
        for entry in entries.iter().filter(|entry| entry.kind == Kind::File) {
            let found = os::if_there(places.parent(entry)?.look_at(entry.path.name()));
            let Some(staged) = found.at("look at", &self.shown(entry))?.filter(|staged| staged.nlink > 1) else {
                continue;
            };
            // An earlier run may have delivered hard links of this file, while the file itself is still staged.
            let links = own_names.get_or_insert_with(|| links_by_file(entries));
            let mut own = 1;
            for link in links.get(entry.path.as_bytes()).into_iter().flatten() {
                let there = places.delivered(link).and_then(|folder| folder.look_at(link.path.name()));
                own += u64::from(there.is_ok_and(|there| (there.dev, there.ino) == (staged.dev, staged.ino)));
            }
            if own < staged.nlink {
                let copied = self.make_own(places.parent(entry)?, entry.path.name(), staged.mode);
                copied.at("copy", &self.shown(entry))?;
            }
        }
        Ok(())
    }

    /// Replaces a file by a copy of its own. Opening the file may change its mode, so the mode is set again for its
    /// other names.
    fn make_own(&self, folder: &Folder, name: &[u8], mode: u32) -> io::Result<()> {
        let from = open_to_read(folder, name)?;
        os::if_there(self.folder.remove_file(OWN.as_bytes()))?;
        copy_content(&from, &self.folder.create_new(OWN.as_bytes())?)?;
        os::set_mode(&from, mode)?;
        self.folder.rename(OWN.as_bytes(), folder, name)
    }

    /// Gives the owner full rights to folders that an earlier run delivered and closed. [`Staging::deliver`] sets
    /// their packed modes again. Best effort: a folder that stays closed fails later, with an error that names it.
    fn open_closed_folders(&self, entries: &[Entry]) {
        let mut place = OpenPath::new(&self.target);
        for entry in entries.iter().filter(|entry| entry.kind == Kind::Dir) {
            let Ok(parent) = place.parent_of(&entry.path) else { continue };
            let name = entry.path.name();
            if parent.look_at(name).is_ok_and(|status| status.is_dir() && status.mode & 0o700 != 0o700) {
                let _ = parent.set_mode(name, 0o700);
            }
        }
    }
}

/// The hard links of each file, by the path of the file.
fn links_by_file(entries: &[Entry]) -> HashMap<&[u8], Vec<&Entry>> {
    let mut links: HashMap<&[u8], Vec<&Entry>> = HashMap::new();
    for entry in entries {
        if let Kind::Hardlink(first) = &entry.kind {
            links.entry(first.as_bytes()).or_default().push(entry);
        }
    }
    links
}

/// Removes everything but the folders and files of the entries. A folder is delivered with all that it holds, and
/// placing must not write through a symlink or FIFO in the place of a file.
fn sweep(root: &Folder, entries: &[Entry]) -> io::Result<()> {
    let known = entries.iter().map(|entry| (entry.path.as_bytes(), Expected::of(entry)));
    let known: HashMap<&[u8], Expected> = known.collect();
    traverse(root, |place, name| sweep_name(place, name, &known), |_, _| Ok(()))
}

/// Removes a name unless it is what its path is `known` for. Returns whether it is a folder, to be entered.
fn sweep_name(place: &OpenPath, name: &[u8], known: &HashMap<&[u8], Expected>) -> io::Result<bool> {
    let path = if place.path().is_empty() { name.to_vec() } else { [place.path(), b"/", name].concat() };
    let status = place.here().look_at(name)?;
    match known.get(&path[..]) {
        Some(Expected::Folder) if status.is_dir() => return Ok(true),
        Some(Expected::File) if status.is_file() => {}
        _ => remove_all(place.here(), name)?,
    }
    Ok(false)
}
