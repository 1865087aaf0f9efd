//! Runs under strace, in which system calls fail or the process is killed.

use std::fs;
use std::path::{Path, PathBuf};

use assert_cmd::Command;

use super::{Run, run};

/// The command with faults injected by strace; with `paths`, only into calls on them.
pub fn faulty(command: &Command, paths: &[PathBuf], inject: &str) -> Command {
    logged(command, paths, inject, Path::new("/dev/null"))
}

fn logged(command: &Command, paths: &[PathBuf], inject: &str, log: &Path) -> Command {
    let mut strace = Command::new("strace");
    let calls = inject.split(':').next().expect("`inject` begins with the calls");
    // No --seccomp-bpf: with it strace 6.1 does not count calls, and `when=2` never comes true.
    strace.args(["-f", "-qq", "-o"]).arg(log);
    strace.args(["-e", &format!("trace={calls}"), "-e", &format!("inject={inject}")]);
    for path in paths {
        strace.arg("-P").arg(path);
    }
    strace.arg(command.get_program()).args(command.get_args());
    strace
}

/// Runs the command with faults injected. Also returns whether strace injected one.
#[track_caller]
pub fn failing(command: &Command, paths: &[PathBuf], inject: &str) -> (Run, bool) {
    let log = tempfile::NamedTempFile::new().expect("a new file");
    let said = run(logged(command, paths, inject, log.path()));
    (said, fs::read_to_string(log.path()).expect("a log").contains("INJECTED"))
}

/// Runs the command and kills it in its n-th such call. Returns whether it came that far.
pub fn killed(command: &Command, calls: &str, n: usize) -> bool {
    let log = tempfile::NamedTempFile::new().expect("a new file");
    logged(command, &[], &format!("{calls}:signal=KILL:when={n}"), log.path()).output().expect("the command runs");
    fs::read_to_string(log.path()).expect("a log").contains("killed by SIGKILL")
}
