//! Finding a part on the drives: by its name first, then by the header that only that part has,
//! so that renamed, swapped and doubled files do no harm. What a drive says a part is counts for
//! nothing; what opens under the head's header does.

use std::collections::HashMap;
use std::fs::File;
use std::io::Read as _;
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;
use std::sync::OnceLock;

use crate::base::path::show;
use crate::flow::FlowError;
use crate::flow::open::Bundle;
use crate::format::FormatError;
use crate::format::head::Part;
use crate::format::part::{HEADER, PartBuf, SEALED_CHUNK};
use crate::stage::stream::PartOpener;

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
    /// There is no such file.
    Missing,
}

impl Loaded {
    /// The chunks that are not open, of so many.
    pub fn bad(&self, chunks: usize) -> Vec<usize> {
        match self {
            Loaded::Whole => Vec::new(),
            Loaded::Partly { bad, .. } => bad.clone(),
            Loaded::Missing => (0..chunks).collect(),
        }
    }
}

/// A part of which single chunks are wanted.
pub struct Shard {
    opener: PartOpener,
    copies: Vec<File>,
}

impl Shard {
    /// Reads and opens a chunk, from whichever copy has it whole; its plaintext is what comes
    /// before the tag.
    pub fn chunk(&self, index: usize, sealed: &mut [u8]) -> bool {
        let at = (HEADER + index * SEALED_CHUNK) as u64;
        self.copies.iter().any(|file| file.read_exact_at(sealed, at).is_ok() && self.opener.open(index, sealed))
    }
}

/// Finds parts on volumes: by name first, then by the header that only that part has.
pub struct Finder<'a> {
    bundle: &'a Bundle,
    by_header: OnceLock<ByHeader>,
}

/// Volume and file name, by the first bytes of the file.
type ByHeader = HashMap<[u8; HEADER], Vec<(usize, String)>>;

/// What came of reading a file.
enum Read {
    Done,
    Absent,
    Refused(String),
}

impl<'a> Finder<'a> {
    /// Looks nowhere yet.
    pub fn new(bundle: &'a Bundle) -> Self {
        Self { bundle, by_header: OnceLock::new() }
    }

    /// Reads and opens a part into `buf`, from whichever copy is whole; else the best there is.
    pub fn load(&self, part: &Part, buf: &mut PartBuf) -> Result<Loaded, FlowError> {
        let opener = self.opener(part)?;
        let (mut best, mut refused): (Option<(Vec<usize>, usize, String)>, _) = (None, None);
        for (volume, name) in self.places(part) {
            match self.read(volume, &name, buf) {
                Read::Done => {}
                Read::Absent => continue,
                Read::Refused(why) => {
                    refused.get_or_insert(why);
                    continue;
                }
            }
            let bad = opener.open_all(buf);
            if bad.is_empty() {
                return Ok(Loaded::Whole);
            }
            if best.as_ref().is_none_or(|(least, _, _)| bad.len() < least.len()) {
                best = Some((bad, volume, name));
            }
        }
        let chunks = self.bundle.head.statement.class.chunks();
        let Some((bad, volume, name)) = best else {
            return Ok(refused.map_or(Loaded::Missing, |why| Loaded::Partly { bad: (0..chunks).collect(), why }));
        };
        let why = format!(
            "{} is damaged in chunk {} of {chunks}{}",
            show(&self.bundle.volumes[volume].dir.join(&name)),
            bad[0] + 1,
            if bad.len() > 1 { format!(" and {} more", bad.len() - 1) } else { String::new() }
        );
        // Opened in place: what was tried since has overwritten it.
        self.read(volume, &name, buf);
        let bad = opener.open_all(buf);
        // Two damaged copies may make a whole one.
        let others = self.shard(part)?;
        let sealed = |index: &usize| !buf.chunks_mut().nth(*index).is_some_and(|chunk| others.chunk(*index, chunk));
        let bad: Vec<usize> = bad.into_iter().filter(sealed).collect();
        Ok(if bad.is_empty() { Loaded::Whole } else { Loaded::Partly { bad, why } })
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
        places.next().map(|(volume, name)| self.bundle.volumes[volume].dir.join(name))
    }

    /// All copies of a part, for single chunks of it.
    pub fn shard(&self, part: &Part) -> Result<Shard, FlowError> {
        let open = |(volume, name): (usize, String)| {
            let volume = &self.bundle.volumes[volume];
            volume.file(&name).filter(|found| found.regular).and_then(|_| volume.open(&name).ok())
        };
        Ok(Shard { opener: self.opener(part)?, copies: self.places(part).filter_map(open).collect() })
    }

    fn opener(&self, part: &Part) -> Result<PartOpener, FlowError> {
        let (key, _) = self.bundle.keyring.open_header(&part.header[..]).map_err(|error| {
            let why = format!("the header of part {} does not open: {}", part.number, error.with_own_key());
            FlowError::Format(FormatError::Malformed { what: "the head", line: 0, why })
        })?;
        Ok(PartOpener::new(&key, &part.header, self.bundle.head.statement.class.chunks()))
    }

    /// Volumes and names under which a part may be found.
    fn places(&self, part: &Part) -> impl Iterator<Item = (usize, String)> {
        let name = part.file_name();
        let named = (0..self.bundle.volumes.len()).map(move |volume| (volume, name.clone()));
        // Lazily: what lies under its own name and is whole needs no search.
        named.chain(std::iter::once(()).flat_map(|()| self.renamed(part).iter().cloned()))
    }

    /// Reads a file into `buf`, zeros for what is missing or unreadable.
    fn read(&self, volume: usize, name: &str, buf: &mut PartBuf) -> Read {
        let volume = &self.bundle.volumes[volume];
        if volume.file(name).is_none_or(|found| !found.regular) {
            return Read::Absent;
        }
        let mut file = match volume.open(name) {
            Ok(file) => file,
            Err(fault) => return Read::Refused(fault.to_string()),
        };
        let bytes = buf.file_mut();
        let mut done = 0;
        while done < bytes.len() {
            match file.read(&mut bytes[done..]) {
                Ok(0) => break,
                Ok(n) => done += n,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                // A bad sector; what lies before it may still be of use.
                Err(_) => break,
            }
        }
        bytes[done..].fill(0);
        Read::Done
    }

    /// Files under other names that begin with the part's header.
    fn renamed(&self, part: &Part) -> &[(usize, String)] {
        let index = self.by_header.get_or_init(|| self.index());
        index.get(&*part.header).map_or(&[], Vec::as_slice)
    }

    fn index(&self) -> ByHeader {
        let least = self.bundle.head.statement.class.file_len() as u64;
        let mut index = ByHeader::new();
        for (at, volume) in self.bundle.volumes.iter().enumerate() {
            // Truncated ones too: their first chunks may be all that is left.
            for found in volume.files.iter().filter(|found| found.regular && found.len > HEADER as u64) {
                let mut header = [0; HEADER];
                let read = volume.open(&found.name).ok().and_then(|mut file| file.read_exact(&mut header).ok());
                if read.is_some() && found.len <= 2 * least {
                    index.entry(header).or_default().push((at, found.name.clone()));
                }
            }
        }
        index
    }
}
