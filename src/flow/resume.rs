//! What an interrupted packing left on its drives: found by the journal on the first volume, held
//! against what was asked for and against the sources as they are now, and verified part by part.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use crate::base::digest::{Digest, Hasher, sha256};
use crate::base::direct::DriveReader;
use crate::base::fault::{At, IoFault};
use crate::base::monitor::{Monitor, Phase};
use crate::base::os;
use crate::base::path::show;
use crate::base::pool::side_by_side;
use crate::base::secret::SecretText;
use crate::base::size::count;
use crate::flow::FlowError;
use crate::flow::engine::Before;
use crate::flow::request::Request;
use crate::format::head::{Part, PartKind};
use crate::format::journal::{Journal, Written};
use crate::format::part::{HEADER, file_name, is_part, parity_name};
use crate::format::{is_unfinished, limits, sums};
use crate::plan::resume::{covering, reached};
use crate::stage::journal::{self, JOURNAL};
use crate::stage::seal::{Keyring, Recipient};
use crate::stage::volume::{self, PASSPHRASE_SEAL, SEALS, SUMS, ScanError};
use crate::stage::walk::Walk;

/// What is there, and whose it is.
pub struct Left {
    /// What the earlier run noted.
    pub journal: Journal,
    /// Folders of its volumes, in the order of their numbers.
    pub folders: Vec<PathBuf>,
    /// Held: nobody else goes on with it.
    found: journal::Found,
}

/// What was asked for, as far as a later run must ask for the same. Whom it is sealed to is not
/// told: that would tell whoever finds the drive.
pub fn options(request: &Request) -> Digest {
    let mut hasher = Hasher::tagged("options");
    let Request { volumes, volume_size, fill, parity, level, .. } = request;
    hasher.update(format!("{} {volume_size:?} {fill:?} {parity:?} {level:?}", volumes.is_some()).as_bytes());
    hasher.finish()
}

/// Whom it is sealed to, for the journal: a hash that nobody can try recipients against who has not
/// got the sources, names, times, contents and all. Passphrases are tried at their seal.
pub fn whom(request: &Request, walk: &Walk, beginning: &[u8]) -> Digest {
    let mut names: Vec<String> = request.recipients.iter().map(Recipient::to_string).collect();
    names.sort();
    let mut hasher = Hasher::tagged("whom");
    hasher.update(&walk.digest().0);
    hasher.update(&sha256(beginning).0);
    hasher.update(names.join(" ").as_bytes());
    hasher.finish()
}

/// Whether a passphrase opens what an interrupted run began there.
pub fn takes_passphrase(outputs: &[PathBuf]) -> bool {
    let folders = outputs.iter().enumerate().map(|(at, path)| volume::folder(path, at as u16 + 1));
    let found = folders.flat_map(|folder| journal::find(&folder, 4 * limits::HEAD)).flatten().next();
    let journal = found.and_then(|found| Journal::parse(&found.text).ok());
    journal.is_some_and(|journal| journal.opening.takes_passphrase())
}

/// Looks for what an earlier run left at these places; `None` if nothing did. Folders that hold
/// anything else are somebody's.
pub fn find(paths: &[PathBuf]) -> Result<Option<Left>, FlowError> {
    let folders: Vec<PathBuf> =
        paths.iter().enumerate().map(|(at, path)| volume::folder(path, at as u16 + 1)).collect();
    let mut found = None;
    // A copy is on another drive: the first one may be gone.
    for folder in &folders {
        let journal = journal::find(folder, 4 * limits::HEAD).map_err(|fault| match fault.source.kind() {
            std::io::ErrorKind::WouldBlock => {
                FlowError::Busy(format!("another pouch is packing to {} now", show(folder)))
            }
            _ => FlowError::Io(fault),
        })?;
        if let Some(journal) = journal {
            found = Some((folder.join(JOURNAL), journal));
            break;
        }
    }
    let Some((path, found)) = found else {
        // Its first drive is the one that tells.
        if let Some(path) = paths[1..].iter().find(|path| volume::folder(path, 1).join(JOURNAL).exists()) {
            let text = format!("{} holds the first volume of an interrupted run, and is not given first", show(path));
            return Err(FlowError::Interrupted(text));
        }
        return match folders.iter().find(|folder| !volume::is_free(folder)) {
            Some(folder) => Err(FlowError::VolumeExists(folder.clone())),
            None => Ok(None),
        };
    };
    let journal = Journal::parse(&found.text).map_err(|source| FlowError::BadJournal { path, source })?;
    let left = Left { journal, folders, found };
    for (at, folder) in left.folders.iter().enumerate() {
        if !left.owns(at as u16 + 1, folder)? {
            return Err(FlowError::VolumeExists(folder.clone()));
        }
    }
    Ok(Some(left))
}

impl Left {
    /// Whether a folder holds nothing, or a volume of this bundle: its seal is the one noted.
    fn owns(&self, number: u16, folder: &Path) -> Result<bool, IoFault> {
        if volume::is_free(folder) {
            return Ok(true);
        }
        for (_, name, sum) in self.journal.opening.seals.iter().filter(|(volume, _, _)| *volume == number) {
            match volume::read_small(&folder.join(name), limits::SEAL_FILE) {
                Ok(bytes) if sha256(&bytes) == *sum => return Ok(self.could_list(number, folder)),
                // Whose it is is not known as long as it cannot be read.
                Err(ScanError::Io(fault)) if os::is_of_one_place(&fault.source) => return Err(fault),
                _ => {}
            }
        }
        // The run died before the first seal was there.
        let files = std::fs::read_dir(folder).at("look into", folder)?.flatten();
        let ours = |name: &str| name == JOURNAL || is_unfinished(name);
        Ok(files.map(|file| file.file_name()).all(|name| name.to_str().is_some_and(ours)))
    }

    /// Whether a volume that looks complete names no part but those that were written to it.
    fn could_list(&self, number: u16, folder: &Path) -> bool {
        let Ok(bytes) = volume::read_small(&folder.join(SUMS), limits::SUMS_FILE) else { return true };
        let written: HashSet<(String, Digest)> = self
            .journal
            .parts
            .iter()
            .filter(|part| part.volume == number)
            .map(|part| (name_of(part), part.sha256))
            .collect();
        let lines = sums::parse(&bytes).unwrap_or_default();
        lines.into_iter().filter(|(_, name)| is_part(name)).all(|(sum, name)| written.contains(&(name, sum)))
    }

    /// Removes all of it; nothing, if a volume looks complete: somebody may need it.
    pub fn remove(self) -> Result<(), FlowError> {
        let opening = &self.journal.opening;
        if usize::from(opening.volumes) > self.folders.len() {
            let text = format!(
                "{} is the first of {} volumes that an interrupted run began, and {} are given",
                show(&self.folders[0]),
                opening.volumes,
                self.folders.len()
            );
            return Err(FlowError::Interrupted(text));
        }
        if let Some(folder) = self.folders.iter().find(|folder| folder.join(SUMS).exists()) {
            return Err(FlowError::VolumeExists(folder.clone()));
        }
        // The journal last: without it nobody would know whose the others are.
        for folder in self.folders.iter().rev() {
            volume::remove_ours(folder, |_| false)?;
        }
        for path in self.folders.iter().rev().map(|folder| folder.join(JOURNAL)) {
            os::remove_if_there(&path).at("remove", &path)?;
        }
        for folder in &self.folders {
            // One that holds something of somebody's stays.
            let _ = std::fs::remove_dir(folder);
        }
        drop(self.found);
        Ok(())
    }

    /// Bytes that our files take in each volume's folder, but for parts that stay.
    pub fn surplus(&self, before: &Before) -> Vec<u64> {
        let keep: HashSet<(u16, String)> = before.parts.iter().map(|part| (part.volume, part.file_name())).collect();
        let of_folder = |(at, folder): (usize, &PathBuf)| {
            let files = std::fs::read_dir(folder).into_iter().flatten().flatten();
            let len = |file: std::fs::DirEntry| {
                let name = file.file_name().into_string().unwrap_or_default();
                let goes = is_part(&name) && !keep.contains(&(at as u16 + 1, name));
                if goes { file.metadata().map_or(0, |meta| meta.len()) } else { 0 }
            };
            files.map(len).sum()
        };
        self.folders.iter().enumerate().map(of_folder).collect()
    }

    /// Refuses other options and changed sources, which are named.
    pub fn check(&self, request: &Request, walk: &Walk, whom: Digest) -> Result<(), FlowError> {
        let opening = &self.journal.opening;
        let folder = show(&self.folders[0]);
        if usize::from(opening.volumes) > self.folders.len() || opening.options != options(request) {
            let text = format!(
                "{folder} holds what an interrupted run packed with other options, onto {} volumes",
                opening.volumes
            );
            return Err(FlowError::Interrupted(text));
        }
        let marks = walk.marks();
        if marks == opening.stamps {
            return self.check_whom(request, whom);
        }
        let known: HashSet<&u64> = opening.stamps.iter().collect();
        let other: Vec<PathBuf> =
            (0..marks.len()).filter(|at| !known.contains(&marks[*at])).map(|at| walk.real_path(at)).collect();
        match other.is_empty() {
            false => Err(FlowError::SourceChanged(other)),
            true => {
                let gone = opening.stamps.len() - marks.len().min(opening.stamps.len());
                let text = format!("{folder} holds what an interrupted run packed; {gone} of its files are gone since");
                Err(FlowError::Interrupted(text))
            }
        }
    }

    /// Nobody here can seal what is written to others.
    fn check_whom(&self, request: &Request, whom: Digest) -> Result<(), FlowError> {
        let (opening, folder) = (&self.journal.opening, show(&self.folders[0]));
        let others = |what| Err(FlowError::Interrupted(format!("what an interrupted run packed to {folder} {what}")));
        match (&request.passphrase, opening.takes_passphrase()) {
            (None, true) => return others("opens with a passphrase too, and none is asked for now"),
            (Some(_), false) => return others("opens with no passphrase, and one is asked for now"),
            (Some(passphrase), true) if !self.opens(passphrase) => {
                return others("opens with another passphrase than the one given now");
            }
            _ => {}
        }
        if whom != opening.whom {
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
        seals.flatten().next().is_some_and(|bytes| ring.open_small(&bytes, 2048).is_ok())
    }

    /// Reads back all parts that were written, and says how far they reach.
    pub fn verify(
        &self,
        (tar_len, tail_start): (u64, u64),
        replaced: bool,
        monitor: &dyn Monitor,
    ) -> Result<Before, FlowError> {
        let (opening, recipes) = (&self.journal.opening, &self.journal.recipes);
        let noted = reached(&self.journal.parts, recipes, opening.scheme, tar_len).parts;
        if !replaced {
            self.check_drives(&noted)?;
        }
        monitor.phase(Phase::Checking, noted.len() as u64 * opening.class.file_len() as u64);
        let checked = side_by_side(&noted, DriveReader::default, |reader, part| self.read(part, reader, monitor));
        let mut whole = Vec::new();
        for part in checked {
            whole.extend(part?);
        }
        // What was not read well is packed again, and all behind it.
        let (covered, _) = covering(&self.journal.reads, tail_start);
        let mut recipes = recipes.clone();
        recipes.retain(|_, recipe| covered == tail_start || recipe.offset + recipe.length() <= covered);
        let parts: Vec<Written> = whole.iter().map(Written::of).collect();
        let reach = reached(&parts, &recipes, opening.scheme, tar_len);
        recipes.retain(|number, _| *number <= reach.data);
        let (_, reads) = covering(&self.journal.reads, reach.tar.min(tail_start));
        let keep: HashSet<(bool, u32)> =
            reach.parts.iter().map(|part| (part.kind == PartKind::Parity, part.number)).collect();
        whole.retain(|part| keep.contains(&(part.kind == PartKind::Parity, part.number)));
        Ok(Before { parts: whole, data: reach.data, tar: reach.tar, stripes: reach.stripes, reads, recipes })
    }

    /// Refuses to go on without a drive that had parts, unless told so: it may be the wrong one, or not
    /// plugged in.
    fn check_drives(&self, noted: &[Written]) -> Result<(), FlowError> {
        for (at, folder) in self.folders.iter().enumerate() {
            let parts = noted.iter().filter(|part| usize::from(part.volume) == at + 1).count();
            // Seals were on all of them before the first part was anywhere.
            if !noted.is_empty() && volume::is_free(folder) && at < usize::from(self.journal.opening.volumes) {
                let parts = count(parts as u64, "part");
                let text =
                    format!("{} is not there, and an interrupted run wrote seals and {parts} to it", show(folder));
                return Err(FlowError::Interrupted(text));
            }
        }
        Ok(())
    }

    /// A part as the head will name it, if its file is whole.
    fn read(&self, part: &Written, reader: &mut DriveReader, monitor: &dyn Monitor) -> Result<Option<Part>, FlowError> {
        if monitor.cancelled() {
            return Err(FlowError::Cancelled);
        }
        let Written { number, kind, volume, sha256 } = part.clone();
        let opening = &self.journal.opening;
        let Some(folder) = self.folders.get(usize::from(volume) - 1) else { return Ok(None) };
        let name = name_of(part);
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
        // What cannot be read is packed again.
        Ok(whole.is_ok_and(|whole| whole).then_some(Part { number, kind, stripe, volume, sha256, header }))
    }

    /// What each volume keeps: name and SHA-256 of seals and parts. A seal that is missing is
    /// copied from another volume: nobody can make a new one.
    pub fn keep(&self, before: &Before) -> Result<Vec<Kept>, FlowError> {
        let opening = &self.journal.opening;
        let mut kept: Vec<Kept> = self.folders.iter().map(|_| Kept::default()).collect();
        for part in &before.parts {
            kept[usize::from(part.volume) - 1].sums.push((part.file_name(), part.sha256));
        }
        let mut spare: Vec<(String, Vec<u8>)> = Vec::new();
        for (volume, name, sum) in &opening.seals {
            let Some(folder) = self.folders.get(usize::from(*volume) - 1) else { continue };
            let file = folder.join(name);
            if let Ok(bytes) = volume::read_small(&file, limits::SEAL_FILE)
                && sha256(&bytes) == *sum
            {
                kept[usize::from(*volume) - 1].sums.push((name.clone(), *sum));
                if spare.iter().all(|(known, _)| known != name) {
                    spare.push((name.clone(), bytes));
                }
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
                    return Err(FlowError::Damaged(format!(
                        "no {name} is whole on these volumes, and nobody can make a new one"
                    )));
                };
                volume.seals.push((name.clone(), bytes.clone()));
            }
        }
        Ok(kept)
    }
}

fn name_of(part: &Written) -> String {
    match part.kind {
        PartKind::Parity => parity_name(part.number),
        PartKind::Data { .. } => file_name(part.number),
    }
}

/// Of a volume: what stays, and seals that are to be put there.
#[derive(Debug, Default)]
pub struct Kept {
    /// Name and SHA-256.
    pub sums: Vec<(String, Digest)>,
    /// Name and bytes.
    pub seals: Vec<(String, Vec<u8>)>,
}
