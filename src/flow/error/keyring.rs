//! Errors about the keys that the user gave or makes: they are missing, wrong or unreadable. No text repeats a secret.
//! Not told here: a seal that no key can open because it is damaged, which is in `copies.rs`.

use std::path::PathBuf;

use crate::base::path::show;
use crate::base::size::{first_ten, grouped};
use crate::flow::error::copies::{BadCopy, CopyFault};
use crate::flow::outcome::Outcome;
use crate::format::FormatError;
use crate::stage::seal;

/// Why no key opens the bundle, or none can be made.
#[derive(Debug, thiserror::Error)]
pub enum KeyringError {
    /// The user gave no key.
    #[error("no key was given, and the bundle is sealed")]
    NotGiven,
    /// None of the given keys opens a seal of the bundle.
    #[error("{} opens no seal of these volumes: {}", if *.passphrase { "what was given" } else { "the key" }, tried(.seals, .untried))]
    Wrong {
        /// Whether a passphrase was among the keys.
        passphrase: bool,
        /// All seals that were tried, with what is wrong with each.
        seals: Vec<BadCopy>,
        /// Folders of volumes with a seal to a passphrase that was not tried, because each try takes a second.
        untried: Vec<PathBuf>,
    },
    /// A key or passphrase was announced and did not come, or does not fit. The text says which.
    #[error("{0}")]
    Refused(String),
    /// A key file cannot be used.
    #[error("{}: {source}", show(.path))]
    BadFile { path: PathBuf, source: seal::KeyError },
    /// A new key would replace this file. It may be in use.
    #[error("{} exists already", show(.0))]
    FileExists(PathBuf),
}

/// The seals that were tried, then how many were not. A seal to others is no fault, so only its path is named.
fn tried(seals: &[BadCopy], untried: &[PathBuf]) -> String {
    let tried = first_ten(seals, describe, |more| format!("and {more} more"));
    if untried.is_empty() {
        return tried;
    }
    format!(
        "{tried}; {} more with a passphrase were not tried, for each takes a second: name their folders one by one",
        grouped(untried.len() as u64)
    )
}

fn describe(bad: &BadCopy) -> String {
    match bad.fault {
        CopyFault::Wrong => show(&bad.path),
        _ => bad.to_string(),
    }
}

impl KeyringError {
    /// The class of the failure. A key file over a limit was made to do harm.
    pub(crate) fn outcome(&self) -> Outcome {
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

#[cfg(test)]
mod tests {
    use super::*;

    fn tried_seal(path: &str, fault: CopyFault) -> BadCopy {
        BadCopy { path: path.into(), fault }
    }

    #[test]
    fn a_seal_to_others_is_named_without_a_reason() {
        let damaged = CopyFault::Damaged("cut".into());
        let seals = vec![tried_seal("/a/seal.age", CopyFault::Wrong), tried_seal("/b/seal.age", damaged)];
        let wrong = KeyringError::Wrong { passphrase: false, seals, untried: vec![] };
        assert_eq!(
            wrong.to_string(),
            "the key opens no seal of these volumes: /a/seal.age, /b/seal.age: it is damaged: cut"
        );
    }

    #[test]
    fn seals_that_were_not_tried_are_counted() {
        let seals = vec![tried_seal("/a/seal-p.age", CopyFault::Wrong)];
        let wrong = KeyringError::Wrong { passphrase: true, seals, untried: vec!["/b".into(), "/c".into()] };
        let text = wrong.to_string();
        assert!(
            text.starts_with("what was given opens no seal of these volumes: /a/seal-p.age; 2 more with"),
            "{text}"
        );
    }

    #[test]
    fn a_key_file_over_a_limit_is_hostile_and_any_other_is_a_matter_of_keys() {
        let bad = |source| KeyringError::BadFile { path: "me.key".into(), source }.outcome();
        let over = FormatError::Limit { what: "it", value: 2, limit: 1 };
        assert_eq!(bad(seal::KeyError::Format(over)), Outcome::Hostile);
        assert_eq!(bad(seal::KeyError::Format(FormatError::malformed("it", 1, "no"))), Outcome::Key);
        assert_eq!(bad(seal::KeyError::Wrong), Outcome::Key);
        assert_eq!(KeyringError::Refused("no passphrase came".into()).outcome(), Outcome::Key);
        assert_eq!(KeyringError::FileExists("me.key".into()).outcome(), Outcome::Usage);
    }
}
