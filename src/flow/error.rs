//! Why nothing more could be done, with its class; and what comes from the floors below.

use std::path::PathBuf;

use crate::base::fault::IoFault;
use crate::base::path::show;
use crate::base::size::{count, human};
use crate::flow::{Outcome, fit, gone, loaded, trial};
use crate::format::FormatError;
use crate::plan::names::Change;
use crate::stage::compress::ZstdError;
use crate::stage::restore::TargetError;
use crate::stage::seal::KeyError;
use crate::stage::volume::ScanError;
use crate::stage::walk::WalkError;

/// What helps parts that no drive has room for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Remedy {
    /// The drive that failed, or another one in its place.
    Replug,
    /// Another one in the place of a drive that does not keep what it is given.
    Replace,
    /// More room.
    Room,
    /// None: no drive has a journal any more.
    None,
}

impl Remedy {
    /// For drives of which one `lied`, or that are `only_full`, or of which one failed.
    pub fn of(lied: bool, only_full: bool) -> Self {
        match (lied, only_full) {
            (true, _) => Remedy::Replace,
            (false, true) => Remedy::Room,
            (false, false) => Remedy::Replug,
        }
    }
}

/// Why nothing more could be done. Plain data; `cli/hint.rs` adds what to do next.
#[derive(Debug, thiserror::Error)]
pub enum FlowError {
    /// The request makes no sense.
    #[error("{0}")]
    Usage(String),
    /// A source cannot be packed.
    #[error(transparent)]
    Walk(WalkError),
    /// The system said no.
    #[error(transparent)]
    Io(IoFault),
    /// Drives that stopped answering: the folders of their volumes.
    #[error("{}", gone::said(.0))]
    Gone(Vec<PathBuf>),
    /// Bytes that break the format.
    #[error(transparent)]
    Format(FormatError),
    /// A key file that does not do.
    #[error("{}: {source}", show(.path))]
    KeyFile {
        /// The file.
        path: PathBuf,
        /// Why.
        source: KeyError,
    },
    /// There is no key to try.
    #[error("no key was given, and the bundle is sealed")]
    NoKey,
    /// None of the keys opens the bundle.
    #[error("none of the given keys opens the seal of these volumes")]
    WrongKey {
        /// A passphrase was among them.
        passphrase: bool,
    },
    /// A key or passphrase that was announced did not come, or is not the one.
    #[error("{0}")]
    BadKey(String),
    /// The drives cannot hold the bundle.
    #[error("the bundle needs about {} and the drives have room for {}: {} are missing", human(*.needed), human(*.room), human(needed.saturating_sub(*.room)))]
    NoRoom {
        /// Bytes, expected or known.
        needed: u64,
        /// Bytes.
        room: u64,
    },
    /// What looked like enough room was not.
    #[error("the drives are full with {} of {} packed", human(*.packed), human(*.total))]
    RanFull {
        /// Bytes of the tar that found a place.
        packed: u64,
        /// Bytes of the tar.
        total: u64,
    },
    /// The target of an unpacking cannot hold it.
    #[error("what is to be written takes {} and {} has {} free: {} are missing", human(*.needed), show(.target), human(*.free), human(needed.saturating_sub(*.free)))]
    NoTargetRoom {
        /// Where to.
        target: PathBuf,
        /// Bytes.
        needed: u64,
        /// Bytes.
        free: u64,
    },
    /// A volume's folder that is there already.
    #[error("{} exists already", show(.0))]
    VolumeExists(PathBuf),
    /// What is there already and would be replaced or mixed up.
    #[error("{} exists already", show(.0))]
    Exists(PathBuf),
    /// A folder where a file must stand, or the other way round.
    #[error("{} is in the way: it is a folder where the bundle has a file, or the other way round", show(.0))]
    InTheWay(PathBuf),
    /// Names and links that the target of an unpacking cannot hold.
    #[error("{} cannot hold {} as packed:{}", show(.target), count(.changes.len() as u64, "path"), fit::listed(.changes))]
    Names {
        /// Where to.
        target: PathBuf,
        /// Each, and why.
        changes: Vec<Change>,
    },
    /// A key file that is there already.
    #[error("{} exists already", show(.0))]
    KeyExists(PathBuf),
    /// A drive that cannot hold even what every volume carries.
    #[error("{} has room for {}, and every volume needs {} for seals, heads, list and sums alone", show(.folder), human(*.room), human(*.needed))]
    DriveTooSmall {
        /// The volume's folder.
        folder: PathBuf,
        /// Bytes.
        needed: u64,
        /// Bytes.
        room: u64,
    },
    /// A file of a volume that is sealed properly and breaks the format.
    #[error("{}: {source}", show(.path))]
    BadFile {
        /// The file.
        path: PathBuf,
        /// How.
        source: FormatError,
    },
    /// A drive that does not hold what was written to it.
    #[error("{} is not what was written to it, from byte {offset} on: that drive is not to be trusted", show(.path))]
    Unfaithful {
        /// The file.
        path: PathBuf,
        /// Where that begins, to the MiB.
        offset: u64,
    },
    /// Parts that no drive has room for.
    #[error("{} ({}) need a home: {}", count(*.parts as u64, "part"), human(*.bytes), if .why.is_empty() { "the drives are full".into() } else { .why.join("; ") })]
    NoHome {
        /// How many.
        parts: usize,
        /// Their bytes.
        bytes: u64,
        /// Drives that were given up, and why.
        why: Vec<String>,
        /// What would help.
        remedy: Remedy,
    },
    /// Parts that are to be packed again, of sources that are not what they were.
    #[error("{} since they were packed, so what a drive did not keep cannot be made again: {}", changed(.0), names(.0))]
    CannotRemake(Vec<PathBuf>),
    /// The same, found before anything was written.
    #[error(transparent)]
    Untrue(trial::Untrue),
    /// Sources that are not what they were when an interrupted run packed them.
    #[error("{} since an interrupted run packed {}: {}", changed(.0), if .0.len() == 1 { "it" } else { "them" }, names(.0))]
    SourceChanged(Vec<PathBuf>),
    /// A journal that nobody can go on from.
    #[error("an interrupted run left {}, which cannot be used{}: {source}", show(.path), told(.unknown))]
    BadJournal {
        /// The file.
        path: PathBuf,
        /// How.
        source: FormatError,
        /// A folder of which it does not tell any more whose it is.
        unknown: Option<PathBuf>,
    },
    /// What an interrupted packing left, and this one is another.
    #[error("{0}")]
    Interrupted(String),
    /// What an interrupted packing left looks complete, and was to be removed.
    #[error("{} looks complete: an interrupted run had all but finished its bundle, and that is not removed", show(.0))]
    AllButFinished(PathBuf),
    /// What another unpacking left in the target.
    #[error("{} holds what an unpacking of another bundle, or of other files of this one, left unfinished", show(.0))]
    Unfinished(PathBuf),
    /// A second run on one target.
    #[error("{0}")]
    Busy(String),
    /// Nothing to read, or too little to begin with.
    #[error("{0}")]
    Missing(String),
    /// No seal that opens.
    #[error("{why}")]
    NoSeal {
        /// There are some, and they are damaged.
        found: bool,
        /// In words.
        why: String,
    },
    /// No head, or no list, that can be used.
    #[error("{why}")]
    NoIndex {
        /// There are some, and they are damaged.
        found: bool,
        /// In words.
        why: String,
    },
    /// What is there is damaged beyond use.
    #[error("{0}")]
    Damaged(String),
    /// Volumes of several bundles at once.
    #[error("these volumes belong to {} different bundles: {}", .0.len(), .0.join("; "))]
    Mixed(Vec<String>),
    /// A volume that was not copied to its drive.
    #[error(transparent)]
    Load(loaded::LoadError),
    /// Asked to stop.
    #[error("interrupted")]
    Cancelled,
    /// A defect of ours.
    #[error("{0}")]
    Defect(String),
}

fn changed(files: &[PathBuf]) -> String {
    format!("{} changed", count(files.len() as u64, "source"))
}

fn told(unknown: &Option<PathBuf>) -> String {
    unknown.as_ref().map_or(String::new(), |folder| format!(", nor does it tell whose {} is", show(folder)))
}

/// The first of them.
fn names(files: &[PathBuf]) -> String {
    let mut names: Vec<String> = files.iter().take(10).map(|path| show(path)).collect();
    if files.len() > names.len() {
        names.push(format!("and {} more", files.len() - names.len()));
    }
    names.join(", ")
}

impl FlowError {
    /// No seal that opens; `found`: those that are there are damaged.
    pub fn no_seal(found: bool, why: impl Into<String>) -> Self {
        FlowError::NoSeal { found, why: why.into() }
    }

    /// No head, or no list, that can be used; `found`: those that are there are damaged.
    pub fn no_index(found: bool, why: impl Into<String>) -> Self {
        FlowError::NoIndex { found, why: why.into() }
    }

    /// The class of the failure.
    pub fn outcome(&self) -> Outcome {
        match self {
            FlowError::Walk(WalkError::Cancelled) | FlowError::Cancelled => Outcome::Interrupted,
            FlowError::Walk(WalkError::Gone(_)) => Outcome::Io,
            FlowError::Usage(_)
            | FlowError::Walk(_)
            | FlowError::Exists(_)
            | FlowError::VolumeExists(_)
            | FlowError::KeyExists(_)
            | FlowError::InTheWay(_)
            | FlowError::Names { .. }
            | FlowError::Busy(_)
            | FlowError::Unfinished(_)
            | FlowError::SourceChanged(_)
            | FlowError::Interrupted(_)
            | FlowError::AllButFinished(_)
            | FlowError::BadJournal { .. }
            | FlowError::Mixed(_) => Outcome::Usage,
            FlowError::Io(_)
            | FlowError::Gone(_)
            | FlowError::Unfaithful { .. }
            | FlowError::NoHome { .. }
            | FlowError::CannotRemake(_)
            | FlowError::Untrue(_)
            | FlowError::NoRoom { .. }
            | FlowError::RanFull { .. }
            | FlowError::DriveTooSmall { .. }
            | FlowError::NoTargetRoom { .. } => Outcome::Io,
            FlowError::Format(source) | FlowError::BadFile { source, .. }
                if matches!(source, FormatError::Newer { .. }) =>
            {
                Outcome::Usage
            }
            // What does not follow the format although its seal is sound was made that way.
            FlowError::Format(_) | FlowError::BadFile { .. } => Outcome::Hostile,
            FlowError::KeyFile { source: KeyError::Format(FormatError::Limit { .. }), .. } => Outcome::Hostile,
            FlowError::KeyFile { .. } | FlowError::NoKey | FlowError::WrongKey { .. } | FlowError::BadKey(_) => {
                Outcome::Key
            }
            FlowError::NoSeal { found, .. } | FlowError::NoIndex { found, .. } if *found => Outcome::Damaged,
            FlowError::Missing(_) | FlowError::NoSeal { .. } | FlowError::NoIndex { .. } => Outcome::Incomplete,
            FlowError::Damaged(_) => Outcome::Damaged,
            FlowError::Load(error) => error.outcome(),
            FlowError::Defect(_) => Outcome::Failed,
        }
    }
}

impl From<IoFault> for FlowError {
    fn from(fault: IoFault) -> Self {
        FlowError::Io(fault)
    }
}

impl From<loaded::LoadError> for FlowError {
    fn from(error: loaded::LoadError) -> Self {
        FlowError::Load(error)
    }
}

impl From<WalkError> for FlowError {
    fn from(error: WalkError) -> Self {
        FlowError::Walk(error)
    }
}

impl From<FormatError> for FlowError {
    fn from(error: FormatError) -> Self {
        FlowError::Format(error)
    }
}

impl From<ZstdError> for FlowError {
    fn from(error: ZstdError) -> Self {
        FlowError::Defect(error.to_string())
    }
}

impl From<ScanError> for FlowError {
    fn from(error: ScanError) -> Self {
        match error {
            ScanError::Io(fault) => FlowError::Io(fault),
            ScanError::Format(error) => FlowError::Format(error),
        }
    }
}

impl From<TargetError> for FlowError {
    fn from(error: TargetError) -> Self {
        match error {
            TargetError::Io(fault) => FlowError::Io(fault),
            TargetError::Foreign(path) => FlowError::Exists(path),
            TargetError::Busy(_) => FlowError::Busy(error.to_string()),
            TargetError::Other(path) => FlowError::Unfinished(path),
        }
    }
}
