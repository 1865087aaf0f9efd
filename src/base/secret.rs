//! Bytes that nobody may keep, and where random ones come from. They lie in memory that is not swapped out
//! (`locked.rs`), and are wiped. What this does not guarantee: copies on the stack and in foreign code, which
//! wipes its own as far as it does; a text that is longer than a slot is ordinary memory.

use std::io::{self, Read};
use std::ops::Deref;

use zeroize::{Zeroize, Zeroizing};

use crate::base::locked::{Arena, Slot};

/// The longest text that finds a place in a slot.
const TEXT: usize = 4096;

static KEYS: Arena<32> = Arena::new();
static TEXTS: Arena<TEXT> = Arena::new();

/// 32 secret bytes, wiped when dropped, never printed.
#[derive(Clone)]
pub struct Secret(Slot<32>);

impl Secret {
    /// From the system's generator.
    pub fn random() -> Self {
        let mut slot = KEYS.take();
        fill(&mut slot[..]);
        Self(slot)
    }

    /// Takes bytes that are secret already.
    pub fn new(mut bytes: [u8; 32]) -> Self {
        let mut slot = KEYS.take();
        slot.copy_from_slice(&bytes);
        bytes.zeroize();
        Self(slot)
    }

    /// The bytes; whoever copies them answers for the copy.
    pub fn expose(&self) -> &[u8; 32] {
        &self.0
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// The 16 bytes from which all keys of one age file follow; wiped when dropped.
#[derive(Clone)]
pub struct FileKey(Slot<32>);

impl FileKey {
    /// From the system's generator.
    pub fn random() -> Self {
        let mut slot = KEYS.take();
        fill(&mut slot[..16]);
        Self(slot)
    }

    /// Takes bytes that are secret already.
    pub fn new(mut bytes: [u8; 16]) -> Self {
        let mut slot = KEYS.take();
        slot[..16].copy_from_slice(&bytes);
        bytes.zeroize();
        Self(slot)
    }

    /// The bytes; whoever copies them answers for the copy.
    pub fn expose(&self) -> &[u8; 16] {
        self.0.first_chunk().expect("a slot is longer than a key")
    }
}

/// A passphrase or another text to be wiped when dropped; never printed.
#[derive(Clone)]
pub struct SecretText {
    slot: Slot<TEXT>,
    len: usize,
    /// What is longer than a slot; else empty.
    long: Zeroizing<String>,
}

impl SecretText {
    /// Takes a text that is secret already, and wipes what it was in.
    pub fn new(mut text: String) -> Self {
        let mut slot = TEXTS.take();
        let Some(room) = slot.get_mut(..text.len()) else {
            return Self { slot, len: 0, long: Zeroizing::new(text) };
        };
        room.copy_from_slice(text.as_bytes());
        let len = text.len();
        text.zeroize();
        Self { slot, len, long: Zeroizing::default() }
    }

    /// The first line of what can be read, without its end; no byte behind it is read.
    ///
    /// # Errors
    /// `InvalidData` if it is no text, or longer than any passphrase.
    pub fn read_line(mut from: impl Read) -> io::Result<Self> {
        let (mut slot, mut len) = (TEXTS.take(), 0);
        loop {
            let next = slot
                .get_mut(len..len + 1)
                .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "the line is too long"))?;
            match from.read(next) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
                Ok(0) => break,
                Ok(_) if next[0] == b'\n' => {
                    len -= usize::from(len > 0 && slot[len - 1] == b'\r');
                    break;
                }
                Ok(_) => len += 1,
            }
        }
        if std::str::from_utf8(&slot[..len]).is_err() {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "it is no text"));
        }
        Ok(Self { slot, len, long: Zeroizing::default() })
    }
}

impl Deref for SecretText {
    type Target = str;

    fn deref(&self) -> &str {
        match self.long.is_empty() {
            true => std::str::from_utf8(&self.slot[..self.len]).expect("only text is put there"),
            false => &self.long,
        }
    }
}

impl std::fmt::Debug for SecretText {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SecretText(..)")
    }
}

/// `N` bytes of the system's generator.
///
/// # Panics
/// When the system has no entropy to give: there is no safe way on.
pub fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    fill(&mut bytes);
    bytes
}

fn fill(bytes: &mut [u8]) {
    getrandom::fill(bytes).expect("the system's random generator answers");
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
        assert_eq!(format!("{:?}", SecretText::new("seven".into())), "SecretText(..)");
    }

    #[test]
    fn texts_of_any_length_are_kept() {
        for len in [0, 1, TEXT - 1, TEXT, TEXT + 1] {
            let text = "x".repeat(len);
            assert_eq!(*SecretText::new(text.clone()).clone(), *text);
        }
    }

    #[test]
    fn a_line_is_read_and_nothing_behind_it() {
        for (given, line, rest) in [
            (&b"seven words\nmore"[..], "seven words", &b"more"[..]),
            (b"dos\r\nmore", "dos", b"more"),
            (b"no end", "no end", b""),
            (b"\r\n", "", b""),
            (b"", "", b""),
            ("caf\u{e9}".as_bytes(), "caf\u{e9}", b""),
        ] {
            let mut from = given;
            assert_eq!((&*SecretText::read_line(&mut from).unwrap(), from), (line, rest));
        }
        for wrong in [&b"\xff\n"[..], &[b'x'; TEXT + 1]] {
            assert_eq!(SecretText::read_line(wrong).unwrap_err().kind(), io::ErrorKind::InvalidData);
        }
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
