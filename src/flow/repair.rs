//! Repairs a bundle: writes every volume that is damaged or lost anew, whole, into a target beside the old ones. The
//! head says what each part was. A part is sealed again under its header, and must then have the SHA-256 that the head
//! names, so that it is the same file byte for byte.
//!
//! Nothing is written unless all parts of these volumes can be had. Not guaranteed: that the target stores what it
//! took. Only the small files are read back; a check after plugging in again reads the parts.

pub(crate) mod report;
mod seal_copies;
mod target;
mod write;

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use crate::base::digest::Digest;
use crate::base::monitor::Monitor;
use crate::base::pool::side_by_side;
use crate::flow::FlowError;
use crate::flow::bundle::head_check::index_is_whole;
use crate::flow::bundle::open::{Bundle, open_at};
use crate::flow::bundle::part_finder::Finder;
use crate::flow::bundle::scan::gather;
use crate::flow::check::check;
use crate::flow::check::report::{CheckReport, VolumeState};
use crate::flow::check::survey::{Survey, whole_files};
use crate::flow::drives::unreachable::{gone_among, or_gone};
use crate::flow::error::{BundleError, DriveError, OutputError};
use crate::flow::repair::report::RepairReport;
use crate::flow::repair::target::Occupant;
use crate::flow::repair::write::{VolumeContents, write_volumes};
use crate::format::head::Part;
use crate::format::volume_number::VolumeNumber;
use crate::plan::choose::FingerprintStart;
use crate::plan::repair::{self, Verdict};
use crate::stage::seal::Keyring;
use crate::stage::volume::{self, SUMS, Volume};

/// What the user wants repaired.
pub(crate) struct RepairRequest {
    /// Drives, or the folders of volumes on them.
    pub(crate) volumes: Vec<PathBuf>,
    /// Which bundle, if there are several.
    pub(crate) bundle: Option<FingerprintStart>,
    /// The folder in which the new volumes are made.
    pub(crate) target: PathBuf,
    /// Whether the run only says what it would do.
    pub(crate) dry_run: bool,
}

/// Writes every volume anew that is not whole. If too much is lost, it writes nothing and the report says what is
/// missing.
///
/// # Errors
/// A drive is gone, or this user may not read all of a volume: whether these are to be repaired is not known.
pub(crate) fn repair(
    request: &RepairRequest,
    keyring: &Keyring,
    monitor: &dyn Monitor,
) -> Result<RepairReport, FlowError> {
    // The bundle is opened first, so that a wrong key is reported before hours of reading.
    let bundle = open_at(&request.volumes, keyring, request.bundle.as_ref())?;
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
    check_all_known(&checked, &bundle.passed_over)?;
    let mut report = RepairReport::of(to_be_written(&bundle, &bundle.volumes, &checked), &request.target);
    let mut leftovers = BTreeMap::new();
    // The target stays locked until this function returns.
    let mut _lock = None;
    if !report.volumes.is_empty() {
        _lock = Some(target::lock_target(&request.target, &bundle)?);
        report.pass_over(&finished_before(&bundle, &report, monitor)?);
        leftovers = leftovers_in(&bundle, &report, monitor)?;
        // A leftover is removed before its volume is written, so no part may be read from it.
        let folders: Vec<PathBuf> = leftovers.keys().map(|number| volume::folder(&request.target, *number)).collect();
        bundle.volumes.retain(|volume| !folders.iter().any(|folder| target::is_same_folder(&volume.dir, folder)));
    }
    look_ahead(&bundle, &checked, &mut report, monitor)?;
    if request.dry_run || report.volumes.is_empty() || !report.is_possible() {
        return Ok(report);
    }
    let contents = VolumeContents::of(&mut bundle, &checked, keyring, &report.volumes)?;
    let lengths = report.volumes.iter().flat_map(|number| contents.file_lengths(*number));
    target::check_room(&request.target, lengths, leftovers.values().sum())?;
    for number in leftovers.keys() {
        target::remove_leftover(&volume::folder(&request.target, *number))?;
    }
    let written = write_volumes(&contents, &report.volumes, &request.target, monitor)?;
    report.rebuilt = written.rebuilt;
    report.set_lost(&written.lost);
    report.written = written.folders;
    Ok(report)
}

/// Refuses volumes of which the check could not tell what they are. Volumes of other bundles may be unreadable.
fn check_all_known(checked: &CheckReport, passed_over: &[Volume]) -> Result<(), FlowError> {
    let gone = folders_in(checked, VolumeState::Gone);
    if !gone.is_empty() {
        return Err(DriveError::Gone(gone).into());
    }
    let mut denied = folders_in(checked, VolumeState::Unreadable);
    denied.retain(|folder| passed_over.iter().all(|volume| volume.dir != *folder));
    if denied.is_empty() { Ok(()) } else { Err(DriveError::Denied(denied).into()) }
}

fn folders_in(checked: &CheckReport, state: VolumeState) -> Vec<PathBuf> {
    let of_state = checked.volumes.iter().filter(|check| check.state == state);
    of_state.map(|check| check.folder.clone()).collect()
}

/// A whole volume that was found.
struct WholeVolume {
    /// The number in the name of its folder; `None` if the folder was renamed.
    named: Option<VolumeNumber>,
    files: HashMap<String, Digest>,
}

impl WholeVolume {
    /// Whether it is volume `number` of the bundle, to which the head gives these `parts`. The parts tell, whatever the
    /// name of the folder; a volume without parts is known by its name alone.
    fn stands_for(&self, number: VolumeNumber, parts: &[&Part]) -> bool {
        let has_all = parts.iter().all(|part| self.files.get(&part.file_name()) == Some(&part.sha256));
        has_all && (self.named == Some(number) || !parts.is_empty())
    }
}

/// The numbers of the bundle's volumes that are not among `volumes`, or not whole.
fn to_be_written(bundle: &Bundle, volumes: &[Volume], checked: &CheckReport) -> Vec<VolumeNumber> {
    let text = bundle.head.encode();
    let whole = side_by_side(volumes, || (), |(), volume| whole_volume(volume, bundle, &text, checked));
    let whole: Vec<WholeVolume> = whole.into_iter().flatten().collect();
    let mut parts_of: BTreeMap<VolumeNumber, Vec<&Part>> =
        VolumeNumber::all(bundle.head.statement.n).map(|number| (number, Vec::new())).collect();
    for part in &bundle.head.parts {
        parts_of.entry(part.volume).or_default().push(part);
    }
    parts_of.retain(|number, parts| !whole.iter().any(|volume| volume.stands_for(*number, parts)));
    parts_of.into_keys().collect()
}

/// The volume if the check found it whole and its list and heads are the bundle's; `head` is the text of the head.
fn whole_volume(volume: &Volume, bundle: &Bundle, head: &str, checked: &CheckReport) -> Option<WholeVolume> {
    let is_whole = checked.volumes.iter().any(|check| check.folder == volume.dir && check.state == VolumeState::Whole);
    (is_whole && index_is_whole(volume, bundle, head))
        .then(|| WholeVolume { named: volume.number(), files: whole_files(volume, checked) })
}

/// Judges what can be had before anything is written: the run begins nothing that it cannot end.
fn look_ahead(
    bundle: &Bundle,
    checked: &CheckReport,
    report: &mut RepairReport,
    monitor: &dyn Monitor,
) -> Result<(), FlowError> {
    let head = &bundle.head;
    let finder = Finder::new(bundle);
    let there: Vec<bool> = head.parts.iter().map(|part| finder.is_there(part)).collect();
    report.short = matches!(repair::judge(head, &there), Verdict::Short { .. });
    let survey = Survey::of(bundle, checked, monitor)?;
    report.verdict = survey.verdict(head);
    let unusable = head.parts.iter().zip(&survey.usable).filter(|(_, usable)| !**usable).map(|(part, _)| part);
    let lost: Vec<&Part> = unusable.filter(|part| report.volumes.contains(&part.volume)).collect();
    report.set_lost(&lost);
    Ok(())
}

/// The numbers of the volumes to be written that an earlier repair finished in the target.
fn finished_before(
    bundle: &Bundle,
    report: &RepairReport,
    monitor: &dyn Monitor,
) -> Result<Vec<VolumeNumber>, FlowError> {
    let folders = report.volumes.iter().map(|number| volume::folder(&report.target, *number));
    let finished: Vec<PathBuf> = folders.filter(|folder| looks_whole(folder) && !is_given(folder, bundle)).collect();
    if finished.is_empty() {
        return Ok(Vec::new());
    }
    let volumes = match gather(&finished) {
        // A SHA256SUMS of something else lies in these folders.
        Err(FlowError::Bundle(BundleError::NoVolume(_))) => return Ok(Vec::new()),
        volumes => volumes?,
    };
    let missing = to_be_written(bundle, &volumes, &check(&finished, monitor)?);
    Ok(report.volumes.iter().copied().filter(|number| !missing.contains(number)).collect())
}

fn is_given(folder: &Path, bundle: &Bundle) -> bool {
    bundle.volumes.iter().any(|volume| target::is_same_folder(&volume.dir, folder))
}

fn looks_whole(folder: &Path) -> bool {
    volume::read(folder).is_ok_and(|volume| volume.file(SUMS).is_some_and(|found| found.regular))
}

/// The volumes to be written of which an interrupted repair left something in the target, with its bytes.
///
/// # Errors
/// Something else stands where a volume is to be written.
fn leftovers_in(
    bundle: &Bundle,
    report: &RepairReport,
    monitor: &dyn Monitor,
) -> Result<BTreeMap<VolumeNumber, u64>, FlowError> {
    let mut leftovers = BTreeMap::new();
    for number in &report.volumes {
        let folder = volume::folder(&report.target, *number);
        match target::occupant_of(&folder, *number, bundle, monitor)? {
            Occupant::Free => {}
            Occupant::Leftover(bytes) => drop(leftovers.insert(*number, bytes)),
            Occupant::Foreign => return Err(OutputError::VolumeExists(folder).into()),
        }
    }
    Ok(leftovers)
}

#[cfg(test)]
mod tests;
