//! Which parts an unpacking needs, and which files suffer when parts are missing.

use std::collections::BTreeSet;

use crate::base::entry::Entry;
use crate::format::head::Head;

/// Finds the entries that have bytes in a stretch of the tar.
pub(crate) struct Contents {
    /// Indices of the entries with content, ascending by tar offset. Contents do not overlap, so their ends ascend too.
    order: Vec<u32>,
}

impl Contents {
    pub(crate) fn new(entries: &[Entry]) -> Self {
        let mut order: Vec<u32> = (0..entries.len() as u32).filter(|at| entries[*at as usize].has_content()).collect();
        order.sort_by_key(|at| entries[*at as usize].at);
        Self { order }
    }

    /// Indices of the entries with bytes in `from..to`, ascending by tar offset.
    pub(crate) fn within<'a>(&'a self, entries: &'a [Entry], from: u64, to: u64) -> impl Iterator<Item = usize> + 'a {
        let first = self.order.partition_point(|at| {
            let entry = &entries[*at as usize];
            entry.at + entry.size <= from
        });
        self.order[first..].iter().map(|at| *at as usize).take_while(move |at| entries[*at].at < to)
    }
}

/// The numbers of the data parts that hold bytes of these entries, ascending.
pub(crate) fn needed_parts(head: &Head, entries: &[Entry], contents: &Contents) -> Vec<u32> {
    let needs = |offset, length| contents.within(entries, offset, offset + length).next().is_some();
    head.data_parts().filter(|(_, offset, length)| needs(*offset, *length)).map(|(part, _, _)| part.number).collect()
}

/// Indices of the entries that cannot be whole without the `lost` data parts.
pub(crate) fn hurt_by(head: &Head, entries: &[Entry], contents: &Contents, lost: &BTreeSet<u32>) -> BTreeSet<usize> {
    let lost = head.data_parts().filter(|(part, _, _)| lost.contains(&part.number));
    lost.flat_map(|(_, offset, length)| contents.within(entries, offset, offset + length)).collect()
}

/// Ascending numbers as people write them: `1-3, 7`.
pub(crate) fn ranges(numbers: impl IntoIterator<Item = u32>) -> String {
    let mut runs: Vec<(u32, u32)> = Vec::new();
    for number in numbers {
        match runs.last_mut() {
            Some((_, end)) if *end + 1 == number => *end = number,
            _ => runs.push((number, number)),
        }
    }
    let shown: Vec<String> = runs.into_iter().map(show_run).collect();
    shown.join(", ")
}

fn show_run((from, to): (u32, u32)) -> String {
    if from == to { from.to_string() } else { format!("{from}-{to}") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::layout::tests::{dir, file};

    #[test]
    fn contents_are_found_by_offset() {
        let mut entries = vec![dir("d"), file("d/a", 1000), file("d/b", 0), file("d/c", 10)];
        entries[1].at = 1024;
        entries[3].at = 4096;
        let contents = Contents::new(&entries);
        let within = |from, to| contents.within(&entries, from, to).collect::<Vec<_>>();
        assert!(within(0, 1024).is_empty());
        assert_eq!(within(0, 1025), [1]);
        assert_eq!(within(2023, 5000), [1, 3]);
        assert!(within(2024, 4096).is_empty());
        assert_eq!(within(4105, 4106), [3]);
    }

    #[test]
    fn numbers_are_shown_in_runs() {
        assert_eq!(ranges([1, 2, 3, 7, 9, 10]), "1-3, 7, 9-10");
        assert_eq!(ranges([]), "");
    }
}
