//! Where keys, passphrases and plaintext go: into locked memory that no other process reads, and into files on the
//! targets only. Also, what the volumes show.

mod traces;

use std::ffi::OsString;
use std::fs::File;
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::common::faults::faulty;
use crate::common::{Desk, NOBODY, PASSPHRASE, chmod, is_root, need, noise, put, run, until};

/// A packing that waits for its passphrase.
struct Waiting {
    child: Child,
    pipe: File,
}

/// Starts packing as an ordinary user who may lock this much memory.
fn waiting(desk: &Desk, locked_kib: &str) -> Waiting {
    // A named pipe, which that user may open by its descriptor number.
    let pipe = desk.path("pipe");
    rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, rustix::fs::Mode::from_raw_mode(0o666), 0)
        .unwrap();
    chmod(&pipe, 0o666);
    let pipe = File::options().read(true).write(true).open(pipe).unwrap();
    let own = desk.own_program();
    chmod(desk.dir.path(), 0o777);
    desk.drives().iter().for_each(|drive| chmod(drive, 0o777));
    let mut command = Command::new("bash");
    command.args(["-c", "ulimit -l $0; exec \"$@\"", locked_kib]).arg(own).arg("pack").arg(desk.source());
    command.args(["--passphrase-fd", "0", "--restart", "-o"]).arg(desk.drive(1));
    if is_root() {
        command.uid(NOBODY);
    }
    command.stdin(pipe.try_clone().unwrap()).stdout(Stdio::null());
    Waiting { child: command.spawn().unwrap(), pipe }
}

impl Waiting {
    fn proc(&self, name: &str) -> PathBuf {
        format!("/proc/{}/{name}", self.child.id()).into()
    }

    fn locked_kib(&self) -> u64 {
        let status = std::fs::read_to_string(self.proc("status")).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmLck:")).unwrap_or("0");
        line.split_whitespace().next().unwrap().parse().unwrap()
    }

    /// Whether the program is reading the passphrase, the only thing it reads from a pipe.
    fn asks(&self) -> bool {
        let threads = std::fs::read_dir(self.proc("task")).into_iter().flatten().flatten();
        let waits =
            |thread: std::fs::DirEntry| std::fs::read_to_string(thread.path().join("wchan")).unwrap_or_default();
        threads.map(waits).any(|place| place.contains("pipe"))
    }

    #[track_caller]
    fn ends_well(mut self) {
        self.pipe.write_all(format!("{PASSPHRASE}\n").as_bytes()).unwrap();
        assert!(self.child.wait().unwrap().success());
    }
}

#[test]
fn a_passphrase_lies_in_locked_memory_that_no_other_process_reads() {
    let desk = Desk::new();
    put(desk.source().join("notes"), "notes");
    let child = waiting(&desk, "64");
    until(|| child.locked_kib() >= 16);
    if is_root() {
        // The owner of these files may read the process's memory. The process itself runs as another user.
        for name in ["mem", "maps", "environ"] {
            assert_eq!(std::fs::metadata(child.proc(name)).unwrap().uid(), 0, "{name}");
        }
        let other = Command::new("cat").arg(child.proc("environ")).uid(NOBODY).output().unwrap();
        assert!(!other.status.success(), "a process of the same user must not read it");
    }
    child.ends_well();
}

#[test]
fn where_no_memory_may_be_locked_all_goes_on() {
    let desk = Desk::new();
    put(desk.source().join("notes"), "notes");
    let child = waiting(&desk, "0");
    until(|| child.asks());
    assert_eq!(child.locked_kib(), 0);
    child.ends_well();
    let unpack = format!("exec \"$0\" unpack \"$1\" --passphrase-fd 3 -o \"$2\" 3<<<{PASSPHRASE}");
    let program: PathBuf = env!("CARGO_BIN_EXE_pouch").into();
    let (drive, out) = (desk.drive(1), desk.path("out"));
    let mut command = assert_cmd::Command::new("bash");
    run({
        command.arg("-c").arg(unpack).args([&program, &drive, &out]);
        command
    })
    .exits(0);
}

impl Drop for Waiting {
    fn drop(&mut self) {
        let _ = self.child.kill();
    }
}

/// Calls that create or name a file, or open one for writing.
const MAKING: &str = "open,openat,openat2,creat,mkdir,mkdirat,rename,renameat,renameat2,link,linkat,symlink,symlinkat,\
    mknod,mknodat,truncate,memfd_create";

/// The paths in a traced call, joined to the folders that they are relative to.
fn named(call: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    // The target of a symlink is only text.
    let mut rest =
        if call.starts_with("symlink") { call.split_once(", ").map_or(call, |(_, rest)| rest) } else { call };
    while let Some((before, after)) = rest.split_once('"') {
        let Some((name, after)) = after.split_once('"') else { break };
        let below = before.trim_end().strip_suffix(">,").and_then(|open| open.rsplit_once('<'));
        found.push(Path::new(below.map_or("", |(_, folder)| folder)).join(name));
        rest = after;
    }
    found
}

/// Calls by which a command writes outside the places it may write to.
fn stray(desk: &Desk, args: &[OsString], may: &[PathBuf]) -> Vec<String> {
    let log = desk.path("log");
    let _ = std::fs::remove_dir_all(&log);
    std::fs::create_dir(&log).unwrap();
    let mut command = assert_cmd::Command::new("strace");
    // One log per thread: in a shared log, calls of several threads would interrupt each other.
    command.args(["-ff", "-qq", "-y", "-s", "4096", "-o"]).arg(log.join("of")).args(["-e", &format!("trace={MAKING}")]);
    command.arg(env!("CARGO_BIN_EXE_pouch")).args(args).env_remove("HOME").env("TMPDIR", desk.path("tmp"));
    run({
        command.current_dir("/");
        command
    })
    .exits(0);
    let text: String =
        crate::common::volumes::files(&log).iter().map(|file| std::fs::read_to_string(file).unwrap()).collect();
    // When another thread ends a thread, strace may not learn which call it was in. That call has no effect any more.
    let calls: Vec<&str> = text.lines().filter(|call| !call.starts_with("???(")).collect();
    assert!(calls.iter().any(|call| call.starts_with("open")), "nothing was traced");
    let writes = |call: &&&str| {
        let reads = call.starts_with("open")
            && !["O_WRONLY", "O_RDWR", "O_CREAT", "O_TMPFILE"].iter().any(|flag| call.contains(flag));
        !reads && !call.contains(" = -1 ")
    };
    let within = |call: &&&str| {
        let paths = named(call);
        !paths.is_empty() && paths.iter().all(|path| may.iter().any(|place| path.starts_with(place)))
    };
    calls.iter().filter(writes).filter(|call| !within(call)).map(|call| call.to_string()).collect()
}

#[test]
fn files_are_made_on_the_targets_and_nowhere_else() {
    if !need(&["strace"]) {
        return;
    }
    let desk = Desk::new();
    put(desk.source().join("clip"), noise(2_200_000, 1));
    put(desk.source().join("notes/a.txt"), "notes");
    for name in ["tmp", "stage", "new"] {
        std::fs::create_dir(desk.path(name)).unwrap();
    }
    // `load --move` moves nothing within one file system.
    let moved =
        crate::common::drive::Drive::plug(desk.path("moved"), 64 << 20, crate::common::drive::Cache::WriteThrough);
    if moved.is_none() {
        return;
    }
    let words = |text: &str| -> Vec<OsString> {
        let at = |word: &str| match word.strip_prefix('@') {
            Some(below) => desk.path(below).into(),
            None => OsString::from(word.replace("KEY", &desk.recipient)),
        };
        text.split(' ').map(at).collect()
    };
    for (command, may) in [
        ("keygen -o @key-2", vec!["key-2"]),
        (
            "pack @source -r KEY --lose 1 --verify -o @drive-1 -o @drive-2 -o @drive-3",
            vec!["drive-1", "drive-2", "drive-3"],
        ),
        ("check @drive-1 @drive-2", vec![]),
        ("list @drive-1 -i @key", vec![]),
        ("unpack @drive-1 @drive-2 -i @key -o @out", vec!["out"]),
        ("unpack --salvage @drive-1 @drive-2 @drive-3 -i @key -o @out-2", vec!["out-2"]),
        ("repair @drive-1 @drive-2 -i @key -o @new", vec!["new"]),
        ("pack @source -r KEY --volumes 1 --volume-size 200MB -o @stage", vec!["stage"]),
        ("load @stage/volume-1 @moved --move", vec!["moved", "stage"]),
        ("rehearse @source -o @rehearsal", vec!["rehearsal"]),
        // Without sources, a rehearsal makes samples and throws them away.
        ("rehearse", vec!["tmp"]),
    ] {
        let may: Vec<PathBuf> = may.into_iter().map(|place| desk.path(place)).collect();
        let found = stray(&desk, &words(command), &may);
        assert!(found.is_empty(), "{command}: {found:#?}");
    }
    assert_eq!(std::fs::read_dir(desk.path("tmp")).unwrap().count(), 0, "the samples are thrown away");
}

#[test]
fn without_random_numbers_nothing_is_sealed() {
    if !need(&["strace"]) {
        return;
    }
    let desk = Desk::new();
    put(desk.source().join("clip"), noise(2_200_000, 1));
    for when in ["1", "4", "9", "2+"] {
        desk.drives().iter().for_each(|drive| {
            let _ = std::fs::remove_dir_all(drive);
            std::fs::create_dir(drive).unwrap();
        });
        let pack = desk.pack_cmd(&[&desk.source()], &desk.drives(), &["--mend", "0"]);
        let said = run(faulty(&pack, &[], &format!("getrandom:error=EIO:when={when}"))).exits(1);
        assert!(
            said.err.contains("the system has no random numbers") && !said.err.contains("panicked"),
            "{}",
            said.err
        );
        crate::common::volumes::none_looks_complete(&desk.drives());
    }
}
