//! The staging folder of an unpacking: begins or resumes it under a lock, and knows its paths and its log. The files
//! beside this one place, finish and deliver what it holds.
//!
//! Not guaranteed: that no other program changes the staging folder. The lock keeps only other runs of ours away.

use std::collections::BTreeSet;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use super::metadata::{MetadataResult, Tally};
use super::placed_log::{LogState, PlacedLog};
use crate::base::digest::Digest;
use crate::base::entry::Entry;
use crate::base::fault::{At, IoFault};
use crate::base::open_path::remove_all;
use crate::base::os;
use crate::base::os::folder::Folder;

/// Name of the staging folder. It is always the same, so that a later run finds what an interrupted run left.
pub(super) const STAGING: &str = crate::format::UNPACKING;
/// Marks the staging folder as ours, and carries the lock of the run that works in it.
pub(super) const MARK: &str = "lock";
/// The [`PlacedLog`] of placed parts.
pub(super) const LOG: &str = "placed";
/// The folder in which the packed tree is put together.
pub(super) const FILES: &str = "files";
/// Holds files that are not whole, named by their index in the list, while the others are delivered.
pub(super) const ASIDE: &str = "aside";
/// Holds parts of incomplete stripes until a later drive brings the rest.
pub(super) const PARTS: &str = "parts";
/// The copy that replaces a file with several names; see `restore/resume.rs`.
pub(super) const OWN: &str = "own";

/// The staging folder of one unpacking, locked against other runs.
pub(crate) struct Staging {
    pub(super) target: Folder,
    pub(super) target_path: PathBuf,
    /// The folder [`FILES`], under which entries have the paths that they get in the target.
    pub(super) root: Folder,
    /// The staging folder itself.
    pub(super) folder: Folder,
    pub(super) name: String,
    pub(super) log: PlacedLog,
    /// Whether an earlier run left files or a log to resume from.
    pub(super) resumed: bool,
    /// Whether hard links become copies.
    pub(super) copies: bool,
    /// Counts entries whose mode or time the target did not take.
    pub(super) tally: Tally,
    /// The target, open since before the first write: a sync through it reports every write that the disk lost.
    pub(super) held: File,
    /// The error of a loss before this run.
    lost_before: Option<io::Error>,
    /// Stays open, because its lock keeps a second run away.
    pub(super) _lock: File,
}

/// Why a target cannot be unpacked into.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TargetError {
    /// The system refused a step.
    #[error(transparent)]
    Io(#[from] IoFault),
    /// A folder has the name of the staging folder, but holds files and no mark of ours.
    #[error("{} is in the way and was not made by pouch", crate::base::path::show(.0))]
    Foreign(PathBuf),
    /// Another run holds the lock.
    #[error("another pouch is unpacking into {} now", crate::base::path::show(.0))]
    Busy(PathBuf),
    /// The staging folder belongs to the unpacking of another bundle or selection.
    #[error("{} is of other work", crate::base::path::show(.0))]
    Other(PathBuf),
}

impl Staging {
    /// Files and folders of its own that a run may still make after placing has begun, so that the caller leaves
    /// inodes for them.
    pub(crate) const LATER: u64 = 1;

    /// Opens the target, which must exist, and the staging folder in it, whose name no entry has. `work` identifies
    /// the bundle and the selected entries: an earlier run with the same `work` is resumed. A staging folder of ours
    /// without a log is begun anew, because its files belong to no known bundle.
    pub(crate) fn begin(target_path: &Path, entries: &[Entry], work: &Digest) -> Result<Self, TargetError> {
        let target = Folder::open(target_path).at("open", target_path)?;
        let held = File::open(target_path).at("open", target_path)?;
        let name = free_name(entries);
        let path = target_path.join(&name);
        let mut left = false;
        let (folder, lock, log) = loop {
            let new = make_private(&target, &name).at("create", &path)?;
            left |= !new;
            let folder = target.enter(name.as_bytes()).at("open", &path)?;
            if !new {
                check_is_ours(&folder, &path)?;
            }
            let lock = private_file(&folder, MARK).at("lock", &path)?;
            if !os::try_lock(&lock).at("lock", &path)? {
                return Err(TargetError::Busy(target_path.to_owned()));
            }
            match open_log(&folder, &path, work, left)? {
                Some(log) => break (folder, lock, log),
                None => remove_all(&target, name.as_bytes()).at("remove", &path)?,
            }
        };
        let root = folder.enter(FILES.as_bytes()).at("open", &path)?;
        let lost_before = os::forget_earlier_loss(&held);
        Ok(Self {
            target,
            target_path: target_path.to_owned(),
            root,
            folder,
            name,
            log: log.log,
            resumed: log.resumed,
            copies: false,
            tally: Tally::default(),
            held,
            lost_before,
            _lock: lock,
        })
    }

    /// Numbers of the data parts that this run and earlier runs placed.
    pub(crate) fn placed(&self) -> BTreeSet<u32> {
        self.log.placed()
    }

    /// Whether an earlier run left files or a log to resume from.
    pub(crate) fn is_resumed(&self) -> bool {
        self.resumed
    }

    /// The error of a write that the target's file system lost before this run, if the system reported it only now.
    pub(crate) fn lost_before(&self) -> Option<&io::Error> {
        self.lost_before.as_ref()
    }

    /// Whether an earlier run may have delivered files.
    pub(crate) fn has_delivered(&self) -> bool {
        self.log.delivering
    }

    /// Logs that every byte of a part is placed.
    pub(crate) fn note_placed(&self, part: u32) -> Result<(), IoFault> {
        self.log.part(part).at("write", &self.path().join(LOG))
    }

    /// The path of the staging folder, for messages and for callers that work by path.
    pub(crate) fn path(&self) -> PathBuf {
        self.target_path.join(&self.name)
    }

    /// The folder for parts of incomplete stripes. This module only removes it; the caller creates it when needed.
    pub(crate) fn kept_parts(&self) -> PathBuf {
        self.path().join(PARTS)
    }

    /// From now on hard links become copies, for a target that holds no links.
    pub(crate) fn copy_links(&mut self) {
        self.copies = true;
    }

    /// Whether hard links become copies.
    pub(crate) fn has_copies(&self) -> bool {
        self.copies
    }

    /// Counts an entry that is whole. An entry that is not delivered must not be counted.
    pub(crate) fn count(&self, dressed: MetadataResult) {
        self.tally.add(dressed);
    }

    /// The error for a step that failed on an entry.
    pub(super) fn fault(&self, doing: &'static str, entry: &Entry, source: io::Error) -> IoFault {
        IoFault { doing, path: self.shown(entry), source }
    }

    /// The path that an error names: where the entry belongs in the target, not where it is staged.
    pub(super) fn shown(&self, entry: &Entry) -> PathBuf {
        self.target_path.join(entry.path.as_path())
    }
}

/// The log of a staging folder that is ready for work.
struct OpenLog {
    log: PlacedLog,
    /// Whether an earlier run left files or a log to resume from.
    resumed: bool,
}

/// Opens the log of an earlier run, or creates one if the staging folder holds no files. `left` tells whether the
/// staging folder existed before. `None` means that it holds files without a log.
///
/// # Errors
/// The log is of other work; or the system refuses a step.
fn open_log(folder: &Folder, path: &Path, work: &Digest, left: bool) -> Result<Option<OpenLog>, TargetError> {
    let file = private_file(folder, LOG).at("open", path)?;
    match PlacedLog::read(file, work).at("read", &path.join(LOG))? {
        LogState::Other => Err(TargetError::Other(path.to_owned())),
        LogState::Same(log) => {
            make_private(folder, FILES).at("create", path)?;
            Ok(Some(OpenLog { log, resumed: true }))
        }
        LogState::Nothing if make_private(folder, FILES).at("create", path)? => {
            let file = private_file(folder, LOG).at("open", path)?;
            // An existing folder without a log may be the rest of a run that had delivered everything. The log then
            // starts as delivering, so that files in the target are compared with the list.
            let log = PlacedLog::create(file, work, left).at("write", &path.join(LOG))?;
            Ok(Some(OpenLog { log, resumed: left }))
        }
        LogState::Nothing => Ok(None),
    }
}

/// Checks that an existing folder bears our mark or is empty, so that no foreign folder is taken for a staging folder.
fn check_is_ours(folder: &Folder, path: &Path) -> Result<(), TargetError> {
    let mark = os::if_there(folder.look_at(MARK.as_bytes())).at("look into", path)?;
    if mark.is_none() && !folder.names().at("look into", path)?.is_empty() {
        return Err(TargetError::Foreign(path.to_owned()));
    }
    Ok(())
}

/// Opens a file, and creates a missing one for its owner alone. An existing file keeps its content and mode.
fn private_file(folder: &Folder, name: &str) -> io::Result<File> {
    folder.open_or_create(name.as_bytes())
}

/// Creates a folder for its owner alone. Returns `false` if the name is taken.
pub(super) fn make_private(folder: &Folder, name: &str) -> io::Result<bool> {
    match folder.make_folder(name.as_bytes()) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
        Err(error) => Err(error),
    }
}

/// The name of the staging folder, made longer until no top-level entry has it.
fn free_name(entries: &[Entry]) -> String {
    let mut name = STAGING.to_string();
    while entries.iter().any(|entry| entry.path.as_bytes() == name.as_bytes()) {
        name.push('-');
    }
    name
}
