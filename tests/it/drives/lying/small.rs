//! Seals, heads, list and SHA256SUMS are read back even with `--no-verify`: without them nothing opens.

use std::fs;

use crate::common::drive::{Cache, Drive, Fault};
use crate::common::{pouch, run, volumes};
use crate::drives::lying::bench::{Bench, MIB};

/// Parts are not read back.
const UNREAD: [&str; 3] = ["--no-verify", "--mend", "0"];

#[test]
fn a_seal_that_was_not_kept_is_missed_before_the_first_part() {
    for bytes in [0, 100] {
        let Some(mut bench) = Bench::of(2, 32 * MIB) else { return };
        bench.source(16 * MIB, 1);
        bench.drives[1].set(&[Fault::Forget { bytes }]);
        let said = bench.pack(&UNREAD).exits(7);
        let seal = bench.drives[1].path().join("volume-2/seal.age");
        let named = format!("{} is not what was written to it, from byte 0 on", seal.display());
        assert!(said.err.contains("pouch: ") && said.err.contains(&named), "{}", said.err);
        assert!(bench.drives.iter().all(|drive| drive.reach() < MIB), "nothing else was written");
        assert!(bench.drives.iter().all(|drive| volumes::files(&drive.path()).is_empty()), "nothing is left");
        volumes::none_looks_complete(&bench.paths());
        bench.mend();
        bench.pack(&UNREAD).exits(0);
        bench.is_whole();
    }
}

#[test]
fn a_head_or_list_that_was_not_kept_is_missed() {
    // The drive forgets from the middle of its parts on, and so its list and heads.
    for (drives, code) in [(1, 7), (2, 7)] {
        let Some(mut bench) = Bench::of(drives, 64 * MIB) else { return };
        bench.source(drives * 8 * MIB, 1);
        let last = drives as usize - 1;
        bench.drives[last].set(&[Fault::Forget { bytes: 5 * MIB }]);
        let said = bench.pack(&UNREAD).exits(code);
        let volume = bench.drives[last].path();
        let named = |line: &str| line.contains(&volume.display().to_string()) && line.contains("did not keep");
        assert!(said.err.lines().any(named), "{}", said.err);
        if drives == 1 {
            volumes::none_looks_complete(&bench.paths());
        }
        // Which of its parts the drive kept is unknown, so nothing on it looks complete. With two drives, the other one
        // has everything.
        let complete = volume.join(format!("volume-{drives}/SHA256SUMS"));
        assert!(!complete.exists());
        assert_eq!(said.out.contains("written: "), drives == 2, "{}", said.out);
        if drives == 2 {
            bench.delivers(&[bench.drives[0].path()]);
        }
    }
}

#[test]
fn a_repaired_volume_whose_list_was_not_kept_does_not_look_complete() {
    let Some(mut bench) = Bench::of(2, 32 * MIB) else { return };
    bench.source(4 * MIB, 1);
    bench.pack(&["--lose", "1"]).exits(0);
    let Some(target) = Drive::plug(bench.desk.path("target"), 32 * MIB, Cache::WriteBack) else { return };
    let parts = volumes::sealed_parts(&[bench.drives[1].path()]).len() as u64;
    fs::remove_dir_all(bench.drives[1].path().join("volume-2")).unwrap();
    let repair = || {
        let mut repair = pouch(["repair"]);
        repair.arg(bench.drives[0].path()).arg("-i").arg(bench.desk.path("key")).arg("-o").arg(target.path());
        run(repair)
    };
    target.set(&[Fault::Forget { bytes: parts * crate::common::PART_FILE }]);
    let said = repair().exits(7);
    assert!(said.err.contains("volume-2/") && said.err.contains("is not what was written"), "{}", said.err);
    volumes::none_looks_complete(&[target.path()]);
    target.set(&[]);
    repair().exits(0);
    bench.delivers(&[bench.drives[0].path(), target.path()]);
}
