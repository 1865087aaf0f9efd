//! Bundles that are missing, damaged, or not one bundle.

use std::path::PathBuf;

use crate::base::path::show;
use crate::flow::outcome::Outcome;
use crate::format::FormatError;

/// The bundle is missing, damaged, or not one bundle.
#[derive(Debug, thiserror::Error)]
pub enum BundleError {
    /// Nothing to read, or too little to begin with.
    #[error("{0}")]
    Missing(String),
    /// No seal that opens.
    #[error("{why}")]
    NoSeal {
        /// Whether seals were found, all of them damaged.
        found: bool,
        /// The text to show.
        why: String,
    },
    /// No usable head, or no usable list.
    #[error("{why}")]
    NoIndex {
        /// Whether some were found, all of them damaged.
        found: bool,
        /// The text to show.
        why: String,
    },
    /// Damaged beyond use.
    #[error("{0}")]
    Damaged(String),
    /// Volumes of several bundles at once: their fingerprints.
    #[error("these volumes belong to {} different bundles: {}", .0.len(), .0.join("; "))]
    Mixed(Vec<String>),
    /// A file that is sealed correctly and breaks the format.
    #[error("{}: {source}", show(.path))]
    BadFile {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: FormatError,
    },
}

impl BundleError {
    /// No seal that opens; `found`: there are seals, and they are damaged.
    pub fn no_seal(found: bool, why: impl Into<String>) -> Self {
        BundleError::NoSeal { found, why: why.into() }
    }

    /// No usable head or list; `found`: there are some, and they are damaged.
    pub fn no_index(found: bool, why: impl Into<String>) -> Self {
        BundleError::NoIndex { found, why: why.into() }
    }

    /// The class of the failure.
    pub fn outcome(&self) -> Outcome {
        match self {
            BundleError::NoSeal { found: true, .. } | BundleError::NoIndex { found: true, .. } => Outcome::Damaged,
            BundleError::NoSeal { .. } | BundleError::NoIndex { .. } | BundleError::Missing(_) => Outcome::Incomplete,
            BundleError::Damaged(_) => Outcome::Damaged,
            BundleError::Mixed(_) => Outcome::Usage,
            BundleError::BadFile { source, .. } => outcome_of(source),
        }
    }
}

/// The class of bytes that break the format although their seal is sound: they were made that way.
pub(super) fn outcome_of(error: &FormatError) -> Outcome {
    match error {
        FormatError::Newer { .. } => Outcome::Usage,
        _ => Outcome::Hostile,
    }
}
