//! Packs a bundle as planned: the seals come first, then the parts, then list and heads, and SHA256SUMS last.
//!
//! Once the seals are written this run cannot open the bundle: the key is wiped, and all further work needs only the
//! recipient that parts are sealed to. A drive that fails does not stop the others; its parts go to them. A run that is
//! stopped after its first part leaves its parts and a journal, and the same command goes on from there. None of its
//! volumes looks complete.
//!
//! Not guaranteed: that a drive goes on keeping its data. It is read back once, before the volumes look complete.

mod begin;
mod parity_builder;
mod part_ledger;
mod part_sealer;
mod pipeline;
pub(crate) mod plan;
mod repack;
pub(crate) mod report;
pub(crate) mod request;
pub(crate) mod resume;
mod second_look;
mod settle;
mod source_reader;
mod volume_set;

use crate::base::digest::Digest;
use crate::base::entry::{Flag, Kind};
use crate::base::monitor::{Monitor, Note, NoteKind, Phase};
use crate::base::path::as_bytes;
use crate::flow::bundle::index_files::{Sealable, head_of, list_of, write_index};
use crate::flow::drives::capacity_test::test_capacity;
use crate::flow::drives::mounts::SHOWS_TIMES;
use crate::flow::drives::read_back::read_back;
use crate::flow::error::{DriveError, Remedy};
use crate::flow::pack::begin::BundleIdentity;
use crate::flow::pack::part_ledger::{BundleShape, PartLedger};
use crate::flow::pack::pipeline::{PackJob, PipelineResult};
use crate::flow::pack::plan::Planned;
use crate::flow::pack::repack::Repacker;
use crate::flow::pack::report::PackReport;
use crate::flow::pack::request::PackRequest;
use crate::flow::pack::resume::leftover::Left;
use crate::flow::pack::second_look::look_again;
use crate::flow::pack::settle::Settler;
use crate::flow::pack::volume_set::VolumeSet;
use crate::flow::{FlowError, Outcome};
use crate::format::head::{Head, Part, parts_hash};
use crate::format::statement::Statement;
use crate::format::volume_number::VolumeNumber;
use crate::stage::journal::JournalWriter;
use crate::stage::volume::Writer;

/// Carries a plan out.
///
/// # Errors
/// The drives fail or have no room, a source is gone, something to be sealed breaks the format, or the user asked to
/// stop. The volumes are then left to a later run, or removed if no run could go on from them.
pub(crate) fn pack(
    mut planned: Planned,
    request: &PackRequest,
    monitor: &dyn Monitor,
) -> Result<PackReport, FlowError> {
    planned.check_room()?;
    let replaced = request.replaced && planned.left.is_some();
    let left = take_usable_leftover(&mut planned)?;
    let is_resumed = left.is_some();
    test_capacity(&begin::untouched_drives(&planned, request), monitor)?;
    let mut volumes = VolumeSet::new();
    let begun = match left {
        Some(left) => begin::resume(&mut volumes, &planned, request, left, monitor),
        None => begin::begin(&mut volumes, &planned, request, monitor),
    };
    let (bundle, log) = match begun {
        Ok(begun) => begun,
        Err(error) if is_resumed => return Err(error),
        Err(error) => {
            volumes.abandon(|| begin::remove_journals(&planned));
            return Err(error);
        }
    };
    let packing = StartedPacking { request, bundle: &bundle, log: &log, replaced, monitor };
    match packing.carry_out(planned, &mut volumes) {
        Ok(report) => remove_journal(log, report),
        Err(error) => Err(retreat(error, volumes, log, is_resumed)),
    }
}

/// Takes the leftover of an earlier run out of the plan. If no part of it stays, the leftover is removed, and the
/// packing begins anew: `None`.
fn take_usable_leftover(planned: &mut Planned) -> Result<Option<Left>, FlowError> {
    match planned.left.take() {
        Some(left) if planned.before.recipes.is_empty() => left.remove().map(|()| None),
        left => Ok(left),
    }
}

/// Removes the journal of a bundle that is complete.
///
/// # Errors
/// The journal stays. That is no error if a drive was given up, because the journal may lie on that one.
fn remove_journal(log: JournalWriter, report: PackReport) -> Result<PackReport, FlowError> {
    match log.remove() {
        Err(fault) if report.given_up.is_empty() => Err(fault.into()),
        Ok(()) | Err(_) => Ok(report),
    }
}

/// Ends a packing that failed with `error`, and returns the error to report. The volumes stay if a later run can go on
/// from them, and are removed otherwise.
fn retreat(error: FlowError, volumes: VolumeSet, log: JournalWriter, is_resumed: bool) -> FlowError {
    let has_parts = log.parts() > 0;
    if let FlowError::Drive(DriveError::NoHome { parts, bytes, why, remedy }) = error {
        volumes.leave();
        let remedy = if has_parts { remedy } else { Remedy::None };
        return DriveError::NoHome { parts, bytes, why, remedy }.into();
    }
    // No later run builds on the work of a run that failed by a defect.
    if (is_resumed || has_parts) && error.outcome() != Outcome::Failed {
        volumes.leave();
    } else {
        volumes.abandon(|| drop(log.remove()));
    }
    error
}

/// A packing whose seals are written.
struct StartedPacking<'a> {
    request: &'a PackRequest,
    bundle: &'a BundleIdentity,
    log: &'a JournalWriter,
    /// Whether another drive took the place of one that an interrupted run wrote to.
    replaced: bool,
    monitor: &'a dyn Monitor,
}

impl<'a> StartedPacking<'a> {
    /// Packs all parts, then gives every part a home and publishes the bundle. Both are done again as long as drives
    /// fail meanwhile.
    fn carry_out(&self, mut planned: Planned, volumes: &mut VolumeSet) -> Result<PackReport, FlowError> {
        let packing = self.fill_drives(&planned, volumes)?;
        let PipelineResult { parts, unwritten, recipes, failed, distrusted, files, notes } = packing;
        record_files(&mut planned, &files, notes)?;
        look_again(&mut planned, self.monitor)?;
        let (list, list_hash) = list_of(&planned.walk.entries, planned.layout.len)?;
        let all_read_back = volumes.writers().all(Writer::is_read_back);
        let job = self.job(&planned);
        let repacker = Repacker { job: &job, files: &files, recipes: &recipes };
        let ledger = ledger_of(&planned, recipes.len() as u32, parts, unwritten);
        let mut settler = Settler::new(ledger, volumes, self.monitor);
        settler.take_losses(distrusted, failed)?;
        loop {
            let spared = settler.settle(&repacker)?;
            self.log.settle();
            let head = self.head(&planned, settler.ledger().parts(), list_hash);
            if let Some(past_cache) = self.publish(&mut settler, &list, &head)? {
                let report = self.report(&planned, &settler, &head);
                let past_cache = past_cache && all_read_back;
                return Ok(PackReport { spared, read_back: all_read_back, past_cache, ..report });
            }
        }
    }

    /// Packs everything onto the drives, once.
    fn fill_drives(&self, planned: &Planned, volumes: &mut VolumeSet) -> Result<PipelineResult, FlowError> {
        self.monitor.phase(Phase::Packing, planned.layout.len);
        for (number, volume) in VolumeNumber::numbered(&planned.plan.volumes) {
            self.monitor.expect(number.get(), volume.expected);
        }
        // A write after this moment shows in the times of its file, however coarse these are.
        std::thread::sleep(planned.walk.until_times_tell());
        pipeline::run(&self.job(planned), planned.placement.clone(), volumes.drives_mut())
    }

    /// Writes list and heads to every volume, reads the drives back, and lets all volumes look complete. Returns
    /// whether everything was read past the system's cache; `None` if a drive failed, so that parts may need new homes.
    fn publish(&self, settler: &mut Settler<Writer>, list: &Sealable, head: &Head) -> Result<Option<bool>, FlowError> {
        let head = head_of(head)?;
        let failed = settler.volumes_mut().write_to_each(self.monitor, |writer| {
            write_index(writer, list, &head, &self.bundle.recipient)?;
            writer.write_sums()
        })?;
        if !failed.is_empty() {
            for (drive, fault) in failed {
                settler.lose_drive(drive, fault.into())?;
            }
            return Ok(None);
        }
        let (findings, past_cache) = read_back(settler.volumes().drives(), self.monitor)?;
        if settler.take_findings(findings)? {
            return Ok(None);
        }
        match settler.volumes_mut().finish() {
            None => Ok(Some(past_cache)),
            Some((drive, fault)) => settler.lose_drive(drive, fault.into()).map(|()| None),
        }
    }

    /// The report of a complete bundle. The caller fills in how many parts are left to parity, and what was read back.
    fn report(&self, planned: &Planned, settler: &Settler<Writer>, head: &Head) -> PackReport {
        let volumes = settler.volumes();
        for writer in volumes.writers().filter(|writer| writer.shows_times()) {
            self.monitor.note(&Note::new(NoteKind::Property, as_bytes(writer.dir()), SHOWS_TIMES));
        }
        let ledger = settler.ledger();
        let on_volumes = volumes.writers().map(|writer| (writer.dir().to_path_buf(), ledger.bytes_on(writer.number())));
        PackReport {
            fingerprint: head.statement.fingerprint(),
            parts: head.parts.len(),
            read_back: false,
            past_cache: false,
            volumes: on_volumes.collect(),
            given_up: volumes.given_up(),
            distrusted: volumes.distrusted(),
            spared: 0,
            replaced: self.replaced,
            plan: planned.plan.clone(),
            notes: planned.notes.clone(),
        }
    }

    /// What is packed, as all threads see it.
    fn job<'j>(&'j self, planned: &'j Planned) -> PackJob<'j> {
        PackJob {
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

    /// The head of a bundle of these parts.
    fn head(&self, planned: &Planned, parts: Vec<Part>, list_hash: Digest) -> Head {
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

/// Records digest and flag of each file for the list, and the notes for the report.
///
/// # Errors
/// The source of an unreadable file is gone: a file counts as unreadable only if its source still answers.
fn record_files(planned: &mut Planned, files: &[(Digest, Flag)], notes: Vec<Note>) -> Result<(), FlowError> {
    let unreadable = files.iter().enumerate().filter(|(_, (_, flag))| *flag == Flag::Unreadable);
    planned.walk.answer(unreadable.map(|(at, _)| at))?;
    for (entry, (digest, flag)) in planned.walk.entries.iter_mut().zip(files) {
        if entry.kind == Kind::File {
            entry.sha256 = Some(*digest);
            entry.flag = *flag;
        }
    }
    planned.notes.extend(notes);
    planned.notes.extend(planned.walk.dropped());
    Ok(())
}

/// The ledger of the parts that the pipeline wrote, and of those that it could not write.
fn ledger_of(planned: &Planned, data_parts: u32, written: Vec<Part>, unwritten: Vec<Part>) -> PartLedger {
    let shape = BundleShape {
        data_parts,
        scheme: planned.geometry.scheme,
        class: planned.geometry.class,
        volumes: planned.targets.len() as u16,
    };
    let from_earlier_run = planned.before.parts.iter().map(Part::id).collect();
    PartLedger::new(shape, planned.placement.clone(), &from_earlier_run, written, unwritten)
}

#[cfg(test)]
mod tests;
