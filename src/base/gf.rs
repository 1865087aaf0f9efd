//! The field GF(2^8) with the polynomial x^8 + x^4 + x^3 + x^2 + 1 (0x11D), as FORMAT section 8
//! wants it. The one file with unsafe code: what AVX2 needs to run where there is AVX2. Law: both
//! ways of multiplying give the same bytes.

const POLYNOMIAL: u16 = 0x11D;

/// Powers of the generator 2, twice over so that sums of two logarithms need no remainder; and
/// logarithms (that of 0 means nothing).
const TABLES: ([u8; 510], [u8; 256]) = {
    let (mut exp, mut log) = ([0; 510], [0; 256]);
    let (mut power, mut at) = (1u16, 0);
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

/// The product.
pub fn mul(a: u8, b: u8) -> u8 {
    let (exp, log) = (&TABLES.0, &TABLES.1);
    if a == 0 || b == 0 { 0 } else { exp[usize::from(log[usize::from(a)]) + usize::from(log[usize::from(b)])] }
}

/// What times `a` is 1.
///
/// # Panics
/// For 0, which has none.
pub fn inverse(a: u8) -> u8 {
    assert!(a != 0, "0 has no inverse");
    TABLES.0[255 - usize::from(TABLES.1[usize::from(a)])]
}

/// `a` to the power of `n`; that of 0 to 0 is 1.
pub fn power(a: u8, n: usize) -> u8 {
    match (a, n) {
        (_, 0) => 1,
        (0, _) => 0,
        _ => TABLES.0[usize::from(TABLES.1[usize::from(a)]) * n % 255],
    }
}

/// Adds `factor * from` to `into`, byte by byte.
///
/// # Panics
/// When their lengths differ.
pub fn mul_add(factor: u8, from: &[u8], into: &mut [u8]) {
    assert_eq!(from.len(), into.len());
    // Products of the factor with each low and each high half of a byte.
    let low: [u8; 16] = std::array::from_fn(|half| mul(factor, half as u8));
    let high: [u8; 16] = std::array::from_fn(|half| mul(factor, (half as u8) << 4));
    #[cfg(target_arch = "x86_64")]
    #[allow(unsafe_code)]
    if std::arch::is_x86_feature_detected!("avx2") {
        // SAFETY: the processor has AVX2, as was just asked.
        return unsafe { avx2::mul_add(&low, &high, from, into) };
    }
    portable(&low, &high, from, into);
}

fn portable(low: &[u8; 16], high: &[u8; 16], from: &[u8], into: &mut [u8]) {
    for (from, into) in from.iter().zip(into) {
        *into ^= low[usize::from(from & 15)] ^ high[usize::from(from >> 4)];
    }
}

#[cfg(target_arch = "x86_64")]
#[allow(unsafe_code)]
mod avx2 {
    use std::arch::x86_64::*;

    /// Looks products up sixteen to a half register.
    ///
    /// # Safety
    /// The processor has AVX2.
    #[target_feature(enable = "avx2")]
    pub unsafe fn mul_add(low: &[u8; 16], high: &[u8; 16], from: &[u8], into: &mut [u8]) {
        const STEP: usize = size_of::<__m256i>();
        // SAFETY: what is loaded and stored are 16 bytes of the tables and 32 of the chunks, which
        // are just as long; neither instruction wants them aligned.
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

    /// Multiplication as one learns it: shift, add, reduce.
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
