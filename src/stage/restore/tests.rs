//! Tests of the whole way of files: placed, delivered, put aside, resumed.

use std::collections::BTreeSet;
use std::os::unix::fs::MetadataExt;

use super::staging::{FILES, STAGING};
use super::*;
use crate::base::digest::Digest;
use crate::base::entry::Time;
use crate::base::open_path::remove_all;
use crate::plan::layout::tests::{dir, entry, file, symlink};

/// Waits for the lock: a child process that another test forks inherits it, and holds it until it runs its program.
fn begin(target: &Path, entries: &[Entry]) -> Result<Staging, TargetError> {
    for _ in 0..2000 {
        match Staging::begin(target, entries, &Digest([1; 32])) {
            Err(TargetError::Busy(_)) => std::thread::sleep(std::time::Duration::from_millis(5)),
            begun => return begun,
        }
    }
    Err(TargetError::Busy(target.into()))
}

fn keep(_: usize) -> Fate {
    Fate::Keep
}

fn staged(target: &Path, entries: &[Entry]) -> Staging {
    let staging = begin(target, entries).unwrap();
    staging.make_dirs(entries).unwrap();
    let mut placer = staging.placer();
    for (at, entry) in entries.iter().enumerate().filter(|(_, entry)| entry.has_content()) {
        placer.write(at as u32, entry, 0, &vec![b'x'; entry.size as usize], true).unwrap();
        assert_eq!(placer.complete(entry).unwrap(), MetadataResult { mode: true, off: 0 });
    }
    staging
}

fn tree() -> Vec<Entry> {
    let mut entries = vec![dir("d"), file("d/a", 10), file("d/empty", 0), symlink("d/l", "/nowhere"), file("top", 3)];
    entries[0].mode = 0o555;
    entries[1].mtime = Time { secs: 1_000_000_000, nanos: 123_456_789 };
    entries.insert(3, entry("d/h", Kind::Hardlink(entries[1].path.clone()), 0));
    entries
}

#[test]
fn what_is_placed_is_delivered() {
    let target = tempfile::tempdir().unwrap();
    let entries = tree();
    let staging = staged(target.path(), &entries);
    assert!(!target.path().join("d").exists(), "not before the end");
    assert!(staging.finish(&entries, keep).unwrap().refused.is_empty());
    assert_eq!(staging.deliver(&entries, false, false).unwrap(), (MetadataDifferences::default(), None));
    let at = |path: &str| target.path().join(path);
    let meta = at("d/a").metadata().unwrap();
    assert_eq!(
        (meta.mtime(), meta.mtime_nsec(), meta.nlink(), meta.mode() & 0o7777),
        (1_000_000_000, 123_456_789, 2, 0o644)
    );
    assert_eq!(at("d").metadata().unwrap().mode() & 0o777, 0o555);
    assert_eq!(at("d/l").read_link().unwrap(), Path::new("/nowhere"));
    assert_eq!(at("d/empty").metadata().unwrap().len(), 0);
    assert_eq!(std::fs::read_dir(target.path()).unwrap().count(), 2, "no staging folder is left");
}

#[test]
fn what_is_not_wanted_is_not_delivered() {
    let target = tempfile::tempdir().unwrap();
    let entries = tree();
    let staging = staged(target.path(), &entries);
    staging.finish(&entries, |at| if at == 1 || at == 3 { Fate::Aside } else { Fate::Keep }).unwrap();
    staging.deliver(&entries, false, false).unwrap();
    assert!(!target.path().join("d/a").exists() && !target.path().join("d/h").exists());
    assert!(target.path().join("d/empty").exists());
}

#[test]
fn existing_files_stay_unless_told() {
    let target = tempfile::tempdir().unwrap();
    std::fs::create_dir(target.path().join("d")).unwrap();
    std::fs::write(target.path().join("d/mine"), b"mine").unwrap();
    std::fs::write(target.path().join("top"), b"old").unwrap();
    let entries = tree();
    let staging = staged(target.path(), &entries);
    staging.finish(&entries, keep).unwrap();
    assert!(staging.deliver(&entries, false, false).is_err());
    assert_eq!(std::fs::read(target.path().join("top")).unwrap(), b"old");
    assert!(target.path().join(STAGING).exists(), "what is placed is not lost");
    std::fs::remove_dir_all(target.path().join(STAGING)).unwrap();
    std::fs::remove_dir_all(target.path().join("d")).unwrap();
    std::fs::create_dir(target.path().join("d")).unwrap();
    std::fs::write(target.path().join("d/mine"), b"mine").unwrap();
    let staging = staged(target.path(), &entries);
    staging.finish(&entries, keep).unwrap();
    staging.deliver(&entries, true, false).unwrap();
    assert_eq!(std::fs::read(target.path().join("top")).unwrap(), b"xxx");
    assert_eq!(std::fs::read(target.path().join("d/mine")).unwrap(), b"mine");
}

#[test]
fn one_run_at_a_time_and_the_next_goes_on() {
    let target = tempfile::tempdir().unwrap();
    let staging = begin(target.path(), &[]).unwrap();
    assert!(matches!(Staging::begin(target.path(), &[], &Digest([1; 32])), Err(TargetError::Busy(_))));
    let placed = target.path().join(STAGING).join(FILES).join("placed");
    std::fs::write(&placed, b"x").unwrap();
    staging.note_placed(7).unwrap();
    drop(staging);
    let other = Staging::begin(target.path(), &[], &Digest([2; 32]));
    assert!(matches!(other, Err(TargetError::Other(_))), "of something else: left alone");
    let again = begin(target.path(), &[]).unwrap();
    assert!(again.is_resumed() && again.placed() == BTreeSet::from([7]) && placed.exists());
    drop(again);
    std::fs::remove_file(target.path().join(STAGING).join(LOG)).unwrap();
    let anew = begin(target.path(), &[]).unwrap();
    assert!(anew.placed().is_empty() && !placed.exists(), "nobody knows of what it was");
    assert!(anew.has_delivered(), "nor whether it was through");
    assert!(anew.discard().is_none());
    assert_eq!(std::fs::read_dir(target.path()).unwrap().count(), 0);
}

#[test]
fn what_is_put_aside_comes_back() {
    let target = tempfile::tempdir().unwrap();
    let entries = tree();
    let staging = staged(target.path(), &entries);
    let but_two = |at| if at == 1 || at == 3 { Fate::Aside } else { Fate::Keep };
    staging.finish(&entries, but_two).unwrap();
    staging.deliver(&entries, false, true).unwrap();
    assert!(!target.path().join("d/a").exists() && target.path().join("top").exists());
    let again = begin(target.path(), &entries).unwrap();
    assert!(again.has_delivered());
    again.resume(&entries).unwrap();
    assert_eq!(again.placer().lengths(&entries[1]).unwrap(), (Some(10), None));
    assert_eq!(again.placer().lengths(&entries[5]).unwrap(), (None, Some(3)));
    again.finish(&entries, |at| if at == 1 || at == 3 { Fate::Keep } else { Fate::There }).unwrap();
    again.deliver(&entries, false, false).unwrap();
    assert_eq!(target.path().join("d/a").metadata().unwrap().nlink(), 2);
    assert_eq!(target.path().join("d").metadata().unwrap().mode() & 0o777, 0o555);
}

#[test]
fn a_link_in_the_staging_folder_leads_nowhere() {
    let (target, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let staging = begin(target.path(), &[]).unwrap();
    // Another user of the target plants a link where a folder is expected.
    std::os::unix::fs::symlink(outside.path(), target.path().join(STAGING).join(FILES).join("d")).unwrap();
    assert!(staging.placer().write(0, &file("d/a", 1), 0, b"x", true).is_err());
    assert_eq!(std::fs::read_dir(outside.path()).unwrap().count(), 0);
}

#[test]
fn holes_stay_holes() {
    let target = tempfile::tempdir().unwrap();
    let mut sparse = file("s", 4 << 20);
    sparse.holes = vec![(0, 1 << 20), (2 << 20, 2 << 20)].into();
    let staging = begin(target.path(), &[]).unwrap();
    let mut placer = staging.placer();
    for at in 0..64u64 {
        let byte = if (16..32).contains(&at) { 7 } else { 0 };
        placer.write(0, &sparse, at << 16, &[byte; 1 << 16], true).unwrap();
    }
    // These bytes lie in a range that the list calls a hole.
    placer.write(0, &sparse, (3 << 20) + 5, b"text", true).unwrap();
    placer.complete(&sparse).unwrap();
    staging.deliver(&[sparse], false, false).unwrap();
    let meta = target.path().join("s").metadata().unwrap();
    assert_eq!(meta.len(), 4 << 20);
    assert!(meta.blocks() * 512 <= (1 << 20) + 2 * 65536, "{}", meta.blocks());
    let content = std::fs::read(target.path().join("s")).unwrap();
    assert!(content[1 << 20..2 << 20].iter().all(|b| *b == 7) && content[..1 << 20].iter().all(|b| *b == 0));
    assert_eq!(&content[(3 << 20) + 4..][..6], b"\0text\0");
}

#[test]
fn conflicts_are_found_before_anything_is_done() {
    let target = tempfile::tempdir().unwrap();
    let entries = tree();
    let conflict =
        || first_conflict(target.path(), &entries, false, |_| false).unwrap().map(|entry| entry.path.to_string());
    assert_eq!(conflict(), None);
    std::fs::create_dir(target.path().join("d")).unwrap();
    assert_eq!(conflict(), None, "folders are merged");
    std::os::unix::fs::symlink("/nowhere", target.path().join("d/h")).unwrap();
    assert_eq!(conflict().as_deref(), Some("d/h"));
    std::fs::remove_dir_all(target.path().join("d")).unwrap();
    std::fs::write(target.path().join("d"), b"a file").unwrap();
    assert_eq!(conflict().as_deref(), Some("d"));
}

#[test]
fn the_staging_folder_yields_to_what_is_packed() {
    let target = tempfile::tempdir().unwrap();
    let mut entries = vec![dir(STAGING), file(&format!("{STAGING}/f"), 1), dir(&format!("{STAGING}-"))];
    entries[0].mode = 0o755;
    let staging = staged(target.path(), &entries);
    staging.finish(&entries, keep).unwrap();
    staging.deliver(&entries, false, false).unwrap();
    assert_eq!(std::fs::read(target.path().join(STAGING).join("f")).unwrap(), b"x");
    assert_eq!(std::fs::read_dir(target.path()).unwrap().count(), 2);
}

#[test]
fn a_folder_that_is_not_ours_is_left_alone() {
    let target = tempfile::tempdir().unwrap();
    let theirs = target.path().join(STAGING);
    std::fs::create_dir(&theirs).unwrap();
    drop(begin(target.path(), &[]).unwrap());
    std::fs::remove_dir_all(&theirs).unwrap();
    std::fs::create_dir(&theirs).unwrap();
    std::fs::write(theirs.join("diary"), b"mine").unwrap();
    assert!(matches!(begin(target.path(), &[]), Err(TargetError::Foreign(_))));
    assert_eq!(std::fs::read(theirs.join("diary")).unwrap(), b"mine");
}

#[test]
fn two_workers_write_one_file_that_had_another_name() {
    const HALF: usize = 1000;
    let (target, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let stranger = outside.path().join("stranger");
    for round in 0..500 {
        let entries = [file("clip", 2 * HALF as u64)];
        drop(begin(target.path(), &entries).unwrap());
        let staging = begin(target.path(), &entries).unwrap();
        let clip = target.path().join(STAGING).join(FILES).join("clip");
        std::fs::write(&stranger, vec![b's'; 2 * HALF]).unwrap();
        std::fs::hard_link(&stranger, &clip).unwrap();
        staging.resume(&entries).unwrap();
        let at_once = std::sync::Barrier::new(2);
        std::thread::scope(|scope| {
            for half in 0..2 {
                let (staging, entries, at_once) = (&staging, &entries, &at_once);
                scope.spawn(move || {
                    at_once.wait();
                    let written = staging.placer().write(0, &entries[0], (half * HALF) as u64, &[b'x'; HALF], false);
                    written.unwrap_or_else(|fault| panic!("round {round}: {fault}"));
                });
            }
        });
        assert!(std::fs::read(&clip).unwrap() == vec![b'x'; 2 * HALF], "round {round}: no byte went elsewhere");
        assert!(std::fs::read(&stranger).unwrap() == vec![b's'; 2 * HALF], "round {round}");
        assert!(staging.discard().is_none());
    }
}

#[test]
fn links_of_an_earlier_run_are_no_strangers() {
    let target = tempfile::tempdir().unwrap();
    let entries = tree();
    let inode = |path: &str| target.path().join(path).symlink_metadata().unwrap().ino();
    let (staged_file, staged_link) = (format!("{STAGING}/{FILES}/d/a"), format!("{STAGING}/{FILES}/d/h"));
    // The first run is killed after the links were made, the second while they were moved.
    let staging = staged(target.path(), &entries);
    staging.finish(&entries, keep).unwrap();
    let file = inode(&staged_file);
    drop(staging);
    begin(target.path(), &entries).unwrap().resume(&entries).unwrap();
    assert_eq!(inode(&staged_file), file, "it is not copied");
    assert!(!target.path().join(&staged_link).exists(), "it is made anew");
    std::fs::create_dir(target.path().join("d")).unwrap();
    std::fs::hard_link(target.path().join(&staged_file), target.path().join("d/h")).unwrap();
    begin(target.path(), &entries).unwrap().resume(&entries).unwrap();
    assert_eq!(inode(&staged_file), file);
    // With a foreign name beside ours the file is copied.
    std::fs::hard_link(target.path().join(&staged_file), target.path().join("stranger")).unwrap();
    begin(target.path(), &entries).unwrap().resume(&entries).unwrap();
    assert!(inode(&staged_file) != file && inode("stranger") == file && inode("d/h") == file);
    assert_eq!(std::fs::read(target.path().join(&staged_file)).unwrap(), [b'x'; 10]);
}

#[test]
fn what_is_no_file_in_a_files_place_is_removed() {
    let (target, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let entries = [dir("d"), file("d/a", 3), file("fifo", 3), file("link", 3)];
    drop(begin(target.path(), &entries).unwrap());
    let files = target.path().join(STAGING).join(FILES);
    std::os::unix::fs::symlink(outside.path(), files.join("d")).unwrap();
    std::os::unix::fs::symlink(outside.path().join("link"), files.join("link")).unwrap();
    assert!(std::process::Command::new("mkfifo").arg(files.join("fifo")).status().unwrap().success());
    let staging = begin(target.path(), &entries).unwrap();
    staging.resume(&entries).unwrap();
    let mut placer = staging.placer();
    for (at, entry) in (0..).zip(&entries).skip(1) {
        placer.write(at, entry, 0, b"mine", false).unwrap();
    }
    assert_eq!(std::fs::read_dir(outside.path()).unwrap().count(), 0);
    assert_eq!(std::fs::read(files.join("fifo")).unwrap(), b"mine");
}

#[test]
fn nothing_is_written_to_a_file_that_got_another_name_meanwhile() {
    let target = tempfile::tempdir().unwrap();
    let stranger = target.path().join("stranger");
    let staging = begin(target.path(), &[]).unwrap();
    std::fs::write(&stranger, b"theirs").unwrap();
    std::fs::hard_link(&stranger, target.path().join(STAGING).join(FILES).join("clip")).unwrap();
    let fault = staging.placer().write(0, &file("clip", 4), 0, b"mine", false).unwrap_err();
    assert!(fault.to_string().contains("one more name"), "{fault}");
    assert_eq!(std::fs::read(&stranger).unwrap(), b"theirs");
}

/// Nested folders with a file in each, and the path of the innermost folder.
fn deep(depth: usize, name: &str) -> (Vec<Entry>, String) {
    let mut path = String::new();
    let mut entries = Vec::new();
    for _ in 0..depth {
        path = if path.is_empty() { name.to_string() } else { format!("{path}/{name}") };
        let mut folder = dir(&path);
        folder.mode = 0o555;
        // "!" sorts before the name of the next folder.
        entries.extend([folder, file(&format!("{path}/!"), 1)]);
    }
    entries.push(entry(&format!("{path}/0"), Kind::Hardlink(entries[1].path.clone()), 0));
    entries.push(file(&format!("{path}/1"), 0));
    entries.push(symlink(&format!("{path}/2"), "!"));
    entries.sort_by(|a, b| a.path.cmp(&b.path));
    (entries, path)
}

#[test]
fn no_path_is_too_long_to_be_delivered() {
    let target = tempfile::tempdir().unwrap();
    let (entries, path) = deep(60, &"n".repeat(100));
    assert!(path.len() > 6000);
    let staging = staged(target.path(), &entries);
    assert!(staging.finish(&entries, keep).unwrap().refused.is_empty());
    assert_eq!(first_conflict(target.path(), &entries, false, |_| false).unwrap(), None);
    assert_eq!(staging.deliver(&entries, false, false).unwrap(), (MetadataDifferences::default(), None));
    let root = Folder::open(target.path()).unwrap();
    let last = root.enter(path.as_bytes()).unwrap();
    assert_eq!(last.look_at(b"0").unwrap().nlink, 2);
    assert_eq!((last.look_at(b"1").unwrap().size, last.read_link(b"2").unwrap()), (0, b"!".to_vec()));
    assert_eq!(root.enter(&path.as_bytes()[..5000]).ok().map(|_| ()), None, "in the middle of a name");
    assert_eq!(first_conflict(target.path(), &entries, false, |_| false).unwrap().unwrap().path.to_string(), {
        format!("{}/!", "n".repeat(100))
    });
    // The second delivery merges into existing folders.
    let staging = staged(target.path(), &entries);
    staging.finish(&entries, keep).unwrap();
    staging.deliver(&entries, true, false).unwrap();
    assert_eq!(root.names().unwrap().len(), 1);
    remove_all(&root, &path.as_bytes()[..100]).unwrap();
}

#[test]
fn a_file_whose_names_run_out_goes_on_as_a_copy() {
    // Two more than ext4 allows. Many other file systems allow all of them.
    const NAMES: usize = 65_002;
    let target = tempfile::tempdir().unwrap();
    let first = file("a", 5);
    let link = |at: usize| entry(&format!("b{at:05}"), Kind::Hardlink(first.path.clone()), 0);
    let entries: Vec<Entry> = std::iter::once(first.clone()).chain((1..NAMES).map(link)).collect();
    let staging = staged(target.path(), &entries);
    let finished = staging.finish(&entries, keep).unwrap();
    assert!(finished.refused.is_empty(), "{:?}", finished.refused);
    staging.deliver(&entries, false, false).unwrap();
    let nlink = |at: usize| target.path().join(entries[at].path.as_path()).metadata().unwrap().nlink() as usize;
    match finished.copied[..] {
        [] => assert_eq!((nlink(0), nlink(NAMES - 1)), (NAMES, NAMES)),
        [copy] => assert_eq!((nlink(0), nlink(copy), nlink(NAMES - 1)), (copy, NAMES - copy, NAMES - copy)),
        ref copied => panic!("{copied:?}"),
    }
    assert_eq!(std::fs::read(target.path().join(entries[NAMES - 1].path.as_path())).unwrap(), b"xxxxx");
}

#[test]
fn no_time_of_what_is_there_is_too_far() {
    // A file system in memory keeps any time.
    let memory = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
    for secs in [i64::MIN, i64::MIN + 1, i64::MAX] {
        let mut entries = tree();
        for entry in &mut entries {
            entry.mtime = Time { secs, nanos: 999_999_999 };
        }
        for overwrite in [false, true] {
            let staging = begin(memory.path(), &entries).unwrap();
            staging.make_dirs(&entries).unwrap();
            let mut placer = staging.placer();
            for (at, entry) in (0..).zip(&entries).filter(|(_, entry)| entry.has_content()) {
                placer.write(at, entry, 0, &vec![b'x'; entry.size as usize], true).unwrap();
                placer.complete(entry).unwrap();
                placer.lengths(entry).unwrap();
            }
            drop(placer);
            staging.finish(&entries, keep).unwrap();
            assert_eq!(first_conflict(memory.path(), &entries, true, |_| false).unwrap(), None);
            staging.deliver(&entries, overwrite, false).unwrap();
        }
        for left in ["d", "top"] {
            remove_all(&Folder::open(memory.path()).unwrap(), left.as_bytes()).unwrap();
        }
    }
}
