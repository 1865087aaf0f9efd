//! From the request to the plan: walk the sources, look at the drives, decide; nothing is written.

use std::path::PathBuf;

use crate::base::entry::Kind;
use crate::base::fault::At;
use crate::base::monitor::{Monitor, Note};
use crate::base::os;
use crate::base::path::show;
use crate::base::pool::side_by_side;
use crate::base::secret::SecretText;
use crate::flow::FlowError;
use crate::flow::engine;
use crate::flow::report::{Plan, VolumePlan};
use crate::format::{FormatError, limits};
use crate::plan::geometry::{self, Geometry};
use crate::plan::layout::{Layout, holes_in, lay_out};
use crate::plan::parity::{self, Wish};
use crate::plan::placement::{Drive, Fill, Placement};
use crate::stage::archive;
use crate::stage::compress::{Compressor, Level, ZstdError};
use crate::stage::seal::Recipient;
use crate::stage::volume;
use crate::stage::walk::{Walk, source_around, walk};

/// Samples for the estimate: so many, each so long. Long ones, because short frames compress
/// worse than those that will be written.
const SAMPLES: u64 = 16;
const SAMPLE: u64 = 1 << 20;

/// What somebody wants packed.
pub struct Request {
    /// Files and folders.
    pub sources: Vec<PathBuf>,
    /// Who can open it.
    pub recipients: Vec<Recipient>,
    /// A passphrase that opens it.
    pub passphrase: Option<SecretText>,
    /// One per drive, or one folder in which `volumes` are staged.
    pub outputs: Vec<PathBuf>,
    /// How many volumes to stage in the one output.
    pub volumes: Option<u16>,
    /// The most that a volume may take, in bytes.
    pub volume_size: Option<u64>,
    /// In which order volumes are filled.
    pub fill: Fill,
    /// How hard to compress.
    pub level: Level,
    /// What may be lost or damaged.
    pub parity: Wish,
}

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
    pub targets: Vec<Target>,
}

/// Where a volume goes.
#[derive(Debug, Clone)]
pub struct Target {
    /// The folder its folder is made in.
    pub path: PathBuf,
    /// Which file system that is on.
    pub device: u64,
}

/// Makes the plan.
pub fn plan(request: &Request, monitor: &dyn Monitor) -> Result<Planned, FlowError> {
    check_request(request)?;
    let paths = target_paths(request)?;
    let mut walk = walk(&request.sources, monitor)?;
    let mut notes = std::mem::take(&mut walk.notes);
    let layout = lay_out(&mut walk.entries, &mut notes);
    // What no reader would take is refused before it is written.
    let list = geometry::list_at_most(&walk.entries);
    FormatError::limit("the length of the list", list, limits::LIST)?;
    let (geometry, targets, drives) = shape(request, &paths, list, layout.len)?;
    let placement = Placement::new(&drives, geometry.class, request.fill, geometry.scheme);
    let estimate = estimate(&walk, &layout, request.level)?;
    let expected = geometry::data_expected(estimate, geometry.class).min(geometry.data_at_most.into());
    let mut plan = describe(request, &walk, geometry, expected)?;
    let (shares, _) = placement.simulate(expected);
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
    plan.shared_drive = request.volumes.is_none()
        && (1..targets.len()).any(|at| targets[..at].iter().any(|t| t.device == targets[at].device));
    let reserves = drives.iter().map(|drive| drive.reserve).collect();
    Ok(Planned { walk, layout, geometry, placement, plan, notes, estimate, reserves, targets })
}

impl Planned {
    /// Refuses a plan whose expected size the drives cannot hold.
    pub fn check_room(&self) -> Result<(), FlowError> {
        for (volume, reserve) in self.plan.volumes.iter().zip(&self.reserves) {
            let room = volume.cap.map_or(volume.free, |cap| cap.min(volume.free));
            if room < *reserve {
                return Err(FlowError::DriveTooSmall { folder: volume.folder.clone(), needed: *reserve, room });
            }
        }
        let (needed, room) = (self.plan.expected, self.plan.room);
        if needed > room { Err(FlowError::NoRoom { needed, room }) } else { Ok(()) }
    }
}

fn check_request(request: &Request) -> Result<(), FlowError> {
    let usage = |text: String| Err(FlowError::Usage(text));
    if request.recipients.is_empty() && request.passphrase.is_none() {
        return usage("nobody could open it: give a recipient (-r age1...) or a passphrase (-p)".into());
    }
    if request.recipients.len() > limits::RECIPIENTS {
        return usage(format!(
            "{} recipients are given, at most {} fit into a seal",
            request.recipients.len(),
            limits::RECIPIENTS
        ));
    }
    if request.volumes.is_some() && request.outputs.len() != 1 {
        return usage(format!(
            "--volumes stages volumes in one folder, and {} are given with -o",
            request.outputs.len()
        ));
    }
    if request.parity.lose > 0 && request.fill == Fill::Sequential {
        return usage(
            "--fill sequential keeps files together on one drive, --lose must not: leave one of them out".into(),
        );
    }
    let volumes = request.volumes.map_or(request.outputs.len(), usize::from);
    if volumes == 0 || volumes > usize::from(limits::VOLUMES) {
        return usage(format!("{volumes} volumes are asked for; 1 to {} are possible", limits::VOLUMES));
    }
    Ok(())
}

/// The folder each volume's folder is made in; they exist and lie outside the sources.
fn target_paths(request: &Request) -> Result<Vec<PathBuf>, FlowError> {
    let paths: Vec<PathBuf> = match request.volumes {
        Some(volumes) => vec![request.outputs[0].clone(); usize::from(volumes)],
        None => request.outputs.clone(),
    };
    for (at, path) in paths.iter().enumerate() {
        if !path.is_dir() {
            let missing = format!("{} is no folder; is the drive plugged in and mounted?", show(path));
            return Err(FlowError::Usage(missing));
        }
        if let Some(source) = source_around(&request.sources, path)? {
            let text = format!(
                "{} lies in {}, which is to be packed: the bundle would contain itself",
                show(path),
                show(source)
            );
            return Err(FlowError::Usage(text));
        }
        let folder = volume::folder(path, at as u16 + 1);
        if !volume::is_free(&folder) {
            return Err(FlowError::VolumeExists(folder));
        }
    }
    Ok(paths)
}

/// Size of the parts and shape of the stripes. The one depends on the other, and what drives hold
/// on both: the shape is found with parts as they would be without parity.
fn shape(
    request: &Request,
    paths: &[PathBuf],
    list: u64,
    tar: u64,
) -> Result<(Geometry, Vec<Target>, Vec<Drive>), FlowError> {
    let volumes = paths.len() as u16;
    let largest = match request.level {
        Level::Zstd(13..) => geometry::LARGEST_AT_HIGH_LEVELS,
        _ => geometry::LARGEST,
    };
    let plain = geometry::choose(tar, volumes, None, largest)?;
    let (_, drives) = look_at_drives(request, paths, list, plain)?;
    let room = Placement::new(&drives, plain.class, request.fill, None);
    let scheme = parity::choose(request.parity, volumes, |scheme| room.stripes(scheme)).map_err(FlowError::Usage)?;
    let geometry = geometry::choose(tar, volumes, scheme, largest)?;
    let (targets, drives) = look_at_drives(request, paths, list, geometry)?;
    Ok((geometry, targets, drives))
}

fn look_at_drives(
    request: &Request,
    paths: &[PathBuf],
    list: u64,
    geometry: Geometry,
) -> Result<(Vec<Target>, Vec<Drive>), FlowError> {
    let look = |path: &PathBuf| {
        let room = os::room(path).at("look at", path)?;
        let reserve = geometry::reserve(list, geometry.parts_at_most(), room.cluster);
        let drive =
            Drive { device: room.device, free: room.free, cluster: room.cluster, cap: request.volume_size, reserve };
        Ok((Target { path: path.clone(), device: room.device }, drive))
    };
    paths.iter().map(look).collect()
}

/// Bytes that the tar compresses to, from samples spread over what is no hole; exact for small ones.
fn estimate(walk: &Walk, layout: &Layout, level: Level) -> Result<u64, FlowError> {
    let holes = holes_in(&walk.entries);
    let nothing: u64 = holes.iter().map(|(_, len)| len).sum();
    let data = layout.tail_start - nothing;
    let stride = (data / SAMPLES).max(SAMPLE) / 512 * 512;
    let starts: Vec<u64> = (0..SAMPLES).map(|at| at * stride).filter(|start| *start < data).collect();
    let tools = || (Compressor::new(level), vec![0; SAMPLE as usize]);
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

fn describe(request: &Request, walk: &Walk, geometry: Geometry, data_expected: u64) -> Result<Plan, FlowError> {
    let count = |wanted: fn(&Kind) -> bool| walk.entries.iter().filter(|entry| wanted(&entry.kind)).count() as u64;
    let part = geometry.class.file_len() as u64;
    Ok(Plan {
        files: count(|kind| matches!(kind, Kind::File | Kind::Hardlink(_))),
        folders: count(|kind| *kind == Kind::Dir),
        links: count(|kind| matches!(kind, Kind::Symlink(_))),
        bytes: walk.entries.iter().map(|entry| entry.size).sum(),
        class: geometry.class.mib(),
        expected: geometry.parts(data_expected) * part,
        at_most: u64::from(geometry.parts_at_most()) * part,
        parity: geometry.scheme,
        room: 0,
        recipients: request.recipients.len(),
        passphrase: request.passphrase.is_some(),
        memory: engine::memory(geometry, walk.entries.len(), request.outputs.len(), request.level)?,
        sequential: request.fill == Fill::Sequential,
        shared_drive: false,
        volumes: Vec::new(),
    })
}
