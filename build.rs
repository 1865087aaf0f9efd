//! Tells the tests what this machine has: a test that needs more is reported as ignored instead of passing silently.
//! The program itself does not depend on any of it.

use std::path::PathBuf;
use std::process::Command;

const TOOLS: [&str; 10] =
    ["age", "age-keygen", "bash", "bsdtar", "busybox", "find", "python3", "sha256sum", "tar", "zstd"];

fn main() {
    // With POUCH_NEED_ALL=1 no test is ignored: a test that lacks something fails.
    let all = std::env::var_os("POUCH_NEED_ALL").is_some_and(|value| value == "1");
    let tools = TOOLS.iter().all(|tool| is_there(tool)) && runs("python3", &["-c", "import bagit"]);
    let vectors = std::env::var_os("POUCH_CCTV").is_some_and(|folder| PathBuf::from(folder).is_dir());
    let root = Command::new("id").arg("-u").output().is_ok_and(|output| output.stdout == b"0\n");
    for (name, there) in [("stock_tools", tools), ("public_vectors", vectors), ("run_as_root", root)] {
        println!("cargo::rustc-check-cfg=cfg({name})");
        if there || all {
            println!("cargo::rustc-cfg={name}");
        }
    }
    println!("cargo::rerun-if-env-changed=POUCH_NEED_ALL");
    println!("cargo::rerun-if-env-changed=POUCH_CCTV");
    println!("cargo::rerun-if-env-changed=PATH");
    println!("cargo::rerun-if-changed=build.rs");
}

/// Whether a tool is on the path. Cargo runs this script again when the tool appears or disappears.
fn is_there(tool: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).map(|folder| folder.join(tool)).find(|file| file.is_file());
    // Cargo runs the script on every build while a watched path does not exist, and so finds a new tool.
    let watched = found.clone().unwrap_or_else(|| PathBuf::from("/nonexistent").join(tool));
    println!("cargo::rerun-if-changed={}", watched.display());
    found.is_some()
}

/// Whether a command exists and succeeds.
fn runs(program: &str, args: &[&str]) -> bool {
    Command::new(program).args(args).output().is_ok_and(|output| output.status.success())
}
