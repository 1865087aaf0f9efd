//! Keys that are missing, wrong or unreadable.

use std::path::PathBuf;

use crate::base::path::show;
use crate::flow::outcome::Outcome;
use crate::format::FormatError;
use crate::stage::seal;

/// There is no usable key.
#[derive(Debug, thiserror::Error)]
pub enum KeyringError {
    /// No key was given.
    #[error("no key was given, and the bundle is sealed")]
    NotGiven,
    /// None of the keys opens the bundle.
    #[error("none of the given keys opens the seal of these volumes")]
    Wrong {
        /// Whether a passphrase was among them.
        passphrase: bool,
    },
    /// A key or passphrase that was announced did not come, or does not fit.
    #[error("{0}")]
    Refused(String),
    /// A key file that cannot be used.
    #[error("{}: {source}", show(.path))]
    BadFile {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: seal::KeyError,
    },
    /// A new key would replace this file.
    #[error("{} exists already", show(.0))]
    FileExists(PathBuf),
}

impl KeyringError {
    /// The class of the failure.
    pub fn outcome(&self) -> Outcome {
        match self {
            KeyringError::BadFile { source: seal::KeyError::Format(FormatError::Limit { .. }), .. } => Outcome::Hostile,
            KeyringError::FileExists(_) => Outcome::Usage,
            KeyringError::NotGiven
            | KeyringError::Wrong { .. }
            | KeyringError::Refused(_)
            | KeyringError::BadFile { .. } => Outcome::Key,
        }
    }
}
