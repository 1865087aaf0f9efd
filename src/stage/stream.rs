//! age payloads, chunk by chunk: parts in place on any thread, small files as streams.
//!
//! A part is a whole number of full chunks; a stream ends with a chunk that may be short. Both
//! are what stock age writes and reads. Law: `open(seal(x)) = x`, and no other bytes open.

use std::io::{self, Read, Write};

use crate::base::crypto::ChunkKey;
use crate::base::digest::{Digest, Hasher};
use crate::base::secret::FileKey;
use crate::format::part::{CHUNK, HEADER, PartBuf, SEALED_CHUNK, TAG};

/// Seals a part while its plaintext comes: copied, sealed and hashed chunk by chunk, while the
/// cache has them.
pub struct PartSealer<'a, F: FnMut(usize, &[u8])> {
    key: ChunkKey,
    hasher: Hasher,
    seen: F,
    chunks: std::iter::Enumerate<std::slice::ChunksExactMut<'a, u8>>,
    /// The chunk in the making, and how much of it is there.
    current: Option<(usize, &'a mut [u8])>,
    filled: usize,
}

impl<'a, F: FnMut(usize, &[u8])> PartSealer<'a, F> {
    /// Puts the header (which ends in the payload's nonce) at the start of `part`, whatever that
    /// held before. `seen` gets each chunk's plaintext before it is sealed.
    pub fn new(file_key: &FileKey, header: &[u8; HEADER], part: &'a mut PartBuf, seen: F) -> Self {
        *part.header_mut() = *header;
        let mut hasher = Hasher::new();
        hasher.update(header);
        let mut chunks = part.chunks_mut().enumerate();
        let current = chunks.next();
        Self { key: ChunkKey::new(file_key, nonce(header)), hasher, seen, chunks, current, filled: 0 }
    }

    /// Takes the next bytes of the plaintext.
    ///
    /// # Panics
    /// When they are more than the part holds.
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

    /// Fills the part up with zeros; returns the SHA-256 of its file.
    pub fn finish(mut self) -> Digest {
        while let Some((_, chunk)) = &mut self.current {
            chunk[self.filled..CHUNK].fill(0);
            self.seal_chunk();
        }
        self.hasher.finish()
    }

    fn seal_chunk(&mut self) {
        if let Some((index, chunk)) = self.current.take() {
            let (plain, tag) = chunk.split_at_mut(CHUNK);
            (self.seen)(index, plain);
            tag.copy_from_slice(&self.key.seal(index as u64, self.chunks.len() == 0, plain));
            self.hasher.update(chunk);
        }
        (self.current, self.filled) = (self.chunks.next(), 0);
    }
}

/// SHA-256 of the file of a part with that header and these chunks of plaintext.
pub fn sealed_digest<'a>(
    file_key: &FileKey,
    header: &[u8; HEADER],
    chunks: impl ExactSizeIterator<Item = &'a [u8]>,
) -> Digest {
    let (key, mut hasher, last) = (ChunkKey::new(file_key, nonce(header)), Hasher::new(), chunks.len());
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

/// Opens chunks of a part, any of them, in any order.
pub struct PartOpener {
    key: ChunkKey,
    chunks: usize,
}

impl PartOpener {
    /// Of a part with that header, of so many chunks.
    pub fn new(file_key: &FileKey, header: &[u8; HEADER], chunks: usize) -> Self {
        Self { key: ChunkKey::new(file_key, nonce(header)), chunks }
    }

    /// Opens a chunk in place; `false`: it is damaged, and its bytes are of no use.
    pub fn open(&self, index: usize, sealed: &mut [u8]) -> bool {
        self.key.open(index as u64, index + 1 == self.chunks, sealed).is_ok()
    }

    /// Opens a whole part in place; returns the chunks that are damaged.
    pub fn open_all(&self, part: &mut PartBuf) -> Vec<usize> {
        let opened = part.chunks_mut().enumerate().map(|(index, chunk)| (index, self.open(index, chunk)));
        opened.filter(|(_, good)| !good).map(|(index, _)| index).collect()
    }
}

fn nonce(header: &[u8; HEADER]) -> &[u8; 16] {
    header.last_chunk().expect("a header ends in its nonce")
}

/// Seals a stream.
pub struct Sealer<W: Write> {
    key: ChunkKey,
    out: W,
    chunk: Vec<u8>,
    index: u64,
}

impl<W: Write> Sealer<W> {
    /// Writes the age `header` and a nonce; the payload follows.
    pub fn new(mut out: W, header: &[u8], file_key: &FileKey) -> io::Result<Self> {
        let nonce = crate::base::secret::random();
        out.write_all(header)?;
        out.write_all(&nonce)?;
        let chunk = Vec::with_capacity(SEALED_CHUNK);
        Ok(Self { key: ChunkKey::new(file_key, &nonce), out, chunk, index: 0 })
    }

    /// Ends the payload. Without it the file is truncated, and opens as such.
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
        // A full chunk waits for one more byte: it might be the last.
        if self.chunk.len() == CHUNK {
            self.flush_chunk(false)?;
        }
        let len = bytes.len().min(CHUNK - self.chunk.len());
        self.chunk.extend_from_slice(&bytes[..len]);
        Ok(len)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Opens a stream whose header was read already.
pub struct Opener<R: Read> {
    key: ChunkKey,
    input: R,
    chunk: Vec<u8>,
    at: usize,
    len: usize,
    index: u64,
    ended: bool,
}

impl<R: Read> Opener<R> {
    /// `input` stands behind the header, before the nonce.
    pub fn new(mut input: R, file_key: &FileKey) -> io::Result<Self> {
        let mut nonce = [0; 16];
        input.read_exact(&mut nonce).map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => io::Error::new(error.kind(), "the sealed bytes end too early"),
            _ => error,
        })?;
        let key = ChunkKey::new(file_key, &nonce);
        Ok(Self { key, input, chunk: vec![0; SEALED_CHUNK], at: 0, len: 0, index: 0, ended: false })
    }

    fn next_chunk(&mut self) -> io::Result<()> {
        let bad = |why: &str| Err(io::Error::new(io::ErrorKind::InvalidData, why));
        let mut len = 0;
        while len < SEALED_CHUNK {
            match self.input.read(&mut self.chunk[len..])? {
                0 => break,
                n => len += n,
            }
        }
        if len < TAG || (len == TAG && self.index > 0) {
            return bad("the sealed bytes end too early");
        }
        // A full chunk is the last one if nothing follows: tried second, as age does.
        let mut copy = if len == SEALED_CHUNK { self.chunk.clone() } else { Vec::new() };
        let last = len < SEALED_CHUNK || self.key.open(self.index, false, &mut copy).is_err();
        if last {
            if self.key.open(self.index, true, &mut self.chunk[..len]).is_err() {
                return bad("the sealed bytes are damaged");
            }
            if self.input.read(&mut [0])? != 0 {
                return bad("there is something behind the sealed bytes");
            }
        } else {
            self.chunk = copy;
        }
        (self.at, self.len, self.ended) = (0, len - TAG, last);
        self.index += 1;
        Ok(())
    }
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
        part.file_mut().fill(1);
        let mut sealer = PartSealer::new(&key, &header, &mut part, |_, _| ());
        [CHUNK - 1, 1, 3 * CHUNK + 7].iter().for_each(|len| sealer.append(&vec![5; *len]));
        let digest = sealer.finish();
        assert_eq!(digest, crate::base::digest::sha256(part.file()));
        let mut plain = vec![[5; CHUNK]; 4].concat();
        plain.extend_from_slice(&[5; 7]);
        plain.resize(class.plain_len(), 0);
        assert_eq!(sealed_digest(&key, &header, plain.chunks_exact(CHUNK)), digest);
        assert_eq!(&part.file()[..HEADER], header);
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
            assert_eq!(sealed.len(), 16 + len + TAG * len.div_ceil(CHUNK).max(1));
            assert_eq!(open(&key, &sealed).unwrap(), vec![9; len], "{len}");
        }
    }

    #[test]
    fn cut_and_longer_streams_do_not_open() {
        let (key, sealed) = stream(2 * CHUNK);
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
