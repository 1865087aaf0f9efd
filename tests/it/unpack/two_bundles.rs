//! Several bundles at once: on one drive, under one key, or one that no key opens. The user chooses by fingerprint, and
//! the order of the drives never matters.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use crate::common::forge::Known;
use crate::common::tree::{only_true_files, same};
use crate::common::{Desk, Run, chmod, noise, pouch, put, run, volumes};

/// The fingerprint that packing printed.
fn fingerprint(said: &Run) -> String {
    said.out.lines().find_map(|line| line.strip_prefix("fingerprint ")).unwrap().trim().to_string()
}

/// Runs a command with the key on these volumes. Returns the run and the target.
fn command(desk: &Desk, words: &[&str], drives: &[PathBuf]) -> (Run, PathBuf) {
    let target = tempfile::tempdir_in(desk.dir.path()).unwrap().keep();
    let mut command = pouch(words);
    command.args(drives).arg("-i").arg(desk.path("key"));
    if ["unpack", "repair"].contains(&words[0]) {
        command.arg("-o").arg(&target);
    }
    (run(command), target)
}

const COMMANDS: [&[&str]; 5] = [&["unpack"], &["list"], &["check"], &["repair", "-n"], &["unpack", "--salvage"]];

/// Two bundles on the same drives, and their fingerprints.
fn two() -> (Desk, String, String) {
    let desk = Desk::new();
    put(desk.source().join("clip"), noise(1_500_000, 1));
    let first = desk.pack_bare();
    for number in 1..=3 {
        fs::rename(desk.volume(number), desk.drive(number).join("first")).unwrap();
    }
    put(desk.source().join("clip"), noise(1_500_000, 2));
    let second = desk.pack_bare();
    (desk, fingerprint(&first), fingerprint(&second))
}

#[test]
fn two_bundles_on_one_drive_are_told_apart_by_their_fingerprints() {
    let (desk, first, second) = two();
    let (drives, mut backwards) = (desk.drives(), desk.drives());
    backwards.reverse();
    for words in COMMANDS {
        let said = command(&desk, words, &drives).0.exits(2);
        for text in [&first, &second, "2 different bundles", "--bundle", "first", "volume-1"] {
            assert!(said.err.contains(text), "{words:?}: {text}: {}", said.err);
        }
        let order = |said: &Run| said.err.find(&first) < said.err.find(&second);
        let other = command(&desk, words, &backwards).0.exits(2);
        assert_eq!(order(&said), order(&other), "the order of drives does not matter");
        for chosen in [&first, &second] {
            for drives in [&drives, &backwards] {
                command(&desk, &[words, &["--bundle", chosen]].concat(), drives).0.exits(0);
            }
        }
    }
    let (said, target) = command(&desk, &["unpack", "--bundle", &second], &drives);
    assert!(said.out.contains(&second) && said.err.contains("it is passed over"), "{said:?}");
    same(&desk.source(), &target.join("source"));
}

#[test]
fn a_fingerprint_is_taken_as_it_is_read_out() {
    let (desk, first, _) = two();
    let drives = desk.drives();
    for text in [first.to_lowercase(), first.replace('-', ""), first[..9].to_string(), first[..13].to_lowercase()] {
        let said = command(&desk, &["list", "--bundle", &text], &drives).0.exits(0);
        assert!(said.out.contains(&first), "{text}");
    }
    for text in [&first[..8], "AAAAA-AAAAA", "12345678", ""] {
        command(&desk, &["list", "--bundle", text], &drives).0.exits(2);
    }
    let said = command(&desk, &["unpack", "--bundle", "AAAAA-AAA"], &drives).0.exits(2);
    assert!(
        said.err.contains("AAAAAAAA") && said.err.contains(&first),
        "the bundles that are there are named: {}",
        said.err
    );
    // A single bundle must be the chosen one, too.
    let one = [desk.drive(1).join("first")];
    command(&desk, &["list", "--bundle", &first], &one).0.exits(0);
    command(&desk, &["list", "--bundle", "AAAAA-AAA"], &one).0.exits(2);
    let mut without_key = pouch(["check", "--bundle", &first]);
    without_key.args(&one);
    assert!(run(without_key).exits(2).err.contains("-i"), "it needs a key");
}

/// One volume has another head and list, made by an attacker who can open the bundle.
fn with_twin() -> (Desk, String, String) {
    let desk = Desk::new();
    put(desk.source().join("clip"), noise(2_200_000, 1));
    put(desk.source().join("note"), "note");
    chmod(desk.source().join("clip"), 0o644);
    chmod(desk.source().join("note"), 0o644);
    let said = desk.pack_bare();
    let known = Known::of(&desk, &desk.volume(1));
    let (head, list) = known.twin();
    for name in ["head.age", "head2.age"] {
        fs::write(desk.volume(2).join(name), known.seal_text(&head.encode())).unwrap();
    }
    fs::write(desk.volume(2).join("list.age"), known.seal_text(&list)).unwrap();
    (desk, fingerprint(&said), head.statement.fingerprint())
}

#[test]
fn two_heads_under_one_key_are_two_bundles() {
    let (desk, own, twin) = with_twin();
    let mode = |target: &Path| fs::metadata(target.join("source/clip")).unwrap().permissions().mode() & 0o777;
    let mut orders = vec![desk.drives(), desk.drives()];
    orders[1].rotate_left(1);
    for drives in &orders {
        for words in COMMANDS {
            let said = command(&desk, words, drives).0.exits(2);
            let both = said.err.contains(&own) && said.err.contains(&twin) && said.err.contains("--bundle");
            assert!(both && !said.all().contains("damaged"), "{words:?}: {said:?}");
        }
        // Both bundles share the parts: each is complete under its own head.
        for (chosen, expected) in [(&own, 0o644), (&twin, 0o600)] {
            let (said, target) = command(&desk, &["unpack", "--bundle", chosen], drives);
            let said = said.exits(0);
            assert!(said.out.contains(chosen) && !said.all().contains("damaged"), "{said:?}");
            assert_eq!(mode(&target), expected);
        }
    }
    // A volume with nothing but the other head is passed over and not called damaged.
    let planted = desk.path("planted");
    volumes::copy(&desk.volume(2), &planted);
    for part in volumes::files(&planted).iter().filter(|file| volumes::is_part(file)) {
        fs::remove_file(part).unwrap();
    }
    let drives = [desk.drive(1), planted.clone(), desk.drive(3)];
    let (said, _) = command(&desk, &["unpack", "--bundle", &own], &drives);
    let said = said.exits(3);
    assert!(said.err.contains(&format!("planted: is not of this bundle but of {twin}")), "{said:?}");
    assert!(said.out.contains("intact    yes") && said.out.contains("bring volume 2 of 3"), "{said:?}");
}

#[test]
fn heads_that_differ_in_what_is_reserved_only_are_one_bundle() {
    let desk = Desk::packed();
    let mut known = Known::of(&desk, &desk.volume(1));
    known.head.auth.push(pouch::internals::format::head::Auth { kind: "pair".into(), value: "AAAA".into() });
    fs::write(desk.volume(2).join("head.age"), known.seal_text(&known.head.encode())).unwrap();
    command(&desk, &["unpack"], &desk.drives()).0.exits(0);
}

/// A desk, and another one with as many drives, whose key is not given to any command.
fn strangers() -> (Desk, Desk) {
    let (desk, other) = (Desk::packed(), Desk::new());
    put(other.source().join("clip"), noise(2_200_000, 5));
    other.pack_bare();
    (desk, other)
}

#[test]
fn a_volume_that_no_key_opens_is_passed_over_and_is_no_damage() {
    let (desk, other) = strangers();
    let all: Vec<PathBuf> = other.drives().into_iter().chain(desk.drives()).collect();
    let (said, target) = command(&desk, &["unpack"], &all);
    let said = said.exits(0);
    assert_eq!(said.err.matches("is not of this bundle").count(), 3, "{}", said.err);
    same(&desk.source(), &target.join("source"));
    // In place of one of the bundle's own volumes, too: that volume is missing, and nothing is damaged.
    let drives = [desk.drive(1), other.drive(2), desk.drive(3)];
    for words in [&["unpack"][..], &["unpack", "--salvage"]] {
        let (said, target) = command(&desk, words, &drives);
        let said = said.exits(3);
        assert!(said.out.contains("intact    yes") && said.out.contains("bring volume 2 of 3"), "{said:?}");
        only_true_files(&desk.source(), &target.join("source"));
    }
    let mut check = desk.check_cmd(&drives, &["--json"]);
    check.arg("-i").arg(desk.path("key"));
    let report = run(check).exits(3).json();
    assert_eq!(report["bundle"]["here"], serde_json::json!([1, 3]), "{report}");
    assert!(report["bundle"]["notes"].to_string().contains("passed over"), "{report}");
    assert!(report["volumes"].as_array().unwrap().iter().all(|volume| volume["state"] == "whole"), "{report}");
    let said = command(&desk, &["repair", "-n"], &drives).0.exits(3);
    assert!(said.out.contains("volume 2 cannot be made whole"), "{}", said.out);
    let inside = desk.unpack_cmd(&drives, &other.volume(2).join("out"), &[]);
    assert!(run(inside).exits(2).err.contains("beside what is sealed"), "a foreign volume is no target either");
    command(&desk, &["list"], &other.drives()).0.exits(8);
}

#[test]
fn a_volume_of_its_own_is_known_by_whatever_is_left_on_it() {
    let desk = Desk::packed();
    let (_, other) = strangers();
    let volume = desk.volume(2);
    let foreign: BTreeSet<PathBuf> =
        ["seal.age", "seal2.age", "head.age", "head2.age", "list.age"].map(PathBuf::from).into();
    for name in foreign {
        fs::copy(other.volume(2).join(&name), volume.join(&name)).unwrap();
    }
    let said = command(&desk, &["unpack"], &desk.drives()).0.exits(0);
    assert!(!said.err.contains("passed over"), "its parts are the bundle's: {}", said.err);
    for part in volumes::parts(&[desk.drive(2)]) {
        let mut bytes = fs::read(&part).unwrap();
        let foreign = fs::read(&volumes::parts(&[other.drive(2)])[0]).unwrap();
        bytes[..184].copy_from_slice(&foreign[..184]);
        fs::write(part, bytes).unwrap();
    }
    let said = command(&desk, &["unpack"], &desk.drives()).0.exits(0);
    assert!(!said.err.contains("passed over"), "the bundle's chunks alone are enough: {}", said.err);
}
