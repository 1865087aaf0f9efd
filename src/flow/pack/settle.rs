//! Gives every part a home, whatever drives do. A part that its drive did not take, or did not keep, is packed
//! again from the sources and goes where there is room. Where there is none, parity may stand in for it; if
//! not, the run ends with what would help.

use std::collections::{BTreeMap, BTreeSet};

use crate::base::fault::IoFault;
use crate::base::monitor::{Monitor, Note, NoteKind};
use crate::base::os;
use crate::base::path::{as_bytes, show};
use crate::flow::FlowError;
use crate::flow::drives::drive::{Drive, DriveId, DriveState, FailedDrive, VolumeWriter};
use crate::flow::drives::read_back::{Finding, in_words};
use crate::flow::error::{DriveError, Remedy};
use crate::flow::pack::part_ledger::PartLedger;
use crate::flow::pack::volume_set::VolumeSet;
use crate::format::head::Part;
use crate::plan::rehome::Home;
use crate::stage::volume::ALL_SEALS;

/// Packs parts again. The real one reads the sources; unit tests use a fake.
pub trait Repack<W> {
    /// Seals these parts anew and writes each to its home.
    fn repack(&self, homes: &[Home], drives: &mut [Drive<W>]) -> Result<Repacked, FlowError>;
}

/// What came of packing parts again.
pub struct Repacked {
    /// Parts that were written.
    pub parts: Vec<Part>,
    /// Drives that failed meanwhile.
    pub failed: Vec<FailedDrive>,
}

/// Gives every part a home.
pub struct Settler<'a, W> {
    ledger: PartLedger,
    volumes: &'a mut VolumeSet<W>,
    /// Drives with files that were not read back as they were written, when all was read in the end.
    found_out: BTreeSet<DriveId>,
    monitor: &'a dyn Monitor,
}

impl<'a, W: VolumeWriter> Settler<'a, W> {
    /// Settles what is in the ledger.
    pub fn new(ledger: PartLedger, volumes: &'a mut VolumeSet<W>, monitor: &'a dyn Monitor) -> Self {
        Self { ledger, volumes, found_out: BTreeSet::new(), monitor }
    }

    /// Where every part is.
    pub fn ledger(&self) -> &PartLedger {
        &self.ledger
    }

    /// The volumes.
    pub fn volumes(&self) -> &VolumeSet<W> {
        self.volumes
    }

    /// The volumes, to write to them.
    pub fn volumes_mut(&mut self) -> &mut VolumeSet<W> {
        self.volumes
    }

    /// Finds a home for every part. Returns how many are on no drive and left to parity.
    ///
    /// # Errors
    /// Some parts have neither a home nor parity, the sources changed, or the last drive failed.
    pub fn settle(&mut self, repacker: &impl Repack<W>) -> Result<usize, FlowError> {
        loop {
            let homes = self.ledger.find_homes();
            if homes.is_empty() {
                return match self.ledger.homeless() {
                    0 => Ok(self.ledger.missing().len()),
                    parts => Err(self.no_home(parts).into()),
                };
            }
            let Repacked { parts, failed } = repacker.repack(&homes, self.volumes.drives_mut())?;
            parts.into_iter().for_each(|part| self.ledger.add(part));
            self.take_losses(BTreeSet::new(), failed)?;
        }
    }

    /// Takes account of what drives lost while the bundle was packed.
    ///
    /// # Errors
    /// The last drive failed.
    pub fn take_losses(&mut self, distrusted: BTreeSet<DriveId>, failed: Vec<FailedDrive>) -> Result<(), FlowError> {
        distrusted.into_iter().for_each(|drive| self.distrust(drive));
        for FailedDrive { drive, fault } in failed {
            self.drive_failed(drive, fault)?;
        }
        Ok(())
    }

    /// Takes account of a drive that failed while parts were written. A full one keeps what it has.
    ///
    /// # Errors
    /// It was the last drive.
    pub fn drive_failed(&mut self, drive: DriveId, fault: IoFault) -> Result<(), FlowError> {
        if os::is_full(&fault.source) {
            self.ledger.close(&self.volumes.drive(drive).volumes());
            return Ok(());
        }
        self.lose_drive(drive, fault.into())
    }

    /// Gives up a drive: nothing on it counts any more.
    ///
    /// # Errors
    /// It was the last drive.
    pub fn lose_drive(&mut self, drive: DriveId, why: FlowError) -> Result<(), FlowError> {
        let volumes = self.volumes.drive(drive).volumes();
        self.volumes.give_up(drive, why, self.monitor)?;
        self.ledger.forget_volumes(&volumes);
        Ok(())
    }

    /// Distrusts a drive that did not keep what was written to it: it gets nothing more if the others have room
    /// for what is missing.
    pub fn distrust(&mut self, drive: DriveId) {
        self.volumes.distrust(drive);
        self.ledger.avoid(&self.volumes.drive(drive).volumes());
    }

    /// Takes account of files that were not read back in the end as they were written: their parts are missing now,
    /// and their drive is distrusted. A drive is given up if it has such files a second time, did not keep a seal, or
    /// cannot be read; what it lost while the bundle was packed does not count, for whether that was read in time is
    /// chance. Returns whether there were any such files.
    ///
    /// # Errors
    /// The last drive had to be given up.
    pub fn take_findings(&mut self, findings: Vec<Finding>) -> Result<bool, FlowError> {
        let mut by_drive: BTreeMap<DriveId, Vec<Finding>> = BTreeMap::new();
        for finding in findings {
            by_drive.entry(finding.drive).or_default().push(finding);
        }
        let any = !by_drive.is_empty();
        for (drive, mut findings) in by_drive {
            findings.sort_by(|a, b| (a.volume, &a.name).cmp(&(b.volume, &b.name)));
            self.take_findings_of(drive, findings)?;
        }
        Ok(any)
    }

    fn take_findings_of(&mut self, drive: DriveId, mut findings: Vec<Finding>) -> Result<(), FlowError> {
        let place = as_bytes(&self.volumes.drive(drive).place);
        self.monitor.note(&Note::new(NoteKind::Drive, place, in_words(&findings)));
        let is_second_time = !self.found_out.insert(drive);
        if is_second_time || findings.iter().any(is_beyond_repair) {
            self.volumes.distrust(drive);
            return self.lose_drive(drive, findings.swap_remove(0).error);
        }
        for Finding { volume, name, .. } in &findings {
            let Some(name) = name else { continue };
            self.ledger.forget_file(*volume, name);
            if let Some(writer) = self.volumes.writers_mut().find(|writer| writer.number() == *volume) {
                writer.set_aside(name);
            }
        }
        self.distrust(drive);
        Ok(())
    }

    /// The error for parts without a home: why, drive by drive, and what would help.
    fn no_home(&self, parts: usize) -> DriveError {
        let given_up = self.volumes.given_up();
        let only_full = given_up.is_empty();
        let gone = given_up.iter().map(|(place, why)| format!("{} ({why})", show(place)));
        let left = self.volumes.in_use().map(|drive| format!("{} {}", show(&drive.place), self.why_not(drive)));
        DriveError::NoHome {
            parts,
            bytes: self.ledger.bytes_of(parts),
            why: gone.chain(left).collect(),
            remedy: Remedy::choose(self.volumes.any_lied(), only_full),
        }
    }

    /// Why a drive does not take the missing parts.
    fn why_not(&self, drive: &Drive<W>) -> &'static str {
        if drive.volumes().iter().any(|volume| self.ledger.has_room(*volume)) {
            "holds as much of these stripes as one volume may"
        } else if drive.state == DriveState::Distrusted {
            "did not keep what it was given"
        } else {
            "is full"
        }
    }
}

/// Whether the drive cannot be read at all, or has lost a seal: a seal cannot be made again.
fn is_beyond_repair(finding: &Finding) -> bool {
    finding.name.as_ref().is_none_or(|name| ALL_SEALS.contains(&name.as_str()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::monitor::Silent;
    use crate::flow::drives::drive::fake::{FakeWriter, fault, full};
    use crate::flow::pack::part_ledger::tests::{ledger, part};
    use crate::flow::pack::volume_set::tests::set_of;
    use crate::format::head::PartId::{self, Data, Parity};
    use crate::format::stripe::Scheme;
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
            let parts = homes.iter().filter(|home| failing(home).is_none()).map(|home| part(home.part, home.volume));
            let parts = parts.collect();
            Ok(Repacked { parts, failed: homes.iter().filter_map(failing).collect() })
        }
    }

    fn home(part: PartId, volume: u16) -> Home {
        Home { part, volume }
    }

    fn finding(drive: usize, volume: u16, name: Option<String>) -> Finding {
        Finding { drive: DriveId(drive), volume, name, error: fault().into() }
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
        assert_eq!(settler.ledger().bytes_on(1), settler.ledger().bytes_of(1));
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
}
