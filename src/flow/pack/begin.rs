//! The first writes of a packing: the journal, then the seals of every volume; or the same of an interrupted
//! run, without what does not stay. When this returns, the bundle's key is wiped, and nothing here can open
//! the bundle any more.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::base::digest::{Digest, sha256};
use crate::base::fault::At;
use crate::base::monitor::Monitor;
use crate::base::os;
use crate::base::secret::{Secret, random};
use crate::flow::FlowError;
use crate::flow::bundle::index_files::{new_volume, seals};
use crate::flow::drives::read_back::read_back_seals;
use crate::flow::error::BundleError;
use crate::flow::pack::plan::{Planned, VolumeTarget};
use crate::flow::pack::request::PackRequest;
use crate::flow::pack::resume::leftover::Left;
use crate::flow::pack::resume::{KeptFiles, options};
use crate::flow::pack::volume_set::VolumeSet;
use crate::format::journal::{self, Opening, WrittenPart};
use crate::format::part::is_part;
use crate::format::seal::{Mode, Seal, commitment};
use crate::stage::journal::{JOURNAL, JournalWriter};
use crate::stage::seal::{Identity, Recipient};
use crate::stage::volume::{self, SUMS, Writer};

/// What identifies a bundle once its seals are written. Holds no key.
pub struct BundleIdentity {
    /// Its random name.
    pub name: [u8; 16],
    /// What the seals commit to.
    pub kcommit: Digest,
    /// The recipient that everything but the seals is sealed to.
    pub recipient: Recipient,
}

/// Which volumes are read back: all, none, or those on removable drives.
fn is_read_back(target: &VolumeTarget, request: &PackRequest) -> bool {
    request.verify.unwrap_or_else(|| os::block(target.device).is_removable())
}

/// The drives that will be read back and that no earlier run wrote to, each once.
pub fn untouched_drives<'a>(planned: &'a Planned, request: &PackRequest) -> Vec<&'a Path> {
    let mut drives: Vec<(u64, &Path)> = Vec::new();
    for (at, target) in planned.targets.iter().enumerate() {
        let is_known = drives.iter().any(|(device, _)| *device == target.device);
        let is_untouched = || volume::is_free(&volume::folder(&target.path, at as u16 + 1));
        if is_read_back(target, request) && !is_known && is_untouched() {
            drives.push((target.device, &target.path));
        }
    }
    drives.into_iter().map(|(_, path)| path).collect()
}

fn add(volumes: &mut VolumeSet, target: &VolumeTarget, request: &PackRequest, mut writer: Writer) {
    if is_read_back(target, request) {
        writer.keep_marks();
    }
    volumes.add(target.device, &target.path, writer);
}

/// The folders of the journal and its copy: the first volume, and the first one on another drive, as the
/// drive that fails may be the first.
fn journal_folders(planned: &Planned) -> Vec<PathBuf> {
    let first = planned.targets[0].device;
    let other = planned.targets.iter().position(|target| target.device != first);
    let folder = |at: usize| volume::folder(&planned.targets[at].path, at as u16 + 1);
    [Some(0), other].into_iter().flatten().map(folder).collect()
}

/// Removes the journal of a packing that could not begin, and its copy.
pub fn remove_journals(planned: &Planned) {
    for folder in journal_folders(planned) {
        let _ = os::remove_if_there(&folder.join(JOURNAL));
    }
}

/// A seal to be written: number of the volume, name, and bytes.
type NewSeal = (u16, String, Vec<u8>);

/// Writes seals, the first files of a volume, and reads them back.
fn write_seals(volumes: &mut VolumeSet, seals: &[NewSeal], monitor: &dyn Monitor) -> Result<(), FlowError> {
    volumes.forget_earlier_losses(monitor);
    for (volume, name, bytes) in seals {
        if let Some(writer) = volumes.writers_mut().find(|writer| writer.number() == *volume) {
            writer.put(name, bytes, sha256(bytes))?;
        }
    }
    // While the key is still known: a seal that a drive did not keep is not missed at the end of hours.
    read_back_seals(volumes.writers())
}

/// Begins a new bundle: makes the key, writes the journal and the seals, and wipes the key.
pub fn begin(
    volumes: &mut VolumeSet,
    planned: &Planned,
    request: &PackRequest,
    monitor: &dyn Monitor,
) -> Result<(BundleIdentity, JournalWriter), FlowError> {
    for (number, target) in (1..).zip(&planned.targets) {
        add(volumes, target, request, new_volume(&target.path, number)?);
    }
    let name: [u8; 16] = random();
    let secret = Secret::random();
    let identity = Identity::from_secret(&secret);
    let kcommit = commitment(&name, secret.expose());
    let seal = Seal { bundle: name, mode: Mode::Normal, kcommit, cards: None, identity: identity.to_text() };
    let bundle = BundleIdentity { name, kcommit, recipient: identity.recipient() };
    let mut made: Vec<NewSeal> = Vec::new();
    for volume in 1..=planned.targets.len() as u16 {
        let seals = seals((&seal, &bundle.recipient), &request.recipients, request.passphrase.as_ref())?;
        made.extend(seals.into_iter().map(|(name, bytes)| (volume, name.to_string(), bytes)));
    }
    let opening = Opening {
        bundle: name,
        recipient: bundle.recipient.to_string(),
        kcommit,
        class: planned.geometry.class,
        scheme: planned.geometry.scheme,
        options: options(request),
        whom: planned.whom,
        volumes: planned.targets.len() as u16,
        seals: made.iter().map(|(volume, name, bytes)| (*volume, name.clone(), sha256(bytes))).collect(),
        stamps: planned.walk.marks(),
    };
    let log = JournalWriter::create(&journal_folders(planned), &opening.encode())?;
    write_seals(volumes, &made, monitor)?;
    Ok((bundle, log))
}

/// Goes on with an interrupted bundle: removes what does not stay, and writes the journal anew without it.
pub fn resume(
    volumes: &mut VolumeSet,
    planned: &Planned,
    request: &PackRequest,
    left: Left,
    monitor: &dyn Monitor,
) -> Result<(BundleIdentity, JournalWriter), FlowError> {
    let before = &planned.before;
    let mut opening = left.journal()?.opening.clone();
    let recipient = Recipient::parse(&opening.recipient)
        .map_err(|error| FlowError::Bundle(BundleError::Damaged(format!("the journal names nobody: {error}"))))?;
    let bundle = BundleIdentity { name: opening.bundle, kcommit: opening.kcommit, recipient };
    let kept = left.keep(before)?;
    opening.volumes = planned.targets.len() as u16;
    opening.seals = kept_seals(&kept);
    let mut text = opening.encode();
    before.reads.iter().for_each(|read| text.push_str(&read.encode()));
    if before.tar > planned.layout.tail_start {
        text.push_str(journal::ALL_CLEAN);
    }
    before.recipes.iter().for_each(|(number, made)| text.push_str(&journal::recipe(*number, made)));
    before.parts.iter().for_each(|part| text.push_str(&WrittenPart::of(part).encode()));
    // Volumes on new drives, before the journal comes to one of them.
    let mut fresh = BTreeMap::new();
    for (number, target) in (1..).zip(&planned.targets) {
        if volume::is_free(&volume::folder(&target.path, number)) {
            fresh.insert(number, new_volume(&target.path, number)?);
        }
    }
    let log = replace_journal(&left, planned, &text)?;
    let mut missing: Vec<NewSeal> = Vec::new();
    for ((number, target), KeptFiles { sums, seals }) in (1..).zip(&planned.targets).zip(kept) {
        let writer = match fresh.remove(&number) {
            Some(writer) => writer,
            None => Writer::resume(&target.path, number, sums)?,
        };
        missing.extend(seals.into_iter().map(|(name, bytes)| (number, name, bytes)));
        add(volumes, target, request, writer);
    }
    write_seals(volumes, &missing, monitor)?;
    Ok((bundle, log))
}

/// The seals that stay, and those that are to be written: volume, name and digest.
fn kept_seals(kept: &[KeptFiles]) -> Vec<(u16, String, Digest)> {
    let mut all = Vec::new();
    for (number, KeptFiles { sums, seals }) in (1..).zip(kept) {
        all.extend(sums.iter().filter(|(name, _)| !is_part(name)).map(|(name, sum)| (number, name.clone(), *sum)));
        all.extend(seals.iter().map(|(name, bytes)| (number, name.clone(), sha256(bytes))));
    }
    all
}

/// Writes the new journal and removes the old one. SHA256SUMS goes first: while the journal changes nobody
/// could tell whose the parts are that it lists.
fn replace_journal(left: &Left, planned: &Planned, text: &str) -> Result<JournalWriter, FlowError> {
    for folder in left.folders.iter().filter(|folder| folder.join(SUMS).exists()) {
        volume::take_back(folder).at("remove", &folder.join(SUMS))?;
    }
    let folders = journal_folders(planned);
    let log = JournalWriter::create(&folders, text)?;
    for other in left.folders.iter().filter(|folder| !folders.contains(folder)) {
        os::remove_if_there(&other.join(JOURNAL)).at("remove", &other.join(JOURNAL))?;
    }
    Ok(log)
}
