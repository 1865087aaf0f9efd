//! What goes in comes out: every kind of name, size, mode, time and link, over several volumes, compared by `stat` and
//! content. Also, the files on the drives have no more names and sizes than they must.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, MetadataExt, chown, symlink};
use std::path::{Path, PathBuf};

use crate::common::tree::{look, same, set_mtime};
use crate::common::{Desk, NOBODY, PART_FILE, PART_PLAIN, chmod, is_root, noise, pouch, put, run, volumes};

/// Packs the desk's source, unpacks it and compares both.
#[track_caller]
fn there_and_back(desk: &Desk) {
    let before = look(&desk.source());
    desk.pack();
    assert_eq!(look(&desk.source()), before, "the sources are left alone");
    same(&desk.source(), &desk.unpack("out").join("source"));
}

#[test]
fn sizes_around_every_boundary() {
    let desk = Desk::new();
    let near = |n: usize| [n - 1, n, n + 1];
    let sizes = [0, 1].into_iter().chain([512, 1024, 65_536, PART_PLAIN, 2 * PART_PLAIN].into_iter().flat_map(near));
    for (at, size) in sizes.enumerate() {
        put(desk.source().join(format!("random-{size}")), noise(size, at as u64));
        put(desk.source().join(format!("text-{size}")), vec![b'a' + at as u8; size]);
    }
    there_and_back(&desk);
}

#[test]
fn a_tar_that_just_fills_a_part_or_just_does_not() {
    // Around the file, tar and part hold some KiB more. The sizes cross the border between one part and two in steps of
    // a tar block.
    let counts: BTreeSet<usize> = (0..24)
        .map(|step| {
            let desk = Desk::new();
            put(desk.source().join("file"), noise(PART_PLAIN - 12_288 + step * 512, 7));
            there_and_back(&desk);
            volumes::parts(&desk.drives()).len()
        })
        .collect();
    assert_eq!(counts, BTreeSet::from([1, 2]), "both sides of the border were tried");
}

#[test]
fn a_file_over_many_parts() {
    let desk = Desk::new();
    put(desk.source().join("clip.mov"), noise(40_000_000, 1));
    there_and_back(&desk);
    assert!(volumes::parts(&desk.drives()).len() > 40);
}

#[test]
fn thousands_of_small_files() {
    let desk = Desk::new();
    for n in 0..3000 {
        put(desk.source().join(format!("{}/{}/file-{n}", n % 7, n % 41)), noise(n % 1500, n as u64));
    }
    there_and_back(&desk);
}

#[test]
fn nothing_at_all() {
    let desk = Desk::new();
    there_and_back(&desk);
    let desk = Desk::new();
    put(desk.source().join("empty"), "");
    there_and_back(&desk);
}

#[test]
fn links_of_all_kinds() {
    let desk = Desk::new();
    let at = |below: &str| desk.source().join(below);
    for folder in ["a/empty", "b", "c/deep/er"] {
        fs::create_dir_all(at(folder)).unwrap();
    }
    put(at("b/file"), noise(1_500_000, 3));
    fs::hard_link(at("b/file"), at("a/name before it")).unwrap();
    fs::hard_link(at("b/file"), at("c/deep/er/name behind it")).unwrap();
    put(at("zero"), "");
    fs::hard_link(at("zero"), at("a/zero")).unwrap();
    let targets = ["../b/file", "/etc/hostname", "nowhere", "..", ".", "a link", "../../../../outside"];
    for (n, target) in targets.iter().enumerate() {
        symlink(target, at(&format!("a/link-{n}"))).unwrap();
        set_mtime(&at(&format!("a/link-{n}")), (1_000_000 + n as i64, 123_456_789));
    }
    symlink(OsStr::from_bytes(b"\xff\n\\x41"), at("odd target")).unwrap();
    symlink("t".repeat(4000), at("long target")).unwrap();
    there_and_back(&desk);
}

#[test]
fn names_of_all_kinds() {
    let desk = Desk::new();
    let long = [b'n'; 255];
    let names: [&[u8]; 18] = [
        b"new\nline",
        b"\x1b[31mred\x1b[0m",
        b"\xff\xfe\x80",
        b"trailing ",
        b" leading",
        b"%0A",
        b"%25",
        b"back\\slash",
        b"\\x41",
        b"-rf",
        b"...",
        b"a\rb",
        b"tab\t",
        "\u{202e}gpj.exe".as_bytes(),
        "e\u{301}".as_bytes(),
        "\u{e9}".as_bytes(),
        b"CON",
        &long,
    ];
    for (n, name) in names.iter().enumerate() {
        put(desk.source().join(OsStr::from_bytes(name)), noise(100 + n, n as u64));
        put(desk.source().join("folders").join(OsStr::from_bytes(name)).join("file"), name);
    }
    there_and_back(&desk);
}

#[test]
fn deep_folders() {
    let desk = Desk::new();
    let mut path = desk.source();
    // Linux takes paths of 4,096 bytes, some of which the staging folder needs.
    while path.as_os_str().len() + 110 < 4000 {
        path = path.join("d".repeat(100));
    }
    put(path.join("bottom"), "deep");
    there_and_back(&desk);
}

#[test]
fn times_to_the_nanosecond_from_long_ago_to_far_ahead() {
    let desk = Desk::new();
    let times = [(0, 0), (0, 1), (-1, 999_999_999), (-2_000_000_000, 5), (1_700_000_000, 123_456_789)];
    // The limits are 2446 for ext4, and 2242 for 33-bit octal numbers in a tar.
    for (n, time) in times.into_iter().chain([(8_589_934_592, 7), (15_000_000_000, 1)]).enumerate() {
        let (file, folder) = (desk.source().join(format!("file-{n}")), desk.source().join(format!("folder-{n}")));
        put(&file, "x");
        put(folder.join("inside"), "y");
        set_mtime(&file, time);
        set_mtime(&folder, time);
    }
    set_mtime(&desk.source(), (1, 1));
    there_and_back(&desk);
}

#[test]
fn every_mode() {
    let desk = Desk::new();
    // Only root can pack what its owner cannot read.
    let modes = (0..0o1000).filter(|mode| is_root() || mode & 0o500 == 0o500);
    for mode in modes {
        let folder = desk.source().join(format!("folder-{mode:03o}"));
        put(folder.join("file"), format!("{mode}"));
        chmod(folder.join("file"), mode);
        chmod(&folder, mode);
    }
    there_and_back(&desk);
}

#[test]
fn set_id_and_sticky_bits_are_dropped_and_said() {
    let desk = Desk::new();
    put(desk.source().join("tool"), "#!");
    chmod(desk.source().join("tool"), 0o6755);
    let packed = desk.pack();
    assert!(packed.err.contains("source/tool"), "{}", packed.err);
    let back = desk.unpack("out").join("source/tool").metadata().unwrap().mode();
    assert_eq!(back & 0o7777, 0o755);
}

#[test]
fn holes_stay_holes() {
    let desk = Desk::new();
    let make = |name: &str, len: u64, data: &[u64]| {
        let file = fs::File::create(desk.source().join(name)).unwrap();
        file.set_len(len).unwrap();
        data.iter().for_each(|at| file.write_all_at(&noise(4096, *at), *at).unwrap());
    };
    make("hole at the end", 5_000_000, &[0]);
    make("hole at the start", 5_004_096, &[5_000_192]);
    make("nothing but a hole", 100_000_000, &[]);
    make("over parts", 30_000_000, &[4096, 983_040, 1_048_576, 20_000_768]);
    there_and_back(&desk);
    let blocks = |folder: PathBuf| look(&folder).into_keys().map(move |name| blocks_of(&folder, &name)).sum::<u64>();
    let (before, after) = (blocks(desk.source()), blocks(desk.path("out/source")));
    assert!(after <= before + 256, "{before} blocks became {after}");
}

fn blocks_of(folder: &Path, name: &[u8]) -> u64 {
    folder.join(OsStr::from_bytes(name)).symlink_metadata().unwrap().blocks()
}

#[test]
#[cfg_attr(not(run_as_root), ignore = "needs root, to become somebody else")]
fn an_ordinary_user_gets_back_what_is_read_only() {
    let desk = Desk::new();
    put(desk.source().join("folder/below/file"), noise(2_000_000, 1));
    put(desk.source().join("folder/other"), "x");
    chmod(desk.source().join("folder/below/file"), 0o400);
    chmod(desk.source().join("folder/below"), 0o500);
    chmod(desk.source().join("folder"), 0o555);
    if is_root() {
        for name in look(&desk.source()).keys() {
            chown(desk.source().join(OsStr::from_bytes(name)), Some(NOBODY), None).unwrap();
        }
    }
    let target = desk.path("out");
    run(desk.as_nobody(desk.pack_cmd(&[&desk.source()], &desk.drives(), &[]))).exits(0);
    run(desk.as_nobody(desk.unpack_cmd(&desk.drives(), &target, &[]))).exits(0);
    same(&desk.source(), &target.join("source"));
    // Replacing files in a read-only folder is up to the user. If it fails, it does no harm.
    let again = desk.as_nobody(desk.unpack_cmd(&desk.drives(), &target, &["--overwrite"]));
    let said = run(again);
    assert!([0, 7].contains(&said.code), "{said:?}");
    same(&desk.source(), &target.join("source"));
    assert_eq!(volumes::files(&target).len(), 1, "no staging folder is left: {said:?}");
}

#[test]
fn several_sources_stand_under_their_last_names() {
    let desk = Desk::new();
    let at = |below: &str| desk.path(below);
    put(at("x/photos/1.jpg"), noise(500, 1));
    put(at("y/notes.txt"), "notes");
    put(at("z/real/inside"), "followed");
    symlink("real", at("z/link to a folder")).unwrap();
    symlink("../y/notes.txt", at("z/link to a file")).unwrap();
    let sources = [at("x/photos//"), at("y/./notes.txt"), at("z/link to a folder"), at("z/link to a file")];
    let sources: Vec<&Path> = sources.iter().map(PathBuf::as_path).collect();
    let packed = run(desk.pack_cmd(&sources, &desk.drives(), &[])).exits(0);
    assert!(packed.err.contains("link to a folder"), "a followed link is reported: {}", packed.err);
    let out = desk.unpack("out");
    same(&at("x/photos"), &out.join("photos"));
    same(&at("y/notes.txt"), &out.join("notes.txt"));
    same(&at("z/real"), &out.join("link to a folder"));
    same(&at("y/notes.txt"), &out.join("link to a file"));
    assert_eq!(volumes::files(&out).len(), 4);
}

#[test]
fn the_folder_one_stands_in_is_a_source() {
    let desk = Desk::new();
    put(desk.source().join("inner/file"), noise(10_000, 1));
    for (number, (stand, source)) in
        [("", "."), ("inner", ".."), ("", "./"), ("inner", "../../source/")].iter().enumerate()
    {
        let output = desk.path(&format!("stage-{number}"));
        fs::create_dir(&output).unwrap();
        let mut pack = desk.pack_cmd(&[Path::new(source)], std::slice::from_ref(&output), &[]);
        pack.current_dir(desk.source().join(stand));
        run(pack).exits(0);
        let target = desk.path(&format!("out-{number}"));
        run(desk.unpack_cmd(&[output], &target, &[])).exits(0);
        same(&desk.source(), &target.join("source"));
    }
}

#[test]
fn a_source_may_have_the_name_that_unpacking_uses_for_itself() {
    let desk = Desk::new();
    let source = desk.path(".pouch-unfinished");
    put(source.join("file"), "somebody packed what a run had left");
    let packed = run(desk.pack_cmd(&[&source], &desk.drives(), &[]));
    if packed.code == 2 {
        return;
    }
    for more in [&[][..], &["--overwrite"]] {
        let target = desk.path(&format!("out-{}", more.len()));
        let said = run(desk.unpack_cmd(&desk.drives(), &target, more));
        // Refused or delivered, but never called complete without being there.
        assert_eq!(said.code == 0, target.join(".pouch-unfinished/file").exists(), "{said:?}");
    }
    run(desk.unpack_cmd(&desk.drives(), &desk.path("out"), &[])).exits(0);
    same(&source, &desk.path("out/.pouch-unfinished"));
}

#[test]
fn two_sources_of_one_name_are_refused() {
    let desk = Desk::new();
    put(desk.path("a/same"), "1");
    put(desk.path("b/same"), "2");
    let refused = run(desk.pack_cmd(&[&desk.path("a/same"), &desk.path("b/same")], &desk.drives(), &[])).exits(2);
    assert!(refused.err.contains("a/same") && refused.err.contains("b/same"), "{}", refused.err);
    assert!(volumes::parts(&desk.drives()).is_empty());
}

/// Two folders with files, and hard links in one folder to a file in the other.
fn desk_to_choose_from() -> Desk {
    let desk = Desk::new();
    put(desk.source().join("a/one"), noise(1_200_000, 1));
    put(desk.source().join("a/two"), noise(700_000, 2));
    put(desk.source().join("b/sub/three"), noise(1_300_000, 3));
    put(desk.source().join("b/odd\n\\name"), "odd");
    fs::hard_link(desk.source().join("a/one"), desk.source().join("b/linked")).unwrap();
    fs::hard_link(desk.source().join("a/one"), desk.source().join("b/linked too")).unwrap();
    set_mtime(&desk.source().join("b"), (1000, 1));
    desk.pack();
    desk
}

#[test]
fn only_what_is_asked_for_is_unpacked() {
    let desk = desk_to_choose_from();
    for (number, only, expected) in [
        (0, "source/a/two", vec!["", "a", "a/two"]),
        (1, "source/b/sub/", vec!["", "b", "b/sub", "b/sub/three"]),
        (2, "./source/b/linked", vec!["", "b", "b/linked"]),
        (3, "source/b/odd\n\\name", vec!["", "b", "b/odd\n\\name"]),
    ] {
        let target = desk.path(&format!("out-{number}"));
        run(desk.unpack_cmd(&desk.drives(), &target, &["--only", only])).exits(0);
        let (found, whole) = (look(&target.join("source")), look(&desk.source()));
        let names: Vec<String> = found.keys().map(|name| String::from_utf8_lossy(name).into_owned()).collect();
        assert_eq!(names, expected);
        for (name, node) in found {
            let original = &whole[&name];
            let bare = |node: &crate::common::tree::Node| crate::common::tree::Node { same_as: None, ..node.clone() };
            assert_eq!(bare(&node), bare(original), "{}", name.escape_ascii());
        }
    }
    run(desk.unpack_cmd(&desk.drives(), &desk.path("none"), &["--only", "source/c"])).exits(2);
    assert!(!desk.path("none").exists());
}

#[test]
fn links_without_their_file_are_linked_to_each_other() {
    let desk = desk_to_choose_from();
    let target = desk.path("out");
    run(desk.unpack_cmd(&desk.drives(), &target, &["--only", "source/b"])).exits(0);
    same(&desk.source().join("b"), &target.join("source/b"));
}

#[test]
fn only_takes_names_as_list_shows_them() {
    let desk = desk_to_choose_from();
    let mut list = pouch(["list"]);
    list.arg(desk.drive(1)).arg("-i").arg(desk.path("key"));
    let listed = run(list).exits(0).out;
    let shown = listed.lines().find_map(|line| line.find("source/b/odd").map(|at| &line[at..])).unwrap();
    run(desk.unpack_cmd(&desk.drives(), &desk.path("out"), &["--only", shown])).exits(0);
    assert_eq!(fs::read(desk.path("out/source/b/odd\n\\name")).unwrap(), b"odd");
}

#[test]
fn volumes_are_given_in_any_order_and_as_drives_or_folders() {
    let desk = desk_to_choose_from();
    let volume = |number: u32| desk.drive(number).join(format!("volume-{number}"));
    let orders = [
        vec![desk.drive(3), desk.drive(1), desk.drive(2)],
        vec![volume(2), desk.drive(3), volume(1)],
        vec![volume(1), desk.drive(1), desk.drive(2), volume(3)],
    ];
    for (number, order) in orders.iter().enumerate() {
        let target = desk.path(&format!("out-{number}"));
        let report = run(desk.unpack_cmd(order, &target, &["--json"])).exits(0).json();
        assert_eq!((&report["volumes"], &report["volumes_given"]), (&3.into(), &3.into()));
        same(&desk.source(), &target.join("source"));
    }
    fs::rename(volume(2), desk.path("renamed")).unwrap();
    run(desk.unpack_cmd(&[volume(1), desk.path("renamed"), volume(3)], &desk.path("out"), &[])).exits(0);
}

#[test]
fn every_part_has_one_size_and_every_name_is_known() {
    let desk = desk_to_choose_from();
    for (at, drive) in desk.drives().iter().enumerate() {
        let [volume] = &volumes::files(drive)[..] else { panic!("one volume on a drive") };
        assert_eq!(volumes::name_of(volume), format!("volume-{}", at + 1));
        let (parts, others): (Vec<PathBuf>, Vec<PathBuf>) =
            volumes::files(volume).into_iter().partition(|file| volumes::is_part(file) || volumes::is_parity(file));
        assert!(!parts.is_empty() && parts.iter().all(|part| part.metadata().unwrap().len() == PART_FILE));
        let names: Vec<String> = others.iter().map(|file| volumes::name_of(file)).collect();
        assert_eq!(names, ["SHA256SUMS", "head.age", "head2.age", "list.age", "seal.age", "seal2.age"]);
    }
}
