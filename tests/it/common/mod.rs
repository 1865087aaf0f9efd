//! Shared by all tests of the real binary: a desk with a key and drives, a runner that never hangs, and `need` for
//! stock tools.

// A helper may be without a user for a while.
#![allow(dead_code)]

pub mod drive;
pub mod faults;
pub mod forge;
pub mod midway;
mod mounts;
pub mod recipe;
pub mod stage;
pub mod tree;
pub mod volumes;

pub use mounts::{Exfat, Image, Tmpfs};

use std::ffi::OsStr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use assert_cmd::Command;
use serde_json::Value;
use tempfile::TempDir;

/// A command that takes longer than this hangs.
pub const GUARD: Duration = Duration::from_secs(300);
/// Plaintext bytes of a part of the smallest class.
pub const PART_PLAIN: usize = 15 * 65_536;
/// Bytes of a part's file of the smallest class.
pub const PART_FILE: u64 = 184 + 15 * 65_552;
/// User ID of an ordinary user who owns no files.
pub const NOBODY: u32 = 65_534;
/// A passphrase long enough to be accepted.
pub const PASSPHRASE: &str = "correct-horse-battery-staple-seven";

/// Whether all `tools` are installed. If not, this prints that the test is ignored, and the test returns. With
/// `POUCH_NEED_ALL=1`, as continuous integration sets it, the test fails instead.
pub fn need(tools: &[&str]) -> bool {
    let missing = tools.iter().filter(|tool| !has(tool)).copied().collect::<Vec<_>>();
    missing.is_empty() || ignored(&missing.join(", "))
}

/// Prints that the running test needs `what` and is ignored. Always returns `false`.
pub fn ignored(what: &str) -> bool {
    let test = std::thread::current().name().unwrap_or("a test").to_string();
    let all = std::env::var_os("POUCH_NEED_ALL").is_some_and(|value| value == "1");
    assert!(!all, "{test} needs {what}, and POUCH_NEED_ALL=1 lets nothing be ignored");
    eprintln!("ignored: {test} needs {what}");
    false
}

fn has(tool: &str) -> bool {
    if tool == "bagit" {
        let found = std::process::Command::new("python3").args(["-c", "import bagit"]).output();
        return found.is_ok_and(|output| output.status.success());
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.join(tool).is_file())
}

/// Whether this test runs as root, who may mount and read everything.
pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Exit code and output of a command.
#[derive(Debug)]
pub struct Run {
    pub code: i32,
    pub out: String,
    pub err: String,
}

impl Run {
    /// Fails the test, with all output, unless the exit code is this.
    #[track_caller]
    pub fn exits(self, code: i32) -> Self {
        assert_eq!(self.code, code, "exit code\n--- stdout\n{}\n--- stderr\n{}", self.out, self.err);
        self.says_no_controls()
    }

    /// Names from a drive have to be escaped: the only control character in the output is the newline.
    #[track_caller]
    fn says_no_controls(self) -> Self {
        for text in [&self.out, &self.err] {
            let bad = text.chars().find(|c| (c.is_control() && *c != '\n') || ('\u{202a}'..='\u{202e}').contains(c));
            assert_eq!(bad, None, "a control character in {text:?}");
        }
        self
    }

    /// Standard output as one JSON document.
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error} in {}", self.out))
    }

    /// Standard output, then standard error.
    pub fn all(&self) -> String {
        format!("{}{}", self.out, self.err)
    }
}

/// Runs a command to its end, and kills it if it hangs.
#[track_caller]
pub fn run(mut command: Command) -> Run {
    let output = command.timeout(GUARD).output().expect("the command runs");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let code = output.status.code().unwrap_or_else(|| panic!("killed or hung: {output:?}"));
    let said = text(&output.stderr);
    assert!(code != 101 && !said.contains("a defect of pouch"), "panicked: {said}");
    Run { code, out: text(&output.stdout), err: text(&output.stderr) }
}

/// The program under test.
pub fn pouch(args: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pouch"));
    command.args(args);
    command
}

/// The program under test, for tests that need pipes and signals.
pub fn pouch_raw(args: impl IntoIterator<Item = impl AsRef<OsStr>>) -> std::process::Command {
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_pouch"));
    command.args(args).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Runs a script with bash; `$1`, `$2`, ... are `args`.
#[track_caller]
pub fn bash(script: &str, dir: &Path, args: &[&OsStr]) -> Run {
    let mut command = Command::new("bash");
    command.current_dir(dir).arg("-c").arg(script).arg("bash").args(args);
    run(command)
}

/// A folder with a key, three drives and a place for sources.
pub struct Desk {
    pub dir: TempDir,
    pub recipient: String,
}

impl Drop for Desk {
    /// What is mounted in a desk keeps it from being removed, and what tests leave fills a disk. So a drive is declared
    /// behind its desk.
    fn drop(&mut self) {
        let path = self.dir.path().to_string_lossy().into_owned();
        let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        assert!(std::thread::panicking() || !mounts.contains(&path), "unmounted before its desk goes: {path}");
    }
}

impl Desk {
    /// Makes the key with `pouch keygen`.
    pub fn new() -> Self {
        Self::of(tempfile::tempdir().expect("a temporary folder"))
    }

    /// A desk in memory where possible, for tests that create and remove thousands of files.
    pub fn in_memory() -> Self {
        Self::of(tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).expect("a temporary folder"))
    }

    fn of(dir: tempfile::TempDir) -> Self {
        for name in ["drive-1", "drive-2", "drive-3", "source"] {
            std::fs::create_dir(dir.path().join(name)).expect("a new folder");
        }
        let made = run(pouch([OsStr::new("keygen"), OsStr::new("-o"), dir.path().join("key").as_os_str()])).exits(0);
        Self { recipient: made.out.trim().to_string(), dir }
    }

    /// A desk with a clip of several parts and two notes, packed onto its drives without parity, so that nothing that
    /// is removed can be rebuilt.
    pub fn packed() -> Self {
        Self::new().pack_clip()
    }

    /// Writes a clip of several parts and two notes, and packs them without parity.
    pub fn pack_clip(self) -> Self {
        put(self.source().join("clip.mov"), noise(2_200_000, 1));
        put(self.source().join("notes/a.txt"), "notes");
        put(self.source().join("notes/b.txt"), "more notes");
        self.pack_bare();
        self
    }

    /// The folder of a volume on its drive.
    pub fn volume(&self, number: u32) -> PathBuf {
        self.drive(number).join(format!("volume-{number}"))
    }

    pub fn path(&self, below: &str) -> PathBuf {
        self.dir.path().join(below)
    }

    pub fn source(&self) -> PathBuf {
        self.path("source")
    }

    pub fn drive(&self, number: u32) -> PathBuf {
        self.path(&format!("drive-{number}"))
    }

    pub fn drives(&self) -> Vec<PathBuf> {
        (1..=3).map(|number| self.drive(number)).collect()
    }

    /// `pouch pack` of `sources` to the key, with more arguments.
    pub fn pack_cmd(&self, sources: &[&Path], outputs: &[PathBuf], more: &[&str]) -> Command {
        let mut command = pouch(["pack", "-r", &self.recipient]);
        command.args(sources).args(more);
        for output in outputs {
            command.arg("-o").arg(output);
        }
        command
    }

    /// Packs the source onto all three drives.
    #[track_caller]
    pub fn pack(&self) -> Run {
        run(self.pack_cmd(&[&self.source()], &self.drives(), &[])).exits(0)
    }

    /// Packs the source onto all three drives without parity.
    #[track_caller]
    pub fn pack_bare(&self) -> Run {
        run(self.pack_cmd(&[&self.source()], &self.drives(), &["--mend", "0"])).exits(0)
    }

    /// `pouch unpack` with the key, into `target`.
    pub fn unpack_cmd(&self, volumes: &[PathBuf], target: &Path, more: &[&str]) -> Command {
        let mut command = pouch(["unpack"]);
        command.args(volumes).arg("-i").arg(self.path("key")).arg("-o").arg(target).args(more);
        command
    }

    /// Unpacks all drives into a new folder `name` and returns it.
    #[track_caller]
    pub fn unpack(&self, name: &str) -> PathBuf {
        let target = self.path(name);
        run(self.unpack_cmd(&self.drives(), &target, &[])).exits(0);
        target
    }

    /// A copy of the program that other users can reach. `cp` makes it: a file that this process writes is also open in
    /// every child that another test starts meanwhile, and cannot be executed until that child closes it.
    pub fn own_program(&self) -> PathBuf {
        let own = self.path("pouch");
        if !own.exists() {
            let made = std::process::Command::new("cp").arg(env!("CARGO_BIN_EXE_pouch")).arg(&own).status();
            assert!(made.expect("cp").success());
        }
        own
    }

    /// The command as an ordinary user if the test runs as root, whom file modes do not stop. That user may then use
    /// the desk's folders and key.
    pub fn as_nobody(&self, command: Command) -> Command {
        if !is_root() {
            return command;
        }
        let args = command.get_args().map(|a| a.to_owned());
        let own = self.own_program();
        chmod(self.dir.path(), 0o777);
        self.drives().iter().for_each(|drive| chmod(drive, 0o777));
        std::os::unix::fs::chown(self.path("key"), Some(NOBODY), None).expect("root can change owners");
        let mut command = std::process::Command::new(own);
        std::os::unix::process::CommandExt::uid(&mut command, NOBODY);
        command.args(args);
        Command::from_std(command)
    }

    /// If a run that exited with 7 says that the bundle is complete without a drive, checks that it is. Returns whether
    /// the run says so.
    #[track_caller]
    pub fn is_complete_without_a_drive(&self, said: &Run, drives: &[PathBuf]) -> bool {
        if !said.out.contains("written: ") {
            return false;
        }
        assert!(said.err.contains("was given up") && !said.out.contains("safe to unplug"), "{said:?}");
        let folders = drives.iter().flat_map(|drive| volumes::files(drive));
        let complete: Vec<PathBuf> = folders.filter(|folder| folder.join("SHA256SUMS").exists()).collect();
        run(self.check_cmd(&complete, &[])).exits(0);
        let out = tempfile::tempdir_in(self.dir.path()).expect("a folder");
        run(self.unpack_cmd(&complete, out.path(), &[])).exits(0);
        tree::same(&self.source(), &out.path().join("source"));
        true
    }

    pub fn check_cmd(&self, volumes: &[PathBuf], more: &[&str]) -> Command {
        let mut command = pouch(["check"]);
        command.args(volumes).args(more);
        command
    }
}

/// Bytes that do not compress, always the same for one `seed`.
pub fn noise(len: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut out = Vec::with_capacity(len + 8);
    while out.len() < len {
        // xorshift64* is no cipher, but zstd finds no pattern in it.
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        out.extend_from_slice(&state.wrapping_mul(0x2545_f491_4f6c_dd1d).to_le_bytes());
    }
    out.truncate(len);
    out
}

/// Waits until a condition holds that another process brings about.
#[track_caller]
pub fn until(mut holds: impl FnMut() -> bool) {
    let started = std::time::Instant::now();
    while !holds() {
        assert!(started.elapsed() < GUARD, "the condition never held");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Writes a file, and creates the folders above it.
pub fn put(path: impl AsRef<Path>, bytes: impl AsRef<[u8]>) {
    let path = path.as_ref();
    std::fs::create_dir_all(path.parent().expect("the file has a parent")).expect("folders");
    std::fs::write(path, bytes).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
}

pub fn chmod(path: impl AsRef<Path>, mode: u32) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).expect("its mode can be set");
}
