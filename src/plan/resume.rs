//! How far an interrupted packing came: which parts stay, and where the next one begins. Nothing is read here: the
//! caller says which parts its drives kept.

use std::collections::BTreeMap;

use crate::format::head::PartKind;
use crate::format::journal::{ReadRange, WrittenPart};
use crate::format::recipe::Recipe;
use crate::format::stripe::Scheme;

/// What the earlier run has packed.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Reached {
    /// Parts that stay where they are, data first.
    pub(crate) parts: Vec<WrittenPart>,
    /// The first so many data parts are packed; those of them that are on no drive are made again.
    pub(crate) data: u32,
    /// Bytes of tar in these data parts.
    pub(crate) tar: u64,
    /// Whole stripes of them; 0 without parity.
    pub(crate) stripes: u32,
}

/// Finds how far the bundle is packed: up to the last data part that is on a drive, and only as far as the recipes of
/// all parts are known. What is missing before that place can be made again. With parity the end is that of a whole
/// stripe, because the sums of an open stripe are lost. `parts` are those on the drives, in the order in which they
/// were written: of two with one number the later counts.
pub(crate) fn reached(
    parts: &[WrittenPart],
    recipes: &BTreeMap<u32, Recipe>,
    scheme: Option<Scheme>,
    tar_len: u64,
) -> Reached {
    let mut data = BTreeMap::new();
    let mut parity = BTreeMap::new();
    for part in parts {
        let table = if part.kind == PartKind::Parity { &mut parity } else { &mut data };
        table.insert(part.number, part);
    }
    let ends = ends(recipes, tar_len);
    let known = ends.len() as u32 - 1;
    data.retain(|_, part| is_of_its_recipe(part, &ends));
    let mut count = data.keys().last().copied().unwrap_or(0);
    let mut stripes = 0;
    if let Some(scheme) = scheme {
        let k = u32::from(scheme.k);
        // The last stripe may have less data than the others.
        let whole = if ends[known as usize] == tar_len { known.div_ceil(k) } else { known / k };
        stripes = count.div_ceil(k).min(whole);
        count = (stripes * k).min(known);
        parity.retain(|number, _| *number <= stripes * u32::from(scheme.m));
        data.retain(|number, _| *number <= count);
    }
    let parts = data.into_values().chain(parity.into_values()).cloned().collect();
    Reached { parts, data: count, tar: ends[count as usize], stripes }
}

/// The tar offsets at which the parts end that the recipes tell without a gap, by number; part 0 stands for the start.
fn ends(recipes: &BTreeMap<u32, Recipe>, tar_len: u64) -> Vec<u64> {
    let mut ends = vec![0];
    while let Some(recipe) = recipes.get(&(ends.len() as u32)) {
        let length = recipe.length();
        if recipe.offset != ends[ends.len() - 1] || length == 0 || recipe.offset + length > tar_len {
            break;
        }
        ends.push(recipe.offset + length);
    }
    ends
}

/// Whether a data part covers the range that its recipe says. One that does not is another part.
fn is_of_its_recipe(part: &WrittenPart, ends: &[u64]) -> bool {
    let Some(before) = part.number.checked_sub(1) else { return false };
    let range = ends.get(before as usize..=part.number as usize);
    range.is_some_and(|range| part.kind == PartKind::Data { offset: range[0], length: range[1] - range[0] })
}

/// Ranges that cover the tar up to `end` or up to the first gap, each reaching further than those before it. Also
/// returns how far they reach, `end` at most.
pub(crate) fn covering(reads: &[ReadRange], end: u64) -> (u64, Vec<ReadRange>) {
    let mut sorted = reads.to_vec();
    sorted.sort_by_key(|read| (read.start, std::cmp::Reverse(read.len)));
    let mut at = 0;
    let mut chosen = Vec::new();
    for read in sorted {
        let to = read.start.saturating_add(read.len);
        if at < end && read.start <= at && to > at {
            at = to;
            chosen.push(read);
        }
    }
    (at.min(end), chosen)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::digest::Digest;
    use crate::format::recipe::FrameRecipe;
    use crate::format::volume_number::VolumeNumber;

    fn data(number: u32) -> WrittenPart {
        let kind = PartKind::Data { offset: u64::from(number - 1) * 512, length: 512 };
        WrittenPart { number, kind, volume: VolumeNumber::new(1), sha256: Digest::ZERO }
    }

    fn parity(number: u32) -> WrittenPart {
        WrittenPart { number, kind: PartKind::Parity, volume: VolumeNumber::new(2), sha256: Digest::ZERO }
    }

    fn recipes(numbers: impl Iterator<Item = u32>) -> BTreeMap<u32, Recipe> {
        let recipe = |number: u32| Recipe::new(u64::from(number - 1) * 512, 0, vec![FrameRecipe::Stored(512)]);
        numbers.map(|number| (number, recipe(number))).collect()
    }

    fn after(parts: &[WrittenPart], made: &BTreeMap<u32, Recipe>, scheme: Option<Scheme>) -> (u32, u64, u32, usize) {
        let reached = reached(parts, made, scheme, 5 * 512);
        (reached.data, reached.tar, reached.stripes, reached.parts.len())
    }

    #[test]
    fn it_ends_with_the_last_part_that_is_there() {
        assert_eq!(after(&[], &recipes(1..6), None), (0, 0, 0, 0));
        assert_eq!(
            after(&[data(2), data(1), data(4)], &recipes(1..6), None),
            (4, 2048, 0, 3),
            "the third is made again"
        );
        assert_eq!(after(&[data(2), data(1), data(4)], &recipes([1, 2, 4].into_iter()), None), (2, 1024, 0, 2));
        let mut elsewhere = data(2);
        elsewhere.kind = PartKind::Data { offset: 4096, length: 512 };
        assert_eq!(
            after(&[data(1), data(2), elsewhere], &recipes(1..6), None),
            (1, 512, 0, 1),
            "the later line counts"
        );
        let mut long = recipes(1..6);
        long.get_mut(&5).unwrap().frames = vec![(1, FrameRecipe::Stored(1024))];
        assert_eq!(after(&[data(5)], &long, None), (0, 0, 0, 0), "no part goes beyond the tar");
    }

    #[test]
    fn with_parity_it_ends_with_a_whole_stripe() {
        let scheme = Scheme::new(2, 1, 1);
        let all: Vec<WrittenPart> = (1..=5).map(data).chain((1..=3).map(parity)).collect();
        assert_eq!(after(&all, &recipes(1..6), scheme), (5, 2560, 3, 8), "the last is short and whole");
        assert_eq!(after(&all[..5], &recipes(1..6), scheme), (5, 2560, 3, 5), "parity is made again");
        assert_eq!(after(&all[..4], &recipes(1..4), scheme), (2, 1024, 1, 2), "the second stripe is open");
        assert_eq!(after(&all[3..4], &recipes(1..6), scheme), (4, 2048, 2, 1));
        assert_eq!(after(&all[5..], &recipes(1..6), scheme), (0, 0, 0, 0), "no data is there");
    }

    #[test]
    fn ranges_cover_or_there_is_a_gap() {
        let read = |start, len| ReadRange { start, len, hash: 0 };
        let reads = [read(8, 8), read(0, 8), read(12, 8), read(0, 4), read(30, 4)];
        let starts = |end| {
            let (to, reads) = covering(&reads, end);
            (to, reads.iter().map(|read| read.start).collect::<Vec<_>>())
        };
        assert_eq!(starts(8), (8, vec![0]));
        assert_eq!(starts(9), (9, vec![0, 8]));
        assert_eq!(starts(20), (20, vec![0, 8, 12]));
        assert_eq!(starts(34), (20, vec![0, 8, 12]), "a gap");
    }
}
