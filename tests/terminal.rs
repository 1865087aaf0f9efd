//! A terminal that is full, closed or gone: no panic, the right code, and nothing half-done.

mod common;

use std::fs;

use common::tree::same;
use common::{Desk, need, pouch_raw};

/// Commands that print, each on a fresh target.
fn printing(desk: &Desk, target: &str) -> Vec<Vec<String>> {
    let path = |below: &str| desk.path(below).display().to_string();
    let words = |words: &[&str]| words.iter().map(|word| word.to_string()).collect::<Vec<String>>();
    vec![
        words(&["--help"]),
        words(&["completions", "bash"]),
        words(&["list", &path("drive-1"), "-i", &path("key")]),
        words(&["list", &path("drive-1"), "-i", &path("key"), "--json"]),
        words(&["check", &path("drive-1"), &path("drive-2")]),
        words(&[
            "unpack",
            &path("drive-1"),
            &path("drive-2"),
            &path("drive-3"),
            "-i",
            &path("key"),
            "-o",
            &path(target),
        ]),
        words(&["pack", &path("source"), "-r", &desk.recipient, "-o", &path("stage"), "-n"]),
    ]
}

#[test]
fn a_full_standard_output_is_an_error_and_no_panic() {
    let desk = Desk::packed();
    fs::create_dir(desk.path("stage")).unwrap();
    for command in printing(&desk, "out") {
        let full = fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
        let output = pouch_raw(&command).stdout(full).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(!said.contains("panicked"), "{command:?}: {said}");
        let is_help = command.len() < 2;
        let code = output.status.code();
        assert!(code == Some(7) || (is_help && code == Some(0)), "{command:?}: {code:?} {said}");
    }
    same(&desk.source(), &desk.path("out/source"));
}

#[test]
#[cfg_attr(not(stock_tools), ignore = "needs age, zstd, sha256sum, GNU tar, bsdtar, busybox and python3 with bagit")]
fn a_closed_standard_output_or_error_does_no_harm() {
    if !need(&["bash"]) {
        return;
    }
    let desk = Desk::packed();
    fs::create_dir(desk.path("stage")).unwrap();
    for (number, script) in ["\"$@\" | true", "\"$@\" >&-", "\"$@\" 2>&-", "\"$@\" >&- 2>&- <&-"].iter().enumerate() {
        for command in printing(&desk, &format!("out-{number}")) {
            let mut words = vec![env!("CARGO_BIN_EXE_pouch").to_string()];
            words.extend(command.clone());
            let args: Vec<&std::ffi::OsStr> = words.iter().map(std::ffi::OsStr::new).collect();
            let script = format!("set -o pipefail; {script}");
            let said = common::bash(&script, desk.dir.path(), &args);
            assert!(
                [0, 7, 141].contains(&said.code) && !said.err.contains("panicked"),
                "{script} {command:?}: {said:?}"
            );
        }
        same(&desk.source(), &desk.path(&format!("out-{number}/source")));
    }
}
