//! `pouch load` onto drives that fail, are pulled out or are exFAT, and onto folders that are no drives.

use std::fs;
use std::path::{Path, PathBuf};

use crate::common::drive::{Cache, Drive};
use crate::common::faults::faulty;
use crate::common::stage::{MAYBE, Stage, on_a_disk};
use crate::common::{Exfat, Run, Tmpfs, midway, need, pouch, pouch_raw, run, until, volumes};

impl Stage {
    /// Loads anew onto the first drive, with these system calls failing on these paths.
    fn failing(&self, paths: &[PathBuf], inject: &str) -> Run {
        let _ = fs::remove_dir_all(self.loaded());
        run(faulty(&pouch(self.args(&self.desk.drive(1))), paths, inject))
    }

    /// The paths that loading writes to: the folder, and files that do not have their names yet.
    fn written_to(&self) -> Vec<PathBuf> {
        let unfinished = (0..5).map(|dead| self.loaded().join(pouch::internals::format::unfinished(dead)));
        [self.loaded()].into_iter().chain(unfinished).collect()
    }
}

#[test]
fn where_one_place_of_the_drive_fails_a_file_is_written_in_another() {
    if !need(&["strace"]) {
        return;
    }
    let stage = Stage::of(1, 2_000_000);
    let load = |inject: &str| stage.failing(&stage.written_to(), inject);
    // Some closes are of a folder, or of a file that was only synced.
    for (calls, when) in
        [("write", 9..10), ("fsync,fdatasync", 9..10), ("rename,renameat,renameat2", 3..4), ("close", 5..12)]
    {
        let mut anew = 0;
        for when in when {
            let said = load(&format!("{calls}:error=EIO:when={when}")).exits(0);
            anew += usize::from(said.err.contains("one place of the drive failed"));
            stage.is_loaded(&stage.desk.drive(1));
            fs::remove_dir_all(stage.loaded()).unwrap();
        }
        assert!(anew > 0, "{calls}");
    }
    let said = load("fsync,fdatasync:error=EIO:when=5+").exits(7);
    assert!(said.err.contains("hint: run the same command again"), "{}", said.err);
    volumes::none_looks_complete(&[stage.desk.drive(1)]);
    assert!(
        !volumes::files(&stage.loaded()).iter().any(|file| file.ends_with("unfinished.tmp")),
        "unfinished files are removed"
    );
    run(pouch(stage.args(&stage.desk.drive(1)))).exits(0);
    stage.is_loaded(&stage.desk.drive(1));
    // After a file system reported a loss, the run claims nothing about it.
    load("syncfs:error=EIO").exits(7);
    volumes::none_looks_complete(&[stage.desk.drive(1)]);
}

#[test]
fn what_a_drive_cannot_read_is_copied_anew_once() {
    if !need(&["strace"]) {
        return;
    }
    let stage = Stage::of(1, 2_000_000);
    let part = [stage.loaded().join("000002.age")];
    let said = stage.failing(&part, "read:error=EIO:when=1").exits(0);
    assert!(said.err.contains("volume-1/000002.age: cannot be read"), "{}", said.err);
    assert!(said.out.contains("do not trust it with the next hand-off"), "{}", said.out);
    stage.is_loaded(&stage.desk.drive(1));
    let said = stage.failing(&part, "read:error=EIO").exits(7);
    assert!(said.err.contains("cannot be read") && said.err.contains("do not trust this drive"), "{}", said.err);
    volumes::none_looks_complete(&[stage.desk.drive(1)]);
}

#[test]
fn a_source_that_cannot_be_read_is_not_blamed_on_the_drive() {
    if !need(&["strace"]) {
        return;
    }
    let stage = Stage::of(1, 2_000_000);
    let part = stage.staged(1).join("000002.age");
    for (calls, when) in [("read", "1"), ("read", "2+"), ("open", "1+")] {
        let said = stage.failing(std::slice::from_ref(&part), &format!("{calls}:error=EIO:when={when}")).exits(7);
        let named = format!("pouch: cannot read {}", part.display());
        assert!(said.err.contains(&named) && !said.err.contains("trust"), "{calls} {when}: {}", said.err);
        volumes::none_looks_complete(&[stage.desk.drive(1)]);
    }
    run(pouch(stage.args(&stage.desk.drive(1)))).exits(0);
    stage.is_loaded(&stage.desk.drive(1));
}

/// The FUSE driver of a file system, which this test started by mounting it.
fn driver(of: &Path) -> rustix::process::Pid {
    let is_it = |pid: &i32| {
        let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let mut words = line.split(|byte| *byte == 0);
        words.next().is_some_and(|program| program.ends_with(b"exfat-fuse"))
            && words.any(|word| word == of.as_os_str().as_encoded_bytes())
    };
    let processes =
        fs::read_dir("/proc").unwrap().filter_map(|entry| entry.unwrap().file_name().to_str()?.parse().ok());
    rustix::process::Pid::from_raw(processes.into_iter().find(is_it).unwrap()).unwrap()
}

#[test]
fn an_exfat_drive_takes_a_volume_also_when_it_was_pulled_out_meanwhile() {
    let stage = Stage::of(1, 20_000_000);
    let Some(drive) = Exfat::mount(stage.desk.path("exfat"), 60) else { return };
    let said = run(pouch(stage.args(&drive.path()))).exits(0);
    // The driver reads through the system's cache even when asked not to, and the device below is a file.
    assert!(said.out.ends_with(MAYBE), "{}", said.out);
    assert_eq!(said.err, "", "no note, as the drive is a file system of its own");
    drive.unmount();
    assert!(drive.again());
    stage.is_loaded(&drive.path());
    fs::remove_dir_all(drive.path().join("volume-1")).unwrap();
    let volume = drive.path().join("volume-1");
    let start = || {
        let _ = fs::remove_dir_all(&volume);
        pouch_raw(stage.args(&drive.path())).spawn().unwrap()
    };
    let some_are_there = || volume.join("000005.age").exists();
    let is_midway = || some_are_there() && !volume.join("list.age").exists();
    let loading = midway::held(start, some_are_there, is_midway);
    rustix::process::kill_process(driver(&drive.path()), rustix::process::Signal::KILL).unwrap();
    until(|| fs::read_dir(drive.path()).is_err());
    let output = loading.check_not_cancelled().wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(7), "{said}");
    assert!(said.contains("hint: run the same command again once that is mended"), "{said}");
    drive.unmount();
    assert!(drive.again());
    assert!(!drive.path().join("volume-1/SHA256SUMS").exists());
    let said = run(pouch(stage.args(&drive.path()))).exits(0);
    assert!(said.out.contains("from an earlier run, found whole: "), "{}", said.out);
    drive.unmount();
    assert!(drive.again());
    stage.is_loaded(&drive.path());
}

#[test]
#[cfg_attr(not(run_as_root), ignore = "needs root, to mount a tmpfs")]
fn a_drive_without_room_for_more_files_is_gone_on_with() {
    let stage = Stage::of(1, 2_000_000);
    let Some(drive) = crate::common::Tmpfs::mount(stage.desk.path("few"), "size=20m,nr_inodes=6") else { return };
    let said = run(pouch(stage.args(&drive.path()))).exits(7);
    assert!(said.err.contains("hint: free room where "), "{}", said.err);
    drive.grow("nr_inodes=60");
    run(pouch(stage.args(&drive.path()))).exits(0);
    stage.is_loaded(&drive.path());
    // On a read-only mount, a loaded volume can be checked, but none can be loaded.
    drive.grow("ro");
    run(pouch(stage.args(&drive.path()))).exits(0);
    drive.grow("rw");
    fs::remove_dir_all(drive.path().join("volume-1")).unwrap();
    drive.grow("ro");
    run(pouch(stage.args(&drive.path()))).exits(7);
}

const NO_DRIVE: &str = "no drive seems to be mounted there";

fn moving(stage: &Stage, drive: &Path) -> assert_cmd::Command {
    let mut command = pouch(stage.args(drive));
    command.arg("--move");
    command
}

/// Checks that moving there is refused and changes nothing, while loading there works.
#[track_caller]
fn is_not_moved(stage: &Stage, drive: &Path, why: &str) {
    let said = run(moving(stage, drive)).exits(2);
    let named = said.err.contains(&format!("{} is {why}: {NO_DRIVE}", drive.display()));
    assert!(named && said.err.contains("without --move"), "{}", said.err);
    assert_eq!(volumes::files(drive).len(), 0, "nothing is written");
    run(stage.desk.check_cmd(&[stage.staged(1)], &[])).exits(0);
    run(pouch(stage.args(drive))).exits(0);
    stage.is_loaded(drive);
}

#[test]
fn nothing_is_moved_to_the_file_system_it_is_on() {
    let stage = Stage::of(1, 2_000_000);
    is_not_moved(&stage, &stage.desk.drive(1), "on the same file system as the staged volume");
}

#[test]
#[cfg_attr(not(run_as_root), ignore = "needs root, to mount a tmpfs")]
fn nothing_is_moved_to_memory_or_to_the_system_itself() {
    let stage = Stage::of(1, 2_000_000);
    let Some(memory) = Tmpfs::mount(stage.desk.path("memory"), "size=64m") else { return };
    if on_a_disk(&stage.staged(1)) {
        is_not_moved(&stage, &memory.path(), "in memory, or may be");
        let said = run(pouch(stage.args(&memory.path()))).exits(0);
        assert!(said.out.ends_with(MAYBE), "{}", said.out);
        fs::remove_dir_all(memory.path().join("volume-1")).unwrap();
        let packed = stage.desk.pack_cmd(&[&stage.desk.source()], &[memory.path()], &["--verify", "--mend", "0"]);
        let packed = run(packed).exits(0);
        assert!(packed.out.contains("may have answered from memory") && !packed.out.contains("safe"), "{}", packed.out);
    }
    // The volume is now staged on another file system than the system's.
    let Some(elsewhere) = Drive::plug(stage.desk.path("elsewhere"), 64 << 20, Cache::WriteThrough) else { return };
    volumes::copy(&stage.staged(1), &elsewhere.path().join("volume-1"));
    fs::remove_dir_all(stage.desk.path("stage")).unwrap();
    std::os::unix::fs::symlink(elsewhere.path(), stage.desk.path("stage")).unwrap();
    let home = stage.desk.path("drive-2");
    if !on_a_disk(&home) {
        return;
    }
    let mut command = moving(&stage, &home);
    command.env("HOME", home.as_os_str());
    let said = run(command).exits(2);
    assert!(said.err.contains("on the file system of this machine's own files"), "{}", said.err);
    assert_eq!(volumes::files(&home).len(), 0, "nothing is written");
}

#[test]
fn a_moving_whose_end_fails_says_that_the_volume_is_on_the_drive() {
    if !need(&["strace"]) {
        return;
    }
    let stage = Stage::of(1, 2_000_000);
    let Some(_drive) = Drive::plug(stage.desk.drive(1), 64 << 20, Cache::WriteThrough) else { return };
    volumes::copy(&stage.staged(1), &stage.desk.path("kept"));
    let mut load = pouch(stage.args(&stage.desk.drive(1)));
    load.args(["--move", "--json"]);
    let said = run(faulty(&load, &[stage.staged(1).join("000002.age")], "unlink,unlinkat:error=EIO")).exits(7);
    let report = said.json();
    assert!(report["not_removed"].as_str().unwrap().contains("000002.age"), "{report}");
    assert_eq!((&report["verified"], &report["removed"]), (&true.into(), &false.into()));
    crate::common::stage::same(&stage.desk.path("kept"), &stage.loaded());
    // The rest of the staged volume has no SHA256SUMS, and the whole volume is on the drive.
    let said = run(pouch(stage.args(&stage.desk.drive(1)))).exits(3);
    assert!(said.err.contains("the rest of a volume that was moved there, say --move"), "{}", said.err);
    let mut again = pouch(stage.args(&stage.desk.drive(1)));
    again.arg("--move");
    run(again).exits(0);
    assert!(!stage.staged(1).exists());
    crate::common::stage::same(&stage.desk.path("kept"), &stage.loaded());
}
