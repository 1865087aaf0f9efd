//! Forged bundles that `forge.py` made without this program's code: each is the good bundle with some files replaced.
//! Another reader can be tested on them in the same way.

use std::fs;
use std::path::Path;

use crate::format::vectors::readable::{KEY, VOLUME, pouch};

const FORGED: &str = "tests/vectors/bundles-forged";

/// What `about.txt` says of a forged bundle.
struct About {
    rule: String,
    exit: i32,
    without: Vec<String>,
}

impl About {
    fn read(folder: &Path) -> Self {
        let text = fs::read_to_string(folder.join("about.txt")).unwrap();
        let all = |key: &str| -> Vec<String> {
            let values = text.lines().filter_map(|line| line.split_once(": ")).filter(|(found, _)| *found == key);
            values.map(|(_, value)| value.to_string()).collect()
        };
        let one = |key: &str| all(key).into_iter().next().unwrap_or_else(|| panic!("{folder:?} has no {key}"));
        assert!(!one("reader").is_empty());
        Self { rule: one("rule"), exit: one("exit").parse().unwrap(), without: all("without") }
    }
}

/// Writes the good volume with the files of `folder` in place of its own.
fn lay_out(folder: &Path, about: &About, volume: &Path) {
    fs::create_dir(volume).unwrap();
    for from in [Path::new(VOLUME), folder] {
        for file in fs::read_dir(from).unwrap().map(|entry| entry.unwrap().path()) {
            fs::copy(&file, volume.join(file.file_name().unwrap())).unwrap();
        }
    }
    fs::remove_file(volume.join("about.txt")).unwrap();
    for name in &about.without {
        fs::remove_file(volume.join(name)).unwrap();
    }
}

#[test]
fn forged_bundles_end_as_they_say() {
    let spec = fs::read_to_string("docs/FORMAT.md").unwrap();
    let mut failed = Vec::new();
    let mut folders: Vec<_> = fs::read_dir(FORGED).unwrap().map(|entry| entry.unwrap().path()).collect();
    folders.sort();
    assert!(folders.len() >= 20, "the forged bundles were found");
    for folder in folders {
        let about = About::read(&folder);
        assert!(spec.contains(&format!("[{}]", about.rule)), "{folder:?}: there is no rule {}", about.rule);
        let place = tempfile::tempdir().unwrap();
        let (volume, out) = (place.path().join("volume-1"), place.path().join("out"));
        lay_out(&folder, &about, &volume);
        let (code, said, err) =
            pouch(&["unpack", volume.to_str().unwrap(), "-i", KEY, "-o", out.to_str().unwrap()], b"");
        if code != about.exit {
            failed.push(format!("{}: {} was expected, found {code}: {said}{err}", folder.display(), about.exit));
        }
        // A refused bundle leaves nothing, and what others deliver is right.
        let hello = out.join("papers/hello.txt");
        if hello.exists() {
            assert_eq!(fs::read(&hello).unwrap(), b"A pouch that must open for ever.\n", "{folder:?}");
        }
        if [2, 6].contains(&code) {
            assert!(!hello.exists(), "{folder:?}");
        }
    }
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}
