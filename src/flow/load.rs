//! Loading: a staged volume is copied to its drive, every file is read back as the drive stores it,
//! and only then gets its SHA256SUMS. Whatever stops it, the next run holds what it finds on the
//! drive against SHA256SUMS and goes on, also inside a file. What this does not guarantee: that a drive
//! which stores it now still does when it is read, nor that a driver outside of the kernel read the drive.

pub mod report;
mod staged;

use std::borrow::Cow;
use std::collections::HashSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use crate::base::fault::{At, IoFault, is_denied};
use crate::base::memory;
use crate::base::monitor::{Monitor, Note, NoteKind, Phase, check_not_cancelled};
use crate::base::os;
use crate::base::path::{as_bytes, show};
use crate::flow::FlowError;
use crate::flow::drives::capacity_test::test_before_loading;
use crate::flow::drives::folders::lock_folder;
use crate::flow::drives::mounts::SHOWS_TIMES;
use crate::flow::drives::mounts::lost_before;
use crate::flow::drives::mounts::{is_beside, refuse_to_move};
use crate::flow::error::{LoadError, Misread};
use crate::flow::load::report::LoadReport;
use crate::flow::load::staged::{ListedFile, Staged, target_of, the_one};
use crate::format::{is_unfinished, limits, part};
use crate::stage::journal::JOURNAL;
use crate::stage::volume::{self, Copied, Copier, SUMS, SUMS_READY, ScanError, Volume};

const READ: usize = 1 << 20;

/// What somebody wants loaded.
pub struct LoadRequest {
    /// The staged volume, or a folder with one in it.
    pub staged: PathBuf,
    /// The drive.
    pub drive: PathBuf,
    /// Remove the staged volume once its copy is verified.
    pub remove: bool,
}

/// Copies a staged volume to a drive and reads it back.
pub fn load(request: &LoadRequest, monitor: &dyn Monitor) -> Result<LoadReport, FlowError> {
    let volume = the_one(&request.staged)?;
    let folder = target_of(&volume, &request.drive)?;
    if request.remove {
        refuse_to_move(&request.drive, &volume.dir)?;
    }
    let _lock = lock_folder(&request.drive)?;
    let _staged_lock = if request.remove { Some(lock_folder(&volume.dir)?) } else { None };
    let staged = Staged::read(volume, &folder, request.remove)?;
    let mut run = Loading::new(&staged, &request.drive, &folder, monitor);
    run.note_unmounted_drive()?;
    let standing = run.look()?;
    staged.all_there(&standing.whole)?;
    run.check_is_rest_of_move()?;
    run.check_room(&standing)?;
    let brought = run.bring(&standing);
    run.copier.leave(brought.is_ok());
    brought?;
    // To look into a folder is to read it, which changes a time: so the last look comes before.
    let loaded = volume::read(&folder).ok();
    run.copier.make_folder_neutral()?;
    if run.copier.shows_times() {
        run.note(&folder, SHOWS_TIMES);
    }
    let gone = request.remove.then(|| volume::remove_whole(&staged.volume, &staged.names()));
    Ok(LoadReport {
        source: staged.volume.dir.clone(),
        files: staged.files.len(),
        bytes: staged.files.iter().filter_map(|file| loaded.as_ref()?.file(&file.name)).map(|found| found.len).sum(),
        kept: standing.whole.len(),
        again: standing.again,
        changed: run.changed,
        past_cache: run.copier.past_cache(),
        removed: matches!(gone, Some(Ok(_))),
        folder_stays: matches!(gone, Some(Ok(false) | Err(_))),
        not_removed: gone.and_then(Result::err).map(|fault| fault.to_string()),
        notes: run.notes,
        folder,
    })
}

/// What stands on the drive.
#[derive(Default)]
struct OnDrive {
    /// Files that are there, verified.
    whole: HashSet<String>,
    /// Files that are there and are not what they should be.
    again: Vec<String>,
    /// There is SHA256SUMS.
    complete: bool,
    /// Lengths of unfinished files.
    unfinished: Vec<u64>,
    /// The folder as it was found.
    there: Option<Volume>,
}

impl OnDrive {
    fn is_nothing(&self) -> bool {
        self.whole.is_empty() && self.again.is_empty() && self.unfinished.is_empty()
    }
}

/// A volume on its way.
struct Loading<'a> {
    staged: &'a Staged,
    drive: &'a Path,
    folder: &'a Path,
    copier: Copier,
    monitor: &'a dyn Monitor,
    written: AtomicU64,
    verified: AtomicU64,
    /// The file that was read back wrong, and then copied anew.
    changed: Option<String>,
    notes: Vec<Note>,
}

impl<'a> Loading<'a> {
    fn new(staged: &'a Staged, drive: &'a Path, folder: &'a Path, monitor: &'a dyn Monitor) -> Self {
        let copier = Copier::new(&staged.volume, folder);
        let (written, verified) = (AtomicU64::new(0), AtomicU64::new(0));
        Self { staged, drive, folder, copier, monitor, written, verified, changed: None, notes: Vec::new() }
    }

    fn note(&mut self, path: &Path, text: impl Into<Cow<'static, str>>) {
        let note = Note::new(NoteKind::Volume, as_bytes(path), text);
        self.monitor.note(&note);
        self.notes.push(note);
    }

    /// Notes a drive that is not one of its own: somebody may have forgotten to mount it.
    fn note_unmounted_drive(&mut self) -> Result<(), FlowError> {
        if is_beside(self.drive, &self.staged.volume.dir)? {
            self.note(self.drive, "is on the same file system as the staged volume: is the drive mounted there?");
        }
        Ok(())
    }

    /// Holds what is on the drive against SHA256SUMS; refuses what is not this volume.
    fn look(&mut self) -> Result<OnDrive, FlowError> {
        let mut standing = OnDrive::default();
        let there = match self.folder.symlink_metadata() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(standing),
            Err(error) => return Err(error).at("look at", self.folder)?,
            Ok(meta) if !meta.is_dir() => return self.another("it is no folder"),
            Ok(_) => volume::read(self.folder)?,
        };
        let unfinished = there.files.iter().filter(|found| is_unfinished(&found.name) && found.regular);
        standing.unfinished = unfinished.map(|found| found.len).collect();
        if let Some(text) = there.read_small(SUMS, limits::SUMS_FILE) {
            standing.complete = true;
            let text = match text {
                Err(ScanError::Io(fault)) => return Err(fault.into()),
                text => text.ok(),
            };
            if text.as_ref() != Some(&self.staged.text) {
                return self.another("its SHA256SUMS says other things");
            }
        }
        let names: HashSet<&str> = self.staged.files.iter().map(|file| file.name.as_str()).collect();
        if there.file(JOURNAL).is_some() {
            return self.another("it is being packed, or that was interrupted");
        }
        let stranger = |name: &str| part::is_part(name) && !names.contains(name);
        if let Some(found) = there.files.iter().find(|found| stranger(&found.name)) {
            return self.another(&format!("it holds {}", found.name));
        }
        let ours: Vec<&ListedFile> = self.staged.files.iter().filter(|file| there.file(&file.name).is_some()).collect();
        let (copier, monitor) = (&mut self.copier, self.monitor);
        monitor.phase(Phase::Resuming, ours.iter().map(|file| file.len).sum());
        let tick = |bytes| {
            monitor.advance(bytes);
            !monitor.cancelled()
        };
        for file in ours {
            // What cannot be read is written anew.
            match copier.holds(&there.path(&file.name), file.sum, &tick) {
                Ok(None) => return Err(FlowError::Cancelled),
                Ok(Some(true)) => drop(standing.whole.insert(file.name.clone())),
                Err(error) if is_denied(&error) => return Err(error).at("read", &there.path(&file.name))?,
                Ok(Some(false)) | Err(_) => standing.again.push(file.name.clone()),
            }
        }
        if standing.whole.is_empty() && !standing.complete && !volume::is_free(self.folder) {
            return self.another("none of its files is one of this volume");
        }
        for name in &standing.again {
            let text = "is no longer what an earlier run wrote, so it is copied again";
            self.note(&there.path(name), text);
        }
        standing.there = Some(there);
        Ok(standing)
    }

    /// That a staged volume without SHA256SUMS is what a moving left that was interrupted.
    fn check_is_rest_of_move(&self) -> Result<(), FlowError> {
        let volume = &self.staged.volume;
        let (tick, mut buf) = (|_| check_not_cancelled(self.monitor), memory::zeros(READ));
        let left = self.staged.files.iter().filter(|file| volume.file(&file.name).is_some());
        for file in left.filter(|_| volume.file(SUMS).is_none()) {
            let digest = volume::digest(volume.open(&file.name)?, &mut buf, tick);
            if self.monitor.cancelled() {
                return Err(FlowError::Cancelled);
            }
            if digest.at("read", &volume.path(&file.name))?.0 != file.sum || volume.file(JOURNAL).is_some() {
                return Err(LoadError::Unfinished { staged: volume.dir.clone(), on_drive: None }.into());
            }
        }
        Ok(())
    }

    fn another<T>(&self, why: &str) -> Result<T, FlowError> {
        Err(LoadError::Another { folder: self.folder.to_path_buf(), why: why.into() }.into())
    }

    /// Refuses a drive without room for what is missing.
    fn check_room(&self, standing: &OnDrive) -> Result<(), FlowError> {
        let room = os::room(self.drive).at("look at", self.drive)?;
        let clusters = |len: u64| len.next_multiple_of(room.cluster.max(1));
        let is_again = |file: &&ListedFile| standing.again.contains(&file.name);
        let missing = self.staged.files.iter().filter(|file| !standing.whole.contains(&file.name));
        // One that is written again needs its room only until it takes the place of the old one.
        let (again, new): (Vec<&ListedFile>, Vec<&ListedFile>) = missing.partition(is_again);
        if again.is_empty() && new.is_empty() && standing.complete {
            return Ok(());
        }
        let again = again.iter().map(|file| clusters(file.len)).max().unwrap_or(0);
        let names = clusters(self.staged.files.len() as u64 * 128);
        let needed = new.iter().map(|file| clusters(file.len)).sum::<u64>() + again + names;
        let needed = needed + clusters(self.staged.text.len() as u64);
        let unfinished = standing.unfinished.iter().map(|len| clusters(*len));
        let free = unfinished.fold(room.free, u64::saturating_add);
        match needed > free {
            true => Err(LoadError::Room { drive: self.drive.to_path_buf(), needed, free }.into()),
            false => Ok(()),
        }
    }

    /// Brings to the drive what is missing there, reads all back, and only then lets it look complete.
    fn bring(&mut self, standing: &OnDrive) -> Result<(), FlowError> {
        let missing = self.staged.files.iter().filter(|file| !standing.whole.contains(&file.name));
        let missing: Vec<&ListedFile> = missing.collect();
        if standing.is_nothing() {
            test_before_loading(&self.staged.volume.dir, self.drive, self.monitor)?;
        }
        if let Some(error) = self.copier.begin()? {
            let note = lost_before(self.drive, &error);
            self.monitor.note(&note);
            self.notes.push(note);
        }
        // What is there as a whole may have been copied by something else.
        let there = |name: &str| standing.there.as_ref().map_or(self.folder.join(name), |there| there.path(name));
        standing.whole.iter().try_for_each(|name| self.copier.make_neutral(&there(name)))?;
        if standing.complete && missing.is_empty() {
            return Ok(self.copier.make_neutral(&there(SUMS))?);
        }
        // It may look complete, and is not.
        volume::no_longer_whole(self.folder)?;
        volume::restore_exact_names(self.folder)?;
        self.write(&missing)?;
        self.write_sums()?;
        // What was read before the last byte was written may have been hit by it.
        self.verify()?;
        Ok(self.copier.name_sums()?)
    }

    /// Copies what is missing; a source that is not what it should be is found out on the way.
    fn write(&mut self, missing: &[&ListedFile]) -> Result<(), FlowError> {
        let bytes: u64 = missing.iter().map(|file| file.len).sum();
        self.monitor.phase(Phase::Loading, bytes + self.staged.bytes());
        let mut wrong = Vec::new();
        for file in missing {
            match self.copy(file)? {
                Copied::Whole => {}
                Copied::Wrong => wrong.push((file.name.clone(), "has another SHA-256 than when it was written".into())),
                Copied::Stopped => return Err(FlowError::Cancelled),
            }
        }
        self.staged.refuse(wrong)
    }

    fn copy(&mut self, file: &ListedFile) -> Result<Copied, FlowError> {
        let (monitor, written) = (self.monitor, &self.written);
        let tick = |bytes| {
            monitor.advance(bytes);
            monitor.loaded(written.fetch_add(bytes, Ordering::Relaxed) + bytes, 0);
            !monitor.cancelled()
        };
        let copied = self.copier.copy(&file.name, file.sum, &tick);
        self.note_faults();
        Ok(copied?)
    }

    fn note_faults(&mut self) {
        for fault in self.copier.got_over() {
            let text = format!(
                "one place of the drive failed (cannot {} it: {}), so it was written anew in another; the drive may be dying",
                fault.doing, fault.source
            );
            self.note(&fault.path, text);
        }
    }

    /// Reads every file as the drive stores it. One that is wrong is copied anew, once, while it keeps
    /// its place; then all is read again.
    fn verify(&mut self) -> Result<(), FlowError> {
        loop {
            let Some((file, misread)) = self.first_wrong()? else {
                if self.copier.holds_sums(&self.staged.text).at("read back", &self.folder.join(SUMS))? {
                    return Ok(());
                }
                self.give_one_chance(SUMS, &Misread::Somewhere)?;
                self.copier.set_aside(SUMS_READY)?;
                self.write_sums()?;
                continue;
            };
            self.verified.store(0, Ordering::Relaxed);
            self.give_one_chance(&file.name, &misread)?;
            let copied = self.copier.set_aside(&file.name).map_err(FlowError::Io).and_then(|()| self.copy(file));
            match copied {
                Ok(Copied::Whole) => {}
                Ok(Copied::Stopped) => return Err(FlowError::Cancelled),
                Ok(Copied::Wrong) => {
                    let why = "had the right SHA-256 when it was first read, and another when it was read again";
                    self.staged.refuse(vec![(file.name.clone(), why.into())])?;
                }
                // No room for both: then it cannot be tried.
                Err(FlowError::Io(fault)) if fault.is_full() || self.is_wrong_there(&fault, &misread) => {
                    return Err(self.gives_up(&file.name, misread));
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Whether after other bytes came back the drive now fails altogether; where nothing came back it may
    /// just have been pulled out.
    fn is_wrong_there(&self, fault: &IoFault, misread: &Misread) -> bool {
        !fault.path.starts_with(&self.staged.volume.dir) && !matches!(misread, Misread::Unreadable(_))
    }

    /// The first file that the drive does not give back as it was written.
    fn first_wrong(&mut self) -> Result<Option<(&'a ListedFile, Misread)>, FlowError> {
        let (monitor, verified) = (self.monitor, &self.verified);
        let written = self.written.load(Ordering::Relaxed);
        let tick = |bytes| {
            monitor.advance(bytes);
            monitor.loaded(written, verified.fetch_add(bytes, Ordering::Relaxed) + bytes);
            !monitor.cancelled()
        };
        for file in &self.staged.files {
            match self.copier.holds(&self.folder.join(&file.name), file.sum, &tick) {
                Ok(Some(true)) => {}
                Ok(None) => return Err(FlowError::Cancelled),
                Ok(Some(false)) => {
                    let misread = match self.copier.first_difference(&file.name) {
                        Ok(Some(at)) => Misread::From(at),
                        Ok(None) => Misread::Once,
                        Err(_) => Misread::Somewhere,
                    };
                    return Ok(Some((file, misread)));
                }
                Err(error) if os::is_of_one_place(&error) => {
                    return Ok(Some((file, Misread::Unreadable(error.to_string()))));
                }
                Err(error) => return Err(error).at("read back", &self.folder.join(&file.name))?,
            }
        }
        Ok(None)
    }

    /// Notes that a file came back wrong; the second time that is the end.
    fn give_one_chance(&mut self, name: &str, misread: &Misread) -> Result<(), FlowError> {
        if self.changed.is_some() {
            return Err(self.gives_up(name, misread.clone()));
        }
        self.changed = Some(name.into());
        let text = format!("{misread}, read back from the drive; it is copied anew, in another place");
        self.note(&self.folder.join(name), text);
        Ok(())
    }

    /// Writes SHA256SUMS, but for its name.
    fn write_sums(&mut self) -> Result<(), FlowError> {
        let written = self.copier.write_sums(&self.staged.text);
        self.note_faults();
        Ok(written?)
    }

    fn gives_up(&self, name: &str, misread: Misread) -> FlowError {
        let below = self.folder.strip_prefix(self.drive).unwrap_or(self.folder).join(name);
        LoadError::Changed { drive: self.drive.to_path_buf(), file: show(&below), misread }.into()
    }
}
