//! Errors about the bundle on the given volumes: it is missing, it is damaged, or it is one of several. Not told here:
//! errors about the key, which are in `keyring.rs`.

use std::path::PathBuf;

use crate::base::path::show;
use crate::base::size::first_ten;
use crate::flow::error::copies::NoCopy;
use crate::flow::outcome::Outcome;

/// What keeps a run from reading the bundle.
#[derive(Debug, thiserror::Error)]
pub enum BundleError {
    /// Too little of the bundle was given, and more volumes would help. The text says what is missing.
    #[error("{0}")]
    Missing(String),
    /// The places that the user gave hold no volume.
    #[error("{0}")]
    NoVolume(String),
    /// No copy of the seal, the head or the list can be used.
    #[error(transparent)]
    NoCopy(#[from] NoCopy),
    /// Damage leaves too little, and other volumes may have good copies. The text says of what.
    #[error("{0}")]
    Damaged(String),
    /// The volumes are of several bundles, and nothing says which one is meant.
    #[error("these volumes belong to {} different bundles: {}", .0.len(), list(.0))]
    Mixed(Vec<BundleAt>),
    /// None of the bundles on the volumes is the one that `--bundle` asked for.
    #[error("no bundle here has a fingerprint that begins with {wanted}; found: {}", list(.found))]
    NotTheOne {
        /// The beginning of the fingerprint, as the user gave it.
        wanted: String,
        found: Vec<BundleAt>,
    },
}

/// A bundle that the user may choose, and where it was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BundleAt {
    /// `None` if the bundle has no usable head.
    pub(crate) fingerprint: Option<String>,
    /// The folders of its volumes. Without a head, the files of its seals instead.
    pub(crate) places: Vec<PathBuf>,
}

/// The bundles in one line, each with up to ten of its places.
fn list(bundles: &[BundleAt]) -> String {
    bundles.iter().map(in_words).collect::<Vec<_>>().join("; ")
}

fn in_words(bundle: &BundleAt) -> String {
    let places = first_ten(&bundle.places, |path| show(path), |more| format!("and {more} more"));
    match &bundle.fingerprint {
        Some(fingerprint) => format!("{fingerprint} ({places})"),
        None => format!("one without a head, by its seal ({places})"),
    }
}

impl BundleError {
    /// The class of the failure. Which volumes are given is a matter of usage: then nothing was done.
    pub(crate) fn outcome(&self) -> Outcome {
        match self {
            BundleError::Missing(_) => Outcome::Incomplete,
            BundleError::NoCopy(none) => none.outcome(),
            BundleError::Damaged(_) => Outcome::Damaged,
            BundleError::NoVolume(_) | BundleError::Mixed(_) | BundleError::NotTheOne { .. } => Outcome::Usage,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(fingerprint: Option<&str>, places: &[&str]) -> BundleAt {
        BundleAt { fingerprint: fingerprint.map(String::from), places: places.iter().map(PathBuf::from).collect() }
    }

    #[test]
    fn a_bundle_without_a_head_is_named_by_its_seals() {
        let mixed = BundleError::Mixed(vec![at(Some("AAAAA-AAA"), &["/a", "/b"]), at(None, &["/c/seal.age"])]);
        assert_eq!(
            mixed.to_string(),
            "these volumes belong to 2 different bundles: AAAAA-AAA (/a, /b); one without a head, by its seal (/c/seal.age)"
        );
    }

    #[test]
    fn the_places_of_a_bundle_after_the_tenth_are_counted() {
        let places: Vec<String> = (1..=12).map(|number| format!("/d{number}")).collect();
        let places: Vec<&str> = places.iter().map(String::as_str).collect();
        assert!(in_words(&at(Some("AAAAA-AAA"), &places)).ends_with("/d10, and 2 more)"));
        assert!(in_words(&at(Some("AAAAA-AAA"), &places[..10])).ends_with("/d9, /d10)"));
    }

    #[test]
    fn a_bundle_that_is_not_there_is_named_with_those_that_are() {
        let other = BundleError::NotTheOne { wanted: "BBBBBBBB".into(), found: vec![at(Some("AAAAA-AAA"), &["/a"])] };
        assert_eq!(
            other.to_string(),
            "no bundle here has a fingerprint that begins with BBBBBBBB; found: AAAAA-AAA (/a)"
        );
    }
}
