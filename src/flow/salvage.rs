//! Salvaging: when every head or every list is lost or damaged, what is whole is delivered all
//! the same. Parts say themselves which they are (`leads`), the tar says what files there are
//! (`unlisted`), its manifests what they should be; what none of them says is not claimed.

mod entries_from_tar;
mod head_from_parts;
pub mod report;

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
use crate::format::manifest::Manifest;
use crate::plan::select::meant;
use crate::plan::tar_recovery::{Recovered, recover};
use crate::stage::seal::Keyring;

/// Unpacks, with head and list or without.
pub fn salvage(request: &UnpackRequest, keyring: &Keyring, monitor: &dyn Monitor) -> Result<Salvaged, FlowError> {
    let (volumes, passed_over) = gather_noting(&request.volumes)?;
    let mut unsealed = unseal(volumes, keyring, request.bundle.as_ref())?;
    unsealed.notes.splice(0..0, notes_on_places(&passed_over));
    let volumes = unsealed.volumes.clone();
    let mut salvaged =
        unsealed_salvage(request, unsealed, keyring, monitor).map_err(|error| or_gone(error, &volumes))?;
    if !salvaged.complete() {
        // Perhaps before anything was placed.
        salvaged.report.gone = gone_among(&volumes);
        salvaged.report.denied = denied_among(&volumes);
    }
    Ok(salvaged)
}

fn unsealed_salvage(
    request: &UnpackRequest,
    mut unsealed: Unsealed,
    keyring: &Keyring,
    monitor: &dyn Monitor,
) -> Result<Salvaged, FlowError> {
    let mut basis = Basis::default();
    let mut bundle = match without(unsealed.head(), request, &mut unsealed.notes)? {
        Some(head) => {
            basis.head = true;
            unsealed.with(head)
        }
        None if request.bundle.is_some() => {
            let text = "without a head there is no fingerprint to hold --bundle against; nothing was written";
            return Err(FlowError::Usage(text.into()));
        }
        None => {
            basis.idle_parity = parity_files(&unsealed);
            from_leads(unsealed)?
        }
    };
    let ends = bundle.head.data_parts().last().map(|(_, offset, length)| offset + length);
    basis.endless = !basis.head && ends == Some(FAR);
    let list = if basis.head { bundle.read_list() } else { bundle.read_list_of(FAR, None) };
    match without(list, request, &mut bundle.notes)? {
        Some(_) if basis.head => Ok(Salvaged::of_whole(unpack(request, keyring, None, monitor)?)),
        Some(entries) => {
            basis.list = true;
            let entries = chosen(entries, &request.only)?;
            Ok(Salvaged { report: unpack_opened(request, &mut bundle, entries, Rounds::Last, monitor)?, basis })
        }
        None => by_the_tar(request, &mut bundle, basis, monitor),
    }
}

/// What can be used; `None`, noted, if it is lost or damaged and can be done without.
fn without<T>(
    opened: Result<T, FlowError>,
    request: &UnpackRequest,
    notes: &mut Vec<Note>,
) -> Result<Option<T>, FlowError> {
    match opened {
        Ok(opened) => Ok(Some(opened)),
        Err(FlowError::Bundle(BundleError::NoCopy(none))) if can_do_without(&none) => {
            notes.push(note(request, none.to_string()));
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// Whether what is wrong with all copies stays as it is: not if this user may not read one, or if a later pouch may.
fn can_do_without(none: &NoCopy) -> bool {
    let denied = |bad: &BadCopy| matches!(bad.fault, CopyFault::Denied(_));
    none.outcome() != Outcome::Usage && !none.bad.iter().any(denied)
}

/// About the volumes as a whole.
fn note(request: &UnpackRequest, text: String) -> Note {
    Note::new(NoteKind::Volume, request.volumes.first().map_or(b"", |path| as_bytes(path)), text)
}

fn parity_files(unsealed: &Unsealed) -> usize {
    let files = unsealed.volumes.iter().flat_map(|volume| &volume.files);
    files.filter(|file| file.name.ends_with(".par")).map(|file| &file.name).collect::<BTreeSet<_>>().len()
}

/// Without a list.
fn by_the_tar(
    request: &UnpackRequest,
    bundle: &mut Bundle,
    mut basis: Basis,
    monitor: &dyn Monitor,
) -> Result<Salvaged, FlowError> {
    let Unlisted { mut members, damaged } = read_tar(bundle, monitor)?;
    let [manifest, sums] = members.manifests.each_ref().map(Option::as_deref);
    let manifest = manifest.and_then(|text| Manifest::parse(text, sums).ok());
    let (whole, torn) = (std::mem::take(&mut members.whole), std::mem::take(&mut members.torn));
    let recovered = recover(whole, torn, manifest.as_ref());
    (basis.manifest, basis.seamless) = (manifest.is_some(), members.ended && !members.gaps);
    let why = Why { bundle, damaged: &damaged, seamless: basis.seamless };
    let mut lost = why.lost(&recovered, manifest.as_ref());
    // They take much room, and have said what they have to say.
    members.manifests = Default::default();
    for (path, text) in std::mem::take(&mut members.refused) {
        lost.push(Lost { path, cause: Cause::Damaged, why: text.into() });
    }
    let Recovered { entries, made, unvouched, .. } = recovered;
    let asked = Selection::of(&request.only, &entries, &lost);
    lost.retain(|lost| asked.includes(&lost.path));
    let entries = asked.choose(entries, &lost)?;
    let mut report = unpack_opened(request, bundle, entries, Rounds::Last, monitor)?;
    basis.unproven = report.unproven;
    report.lost.iter_mut().for_each(|lost| lost.why = by_manifest(std::mem::take(&mut lost.why)));
    report.files += lost.len() as u64;
    report.lost.append(&mut lost);
    report.notes.extend(flaws(&unvouched, &made, &asked));
    report.notes.extend(
        members.broken.iter().map(|(at, error)| {
            Note::new(NoteKind::Volume, b"", format!("the tar cannot be read at byte {at}: {error}"))
        }),
    );
    Ok(Salvaged { report, basis })
}

/// Why a file is lost, where it was the manifest that said what it should be.
fn by_manifest(why: Cow<'static, str>) -> Cow<'static, str> {
    if why.contains("the list") { why.replace("the list", "the manifest").into() } else { why }
}

/// What was asked for with `--only`, of what is there and what is lost.
struct Selection {
    all: bool,
    paths: Vec<Vec<u8>>,
}

impl Selection {
    fn of(only: &[Vec<u8>], entries: &[Entry], lost: &[Lost]) -> Self {
        let known = || entries.iter().map(|entry| entry.path.as_bytes()).chain(lost.iter().map(|lost| &*lost.path));
        let is_known = |path: &[u8]| known().any(|known| is_at_or_below(known, path));
        let paths = only.iter().map(|asked| meant(asked, is_known).unwrap_or_else(|| asked.clone()));
        Self { all: only.is_empty(), paths: paths.collect() }
    }

    fn includes(&self, path: &[u8]) -> bool {
        self.all || self.paths.iter().any(|asked| is_at_or_below(path, asked))
    }

    /// Those that are there; what is lost is no mistake of whoever asked.
    fn choose(&self, entries: Vec<Entry>, lost: &[Lost]) -> Result<Vec<Entry>, FlowError> {
        let is_lost = |path: &[u8]| lost.iter().any(|lost| is_at_or_below(&lost.path, path));
        let is_there = |path: &[u8]| entries.iter().any(|entry| entry.path.is_at_or_below(path));
        let only: Vec<Vec<u8>> = self.paths.iter().filter(|path| is_there(path) || !is_lost(path)).cloned().collect();
        match only.is_empty() && !self.all {
            true => Ok(Vec::new()),
            false => chosen(entries, &only),
        }
    }
}

/// Why files are lost, as far as the parts tell.
struct Why<'a> {
    bundle: &'a Bundle,
    damaged: &'a BTreeSet<u32>,
    seamless: bool,
}

impl Why<'_> {
    /// What members and manifest name and is not delivered.
    fn lost(&self, recovered: &Recovered, manifest: Option<&Manifest>) -> Vec<Lost> {
        let lost =
            |path: &[u8], (cause, why): (Cause, &'static str)| Lost { path: path.to_vec(), cause, why: why.into() };
        let torn = recovered.torn.iter().map(|entry| lost(entry.path.as_bytes(), self.of_content(entry)));
        let refused = recovered.refused.iter().map(|(path, why)| lost(path.as_bytes(), (Cause::Damaged, *why)));
        let mut all: Vec<Lost> = torn.chain(refused).collect();
        if let Some(manifest) = manifest {
            let delivered = recovered.entries.iter().map(|entry| entry.path.as_bytes());
            let nowhere = manifest.paths_but(delivered.chain(all.iter().map(|lost| &*lost.path)));
            let found: Vec<Lost> = nowhere.map(|path| lost(path, self.of_nothing())).collect();
            all.extend(found);
        }
        all
    }

    fn of_content(&self, entry: &Entry) -> (Cause, &'static str) {
        let end = entry.at.saturating_add(entry.size);
        let mut parts =
            self.bundle.head.data_parts().filter(|(_, offset, length)| *offset < end && entry.at < offset + length);
        match parts.any(|(part, _, _)| self.damaged.contains(&part.number)) {
            true => (Cause::Damaged, "a part that holds it is damaged"),
            false => (Cause::Missing, "a part that holds it is missing"),
        }
    }

    fn of_nothing(&self) -> (Cause, &'static str) {
        match self.seamless || !self.damaged.is_empty() {
            true => (Cause::Damaged, "the manifest names it, and it was not found in what is whole of the parts"),
            false => (Cause::Missing, "the manifest names it, and the part where it begins is missing"),
        }
    }
}

/// What is to be known of what was delivered all the same.
fn flaws(unvouched: &[BytePath], made: &[BytePath], asked: &Selection) -> Vec<Note> {
    let note = |kind, text: &'static str| move |path: &BytePath| Note::new(kind, path.as_bytes(), text);
    let text = "the manifest does not vouch for it: it changed while it was packed, or a program could change it unseen, or it could not be read and is zeros";
    let unvouched = unvouched.iter().map(note(NoteKind::Changed, text));
    let text = "its own member is lost: its mode and time are not known";
    let made = made.iter().map(note(NoteKind::Property, text));
    unvouched.chain(made).filter(|note| asked.includes(&note.path)).collect()
}
