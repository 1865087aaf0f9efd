//! Copies of a seal, a head or a list, none of which can be used; and what that means for the run. The one place
//! where what is wrong with sealed bytes becomes the class of an error.

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

/// What every volume carries a copy of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IndexFile {
    /// The bundle's key, to its recipients or to a passphrase.
    Seal,
    /// The statement and the table of parts.
    Head,
    /// The table of files.
    List,
}

/// What is wrong with one copy.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CopyFault {
    /// The system refused it to this user.
    #[error("it could not be read by you ({0})")]
    Denied(String),
    /// The system failed to read it.
    #[error("it could not be read ({0})")]
    Unread(String),
    /// Trying a passphrase on it takes more memory than there is, in bytes.
    #[error("{}", no_memory(*.0))]
    NoMemory(u64),
    /// None of the keys opens it.
    #[error("none of the given keys opens it")]
    Wrong,
    /// It does not open, or not to its end: damage explains that.
    #[error("it is damaged: {0}")]
    Damaged(String),
    /// It is refused before anything of it is authenticated: it is over a limit, or of a later version of age.
    #[error("{}", unproven(.0))]
    Refused(FormatError),
    /// It opens, so that damage does not explain it, and breaks the format.
    #[error("{0}")]
    Broken(FormatError),
    /// It opens, and needs what this version does not have yet.
    #[error("{0}")]
    Reserved(String),
}

fn unproven(error: &FormatError) -> String {
    match error {
        FormatError::Newer { .. } => format!("{error}; or it is damaged"),
        _ => error.to_string(),
    }
}

impl CopyFault {
    /// The class of a run that has only such copies.
    pub fn outcome(&self) -> Outcome {
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

    /// Which of several faults tells what to do: the lowest. A copy that could not be read may be good.
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

/// An error of reading: of the system, or ours about what is no such file or no longer what was sealed.
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

/// A header that did not open.
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

/// Whether bytes were authenticated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Proof {
    /// They were not: damage may have made them what they are.
    None,
    /// They came out of a seal: somebody made them so.
    Sealed,
}

/// The class of bytes that break the format (FORMAT, beginning).
pub fn outcome_of(error: &FormatError, proof: Proof) -> Outcome {
    match (error, proof) {
        (FormatError::Newer { .. }, _) => Outcome::Usage,
        (FormatError::Malformed { .. }, Proof::None) => Outcome::Damaged,
        (FormatError::Malformed { .. } | FormatError::Unsafe { .. } | FormatError::Limit { .. }, _) => Outcome::Hostile,
    }
}

/// A copy that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}: {fault}", show(.path))]
pub struct BadCopy {
    /// The file.
    pub path: PathBuf,
    /// What is wrong with it.
    pub fault: CopyFault,
}

/// No copy of something can be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", self.text())]
pub struct NoCopy {
    /// What there are copies of.
    pub what: IndexFile,
    /// All that were found, in the order of reading.
    pub bad: Vec<BadCopy>,
}

impl NoCopy {
    fn text(&self) -> String {
        let what = match self.what {
            IndexFile::Seal => "seal",
            IndexFile::Head => "head",
            IndexFile::List => "list",
        };
        match (self.bad.is_empty(), self.what) {
            (true, IndexFile::Head) => {
                "there is no head on these volumes: they were never finished, or lost it".to_string()
            }
            (true, _) => format!("there is no {what} on these volumes"),
            (false, _) => {
                let bad = first_ten(&self.bad, BadCopy::to_string, |more| format!("and {more} more"));
                format!("no {what} on these volumes can be used: {bad}")
            }
        }
    }

    /// The fault that tells what to do; of equal ones the first in the order of reading. `None` if nothing was found.
    pub fn decisive(&self) -> Option<&CopyFault> {
        self.bad.iter().map(|bad| &bad.fault).min_by_key(|fault| fault.rank())
    }

    /// The class of the failure.
    pub fn outcome(&self) -> Outcome {
        self.decisive().map_or(Outcome::Incomplete, CopyFault::outcome)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn malformed() -> FormatError {
        FormatError::malformed("the seal", 1, "no")
    }

    fn newer() -> FormatError {
        FormatError::Newer { what: "the seal", version: 2 }
    }

    fn limit() -> FormatError {
        FormatError::Limit { what: "it", value: 2, limit: 1 }
    }

    fn outcome(faults: &[CopyFault]) -> Outcome {
        let bad = |fault: &CopyFault| BadCopy { path: PathBuf::from("seal.age"), fault: fault.clone() };
        NoCopy { what: IndexFile::Seal, bad: faults.iter().map(bad).collect() }.outcome()
    }

    #[test]
    fn what_was_sealed_so_is_told_from_what_damage_explains() {
        for (fault, expected) in [
            (CopyFault::Broken(malformed()), Outcome::Hostile),
            (CopyFault::Broken(limit()), Outcome::Hostile),
            (CopyFault::Broken(newer()), Outcome::Usage),
            (CopyFault::Reserved("cards".into()), Outcome::Usage),
            (CopyFault::Refused(limit()), Outcome::Hostile),
            (CopyFault::Refused(newer()), Outcome::Usage),
            (CopyFault::Damaged("cut".into()), Outcome::Damaged),
            (CopyFault::Wrong, Outcome::Key),
            (CopyFault::Denied("no".into()), Outcome::Io),
            (CopyFault::Unread("bad sector".into()), Outcome::Io),
        ] {
            assert_eq!(outcome(std::slice::from_ref(&fault)), expected, "{fault:?}");
        }
        assert_eq!(outcome(&[]), Outcome::Incomplete);
        assert_eq!(outcome_of(&malformed(), Proof::None), Outcome::Damaged);
    }

    #[test]
    fn of_several_faults_the_one_that_tells_what_to_do_decides() {
        let (broken, damaged) = (CopyFault::Broken(malformed()), CopyFault::Damaged("cut".into()));
        let unread = CopyFault::Unread("bad sector".into());
        assert_eq!(outcome(&[broken.clone(), unread.clone()]), Outcome::Io, "it may be good");
        assert_eq!(outcome(&[damaged.clone(), CopyFault::Wrong]), Outcome::Key);
        assert_eq!(outcome(&[CopyFault::Wrong, broken.clone()]), Outcome::Hostile);
        assert_eq!(outcome(&[broken, CopyFault::Broken(newer())]), Outcome::Hostile, "the first in reading order");
        // One flipped bit makes a version 2 of a version 3.
        assert_eq!(outcome(&[CopyFault::Refused(newer()), damaged]), Outcome::Damaged);
    }
}
