//! A source that is pulled out while it is packed stops the run, no content is made up, and the same command goes on
//! once it is back. One bad file on a source that still answers does not count as gone.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::common::drive::{Cache, Drive, Fault};
use crate::common::tree::same;
use crate::common::{Desk, Run, noise, put, run, volumes};
use fuser::Errno;

const MIB: u64 = 1 << 20;

/// A desk, and a drive to pack from, with one long file and then short ones.
fn plugged() -> Option<(Desk, Drive)> {
    let desk = Desk::new();
    let mut card = Drive::plug(desk.path("card"), 64 * MIB, Cache::WriteThrough)?;
    put(card.path().join("DCIM/a clip.mov"), noise(24 << 20, 1));
    for number in 0..9 {
        put(card.path().join(format!("DCIM/photo {number}")), noise(300_000, 2 + number));
    }
    card.replug();
    Some((desk, card))
}

fn pack(desk: &Desk, source: &Path) -> Run {
    run(desk.pack_cmd(&[source], &desk.drives(), &["--mend", "0"]))
}

#[track_caller]
fn is_gone(said: Run, desk: &Desk, source: &Path) {
    let said = said.exits(7);
    let named = format!("{}: this source is gone", source.display());
    assert!(said.err.contains(&named) && said.err.contains("hint: "), "{}", said.err);
    assert!(!said.err.contains("packed as zeros") && !said.out.contains("fingerprint"), "{said:?}");
    volumes::none_looks_complete(&desk.drives());
}

#[track_caller]
fn all_is_there(desk: &Desk, source: &Path) {
    run(desk.check_cmd(&desk.drives(), &[])).exits(0);
    let out = tempfile::tempdir_in(desk.dir.path()).unwrap().keep();
    run(desk.unpack_cmd(&desk.drives(), &out, &[])).exits(0);
    same(source, &out.join("card"));
}

#[test]
fn a_source_that_is_pulled_out_stops_the_packing_which_goes_on_when_it_is_back() {
    for errno in [Errno::EIO, Errno::ENODEV, Errno::ENOTCONN, Errno::ENXIO, Errno::ESTALE] {
        let mut went_on = false;
        // Within the first file, early and later, and behind most of the data.
        for bytes in [100_000, 14 * MIB, 26 * MIB] {
            let Some((desk, mut card)) = plugged() else { return };
            card.set(&[Fault::Gone { bytes, errno }]);
            is_gone(pack(&desk, &card.path()), &desk, &card.path());
            card.set(&[]);
            card.replug();
            let again = pack(&desk, &card.path()).exits(0);
            went_on |= again.out.contains("goes on from an interrupted run");
            all_is_there(&desk, &card.path());
        }
        assert!(went_on, "{errno:?}: no run went on from an earlier one");
    }
}

#[test]
fn one_file_as_a_source_that_is_pulled_out_is_gone_too() {
    let Some((desk, mut card)) = plugged() else { return };
    let clip = card.path().join("DCIM/a clip.mov");
    card.set(&[Fault::Gone { bytes: 14 * MIB, errno: Errno::EIO }]);
    is_gone(pack(&desk, &clip), &desk, &clip);
    card.set(&[]);
    card.replug();
    pack(&desk, &clip).exits(0);
    let out = desk.unpack("out");
    assert!(fs::read(&clip).unwrap() == fs::read(out.join("a clip.mov")).unwrap());
}

#[test]
fn one_drive_among_folders_that_is_pulled_out_is_gone_too() {
    let Some((desk, mut card)) = plugged() else { return };
    put(desk.path("media/a note"), "beside the drive");
    fs::create_dir(desk.path("media/card")).unwrap();
    let bound = desk.path("media/card");
    if !Command::new("mount").arg("--bind").args([card.path(), bound.clone()]).status().is_ok_and(|done| done.success())
    {
        crate::common::ignored("the right to mount");
        return;
    }
    card.set(&[Fault::Gone { bytes: 14 * MIB, errno: Errno::EIO }]);
    let said = pack(&desk, &desk.path("media"));
    let unmounted = Command::new("umount").arg("-l").arg(&bound).status();
    card.set(&[]);
    assert!(unmounted.unwrap().success());
    is_gone(said, &desk, &bound);
    card.replug();
}

#[test]
fn a_bad_place_on_a_source_that_answers_costs_one_file() {
    let Some((desk, mut card)) = plugged() else { return };
    card.set(&[Fault::BadBlocks(1000..1001)]);
    let said = pack(&desk, &card.path()).exits(4);
    assert!(
        said.err.contains("card/DCIM/a clip.mov") && said.err.contains("what could not be read is packed as zeros"),
        "{}",
        said.err
    );
    run(desk.check_cmd(&desk.drives(), &[])).exits(0);
    run(desk.unpack_cmd(&desk.drives(), &desk.path("out"), &[])).exits(4);
    assert_eq!(volumes::files(&desk.path("out/card/DCIM")).len(), 9, "all others are delivered");
    // The second run finds finished volumes, not leftovers, and says so.
    let again = pack(&desk, &card.path()).exits(2);
    assert!(again.err.contains("exists already") && again.err.contains("it is a finished volume"), "{}", again.err);
    card.set(&[]);
    card.replug();
}
