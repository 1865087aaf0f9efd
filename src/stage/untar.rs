//! The tar back into what it holds, without a list: members as they come, stretches of it
//! missing. No byte of a file is kept here: entries say where their contents lie.
//!
//! Nothing is searched for. A stretch is read from where it is known that a member begins: at the
//! start of the tar, behind a member, or where a part's trail says so. So a tar that was itself
//! packed is never taken for the one around it.

use crate::base::entry::{Entry, Flag, Hole, Kind};
use crate::base::path::BytePath;
use crate::format::part::BLOCK;
use crate::format::ustar::{self, Header};
use crate::format::{FormatError, bag, limits};

/// Zeros from here on are a hole again.
const LEAST_HOLE: u64 = 64 * 1024;
const GRAIN: u64 = 4096;
/// Bytes kept for so many of a manifest's text: where its lines begin takes some, too.
const INDEXED: (u64, u64) = (7, 5);

/// What was found.
#[derive(Debug, Default)]
pub struct Members {
    /// Files, folders and links of which all content came by, in the order of the tar.
    pub whole: Vec<Entry>,
    /// Those of which not all did.
    pub torn: Vec<Entry>,
    /// The texts of the bag's manifests that came whole: `manifest-sha256.txt`, `SHA256SUMS`.
    pub manifests: [Option<Vec<u8>>; 2],
    /// Names that lead out of the target, or are none.
    pub refused: Vec<(Vec<u8>, String)>,
    /// Where the tar was no tar of ours, and how.
    pub broken: Vec<(u64, FormatError)>,
    /// Some of it was passed over or is not there.
    pub gaps: bool,
    /// It was read to its end.
    pub ended: bool,
}

/// Reads a tar that comes in stretches, in order.
#[derive(Default)]
pub struct Untar {
    at: u64,
    state: State,
    out: Members,
    /// About how much memory what was found takes.
    held: u64,
}

#[derive(Default)]
enum State {
    /// Between members: the blocks of a header so far, and how many bytes are needed.
    Header(Vec<u8>, usize),
    Content(Content),
    /// A member begins there.
    Seek(u64),
    /// Where the next member begins is not known.
    #[default]
    Lost,
    Ended,
}

struct Content {
    what: What,
    start: u64,
    end: u64,
    whole: bool,
}

enum What {
    Entry(Box<Entry>, Zeros),
    Manifest(usize, Vec<u8>),
    Nothing,
}

impl Untar {
    /// At the start of a tar.
    pub fn new() -> Self {
        Self { state: header(), ..Self::default() }
    }

    /// The stretch that comes next begins at `offset`; `first` is where the first member begins
    /// that begins in it, if that is known.
    pub fn begin(&mut self, offset: u64, first: Option<u64>) {
        let first = first.filter(|first| *first >= offset);
        if offset != self.at && !matches!(self.state, State::Ended) {
            self.out.gaps = true;
            match &mut self.state {
                State::Content(content) if offset > self.at && offset <= next(content.end) => {
                    content.whole &= self.at >= content.end;
                    if let What::Entry(_, zeros) = &mut content.what {
                        zeros.from = None;
                    }
                }
                _ => {
                    self.close(false);
                    self.state = State::Lost;
                }
            }
            self.at = offset;
        }
        if let (State::Lost, Some(first)) = (&self.state, first) {
            self.state = State::Seek(first);
        }
        self.pass();
    }

    /// Takes the next bytes.
    ///
    /// # Errors
    /// What was found takes more memory than it may.
    pub fn take(&mut self, mut bytes: &[u8]) -> Result<(), FormatError> {
        while !bytes.is_empty() {
            let used = self.step(bytes);
            (self.at, bytes) = (self.at + used as u64, &bytes[used..]);
            self.pass();
            FormatError::limit("what is to be kept of the tar, in bytes,", self.held, limits::TAR_KEPT)?;
        }
        Ok(())
    }

    /// What was found.
    pub fn finish(mut self) -> Members {
        self.close(false);
        self.out.ended = matches!(self.state, State::Ended);
        self.out
    }

    /// Takes some of these bytes; what follows from them is for [`Untar::pass`].
    fn step(&mut self, bytes: &[u8]) -> usize {
        let up_to = |to: u64| (to.saturating_sub(self.at)).min(bytes.len() as u64) as usize;
        match &mut self.state {
            State::Lost | State::Ended => bytes.len(),
            State::Seek(to) => up_to(*to),
            State::Header(raw, need) => {
                let used = (*need - raw.len()).min(bytes.len());
                raw.extend_from_slice(&bytes[..used]);
                used
            }
            State::Content(content) => {
                let (used, own) = (up_to(next(content.end)), up_to(content.end));
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

    /// Goes on to what follows, as far as no more bytes are needed for that.
    fn pass(&mut self) {
        match &mut self.state {
            State::Seek(to) if *to == self.at => self.state = header(),
            State::Content(content) if next(content.end) == self.at => self.close(true),
            State::Header(raw, need) if raw.len() == *need => {
                let raw = std::mem::take(raw);
                match self.header(&raw) {
                    Ok(state) => self.state = state,
                    Err(error) => {
                        self.out.broken.push((self.at - raw.len() as u64, error));
                        (self.state, self.out.gaps) = (State::Lost, true);
                    }
                }
                // An empty file ends where it begins.
                if matches!(&self.state, State::Content(content) if next(content.end) == self.at) {
                    self.close(true);
                }
            }
            _ => {}
        }
    }

    /// What follows these blocks.
    fn header(&mut self, raw: &[u8]) -> Result<State, FormatError> {
        if let Ok(block) = <&[u8; BLOCK as usize]>::try_from(raw) {
            if *block == [0; BLOCK as usize] {
                return Ok(State::Ended);
            }
            let need = ustar::header_len(block)?;
            if need > raw.len() {
                return Ok(State::Header(raw.to_vec(), need));
            }
        }
        let header = ustar::parse(raw)?;
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
        Ok(State::Content(Content { what, start: self.at, end, whole: true }))
    }

    /// The entry of a member below the payload, if one may be made of it.
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

    /// Ends the content in work, if there is one; `whole`: all of it was there.
    fn close(&mut self, whole: bool) {
        if !matches!(self.state, State::Content(_)) {
            return;
        }
        let State::Content(content) = std::mem::replace(&mut self.state, header()) else { return };
        // Its padding may be lost.
        let whole = content.whole && (whole || self.at >= content.end);
        match content.what {
            What::Entry(mut entry, mut zeros) => {
                zeros.close(entry.size);
                self.held += limits::HOLE_KEPT * zeros.holes.len() as u64;
                entry.holes = zeros.holes.into();
                let (whole_ones, torn) = (&mut self.out.whole, &mut self.out.torn);
                if whole { whole_ones.push(*entry) } else { torn.push(*entry) }
            }
            What::Manifest(which, text) if whole => self.out.manifests[which] = Some(text),
            _ => {}
        }
    }
}

fn header() -> State {
    State::Header(Vec::new(), BLOCK as usize)
}

/// Where the member behind a content that ends there begins.
fn next(end: u64) -> u64 {
    end.next_multiple_of(BLOCK)
}

/// What a list would say of a member whose content begins at `at`, by the list's own rules.
fn entry(header: &Header, at: u64) -> Result<Entry, String> {
    let below = |name: &[u8]| {
        let name = name.strip_prefix(bag::ROOT).and_then(|name| name.strip_prefix(bag::PAYLOAD));
        let path = BytePath::new(name.ok_or("it leads out of the payload")?);
        path.map_err(|fault| format!("its path {fault}"))
    };
    let (kind, name) = match (header.kind, &header.link[..]) {
        (b'5', b"") => (Kind::Dir, header.name.strip_suffix(b"/").ok_or("it is a folder and is not named like one")?),
        (b'0', b"") => (Kind::File, &header.name[..]),
        (b'1', first) => (Kind::Hardlink(below(first)?), &header.name[..]),
        (b'2', to) if !to.is_empty() && to.len() <= 4096 && !to.contains(&0) => {
            (Kind::Symlink(to.into()), &header.name[..])
        }
        _ => return Err("its type and target do not fit".into()),
    };
    Ok(Entry {
        path: below(name)?,
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

/// Finds runs of zeros: holes, as far as anybody can tell.
#[derive(Default)]
struct Zeros {
    holes: Vec<Hole>,
    from: Option<u64>,
}

impl Zeros {
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

    fn close(&mut self, to: u64) {
        let Some(from) = self.from.take() else { return };
        if to - from >= LEAST_HOLE && self.holes.len() < limits::HOLES {
            self.holes.push((from, to - from));
        }
    }
}

#[cfg(test)]
mod tests;
