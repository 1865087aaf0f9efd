//! The one address of `rustix` and `nix`: what the standard library does not offer of a Unix.

pub(crate) mod attributes;
pub(crate) mod folder;
pub(crate) mod make;

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::path::Path;

use rustix::fs::{self, AtFlags, Mode, OFlags, SeekFrom, Timespec, Timestamps};
use rustix::io::Errno;

use crate::base::disk::Device;
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

/// How many files and folders can still be made; `None` where the file system has no such limit, or does not say.
pub fn files_left(path: &Path) -> io::Result<Option<u64>> {
    let fs = rustix::fs::statvfs(path)?;
    Ok((fs.f_files > 0).then_some(fs.f_favail))
}

/// What a file system is on.
pub fn block(device: u64) -> Device {
    Device::new(rustix::fs::major(device), rustix::fs::minor(device))
}

/// Whether the file system is a FAT, which holds no file of 4 GiB: the one thing about a target that
/// cannot be tried without writing as much.
pub fn is_fat(path: &Path) -> io::Result<bool> {
    const MSDOS: u64 = 0x4d44;
    Ok(rustix::fs::statfs(path)?.f_type as u64 == MSDOS)
}

/// Opens a file to be read, if it is a regular one: never follows a link in the last place,
/// never waits for a FIFO, leaves the access time alone where the system allows.
pub fn open_regular(path: &Path) -> io::Result<File> {
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

/// Opens a regular file to be read past the cache, so that what comes is what the drive stores;
/// `false` where the file system only reads through it: then what is cached is dropped first, which
/// it may ignore for what is not yet written. What a file system outside of the kernel has read of its
/// drive is cached once more, below it: [`is_cached_below`] drops that, for those who may read the drive.
pub fn open_uncached(path: &Path) -> io::Result<(File, bool)> {
    let plain = open_regular(path)?;
    // What is dirty cannot be dropped.
    plain.sync_data()?;
    drop_cached(&plain)?;
    match open_as_regular(|flags| rustix::fs::open(path, flags | OFlags::DIRECT, Mode::empty())) {
        Err(error) if is_any(&error, &[Errno::INVAL, Errno::OPNOTSUPP]) => Ok((plain, false)),
        other => other.map(|file| (file, true)),
    }
}

/// Makes a file in a folder that has no name and is gone with its last user, however that ends; where
/// that is not to be had, one that has `name` for a moment.
pub fn create_nameless(folder: &Path, name: &str) -> io::Result<File> {
    let (flags, mode) = (OFlags::RDWR | OFlags::CLOEXEC, Mode::RUSR | Mode::WUSR);
    if let Ok(file) = rustix::fs::open(folder, flags | OFlags::TMPFILE, mode) {
        return Ok(file.into());
    }
    let path = folder.join(name);
    // What a run left that was killed in that moment. It never holds anything.
    if path.symlink_metadata().is_ok_and(|meta| meta.is_file() && meta.len() == 0) {
        remove_if_there(&path)?;
    }
    let made = rustix::fs::open(&path, flags | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW, mode)?;
    std::fs::remove_file(&path)?;
    Ok(made.into())
}

/// Has an open file read and written past the cache, or through it; `false` where that is refused.
pub fn pass_cache(file: &File, pass: bool) -> bool {
    let set = |flags: OFlags| match pass {
        true => rustix::fs::fcntl_setfl(file, flags | OFlags::DIRECT),
        false => rustix::fs::fcntl_setfl(file, flags - OFlags::DIRECT),
    };
    rustix::fs::fcntl_getfl(file).and_then(set).is_ok()
}

/// What the system remembers of a file's bytes is dropped, as far as it is written.
pub fn drop_cached(file: &File) -> io::Result<()> {
    Ok(rustix::fs::fadvise(file, 0, None, rustix::fs::Advice::DontNeed)?)
}

/// Gives a file room from `at` on that it keeps without being longer.
pub fn claim(file: &File, at: u64, len: u64) -> io::Result<()> {
    Ok(rustix::fs::fallocate(file, rustix::fs::FallocateFlags::KEEP_SIZE, at, len)?)
}

/// What is known of how a file system stores.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Storing {
    /// In memory: there is no drive.
    Memory,
    /// Through a program, which may hold back what it is given until it is synced.
    Program,
    /// By itself.
    Kernel,
}

/// How the file system of `path` stores.
pub fn storing(path: &Path) -> io::Result<Storing> {
    Ok(storing_of(rustix::fs::statfs(path)?))
}

fn storing_of(stat: rustix::fs::StatFs) -> Storing {
    const MEMORY: [u64; 2] = [0x0102_1994, 0x8584_58f6];
    const FUSE: u64 = 0x6573_5546;
    match stat.f_type as u64 {
        magic if MEMORY.contains(&magic) => Storing::Memory,
        FUSE => Storing::Program,
        _ => Storing::Kernel,
    }
}

/// Bytes of a file system, used and free.
pub fn size(path: &Path) -> io::Result<u64> {
    let fs = rustix::fs::statvfs(path)?;
    Ok(fs.f_blocks.saturating_mul(fs.f_frsize))
}

/// Whether what a file system holds may be gone with the power: it is memory, or an overlay, whose upper
/// folder may lie in memory.
pub fn is_volatile(path: &Path) -> io::Result<bool> {
    const OVERLAY: u64 = 0x794c_7630;
    let stat = rustix::fs::statfs(path)?;
    Ok(stat.f_type as u64 == OVERLAY || storing_of(stat) == Storing::Memory)
}

/// Drops what the system remembers of a drive whose file system is a program, which reads it as
/// anybody reads a file; whether nothing of that is left. A program without a drive that can be seen is
/// taken at its word; a file system of the kernel must lie on disks.
fn drop_cached_below(file: &File) -> io::Result<bool> {
    let device = rustix::fs::fstat(file)?.st_dev;
    let node = match storing_of(rustix::fs::fstatfs(file)?) {
        Storing::Memory => return Ok(false),
        Storing::Kernel => return Ok(block(device).is_disk()),
        Storing::Program => block(device).folder(),
    };
    let Some(node) = node.as_ref().and_then(|node| node.file_name()) else { return Ok(true) };
    let Ok(drive) = File::open(Path::new("/dev").join(node)) else { return Ok(false) };
    let is_it = rustix::fs::fstat(&drive)?.st_rdev == device;
    Ok(is_it && drop_cached(&drive).is_ok() && block(device).is_disk())
}

/// Whether what is read from `file` may come from the system's memory and nobody here can help it.
pub fn is_cached_below(file: &File) -> bool {
    !drop_cached_below(file).unwrap_or(false)
}

/// How the place where a file system is mounted looks to the system, while it is mounted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount {
    /// No other mount has this number, with kernels since 6.8; before, none at the same time.
    id: u64,
    device: u64,
    /// The disk behind it, by a number that it gets anew whenever it is plugged in; since Linux 5.15.
    pub plugged: Option<u64>,
    /// Whether there is a disk, or something that stands for one.
    pub has_disk: bool,
    /// Whether it is one, and can be seen to be unplugged: no file, memory, program or network.
    pub is_disk: bool,
}

impl Mount {
    /// Whether its disk is there, if it has one.
    pub fn is_plugged_in(&self) -> bool {
        !self.has_disk || block(self.device).is_there()
    }
}

/// The file system that is mounted just there; `None` for a folder inside one.
pub fn mounted_at(path: &Path) -> io::Result<Option<Mount>> {
    use rustix::fs::{StatxAttributes, StatxFlags};
    const UNIQUE: StatxFlags = StatxFlags::from_bits_retain(0x4000);
    let stat = rustix::fs::statx(rustix::fs::CWD, path, AtFlags::empty(), StatxFlags::MNT_ID | UNIQUE)?;
    // From the same answer: meanwhile something else may be mounted there, or nothing.
    let device = rustix::fs::makedev(stat.stx_dev_major, stat.stx_dev_minor);
    let is_root = match stat.stx_attributes_mask.contains(StatxAttributes::MOUNT_ROOT) {
        true => stat.stx_attributes.contains(StatxAttributes::MOUNT_ROOT),
        // Before Linux 5.8.
        false => rustix::fs::stat(path.join(".."))?.st_dev != device,
    };
    let disk = block(device);
    let (plugged, has_disk, is_disk) = (disk.plugged(), disk.is_there(), disk.is_disk());
    Ok(is_root.then_some(Mount { id: stat.stx_mnt_id, device, plugged, has_disk, is_disk }))
}

/// Holes that are looked for in one file; what lies behind them counts as data.
const MOST_HOLES: usize = 1 << 20;

/// The holes of a file of `size` bytes, at most `limit` of them: beyond that the smallest are
/// left out and count as data. None where the file system contradicts itself.
pub fn holes(file: &File, size: u64, limit: usize) -> io::Result<Vec<Hole>> {
    let mut holes = Vec::new();
    let mut at = 0;
    while at < size && holes.len() < MOST_HOLES {
        let hole = rustix::fs::seek(file, SeekFrom::Hole(at))?;
        if hole >= size {
            break;
        }
        let data = match rustix::fs::seek(file, SeekFrom::Data(hole)) {
            Ok(data) => data.min(size),
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

/// Sets permission bits of an open file or folder.
pub fn set_mode(fd: impl AsFd, mode: u32) -> io::Result<()> {
    Ok(rustix::fs::fchmod(fd, Mode::from_bits_truncate(mode))?)
}

/// Sets the modification time of an open file or folder; the access time becomes now.
pub fn set_mtime(fd: impl AsFd, time: Time) -> io::Result<()> {
    Ok(rustix::fs::futimens(fd, &stamps(time))?)
}

fn stamps(time: Time) -> Timestamps {
    let now = Timespec { tv_sec: 0, tv_nsec: rustix::fs::UTIME_NOW };
    Timestamps { last_access: now, last_modification: Timespec { tv_sec: time.secs, tv_nsec: time.nanos.into() } }
}

/// Takes the lock of an open file or folder without waiting; `false` if another run holds it.
/// The lock goes with the file, also when the process dies.
pub fn try_lock(fd: impl AsFd) -> io::Result<bool> {
    match rustix::fs::flock(fd, rustix::fs::FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(true),
        Err(Errno::WOULDBLOCK) => Ok(false),
        // Some network and FUSE file systems have no locks; then there is none to respect.
        Err(Errno::NOSYS | Errno::OPNOTSUPP | Errno::NOLCK) => Ok(true),
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
    if_there(std::fs::remove_file(path)).map(drop)
}

/// What came of a step with something that need not be there; `None` if it is not. Any other failure says nothing
/// about whether it is.
pub fn if_there<T>(done: io::Result<T>) -> io::Result<Option<T>> {
    match done {
        // A link where no link is followed is nothing that was looked for either.
        Err(error) if is_any(&error, &[Errno::NOENT, Errno::NOTDIR, Errno::LOOP]) => Ok(None),
        done => done.map(Some),
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
    // The names under which the kernel's block layer reports a medium.
    is_any(error, &[Errno::IO, Errno::NODATA, Errno::ILSEQ, Errno::REMOTEIO, Errno::TIMEDOUT, Errno::BADMSG])
}

/// Whether a file system refused to make what it does not hold, rather than failed.
pub fn is_refusal(error: &io::Error) -> bool {
    is_any(error, &[Errno::INVAL, Errno::NAMETOOLONG, Errno::ILSEQ, Errno::NOENT, Errno::EXIST])
        || is_any(error, &[Errno::PERM, Errno::ACCESS, Errno::OPNOTSUPP, Errno::NOSYS, Errno::MLINK, Errno::XDEV])
}

/// Whether a file has as many names as its file system holds of one.
pub fn is_out_of_names(error: &io::Error) -> bool {
    is_any(error, &[Errno::MLINK])
}

/// Whether a drive says that it is gone, as no file that is merely bad does. Others may: ENXIO is that of a
/// socket, ESTALE of one file that somebody replaced on a server.
pub fn is_of_a_gone_drive(error: &io::Error) -> bool {
    is_any(error, &[Errno::NODEV, Errno::NOTCONN, Errno::SHUTDOWN, Errno::NOMEDIUM])
}

/// Whether a write failed for want of room.
pub fn is_full(error: &io::Error) -> bool {
    is_any(error, &[Errno::NOSPC, Errno::DQUOT])
}

fn is_any(error: &io::Error, known: &[Errno]) -> bool {
    known.iter().any(|errno| error.raw_os_error() == Some(errno.raw_os_error()))
}

/// Makes the names in a folder durable.
pub fn sync_dir(path: &Path) -> io::Result<()> {
    match File::open(path)?.sync_all() {
        // exFAT and FAT over FUSE cannot sync a folder; their files are synced one by one.
        Err(error) if matches!(error.raw_os_error(), Some(22 | 38 | 95)) => Ok(()),
        other => other,
    }
}

/// Gives a file that was synced another name, durably. FAT enters a renamed file as an empty one, and
/// corrects that when the file itself is synced next.
pub fn rename_durably(from: &Path, to: &Path) -> io::Result<()> {
    std::fs::rename(from, to)?;
    File::open(to)?.sync_all()?;
    to.parent().map_or(Ok(()), sync_dir)
}

/// Makes all that was written to a file system durable. An error says that something was lost since
/// [`forget_earlier_loss`] was called with this `fd`, which must have been open since then.
pub fn sync_file_system(fd: impl AsFd) -> io::Result<()> {
    Ok(rustix::fs::syncfs(fd)?)
}

/// Makes [`sync_file_system`] speak of what is written from now on: the system keeps an error that it has told
/// no one yet, and tells it to the next who opens a file there, whoever wrote what was lost. Returns that error.
/// What an earlier run wrote is then to be read back past the cache: the system may remember it, and the disk not.
pub fn forget_earlier_loss(fd: impl AsFd) -> Option<io::Error> {
    rustix::fs::syncfs(fd).err().map(io::Error::from)
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
mod tests;
