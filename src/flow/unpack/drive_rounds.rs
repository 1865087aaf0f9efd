//! Unpacks with fewer ports than drives: round after round with the drives that are plugged in, until all parts are
//! placed or the changer brings no more drives. Parts that may be needed once their drive has left its port are copied
//! to the staging folder, sealed as they are.
//!
//! Not guaranteed: that enough is copied. Without room the copying ends, and a drive may have to be plugged in again.

use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use crate::base::entry::Entry;
use crate::base::fault::{At, IoFault};
use crate::base::monitor::{Monitor, Note, NoteKind};
use crate::base::os;
use crate::base::path::as_bytes;
use crate::flow::FlowError;
use crate::flow::bundle::belonging::{Belonging, Marks};
use crate::flow::bundle::open::{Bundle, passed_over};
use crate::flow::bundle::part_finder::Finder;
use crate::flow::drives::unreachable::is_gone;
use crate::flow::unpack::file_writer::Extraction;
use crate::flow::unpack::part_restorer::{Placed, place_parts};
use crate::flow::unpack::report::{BadPart, PartState};
use crate::flow::unpack::resume::{parts_of, to_do};
use crate::format::UNFINISHED;
use crate::format::head::Part;
use crate::format::part::SEALED_CHUNK;
use crate::format::stripe::Scheme;
use crate::plan::repair::Verdict;
use crate::stage::restore::Staging;
use crate::stage::volume::{self, Volume};

/// What a round leaves open, for the user who is asked for more drives.
pub(crate) struct Ask<'a> {
    /// How many volumes the bundle has.
    pub(crate) volumes: u16,
    /// Parts that are missing or damaged.
    pub(crate) bad: &'a [BadPart],
    /// What can be recovered from all drives so far.
    pub(crate) verdict: &'a Verdict,
    /// Folders of volumes whose drives stopped answering.
    pub(crate) gone: &'a [PathBuf],
}

/// Asks the user for more drives.
pub(crate) trait Changer {
    /// Returns the places of the next drives; `None` to end with what is placed.
    fn next(&self, ask: &Ask) -> Result<Option<Vec<PathBuf>>, FlowError>;
}

/// Places all `parts`, by their numbers, apart from those that earlier runs placed.
pub(crate) fn place_all(
    bundle: &mut Bundle,
    extraction: &Extraction,
    parts: &[u32],
    changer: Option<&dyn Changer>,
    monitor: &dyn Monitor,
) -> Result<Placed, FlowError> {
    let mut mended = Vec::new();
    let mut gone = BTreeSet::new();
    let placed_by_earlier_runs = extraction.staging.placed();
    extraction.restart_wrong_files();
    let mut left = to_do(extraction, &bundle.head, parts);
    // A round places what the drives have; the parts left over are tried again in the next one.
    loop {
        add_kept(bundle, extraction)?;
        let mut placed = place_parts(bundle, extraction, &left, &mended, monitor)?;
        mended.append(&mut placed.mended);
        gone.extend(std::mem::take(&mut placed.gone));
        left = placed.bad.iter().map(|part| part.number).collect();
        // Files that came out wrong with pieces from earlier runs are written once more, from all their parts.
        let again = parts_of(extraction, &bundle.head, &extraction.restart_wrong_files());
        if !again.is_empty() && placed.failed.is_none() {
            left = again.into_iter().chain(left).collect::<BTreeSet<u32>>().into_iter().collect();
            continue;
        }
        let more = match changer {
            Some(changer) if !left.is_empty() && placed.failed.is_none() => {
                ask(changer, bundle, extraction, &placed, &gone)?
            }
            _ => None,
        };
        let Some(paths) = more else {
            mended.sort_by_key(|part| part.number);
            mended.dedup_by_key(|part| part.number);
            // Whether what earlier runs placed was whole on its drive is not known.
            let margin = placed.margin.filter(|_| placed_by_earlier_runs.is_empty());
            return Ok(Placed { mended, margin, gone: gone.into_iter().collect(), ..placed });
        };
        // A drive that was gone may be back, so the next round judges anew.
        gone.clear();
        bundle.volumes = scan_places(&paths, bundle, monitor);
    }
}

/// Keeps what may be needed of the drives that are plugged in, and asks for others.
fn ask(
    changer: &dyn Changer,
    bundle: &mut Bundle,
    extraction: &Extraction,
    placed: &Placed,
    gone: &BTreeSet<PathBuf>,
) -> Result<Option<Vec<PathBuf>>, FlowError> {
    bundle.volumes.retain(|volume| !gone.contains(&volume.dir));
    keep_shards(bundle, extraction, &placed.bad)?;
    let gone = Vec::from_iter(gone.iter().cloned());
    let volumes = bundle.head.statement.n;
    changer.next(&Ask { volumes, bad: &placed.bad, verdict: &placed.verdict, gone: &gone })
}

/// The volumes at these places, without those of other bundles. A place that cannot be searched has none.
fn scan_places(paths: &[PathBuf], bundle: &Bundle, monitor: &dyn Monitor) -> Vec<Volume> {
    let mut volumes: Vec<Volume> =
        paths.iter().filter_map(|path| volume::scan(path).ok()).flat_map(|found| found.volumes).collect();
    let marks = Marks::of(&bundle.keyring, Some(&bundle.head));
    volumes.retain(|volume| {
        if let Some(fault) = &volume.fault {
            note_on(monitor, volume, fault.to_string());
        }
        let is_foreign = marks.look_at(volume) == Belonging::Foreign;
        if is_foreign {
            note_on(monitor, volume, passed_over(None));
        }
        !is_foreign
    });
    volumes
}

fn note_on(monitor: &dyn Monitor, volume: &Volume, text: String) {
    monitor.note(&Note::new(NoteKind::Volume, as_bytes(&volume.dir), text));
}

/// Counts the folder of kept parts as a volume.
fn add_kept(bundle: &mut Bundle, extraction: &Extraction) -> Result<(), FlowError> {
    let kept = extraction.staging.kept_parts();
    bundle.volumes.retain(|volume| volume.dir != kept);
    if is_folder(&kept) {
        bundle.volumes.push(volume::read(&kept)?);
    }
    Ok(())
}

/// Copies the parts that the drives have of stripes that are not complete, as far as there is room: the drive that
/// brings the rest may take the port of this one. Copies that are no longer of use are removed.
fn keep_shards(bundle: &Bundle, extraction: &Extraction, bad: &[BadPart]) -> Result<(), FlowError> {
    // Without parity every part stands alone, and is placed as soon as its drive is there.
    let Some(scheme) = bundle.head.statement.scheme else { return Ok(()) };
    match copy_shards(bundle, extraction, scheme, bad) {
        // The system may report room that this user does not get, or that another program takes first.
        Err(FlowError::Io(fault)) if fault.is_full() => Ok(()),
        ended => ended,
    }
}

fn copy_shards(bundle: &Bundle, extraction: &Extraction, scheme: Scheme, bad: &[BadPart]) -> Result<(), FlowError> {
    let dir = extraction.staging.kept_parts();
    if !make_folder(&dir)? {
        return Ok(());
    }
    let stripes = open_stripes(scheme, bad);
    let reserved = bytes_to_write(extraction);
    let files = extraction.entries.len() as u64 + Staging::LATER;
    let len = bundle.head.statement.class.file_len() as u64;
    let finder = Finder::new(bundle);
    let is_wanted = |part: &&Part| part.shard.is_some_and(|shard| stripes.contains(&shard.stripe));
    let (wanted, obsolete): (Vec<&Part>, Vec<&Part>) = bundle.head.parts.iter().partition(is_wanted);
    // Removed first, because they make room.
    for copy in obsolete.iter().map(|part| dir.join(part.file_name())) {
        os::remove_if_there(&copy).at("remove", &copy)?;
    }
    for part in wanted {
        let copy = dir.join(part.file_name());
        if copy.exists() {
            continue;
        }
        let Some(file) = finder.file(part) else { continue };
        let has_files = os::files_left(&dir).at("look at", &dir)?.is_none_or(|left| left > files);
        if !has_files || os::room(&dir).at("look at", &dir)?.free < reserved + len {
            return Ok(());
        }
        keep_part(bundle, &file, &copy, len)?;
    }
    Ok(())
}

/// Stripes that another drive may complete. No drive of a bundle can be lost that spares no volume, so all its drives
/// are plugged in anyway, and only a damaged part gains from copies.
fn open_stripes(scheme: Scheme, bad: &[BadPart]) -> BTreeSet<u32> {
    let gaining = bad.iter().filter(|part| scheme.volumes_spared() > 0 || part.state == PartState::Damaged);
    gaining.map(|part| scheme.of_data(part.number).stripe).collect()
}

/// Bytes of the files that are still to be written. Copies must leave them their room.
fn bytes_to_write(extraction: &Extraction) -> u64 {
    let entries = extraction.entries.iter().enumerate();
    let open = entries.filter(|(index, _)| !extraction.is_whole(*index)).map(|(_, entry)| entry);
    open.map(Entry::stored_size).sum()
}

/// Copies the file of a part. A copy of a drive that went away meanwhile is removed, because it may hold only zeros. So
/// is a copy that the target took in part.
fn keep_part(bundle: &Bundle, file: &Path, copy: &Path, len: u64) -> Result<(), FlowError> {
    let volume = bundle.volumes.iter().find(|volume| file.parent() == Some(&volume.dir));
    let has_zeros = copy_with_zeros(file, copy, len).inspect_err(|_| {
        let _ = std::fs::remove_file(copy.with_file_name(UNFINISHED));
    })?;
    if has_zeros && volume.is_some_and(is_gone) {
        std::fs::remove_file(copy).at("remove", copy)?;
    }
    Ok(())
}

/// Makes a folder. Returns `false` if a file or link has its path, which may lead out of the staging folder.
fn make_folder(dir: &Path) -> Result<bool, IoFault> {
    match std::fs::create_dir(dir) {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => Err(error).at("create", dir),
        Err(_) => Ok(is_folder(dir)),
        Ok(()) => Ok(true),
    }
}

/// Whether a folder has this path. A link to one does not count.
fn is_folder(path: &Path) -> bool {
    path.symlink_metadata().is_ok_and(|meta| meta.is_dir())
}

/// Copies `len` bytes of a file, with zeros for chunks that cannot be read. Returns whether there are such chunks. No
/// copy is made of a file that cannot be opened.
fn copy_with_zeros(from: &Path, to: &Path, len: u64) -> Result<bool, IoFault> {
    let Ok(from) = os::open_regular(from) else { return Ok(false) };
    let temporary = to.with_file_name(UNFINISHED);
    let file = os::create_private(&temporary).at("create", &temporary)?;
    let mut has_zeros = false;
    let mut buf = vec![0; SEALED_CHUNK];
    for at in (0..len).step_by(SEALED_CHUNK) {
        let piece = &mut buf[..(len - at).min(SEALED_CHUNK as u64) as usize];
        if from.read_exact_at(piece, at).is_err() {
            piece.fill(0);
            has_zeros = true;
        }
        file.write_all_at(piece, at).at("write", to)?;
    }
    std::fs::rename(&temporary, to).at("name", to)?;
    Ok(has_zeros)
}

#[cfg(test)]
mod tests;
