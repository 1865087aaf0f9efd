//! Sealed parts on their way to the drives: one thread each. A drive that fails is left out, and the
//! others go on.

use std::collections::BTreeMap;
use std::sync::mpsc;

use crate::base::fault::IoFault;
use crate::base::monitor::{Note, NoteKind};
use crate::base::path::as_bytes;
use crate::base::pool::lock;
use crate::flow::FlowError;
use crate::flow::engine::Shared;
use crate::flow::sealing::Sealed;
use crate::format::journal::Written;
use crate::stage::volume::Writer;

/// A drive that failed while the others went on.
pub struct Failed {
    /// Which of the drives.
    pub drive: usize,
    /// How.
    pub fault: IoFault,
}

/// The way from a volume's number to the thread that writes to its drive.
#[derive(Clone, Default)]
pub(super) struct Routes(BTreeMap<u16, mpsc::Sender<Sealed>>);

impl Routes {
    pub(super) fn add(&mut self, drive: &[Writer], to: mpsc::Sender<Sealed>) {
        self.0.extend(drive.iter().map(|writer| (writer.number(), to.clone())));
    }

    pub(super) fn send(&self, sealed: Sealed) {
        if let Some(route) = self.0.get(&sealed.part.volume) {
            // A writer that is gone has failed and said so.
            let _ = route.send(sealed);
        }
    }
}

impl Shared<'_> {
    /// Writes the parts of one drive. Once it has failed, what comes is let go: it is made again in the
    /// end, when it is known who has room.
    pub(super) fn write(
        &self,
        at: usize,
        drive: &mut [Writer],
        sealed: mpsc::Receiver<Sealed>,
    ) -> Result<(), FlowError> {
        let mut failed = false;
        for Sealed { part, length, buf } in sealed {
            if self.stop.failed() {
                break;
            }
            let writer = drive.iter_mut().find(|writer| writer.number() == part.volume);
            let writer = writer.ok_or_else(|| FlowError::Defect("a part came to the wrong drive".into()))?;
            if !failed && let Err(fault) = writer.put(&part.file_name(), buf.file(), part.sha256) {
                self.drive_failed(Failed { drive: at, fault })?;
                failed = true;
            }
            if failed {
                lock(&self.unwritten).push(part);
                continue;
            }
            self.job.log.write(&Written::of(&part).encode());
            self.job.monitor.on_drive(part.volume, buf.file().len() as u64);
            self.job.monitor.advance(length);
            lock(&self.written).push(part);
        }
        Ok(())
    }

    /// The others go on, if there are any.
    fn drive_failed(&self, failure: Failed) -> Result<(), FlowError> {
        let mut failed = lock(&self.failed);
        if failed.len() + 1 == self.drives.iter().filter(|volumes| !volumes.is_empty()).count() {
            return Err(failure.fault.into());
        }
        let text = format!("failed ({}); the other drives go on", failure.fault);
        self.job.monitor.note(&Note::new(NoteKind::Drive, as_bytes(&failure.fault.path), text));
        self.drives[failure.drive].iter().for_each(|volume| self.job.monitor.verdict(*volume, "failed"));
        failed.push(failure);
        Ok(())
    }
}
