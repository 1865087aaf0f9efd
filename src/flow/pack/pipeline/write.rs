//! Sealed parts on their way to the drives: one thread each. A drive that fails is left out, and the
//! others go on.

use std::collections::VecDeque;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

use crate::base::direct::DriveReader;
use crate::base::fault::IoFault;
use crate::base::monitor::{Note, NoteKind};
use crate::base::os;
use crate::base::path::as_bytes;
use crate::base::pool::lock;
use crate::flow::FlowError;
use crate::flow::drives::drive::{Drive, FailedDrive};
use crate::flow::pack::part_sealer::Sealed;
use crate::flow::pack::pipeline::Shared;
use crate::format::head::Part;
use crate::format::journal::WrittenPart;
use crate::stage::volume::Writer;

/// How long nothing has come when a drive counts as waiting: while it is the slower one, a part is sealed
/// within a few milliseconds.
const QUIET: Duration = Duration::from_millis(50);
/// Parts that a drive may lose before it is given up.
const LIES: u32 = 3;

fn writer_of<'a>(drive: &'a mut [Writer], part: &Part) -> Result<&'a mut Writer, FlowError> {
    let writer = drive.iter_mut().find(|writer| writer.number() == part.volume);
    writer.ok_or_else(|| FlowError::Defect("a part came to the wrong drive".into()))
}

impl Shared<'_> {
    /// Writes the parts of one drive. Once it has failed, what comes is let go: it is made again in the
    /// end, when it is known who has room. While nothing is there to be written, what is on the drive is
    /// read back: that a drive does not keep it is better known now than in the end. In the end all is read
    /// once more, for what is written later may land on what was read.
    pub(super) fn write(&self, drive: &mut Drive, sealed: mpsc::Receiver<Sealed>) -> Result<(), FlowError> {
        let (at, drive) = (drive.id, &mut drive.writers[..]);
        let (mut failed, mut lies, mut unread, mut reader) = (false, 0, VecDeque::new(), None);
        loop {
            let Sealed { part, length, buf } = match sealed.recv_timeout(QUIET) {
                Ok(sealed) => sealed,
                Err(RecvTimeoutError::Disconnected) => return Ok(()),
                Err(RecvTimeoutError::Timeout) => {
                    if let Some(part) = unread.pop_front().filter(|_| !failed) {
                        let looked = self.look(writer_of(drive, &part)?, part, reader.get_or_insert_default());
                        if let Err(fault) = looked {
                            lies += 1;
                            lock(&self.distrusted).insert(at);
                            let is_gone = fault.source.raw_os_error().is_some() && !os::is_of_one_place(&fault.source);
                            if lies == LIES || is_gone {
                                self.drive_failed(FailedDrive { drive: at, fault })?;
                                failed = true;
                            }
                        }
                        continue;
                    }
                    let Ok(sealed) = sealed.recv() else { return Ok(()) };
                    sealed
                }
            };
            if self.stop.failed() {
                return Ok(());
            }
            let writer = writer_of(drive, &part)?;
            if !failed && let Err(fault) = writer.put(&part.file_name(), buf.file(), part.sha256) {
                self.drive_failed(FailedDrive { drive: at, fault })?;
                failed = true;
            }
            if failed {
                lock(&self.unwritten).push(part);
                continue;
            }
            self.job.log.write(&WrittenPart::of(&part).encode());
            self.job.monitor.on_drive(part.volume, buf.file().len() as u64);
            self.job.monitor.advance(length);
            if writer.is_read_back() {
                unread.push_back(part.clone());
            }
            lock(&self.written).push(part);
        }
    }

    /// Reads a part back. One that is not as it was written has no place any more, and the drive gets
    /// nothing more if the others have room.
    fn look(&self, writer: &mut Writer, part: Part, reader: &mut DriveReader) -> Result<(), IoFault> {
        let name = part.file_name();
        let path = writer.dir().join(&name);
        let fault = match writer.read_back(&name, reader) {
            Ok(None) => return Ok(()),
            Ok(Some(offset)) => {
                let why = format!("it is not what was written, from byte {offset} on");
                IoFault { doing: "trust", path: path.clone(), source: std::io::Error::other(why) }
            }
            Err(fault) => fault,
        };
        let text = format!("{fault}: do not trust this drive; the part is packed again");
        self.job.monitor.note(&Note::new(NoteKind::Drive, as_bytes(&path), text));
        self.job.monitor.verdict(part.volume, "not to be trusted");
        writer.set_aside(&name);
        lock(&self.written).retain(|written| written.kind != part.kind || written.number != part.number);
        lock(&self.unwritten).push(part);
        Err(fault)
    }

    /// The others go on, if there are any.
    fn drive_failed(&self, failure: FailedDrive) -> Result<(), FlowError> {
        let mut failed = lock(&self.failed);
        if failed.len() + 1 == self.drives.iter().filter(|volumes| !volumes.is_empty()).count() {
            return Err(failure.fault.into());
        }
        let text = format!("failed ({}); the other drives go on", failure.fault);
        self.job.monitor.note(&Note::new(NoteKind::Drive, as_bytes(&failure.fault.path), text));
        self.drives[failure.drive.0].iter().for_each(|volume| self.job.monitor.verdict(*volume, "failed"));
        failed.push(failure);
        Ok(())
    }
}
