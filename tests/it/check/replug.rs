//! `pouch check --after-replug` waits until the drive was unplugged and plugged in again. Its report then tells what
//! the drive stores, not what a cache remembers of it.

use std::fs;
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::process::{Child, ChildStderr};

use rustix::process::{Pid, Signal};

use crate::common::drive::{Cache, Drive, Fault};
use crate::common::{Desk, Exfat, noise, pouch_raw, put, run};

/// The report's words about a drive that only stands in for a real one, as all drives of these tests do.
const SAID: &str = "read after mounting anew what is no drive that can be seen to be unplugged (a file, memory, a program, a network): \
a cache below may have answered";
const PLUGGED: &str = "plugged in again";

/// A desk, and a drive that had these faults while it was packed.
fn packed(faults: &[Fault]) -> Option<(Desk, Drive)> {
    let desk = Desk::new();
    put(desk.source().join("clip.mov"), noise(2_200_000, 1));
    let drive = Drive::plug(desk.drive(1), 32 << 20, Cache::WriteBack)?;
    drive.set(faults);
    run(desk.pack_cmd(&[&desk.source()], &[drive.path()], &["--no-verify"])).exits(0);
    Some((desk, drive))
}

/// A check that waits for its drive to be replugged.
struct Waiting {
    child: Child,
    said: BufReader<ChildStderr>,
}

impl Waiting {
    fn start(path: &Path, more: &[&str]) -> Self {
        let mut child = pouch_raw(["check", "--after-replug"]).args(more).arg(path).spawn().unwrap();
        let said = BufReader::new(child.stderr.take().unwrap());
        let mut waiting = Self { child, said };
        waiting.hears("unplug it, plug it in again");
        waiting
    }

    /// Reads the next line of standard error and checks that it has these words.
    #[track_caller]
    fn hears(&mut self, words: &str) {
        let mut line = String::new();
        self.said.read_line(&mut line).unwrap();
        assert!(line.contains(words), "{words}: {line}");
    }

    /// Waits for the end. Returns the exit code and standard output.
    fn ends(mut self) -> (Option<i32>, String) {
        let mut out = String::new();
        self.child.stdout.take().unwrap().read_to_string(&mut out).unwrap();
        (self.child.wait().unwrap().code(), out)
    }
}

#[test]
fn it_waits_and_reads_what_the_drive_holds() {
    let Some((_desk, mut drive)) = packed(&[]) else { return };
    for path in [drive.path(), drive.path().join("volume-1")] {
        let mut waiting = Waiting::start(&path, &[]);
        drive.replug();
        waiting.hears(&drive.path().display().to_string());
        let (code, out) = waiting.ends();
        assert!(code == Some(0) && out.contains("volume-1: whole") && out.contains(SAID), "{code:?} {out}");
        assert!(!out.contains(PLUGGED), "{out}");
    }
    let waiting = Waiting::start(&drive.path(), &["--json"]);
    drive.replug();
    let (code, out) = waiting.ends();
    let report: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!((code, &report["read"]), (Some(0), &SAID.into()));
    assert_eq!((&report["replugged"], &report["remounted"]), (&false.into(), &true.into()));
    assert_eq!(report["volumes"][0]["past_cache"], false);
}

#[test]
fn what_only_the_cache_holds_is_found_missing() {
    // These blocks are in the second part. Seals and journal, which lie before it, are read back even with
    // `--no-verify`.
    let Some((desk, mut drive)) = packed(&[Fault::Lose(300..304)]) else { return };
    let checked = run(desk.check_cmd(&[drive.path()], &["--json"])).exits(0);
    assert_eq!(checked.json()["replugged"], false);
    assert_eq!(
        checked.json()["volumes"][0]["past_cache"],
        false,
        "the check read from memory and does not claim otherwise"
    );
    assert!(!checked.out.contains(SAID));
    let waiting = Waiting::start(&drive.path(), &[]);
    drive.replug();
    let (code, out) = waiting.ends();
    assert!(code == Some(4) && out.contains("damaged"), "{code:?} {out}");
}

#[test]
fn interrupted_while_it_waits_it_has_checked_nothing() {
    let Some((_desk, drive)) = packed(&[]) else { return };
    let waiting = Waiting::start(&drive.path(), &[]);
    rustix::process::kill_process(Pid::from_child(&waiting.child), Signal::INT).unwrap();
    assert_eq!(waiting.ends(), (Some(130), String::new()));
}

#[test]
fn a_folder_that_is_no_drive_is_refused() {
    let desk = Desk::packed();
    for path in [desk.volume(1), desk.path("source/notes"), "/".into(), desk.path("nowhere")] {
        let said = run(desk.check_cmd(std::slice::from_ref(&path), &["--after-replug"])).exits(2);
        assert!(said.err.contains(&path.display().to_string()) && said.err.contains("neither"), "{}", said.err);
    }
    fs::remove_dir_all(desk.drive(1)).unwrap();
}

#[test]
#[cfg_attr(not(run_as_root), ignore = "needs root, to attach loop devices")]
fn a_drive_that_was_only_mounted_again_was_not_plugged_in() {
    let desk = Desk::new();
    put(desk.source().join("clip.mov"), noise(2_200_000, 1));
    let Some(mut stick) = Exfat::mount(desk.path("stick"), 64) else { return };
    run(desk.pack_cmd(&[&desk.source()], &[stick.path()], &[])).exits(0);
    let mut waiting = Waiting::start(&stick.path(), &[]);
    stick.unmount();
    waiting.hears("gone");
    assert!(stick.again());
    waiting.hears("not unplugged");
    stick.replug();
    // The check may or may not have noticed that the drive was gone in between: lines about that are skipped.
    let mut said = String::new();
    while !said.contains("mounted again; it is no drive") {
        said.clear();
        assert!(waiting.said.read_line(&mut said).unwrap() > 0, "the check ended without noticing the new mount");
    }
    let (code, out) = waiting.ends();
    assert!(code == Some(0) && out.contains(SAID), "{code:?} {out}");
}

/// Flips a bit of the image where `like` is stored, behind the back of the mounted file system.
fn change(image: &Path, like: &[u8]) {
    let mut stored = fs::read(image).unwrap();
    let at = stored.windows(like.len()).position(|window| window == like).expect("it is stored in one piece");
    stored[at] ^= 1;
    let mut file = fs::OpenOptions::new().write(true).open(image).unwrap();
    file.seek(SeekFrom::Start(at as u64)).and_then(|_| file.write_all(&stored[at..at + 1])).unwrap();
    file.sync_all().unwrap();
}

#[test]
#[cfg_attr(not(run_as_root), ignore = "needs root, to attach loop devices and to read them")]
fn what_the_system_remembers_of_a_drive_below_its_file_system_is_not_taken_for_the_drive() {
    let desk = Desk::new();
    put(desk.source().join("clip.mov"), noise(2_200_000, 1));
    fs::create_dir(desk.path("stage")).unwrap();
    let more = ["--volumes", "1", "--volume-size", "200MB"];
    run(desk.pack_cmd(&[&desk.source()], &[desk.path("stage")], &more)).exits(0);
    let Some(stick) = Exfat::mount(desk.path("stick"), 64) else { return };
    let load = || run(crate::common::pouch([Path::new("load"), &desk.path("stage/volume-1"), &stick.path()])).exits(0);
    load();
    let part = fs::read(stick.path().join("volume-1/000001.age")).unwrap();
    change(&desk.path("stick.img"), &part[..4096]);
    let again = load();
    assert!(again.err.contains("000001.age: is no longer what an earlier run wrote"), "{}", again.all());
}

#[test]
fn with_a_key_parts_are_opened_as_the_drive_stores_them() {
    let Some((desk, mut drive)) = packed(&[]) else { return };
    let key = desk.path("key").display().to_string();
    let check = |drive: &mut Drive| {
        let mut waiting = Waiting::start(&drive.path(), &["-i", &key]);
        drive.replug();
        // This line reports the drive as gone or as back.
        waiting.hears(&drive.path().display().to_string());
        waiting.ends()
    };
    let (code, out) = check(&mut drive);
    assert!(code == Some(0) && out.contains("every part opens to its end"), "{code:?} {out}");
    let volume = drive.path().join("volume-1");
    crate::common::volumes::flip(&volume.join("000002.age"), 184 + 65_552 + 1, 0);
    crate::common::volumes::resum(&volume);
    let (code, out) = check(&mut drive);
    let words = "  000002.age does not open with the bundle's key in chunk 2 of 15\n";
    assert!(code == Some(4) && out.contains("volume-1: damaged") && out.contains(words), "{code:?} {out}");
}
