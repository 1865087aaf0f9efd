//! `tests/screens/*.txt` are transcripts of a terminal, reviewed like any other text. For each transcript a shell runs
//! the lines `$ ...` in a new folder, and the output must be what is written below each line. `SNAPSHOTS=overwrite
//! cargo test --release screens` rewrites them.

use std::fs;
use std::path::Path;
use std::process::Command;

use regex::Regex;
use snapbox::{Assert, Data, Redactions};

use crate::common::{GUARD, chmod, noise, put};

/// Hides everything that differs from run to run.
fn redactions(desk: &Path) -> Redactions {
    let mut all = Redactions::new();
    let mut hide = |name, pattern: &str| all.insert(name, Regex::new(pattern).unwrap()).unwrap();
    hide("[RECIPIENT]", "age1[a-z0-9]{58}");
    hide("[FINGERPRINT]", "(?:[A-Z2-7]{5}-){5}[A-Z2-7]");
    hide("[FREE]", r" of (?<redacted>[0-9.]+ [kMGT]?B free, [0-9]+ %)");
    // Which caches can be bypassed depends on the file system that the test runs on.
    hide("[READ_BACK]", "(?m)^read back[ ;].*$");
    all.insert("[DESK]", desk.to_path_buf()).unwrap();
    all
}

/// Runs one line, with `pouch` on the path. Returns the output of both streams, and the exit code if it is not 0.
fn said(line: &str, desk: &Path) -> String {
    let program = Path::new(env!("CARGO_BIN_EXE_pouch"));
    let path = format!("{}:{}", program.parent().unwrap().display(), std::env::var("PATH").unwrap());
    let mut shell = Command::new("timeout");
    shell.arg(GUARD.as_secs().to_string()).args(["sh", "-c", &format!("exec 2>&1; {line}")]);
    shell.current_dir(desk).env("PATH", path).env("LC_ALL", "C").env_remove("COLUMNS");
    let output = shell.output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    match output.status.code() {
        Some(0) => text,
        code => format!("{text}[{}]\n", code.expect("no signal ends the command")),
    }
}

/// Runs the lines of a transcript in order and compares their output with it.
fn replay(name: &str) {
    let desk = tempfile::tempdir().unwrap();
    chmod(desk.path(), 0o755);
    for folder in ["blue", "red", "green"] {
        fs::create_dir(desk.path().join(folder)).unwrap();
    }
    put(desk.path().join("footage/clip.mov"), noise(2_200_000, 1));
    put(desk.path().join("footage/notes/a.txt"), "notes");
    // The modes must not depend on the umask.
    for (name, mode) in
        [("footage", 0o755), ("footage/notes", 0o755), ("footage/clip.mov", 0o644), ("footage/notes/a.txt", 0o644)]
    {
        chmod(desk.path().join(name), mode);
    }
    let file = Path::new("tests/screens").join(name).with_extension("txt");
    let expected = fs::read_to_string(&file).unwrap();
    let mut seen = String::new();
    for line in expected.lines() {
        if let Some(command) = line.strip_prefix("$ ") {
            seen += &format!("{line}\n{}", said(command, desk.path()));
        } else if line.starts_with('#') {
            seen += &format!("{line}\n");
        }
    }
    let assert = Assert::new().action_env("SNAPSHOTS").redact_with(redactions(desk.path()));
    assert.eq(seen, Data::read_from(&file, None));
}

#[test]
fn screens_of_a_hand_off() {
    replay("hand-off");
}

#[test]
fn screens_of_damage_and_loss() {
    replay("damage");
}

#[test]
fn screens_of_what_is_refused() {
    replay("refused");
}

#[test]
fn screens_of_staging_and_loading() {
    replay("load");
}

#[test]
fn screens_of_help() {
    replay("help");
}
