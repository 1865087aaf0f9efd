//! What the members of a tar amount to when there is no list: the same things that the list's
//! reader holds of entries are made true here, or what breaks them is left out and named.

use std::collections::{BTreeMap, BTreeSet};

use crate::base::digest::{Digest, sha256};
use crate::base::entry::{Entry, Flag, Kind, Time};
use crate::base::path::BytePath;
use crate::format::limits;
use crate::format::manifest::{Manifest, Said};

/// What can be delivered, and what cannot.
#[derive(Debug, Default)]
pub struct Recovered {
    /// In the order of a list, folders before what they hold.
    pub entries: Vec<Entry>,
    /// Files whose content is not there, or not all of it.
    pub torn: Vec<Entry>,
    /// What is not taken, and why.
    pub refused: Vec<(BytePath, &'static str)>,
    /// Folders whose own member is lost: their mode and time are not known.
    pub made: Vec<BytePath>,
    /// Files that the manifest names without vouching for them.
    pub unvouched: Vec<BytePath>,
}

/// Puts members in order; of each it is known whether all of its content is there.
pub fn recover(members: Vec<(Entry, bool)>, manifest: Option<&Manifest>) -> Recovered {
    let mut out = Recovered::default();
    let mut entries: BTreeMap<BytePath, Entry> = BTreeMap::new();
    for (mut entry, whole) in members {
        if !whole {
            out.torn.push(entry);
        } else if entries.contains_key(&entry.path) {
            out.refused.push((entry.path, "the tar holds that name twice"));
        } else if vouch(&mut entry, manifest, &mut out) {
            entries.insert(entry.path.clone(), entry);
        }
    }
    out.make_folders(&mut entries);
    out.drop_strays(&mut entries);
    out.entries = entries.into_values().collect();
    out
}

/// Gives a file the digest that the manifest has of it; `false` if it is none of the bundle's.
fn vouch(entry: &mut Entry, manifest: Option<&Manifest>, out: &mut Recovered) -> bool {
    let Some(manifest) = manifest.filter(|_| entry.kind == Kind::File) else { return true };
    match manifest.said(entry.path.as_bytes()) {
        Said::Is(digest) if entry.size == 0 && digest != sha256(b"") => {
            out.refused.push((entry.path.clone(), "it is empty, and the manifest says that it is not"));
            return false;
        }
        Said::Is(digest) => entry.sha256 = Some(digest),
        Said::Unvouched => out.unvouched.push(entry.path.clone()),
        // Such as a member of a tar that was itself packed.
        Said::Nothing => {
            out.refused.push((entry.path.clone(), "the manifest does not name it"));
            return false;
        }
    }
    true
}

impl Recovered {
    /// Every folder that something stands in.
    fn make_folders(&mut self, entries: &mut BTreeMap<BytePath, Entry>) {
        let (mut missing, mut held) = (BTreeSet::<BytePath>::new(), 0);
        for path in entries.keys() {
            let unknown = |folder: &BytePath| !entries.contains_key(folder) && !missing.contains(folder);
            let mut with = held;
            let fits = |folder: &BytePath| {
                with += folder.as_bytes().len();
                with <= limits::MADE_FOLDERS
            };
            let chain: Vec<BytePath> = folders_of(path).take_while(unknown).take_while(fits).collect();
            if with <= limits::MADE_FOLDERS {
                held = with;
                missing.extend(chain);
            }
        }
        entries.extend(missing.iter().map(|path| (path.clone(), folder(path.clone()))));
        self.made = missing.into_iter().collect();
    }

    /// Nothing stands in what is no folder, and hard links are links to files.
    fn drop_strays(&mut self, entries: &mut BTreeMap<BytePath, Entry>) {
        let mut strays: Vec<(BytePath, &'static str)> = Vec::new();
        let mut open: Vec<&BytePath> = Vec::new();
        for (path, entry) in entries.iter() {
            while open.last().is_some_and(|folder| !path.is_at_or_below(folder.as_bytes())) {
                open.pop();
            }
            if open.last().map(|folder| folder.as_bytes()) != path.parent() {
                strays.push((path.clone(), "what it stands in is no folder, or is lost"));
                continue;
            }
            match &entry.kind {
                Kind::Dir => open.push(path),
                Kind::Hardlink(first) if !entries.get(first).is_some_and(|file| file.kind == Kind::File) => {
                    strays.push((path.clone(), "the file that it is another name of is not there"));
                }
                _ => {}
            }
        }
        strays.iter().for_each(|(path, _)| drop(entries.remove(path)));
        // What a stray file was the first name of went with it.
        let orphan = |entry: &Entry| match &entry.kind {
            Kind::Hardlink(first) => !entries.contains_key(first),
            _ => false,
        };
        let orphans: Vec<BytePath> =
            entries.values().filter(|entry| orphan(entry)).map(|entry| entry.path.clone()).collect();
        for path in orphans {
            entries.remove(&path);
            strays.push((path, "the file that it is another name of is not there"));
        }
        let made = |path: &BytePath| self.made.binary_search(path).is_ok();
        self.refused.extend(strays.into_iter().filter(|(path, _)| !made(path)));
        self.made.retain(|path| entries.contains_key(path));
    }
}

/// The folders that a path stands in, innermost first.
fn folders_of(path: &BytePath) -> impl Iterator<Item = BytePath> {
    let parent = |of: &BytePath| of.parent().and_then(|bytes| BytePath::new(bytes).ok());
    std::iter::successors(parent(path), move |folder| parent(folder))
}

/// A folder of which nothing but its name is known.
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
        recover(members.into_iter().map(|entry| (entry, true)).collect(), None)
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
        let torn = (file("b", 9), false);
        let links = [hardlink("a", "b"), hardlink("c", "d"), hardlink("e", "c"), file("d", 1)];
        let out = recover(links.map(|entry| (entry, true)).into_iter().chain([torn]).collect(), None);
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
        let members = ["a", "payload", "z"].map(|path| (file(path, 1), true));
        let out = recover(members.into_iter().chain([(dir("d"), true)]).collect(), Some(&manifest));
        let digests: Vec<_> = out.entries.iter().map(|entry| (entry.path.to_string(), entry.sha256)).collect();
        let expected = [("a", Some(Digest([7; 32]))), ("d", None), ("z", None)];
        assert_eq!(digests, expected.map(|(path, digest)| (path.to_string(), digest)));
        assert_eq!(paths(&out.unvouched), ["z"]);
        assert_eq!(out.refused, [(BytePath::new(&b"payload"[..]).unwrap(), "the manifest does not name it")]);
    }
}
