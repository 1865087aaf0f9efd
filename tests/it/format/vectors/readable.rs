//! The first bundle of version 1, which opens as long as version 1 is read at all.

use std::path::Path;

/// Runs the program. Returns its exit code, standard output and standard error.
pub fn pouch(args: &[&str], input: &[u8]) -> (i32, String, String) {
    use std::io::Write;
    use std::process::{Command, Stdio};
    let mut child = Command::new(env!("CARGO_BIN_EXE_pouch"))
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // The program may exit without reading its input, which is no failure of the test.
    let _ = child.stdin.take().unwrap().write_all(input);
    let out = child.wait_with_output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (out.status.code().unwrap_or(-1), text(&out.stdout), text(&out.stderr))
}

pub const VOLUME: &str = "tests/vectors/bundle-v1/volume-1";
pub const KEY: &str = "tests/vectors/bundle-v1/pouch.key";
pub const PASSPHRASE: &str = "tests/vectors/bundle-v1/passphrase.txt";
/// As printed when the bundle was packed.
pub const FINGERPRINT: &str = "7RDGN-6BMCP-WN2DB-YWPFV-WCWFG-O";

#[test]
fn version_1_stays_readable_for_ever() {
    use std::os::unix::fs::MetadataExt;
    let target = tempfile::tempdir().unwrap();
    let out = target.path().join("out");
    let (code, said, err) = pouch(&["unpack", VOLUME, "-i", KEY, "-o", out.to_str().unwrap()], b"");
    assert_eq!(code, 0, "{said}{err}");
    assert!(format!("{said}{err}").contains(FINGERPRINT), "{said}{err}");
    let at = |name: &str| out.join("papers").join(name);
    let deep = ["a", "b", "c"].map(|letter| letter.repeat(200)).join("/");
    for (name, content) in [
        ("hello.txt", &b"A pouch that must open for ever.\n"[..]),
        ("byte.bin", b"\xff"),
        ("nothing", b""),
        ("odd 100%\nname \"\\", b"one\n"),
        (&format!("deep/{deep}/far"), b"far down\n"),
    ] {
        assert_eq!(std::fs::read(at(name)).unwrap(), content, "{name:?}");
    }
    assert!(std::fs::read_dir(at("empty")).unwrap().next().is_none());
    assert_eq!(at("empty").metadata().unwrap().mode() & 0o777, 0o750);
    assert_eq!(std::fs::read_link(at("link")).unwrap(), Path::new("hello.txt"));
    assert_eq!(std::fs::read_link(at("astray")).unwrap(), Path::new("/nowhere"));
    let hello = at("hello.txt").metadata().unwrap();
    assert_eq!((hello.mtime(), hello.mtime_nsec(), hello.mode() & 0o777), (981_173_106, 123_456_789, 0o640));
    assert_eq!((hello.nlink(), hello.ino()), (2, at("twin").metadata().unwrap().ino()));
    let byte = at("byte.bin").metadata().unwrap();
    assert_eq!((byte.mtime(), byte.mtime_nsec()), (-2, 500_000_000), "before 1970: seconds are rounded down");
    assert_eq!(std::fs::read_dir(at("")).unwrap().count(), 9);
    assert_eq!(std::fs::read_dir(&out).unwrap().count(), 1);
}

#[test]
fn version_1_opens_by_passphrase_and_checks_without_a_key() {
    let (code, said, err) = pouch(&["check", VOLUME], b"");
    assert_eq!(code, 0, "{said}{err}");
    let passphrase = std::fs::read(PASSPHRASE).unwrap();
    let (code, said, err) = pouch(&["list", VOLUME, "--passphrase-fd", "0"], &passphrase);
    assert_eq!(code, 0, "{said}{err}");
    assert!(said.contains("papers/hello.txt") && format!("{said}{err}").contains(FINGERPRINT), "{said}{err}");
    let (code, _, err) = pouch(&["list", VOLUME, "--passphrase-fd", "0"], b"some other words that are long enough\n");
    assert_eq!(code, 8, "{err}");
}
