//! Packing goes on after a drive did not keep the journal, with a copy on another drive and without, and after a source
//! became unreadable.

use std::fs;

use crate::common::drive::{Cache, Drive, Fault};
use crate::common::{Desk, midway, noise, pouch_raw, put, volumes};
use crate::drives::lying::bench::{Bench, MIB};

const BARE: [&str; 2] = ["--mend", "0"];

/// Three drives, with some parts on them from a packing that was killed.
fn killed() -> Option<Bench> {
    let mut bench = Bench::of(3, 32 * MIB)?;
    bench.source(24 * MIB, 4);
    bench.kill_halfway(&BARE);
    Some(bench)
}

fn flipped_opening(text: &[u8]) -> Vec<u8> {
    let mut text = text.to_vec();
    text[100] ^= 1;
    text
}

#[test]
fn the_copy_on_the_other_drive_is_gone_on_with() {
    for damage in [flipped_opening, |_: &[u8]| Vec::new(), |text: &[u8]| vec![0; text.len()]] {
        let Some(mut bench) = killed() else { return };
        let journal = bench.desk.volume(1).join("journal");
        fs::write(&journal, damage(&fs::read(&journal).unwrap())).unwrap();
        let run = bench.pack(&BARE).exits(0);
        assert!(run.out.contains("goes on from an interrupted run"), "{run:?}");
        bench.is_whole();
    }
}

#[test]
fn without_a_copy_that_is_whole_the_one_that_tells_more_is_begun_anew_from() {
    let Some(mut bench) = killed() else { return };
    let [first, second] = [1, 2].map(|number| bench.desk.volume(number).join("journal"));
    fs::write(&first, "").unwrap();
    fs::write(&second, flipped_opening(&fs::read(&second).unwrap())).unwrap();
    let run = bench.pack(&BARE).exits(2);
    assert!(run.err.contains("volume-2/journal, which cannot be used") && run.err.contains("--restart"), "{run:?}");
    bench.pack(&["--mend", "0", "--restart"]).exits(0);
    bench.is_whole();
}

#[test]
fn a_source_that_cannot_be_read_is_named_and_nobody_is_told_of_other_recipients() {
    let desk = Desk::new();
    let Some(mut drive) = Drive::plug(desk.drive(1), 64 * MIB, Cache::WriteBack) else { return };
    put(drive.path().join("clip"), noise(40_000_000, 1));
    drive.replug();
    let out = desk.path("out");
    fs::create_dir(&out).unwrap();
    let packing = |drive: &Drive| {
        let mut pack = pouch_raw(["pack", "-r", &desk.recipient, "--mend", "0"]);
        pack.arg(drive.path().join("clip")).arg("-o").arg(&out);
        pack
    };
    let start = || {
        let _ = fs::remove_dir_all(out.join("volume-1"));
        packing(&drive).spawn().unwrap()
    };
    let journal = || fs::read_to_string(out.join("volume-1/journal")).unwrap_or_default();
    let is_halfway = || journal().matches("\nd ").count() > 5;
    midway::killed(start, is_halfway, || is_halfway() && !out.join("volume-1/SHA256SUMS").exists());
    let again = |drive: &Drive, faults: &[Fault], code| {
        drive.set(faults);
        crate::common::run(packing(drive).into()).exits(code)
    };
    drive.replug();
    // First a bad block at the start of the file, then one in the ranges that are compared with the journal.
    for bad in [0..1, 1000..1001] {
        let run = again(&drive, &[Fault::BadBlocks(bad)], 7);
        assert!(run.err.contains("cannot read") && run.err.contains("/clip"), "{run:?}");
        assert!(!run.err.contains("recipients") && !run.err.contains("changed"), "{run:?}");
        drive.replug();
    }
    let run = again(&drive, &[], 0);
    assert!(run.out.contains("goes on from an interrupted run"), "{run:?}");
    assert!(!volumes::parts(std::slice::from_ref(&out)).is_empty());
}
