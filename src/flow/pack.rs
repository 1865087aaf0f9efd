//! Packing: seals first, then parts, then list and heads, SHA256SUMS last.
//!
//! From the moment the seals are written nothing here can open the bundle any more: the key is
//! wiped, what goes on needs only the recipient that parts are sealed to. A run that is stopped
//! leaves what it packed, and a journal, for the same command to go on from; no volume of it looks
//! complete.

use crate::base::digest::{Digest, sha256};
use crate::base::monitor::{Monitor, Phase};
use crate::base::os;
use crate::base::secret::{Secret, random};
use crate::flow::FlowError;
use crate::flow::engine::{self, Job, Packing};
use crate::flow::finish::{head_of, list_of, new_volume, seals, write_index};
use crate::flow::plan::{Planned, Target};
use crate::flow::readback::read_back;
use crate::flow::report::PackReport;
use crate::flow::request::Request;
use crate::flow::resume::{Kept, Left, options};
use crate::flow::trial::before_packing;
use crate::format::head::{Head, parts_hash};
use crate::format::journal::{Opening, Read, Written};
use crate::format::seal::{Mode, Seal, commitment};
use crate::format::statement::Statement;
use crate::stage::journal::Log;
use crate::stage::seal::{Identity, Recipient};
use crate::stage::volume::{self, SUMS, Writer};

/// Carries a plan out.
pub fn pack(mut planned: Planned, request: &Request, monitor: &dyn Monitor) -> Result<PackReport, FlowError> {
    planned.check_room()?;
    let left = match planned.left.take() {
        Some(left) if planned.before.parts.is_empty() => left.remove().map(|()| None)?,
        left => left,
    };
    let resumed = left.is_some();
    before_packing(&planned, request, monitor)?;
    let mut volumes = Volumes::default();
    let begun = match left {
        Some(left) => volumes.take_up(&planned, request, left),
        None => volumes.begin(&planned, request),
    };
    let (bundle, log) = match begun {
        Ok(begun) => begun,
        Err(error) if resumed => return Err(error),
        Err(error) => return Err(volumes.abandon(None, error)),
    };
    let packed = carry_out(planned, request, &bundle, (&mut volumes, &log), monitor);
    match packed.and_then(|report| volumes.finish(monitor).map(|()| report)) {
        Ok(report) => log.remove().map(|()| report).map_err(FlowError::from),
        // A defect is no good beginning.
        Err(error) if (resumed || log.parts() > 0) && !matches!(error, FlowError::Defect(_)) => {
            volumes.leave();
            Err(error)
        }
        Err(error) => Err(volumes.abandon(Some(log), error)),
    }
}

fn carry_out(
    mut planned: Planned,
    request: &Request,
    bundle: &Bundle,
    (volumes, log): (&mut Volumes, &Log),
    monitor: &dyn Monitor,
) -> Result<PackReport, FlowError> {
    monitor.phase(Phase::Packing, planned.layout.len);
    let job = Job {
        walk: &planned.walk,
        layout: &planned.layout,
        class: planned.geometry.class,
        bundle: bundle.name,
        recipient: &bundle.recipient,
        level: request.level,
        estimate: planned.estimate,
        scheme: planned.geometry.scheme,
        before: &planned.before,
        log,
        monitor,
    };
    let Packing { parts, files, notes } = engine::run(&job, planned.placement.clone(), &mut volumes.drives)?;
    for (entry, (digest, flag)) in planned.walk.entries.iter_mut().zip(files) {
        if entry.kind == crate::base::entry::Kind::File {
            (entry.sha256, entry.flag) = (Some(digest), flag);
        }
    }
    let (list, list_hash) = list_of(&planned.walk.entries)?;
    let statement = bundle.statement(&planned, parts.len() as u32, parts_hash(&parts), list_hash);
    let head = Head { statement, auth: Vec::new(), parts };
    let sealable = head_of(&head)?;
    for writer in volumes.drives.iter_mut().flatten() {
        if monitor.cancelled() {
            return Err(FlowError::Cancelled);
        }
        write_index(writer, &list, &sealable, &bundle.recipient)?;
    }
    planned.notes.extend(notes);
    let part = planned.geometry.class.file_len() as u64;
    let bytes_on = |at: usize| head.parts.iter().filter(|p| usize::from(p.volume) == at + 1).count() as u64 * part;
    let folders = planned.targets.iter().enumerate().map(|(at, target)| volume::folder(&target.path, at as u16 + 1));
    Ok(PackReport {
        fingerprint: head.statement.fingerprint(),
        parts: head.parts.len(),
        read_back: volumes.all_read_back,
        volumes: folders.enumerate().map(|(at, folder)| (folder, bytes_on(at))).collect(),
        plan: planned.plan,
        notes: planned.notes,
    })
}

/// What is known of the bundle once its seals are written: no key.
struct Bundle {
    name: [u8; 16],
    kcommit: Digest,
    recipient: Recipient,
}

impl Bundle {
    fn statement(&self, planned: &Planned, parts: u32, parts_hash: Digest, list_hash: Digest) -> Statement {
        Statement {
            bundle: self.name,
            kcommit: self.kcommit,
            profile: "open".into(),
            scheme: planned.geometry.scheme,
            t: None,
            n: planned.targets.len() as u16,
            class: planned.geometry.class,
            parts,
            tar: planned.layout.len,
            parts_hash,
            list_hash,
            date: None,
            audience: None,
            seq: None,
            reply: None,
        }
    }
}

/// The volumes being written, grouped by file system.
#[derive(Default)]
struct Volumes {
    drives: Vec<Vec<Writer>>,
    devices: Vec<u64>,
    all_read_back: bool,
}

impl Volumes {
    fn add(&mut self, target: &Target, mut writer: Writer, verify: Option<bool>) {
        let verify = verify.unwrap_or_else(|| os::is_removable(target.device));
        self.all_read_back = verify && (self.all_read_back || self.drives.is_empty());
        if verify {
            writer.remember();
        }
        match self.devices.iter().position(|device| *device == target.device) {
            Some(drive) => self.drives[drive].push(writer),
            None => {
                self.devices.push(target.device);
                self.drives.push(vec![writer]);
            }
        }
    }

    fn writers(&mut self) -> impl Iterator<Item = &mut Writer> {
        self.drives.iter_mut().flatten()
    }

    /// Makes the key, writes journal and seals, wipes the key.
    fn begin(&mut self, planned: &Planned, request: &Request) -> Result<(Bundle, Log), FlowError> {
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
        let first = volume::folder(&planned.targets[0].path, 1);
        let log = Log::create(&first, &opening.encode())?;
        for (volume, name, sum, bytes) in &made {
            if let Some(writer) = self.writers().find(|writer| writer.number() == *volume) {
                writer.put(name, bytes, *sum)?;
            }
        }
        Ok((bundle, log))
    }

    /// Goes on with what an earlier run began: what does not stay is removed, the journal is written
    /// anew without it.
    fn take_up(&mut self, planned: &Planned, request: &Request, left: Left) -> Result<(Bundle, Log), FlowError> {
        let before = &planned.before;
        let mut opening = left.journal.opening.clone();
        let recipient = Recipient::parse(&opening.recipient);
        let recipient = recipient.map_err(|error| FlowError::Damaged(format!("the journal names nobody: {error}")))?;
        let bundle = Bundle { name: opening.bundle, kcommit: opening.kcommit, recipient };
        let kept = left.keep(before)?;
        opening.volumes = planned.targets.len() as u16;
        opening.seals.clear();
        for (at, Kept { sums, seals }) in kept.iter().enumerate() {
            let seals = seals.iter().map(|(name, bytes)| (name, sha256(bytes)));
            let known = sums.iter().filter(|(name, _)| !crate::format::part::is_part(name));
            let all = known.map(|(name, sum)| (name, *sum)).chain(seals);
            opening.seals.extend(all.map(|(name, sum)| (at as u16 + 1, name.clone(), sum)));
        }
        let mut text = opening.encode();
        before.reads.iter().for_each(|read: &Read| text.push_str(&read.encode()));
        before.parts.iter().for_each(|part| text.push_str(&Written::of(part).encode()));
        let log = Log::create(&volume::folder(&planned.targets[0].path, 1), &text)?;
        for (at, (target, Kept { sums, seals })) in planned.targets.iter().zip(kept).enumerate() {
            let number = at as u16 + 1;
            let mut writer = match volume::is_free(&volume::folder(&target.path, number)) {
                true => new_volume(&target.path, number)?,
                false => Writer::take_up(&target.path, number, sums)?,
            };
            for (name, bytes) in seals {
                writer.put(&name, &bytes, sha256(&bytes))?;
            }
            self.add(target, writer, request.verify);
        }
        Ok((bundle, log))
    }

    /// SHA256SUMS on every volume, now that all of them hold all they should, and are known to.
    fn finish(&mut self, monitor: &dyn Monitor) -> Result<(), FlowError> {
        read_back(&self.drives, |_| true, monitor)?;
        for writer in self.writers() {
            writer.finish()?;
        }
        read_back(&self.drives, |name| name == SUMS, monitor)
    }

    /// Leaves all to a later run.
    fn leave(self) {
        self.drives.into_iter().flatten().for_each(Writer::leave);
    }

    /// Takes everything away again: nothing of it would be of use. Returns why.
    fn abandon(self, log: Option<Log>, why: FlowError) -> FlowError {
        let dirs: Vec<_> = self.drives.iter().flatten().map(|writer| writer.dir().to_owned()).collect();
        self.drives.into_iter().flatten().for_each(Writer::abandon);
        // The journal last: it tells whose the others are.
        let _ = log.map(Log::remove);
        dirs.iter().for_each(|dir| drop(std::fs::remove_dir(dir)));
        why
    }
}
