//! Packing reads back what it wrote before it calls the drives safe.

use std::path::PathBuf;
use std::process::Stdio;

use crate::common::faults::faulty;
use crate::common::{Desk, midway, noise, pouch_raw, put, run, volumes};

/// From the kernel's magic.h.
const TMPFS_MAGIC: i64 = 0x0102_1994;

#[test]
fn what_is_stored_is_said_to_be() {
    let desk = Desk::packed();
    desk.drives().iter().for_each(|drive| std::fs::remove_dir_all(&volumes::files(drive)[0]).unwrap());
    let packed = run(desk.pack_cmd(&[&desk.source()], &desk.drives(), &["--verify"])).exits(0);
    // If the temporary folder is in memory, reading back says nothing about a disk.
    let in_memory = rustix::fs::statfs(desk.drive(1)).unwrap().f_type == TMPFS_MAGIC;
    let said = if in_memory { "may have answered from memory" } else { "every byte is stored" };
    assert!(packed.out.contains(said), "{}", packed.out);
    desk.drives().iter().for_each(|drive| std::fs::remove_dir_all(&volumes::files(drive)[0]).unwrap());
    let packed = run(desk.pack_cmd(&[&desk.source()], &desk.drives(), &["--no-verify"])).exits(0);
    assert!(packed.out.contains("not read back"), "{}", packed.out);
}

#[test]
fn a_drive_that_changes_what_it_took_is_named_and_what_it_did_not_keep_is_written_anew() {
    let desk = Desk::new();
    put(desk.source().join("clip"), noise(40_000_000, 1));
    let start = || {
        [1, 2].iter().for_each(|number| drop(std::fs::remove_dir_all(desk.volume(*number))));
        let mut pack = pouch_raw(["pack", "--verify", "--mend", "0", "-r", &desk.recipient]);
        pack.arg(desk.source()).arg("-o").arg(desk.drive(1)).arg("-o").arg(desk.drive(2));
        pack.stdout(Stdio::null()).spawn().unwrap()
    };
    let part = desk.volume(1).join("000001.age");
    // Everything is read back once more after the list is written, so the part is damaged before that.
    let packing = midway::held(start, || part.exists(), || part.exists() && !desk.volume(1).join("list.age").exists());
    volumes::flip(&part, 600_000, 2);
    let output = packing.check_not_cancelled().wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(7), "{said}");
    assert!(
        ["volume-1/000001.age", "from byte 0 on", "do not trust this drive"].iter().all(|word| said.contains(word)),
        "{said}"
    );
    let drives = [desk.drive(1), desk.drive(2)];
    run(desk.check_cmd(&drives, &[])).exits(0);
    run(desk.unpack_cmd(&drives, &desk.path("out"), &[])).exits(0);
    crate::common::tree::same(&desk.source(), &desk.path("out/source"));
}

/// Packs onto two drives, with calls failing on this file of the second one.
fn pack_failing(desk: &Desk, drives: &[PathBuf; 2], file: &str, inject: &str, more: &[&str]) -> crate::common::Run {
    let more = [&["--verify", "--mend", "0"], more].concat();
    let pack = desk.pack_cmd(&[&desk.source()], drives, &more);
    run(faulty(&pack, &[drives[1].join("volume-2").join(file)], inject))
}

#[test]
#[cfg_attr(not(run_as_root), ignore = "needs root, to mount a tmpfs")]
fn a_drive_that_fails_at_the_very_last_is_given_up_and_the_others_are_complete() {
    let desk = Desk::new();
    put(desk.source().join("clip"), noise(6_000_000, 1));
    let Some(other) = crate::common::Tmpfs::mount(desk.path("other"), "size=100m") else { return };
    if !crate::common::need(&["strace"]) {
        return;
    }
    let drives = [desk.drive(1), other.path()];
    // This rename gives SHA256SUMS its name.
    let inject = "rename,renameat,renameat2:error=EROFS";
    let said = pack_failing(&desk, &drives, "unfinished-0.tmp", inject, &[]).exits(7);
    assert!(said.err.contains("other was given up") && said.err.contains("even if"), "{}", said.err);
    assert!(!other.path().join("volume-2/SHA256SUMS").exists());
    assert!(desk.is_complete_without_a_drive(&said, &drives));
    // Nor does what is left on the drive get in the way if it is handed on after all.
    let left: Vec<String> =
        volumes::files(&other.path().join("volume-2")).iter().map(|file| volumes::name_of(file)).collect();
    let is_left = |name: &str| left.iter().any(|left| left == name);
    assert!(is_left("seal.age") && !is_left("head.age") && !is_left("list.age"), "{left:?}");
    run(desk.unpack_cmd(&drives, &desk.path("out"), &[])).exits(0);
    // The JSON report has the notes of the run.
    for volume in [desk.volume(1), other.path().join("volume-2")] {
        std::fs::remove_dir_all(volume).unwrap();
    }
    let again = pack_failing(&desk, &drives, "unfinished-0.tmp", inject, &["--json"]);
    let notes = again.exits(7).json()["notes"].to_string();
    assert!(notes.contains("is given up"), "{notes}");
}

#[test]
#[cfg_attr(not(run_as_root), ignore = "needs root, to mount a tmpfs")]
fn a_drive_that_is_full_keeps_what_it_has() {
    let desk = Desk::new();
    put(desk.source().join("clip"), noise(18_000_000, 1));
    let drive = |name| crate::common::Tmpfs::mount(desk.path(name), "size=60m");
    let (Some(one), Some(other)) = (drive("one"), drive("other")) else { return };
    if !crate::common::need(&["strace"]) {
        return;
    }
    // No thread creates eight files other than parts, so the eighth call is for a part.
    let inject = "open,openat:error=ENOSPC:when=8";
    let drives = [one.path(), other.path()];
    let said = pack_failing(&desk, &drives, "unfinished.tmp", inject, &[]).exits(0);
    assert!(said.err.contains("No space left") && !said.err.contains("given up"), "{}", said.err);
    run(desk.check_cmd(&drives, &[])).exits(0);
    run(desk.unpack_cmd(&drives, &desk.path("out"), &[])).exits(0);
    crate::common::tree::same(&desk.source(), &desk.path("out/source"));
    assert!(!volumes::parts(&[other.path()]).is_empty());
}
