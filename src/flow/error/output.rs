//! Errors about the place that a run writes to: something stands in the way, or the place has no room, or cannot hold
//! the names. Lack of room is of the class I/O, because the same command can be run again. All else is of the class
//! usage.

use std::path::PathBuf;

use crate::base::path::show;
use crate::base::size::{count, grouped, human};
use crate::flow::outcome::Outcome;
use crate::plan::holds::Change;

/// Why the place to write to cannot take the result.
#[derive(Debug, thiserror::Error)]
pub enum OutputError {
    /// The folder of a new volume exists and is not empty. It may hold another bundle.
    #[error("{} exists already", show(.0))]
    VolumeExists(PathBuf),
    /// The run would replace this file or folder.
    #[error("{} exists already", show(.0))]
    Exists(PathBuf),
    /// A file or folder has the name of one that Pouch keeps for itself, and is not Pouch's.
    #[error("{} is in the way: it was not made by pouch", show(.0))]
    Foreign(PathBuf),
    /// A folder stands where a file or link has to go, or the other way round.
    #[error("{} is in the way: it is a folder where the bundle has none, or a file or link where the bundle has a folder", show(.0))]
    InTheWay(PathBuf),
    /// The file system of the target cannot hold some names, links or files.
    #[error("{} cannot hold {} as packed:{}", show(.target), count(.changes.len() as u64, "path"), one_per_line(.changes))]
    Names {
        target: PathBuf,
        /// Each path that the target cannot hold, and why.
        changes: Vec<Change>,
    },
    /// The target has too few bytes free.
    #[error("what is to be written takes {} and {} has {} free: {} are missing", human(*.needed), show(.target), human(*.free), human(needed.saturating_sub(*.free)))]
    NoRoom {
        target: PathBuf,
        /// In bytes.
        needed: u64,
        /// In bytes.
        free: u64,
    },
    /// The file system of the target takes too few further files, however small they are.
    #[error("{} files and folders are to be made and {} has room for {}: {} are too many", grouped(*.needed), show(.target), grouped(*.free), grouped(needed.saturating_sub(*.free)))]
    NoFiles {
        target: PathBuf,
        /// How many files and folders the run makes.
        needed: u64,
        /// How many more the file system can hold.
        free: u64,
    },
    /// Another run works there now. The text says where.
    #[error("{0}")]
    Busy(String),
}

impl OutputError {
    pub(crate) fn outcome(&self) -> Outcome {
        match self {
            OutputError::NoRoom { .. } | OutputError::NoFiles { .. } => Outcome::Io,
            OutputError::VolumeExists(_)
            | OutputError::Exists(_)
            | OutputError::Foreign(_)
            | OutputError::InTheWay(_)
            | OutputError::Names { .. }
            | OutputError::Busy(_) => Outcome::Usage,
        }
    }
}

/// How many paths the text names. Further ones are counted.
const NAMED: usize = 1000;

fn one_per_line(changes: &[Change]) -> String {
    let named = changes.iter().take(NAMED).map(|change| format!("\n  {}: {}", change.path, change.why));
    let more = changes.len().saturating_sub(NAMED);
    let more = (more > 0).then(|| format!("\n  and {} more", grouped(more as u64)));
    named.chain(more).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::path::BytePath;
    use crate::plan::holds::Becomes;

    fn names(many: usize) -> String {
        let change = |at| Change {
            path: BytePath::new(format!("f{at}").into_bytes()).unwrap(),
            becomes: Becomes::Copy,
            why: "has no links".into(),
        };
        OutputError::Names { target: "/t".into(), changes: (0..many).map(change).collect() }.to_string()
    }

    #[test]
    fn every_path_that_the_target_cannot_hold_has_a_line() {
        assert_eq!(names(1), "/t cannot hold 1 path as packed:\n  f0: has no links");
        assert_eq!(names(2), "/t cannot hold 2 paths as packed:\n  f0: has no links\n  f1: has no links");
    }

    #[test]
    fn paths_after_the_thousandth_are_counted() {
        assert!(names(1000).ends_with("\n  f999: has no links"));
        assert!(names(1002).ends_with("\n  f999: has no links\n  and 2 more"));
    }

    #[test]
    fn only_lack_of_room_is_worth_another_try() {
        assert_eq!(OutputError::NoRoom { target: "/t".into(), needed: 2, free: 1 }.outcome(), Outcome::Io);
        assert_eq!(OutputError::NoFiles { target: "/t".into(), needed: 2, free: 1 }.outcome(), Outcome::Io);
        for taken in [OutputError::VolumeExists, OutputError::Exists, OutputError::Foreign, OutputError::InTheWay] {
            assert_eq!(taken("/t".into()).outcome(), Outcome::Usage);
        }
        assert_eq!(OutputError::Names { target: "/t".into(), changes: vec![] }.outcome(), Outcome::Usage);
        assert_eq!(OutputError::Busy("another pouch is at work".into()).outcome(), Outcome::Usage);
    }
}
