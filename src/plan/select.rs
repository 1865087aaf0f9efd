//! `--only`: the named files and folders out of a list, as a list of its own.

use std::collections::HashMap;

use crate::base::entry::{Entry, Kind};
use crate::base::path::BytePath;

/// What was asked for and is not in the bundle.
#[derive(Debug, PartialEq, Eq)]
pub struct NotFound(pub Vec<u8>);

/// The entries at or below the named paths, with the folders they stand in. A hard link whose
/// file was not asked for becomes the file. No names at all: everything.
pub fn select(entries: Vec<Entry>, only: &[Vec<u8>]) -> Result<Vec<Entry>, NotFound> {
    if only.is_empty() {
        return Ok(entries);
    }
    let wanted: Vec<&[u8]> = only.iter().map(|path| tidy(path)).collect();
    for (path, asked) in wanted.iter().zip(only) {
        if !entries.iter().any(|entry| entry.path.is_at_or_below(path)) {
            return Err(NotFound(asked.clone()));
        }
    }
    let is_wanted = |entry: &Entry| wanted.iter().any(|path| entry.path.is_at_or_below(path));
    let leads_there = |entry: &Entry| {
        let above = |path: &&[u8]| BytePath::new(*path).is_ok_and(|path| path.is_at_or_below(entry.path.as_bytes()));
        entry.kind == Kind::Dir && wanted.iter().any(above)
    };
    let files: HashMap<BytePath, Entry> = linked_files(&entries);
    // The first chosen name of each linked file that was not chosen itself.
    let mut stand_in: HashMap<BytePath, BytePath> = HashMap::new();
    let mut chosen = Vec::new();
    for mut entry in entries.into_iter().filter(|entry| is_wanted(entry) || leads_there(entry)) {
        if let Kind::Hardlink(first) = &entry.kind {
            let first = first.clone();
            if let Some(name) = stand_in.get(&first) {
                entry.kind = Kind::Hardlink(name.clone());
            } else if let Some(file) = files.get(&first).filter(|file| !is_wanted(file)) {
                stand_in.insert(first, entry.path.clone());
                entry = Entry { path: entry.path, ..file.clone() };
            }
        }
        chosen.push(entry);
    }
    Ok(chosen)
}

/// As people type it: `./a/` is `a`.
fn tidy(path: &[u8]) -> &[u8] {
    let path = path.strip_prefix(b"./").unwrap_or(path);
    let end = path.iter().rposition(|b| *b != b'/').map_or(0, |at| at + 1);
    &path[..end]
}

/// The files that hard links name.
fn linked_files(entries: &[Entry]) -> HashMap<BytePath, Entry> {
    let named: std::collections::HashSet<&BytePath> = entries
        .iter()
        .filter_map(|entry| if let Kind::Hardlink(first) = &entry.kind { Some(first) } else { None })
        .collect();
    entries
        .iter()
        .filter(|entry| named.contains(&entry.path))
        .map(|entry| (entry.path.clone(), entry.clone()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::layout::tests::{dir, entry, file};

    fn hardlink(path: &str, first: &str) -> Entry {
        entry(path, Kind::Hardlink(BytePath::new(first.as_bytes()).unwrap()), 0)
    }

    fn tree() -> Vec<Entry> {
        vec![
            dir("a"),
            file("a/one", 1),
            dir("a/sub"),
            file("a/sub/two", 2),
            dir("b"),
            hardlink("b/one", "a/one"),
            hardlink("b/uno", "a/one"),
        ]
    }

    fn paths(only: &[&str]) -> Vec<String> {
        let only: Vec<Vec<u8>> = only.iter().map(|path| path.as_bytes().to_vec()).collect();
        select(tree(), &only).unwrap().iter().map(|entry| entry.path.to_string()).collect()
    }

    #[test]
    fn folders_bring_all_below_and_those_above() {
        assert_eq!(paths(&[]).len(), 7);
        assert_eq!(paths(&["a/sub"]), ["a", "a/sub", "a/sub/two"]);
        assert_eq!(paths(&["./a/one", "b/"]), ["a", "a/one", "b", "b/one", "b/uno"]);
    }

    #[test]
    fn what_is_not_there_is_named() {
        for path in ["a/on", "a/one/x", "", "/a"] {
            assert_eq!(select(tree(), &[path.into()]), Err(NotFound(path.into())), "{path}");
        }
    }

    #[test]
    fn a_link_without_its_file_becomes_the_file() {
        let chosen = select(tree(), &[b"b".to_vec()]).unwrap();
        assert_eq!((&chosen[1].kind, chosen[1].size), (&Kind::File, 1));
        assert_eq!(chosen[2].kind, Kind::Hardlink(BytePath::new(&b"b/one"[..]).unwrap()));
        let both = select(tree(), &[b"b".to_vec(), b"a".to_vec()]).unwrap();
        assert!(both.iter().filter(|e| matches!(e.kind, Kind::Hardlink(_))).count() == 2);
    }
}
