//! Why a command could not go on. The enums are plain data, one for each theme. They wrap errors of the floors below,
//! and import no other room of `flow`, so that every room can return them.
//!
//! The texts say what happened, and `cli/hint.rs` says what to do about it. Not guaranteed: that an error leaves no
//! trace on a drive. What was written before it is a matter of the command.

mod bundle;
mod copies;
mod drive;
mod exhausted;
mod keyring;
mod leftover;
mod load;
mod output;
mod request;
mod source;

pub(crate) use bundle::{BundleAt, BundleError};
pub(crate) use copies::{BadCopy, CopyFault, IndexFile, NoCopy, Proof, outcome_of};
pub(crate) use drive::{CapacityTestFailure, DriveError, Remedy, not_for_you, stopped_answering};
pub(crate) use exhausted::no_memory;
pub(crate) use keyring::KeyringError;
pub(crate) use leftover::LeftoverError;
pub(crate) use load::{LoadError, Misread};
pub(crate) use output::OutputError;
pub(crate) use request::RequestError;
pub(crate) use source::SourceError;

use std::io;

use crate::base::fault::IoFault;
use crate::flow::outcome::Outcome;
use crate::format::FormatError;
use crate::stage::compress::ZstdError;
use crate::stage::restore::TargetError;
use crate::stage::volume::ScanError;
use crate::stage::walk::WalkError;

/// Why a command could not go on. Where an error has a theme, the variant holds the enum of that theme.
#[derive(Debug, thiserror::Error)]
pub enum FlowError {
    /// The request makes no sense as given, such as a file where a folder is needed.
    #[error("{0}")]
    Usage(String),
    #[error(transparent)]
    Request(RequestError),
    #[error(transparent)]
    Source(SourceError),
    #[error(transparent)]
    Drive(DriveError),
    #[error(transparent)]
    Leftover(LeftoverError),
    #[error(transparent)]
    Bundle(BundleError),
    #[error(transparent)]
    Key(KeyringError),
    #[error(transparent)]
    Output(OutputError),
    #[error(transparent)]
    Load(LoadError),
    /// A system call failed, and no theme says more about it.
    #[error(transparent)]
    Io(IoFault),
    /// Bytes that were authenticated under a key break the format. So damage does not explain them.
    #[error(transparent)]
    Format(FormatError),
    /// What this run was about to seal breaks the format. No volume looks complete.
    #[error("not sealed, for no reader would take it: {0}")]
    Unopenable(FormatError),
    /// The user stopped the run.
    #[error("interrupted")]
    Cancelled,
    /// The system has no memory or no threads to spare.
    #[error("{0}")]
    Exhausted(String),
    /// Pouch has a defect, which the text describes.
    #[error("{0}")]
    Defect(String),
}

impl FlowError {
    /// The class of the failure, which decides the exit code.
    pub(crate) fn outcome(&self) -> Outcome {
        match self {
            FlowError::Usage(_) | FlowError::Request(_) => Outcome::Usage,
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

    /// The error of a run that asked for `bytes` of memory in one piece and did not get them.
    pub(crate) fn no_memory(bytes: u64) -> Self {
        FlowError::Exhausted(no_memory(bytes))
    }

    /// The error of a run that cannot do its work without a thread that the system refused.
    pub(crate) fn no_thread(error: &io::Error) -> Self {
        FlowError::Exhausted(format!("the system lets this run have no more threads: {error}"))
    }
}

/// Lets `?` and `into()` turn the error of a theme into a [`FlowError`].
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
    Request: RequestError,
    Load: LoadError,
    Io: IoFault,
    Format: FormatError,
);

impl From<WalkError> for FlowError {
    fn from(error: WalkError) -> Self {
        SourceError::Walk(error).into()
    }
}

/// On lack of memory the compressor panics. So any error that it returns is a defect of ours.
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
mod tests;
