//! Hashes. SHA-256 is the only hash in the format. XXH3-128 is fast and proves nothing, so no bundle contains it.
//!
//! A hash that a person may compare with `sha256sum` is [`sha256`]. Every other SHA-256 starts with
//! `pouch/v1/<purpose>\0` ([`tagged`]), so that a value made for one purpose never fits another.

use sha2::{Digest as _, Sha256};

/// A SHA-256 value. Debug output shows it as lower-case hex.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Digest(pub [u8; 32]);

impl Digest {
    /// What the manifests list for a file that was not read as announced: 64 zeros. So `sha256sum -c` fails on exactly
    /// those files (FORMAT section 3).
    pub(crate) const ZERO: Digest = Digest([0; 32]);
}

impl std::fmt::Debug for Digest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&crate::base::text::hex(&self.0))
    }
}

/// A SHA-256 in progress. It depends on the order of the bytes, not on how they are cut.
#[derive(Clone, Default)]
pub(crate) struct Hasher(Sha256);

impl Hasher {
    /// Starts a plain SHA-256, as `sha256sum` computes it.
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// Starts a hash with `pouch/v1/<purpose>\0`.
    pub(crate) fn tagged(purpose: &str) -> Self {
        let mut hasher = Self::new();
        hasher.update(b"pouch/v1/");
        hasher.update(purpose.as_bytes());
        hasher.update(b"\0");
        hasher
    }

    pub(crate) fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    pub(crate) fn finish(self) -> Digest {
        Digest(self.0.finalize().into())
    }
}

/// XXH3-128. It detects accidental change fast and gives no protection against intent. For journals, for the marks of
/// reading back, and for lookups in memory.
pub(crate) fn quick(bytes: &[u8]) -> u128 {
    twox_hash::XxHash3_128::oneshot(bytes)
}

/// [`quick`] over bytes that come in pieces.
pub(crate) struct Quick(Box<twox_hash::XxHash3_128>);

impl Default for Quick {
    fn default() -> Self {
        Self(Box::new(twox_hash::XxHash3_128::new()))
    }
}

impl Quick {
    pub(crate) fn update(&mut self, bytes: &[u8]) {
        self.0.write(bytes);
    }

    pub(crate) fn finish(self) -> u128 {
        self.0.finish_128()
    }
}

/// Plain SHA-256: the value that `sha256sum` prints.
pub fn sha256(bytes: &[u8]) -> Digest {
    Digest(Sha256::digest(bytes).into())
}

/// `H(purpose, bytes)` of FORMAT section 5.
pub fn tagged(purpose: &str, bytes: &[u8]) -> Digest {
    let mut hasher = Hasher::tagged(purpose);
    hasher.update(bytes);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_plain_hash_is_the_one_sha256sum_prints() {
        let empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert_eq!(format!("{:?}", sha256(b"")), empty);
    }

    #[test]
    fn pieces_make_no_difference() {
        let bytes: Vec<u8> = (0..100_000u32).map(|n| (n * 31) as u8).collect();
        let mut hash = Quick::default();
        bytes.chunks(777).for_each(|piece| hash.update(piece));
        assert_eq!(hash.finish(), quick(&bytes));
    }

    #[test]
    fn a_tag_separates_purposes() {
        assert_eq!(tagged("a", b"x"), sha256(b"pouch/v1/a\0x"));
        assert_ne!(tagged("a", b"x"), tagged("b", b"x"));
    }
}
