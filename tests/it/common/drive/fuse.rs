//! Passes the kernel's FUSE requests on to the [`Disk`].

use std::collections::HashMap;
use std::ffi::OsStr;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use fuser::{
    BsdFileFlags, Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags, Generation, INodeNo, InitFlags,
    KernelConfig, LockOwner, OpenFlags, RenameFlags, ReplyAttr, ReplyCreate, ReplyData, ReplyDirectory, ReplyEmpty,
    ReplyEntry, ReplyLseek, ReplyOpen, ReplyStatfs, ReplyWrite, Request, TimeOrNow, WriteFlags,
};

use super::Cache;
use super::device::{BLOCK, Work};
use super::files::{Disk, TOP};
use super::lies::{self, Lie};

/// Names and lengths change through the kernel only, so it may cache them this long.
const REMEMBERED: Duration = Duration::from_secs(3600);

/// A disk as the kernel sees it.
pub struct Mounted {
    pub disk: Arc<Mutex<Disk>>,
    pub talk: Arc<Mutex<Talk>>,
    pub cache: Cache,
}

/// The lies to tell the kernel, and counts of what it asked.
#[derive(Default)]
pub struct Talk {
    /// With `Some`, even of no lies, the kernel caches nothing.
    pub lies: Option<Vec<Lie>>,
    /// Lookups of names.
    pub looked_for: u64,
    /// Listings of folders; a long one takes several requests and counts more than once.
    pub listed: u64,
    /// How often each folder was opened for listing since the lies were set.
    pub opened: HashMap<u64, u64>,
}

impl Mounted {
    /// The lies to tell now.
    fn lies(&self) -> Vec<Lie> {
        lock(&self.talk).lies.clone().unwrap_or_default()
    }

    /// How long the kernel may cache an answer.
    fn remembered(&self) -> Duration {
        if lock(&self.talk).lies.is_some() { Duration::ZERO } else { REMEMBERED }
    }

    /// Runs a request on the disk. A slow device makes the caller wait.
    fn with<T>(&self, work: Work, deal: impl FnOnce(&mut Disk) -> Result<T, Errno>) -> Result<T, Errno> {
        let (until, done) = {
            let mut disk = lock(&self.disk);
            (disk.device.admit(work)?, deal(&mut disk)?)
        };
        std::thread::sleep(until.saturating_duration_since(Instant::now()));
        Ok(done)
    }

    /// Whether the kernel may cache a file that is opened now.
    fn remembering(&self) -> FopenFlags {
        match lock(&self.disk).device.is_uncached() {
            true => FopenFlags::FOPEN_DIRECT_IO,
            false => FopenFlags::FOPEN_KEEP_CACHE,
        }
    }

    fn make(&self, req: &Request, parent: INodeNo, name: &OsStr, folder: bool, mode: u32) -> Result<FileAttr, Errno> {
        self.with(Work::Name, |disk| {
            let number = disk.make(parent.0, name, folder, mode, (req.uid(), req.gid()))?;
            disk.attr(number)
        })
    }
}

pub fn lock<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

fn entry(made: Result<FileAttr, Errno>, remembered: Duration, reply: ReplyEntry) {
    match made {
        Ok(attr) => reply.entry(&remembered, &attr, Generation(0)),
        Err(errno) => reply.error(errno),
    }
}

fn empty(done: Result<(), Errno>, reply: ReplyEmpty) {
    match done {
        Ok(()) => reply.ok(),
        Err(errno) => reply.error(errno),
    }
}

impl Filesystem for Mounted {
    fn init(&mut self, _req: &Request, config: &mut KernelConfig) -> io::Result<()> {
        if self.cache == Cache::WriteBack {
            let refused = config.add_capabilities(InitFlags::FUSE_WRITEBACK_CACHE);
            return refused.map_err(|flags| io::Error::other(format!("the kernel lacks {flags:?}")));
        }
        Ok(())
    }

    fn lookup(&self, _req: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        lock(&self.talk).looked_for += 1;
        match self.with(Work::Name, |disk| disk.find(parent.0, name).and_then(|number| disk.attr(number))) {
            Ok(attr) => reply.entry(&self.remembered(), &lies::named(&self.lies(), attr), Generation(0)),
            Err(errno) => reply.error(errno),
        }
    }

    fn getattr(&self, _req: &Request, ino: INodeNo, _fh: Option<FileHandle>, reply: ReplyAttr) {
        match self.with(Work::Name, |disk| disk.attr(ino.0)) {
            Ok(attr) => reply.attr(&self.remembered(), &lies::asked(&self.lies(), attr)),
            Err(errno) => reply.error(errno),
        }
    }

    fn setattr(
        &self,
        _req: &Request,
        ino: INodeNo,
        mode: Option<u32>,
        uid: Option<u32>,
        gid: Option<u32>,
        size: Option<u64>,
        _atime: Option<TimeOrNow>,
        mtime: Option<TimeOrNow>,
        _ctime: Option<SystemTime>,
        _fh: Option<FileHandle>,
        _crtime: Option<SystemTime>,
        _chgtime: Option<SystemTime>,
        _bkuptime: Option<SystemTime>,
        _flags: Option<BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        let done = self.with(Work::Name, |disk| {
            if let Some(size) = size {
                disk.resize(ino.0, size)?;
            }
            let node = disk.node(ino.0)?;
            node.mode = mode.map_or(node.mode, |mode| mode as u16 & 0o7777);
            node.owner = (uid.unwrap_or(node.owner.0), gid.unwrap_or(node.owner.1));
            node.mtime = match mtime {
                Some(TimeOrNow::SpecificTime(time)) => time,
                Some(TimeOrNow::Now) => SystemTime::now(),
                None => node.mtime,
            };
            disk.attr(ino.0)
        });
        match done {
            Ok(attr) => reply.attr(&self.remembered(), &attr),
            Err(errno) => reply.error(errno),
        }
    }

    fn mkdir(&self, req: &Request, parent: INodeNo, name: &OsStr, mode: u32, umask: u32, reply: ReplyEntry) {
        entry(self.make(req, parent, name, true, mode & !umask), self.remembered(), reply);
    }

    fn create(
        &self,
        req: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        umask: u32,
        _flags: i32,
        reply: ReplyCreate,
    ) {
        let made = self.make(req, parent, name, false, mode & !umask);
        match made.and_then(|attr| lock(&self.disk).open(attr.ino.0).map(|()| attr)) {
            Ok(attr) => {
                let keep = self.remembering();
                reply.created(&self.remembered(), &attr, Generation(0), FileHandle(0), keep);
            }
            Err(errno) => reply.error(errno),
        }
    }

    fn unlink(&self, _req: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        empty(self.with(Work::Name, |disk| disk.remove(parent.0, name, false)), reply);
    }

    fn rmdir(&self, _req: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        empty(self.with(Work::Name, |disk| disk.remove(parent.0, name, true)), reply);
    }

    fn rename(
        &self,
        _req: &Request,
        parent: INodeNo,
        name: &OsStr,
        newparent: INodeNo,
        newname: &OsStr,
        flags: RenameFlags,
        reply: ReplyEmpty,
    ) {
        let replace = !flags.contains(RenameFlags::RENAME_NOREPLACE);
        if flags.contains(RenameFlags::RENAME_EXCHANGE) {
            return reply.error(Errno::EINVAL);
        }
        empty(self.with(Work::Name, |disk| disk.rename((parent.0, name), (newparent.0, newname), replace)), reply);
    }

    fn open(&self, _req: &Request, ino: INodeNo, _flags: OpenFlags, reply: ReplyOpen) {
        match self.with(Work::Name, |disk| disk.open(ino.0)) {
            // Unless the drive is uncached, the kernel keeps what it has cached of the file.
            Ok(()) => reply.opened(FileHandle(0), self.remembering()),
            Err(errno) => reply.error(errno),
        }
    }

    fn release(
        &self,
        _req: &Request,
        ino: INodeNo,
        _fh: FileHandle,
        _flags: OpenFlags,
        _lock_owner: Option<LockOwner>,
        _flush: bool,
        reply: ReplyEmpty,
    ) {
        empty(lock(&self.disk).close(ino.0), reply);
    }

    fn flush(&self, _req: &Request, _ino: INodeNo, _fh: FileHandle, _lock_owner: LockOwner, reply: ReplyEmpty) {
        reply.ok();
    }

    fn readlink(&self, _req: &Request, _ino: INodeNo, reply: ReplyData) {
        reply.data(b"");
    }

    fn lseek(&self, _req: &Request, ino: INodeNo, _fh: FileHandle, _offset: i64, _whence: i32, reply: ReplyLseek) {
        match lies::stands_still(&self.lies(), ino.0) {
            Some(at) => reply.offset(at),
            None => reply.error(Errno::ENOSYS),
        }
    }

    fn read(
        &self,
        _req: &Request,
        ino: INodeNo,
        _fh: FileHandle,
        offset: u64,
        size: u32,
        _flags: OpenFlags,
        _lock_owner: Option<LockOwner>,
        reply: ReplyData,
    ) {
        while lock(&self.disk).device.is_shut() {
            std::thread::sleep(Duration::from_millis(1));
        }
        match self.with(Work::Read(size.into()), |disk| disk.read(ino.0, offset, size as usize)) {
            Ok(bytes) => reply.data(&bytes),
            Err(errno) => reply.error(errno),
        }
    }

    fn write(
        &self,
        _req: &Request,
        ino: INodeNo,
        _fh: FileHandle,
        offset: u64,
        data: &[u8],
        _write_flags: WriteFlags,
        _flags: OpenFlags,
        _lock_owner: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        match self.with(Work::Write(data.len() as u64), |disk| disk.write(ino.0, offset, data)) {
            Ok(()) => reply.written(data.len() as u32),
            Err(errno) => reply.error(errno),
        }
    }

    fn fsync(&self, _req: &Request, ino: INodeNo, _fh: FileHandle, _datasync: bool, reply: ReplyEmpty) {
        empty(self.with(Work::Name, |disk| disk.sync(ino.0)), reply);
    }

    fn fallocate(
        &self,
        _req: &Request,
        ino: INodeNo,
        _fh: FileHandle,
        offset: u64,
        length: u64,
        mode: i32,
        reply: ReplyEmpty,
    ) {
        const KEEP_SIZE: i32 = 1;
        match mode {
            KEEP_SIZE => empty(self.with(Work::Name, |disk| disk.claim(ino.0, offset, length)), reply),
            _ => reply.error(Errno::EOPNOTSUPP),
        }
    }

    fn fsyncdir(&self, _req: &Request, _ino: INodeNo, _fh: FileHandle, _datasync: bool, reply: ReplyEmpty) {
        empty(self.with(Work::Name, |_| Ok(())), reply);
    }

    fn opendir(&self, _req: &Request, ino: INodeNo, _flags: OpenFlags, reply: ReplyOpen) {
        let mut talk = lock(&self.talk);
        let times = talk.opened.entry(ino.0).or_default();
        *times += 1;
        reply.opened(FileHandle(*times), FopenFlags::empty());
    }

    fn readdir(&self, _req: &Request, ino: INodeNo, fh: FileHandle, offset: u64, mut reply: ReplyDirectory) {
        let names = match self.with(Work::Name, |disk| disk.list(ino.0)) {
            Ok(names) => names,
            Err(errno) => return reply.error(errno),
        };
        lock(&self.talk).listed += 1;
        let lies = self.lies();
        let dots = [".", ".."].map(|name| (name.into(), TOP, FileType::Directory));
        let end = lies::breaks_off(&lies, ino.0).map_or(usize::MAX, |names| dots.len() + names);
        if offset as usize >= end {
            return reply.error(Errno::EIO);
        }
        let first = (fh == FileHandle(1)).then_some(ino.0);
        if first.is_some() && lies::changes(&lies, ino.0) {
            lock(&self.disk).node(ino.0).expect("the folder was just listed").mtime = SystemTime::now();
        }
        let told = dots.into_iter().chain(lies::told(&lies, first, names)).enumerate();
        for (at, (name, number, kind)) in told.take(end).skip(offset as usize) {
            if reply.add(INodeNo(number), at as u64 + 1, kind, &name) {
                break;
            }
        }
        reply.ok();
    }

    fn statfs(&self, _req: &Request, _ino: INodeNo, reply: ReplyStatfs) {
        match self.with(Work::Name, |disk| Ok(disk.device.room())) {
            Ok((all, free)) => reply.statfs(all, free, free, 1 << 20, 1 << 20, BLOCK as u32, 255, BLOCK as u32),
            Err(errno) => reply.error(errno),
        }
    }
}
