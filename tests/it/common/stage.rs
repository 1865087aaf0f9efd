//! Staged volumes, to be loaded onto drives.

use std::fs;
use std::path::{Path, PathBuf};

use super::{Desk, noise, put, run, volumes};

/// End of the message where it is unknown whether the drive was read or the cache.
pub const MAYBE: &str = "may have answered from memory: `pouch check --after-replug` shows what is stored\n";

/// A desk with staged volumes in `stage/`.
pub struct Stage {
    pub desk: Desk,
}

impl Stage {
    /// Stages this many volumes, with `len` bytes of noise in all.
    pub fn of(volumes: u32, len: usize) -> Self {
        let desk = Desk::new();
        put(desk.source().join("clip"), noise(len, 3));
        fs::create_dir(desk.path("stage")).expect("a new folder");
        let more = ["--volumes", &volumes.to_string(), "--volume-size", "200MB", "--mend", "0"];
        run(desk.pack_cmd(&[&desk.source()], &[desk.path("stage")], &more)).exits(0);
        Self { desk }
    }

    pub fn staged(&self, number: u32) -> PathBuf {
        self.desk.path("stage").join(format!("volume-{number}"))
    }

    /// Arguments that load the first volume onto a drive.
    pub fn args(&self, drive: &Path) -> Vec<PathBuf> {
        vec!["load".into(), self.staged(1), drive.to_path_buf()]
    }

    /// The first volume once it is loaded onto the first drive.
    pub fn loaded(&self) -> PathBuf {
        self.desk.volume(1)
    }

    /// Checks that the first volume is on this drive, and whole.
    #[track_caller]
    pub fn is_loaded(&self, drive: &Path) {
        same(&self.staged(1), &drive.join("volume-1"));
        run(self.desk.check_cmd(&[drive.to_path_buf()], &[])).exits(0);
    }
}

/// Checks that both folders hold the same files.
#[track_caller]
pub fn same(one: &Path, other: &Path) {
    let names = |dir: &Path| volumes::files(dir).iter().map(|file| volumes::name_of(file)).collect::<Vec<_>>();
    assert_eq!(names(one), names(other));
    for name in names(one) {
        assert!(fs::read(one.join(&name)).unwrap() == fs::read(other.join(&name)).unwrap(), "{name}");
    }
}

/// Whether a folder's file system is on a block device. File systems without one, such as tmpfs and overlayfs, have the
/// major number 0.
pub fn on_a_disk(folder: &Path) -> bool {
    rustix::fs::major(rustix::fs::stat(folder).unwrap().st_dev) != 0
}
