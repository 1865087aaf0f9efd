//! Bundles that are missing, damaged, or not one bundle.

use std::path::PathBuf;

use crate::base::path::show;
use crate::base::size::first_ten;
use crate::flow::error::copies::NoCopy;
use crate::flow::outcome::Outcome;

/// The bundle is missing, damaged, or not one bundle.
#[derive(Debug, thiserror::Error)]
pub enum BundleError {
    /// Too little to begin with.
    #[error("{0}")]
    Missing(String),
    /// There is nothing to read where volumes were said to be.
    #[error("{0}")]
    NoVolume(String),
    /// No usable seal, head or list.
    #[error(transparent)]
    NoCopy(#[from] NoCopy),
    /// Damaged beyond use.
    #[error("{0}")]
    Damaged(String),
    /// Several bundles at once.
    #[error("these volumes belong to {} different bundles: {}", .0.len(), list(.0))]
    Mixed(Vec<BundleAt>),
    /// None of the bundles is the one that was asked for.
    #[error("no bundle here has a fingerprint that begins with {wanted}; found: {}", list(.found))]
    NotTheOne {
        /// The beginning of its fingerprint.
        wanted: String,
        /// Those that are there.
        found: Vec<BundleAt>,
    },
}

/// A bundle, and where it was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BundleAt {
    /// `None` if it has no head that could be used.
    pub fingerprint: Option<String>,
    /// Folders of its volumes; of one without a head the files of its seals.
    pub places: Vec<PathBuf>,
}

fn list(bundles: &[BundleAt]) -> String {
    let one = |bundle: &BundleAt| {
        let places = first_ten(&bundle.places, |path| show(path), |more| format!("and {more} more"));
        match &bundle.fingerprint {
            Some(fingerprint) => format!("{fingerprint} ({places})"),
            None => format!("one without a head, by its seal ({places})"),
        }
    };
    bundles.iter().map(one).collect::<Vec<_>>().join("; ")
}

impl BundleError {
    /// The class of the failure.
    pub fn outcome(&self) -> Outcome {
        match self {
            BundleError::Missing(_) => Outcome::Incomplete,
            BundleError::NoCopy(none) => none.outcome(),
            BundleError::Damaged(_) => Outcome::Damaged,
            BundleError::NoVolume(_) | BundleError::Mixed(_) | BundleError::NotTheOne { .. } => Outcome::Usage,
        }
    }
}
