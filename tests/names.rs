//! Unpacking onto a file system that cannot hold every name, link and time: exFAT through FUSE.

mod common;

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{Duration, UNIX_EPOCH};

use common::{Desk, Exfat, noise, put, run};

/// A desk whose source has of everything, packed; what is fit for exFAT is below `plain`.
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

/// All files below a folder with their content.
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

/// How many folders there are, this one too.
fn folders(root: &Path) -> usize {
    let children = std::fs::read_dir(root).unwrap().map(|child| child.unwrap().path());
    1 + children.filter(|child| child.is_dir()).map(|child| folders(&child)).sum::<usize>()
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
    assert_eq!(std::fs::read_dir(drive.path()).unwrap().count(), 0, "nothing is left, nor of the trial");
    run(desk.unpack_cmd(&desk.drives(), &target, &["--only", "source/plain"])).exits(0);
    drive.unmount();
    assert!(drive.again());
    assert_eq!(files(&target).len(), 2, "what fits is what it was, also when the drive comes back");
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
    // Nothing has the mode it had, copies of hard links neither.
    let items = files(&target.join("source")).len() + folders(&target.join("source"));
    assert_eq!(report["otherwise"]["modes"], items);
    drive.unmount();
    assert!(drive.again());
    let mut there = files(&target);
    assert!(!target.join(".pouch-unfinished").exists(), "nothing else is left");
    assert_eq!(there.remove("pouch-renamed.txt").unwrap(), b"mine", "nothing is replaced");
    let record = String::from_utf8(there.remove("pouch-renamed-2.txt").unwrap()).unwrap();
    // Folders first: what they hold is looked for where they are.
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

/// How many of what is at and below two places has another mode, and how many another time.
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
    assert_eq!(told(&desk.path("home")), (0, 0, 0), "where all is kept, nothing is told");
    let Some(drive) = Exfat::mount(desk.path("exfat"), 64) else { return };
    let (modes, times, off) = told(&drive.path().join("out"));
    assert!(modes > 0 && times >= 2 && (500_000_000..1_000_000_000).contains(&off), "{modes} {times} {off}");
}

#[test]
fn an_interrupted_unpacking_renames_the_same_way() {
    let desk = desk();
    let Some(drive) = Exfat::mount(desk.path("exfat"), 64) else { return };
    let target = drive.path().join("out");
    let part = common::volumes::files(&desk.drives()[1]).len();
    assert!(part > 0, "something is on the second drive");
    let first = run(desk.unpack_cmd(&desk.drives()[..1], &target, &["--rename"]));
    assert!(matches!(first.code, 3 | 4) && target.join(".pouch-unfinished").exists(), "{first:?}");
    let again = run(desk.unpack_cmd(&desk.drives(), &target, &["--rename"])).exits(4);
    assert!(again.out.contains("complete") && !target.join(".pouch-unfinished").exists(), "{}", again.all());
    assert!(!target.join("pouch-renamed-2.txt").exists(), "one record is enough");
    let there = files(&target);
    assert_eq!(there["source/odd/dir%~2/x"], noise(1_500_000, 3));
    assert_eq!((&*there["source/odd/z"], &*there["source/odd/%2Afirst"]), (&b"linked"[..], &b"linked"[..]));
}
