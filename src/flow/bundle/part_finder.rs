//! Finding a part on the drives: by its name first, then by the header that only that part has,
//! so that renamed, swapped and doubled files do no harm. What a drive says a part is counts for
//! nothing; what opens under the head's header does.

use std::cell::RefCell;
use std::collections::HashMap;
use std::fs::File;
use std::io::Read as _;
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;
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

/// What came of looking for a part: which of its chunks are open in the buffer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Loaded {
    /// All.
    Whole,
    /// Not these.
    Partly {
        /// Their indices.
        bad: Vec<usize>,
        /// What is wrong, and where.
        why: String,
    },
    /// There is such a file, and this user may not read it.
    Unread {
        /// Which, and what the system said.
        why: String,
    },
    /// There is no such file.
    Missing,
}

impl Loaded {
    /// The chunks that are not open, of so many.
    pub fn bad(&self, chunks: usize) -> Vec<usize> {
        match self {
            Loaded::Whole => Vec::new(),
            Loaded::Partly { bad, .. } => bad.clone(),
            Loaded::Unread { .. } | Loaded::Missing => (0..chunks).collect(),
        }
    }
}

/// A part of which single chunks are wanted.
pub struct PartChunks {
    /// `None` if the head does not tell how to open it.
    opener: Option<PartOpener>,
    copies: Vec<PathBuf>,
    /// The copy that had the last chunk. Only one is open: a stripe has many shards.
    open: RefCell<Option<(usize, File)>>,
}

impl PartChunks {
    fn new(opener: Option<PartOpener>, copies: Vec<PathBuf>) -> Self {
        Self { opener, copies, open: RefCell::default() }
    }

    /// Reads and opens a chunk, from whichever copy has it whole; its plaintext is what comes
    /// before the tag.
    pub fn chunk(&self, index: usize, sealed: &mut [u8]) -> bool {
        let mut open = self.open.borrow_mut();
        if open.as_ref().is_some_and(|(_, file)| self.read(file, index, sealed)) {
            return true;
        }
        let last = open.as_ref().map(|(at, _)| *at);
        for at in (0..self.copies.len()).filter(|at| Some(*at) != last) {
            let file = os::open_regular(&self.copies[at]).ok();
            if let Some(file) = file.filter(|file| self.read(file, index, sealed)) {
                *open = Some((at, file));
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

    /// Puts chunks that are `bad` into the buffer; returns those that no copy has.
    fn fill_in(&self, bad: Vec<usize>, buf: &mut PartBuf) -> Vec<usize> {
        let mut lacks = |index: &usize| !buf.chunks_mut().nth(*index).is_some_and(|chunk| self.chunk(*index, chunk));
        bad.into_iter().filter(|index| lacks(index)).collect()
    }
}

/// Finds parts on volumes: by name first, then by the header that only that part has.
pub struct Finder<'a> {
    bundle: &'a Bundle,
    by_header: OnceLock<ByHeader>,
}

/// A file by the index of its volume and its name.
type FilePlace = (usize, String);

/// Volume and name of files that begin like a part and are not named like it, by its header; the likeliest first.
type ByHeader = HashMap<[u8; HEADER], Vec<FilePlace>>;

/// A copy of a part as far as it is whole.
struct Best {
    bad: Vec<usize>,
    /// What is wrong with it; `None` if it is whole, or there is none.
    why: Option<String>,
    /// This user may not read it: it may be whole.
    is_denied: bool,
}

impl Best {
    /// Of a part of which no file could be read.
    fn without_bytes(refused: &[IoFault], chunks: usize) -> Self {
        let denied = refused.iter().find(|fault| fault.is_denied());
        let why = denied.or(refused.first()).map(IoFault::to_string);
        Best { bad: (0..chunks).collect(), why, is_denied: denied.is_some() }
    }
}

/// What came of reading a file.
enum ReadOutcome {
    Done,
    Absent,
    Refused(IoFault),
}

impl<'a> Finder<'a> {
    /// Looks nowhere yet.
    pub fn new(bundle: &'a Bundle) -> Self {
        Self { bundle, by_header: OnceLock::new() }
    }

    /// Reads and opens a part into `buf`, from whichever copy is whole; else the best there is. What the likeliest
    /// copies lack is looked for in many more, of which one chunk is tried.
    pub fn load(&self, part: &Part, buf: &mut PartBuf) -> Result<Loaded, FlowError> {
        let Some(opener) = self.opener(part) else {
            let why = "the head names a header for it that does not open with the bundle's key".into();
            return Ok(Loaded::Partly { bad: (0..buf.chunks()).collect(), why });
        };
        let Best { bad, why, is_denied } = self.best(part, &opener, buf);
        if bad.is_empty() {
            return Ok(Loaded::Whole);
        }
        // Two damaged copies may make a whole one.
        let bad = self.shard(part)?.fill_in(bad, buf);
        let (_, crowd) = self.copies(part);
        let bad = self.search(opener, &crowd[..crowd.len().min(limits::CROWD)], bad, buf);
        let untried = crowd.len().saturating_sub(limits::CROWD);
        let others = format!("{} more files that begin like it were not tried", grouped(untried as u64));
        Ok(match (why, untried) {
            _ if bad.is_empty() => Loaded::Whole,
            (Some(why), _) if is_denied && bad.len() == buf.chunks() => Loaded::Unread { why },
            (Some(why), 0) => Loaded::Partly { bad, why },
            (Some(why), _) => Loaded::Partly { bad, why: format!("{why}; {others}") },
            (None, 0) if bad.len() == buf.chunks() => Loaded::Missing,
            (None, 0) => Loaded::Partly { bad, why: "no copy of it is whole".into() },
            (None, _) => Loaded::Partly { bad, why: others },
        })
    }

    /// Looks for bad chunks in files that have the first of them.
    fn search(
        &self,
        opener: PartOpener,
        files: &[(usize, String)],
        mut bad: Vec<usize>,
        buf: &mut PartBuf,
    ) -> Vec<usize> {
        let (mut copy, mut chunk) = (PartChunks::new(Some(opener), Vec::new()), vec![0; SEALED_CHUNK]);
        for (volume, name) in files {
            let Some(first) = bad.first() else { break };
            copy = PartChunks::new(copy.opener, vec![self.path(*volume, name)]);
            if copy.chunk(*first, &mut chunk) {
                bad = copy.fill_in(bad, buf);
            }
        }
        bad
    }

    /// The likeliest copy with the fewest chunks that are not whole, opened in `buf`.
    fn best(&self, part: &Part, opener: &PartOpener, buf: &mut PartBuf) -> Best {
        let mut best: Option<(Vec<usize>, usize, String)> = None;
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
                return Best { bad, why: None, is_denied: false };
            }
            if best.as_ref().is_none_or(|(least, _, _)| bad.len() < least.len()) {
                best = Some((bad, volume, name));
            }
        }
        let chunks = buf.chunks();
        let Some((bad, volume, name)) = best else { return Best::without_bytes(&refused, chunks) };
        let why = format!(
            "{} is damaged in chunk {} of {chunks}{}",
            show(&self.path(volume, &name)),
            bad[0] + 1,
            if bad.len() > 1 { format!(" and {} more", bad.len() - 1) } else { String::new() }
        );
        // Opened in place: what was tried since has overwritten it.
        self.read(volume, &name, buf);
        Best { bad: opener.open_all(buf), why: Some(why), is_denied: false }
    }

    /// Whether a plaintext, sealed again under the part's header, is the file that the head names.
    pub fn is_as_packed(&self, part: &Part, plain: &PartBuf) -> Result<bool, FlowError> {
        let chunks = (0..plain.chunks()).map(|index| plain.plain(index));
        let Some(key) = self.key(part) else { return Ok(false) };
        Ok(sealed_digest(&key, &part.header, chunks) == part.sha256)
    }

    /// Whether some copy of a part is there and long enough to be whole.
    pub fn is_there(&self, part: &Part) -> bool {
        self.places(part).any(|(volume, name)| self.is_long(volume, &name))
    }

    /// The same without opening a file, on volumes that are not among those gone: renamed ones count only
    /// if they had to be looked for.
    pub fn seems_there(&self, part: &Part, gone: &[PathBuf]) -> bool {
        let answers = |volume: usize| !gone.contains(&self.bundle.volumes[volume].dir);
        self.known_places(part).any(|(volume, name)| answers(volume) && self.is_long(volume, &name))
    }

    /// Whether all that is known of a part is on volumes that are gone.
    pub fn is_gone(&self, part: &Part, gone: &[PathBuf]) -> bool {
        let of = |(volume, name): (usize, String)| {
            let volume = &self.bundle.volumes[volume];
            volume.file(&name).map(|_| gone.contains(&volume.dir))
        };
        let mut places = self.known_places(part).filter_map(of).peekable();
        places.peek().is_some() && places.all(|gone| gone)
    }

    /// Those places of a part that nobody has to search for.
    fn known_places(&self, part: &Part) -> impl Iterator<Item = (usize, String)> {
        let name = part.file_name();
        let renamed = self.by_header.get().and_then(|index| index.get(&*part.header)).map_or(&[][..], Vec::as_slice);
        let renamed = &renamed[..renamed.len().min(limits::COPIES)];
        (0..self.bundle.volumes.len()).map(move |volume| (volume, name.clone())).chain(renamed.iter().cloned())
    }

    fn is_long(&self, volume: usize, name: &str) -> bool {
        let whole = self.bundle.head.statement.class.file_len() as u64;
        self.bundle.volumes[volume].file(name).is_some_and(|found| found.regular && found.len >= whole)
    }

    /// The file that holds a part, be it damaged: its volume's folder and its name.
    pub fn file(&self, part: &Part) -> Option<PathBuf> {
        let mut places = self
            .places(part)
            .filter(|(volume, name)| self.bundle.volumes[*volume].file(name).is_some_and(|found| found.regular));
        places.next().map(|(volume, name)| self.path(volume, &name))
    }

    /// All copies of a part, for single chunks of it.
    pub fn shard(&self, part: &Part) -> Result<PartChunks, FlowError> {
        let path = |(volume, name): (usize, String)| {
            let found = self.bundle.volumes[volume].file(&name).filter(|found| found.regular);
            found.map(|_| self.path(volume, &name))
        };
        Ok(PartChunks::new(self.opener(part), self.places(part).filter_map(path).collect()))
    }

    fn path(&self, volume: usize, name: &str) -> PathBuf {
        self.bundle.volumes[volume].path(name)
    }

    /// What opens a part; `None` if the header that the head names does not. That costs this part and no other.
    fn opener(&self, part: &Part) -> Option<PartOpener> {
        Some(PartOpener::new(&self.key(part)?, &part.header, self.bundle.head.statement.class.chunks()))
    }

    fn key(&self, part: &Part) -> Option<FileKey> {
        Some(self.bundle.keyring.open_header(&part.header[..]).ok()?.0)
    }

    /// Volumes and names under which a part is likely to be found.
    fn places(&self, part: &Part) -> impl Iterator<Item = (usize, String)> {
        let name = part.file_name();
        let named = (0..self.bundle.volumes.len()).map(move |volume| (volume, name.clone()));
        // Lazily: what lies under its own name and is whole needs no search.
        named.chain(std::iter::once(()).flat_map(|()| self.copies(part).0.iter().cloned()))
    }

    /// Reads a file into `buf`, zeros for what is missing or unreadable.
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
                // A bad sector; what lies before it may still be of use.
                Err(_) => break,
            }
        }
        bytes[done..].fill(0);
        ReadOutcome::Done
    }

    /// Files under other names that begin with the part's header: the likeliest, and all others.
    fn copies(&self, part: &Part) -> (&[FilePlace], &[FilePlace]) {
        let index = self.by_header.get_or_init(|| self.index());
        let all = index.get(&*part.header).map_or(&[][..], Vec::as_slice);
        all.split_at(all.len().min(limits::COPIES))
    }

    fn index(&self) -> ByHeader {
        let least = self.bundle.head.statement.class.file_len() as u64;
        let parts: HashMap<&[u8; HEADER], &Part> =
            self.bundle.head.parts.iter().map(|part| (&*part.header, part)).collect();
        let mut index = HashMap::<[u8; HEADER], Vec<_>>::new();
        for (at, volume) in self.bundle.volumes.iter().enumerate() {
            // Truncated ones too: their first chunks may be all that is left.
            for found in volume.files.iter().filter(|found| found.regular && found.len > HEADER as u64) {
                let mut header = [0; HEADER];
                let read = volume.open(&found.name).ok().and_then(|mut file| file.read_exact(&mut header).ok());
                let part = parts.get(&header).filter(|_| read.is_some() && found.len <= 2 * least);
                if let Some(part) = part.filter(|part| part.file_name() != found.name) {
                    let is_numbered = found.name.contains(&format!("{:06}", part.number));
                    index.entry(header).or_default().push((found.len != least, !is_numbered, at, found.name.clone()));
                }
            }
        }
        let in_order = |mut copies: Vec<(bool, bool, usize, String)>| {
            copies.sort_unstable();
            copies.into_iter().map(|(_, _, at, name)| (at, name)).collect()
        };
        index.into_iter().map(|(header, copies)| (header, in_order(copies))).collect()
    }
}
