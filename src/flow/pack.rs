//! Packing: seals first, then parts, then list and heads, SHA256SUMS last.
//!
//! From the moment the seals are written nothing here can open the bundle any more: the key is
//! wiped, what goes on needs only the recipient that parts are sealed to. A drive that fails does not stop
//! the others; what it should have kept goes to them. A run that is stopped leaves what it packed, and
//! a journal, for the same command to go on from; no volume of it looks complete.

use crate::base::entry::{Flag, Kind};
use crate::base::monitor::{Monitor, Phase};
use crate::flow::FlowError;
use crate::flow::engine::{self, Job, Packing};
use crate::flow::error::Remedy;
use crate::flow::finish::{head_of, list_of};
use crate::flow::plan::Planned;
use crate::flow::readback::read_back;
use crate::flow::report::PackReport;
use crate::flow::request::Request;
use crate::flow::settle::Table;
use crate::flow::trial::before_packing;
use crate::flow::volumes::{Bundle, Volumes};
use crate::format::head::{Head, Part, parts_hash};
use crate::format::statement::Statement;
use crate::stage::journal::Log;
use crate::stage::volume;

/// Carries a plan out.
pub fn pack(mut planned: Planned, request: &Request, monitor: &dyn Monitor) -> Result<PackReport, FlowError> {
    planned.check_room()?;
    let replaced = request.replaced && planned.left.is_some();
    let left = match planned.left.take() {
        Some(left) if planned.before.recipes.is_empty() => left.remove().map(|()| None)?,
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
    let run = Run { request, bundle: &bundle, log: &log, replaced, monitor };
    let packed = run.carry_out(planned, &mut volumes);
    match packed {
        Ok(report) => match log.remove() {
            // It may lie on a drive that was given up.
            Err(fault) if report.given_up.is_empty() => Err(fault.into()),
            _ => Ok(report),
        },
        Err(FlowError::NoHome { parts, bytes, why, remedy }) => {
            volumes.leave();
            let remedy = if log.parts() > 0 { remedy } else { Remedy::None };
            Err(FlowError::NoHome { parts, bytes, why, remedy })
        }
        // A defect is no good beginning.
        Err(error) if (resumed || log.parts() > 0) && !matches!(error, FlowError::Defect(_)) => {
            volumes.leave();
            Err(error)
        }
        Err(error) => Err(volumes.abandon(Some(log), error)),
    }
}

/// A packing that has begun.
struct Run<'a> {
    request: &'a Request,
    bundle: &'a Bundle,
    log: &'a Log,
    /// Whether another drive took the place of one that an interrupted run wrote to.
    replaced: bool,
    monitor: &'a dyn Monitor,
}

impl<'a> Run<'a> {
    fn carry_out(&self, mut planned: Planned, volumes: &mut Volumes) -> Result<PackReport, FlowError> {
        self.monitor.phase(Phase::Packing, planned.layout.len);
        for (number, volume) in (1..).zip(&planned.plan.volumes) {
            self.monitor.expect(number, volume.expected);
        }
        let packing = engine::run(&self.job(&planned), planned.placement.clone(), &mut volumes.drives)?;
        let Packing { parts, unwritten, recipes, failed, distrusted, files, notes } = packing;
        // What is said of a file holds only if its source was there all along.
        let unreadable = files.iter().enumerate().filter(|(_, (_, flag))| *flag == Flag::Unreadable);
        planned.walk.answer(unreadable.map(|(at, _)| at))?;
        for (entry, (digest, flag)) in planned.walk.entries.iter_mut().zip(&files) {
            if entry.kind == Kind::File {
                (entry.sha256, entry.flag) = (Some(*digest), *flag);
            }
        }
        planned.notes.extend(notes);
        let (list, list_hash) = list_of(&planned.walk.entries)?;
        let job = self.job(&planned);
        let room = (planned.placement.clone(), planned.targets.len() as u16);
        let mut table = Table::new(&job, &files, recipes, (parts, unwritten), room);
        for drive in distrusted {
            table.distrust(volumes, drive);
        }
        for failed in failed {
            table.drive_failed(volumes, failed)?;
        }
        let (head, spared, past_cache) = loop {
            let spared = table.settle(volumes)?;
            self.log.settle();
            let head = self.head(&planned, table.parts(), list_hash);
            let failed = volumes.write_index(&list, &head_of(&head)?, &self.bundle.recipient, self.monitor)?;
            let standing = failed.is_empty();
            for (drive, fault) in failed {
                table.give_up(volumes, drive, fault.into())?;
            }
            if standing {
                let (findings, past_cache) = read_back(&volumes.drives, self.monitor)?;
                if !table.take_findings(volumes, findings)? {
                    match volumes.finish() {
                        None => break (head, spared, past_cache),
                        Some((drive, fault)) => table.give_up(volumes, drive, fault.into())?,
                    }
                }
            }
        };
        let numbers: Vec<u16> = volumes.writers().map(|writer| writer.number()).collect();
        let folder = |number: &u16| volume::folder(&planned.targets[usize::from(*number) - 1].path, *number);
        Ok(PackReport {
            fingerprint: head.statement.fingerprint(),
            parts: head.parts.len(),
            read_back: volumes.all_read_back,
            past_cache: past_cache && volumes.all_read_back,
            volumes: numbers.iter().map(|number| (folder(number), table.bytes_on(*number))).collect(),
            given_up: volumes.given_up.clone(),
            distrusted: volumes.distrusted(),
            spared,
            replaced: self.replaced,
            plan: planned.plan.clone(),
            notes: planned.notes.clone(),
        })
    }

    fn job<'j>(&'j self, planned: &'j Planned) -> Job<'j> {
        Job {
            walk: &planned.walk,
            layout: &planned.layout,
            class: planned.geometry.class,
            bundle: self.bundle.name,
            recipient: &self.bundle.recipient,
            level: self.request.level,
            estimate: planned.estimate,
            scheme: planned.geometry.scheme,
            before: &planned.before,
            log: self.log,
            monitor: self.monitor,
        }
    }

    fn head(&self, planned: &Planned, parts: Vec<Part>, list_hash: crate::base::digest::Digest) -> Head {
        let statement = Statement {
            bundle: self.bundle.name,
            kcommit: self.bundle.kcommit,
            profile: "open".into(),
            scheme: planned.geometry.scheme,
            t: None,
            n: planned.targets.len() as u16,
            class: planned.geometry.class,
            parts: parts.len() as u32,
            tar: planned.layout.len,
            parts_hash: parts_hash(&parts),
            list_hash,
            date: None,
            audience: None,
            seq: None,
            reply: None,
        };
        Head { statement, auth: Vec::new(), parts }
    }
}
