//! Errors about the copy of a staged volume on its drive: the staged volume is not whole, the place on the drive is
//! taken or too small, or the drive did not keep the copy. Not told here: a system call that failed, which is
//! `FlowError::Io`.

use std::path::PathBuf;

use crate::base::path::show;
use crate::base::size::{count, first_ten, grouped, human};
use crate::flow::error::copies::{Proof, outcome_of};
use crate::flow::outcome::Outcome;
use crate::format::FormatError;

/// Why a staged volume was not copied to its drive.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The staged volume has no SHA256SUMS, so it does not look complete.
    #[error("{} has no SHA256SUMS: it was never finished, or lost it", show(.staged))]
    Unfinished {
        /// The folder of the staged volume.
        staged: PathBuf,
        /// The folder on the drive, if that has a SHA256SUMS: an interrupted `--move` leaves such a pair.
        on_drive: Option<PathBuf>,
    },
    /// The SHA256SUMS of the staged volume breaks the format.
    #[error("{}: {source}", show(.path))]
    Sums { path: PathBuf, source: FormatError },
    /// Files of the staged volume differ from its SHA256SUMS.
    #[error("{} is not whole: {}", show(.folder), names(.files))]
    Source {
        /// The folder of the staged volume.
        folder: PathBuf,
        /// The name of each such file, and what is wrong with it.
        files: Vec<(String, String)>,
    },
    /// The drive has too little free space.
    #[error("{} has {} bytes free and {} bytes are needed: {} are missing", show(.drive), grouped(*.free), grouped(*.needed), human(needed.saturating_sub(*.free)))]
    Room {
        drive: PathBuf,
        /// In bytes.
        needed: u64,
        /// In bytes.
        free: u64,
    },
    /// The user gave `--move`, and no drive seems to be mounted at the place.
    #[error("{} is {why}: no drive seems to be mounted there, so the staged volume is not moved", show(.drive))]
    NoDrive {
        drive: PathBuf,
        /// How that shows, to follow "is".
        why: &'static str,
    },
    /// Another volume, or something else, stands where the copy goes.
    #[error("{} exists already and is not this volume: {why}", show(.folder))]
    Another {
        /// The folder on the drive.
        folder: PathBuf,
        /// What shows that it is not the copy.
        why: String,
    },
    /// The drive did not keep what was written to it.
    #[error("the drive at {} did not keep what was written: {file} {misread}; do not trust this drive", show(.drive))]
    Changed {
        drive: PathBuf,
        /// The file, as a path below the drive.
        file: String,
        misread: Misread,
    },
}

impl LoadError {
    /// The class of the failure. A drive that changes what is written counts as I/O: the staged volume is whole, and
    /// another drive will do.
    pub(crate) fn outcome(&self) -> Outcome {
        match self {
            LoadError::Unfinished { .. } => Outcome::Incomplete,
            LoadError::Source { .. } => Outcome::Damaged,
            LoadError::Sums { source, .. } => outcome_of(source, Proof::None),
            LoadError::Room { .. } | LoadError::Changed { .. } => Outcome::Io,
            LoadError::Another { .. } | LoadError::NoDrive { .. } => Outcome::Usage,
        }
    }
}

/// How a file came back from the drive that took it without an error.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Misread {
    /// The file differs from its source, from this byte on.
    #[error("differs from its source from byte {} on", grouped(*.0))]
    From(u64),
    /// The file differs from its source, and where is not known.
    #[error("differs from its source")]
    Somewhere,
    /// The file differed once, and was right when it was read again.
    #[error("was wrong when it was read once and right when it was read again")]
    Once,
    /// The drive fails to read the file. The text is the system's.
    #[error("cannot be read ({0})")]
    Unreadable(String),
}

/// The files with their faults in one line. Those after the tenth are counted.
fn names(files: &[(String, String)]) -> String {
    first_ten(files, |(name, why)| format!("{name} {why}"), |more| format!("and {}", count(more as u64, "more file")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_faulty_drive_is_no_damage_and_a_faulty_source_is() {
        let files = vec![("000001.age".to_string(), "is missing".to_string())];
        let misread = Misread::Once;
        let cases = [
            (LoadError::Unfinished { staged: "/s".into(), on_drive: None }, Outcome::Incomplete),
            (LoadError::Source { folder: "/s".into(), files }, Outcome::Damaged),
            (LoadError::Room { drive: "/d".into(), needed: 2, free: 1 }, Outcome::Io),
            (LoadError::Changed { drive: "/d".into(), file: "f".into(), misread }, Outcome::Io),
            (LoadError::NoDrive { drive: "/d".into(), why: "in memory" }, Outcome::Usage),
            (LoadError::Another { folder: "/d".into(), why: "it is no folder".into() }, Outcome::Usage),
        ];
        for (error, expected) in cases {
            assert_eq!(error.outcome(), expected, "{error}");
        }
    }

    #[test]
    fn sums_that_nothing_authenticates_are_damaged_unless_they_lead_out() {
        let sums = |source| LoadError::Sums { path: "/s/SHA256SUMS".into(), source }.outcome();
        assert_eq!(sums(FormatError::malformed("SHA256SUMS", 1, "no")), Outcome::Damaged);
        assert_eq!(sums(FormatError::Unsafe { what: "SHA256SUMS", line: 1, why: "..".into() }), Outcome::Hostile);
    }

    #[test]
    fn a_drive_that_changed_a_file_is_named_with_what_came_back() {
        let text = |misread| LoadError::Changed { drive: "/d".into(), file: "volume-1/seal.age".into(), misread };
        assert_eq!(
            text(Misread::From(1_048_576)).to_string(),
            "the drive at /d did not keep what was written: volume-1/seal.age differs from its source from byte \
             1,048,576 on; do not trust this drive"
        );
        assert!(text(Misread::Unreadable("bad".into())).to_string().contains("seal.age cannot be read (bad); do not"));
    }

    #[test]
    fn files_that_are_wrong_are_counted_after_the_tenth() {
        let file = |number| (format!("00000{number}.age"), "is missing".to_string());
        let text = |most| LoadError::Source { folder: "/s".into(), files: (0..most).map(file).collect() }.to_string();
        assert!(text(10).ends_with("000009.age is missing"));
        assert!(text(11).ends_with("000009.age is missing, and 1 more file"));
        assert!(text(12).ends_with("000009.age is missing, and 2 more files"));
    }

    #[test]
    fn room_is_told_to_the_byte() {
        let room = LoadError::Room { drive: "/d".into(), needed: 1_234_567, free: 1_234_566 };
        assert_eq!(room.to_string(), "/d has 1,234,566 bytes free and 1,234,567 bytes are needed: 1 B are missing");
    }
}
