//! Finds out which names belong to one file. Device and inode alone do not tell, because some file systems give one
//! number to several files. Names count as hard links if everything that the system says of them agrees, and if there
//! are no more of them than the link count of the file.
//!
//! Not guaranteed: that two different files that agree in all of this are told apart.

use std::collections::HashMap;

use super::stamp::Stamp;
use crate::base::os::folder::Status;

/// Everything that the system says of a file with several names. Two names with equal identities are one file.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct FileIdentity {
    stamp: Stamp,
    mode: u32,
    /// User and group.
    owner: (u32, u32),
    /// The link count: how many names the file has, in the sources or elsewhere.
    names: u64,
}

impl FileIdentity {
    /// `None` for a file with one name.
    pub(super) fn of(status: &Status) -> Option<Self> {
        let Status { mode, owner, nlink: names, .. } = *status;
        (names > 1).then(|| Self { stamp: Stamp::new(status), mode, owner, names })
    }
}

/// One name of a file that has several.
#[derive(Debug, Clone)]
pub(super) struct SharedFile {
    /// The index of the entry.
    pub(super) index: u32,
    /// The index of its source.
    pub(super) source: usize,
    pub(super) identity: FileIdentity,
}

/// The result of [`compare`], in the order of indices.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct HardLinks {
    /// Pairs of a later name and the first name of its file, by index.
    pub(super) links: Vec<(u32, u32)>,
    /// Names that are packed as files of their own, although they share a number with another file. Either the system
    /// says something else of them, or more names were found than the file's link count.
    pub(super) doubtful: Vec<u32>,
}

/// Compares all names of files that have several. `files` must be in the order of their indices.
pub(super) fn compare(files: &[SharedFile]) -> HardLinks {
    let mut same: HashMap<&FileIdentity, Vec<&SharedFile>> = HashMap::new();
    // The first identity that was found under each device and inode. A later other one is doubtful.
    let mut numbers: HashMap<(u64, u64), &FileIdentity> = HashMap::new();
    for file in files {
        let identity = &file.identity;
        let Stamp { dev, ino, .. } = file.identity.stamp;
        same.entry(identity).or_default().push(file);
        numbers.entry((dev, ino)).or_insert(identity);
    }
    let mut found = HardLinks::default();
    for (identity, names) in same {
        let Stamp { dev, ino, .. } = identity.stamp;
        if numbers[&(dev, ino)] != identity {
            found.doubtful.push(names[0].index);
        }
        if names.len() as u64 <= identity.names {
            found.add(&names, identity);
            continue;
        }
        // Sources may overlap, and then each of them finds the same names: the count holds within one source.
        for of_one_source in names.chunk_by(|one, other| one.source == other.source) {
            found.add(of_one_source, identity);
        }
    }
    found.links.sort_unstable();
    found.doubtful.sort_unstable();
    found.doubtful.dedup();
    found
}

impl HardLinks {
    /// Links the names to the first of them, unless there are more than the file has.
    fn add(&mut self, names: &[&SharedFile], identity: &FileIdentity) {
        if names.len() as u64 > identity.names {
            self.doubtful.extend(names.iter().map(|file| file.index));
        } else {
            self.links.extend(names[1..].iter().map(|file| (file.index, names[0].index)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: Status = Status {
        dev: 1,
        ino: 7,
        mode: 0o100_644,
        nlink: 2,
        owner: (0, 0),
        size: 10,
        room: 4096,
        mtime: (100, 5),
        ctime: (100, 6),
        has_flags: false,
    };

    fn links(files: &[Status]) -> HardLinks {
        in_sources(&files.iter().map(|file| (0, *file)).collect::<Vec<_>>())
    }

    fn in_sources(files: &[(usize, Status)]) -> HardLinks {
        let shared = (0..).zip(files).map(|(index, (source, status))| {
            let identity = FileIdentity::of(status).expect("it has several names");
            SharedFile { index, source: *source, identity }
        });
        compare(&shared.collect::<Vec<_>>())
    }

    #[test]
    fn names_that_agree_in_everything_are_one_file() {
        let of_three = Status { nlink: 3, ino: 8, ..FILE };
        let found = links(&[FILE, of_three, of_three, FILE, of_three]);
        assert_eq!(found, HardLinks { links: vec![(2, 1), (3, 0), (4, 1)], doubtful: vec![] });
        assert_eq!(links(&[of_three, of_three]).links, [(1, 0)], "the third name is elsewhere");
        assert_eq!(FileIdentity::of(&Status { nlink: 1, ..FILE }), None);
    }

    #[test]
    fn one_difference_makes_another_file() {
        let others = [
            Status { size: 11, ..FILE },
            Status { mtime: (100, 4), ..FILE },
            Status { ctime: (101, 6), ..FILE },
            Status { mode: 0o100_600, ..FILE },
            Status { owner: (0, 1), ..FILE },
            Status { nlink: 3, ..FILE },
        ];
        for other in others {
            let found = links(&[FILE, other, FILE]);
            assert_eq!(found, HardLinks { links: vec![(2, 0)], doubtful: vec![1] }, "{other:?}");
        }
        for elsewhere in [Status { ino: 8, ..FILE }, Status { dev: 2, ..FILE }] {
            assert_eq!(links(&[FILE, elsewhere]), HardLinks::default());
        }
    }

    #[test]
    fn more_names_than_are_counted_are_files_of_their_own() {
        assert_eq!(links(&[FILE, FILE, FILE]), HardLinks { links: vec![], doubtful: vec![0, 1, 2] });
    }

    #[test]
    fn sources_that_overlap_meet_the_same_names() {
        let found = in_sources(&[(0, FILE), (0, FILE), (1, FILE)]);
        assert_eq!(found, HardLinks { links: vec![(1, 0)], doubtful: vec![] });
        let found = in_sources(&[(0, FILE), (0, FILE), (1, FILE), (1, FILE)]);
        assert_eq!(found.links, [(1, 0), (3, 2)]);
        assert_eq!(in_sources(&[(0, FILE), (1, FILE)]).links, [(1, 0)], "they need not overlap");
    }
}
