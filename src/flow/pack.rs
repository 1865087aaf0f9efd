//! Packing: seals first, then parts, then list and heads, SHA256SUMS last.
//!
//! From the moment the seals are written nothing here can open the bundle any more: the key is
//! wiped, what goes on needs only the recipient that parts are sealed to. A run that fails or is
//! stopped takes its volumes away again: none is left that looks like a bundle.

use crate::base::digest::Digest;
use crate::base::monitor::{Monitor, Phase};
use crate::base::secret::{Secret, random};
use crate::flow::FlowError;
use crate::flow::engine::{self, Job, Packing};
use crate::flow::finish::{head_of, list_of, new_volume, write_index, write_seals};
use crate::flow::plan::{Planned, Request, Target};
use crate::flow::report::PackReport;
use crate::format::head::{Head, parts_hash};
use crate::format::seal::{Mode, Seal, commitment};
use crate::format::statement::Statement;
use crate::stage::seal::{Identity, Recipient};
use crate::stage::volume::{self, Writer};

/// Carries a plan out.
pub fn pack(planned: Planned, request: &Request, monitor: &dyn Monitor) -> Result<PackReport, FlowError> {
    planned.check_room()?;
    let mut volumes = Volumes::create(&planned.targets)?;
    let packed = carry_out(planned, request, &mut volumes, monitor);
    let result = packed.and_then(|report| volumes.finish().map(|()| report));
    if result.is_err() {
        // The finished ones too: alone they are no bundle.
        volumes.abandon();
    }
    result
}

fn carry_out(
    mut planned: Planned,
    request: &Request,
    volumes: &mut Volumes,
    monitor: &dyn Monitor,
) -> Result<PackReport, FlowError> {
    let bundle = Bundle::begin(request, volumes)?;
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
    /// Makes the key, writes the seals, wipes the key.
    fn begin(request: &Request, volumes: &mut Volumes) -> Result<Self, FlowError> {
        let name: [u8; 16] = random();
        let secret = Secret::random();
        let identity = Identity::from_secret(&secret);
        let kcommit = commitment(&name, secret.expose());
        let seal = Seal { bundle: name, mode: Mode::Normal, kcommit, cards: None, identity: identity.to_text() };
        for writer in volumes.drives.iter_mut().flatten() {
            write_seals(writer, &seal, &request.recipients, request.passphrase.as_ref())?;
        }
        Ok(Self { name, kcommit, recipient: identity.recipient() })
    }

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
struct Volumes {
    drives: Vec<Vec<Writer>>,
}

impl Volumes {
    fn create(targets: &[Target]) -> Result<Self, FlowError> {
        let mut volumes = Self { drives: Vec::new() };
        let mut devices: Vec<u64> = Vec::new();
        for (at, target) in targets.iter().enumerate() {
            match new_volume(&target.path, at as u16 + 1) {
                Ok(writer) => match devices.iter().position(|device| *device == target.device) {
                    Some(drive) => volumes.drives[drive].push(writer),
                    None => {
                        devices.push(target.device);
                        volumes.drives.push(vec![writer]);
                    }
                },
                Err(error) => {
                    volumes.abandon();
                    return Err(error);
                }
            }
        }
        Ok(volumes)
    }

    /// SHA256SUMS on every volume, now that all of them hold all they should.
    fn finish(&mut self) -> Result<(), FlowError> {
        for writer in self.drives.iter_mut().flatten() {
            writer.finish()?;
        }
        Ok(())
    }

    fn abandon(self) {
        self.drives.into_iter().flatten().for_each(Writer::abandon);
    }
}
