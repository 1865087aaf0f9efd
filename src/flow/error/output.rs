//! Places that cannot take what is to be written there.

use std::path::PathBuf;

use crate::base::path::show;
use crate::base::size::{count, grouped, human};
use crate::flow::outcome::Outcome;
use crate::plan::holds::Change;

/// The place to write to cannot take the result.
#[derive(Debug, thiserror::Error)]
pub enum OutputError {
    /// The folder of a new volume exists, and is not empty.
    #[error("{} exists already", show(.0))]
    VolumeExists(PathBuf),
    /// Something exists that would be replaced.
    #[error("{} exists already", show(.0))]
    Exists(PathBuf),
    /// Something stands where this program keeps its own, and is not its own.
    #[error("{} is in the way: it was not made by pouch", show(.0))]
    Foreign(PathBuf),
    /// A folder stands where a file must go, or the other way round.
    #[error("{} is in the way: it is a folder where the bundle has none, or a file or link where the bundle has a folder", show(.0))]
    InTheWay(PathBuf),
    /// Names and links that the target's file system cannot hold.
    #[error("{} cannot hold {} as packed:{}", show(.target), count(.changes.len() as u64, "path"), one_per_line(.changes))]
    Names {
        /// The folder to unpack to.
        target: PathBuf,
        /// Each name, and why.
        changes: Vec<Change>,
    },
    /// Not enough free space.
    #[error("what is to be written takes {} and {} has {} free: {} are missing", human(*.needed), show(.target), human(*.free), human(needed.saturating_sub(*.free)))]
    NoRoom {
        /// The folder to write to.
        target: PathBuf,
        /// Bytes.
        needed: u64,
        /// Bytes.
        free: u64,
    },
    /// Not enough files and folders can be made, however small.
    #[error("{} files and folders are to be made and {} has room for {}: {} are too many", grouped(*.needed), show(.target), grouped(*.free), grouped(needed.saturating_sub(*.free)))]
    NoFiles {
        /// The folder to write to.
        target: PathBuf,
        /// How many.
        needed: u64,
        /// How many more its file system can hold.
        free: u64,
    },
    /// Another run is working there.
    #[error("{0}")]
    Busy(String),
}

impl OutputError {
    /// The class of the failure.
    pub fn outcome(&self) -> Outcome {
        match self {
            OutputError::NoRoom { .. } | OutputError::NoFiles { .. } => Outcome::Io,
            _ => Outcome::Usage,
        }
    }
}

/// Changes that are named.
const NAMED: usize = 1000;

fn one_per_line(changes: &[Change]) -> String {
    let named = changes.iter().take(NAMED).map(|change| format!("\n  {}: {}", change.path, change.why));
    let more = changes.len().saturating_sub(NAMED);
    let more = (more > 0).then(|| format!("\n  and {} more", grouped(more as u64)));
    named.chain(more).collect()
}
