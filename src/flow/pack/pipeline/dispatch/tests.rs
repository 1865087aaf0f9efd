//! Ranges taken from the queue, without any other thread.

use super::*;
use crate::flow::pack::pipeline::tests::{CLASS, Desk, noise};
use crate::plan::geometry;

/// Everything that is queued to be packed: place, and bytes of the range.
fn queued(pipeline: &Pipeline) -> Vec<(RangePlace, usize)> {
    pipeline.queue.close();
    let mut ranges = Vec::new();
    while let Some(task) = pipeline.queue.pop(|_| 0) {
        let Task::Pack { place, raw } = task else { panic!("it needs no reading") };
        ranges.push((place, raw.len()));
    }
    ranges
}

/// A stretch in the content of the long source.
fn in_the_long_file(desk: &Desk) -> Range<u64> {
    let long = desk.walk.entries.iter().find(|entry| entry.size > 1000).unwrap();
    long.at..long.at + 512
}

fn buffer(pipeline: &Pipeline, len: usize) -> Lease<Vec<u8>> {
    let mut buf = pipeline.ranges.take_long().unwrap();
    buf.resize(len, 0);
    buf
}

#[test]
fn a_stretch_that_two_ranges_cover_is_hashed_once() {
    let read = |start, len| ReadRange { start, len, hash: 0 };
    assert_eq!(fresh_stretch(&read(0, 100), 0, 900), 0..100);
    assert_eq!(fresh_stretch(&read(50, 100), 100, 900), 100..150);
    assert!(fresh_stretch(&read(10, 20), 100, 900).is_empty());
}

#[test]
fn a_range_that_reaches_further_than_the_parts_is_hashed_up_to_their_end() {
    assert_eq!(fresh_stretch(&ReadRange { start: 50, len: 100, hash: 0 }, 50, 120), 50..120);
}

#[test]
fn a_range_that_is_what_it_was_is_accepted() {
    let desk = Desk::new();
    let job = desk.job();
    let pipeline = Pipeline::new(&job, &[]);
    let range = in_the_long_file(&desk);
    let read = ReadRange { start: range.start, len: 512, hash: quick(&noise(512)) };
    for fresh in [range.clone(), range.end..range.end] {
        assert!(pipeline.reread(read, fresh, buffer(&pipeline, 512)).is_ok());
    }
}

#[test]
fn a_range_that_is_not_what_it_was_names_its_file() {
    let desk = Desk::new();
    let job = desk.job();
    let pipeline = Pipeline::new(&job, &[]);
    let range = in_the_long_file(&desk);
    let read = ReadRange { start: range.start, len: 512, hash: 1 };
    for fresh in [range.clone(), range.end..range.end] {
        let error = pipeline.reread(read, fresh, buffer(&pipeline, 512)).unwrap_err();
        let FlowError::Source(SourceError::Changed(files)) = error else { panic!("{error}") };
        assert!(files.len() == 1 && files[0].ends_with("source/long"), "{files:?}");
    }
}

#[test]
fn the_manifests_are_a_range_that_need_not_be_read() {
    let desk = Desk::new();
    let job = desk.job();
    let pipeline = Pipeline::new(&job, &[]);
    pipeline.dispatch_tail(5);
    let start = desk.layout.tail_start;
    assert_eq!(queued(&pipeline), [(RangePlace { index: 5, start }, (desk.layout.len - start) as usize)]);
}

#[test]
fn manifests_that_an_earlier_run_packed_are_left_out() {
    let mut desk = Desk::new();
    let start = desk.layout.tail_start + 700;
    desk.before.tar = start;
    let job = desk.job();
    let pipeline = Pipeline::new(&job, &[]);
    pipeline.dispatch_tail(0);
    assert_eq!(queued(&pipeline), [(RangePlace { index: 0, start }, (desk.layout.len - start) as usize)]);
}

#[test]
fn long_manifests_are_cut_into_ranges() {
    let desk = Desk::new();
    let job = desk.job();
    let pipeline = Pipeline::new(&job, &[]);
    let len = geometry::range_len(CLASS) as usize;
    let next = RangePlace { index: 5, start: 512 };
    let mut tail = TailRanges { pipeline: &pipeline, next, packed_before: 10, open: None };
    assert!(tail.add(&[1; 8]).is_ok());
    assert!(tail.add(&vec![1; len]).is_ok());
    assert!(tail.add(&[1; 7]).is_ok());
    tail.finish();
    let second = RangePlace { index: 6, start: 512 + len as u64 };
    assert_eq!(queued(&pipeline), [(next, len), (second, 5)]);
}

#[test]
fn a_stopped_run_gets_no_more_ranges() {
    let desk = Desk::new();
    let job = desk.job();
    let pipeline = Pipeline::new(&job, &[]);
    pipeline.ranges.close();
    assert!(matches!(pipeline.dispatch_new(), Ok(None)));
    pipeline.dispatch_tail(0);
    assert!(queued(&pipeline).is_empty());
}
