//! Finds parts on the drives: by name first, then by the header that only that part has, so that renamed, swapped and
//! doubled files do no harm. What a drive calls a file proves nothing; only what opens under the head's header counts.
//! Damaged copies complete each other chunk by chunk.
//!
//! Not guaranteed: that every copy is tried. A hostile drive may hold any number of files that begin like a part, so
//! only [`limits::COPIES`] of them are read whole, and [`limits::CROWD`] more are tried with one chunk.

use std::cell::RefCell;
use std::collections::HashMap;
use std::fs::File;
use std::io::Read as _;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use crate::base::fault::{IoFault, is_denied};
use crate::base::os;
use crate::base::path::show;
use crate::base::secret::FileKey;
use crate::base::size::grouped;
use crate::flow::FlowError;
use crate::flow::bundle::open::Bundle;
use crate::format::head::Part;
use crate::format::limits;
use crate::format::part::{HEADER, PartBuf, SEALED_CHUNK};
use crate::stage::stream::{PartOpener, sealed_digest};

/// How much of a part was found. All chunks but the bad ones are open in the buffer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Loaded {
    /// All chunks are open.
    Whole,
    /// Some chunks, or all of them, are damaged or cut off in every copy that was tried.
    Partly {
        /// Their indices, ascending.
        bad: Vec<usize>,
        /// What is wrong, and where, in words.
        why: String,
    },
    /// A file of the part exists, and the system does not let this user read it.
    Unread {
        /// The file, and what the system said.
        why: String,
    },
    /// No file of the part was found.
    Missing,
}

impl Loaded {
    /// Indices of the chunks that are not open, of a part of `chunks` chunks; ascending.
    pub(crate) fn bad(&self, chunks: usize) -> Vec<usize> {
        match self {
            Loaded::Whole => Vec::new(),
            Loaded::Partly { bad, .. } => bad.clone(),
            Loaded::Unread { .. } | Loaded::Missing => (0..chunks).collect(),
        }
    }
}

/// Reads single chunks of a part from any of its copies.
pub(crate) struct PartChunks {
    /// `None` if the header in the head does not open, so that no chunk can be read.
    opener: Option<PartOpener>,
    copies: Vec<PathBuf>,
    /// The copy that had the last chunk, by its index. Only one file is open, because a stripe has many shards.
    last: RefCell<Option<(usize, File)>>,
}

impl PartChunks {
    fn new(opener: Option<PartOpener>, copies: Vec<PathBuf>) -> Self {
        Self { opener, copies, last: RefCell::default() }
    }

    /// Reads and opens a chunk, from the first copy that has it whole. Its plaintext is at the beginning of `sealed`.
    /// Returns `false` if no copy has it; the bytes must not be used then.
    pub(crate) fn chunk(&self, index: usize, sealed: &mut [u8]) -> bool {
        let mut last = self.last.borrow_mut();
        if last.as_ref().is_some_and(|(_, file)| self.read(file, index, sealed)) {
            return true;
        }
        let tried = last.as_ref().map(|(copy, _)| *copy);
        for copy in (0..self.copies.len()).filter(|copy| Some(*copy) != tried) {
            let file = os::open_regular(&self.copies[copy]).ok();
            if let Some(file) = file.filter(|file| self.read(file, index, sealed)) {
                *last = Some((copy, file));
                return true;
            }
        }
        false
    }

    fn read(&self, file: &File, index: usize, sealed: &mut [u8]) -> bool {
        let at = (HEADER + index * SEALED_CHUNK) as u64;
        let Some(opener) = &self.opener else { return false };
        file.read_exact_at(sealed, at).is_ok() && opener.open(index, sealed)
    }

    /// Opens the `bad` chunks in the buffer, as far as some copy has them. Returns those that none has.
    fn fill_in(&self, mut bad: Vec<usize>, buf: &mut PartBuf) -> Vec<usize> {
        bad.retain(|index| buf.chunks_mut().nth(*index).is_none_or(|chunk| !self.chunk(*index, chunk)));
        bad
    }
}

/// Finds parts on the volumes of one bundle.
pub(crate) struct Finder<'a> {
    bundle: &'a Bundle,
    /// Made when the first part is not found whole under its name.
    by_header: OnceLock<ByHeader>,
}

/// A file, by the index of its volume and its name.
type FilePlace = (usize, String);

/// The files that begin with the header of a part and are not named like it, the likeliest first.
type ByHeader = HashMap<[u8; HEADER], Vec<FilePlace>>;

/// The best copy of a part.
struct BestCopy {
    /// Indices of its bad chunks, ascending.
    bad: Vec<usize>,
    /// What is wrong with it, in words; `None` if it is whole, or if there is no copy.
    why: Option<String>,
    /// Whether the system does not let this user read it. Then it may be whole.
    is_denied: bool,
}

impl BestCopy {
    /// Stands for a part of which no file could be read. `refused` says why, if there are such files.
    fn without_bytes(refused: &[IoFault], chunks: usize) -> Self {
        let denied = refused.iter().find(|fault| fault.is_denied());
        let why = denied.or(refused.first()).map(IoFault::to_string);
        Self { bad: (0..chunks).collect(), why, is_denied: denied.is_some() }
    }
}

/// How reading a whole file ended.
enum ReadOutcome {
    /// It was read, at least up to a bad sector.
    Done,
    /// There is no regular file of that name.
    Absent,
    /// The system did not let this run open or read it.
    Refused(IoFault),
}

impl<'a> Finder<'a> {
    /// Makes a finder. Nothing is read yet.
    pub(crate) fn new(bundle: &'a Bundle) -> Self {
        Self { bundle, by_header: OnceLock::new() }
    }

    /// Reads and opens a part into `buf`: from a whole copy if there is one, else from the best copies together. Chunks
    /// that the likeliest copies lack are looked for in many more, of which one chunk is tried.
    pub(crate) fn load(&self, part: &Part, buf: &mut PartBuf) -> Result<Loaded, FlowError> {
        let Some(opener) = self.opener(part) else {
            let why = "the head names a header for it that does not open with the bundle's key".into();
            return Ok(Loaded::Partly { bad: (0..buf.chunks()).collect(), why });
        };
        let BestCopy { bad, why, is_denied } = self.open_best_copy(part, &opener, buf);
        if bad.is_empty() {
            return Ok(Loaded::Whole);
        }
        // Two damaged copies may make a whole one.
        let bad = self.shard(part)?.fill_in(bad, buf);
        let (_, crowd) = self.renamed_copies(part);
        let bad = self.search_crowd(opener, &crowd[..crowd.len().min(limits::CROWD)], bad, buf);
        let untried = crowd.len().saturating_sub(limits::CROWD);
        Ok(if bad.is_empty() {
            Loaded::Whole
        } else if let Some(why) = why.clone().filter(|_| is_denied && bad.len() == buf.chunks()) {
            Loaded::Unread { why }
        } else if why.is_none() && untried == 0 && bad.len() == buf.chunks() {
            Loaded::Missing
        } else {
            Loaded::Partly { bad, why: what_is_wrong(why, untried) }
        })
    }

    /// Looks for the bad chunks in files that have the first of them. Returns those that none has.
    fn search_crowd(
        &self,
        opener: PartOpener,
        files: &[FilePlace],
        mut bad: Vec<usize>,
        buf: &mut PartBuf,
    ) -> Vec<usize> {
        let mut copy = PartChunks::new(Some(opener), Vec::new());
        let mut chunk = vec![0; SEALED_CHUNK];
        for (volume, name) in files {
            let Some(first) = bad.first() else { break };
            copy = PartChunks::new(copy.opener, vec![self.path(*volume, name)]);
            if copy.chunk(*first, &mut chunk) {
                bad = copy.fill_in(bad, buf);
            }
        }
        bad
    }

    /// Opens the likeliest copy with the fewest bad chunks in `buf`.
    fn open_best_copy(&self, part: &Part, opener: &PartOpener, buf: &mut PartBuf) -> BestCopy {
        let mut best: Option<(Vec<usize>, FilePlace)> = None;
        let mut refused: Vec<IoFault> = Vec::new();
        for (volume, name) in self.places(part) {
            match self.read(volume, &name, buf) {
                ReadOutcome::Done => {}
                ReadOutcome::Absent => continue,
                ReadOutcome::Refused(fault) => {
                    refused.push(fault);
                    continue;
                }
            }
            let bad = opener.open_all(buf);
            if bad.is_empty() {
                return BestCopy { bad, why: None, is_denied: false };
            }
            if best.as_ref().is_none_or(|(least, _)| bad.len() < least.len()) {
                best = Some((bad, (volume, name)));
            }
        }
        let Some((bad, (volume, name))) = best else { return BestCopy::without_bytes(&refused, buf.chunks()) };
        let why = damage_of(&self.path(volume, &name), &bad, buf.chunks());
        // The copies that were tried since were opened in the same buffer.
        self.read(volume, &name, buf);
        BestCopy { bad: opener.open_all(buf), why: Some(why), is_denied: false }
    }

    /// Whether a plaintext, sealed again under the part's header, makes the file that the head names.
    pub(crate) fn is_as_packed(&self, part: &Part, plain: &PartBuf) -> Result<bool, FlowError> {
        let chunks = (0..plain.chunks()).map(|index| plain.plain(index));
        let Some(key) = self.key(part) else { return Ok(false) };
        Ok(sealed_digest(&key, &part.header, chunks) == part.sha256)
    }

    /// Whether a file of the part exists that is long enough to be whole.
    pub(crate) fn is_there(&self, part: &Part) -> bool {
        self.places(part).any(|(volume, name)| self.is_long(volume, &name))
    }

    /// As [`Self::is_there`], without opening a file and without the volumes that are `gone`, by their folders. Renamed
    /// files count only if an earlier search has found them.
    pub(crate) fn seems_there(&self, part: &Part, gone: &[PathBuf]) -> bool {
        self.known_places(part).any(|(volume, name)| !self.is_among(volume, gone) && self.is_long(volume, &name))
    }

    /// Whether files of a part are known, and all of them are on volumes that are `gone`, by their folders.
    pub(crate) fn is_gone(&self, part: &Part, gone: &[PathBuf]) -> bool {
        let files = self.known_places(part).filter(|(volume, name)| self.bundle.volumes[*volume].file(name).is_some());
        let mut files = files.peekable();
        files.peek().is_some() && files.all(|(volume, _)| self.is_among(volume, gone))
    }

    fn is_among(&self, volume: usize, dirs: &[PathBuf]) -> bool {
        dirs.contains(&self.bundle.volumes[volume].dir)
    }

    /// The places of a part that take no search: its name on every volume, and what an earlier search has found.
    fn known_places(&self, part: &Part) -> impl Iterator<Item = FilePlace> {
        let name = part.file_name();
        let renamed = self.by_header.get().and_then(|index| index.get(&*part.header)).map_or(&[][..], Vec::as_slice);
        let renamed = &renamed[..renamed.len().min(limits::COPIES)];
        (0..self.bundle.volumes.len()).map(move |volume| (volume, name.clone())).chain(renamed.iter().cloned())
    }

    fn is_long(&self, volume: usize, name: &str) -> bool {
        let whole = self.bundle.head.statement.class.file_len() as u64;
        self.bundle.volumes[volume].file(name).is_some_and(|found| found.regular && found.len >= whole)
    }

    /// The path of the likeliest file of a part, which may be damaged; `None` if there is no such file.
    pub(crate) fn file(&self, part: &Part) -> Option<PathBuf> {
        self.files(part).next()
    }

    /// The paths of the likely files of a part, the likeliest first.
    fn files(&self, part: &Part) -> impl Iterator<Item = PathBuf> {
        let places = self
            .places(part)
            .filter(|(volume, name)| self.bundle.volumes[*volume].file(name).is_some_and(|found| found.regular));
        places.map(|(volume, name)| self.path(volume, &name))
    }

    /// All likely copies of a part, for reading single chunks of it.
    pub(crate) fn shard(&self, part: &Part) -> Result<PartChunks, FlowError> {
        Ok(PartChunks::new(self.opener(part), self.files(part).collect()))
    }

    fn path(&self, volume: usize, name: &str) -> PathBuf {
        self.bundle.volumes[volume].path(name)
    }

    /// `None` if the header that the head names does not open. That costs this part and no other.
    fn opener(&self, part: &Part) -> Option<PartOpener> {
        Some(PartOpener::new(&self.key(part)?, &part.header, self.bundle.head.statement.class.chunks()))
    }

    fn key(&self, part: &Part) -> Option<FileKey> {
        Some(self.bundle.keyring.open_header(&part.header[..]).ok()?.0)
    }

    /// The places where a part is likely to be: its name on every volume, then the likeliest files with its header.
    fn places(&self, part: &Part) -> impl Iterator<Item = FilePlace> {
        let name = part.file_name();
        let named = (0..self.bundle.volumes.len()).map(move |volume| (volume, name.clone()));
        // The search is lazy: a part that is whole under its own name needs none.
        named.chain(std::iter::once(()).flat_map(|()| self.renamed_copies(part).0.iter().cloned()))
    }

    /// Reads a file into `buf`, with zeros for what is missing or cannot be read.
    fn read(&self, volume: usize, name: &str, buf: &mut PartBuf) -> ReadOutcome {
        let volume = &self.bundle.volumes[volume];
        if volume.file(name).is_none_or(|found| !found.regular) {
            return ReadOutcome::Absent;
        }
        let mut file = match volume.open(name) {
            Ok(file) => file,
            Err(fault) => return ReadOutcome::Refused(fault),
        };
        let bytes = buf.file_mut();
        let mut done = 0;
        while done < bytes.len() {
            match file.read(&mut bytes[done..]) {
                Ok(0) => break,
                Ok(n) => done += n,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(source) if is_denied(&source) => {
                    return ReadOutcome::Refused(IoFault { doing: "read", path: volume.path(name), source });
                }
                // At a bad sector reading ends. The chunks before it may still be of use.
                Err(_) => break,
            }
        }
        bytes[done..].fill(0);
        ReadOutcome::Done
    }

    /// The files under other names that begin with the part's header: the likeliest, which are read whole, and the
    /// rest.
    fn renamed_copies(&self, part: &Part) -> (&[FilePlace], &[FilePlace]) {
        let index = self.by_header.get_or_init(|| self.search_by_header());
        let all = index.get(&*part.header).map_or(&[][..], Vec::as_slice);
        all.split_at(all.len().min(limits::COPIES))
    }

    /// Reads the beginning of every file on the volumes. Files of the right length come first, then those that have the
    /// part's number in their name.
    fn search_by_header(&self) -> ByHeader {
        let whole = self.bundle.head.statement.class.file_len() as u64;
        let parts: HashMap<&[u8; HEADER], &Part> =
            self.bundle.head.parts.iter().map(|part| (&*part.header, part)).collect();
        let mut found = HashMap::<[u8; HEADER], Vec<_>>::new();
        for (at, volume) in self.bundle.volumes.iter().enumerate() {
            // Shorter files too: the first chunks may be all that is left of a part.
            for file in volume.files.iter().filter(|file| file.regular && file.len > HEADER as u64) {
                let mut header = [0; HEADER];
                let read = volume.open(&file.name).ok().and_then(|mut file| file.read_exact(&mut header).ok());
                let part = parts.get(&header).filter(|_| read.is_some() && file.len <= 2 * whole);
                if let Some(part) = part.filter(|part| part.file_name() != file.name) {
                    let is_numbered = file.name.contains(&format!("{:06}", part.number));
                    found.entry(header).or_default().push((file.len != whole, !is_numbered, at, file.name.clone()));
                }
            }
        }
        found.into_iter().map(|(header, files)| (header, likeliest_first(files))).collect()
    }
}

/// Sorts files by the two marks of an unlikely one, then by their places.
fn likeliest_first(mut files: Vec<(bool, bool, usize, String)>) -> Vec<FilePlace> {
    files.sort_unstable();
    files.into_iter().map(|(_, _, at, name)| (at, name)).collect()
}

/// What is wrong with a damaged copy. `bad` has at least one index.
fn damage_of(path: &Path, bad: &[usize], chunks: usize) -> String {
    let more = if bad.len() > 1 { format!(" and {} more", bad.len() - 1) } else { String::new() };
    format!("{} is damaged in chunk {} of {chunks}{more}", show(path), bad[0] + 1)
}

/// What is wrong with a part that is not whole: the fault of its best copy, if there is one, and how many files were
/// not tried.
fn what_is_wrong(why: Option<String>, untried: usize) -> String {
    let others = format!("{} more files that begin like it were not tried", grouped(untried as u64));
    match (why, untried) {
        (Some(why), 0) => why,
        (Some(why), _) => format!("{why}; {others}"),
        (None, 0) => "no copy of it is whole".into(),
        (None, _) => others,
    }
}

#[cfg(test)]
mod tests;
