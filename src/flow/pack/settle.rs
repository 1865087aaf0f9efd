//! Gives every part a home, whatever the drives do. A part that its drive did not take, or did not keep, is packed
//! again from the sources and goes where there is room. Without room parity may stand in for it; otherwise the run ends
//! with an error that says what would help.
//!
//! Not guaranteed: that a drive keeps a part that it took. Only reading back finds out, and reports it here.

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

/// Packs parts again. The real implementation reads the sources; unit tests use a fake.
pub(crate) trait Repack<W> {
    /// Seals these parts anew and writes each to its home. A drive that fails does not stop the others.
    fn repack(&self, homes: &[Home], drives: &mut [Drive<W>]) -> Result<Repacked, FlowError>;
}

/// The result of packing parts again.
pub(crate) struct Repacked {
    /// The parts that were written, each with the volume of its new home.
    pub(crate) parts: Vec<Part>,
    pub(crate) failed: Vec<FailedDrive>,
}

/// Keeps ledger and volumes in step: what a drive loses leaves the ledger, and the ledger says what to pack again.
pub(crate) struct Settler<'a, W> {
    ledger: PartLedger,
    volumes: &'a mut VolumeSet<W>,
    /// Drives that had a finding when everything was read back in the end. A second one is too many.
    failed_read_back: BTreeSet<DriveId>,
    monitor: &'a dyn Monitor,
}

impl<'a, W: VolumeWriter> Settler<'a, W> {
    pub(crate) fn new(ledger: PartLedger, volumes: &'a mut VolumeSet<W>, monitor: &'a dyn Monitor) -> Self {
        Self { ledger, volumes, failed_read_back: BTreeSet::new(), monitor }
    }

    pub(crate) fn ledger(&self) -> &PartLedger {
        &self.ledger
    }

    pub(crate) fn volumes(&self) -> &VolumeSet<W> {
        self.volumes
    }

    pub(crate) fn volumes_mut(&mut self) -> &mut VolumeSet<W> {
        self.volumes
    }

    /// Finds a home for every part. Returns how many are on no drive and left to parity. Packs again until no missing
    /// part finds a home, because a drive may fail while it takes a part.
    ///
    /// # Errors
    /// Some parts have neither a home nor parity, the sources changed, or the last drive failed.
    pub(crate) fn settle(&mut self, repacker: &impl Repack<W>) -> Result<usize, FlowError> {
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

    /// Records what drives lost while the bundle was packed. A drive may be reported more than once.
    ///
    /// # Errors
    /// The last drive failed.
    pub(crate) fn take_losses(
        &mut self,
        distrusted: BTreeSet<DriveId>,
        failed: Vec<FailedDrive>,
    ) -> Result<(), FlowError> {
        distrusted.into_iter().for_each(|drive| self.distrust(drive));
        for FailedDrive { drive, fault } in failed {
            self.drive_failed(drive, fault)?;
        }
        Ok(())
    }

    /// Records that a drive failed while parts were written. A full drive keeps its parts and takes no more; any other
    /// failure gives the drive up.
    ///
    /// # Errors
    /// It was the last drive.
    pub(crate) fn drive_failed(&mut self, drive: DriveId, fault: IoFault) -> Result<(), FlowError> {
        if os::is_full(&fault.source) {
            self.ledger.close(&self.volumes.drive(drive).volumes());
            return Ok(());
        }
        self.lose_drive(drive, fault.into())
    }

    /// Gives up a drive: nothing on it counts any more, and all its parts are missing.
    ///
    /// # Errors
    /// It was the last drive; the error is `why`.
    pub(crate) fn lose_drive(&mut self, drive: DriveId, why: FlowError) -> Result<(), FlowError> {
        let volumes = self.volumes.drive(drive).volumes();
        self.volumes.give_up(drive, why, self.monitor)?;
        self.ledger.forget_volumes(&volumes);
        Ok(())
    }

    /// Distrusts a drive that did not keep what was written to it: it gets nothing more if the others have room
    /// for what is missing.
    pub(crate) fn distrust(&mut self, drive: DriveId) {
        self.volumes.distrust(drive);
        self.ledger.avoid(&self.volumes.drive(drive).volumes());
    }

    /// Records files that were not read back in the end as they were written: their parts are missing now, and their
    /// drive is distrusted. Returns whether there were any.
    ///
    /// A drive is given up if this happens to it a second time, if it lost a seal, or if it cannot be read. What it
    /// lost while the bundle was packed does not count as the first time, because only chance decides whether such a
    /// loss is noticed that early.
    ///
    /// # Errors
    /// The last drive had to be given up.
    pub(crate) fn take_findings(&mut self, findings: Vec<Finding>) -> Result<bool, FlowError> {
        let mut by_drive: BTreeMap<DriveId, Vec<Finding>> = BTreeMap::new();
        for finding in findings {
            by_drive.entry(finding.drive).or_default().push(finding);
        }
        let has_findings = !by_drive.is_empty();
        for (drive, mut findings) in by_drive {
            findings.sort_by(|a, b| (a.volume, &a.name).cmp(&(b.volume, &b.name)));
            self.take_findings_of(drive, findings)?;
        }
        Ok(has_findings)
    }

    /// The same for one drive. Without a name a finding is about the whole drive. The first finding is the reason why a
    /// drive is given up.
    fn take_findings_of(&mut self, drive: DriveId, mut findings: Vec<Finding>) -> Result<(), FlowError> {
        let place = as_bytes(&self.volumes.drive(drive).place);
        self.monitor.note(&Note::new(NoteKind::Drive, place, in_words(&findings)));
        let is_second_time = !self.failed_read_back.insert(drive);
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

    /// The error for parts without a home: drive by drive why it takes none, and what would help.
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

/// Whether the drive cannot be read at all, or has lost a seal. A seal cannot be made again, because the key is wiped.
fn is_beyond_repair(finding: &Finding) -> bool {
    finding.name.as_ref().is_none_or(|name| ALL_SEALS.contains(&name.as_str()))
}

#[cfg(test)]
mod tests;
