//! Parts packed again onto real folders. The plaintext is compared with that of the first time.

use super::*;
use crate::base::monitor::fake::Heard;
use crate::flow::drives::drive::fake::fault;
use crate::flow::pack::pipeline::tests::{Desk, break_drive, ids, noise};
use crate::flow::pack::pipeline::{PipelineResult, run};
use crate::format::head::PartId::{Data, Parity};

fn home(part: PartId, volume: u16) -> Home {
    Home { part, volume: VolumeNumber::new(volume) }
}

/// Packs everything onto the drives.
fn packed(desk: &Desk, drives: &mut [Drive]) -> PipelineResult {
    let room = vec![9; drives.len()];
    run(&desk.job(), desk.placement(&room), drives).unwrap()
}

fn find(parts: &[Part], id: PartId) -> &Part {
    parts.iter().find(|part| part.id() == id).unwrap()
}

/// Packs again what was packed as `first`.
fn repack(job: &PackJob, first: &PipelineResult, homes: &[Home], drives: &mut [Drive]) -> Result<Repacked, FlowError> {
    Repacker { job, files: &first.files, recipes: &first.recipes }.repack(homes, drives)
}

#[test]
fn every_data_part_gets_the_same_plaintext_in_its_new_home() {
    let desk = Desk::new();
    let mut drives = desk.drives(2);
    let first = packed(&desk, &mut drives);
    let plain: Vec<Vec<u8>> = first.parts.iter().map(|part| desk.open(part, &drives)).collect();
    let homes: Vec<Home> = first.parts.iter().map(|part| home(part.id(), 3 - part.volume.get())).collect();
    let Repacked { mut parts, failed } = repack(&desk.job(), &first, &homes, &mut drives).unwrap();
    parts.sort_by_key(Part::id);
    assert!(failed.is_empty());
    assert_eq!(parts.iter().map(|part| home(part.id(), part.volume.get())).collect::<Vec<_>>(), homes);
    for (part, plain) in parts.iter().zip(plain) {
        assert!(desk.open(part, &drives) == plain, "part {}", part.number);
    }
}

#[test]
fn parity_is_made_again_from_all_data_of_its_stripe() {
    let desk = Desk::with_parity();
    let mut drives = desk.drives(3);
    let first = packed(&desk, &mut drives);
    for id in [Parity(1), Parity(2)] {
        let lost = find(&first.parts, id);
        let plain = desk.open(lost, &drives);
        let homes = [home(id, lost.volume.get() % 3 + 1)];
        let Repacked { parts, .. } = repack(&desk.job(), &first, &homes, &mut drives).unwrap();
        assert_eq!(ids(&parts), [id], "the data is not written again");
        assert!(desk.open(&parts[0], &drives) == plain);
    }
}

#[test]
fn a_drive_that_fails_meanwhile_fails_once_and_the_others_get_their_parts() {
    let desk = Desk::new();
    let mut drives = desk.drives(2);
    let first = packed(&desk, &mut drives);
    break_drive(&drives[1]);
    let homes = [home(Data(1), 2), home(Data(2), 1), home(Data(3), 2)];
    let Repacked { parts, failed } = repack(&desk.job(), &first, &homes, &mut drives).unwrap();
    assert_eq!(ids(&parts), [Data(2)]);
    assert_eq!(failed.iter().map(|failed| failed.drive).collect::<Vec<_>>(), [DriveId(1)]);
}

#[test]
fn a_source_that_changed_since_is_named() {
    let desk = Desk::new();
    let mut drives = desk.drives(1);
    let first = packed(&desk, &mut drives);
    let mut other = noise(2_500_000);
    other.reverse();
    std::fs::write(desk.source("long"), other).unwrap();
    let error = repack(&desk.job(), &first, &[home(Data(2), 1)], &mut drives).err().unwrap();
    let FlowError::Source(SourceError::CannotRepack(files)) = error else { panic!("{error}") };
    assert!(files.len() == 1 && files[0].ends_with("source/long"), "{files:?}");
}

#[test]
fn a_part_without_a_recipe_is_a_defect() {
    let desk = Desk::new();
    let mut drives = desk.drives(1);
    let first = packed(&desk, &mut drives);
    let error = repack(&desk.job(), &first, &[home(Data(9), 1)], &mut drives).err().unwrap();
    assert!(matches!(error, FlowError::Defect(_)), "{error}");
}

#[test]
fn a_part_for_a_volume_that_is_on_no_drive_is_a_defect() {
    let desk = Desk::new();
    let mut drives = desk.drives(1);
    let first = packed(&desk, &mut drives);
    let error = repack(&desk.job(), &first, &[home(Data(1), 9)], &mut drives).err().unwrap();
    assert!(matches!(error, FlowError::Defect(_)), "{error}");
}

#[test]
fn packing_again_stops_when_asked_to() {
    let desk = Desk::new();
    let mut drives = desk.drives(1);
    let first = packed(&desk, &mut drives);
    let job = PackJob { monitor: &Heard::stopping(), ..desk.job() };
    let error = repack(&job, &first, &[home(Data(1), 1)], &mut drives).err().unwrap();
    assert!(matches!(error, FlowError::Cancelled), "{error}");
}

/// The parts of each batch.
fn batched(homes: &[Home], scheme: Option<Scheme>) -> Vec<Vec<PartId>> {
    batches_of(homes, scheme).iter().map(|batch| batch.homes.keys().copied().collect()).collect()
}

#[test]
fn parts_of_one_stripe_are_made_together() {
    let homes = [home(Parity(1), 1), home(Data(3), 2), home(Data(1), 3)];
    assert_eq!(batched(&homes, Scheme::new(2, 1, 1)), [vec![Data(1), Parity(1)], vec![Data(3)]]);
    assert_eq!(batched(&homes[1..], None), [[Data(1)], [Data(3)]]);
}

#[test]
fn only_parity_needs_the_whole_stripe() {
    let desk = Desk::with_parity();
    let job = desk.job();
    let recipes: BTreeMap<u32, Recipe> = (1..=3).map(|number| (number, Recipe::new(0, 0, Vec::new()))).collect();
    let repacker = Repacker { job: &job, files: &[], recipes: &recipes };
    let needed = |part| repacker.data_needed(&batches_of(&[home(part, 1)], job.scheme)[0]);
    assert_eq!(needed(Data(2)), [2]);
    assert_eq!(needed(Parity(1)), [1, 2]);
    assert_eq!(needed(Parity(2)), [3], "the last stripe is short");
}

#[test]
fn a_drive_that_two_threads_saw_fail_has_failed_once() {
    let drives = DriveLocks { volumes: BTreeMap::new(), failed: Mutex::default() };
    for (drive, failed) in [(0, 1), (0, 1), (1, 2), (0, 2)] {
        drives.fail(DriveId(drive), fault());
        assert!(drives.has_failed(DriveId(drive)));
        assert_eq!(lock(&drives.failed).len(), failed);
    }
    assert!(!drives.has_failed(DriveId(2)));
}
