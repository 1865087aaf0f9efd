//! Waits until drives were unplugged and plugged in again. Only then what is read comes from the drives for certain,
//! rather than from a cache of the system, the drive or its reader. This file polls what is mounted, and sees that a
//! drive is gone and that one is back in its place.
//!
//! Not guaranteed: that the drive that came back is the same one. For something that is no disk (a file, memory, a
//! network) only the new mount can be seen, and the report says so.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::base::monitor::Monitor;
use crate::base::os::{self, Mount};
use crate::base::path::show;
use crate::flow::FlowError;

/// Time between two looks at the drives.
const EVERY: Duration = Duration::from_millis(100);

/// What is known of the caches that may stand before what is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Freshness {
    /// Nothing: the drives are read as they are mounted.
    AsTheyStand,
    /// All was mounted anew, and some of it is no disk, of which the system does not show whether it was unplugged.
    Remounted,
    /// The drives were unplugged and plugged in again.
    Replugged,
}

impl Freshness {
    /// The words of the report; `None` if there is nothing to say.
    pub(crate) fn words(self) -> Option<&'static str> {
        match self {
            Freshness::AsTheyStand => None,
            Freshness::Remounted => Some(REMOUNTED),
            Freshness::Replugged => Some(REPLUGGED),
        }
    }
}

const REPLUGGED: &str = "read from the drives after they were plugged in again";

const REMOUNTED: &str = "read after mounting anew what is no drive that can be seen to be unplugged (a file, memory, a program, a network): \
a cache below may have answered";

/// What happened to a drive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Event {
    /// The drive is to be unplugged, and plugged in again.
    Wanted,
    /// The drive is not mounted any more.
    Gone,
    /// The drive was unmounted and mounted again, but not unplugged. This is told once.
    Stayed,
    /// The drive was plugged in again.
    Back,
    /// The file system was mounted again, and is on no disk that can be seen to be unplugged.
    Mounted,
}

/// A drive that this run waits for.
struct WaitedDrive {
    /// Where it is mounted.
    at: PathBuf,
    /// What was mounted there when the waiting began.
    before: Mount,
    /// Whether nothing was mounted there, and that was told.
    was_gone: bool,
    /// Whether its disk was ever seen missing.
    was_out: bool,
    /// Whether a mount without unplugging was told.
    was_told_to_stay: bool,
    is_back: bool,
}

/// Waits until every drive that holds one of `paths` was unplugged and plugged in again. `tell` gets each event, and
/// where the drive is mounted. Returns what can be said of what is read now.
///
/// # Errors
/// [`FlowError::Usage`] for a path that is on no drive of its own; [`FlowError::Cancelled`] if the run is to stop.
pub(crate) fn wait(
    paths: &[PathBuf],
    tell: &dyn Fn(Event, &Path),
    monitor: &dyn Monitor,
) -> Result<Freshness, FlowError> {
    let mut drives: Vec<WaitedDrive> = Vec::new();
    for path in paths {
        let (at, before) = drive_of(path)?;
        if drives.iter().all(|drive| drive.at != at) {
            drives.push(WaitedDrive::new(at, before));
        }
    }
    drives.iter().for_each(|drive| tell(Event::Wanted, &drive.at));
    loop {
        for drive in drives.iter_mut().filter(|drive| !drive.is_back) {
            if let Some(event) = drive.look() {
                tell(event, &drive.at);
            }
        }
        if drives.iter().all(|drive| drive.is_back) {
            return Ok(freshness(&drives));
        }
        if monitor.cancelled() {
            return Err(FlowError::Cancelled);
        }
        std::thread::sleep(EVERY);
    }
}

/// One file system without a disk is enough that nothing was seen to be unplugged.
fn freshness(drives: &[WaitedDrive]) -> Freshness {
    if drives.iter().all(|drive| drive.before.is_disk) { Freshness::Replugged } else { Freshness::Remounted }
}

/// Where the drive is mounted that `path` names, by its mount point or by the folder of a volume directly below.
fn drive_of(path: &Path) -> Result<(PathBuf, Mount), FlowError> {
    let real = path.canonicalize().unwrap_or_else(|_| path.to_path_buf());
    // The system's own file system is no drive to unplug.
    for at in [Some(real.as_path()), real.parent()].into_iter().flatten().filter(|at| at.parent().is_some()) {
        if let Ok(Some(mount)) = os::mounted_at(at) {
            return Ok((at.to_path_buf(), mount));
        }
    }
    let text = format!(
        "{} is neither where a drive is mounted nor a volume's folder there, so nobody can see it unplugged",
        show(path)
    );
    Err(FlowError::Usage(text))
}

impl WaitedDrive {
    fn new(at: PathBuf, before: Mount) -> Self {
        Self { at, before, was_gone: false, was_out: false, was_told_to_stay: false, is_back: false }
    }

    fn look(&mut self) -> Option<Event> {
        // A drive that was pulled out may leave its mount behind. Such a mount has lost its disk and does not count.
        let now = os::mounted_at(&self.at).ok().flatten().filter(|now| now.has_disk || !self.before.has_disk);
        self.was_out |= !self.before.is_plugged_in();
        self.observe(now)
    }

    /// Takes in what is mounted now, and returns what there is to tell.
    fn observe(&mut self, now: Option<Mount>) -> Option<Event> {
        match now {
            None => {
                let was_gone = std::mem::replace(&mut self.was_gone, true);
                (!was_gone).then_some(Event::Gone)
            }
            Some(now) if self.was_plugged_in(&now) => {
                self.is_back = true;
                Some(if self.before.is_disk { Event::Back } else { Event::Mounted })
            }
            Some(now) if now != self.before || self.was_gone => {
                self.was_gone = false;
                let was_told = std::mem::replace(&mut self.was_told_to_stay, true);
                (!was_told).then_some(Event::Stayed)
            }
            Some(_) => None,
        }
    }

    /// Whether what is mounted now was plugged in after what was mounted before. The system's plug numbers tell, else
    /// that the disk was seen missing; without a disk every new mount counts.
    fn was_plugged_in(&self, now: &Mount) -> bool {
        match (self.before.plugged, now.plugged) {
            (Some(before), Some(now)) => before != now,
            _ if self.before.has_disk => self.was_out,
            _ => self.was_gone || now != &self.before,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::monitor::Silent;

    /// A mount of this machine, as if it were of a disk with that plug number.
    fn mount(plugged: Option<u64>, is_disk: bool) -> Mount {
        let mut mounts = ["/proc", "/", "/dev"].into_iter().filter_map(|at| os::mounted_at(Path::new(at)).ok()?);
        let mut mount = mounts.next().expect("something is mounted");
        (mount.plugged, mount.has_disk, mount.is_disk) = (plugged, is_disk, is_disk);
        mount
    }

    fn plugged_as(number: u64) -> Mount {
        mount(Some(number), true)
    }

    fn disk() -> Mount {
        plugged_as(7)
    }

    /// What an old system shows of a disk: no plug number.
    fn unnumbered() -> Mount {
        mount(None, true)
    }

    /// A file system on a network or in memory.
    fn diskless() -> Mount {
        mount(None, false)
    }

    fn waited(before: Mount) -> WaitedDrive {
        WaitedDrive::new("/media/a".into(), before)
    }

    #[test]
    fn a_drive_that_stays_as_it_is_tells_nothing() {
        let mut drive = waited(disk());
        assert_eq!([drive.observe(Some(disk())), drive.observe(Some(disk()))], [None, None]);
        assert!(!drive.is_back);
    }

    #[test]
    fn a_drive_with_a_new_plug_number_is_back() {
        let mut drive = waited(disk());
        assert_eq!(drive.observe(None), Some(Event::Gone));
        assert_eq!(drive.observe(None), None, "told once");
        assert_eq!(drive.observe(Some(plugged_as(8))), Some(Event::Back));
        assert!(drive.is_back);
    }

    #[test]
    fn a_drive_that_was_unplugged_between_two_looks_is_back() {
        let mut drive = waited(disk());
        assert_eq!(drive.observe(Some(plugged_as(8))), Some(Event::Back));
    }

    #[test]
    fn a_drive_that_was_only_mounted_again_has_stayed() {
        let mut drive = waited(disk());
        assert_eq!(drive.observe(None), Some(Event::Gone));
        assert_eq!(drive.observe(Some(disk())), Some(Event::Stayed));
        assert_eq!(drive.observe(None), Some(Event::Gone), "it may be unplugged now");
        assert_eq!(drive.observe(Some(disk())), None, "told once");
        assert!(!drive.is_back);
    }

    #[test]
    fn without_plug_numbers_the_disk_has_to_be_seen_missing() {
        let mut drive = waited(unnumbered());
        assert_eq!(drive.observe(None), Some(Event::Gone));
        assert_eq!(drive.observe(Some(unnumbered())), Some(Event::Stayed));
        drive.was_out = true;
        assert_eq!(drive.observe(Some(unnumbered())), Some(Event::Back));
    }

    #[test]
    fn a_file_system_without_a_disk_is_mounted_and_not_back() {
        let mut drive = waited(diskless());
        assert_eq!(drive.observe(Some(diskless())), None);
        assert_eq!(drive.observe(None), Some(Event::Gone));
        assert_eq!(drive.observe(Some(diskless())), Some(Event::Mounted));
        assert!(drive.is_back);
    }

    #[test]
    fn one_file_system_without_a_disk_leaves_all_only_remounted() {
        assert_eq!(freshness(&[waited(disk()), waited(disk())]), Freshness::Replugged);
        assert_eq!(freshness(&[waited(disk()), waited(diskless())]), Freshness::Remounted);
    }

    #[test]
    fn a_folder_deep_in_a_file_system_is_no_drive_to_wait_for() {
        let folder = tempfile::tempdir().unwrap();
        let deep = folder.path().join("a/b");
        std::fs::create_dir_all(&deep).unwrap();
        let error = wait(&[deep], &|_, _| {}, &Silent).unwrap_err();
        assert!(matches!(error, FlowError::Usage(_)), "{error}");
    }
}
