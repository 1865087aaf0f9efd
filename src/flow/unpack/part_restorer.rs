//! Writes the contents of parts into files, on all cores. Parts that are whole on the drives come first, in any order.
//! Damaged and missing ones follow, stripe by stripe, as far as the rest of the stripe gives them back.
//!
//! A part that cannot be rebuilt is written up to its first damage. Not guaranteed: that files are right; each file is
//! compared with its digest when all its bytes are written.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::base::entry::Kind;
use crate::base::fault::IoFault;
use crate::base::monitor::{Monitor, Note, NoteKind, Phase};
use crate::base::pool::{Stop, lock, unlocked, workers};
use crate::base::threads::on_several;
use crate::flow::FlowError;
use crate::flow::bundle::open::Bundle;
use crate::flow::bundle::part_decoder::PartDecoder;
use crate::flow::bundle::part_finder::{Finder, Loaded};
use crate::flow::bundle::part_rebuilder::{PartRebuilder, rebuild_groups};
use crate::flow::bundle::rebuilt_part::RebuiltPart;
use crate::flow::drives::unreachable::{denied_among, gone_among};
use crate::flow::unpack::file_writer::{Extraction, FileWriter};
use crate::flow::unpack::report::{BadPart, PartState};
use crate::format::head::{Head, Part, PartKind};
use crate::format::part::{Class, PartBuf, parity_name};
use crate::plan::repair::{self, Margin, Verdict};
use crate::stage::compress::Decompressor;

/// The note about a parity part from which wrong parts came.
const UNFIT: &str = "is as it was sealed, and it or another part of its stripe does not fit the others: nothing was \
delivered that was made with it";

/// How the placing of parts ended.
#[derive(Default)]
pub(crate) struct Placed {
    /// Parts that could not be used whole, ascending by number.
    pub(crate) bad: Vec<BadPart>,
    /// Parts that were rebuilt, ascending by number, with what was wrong with them.
    pub(crate) mended: Vec<BadPart>,
    /// What can be recovered with the drives given.
    pub(crate) verdict: Verdict,
    /// How much more may be lost, as far as this run looked; `None` without parity, and if earlier runs placed parts.
    pub(crate) margin: Option<Margin>,
    /// Why the target took no more. The files that were whole by then are delivered.
    pub(crate) failed: Option<IoFault>,
    /// Folders of volumes whose drives stopped answering. Their parts count as missing, not as damaged.
    pub(crate) gone: Vec<PathBuf>,
    /// Folders of volumes of which this user may not read everything.
    pub(crate) denied: Vec<PathBuf>,
}

/// Opens and places the data parts with these numbers, which ascend. `rebuilt` are those that earlier rounds rebuilt.
pub(crate) fn place_parts(
    bundle: &Bundle,
    extraction: &Extraction,
    parts: &[u32],
    rebuilt: &[BadPart],
    monitor: &dyn Monitor,
) -> Result<Placed, FlowError> {
    let class = bundle.head.statement.class;
    monitor.phase(Phase::Unpacking, parts.len() as u64 * class.file_len() as u64);
    let finder = Finder::new(bundle);
    let placing = Placing::new(bundle, &finder, extraction, monitor);
    let mut failed = placing.each(parts, |tools, number| placing.load(*number, tools))?;
    if failed.is_none() {
        let damaged = std::mem::take(&mut *lock(&placing.damaged));
        failed = placing.each(&rebuild_groups(&damaged, class), |tools, parts| placing.rebuild(parts, tools))?;
    }
    let wrong_parity = placing.rebuilder.wrong_parity();
    let mut placed = unlocked(placing.placed);
    placed.failed = failed;
    if !placed.bad.is_empty() || !placed.mended.is_empty() {
        placed.count_gone_as_missing(gone_among(&bundle.volumes), &bundle.head, &finder);
        placed.denied = denied_among(&bundle.volumes);
    }
    for number in &wrong_parity {
        monitor.note(&Note::new(NoteKind::Volume, parity_name(*number).as_bytes(), UNFIT));
    }
    let findings = Findings {
        tried: parts,
        defective: placed.bad.iter().chain(&placed.mended).map(|part| part.number).collect(),
        placed_before: extraction.staging.placed(),
        wrong_parity,
    };
    let parts = bundle.head.parts.iter();
    let mut there: Vec<bool> = parts.map(|part| findings.seems_there(part, &finder, &placed.gone)).collect();
    placed.verdict = repair::judge(&bundle.head, &there);
    // They are placed, and still no drive has them whole.
    rebuilt.iter().for_each(|part| there[part.number as usize - 1] = false);
    placed.margin = repair::margin(&bundle.head, &there);
    placed.bad.sort_by_key(|part| part.number);
    placed.mended.sort_by_key(|part| part.number);
    Ok(placed)
}

impl Placed {
    /// Turns damage into absence where the only known files of a part are on drives that are gone: of what could not
    /// be read nothing is known.
    fn count_gone_as_missing(&mut self, gone: Vec<PathBuf>, head: &Head, finder: &Finder) {
        for bad in self.bad.iter_mut().chain(&mut self.mended).filter(|bad| bad.state == PartState::Damaged) {
            if finder.is_gone(&head.parts[bad.number as usize - 1], &gone) {
                bad.state = PartState::Missing;
                bad.why = "its drive is gone".into();
            }
        }
        self.gone = gone;
    }
}

/// What this run and earlier runs know of parts that they read.
struct Findings<'a> {
    /// Numbers of the data parts that this run read, ascending.
    tried: &'a [u32],
    /// Those of them that were bad on the drives, rebuilt ones included.
    defective: BTreeSet<u32>,
    /// Numbers of the data parts that this run and earlier runs placed.
    placed_before: BTreeSet<u32>,
    /// Numbers of the parity parts that do not fit.
    wrong_parity: BTreeSet<u32>,
}

impl Findings<'_> {
    /// Whether the drives have a part whole. The finder guesses for parts that were not read; `gone` has the folders of
    /// volumes that it leaves out.
    fn seems_there(&self, part: &Part, finder: &Finder, gone: &[PathBuf]) -> bool {
        self.is_there(part).unwrap_or_else(|| finder.seems_there(part, gone))
    }

    /// Whether the drives have a part whole; `None` if it was not read.
    fn is_there(&self, part: &Part) -> Option<bool> {
        match part.kind {
            PartKind::Data { .. } if self.tried.binary_search(&part.number).is_ok() => {
                Some(!self.defective.contains(&part.number))
            }
            PartKind::Data { .. } => self.placed_before.contains(&part.number).then_some(true),
            PartKind::Parity => self.wrong_parity.contains(&part.number).then_some(false),
        }
    }
}

/// The placing of parts, shared by all threads.
struct Placing<'a> {
    bundle: &'a Bundle,
    finder: &'a Finder<'a>,
    extraction: &'a Extraction<'a>,
    rebuilder: PartRebuilder<'a>,
    /// Whether every file is compared with a digest before it is delivered.
    has_digests: bool,
    monitor: &'a dyn Monitor,
    /// Parts that may be rebuilt, by their stripe.
    damaged: Mutex<BTreeMap<u32, Vec<&'a Part>>>,
    placed: Mutex<Placed>,
}

/// What one thread uses for all its parts.
struct Tools<'a> {
    writer: FileWriter<'a>,
    decompressor: Decompressor,
    /// Made for the first part: a thread that finds no part left needs no buffer.
    buf: Option<PartBuf>,
}

/// What is wrong with a part.
struct PartDefect {
    /// How many chunks at its beginning can be read.
    readable: usize,
    /// Whether some of them were rebuilt, so that no tag and no digest of the part proves them.
    is_doubtful: bool,
    state: PartState,
    /// A phrase for the user.
    why: String,
}

impl PartDefect {
    /// `None` if the part is whole.
    fn of(loaded: &Loaded, chunks: usize) -> Option<Self> {
        let (state, why) = match loaded {
            Loaded::Whole => return None,
            Loaded::Partly { why, .. } => (PartState::Damaged, why.clone()),
            Loaded::Unread { why } => (PartState::Unread, why.clone()),
            Loaded::Missing => (PartState::Missing, "was not found".into()),
        };
        let readable = loaded.bad(chunks).first().copied().unwrap_or(chunks);
        Some(Self { readable, is_doubtful: false, state, why })
    }

    /// All chunks are there, and their content is not what it should be.
    fn of_content(why: String) -> Self {
        Self { readable: 0, is_doubtful: false, state: PartState::Damaged, why }
    }

    /// What is left of the defect after the part was rebuilt as far as possible.
    fn after(self, rebuilt: &RebuiltPart, has_digests: bool) -> Self {
        let why = if rebuilt.is_wrong() {
            format!("{}, and the others of its stripe give another part than the head names", self.why)
        } else {
            self.why
        };
        let is_doubtful = has_digests && rebuilt.is_doubtful();
        Self { readable: rebuilt.readable(has_digests), is_doubtful, why, state: self.state }
    }

    /// The defect as the user is told it.
    fn report(&self, part: &Part) -> BadPart {
        BadPart { number: part.number, volume: part.volume, state: self.state, why: self.why.clone() }
    }
}

impl<'a> Placing<'a> {
    fn new(
        bundle: &'a Bundle,
        finder: &'a Finder<'a>,
        extraction: &'a Extraction<'a>,
        monitor: &'a dyn Monitor,
    ) -> Self {
        Self {
            bundle,
            finder,
            extraction,
            rebuilder: PartRebuilder::new(&bundle.head, finder),
            has_digests: extraction.entries.iter().all(|entry| entry.kind != Kind::File || entry.sha256.is_some()),
            monitor,
            damaged: Mutex::default(),
            placed: Mutex::default(),
        }
    }

    fn class(&self) -> Class {
        self.bundle.head.statement.class
    }

    /// Does `work` for every job on all cores, until the first error. A system error is one of the target, because
    /// reading parts reports none: it is returned as a value, so that the caller can deliver what is whole.
    fn each<J: Sync>(
        &self,
        jobs: &[J],
        work: impl Fn(&mut Tools<'a>, &J) -> Result<(), FlowError> + Sync,
    ) -> Result<Option<IoFault>, FlowError> {
        let next = AtomicUsize::new(0);
        let stop = Stop::new(|| ());
        let one_thread = || -> Result<(), FlowError> {
            let mut tools = Tools { writer: self.extraction.writer(), decompressor: Decompressor::new()?, buf: None };
            while let Some(job) = jobs.get(next.fetch_add(1, Ordering::Relaxed)).filter(|_| !stop.failed()) {
                if self.monitor.cancelled() {
                    return Err(FlowError::Cancelled);
                }
                work(&mut tools, job)?;
            }
            Ok(())
        };
        on_several(workers().min(jobs.len()), || one_thread().unwrap_or_else(|error| stop.fail(error)));
        match stop.into_result() {
            Ok(()) => Ok(None),
            Err(FlowError::Io(fault)) => Ok(Some(fault)),
            Err(error) => Err(error),
        }
    }

    /// Loads a part and places it. A part that its stripe may give back is only noted as damaged.
    fn load(&self, number: u32, tools: &mut Tools) -> Result<(), FlowError> {
        let class = self.class();
        let part = &self.bundle.head.parts[number as usize - 1];
        let mut buf = tools.buf.take().unwrap_or_else(|| PartBuf::new(class));
        let loaded = self.finder.load(part, &mut buf)?;
        match part.shard {
            Some(shard) if loaded != Loaded::Whole => {
                lock(&self.damaged).entry(shard.stripe).or_default().push(part);
            }
            _ => self.place(part, PartDefect::of(&loaded, class.chunks()), &buf, tools)?,
        }
        tools.buf = Some(buf);
        Ok(())
    }

    /// Rebuilds parts of one stripe as far as possible, and places them.
    fn rebuild(&self, parts: &[&Part], tools: &mut Tools) -> Result<(), FlowError> {
        for rebuilt in self.rebuilder.rebuild(parts)? {
            let mut defect = PartDefect::of(&rebuilt.found, self.class().chunks());
            if rebuilt.is_whole() {
                let mended = defect.take().map(|defect| defect.report(rebuilt.part));
                lock(&self.placed).mended.extend(mended);
            }
            let defect = defect.map(|defect| defect.after(&rebuilt, self.has_digests));
            self.place(rebuilt.part, defect, &rebuilt.buf, tools)?;
        }
        Ok(())
    }

    /// Writes what a part holds before its first damage, and records whether that was all of it.
    fn place(
        &self,
        part: &Part,
        defect: Option<PartDefect>,
        buf: &PartBuf,
        tools: &mut Tools,
    ) -> Result<(), FlowError> {
        let chunks = defect.as_ref().map_or(self.class().chunks(), |defect| defect.readable);
        let written = if chunks == 0 { Ok(None) } else { self.write(part, buf, chunks, tools) };
        let wrong_content = match written {
            // Rebuilt chunks are not what was sealed, so a broken format proves nothing against the sender.
            Err(FlowError::Format(error)) if defect.as_ref().is_some_and(|defect| defect.is_doubtful) => {
                Some(error.to_string())
            }
            other => other?.filter(|_| defect.is_none()),
        };
        match defect.or(wrong_content.map(PartDefect::of_content)) {
            None => self.extraction.staging.note_placed(part.number)?,
            Some(defect) => lock(&self.placed).bad.push(defect.report(part)),
        }
        self.monitor.advance(self.class().file_len() as u64);
        Ok(())
    }

    /// Decodes the first chunks of a part and writes them. Returns what is wrong with the content; if these are not
    /// all chunks, that says nothing.
    fn write(&self, part: &Part, buf: &PartBuf, chunks: usize, tools: &mut Tools) -> Result<Option<String>, FlowError> {
        let Some(decoder) = PartDecoder::new(&self.bundle.head, part) else { return Ok(None) };
        decoder.check_lead(buf)?;
        let Tools { writer, decompressor, .. } = tools;
        writer.begin_part(decoder.start(), decoder.end(), chunks == self.class().chunks());
        let decoded = decoder.decode(buf, chunks, decompressor, |at, bytes| Ok(writer.write(at, bytes)?));
        writer.end_part()?;
        Ok(decoded?.map(|fault| fault.to_string()))
    }
}

#[cfg(test)]
mod tests;
