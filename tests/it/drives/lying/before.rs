//! A write that the drive lost before a run is no fault of the run, though the system reports the loss to the next
//! program that syncs.

use std::fs;

use crate::common::drive::{Cache, Drive};
use crate::common::faults::faulty;
use crate::common::tree::same;
use crate::common::{Run, need, pouch, run, volumes};
use crate::drives::lying::bench::{Bench, MIB};

const BARE: [&str; 2] = ["--mend", "0"];

/// Checks that the run succeeds and notes the earlier loss once.
#[track_caller]
fn tells(said: Run, drive: &Drive) {
    let said = said.exits(0);
    let note = format!("note: {}: the system lost something that was written there before", drive.path().display());
    assert_eq!(said.err.matches(&note).count(), 1, "{said:?}");
}

#[test]
fn a_drive_that_lost_something_before_is_packed_to() {
    let Some(mut bench) = Bench::of(2, 32 * MIB) else { return };
    bench.source(6 * MIB, 1);
    bench.drives[1].loses_something();
    tells(bench.pack(&BARE), &bench.drives[1]);
    bench.is_whole();
}

#[test]
fn a_drive_that_lost_something_since_a_packing_was_killed_is_gone_on_with() {
    let Some(mut bench) = Bench::of(2, 32 * MIB) else { return };
    bench.source(24 * MIB, 4);
    bench.kill_halfway(&BARE);
    bench.drives[0].loses_something();
    let said = bench.pack(&BARE);
    assert!(said.out.contains("goes on from an interrupted run"), "{said:?}");
    tells(said, &bench.drives[0]);
    bench.is_whole();
}

#[test]
fn a_drive_that_lost_something_before_is_loaded() {
    let Some(mut bench) = Bench::staged(6 * MIB, 32 * MIB) else { return };
    bench.drives[0].loses_something();
    tells(bench.load(), &bench.drives[0]);
    bench.is_loaded();
}

#[test]
fn a_drive_that_lost_something_before_is_repaired_to() {
    let Some(mut bench) = Bench::of(3, 32 * MIB) else { return };
    bench.source(6 * MIB, 1);
    bench.pack(&["--lose", "1"]).exits(0);
    let left = bench.paths().split_off(1);
    let drive =
        Drive::plug(bench.desk.path("new"), 32 * MIB, Cache::WriteBack).expect("the other drives could be mounted");
    drive.loses_something();
    let mut repair = pouch(["repair"]);
    repair.args(&left).arg("-i").arg(bench.desk.path("key")).arg("-o").arg(drive.path());
    tells(run(repair), &drive);
    bench.drives[0] = drive;
    bench.nothing_false();
    bench.check(0);
}

#[test]
fn a_target_that_lost_something_before_is_unpacked_to() {
    let Some(mut bench) = Bench::of(1, 32 * MIB) else { return };
    bench.source(6 * MIB, 1);
    bench.pack(&BARE).exits(0);
    let mut target =
        Drive::plug(bench.desk.path("target"), 32 * MIB, Cache::WriteBack).expect("the other drives could be mounted");
    target.loses_something();
    tells(run(bench.desk.unpack_cmd(&bench.paths(), &target.path(), &[])), &target);
    target.replug();
    same(&bench.desk.source(), &target.path().join("source"));
}

#[test]
fn what_is_lost_while_a_run_writes_counts() {
    if !need(&["strace"]) {
        return;
    }
    let Some(mut bench) = Bench::of(1, 32 * MIB) else { return };
    bench.source(2 * MIB, 1);
    let drives = bench.paths();
    let pack = bench.desk.pack_cmd(&[&bench.desk.source()], &drives, &BARE);
    tells(run(faulty(&pack, &[], "syncfs:error=EIO:when=1")), &bench.drives[0]);
    bench.is_whole();
    fs::remove_dir_all(bench.desk.volume(1)).unwrap();
    let said = run(faulty(&pack, &[], "syncfs:error=EIO:when=2")).exits(7);
    assert!(said.err.contains("cannot sync") && !said.err.contains("before this run"), "{said:?}");
    volumes::none_looks_complete(&drives);
}
