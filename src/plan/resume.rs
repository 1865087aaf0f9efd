//! How far an interrupted packing came: which parts stay, and where the next one begins.

use std::collections::BTreeMap;

use crate::format::head::PartKind;
use crate::format::journal::Written;
use crate::format::stripe::Scheme;

/// What is packed already.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Reached {
    /// Parts that stay.
    pub parts: Vec<Written>,
    /// Data parts among them: the first so many.
    pub data: u32,
    /// Bytes of tar that they hold.
    pub tar: u64,
    /// Whole stripes of them, where there is parity.
    pub stripes: u32,
}

/// Of the parts that are on the drives, whole, those that make the beginning of the bundle. With
/// parity it ends with a whole stripe: of an open one the sums are lost, and nobody here can read the
/// parts again. `parts` are in the order they were written in: of two with one number the later
/// counts.
pub fn reached(parts: &[Written], scheme: Option<Scheme>, tar_len: u64) -> Reached {
    let (mut data, mut parity) = (BTreeMap::new(), BTreeMap::new());
    for part in parts {
        let table = if part.kind == PartKind::Parity { &mut parity } else { &mut data };
        table.insert(part.number, part);
    }
    let mut ends = vec![0];
    while let Some(Written { kind: PartKind::Data { offset, length }, .. }) = data.get(&(ends.len() as u32)) {
        if *offset != ends[ends.len() - 1] || *length == 0 {
            break;
        }
        ends.push(offset + length);
    }
    let (mut count, mut stripes) = (ends.len() as u32 - 1, 0);
    if let Some(scheme) = scheme {
        let (k, m) = (u32::from(scheme.k), u32::from(scheme.m));
        let all = |stripe: u32| (stripe * m + 1..=(stripe + 1) * m).all(|number| parity.contains_key(&number));
        // The last stripe may have less data than the others.
        let last = if ends[count as usize] == tar_len { count.div_ceil(k) } else { count / k };
        while stripes < last && all(stripes) {
            stripes += 1;
        }
        count = count.min(stripes * k);
        parity.retain(|number, _| *number <= stripes * m);
    }
    data.retain(|number, _| *number <= count);
    let parts = data.into_values().chain(parity.into_values()).cloned().collect();
    Reached { parts, data: count, tar: ends[count as usize], stripes }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::digest::Digest;

    fn data(number: u32) -> Written {
        let kind = PartKind::Data { offset: u64::from(number - 1) * 512, length: 512 };
        Written { number, kind, volume: 1, sha256: Digest::ZERO }
    }

    fn parity(number: u32) -> Written {
        Written { number, kind: PartKind::Parity, volume: 2, sha256: Digest::ZERO }
    }

    fn after(parts: &[Written], scheme: Option<Scheme>) -> (u32, u64, u32, usize) {
        let reached = reached(parts, scheme, 5 * 512);
        (reached.data, reached.tar, reached.stripes, reached.parts.len())
    }

    #[test]
    fn without_parity_a_gap_ends_it() {
        assert_eq!(after(&[], None), (0, 0, 0, 0));
        assert_eq!(after(&[data(2), data(1), data(4)], None), (2, 1024, 0, 2));
        let mut elsewhere = data(2);
        elsewhere.kind = PartKind::Data { offset: 4096, length: 512 };
        assert_eq!(after(&[data(1), data(2), elsewhere], None), (1, 512, 0, 1), "the later line counts");
    }

    #[test]
    fn with_parity_it_ends_with_a_whole_stripe() {
        let scheme = Scheme::new(2, 1, 1);
        let all: Vec<Written> = (1..=5).map(data).chain((1..=3).map(parity)).collect();
        assert_eq!(after(&all, scheme), (5, 2560, 3, 8), "the last is short and whole");
        assert_eq!(after(&all[..7], scheme), (4, 2048, 2, 6), "its parity is not there");
        assert_eq!(after(&all[1..], scheme), (0, 0, 0, 0));
        let without: Vec<Written> = all.iter().filter(|part| **part != parity(1)).cloned().collect();
        assert_eq!(after(&without, scheme), (0, 0, 0, 0), "sums of the first are lost");
    }
}
