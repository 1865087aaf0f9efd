//! What an interrupted packing left: found by its journal, on whichever drive that is whole, and removed.
//! What this does not guarantee: that what lies there is what was asked for; `flow/pack/resume.rs` holds it
//! against that.

use std::collections::HashSet;
use std::io;
use std::path::{Path, PathBuf};

use crate::base::digest::{Digest, sha256};
use crate::base::fault::{At, IoFault};
use crate::base::os;
use crate::base::path::show;
use crate::flow::FlowError;
use crate::flow::error::{LeftoverError, OutputError};
use crate::flow::pack::pipeline::Before;
use crate::format::journal::{Journal, remains};
use crate::format::part::is_part;
use crate::format::{FormatError, is_unfinished, limits, sums};
use crate::stage::journal::{self, JOURNAL};
use crate::stage::volume::{self, SUMS, ScanError};

/// What is there, and whose it is.
pub struct Left {
    /// Folders of its volumes, in the order of their numbers.
    pub folders: Vec<PathBuf>,
    /// What the earlier run noted, if a copy of that is whole.
    journal: Result<Journal, FormatError>,
    /// The journal that was read.
    path: PathBuf,
    /// Volume, name and SHA-256, as far as they are known.
    seals: Vec<(u16, String, Digest)>,
    volumes: u16,
    /// Held: nobody else goes on with it.
    found: journal::LeftJournal,
}

/// Whether a passphrase opens what an interrupted run began there.
pub fn takes_passphrase(outputs: &[PathBuf]) -> bool {
    let folders = outputs.iter().enumerate().map(|(at, path)| volume::folder(path, at as u16 + 1));
    let found = folders.flat_map(|folder| journal::find(&folder, 4 * limits::HEAD)).flatten();
    let journal = found.flat_map(|found| Journal::parse(&found.text)).next();
    journal.is_some_and(|journal| journal.opening.takes_passphrase())
}

/// Looks for what an earlier run left at these places; `None` if nothing did. Folders that hold
/// anything else are somebody's.
pub fn find(paths: &[PathBuf]) -> Result<Option<Left>, FlowError> {
    let folders: Vec<PathBuf> =
        paths.iter().enumerate().map(|(at, path)| volume::folder(path, at as u16 + 1)).collect();
    let Some((path, found, journal)) = best(&folders)? else {
        // Its first drive is the one that tells.
        if let Some(path) = paths[1..].iter().find(|path| volume::folder(path, 1).join(JOURNAL).exists()) {
            let text = format!("{} holds the first volume of an interrupted run, and is not given first", show(path));
            return Err(FlowError::Leftover(LeftoverError::OtherPacking(text)));
        }
        return match folders.iter().find(|folder| !volume::is_free(folder)) {
            Some(folder) => Err(FlowError::Output(OutputError::VolumeExists(folder.clone()))),
            None => Ok(None),
        };
    };
    // It died before its first seal was there, and what it had begun with was not kept.
    if journal.is_err() && folders.iter().all(|folder| volume::is_free(folder)) {
        return Ok(None);
    }
    let (seals, volumes) = match &journal {
        Ok(Journal { opening, .. }) => (opening.seals.clone(), opening.volumes),
        Err(_) => remains(&found.text),
    };
    let left = Left { folders, journal, path, seals, volumes, found };
    for (at, folder) in left.folders.iter().enumerate() {
        if !left.owns(at as u16 + 1, folder)? {
            return match left.journal {
                Ok(Journal { lost: 0, .. }) => Err(FlowError::Output(OutputError::VolumeExists(folder.clone()))),
                _ => Err(left.damaged(Some(folder.clone()))),
            };
        }
    }
    Ok(Some(left))
}

type ReadJournal = (PathBuf, journal::LeftJournal, Result<Journal, FormatError>);

/// The first journal whose opening is whole: a copy is on another drive, and the first one may be gone
/// or damaged. If none is, the one that tells most of whose the volumes are.
fn best(folders: &[PathBuf]) -> Result<Option<ReadJournal>, FlowError> {
    let (mut damaged, mut unread) = (None, None);
    for folder in folders {
        let found = match journal::find(folder, 4 * limits::HEAD) {
            Ok(Some(found)) => found,
            Ok(None) => continue,
            Err(fault) if fault.source.kind() == io::ErrorKind::WouldBlock => {
                return Err(FlowError::Output(OutputError::Busy(format!(
                    "another pouch is packing to {} now",
                    show(folder)
                ))));
            }
            Err(fault) if os::is_of_one_place(&fault.source) || fault.is_denied() => {
                unread = unread.or(Some(fault));
                continue;
            }
            Err(fault) => return Err(fault.into()),
        };
        let journal = Journal::parse(&found.text);
        let read = (folder.join(JOURNAL), found, journal);
        match read.2 {
            Ok(_) => return Ok(Some(read)),
            Err(_) => {
                let tells = |read: &ReadJournal| remains(&read.1.text).0.len();
                let less = damaged.as_ref().is_none_or(|other| tells(other) < tells(&read));
                damaged = if less { Some(read) } else { damaged };
            }
        }
    }
    match (damaged, unread) {
        (None, Some(fault)) => Err(fault.into()),
        (damaged, _) => Ok(damaged),
    }
}

impl Left {
    /// What the earlier run noted.
    ///
    /// # Errors
    /// No drive kept it.
    pub fn journal(&self) -> Result<&Journal, FlowError> {
        self.journal.as_ref().map_err(|_| self.damaged(None))
    }

    /// The journal is not what was written; `unknown`: nor does it tell any more whose that folder is.
    fn damaged(&self, unknown: Option<PathBuf>) -> FlowError {
        let source = match &self.journal {
            Ok(journal) => {
                FormatError::malformed("the journal", 0, format!("{} of its lines are damaged", journal.lost))
            }
            Err(source) => source.clone(),
        };
        FlowError::Leftover(LeftoverError::BadJournal { path: self.path.clone(), source, unknown })
    }

    /// Whether a folder holds nothing, or a volume of this bundle: its seal is the one noted.
    fn owns(&self, number: u16, folder: &Path) -> Result<bool, IoFault> {
        if volume::is_free(folder) {
            return Ok(true);
        }
        for (_, name, sum) in self.seals.iter().filter(|(volume, _, _)| *volume == number) {
            match volume::read_small(&folder.join(name), limits::SEAL_FILE) {
                Ok(bytes) if sha256(&bytes) == *sum => return Ok(self.could_list(number, folder)),
                // Whose it is is not known as long as it cannot be read.
                Err(ScanError::Io(fault)) if os::is_of_one_place(&fault.source) || fault.is_denied() => {
                    return Err(fault);
                }
                _ => {}
            }
        }
        // The run died before the first seal was there.
        let files = std::fs::read_dir(folder).at("look into", folder)?.flatten();
        // Of one that cannot be used, at least something must be ours.
        let known = self.journal.is_ok() || self.volumes > 0 || self.found.text.starts_with(b"pouch-journal ");
        let ours = |name: &str| (name == JOURNAL && known) || is_unfinished(name);
        Ok(files.map(|file| file.file_name()).all(|name| name.to_str().is_some_and(ours)))
    }

    /// Whether a volume that looks complete names no part but those that were written to it.
    fn could_list(&self, number: u16, folder: &Path) -> bool {
        // Without a journal nothing is gone on with, and no such volume removed.
        let Ok(journal) = &self.journal else { return true };
        let Ok(bytes) = volume::read_small(&folder.join(SUMS), limits::SUMS_FILE) else { return true };
        let written: HashSet<(String, Digest)> = journal
            .parts
            .iter()
            .filter(|part| part.volume == number)
            .map(|part| (part.file_name(), part.sha256))
            .collect();
        let lines = sums::parse(&bytes).unwrap_or_default();
        lines.into_iter().filter(|(_, name)| is_part(name)).all(|(sum, name)| written.contains(&(name, sum)))
    }

    /// Refuses to remove it if not all of it is here, or a volume looks complete: somebody may need that.
    /// `asked`: only because it was asked for.
    pub fn may_go(&self, asked: bool) -> Result<(), FlowError> {
        let volumes = self.seals.iter().fold(self.volumes, |most, (volume, _, _)| most.max(*volume));
        if usize::from(volumes) > self.folders.len() {
            let text = format!(
                "{} is the first of {volumes} volumes that an interrupted run began, and {} are given",
                show(&self.folders[0]),
                self.folders.len()
            );
            return Err(FlowError::Leftover(LeftoverError::OtherPacking(text)));
        }
        match (self.folders.iter().find(|folder| folder.join(SUMS).exists()), &self.journal) {
            (None, _) => Ok(()),
            (Some(folder), Ok(Journal { lost: 0, .. })) if asked => {
                Err(FlowError::Leftover(LeftoverError::AllButFinished(folder.clone())))
            }
            (Some(folder), _) => Err(FlowError::Output(OutputError::VolumeExists(folder.clone()))),
        }
    }

    /// Removes all of it.
    ///
    /// # Errors
    /// As [`Left::may_go`], then nothing is changed; or a drive fails.
    pub fn remove(self) -> Result<(), FlowError> {
        self.may_go(false)?;
        if self.journal.is_ok() {
            self.found.forget_parts(&self.path)?;
        }
        for folder in self.folders.iter().rev() {
            volume::remove_ours(folder, |_| false)?;
        }
        // The journal last, the one that was read behind its copies: without it nobody would know whose the
        // others are.
        let others = self.folders.iter().map(|folder| folder.join(JOURNAL)).filter(|path| *path != self.path);
        for path in others.chain([self.path.clone()]) {
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
}
