//! Unpacks a bundle: opens it, decides which parts are needed, places them in any order on all cores, and delivers the
//! files.
//!
//! A part is opened under the header from the head, never under the drive's copy. Every chunk is authenticated before
//! a byte of it is used, and every file is compared with its SHA-256. A file that is not whole is not delivered: it
//! stays in the staging folder beside the output, and the same command goes on from there, whatever ended this run.
//!
//! Not guaranteed: that the target keeps what was written to it. Only pieces that are read back are compared.

pub(crate) mod drive_rounds;
pub(crate) mod file_results;
pub(crate) mod file_writer;
pub(crate) mod part_restorer;
pub(crate) mod report;
pub(crate) mod resume;
mod target_names;
mod target_room;

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use crate::base::entry::{Entry, Kind};
use crate::base::fault::{At, IoFault};
use crate::base::monitor::{Monitor, Note};
use crate::base::path::{escape, show};
use crate::flow::bundle::open::{Bundle, open_at};
use crate::flow::drives::folders::check_is_folder;
use crate::flow::drives::mounts::lost_before;
use crate::flow::error::OutputError;
use crate::flow::unpack::drive_rounds::{Changer, place_all};
use crate::flow::unpack::file_results::{is_unproven, judge};
use crate::flow::unpack::file_writer::Extraction;
use crate::flow::unpack::part_restorer::Placed;
use crate::flow::unpack::report::{Cause, Lost, UnpackReport};
use crate::flow::unpack::resume::{adopt_earlier_run, work};
use crate::flow::unpack::target_names::{
    count_clamped, fit_to, left_behind, only_copies, report_changes, report_copies, report_metadata,
};
use crate::flow::unpack::target_room::check_room;
use crate::flow::{FlowError, Outcome};
use crate::plan::choose::FingerprintStart;
use crate::plan::names::Fitted;
use crate::plan::needed_parts::{Contents, needed_parts};
use crate::plan::select::{NotFound, select};
use crate::stage::restore::{Fate, MetadataDifferences, Staging, first_conflict};
use crate::stage::seal::Keyring;

/// What to unpack, and where to.
pub(crate) struct UnpackRequest {
    /// Drives, or folders of volumes.
    pub(crate) volumes: Vec<PathBuf>,
    /// Which bundle, if the volumes belong to several.
    pub(crate) bundle: Option<FingerprintStart>,
    /// The output folder. It is made if it does not exist, but its parent must exist.
    pub(crate) target: PathBuf,
    /// Paths of the files and folders to unpack; empty for all.
    pub(crate) only: Vec<Vec<u8>>,
    /// Whether existing files are replaced.
    pub(crate) overwrite: bool,
    /// Whether entries get other names if the target cannot hold them as packed. If not, that is an error.
    pub(crate) rename: bool,
}

/// Unpacks the one bundle on these volumes. `changer` brings more drives if those given are not enough.
pub(crate) fn unpack(
    request: &UnpackRequest,
    keyring: &Keyring,
    changer: Option<&dyn Changer>,
    monitor: &dyn Monitor,
) -> Result<UnpackReport, FlowError> {
    let mut bundle = open_at(&request.volumes, keyring, request.bundle.as_ref())?;
    let entries = bundle.read_list()?;
    unpack_opened(request, &mut bundle, chosen(entries, &request.only)?, Rounds::These(changer), monitor)
}

/// The entries that `only` asks for; all if it is empty.
///
/// # Errors
/// A usage error for the first path that is not in the bundle.
pub(crate) fn chosen(entries: Vec<Entry>, only: &[Vec<u8>]) -> Result<Vec<Entry>, FlowError> {
    select(entries, only).map_err(|NotFound(path)| {
        FlowError::Usage(format!("there is no \"{}\" in this bundle; `pouch list` shows what is", escape(&path)))
    })
}

/// Whether later drives, or a later run, can bring what is missing now.
#[derive(Clone, Copy)]
pub(crate) enum Rounds<'a> {
    /// They can: files that are not whole are kept. The changer, if there is one, brings drives during this run.
    These(Option<&'a dyn Changer>),
    /// They cannot, as in a salvage: files that are not whole are dropped.
    Last,
}

/// Unpacks these entries of an opened bundle. After an error, a target that this call made is removed if it is empty.
pub(crate) fn unpack_opened(
    request: &UnpackRequest,
    bundle: &mut Bundle,
    entries: Vec<Entry>,
    rounds: Rounds,
    monitor: &dyn Monitor,
) -> Result<UnpackReport, FlowError> {
    let is_new = make_target(&request.target)?;
    let result = fit_and_unpack(request, bundle, entries, rounds, monitor);
    if result.is_err() && is_new {
        // The system refuses to remove a folder with anything in it, such as the staging folder.
        let _ = std::fs::remove_dir(&request.target);
    }
    result
}

/// Fits the entries to the target, finds the parts they need, and unpacks. Without `--only`, all parts are read, so
/// that the report tells the state of the whole bundle.
fn fit_and_unpack(
    request: &UnpackRequest,
    bundle: &mut Bundle,
    entries: Vec<Entry>,
    rounds: Rounds,
    monitor: &dyn Monitor,
) -> Result<UnpackReport, FlowError> {
    check_outside(&request.target, bundle)?;
    let (fitted, trial) = &fit_to(&request.target, entries, request.rename, monitor)?;
    let contents = &Contents::new(&fitted.entries);
    let parts: Vec<u32> = if request.only.is_empty() {
        bundle.head.data_parts().map(|(part, _, _)| part.number).collect()
    } else {
        needed_parts(&bundle.head, &fitted.entries, contents)
    };
    Unpacking { request, fitted, trial, contents, parts: &parts, rounds, monitor }.carry_out(bundle)
}

/// Checks that the target does not lie in a volume of the bundle or in another one that was given.
fn check_outside(target: &Path, bundle: &Bundle) -> Result<(), FlowError> {
    let canonical = target.canonicalize().at("look at", target)?;
    let Some(volume) = bundle.volume_around(&canonical) else { return Ok(()) };
    let text = format!(
        "{} lies in the volume {}: files would lie open beside what is sealed",
        show(&canonical),
        show(&volume.dir)
    );
    Err(FlowError::Usage(text))
}

/// Makes the target's folder if it does not exist. Returns whether this call made it.
fn make_target(target: &Path) -> Result<bool, FlowError> {
    match std::fs::create_dir(target) {
        Ok(()) => Ok(true),
        Err(_) if target.is_dir() => Ok(false),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => check_is_folder(target).map(|()| false),
        Err(error) if error.kind() == ErrorKind::NotFound => Err(FlowError::Usage(format!(
            "{} cannot be made, for the folder it would stand in does not exist",
            show(target)
        ))),
        Err(error) => Err(error).at("create", target)?,
    }
}

/// An unpacking whose plan is made, and of which nothing is written yet.
struct Unpacking<'a> {
    request: &'a UnpackRequest,
    fitted: &'a Fitted,
    /// The folder in which the target was tried, if it could not be removed.
    trial: &'a Option<PathBuf>,
    contents: &'a Contents,
    /// Numbers of the data parts that hold bytes of the entries, ascending.
    parts: &'a [u32],
    rounds: Rounds<'a>,
    monitor: &'a dyn Monitor,
}

impl Unpacking<'_> {
    /// Places all parts and delivers what is whole. After an error the staging folder stays if a later run can use it.
    fn carry_out(&self, bundle: &mut Bundle) -> Result<UnpackReport, FlowError> {
        let target = &self.request.target;
        let mut staging = Staging::begin(target, &self.fitted.entries, &work(&bundle.head, &self.fitted.entries))?;
        if only_copies(self.fitted) {
            staging.copy_links();
        }
        let concluded = self.place(bundle, &staging);
        match concluded {
            Ok((report, fates)) => self.deliver(staging, report, &fates),
            Err(error) => {
                if !self.is_resumable(&staging, &error) {
                    let left = staging.discard();
                    self.notes_on_leftovers(left).for_each(|note| self.monitor.note(&note));
                }
                Err(error)
            }
        }
    }

    /// Places all parts in the staging folder. Returns the report so far, and the fate of each entry.
    fn place(&self, bundle: &mut Bundle, staging: &Staging) -> Result<(UnpackReport, Vec<Fate>), FlowError> {
        let extraction = Extraction::new(&self.fitted.entries, self.contents, staging);
        self.prepare(bundle, &extraction)?;
        let changer = if let Rounds::These(changer) = self.rounds { changer } else { None };
        let placed = place_all(bundle, &extraction, self.parts, changer, self.monitor)?;
        conclude(self.request, bundle, &extraction, placed)
    }

    /// Whether a later run can go on from the staging folder after this error. A bundle that breaks the format, and a
    /// defect of ours, would only fail again.
    fn is_resumable(&self, staging: &Staging, error: &FlowError) -> bool {
        let has_placed = staging.is_resumed() || !staging.placed().is_empty();
        self.has_later_rounds() && has_placed && !matches!(error.outcome(), Outcome::Hostile | Outcome::Failed)
    }

    /// Whether files that are not whole are kept for a later run.
    fn has_later_rounds(&self) -> bool {
        matches!(self.rounds, Rounds::These(_))
    }

    /// Adopts what an earlier run left, checks that all the rest has room and a free path in the target, and makes the
    /// folders.
    fn prepare(&self, bundle: &Bundle, extraction: &Extraction) -> Result<(), FlowError> {
        let staging = extraction.staging;
        if staging.is_resumed() {
            adopt_earlier_run(extraction, &bundle.head, self.monitor)?;
        }
        check_room(&self.request.target, self.fitted, extraction)?;
        self.check_no_conflict(extraction)?;
        if !staging.is_resumed() {
            staging.make_dirs(&self.fitted.entries)?;
        }
        Ok(())
    }

    /// Checks that nothing in the target has the path of an entry.
    ///
    /// # Errors
    /// [`OutputError::InTheWay`] comes before [`OutputError::Exists`]: `--overwrite` does not help against it.
    fn check_no_conflict(&self, extraction: &Extraction) -> Result<(), FlowError> {
        let Some(existing) = self.conflict(extraction, self.request.overwrite)? else { return Ok(()) };
        Err(match self.conflict(extraction, true)? {
            Some(path) => OutputError::InTheWay(path),
            None => OutputError::Exists(existing),
        }
        .into())
    }

    /// The first path in the target that is taken; `None` if all are free.
    fn conflict(&self, extraction: &Extraction, overwrite: bool) -> Result<Option<PathBuf>, IoFault> {
        let target = &self.request.target;
        let entries = &self.fitted.entries;
        let entry = first_conflict(target, entries, overwrite, |at| extraction.is_delivered(at))?;
        Ok(entry.map(|entry| target.join(entry.path.as_path())))
    }

    /// Notes on folders of this run that could not be removed: the staging folder, and the trial folder.
    fn notes_on_leftovers(&self, staging: Option<PathBuf>) -> impl Iterator<Item = Note> {
        let trial = self.trial.clone().filter(|path| path.symlink_metadata().is_ok());
        staging.into_iter().chain(trial).map(|path| left_behind(&path))
    }

    /// Makes the links, moves everything out of the staging folder, and completes the report.
    fn deliver(&self, staging: Staging, mut report: UnpackReport, fates: &[Fate]) -> Result<UnpackReport, FlowError> {
        let entries = &self.fitted.entries;
        let finished = staging.finish(entries, |at| fates[at])?;
        for (at, error) in finished.refused {
            report_refusal(entries, at, &error, &mut report);
        }
        report_changes(self.fitted, &mut report)?;
        report_copies(self.fitted, &finished.copied, &mut report);
        let lacks_parts = report.failed.is_some() || report.lost.iter().any(|lost| lost.cause.is_of_bundle());
        let is_unfinished = self.has_later_rounds() && lacks_parts;
        report.kept = is_unfinished.then(|| staging.path());
        let earlier_loss = staging.lost_before().map(|error| lost_before(&self.request.target, error));
        report.notes.extend(earlier_loss);
        let (differences, left) = staging.deliver(entries, self.request.overwrite, is_unfinished)?;
        report.otherwise = differences;
        report.notes.extend(self.notes_on_leftovers(left));
        report.clamped = count_clamped(self.fitted, |at| fates[at] != Fate::Aside);
        report_metadata(&mut report);
        Ok(report)
    }
}

/// Reports a link that the target refused. Only a hard link was counted as a delivered file.
fn report_refusal(entries: &[Entry], at: usize, error: &std::io::Error, report: &mut UnpackReport) {
    let entry = &entries[at];
    let why = format!("the target cannot hold this {}: {error}", entry.kind.word());
    report.delivered -= u64::from(matches!(entry.kind, Kind::Hardlink(_)));
    report.unproven -= u64::from(is_unproven(entries, entry));
    report.lost.push(Lost { path: entry.path.as_bytes().to_vec(), cause: Cause::Target, why: why.into() });
}

/// Makes the report on what was placed, and the fate of each entry.
///
/// # Errors
/// The target failed before a single file was whole.
fn conclude(
    request: &UnpackRequest,
    bundle: &Bundle,
    extraction: &Extraction,
    placed: Placed,
) -> Result<(UnpackReport, Vec<Fate>), FlowError> {
    let results = judge(&bundle.head, extraction, &placed.bad, placed.failed.is_some());
    let failed = match placed.failed {
        Some(fault) if results.delivered == 0 => return Err(fault.into()),
        failed => failed.map(|fault| fault.to_string()),
    };
    let fates = fates(extraction, &results.kept);
    let report = UnpackReport {
        fingerprint: bundle.head.statement.fingerprint(),
        target: request.target.clone(),
        volumes: bundle.head.statement.n,
        volumes_given: bundle.volumes.len(),
        selected: !request.only.is_empty(),
        files: results.files,
        delivered: results.delivered,
        bytes: results.bytes,
        unproven: results.unproven,
        bad_parts: placed.bad,
        mended: placed.mended,
        verdict: placed.verdict,
        margin: placed.margin,
        lost: results.lost,
        failed,
        gone: placed.gone,
        denied: placed.denied,
        kept: None,
        changes: vec![],
        otherwise: MetadataDifferences::default(),
        clamped: 0,
        renamed_in: None,
        notes: bundle.notes.iter().cloned().chain(results.notes).collect(),
    };
    Ok((report, fates))
}

/// The fate of each entry, from whether it is to be kept.
fn fates(extraction: &Extraction, kept: &[bool]) -> Vec<Fate> {
    kept.iter().enumerate().map(|(at, keep)| fate_of(extraction, at, *keep)).collect()
}

fn fate_of(extraction: &Extraction, at: usize, keep: bool) -> Fate {
    if extraction.is_delivered(at) {
        Fate::There
    } else if keep {
        Fate::Keep
    } else {
        Fate::Aside
    }
}

#[cfg(test)]
mod tests;
