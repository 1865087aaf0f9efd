//! Plans for small real folders, and decisions of the plan with literal numbers.

use super::*;
use crate::base::monitor::Silent;
use crate::flow::pack::part_ledger::tests::part;
use crate::flow::pack::request::tests::request;
use crate::flow::pack::resume::leftover::tests::Leftover;
use crate::format::head::PartId::Data;
use crate::format::part::Class;
use crate::format::recipe::Recipe;
use crate::plan::parity::{ParityError, Wish};
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
    let part = planned.placement.cost(VolumeNumber::new(1));
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
/// No volume reserves anything for small files.
fn outlined(desk: &Path, before: &Before) -> (Plan, u64) {
    let request = request_on(desk, 2);
    let walk = planned(&request).walk;
    let shape = Shape { request: &request, paths: &request.outputs, list_at_most: 0, tar: 4 << 20, entries: 3 };
    let mut shaped = shape.choose().unwrap();
    shaped.drives.iter_mut().for_each(|drive| drive.reserve = 0);
    let shaped = &shaped;
    let placement = &Placement::new(&shaped.drives, CLASS, Fill::Spread, None);
    let outline = Outline { shape, walk: &walk, before, shaped, placement, data_expected: 1 };
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

/// Shapes a tar of so many bytes for these targets.
fn shaped(request: &PackRequest, paths: &[PathBuf], tar: u64) -> Shaped {
    Shape { request, paths, list_at_most: 1000, tar, entries: 1 }.choose().unwrap()
}

#[test]
fn high_levels_get_small_parts() {
    let desk = tempfile::tempdir().unwrap();
    let paths = [desk.path().to_path_buf()];
    let mut request = request(Vec::new(), paths.to_vec());
    for (level, mib) in [(Level::Quick, 64), (Level::Zstd(12), 64), (Level::Zstd(13), 4), (Level::Zstd(19), 4)] {
        request.level = level;
        assert_eq!(shaped(&request, &paths, 8 << 30).geometry.class.mib(), mib, "{level:?}");
    }
}

#[test]
fn the_class_of_an_interrupted_run_holds_as_long_as_something_of_it_stays() {
    let run = Leftover::on(1);
    run.write_journal(1, "");
    let request = request(Vec::new(), run.paths.clone());
    let shape = Shape { request: &request, paths: &run.paths, list_at_most: 1000, tar: 8 << 30, entries: 1 };
    let class_after = |before: &Before| shape.after(&run.found(), before).unwrap().geometry.class.mib();
    let recipes = [(1, Recipe::new(0, 0, Vec::new()))].into();
    assert_eq!(class_after(&Before { recipes, ..Before::default() }), 1);
    assert_eq!(class_after(&Before::default()), 64, "this run chooses anew");
}

#[test]
fn only_the_first_volume_reserves_room_for_the_journal() {
    let desk = tempfile::tempdir().unwrap();
    let paths = [desk.path().to_path_buf(), desk.path().to_path_buf()];
    let drives = shaped(&request(Vec::new(), paths.to_vec()), &paths, 1 << 20).drives;
    let parts = geometry::data_at_most(1 << 20, CLASS) as u32;
    assert_eq!(drives[0].reserve, drives[1].reserve + geometry::journal_at_most(1 << 20, parts, 1));
    assert_eq!(drives[0].device, drives[1].device);
}

#[test]
fn parity_that_the_drives_cannot_have_is_refused() {
    let desk = tempfile::tempdir().unwrap();
    let paths = [desk.path().to_path_buf()];
    let mut request = request(Vec::new(), paths.to_vec());
    request.parity = Wish { lose: 1, mend: None };
    let shape = Shape { request: &request, paths: &paths, list_at_most: 0, tar: 1 << 20, entries: 1 };
    let Err(FlowError::Request(error)) = shape.choose() else { panic!("one drive cannot be lost") };
    assert_eq!(error, RequestError::Parity(ParityError::TooFewDrives { lose: 1, drives: 1 }));
}

fn drive(device: u64, cap: Option<u64>) -> DriveRoom {
    DriveRoom { device, free: 1000, cluster: 512, cap, reserve: 7 }
}

#[test]
fn volumes_of_one_file_system_share_what_is_freed() {
    let drives = [drive(1, None), drive(2, None), drive(1, None)];
    let cleared = room_once_cleared(&drives, &[10, 200, 3000], &Before::default(), 100);
    assert_eq!(cleared.iter().map(|drive| drive.free).collect::<Vec<_>>(), [4010, 1200, 4010]);
}

#[test]
fn parts_that_stay_count_against_the_size_of_their_volume() {
    let before = Before { parts: vec![part(Data(1), 1), part(Data(2), 1), part(Data(3), 3)], ..Before::default() };
    let drives = [drive(1, Some(250)), drive(2, Some(250)), drive(3, Some(50)), drive(4, None)];
    let cleared = room_once_cleared(&drives, &[0; 4], &before, 100);
    assert_eq!(cleared.iter().map(|drive| drive.cap).collect::<Vec<_>>(), [Some(50), Some(250), Some(0), None]);
    assert!(cleared.iter().all(|drive| (drive.free, drive.reserve) == (1000, 7)));
}

const MIB: u64 = 1 << 20;

/// The estimate for a folder with one file, which `write` makes at the path that it gets.
fn estimate_of(write: impl FnOnce(&Path)) -> u64 {
    let desk = tempfile::tempdir().unwrap();
    write(&desk.path().join("file"));
    let mut walk = walk(&[desk.path().to_path_buf()], &Silent).unwrap();
    let layout = lay_out(&mut walk.entries, &mut Vec::new());
    estimate(&walk, &layout, Level::Quick).unwrap()
}

/// Bytes that do not compress.
fn noise(len: u64) -> Vec<u8> {
    let mut state = 1_u64;
    let next = |_| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    };
    (0..len).map(next).collect()
}

#[test]
fn up_to_sixteen_samples_cover_everything() {
    assert!(sample_starts(0).is_empty());
    assert_eq!(sample_starts(1), [0]);
    assert_eq!(sample_starts(MIB), [0]);
    assert_eq!(sample_starts(MIB + 1), [0, MIB]);
    assert_eq!(sample_starts(16 * MIB), (0..16).map(|at| at * MIB).collect::<Vec<_>>());
}

#[test]
fn more_data_is_sampled_at_whole_blocks_evenly_spread() {
    let starts = sample_starts(32 * MIB + 8000);
    assert_eq!(starts, (0..16).map(|at| at * (2 * MIB)).collect::<Vec<_>>(), "500 bytes are less than a block");
}

#[test]
fn files_that_do_not_compress_are_expected_at_their_size() {
    let noisy = estimate_of(|path| std::fs::write(path, noise(2 * MIB)).unwrap());
    assert!(noisy.abs_diff(2 * MIB) < 64 * 1024, "{noisy}");
}

#[test]
fn files_that_compress_are_expected_to_shrink() {
    let plain = estimate_of(|path| std::fs::write(path, b"all work and no play".repeat(100_000)).unwrap());
    assert!(plain < MIB / 8, "{plain}");
}

#[test]
fn holes_take_next_to_nothing() {
    let sparse = estimate_of(|path| std::fs::File::create(path).unwrap().set_len(1 << 30).unwrap());
    assert!(sparse < MIB, "{sparse}");
}
