use super::*;
use std::io::{Seek, SeekFrom, Write};

#[test]
fn a_fifo_or_link_is_not_opened() {
    let dir = tempfile::tempdir().unwrap();
    let link = dir.path().join("link");
    std::os::unix::fs::symlink("/etc/hostname", &link).unwrap();
    assert!(open_regular(&link).is_err());
    assert!(open_regular(dir.path()).is_err());
    let fifo = dir.path().join("fifo");
    rustix::fs::mknodat(rustix::fs::CWD, &fifo, rustix::fs::FileType::Fifo, Mode::RUSR, 0).unwrap();
    assert!(open_regular(&fifo).is_err(), "and it did not wait");
}

#[test]
fn holes_are_found_and_limited() {
    let mut file = tempfile::tempfile().unwrap();
    for at in [1u64 << 20, 3 << 20] {
        file.seek(SeekFrom::Start(at)).unwrap();
        file.write_all(&[1; 65536]).unwrap();
    }
    file.set_len(8 << 20).unwrap();
    let all = holes(&file, 8 << 20, 10).unwrap();
    let expected = vec![(0, 1 << 20), ((1 << 20) + 65536, (2 << 20) - 65536), ((3 << 20) + 65536, (5 << 20) - 65536)];
    assert_eq!(all, expected);
    assert_eq!(holes(&file, 8 << 20, 1).unwrap(), &expected[2..], "the largest stays");
}

#[test]
fn a_lock_is_held_once() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let (one, two) = (File::open(file.path()).unwrap(), File::open(file.path()).unwrap());
    assert!(try_lock(&one).unwrap());
    assert!(!try_lock(&two).unwrap());
    drop(one);
    assert!(try_lock(&two).unwrap());
}
