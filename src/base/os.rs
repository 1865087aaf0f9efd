//! The one address of `rustix` and `nix`: what the standard library does not offer of a Unix.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;

use rustix::fs::{AtFlags, Mode, OFlags, SeekFrom, Timespec, Timestamps};

use crate::base::entry::{Hole, Time};

/// The room of a file system, as it is now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Room {
    /// Which file system (`st_dev`).
    pub device: u64,
    /// Bytes that an ordinary user may still write.
    pub free: u64,
    /// The unit in which files take room, in bytes.
    pub cluster: u64,
}

/// Asks the file system that holds `path` for its room.
pub fn room(path: &Path) -> io::Result<Room> {
    let stat = rustix::fs::stat(path)?;
    let fs = rustix::fs::statvfs(path)?;
    let unit = fs.f_frsize.max(1);
    Ok(Room { device: stat.st_dev, free: fs.f_bavail.saturating_mul(unit), cluster: fs.f_bsize.max(unit) })
}

/// Whether a file system is on a drive that can be pulled out: removable by its own word, or on USB.
pub fn is_removable(device: u64) -> bool {
    let number = format!("{}:{}", rustix::fs::major(device), rustix::fs::minor(device));
    let Ok(path) = Path::new("/sys/dev/block").join(number).canonicalize() else { return false };
    let says = |folder: &Path| std::fs::read_to_string(folder.join("removable")).is_ok_and(|text| text.trim() == "1");
    // A partition's disk is the folder above it.
    says(&path) || path.parent().is_some_and(says) || path.to_string_lossy().contains("/usb")
}

/// Whether the file system is a FAT, which holds no file of 4 GiB: the one thing about a target that
/// cannot be tried without writing as much.
pub fn is_fat(path: &Path) -> io::Result<bool> {
    const MSDOS: u64 = 0x4d44;
    Ok(rustix::fs::statfs(path)?.f_type as u64 == MSDOS)
}

/// Whether a file lies on a file system whose driver is a process of its own: no flag reaches past what
/// that one, or the system on its behalf, remembers of the device.
pub fn is_fuse(file: &File) -> io::Result<bool> {
    const FUSE: u64 = 0x6573_5546;
    Ok(rustix::fs::fstatfs(file)?.f_type as u64 == FUSE)
}

/// Opens a file to be read, if it is a regular one: never follows a link in the last place,
/// never waits for a FIFO, leaves the access time alone where the system allows.
pub fn open_regular(path: &Path) -> io::Result<File> {
    open_as_regular(|flags| rustix::fs::open(path, flags, Mode::empty()))
}

/// The same for a file below an open folder: no link is followed on the way either, so that a
/// folder that became a link since it was looked at leads nowhere.
pub fn open_regular_below(folder: &File, below: &Path) -> io::Result<File> {
    use rustix::fs::ResolveFlags;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    open_as_regular(|flags| match rustix::fs::openat2(folder, below, flags, Mode::empty(), resolve) {
        // Kernels before 5.6: the last name at least is not followed.
        Err(rustix::io::Errno::NOSYS) => rustix::fs::openat(folder, below, flags, Mode::empty()),
        other => other,
    })
}

fn open_as_regular(open: impl Fn(OFlags) -> rustix::io::Result<std::os::fd::OwnedFd>) -> io::Result<File> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOCTTY;
    let file = match open(flags | OFlags::NOATIME) {
        Err(rustix::io::Errno::PERM) => open(flags),
        other => other,
    }?;
    let file = File::from(file);
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("not a regular file"));
    }
    Ok(file)
}

/// Opens a regular file to be read past the cache, so that what comes is what the drive stores;
/// `false` where the file system only reads through it: then what is cached is dropped first, which
/// it may ignore for what is not yet written.
pub fn open_uncached(path: &Path) -> io::Result<(File, bool)> {
    let plain = open_regular(path)?;
    // What is dirty cannot be dropped.
    plain.sync_data()?;
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOCTTY;
    rustix::fs::fadvise(&plain, 0, None, rustix::fs::Advice::DontNeed)?;
    match rustix::fs::open(path, flags | OFlags::DIRECT, Mode::empty()) {
        Ok(file) => Ok((File::from(file), true)),
        Err(rustix::io::Errno::INVAL | rustix::io::Errno::OPNOTSUPP) => Ok((plain, false)),
        Err(error) => Err(error.into()),
    }
}

/// The holes of a file of `size` bytes, at most `limit` of them: beyond that the smallest are
/// left out and count as data.
pub fn holes(file: &File, size: u64, limit: usize) -> io::Result<Vec<Hole>> {
    let mut holes = Vec::new();
    let mut at = 0;
    while at < size {
        let hole = rustix::fs::seek(file, SeekFrom::Hole(at))?;
        if hole >= size {
            break;
        }
        let data = match rustix::fs::seek(file, SeekFrom::Data(hole)) {
            Ok(data) => data.min(size),
            Err(rustix::io::Errno::NXIO) => size,
            Err(error) => return Err(error.into()),
        };
        holes.push((hole, data - hole));
        at = data;
    }
    if holes.len() > limit {
        holes.sort_by_key(|(_, len)| std::cmp::Reverse(*len));
        holes.truncate(limit);
        holes.sort();
    }
    Ok(holes)
}

/// Sets permission bits of an open file or folder.
pub fn set_mode(fd: impl AsFd, mode: u32) -> io::Result<()> {
    Ok(rustix::fs::fchmod(fd, Mode::from_bits_truncate(mode))?)
}

/// Sets the modification time of an open file or folder; the access time becomes now.
pub fn set_mtime(fd: impl AsFd, time: Time) -> io::Result<()> {
    Ok(rustix::fs::futimens(fd, &stamps(time))?)
}

/// Sets the modification time of the link `name` in `dir` itself.
pub fn set_link_mtime(dir: BorrowedFd<'_>, name: &Path, time: Time) -> io::Result<()> {
    Ok(rustix::fs::utimensat(dir, name, &stamps(time), AtFlags::SYMLINK_NOFOLLOW)?)
}

fn stamps(time: Time) -> Timestamps {
    let now = Timespec { tv_sec: 0, tv_nsec: rustix::fs::UTIME_NOW };
    Timestamps { last_access: now, last_modification: Timespec { tv_sec: time.secs, tv_nsec: time.nanos.into() } }
}

/// Renames within two open folders; never replaces anything.
pub fn rename_new(from_dir: BorrowedFd<'_>, from: &Path, to_dir: BorrowedFd<'_>, to: &Path) -> io::Result<()> {
    use rustix::io::Errno;
    match rustix::fs::renameat_with(from_dir, from, to_dir, to, rustix::fs::RenameFlags::NOREPLACE) {
        Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => {
            // File systems without the flag (FAT over FUSE): look first, which is the best there is.
            match rustix::fs::statat(to_dir, to, AtFlags::SYMLINK_NOFOLLOW) {
                Err(Errno::NOENT) => Ok(rustix::fs::renameat(from_dir, from, to_dir, to)?),
                Err(error) => Err(error.into()),
                Ok(_) => Err(io::ErrorKind::AlreadyExists.into()),
            }
        }
        other => Ok(other?),
    }
}

/// Takes the lock of an open file or folder without waiting; `false` if another run holds it.
/// The lock goes with the file, also when the process dies.
pub fn try_lock(fd: impl AsFd) -> io::Result<bool> {
    match rustix::fs::flock(fd, rustix::fs::FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(true),
        Err(rustix::io::Errno::WOULDBLOCK) => Ok(false),
        // Some network and FUSE file systems have no locks; then there is none to respect.
        Err(rustix::io::Errno::NOSYS | rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::NOLCK) => Ok(true),
        Err(error) => Err(error.into()),
    }
}

/// Makes a file for its owner alone, instead of whatever stands there: a link leads nowhere.
pub fn create_private(path: &Path) -> io::Result<File> {
    use std::os::unix::fs::OpenOptionsExt;
    create_anew(path, File::options().write(true).mode(0o600))
}

/// Makes a file instead of whatever stands there under that name: a link leads nowhere.
pub fn create_anew(path: &Path, options: &mut std::fs::OpenOptions) -> io::Result<File> {
    remove_if_there(path)?;
    options.create_new(true).open(path)
}

/// Removes a file, or a link in its place.
pub fn remove_if_there(path: &Path) -> io::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// Closes a file, and says so if that fails: whoever drops it would not hear.
pub fn close(file: File) -> io::Result<()> {
    match nix::unistd::close(file) {
        // It is closed all the same.
        Err(nix::errno::Errno::EINTR) => Ok(()),
        other => Ok(other?),
    }
}

/// Whether a failed write says something about one place of a drive rather than about all of it: the
/// same bytes may find another place.
pub fn is_of_one_place(error: &io::Error) -> bool {
    use rustix::io::Errno;
    // The names under which the kernel's block layer reports a medium.
    let known = [Errno::IO, Errno::NODATA, Errno::ILSEQ, Errno::REMOTEIO, Errno::TIMEDOUT, Errno::BADMSG];
    error.raw_os_error().is_some_and(|code| known.iter().any(|errno| errno.raw_os_error() == code))
}

/// Makes the names in a folder durable.
pub fn sync_dir(path: &Path) -> io::Result<()> {
    match File::open(path)?.sync_all() {
        // exFAT and FAT over FUSE cannot sync a folder; their files are synced one by one.
        Err(error) if matches!(error.raw_os_error(), Some(22 | 38 | 95)) => Ok(()),
        other => other,
    }
}

/// Makes all that was written to a file system durable; an error says that some of it is lost.
/// `fd` must have been open since before the writing began.
pub fn sync_file_system(fd: impl AsFd) -> io::Result<()> {
    Ok(rustix::fs::syncfs(fd)?)
}

/// Whether `path` still leads to what is open as `file`.
pub fn is_still(path: &Path, file: &File) -> io::Result<bool> {
    let (there, held) = (rustix::fs::stat(path)?, rustix::fs::fstat(file)?);
    Ok((there.st_dev, there.st_ino) == (held.st_dev, held.st_ino))
}

/// Keeps the memory of this process, with its keys and plaintext, from disks and from other processes: no core
/// dump, and whoever is not root can neither trace it nor read its memory, not even as the same user.
pub fn keep_memory_private() {
    let none = rustix::process::Rlimit { current: Some(0), maximum: Some(0) };
    let _ = rustix::process::setrlimit(rustix::process::Resource::Core, none);
    let _ = rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable);
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Seek, SeekFrom, Write};

    #[test]
    fn a_fifo_or_link_is_not_opened() {
        let dir = tempfile::tempdir().unwrap();
        let link = dir.path().join("link");
        std::os::unix::fs::symlink("/etc/hostname", &link).unwrap();
        assert!(open_regular(&link).is_err());
        assert!(open_regular(dir.path()).is_err());
        let fifo = dir.path().join("fifo");
        rustix::fs::mknodat(rustix::fs::CWD, &fifo, rustix::fs::FileType::Fifo, Mode::RUSR, 0).unwrap();
        assert!(open_regular(&fifo).is_err(), "and it did not wait");
    }

    #[test]
    fn a_folder_that_became_a_link_leads_nowhere() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("real")).unwrap();
        std::fs::write(dir.path().join("real/file"), b"x").unwrap();
        std::os::unix::fs::symlink("real", dir.path().join("link")).unwrap();
        let folder = File::open(dir.path()).unwrap();
        assert!(open_regular_below(&folder, Path::new("real/file")).is_ok());
        assert!(open_regular_below(&folder, Path::new("link/file")).is_err());
        assert!(open_regular_below(&folder, Path::new("real/../real/../../etc/hostname")).is_err());
    }

    #[test]
    fn holes_are_found_and_limited() {
        let mut file = tempfile::tempfile().unwrap();
        for at in [1u64 << 20, 3 << 20] {
            file.seek(SeekFrom::Start(at)).unwrap();
            file.write_all(&[1; 65536]).unwrap();
        }
        file.set_len(8 << 20).unwrap();
        let all = holes(&file, 8 << 20, 10).unwrap();
        let expected =
            vec![(0, 1 << 20), ((1 << 20) + 65536, (2 << 20) - 65536), ((3 << 20) + 65536, (5 << 20) - 65536)];
        assert_eq!(all, expected);
        assert_eq!(holes(&file, 8 << 20, 1).unwrap(), &expected[2..], "the largest stays");
    }

    #[test]
    fn a_rename_replaces_nothing() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["a", "b"] {
            std::fs::write(dir.path().join(name), name).unwrap();
        }
        let fd = File::open(dir.path()).unwrap();
        let result = rename_new(fd.as_fd(), Path::new("a"), fd.as_fd(), Path::new("b"));
        assert_eq!(result.unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        rename_new(fd.as_fd(), Path::new("a"), fd.as_fd(), Path::new("c")).unwrap();
        assert_eq!(std::fs::read(dir.path().join("b")).unwrap(), b"b");
    }

    #[test]
    fn a_lock_is_held_once() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let (one, two) = (File::open(file.path()).unwrap(), File::open(file.path()).unwrap());
        assert!(try_lock(&one).unwrap());
        assert!(!try_lock(&two).unwrap());
        drop(one);
        assert!(try_lock(&two).unwrap());
    }
}
