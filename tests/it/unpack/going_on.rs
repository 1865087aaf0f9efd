//! An interrupted unpacking, however it was stopped, goes on with the same command: it trusts nothing that an earlier
//! run left, loses nothing, and does not repeat work without need.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use crate::common::drive::{Cache, Drive, Fault};
use crate::common::tree::{only_true_files, same};
use crate::common::{Desk, GUARD, PART_FILE, midway, noise, pouch_raw, put, run, volumes};

mod one_port;

const STAGING: &str = ".pouch-unfinished";

/// A packed desk with a long file, links, and all kinds of small files.
fn desk() -> Desk {
    let desk = Desk::new();
    let source = desk.source();
    put(source.join("clip.mov"), noise(6_000_000, 1));
    (0..200).for_each(|n| put(source.join(format!("notes/{n}")), noise(n * 101, n as u64)));
    fs::hard_link(source.join("notes/100"), source.join("again")).unwrap();
    std::os::unix::fs::symlink("notes/1", source.join("link")).unwrap();
    fs::create_dir(source.join("empty")).unwrap();
    crate::common::chmod(source.join("notes/7"), 0o400);
    crate::common::chmod(source.join("notes"), 0o555);
    desk.pack_bare();
    desk
}

fn unpack(desk: &Desk, volumes: &[PathBuf], code: i32) -> crate::common::Run {
    run(desk.unpack_cmd(volumes, &desk.path("out"), &[])).exits(code)
}

#[track_caller]
fn is_whole(desk: &Desk) {
    same(&desk.source(), &desk.path("out/source"));
    assert_eq!(volumes::files(&desk.path("out")).len(), 1, "nothing else is left");
}

fn start(desk: &Desk, drives: &[PathBuf]) -> Child {
    let mut command = pouch_raw(["unpack"]);
    command.args(drives).arg("-i").arg(desk.path("key")).arg("-o").arg(desk.path("out"));
    command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
}

#[test]
fn drives_come_one_by_one() {
    let desk = desk();
    for drive in [3, 1] {
        let said = unpack(&desk, &[desk.drive(drive)], 3);
        assert!(said.err.contains("kept:"), "{said:?}");
        only_true_files(&desk.source(), &desk.path("out/source"));
    }
    unpack(&desk, &[desk.drive(2)], 0);
    is_whole(&desk);
}

#[test]
fn what_was_placed_is_not_read_again() {
    let desk = desk();
    unpack(&desk, &[desk.drive(1), desk.drive(2)], 3);
    // The parts of these drives are gone; only what they delivered is left.
    volumes::parts(&[desk.drive(1), desk.drive(2)]).iter().for_each(|part| fs::remove_file(part).unwrap());
    unpack(&desk, &desk.drives(), 0);
    is_whole(&desk);
}

#[test]
fn what_was_changed_meanwhile_does_not_count() {
    let desk = desk();
    unpack(&desk, &[desk.drive(1), desk.drive(3)], 3);
    let aside = volumes::files(&desk.path("out").join(STAGING).join("aside"));
    let clip =
        aside.iter().find(|file| file.metadata().unwrap().len() == 6_000_000).expect("the clip is kept, incomplete");
    // Changes every byte, so that whatever was placed is wrong now.
    let wrong: Vec<u8> = fs::read(clip).unwrap().iter().map(|byte| byte ^ 1).collect();
    fs::write(clip, wrong).unwrap();
    unpack(&desk, &desk.drives(), 0);
    is_whole(&desk);
}

#[test]
fn a_delivered_file_that_somebody_changed_is_left_alone() {
    let desk = desk();
    unpack(&desk, &[desk.drive(1)], 3);
    let file = fs::read_dir(desk.path("out/source/notes")).unwrap().map(|entry| entry.unwrap().path());
    let file = file.filter(|path| path.metadata().unwrap().len() > 0).max().expect("a note was delivered");
    // Same length, but the user's content now.
    let mine = vec![b'm'; file.metadata().unwrap().len() as usize];
    fs::write(&file, &mine).unwrap();
    let said = unpack(&desk, &desk.drives(), 2);
    assert!(said.err.contains("exists already"), "{said:?}");
    assert_eq!(fs::read(&file).unwrap(), mine);
    run(desk.unpack_cmd(&desk.drives(), &desk.path("out"), &["--overwrite"])).exits(0);
    is_whole(&desk);
}

#[test]
fn an_ordinary_user_goes_on_with_what_may_not_be_written() {
    let desk = Desk::new();
    put(desk.source().join("clip"), noise(6_000_000, 1));
    (0..20).for_each(|n| put(desk.source().join(format!("notes/{n}")), noise(999, n)));
    crate::common::chmod(desk.source().join("clip"), 0o444);
    (0..20).for_each(|n| crate::common::chmod(desk.source().join(format!("notes/{n}")), 0));
    desk.pack_bare();
    let out = desk.path("out");
    for drives in [vec![desk.drive(1)], vec![desk.drive(2)], desk.drives()] {
        let code = if drives.len() == 3 { 0 } else { 3 };
        run(desk.as_nobody(desk.unpack_cmd(&drives, &out, &[]))).exits(code);
        // Drops the last lines of the log, as a power failure can.
        let log = out.join(STAGING).join("placed");
        if let Ok(text) = fs::read_to_string(&log) {
            fs::write(&log, text.lines().take(2).map(|line| format!("{line}\n")).collect::<String>()).unwrap();
        }
    }
    same(&desk.source(), &out.join("source"));
}

#[test]
fn strangers_in_the_staging_folder_are_not_delivered() {
    let desk = desk();
    unpack(&desk, &[desk.drive(1)], 3);
    let files = desk.path("out").join(STAGING).join("files");
    put(files.join("source/notes/stranger"), "mine");
    std::os::unix::fs::symlink("/etc/passwd", files.join("source/evil")).unwrap();
    let outside = desk.path("outside");
    put(&outside, noise(6_000_000, 9));
    let aside = volumes::files(&desk.path("out").join(STAGING).join("aside"));
    let clip =
        aside.iter().find(|file| file.metadata().unwrap().len() == 6_000_000).expect("the clip is kept, incomplete");
    fs::remove_file(clip).unwrap();
    fs::hard_link(&outside, clip).unwrap();
    unpack(&desk, &desk.drives(), 0);
    is_whole(&desk);
    assert!(fs::read(&outside).unwrap() == noise(6_000_000, 9), "nothing is written through another name");
}

#[test]
fn other_work_does_not_take_the_place_of_what_is_unfinished() {
    let desk = desk();
    unpack(&desk, &[desk.drive(1)], 3);
    let said = run(desk.unpack_cmd(&desk.drives(), &desk.path("out"), &["--only", "source/notes"])).exits(2);
    assert!(said.err.contains(STAGING) && said.err.contains("hint:"), "{said:?}");
    unpack(&desk, &desk.drives(), 0);
    is_whole(&desk);
}

#[test]
fn a_damaged_part_is_made_good_by_a_later_copy() {
    let desk = desk();
    let part = volumes::parts(&desk.drives()).swap_remove(2);
    let good = fs::read(&part).unwrap();
    volumes::flip(&part, PART_FILE as usize / 2, 3);
    unpack(&desk, &desk.drives(), 4);
    fs::write(&part, good).unwrap();
    unpack(&desk, &desk.drives(), 0);
    is_whole(&desk);
}

#[test]
fn killed_at_any_instant_the_same_command_goes_on() {
    let desk = desk();
    let begun = Instant::now();
    assert!(start(&desk, &desk.drives()).wait().unwrap().success());
    let whole = begun.elapsed();
    is_whole(&desk);
    for turn in 0..12 {
        fs::remove_dir_all(desk.path("out")).unwrap();
        // Kills at moments all over the run, the last ones during delivery, and twice before the run may end.
        for kill in 0..2 {
            let mut child = start(&desk, &desk.drives());
            std::thread::sleep(whole * ((turn * 5 + kill) % 61) / 60);
            child.kill().unwrap();
            child.wait().unwrap();
        }
        let finished = desk.path("out/source").exists() && !desk.path("out").join(STAGING).exists();
        unpack(&desk, &desk.drives(), if finished { 2 } else { 0 });
        is_whole(&desk);
    }
}

#[test]
fn an_interruption_says_how_to_go_on() {
    let desk = Desk::new();
    put(desk.source().join("clip"), noise(30_000_000, 1));
    desk.pack_bare();
    let start = || {
        let _ = fs::remove_dir_all(desk.path("out"));
        let mut command = pouch_raw(["unpack"]);
        command.args(desk.drives()).arg("-i").arg(desk.path("key")).arg("-o").arg(desk.path("out")).spawn().unwrap()
    };
    let log = desk.path("out").join(STAGING).join("placed");
    // After the first line, the log has one line for each part that was placed.
    let some_are_placed = || fs::read_to_string(&log).is_ok_and(|text| text.lines().count() > 1);
    let output = midway::interrupted(start, some_are_placed);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("hint: run the same command again"), "{said}");
    let inode = fs::metadata(desk.path("out").join(STAGING).join("files/source/clip")).unwrap().ino();
    unpack(&desk, &desk.drives(), 0);
    is_whole(&desk);
    assert_eq!(
        fs::metadata(desk.path("out/source/clip")).unwrap().ino(),
        inode,
        "the second run continues the same file"
    );
}

#[test]
fn no_margin_is_claimed_for_parts_that_an_earlier_run_placed() {
    let desk = Desk::new();
    put(desk.source().join("clip.mov"), noise(2_200_000, 1));
    run(desk.pack_cmd(&[&desk.source()], &desk.drives(), &["--lose", "1"])).exits(0);
    let margin = |drives: &[PathBuf], out: &str, code| {
        run(desk.unpack_cmd(drives, &desk.path(out), &["--json"])).exits(code).json()["margin"].clone()
    };
    assert_eq!(margin(&desk.drives(), "at once", 0)["drives"], 1);
    margin(&[desk.drive(2)], "twice", 3);
    // Each of them may have been rebuilt then: whether a drive has it whole is not known.
    assert!(margin(&desk.drives(), "twice", 0).is_null());
}
