//! Without any head, any list, or both: whole files are delivered, others are named, and nothing is claimed that was
//! not verified.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::{Path, PathBuf};

use crate::common::tree::{Tree, differences, look, only_true_files, set_mtime};
use crate::common::{Desk, PART_FILE, chmod, noise, put, run, volumes};
use serde_json::Value;

const HEADS: [&str; 2] = ["head.age", "head2.age"];
const LIST: [&str; 1] = ["list.age"];
const BOTH: [&str; 3] = ["head.age", "head2.age", "list.age"];

/// A bundle of several parts, with all kinds of files and names.
fn desk(pack: &[&str]) -> Desk {
    let desk = Desk::in_memory();
    let source = desk.source();
    put(source.join("large"), noise(2_500_000, 1));
    for n in 0..80 {
        put(source.join(format!("small/{n:02}")), noise(40_000 + n, n as u64));
    }
    let odd = source.join("odd");
    fs::create_dir(&odd).unwrap();
    for name in [&b"new\nline\n30 size=7\n"[..], b"\xff\xfe", b"100%.txt", b"a%0a", b"%FF", b"back\\slash\r"] {
        put(odd.join(OsStr::from_bytes(name)), name);
    }
    let deep = ["d"; 40].map(|name| name.repeat(80)).join("/");
    put(odd.join(&deep).join("e".repeat(250)), "far down");
    put(odd.join("early"), "before 1970");
    set_mtime(&odd.join("early"), (-77, 0));
    symlink("large", source.join("to-large")).unwrap();
    symlink(OsStr::from_bytes(b"nowhere\n\xff/at/all"), source.join("astray")).unwrap();
    symlink("s".repeat(300), source.join("far")).unwrap();
    fs::hard_link(source.join("small/07"), source.join("twin")).unwrap();
    put(source.join("empty/file"), "");
    fs::create_dir(source.join("empty/folder")).unwrap();
    let sparse = fs::File::create(source.join("sparse")).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&sparse, &noise(70_000, 5), 40 << 20).unwrap();
    put(source.join("zlast"), noise(900_000, 9));
    chmod(source.join("small/03"), 0o600);
    chmod(source.join("empty/folder"), 0o700);
    run(desk.pack_cmd(&[&source], &desk.drives(), pack)).exits(0);
    desk
}

fn bare() -> Desk {
    desk(&["--mend", "0"])
}

/// All copies of these files on all drives.
fn copies(desk: &Desk, names: &[&str]) -> Vec<PathBuf> {
    let files = desk.drives().into_iter().flat_map(|drive| volumes::files(&volumes::files(&drive)[0]));
    files.filter(|file| names.contains(&&*volumes::name_of(file))).collect()
}

fn remove(desk: &Desk, names: &[&str]) {
    copies(desk, names).iter().for_each(|file| fs::remove_file(file).unwrap());
}

/// Salvages from these drives. Returns exit code, report and target.
#[track_caller]
fn salvage(desk: &Desk, drives: &[PathBuf], more: &[&str]) -> (i32, Value, PathBuf) {
    let target = tempfile::tempdir_in(desk.dir.path()).expect("a folder").keep();
    let done = run(desk.unpack_cmd(drives, &target, &[&["--salvage", "--json"], more].concat()));
    let code = done.code;
    assert!([0, 3, 4].contains(&code), "{done:?}");
    (code, done.exits(code).json(), target)
}

/// A tree with times in whole seconds, which is all that the tar has.
fn to_the_second(root: &Path) -> Tree {
    let mut tree = look(root);
    tree.values_mut().for_each(|node| node.mtime.1 = 0);
    tree
}

#[track_caller]
fn same(desk: &Desk, target: &Path) {
    let differences = differences(&to_the_second(&desk.source()), &to_the_second(&target.join("source")));
    assert!(differences.is_empty(), "{}", differences.join("\n"));
}

/// Checks a report against the target: nothing delivered is wrong, and every file is delivered or, if the report can
/// know it, named as lost. Returns the delivered names.
#[track_caller]
fn honest(desk: &Desk, report: &Value, target: &Path) -> BTreeSet<String> {
    let shown = |name: &[u8]| pouch::internals::base::path::escape(name).into_owned();
    let delivered: BTreeSet<String> = match target.join("source").exists() {
        true => only_true_files(&desk.source(), &target.join("source")).iter().map(|name| shown(name)).collect(),
        false => BTreeSet::new(),
    };
    let lost = report["lost"].as_array().unwrap().iter().map(|lost| lost["path"].as_str().unwrap());
    let lost: BTreeSet<String> = lost.map(|path| path.strip_prefix("source/").unwrap_or(path).to_string()).collect();
    assert!(delivered.is_disjoint(&lost), "{report}");
    assert_eq!(report["delivered"], delivered.len(), "{report}");
    if report["salvage"]["list"] == true || report["salvage"]["manifest"] == true {
        let files = look(&desk.source()).into_iter().filter(|(_, node)| node.kind == "file");
        let all: BTreeSet<String> = files.map(|(name, _)| shown(&name)).collect();
        let known: BTreeSet<String> = delivered.union(&lost).cloned().collect();
        assert!(known.is_superset(&all), "{:?} are not named: {report}", all.difference(&known));
    }
    if report["complete"] == true {
        same(desk, target);
    }
    assert_eq!(target.join(".pouch-unfinished").exists(), report["kept"].is_string());
    delivered
}

#[test]
fn whole_parts_are_enough() {
    let whole = bare();
    for (names, fingerprint) in [(&HEADS[..], false), (&LIST, true), (&BOTH, false)] {
        let desk = &whole;
        let kept: Vec<(PathBuf, Vec<u8>)> =
            copies(desk, names).into_iter().map(|path| (path.clone(), fs::read(path).unwrap())).collect();
        assert_eq!(kept.len(), 3 * names.len());
        for damaged in [true, false] {
            for (path, _) in &kept {
                if damaged { volumes::flip(path, 250, 3) } else { fs::remove_file(path).unwrap() }
            }
            let refused = run(desk.unpack_cmd(&desk.drives(), &desk.path("none"), &[]));
            assert_eq!(refused.code, if damaged { 4 } else { 3 }, "{refused:?}");
            assert!(refused.err.contains("`pouch unpack --salvage` delivers"), "{refused:?}");
            let (code, report, target) = salvage(desk, &desk.drives(), &[]);
            assert_eq!((code, &report["complete"], &report["intact"]), (0, &true.into(), &true.into()), "{report}");
            assert_eq!(report["fingerprint"].is_string(), fingerprint, "{report}");
            honest(desk, &report, &target);
            same(desk, &target);
            let sparse = target.join("source/sparse").metadata().unwrap();
            assert!(sparse.blocks() * 512 < 1 << 20, "holes come back: {} blocks", sparse.blocks());
            assert!(target.join("source/twin").metadata().unwrap().nlink() == 2);
        }
        kept.iter().for_each(|(path, bytes)| fs::write(path, bytes).unwrap());
    }
    let (code, report, target) = salvage(&whole, &whole.drives(), &[]);
    assert_eq!((code, &report["salvage"]["head"], &report["salvage"]["list"]), (0, &true.into(), &true.into()));
    crate::common::tree::same(&whole.source(), &target.join("source"));
}

#[test]
fn a_seal_is_still_needed() {
    let desk = Desk::packed();
    remove(&desk, &["seal.age", "seal2.age"]);
    let said = run(desk.unpack_cmd(&desk.drives(), &desk.path("out"), &["--salvage"])).exits(3);
    assert!(said.err.contains("there is no seal") && said.err.contains("any one volume"), "{}", said.err);
    assert!(!desk.path("out").exists());
}

#[test]
fn missing_and_damaged_parts_cost_their_files_only() {
    let desk = bare();
    let parts = volumes::parts(&desk.drives());
    assert!(parts.len() >= 7, "{parts:?}");
    // Each part is lost in turn, in one of these ways.
    let faults: [fn(&Path); 5] = [
        |part| fs::remove_file(part).unwrap(),
        |part| volumes::flip(part, 400_000, 1),
        |part| volumes::flip(part, 10, 1),
        |part| volumes::resize(part, PART_FILE * 2 / 3),
        |part| volumes::flip(part, PART_FILE as usize - 30, 1),
    ];
    let index: Vec<(PathBuf, Vec<u8>)> =
        copies(&desk, &BOTH).into_iter().map(|path| (path.clone(), fs::read(path).unwrap())).collect();
    for (turn, part) in parts.iter().enumerate() {
        let bytes = fs::read(part).unwrap();
        faults[turn % faults.len()](part);
        let (_, normal, target) = salvage(&desk, &desk.drives(), &[]);
        let most = honest(&desk, &normal, &target);
        for names in [&HEADS[..], &LIST, &BOTH] {
            remove(&desk, names);
            let (code, report, target) = salvage(&desk, &desk.drives(), &[]);
            let delivered = honest(&desk, &report, &target);
            // The last parts may hold nothing that a file needs.
            assert!(code == 4 || report["complete"] == true, "part {turn} without {names:?}: {report}");
            let fewer = most.difference(&delivered).count();
            // Behind a gap, members are found from the first one that begins in the next part. Only a head has another
            // copy of a part's header.
            let no_header = turn % faults.len() == 2 && names.contains(&"head.age");
            let most_fewer = usize::from(names.contains(&"list.age"));
            assert!(no_header || fewer <= most_fewer, "part {turn} without {names:?}: {fewer} fewer: {report}");
            index.iter().for_each(|(path, bytes)| fs::write(path, bytes).unwrap());
        }
        fs::write(part, bytes).unwrap();
    }
}

#[test]
fn without_the_manifest_it_cannot_be_told_what_is_missing() {
    let desk = bare();
    remove(&desk, &BOTH);
    let parts = volumes::parts(&desk.drives());
    let (last, before) = (parts.last().unwrap(), &parts[parts.len() - 2]);
    // These two parts hold the end of the tar, with all manifests.
    fs::remove_file(last).unwrap();
    fs::remove_file(before).unwrap();
    fs::remove_file(&parts[1]).unwrap();
    let (code, report, target) = salvage(&desk, &desk.drives(), &[]);
    assert_eq!((code, &report["complete"], &report["salvage"]["manifest"]), (4, &false.into(), &false.into()));
    let delivered = honest(&desk, &report, &target);
    assert!(delivered.len() > 40 && report["salvage"]["unproven"] == delivered.len(), "{report}");
    let missing: Vec<u64> =
        report["bad_parts"].as_array().unwrap().iter().map(|part| part["number"].as_u64().unwrap()).collect();
    assert_eq!(missing, [2, parts.len() as u64 - 1], "as far as the remaining parts show");
    assert_eq!(report["salvage"]["more_parts_may_follow"], true);
    let said = run(desk.unpack_cmd(&desk.drives(), &desk.path("out"), &["--salvage"])).exits(4).out;
    assert!(said.contains("which others are missing cannot be told") && said.contains("no hash vouches"), "{said}");
    assert!(said.contains("without a head there is no fingerprint"), "{said}");
    assert!(said.contains("; how many follow the last is not known"), "{said}");
}

#[test]
fn where_nothing_is_delivered_nothing_is_said_of_it() {
    let desk = bare();
    remove(&desk, &BOTH);
    let parts = volumes::parts(&desk.drives());
    parts[..1].iter().chain(&parts[2..]).for_each(|part| fs::remove_file(part).unwrap());
    let part = fs::read(&parts[1]).unwrap();
    let said = |to: &str| run(desk.unpack_cmd(&desk.drives(), &desk.path(to), &["--salvage", "--only", "nothing"]));
    assert_eq!(said("a").exits(2).code, 2);
    // Zeroes everything from the second chunk on. The first chunk says which part this is.
    fs::write(&parts[1], [&part[..184 + 65_552], &vec![0; part.len() - 184 - 65_552]].concat()).unwrap();
    let said = run(desk.unpack_cmd(&desk.drives(), &desk.path("b"), &["--salvage"])).exits(4).out;
    assert!(said.contains("intact    no: ") && said.contains("nothing was delivered"), "{said}");
    assert!(said.contains("no: no file was found") && !said.contains("each byte delivered"), "{said}");
    fs::remove_file(&parts[1]).unwrap();
    let said = run(desk.unpack_cmd(&desk.drives(), &desk.path("c"), &["--salvage"])).exits(3).err;
    assert!(said.contains("no data part of the bundle that opens"), "{said}");
    assert!(said.contains("hint: bring another volume") && !said.contains("--salvage"), "{said}");
}

#[test]
fn whatever_drives_are_there() {
    let desk = bare();
    remove(&desk, &BOTH);
    for subset in 1..7u32 {
        let drives: Vec<PathBuf> = (1..=3).filter(|n| subset >> (n - 1) & 1 == 1).map(|n| desk.drive(n)).collect();
        let (code, report, target) = salvage(&desk, &drives, &[]);
        assert_eq!((code, &report["complete"]), (4, &false.into()), "{subset:03b}: {report}");
        assert!(!honest(&desk, &report, &target).is_empty(), "{subset:03b}: {report}");
    }
}

#[test]
fn parts_are_known_whatever_their_names() {
    let desk = bare();
    remove(&desk, &HEADS);
    for (at, part) in volumes::parts(&desk.drives()).iter().enumerate() {
        fs::rename(part, part.with_file_name(format!("FILE{at:04}.CHK"))).unwrap();
        // Seals still tell that each folder is a volume.
    }
    let (code, report, target) = salvage(&desk, &desk.drives(), &[]);
    assert_eq!(code, 0, "{report}");
    same(&desk, &target);
}

#[test]
fn two_damaged_copies_may_make_a_whole_part() {
    let desk = bare();
    remove(&desk, &BOTH);
    let part = volumes::parts(&desk.drives())[1].clone();
    fs::copy(&part, desk.volume(1).join("copy")).unwrap();
    volumes::flip(&part, 300_000, 1);
    volumes::flip(&desk.volume(1).join("copy"), 600_000, 1);
    let (code, report, target) = salvage(&desk, &desk.drives(), &[]);
    assert_eq!(code, 0, "{report}");
    same(&desk, &target);
}

#[test]
fn parity_serves_with_a_head_and_is_named_without() {
    let desk = desk(&["--lose", "1"]);
    remove(&desk, &LIST);
    let (code, report, target) = salvage(&desk, &[desk.drive(1), desk.drive(3)], &[]);
    assert_eq!((code, &report["complete"]), (0, &true.into()), "{report}");
    assert!(!report["rebuilt_parts"].as_array().unwrap().is_empty(), "{report}");
    same(&desk, &target);
    remove(&desk, &HEADS);
    let said = run(desk.unpack_cmd(&desk.drives(), &desk.path("out"), &["--salvage"])).exits(0).out;
    assert!(said.contains("not used:") && said.contains("parity file"), "{said}");
    same(&desk, &desk.path("out"));
}

#[test]
fn some_of_it_and_nothing_twice() {
    let desk = bare();
    remove(&desk, &BOTH);
    let (code, report, target) = salvage(&desk, &desk.drives(), &["--only", "source/small", "--only", "source/twin"]);
    assert_eq!((code, &report["files"], &report["delivered"]), (0, &81.into(), &81.into()), "{report}");
    assert!(target.join("source/small/79").exists() && !target.join("source/large").exists());
    let again = |more: &[&str]| run(desk.unpack_cmd(&desk.drives(), &target, &[&["--salvage"], more].concat()));
    put(target.join("source/large"), "mine");
    assert!(again(&[]).exits(2).err.contains("exists already"));
    assert_eq!(fs::read(target.join("source/large")).unwrap(), b"mine");
    again(&["--overwrite"]).exits(0);
    same(&desk, &target);
    // A lost file that was asked for is named, in whatever form it was asked for.
    fs::remove_file(&volumes::parts(&desk.drives())[1]).unwrap();
    let (code, report, target) =
        salvage(&desk, &desk.drives(), &["--only", "./source/large/", "--only", "source/zlast"]);
    let lost: Vec<&str> =
        report["lost"].as_array().unwrap().iter().map(|lost| lost["path"].as_str().unwrap()).collect();
    assert_eq!((code, &lost[..], &report["complete"]), (4, &["source/large"][..], &false.into()), "{report}");
    assert!(target.join("source/zlast").exists());
    let none = run(desk.unpack_cmd(&desk.drives(), &desk.path("none"), &["--salvage", "--only", "nothing"])).exits(2);
    assert!(none.err.contains("there is no \"nothing\"") && !desk.path("none").exists(), "{}", none.err);
}

#[test]
fn files_that_changed_while_packed_are_named() {
    let desk = Desk::new();
    put(desk.source().join("good"), noise(500_000, 1));
    // A file in /proc says that its size is 0, so it is packed as empty and flagged.
    let proc = Path::new("/proc/self/status");
    fs::copy(proc, desk.path("status")).unwrap();
    run(desk.pack_cmd(&[&desk.source(), Path::new("/proc/sys/kernel/ostype")], &desk.drives(), &["--mend", "0"]))
        .exits(4);
    remove(&desk, &BOTH);
    let (code, report, _) = salvage(&desk, &desk.drives(), &[]);
    assert_eq!((code, &report["complete"]), (4, &false.into()), "{report}");
    let notes = report["notes"].as_array().unwrap();
    assert!(notes.iter().any(|note| note["path"] == "ostype" && note["kind"] == "changed"), "{report}");
}
