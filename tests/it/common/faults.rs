//! System calls that fail, or in which the process dies.

use std::fs;
use std::path::{Path, PathBuf};

use assert_cmd::Command;

use super::{Run, run};

/// The command with such calls injected; if there are `paths`, only with those on them.
pub fn faulty(command: &Command, paths: &[PathBuf], inject: &str) -> Command {
    logged(command, paths, inject, Path::new("/dev/null"))
}

fn logged(command: &Command, paths: &[PathBuf], inject: &str, log: &Path) -> Command {
    let mut strace = Command::new("strace");
    let calls = inject.split(':').next().expect("calls come first");
    // Not with --seccomp-bpf: strace 6.1 then counts no call, and `when=2` is never met.
    strace.args(["-f", "-qq", "-o"]).arg(log);
    strace.args(["-e", &format!("trace={calls}"), "-e", &format!("inject={inject}")]);
    for path in paths {
        strace.arg("-P").arg(path);
    }
    strace.arg(command.get_program()).args(command.get_args());
    strace
}

/// Runs the command like that; and whether a call was met.
#[track_caller]
pub fn failing(command: &Command, paths: &[PathBuf], inject: &str) -> (Run, bool) {
    let log = tempfile::NamedTempFile::new().expect("a new file");
    let said = run(logged(command, paths, inject, log.path()));
    (said, fs::read_to_string(log.path()).expect("a log").contains("INJECTED"))
}

/// Runs the command until it makes such a call for the n-th time, and is killed in it; whether it came so far.
pub fn killed(command: &Command, calls: &str, n: usize) -> bool {
    let log = tempfile::NamedTempFile::new().expect("a new file");
    logged(command, &[], &format!("{calls}:signal=KILL:when={n}"), log.path()).output().expect("the command runs");
    fs::read_to_string(log.path()).expect("a log").contains("killed by SIGKILL")
}
