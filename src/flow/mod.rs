//! Floor 4: the story. Each file wires plans and stages into one thing a person asks for; none
//! prints anything.

use std::fs::File;
use std::io::ErrorKind;
use std::path::Path;

use crate::base::fault::At;
use crate::base::os;
use crate::base::path::show;
pub use error::FlowError;

pub mod again;
pub mod check;
pub mod engine;
pub mod error;
pub mod find;
pub mod finish;
pub mod fit;
pub mod gone;
pub mod key;
pub mod leads;
pub mod left;
pub mod load;
pub mod loaded;
pub mod margin;
pub mod mend;
pub mod mounted;
pub mod open;
pub mod pack;
pub mod parity;
pub mod parts;
pub mod place;
pub mod places;
pub mod plan;
pub mod ranges;
pub mod readback;
pub mod reading;
pub mod received;
pub mod rehearse;
pub mod remake;
pub mod repair;
pub mod replug;
pub mod report;
pub mod request;
pub mod resume;
pub mod rounds;
pub mod salvage;
pub mod salvaged;
pub mod sealing;
pub mod seals;
pub mod settle;
pub mod staged;
pub mod sweep;
pub mod target;
pub mod text;
pub mod trial;
pub mod unlisted;
pub mod unpack;
pub mod verdict;
pub mod volumes;

/// What a run came to; `cli/exit.rs` gives each its exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// All went well.
    Ok,
    /// Not as the reporter foresaw.
    Failed,
    /// The request makes no sense; nothing was done.
    Usage,
    /// More drives would help.
    Incomplete,
    /// Partial delivery, or packed with files that changed.
    Damaged,
    /// Not from whom it should be.
    Origin,
    /// Over a limit, or made to do harm.
    Hostile,
    /// The system or the room; can be tried again.
    Io,
    /// No key, or none that opens it.
    Key,
    /// Stopped by the user.
    Interrupted,
}

/// Refuses what is no folder to write to; where the system will not say, it is what failed.
pub fn check_is_folder(path: &Path) -> Result<(), FlowError> {
    match path.metadata() {
        Ok(found) if found.is_dir() => Ok(()),
        Err(error) if !matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
            Err(error).at("look at", path)?
        }
        _ => Err(FlowError::Usage(format!("{} is no folder; is the drive plugged in and mounted?", show(path)))),
    }
}

/// Locks a folder: as long as it stays open, no other run works there.
pub fn lock_folder(folder: &Path) -> Result<File, FlowError> {
    let open = File::open(folder).at("open", folder)?;
    match os::try_lock(&open).at("lock", folder)? {
        true => Ok(open),
        false => Err(FlowError::Busy(format!("another pouch is at work in {}", show(folder)))),
    }
}
