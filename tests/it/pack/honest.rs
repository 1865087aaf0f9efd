//! What pouch says is true: no incomplete bundle is called complete, one bad copy does not hide the good ones, and no
//! secret or control character reaches a screen.

use std::fs;
use std::os::unix::fs::symlink;

use crate::common::{Desk, Tmpfs, chmod, noise, pouch, put, run, volumes};

#[test]
#[cfg_attr(not(run_as_root), ignore = "needs root, to become somebody else")]
fn what_the_sender_could_not_read_the_receiver_is_told() {
    let desk = Desk::new();
    put(desk.source().join("open/a"), "a");
    put(desk.source().join("private/diary"), "secret");
    chmod(desk.source().join("private"), 0o000);
    let packed = run(desk.as_nobody(desk.pack_cmd(&[&desk.source()], &desk.drives(), &[]))).exits(4);
    assert!(packed.err.contains("source/private"), "{}", packed.err);
    let got = run(desk.unpack_cmd(&desk.drives(), &desk.path("out"), &[])).exits(4);
    assert!(got.out.contains("complete  no") && got.all().contains("source/private"), "{}", got.out);
    let report = run(desk.unpack_cmd(&desk.drives(), &desk.path("again"), &["--json"])).exits(4).json();
    assert_eq!(report["complete"], false);
    assert!(report["notes"].to_string().contains("source/private"));
    assert!(got.out.contains("folders named above lack something that is not in the bundle"), "{}", got.out);
}

#[test]
fn the_right_key_is_not_called_wrong() {
    let (desk, other) = (Desk::packed(), Desk::packed());
    for name in ["list.age", "head.age", "head2.age"] {
        for number in 1..=3 {
            fs::copy(other.volume(number).join(name), desk.volume(number).join(name)).unwrap();
        }
        let said = run(desk.unpack_cmd(&desk.drives(), &desk.path(&format!("without-{name}")), &["--salvage"]));
        assert!(said.err.contains("the bundle's key does not open it, or it is of another bundle"), "{}", said.err);
        assert!(!said.err.contains("given keys"), "{}", said.err);
    }
}

#[test]
fn parts_that_no_delivered_file_is_in_are_told_from_those_that_lost_none_of_one() {
    let desk = Desk::new();
    put(desk.source().join("a"), "a");
    desk.pack_bare();
    // The last chunk is padding; the file lies before it.
    volumes::flip(&volumes::parts(&desk.drives())[0], 184 + 14 * 65_552 + 9, 0);
    let got = run(desk.unpack_cmd(&desk.drives(), &desk.path("out"), &[])).exits(0);
    let words = "; part 1 is missing or damaged, and what it lost holds no byte of these files";
    assert!(got.out.contains(words), "{}", got.out);
}

#[test]
fn what_is_no_key_file_is_said_to_be_what_it_is() {
    let desk = Desk::packed();
    let list = |key: &std::path::Path| {
        let mut list = pouch(["list", "-i"]);
        list.arg(key).arg(desk.drive(1));
        run(list).exits(8).err
    };
    assert!(list(&desk.drive(2)).contains("drive-2: it is a folder"));
    put(desk.path("empty"), "# nothing\n");
    assert!(list(&desk.path("empty")).contains("empty: it holds no age identity"));
    assert!(list(&desk.volume(1).join("head.age")).contains("it is sealed, and not with a passphrase"));
    put(desk.path("text"), "one\ntwo\n");
    assert!(list(&desk.path("text")).contains("text: line 1 is no age identity"));
    let size = run(desk.pack_cmd(&[&desk.source()], &desk.drives(), &["--volume-size", "many"])).exits(2).err;
    assert!(size.contains("it is no size; write it like 32GB") && !size.contains("digit"), "{size}");
}

#[test]
fn what_is_in_the_way_of_the_program_is_not_overwritten_by_an_option() {
    let desk = Desk::packed();
    put(desk.path("out/.pouch-unfinished/mine"), "x");
    let said = run(desk.unpack_cmd(&desk.drives(), &desk.path("out"), &["--overwrite"])).exits(2).err;
    assert!(said.contains("is in the way: it was not made by pouch") && !said.contains("--overwrite"), "{said}");
}

#[test]
fn a_volume_that_has_no_part_is_here_all_the_same() {
    let desk = Desk::new();
    put(desk.source().join("a"), "a");
    desk.pack_bare();
    let mut check = desk.check_cmd(&desk.drives(), &["-i"]);
    check.arg(desk.path("key"));
    let said = run(check).exits(0);
    assert!(said.out.contains("the bundle: volumes 1-3 of 3 are here"), "{}", said.out);
    let mut check = desk.check_cmd(&desk.drives()[..2], &["-i"]);
    check.arg(desk.path("key"));
    assert!(run(check).out.contains("the bundle: volumes 1-2 of 3 are here"));
}

#[test]
fn one_wrong_copy_does_not_hide_the_good_ones() {
    for (name, from) in [
        ("head.age", "000001.age"),
        ("list.age", "head.age"),
        ("list.age", "000001.age"),
        ("head.age", "list.age"),
        ("seal.age", "head.age"),
        ("seal.age", "seal2.age"),
    ] {
        let desk = Desk::packed();
        let first = desk.volume(1);
        fs::copy(first.join(from), first.join(name)).unwrap();
        let got = run(desk.unpack_cmd(&desk.drives(), &desk.path("out"), &[])).exits(0);
        assert!(got.out.contains("complete  yes"), "{from} as {name}: {}", got.all());
        if from != "seal2.age" {
            assert!(got.err.contains(name), "{name} is named: {}", got.err);
        }
    }
}

#[test]
fn a_stray_part_on_a_drive_hides_no_volume() {
    let desk = Desk::packed();
    fs::copy(desk.volume(1).join("000001.age"), desk.drive(1).join("000001.age")).unwrap();
    let checked = run(desk.check_cmd(&[desk.drive(1)], &[])).exits(0);
    assert!(checked.out.contains("volume-1: whole"), "{}", checked.out);
    run(desk.unpack_cmd(&desk.drives(), &desk.path("out"), &[])).exits(0);
}

#[test]
fn a_cut_list_of_sums_is_not_whole() {
    let desk = Desk::packed();
    let (dir, sums) = (desk.volume(1), desk.volume(1).join("SHA256SUMS"));
    let text = fs::read_to_string(&sums).unwrap();
    for left_out in ["seal", "head2", "list", "000001"] {
        let kept: Vec<&str> = text.lines().filter(|line| !line.contains(left_out)).collect();
        fs::write(&sums, kept.join("\n") + "\n").unwrap();
        let checked = run(desk.check_cmd(&[desk.drive(1)], &[])).exits(4);
        assert!(checked.out.contains("damaged"), "without {left_out}: {}", checked.out);
    }
    fs::write(&sums, text).unwrap();
    volumes::resize(&dir.join("head.age"), 1 << 40);
    let checked = run(desk.check_cmd(&[desk.drive(1)], &[])).exits(4);
    assert!(checked.out.contains("head.age has a length"), "an oversized file is not read: {}", checked.out);
}

#[test]
#[cfg_attr(not(run_as_root), ignore = "needs root, to mount a tmpfs")]
fn a_pack_that_fails_at_any_file_leaves_no_volume_that_looks_complete() {
    let desk = Desk::new();
    put(desk.source().join("clip.mov"), noise(2_200_000, 1));
    let mut failed = 0;
    for inodes in 2..14 {
        let Some(tight) = Tmpfs::mount(desk.path("tight"), &format!("size=100m,nr_inodes={inodes}")) else { return };
        let drives = [desk.drive(1), tight.path()];
        let said = run(desk.pack_cmd(&[&desk.source()], &drives, &[]));
        if said.code == 0 {
            drives.iter().for_each(|drive| fs::remove_dir_all(&volumes::files(drive)[0]).unwrap());
            continue;
        }
        failed += 1;
        assert_eq!(said.code, 7, "{inodes}: {said:?}");
        if desk.is_complete_without_a_drive(&said, &drives) {
            drives.iter().for_each(|drive| fs::remove_dir_all(&volumes::files(drive)[0]).unwrap());
            continue;
        }
        volumes::none_looks_complete(&drives);
        tight.grow("size=100m,nr_inodes=1000");
        run(desk.pack_cmd(&[&desk.source()], &drives, &[])).exits(0);
        run(desk.unpack_cmd(&drives, &desk.path(&format!("out-{inodes}")), &[])).exits(0);
        fs::remove_dir_all(desk.volume(1)).unwrap();
    }
    assert!(failed > 5, "the drive was too small for many files");
}

#[test]
fn secret_keys_are_not_repeated() {
    let desk = Desk::new();
    let key = fs::read_to_string(desk.path("key")).unwrap();
    let secret = key.lines().last().unwrap();
    put(desk.source().join("a"), "a");
    put(desk.path("list"), format!("\u{feff}{secret}\n"));
    for args in [
        vec!["-r".to_string(), format!(" {secret}")],
        vec!["-r".to_string(), format!("'{}'", secret.to_lowercase())],
        vec!["-R".to_string(), desk.path("list").display().to_string()],
    ] {
        let mut command = pouch(["pack"]);
        command.arg(desk.source()).arg("-o").arg(desk.drive(1)).args(&args);
        let said = run(command).exits(2);
        assert!(!said.all().to_uppercase().contains(&secret[20..60]), "{}", said.all());
    }
}

#[test]
fn a_source_that_is_a_link_to_a_file_is_the_file() {
    let desk = Desk::new();
    put(desk.source().join("real"), "content");
    symlink(desk.source().join("real"), desk.path("link")).unwrap();
    run(desk.pack_cmd(&[&desk.path("link")], &desk.drives(), &[])).exits(0);
    assert_eq!(fs::read_to_string(desk.unpack("out").join("link")).unwrap(), "content");
}

#[test]
fn what_stands_in_the_way_is_named_before_anything_changes() {
    let desk = Desk::new();
    for name in ["a", "b", "c"] {
        put(desk.source().join(name).join("1"), "new");
    }
    desk.pack();
    put(desk.path("out/source/a/1"), "old");
    fs::create_dir_all(desk.path("out/source/b/1")).unwrap();
    // `--overwrite` would not help, so the message does not suggest it.
    for more in [&["--overwrite"][..], &[]] {
        let said = run(desk.unpack_cmd(&desk.drives(), &desk.path("out"), more)).exits(2);
        assert!(said.err.contains("source/b/1 is in the way") && !said.err.contains("--overwrite"), "{}", said.err);
    }
    assert_eq!(fs::read_to_string(desk.path("out/source/a/1")).unwrap(), "old");
    assert_eq!(volumes::files(&desk.path("out")).len(), 1, "no staging folder");
}

#[test]
fn parts_of_a_tree_come_out_one_after_the_other() {
    let desk = Desk::packed();
    for only in ["source/notes", "source/clip.mov"] {
        run(desk.unpack_cmd(&desk.drives(), &desk.path("out"), &["--only", only])).exits(0);
    }
    crate::common::tree::same(&desk.source().join("notes"), &desk.path("out/source/notes"));
    run(desk.unpack_cmd(&desk.drives(), &desk.path("out"), &["--only", "source/notes"])).exits(2);
    let inside = desk.volume(1).join("out");
    let said = run(desk.unpack_cmd(&desk.drives(), &inside, &[])).exits(2);
    assert!(said.err.contains("beside what is sealed") && !inside.exists(), "{}", said.err);
}
