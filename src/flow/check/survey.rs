//! What checked volumes are to their bundle: whether all data can be had, what else may be lost, and which drives still
//! matter. A part that was not found whole under its name is opened with the key. It may lie under another name, or
//! have good chunks that its stripe can complete.
//!
//! Not guaranteed: that the margin is all there is. It counts whole parts only, and single good chunks may do more.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::path::Path;

use crate::base::digest::Digest;
use crate::base::monitor::{Monitor, Phase};
use crate::base::pool::side_by_side;
use crate::flow::FlowError;
use crate::flow::bundle::open::Bundle;
use crate::flow::bundle::part_finder::Finder;
use crate::flow::check::report::{BundleCheck, CheckReport};
use crate::format::head::Head;
use crate::format::part::{Class, PartBuf};
use crate::format::stripe::{Scheme, ShardPos};
use crate::format::volume_number::VolumeNumber;
use crate::format::{limits, sums};
use crate::plan::repair::{self, Verdict};
use crate::stage::volume::{self, SUMS, Volume};

/// Compares what was checked with the head of the bundle, and judges what can be had.
pub(crate) fn survey_bundle(
    bundle: &Bundle,
    checked: &CheckReport,
    monitor: &dyn Monitor,
) -> Result<BundleCheck, FlowError> {
    let survey = Survey::of(bundle, checked, monitor)?;
    let parts = bundle.head.parts.iter().zip(&survey.found);
    let mut here: BTreeSet<VolumeNumber> = parts.filter(|(_, found)| **found).map(|(part, _)| part.volume).collect();
    here.extend(volumes_without_parts(bundle));
    Ok(BundleCheck {
        volumes: bundle.head.statement.n,
        here: here.into_iter().collect(),
        verdict: survey.verdict(&bundle.head),
        margin: repair::margin(&bundle.head, &survey.whole),
        needed: repair::needed(&bundle.head, &survey.whole),
        sources: repair::sources(&bundle.head, &survey.whole),
        notes: bundle.notes.clone(),
    })
}

/// The numbers of volumes here that the head gives no parts. A bundle that is small for its drives has such volumes.
/// Only their names tell their numbers.
fn volumes_without_parts(bundle: &Bundle) -> impl Iterator<Item = VolumeNumber> {
    let has_parts: HashSet<VolumeNumber> = bundle.head.parts.iter().map(|part| part.volume).collect();
    VolumeNumber::all(bundle.head.statement.n)
        .filter(move |number| !has_parts.contains(number) && is_here(*number, bundle))
}

fn is_here(number: VolumeNumber, bundle: &Bundle) -> bool {
    let name = volume::folder(Path::new(""), number);
    bundle.volumes.iter().any(|volume| volume.dir.ends_with(&name) && bundle.owns(volume))
}

/// What there is of every part. Each list is in the order of the head's table.
pub(crate) struct Survey {
    /// Whether the part is whole.
    pub(crate) whole: Vec<bool>,
    /// Whether the part is whole, or the other parts of its stripe give back the chunks that it lacks.
    pub(crate) usable: Vec<bool>,
    /// Whether a file was found that is the part: at least one of its chunks opens.
    pub(crate) found: Vec<bool>,
}

impl Survey {
    /// Takes files with the SHA-256 of a part for that part, as the check read them. Opens what there is of all others.
    pub(crate) fn of(bundle: &Bundle, checked: &CheckReport, monitor: &dyn Monitor) -> Result<Self, FlowError> {
        let head = &bundle.head;
        let class = head.statement.class;
        let finder = Finder::new(bundle);
        let sums: HashSet<Digest> =
            bundle.volumes.iter().flat_map(|volume| whole_files(volume, checked).into_values()).collect();
        let not_whole: Vec<usize> =
            (0..head.parts.len()).filter(|at| !sums.contains(&head.parts[*at].sha256)).collect();
        let to_read = not_whole.iter().filter(|at| finder.is_there(&head.parts[**at])).count();
        monitor.phase(Phase::Checking, to_read as u64 * class.file_len() as u64);
        let opened = side_by_side(
            &not_whole,
            || PartBuf::new(class),
            |buf, at| {
                if monitor.cancelled() {
                    return Err(FlowError::Cancelled);
                }
                Ok(Lacks::of(&finder.load(&head.parts[*at], buf)?.bad(class.chunks()), class))
            },
        );
        let lacks = opened.into_iter().collect::<Result<Vec<Lacks>, FlowError>>()?;
        Ok(Self::from_opened(head, not_whole.into_iter().zip(lacks)))
    }

    /// `opened` has the parts that were opened, by their index, with what each lacks. All others are whole.
    fn from_opened(head: &Head, opened: impl Iterator<Item = (usize, Lacks)>) -> Self {
        let every = head.parts.len();
        let mut survey = Survey { whole: vec![true; every], usable: vec![true; every], found: vec![true; every] };
        let mut hurt = BTreeMap::new();
        for (at, lacks) in opened {
            survey.whole[at] = matches!(&lacks, Lacks::Chunks(bad) if bad.is_empty());
            survey.found[at] = matches!(&lacks, Lacks::Chunks(_));
            if !survey.whole[at] {
                hurt.insert(at, lacks);
            }
        }
        survey.count_rows(head, &hurt);
        survey
    }

    /// What can be had of the bundle.
    pub(crate) fn verdict(&self, head: &Head) -> Verdict {
        match (repair::judge(head, &self.usable), repair::judge(head, &self.whole)) {
            // Single chunks do where whole parts would not.
            (Verdict::Complete | Verdict::Repairable { .. }, Verdict::Short { .. }) => {
                let data = head.data_parts().zip(&self.whole).filter(|(_, whole)| !**whole);
                Verdict::Repairable { rebuilt: data.map(|((part, _, _), _)| part.number).collect() }
            }
            (short @ Verdict::Short { .. }, _) => short,
            (Verdict::Complete | Verdict::Repairable { .. }, by_parts) => by_parts,
        }
    }

    /// Finds out which of the `hurt` parts are usable. A row gives back as many chunks as its stripe has parity parts;
    /// without parity no row gives back any.
    fn count_rows(&mut self, head: &Head, hurt: &BTreeMap<usize, Lacks>) {
        let Some(scheme) = head.statement.scheme else {
            hurt.keys().for_each(|at| self.usable[*at] = false);
            return;
        };
        let chunks = head.statement.class.chunks();
        let mut stripes: BTreeMap<u32, Vec<HurtShard>> = BTreeMap::new();
        for (at, lacks) in hurt {
            let ShardPos { stripe, position } = head.parts[*at].shard.unwrap_or_default();
            stripes.entry(stripe).or_default().push(HurtShard { at: *at, position, lacks });
        }
        for shards in stripes.into_values() {
            let mut bad_in_row = vec![0; chunks];
            shards.iter().flat_map(|shard| shard.bad_rows(scheme, chunks)).for_each(|row| bad_in_row[row] += 1);
            for shard in shards {
                self.usable[shard.at] = shard.bad_rows(scheme, chunks).all(|row| bad_in_row[row] <= scheme.m);
            }
        }
    }
}

/// A shard that is not whole, in its stripe.
struct HurtShard<'a> {
    /// The index of the part in the head's table.
    at: usize,
    position: u16,
    lacks: &'a Lacks,
}

impl HurtShard<'_> {
    /// The rows to which the shard has no good chunk to give.
    fn bad_rows(&self, scheme: Scheme, chunks: usize) -> impl Iterator<Item = usize> {
        let (every, some) = match self.lacks {
            Lacks::All => (0..chunks, &[][..]),
            Lacks::Chunks(bad) => (0..0, &bad[..]),
        };
        every.chain(some.iter().map(move |chunk| scheme.row_of((*chunk).into(), self.position, chunks)))
    }
}

/// The chunks that a part lacks. Most hurt parts lack all of them, and there may be very many such parts.
enum Lacks {
    All,
    /// Indices of chunks; none if the part is whole.
    Chunks(Vec<u16>),
}

impl Lacks {
    fn of(bad: &[usize], class: Class) -> Self {
        if bad.len() == class.chunks() {
            Lacks::All
        } else {
            Lacks::Chunks(bad.iter().map(|chunk| *chunk as u16).collect())
        }
    }
}

/// The files of a volume that have their SHA-256 by what was `checked`, by name. Empty if the volume was not checked.
pub(crate) fn whole_files(volume: &Volume, checked: &CheckReport) -> HashMap<String, Digest> {
    let Some(check) = checked.volumes.iter().find(|check| check.folder == volume.dir) else {
        return HashMap::new();
    };
    let bytes = volume.read_small(SUMS, limits::SUMS_FILE).and_then(Result::ok).unwrap_or_default();
    let wrong: BTreeSet<&String> = check.damaged.iter().map(|(name, _)| name).chain(&check.missing).collect();
    let lines = sums::parse(&bytes).unwrap_or_default();
    lines.into_iter().filter(|file| !wrong.contains(&file.name)).map(|file| (file.name, file.sha256)).collect()
}

#[cfg(test)]
mod tests;
