//! The log of an unpacking: one line for each part that was placed, so that a later run skips that part. A damaged
//! or forged log costs time, never correctness: the run that resumes compares every file with its SHA-256 again.
//!
//! Not guaranteed: that a logged part has reached the disk. Lines are not synced one by one.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::FileExt;
use std::sync::Mutex;

use crate::base::digest::Digest;
use crate::base::pool::lock;
use crate::format::limits;

/// Begins the first line. The digest of the work follows, then the state.
const MAGIC: &str = "pouch-unfinished 1";
/// The state while parts are placed.
const PLACING: char = 'p';
/// The state once files may be in the target. It overwrites [`PLACING`] in place, which works even on a full disk.
const DELIVERING: char = 'd';

/// The open log of this run, shared by all threads.
pub(crate) struct PlacedLog {
    file: Mutex<File>,
    placed: Mutex<BTreeSet<u32>>,
    /// Whether an earlier run may have begun to deliver. [`PlacedLog::deliver`] of this run does not change it.
    pub(crate) delivering: bool,
}

/// What an existing log file tells.
pub(crate) enum LogState {
    /// It belongs to the same work and can be resumed.
    Same(PlacedLog),
    /// It belongs to the unpacking of another bundle or selection.
    Other,
    /// It has no complete line, so it belongs to no known work.
    Nothing,
}

impl PlacedLog {
    /// Starts a new log, and discards the old content of `file`.
    pub(crate) fn create(mut file: File, work: &Digest, delivering: bool) -> io::Result<Self> {
        file.set_len(0)?;
        let state = if delivering { DELIVERING } else { PLACING };
        file.write_all(format!("{MAGIC} {work:?} {state}\n").as_bytes())?;
        Ok(Self { file: Mutex::new(file), placed: Mutex::default(), delivering })
    }

    /// Reads the log of an earlier run. A last line without its line end is torn: it is cut off, because new digits
    /// behind it would name another part.
    pub(crate) fn read(mut file: File, work: &Digest) -> io::Result<LogState> {
        let mut text = Vec::new();
        (&mut file).take(16 * u64::from(limits::PARTS)).read_to_end(&mut text)?;
        let whole = text.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        let text = String::from_utf8_lossy(&text[..whole]).into_owned();
        let mut lines = text.lines();
        let delivering = match lines.next() {
            None => return Ok(LogState::Nothing),
            Some(first) if first == format!("{MAGIC} {work:?} {PLACING}") => false,
            Some(first) if first == format!("{MAGIC} {work:?} {DELIVERING}") => true,
            Some(_) => return Ok(LogState::Other),
        };
        let placed = lines.filter_map(|line| line.parse().ok()).collect();
        file.set_len(whole as u64)?;
        file.seek(SeekFrom::End(0))?;
        Ok(LogState::Same(Self { file: Mutex::new(file), placed: Mutex::new(placed), delivering }))
    }

    /// Logs a part that is placed whole.
    pub(crate) fn part(&self, number: u32) -> io::Result<()> {
        let mut file = lock(&self.file);
        file.write_all(format!("{number}\n").as_bytes())?;
        lock(&self.placed).insert(number);
        Ok(())
    }

    /// Numbers of the parts that this run and earlier runs placed whole.
    pub(crate) fn placed(&self) -> BTreeSet<u32> {
        lock(&self.placed).clone()
    }

    /// Records that from now on files may be in the target.
    pub(crate) fn deliver(&self) -> io::Result<()> {
        let at = MAGIC.len() + 1 + 64 + 1;
        lock(&self.file).write_all_at(&[DELIVERING as u8], at as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reread(file: &tempfile::NamedTempFile, work: &Digest) -> LogState {
        PlacedLog::read(file.reopen().unwrap(), work).unwrap()
    }

    #[test]
    fn lines_come_back_but_for_a_torn_one() {
        let (mut file, work) = (tempfile::NamedTempFile::new().unwrap(), Digest([7; 32]));
        assert!(matches!(reread(&file, &work), LogState::Nothing));
        let log = PlacedLog::create(file.reopen().unwrap(), &work, false).unwrap();
        log.part(3).unwrap();
        log.part(12).unwrap();
        log.deliver().unwrap();
        file.seek(SeekFrom::End(0)).unwrap();
        file.write_all(b"4").unwrap();
        let LogState::Same(log) = reread(&file, &work) else { panic!("it is the same work") };
        assert_eq!((log.placed(), log.delivering), (BTreeSet::from([3, 12]), true));
        log.part(5).unwrap();
        let LogState::Same(log) = reread(&file, &work) else { panic!("it still is") };
        assert!(log.placed().contains(&5) && !log.placed().contains(&45), "the torn line is gone");
        assert!(matches!(reread(&file, &Digest([8; 32])), LogState::Other));
    }
}
