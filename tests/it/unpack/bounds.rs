//! A run stays within bounds whatever a drive holds and however little the system grants: crowds of folders and files
//! are passed over, and a lack of memory or threads ends the run with one sentence, as if it was killed.

use std::fs::{self, File};
use std::os::unix::fs::{FileExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::common::faults::faulty;
use crate::common::tree::same;
use crate::common::{Desk, PART_FILE, Run, chmod, is_root, need, noise, pouch, put, run, volumes};

/// A user who runs nothing else, because the system counts threads per user.
const ALONE: u32 = 61_834;

/// Makes folders that look like volumes but are none.
fn crowd(drive: &Path, folders: usize) {
    (0..folders).for_each(|at| put(drive.join(format!("a{at:05}/seal.age")), "no seal"));
}

#[test]
fn a_crowd_of_folders_is_passed_over_and_counted() {
    let desk = Desk::in_memory().pack_clip();
    crowd(&desk.drive(2), 20_300);
    let said = run(desk.check_cmd(&[desk.drive(2)], &[]));
    assert!(said.out.lines().count() < 500, "{} lines", said.out.lines().count());
    assert!(said.out.contains("volume-2: whole"), "{}", said.out);
    assert!(said.out.contains("and more volumes: 19,899 incomplete"), "{}", said.out);
    assert!(said.out.contains("not searched for volumes: 301 folders"), "{}", said.out);
    let said = run(desk.unpack_cmd(&desk.drives(), &desk.path("out"), &[])).exits(0);
    assert!(said.err.contains("301 folders more in it were not searched for volumes"), "{}", said.err);
    assert!(said.err.lines().count() < 100, "{}", said.err);
    same(&desk.source(), &desk.path("out/source"));
}

#[test]
fn files_by_the_hundred_thousand_hide_no_volume() {
    let desk = Desk::in_memory().pack_clip();
    // One after the other: memory has room for so many files, but not for many more.
    for (folder, out) in [(desk.volume(1), "one"), (desk.drive(2), "two")] {
        let junk: Vec<PathBuf> = (0..250_100).map(|at| folder.join(format!("junk {at}"))).collect();
        junk.iter().for_each(|path| drop(File::create(path).unwrap()));
        let said = run(desk.check_cmd(&desk.drives(), &[])).exits(0);
        assert!(said.out.contains("volume-1: whole") && said.out.contains("volume-2: whole"), "{}", said.out);
        let is_counted = said.out.contains("not of it: 250,100");
        assert_eq!(is_counted, folder == desk.volume(1), "what lies beside a volume is not its: {}", said.out);
        same(&desk.source(), &desk.unpack(out).join("source"));
        junk.iter().for_each(|path| fs::remove_file(path).unwrap());
    }
}

/// Plants files that begin like this part and are as long, but hold nothing else.
fn planted(part: &Path, files: usize) {
    let mut header = [0; 184];
    File::open(part).and_then(|file| file.read_exact_at(&mut header, 0)).unwrap();
    for at in 0..files {
        let file = File::create(part.with_file_name(format!("000001-{at:05}.age"))).unwrap();
        file.write_all_at(&header, 0).and_then(|()| file.set_len(PART_FILE)).unwrap();
    }
}

#[test]
fn an_honest_copy_is_found_in_a_crowd_and_the_rest_of_a_larger_one_is_counted() {
    let desk = Desk::in_memory().pack_clip();
    let part = volumes::parts(&desk.drives()).into_iter().find(|part| part.ends_with("000001.age")).unwrap();
    let copy = part.with_file_name("zz copy.bin");
    fs::copy(&part, &copy).unwrap();
    volumes::flip(&part, 200_000, 3);
    volumes::flip(&copy, 900_000, 3);
    planted(&part, 200);
    same(&desk.source(), &desk.unpack("out").join("source"));
    planted(&part, 10_100);
    fs::remove_file(&copy).unwrap();
    let said = run(desk.unpack_cmd(&desk.drives(), &desk.path("none"), &[])).exits(4);
    assert!(said.out.contains("68 more files that begin like it were not tried"), "{}", said.out);
}

/// A desk that another user may write to, and a program for that user.
fn desk_for_all() -> (Desk, PathBuf) {
    let desk = Desk::new();
    put(desk.source().join("clip.mov"), noise(3_300_000, 7));
    put(desk.source().join("a/note"), "a note");
    let program = desk.own_program();
    chmod(desk.dir.path(), 0o777);
    (desk, program)
}

fn hand_over(desk: &Desk, names: &[&str]) {
    for path in names.iter().map(|name| desk.path(name)) {
        let _ = fs::remove_dir_all(&path);
        fs::create_dir(&path).unwrap();
        chown(&path, Some(ALONE), Some(ALONE)).unwrap();
    }
}

/// Runs the program as a user who may have this many threads.
fn with_threads(threads: u32, program: &Path, args: &[&str], desk: &Desk) -> Run {
    let user = ALONE.to_string();
    let mut command = Command::new("setpriv");
    command.current_dir(desk.dir.path()).args(["--reuid", &user, "--regid", &user, "--clear-groups", "prlimit"]);
    command.arg(format!("--nproc={threads}:{threads}")).arg(program).args(args);
    run(assert_cmd::Command::from_std(command))
}

#[test]
fn without_threads_to_spare_a_run_ends_with_a_sentence_or_does_with_fewer() {
    if !is_root() || !need(&["setpriv", "prlimit"]) {
        return;
    }
    let (desk, program) = desk_for_all();
    chown(desk.path("key"), Some(ALONE), None).unwrap();
    let pack = ["pack", "source", "-r", &desk.recipient, "-o", "drive-1", "-o", "drive-2", "--verify"];
    let mut refused = 0;
    for threads in 1..=10 {
        hand_over(&desk, &["drive-1", "drive-2"]);
        let said = with_threads(threads, &program, &pack, &desk);
        if said.code != 0 {
            let said = said.exits(1);
            assert!(said.err.contains("pouch: the system lets this run have no more threads"), "{}", said.err);
            assert!(!said.err.contains("backtrace"), "{}", said.err);
            volumes::none_looks_complete(&[desk.drive(1), desk.drive(2)]);
            refused += 1;
            let mut again = pouch(pack);
            again.current_dir(desk.dir.path());
            run(again).exits(0);
        }
    }
    assert!(refused > 0, "packing needs more than one thread");
    // Every other command works with one thread.
    hand_over(&desk, &["out", "new", "stick"]);
    with_threads(1, &program, &["check", "drive-1", "drive-2"], &desk).exits(0);
    with_threads(1, &program, &["check", "drive-1", "drive-2", "-i", "key"], &desk).exits(0);
    with_threads(1, &program, &["list", "drive-1", "-i", "key"], &desk).exits(0);
    with_threads(1, &program, &["load", "drive-1/volume-1", "stick"], &desk).exits(0);
    with_threads(1, &program, &["unpack", "drive-1", "drive-2", "-i", "key", "-o", "out"], &desk).exits(0);
    same(&desk.source(), &desk.path("out/source"));
    fs::remove_dir_all(desk.volume(2)).unwrap();
    let repair = ["repair", "drive-1", "-i", "key", "-o", "new"];
    let said = with_threads(1, &program, &repair, &desk);
    assert!([0, 3].contains(&said.code), "{said:?}");
}

/// Runs the program with this much memory and with backtraces asked for.
fn with_memory(mib: u64, args: &[&str], desk: &Desk) -> Run {
    let mut command = Command::new("prlimit");
    command.current_dir(desk.dir.path()).env("RUST_BACKTRACE", "1").arg(format!("--as={}", mib << 20));
    command.arg(env!("CARGO_BIN_EXE_pouch")).args(args);
    run(assert_cmd::Command::from_std(command))
}

#[test]
fn without_memory_a_run_ends_with_a_sentence_and_can_be_run_again() {
    if !need(&["prlimit"]) {
        return;
    }
    let desk = Desk::new();
    put(desk.source().join("clip.mov"), noise(9_000_000, 8));
    let commands: [&[&str]; 4] = [
        &["pack", "source", "-r", &desk.recipient, "-o", "drive-1", "-o", "drive-2"],
        &["check", "drive-1", "drive-2"],
        &["load", "drive-1/volume-1", "drive-3"],
        &["unpack", "drive-1", "drive-2", "-i", "key", "-o", "out"],
    ];
    let mut lacked = 0;
    for args in commands {
        for mib in [24, 32, 40, 48, 56, 64, 80, 100] {
            let said = with_memory(mib, args, &desk);
            if said.code == 127 || said.err.is_empty() && said.code != 0 {
                // The system could not even load the program.
                continue;
            }
            if said.code == 0 {
                break;
            }
            let said = said.exits(1);
            let ours = said.err.contains("pouch: the system lets this run have no more memory")
                || said.err.contains("pouch: the system lets this run have no more threads");
            assert!(ours || said.err.starts_with("memory allocation of"), "{args:?}, {mib} MiB: {}", said.err);
            assert!(!said.err.contains("stack backtrace") && !said.err.contains("src/"), "{args:?}: {}", said.err);
            lacked += 1;
        }
        let mut again = pouch(args);
        again.current_dir(desk.dir.path());
        let said = run(again);
        // What a run finished with little memory need not be repeated.
        assert!(said.code == 0 || said.err.contains("exists already"), "{args:?}: {said:?}");
    }
    assert!(lacked > 0, "some of these limits are too low");
    same(&desk.source(), &desk.path("out/source"));
}

#[test]
fn what_was_not_foreseen_ends_with_one_sentence_and_1() {
    if !need(&["strace"]) {
        return;
    }
    let desk = Desk::packed();
    // The standard library panics if it cannot close a folder.
    let unforeseen = |n: &usize| {
        let check = desk.check_cmd(&desk.drives(), &["--json"]);
        let traced = faulty(&check, &[], &format!("close:error=EIO:when={n}"));
        let mut command = Command::new(traced.get_program());
        command.args(traced.get_args()).stdin(Stdio::null());
        let output = command.output().unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let said =
            Run { code: output.status.code().unwrap_or(-1), out: text(&output.stdout), err: text(&output.stderr) };
        said.err.contains("closedir").then_some(said)
    };
    let said = (1..200).find_map(|n| unforeseen(&n)).expect("a folder is closed");
    assert_eq!((said.code, said.json()["error"]["code"].as_u64()), (1, Some(1)), "{said:?}");
    let lines: Vec<&str> = said.err.lines().filter(|line| !line.starts_with("strace:")).collect();
    assert!(lines.len() == 2 && lines[0].starts_with("pouch: it ended in a way that was not foreseen: "), "{lines:?}");
    assert!(lines[1].contains("hint: this is a defect of pouch; please report it"), "{lines:?}");
}
