//! File systems that a test mounts for itself and that are unmounted on drop: in memory, in an image file, and exFAT
//! through FUSE.

use std::path::PathBuf;
use std::process::Stdio;

use super::{ignored, need, until};

/// A tmpfs, unmounted on drop.
pub struct Tmpfs(PathBuf);

impl Tmpfs {
    /// `options` as mount takes them, such as `size=8m`. Returns `None`, with a message, where mounting is not allowed.
    pub fn mount(at: PathBuf, options: &str) -> Option<Self> {
        std::fs::create_dir_all(&at).expect("a mount point");
        let mut command = std::process::Command::new("mount");
        command.args(["-t", "tmpfs", "-o", options, "tmpfs"]).arg(&at);
        let mounted = command.output().is_ok_and(|output| output.status.success());
        (mounted || ignored("the right to mount a tmpfs")).then_some(Self(at))
    }

    pub fn path(&self) -> PathBuf {
        self.0.clone()
    }

    /// Remounts with other limits.
    pub fn grow(&self, options: &str) {
        let mut command = std::process::Command::new("mount");
        command.args(["-o", &format!("remount,{options}")]).arg(&self.0);
        assert!(command.status().is_ok_and(|status| status.success()), "the tmpfs can be remounted with {options}");
    }
}

impl Drop for Tmpfs {
    fn drop(&mut self) {
        let _ = std::process::Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

/// A file system of the kernel in an image file, unmounted on drop.
pub struct Image(PathBuf);

impl Image {
    /// Makes the file system with `mkfs.KIND`. Returns `None`, with a message, where it cannot be mounted.
    pub fn mount(at: PathBuf, kind: &str, mib: u32) -> Option<Self> {
        let mkfs = format!("mkfs.{kind}");
        if !need(&[&mkfs, "mount"]) {
            return None;
        }
        std::fs::create_dir_all(&at).expect("a mount point");
        let script = r#"truncate -s "$2"M "$3" && "$1" -q "$3" && mount -o loop "$3" "$4""#;
        let mut command = std::process::Command::new("bash");
        command.args(["-c", script, "bash", &mkfs, &mib.to_string()]).arg(at.with_extension("img")).arg(&at);
        if command.output().is_ok_and(|output| output.status.success()) {
            return Some(Self(at));
        }
        // `need` does not cover this: some machines lack loop devices or this file system, and no package helps.
        eprintln!("ignored: {kind} cannot be mounted on a loop device here");
        None
    }

    pub fn path(&self) -> PathBuf {
        self.0.clone()
    }
}

impl Drop for Image {
    fn drop(&mut self) {
        let _ = std::process::Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

/// An exFAT on a loop device, mounted through FUSE until dropped.
pub struct Exfat {
    at: PathBuf,
    device: String,
}

impl Exfat {
    /// Returns `None`, with a message, where it cannot be mounted.
    pub fn mount(at: PathBuf, mib: u32) -> Option<Self> {
        if !need(&["mkfs.exfat", "mount.exfat-fuse", "losetup"]) {
            return None;
        }
        std::fs::create_dir_all(&at).expect("a mount point");
        let image = at.with_extension("img");
        let script = r#"truncate -s "$1"M "$2" && mkfs.exfat "$2" >&2 && losetup -f --show "$2""#;
        let made =
            std::process::Command::new("bash").args(["-c", script, "bash", &mib.to_string()]).arg(&image).output();
        let device = made.ok().filter(|made| made.status.success()).map(|made| made.stdout).unwrap_or_default();
        let made = Self { at, device: String::from_utf8_lossy(&device).trim().to_string() };
        if !made.device.is_empty() && made.again() {
            return Some(made);
        }
        // `need` does not cover this: some machines lack loop devices or FUSE, and no package helps.
        eprintln!("ignored: exFAT cannot be mounted on a loop device here");
        None
    }

    /// Mounts the device, as on plugging in. If a program with mounts of its own started while the previous driver ran,
    /// the kernel hands out that dead mount again until the program ends, so this tries until the mount answers.
    pub fn again(&self) -> bool {
        let mount = || {
            let mut command = std::process::Command::new("mount.exfat-fuse");
            command.arg(&self.device).arg(&self.at).stdout(Stdio::null()).stderr(Stdio::null());
            command.status().is_ok_and(|status| status.success())
        };
        let mut is_mounted = mount();
        until(|| {
            let is_answered = !is_mounted || std::fs::read_dir(&self.at).is_ok();
            if !is_answered {
                self.unmount();
                is_mounted = mount();
            }
            is_answered
        });
        is_mounted
    }

    /// Detaches the device and attaches it again, as when a drive is unplugged and plugged in.
    pub fn replug(&mut self) {
        self.unmount();
        let script = r#"losetup -d "$1" && losetup -f --show "$2""#;
        let mut command = std::process::Command::new("bash");
        let plugged = command.args(["-c", script, "bash", &self.device]).arg(self.at.with_extension("img")).output();
        self.device = String::from_utf8_lossy(&plugged.expect("bash runs").stdout).trim().to_string();
        assert!(self.again(), "the device can be mounted again");
    }

    /// Unmounts the device, and with it drops the cache. Waits for programs that are using it.
    pub fn unmount(&self) {
        let umount = || std::process::Command::new("umount").arg(&self.at).stderr(Stdio::null()).status();
        until(|| umount().is_ok_and(|status| status.success()) || !self.is_mounted());
    }

    fn is_mounted(&self) -> bool {
        let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap_or_default();
        mounts.lines().any(|line| line.split(' ').nth(1) == self.at.to_str())
    }

    pub fn path(&self) -> PathBuf {
        self.at.clone()
    }
}

impl Drop for Exfat {
    fn drop(&mut self) {
        self.unmount();
        let _ = std::process::Command::new("losetup").arg("-d").arg(&self.device).status();
    }
}
