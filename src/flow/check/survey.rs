//! What checked volumes are to their bundle: whether all can be had, what else may be lost, which
//! drives still matter. Parts that were not found whole under their names are opened with the key:
//! they may lie elsewhere, or have good chunks that will do. The margin counts whole parts only:
//! it is the least.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::path::{Path, PathBuf};

use crate::base::digest::Digest;
use crate::base::monitor::{Monitor, Phase};
use crate::base::pool::side_by_side;
use crate::flow::FlowError;
use crate::flow::bundle::open::{Bundle, open_at};
use crate::flow::bundle::part_finder::Finder;
use crate::flow::check::report::BundleCheck;
use crate::flow::check::report::CheckReport;
use crate::format::head::Head;
use crate::format::limits;
use crate::format::part::{Class, PartBuf};
use crate::format::sums;
use crate::plan::choose::FingerprintStart;
use crate::plan::repair::{self, Verdict};
use crate::stage::seal::Keyring;
use crate::stage::volume::{self, SUMS, Volume};

/// Opens the bundle of these volumes: before hours of checking, not behind them.
pub fn opened(paths: &[PathBuf], keyring: &Keyring, wanted: Option<&FingerprintStart>) -> Result<Bundle, FlowError> {
    open_at(paths, keyring, wanted)
}

/// Holds what was checked against the bundle's head, and adds to the report what it comes to.
pub fn margin(bundle: &Bundle, report: &mut CheckReport, monitor: &dyn Monitor) -> Result<(), FlowError> {
    let survey = Survey::of(bundle, report, monitor)?;
    let parts = bundle.head.parts.iter().zip(&survey.found);
    let mut here: BTreeSet<u16> = parts.filter(|(_, found)| **found).map(|(part, _)| part.volume).collect();
    here.extend(without_parts(bundle));
    report.bundle = Some(BundleCheck {
        volumes: bundle.head.statement.n,
        here: here.into_iter().collect(),
        verdict: survey.verdict(&bundle.head),
        margin: repair::margin(&bundle.head, &survey.whole),
        needed: repair::needed(&bundle.head, &survey.whole),
        sources: repair::sources(&bundle.head, &survey.whole),
        notes: bundle.notes.clone(),
    });
    Ok(())
}

/// Volumes here that have no parts, as a small bundle has some: they are known by their names alone.
fn without_parts(bundle: &Bundle) -> impl Iterator<Item = u16> {
    let has_parts: HashSet<u16> = bundle.head.parts.iter().map(|part| part.volume).collect();
    let is_here = |number: &u16| {
        let name = volume::folder(Path::new(""), *number);
        bundle.volumes.iter().any(|volume| volume.dir.ends_with(&name) && bundle.owns(volume))
    };
    (1..=bundle.head.statement.n).filter(move |number| !has_parts.contains(number)).filter(is_here)
}

/// What there is of every part, in the order of the head's table.
pub struct Survey {
    /// It is whole.
    pub whole: Vec<bool>,
    /// It is whole, or the others of its rows give back what it lacks.
    pub usable: Vec<bool>,
    /// Some file was found that is the part, whatever is left of it.
    pub found: Vec<bool>,
}

impl Survey {
    /// Believes the SHA-256 of what was checked, and opens what else there is.
    pub fn of(bundle: &Bundle, checked: &CheckReport, monitor: &dyn Monitor) -> Result<Self, FlowError> {
        let (head, finder) = (&bundle.head, Finder::new(bundle));
        let class = head.statement.class;
        let sums: HashSet<Digest> =
            bundle.volumes.iter().flat_map(|volume| whole_files(volume, checked).into_values()).collect();
        let hurt: Vec<usize> = (0..head.parts.len()).filter(|at| !sums.contains(&head.parts[*at].sha256)).collect();
        let there = hurt.iter().filter(|at| finder.is_there(&head.parts[**at])).count();
        monitor.phase(Phase::Checking, there as u64 * class.file_len() as u64);
        let all_lack = side_by_side(
            &hurt,
            || PartBuf::new(class),
            |buf, at| match monitor.cancelled() {
                true => Err(FlowError::Cancelled),
                false => Ok(Lacks::of(&finder.load(&head.parts[*at], buf)?.bad(class.chunks()), class)),
            },
        );
        let every = head.parts.len();
        let mut survey = Survey { whole: vec![true; every], usable: vec![true; every], found: vec![true; every] };
        let mut bad = BTreeMap::new();
        for (at, lacks) in hurt.into_iter().zip(all_lack) {
            let lacks = lacks?;
            survey.whole[at] = matches!(&lacks, Lacks::Chunks(bad) if bad.is_empty());
            survey.found[at] = matches!(&lacks, Lacks::Chunks(_));
            if !survey.whole[at] {
                bad.insert(at, lacks);
            }
        }
        survey.count_rows(head, &bad);
        Ok(survey)
    }

    /// What can be had.
    pub fn verdict(&self, head: &Head) -> Verdict {
        match (repair::judge(head, &self.usable), repair::judge(head, &self.whole)) {
            // Single chunks do where whole parts would not.
            (Verdict::Complete | Verdict::Repairable { .. }, Verdict::Short { .. }) => {
                let data = head.data_parts().zip(&self.whole).filter(|(_, whole)| !**whole);
                Verdict::Repairable { rebuilt: data.map(|((part, _, _), _)| part.number).collect() }
            }
            (short @ Verdict::Short { .. }, _) => short,
            (_, by_parts) => by_parts,
        }
    }

    /// A row gives back as many chunks as there are parity shards.
    fn count_rows(&mut self, head: &Head, bad: &BTreeMap<usize, Lacks>) {
        let chunks = head.statement.class.chunks();
        let Some(scheme) = head.statement.scheme else {
            bad.keys().for_each(|at| self.usable[*at] = false);
            return;
        };
        let place = |at: usize| head.parts[at].stripe.unwrap_or_default();
        let row = |at: usize, chunk: u16| scheme.row_of(chunk.into(), place(at).1, chunks);
        let mut stripes: BTreeMap<u32, Vec<(usize, &Lacks)>> = BTreeMap::new();
        bad.iter().for_each(|(at, lacks)| stripes.entry(place(*at).0).or_default().push((*at, lacks)));
        for parts in stripes.into_values() {
            let mut rows = vec![0; chunks];
            for (at, lacks) in &parts {
                match lacks {
                    Lacks::All => rows.iter_mut().for_each(|bad| *bad += 1),
                    Lacks::Chunks(bad) => bad.iter().for_each(|chunk| rows[row(*at, *chunk)] += 1),
                }
            }
            for (at, lacks) in parts {
                self.usable[at] = match lacks {
                    Lacks::All => rows.iter().all(|bad| *bad <= scheme.m),
                    Lacks::Chunks(bad) => bad.iter().all(|chunk| rows[row(at, *chunk)] <= scheme.m),
                };
            }
        }
    }
}

/// Chunks that a part lacks; most parts that are hurt lack all, and there may be many.
enum Lacks {
    All,
    Chunks(Vec<u16>),
}

impl Lacks {
    fn of(bad: &[usize], class: Class) -> Self {
        match bad.len() == class.chunks() {
            true => Lacks::All,
            false => Lacks::Chunks(bad.iter().map(|chunk| *chunk as u16).collect()),
        }
    }
}

/// The files of a volume that were found to have their SHA-256, by name.
pub fn whole_files(volume: &Volume, checked: &CheckReport) -> HashMap<String, Digest> {
    let Some(check) = checked.volumes.iter().find(|check| check.folder == volume.dir) else {
        return HashMap::new();
    };
    let bytes = volume.read_small(SUMS, limits::SUMS_FILE).and_then(Result::ok).unwrap_or_default();
    let wrong: BTreeSet<&String> = check.damaged.iter().map(|(name, _)| name).chain(&check.missing).collect();
    let lines = sums::parse(&bytes).unwrap_or_default();
    lines.into_iter().filter(|(_, name)| !wrong.contains(name)).map(|(sum, name)| (name, sum)).collect()
}
