//! Unpacking onto a target that gives back other bytes than it took: the run blames the target and does not call the
//! bundle damaged.

use std::thread::available_parallelism;

use fuser::Errno;

use crate::common::drive::{Cache, Drive, Fault};
use crate::common::tree::same;
use crate::common::{run, volumes};
use crate::drives::lying::bench::{Bench, MIB};

#[test]
fn a_target_that_does_not_keep_what_it_takes_is_at_fault_and_not_the_bundle() {
    if !available_parallelism().is_ok_and(|cores| cores.get() > 1) {
        crate::common::ignored("a second core: without one nothing waits, and nothing is read again");
        return;
    }
    let Some(mut bench) = Bench::of(2, 64 * MIB) else { return };
    bench.source(40 * MIB, 1);
    bench.pack(&["--verify", "--mend", "0"]).exits(0);
    bench.mend();
    // With the first drive slow, parts of the second one come before their turn.
    bench.drives[0].set(&[Fault::Slow { write: MIB, read: 40 * MIB }]);
    let drives = bench.paths();
    let target = Drive::plug(bench.desk.path("target"), 96 * MIB, Cache::WriteThrough)
        .expect("the other drives could be mounted");
    target.set(&[Fault::Discard { real: MIB, fill: 0 }, Fault::Uncached]);
    let unpack = |more: &[&str]| run(bench.desk.unpack_cmd(&drives, &target.path(), more)).exits(7);
    let said = unpack(&[]);
    assert!(said.out.contains("clip.mov: it came whole out of the parts, and the target gave back"), "{said:?}");
    let blamed = format!("{} does not keep what it is given", target.path().display());
    assert!(said.err.contains(&blamed) && said.err.contains("another -o"), "{}", said.err);
    let intact = said.out.lines().find(|line| line.starts_with("intact ")).unwrap_or_default();
    assert!(intact.contains("no: the target") && !intact.contains("damaged"), "{intact}");
    // A second run over what the first one left does not blame the bundle either.
    let report = unpack(&["--json", "--overwrite"]).json();
    assert_eq!((&report["intact"], &report["bad_parts"]), (&false.into(), &serde_json::json!([])), "{report}");
    assert!(!volumes::files(&target.path().join("source")).iter().any(|file| file.ends_with("clip.mov")));
    bench.delivers(&drives);
}

#[test]
fn what_a_target_could_not_write_is_not_believed_because_the_system_remembers_it() {
    let Some(mut bench) = Bench::of(2, 32 * MIB) else { return };
    bench.source(6 * MIB, 1);
    bench.pack(&["--mend", "0"]).exits(0);
    let (drives, at) = (bench.paths(), bench.desk.path("target"));
    // Writes fail within the long file, or at the short ones.
    for bytes in [MIB, 6 * MIB] {
        let mut target =
            Drive::plug(at.clone(), 32 * MIB, Cache::WriteBack).expect("the other drives could be mounted");
        target.set(&[Fault::FailAfter { bytes, errno: Errno::EIO }]);
        let unpack = || run(bench.desk.unpack_cmd(&drives, &at, &[]));
        unpack().exits(7);
        target.set(&[]);
        unpack().exits(0);
        target.replug();
        same(&bench.desk.source(), &at.join("source"));
    }
}
