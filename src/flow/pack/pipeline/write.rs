//! Writes sealed parts to the drives, with one thread for each drive. While no part comes, the thread reads back parts
//! that it wrote, because a drive that does not keep them should be known early. A drive that fails gets nothing more,
//! and the other drives go on.
//!
//! Not guaranteed: that a part that was read back stays whole, because a faulty drive may write a later part over it.
//! All parts are read once more at the end.

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
use crate::flow::drives::drive::{Drive, DriveId, FailedDrive};
use crate::flow::pack::part_sealer::SealedPart;
use crate::flow::pack::pipeline::{PackJob, Pipeline};
use crate::flow::pack::volume_set::wrong_drive;
use crate::format::head::Part;
use crate::format::journal::WrittenPart;
use crate::stage::volume::Writer;

/// How long no part has come when a drive counts as waiting. While the drive is the slower side, the next part is
/// sealed within a few milliseconds.
const QUIET: Duration = Duration::from_millis(50);
/// How many parts a drive may lose. With the last of them it is given up.
const MOST_LOSSES: u32 = 3;

impl PackJob<'_> {
    /// Writes a part to its volume, notes it in the journal, and reports it as progress, in that order: the journal
    /// never names a part that its drive did not take. New parts and parts that are packed again both go this way.
    ///
    /// # Errors
    /// The drive did not take the part. Then it is neither noted nor reported.
    pub(crate) fn write_part(&self, writer: &mut Writer, sealed: &SealedPart) -> Result<(), IoFault> {
        let SealedPart { part, length, buf } = sealed;
        let file = buf.file();
        writer.put(&part.file_name(), file, part.sha256)?;
        self.log.write(&WrittenPart::of(part).encode());
        self.monitor.on_drive(part.volume.get(), file.len() as u64);
        self.monitor.advance(*length);
        Ok(())
    }
}

impl Pipeline<'_> {
    /// Writes the parts that come for one drive, until no more come or the run is stopped. Parts for a failed drive
    /// stay unwritten: they are packed again at the end, when it is known which drives have room.
    ///
    /// # Errors
    /// The drive failed, and no other drive is left.
    pub(super) fn write(&self, drive: &mut Drive, parts: mpsc::Receiver<SealedPart>) -> Result<(), FlowError> {
        let mut writing = DriveWriting::new(self, drive);
        while let Some(sealed) = writing.next_part(&parts)? {
            if self.stop.failed() {
                return Ok(());
            }
            writing.write(sealed)?;
        }
        Ok(())
    }

    /// Reads a part back. A part that its drive did not keep counts as unwritten, and keeps its bad place under another
    /// name.
    ///
    /// # Errors
    /// The part is not as it was written, or cannot be read.
    fn read_part_back(&self, writer: &mut Writer, part: Part, reader: &mut DriveReader) -> Result<(), IoFault> {
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
        self.job.monitor.verdict(part.volume.get(), "not to be trusted");
        writer.set_aside(&name);
        lock(&self.written).retain(|written| written.id() != part.id());
        lock(&self.unwritten).push(part);
        Err(fault)
    }

    /// Records that a drive failed. The others go on.
    ///
    /// # Errors
    /// The fault, if no other drive is left.
    fn drive_failed(&self, failure: FailedDrive) -> Result<(), FlowError> {
        let mut failed = lock(&self.failed);
        let in_use = self.drive_volumes.iter().filter(|volumes| !volumes.is_empty()).count();
        if failed.len() + 1 == in_use {
            return Err(failure.fault.into());
        }
        let text = format!("failed ({}); the other drives go on", failure.fault);
        self.job.monitor.note(&Note::new(NoteKind::Drive, as_bytes(&failure.fault.path), text));
        self.drive_volumes[failure.drive.0].iter().for_each(|volume| self.job.monitor.verdict(volume.get(), "failed"));
        failed.push(failure);
        Ok(())
    }
}

/// What the thread of one drive knows.
struct DriveWriting<'a, 'b> {
    pipeline: &'a Pipeline<'b>,
    drive: DriveId,
    writers: &'a mut [Writer],
    has_failed: bool,
    /// Parts that the drive did not keep so far.
    losses: u32,
    /// Written parts that are not read back yet.
    unread: VecDeque<Part>,
    reader: Option<DriveReader>,
}

impl<'a, 'b> DriveWriting<'a, 'b> {
    fn new(pipeline: &'a Pipeline<'b>, drive: &'a mut Drive) -> Self {
        let Drive { id, writers, .. } = drive;
        Self { pipeline, drive: *id, writers, has_failed: false, losses: 0, unread: VecDeque::new(), reader: None }
    }

    /// Waits for the next part, and reads parts back while none comes. `None` when no more come.
    fn next_part(&mut self, parts: &mpsc::Receiver<SealedPart>) -> Result<Option<SealedPart>, FlowError> {
        loop {
            match parts.recv_timeout(QUIET) {
                Ok(sealed) => return Ok(Some(sealed)),
                Err(RecvTimeoutError::Disconnected) => return Ok(None),
                Err(RecvTimeoutError::Timeout) => {}
            }
            match self.unread.pop_front().filter(|_| !self.has_failed) {
                Some(part) => self.read_back(part)?,
                None => return Ok(parts.recv().ok()),
            }
        }
    }

    /// Reads a part back. A drive that did not keep it is distrusted. It fails with the last of [`MOST_LOSSES`], or at
    /// once if the error says that the whole drive is gone.
    fn read_back(&mut self, part: Part) -> Result<(), FlowError> {
        let writer = writer_of(self.writers, &part)?;
        let reader = self.reader.get_or_insert_default();
        let Err(fault) = self.pipeline.read_part_back(writer, part, reader) else { return Ok(()) };
        self.losses += 1;
        lock(&self.pipeline.distrusted).insert(self.drive);
        let is_gone = fault.source.raw_os_error().is_some() && !os::is_of_one_place(&fault.source);
        if self.losses == MOST_LOSSES || is_gone { self.fail(fault) } else { Ok(()) }
    }

    /// Writes a part, unless the drive has failed.
    fn write(&mut self, sealed: SealedPart) -> Result<(), FlowError> {
        let writer = writer_of(self.writers, &sealed.part)?;
        let is_read_back = writer.is_read_back();
        if !self.has_failed
            && let Err(fault) = self.pipeline.job.write_part(writer, &sealed)
        {
            self.fail(fault)?;
        }
        if self.has_failed {
            lock(&self.pipeline.unwritten).push(sealed.part);
            return Ok(());
        }
        if is_read_back {
            self.unread.push_back(sealed.part.clone());
        }
        lock(&self.pipeline.written).push(sealed.part);
        Ok(())
    }

    fn fail(&mut self, fault: IoFault) -> Result<(), FlowError> {
        self.pipeline.drive_failed(FailedDrive { drive: self.drive, fault })?;
        self.has_failed = true;
        Ok(())
    }
}

fn writer_of<'a>(writers: &'a mut [Writer], part: &Part) -> Result<&'a mut Writer, FlowError> {
    writers.iter_mut().find(|writer| writer.number() == part.volume).ok_or_else(wrong_drive)
}

#[cfg(test)]
mod tests;
