//! Repairing: volumes that are damaged or lost are written anew, whole, beside the old. What a
//! part was is known from the head: it is sealed again under its header, and must then have the
//! SHA-256 that the head names, so it is the same file, byte for byte.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use crate::base::digest::{Digest, sha256};
use crate::base::fault::At;
use crate::base::monitor::{Monitor, Phase};
use crate::base::os;
use crate::base::path::show;
use crate::base::pool::{lock, side_by_side, unlocked};
use crate::flow::FlowError;
use crate::flow::check::check;
use crate::flow::find::{Finder, Loaded};
use crate::flow::finish::{Sealable, head_of, list_of, new_volume, write_index};
use crate::flow::margin::whole_files;
use crate::flow::mend::{Mender, Wanted, groups};
use crate::flow::open::{Bundle, gather, open};
use crate::flow::received::RepairReport;
use crate::flow::report::{CheckReport, State};
use crate::format::head::Part;
use crate::format::limits;
use crate::format::part::PartBuf;
use crate::plan::repair::{self, Verdict};
use crate::stage::seal::Keyring;
use crate::stage::stream::PartSealer;
use crate::stage::volume::{self, PASSPHRASE_SEAL, SEALS, Volume, Writer};

/// What somebody wants repaired.
pub struct Request {
    /// Drives or volumes.
    pub volumes: Vec<PathBuf>,
    /// Where the new volumes go.
    pub target: PathBuf,
    /// Only say what would be done.
    pub dry_run: bool,
}

/// Writes every volume anew that is not whole.
pub fn repair(request: &Request, keyring: &Keyring, monitor: &dyn Monitor) -> Result<RepairReport, FlowError> {
    let checked = check(&request.volumes, monitor)?;
    let mut bundle = open(gather(&request.volumes)?, keyring)?;
    let finder = Finder::new(&bundle);
    let there: Vec<bool> = bundle.head.parts.iter().map(|part| finder.is_there(part)).collect();
    let mut report = RepairReport {
        volumes: to_be_written(&bundle, &checked),
        target: request.target.clone(),
        verdict: repair::judge(&bundle.head, &there),
        rebuilt: 0,
        lost: Vec::new(),
        written: Vec::new(),
    };
    drop(finder);
    if let Verdict::Short { lost, .. } = &report.verdict {
        report.lost.clone_from(lost);
    }
    if request.dry_run || report.volumes.is_empty() || !report.lost.is_empty() {
        return Ok(report);
    }
    check_target(request, &bundle, report.volumes.len())?;
    let (list, list_hash) = list_of(&bundle.read_list()?)?;
    if list_hash != bundle.head.statement.list_hash {
        return Err(FlowError::Defect("the list is not written as it was read".into()));
    }
    let seals = seals_of(&bundle, &checked)?;
    write(&bundle, &seals, &list, &mut report, monitor)?;
    Ok(report)
}

/// Numbers of the volumes that are not whole on any of the drives given.
fn to_be_written(bundle: &Bundle, checked: &CheckReport) -> Vec<u16> {
    let mut of: BTreeMap<u16, Vec<&Part>> = (1..=bundle.head.statement.n).map(|number| (number, Vec::new())).collect();
    for part in &bundle.head.parts {
        of.entry(part.volume).or_default().push(part);
    }
    let sums: Vec<(&Volume, HashMap<String, Digest>)> = bundle
        .volumes
        .iter()
        .filter(|volume| is_whole(volume, checked))
        .map(|volume| (volume, whole_files(volume, checked)))
        .collect();
    let is_there = |number: u16, parts: &[&Part]| {
        sums.iter().any(|(volume, sums)| {
            let named = volume.dir.file_name() == volume::folder(Path::new(""), number).file_name();
            let listed = parts.iter().all(|part| sums.get(&part.file_name()) == Some(&part.sha256));
            bundle.owns(volume) && listed && (named || !parts.is_empty())
        })
    };
    of.into_iter().filter(|(number, parts)| !is_there(*number, parts)).map(|(number, _)| number).collect()
}

fn is_whole(volume: &Volume, checked: &CheckReport) -> bool {
    checked.volumes.iter().any(|check| check.folder == volume.dir && check.state == State::Whole)
}

fn check_target(request: &Request, bundle: &Bundle, volumes: usize) -> Result<(), FlowError> {
    if !request.target.is_dir() {
        let text = format!("{} is no folder; is the drive plugged in and mounted?", show(&request.target));
        return Err(FlowError::Usage(text));
    }
    let target = request.target.canonicalize().at("look at", &request.target)?;
    if let Some(volume) = bundle.volume_around(&target) {
        let text =
            format!("{} lies in the volume {}; a volume is never repaired in place", show(&target), show(&volume.dir));
        return Err(FlowError::Usage(text));
    }
    let part = bundle.head.statement.class.file_len() as u64;
    let most = bundle.head.parts.len().div_ceil(usize::from(bundle.head.statement.n).max(1)) as u64 + 1;
    let (needed, free) = (part * most * volumes as u64, os::room(&request.target).at("look at", &request.target)?.free);
    if needed > free { Err(FlowError::NoTargetRoom { target: request.target.clone(), needed, free }) } else { Ok(()) }
}

/// A whole copy of each kind of seal that the bundle has: who made them is not here, so they are
/// copied as they are.
fn seals_of(bundle: &Bundle, checked: &CheckReport) -> Result<Vec<(&'static str, Vec<u8>)>, FlowError> {
    let good = |volume: &&Volume, name: &str| {
        let check = checked.volumes.iter().find(|check| check.folder == volume.dir);
        bundle.owns(volume) && check.is_some_and(|check| !check.damaged.iter().any(|(damaged, _)| damaged == name))
    };
    let find = |name: &str| {
        let volumes = bundle.volumes.iter().filter(|volume| good(volume, name));
        volumes.filter_map(|volume| volume.read_small(name, limits::SEAL_FILE)?.ok()).next()
    };
    let [first, second] = SEALS.map(find);
    let mut seals = Vec::new();
    if let Some(bytes) = first.clone().or(second.clone()) {
        seals.push((SEALS[0], bytes.clone()));
        seals.push((SEALS[1], second.unwrap_or(bytes)));
    }
    seals.extend(find(PASSPHRASE_SEAL).map(|bytes| (PASSPHRASE_SEAL, bytes)));
    if seals.is_empty() {
        return Err(FlowError::Damaged("no seal on these volumes is whole: there is none to copy".into()));
    }
    Ok(seals)
}

fn write(
    bundle: &Bundle,
    seals: &[(&'static str, Vec<u8>)],
    list: &Sealable,
    report: &mut RepairReport,
    monitor: &dyn Monitor,
) -> Result<(), FlowError> {
    let mut writers = BTreeMap::new();
    let result = write_all(bundle, (seals, list), report, &mut writers, monitor);
    if result.is_err() || !report.lost.is_empty() {
        writers.into_values().for_each(|writer| unlocked(writer).abandon());
        report.written.clear();
    }
    result
}

fn write_all(
    bundle: &Bundle,
    (seals, list): (&[(&'static str, Vec<u8>)], &Sealable),
    report: &mut RepairReport,
    writers: &mut BTreeMap<u16, Mutex<Writer>>,
    monitor: &dyn Monitor,
) -> Result<(), FlowError> {
    for number in &report.volumes {
        let writer = writers.entry(*number).or_insert(Mutex::new(new_volume(&report.target, *number)?));
        for (name, bytes) in seals {
            lock(writer).put(name, bytes, sha256(bytes))?;
        }
    }
    let wanted: Vec<&Part> = bundle.head.parts.iter().filter(|part| writers.contains_key(&part.volume)).collect();
    let class = bundle.head.statement.class;
    monitor.phase(Phase::Repairing, wanted.len() as u64 * class.file_len() as u64);
    let (rebuilt, lost) = Parts { bundle, writers, monitor }.write(&wanted)?;
    (report.rebuilt, report.lost) = (rebuilt, lost);
    if !report.lost.is_empty() {
        return Ok(());
    }
    let head = head_of(&bundle.head)?;
    for writer in writers.values_mut() {
        let writer = writer.get_mut().unwrap_or_else(|poisoned| poisoned.into_inner());
        write_index(writer, list, &head, &bundle.recipient)?;
        report.written.push(writer.dir().to_path_buf());
    }
    for writer in writers.values() {
        lock(writer).finish()?;
    }
    Ok(())
}

/// Brings parts to their volumes: found ones as they are, others rebuilt.
struct Parts<'a> {
    bundle: &'a Bundle,
    writers: &'a BTreeMap<u16, Mutex<Writer>>,
    monitor: &'a dyn Monitor,
}

impl Parts<'_> {
    /// How many were rebuilt, and which data parts are lost.
    fn write(&self, wanted: &[&Part]) -> Result<(usize, Vec<u32>), FlowError> {
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
        let mut hurt: BTreeMap<u32, Vec<&Part>> = BTreeMap::new();
        for part in copied {
            if let Some(part) = part? {
                hurt.entry(part.stripe.map_or(part.number, |(stripe, _)| stripe)).or_default().push(part);
            }
        }
        let mender = Mender::new(head, &finder);
        let groups = groups(&hurt, class);
        let mended =
            side_by_side(&groups, || (), |(), (stripe, parts)| self.rebuild(*stripe, parts, &finder, mender.as_ref()));
        let (mut rebuilt, mut lost) = (0, BTreeSet::new());
        for group in mended {
            let (done, failed) = group?;
            rebuilt += done;
            lost.extend(failed);
        }
        Ok((rebuilt, lost.into_iter().collect()))
    }

    fn rebuild(
        &self,
        stripe: u32,
        parts: &[&Part],
        finder: &Finder,
        mender: Option<&Mender>,
    ) -> Result<(usize, Vec<u32>), FlowError> {
        let class = self.bundle.head.statement.class;
        let mut wanted = Vec::new();
        for part in parts {
            let mut buf = PartBuf::new(class);
            let bad = finder.load(part, &mut buf)?.bad(class.chunks());
            wanted.push(Wanted { part, bad, buf });
        }
        if let Some(mender) = mender {
            mender.mend(stripe, &mut wanted)?;
        }
        let (mut rebuilt, mut lost) = (0, Vec::new());
        for Wanted { part, bad, mut buf } in wanted {
            if bad.is_empty() && self.put(part, &mut buf)? {
                rebuilt += 1;
            } else {
                lost.push(part.number);
            }
        }
        Ok((rebuilt, lost))
    }

    /// Seals a part's plaintext as it was and writes it; `false` if it does not become the file
    /// that the head names.
    fn put(&self, part: &Part, buf: &mut PartBuf) -> Result<bool, FlowError> {
        let class = self.bundle.head.statement.class;
        let (key, _) = self.bundle.keyring.open_header(&part.header[..]).map_err(|error| {
            FlowError::Damaged(format!("the header of part {} does not open: {error}", part.number))
        })?;
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
