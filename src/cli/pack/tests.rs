//! The lines about who can open a bundle, what may be lost of it, and how well it is stored.

use super::*;

fn volume(free: u64, cap: Option<u64>, expected: u64) -> VolumePlan {
    VolumePlan { folder: "/d/volume-1".into(), free, cap, expected }
}

fn plan(recipients: usize, passphrase: bool) -> Plan {
    Plan {
        files: 1,
        folders: 0,
        links: 0,
        bytes: 10,
        class: 1,
        packed: 0,
        again: 0,
        begins_anew: false,
        expected: 10,
        at_most: 10,
        room: 100,
        recipients,
        passphrase,
        parity: None,
        memory: 0,
        sequential: false,
        shared_drive: false,
        staged: false,
        volumes: vec![volume(100, None, 10)],
    }
}

/// A report of a packing whose drives were all read back past the cache.
fn report() -> PackReport {
    PackReport {
        plan: plan(1, false),
        fingerprint: "YAQIM-ONIUV".into(),
        parts: 1,
        read_back: true,
        past_cache: true,
        volumes: Vec::new(),
        given_up: Vec::new(),
        distrusted: Vec::new(),
        spared: 0,
        replaced: false,
        notes: Vec::new(),
    }
}

#[test]
fn recipients_and_the_passphrase_are_named_if_they_open_it() {
    assert_eq!(openers(&plan(0, true)), "the passphrase opens it");
    assert_eq!(openers(&plan(1, false)), "1 recipient can open it");
    assert_eq!(openers(&plan(1, true)), "1 recipient can open it, and so can the passphrase");
    assert_eq!(openers(&plan(3, false)), "any one of 3 recipients can open it");
    assert_eq!(openers(&plan(3, true)), "any one of 3 recipients can open it, and so can the passphrase");
}

#[test]
fn a_volume_takes_its_share_of_the_smaller_of_room_and_cap() {
    assert_eq!(share(&volume(400, None, 100)), "100 B of 400 B free, 25 %");
    assert_eq!(share(&volume(400, Some(200), 100)), "100 B of 200 B free, 50 %");
    assert_eq!(share(&volume(0, Some(200), 100)), "100 B of no room");
}

#[test]
fn parity_that_one_drive_uses_up_leaves_nothing_for_bad_sectors() {
    let lose_one = margin(Scheme::new(2, 1, 1), 3);
    assert_eq!(lose_one[0], "any 1 of the 3 drives may be lost");
    assert_eq!(
        lose_one[1],
        "bad sectors: with all drives there, any 1 of the 3 chunks of 64 KiB in a row may be bad (33.3 %)"
    );
    assert!(lose_one[2].starts_with("with 1 drive gone nothing is left") && lose_one[2].contains("--lose 2 would"));
    let two_drives = margin(Scheme::new(1, 1, 1), 2);
    assert!(two_drives[2].contains("--mend 5% would"), "two of two drives cannot be lost");
}

#[test]
fn parity_beyond_the_lost_drives_is_left_for_bad_sectors() {
    let lines = margin(Scheme::new(20, 5, 4), 5);
    assert_eq!(lines.len(), 2, "{lines:?}");
    assert_eq!(lines[0], "any 1 of the 5 drives may be lost");
}

#[test]
fn parity_within_each_drive_is_against_bad_sectors_alone() {
    assert_eq!(
        margin(Scheme::new(40, 2, 42), 1),
        ["bad sectors: any 2 of the 42 chunks of 64 KiB in a row may be bad (4.8 %)"]
    );
    assert_eq!(margin(None, 1), ["no parity: what is lost or damaged stays so"]);
}

#[test]
fn only_what_was_read_back_past_the_cache_is_called_stored() {
    assert!(how_stored(&report()).ends_with("safe to unplug once unmounted"));
    assert!(how_stored(&PackReport { past_cache: false, ..report() }).contains("may have answered from memory"));
    assert!(how_stored(&PackReport { read_back: false, ..report() }).starts_with("written and synced, not read back"));
}

#[test]
fn a_drive_that_failed_or_a_staged_volume_is_not_called_safe_to_unplug() {
    let failed = PackReport { given_up: vec![("/d".into(), "it is gone".into())], ..report() };
    assert!(how_stored(&failed).starts_with("read back from these drives"));
    let staged = Plan { staged: true, ..plan(1, false) };
    assert!(how_stored(&PackReport { plan: staged, ..report() }).contains("`pouch load` copies each volume"));
}
