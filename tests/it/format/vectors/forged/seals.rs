//! Planted seals to a passphrase cost a reader little, and keep no good seal from being tried.

use std::fs;
use std::path::Path;

use super::pouch;
use crate::format::vectors::readable::{PASSPHRASE, VOLUME};

/// Lists the volume beside planted ones whose seal to a passphrase has this work factor and does not open.
fn list_beside(planted: usize, factor: u8) -> (i32, String) {
    let drive = tempfile::tempdir().unwrap();
    let to = drive.path().join("volume-1");
    fs::create_dir(&to).unwrap();
    for name in ["seal-p.age", "head.age", "list.age"] {
        fs::copy(Path::new(VOLUME).join(name), to.join(name)).unwrap();
    }
    let seal = fs::read(to.join("seal-p.age")).unwrap();
    let at = seal.windows(4).position(|four| four == b" 18\n").unwrap();
    let seal = [&seal[..at], format!(" {factor}\n").as_bytes(), &seal[at + 4..]].concat();
    for number in 0..planted {
        // These folders sort before the good volume.
        let folder = drive.path().join(format!("a{number}"));
        fs::create_dir(&folder).unwrap();
        fs::write(folder.join("seal-p.age"), &seal).unwrap();
    }
    let passphrase = fs::read(PASSPHRASE).unwrap();
    let (code, said, err) = pouch(&["list", drive.path().to_str().unwrap(), "--passphrase-fd", "0"], &passphrase);
    (code, said + &err)
}

#[test]
fn planted_seals_to_a_passphrase_are_refused_or_tried_last() {
    for (planted, factor) in [(5, 22), (5, 21), (20, 20), (20, 19)] {
        let (code, said) = list_beside(planted, factor);
        assert_eq!(code, 0, "B-SEAL-5: {planted} of {factor}: {said}");
        assert!(said.contains("fingerprint 7RDGN"), "{said}");
    }
    let (code, said) = list_beside(100, 10);
    assert_eq!(code, 0, "B-SEAL-5: many that cost nothing: {said}");
}
