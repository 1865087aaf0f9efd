//! What an interrupted packing left on its drives: found by its journal, on whichever drive kept one, and removed if
//! the sender asks for that. While a [`Left`] lives, no other run works on it.
//!
//! Not guaranteed: that the leftover belongs to what is requested now. `flow/pack/resume.rs` compares the two.

use std::collections::HashSet;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::base::digest::sha256;
use crate::base::fault::{At, IoFault};
use crate::base::os;
use crate::base::path::show;
use crate::flow::FlowError;
use crate::flow::error::{LeftoverError, OutputError};
use crate::flow::pack::pipeline::Before;
use crate::format::journal::{Journal, VolumeSeal, remains};
use crate::format::part::is_part;
use crate::format::sums::{self, NamedDigest};
use crate::format::volume_number::VolumeNumber;
use crate::format::{FormatError, is_unfinished, limits};
use crate::stage::journal::{self, JOURNAL, LeftJournal};
use crate::stage::volume::{self, SUMS, ScanError};

/// Most bytes of a journal that are read.
const JOURNAL_LIMIT: u64 = 4 * limits::HEAD;

/// What an interrupted run left, and the volumes it belongs to.
pub(crate) struct Left {
    /// The folders of all volumes that are given, in the order of their numbers. Some may not exist.
    pub(crate) folders: Vec<PathBuf>,
    found: FoundJournal,
    /// As far as the journal still tells.
    seals: Vec<VolumeSeal>,
    /// How many volumes the interrupted run had; 0 if the journal does not tell any more.
    volumes: u16,
}

/// A journal on a drive, locked.
struct FoundJournal {
    path: PathBuf,
    file: LeftJournal,
    /// What it says, or why its opening cannot be used.
    parsed: Result<Journal, FormatError>,
}

/// Whether an interrupted run at these places has a seal to a passphrase. Asked before the passphrase is typed, so that
/// the sender is not asked for a new one.
pub(crate) fn takes_passphrase(outputs: &[PathBuf]) -> bool {
    let folders = volume_folders(outputs);
    let found = folders.iter().flat_map(|folder| journal::find(folder, JOURNAL_LIMIT)).flatten();
    let journal = found.flat_map(|found| Journal::parse(&found.text)).next();
    journal.is_some_and(|journal| journal.opening.takes_passphrase())
}

/// The folder of each volume, in the order of their numbers.
fn volume_folders(paths: &[PathBuf]) -> Vec<PathBuf> {
    VolumeNumber::numbered(paths).map(|(number, path)| volume::folder(path, number)).collect()
}

/// Looks for what an interrupted run left at these places; `None` if a new bundle can begin there.
///
/// # Errors
/// A folder holds anything else, so that it may belong to another person; or the first volume is not given first; or
/// another run is at work there.
pub(crate) fn find(paths: &[PathBuf]) -> Result<Option<Left>, FlowError> {
    let folders = volume_folders(paths);
    let Some(found) = best_journal(&folders)? else {
        check_is_all_free(paths, &folders)?;
        return Ok(None);
    };
    // The earlier run was killed before it wrote a seal, and no drive kept its journal: nothing to resume or remove.
    if found.parsed.is_err() && folders.iter().all(|folder| volume::is_free(folder)) {
        return Ok(None);
    }
    let (seals, volumes) = match &found.parsed {
        Ok(Journal { opening, .. }) => (opening.seals.clone(), opening.volumes),
        Err(_) => remains(&found.file.text),
    };
    let left = Left { folders, found, seals, volumes };
    for (number, folder) in VolumeNumber::numbered(&left.folders) {
        if !left.owns(number, folder)? {
            return Err(if left.is_intact() {
                OutputError::VolumeExists(folder.clone()).into()
            } else {
                left.bad_journal(Some(folder.clone()))
            });
        }
    }
    Ok(Some(left))
}

/// Checks places without a journal.
///
/// # Errors
/// A folder is not free, or the places are those of an interrupted run in another order.
fn check_is_all_free(paths: &[PathBuf], folders: &[PathBuf]) -> Result<(), FlowError> {
    // The journal lies on the first volume, so it is found only if that drive is given first.
    if let Some(path) = paths[1..].iter().find(|path| has_journal(path)) {
        let text = format!("{} holds the first volume of an interrupted run, and is not given first", show(path));
        return Err(FlowError::Leftover(LeftoverError::OtherPacking(text)));
    }
    match folders.iter().find(|folder| !volume::is_free(folder)) {
        Some(folder) => Err(FlowError::Output(OutputError::VolumeExists(folder.clone()))),
        None => Ok(()),
    }
}

/// Whether the first volume lies at this path, with its journal.
fn has_journal(path: &Path) -> bool {
    volume::folder(path, VolumeNumber::new(1)).join(JOURNAL).exists()
}

/// The first journal whose opening is intact: there is a copy on another drive, because the first may be gone or
/// damaged. If no opening is intact, the journal that still names the most seals; `None` if no folder has a journal.
///
/// # Errors
/// Another run holds a journal, or the only ones cannot be read.
fn best_journal(folders: &[PathBuf]) -> Result<Option<FoundJournal>, FlowError> {
    let mut damaged: Option<FoundJournal> = None;
    let mut unread = None;
    for folder in folders {
        let file = match journal::find(folder, JOURNAL_LIMIT) {
            Ok(Some(file)) => file,
            Ok(None) => continue,
            Err(fault) if fault.source.kind() == io::ErrorKind::WouldBlock => {
                return Err(FlowError::Output(OutputError::Busy(format!(
                    "another pouch is packing to {} now",
                    show(folder)
                ))));
            }
            Err(fault) if is_of_one_file(&fault) => {
                unread = unread.or(Some(fault));
                continue;
            }
            Err(fault) => return Err(fault.into()),
        };
        let parsed = Journal::parse(&file.text);
        let found = FoundJournal { path: folder.join(JOURNAL), file, parsed };
        if found.parsed.is_ok() {
            return Ok(Some(found));
        }
        if damaged.as_ref().is_none_or(|other| other.seals_left() < found.seals_left()) {
            damaged = Some(found);
        }
    }
    match (damaged, unread) {
        (None, Some(fault)) => Err(fault.into()),
        (damaged, _) => Ok(damaged),
    }
}

/// Whether a fault concerns one file that this user cannot read, not a whole drive.
fn is_of_one_file(fault: &IoFault) -> bool {
    os::is_of_one_place(&fault.source) || fault.is_denied()
}

impl FoundJournal {
    /// How many seals a damaged journal still names.
    fn seals_left(&self) -> usize {
        remains(&self.file.text).0.len()
    }
}

impl Left {
    /// What the interrupted run noted.
    ///
    /// # Errors
    /// No drive kept a journal whose opening is intact.
    pub(crate) fn journal(&self) -> Result<&Journal, FlowError> {
        self.found.parsed.as_ref().map_err(|_| self.bad_journal(None))
    }

    /// Whether the drive kept every line of the journal.
    fn is_intact(&self) -> bool {
        self.found.parsed.as_ref().is_ok_and(|journal| journal.lost == 0)
    }

    /// The error for a journal that is not as it was written. `unknown` is a folder whose owner it does not tell any
    /// more.
    fn bad_journal(&self, unknown: Option<PathBuf>) -> FlowError {
        let source = match &self.found.parsed {
            Ok(journal) => {
                FormatError::malformed("the journal", 0, format!("{} of its lines are damaged", journal.lost))
            }
            Err(source) => source.clone(),
        };
        FlowError::Leftover(LeftoverError::BadJournal { path: self.found.path.clone(), source, unknown })
    }

    /// Whether a folder is free, or holds this volume of the interrupted run: one of its seals is the one noted.
    ///
    /// # Errors
    /// A seal cannot be read, so that the owner is unknown.
    fn owns(&self, number: VolumeNumber, folder: &Path) -> Result<bool, IoFault> {
        if volume::is_free(folder) {
            return Ok(true);
        }
        for seal in self.seals.iter().filter(|seal| seal.volume == number) {
            match volume::read_small(&folder.join(&seal.name), limits::SEAL_FILE) {
                Ok(bytes) if sha256(&bytes) == seal.sha256 => return Ok(self.lists_only_written_parts(number, folder)),
                Err(ScanError::Io(fault)) if is_of_one_file(&fault) => return Err(fault),
                Ok(_) | Err(_) => {}
            }
        }
        // Without a seal the folder is the run's only if it holds nothing but the first files of a run.
        let mut files = std::fs::read_dir(folder).at("look into", folder)?.flatten();
        Ok(files.all(|file| file.file_name().to_str().is_some_and(|name| self.is_first_file(name))))
    }

    /// Whether the run may have written a file of that name before any seal. The name of the journal alone proves
    /// nothing: its content must still look like one of ours.
    fn is_first_file(&self, name: &str) -> bool {
        let is_journal_ours =
            self.found.parsed.is_ok() || self.volumes > 0 || self.found.file.text.starts_with(b"pouch-journal ");
        (name == JOURNAL && is_journal_ours) || is_unfinished(name)
    }

    /// Whether the SHA256SUMS of a volume, if it has one, names no part but those that the journal notes. A volume that
    /// was completed with other parts must not be changed.
    fn lists_only_written_parts(&self, number: VolumeNumber, folder: &Path) -> bool {
        // Without a journal the run neither resumes nor removes a volume that looks complete.
        let Ok(journal) = &self.found.parsed else { return true };
        let Ok(bytes) = volume::read_small(&folder.join(SUMS), limits::SUMS_FILE) else { return true };
        let parts = journal.parts.iter().filter(|part| part.volume == number);
        let files = parts.map(|part| NamedDigest { name: part.file_name(), sha256: part.sha256 });
        let written: HashSet<NamedDigest> = files.collect();
        let listed = sums::parse(&bytes).unwrap_or_default();
        listed.iter().filter(|file| is_part(&file.name)).all(|file| written.contains(file))
    }

    /// Refuses to remove the leftover if not all of its volumes are given, or if one looks complete: a receiver may
    /// need it. `is_asked`: the sender asked to begin anew, and gets a message that fits that.
    pub(crate) fn may_go(&self, is_asked: bool) -> Result<(), FlowError> {
        let volumes = self.seals.iter().fold(self.volumes, |most, seal| most.max(seal.volume.get()));
        if usize::from(volumes) > self.folders.len() {
            let text = format!(
                "{} is the first of {volumes} volumes that an interrupted run began, and {} are given",
                show(&self.folders[0]),
                self.folders.len()
            );
            return Err(FlowError::Leftover(LeftoverError::OtherPacking(text)));
        }
        let complete = self.folders.iter().find(|folder| folder.join(SUMS).exists());
        match complete.cloned() {
            None => Ok(()),
            Some(folder) if is_asked && self.is_intact() => Err(LeftoverError::AllButFinished(folder).into()),
            Some(folder) => Err(OutputError::VolumeExists(folder).into()),
        }
    }

    /// Removes the leftover from all drives. Foreign files stay, and with them their folders.
    ///
    /// # Errors
    /// Those of [`Left::may_go`], before anything is removed; or a drive fails, and a later run removes the rest.
    pub(crate) fn remove(self) -> Result<(), FlowError> {
        self.may_go(false)?;
        let FoundJournal { path, file, parsed } = self.found;
        if parsed.is_ok() {
            file.forget_parts(&path)?;
        }
        for folder in self.folders.iter().rev() {
            volume::remove_ours(folder, |_| false)?;
        }
        // The journals go last, and behind its copies the one that was read: without it no later run could tell whose
        // the other files are.
        let copies = self.folders.iter().map(|folder| folder.join(JOURNAL)).filter(|copy| *copy != path);
        for journal in copies.chain([path.clone()]) {
            os::remove_if_there(&journal).at("remove", &journal)?;
        }
        for folder in &self.folders {
            // Fails if the folder holds foreign files. It stays then.
            let _ = std::fs::remove_dir(folder);
        }
        // The lock ends here, when nothing is left for another run to find.
        drop(file);
        Ok(())
    }

    /// Bytes that the interrupted run's files take in each volume's folder, without the parts that stay. This run
    /// removes them or writes them anew, and what it writes is counted elsewhere.
    pub(crate) fn surplus(&self, before: &Before) -> Vec<u64> {
        let keep: HashSet<(VolumeNumber, String)> =
            before.parts.iter().map(|part| (part.volume, part.file_name())).collect();
        let mut surplus = Vec::with_capacity(self.folders.len());
        for (number, folder) in VolumeNumber::numbered(&self.folders) {
            let mut bytes = 0;
            for file in std::fs::read_dir(folder).into_iter().flatten().flatten() {
                let name = file.file_name().into_string().unwrap_or_default();
                if (volume::is_ours(&name) || name == JOURNAL) && !keep.contains(&(number, name)) {
                    bytes += file.metadata().map_or(0, |meta| meta.len().max(meta.blocks() * 512));
                }
            }
            surplus.push(bytes);
        }
        surplus
    }
}

#[cfg(test)]
pub(crate) mod tests;
