//! The volumes of a bundle while it is packed, drive by drive: which drives are in use, distrusted or given up. All
//! volumes come to look complete together, or none does.
//!
//! Not guaranteed: that the volumes of a drive that was given up look incomplete. A drive that cannot be written to
//! keeps what it has.

use std::io;
use std::path::{Path, PathBuf};

use crate::base::fault::IoFault;
use crate::base::monitor::{Monitor, Note, NoteKind};
use crate::base::path::as_bytes;
use crate::flow::FlowError;
use crate::flow::drives::drive::{Drive, DriveId, DriveState, VolumeWriter};
use crate::flow::drives::mounts::lost_before;
use crate::stage::volume::Writer;

/// All volumes of a bundle being packed.
pub(crate) struct VolumeSet<W = Writer> {
    /// In the order in which their first volumes were added; a [`DriveId`] is the index in here.
    drives: Vec<Drive<W>>,
}

impl<W: VolumeWriter> Default for VolumeSet<W> {
    fn default() -> Self {
        Self::new()
    }
}

impl<W: VolumeWriter> VolumeSet<W> {
    pub(crate) fn new() -> Self {
        Self { drives: Vec::new() }
    }

    /// Adds a volume to the drive of its file system (`device`). `place` names a new drive in messages.
    pub(crate) fn add(&mut self, device: u64, place: &Path, writer: W) {
        if let Some(drive) = self.drives.iter_mut().find(|drive| drive.device == device) {
            drive.writers.push(writer);
            return;
        }
        let id = DriveId(self.drives.len());
        let place = place.to_path_buf();
        self.drives.push(Drive { id, device, place, writers: vec![writer], state: DriveState::InUse });
    }

    /// Takes note of what the system lost on the drives before this run, so that no later sync blames this run's files
    /// for it. Called when the folders of all volumes are as this run wants them, before the first write to them.
    pub(crate) fn forget_earlier_losses(&self, monitor: &dyn Monitor) {
        for drive in &self.drives {
            // The system tells each volume of it separately, so all have to ask; one note is enough.
            let losses: Vec<io::Error> = drive.writers.iter().filter_map(W::forget_earlier_loss).collect();
            if let Some(error) = losses.first() {
                monitor.note(&lost_before(&drive.place, error));
            }
        }
    }

    /// Includes the drives that were given up.
    pub(crate) fn drives(&self) -> &[Drive<W>] {
        &self.drives
    }

    /// For writing. Drives that were given up have no writers any more.
    pub(crate) fn drives_mut(&mut self) -> &mut [Drive<W>] {
        &mut self.drives
    }

    pub(crate) fn drive(&self, id: DriveId) -> &Drive<W> {
        &self.drives[id.0]
    }

    /// The drives that were not given up.
    pub(crate) fn in_use(&self) -> impl Iterator<Item = &Drive<W>> {
        self.drives.iter().filter(|drive| drive.is_in_use())
    }

    /// The volumes that will be part of the bundle.
    pub(crate) fn writers(&self) -> impl Iterator<Item = &W> {
        self.drives.iter().flat_map(|drive| &drive.writers)
    }

    pub(crate) fn writers_mut(&mut self) -> impl Iterator<Item = &mut W> {
        self.drives.iter_mut().flat_map(|drive| &mut drive.writers)
    }

    /// Whether any drive read back other bytes than were written, also one that was given up since.
    pub(crate) fn any_lied(&self) -> bool {
        self.drives.iter().any(Drive::has_lied)
    }

    /// The places of the drives that were given up, each with the reason.
    pub(crate) fn given_up(&self) -> Vec<(PathBuf, String)> {
        self.drives.iter().filter_map(place_and_reason).collect()
    }

    /// The places of the drives that did not keep some file as written, and are still part of the bundle.
    pub(crate) fn distrusted(&self) -> Vec<PathBuf> {
        let distrusted = self.drives.iter().filter(|drive| drive.state == DriveState::Distrusted);
        distrusted.map(|drive| drive.place.clone()).collect()
    }

    /// Records that a drive did not keep some file. Changes nothing for a drive that was given up.
    pub(crate) fn distrust(&mut self, id: DriveId) {
        let drive = &mut self.drives[id.0];
        if drive.is_in_use() {
            drive.state = DriveState::Distrusted;
        }
    }

    /// Gives up a drive: its volumes stay incomplete, and the bundle goes on without them. A second call for the same
    /// drive does nothing, because one failure may be reported twice.
    ///
    /// # Errors
    /// Returns `why` if this is the last drive in use.
    pub(crate) fn give_up(&mut self, id: DriveId, why: FlowError, monitor: &dyn Monitor) -> Result<(), FlowError> {
        if !self.drive(id).is_in_use() {
            return Ok(());
        }
        if self.in_use().count() == 1 {
            return Err(why);
        }
        let drive = &mut self.drives[id.0];
        let text = "is given up: nothing on it is a part of this bundle any more, even where `check` calls it whole";
        monitor.note(&Note::new(NoteKind::Drive, as_bytes(&drive.place), text));
        drive.state = DriveState::GivenUp { why: why.to_string(), lied: drive.has_lied() };
        for writer in std::mem::take(&mut drive.writers) {
            monitor.verdict(writer.number().get(), "given up");
            writer.leave();
        }
        Ok(())
    }

    /// Calls `write` for each volume, and returns the drives that failed. After an error the other volumes of that
    /// drive are skipped.
    ///
    /// # Errors
    /// [`FlowError::Cancelled`], before the next drive is written to.
    pub(crate) fn write_to_each(
        &mut self,
        monitor: &dyn Monitor,
        mut write: impl FnMut(&mut W) -> Result<(), IoFault>,
    ) -> Result<Vec<(DriveId, IoFault)>, FlowError> {
        let mut failed = Vec::new();
        for drive in &mut self.drives {
            if monitor.cancelled() {
                return Err(FlowError::Cancelled);
            }
            if let Err(fault) = drive.writers.iter_mut().try_for_each(&mut write) {
                failed.push((drive.id, fault));
            }
        }
        Ok(failed)
    }

    /// Makes every volume look complete; `None` if that worked. If a drive fails, all volumes are taken back, and the
    /// drive and its error are returned.
    pub(crate) fn finish(&mut self) -> Option<(DriveId, IoFault)> {
        for drive in &mut self.drives {
            if let Err(fault) = drive.writers.iter_mut().try_for_each(W::finish) {
                let id = drive.id;
                self.writers().for_each(W::take_back);
                return Some((id, fault));
            }
        }
        None
    }

    /// Leaves all volumes on their drives, incomplete, for a later run to resume from.
    pub(crate) fn leave(self) {
        self.drives.into_iter().flat_map(|drive| drive.writers).for_each(W::leave);
    }

    /// Removes all volumes, and then the journal. The journal stays if a volume stays, because it tells whose the files
    /// are. If a drive was given up, nothing is removed, because its volumes cannot be.
    pub(crate) fn abandon(self, remove_journal: impl FnOnce()) {
        if self.drives.iter().any(|drive| !drive.is_in_use()) {
            return self.leave();
        }
        let folders: Vec<PathBuf> = self.writers().map(|writer| writer.dir().to_path_buf()).collect();
        let mut all_removed = true;
        for writer in self.drives.into_iter().flat_map(|drive| drive.writers) {
            all_removed &= writer.abandon();
        }
        if all_removed {
            remove_journal();
        }
        // A folder that held the journal is empty only now. One that holds foreign files cannot be removed, and stays.
        for folder in folders {
            let _ = std::fs::remove_dir(folder);
        }
    }
}

/// The error for a part that came to a drive without its volume.
pub(super) fn wrong_drive() -> FlowError {
    FlowError::Defect("a part came to the wrong drive".into())
}

/// The place of a drive and why it was given up; `None` if it was not.
fn place_and_reason<W>(drive: &Drive<W>) -> Option<(PathBuf, String)> {
    match &drive.state {
        DriveState::GivenUp { why, .. } => Some((drive.place.clone(), why.clone())),
        DriveState::InUse | DriveState::Distrusted => None,
    }
}

#[cfg(test)]
pub(super) mod tests;
