//! `pouch load` brings to the drive exactly what was staged, however it is interrupted, and no volume looks complete
//! before the drive was read back.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Child;
use std::time::{Duration, Instant};

use crate::common::drive::{Cache, Drive};
use crate::common::stage::{MAYBE, Stage, on_a_disk, same};
use crate::common::{Run, Tmpfs, midway, pouch, pouch_raw, put, run, volumes};

impl Stage {
    fn new() -> Self {
        Self::of(2, 4_000_000)
    }

    fn args_and(&self, drive: &Path, more: &[&str]) -> Vec<PathBuf> {
        self.args(drive).into_iter().chain(more.iter().map(PathBuf::from)).collect()
    }

    /// Loads the first volume onto the first drive.
    fn load(&self, more: &[&str]) -> Run {
        run(pouch(self.args_and(&self.desk.drive(1), more)))
    }

    fn start(&self) -> Child {
        pouch_raw(self.args(&self.desk.drive(1))).spawn().unwrap()
    }

    /// Leaves the drive as an interrupted run does: with `done` files, and this many bytes of the next one. Returns all
    /// files.
    fn rewind(&self, done: usize, bytes: usize) -> Vec<PathBuf> {
        let _ = fs::remove_dir_all(self.loaded());
        fs::create_dir(self.loaded()).unwrap();
        let files = in_order(&self.staged(1));
        for file in &files[..done] {
            fs::copy(file, self.loaded().join(volumes::name_of(file))).unwrap();
        }
        let next = fs::read(&files[done]).unwrap();
        fs::write(self.loaded().join("unfinished.tmp"), &next[..bytes.min(next.len())]).unwrap();
        files
    }

    /// Checks that loading is refused and leaves the drive as it is.
    #[track_caller]
    fn refuses(&self, code: i32, words: &str) {
        let before = crate::common::tree::look(&self.desk.drive(1));
        let said = self.load(&[]).exits(code);
        assert!(said.err.contains(words), "{words}: {}", said.err);
        assert!(before == crate::common::tree::look(&self.desk.drive(1)), "{words}: the drive is left as it is");
    }
}

/// Files in the order of loading: seals, then by name, without SHA256SUMS.
fn in_order(volume: &Path) -> Vec<PathBuf> {
    let mut files = volumes::files(volume);
    files.retain(|file| !file.ends_with("SHA256SUMS"));
    files.sort_by_key(|file| !volumes::name_of(file).starts_with("seal"));
    files
}

fn inode(path: &Path) -> u64 {
    std::os::unix::fs::MetadataExt::ino(&fs::metadata(path).unwrap())
}

#[test]
fn staged_volumes_come_to_their_drives() {
    let stage = Stage::new();
    put(stage.staged(1).join("notes.txt"), "mine");
    let said = stage.load(&[]).exits(0);
    let on_disk = on_a_disk(&stage.desk.drive(1));
    let end = if on_disk { "safe to unplug once unmounted\n" } else { MAYBE };
    assert!(said.out.contains("read back") && said.out.ends_with(end), "{}", said.out);
    let note = "is on the same file system as the staged volume: is the drive mounted there?";
    assert_eq!(said.err, format!("note: {}: {note}\n", stage.desk.drive(1).display()), "no other message");
    assert!(!stage.loaded().join("notes.txt").exists(), "foreign files are not loaded");
    fs::remove_file(stage.staged(1).join("notes.txt")).unwrap();
    stage.is_loaded(&stage.desk.drive(1));
    let second = [PathBuf::from("load"), stage.staged(2), stage.desk.drive(2), "--json".into()];
    let report = run(pouch(second)).exits(0).json();
    assert_eq!((&report["command"], &report["safe_to_unplug"]), (&"load".into(), &on_disk.into()));
    let drives = [stage.desk.drive(1), stage.desk.drive(2)];
    run(stage.desk.unpack_cmd(&drives, &stage.desk.path("out"), &[])).exits(0);
    crate::common::tree::same(&stage.desk.source(), &stage.desk.path("out/source"));
    let again = stage.load(&[]).exits(0);
    assert!(again.out.contains("\nfrom an earlier run, found whole: 8 of 8 files\n"), "{}", again.out);
}

#[test]
fn the_folder_around_one_volume_will_do_and_around_two_will_not() {
    let stage = Stage::new();
    let args = [PathBuf::from("load"), stage.desk.path("stage"), stage.desk.drive(1)];
    let said = run(pouch(&args)).exits(2);
    assert!(said.err.contains("several volumes"), "{}", said.err);
    fs::rename(stage.staged(2), stage.desk.path("volume-2")).unwrap();
    run(pouch(&args)).exits(0);
    stage.is_loaded(&stage.desk.drive(1));
}

#[test]
fn it_goes_on_inside_a_file_and_keeps_what_is_whole() {
    let stage = Stage::new();
    for (done, bytes) in [(0, 0), (0, 100), (2, 700_000), (3, usize::MAX), (4, 1)] {
        let files = stage.rewind(done, bytes);
        let unfinished = inode(&stage.loaded().join("unfinished.tmp"));
        let kept: Vec<_> = files[..done].iter().map(|file| stage.loaded().join(volumes::name_of(file))).collect();
        let before: Vec<u64> = kept.iter().map(|file| inode(file)).collect();
        stage.load(&[]).exits(0);
        stage.is_loaded(&stage.desk.drive(1));
        assert_eq!(
            before,
            kept.iter().map(|file| inode(file)).collect::<Vec<_>>(),
            "whole files are not written again"
        );
        let next = inode(&stage.loaded().join(volumes::name_of(&files[done])));
        assert_eq!(next, unfinished, "the unfinished file is continued");
    }
}

#[test]
fn what_the_drive_changed_meanwhile_is_written_again() {
    let stage = Stage::new();
    let files = stage.rewind(5, 600_000);
    let damaged = stage.loaded().join(volumes::name_of(&files[3]));
    volumes::flip(&damaged, 400_000, 2);
    volumes::flip(&stage.loaded().join("unfinished.tmp"), 300_000, 2);
    let said = stage.load(&[]).exits(0);
    assert!(said.err.contains(&volumes::name_of(&files[3])) && said.err.contains("copied again"), "{}", said.err);
    stage.is_loaded(&stage.desk.drive(1));
    // The same for a volume that was complete.
    volumes::flip(&damaged, 400_000, 2);
    fs::remove_file(stage.loaded().join("list.age")).unwrap();
    let report = stage.load(&["--json"]).exits(0).json();
    assert_eq!(report["copied_again"], serde_json::json!([volumes::name_of(&files[3])]));
    stage.is_loaded(&stage.desk.drive(1));
}

#[test]
fn killed_at_any_instant_the_same_command_goes_on() {
    let stage = Stage::of(2, 40_000_000);
    let mut inside = 0;
    let mut whole = Duration::ZERO;
    for turn in 0..20u32 {
        let _ = fs::remove_dir_all(stage.loaded());
        if turn % 5 == 0 {
            // Measured again now and then, because the load of the machine changes.
            let begun = Instant::now();
            assert!(stage.start().wait_with_output().unwrap().status.success());
            whole = begun.elapsed();
            fs::remove_dir_all(stage.loaded()).unwrap();
        }
        for kill in 0..2 {
            let mut child = stage.start();
            std::thread::sleep(whole * ((turn * 7 + kill * 11) % 20) / 20);
            child.kill().unwrap();
            child.wait().unwrap();
            inside += u32::from(stage.loaded().join("unfinished.tmp").exists());
            if stage.loaded().join("SHA256SUMS").exists() {
                same(&stage.staged(1), &stage.loaded());
            }
        }
        stage.load(&[]).exits(0);
        same(&stage.staged(1), &stage.loaded());
    }
    println!("killed inside a file {inside} times");
    // Independently of timing, kills some runs inside a file.
    let start = || {
        let _ = fs::remove_dir_all(stage.loaded());
        stage.start()
    };
    let is_inside = || stage.loaded().join("unfinished.tmp").metadata().is_ok_and(|meta| meta.len() > 0);
    for _ in 0..4 {
        midway::killed(start, is_inside, is_inside);
        stage.load(&[]).exits(0);
        same(&stage.staged(1), &stage.loaded());
    }
}

#[test]
fn interrupted_it_says_so_and_can_be_gone_on_with() {
    let stage = Stage::of(2, 30_000_000);
    let start = || {
        let _ = fs::remove_dir_all(stage.loaded());
        stage.start()
    };
    let some_are_there = || ["000001.age", "000002.age"].iter().any(|name| stage.loaded().join(name).exists());
    let output = midway::interrupted(start, some_are_there);
    assert!(String::from_utf8_lossy(&output.stderr).contains("hint: run the same command again"));
    volumes::none_looks_complete(&[stage.desk.drive(1)]);
    let said = stage.load(&[]).exits(0);
    assert!(said.out.contains("from an earlier run, found whole: "), "{}", said.out);
    stage.is_loaded(&stage.desk.drive(1));
}

/// Loads, and corrupts these parts, counted from either end, before they are read back. Returns the run and their
/// names.
fn changed_on_the_way(stage: &Stage, which: &[isize], more: &[&str]) -> (Run, Vec<String>) {
    let parts: Vec<String> = volumes::files(&stage.staged(1)).iter().map(|file| volumes::name_of(file)).collect();
    let parts: Vec<&String> = parts.iter().filter(|name| name.starts_with('0')).collect();
    let at = |at: &isize| at.rem_euclid(parts.len() as isize) as usize;
    let names: Vec<String> = which.iter().map(|which| parts[at(which)].clone()).collect();
    let start = || {
        let _ = fs::remove_dir_all(stage.loaded());
        pouch_raw(stage.args_and(&stage.desk.drive(1), more)).spawn().unwrap()
    };
    let are_there = || names.iter().all(|name| stage.loaded().join(name).exists());
    // Reading back begins when all parts are there.
    let last = parts.last().expect("the volume has parts");
    let loading = midway::held(start, are_there, || are_there() && !stage.loaded().join(last).exists());
    names.iter().for_each(|name| volumes::flip(&stage.loaded().join(name), 123_456, 3));
    let output = loading.check_not_cancelled().wait_with_output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (Run { code: output.status.code().unwrap(), out: text(&output.stdout), err: text(&output.stderr) }, names)
}

#[test]
fn what_a_drive_did_not_keep_is_copied_anew_once_and_the_drive_is_named() {
    let stage = Stage::of(2, 30_000_000);
    let (said, names) = changed_on_the_way(&stage, &[1], &[]);
    let said = said.exits(0);
    let note = format!("volume-1/{}: differs from its source from byte 123,456 on, read back from the drive", names[0]);
    assert!(said.err.contains(&note), "{}", said.err);
    assert!(said.out.contains("do not trust it with the next hand-off"), "{}", said.out);
    stage.is_loaded(&stage.desk.drive(1));
    fs::remove_dir_all(stage.loaded()).unwrap();
    let (said, names) = changed_on_the_way(&stage, &[0], &["--json"]);
    let report = said.exits(0).json();
    assert_eq!((&report["changed_by_drive"], &report["verified"]), (&names[0].clone().into(), &true.into()));
    let noted =
        report["notes"].as_array().unwrap().iter().any(|note| note["path"].as_str().unwrap().ends_with(&names[0]));
    assert!(noted, "{report}");
    stage.is_loaded(&stage.desk.drive(1));
}

#[test]
fn a_drive_that_does_not_keep_what_was_written_is_given_up() {
    let stage = Stage::of(2, 30_000_000);
    let Some(_drive) = Drive::plug(stage.desk.drive(1), 128 << 20, Cache::WriteThrough) else { return };
    let (said, names) = changed_on_the_way(&stage, &[0, 3], &["--move"]);
    let said = said.exits(7);
    let file = format!("volume-1/{}", names[1]);
    for words in [&stage.desk.drive(1).display().to_string(), &file, "byte 123,456", "do not trust this drive"] {
        assert!(said.err.contains(words), "{words}: {}", said.err);
    }
    assert!(!said.out.contains("unplug"));
    volumes::none_looks_complete(&[stage.desk.drive(1)]);
    run(stage.desk.check_cmd(&[stage.staged(1)], &[])).exits(0);
    assert!(
        !volumes::files(&stage.loaded()).iter().any(|file| file.ends_with("unfinished.tmp")),
        "unfinished files are removed"
    );
}

#[test]
fn a_damaged_source_is_named_and_its_copy_never_looks_complete() {
    let stage = Stage::new();
    let part = volumes::parts(&[stage.desk.path("stage")])[0].clone();
    let (volume, name) = (part.parent().unwrap().to_path_buf(), volumes::name_of(&part));
    let load = || run(pouch([PathBuf::from("load"), volume.clone(), stage.desk.drive(1)]));
    volumes::flip(&part, 500_000, 1);
    let said = load().exits(4);
    assert!(said.err.contains(&format!("{name} has another SHA-256")), "{}", said.err);
    volumes::none_looks_complete(&[stage.desk.drive(1)]);
    volumes::flip(&part, 500_000, 1);
    load().exits(0);
    fs::remove_dir_all(volumes::files(&stage.desk.drive(1)).pop().unwrap()).unwrap();
    let sums = fs::read_to_string(volume.join("SHA256SUMS")).unwrap();
    for (text, code, words) in [
        (sums.replacen("list.age", "../list.age", 1), 6, "not safe to follow"),
        (sums.replacen("list.age", "unfinished.tmp", 1), 4, "not whole"),
        (sums[..sums.len() - 1].to_string(), 4, "cut short"),
        (" ".repeat((16 << 20) + 1), 6, "/SHA256SUMS: the size of a small file is 16777217"),
    ] {
        fs::write(volume.join("SHA256SUMS"), text).unwrap();
        let said = load().exits(code);
        assert!(said.err.contains(words), "{}", said.err);
    }
    fs::write(volume.join("SHA256SUMS"), &sums).unwrap();
    fs::rename(&part, stage.desk.path("part")).unwrap();
    let said = load().exits(4);
    assert!(said.err.contains(&format!("{name} is missing")), "{}", said.err);
    fs::rename(stage.desk.path("part"), &part).unwrap();
    fs::remove_file(volume.join("SHA256SUMS")).unwrap();
    let said = load().exits(3);
    assert!(said.err.contains("no SHA256SUMS"), "{}", said.err);
    assert_eq!(volumes::files(&stage.desk.drive(1)).len(), 0, "nothing is written");
}

#[test]
fn what_is_there_and_is_not_this_volume_is_left_alone() {
    let stage = Stage::new();
    let other = Stage::new();
    volumes::copy(&other.staged(1), &stage.loaded());
    stage.refuses(2, "its SHA256SUMS says other things");
    fs::remove_file(stage.loaded().join("SHA256SUMS")).unwrap();
    stage.refuses(2, "is not this volume");
    put(stage.loaded().join("journal"), "pouch-journal 1\n");
    stage.refuses(2, "being packed");
    fs::remove_dir_all(stage.loaded()).unwrap();
    put(stage.loaded().join("notes.txt"), "mine");
    stage.refuses(2, "none of its files");
    fs::remove_dir_all(stage.loaded()).unwrap();
    put(stage.loaded().join("unfinished.tmp"), "mine");
    stage.refuses(2, "none of its files");
    fs::remove_dir_all(stage.loaded()).unwrap();
    put(stage.loaded(), "a file");
    stage.refuses(2, "no folder");
    fs::remove_file(stage.loaded()).unwrap();
    std::os::unix::fs::symlink(stage.desk.drive(2), stage.loaded()).unwrap();
    stage.refuses(2, "no folder");
    fs::remove_file(stage.loaded()).unwrap();
    // Onto itself, into itself, and to a folder that does not exist.
    for drive in [stage.desk.path("stage"), stage.staged(1), stage.desk.path("nowhere")] {
        run(pouch(stage.args_and(&drive, &["--move"]))).exits(2);
    }
    run(stage.desk.check_cmd(&[stage.desk.path("stage")], &[])).exits(0);
}

#[test]
#[cfg_attr(not(run_as_root), ignore = "needs root, to mount a tmpfs")]
fn a_drive_without_room_is_refused_and_one_that_runs_full_is_gone_on_with() {
    let stage = Stage::of(2, 20_000_000);
    let Some(drive) = Tmpfs::mount(stage.desk.path("tight"), "size=4m") else { return };
    let load = || run(pouch(stage.args(&drive.path())));
    let said = load().exits(7);
    assert!(said.err.contains("bytes free and") && said.err.contains("bytes are needed"), "{}", said.err);
    assert_eq!(volumes::files(&drive.path()).len(), 0, "nothing is written");
    // Another program takes room while loading.
    drive.grow("size=14m");
    let volume = drive.path().join("volume-1");
    let start = || {
        let _ = fs::remove_dir_all(&volume);
        pouch_raw(stage.args(&drive.path())).spawn().unwrap()
    };
    let has_begun = || volume.exists();
    let has_just_begun = || volume.exists() && volumes::parts(&[drive.path()]).len() < 5;
    let loading = midway::held(start, has_begun, has_just_begun);
    put(drive.path().join("others"), vec![1; 4 << 20]);
    let output = loading.check_not_cancelled().wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(7), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(!drive.path().join("volume-1/SHA256SUMS").exists());
    drive.grow("size=30m");
    let said = load().exits(0);
    assert!(said.out.contains("from an earlier run, found whole: "), "{}", said.out);
    stage.is_loaded(&drive.path());
}

#[test]
fn moving_takes_away_what_was_verified_and_nothing_else() {
    let stage = Stage::new();
    let Some(_drive) = Drive::plug(stage.desk.drive(1), 64 << 20, Cache::WriteThrough) else { return };
    volumes::copy(&stage.staged(1), &stage.desk.path("kept"));
    put(stage.staged(1).join("notes.txt"), "mine");
    let said = stage.load(&["--move"]).exits(0);
    assert!(said.out.contains("but for the folder and what else is in it"), "{}", said.out);
    assert_eq!(volumes::files(&stage.staged(1)), [stage.staged(1).join("notes.txt")]);
    same(&stage.desk.path("kept"), &stage.loaded());
    // A move was interrupted while it removed files: SHA256SUMS first, then some others.
    for gone in [1, 4] {
        fs::remove_dir_all(stage.staged(1)).unwrap();
        volumes::copy(&stage.desk.path("kept"), &stage.staged(1));
        volumes::files(&stage.staged(1)).iter().take(gone).for_each(|file| fs::remove_file(file).unwrap());
        let _ = fs::remove_file(stage.staged(1).join("SHA256SUMS"));
        stage.load(&[]).exits(3);
        stage.load(&["--move"]).exits(0);
        assert!(!stage.staged(1).exists());
        same(&stage.desk.path("kept"), &stage.loaded());
        fs::create_dir(stage.staged(1)).unwrap();
    }
    // Another volume that is being staged under that name must not be removed.
    fs::remove_dir_all(stage.staged(1)).unwrap();
    let other = Stage::new();
    volumes::copy(&other.staged(1), &stage.staged(1));
    fs::remove_file(stage.staged(1).join("SHA256SUMS")).unwrap();
    let before = volumes::files(&stage.staged(1));
    let said = stage.load(&["--move"]);
    assert!(said.code != 0 && !said.err.contains("no drive seems"), "{}", said.err);
    assert_eq!(before, volumes::files(&stage.staged(1)));
}

#[test]
fn a_second_run_is_refused_and_a_dead_one_is_no_obstacle() {
    let stage = Stage::new();
    let held = fs::File::open(stage.desk.drive(1)).unwrap();
    assert!(pouch::internals::base::os::try_lock(&held).unwrap());
    stage.refuses(2, "another pouch is at work");
    drop(held);
    let mut child = stage.start();
    std::thread::sleep(Duration::from_millis(5));
    child.kill().unwrap();
    child.wait().unwrap();
    stage.load(&[]).exits(0);
    stage.is_loaded(&stage.desk.drive(1));
}
