//! Placing with fewer ports than drives: round after round with the drives that are there, until
//! all parts are placed or nobody brings more. What may be needed once a drive is gone is kept
//! beside the output, sealed as it is.

use std::collections::BTreeSet;
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
use crate::format::part::SEALED_CHUNK;
use crate::plan::repair::Verdict;
use crate::stage::volume::{self, Volume};

/// What is still wanted.
pub struct Ask<'a> {
    /// Volumes of the bundle.
    pub volumes: u16,
    /// Parts that are missing or damaged.
    pub bad: &'a [BadPart],
    /// What can be had so far.
    pub verdict: &'a Verdict,
    /// Folders of volumes whose drives stopped answering.
    pub gone: &'a [PathBuf],
}

/// Somebody who brings drives.
pub trait Changer {
    /// Where the next drives are; `None` to end with what there is.
    fn next(&self, ask: &Ask) -> Result<Option<Vec<PathBuf>>, FlowError>;
}

/// Places all `parts`, by their numbers, but for what earlier runs have placed.
pub fn place_all(
    bundle: &mut Bundle,
    extraction: &Extraction,
    parts: &[u32],
    changer: Option<&dyn Changer>,
    monitor: &dyn Monitor,
) -> Result<Placed, FlowError> {
    let (mut mended, mut gone) = (Vec::new(), BTreeSet::new());
    extraction.restart_wrong_files();
    let mut left = to_do(extraction, &bundle.head, parts);
    loop {
        add_kept(bundle, extraction)?;
        let mut placed = place_parts(bundle, extraction, &left, monitor)?;
        mended.append(&mut placed.mended);
        gone.extend(std::mem::take(&mut placed.gone));
        left = placed.bad.iter().map(|part| part.number).collect();
        let again = parts_of(extraction, &bundle.head, &extraction.restart_wrong_files());
        if !again.is_empty() && placed.failed.is_none() {
            left = again.into_iter().chain(left).collect::<BTreeSet<u32>>().into_iter().collect();
            continue;
        }
        let changer = changer.filter(|_| !left.is_empty() && placed.failed.is_none());
        let more = match changer {
            Some(changer) => {
                bundle.volumes.retain(|volume| !gone.contains(&volume.dir));
                keep_shards(bundle, extraction, &placed.bad)?;
                let (volumes, gone) = (bundle.head.statement.n, &Vec::from_iter(gone.iter().cloned()));
                changer.next(&Ask { volumes, bad: &placed.bad, verdict: &placed.verdict, gone })?
            }
            None => None,
        };
        let Some(paths) = more else { return Ok(Placed { mended, gone: gone.into_iter().collect(), ..placed }) };
        gone.clear();
        bundle.volumes = look(&paths, bundle, monitor);
    }
}

/// The volumes that are at these places now.
fn look(paths: &[PathBuf], bundle: &Bundle, monitor: &dyn Monitor) -> Vec<Volume> {
    let mut volumes: Vec<Volume> =
        paths.iter().filter_map(|path| volume::scan(path).ok()).flat_map(|found| found.volumes).collect();
    let marks = Marks::of(&bundle.keyring, Some(&bundle.head));
    volumes.retain(|volume| {
        if let Some(fault) = &volume.fault {
            monitor.note(&Note::new(NoteKind::Volume, as_bytes(&volume.dir), fault.to_string()));
        }
        let is_foreign = marks.look_at(volume) == Belonging::Foreign;
        if is_foreign {
            monitor.note(&Note::new(NoteKind::Volume, as_bytes(&volume.dir), passed_over(None)));
        }
        !is_foreign
    });
    volumes
}

/// Parts that were kept count as a volume.
fn add_kept(bundle: &mut Bundle, extraction: &Extraction) -> Result<(), FlowError> {
    let kept = extraction.staging.kept_parts();
    bundle.volumes.retain(|volume| volume.dir != kept);
    if is_folder(&kept) {
        bundle.volumes.push(volume::read(&kept)?);
    }
    Ok(())
}

/// Copies what is at hand of stripes that are not complete, as far as there is room: the drive
/// that brings the rest may take the port of this one. Bundles that no drive may be lost of gain
/// nothing from that, but for stripes in which something is damaged.
fn keep_shards(bundle: &Bundle, extraction: &Extraction, bad: &[BadPart]) -> Result<(), FlowError> {
    let head = &bundle.head;
    let Some(scheme) = head.statement.scheme else { return Ok(()) };
    let of_use = |part: &&BadPart| scheme.volumes_spared() > 0 || part.state == PartState::Damaged;
    let stripes: BTreeSet<u32> = bad.iter().filter(of_use).map(|part| scheme.of_data(part.number).0).collect();
    let in_work = |stripe: Option<(u32, u16)>| stripe.is_some_and(|(stripe, _)| stripes.contains(&stripe));
    let dir = extraction.staging.kept_parts();
    match std::fs::create_dir(&dir) {
        // Whatever else stands there leads somewhere else.
        Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => Err(error).at("create", &dir)?,
        Err(_) if !is_folder(&dir) => return Ok(()),
        _ => {}
    }
    let open = |(index, entry): (usize, &Entry)| if extraction.is_whole(index) { 0 } else { entry.stored_size() };
    let wanted: u64 = extraction.entries.iter().enumerate().map(open).sum();
    let (finder, len) = (Finder::new(bundle), head.statement.class.file_len() as u64);
    for part in &head.parts {
        let copy = dir.join(part.file_name());
        match (in_work(part.stripe), copy.exists()) {
            (false, true) => std::fs::remove_file(&copy).at("remove", &copy)?,
            (true, false) => {
                let Some(file) = finder.file(part) else { continue };
                if os::room(&dir).at("look at", &dir)?.free < wanted + len {
                    return Ok(());
                }
                let volume = bundle.volumes.iter().find(|volume| file.parent() == Some(&volume.dir));
                if !copy_readable(&file, &copy, len)? && volume.is_some_and(is_gone) {
                    // Zeros are all that came of it.
                    std::fs::remove_file(&copy).at("remove", &copy)?;
                }
            }
            _ => {}
        }
    }
    Ok(())
}

fn is_folder(path: &Path) -> bool {
    path.symlink_metadata().is_ok_and(|meta| meta.is_dir())
}

/// Copies what can be read of a file; zeros for what cannot. Whether that was all.
fn copy_readable(from: &Path, to: &Path, len: u64) -> Result<bool, IoFault> {
    let mut whole = true;
    let Ok(from) = os::open_regular(from) else { return Ok(true) };
    let temporary = to.with_file_name(UNFINISHED);
    let file = os::create_private(&temporary).at("create", &temporary)?;
    let mut buf = vec![0; SEALED_CHUNK];
    for at in (0..len).step_by(SEALED_CHUNK) {
        let piece = &mut buf[..(len - at).min(SEALED_CHUNK as u64) as usize];
        if from.read_exact_at(piece, at).is_err() {
            piece.fill(0);
            whole = false;
        }
        file.write_all_at(piece, at).at("write", to)?;
    }
    std::fs::rename(&temporary, to).at("name", to)?;
    Ok(whole)
}
