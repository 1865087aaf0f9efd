//! Which shards to leave out when a part that was rebuilt from a stripe is not the part that the head names. The sender
//! may have sealed parity that does not fit the data: every tag is right then, and only the SHA-256 of a rebuilt part
//! tells. Parity is distrusted before data. The number of tries is bounded, so a wrong shard is not always found; a
//! bundle whose parity fits needs no try.

use std::collections::BTreeSet;

/// Most choices of parity shards, and most data shards left out, that are tried for one stripe.
const MOST: usize = 16;

/// Sets of positions to leave out, in the order to try them, after the first `used` of the `parity` positions gave a
/// wrong part.
pub(crate) fn choices(data: &[usize], parity: &[usize], used: usize) -> Vec<BTreeSet<usize>> {
    // The first combination is the one that was used.
    let others = combinations(parity.len(), used).into_iter().skip(1);
    let without_one = data.iter().take(MOST).map(|position| BTreeSet::from([*position]));
    others.map(|chosen| all_but(parity, &chosen)).chain(without_one).collect()
}

/// The `positions` whose indices are not `chosen`.
fn all_but(positions: &[usize], chosen: &[usize]) -> BTreeSet<usize> {
    (0..positions.len()).filter(|at| !chosen.contains(at)).map(|at| positions[at]).collect()
}

/// The first `MOST + 1` ways to take `some` of `all` indices, each ascending.
fn combinations(all: usize, some: usize) -> Vec<Vec<usize>> {
    let mut found = Vec::new();
    let mut next: Option<Vec<usize>> = (some <= all).then(|| (0..some).collect());
    while let Some(taken) = next.filter(|_| found.len() <= MOST) {
        // The last index that can still move up does, and those behind it follow.
        let movable = (0..some).rposition(|at| taken[at] + some - at < all);
        next = movable.map(|at| {
            let moved = (at..some).map(|later| taken[at] + 1 + later - at);
            taken[..at].iter().copied().chain(moved).collect()
        });
        found.push(taken);
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_choice_of_parity_comes_before_a_shard_of_data() {
        let sets = |data: &[usize], parity: &[usize], used| -> Vec<Vec<usize>> {
            choices(data, parity, used).into_iter().map(|set| set.into_iter().collect()).collect()
        };
        assert_eq!(sets(&[0, 1], &[2, 3], 1), [vec![2], vec![0], vec![1]]);
        assert_eq!(sets(&[0], &[2, 3, 4], 1), [vec![2, 4], vec![2, 3], vec![0]]);
        assert_eq!(sets(&[0], &[2, 3, 4], 2), [vec![3], vec![2], vec![0]]);
        assert_eq!(sets(&[0, 1], &[2], 1), [vec![0], vec![1]], "there is no other parity");
        assert_eq!(sets(&[], &[2], 2), [[0; 0]; 0]);
    }

    #[test]
    fn there_are_not_more_than_can_be_tried() {
        let (data, parity): (Vec<usize>, Vec<usize>) = ((0..150).collect(), (150..255).collect());
        for used in [1, 2, 50, 105] {
            assert!(choices(&data, &parity, used).len() <= 2 * MOST);
        }
    }
}
