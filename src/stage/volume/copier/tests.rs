use super::*;
use crate::base::digest::sha256;
use crate::format::UNFINISHED;
use std::cell::Cell;

const NAME: &str = "000001.age";

struct Place {
    _dir: tempfile::TempDir,
    bytes: Vec<u8>,
    to: PathBuf,
    copier: Copier,
}

fn place(len: usize) -> Place {
    let dir = tempfile::tempdir().unwrap();
    let (from, to) = (dir.path().join("from"), dir.path().join("to"));
    let bytes: Vec<u8> = (0..len).map(|at| (at / 7 + at / 4099) as u8).collect();
    fs::create_dir(&from).and_then(|()| fs::create_dir(&to)).unwrap();
    fs::write(from.join(NAME), &bytes).unwrap();
    Place { copier: Copier::new(&super::super::read(&from).unwrap(), &to), _dir: dir, bytes, to }
}

#[test]
fn it_goes_on_where_both_agree_whatever_was_left() {
    let mut place = place(3 * STRETCH + 77);
    let sum = sha256(&place.bytes);
    let mut wrong = place.bytes.clone();
    wrong[STRETCH + 5] ^= 1;
    let longer = [&place.bytes[..], b"more"].concat();
    for left in [&b""[..], &place.bytes[..1], &place.bytes[..STRETCH + 9], &place.bytes, &wrong, &longer, b"other"] {
        fs::write(place.to.join(UNFINISHED), left).unwrap();
        assert_eq!(place.copier.copy(NAME, sum, &|_| true).unwrap(), Copied::Whole);
        assert!(fs::read(place.to.join(NAME)).unwrap() == place.bytes, "from {} bytes", left.len());
        assert_eq!(place.copier.holds(&place.to.join(NAME), sum, &|_| true).unwrap(), Some(true));
    }
}

#[test]
fn told_to_stop_it_leaves_what_can_be_gone_on_from() {
    let mut place = place(3 * STRETCH);
    let sum = sha256(&place.bytes);
    let seen = Cell::new(0);
    let stop = |bytes| {
        seen.set(seen.get() + bytes);
        seen.get() < STRETCH as u64
    };
    assert_eq!(place.copier.copy(NAME, sum, &stop).unwrap(), Copied::Stopped);
    assert_eq!(fs::read(place.to.join(UNFINISHED)).unwrap(), &place.bytes[..STRETCH]);
    assert!(!place.to.join(NAME).exists());
}

#[test]
fn a_wrong_source_gets_no_name_and_a_difference_is_found() {
    let mut place = place(2 * STRETCH);
    assert_eq!(place.copier.copy(NAME, sha256(b"else"), &|_| true).unwrap(), Copied::Wrong);
    assert_eq!(fs::read_dir(&place.to).unwrap().count(), 0);
    let mut wrong = place.bytes.clone();
    wrong[STRETCH + 9] ^= 4;
    for (stored, at) in [(&wrong[..], STRETCH + 9), (&place.bytes[..100], 100)] {
        fs::write(place.to.join(NAME), stored).unwrap();
        assert_eq!(place.copier.first_difference(NAME).unwrap(), Some(at as u64));
    }
    fs::write(place.to.join(NAME), &place.bytes).unwrap();
    assert_eq!(place.copier.first_difference(NAME).unwrap(), None);
}

#[test]
fn of_what_was_left_unfinished_the_last_is_gone_on_from() {
    let mut place = place(2 * STRETCH);
    let sum = sha256(&place.bytes);
    for (name, left) in [
        ("unfinished.tmp", &b"dead"[..]),
        ("unfinished-9.tmp", b"dead"),
        ("unfinished-10.tmp", &place.bytes[..STRETCH]),
    ] {
        fs::write(place.to.join(name), left).unwrap();
    }
    let inode = |name: &str| std::os::unix::fs::MetadataExt::ino(&fs::metadata(place.to.join(name)).unwrap());
    let last = inode("unfinished-10.tmp");
    place.copier.begin().unwrap();
    assert_eq!(fs::read_dir(&place.to).unwrap().count(), 1);
    assert_eq!(place.copier.copy(NAME, sum, &|_| true).unwrap(), Copied::Whole);
    assert_eq!(inode(NAME), last, "it was gone on with");
    assert!(fs::read(place.to.join(NAME)).unwrap() == place.bytes);
}

#[test]
fn what_was_set_aside_keeps_its_place_until_all_is_done() {
    let mut place = place(STRETCH);
    let sum = sha256(&place.bytes);
    place.copier.begin().unwrap();
    fs::write(place.to.join(NAME), b"wrong").unwrap();
    place.copier.set_aside(NAME).unwrap();
    assert_eq!(place.copier.copy(NAME, sum, &|_| true).unwrap(), Copied::Whole);
    place.copier.write_sums(b"sums").unwrap();
    assert!(place.copier.holds_sums(b"sums").unwrap() && !place.copier.holds_sums(b"other").unwrap());
    place.copier.name_sums().unwrap();
    assert_eq!(fs::read(place.to.join(UNFINISHED)).unwrap(), b"wrong");
    place.copier.leave(true);
    let mut left: Vec<_> = fs::read_dir(&place.to).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    left.sort();
    assert_eq!(left, [NAME, SUMS]);
}

#[test]
fn of_a_volume_that_cannot_be_removed_what_tells_whose_it_is_stays() {
    let place = place(0);
    let names = ["seal.age", "000001.age", "list.age"].map(String::from);
    // A folder cannot be removed as a file, so the removal stops at this part.
    fs::create_dir(place.to.join("000001.age")).unwrap();
    ["seal.age", "list.age", SUMS].iter().for_each(|name| fs::write(place.to.join(name), b"").unwrap());
    assert!(remove_whole(&super::super::read(&place.to).unwrap(), &names).is_err());
    let left = |name| place.to.join(name).exists();
    assert!(left("seal.age") && !left("list.age") && !left(SUMS));
}

#[test]
fn a_link_left_on_the_drive_is_not_written_through() {
    let mut place = place(100);
    let elsewhere = place.to.with_file_name("elsewhere");
    fs::write(&elsewhere, "mine").unwrap();
    std::os::unix::fs::symlink(&elsewhere, place.to.join(UNFINISHED)).unwrap();
    let sum = sha256(&place.bytes);
    assert_eq!(place.copier.copy(NAME, sum, &|_| true).unwrap(), Copied::Whole);
    assert_eq!(fs::read(elsewhere).unwrap(), b"mine");
}
