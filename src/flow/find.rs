//! Finding a part on the drives: by its name first, then by the header that only that part has,
//! so that renamed, swapped and doubled files do no harm. What a drive says a part is counts for
//! nothing; what opens under the head's header does.

use std::collections::HashMap;
use std::io::Read as _;
use std::sync::OnceLock;

use crate::base::path::show;
use crate::flow::FlowError;
use crate::flow::open::Bundle;
use crate::format::FormatError;
use crate::format::head::Part;
use crate::format::part::{HEADER, PartBuf};
use crate::stage::stream::open_part;

/// What came of looking for a part: how many of its chunks are open in the buffer.
pub enum Loaded {
    /// All.
    Whole,
    /// Those before the first damage.
    Partly {
        /// How many.
        chunks: usize,
        /// What is wrong, and where.
        why: String,
    },
    /// There is no such file.
    Missing,
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
        let (key, _) = self.bundle.keyring.open_header(&part.header[..]).map_err(|error| {
            let why = format!("the header of part {} does not open: {error}", part.number);
            FlowError::Format(FormatError::Malformed { what: "the head", line: 0, why })
        })?;
        let name = part.file_name();
        let (mut best, mut refused): (Option<(usize, usize, String)>, _) = (None, None);
        let named = (0..self.bundle.volumes.len()).map(|volume| (volume, name.clone()));
        // Lazily: what lies under its own name and is whole needs no search.
        let others = std::iter::once(()).flat_map(|()| self.renamed(part).iter().cloned());
        for (volume, name) in named.chain(others) {
            match self.read(volume, &name, buf) {
                Read::Done => {}
                Read::Absent => continue,
                Read::Refused(why) => {
                    refused.get_or_insert(why);
                    continue;
                }
            }
            let chunks = open_part(&key, &part.header, buf);
            if chunks == self.bundle.head.statement.class.chunks() {
                return Ok(Loaded::Whole);
            }
            if best.as_ref().is_none_or(|(most, _, _)| chunks > *most) {
                best = Some((chunks, volume, name));
            }
        }
        let Some((chunks, volume, name)) = best else {
            return Ok(refused.map_or(Loaded::Missing, |why| Loaded::Partly { chunks: 0, why }));
        };
        let why = format!(
            "{} is damaged in chunk {} of {}",
            show(&self.bundle.volumes[volume].dir.join(&name)),
            chunks + 1,
            buf.chunks_mut().len()
        );
        if chunks == 0 {
            return Ok(Loaded::Partly { chunks: 0, why });
        }
        // Opened in place: what was tried since has overwritten it.
        self.read(volume, &name, buf);
        Ok(Loaded::Partly { chunks: open_part(&key, &part.header, buf), why })
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
