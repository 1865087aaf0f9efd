//! What an unpacking leaves on a failing target: it removes its own files where it can and names the rest, and it never
//! takes a system error for something that the target cannot hold.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;

use crate::common::tree::same;
use crate::common::{Desk, Run, faults, need, put, run};

/// A small bundle with a symlink and a hard link.
fn desk() -> Desk {
    let desk = Desk::new();
    put(desk.source().join("notes/a.txt"), "notes");
    fs::hard_link(desk.source().join("notes/a.txt"), desk.source().join("notes/b.txt")).unwrap();
    symlink("a.txt", desk.source().join("notes/link")).unwrap();
    desk.pack();
    desk
}

/// Unpacks with these system calls failing, only on `paths` if there are any. Also returns whether a call failed.
fn failing(desk: &Desk, paths: &[PathBuf], inject: &str) -> (Run, bool) {
    faults::failing(&desk.unpack_cmd(&desk.drives(), &desk.path("out"), &[]), paths, inject)
}

/// What pouch left in the target.
fn left(desk: &Desk) -> Vec<PathBuf> {
    let names = fs::read_dir(desk.path("out")).into_iter().flatten().map(|entry| entry.unwrap().path());
    names.filter(|path| path.file_name().unwrap().to_str().unwrap().starts_with(".pouch")).collect()
}

/// Checks that the run names everything that is left and says what to do about it.
#[track_caller]
fn is_named(said: &Run, left: &[PathBuf]) {
    for path in left {
        let named = |line: &str| line.starts_with(&format!("note: {}", path.display())) && line.contains("remove it");
        assert!(said.err.lines().any(named), "{said:?}");
    }
}

#[test]
fn a_removal_that_fails_is_no_link_that_cannot_be_held() {
    if !need(&["strace"]) {
        return;
    }
    let desk = desk();
    // strace also counts a call as being on a path if it is relative to an open folder of that path.
    let trials: Vec<PathBuf> = (1..9).map(|trial| desk.path(&format!("out/.pouch-trial/{trial:012}"))).collect();
    for (when, code) in [("1", 7), ("2", 0), ("1+", 7)] {
        let (said, met) = failing(&desk, &trials, &format!("unlink,unlinkat:error=EIO:when={when}"));
        let said = said.exits(code);
        assert!(met && !said.err.contains("cannot hold"), "{said:?}");
        let is_said = ["cannot remove", "os error 5", "hint: "].map(|word| said.err.contains(word));
        assert_eq!(is_said, [code == 7; 3], "{said:?}");
        assert_eq!(left(&desk).is_empty(), when != "1+", "{when}");
        is_named(&said, &left(&desk));
        if code == 7 {
            run(desk.unpack_cmd(&desk.drives(), &desk.path("out"), &[])).exits(0);
        }
        assert!(left(&desk).is_empty());
        same(&desk.source(), &desk.path("out/source"));
        fs::remove_dir_all(desk.path("out")).unwrap();
    }
}

#[test]
fn what_cannot_be_removed_of_what_was_delivered_is_named() {
    if !need(&["strace"]) {
        return;
    }
    let desk = desk();
    let staging = desk.path("out/.pouch-unfinished");
    let mut paths: Vec<PathBuf> = ["files", "aside", "placed", "lock"].map(|name| staging.join(name)).into();
    paths.push(staging);
    let (mut delivered, mut once) = (0, 0);
    for calls in ["open,openat,openat2", "unlink,unlinkat,rmdir"] {
        for then_on in ["+", ""] {
            for when in 1.. {
                let inject = format!("{calls}:error=EIO:when={when}{then_on}");
                let _ = fs::remove_dir_all(desk.path("out"));
                let (said, met) = failing(&desk, &paths, &inject);
                if !met {
                    break;
                }
                assert!([0, 7].contains(&said.code), "{inject}: {said:?}");
                if said.code == 0 {
                    same(&desk.source(), &desk.path("out/source"));
                    is_named(&said, &left(&desk));
                    delivered += usize::from(!left(&desk).is_empty());
                    once += usize::from(left(&desk).is_empty() && then_on.is_empty());
                } else {
                    assert!(said.err.contains("hint: "), "{inject}: {said:?}");
                    run(desk.unpack_cmd(&desk.drives(), &desk.path("out"), &[])).exits(0);
                    assert!(left(&desk).is_empty());
                    same(&desk.source(), &desk.path("out/source"));
                }
            }
        }
    }
    assert!(delivered > 0 && once > 0, "{delivered} {once}");
}
