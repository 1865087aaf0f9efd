//! The volumes of a bundle while it is packed, drive by drive: which drives are in use, which are distrusted
//! or given up, and how all volumes become complete at once or not at all.

use std::io;
use std::path::{Path, PathBuf};

use crate::base::fault::IoFault;
use crate::base::monitor::{Monitor, Note, NoteKind};
use crate::base::path::as_bytes;
use crate::flow::FlowError;
use crate::flow::drives::drive::{Drive, DriveId, DriveState, VolumeWriter};
use crate::flow::drives::mounts::lost_before;
use crate::stage::volume::Writer;

/// All volumes of a bundle being packed, by drive.
pub struct VolumeSet<W = Writer> {
    drives: Vec<Drive<W>>,
}

impl<W: VolumeWriter> Default for VolumeSet<W> {
    fn default() -> Self {
        Self::new()
    }
}

impl<W: VolumeWriter> VolumeSet<W> {
    /// No volume yet.
    pub fn new() -> Self {
        Self { drives: Vec::new() }
    }

    /// Adds a volume. Volumes of one file system (`device`) are on one drive.
    pub fn add(&mut self, device: u64, place: &Path, writer: W) {
        if let Some(drive) = self.drives.iter_mut().find(|drive| drive.device == device) {
            drive.writers.push(writer);
            return;
        }
        let id = DriveId(self.drives.len());
        let (place, writers) = (place.to_path_buf(), vec![writer]);
        self.drives.push(Drive { id, device, place, writers, state: DriveState::InUse });
    }

    /// Leaves out of account what the drives lost before now, and notes it: it is no fault of theirs in this
    /// packing. Called once the folders of all volumes are as this run wants them, before it writes to them.
    pub fn forget_earlier_losses(&self, monitor: &dyn Monitor) {
        for drive in &self.drives {
            // Each volume hears of it by itself.
            let heard: Vec<io::Error> = drive.writers.iter().filter_map(W::forget_earlier_loss).collect();
            if let Some(error) = heard.first() {
                monitor.note(&lost_before(&drive.place, error));
            }
        }
    }

    /// All drives, also those that were given up.
    pub fn drives(&self) -> &[Drive<W>] {
        &self.drives
    }

    /// All drives, to write to them. Those that were given up have no writers.
    pub fn drives_mut(&mut self) -> &mut [Drive<W>] {
        &mut self.drives
    }

    /// One drive.
    pub fn drive(&self, id: DriveId) -> &Drive<W> {
        &self.drives[id.0]
    }

    /// Drives that are part of the packing.
    pub fn in_use(&self) -> impl Iterator<Item = &Drive<W>> {
        self.drives.iter().filter(|drive| drive.is_in_use())
    }

    /// The volumes that will be part of the bundle.
    pub fn writers(&self) -> impl Iterator<Item = &W> {
        self.drives.iter().flat_map(|drive| &drive.writers)
    }

    /// The same, to write to them.
    pub fn writers_mut(&mut self) -> impl Iterator<Item = &mut W> {
        self.drives.iter_mut().flat_map(|drive| &mut drive.writers)
    }

    /// Whether any drive read back other bytes than were written.
    pub fn any_lied(&self) -> bool {
        self.drives.iter().any(Drive::has_lied)
    }

    /// The drives that were given up, and why.
    pub fn given_up(&self) -> Vec<(PathBuf, String)> {
        let reason = |drive: &Drive<W>| match &drive.state {
            DriveState::GivenUp { why, .. } => Some((drive.place.clone(), why.clone())),
            DriveState::InUse | DriveState::Distrusted => None,
        };
        self.drives.iter().filter_map(reason).collect()
    }

    /// The drives that are part of the bundle, and did not keep everything that was written to them.
    pub fn distrusted(&self) -> Vec<PathBuf> {
        let distrusted = self.drives.iter().filter(|drive| drive.state == DriveState::Distrusted);
        distrusted.map(|drive| drive.place.clone()).collect()
    }

    /// Stops trusting a drive that is in use.
    pub fn distrust(&mut self, id: DriveId) {
        let drive = &mut self.drives[id.0];
        if drive.is_in_use() {
            drive.state = DriveState::Distrusted;
        }
    }

    /// Gives up a drive: its volumes stay as they are, incomplete. A second time does nothing.
    ///
    /// # Errors
    /// `why`, if it is the last drive in use.
    pub fn give_up(&mut self, id: DriveId, why: FlowError, monitor: &dyn Monitor) -> Result<(), FlowError> {
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
            monitor.verdict(writer.number(), "given up");
            writer.leave();
        }
        Ok(())
    }

    /// Calls `write` for each volume, and returns the drives that failed. After an error the other volumes of
    /// that drive are skipped.
    ///
    /// # Errors
    /// The user asked to stop.
    pub fn write_to_each(
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

    /// Lets every volume look complete. If one fails, none does: returns its drive, and the error.
    pub fn finish(&mut self) -> Option<(DriveId, IoFault)> {
        for drive in &mut self.drives {
            if let Err(fault) = drive.writers.iter_mut().try_for_each(W::finish) {
                let id = drive.id;
                self.writers().for_each(W::take_back);
                return Some((id, fault));
            }
        }
        None
    }

    /// Leaves all volumes to a later run.
    pub fn leave(self) {
        self.drives.into_iter().flat_map(|drive| drive.writers).for_each(W::leave);
    }

    /// Removes all volumes, and then the journal, if nothing else is left: it tells whose the rest is. Where a
    /// drive was given up nothing is removed, as its volumes cannot be.
    pub fn abandon(self, remove_journal: impl FnOnce()) {
        if self.drives.iter().any(|drive| !drive.is_in_use()) {
            return self.leave();
        }
        let folders: Vec<PathBuf> = self.writers().map(|writer| writer.dir().to_path_buf()).collect();
        let writers = self.drives.into_iter().flat_map(|drive| drive.writers);
        let mut all_removed = true;
        for writer in writers {
            all_removed &= writer.abandon();
        }
        if all_removed {
            remove_journal();
        }
        folders.iter().for_each(|folder| drop(std::fs::remove_dir(folder)));
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::base::monitor::Silent;
    use crate::flow::drives::drive::fake::{Events, FakeWriter, fault};

    /// A set with `volumes[i]` volumes on drive `i`, numbered in order.
    pub fn set_of(volumes: &[u16]) -> (VolumeSet<FakeWriter>, Events) {
        let (mut set, events, mut number) = (VolumeSet::new(), Events::default(), 0);
        for (device, count) in (0..).zip(volumes) {
            for _ in 0..*count {
                number += 1;
                set.add(device, Path::new(&format!("/media/{device}")), FakeWriter::new(number, &events));
            }
        }
        (set, events)
    }

    /// Hears notes.
    #[derive(Default)]
    struct Heard(std::sync::Mutex<Vec<Note>>);

    impl Monitor for Heard {
        fn phase(&self, _: crate::base::monitor::Phase, _: u64) {}
        fn advance(&self, _: u64) {}
        fn on_drive(&self, _: u16, _: u64) {}
        fn note(&self, note: &Note) {
            self.0.lock().unwrap().push(note.clone());
        }
        fn cancelled(&self) -> bool {
            false
        }
    }

    fn events_of(events: &Events) -> Vec<String> {
        std::mem::take(&mut events.lock().unwrap())
    }

    #[test]
    fn volumes_on_one_file_system_are_on_one_drive() {
        let (set, _) = set_of(&[2, 1]);
        let volumes: Vec<Vec<u16>> = set.drives().iter().map(Drive::volumes).collect();
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
        let notes = heard.0.into_inner().unwrap();
        assert_eq!(notes.iter().map(|note| &note.path[..]).collect::<Vec<_>>(), [b"/media/0"]);
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
    fn nothing_is_removed_once_a_drive_was_given_up() {
        let (set, events) = set_of(&[1, 1]);
        set.abandon(|| events.lock().unwrap().push("journal removed".into()));
        assert_eq!(events_of(&events), ["1 abandoned", "2 abandoned", "journal removed"]);
        let (mut set, events) = set_of(&[1, 1]);
        set.give_up(DriveId(0), fault().into(), &Silent).unwrap();
        set.abandon(|| events.lock().unwrap().push("journal removed".into()));
        assert_eq!(events_of(&events), ["1 left", "2 left"]);
    }
}
