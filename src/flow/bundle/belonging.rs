//! Tells which volumes belong to a bundle: by what is on them, never by their names or places. A volume of another
//! bundle is passed over, so that none of its files is taken for a damaged one of this bundle.
//!
//! Not guaranteed: that every foreign volume is recognised. A volume that is damaged or cannot be read stays
//! [`Belonging::Unknown`].

use std::collections::HashSet;
use std::os::unix::fs::FileExt;

use crate::flow::bundle::sealed_text::head_start;
use crate::flow::error::CopyFault;
use crate::format::head::{Head, Part};
use crate::format::limits;
use crate::format::part::{HEADER, SEALED_CHUNK};
use crate::stage::seal::{KeyError, Keyring};
use crate::stage::stream::PartOpener;
use crate::stage::volume::{ALL_SEALS, HEADS, LIST, Volume, VolumeFile};

/// About how many parts of a volume are opened before it counts as holding none of the bundle's.
const SAMPLES: usize = 8;
/// The first line of every age file.
const AGE: &[u8] = b"age-encryption.org/v1\n";

/// What a volume is to a bundle.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Belonging {
    /// The volume holds something of the bundle.
    Ours,
    /// The volume holds nothing of the bundle, and something that is sealed to another key.
    Foreign,
    /// Nothing on the volume tells.
    Unknown,
}

/// What one file tells of its volume.
#[derive(Clone, Copy, PartialEq, Eq)]
enum BundleMark {
    /// It is of the bundle.
    Ours,
    /// It is of another bundle.
    Other,
    /// It could not be read.
    Unread,
    /// It is missing, or no file of any bundle.
    Nothing,
}

/// What the files of one bundle are recognised by.
pub(crate) struct Marks<'a> {
    keyring: &'a Keyring,
    head: Option<&'a Head>,
    /// The beginning of the head's text; empty without a head.
    start: Vec<u8>,
    headers: HashSet<&'a [u8; HEADER]>,
}

/// Whether a file may be a part, under any name. Seals, heads and lists do not count: one may have been planted.
fn may_be_part(found: &VolumeFile) -> bool {
    let name = found.name.as_str();
    let is_small = ALL_SEALS.contains(&name) || HEADS.contains(&name) || name == LIST;
    found.regular && found.len > HEADER as u64 && !is_small
}

impl<'a> Marks<'a> {
    /// The marks of the bundle that `keyring` opens. Without a head, only the key tells it from other bundles.
    pub(crate) fn of(keyring: &'a Keyring, head: Option<&'a Head>) -> Self {
        let start = head.map(|head| head.start().into_bytes()).unwrap_or_default();
        let headers = head.into_iter().flat_map(|head| &head.parts).map(|part| &*part.header).collect();
        Self { keyring, head, start, headers }
    }

    /// What a volume is to the bundle. Reads little unless the volume's heads and list do not tell.
    pub(crate) fn look_at(&self, volume: &Volume) -> Belonging {
        if volume.fault.is_some() {
            return Belonging::Unknown;
        }
        let marks = self.marks_on(volume);
        if marks.contains(&BundleMark::Ours) || self.opens_a_chunk(volume) {
            Belonging::Ours
        } else if marks.contains(&BundleMark::Unread) || !marks.contains(&BundleMark::Other) {
            Belonging::Unknown
        } else {
            Belonging::Foreign
        }
    }

    /// What the heads and the list tell, and if they do not say that the volume is ours, what the parts tell.
    fn marks_on(&self, volume: &Volume) -> Vec<BundleMark> {
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
        marks
    }

    fn of_head(&self, volume: &Volume, name: &str) -> BundleMark {
        let mark = self.of_sealed(volume, name);
        if mark != BundleMark::Ours || self.head.is_none() {
            return mark;
        }
        match head_start(volume, name, self.keyring, self.start.len()) {
            Ok(start) if start == self.start => BundleMark::Ours,
            Ok(_) => BundleMark::Other,
            Err(CopyFault::Denied(_) | CopyFault::Unread(_)) => BundleMark::Unread,
            // The header opens with the bundle's key, and the text that could say more is lost.
            Err(_) => BundleMark::Ours,
        }
    }

    /// Judges an age file by its header alone.
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

    /// Judges a file that may be a part by its first bytes.
    fn of_part(&self, volume: &Volume, name: &str) -> BundleMark {
        if self.head.is_none() {
            return self.of_sealed(volume, name);
        }
        let Ok((start, _)) = volume.read_start(name, HEADER) else { return BundleMark::Unread };
        if start.first_chunk().is_some_and(|header| self.headers.contains(header)) {
            BundleMark::Ours
        } else if start.starts_with(AGE) {
            BundleMark::Other
        } else {
            BundleMark::Nothing
        }
    }

    /// Whether some file has a good chunk of the part that it is named as. Its own header may be damaged.
    fn opens_a_chunk(&self, volume: &Volume) -> bool {
        let Some(head) = self.head else { return false };
        let named: Vec<&Part> = head.parts.iter().filter(|part| volume.file(&part.file_name()).is_some()).collect();
        let step = named.len().div_ceil(SAMPLES).max(1);
        let chunks = head.statement.class.chunks();
        named.into_iter().step_by(step).any(|part| self.opens_chunk_of(part, chunks, volume))
    }

    /// Tries the first, the middle and the last chunk of a part.
    fn opens_chunk_of(&self, part: &Part, chunks: usize, volume: &Volume) -> bool {
        let Ok((key, _)) = self.keyring.open_header(&part.header[..]) else { return false };
        let Ok(file) = volume.open(&part.file_name()) else { return false };
        let opener = PartOpener::new(&key, &part.header, chunks);
        let mut sealed = vec![0; SEALED_CHUNK];
        [0, chunks / 2, chunks - 1].into_iter().any(|index| {
            let at = (HEADER + index * SEALED_CHUNK) as u64;
            file.read_exact_at(&mut sealed, at).is_ok() && opener.open(index, &mut sealed)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::secret::Secret;
    use crate::flow::bundle::test_bundle::TestBundle;
    use crate::stage::volume::ScanError;
    use std::fs;

    /// What the first volume of `on` is to the bundle, with and without the bundle's head.
    fn look(bundle: &TestBundle, on: &TestBundle) -> [Belonging; 2] {
        let keyring = bundle.own_keyring();
        [Some(&bundle.head), None].map(|head| Marks::of(&keyring, head).look_at(&on.volume(1)))
    }

    #[test]
    fn a_whole_volume_is_ours() {
        let test = TestBundle::new();
        assert_eq!(look(&test, &test), [Belonging::Ours; 2]);
    }

    #[test]
    fn a_volume_under_another_key_is_foreign() {
        assert_eq!(look(&TestBundle::new(), &TestBundle::new()), [Belonging::Foreign; 2]);
    }

    #[test]
    fn only_heads_tell_bundles_under_one_key_apart() {
        let secret = Secret::random();
        let [one, other] = [[1; 16], [2; 16]].map(|name| TestBundle::of(name, &secret, |_| ()));
        assert_eq!(look(&one, &other), [Belonging::Foreign, Belonging::Ours]);
    }

    #[test]
    fn a_part_under_any_name_makes_its_volume_ours() {
        let test = TestBundle::new();
        test.keep_only(1, &["000001.age"]);
        fs::rename(test.path(1, "000001.age"), test.path(1, "clip.mov")).unwrap();
        assert_eq!(look(&test, &test), [Belonging::Ours; 2]);
    }

    #[test]
    fn a_part_without_its_header_is_recognised_by_a_chunk() {
        let test = TestBundle::new();
        test.keep_only(1, &["000001.age"]);
        test.change(1, "000001.age", |bytes| bytes[..HEADER].fill(0));
        assert_eq!(look(&test, &test), [Belonging::Ours, Belonging::Unknown]);
        test.damage(1, "000001.age", &[0, 7]);
        assert_eq!(look(&test, &test)[0], Belonging::Ours, "the last chunk is whole");
        test.damage(1, "000001.age", &[14]);
        assert_eq!(look(&test, &test)[0], Belonging::Unknown, "no other chunk is tried");
    }

    #[test]
    fn a_head_that_is_cut_short_still_makes_its_volume_ours() {
        let test = TestBundle::new();
        test.keep_only(1, &["head.age"]);
        test.change(1, "head.age", |bytes| bytes.truncate(300));
        assert_eq!(look(&test, &test), [Belonging::Ours; 2]);
    }

    #[test]
    fn a_seal_alone_tells_nothing() {
        let test = TestBundle::new();
        test.keep_only(1, &["seal.age", "seal2.age"]);
        assert_eq!(look(&test, &test), [Belonging::Unknown; 2]);
    }

    #[test]
    fn a_folder_that_could_not_be_read_tells_nothing() {
        let test = TestBundle::new();
        let fault = ScanError::Format(crate::format::FormatError::malformed("it", 0, "no"));
        let unread = Volume::unread(&test.path(1, ""), fault);
        assert_eq!(Marks::of(&test.own_keyring(), Some(&test.head)).look_at(&unread), Belonging::Unknown);
    }
}
