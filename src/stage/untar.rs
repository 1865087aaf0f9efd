//! Reads the members of our tar in order, without a list, while stretches of it may be missing. File contents are not
//! kept: each entry says where its content lies in the tar.
//!
//! The reader never searches for a header. It starts only where a member is known to begin: at the start of the tar,
//! behind another member, or where a part's trail says so. A tar that was itself packed is therefore never taken for
//! the one around it.
//!
//! Not guaranteed: that contents are right, as no digest is checked here, nor that a hole was one: runs of zeros are
//! taken for holes.

use crate::base::entry::{Entry, Flag, Hole, Kind};
use crate::base::path::BytePath;
use crate::format::part::BLOCK;
use crate::format::ustar::{self, Header};
use crate::format::{FormatError, bag, limits};

/// Bytes of the shortest run of zeros that becomes a hole.
const LEAST_HOLE: u64 = 64 * 1024;
/// Bytes that are tested for zeros at once, at most: one other byte among them ends a run.
const GRAIN: u64 = 4096;
/// Memory counted for manifests: 7 bytes for 5 of text, since the index of the lines takes memory, too.
const INDEXED: (u64, u64) = (7, 5);

/// What the tar held, as far as it was read.
#[derive(Debug, Default)]
pub(crate) struct Members {
    /// Files, folders and links whose content was read to its end, in the order of the tar.
    pub(crate) whole: Vec<Entry>,
    /// Files whose header was read, but not all of their content.
    pub(crate) torn: Vec<Entry>,
    /// The texts of `manifest-sha256.txt` and `SHA256SUMS`; `None` for one that is missing or torn.
    pub(crate) manifests: [Option<Vec<u8>>; 2],
    /// Members of which no entry may be made, for instance because the name leads out of the target: name and reason.
    pub(crate) refused: Vec<(Vec<u8>, String)>,
    /// Tar offsets of headers that are not ours, with the reason.
    pub(crate) broken: Vec<(u64, FormatError)>,
    /// Whether some stretch of the tar was missing or passed over.
    pub(crate) gaps: bool,
    /// Whether the tar was read to its end mark.
    pub(crate) ended: bool,
}

/// Reads a tar that arrives in stretches, in order. The caller announces each stretch with [`Untar::begin`], and then
/// hands its bytes to [`Untar::take`] in pieces of any length. A stretch at the start of the tar needs no announcement.
#[derive(Default)]
pub(crate) struct Untar {
    /// Tar offset of the next byte.
    at: u64,
    state: UntarState,
    out: Members,
    /// About how many bytes of memory `out` takes.
    held: u64,
}

#[derive(Default)]
enum UntarState {
    /// In a header: its bytes so far, and how many it needs as far as they tell.
    Header(Vec<u8>, usize),
    /// In the content or padding of a member.
    Content(Content),
    /// Before the tar offset at which the next member begins.
    Seek(u64),
    /// It is not known where the next member begins.
    #[default]
    Lost,
    /// Behind the last member.
    Ended,
}

/// The content of a member. `start` and `end` are tar offsets; the padding behind `end` is not counted.
struct Content {
    what: What,
    start: u64,
    end: u64,
    /// Whether no byte of it is missing so far.
    whole: bool,
}

/// What becomes of a member's content.
enum What {
    Entry(Box<Entry>, Zeros),
    /// Index in [`Members::manifests`], and the text so far.
    Manifest(usize, Vec<u8>),
    /// A member that is not needed, or was refused.
    Nothing,
}

impl Untar {
    /// Makes a reader at the start of a tar, where a member begins.
    pub(crate) fn new() -> Self {
        Self { state: header(), ..Self::default() }
    }

    /// Announces that the next stretch begins at tar offset `offset`, which may leave a gap. `first` is the offset of
    /// the first member that begins in the stretch; `None` if that is not known.
    ///
    /// If a gap ends within a content, the content is torn, but its end is known, and reading goes on there. After any
    /// other gap only `first` shows where to go on.
    pub(crate) fn begin(&mut self, offset: u64, first: Option<u64>) {
        let first = first.filter(|first| *first >= offset);
        if offset != self.at && !matches!(self.state, UntarState::Ended) {
            self.out.gaps = true;
            match &mut self.state {
                UntarState::Content(content) if offset > self.at && offset <= next(content.end) => {
                    // A gap that lies in the padding alone costs nothing.
                    content.whole &= self.at >= content.end;
                    // It is not known whether the missing bytes were zeros, so they end a run of zeros.
                    if let What::Entry(_, zeros) = &mut content.what {
                        zeros.from = None;
                    }
                }
                _ => {
                    self.close(false);
                    self.state = UntarState::Lost;
                }
            }
            self.at = offset;
        }
        if let (UntarState::Lost, Some(first)) = (&self.state, first) {
            self.state = UntarState::Seek(first);
        }
        self.pass();
    }

    /// Reads the next bytes of the stretch.
    ///
    /// # Errors
    /// The result would take more memory than [`limits::TAR_KEPT`].
    pub(crate) fn take(&mut self, mut bytes: &[u8]) -> Result<(), FormatError> {
        while !bytes.is_empty() {
            let used = self.step(bytes);
            (self.at, bytes) = (self.at + used as u64, &bytes[used..]);
            self.pass();
            FormatError::check_limit("what is to be kept of the tar, in bytes,", self.held, limits::TAR_KEPT)?;
        }
        Ok(())
    }

    /// Ends the reading; a content that is not complete is torn.
    pub(crate) fn finish(mut self) -> Members {
        self.close(false);
        self.out.ended = matches!(self.state, UntarState::Ended);
        self.out
    }

    /// Uses up some of these bytes, up to the next change of state, which is left to [`Untar::pass`]. Returns how many.
    fn step(&mut self, bytes: &[u8]) -> usize {
        let at = self.at;
        let len = bytes.len();
        match &mut self.state {
            UntarState::Lost | UntarState::Ended => bytes.len(),
            UntarState::Seek(to) => up_to(*to, at, len),
            UntarState::Header(raw, need) => {
                let used = (*need - raw.len()).min(bytes.len());
                raw.extend_from_slice(&bytes[..used]);
                used
            }
            UntarState::Content(content) => {
                let used = up_to(next(content.end), at, len);
                let own = up_to(content.end, at, len);
                match &mut content.what {
                    What::Entry(_, zeros) => zeros.take(self.at - content.start, &bytes[..own]),
                    What::Manifest(_, text) => {
                        self.held += own as u64 * INDEXED.0 / INDEXED.1;
                        text.extend_from_slice(&bytes[..own]);
                    }
                    What::Nothing => {}
                }
                used
            }
        }
    }

    /// Changes to the next state if that needs no more bytes.
    fn pass(&mut self) {
        match &mut self.state {
            UntarState::Seek(to) if *to == self.at => self.state = header(),
            UntarState::Content(content) if next(content.end) == self.at => self.close(true),
            UntarState::Header(raw, need) if raw.len() == *need => {
                let raw = std::mem::take(raw);
                match self.header(&raw) {
                    Ok(state) => self.state = state,
                    Err(error) => {
                        self.out.broken.push((self.at - raw.len() as u64, error));
                        (self.state, self.out.gaps) = (UntarState::Lost, true);
                    }
                }
                // A member without content ends where it begins.
                if matches!(&self.state, UntarState::Content(content) if next(content.end) == self.at) {
                    self.close(true);
                }
            }
            // All other states need more bytes.
            _ => {}
        }
    }

    /// Parses the blocks of a header. Returns the content that follows it, or asks for more blocks if a pax header
    /// needs them. A block of zeros ends the tar.
    fn header(&mut self, raw: &[u8]) -> Result<UntarState, FormatError> {
        if let Ok(block) = <&[u8; BLOCK as usize]>::try_from(raw) {
            if *block == [0; BLOCK as usize] {
                return Ok(UntarState::Ended);
            }
            let need = ustar::header_len(block)?;
            if need > raw.len() {
                return Ok(UntarState::Header(raw.to_vec(), need));
            }
        }
        let header = ustar::parse(raw)?;
        // Sizes come from the drive: a sum that overflows must not panic.
        let end = self.at.checked_add(header.size).filter(|end| *end <= i64::MAX as u64);
        let end = end.ok_or_else(|| FormatError::malformed("the tar", 0, "a member ends beyond all numbers"))?;
        if header.size > 0 && header.kind != b'0' {
            return Err(FormatError::malformed("the tar", 0, "what is no file has content"));
        }
        let what = match header.name.strip_prefix(bag::ROOT) {
            Some(b"manifest-sha256.txt") => What::Manifest(0, Vec::new()),
            Some(b"SHA256SUMS") => What::Manifest(1, Vec::new()),
            Some(below) if below.starts_with(bag::PAYLOAD) => self.entry(&header),
            _ => What::Nothing,
        };
        Ok(UntarState::Content(Content { what, start: self.at, end, whole: true }))
    }

    /// Makes the entry of a member of the payload, or notes why none may be made.
    fn entry(&mut self, header: &Header) -> What {
        self.held += limits::ENTRY_KEPT + (header.name.len() + header.link.len()) as u64;
        match entry(header, self.at) {
            Ok(entry) => What::Entry(Box::new(entry), Zeros::default()),
            Err(why) => {
                let path = [bag::ROOT, bag::PAYLOAD].concat();
                let path = header.name.strip_prefix(&path[..]).unwrap_or(&header.name);
                self.out.refused.push((path.to_vec(), why));
                What::Nothing
            }
        }
    }

    /// Ends the current content, if there is one. `whole` says that its padding was read to the end as well.
    fn close(&mut self, whole: bool) {
        if !matches!(self.state, UntarState::Content(_)) {
            return;
        }
        let UntarState::Content(content) = std::mem::replace(&mut self.state, header()) else { return };
        // Content whose padding is missing is whole.
        let whole = content.whole && (whole || self.at >= content.end);
        match content.what {
            What::Entry(mut entry, mut zeros) => {
                zeros.close(entry.size);
                self.held += limits::HOLE_KEPT * zeros.holes.len() as u64;
                entry.holes = zeros.holes.into();
                let list = if whole { &mut self.out.whole } else { &mut self.out.torn };
                list.push(*entry);
            }
            What::Manifest(which, text) if whole => self.out.manifests[which] = Some(text),
            _ => {}
        }
    }
}

/// How many of the next `len` bytes lie before `to`.
fn up_to(to: u64, at: u64, len: usize) -> usize {
    to.saturating_sub(at).min(len as u64) as usize
}

/// The state between two members.
fn header() -> UntarState {
    UntarState::Header(Vec::new(), BLOCK as usize)
}

/// Tar offset of the member behind a content that ends at `end`.
fn next(end: u64) -> u64 {
    end.next_multiple_of(BLOCK)
}

/// The path of a member below the payload, as a list has it.
///
/// # Errors
/// Why a list cannot have it, as the rest of a sentence.
fn below_payload(name: &[u8]) -> Result<BytePath, String> {
    let name = name.strip_prefix(bag::ROOT).and_then(|name| name.strip_prefix(bag::PAYLOAD));
    let path = BytePath::new(name.ok_or("it leads out of the payload")?);
    path.map_err(|fault| format!("its path {fault}"))
}

/// Makes the entry that a list would have for a member whose content begins at `at`. The rules are the list's own, so
/// that no tar brings a path that a list could not.
///
/// # Errors
/// Why there is no entry, as the rest of a sentence.
fn entry(header: &Header, at: u64) -> Result<Entry, String> {
    let (kind, name) = match (header.kind, &header.link[..]) {
        (b'5', b"") => (Kind::Dir, header.name.strip_suffix(b"/").ok_or("it is a folder and is not named like one")?),
        (b'0', b"") => (Kind::File, &header.name[..]),
        (b'1', first) => (Kind::Hardlink(below_payload(first)?), &header.name[..]),
        (b'2', to) if !to.is_empty() && to.len() <= 4096 && !to.contains(&0) => {
            (Kind::Symlink(to.into()), &header.name[..])
        }
        _ => return Err("its type and target do not fit".into()),
    };
    Ok(Entry {
        path: below_payload(name)?,
        kind,
        size: header.size,
        mode: header.mode & 0o777,
        mtime: header.mtime,
        at: if header.size > 0 { at } else { 0 },
        holes: Box::default(),
        sha256: None,
        flag: Flag::Clean,
    })
}

/// Finds runs of zeros in a file: it is not known which of them were holes, so long ones become holes again.
#[derive(Default)]
struct Zeros {
    holes: Vec<Hole>,
    /// Where the current run of zeros begins in the file; `None` outside of one.
    from: Option<u64>,
}

impl Zeros {
    /// Takes the bytes at `offset` of the file, which come in order.
    fn take(&mut self, mut offset: u64, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let (now, rest) = bytes.split_at(bytes.len().min((GRAIN - offset % GRAIN) as usize));
            if !now.iter().all(|byte| *byte == 0) {
                self.close(offset);
            } else if self.from.is_none() {
                self.from = Some(offset);
            }
            (offset, bytes) = (offset + now.len() as u64, rest);
        }
    }

    /// Ends the current run at `to`. A short run stays data, and so does each behind the most holes that an entry may
    /// have.
    fn close(&mut self, to: u64) {
        let Some(from) = self.from.take() else { return };
        if to - from >= LEAST_HOLE && self.holes.len() < limits::HOLES {
            self.holes.push((from, to - from));
        }
    }
}

#[cfg(test)]
mod tests;
