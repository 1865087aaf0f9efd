//! Salvages a bundle of which every head or every list is lost or damaged: what is whole is delivered. Without a head,
//! parts tell themselves which they are (`head_from_parts`). Without a list, the tar tells which files there are
//! (`entries_from_tar`), and its manifests what their contents should be.
//!
//! Not guaranteed: that nothing is missing. The report claims that only if a list or a manifest proves it.

mod entries_from_tar;
mod head_from_parts;
pub(crate) mod report;

use std::borrow::Cow;
use std::collections::BTreeSet;

use crate::base::entry::Entry;
use crate::base::monitor::{Monitor, Note, NoteKind};
use crate::base::path::{BytePath, as_bytes, is_at_or_below};
use crate::flow::bundle::open::{Bundle, Unsealed, unseal};
use crate::flow::bundle::scan::{gather_noting, notes_on_places};
use crate::flow::drives::unreachable::{denied_among, gone_among, or_gone};
use crate::flow::error::{BadCopy, BundleError, CopyFault, NoCopy};
use crate::flow::salvage::entries_from_tar::{Unlisted, read_tar};
use crate::flow::salvage::head_from_parts::{FAR, from_leads};
use crate::flow::salvage::report::{Basis, Salvaged};
use crate::flow::unpack::report::{Cause, Lost};
use crate::flow::unpack::{Rounds, UnpackRequest, chosen, unpack, unpack_opened};
use crate::flow::{FlowError, Outcome};
use crate::format::FormatError;
use crate::format::head::Head;
use crate::format::manifest::Manifest;
use crate::plan::select::meant;
use crate::plan::tar_recovery::{Recovered, recover};
use crate::stage::seal::Keyring;
use crate::stage::untar::Members;
use crate::stage::volume::Volume;

/// Unpacks a bundle with head and list, or with what else there is to go by. At least one seal has to open.
pub(crate) fn salvage(
    request: &UnpackRequest,
    keyring: &Keyring,
    monitor: &dyn Monitor,
) -> Result<Salvaged, FlowError> {
    let (volumes, passed_over) = gather_noting(&request.volumes)?;
    let mut unsealed = unseal(volumes, keyring, request.bundle.as_ref())?;
    unsealed.notes.splice(0..0, notes_on_places(&passed_over));
    let volumes = unsealed.volumes.clone();
    let mut salvaged =
        unsealed_salvage(request, unsealed, keyring, monitor).map_err(|error| or_gone(error, &volumes))?;
    if !salvaged.complete() {
        // A drive may have gone before any part was placed, when the unpacking did not look yet.
        salvaged.report.gone = gone_among(&volumes);
        salvaged.report.denied = denied_among(&volumes);
    }
    Ok(salvaged)
}

/// Salvages with the best basis there is: head and list, a list alone, or the tar alone.
fn unsealed_salvage(
    request: &UnpackRequest,
    unsealed: Unsealed,
    keyring: &Keyring,
    monitor: &dyn Monitor,
) -> Result<Salvaged, FlowError> {
    let (mut bundle, mut basis) = bundle_with_any_head(request, unsealed)?;
    let list = if basis.head { bundle.read_list() } else { bundle.read_list_of(FAR, None) };
    match usable(list, request, &mut bundle.notes)? {
        // Neither is lost, so this is an ordinary unpacking.
        Some(_) if basis.head => Ok(Salvaged::of_whole(unpack(request, keyring, None, monitor)?)),
        Some(entries) => {
            basis.list = true;
            let entries = chosen(entries, &request.only)?;
            Ok(Salvaged { report: unpack_opened(request, &mut bundle, entries, Rounds::Last, monitor)?, basis })
        }
        None => by_the_tar(request, &mut bundle, basis, monitor),
    }
}

/// The bundle with its head, or with one made from its parts. The basis says which.
///
/// # Errors
/// Without a head, a bundle that was chosen by its fingerprint cannot be told from others.
fn bundle_with_any_head(request: &UnpackRequest, mut unsealed: Unsealed) -> Result<(Bundle, Basis), FlowError> {
    if let Some(head) = usable(unsealed.head(), request, &mut unsealed.notes)? {
        return Ok((unsealed.with(head), Basis { head: true, ..Basis::default() }));
    }
    if request.bundle.is_some() {
        let text = "without a head there is no fingerprint to hold --bundle against; nothing was written";
        return Err(FlowError::Usage(text.into()));
    }
    let idle_parity = count_parity_files(&unsealed.volumes);
    let bundle = from_leads(unsealed)?;
    let end = bundle.head.data_parts().last().map(|(_, offset, length)| offset + length);
    Ok((bundle, Basis { idle_parity, endless: end == Some(FAR), ..Basis::default() }))
}

/// A head or list that opened; `None`, with a note, if no copy can be used and the salvage can do without.
fn usable<T>(
    opened: Result<T, FlowError>,
    request: &UnpackRequest,
    notes: &mut Vec<Note>,
) -> Result<Option<T>, FlowError> {
    match opened {
        Ok(opened) => Ok(Some(opened)),
        Err(FlowError::Bundle(BundleError::NoCopy(none))) if can_do_without(&none) => {
            notes.push(note_on_volumes(request, none.to_string()));
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// Whether no later try can use a copy. A copy that this user may not read, or that a newer pouch may read, is better
/// than a salvage.
fn can_do_without(none: &NoCopy) -> bool {
    none.outcome() != Outcome::Usage && !none.bad.iter().any(is_denied)
}

fn is_denied(bad: &BadCopy) -> bool {
    matches!(bad.fault, CopyFault::Denied(_))
}

/// A note about all volumes, under the path of the first place that was given.
fn note_on_volumes(request: &UnpackRequest, text: String) -> Note {
    Note::new(NoteKind::Volume, request.volumes.first().map_or(b"", |path| as_bytes(path)), text)
}

/// How many parity parts the volumes have. Copies of one count once.
fn count_parity_files(volumes: &[Volume]) -> usize {
    let names = volumes.iter().flat_map(|volume| &volume.files).map(|file| file.name.as_str());
    names.filter(|name| name.ends_with(".par")).collect::<BTreeSet<_>>().len()
}

/// Salvages a bundle without a list: reads the tar once for its entries, and once more for their contents.
fn by_the_tar(
    request: &UnpackRequest,
    bundle: &mut Bundle,
    mut basis: Basis,
    monitor: &dyn Monitor,
) -> Result<Salvaged, FlowError> {
    let Unlisted { members, damaged } = read_tar(bundle, monitor)?;
    let Members { whole, torn, manifests, refused, broken, gaps, ended } = members;
    let [manifest, sums] = manifests.each_ref().map(Option::as_deref);
    let manifest = manifest.and_then(|text| Manifest::parse(text, sums).ok());
    let recovered = recover(whole, torn, manifest.as_ref());
    basis.manifest = manifest.is_some();
    basis.seamless = ended && !gaps;
    let reasons = LossReasons { head: &bundle.head, damaged: &damaged, seamless: basis.seamless };
    let mut lost = reasons.lost(&recovered, manifest.as_ref());
    // The manifests may take much memory, and nothing reads them any more.
    drop(manifest);
    drop(manifests);
    for (path, text) in refused {
        lost.push(Lost { path, cause: Cause::Damaged, why: text.into() });
    }
    let Recovered { entries, made, unvouched, .. } = recovered;
    let selection = Selection::new(&request.only, &entries, &lost);
    lost.retain(|lost| selection.includes(&lost.path));
    let entries = selection.choose(entries, &lost)?;
    let mut report = unpack_opened(request, bundle, entries, Rounds::Last, monitor)?;
    basis.unproven = report.unproven;
    for lost in &mut report.lost {
        lost.why = name_manifest(std::mem::take(&mut lost.why));
    }
    report.files += lost.len() as u64;
    report.lost.append(&mut lost);
    report.notes.extend(flaws(&unvouched, &made, &selection));
    report.notes.extend(broken.iter().map(|(at, error)| note_unreadable(*at, error)));
    Ok(Salvaged { report, basis })
}

fn note_unreadable(at: u64, error: &FormatError) -> Note {
    Note::new(NoteKind::Volume, b"", format!("the tar cannot be read at byte {at}: {error}"))
}

/// Names the manifest where an unpacking names the list: without a list, the digests come from the manifest.
fn name_manifest(why: Cow<'static, str>) -> Cow<'static, str> {
    if why.contains("the list") { why.replace("the list", "the manifest").into() } else { why }
}

/// The paths of `--only`, held against recovered entries and lost files.
struct Selection {
    /// Whether everything is selected.
    all: bool,
    paths: Vec<Vec<u8>>,
}

impl Selection {
    /// A path is meant as it was typed, or as a list shows it, if that names an entry or a lost file.
    fn new(only: &[Vec<u8>], entries: &[Entry], lost: &[Lost]) -> Self {
        let paths = only.iter().map(|asked| {
            let meant = meant(asked, |path| names_entry(path, entries) || names_lost(path, lost));
            meant.unwrap_or_else(|| asked.clone())
        });
        Self { all: only.is_empty(), paths: paths.collect() }
    }

    /// Whether a path is selected, or lies below one that is.
    fn includes(&self, path: &[u8]) -> bool {
        self.all || self.paths.iter().any(|asked| is_at_or_below(path, asked))
    }

    /// The selected entries. A path of which everything is lost is no mistake of the user; a path that nothing names
    /// is a usage error.
    fn choose(&self, entries: Vec<Entry>, lost: &[Lost]) -> Result<Vec<Entry>, FlowError> {
        let only = self.paths.iter().filter(|path| names_entry(path, &entries) || !names_lost(path, lost));
        let only: Vec<Vec<u8>> = only.cloned().collect();
        // To `chosen`, no path at all would mean everything.
        if only.is_empty() && !self.all { Ok(Vec::new()) } else { chosen(entries, &only) }
    }
}

/// Whether an entry has this path, or one below it.
fn names_entry(path: &[u8], entries: &[Entry]) -> bool {
    entries.iter().any(|entry| entry.path.is_at_or_below(path))
}

/// Whether a lost file has this path, or one below it.
fn names_lost(path: &[u8], lost: &[Lost]) -> bool {
    lost.iter().any(|lost| is_at_or_below(&lost.path, path))
}

/// Why files are lost, as far as the parts tell.
struct LossReasons<'a> {
    head: &'a Head,
    /// Numbers of the damaged data parts.
    damaged: &'a BTreeSet<u32>,
    /// Whether the tar was read without a gap.
    seamless: bool,
}

impl LossReasons<'_> {
    /// The files that members or the manifest name and that are not delivered.
    fn lost(&self, recovered: &Recovered, manifest: Option<&Manifest>) -> Vec<Lost> {
        let torn = recovered.torn.iter().map(|entry| lost_file(entry.path.as_bytes(), self.of_content(entry)));
        let refused = recovered.refused.iter().map(|(path, why)| lost_file(path.as_bytes(), (Cause::Damaged, *why)));
        let mut all: Vec<Lost> = torn.chain(refused).collect();
        if let Some(manifest) = manifest {
            let delivered = recovered.entries.iter().map(|entry| entry.path.as_bytes());
            let unseen = manifest.paths_but(delivered.chain(all.iter().map(|lost| &*lost.path)));
            let unseen: Vec<Lost> = unseen.map(|path| lost_file(path, self.of_unseen())).collect();
            all.extend(unseen);
        }
        all
    }

    /// Why a file whose member was found lacks content.
    fn of_content(&self, entry: &Entry) -> (Cause, &'static str) {
        let end = entry.at.saturating_add(entry.size);
        let mut parts =
            self.head.data_parts().filter(|(_, offset, length)| *offset < end && entry.at < offset + length);
        if parts.any(|(part, _, _)| self.damaged.contains(&part.number)) {
            (Cause::Damaged, "a part that holds it is damaged")
        } else {
            (Cause::Missing, "a part that holds it is missing")
        }
    }

    /// Why no member was found of a file that the manifest names.
    fn of_unseen(&self) -> (Cause, &'static str) {
        if self.seamless || !self.damaged.is_empty() {
            (Cause::Damaged, "the manifest names it, and it was not found in what is whole of the parts")
        } else {
            (Cause::Missing, "the manifest names it, and the part where it begins is missing")
        }
    }
}

fn lost_file(path: &[u8], (cause, why): (Cause, &'static str)) -> Lost {
    Lost { path: path.to_vec(), cause, why: why.into() }
}

/// Notes on delivered files that the manifest does not vouch for, and on folders whose own member is lost.
fn flaws(unvouched: &[BytePath], made: &[BytePath], selection: &Selection) -> Vec<Note> {
    let text = "the manifest does not vouch for it: it changed while it was packed, or a program could change it \
                unseen, or it could not be read and is zeros";
    let unvouched = unvouched.iter().map(|path| Note::new(NoteKind::Changed, path.as_bytes(), text));
    let text = "its own member is lost: its mode and time are not known";
    let made = made.iter().map(|path| Note::new(NoteKind::Property, path.as_bytes(), text));
    unvouched.chain(made).filter(|note| selection.includes(&note.path)).collect()
}

#[cfg(test)]
mod tests;
