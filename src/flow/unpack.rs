//! Unpacking: open, decide what is needed, place parts in any order on all cores, deliver.
//!
//! A part is opened under the header from the head, never under the drive's copy, and every
//! chunk is authenticated before a byte of it is used; every file is then held against its
//! SHA-256. What is not whole is not delivered; it stays beside the output, and the same command
//! goes on from there, after whatever stopped it.

pub mod drive_rounds;
pub mod file_results;
pub mod file_writer;
pub mod part_restorer;
pub mod report;
pub mod resume;
mod target_names;

use std::io::ErrorKind;
use std::path::PathBuf;

use crate::base::entry::{Entry, Kind};
use crate::base::fault::At;
use crate::base::monitor::{Monitor, Note};
use crate::base::os::{self, StorageKind};
use crate::base::path::{escape, show};
use crate::flow::bundle::open::{Bundle, open_at};
use crate::flow::drives::folders::check_is_folder;
use crate::flow::drives::mounts::lost_before;
use crate::flow::error::OutputError;
use crate::flow::unpack::drive_rounds::{Changer, place_all};
use crate::flow::unpack::file_results::{FileResults, is_unproven, judge};
use crate::flow::unpack::file_writer::Extraction;
use crate::flow::unpack::part_restorer::Placed;
use crate::flow::unpack::report::{Cause, Lost, UnpackReport};
use crate::flow::unpack::resume::{adopt_earlier_run, work};
use crate::flow::unpack::target_names::{
    clamped, copies, copies_to_make, fit_to, left_behind, tell, tell_copied, tell_otherwise,
};
use crate::flow::{FlowError, Outcome};
use crate::plan::choose::FingerprintStart;
use crate::plan::names::Fitted;
use crate::plan::needed_parts::{Contents, needed_parts};
use crate::plan::select::{NotFound, select};
use crate::stage::restore::{Fate, MetadataDifferences, Staging, first_conflict};
use crate::stage::seal::Keyring;

/// What somebody wants unpacked.
pub struct UnpackRequest {
    /// Drives or volumes.
    pub volumes: Vec<PathBuf>,
    /// Which bundle, if several are there.
    pub bundle: Option<FingerprintStart>,
    /// Where to.
    pub target: PathBuf,
    /// Only these files and folders; all if empty.
    pub only: Vec<Vec<u8>>,
    /// Replace files that exist.
    pub overwrite: bool,
    /// Give other names to what the target cannot hold as it was packed.
    pub rename: bool,
}

/// Unpacks; `changer` brings more drives if those given are not enough.
pub fn unpack(
    request: &UnpackRequest,
    keyring: &Keyring,
    changer: Option<&dyn Changer>,
    monitor: &dyn Monitor,
) -> Result<UnpackReport, FlowError> {
    let mut bundle = open_at(&request.volumes, keyring, request.bundle.as_ref())?;
    let entries = bundle.read_list()?;
    unpack_opened(request, &mut bundle, chosen(entries, &request.only)?, Rounds::These(changer), monitor)
}

/// Those entries that were asked for.
pub fn chosen(entries: Vec<Entry>, only: &[Vec<u8>]) -> Result<Vec<Entry>, FlowError> {
    select(entries, only).map_err(|NotFound(path)| {
        FlowError::Usage(format!("there is no \"{}\" in this bundle; `pouch list` shows what is", escape(&path)))
    })
}

/// Whether there will be another round.
#[derive(Clone, Copy)]
pub enum Rounds<'a> {
    /// What is not whole is kept for one, and perhaps somebody brings drives.
    These(Option<&'a dyn Changer>),
    /// What is not whole now will never be.
    Last,
}

/// Unpacks these entries of an opened bundle.
pub fn unpack_opened(
    request: &UnpackRequest,
    bundle: &mut Bundle,
    entries: Vec<Entry>,
    rounds: Rounds,
    monitor: &dyn Monitor,
) -> Result<UnpackReport, FlowError> {
    let made = make_target(&request.target)?;
    let result = fit_and_unpack(request, bundle, entries, rounds, monitor);
    if result.is_err() && made {
        // Unless something was placed already.
        let _ = std::fs::remove_dir(&request.target);
    }
    result
}

fn fit_and_unpack(
    request: &UnpackRequest,
    bundle: &mut Bundle,
    entries: Vec<Entry>,
    rounds: Rounds,
    monitor: &dyn Monitor,
) -> Result<UnpackReport, FlowError> {
    outside(&request.target, bundle)?;
    let (fitted, trial) = &fit_to(&request.target, entries, request.rename, monitor)?;
    let contents = &Contents::new(&fitted.entries);
    let parts: Vec<u32> = match request.only.is_empty() {
        true => bundle.head.data_parts().map(|(part, _, _)| part.number).collect(),
        false => needed_parts(&bundle.head, &fitted.entries, contents),
    };
    Unpacking { request, fitted, trial, contents, parts: &parts, rounds, monitor }.carry_out(bundle)
}

/// The target must not lie in a volume.
fn outside(target: &std::path::Path, bundle: &Bundle) -> Result<(), FlowError> {
    let canonical = target.canonicalize().at("look at", target)?;
    let Some(volume) = bundle.volume_around(&canonical) else { return Ok(()) };
    let text = format!(
        "{} lies in the volume {}: files would lie open beside what is sealed",
        show(&canonical),
        show(&volume.dir)
    );
    Err(FlowError::Usage(text))
}

/// Makes the target's folder if it is not there; whether it was made.
fn make_target(target: &std::path::Path) -> Result<bool, FlowError> {
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

/// What is to be done, once it is known.
struct Unpacking<'a> {
    request: &'a UnpackRequest,
    fitted: &'a Fitted,
    /// What is left of trying the target.
    trial: &'a Option<PathBuf>,
    contents: &'a Contents,
    parts: &'a [u32],
    rounds: Rounds<'a>,
    monitor: &'a dyn Monitor,
}

impl Unpacking<'_> {
    fn carry_out(&self, bundle: &mut Bundle) -> Result<UnpackReport, FlowError> {
        let target = &self.request.target;
        let mut staging = Staging::begin(target, &self.fitted.entries, &work(&bundle.head, &self.fitted.entries))?;
        if copies(self.fitted) {
            staging.copy_links();
        }
        let extraction = Extraction::new(&self.fitted.entries, self.contents, &staging);
        let changer = if let Rounds::These(changer) = self.rounds { changer } else { None };
        let placed = self
            .prepare(bundle, &extraction)
            .and_then(|()| place_all(bundle, &extraction, self.parts, changer, self.monitor));
        let concluded = placed.and_then(|placed| conclude(self.request, bundle, &extraction, placed));
        let can_go_on = self.has_more() && (staging.is_resumed() || !staging.placed().is_empty());
        match concluded {
            Ok((report, fates)) => self.deliver(staging, report, &fates),
            Err(error) => {
                // What is placed stays for the next run, unless it breaks the format.
                let harmless = !matches!(error.outcome(), Outcome::Hostile | Outcome::Failed);
                if !(can_go_on && harmless) {
                    let left = staging.discard();
                    self.left(left).for_each(|note| self.monitor.note(&note));
                }
                Err(error)
            }
        }
    }

    fn has_more(&self) -> bool {
        matches!(self.rounds, Rounds::These(_))
    }

    /// Folders, what an earlier run left, and whether all that is still to come has a place.
    fn prepare(&self, bundle: &Bundle, extraction: &Extraction) -> Result<(), FlowError> {
        let (target, entries) = (&self.request.target, &self.fitted.entries);
        let staging = extraction.staging;
        if staging.is_resumed() {
            adopt_earlier_run(extraction, &bundle.head, self.monitor)?;
        }
        self.check_room(extraction)?;
        let conflict = |overwrite| {
            let entry = first_conflict(target, entries, overwrite, |at| extraction.is_delivered(at))?;
            Ok::<_, FlowError>(entry.map(|entry| target.join(entry.path.as_path())))
        };
        if let Some(path) = conflict(self.request.overwrite)? {
            // What no option helps against is named first.
            return Err(FlowError::Output(match conflict(true)? {
                Some(path) => OutputError::InTheWay(path),
                None => OutputError::Exists(path),
            }));
        }
        if !staging.is_resumed() {
            staging.make_dirs(entries)?;
        }
        Ok(())
    }
}

impl Unpacking<'_> {
    /// Whether all that is still to come has room, in bytes and in number.
    fn check_room(&self, extraction: &Extraction) -> Result<(), FlowError> {
        let (target, entries) = (&self.request.target, &self.fitted.entries);
        let copies = copies_to_make(self.fitted, |at| extraction.is_delivered(at));
        let open = |at: &usize| !extraction.is_whole(*at) && !extraction.is_unverified(*at);
        let bytes: u64 = (0..entries.len()).filter(open).map(|at| self.fitted.room_of(&entries[at])).sum();
        let (needed, room) = (bytes.saturating_add(copies.bytes), os::room(target).at("look at", target)?);
        if needed > room.free {
            return Err(FlowError::Output(OutputError::NoRoom { target: target.clone(), needed, free: room.free }));
        }
        let Some(free) = os::files_left(target).at("look at", target)? else { return Ok(()) };
        let storing = os::storage_kind(target).at("look at", target)?;
        // A file system in memory counts every name.
        let counts_names = storing == StorageKind::Memory;
        // Drivers of FAT and the like have no such limit, and tell how many clusters are free.
        let counts_clusters = storing == StorageKind::Program;
        let is_to_make = |at: &usize| match &entries[*at].kind {
            // Those are made already, where a run goes on.
            Kind::Dir => !extraction.staging.is_resumed(),
            Kind::File if counts_clusters && entries[*at].size == 0 => false,
            Kind::File | Kind::Symlink(_) => open(at),
            Kind::Hardlink(_) => counts_names && !extraction.is_delivered(*at),
        };
        let in_all = (0..entries.len()).filter(is_to_make).count() as u64;
        let record = u64::from(!self.fitted.changes.is_empty());
        let copies = if counts_names { 0 } else { copies.files };
        let needed = in_all + copies + record + Staging::LATER;
        if needed > free {
            return Err(FlowError::Output(OutputError::NoFiles { target: target.clone(), needed, free }));
        }
        Ok(())
    }
}

/// The report on what was placed, and what is to become of each entry.
///
/// # Errors
/// The target failed before a single file was whole.
fn conclude(
    request: &UnpackRequest,
    bundle: &Bundle,
    extraction: &Extraction,
    placed: Placed,
) -> Result<(UnpackReport, Vec<Fate>), FlowError> {
    let Placed { bad, mended, verdict: can, margin, failed, gone, denied } = placed;
    let FileResults { kept, lost, mut notes, files, delivered, bytes, unproven } =
        judge(&bundle.head, extraction, &bad, failed.is_some());
    let failed = match failed {
        Some(fault) if delivered == 0 => return Err(fault.into()),
        failed => failed.map(|fault| fault.to_string()),
    };
    notes.splice(0..0, bundle.notes.iter().cloned());
    let report = UnpackReport {
        fingerprint: bundle.head.statement.fingerprint(),
        target: request.target.clone(),
        volumes: bundle.head.statement.n,
        volumes_given: bundle.volumes.len(),
        selected: !request.only.is_empty(),
        files,
        delivered,
        bytes,
        unproven,
        bad_parts: bad,
        mended,
        verdict: can,
        margin,
        lost,
        failed,
        gone,
        denied,
        kept: None,
        changes: vec![],
        otherwise: MetadataDifferences::default(),
        clamped: 0,
        renamed_in: None,
        notes,
    };
    let fate = |(at, keep): (usize, bool)| match keep {
        _ if extraction.is_delivered(at) => Fate::There,
        true => Fate::Keep,
        false => Fate::Aside,
    };
    Ok((report, kept.into_iter().enumerate().map(fate).collect()))
}

impl Unpacking<'_> {
    /// What is said of what could not be removed.
    fn left(&self, staging: Option<PathBuf>) -> impl Iterator<Item = Note> {
        let there = |path: &PathBuf| path.symlink_metadata().is_ok();
        staging.into_iter().chain(self.trial.clone().filter(there)).map(|path| left_behind(&path))
    }

    /// Links, then everything out of the staging folder.
    fn deliver(&self, staging: Staging, mut report: UnpackReport, fates: &[Fate]) -> Result<UnpackReport, FlowError> {
        let finished = staging.finish(&self.fitted.entries, |at| fates[at])?;
        for (at, error) in finished.refused {
            let entry = &self.fitted.entries[at];
            let why = format!("the target cannot hold this {}: {error}", entry.kind.word());
            report.delivered -= u64::from(matches!(entry.kind, Kind::Hardlink(_)));
            report.unproven -= u64::from(is_unproven(&self.fitted.entries, entry));
            report.lost.push(Lost { path: entry.path.as_bytes().to_vec(), cause: Cause::Target, why: why.into() });
        }
        tell(self.fitted, &mut report)?;
        tell_copied(self.fitted, &finished.copied, &mut report);
        let unfinished =
            self.has_more() && (report.failed.is_some() || report.lost.iter().any(|lost| lost.cause.is_of_bundle()));
        report.kept = unfinished.then(|| staging.path());
        let earlier = staging.lost_before().map(|error| lost_before(&self.request.target, error));
        report.notes.extend(earlier);
        let left;
        (report.otherwise, left) = staging.deliver(&self.fitted.entries, self.request.overwrite, unfinished)?;
        report.notes.extend(self.left(left));
        report.clamped = clamped(self.fitted, |at| fates[at] != Fate::Aside);
        tell_otherwise(&mut report);
        Ok(report)
    }
}
