//! Unpacking: open, decide what is needed, place parts in any order on all cores, deliver.
//!
//! A part is opened under the header from the head, never under the drive's copy, and every
//! chunk is authenticated before a byte of it is used; every file is then held against its
//! SHA-256. What is not whole is not delivered.

use std::path::PathBuf;

use crate::base::entry::{Entry, Kind};
use crate::base::fault::At;
use crate::base::monitor::{Monitor, Note, NoteKind};
use crate::base::os;
use crate::base::path::{escape, show};
use crate::flow::FlowError;
use crate::flow::open::{Bundle, gather, open};
use crate::flow::parts::{Placed, place_parts};
use crate::flow::place::Site;
use crate::flow::received::{Cause, Lost, UnpackReport};
use crate::flow::report::ListReport;
use crate::flow::verdict::{Verdict, judge};
use crate::plan::select::{NotFound, select};
use crate::plan::want::{Contents, needed_parts};
use crate::stage::restore::{Staging, first_conflict};
use crate::stage::seal::Keyring;

/// What somebody wants unpacked.
pub struct Request {
    /// Drives or volumes.
    pub volumes: Vec<PathBuf>,
    /// Where to.
    pub target: PathBuf,
    /// Only these files and folders; all if empty.
    pub only: Vec<Vec<u8>>,
    /// Replace files that exist.
    pub overwrite: bool,
}

/// What a bundle holds.
pub fn list(volumes: &[PathBuf], keyring: &Keyring) -> Result<ListReport, FlowError> {
    let mut bundle = open(gather(volumes)?, keyring)?;
    let entries = bundle.read_list()?;
    Ok(ListReport { fingerprint: bundle.head.statement.fingerprint(), entries, notes: bundle.notes })
}

/// Unpacks.
pub fn unpack(request: &Request, keyring: &Keyring, monitor: &dyn Monitor) -> Result<UnpackReport, FlowError> {
    let mut bundle = open(gather(&request.volumes)?, keyring)?;
    let entries = bundle.read_list()?;
    unpack_opened(request, &bundle, &chosen(entries, &request.only)?, monitor)
}

/// Those entries that were asked for.
pub fn chosen(entries: Vec<Entry>, only: &[Vec<u8>]) -> Result<Vec<Entry>, FlowError> {
    select(entries, only).map_err(|NotFound(path)| {
        FlowError::Usage(format!("there is no \"{}\" in this bundle; `pouch list` shows what is", escape(&path)))
    })
}

/// Unpacks these entries of an opened bundle.
pub fn unpack_opened(
    request: &Request,
    bundle: &Bundle,
    entries: &[Entry],
    monitor: &dyn Monitor,
) -> Result<UnpackReport, FlowError> {
    let contents = Contents::new(entries);
    let parts = match request.only.is_empty() {
        true => bundle.head.data_parts().map(|(part, _, _)| part.number).collect(),
        false => needed_parts(&bundle.head, entries, &contents),
    };
    let made = make_target(&request.target)?;
    let result = into_target(request, bundle, entries, &contents, &parts, monitor);
    if result.is_err() && made {
        let _ = std::fs::remove_dir(&request.target);
    }
    result
}

/// Makes the target's folder if it is not there; whether it was made.
fn make_target(target: &std::path::Path) -> Result<bool, FlowError> {
    match std::fs::create_dir(target) {
        Ok(()) => Ok(true),
        Err(_) if target.is_dir() => Ok(false),
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
            Err(FlowError::Usage(format!("{} is no folder", show(target))))
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Err(FlowError::Usage(format!(
            "{} cannot be made, for the folder it would stand in does not exist",
            show(target)
        ))),
        Err(error) => Err(error).at("create", target)?,
    }
}

fn into_target(
    request: &Request,
    bundle: &Bundle,
    entries: &[Entry],
    contents: &Contents,
    parts: &[u32],
    monitor: &dyn Monitor,
) -> Result<UnpackReport, FlowError> {
    let target = request.target.canonicalize().at("look at", &request.target)?;
    if let Some(volume) = bundle.volume_around(&target) {
        let text = format!(
            "{} lies in the volume {}: files would lie open beside what is sealed",
            show(&target),
            show(&volume.dir)
        );
        return Err(FlowError::Usage(text));
    }
    let needed: u64 = entries.iter().filter(|entry| entry.kind == Kind::File).map(Entry::stored_size).sum();
    let room = os::room(&request.target).at("look at", &request.target)?;
    if needed > room.free {
        return Err(FlowError::NoTargetRoom { target: request.target.clone(), needed, free: room.free });
    }
    if let Some(entry) = first_conflict(&request.target, entries, request.overwrite)? {
        let path = request.target.join(entry.path.as_path());
        return Err(if request.overwrite { FlowError::InTheWay(path) } else { FlowError::Exists(path) });
    }
    let staging = Staging::begin(&request.target, entries)?;
    let site = Site::new(entries, contents, &staging);
    let placed =
        staging.make_dirs(entries).map_err(FlowError::from).and_then(|()| place_parts(bundle, &site, parts, monitor));
    let concluded = placed.and_then(|placed| conclude(request, bundle, &site, placed));
    drop(site);
    match concluded {
        Ok((mut report, kept)) => {
            deliver(staging, entries, request.overwrite, &mut report, kept)?;
            Ok(report)
        }
        Err(error) => {
            staging.discard();
            Err(error)
        }
    }
}

/// The report on what was placed, and which entries are to be kept.
///
/// # Errors
/// The target failed before a single file was whole.
fn conclude(
    request: &Request,
    bundle: &Bundle,
    site: &Site,
    placed: Placed,
) -> Result<(UnpackReport, Vec<bool>), FlowError> {
    let Placed { bad, mended, verdict: can, margin, failed } = placed;
    let Verdict { kept, lost, mut notes, files, delivered, bytes } = judge(&bundle.head, site, &bad, failed.is_some());
    let failed = match failed {
        Some(fault) if delivered == 0 => return Err(fault.into()),
        failed => failed.map(|fault| fault.to_string()),
    };
    notes.splice(0..0, bundle.notes.iter().cloned());
    if site.has_plain_files() {
        let text = "the target cannot keep modes or times of files; contents are not touched by that";
        notes.push(Note::new(NoteKind::Property, crate::base::path::as_bytes(&request.target), text));
    }
    let report = UnpackReport {
        fingerprint: bundle.head.statement.fingerprint(),
        target: request.target.clone(),
        volumes: bundle.head.statement.n,
        volumes_given: bundle.volumes.len(),
        selected: !request.only.is_empty(),
        files,
        delivered,
        bytes,
        bad_parts: bad,
        mended,
        verdict: can,
        margin,
        lost,
        failed,
        notes,
    };
    Ok((report, kept))
}

/// Links, then everything out of the staging folder.
fn deliver(
    staging: Staging,
    entries: &[Entry],
    overwrite: bool,
    report: &mut UnpackReport,
    kept: Vec<bool>,
) -> Result<(), FlowError> {
    let refused = match staging.finish(entries, |at| kept[at]) {
        Ok(refused) => refused,
        Err(fault) => {
            staging.discard();
            return Err(fault.into());
        }
    };
    for (at, error) in refused {
        let entry = &entries[at];
        let why = format!("the target cannot hold this {}: {error}", entry.kind.word());
        report.delivered -= u64::from(matches!(entry.kind, Kind::Hardlink(_)));
        report.lost.push(Lost { path: entry.path.as_bytes().to_vec(), cause: Cause::Target, why });
    }
    let plain = staging.deliver(entries, overwrite)?;
    if plain > 0 {
        let text = format!("{plain} folders could not be given their mode or time");
        report.notes.push(Note::new(NoteKind::Property, crate::base::path::as_bytes(&report.target), text));
    }
    Ok(())
}
