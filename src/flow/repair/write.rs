//! Writes volumes anew: seals first, then the parts, then list and heads, and SHA256SUMS last. A part that is whole
//! somewhere is copied; any other is rebuilt from its stripe. Each is sealed again and must become the file that the
//! head names. If one does not, all new volumes are removed.
//!
//! Not guaranteed: that the parts are stored. Only the small files are read back.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use crate::base::digest::sha256;
use crate::base::monitor::{Monitor, Note, NoteKind, Phase};
use crate::base::path::as_bytes;
use crate::base::pool::{lock, side_by_side, unlocked};
use crate::flow::FlowError;
use crate::flow::bundle::index_files::{Sealable, head_of, list_of, new_volume, write_index};
use crate::flow::bundle::open::Bundle;
use crate::flow::bundle::part_finder::{Finder, Loaded};
use crate::flow::bundle::part_rebuilder::{PartRebuilder, rebuild_groups};
use crate::flow::check::report::CheckReport;
use crate::flow::drives::mounts::{SHOWS_TIMES, lost_before};
use crate::flow::drives::read_back::read_back_small;
use crate::flow::repair::seal_copies::SealCopies;
use crate::format::head::Part;
use crate::format::part::PartBuf;
use crate::format::volume_number::VolumeNumber;
use crate::stage::seal::Keyring;
use crate::stage::stream::PartSealer;
use crate::stage::volume::Writer;

/// Files of a volume beside its parts: up to three seals, the list and two heads. SHA256SUMS names all of them.
const SMALL_FILES: u64 = 6;
/// Bytes of a line of SHA256SUMS, rounded up: a hash, two blanks, a name of at most 10 characters, a newline.
const SUMS_LINE: u64 = 80;

/// What new volumes are made of.
pub(crate) struct VolumeContents<'a> {
    bundle: &'a Bundle,
    seals: SealCopies,
    list: Sealable,
    head: Sealable,
}

impl<'a> VolumeContents<'a> {
    /// Prepares everything but the parts, for volumes of these numbers.
    ///
    /// # Errors
    /// No copy of the list or of a seal is whole.
    pub(crate) fn of(
        bundle: &'a mut Bundle,
        checked: &CheckReport,
        keyring: &Keyring,
        numbers: &[VolumeNumber],
    ) -> Result<Self, FlowError> {
        let entries = bundle.read_list()?;
        let bundle = &*bundle;
        let (list, list_hash) = list_of(&entries, bundle.head.statement.tar)?;
        if list_hash != bundle.head.statement.list_hash {
            return Err(FlowError::Defect("the list is not written as it was read".into()));
        }
        let seals = SealCopies::of(bundle, checked, keyring, numbers)?;
        let head = head_of(&bundle.head)?;
        Ok(Self { bundle, seals, list, head })
    }

    /// The lengths in bytes of all files of a volume.
    pub(crate) fn file_lengths(&self, number: VolumeNumber) -> impl Iterator<Item = u64> {
        let head = &self.bundle.head;
        let parts = head.parts.iter().filter(|part| part.volume == number).count();
        let seals = self.seals.for_volume(number).map(|(_, bytes)| bytes.len() as u64);
        let index = [self.list.file_len(), self.head.file_len(), self.head.file_len()];
        let sums = (parts as u64 + SMALL_FILES) * SUMS_LINE;
        let parts = std::iter::repeat_n(head.statement.class.file_len() as u64, parts);
        parts.chain(seals).chain(index).chain([sums])
    }
}

/// How far the writing came.
pub(crate) struct Written<'a> {
    /// The folders of the new volumes; none if parts are lost.
    pub(crate) folders: Vec<PathBuf>,
    /// How many parts were rebuilt. The others were copied.
    pub(crate) rebuilt: usize,
    /// The parts that could not be had after all, by number.
    pub(crate) lost: Vec<&'a Part>,
}

/// Writes the volumes of these numbers into the target. After an error, or if a part is lost, it removes what it wrote.
pub(crate) fn write_volumes<'a>(
    contents: &'a VolumeContents<'a>,
    numbers: &[VolumeNumber],
    target: &'a Path,
    monitor: &'a dyn Monitor,
) -> Result<Written<'a>, FlowError> {
    let mut volumes = NewVolumes { contents, target, monitor, writers: BTreeMap::new() };
    let written = volumes.write(numbers);
    let is_done = written.as_ref().is_ok_and(|written| written.lost.is_empty());
    if !is_done {
        volumes.abandon();
    }
    written
}

/// Volumes that are being written, by number.
struct NewVolumes<'a> {
    contents: &'a VolumeContents<'a>,
    target: &'a Path,
    monitor: &'a dyn Monitor,
    /// In cells, because several threads bring parts.
    writers: BTreeMap<VolumeNumber, Mutex<Writer>>,
}

impl<'a> NewVolumes<'a> {
    fn write(&mut self, numbers: &[VolumeNumber]) -> Result<Written<'a>, FlowError> {
        for number in numbers {
            self.begin(*number)?;
        }
        let (rebuilt, lost) = self.write_parts()?;
        let folders = if lost.is_empty() { self.finish()? } else { Vec::new() };
        Ok(Written { folders, rebuilt, lost })
    }

    /// Makes the folder of a volume and writes its seals. They come first, because they tell a later run whose the rest
    /// is.
    fn begin(&mut self, number: VolumeNumber) -> Result<(), FlowError> {
        let writer = new_volume(self.target, number)?;
        if let Some(error) = writer.forget_earlier_loss() {
            self.monitor.note(&lost_before(self.target, &error));
        }
        let writer = self.writers.entry(number).or_insert(Mutex::new(writer));
        for (name, bytes) in self.contents.seals.for_volume(number) {
            lock(writer).put(name, bytes, sha256(bytes))?;
        }
        Ok(())
    }

    /// Brings all parts to their volumes. Returns how many were rebuilt, and which are lost.
    fn write_parts(&self) -> Result<(usize, Vec<&'a Part>), FlowError> {
        let bundle = self.contents.bundle;
        let class = bundle.head.statement.class;
        let wanted: Vec<&'a Part> =
            bundle.head.parts.iter().filter(|part| self.writers.contains_key(&part.volume)).collect();
        self.monitor.phase(Phase::Repairing, wanted.len() as u64 * class.file_len() as u64);
        let finder = Finder::new(bundle);
        let copied = side_by_side(&wanted, || PartBuf::new(class), |buf, part| self.copy(part, &finder, buf));
        let mut hurt: BTreeMap<u32, Vec<&'a Part>> = BTreeMap::new();
        for (part, is_copied) in wanted.into_iter().zip(copied) {
            if !is_copied? {
                hurt.entry(part.shard.map_or(part.number, |shard| shard.stripe)).or_default().push(part);
            }
        }
        let rebuilder = PartRebuilder::new(&bundle.head, &finder);
        let groups = rebuild_groups(&hurt, class);
        let mut lost = Vec::new();
        for lost_of_group in side_by_side(&groups, || (), |(), parts| self.rebuild(parts, &rebuilder)) {
            lost.extend(lost_of_group?);
        }
        lost.sort_by_key(|part| part.number);
        Ok((hurt.values().map(Vec::len).sum::<usize>() - lost.len(), lost))
    }

    /// Copies a part that is whole somewhere; `false` if it has to be rebuilt.
    fn copy(&self, part: &Part, finder: &Finder, buf: &mut PartBuf) -> Result<bool, FlowError> {
        if self.monitor.cancelled() {
            return Err(FlowError::Cancelled);
        }
        match finder.load(part, buf)? {
            Loaded::Whole => self.put(part, buf),
            Loaded::Partly { .. } | Loaded::Unread { .. } | Loaded::Missing => Ok(false),
        }
    }

    /// Rebuilds parts of one stripe and writes them. Returns those that are lost.
    fn rebuild<'p>(&self, parts: &[&'p Part], rebuilder: &PartRebuilder) -> Result<Vec<&'p Part>, FlowError> {
        let mut lost = Vec::new();
        for rebuilt in rebuilder.rebuild(parts)? {
            if !rebuilt.is_whole() || !self.put(rebuilt.part, &rebuilt.buf)? {
                lost.push(rebuilt.part);
            }
        }
        Ok(lost)
    }

    /// Seals a plaintext under the part's header and writes it; `false` if that is not the file that the head names.
    fn put(&self, part: &Part, plain: &PartBuf) -> Result<bool, FlowError> {
        let bundle = self.contents.bundle;
        let class = bundle.head.statement.class;
        let Ok((key, _)) = bundle.keyring.open_header(&part.header[..]) else { return Ok(false) };
        let mut file = PartBuf::new(class);
        let mut sealer = PartSealer::new(&key, &part.header, &mut file, |_, _| ());
        (0..class.chunks()).for_each(|chunk| sealer.append(plain.plain(chunk)));
        if sealer.finish() != part.sha256 {
            return Ok(false);
        }
        if let Some(writer) = self.writers.get(&part.volume) {
            lock(writer).put(&part.file_name(), file.file(), part.sha256)?;
        }
        self.monitor.advance(class.file_len() as u64);
        Ok(true)
    }

    /// Writes list and heads of all volumes, and then each SHA256SUMS. Returns the folders.
    fn finish(&self) -> Result<Vec<PathBuf>, FlowError> {
        let VolumeContents { bundle, list, head, .. } = self.contents;
        let mut folders = Vec::new();
        for writer in self.writers.values() {
            let mut writer = lock(writer);
            write_index(&mut writer, list, head, &bundle.recipient)?;
            folders.push(writer.dir().to_path_buf());
        }
        for writer in self.writers.values() {
            let mut writer = lock(writer);
            writer.write_sums()?;
            read_back_small(&writer)?;
            writer.finish()?;
            if writer.shows_times() {
                self.monitor.note(&Note::new(NoteKind::Property, as_bytes(writer.dir()), SHOWS_TIMES));
            }
        }
        Ok(folders)
    }

    /// Removes all new volumes. Best effort: the drive of the target may be gone.
    fn abandon(self) {
        for writer in self.writers.into_values() {
            unlocked(writer).abandon();
        }
    }
}
