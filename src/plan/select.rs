//! `--only`: the named files and folders of a list, as a list of its own.

use std::collections::HashMap;

use crate::base::entry::{Entry, Kind};
use crate::base::path::{BytePath, unescape};

/// A path that the user asked for and that is not in the bundle, as it was typed.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct NotFound(pub(crate) Vec<u8>);

/// The entries at or below the paths in `only`, with the folders above them. A hard link whose file was not asked for
/// becomes the file. Without any path, everything is selected.
///
/// # Errors
/// The first path that is not in the bundle.
pub(crate) fn select(entries: Vec<Entry>, only: &[Vec<u8>]) -> Result<Vec<Entry>, NotFound> {
    if only.is_empty() {
        return Ok(entries);
    }
    let wanted = only.iter().map(|asked| find(&entries, asked)).collect::<Result<Vec<Vec<u8>>, NotFound>>()?;
    let files: HashMap<BytePath, Entry> = linked_files(&entries);
    // For each linked file that was not asked for: the first selected link, which becomes the file.
    let mut stand_in: HashMap<BytePath, BytePath> = HashMap::new();
    let mut chosen = Vec::new();
    for mut entry in entries.into_iter().filter(|entry| is_wanted(entry, &wanted) || leads_to(entry, &wanted)) {
        if let Kind::Hardlink(first) = &entry.kind {
            let first = first.clone();
            if let Some(name) = stand_in.get(&first) {
                entry.kind = Kind::Hardlink(name.clone());
            } else if let Some(file) = files.get(&first).filter(|file| !is_wanted(file, &wanted)) {
                stand_in.insert(first, entry.path.clone());
                entry = Entry { path: entry.path, ..file.clone() };
            }
        }
        chosen.push(entry);
    }
    Ok(chosen)
}

fn is_wanted(entry: &Entry, wanted: &[Vec<u8>]) -> bool {
    wanted.iter().any(|path| entry.path.is_at_or_below(path))
}

/// Whether an entry is a folder on the way to a path that is wanted.
fn leads_to(entry: &Entry, wanted: &[Vec<u8>]) -> bool {
    let folder = entry.path.as_bytes();
    let mut paths = wanted.iter().filter_map(|path| BytePath::new(path.clone()).ok());
    entry.kind == Kind::Dir && paths.any(|path| path.is_at_or_below(folder))
}

fn find(entries: &[Entry], asked: &[u8]) -> Result<Vec<u8>, NotFound> {
    let path = meant(asked, |path| entries.iter().any(|entry| entry.path.is_at_or_below(path)));
    path.ok_or_else(|| NotFound(asked.to_vec()))
}

/// The path that the user means by `asked`: the bytes as they are, or else as a list shows them, escaped. `None` if
/// neither is there.
pub(crate) fn meant(asked: &[u8], is_there: impl Fn(&[u8]) -> bool) -> Option<Vec<u8>> {
    let plain = tidy(asked).to_vec();
    let shown = std::str::from_utf8(tidy(asked)).ok().and_then(unescape);
    std::iter::once(plain).chain(shown).find(|path| is_there(path))
}

/// Takes off what people type around a path: `./a/` is `a`.
fn tidy(path: &[u8]) -> &[u8] {
    let path = path.strip_prefix(b"./").unwrap_or(path);
    let end = path.iter().rposition(|b| *b != b'/').map_or(0, |at| at + 1);
    &path[..end]
}

/// The files that hard links name, by their paths.
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
    fn names_are_taken_as_they_are_shown() {
        let odd = vec![file("a\n", 1), file("a\\x0a", 2)];
        let size = |asked: &str| select(odd.clone(), &[asked.into()]).unwrap()[0].size;
        assert_eq!((size("a\n"), size("a\\x0a"), size("a\\\\x0a")), (1, 2, 2), "as it is comes first");
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
