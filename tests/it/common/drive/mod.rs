//! A simulated flash drive, mounted through FUSE. It lies, forgets, fails and slows down on request while in use. The
//! kernel caches it like a real one: reads through the cache give what was written, reads past it give what is stored.
//! Names, folders and lengths of files are never lost, whatever becomes of the blocks.

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

/// When the kernel passes writes on to the drive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cache {
    /// At once, as with user-space drivers: a failing write reports its own error.
    WriteThrough,
    /// Later, on sync at the latest, as with kernel drivers: the sync reports what failed.
    WriteBack,
}

/// A drive that stays plugged in until it is dropped.
pub struct Drive {
    at: PathBuf,
    disk: Arc<Mutex<Disk>>,
    talk: Arc<Mutex<Talk>>,
    cache: Cache,
    session: Option<BackgroundSession>,
}

impl Drive {
    /// Plugs in a sound drive that claims this many bytes. Returns `None`, with a message, where FUSE cannot mount.
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

    /// Replaces the drive's faults.
    pub fn set(&self, faults: &[Fault]) {
        lock(&self.disk).device.set(faults);
    }

    /// Makes the drive lose a write, and leaves it to the next sync of the file system to report that. The drive has no
    /// faults afterwards. Needs [`Cache::WriteBack`], where the write itself succeeds.
    pub fn loses_something(&self) {
        self.set(&[Fault::FailAfter { bytes: 0, errno: fuser::Errno::EIO }]);
        let path = self.at.join("lost");
        let mut file = std::fs::File::create(&path).expect("a new file");
        file.write_all(&[1; BLOCK]).expect("the cache takes the write");
        file.sync_all().expect_err("the drive refuses the write");
        self.set(&[]);
        std::fs::remove_file(path).expect("a name can be removed");
    }

    /// Sets the drive's lies. The kernel caches no answer from now on.
    pub fn lie(&self, lies: &[Lie]) {
        let mut talk = lock(&self.talk);
        talk.lies = Some(lies.to_vec());
        talk.opened.clear();
    }

    /// Number of a file or folder, by its path below the root.
    pub fn number(&self, path: impl AsRef<Path>) -> u64 {
        let mut disk = lock(&self.disk);
        path.as_ref().iter().fold(files::TOP, |folder, name| disk.find(folder, name).expect("the path exists"))
    }

    /// Numbers of lookups and of listings since the last call.
    pub fn asked(&self) -> (u64, u64) {
        let mut talk = lock(&self.talk);
        (std::mem::take(&mut talk.looked_for), std::mem::take(&mut talk.listed))
    }

    /// Waits until a read waits at the gate.
    pub fn until_it_waits(&self) {
        super::until(|| lock(&self.disk).device.is_waited_at());
    }

    /// While the returned guard lives, every request to the drive hangs.
    pub fn hang(&self) -> impl Drop + '_ {
        Hanging(lock(&self.disk))
    }

    /// Unmounts and mounts the drive, so that the kernel has nothing of it in its cache.
    pub fn replug(&mut self) {
        self.unmount();
        self.mount().expect("it was mounted before");
    }

    /// Bytes up to the end of the highest block that was ever in use.
    pub fn reach(&self) -> u64 {
        lock(&self.disk).device.reach() * BLOCK as u64
    }

    /// Bytes that the drive claims to hold.
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

/// Holds the lock that every request needs.
struct Hanging<'a>(#[allow(dead_code)] std::sync::MutexGuard<'a, Disk>);

impl Drop for Hanging<'_> {
    fn drop(&mut self) {}
}

impl Drop for Drive {
    fn drop(&mut self) {
        self.unmount();
    }
}
