//! Compares two trees in everything that a bundle carries, by `stat` and content, without the program's own comparison.

use std::collections::BTreeMap;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

/// What tests compare of one entry of a tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    pub kind: &'static str,
    /// Permission bits; 0 for links, which have none.
    pub mode: u32,
    /// Seconds and nanoseconds.
    pub mtime: (i64, i64),
    pub size: u64,
    /// SHA-256 of a file, target of a link.
    pub content: Vec<u8>,
    /// First of a file's several names, so that hard links can be compared.
    pub same_as: Option<Vec<u8>>,
}

pub type Tree = BTreeMap<Vec<u8>, Node>;

/// Everything below `root`, and `root` itself under the name "".
pub fn look(root: &Path) -> Tree {
    let (mut tree, mut inodes) = (Tree::new(), BTreeMap::new());
    for path in walk(root) {
        let meta = path.symlink_metadata().expect("it was just listed");
        let name = path.strip_prefix(root).expect("below the root").as_os_str().as_bytes().to_vec();
        let kind = kind_of(&meta);
        let content = match kind {
            "file" => Sha256::digest(std::fs::read(&path).expect("it can be read")).to_vec(),
            "link" => std::fs::read_link(&path).expect("it can be read").as_os_str().as_bytes().to_vec(),
            _ => Vec::new(),
        };
        let first = inodes.entry((meta.dev(), meta.ino())).or_insert_with(|| name.clone());
        let same_as = (kind == "file" && meta.nlink() > 1).then(|| first.clone());
        let mode = if kind == "link" { 0 } else { meta.mode() & 0o7777 };
        let size = if kind == "file" { meta.size() } else { 0 };
        let mtime = (meta.mtime(), meta.mtime_nsec());
        tree.insert(name, Node { kind, mode, mtime, size, content, same_as });
    }
    tree
}

fn kind_of(meta: &std::fs::Metadata) -> &'static str {
    let kind = meta.file_type();
    match () {
        () if kind.is_dir() => "dir",
        () if kind.is_file() => "file",
        () if kind.is_symlink() => "link",
        () => "special",
    }
}

/// All paths, sorted, each folder before what it holds.
fn walk(root: &Path) -> Vec<PathBuf> {
    let mut found = vec![root.to_owned()];
    let mut next = 0;
    while let Some(path) = found.get(next).cloned() {
        next += 1;
        if path.symlink_metadata().is_ok_and(|meta| meta.is_dir()) {
            let children = std::fs::read_dir(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            let mut children: Vec<PathBuf> = children.map(|child| child.expect("a name").path()).collect();
            children.sort();
            found.extend(children);
        }
    }
    found
}

/// Describes every difference.
pub fn differences(expected: &Tree, found: &Tree) -> Vec<String> {
    let names = expected.keys().chain(found.keys().filter(|name| !expected.contains_key(*name)));
    let shown = |name: &[u8]| name.escape_ascii().to_string();
    names
        .filter_map(|name| match (expected.get(name), found.get(name)) {
            (Some(one), Some(other)) if one == other => None,
            (Some(one), Some(other)) => Some(format!("{}: {one:?} became {other:?}", shown(name))),
            (Some(_), None) => Some(format!("{}: is missing", shown(name))),
            _ => Some(format!("{}: was not there before", shown(name))),
        })
        .collect()
}

/// Fails the test unless both trees are the same in everything.
#[track_caller]
pub fn same(expected: &Path, found: &Path) {
    let differences = differences(&look(expected), &look(found));
    assert!(differences.is_empty(), "{}", differences.join("\n"));
}

/// Fails the test unless every file in `found` is one of `expected`, byte for byte. Returns their names.
#[track_caller]
pub fn only_true_files(expected: &Path, found: &Path) -> Vec<Vec<u8>> {
    let (expected, found) = (look(expected), look(found));
    let files = found.into_iter().filter(|(_, node)| node.kind == "file");
    files
        .map(|(name, node)| {
            let original = expected.get(&name).unwrap_or_else(|| panic!("{}: not packed", name.escape_ascii()));
            assert!(original.content == node.content, "{}: a wrong byte was delivered", name.escape_ascii());
            name
        })
        .collect()
}

/// Sets mtime to the nanosecond, on a link itself and not on its target.
#[track_caller]
pub fn set_mtime(path: &Path, (secs, nanos): (i64, i64)) {
    use rustix::fs::{AtFlags, CWD, Timespec, Timestamps, UTIME_OMIT, utimensat};
    let last_access = Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT };
    let times = Timestamps { last_access, last_modification: Timespec { tv_sec: secs, tv_nsec: nanos } };
    utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW).expect("its time can be set");
}

/// Nests folders, each with one file that sorts before the next folder and one that sorts after it.
pub fn dig(top: &Path, depth: usize, name: &str) {
    use rustix::fs::{Mode, OFlags};
    let flags = OFlags::DIRECTORY | OFlags::CLOEXEC;
    let mut at = rustix::fs::open(top, flags, Mode::empty()).unwrap();
    for _ in 0..depth {
        rustix::fs::mkdirat(&at, name, Mode::RWXU).unwrap();
        for file in ["a", "z"] {
            let made = rustix::fs::openat(&at, file, OFlags::CREATE | OFlags::WRONLY, Mode::RUSR).unwrap();
            rustix::io::write(made, file.as_bytes()).unwrap();
        }
        at = rustix::fs::openat(&at, name, flags, Mode::empty()).unwrap();
    }
}

/// Uses `rm`, because the standard library keeps every folder on the way open and may run out of file handles.
pub fn remove_deep(deep: &Path) {
    assert!(std::process::Command::new("rm").arg("-rf").arg(deep).status().unwrap().success());
}
