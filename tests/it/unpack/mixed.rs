//! Parts that are misplaced or changed, in a bundle with parity: under other names, in two places, cut, filled up.
//! Also, with one drive more lost than promised, exactly what can be delivered is.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use crate::common::tree::same;
use crate::common::{Desk, noise, put, run, volumes};
use pouch::internals::base::entry::Kind;
use pouch::internals::flow::bundle::open::open;
use pouch::internals::flow::bundle::scan::gather;
use pouch::internals::format::head::Part;
use pouch::internals::stage::seal::Keyring;
use serde_json::Value;

/// A bundle of about eight data parts, each with many whole files, on this many drives.
fn desk_on(drives: u32, words: &[&str]) -> (Desk, Vec<PathBuf>) {
    let desk = Desk::new();
    for n in 0..70 {
        put(desk.source().join(format!("{n:02}")), noise(100_000 + n, n as u64));
    }
    let drives: Vec<PathBuf> = (1..=drives).map(|number| desk.path(&format!("stick-{number}"))).collect();
    drives.iter().for_each(|drive| fs::create_dir(drive).unwrap());
    run(desk.pack_cmd(&[&desk.source()], &drives, words)).exits(0);
    (desk, drives)
}

fn unpack(desk: &Desk, drives: &[PathBuf]) -> (i32, Value, PathBuf) {
    let target = tempfile::tempdir_in(desk.dir.path()).expect("a folder").keep();
    let done = run(desk.unpack_cmd(drives, &target, &["--json"]));
    let code = done.code;
    (code, done.exits(code).json(), target)
}

/// Runs `pouch check` with the key. Returns the exit code and the report on the bundle.
fn check(desk: &Desk, drives: &[PathBuf]) -> (i32, Value) {
    let mut command = desk.check_cmd(drives, &["--json"]);
    command.arg("-i").arg(desk.path("key"));
    let done = run(command);
    let code = done.code;
    (code, done.exits(code).json()["bundle"].clone())
}

/// Runs `pouch repair` into a new folder, which it returns.
fn repair(desk: &Desk, drives: &[PathBuf]) -> (crate::common::Run, PathBuf) {
    let target = tempfile::tempdir_in(desk.dir.path()).expect("a folder").keep();
    let mut command = crate::common::pouch(["repair", "--json"]);
    command.args(drives).arg("-i").arg(desk.path("key")).arg("-o").arg(&target);
    (run(command), target)
}

type Harm = (&'static str, usize, fn(&[PathBuf], &[PathBuf]));

/// What happens to parts, and how many have to be rebuilt then. In the stripe of data parts 1 to 3 any one shard may be
/// lost; parts of other stripes are damaged too.
const HARMS: [Harm; 9] = [
    ("doubled under another number", 0, |data, _| drop(fs::copy(&data[0], data[0].with_file_name("000999.age")))),
    ("doubled on another volume", 0, |data, _| drop(fs::copy(&data[0], data[1].with_file_name("000001.age")))),
    ("swapped", 0, |data, _| volumes::swap(&data[0], &data[1])),
    ("data under the name of parity", 0, |data, parity| volumes::swap(&data[0], &parity[0])),
    ("parity as a data part that is missing", 1, |data, parity| fs::rename(&parity[1], &data[0]).unwrap()),
    ("under a name of nobody", 0, |data, _| fs::rename(&data[2], data[2].with_file_name("found.000")).unwrap()),
    ("padded", 0, |data, parity| {
        data.iter().chain(parity).for_each(|part| volumes::resize(part, crate::common::PART_FILE + 1_000));
    }),
    ("cut and filled up with zeros", 2, |data, _| {
        for part in [&data[0], &data[3]] {
            volumes::resize(part, 300_000);
            volumes::resize(part, crate::common::PART_FILE);
        }
    }),
    ("zeros", 2, |data, _| [&data[1], &data[5]].into_iter().for_each(|part| volumes::zero(part))),
];

#[test]
fn parts_that_are_elsewhere_or_hurt_do_no_harm() {
    let (desk, drives) = desk_on(4, &["--lose", "1"]);
    let packed = desk.path("packed");
    drives.iter().for_each(|drive| volumes::copy(drive, &packed.join(volumes::name_of(drive))));
    for (what, rebuilt, harm) in HARMS {
        drives.iter().for_each(|drive| fs::remove_dir_all(drive).unwrap());
        volumes::copy(&packed, desk.dir.path());
        let data = volumes::parts(&drives);
        let mut parity = volumes::sealed_parts(&drives);
        parity.retain(|part| volumes::is_parity(part));
        parity.sort_by_key(|part| volumes::name_of(part));
        harm(&data, &parity);
        let (code, bundle) = check(&desk, &drives);
        assert!([3, 4].contains(&code), "{what}: {code}");
        let state = if rebuilt == 0 { "complete" } else { "repairable" };
        assert_eq!(bundle["verdict"]["state"], state, "{what}: {bundle}");
        let (code, report, target) = unpack(&desk, &drives);
        let count = report["rebuilt_parts"].as_array().unwrap().len();
        assert_eq!((code, count), (0, rebuilt), "{what}: {report}");
        same(&desk.source(), &target.join("source"));
        // Repaired parts equal the packed ones.
        let (said, new) = repair(&desk, &drives);
        let report = said.exits(0).json();
        assert_eq!((&report["rebuilt"], &report["read_back"]), (&rebuilt.into(), &false.into()), "{what}");
        let folders = volumes::files(&new);
        assert!(!folders.is_empty(), "{what}");
        for part in volumes::sealed_parts(std::slice::from_ref(&new)) {
            let (name, volume) = (volumes::name_of(&part), volumes::name_of(part.parent().unwrap()));
            let old = packed.join(volume.replace("volume", "stick")).join(volume).join(name);
            assert!(fs::read(&part).unwrap() == fs::read(&old).unwrap(), "{what}: {}", part.display());
        }
        run(desk.check_cmd(&folders, &[])).exits(0);
    }
}

/// The files that must be lost with these volumes, by head and list: those with a byte in a lost data part whose stripe
/// lacks more shards than it has parity parts.
fn predicted(desk: &Desk, drives: &[PathBuf], lost: &[u16]) -> BTreeSet<String> {
    let mut ring = Keyring::new();
    ring.add_file(&fs::read_to_string(desk.path("key")).unwrap()).unwrap();
    let mut bundle = open(gather(drives).unwrap(), &ring, None).unwrap();
    let entries = bundle.read_list().unwrap();
    let (parts, scheme) = (&bundle.head.parts, bundle.head.statement.scheme.unwrap());
    let is_lost = |part: &Part| lost.contains(&part.volume.get());
    let stripe = |part: &Part| part.shard.unwrap().stripe;
    let gone = |of: u32| parts.iter().filter(|part| stripe(part) == of && is_lost(part)).count();
    let holes: Vec<(u64, u64)> = bundle
        .head
        .data_parts()
        .filter(|(part, ..)| is_lost(part) && gone(stripe(part)) > usize::from(scheme.m))
        .map(|(_, offset, length)| (offset, offset + length))
        .collect();
    let files = entries.iter().filter(|entry| entry.kind == Kind::File);
    let hurt = files.filter(|file| holes.iter().any(|(from, to)| file.at < *to && file.at + file.size > *from));
    hurt.map(|file| String::from_utf8(file.path.as_bytes().to_vec()).unwrap()).collect()
}

fn named(report: &Value) -> BTreeSet<String> {
    report["lost"].as_array().unwrap().iter().map(|lost| lost["path"].as_str().unwrap().to_string()).collect()
}

fn below(dir: &Path) -> BTreeSet<String> {
    volumes::files(dir).iter().map(|file| format!("source/{}", volumes::name_of(file))).collect()
}

#[test]
fn of_one_drive_too_many_exactly_what_must_be_lost_is() {
    let mut spared = 0;
    for (count, lose) in [(3u16, 1u32), (5, 2)] {
        let (desk, drives) = desk_on(count.into(), &["--lose", &lose.to_string()]);
        for set in (0u32..1 << count).filter(|set| set.count_ones() == lose + 1) {
            let lost: Vec<u16> = (1..=count).filter(|number| set >> (number - 1) & 1 == 1).collect();
            let left: Vec<PathBuf> = (1..=count)
                .filter(|number| !lost.contains(number))
                .map(|n| drives[usize::from(n) - 1].clone())
                .collect();
            let lost_files = predicted(&desk, &drives, &lost);
            let (code, report, target) = unpack(&desk, &left);
            let whole = below(&target.join("source"));
            assert_eq!(
                (code, named(&report)),
                (if lost_files.is_empty() { 0 } else { 3 }, lost_files.clone()),
                "{lost:?}"
            );
            let all = below(&desk.source());
            assert_eq!(whole, all.difference(&lost_files).cloned().collect(), "{lost:?}");
            for name in &whole {
                let name = name.strip_prefix("source/").unwrap();
                assert!(
                    fs::read(target.join("source").join(name)).unwrap() == fs::read(desk.source().join(name)).unwrap()
                );
            }
            spared += usize::from(!lost_files.is_empty() && !whole.is_empty());
            fs::remove_dir_all(target).unwrap();
        }
    }
    assert!(spared > 5, "some files are lost and some are not: {spared}");
}
