//! Sources that change while they are packed: they hold more than their size says, others write to them, names come and
//! go. A drive whose reads stop at a gate holds the packing midway, so that no test depends on timing.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::common::drive::{Cache, Drive, Fault};
use crate::common::tree::{only_true_files, same};
use crate::common::{Desk, Run, Tmpfs, chmod, need, noise, pouch_raw, put, run, volumes};
use serde_json::Value;

mod held_files;

const MIB: u64 = 1 << 20;
/// More than planning reads (16 samples and the beginning, 1 MiB each), less than packing reads.
const HALF_WAY: u64 = 20 * MIB;

/// A drive that can be read halfway, as a source beside the one that changes.
struct Gate {
    drive: Drive,
    desk: Desk,
}

impl Gate {
    /// `name` decides the order of packing: `a gate` before `source`, `z gate` after it.
    fn new(name: &str) -> Option<Self> {
        let desk = Desk::new();
        put(desk.source().join("folder/file"), "content");
        let mut drive = Drive::plug(desk.path(name), 64 * MIB, Cache::WriteThrough)?;
        put(drive.path().join("long"), noise(40 << 20, 1));
        drive.replug();
        Some(Self { drive, desk })
    }

    fn command(&self, more: &[&str]) -> Command {
        let mut pack = pouch_raw(["pack", "--json", "--mend", "0", "-r", &self.desk.recipient]);
        pack.args(more).arg(self.desk.source()).arg(self.drive.path());
        for drive in self.desk.drives() {
            pack.arg("-o").arg(drive);
        }
        pack
    }

    /// Packs both sources, and calls `change` when half of the gate was read.
    fn pack_while(&self, change: impl FnOnce(&Path)) -> Run {
        self.drive.set(&[Fault::Uncached, Fault::Gate { bytes: HALF_WAY }]);
        let child = self.command(&[]).spawn().expect("the program starts");
        self.drive.until_it_waits();
        assert!(self.desk.volume(1).join("seal.age").exists(), "packing has begun when the gate is reached");
        change(&self.desk.source());
        self.drive.set(&[]);
        ended(child)
    }

    fn unpack(&self, code: i32) -> (PathBuf, Run) {
        let out = tempfile::tempdir_in(self.desk.dir.path()).unwrap().keep();
        let said = run(self.desk.unpack_cmd(&self.desk.drives(), &out, &[])).exits(code);
        (out, said)
    }
}

fn ended(child: Child) -> Run {
    let output = child.wait_with_output().expect("the program ends");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Run {
        code: output.status.code().expect("no signal ends the program"),
        out: text(&output.stdout),
        err: text(&output.stderr),
    }
}

/// The text of the note of this kind about this path.
#[track_caller]
fn note(report: &Value, kind: &str, path: &str) -> String {
    let notes = report["notes"].as_array().expect("notes");
    let found = notes.iter().find(|note| note["kind"] == kind && note["path"] == path);
    found.unwrap_or_else(|| panic!("{path} is not {kind}: {notes:#?}"))["text"].as_str().unwrap().to_string()
}

#[test]
fn what_a_file_holds_beyond_its_size_is_named() {
    let desk = Desk::new();
    let Some(mut drive) = Drive::plug(desk.path("camera"), 64 * MIB, Cache::WriteThrough) else { return };
    // One file fits in one range, the other takes several.
    for (name, len) in [("short", 10_000), ("long", 24 << 20)] {
        put(drive.path().join(name), noise(len, 1));
    }
    drive.set(&[Fault::Uncached, Fault::Understated { bytes: 100 }]);
    drive.replug();
    let report = run(desk.pack_cmd(&[&drive.path()], &desk.drives(), &["--json"])).exits(4).json();
    for name in ["short", "long"] {
        let text = note(&report, "changed", &format!("camera/{name}"));
        assert!(text.contains("holds more than its size said"), "{text}");
    }
    let said = run(desk.unpack_cmd(&desk.drives(), &desk.path("out"), &[])).exits(4);
    assert!(said.out.contains("2 files may mix two states"), "{}", said.out);
    drive.set(&[]);
    drive.replug();
    for (name, len) in [("short", 9_900), ("long", (24 << 20) - 100)] {
        let back = fs::read(desk.path("out/camera").join(name)).unwrap();
        assert!(back == fs::read(drive.path().join(name)).unwrap()[..len], "{name} has the length that was listed");
    }
}

#[test]
fn a_file_that_grows_before_it_is_read_is_cut_and_named() {
    let Some(gate) = Gate::new("a gate") else { return };
    let packed = gate.pack_while(|source| {
        let mut file = fs::File::options().append(true).open(source.join("folder/file")).unwrap();
        file.write_all(b" and more").unwrap();
    });
    let text = note(&packed.exits(4).json(), "changed", "source/folder/file");
    assert!(text.contains("holds more than its size said"), "{text}");
    let (out, _) = gate.unpack(4);
    assert_eq!(fs::read(out.join("source/folder/file")).unwrap(), b"content");
}

#[test]
fn a_name_that_comes_while_packing_is_named_to_both_sides() {
    for name in ["a gate", "z gate"] {
        let Some(gate) = Gate::new(name) else { return };
        let packed = gate.pack_while(|source| put(source.join("folder/new"), "came late")).exits(4);
        assert!(packed.err.contains("note: source/folder: ") && packed.err.contains("new"), "{}", packed.err);
        let text = note(&packed.json(), "outdated", "source/folder");
        assert!(text.ends_with("1 name in it is not in the bundle: new"), "{text}");
        run(gate.desk.check_cmd(&gate.desk.drives(), &[])).exits(0);
        let (out, said) = gate.unpack(4);
        assert!(said.out.contains("complete  no: all 2 files"), "{}", said.out);
        assert!(said.all().contains("source/folder: not all of this folder is in the bundle"), "{said:?}");
        assert_eq!(fs::read(out.join("source/folder/file")).unwrap(), b"content");
        assert!(!out.join("source/folder/new").exists());
    }
}

#[test]
fn whatever_else_of_a_source_changes_while_packing_is_named() {
    let Some(gate) = Gate::new("z gate") else { return };
    let source = gate.desk.source();
    for name in ["mode", "moved/inside", "to a link", "saved anew", "deleted"] {
        put(source.join(name), name);
    }
    fs::create_dir(source.join("closed")).unwrap();
    symlink("mode", source.join("link")).unwrap();
    fs::hard_link(source.join("mode"), source.join("second name")).unwrap();
    let packed = gate.pack_while(|source| {
        chmod(source.join("mode"), 0o600);
        chmod(source.join("closed"), 0o700);
        fs::rename(source.join("moved"), source.with_file_name("elsewhere")).unwrap();
        fs::remove_file(source.join("deleted")).unwrap();
        for (name, to) in [("link", "deleted"), ("to a link", "mode")] {
            fs::remove_file(source.join(name)).unwrap();
            symlink(to, source.join(name)).unwrap();
        }
        put(source.join("new"), "other!");
        fs::rename(source.join("new"), source.join("saved anew")).unwrap();
    });
    let report = packed.exits(4).json();
    let notes = report["notes"].as_array().unwrap();
    let mut named: Vec<&str> = notes.iter().map(|note| note["path"].as_str().unwrap()).collect();
    named.sort();
    named.dedup();
    let expected = ["", "/closed", "/deleted", "/link", "/mode", "/moved", "/saved anew", "/second name", "/to a link"];
    // A file below the moved folder is named as well if the move came before it was read.
    named.retain(|name| *name != "source/moved/inside");
    assert_eq!(named, expected.map(|name| format!("source{name}")), "{notes:#?}");
}

#[test]
fn a_source_that_is_renamed_while_packing_is_packed_whole_and_named() {
    let Some(gate) = Gate::new("a gate") else { return };
    let other = gate.desk.path("renamed");
    let packed = gate.pack_while(|source| fs::rename(source, &other).unwrap()).exits(4);
    note(&packed.json(), "outdated", "source");
    let (out, _) = gate.unpack(0);
    same(&other, &out.join("source"));
}

#[test]
fn a_packing_that_goes_on_looks_again_too() {
    let Some(mut gate) = Gate::new("z gate") else { return };
    gate.drive.set(&[Fault::Uncached, Fault::Gate { bytes: 38 * MIB }]);
    let mut child = gate.command(&[]).spawn().unwrap();
    gate.drive.until_it_waits();
    let parts = || volumes::parts(&gate.desk.drives()).len();
    crate::common::until(|| parts() > 3);
    child.kill().unwrap();
    gate.drive.set(&[]);
    child.wait().unwrap();
    gate.drive.replug();
    let packed = gate.pack_while(|source| put(source.join("folder/new"), "came late")).exits(4);
    let report = packed.json();
    assert!(report["plan"]["packed"].as_u64().unwrap() > 0, "the run resumes: {report}");
    note(&report, "outdated", "source/folder");
    gate.unpack(4);
}

#[test]
fn what_the_packing_writes_into_a_source_itself_is_only_noted() {
    let desk = Desk::new();
    put(desk.source().join("file"), "content");
    fs::create_dir(desk.source().join("card")).unwrap();
    let (card, drive) = (desk.source().join("card"), desk.drive(1));
    if !Command::new("mount").arg("--bind").args([&drive, &card]).status().is_ok_and(|done| done.success()) {
        crate::common::ignored("the right to mount");
        return;
    }
    let said = run(desk.pack_cmd(&[&desk.source()], &[drive], &["--json"]));
    let unmounted = Command::new("umount").arg("-l").arg(&card).status();
    assert!(unmounted.unwrap().success());
    note(&said.exits(0).json(), "own-work", "source/card");
}

#[test]
#[cfg_attr(not(run_as_root), ignore = "needs root, to become somebody else")]
fn an_empty_file_that_cannot_be_read_comes_back_empty_and_is_named() {
    let desk = Desk::new();
    for (name, text) in [("open", "read me"), ("empty", ""), ("locked", "not me")] {
        put(desk.source().join(name), text);
    }
    fs::hard_link(desk.source().join("empty"), desk.source().join("second name")).unwrap();
    for name in ["empty", "locked"] {
        chmod(desk.source().join(name), 0o200);
    }
    let pack = desk.pack_cmd(&[&desk.source()], &desk.drives(), &["--json"]);
    let report = run(desk.as_nobody(pack)).exits(4).json();
    let text = note(&report, "unreadable", "source/empty");
    assert!(text.starts_with("could not be opened; its size was 0, and it is packed as empty"), "{text}");
    let out = desk.path("out");
    let said = run(desk.unpack_cmd(&desk.drives(), &out, &[])).exits(4);
    for name in ["empty", "second name"] {
        assert_eq!(fs::metadata(out.join("source").join(name)).unwrap().len(), 0);
        let named = format!("source/{name}: could not be read when it was packed; its size was 0");
        assert!(said.all().contains(&named), "{said:?}");
    }
    assert!(!out.join("source/locked").exists() && said.out.contains("complete  no: 3 of 4 files"), "{}", said.out);
    // `list` says the same.
    let listed = run({
        let mut list = crate::common::pouch(["list"]);
        list.args(desk.drives()).arg("-i").arg(desk.path("key"));
        list
    });
    assert!(listed.out.contains("its size was 0") && listed.out.contains("not in the bundle"), "{}", listed.out);
}
