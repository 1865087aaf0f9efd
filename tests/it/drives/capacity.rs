//! Drives that lie about their size are found before anything is packed, and nothing is left on them. That a drive
//! called safe stores everything is up to reading back: see lying.rs.

use std::fs;
use std::path::Path;
use std::process::Child;
use std::time::{Duration, Instant};

use crate::common::drive::{Cache, Drive, Fault};
use crate::common::{Desk, Run, midway, noise, pouch, pouch_raw, put, run, until};

const MIB: u64 = 1 << 20;
const CLAIMED: u64 = 256 * MIB;

/// A desk with something to pack, and drives plugged in.
struct Table {
    // First, so that the drives are unmounted before their folders are removed.
    drives: Vec<Drive>,
    desk: Desk,
}

impl Table {
    fn of(drives: u32, claimed: u64) -> Option<Self> {
        let desk = Desk::new();
        put(desk.source().join("clip.mov"), noise(2_200_000, 1));
        let plug = |number| Drive::plug(desk.drive(number), claimed, Cache::WriteBack);
        Some(Self { drives: (1..=drives).map(plug).collect::<Option<_>>()?, desk })
    }

    fn pack(&self, more: &[&str]) -> Run {
        let outputs: Vec<_> = self.drives.iter().map(Drive::path).collect();
        run(self.desk.pack_cmd(&[&self.desk.source()], &outputs, more))
    }

    /// Starts packing, without waiting for the end.
    fn start(&self) -> Child {
        let mut command = pouch_raw(["pack", "--verify", "-r", &self.desk.recipient, "-o"]);
        command.arg(self.drives[0].path()).arg(self.desk.source()).spawn().unwrap()
    }

    /// Checks that no name is left on the drives, and no byte in use.
    #[track_caller]
    fn nothing_is_left(&self) {
        for drive in &self.drives {
            assert_eq!(fs::read_dir(drive.path()).unwrap().count(), 0, "no name is left");
            until(|| room(&drive.path()) == drive.claimed());
        }
    }
}

fn room(path: &Path) -> u64 {
    let fs = rustix::fs::statvfs(path).unwrap();
    fs.f_bavail * fs.f_frsize
}

/// What a drive of `real` bytes may do with everything beyond them.
fn lies(real: u64) -> [Fault; 3] {
    [Fault::Discard { real, fill: 0 }, Fault::Discard { real, fill: 0xff }, Fault::Wrap { real }]
}

/// The capacity test has a time limit, and on a busy machine little is done within it. A run that took less than this
/// finished the whole test. A longer run proves nothing, so another one is made.
const SHORT: Duration = Duration::from_millis(700);
/// Runs that may take longer before the test fails.
const TIMES: usize = 50;

/// Repeats a run until it holds. Fails if one does not hold that had time enough.
#[track_caller]
fn given_time(mut holds: impl FnMut() -> bool) {
    for _ in 0..TIMES {
        let begun = Instant::now();
        if holds() {
            return;
        }
        assert!(begun.elapsed() > SHORT, "this run had time enough");
    }
    panic!("no run had time enough");
}

/// Checks that the run refused this drive because it does not store what is written.
#[track_caller]
fn is_found(said: Run, drive: &Drive) {
    let said = said.exits(7);
    assert!(is_said(&said, drive) && said.err.contains("take another drive"), "{}", said.err);
}

fn is_said(said: &Run, drive: &Drive) -> bool {
    said.err.contains(&format!("{} does not store what is written to it (tried at ", drive.path().display()))
}

/// Packs onto new drives, of which drive `bad` has these faults. Checks that it is found and nothing is left.
#[track_caller]
fn is_found_among(drives: u32, claimed: u64, bad: usize, faults: &[Fault]) {
    given_time(|| {
        let Some(table) = Table::of(drives, claimed) else { return true };
        table.drives[bad].set(faults);
        let said = table.pack(&["--verify"]);
        let found = is_said(&said, &table.drives[bad]);
        if found {
            is_found(said, &table.drives[bad]);
            table.nothing_is_left();
        }
        found
    });
}

#[test]
fn a_drive_that_is_smaller_than_it_says_is_found_before_it_is_written_to() {
    for share in [2, 8] {
        for lie in lies(CLAIMED / share) {
            for others in [vec![], vec![Fault::NoHoles]] {
                is_found_among(1, CLAIMED, 0, &[vec![lie.clone()], others].concat());
            }
        }
    }
}

#[test]
fn what_wraps_around_is_found_where_little_else_is_tried() {
    // With these sizes, the end of the drive wraps around onto no mark but the first.
    for real in [64 * MIB, 128 * MIB] {
        is_found_among(1, 1024 * MIB, 0, &[Fault::Wrap { real }]);
    }
}

#[test]
fn one_bad_drive_of_three_is_named() {
    is_found_among(3, CLAIMED, 1, &lies(CLAIMED / 4)[..1]);
}

#[test]
fn sound_drives_pass() {
    for faults in [vec![], vec![Fault::NoHoles]] {
        given_time(|| {
            let Some(table) = Table::of(2, CLAIMED) else { return true };
            table.drives.iter().for_each(|drive| drive.set(&faults));
            let packed = table.pack(&["--verify"]).exits(0);
            assert!(packed.out.contains("safe to unplug"), "{}", packed.out);
            for drive in &table.drives {
                let names: Vec<_> = fs::read_dir(drive.path()).unwrap().map(|name| name.unwrap().file_name()).collect();
                assert!(names.len() == 1, "only the volume is left: {names:?}");
            }
            run(table.desk.check_cmd(&[table.drives[0].path()], &[])).exits(0);
            // The test reached close to the drive's end.
            table.drives[0].reach() > CLAIMED / 16 * 14
        });
    }
}

#[test]
fn places_that_cannot_be_read_are_found() {
    let blocks = CLAIMED / 4096;
    is_found_among(1, CLAIMED, 0, &[Fault::BadBlocks(blocks / 3..blocks / 3 * 2)]);
}

#[test]
fn places_that_cannot_be_written_are_found() {
    is_found_among(1, CLAIMED, 0, &[Fault::FailAfter { bytes: 5 * MIB, errno: fuser::Errno::EIO }]);
}

#[test]
fn nothing_is_tried_that_was_not_asked_for_or_has_no_room_to_be() {
    let Some(table) = Table::of(1, CLAIMED) else { return };
    let fake = &lies(CLAIMED / 8)[..1];
    table.drives[0].set(fake);
    table.pack(&["--verify", "--dry-run"]).exits(0);
    assert_eq!(table.drives[0].reach(), 0, "a plan writes nothing");
    table.pack(&["--no-verify"]).exits(0);
    assert!(table.drives[0].reach() < 8 * MIB, "the drive was not tested");

    let Some(table) = Table::of(1, CLAIMED) else { return };
    let filler = fs::File::create(table.drives[0].path().join("films")).unwrap();
    rustix::fs::fallocate(&filler, rustix::fs::FallocateFlags::KEEP_SIZE, 0, CLAIMED - 8 * MIB).unwrap();
    let packed = table.pack(&["--verify"]).exits(0);
    assert!(packed.out.contains("safe to unplug"), "{}", packed.out);
}

#[test]
fn whatever_stops_it_leaves_nothing() {
    let Some(table) = Table::of(1, CLAIMED) else { return };
    table.drives[0].set(&[Fault::Slow { write: 2_000_000, read: 2_000_000 }]);
    let volume = table.desk.volume(1);
    let start = || {
        let _ = fs::remove_dir_all(&volume);
        table.start()
    };
    // The capacity test keeps its room allocated until it ends.
    let is_tried = || room(&table.drives[0].path()) < CLAIMED / 2;
    midway::killed(start, is_tried, || !volume.exists());
    table.nothing_is_left();
    midway::interrupted(start, is_tried);
    table.nothing_is_left();
}

#[test]
fn a_loading_is_refused_and_the_staged_volume_stays() {
    let Some(table) = Table::of(1, CLAIMED) else { return };
    let stage = table.desk.path("stage");
    let load = || {
        let staged = stage.join("volume-1");
        run(pouch([Path::new("load"), Path::new("--move"), &staged, &table.drives[0].path()]))
    };
    table.drives[0].set(&lies(CLAIMED / 8)[2..]);
    given_time(|| {
        // A volume that an earlier run moved has to be staged anew.
        for place in [&stage, &table.desk.volume(1)] {
            let _ = fs::remove_dir_all(place);
        }
        fs::create_dir(&stage).unwrap();
        let more = ["--volumes", "1", "--volume-size", "200MB"];
        run(table.desk.pack_cmd(&[&table.desk.source()], std::slice::from_ref(&stage), &more)).exits(0);
        let said = load();
        let found = is_said(&said, &table.drives[0]);
        if found {
            is_found(said, &table.drives[0]);
        }
        found
    });
    table.nothing_is_left();
    assert!(stage.join("volume-1/SHA256SUMS").exists());
    table.drives[0].set(&[]);
    load().exits(0);
}
