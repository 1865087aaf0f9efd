//! Sources that change, vanish or cannot be read while they are packed: the bundle is still well formed, and says
//! exactly which files differ from their source.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Output;

use crate::common::recipe::by_hand;
use crate::common::tree::{look, only_true_files, same, set_mtime};
use crate::common::{Desk, Run, chmod, is_root, midway, need, noise, pouch, pouch_raw, put, run, volumes};
use serde_json::Value;

/// A desk whose first file keeps the packer busy while later files are changed.
fn busy_desk() -> Desk {
    let desk = Desk::new();
    put(desk.source().join("a first file"), noise(60_000_000, 1));
    for name in ["grows", "shrinks", "shrinks to nothing", "vanishes", "is replaced", "is rewritten", "a FIFO", "stays"]
    {
        put(desk.source().join("later").join(name), noise(10_000, name.len() as u64));
    }
    put(desk.source().join("later/zero grows"), "");
    put(desk.source().join("later folder/inside"), "in a folder that vanishes");
    desk
}

/// Packs, and calls `change` while packing is held at its start: seals are written before the first file is read, and
/// only a part of that file was read.
fn pack_while(desk: &Desk, change: impl FnOnce()) -> Output {
    let start = || {
        (1..=3).for_each(|number| drop(fs::remove_dir_all(desk.volume(number))));
        let mut pack = pouch_raw(["pack", "--json", "-r", &desk.recipient]);
        for drive in desk.drives() {
            pack.arg("-o").arg(drive);
        }
        pack.arg(desk.source()).spawn().expect("the program starts")
    };
    let seal = desk.volume(1).join("seal.age");
    // The file takes 60 parts, and fewer than 20 more are read ahead.
    let has_just_begun = || seal.exists() && volumes::parts(&desk.drives()).len() < 20;
    let packing = midway::held(start, || seal.exists(), has_just_begun);
    change();
    packing.check_not_cancelled().wait_with_output().expect("the program ends")
}

fn fifo(path: &Path) {
    use rustix::fs::{CWD, FileType, Mode, mknodat};
    mknodat(CWD, path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).expect("a FIFO");
}

fn change_everything(later: &Path) {
    let before = look(&later.join("is rewritten"))[&b""[..]].mtime;
    fs::write(later.join("grows"), noise(20_000, 5)).unwrap();
    volumes::resize(&later.join("shrinks"), 5_000);
    volumes::resize(&later.join("shrinks to nothing"), 0);
    fs::remove_file(later.join("vanishes")).unwrap();
    put(later.join("new"), noise(10_000, 11));
    fs::rename(later.join("new"), later.join("is replaced")).unwrap();
    // Length and mtime stay the same, so only the ctime shows the change.
    put(later.join("is rewritten"), noise(10_000, 99));
    set_mtime(&later.join("is rewritten"), before);
    fs::remove_file(later.join("a FIFO")).unwrap();
    fifo(&later.join("a FIFO"));
    fs::write(later.join("zero grows"), "no longer empty").unwrap();
    fs::remove_dir_all(later.with_file_name("later folder")).unwrap();
}

/// Kinds of a report's notes by path, for files that differ from their source.
fn flaws(report: &Value) -> BTreeMap<String, String> {
    let notes = report["notes"].as_array().expect("notes").iter();
    let text = |value: &Value| value.as_str().expect("text").to_string();
    let flaws = notes.filter(|note| ["changed", "unreadable"].contains(&note["kind"].as_str().unwrap()));
    flaws.map(|note| (text(&note["path"]), text(&note["kind"]))).collect()
}

const CHANGED: [&str; 6] = ["grows", "is replaced", "is rewritten", "shrinks", "shrinks to nothing", "zero grows"];
const UNREADABLE: [&str; 3] = ["later folder/inside", "later/a FIFO", "later/vanishes"];

fn expected_flaws() -> BTreeMap<String, String> {
    let changed = CHANGED.iter().map(|name| (format!("source/later/{name}"), "changed".to_string()));
    changed.chain(UNREADABLE.iter().map(|name| (format!("source/{name}"), "unreadable".to_string()))).collect()
}

#[test]
fn every_change_while_packing_is_named_and_the_rest_is_whole() {
    let desk = busy_desk();
    let unchanged = look(&desk.source());
    let packed = pack_while(&desk, || change_everything(&desk.source().join("later")));
    let said = String::from_utf8_lossy(&packed.stderr);
    assert_eq!(packed.status.code(), Some(4), "{said}");
    let report: Value = serde_json::from_slice(&packed.stdout).unwrap();
    assert_eq!(flaws(&report), expected_flaws());
    expected_flaws().keys().for_each(|path| assert!(said.contains(path.as_str()), "{path} is named: {said}"));
    run(desk.check_cmd(&desk.drives(), &[])).exits(0);
    let target = desk.path("out");
    let report = run(desk.unpack_cmd(&desk.drives(), &target, &["--json"])).exits(4).json();
    assert_eq!(flaws(&report), expected_flaws(), "the receiver is told the same");
    let back = look(&target.join("source"));
    for path in UNREADABLE {
        assert!(!back.contains_key(path.as_bytes()), "{path} must not be delivered");
    }
    for name in [&b"a first file"[..], b"later/stays"] {
        assert_eq!(back[name], unchanged[name]);
    }
    for name in CHANGED {
        let name = format!("later/{name}").into_bytes();
        assert_eq!(back[&name].size, unchanged[&name].size, "the file has the size that was listed");
    }
}

#[test]
#[cfg_attr(not(stock_tools), ignore = "needs age, zstd, sha256sum, GNU tar, bsdtar, busybox and python3 with bagit")]
fn by_hand_exactly_the_changed_files_fail() {
    if !need(&["age", "zstd", "sha256sum", "tar"]) {
        return;
    }
    let desk = busy_desk();
    pack_while(&desk, || change_everything(&desk.source().join("later")));
    let (_, Run { out, err, .. }) = by_hand(&desk, "tar");
    let failed: Vec<&str> = out.lines().filter_map(|line| line.strip_suffix(": FAILED")).collect();
    let mut expected: Vec<String> = expected_flaws().into_keys().map(|path| format!("data/{path}")).collect();
    expected.sort();
    let mut failed: Vec<String> = failed.iter().map(|name| name.to_string()).collect();
    failed.sort();
    assert_eq!(failed, expected, "{out}{err}");
    assert!(out.contains("data/source/a first file: OK") && out.contains("manifest: 1"), "{out}{err}");
}

#[test]
fn a_large_file_that_is_written_to_while_it_is_read_is_named() {
    let desk = Desk::new();
    let clip = desk.source().join("clip");
    put(&clip, noise(60_000_000, 1));
    let packed = pack_while(&desk, || {
        use std::os::unix::fs::FileExt;
        fs::OpenOptions::new().write(true).open(&clip).unwrap().write_all_at(b"x", 59_000_000).unwrap();
    });
    assert_eq!(packed.status.code(), Some(4));
    let report: Value = serde_json::from_slice(&packed.stdout).unwrap();
    assert_eq!(flaws(&report).into_iter().collect::<Vec<_>>(), [("source/clip".into(), "changed".into())]);
    run(desk.unpack_cmd(&desk.drives(), &desk.path("out"), &[])).exits(4);
    assert_eq!(fs::metadata(desk.path("out/source/clip")).unwrap().len(), 60_000_000);
}

#[test]
fn what_an_ordinary_user_cannot_read_is_named() {
    let desk = Desk::new();
    put(desk.source().join("open"), "read me");
    put(desk.source().join("locked"), "not me");
    put(desk.source().join("locked folder/inside"), "nor me");
    chmod(desk.source().join("locked"), 0);
    chmod(desk.source().join("locked folder"), 0);
    let pack = desk.as_nobody(desk.pack_cmd(&[&desk.source()], &desk.drives(), &["--json"]));
    let packed = run(pack).exits(4);
    let report = packed.json();
    let named: Vec<String> = flaws(&report).into_keys().collect();
    assert_eq!(named, ["source/locked", "source/locked folder"], "{report}");
    run(desk.unpack_cmd(&desk.drives(), &desk.path("out"), &[])).exits(4);
    // An ordinary user may run this test, and needs access to compare.
    for place in
        [desk.source().join("locked folder"), desk.source().join("locked"), desk.path("out/source/locked folder")]
    {
        chmod(place, 0o700);
    }
    let back = only_true_files(&desk.source(), &desk.path("out/source"));
    assert_eq!(back, [b"open".to_vec()]);
}

#[test]
fn a_file_that_nobody_can_read_is_named_and_not_made_up() {
    // The system lets no user read this file, not even root.
    let unreadable = Path::new("/sys/bus/platform/drivers_probe");
    if !unreadable.exists() && !crate::common::ignored("a file that nobody can read") {
        return;
    }
    let desk = Desk::new();
    put(desk.source().join("open"), "read me");
    let packed = run(desk.pack_cmd(&[unreadable, &desk.source()], &desk.drives(), &[])).exits(4);
    assert!(packed.err.contains("drivers_probe"), "{}", packed.err);
    let target = desk.path("out");
    let said = run(desk.unpack_cmd(&desk.drives(), &target, &[])).exits(4);
    assert!(said.all().contains("drivers_probe") && !target.join("drivers_probe").exists(), "{said:?}");
    same(&desk.source(), &target.join("source"));
}

#[test]
fn fifos_sockets_and_devices_are_skipped_with_a_note() {
    let desk = Desk::new();
    put(desk.source().join("file"), "x");
    fifo(&desk.source().join("a fifo"));
    let _socket = std::os::unix::net::UnixListener::bind(desk.source().join("a socket")).unwrap();
    let mut special = vec!["a fifo", "a socket"];
    if is_root() {
        use rustix::fs::{CWD, FileType, Mode, makedev, mknodat};
        mknodat(CWD, desk.source().join("a device"), FileType::CharacterDevice, Mode::RUSR, makedev(1, 5)).unwrap();
        special.push("a device");
    }
    let packed = desk.pack();
    special.iter().for_each(|name| assert!(packed.err.contains(&format!("source/{name}")), "{}", packed.err));
    let out = desk.unpack("out").join("source");
    assert_eq!(volumes::files(&out), [out.join("file")]);
    let mut alone = pouch(["pack", "-r", &desk.recipient, "-o"]);
    alone.arg(desk.path("source")).arg(desk.source().join("a fifo"));
    let said = run(alone).exits(2);
    assert!(said.err.contains("FIFO"), "{}", said.err);
}

#[test]
fn loops_of_links_are_links() {
    let desk = Desk::new();
    put(desk.source().join("folder/file"), "x");
    symlink("..", desk.source().join("folder/up")).unwrap();
    symlink("itself", desk.source().join("itself")).unwrap();
    symlink("b", desk.source().join("a")).unwrap();
    symlink("a", desk.source().join("b")).unwrap();
    desk.pack();
    same(&desk.source(), &desk.unpack("out").join("source"));
    symlink("me", desk.path("me")).unwrap();
    run(desk.pack_cmd(&[&desk.path("me")], &[desk.path("out")], &[])).exits(2);
}

#[test]
fn packing_changes_nothing_in_the_sources_not_even_their_change_times() {
    use std::os::unix::fs::MetadataExt;
    let desk = Desk::new();
    put(desk.source().join("folder/file"), noise(1_000_000, 1));
    symlink("folder", desk.source().join("link")).unwrap();
    let stat = || {
        let names = look(&desk.source()).into_keys().map(|name| String::from_utf8(name).unwrap());
        let stat = |name: String| desk.source().join(name).symlink_metadata().unwrap();
        names.map(stat).map(|meta| (meta.ino(), meta.nlink(), meta.ctime(), meta.ctime_nsec())).collect::<Vec<_>>()
    };
    let before = (look(&desk.source()), stat());
    desk.pack();
    assert_eq!((look(&desk.source()), stat()), before);
}
