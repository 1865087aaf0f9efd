//! A flash drive of our own, mounted: it lies, forgets, fails and dawdles as it is told to, while it is
//! in use. The kernel's cache stands before it as before a real one, so that what is read through the
//! cache is what was written, and what is read past it is what is stored. What it does not do: lose
//! names, folders and lengths of files, whatever becomes of its blocks.

mod device;
mod files;
mod fuse;
mod lies;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use fuser::{BackgroundSession, Config, MountOption};

pub use device::{BLOCK, Fault};
use files::Disk;
use fuse::{Mounted, Talk, lock};
pub use lies::Lie;

/// When the kernel hands on what was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cache {
    /// At once, as drivers outside of the kernel have it: a write that fails says so itself.
    WriteThrough,
    /// Later, at the latest when synced, as those of the kernel have it: the sync says what failed.
    WriteBack,
}

/// A drive that is plugged in; gone when dropped.
pub struct Drive {
    at: PathBuf,
    disk: Arc<Mutex<Disk>>,
    talk: Arc<Mutex<Talk>>,
    cache: Cache,
    session: Option<BackgroundSession>,
}

impl Drive {
    /// A sound drive that says it holds so many bytes; `None`, said, where nothing can be mounted.
    pub fn plug(at: PathBuf, claimed: u64, cache: Cache) -> Option<Self> {
        std::fs::create_dir_all(&at).expect("a mount point");
        let owner = (rustix::process::getuid().as_raw(), rustix::process::getgid().as_raw());
        let disk = Arc::new(Mutex::new(Disk::new(claimed, owner)));
        let mut drive = Self { at, disk, talk: Arc::default(), cache, session: None };
        match drive.mount() {
            Ok(()) => Some(drive),
            Err(error) => {
                super::ignored(&format!("the right to mount with FUSE ({error})"));
                None
            }
        }
    }

    fn mount(&mut self) -> std::io::Result<()> {
        let mut config = Config::default();
        config.mount_options = vec![MountOption::FSName("pouch-test".into()), MountOption::NoAtime];
        let mounted = Mounted { disk: self.disk.clone(), talk: self.talk.clone(), cache: self.cache };
        self.session = Some(fuser::spawn_mount(mounted, &self.at, &config)?);
        Ok(())
    }

    /// From now on the drive has these faults and no others.
    pub fn set(&self, faults: &[Fault]) {
        lock(&self.disk).device.set(faults);
    }

    /// Loses something that is written to it, and nobody has asked its file system about that yet. It has no faults
    /// afterwards. Only where what is written goes there later ([`Cache::WriteBack`]).
    pub fn loses_something(&self) {
        self.set(&[Fault::FailAfter { bytes: 0, errno: fuser::Errno::EIO }]);
        let path = self.at.join("lost");
        let mut file = std::fs::File::create(&path).expect("a new file");
        file.write_all(&[1; BLOCK]).expect("it is in the cache");
        file.sync_all().expect_err("it is not on the drive");
        self.set(&[]);
        std::fs::remove_file(path).expect("a name can be removed");
    }

    /// From now on the drive says this wrongly, and the kernel remembers nothing that it says.
    pub fn lie(&self, lies: &[Lie]) {
        let mut talk = lock(&self.talk);
        talk.lies = Some(lies.to_vec());
        talk.opened.clear();
    }

    /// The number of a file or folder, by its path below the top.
    pub fn number(&self, path: impl AsRef<Path>) -> u64 {
        let mut disk = lock(&self.disk);
        path.as_ref().iter().fold(files::TOP, |folder, name| disk.find(folder, name).expect("it was made"))
    }

    /// How often names were looked for, and folders listed, since the last time.
    pub fn asked(&self) -> (u64, u64) {
        let mut talk = lock(&self.talk);
        (std::mem::take(&mut talk.looked_for), std::mem::take(&mut talk.listed))
    }

    /// Waits until something waits at the gate.
    pub fn until_it_waits(&self) {
        super::until(|| lock(&self.disk).device.is_waited_at());
    }

    /// As long as this is kept, whoever asks the drive for anything hangs.
    pub fn hang(&self) -> impl Drop + '_ {
        Hanging(lock(&self.disk))
    }

    /// Pulled out and plugged in again: the kernel remembers nothing of it.
    pub fn replug(&mut self) {
        self.unmount();
        self.mount().expect("it was mounted before");
    }

    /// Bytes from the first to behind the last that was ever in use.
    pub fn reach(&self) -> u64 {
        lock(&self.disk).device.reach() * BLOCK as u64
    }

    /// What it says it holds.
    pub fn claimed(&self) -> u64 {
        lock(&self.disk).device.room().0 * BLOCK as u64
    }

    pub fn path(&self) -> PathBuf {
        self.at.clone()
    }

    fn unmount(&mut self) {
        let Some(session) = self.session.take() else { return };
        if session.umount_and_join().is_err() {
            let _ = std::process::Command::new("umount").arg("-l").arg(&self.at).status();
        }
    }
}

/// A drive that does not answer.
struct Hanging<'a>(#[allow(dead_code)] std::sync::MutexGuard<'a, Disk>);

impl Drop for Hanging<'_> {
    fn drop(&mut self) {}
}

impl Drop for Drive {
    fn drop(&mut self) {
        self.unmount();
    }
}
