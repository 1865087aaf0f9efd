//! Secret bytes, and the source of random ones. Secrets lie in memory that is not swapped out (`locked.rs`), and are
//! wiped when dropped. Not guaranteed: copies on the stack and in foreign code, which wipes its own as far as it does.
//! A text that is longer than a slot lies in ordinary memory, and is wiped too.

use std::io::{self, Read};
use std::ops::Deref;

use zeroize::{Zeroize, Zeroizing};

use crate::base::locked::{Arena, Slot};

/// The longest text that fits into a slot, in bytes.
const TEXT: usize = 4096;

/// Slots for keys of 32 and of 16 bytes.
static KEYS: Arena<32> = Arena::new();
static TEXTS: Arena<TEXT> = Arena::new();

/// 32 secret bytes. They are wiped when dropped, and debug output hides them.
#[derive(Clone)]
pub struct Secret(Slot<32>);

impl Secret {
    /// Takes the bytes from the system's random generator.
    pub(crate) fn random() -> Self {
        let mut slot = KEYS.take();
        fill(&mut slot[..]);
        Self(slot)
    }

    /// Takes bytes that are secret already. The caller has to wipe any copy of its own.
    pub(crate) fn new(mut bytes: [u8; 32]) -> Self {
        let mut slot = KEYS.take();
        slot.copy_from_slice(&bytes);
        bytes.zeroize();
        Self(slot)
    }

    /// The bytes. A caller that copies them has to wipe the copy.
    pub fn expose(&self) -> &[u8; 32] {
        &self.0
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// The 16 bytes from which all keys of one age file are derived. They are wiped when dropped.
#[derive(Clone)]
pub struct FileKey(Slot<32>);

impl FileKey {
    /// Takes the bytes from the system's random generator.
    pub fn random() -> Self {
        let mut slot = KEYS.take();
        fill(&mut slot[..16]);
        Self(slot)
    }

    /// Takes bytes that are secret already. The caller has to wipe any copy of its own.
    pub fn new(mut bytes: [u8; 16]) -> Self {
        let mut slot = KEYS.take();
        slot[..16].copy_from_slice(&bytes);
        bytes.zeroize();
        Self(slot)
    }

    /// The bytes. A caller that copies them has to wipe the copy.
    pub fn expose(&self) -> &[u8; 16] {
        self.0.first_chunk().expect("a slot is longer than a key")
    }
}

/// A passphrase or another secret text. It is wiped when dropped, and debug output hides it.
#[derive(Clone)]
pub struct SecretText {
    slot: Slot<TEXT>,
    len: usize,
    /// The text if it is longer than a slot, otherwise empty.
    long: Zeroizing<String>,
}

impl SecretText {
    /// Moves a text into a slot, and wipes the string it came in.
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

    /// Reads the first line and returns it without its line end. Reads byte by byte, so that no byte after the line is
    /// taken.
    ///
    /// # Errors
    /// `InvalidData` if the line is not UTF-8 or is longer than a slot.
    pub(crate) fn read_line(mut from: impl Read) -> io::Result<Self> {
        let mut slot = TEXTS.take();
        let mut len = 0;
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
        if !self.long.is_empty() {
            return &self.long;
        }
        std::str::from_utf8(&self.slot[..self.len]).expect("only text is put there")
    }
}

impl std::fmt::Debug for SecretText {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SecretText(..)")
    }
}

/// `N` bytes from the system's random generator.
///
/// # Panics
/// If the system has no random numbers. There is no safe way to go on without them.
pub fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    fill(&mut bytes);
    bytes
}

fn fill(bytes: &mut [u8]) {
    getrandom::fill(bytes).expect("the system's random generator answers");
}

/// Puts `items` into a random order, in which all orders are equally likely.
pub(crate) fn shuffle<T>(items: &mut [T]) {
    for i in (1..items.len()).rev() {
        // 64 random bits modulo a small number: the bias is far too small to be seen.
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
