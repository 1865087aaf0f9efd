//! What an interrupted repair leaves in a target, and what is not taken for that.

use super::*;
use crate::base::digest::sha256;
use crate::base::monitor::Silent;
use crate::format::head::tests::striped;
use crate::stage::seal::{Identity, Keyring, header_for};

const SEAL: (&str, &[u8]) = ("seal.age", b"the bundle's seal");

/// A folder for volume 1 in a target, and a bundle whose one volume here has [`SEAL`].
struct LeftoverPlace {
    _drive: tempfile::TempDir,
    bundle: Bundle,
    dir: PathBuf,
}

impl LeftoverPlace {
    /// With these files in the folder.
    fn with(files: &[(&str, &[u8])]) -> Self {
        let drive = tempfile::tempdir().unwrap();
        let given = drive.path().join("given");
        fs::create_dir(&given).unwrap();
        fs::write(given.join(SEAL.0), SEAL.1).unwrap();
        let identity = Identity::generate();
        let recipient = identity.recipient();
        let mut head = striped(2, 2, 1);
        head.parts.iter_mut().for_each(|part| part.sha256 = sha256(part.file_name().as_bytes()));
        let mut keyring = Keyring::new();
        keyring.add(identity);
        let volumes = vec![volume::read(&given).unwrap()];
        let bundle = Bundle { head, keyring, recipient, volumes, passed_over: Vec::new(), notes: Vec::new() };
        let dir = drive.path().join("volume-1");
        fs::create_dir(&dir).unwrap();
        files.iter().for_each(|(name, bytes)| fs::write(dir.join(name), bytes).unwrap());
        Self { _drive: drive, bundle, dir }
    }

    fn occupant(&self) -> Occupant {
        occupant_of(&self.dir, VolumeNumber::new(1), &self.bundle, &Silent).unwrap()
    }
}

fn occupant_among(files: &[(&str, &[u8])]) -> Occupant {
    LeftoverPlace::with(files).occupant()
}

#[test]
fn a_folder_that_is_missing_or_empty_is_free() {
    let place = LeftoverPlace::with(&[]);
    assert_eq!(place.occupant(), Occupant::Free);
    fs::remove_dir(&place.dir).unwrap();
    assert_eq!(place.occupant(), Occupant::Free);
}

#[test]
fn a_leftover_has_a_seal_of_the_bundle_and_nothing_of_another() {
    assert_eq!(occupant_among(&[SEAL]), Occupant::Leftover(17));
    assert_eq!(occupant_among(&[("seal.age", b"another seal")]), Occupant::Foreign);
    assert_eq!(occupant_among(&[SEAL, ("notes.txt", b"mine")]), Occupant::Foreign);
    assert_eq!(occupant_among(&[SEAL, ("unfinished.tmp", b"anything")]), Occupant::Leftover(25));
}

#[test]
fn only_whole_parts_of_the_same_volume_are_a_leftover() {
    let own: (&str, &[u8]) = ("000001.age", b"000001.age");
    assert_eq!(occupant_among(&[SEAL, own]), Occupant::Leftover(27));
    assert_eq!(occupant_among(&[own]), Occupant::Foreign, "no seal says whose it is");
    assert_eq!(occupant_among(&[SEAL, ("000001.age", b"000002.age")]), Occupant::Foreign);
    assert_eq!(occupant_among(&[SEAL, ("000002.age", b"000002.age")]), Occupant::Foreign, "it is of volume 2");
}

#[test]
fn a_lone_unfinished_file_is_a_leftover_if_it_is_the_beginning_of_a_seal() {
    assert_eq!(occupant_among(&[("unfinished.tmp", b"the bundle")]), Occupant::Leftover(10));
    assert_eq!(occupant_among(&[("unfinished.tmp", b"the letter")]), Occupant::Foreign);
}

#[test]
fn a_finished_volume_is_no_leftover() {
    assert_eq!(occupant_among(&[SEAL, ("SHA256SUMS", b"")]), Occupant::Foreign);
    assert_eq!(occupant_among(&[SEAL, ("sha256sums", b"")]), Occupant::Foreign, "the drive shows other capitals");
    let place = LeftoverPlace::with(&[SEAL]);
    fs::create_dir(place.dir.join("photos")).unwrap();
    assert_eq!(place.occupant(), Occupant::Foreign);
}

#[test]
fn a_head_is_a_leftover_if_the_key_opens_it() {
    let place = LeftoverPlace::with(&[SEAL]);
    let head = place.dir.join("head.age");
    fs::write(&head, header_for(std::slice::from_ref(&place.bundle.recipient)).0).unwrap();
    assert!(matches!(place.occupant(), Occupant::Leftover(_)));
    fs::write(&head, header_for(&[Identity::generate().recipient()]).0).unwrap();
    assert_eq!(place.occupant(), Occupant::Foreign);
}

#[test]
fn a_leftover_is_removed_and_its_folder_stays() {
    let place = LeftoverPlace::with(&[SEAL, ("unfinished.tmp", b"")]);
    remove_leftover(&place.dir).unwrap();
    assert_eq!(place.occupant(), Occupant::Free);
    assert!(place.dir.is_dir());
}

#[test]
fn a_target_in_a_volume_is_refused_and_one_beside_it_is_locked() {
    let place = LeftoverPlace::with(&[]);
    let inside = place.bundle.volumes[0].dir.join("below");
    fs::create_dir(&inside).unwrap();
    assert!(matches!(lock_target(&inside, &place.bundle), Err(FlowError::Usage(_))));
    let _lock = lock_target(&place.dir, &place.bundle).unwrap();
    let again = lock_target(&place.dir, &place.bundle);
    assert!(matches!(again, Err(FlowError::Output(OutputError::Busy(_)))));
}

#[test]
fn room_that_becomes_free_counts() {
    let target = tempfile::tempdir().unwrap();
    let check = |lengths: &[u64], freed| check_room(target.path(), lengths.iter().copied(), freed);
    assert!(check(&[], 0).is_ok());
    let refused = check(&[1 << 62], 0);
    assert!(matches!(refused, Err(FlowError::Output(OutputError::NoRoom { needed, .. })) if needed == 1 << 62));
    assert!(check(&[1 << 62], u64::MAX).is_ok());
}

#[test]
fn a_link_to_a_folder_leads_to_the_same_folder() {
    let place = tempfile::tempdir().unwrap();
    let folder = place.path().join("folder");
    let link = place.path().join("link");
    fs::create_dir(&folder).unwrap();
    std::os::unix::fs::symlink(&folder, &link).unwrap();
    assert!(is_same_folder(&folder, &link) && !is_same_folder(&folder, place.path()));
    assert!(is_same_folder(&place.path().join("no"), &place.path().join("no")));
}
