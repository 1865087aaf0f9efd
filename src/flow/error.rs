//! Why a command could not go on. The enums here are plain data, one per theme; every floor below may be
//! wrapped, but no other room of `flow` is imported, so that any of them can return these errors. Texts say
//! what happened; what to do about it is said by `cli/hint.rs`.

mod bundle;
mod copies;
mod drive;
mod exhausted;
mod keyring;
mod leftover;
mod load;
mod output;
mod source;

pub use bundle::{BundleAt, BundleError};
pub use copies::{BadCopy, CopyFault, IndexFile, NoCopy, Proof, outcome_of};
pub use drive::{CapacityTestFailure, DriveError, Remedy, not_for_you, stopped_answering};
pub use exhausted::no_memory;
pub use keyring::KeyringError;
pub use leftover::LeftoverError;
pub use load::{LoadError, Misread};
pub use output::OutputError;
pub use source::SourceError;

use std::io;

use crate::base::fault::IoFault;
use crate::flow::outcome::Outcome;
use crate::format::FormatError;
use crate::stage::compress::ZstdError;
use crate::stage::restore::TargetError;
use crate::stage::volume::ScanError;
use crate::stage::walk::WalkError;

/// Why a command could not go on.
#[derive(Debug, thiserror::Error)]
pub enum FlowError {
    /// The request makes no sense.
    #[error("{0}")]
    Usage(String),
    /// A source cannot be packed, or is no longer what it was.
    #[error(transparent)]
    Source(SourceError),
    /// A drive is gone, too small, or did not keep what was written to it.
    #[error(transparent)]
    Drive(DriveError),
    /// An earlier run left something that this one cannot build on.
    #[error(transparent)]
    Leftover(LeftoverError),
    /// The bundle is missing, damaged, or not one bundle.
    #[error(transparent)]
    Bundle(BundleError),
    /// There is no usable key.
    #[error(transparent)]
    Key(KeyringError),
    /// The place to write to cannot take the result.
    #[error(transparent)]
    Output(OutputError),
    /// A staged volume could not be copied to its drive.
    #[error(transparent)]
    Load(LoadError),
    /// A system call failed.
    #[error(transparent)]
    Io(IoFault),
    /// Sealed bytes that break the format.
    #[error(transparent)]
    Format(FormatError),
    /// What this run was about to seal breaks the format. Nothing was made to look complete.
    #[error("not sealed, for no reader would take it: {0}")]
    Unopenable(FormatError),
    /// The user asked to stop.
    #[error("interrupted")]
    Cancelled,
    /// The system has no memory or no threads to spare.
    #[error("{0}")]
    Exhausted(String),
    /// A defect of ours.
    #[error("{0}")]
    Defect(String),
}

impl FlowError {
    /// The class of the failure.
    pub fn outcome(&self) -> Outcome {
        match self {
            FlowError::Usage(_) => Outcome::Usage,
            FlowError::Source(error) => error.outcome(),
            FlowError::Drive(_) | FlowError::Io(_) => Outcome::Io,
            FlowError::Leftover(_) => Outcome::Usage,
            FlowError::Bundle(error) => error.outcome(),
            FlowError::Key(error) => error.outcome(),
            FlowError::Output(error) => error.outcome(),
            FlowError::Load(error) => error.outcome(),
            FlowError::Format(error) => outcome_of(error, Proof::Sealed),
            FlowError::Cancelled => Outcome::Interrupted,
            FlowError::Unopenable(_) | FlowError::Exhausted(_) | FlowError::Defect(_) => Outcome::Failed,
        }
    }

    /// So many bytes of memory cannot be had.
    pub fn no_memory(bytes: u64) -> Self {
        FlowError::Exhausted(no_memory(bytes))
    }

    /// A thread that the work needs could not be started.
    pub fn no_thread(error: &io::Error) -> Self {
        FlowError::Exhausted(format!("the system lets this run have no more threads: {error}"))
    }
}

macro_rules! wrap {
    ($($variant:ident: $source:ty),* $(,)?) => {$(
        impl From<$source> for FlowError {
            fn from(error: $source) -> Self {
                FlowError::$variant(error)
            }
        }
    )*};
}

wrap!(
    Source: SourceError,
    Drive: DriveError,
    Leftover: LeftoverError,
    Bundle: BundleError,
    Key: KeyringError,
    Output: OutputError,
    Load: LoadError,
    Io: IoFault,
    Format: FormatError,
);

impl From<WalkError> for FlowError {
    fn from(error: WalkError) -> Self {
        SourceError::Walk(error).into()
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
            ScanError::Io(fault) => fault.into(),
            ScanError::Format(error) => error.into(),
        }
    }
}

impl From<TargetError> for FlowError {
    fn from(error: TargetError) -> Self {
        match error {
            TargetError::Io(fault) => fault.into(),
            TargetError::Foreign(path) => OutputError::Foreign(path).into(),
            TargetError::Busy(_) => OutputError::Busy(error.to_string()).into(),
            TargetError::Other(path) => LeftoverError::OtherUnpacking(path).into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::PathBuf;

    #[test]
    fn a_newer_format_is_a_usage_error_and_a_broken_one_hostile() {
        let broken = FormatError::Malformed { what: "the head", line: 1, why: "no".into() };
        assert_eq!(FlowError::from(broken).outcome(), Outcome::Hostile);
        let newer = FormatError::Newer { what: "the head", version: 2 };
        assert_eq!(FlowError::from(newer).outcome(), Outcome::Usage);
    }

    #[test]
    fn whether_more_drives_would_help_depends_on_what_was_found() {
        let no_seal = |bad: Vec<BadCopy>| FlowError::from(BundleError::from(NoCopy { what: IndexFile::Seal, bad }));
        let damaged = BadCopy { path: PathBuf::from("seal.age"), fault: CopyFault::Damaged("cut".into()) };
        let (none_there, damaged) = (no_seal(vec![]), no_seal(vec![damaged]));
        assert_eq!((none_there.outcome(), damaged.outcome()), (Outcome::Incomplete, Outcome::Damaged));
        assert_eq!(damaged.to_string(), "no seal on these volumes can be used: seal.age: it is damaged: cut");
    }

    #[test]
    fn a_walk_that_was_stopped_or_lost_its_drive_is_no_usage_error() {
        assert_eq!(FlowError::from(WalkError::Cancelled).outcome(), Outcome::Interrupted);
        assert_eq!(FlowError::from(WalkError::Gone(PathBuf::from("/media/camera"))).outcome(), Outcome::Io);
    }

    #[test]
    fn ten_changed_sources_are_named_and_the_others_counted() {
        let files = |count: usize| (0..count).map(|at| PathBuf::from(format!("clip-{at}"))).collect::<Vec<_>>();
        let one = SourceError::Changed(files(1)).to_string();
        assert_eq!(one, "1 source is not as an interrupted run found it: clip-0");
        let many = SourceError::Changed(files(12)).to_string();
        assert!(many.ends_with("clip-9, and 2 more"), "{many}");
    }
}
