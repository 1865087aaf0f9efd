//! The three primitives that age consists of: HKDF, HMAC and ChaCha20-Poly1305. This is the only file that uses `ring`.
//! Pouch has no cryptography of its own.

use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};
use ring::{hkdf, hmac};

use crate::base::secret::FileKey;

/// The key of one age payload. It seals and opens chunks in any order, on any thread.
pub struct ChunkKey(LessSafeKey);

/// A chunk whose tag does not fit: it is damaged, from another file, or in another place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct WrongTag;

impl ChunkKey {
    /// `HKDF-SHA-256(ikm = file key, salt = nonce, info = "payload")`.
    pub fn new(file_key: &FileKey, nonce: &[u8; 16]) -> Self {
        let key = expand(nonce, b"payload", file_key.expose());
        let key = UnboundKey::new(&CHACHA20_POLY1305, &*key).expect("32 bytes are a key");
        Self(LessSafeKey::new(key))
    }

    /// Encrypts `chunk` in place and returns its tag. One key must never seal two chunks with the same `index` and
    /// `last`.
    pub fn seal(&self, index: u64, last: bool, chunk: &mut [u8]) -> [u8; 16] {
        let tag = self.0.seal_in_place_separate_tag(nonce(index, last), Aad::empty(), chunk);
        let tag = tag.expect("a chunk is far below the AEAD's limit");
        tag.as_ref().try_into().expect("the tag has 16 bytes")
    }

    /// Decrypts `sealed`, a chunk and its tag, in place. The plaintext is the part before the tag. After [`WrongTag`]
    /// the bytes are no plaintext and must not be used.
    pub(crate) fn open(&self, index: u64, last: bool, sealed: &mut [u8]) -> Result<(), WrongTag> {
        self.0.open_in_place(nonce(index, last), Aad::empty(), sealed).map(|_| ()).map_err(|_| WrongTag)
    }
}

/// The nonce of age's STREAM: 11 bytes of counter, big-endian, and a byte that marks the last chunk.
fn nonce(index: u64, last: bool) -> Nonce {
    let mut bytes = [0; 12];
    bytes[3..11].copy_from_slice(&index.to_be_bytes());
    bytes[11] = last.into();
    Nonce::assume_unique_for_key(bytes)
}

/// The MAC at the end of an age header, over everything before it.
pub(crate) fn header_mac(file_key: &FileKey, header: &[u8]) -> [u8; 32] {
    let key = hmac::Key::new(hmac::HMAC_SHA256, &*expand(b"", b"header", file_key.expose()));
    hmac::sign(&key, header).as_ref().try_into().expect("HMAC-SHA-256 has 32 bytes")
}

/// HKDF-SHA-256 with 32 bytes of output, which are wiped when dropped.
fn expand(salt: &[u8], info: &[u8], ikm: &[u8]) -> zeroize::Zeroizing<[u8; 32]> {
    let mut out = zeroize::Zeroizing::new([0; 32]);
    let prk = hkdf::Salt::new(hkdf::HKDF_SHA256, salt).extract(ikm);
    let okm = prk.expand(&[info], hkdf::HKDF_SHA256).and_then(|okm| okm.fill(&mut *out).map(|()| out.clone()));
    okm.expect("32 bytes can be expanded")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chunk_opens_only_in_its_place() {
        let key = ChunkKey::new(&FileKey::random(), &[1; 16]);
        let mut chunk = b"chunk".to_vec();
        let tag = key.seal(3, false, &mut chunk);
        chunk.extend_from_slice(&tag);
        for (index, last) in [(2, false), (3, true), (4, false)] {
            assert_eq!(key.open(index, last, &mut chunk.clone()), Err(WrongTag));
        }
        key.open(3, false, &mut chunk).unwrap();
        assert_eq!(&chunk[..5], b"chunk");
    }
}
