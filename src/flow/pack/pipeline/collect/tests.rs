//! What the collector decides when drives fail or run full. No thread runs.

use super::*;
use crate::base::fault::IoFault;
use crate::flow::drives::drive::FailedDrive;
use crate::flow::drives::drive::fake::{fault, full};
use crate::flow::pack::part_ledger::tests::part;
use crate::flow::pack::pipeline::tests::{CLASS, Desk};
use crate::format::head::PartId::{Data, Parity};

fn fail(pipeline: &Pipeline, drive: usize, fault: IoFault) {
    lock(&pipeline.failed).push(FailedDrive { drive: DriveId(drive), fault });
}

fn distrust(pipeline: &Pipeline) {
    lock(&pipeline.distrusted).insert(DriveId(0));
}

/// How many parts volume 1 still gets after something happened to its drive. Three data parts are to come.
fn left_on_volume_1(desk: &Desk, room: &[u64], happens: impl Fn(&Pipeline)) -> u64 {
    let job = desk.job();
    let pipeline = Pipeline::new(&job, &desk.drives(room.len()));
    let mut supply = PartSupply::new(&pipeline, desk.placement(room)).unwrap();
    happens(&pipeline);
    supply.close_bad_drives();
    supply.placement.left(VolumeNumber::new(1))
}

#[test]
fn drives_that_work_keep_their_room() {
    assert_eq!(left_on_volume_1(&Desk::new(), &[9, 9], |_| ()), 9);
}

#[test]
fn a_failed_drive_gets_nothing_more_even_if_the_others_lack_room() {
    assert_eq!(left_on_volume_1(&Desk::new(), &[9, 1], |pipeline| fail(pipeline, 0, fault())), 0);
}

#[test]
fn a_distrusted_drive_gets_nothing_more_if_the_others_have_room() {
    assert_eq!(left_on_volume_1(&Desk::new(), &[9, 3], distrust), 0);
    assert_eq!(left_on_volume_1(&Desk::new(), &[9, 2], distrust), 9);
}

#[test]
fn a_distrusted_drive_that_was_kept_gets_nothing_more_once_it_fails() {
    let desk = Desk::new();
    let job = desk.job();
    let pipeline = Pipeline::new(&job, &desk.drives(2));
    let mut supply = PartSupply::new(&pipeline, desk.placement(&[9, 2])).unwrap();
    distrust(&pipeline);
    supply.close_bad_drives();
    assert_eq!(supply.placement.left(VolumeNumber::new(1)), 9);
    fail(&pipeline, 0, fault());
    supply.close_bad_drives();
    assert_eq!(supply.placement.left(VolumeNumber::new(1)), 0);
}

#[test]
fn a_failed_drive_keeps_its_share_of_stripes_that_the_others_cannot_hold() {
    let desk = Desk::with_parity();
    assert_eq!(left_on_volume_1(&desk, &[9, 9, 9], |pipeline| fail(pipeline, 0, fault())), 9);
    assert_eq!(left_on_volume_1(&desk, &[9, 9, 9, 9], |pipeline| fail(pipeline, 0, fault())), 0);
}

#[test]
fn without_a_failed_drive_the_sources_packed_worse_than_estimated() {
    let desk = Desk::new();
    let job = desk.job();
    let pipeline = Pipeline::new(&job, &desk.drives(1));
    let mut supply = PartSupply::new(&pipeline, desk.placement(&[1])).unwrap();
    supply.packed = 512;
    let error = supply.no_room();
    let FlowError::Drive(DriveError::RanFull { packed, total }) = error else { panic!("{error}") };
    assert_eq!((packed, total), (512, desk.layout.len));
}

#[test]
fn parts_of_a_failed_drive_need_a_home_and_so_do_those_to_come() {
    let desk = Desk::new();
    let job = desk.job();
    let pipeline = Pipeline::new(&job, &desk.drives(2));
    fail(&pipeline, 0, fault());
    lock(&pipeline.written).extend([part(Data(1), 1), part(Data(2), 2), part(Parity(1), 1)]);
    lock(&pipeline.unwritten).push(part(Data(3), 1));
    let error = PartSupply::new(&pipeline, desk.placement(&[1, 1])).unwrap().no_room();
    let FlowError::Drive(DriveError::NoHome { parts, bytes, why, .. }) = error else { panic!("{error}") };
    assert_eq!(parts, 2 + 1 + 3);
    assert_eq!(bytes, 6 * CLASS.file_len() as u64);
    assert_eq!(why, [fault().to_string()]);
}

#[test]
fn what_would_help_depends_on_what_happened_to_the_drives() {
    let desk = Desk::new();
    let cases = [(fault(), false, Remedy::Replug), (full(), false, Remedy::Room), (fault(), true, Remedy::Replace)];
    for (fault, is_distrusted, expected) in cases {
        let job = desk.job();
        let pipeline = Pipeline::new(&job, &desk.drives(2));
        fail(&pipeline, 0, fault);
        if is_distrusted {
            distrust(&pipeline);
        }
        let error = PartSupply::new(&pipeline, desk.placement(&[1, 1])).unwrap().no_room();
        let FlowError::Drive(DriveError::NoHome { remedy, .. }) = error else { panic!("{error}") };
        assert_eq!(remedy, expected);
    }
}
