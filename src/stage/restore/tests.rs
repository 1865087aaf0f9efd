//! What is placed, delivered, kept away and left alone.

use super::*;
use crate::base::entry::Time;
use crate::plan::layout::tests::{dir, entry, file, symlink};
use std::os::unix::fs::MetadataExt;

fn begin(target: &Path, entries: &[Entry]) -> Result<Staging, TargetError> {
    Staging::begin(target, entries, &Digest([1; 32]))
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
        assert_eq!(placer.complete(entry).unwrap(), Dressed { mode: true, off: 0 });
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
    assert!(staging.finish(&entries, keep).unwrap().is_empty());
    assert_eq!(staging.deliver(&entries, false, false).unwrap(), (Otherwise::default(), None));
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
    assert!(matches!(begin(target.path(), &[]), Err(TargetError::Busy(_))));
    staging.root.write("placed", b"x").unwrap();
    staging.note_placed(7).unwrap();
    drop(staging);
    let other = Staging::begin(target.path(), &[], &Digest([2; 32]));
    assert!(matches!(other, Err(TargetError::Other(_))), "of something else: left alone");
    let again = begin(target.path(), &[]).unwrap();
    assert!(again.is_resumed() && again.placed() == BTreeSet::from([7]) && again.root.exists("placed"));
    drop(again);
    std::fs::remove_file(target.path().join(STAGING).join(LOG)).unwrap();
    let anew = begin(target.path(), &[]).unwrap();
    assert!(anew.placed().is_empty() && !anew.root.exists("placed"), "nobody knows of what it was");
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
    again.make_dirs(&entries).unwrap();
    again.take_up(&entries).unwrap();
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
    // Somebody who can write there plants a link where a folder is expected.
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
    // What is called a hole and is none.
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
