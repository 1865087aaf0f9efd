//! The journal of a packing as a file on the first volume: begun at once, added to, removed when
//! all is done. Its lock keeps a second run away. A journal that cannot be added to stops nobody: it
//! only is no longer there to go on from.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use crate::base::fault::{At, IoFault};
use crate::base::os;
use crate::base::pool::lock;
use crate::format::UNFINISHED;

/// Its name.
pub const JOURNAL: &str = "journal";
/// A drive that is pulled out may forget what was added since the last sync: those parts are then
/// packed again.
const SYNC_EVERY: Duration = Duration::from_secs(2);

/// A journal that is added to.
pub struct Log {
    path: PathBuf,
    state: Mutex<State>,
}

struct State {
    file: File,
    /// Lines that wait for the next that matters.
    waiting: String,
    synced: Instant,
    parts: usize,
    failed: bool,
}

impl Log {
    /// Writes the journal of that folder anew; whoever looks at it finds the old one, or this.
    pub fn create(folder: &Path, text: &str) -> Result<Self, IoFault> {
        let (temporary, path) = (folder.join(UNFINISHED), folder.join(JOURNAL));
        let mut file = os::create_private(&temporary).at("create", &path)?;
        // Nobody else can have it yet.
        os::try_lock(&file).at("lock", &path)?;
        file.write_all(text.as_bytes()).at("write", &path)?;
        file.sync_all().at("sync", &path)?;
        os::rename_durably(&temporary, &path).at("name", &path)?;
        let state = State { file, waiting: String::new(), synced: Instant::now(), parts: 0, failed: false };
        Ok(Self { path, state: Mutex::new(state) })
    }

    /// Notes a line that matters only together with one that is written later.
    pub fn note(&self, line: &str) {
        lock(&self.state).waiting.push_str(line);
    }

    /// Writes a line about a part, and what waited for it.
    pub fn write(&self, line: &str) {
        let mut state = lock(&self.state);
        let text = std::mem::take(&mut state.waiting) + line;
        state.parts += 1;
        if state.failed {
            return;
        }
        let mut written = state.file.write_all(text.as_bytes());
        if state.synced.elapsed() > SYNC_EVERY {
            written = written.and_then(|()| state.file.sync_data());
            state.synced = Instant::now();
        }
        state.failed = written.is_err();
    }

    /// Nothing of it waits to be written any more: what came later could land on what was read back.
    pub fn settle(&self) {
        let mut state = lock(&self.state);
        let synced = state.file.sync_data();
        state.failed |= synced.is_err();
    }

    /// Parts that were noted, for a later run to go on from; none if the journal failed.
    pub fn parts(&self) -> usize {
        let state = lock(&self.state);
        if state.failed { 0 } else { state.parts }
    }

    /// Removes it: nothing is left to go on with.
    pub fn remove(self) -> Result<(), IoFault> {
        fs::remove_file(&self.path).at("remove", &self.path)?;
        match self.path.parent() {
            Some(folder) => os::sync_dir(folder).at("sync", folder),
            None => Ok(()),
        }
    }
}

/// A journal that an earlier run left, locked.
pub struct Found {
    /// What is in it.
    pub text: Vec<u8>,
    _lock: File,
}

/// The journal in that folder; `None` where there is none.
///
/// # Errors
/// `WouldBlock` while another run works there.
pub fn find(folder: &Path, limit: u64) -> Result<Option<Found>, IoFault> {
    let path = folder.join(JOURNAL);
    let file = match os::open_regular(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound || error.raw_os_error() == Some(20) => return Ok(None),
        other => other.at("read", &path)?,
    };
    if !os::try_lock(&file).at("lock", &path)? {
        return Err(io::Error::from(io::ErrorKind::WouldBlock)).at("lock", &path);
    }
    let mut text = Vec::new();
    (&file).take(limit).read_to_end(&mut text).at("read", &path)?;
    Ok(Some(Found { text, _lock: file }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_found_and_locked() {
        let dir = tempfile::tempdir().unwrap();
        assert!(find(dir.path(), 100).unwrap().is_none());
        let log = Log::create(dir.path(), "begun\n").unwrap();
        assert_eq!(find(dir.path(), 100).err().unwrap().source.kind(), io::ErrorKind::WouldBlock);
        log.note("read\n");
        log.write("part\n");
        log.note("never written\n");
        assert_eq!(log.parts(), 1);
        drop(log);
        let found = find(dir.path(), 100).unwrap().unwrap();
        assert_eq!(found.text, b"begun\nread\npart\n");
        let mode =
            std::os::unix::fs::PermissionsExt::mode(&fs::metadata(dir.path().join(JOURNAL)).unwrap().permissions());
        assert_eq!(mode & 0o777, 0o600);
        Log::create(dir.path(), "anew\n").unwrap().remove().unwrap();
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }
}
