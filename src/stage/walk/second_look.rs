//! The sources looked at once more when all of them has been read. While a file is read its stamp shows
//! whether it changes; this tells of what is not read: folders and links, and of files that changed after
//! they were read. What is packed of those is whole and as it was; their folder, and the person who packs, are
//! told.
//!
//! Not guaranteed: that it sees what changed without a trace in any time, or what changes after this look.

use std::collections::{HashMap, HashSet};
use std::fs::Metadata;
use std::io;
use std::ops::Range;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::{Stamp, Walk, WalkError};
use crate::base::entry::{Flag, Kind};
use crate::base::monitor::{Monitor, Note, NoteKind};
use crate::base::path::{as_bytes, escape, is_at_or_below};
use crate::base::pool::side_by_side;
use crate::base::size::{count, first_ten};
use crate::plan::links::find;

/// Entries that one thread looks at before it asks for more.
const SOME: usize = 256;
/// The coarsest step of a folder's time, in seconds (FAT). A name that comes within the step in which the
/// folder was listed leaves the time as it was.
const STEP: i64 = 2;

/// Names that this packing itself makes, by the number of the folder that they are in.
pub type OwnNames = HashMap<(u64, u64), HashSet<Vec<u8>>>;

/// What is not what it was.
#[derive(Debug, Default)]
pub struct SecondLook {
    /// About each of it, but not about what is below a folder that is gone.
    pub notes: Vec<Note>,
    /// Folders that hold something which is not packed.
    pub incomplete: Vec<usize>,
}

/// How an entry is not what it was.
#[derive(Debug)]
enum Drift {
    /// It is not there any more.
    Gone,
    /// Whether it changed cannot be told.
    Unknown(io::Error),
    /// A file or link changed, or another one is in its place.
    Changed,
    /// A folder's time changed, and names in it did, or only what is said of the folder itself.
    Touched { names: bool },
    /// A folder holds names that are not packed.
    Lacks(Vec<Vec<u8>>),
    /// A folder changed because this packing wrote to it.
    OwnWork,
}

impl Walk {
    /// How long to wait before the first file is read: until every write to one shows in its times.
    pub fn until_times_tell(&self) -> Duration {
        let now = SystemTime::now();
        self.stamps.iter().map(|stamp| stamp.until_it_tells(now)).max().unwrap_or_default()
    }

    /// Looks at every entry again, but for those that `is_named` already.
    ///
    /// # Errors
    /// The run was asked to stop.
    pub fn look_again(
        &self,
        is_named: impl Fn(usize) -> bool + Sync,
        own: &OwnNames,
        monitor: &dyn Monitor,
    ) -> Result<SecondLook, WalkError> {
        let all = self.entries.len();
        let stretches: Vec<Range<usize>> = (0..all).step_by(SOME).map(|at| at..(at + SOME).min(all)).collect();
        let found = side_by_side(
            &stretches,
            || (),
            |(), stretch| {
                let wanted = stretch.clone().filter(|index| !monitor.cancelled() && !is_named(*index));
                wanted.filter_map(|index| Some((index, self.drift(index, own)?))).collect::<Vec<_>>()
            },
        );
        if monitor.cancelled() {
            return Err(WalkError::Cancelled);
        }
        let mut look = SecondLook::default();
        let mut lost_folder: Option<&[u8]> = None;
        for (index, drift) in found.into_iter().flatten() {
            let entry = &self.entries[index];
            let path = entry.path.as_bytes();
            if lost_folder.is_some_and(|folder| is_at_or_below(path, folder)) {
                continue;
            }
            if entry.kind == Kind::Dir && matches!(drift, Drift::Gone | Drift::Unknown(_)) {
                lost_folder = Some(path);
            }
            if matches!(drift, Drift::Lacks(_)) {
                look.incomplete.push(index);
            }
            look.notes.push(Note::new(drift.note_kind(), path, drift.text(&entry.kind)));
        }
        Ok(look)
    }

    fn drift(&self, index: usize, own: &OwnNames) -> Option<Drift> {
        let meta = match self.real_path(index).symlink_metadata() {
            Ok(meta) => meta,
            Err(error) if is_gone(&error) => return Some(Drift::Gone),
            Err(error) => return Some(Drift::Unknown(error)),
        };
        match &self.entries[index].kind {
            Kind::Dir if !meta.is_dir() => Some(Drift::Gone),
            Kind::Dir => self.folder_drift(index, &meta, own),
            _ => (Stamp::of(&meta) != self.stamps[index]).then_some(Drift::Changed),
        }
    }

    fn folder_drift(&self, index: usize, meta: &Metadata, own: &OwnNames) -> Option<Drift> {
        let entry = &self.entries[index];
        let is_same = Stamp::of(meta) == self.stamps[index];
        let is_told = is_same && entry.flag == Flag::Unreadable;
        if is_told || (is_same && !self.is_recent(index)) {
            return None;
        }
        let ours = own.get(&(meta.dev(), meta.ino()));
        match self.not_packed(index, ours) {
            Err(error) => Some(Drift::Unknown(error)),
            Ok(names) if !names.is_empty() => Some(Drift::Lacks(names)),
            Ok(_) if is_same => None,
            Ok(_) if ours.is_some() => Some(Drift::OwnWork),
            Ok(_) => {
                let names = (meta.mtime(), meta.mtime_nsec()) != (entry.mtime.secs, entry.mtime.nanos.into());
                Some(Drift::Touched { names })
            }
        }
    }

    /// Whether a folder changed so shortly before it was listed that its time does not tell.
    fn is_recent(&self, index: usize) -> bool {
        let began = self.began.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs() as i64);
        self.entries[index].mtime.secs >= began - STEP
    }

    /// Names in a folder that should be packed and are not, nor are they `ours`.
    fn not_packed(&self, index: usize, ours: Option<&HashSet<Vec<u8>>>) -> io::Result<Vec<Vec<u8>>> {
        let folder = self.entries[index].path.as_bytes();
        let mut names = Vec::new();
        for found in self.real_path(index).read_dir()? {
            let found = found?;
            let file_name = found.file_name();
            let name = as_bytes(file_name.as_ref());
            let is_packed = find(&self.entries, &[folder, b"/", name].concat()).is_some();
            if !is_packed && !ours.is_some_and(|ours| ours.contains(name)) && !is_special(&found) {
                names.push(name.to_vec());
            }
        }
        names.sort();
        Ok(names)
    }
}

fn is_gone(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

/// Whether a name is of something that is never packed, or went while the folder was listed.
fn is_special(found: &std::fs::DirEntry) -> bool {
    let special =
        |kind: std::fs::FileType| kind.is_fifo() || kind.is_socket() || kind.is_char_device() || kind.is_block_device();
    found.metadata().map_or_else(|error| is_gone(&error), |meta| special(meta.file_type()))
}

impl Drift {
    fn note_kind(&self) -> NoteKind {
        match self {
            Drift::OwnWork => NoteKind::OwnWork,
            _ => NoteKind::Outdated,
        }
    }

    fn text(&self, kind: &Kind) -> String {
        match (self, kind) {
            (Drift::Gone, Kind::Dir) => {
                "is not there any more: it was removed, renamed or moved away while it was packed".into()
            }
            (Drift::Gone, _) => "is not there any more; it is packed as it was".into(),
            (Drift::Unknown(error), _) => {
                format!("could not be looked at again ({error}); whether it changed meanwhile is not known")
            }
            (Drift::Changed, Kind::Symlink(_)) => "changed while it was packed; the link is packed as it was".into(),
            (Drift::Changed, _) => "changed after it was read; it is packed as it was before".into(),
            (Drift::Touched { names: true }, _) => {
                "changed while it was packed; every name that is in it now is in the bundle".into()
            }
            (Drift::Touched { names: false }, _) => {
                "its mode, owner or name changed while it was packed; it is packed as it was".into()
            }
            (Drift::Lacks(names), _) => format!(
                "changed while it was packed; {} in it {} not in the bundle: {}",
                count(names.len() as u64, "name"),
                if names.len() == 1 { "is" } else { "are" },
                first_ten(names, |name| escape(name).into_owned(), |more| format!("and {more} more"))
            ),
            (Drift::OwnWork, _) => {
                "changed because this packing writes to it; every other name in it is in the bundle".into()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::monitor::Silent;
    use std::fs;
    use std::os::unix::fs::symlink;
    use std::path::{Path, PathBuf};

    /// A walked source; its folders are old enough for their times to tell.
    fn walked() -> (tempfile::TempDir, PathBuf, Walk) {
        let dir = tempfile::tempdir().unwrap();
        let source = dir.path().join("source");
        fs::create_dir_all(source.join("folder/below")).unwrap();
        fs::create_dir(source.join("quiet")).unwrap();
        for name in ["folder/a", "folder/below/b", "quiet/c"] {
            fs::write(source.join(name), name).unwrap();
        }
        fs::hard_link(source.join("folder/a"), source.join("folder/second name")).unwrap();
        symlink("a", source.join("folder/link")).unwrap();
        for folder in ["", "folder", "folder/below", "quiet"] {
            let old = SystemTime::now() - Duration::from_secs(60);
            fs::File::open(source.join(folder)).unwrap().set_modified(old).unwrap();
        }
        let walk = super::super::walk(std::slice::from_ref(&source), &Silent).unwrap();
        std::thread::sleep(walk.until_times_tell());
        (dir, source, walk)
    }

    /// What is said of which name.
    fn look(walk: &Walk, own: &OwnNames) -> Vec<(String, NoteKind, String)> {
        let look = walk.look_again(|_| false, own, &Silent).unwrap();
        let incomplete: Vec<&[u8]> = look.incomplete.iter().map(|at| walk.entries[*at].path.as_bytes()).collect();
        let lacks: Vec<&[u8]> =
            look.notes.iter().filter(|note| note.text.contains("not in the bundle:")).map(|note| &*note.path).collect();
        assert_eq!(incomplete, lacks, "those folders are flagged");
        let text = |note: Note| (String::from_utf8(note.path).unwrap(), note.kind, note.text);
        look.notes.into_iter().map(text).collect()
    }

    fn after(change: impl FnOnce(&Path)) -> Vec<(String, String)> {
        let (_dir, source, walk) = walked();
        assert_eq!(look(&walk, &OwnNames::default()), [], "nothing changed yet");
        change(&source);
        let said = look(&walk, &OwnNames::default());
        assert!(said.iter().all(|(_, kind, _)| *kind == NoteKind::Outdated), "{said:?}");
        said.into_iter().map(|(path, _, text)| (path, text)).collect()
    }

    #[track_caller]
    fn names(said: &[(String, String)], expected: &[(&str, &str)]) {
        let same = |((path, text), (expected, part)): (&(String, String), &(&str, &str))| {
            path == expected && text.contains(part)
        };
        assert!(said.len() == expected.len() && said.iter().zip(expected).all(same), "{said:#?}");
    }

    #[test]
    fn a_name_that_came_is_named_with_its_folder() {
        let said = after(|source| {
            fs::write(source.join("folder/new\u{202e}"), "").unwrap();
            fs::create_dir(source.join("folder/another")).unwrap();
        });
        names(&said, &[("source/folder", "2 names in it are not in the bundle: another, new\\xe2\\x80\\xae")]);
    }

    #[test]
    fn names_that_went_or_were_replaced_are_named() {
        let said = after(|source| fs::remove_file(source.join("folder/below/b")).unwrap());
        let every = "every name that is in it now is in the bundle";
        names(&said, &[("source/folder/below", every), ("source/folder/below/b", "not there any more")]);
        let said = after(|source| {
            fs::write(source.join("quiet/new"), "saved anew").unwrap();
            fs::rename(source.join("quiet/new"), source.join("quiet/c")).unwrap();
        });
        names(&said, &[("source/quiet", every), ("source/quiet/c", "changed after it was read")]);
        let said = after(|source| {
            fs::remove_file(source.join("folder/link")).unwrap();
            symlink("elsewhere", source.join("folder/link")).unwrap();
        });
        names(&said, &[("source/folder", every), ("source/folder/link", "the link is packed as it was")]);
        let said = after(|source| {
            fs::remove_file(source.join("quiet/c")).unwrap();
            fs::create_dir(source.join("quiet/c")).unwrap();
        });
        names(&said, &[("source/quiet", every), ("source/quiet/c", "changed after it was read")]);
    }

    #[test]
    fn a_folder_that_went_is_named_once() {
        let said = after(|source| fs::rename(source.join("folder"), source.with_file_name("elsewhere")).unwrap());
        names(&said, &[("source", "every name that is in it now"), ("source/folder", "moved away")]);
        let said = after(|source| fs::remove_dir_all(source).unwrap());
        names(&said, &[("source", "moved away")]);
    }

    #[test]
    fn modes_and_contents_that_change_are_named() {
        use std::os::unix::fs::PermissionsExt;
        let said = after(|source| {
            fs::set_permissions(source.join("quiet"), fs::Permissions::from_mode(0o700)).unwrap();
            fs::set_permissions(source.join("quiet/c"), fs::Permissions::from_mode(0o600)).unwrap();
            fs::write(source.join("folder/below/b"), "other").unwrap();
        });
        let changed = "changed after it was read";
        names(
            &said,
            &[
                ("source/folder/below/b", changed),
                ("source/quiet", "its mode, owner or name changed"),
                ("source/quiet/c", changed),
            ],
        );
    }

    #[test]
    fn a_name_that_came_within_one_step_of_the_clock_is_found() {
        let (_dir, source, mut walk) = walked();
        // As if the folder had been listed in the same moment: its time is the one that it has now.
        fs::write(source.join("quiet/new"), "").unwrap();
        let at = find(&walk.entries, b"source/quiet").unwrap();
        let meta = source.join("quiet").metadata().unwrap();
        walk.stamps[at] = Stamp::of(&meta);
        (walk.entries[at].mtime.secs, walk.entries[at].mtime.nanos) = (meta.mtime(), meta.mtime_nsec() as u32);
        let said = look(&walk, &OwnNames::default());
        assert_eq!(said.len(), 1);
        assert!(said[0].0 == "source/quiet" && said[0].2.contains("not in the bundle: new"), "{said:?}");
    }

    #[test]
    fn what_this_packing_writes_itself_is_no_change() {
        let (_dir, source, walk) = walked();
        fs::create_dir(source.join("quiet/volume-1")).unwrap();
        let meta = source.join("quiet").metadata().unwrap();
        let own = OwnNames::from([((meta.dev(), meta.ino()), HashSet::from([b"volume-1".to_vec()]))]);
        let said = look(&walk, &own);
        assert!(said.len() == 1 && said[0].1 == NoteKind::OwnWork, "{said:?}");
        fs::write(source.join("quiet/not ours"), "").unwrap();
        let said = look(&walk, &own);
        assert!(said[0].1 == NoteKind::Outdated && said[0].2.ends_with("not in the bundle: not ours"), "{said:?}");
    }

    #[test]
    fn what_is_special_is_never_packed_and_what_is_named_is_not_named_again() {
        let (_dir, source, walk) = walked();
        let _socket = std::os::unix::net::UnixListener::bind(source.join("quiet/socket")).unwrap();
        fs::write(source.join("quiet/c"), "other").unwrap();
        let file = find(&walk.entries, b"source/quiet/c").unwrap();
        let look = walk.look_again(|index| index == file, &OwnNames::default(), &Silent).unwrap();
        assert_eq!(look.notes.len(), 1, "{:?}", look.notes);
        assert!(look.notes[0].path == b"source/quiet" && look.incomplete.is_empty());
    }
}
