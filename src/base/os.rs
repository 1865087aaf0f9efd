//! What the standard library does not offer on Unix. Only this file and those in `os/` use `rustix` and `nix`.

pub(crate) mod attributes;
pub(crate) mod folder;
pub(crate) mod identity;
pub(crate) mod make;

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::path::Path;

use rustix::fs::{self, AtFlags, Mode, OFlags, SeekFrom, Timespec, Timestamps};
use rustix::io::Errno;

use crate::base::disk::Device;
use crate::base::entry::{Hole, Time};

/// The room of a file system at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Room {
    /// The file system, by its `st_dev`.
    pub(crate) device: u64,
    /// Bytes that an ordinary user may still write.
    pub(crate) free: u64,
    /// The unit in bytes in which the file system gives out room.
    pub(crate) cluster: u64,
}

pub(crate) fn room(path: &Path) -> io::Result<Room> {
    let stat = rustix::fs::stat(path)?;
    let fs = rustix::fs::statvfs(path)?;
    let unit = fs.f_frsize.max(1);
    Ok(Room { device: stat.st_dev, free: fs.f_bavail.saturating_mul(unit), cluster: fs.f_bsize.max(unit) })
}

/// How many more files and folders fit. `None` if the file system has no such limit or does not report it.
pub(crate) fn files_left(path: &Path) -> io::Result<Option<u64>> {
    let fs = rustix::fs::statvfs(path)?;
    Ok((fs.f_files > 0).then_some(fs.f_favail))
}

/// The block device of a file system, from its `st_dev`.
pub(crate) fn block(device: u64) -> Device {
    Device::new(rustix::fs::major(device), rustix::fs::minor(device))
}

/// Whether the file system is a FAT, which holds no file of 4 GiB. No other limit of a target takes so much writing to
/// try out, so this one is looked up.
pub(crate) fn is_fat(path: &Path) -> io::Result<bool> {
    const MSDOS: u64 = 0x4d44;
    Ok(rustix::fs::statfs(path)?.f_type as u64 == MSDOS)
}

/// Opens a regular file for reading. Never follows a link in the last component and never waits for a FIFO. Leaves the
/// access time alone if the system allows that.
pub(crate) fn open_regular(path: &Path) -> io::Result<File> {
    open_as_regular(|flags| rustix::fs::open(path, flags, Mode::empty()))
}

fn open_as_regular(open: impl Fn(OFlags) -> rustix::io::Result<std::os::fd::OwnedFd>) -> io::Result<File> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOCTTY;
    let file = match open(flags | OFlags::NOATIME) {
        Err(Errno::PERM) => open(flags),
        other => other,
    }?;
    let file = File::from(file);
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("not a regular file"));
    }
    Ok(file)
}

/// Opens a regular file for reading past the cache, so that the bytes come from the drive. The flag is `false` if the
/// file system reads only through its cache; what was cached is dropped before. A file system outside of the kernel
/// reads its drive through a second cache: [`is_cached_below`] drops that one if this user may read the drive.
pub(crate) fn open_uncached(path: &Path) -> io::Result<(File, bool)> {
    let plain = open_regular(path)?;
    // The system drops only what is written to the drive.
    plain.sync_data()?;
    drop_cached(&plain)?;
    match open_as_regular(|flags| rustix::fs::open(path, flags | OFlags::DIRECT, Mode::empty())) {
        Err(error) if is_any(&error, &[Errno::INVAL, Errno::OPNOTSUPP]) => Ok((plain, false)),
        other => other.map(|file| (file, true)),
    }
}

/// Creates a file without a name. The system removes it with its last handle, even if the process is killed. If the
/// file system has no such files, this one has `name` for a moment.
pub(crate) fn create_nameless(folder: &Path, name: &str) -> io::Result<File> {
    let flags = OFlags::RDWR | OFlags::CLOEXEC;
    let mode = Mode::RUSR | Mode::WUSR;
    if let Ok(file) = rustix::fs::open(folder, flags | OFlags::TMPFILE, mode) {
        return Ok(file.into());
    }
    let path = folder.join(name);
    // An earlier run may have been killed in that moment. The file it left is always empty.
    if path.symlink_metadata().is_ok_and(|meta| meta.is_file() && meta.len() == 0) {
        remove_if_there(&path)?;
    }
    let made = rustix::fs::open(&path, flags | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW, mode)?;
    std::fs::remove_file(&path)?;
    Ok(made.into())
}

/// Makes an open file read and write past the cache, or through it again. `false` if the system refuses.
pub(crate) fn pass_cache(file: &File, pass: bool) -> bool {
    let Ok(mut flags) = rustix::fs::fcntl_getfl(file) else { return false };
    flags.set(OFlags::DIRECT, pass);
    rustix::fs::fcntl_setfl(file, flags).is_ok()
}

/// Drops what the cache holds of a file, as far as it is written to the drive.
pub(crate) fn drop_cached(file: &File) -> io::Result<()> {
    Ok(rustix::fs::fadvise(file, 0, None, rustix::fs::Advice::DontNeed)?)
}

/// Reserves `len` bytes of room from `at` on. The file does not grow.
pub(crate) fn claim(file: &File, at: u64, len: u64) -> io::Result<()> {
    Ok(rustix::fs::fallocate(file, rustix::fs::FallocateFlags::KEEP_SIZE, at, len)?)
}

/// How a file system stores data, as far as its type tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum StorageKind {
    /// In memory: it has no drive.
    Memory,
    /// Through a program (FUSE), which may hold data back until a sync.
    Program,
    /// By the kernel alone.
    Kernel,
}

pub(crate) fn storage_kind(path: &Path) -> io::Result<StorageKind> {
    Ok(storing_of(rustix::fs::statfs(path)?))
}

fn storing_of(stat: rustix::fs::StatFs) -> StorageKind {
    // The magic numbers of tmpfs and ramfs.
    const MEMORY: [u64; 2] = [0x0102_1994, 0x8584_58f6];
    const FUSE: u64 = 0x6573_5546;
    match stat.f_type as u64 {
        magic if MEMORY.contains(&magic) => StorageKind::Memory,
        FUSE => StorageKind::Program,
        _ => StorageKind::Kernel,
    }
}

/// The size of a file system in bytes, used and free.
pub(crate) fn size(path: &Path) -> io::Result<u64> {
    let fs = rustix::fs::statvfs(path)?;
    Ok(fs.f_blocks.saturating_mul(fs.f_frsize))
}

/// Whether a power cut may wipe what a file system holds: it is memory, or an overlay, whose upper folder may be in
/// memory.
pub(crate) fn is_volatile(path: &Path) -> io::Result<bool> {
    const OVERLAY: u64 = 0x794c_7630;
    let stat = rustix::fs::statfs(path)?;
    Ok(stat.f_type as u64 == OVERLAY || storing_of(stat) == StorageKind::Memory)
}

/// Drops what the system caches of a drive whose file system is a program. Returns whether no cache is left. A program
/// that shows no drive is taken at its word; a file system of the kernel must lie on disks.
fn drop_cached_below(file: &File) -> io::Result<bool> {
    let device = rustix::fs::fstat(file)?.st_dev;
    let node = match storing_of(rustix::fs::fstatfs(file)?) {
        StorageKind::Memory => return Ok(false),
        StorageKind::Kernel => return Ok(block(device).is_disk()),
        StorageKind::Program => block(device).folder(),
    };
    let Some(node) = node.as_ref().and_then(|node| node.file_name()) else { return Ok(true) };
    let Ok(drive) = File::open(Path::new("/dev").join(node)) else { return Ok(false) };
    // Another device may have this name in /dev by now.
    let is_it = rustix::fs::fstat(&drive)?.st_rdev == device;
    Ok(is_it && drop_cached(&drive).is_ok() && block(device).is_disk())
}

/// Drops the cache below `file`, and returns whether reads may still come from the system's memory.
pub(crate) fn is_cached_below(file: &File) -> bool {
    !drop_cached_below(file).unwrap_or(false)
}

/// A mounted file system, as the system showed it at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Mount {
    /// No other mount ever has this number since Linux 6.8. Before that, no other has it at the same time.
    id: u64,
    device: u64,
    /// The sequence number that its disk got when it was last plugged in. `None` before Linux 5.15.
    pub(crate) plugged: Option<u64>,
    /// Whether it has a disk, or a block device that stands for one.
    pub(crate) has_disk: bool,
    /// Whether it is a disk that can be seen unplugged, rather than a file, memory, a program or a network.
    pub(crate) is_disk: bool,
}

impl Mount {
    /// Whether its disk is plugged in. Also true if it has none.
    pub(crate) fn is_plugged_in(&self) -> bool {
        !self.has_disk || block(self.device).is_there()
    }
}

/// The file system that is mounted exactly at `path`. `None` if `path` is a folder inside one.
pub(crate) fn mounted_at(path: &Path) -> io::Result<Option<Mount>> {
    use rustix::fs::{StatxAttributes, StatxFlags};
    // STATX_MNT_ID_UNIQUE, since Linux 6.8.
    const UNIQUE: StatxFlags = StatxFlags::from_bits_retain(0x4000);
    let stat = rustix::fs::statx(rustix::fs::CWD, path, AtFlags::empty(), StatxFlags::MNT_ID | UNIQUE)?;
    // From the same answer: a second call might find another mount there.
    let device = rustix::fs::makedev(stat.stx_dev_major, stat.stx_dev_minor);
    let is_root = if stat.stx_attributes_mask.contains(StatxAttributes::MOUNT_ROOT) {
        stat.stx_attributes.contains(StatxAttributes::MOUNT_ROOT)
    } else {
        // Linux before 5.8 does not say so.
        rustix::fs::stat(path.join(".."))?.st_dev != device
    };
    let disk = block(device);
    let plugged = disk.plugged();
    let has_disk = disk.is_there();
    let is_disk = disk.is_disk();
    Ok(is_root.then_some(Mount { id: stat.stx_mnt_id, device, plugged, has_disk, is_disk }))
}

/// Holes that are looked for in one file. Everything after them counts as data.
const MOST_HOLES: usize = 1 << 20;

/// The holes of a file of `size` bytes in ascending order. If there are more than `limit`, the smallest count as data.
/// Empty if the file system contradicts itself.
pub(crate) fn holes(file: &File, size: u64, limit: usize) -> io::Result<Vec<Hole>> {
    let mut holes = Vec::new();
    let mut at = 0;
    while at < size && holes.len() < MOST_HOLES {
        let hole = rustix::fs::seek(file, SeekFrom::Hole(at))?;
        if hole >= size {
            break;
        }
        let data = match rustix::fs::seek(file, SeekFrom::Data(hole)) {
            Ok(data) => data.min(size),
            // The file ends with a hole.
            Err(Errno::NXIO) => size,
            Err(error) => return Err(error.into()),
        };
        if hole < at || data <= hole {
            return Ok(Vec::new());
        }
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

pub(crate) fn set_mode(fd: impl AsFd, mode: u32) -> io::Result<()> {
    Ok(rustix::fs::fchmod(fd, Mode::from_bits_truncate(mode))?)
}

/// Sets the modification time of an open file or folder. The access time becomes now.
pub(crate) fn set_mtime(fd: impl AsFd, time: Time) -> io::Result<()> {
    Ok(rustix::fs::futimens(fd, &stamps(time))?)
}

fn stamps(time: Time) -> Timestamps {
    let now = Timespec { tv_sec: 0, tv_nsec: rustix::fs::UTIME_NOW };
    Timestamps { last_access: now, last_modification: Timespec { tv_sec: time.secs, tv_nsec: time.nanos.into() } }
}

/// Locks an open file or folder without waiting. `false` if another run holds the lock. The lock ends with the last
/// handle of `fd`, even if the process is killed.
pub fn try_lock(fd: impl AsFd) -> io::Result<bool> {
    match rustix::fs::flock(fd, rustix::fs::FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(true),
        Err(Errno::WOULDBLOCK) => Ok(false),
        // Some network and FUSE file systems have no locks. Then no run can hold one.
        Err(Errno::NOSYS | Errno::OPNOTSUPP | Errno::NOLCK) => Ok(true),
        Err(error) => Err(error.into()),
    }
}

/// Creates a file for its owner alone, in place of a file or link with that path. A link is not followed.
pub(crate) fn create_private(path: &Path) -> io::Result<File> {
    use std::os::unix::fs::OpenOptionsExt;
    create_anew(path, File::options().write(true).mode(0o600))
}

/// Creates a file in place of a file or link with that path. A link is not followed.
pub(crate) fn create_anew(path: &Path, options: &mut std::fs::OpenOptions) -> io::Result<File> {
    remove_if_there(path)?;
    options.create_new(true).open(path)
}

/// Removes a file or link, if there is one.
pub(crate) fn remove_if_there(path: &Path) -> io::Result<()> {
    if_there(std::fs::remove_file(path)).map(drop)
}

/// Turns the error that something does not exist into `None`. Any other error leaves open whether it exists.
pub(crate) fn if_there<T>(done: io::Result<T>) -> io::Result<Option<T>> {
    match done {
        // ELOOP: a link stands where the caller follows none, so the file it looked for is not there.
        Err(error) if is_any(&error, &[Errno::NOENT, Errno::NOTDIR, Errno::LOOP]) => Ok(None),
        done => done.map(Some),
    }
}

/// Closes a file and reports a failure, which a drop would swallow.
pub(crate) fn close(file: File) -> io::Result<()> {
    match nix::unistd::close(file) {
        // The file is closed in spite of the signal.
        Err(nix::errno::Errno::EINTR) => Ok(()),
        other => Ok(other?),
    }
}

/// Whether a failed call says something about one place of a drive rather than about all of it. The same bytes may find
/// another place.
pub(crate) fn is_of_one_place(error: &io::Error) -> bool {
    // The errors with which the kernel's block layer reports a bad medium.
    is_any(error, &[Errno::IO, Errno::NODATA, Errno::ILSEQ, Errno::REMOTEIO, Errno::TIMEDOUT, Errno::BADMSG])
}

/// Whether a file system refused to create something that it cannot hold, rather than failed.
pub(crate) fn is_refusal(error: &io::Error) -> bool {
    is_any(error, &[Errno::INVAL, Errno::NAMETOOLONG, Errno::ILSEQ, Errno::NOENT, Errno::EXIST])
        || is_any(error, &[Errno::PERM, Errno::ACCESS, Errno::OPNOTSUPP, Errno::NOSYS, Errno::MLINK, Errno::XDEV])
}

/// Whether a file has as many hard links as its file system allows.
pub(crate) fn is_out_of_names(error: &io::Error) -> bool {
    is_any(error, &[Errno::MLINK])
}

/// Whether the error says that the drive is gone. Errors that a single file can cause do not count: a socket gives
/// ENXIO, and a file that was replaced on a server gives ESTALE.
pub(crate) fn is_of_a_gone_drive(error: &io::Error) -> bool {
    is_any(error, &[Errno::NODEV, Errno::NOTCONN, Errno::SHUTDOWN, Errno::NOMEDIUM])
}

/// Whether a write failed because the drive or the user's quota is full.
pub(crate) fn is_full(error: &io::Error) -> bool {
    is_any(error, &[Errno::NOSPC, Errno::DQUOT])
}

fn is_any(error: &io::Error, known: &[Errno]) -> bool {
    known.iter().any(|errno| error.raw_os_error() == Some(errno.raw_os_error()))
}

/// Makes the names in a folder durable.
pub(crate) fn sync_dir(path: &Path) -> io::Result<()> {
    match File::open(path)?.sync_all() {
        // exFAT and FAT over FUSE cannot sync a folder. Their files are synced one by one.
        Err(error) if matches!(error.raw_os_error(), Some(22 | 38 | 95)) => Ok(()),
        other => other,
    }
}

/// Renames a synced file, durably. FAT first enters a renamed file as empty, and corrects that when the file itself is
/// synced again.
pub(crate) fn rename_durably(from: &Path, to: &Path) -> io::Result<()> {
    std::fs::rename(from, to)?;
    File::open(to)?.sync_all()?;
    to.parent().map_or(Ok(()), sync_dir)
}

/// Makes everything that was written to a file system durable. An error means that data was lost since
/// [`forget_earlier_loss`] was called with this `fd`, which has to stay open in between.
pub(crate) fn sync_file_system(fd: impl AsFd) -> io::Result<()> {
    Ok(rustix::fs::syncfs(fd)?)
}

/// Makes [`sync_file_system`] report only losses from now on. The system keeps an error that it has not reported yet,
/// and gives it to the next opener, even one that wrote none of the lost data. Returns that error. The caller then has
/// to read back past the cache what an earlier run wrote: the cache may hold it, and the disk may not.
pub(crate) fn forget_earlier_loss(fd: impl AsFd) -> Option<io::Error> {
    rustix::fs::syncfs(fd).err().map(io::Error::from)
}

/// Whether `path` still leads to the open `file`.
pub(crate) fn is_still(path: &Path, file: &File) -> io::Result<bool> {
    let there = rustix::fs::stat(path)?;
    let held = rustix::fs::fstat(file)?;
    Ok((there.st_dev, there.st_ino) == (held.st_dev, held.st_ino))
}

/// Keeps keys and plaintext in memory away from disks and other processes: no core dump, and only root can trace the
/// process or read its memory. Another process of the same user cannot.
pub(crate) fn keep_memory_private() {
    let none = rustix::process::Rlimit { current: Some(0), maximum: Some(0) };
    let _ = rustix::process::setrlimit(rustix::process::Resource::Core, none);
    let _ = rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable);
}

#[cfg(test)]
mod tests;
