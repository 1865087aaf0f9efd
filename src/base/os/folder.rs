//! Open folders and the names in them. Everything below an open folder is reached through its handle, so no path is too
//! long and no link is followed. The kind of each name comes from a call for that name (`lstat`): a listing may be
//! wrong about kinds.

use std::fs::{File, Metadata};
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use super::fs::{FileType, RawDir, ResolveFlags, Statx, StatxAttributes, StatxFlags};
use super::{AtFlags, Errno, Mode, OFlags, fs, open_as_regular};
use crate::base::path::as_bytes;

/// Bytes of a path that one system call takes, with some to spare: Linux takes 4,095.
const MAX_STRETCH: usize = 4_000;
/// Bytes of the buffer into which one system call lists names.
const LISTING: usize = 32 * 1024;
/// Opens a folder only to pass through it. That does not need the right to list it.
const PASSING: OFlags = OFlags::PATH.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// A folder that is held open, wherever it is moved. It can be passed through; [`Folder::to_list`] opens it again for
/// listing.
#[derive(Debug)]
pub(crate) struct Folder(pub(super) OwnedFd);

impl Folder {
    /// Opens a folder by its path, which may lead through links.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        Ok(Self(fs::open(path, PASSING - OFlags::NOFOLLOW, Mode::empty())?))
    }

    /// Opens a folder below this one. The path may be of any length and passes through no link.
    pub(crate) fn enter(&self, below: &[u8]) -> io::Result<Self> {
        let (stretch, rest) = first_stretch(below);
        let mut folder = self.enter_stretch(stretch)?;
        let mut rest = rest;
        while let Some(more) = rest {
            let (stretch, behind) = first_stretch(more);
            folder = folder.enter_stretch(stretch)?;
            rest = behind;
        }
        Ok(folder)
    }

    fn enter_stretch(&self, below: &[u8]) -> io::Result<Self> {
        // The kernel itself refuses links, and paths that lead out of the folder.
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
        match fs::openat2(&self.0, below, PASSING, Mode::empty(), resolve) {
            // Kernels before 5.6 and some sandboxes do not know the call.
            Err(Errno::NOSYS | Errno::PERM) => self.enter_name_by_name(below),
            opened => Ok(Self(opened?)),
        }
    }

    /// Enters without `openat2`. Each step refuses a link.
    fn enter_name_by_name(&self, below: &[u8]) -> io::Result<Self> {
        let mut at = None;
        for name in below.split(|byte| *byte == b'/') {
            let from = at.as_ref().unwrap_or(&self.0);
            at = Some(fs::openat(from, name, PASSING, Mode::empty())?);
        }
        at.map(Self).ok_or_else(|| Errno::NOENT.into())
    }

    /// The state of the folder itself.
    pub(crate) fn status(&self) -> io::Result<Status> {
        status(&self.0, b"", AtFlags::EMPTY_PATH)
    }

    /// The state of a name in it. A link is not followed.
    pub(crate) fn look_at(&self, name: &[u8]) -> io::Result<Status> {
        status(&self.0, name, AtFlags::SYMLINK_NOFOLLOW)
    }

    /// The target of a link in it, in the bytes that were stored.
    pub(crate) fn read_link(&self, name: &[u8]) -> io::Result<Vec<u8>> {
        Ok(fs::readlinkat(&self.0, name, Vec::new())?.into_bytes())
    }

    /// Opens a file in it for reading, as [`super::open_regular`] does.
    pub(crate) fn open_regular(&self, name: &[u8]) -> io::Result<File> {
        open_as_regular(|flags| fs::openat(&self.0, name, flags, Mode::empty()))
    }

    /// Opens the folder once more, for [`list`]. This needs the right to read it.
    pub(crate) fn to_list(&self) -> io::Result<File> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let opened = match fs::openat(&self.0, c".", flags | OFlags::NOATIME, Mode::empty()) {
            // The folder belongs to another user, and only the owner may leave the access time alone.
            Err(Errno::PERM) => fs::openat(&self.0, c".", flags, Mode::empty()),
            opened => opened,
        };
        Ok(opened?.into())
    }
}

/// Splits off as much of a path as one system call takes. The second half is the rest, if there is any.
fn first_stretch(path: &[u8]) -> (&[u8], Option<&[u8]>) {
    if path.len() <= MAX_STRETCH {
        return (path, None);
    }
    match path[..MAX_STRETCH].iter().rposition(|byte| *byte == b'/') {
        Some(slash) => (&path[..slash], Some(&path[slash + 1..])),
        // No file system has so long a name. The system call will report that.
        None => (path, None),
    }
}

/// Lists a folder that [`Folder::to_list`] opened. `hear` gets each name except `.` and `..`, until it returns false.
/// It gets a name twice if the file system lists it twice.
///
/// # Errors
/// The listing broke off. `hear` got the names before that.
pub(crate) fn list(folder: &File, mut hear: impl FnMut(&[u8]) -> bool) -> io::Result<()> {
    let mut buffer = [MaybeUninit::uninit(); LISTING];
    let mut listing = RawDir::new(folder, &mut buffer);
    while let Some(entry) = listing.next() {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if name != b"." && name != b".." && !hear(name) {
            break;
        }
    }
    Ok(())
}

/// What the system says about a file, folder or link.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Status {
    pub(crate) dev: u64,
    pub(crate) ino: u64,
    /// Its kind and permissions.
    pub(crate) mode: u32,
    pub(crate) nlink: u64,
    /// User and group ID.
    pub(crate) owner: (u32, u32),
    pub(crate) size: u64,
    /// Bytes that it takes on its drive, as far as the file system says.
    pub(crate) room: u64,
    /// Seconds since 1970 and nanoseconds; the same for `ctime`.
    pub(crate) mtime: (i64, i64),
    pub(crate) ctime: (i64, i64),
    /// Whether a user set file flags on it: immutable, append-only or no-dump. Flags that say how it is stored
    /// (compressed, encrypted, verified) do not count. Always `false` if the status comes from [`Metadata`], as for
    /// open files.
    pub(crate) has_flags: bool,
}

impl Status {
    /// The state of the file or folder that a path leads to, through links.
    pub(crate) fn at(path: &Path) -> io::Result<Self> {
        status(fs::CWD, as_bytes(path), AtFlags::empty())
    }

    fn kind(&self) -> FileType {
        FileType::from_raw_mode(self.mode as _)
    }

    pub(crate) fn is_dir(&self) -> bool {
        self.kind() == FileType::Directory
    }

    pub(crate) fn is_file(&self) -> bool {
        self.kind() == FileType::RegularFile
    }

    pub(crate) fn is_link(&self) -> bool {
        self.kind() == FileType::Symlink
    }

    /// The word for a FIFO, socket or device. `None` for a file, folder or link.
    pub(crate) fn special(&self) -> Option<&'static str> {
        match self.kind() {
            FileType::RegularFile | FileType::Directory | FileType::Symlink => None,
            FileType::Fifo => Some("FIFO"),
            FileType::Socket => Some("socket"),
            FileType::CharacterDevice => Some("character device"),
            FileType::BlockDevice => Some("block device"),
            FileType::Unknown => Some("file of an unknown kind"),
        }
    }
}

impl From<&Metadata> for Status {
    fn from(meta: &Metadata) -> Self {
        Self {
            dev: meta.dev(),
            ino: meta.ino(),
            mode: meta.mode(),
            nlink: meta.nlink(),
            owner: (meta.uid(), meta.gid()),
            size: meta.size(),
            // Blocks of 512 bytes, whatever the file system uses.
            room: meta.blocks().saturating_mul(512),
            mtime: (meta.mtime(), meta.mtime_nsec()),
            ctime: (meta.ctime(), meta.ctime_nsec()),
            has_flags: false,
        }
    }
}

impl From<Statx> for Status {
    fn from(stat: Statx) -> Self {
        let of_users = StatxAttributes::IMMUTABLE | StatxAttributes::APPEND | StatxAttributes::NODUMP;
        Self {
            dev: fs::makedev(stat.stx_dev_major, stat.stx_dev_minor),
            ino: stat.stx_ino,
            mode: stat.stx_mode.into(),
            nlink: stat.stx_nlink.into(),
            owner: (stat.stx_uid, stat.stx_gid),
            size: stat.stx_size,
            room: stat.stx_blocks.saturating_mul(512),
            mtime: (stat.stx_mtime.tv_sec, stat.stx_mtime.tv_nsec.into()),
            ctime: (stat.stx_ctime.tv_sec, stat.stx_ctime.tv_nsec.into()),
            has_flags: stat.stx_attributes.intersects(of_users),
        }
    }
}

fn status(folder: impl AsFd, name: &[u8], flags: AtFlags) -> io::Result<Status> {
    match fs::statx(&folder, name, flags, StatxFlags::BASIC_STATS) {
        // Kernels before 4.11 cannot tell file flags.
        Err(Errno::NOSYS) => Ok(of_stat(fs::statat(folder, name, flags)?)),
        found => Ok(found?.into()),
    }
}

/// The status from the older call, which does not report file flags.
fn of_stat(stat: fs::Stat) -> Status {
    Status {
        dev: stat.st_dev as _,
        ino: stat.st_ino as _,
        mode: stat.st_mode as _,
        nlink: stat.st_nlink as _,
        owner: (stat.st_uid, stat.st_gid),
        size: stat.st_size as _,
        room: (stat.st_blocks as u64).saturating_mul(512),
        mtime: (stat.st_mtime as _, stat.st_mtime_nsec as _),
        ctime: (stat.st_ctime as _, stat.st_ctime_nsec as _),
        has_flags: false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    fn names(folder: &Folder) -> Vec<String> {
        let mut names = Vec::new();
        let heard = list(&folder.to_list().unwrap(), |name| {
            names.push(String::from_utf8_lossy(name).into_owned());
            true
        });
        heard.unwrap();
        names.sort();
        names
    }

    #[test]
    fn a_folder_that_became_a_link_leads_nowhere() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(dir.path().join("real/inner")).unwrap();
        std::fs::write(dir.path().join("real/file"), b"x").unwrap();
        symlink("real", dir.path().join("link")).unwrap();
        let folder = Folder::open(dir.path()).unwrap();
        for enter in [Folder::enter, Folder::enter_name_by_name] {
            let real = enter(&folder, b"real").unwrap();
            assert!(real.open_regular(b"file").is_ok() && real.open_regular(b"inner").is_err());
            assert!(enter(&folder, b"real/inner").is_ok());
            for nowhere in [&b"link"[..], b"link/inner", b"real/file", b"real/nothing"] {
                assert!(enter(&folder, nowhere).is_err(), "{}", nowhere.escape_ascii());
            }
        }
        symlink("file", dir.path().join("real/other")).unwrap();
        let real = folder.enter(b"real").unwrap();
        assert!(real.open_regular(b"other").is_err());
        assert_eq!(real.read_link(b"other").unwrap(), b"file");
        assert!(real.look_at(b"other").unwrap().is_link() && real.look_at(b"inner").unwrap().is_dir());
        assert_eq!(names(&real), ["file", "inner", "other"]);
    }

    #[test]
    fn a_status_is_the_same_whichever_call_says_it() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("file"), b"some bytes").unwrap();
        let folder = Folder::open(dir.path()).unwrap();
        let path = dir.path().join("file");
        let known = Status::from(&path.symlink_metadata().unwrap());
        let old = of_stat(fs::statat(&folder.0, c"file", AtFlags::SYMLINK_NOFOLLOW).unwrap());
        for other in [folder.look_at(b"file").unwrap(), Status::at(&path).unwrap(), old] {
            assert_eq!(format!("{known:?}"), format!("{other:?}"));
        }
        assert_eq!(folder.status().unwrap().ino, dir.path().metadata().unwrap().ino());
    }

    #[test]
    fn a_path_of_any_length_is_cut_at_its_slashes() {
        let long = [&[b'x'; 255][..]; 40].join(&b'/');
        let mut rest = Some(&long[..]);
        let mut again: Vec<&[u8]> = Vec::new();
        while let Some(path) = rest {
            let (stretch, behind) = first_stretch(path);
            assert!(stretch.len() <= MAX_STRETCH);
            again.push(stretch);
            rest = behind;
        }
        assert!(again.len() > 2 && again.join(&b'/') == long);
    }
}
