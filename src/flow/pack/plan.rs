//! Makes a plan from a request: walks the sources, looks at the drives and at what an interrupted run left there, and
//! decides how large parts are, which parity protects them and which part goes where. Writes nothing.
//!
//! Not guaranteed: that the expected sizes come true. They rest on samples of the sources. What an earlier run left is
//! held by its lock until the plan is carried out or dropped; sources and other files may change until then.

use std::path::PathBuf;

use crate::base::digest::Digest;
use crate::base::disk::Device;
use crate::base::entry::{Hole, Kind};
use crate::base::fault::At;
use crate::base::memory;
use crate::base::monitor::{Monitor, Note, NoteKind};
use crate::base::os;
use crate::base::pool::side_by_side;
use crate::flow::FlowError;
use crate::flow::bundle::proofread::check_sequence;
use crate::flow::drives::mounts;
use crate::flow::error::{DriveError, RequestError, SourceError};
use crate::flow::pack::pipeline::{self, Before};
use crate::flow::pack::report::{Plan, VolumePlan};
use crate::flow::pack::request::PackRequest;
use crate::flow::pack::resume::leftover::{self, Left};
use crate::flow::pack::resume::{self, TarExtent};
use crate::flow::pack::source_reader::SourceReader;
use crate::format::volume_number::VolumeNumber;
use crate::format::{FormatError, limits};
use crate::plan::geometry::{self, Geometry};
use crate::plan::layout::{Layout, holes_in, lay_out};
use crate::plan::parity;
use crate::plan::placement::{DriveRoom, Fill, Placement};
use crate::plan::rehome::{Home, rehome};
use crate::stage::archive;
use crate::stage::compress::{Compressor, Level, ZstdError};
use crate::stage::volume;
use crate::stage::walk::{Walk, walk};

/// Most bytes of the beginning of the tar that [`resume::whom`] covers. A run that resumes has to hash the same bytes.
const BEGINNING: u64 = 1 << 20;

/// Most samples of one tar.
const SAMPLES: u64 = 16;
/// Bytes of one sample. Samples are long, because shorter frames compress worse than those that will be written.
const SAMPLE_LEN: u64 = 1 << 20;

/// A plan, with all that it takes to carry it out.
pub(crate) struct Planned {
    pub(crate) walk: Walk,
    pub(crate) layout: Layout,
    pub(crate) geometry: Geometry,
    /// Decides which part goes where, and has dealt no part yet.
    pub(crate) placement: Placement,
    pub(crate) plan: Plan,
    pub(crate) notes: Vec<Note>,
    /// Bytes that the whole tar is expected to compress to, also what an earlier run packed of it.
    pub(crate) estimate: u64,
    /// Bytes that each volume keeps for all that is not parts, in the order of the volume numbers.
    pub(crate) reserves: Vec<u64>,
    /// In the order of the volume numbers.
    pub(crate) targets: Vec<VolumeTarget>,
    /// What an interrupted run left on the drives; `None` if it left nothing.
    pub(crate) left: Option<Left>,
    /// What of that stays. Nothing stays if the run begins anew.
    pub(crate) before: Before,
    /// What the journal notes of the recipients; see [`resume::whom`].
    pub(crate) whom: Digest,
}

/// The drive that a volume goes to.
#[derive(Debug, Clone)]
pub(crate) struct VolumeTarget {
    /// The folder in which the volume's folder is made.
    pub(crate) path: PathBuf,
    /// The number of the file system at `path`.
    pub(crate) device: u64,
}

/// Makes the plan.
///
/// # Errors
/// The request makes no sense, sources or drives cannot be read, or an interrupted run left what this one can neither
/// resume nor remove. Whether the drives have room is left to [`Planned::check_room`].
pub(crate) fn plan(request: &PackRequest, monitor: &dyn Monitor) -> Result<Planned, FlowError> {
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
            left.check(request, &walk, whom, read).inspect_err(|_| tell_unreadable(&notes, monitor))?;
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
        Outline { shape, walk: &walk, before: &before, shaped: &shaped, placement: &placement, data_expected };
    let plan = outline.plan(left.is_some())?;
    let reserves = shaped.drives.iter().map(|drive| drive.reserve).collect();
    let devices = shaped.drives.iter().map(|drive| drive.device);
    let targets: Vec<_> = paths.into_iter().zip(devices).map(|(path, device)| VolumeTarget { path, device }).collect();
    notes.extend(mounts::notes(targets.iter().map(|target| (&*target.path, target.device)), &request.sources));
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

/// Reads the beginning of the tar. Only a source that is gone is an error.
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
    pub(crate) fn check_room(&self) -> Result<(), FlowError> {
        for (volume, reserve) in self.plan.volumes.iter().zip(&self.reserves) {
            let room = volume.cap.map_or(volume.free, |cap| cap.min(volume.free));
            if room < *reserve {
                return Err(DriveError::TooSmall { folder: volume.folder.clone(), needed: *reserve, room }.into());
            }
        }
        let Plan { expected: needed, room, .. } = self.plan;
        if needed > room { Err(DriveError::NoRoom { needed, room }.into()) } else { Ok(()) }
    }
}

/// What decides how the bundle is cut.
struct Shape<'a> {
    request: &'a PackRequest,
    /// The target of each volume.
    paths: &'a [PathBuf],
    /// Most bytes of the list's text.
    list_at_most: u64,
    /// Bytes of the tar.
    tar: u64,
    /// How many entries the walk has.
    entries: usize,
}

/// How the bundle is cut, and the drive of each volume with the reserve that this takes.
struct Shaped {
    geometry: Geometry,
    drives: Vec<DriveRoom>,
}

impl Shape<'_> {
    /// Chooses the size of the parts and the shape of the stripes. Each depends on the other, and the room on the
    /// drives depends on both. So the stripes are chosen first, for parts as they would be without parity.
    fn choose(&self) -> Result<Shaped, FlowError> {
        let request = self.request;
        let volumes = self.paths.len() as u16;
        let largest = match request.level {
            Level::Zstd(13..) => geometry::LARGEST_AT_HIGH_LEVELS,
            Level::Quick | Level::Zstd(_) => geometry::LARGEST,
        };
        let plain = geometry::choose(self.tar, volumes, None, largest)?;
        let room = Placement::new(&self.look_at_drives(plain)?.drives, plain.class, request.fill, None);
        let scheme =
            parity::choose(request.parity, volumes, |scheme| room.stripes(scheme)).map_err(RequestError::Parity)?;
        self.look_at_drives(geometry::choose(self.tar, volumes, scheme, largest)?)
    }

    /// The same after an interrupted run: what it chose still holds if any of its parts stays. What does not stay makes
    /// room.
    fn after(&self, left: &Left, before: &Before) -> Result<Shaped, FlowError> {
        let mut shaped = if before.recipes.is_empty() {
            self.choose()?
        } else {
            let opening = &left.journal()?.opening;
            self.look_at_drives(geometry::of_class(self.tar, opening.class, opening.scheme))?
        };
        let part_len = shaped.geometry.class.file_len() as u64;
        shaped.drives = room_once_cleared(&shaped.drives, &left.surplus(before), before, part_len);
        Ok(shaped)
    }

    fn look_at_drives(&self, geometry: Geometry) -> Result<Shaped, FlowError> {
        let parts_at_most = geometry.parts_at_most();
        let mut drives = Vec::new();
        for path in self.paths {
            let room = os::room(path).at("look at", path)?;
            let reserve = geometry::reserve(self.list_at_most, parts_at_most, room.cluster);
            let cap = self.request.volume_size;
            drives.push(DriveRoom { device: room.device, free: room.free, cluster: room.cluster, cap, reserve });
        }
        for at in geometry::journal_volumes(drives.iter().map(|drive| drive.device)) {
            drives[at].reserve += geometry::journal_at_most(self.tar, parts_at_most, self.entries);
        }
        Ok(Shaped { geometry, drives })
    }
}

/// The room on the drives once this run has removed the parts that do not stay. `surplus` has the bytes of those for
/// each volume; all volumes of a file system share what is freed there. Parts that stay count against `--volume-size`.
fn room_once_cleared(drives: &[DriveRoom], surplus: &[u64], before: &Before, part_len: u64) -> Vec<DriveRoom> {
    let mut cleared = Vec::with_capacity(drives.len());
    for (number, drive) in VolumeNumber::numbered(drives) {
        let kept = before.parts.iter().filter(|part| part.volume == number).count() as u64 * part_len;
        let beside = drives.iter().zip(surplus).filter(|(other, _)| other.device == drive.device);
        let free = drive.free + beside.map(|(_, bytes)| bytes).sum::<u64>();
        cleared.push(DriveRoom { free, cap: drive.cap.map(|cap| cap.saturating_sub(kept)), ..drive.clone() });
    }
    cleared
}

/// Bytes that the tar compresses to, from samples spread evenly over all that is no hole. Sources of up to 16 MiB are
/// sampled completely.
fn estimate(walk: &Walk, layout: &Layout, level: Level) -> Result<u64, FlowError> {
    let holes = holes_in(&walk.entries);
    let hole_bytes: u64 = holes.iter().map(|(_, len)| len).sum();
    let data = layout.tail_start - hole_bytes;
    let samples = side_by_side(
        &sample_starts(data),
        || (Compressor::new(level), memory::zeros(SAMPLE_LEN as usize)),
        |(compressor, buf), start| {
            let compressor = compressor.as_mut().map_err(|error| error.clone())?;
            let sample = fill_sample(walk, layout, &holes, *start, buf);
            Ok::<_, ZstdError>((sample.len() as u64, packed_len(compressor, sample)?))
        },
    );
    let samples = samples.into_iter().collect::<Result<Vec<_>, _>>()?;
    let raw: u64 = samples.iter().map(|(raw, _)| raw).sum();
    let packed: u64 = samples.iter().map(|(_, packed)| packed).sum();
    let ratio = packed as f64 / raw.max(1) as f64;
    // Manifests are hex, which compresses to a little over half. Zeros compress to nearly nothing.
    let tail = (layout.len - layout.tail_start) * 6 / 10;
    Ok((data as f64 * ratio) as u64 + hole_bytes / 4000 + tail)
}

/// Where the samples begin in `data` bytes of tar, holes not counted; each at a whole block.
fn sample_starts(data: u64) -> Vec<u64> {
    let stride = (data / SAMPLES).max(SAMPLE_LEN) / 512 * 512;
    (0..SAMPLES).map(|at| at * stride).filter(|start| *start < data).collect()
}

/// Fills a sample that begins at byte `start`, holes not counted. It ends at the next hole at the latest.
fn fill_sample<'b>(walk: &Walk, layout: &Layout, holes: &[Hole], start: u64, buf: &'b mut [u8]) -> &'b [u8] {
    let (start, follow) = layout.past_holes(holes, start);
    let sample = &mut buf[..SAMPLE_LEN.min(follow) as usize];
    let found = layout.entries_in(&(start..start + sample.len() as u64));
    let entries = (found.start, &walk.entries[found.clone()], &layout.starts[found.clone()]);
    archive::fill(start, sample, entries, |index| walk.open(index), |_, _| true);
    sample
}

/// Bytes that a sample compresses to. It is compressed only if that seems worthwhile, as in packing.
fn packed_len(compressor: &mut Compressor, sample: &[u8]) -> Result<u64, ZstdError> {
    let guess = compressor.sample(sample);
    Ok(if guess < sample.len() { compressor.frame(sample)?.len() as u64 } else { guess as u64 })
}

/// What the plan for people is made of.
struct Outline<'a> {
    shape: Shape<'a>,
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
        let Outline { walk, before, shaped, .. } = *self;
        let request = self.shape.request;
        let geometry = shaped.geometry;
        let part = geometry.class.file_len() as u64;
        let kept = before.parts.len() as u64;
        let again = before.lost(geometry.scheme).len() as u64;
        let reserves: u64 = shaped.drives.iter().map(|drive| drive.reserve).sum();
        Ok(Plan {
            files: self.count(|kind| matches!(kind, Kind::File | Kind::Hardlink(_))),
            folders: self.count(|kind| *kind == Kind::Dir),
            links: self.count(|kind| matches!(kind, Kind::Symlink(_))),
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
            shared_drive: request.volumes.is_none() && share_a_disk(&shaped.drives),
            staged: request.volumes.is_some(),
            volumes: self.volumes(),
        })
    }

    fn count(&self, is_counted: fn(&Kind) -> bool) -> u64 {
        self.walk.entries.iter().filter(|entry| is_counted(&entry.kind)).count() as u64
    }

    fn volumes(&self) -> Vec<VolumePlan> {
        let mut volumes = Vec::new();
        let drives = self.shape.paths.iter().zip(&self.shaped.drives);
        for (number, ((path, drive), parts)) in VolumeNumber::numbered(drives.zip(self.parts_of_each_volume())) {
            let expected = parts * self.placement.cost(number) + drive.reserve;
            let folder = volume::folder(path, number);
            volumes.push(VolumePlan { folder, free: drive.free, cap: drive.cap, expected });
        }
        volumes
    }

    /// How many parts this run is expected to write to each volume, those that are packed again included.
    fn parts_of_each_volume(&self) -> Vec<u64> {
        let scheme = self.shaped.geometry.scheme;
        let held = self.before.parts.iter().map(|part| Home { part: part.id(), volume: part.volume });
        let volumes = self.shape.paths.len() as u16;
        let mut room = self.placement.clone();
        for home in rehome(room.clone(), scheme, volumes, held, &self.before.lost(scheme)) {
            room.put(home.volume);
        }
        room.simulate(self.data_expected).0
    }
}

/// Whether two of the volumes go to one disk, at least in part.
fn share_a_disk(drives: &[DriveRoom]) -> bool {
    let disks: Vec<Device> = drives.iter().map(|drive| os::block(drive.device)).collect();
    (1..disks.len()).any(|at| disks[..at].iter().any(|other| other.shares_a_drive(&disks[at])))
}

#[cfg(test)]
mod tests;
