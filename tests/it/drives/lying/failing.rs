//! Drives that fail: full, read-only, pulled out, with bad sectors, slow. An unfinished volume does not look finished,
//! the run names the drive, and the same command goes on once the drive works again.

use std::fs;
use std::path::Path;

use fuser::Errno;

use crate::common::drive::{Cache, Fault};
use crate::common::tree::{only_true_files, same};
use crate::common::{Run, pouch, put, run, volumes};
use crate::drives::lying::bench::{Bench, MIB};

const ERRORS: [Errno; 4] = [Errno::EIO, Errno::ENOSPC, Errno::EROFS, Errno::ENODEV];
const CACHES: [Cache; 2] = [Cache::WriteThrough, Cache::WriteBack];

/// For each byte count, writes that fail with every error, and a drive that is gone altogether.
fn failures(after: &[u64]) -> impl Iterator<Item = (Cache, Fault)> {
    let mut cases = Vec::new();
    for (at, &bytes) in after.iter().enumerate() {
        for (number, errno) in ERRORS.into_iter().enumerate() {
            cases.push((CACHES[(at + number) % 2], Fault::FailAfter { bytes, errno }));
        }
        // Gone after its first byte, because before that there is no drive at all, or once the journal has a part of
        // it.
        let errno = [Errno::EIO, Errno::ENODEV][at % 2];
        cases.push((CACHES[at % 2], Fault::Gone { bytes: if bytes < MIB { 1 } else { bytes }, errno }));
    }
    cases.into_iter()
}

/// Checks that the run either finished, with everything on the good drives, or exited with 7, named the drive and left
/// nothing that looks complete. Returns whether it finished.
#[track_caller]
fn failed_well(run: &Run, bench: &mut Bench, drive: usize, what: &dyn std::fmt::Debug) -> bool {
    if run.out.contains("written: ") {
        assert!([0, 7].contains(&run.code) && (run.code == 0 || run.err.contains("was given up")), "{run:?}");
        bench.gives_back_all();
        return true;
    }
    assert_eq!(run.code, 7, "{what:?}: {run:?}");
    let path = bench.drives[drive].path().display().to_string();
    let named = run.err.lines().any(|line| line.starts_with("pouch: ") && line.contains(&path));
    assert!(named, "{what:?}: {}", run.err);
    assert!(run.err.contains("hint: "), "{what:?}: {}", run.err);
    assert!(!run.out.contains("safe to unplug"), "{what:?}: {}", run.out);
    let drives = bench.paths();
    volumes::none_looks_complete(&drives);
    false
}

#[test]
fn a_packing_onto_a_drive_that_fails_is_gone_on_with() {
    for (turn, (cache, fault)) in failures(&[0, 200_000, 2 * MIB, 5 * MIB]).enumerate() {
        let Some(mut bench) = Bench::with(2, 32 * MIB, cache) else { return };
        let drive = turn % 2;
        bench.source(12 * MIB, 1);
        bench.drives[drive].set(std::slice::from_ref(&fault));
        let first = bench.pack(&["--verify"]);
        bench.mend();
        if !failed_well(&first, &mut bench, drive, &fault) {
            bench.pack(&["--verify"]).exits(0);
            bench.is_whole();
        }
    }
}

#[test]
fn a_loading_onto_a_drive_that_fails_is_gone_on_with() {
    let Some(mut bench) = Bench::staged(12 * MIB, 32 * MIB) else { return };
    for (cache, fault) in failures(&[0, 200_000, 2 * MIB, 5 * MIB, 7 * MIB]) {
        bench.new_drive(cache);
        bench.drives[0].set(std::slice::from_ref(&fault));
        let first = bench.load();
        bench.mend();
        if first.code != 0 {
            failed_well(&first, &mut bench, 0, &fault);
            bench.load().exits(0);
        }
        bench.is_loaded();
    }
}

#[test]
fn a_sync_that_fails_once_is_never_taken_for_done() {
    for (at, bytes) in [0, 100_000, 1_500_000, 4 * MIB, 6 * MIB].into_iter().enumerate() {
        for drive in 0..2 {
            let Some(mut bench) = Bench::with(2, 32 * MIB, CACHES[(at + drive) % 2]) else { return };
            bench.source(12 * MIB, 1);
            bench.drives[drive].set(&[Fault::SyncFails { bytes }]);
            let first = bench.pack(&["--verify"]);
            // The kernel's cache still holds what was lost: the next run must not believe it.
            if !failed_well(&first, &mut bench, drive, &bytes) {
                bench.pack(&["--verify"]).exits(0);
                bench.is_whole();
            }
        }
    }
}

#[test]
fn a_sync_that_fails_once_while_loading_is_never_taken_for_done() {
    let Some(mut bench) = Bench::staged(12 * MIB, 32 * MIB) else { return };
    for (at, bytes) in [0, 100_000, 1_500_000, 4 * MIB, 6 * MIB].into_iter().enumerate() {
        bench.new_drive(CACHES[at % 2]);
        bench.drives[0].set(&[Fault::SyncFails { bytes }]);
        let first = bench.load();
        if first.code != 0 {
            failed_well(&first, &mut bench, 0, &bytes);
            bench.load().exits(0);
        }
        bench.is_loaded();
    }
}

/// Two packed drives, replugged.
fn packed() -> Option<Bench> {
    let mut bench = Bench::of(2, 32 * MIB)?;
    bench.source(12 * MIB, 1);
    bench.pack(&["--verify"]).exits(0);
    bench.mend();
    Some(bench)
}

#[test]
fn a_drive_that_is_pulled_out_while_it_is_checked_is_not_called_whole() {
    let Some(mut bench) = packed() else { return };
    for bytes in [0, 100_000, 3 * MIB] {
        for errno in [Errno::EIO, Errno::ENODEV] {
            bench.drives[1].set(&[Fault::Gone { bytes, errno }]);
            let drives = bench.paths();
            let said = run(bench.desk.check_cmd(&drives, &[])).exits(7);
            let path = drives[1].display().to_string();
            let named =
                |line: &str| line.contains(&path) && (line.contains(": gone") || line.contains("cannot look at"));
            assert!(said.all().lines().any(named), "{said:?}");
            assert!(said.all().contains("hint: "), "{said:?}");
            let other = format!("{}/volume-1: whole", drives[0].display());
            assert!(bytes == 0 || said.out.contains(&other), "{said:?}");
            bench.mend();
            bench.drives[1].set(&[Fault::Gone { bytes, errno }]);
            let mut with_key = bench.desk.check_cmd(&drives, &["-i"]);
            with_key.arg(bench.desk.path("key"));
            let said = run(with_key).exits(7);
            assert!(!said.all().contains("does not hold") && !said.all().contains("damaged ("), "{said:?}");
            bench.mend();
            bench.check(0);
            bench.mend();
        }
    }
}

#[test]
fn a_drive_that_is_pulled_out_while_unpacking_costs_nothing_but_another_run() {
    let Some(mut bench) = packed() else { return };
    for (turn, bytes) in [0, 100_000, 3 * MIB, 5 * MIB].into_iter().enumerate() {
        for errno in [Errno::EIO, Errno::ENODEV] {
            let out = bench.desk.path(&format!("out-{turn}-{errno:?}"));
            bench.drives[1].set(&[Fault::Gone { bytes, errno }]);
            let drives = bench.paths();
            let unpack = || run(bench.desk.unpack_cmd(&drives, &out, &[]));
            let said = unpack().exits(7);
            is_gone_and_not_damaged(&said, &drives[1]);
            assert!(bytes == 0 || said.err.contains("goes on from there"), "{said:?}");
            assert!(!said.out.contains("complete  yes"), "{said:?}");
            if out.join("source").exists() {
                only_true_files(&bench.desk.source(), &out.join("source"));
            }
            bench.mend();
            run(bench.desk.unpack_cmd(&drives, &out, &[])).exits(0);
            same(&bench.desk.source(), &out.join("source"));
            fs::remove_dir_all(&out).unwrap();
            bench.mend();
        }
    }
}

/// Checks that the run names the drive that is gone and says what to do, and calls nothing damaged.
#[track_caller]
fn is_gone_and_not_damaged(said: &Run, drive: &Path) {
    let path = drive.display().to_string();
    let named = |line: &str| {
        line.starts_with("pouch: ") && line.contains(&path) && (line.contains("gone") || line.contains("cannot look"))
    };
    assert!(said.err.lines().any(named), "{said:?}");
    assert!(said.err.contains("hint: ") && said.err.contains("again"), "{said:?}");
    let damage = |line: &str| line.contains("is damaged") || line.contains("are damaged");
    assert!(!said.all().lines().any(damage), "{said:?}");
}

#[test]
fn with_parity_enough_a_drive_that_is_pulled_out_while_unpacking_is_not_missed() {
    let Some(mut bench) = Bench::of(3, 32 * MIB) else { return };
    bench.source(12 * MIB, 1);
    bench.pack(&["--lose", "1"]).exits(0);
    bench.mend();
    let drives = bench.paths();
    for (turn, bytes) in [100_000, 3 * MIB].into_iter().enumerate() {
        let out = bench.desk.path(&format!("out-{turn}"));
        bench.drives[1].set(&[Fault::Gone { bytes, errno: Errno::EIO }]);
        let said = run(bench.desk.unpack_cmd(&drives, &out, &[])).exits(0);
        let note = format!("note: {}/volume-2: its drive is gone", drives[1].display());
        assert!(said.err.contains(&note) && said.out.contains("complete  yes"), "{said:?}");
        same(&bench.desk.source(), &out.join("source"));
        assert!(!out.join(".pouch-unfinished").exists());
        bench.mend();
    }
    let out = bench.desk.path("out-json");
    bench.drives[1].set(&[Fault::Gone { bytes: 100_000, errno: Errno::ENODEV }]);
    let said = run(bench.desk.unpack_cmd(&drives, &out, &["--json"])).exits(0);
    assert_eq!(said.json()["gone"][0], format!("{}/volume-2", drives[1].display()), "{said:?}");
    assert!(said.json()["rebuilt_parts"].as_array().unwrap().iter().all(|part| part["state"] == "missing"));
}

#[test]
fn damage_beside_a_drive_that_is_pulled_out_is_still_named() {
    let Some(mut bench) = Bench::of(2, 32 * MIB) else { return };
    bench.source(12 * MIB, 1);
    bench.pack(&["--mend", "0"]).exits(0);
    bench.mend();
    let drives = bench.paths();
    bench.drives[0].set(&[Fault::BadBlocks(300..303)]);
    bench.drives[1].set(&[Fault::Gone { bytes: 3 * MIB, errno: Errno::EIO }]);
    let out = bench.desk.path("out");
    let said = run(bench.desk.unpack_cmd(&drives, &out, &[])).exits(7);
    assert!(said.err.contains("volume-2: its drive is gone") && !said.err.contains("volume-1: its"), "{said:?}");
    let damaged = |line: &str| line.contains("of volume 1 is damaged");
    assert!(said.out.lines().any(damaged) && !said.out.contains("of volume 2 is damaged"), "{said:?}");
    // With the drive back, only the damage is left.
    bench.drives[1].set(&[]);
    bench.drives[1].replug();
    run(bench.desk.unpack_cmd(&drives, &out, &[])).exits(4);
}

#[test]
fn a_drive_that_is_pulled_out_while_a_bundle_is_opened_or_repaired_is_gone_and_not_damaged() {
    let Some(mut bench) = packed() else { return };
    let drive = bench.drives[1].path();
    let key = bench.desk.path("key");
    for bytes in [2000, 6000, 20_000, 100_000, 3 * MIB] {
        for command in ["list", "unpack", "repair", "salvage"] {
            let out = bench.desk.path("out");
            fs::create_dir(&out).unwrap();
            bench.drives[1].set(&[Fault::Gone { bytes, errno: Errno::EIO }]);
            let mut words = pouch([if command == "salvage" { "unpack" } else { command }]);
            words.arg(&drive).arg("-i").arg(&key);
            match command {
                "list" => {}
                "salvage" => drop(words.arg("--salvage").arg("-o").arg(&out)),
                _ => drop(words.arg("-o").arg(&out)),
            }
            let said = run(words);
            // `list` succeeds if it had read all it needs before the drive went.
            assert!(said.code == 7 || command == "list" && said.code == 0, "{command} {bytes}: {said:?}");
            if said.code != 0 {
                is_gone_and_not_damaged(&said, &drive);
            }
            assert!(!out.join("volume-1/SHA256SUMS").exists());
            fs::remove_dir_all(&out).unwrap();
            bench.mend();
        }
    }
}

#[test]
fn a_dead_mount_is_an_error_of_the_system_and_no_mistake() {
    let Some(bench) = Bench::staged(2 * MIB, 32 * MIB) else { return };
    let drive = bench.drives[0].path();
    let staged = bench.desk.path("stage/volume-1");
    let source = bench.desk.source();
    let put_at = |target: &Path| {
        let unpack = bench.desk.unpack_cmd(&[bench.desk.path("stage")], target, &[]);
        let load = pouch([Path::new("load"), &staged, target]);
        [bench.desk.pack_cmd(&[&source], &[target.to_owned()], &[]), load, unpack].map(run)
    };
    for errno in [Errno::ENOTCONN, Errno::EIO, Errno::ENODEV] {
        bench.drives[0].set(&[Fault::Gone { bytes: 0, errno }]);
        for said in put_at(&drive) {
            let said = said.exits(7);
            let named = said.err.contains(&drive.display().to_string()) && said.err.contains("os error");
            assert!(named && said.err.contains("hint: "), "{said:?}");
        }
    }
    bench.drives[0].set(&[]);
    let file = bench.desk.path("key");
    for said in put_at(&file) {
        assert!(said.exits(2).err.contains("is no folder"));
    }
    for said in &put_at(&bench.desk.path("nowhere"))[..2] {
        assert!(said.code == 2 && said.err.contains("is no folder"), "{said:?}");
    }
}

#[test]
fn bad_sectors_are_named_and_made_up_for() {
    let Some(mut bench) = packed() else { return };
    bench.drives[1].set(&[Fault::BadBlocks(300..303)]);
    let said = bench.check(4);
    assert!(said.out.contains("could not be read"), "{}", said.out);
    let drives = bench.paths();
    bench.delivers(&drives);
    bench.mend();
    bench.check(0);
}

#[test]
fn one_drive_that_is_slower_than_the_others_is_waited_for() {
    let Some(mut bench) = Bench::of(3, 32 * MIB) else { return };
    bench.source(18 * MIB, 1);
    for (drive, rate) in bench.drives.iter().zip([60, 6, 60]) {
        drive.set(&[Fault::Slow { write: rate * MIB, read: rate * MIB }]);
    }
    let run = bench.pack(&["--verify"]).exits(0);
    assert!(run.out.contains("safe to unplug"), "{}", run.out);
    bench.mend();
    bench.is_whole();
}

#[test]
fn a_drive_that_is_gone_before_any_part_is_written_can_be_gone_on_with() {
    let Some(mut bench) = Bench::of(2, 32 * MIB) else { return };
    bench.source(100_000, 1);
    // The only part has room on the second drive alone.
    put(bench.drives[0].path().join("others"), vec![1; (32 << 20) - 1_300_000]);
    bench.drives[1].set(&[Fault::Gone { bytes: 50_000, errno: Errno::ENODEV }]);
    let first = bench.pack(&["--verify", "--mend", "0"]);
    bench.mend();
    assert!(!failed_well(&first, &mut bench, 1, &"gone"));
    bench.pack(&["--verify", "--mend", "0"]).exits(0);
    bench.is_whole();
}
