//! Where symlinks lead within the bundle. A bag lists a link to a payload file with that file's digest, and validators
//! refuse links that lead nowhere or out of it (FORMAT section 3).

use crate::base::entry::{Entry, Kind};
use crate::base::path::compare;

/// Most links that are followed for one, as many as the kernel follows.
const MOST_LINKS: usize = 40;

/// Where a link leads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Leads {
    /// To the content of the file with that index.
    File(usize),
    /// To a folder of the bundle, or to its root.
    Dir,
    /// Nowhere, out of the bundle, through a file, or in a circle.
    Astray,
}

/// Index of the entry with that path. `entries` are in order.
pub(crate) fn find(entries: &[Entry], path: &[u8]) -> Option<usize> {
    entries.binary_search_by(|entry| compare(entry.path.as_bytes(), path)).ok()
}

/// Follows the symlink at `index`, name by name. Absolute targets are astray: they name no place in the bundle.
pub(crate) fn follow(entries: &[Entry], index: usize) -> Leads {
    let Kind::Symlink(target) = &entries[index].kind else { return Leads::Astray };
    let mut at: Vec<u8> = entries[index].path.parent().unwrap_or_default().to_vec();
    let mut todo: Vec<Vec<u8>> = Vec::new();
    if !queue(&mut todo, target) {
        return Leads::Astray;
    }
    let mut links = 1;
    while let Some(name) = todo.pop() {
        match &name[..] {
            b"" | b"." => continue,
            b".." if at.is_empty() => return Leads::Astray,
            b".." => {
                at.truncate(at.iter().rposition(|b| *b == b'/').unwrap_or(0));
                continue;
            }
            name => enter(&mut at, name),
        }
        let Some(found) = find(entries, &at) else { return Leads::Astray };
        match &entries[found].kind {
            Kind::Symlink(target) => {
                links += 1;
                if links > MOST_LINKS || !queue(&mut todo, target) {
                    return Leads::Astray;
                }
                at = entries[found].path.parent().unwrap_or_default().to_vec();
            }
            Kind::Dir => {}
            _ if !todo.is_empty() => return Leads::Astray,
            Kind::File => return Leads::File(found),
            Kind::Hardlink(first) => return find(entries, first.as_bytes()).map_or(Leads::Astray, Leads::File),
        }
    }
    // The root of the bundle has no entry, and is a folder too.
    Leads::Dir
}

/// Adds a name to the path of a folder; the root of the bundle has the empty path.
fn enter(at: &mut Vec<u8>, name: &[u8]) {
    if !at.is_empty() {
        at.push(b'/');
    }
    at.extend_from_slice(name);
}

/// Puts the names of a target before those that are left to walk; `false` if the target is absolute.
fn queue(todo: &mut Vec<Vec<u8>>, target: &[u8]) -> bool {
    todo.extend(target.split(|b| *b == b'/').rev().map(<[u8]>::to_vec));
    !target.starts_with(b"/")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::layout::tests::{dir, file, symlink};

    #[test]
    fn links_are_followed_within_the_bundle() {
        let mut entries = vec![
            dir("a"),
            file("a/file", 1),
            symlink("a/to-file", "file"),
            symlink("a/via-link", "../b/to-a/file"),
            symlink("astray", "missing"),
            dir("b"),
            symlink("b/to-a", "../a/./"),
            symlink("loop", "loop"),
            symlink("out", "../x"),
            symlink("root", "/etc"),
            symlink("through-file", "a/file/x"),
            symlink("top", "a/.."),
        ];
        entries.sort_by(|x, y| x.path.cmp(&y.path));
        let leads = |path: &str| follow(&entries, find(&entries, path.as_bytes()).unwrap());
        let file = Leads::File(find(&entries, b"a/file").unwrap());
        assert_eq!(leads("a/to-file"), file);
        assert_eq!(leads("a/via-link"), file);
        assert_eq!(leads("b/to-a"), Leads::Dir);
        assert_eq!(leads("top"), Leads::Dir);
        for path in ["astray", "loop", "out", "root", "through-file"] {
            assert_eq!(leads(path), Leads::Astray, "{path}");
        }
    }
}
