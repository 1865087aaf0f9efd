//! Makes a plan from a request: walks the sources, looks at the drives and at what an interrupted run left there, and
//! decides how large parts are, which parity protects them and which part goes where. Writes nothing.
//!
//! Not guaranteed: that the expected sizes come true. They rest on samples of the sources. What an earlier run left is
//! held by its lock until the plan is carried out or dropped; sources and other files may change until then.

mod estimate;
mod shape;

use std::path::PathBuf;

use crate::base::digest::Digest;
use crate::base::disk::Device;
use crate::base::entry::Kind;
use crate::base::memory;
use crate::base::monitor::{Monitor, Note, NoteKind};
use crate::base::os;
use crate::flow::FlowError;
use crate::flow::bundle::proofread::check_sequence;
use crate::flow::drives::mounts;
use crate::flow::error::{DriveError, SourceError};
use crate::flow::pack::pipeline::{self, Before};
use crate::flow::pack::report::{Plan, VolumePlan};
use crate::flow::pack::request::PackRequest;
use crate::flow::pack::resume::leftover::{self, Left};
use crate::flow::pack::resume::{self, TarExtent};
use crate::flow::pack::source_reader::SourceReader;
use crate::format::{FormatError, limits};
use crate::plan::geometry::{self, Geometry};
use crate::plan::layout::{Layout, lay_out};
use crate::plan::placement::{Fill, Placement};
use crate::plan::rehome::{Home, rehome};
use crate::stage::volume;
use crate::stage::walk::{Walk, walk};
use estimate::estimate;
use shape::{Shape, Shaped};

/// Most bytes of the beginning of the tar that [`resume::whom`] covers. A run that resumes has to hash the same bytes.
const BEGINNING: u64 = 1 << 20;

/// A plan, with all that it takes to carry it out.
pub struct Planned {
    /// The sources.
    pub walk: Walk,
    /// The tar of the sources.
    pub layout: Layout,
    pub geometry: Geometry,
    /// Decides which part goes where, and has dealt no part yet.
    pub placement: Placement,
    /// The plan for people and for `--json`.
    pub plan: Plan,
    /// Notes about sources and targets.
    pub notes: Vec<Note>,
    /// Bytes that the whole tar is expected to compress to, also what an earlier run packed of it.
    pub estimate: u64,
    /// Bytes that each volume keeps for all that is not parts, in the order of the volume numbers.
    pub reserves: Vec<u64>,
    /// In the order of the volume numbers.
    pub targets: Vec<VolumeTarget>,
    /// What an interrupted run left on the drives; `None` if it left nothing.
    pub left: Option<Left>,
    /// What of that stays. Nothing stays if the run begins anew.
    pub before: Before,
    /// What the journal notes of the recipients; see [`resume::whom`].
    pub whom: Digest,
}

/// The drive that a volume goes to.
#[derive(Debug, Clone)]
pub struct VolumeTarget {
    /// The folder in which the volume's folder is made.
    pub path: PathBuf,
    /// The number of the file system at `path`.
    pub device: u64,
}

/// Makes the plan.
///
/// # Errors
/// The request makes no sense, sources or drives cannot be read, or an interrupted run left what this one can neither
/// resume nor remove. Whether the drives have room is left to [`Planned::check_room`].
pub fn plan(request: &PackRequest, monitor: &dyn Monitor) -> Result<Planned, FlowError> {
    request.check()?;
    let paths = request.target_paths()?;
    let left = leftover::find(&paths)?;
    check_leftover(request, left.as_ref())?;
    let mut walk = walk(&request.sources, monitor)?;
    let (layout, list_at_most) = lay_out_for_readers(&mut walk)?;
    let mut notes = std::mem::take(&mut walk.notes);
    let Beginning { bytes, read } = read_beginning(&walk, &layout, monitor)?;
    let whom = resume::whom(request, &walk, &bytes);
    let before = match left.as_ref().filter(|_| !request.restart) {
        Some(left) => {
            let checked = left.check(request, &walk, whom, read);
            checked.inspect_err(|_| tell_unreadable(&notes, monitor))?;
            left.verify(TarExtent { len: layout.len, tail_start: layout.tail_start }, request.replaced, monitor)?
        }
        None => Before::default(),
    };
    let shape = Shape { request, paths: &paths, list_at_most, tar: layout.len, entries: walk.entries.len() };
    let shaped = match &left {
        Some(left) => shape.after(left, &before)?,
        None => shape.choose()?,
    };
    let geometry = shaped.geometry;
    let placement = Placement::new(&shaped.drives, geometry.class, request.fill, geometry.scheme).after(before.stripes);
    let estimate = estimate(&walk, &layout, request.level)?;
    let data_expected = data_to_come(estimate, layout.len, geometry, &before);
    let outline =
        Outline { request, walk: &walk, before: &before, shaped: &shaped, placement: &placement, data_expected };
    let plan = outline.plan(left.is_some())?;
    let Shaped { targets, drives, .. } = shaped;
    notes.extend(mounts::notes(targets.iter().map(|target| (&*target.path, target.device)), &request.sources));
    let reserves = drives.iter().map(|drive| drive.reserve).collect();
    Ok(Planned { walk, layout, geometry, placement, plan, notes, estimate, reserves, targets, left, before, whom })
}

/// Refuses what the request cannot do with what an earlier run left, before the sources are walked.
fn check_leftover(request: &PackRequest, left: Option<&Left>) -> Result<(), FlowError> {
    match left {
        Some(left) if request.restart => left.may_go(true),
        Some(left) => left.journal().map(|_| ()),
        None if request.replaced => {
            let text = "--replaced: at these places there is nothing that an interrupted run left; name its drives in their order, with the new one in the place of the old".into();
            Err(FlowError::Usage(text))
        }
        None => Ok(()),
    }
}

/// Lays out the tar. Returns it with the most bytes that the text of the list may take.
///
/// # Errors
/// No reader would take the bundle. It is better refused now than after hours.
fn lay_out_for_readers(walk: &mut Walk) -> Result<(Layout, u64), FlowError> {
    let sizes = walk.entries.iter().fold(0_u64, |sum, entry| sum.saturating_add(entry.size));
    FormatError::check_limit("the bytes of all files", sizes, limits::TAR)?;
    let layout = lay_out(&mut walk.entries, &mut walk.notes);
    let list_at_most = geometry::list_at_most(&walk.entries);
    FormatError::check_limit("the length of the list", list_at_most, limits::LIST)?;
    check_sequence(&walk.entries, layout.len)?;
    Ok((layout, list_at_most))
}

/// The first bytes of the tar, for [`resume::whom`].
struct Beginning {
    bytes: Vec<u8>,
    /// The error if a file in it cannot be read. It matters only where the bytes are compared.
    read: Result<(), FlowError>,
}

/// # Errors
/// A source is gone.
fn read_beginning(walk: &Walk, layout: &Layout, monitor: &dyn Monitor) -> Result<Beginning, FlowError> {
    let mut bytes = memory::zeros(BEGINNING.min(layout.tail_start) as usize);
    match SourceReader::new(walk, layout, monitor).raw(0, &mut bytes) {
        Err(FlowError::Source(SourceError::Walk(gone))) => Err(gone.into()),
        read => Ok(Beginning { bytes, read }),
    }
}

/// Tells the sender which sources could not be read. They may be the ones that the interrupted run had.
fn tell_unreadable(notes: &[Note], monitor: &dyn Monitor) {
    notes.iter().filter(|note| note.kind == NoteKind::Unreadable).for_each(|note| monitor.note(note));
}

/// Data parts that are still to come if the rest of the tar compresses like the whole.
fn data_to_come(estimate: u64, tar: u64, geometry: Geometry, before: &Before) -> u64 {
    if before.tar == tar {
        return 0;
    }
    let rest = (u128::from(estimate) * u128::from(tar - before.tar) / u128::from(tar.max(1))) as u64;
    geometry::data_expected(rest, geometry.class).min((geometry.data_at_most - before.data).into())
}

impl Planned {
    /// Refuses a plan if a drive has no room for the small files of its volume, or all drives together have no room for
    /// what is expected. The drives may run full nevertheless, if the files compress worse.
    pub fn check_room(&self) -> Result<(), FlowError> {
        for (volume, reserve) in self.plan.volumes.iter().zip(&self.reserves) {
            let room = volume.cap.map_or(volume.free, |cap| cap.min(volume.free));
            if room < *reserve {
                return Err(DriveError::TooSmall { folder: volume.folder.clone(), needed: *reserve, room }.into());
            }
        }
        let needed = self.plan.expected;
        let room = self.plan.room;
        if needed > room { Err(DriveError::NoRoom { needed, room }.into()) } else { Ok(()) }
    }
}

/// What the plan for people is made of.
struct Outline<'a> {
    request: &'a PackRequest,
    walk: &'a Walk,
    before: &'a Before,
    shaped: &'a Shaped,
    placement: &'a Placement,
    /// Data parts that are still to come.
    data_expected: u64,
}

impl Outline<'_> {
    /// All sizes count the reserves of the volumes. `has_leftover`: an interrupted run left something on the drives.
    fn plan(&self, has_leftover: bool) -> Result<Plan, FlowError> {
        let Outline { request, walk, before, shaped, .. } = *self;
        let geometry = shaped.geometry;
        let count =
            |is_counted: fn(&Kind) -> bool| walk.entries.iter().filter(|entry| is_counted(&entry.kind)).count() as u64;
        let part = geometry.class.file_len() as u64;
        let kept = before.parts.len() as u64;
        let again = before.lost(geometry.scheme).len() as u64;
        let reserves: u64 = shaped.drives.iter().map(|drive| drive.reserve).sum();
        Ok(Plan {
            files: count(|kind| matches!(kind, Kind::File | Kind::Hardlink(_))),
            folders: count(|kind| *kind == Kind::Dir),
            links: count(|kind| matches!(kind, Kind::Symlink(_))),
            bytes: walk.entries.iter().map(|entry| entry.size).sum(),
            class: geometry.class.mib(),
            expected: (geometry.parts(self.data_expected) + again) * part + reserves,
            at_most: u64::from(geometry.parts_at_most()).saturating_sub(kept) * part + reserves,
            packed: kept * part,
            again: again * part,
            parity: geometry.scheme,
            room: geometry.parts(self.placement.capacity()) * part + reserves,
            recipients: request.recipients.len(),
            passphrase: request.passphrase.is_some(),
            memory: pipeline::memory(geometry, walk.entries.len(), request.outputs.len(), request.level)?,
            sequential: request.fill == Fill::Sequential,
            begins_anew: has_leftover && before.recipes.is_empty() && !request.restart,
            shared_drive: request.volumes.is_none() && share_a_disk(&shaped.targets),
            staged: request.volumes.is_some(),
            volumes: self.volumes(),
        })
    }

    fn volumes(&self) -> Vec<VolumePlan> {
        let parts = self.parts_of_each_volume();
        let targets = self.shaped.targets.iter().zip(&self.shaped.drives);
        (1..)
            .zip(targets.zip(parts))
            .map(|(number, ((target, drive), parts))| VolumePlan {
                folder: volume::folder(&target.path, number),
                free: drive.free,
                cap: drive.cap,
                expected: parts * self.placement.cost(number) + drive.reserve,
            })
            .collect()
    }

    /// How many parts this run is expected to write to each volume, those that are packed again included.
    fn parts_of_each_volume(&self) -> Vec<u64> {
        let scheme = self.shaped.geometry.scheme;
        let held = self.before.parts.iter().map(|part| Home { part: part.id(), volume: part.volume });
        let volumes = self.shaped.targets.len() as u16;
        let mut room = self.placement.clone();
        for home in rehome(room.clone(), scheme, volumes, held, &self.before.lost(scheme)) {
            room.put(home.volume);
        }
        room.simulate(self.data_expected).0
    }
}

/// Whether two of the targets lie on one disk, at least in part.
fn share_a_disk(targets: &[VolumeTarget]) -> bool {
    let disks: Vec<Device> = targets.iter().map(|target| os::block(target.device)).collect();
    (1..disks.len()).any(|at| disks[..at].iter().any(|other| other.shares_a_drive(&disks[at])))
}

#[cfg(test)]
mod tests;
