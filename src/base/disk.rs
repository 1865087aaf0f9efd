//! The disks below a file system, as /sys shows them: whether a person can unplug them, and whether they are disks at
//! all or stand for a file, memory or a network. Not known: the disks of a file system whose device number is its own
//! (btrfs, ZFS, overlays, network, FUSE without a block device).

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// A block device, identified by its major and minor number.
#[derive(PartialEq, Eq)]
pub(crate) struct Device {
    /// `/sys`, or a folder that stands for it in a test.
    sys: PathBuf,
    number: String,
}

impl Device {
    pub(crate) fn new(major: u32, minor: u32) -> Self {
        Self { sys: "/sys".into(), number: format!("{major}:{minor}") }
    }

    /// The device's folder in `/sys`. `None` if the system has no block device with these numbers, or no longer has it.
    pub(crate) fn folder(&self) -> Option<PathBuf> {
        self.sys.join("dev/block").join(&self.number).canonicalize().ok()
    }

    /// The folders of the disks and partitions at the bottom, below encryption, LVM or RAID. `None` if one of them was
    /// pulled out.
    pub(crate) fn below(&self) -> Option<Vec<PathBuf>> {
        let mut found = Vec::new();
        let mut left = vec![self.folder()?];
        while let Some(at) = left.pop() {
            let slaves: Vec<_> = fs::read_dir(at.join("slaves")).into_iter().flatten().collect();
            if slaves.is_empty() {
                found.push(at);
                continue;
            }
            for slave in slaves {
                left.push(slave.ok()?.path().canonicalize().ok()?);
            }
        }
        Some(found)
    }

    /// Whether a block device has these numbers, and everything below it is plugged in.
    pub(crate) fn is_there(&self) -> bool {
        self.below().is_some()
    }

    /// The folders of the disks below. A partition counts as its disk. Empty if the device is gone.
    pub(crate) fn disks(&self) -> BTreeSet<PathBuf> {
        self.below().into_iter().flatten().map(disk_of).collect()
    }

    /// Whether both lie on one disk, at least in part. Then a courier who loses one loses the other.
    pub(crate) fn shares_a_drive(&self, other: &Device) -> bool {
        self == other || !self.disks().is_disjoint(&other.disks())
    }

    /// Whether only disks are below. A device that stands for a file (loop), for memory or for a network is no disk.
    pub(crate) fn is_disk(&self) -> bool {
        let disks = self.disks();
        !disks.is_empty() && !disks.iter().any(|disk| disk.to_string_lossy().contains("/devices/virtual/block/"))
    }

    /// Whether a person can pull it out: a disk below calls itself removable, hangs on USB, or is an SD card.
    pub(crate) fn is_removable(&self) -> bool {
        self.disks().iter().any(|disk| is_removable_disk(disk))
    }

    /// The disk's sequence number, which the system gives anew each time a disk is plugged in. If several disks are
    /// below, one of them counts. `None` before Linux 5.15.
    pub(crate) fn plugged(&self) -> Option<u64> {
        let disk = disk_of(self.below()?.into_iter().next()?);
        fs::read_to_string(disk.join("diskseq")).ok()?.trim().parse().ok()
    }
}

/// Whether a person can pull out the disk with that folder.
fn is_removable_disk(disk: &Path) -> bool {
    // A card in a built-in reader does not call itself removable. Flash that is soldered in has the type MMC, not SD.
    // The path of a disk on USB leads through the folder of its bus, such as `usb2`.
    says(disk, "removable", "1") || says(disk, "device/type", "SD") || disk.to_string_lossy().contains("/usb")
}

/// Whether a file in a disk's folder holds exactly that word.
fn says(disk: &Path, file: &str, word: &str) -> bool {
    fs::read_to_string(disk.join(file)).is_ok_and(|text| text.trim() == word)
}

/// The disk of a partition, which is the folder above it. Any other folder is returned as it is.
fn disk_of(folder: PathBuf) -> PathBuf {
    match (folder.join("partition").exists(), folder.parent()) {
        (true, Some(disk)) => disk.into(),
        _ => folder,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SLOT: &str = "devices/pci0000:00/mmc_host/mmc0/mmc0:5048/block/mmcblk0";

    /// A `/sys` with these files. Each device gets its folder and the link in `dev/block` that leads there.
    fn sys(devices: &[(&str, &str)], files: &[(&str, &str)]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("dev/block")).unwrap();
        for (number, folder) in devices {
            fs::create_dir_all(dir.path().join(folder)).unwrap();
            let link = dir.path().join("dev/block").join(number);
            std::os::unix::fs::symlink(dir.path().join(folder), link).unwrap();
        }
        for (file, text) in files {
            let path = dir.path().join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        dir
    }

    fn device(sys: &tempfile::TempDir, number: &str) -> Device {
        Device { sys: sys.path().into(), number: number.into() }
    }

    #[test]
    fn a_card_in_a_built_in_reader_can_be_pulled_out_and_built_in_flash_cannot() {
        let part = format!("{SLOT}/mmcblk0p1");
        for (kind, pulled) in [("SD\n", true), ("MMC\n", false)] {
            let (kind_at, no) = (format!("{SLOT}/device/type"), format!("{SLOT}/removable"));
            let number = format!("{part}/partition");
            let sys = sys(&[("179:0", SLOT), ("179:1", &part)], &[(&kind_at, kind), (&no, "0\n"), (&number, "1\n")]);
            assert_eq!(device(&sys, "179:0").is_removable(), pulled, "{kind}");
            assert_eq!(device(&sys, "179:1").is_removable(), pulled, "{kind}, a partition");
            assert!(device(&sys, "179:1").is_disk());
        }
    }

    #[test]
    fn partitions_of_one_disk_are_one_disk_also_where_one_is_encrypted() {
        let disk = "devices/pci0000:00/ata1/block/sda";
        let (one, two) = (format!("{disk}/sda1"), format!("{disk}/sda2"));
        let (first, second) = (format!("{one}/partition"), format!("{two}/partition"));
        let (number, out) = (format!("{disk}/diskseq"), format!("{disk}/removable"));
        let devices = [("8:1", one.as_str()), ("8:2", &two), ("253:0", "devices/virtual/block/dm-0")];
        let sys = sys(&devices, &[(&first, "1"), (&second, "2"), (&number, "17\n"), (&out, "1\n")]);
        let slaves = sys.path().join("devices/virtual/block/dm-0/slaves");
        fs::create_dir(&slaves).unwrap();
        std::os::unix::fs::symlink(sys.path().join(&two), slaves.join("sda2")).unwrap();
        for number in ["8:1", "8:2", "253:0"] {
            let device = device(&sys, number);
            assert_eq!(device.disks().into_iter().collect::<Vec<_>>(), [sys.path().join(disk).canonicalize().unwrap()]);
            assert!(device.is_disk() && device.is_removable() && device.plugged() == Some(17), "{number}");
        }
        fs::remove_dir_all(sys.path().join(&two)).unwrap();
        assert_eq!(device(&sys, "253:0").below(), None, "it was pulled out below");
    }

    #[test]
    fn what_stands_for_a_file_or_for_memory_is_no_disk() {
        let sys = sys(&[("7:0", "devices/virtual/block/loop0"), ("1:0", "devices/virtual/block/ram0")], &[]);
        for number in ["7:0", "1:0", "0:55"] {
            assert!(!device(&sys, number).is_disk(), "{number}");
        }
    }
}
