//! Loss, damage and mixing of volumes without parity: whole files are delivered, others are named, and no wrong byte is
//! ever delivered. With parity: see loss.rs.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use crate::common::tree::{look, only_true_files, same};
use crate::common::{Desk, PART_FILE, Run, noise, pouch, put, run, volumes};
use pouch::internals::base::entry::Kind;
use pouch::internals::flow::bundle::open::open;
use pouch::internals::flow::bundle::scan::gather;
use pouch::internals::stage::seal::Keyring;
use serde_json::Value;

/// A bundle of large and small files, about seven parts on three drives.
fn desk_with(seed: u64) -> Desk {
    let desk = Desk::new();
    put(desk.source().join("large-1"), noise(1_500_000, seed));
    for n in 0..60 {
        put(desk.source().join(format!("small/{n:02}")), noise(40_000 + n, seed + n as u64));
    }
    put(desk.source().join("tiny-and-empty/empty"), "");
    put(desk.source().join("tiny-and-empty/tiny"), "t");
    put(desk.source().join("zlarge-2"), noise(1_200_000, seed + 100));
    desk.pack_bare();
    desk
}

/// Unpacks into a new folder and checks the report against what was delivered.
#[track_caller]
fn unpack(desk: &Desk, drives: &[PathBuf]) -> (i32, Value, BTreeSet<String>) {
    let target = tempfile::tempdir_in(desk.dir.path()).expect("a folder").keep();
    let done = run(desk.unpack_cmd(drives, &target, &["--json"]));
    let Run { code, .. } = done;
    assert!([0, 3, 4].contains(&code), "{done:?}");
    let report = done.exits(code).json();
    let delivered = only_true_files(&desk.source(), &target.join("source"));
    let delivered: BTreeSet<String> = delivered.iter().map(|name| String::from_utf8(name.clone()).unwrap()).collect();
    assert_eq!(report["delivered"], delivered.len(), "the report counts the delivered files");
    let named = |lost: &Value| lost["path"].as_str().unwrap().strip_prefix("source/").unwrap().to_string();
    let lost: BTreeSet<String> = report["lost"].as_array().unwrap().iter().map(named).collect();
    let all: BTreeSet<String> = delivered.union(&lost).cloned().collect();
    assert_eq!(
        (all, delivered.is_disjoint(&lost)),
        (files_of(desk), true),
        "each file is delivered or reported as lost"
    );
    assert_eq!(report["complete"].as_bool().unwrap(), lost.is_empty());
    assert_eq!(target.join(".pouch-unfinished").exists(), !lost.is_empty(), "incomplete files are kept");
    assert_eq!(report["kept"].is_string(), !lost.is_empty());
    (code, report, delivered)
}

fn files_of(desk: &Desk) -> BTreeSet<String> {
    let files = look(&desk.source()).into_iter().filter(|(_, node)| node.kind == "file");
    files.map(|(name, _)| String::from_utf8(name).unwrap()).collect()
}

/// The files that have no byte in a part that `is_lost`, computed from head and list.
fn untouched(desk: &Desk, is_lost: impl Fn(u32, u16) -> bool) -> BTreeSet<String> {
    let mut ring = Keyring::new();
    ring.add_file(&fs::read_to_string(desk.path("key")).unwrap()).unwrap();
    let mut bundle = open(gather(&desk.drives()).unwrap(), &ring, None).unwrap_or_else(|error| panic!("{error}"));
    let entries = bundle.read_list().unwrap_or_else(|error| panic!("{error}"));
    let parts: Vec<_> =
        bundle.head.data_parts().filter(|(part, _, _)| is_lost(part.number, part.volume.get())).collect();
    let files = entries.iter().filter(|entry| entry.kind == Kind::File);
    let whole = files.filter(|entry| {
        parts.iter().all(|(_, at, len)| entry.size == 0 || entry.at + entry.size <= *at || at + len <= entry.at)
    });
    whole.map(|entry| entry.path.to_string().strip_prefix("source/").unwrap().to_string()).collect()
}

#[test]
fn whatever_volumes_are_lost_the_rest_delivers_what_is_whole() {
    let desk = desk_with(1);
    for subset in 1..7u32 {
        let is_there = |volume: u32| subset >> (volume - 1) & 1 == 1;
        let drives: Vec<PathBuf> = (1..=3).filter(|n| is_there(*n)).map(|n| desk.drive(n)).collect();
        let (code, report, delivered) = unpack(&desk, &drives);
        assert_eq!(code, 3, "{subset:03b}");
        assert_eq!(delivered, untouched(&desk, |_, volume| !is_there(volume.into())), "{subset:03b}");
        assert!(report["intact"].as_bool().unwrap(), "missing parts are not damage");
        let missing = report["bad_parts"].as_array().unwrap();
        assert!(
            missing.iter().all(|part| part["state"] == "missing" && !is_there(part["volume"].as_u64().unwrap() as u32))
        );
    }
}

#[test]
fn the_words_say_what_to_bring() {
    let desk = desk_with(2);
    let said = run(desk.unpack_cmd(&[desk.drive(1), desk.drive(3)], &desk.path("out"), &[])).exits(3);
    assert!(said.out.contains("bring volume 2 of 3"), "{}", said.out);
    assert!(said.out.contains("not delivered: source/large-1"), "{}", said.out);
}

#[test]
fn a_later_run_with_all_volumes_converges() {
    let desk = desk_with(3);
    let target = desk.path("out");
    run(desk.unpack_cmd(&[desk.drive(2)], &target, &[])).exits(3);
    run(desk.unpack_cmd(&desk.drives(), &target, &[])).exits(0);
    same(&desk.source(), &target.join("source"));
    assert_eq!(volumes::files(&target).len(), 1, "nothing else is left");
}

#[test]
fn a_flipped_bit_in_a_part_costs_its_file_only() {
    let desk = desk_with(4);
    for (turn, part) in volumes::parts(&desk.drives()).into_iter().enumerate() {
        let whole = fs::read(&part).unwrap();
        let at = [200, 65_800, 400_000, 983_000][turn % 4];
        volumes::flip(&part, at, turn as u8);
        let checked = run(desk.check_cmd(&desk.drives(), &[])).exits(4);
        assert!(checked.out.contains(&volumes::name_of(&part)), "{}", checked.out);
        let number: u32 = volumes::name_of(&part)[..6].parse().unwrap();
        let (code, report, delivered) = unpack(&desk, &desk.drives());
        // The last parts also hold manifests and padding, which no file needs.
        let bad = &report["bad_parts"][0];
        assert_eq!((&bad["number"], &bad["state"]), (&number.into(), &"damaged".into()), "{report}");
        assert_eq!(code, if delivered == files_of(&desk) { 0 } else { 4 });
        assert!(delivered.is_superset(&untouched(&desk, |bad, _| bad == number)));
        fs::write(&part, whole).unwrap();
    }
    run(desk.check_cmd(&desk.drives(), &[])).exits(0);
}

#[test]
fn copies_stand_in_for_damaged_small_files() {
    let desk = desk_with(5);
    let pristine = desk.path("pristine");
    volumes::copy(&desk.drive(1), &pristine);
    for name in ["seal.age", "seal2.age", "head.age", "head2.age", "list.age", "SHA256SUMS"] {
        let file = desk.drive(1).join("volume-1").join(name);
        for at in [3, 60, 150, 190, 100_000] {
            volumes::flip(&file, at, 5);
            let checked = run(desk.check_cmd(&[desk.drive(1)], &[]));
            assert!([3, 4, 6].contains(&checked.code), "{name} at {at}: {checked:?}");
            let (code, _, delivered) = unpack(&desk, &desk.drives());
            assert_eq!((code, delivered), (0, files_of(&desk)), "{name} at {at}");
            fs::copy(pristine.join("volume-1").join(name), &file).unwrap();
        }
    }
}

#[test]
fn what_is_lost_on_one_volume_is_read_from_another() {
    let desk = desk_with(6);
    for volume in ["drive-1/volume-1", "drive-2/volume-2"] {
        for name in ["seal.age", "seal2.age", "head.age", "head2.age", "list.age", "SHA256SUMS"] {
            fs::remove_file(desk.path(volume).join(name)).unwrap();
        }
    }
    assert_eq!(unpack(&desk, &desk.drives()).0, 0);
    run(desk.check_cmd(&desk.drives(), &[])).exits(3);
}

#[test]
fn what_is_lost_or_damaged_on_all_volumes_is_said() {
    for (names, missing, damaged) in
        [(["seal.age", "seal2.age"], 3, 4), (["head.age", "head2.age"], 3, 4), (["list.age", "list.age"], 3, 4)]
    {
        let desk = desk_with(7);
        let files = || desk.drives().into_iter().flat_map(|drive| volumes::files(&volumes::files(&drive)[0]));
        let ours: Vec<PathBuf> = files().filter(|file| names.contains(&&*volumes::name_of(file))).collect();
        ours.iter().for_each(|file| volumes::flip(file, 180, 1));
        let target = desk.path("out");
        let said = run(desk.unpack_cmd(&desk.drives(), &target, &[])).exits(damaged);
        assert!(said.err.contains(names[0].split('.').next().unwrap()) && said.err.contains("hint:"), "{}", said.err);
        ours.iter().for_each(|file| fs::remove_file(file).unwrap());
        run(desk.unpack_cmd(&desk.drives(), &target, &[])).exits(missing);
        assert!(!target.exists(), "nothing is written");
    }
}

/// What happens to a part, and the exit code of unpacking then.
type Fault = (&'static str, fn(&Path), i32);

#[test]
fn parts_are_known_by_content_whatever_their_names_and_lengths() {
    let rename = |part: &Path| fs::rename(part, part.with_file_name("000099.age")).unwrap();
    let foreign = |part: &Path| fs::rename(part, part.with_file_name("FILE0001.CHK")).unwrap();
    let faults: [Fault; 11] = [
        ("padded by a byte", |part| volumes::resize(part, PART_FILE + 1), 0),
        ("padded by a lot", |part| volumes::resize(part, 5 * PART_FILE), 0),
        ("renamed", rename, 0),
        ("named as a file system check does", foreign, 0),
        ("with a damaged header", |part| volumes::flip(part, 100, 0), 0),
        ("cut by a byte", |part| volumes::resize(part, PART_FILE - 1), 4),
        ("cut in the middle", |part| volumes::resize(part, PART_FILE / 2), 4),
        ("cut in the header", |part| volumes::resize(part, 100), 4),
        ("empty", |part| volumes::resize(part, 0), 4),
        ("zero-filled", volumes::zero, 4),
        ("gone", |part| fs::remove_file(part).unwrap(), 3),
    ];
    for (what, fault, expected) in faults {
        let desk = desk_with(8);
        fault(&volumes::parts(&desk.drives())[2]);
        let (code, report, delivered) = unpack(&desk, &desk.drives());
        assert_eq!(code, expected, "{what}: {report}");
        assert_eq!(delivered == files_of(&desk), code == 0, "{what}");
        assert!(delivered.is_superset(&untouched(&desk, |part, _| part == 3)), "{what}");
        assert_ne!(run(desk.check_cmd(&desk.drives(), &[])).code, 0, "{what}");
    }
}

#[test]
fn what_lies_before_the_damage_in_a_part_is_delivered() {
    let desk = desk_with(9);
    volumes::resize(&volumes::parts(&desk.drives())[2], PART_FILE * 3 / 4);
    let (code, _, delivered) = unpack(&desk, &desk.drives());
    let more = delivered.difference(&untouched(&desk, |part, _| part == 3)).count();
    assert!(code == 4 && more > 5, "{more} small files come out of the undamaged three quarters");
}

#[test]
fn a_whole_copy_is_found_wherever_it_lies() {
    let desk = desk_with(10);
    let parts = volumes::parts(&desk.drives());
    fs::copy(&parts[1], parts[0].with_file_name(volumes::name_of(&parts[1]))).unwrap();
    fs::copy(&parts[2], parts[0].with_file_name("copy of a part")).unwrap();
    volumes::flip(&parts[1], 70_000, 1);
    volumes::resize(&parts[2], 500_000);
    volumes::swap(&parts[3], &parts[4]);
    let (code, report, delivered) = unpack(&desk, &desk.drives());
    assert_eq!((code, delivered), (0, files_of(&desk)), "{report}");
}

#[test]
fn every_part_damaged_at_one_offset() {
    let desk = desk_with(11);
    volumes::parts(&desk.drives()).iter().for_each(|part| volumes::flip(part, 500_000, 2));
    let (code, report, delivered) = unpack(&desk, &desk.drives());
    assert!(code == 4 && delivered.len() > 10 && !report["intact"].as_bool().unwrap(), "{delivered:?}");
}

#[test]
fn parts_of_another_bundle_are_not_taken() {
    let (desk, other) = (desk_with(12), desk_with(1012));
    let (ours, theirs) = (volumes::parts(&desk.drives()), volumes::parts(&other.drives()));
    fs::copy(&theirs[2], &ours[2]).unwrap();
    let (code, _, delivered) = unpack(&desk, &desk.drives());
    assert_eq!(code, 4);
    assert!(delivered.is_superset(&untouched(&desk, |part, _| part == 3)));
}

#[test]
fn volumes_of_two_bundles_are_told_apart() {
    let desk = desk_with(13);
    let again: Vec<PathBuf> = (1..=3).map(|n| desk.path(&format!("again-{n}"))).collect();
    again.iter().for_each(|drive| fs::create_dir(drive).unwrap());
    run(desk.pack_cmd(&[&desk.source()], &again, &[])).exits(0);
    let mixed = [desk.drive(1), again[1].clone(), desk.drive(3)];
    let said = run(desk.unpack_cmd(&mixed, &desk.path("out"), &[])).exits(2);
    assert!(said.err.contains("2 different bundles") && said.err.contains("again-2"), "{}", said.err);
    assert!(!desk.path("out").exists());
}

#[test]
fn a_volume_for_somebody_else_is_named_and_does_no_harm() {
    let (desk, other) = (desk_with(14), desk_with(1014));
    let mut drives = desk.drives();
    drives.insert(0, other.drive(1));
    let (code, report, delivered) = unpack(&desk, &drives);
    assert_eq!((code, delivered), (0, files_of(&desk)));
    let notes = report["notes"].as_array().unwrap();
    assert!(notes.iter().any(|note| note["path"].as_str().unwrap().contains("drive-1/volume-1")), "{report}");
}

#[test]
fn an_old_seal_opens_no_new_parts() {
    let desk = desk_with(15);
    let old: Vec<Vec<u8>> =
        ["seal.age", "seal2.age"].map(|name| fs::read(desk.drive(1).join("volume-1").join(name)).unwrap()).into();
    for drive in desk.drives() {
        fs::remove_dir_all(&volumes::files(&drive)[0]).unwrap();
    }
    desk.pack();
    for drive in desk.drives() {
        let volume = &volumes::files(&drive)[0];
        fs::write(volume.join("seal.age"), &old[0]).unwrap();
        fs::write(volume.join("seal2.age"), &old[1]).unwrap();
    }
    let said = run(desk.unpack_cmd(&desk.drives(), &desk.path("out"), &[])).exits(4);
    assert!(said.err.contains("another bundle"), "{}", said.err);
    assert!(!desk.path("out").exists());
}

#[test]
fn only_the_right_key_opens() {
    let (desk, other) = (desk_with(16), Desk::new());
    let unpack = |keys: &[&Path]| {
        let mut unpack = pouch(["unpack", "-o"]);
        unpack.arg(desk.path("out")).args(desk.drives());
        for key in keys {
            unpack.arg("-i").arg(key);
        }
        run(unpack)
    };
    let (ours, theirs, nothing) = (desk.path("key"), other.path("key"), desk.path("no such key"));
    let (part, large) = (volumes::parts(&desk.drives())[0].clone(), desk.source().join("large-1"));
    for keys in [&[][..], &[&*theirs], &[&*nothing], &[&*part], &[&*large]] {
        let said = unpack(keys).exits(8);
        assert!(!desk.path("out").exists() && !said.err.contains("AGE-SECRET-KEY-1"), "{}", said.err);
    }
    unpack(&[&theirs, &ours]).exits(0);
}

#[test]
fn foreign_files_are_no_error() {
    let desk = desk_with(17);
    let volume = desk.drive(2).join("volume-2");
    for name in ["._000001.age", ".DS_Store", "README.txt"] {
        put(volume.join(name), "foreign");
    }
    put(desk.drive(2).join("System Volume Information/x"), "foreign");
    run(desk.check_cmd(&desk.drives(), &[])).exits(0);
    assert_eq!(unpack(&desk, &desk.drives()).0, 0);
}
