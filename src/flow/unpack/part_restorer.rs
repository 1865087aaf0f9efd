//! Parts to their places, on all cores: first those that drives have whole, in any order, then
//! those that can be rebuilt from the others of their stripes.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::base::entry::{Entry, Kind};
use crate::base::fault::IoFault;
use crate::base::monitor::{Monitor, Note, NoteKind, Phase};
use crate::base::pool::{Stop, lock, unlocked, workers};
use crate::base::threads::on_several;
use crate::flow::FlowError;
use crate::flow::bundle::open::Bundle;
use crate::flow::bundle::part_finder::{Finder, Loaded};
use crate::flow::bundle::part_rebuilder::{PartRebuilder, rebuild_groups};
use crate::flow::bundle::rebuilt_part::RebuiltPart;
use crate::flow::drives::unreachable::{denied_among, gone_among};
use crate::flow::unpack::file_writer::{Extraction, FileWriter};
use crate::flow::unpack::report::{BadPart, PartState};
use crate::format::FormatError;
use crate::format::head::{Head, Part, PartKind};
use crate::format::part::{Lead, PartBuf, parity_name};
use crate::plan::repair::{self, Margin, Verdict};
use crate::stage::compress::{DecodeError, Decompressor};

/// What is said of parity that did not give back what it stands for.
const UNFIT: &str = "is as it was sealed, and it or another part of its stripe does not fit the others: nothing was \
delivered that was made with it";

/// What came of placing parts.
#[derive(Default)]
pub struct Placed {
    /// Parts that could not be used whole, in order.
    pub bad: Vec<BadPart>,
    /// Parts that were rebuilt, in order, and what was wrong with them.
    pub mended: Vec<BadPart>,
    /// What can be had with the drives given.
    pub verdict: Verdict,
    /// What else may be lost, as far as anybody looked; `None` without parity.
    pub margin: Option<Margin>,
    /// Why the target took no more: what was placed whole by then is delivered all the same.
    pub failed: Option<IoFault>,
    /// Folders of volumes whose drives stopped answering: what is on them counts as missing, not as damaged.
    pub gone: Vec<PathBuf>,
    /// Folders of volumes of which this user may not read everything.
    pub denied: Vec<PathBuf>,
}

/// Opens and places all `parts`, by their numbers.
pub fn place_parts(
    bundle: &Bundle,
    extraction: &Extraction,
    parts: &[u32],
    monitor: &dyn Monitor,
) -> Result<Placed, FlowError> {
    let class = bundle.head.statement.class;
    monitor.phase(Phase::Unpacking, parts.len() as u64 * class.file_len() as u64);
    let finder = Finder::new(bundle);
    let rebuilder = PartRebuilder::new(&bundle.head, &finder);
    let has_digest = |entry: &Entry| entry.kind != Kind::File || entry.sha256.is_some();
    let has_digests = extraction.entries.iter().all(has_digest);
    let placing = Placing { bundle, extraction, rebuilder, has_digests, monitor, placed: Mutex::default() };
    let part = |number: &u32| &bundle.head.parts[*number as usize - 1];
    let hurt = Mutex::new(BTreeMap::<u32, Vec<&Part>>::new());
    let mut failed = placing.each(parts, |tools, number| {
        let (part, buf) = (part(number), tools.buf.get_or_insert_with(|| PartBuf::new(class)));
        match (finder.load(part, buf)?, part.stripe) {
            (Loaded::Missing | Loaded::Unread { .. } | Loaded::Partly { .. }, Some((stripe, _))) => {
                lock(&hurt).entry(stripe).or_default().push(part);
                Ok(())
            }
            (loaded, _) => {
                let hurt = Hurt::of(&loaded, class.chunks());
                placing.place(part, hurt, buf, &mut tools.writer, &mut tools.decompressor)
            }
        }
    })?;
    let hurt = unlocked(hurt);
    if failed.is_none() {
        failed = placing.each(&rebuild_groups(&hurt, class), |tools, parts| placing.rebuild(parts, tools))?;
    }
    let wrong_parity = placing.rebuilder.wrong_parity();
    let mut placed = unlocked(placing.placed);
    placed.failed = failed;
    if !placed.bad.is_empty() || !placed.mended.is_empty() {
        placed.take_gone(gone_among(&bundle.volumes), &bundle.head, &finder);
        placed.denied = denied_among(&bundle.volumes);
    }
    let bad: BTreeSet<u32> = placed.bad.iter().chain(&placed.mended).map(|part| part.number).collect();
    let before = extraction.staging.placed();
    let is_there = |part: &Part| match part.kind {
        PartKind::Data { .. } if parts.binary_search(&part.number).is_ok() => !bad.contains(&part.number),
        PartKind::Data { .. } if before.contains(&part.number) => true,
        PartKind::Parity if wrong_parity.contains(&part.number) => false,
        _ => finder.seems_there(part, &placed.gone),
    };
    let there: Vec<bool> = bundle.head.parts.iter().map(is_there).collect();
    let noted = wrong_parity.iter().map(|number| Note::new(NoteKind::Volume, parity_name(*number).as_bytes(), UNFIT));
    noted.for_each(|note| monitor.note(&note));
    placed.margin = repair::margin(&bundle.head, &there);
    placed.verdict = repair::judge(&bundle.head, &there);
    placed.bad.sort_by_key(|part| part.number);
    placed.mended.sort_by_key(|part| part.number);
    Ok(placed)
}

impl Placed {
    /// What could not be read of drives that are gone is not damaged.
    fn take_gone(&mut self, gone: Vec<PathBuf>, head: &Head, finder: &Finder) {
        for bad in self.bad.iter_mut().chain(&mut self.mended).filter(|bad| bad.state == PartState::Damaged) {
            if finder.is_gone(&head.parts[bad.number as usize - 1], &gone) {
                (bad.state, bad.why) = (PartState::Missing, "its drive is gone".into());
            }
        }
        self.gone = gone;
    }
}

struct Placing<'a> {
    bundle: &'a Bundle,
    extraction: &'a Extraction<'a>,
    rebuilder: PartRebuilder<'a>,
    /// Every file is held against a digest before it is delivered.
    has_digests: bool,
    monitor: &'a dyn Monitor,
    placed: Mutex<Placed>,
}

/// What one thread uses again and again.
struct Tools<'a> {
    writer: FileWriter<'a>,
    decompressor: Decompressor,
    buf: Option<PartBuf>,
}

/// What is wrong with a part.
struct Hurt {
    /// Chunks at its beginning that can be read.
    readable: usize,
    /// Nothing vouches for some of them.
    doubtful: bool,
    state: PartState,
    why: String,
}

impl Hurt {
    fn of(loaded: &Loaded, chunks: usize) -> Option<Self> {
        let (state, why) = match loaded {
            Loaded::Whole => return None,
            Loaded::Partly { why, .. } => (PartState::Damaged, why.clone()),
            Loaded::Unread { why } => (PartState::Unread, why.clone()),
            Loaded::Missing => (PartState::Missing, "was not found".into()),
        };
        let readable = loaded.bad(chunks).first().copied().unwrap_or(chunks);
        Some(Hurt { readable, doubtful: false, state, why })
    }

    /// All chunks are there, and what they hold is not what it should be.
    fn content(why: String) -> Self {
        Hurt { readable: 0, doubtful: false, state: PartState::Damaged, why }
    }

    /// What is still wrong once all was tried.
    fn after(self, rebuilt: &RebuiltPart, has_digests: bool) -> Self {
        let (readable, doubtful) = (rebuilt.readable(has_digests), has_digests && rebuilt.is_doubtful());
        let why = match rebuilt.is_wrong() {
            true => format!("{}, and the others of its stripe give another part than the head names", self.why),
            false => self.why,
        };
        Hurt { readable, doubtful, why, ..self }
    }
}

impl<'a> Placing<'a> {
    /// Does `work` for every job on all cores, until the target fails.
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

    /// Rebuilds parts of one stripe as far as that is possible, and writes what they hold.
    fn rebuild(&self, parts: &[&Part], tools: &mut Tools) -> Result<(), FlowError> {
        let chunks = self.bundle.head.statement.class.chunks();
        for rebuilt in self.rebuilder.rebuild(parts)? {
            let mut hurt = Hurt::of(&rebuilt.found, chunks);
            if rebuilt.is_whole() {
                let mended = hurt.take().map(|hurt| hurt.report(rebuilt.part));
                lock(&self.placed).mended.extend(mended);
            }
            let hurt = hurt.map(|hurt| hurt.after(&rebuilt, self.has_digests));
            self.place(rebuilt.part, hurt, &rebuilt.buf, &mut tools.writer, &mut tools.decompressor)?;
        }
        Ok(())
    }

    /// Places what a part holds before its first damage, and notes that.
    fn place(
        &self,
        part: &Part,
        hurt: Option<Hurt>,
        buf: &PartBuf,
        writer: &mut FileWriter,
        decompressor: &mut Decompressor,
    ) -> Result<(), FlowError> {
        let class = self.bundle.head.statement.class;
        let chunks = hurt.as_ref().map_or(class.chunks(), |hurt| hurt.readable);
        let decoded = match chunks {
            0 => Ok(None),
            _ => self.decode(part, buf, chunks, writer, decompressor),
        };
        let wrong = match decoded {
            // It is not what was sealed, so it says nothing about who sealed it.
            Err(FlowError::Format(error)) if hurt.as_ref().is_some_and(|hurt| hurt.doubtful) => Some(error.to_string()),
            other => other?.filter(|_| hurt.is_none()),
        };
        let wrong = hurt.or(wrong.map(Hurt::content));
        match wrong {
            None => self.extraction.staging.note_placed(part.number)?,
            Some(hurt) => lock(&self.placed).bad.push(hurt.report(part)),
        }
        self.monitor.advance(class.file_len() as u64);
        Ok(())
    }

    /// Decodes the first chunks of a part and places what they hold; says what is wrong with it,
    /// if they were all.
    fn decode(
        &self,
        part: &Part,
        buf: &PartBuf,
        chunks: usize,
        writer: &mut FileWriter,
        decompressor: &mut Decompressor,
    ) -> Result<Option<String>, FlowError> {
        let PartKind::Data { offset, length } = part.kind else { return Ok(None) };
        let lead = Lead::parse(buf.plain(0))?;
        let named = Lead { bundle: self.bundle.head.statement.bundle, number: part.number, offset };
        if let Some(why) = lead.difference(&named) {
            return Err(FormatError::Malformed { what: "a part", line: 0, why }.into());
        }
        writer.begin_part(offset, offset + length, chunks == self.bundle.head.statement.class.chunks());
        let mut at = offset;
        let decoded = decompressor.decode((0..chunks).map(|index| buf.plain(index)), |bytes| {
            let end = at + bytes.len() as u64;
            FormatError::check_limit("the length of a part's tar", end - offset, length)?;
            writer.write(at, bytes)?;
            at = end;
            Ok::<(), FlowError>(())
        });
        writer.end_part()?;
        match decoded {
            Err(DecodeError::Sink(error)) => Err(error),
            Ok(()) if at == offset + length => Ok(None),
            Ok(()) => Ok(Some(format!("holds {} bytes of tar, {length} were announced", at - offset))),
            Err(DecodeError::Truncated) => Ok(Some("its compressed content is cut short".into())),
            Err(DecodeError::Zstd(error)) => Ok(Some(format!("its compressed content cannot be read ({error})"))),
        }
    }
}

impl Hurt {
    fn report(&self, part: &Part) -> BadPart {
        BadPart { number: part.number, volume: part.volume, state: self.state, why: self.why.clone() }
    }
}
