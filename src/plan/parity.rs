//! Chooses how much parity goes into which stripes, so that the drives at hand keep the promise (FORMAT section 8).
//! Lost drives and bad sectors draw on the same parity, so a wish states both.

use crate::format::stripe::Scheme;

/// k and m without `--lose`: long stripes with two parity parts cost about 5 %.
const USUAL: (u16, u16) = (40, 2);
/// Most shards of a stripe on one volume: longer stripes spend less on bad sectors, but take more memory.
const MOST_ON_A_VOLUME: u16 = 8;

/// What the user asks for.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(crate) struct Wish {
    /// Drives that may be lost.
    pub(crate) lose: u16,
    /// Parity against bad sectors, in percent of the data; `None` for the usual amount.
    pub(crate) mend: Option<f64>,
}

/// Why drives cannot keep a promise.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ParityError {
    #[error("that any {lose} may be lost needs at least {} drives, and there are {drives}", .lose + 1)]
    TooFewDrives { lose: u16, drives: u16 },
    /// Parity takes all shards of a stripe. `mends` says whether parity against bad sectors takes its share.
    #[error("parity for {lose} lost drives leaves no room for data on {drives}")]
    NoRoomForData { lose: u16, mends: bool, drives: u16 },
}

/// Chooses stripes for `volumes` volumes; `None` if no parity is wanted. `stripes` tells how many stripes of a shape
/// the drives hold.
///
/// # Errors
/// These drives cannot keep the promise.
pub(crate) fn choose(wish: Wish, volumes: u16, stripes: impl Fn(Scheme) -> u64) -> Result<Option<Scheme>, ParityError> {
    let Wish { lose, mend } = wish;
    if lose == 0 {
        return Ok(against_bad_sectors(mend));
    }
    if lose >= volumes {
        return Err(ParityError::TooFewDrives { lose, drives: volumes });
    }
    let shapes = (1..=MOST_ON_A_VOLUME).flat_map(|c| {
        let most = (u32::from(c) * u32::from(volumes)).min(Scheme::MOST.into()) as u16;
        (1..most).filter_map(move |k| {
            let m = c.checked_mul(lose)?.checked_add(beside_lost_drives(k, mend))?;
            Scheme::new(k, m, c).filter(|_| k + m <= most)
        })
    });
    // The most data wins; of equals the shape with the least parity, then the shortest stripe.
    let best = shapes.max_by_key(|scheme| {
        let data = stripes(*scheme) * u64::from(scheme.k);
        // On drives that hold no single stripe all shapes hold no data: their share of parity decides.
        (data, u32::from(scheme.k) * 1000 / (scheme.shards() as u32), std::cmp::Reverse(scheme.shards()))
    });
    let mends = mend.is_some_and(|percent| percent > 0.0);
    best.map(Some).ok_or(ParityError::NoRoomForData { lose, mends, drives: volumes })
}

/// Parity parts against bad sectors in a stripe of `k` data parts, beside those that stand for lost drives.
fn beside_lost_drives(k: u16, mend: Option<f64>) -> u16 {
    match mend {
        Some(percent) if percent > 0.0 => ((f64::from(k) * percent / 100.0).ceil() as u16).max(1),
        _ => 0,
    }
}

/// Stripes without `--lose`; `None` for `--mend 0`.
fn against_bad_sectors(mend: Option<f64>) -> Option<Scheme> {
    let (k, m) = match mend {
        None => USUAL,
        Some(0.0) => return None,
        // There are at least two parity parts, because the first bad sector uses one up.
        Some(percent) if percent < 5.0 => ((200.0 / percent).min(f64::from(Scheme::MOST - 2)) as u16, 2),
        Some(percent) => (USUAL.0, (f64::from(USUAL.0) * percent / 100.0).ceil() as u16),
    };
    Scheme::new(k, m, k + m)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many stripes of a shape fit on drives with room for so many parts.
    fn on(drives: &'static [u64]) -> impl Fn(Scheme) -> u64 {
        move |scheme| {
            let fits = |stripes: &u64| {
                let most = |room: &u64| (*room).min(u64::from(scheme.c) * stripes);
                drives.iter().map(most).sum::<u64>() >= scheme.shards() as u64 * stripes
            };
            (0..=1000).rev().find(fits).unwrap_or(0)
        }
    }

    fn chosen(lose: u16, mend: Option<f64>, drives: &'static [u64]) -> (u16, u16, u16) {
        let scheme = choose(Wish { lose, mend }, drives.len() as u16, on(drives)).unwrap().unwrap();
        (scheme.k, scheme.m, scheme.c)
    }

    #[test]
    fn the_promise_is_kept_with_the_least() {
        assert_eq!(chosen(1, None, &[100, 100]), (1, 1, 1));
        assert_eq!(chosen(1, None, &[100, 100, 100]), (2, 1, 1));
        assert_eq!(chosen(2, Some(0.0), &[100; 5]), (3, 2, 1));
        assert_eq!(chosen(3, None, &[100; 9]), (6, 3, 1));
        // Large drives among small ones need not be wasted.
        assert_eq!(chosen(1, None, &[100, 100, 50, 50]), (2, 1, 1));
    }

    #[test]
    fn bad_sectors_get_their_share_besides() {
        let (k, m, c) = chosen(1, Some(5.0), &[100; 5]);
        assert!(m > c && f64::from(m - c) >= 0.05 * f64::from(k), "{k} {m} {c}");
        assert!(k * 10 >= (k + m) * 7, "{k} of {}", k + m);
    }

    #[test]
    fn without_lose_stripes_are_long() {
        let of = |mend| choose(Wish { lose: 0, mend }, 3, |_| 0).unwrap().map(|scheme| (scheme.k, scheme.m, scheme.c));
        assert_eq!(of(None), Some((40, 2, 42)));
        assert_eq!(of(Some(0.0)), None);
        assert_eq!(of(Some(10.0)), Some((40, 4, 44)));
        assert_eq!(of(Some(1.0)), Some((200, 2, 202)));
        assert_eq!(of(Some(0.1)), Some((253, 2, 255)));
        assert_eq!(of(Some(100.0)), Some((40, 40, 80)));
    }

    #[test]
    fn what_cannot_be_promised_is_refused() {
        let refused = |lose, mend, drives| choose(Wish { lose, mend }, drives, |_| 1).unwrap_err();
        assert_eq!(refused(2, None, 2), ParityError::TooFewDrives { lose: 2, drives: 2 });
        assert_eq!(refused(1, None, 1), ParityError::TooFewDrives { lose: 1, drives: 1 });
        let both = ParityError::NoRoomForData { lose: 199, mends: true, drives: 200 };
        assert_eq!(refused(199, Some(100.0), 200), both);
        let alone = ParityError::NoRoomForData { lose: 255, mends: false, drives: 256 };
        assert_eq!(refused(255, None, 256), alone);
    }
}
