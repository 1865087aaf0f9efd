//! From the request to the plan: walk the sources, look at the drives, decide; nothing is written.

use std::path::PathBuf;

use crate::base::digest::Digest;
use crate::base::entry::Kind;
use crate::base::fault::At;
use crate::base::memory;
use crate::base::monitor::{Monitor, Note, NoteKind};
use crate::base::os;
use crate::base::pool::side_by_side;
use crate::flow::FlowError;
use crate::flow::bundle::proofread::check_sequence;
use crate::flow::drives::mounts;
use crate::flow::error::{DriveError, SourceError};
use crate::flow::pack::pipeline::{self, Before};
use crate::flow::pack::report::{Plan, VolumePlan};
use crate::flow::pack::request::PackRequest;
use crate::flow::pack::resume;
use crate::flow::pack::resume::leftover::{self, Left};
use crate::flow::pack::source_reader::SourceReader;
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

/// Samples for the estimate: so many, each so long. Long ones, because short frames compress
/// worse than those that will be written.
const SAMPLES: u64 = 16;
const SAMPLE: u64 = 1 << 20;

/// A plan with all that carrying it out needs.
pub struct Planned {
    /// The sources.
    pub walk: Walk,
    /// Their tar.
    pub layout: Layout,
    /// Size of the parts.
    pub geometry: Geometry,
    /// Which part goes where.
    pub placement: Placement,
    /// What to show.
    pub plan: Plan,
    /// What is worth saying about the sources.
    pub notes: Vec<Note>,
    /// Bytes that the tar is expected to pack to.
    pub estimate: u64,
    /// What each volume keeps for all that is not parts, in bytes.
    pub reserves: Vec<u64>,
    /// Where each volume goes, in the order of their numbers, with its file system.
    pub targets: Vec<VolumeTarget>,
    /// What an interrupted run left.
    pub left: Option<Left>,
    /// And what of it stays.
    pub before: Before,
    /// What the journal says of whom it is sealed to.
    pub whom: Digest,
}

/// Where a volume goes.
#[derive(Debug, Clone)]
pub struct VolumeTarget {
    /// The folder its folder is made in.
    pub path: PathBuf,
    /// Which file system that is on.
    pub device: u64,
}

/// Makes the plan.
pub fn plan(request: &PackRequest, monitor: &dyn Monitor) -> Result<Planned, FlowError> {
    request.check()?;
    let paths = request.target_paths()?;
    let left = leftover::find(&paths)?;
    match &left {
        Some(left) if request.restart => left.may_go(true)?,
        Some(left) => drop(left.journal()?),
        None => {}
    }
    if request.replaced && left.is_none() {
        let text = "--replaced: at these places there is nothing that an interrupted run left; name its drives in their order, with the new one in the place of the old".into();
        return Err(FlowError::Usage(text));
    }
    let mut walk = walk(&request.sources, monitor)?;
    let mut notes = std::mem::take(&mut walk.notes);
    let (layout, list) = lay_out_for_readers(&mut walk, &mut notes)?;
    let mut beginning = memory::zeros(SAMPLE.min(layout.tail_start) as usize);
    let read = SourceReader::new(&walk, &layout, monitor).raw(0, &mut beginning);
    if let Err(FlowError::Source(SourceError::Walk(gone))) = read {
        return Err(gone.into());
    }
    let whom = resume::whom(request, &walk, &beginning);
    let before = match left.as_ref().filter(|_| !request.restart) {
        Some(left) => {
            left.check(request, &walk, (whom, read)).inspect_err(|_| {
                // What could not be read now may be what is missed.
                let unreadable = notes.iter().filter(|note| note.kind == NoteKind::Unreadable);
                unreadable.for_each(|note| monitor.note(note));
            })?;
            left.verify((layout.len, layout.tail_start), request.replaced, monitor)?
        }
        None => Before::default(),
    };
    let shape = Shape { request, paths: &paths, list, tar: layout.len, entries: walk.entries.len() };
    let (geometry, targets, drives) = match left.as_ref() {
        Some(left) => shape.after(left, &before)?,
        None => shape.choose()?,
    };
    let placement = Placement::new(&drives, geometry.class, request.fill, geometry.scheme).after(before.stripes);
    let estimate = estimate(&walk, &layout, request.level)?;
    let still = (u128::from(estimate) * u128::from(layout.len - before.tar) / u128::from(layout.len.max(1))) as u64;
    let expected = geometry::data_expected(still, geometry.class).min((geometry.data_at_most - before.data).into());
    let expected = if before.tar == layout.len { 0 } else { expected };
    let mut plan = describe(request, &walk, geometry, (&before, expected))?;
    let (shares, _) = with_lost(placement.clone(), &before, geometry, paths.len() as u16).simulate(expected);
    plan.room = geometry.parts(placement.capacity()) * geometry.class.file_len() as u64;
    plan.volumes = paths
        .iter()
        .zip(&drives)
        .zip(shares)
        .enumerate()
        .map(|(at, ((path, drive), parts))| VolumePlan {
            folder: volume::folder(path, at as u16 + 1),
            free: drive.free,
            cap: drive.cap,
            expected: parts * placement.cost(at as u16 + 1) + drive.reserve,
        })
        .collect();
    count_small_files(&mut plan, &drives);
    notes.extend(mounts::notes(targets.iter().map(|target| (&*target.path, target.device)), &request.sources));
    plan.begins_anew = left.is_some() && before.recipes.is_empty() && !request.restart;
    plan.shared_drive = request.volumes.is_none()
        && (1..targets.len())
            .any(|at| targets[..at].iter().any(|t| os::block(t.device).shares_a_drive(&os::block(targets[at].device))));
    let reserves = drives.iter().map(|drive| drive.reserve).collect();
    Ok(Planned { walk, layout, geometry, placement, plan, notes, estimate, reserves, targets, left, before, whom })
}

/// The layout of the tar, and the most bytes of the list's text. What no reader would take is refused before it is
/// written.
fn lay_out_for_readers(walk: &mut Walk, notes: &mut Vec<Note>) -> Result<(Layout, u64), FlowError> {
    let sizes = walk.entries.iter().fold(0_u64, |sum, entry| sum.saturating_add(entry.size));
    FormatError::check_limit("the bytes of all files", sizes, limits::TAR)?;
    let layout = lay_out(&mut walk.entries, notes);
    let list = geometry::list_at_most(&walk.entries);
    FormatError::check_limit("the length of the list", list, limits::LIST)?;
    check_sequence(&walk.entries, layout.len)?;
    Ok((layout, list))
}

/// Adds the bytes that seals, heads and lists may take.
fn count_small_files(plan: &mut Plan, drives: &[DriveRoom]) {
    let bytes: u64 = drives.iter().map(|drive| drive.reserve).sum();
    plan.expected += bytes;
    plan.at_most += bytes;
    plan.room += bytes;
}

impl Planned {
    /// Refuses a plan whose expected size the drives cannot hold.
    pub fn check_room(&self) -> Result<(), FlowError> {
        for (volume, reserve) in self.plan.volumes.iter().zip(&self.reserves) {
            let room = volume.cap.map_or(volume.free, |cap| cap.min(volume.free));
            if room < *reserve {
                return Err(FlowError::Drive(DriveError::TooSmall {
                    folder: volume.folder.clone(),
                    needed: *reserve,
                    room,
                }));
            }
        }
        let (needed, room) = (self.plan.expected, self.plan.room);
        if needed > room { Err(FlowError::Drive(DriveError::NoRoom { needed, room })) } else { Ok(()) }
    }
}

/// What decides how the bundle is cut.
struct Shape<'a> {
    request: &'a PackRequest,
    paths: &'a [PathBuf],
    list: u64,
    tar: u64,
    entries: usize,
}

type Shaped = (Geometry, Vec<VolumeTarget>, Vec<DriveRoom>);

impl Shape<'_> {
    /// Size of the parts and shape of the stripes. The one depends on the other, and what drives
    /// hold on both: the shape is found with parts as they would be without parity.
    fn choose(&self) -> Result<Shaped, FlowError> {
        let (request, volumes) = (self.request, self.paths.len() as u16);
        let largest = match request.level {
            Level::Zstd(13..) => geometry::LARGEST_AT_HIGH_LEVELS,
            _ => geometry::LARGEST,
        };
        let plain = geometry::choose(self.tar, volumes, None, largest)?;
        let (_, drives) = self.look_at_drives(plain)?;
        let room = Placement::new(&drives, plain.class, request.fill, None);
        let scheme =
            parity::choose(request.parity, volumes, |scheme| room.stripes(scheme)).map_err(FlowError::Usage)?;
        let geometry = geometry::choose(self.tar, volumes, scheme, largest)?;
        let (targets, drives) = self.look_at_drives(geometry)?;
        Ok((geometry, targets, drives))
    }

    /// The same where an earlier run has chosen, if something of it stays; what does not makes room.
    fn after(&self, left: &Left, before: &Before) -> Result<Shaped, FlowError> {
        let (geometry, targets, mut drives) = match before.recipes.is_empty() {
            true => self.choose()?,
            false => {
                let opening = &left.journal()?.opening;
                let geometry = geometry::of_class(self.tar, opening.class, opening.scheme);
                let (targets, drives) = self.look_at_drives(geometry)?;
                (geometry, targets, drives)
            }
        };
        let surplus = left.surplus(before);
        let part = geometry.class.file_len() as u64;
        let of_device = |device: u64| -> u64 {
            drives.iter().zip(&surplus).filter(|(drive, _)| drive.device == device).map(|(_, more)| more).sum()
        };
        let free: Vec<u64> = drives.iter().map(|drive| drive.free + of_device(drive.device)).collect();
        for (at, (drive, free)) in drives.iter_mut().zip(free).enumerate() {
            let kept = before.parts.iter().filter(|part| usize::from(part.volume) == at + 1).count() as u64 * part;
            drive.free = free;
            drive.cap = drive.cap.map(|cap| cap.saturating_sub(kept));
        }
        Ok((geometry, targets, drives))
    }

    fn look_at_drives(&self, geometry: Geometry) -> Result<(Vec<VolumeTarget>, Vec<DriveRoom>), FlowError> {
        let journal = geometry::journal_at_most(self.tar, geometry.parts_at_most(), self.entries);
        let look = |(at, path): (usize, &PathBuf)| {
            let room = os::room(path).at("look at", path)?;
            let reserve = geometry::reserve(self.list, geometry.parts_at_most(), room.cluster)
                + if at == 0 { journal } else { 0 };
            let cap = self.request.volume_size;
            let drive = DriveRoom { device: room.device, free: room.free, cluster: room.cluster, cap, reserve };
            Ok((VolumeTarget { path: path.clone(), device: room.device }, drive))
        };
        self.paths.iter().enumerate().map(look).collect()
    }
}

/// Bytes that the tar compresses to, from samples spread over what is no hole; exact for small ones.
fn estimate(walk: &Walk, layout: &Layout, level: Level) -> Result<u64, FlowError> {
    let holes = holes_in(&walk.entries);
    let nothing: u64 = holes.iter().map(|(_, len)| len).sum();
    let data = layout.tail_start - nothing;
    let stride = (data / SAMPLES).max(SAMPLE) / 512 * 512;
    let starts: Vec<u64> = (0..SAMPLES).map(|at| at * stride).filter(|start| *start < data).collect();
    let tools = || (Compressor::new(level), memory::zeros(SAMPLE as usize));
    let measured = side_by_side(&starts, tools, |(compressor, buf), start| {
        let compressor = compressor.as_mut().map_err(|error| error.clone())?;
        let (start, follow) = layout.past_holes(&holes, *start);
        let buf = &mut buf[..SAMPLE.min(follow) as usize];
        let found = layout.entries_in(&(start..start + buf.len() as u64));
        let entries = (found.start, &walk.entries[found.clone()], &layout.starts[found.clone()]);
        archive::fill(start, buf, entries, |index| walk.open(index), |_, _| true);
        let sampled = compressor.sample(buf);
        let packed = if sampled < buf.len() { compressor.frame(buf)?.len() } else { sampled };
        Ok::<(u64, u64), ZstdError>((buf.len() as u64, packed as u64))
    });
    let (mut raw, mut packed) = (0, 0);
    for result in measured {
        let (sample, came) = result?;
        (raw, packed) = (raw + sample, packed + came);
    }
    // The manifests are hex: they compress to a little over half. Zeros to nearly nothing.
    let tail = (layout.len - layout.tail_start) * 6 / 10;
    let ratio = packed as f64 / raw.max(1) as f64;
    Ok((data as f64 * ratio) as u64 + nothing / 4000 + tail)
}

/// The room that is left once what is lost has been packed again.
fn with_lost(mut room: Placement, before: &Before, geometry: Geometry, volumes: u16) -> Placement {
    let held = before.parts.iter().map(|part| Home { part: part.id(), volume: part.volume });
    let lost = before.lost(geometry.scheme);
    for home in rehome(room.clone(), geometry.scheme, volumes, held, &lost) {
        room.put(home.volume);
    }
    room
}

fn describe(
    request: &PackRequest,
    walk: &Walk,
    geometry: Geometry,
    (before, data_expected): (&Before, u64),
) -> Result<Plan, FlowError> {
    let count = |wanted: fn(&Kind) -> bool| walk.entries.iter().filter(|entry| wanted(&entry.kind)).count() as u64;
    let part = geometry.class.file_len() as u64;
    let again = before.lost(geometry.scheme).len() as u64;
    Ok(Plan {
        files: count(|kind| matches!(kind, Kind::File | Kind::Hardlink(_))),
        folders: count(|kind| *kind == Kind::Dir),
        links: count(|kind| matches!(kind, Kind::Symlink(_))),
        bytes: walk.entries.iter().map(|entry| entry.size).sum(),
        class: geometry.class.mib(),
        expected: (geometry.parts(data_expected) + again) * part,
        at_most: u64::from(geometry.parts_at_most()).saturating_sub(before.parts.len() as u64) * part,
        packed: before.parts.len() as u64 * part,
        again: again * part,
        parity: geometry.scheme,
        room: 0,
        recipients: request.recipients.len(),
        passphrase: request.passphrase.is_some(),
        memory: pipeline::memory(geometry, walk.entries.len(), request.outputs.len(), request.level)?,
        sequential: request.fill == Fill::Sequential,
        begins_anew: false,
        shared_drive: false,
        staged: request.volumes.is_some(),
        volumes: Vec::new(),
    })
}
