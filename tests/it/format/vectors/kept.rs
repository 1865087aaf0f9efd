//! The bundles that version 0.1.0 packed, one of each kind, open for ever. What each must deliver is in its
//! `expect.txt`, written from the sources and not from an unpacking.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use pouch::internals::base::digest::sha256;
use pouch::internals::base::path::{as_path, unescape};
use pouch::internals::base::text::hex;

use crate::format::vectors::readable::{KEY, PASSPHRASE, pouch};

const KEPT: &str = "tests/vectors/bundles-0.1.0";

/// What one bundle must deliver.
struct Expected {
    passphrase: bool,
    exit: i32,
    fingerprint: String,
    /// Kind, SHA-256 or target, and path of each entry.
    entries: Vec<(String, String, PathBuf)>,
}

impl Expected {
    fn read(bundle: &Path) -> Self {
        let text = fs::read_to_string(bundle.join("expect.txt")).unwrap();
        let mut expected = Self { passphrase: false, exit: -1, fingerprint: String::new(), entries: Vec::new() };
        for (key, value) in text.lines().filter(|line| !line.starts_with('#')).filter_map(|line| line.split_once(": "))
        {
            match key {
                "opens" => expected.passphrase = value == "passphrase",
                "exit" => expected.exit = value.parse().unwrap(),
                "fingerprint" => expected.fingerprint = value.to_string(),
                kind => {
                    let (value, path) = value.split_once(' ').unwrap();
                    let (value, path) = if kind == "symlink" { split_link(value, path) } else { (value.into(), path) };
                    let path = as_path(&unescape(path).expect("paths are escaped")).to_owned();
                    expected.entries.push((kind.to_string(), value, path));
                }
            }
        }
        assert!(expected.exit >= 0 && !expected.entries.is_empty(), "{}", bundle.display());
        expected
    }
}

/// A link's target may hold blanks; its path is the last word.
fn split_link<'a>(first: &str, rest: &'a str) -> (String, &'a str) {
    match rest.rsplit_once(' ') {
        Some((more, path)) => (format!("{first} {more}"), path),
        None => (first.to_string(), rest),
    }
}

/// Runs a command on these volumes, with the key or passphrase that opens the bundle.
fn with_key(expected: &Expected, command: &str, volumes: &[PathBuf], more: &[&str]) -> (i32, String) {
    let mut args = vec![command];
    args.extend(volumes.iter().map(|volume| volume.to_str().unwrap()));
    args.extend(if expected.passphrase { ["--passphrase-fd", "0"] } else { ["-i", KEY] });
    args.extend(more);
    let input = if expected.passphrase { fs::read(PASSPHRASE).unwrap() } else { Vec::new() };
    let (code, said, err) = pouch(&args, &input);
    (code, said + &err)
}

/// Every path below a folder.
fn paths_below(root: &Path) -> BTreeSet<PathBuf> {
    let mut found = BTreeSet::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
            if entry.file_type().unwrap().is_dir() {
                folders.push(entry.path());
            }
            found.insert(entry.path().strip_prefix(root).unwrap().to_owned());
        }
    }
    found
}

fn check_delivered(expected: &Expected, out: &Path, name: &str) {
    let mut delivered = BTreeSet::new();
    for (kind, value, path) in expected.entries.iter().filter(|(kind, _, _)| kind != "missing") {
        let at = out.join(path);
        match kind.as_str() {
            "dir" => assert!(at.is_dir(), "{name}: {path:?}"),
            "file" => assert_eq!(hex(&sha256(&fs::read(&at).unwrap()).0), *value, "{name}: {path:?}"),
            "symlink" => {
                assert_eq!(fs::read_link(&at).unwrap().as_os_str().as_bytes(), value.as_bytes(), "{name}: {path:?}")
            }
            other => panic!("{name}: there is no kind {other}"),
        }
        delivered.insert(path.clone());
    }
    assert_eq!(paths_below(out), delivered, "{name}: nothing else is delivered");
}

/// The volumes of a bundle, in order.
fn volumes_of(bundle: &Path) -> Vec<PathBuf> {
    let mut volumes: Vec<PathBuf> =
        fs::read_dir(bundle).unwrap().map(|entry| entry.unwrap().path()).filter(|path| path.is_dir()).collect();
    volumes.sort();
    volumes
}

fn unpack_all(bundle: &Path, volumes: &[PathBuf]) {
    let expected = Expected::read(bundle);
    let name = bundle.display().to_string();
    let target = tempfile::tempdir().unwrap();
    let out = target.path().join("out");
    let (code, said) = with_key(&expected, "unpack", volumes, &["-o", out.to_str().unwrap()]);
    assert_eq!(code, expected.exit, "{name}: {said}");
    assert!(said.contains(&expected.fingerprint), "{name}: {said}");
    check_delivered(&expected, &out, &name);
}

#[test]
fn what_0_1_0_packed_opens_for_ever() {
    let mut bundles: Vec<PathBuf> = fs::read_dir(KEPT).unwrap().map(|entry| entry.unwrap().path()).collect();
    bundles.sort();
    assert_eq!(bundles.len(), 5, "{bundles:?}");
    for bundle in bundles {
        let expected = Expected::read(&bundle);
        let volumes = volumes_of(&bundle);
        let (code, said, err) = pouch(&["check", bundle.to_str().unwrap()], b"");
        assert_eq!(code, 0, "{}: {said}{err}", bundle.display());
        let (code, said) = with_key(&expected, "list", &volumes, &[]);
        assert!(code == 0 && said.contains(&expected.fingerprint), "{}: {said}", bundle.display());
        unpack_all(&bundle, &volumes);
    }
}

#[test]
fn what_0_1_0_packed_survives_what_it_promised() {
    let lose_one = Path::new(KEPT).join("lose-one");
    let volumes = volumes_of(&lose_one);
    for lost in 0..volumes.len() {
        let left: Vec<PathBuf> =
            volumes.iter().enumerate().filter(|(at, _)| *at != lost).map(|(_, v)| v.clone()).collect();
        unpack_all(&lose_one, &left);
    }
}
