//! Errors about drives: they are gone, too small or full, or they did not keep what was written to them. All of these
//! are of the class I/O, because the same command can be run again. Not told here: errors while a staged volume is
//! loaded, which are in `load.rs`.

use std::path::PathBuf;

use crate::base::path::show;
use crate::base::size::{count, first_ten, human};
use crate::stage::capacity_marks::CapacityReport;

/// What a drive did or lacks.
#[derive(Debug, thiserror::Error)]
pub enum DriveError {
    /// The folders of volumes whose drives stopped answering.
    #[error("{}", stopped_answering(.0))]
    Gone(Vec<PathBuf>),
    /// The folders of volumes of which this user may not read everything.
    #[error("{}", not_for_you(.0))]
    Denied(Vec<PathBuf>),
    /// A drive failed the capacity test, before anything was packed.
    #[error(transparent)]
    FailedCapacityTest(CapacityTestFailure),
    /// A drive has no room for the files that every volume carries.
    #[error("{} has room for {}, and every volume needs {} for seals, heads, list and sums alone", show(.folder), human(*.room), human(*.needed))]
    TooSmall {
        /// The folder of the volume.
        folder: PathBuf,
        /// In bytes.
        needed: u64,
        /// In bytes.
        room: u64,
    },
    /// By the plan, the drives cannot hold the bundle. Nothing was written.
    #[error("the bundle needs about {} and the drives have room for {}: {} are missing", human(*.needed), human(*.room), human(needed.saturating_sub(*.room)))]
    NoRoom {
        /// In bytes, estimated or known.
        needed: u64,
        /// In bytes.
        room: u64,
    },
    /// The drives are full before everything is packed. The files take more room than the plan expected.
    #[error("the drives are full with {} of {} packed", human(*.packed), human(*.total))]
    RanFull {
        /// In bytes of the tar.
        packed: u64,
        /// The length of the tar in bytes.
        total: u64,
    },
    /// Parts lost their drive, and no other drive has room for them.
    #[error("{} ({}) need a home: {}", count(*.parts as u64, "part"), human(*.bytes), or_full(.why))]
    NoHome {
        parts: usize,
        /// The bytes of these parts.
        bytes: u64,
        /// Why each drive takes none of them. Empty if all drives are full.
        why: Vec<String>,
        remedy: Remedy,
    },
    /// A file was read back and differs from what was written.
    #[error("{} is not what was written to it, from byte {offset} on: that drive is not to be trusted", show(.path))]
    ReadBackDiffers {
        path: PathBuf,
        /// Where the difference begins, in bytes, rounded down to a MiB.
        offset: u64,
    },
}

fn or_full(why: &[String]) -> String {
    if why.is_empty() { "the drives are full".into() } else { why.join("; ") }
}

/// What would help if parts have no home. `cli/hint.rs` puts it into words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Remedy {
    /// The drive that failed is plugged in again, or another one in its place.
    Replug,
    /// Another drive takes the place of one that did not keep its data.
    Replace,
    /// There is more room, on these drives or on a further one.
    Room,
    /// Nothing helps, because the drives with the journal are gone.
    None,
}

impl Remedy {
    /// Chooses by the worst thing that happened: a drive `lied`, a drive failed, or the drives are `only_full`.
    pub(crate) fn choose(lied: bool, only_full: bool) -> Self {
        if lied {
            Remedy::Replace
        } else if only_full {
            Remedy::Room
        } else {
            Remedy::Replug
        }
    }
}

/// A drive gave back other bytes than it took, in the capacity test.
#[derive(Debug, thiserror::Error)]
#[error("{} {}: it is smaller than it claims, or it is dying", show(.drive), self.describe())]
pub struct CapacityTestFailure {
    /// The folder that the user gave.
    pub(crate) drive: PathBuf,
    pub(crate) tried: CapacityReport,
}

impl CapacityTestFailure {
    /// A sentence without its subject, the drive: how many places were tried, and how many were wrong.
    pub(crate) fn describe(&self) -> String {
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

/// The text for volumes whose drives stopped answering while they were read. All folders are named.
pub(crate) fn stopped_answering(folders: &[PathBuf]) -> String {
    let names: Vec<String> = folders.iter().map(|folder| show(folder)).collect();
    match folders {
        [_] => format!("{}: its drive is gone: it stopped answering while it was read", names.join("")),
        _ => format!("{}: their drives are gone: they stopped answering while they were read", names.join(", ")),
    }
}

/// The text for volumes of which this user may not read everything. Folders after the tenth are counted.
pub(crate) fn not_for_you(folders: &[PathBuf]) -> String {
    let names = first_ten(folders, |folder| show(folder), |more| format!("and {more} more"));
    format!("{names}: could not be read by you, or not all of it: nothing is known about that")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_drive_that_lied_has_to_be_replaced_whatever_else_happened() {
        assert_eq!(Remedy::choose(true, true), Remedy::Replace);
        assert_eq!(Remedy::choose(true, false), Remedy::Replace);
        assert_eq!(Remedy::choose(false, true), Remedy::Room);
        assert_eq!(Remedy::choose(false, false), Remedy::Replug);
    }

    #[test]
    fn parts_without_a_home_say_why_each_drive_takes_none() {
        let text = |parts, why: &[&str]| {
            let why = why.iter().map(|why| why.to_string()).collect();
            DriveError::NoHome { parts, bytes: 4_000_000, why, remedy: Remedy::Room }.to_string()
        };
        assert_eq!(text(1, &[]), "1 part (4.00 MB) need a home: the drives are full");
        assert_eq!(text(4, &["/a is full", "/b is gone"]), "4 parts (4.00 MB) need a home: /a is full; /b is gone");
    }

    #[test]
    fn the_first_wrong_place_is_named_with_the_room_that_the_drive_claims() {
        let tried = CapacityReport { places: 20, wrong: vec![8_000_000_000, 9_000_000_000], room: 64_000_000_000 };
        let failure = CapacityTestFailure { drive: "/media/red".into(), tried };
        assert_eq!(
            failure.to_string(),
            "/media/red does not store what is written to it (tried at 20 places across its free space; \
             wrong at 2 of them, the first about 8.00 GB into 64.0 GB): it is smaller than it claims, or it is dying"
        );
    }

    #[test]
    fn room_that_is_more_than_needed_is_missing_nothing() {
        assert!(DriveError::NoRoom { needed: 3_000, room: 1_000 }.to_string().ends_with("2.00 kB are missing"));
        assert!(DriveError::NoRoom { needed: 1_000, room: 3_000 }.to_string().ends_with("0 B are missing"));
    }

    #[test]
    fn one_drive_is_gone_and_several_are() {
        let folders = |names: &[&str]| names.iter().map(PathBuf::from).collect();
        assert_eq!(
            DriveError::Gone(folders(&["/a"])).to_string(),
            "/a: its drive is gone: it stopped answering while it was read"
        );
        assert_eq!(
            DriveError::Gone(folders(&["/a", "/b"])).to_string(),
            "/a, /b: their drives are gone: they stopped answering while they were read"
        );
    }

    #[test]
    fn folders_that_this_user_may_not_read_are_counted_after_the_tenth() {
        let folders: Vec<PathBuf> = (1..=11).map(|number| PathBuf::from(format!("/v{number}"))).collect();
        assert!(not_for_you(&folders).starts_with("/v1, "));
        assert!(not_for_you(&folders).contains("/v10, and 1 more: could not be read by you"));
        assert!(!not_for_you(&folders[..10]).contains("more"));
    }
}
