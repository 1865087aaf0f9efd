use super::*;
use crate::plan::layout::tests::{file, symlink};

#[test]
fn a_trial_leaves_nothing() {
    let target = tempfile::tempdir().unwrap();
    let left = target.path().join(NAME).join("7");
    std::fs::create_dir_all(left.join("deep/deep/deep/deep")).unwrap();
    std::fs::write(left.join("a:b"), b"").unwrap();
    let probe = Probe::begin(target.path()).unwrap();
    assert!(!left.exists(), "what a killed run left is gone");
    assert!(probe.keeps(b"plain").unwrap() && probe.keeps(b"a:b \xff.").unwrap());
    assert!(!probe.keeps(&[b'x'; 256]).unwrap());
    assert_eq!(probe.apart(&[b"a", b"A", b"a"]).unwrap(), [true, true, false]);
    let limits = probe.limits(&[file("a", 1), symlink("l", "a")]).unwrap();
    let all = Symlinks { longest: None, only_text: false };
    assert!(limits.symlinks == all && limits.names.is_none() && limits.largest.is_none());
    let deep = [&[b'x'; 255][..]; 30].join(&b'/');
    assert_eq!(probe.reach(&deep).unwrap(), deep.len());
    drop(probe);
    assert_eq!(std::fs::read_dir(target.path()).unwrap().count(), 0);
}

#[test]
fn a_failing_drive_refuses_no_name() {
    let target = tempfile::tempdir().unwrap();
    let probe = Probe::begin(target.path()).unwrap();
    let takes = |code: i32| probe.takes::<()>(Err(io::Error::from_raw_os_error(code)));
    // EIO, ENOMEM, ENODEV, EMFILE, ENOSPC, EROFS, ENOTCONN, EREMOTEIO, EDQUOT say nothing about a name.
    for fault in [5, 12, 19, 24, 28, 30, 107, 121, 122] {
        assert!(takes(fault).is_err(), "{fault}");
    }
    // EPERM, EINVAL, ENAMETOOLONG, EILSEQ, EOPNOTSUPP do.
    for refusal in [1, 22, 36, 84, 95] {
        assert!(!takes(refusal).unwrap(), "{refusal}");
    }
    std::fs::remove_dir(&probe.path).unwrap();
    assert!(takes(22).is_err(), "nothing can be made where nothing is");
}

#[test]
fn what_others_have_there_stays() {
    let target = tempfile::tempdir().unwrap();
    std::fs::create_dir(target.path().join(NAME)).unwrap();
    std::fs::write(target.path().join(NAME).join("diary"), b"mine").unwrap();
    // The first probe passes over the user's folder, the second one over both.
    let (one, two) = (Probe::begin(target.path()).unwrap(), Probe::begin(target.path()).unwrap());
    assert!(one.path != two.path && one.keeps(b"x").unwrap() && two.keeps(b"x").unwrap());
    drop((one, two));
    assert_eq!(std::fs::read(target.path().join(NAME).join("diary")).unwrap(), b"mine");
    assert_eq!(std::fs::read_dir(target.path()).unwrap().count(), 1);
}

#[test]
fn the_longest_that_is_taken_is_found() {
    for most in [0, 1, 7, 254] {
        assert_eq!(most_of(255, |len| Ok(len <= most)).unwrap(), most);
    }
}

#[test]
fn a_symlink_that_no_linux_takes_is_found() {
    let target = tempfile::tempdir().unwrap();
    let probe = Probe::begin(target.path()).unwrap();
    let limits = probe.limits(&[symlink("l", &"x".repeat(4096)), symlink("m", "\u{e9}")]).unwrap();
    assert!(limits.symlinks.longest.is_some_and(|most| (60..4096).contains(&most)), "{limits:?}");
}

#[test]
fn times_out_of_range_are_found() {
    let held = tempfile::tempfile().unwrap();
    let mut entries = [file("a", 1), file("b", 1)];
    entries[1].mtime.secs = 1 << 50;
    let (first, last) = times(&held, &entries);
    assert!(first.is_none() && last.is_none_or(|last| LAST.contains(&last)), "{last:?}");
}
