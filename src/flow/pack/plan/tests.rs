//! Plans for small real folders, and decisions of the plan with literal numbers.

use super::*;
use crate::base::monitor::Silent;
use crate::flow::pack::part_ledger::tests::part;
use crate::flow::pack::request::tests::request;
use crate::format::head::PartId::Data;
use crate::format::part::Class;
use crate::format::recipe::Recipe;
use std::path::Path;

const CLASS: Class = Class::ALL[0];

/// A request to pack a folder with a file of 6 bytes, a second name of it and a link, onto so many drives.
fn request_on(desk: &Path, drives: usize) -> PackRequest {
    let source = desk.join("source");
    std::fs::create_dir(&source).unwrap();
    std::fs::write(source.join("clip"), b"frames").unwrap();
    std::fs::hard_link(source.join("clip"), source.join("second name")).unwrap();
    std::os::unix::fs::symlink("clip", source.join("link")).unwrap();
    let drives: Vec<PathBuf> = (1..=drives).map(|number| desk.join(format!("drive-{number}"))).collect();
    drives.iter().for_each(|drive| std::fs::create_dir(drive).unwrap());
    request(vec![source], drives)
}

fn planned(request: &PackRequest) -> Planned {
    plan(request, &Silent).unwrap_or_else(|error| panic!("{error}"))
}

#[test]
fn every_name_of_a_file_counts_and_its_bytes_count_once() {
    let desk = tempfile::tempdir().unwrap();
    let plan = planned(&request_on(desk.path(), 1)).plan;
    assert_eq!((plan.files, plan.folders, plan.links, plan.bytes), (2, 1, 1, 6));
}

#[test]
fn a_small_bundle_is_one_part_and_the_small_files() {
    let desk = tempfile::tempdir().unwrap();
    let planned = planned(&request_on(desk.path(), 2));
    let plan = &planned.plan;
    let reserves: u64 = planned.reserves.iter().sum();
    assert_eq!(plan.expected, CLASS.file_len() as u64 + reserves);
    assert_eq!((plan.at_most, plan.packed, plan.again, plan.begins_anew), (plan.expected, 0, 0, false));
    let part = planned.placement.cost(1);
    let expected: Vec<u64> = plan.volumes.iter().map(|volume| volume.expected).collect();
    assert_eq!(expected, [part + planned.reserves[0], planned.reserves[1]]);
    assert_eq!(plan.volumes[1].folder, desk.path().join("drive-2/volume-2"));
}

#[test]
fn two_folders_on_one_disk_share_a_drive_unless_volumes_are_staged() {
    let desk = tempfile::tempdir().unwrap();
    let mut request = request_on(desk.path(), 2);
    let plan = planned(&request).plan;
    assert_eq!((plan.shared_drive, plan.staged), (true, false));
    request.outputs.truncate(1);
    assert!(!planned(&request).plan.shared_drive);
    request.volumes = Some(2);
    let plan = planned(&request).plan;
    assert_eq!((plan.shared_drive, plan.staged, plan.volumes.len()), (false, true, 2));
}

#[test]
fn a_drive_cannot_be_replaced_where_nothing_was_interrupted() {
    let desk = tempfile::tempdir().unwrap();
    let request = PackRequest { replaced: true, ..request_on(desk.path(), 1) };
    let Err(FlowError::Usage(text)) = plan(&request, &Silent) else { panic!("there is no drive to replace") };
    assert!(text.starts_with("--replaced: "), "{text}");
}

#[test]
fn a_volume_needs_room_for_its_small_files() {
    let desk = tempfile::tempdir().unwrap();
    let mut planned = planned(&request_on(desk.path(), 1));
    let reserve = planned.reserves[0];
    (planned.plan.expected, planned.plan.room) = (5, 5);
    for (free, cap, is_enough) in [
        (reserve, None, true),
        (reserve - 1, None, false),
        (reserve + 1, Some(reserve), true),
        (reserve + 1, Some(reserve - 1), false),
    ] {
        (planned.plan.volumes[0].free, planned.plan.volumes[0].cap) = (free, cap);
        match planned.check_room() {
            Ok(()) => assert!(is_enough, "{free} free, {cap:?} allowed"),
            Err(FlowError::Drive(DriveError::TooSmall { needed, room, .. })) => {
                assert_eq!((needed, room, is_enough), (reserve, reserve - 1, false));
            }
            Err(other) => panic!("{other}"),
        }
    }
}

#[test]
fn the_drives_need_room_for_what_is_expected() {
    let desk = tempfile::tempdir().unwrap();
    let mut planned = planned(&request_on(desk.path(), 1));
    (planned.plan.volumes[0].free, planned.plan.volumes[0].cap) = (u64::MAX, None);
    (planned.plan.expected, planned.plan.room) = (100, 100);
    assert!(planned.check_room().is_ok());
    planned.plan.room = 99;
    let refused = planned.check_room();
    assert!(matches!(refused, Err(FlowError::Drive(DriveError::NoRoom { needed: 100, room: 99 }))));
}

/// Bytes that a part of the smallest class is expected to hold.
const HELD: u64 = 973_071;

fn geometry_of(data_at_most: u32) -> Geometry {
    Geometry { class: CLASS, data_at_most, scheme: None }
}

#[test]
fn the_rest_of_the_tar_is_expected_to_compress_like_the_whole() {
    let before = |tar| Before { tar, ..Before::default() };
    let to_come = |tar| data_to_come(10 * HELD, 4000, geometry_of(1000), &before(tar));
    assert_eq!(to_come(0), 10);
    assert_eq!(to_come(2000), 5);
    assert_eq!(to_come(3999), 1, "at least one part is open");
    assert_eq!(to_come(4000), 0, "everything is packed");
}

#[test]
fn no_more_parts_are_expected_than_a_tar_that_does_not_compress_has() {
    let before = Before { data: 3, tar: 1, ..Before::default() };
    assert_eq!(data_to_come(10 * HELD, 4000, geometry_of(5), &before), 2);
}

/// The plan of a packing onto two drives with one part still to come, and how many parts the run is expected to write.
/// No volume
/// reserves anything for small files.
fn outlined(desk: &Path, before: &Before) -> (Plan, u64) {
    let request = request_on(desk, 2);
    let walk = planned(&request).walk;
    let shape = Shape { request: &request, paths: &request.outputs, list_at_most: 0, tar: 4 << 20, entries: 3 };
    let mut shaped = shape.choose().unwrap();
    shaped.drives.iter_mut().for_each(|drive| drive.reserve = 0);
    let shaped = &shaped;
    let placement = &Placement::new(&shaped.drives, CLASS, Fill::Spread, None);
    let outline = Outline { request: &request, walk: &walk, before, shaped, placement, data_expected: 1 };
    (outline.plan(true).unwrap(), outline.parts_of_each_volume().iter().sum())
}

#[test]
fn a_part_that_is_packed_again_is_expected_besides_those_to_come() {
    let desk = tempfile::tempdir().unwrap();
    let recipes = [(1, Recipe::new(0, 0, Vec::new()))].into();
    // The earlier run packed three parts, and its drives kept two of them.
    let parts = vec![part(Data(1), 1), part(Data(2), 1)];
    let (plan, written) = outlined(desk.path(), &Before { parts, data: 3, recipes, ..Before::default() });
    let part = CLASS.file_len() as u64;
    assert_eq!((plan.packed, plan.again, written), (2 * part, part, 2));
    assert_eq!(plan.expected, 2 * part);
    assert!(!plan.begins_anew);
}

#[test]
fn a_run_begins_anew_where_nothing_can_be_resumed() {
    let desk = tempfile::tempdir().unwrap();
    let (plan, written) = outlined(desk.path(), &Before::default());
    assert_eq!((plan.packed, plan.again, written), (0, 0, 1));
    assert!(plan.begins_anew);
}
