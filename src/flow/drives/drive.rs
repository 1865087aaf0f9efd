//! One drive of a packing: the volumes being written to it, and whether it still counts.

use std::io;
use std::path::{Path, PathBuf};

use crate::base::fault::IoFault;
use crate::stage::volume::{self, Writer};

/// Which of the drives of a packing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DriveId(pub usize);

/// A drive, which is a file system: volumes on the same one share its fate.
pub struct Drive<W = Writer> {
    /// Which one it is.
    pub id: DriveId,
    /// The number of its file system.
    pub device: u64,
    /// The folder that was given, for messages.
    pub place: PathBuf,
    /// Its volumes. None once the drive is given up.
    pub writers: Vec<W>,
    /// Whether it still counts.
    pub state: DriveState,
}

/// Whether a drive still counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DriveState {
    /// It is written to.
    InUse,
    /// Some file was not read back as it was written. The drive keeps its other parts, and gets more only
    /// if the other drives have no room.
    Distrusted,
    /// Nothing on it is part of the bundle any more.
    GivenUp {
        /// The error, as text.
        why: String,
        /// Whether it had read back other bytes than were written.
        lied: bool,
    },
}

/// A drive that failed while the others went on.
#[derive(Debug)]
pub struct FailedDrive {
    /// The drive.
    pub drive: DriveId,
    /// What failed.
    pub fault: IoFault,
}

impl<W> Drive<W> {
    /// Whether it is still part of the packing.
    pub fn is_in_use(&self) -> bool {
        !matches!(self.state, DriveState::GivenUp { .. })
    }

    /// Whether it ever read back other bytes than were written.
    pub fn has_lied(&self) -> bool {
        match self.state {
            DriveState::InUse => false,
            DriveState::Distrusted => true,
            DriveState::GivenUp { lied, .. } => lied,
        }
    }
}

impl<W: VolumeWriter> Drive<W> {
    /// The numbers of its volumes.
    pub fn volumes(&self) -> Vec<u16> {
        self.writers.iter().map(VolumeWriter::number).collect()
    }
}

/// What a packing does with a volume, apart from writing files to it. The real one is
/// [`stage::volume::Writer`](Writer); unit tests use [`fake::FakeWriter`].
pub trait VolumeWriter {
    /// The volume's number, from 1.
    fn number(&self) -> u16;
    /// Its folder.
    fn dir(&self) -> &Path;
    /// Leaves out of account what the drive lost before the first byte of this run. Returns that error.
    fn forget_earlier_loss(&self) -> Option<io::Error>;
    /// Renames a file that the drive did not keep, so that it goes on occupying its bad sectors.
    fn set_aside(&mut self, name: &str);
    /// Lets the volume look complete.
    fn finish(&mut self) -> Result<(), IoFault>;
    /// Undoes `finish`, as far as the drive allows.
    fn take_back(&self);
    /// Leaves the volume, incomplete, to a later run.
    fn leave(self);
    /// Removes the volume; `false` if the drive does not allow that.
    fn abandon(self) -> bool;
}

impl VolumeWriter for Writer {
    fn number(&self) -> u16 {
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
        let _ = volume::take_back(Writer::dir(self));
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
    //! A volume that is not on any drive, and remembers what was done to it.

    use super::*;
    use std::sync::{Arc, Mutex};

    /// What was done to the volumes of a test, in order.
    pub type Events = Arc<Mutex<Vec<String>>>;

    /// A volume that is not on any drive.
    pub struct FakeWriter {
        number: u16,
        dir: PathBuf,
        events: Events,
        /// Whether its drive fails when the volume is finished.
        pub fails_to_finish: bool,
        /// Whether its drive lost something before.
        pub lost_before: bool,
    }

    impl FakeWriter {
        /// A volume with that number.
        pub fn new(number: u16, events: &Events) -> Self {
            let dir = PathBuf::from(format!("/nowhere/volume-{number}"));
            Self { number, dir, events: events.clone(), fails_to_finish: false, lost_before: false }
        }

        fn note(&self, what: &str) {
            self.events.lock().unwrap().push(format!("{} {what}", self.number));
        }
    }

    /// A fault that affects a whole drive.
    pub fn fault() -> IoFault {
        IoFault { doing: "write", path: "/media/drive".into(), source: io::Error::from_raw_os_error(5) }
    }

    /// A fault that says that a drive is full.
    pub fn full() -> IoFault {
        IoFault { source: io::Error::from_raw_os_error(28), ..fault() }
    }

    impl VolumeWriter for FakeWriter {
        fn number(&self) -> u16 {
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
