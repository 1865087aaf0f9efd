//! Unpacking onto a file system that cannot hold every name, link, time or number of files: exFAT through FUSE, ext4
//! and XFS on loop devices, memory, and a simulated drive.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{Duration, UNIX_EPOCH};

use crate::common::drive::{Cache, Drive, Fault};
use crate::common::{Desk, Exfat, Image, Tmpfs, noise, put, run};

/// A packed desk with names and links of all kinds. What exFAT can hold is below `plain`.
fn desk() -> Desk {
    let desk = Desk::new();
    let at = |path: &str| desk.source().join(path);
    put(at("plain/read me.txt"), "plain");
    put(at("plain/caf\u{e9}.txt"), "composed");
    put(at("odd/a:b"), "colon");
    put(at("odd/100%?"), "percent");
    put(at("odd/README"), "upper");
    put(at("odd/readme"), "lower");
    put(at("odd/Dir/x"), "in Dir");
    put(at("odd/dir/x"), noise(1_500_000, 3));
    put(at("odd/tab\there/y"), "in a folder with a tab");
    put(at("odd/\u{6f22}").with_file_name("\u{6f22}".repeat(85)), "long");
    put(at("odd/z"), "linked");
    std::fs::hard_link(at("odd/z"), at("odd/*first")).unwrap();
    std::os::unix::fs::symlink("z", at("odd/link")).unwrap();
    put(at("odd").join(<std::ffi::OsStr as std::os::unix::ffi::OsStrExt>::from_bytes(b"\xff")), "no UTF-8");
    desk.pack_bare();
    desk
}

/// All files below a folder, with their content.
fn files(root: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut todo = vec![root.to_owned()];
    while let Some(folder) = todo.pop() {
        for child in std::fs::read_dir(folder).unwrap().map(|child| child.unwrap().path()) {
            if child.is_dir() {
                todo.push(child);
            } else {
                let name = child.strip_prefix(root).unwrap().to_str().unwrap().to_string();
                found.insert(name, std::fs::read(child).unwrap());
            }
        }
    }
    found
}

/// The number of folders at and below this one.
fn folders(root: &Path) -> usize {
    let children = std::fs::read_dir(root).unwrap().map(|child| child.unwrap().path());
    1 + children.filter(|child| child.is_dir()).map(|child| folders(&child)).sum::<usize>()
}

#[test]
#[cfg_attr(not(run_as_root), ignore = "needs root, to attach loop devices")]
fn holes_take_room_where_a_file_system_has_none() {
    let desk = Desk::new();
    let Some(stick) = Exfat::mount(desk.path("stick"), 32) else { return };
    put(desk.source().join("sparse"), noise(2_000_000, 1));
    let sparse = std::fs::OpenOptions::new().write(true).open(desk.source().join("sparse")).unwrap();
    sparse.set_len(60_000_000).unwrap();
    run(desk.pack_cmd(&[&desk.source()], &[desk.drive(1)], &["--mend", "0"])).exits(0);
    let target = stick.path().join("out");
    let full = run(desk.unpack_cmd(&[desk.drive(1)], &target, &[])).exits(7);
    assert!(full.err.contains("takes 60.0 MB") && !target.exists(), "{}", full.err);
    run(desk.unpack_cmd(&[desk.drive(1)], &desk.path("out"), &[])).exits(0);
}

#[test]
fn what_cannot_be_kept_is_named_before_anything_is_written() {
    let desk = desk();
    let Some(drive) = Exfat::mount(desk.path("exfat"), 64) else { return };
    let target = drive.path().join("out");
    let refused = run(desk.unpack_cmd(&desk.drives(), &target, &[])).exits(2);
    for said in [
        "source/odd/a:b: the target refuses names with :",
        "source/odd/readme: the target takes it and source/odd/README for one",
        "source/odd/dir: the target takes it and source/odd/Dir for one",
        "source/odd/tab\\x09here: ",
        "source/odd/\\xff: the target refuses names that are no UTF-8",
        "source/odd/link: the target cannot hold this symlink",
        "source/odd/z: the target cannot hold this hard link to source/odd/*first",
        "--rename",
    ] {
        assert!(refused.err.contains(said), "{said} in\n{}", refused.err);
    }
    assert!(!refused.err.contains("plain") && !refused.err.contains('\u{6f22}'), "{}", refused.err);
    assert_eq!(std::fs::read_dir(drive.path()).unwrap().count(), 0, "nothing is left, not even of the trial");
    run(desk.unpack_cmd(&desk.drives(), &target, &["--only", "source/plain"])).exits(0);
    drive.unmount();
    assert!(drive.again());
    assert_eq!(files(&target).len(), 2, "every file is still there when the drive comes back");
}

#[test]
fn renamed_all_is_there_and_the_file_leads_back() {
    let desk = desk();
    let Some(drive) = Exfat::mount(desk.path("exfat"), 64) else { return };
    let target = drive.path().join("out");
    put(target.join("pouch-renamed.txt"), "mine");
    let report = run(desk.unpack_cmd(&desk.drives(), &target, &["--rename", "--json"])).exits(4).json();
    let record = target.join("pouch-renamed-2.txt");
    assert_eq!(report["renamed_in"], record.to_str().unwrap());
    let lost: Vec<&str> = report["lost"].as_array().unwrap().iter().filter_map(|lost| lost["path"].as_str()).collect();
    assert_eq!((lost, report["delivered"] == report["files"]), (vec!["source/odd/link"], true));
    // No item has its old mode, and neither do copies of hard links.
    let items = files(&target.join("source")).len() + folders(&target.join("source"));
    assert_eq!(report["otherwise"]["modes"], items);
    drive.unmount();
    assert!(drive.again());
    let mut there = files(&target);
    assert!(!target.join(".pouch-unfinished").exists(), "nothing else is left");
    assert_eq!(there.remove("pouch-renamed.txt").unwrap(), b"mine", "nothing is replaced");
    let record = String::from_utf8(there.remove("pouch-renamed-2.txt").unwrap()).unwrap();
    // Folders come first, because files below them are looked for under their new names.
    let renamed =
        record.lines().filter_map(|line| line.strip_prefix("renamed\t")).filter_map(|line| line.split_once('\t'));
    let back: Vec<(String, &str)> = renamed.map(|(old, new)| (new.to_string(), old)).collect();
    let mut originals: BTreeMap<String, Vec<u8>> = BTreeMap::new();
    for (path, content) in there {
        let exact = back.iter().find(|(new, _)| *new == path).map(|(_, old)| old.to_string());
        let within =
            back.iter().find_map(|(new, old)| Some(format!("{old}/{}", path.strip_prefix(&format!("{new}/"))?)));
        originals.insert(exact.or(within).unwrap_or(path), content);
    }
    let said = [
        "odd/a:b",
        "odd/100%?",
        "odd/README",
        "odd/readme",
        "odd/dir/x",
        "odd/tab\\x09here/y",
        "odd/z",
        "odd/*first",
        "odd/\\xff",
    ];
    for path in said {
        let source = path.replace("\\x09", "\t");
        let source = match path.ends_with("\\xff") {
            true => b"no UTF-8".to_vec(),
            false => std::fs::read(desk.source().join(source)).unwrap(),
        };
        assert_eq!(originals.get(&format!("source/{path}")), Some(&source), "{path} in {record}");
    }
    assert!(record.contains("\nsymlink left out\tsource/odd/link\tz\n"), "{record}");
    assert!(record.contains("\ncopied\tsource/odd/z\tsource/odd/z\n"), "{record}");
}

/// How many items at and below two places differ in mode, and how many in time.
fn otherwise(a: &Path, b: &Path) -> (u64, u64) {
    let (old, new) = (a.metadata().unwrap(), b.metadata().unwrap());
    let mode = old.mode() & 0o777 != new.mode() & 0o777;
    let time = (old.mtime(), old.mtime_nsec()) != (new.mtime(), new.mtime_nsec());
    let children = old.is_dir().then(|| std::fs::read_dir(a).unwrap()).into_iter().flatten();
    let names = children.map(|child| child.unwrap().file_name());
    names.fold((mode.into(), time.into()), |(modes, times), name| {
        let below = otherwise(&a.join(&name), &b.join(&name));
        (modes + below.0, times + below.1)
    })
}

#[test]
fn what_becomes_of_modes_and_times_is_counted() {
    let desk = Desk::new();
    for (name, nanos) in [("whole", 0), ("half", 500_000_000), ("fine", 7)] {
        put(desk.source().join(name), name);
        let file = std::fs::File::options().write(true).open(desk.source().join(name)).unwrap();
        file.set_modified(UNIX_EPOCH + Duration::new(1_000_000_000, nanos)).unwrap();
    }
    std::fs::set_permissions(desk.source().join("fine"), std::os::unix::fs::PermissionsExt::from_mode(0o640)).unwrap();
    desk.pack_bare();
    let told = |target: &Path| {
        let report = run(desk.unpack_cmd(&desk.drives(), target, &["--json"])).exits(0).json();
        let (there, said) = (report["otherwise"].clone(), report["notes"].to_string());
        let number = |what: &str| there[what].as_u64().unwrap();
        assert_eq!((number("modes"), number("times")), otherwise(&desk.source(), &target.join("source")), "{report}");
        assert_eq!(number("clamped"), 0);
        assert_eq!(said.contains(" have another mode there"), number("modes") > 0, "{said}");
        assert_eq!(said.contains("cannot keep: they are off by up to 1 second"), number("times") > 0, "{said}");
        (number("modes"), number("times"), number("off_by_ns"))
    };
    assert_eq!(told(&desk.path("home")), (0, 0, 0), "a target that keeps everything causes no notes");
    let Some(drive) = Exfat::mount(desk.path("exfat"), 64) else { return };
    let (modes, times, off) = told(&drive.path().join("out"));
    assert!(modes > 0 && times >= 2 && (500_000_000..1_000_000_000).contains(&off), "{modes} {times} {off}");
}

#[test]
fn an_interrupted_unpacking_renames_the_same_way() {
    let desk = desk();
    let Some(drive) = Exfat::mount(desk.path("exfat"), 64) else { return };
    let target = drive.path().join("out");
    let part = crate::common::volumes::files(&desk.drives()[1]).len();
    assert!(part > 0, "the second drive holds files");
    let first = run(desk.unpack_cmd(&desk.drives()[..1], &target, &["--rename"]));
    assert!(matches!(first.code, 3 | 4) && target.join(".pouch-unfinished").exists(), "{first:?}");
    let again = run(desk.unpack_cmd(&desk.drives(), &target, &["--rename"])).exits(4);
    assert!(again.out.contains("complete") && !target.join(".pouch-unfinished").exists(), "{}", again.all());
    assert!(!target.join("pouch-renamed-2.txt").exists(), "one record is enough");
    let there = files(&target);
    assert_eq!(there["source/odd/dir%~2/x"], noise(1_500_000, 3));
    assert_eq!((&*there["source/odd/z"], &*there["source/odd/%2Afirst"]), (&b"linked"[..], &b"linked"[..]));
}

/// For each file with names in this folder, the number of those names.
fn names_of_files(folder: &Path) -> Vec<usize> {
    let mut names: BTreeMap<u64, usize> = BTreeMap::new();
    for child in std::fs::read_dir(folder).unwrap().map(|child| child.unwrap()) {
        *names.entry(child.metadata().unwrap().ino()).or_default() += 1;
    }
    names.into_values().collect()
}

#[test]
fn a_file_with_more_names_than_the_target_holds_is_copied() {
    const NAMES: usize = 65_001;
    let desk = Desk::new();
    let Some(memory) = Tmpfs::mount(desk.path("memory"), "size=64m") else { return };
    let Some(ext4) = Image::mount(desk.path("ext4"), "ext4", 64) else { return };
    let source = memory.path().join("links");
    put(source.join("n00000"), "content");
    (1..NAMES).for_each(|at| std::fs::hard_link(source.join("n00000"), source.join(format!("n{at:05}"))).unwrap());
    run(desk.pack_cmd(&[&source], &[desk.drive(1)], &["--mend", "0"])).exits(0);
    let target = ext4.path().join("out");
    let refused = run(desk.unpack_cmd(&[desk.drive(1)], &target, &[])).exits(2);
    assert!(refused.err.contains("links/n65000: the target holds at most 65,000 names of one file"), "{}", refused.err);
    assert!(!target.exists(), "refused before the first byte");
    run(desk.unpack_cmd(&[desk.drive(1)], &target, &["--rename"])).exits(0);
    assert_eq!(names_of_files(&target.join("links")), [NAMES - 1, 1]);
    assert_eq!(std::fs::read(target.join("links/n65000")).unwrap(), b"content");
    let record = std::fs::read_to_string(target.join("pouch-renamed.txt")).unwrap();
    assert!(record.ends_with("\ncopied\tlinks/n65000\tlinks/n65000\n"), "{record}");
    // A copy takes room, which is counted.
    std::fs::remove_dir_all(&target).unwrap();
    let big = memory.path().join("big");
    std::fs::rename(&source, &big).unwrap();
    put(big.join("n00000"), noise(30_000_000, 1));
    run(desk.pack_cmd(&[&big], &[desk.drive(2)], &["--mend", "0"])).exits(0);
    let full = run(desk.unpack_cmd(&[desk.drive(2)], &target, &["--rename"])).exits(7);
    assert!(full.err.contains("takes 60.0 MB") && !target.exists(), "{}", full.err);
}

#[test]
fn a_symlink_that_is_too_long_for_the_target_is_found_before_anything_is_written() {
    let desk = Desk::new();
    let Some(xfs) = Image::mount(desk.path("xfs"), "xfs", 320) else { return };
    put(desk.source().join("file"), "content");
    for (name, len) in [("long", 4000), ("longest", 1024), ("short", 1023)] {
        std::os::unix::fs::symlink("x".repeat(len), desk.source().join(name)).unwrap();
    }
    desk.pack_bare();
    let target = xfs.path().join("out");
    let refused = run(desk.unpack_cmd(&desk.drives(), &target, &[])).exits(2);
    assert!(refused.err.contains("source/long: this symlink has 4,000 bytes"), "{}", refused.err);
    assert!(!refused.err.contains("source/short") && !target.exists(), "{}", refused.err);
    run(desk.unpack_cmd(&desk.drives(), &target, &["--only", "source/short"])).exits(0);
    let said = run(desk.unpack_cmd(&desk.drives(), &xfs.path().join("all"), &["--rename"])).exits(4);
    assert!(said.out.contains("not delivered: source/long:") && !said.out.contains("source/short"), "{}", said.all());
    assert_eq!(std::fs::read(xfs.path().join("all/source/file")).unwrap(), b"content");
}

#[test]
fn more_files_than_the_target_can_hold_are_counted_before_anything_is_written() {
    let desk = Desk::new();
    (0..60).for_each(|at| put(desk.source().join(format!("few/{at}")), "few"));
    (0..60).for_each(|at| put(desk.source().join(format!("many/{at}")), "many"));
    (1..30).for_each(|at| {
        std::fs::hard_link(desk.source().join("many/0"), desk.path(&format!("source/many/link-{at}"))).unwrap()
    });
    desk.pack_bare();
    let Some(memory) = Tmpfs::mount(desk.path("memory"), "size=8m,nr_inodes=140") else { return };
    let target = memory.path().join("out");
    let refused = run(desk.unpack_cmd(&desk.drives(), &target, &[])).exits(7);
    assert!(
        refused.err.contains("files and folders are to be made") && refused.err.contains("hint:"),
        "{}",
        refused.err
    );
    assert!(!target.exists(), "refused before the first byte");
    run(desk.unpack_cmd(&desk.drives(), &target, &["--only", "source/few"])).exits(0);
    std::fs::remove_dir_all(&target).unwrap();
    memory.grow("nr_inodes=170");
    run(desk.unpack_cmd(&desk.drives(), &target, &[])).exits(0);
    crate::common::tree::same(&desk.source(), &target.join("source"));
    // The target cannot even hold the folders that trying the longest path takes.
    std::fs::remove_dir_all(&target).unwrap();
    put(desk.path("long").join(["n"; 15].map(|name| name.repeat(100)).join("/")).join("file"), "long");
    let other = desk.path("other drive");
    std::fs::create_dir(&other).unwrap();
    run(desk.pack_cmd(&[&desk.path("long")], std::slice::from_ref(&other), &["--mend", "0"])).exits(0);
    memory.grow("nr_inodes=15");
    let refused = run(desk.unpack_cmd(std::slice::from_ref(&other), &target, &[])).exits(7);
    assert!(refused.err.contains("files and folders are to be made") && !target.exists(), "{}", refused.err);
}

#[test]
fn a_path_that_the_target_cannot_hold_loses_what_stands_there_and_nothing_else() {
    let desk = Desk::new();
    let deep = ["n"; 20].map(|name| name.repeat(100)).join("/");
    put(desk.source().join("first"), "first");
    put(desk.source().join(&deep).join("deep"), "deep");
    put(desk.source().join("second"), "second");
    desk.pack_bare();
    let Some(drive) = Drive::plug(desk.path("plugged"), 32 << 20, Cache::WriteThrough) else { return };
    let target = drive.path().join("out");
    run(desk.unpack_cmd(&desk.drives(), &target, &[])).exits(0);
    assert_eq!(std::fs::read(target.join("source").join(&deep).join("deep")).unwrap(), b"deep");
    std::fs::remove_dir_all(&target).unwrap();
    // As with a driver that stores the files elsewhere under their paths.
    drive.set(&[Fault::LongPaths { most: 1500 }]);
    let refused = run(desk.unpack_cmd(&desk.drives(), &target, &[])).exits(2);
    assert!(refused.err.contains("and the target holds paths of at most 1,4") && !target.exists(), "{}", refused.err);
    let said = run(desk.unpack_cmd(&desk.drives(), &target, &["--rename"])).exits(4);
    assert!(said.out.contains(&format!("not delivered: source/{deep}/deep: its path has ")), "{}", said.all());
    assert!(said.out.contains("no: 2 of 3 files"), "{}", said.all());
    assert_eq!(std::fs::read(target.join("source/second")).unwrap(), b"second");
    assert_eq!(std::fs::read_dir(drive.path()).unwrap().count(), 1, "nothing else is left");
}

/// The entries that `list` shows.
fn listed(desk: &Desk, drive: u32) -> Vec<serde_json::Value> {
    let mut list = crate::common::pouch(["list", "--json", "-i"]);
    list.arg(desk.path("key")).arg(desk.drive(drive));
    run(list).exits(0).json()["entries"].as_array().unwrap().clone()
}

#[test]
fn a_tree_that_is_deeper_than_a_path_can_name_comes_back_with_few_folders_open() {
    for (depth, name) in [(60, "f".repeat(100)), (400, "f".into())] {
        let desk = Desk::new();
        crate::common::tree::dig(&desk.source(), depth, &name);
        run(desk.pack_cmd(&[&desk.source()], &[desk.drive(1)], &["--mend", "0"])).exits(0);
        let out = desk.path("out");
        let mut limited = std::process::Command::new("prlimit");
        limited.arg("--nofile=60").arg(env!("CARGO_BIN_EXE_pouch"));
        limited.args(desk.unpack_cmd(&[desk.drive(1)], &out, &[]).get_args());
        if !crate::common::need(&["prlimit"]) {
            return;
        }
        run(assert_cmd::Command::from_std(limited)).exits(0);
        // Packs the result again: the lists show whether names, modes, times and contents are the same.
        run(desk.pack_cmd(&[&out.join("source")], &[desk.drive(2)], &["--mend", "0"])).exits(0);
        assert_eq!(listed(&desk, 1), listed(&desk, 2));
        let again = run(desk.unpack_cmd(&[desk.drive(1)], &out, &[])).exits(2);
        assert!(again.err.contains("exists already"), "{}", again.err);
        run(desk.unpack_cmd(&[desk.drive(1)], &out, &["--overwrite"])).exits(0);
        [&desk.source(), &out].into_iter().for_each(|deep| crate::common::tree::remove_deep(deep));
    }
}

#[test]
fn delivering_costs_the_same_at_any_depth() {
    const DEPTH: u64 = 200;
    let desk = Desk::new();
    crate::common::tree::dig(&desk.source(), DEPTH as usize, "d");
    desk.pack_bare();
    let Some(drive) = Drive::plug(desk.path("plugged"), 32 << 20, Cache::WriteThrough) else { return };
    drive.lie(&[]);
    drive.asked();
    run(desk.unpack_cmd(&desk.drives(), &drive.path().join("out"), &[])).exits(0);
    let (looked_for, _) = drive.asked();
    // Starting from the top each time would take half the square of the depth, 20,000 lookups, for each kind of
    // operation.
    assert!(looked_for < 20 * DEPTH, "{looked_for} lookups");
    crate::common::tree::remove_deep(&desk.source());
}
