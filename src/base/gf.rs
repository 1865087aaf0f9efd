//! Arithmetic in the field GF(2^8) with the polynomial x^8 + x^4 + x^3 + x^2 + 1 (0x11D), as FORMAT section 8 asks.
//! This is the only file with unsafe code: it calls AVX2 on processors that have it. The law that the tests hold: the
//! AVX2 code and the portable code give the same bytes.

const POLYNOMIAL: u16 = 0x11D;

/// Powers of the generator 2, and logarithms. The powers stand there twice, so that the sum of two logarithms needs no
/// remainder. The logarithm of 0 has no meaning.
const TABLES: ([u8; 510], [u8; 256]) = {
    let mut exp = [0; 510];
    let mut log = [0; 256];
    let mut power = 1u16;
    let mut at = 0;
    while at < 255 {
        (exp[at], exp[at + 255]) = (power as u8, power as u8);
        log[power as usize] = at as u8;
        power <<= 1;
        if power > 255 {
            power ^= POLYNOMIAL;
        }
        at += 1;
    }
    (exp, log)
};

/// Multiplies by adding logarithms. Addition in this field is XOR and needs no function.
pub(crate) fn mul(a: u8, b: u8) -> u8 {
    let exp = &TABLES.0;
    let log = &TABLES.1;
    if a == 0 || b == 0 { 0 } else { exp[usize::from(log[usize::from(a)]) + usize::from(log[usize::from(b)])] }
}

/// The element that gives 1 when multiplied with `a`.
///
/// # Panics
/// If `a` is 0, which has no inverse.
pub(crate) fn inverse(a: u8) -> u8 {
    assert!(a != 0, "0 has no inverse");
    TABLES.0[255 - usize::from(TABLES.1[usize::from(a)])]
}

/// `a` to the power of `n`. Here 0 to the power of 0 is 1.
pub(crate) fn power(a: u8, n: usize) -> u8 {
    match (a, n) {
        (_, 0) => 1,
        (0, _) => 0,
        _ => TABLES.0[usize::from(TABLES.1[usize::from(a)]) * n % 255],
    }
}

/// Adds `factor * from` to `into`, byte by byte. Parity spends its time here.
///
/// # Panics
/// If the slices differ in length.
pub(crate) fn mul_add(factor: u8, from: &[u8], into: &mut [u8]) {
    assert_eq!(from.len(), into.len());
    // A product is the sum of the products of both halves of a byte, so two tables of 16 entries are enough.
    let low: [u8; 16] = std::array::from_fn(|half| mul(factor, half as u8));
    let high: [u8; 16] = std::array::from_fn(|half| mul(factor, (half as u8) << 4));
    #[cfg(target_arch = "x86_64")]
    #[allow(unsafe_code)]
    if std::arch::is_x86_feature_detected!("avx2") {
        // SAFETY: the line above has asked the processor, and it has AVX2.
        return unsafe { avx2::mul_add(&low, &high, from, into) };
    }
    portable(&low, &high, from, into);
}

/// Runs on any processor, and finishes the bytes that do not fill a register.
fn portable(low: &[u8; 16], high: &[u8; 16], from: &[u8], into: &mut [u8]) {
    for (from, into) in from.iter().zip(into) {
        *into ^= low[usize::from(from & 15)] ^ high[usize::from(from >> 4)];
    }
}

#[cfg(target_arch = "x86_64")]
#[allow(unsafe_code)]
mod avx2 {
    use std::arch::x86_64::*;

    /// Looks up 32 products at once, sixteen in each half of a register.
    ///
    /// # Safety
    /// The processor has AVX2.
    #[target_feature(enable = "avx2")]
    pub(crate) unsafe fn mul_add(low: &[u8; 16], high: &[u8; 16], from: &[u8], into: &mut [u8]) {
        const STEP: usize = size_of::<__m256i>();
        // SAFETY: each load and store covers 16 bytes of a table or 32 bytes of a chunk, and tables and chunks are
        // exactly as long. None of these instructions needs an aligned address.
        unsafe {
            let low256 = _mm256_broadcastsi128_si256(_mm_loadu_si128(low.as_ptr().cast()));
            let high256 = _mm256_broadcastsi128_si256(_mm_loadu_si128(high.as_ptr().cast()));
            let half = _mm256_set1_epi8(15);
            for (from, into) in from.chunks_exact(STEP).zip(into.chunks_exact_mut(STEP)) {
                let bytes = _mm256_loadu_si256(from.as_ptr().cast());
                let lows = _mm256_shuffle_epi8(low256, _mm256_and_si256(bytes, half));
                let highs = _mm256_shuffle_epi8(high256, _mm256_and_si256(_mm256_srli_epi64::<4>(bytes), half));
                let sum = _mm256_loadu_si256(into.as_ptr().cast());
                let sum = _mm256_xor_si256(sum, _mm256_xor_si256(lows, highs));
                _mm256_storeu_si256(into.as_mut_ptr().cast(), sum);
            }
        }
        let done = from.len() / STEP * STEP;
        super::portable(low, high, &from[done..], &mut into[done..]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Multiplication as a textbook has it: shift, add, reduce. The tables are compared with it.
    fn by_hand(a: u8, b: u8) -> u8 {
        let mut product = 0u16;
        for bit in 0..8 {
            if b >> bit & 1 == 1 {
                product ^= u16::from(a) << bit;
            }
        }
        for bit in (8..16).rev() {
            if product >> bit & 1 == 1 {
                product ^= POLYNOMIAL << (bit - 8);
            }
        }
        product as u8
    }

    #[test]
    fn all_products_are_those_of_the_field() {
        for a in 0..=255 {
            assert!((0..=255).all(|b| mul(a, b) == by_hand(a, b)), "{a}");
            assert!(a == 0 || mul(a, inverse(a)) == 1);
            let mut powers = (0..600).scan(1, |power, _| Some(std::mem::replace(power, mul(*power, a))));
            assert!((0..600).all(|n| Some(power(a, n)) == powers.next()), "{a}");
        }
    }

    #[test]
    fn both_ways_of_adding_give_the_same_bytes() {
        for len in [0, 1, 31, 32, 33, 1000] {
            let from: Vec<u8> = (0..len).map(|at| (at * 7 + 3) as u8).collect();
            for factor in 0..=255 {
                let mut fast: Vec<u8> = (0..len).map(|at| (at * 5) as u8).collect();
                let expected: Vec<u8> =
                    fast.iter().zip(&from).map(|(old, from)| old ^ by_hand(factor, *from)).collect();
                let mut slow = fast.clone();
                mul_add(factor, &from, &mut fast);
                let low: [u8; 16] = std::array::from_fn(|half| mul(factor, half as u8));
                let high: [u8; 16] = std::array::from_fn(|half| mul(factor, (half as u8) << 4));
                portable(&low, &high, &from, &mut slow);
                assert!(fast == expected && slow == expected, "{factor} {len}");
            }
        }
    }
}
