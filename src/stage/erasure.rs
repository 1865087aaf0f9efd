//! Makes parity from data shards, and lost shards from the ones that are left: systematic Reed-Solomon over
//! GF(2^8) (FORMAT section 8). Law: any k of the k + m shards give all others.
//!
//! Not guaranteed: that a rebuilt shard is right. A wrong shard goes in unnoticed, so the caller brings only bytes
//! that it has verified.

use crate::base::gf::{inverse, mul, mul_add, power};

/// The code for stripes of k data and m parity shards. Shards count from 0: data shards first, then parity.
#[derive(Debug, Clone)]
pub struct Code {
    k: usize,
    /// One row of k factors per shard: the shard is the sum of the data shards times these factors. The code is
    /// systematic, so the first k rows are the identity.
    rows: Vec<Vec<u8>>,
}

impl Code {
    /// Makes the generator matrix: a Vandermonde matrix, times the inverse of its own top, which turns the first k
    /// rows into the identity. The tests compare its parity with that of an independent implementation.
    ///
    /// # Panics
    /// Unless 1 <= k and k + m <= 255.
    pub fn new(k: usize, m: usize) -> Self {
        assert!(k >= 1 && k + m <= 255, "no such code: {k} and {m}");
        let vandermonde: Vec<Vec<u8>> =
            (0..k + m).map(|row| (0..k).map(|column| power(row as u8, column)).collect()).collect();
        let top = inverted(vandermonde[..k].to_vec());
        Self { k, rows: vandermonde.iter().map(|row| times(row, &top)).collect() }
    }

    /// Adds to `sum` what the `bytes` of data shard `position` contribute to shard `parity`, which is k or more.
    /// Once every data shard was added to zeros, `sum` is the parity. The order makes no difference.
    pub fn add(&self, position: usize, bytes: &[u8], parity: usize, sum: &mut [u8]) {
        mul_add(self.rows[parity][position], bytes, sum);
    }

    /// Returns for each of `wanted` the factors of the shards `from`, in their order: a wanted shard is the sum of
    /// those shards times its factors.
    ///
    /// # Panics
    /// Unless `from` names exactly k different shards.
    pub(crate) fn recover(&self, from: &[usize], wanted: &[usize]) -> Vec<Vec<u8>> {
        assert_eq!(from.len(), self.k);
        let data = inverted(from.iter().map(|shard| self.rows[*shard].clone()).collect());
        wanted.iter().map(|shard| times(&self.rows[*shard], &data)).collect()
    }
}

/// The product of a row and a square matrix.
fn times(row: &[u8], matrix: &[Vec<u8>]) -> Vec<u8> {
    let mut out = vec![0; row.len()];
    for (factor, line) in row.iter().zip(matrix) {
        mul_add(*factor, line, &mut out);
    }
    out
}

/// Inverts a square matrix by Gauss-Jordan elimination: each step that turns `left` into the identity also turns
/// the identity in `right` into the inverse.
///
/// # Panics
/// If the rows are not independent. Any k different rows of the code's matrix are.
fn inverted(mut left: Vec<Vec<u8>>) -> Vec<Vec<u8>> {
    let len = left.len();
    let mut right: Vec<Vec<u8>> =
        (0..len).map(|row| (0..len).map(|column| u8::from(row == column)).collect()).collect();
    for column in 0..len {
        // In a finite field any pivot but 0 will do: nothing is rounded.
        let pivot = (column..len).find(|row| left[*row][column] != 0).expect("the rows are independent");
        left.swap(column, pivot);
        right.swap(column, pivot);
        let factor = inverse(left[column][column]);
        for row in [&mut left[column], &mut right[column]] {
            row.iter_mut().for_each(|value| *value = mul(*value, factor));
        }
        let source = left[column].clone();
        let added = right[column].clone();
        for row in (0..len).filter(|row| *row != column) {
            let factor = left[row][column];
            if factor != 0 {
                mul_add(factor, &source, &mut left[row]);
                mul_add(factor, &added, &mut right[row]);
            }
        }
    }
    right
}

#[cfg(test)]
mod tests {
    use super::*;
    use reed_solomon_erasure::galois_8::ReedSolomon;

    /// k data shards of `len` bytes with a pattern of their own, and their m parity shards.
    fn shards(k: usize, m: usize, len: usize) -> Vec<Vec<u8>> {
        let byte = |shard: usize, at: usize| (shard * 131 + at * 7 + at / 3 * shard) as u8;
        let mut shards: Vec<Vec<u8>> = (0..k).map(|shard| (0..len).map(|at| byte(shard, at)).collect()).collect();
        shards.resize(k + m, vec![0; len]);
        let code = Code::new(k, m);
        for parity in k..k + m {
            let mut sum = vec![0; len];
            (0..k).for_each(|position| code.add(position, &shards[position], parity, &mut sum));
            shards[parity] = sum;
        }
        shards
    }

    #[test]
    fn parity_is_that_of_an_independent_implementation() {
        for (k, m) in
            [(1, 1), (1, 3), (2, 1), (3, 2), (4, 2), (10, 3), (17, 5), (40, 2), (153, 102), (254, 1), (1, 254)]
        {
            let ours = shards(k, m, 100);
            let mut theirs = ours.clone();
            theirs[k..].iter_mut().for_each(|shard| shard.fill(0));
            ReedSolomon::new(k, m).unwrap().encode(&mut theirs).unwrap();
            assert!(ours == theirs, "{k} + {m}");
        }
    }

    #[test]
    fn every_k_of_up_to_ten_shards_give_the_others() {
        for k in 1..10 {
            for m in 1..=10 - k {
                let (code, shards) = (Code::new(k, m), shards(k, m, 40));
                // Each bit of `kept` is a shard; every choice of k shards is tried.
                for kept in (0u32..1 << (k + m)).filter(|kept| kept.count_ones() as usize == k) {
                    let (from, wanted): (Vec<_>, Vec<_>) = (0..k + m).partition(|shard| kept >> shard & 1 == 1);
                    for (factors, wanted) in code.recover(&from, &wanted).iter().zip(wanted) {
                        let mut sum = vec![0; 40];
                        factors.iter().zip(&from).for_each(|(factor, from)| mul_add(*factor, &shards[*from], &mut sum));
                        assert!(sum == shards[wanted], "{k} + {m}: {wanted} from {from:?}");
                    }
                }
            }
        }
    }
}
