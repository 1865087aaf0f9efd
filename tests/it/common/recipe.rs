//! The recipe in docs/FORMAT.md that opens a bundle without this program, used as it stands there.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use super::{Desk, Run, bash, volumes};

/// Placeholders of the recipe, and what the tests put there. $1 is the tar program, $2 the key, $3 a seal; the drives
/// follow.
const FILLED_IN: [(&str, &str); 6] = [
    ("me.key VOLUME/seal.age", "\"$KEY\" \"$SEAL\""),
    ("find DRIVES ", "find \"$@\" "),
    ("| tar -C", "| $TAR -C"),
    ("cd out/bag\n", "cd out/bag || exit 1\n"),
    ("sha256sum -c manifest-sha256.txt ", "sha256sum -c manifest-sha256.txt; echo \"manifest: $?\" "),
    ("sha256sum -c SHA256SUMS ", "sha256sum -c SHA256SUMS; echo \"sums: $?\" "),
];

/// The shell script in section 13.
pub fn script() -> String {
    let format = std::fs::read_to_string("docs/FORMAT.md").expect("the format");
    let section = format.split("\n## 13. ").nth(1).expect("section 13");
    section.split("```").nth(1).expect("a script").trim_start_matches("sh").to_string()
}

/// The script with its placeholders filled in.
fn filled_in() -> String {
    let mut script = script();
    for (place, filled) in FILLED_IN {
        assert_eq!(script.matches(place).count(), 1, "{place:?} must occur once in {script}");
        script = script.replace(place, filled);
    }
    format!("TAR=$1 KEY=$2 SEAL=$3; shift 3\n{script}")
}

/// Runs the recipe in a new folder. Returns the bag, which is `out/bag` there, and the run.
#[track_caller]
pub fn by_hand(desk: &Desk, tar: &str) -> (PathBuf, Run) {
    follow(desk, tar, "")
}

/// Runs the recipe with the shell and the small tools of busybox.
#[track_caller]
pub fn by_hand_in_busybox(desk: &Desk) -> (PathBuf, Run) {
    let applets = tempfile::tempdir().expect("a folder");
    let link = "for name in find awk sort cut mkdir test sha256sum tar; do ln -s \"$(command -v busybox)\" $name; done";
    bash(link, applets.path(), &[]).exits(0);
    follow(desk, "tar", &format!("PATH={}:$PATH exec busybox sh -c ", applets.path().display()))
}

fn follow(desk: &Desk, tar: &str, shell: &str) -> (PathBuf, Run) {
    let work = tempfile::tempdir_in(desk.dir.path()).expect("a folder").keep();
    let drives = desk.drives();
    let first = volumes::files(&drives[0]).pop().expect("a volume");
    let (key, seal) = (desk.path("key"), first.join("seal.age"));
    let mut args = vec![OsStr::new(tar), key.as_os_str(), seal.as_os_str()];
    args.extend(drives.iter().map(|drive| drive.as_os_str()));
    let run = run_in(&work, shell, &args);
    (work.join("out/bag"), run)
}

fn run_in(work: &Path, shell: &str, args: &[&OsStr]) -> Run {
    let recipe = filled_in();
    if shell.is_empty() {
        return bash(&recipe, work, args);
    }
    bash(&format!("{shell}'{}' sh \"$@\"", recipe.replace('\'', "'\\''")), work, args)
}
