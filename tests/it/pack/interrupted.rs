//! An interrupted packing, however it was stopped, goes on with the same command. No incomplete volume looks complete,
//! and what lies on the drives meanwhile opens nothing.

mod failing;
mod journal;

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::process::Child;
use std::time::{Duration, Instant};

use crate::common::tree::same;
use crate::common::{Desk, Run, midway, noise, pouch_raw, put, run, volumes};

/// Options for a bundle without stripes, so that every part counts at once.
const BARE: [&str; 2] = ["--mend", "0"];

fn start(desk: &Desk, more: &[&str]) -> Child {
    let mut pack = pouch_raw(["pack", "-r", &desk.recipient]);
    pack.args(more).arg(desk.source());
    desk.drives().iter().for_each(|drive| {
        pack.arg("-o").arg(drive);
    });
    pack.spawn().unwrap()
}

/// Starts packing after removing what an earlier run left.
fn start_anew(desk: &Desk, more: &[&str]) -> Child {
    (1..=3).for_each(|number| drop(fs::remove_dir_all(desk.volume(number))));
    start(desk, more)
}

/// The number of lines in the journal that begin with `kind`.
fn noted(desk: &Desk, kind: &str) -> usize {
    let journal = fs::read_to_string(desk.volume(1).join("journal")).unwrap_or_default();
    journal.lines().filter(|line| line.starts_with(kind)).count()
}

fn any_complete(desk: &Desk) -> bool {
    (1..=3).any(|number| desk.volume(number).join("SHA256SUMS").exists())
}

/// Kills a packing once the journal has this many data parts. Only with `--lose` may a stripe be complete by then.
#[track_caller]
fn killed(desk: &Desk, more: &[&str], parts: usize) {
    let there = || noted(desk, "d ") >= parts;
    let midway = || there() && !any_complete(desk) && (more.contains(&"--lose") || noted(desk, "p ") == 0);
    midway::killed(|| start_anew(desk, more), there, midway);
}

#[track_caller]
fn again(desk: &Desk, more: &[&str], code: i32) -> Run {
    run(desk.pack_cmd(&[&desk.source()], &desk.drives(), more)).exits(code)
}

/// Checks that the bundle is whole, without a key and with one, and that no file of the packing itself is left.
#[track_caller]
fn is_whole(desk: &Desk, drives: &[PathBuf]) {
    run(desk.check_cmd(drives, &[])).exits(0);
    for volume in drives.iter().flat_map(|drive| volumes::files(drive)) {
        let names: Vec<String> = volumes::files(&volume).iter().map(|file| volumes::name_of(file)).collect();
        assert!(!names.iter().any(|name| name == "journal" || name.ends_with(".tmp")), "{names:?}");
        let listed = fs::read_to_string(volume.join("SHA256SUMS")).unwrap().lines().count();
        assert_eq!(names.len(), listed + 1, "SHA256SUMS lists every other file");
    }
    let target = tempfile::tempdir_in(desk.dir.path()).unwrap().keep();
    run(desk.unpack_cmd(drives, &target, &[])).exits(0);
    same(&desk.source(), &target.join("source"));
    fs::remove_dir_all(target).unwrap();
}

fn clip(megabytes: usize) -> Desk {
    let desk = Desk::new();
    put(desk.source().join("clip"), noise(megabytes * 1_000_000, 1));
    (0..50).for_each(|n| put(desk.source().join(format!("notes/{n}")), noise(n * 317, n as u64)));
    desk
}

fn packed_and_verified(said: &Run) -> bool {
    said.out.contains("goes on from an interrupted run")
}

#[test]
fn an_interruption_leaves_what_is_packed_and_the_same_command_goes_on() {
    let desk = clip(30);
    let output = midway::interrupted(|| start_anew(&desk, &BARE), || noted(&desk, "d ") >= 10);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("hint: run the same command again"), "{said}");
    volumes::none_looks_complete(&desk.drives());
    run(desk.check_cmd(&desk.drives(), &[])).exits(3);
    let first = desk.volume(1).join("000001.age");
    let first = if first.exists() { first } else { desk.volume(2).join("000001.age") };
    let written = fs::metadata(&first).map(|meta| meta.ino()).ok();
    let said = again(&desk, &BARE, 0);
    assert!(packed_and_verified(&said), "{}", said.out);
    assert_eq!(written, fs::metadata(&first).map(|meta| meta.ino()).ok(), "the part is not written again");
    is_whole(&desk, &desk.drives());
}

#[test]
fn with_parity_whole_stripes_stay() {
    let desk = clip(40);
    killed(&desk, &["--lose", "1"], 16);
    volumes::none_looks_complete(&desk.drives());
    let said = again(&desk, &["--lose", "1"], 0);
    assert!(packed_and_verified(&said), "{}", said.out);
    is_whole(&desk, &desk.drives());
    for lost in 0..3 {
        let mut rest = desk.drives();
        rest.remove(lost);
        let target = desk.path(&format!("without-{lost}"));
        run(desk.unpack_cmd(&rest, &target, &[])).exits(0);
        same(&desk.source(), &target.join("source"));
    }
}

#[test]
fn what_was_damaged_meanwhile_is_packed_again() {
    let desk = clip(30);
    killed(&desk, &BARE, 17);
    let parts = volumes::parts(&desk.drives());
    volumes::flip(&parts[12], 5000, 1);
    fs::remove_file(&parts[15]).unwrap();
    fs::write(desk.volume(2).join("seal.age"), "nothing").unwrap();
    let said = again(&desk, &BARE, 0);
    assert!(packed_and_verified(&said), "{}", said.out);
    is_whole(&desk, &desk.drives());
}

#[test]
fn a_changed_source_is_named_and_nothing_is_touched() {
    let desk = clip(30);
    killed(&desk, &BARE, 10);
    let before = crate::common::tree::look(&desk.drive(1));
    put(desk.source().join("notes/7"), "other");
    let said = again(&desk, &BARE, 2);
    assert!(
        said.err.contains("1 source is not as an interrupted run found it") && said.err.contains("notes/7"),
        "{}",
        said.err
    );
    fs::remove_file(desk.source().join("notes/7")).unwrap();
    let said = again(&desk, &BARE, 2);
    assert!(said.err.contains("--restart"), "{}", said.err);
    assert!(before == crate::common::tree::look(&desk.drive(1)), "the drive is left as it is");
    let said = again(&desk, &["--mend", "0", "--restart"], 0);
    assert!(!packed_and_verified(&said), "{}", said.out);
    is_whole(&desk, &desk.drives());
}

#[test]
fn a_source_that_changed_behind_its_times_is_named() {
    let desk = clip(30);
    killed(&desk, &BARE, 10);
    // Forges the journal so that stamps and hash fit the file as it is now, as if the disk had changed the file's
    // bytes.
    let journal = desk.volume(1).join("journal");
    let clip = desk.source().join("clip");
    let times = fs::metadata(&clip).unwrap().modified().unwrap();
    volumes::flip(&clip, 1_000_000, 1);
    fs::File::options().write(true).open(&clip).unwrap().set_modified(times).unwrap();
    let text = journal::lines(&fs::read_to_string(&journal).unwrap());
    let now = journal::lines(&journal_of(&desk, &["--mend", "0"]));
    let as_now = |line: &str| {
        let key = ["STAMPS ", "whom "].into_iter().find(|key| line.starts_with(key));
        key.map_or(line.to_string(), |key| now.lines().find(|line| line.starts_with(key)).unwrap().to_string())
    };
    let forged: Vec<String> = text.lines().map(as_now).collect();
    fs::write(&journal, journal::checked(&(forged.join("\n") + "\n"))).unwrap();
    let said = again(&desk, &BARE, 2);
    assert!(
        said.err.contains("source/clip") && said.err.contains("not as an interrupted run found it"),
        "{}",
        said.err
    );
    volumes::none_looks_complete(&desk.drives());
}

/// The journal of a new packing of the sources as they are now.
fn journal_of(desk: &Desk, more: &[&str]) -> String {
    let drive = desk.path("other drive");
    fs::create_dir(&drive).unwrap();
    let mut pack = pouch_raw(["pack", "-r", &desk.recipient]);
    let mut child = pack.args(more).arg(desk.source()).arg("-o").arg(&drive).spawn().unwrap();
    let journal = drive.join("volume-1/journal");
    let mut text = String::new();
    crate::common::until(|| {
        text = fs::read_to_string(&journal).unwrap_or_default();
        !text.is_empty()
    });
    child.kill().unwrap();
    child.wait().unwrap();
    text
}

#[test]
fn somebody_elses_volume_is_left_alone() {
    let desk = clip(30);
    killed(&desk, &BARE, 10);
    // The second drive was replaced by another one.
    fs::remove_dir_all(desk.volume(2)).unwrap();
    put(desk.volume(2).join("000001.age"), "of another bundle");
    for more in [vec!["--mend", "0"], vec!["--mend", "0", "--restart"]] {
        let said = again(&desk, &more, 2);
        assert!(said.err.contains("exists already"), "{}", said.err);
    }
    assert_eq!(fs::read(desk.volume(2).join("000001.age")).unwrap(), b"of another bundle");
}

#[test]
fn without_a_drive_that_had_parts_nothing_goes_on() {
    let desk = clip(30);
    killed(&desk, &BARE, 10);
    let (there, gone) = (desk.volume(3), desk.path("in a pocket"));
    fs::rename(&there, &gone).unwrap();
    let said = again(&desk, &BARE, 2);
    assert!(said.err.contains("volume-3 is not there") && said.err.contains("hint:"), "{}", said.err);
    fs::rename(&gone, &there).unwrap();
    assert!(packed_and_verified(&again(&desk, &BARE, 0)));
    is_whole(&desk, &desk.drives());
}

#[test]
fn drives_in_another_order_are_told_so() {
    let desk = clip(30);
    killed(&desk, &BARE, 10);
    let turned: Vec<PathBuf> = desk.drives().into_iter().rev().collect();
    let said = run(desk.pack_cmd(&[&desk.source()], &turned, &BARE)).exits(2);
    assert!(said.err.contains("not given first"), "{}", said.err);
    let said = run(desk.pack_cmd(&[&desk.source()], &desk.drives()[..2], &["--mend", "0", "--restart"])).exits(2);
    assert!(said.err.contains("3 volumes"), "{}", said.err);
}

#[test]
fn what_was_interrupted_is_not_taken_for_a_second_bundle() {
    let desk = clip(30);
    killed(&desk, &BARE, 10);
    let other = [desk.path("other")];
    fs::create_dir(&other[0]).unwrap();
    run(desk.pack_cmd(&[&desk.source()], &other, &BARE)).exits(0);
    let all = [desk.drives(), other.to_vec()].concat();
    run(desk.unpack_cmd(&all, &desk.path("out"), &[])).exits(0);
    same(&desk.source(), &desk.path("out/source"));
    let said = run(desk.check_cmd(&all, &[])).exits(3);
    assert!(said.out.contains("packing was interrupted"), "{}", said.out);
}

#[test]
fn it_is_sealed_to_whom_it_was_or_not_at_all() {
    let desk = clip(30);
    let other = Desk::new();
    killed(&desk, &BARE, 10);
    let journal = fs::read_to_string(desk.volume(1).join("journal")).unwrap();
    assert!(!journal.contains(&desk.recipient), "the journal does not name the recipient");
    let said = run(other.pack_cmd(&[&desk.source()], &desk.drives(), &BARE)).exits(2);
    assert!(said.err.contains("other recipients"), "{}", said.err);
    let both = run(desk.pack_cmd(&[&desk.source()], &desk.drives(), &["--mend", "0", "-r", &other.recipient])).exits(2);
    assert!(both.err.contains("other recipients"), "{}", both.err);
    assert!(packed_and_verified(&again(&desk, &BARE, 0)));
}

#[test]
fn a_passphrase_goes_on_with_itself_only() {
    let desk = clip(30);
    put(desk.path("words"), crate::common::PASSPHRASE);
    put(desk.path("others"), "another-battery-horse-staple-correct");
    let script = |file: &str, more: &str| {
        let words = [env!("CARGO_BIN_EXE_pouch"), "pack", "source", "--mend", "0", "--passphrase-fd", "9"];
        let drives: String = desk.drives().iter().map(|drive| format!(" -o '{}'", drive.display())).collect();
        format!("{}{drives} {more} 9<{file}", words.join(" "))
    };
    let start = || {
        (1..=3).for_each(|number| drop(fs::remove_dir_all(desk.volume(number))));
        let mut bash = std::process::Command::new("bash");
        bash.args(["-c", &format!("exec {}", script("words", ""))]).current_dir(desk.dir.path());
        bash.stdout(std::process::Stdio::null()).spawn().unwrap()
    };
    let there = || noted(&desk, "d ") > 9;
    midway::killed(start, there, || there() && !any_complete(&desk));
    let bash = |script: String| crate::common::bash(&script, desk.dir.path(), &[]);
    let said = bash(script("others", "")).exits(2);
    assert!(said.err.contains("another passphrase"), "{}", said.err);
    let said = again(&desk, &BARE, 2);
    assert!(said.err.contains("passphrase"), "{}", said.err);
    assert!(packed_and_verified(&bash(script("words", "")).exits(0)));
    let open = format!("'{}' list drive-2 --passphrase-fd 9 9<words", env!("CARGO_BIN_EXE_pouch"));
    assert!(bash(open).exits(0).out.contains("clip"));
}

#[test]
fn a_prepared_drive_leads_nowhere_and_costs_nobody_a_volume() {
    let desk = clip(3);
    let precious = desk.path("precious");
    put(&precious, "precious");
    fs::create_dir(desk.volume(1)).unwrap();
    std::os::unix::fs::symlink(&precious, desk.volume(1).join("unfinished.tmp")).unwrap();
    let said = again(&desk, &BARE, 2);
    assert!(said.err.contains("exists already"), "{}", said.err);
    fs::remove_dir_all(desk.volume(1)).unwrap();
    // A planted journal claims the finished volume on the second drive.
    again(&desk, &BARE, 0);
    let seal = fs::read(desk.volume(2).join("seal.age")).unwrap();
    let sum = format!("{:?}", pouch::internals::base::digest::sha256(&seal));
    let zeros = "0".repeat(64);
    fs::remove_dir_all(desk.volume(1)).unwrap();
    let recipient = &desk.recipient;
    let claims = format!(
        "pouch-journal 1\nbundle {}\nrecipient {recipient}\nkcommit {zeros}\nclass 1\nscheme -\noptions {zeros}\n\
         whom {zeros}\nvolumes 3\nSEALS 1\n2 seal.age {sum}\nSTAMPS \nBEGUN\n",
        "0".repeat(32)
    );
    put(desk.volume(1).join("journal"), journal::checked(&claims));
    fs::remove_dir_all(desk.volume(3)).unwrap();
    let before = crate::common::tree::look(&desk.volume(2));
    for more in [vec!["--mend", "0"], vec!["--mend", "0", "--restart"]] {
        again(&desk, &more, 2);
        assert!(before == crate::common::tree::look(&desk.volume(2)), "{more:?}");
    }
    assert_eq!(fs::read(precious).unwrap(), b"precious");
}

#[test]
fn one_more_drive_can_be_added() {
    let desk = clip(30);
    killed(&desk, &BARE, 10);
    fs::create_dir(desk.drive(4)).unwrap();
    let drives = [desk.drives(), vec![desk.drive(4)]].concat();
    let said = run(desk.pack_cmd(&[&desk.source()], &drives, &BARE)).exits(0);
    assert!(packed_and_verified(&said), "{}", said.out);
    assert!(volumes::parts(&drives[3..]).len() > 1);
    is_whole(&desk, &drives);
}

#[test]
fn the_journal_opens_nothing_and_a_second_run_is_kept_away() {
    let desk = clip(30);
    let journal = desk.volume(1).join("journal");
    let there = || journal.exists() && desk.volume(1).join("seal.age").exists();
    let packing = midway::held(|| start_anew(&desk, &BARE), there, || there() && !any_complete(&desk));
    let said = again(&desk, &BARE, 2);
    assert!(said.err.contains("another pouch is packing"), "{}", said.err);
    drop(packing);
    let mode = std::os::unix::fs::PermissionsExt::mode(&fs::metadata(&journal).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600);
    // The bundle's key, which the seal holds, must not be in the journal.
    if crate::common::need(&["age"]) {
        let mut age = std::process::Command::new("age");
        age.args(["-d", "-i"]).arg(desk.path("key")).arg(desk.volume(1).join("seal.age"));
        let opened = age.output().unwrap();
        let text = String::from_utf8(opened.stdout).unwrap();
        let secret = text.lines().find(|line| line.starts_with("AGE-SECRET-KEY-1")).expect("the bundle's key");
        let on_drive = fs::read_to_string(&journal).unwrap();
        assert!(!on_drive.contains(secret) && !on_drive.to_uppercase().contains("SECRET"), "{on_drive}");
    }
    again(&desk, &BARE, 0);
    is_whole(&desk, &desk.drives());
}

#[test]
fn killed_at_any_instant_the_same_command_goes_on() {
    let desk = clip(20);
    let more = [&[][..], &BARE, &["--lose", "1"]];
    let begun = Instant::now();
    assert!(start(&desk, &BARE).wait_with_output().unwrap().status.success());
    let whole = begun.elapsed() + Duration::from_millis(5);
    for turn in 0..12 {
        desk.drives().iter().for_each(|drive| drop(fs::remove_dir_all(volumes::files(drive).pop().unwrap())));
        let more = more[turn % 3];
        for kill in 0..2u32 {
            let mut child = start(&desk, more);
            std::thread::sleep(whole * ((turn as u32 * 7 + kill * 13) % 31) / 30);
            child.kill().unwrap();
            child.wait().unwrap();
        }
        let complete = |number| desk.volume(number).join("SHA256SUMS").exists();
        let finished = (1..=3).all(complete) && !desk.volume(1).join("journal").exists();
        again(&desk, more, if finished { 2 } else { 0 });
        is_whole(&desk, &desk.drives());
    }
}
