//! Losses of drives that do not exist, with parts that a fake packs again.

use super::*;
use crate::base::monitor::Silent;
use crate::flow::drives::drive::fake::{FakeWriter, fault, full};
use crate::flow::pack::part_ledger::tests::{ledger, part};
use crate::flow::pack::volume_set::tests::set_of;
use crate::format::head::PartId::{self, Data, Parity};
use crate::format::stripe::Scheme;
use crate::format::volume_number::VolumeNumber;
use std::cell::RefCell;

/// Writes every part, except to one drive, which fails with that fault.
#[derive(Default)]
struct FakeRepacker {
    fails: Option<(DriveId, fn() -> IoFault)>,
    asked: RefCell<Vec<Home>>,
}

impl Repack<FakeWriter> for FakeRepacker {
    fn repack(&self, homes: &[Home], drives: &mut [Drive<FakeWriter>]) -> Result<Repacked, FlowError> {
        self.asked.borrow_mut().extend(homes);
        let failing = |home: &Home| {
            let (id, fault) = self.fails?;
            drives[id.0].volumes().contains(&home.volume).then(|| FailedDrive { drive: id, fault: fault() })
        };
        let parts = homes.iter().filter(|home| failing(home).is_none()).map(|home| part(home.part, home.volume.get()));
        let parts = parts.collect();
        Ok(Repacked { parts, failed: homes.iter().filter_map(failing).collect() })
    }
}

fn home(part: PartId, volume: u16) -> Home {
    Home { part, volume: VolumeNumber::new(volume) }
}

fn finding(drive: usize, volume: u16, name: Option<String>) -> Finding {
    Finding { drive: DriveId(drive), volume: VolumeNumber::new(volume), name, error: fault().into() }
}

#[test]
fn parts_of_a_drive_that_failed_are_packed_again_for_the_others() {
    let (mut set, _) = set_of(&[1, 1]);
    let ledger = ledger(&[2, 2], None, 2, &[(Data(1), 1), (Data(2), 2)]);
    let mut settler = Settler::new(ledger, &mut set, &Silent);
    settler.drive_failed(DriveId(0), fault()).unwrap();
    let repacker = FakeRepacker::default();
    assert_eq!(settler.settle(&repacker).unwrap(), 0);
    assert_eq!(*repacker.asked.borrow(), [home(Data(1), 2)]);
    assert_eq!(settler.ledger().parts().iter().map(|part| part.volume).collect::<Vec<_>>(), [2, 2]);
}

#[test]
fn a_drive_that_fails_during_repacking_is_left_out_too() {
    let (mut set, _) = set_of(&[1, 1, 1]);
    let ledger = ledger(&[2, 4, 3], None, 3, &[(Data(1), 1), (Data(2), 2), (Data(3), 3)]);
    let mut settler = Settler::new(ledger, &mut set, &Silent);
    settler.drive_failed(DriveId(0), fault()).unwrap();
    let repacker = FakeRepacker { fails: Some((DriveId(1), fault)), ..FakeRepacker::default() };
    assert_eq!(settler.settle(&repacker).unwrap(), 0);
    assert_eq!(*repacker.asked.borrow(), [home(Data(1), 2), home(Data(1), 3), home(Data(2), 3)]);
    assert_eq!(settler.volumes().given_up().len(), 2);
}

#[test]
fn a_drive_that_is_reported_twice_is_not_the_last_drive() {
    let (mut set, _) = set_of(&[1, 1]);
    let ledger = ledger(&[2, 2], None, 2, &[(Data(1), 1), (Data(2), 2)]);
    let mut settler = Settler::new(ledger, &mut set, &Silent);
    let failed = || FailedDrive { drive: DriveId(0), fault: fault() };
    settler.take_losses(BTreeSet::new(), vec![failed(), failed()]).unwrap();
    assert_eq!(settler.volumes().given_up().len(), 1);
    assert_eq!(settler.settle(&FakeRepacker::default()).unwrap(), 0);
}

#[test]
fn a_full_drive_keeps_its_parts() {
    let (mut set, _) = set_of(&[1, 1]);
    let ledger = ledger(&[3, 2], None, 3, &[(Data(1), 1), (Data(2), 2)]);
    let mut settler = Settler::new(ledger, &mut set, &Silent);
    let repacker = FakeRepacker { fails: Some((DriveId(0), full)), ..FakeRepacker::default() };
    assert_eq!(settler.settle(&repacker).unwrap(), 0);
    assert_eq!(*repacker.asked.borrow(), [home(Data(3), 1), home(Data(3), 2)]);
    assert!(settler.volumes().given_up().is_empty());
    assert_eq!(settler.ledger().bytes_on(VolumeNumber::new(1)), settler.ledger().bytes_of(1));
}

#[test]
fn the_last_drive_ends_the_run_unless_it_is_only_full() {
    let (mut set, _) = set_of(&[1]);
    let mut settler = Settler::new(ledger(&[2], None, 1, &[(Data(1), 1)]), &mut set, &Silent);
    settler.drive_failed(DriveId(0), full()).unwrap();
    assert!(!settler.ledger().has_room(VolumeNumber::new(1)));
    assert!(matches!(settler.drive_failed(DriveId(0), fault()), Err(FlowError::Io(_))));
}

#[test]
fn a_failed_repacking_ends_the_run() {
    struct Stopped;
    impl Repack<FakeWriter> for Stopped {
        fn repack(&self, _: &[Home], _: &mut [Drive<FakeWriter>]) -> Result<Repacked, FlowError> {
            Err(FlowError::Cancelled)
        }
    }
    let (mut set, _) = set_of(&[1]);
    let mut settler = Settler::new(ledger(&[2], None, 1, &[]), &mut set, &Silent);
    assert!(matches!(settler.settle(&Stopped), Err(FlowError::Cancelled)));
}

#[test]
fn without_room_parity_stands_in() {
    let (mut set, _) = set_of(&[1, 1, 1]);
    let written = [(Data(1), 1), (Data(2), 2), (Parity(1), 3)];
    let ledger = ledger(&[1, 1, 1], Scheme::new(2, 1, 1), 2, &written);
    let mut settler = Settler::new(ledger, &mut set, &Silent);
    settler.drive_failed(DriveId(0), fault()).unwrap();
    assert_eq!(settler.settle(&FakeRepacker::default()).unwrap(), 1);
}

#[test]
fn without_room_and_parity_the_error_says_what_would_help() {
    type Event = fn(&mut Settler<FakeWriter>);
    let cases: [(Event, Remedy, &str); 3] = [
        (|settler| settler.drive_failed(DriveId(0), fault()).unwrap(), Remedy::Replug, "/media/1 is full"),
        (|settler| settler.drive_failed(DriveId(0), full()).unwrap(), Remedy::Room, "/media/0 is full"),
        (
            |settler| assert!(settler.take_findings(vec![finding(0, 1, None)]).unwrap()),
            Remedy::Replace,
            "/media/1 is full",
        ),
    ];
    for (happens, expected, reason) in cases {
        let (mut set, _) = set_of(&[1, 1]);
        let ledger = ledger(&[2, 1], None, 3, &[(Data(1), 1), (Data(2), 2)]);
        let mut settler = Settler::new(ledger, &mut set, &Silent);
        happens(&mut settler);
        let error = settler.settle(&FakeRepacker::default()).unwrap_err();
        let FlowError::Drive(DriveError::NoHome { why, remedy, .. }) = error else { panic!("{error}") };
        assert_eq!(remedy, expected);
        assert!(why.contains(&reason.to_string()), "{why:?}");
    }
}

/// Why each drive takes none of the parts that have no home.
fn reasons(settler: &mut Settler<FakeWriter>) -> Vec<String> {
    match settler.settle(&FakeRepacker::default()) {
        Err(FlowError::Drive(DriveError::NoHome { why, .. })) => why,
        other => panic!("some part has no home: {other:?}"),
    }
}

#[test]
fn a_drive_with_room_may_hold_enough_of_a_stripe() {
    let (mut set, _) = set_of(&[1, 1, 1]);
    let written = [(Data(1), 1), (Data(2), 2), (Parity(1), 3)];
    let mut settler = Settler::new(ledger(&[3, 3, 3], Scheme::new(2, 1, 1), 2, &written), &mut set, &Silent);
    settler.drive_failed(DriveId(1), fault()).unwrap();
    settler.drive_failed(DriveId(2), fault()).unwrap();
    let reasons = reasons(&mut settler);
    assert_eq!(reasons.len(), 3, "{reasons:?}");
    assert!(reasons[0].starts_with("/media/1 (cannot write "), "{reasons:?}");
    assert_eq!(reasons[2], "/media/0 holds as much of these stripes as one volume may");
}

#[test]
fn a_distrusted_drive_without_room_is_not_called_full() {
    let (mut set, _) = set_of(&[1]);
    let mut settler = Settler::new(ledger(&[1], None, 1, &[(Data(1), 1)]), &mut set, &Silent);
    settler.take_findings(vec![finding(0, 1, Some(part(Data(1), 1).file_name()))]).unwrap();
    assert_eq!(reasons(&mut settler), ["/media/0 did not keep what it was given"]);
}

#[test]
fn the_first_file_is_the_reason_why_a_drive_is_given_up() {
    let (mut set, _) = set_of(&[2]);
    let mut settler = Settler::new(ledger(&[2, 2], None, 0, &[]), &mut set, &Silent);
    let found = |volume, name: &str| {
        let error = FlowError::Defect(format!("{volume} {name}"));
        Finding { drive: DriveId(0), volume: VolumeNumber::new(volume), name: Some(name.into()), error }
    };
    let findings = vec![found(2, "head.age"), found(1, "seal.age"), found(1, "list.age")];
    let error = settler.take_findings(findings).unwrap_err();
    assert_eq!(error.to_string(), "1 list.age");
}

#[test]
fn a_file_that_was_not_kept_is_set_aside_and_its_part_moves() {
    let (mut set, events) = set_of(&[1, 1]);
    let ledger = ledger(&[2, 2], None, 2, &[(Data(1), 1), (Data(2), 2)]);
    let mut settler = Settler::new(ledger, &mut set, &Silent);
    let name = part(Data(1), 1).file_name();
    assert!(settler.take_findings(vec![finding(0, 1, Some(name.clone()))]).unwrap());
    assert_eq!(*events.lock().unwrap(), [format!("1 set aside {name}")]);
    let repacker = FakeRepacker::default();
    assert_eq!(settler.settle(&repacker).unwrap(), 0);
    assert_eq!(*repacker.asked.borrow(), [home(Data(1), 2)]);
    assert_eq!(settler.volumes().distrusted().len(), 1);
}

#[test]
fn the_second_time_a_drive_is_given_up() {
    let (mut set, _) = set_of(&[1, 1]);
    let ledger = ledger(&[3, 3], None, 2, &[(Data(1), 1), (Data(2), 2)]);
    let mut settler = Settler::new(ledger, &mut set, &Silent);
    for given_up in [0, 1] {
        settler.take_findings(vec![finding(0, 1, Some("list.age".into()))]).unwrap();
        assert_eq!(settler.volumes().given_up().len(), given_up);
    }
    assert!(!settler.take_findings(Vec::new()).unwrap());
}

#[test]
fn what_a_drive_lost_before_all_was_read_is_not_the_first_time() {
    let (mut set, _) = set_of(&[1]);
    let ledger = ledger(&[4], None, 2, &[(Data(1), 1), (Data(2), 1)]);
    let mut settler = Settler::new(ledger, &mut set, &Silent);
    settler.take_losses(BTreeSet::from([DriveId(0)]), Vec::new()).unwrap();
    settler.take_findings(vec![finding(0, 1, Some(part(Data(1), 1).file_name()))]).unwrap();
    assert_eq!(settler.settle(&FakeRepacker::default()).unwrap(), 0);
    assert!(settler.volumes().given_up().is_empty());
    assert!(settler.take_findings(vec![finding(0, 1, Some("list.age".into()))]).is_err(), "it is the last drive");
}

#[test]
fn a_drive_that_lost_a_seal_is_given_up_at_once() {
    let (mut set, _) = set_of(&[1, 1]);
    let ledger = ledger(&[3, 3], None, 2, &[(Data(1), 1), (Data(2), 2)]);
    let mut settler = Settler::new(ledger, &mut set, &Silent);
    settler.take_findings(vec![finding(0, 1, Some(ALL_SEALS[0].into()))]).unwrap();
    assert_eq!(settler.volumes().given_up().len(), 1);
    assert!(settler.volumes().any_lied());
}
