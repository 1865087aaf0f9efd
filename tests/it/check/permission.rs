//! Files that this user may not read are neither damaged nor missing: nothing is known about them. Every command says
//! so and exits with 7, and JSON reports have a state for it.

use std::fs;
use std::path::{Path, PathBuf};

use crate::common::drive::{Cache, Drive, Fault};
use crate::common::stage::Stage;
use crate::common::tree::{only_true_files, same};
use crate::common::{Desk, Run, chmod, noise, pouch, put, run, volumes};

const NOT_FOR_YOU: &str = "could not be read by you";

/// A desk packed by root; every user may read its drives, volumes and files.
fn desk() -> Desk {
    let desk = Desk::packed();
    for drive in desk.drives() {
        chmod(&drive, 0o755);
        let volume = volumes::files(&drive).pop().unwrap();
        chmod(&volume, 0o755);
        volumes::files(&volume).iter().for_each(|file| chmod(file, 0o644));
    }
    desk
}

/// Runs a command as an ordinary user, with the key. Returns the run and the folder it unpacks or repairs into.
fn as_user(desk: &Desk, words: &[&str], drives: &[PathBuf]) -> (Run, PathBuf) {
    let target = tempfile::tempdir_in(desk.dir.path()).unwrap().keep();
    chmod(&target, 0o777);
    let mut command = pouch(words);
    command.args(drives);
    command.arg("-i").arg(desk.path("key"));
    if ["unpack", "repair"].contains(&words[0]) {
        command.arg("-o").arg(&target);
    }
    (run(desk.as_nobody(command)), target)
}

fn close(path: &Path) {
    chmod(path, 0o000);
}

fn check(desk: &Desk, more: &[&str]) -> Run {
    run(desk.as_nobody(desk.check_cmd(&desk.drives(), more)))
}

#[test]
#[cfg_attr(not(run_as_root), ignore = "needs root, to become somebody else")]
fn a_part_that_may_not_be_read_is_not_damaged() {
    let desk = desk();
    let part = volumes::parts(&desk.drives())[1].clone();
    close(&part);
    let name = volumes::name_of(&part);
    let said = check(&desk, &[]).exits(7);
    assert!(said.out.contains(": unreadable (") && said.out.contains(&format!("{name} {NOT_FOR_YOU}")), "{}", said.out);
    assert!(!said.out.contains("copy the volume again") && !said.out.contains("damaged"), "{}", said.out);
    let report = check(&desk, &["--json"]).exits(7).json();
    let hurt: Vec<_> =
        report["volumes"].as_array().unwrap().iter().filter(|one| one["state"] == "unreadable").collect();
    assert!(hurt.len() == 1 && hurt[0]["unreadable"][0]["file"] == *name, "{report}");
    let (said, target) = as_user(&desk, &["unpack"], &desk.drives());
    let said = said.exits(7);
    assert!(said.out.contains("intact    yes") && !said.out.contains("damaged"), "{said:?}");
    assert!(said.out.contains(NOT_FOR_YOU) && said.err.contains("chmod"), "{said:?}");
    only_true_files(&desk.source(), &target.join("source"));
    let report = as_user(&desk, &["unpack", "--json"], &desk.drives()).0.exits(7).json();
    assert_eq!(report["bad_parts"][0]["state"], "unreadable", "{report}");
    assert!(report["unreadable"][0].as_str().unwrap().ends_with("volume-2"), "{report}");
    let said = as_user(&desk, &["repair"], &desk.drives()).0.exits(7);
    assert!(said.err.contains(NOT_FOR_YOU), "whether a repair is needed is unknown: {}", said.err);
    // With the permission restored, the run goes on.
    let run_again = |target: &Path| run(desk.as_nobody(desk.unpack_cmd(&desk.drives(), target, &[])));
    chmod(&part, 0o644);
    run_again(&target).exits(0);
    same(&desk.source(), &target.join("source"));
}

#[test]
#[cfg_attr(not(run_as_root), ignore = "needs root, to become somebody else")]
fn what_may_not_be_written_and_a_key_of_others_are_not_to_be_made_readable() {
    let desk = desk();
    fs::create_dir(desk.path("theirs")).unwrap();
    chmod(desk.path("theirs"), 0o755);
    let denied = |run: Run, words: &str| {
        let said = run.exits(7);
        assert!(said.err.contains("Permission denied") && said.err.contains(words), "{said:?}");
        assert!(!said.err.contains("chmod"), "{said:?}");
    };
    let unpack = desk.unpack_cmd(&desk.drives(), &desk.path("theirs/out"), &[]);
    denied(run(desk.as_nobody(unpack)), "you may not write there");
    let pack = desk.pack_cmd(&[&desk.volume(1)], &[desk.path("theirs")], &[]);
    denied(run(desk.as_nobody(pack)), "you may not write there");
    denied(
        run(desk.as_nobody(pouch([Path::new("keygen"), Path::new("-o"), &desk.path("theirs/key")]))),
        "may not write",
    );
    let unpack = desk.as_nobody(desk.unpack_cmd(&desk.drives(), &desk.path("out"), &[]));
    fs::remove_dir_all(desk.path("theirs")).unwrap();
    std::os::unix::fs::chown(desk.path("key"), Some(0), None).unwrap();
    chmod(desk.path("key"), 0o600);
    denied(run(unpack), "an identity file of your own");
}

#[test]
#[cfg_attr(not(run_as_root), ignore = "needs root, to become somebody else")]
fn where_another_copy_may_be_read_it_is_used_and_the_closed_one_named() {
    for name in ["seal.age", "head.age", "list.age"] {
        let desk = desk();
        close(&desk.volume(1).join(name));
        for words in [&["unpack"][..], &["list"], &["unpack", "--salvage"]] {
            let said = as_user(&desk, words, &desk.drives()).0.exits(0);
            let named = format!("{name}: could not be used: it {NOT_FOR_YOU}");
            assert!(said.err.contains(&named), "{words:?}: {said:?}");
        }
    }
}

#[test]
#[cfg_attr(not(run_as_root), ignore = "needs root, to become somebody else")]
fn where_no_copy_may_be_read_it_is_no_damage() {
    for names in [&["seal.age", "seal2.age"][..], &["head.age", "head2.age"], &["list.age"]] {
        let desk = desk();
        for number in 1..=3 {
            names.iter().for_each(|name| close(&desk.volume(number).join(name)));
        }
        for words in [&["unpack"][..], &["list"], &["repair"], &["unpack", "--salvage"], &["check"]] {
            let said = as_user(&desk, words, &desk.drives()).0.exits(7);
            let named = if words[0] == "repair" { "volume-1" } else { names[0] };
            assert!(said.all().contains(NOT_FOR_YOU) && said.all().contains(named), "{words:?}: {said:?}");
            assert!(!said.all().contains("damaged"), "{words:?}: {said:?}");
        }
        let report = as_user(&desk, &["list", "--json"], &desk.drives()).0.exits(7).json();
        assert_eq!(report["error"]["code"], 7, "{report}");
    }
    let desk = desk();
    close(&desk.volume(1).join("SHA256SUMS"));
    let report = check(&desk, &["--json"]).exits(7).json();
    assert_eq!(report["volumes"][0]["state"], "unreadable", "{report}");
    as_user(&desk, &["unpack"], &desk.drives()).0.exits(0);
}

#[test]
#[cfg_attr(not(run_as_root), ignore = "needs root, to become somebody else")]
fn without_head_and_list_a_part_that_may_not_be_read_is_not_damaged_either() {
    let desk = desk();
    for number in 1..=3 {
        for name in ["head.age", "head2.age", "list.age"] {
            std::fs::remove_file(desk.volume(number).join(name)).unwrap();
        }
    }
    for part in volumes::parts(&desk.drives()) {
        close(&part);
        let (said, target) = as_user(&desk, &["unpack", "--salvage"], &desk.drives());
        let said = said.exits(7);
        assert!(said.err.contains(&format!("{}: {NOT_FOR_YOU}", volumes::name_of(&part))), "{said:?}");
        assert!(!said.all().contains("does not begin like"), "{said:?}");
        only_true_files(&desk.source(), &target.join("source"));
        chmod(&part, 0o644);
    }
}

#[test]
#[cfg_attr(not(run_as_root), ignore = "needs root, to become somebody else")]
fn a_folder_that_may_not_be_read_is_not_missing() {
    for mode in [0o000, 0o644] {
        let desk = desk();
        chmod(desk.volume(2), mode);
        let said = check(&desk, &[]).exits(7);
        assert!(said.out.contains("volume-2: unreadable") && said.out.matches(": whole").count() == 2, "{}", said.out);
        let (said, target) = as_user(&desk, &["unpack"], &desk.drives());
        let said = said.exits(7);
        assert!(
            said.err.contains(NOT_FOR_YOU) && said.out.contains("what you may not read may hold the rest"),
            "{said:?}"
        );
        assert!(!said.out.contains("bring volume"), "{said:?}");
        only_true_files(&desk.source(), &target.join("source"));
        as_user(&desk, &["list"], &desk.drives()).0.exits(0);
        as_user(&desk, &["repair"], &desk.drives()).0.exits(7);
        let said = as_user(&desk, &["unpack"], &[desk.volume(2)]).0.exits(7);
        assert!(said.err.contains(NOT_FOR_YOU), "{said:?}");
        let report = run(desk.as_nobody(desk.check_cmd(&[desk.volume(2)], &["--json"]))).exits(7).json();
        assert_eq!(report["volumes"][0]["state"], "unreadable", "{report}");
        chmod(desk.volume(2), 0o755);
        run(desk.as_nobody(desk.unpack_cmd(&desk.drives(), &target, &[]))).exits(0);
    }
}

#[test]
#[cfg_attr(not(run_as_root), ignore = "needs root, to become somebody else")]
fn parity_that_may_not_be_read_is_not_needed() {
    let desk = Desk::new();
    put(desk.source().join("clip"), noise(4_400_000, 1));
    run(desk.pack_cmd(&[&desk.source()], &desk.drives(), &["--lose", "1"])).exits(0);
    for file in desk.drives().iter().flat_map(|drive| volumes::files(&volumes::files(drive)[0])) {
        chmod(&file, 0o644);
    }
    (1..=3).for_each(|number| chmod(desk.volume(number), 0o755));
    chmod(desk.volume(3), 0o000);
    let (said, target) = as_user(&desk, &["unpack"], &desk.drives());
    let said = said.exits(0);
    assert!(said.err.contains(NOT_FOR_YOU), "the run reports the closed volume and delivers everything: {said:?}");
    same(&desk.source(), &target.join("source"));
}

#[test]
#[cfg_attr(not(run_as_root), ignore = "needs root, to become somebody else")]
fn loading_says_what_it_may_not_read() {
    let stage = Stage::of(1, 2_500_000);
    chmod(stage.desk.path("stage"), 0o755);
    chmod(stage.staged(1), 0o755);
    volumes::files(&stage.staged(1)).iter().for_each(|file| chmod(file, 0o644));
    let load = || run(stage.desk.as_nobody(pouch(stage.args(&stage.desk.drive(1)))));
    for name in ["000001.age", "SHA256SUMS"] {
        close(&stage.staged(1).join(name));
        let said = load().exits(7);
        assert!(said.err.contains(&format!("{name} {NOT_FOR_YOU}")), "{said:?}");
        chmod(stage.staged(1).join(name), 0o644);
    }
    chmod(stage.staged(1), 0o000);
    assert!(load().exits(7).err.contains(NOT_FOR_YOU));
    chmod(stage.staged(1), 0o755);
    load().exits(0);
    // The same holds for files that are already on the drive.
    for name in ["000001.age", "SHA256SUMS"] {
        let there = stage.loaded().join(name);
        std::os::unix::fs::chown(&there, Some(0), None).unwrap();
        close(&there);
        let said = load().exits(7);
        assert!(said.err.contains(&format!("{name} {NOT_FOR_YOU}")), "{said:?}");
        assert!(!said.err.contains("no longer what") && !said.err.contains("other things"), "{said:?}");
        chmod(&there, 0o644);
    }
    load().exits(0);
}

#[test]
fn a_drive_that_refuses_while_it_is_read_is_not_damaged_either() {
    let desk = Desk::new();
    put(desk.source().join("clip"), noise(3_300_000, 1));
    let Some(mut port) = Drive::plug(desk.path("port"), 32 << 20, Cache::WriteBack) else { return };
    run(desk.pack_cmd(&[&desk.source()], &[port.path()], &["--mend", "0"])).exits(0);
    port.replug();
    port.set(&[Fault::Gone { bytes: 2 << 20, errno: fuser::Errno::EACCES }]);
    let said = run(desk.unpack_cmd(&[port.path()], &desk.path("out"), &[]));
    let said = said.exits(7);
    assert!(said.out.contains("is not known") && !said.all().contains("damaged"), "{said:?}");
    port.set(&[]);
    port.replug();
    run(desk.unpack_cmd(&[port.path()], &desk.path("out"), &[])).exits(0);
}
