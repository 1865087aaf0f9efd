//! Sources on file systems that list a name twice, report wrong types, or stop in the middle of a folder, and sources
//! deeper than any path can name. What is packed can be opened and is what was there.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use crate::common::drive::{Cache, Drive, Lie};
use crate::common::tree::{dig, look, only_true_files, remove_deep, same};
use crate::common::{Desk, Run, noise, put, run};
use fuser::FileType;
use rustix::fs::XattrFlags;
use serde_json::Value;

const MIB: u64 = 1 << 20;

/// A desk, and a camera's card as its source.
fn plugged() -> Option<(Desk, Drive)> {
    let desk = Desk::new();
    let mut card = Drive::plug(desk.path("card"), 64 * MIB, Cache::WriteThrough)?;
    put(card.path().join("DCIM/a clip"), noise(200_000, 1));
    put(card.path().join("DCIM/b photo"), noise(5_000, 2));
    put(card.path().join("DCIM/c more/deeper/inner"), noise(3_000, 3));
    put(card.path().join("DCIM/c more/other"), noise(2_000, 4));
    put(card.path().join("DCIM/d last"), "the end");
    put(card.path().join("notes/a.txt"), "a note");
    card.replug();
    Some((desk, card))
}

fn pack(desk: &Desk, source: &Path) -> Run {
    run(desk.pack_cmd(&[source], &desk.drives(), &["--mend", "0", "--json"]))
}

/// Notes of a report: kind, path and text of each.
fn notes(report: &Value) -> Vec<(String, String, String)> {
    let text = |note: &Value, key: &str| note[key].as_str().expect("text").to_string();
    let notes = report["notes"].as_array().expect("notes").iter();
    notes.map(|note| (text(note, "kind"), text(note, "path"), text(note, "text"))).collect()
}

/// The only note of that kind.
#[track_caller]
fn note(report: &Value, kind: &str) -> (String, String) {
    let mut found = notes(report).into_iter().filter(|(of, _, _)| of == kind);
    let (Some((_, path, text)), None) = (found.next(), found.next()) else { panic!("one note {kind} in {report}") };
    (path, text)
}

/// The entries that `list` shows, by path.
fn listed(desk: &Desk) -> BTreeMap<String, Value> {
    let mut list = crate::common::pouch(["list", "--json", "-i"]);
    list.arg(desk.path("key")).args(desk.drives());
    let report = run(list).exits(0).json();
    let entries = report["entries"].as_array().expect("entries").clone();
    let count = entries.len();
    let by_path: BTreeMap<_, _> =
        entries.into_iter().map(|entry| (entry["path"].as_str().expect("a path").to_string(), entry)).collect();
    assert_eq!(by_path.len(), count, "each path is listed once");
    by_path
}

/// Checks that everything opens and equals the source.
#[track_caller]
fn all_comes_back(desk: &Desk, source: &Path) {
    run(desk.check_cmd(&desk.drives(), &[])).exits(0);
    let in_source = look(source).len();
    assert_eq!(listed(desk).len(), in_source);
    same(source, &desk.unpack("out").join(source.file_name().unwrap()));
}

#[test]
fn a_name_that_is_listed_twice_is_packed_once_with_all_below_it() {
    let Some((desk, card)) = plugged() else { return };
    card.lie(&["DCIM/b photo", "DCIM/c more", "notes/a.txt"].map(|path| Lie::Repeated(card.number(path))));
    let report = pack(&desk, &card.path()).exits(0).json();
    let repeated: Vec<_> = notes(&report).into_iter().filter(|(kind, _, _)| kind == "repeated").collect();
    let expected = [
        ("card/DCIM", "2 names listed more than once, such as \"b photo\"; each is packed once"),
        ("card/notes", "1 name listed more than once, such as \"a.txt\"; each is packed once"),
    ];
    assert_eq!(repeated, expected.map(|(path, text)| ("repeated".into(), path.into(), text.into())));
    all_comes_back(&desk, &card.path());
}

#[test]
fn what_a_listing_misses_while_its_folder_changes_is_packed() {
    let Some((desk, mut card)) = plugged() else { return };
    card.replug();
    let [folder, missed] = ["DCIM", "DCIM/c more"].map(|path| card.number(path));
    card.lie(&[Lie::MissedOnce { folder, missed }]);
    let packed = pack(&desk, &card.path());
    assert!([0, 4].contains(&packed.code), "whether a change of the folder is told is not asked here: {packed:?}");
    assert_eq!(listed(&desk).len(), look(&card.path()).len());
    assert!(listed(&desk).contains_key("card/DCIM/c more/deeper/inner"));
}

#[test]
fn what_a_listing_calls_a_thing_is_not_believed() {
    let wrong = [FileType::Directory, FileType::RegularFile, FileType::Symlink, FileType::NamedPipe];
    for (file, folder) in wrong.into_iter().zip(wrong.into_iter().cycle().skip(1)) {
        let Some((desk, card)) = plugged() else { return };
        let lies = [("DCIM/b photo", file), ("DCIM", folder), ("DCIM/c more/deeper", folder)];
        card.lie(&lies.map(|(path, kind)| Lie::Called(card.number(path), kind)));
        pack(&desk, &card.path()).exits(0);
        all_comes_back(&desk, &card.path());
    }
}

#[test]
fn files_that_share_a_number_keep_their_contents() {
    let Some((desk, card)) = plugged() else { return };
    let files = ["DCIM/a clip", "DCIM/b photo", "notes/a.txt"];
    let number = card.number(files[0]);
    card.lie(&files.map(|path| Lie::Shares { file: card.number(path), number, names: 2 }));
    let report = pack(&desk, &card.path()).exits(0).json();
    let (path, text) = note(&report, "not-linked");
    assert!(path == "card/DCIM/b photo" && text.ends_with("its own, and so are 1 more"), "{path}: {text}");
    run(desk.check_cmd(&desk.drives(), &[])).exits(0);
    assert!(listed(&desk).values().all(|entry| entry["type"] != "hardlink"));
    let out = desk.unpack("out").join("card");
    assert_eq!(only_true_files(&card.path(), &out).len(), 6);
}

#[test]
fn more_names_than_a_file_has_are_files_of_their_own() {
    let Some((desk, mut card)) = plugged() else { return };
    let (names, time) = (["one", "three", "two"], (1_000_000_000, 5));
    for (name, byte) in names.iter().zip([b'1', b'3', b'2']) {
        put(card.path().join("alike").join(name), [byte; 3_000]);
        crate::common::tree::set_mtime(&card.path().join("alike").join(name), time);
    }
    card.replug();
    let number = card.number("alike/one");
    card.lie(&names.map(|name| Lie::Shares { file: card.number(Path::new("alike").join(name)), number, names: 2 }));
    let report = pack(&desk, &card.path().join("alike")).exits(0).json();
    let (path, text) = note(&report, "not-linked");
    assert!(path == "alike/one" && text.ends_with("its own, and so are 2 more"), "{path}: {text}");
    let out = desk.unpack("out").join("alike");
    assert_eq!(only_true_files(&card.path().join("alike"), &out).len(), 3);
}

#[test]
fn true_hard_links_are_packed_once_without_a_word() {
    let desk = Desk::new();
    put(desk.source().join("folder/first"), noise(100_000, 1));
    for name in ["another", "folder/second"] {
        fs::hard_link(desk.source().join("folder/first"), desk.source().join(name)).unwrap();
    }
    let report = pack(&desk, &desk.source()).exits(0).json();
    assert_eq!(notes(&report), []);
    assert_eq!(listed(&desk).values().filter(|entry| entry["type"] == "hardlink").count(), 2);
    same(&desk.source(), &desk.unpack("out").join("source"));
}

#[test]
fn a_listing_that_breaks_off_names_its_folder_and_no_other() {
    let Some((desk, card)) = plugged() else { return };
    card.lie(&[Lie::BreaksOff(card.number("DCIM/c more"), 1)]);
    let report = pack(&desk, &card.path()).exits(4).json();
    let (path, text) = note(&report, "unreadable");
    assert!(path == "card/DCIM/c more" && text.contains("listed to its end"), "{path}: {text}");
    run(desk.check_cmd(&desk.drives(), &[])).exits(0);
    let flagged = listed(&desk).into_iter().filter(|(_, entry)| !entry["flag"].is_null()).map(|(path, _)| path);
    assert_eq!(flagged.collect::<Vec<_>>(), ["card/DCIM/c more"]);
    run(desk.unpack_cmd(&desk.drives(), &desk.path("out"), &[])).exits(4);
    card.lie(&[]);
    let back: BTreeSet<Vec<u8>> = only_true_files(&card.path(), &desk.path("out/card")).into_iter().collect();
    assert_eq!(back.len(), 5, "every file that was listed comes back: {back:?}");
    assert!(back.contains(&b"DCIM/c more/deeper/inner"[..]) && back.contains(&b"DCIM/d last"[..]));
}

#[test]
fn going_deeper_costs_the_same_at_any_depth() {
    let Some((desk, mut card)) = plugged() else { return };
    const DEPTH: u64 = 200;
    fs::create_dir(card.path().join("deep")).unwrap();
    dig(&card.path().join("deep"), DEPTH as usize, "d");
    card.lie(&[]);
    card.replug();
    card.asked();
    pack(&desk, &card.path().join("deep")).exits(0);
    let (looked_for, listed_folders) = card.asked();
    // Per level, this takes 2 listings and about 22 lookups. Starting from the top each time, it would take over 100
    // and 700, and more at greater depth.
    assert!(listed_folders < 5 * DEPTH, "{listed_folders} listings");
    assert!(looked_for < 60 * DEPTH, "{looked_for} lookups");
    assert_eq!(listed(&desk).len() as u64, 1 + 3 * DEPTH);
}

#[test]
fn a_source_that_is_deeper_than_a_path_can_name_is_packed() {
    let desk = Desk::new();
    let name = "f".repeat(100);
    dig(&desk.source(), 60, &name);
    let report = pack(&desk, &desk.source()).exits(0).json();
    assert!(notes(&report).iter().all(|(kind, _, _)| kind == "bag-name"), "{report}");
    run(desk.check_cmd(&desk.drives(), &[])).exits(0);
    let listed = listed(&desk);
    assert_eq!(listed.len(), 1 + 3 * 60);
    let deepest = format!("source{}/z", format!("/{name}").repeat(59));
    let sha256 = "594e519ae499312b29433b7dd8a97ff068defcba9755b6d5d00e84c524d67b06";
    assert!(deepest.len() > 5_900);
    assert_eq!(listed[&deepest]["sha256"], sha256, "the content, a `z`, was read");
    remove_deep(&desk.source());
}

#[test]
fn few_folders_are_open_at_once() {
    let desk = Desk::new();
    dig(&desk.source(), 300, "folder");
    let mut limited = std::process::Command::new("prlimit");
    limited.arg("--nofile=60").arg(env!("CARGO_BIN_EXE_pouch"));
    let pack = desk.pack_cmd(&[&desk.source()], &[desk.drive(1)], &["--mend", "0"]);
    limited.args(pack.get_args());
    if crate::common::need(&["prlimit"]) {
        run(assert_cmd::Command::from_std(limited)).exits(0);
    }
    remove_deep(&desk.source());
}

#[test]
fn what_is_dropped_of_files_is_counted_in_one_note() {
    let desk = Desk::new();
    let source = desk.source();
    for file in ["a", "b", "folder/c", "folder/d"] {
        put(source.join(file), file);
    }
    let set = |path: &str, name: &str, value: &[u8]| {
        rustix::fs::setxattr(source.join(path), name, value, XattrFlags::empty())
    };
    // ACL version 2, with entries for owner, a user, group, mask and others.
    let user = [2, 0, 4, 0, 0x39, 0x30, 0, 0];
    let [owner, group, mask, other] = [1_u8, 4, 16, 32].map(|tag| [tag, 0, 4, 0, 255, 255, 255, 255]);
    let acl = [&[2, 0, 0, 0][..], &owner, &user, &group, &mask, &other].concat();
    let set_all = [
        set("b", "user.origin", b"a camera"),
        set("folder", "user.origin", b"a card"),
        set("b", "system.posix_acl_access", &acl),
    ];
    if set_all.contains(&Err(rustix::io::Errno::OPNOTSUPP)) {
        crate::common::ignored("extended attributes and ACLs in the temporary folder");
        return;
    }
    set_all.into_iter().for_each(|done| done.unwrap());
    fs::hard_link(source.join("b"), source.join("folder/link")).unwrap();
    let report = pack(&desk, &source).exits(0).json();
    let (path, text) = note(&report, "extras-dropped");
    assert_eq!(path, "source/b");
    let counted = "extended attributes of 2, ACLs of 1 are not packed";
    assert_eq!(text, format!("{counted}; this is the first file or folder that has any"));
    let out = desk.unpack("out").join("source");
    assert_eq!(rustix::fs::listxattr(out.join("b"), &mut [0_u8; 100][..]).unwrap(), 0);
}

#[test]
fn a_link_without_a_target_is_left_out_and_named() {
    let Some((desk, card)) = plugged() else { return };
    card.lie(&[Lie::Link(card.number("notes/a.txt"))]);
    let report = pack(&desk, &card.path()).exits(4).json();
    let (path, text) = note(&report, "unreadable");
    assert!(path == "card/notes/a.txt" && text.contains("a link without a target"), "{path}: {text}");
    assert!(!listed(&desk).contains_key("card/notes/a.txt") && listed(&desk).contains_key("card/DCIM/b photo"));
}

#[test]
fn a_file_system_that_finds_the_same_hole_again_and_again_keeps_nobody_waiting() {
    for at in [0, 4096, 300_000] {
        let Some((desk, card)) = plugged() else { return };
        let sparse = card.path().join("DCIM/sparse");
        put(&sparse, "a little");
        fs::OpenOptions::new().write(true).open(&sparse).unwrap().set_len(300_000).unwrap();
        card.lie(&[Lie::StandsStill { file: card.number("DCIM/sparse"), at }]);
        pack(&desk, &card.path()).exits(0);
        card.lie(&[]);
        same(&card.path(), &desk.unpack("out").join("card"));
    }
}

#[test]
fn more_bytes_than_any_tar_holds_are_over_a_limit_and_no_defect() {
    for files in [1, 2, 3, 4] {
        let desk = Desk::in_memory();
        for at in 0..files {
            let file = fs::File::create(desk.source().join(format!("{at}"))).unwrap();
            if file.set_len(i64::MAX as u64).is_err() {
                crate::common::ignored("files of any size in memory");
                return;
            }
        }
        let said = run(desk.pack_cmd(&[&desk.source()], &desk.drives(), &[])).exits(6);
        assert!(said.err.contains("Pack it as several"), "{}", said.err);
    }
}
