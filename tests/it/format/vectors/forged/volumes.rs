//! Volumes whose files are whole one by one but wrong together.

use std::fs;
use std::path::Path;

use pouch::internals::format::seal::{Mode, Seal, commitment};
use pouch::internals::stage::seal::Identity;

use super::seal_to_reader;
use crate::format::vectors::readable::{KEY, VOLUME, pouch};

#[test]
fn two_bundles_are_not_mixed() {
    let drive = tempfile::tempdir().unwrap();
    for (volume, bundle) in [("volume-1", [1; 16]), ("volume-2", [2; 16])] {
        let identity = Identity::generate();
        let kcommit = commitment(&bundle, identity.secret().expose());
        let mode = Mode::Normal;
        let seal = Seal { bundle, mode, kcommit, cards: None, identity: identity.to_text() };
        fs::create_dir(drive.path().join(volume)).unwrap();
        fs::write(drive.path().join(volume).join("seal.age"), seal_to_reader(&seal.encode())).unwrap();
    }
    let (code, said, err) = pouch(&["list", drive.path().to_str().unwrap(), "-i", KEY], b"");
    assert!(code == 2 && err.contains("volume-1") && err.contains("volume-2"), "B-VOL-4: {code} {said}{err}");
}

#[test]
fn a_volume_without_all_its_lines_is_not_whole() {
    let drive = tempfile::tempdir().unwrap();
    for name in fs::read_dir(VOLUME).unwrap().map(|entry| entry.unwrap().file_name()) {
        fs::copy(Path::new(VOLUME).join(&name), drive.path().join(&name)).unwrap();
    }
    let check = || pouch(&["check", drive.path().to_str().unwrap()], b"").0;
    assert_eq!(check(), 0);
    let sums = drive.path().join("SHA256SUMS");
    let text = fs::read_to_string(&sums).unwrap();
    for name in ["head.age", "head2.age", "list.age"] {
        let without: String =
            text.split_inclusive('\n').filter(|line| !line.ends_with(&format!("  {name}\n"))).collect();
        assert_ne!(without, text);
        fs::write(&sums, without).unwrap();
        assert_eq!(check(), 4, "B-VOL-3: {name} is not listed");
    }
    fs::remove_file(&sums).unwrap();
    assert_eq!(check(), 3, "B-VOL-3: there is no SHA256SUMS");
}
