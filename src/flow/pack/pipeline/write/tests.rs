//! One drive at a time, without the threads of a run.

use std::sync::Arc;

use super::*;
use crate::base::digest::sha256;
use crate::base::monitor::fake::Heard;
use crate::flow::drives::drive::fake::fault;
use crate::flow::pack::pipeline::tests::{CLASS, Desk, break_drive, file_of, ids};
use crate::format::head::PartId::{self, Data};
use crate::format::volume_number::VolumeNumber;
use crate::stage::part_filler::{FullPart, Segment};

fn sealed(pipeline: &Pipeline, number: u32, volume: u16) -> SealedPart {
    let segments: Vec<Segment<Arc<Vec<u8>>>> = vec![Segment::Bytes(b"plaintext".to_vec())];
    let full = FullPart { number, offset: 0, length: 512, segments, frames: Vec::new() };
    pipeline.sealer.seal_data(full, VolumeNumber::new(volume)).unwrap().sealed
}

/// The parts that are on their drives, and those that are not.
fn outcome(pipeline: &Pipeline) -> (Vec<PartId>, Vec<PartId>) {
    (ids(&lock(&pipeline.written)), ids(&lock(&pipeline.unwritten)))
}

/// Writes so many parts to drive 0.
fn write_parts(pipeline: &Pipeline, drives: &mut [Drive], count: u32) -> Vec<Part> {
    let mut writing = DriveWriting::new(pipeline, &mut drives[0]);
    (1..=count).for_each(|number| writing.write(sealed(pipeline, number, 1)).unwrap());
    lock(&pipeline.written).clone()
}

/// Changes a byte of a part on its drive.
fn spoil(part: &Part, drives: &[Drive]) {
    let path = file_of(part, drives);
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[1000] ^= 1;
    std::fs::write(&path, bytes).unwrap();
}

/// Writes one part; returns it, what the run was told of it, and the journal.
fn one_part(desk: &Desk, drives: &mut [Drive], is_broken: bool) -> (Part, Vec<String>, String) {
    let heard = Heard::default();
    let job = PackJob { monitor: &heard, ..desk.job() };
    let sealed = sealed(&Pipeline::new(&job, drives), 1, 1);
    if is_broken {
        break_drive(&drives[0]);
    }
    assert_eq!(job.write_part(&mut drives[0].writers[0], &sealed).is_err(), is_broken);
    let told = heard.progress.lock().unwrap().clone();
    (sealed.part, told, desk.journal())
}

#[test]
fn a_written_part_is_on_its_drive_in_the_journal_and_reported() {
    let desk = Desk::new();
    let mut drives = desk.drives(1);
    let (part, told, journal) = one_part(&desk, &mut drives, false);
    assert_eq!(sha256(&std::fs::read(file_of(&part, &drives)).unwrap()), part.sha256);
    assert!(journal.contains(WrittenPart::of(&part).encode().trim_end()), "{journal}");
    assert_eq!(told, [format!("{} bytes on volume 1", CLASS.file_len()), "advanced by 512".into()]);
}

#[test]
fn a_part_that_its_drive_did_not_take_is_neither_noted_nor_reported() {
    let desk = Desk::new();
    let (part, told, journal) = one_part(&desk, &mut desk.drives(1), true);
    assert!(!journal.contains(WrittenPart::of(&part).encode().trim_end()), "{journal}");
    assert_eq!(desk.noted_parts(), 0);
    assert!(told.is_empty());
}

#[test]
fn parts_for_a_drive_that_failed_stay_unwritten() {
    let desk = Desk::new();
    let mut drives = desk.drives(2);
    let job = desk.job();
    let pipeline = Pipeline::new(&job, &drives);
    let (sender, parts) = mpsc::channel();
    (1..=2).for_each(|number| sender.send(sealed(&pipeline, number, 1)).unwrap());
    drop(sender);
    break_drive(&drives[0]);
    pipeline.write(&mut drives[0], parts).unwrap();
    assert_eq!(outcome(&pipeline), (vec![], vec![Data(1), Data(2)]));
    assert_eq!(lock(&pipeline.failed).len(), 1);
}

#[test]
fn a_run_that_has_stopped_writes_nothing_more() {
    let desk = Desk::new();
    let mut drives = desk.drives(1);
    let job = desk.job();
    let pipeline = Pipeline::new(&job, &drives);
    let (sender, parts) = mpsc::channel();
    sender.send(sealed(&pipeline, 1, 1)).unwrap();
    pipeline.stop.fail(FlowError::Cancelled);
    pipeline.write(&mut drives[0], parts).unwrap();
    assert_eq!(outcome(&pipeline), (vec![], vec![]));
}

#[test]
fn a_part_for_another_drive_is_a_defect() {
    let desk = Desk::new();
    let mut drives = desk.drives(2);
    let job = desk.job();
    let pipeline = Pipeline::new(&job, &drives);
    let result = DriveWriting::new(&pipeline, &mut drives[0]).write(sealed(&pipeline, 1, 2));
    assert!(matches!(result, Err(FlowError::Defect(_))));
}

#[test]
fn a_part_that_is_kept_stays_written() {
    let desk = Desk::new();
    let mut drives = desk.drives(1);
    let job = desk.job();
    let pipeline = Pipeline::new(&job, &drives);
    let parts = write_parts(&pipeline, &mut drives, 1);
    DriveWriting::new(&pipeline, &mut drives[0]).read_back(parts[0].clone()).unwrap();
    assert_eq!(outcome(&pipeline), (vec![Data(1)], vec![]));
    assert!(lock(&pipeline.distrusted).is_empty());
}

#[test]
fn a_part_that_is_not_kept_is_set_aside_and_its_drive_distrusted() {
    let desk = Desk::new();
    let mut drives = desk.drives(1);
    let job = desk.job();
    let pipeline = Pipeline::new(&job, &drives);
    let parts = write_parts(&pipeline, &mut drives, 2);
    spoil(&parts[0], &drives);
    DriveWriting::new(&pipeline, &mut drives[0]).read_back(parts[0].clone()).unwrap();
    assert_eq!(outcome(&pipeline), (vec![Data(2)], vec![Data(1)]));
    assert!(!file_of(&parts[0], &drives).exists());
    assert!(lock(&pipeline.distrusted).contains(&DriveId(0)) && lock(&pipeline.failed).is_empty());
}

#[test]
fn a_drive_fails_with_the_third_part_that_it_does_not_keep() {
    let desk = Desk::new();
    let mut drives = desk.drives(2);
    let job = desk.job();
    let pipeline = Pipeline::new(&job, &drives);
    let parts = write_parts(&pipeline, &mut drives, 3);
    parts.iter().for_each(|part| spoil(part, &drives));
    let mut writing = DriveWriting::new(&pipeline, &mut drives[0]);
    for (part, has_failed) in parts.into_iter().zip([false, false, true]) {
        writing.read_back(part).unwrap();
        assert_eq!(writing.has_failed, has_failed);
    }
}

#[test]
fn a_drive_that_is_gone_fails_with_the_first_part() {
    let desk = Desk::new();
    let mut drives = desk.drives(2);
    let job = desk.job();
    let pipeline = Pipeline::new(&job, &drives);
    let parts = write_parts(&pipeline, &mut drives, 1);
    break_drive(&drives[0]);
    let mut writing = DriveWriting::new(&pipeline, &mut drives[0]);
    writing.read_back(parts[0].clone()).unwrap();
    assert!(writing.has_failed);
}

#[test]
fn the_last_drive_that_fails_is_an_error() {
    let desk = Desk::new();
    let job = desk.job();
    let pipeline = Pipeline::new(&job, &desk.drives(2));
    assert!(pipeline.drive_failed(FailedDrive { drive: DriveId(0), fault: fault() }).is_ok());
    let last = pipeline.drive_failed(FailedDrive { drive: DriveId(1), fault: fault() });
    assert!(matches!(last, Err(FlowError::Io(_))));
}

#[test]
fn a_drive_that_was_given_up_before_is_not_among_those_that_go_on() {
    let desk = Desk::new();
    let mut drives = desk.drives(2);
    drives[1].writers.clear();
    let job = desk.job();
    let pipeline = Pipeline::new(&job, &drives);
    assert!(pipeline.drive_failed(FailedDrive { drive: DriveId(0), fault: fault() }).is_err());
}
