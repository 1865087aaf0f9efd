//! Lost drives and bad sectors: the promise of the plan is kept, and with one more loss the missing files are named.

use std::fs;
use std::path::PathBuf;

use crate::common::tree::same;
use crate::common::{Desk, noise, put, run, volumes};
use serde_json::Value;

/// A bundle of about ten parts on this many drives.
fn desk_on(drives: u32, lose: u32, more: &[&str]) -> (Desk, Vec<PathBuf>) {
    let desk = Desk::in_memory();
    put(desk.source().join("large"), noise(6_500_000, 7));
    for n in 0..40 {
        put(desk.source().join(format!("small/{n:02}")), noise(20_000 + n, n as u64));
    }
    put(desk.source().join("text"), "what compresses\n".repeat(100_000));
    let drives: Vec<PathBuf> = (1..=drives).map(|number| desk.path(&format!("stick-{number}"))).collect();
    drives.iter().for_each(|drive| fs::create_dir(drive).unwrap());
    let lose = lose.to_string();
    let words = [&["--lose", &lose][..], more].concat();
    run(desk.pack_cmd(&[&desk.source()], &drives, &words)).exits(0);
    (desk, drives)
}

/// What is left of the drives, for every way to take `count` of them away.
fn without(drives: &[PathBuf], count: u32) -> Vec<Vec<PathBuf>> {
    (0u32..1 << drives.len())
        .filter(|lost| lost.count_ones() == count)
        .map(|lost| {
            let left = drives.iter().enumerate().filter(|(at, _)| lost >> at & 1 == 0);
            left.map(|(_, drive)| drive.clone()).collect()
        })
        .collect()
}

fn unpack(desk: &Desk, drives: &[PathBuf]) -> (i32, Value, PathBuf) {
    let target = tempfile::tempdir_in(desk.dir.path()).expect("a folder").keep();
    let done = run(desk.unpack_cmd(drives, &target, &["--json"]));
    let code = done.code;
    (code, done.exits(code).json(), target)
}

#[test]
fn any_promised_number_of_drives_may_be_lost() {
    for (count, lose) in [(2, 1), (3, 1), (4, 2), (5, 2), (9, 3)] {
        let (desk, drives) = desk_on(count, lose, &[]);
        for lost in 0..=lose {
            for left in without(&drives, lost) {
                let (code, report, target) = unpack(&desk, &left);
                assert_eq!(code, 0, "{count} drives, {lose} may be lost, left are {left:?}: {report}");
                assert_eq!(report["margin"]["drives"], lose - lost, "{report}");
                same(&desk.source(), &target.join("source"));
                fs::remove_dir_all(target).unwrap();
            }
        }
        // With one more drive lost, some file is missing and reported.
        let left = &without(&drives, lose + 1)[0];
        if !left.is_empty() {
            let (code, report, _) = unpack(&desk, left);
            assert_eq!((code, report["complete"].as_bool()), (3, Some(false)), "{report}");
        }
    }
}

#[test]
fn damage_is_mended_and_said() {
    let (desk, drives) = desk_on(3, 1, &[]);
    let parts = volumes::parts(&drives);
    volumes::flip(&parts[0], 70_000, 3);
    volumes::flip(&parts[1], 140_000, 3);
    let (code, report, target) = unpack(&desk, &drives);
    assert_eq!((code, report["rebuilt_parts"].as_array().unwrap().len()), (0, 2), "{report}");
    assert_eq!(report["bad_parts"].as_array().unwrap().len(), 0);
    same(&desk.source(), &target.join("source"));
    let said = run(desk.unpack_cmd(&drives, &desk.path("out"), &[])).exits(0).out;
    assert!(said.contains("rebuilt: part 1 of volume"), "{said}");
}

#[test]
fn the_same_place_of_every_part_may_be_bad() {
    let (desk, drives) = desk_on(1, 0, &[]);
    for part in volumes::sealed_parts(&drives) {
        volumes::flip(&part, 500_000, 2);
    }
    let (code, report, target) = unpack(&desk, &drives);
    assert_eq!(code, 0, "{report}");
    same(&desk.source(), &target.join("source"));
}

#[test]
fn whatever_happens_to_a_part_it_comes_back() {
    let (desk, drives) = desk_on(1, 0, &["--mend", "10"]);
    let (parts, all) = (volumes::parts(&drives), volumes::sealed_parts(&drives));
    fs::remove_file(&parts[2]).unwrap();
    volumes::resize(&parts[4], 400_000);
    fs::write(&parts[6], vec![0; fs::metadata(&parts[6]).unwrap().len() as usize]).unwrap();
    let parity: Vec<&PathBuf> = all.iter().filter(|part| !parts.contains(part)).collect();
    fs::remove_file(parity[0]).unwrap();
    let (code, report, target) = unpack(&desk, &drives);
    assert_eq!((code, report["rebuilt_parts"].as_array().unwrap().len()), (0, 3), "{report}");
    same(&desk.source(), &target.join("source"));
}

#[test]
fn only_chunks_whose_tags_fit_are_used() {
    // B-PAR-2, B-PAR-3: parity that is wrong under a right tag rebuilds files that differ from the list, and those are
    // not delivered.
    let (desk, drives) = desk_on(3, 1, &[]);
    let parts = volumes::parts(&drives);
    fs::remove_file(&parts[0]).unwrap();
    // Every other shard of the stripe has bit rot, in different rows, and none of it is used.
    for part in volumes::sealed_parts(&drives) {
        volumes::flip(&part, 300_000, 5);
    }
    let (code, report, target) = unpack(&desk, &drives);
    assert!([3, 4].contains(&code), "{report}");
    crate::common::tree::only_true_files(&desk.source(), &target.join("source"));
}

#[test]
fn promises_that_cannot_be_kept_are_refused() {
    let desk = Desk::new();
    put(desk.source().join("a"), "a");
    let refused = run(desk.pack_cmd(&[&desk.source()], &desk.drives(), &["--lose", "3"])).exits(2);
    assert!(refused.err.contains("--lose 3 needs at least 4 drives, and 3 are given"), "{refused:?}");
    let refused =
        run(desk.pack_cmd(&[&desk.source()], &desk.drives(), &["--lose", "1", "--fill", "sequential"])).exits(2);
    assert!(refused.err.contains("sequential"), "{refused:?}");
    run(desk.pack_cmd(&[&desk.source()], &desk.drives(), &["--mend", "101"])).exits(2);
    let said = run(desk.pack_cmd(&[&desk.source()], &desk.drives(), &["--lose", "1", "-n"])).exits(0).out;
    assert!(said.contains("any 1 of the 3 drives may be lost") && said.contains("--lose 2"), "{said}");
}

/// Runs `pouch repair` on these drives into a new folder, which it returns.
fn repair(desk: &Desk, drives: &[PathBuf], more: &[&str]) -> (crate::common::Run, PathBuf) {
    let target = tempfile::tempdir_in(desk.dir.path()).expect("a folder").keep();
    let mut command = crate::common::pouch(["repair"]);
    command.args(drives).arg("-i").arg(desk.path("key")).arg("-o").arg(&target).args(more);
    (run(command), target)
}

#[test]
fn volumes_are_written_anew_as_they_were() {
    let (desk, drives) = desk_on(5, 2, &[]);
    let parts_of = |folder: &PathBuf| {
        let files =
            volumes::files(folder).into_iter().filter(|file| volumes::is_part(file) || volumes::is_parity(file));
        files.map(|file| (volumes::name_of(&file), fs::read(&file).unwrap())).collect::<Vec<_>>()
    };
    let before: Vec<_> = (1..=5).map(|n| parts_of(&drives[n - 1].join(format!("volume-{n}")))).collect();
    let (said, _) = repair(&desk, &drives, &[]);
    assert!(said.exits(0).out.contains("nothing is to be repaired"));
    // One drive is lost; another has bad sectors and has lost its seals.
    let lost = drives[1].join("volume-2");
    let kept = desk.path("kept");
    fs::rename(&lost, &kept).unwrap();
    let fourth = drives[3].join("volume-4");
    for name in ["seal.age", "seal2.age", "head.age", "list.age"] {
        fs::remove_file(fourth.join(name)).unwrap();
    }
    volumes::flip(&volumes::parts(&[drives[3].clone()])[0], 200_000, 1);
    let (said, none) = repair(&desk, &drives, &["--dry-run"]);
    assert!(said.exits(0).out.contains("volumes 2, 4 are to be written anew"));
    assert!(volumes::files(&none).is_empty());
    let (said, new) = repair(&desk, &drives, &[]);
    assert!(said.exits(0).out.contains("written and synced, not read back; `pouch check` after plugging in again"));
    assert_eq!(parts_of(&new.join("volume-2")), before[1]);
    assert_eq!(parts_of(&new.join("volume-4")), before[3]);
    run(desk.check_cmd(std::slice::from_ref(&new), &[])).exits(0);
    // The new volumes replace the old: any two may be lost again.
    let all = [drives[0].clone(), new.join("volume-2"), drives[2].clone(), new.join("volume-4"), drives[4].clone()];
    for left in without(&all, 2) {
        let (code, report, target) = unpack(&desk, &left);
        assert_eq!(code, 0, "{report}");
        same(&desk.source(), &target.join("source"));
    }
}

#[test]
fn what_cannot_be_repaired_is_said_and_nothing_is_written() {
    let (desk, drives) = desk_on(4, 1, &[]);
    let (said, target) = repair(&desk, &drives[..2], &[]);
    let said = said.exits(3);
    assert!(
        said.out.contains("cannot be made whole") && (said.out.clone() + &said.err).contains("any one"),
        "{said:?}"
    );
    assert!(volumes::files(&target).is_empty());
    // Damage that file names and lengths do not show.
    let parts = volumes::sealed_parts(&drives);
    parts.iter().for_each(|part| fs::write(part, vec![7; fs::metadata(part).unwrap().len() as usize]).unwrap());
    let (said, target) = repair(&desk, &drives, &[]);
    said.exits(4);
    assert!(volumes::files(&target).is_empty());
    let inside = drives[0].join("volume-1");
    let mut command = crate::common::pouch(["repair"]);
    command.args(&drives).arg("-i").arg(desk.path("key")).arg("-o").arg(&inside);
    assert!([2, 4].contains(&run(command).code));
}

#[test]
fn with_a_key_check_says_what_else_may_go() {
    let (desk, drives) = desk_on(4, 2, &[]);
    let check = |drives: &[PathBuf]| {
        let mut command = desk.check_cmd(drives, &["--json"]);
        command.arg("-i").arg(desk.path("key"));
        let done = run(command);
        let code = done.code;
        (code, done.exits(code).json()["bundle"].clone())
    };
    let (code, bundle) = check(&drives);
    assert_eq!((code, bundle["margin"]["drives"].as_u64()), (0, Some(2)), "{bundle}");
    assert_eq!((&bundle["verdict"]["state"], &bundle["needed"]), (&"complete".into(), &serde_json::json!([])));
    let (code, bundle) = check(&drives[1..]);
    assert_eq!((code, bundle["margin"]["drives"].as_u64()), (0, Some(1)), "{bundle}");
    assert_eq!(bundle["verdict"]["state"], "repairable");
    let (_, bundle) = check(&drives[2..]);
    assert_eq!((&bundle["needed"], &bundle["here"]), (&serde_json::json!([3, 4]), &serde_json::json!([3, 4])));
    let (code, bundle) = check(&drives[3..]);
    assert_eq!((code, &bundle["verdict"]["any_one_of"]), (3, &serde_json::json!([1, 2, 3])), "{bundle}");
    // A damaged part counts as lost.
    volumes::flip(&volumes::sealed_parts(&drives[..1])[0], 5_000, 1);
    let (code, bundle) = check(&drives);
    assert_eq!((code, bundle["margin"]["drives"].as_u64()), (4, Some(1)), "{bundle}");
    let mut command = desk.check_cmd(&drives[1..], &[]);
    command.arg("-i").arg(desk.path("key"));
    let said = run(command).exits(0).out;
    assert!(said.contains("volumes 2-4 of 4 are here") && said.contains("any 1 more of these drives"), "{said}");
}
