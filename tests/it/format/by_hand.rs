//! The promise of the format is that a bundle opens without this program. These tests run the recipe of docs/FORMAT.md
//! as it stands there, with stock age, zstd, sha256sum and three kinds of tar.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use crate::common::recipe::{by_hand, by_hand_in_busybox};
use crate::common::tree::{Node, Tree, differences, look};
use crate::common::{Desk, Run, bash, chmod, need, noise, put, volumes};

const TOOLS: [&str; 6] = ["age", "zstd", "sha256sum", "tar", "bsdtar", "busybox"];
const TARS: [&str; 3] = ["tar", "bsdtar", "busybox tar"];

/// Keeps what extracting by hand restores: nanoseconds and holes are in the list only, and modes depend on the user who
/// extracts.
fn plain(tree: Tree) -> Tree {
    let plain = |node: Node| Node { mode: 0, mtime: (0, 0), ..node };
    tree.into_iter().map(|(name, node)| (name, plain(node))).collect()
}

#[track_caller]
fn same_content(desk: &Desk, bag: &Path) {
    let found = plain(look(&bag.join("data/source")));
    let differences = differences(&plain(look(&desk.source())), &found);
    assert!(differences.is_empty(), "{}", differences.join("\n"));
}

fn is_proven(run: &Run) -> bool {
    run.out.ends_with("manifest: 0\nsums: 0\n") && !run.all().contains("FAILED") && !run.err.contains("BAD")
}

/// A packed desk with several parts of noise on three drives, and only names that a bag validator accepts.
fn ordinary_desk() -> Desk {
    let desk = Desk::new();
    let source = desk.source();
    put(source.join("clips/one.mov"), noise(2_500_000, 1));
    put(source.join("clips/two.mov"), noise(1_200_000, 2));
    put(source.join("notes/grüße 漢字.txt"), "text\n".repeat(3000));
    put(source.join("notes/empty"), "");
    fs::create_dir(source.join("an empty folder")).unwrap();
    fs::hard_link(source.join("clips/two.mov"), source.join("notes/linked.mov")).unwrap();
    std::os::unix::fs::symlink("../clips/one.mov", source.join("notes/to one")).unwrap();
    std::os::unix::fs::symlink("clips", source.join("to a folder")).unwrap();
    desk.pack();
    desk
}

#[test]
#[cfg_attr(not(stock_tools), ignore = "needs age, zstd, sha256sum, GNU tar, bsdtar, busybox and python3 with bagit")]
fn every_tar_brings_back_a_whole_and_proven_bag() {
    if !need(&TOOLS) {
        return;
    }
    let desk = ordinary_desk();
    let parts = volumes::parts(&desk.drives());
    assert!(parts.len() >= 4, "several parts: {parts:?}");
    fs::create_dir(desk.drive(3).join("copies")).unwrap();
    fs::copy(&parts[1], desk.drive(3).join("copies").join(volumes::name_of(&parts[1]))).unwrap();
    for tar in TARS {
        let (bag, run) = by_hand(&desk, tar);
        assert!(is_proven(&run), "{tar}: {run:?}");
        assert_eq!(
            run.out.matches(": OK\n").count(),
            6,
            "{tar}: one OK for every file and every link to a file: {}",
            run.out
        );
        same_content(&desk, &bag);
    }
}

#[test]
#[cfg_attr(not(stock_tools), ignore = "needs age, zstd, sha256sum, GNU tar, bsdtar, busybox and python3 with bagit")]
fn the_small_tools_of_busybox_do() {
    if !need(&TOOLS) {
        return;
    }
    let desk = ordinary_desk();
    let (bag, run) = by_hand_in_busybox(&desk);
    assert!(is_proven(&run), "{run:?}");
    same_content(&desk, &bag);
}

#[test]
#[cfg_attr(not(stock_tools), ignore = "needs age, zstd, sha256sum, GNU tar, bsdtar, busybox and python3 with bagit")]
fn a_bag_validator_agrees() {
    if !need(&TOOLS) || !need(&["python3", "bagit"]) {
        return;
    }
    let desk = ordinary_desk();
    let validate = r#"python3 -c "import bagit, sys; bagit.Bag(sys.argv[1]).validate()" "$1""#;
    let (bag, _) = by_hand(&desk, "tar");
    bash(validate, desk.dir.path(), &[bag.as_os_str()]).exits(0);
    put(bag.join("data/source/notes/empty"), "no longer");
    bash(validate, desk.dir.path(), &[bag.as_os_str()]).exits(1);
}

#[test]
#[cfg_attr(not(stock_tools), ignore = "needs age, zstd, sha256sum, GNU tar, bsdtar, busybox and python3 with bagit")]
fn modes_and_times_are_in_the_tar() {
    if !need(&TOOLS) {
        return;
    }
    let desk = Desk::new();
    for (name, mode, seconds) in [("plain", 0o640, 86_400), ("tool", 0o755, 2_000_000_000), ("old", 0o600, -1000)] {
        let path = desk.source().join(name);
        put(&path, name);
        chmod(&path, mode);
        crate::common::tree::set_mtime(&path, (seconds, 0));
    }
    desk.pack();
    for tar in ["tar", "bsdtar"] {
        let (bag, _) = by_hand(&desk, tar);
        for (name, node) in look(&desk.source()).into_iter().filter(|(_, node)| node.kind == "file") {
            let back = &look(&bag.join("data/source"))[&name];
            // The owner's bits survive every umask.
            assert_eq!(
                (node.mode & 0o700, node.mtime),
                (back.mode & 0o700, back.mtime),
                "{tar}, {}",
                name.escape_ascii()
            );
        }
    }
}

#[test]
#[cfg_attr(not(stock_tools), ignore = "needs age, zstd, sha256sum, GNU tar, bsdtar, busybox and python3 with bagit")]
fn a_missing_middle_part_fails_in_the_manifest() {
    if !need(&TOOLS) {
        return;
    }
    let desk = ordinary_desk();
    fs::remove_file(&volumes::parts(&desk.drives())[1]).unwrap();
    for tar in TARS {
        let (_, run) = by_hand(&desk, tar);
        assert!(!is_proven(&run), "{tar}: {run:?}");
        // busybox stops at the gap and never reaches the manifest; the others go on.
        let noticed = run.all().contains("FAILED") || run.err.contains("manifest-sha256.txt: No such file");
        assert!(noticed && !run.out.contains("manifest: 0"), "{tar}: {run:?}");
    }
}

#[test]
#[cfg_attr(not(stock_tools), ignore = "needs age, zstd, sha256sum, GNU tar, bsdtar, busybox and python3 with bagit")]
fn a_missing_last_part_leaves_no_manifest() {
    if !need(&TOOLS) {
        return;
    }
    let desk = ordinary_desk();
    fs::remove_file(volumes::parts(&desk.drives()).last().unwrap()).unwrap();
    for tar in TARS {
        let (bag, run) = by_hand(&desk, tar);
        assert!(!bag.join("manifest-sha256.txt").exists() && !is_proven(&run), "{tar}: {run:?}");
        assert!(!run.out.contains("manifest: 0"), "{tar}: {}", run.out);
    }
}

#[test]
#[cfg_attr(not(stock_tools), ignore = "needs age, zstd, sha256sum, GNU tar, bsdtar, busybox and python3 with bagit")]
fn a_flipped_bit_is_a_bad_line_that_names_the_part() {
    if !need(&TOOLS) {
        return;
    }
    let desk = ordinary_desk();
    let part = volumes::parts(&desk.drives())[2].clone();
    volumes::flip(&part, 500_000, 3);
    for tar in TARS {
        let (_, run) = by_hand(&desk, tar);
        assert!(run.err.contains(&format!("BAD {}", part.display())), "{tar}: {}", run.err);
        assert!(!is_proven(&run), "{tar}: {run:?}");
    }
}

#[test]
#[cfg_attr(not(stock_tools), ignore = "needs age, zstd, sha256sum, GNU tar, bsdtar, busybox and python3 with bagit")]
fn names_that_bagit_writes_with_a_percent_are_proven_by_the_other_list() {
    if !need(&TOOLS) {
        return;
    }
    let desk = Desk::new();
    let names: [&[u8]; 7] = [b"a\nb", b"c\rd", b"e%0Af", b"\xff\xfe", b"back\\slash", b"ends in a blank ", b"100%"];
    for name in names {
        put(desk.source().join(OsStr::from_bytes(name)), name);
    }
    desk.pack();
    for tar in ["tar", "bsdtar"] {
        let (bag, run) = by_hand(&desk, tar);
        same_content(&desk, &bag);
        assert!(run.out.ends_with("sums: 0\n"), "{tar}: {run:?}");
        let (_, sums) = run.out.split_once("manifest: ").unwrap();
        assert!(sums.matches(": OK\n").count() >= 4, "{tar}: {sums}");
        for line in run.all().lines().filter(|line| line.ends_with("FAILED open or read")) {
            assert!(line.contains('%'), "{tar}: the manifest fails for encoded names only: {line}");
        }
        put(bag.join(OsStr::from_bytes(b"data/source/a\nb")), "wrong");
        let check = "cd \"$1\" && sha256sum --quiet -c SHA256SUMS";
        assert!(
            bash(check, desk.dir.path(), &[bag.as_os_str()]).out.contains("FAILED"),
            "the second list proves contents"
        );
    }
}

#[test]
#[cfg_attr(not(stock_tools), ignore = "needs age, zstd, sha256sum, GNU tar, bsdtar, busybox and python3 with bagit")]
fn long_names_come_back_with_every_tar() {
    if !need(&TOOLS) {
        return;
    }
    let desk = Desk::new();
    let (long, folder) = ("l".repeat(255), "folder-".repeat(30));
    let deep = desk.source().join(&folder).join(&folder).join(&folder);
    put(deep.join(&long), noise(3000, 1));
    put(desk.source().join(&long), "at the top");
    fs::hard_link(deep.join(&long), desk.source().join("a hard link")).unwrap();
    std::os::unix::fs::symlink(format!("{folder}/{folder}"), desk.source().join("a link")).unwrap();
    desk.pack();
    for tar in TARS {
        let (bag, run) = by_hand(&desk, tar);
        assert!(is_proven(&run), "{tar}: {run:?}");
        same_content(&desk, &bag);
    }
}

#[test]
#[cfg_attr(not(stock_tools), ignore = "needs age, zstd, sha256sum, GNU tar, bsdtar, busybox and python3 with bagit")]
fn list_and_head_open_by_hand() {
    if !need(&TOOLS) {
        return;
    }
    let desk = ordinary_desk();
    let script = r#"age -d -i "$1" "$2/seal2.age" > b.key && age -d -i b.key "$2/$3" | zstd -dqc"#;
    let (key, volume) = (desk.path("key"), desk.drive(2).join("volume-2"));
    let open = |name| bash(script, desk.dir.path(), &[key.as_os_str(), volume.as_os_str(), OsStr::new(name)]).exits(0);
    let paths: Vec<String> = open("list.age").out.lines().map(path_of).collect();
    assert_eq!(paths.len(), look(&desk.source()).len());
    assert!(paths.iter().any(|path| path == "source/clips/one.mov"));
    let (head, second) = (open("head.age").out, open("head2.age").out);
    assert!(head.contains("pouch") && head == second, "{head}");
    let parts = volumes::sealed_parts(&desk.drives()).len();
    assert!(head.contains(&format!("parts {parts}\n")), "{head}");
}

#[test]
fn the_readme_has_the_recipe_of_the_format() {
    let script = crate::common::recipe::script();
    assert!(fs::read_to_string("docs/GUIDE.md").unwrap().contains(&script), "{script}");
}

fn path_of(line: &str) -> String {
    let value: serde_json::Value = serde_json::from_str(line).expect("a line of the list is JSON");
    value["path"].as_str().expect("it has a path").to_string()
}

#[test]
#[cfg_attr(not(stock_tools), ignore = "needs age, zstd, sha256sum, GNU tar, bsdtar, busybox and python3 with bagit")]
fn an_opened_seal_is_an_identity_file() {
    if !need(&TOOLS) {
        return;
    }
    let desk = ordinary_desk();
    let script = r#"age -d -i "$1" "$2" > b.key && echo secret | age -e -i b.key | age -d -i b.key"#;
    let seal = desk.drive(3).join("volume-3/seal.age");
    let run = bash(script, desk.dir.path(), &[desk.path("key").as_os_str(), seal.as_os_str()]).exits(0);
    assert_eq!(run.out, "secret\n");
}

#[test]
#[cfg_attr(not(stock_tools), ignore = "needs age, zstd, sha256sum, GNU tar, bsdtar, busybox and python3 with bagit")]
fn a_file_that_could_not_be_read_fails_by_hand_and_no_other() {
    if !need(&TOOLS) {
        return;
    }
    let desk = Desk::new();
    put(desk.source().join("locked"), "nobody reads this");
    put(desk.source().join("open"), noise(1000, 1));
    chmod(desk.source().join("locked"), 0);
    let pack = desk.pack_cmd(&[&desk.source()], &desk.drives(), &[]);
    let packed = crate::common::run(desk.as_nobody(pack)).exits(4);
    assert!(packed.err.contains("source/locked"), "{}", packed.err);
    for tar in TARS {
        let (bag, run) = by_hand(&desk, tar);
        let manifest = fs::read_to_string(bag.join("manifest-sha256.txt")).unwrap();
        assert!(manifest.contains(&format!("{}  data/source/locked\n", "0".repeat(64))), "{manifest}");
        // An ordinary user cannot read what came out with mode 0000, which counts as FAILED too.
        let failed: Vec<&str> = run.out.lines().filter_map(|line| Some(line.split_once(": FAILED")?.0)).collect();
        assert_eq!(failed, ["data/source/locked"], "{tar}: {run:?}");
        assert!(run.out.contains("data/source/open: OK"), "{tar}: {}", run.out);
    }
}
