//! Bad copies beside good ones, damaged or planted by an attacker who knows a recipient: the next copy is used and the
//! bad one is named. Only where no copy is left does the run fail, with a class that says whether damage explains it.

use std::fs;
use std::path::PathBuf;

use crate::common::forge::{Known, new_seal, sealed, stored, to_receiver};
use crate::common::tree::{only_true_files, same};
use crate::common::{Desk, pouch, run, volumes};
use pouch::internals::format::seal::Mode;

/// A command with the key on these volumes.
fn command(desk: &Desk, words: &[&str], drives: &[PathBuf]) -> assert_cmd::Command {
    let mut command = pouch(words);
    command.args(drives).arg("-i").arg(desk.path("key"));
    if ["unpack", "repair"].contains(&words[0]) {
        let target = tempfile::tempdir_in(desk.dir.path()).unwrap().keep();
        command.arg("-o").arg(target);
    }
    command
}

const COMMANDS: [&[&str]; 5] = [&["unpack"], &["list"], &["check"], &["repair", "-n"], &["unpack", "--salvage"]];

/// Checks that every command that opens a bundle works.
fn all_work(desk: &Desk, drives: &[PathBuf], what: &str) {
    for words in COMMANDS {
        let said = run(command(desk, words, drives));
        // `check` and `repair` report that the volume's own file is wrong.
        let expected: &[i32] = if words[0] == "check" { &[0, 3, 4] } else { &[0] };
        assert!(expected.contains(&said.code), "{what}: {words:?}: {said:?}");
        assert!(words[0] == "repair" || !said.err.contains("pouch: "), "{what}: {words:?}: {said:?}");
    }
}

/// Seals that open with the receiver's key, or seem to, and the exit code if the volume has no others.
fn bad_seals(desk: &Desk) -> Vec<(&'static str, Vec<u8>, i32)> {
    let (normal, _) = new_seal(Mode::Normal);
    let (threshold, _) = new_seal(Mode::Threshold { need: 2, of: 3 });
    let own = normal.lines().last().unwrap();
    let to_us = |text: &str| to_receiver(desk, text.as_bytes());
    let other_key = new_seal(Mode::Normal).0.lines().last().unwrap().to_string();
    let age_2 = String::from_utf8_lossy(&to_us("")[..150]).replacen("v1", "v2", 1).into_bytes();
    vec![
        ("threshold", to_us(&threshold), 2),
        ("no identity", to_us(&normal.replace(own, &own[..own.len() - 1])), 6),
        ("not its key", to_us(&normal.replace(own, &other_key)), 6),
        ("no seal", to_us("hello\n"), 6),
        ("newer", to_us(&normal.replace("seal v1", "seal v2")), 2),
        ("newer and longer", to_us(&(normal.replace("seal v1", "seal v2") + &"x".repeat(4000))), 2),
        ("too long", to_us(&(normal.clone() + &"x".repeat(4000))), 6),
        ("of a later age", age_2, 2),
        ("far too long", vec![b'x'; 70_000], 6),
        ("noise", vec![b'x'; 700], 4),
        ("empty", vec![], 4),
    ]
}

#[test]
fn a_bad_seal_hides_no_good_one() {
    let desk = Desk::packed();
    let own = fs::read(desk.volume(1).join("seal.age")).unwrap();
    for (what, seal, alone) in bad_seals(&desk) {
        // In a folder of its own, which is looked at before all others.
        let planted = desk.drive(1).join("a");
        crate::common::put(planted.join("seal.age"), &seal);
        all_work(&desk, &desk.drives(), what);
        let said = run(command(&desk, &["list"], &desk.drives())).exits(0);
        assert!(said.err.contains("a/seal.age: could not be used"), "{what} is named: {}", said.err);
        let said = run(command(&desk, &["list"], std::slice::from_ref(&planted))).exits(alone);
        assert!(said.err.contains("seal.age"), "{what}: {}", said.err);
        fs::remove_dir_all(planted).unwrap();
        // In place of one of the volume's two seals.
        fs::write(desk.volume(1).join("seal.age"), &seal).unwrap();
        all_work(&desk, &desk.drives(), what);
        run(command(&desk, &["list"], &[desk.drive(1)])).exits(0);
        fs::write(desk.volume(1).join("seal.age"), &own).unwrap();
    }
}

#[test]
fn a_seal_of_no_bundle_stands_in_nobody_s_way() {
    let desk = Desk::packed();
    let (seal, recipient) = new_seal(Mode::Normal);
    let volume = desk.volume(1);
    for name in ["seal.age", "seal2.age"] {
        fs::write(volume.join(name), to_receiver(&desk, seal.as_bytes())).unwrap();
    }
    all_work(&desk, &desk.drives(), "another key");
    // With a file that opens with the planted key but is no head.
    crate::common::put(desk.drive(1).join("a/seal.age"), to_receiver(&desk, seal.as_bytes()));
    crate::common::put(desk.drive(1).join("a/head.age"), sealed(&recipient, &stored(b"pouch-head 1\n")));
    all_work(&desk, &desk.drives(), "with a head that is none");
    // With all heads lost, only one of the keys opens more than its seal.
    for drive in desk.drives() {
        for file in volumes::files(&volumes::files(&drive).pop().unwrap()) {
            if volumes::name_of(&file).starts_with("head") {
                fs::remove_file(file).unwrap();
            }
        }
    }
    fs::remove_file(desk.drive(1).join("a/head.age")).unwrap();
    let target = desk.path("salvaged");
    let mut salvage = pouch(["unpack", "--salvage"]);
    salvage.args(desk.drives()).arg("-i").arg(desk.path("key")).arg("-o").arg(&target);
    run(salvage).exits(0);
    same(&desk.source(), &target.join("source"));
}

#[test]
fn a_planted_passphrase_seal_uses_up_no_guess() {
    let desk = Desk::new();
    crate::common::put(desk.source().join("a"), "a");
    let fd = |mut command: assert_cmd::Command| {
        command.args(["--passphrase-fd", "0"]).write_stdin(format!("{}\n", crate::common::PASSPHRASE));
        command
    };
    let mut pack = pouch(["pack", "-p"]);
    pack.arg(desk.source()).arg("-o").arg(desk.drive(1));
    run(fd(pack)).exits(0);
    let mut other = pouch(["pack", "-p"]);
    other.arg(desk.source()).arg("-o").arg(desk.drive(2)).args(["--passphrase-fd", "0"]);
    other.write_stdin("another-passphrase-that-is-long-enough\n");
    run(other).exits(0);
    for name in ["a", "b", "c", "d"] {
        crate::common::put(
            desk.drive(1).join(name).join("seal-p.age"),
            fs::read(desk.drive(2).join("volume-1/seal-p.age")).unwrap(),
        );
    }
    let mut list = pouch(["list"]);
    list.arg(desk.drive(1));
    run(fd(list)).exits(0);
}

/// Bad heads, and the exit code if there are no others.
fn bad_heads(known: &Known) -> Vec<(&'static str, Vec<u8>, i32)> {
    let text = known.head.encode();
    let seal = |text: &str| known.seal_text(text);
    let mut other = known.head.clone();
    other.statement.bundle[0] ^= 1;
    let whole = seal(&text);
    vec![
        ("quiet", seal(&text.replace("profile open", "profile quiet")), 2),
        ("newer", seal(&text.replace("pouch-head 1", "pouch-head 2")), 2),
        ("malformed", seal(&text.replace("AUTH 0", "AUTH 00")), 6),
        ("of another bundle", seal(&other.encode()), 6),
        ("no zstd", sealed(&known.recipient, text.as_bytes()), 6),
        ("zstd cut short", sealed(&known.recipient, &stored(text.as_bytes())[..200]), 6),
        ("to somebody else", sealed(&new_seal(Mode::Normal).1, &stored(text.as_bytes())), 4),
        ("cut", whole[..whole.len() / 2].to_vec(), 4),
        ("noise", vec![b'x'; 70_000], 4),
    ]
}

fn replace_on(drives: &[PathBuf], names: &[&str], bytes: &[u8]) {
    for volume in drives.iter().map(|drive| volumes::files(drive).pop().unwrap()) {
        names.iter().for_each(|name| fs::write(volume.join(name), bytes).unwrap());
    }
}

#[test]
fn a_bad_head_or_list_hides_no_good_one() {
    let desk = Desk::packed();
    let known = Known::of(&desk, &desk.volume(1));
    let packed = desk.path("packed");
    volumes::copy(&desk.volume(1), &packed);
    let restore = |name: &str| {
        fs::copy(packed.join(name), desk.volume(1).join(name)).unwrap();
    };
    for (what, head, alone) in bad_heads(&known) {
        fs::write(desk.volume(1).join("head.age"), &head).unwrap();
        all_work(&desk, &desk.drives(), what);
        let said = run(command(&desk, &["list"], &[desk.drive(1)])).exits(0);
        assert!(said.err.contains("head.age: could not be used"), "{what} is named: {}", said.err);
        fs::write(desk.volume(1).join("head2.age"), &head).unwrap();
        let said = run(command(&desk, &["list"], &[desk.drive(1)])).exits(alone);
        assert!(said.err.contains("head.age: ") && said.err.contains("head2.age: "), "{what}: {}", said.err);
        ["head.age", "head2.age"].into_iter().for_each(restore);
    }
    let tab = known.list.replacen("\"mode\"", "\"mode\" ", 1);
    let lists = [
        ("no zstd", sealed(&known.recipient, known.list.as_bytes()), 6),
        ("malformed", known.seal_text(&tab), 6),
        ("another list", known.seal_text(&known.twin().1), 6),
        ("a last line without end", known.seal_text(known.list.trim_end()), 6),
        ("to somebody else", sealed(&new_seal(Mode::Normal).1, &stored(known.list.as_bytes())), 4),
        ("noise", vec![b'x'; 70_000], 4),
    ];
    for (what, list, alone) in lists {
        fs::write(desk.volume(1).join("list.age"), &list).unwrap();
        all_work(&desk, &desk.drives(), what);
        let said = run(command(&desk, &["list"], &desk.drives())).exits(0);
        assert!(said.err.contains("list.age: could not be used"), "{what} is named: {}", said.err);
        let said = run(command(&desk, &["list"], &[desk.drive(1)])).exits(alone);
        assert!(said.err.contains("list.age: "), "{what}: {}", said.err);
        restore("list.age");
    }
}

#[test]
fn a_part_whose_header_in_the_head_is_wrong_costs_nothing_else() {
    let desk = Desk::packed();
    let mut known = Known::of(&desk, &desk.volume(1));
    known.head.parts[0].header[100] ^= 1;
    known.head.statement.parts_hash = pouch::internals::format::head::parts_hash(&known.head.parts);
    replace_on(&desk.drives(), &["head.age", "head2.age"], &known.seal_text(&known.head.encode()));
    let out = desk.path("out");
    let said = run(desk.unpack_cmd(&desk.drives(), &out, &[])).exits(4);
    assert!(said.out.contains("part 1 of volume") && said.out.contains("does not open"), "{}", said.out);
    assert!(out.join("source/notes/b.txt").exists(), "{}", said.out);
    only_true_files(&desk.source(), &out.join("source"));
}
