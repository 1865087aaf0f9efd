//! Which volumes are of a bundle: told by what is on them, never by names or places. A volume that is damaged, or that
//! cannot be read, is not said to be of another bundle; what is of another is passed over, so that none of its files is
//! taken for a damaged one of this.

use std::collections::HashSet;

use crate::flow::bundle::sealed_text::head_start;
use crate::flow::error::CopyFault;
use crate::format::head::{Head, Part};
use crate::format::limits;
use crate::format::part::{HEADER, SEALED_CHUNK};
use crate::stage::seal::{KeyError, Keyring};
use crate::stage::stream::PartOpener;
use crate::stage::volume::{ALL_SEALS, HEADS, LIST, Volume, VolumeFile};

/// Parts of a volume that are opened before it is said to hold none of the bundle's.
const SAMPLES: usize = 8;
/// What every age file begins with.
const AGE: &[u8] = b"age-encryption.org/v1\n";

/// What a volume is to a bundle.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Belonging {
    /// Something on it is the bundle's.
    Ours,
    /// Nothing is, and something is sealed to somebody else.
    Foreign,
    /// Nothing tells.
    Unknown,
}

/// What a file says about its volume.
#[derive(Clone, Copy, PartialEq, Eq)]
enum BundleMark {
    Ours,
    Other,
    Unread,
    Nothing,
}

/// What a bundle's files are known by.
pub struct Marks<'a> {
    keyring: &'a Keyring,
    head: Option<&'a Head>,
    start: Vec<u8>,
    headers: HashSet<&'a [u8; HEADER]>,
}

/// Whether a file may be a part, whatever its name. A seal, head or list tells nothing here: it may have been planted.
fn may_be_part(found: &VolumeFile) -> bool {
    let name = found.name.as_str();
    let is_small = ALL_SEALS.contains(&name) || HEADS.contains(&name) || name == LIST;
    found.regular && found.len > HEADER as u64 && !is_small
}

impl<'a> Marks<'a> {
    /// Of the bundle with that key; without a head it is told from others by the key alone.
    pub fn of(keyring: &'a Keyring, head: Option<&'a Head>) -> Self {
        let start = head.map(|head| head.start().into_bytes()).unwrap_or_default();
        let headers = head.into_iter().flat_map(|head| &head.parts).map(|part| &*part.header).collect();
        Self { keyring, head, start, headers }
    }

    /// What a volume is to the bundle.
    pub fn look_at(&self, volume: &Volume) -> Belonging {
        if volume.fault.is_some() {
            return Belonging::Unknown;
        }
        let mut marks: Vec<BundleMark> = HEADS.iter().map(|name| self.of_head(volume, name)).collect();
        // Two bundles may share a key, and only their heads tell their lists apart.
        if !marks.contains(&BundleMark::Other) {
            marks.push(self.of_sealed(volume, LIST));
        }
        if !marks.contains(&BundleMark::Ours) {
            for found in volume.files.iter().filter(|found| may_be_part(found)) {
                let mark = self.of_part(volume, &found.name);
                marks.push(mark);
                if mark == BundleMark::Ours {
                    break;
                }
            }
        }
        match () {
            () if marks.contains(&BundleMark::Ours) || self.opens_a_chunk(volume) => Belonging::Ours,
            () if marks.contains(&BundleMark::Unread) || !marks.contains(&BundleMark::Other) => Belonging::Unknown,
            () => Belonging::Foreign,
        }
    }

    fn of_head(&self, volume: &Volume, name: &str) -> BundleMark {
        match (self.of_sealed(volume, name), self.head) {
            (BundleMark::Ours, Some(_)) => match head_start(volume, name, self.keyring, self.start.len()) {
                Ok(start) if start == self.start => BundleMark::Ours,
                Ok(_) => BundleMark::Other,
                Err(CopyFault::Denied(_) | CopyFault::Unread(_)) => BundleMark::Unread,
                // Its header opens; what it said is lost.
                Err(_) => BundleMark::Ours,
            },
            (mark, _) => mark,
        }
    }

    /// By the header of an age file.
    fn of_sealed(&self, volume: &Volume, name: &str) -> BundleMark {
        if volume.file(name).is_none_or(|found| !found.regular) {
            return BundleMark::Nothing;
        }
        let Ok((start, _)) = volume.read_start(name, limits::AGE_HEADER) else { return BundleMark::Unread };
        match self.keyring.open_header(&start) {
            Ok(_) => BundleMark::Ours,
            Err(KeyError::Wrong) => BundleMark::Other,
            Err(_) => BundleMark::Nothing,
        }
    }

    /// By the first bytes of a file that may be a part.
    fn of_part(&self, volume: &Volume, name: &str) -> BundleMark {
        if self.head.is_none() {
            return self.of_sealed(volume, name);
        }
        let Ok((start, _)) = volume.read_start(name, HEADER) else { return BundleMark::Unread };
        let known = start.first_chunk().is_some_and(|header| self.headers.contains(header));
        match known {
            true => BundleMark::Ours,
            false if start.starts_with(AGE) => BundleMark::Other,
            false => BundleMark::Nothing,
        }
    }

    /// Whether some chunk opens as one of the part that its file is named as: its own header may be damaged.
    fn opens_a_chunk(&self, volume: &Volume) -> bool {
        let Some(head) = self.head else { return false };
        let chunks = head.statement.class.chunks();
        let there: Vec<&Part> = head.parts.iter().filter(|part| volume.file(&part.file_name()).is_some()).collect();
        let step = there.len().div_ceil(SAMPLES).max(1);
        there.into_iter().step_by(step).any(|part| {
            let (Ok((key, _)), Ok(file)) = (self.keyring.open_header(&part.header[..]), volume.open(&part.file_name()))
            else {
                return false;
            };
            let opener = PartOpener::new(&key, &part.header, chunks);
            let mut sealed = vec![0; SEALED_CHUNK];
            [0, chunks / 2, chunks - 1].into_iter().any(|index| {
                let at = (HEADER + index * SEALED_CHUNK) as u64;
                std::os::unix::fs::FileExt::read_exact_at(&file, &mut sealed, at).is_ok()
                    && opener.open(index, &mut sealed)
            })
        })
    }
}
