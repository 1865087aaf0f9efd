//! Makes entries from the members of a tar when there is no list. Entries keep the rules that a list's reader checks; a
//! member that breaks one is left out and named. Without a manifest nothing tells which files are missing.

use std::collections::BTreeSet;

use crate::base::digest::{Digest, sha256};
use crate::base::entry::{Entry, Flag, Kind, Time};
use crate::base::path::BytePath;
use crate::format::limits;
use crate::format::manifest::{Manifest, ManifestEntry};
use crate::plan::links::find;

/// What can be delivered, and what cannot.
#[derive(Debug, Default)]
pub(crate) struct Recovered {
    /// In the order of a list: folders before what they hold.
    pub(crate) entries: Vec<Entry>,
    /// Files that lack some or all of their content.
    pub(crate) torn: Vec<Entry>,
    /// Members that are left out, and why.
    pub(crate) refused: Vec<(BytePath, &'static str)>,
    /// Folders whose own member is lost: their mode and time are not known.
    pub(crate) made: Vec<BytePath>,
    /// Files that the manifest names without a digest that counts.
    pub(crate) unvouched: Vec<BytePath>,
}

/// Puts the `whole` members in order and keeps those that fit. The `torn` ones, which lack content, pass through as
/// they are.
pub(crate) fn recover(whole: Vec<Entry>, torn: Vec<Entry>, manifest: Option<&Manifest>) -> Recovered {
    let mut out = Recovered { torn, ..Recovered::default() };
    let mut entries = whole;
    // The sort is stable: of members with one name, the first in the tar comes first.
    entries.sort_by(|a, b| a.path.cmp(&b.path));
    let mut last: Option<BytePath> = None;
    entries.retain_mut(|entry| {
        if last.as_ref() == Some(&entry.path) {
            out.refused.push((entry.path.clone(), "the tar holds that name twice"));
            return false;
        }
        let is_taken = vouch(entry, manifest, &mut out);
        if is_taken {
            last = Some(entry.path.clone());
        }
        is_taken
    });
    out.entries = entries;
    out.make_folders();
    out.drop_strays();
    out
}

/// Gives a file the digest that the manifest has for it. `false` for a file that is not the bundle's.
fn vouch(entry: &mut Entry, manifest: Option<&Manifest>, out: &mut Recovered) -> bool {
    let Some(manifest) = manifest.filter(|_| entry.kind == Kind::File) else { return true };
    match manifest.said(entry.path.as_bytes()) {
        ManifestEntry::Is(digest) if entry.size == 0 && digest != sha256(b"") => {
            out.refused.push((entry.path.clone(), "it is empty, and the manifest says that it is not"));
            return false;
        }
        ManifestEntry::Is(digest) => entry.sha256 = Some(digest),
        ManifestEntry::Unvouched => out.unvouched.push(entry.path.clone()),
        // For instance a member of a tar that was packed as a file.
        ManifestEntry::Nothing => {
            out.refused.push((entry.path.clone(), "the manifest does not name it"));
            return false;
        }
    }
    true
}

impl Recovered {
    /// Adds every folder that an entry stands in and whose own member is lost, within the limit on their paths.
    fn make_folders(&mut self) {
        let mut missing = BTreeSet::<BytePath>::new();
        let mut held = 0;
        for path in self.entries.iter().map(|entry| &entry.path) {
            let unknown =
                |folder: &BytePath| find(&self.entries, folder.as_bytes()).is_none() && !missing.contains(folder);
            let mut with = held;
            let fits = |folder: &BytePath| {
                with += folder.as_bytes().len();
                with <= limits::MADE_FOLDERS
            };
            let chain: Vec<BytePath> = folders_of(path).take_while(unknown).take_while(fits).collect();
            // An entry whose folders would exceed the limit gets none of them, and is dropped as a stray.
            if with <= limits::MADE_FOLDERS {
                held = with;
                missing.extend(chain);
            }
        }
        self.entries.extend(missing.iter().map(|path| folder(path.clone())));
        self.entries.sort_by(|a, b| a.path.cmp(&b.path));
        self.made = missing.into_iter().collect();
    }

    /// Drops entries that stand in no folder, and hard links that lead to no file.
    fn drop_strays(&mut self) {
        let mut strays: Vec<Option<&'static str>> = vec![None; self.entries.len()];
        let mut open: Vec<&BytePath> = Vec::new();
        for (Entry { path, kind, .. }, stray) in self.entries.iter().zip(&mut strays) {
            while open.last().is_some_and(|folder| !path.is_at_or_below(folder.as_bytes())) {
                open.pop();
            }
            if open.last().map(|folder| folder.as_bytes()) != path.parent() {
                *stray = Some("what it stands in is no folder, or is lost");
            } else if *kind == Kind::Dir {
                open.push(path);
            }
        }
        // Hard links to a stray file are dropped with it.
        let orphans: Vec<bool> = self.entries.iter().map(|entry| self.is_orphan(entry, &strays)).collect();
        for (stray, _) in strays.iter_mut().zip(orphans).filter(|(_, is_orphan)| *is_orphan) {
            stray.get_or_insert("the file that it is another name of is not there");
        }
        let mut strays = strays.into_iter();
        let made = &self.made;
        let refused = &mut self.refused;
        // No member stood for a folder in `made`, so dropping one is not reported.
        self.entries.retain(|entry| {
            let stray = strays.next().flatten();
            let is_told = stray.filter(|_| made.binary_search(&entry.path).is_err());
            refused.extend(is_told.map(|why| (entry.path.clone(), why)));
            stray.is_none()
        });
        let entries = &self.entries;
        self.made.retain(|path| find(entries, path.as_bytes()).is_some());
    }

    fn is_orphan(&self, entry: &Entry, strays: &[Option<&'static str>]) -> bool {
        let Kind::Hardlink(first) = &entry.kind else { return false };
        let file = find(&self.entries, first.as_bytes());
        !file.is_some_and(|at| self.entries[at].kind == Kind::File && strays[at].is_none())
    }
}

/// The folders above a path, innermost first.
fn folders_of(path: &BytePath) -> impl Iterator<Item = BytePath> {
    std::iter::successors(parent_of(path), parent_of)
}

/// The folder above a path; `None` for a path without one.
fn parent_of(path: &BytePath) -> Option<BytePath> {
    path.parent().and_then(|bytes| BytePath::new(bytes).ok())
}

/// A folder of which only the name is known.
fn folder(path: BytePath) -> Entry {
    Entry {
        path,
        kind: Kind::Dir,
        size: 0,
        mode: 0o755,
        mtime: Time::default(),
        at: 0,
        holes: Box::default(),
        sha256: None::<Digest>,
        flag: Flag::Clean,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::bag;
    use crate::plan::layout::tests::{dir, entry, file, symlink};

    fn hardlink(path: &str, first: &str) -> Entry {
        entry(path, Kind::Hardlink(BytePath::new(first.as_bytes()).unwrap()), 0)
    }

    fn recovered(members: Vec<Entry>) -> Recovered {
        recover(members, Vec::new(), None)
    }

    fn paths<'a>(entries: impl IntoIterator<Item = &'a BytePath>) -> Vec<String> {
        entries.into_iter().map(BytePath::to_string).collect()
    }

    #[test]
    fn folders_that_are_lost_are_made() {
        let out = recovered(vec![file("a/b/c/file", 1), file("a/b/other", 1), dir("z"), file("top", 1)]);
        assert_eq!(paths(&out.made), ["a", "a/b", "a/b/c"]);
        let all = paths(out.entries.iter().map(|entry| &entry.path));
        assert_eq!(all, ["a", "a/b", "a/b/c", "a/b/c/file", "a/b/other", "top", "z"]);
        assert!(out.refused.is_empty());
    }

    #[test]
    fn folders_are_not_made_without_end() {
        let deep = |letter: &str| file(&[letter; 2_600].join("/"), 1);
        let out = recovered(["a", "b", "c"].map(deep).into());
        let held: usize = out.made.iter().map(|path| path.as_bytes().len()).sum();
        assert!((1..=limits::MADE_FOLDERS).contains(&held) && out.refused.len() == 1, "{held}");
        let path = ["a"; 80].join("/");
        assert_eq!(recovered(vec![file(&path, 1)]).entries.len(), 80);
    }

    #[test]
    fn nothing_stands_in_a_link_or_file() {
        let out = recovered(vec![
            symlink("link", "/etc"),
            file("link/passwd", 1),
            file("link/made/x", 1),
            hardlink("name", "link/passwd"),
            file("file", 1),
            dir("file/sub"),
            file("file/sub/deep", 1),
            file("twice", 1),
            dir("twice"),
        ]);
        assert_eq!(paths(out.entries.iter().map(|entry| &entry.path)), ["file", "link", "twice"]);
        let refused = paths(out.refused.iter().map(|(path, _)| path));
        assert_eq!(refused, ["twice", "file/sub", "file/sub/deep", "link/made/x", "link/passwd", "name"]);
        assert!(out.made.is_empty());
    }

    #[test]
    fn links_need_their_files() {
        let links = [hardlink("a", "b"), hardlink("c", "d"), hardlink("e", "c"), file("d", 1)];
        let out = recover(links.into(), vec![file("b", 9)], None);
        assert_eq!(paths(out.entries.iter().map(|entry| &entry.path)), ["c", "d"]);
        assert_eq!(paths(out.torn.iter().map(|entry| &entry.path)), ["b"]);
        assert_eq!(paths(out.refused.iter().map(|(path, _)| path)), ["a", "e"]);
    }

    #[test]
    fn only_what_the_manifest_names_counts() {
        let lines: Vec<u8> = [(b"data/a", 7), (b"data/z", 0)]
            .iter()
            .flat_map(|(name, byte)| bag::manifest_line(&Digest([*byte; 32]), &name[..]))
            .collect();
        let manifest = Manifest::parse(&lines, None).unwrap();
        let members = [file("a", 1), file("payload", 1), file("z", 1), dir("d")];
        let out = recover(members.into(), Vec::new(), Some(&manifest));
        let digests: Vec<_> = out.entries.iter().map(|entry| (entry.path.to_string(), entry.sha256)).collect();
        let expected = [("a", Some(Digest([7; 32]))), ("d", None), ("z", None)];
        assert_eq!(digests, expected.map(|(path, digest)| (path.to_string(), digest)));
        assert_eq!(paths(&out.unvouched), ["z"]);
        assert_eq!(out.refused, [(BytePath::new(&b"payload"[..]).unwrap(), "the manifest does not name it")]);
    }
}
