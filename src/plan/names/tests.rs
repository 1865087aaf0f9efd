//! Fits names to grounds of several kinds, and reads them back.

use super::*;
use crate::plan::holds::{Symlinks, copies_of};
use crate::plan::layout::tests::{dir, entry, file, symlink};
use crate::plan::name_folding::unpercent;
use proptest::prelude::*;

/// A ground like Windows: it refuses characters, devices, and dots and spaces at the end, and may fold case and form.
struct Strict {
    folds: bool,
}

impl NameTrial for Strict {
    fn keeps(&self, name: &[u8]) -> Result<bool, IoFault> {
        let text = std::str::from_utf8(name).unwrap_or(":");
        let odd = |c: char| c.is_control() || "\\:*?\"<>|".contains(c);
        Ok(!text.chars().any(odd) && !is_device(name) && !text.ends_with(['.', ' ']) && name.len() <= 255)
    }

    fn apart(&self, names: &[&[u8]]) -> Result<Vec<bool>, IoFault> {
        let mut seen = HashSet::new();
        Ok(names.iter().map(|name| seen.insert(if self.folds { key(name) } else { name.to_vec() })).collect())
    }

    fn reach(&self, path: &[u8]) -> Result<usize, IoFault> {
        Ok(path.len())
    }
}

const ALL: Limits = Limits {
    symlinks: Symlinks { longest: None, only_text: false },
    names: None,
    fills_holes: false,
    largest: None,
    times: (None, None),
};

fn fitted(entries: &[Entry], folds: bool, limits: &Limits) -> Fitted {
    let mut entries = entries.to_vec();
    entries.sort_by(|a, b| a.path.cmp(&b.path));
    fit(entries, &Strict { folds }, limits).unwrap()
}

fn paths(fitted: &Fitted) -> Vec<String> {
    fitted.entries.iter().map(|entry| entry.path.to_string()).collect()
}

fn hardlink(path: &str, first: &str) -> Entry {
    entry(path, Kind::Hardlink(BytePath::new(first.as_bytes()).unwrap()), 0)
}

#[test]
fn what_is_kept_is_left_alone() {
    let entries = [dir("A"), file("A/50%", 1), file("A/x y", 1), file("b", 1), symlink("c", "b")];
    let fitted = fitted(&entries, true, &ALL);
    assert_eq!((fitted.entries, fitted.changes), (entries.to_vec(), vec![]));
}

#[test]
fn each_kind_of_name_is_spelled_anew() {
    let entries = [file("a:b", 1), file("con.txt", 1), file("trail.", 1), file("50%?", 1), file("t\u{1}\u{e9}", 1)];
    let fitted = fitted(&entries, true, &ALL);
    assert_eq!(paths(&fitted), ["%63on.txt", "50%25%3F", "a%3Ab", "t%01\u{e9}", "trail%2E"]);
    assert!(fitted.changes.iter().all(|change| change.why.starts_with("the target ")), "{:?}", fitted.changes);
    let long = format!("{}:", "\u{e9}".repeat(127));
    let fitted = self::fitted(&[file(&long, 1)], true, &ALL);
    assert!(fitted.entries[0].path.as_bytes().ends_with("\u{e9}%~".as_bytes()), "{:?}", fitted.entries[0].path);
}

/// A ground that holds short names only, and folds them.
struct Short(usize);

impl NameTrial for Short {
    fn keeps(&self, name: &[u8]) -> Result<bool, IoFault> {
        Ok(name.len() <= self.0)
    }

    fn apart(&self, names: &[&[u8]]) -> Result<Vec<bool>, IoFault> {
        Strict { folds: true }.apart(names)
    }

    /// Fails the test if a path is tried that every file system holds.
    fn reach(&self, path: &[u8]) -> Result<usize, IoFault> {
        assert!(path.len() > LONG, "{} bytes are held everywhere", path.len());
        Ok(path.len().min(2 * LONG))
    }
}

#[test]
fn names_become_as_short_as_they_must() {
    for most in [143, 150, 230] {
        let (long, other) = ("n".repeat(240), format!("{}N", "n".repeat(239)));
        let entries = [file(&other, 1), file(&long, 2), file("short", 3)];
        let fitted = fit(entries.to_vec(), &Short(most), &ALL).unwrap();
        let lens: Vec<usize> = fitted.entries.iter().map(|entry| entry.path.as_bytes().len()).collect();
        assert!(fitted.changes.len() == 2 && lens.iter().all(|len| *len <= most), "{most}: {lens:?}");
        assert!(Strict { folds: true }.apart(&names_of(&fitted)).unwrap().iter().all(|apart| *apart));
        assert!(fitted.changes[0].why.contains("so long a name"), "{:?}", fitted.changes);
    }
    // The ground keeps each name; only the number makes one too long.
    let entries = [file(&"N".repeat(150), 1), file(&"n".repeat(150), 2)];
    let fitted = fit(entries.to_vec(), &Short(150), &ALL).unwrap();
    assert_eq!(fitted.changes.len(), 1);
    assert!(names_of(&fitted).iter().all(|name| name.len() <= 150), "{:?}", paths(&fitted));
}

fn names_of(fitted: &Fitted) -> Vec<&[u8]> {
    fitted.entries.iter().map(|entry| entry.path.name()).collect()
}

#[test]
fn one_of_two_gets_a_number() {
    let entries = [file("A", 1), file("a", 2), file("a%~2", 3), file("caf\u{e9}", 1), file("cafe\u{301}", 1)];
    assert_eq!(paths(&fitted(&entries, true, &ALL)), ["A", "a%~2", "a%~3", "cafe\u{301}", "caf\u{e9}%~2"]);
    assert!(fitted(&entries, false, &ALL).changes.is_empty(), "another ground holds them all");
    let spelled = [file("a:", 1), file("A%3A", 2)];
    assert_eq!(paths(&fitted(&spelled, true, &ALL)), ["A%3A", "a%3A%~2"]);
}

#[test]
fn what_a_folder_holds_moves_with_it() {
    let entries = [dir("D"), file("D/x", 1), dir("d"), file("d/x", 1), hardlink("e", "d/x")];
    let fitted = fitted(&entries, true, &ALL);
    assert_eq!(paths(&fitted), ["D", "D/x", "d%~2", "d%~2/x", "e"]);
    assert_eq!(fitted.changes.len(), 1);
    assert_eq!(fitted.entries[4].kind, Kind::Hardlink(fitted.entries[3].path.clone()));
    assert_eq!(fitted.former[&fitted.entries[3].path].as_bytes(), b"d/x");
}

#[test]
fn a_file_stands_before_its_links() {
    // "%01" sorts behind "$", which U+0001 does not.
    let mut entries = [file("!:z", 7), hardlink("$", "!:z"), hardlink("x", "!:z")];
    entries[0].at = 512;
    assert_eq!(paths(&fitted(&entries, true, &ALL)), ["!%3Az", "$", "x"]);
    let mut entries = [file("\u{1}", 7), hardlink("$", "\u{1}"), hardlink("x", "\u{1}")];
    entries[0].at = 512;
    let fitted = fitted(&entries, true, &ALL);
    assert_eq!(paths(&fitted), ["$", "%01", "x"]);
    assert_eq!((&fitted.entries[0].kind, fitted.entries[0].size, fitted.entries[0].at), (&Kind::File, 7, 512));
    let first = BytePath::new(&b"$"[..]).unwrap();
    assert!(fitted.entries[1..].iter().all(|entry| entry.kind == Kind::Hardlink(first.clone()) && entry.size == 0));
}

#[test]
fn what_cannot_be_held_is_left_out() {
    let entries = [file("big", 5 << 30), hardlink("h", "big"), file("i", 1), hardlink("j", "i"), symlink("l", "i")];
    let symlinks = Symlinks { longest: Some(0), only_text: true };
    let limits = Limits { symlinks, names: Some(1), largest: Some((4 << 30) - 1), ..ALL };
    let fitted = fitted(&entries, true, &limits);
    assert_eq!(paths(&fitted), ["i", "j"]);
    let becomes: Vec<&Becomes> = fitted.changes.iter().map(|change| &change.becomes).collect();
    let (out, link) = (Becomes::LeftOut(None), Becomes::LeftOut(Some((&b"i"[..]).into())));
    assert_eq!(becomes, [&out, &out, &Becomes::Copy, &link]);
}

#[test]
fn a_symlink_that_does_not_fit_is_left_out() {
    let raw = Kind::Symlink((&b"\xff"[..]).into());
    let entries = [symlink("long", &"x".repeat(1025)), entry("raw", raw, 0), symlink("short", &"x".repeat(1024))];
    let symlinks = Symlinks { longest: Some(1024), only_text: true };
    let fitted = fitted(&entries, true, &Limits { symlinks, ..ALL });
    assert_eq!(paths(&fitted), ["short"]);
    assert!(fitted.changes[0].why.contains("1,025 bytes") && fitted.changes[0].why.contains("1,024"));
    assert!(fitted.changes[1].why.contains("no UTF-8"));
}

#[test]
fn a_file_with_too_many_names_is_copied_as_often_as_it_must() {
    for (most, copies) in [(1, vec![1, 2, 3, 4, 5, 6]), (3, vec![3, 6]), (6, vec![6]), (7, vec![])] {
        let links = (1..=6).map(|at| hardlink(&format!("{at}"), "0"));
        let entries: Vec<Entry> = [file("0", 7)].into_iter().chain(links).collect();
        let fitted = fitted(&entries, false, &Limits { names: Some(most), ..ALL });
        assert_eq!(fitted.entries, entries, "each keeps its name");
        assert!(fitted.changes.iter().all(|change| change.becomes == Becomes::Copy));
        let named: Vec<String> = fitted.changes.iter().map(|change| change.path.to_string()).collect();
        assert_eq!(named, copies.iter().map(|at: &u32| at.to_string()).collect::<Vec<_>>());
        assert_eq!(copies_of(6, most), copies.len() as u64);
    }
}

#[test]
fn a_path_that_is_too_long_as_a_whole_is_left_out_with_all_below_it() {
    let name = "n".repeat(140);
    let mut path = String::from("top");
    let mut entries = vec![dir("top"), file("top/first", 5)];
    while path.len() < 3 * LONG {
        path = format!("{path}/{name}");
        entries.push(dir(&path));
    }
    entries.extend([file(&format!("{path}/deep"), 9), hardlink("z", &format!("{path}/deep"))]);
    let fitted = fit(entries.clone(), &Short(140), &ALL).unwrap();
    assert!(fitted.entries.iter().all(|entry| entry.path.as_bytes().len() <= 2 * LONG));
    assert_eq!(fitted.entries.len() + fitted.changes.len(), entries.len());
    assert!(fitted.entries.iter().any(|entry| entry.path.as_bytes() == b"top/first"));
    let of = |becomes: Becomes| fitted.changes.iter().filter(|change| change.becomes == becomes).count();
    assert_eq!((of(Becomes::LeftOut(None)), of(Becomes::FolderLeftOut)), (2, fitted.changes.len() - 2));
    assert!(fitted.changes[0].why.contains("paths of at most 2,000"), "{:?}", fitted.changes[0]);
}

#[test]
fn times_are_brought_into_range() {
    let mut entries = [file("a", 1), file("b", 1), file("c", 1)];
    for (entry, secs) in entries.iter_mut().zip([-5, 500, 5000]) {
        entry.mtime = Time { secs, nanos: 7 };
    }
    let fitted = fitted(&entries, true, &Limits { times: (Some(10), Some(1000)), ..ALL });
    let times: Vec<(i64, u32)> = fitted.entries.iter().map(|entry| (entry.mtime.secs, entry.mtime.nanos)).collect();
    assert_eq!((times, fitted.clamped.len()), (vec![(10, 0), (500, 7), (1000, 0)], 2));
    let clamped = |path: &str| fitted.clamped.contains(&BytePath::new(path.as_bytes()).unwrap());
    assert!(clamped("a") && !clamped("b") && clamped("c"));
}

fn name() -> impl Strategy<Value = Vec<u8>> {
    const PIECES: [&str; 15] =
        ["a", "A", "b", ":", "%", "%3A", "%~2", ".", " ", "\u{e9}", "e\u{301}", "con", "\u{1}", "~", "?"];
    let odd = proptest::collection::vec(proptest::sample::select(&PIECES[..]), 1..5);
    prop_oneof![
        8 => odd.prop_map(|pieces| pieces.concat().into_bytes()),
        1 => Just(b"\xff".to_vec()),
        1 => Just("\u{6f22}".repeat(85).into_bytes()),
    ]
}

proptest! {
    #[test]
    fn new_names_are_kept_apart_and_lead_back(names in proptest::collection::btree_set(name(), 1..24)) {
        let ok = |name: &Vec<u8>| BytePath::new(name.clone()).ok();
        let entries: Vec<Entry> = names.iter().filter_map(ok).map(|path| Entry { path, ..file("x", 1) }).collect();
        let fitted = fitted(&entries, true, &ALL);
        let again = fit(fitted.entries.clone(), &Strict { folds: true }, &ALL).unwrap();
        prop_assert!(again.changes.is_empty(), "{:?}", again.changes);
        prop_assert_eq!(fitted.entries.len(), entries.len());
        for change in &fitted.changes {
            let Becomes::Renamed(new) = &change.becomes else { panic!("nothing is left out") };
            prop_assert_eq!(unpercent(new.as_bytes()), Some(change.path.as_bytes().to_vec()));
        }
    }
}
