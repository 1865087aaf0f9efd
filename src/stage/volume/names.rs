//! The names of a volume's files, and how they are recognised on drives that show some or all names in capitals, as
//! ISO 9660 and the short names of FAT do. Not guaranteed: that names that were cut to 8.3 are recognised.

use std::collections::HashSet;

use crate::format::journal::JOURNAL;
use crate::format::seal::ALL_SEALS;
use crate::format::volume_number::VolumeNumber;
use crate::format::{number as canonical, part};

/// A file in a folder that may be a volume.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct VolumeFile {
    /// The name of the format if it has one for this file, else the name on the drive. Always UTF-8: files with other
    /// names are foreign and left out.
    pub(crate) name: String,
    /// The name as the drive shows it; `None` if it is the same.
    pub(crate) on_drive: Option<String>,
    /// In bytes.
    pub(crate) len: u64,
    /// Whether it is a regular file, not a FIFO, link, folder or device.
    pub(crate) regular: bool,
}

/// The hashes of all other files of the volume. The last file that gets its name: with it the volume looks complete.
pub(crate) const SUMS: &str = "SHA256SUMS";
/// Both copies of the head, each sealed on its own.
pub(crate) const HEADS: [&str; 2] = ["head.age", "head2.age"];
/// The list of packed files, one copy on each volume.
pub(crate) const LIST: &str = "list.age";

const FOLDER: &str = "volume-";

/// The number of the volume whose folder has that name, in any case; `None` for all other names, and for numbers with
/// leading zeros or signs.
pub(crate) fn number_of(folder: &str) -> Option<VolumeNumber> {
    let (start, number) = folder.split_at_checked(FOLDER.len())?;
    start.eq_ignore_ascii_case(FOLDER).then(|| canonical(number))?
}

/// Whether a folder is named as we name the folders of volumes, in any case.
pub(crate) fn is_volume_name(name: &str) -> bool {
    number_of(name).is_some()
}

/// Gives files the names of the format where the drive shows these in another case, and sorts them by name. Each name
/// goes to one file: to the one with the exact name, else to the first in byte order. The others stay foreign.
pub(super) fn spell(files: &mut [VolumeFile]) {
    files.sort_by(|a, b| a.name.cmp(&b.name));
    let mut taken: HashSet<String> =
        files.iter().filter(|found| is_ours(&found.name)).map(|found| found.name.clone()).collect();
    for found in files.iter_mut() {
        if let Some(name) = meant(&found.name).filter(|name| taken.insert(name.clone())) {
            found.on_drive = Some(std::mem::replace(&mut found.name, name));
        }
    }
    files.sort_by(|a, b| a.name.cmp(&b.name));
}

/// The name of the format that differs from `name` only in case; `None` if there is none, or `name` is exact.
fn meant(name: &str) -> Option<String> {
    let meant = if name.eq_ignore_ascii_case(SUMS) { SUMS.into() } else { name.to_ascii_lowercase() };
    (meant != name && is_ours(&meant)).then_some(meant)
}

/// Whether the format has a file of that name, in any case.
pub(super) fn may_be_ours(name: &str) -> bool {
    is_ours(name) || meant(name).is_some()
}

fn is_ours(name: &str) -> bool {
    let small = [SUMS, LIST, JOURNAL].contains(&name) || HEADS.contains(&name) || ALL_SEALS.contains(&name);
    small || part::is_part(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Pairs of the name that the drive shows and the name that [`spell`] gives, sorted by the latter.
    fn spelled(names: &[&str]) -> Vec<(String, String)> {
        let found = |name: &&str| VolumeFile { name: name.to_string(), on_drive: None, len: 1, regular: true };
        let mut files: Vec<VolumeFile> = names.iter().map(found).collect();
        spell(&mut files);
        files.into_iter().map(|found| (found.on_drive.unwrap_or_else(|| found.name.clone()), found.name)).collect()
    }

    #[test]
    fn names_in_capitals_are_those_of_the_format() {
        let found = spelled(&["000001.AGE", "SEAL.AGE", "Head2.age", "sha256sums", "DCIM", "000002.PAR", "NOTES.AGE"]);
        let expected = [
            ("000001.AGE", "000001.age"),
            ("000002.PAR", "000002.par"),
            ("DCIM", "DCIM"),
            ("NOTES.AGE", "NOTES.AGE"),
            ("sha256sums", "SHA256SUMS"),
            ("Head2.age", "head2.age"),
            ("SEAL.AGE", "seal.age"),
        ];
        assert_eq!(found, expected.map(|(drive, name)| (drive.to_string(), name.to_string())));
    }

    #[test]
    fn the_exact_name_comes_first() {
        let of = |names: &[&str]| {
            spelled(names).into_iter().map(|(drive, name)| format!("{drive}={name}")).collect::<Vec<_>>()
        };
        assert_eq!(of(&["seal.age", "SEAL.AGE"]), ["SEAL.AGE=SEAL.AGE", "seal.age=seal.age"]);
        assert_eq!(of(&["Seal.age", "SEAL.AGE"]), ["Seal.age=Seal.age", "SEAL.AGE=seal.age"]);
    }

    #[test]
    fn folders_have_numbers() {
        assert_eq!(
            ["volume-1", "VOLUME-12", "Volume-1000"].map(number_of),
            [1, 12, 1000].map(|number| Some(VolumeNumber::new(number)))
        );
        assert_eq!(
            ["volume", "volume-+1", "volume-x", "v\u{f6}lume-1", "\u{1f4be}\u{1f4be}"].map(number_of),
            [None; 5]
        );
    }
}
