//! Drives that lie: smaller than they claim, forgetful, inconsistent. What was not stored is never called safe, and
//! what is called safe is still there after the drive is replugged.

mod before;
mod bench;
mod failing;
mod journals;
mod places;
mod replaced;
mod small;
mod targets;

use std::path::PathBuf;

use crate::common::drive::{BLOCK, Cache, Fault};
use crate::common::{Run, noise, put, run, volumes};
use bench::{Bench, MIB};

/// What a drive of `real` bytes may do with everything beyond them.
fn lies(real: u64) -> [Fault; 3] {
    [Fault::Discard { real, fill: 0 }, Fault::Discard { real, fill: 0xff }, Fault::Wrap { real }]
}

/// Checks that the run failed, named the drive, a file on it and the byte, and called nothing safe.
#[track_caller]
fn is_caught(run: Run, bench: &mut Bench, drive: usize) {
    let run = run.exits(7);
    let volume = bench.drives[drive].path();
    assert!(!run.out.contains("safe to unplug"), "{}", run.out);
    let said = run.err.lines().find(|line| line.contains(&volume.display().to_string())).unwrap_or_default();
    assert!(said.contains("byte ") && said.contains("volume-"), "{}", run.err);
    for drive in &mut bench.drives {
        drive.replug();
    }
    let looks_complete = |volume: &PathBuf| volume.join("SHA256SUMS").exists();
    assert!(!volumes::files(&volume).iter().any(looks_complete), "a volume of the bad drive looks complete");
}

#[test]
fn packing_onto_a_drive_that_is_smaller_than_it_says_is_found_out() {
    for (drives, share) in [(1, 2), (1, 8), (3, 2), (3, 8)] {
        let real = 32 * MIB / share;
        for lie in lies(real) {
            let Some(mut bench) = Bench::of(drives, 32 * MIB) else { return };
            let fake = drives as usize / 2;
            bench.drives[fake].set(&[lie]);
            bench.source(drives * (real + real / 4), 1);
            let run = bench.pack(&["--verify"]);
            is_caught(run, &mut bench, fake);
        }
    }
}

#[test]
fn a_drive_that_is_smaller_than_it_says_does_for_what_it_holds() {
    for (drives, lie) in lies(8 * MIB).into_iter().enumerate() {
        let Some(mut bench) = Bench::of(drives as u64 + 1, 32 * MIB) else { return };
        bench.drives[drives / 2].set(&[lie]);
        // Parity adds 2 MiB.
        bench.source((drives as u64 + 1) * 4 * MIB, 1);
        let run = bench.pack(&["--verify"]).exits(0);
        assert!(run.out.contains("safe to unplug"), "{}", run.out);
        bench.is_whole();
    }
}

#[test]
fn loading_onto_a_drive_that_is_smaller_than_it_says_is_found_out() {
    for share in [2, 8] {
        let real = 32 * MIB / share;
        for lie in lies(real) {
            let Some(mut bench) = Bench::staged(2 * (real + real / 4), 32 * MIB) else { return };
            bench.drives[0].set(&[lie]);
            let run = bench.load();
            is_caught(run, &mut bench, 0);
        }
    }
    for lie in lies(8 * MIB) {
        let Some(mut bench) = Bench::staged(2 * 6 * MIB, 32 * MIB) else { return };
        bench.drives[0].set(&[lie]);
        let run = bench.load().exits(0);
        assert!(run.out.contains("safe to unplug"), "{}", run.out);
        bench.is_loaded();
    }
}

/// Checks that the run exits with 0 only if everything is there. Returns whether it did.
#[track_caller]
fn never_falsely_safe(run: Run, bench: &mut Bench, is_whole: fn(&mut Bench)) -> bool {
    assert!([0, 7].contains(&run.code), "{run:?}");
    assert_eq!(run.code == 0, run.out.contains("safe to unplug"), "{run:?}");
    bench.nothing_false();
    if run.code == 0 {
        is_whole(bench);
    } else if run.out.contains("written: ") {
        // The bundle is complete on the other drives.
        bench.gives_back_all();
    }
    run.code == 0
}

/// Drives that lack the last 0 to 7 of the blocks that a sound drive would use.
fn nearly(reach: u64, lie: usize) -> impl Iterator<Item = (u64, Fault)> {
    (0..8).map(move |missing| (missing, lies(reach - missing * BLOCK as u64)[lie].clone()))
}

#[test]
fn the_last_block_of_a_packing_hits_nothing_that_was_read_back_before() {
    let packed = |faults: &[Fault]| {
        let mut bench = Bench::of(1, 32 * MIB)?;
        bench.source(3 * MIB, 1);
        bench.drives[0].set(faults);
        let run = bench.pack(&["--verify", "--mend", "0"]);
        Some((bench, run))
    };
    let Some((sound, _)) = packed(&[]) else { return };
    // Some of the last blocks are the journal's, which is removed in the end, so their loss does no harm.
    let mut caught = 0;
    for (missing, lie) in nearly(sound.drives[0].reach(), 0).chain(nearly(sound.drives[0].reach(), 2)) {
        let (mut bench, run) = packed(&[lie]).expect("it was mounted before");
        let safe = never_falsely_safe(run, &mut bench, Bench::is_whole);
        assert!(safe || missing > 0);
        caught += usize::from(!safe);
    }
    assert!(caught > 3, "{caught}");
}

#[test]
fn the_last_block_of_a_loading_hits_nothing_that_was_read_back_before() {
    let Some(mut bench) = Bench::staged(6 * MIB, 32 * MIB) else { return };
    bench.load().exits(0);
    let reach = bench.drives[0].reach();
    for (missing, lie) in nearly(reach, 0).chain(nearly(reach, 2)) {
        bench.new_drive(Cache::WriteBack);
        bench.drives[0].set(&[lie]);
        let run = bench.load();
        let safe = never_falsely_safe(run, &mut bench, Bench::is_loaded);
        assert_eq!(safe, missing == 0, "{missing} blocks are missing");
    }
}

#[test]
fn whatever_the_amount_nothing_is_falsely_called_safe() {
    let mut ends = [0; 2];
    for seed in 0..14u64 {
        let dice = noise(8, seed + 100);
        let any = |at: usize, most: u64| u64::from(dice[at]) * 256 % most + u64::from(dice[at + 1]) % 256 * 16;
        let drives = 1 + seed % 2;
        let Some(mut bench) = Bench::of(drives, 16 * MIB) else { return };
        let real = (3 * MIB + any(0, 4 * MIB) * 64) / BLOCK as u64 * BLOCK as u64;
        bench.drives[0].set(&[lies(real.min(15 * MIB))[seed as usize % 3].clone()]);
        bench.source(drives * MIB + any(2, 60_000) * 64 * drives, seed);
        let run = bench.pack(&["--verify"]);
        ends[usize::from(never_falsely_safe(run, &mut bench, Bench::is_whole))] += 1;
    }
    assert!(ends.iter().all(|end| *end > 2), "{ends:?}");
}

#[test]
fn whatever_the_amount_no_loaded_volume_is_falsely_called_safe() {
    let Some(mut bench) = Bench::staged(9 * MIB, 16 * MIB) else { return };
    let mut ends = [0; 2];
    for seed in 0..16u64 {
        let dice = noise(4, seed + 7);
        let real = (3 * MIB + u64::from(dice[0]) * 12_000 + u64::from(dice[1]) * 4096) / BLOCK as u64 * BLOCK as u64;
        bench.new_drive(Cache::WriteBack);
        bench.drives[0].set(&[lies(real)[seed as usize % 3].clone()]);
        let run = bench.load();
        ends[usize::from(never_falsely_safe(run, &mut bench, Bench::is_loaded))] += 1;
    }
    assert!(ends.iter().all(|end| *end > 2), "{ends:?}");
}

#[test]
fn a_drive_that_forgets_what_it_synced_is_found_out() {
    // The drive forgets from the beginning, or from the middle of the run on.
    for after in [0, 5 * MIB] {
        let Some(mut bench) = Bench::of(2, 32 * MIB) else { return };
        bench.source(16 * MIB, 1);
        bench.drives[1].set(&[Fault::Forget { bytes: after }]);
        let run = bench.pack(&["--verify"]);
        is_caught(run, &mut bench, 1);
        let Some(mut bench) = Bench::staged(16 * MIB, 32 * MIB) else { return };
        bench.drives[0].set(&[Fault::Forget { bytes: after }]);
        let run = bench.load();
        is_caught(run, &mut bench, 0);
    }
}

#[test]
fn without_reading_back_nothing_is_called_safe_and_a_check_shows_what_is_stored() {
    let Some(mut bench) = Bench::of(2, 32 * MIB) else { return };
    bench.source(16 * MIB, 1);
    // These blocks are in parts. Seals and journal, which lie before them, are always read back.
    bench.drives[1].set(&[Fault::Lose(300..304)]);
    let run = bench.pack(&["--no-verify"]).exits(0);
    assert!(run.out.contains("not read back") && !run.out.contains("safe"), "{}", run.out);
    bench.drives.iter_mut().for_each(|drive| drive.replug());
    bench.check(4);
}

#[test]
fn blocks_that_change_once_they_were_read_are_found_by_the_next_check() {
    let Some(mut bench) = Bench::of(1, 32 * MIB) else { return };
    bench.source(8 * MIB, 1);
    // These blocks are in parts. Seals and journal, which lie before them, are always read back.
    bench.drives[0].set(&[Fault::CorruptSecondRead(300..304)]);
    bench.pack(&["--no-verify"]).exits(0);
    bench.drives[0].replug();
    bench.check(0);
    bench.drives[0].replug();
    bench.check(4);
    let (drives, key) = ([bench.drives[0].path()], bench.desk.path("key"));
    let said = run(bench.desk.check_cmd(&drives, &["-i", &key.display().to_string()])).exits(4);
    assert!(said.out.contains("1 part missing or damaged, to be rebuilt"), "{}", said.out);
    run(bench.desk.unpack_cmd(&drives, &bench.desk.path("out"), &[])).exits(0);
    crate::common::tree::same(&bench.desk.source(), &bench.desk.path("out/source"));
}

#[test]
fn a_loaded_file_that_changes_once_it_was_read_is_copied_again() {
    let Some(mut bench) = Bench::staged(8 * MIB, 32 * MIB) else { return };
    bench.drives[0].set(&[Fault::CorruptSecondRead(300..304)]);
    bench.load().exits(0);
    bench.drives[0].replug();
    let said = bench.check(4);
    assert!(said.out.contains("another SHA-256"), "{}", said.out);
    // Loading now finds the file damaged and writes it again, to other blocks.
    let said = bench.load().exits(0);
    assert!(said.err.contains("copied again"), "{}", said.err);
    bench.is_loaded();
}

#[test]
fn what_is_added_to_a_loaded_volume_makes_it_unfinished_until_all_was_read_back() {
    let Some(mut bench) = Bench::staged(6 * MIB, 32 * MIB) else { return };
    bench.load().exits(0);
    let list = bench.drives[0].path().join("volume-1/list.age");
    std::fs::remove_file(&list).unwrap();
    // The freed blocks still hold the list, so another file takes them.
    put(bench.drives[0].path().join("others"), noise(100_000, 1));
    bench.drives[0].replug();
    bench.drives[0].set(&[Fault::Forget { bytes: 0 }]);
    let run = bench.load();
    is_caught(run, &mut bench, 0);
    bench.drives[0].set(&[]);
    bench.load().exits(0);
    bench.is_loaded();
}
