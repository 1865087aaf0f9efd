//! `pouch repair`, interrupted at any moment and run again, comes to the same result, and never takes a folder that is
//! not its own.

use std::fs;
use std::path::{Path, PathBuf};

use crate::common::{Desk, Run, Tmpfs, noise, pouch_raw, put, run, until, volumes};

/// A bundle on three drives, of which the second is lost.
struct Loss {
    desk: Desk,
    left: Vec<PathBuf>,
    target: PathBuf,
    /// Names and bytes of the lost volume's parts.
    parts: Vec<(String, Vec<u8>)>,
}

impl Loss {
    fn new() -> Self {
        let desk = Desk::new();
        put(desk.source().join("large"), noise(3_500_000, 7));
        run(desk.pack_cmd(&[&desk.source()], &desk.drives(), &["--lose", "1"])).exits(0);
        let parts = parts_of(&desk.volume(2));
        let (left, target) = (vec![desk.drive(1), desk.drive(3)], desk.path("new"));
        fs::create_dir(&target).unwrap();
        Self { desk, left, target, parts }
    }

    fn volume(&self) -> PathBuf {
        self.target.join("volume-2")
    }

    fn args(&self) -> Vec<PathBuf> {
        let key = [PathBuf::from("-i"), self.desk.path("key"), PathBuf::from("-o"), self.target.clone()];
        [vec![PathBuf::from("repair")], self.left.clone(), key.to_vec()].concat()
    }

    fn repair(&self) -> Run {
        run(crate::common::pouch(self.args()))
    }

    /// Checks that repair succeeds and the volume has its old parts.
    #[track_caller]
    fn ends_well(&self, when: &str) {
        let said = self.repair();
        assert_eq!(said.code, 0, "{when}: {said:?}");
        assert!(parts_of(&self.volume()) == self.parts, "{when}");
        run(self.desk.check_cmd(std::slice::from_ref(&self.target), &[])).exits(0);
        assert!(!self.volume().join("unfinished.tmp").exists());
    }

    /// Checks that repair refuses and changes nothing.
    #[track_caller]
    fn leaves_alone(&self, what: &str) {
        let before = all_of(&self.volume());
        let said = self.repair();
        assert!(said.code == 2 && said.err.contains("exists already"), "{what}: {said:?}");
        assert!(all_of(&self.volume()) == before, "{what}");
    }
}

fn parts_of(volume: &Path) -> Vec<(String, Vec<u8>)> {
    let files = all_of(volume).into_iter();
    files.filter(|(name, _)| name.as_bytes()[0].is_ascii_digit()).collect()
}

fn all_of(volume: &Path) -> Vec<(String, Vec<u8>)> {
    let files = volumes::files(volume).into_iter().filter(|file| file.is_file());
    files.map(|file| (volumes::name_of(&file), fs::read(&file).unwrap())).collect()
}

/// Leaves a volume as an interrupted run does: with `done` of the finished files, and half of the next one.
fn rewind(volume: &Path, finished: &[(String, Vec<u8>)], done: usize) {
    fs::remove_dir_all(volume).unwrap();
    fs::create_dir(volume).unwrap();
    for (name, bytes) in &finished[..done] {
        fs::write(volume.join(name), bytes).unwrap();
    }
    if let Some((_, next)) = finished.get(done) {
        fs::write(volume.join("unfinished.tmp"), &next[..next.len() / 2]).unwrap();
    }
}

/// The files of a volume in the order in which repair writes them.
fn in_order(volume: &Path) -> Vec<(String, Vec<u8>)> {
    let mut files = all_of(volume);
    let rank = |name: &str| match name {
        _ if name.starts_with("seal") => 0,
        _ if name.as_bytes()[0].is_ascii_digit() => 1,
        "SHA256SUMS" => 3,
        _ => 2,
    };
    files.sort_by_key(|(name, _)| rank(name));
    files
}

#[test]
fn at_whatever_file_it_was_interrupted_it_begins_anew() {
    let loss = Loss::new();
    loss.ends_well("the first time");
    let finished = in_order(&loss.volume());
    assert!(finished.len() >= 8, "{}", finished.len());
    for done in 0..=finished.len() {
        rewind(&loss.volume(), &finished, done);
        loss.ends_well(&format!("after {done} files"));
    }
    // Once the volume is whole, there is nothing left to do.
    let before = all_of(&loss.volume());
    let said = loss.repair().exits(0).out;
    assert!(said.contains("written before, and whole") && said.contains("nothing else"), "{said}");
    assert!(all_of(&loss.volume()) == before);
}

#[test]
fn killed_in_the_midst_it_ends_well_when_run_again() {
    let loss = Loss::new();
    for wait_for in ["volume-2", "volume-2/seal2.age", "volume-2/unfinished.tmp", "volume-2/list.age"] {
        let mut child = pouch_raw(loss.args()).spawn().unwrap();
        let over = std::cell::Cell::new(false);
        until(|| {
            over.set(loss.volume().join("SHA256SUMS").exists());
            over.get() || loss.target.join(wait_for).exists()
        });
        child.kill().unwrap();
        child.wait().unwrap();
        loss.ends_well(wait_for);
        fs::remove_dir_all(loss.volume()).unwrap();
    }
}

#[test]
fn what_is_not_surely_its_own_it_leaves_alone() {
    let loss = Loss::new();
    loss.ends_well("the first time");
    let finished = in_order(&loss.volume());
    let seals = finished.iter().filter(|(name, _)| name.starts_with("seal")).count();
    let left = || rewind(&loss.volume(), &finished, seals + 1);
    let part = || loss.volume().join(&finished[seals].0);
    left();
    put(loss.volume().join("notes.txt"), "mine");
    loss.leaves_alone("a file of somebody's");
    left();
    volumes::flip(&part(), 500_000, 1);
    loss.leaves_alone("a damaged part, which may be all that is left of it");
    left();
    fs::rename(part(), loss.volume().join("000099.age")).unwrap();
    loss.leaves_alone("a part of another number");
    left();
    volumes::flip(&loss.volume().join("seal.age"), 300, 1);
    loss.leaves_alone("another seal");
    left();
    (0..seals).for_each(|at| fs::remove_file(loss.volume().join(&finished[at].0)).unwrap());
    loss.leaves_alone("no seal");
    left();
    fs::create_dir(loss.volume().join("folder")).unwrap();
    loss.leaves_alone("a folder");
    rewind(&loss.volume(), &finished, 0);
    put(loss.volume().join("unfinished.tmp"), "somebody else's");
    loss.leaves_alone("what is no beginning of a seal");
    rewind(&loss.volume(), &finished, finished.len());
    volumes::flip(&part(), 500_000, 1);
    loss.leaves_alone("a finished volume that is damaged");
    fs::remove_dir_all(loss.volume()).unwrap();
    put(loss.volume().join("SHA256SUMS"), "of something else\n");
    loss.leaves_alone("sums of something else");
}

#[test]
fn what_another_run_writes_just_now_is_no_leftover() {
    let loss = Loss::new();
    loss.ends_well("the first time");
    rewind(&loss.volume(), &in_order(&loss.volume()), 3);
    let other = fs::File::open(&loss.target).unwrap();
    assert!(pouch::internals::base::os::try_lock(&other).unwrap());
    let before = all_of(&loss.volume());
    let said = loss.repair();
    assert!(said.code == 2 && said.err.contains("another pouch"), "{said:?}");
    assert!(all_of(&loss.volume()) == before);
    drop(other);
    loss.ends_well("when the other is gone");
}

#[test]
fn room_is_asked_for_what_is_written() {
    // The volume on the small drive takes less than the average.
    let desk = Desk::new();
    put(desk.source().join("large"), noise(6_500_000, 7));
    let Some(small) = Tmpfs::mount(desk.path("small"), "size=3m") else { return };
    let drives = [small.path(), desk.drive(2)];
    run(desk.pack_cmd(&[&desk.source()], &drives, &["--fill", "sequential"])).exits(0);
    let parts = parts_of(&small.path().join("volume-1"));
    assert!((1..=2).contains(&parts.len()), "{}", parts.len());
    let kept = desk.path("kept");
    volumes::copy(&small.path(), &kept);
    drop(small);
    let Some(target) = Tmpfs::mount(desk.path("target"), "size=3m") else { return };
    let repair = |drive: &Path| {
        let mut command = crate::common::pouch(["repair"]);
        command.arg(drive).arg("-i").arg(desk.path("key")).arg("-o").arg(target.path());
        run(command)
    };
    repair(&desk.drive(2)).exits(0);
    assert!(parts_of(&target.path().join("volume-1")) == parts);
    // The volume of the large drive does not fit, and repair says so before it writes anything.
    fs::remove_dir_all(target.path().join("volume-1")).unwrap();
    fs::remove_file(desk.volume(2).join("list.age")).unwrap();
    let mut command = crate::common::pouch(["repair"]);
    command.args([&desk.drive(2), &kept]).arg("-i").arg(desk.path("key")).arg("-o").arg(target.path());
    let said = run(command).exits(7);
    assert!(said.err.contains("missing") && volumes::files(&target.path()).is_empty(), "{said:?}");
}
