//! Failures and kills while a packing goes on or begins anew: nothing is lost by them, and what could not be read is
//! not called missing.

use std::fs;

use assert_cmd::Command;

use crate::common::faults::{failing, killed};
use crate::common::{Desk, need, volumes};
use crate::pack::interrupted::{BARE, again, clip, is_whole, packed_and_verified};

/// Saves the drives' content. The function it returns restores it.
fn kept(desk: &Desk) -> impl Fn() {
    let (drives, before) = (desk.drives(), desk.path("before"));
    drives.iter().for_each(|drive| volumes::copy(drive, &before.join(drive.file_name().unwrap())));
    move || {
        for drive in &drives {
            fs::remove_dir_all(drive).unwrap();
            volumes::copy(&before.join(drive.file_name().unwrap()), drive);
        }
    }
}

#[test]
fn killed_while_it_removes_what_cannot_be_gone_on_from_it_begins_anew() {
    if !need(&["strace"]) {
        return;
    }
    let desk = clip(16);
    // The killed run wrote a few parts and completed no stripe.
    crate::pack::interrupted::killed(&desk, &[], 3);
    let restore = kept(&desk);
    let volumes = desk.drives().into_iter().flat_map(|drive| volumes::files(&drive));
    let removed = volumes.map(|volume| volumes::files(&volume).len() + 1).sum();
    for n in 1..=removed {
        restore();
        let restart = if n % 2 == 0 { &["--restart"][..] } else { &[] };
        let pack = desk.pack_cmd(&[&desk.source()], &desk.drives(), restart);
        assert!(killed(&pack, "unlink,unlinkat,rmdir", n), "removal {n}");
        volumes::none_looks_complete(&desk.drives());
        assert!(!packed_and_verified(&again(&desk, &[], 0)), "removal {n}");
        is_whole(&desk, &desk.drives());
    }
}

#[test]
fn what_cannot_be_read_now_is_not_called_gone() {
    if !need(&["strace"]) {
        return;
    }
    let desk = clip(30);
    crate::pack::interrupted::killed(&desk, &BARE, 10);
    let pack = desk.pack_cmd(&[&desk.source()], &desk.drives(), &BARE);
    let eio = "open,openat,openat2:error=EIO";
    let (said, met) = failing(&pack, &[desk.source().join("notes")], eio);
    let said = said.exits(2);
    assert!(met && said.err.contains("items of that not among the sources now"), "{}", said.err);
    assert!(said.err.contains("note: source/notes: could not be"), "{}", said.err);
    let of_volume = |number| ["seal.age", "seal2.age"].map(|seal| desk.volume(number).join(seal));
    let seals: Vec<_> = (1..=3).flat_map(of_volume).collect();
    // The first calls find out which bundle the volumes belong to; the later ones fail.
    let (said, met) = failing(&pack, &seals, &format!("{eio}:when=4+"));
    let said = said.exits(7);
    assert!(met && said.err.contains("seal") && said.err.contains("Input/output error"), "{}", said.err);
    assert!(!said.err.contains("nobody can make a new one"), "{}", said.err);
    assert!(packed_and_verified(&again(&desk, &BARE, 0)));
    is_whole(&desk, &desk.drives());
}

/// A packing that is finished except that its journal could not be removed, and its command.
fn all_but_finished() -> (Desk, Command) {
    let desk = clip(5);
    let pack = desk.pack_cmd(&[&desk.source()], &desk.drives(), &BARE);
    let (said, met) = failing(&pack, &[desk.volume(1).join("journal")], "unlink,unlinkat:error=EIO");
    assert!(met && said.exits(7).err.contains("journal"));
    (desk, pack)
}

#[test]
fn what_looks_complete_is_finished_and_not_removed() {
    if !need(&["strace"]) {
        return;
    }
    let (desk, _) = all_but_finished();
    let restart = [BARE[0], BARE[1], "--restart"];
    for more in [&restart[..], &[BARE[0], BARE[1], "--restart", "--dry-run"]] {
        let refused = again(&desk, more, 2);
        assert!(refused.err.contains("all but finished") && refused.err.contains("Without --restart"), "{refused:?}");
    }
    again(&desk, &BARE, 0);
    is_whole(&desk, &desk.drives());
}

#[test]
fn killed_while_it_takes_up_what_looked_complete_it_goes_on() {
    if !need(&["strace"]) {
        return;
    }
    let (desk, pack) = all_but_finished();
    // One part has to be made again, so the journal is rewritten without it.
    volumes::flip(volumes::parts(&desk.drives()).last().unwrap(), 5000, 1);
    let restore = kept(&desk);
    for (calls, most) in [("unlink,unlinkat,rmdir", 8), ("rename,renameat,renameat2", 4), ("fsync,fdatasync", 12)] {
        for n in 1..=most {
            restore();
            assert!(killed(&pack, calls, n), "{calls} {n}");
            again(&desk, &BARE, 0);
            is_whole(&desk, &desk.drives());
        }
    }
}

#[test]
fn what_looks_complete_and_cannot_be_gone_on_from_is_left_alone() {
    if !need(&["strace"]) {
        return;
    }
    let (desk, _) = all_but_finished();
    volumes::parts(&desk.drives()).iter().for_each(|part| volumes::flip(part, 5000, 1));
    let refused = again(&desk, &BARE, 2);
    assert!(refused.err.contains("exists already") && !refused.err.contains("--restart"), "{refused:?}");
}
