//! Drives that are gone, too small, or did not keep what was written to them.

use std::path::PathBuf;

use crate::base::path::show;
use crate::base::size::{count, first_ten, human};
use crate::stage::capacity_marks::CapacityReport;

/// A drive is gone, too small, or did not keep what was written to it.
#[derive(Debug, thiserror::Error)]
pub enum DriveError {
    /// Drives that stopped answering: the folders of their volumes.
    #[error("{}", stopped_answering(.0))]
    Gone(Vec<PathBuf>),
    /// Volumes of which this user may not read everything: their folders.
    #[error("{}", not_for_you(.0))]
    Denied(Vec<PathBuf>),
    /// A drive that failed the capacity test, before anything was packed.
    #[error(transparent)]
    FailedCapacityTest(CapacityTestFailure),
    /// A drive without room for the files that every volume carries.
    #[error("{} has room for {}, and every volume needs {} for seals, heads, list and sums alone", show(.folder), human(*.room), human(*.needed))]
    TooSmall {
        /// The volume's folder.
        folder: PathBuf,
        /// Bytes.
        needed: u64,
        /// Bytes.
        room: u64,
    },
    /// The drives cannot hold the bundle, as planned.
    #[error("the bundle needs about {} and the drives have room for {}: {} are missing", human(*.needed), human(*.room), human(needed.saturating_sub(*.room)))]
    NoRoom {
        /// Bytes, estimated or known.
        needed: u64,
        /// Bytes.
        room: u64,
    },
    /// The drives are full before everything is packed: the files compressed worse than estimated.
    #[error("the drives are full with {} of {} packed", human(*.packed), human(*.total))]
    RanFull {
        /// Bytes of the tar that are packed.
        packed: u64,
        /// Bytes of the tar.
        total: u64,
    },
    /// Parts that lost their drive, and for which no other drive has room.
    #[error("{} ({}) need a home: {}", count(*.parts as u64, "part"), human(*.bytes), if .why.is_empty() { "the drives are full".into() } else { .why.join("; ") })]
    NoHome {
        /// How many.
        parts: usize,
        /// Their bytes.
        bytes: u64,
        /// Drive by drive, why it takes none of them.
        why: Vec<String>,
        /// What would help.
        remedy: Remedy,
    },
    /// A file that was read back differs from what was written.
    #[error("{} is not what was written to it, from byte {offset} on: that drive is not to be trusted", show(.path))]
    ReadBackDiffers {
        /// The file.
        path: PathBuf,
        /// Where the difference begins, to the MiB.
        offset: u64,
    },
}

/// What would help parts for which no drive has room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Remedy {
    /// The drive that failed, plugged in again, or another one in its place.
    Replug,
    /// Another drive in the place of one that did not keep its data.
    Replace,
    /// More room.
    Room,
    /// Nothing: the drives with the journal are gone.
    None,
}

impl Remedy {
    /// What helps when a drive `lied`, when drives are `only_full`, or else when one failed.
    pub fn choose(lied: bool, only_full: bool) -> Self {
        if lied {
            Remedy::Replace
        } else if only_full {
            Remedy::Room
        } else {
            Remedy::Replug
        }
    }
}

/// What the capacity test found on a drive.
#[derive(Debug, thiserror::Error)]
#[error("{} {}: it is smaller than it claims, or it is dying", show(.drive), self.describe())]
pub struct CapacityTestFailure {
    /// The folder that was given.
    pub drive: PathBuf,
    /// The places that were tried.
    pub tried: CapacityReport,
}

impl CapacityTestFailure {
    /// Where the drive gave back other bytes than it took.
    pub fn describe(&self) -> String {
        let first = self.tried.wrong.first().copied().unwrap_or(0);
        format!(
            "does not store what is written to it (tried at {} places across its free space; wrong at {} of them, the first about {} into {})",
            self.tried.places,
            self.tried.wrong.len(),
            human(first),
            human(self.tried.room)
        )
    }
}

/// The text for drives that stopped answering while they were read.
pub fn stopped_answering(folders: &[PathBuf]) -> String {
    let names: Vec<String> = folders.iter().map(|folder| show(folder)).collect();
    match folders {
        [_] => format!("{}: its drive is gone: it stopped answering while it was read", names.join("")),
        _ => format!("{}: their drives are gone: they stopped answering while they were read", names.join(", ")),
    }
}

/// The text for volumes of which this user may not read everything.
pub fn not_for_you(folders: &[PathBuf]) -> String {
    let names = first_ten(folders, |folder| show(folder), |more| format!("and {more} more"));
    format!("{names}: could not be read by you, or not all of it: nothing is known about that")
}
