//! What checked volumes are to their bundle: whether all can be had, what else may be lost, which
//! drives still matter. A part whose file is damaged counts as gone, although its good chunks
//! would still be of use: what is said here is the least.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::path::PathBuf;

use crate::base::digest::Digest;
use crate::flow::FlowError;
use crate::flow::open::{gather, open};
use crate::flow::received::BundleCheck;
use crate::flow::report::CheckReport;
use crate::format::limits;
use crate::format::sums;
use crate::plan::repair;
use crate::stage::seal::Keyring;
use crate::stage::volume::{SUMS, Volume};

/// Holds what was checked against the bundle's head.
pub fn margin(paths: &[PathBuf], checked: &CheckReport, keyring: &Keyring) -> Result<BundleCheck, FlowError> {
    let bundle = open(gather(paths)?, keyring)?;
    let found: HashSet<Digest> =
        bundle.volumes.iter().flat_map(|volume| whole_files(volume, checked).into_values()).collect();
    let parts = &bundle.head.parts;
    let there: Vec<bool> = parts.iter().map(|part| found.contains(&part.sha256)).collect();
    let here: BTreeSet<u16> =
        parts.iter().zip(&there).filter(|(_, there)| **there).map(|(part, _)| part.volume).collect();
    Ok(BundleCheck {
        volumes: bundle.head.statement.n,
        here: here.into_iter().collect(),
        verdict: repair::judge(&bundle.head, &there),
        margin: repair::margin(&bundle.head, &there),
        needed: repair::needed(&bundle.head, &there),
    })
}

/// The files of a volume that were found to have their SHA-256, by name.
pub fn whole_files(volume: &Volume, checked: &CheckReport) -> HashMap<String, Digest> {
    let Some(check) = checked.volumes.iter().find(|check| check.folder == volume.dir) else {
        return HashMap::new();
    };
    let bytes = volume.read_small(SUMS, limits::SUMS_FILE).and_then(Result::ok).unwrap_or_default();
    let wrong: BTreeSet<&String> = check.damaged.iter().map(|(name, _)| name).chain(&check.missing).collect();
    let lines = sums::parse(&bytes).unwrap_or_default();
    lines.into_iter().filter(|(_, name)| !wrong.contains(name)).map(|(sum, name)| (name, sum)).collect()
}
