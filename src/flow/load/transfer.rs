//! Brings a staged volume to its drive: writes what is missing, writes SHA256SUMS under a temporary name, reads
//! everything back, and then names SHA256SUMS. A file that comes back wrong is copied once more, in another place of
//! the drive; the second wrong file ends the run.
//!
//! Not guaranteed: that the drive is good if all comes back right. The report warns if it needed a second try.

use std::borrow::Cow;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use crate::base::fault::{At, IoFault};
use crate::base::monitor::{Monitor, Note, NoteKind, Phase};
use crate::base::os;
use crate::base::path::{as_bytes, show};
use crate::flow::FlowError;
use crate::flow::drives::capacity_test::test_before_loading;
use crate::flow::drives::mounts::lost_before;
use crate::flow::error::{LoadError, Misread};
use crate::flow::load::on_drive::OnDrive;
use crate::flow::load::staged::{ListedFile, Staged};
use crate::stage::volume::{self, Copied, Copier, SUMS, SUMS_READY};

/// A volume on its way to a drive.
pub(crate) struct Transfer<'a> {
    staged: &'a Staged,
    drive: &'a Path,
    folder: &'a Path,
    copier: Copier,
    monitor: &'a dyn Monitor,
    /// Bytes that were copied.
    written: AtomicU64,
    /// Bytes that were read back since the last file was copied anew.
    verified: AtomicU64,
    /// The file that was read back wrong, and then copied anew.
    pub(crate) changed: Option<String>,
    /// All notes so far. The monitor has heard them.
    pub(crate) notes: Vec<Note>,
}

impl<'a> Transfer<'a> {
    /// A transfer to `folder` on `drive`. Nothing is looked at yet.
    pub(crate) fn new(staged: &'a Staged, drive: &'a Path, folder: &'a Path, monitor: &'a dyn Monitor) -> Self {
        let copier = Copier::new(&staged.volume, folder);
        let written = AtomicU64::new(0);
        let verified = AtomicU64::new(0);
        Self { staged, drive, folder, copier, monitor, written, verified, changed: None, notes: Vec::new() }
    }

    /// Makes a note about a file or folder of the volume, or about its drive.
    pub(crate) fn note(&mut self, path: &Path, text: impl Into<Cow<'static, str>>) {
        self.keep_note(Note::new(NoteKind::Volume, as_bytes(path), text));
    }

    fn keep_note(&mut self, note: Note) {
        self.monitor.note(&note);
        self.notes.push(note);
    }

    /// Whether every byte that was read back came from the drive, as far as the system tells.
    pub(crate) fn past_cache(&self) -> bool {
        self.copier.past_cache()
    }

    /// Whether some files show when they were written.
    pub(crate) fn shows_times(&self) -> bool {
        self.copier.shows_times()
    }

    /// Gives the folder the common mode and time. This comes after everything that changes or reads the folder.
    pub(crate) fn make_folder_neutral(&mut self) -> Result<(), FlowError> {
        Ok(self.copier.make_folder_neutral()?)
    }

    /// Looks at what stands on the drive, and notes which files are copied again.
    pub(crate) fn look(&mut self) -> Result<OnDrive, FlowError> {
        let found = OnDrive::look(self.staged, self.folder, &mut self.copier, self.monitor)?;
        let again: Vec<PathBuf> = found.again.iter().map(|name| self.path_of(name, &found)).collect();
        for path in &again {
            self.note(path, "is no longer what an earlier run wrote, so it is copied again");
        }
        Ok(found)
    }

    /// The path of a file on the drive, in the capitals that the drive shows.
    fn path_of(&self, name: &str, found: &OnDrive) -> PathBuf {
        found.volume.as_ref().map_or_else(|| self.folder.join(name), |volume| volume.path(name))
    }

    /// Refuses a drive without room for what is missing.
    pub(crate) fn check_room(&self, found: &OnDrive) -> Result<(), FlowError> {
        let room = os::room(self.drive).at("look at", self.drive)?;
        let Some(needed) = found.room_needed(self.staged, room.cluster) else { return Ok(()) };
        let free = room.free.saturating_add(found.room_freed(room.cluster));
        if needed > free {
            return Err(LoadError::Room { drive: self.drive.to_path_buf(), needed, free }.into());
        }
        Ok(())
    }

    /// Makes the copy whole, verifies it and lets it look complete. After an error, what was copied stays for the next
    /// run.
    pub(crate) fn bring(&mut self, found: &OnDrive) -> Result<(), FlowError> {
        let brought = self.write_and_verify(found);
        self.copier.leave(brought.is_ok());
        brought
    }

    fn write_and_verify(&mut self, found: &OnDrive) -> Result<(), FlowError> {
        if found.is_nothing() {
            test_before_loading(&self.staged.volume.dir, self.drive, self.monitor)?;
        }
        if let Some(error) = self.copier.begin()? {
            self.keep_note(lost_before(self.drive, &error));
        }
        // Another program may have copied the whole files, with modes and times of its own.
        for name in &found.whole {
            self.copier.make_neutral(&self.path_of(name, found))?;
        }
        let missing = found.missing(self.staged);
        if found.has_sums && missing.is_empty() {
            return Ok(self.copier.make_neutral(&self.path_of(SUMS, found))?);
        }
        // The copy may look complete, and is not.
        volume::unpublish(self.folder)?;
        volume::restore_exact_names(self.folder)?;
        self.write(&missing)?;
        self.write_sums()?;
        // Everything is read after the last byte was written, because a faulty drive could store that over other files.
        self.verify()?;
        Ok(self.copier.name_sums()?)
    }

    /// Copies the missing files.
    ///
    /// # Errors
    /// Some staged files are not what they should be. The others are copied before the run ends.
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
        let monitor = self.monitor;
        let written = &self.written;
        let tick = |bytes| {
            monitor.advance(bytes);
            monitor.loaded(written.fetch_add(bytes, Ordering::Relaxed) + bytes, 0);
            !monitor.cancelled()
        };
        let copied = self.copier.copy(&file.name, file.sum, &tick);
        self.note_faults();
        Ok(copied?)
    }

    /// Writes SHA256SUMS under its temporary name.
    fn write_sums(&mut self) -> Result<(), FlowError> {
        let written = self.copier.write_sums(&self.staged.text);
        self.note_faults();
        Ok(written?)
    }

    /// Notes the errors of the drive that a second attempt overcame.
    fn note_faults(&mut self) {
        for fault in self.copier.got_over() {
            let text = format!(
                "one place of the drive failed (cannot {} it: {}), so it was written anew in another; the drive may be dying",
                fault.doing, fault.source
            );
            self.note(&fault.path, text);
        }
    }

    /// Reads every file as the drive stores it, and after each that was wrong all of them again.
    fn verify(&mut self) -> Result<(), FlowError> {
        loop {
            if let Some((file, misread)) = self.first_wrong()? {
                self.copy_anew(file, misread)?;
            } else if self.copier.holds_sums(&self.staged.text).at("read back", &self.folder.join(SUMS))? {
                return Ok(());
            } else {
                self.give_one_chance(SUMS, &Misread::Somewhere)?;
                self.copier.set_aside(SUMS_READY)?;
                self.write_sums()?;
            }
        }
    }

    /// The first file that the drive does not return as it was written, and how it came back.
    fn first_wrong(&mut self) -> Result<Option<(&'a ListedFile, Misread)>, FlowError> {
        let monitor = self.monitor;
        let written = self.written.load(Ordering::Relaxed);
        let verified = &self.verified;
        let tick = |bytes| {
            monitor.advance(bytes);
            monitor.loaded(written, verified.fetch_add(bytes, Ordering::Relaxed) + bytes);
            !monitor.cancelled()
        };
        for file in &self.staged.files {
            let path = self.folder.join(&file.name);
            match self.copier.holds(&path, file.sum, &tick) {
                Ok(Some(true)) => {}
                Ok(Some(false)) => return Ok(Some((file, how_misread(&mut self.copier, &file.name)))),
                Ok(None) => return Err(FlowError::Cancelled),
                Err(error) if os::is_of_one_place(&error) => {
                    return Ok(Some((file, Misread::Unreadable(error.to_string()))));
                }
                Err(error) => return Err(error).at("read back", &path)?,
            }
        }
        Ok(None)
    }

    /// Copies a file once more while the wrong copy keeps its place on the drive, so that the new one gets another.
    fn copy_anew(&mut self, file: &ListedFile, misread: Misread) -> Result<(), FlowError> {
        self.verified.store(0, Ordering::Relaxed);
        self.give_one_chance(&file.name, &misread)?;
        let copied = self.copier.set_aside(&file.name).map_err(FlowError::Io).and_then(|()| self.copy(file));
        match copied {
            Ok(Copied::Whole) => Ok(()),
            Ok(Copied::Stopped) => Err(FlowError::Cancelled),
            Ok(Copied::Wrong) => {
                let why = "had the right SHA-256 when it was first read, and another when it was read again";
                self.staged.refuse(vec![(file.name.clone(), why.into())])
            }
            // Without room for both copies it cannot be tried.
            Err(FlowError::Io(fault)) if fault.is_full() || self.is_fault_of_drive(&fault, &misread) => {
                Err(self.drive_changed(&file.name, misread))
            }
            Err(error) => Err(error),
        }
    }

    /// Whether a drive that returned other bytes now fails altogether. If it returned nothing before, it may just have
    /// been pulled out.
    fn is_fault_of_drive(&self, fault: &IoFault, misread: &Misread) -> bool {
        !fault.path.starts_with(&self.staged.volume.dir) && !matches!(misread, Misread::Unreadable(_))
    }

    /// Notes that a file came back wrong. The second time it returns an error instead.
    fn give_one_chance(&mut self, name: &str, misread: &Misread) -> Result<(), FlowError> {
        if self.changed.is_some() {
            return Err(self.drive_changed(name, misread.clone()));
        }
        self.changed = Some(name.into());
        let text = format!("{misread}, read back from the drive; it is copied anew, in another place");
        self.note(&self.folder.join(name), text);
        Ok(())
    }

    fn drive_changed(&self, name: &str, misread: Misread) -> FlowError {
        let below = self.folder.strip_prefix(self.drive).unwrap_or(self.folder).join(name);
        LoadError::Changed { drive: self.drive.to_path_buf(), file: show(&below), misread }.into()
    }
}

/// Compares a file that was read back wrong with its source, byte for byte.
fn how_misread(copier: &mut Copier, name: &str) -> Misread {
    match copier.first_difference(name) {
        Ok(Some(at)) => Misread::From(at),
        Ok(None) => Misread::Once,
        Err(_) => Misread::Somewhere,
    }
}

#[cfg(test)]
mod tests;
