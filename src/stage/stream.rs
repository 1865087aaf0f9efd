//! Seals and opens age payloads chunk by chunk: parts in place, on any thread, and small files as streams.
//!
//! A part is a whole number of full chunks; a stream ends with a chunk that may be short. Stock age reads both, and
//! writes streams that this file opens. Law: `open(seal(x)) = x`, and no other bytes open.
//!
//! Not guaranteed: that a stream is whole when its first bytes come out. [`Opener`] verifies each chunk before it hands
//! it out, but damage or a missing end further back shows only there.

use std::io::{self, Read, Write};

use crate::base::crypto::ChunkKey;
use crate::base::digest::{Digest, Hasher};
use crate::base::secret::FileKey;
use crate::format::part::{CHUNK, HEADER, PartBuf, SEALED_CHUNK, TAG};

/// Seals a part while its plaintext arrives. Each chunk is copied, sealed and hashed while it is in the core's cache.
pub struct PartSealer<'a, F: FnMut(usize, &[u8])> {
    key: ChunkKey,
    /// SHA-256 of the file so far, header included.
    hasher: Hasher,
    seen: F,
    chunks: std::iter::Enumerate<std::slice::ChunksExactMut<'a, u8>>,
    /// Index and bytes of the chunk that is being filled; `None` once the part is full.
    current: Option<(usize, &'a mut [u8])>,
    /// Plaintext bytes in the current chunk.
    filled: usize,
}

impl<'a, F: FnMut(usize, &[u8])> PartSealer<'a, F> {
    /// Begins a part with that header, which ends in the payload's nonce; old content of `part` is overwritten.
    /// `seen` gets the index and plaintext of each chunk just before it is sealed, for parity.
    pub fn new(file_key: &FileKey, header: &[u8; HEADER], part: &'a mut PartBuf, seen: F) -> Self {
        *part.header_mut() = *header;
        let mut hasher = Hasher::new();
        hasher.update(header);
        let mut chunks = part.chunks_mut().enumerate();
        let current = chunks.next();
        Self { key: ChunkKey::new(file_key, nonce(header)), hasher, seen, chunks, current, filled: 0 }
    }

    /// Appends plaintext.
    ///
    /// # Panics
    /// If the part is full: the caller counts what a part holds.
    pub fn append(&mut self, mut plain: &[u8]) {
        while !plain.is_empty() {
            let (_, chunk) = self.current.as_mut().expect("whoever fills a part counts what it holds");
            let (now, rest) = plain.split_at(plain.len().min(CHUNK - self.filled));
            chunk[self.filled..][..now.len()].copy_from_slice(now);
            self.filled += now.len();
            plain = rest;
            if self.filled == CHUNK {
                self.seal_chunk();
            }
        }
    }

    /// Pads the part with zeros and returns the SHA-256 of its file.
    pub fn finish(mut self) -> Digest {
        while let Some((_, chunk)) = &mut self.current {
            chunk[self.filled..CHUNK].fill(0);
            self.seal_chunk();
        }
        self.hasher.finish()
    }

    fn seal_chunk(&mut self) {
        if let Some((index, chunk)) = self.current.take() {
            // With no chunk left behind it, this is the last one, which age marks in the nonce.
            let (plain, tag) = chunk.split_at_mut(CHUNK);
            (self.seen)(index, plain);
            tag.copy_from_slice(&self.key.seal(index as u64, self.chunks.len() == 0, plain));
            self.hasher.update(chunk);
        }
        self.current = self.chunks.next();
        self.filled = 0;
    }
}

/// SHA-256 of the file that a part with this header and these chunks of plaintext makes. Sealing has no randomness of
/// its own, so a rebuilt part can be compared with the digest in the head.
pub(crate) fn sealed_digest<'a>(
    file_key: &FileKey,
    header: &[u8; HEADER],
    chunks: impl ExactSizeIterator<Item = &'a [u8]>,
) -> Digest {
    let key = ChunkKey::new(file_key, nonce(header));
    let mut hasher = Hasher::new();
    let last = chunks.len();
    hasher.update(header);
    let mut sealed = vec![0; CHUNK];
    for (index, plain) in chunks.enumerate() {
        sealed.copy_from_slice(plain);
        let tag = key.seal(index as u64, index + 1 == last, &mut sealed);
        hasher.update(&sealed);
        hasher.update(&tag);
    }
    hasher.finish()
}

/// Opens the chunks of a part in any order: each one has its own tag.
pub struct PartOpener {
    key: ChunkKey,
    chunks: usize,
}

impl PartOpener {
    /// Makes an opener for a part of `chunks` chunks: age marks the last one, so the number must be right.
    pub fn new(file_key: &FileKey, header: &[u8; HEADER], chunks: usize) -> Self {
        Self { key: ChunkKey::new(file_key, nonce(header)), chunks }
    }

    /// Opens a chunk in place. Returns `false` if the chunk is damaged; its bytes must not be used then.
    pub(crate) fn open(&self, index: usize, sealed: &mut [u8]) -> bool {
        self.key.open(index as u64, index + 1 == self.chunks, sealed).is_ok()
    }

    /// Opens a whole part in place. Returns the indices of damaged chunks, ascending.
    pub fn open_all(&self, part: &mut PartBuf) -> Vec<usize> {
        let opened = part.chunks_mut().enumerate().map(|(index, chunk)| (index, self.open(index, chunk)));
        opened.filter(|(_, good)| !good).map(|(index, _)| index).collect()
    }
}

/// The payload's nonce, which follows the age header.
fn nonce(header: &[u8; HEADER]) -> &[u8; 16] {
    header.last_chunk().expect("a header ends in its nonce")
}

/// Seals a file of any length as a stream: plaintext goes in through [`Write`], sealed chunks go to `out`.
pub struct Sealer<W: Write> {
    key: ChunkKey,
    out: W,
    /// Plaintext of the current chunk, at most [`CHUNK`] bytes.
    chunk: Vec<u8>,
    index: u64,
}

impl<W: Write> Sealer<W> {
    /// Writes the age `header` and a random nonce to `out`.
    pub fn new(mut out: W, header: &[u8], file_key: &FileKey) -> io::Result<Self> {
        let nonce = crate::base::secret::random();
        out.write_all(header)?;
        out.write_all(&nonce)?;
        let chunk = Vec::with_capacity(SEALED_CHUNK);
        Ok(Self { key: ChunkKey::new(file_key, &nonce), out, chunk, index: 0 })
    }

    /// Writes the last chunk. A file without it counts as cut off, and readers reject its end.
    pub fn finish(mut self) -> io::Result<W> {
        self.flush_chunk(true)?;
        Ok(self.out)
    }

    fn flush_chunk(&mut self, last: bool) -> io::Result<()> {
        let tag = self.key.seal(self.index, last, &mut self.chunk);
        self.chunk.extend_from_slice(&tag);
        self.out.write_all(&self.chunk)?;
        self.chunk.clear();
        self.index += 1;
        Ok(())
    }
}

impl<W: Write> Write for Sealer<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // A full chunk stays here until one more byte comes, because it may be the last one.
        if self.chunk.len() == CHUNK {
            self.flush_chunk(false)?;
        }
        let len = bytes.len().min(CHUNK - self.chunk.len());
        self.chunk.extend_from_slice(&bytes[..len]);
        Ok(len)
    }

    /// Does nothing: a chunk that is not full can only be sealed as the last one.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Opens a stream whose header the caller has read. Every byte that comes out was verified.
pub struct Opener<R: Read> {
    key: ChunkKey,
    input: R,
    /// The current chunk, opened: bytes `at..len` have not been handed out yet.
    chunk: Vec<u8>,
    at: usize,
    len: usize,
    index: u64,
    /// Whether the current chunk is the last one.
    ended: bool,
}

impl<R: Read> Opener<R> {
    /// Reads the nonce. `input` must stand directly behind the header.
    pub fn new(mut input: R, file_key: &FileKey) -> io::Result<Self> {
        let mut nonce = [0; 16];
        input.read_exact(&mut nonce).map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => io::Error::new(error.kind(), "the sealed bytes end too early"),
            _ => error,
        })?;
        let key = ChunkKey::new(file_key, &nonce);
        Ok(Self { key, input, chunk: vec![0; SEALED_CHUNK], at: 0, len: 0, index: 0, ended: false })
    }

    /// Reads, verifies and opens the next chunk. An empty chunk is accepted only as the whole payload, as in age.
    fn next_chunk(&mut self) -> io::Result<()> {
        let mut len = 0;
        while len < SEALED_CHUNK {
            match self.input.read(&mut self.chunk[len..])? {
                0 => break,
                n => len += n,
            }
        }
        // Less than a tag, or an empty chunk behind another one: the end is missing.
        if len < TAG || (len == TAG && self.index > 0) {
            return Err(invalid("the sealed bytes end too early"));
        }
        // A full chunk may be the last one. That is tried second, on the original bytes, as age does.
        let mut copy = if len == SEALED_CHUNK { self.chunk.clone() } else { Vec::new() };
        let last = len < SEALED_CHUNK || self.key.open(self.index, false, &mut copy).is_err();
        if last {
            if self.key.open(self.index, true, &mut self.chunk[..len]).is_err() {
                return Err(invalid("the sealed bytes are damaged"));
            }
            // Bytes behind the last chunk are not authenticated, so they are refused.
            if self.input.read(&mut [0])? != 0 {
                return Err(invalid("there is something behind the sealed bytes"));
            }
        } else {
            self.chunk = copy;
        }
        self.at = 0;
        self.len = len - TAG;
        self.ended = last;
        self.index += 1;
        Ok(())
    }
}

/// The error for bytes that are not as they were sealed.
fn invalid(why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why)
}

impl<R: Read> Read for Opener<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        while self.at == self.len {
            if self.ended || out.is_empty() {
                return Ok(0);
            }
            self.next_chunk()?;
        }
        let len = out.len().min(self.len - self.at);
        out[..len].copy_from_slice(&self.chunk[self.at..self.at + len]);
        self.at += len;
        Ok(len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::secret::random;
    use crate::format::part::Class;

    /// Filler bytes with a random nonce at their end: nothing here reads the rest of a header.
    fn header() -> [u8; HEADER] {
        let mut header = [b'h'; HEADER];
        header[HEADER - 16..].copy_from_slice(&random::<16>());
        header
    }

    #[test]
    #[should_panic(expected = "counts what it holds")]
    fn a_part_takes_no_more_than_it_holds() {
        let mut part = PartBuf::new(Class::ALL[0]);
        let mut sealer = PartSealer::new(&FileKey::random(), &header(), &mut part, |_, _| ());
        sealer.append(&vec![5; Class::ALL[0].plain_len()]);
        sealer.append(&[5]);
    }

    #[test]
    fn a_part_opens_but_for_its_damage() {
        let (key, header, class) = (FileKey::random(), header(), Class::ALL[0]);
        let mut part = PartBuf::new(class);
        // Old content must not show in the padding.
        part.file_mut().fill(1);
        let mut sealer = PartSealer::new(&key, &header, &mut part, |_, _| ());
        // Pieces that end before, at and behind the end of a chunk.
        [CHUNK - 1, 1, 3 * CHUNK + 7].iter().for_each(|len| sealer.append(&vec![5; *len]));
        let digest = sealer.finish();
        assert_eq!(digest, crate::base::digest::sha256(part.file()));
        let mut plain = vec![[5; CHUNK]; 4].concat();
        plain.extend_from_slice(&[5; 7]);
        plain.resize(class.plain_len(), 0);
        assert_eq!(sealed_digest(&key, &header, plain.chunks_exact(CHUNK)), digest);
        assert_eq!(&part.file()[..HEADER], header);
        // One flipped bit costs its chunk, and no other.
        part.file_mut()[HEADER + 3 * SEALED_CHUNK + 100] ^= 1;
        let open = |key: &FileKey, part: &mut PartBuf| PartOpener::new(key, &header, class.chunks()).open_all(part);
        assert_eq!(open(&key, &mut part), [3]);
        assert!(part.plain(2).iter().all(|b| *b == 5));
        PartSealer::new(&key, &header, &mut part, |_, _| ()).finish();
        assert_eq!(open(&FileKey::random(), &mut part).len(), class.chunks());
        PartSealer::new(&key, &header, &mut part, |_, _| ()).finish();
        assert_eq!(open(&key, &mut part), [0; 0]);
        assert!((0..class.chunks()).all(|index| part.plain(index).iter().all(|b| *b == 0)));
    }

    /// A sealed stream of `len` bytes, with its key.
    fn stream(len: usize) -> (FileKey, Vec<u8>) {
        let key = FileKey::random();
        let mut sealer = Sealer::new(Vec::new(), b"", &key).unwrap();
        sealer.write_all(&vec![9; len]).unwrap();
        (key, sealer.finish().unwrap())
    }

    fn open(key: &FileKey, sealed: &[u8]) -> io::Result<Vec<u8>> {
        let mut out = Vec::new();
        Opener::new(sealed, key)?.read_to_end(&mut out)?;
        Ok(out)
    }

    #[test]
    fn streams_of_every_length_open() {
        for len in [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK, 3 * CHUNK + 5] {
            let (key, sealed) = stream(len);
            // A nonce, and a tag per chunk; no bytes are one empty chunk.
            assert_eq!(sealed.len(), 16 + len + TAG * len.div_ceil(CHUNK).max(1));
            assert_eq!(open(&key, &sealed).unwrap(), vec![9; len], "{len}");
        }
    }

    #[test]
    fn cut_and_longer_streams_do_not_open() {
        let (key, sealed) = stream(2 * CHUNK);
        // Cut before and within the nonce, behind it, within a chunk, between two chunks and within the last tag.
        for len in [0, 15, 16, 20, 16 + SEALED_CHUNK, sealed.len() - 1] {
            assert!(open(&key, &sealed[..len]).is_err(), "{len}");
        }
        assert!(open(&key, &[&sealed[..], b"x"].concat()).is_err());
        let mut flipped = sealed.clone();
        flipped[16 + SEALED_CHUNK] ^= 1;
        assert!(open(&key, &flipped).is_err());
    }

    #[test]
    fn what_ends_before_it_begins_is_said_to_end() {
        let error = Opener::new(&[0; 15][..], &FileKey::random()).err().unwrap();
        assert_eq!(error.to_string(), "the sealed bytes end too early");
    }
}
