//! The journal of a packing as a file on the first volume, and on one of another drive: begun at once,
//! added to, removed when all is done. Its lock keeps a second run away. A copy that cannot be added to
//! stops nobody: it only is no longer there to go on from.

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
use crate::format::checked::{self, Checks};
pub use crate::format::journal::JOURNAL;

/// A drive that is pulled out may forget what was added since the last sync: those parts are then
/// packed again.
const SYNC_EVERY: Duration = Duration::from_secs(2);

/// A journal that is added to, and its copies on other drives.
pub struct Log {
    state: Mutex<State>,
}

struct State {
    copies: Vec<Copy>,
    checks: Checks,
    /// Lines that wait for the next that matters.
    waiting: String,
    synced: Instant,
    parts: usize,
}

struct Copy {
    path: PathBuf,
    file: File,
    failed: bool,
}

impl Copy {
    fn create(folder: &Path, text: &str) -> Result<Self, IoFault> {
        let (temporary, path) = (folder.join(UNFINISHED), folder.join(JOURNAL));
        let mut file = os::create_private(&temporary).at("create", &path)?;
        // Nobody else can have it yet.
        os::try_lock(&file).at("lock", &path)?;
        file.write_all(text.as_bytes()).at("write", &path)?;
        file.sync_all().at("sync", &path)?;
        os::rename_durably(&temporary, &path).at("name", &path)?;
        Ok(Self { path, file, failed: false })
    }

    /// Does that with the file, unless it failed before.
    fn attempt(&mut self, work: impl FnOnce(&mut File) -> io::Result<()>) {
        self.failed = self.failed || work(&mut self.file).is_err();
    }
}

impl Log {
    /// Writes the journal of these folders anew; whoever looks at one finds the old one, or this. Lines
    /// get their checks here.
    pub fn create(folders: &[PathBuf], lines: &str) -> Result<Self, IoFault> {
        let mut checks = Checks::default();
        let text = checks.add(lines);
        let copies = folders.iter().map(|folder| Copy::create(folder, &text)).collect::<Result<_, _>>()?;
        let state = State { copies, checks, waiting: String::new(), synced: Instant::now(), parts: 0 };
        Ok(Self { state: Mutex::new(state) })
    }

    /// Notes a line that matters only together with one that is written later.
    pub fn note(&self, line: &str) {
        lock(&self.state).waiting.push_str(line);
    }

    /// Writes a line about a part, and what waited for it.
    pub fn write(&self, line: &str) {
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

    /// Nothing of it waits to be written any more: what came later could land on what was read back.
    pub fn settle(&self) {
        lock(&self.state).copies.iter_mut().for_each(|copy| copy.attempt(|file| file.sync_data()));
    }

    /// Parts that were noted, for a later run to go on from; none if all copies failed.
    pub fn parts(&self) -> usize {
        let state = lock(&self.state);
        if state.copies.iter().all(|copy| copy.failed) { 0 } else { state.parts }
    }

    /// Removes it: nothing is left to go on with. What had failed may stay. The folders that it was in show no
    /// time of that, as far as they take one.
    pub fn remove(self) -> Result<(), IoFault> {
        // The first one last: it is looked for first.
        for Copy { path, file, failed } in unlocked(self.state).copies.into_iter().rev() {
            let removed = fs::remove_file(&path);
            // Drivers outside of the kernel keep a file that is open in its folder, under another name.
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

/// A journal that an earlier run left, locked.
pub struct Found {
    /// What is in it.
    pub text: Vec<u8>,
    _lock: File,
}

impl Found {
    /// Cuts it back to what it begins with, before anything that it names is removed: a run that is stopped
    /// while it removes leaves nothing that would be missed.
    pub fn forget_parts(&self, path: &Path) -> Result<(), IoFault> {
        let len = checked::opening_len(&self.text);
        if len == self.text.len() {
            return Ok(());
        }
        let file = File::options().write(true).open(path).at("open", path)?;
        file.set_len(len as u64).and_then(|()| file.sync_all()).at("shorten", path)
    }
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
        let other = tempfile::tempdir().unwrap();
        let folders = [dir.path().to_path_buf(), other.path().to_path_buf()];
        let log = Log::create(&folders, "BEGUN\n").unwrap();
        assert_eq!(find(dir.path(), 100).err().unwrap().source.kind(), io::ErrorKind::WouldBlock);
        log.note("read\n");
        log.write("part\n");
        log.note("never written\n");
        assert_eq!(log.parts(), 1);
        drop(log);
        let text = find(other.path(), 100).unwrap().unwrap().text;
        assert_eq!(checked::read("it", &text).map(|kept| kept.lines), Ok(vec!["read", "part"]));
        assert_eq!(find(dir.path(), 100).unwrap().unwrap().text, text);
        let mode =
            std::os::unix::fs::PermissionsExt::mode(&fs::metadata(dir.path().join(JOURNAL)).unwrap().permissions());
        assert_eq!(mode & 0o777, 0o600);
        Log::create(&folders, "anew\n").unwrap().remove().unwrap();
        assert_eq!(fs::read_dir(other.path()).unwrap().count(), 0);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }
}
