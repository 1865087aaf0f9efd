//! Begins a packing: writes the journal, then the seals of every volume, and reads the seals back. To resume an
//! interrupted packing, removes what does not stay, and writes the journal anew with what does.
//!
//! When these functions return, the bundle's key is wiped, and this run cannot open the bundle. Not guaranteed: that a
//! drive whose seals could not be read is any good, as long as the seals of another one could be.

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
use crate::format::journal::{self, Opening, VolumeSeal, WrittenPart};
use crate::format::part::is_part;
use crate::format::seal::{Mode, Seal, commitment};
use crate::format::volume_number::VolumeNumber;
use crate::plan::geometry::journal_volumes;
use crate::stage::journal::{JOURNAL, JournalWriter};
use crate::stage::seal::{Identity, Recipient};
use crate::stage::volume::{self, SUMS, Writer};

/// What identifies a bundle once its seals are written. It holds no key.
pub(crate) struct BundleIdentity {
    /// Its random name.
    pub(crate) name: [u8; 16],
    /// What the seals commit to.
    pub(crate) kcommit: Digest,
    /// R, to which everything except the seals is sealed.
    pub(crate) recipient: Recipient,
}

/// A seal to be written.
#[derive(Debug, PartialEq, Eq)]
struct NewSeal {
    volume: VolumeNumber,
    name: String,
    bytes: Vec<u8>,
}

impl NewSeal {
    /// The seal as the journal notes it.
    fn to_noted(&self) -> VolumeSeal {
        VolumeSeal { volume: self.volume, name: self.name.clone(), sha256: sha256(&self.bytes) }
    }
}

/// Whether the parts on a volume are read back: as the user asked for, and otherwise on removable drives.
fn is_read_back(target: &VolumeTarget, request: &PackRequest) -> bool {
    request.verify.unwrap_or_else(|| os::block(target.device).is_removable())
}

/// The folders of drives whose parts will be read back and to which no earlier run wrote. Each drive is there once.
pub(crate) fn untouched_drives<'a>(planned: &'a Planned, request: &PackRequest) -> Vec<&'a Path> {
    let mut drives: Vec<(u64, &Path)> = Vec::new();
    for (number, target) in VolumeNumber::numbered(&planned.targets) {
        let is_known = drives.iter().any(|(device, _)| *device == target.device);
        if is_read_back(target, request) && !is_known && volume::is_free(&volume::folder(&target.path, number)) {
            drives.push((target.device, &target.path));
        }
    }
    drives.into_iter().map(|(_, path)| path).collect()
}

fn add_volume(volumes: &mut VolumeSet, target: &VolumeTarget, request: &PackRequest, mut writer: Writer) {
    if is_read_back(target, request) {
        writer.keep_marks();
    }
    volumes.add(target.device, &target.path, writer);
}

/// The folders of the journal and its copy.
fn journal_folders(planned: &Planned) -> Vec<PathBuf> {
    let mut folders = Vec::new();
    for at in journal_volumes(planned.targets.iter().map(|target| target.device)) {
        folders.push(volume::folder(&planned.targets[at].path, VolumeNumber::from_index(at)));
    }
    folders
}

/// Removes the journal of a packing that could not begin, and its copy. Best effort.
pub(crate) fn remove_journals(planned: &Planned) {
    for folder in journal_folders(planned) {
        let _ = os::remove_if_there(&folder.join(JOURNAL));
    }
}

/// Writes seals to their volumes, and reads the seals of all volumes back. Nothing depends on the bundle yet. Without
/// this, a seal that a drive did not keep would be missed only after hours, when no run can make it again.
fn write_seals(volumes: &mut VolumeSet, seals: &[NewSeal], monitor: &dyn Monitor) -> Result<(), FlowError> {
    volumes.forget_earlier_losses(monitor);
    for NewSeal { volume, name, bytes } in seals {
        if let Some(writer) = volumes.writers_mut().find(|writer| writer.number() == *volume) {
            writer.put(name, bytes, sha256(bytes))?;
        }
    }
    read_back_seals(volumes.writers())
}

/// Begins a new bundle: makes the key, writes the journal and the seals, and wipes the key. Adds its volumes to
/// `volumes`, also before an error.
pub(crate) fn begin(
    volumes: &mut VolumeSet,
    planned: &Planned,
    request: &PackRequest,
    monitor: &dyn Monitor,
) -> Result<(BundleIdentity, JournalWriter), FlowError> {
    for (number, target) in VolumeNumber::numbered(&planned.targets) {
        add_volume(volumes, target, request, new_volume(&target.path, number)?);
    }
    let (bundle, seals) = make_bundle(planned.targets.len() as u16, request)?;
    let opening = opening_of(&bundle, &seals, planned, request);
    let log = JournalWriter::create(&journal_folders(planned), &opening.encode())?;
    write_seals(volumes, &seals, monitor)?;
    Ok((bundle, log))
}

/// Makes the name and the key of a new bundle, and the seals of all its volumes. Afterwards only the seals hold the
/// key.
fn make_bundle(volumes: u16, request: &PackRequest) -> Result<(BundleIdentity, Vec<NewSeal>), FlowError> {
    let name: [u8; 16] = random();
    let secret = Secret::random();
    let identity = Identity::from_secret(&secret);
    let kcommit = commitment(&name, secret.expose());
    let seal = Seal { bundle: name, mode: Mode::Normal, kcommit, cards: None, identity: identity.to_text() };
    let bundle = BundleIdentity { name, kcommit, recipient: identity.recipient() };
    let mut made = Vec::new();
    for volume in VolumeNumber::all(volumes) {
        let seals = seals((&seal, &bundle.recipient), &request.recipients, request.passphrase.as_ref())?;
        made.extend(seals.into_iter().map(|(name, bytes)| NewSeal { volume, name: name.to_string(), bytes }));
    }
    Ok((bundle, made))
}

/// What the journal of a new bundle begins with.
fn opening_of(bundle: &BundleIdentity, seals: &[NewSeal], planned: &Planned, request: &PackRequest) -> Opening {
    Opening {
        bundle: bundle.name,
        recipient: bundle.recipient.to_string(),
        kcommit: bundle.kcommit,
        class: planned.geometry.class,
        scheme: planned.geometry.scheme,
        options: options(request),
        whom: planned.whom,
        volumes: planned.targets.len() as u16,
        seals: seals.iter().map(NewSeal::to_noted).collect(),
        stamps: planned.walk.marks(),
    }
}

/// Resumes an interrupted bundle: removes what does not stay, and writes the journal anew without it. Adds its volumes
/// to `volumes`, also before an error.
pub(crate) fn resume(
    volumes: &mut VolumeSet,
    planned: &Planned,
    request: &PackRequest,
    left: Left,
    monitor: &dyn Monitor,
) -> Result<(BundleIdentity, JournalWriter), FlowError> {
    let mut opening = left.journal()?.opening.clone();
    let recipient = Recipient::parse(&opening.recipient)
        .map_err(|error| FlowError::Bundle(BundleError::Damaged(format!("the journal names nobody: {error}"))))?;
    let bundle = BundleIdentity { name: opening.bundle, kcommit: opening.kcommit, recipient };
    let kept = left.keep(&planned.before)?;
    opening.volumes = planned.targets.len() as u16;
    opening.seals = all_seals(&kept);
    // Volumes on new drives are created before the journal, which may come to one of them.
    let mut fresh = create_missing_volumes(planned)?;
    let log = replace_journal(&left, planned, &resumed_journal(&opening, planned))?;
    let mut missing: Vec<NewSeal> = Vec::new();
    for ((volume, target), KeptFiles { sums, seals }) in VolumeNumber::numbered(&planned.targets).zip(kept) {
        let writer = match fresh.remove(&volume) {
            Some(writer) => writer,
            None => Writer::resume(&target.path, volume, sums)?,
        };
        missing.extend(seals.into_iter().map(|(name, bytes)| NewSeal { volume, name, bytes }));
        add_volume(volumes, target, request, writer);
    }
    write_seals(volumes, &missing, monitor)?;
    Ok((bundle, log))
}

/// Creates the volumes that a drive does not have yet, by number.
fn create_missing_volumes(planned: &Planned) -> Result<BTreeMap<VolumeNumber, Writer>, FlowError> {
    let mut fresh = BTreeMap::new();
    for (number, target) in VolumeNumber::numbered(&planned.targets) {
        if volume::is_free(&volume::folder(&target.path, number)) {
            fresh.insert(number, new_volume(&target.path, number)?);
        }
    }
    Ok(fresh)
}

/// The text of the journal of a resumed packing: only what stays of the earlier run is in it.
fn resumed_journal(opening: &Opening, planned: &Planned) -> String {
    let before = &planned.before;
    let mut text = opening.encode();
    before.reads.iter().for_each(|read| text.push_str(&read.encode()));
    // Manifests stay in parts only if no file had a flag when they were packed.
    if before.tar > planned.layout.tail_start {
        text.push_str(journal::ALL_CLEAN);
    }
    before.recipes.iter().for_each(|(number, made)| text.push_str(&journal::recipe(*number, made)));
    before.parts.iter().for_each(|part| text.push_str(&WrittenPart::of(part).encode()));
    text
}

/// The seals that stay and the seals that are to be written.
fn all_seals(kept: &[KeptFiles]) -> Vec<VolumeSeal> {
    let mut all = Vec::new();
    for (volume, KeptFiles { sums, seals }) in VolumeNumber::numbered(kept) {
        let stay = sums.iter().filter(|file| !is_part(&file.name));
        all.extend(stay.map(|file| VolumeSeal { volume, name: file.name.clone(), sha256: file.sha256 }));
        all.extend(seals.iter().map(|(name, bytes)| VolumeSeal { volume, name: name.clone(), sha256: sha256(bytes) }));
    }
    all
}

/// Writes the new journal and removes the old one. SHA256SUMS is removed first: if this run is stopped while the
/// journal changes, no later run could tell whose parts SHA256SUMS lists.
fn replace_journal(left: &Left, planned: &Planned, text: &str) -> Result<JournalWriter, FlowError> {
    for folder in left.folders.iter().filter(|folder| folder.join(SUMS).exists()) {
        volume::unpublish(folder)?;
    }
    let folders = journal_folders(planned);
    let log = JournalWriter::create(&folders, text)?;
    for other in left.folders.iter().filter(|folder| !folders.contains(folder)) {
        os::remove_if_there(&other.join(JOURNAL)).at("remove", &other.join(JOURNAL))?;
    }
    Ok(log)
}

#[cfg(test)]
mod tests;
