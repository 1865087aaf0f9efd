//! The journal of a packing run as files, one on the first volume and a copy on another drive. It is created when
//! packing begins, grows with every part, and is removed when the bundle is complete. A later run resumes from it. A
//! lock on it keeps a second run away.
//!
//! Not guaranteed: that the last lines reach the drive, or that a copy survives. A copy that cannot be written is
//! given up and the run goes on; the run can then be resumed only from the other one.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use crate::base::fault::{At, IoFault};
use crate::base::neutral::Neutral;
use crate::base::os;
use crate::base::pool::{lock, unlocked};
use crate::format::UNFINISHED;
use crate::format::checked_lines::{self, Checks};
pub(crate) use crate::format::journal::JOURNAL;

/// Least time between two syncs. A drive that is pulled out may lose the lines since the last sync; a later run then
/// packs their parts again.
const SYNC_EVERY: Duration = Duration::from_secs(2);

/// The journal of this run, open and locked, with its copies.
pub(crate) struct JournalWriter {
    state: Mutex<WriterState>,
}

struct WriterState {
    copies: Vec<JournalCopy>,
    checks: Checks,
    /// Lines of [`JournalWriter::note`] that the next [`JournalWriter::write`] takes along.
    waiting: String,
    synced: Instant,
    /// Lines about parts so far, also those that no copy took.
    parts: usize,
}

struct JournalCopy {
    path: PathBuf,
    file: File,
    /// Set by the first error; the copy gets no more lines then.
    failed: bool,
}

impl JournalCopy {
    /// Writes the journal under a temporary name, syncs it and renames it over an older one: a crash leaves either the
    /// old journal or the new one.
    fn create(folder: &Path, text: &str) -> Result<Self, IoFault> {
        let temporary = folder.join(UNFINISHED);
        let path = folder.join(JOURNAL);
        let mut file = os::create_private(&temporary).at("create", &path)?;
        // The file is new, so no other run can hold its lock.
        os::try_lock(&file).at("lock", &path)?;
        file.write_all(text.as_bytes()).at("write", &path)?;
        file.sync_all().at("sync", &path)?;
        os::rename_durably(&temporary, &path).at("name", &path)?;
        Ok(Self { path, file, failed: false })
    }

    /// Does `work` with the file, unless the copy has failed before.
    fn attempt(&mut self, work: impl FnOnce(&mut File) -> io::Result<()>) {
        self.failed = self.failed || work(&mut self.file).is_err();
    }
}

impl JournalWriter {
    /// Creates the journal in these volume folders, over any older one; a reader finds either the old or the new one.
    /// The first folder is the one that a later run looks into first. `lines` get their checks here.
    ///
    /// # Errors
    /// A copy cannot be created: unlike later errors, that ends the run.
    pub(crate) fn create(folders: &[PathBuf], lines: &str) -> Result<Self, IoFault> {
        let mut checks = Checks::default();
        let text = checks.add(lines);
        let copies = folders.iter().map(|folder| JournalCopy::create(folder, &text)).collect::<Result<_, _>>()?;
        let state = WriterState { copies, checks, waiting: String::new(), synced: Instant::now(), parts: 0 };
        Ok(Self { state: Mutex::new(state) })
    }

    /// Keeps a line back until the next [`JournalWriter::write`]: it means something only together with a part.
    pub(crate) fn note(&self, line: &str) {
        lock(&self.state).waiting.push_str(line);
    }

    /// Writes a line about a part, and the lines kept back before it. An error disables the copy and is not returned.
    pub(crate) fn write(&self, line: &str) {
        let mut state = lock(&self.state);
        let lines = std::mem::take(&mut state.waiting) + line;
        let text = state.checks.add(&lines);
        state.parts += 1;
        state.copies.iter_mut().for_each(|copy| copy.attempt(|file| file.write_all(text.as_bytes())));
        if state.synced.elapsed() > SYNC_EVERY {
            state.copies.iter_mut().for_each(|copy| copy.attempt(|file| file.sync_data()));
            state.synced = Instant::now();
        }
    }

    /// Syncs the journal before the drives are read back: later writes could land on parts that were read already.
    pub(crate) fn settle(&self) {
        lock(&self.state).copies.iter_mut().for_each(|copy| copy.attempt(|file| file.sync_data()));
    }

    /// How many parts this run wrote down; 0 if all copies failed, because a later run cannot resume then.
    pub(crate) fn parts(&self) -> usize {
        let state = lock(&self.state);
        if state.copies.iter().all(|copy| copy.failed) { 0 } else { state.parts }
    }

    /// Removes the journal: no later run can resume. The folders get the common time of all volumes again, as far as
    /// the file system takes it, so that they do not show when this happened.
    ///
    /// # Errors
    /// A copy cannot be removed. A copy that had failed before may stay without an error.
    pub(crate) fn remove(self) -> Result<(), IoFault> {
        // The first copy goes last, because a reader looks for it first.
        for JournalCopy { path, file, failed } in unlocked(self.state).copies.into_iter().rev() {
            let removed = fs::remove_file(&path);
            // A FUSE driver may keep a removed file in its folder under another name while it is open.
            drop(file);
            let folder = path.parent().unwrap_or(Path::new("."));
            let removed = removed.and_then(|()| {
                let _ = Neutral::of(folder).and_then(|neutral| neutral.apply(&File::open(folder)?));
                os::sync_dir(folder)
            });
            if !failed {
                removed.at("remove", &path)?;
            }
        }
        Ok(())
    }
}

/// A journal that an earlier run left. It stays locked as long as this value lives.
pub(crate) struct LeftJournal {
    /// The content, up to the limit of [`find`]; the earlier run may have died within its last line.
    pub(crate) text: Vec<u8>,
    /// The lock goes with this file, also if the process dies.
    _lock: File,
}

impl LeftJournal {
    /// Cuts the journal at `path` back to its opening, before the parts that it names are removed. A run that is
    /// stopped in the middle of that leaves a journal that names no missing part.
    pub(crate) fn forget_parts(&self, path: &Path) -> Result<(), IoFault> {
        let len = checked_lines::opening_len(&self.text);
        if len == self.text.len() {
            return Ok(());
        }
        let file = File::options().write(true).open(path).at("open", path)?;
        file.set_len(len as u64).and_then(|()| file.sync_all()).at("shorten", path)
    }
}

/// Opens and locks the journal in that folder, and reads up to `limit` bytes of it. `None` if the folder or the journal
/// does not exist.
///
/// # Errors
/// `WouldBlock` while another run holds the lock.
pub(crate) fn find(folder: &Path, limit: u64) -> Result<Option<LeftJournal>, IoFault> {
    let path = folder.join(JOURNAL);
    let file = match os::open_regular(&path) {
        // 20 is ENOTDIR: a file stands where the folder would be.
        Err(error) if error.kind() == io::ErrorKind::NotFound || error.raw_os_error() == Some(20) => return Ok(None),
        other => other.at("read", &path)?,
    };
    if !os::try_lock(&file).at("lock", &path)? {
        return Err(io::Error::from(io::ErrorKind::WouldBlock)).at("lock", &path);
    }
    let mut text = Vec::new();
    (&file).take(limit).read_to_end(&mut text).at("read", &path)?;
    Ok(Some(LeftJournal { text, _lock: file }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_found_and_locked() {
        let dir = tempfile::tempdir().unwrap();
        assert!(find(dir.path(), 100).unwrap().is_none());
        let other = tempfile::tempdir().unwrap();
        let folders = [dir.path().to_path_buf(), other.path().to_path_buf()];
        let log = JournalWriter::create(&folders, "BEGUN\n").unwrap();
        assert_eq!(find(dir.path(), 100).err().unwrap().source.kind(), io::ErrorKind::WouldBlock);
        log.note("read\n");
        log.write("part\n");
        log.note("never written\n");
        assert_eq!(log.parts(), 1);
        drop(log);
        // A dropped log stands for a killed run: the lock is free, and the line kept back is lost.
        let text = find(other.path(), 100).unwrap().unwrap().text;
        assert_eq!(checked_lines::read("it", &text).map(|kept| kept.lines), Ok(vec!["read", "part"]));
        assert_eq!(find(dir.path(), 100).unwrap().unwrap().text, text);
        let mode =
            std::os::unix::fs::PermissionsExt::mode(&fs::metadata(dir.path().join(JOURNAL)).unwrap().permissions());
        assert_eq!(mode & 0o777, 0o600);
        JournalWriter::create(&folders, "anew\n").unwrap().remove().unwrap();
        assert_eq!(fs::read_dir(other.path()).unwrap().count(), 0);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }
}
