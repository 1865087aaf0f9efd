//! Traps on drives, unfit targets and a missing terminal: pouch refuses or ignores them without harm and without
//! waiting, and leaves nothing half-done.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use crate::common::tree::{look, only_true_files, same};
use crate::common::{Desk, Tmpfs, noise, pouch, put, run, volumes};
use assert_cmd::Command;

const STAGING: &str = ".pouch-unfinished";

fn fifo(path: &Path) {
    use rustix::fs::{CWD, FileType, Mode, mknodat};
    mknodat(CWD, path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).expect("a FIFO");
}

/// Limits the command to ten seconds of processor time, after which it is killed: far more than refusing a trap takes,
/// far less than believing it would.
fn soon(command: &Command) -> Command {
    let mut limited = Command::new("sh");
    limited.args(["-c", "ulimit -t 10; exec \"$@\"", "sh"]).arg(command.get_program()).args(command.get_args());
    limited
}

fn header(stanzas: &str, end: &str) -> Vec<u8> {
    format!("age-encryption.org/v1\n{stanzas}{end}").into_bytes()
}

#[test]
fn hostile_seals_are_refused_soon_and_nothing_is_written() {
    let body = "A".repeat(43);
    let stanza = format!("-> X25519 {body}\n{body}\n");
    let end = format!("--- {body}\n");
    let traps = [
        ("seal.age", header(&stanza.repeat(10_000), &end), vec![6, 8]),
        ("seal.age", header(&stanza.repeat(600), &end), vec![6, 8]),
        ("seal.age", header(&stanza, &"x".repeat(60_000)), vec![6, 8]),
        ("seal.age", header("", &"-> x\n".repeat(12_000)), vec![6, 8]),
        ("seal-p.age", header(&format!("-> scrypt {} 30\n{body}\n", "A".repeat(22)), &end), vec![6, 8]),
        ("seal.age", b"age-encryption.org/v7\n".to_vec(), vec![2]),
        ("seal.age", vec![0xff; 40_000], vec![4, 6]),
    ];
    for (number, (name, bytes, codes)) in traps.iter().enumerate() {
        let drive = Desk::new();
        put(drive.path("v").join(name), bytes);
        let mut unpack = soon(&pouch(["unpack", "-o"]));
        unpack.arg(drive.path("out")).arg(drive.path("v"));
        match *name {
            "seal-p.age" => unpack.args(["--passphrase-fd", "0"]).write_stdin(crate::common::PASSPHRASE),
            _ => unpack.arg("-i").arg(drive.path("key")),
        };
        let said = run(unpack);
        assert!(codes.contains(&said.code), "trap {number}: {said:?}");
        assert!(!drive.path("out").exists(), "trap {number}: {said:?}");
    }
}

#[test]
fn one_hostile_seal_does_not_keep_a_good_one_from_opening() {
    let desk = Desk::packed();
    put(desk.volume(1).join("seal.age"), header(&"-> x\n\n".repeat(9_000), "---"));
    put(desk.volume(2).join("head.age"), vec![0; 3_000_000]);
    same(&desk.source(), &desk.unpack("out").join("source"));
}

#[test]
fn sums_that_lead_out_of_the_volume_are_unsafe() {
    let desk = Desk::packed();
    let (sums, zeros) = (desk.volume(1).join("SHA256SUMS"), "0".repeat(64));
    let good = fs::read_to_string(&sums).unwrap();
    let many: String = (0..1_000_000).map(|n| format!("{zeros}  {n:06}.age\n")).collect();
    let traps = ["../x", "/etc/passwd", "..", "a/b", "\u{1b}[2Jx"].map(|name| format!("{good}{zeros}  {name}\n"));
    for trap in traps.iter().chain([&many]) {
        fs::write(&sums, trap).unwrap();
        let said = run(soon(&desk.check_cmd(&[desk.drive(1)], &[]))).exits(6);
        assert!(said.out.contains("unsafe"), "{}", said.out);
        run(desk.check_cmd(&[desk.drive(1)], &["--json"])).exits(6).json();
    }
    for damaged in [&good[10..], &format!("{good}{good}"), "\u{202e}\n", &good[..good.len() - 1]] {
        fs::write(&sums, damaged).unwrap();
        run(desk.check_cmd(&[desk.drive(1)], &[])).exits(4);
    }
    fs::write(&sums, "").unwrap();
    assert_ne!(run(desk.check_cmd(&[desk.drive(1)], &[])).code, 0, "an empty list proves nothing");
    same(&desk.source(), &desk.unpack("out").join("source"));
}

#[test]
fn fifos_are_not_waited_for() {
    let desk = Desk::packed();
    for file in volumes::files(&desk.volume(2)) {
        fs::remove_file(&file).unwrap();
        fifo(&file);
    }
    let said = run(desk.check_cmd(&[desk.drive(2)], &[]));
    assert!([3, 4].contains(&said.code), "{said:?}");
    run(desk.unpack_cmd(&desk.drives(), &desk.path("out"), &[])).exits(3);
    only_true_files(&desk.source(), &desk.path("out/source"));
    let alone = run(desk.unpack_cmd(&[desk.volume(2)], &desk.path("none"), &[]));
    assert!([3, 4].contains(&alone.code) && !desk.path("none").exists(), "{alone:?}");
}

#[test]
fn links_on_drives_are_not_followed() {
    let desk = Desk::packed();
    let (elsewhere, real) = (desk.path("elsewhere"), desk.volume(2));
    volumes::copy(&real, &elsewhere);
    for file in volumes::files(&real) {
        fs::remove_file(&file).unwrap();
        symlink(elsewhere.join(volumes::name_of(&file)), &file).unwrap();
    }
    assert!([3, 4].contains(&run(desk.check_cmd(&[desk.drive(2)], &[])).code));
    run(desk.unpack_cmd(&desk.drives(), &desk.path("out"), &[])).exits(3);
    let part = volumes::parts(&[desk.drive(1)])[0].clone();
    fs::remove_file(&part).unwrap();
    symlink("/dev/zero", &part).unwrap();
    run(desk.check_cmd(&[desk.drive(1)], &[])).exits(4);
    run(desk.unpack_cmd(&desk.drives(), &desk.path("out-2"), &[])).exits(3);
}

#[test]
fn odd_names_are_shown_escaped_everywhere() {
    let desk = Desk::new();
    let odd = "\u{1b}[31mred\u{202e}\n\r\u{7}";
    put(desk.source().join(odd).join(odd), noise(1_500_000, 1));
    let drive = desk.path(&format!("drive {odd}"));
    fs::create_dir(&drive).unwrap();
    let outputs = [drive.clone(), desk.drive(2)];
    let packed = run(desk.pack_cmd(&[&desk.source()], &outputs, &[])).exits(0);
    assert!(packed.all().contains("\\x1b[31mred"), "{packed:?}");
    let listed = |more: &[&str]| {
        let mut list = pouch(["list", "-i"]);
        list.arg(desk.path("key")).arg(&drive).args(more);
        run(list).exits(0)
    };
    assert!(listed(&[]).out.contains("\\x1b[31mred\\xe2\\x80\\xae\\x0a\\x0d\\x07"));
    listed(&["--json"]).json();
    volumes::flip(&volumes::parts(std::slice::from_ref(&drive))[0], 200_000, 1);
    fs::remove_dir_all(desk.drive(2).join("volume-2")).unwrap();
    for more in [&[][..], &["--json"]] {
        let target = desk.path(&format!("out {odd} {}", more.len()));
        let report = run(desk.unpack_cmd(std::slice::from_ref(&drive), &target, more)).exits(4);
        assert!(report.all().contains("\\x1b[31mred"), "{report:?}");
        let checked = run(desk.check_cmd(std::slice::from_ref(&drive), more)).exits(4);
        if !more.is_empty() {
            report.json();
            checked.json();
        }
    }
    run(desk.unpack_cmd(&[desk.path(&format!("missing {odd}"))], &desk.path("none"), &[])).exits(2);
    run(desk.unpack_cmd(&[drive], &desk.path("none"), &["--only", odd])).exits(2);
}

#[test]
fn existing_files_are_replaced_only_when_told() {
    let desk = Desk::packed();
    let target = desk.path("out");
    put(target.join("source/notes/a.txt"), "mine");
    put(target.join("source/notes/unrelated"), "mine too");
    let before = look(&target.join("source"));
    let said = run(desk.unpack_cmd(&desk.drives(), &target, &[])).exits(2);
    assert!(said.err.contains("exists") && said.err.contains("--overwrite"), "{}", said.err);
    assert_eq!(look(&target.join("source")), before, "nothing is touched");
    assert_eq!(volumes::files(&target).len(), 1, "nothing is added");
    run(desk.unpack_cmd(&desk.drives(), &target, &["--overwrite"])).exits(0);
    assert_eq!(fs::read(target.join("source/notes/a.txt")).unwrap(), b"notes");
    assert_eq!(fs::read(target.join("source/notes/unrelated")).unwrap(), b"mine too");
    assert!(!target.join(STAGING).exists());
}

#[test]
fn overwriting_that_fails_leaves_no_plaintext_lying_about() {
    let desk = Desk::packed();
    for (number, blocked) in ["source", "source/clip.mov/x", "source/notes"].iter().enumerate() {
        let target = desk.path(&format!("out-{number}"));
        put(target.join(blocked), "in the way");
        let said = run(desk.unpack_cmd(&desk.drives(), &target, &["--overwrite"]));
        assert!(said.code != 0 && said.all().contains("source"), "{blocked}: {said:?}");
        assert!(!target.join(STAGING).exists(), "{blocked}: unfinished files stay behind: {said:?}");
        assert_eq!(fs::read(target.join(blocked)).unwrap(), b"in the way", "{blocked}");
    }
}

#[test]
fn links_in_the_target_are_not_followed() {
    let desk = Desk::packed();
    let (target, elsewhere) = (desk.path("out"), desk.path("elsewhere"));
    fs::create_dir_all(&elsewhere).unwrap();
    fs::create_dir_all(target.join("source")).unwrap();
    symlink(&elsewhere, target.join("source/notes")).unwrap();
    let _ = run(desk.unpack_cmd(&desk.drives(), &target, &["--overwrite"]));
    assert_eq!(volumes::files(&elsewhere).len(), 0, "nothing is written outside the target");
    fs::remove_dir_all(&target).unwrap();
    fs::create_dir_all(&target).unwrap();
    symlink(&elsewhere, target.join(STAGING)).unwrap();
    let said = run(desk.unpack_cmd(&desk.drives(), &target, &[]));
    assert!(said.code != 0 && volumes::files(&elsewhere).is_empty(), "{said:?}");
}

#[test]
fn a_second_unpack_into_one_target_is_kept_away() {
    let desk = Desk::packed();
    let staging = desk.path("out").join(STAGING);
    put(staging.join("files/left by a run that died"), "old plaintext");
    put(staging.join("lock"), "");
    let held = fs::File::open(staging.join("lock")).unwrap();
    rustix::fs::flock(&held, rustix::fs::FlockOperation::LockExclusive).unwrap();
    let said = run(desk.unpack_cmd(&desk.drives(), &desk.path("out"), &[])).exits(2);
    assert!(said.err.contains("another pouch"), "{}", said.err);
    assert!(staging.join("files/left by a run that died").exists());
    drop(held);
    same(&desk.source(), &desk.unpack("out").join("source"));
    assert!(!staging.exists(), "what the killed run left is removed");
}

#[test]
#[cfg_attr(not(run_as_root), ignore = "needs root, to mount a tmpfs")]
fn a_target_without_room_is_refused_with_the_bytes_it_lacks() {
    let desk = Desk::packed();
    let Some(small) = Tmpfs::mount(desk.path("small"), "size=1m") else { return };
    let said = run(desk.unpack_cmd(&desk.drives(), &small.path(), &[])).exits(7);
    assert!(said.err.contains("missing") && said.err.contains("MB"), "{}", said.err);
    assert_eq!(volumes::files(&small.path()).len(), 0);
    let below = small.path().join("new folder");
    run(desk.unpack_cmd(&desk.drives(), &below, &[])).exits(7);
    assert!(!below.exists(), "the folder that the run made is removed again");
}

#[test]
#[cfg_attr(not(run_as_root), ignore = "needs root, to mount a tmpfs")]
fn a_target_that_runs_full_holds_whole_files_only() {
    let desk = Desk::new();
    // Each file takes a page of the target but next to nothing of the estimate.
    (0..500).for_each(|n| put(desk.source().join(format!("{n}")), "x"));
    desk.pack();
    for options in ["size=1m", "size=100m,nr_inodes=100"] {
        let Some(full) = Tmpfs::mount(desk.path("full"), options) else { return };
        let said = run(desk.unpack_cmd(&desk.drives(), &full.path(), &[])).exits(7);
        // Files are counted beforehand if the file system reports how many it can hold.
        let why = if options.contains("inodes") { "407 are too many" } else { "No space" };
        assert!(said.err.contains(why) && said.err.contains("hint:"), "{options}: {}", said.err);
        if full.path().join("source").exists() {
            only_true_files(&desk.source(), &full.path().join("source"));
        }
        full.grow("size=100m,nr_inodes=10000");
        run(desk.unpack_cmd(&desk.drives(), &full.path(), &[])).exits(0);
        same(&desk.source(), &full.path().join("source"));
        assert!(!full.path().join(STAGING).exists(), "{options}");
    }
}

#[test]
#[cfg_attr(not(run_as_root), ignore = "needs root, to mount a tmpfs")]
fn a_full_drive_leaves_no_volume_that_looks_complete() {
    let desk = Desk::packed();
    desk.drives().iter().for_each(|drive| fs::remove_dir_all(&volumes::files(drive)[0]).unwrap());
    for options in ["size=600k", "size=100m,nr_inodes=6"] {
        let Some(full) = Tmpfs::mount(desk.path("full"), options) else { return };
        let drives = [desk.drive(1), full.path(), desk.drive(3)];
        let more = if options.contains("600k") { vec!["--volume-size", "1500kB"] } else { vec![] };
        let said = run(desk.pack_cmd(&[&desk.source()], &drives, &more)).exits(7);
        assert!(said.err.contains("hint:"), "{}", said.err);
        if !desk.is_complete_without_a_drive(&said, &drives) {
            volumes::none_looks_complete(&drives);
            full.grow("size=100m,nr_inodes=1000");
            // The volume that did not fit was not begun.
            run(desk.pack_cmd(&[&desk.source()], &drives, &[])).exits(0);
        }
        drives.iter().for_each(|drive| fs::remove_dir_all(&volumes::files(drive)[0]).unwrap());
    }
}

#[test]
fn what_compresses_worse_than_its_samples_goes_on_with_one_more_drive() {
    let desk = Desk::new();
    // 48 MiB, sampled in 16 places: every sample sees zeros, but two thirds are noise.
    let noisy = noise(2 << 20, 5);
    let clip: Vec<u8> = (0..16).flat_map(|_| [vec![0; 1 << 20], noisy.clone()].concat()).collect();
    put(desk.source().join("clip"), clip);
    let said = run(desk.pack_cmd(&[&desk.source()], &desk.drives(), &["--volume-size", "8MB"])).exits(7);
    assert!(said.err.contains("full with") && said.err.contains("hint:"), "{}", said.err);
    volumes::none_looks_complete(&desk.drives());
    let drives: Vec<_> = (1..=6).map(|number| desk.drive(number)).collect();
    drives[3..].iter().for_each(|drive| fs::create_dir(drive).unwrap());
    let said = run(desk.pack_cmd(&[&desk.source()], &drives, &["--volume-size", "8MB", "--mend", "0"])).exits(2);
    assert!(said.err.contains("other options"), "{}", said.err);
    let said = run(desk.pack_cmd(&[&desk.source()], &drives, &["--volume-size", "8MB"])).exits(0);
    assert!(!said.out.contains("goes on"), "one stripe of 40 parts was never whole: {}", said.out);
    run(desk.unpack_cmd(&drives, &desk.path("out"), &[])).exits(0);
    same(&desk.source(), &desk.path("out/source"));
}

#[test]
fn an_existing_volume_is_left_alone() {
    let desk = Desk::packed();
    let before = look(&desk.drive(2));
    fs::remove_dir_all(desk.volume(1)).unwrap();
    fs::remove_dir_all(desk.volume(3)).unwrap();
    let said = run(desk.pack_cmd(&[&desk.source()], &desk.drives(), &[])).exits(2);
    assert!(said.err.contains("volume-2"), "{}", said.err);
    assert_eq!(look(&desk.drive(2)), before);
    fs::remove_dir_all(desk.volume(2)).unwrap();
    symlink("nowhere", desk.volume(2)).unwrap();
    run(desk.pack_cmd(&[&desk.source()], &desk.drives(), &[])).exits(2);
    assert!([1, 3].iter().all(|number| volumes::files(&desk.drive(*number)).is_empty()));
}

#[test]
fn a_target_in_or_at_a_source_is_refused() {
    let desk = Desk::packed();
    let inside = desk.source().join("notes/stage");
    fs::create_dir(&inside).unwrap();
    symlink(&inside, desk.path("link inside")).unwrap();
    let before = look(&desk.source());
    for output in [desk.source(), inside, desk.path("link inside"), desk.source().join("notes/../notes")] {
        let said = run(desk.pack_cmd(&[&desk.source()], &[output], &[])).exits(2);
        assert!(said.err.contains("source"), "{}", said.err);
    }
    run(desk.pack_cmd(&[&desk.source()], &[desk.path("no such drive")], &[])).exits(2);
    run(desk.pack_cmd(&[&desk.path("no such source")], &[desk.path("stage")], &[])).exits(2);
    assert_eq!(look(&desk.source()), before);
}
