//! Waiting until drives were unplugged and plugged in again: only then what is read comes from them for
//! certain, and from no memory of the system, the drive or its reader. What is seen is that the drive
//! is gone and that one is back in its place; that it is the same one, nobody here can tell.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::base::monitor::Monitor;
use crate::base::os::{self, Mount};
use crate::base::path::show;
use crate::flow::FlowError;

/// How often drives are looked at.
const EVERY: Duration = Duration::from_millis(100);

/// What is known of the caches that may stand before what is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Freshness {
    /// Nothing: drives are read as they stand there.
    AsTheyStand,
    /// It was mounted anew. Of something that is no disk nobody sees whether it was unplugged.
    Remounted,
    /// The drives were unplugged and plugged in again.
    Replugged,
}

impl Freshness {
    /// How the report says that, if there is anything to say.
    pub fn words(self) -> Option<&'static str> {
        match self {
            Freshness::AsTheyStand => None,
            Freshness::Remounted => Some(REMOUNTED),
            Freshness::Replugged => Some(REPLUGGED),
        }
    }
}

/// How volumes were read that lie on drives which were plugged in again.
const REPLUGGED: &str = "read from the drives after they were plugged in again";

/// The same where that cannot be seen.
const REMOUNTED: &str = "read after mounting anew what is no drive that can be seen to be unplugged (a file, memory, a program, a network): \
a cache below may have answered";

/// What happened to a drive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// It is to be unplugged, and plugged in again.
    Wanted,
    /// It is not there any more.
    Gone,
    /// It was unmounted and mounted, and stayed where it was.
    Stayed,
    /// It was plugged in again.
    Back,
    /// It was mounted again, and is nothing that can be seen to be unplugged.
    Mounted,
}

/// A drive that is waited for.
struct WaitedDrive {
    /// Where it is mounted.
    at: PathBuf,
    before: Mount,
    was_gone: bool,
    /// Its disk was seen missing.
    was_out: bool,
    stayed: bool,
    is_back: bool,
}

/// Waits until every drive that holds one of `paths` has gone and come back; `tell` hears what happens. What
/// then can be said of what is read: more than that it was mounted anew only where all are disks.
///
/// # Errors
/// [`FlowError::Usage`] for what is on no drive of its own.
pub fn wait(paths: &[PathBuf], tell: &dyn Fn(Event, &Path), monitor: &dyn Monitor) -> Result<Freshness, FlowError> {
    let mut drives: Vec<WaitedDrive> = Vec::new();
    for path in paths {
        let (at, before) = drive_of(path)?;
        if drives.iter().all(|drive| drive.at != at) {
            drives.push(WaitedDrive { at, before, was_gone: false, was_out: false, stayed: false, is_back: false });
        }
    }
    drives.iter().for_each(|drive| tell(Event::Wanted, &drive.at));
    loop {
        for drive in drives.iter_mut().filter(|drive| !drive.is_back) {
            drive.look(tell);
        }
        if drives.iter().all(|drive| drive.is_back) {
            return Ok(match drives.iter().all(|drive| drive.before.is_disk) {
                true => Freshness::Replugged,
                false => Freshness::Remounted,
            });
        }
        if monitor.cancelled() {
            return Err(FlowError::Cancelled);
        }
        std::thread::sleep(EVERY);
    }
}

/// Where the drive is mounted that is given, or whose folder of a volume is.
fn drive_of(path: &Path) -> Result<(PathBuf, Mount), FlowError> {
    let real = path.canonicalize().unwrap_or_else(|_| path.to_path_buf());
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
    fn look(&mut self, tell: &dyn Fn(Event, &Path)) {
        // What is mounted there, unless the drive was pulled out and its mount stayed.
        let now = os::mounted_at(&self.at).ok().flatten().filter(|now| now.has_disk || !self.before.has_disk);
        self.was_out |= !self.before.is_plugged_in();
        match now {
            None => {
                if !std::mem::replace(&mut self.was_gone, true) {
                    tell(Event::Gone, &self.at);
                }
            }
            Some(now) if self.was_plugged_in(&now) => {
                self.is_back = true;
                let event = if self.before.is_disk { Event::Back } else { Event::Mounted };
                tell(event, &self.at);
            }
            Some(now) if now != self.before || self.was_gone => {
                self.was_gone = false;
                if !std::mem::replace(&mut self.stayed, true) {
                    tell(Event::Stayed, &self.at);
                }
            }
            Some(_) => {}
        }
    }

    /// Whether what is mounted now came after what was mounted before.
    fn was_plugged_in(&self, now: &Mount) -> bool {
        match (self.before.plugged, now.plugged) {
            (Some(before), Some(now)) => before != now,
            _ if self.before.has_disk => self.was_out,
            _ => self.was_gone || now != &self.before,
        }
    }
}
