//! Keys that are missing, wrong or unreadable.

use std::path::PathBuf;

use crate::base::path::show;
use crate::base::size::{first_ten, grouped};
use crate::flow::error::copies::{BadCopy, CopyFault};
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
    #[error("{} opens no seal of these volumes: {}", if *.passphrase { "what was given" } else { "the key" }, tried(.seals, .untried))]
    Wrong {
        /// Whether a passphrase was among them.
        passphrase: bool,
        /// All seals that were tried, and what came of each.
        seals: Vec<BadCopy>,
        /// Folders of volumes whose seal to a passphrase was not tried.
        untried: Vec<PathBuf>,
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

/// The seals; of those that are to others no more than the name.
fn tried(seals: &[BadCopy], untried: &[PathBuf]) -> String {
    let one = |bad: &BadCopy| match bad.fault {
        CopyFault::Wrong => show(&bad.path),
        _ => bad.to_string(),
    };
    let tried = first_ten(seals, one, |more| format!("and {more} more"));
    match untried.len() {
        0 => tried,
        more => format!(
            "{tried}; {} more with a passphrase were not tried, for each takes a second: name their folders one by one",
            grouped(more as u64)
        ),
    }
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
