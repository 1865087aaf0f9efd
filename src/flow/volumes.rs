//! The volumes of a bundle while it is packed: begun, gone on with, given up, finished.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use crate::base::digest::{Digest, sha256};
use crate::base::fault::{At, IoFault};
use crate::base::monitor::{Monitor, Note, NoteKind};
use crate::base::os;
use crate::base::path::as_bytes;
use crate::base::secret::{Secret, random};
use crate::flow::FlowError;
use crate::flow::finish::{Sealable, new_volume, seals, write_index};
use crate::flow::left::Left;
use crate::flow::plan::{Planned, Target};
use crate::flow::request::Request;
use crate::flow::resume::{Kept, options};
use crate::format::journal::{self, Opening, Read, Written};
use crate::format::part::is_part;
use crate::format::seal::{Mode, Seal, commitment};
use crate::stage::journal::{JOURNAL, Log};
use crate::stage::seal::{Identity, Recipient};
use crate::stage::volume::{self, SUMS, Writer};

/// What is known of the bundle once its seals are written: no key.
pub struct Bundle {
    /// Its name.
    pub name: [u8; 16],
    /// What the seals commit to.
    pub kcommit: Digest,
    /// Whom everything else is sealed to.
    pub recipient: Recipient,
}

/// Where the journal is: on the first volume, and on one of another drive, for the first may be the one that
/// fails.
fn journals(planned: &Planned) -> Vec<PathBuf> {
    let first = planned.targets[0].device;
    let other = planned.targets.iter().position(|target| target.device != first);
    let folder = |at: usize| volume::folder(&planned.targets[at].path, at as u16 + 1);
    [Some(0), other].into_iter().flatten().map(folder).collect()
}

/// The volumes being written, grouped by file system.
#[derive(Default)]
pub struct Volumes {
    /// Those of each drive; none once it is given up.
    pub drives: Vec<Vec<Writer>>,
    devices: Vec<u64>,
    /// Where each drive is, for people.
    places: Vec<PathBuf>,
    /// Drives that did not keep what they were given, and are still written to.
    pub distrusted: BTreeSet<usize>,
    /// Whether some drive did not keep what it was given, also if it was given up for that.
    pub lied: bool,
    /// Drives that were given up, and why.
    pub given_up: Vec<(PathBuf, String)>,
    /// Whether all are read back.
    pub all_read_back: bool,
}

impl Volumes {
    fn add(&mut self, target: &Target, mut writer: Writer, verify: Option<bool>) {
        let verify = verify.unwrap_or_else(|| os::block(target.device).is_removable());
        self.all_read_back = verify && (self.all_read_back || self.drives.is_empty());
        if verify {
            writer.remember();
        }
        match self.devices.iter().position(|device| *device == target.device) {
            Some(drive) => self.drives[drive].push(writer),
            None => {
                self.devices.push(target.device);
                self.places.push(target.path.clone());
                self.drives.push(vec![writer]);
            }
        }
    }

    /// All volumes that are still written.
    pub fn writers(&mut self) -> impl Iterator<Item = &mut Writer> {
        self.drives.iter_mut().flatten()
    }

    /// Makes the key, writes journal and seals, wipes the key.
    pub fn begin(&mut self, planned: &Planned, request: &Request) -> Result<(Bundle, Log), FlowError> {
        for (at, target) in planned.targets.iter().enumerate() {
            self.add(target, new_volume(&target.path, at as u16 + 1)?, request.verify);
        }
        let name: [u8; 16] = random();
        let secret = Secret::random();
        let identity = Identity::from_secret(&secret);
        let kcommit = commitment(&name, secret.expose());
        let seal = Seal { bundle: name, mode: Mode::Normal, kcommit, cards: None, identity: identity.to_text() };
        let bundle = Bundle { name, kcommit, recipient: identity.recipient() };
        let mut made = Vec::new();
        for volume in 1..=planned.targets.len() as u16 {
            let seals = seals(&seal, &request.recipients, request.passphrase.as_ref())?;
            made.extend(seals.into_iter().map(|(name, bytes)| (volume, name, sha256(&bytes), bytes)));
        }
        let opening = Opening {
            bundle: name,
            recipient: bundle.recipient.to_string(),
            kcommit,
            class: planned.geometry.class,
            scheme: planned.geometry.scheme,
            options: options(request),
            whom: planned.whom,
            volumes: planned.targets.len() as u16,
            seals: made.iter().map(|(volume, name, sum, _)| (*volume, name.to_string(), *sum)).collect(),
            stamps: planned.walk.marks(),
        };
        let log = Log::create(&journals(planned), &opening.encode())?;
        for (volume, name, sum, bytes) in &made {
            if let Some(writer) = self.writers().find(|writer| writer.number() == *volume) {
                writer.put(name, bytes, *sum)?;
            }
        }
        Ok((bundle, log))
    }

    /// Goes on with what an earlier run began: what does not stay is removed, the journal is written
    /// anew without it.
    pub fn take_up(&mut self, planned: &Planned, request: &Request, left: Left) -> Result<(Bundle, Log), FlowError> {
        let before = &planned.before;
        let mut opening = left.journal()?.opening.clone();
        let recipient = Recipient::parse(&opening.recipient);
        let recipient = recipient.map_err(|error| FlowError::Damaged(format!("the journal names nobody: {error}")))?;
        let bundle = Bundle { name: opening.bundle, kcommit: opening.kcommit, recipient };
        let kept = left.keep(before)?;
        opening.volumes = planned.targets.len() as u16;
        opening.seals.clear();
        for (at, Kept { sums, seals }) in kept.iter().enumerate() {
            let seals = seals.iter().map(|(name, bytes)| (name, sha256(bytes)));
            let known = sums.iter().filter(|(name, _)| !is_part(name));
            let all = known.map(|(name, sum)| (name, *sum)).chain(seals);
            opening.seals.extend(all.map(|(name, sum)| (at as u16 + 1, name.clone(), sum)));
        }
        let mut text = opening.encode();
        before.reads.iter().for_each(|read: &Read| text.push_str(&read.encode()));
        before.recipes.iter().for_each(|(number, made)| text.push_str(&journal::recipe(*number, made)));
        before.parts.iter().for_each(|part| text.push_str(&Written::of(part).encode()));
        // Of drives that are new, before the journal comes to one.
        let mut fresh = BTreeMap::new();
        for (number, target) in (1..).zip(&planned.targets) {
            if volume::is_free(&volume::folder(&target.path, number)) {
                fresh.insert(number, new_volume(&target.path, number)?);
            }
        }
        // Before the journal forgets parts that they list: whose those are would not be known any more.
        for folder in left.folders.iter().filter(|folder| folder.join(SUMS).exists()) {
            volume::take_back(folder).at("remove", &folder.join(SUMS))?;
        }
        let folders = journals(planned);
        let log = Log::create(&folders, &text)?;
        for other in left.folders.iter().filter(|folder| !folders.contains(folder)) {
            os::remove_if_there(&other.join(JOURNAL)).at("remove", &other.join(JOURNAL))?;
        }
        for (at, (target, Kept { sums, seals })) in planned.targets.iter().zip(kept).enumerate() {
            let number = at as u16 + 1;
            let mut writer = match fresh.remove(&number) {
                Some(writer) => writer,
                None => Writer::take_up(&target.path, number, sums)?,
            };
            for (name, bytes) in seals {
                writer.put(&name, &bytes, sha256(&bytes))?;
            }
            self.add(target, writer, request.verify);
        }
        Ok((bundle, log))
    }

    /// Numbers of a drive's volumes.
    pub fn numbers(&self, drive: usize) -> Vec<u16> {
        self.drives[drive].iter().map(Writer::number).collect()
    }

    /// Gives up a drive: its volumes are left as they are, incomplete.
    ///
    /// # Errors
    /// It was the last one.
    pub fn give_up(&mut self, drive: usize, why: FlowError, monitor: &dyn Monitor) -> Result<(), FlowError> {
        if self.drives.iter().filter(|writers| !writers.is_empty()).count() < 2 {
            return Err(why);
        }
        let place = &self.places[drive];
        let text = "is given up: nothing on it is a part of this bundle any more, even where `check` calls it whole";
        monitor.note(&Note::new(NoteKind::Drive, as_bytes(place), text));
        self.given_up.push((place.clone(), why.to_string()));
        self.distrusted.remove(&drive);
        self.numbers(drive).iter().for_each(|volume| monitor.verdict(*volume, "given up"));
        std::mem::take(&mut self.drives[drive]).into_iter().for_each(Writer::leave);
        Ok(())
    }

    /// Where a drive is, for people.
    pub fn place(&self, drive: usize) -> &Path {
        &self.places[drive]
    }

    /// Where drives are that did not keep what they were given, and are a part of the bundle.
    pub fn distrusted(&self) -> Vec<PathBuf> {
        self.distrusted.iter().map(|drive| self.places[*drive].clone()).collect()
    }

    /// Writes list, heads and SHA256SUMS without its name on every volume; the drives that failed at that.
    pub fn write_index(
        &mut self,
        list: &Sealable,
        head: &Sealable,
        recipient: &Recipient,
        monitor: &dyn Monitor,
    ) -> Result<Vec<(usize, IoFault)>, FlowError> {
        let mut failed = Vec::new();
        for (at, drive) in self.drives.iter_mut().enumerate() {
            if monitor.cancelled() {
                return Err(FlowError::Cancelled);
            }
            let written = drive.iter_mut().try_for_each(|writer| {
                write_index(writer, list, head, recipient)?;
                writer.write_sums()
            });
            failed.extend(written.err().map(|fault| (at, fault)));
        }
        Ok(failed)
    }

    /// Lets every volume look complete, now that all of them hold all they should, and are known to. If one
    /// fails at that, none does: which, and how.
    pub fn finish(&mut self) -> Option<(usize, IoFault)> {
        for (at, drive) in self.drives.iter_mut().enumerate() {
            if let Err(fault) = drive.iter_mut().try_for_each(Writer::finish) {
                // As far as drives are there.
                self.writers().for_each(|writer| drop(volume::take_back(writer.dir())));
                return Some((at, fault));
            }
        }
        None
    }

    /// Leaves all to a later run.
    pub fn leave(self) {
        self.drives.into_iter().flatten().for_each(Writer::leave);
    }

    /// Takes everything away again, as far as drives are there: nothing of it would be of use. Returns
    /// why.
    pub fn abandon(self, log: Option<Log>, why: FlowError) -> FlowError {
        // What is on a drive that failed cannot be taken away: the journal tells whose it is.
        if !self.given_up.is_empty() {
            self.leave();
            return why;
        }
        let dirs: Vec<_> = self.drives.iter().flatten().map(|writer| writer.dir().to_owned()).collect();
        let kept = self.drives.into_iter().flatten().map(Writer::abandon).filter(|removed| !removed).count();
        // The journal last, and only if nothing is left: it tells whose the others are.
        if kept == 0 {
            let _ = log.map(Log::remove);
        }
        dirs.iter().for_each(|dir| drop(std::fs::remove_dir(dir)));
        why
    }
}
