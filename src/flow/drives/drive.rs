//! One drive of a packing: the volumes that are written to it, and whether it still counts. [`VolumeWriter`] is the
//! seam between the decisions about drives and the real files, so that unit tests need no drive that fails.
//!
//! Not guaranteed: that a drive in use is sound. Its state only says what this run has seen of it so far.

use std::io;
use std::path::{Path, PathBuf};

use crate::base::fault::IoFault;
use crate::format::volume_number::VolumeNumber;
use crate::stage::volume::{self, Writer};

/// Index of a drive among the drives of one packing, from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct DriveId(pub(crate) usize);

/// A file system that volumes are written to. The volumes on it share its fate.
pub(crate) struct Drive<W = Writer> {
    pub(crate) id: DriveId,
    /// The device number of its file system, by which volumes on one drive are told.
    pub(crate) device: u64,
    /// The folder that the sender named, for messages.
    pub(crate) place: PathBuf,
    /// Its volumes; empty once the drive is given up.
    pub(crate) writers: Vec<W>,
    pub(crate) state: DriveState,
}

/// Whether a drive still counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum DriveState {
    InUse,
    /// Some file was not read back as it was written. The drive keeps its other parts, and gets more only if the other
    /// drives have no room.
    Distrusted,
    /// Nothing on the drive counts as part of the bundle any more.
    GivenUp {
        /// The error in words, for the report.
        why: String,
        /// Whether the drive ever gave back other bytes than were written to it.
        lied: bool,
    },
}

/// A drive that failed as a whole while the others went on.
#[derive(Debug)]
pub(crate) struct FailedDrive {
    pub(crate) drive: DriveId,
    /// The call that failed.
    pub(crate) fault: IoFault,
}

impl<W> Drive<W> {
    /// Whether the drive still counts. A distrusted drive does.
    pub(crate) fn is_in_use(&self) -> bool {
        !matches!(self.state, DriveState::GivenUp { .. })
    }

    /// Whether the drive ever gave back other bytes than were written to it. A drive that only failed has not lied.
    pub(crate) fn has_lied(&self) -> bool {
        match self.state {
            DriveState::InUse => false,
            DriveState::Distrusted => true,
            DriveState::GivenUp { lied, .. } => lied,
        }
    }
}

impl<W: VolumeWriter> Drive<W> {
    /// The numbers of its volumes; empty once the drive is given up.
    pub(crate) fn volumes(&self) -> Vec<VolumeNumber> {
        self.writers.iter().map(VolumeWriter::number).collect()
    }
}

/// What a packing does with a volume, apart from writing files to it. Packing uses [`stage::volume::Writer`](Writer);
/// unit tests use [`fake::FakeWriter`].
pub(crate) trait VolumeWriter {
    fn number(&self) -> VolumeNumber;
    /// The volume's folder.
    fn dir(&self) -> &Path;
    /// Takes the error of what the drive lost before the first byte of this run, so that no later sync reports it.
    fn forget_earlier_loss(&self) -> Option<io::Error>;
    /// Renames a file that the drive did not keep, so that it goes on occupying its bad sectors.
    fn set_aside(&mut self, name: &str);
    /// Lets the volume look complete: SHA256SUMS gets its name.
    fn finish(&mut self) -> Result<(), IoFault>;
    /// Undoes `finish` as far as the drive allows, because the bundle is not complete after all.
    fn take_back(&self);
    /// Leaves the incomplete volume to a later run, which resumes it.
    fn leave(self);
    /// Removes the volume. Returns `false` if the drive does not allow that.
    fn abandon(self) -> bool;
}

impl VolumeWriter for Writer {
    fn number(&self) -> VolumeNumber {
        Writer::number(self)
    }

    fn dir(&self) -> &Path {
        Writer::dir(self)
    }

    fn forget_earlier_loss(&self) -> Option<io::Error> {
        Writer::forget_earlier_loss(self)
    }

    fn set_aside(&mut self, name: &str) {
        Writer::set_aside(self, name);
    }

    fn finish(&mut self) -> Result<(), IoFault> {
        Writer::finish(self)
    }

    fn take_back(&self) {
        let _ = volume::unpublish(Writer::dir(self));
    }

    fn leave(self) {
        Writer::leave(self);
    }

    fn abandon(self) -> bool {
        Writer::abandon(self)
    }
}

#[cfg(test)]
pub(crate) mod fake {
    //! A volume that is on no drive and records what is done to it.

    use super::*;
    use std::sync::{Arc, Mutex};

    /// What was done to the volumes of a test, in order: the number of the volume, and a few words.
    pub(crate) type Events = Arc<Mutex<Vec<String>>>;

    /// A volume that is on no drive.
    pub(crate) struct FakeWriter {
        number: VolumeNumber,
        dir: PathBuf,
        events: Events,
        /// Whether `finish` fails.
        pub(crate) fails_to_finish: bool,
        /// Whether its drive lost something before this run.
        pub(crate) lost_before: bool,
    }

    impl FakeWriter {
        pub(crate) fn new(number: u16, events: &Events) -> Self {
            let dir = PathBuf::from(format!("/nowhere/volume-{number}"));
            Self {
                number: VolumeNumber::new(number),
                dir,
                events: events.clone(),
                fails_to_finish: false,
                lost_before: false,
            }
        }

        fn note(&self, what: &str) {
            self.events.lock().unwrap().push(format!("{} {what}", self.number));
        }
    }

    /// A failed write: EIO on Linux.
    pub(crate) fn fault() -> IoFault {
        IoFault { doing: "write", path: "/media/drive".into(), source: io::Error::from_raw_os_error(5) }
    }

    /// A write to a full drive: ENOSPC on Linux.
    pub(crate) fn full() -> IoFault {
        IoFault { source: io::Error::from_raw_os_error(28), ..fault() }
    }

    impl VolumeWriter for FakeWriter {
        fn number(&self) -> VolumeNumber {
            self.number
        }

        fn dir(&self) -> &Path {
            &self.dir
        }

        fn forget_earlier_loss(&self) -> Option<io::Error> {
            self.note("forgot what was lost before");
            self.lost_before.then(|| fault().source)
        }

        fn set_aside(&mut self, name: &str) {
            self.note(&format!("set aside {name}"));
        }

        fn finish(&mut self) -> Result<(), IoFault> {
            if self.fails_to_finish {
                return Err(fault());
            }
            self.note("finished");
            Ok(())
        }

        fn take_back(&self) {
            self.note("taken back");
        }

        fn leave(self) {
            self.note("left");
        }

        fn abandon(self) -> bool {
            self.note("abandoned");
            true
        }
    }
}

#[cfg(test)]
mod tests {
    use super::fake::FakeWriter;
    use super::*;
    use crate::base::digest::sha256;
    use crate::stage::volume::SUMS;

    fn drive(state: DriveState) -> Drive<FakeWriter> {
        Drive { id: DriveId(0), device: 1, place: "/media/a".into(), writers: Vec::new(), state }
    }

    fn given_up(lied: bool) -> DriveState {
        DriveState::GivenUp { why: "cannot write".into(), lied }
    }

    #[test]
    fn a_distrusted_drive_is_still_in_use() {
        let states = [DriveState::InUse, DriveState::Distrusted, given_up(false), given_up(true)];
        assert_eq!(states.map(|state| drive(state).is_in_use()), [true, true, false, false]);
    }

    #[test]
    fn a_lie_is_remembered_after_the_drive_is_given_up() {
        let states = [DriveState::InUse, DriveState::Distrusted, given_up(false), given_up(true)];
        assert_eq!(states.map(|state| drive(state).has_lied()), [false, true, false, true]);
    }

    #[test]
    fn a_volume_that_is_taken_back_keeps_its_parts_and_does_not_look_complete() {
        let place = tempfile::tempdir().unwrap();
        let mut writer = Writer::create(place.path(), VolumeNumber::new(1)).unwrap();
        writer.put("000001.age", b"part", sha256(b"part")).unwrap();
        writer.write_sums().unwrap();
        VolumeWriter::finish(&mut writer).unwrap();
        let dir = place.path().join("volume-1");
        assert!(dir.join(SUMS).exists());
        writer.take_back();
        assert!(!dir.join(SUMS).exists());
        assert_eq!(std::fs::read(dir.join("000001.age")).unwrap(), b"part");
    }
}
