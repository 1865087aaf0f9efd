//! Sets of volumes that are on no drive, and remember what was done to them.

use super::*;
use crate::base::monitor::Silent;
use crate::base::monitor::fake::Heard;
use crate::flow::drives::drive::fake::{Events, FakeWriter, fault};
use crate::format::volume_number::VolumeNumber;

/// A set with `volumes[i]` volumes on drive `i`, numbered in order.
pub(crate) fn set_of(volumes: &[u16]) -> (VolumeSet<FakeWriter>, Events) {
    let mut set = VolumeSet::new();
    let events = Events::default();
    let mut number = 0;
    for (device, count) in (0..).zip(volumes) {
        for _ in 0..*count {
            number += 1;
            set.add(device, Path::new(&format!("/media/{device}")), FakeWriter::new(number, &events));
        }
    }
    (set, events)
}

fn events_of(events: &Events) -> Vec<String> {
    std::mem::take(&mut events.lock().unwrap())
}

#[test]
fn volumes_on_one_file_system_are_on_one_drive() {
    let (set, _) = set_of(&[2, 1]);
    let volumes: Vec<Vec<VolumeNumber>> = set.drives().iter().map(Drive::volumes).collect();
    assert_eq!(volumes, [vec![1, 2], vec![3]]);
}

#[test]
fn what_a_drive_lost_before_is_heard_of_by_each_volume_and_noted_once() {
    let (mut set, events) = set_of(&[2, 1]);
    set.drives_mut()[0].writers.iter_mut().for_each(|writer| writer.lost_before = true);
    let heard = Heard::default();
    set.forget_earlier_losses(&heard);
    let forgot = [1, 2, 3].map(|number| format!("{number} forgot what was lost before"));
    assert_eq!(events_of(&events), forgot);
    assert_eq!(heard.paths(), ["/media/0"]);
}

#[test]
fn a_drive_that_is_given_up_keeps_its_volumes_incomplete() {
    let (mut set, events) = set_of(&[2, 1]);
    set.give_up(DriveId(0), fault().into(), &Silent).unwrap();
    assert_eq!(events_of(&events), ["1 left", "2 left"]);
    assert_eq!(set.writers().map(VolumeWriter::number).collect::<Vec<_>>(), [3]);
    assert_eq!(set.given_up()[0].0, Path::new("/media/0"));
    assert!(!set.any_lied());
}

#[test]
fn the_sender_hears_of_a_drive_that_is_given_up() {
    let (mut set, _) = set_of(&[2, 1]);
    let heard = Heard::default();
    set.give_up(DriveId(0), fault().into(), &heard).unwrap();
    assert_eq!(heard.paths(), ["/media/0"]);
    assert_eq!(*heard.verdicts.lock().unwrap(), ["1 given up", "2 given up"]);
}

#[test]
fn the_last_drive_cannot_be_given_up() {
    let (mut set, events) = set_of(&[1, 1]);
    set.give_up(DriveId(0), fault().into(), &Silent).unwrap();
    assert!(matches!(set.give_up(DriveId(1), fault().into(), &Silent), Err(FlowError::Io(_))));
    assert_eq!(events_of(&events), ["1 left"]);
}

#[test]
fn giving_up_a_drive_twice_does_not_count_as_the_last_drive() {
    let (mut set, _) = set_of(&[1, 1]);
    set.give_up(DriveId(0), fault().into(), &Silent).unwrap();
    set.give_up(DriveId(0), fault().into(), &Silent).unwrap();
    assert_eq!(set.given_up().len(), 1);
}

#[test]
fn a_drive_that_lied_is_remembered_after_it_was_given_up() {
    let (mut set, _) = set_of(&[1, 1]);
    set.distrust(DriveId(0));
    assert_eq!(set.distrusted(), [PathBuf::from("/media/0")]);
    set.give_up(DriveId(0), fault().into(), &Silent).unwrap();
    assert!(set.distrusted().is_empty());
    assert!(set.any_lied());
}

#[test]
fn a_drive_that_was_given_up_is_not_distrusted_any_more() {
    let (mut set, _) = set_of(&[1, 1]);
    set.give_up(DriveId(0), fault().into(), &Silent).unwrap();
    set.distrust(DriveId(0));
    assert!(set.distrusted().is_empty() && !set.any_lied());
    assert_eq!(set.given_up().len(), 1);
}

#[test]
fn volumes_become_complete_together_or_not_at_all() {
    let (mut set, events) = set_of(&[1, 1]);
    assert!(set.finish().is_none());
    assert_eq!(events_of(&events), ["1 finished", "2 finished"]);
    set.drives_mut()[1].writers[0].fails_to_finish = true;
    assert_eq!(set.finish().unwrap().0, DriveId(1));
    assert_eq!(events_of(&events), ["1 finished", "1 taken back", "2 taken back"]);
}

#[test]
fn one_drive_that_fails_does_not_keep_others_from_being_written() {
    let (mut set, _) = set_of(&[2, 1]);
    let mut written = Vec::new();
    let failed = set.write_to_each(&Silent, |writer| {
        written.push(writer.number());
        if writer.number() == 1 { Err(fault()) } else { Ok(()) }
    });
    assert_eq!(failed.unwrap().iter().map(|(id, _)| *id).collect::<Vec<_>>(), [DriveId(0)]);
    assert_eq!(written, [1, 3]);
}

#[test]
fn a_run_that_is_stopped_writes_to_no_further_drive() {
    let (mut set, _) = set_of(&[1, 1]);
    let heard = Heard { stops: true, ..Heard::default() };
    let mut written = Vec::new();
    let stopped = set.write_to_each(&heard, |writer| {
        written.push(writer.number());
        Ok(())
    });
    assert!(matches!(stopped, Err(FlowError::Cancelled)));
    assert!(written.is_empty());
}

#[test]
fn a_later_run_finds_every_volume_that_is_left() {
    let (set, events) = set_of(&[2, 1]);
    set.leave();
    assert_eq!(events_of(&events), ["1 left", "2 left", "3 left"]);
}

#[test]
fn nothing_is_removed_once_a_drive_was_given_up() {
    let (set, events) = set_of(&[1, 1]);
    set.abandon(|| events.lock().unwrap().push("journal removed".into()));
    assert_eq!(events_of(&events), ["1 abandoned", "2 abandoned", "journal removed"]);
    let (mut set, events) = set_of(&[1, 1]);
    set.give_up(DriveId(0), fault().into(), &Silent).unwrap();
    set.abandon(|| events.lock().unwrap().push("journal removed".into()));
    assert_eq!(events_of(&events), ["1 left", "2 left"]);
}
