//! What an interrupted packing left on its drives, held against what was asked for and against the
//! sources as they are now, and verified part by part.

pub mod leftover;

use std::collections::HashSet;
use std::io::ErrorKind;
use std::path::PathBuf;

use crate::base::digest::{Digest, Hasher, sha256};
use crate::base::direct::DriveReader;
use crate::base::fault::{At, is_denied};
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
use crate::format::journal::{Journal, WrittenPart};
use crate::format::limits;
use crate::format::part::HEADER;
use crate::plan::resume::{covering, reached};
use crate::stage::seal::{Keyring, Recipient};
use crate::stage::volume::{self, PASSPHRASE_SEAL, SEALS, ScanError};
use crate::stage::walk::Walk;

/// What was asked for, as far as a later run must ask for the same. Whom it is sealed to is not
/// told: that would tell whoever finds the drive.
pub fn options(request: &PackRequest) -> Digest {
    let mut hasher = Hasher::tagged("options");
    let PackRequest { volumes, volume_size, fill, parity, level, .. } = request;
    hasher.update(format!("{} {volume_size:?} {fill:?} {parity:?} {level:?}", volumes.is_some()).as_bytes());
    hasher.finish()
}

/// Whom it is sealed to, for the journal: a hash that nobody can try recipients against who has not
/// got the sources, names, times, contents and all. Passphrases are tried at their seal.
pub fn whom(request: &PackRequest, walk: &Walk, beginning: &[u8]) -> Digest {
    let mut names: Vec<String> = request.recipients.iter().map(Recipient::to_string).collect();
    names.sort();
    let mut hasher = Hasher::tagged("whom");
    hasher.update(&walk.digest().0);
    hasher.update(&sha256(beginning).0);
    hasher.update(names.join(" ").as_bytes());
    hasher.finish()
}

impl Left {
    /// Refuses other options and changed sources, which are named. `whom` comes with whether the sources
    /// could be read for it.
    pub fn check(
        &self,
        request: &PackRequest,
        walk: &Walk,
        whom: (Digest, Result<(), FlowError>),
    ) -> Result<(), FlowError> {
        let opening = &self.journal()?.opening;
        let folder = show(&self.folders[0]);
        let (volumes, given) = (usize::from(opening.volumes), self.folders.len());
        if volumes > given || opening.options != options(request) {
            let how = match volumes > given {
                true => format!("onto {}, and {given} given now", count(volumes as u64, "volume")),
                false => "with other options".into(),
            };
            let text = format!("{folder} holds what an interrupted run packed {how}");
            return Err(FlowError::Leftover(LeftoverError::OtherPacking(text)));
        }
        let marks = walk.marks();
        if marks == opening.stamps {
            return self.check_whom(request, whom);
        }
        let known: HashSet<&u64> = opening.stamps.iter().collect();
        let other: Vec<PathBuf> =
            (0..marks.len()).filter(|at| !known.contains(&marks[*at])).map(|at| walk.real_path(at)).collect();
        match other.is_empty() {
            false => Err(FlowError::Source(SourceError::Changed(other))),
            true => {
                let gone = opening.stamps.len() - marks.len().min(opening.stamps.len());
                let gone = count(gone as u64, "item");
                let text =
                    format!("{folder} holds what an interrupted run packed; {gone} of that not among the sources now");
                Err(FlowError::Leftover(LeftoverError::OtherPacking(text)))
            }
        }
    }

    /// Nobody here can seal what is written to others.
    fn check_whom(
        &self,
        request: &PackRequest,
        (whom, read): (Digest, Result<(), FlowError>),
    ) -> Result<(), FlowError> {
        let (opening, folder) = (&self.journal()?.opening, show(&self.folders[0]));
        let others = |what| {
            Err(FlowError::Leftover(LeftoverError::OtherPacking(format!(
                "what an interrupted run packed to {folder} {what}"
            ))))
        };
        match (&request.passphrase, opening.takes_passphrase()) {
            (None, true) => return others("opens with a passphrase too, and none is asked for now"),
            (Some(_), false) => return others("opens with no passphrase, and one is asked for now"),
            (Some(passphrase), true) if !self.opens(passphrase) => {
                return others("opens with another passphrase than the one given now");
            }
            _ => {}
        }
        if whom != opening.whom {
            // Nobody can tell without the beginning of the sources.
            read?;
            others("is sealed to other recipients than those named now, or its sources are not what they were")
        } else {
            Ok(())
        }
    }

    fn opens(&self, passphrase: &SecretText) -> bool {
        let mut ring = Keyring::new();
        ring.add_passphrase(passphrase);
        let seals =
            self.folders.iter().map(|folder| volume::read_small(&folder.join(PASSPHRASE_SEAL), limits::SEAL_FILE));
        // One try: it takes a second.
        seals.flatten().next().is_some_and(|bytes| ring.open_small(&bytes, limits::SEAL_FILE).is_ok())
    }

    /// Reads back all parts that were written, and says how far they reach.
    pub fn verify(
        &self,
        (tar_len, tail_start): (u64, u64),
        replaced: bool,
        monitor: &dyn Monitor,
    ) -> Result<Before, FlowError> {
        let Journal { opening, reads, parts, recipes, is_clean, .. } = self.journal()?;
        let noted = reached(parts, recipes, opening.scheme, tar_len).parts;
        if !replaced {
            self.check_drives(parts, opening.volumes)?;
        }
        monitor.phase(Phase::Checking, noted.len() as u64 * opening.class.file_len() as u64);
        let checked = side_by_side(&noted, DriveReader::default, |reader, part| self.read(part, reader, monitor));
        let mut whole = Vec::new();
        for part in checked {
            whole.extend(part?);
        }
        // What was not read well is packed again, and all behind it; so are manifests without a digest for
        // every file, for this run may find other files changed.
        let (covered, _) = covering(reads, tail_start);
        let keeps_manifests = covered == tail_start && *is_clean;
        let mut recipes = recipes.clone();
        recipes.retain(|_, recipe| keeps_manifests || recipe.offset + recipe.length() <= covered);
        let parts: Vec<WrittenPart> = whole.iter().map(WrittenPart::of).collect();
        let reach = reached(&parts, &recipes, opening.scheme, tar_len);
        recipes.retain(|number, _| *number <= reach.data);
        let (_, reads) = covering(reads, reach.tar.min(tail_start));
        let keep: HashSet<String> = reach.parts.iter().map(WrittenPart::file_name).collect();
        whole.retain(|part| keep.contains(&part.file_name()));
        Ok(Before { parts: whole, data: reach.data, tar: reach.tar, stripes: reach.stripes, reads, recipes })
    }

    /// Refuses to go on without a drive that had parts, unless told so: it may be the wrong one, or not
    /// plugged in.
    fn check_drives(&self, written: &[WrittenPart], volumes: u16) -> Result<(), FlowError> {
        for (at, folder) in self.folders.iter().enumerate() {
            let parts = written.iter().filter(|part| usize::from(part.volume) == at + 1).count();
            // Seals were on all of them before the first part was anywhere.
            if !written.is_empty() && volume::is_free(folder) && at < usize::from(volumes) {
                let parts = count(parts as u64, "part");
                let text =
                    format!("{} is not there, and an interrupted run wrote seals and {parts} to it", show(folder));
                return Err(FlowError::Leftover(LeftoverError::OtherPacking(text)));
            }
        }
        Ok(())
    }

    /// A part as the head will name it, if its file is whole.
    fn read(
        &self,
        part: &WrittenPart,
        reader: &mut DriveReader,
        monitor: &dyn Monitor,
    ) -> Result<Option<Part>, FlowError> {
        if monitor.cancelled() {
            return Err(FlowError::Cancelled);
        }
        let WrittenPart { number, kind, volume, sha256 } = part.clone();
        let opening = &self.journal()?.opening;
        let Some(folder) = self.folders.get(usize::from(volume) - 1) else { return Ok(None) };
        let name = part.file_name();
        let stripe = opening.scheme.map(|scheme| match kind {
            PartKind::Parity => scheme.of_parity(number),
            PartKind::Data { .. } => scheme.of_data(number),
        });
        let mut header = Box::new([0; HEADER]);
        let path = folder.join(name);
        let whole = reader.digest(&path, |_| true).and_then(|stored| {
            std::os::unix::fs::FileExt::read_exact_at(&os::open_regular(&path)?, &mut header[..], 0)?;
            Ok(stored == Some((sha256, opening.class.file_len() as u64)))
        });
        monitor.advance(opening.class.file_len() as u64);
        let denied = whole.as_ref().is_err_and(is_denied);
        let whole = if denied { whole.at("read", &path)? } else { whole.is_ok_and(|whole| whole) };
        // What the drive cannot read is packed again.
        Ok(whole.then_some(Part { number, kind, stripe, volume, sha256, header }))
    }

    /// What each volume keeps: name and SHA-256 of seals and parts. A seal that is missing is
    /// copied from another volume: nobody can make a new one.
    pub fn keep(&self, before: &Before) -> Result<Vec<KeptFiles>, FlowError> {
        let opening = &self.journal()?.opening;
        let mut kept: Vec<KeptFiles> = self.folders.iter().map(|_| KeptFiles::default()).collect();
        for part in &before.parts {
            kept[usize::from(part.volume) - 1].sums.push((part.file_name(), part.sha256));
        }
        let mut spare: Vec<(String, Vec<u8>)> = Vec::new();
        let mut unread = None;
        for (volume, name, sum) in &opening.seals {
            let Some(folder) = self.folders.get(usize::from(*volume) - 1) else { continue };
            let file = folder.join(name);
            match volume::read_small(&file, limits::SEAL_FILE) {
                Ok(bytes) if sha256(&bytes) == *sum => {
                    kept[usize::from(*volume) - 1].sums.push((name.clone(), *sum));
                    if spare.iter().all(|(known, _)| known != name) {
                        spare.push((name.clone(), bytes));
                    }
                }
                Err(ScanError::Io(fault)) if fault.source.kind() != ErrorKind::NotFound => unread = Some(fault),
                _ => {}
            }
        }
        let names: HashSet<&String> = opening.seals.iter().map(|(_, name, _)| name).collect();
        for name in names {
            let bytes = spare
                .iter()
                .find(|(known, _)| known == name)
                .or(spare.iter().find(|(known, _)| SEALS.contains(&known.as_str()) && SEALS.contains(&name.as_str())));
            let lacking = kept.iter_mut().filter(|kept| kept.sums.iter().all(|(known, _)| known != name));
            for volume in lacking {
                let Some((_, bytes)) = bytes else {
                    let text = format!("no {name} is whole on these volumes, and nobody can make a new one");
                    // One that cannot be read now may be whole.
                    return Err(unread.map_or(FlowError::Bundle(BundleError::Damaged(text)), FlowError::from));
                };
                volume.seals.push((name.clone(), bytes.clone()));
            }
        }
        Ok(kept)
    }
}

/// Of a volume: what stays, and seals that are to be put there.
#[derive(Debug, Default)]
pub struct KeptFiles {
    /// Name and SHA-256.
    pub sums: Vec<(String, Digest)>,
    /// Name and bytes.
    pub seals: Vec<(String, Vec<u8>)>,
}
