//! Bytes that nobody may keep, and where random ones come from.

use zeroize::Zeroize;

/// 32 secret bytes, wiped when dropped, never printed.
#[derive(Clone)]
pub struct Secret([u8; 32]);

impl Secret {
    /// From the system's generator.
    pub fn random() -> Self {
        Self(random())
    }

    /// Takes bytes that are secret already.
    pub fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The bytes; whoever copies them answers for the copy.
    pub fn expose(&self) -> &[u8; 32] {
        &self.0
    }
}

impl Drop for Secret {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// The 16 bytes from which all keys of one age file follow; wiped when dropped.
#[derive(Clone)]
pub struct FileKey([u8; 16]);

impl FileKey {
    /// From the system's generator.
    pub fn random() -> Self {
        Self(random())
    }

    /// Takes bytes that are secret already.
    pub fn new(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// The bytes; whoever copies them answers for the copy.
    pub fn expose(&self) -> &[u8; 16] {
        &self.0
    }
}

impl Drop for FileKey {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

/// A passphrase or another text to be wiped when dropped.
pub type SecretText = zeroize::Zeroizing<String>;

/// `N` bytes of the system's generator.
///
/// # Panics
/// When the system has no entropy to give: there is no safe way on.
pub fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).expect("the system's random generator answers");
    bytes
}

/// A fair order of `items`.
pub fn shuffle<T>(items: &mut [T]) {
    for i in (1..items.len()).rev() {
        // 64 random bits modulo a few: the bias is far below anything that could be seen.
        let j = u64::from_le_bytes(random()) % (i as u64 + 1);
        items.swap(i, j as usize);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_not_printed() {
        assert_eq!(format!("{:?}", Secret::new([7; 32])), "Secret(..)");
    }

    #[test]
    fn a_shuffle_keeps_all() {
        let mut items: Vec<u32> = (0..100).collect();
        shuffle(&mut items);
        assert_ne!(items, (0..100).collect::<Vec<_>>(), "one chance in 100!");
        items.sort();
        assert_eq!(items, (0..100).collect::<Vec<_>>());
    }
}
