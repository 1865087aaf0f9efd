//! A drive fails and the others go on: its parts are packed again for another drive, parity stands for them, or the run
//! ends and can be resumed.

use std::fs;

use crate::common::drive::{Cache, Fault};
use crate::common::{Desk, midway, noise, put, volumes};
use crate::drives::lying::bench::{Bench, MIB};
use fuser::Errno;

/// Writes text, noise, a hole and many small files: every kind of frame, and a long end of the tar.
fn mixed(desk: &Desk) {
    let line = |n: u32| format!("{n} of a text {}\n", n.wrapping_mul(2_654_435_761) % 977);
    put(desk.source().join("text"), (0..200_000).map(line).collect::<String>());
    put(desk.source().join("clip"), noise(6_000_000, 5));
    for at in 0..500 {
        put(desk.source().join(format!("small/{at}")), format!("{at}"));
    }
    let hole = fs::File::create(desk.source().join("hole")).unwrap();
    hole.set_len(30_000_000).unwrap();
}

/// A bench with this many drives, and mixed sources.
fn bench(drives: u64, claimed: u64) -> Option<Bench> {
    let mut bench = Bench::with(drives, claimed, Cache::WriteBack)?;
    bench.source(MIB, 9);
    mixed(&bench.desk);
    bench.keep_marks();
    Some(bench)
}

fn gone(bytes: u64) -> [Fault; 1] {
    [Fault::Gone { bytes, errno: Errno::EIO }]
}

/// Checks that nothing on this drive looks complete, and that the volumes which do deliver everything.
#[track_caller]
fn is_complete_without(bench: &mut Bench, drive: usize) {
    bench.mend();
    let lost = bench.drives[drive].path();
    assert!(volumes::files(&lost).iter().all(|volume| !volume.join("SHA256SUMS").exists()));
    bench.gives_back_all();
}

#[test]
fn the_share_of_a_drive_that_dies_goes_to_the_others() {
    for (turn, more) in [&["--mend", "0"][..], &[], &["--mend", "20%"], &["--level", "6"]].into_iter().enumerate() {
        for bytes in [300_000, 2 * MIB] {
            let Some(mut bench) = bench(3, 32 * MIB) else { return };
            let drive = (turn + bytes as usize) % 3;
            bench.drives[drive].set(&gone(bytes));
            let more = [more, &["--verify"]].concat();
            let run = bench.pack(&more).exits(7);
            assert!(run.err.contains("was given up") && run.out.contains("every byte is stored"), "{run:?}");
            assert!(!run.out.contains("safe to unplug"), "{run:?}");
            is_complete_without(&mut bench, drive);
        }
    }
}

#[test]
fn parity_stands_for_a_drive_that_dies_where_there_is_no_other_place() {
    for bytes in [300_000, 2 * MIB] {
        let Some(mut bench) = bench(3, 64 * MIB) else { return };
        bench.drives[2].set(&gone(bytes));
        let run = bench.pack(&["--lose", "1"]).exits(7);
        assert!(run.err.contains("parity stands for them"), "{run:?}");
        is_complete_without(&mut bench, 2);
    }
    // With one drive more than a stripe needs, the parts find another home, and one more drive may still be lost.
    let Some(mut bench) = bench(4, 64 * MIB) else { return };
    bench.drives[1].set(&gone(2 * MIB));
    let run = bench.pack(&["--lose", "1"]).exits(7);
    if !run.err.contains("parity stands") {
        bench.drives.remove(3);
        is_complete_without(&mut bench, 1);
    }
}

#[test]
fn without_a_place_the_run_ends_and_another_drive_is_gone_on_with() {
    let Some(mut bench) = bench(3, 4 * MIB) else { return };
    bench.drives[1].set(&gone(2 * MIB));
    let run = bench.pack(&["--mend", "0"]).exits(7);
    assert!(run.err.contains("need a home") && run.err.contains("drive-2"), "{run:?}");
    // Another drive is in its place, but `--replaced` is not given.
    bench.another_drive(1, 24 * MIB, Cache::WriteBack);
    volumes::none_looks_complete(&bench.paths());
    let refused = bench.pack(&["--mend", "0"]).exits(2);
    assert!(refused.err.contains("--replaced"), "{refused:?}");
    let run = bench.pack(&["--mend", "0", "--replaced"]).exits(0);
    assert!(run.out.contains("goes on from an interrupted run") && run.out.contains("packed again"), "{run:?}");
    assert!(run.out.contains("the drive that was replaced must not be handed on"), "{run:?}");
    bench.is_whole();
}

#[test]
fn the_same_drive_plugged_in_again_is_gone_on_with() {
    let Some(mut bench) = bench(3, 4 * MIB) else { return };
    bench.drives[1].set(&gone(2 * MIB));
    bench.pack(&["--mend", "0"]).exits(7);
    bench.mend();
    let run = bench.pack(&["--mend", "0"]);
    assert!(!run.out.contains("must not be handed on"), "{run:?}");
    // The drives have no spare room: the run may run out of it once more, and can be resumed then too.
    if run.code != 0 {
        assert!(run.code == 7, "{run:?}");
    }
    assert!(run.out.contains("goes on from an interrupted run"), "{run:?}");
}

#[test]
fn what_a_drive_does_not_keep_gets_another_place_on_it() {
    let Some(mut bench) = bench(1, 64 * MIB) else { return };
    // Cells that take every write and cannot be read back.
    bench.drives[0].set(&[Fault::BadBlocks(900..1000)]);
    let run = bench.pack(&["--verify"]).exits(7);
    assert!(run.err.contains("do not trust") && run.err.contains("volume-1/"), "{run:?}");
    assert!(run.err.contains("did not keep all that was written"), "{run:?}");
    assert!(run.out.contains("every byte is stored") && !run.out.contains("safe to unplug"), "{run:?}");
    bench.drives[0].replug();
    let files = volumes::files(&volumes::files(&bench.drives[0].path())[0]);
    assert!(files.iter().all(|file| !volumes::name_of(file).starts_with("unfinished")), "{files:?}");
    bench.is_whole();
}

#[test]
fn a_source_that_changed_meanwhile_is_named() {
    let Some(bench) = bench(2, 64 * MIB) else { return };
    // The fault is found only when everything is read back.
    bench.drives[1].set(&[Fault::Wrap { real: 3 * MIB }]);
    let list = |number| bench.desk.volume(number).join("list.age");
    // The first drive's list is written before the second's, and everything is read back after that.
    let start = || bench.start_pack_anew(&["--verify", "--mend", "0"]);
    let packing = midway::held(start, || list(1).exists(), || list(1).exists() && !list(2).exists());
    put(bench.desk.source().join("clip"), noise(6_000_000, 6));
    put(bench.desk.source().join("text"), "other");
    let output = packing.check_not_cancelled().wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(7), "{said}");
    assert!(said.contains("cannot be made again") && said.contains("clip"), "{said}");
    volumes::none_looks_complete(&bench.paths());
}

#[test]
fn nothing_of_a_lost_drive_is_needed_after_a_kill() {
    let Some(mut bench) = bench(2, 24 * MIB) else { return };
    let some_are_there = || bench.desk.volume(2).join("000008.age").exists();
    let is_midway = || some_are_there() && !bench.desk.volume(1).join("list.age").exists();
    midway::killed(|| bench.start_pack_anew(&["--mend", "0"]), some_are_there, is_midway);
    bench.another_drive(1, 24 * MIB, Cache::WriteBack);
    let plan = bench.pack(&["--mend", "0", "--replaced", "-n", "--json"]).exits(0).json();
    let volumes = plan["volumes"].as_array().unwrap().iter().map(|volume| volume["expected"].as_u64().unwrap());
    assert!(volumes.sum::<u64>() >= plan["expected"].as_u64().unwrap(), "the volumes together take every byte: {plan}");
    let run = bench.pack(&["--mend", "0", "--replaced", "--json"]).exits(0);
    let report = run.json();
    assert!(report["plan"]["packed_again"].as_u64() > Some(0), "{report}");
    assert!(report["do_not_hand_on"].as_str().is_some_and(|said| said.contains("must not be handed on")), "{report}");
    bench.is_whole();
}

#[test]
fn the_first_drive_may_be_the_one_that_is_gone_for_good() {
    let Some(mut bench) = bench(3, 4 * MIB) else { return };
    bench.drives[0].set(&gone(2 * MIB));
    bench.pack(&["--mend", "0"]).exits(7);
    bench.another_drive(0, 24 * MIB, Cache::WriteBack);
    let run = bench.pack(&["--mend", "0", "--replaced"]).exits(0);
    assert!(run.out.contains("goes on from an interrupted run"), "{run:?}");
    bench.is_whole();
}
