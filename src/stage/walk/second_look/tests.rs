use super::super::Walk;
use super::*;
use crate::base::monitor::Silent;
use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

/// A walked source. Its folders are old enough that any change shows in their times.
fn walked() -> (tempfile::TempDir, PathBuf, Walk) {
    let dir = tempfile::tempdir().unwrap();
    let source = dir.path().join("source");
    fs::create_dir_all(source.join("folder/below")).unwrap();
    fs::create_dir(source.join("quiet")).unwrap();
    for name in ["folder/a", "folder/below/b", "quiet/c"] {
        fs::write(source.join(name), name).unwrap();
    }
    fs::hard_link(source.join("folder/a"), source.join("folder/second name")).unwrap();
    symlink("a", source.join("folder/link")).unwrap();
    for folder in ["", "folder", "folder/below", "quiet"] {
        let old = SystemTime::now() - Duration::from_secs(60);
        fs::File::open(source.join(folder)).unwrap().set_modified(old).unwrap();
    }
    let walk = super::super::walk(std::slice::from_ref(&source), &Silent).unwrap();
    std::thread::sleep(walk.until_times_tell());
    (dir, source, walk)
}

/// The notes of a second look: path, kind and text.
fn look(walk: &Walk, own: &OwnNames) -> Vec<(String, NoteKind, String)> {
    let look = walk.look_again(|_| false, own, &Silent).unwrap();
    let incomplete: Vec<&[u8]> = look.incomplete.iter().map(|at| walk.entries[*at].path.as_bytes()).collect();
    let lacks: Vec<&[u8]> =
        look.notes.iter().filter(|note| note.text.contains("not in the bundle:")).map(|note| &*note.path).collect();
    assert_eq!(incomplete, lacks, "those folders are flagged");
    let text = |note: Note| (String::from_utf8(note.path).unwrap(), note.kind, note.text.into_owned());
    look.notes.into_iter().map(text).collect()
}

fn after(change: impl FnOnce(&Path)) -> Vec<(String, String)> {
    let (_dir, source, walk) = walked();
    assert_eq!(look(&walk, &OwnNames::default()), [], "nothing changed yet");
    change(&source);
    let said = look(&walk, &OwnNames::default());
    assert!(said.iter().all(|(_, kind, _)| *kind == NoteKind::Outdated), "{said:?}");
    said.into_iter().map(|(path, _, text)| (path, text)).collect()
}

#[track_caller]
fn names(said: &[(String, String)], expected: &[(&str, &str)]) {
    let same =
        |((path, text), (expected, part)): (&(String, String), &(&str, &str))| path == expected && text.contains(part);
    assert!(said.len() == expected.len() && said.iter().zip(expected).all(same), "{said:#?}");
}

#[test]
fn a_name_that_came_is_named_with_its_folder() {
    let said = after(|source| {
        fs::write(source.join("folder/new\u{202e}"), "").unwrap();
        fs::create_dir(source.join("folder/another")).unwrap();
    });
    names(&said, &[("source/folder", "2 names in it are not in the bundle: another, new\\xe2\\x80\\xae")]);
}

#[test]
fn names_that_went_or_were_replaced_are_named() {
    let said = after(|source| fs::remove_file(source.join("folder/below/b")).unwrap());
    let every = "every name that is in it now is in the bundle";
    names(&said, &[("source/folder/below", every), ("source/folder/below/b", "not there any more")]);
    let said = after(|source| {
        fs::write(source.join("quiet/new"), "saved anew").unwrap();
        fs::rename(source.join("quiet/new"), source.join("quiet/c")).unwrap();
    });
    names(&said, &[("source/quiet", every), ("source/quiet/c", "changed after it was read")]);
    let said = after(|source| {
        fs::remove_file(source.join("folder/link")).unwrap();
        symlink("elsewhere", source.join("folder/link")).unwrap();
    });
    names(&said, &[("source/folder", every), ("source/folder/link", "the link is packed as it was")]);
    let said = after(|source| {
        fs::remove_file(source.join("quiet/c")).unwrap();
        fs::create_dir(source.join("quiet/c")).unwrap();
    });
    names(&said, &[("source/quiet", every), ("source/quiet/c", "changed after it was read")]);
}

#[test]
fn a_folder_that_went_is_named_once() {
    let said = after(|source| fs::rename(source.join("folder"), source.with_file_name("elsewhere")).unwrap());
    names(&said, &[("source", "every name that is in it now"), ("source/folder", "moved away")]);
    let said = after(|source| fs::remove_dir_all(source).unwrap());
    names(&said, &[("source", "is not there any more")]);
    let said = after(|source| fs::rename(source, source.with_file_name("elsewhere")).unwrap());
    names(&said, &[("source", "is not at its place any more")]);
}

#[test]
fn modes_and_contents_that_change_are_named() {
    use std::os::unix::fs::PermissionsExt;
    let said = after(|source| {
        fs::set_permissions(source.join("quiet"), fs::Permissions::from_mode(0o700)).unwrap();
        fs::set_permissions(source.join("quiet/c"), fs::Permissions::from_mode(0o600)).unwrap();
        fs::write(source.join("folder/below/b"), "other").unwrap();
    });
    let changed = "changed after it was read";
    names(
        &said,
        &[
            ("source/folder/below/b", changed),
            ("source/quiet", "its mode, owner or name changed"),
            ("source/quiet/c", changed),
        ],
    );
}

#[test]
fn a_name_that_came_within_one_step_of_the_clock_is_found() {
    let (_dir, source, mut walk) = walked();
    // The stamp gets the folder's present time, as if the folder had been listed in the moment of the change.
    fs::write(source.join("quiet/new"), "").unwrap();
    let at = find(&walk.entries, b"source/quiet").unwrap();
    let meta = source.join("quiet").metadata().unwrap();
    walk.stamps[at] = Stamp::of(&meta);
    (walk.entries[at].mtime.secs, walk.entries[at].mtime.nanos) = (meta.mtime(), meta.mtime_nsec() as u32);
    let said = look(&walk, &OwnNames::default());
    assert_eq!(said.len(), 1);
    assert!(said[0].0 == "source/quiet" && said[0].2.contains("not in the bundle: new"), "{said:?}");
}

#[test]
fn what_this_packing_writes_itself_is_no_change() {
    let (_dir, source, walk) = walked();
    fs::create_dir(source.join("quiet/volume-1")).unwrap();
    let meta = source.join("quiet").metadata().unwrap();
    let own = OwnNames::from([((meta.dev(), meta.ino()), HashSet::from([b"volume-1".to_vec()]))]);
    let said = look(&walk, &own);
    assert!(said.len() == 1 && said[0].1 == NoteKind::OwnWork, "{said:?}");
    fs::write(source.join("quiet/not ours"), "").unwrap();
    let said = look(&walk, &own);
    assert!(said[0].1 == NoteKind::Outdated && said[0].2.ends_with("not in the bundle: not ours"), "{said:?}");
}

#[test]
fn what_is_special_is_never_packed_and_what_is_named_is_not_named_again() {
    let (_dir, source, walk) = walked();
    let _socket = std::os::unix::net::UnixListener::bind(source.join("quiet/socket")).unwrap();
    fs::write(source.join("quiet/c"), "other").unwrap();
    let file = find(&walk.entries, b"source/quiet/c").unwrap();
    let look = walk.look_again(|index| index == file, &OwnNames::default(), &Silent).unwrap();
    assert_eq!(look.notes.len(), 1, "{:?}", look.notes);
    assert!(look.notes[0].path == b"source/quiet" && look.incomplete.is_empty());
}
