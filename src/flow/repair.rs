//! Repairing: volumes that are damaged or lost are written anew, whole, beside the old. What a
//! part was is known from the head: it is sealed again under its header, and must then have the
//! SHA-256 that the head names, so it is the same file, byte for byte.

pub mod report;
mod seal_copies;
mod target;

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use crate::base::digest::{Digest, sha256};
use crate::base::monitor::{Monitor, Note, NoteKind, Phase};
use crate::base::path::as_bytes;
use crate::base::pool::{lock, side_by_side, unlocked};
use crate::flow::FlowError;
use crate::flow::bundle::head_check::index_is_whole;
use crate::flow::bundle::index_files::{Sealable, head_of, list_of, new_volume, write_index};
use crate::flow::bundle::open::Bundle;
use crate::flow::bundle::part_finder::{Finder, Loaded};
use crate::flow::bundle::part_rebuilder::{PartRebuilder, rebuild_groups};
use crate::flow::bundle::scan::gather;
use crate::flow::check::check;
use crate::flow::check::report::{CheckReport, VolumeCheck, VolumeState};
use crate::flow::check::survey::{Survey, opened, whole_files};
use crate::flow::drives::mounts::SHOWS_TIMES;
use crate::flow::drives::mounts::lost_before;
use crate::flow::drives::read_back::read_back_small;
use crate::flow::drives::unreachable::{gone_among, or_gone};
use crate::flow::error::{BundleError, DriveError, OutputError};
use crate::flow::repair::report::RepairReport;
use crate::flow::repair::seal_copies::SealCopies;
use crate::flow::repair::target::Occupant;
use crate::format::head::Part;
use crate::format::part::PartBuf;
use crate::plan::choose::FingerprintStart;
use crate::plan::repair::{self, Verdict};
use crate::stage::seal::Keyring;
use crate::stage::stream::PartSealer;
use crate::stage::volume::{self, SUMS, Volume, Writer};

/// What somebody wants repaired.
pub struct RepairRequest {
    /// Drives or volumes.
    pub volumes: Vec<PathBuf>,
    /// Which bundle, if several are there.
    pub bundle: Option<FingerprintStart>,
    /// Where the new volumes go.
    pub target: PathBuf,
    /// Only say what would be done.
    pub dry_run: bool,
}

/// Writes every volume anew that is not whole.
///
/// # Errors
/// Also where a drive is gone that something is missing of: it may have to be repaired or not.
pub fn repair(request: &RepairRequest, keyring: &Keyring, monitor: &dyn Monitor) -> Result<RepairReport, FlowError> {
    // A wrong key is said before hours of reading.
    let bundle = opened(&request.volumes, keyring, request.bundle.as_ref())?;
    let volumes = bundle.volumes.clone();
    let report = repair_opened(request, bundle, keyring, monitor).map_err(|error| or_gone(error, &volumes))?;
    let gone = if report.is_possible() { Vec::new() } else { gone_among(&volumes) };
    if gone.is_empty() { Ok(report) } else { Err(FlowError::Drive(DriveError::Gone(gone))) }
}

fn repair_opened(
    request: &RepairRequest,
    mut bundle: Bundle,
    keyring: &Keyring,
    monitor: &dyn Monitor,
) -> Result<RepairReport, FlowError> {
    let checked = check(&request.volumes, monitor)?;
    let gone = checked.volumes.iter().filter(|check| check.state == VolumeState::Gone);
    let gone: Vec<PathBuf> = gone.map(|check| check.folder.clone()).collect();
    if !gone.is_empty() {
        return Err(FlowError::Drive(DriveError::Gone(gone)));
    }
    let is_other = |folder: &Path| bundle.passed_over.iter().any(|volume| volume.dir == folder);
    let unread =
        checked.volumes.iter().filter(|check| check.state == VolumeState::Unreadable && !is_other(&check.folder));
    let unread: Vec<PathBuf> = unread.map(|check| check.folder.clone()).collect();
    if !unread.is_empty() {
        // Whether they are to be repaired is not known.
        return Err(FlowError::Drive(DriveError::Denied(unread)));
    }
    let mut report = RepairReport {
        volumes: to_be_written(&bundle, &bundle.volumes, &checked),
        target: request.target.clone(),
        verdict: Verdict::Complete,
        short: false,
        rebuilt: 0,
        lost: Vec::new(),
        lost_parity: Vec::new(),
        written: Vec::new(),
        already: Vec::new(),
    };
    let (mut leftovers, mut _lock) = (BTreeMap::new(), None);
    if !report.volumes.is_empty() {
        _lock = Some(target::take(&request.target, &bundle)?);
        pass_over_finished(&bundle, &mut report, monitor)?;
        leftovers = leftovers_in(&mut bundle, &report, monitor)?;
    }
    look_ahead(&bundle, &checked, &mut report, monitor)?;
    if request.dry_run || report.volumes.is_empty() || !report.is_possible() {
        return Ok(report);
    }
    let (list, list_hash) = list_of(&bundle.read_list()?, bundle.head.statement.tar)?;
    if list_hash != bundle.head.statement.list_hash {
        return Err(FlowError::Defect("the list is not written as it was read".into()));
    }
    let seals = SealCopies::of(&bundle, &checked, keyring, &report.volumes)?;
    let new = New { bundle: &bundle, seals, list, head: head_of(&bundle.head)? };
    let lengths = report.volumes.iter().flat_map(|number| new.lengths(*number));
    target::check_room(&request.target, lengths, leftovers.values().sum())?;
    for number in leftovers.keys() {
        target::clear(&volume::folder(&request.target, *number))?;
    }
    write(&new, &mut report, monitor)?;
    Ok(report)
}

/// Numbers of the volumes that none of these is, whole.
fn to_be_written(bundle: &Bundle, volumes: &[Volume], checked: &CheckReport) -> Vec<u16> {
    let mut of: BTreeMap<u16, Vec<&Part>> = (1..=bundle.head.statement.n).map(|number| (number, Vec::new())).collect();
    for part in &bundle.head.parts {
        of.entry(part.volume).or_default().push(part);
    }
    let text = bundle.head.encode();
    let whole = side_by_side(volumes, || (), |(), volume| whole(volume, bundle, &text, checked));
    let is_there = |number: u16, parts: &[&Part]| {
        volumes.iter().zip(&whole).any(|(volume, sums)| {
            let Some(sums) = sums else { return false };
            let named = volume.number() == Some(number);
            let listed = parts.iter().all(|part| sums.get(&part.file_name()) == Some(&part.sha256));
            listed && (named || !parts.is_empty())
        })
    };
    of.into_iter().filter(|(number, parts)| !is_there(*number, parts)).map(|(number, _)| number).collect()
}

/// The files of a volume of this bundle that is whole.
fn whole(volume: &Volume, bundle: &Bundle, head: &str, checked: &CheckReport) -> Option<HashMap<String, Digest>> {
    let is_whole = |check: &VolumeCheck| check.folder == volume.dir && check.state == VolumeState::Whole;
    let whole = checked.volumes.iter().any(is_whole) && index_is_whole(volume, bundle, head);
    whole.then(|| whole_files(volume, checked))
}

/// What can be had, before anything is written: nothing is begun that cannot be ended.
fn look_ahead(
    bundle: &Bundle,
    checked: &CheckReport,
    report: &mut RepairReport,
    monitor: &dyn Monitor,
) -> Result<(), FlowError> {
    let (head, finder) = (&bundle.head, Finder::new(bundle));
    let there: Vec<bool> = head.parts.iter().map(|part| finder.is_there(part)).collect();
    report.short = matches!(repair::judge(head, &there), Verdict::Short { .. });
    let survey = Survey::of(bundle, checked, monitor)?;
    report.verdict = survey.verdict(head);
    let lost = head.parts.iter().zip(&survey.usable).filter(|(_, usable)| !**usable).map(|(part, _)| part);
    report.loses(&lost.filter(|part| report.volumes.contains(&part.volume)).collect::<Vec<_>>());
    Ok(())
}

/// Takes those volumes off the list that an earlier repairing finished in the target.
fn pass_over_finished(bundle: &Bundle, report: &mut RepairReport, monitor: &dyn Monitor) -> Result<(), FlowError> {
    let folders = report.volumes.iter().map(|number| volume::folder(&report.target, *number));
    let given = |folder: &Path| bundle.volumes.iter().any(|volume| target::same(&volume.dir, folder));
    let looks_whole =
        |folder: &Path| volume::read(folder).is_ok_and(|volume| volume.file(SUMS).is_some_and(|found| found.regular));
    let finished: Vec<PathBuf> = folders.filter(|folder| looks_whole(folder) && !given(folder.as_path())).collect();
    if finished.is_empty() {
        return Ok(());
    }
    let volumes = match gather(&finished) {
        // A SHA256SUMS of something else.
        Err(FlowError::Bundle(BundleError::NoVolume(_))) => return Ok(()),
        volumes => volumes?,
    };
    let missing = to_be_written(bundle, &volumes, &check(&finished, monitor)?);
    let done = |number: &u16| !missing.contains(number);
    let folders = report.volumes.iter().filter(|number| done(number));
    report.already = folders.map(|number| volume::folder(&report.target, *number)).collect();
    report.volumes.retain(|number| !done(number));
    Ok(())
}

/// What an interrupted repairing left of the volumes to be written, in bytes. None of it is read
/// from, for it goes before they are written.
fn leftovers_in(
    bundle: &mut Bundle,
    report: &RepairReport,
    monitor: &dyn Monitor,
) -> Result<BTreeMap<u16, u64>, FlowError> {
    let mut leftovers = BTreeMap::new();
    for number in &report.volumes {
        let folder = volume::folder(&report.target, *number);
        match target::standing(&folder, *number, bundle, monitor)? {
            Occupant::Free => {}
            Occupant::Leftover(bytes) => drop(leftovers.insert(*number, bytes)),
            Occupant::Foreign => return Err(FlowError::Output(OutputError::VolumeExists(folder))),
        }
    }
    let left: Vec<PathBuf> = leftovers.keys().map(|number| volume::folder(&report.target, *number)).collect();
    bundle.volumes.retain(|volume| !left.iter().any(|folder| target::same(&volume.dir, folder)));
    Ok(leftovers)
}

/// What volumes are made of.
struct New<'a> {
    bundle: &'a Bundle,
    seals: SealCopies,
    list: Sealable,
    head: Sealable,
}

impl New<'_> {
    /// Lengths of all files of a volume.
    fn lengths(&self, number: u16) -> impl Iterator<Item = u64> {
        let head = &self.bundle.head;
        let parts = head.parts.iter().filter(|part| part.volume == number).count();
        let seals = self.seals.for_volume(number).map(|(_, bytes)| bytes.len() as u64);
        let index = [self.list.file_len(), self.head.file_len(), self.head.file_len()];
        // A line of SHA256SUMS takes up to 78 bytes; there are six files beside the parts.
        let sums = (parts as u64 + 6) * 80;
        let parts = std::iter::repeat_n(head.statement.class.file_len() as u64, parts);
        parts.chain(seals).chain(index).chain([sums])
    }
}

fn write(new: &New, report: &mut RepairReport, monitor: &dyn Monitor) -> Result<(), FlowError> {
    let mut writers = BTreeMap::new();
    let result = write_all(new, report, &mut writers, monitor);
    if result.is_err() || !report.is_possible() {
        writers.into_values().for_each(|writer| {
            unlocked(writer).abandon();
        });
        report.written.clear();
    }
    result
}

fn write_all(
    new: &New,
    report: &mut RepairReport,
    writers: &mut BTreeMap<u16, Mutex<Writer>>,
    monitor: &dyn Monitor,
) -> Result<(), FlowError> {
    let bundle = new.bundle;
    for number in &report.volumes {
        let writer = new_volume(&report.target, *number)?;
        if let Some(error) = writer.forget_earlier_loss() {
            monitor.note(&lost_before(&report.target, &error));
        }
        let writer = writers.entry(*number).or_insert(Mutex::new(writer));
        for (name, bytes) in new.seals.for_volume(*number) {
            lock(writer).put(name, bytes, sha256(bytes))?;
        }
    }
    let wanted: Vec<&Part> = bundle.head.parts.iter().filter(|part| writers.contains_key(&part.volume)).collect();
    let class = bundle.head.statement.class;
    monitor.phase(Phase::Repairing, wanted.len() as u64 * class.file_len() as u64);
    let (rebuilt, lost) = PartCopier { bundle, writers, monitor }.write(&wanted)?;
    report.rebuilt = rebuilt;
    report.loses(&lost);
    if !report.is_possible() {
        return Ok(());
    }
    for writer in writers.values_mut() {
        let writer = writer.get_mut().unwrap_or_else(|poisoned| poisoned.into_inner());
        write_index(writer, &new.list, &new.head, &bundle.recipient)?;
        report.written.push(writer.dir().to_path_buf());
    }
    for writer in writers.values() {
        let mut writer = lock(writer);
        writer.write_sums()?;
        read_back_small(&writer)?;
        writer.finish()?;
        if writer.shows_times() {
            monitor.note(&Note::new(NoteKind::Property, as_bytes(writer.dir()), SHOWS_TIMES));
        }
    }
    Ok(())
}

/// Brings parts to their volumes: found ones as they are, others rebuilt.
struct PartCopier<'a> {
    bundle: &'a Bundle,
    writers: &'a BTreeMap<u16, Mutex<Writer>>,
    monitor: &'a dyn Monitor,
}

impl PartCopier<'_> {
    /// How many were rebuilt, and which are lost.
    fn write<'a>(&self, wanted: &[&'a Part]) -> Result<(usize, Vec<&'a Part>), FlowError> {
        let (head, finder) = (&self.bundle.head, Finder::new(self.bundle));
        let class = head.statement.class;
        let copied = side_by_side(
            wanted,
            || PartBuf::new(class),
            |buf, part| {
                if self.monitor.cancelled() {
                    return Err(FlowError::Cancelled);
                }
                match finder.load(part, buf)? {
                    Loaded::Whole => self.put(part, buf).map(|same| (!same).then_some(*part)),
                    _ => Ok(Some(*part)),
                }
            },
        );
        let mut hurt: BTreeMap<u32, Vec<&'a Part>> = BTreeMap::new();
        for part in copied {
            if let Some(part) = part? {
                hurt.entry(part.stripe.map_or(part.number, |(stripe, _)| stripe)).or_default().push(part);
            }
        }
        let rebuilder = PartRebuilder::new(head, &finder);
        let groups = rebuild_groups(&hurt, class);
        let mended = side_by_side(&groups, || (), |(), parts| self.rebuild(parts, &rebuilder));
        let (mut rebuilt, mut lost) = (0, Vec::new());
        for group in mended {
            let (done, failed) = group?;
            rebuilt += done;
            lost.extend(failed);
        }
        lost.sort_by_key(|part| part.number);
        Ok((rebuilt, lost))
    }

    /// Rebuilds parts of one stripe and writes them. Returns how many, and those that are lost.
    fn rebuild<'a>(&self, parts: &[&'a Part], rebuilder: &PartRebuilder) -> Result<(usize, Vec<&'a Part>), FlowError> {
        let mut lost = Vec::new();
        for mut rebuilt in rebuilder.rebuild(parts)? {
            if !rebuilt.is_whole() || !self.put(rebuilt.part, &mut rebuilt.buf)? {
                lost.push(rebuilt.part);
            }
        }
        Ok((parts.len() - lost.len(), lost))
    }

    /// Seals a part's plaintext as it was and writes it; `false` if it does not become the file
    /// that the head names.
    fn put(&self, part: &Part, buf: &mut PartBuf) -> Result<bool, FlowError> {
        let class = self.bundle.head.statement.class;
        let Ok((key, _)) = self.bundle.keyring.open_header(&part.header[..]) else { return Ok(false) };
        let mut file = PartBuf::new(class);
        let mut sealer = PartSealer::new(&key, &part.header, &mut file, |_, _| ());
        (0..class.chunks()).for_each(|chunk| sealer.append(buf.plain(chunk)));
        if sealer.finish() != part.sha256 {
            return Ok(false);
        }
        if let Some(writer) = self.writers.get(&part.volume) {
            lock(writer).put(&part.file_name(), file.file(), part.sha256)?;
        }
        self.monitor.advance(class.file_len() as u64);
        Ok(true)
    }
}
