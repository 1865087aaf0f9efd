//! Unpacking: open, decide what is needed, place parts in any order on all cores, deliver.
//!
//! A part is opened under the header from the head, never under the drive's copy, and every
//! chunk is authenticated before a byte of it is used; every file is then held against its
//! SHA-256. What is not whole is not delivered.

use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::base::entry::{Entry, Kind};
use crate::base::fault::{At, IoFault};
use crate::base::monitor::{Monitor, Note, NoteKind, Phase};
use crate::base::os;
use crate::base::path::{escape, show};
use crate::base::pool::{Stop, lock, unlocked, workers};
use crate::flow::FlowError;
use crate::flow::find::{Finder, Loaded};
use crate::flow::open::{Bundle, gather, open};
use crate::flow::place::{Site, Worker};
use crate::flow::report::{BadPart, Cause, ListReport, Lost, UnpackReport};
use crate::flow::verdict::{Verdict, judge};
use crate::format::FormatError;
use crate::format::head::{Part, PartKind};
use crate::format::part::{Lead, PartBuf};
use crate::plan::select::{NotFound, select};
use crate::plan::want::{Contents, needed_parts};
use crate::stage::compress::{DecodeError, Decompressor};
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
    let entries = select(entries, &request.only).map_err(|NotFound(path)| {
        FlowError::Usage(format!("there is no \"{}\" in this bundle; `pouch list` shows what is", escape(&path)))
    })?;
    let contents = Contents::new(&entries);
    let parts = match request.only.is_empty() {
        true => bundle.head.data_parts().map(|(part, _, _)| part.number).collect(),
        false => needed_parts(&bundle.head, &entries, &contents),
    };
    let made = make_target(&request.target)?;
    let result = into_target(request, &bundle, &entries, &contents, &parts, monitor);
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
    if let Some(volume) =
        bundle.volumes.iter().find(|volume| volume.dir.canonicalize().is_ok_and(|dir| target.starts_with(dir)))
    {
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

/// What came of placing parts.
struct Placed {
    /// Parts that could not be used whole.
    bad: Vec<BadPart>,
    /// Why the target took no more: what was placed whole by then is delivered all the same.
    failed: Option<IoFault>,
}

/// Opens and places all `parts`.
fn place_parts(bundle: &Bundle, site: &Site, parts: &[u32], monitor: &dyn Monitor) -> Result<Placed, FlowError> {
    let class = bundle.head.statement.class;
    monitor.phase(Phase::Unpacking, parts.len() as u64 * class.file_len() as u64);
    let finder = Finder::new(bundle);
    let (next, bad) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    let stop = Stop::new(|| ());
    std::thread::scope(|scope| {
        for _ in 0..workers().min(parts.len()) {
            scope.spawn(|| {
                let work = || -> Result<(), FlowError> {
                    let (mut hands, mut buf) = (site.worker(), PartBuf::new(class));
                    let mut decompressor = Decompressor::new()?;
                    loop {
                        let at = next.fetch_add(1, Ordering::Relaxed);
                        let Some(number) = parts.get(at).filter(|_| !stop.failed()) else { return Ok(()) };
                        if monitor.cancelled() {
                            return Err(FlowError::Cancelled);
                        }
                        let part = &bundle.head.parts[*number as usize - 1];
                        let result = finder.load(part, &mut buf)?;
                        let trouble = place_part(bundle, part, result, &buf, &mut hands, &mut decompressor)?;
                        lock(&bad).extend(trouble);
                        monitor.advance(class.file_len() as u64);
                    }
                };
                if let Err(error) = work() {
                    stop.fail(error);
                }
            });
        }
    });
    let failed = match stop.into_result() {
        Ok(()) => None,
        Err(FlowError::Io(fault)) => Some(fault),
        Err(error) => return Err(error),
    };
    let mut bad = unlocked(bad);
    bad.sort_by_key(|part: &BadPart| part.number);
    Ok(Placed { bad, failed })
}

/// Decodes the open chunks of a part and places what they hold.
fn place_part(
    bundle: &Bundle,
    part: &Part,
    loaded: Loaded,
    buf: &PartBuf,
    hands: &mut Worker,
    decompressor: &mut Decompressor,
) -> Result<Option<BadPart>, FlowError> {
    let class = bundle.head.statement.class;
    let bad = |damaged, why| Some(BadPart { number: part.number, volume: part.volume, damaged, why });
    let (chunks, trouble) = match loaded {
        Loaded::Missing => return Ok(bad(false, "was not found".into())),
        Loaded::Whole => (class.chunks(), None),
        Loaded::Partly { chunks: 0, why } => return Ok(bad(true, why)),
        Loaded::Partly { chunks, why } => (chunks, bad(true, why)),
    };
    let PartKind::Data { offset, length } = part.kind else { return Ok(None) };
    let lead = Lead::parse(buf.plain(0))?;
    if lead != (Lead { bundle: bundle.head.statement.bundle, number: part.number, offset }) {
        let why = format!(
            "it says that it is part {} at {}, the head that it is part {} at {offset}",
            lead.number, lead.offset, part.number
        );
        return Err(FormatError::Malformed { what: "a part", line: 0, why }.into());
    }
    hands.begin(offset, offset + length);
    let mut at = offset;
    let decoded = decompressor.decode((0..chunks).map(|index| buf.plain(index)), |bytes| {
        let end = at + bytes.len() as u64;
        FormatError::limit("the length of a part's tar", end - offset, length)?;
        hands.take(at, bytes)?;
        at = end;
        Ok::<(), FlowError>(())
    });
    hands.end()?;
    match decoded {
        Err(DecodeError::Sink(error)) => Err(error),
        _ if trouble.is_some() => Ok(trouble),
        Ok(()) if at == offset + length => Ok(None),
        Ok(()) => Ok(bad(true, format!("holds {} bytes of tar, {length} were announced", at - offset))),
        Err(DecodeError::Truncated) => Ok(bad(true, "its compressed content is cut short".into())),
        Err(DecodeError::Zstd(error)) => Ok(bad(true, error.to_string())),
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
    let Placed { bad, failed } = placed;
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
