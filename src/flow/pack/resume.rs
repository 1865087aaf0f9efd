//! Resumes an interrupted packing: compares what it left with the request and with the sources as they are now, and
//! reads every part back to find those that stay.
//!
//! Not guaranteed: that a source is as it was. Names, sizes and times are compared here; packing reads all of it again
//! and compares the bytes.

pub(crate) mod leftover;

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::io::{self, ErrorKind};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use crate::base::digest::{Digest, Hasher, sha256};
use crate::base::direct::DriveReader;
use crate::base::fault::{At, IoFault, is_denied};
use crate::base::monitor::{Monitor, Phase};
use crate::base::os;
use crate::base::path::show;
use crate::base::pool::side_by_side;
use crate::base::secret::SecretText;
use crate::base::size::count;
use crate::flow::FlowError;
use crate::flow::error::{BundleError, LeftoverError, SourceError};
use crate::flow::pack::pipeline::Before;
use crate::flow::pack::request::PackRequest;
use crate::flow::pack::resume::leftover::Left;
use crate::format::head::{Part, PartKind};
use crate::format::journal::{Journal, Opening, VolumeSeal, WrittenPart};
use crate::format::limits;
use crate::format::part::HEADER;
use crate::format::recipe::Recipe;
use crate::format::sums::NamedDigest;
use crate::format::volume_number::VolumeNumber;
use crate::plan::resume::{covering, reached};
use crate::stage::seal::{Keyring, Recipient};
use crate::stage::volume::{self, PASSPHRASE_SEAL, SEALS, ScanError};
use crate::stage::walk::Walk;

/// A hash of the options that a run which resumes must be given again. Recipients and passphrase are not among them: a
/// finder of the drive could try guesses against this hash.
pub(crate) fn options(request: &PackRequest) -> Digest {
    let mut hasher = Hasher::tagged("options");
    let PackRequest { volumes, volume_size, fill, parity, level, .. } = request;
    hasher.update(format!("{} {volume_size:?} {fill:?} {parity:?} {level:?}", volumes.is_some()).as_bytes());
    hasher.finish()
}

/// A hash of the recipients for the journal. It covers names, sizes and times of the sources and the `beginning` of the
/// tar as well, so that a finder of the drive who lacks the sources cannot try recipients against it. Passphrases are
/// left out: a later run tries them on their seal.
pub(crate) fn whom(request: &PackRequest, walk: &Walk, beginning: &[u8]) -> Digest {
    let mut names: Vec<String> = request.recipients.iter().map(Recipient::to_string).collect();
    names.sort();
    let mut hasher = Hasher::tagged("whom");
    hasher.update(&walk.digest().0);
    hasher.update(&sha256(beginning).0);
    hasher.update(names.join(" ").as_bytes());
    hasher.finish()
}

/// Where the tar of a bundle ends, in bytes.
#[derive(Debug, Clone, Copy)]
pub(super) struct TarExtent {
    /// The end of the whole tar, zero blocks included.
    pub(super) len: u64,
    /// Where the last entry ends and the manifests begin.
    pub(super) tail_start: u64,
}

impl Left {
    /// Compares the interrupted run with the request and the sources. `whom` is the hash of this run, and `read` says
    /// whether the beginning of the tar could be read for it.
    ///
    /// # Errors
    /// The run had other options, sources, recipients or another passphrase. Changed sources are named.
    pub(super) fn check(
        &self,
        request: &PackRequest,
        walk: &Walk,
        whom: Digest,
        read: Result<(), FlowError>,
    ) -> Result<(), FlowError> {
        let opening = &self.journal()?.opening;
        self.check_options(request, opening)?;
        self.check_sources(walk, opening)?;
        self.check_passphrase(request, opening)?;
        if whom == opening.whom {
            return Ok(());
        }
        // If the beginning could not be read, the hash says nothing about the recipients.
        read?;
        Err(self
            .other_keys("is sealed to other recipients than those named now, or its sources are not what they were"))
    }

    fn check_options(&self, request: &PackRequest, opening: &Opening) -> Result<(), FlowError> {
        let volumes = opening.volumes;
        let given = self.folders.len();
        let how = if usize::from(volumes) > given {
            format!("onto {}, and {given} given now", count(volumes.into(), "volume"))
        } else if opening.options != options(request) {
            "with other options".into()
        } else {
            return Ok(());
        };
        Err(other_packing(format!("{} holds what an interrupted run packed {how}", show(&self.folders[0]))))
    }

    /// Names sources that are new or changed; if there are none, says how many are gone.
    fn check_sources(&self, walk: &Walk, opening: &Opening) -> Result<(), FlowError> {
        let marks = walk.marks();
        if marks == opening.stamps {
            return Ok(());
        }
        let known: HashSet<&u64> = opening.stamps.iter().collect();
        let unknown = (0..marks.len()).filter(|at| !known.contains(&marks[*at]));
        let changed: Vec<PathBuf> = unknown.map(|at| walk.real_path(at)).collect();
        if !changed.is_empty() {
            return Err(FlowError::Source(SourceError::Changed(changed)));
        }
        let folder = show(&self.folders[0]);
        let gone = count(opening.stamps.len().saturating_sub(marks.len()) as u64, "item");
        Err(other_packing(format!(
            "{folder} holds what an interrupted run packed; {gone} of that not among the sources now"
        )))
    }

    /// Checks that the bundle takes the passphrase of the request, or none. This run cannot make seals any more.
    fn check_passphrase(&self, request: &PackRequest, opening: &Opening) -> Result<(), FlowError> {
        match (&request.passphrase, opening.takes_passphrase()) {
            (None, true) => Err(self.other_keys("opens with a passphrase too, and none is asked for now")),
            (Some(_), false) => Err(self.other_keys("opens with no passphrase, and one is asked for now")),
            (Some(passphrase), true) if !self.opens(passphrase, opening)? => {
                Err(self.other_keys("opens with another passphrase than the one given now"))
            }
            (Some(_), true) | (None, false) => Ok(()),
        }
    }

    fn other_keys(&self, what: &str) -> FlowError {
        other_packing(format!("what an interrupted run packed to {} {what}", show(&self.folders[0])))
    }

    /// Whether a passphrase opens its seal. Only the first seal that is as it was written is tried, because a try takes
    /// a second.
    ///
    /// # Errors
    /// No drive has such a seal as it was written.
    fn opens(&self, passphrase: &SecretText, opening: &Opening) -> Result<bool, FlowError> {
        let mut ring = Keyring::new();
        ring.add_passphrase(passphrase);
        let seals = self.read_seals(opening);
        Ok(ring.open_small(seals.copy_of(PASSPHRASE_SEAL)?, limits::SEAL_FILE).is_ok())
    }

    /// Reads back all parts that were written, and finds how far the bundle is packed. `replaced`: a drive with parts
    /// may be gone.
    ///
    /// # Errors
    /// A drive with parts is not there, a part may not be read by this user, or the sender stops the run.
    pub(super) fn verify(&self, tar: TarExtent, replaced: bool, monitor: &dyn Monitor) -> Result<Before, FlowError> {
        let Journal { opening, reads, parts, recipes, is_clean, .. } = self.journal()?;
        if !replaced {
            self.check_drives(parts, opening.volumes)?;
        }
        let noted = reached(parts, recipes, opening.scheme, tar.len).parts;
        let mut whole = self.whole_parts(&noted, opening, monitor)?;
        // Parts behind a range that was not read well are packed again. So are manifests that lack a digest, because
        // this run may find other files changed.
        let (covered, _) = covering(reads, tar.tail_start);
        let keeps_manifests = covered == tar.tail_start && *is_clean;
        let mut recipes: BTreeMap<u32, Recipe> = recipes.clone();
        recipes.retain(|_, recipe| keeps_manifests || recipe.offset + recipe.length() <= covered);
        let kept: Vec<WrittenPart> = whole.iter().map(WrittenPart::of).collect();
        let reach = reached(&kept, &recipes, opening.scheme, tar.len);
        recipes.retain(|number, _| *number <= reach.data);
        let (_, reads) = covering(reads, reach.tar.min(tar.tail_start));
        let names: HashSet<String> = reach.parts.iter().map(WrittenPart::file_name).collect();
        whole.retain(|part| names.contains(&part.file_name()));
        Ok(Before { parts: whole, data: reach.data, tar: reach.tar, stripes: reach.stripes, reads, recipes })
    }

    /// Checks that every drive with parts is there. A missing one may be the wrong drive, or not plugged in.
    fn check_drives(&self, written: &[WrittenPart], volumes: u16) -> Result<(), FlowError> {
        // A run writes the seals of all volumes before the first part of any.
        if written.is_empty() {
            return Ok(());
        }
        for (number, folder) in VolumeNumber::all(volumes).zip(&self.folders) {
            if volume::is_free(folder) {
                let parts = written.iter().filter(|part| part.volume == number).count();
                let parts = count(parts as u64, "part");
                let text =
                    format!("{} is not there, and an interrupted run wrote seals and {parts} to it", show(folder));
                return Err(other_packing(text));
            }
        }
        Ok(())
    }

    /// Those of the parts whose files are whole, read on all cores. The others are packed again.
    fn whole_parts(
        &self,
        noted: &[WrittenPart],
        opening: &Opening,
        monitor: &dyn Monitor,
    ) -> Result<Vec<Part>, FlowError> {
        monitor.phase(Phase::Checking, noted.len() as u64 * opening.class.file_len() as u64);
        let read = side_by_side(noted, DriveReader::default, |reader, part| {
            if monitor.cancelled() {
                return Err(FlowError::Cancelled);
            }
            let whole = self.read_back(part, opening, reader);
            monitor.advance(opening.class.file_len() as u64);
            whole
        });
        let mut whole = Vec::new();
        for part in read {
            whole.extend(part?);
        }
        Ok(whole)
    }

    /// Reads a part back. Returns it as the head will name it; `None` if the file is missing, damaged or unreadable.
    ///
    /// # Errors
    /// This user may not read the file, which says nothing about its state.
    fn read_back(
        &self,
        part: &WrittenPart,
        opening: &Opening,
        reader: &mut DriveReader,
    ) -> Result<Option<Part>, FlowError> {
        let WrittenPart { number, kind, volume, sha256 } = *part;
        let Some(folder) = self.folders.get(volume.index()) else { return Ok(None) };
        let path = folder.join(part.file_name());
        let header = match header_if_whole(reader, &path, (sha256, opening.class.file_len() as u64)) {
            Err(error) if is_denied(&error) => Err(error).at("read", &path)?,
            Err(_) => None,
            Ok(header) => header,
        };
        let shard = opening.scheme.map(|scheme| match kind {
            PartKind::Parity => scheme.of_parity(number),
            PartKind::Data { .. } => scheme.of_data(number),
        });
        Ok(header.map(|header| Part { number, kind, shard, volume, sha256, header }))
    }

    /// The files that each volume keeps, and the seals that it lacks. A seal can only be copied from another volume,
    /// because the key to make one is gone.
    ///
    /// # Errors
    /// A seal is whole on no volume. If one of its copies cannot be read now, the error is that, because it may be
    /// whole.
    pub(crate) fn keep(&self, before: &Before) -> Result<Vec<KeptFiles>, FlowError> {
        let opening = &self.journal()?.opening;
        let mut kept: Vec<KeptFiles> = self.folders.iter().map(|_| KeptFiles::default()).collect();
        for part in &before.parts {
            let file = NamedDigest { name: part.file_name(), sha256: part.sha256 };
            kept[part.volume.index()].sums.push(file);
        }
        let seals = self.read_seals(opening);
        for VolumeSeal { volume, name, sha256 } in &seals.whole {
            kept[volume.index()].sums.push(NamedDigest { name: name.clone(), sha256: *sha256 });
        }
        let names: BTreeSet<&String> = opening.seals.iter().map(|seal| &seal.name).collect();
        for name in names {
            for volume in kept.iter_mut().filter(|volume| volume.lacks(name)) {
                volume.seals.push((name.clone(), seals.copy_of(name)?.to_vec()));
            }
        }
        Ok(kept)
    }

    fn read_seals(&self, opening: &Opening) -> FoundSeals {
        let mut found = FoundSeals::default();
        for seal in &opening.seals {
            let Some(folder) = self.folders.get(seal.volume.index()) else { continue };
            match volume::read_small(&folder.join(&seal.name), limits::SEAL_FILE) {
                Ok(bytes) if sha256(&bytes) == seal.sha256 => {
                    found.whole.push(seal.clone());
                    if found.copies.iter().all(|(known, _)| *known != seal.name) {
                        found.copies.push((seal.name.clone(), bytes));
                    }
                }
                Err(ScanError::Io(fault)) if fault.source.kind() != ErrorKind::NotFound => found.unread = Some(fault),
                Ok(_) | Err(_) => {}
            }
        }
        found
    }
}

fn other_packing(text: String) -> FlowError {
    FlowError::Leftover(LeftoverError::OtherPacking(text))
}

/// Reads a part's file as its drive stores it. Returns its first bytes; `None` if the file is not the `expected` one,
/// by SHA-256 and length.
fn header_if_whole(
    reader: &mut DriveReader,
    path: &Path,
    expected: (Digest, u64),
) -> io::Result<Option<Box<[u8; HEADER]>>> {
    if reader.digest(path, |_| true)? != Some(expected) {
        return Ok(None);
    }
    let mut header = Box::new([0; HEADER]);
    os::open_regular(path)?.read_exact_at(&mut header[..], 0)?;
    Ok(Some(header))
}

/// The seals that an interrupted run left on its volumes.
#[derive(Default)]
struct FoundSeals {
    /// Those that are as they were written.
    whole: Vec<VolumeSeal>,
    /// One of these for each name: name and bytes.
    copies: Vec<(String, Vec<u8>)>,
    /// Why the last of those that could not be read could not.
    unread: Option<IoFault>,
}

impl FoundSeals {
    /// A whole seal to write under that name. The two seals to recipients stand in for each other.
    fn copy_of(&self, name: &str) -> Result<&[u8], FlowError> {
        let same = self.copies.iter().find(|(known, _)| known == name);
        let alike = self.copies.iter().find(|(known, _)| SEALS.contains(&known.as_str()) && SEALS.contains(&name));
        match same.or(alike) {
            Some((_, bytes)) => Ok(bytes),
            None => {
                let text = format!("no {name} is whole on these volumes, and nobody can make a new one");
                Err(self.unread.clone().map_or_else(|| BundleError::Damaged(text).into(), FlowError::from))
            }
        }
    }
}

/// What a volume has when packing goes on.
#[derive(Debug, Default)]
pub(crate) struct KeptFiles {
    /// Parts and seals that stay.
    pub(crate) sums: Vec<NamedDigest>,
    /// Seals that are to be written: name and bytes.
    pub(crate) seals: Vec<(String, Vec<u8>)>,
}

impl KeptFiles {
    fn lacks(&self, name: &str) -> bool {
        self.sums.iter().all(|file| file.name != name)
    }
}

#[cfg(test)]
mod tests;
