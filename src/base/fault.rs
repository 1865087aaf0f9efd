//! A failed system call, with the words that let a person find the place.

use std::io;
use std::path::{Path, PathBuf};

use crate::base::path::show;

/// What Pouch was doing, where, and what the system answered.
#[derive(Debug, thiserror::Error)]
#[error("{}", self.text())]
pub struct IoFault {
    /// A verb that fits "cannot {doing} {path}": "read", "write", "create".
    pub(crate) doing: &'static str,
    pub(crate) path: PathBuf,
    pub(crate) source: io::Error,
}

/// Verbs of calls that only read. The message for a denied one names the user.
const READING: [&str; 4] = ["read", "read back", "look into", "look at"];

impl IoFault {
    fn text(&self) -> String {
        let doing = self.doing;
        let path = show(&self.path);
        let source = &self.source;
        if self.is_denied() && READING.contains(&doing) {
            return format!("{path} could not be read by you: {source}");
        }
        format!("cannot {doing} {path}: {source}")
    }

    /// Whether the system denied this user access. That says nothing about the state of the file.
    pub(crate) fn is_denied(&self) -> bool {
        is_denied(&self.source)
    }

    /// Whether the call only read or opened something.
    pub(crate) fn is_of_reading(&self) -> bool {
        READING.contains(&self.doing) || self.doing == "open"
    }

    /// Whether the system said that there is no room: on the drive, in the quota, or for so large a file.
    pub(crate) fn is_full(&self) -> bool {
        matches!(
            self.source.kind(),
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge
        )
    }
}

impl Clone for IoFault {
    fn clone(&self) -> Self {
        // `io::Error` cannot be cloned. The code, or the kind with its text, is all that Pouch looks at.
        let source = match self.source.raw_os_error() {
            Some(code) => io::Error::from_raw_os_error(code),
            None => io::Error::new(self.source.kind(), self.source.to_string()),
        };
        Self { doing: self.doing, path: self.path.clone(), source }
    }
}

/// Whether the system denied this user access (EACCES or EPERM).
pub(crate) fn is_denied(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::PermissionDenied
}

/// Adds the verb and the path to an [`io::Result`].
pub(crate) trait At<T> {
    /// `doing` is the verb in "cannot {doing} {path}".
    fn at(self, doing: &'static str, path: &Path) -> Result<T, IoFault>;
}

impl<T> At<T> for io::Result<T> {
    fn at(self, doing: &'static str, path: &Path) -> Result<T, IoFault> {
        self.map_err(|source| IoFault { doing, path: path.to_owned(), source })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_this_user_may_not_read_is_said_to_be_that() {
        let fault =
            |doing, code| IoFault { doing, path: "/media/a".into(), source: io::Error::from_raw_os_error(code) };
        let denied = fault("read", 13);
        assert_eq!(denied.to_string(), "/media/a could not be read by you: Permission denied (os error 13)");
        assert!(denied.is_denied() && denied.clone().to_string() == denied.to_string());
        assert_eq!(fault("create", 13).to_string(), "cannot create /media/a: Permission denied (os error 13)");
        assert!(fault("read", 5).to_string().starts_with("cannot read /media/a: ") && !fault("read", 5).is_denied());
    }
}
