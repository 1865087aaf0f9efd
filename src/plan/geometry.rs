//! How large parts are, how many there can be, and how much room all other files of a volume need (FORMAT section 4).
//! All of it is known from the walk, before the first file is read.

use crate::base::entry::Entry;
use crate::base::path::escape;
use crate::format::frame::stored_capacity;
use crate::format::part::{BLOCK, CHUNK, Class, SEALED_CHUNK};
use crate::format::stripe::Scheme;
use crate::format::{FormatError, limits};

/// Most parts for each volume. FAT32 holds 65,534 short names in a folder; a third of that leaves room for other
/// systems.
pub(crate) const FILES_ON_A_VOLUME: u32 = 20_000;
/// Largest part in MiB, unless there would be too many parts.
pub(crate) const LARGEST: u16 = 64;
/// The same where zstd works hard and takes the memory itself.
pub(crate) const LARGEST_AT_HIGH_LEVELS: u16 = 4;
/// Memory for parts in the making, in MiB.
const PART_MEMORY: u64 = 192;

/// The size of parts, and what follows from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Geometry {
    pub(crate) class: Class,
    /// Data parts if nothing compresses.
    pub(crate) data_at_most: u32,
    /// `None` without parity.
    pub(crate) scheme: Option<Scheme>,
}

impl Geometry {
    /// All parts of a bundle with `data` data parts, parity included.
    pub(crate) fn parts(&self, data: u64) -> u64 {
        data + self.scheme.map_or(0, |scheme| data.div_ceil(scheme.k.into()) * u64::from(scheme.m))
    }

    /// All parts, parity included, if nothing compresses.
    pub(crate) fn parts_at_most(&self) -> u32 {
        self.parts(self.data_at_most.into()) as u32
    }
}

/// Chooses the class for a tar of `tar` bytes. It exceeds `largest` MiB only where there would otherwise be too many
/// parts.
///
/// # Errors
/// Even of the largest class it takes more than 100,000 parts, or more than 20,000 for each volume.
pub(crate) fn choose(tar: u64, volumes: u16, scheme: Option<Scheme>, largest: u16) -> Result<Geometry, FormatError> {
    let parity = scheme.map_or(0, |scheme| u64::from(scheme.m));
    let in_memory = u64::from(volumes) + parity + 2;
    let usual = Class::ALL.iter().rposition(|class| {
        let mib = u64::from(class.mib());
        class.mib() <= largest && tar >> 20 >= 128 * mib && mib * in_memory <= PART_MEMORY
    });
    let first = usual.unwrap_or(0);
    let most = u64::from(limits::PARTS).min(u64::from(FILES_ON_A_VOLUME) * u64::from(volumes));
    for class in &Class::ALL[first..] {
        let data = data_at_most(tar, *class);
        if data <= most {
            let geometry = Geometry { class: *class, data_at_most: data as u32, scheme };
            if geometry.parts(data) <= most {
                return Ok(geometry);
            }
        }
    }
    let largest = Class::ALL[Class::ALL.len() - 1];
    Err(FormatError::Limit { what: "the number of parts", value: data_at_most(tar, largest), limit: most })
}

/// The geometry of a class that the earlier run chose.
pub(crate) fn of_class(tar: u64, class: Class, scheme: Option<Scheme>) -> Geometry {
    let data_at_most = data_at_most(tar, class).min(limits::PARTS.into()) as u32;
    Geometry { class, data_at_most, scheme }
}

/// The volumes that have the journal as long as packing lasts, as indices: the first one, and the first one on another
/// drive, because the drive that fails may be the first one. `devices` has the drive of each volume.
pub(crate) fn journal_volumes(devices: impl IntoIterator<Item = u64>) -> Vec<usize> {
    let mut devices = devices.into_iter();
    let first = devices.next();
    let other = devices.position(|device| Some(device) != first);
    [first.map(|_| 0), other.map(|at| at + 1)].into_iter().flatten().collect()
}

/// Most bytes of the journal: lines for each range and part, and a stamp for each entry. They are reserved on each
/// volume that has it.
pub(crate) fn journal_at_most(tar: u64, parts_at_most: u32, entries: usize) -> u64 {
    let ranges = tar.div_ceil(1 << 20) + 16;
    64 * 1024 + 160 * ranges + 300 * u64::from(parts_at_most) + 11 * entries as u64
}

/// Data parts of a tar that does not compress at all.
pub(crate) fn data_at_most(tar: u64, class: Class) -> u64 {
    tar.div_ceil(least_tar(class)).max(1)
}

/// Data parts of a tar that compresses to `packed` bytes.
pub(crate) fn data_expected(packed: u64, class: Class) -> u64 {
    // Parts are filled to within 2 %; about half of that stays empty.
    packed.div_ceil(class.room() as u64 / 100 * 99).max(1)
}

/// Fewest bytes of tar that a full part holds, whatever they are: stored frames of one range each (a few bytes per 128
/// KiB), and less than a block at the end that stays empty.
fn least_tar(class: Class) -> u64 {
    let room = class.room();
    (stored_capacity(room - room / 8192 - 1024) as u64) / BLOCK * BLOCK
}

/// Bytes of tar that a worker fills and compresses at once. Smaller parts have smaller ranges, so that less is
/// compressed again where a part ends.
pub(crate) fn range_len(class: Class) -> u64 {
    (u64::from(class.mib()) << 21).clamp(1 << 20, 8 << 20)
}

/// Bytes that each volume keeps free for everything except parts: room for four seals, two heads, the list (whose text
/// has at most `list` bytes) and SHA256SUMS. These are upper bounds.
pub(crate) fn reserve(list: u64, parts_at_most: u32, cluster: u64) -> u64 {
    let parts = u64::from(parts_at_most);
    let seal = 8 * 1024;
    let head = sealed(4096 + parts * 480);
    let list = sealed(list);
    let sums = 1024 + parts * 80;
    [seal, seal, seal, seal, head, head, list, sums].map(|len| len.next_multiple_of(cluster)).iter().sum::<u64>()
        + cluster
}

/// Most bytes of the list's text.
pub(crate) fn list_at_most(entries: &[Entry]) -> u64 {
    entries.iter().map(list_line_at_most).sum()
}

/// Most bytes of a sealed head or list with `text` bytes of text, even if the text does not compress.
fn sealed(text: u64) -> u64 {
    let chunks = (text + text / 128 + 4096).div_ceil(CHUNK as u64);
    chunks * SEALED_CHUNK as u64 + 4096
}

/// A bound on [`crate::format::list::encode`] before digest and offset are known.
fn list_line_at_most(entry: &Entry) -> u64 {
    let plain = escape(entry.path.as_bytes()).len() as u64;
    let target = match &entry.kind {
        crate::base::entry::Kind::Symlink(target) => escape(target).len(),
        crate::base::entry::Kind::Hardlink(first) => escape(first.as_bytes()).len(),
        _ => 0,
    };
    // JSON doubles the backslashes of escapes; the fixed keys and values take less than 300 bytes.
    2 * (plain + target as u64) + 300 + 44 * entry.holes.len() as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::digest::Digest;
    use crate::format::list;
    use crate::plan::layout::tests::{file, symlink};

    #[test]
    fn the_class_grows_with_the_tar() {
        for (tar, volumes, mib) in [
            (10_000, 1, 1),
            (511 << 20, 1, 1),
            (512 << 20, 1, 4),
            (2 << 30, 3, 16),
            (8 << 30, 1, 64),
            (8 << 30, 2, 16),
            (1 << 40, 10, 16),
            (8 << 30, 11, 4),
            (4 << 40, 3, 256),
        ] {
            assert_eq!(choose(tar, volumes, None, LARGEST).unwrap().class.mib(), mib, "{tar} on {volumes}");
        }
        assert!(choose(1 << 60, 3, None, LARGEST).is_err());
    }

    #[test]
    fn two_drives_have_the_journal() {
        for (devices, volumes) in [(&[][..], &[][..]), (&[7], &[0]), (&[7, 7], &[0]), (&[7, 7, 8, 9], &[0, 2])] {
            assert_eq!(journal_volumes(devices.iter().copied()), volumes, "{devices:?}");
        }
    }

    #[test]
    fn one_drive_gets_no_more_files_than_fat_takes() {
        let geometry = choose(400 << 30, 1, Scheme::new(40, 2, 42), 4).unwrap();
        assert!(geometry.parts_at_most() <= FILES_ON_A_VOLUME);
    }

    #[test]
    fn the_bound_of_a_list_line_holds() {
        let mut odd = file("\\\u{1}\u{202e}\"", u64::MAX >> 1);
        odd.at = u64::MAX >> 1;
        odd.sha256 = Some(Digest::ZERO);
        odd.flag = crate::base::entry::Flag::Unreadable;
        odd.holes = vec![(u64::MAX >> 2, u64::MAX >> 3)].into();
        odd.mtime = crate::base::entry::Time { secs: i64::MIN, nanos: 999_999_999 };
        let fits = |entry: &Entry| list::encode(entry).len() as u64 <= list_line_at_most(entry);
        assert!(fits(&odd));
        assert!(fits(&symlink("a", "\\\\\\\\\u{1}\u{1}")));
    }
}
