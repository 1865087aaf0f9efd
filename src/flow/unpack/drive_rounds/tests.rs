//! Rounds with drives that come and go, as folders; copies of parts in a real staging folder.

use std::sync::Mutex;

use super::*;
use crate::base::digest::sha256;
use crate::base::monitor::Silent;
use crate::base::monitor::fake::Heard;
use crate::flow::bundle::part_decoder::tests::SmallBundle;
use crate::flow::bundle::test_bundle::CLASS;
use crate::format::part::file_name;
use crate::format::volume_number::VolumeNumber;
use crate::plan::layout::tests::file;
use crate::plan::needed_parts::Contents;
use crate::stage::restore::Staging;

/// A user who brings these drives, one after the other, and then no more.
#[derive(Default)]
struct Courier {
    drives: Mutex<Vec<PathBuf>>,
    /// The numbers of bad parts, at each time the user was asked.
    asked: Mutex<Vec<Vec<u32>>>,
}

impl Changer for Courier {
    fn next(&self, ask: &Ask) -> Result<Option<Vec<PathBuf>>, FlowError> {
        self.asked.lock().unwrap().push(ask.bad.iter().map(|part| part.number).collect());
        Ok(self.drives.lock().unwrap().pop().map(|drive| vec![drive]))
    }
}

/// A bundle of one file in four parts or more.
fn small_bundle() -> SmallBundle {
    SmallBundle::new(vec![file("a", 15_000)], 4096)
}

/// Gives `test` an extraction in a temporary target.
fn with_extraction<R>(entries: &[Entry], test: impl FnOnce(&Extraction) -> R) -> R {
    let target = tempfile::tempdir().unwrap();
    let staging = Staging::begin(target.path(), entries, &sha256(b"work")).unwrap();
    let contents = Contents::new(entries);
    test(&Extraction::new(entries, &contents, &staging))
}

fn place(small: &mut SmallBundle, changer: Option<&dyn Changer>) -> (Placed, bool) {
    let parts: Vec<u32> = small.bundle.head.parts.iter().map(|part| part.number).collect();
    with_extraction(&small.entries, |extraction| {
        let placed = place_all(&mut small.bundle, extraction, &parts, changer, &Silent).unwrap();
        (placed, extraction.is_whole(0))
    })
}

/// Moves a part to another drive.
fn move_part(small: &mut SmallBundle, number: u32) -> tempfile::TempDir {
    let other = tempfile::tempdir().unwrap();
    std::fs::copy(small.part_file(number), other.path().join(file_name(number))).unwrap();
    small.lose(number);
    other
}

fn bad(number: u32, state: PartState) -> BadPart {
    BadPart { number, volume: VolumeNumber::new(1), state, why: "it is".into() }
}

/// Puts the parts into stripes of two, of which any one may be lost.
fn stripe_up(small: &mut SmallBundle) {
    let scheme = Scheme::new(2, 1, 1).unwrap();
    small.bundle.head.statement.scheme = Some(scheme);
    for part in &mut small.bundle.head.parts {
        part.shard = Some(scheme.of_data(part.number));
    }
}

/// Names in the folder of kept parts.
fn kept(extraction: &Extraction) -> Vec<String> {
    let folder = std::fs::read_dir(extraction.staging.kept_parts()).unwrap();
    let mut names: Vec<String> = folder.map(|name| name.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn a_part_that_the_next_drive_brings_completes_the_file() {
    let mut small = small_bundle();
    let other = move_part(&mut small, 2);
    let courier = Courier::default();
    courier.drives.lock().unwrap().push(other.path().to_owned());
    let (placed, is_whole) = place(&mut small, Some(&courier));
    assert!(is_whole && placed.bad.is_empty());
    assert_eq!(*courier.asked.lock().unwrap(), [[2]]);
    assert_eq!(small.bundle.volumes[0].dir, other.path());
}

#[test]
fn the_user_is_asked_until_no_more_drives_come() {
    let mut small = small_bundle();
    let other = move_part(&mut small, 2);
    std::fs::remove_file(other.path().join(file_name(2))).unwrap();
    let courier = Courier::default();
    courier.drives.lock().unwrap().push(other.path().to_owned());
    let (placed, is_whole) = place(&mut small, Some(&courier));
    assert!(!is_whole);
    assert_eq!(placed.bad.iter().map(|part| part.number).collect::<Vec<_>>(), [2]);
    assert_eq!(*courier.asked.lock().unwrap(), [[2], [2]]);
}

#[test]
fn nothing_is_asked_once_all_parts_are_placed() {
    let courier = Courier::default();
    let (_, is_whole) = place(&mut small_bundle(), Some(&courier));
    assert!(is_whole && courier.asked.lock().unwrap().is_empty());
    let mut small = small_bundle();
    small.lose(2);
    assert_eq!(place(&mut small, None).0.bad.len(), 1, "without a changer the first round is the last");
}

#[test]
fn volumes_of_other_bundles_are_passed_over_with_a_note() {
    let small = small_bundle();
    let other = small_bundle();
    let listener = Heard::default();
    let nowhere = PathBuf::from("/nowhere/at/all");
    let paths = [small.drive.path().to_owned(), other.drive.path().to_owned(), nowhere];
    let found = scan_places(&paths, &small.bundle, &listener);
    assert_eq!(found.iter().map(|volume| &volume.dir).collect::<Vec<_>>(), [small.drive.path()]);
    let notes = listener.notes.into_inner().unwrap();
    assert_eq!(notes.len(), 1);
    assert_eq!((&notes[0].path[..], &*notes[0].text), (as_bytes(other.drive.path()), &*passed_over(None)));
}

#[test]
fn only_stripes_that_another_drive_may_complete_are_open() {
    let all = [bad(1, PartState::Missing), bad(4, PartState::Damaged), bad(5, PartState::Unread)];
    let spares_one = Scheme::new(2, 1, 1).unwrap();
    assert_eq!(open_stripes(spares_one, &all), BTreeSet::from([0, 1, 2]));
    let spares_none = Scheme::new(2, 1, 2).unwrap();
    assert_eq!(open_stripes(spares_none, &all), BTreeSet::from([1]));
}

#[test]
fn parts_of_open_stripes_are_kept_and_later_removed() {
    let mut small = small_bundle();
    stripe_up(&mut small);
    small.lose(1);
    with_extraction(&small.entries, |extraction| {
        keep_shards(&small.bundle, extraction, &[bad(1, PartState::Missing)]).unwrap();
        assert_eq!(kept(extraction), [file_name(2)]);
        let copy = std::fs::read(extraction.staging.kept_parts().join(file_name(2))).unwrap();
        assert!(copy == std::fs::read(small.part_file(2)).unwrap());
        keep_shards(&small.bundle, extraction, &[bad(3, PartState::Missing)]).unwrap();
        assert_eq!(kept(extraction), [file_name(3), file_name(4)]);
    });
}

#[test]
fn obsolete_copies_are_removed_where_no_room_is_left() {
    let mut small = small_bundle();
    stripe_up(&mut small);
    let entries = [small.entries.clone(), vec![file("more than any disk holds", 1 << 60)]].concat();
    with_extraction(&entries, |extraction| {
        let kept_parts = extraction.staging.kept_parts();
        std::fs::create_dir(&kept_parts).unwrap();
        std::fs::write(kept_parts.join(file_name(4)), b"copy").unwrap();
        keep_shards(&small.bundle, extraction, &[bad(1, PartState::Missing)]).unwrap();
        assert!(kept(extraction).is_empty());
    });
}

#[test]
#[cfg_attr(not(run_as_root), ignore = "needs root, to mount a memory that holds few files")]
fn copies_end_where_the_target_takes_no_more_files() {
    let mut small = small_bundle();
    stripe_up(&mut small);
    let memory = tempfile::tempdir().unwrap();
    let mount = |words: &[&str]| std::process::Command::new(words[0]).args(&words[1..]).arg(memory.path()).status();
    assert!(mount(&["mount", "-t", "tmpfs", "-o", "nr_inodes=12", "none"]).unwrap().success());
    let kept = {
        let staging = Staging::begin(memory.path(), &small.entries, &sha256(b"work")).unwrap();
        let contents = Contents::new(&small.entries);
        let extraction = Extraction::new(&small.entries, &contents, &staging);
        let mut files = Vec::new();
        while let Ok(file) = std::fs::File::create(memory.path().join(files.len().to_string())) {
            files.push(file);
        }
        let mut copies = Vec::new();
        // With no room for a file, with room for the folder of copies alone, and with room for one file more.
        for freed in 0..3 {
            let ended = keep_shards(&small.bundle, &extraction, &[bad(1, PartState::Missing)]);
            let folder = std::fs::read_dir(staging.kept_parts());
            copies.push(ended.map(|()| folder.into_iter().flatten().count()).map_err(|error| error.to_string()));
            std::fs::remove_file(memory.path().join(freed.to_string())).unwrap();
        }
        copies
    };
    mount(&["umount", "-l"]).unwrap();
    assert_eq!(kept, [Ok(0), Ok(0), Ok(0)]);
}

#[test]
fn a_bundle_without_parity_keeps_no_parts() {
    let small = small_bundle();
    with_extraction(&small.entries, |extraction| {
        keep_shards(&small.bundle, extraction, &[bad(1, PartState::Missing)]).unwrap();
        assert!(!extraction.staging.kept_parts().exists());
    });
}

#[test]
fn a_link_in_the_place_of_kept_parts_is_not_followed() {
    let mut small = small_bundle();
    stripe_up(&mut small);
    let elsewhere = tempfile::tempdir().unwrap();
    with_extraction(&small.entries, |extraction| {
        std::os::unix::fs::symlink(elsewhere.path(), extraction.staging.kept_parts()).unwrap();
        keep_shards(&small.bundle, extraction, &[bad(1, PartState::Missing)]).unwrap();
        add_kept(&mut small.bundle, extraction).unwrap();
    });
    assert_eq!(std::fs::read_dir(elsewhere.path()).unwrap().count(), 0);
    assert_eq!(small.bundle.volumes.len(), 1);
}

#[test]
fn kept_parts_count_as_one_volume() {
    let mut small = small_bundle();
    stripe_up(&mut small);
    with_extraction(&small.entries, |extraction| {
        keep_shards(&small.bundle, extraction, &[bad(1, PartState::Missing)]).unwrap();
        add_kept(&mut small.bundle, extraction).unwrap();
        add_kept(&mut small.bundle, extraction).unwrap();
        let dirs: Vec<&Path> = small.bundle.volumes.iter().map(|volume| volume.dir.as_path()).collect();
        assert_eq!(dirs, [small.drive.path(), &extraction.staging.kept_parts()]);
    });
}

#[test]
fn a_copy_has_zeros_for_what_cannot_be_read() {
    let small = small_bundle();
    let len = CLASS.file_len() as u64;
    let copy = small.drive.path().join("copy");
    assert!(!copy_with_zeros(&small.part_file(1), &copy, len).unwrap());
    assert!(std::fs::read(&copy).unwrap() == std::fs::read(small.part_file(1)).unwrap());
    let half = std::fs::read(small.part_file(2)).unwrap()[..2 * SEALED_CHUNK].to_vec();
    std::fs::write(small.part_file(2), &half).unwrap();
    assert!(copy_with_zeros(&small.part_file(2), &copy, len).unwrap());
    let copied = std::fs::read(&copy).unwrap();
    assert_eq!(copied.len() as u64, len);
    assert!(copied[..half.len()] == half && copied[half.len()..].iter().all(|byte| *byte == 0));
}

#[test]
fn a_file_that_cannot_be_opened_is_not_copied() {
    let folder = tempfile::tempdir().unwrap();
    assert!(!copy_with_zeros(&folder.path().join("part"), &folder.path().join("copy"), 10).unwrap());
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn whole_files_need_no_room_beside_the_copies() {
    let entries = [file("a", 100), file("b", 20)];
    with_extraction(&entries, |extraction| {
        assert_eq!(bytes_to_write(extraction), 120);
        extraction.set_delivered(0);
        assert_eq!(bytes_to_write(extraction), 20);
    });
}
