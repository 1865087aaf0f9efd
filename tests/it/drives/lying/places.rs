//! Outputs that are not what they seem: a drive that is not mounted, and one with leftovers.

use std::fs;

use crate::common::{Desk, put, run, volumes};
use crate::drives::lying::bench::{Bench, MIB};

#[test]
fn a_drive_that_is_not_mounted_any_more_is_not_packed_to() {
    // With parity, what was written before the first stripe was complete cannot be used by a later run.
    let Some(mut bench) = Bench::of(2, 64 * MIB) else { return };
    bench.source(24 * MIB, 4);
    // A later run misses a volume once the interrupted run had written a part.
    bench.kill_halfway(&[]);
    let (gone, other) = (bench.drives[0].path(), bench.drives[1].path());
    drop(bench.drives.remove(0));
    let again = |more: &[&str]| run(bench.desk.pack_cmd(&[&bench.desk.source()], &[gone.clone(), other.clone()], more));
    let refused = again(&[]).exits(2);
    assert!(refused.err.contains("drive-1/volume-1 is not there") && refused.err.contains("--replaced"), "{refused:?}");
    assert!(fs::read_dir(&gone).unwrap().next().is_none(), "nothing is written to the empty mount point");
    let replaced = again(&["--replaced"]).exits(0);
    let asked = format!("{}: is on the same file system as the sources or the system", gone.display());
    assert!(replaced.err.contains(&asked), "{replaced:?}");
    assert!(!replaced.err.contains(&format!("{}: is on", other.display())), "{replaced:?}");
}

#[test]
fn leftovers_that_nobody_goes_on_with_are_named() {
    let desk = Desk::new();
    put(desk.source().join("text"), "text");
    let replaced = run(desk.pack_cmd(&[&desk.source()], &desk.drives(), &["--replaced"])).exits(2);
    assert!(replaced.err.contains("nothing that an interrupted run left"), "{replaced:?}");
    put(desk.drive(1).join("volume-7/000001.age"), "of somebody");
    put(desk.drive(1).join("volume-8/000001.age"), "of somebody");
    put(desk.drive(1).join("volume-8/SHA256SUMS"), "finished");
    fs::create_dir(desk.drive(1).join("volume-9")).unwrap();
    let said = run(desk.pack_cmd(&[&desk.source()], &desk.drives(), &[])).exits(0);
    assert!(said.err.contains("holds volume-7, which was never finished"), "{said:?}");
    assert_eq!(said.err.matches("never finished").count(), 1, "{said:?}");
    assert_eq!(volumes::files(&desk.drive(1).join("volume-7")).len(), 1, "the leftover volume is left alone");
}
