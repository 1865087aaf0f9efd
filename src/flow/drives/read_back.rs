//! Written means written: what went to the drives is read back past the system's cache before they
//! are called safe; seals, head, list and SHA256SUMS always, parts where that is wanted. Only once all is written: a drive that is smaller than it says overwrites what it
//! took before, and would pass if each file were looked at as it comes.

use std::sync::atomic::{AtomicBool, Ordering};

use crate::base::direct::DriveReader;
use crate::base::monitor::{Monitor, Phase};
use crate::base::pool::{lock, unlocked};
use crate::base::size::{count, first_ten};
use crate::base::threads::one_each;
use crate::flow::FlowError;
use crate::flow::drives::drive::{Drive, DriveId};
use crate::flow::error::DriveError;
use crate::stage::volume::Writer;

/// A file that a drive did not keep.
#[derive(Debug)]
pub struct Finding {
    /// Which of the drives.
    pub drive: DriveId,
    /// The volume on it.
    pub volume: u16,
    /// The file; `None` if the drive cannot be read.
    pub name: Option<String>,
    /// What is wrong.
    pub error: FlowError,
}

/// What is wrong with one drive, in words.
pub fn in_words(found: &[Finding]) -> String {
    let one = |Finding { volume, name, error, .. }: &Finding| match (name, error) {
        (Some(name), FlowError::Drive(DriveError::ReadBackDiffers { offset, .. })) => {
            format!("volume-{volume}/{name} (from byte {offset} on)")
        }
        (Some(name), error) => format!("volume-{volume}/{name} ({error})"),
        (None, error) => error.to_string(),
    };
    let files = count(found.len() as u64, "file");
    let named = first_ten(found, one, |more| format!("and {more} more"));
    format!("did not keep {files} as written: {named}; do not trust this drive")
}

/// Reads back the small files that a volume has so far, past the cache.
///
/// # Errors
/// One is not as it was written, or cannot be read.
pub fn read_back_small(writer: &Writer) -> Result<(), FlowError> {
    let mut reader = DriveReader::default();
    for name in writer.small_files() {
        if let Some(offset) = writer.read_back(name, &mut reader)? {
            return Err(DriveError::ReadBackDiffers { path: writer.dir().join(name), offset }.into());
        }
    }
    Ok(())
}

/// Reads back the seals of all volumes.
///
/// # Errors
/// A drive gave back other bytes: it is not to be trusted, and nothing depends on it yet. Or none could be read; a
/// single one that fails is left out as soon as parts come to it.
pub fn read_back_seals<'a>(writers: impl Iterator<Item = &'a Writer>) -> Result<(), FlowError> {
    let (mut any, mut unread) = (false, None);
    for writer in writers {
        match read_back_small(writer) {
            Err(FlowError::Io(fault)) => drop(unread.get_or_insert(fault)),
            other => {
                other?;
                any = true;
            }
        }
    }
    match unread {
        Some(fault) if !any => Err(fault.into()),
        _ => Ok(()),
    }
}

/// Reads back all files of all volumes that are to be, every drive on a thread of its own; also whether
/// all came past the cache.
///
/// # Errors
/// The work was to stop.
pub fn read_back(drives: &[Drive], monitor: &dyn Monitor) -> Result<(Vec<Finding>, bool), FlowError> {
    let files = Writer::to_read_back;
    let len = |writer: &Writer, name: &String| writer.dir().join(name).metadata().map_or(0, |meta| meta.len());
    let writers = || drives.iter().flat_map(|drive| &drive.writers);
    // Small files alone are read in a moment.
    if writers().any(Writer::is_read_back) {
        let lengths = writers().flat_map(|writer| files(writer).into_iter().map(move |name| len(writer, &name)));
        monitor.phase(Phase::Verifying, lengths.sum());
    }
    let (found, cached) = (std::sync::Mutex::new(Vec::new()), AtomicBool::new(false));
    let one_drive = |drive: &Drive| {
        let mut reader = DriveReader::default();
        for writer in &drive.writers {
            for name in files(writer) {
                if monitor.cancelled() {
                    return;
                }
                let finding = |name, error| Finding { drive: drive.id, volume: writer.number(), name, error };
                let path = writer.dir().join(&name);
                match writer.read_back(&name, &mut reader) {
                    Ok(None) => {}
                    Ok(Some(offset)) => {
                        lock(&found).push(finding(
                            Some(name.clone()),
                            FlowError::Drive(DriveError::ReadBackDiffers { path, offset }),
                        ));
                    }
                    Err(fault) if crate::base::os::is_of_one_place(&fault.source) => {
                        lock(&found).push(finding(Some(name.clone()), fault.into()));
                    }
                    Err(fault) => {
                        lock(&found).push(finding(None, fault.into()));
                        return;
                    }
                }
                cached.fetch_or(reader.saw_cache(), Ordering::Relaxed);
                if writer.is_read_back() {
                    let len = len(writer, &name);
                    monitor.verified(writer.number(), len);
                    monitor.advance(len);
                }
            }
        }
    };
    one_each(drives, one_drive);
    if monitor.cancelled() { Err(FlowError::Cancelled) } else { Ok((unlocked(found), !cached.into_inner())) }
}
