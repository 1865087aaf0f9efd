//! Written means written: what went to the drives is read back past the system's cache before they
//! are called safe. Only once all is written: a drive that is smaller than it says overwrites what it
//! took before, and would pass if each file were looked at as it comes.

use std::path::PathBuf;

use crate::base::direct::DriveReader;
use crate::base::monitor::{Monitor, Note, NoteKind, Phase};
use crate::base::path::as_bytes;
use crate::base::pool::{lock, unlocked};
use crate::flow::FlowError;
use crate::stage::volume::Writer;

/// Reads back those files of all volumes that `wanted` names, every drive on a thread of its own.
///
/// # Errors
/// The first file that is not what was written; all of them are noted.
pub fn read_back(
    drives: &[Vec<Writer>],
    wanted: impl Fn(&str) -> bool + Sync,
    monitor: &dyn Monitor,
) -> Result<(), FlowError> {
    let files = |writer: &Writer| writer.to_read_back().into_iter().filter(|name| wanted(name)).collect::<Vec<_>>();
    let len = |writer: &Writer, name: &String| writer.dir().join(name).metadata().map_or(0, |meta| meta.len());
    let writers = || drives.iter().flatten();
    let total = writers().flat_map(|writer| files(writer).into_iter().map(move |name| len(writer, &name))).sum();
    if total == 0 {
        return Ok(());
    }
    monitor.phase(Phase::Verifying, total);
    let (wrong, failed) = (std::sync::Mutex::new(Vec::new()), std::sync::Mutex::new(None));
    let one_drive = |drive: &[Writer]| -> Result<(), FlowError> {
        let mut reader = DriveReader::default();
        for writer in drive {
            for name in files(writer) {
                if monitor.cancelled() {
                    return Err(FlowError::Cancelled);
                }
                if let Some(offset) = writer.read_back(&name, &mut reader)? {
                    lock(&wrong).push((writer.dir().join(&name), offset));
                }
                monitor.advance(len(writer, &name));
            }
        }
        Ok(())
    };
    std::thread::scope(|scope| {
        for drive in drives {
            scope.spawn(|| {
                if let Err(error) = one_drive(drive) {
                    lock(&failed).get_or_insert(error);
                }
            });
        }
    });
    let mut wrong: Vec<(PathBuf, u64)> = unlocked(wrong);
    wrong.sort();
    for (path, offset) in &wrong {
        let text = format!("is not what was written to it, from byte {offset} on");
        monitor.note(&Note::new(NoteKind::Volume, as_bytes(path), text));
    }
    match (wrong.into_iter().next(), unlocked(failed)) {
        (Some((path, offset)), _) => Err(FlowError::Unfaithful { path, offset }),
        (None, Some(error)) => Err(error),
        (None, None) => Ok(()),
    }
}
