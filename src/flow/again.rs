//! What an earlier run of the same unpacking placed or delivered, taken up: nothing of it counts
//! before it is held against the list.

use std::collections::BTreeSet;

use crate::base::digest::{Digest, Hasher};
use crate::base::entry::{Entry, Flag, Kind};
use crate::base::fault::IoFault;
use crate::base::monitor::{Monitor, Phase};
use crate::base::pool::side_by_side;
use crate::flow::FlowError;
use crate::flow::place::{Site, Worker};
use crate::format::head::{Head, Part, PartKind};
use crate::plan::links::find;

/// Entries that one thread looks at before it asks for more.
const SOME: usize = 64;

/// What an unpacking is about: runs of the same go on from each other.
pub fn work(head: &Head, entries: &[Entry]) -> Digest {
    let mut hasher = Hasher::tagged("unfinished");
    hasher.update(head.statement.fingerprint().as_bytes());
    for entry in entries {
        hasher.update(b"\0");
        hasher.update(entry.path.as_bytes());
    }
    hasher.finish()
}

/// Looks at all that an earlier run left, on all cores; the site then knows what is whole.
pub fn take_up(site: &Site, head: &Head, monitor: &dyn Monitor) -> Result<(), FlowError> {
    site.staging.take_up(site.entries)?;
    let parts = Stretches::new(head, &site.staging.placed());
    monitor.phase(Phase::Resuming, site.entries.iter().map(|entry| entry.size).sum());
    let jobs: Vec<usize> = (0..site.entries.len()).step_by(SOME).collect();
    let looked = side_by_side(
        &jobs,
        || site.worker(),
        |hands, first| {
            for index in *first..(first + SOME).min(site.entries.len()) {
                if monitor.cancelled() {
                    return Err(FlowError::Cancelled);
                }
                let entry = &site.entries[index];
                if entry.kind == Kind::File && entry.has_content() && entry.flag != Flag::Unreadable {
                    look(site, hands, index, &parts, monitor)?;
                }
                monitor.advance(entry.size);
            }
            Ok(())
        },
    );
    looked.into_iter().collect::<Result<(), FlowError>>()?;
    if site.staging.has_delivered() {
        small_ones(site)?;
    }
    Ok(())
}

/// Which of these parts are still to be read: those that nobody placed, and those that hold bytes
/// of a file of which nothing is left.
pub fn to_do(site: &Site, head: &Head, parts: &[u32]) -> Vec<u32> {
    let placed = site.staging.placed();
    let lacks =
        |index: usize| site.entries[index].flag != Flag::Unreadable && !site.is_whole(index) && !site.is_trusted(index);
    let open = |number: &u32| match head.parts[*number as usize - 1].kind {
        PartKind::Data { offset, length } if placed.contains(number) => {
            site.contents.within(site.entries, offset, offset + length).any(lacks)
        }
        _ => true,
    };
    parts.iter().copied().filter(open).collect()
}

/// The parts that hold bytes of these files.
pub fn parts_of(site: &Site, head: &Head, files: &[usize]) -> Vec<u32> {
    let holds = |offset, length| {
        site.contents.within(site.entries, offset, offset + length).any(|index| files.binary_search(&index).is_ok())
    };
    head.data_parts().filter(|(_, offset, length)| holds(*offset, *length)).map(|(part, _, _)| part.number).collect()
}

/// A file with content: staged, or delivered, or neither.
fn look(
    site: &Site,
    hands: &mut Worker,
    index: usize,
    parts: &Stretches,
    monitor: &dyn Monitor,
) -> Result<(), FlowError> {
    let entry = &site.entries[index];
    match hands.placer().lengths(entry)? {
        (Some(len), _) if parts.cut(entry) => {
            // A file that is too short has lost what was placed: it is begun anew.
            for (from, to) in parts.within(entry).filter(|_| len == entry.size) {
                if monitor.cancelled() {
                    return Err(FlowError::Cancelled);
                }
                hands.offer_again(index, (from, to - from))?;
            }
        }
        (Some(len), _) if len == entry.size => hands.check_again(index)?,
        (Some(_), _) => hands.placer().remove(entry)?,
        (None, Some(len))
            if site.staging.has_delivered()
                && len == entry.size
                && is_delivered(site, hands, entry, entry.sha256, true) =>
        {
            site.set_there(index);
        }
        _ => {}
    }
    Ok(())
}

/// Whether a file that was delivered is what was packed; if so, and if it `counts`, how it stands there
/// is noted.
fn is_delivered(site: &Site, hands: &mut Worker, entry: &Entry, expected: Option<Digest>, counts: bool) -> bool {
    let Ok((digest, dressed)) = hands.placer().digest_delivered(entry) else { return false };
    let same = expected == Some(digest);
    if same && counts {
        site.staging.count(dressed);
    }
    same
}

/// Empty files and links that were delivered.
fn small_ones(site: &Site) -> Result<(), IoFault> {
    let mut hands = site.worker();
    for (index, entry) in site.entries.iter().enumerate() {
        let there = match &entry.kind {
            Kind::File if entry.size == 0 => hands.placer().lengths(entry)?.1 == Some(0),
            Kind::Symlink(to) => hands.placer().is_linked(entry, to),
            Kind::Hardlink(first) => {
                let first = find(site.entries, first.as_bytes()).map(|at| &site.entries[at]);
                let same = |first: &Entry| {
                    let sized = Entry { size: first.size, ..entry.clone() };
                    is_delivered(site, &mut hands, &sized, first.sha256, site.staging.has_copies())
                };
                first.is_some_and(same)
            }
            _ => false,
        };
        if there {
            site.set_there(index);
        }
    }
    Ok(())
}

/// The parts of a bundle as stretches of its tar, and which of them an earlier run placed.
struct Stretches {
    all: Vec<(u64, u64, bool)>,
}

impl Stretches {
    /// From the head's table.
    fn new(head: &Head, placed: &BTreeSet<u32>) -> Self {
        let stretch =
            |(part, offset, length): (&Part, u64, u64)| (offset, offset + length, placed.contains(&part.number));
        Self { all: head.data_parts().map(stretch).collect() }
    }

    fn touching<'a>(&'a self, entry: &'a Entry) -> impl Iterator<Item = &'a (u64, u64, bool)> {
        let first = self.all.partition_point(|(_, end, _)| *end <= entry.at);
        self.all[first..].iter().take_while(|(start, _, _)| *start < entry.at + entry.size)
    }

    /// Whether a file lies in more than one part.
    fn cut(&self, entry: &Entry) -> bool {
        self.touching(entry).nth(1).is_some()
    }

    /// The stretches of a file, from and to, that were placed.
    fn within<'a>(&'a self, entry: &'a Entry) -> impl Iterator<Item = (u64, u64)> + 'a {
        let clip = |(start, end, _): &(u64, u64, bool)| {
            ((*start).max(entry.at) - entry.at, (*end).min(entry.at + entry.size) - entry.at)
        };
        self.touching(entry).filter(|(_, _, placed)| *placed).map(clip)
    }
}
