//! Why no copy of a seal, a head or a list can be used, and what that means for the run. This is the one place that
//! turns a fault in sealed bytes into the class of an error.
//!
//! Not guaranteed: that a fault of one copy is the cause of the others. The most telling one decides.

use std::io;
use std::path::PathBuf;

use crate::base::fault::{IoFault, is_denied};
use crate::base::path::show;
use crate::base::size::first_ten;
use crate::flow::error::exhausted::no_memory;
use crate::flow::outcome::Outcome;
use crate::format::FormatError;
use crate::stage::seal::KeyError;
use crate::stage::volume::ScanError;

/// The kinds of small files of which every volume carries copies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum IndexFile {
    /// Holds the bundle's key, sealed to its recipients or to a passphrase.
    Seal,
    /// Holds the statement and the table of parts.
    Head,
    /// Holds the table of files.
    List,
}

/// What is wrong with one copy. Two faults are equal if a reader sees the same text.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum CopyFault {
    /// The system does not let this user read the file. So the copy may be good.
    #[error("it could not be read by you ({0})")]
    Denied(String),
    /// The system failed to read the file. So the copy may be good.
    #[error("it could not be read ({0})")]
    Unread(String),
    /// The bytes of memory that a try with the passphrase takes, and that the system does not have.
    #[error("{}", no_memory(*.0))]
    NoMemory(u64),
    /// None of the given keys opens the copy. It may be sealed to others.
    #[error("none of the given keys opens it")]
    Wrong,
    /// The copy does not open, or not to its end. Damage explains that.
    #[error("it is damaged: {0}")]
    Damaged(String),
    /// The copy is over a limit, or of a later version of age. Nothing of it was authenticated yet.
    #[error("{}", unproven(.0))]
    Refused(FormatError),
    /// The copy opens and breaks the format. So damage does not explain it.
    #[error("{0}")]
    Broken(FormatError),
    /// The copy opens and needs what this version of Pouch cannot do yet.
    #[error("{0}")]
    Reserved(String),
}

/// The text of an error in bytes that damage may have changed. A flipped bit can look like a later version.
fn unproven(error: &FormatError) -> String {
    match error {
        FormatError::Newer { .. } => format!("{error}; or it is damaged"),
        _ => error.to_string(),
    }
}

impl CopyFault {
    /// The class of a run that finds only copies with this fault.
    pub(crate) fn outcome(&self) -> Outcome {
        match self {
            CopyFault::Denied(_) | CopyFault::Unread(_) => Outcome::Io,
            CopyFault::NoMemory(_) => Outcome::Failed,
            CopyFault::Wrong => Outcome::Key,
            CopyFault::Damaged(_) => Outcome::Damaged,
            CopyFault::Refused(error) => outcome_of(error, Proof::None),
            CopyFault::Broken(error) => outcome_of(error, Proof::Sealed),
            CopyFault::Reserved(_) => Outcome::Usage,
        }
    }

    /// Of several faults the one with the lowest rank says what to do. A copy that could not be read may be good, so it
    /// comes first.
    fn rank(&self) -> u8 {
        match self {
            CopyFault::Denied(_) | CopyFault::Unread(_) | CopyFault::NoMemory(_) => 0,
            CopyFault::Broken(_) | CopyFault::Reserved(_) => 1,
            CopyFault::Refused(FormatError::Limit { .. }) => 2,
            CopyFault::Wrong => 3,
            CopyFault::Damaged(_) => 4,
            CopyFault::Refused(_) => 5,
        }
    }
}

impl From<&IoFault> for CopyFault {
    fn from(fault: &IoFault) -> Self {
        CopyFault::from(&fault.source)
    }
}

/// Sorts an error of reading. One with a code is the system's. One without a code is ours, and says that the file is
/// no regular file or no longer what was sealed.
impl From<&io::Error> for CopyFault {
    fn from(error: &io::Error) -> Self {
        match error.raw_os_error() {
            Some(_) if is_denied(error) => CopyFault::Denied(error.to_string()),
            Some(_) => CopyFault::Unread(error.to_string()),
            None => CopyFault::Damaged(error.to_string()),
        }
    }
}

impl From<ScanError> for CopyFault {
    fn from(error: ScanError) -> Self {
        match error {
            ScanError::Io(fault) => CopyFault::from(&fault),
            ScanError::Format(error) => CopyFault::Refused(error),
        }
    }
}

/// Sorts the error of a header that did not open.
impl From<KeyError> for CopyFault {
    fn from(error: KeyError) -> Self {
        match error {
            KeyError::Wrong => CopyFault::Wrong,
            KeyError::NoMemory(bytes) => CopyFault::NoMemory(bytes),
            KeyError::Format(error @ (FormatError::Limit { .. } | FormatError::Newer { .. })) => {
                CopyFault::Refused(error)
            }
            KeyError::Damaged(why) => CopyFault::Damaged(why),
            other => CopyFault::Damaged(other.to_string()),
        }
    }
}

/// Whether bytes were authenticated before they were parsed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Proof {
    /// They were not, so damage may have changed them.
    None,
    /// They were, so they are as their author sealed them.
    Sealed,
}

/// The class of a run that meets bytes which break the format. The beginning of FORMAT has the table.
pub(crate) fn outcome_of(error: &FormatError, proof: Proof) -> Outcome {
    match (error, proof) {
        (FormatError::Newer { .. }, _) => Outcome::Usage,
        (FormatError::Malformed { .. }, Proof::None) => Outcome::Damaged,
        (FormatError::Malformed { .. } | FormatError::Unsafe { .. } | FormatError::Limit { .. }, _) => Outcome::Hostile,
    }
}

/// A file that should be a copy and cannot be used as one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}: {fault}", show(.path))]
pub struct BadCopy {
    pub(crate) path: PathBuf,
    pub(crate) fault: CopyFault,
}

/// No copy of a seal, a head or a list can be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", self.text())]
pub struct NoCopy {
    pub(crate) what: IndexFile,
    /// All copies that were found, in the order of reading. Empty if there was none.
    pub(crate) bad: Vec<BadCopy>,
}

impl NoCopy {
    fn text(&self) -> String {
        let what = match self.what {
            IndexFile::Seal => "seal",
            IndexFile::Head => "head",
            IndexFile::List => "list",
        };
        if !self.bad.is_empty() {
            let bad = first_ten(&self.bad, BadCopy::to_string, |more| format!("and {more} more"));
            return format!("no {what} on these volumes can be used: {bad}");
        }
        match self.what {
            IndexFile::Head => "there is no head on these volumes: they were never finished, or lost it".into(),
            IndexFile::Seal | IndexFile::List => format!("there is no {what} on these volumes"),
        }
    }

    /// The fault that says what to do; of equal ranks the first in the order of reading. `None` if no copy was found.
    pub(crate) fn decisive(&self) -> Option<&CopyFault> {
        self.bad.iter().map(|bad| &bad.fault).min_by_key(|fault| fault.rank())
    }

    /// The class of the failure. Without any copy, more drives would help.
    pub(crate) fn outcome(&self) -> Outcome {
        self.decisive().map_or(Outcome::Incomplete, CopyFault::outcome)
    }
}

#[cfg(test)]
mod tests;
