//! Writes a sealed part to its volume, notes it in the journal, and reports it as progress, in that order: the journal
//! never names a part that its drive did not take. New parts and parts that are packed again both go this way.
//!
//! Not guaranteed: that the drive keeps the part. The reading back at the end shows that.

use crate::base::fault::IoFault;
use crate::base::monitor::Monitor;
use crate::flow::FlowError;
use crate::flow::pack::part_sealer::SealedPart;
use crate::format::journal::WrittenPart;
use crate::stage::journal::JournalWriter;
use crate::stage::volume::Writer;

/// Writes sealed parts, and tells journal and monitor.
pub(super) struct PartWriter<'a> {
    pub(super) log: &'a JournalWriter,
    pub(super) monitor: &'a dyn Monitor,
}

impl PartWriter<'_> {
    /// Writes a part to the volume that it was sealed for.
    ///
    /// # Errors
    /// The drive did not take the part. Then it is neither noted nor reported.
    pub(super) fn write(&self, writer: &mut Writer, sealed: &SealedPart) -> Result<(), IoFault> {
        let SealedPart { part, length, buf } = sealed;
        let file = buf.file();
        writer.put(&part.file_name(), file, part.sha256)?;
        self.log.write(&WrittenPart::of(part).encode());
        self.monitor.on_drive(part.volume.get(), file.len() as u64);
        self.monitor.advance(*length);
        Ok(())
    }
}

/// The error for a part that came to a drive without its volume.
pub(super) fn wrong_drive() -> FlowError {
    FlowError::Defect("a part came to the wrong drive".into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::monitor::{Note, Phase};
    use crate::flow::pack::part_sealer::BundleSealer;
    use crate::format::part::Class;
    use crate::format::volume_number::VolumeNumber;
    use crate::stage::part_filler::{FullPart, Segment};
    use crate::stage::seal::Identity;
    use crate::stage::volume;
    use std::sync::{Arc, Mutex};

    /// Remembers what it was told, in order.
    #[derive(Default)]
    struct Progress(Mutex<Vec<String>>);

    impl Monitor for Progress {
        fn phase(&self, _: Phase, _: u64) {}
        fn advance(&self, units: u64) {
            self.0.lock().unwrap().push(format!("advanced by {units}"));
        }
        fn on_drive(&self, volume: u16, bytes: u64) {
            self.0.lock().unwrap().push(format!("{bytes} bytes on volume {volume}"));
        }
        fn note(&self, _: &Note) {}
        fn cancelled(&self) -> bool {
            false
        }
    }

    fn sealed_part() -> SealedPart {
        let recipient = Identity::generate().recipient();
        let segments: Vec<Segment<Arc<Vec<u8>>>> = vec![Segment::Bytes(b"plaintext".to_vec())];
        let full = FullPart { number: 1, offset: 0, length: 512, segments, frames: Vec::new() };
        BundleSealer::new(&recipient, Class::ALL[0], 1, None).seal_data(full, VolumeNumber::new(1)).unwrap().sealed
    }

    #[test]
    fn a_written_part_is_on_its_drive_in_the_journal_and_reported() {
        let drive = tempfile::tempdir().unwrap();
        let mut writer = Writer::create(drive.path(), VolumeNumber::new(1)).unwrap();
        let folder = volume::folder(drive.path(), VolumeNumber::new(1));
        let log = JournalWriter::create(std::slice::from_ref(&folder), "BEGUN\n").unwrap();
        let (sealed, progress) = (sealed_part(), Progress::default());
        PartWriter { log: &log, monitor: &progress }.write(&mut writer, &sealed).unwrap();
        assert!(std::fs::read(folder.join("000001.age")).unwrap() == sealed.buf.file());
        let journal = std::fs::read_to_string(folder.join("journal")).unwrap();
        assert!(journal.contains(WrittenPart::of(&sealed.part).encode().trim_end()), "{journal}");
        let bytes = Class::ALL[0].file_len();
        assert_eq!(*progress.0.lock().unwrap(), [format!("{bytes} bytes on volume 1"), "advanced by 512".into()]);
    }

    #[test]
    fn a_part_that_its_drive_did_not_take_is_neither_noted_nor_reported() {
        let (drive, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let mut writer = Writer::create(drive.path(), VolumeNumber::new(1)).unwrap();
        let log = JournalWriter::create(&[other.path().to_path_buf()], "BEGUN\n").unwrap();
        std::fs::remove_dir_all(volume::folder(drive.path(), VolumeNumber::new(1))).unwrap();
        let progress = Progress::default();
        assert!(PartWriter { log: &log, monitor: &progress }.write(&mut writer, &sealed_part()).is_err());
        assert_eq!(log.parts(), 0);
        assert!(progress.0.lock().unwrap().is_empty());
    }
}
