//! A whole bundle on three small volumes, of which some are hurt and repaired.

use std::fs;

use super::*;
use crate::base::digest::sha256;
use crate::base::monitor::Silent;
use crate::base::secret::Secret;
use crate::flow::Outcome;
use crate::flow::bundle::index_files::list_of;
use crate::flow::bundle::test_bundle::{CLASS, keyring, pack_volumes, seal_plain};
use crate::format::head::tests::striped;
use crate::format::head::{Head, parts_hash};
use crate::format::part::{CHUNK, HEADER};
use crate::format::seal::{Mode, Seal, commitment};
use crate::format::volume_number::tests::volumes;
use crate::stage::erasure::Code;
use crate::stage::seal::Identity;

/// A bundle of two data parts, on volumes 1 and 2, and their parity, on volume 3.
struct RepairDesk {
    drive: tempfile::TempDir,
    target: tempfile::TempDir,
    keyring: Keyring,
}

/// The plaintext chunks of the three parts, in the order of the head.
fn plaintexts(head: &Head) -> Vec<Vec<Vec<u8>>> {
    let scheme = head.statement.scheme.unwrap();
    let chunks = head.statement.class.chunks();
    let code = Code::new(scheme.k.into(), scheme.m.into());
    let mut all = vec![vec![vec![0; CHUNK]; chunks]; 3];
    for position in 0..2u16 {
        for chunk in 0..chunks {
            let bytes: Vec<u8> = (0..CHUNK).map(|at| (at * 7 + chunk * 31 + usize::from(position)) as u8).collect();
            let row = scheme.row_of(chunk, position, chunks);
            code.add(position.into(), &bytes, 2, &mut all[2][scheme.chunk_of(row, 2, chunks)]);
            all[usize::from(position)][chunk] = bytes;
        }
    }
    all
}

impl RepairDesk {
    fn new() -> Self {
        let drive = tempfile::tempdir().unwrap();
        let target = tempfile::tempdir().unwrap();
        let secret = Secret::random();
        let identity = Identity::from_secret(&secret);
        let recipient = identity.recipient();
        let mut head = striped(2, 2, 1);
        head.statement.class = CLASS;
        head.statement.kcommit = commitment(&head.statement.bundle, secret.expose());
        let (list, list_hash) = list_of(&[], head.statement.tar).unwrap();
        head.statement.list_hash = list_hash;
        let mut files = Vec::new();
        let plain = plaintexts(&head);
        for (part, chunks) in head.parts.iter_mut().zip(&plain) {
            let (header, sha256, file) = seal_plain(&chunks.concat(), &recipient);
            (*part.header, part.sha256) = (header, sha256);
            files.push(file);
        }
        head.statement.parts_hash = parts_hash(&head.parts);
        let seal = Seal {
            bundle: head.statement.bundle,
            mode: Mode::Normal,
            kcommit: head.statement.kcommit,
            cards: None,
            identity: identity.to_text(),
        };
        let owner = Identity::generate();
        let volumes = pack_volumes(drive.path(), (&seal, &recipient), &owner.recipient(), (&head, &files), &list);
        for mut volume in volumes {
            volume.write_sums().unwrap();
            volume.finish().unwrap();
        }
        Self { drive, target, keyring: keyring(&[&owner]) }
    }

    fn volume(&self, number: u16) -> PathBuf {
        volume::folder(self.drive.path(), VolumeNumber::new(number))
    }

    fn new_volume(&self, number: u16) -> PathBuf {
        volume::folder(self.target.path(), VolumeNumber::new(number))
    }

    fn lose(&self, number: u16) {
        fs::remove_dir_all(self.volume(number)).unwrap();
    }

    /// Changes the bytes of a part from `from` on, and leaves the length.
    fn damage(&self, number: u16, name: &str, from: usize, len: usize) {
        let path = self.volume(number).join(name);
        let mut bytes = fs::read(&path).unwrap();
        let end = bytes.len().min(from + len);
        bytes[from..end].iter_mut().for_each(|byte| *byte ^= 0x55);
        fs::write(&path, bytes).unwrap();
    }

    fn repair(&self, dry_run: bool) -> Result<RepairReport, FlowError> {
        let volumes = vec![self.drive.path().to_path_buf()];
        let target = self.target.path().to_path_buf();
        repair(&RepairRequest { volumes, bundle: None, target, dry_run }, &self.keyring, &Silent)
    }

    fn is_target_empty(&self) -> bool {
        fs::read_dir(self.target.path()).unwrap().next().is_none()
    }
}

#[test]
fn of_whole_volumes_none_is_written() {
    let bundle = RepairDesk::new();
    let report = bundle.repair(false).unwrap();
    assert_eq!((report.volumes.len(), report.outcome()), (0, Outcome::Ok));
    assert!(bundle.is_target_empty());
}

#[test]
fn a_whole_volume_is_known_by_its_parts_under_any_name() {
    let bundle = RepairDesk::new();
    fs::rename(bundle.volume(1), bundle.drive.path().join("copy")).unwrap();
    assert!(bundle.repair(false).unwrap().volumes.is_empty());
}

#[test]
fn a_lost_volume_is_rebuilt_byte_for_byte() {
    let bundle = RepairDesk::new();
    let part = fs::read(bundle.volume(1).join("000001.age")).unwrap();
    bundle.lose(1);
    let report = bundle.repair(false).unwrap();
    assert_eq!((report.volumes, report.rebuilt), (volumes([1]), 1));
    assert_eq!(report.written, [bundle.new_volume(1)]);
    assert!(fs::read(bundle.new_volume(1).join("000001.age")).unwrap() == part);
    let checked = check(&[bundle.new_volume(1)], &Silent).unwrap();
    assert_eq!(checked.volumes[0].state, VolumeState::Whole);
}

#[test]
fn a_damaged_volume_is_written_beside_the_old_one() {
    let bundle = RepairDesk::new();
    let part = fs::read(bundle.volume(2).join("000002.age")).unwrap();
    bundle.damage(2, "000002.age", HEADER + 5, 1);
    let damaged = fs::read(bundle.volume(2).join("000002.age")).unwrap();
    let report = bundle.repair(false).unwrap();
    assert_eq!((report.volumes, report.rebuilt), (volumes([2]), 1));
    assert!(fs::read(bundle.new_volume(2).join("000002.age")).unwrap() == part);
    assert!(fs::read(bundle.volume(2).join("000002.age")).unwrap() == damaged, "the old one stays as it is");
}

#[test]
fn a_part_that_is_whole_is_copied_where_only_the_head_is_lost() {
    let bundle = RepairDesk::new();
    fs::remove_file(bundle.volume(3).join("head2.age")).unwrap();
    let report = bundle.repair(false).unwrap();
    assert_eq!((report.volumes, report.rebuilt), (volumes([3]), 0));
    let old = fs::read(bundle.volume(3).join("000001.par")).unwrap();
    assert!(fs::read(bundle.new_volume(3).join("000001.par")).unwrap() == old);
}

#[test]
fn if_too_many_drives_are_lost_nothing_is_written() {
    let bundle = RepairDesk::new();
    bundle.lose(1);
    bundle.lose(2);
    let report = bundle.repair(false).unwrap();
    assert_eq!((&report.lost[..], report.outcome()), (&[1, 2][..], Outcome::Incomplete));
    assert!(bundle.is_target_empty());
}

#[test]
fn if_too_much_is_damaged_more_drives_would_not_help() {
    let bundle = RepairDesk::new();
    bundle.damage(1, "000001.age", HEADER, usize::MAX / 2);
    bundle.damage(2, "000002.age", HEADER, usize::MAX / 2);
    let report = bundle.repair(false).unwrap();
    assert_eq!((&report.lost[..], report.outcome()), (&[1, 2][..], Outcome::Damaged));
    assert!(bundle.is_target_empty());
}

#[test]
fn a_dry_run_names_the_volumes_and_writes_none() {
    let bundle = RepairDesk::new();
    bundle.lose(3);
    let report = bundle.repair(true).unwrap();
    assert_eq!((report.volumes, report.written.len()), (volumes([3]), 0));
    assert!(bundle.is_target_empty());
}

#[test]
fn what_an_earlier_repair_finished_is_not_written_again() {
    let bundle = RepairDesk::new();
    bundle.lose(1);
    bundle.repair(false).unwrap();
    let again = bundle.repair(false).unwrap();
    assert_eq!((again.volumes.len(), again.rebuilt), (0, 0));
    assert_eq!(again.already, [bundle.new_volume(1)]);
}

#[test]
fn a_leftover_makes_way_and_a_foreign_folder_does_not() {
    let bundle = RepairDesk::new();
    bundle.lose(1);
    fs::create_dir(bundle.new_volume(1)).unwrap();
    fs::copy(bundle.volume(2).join("seal.age"), bundle.new_volume(1).join("seal.age")).unwrap();
    fs::write(bundle.new_volume(1).join("unfinished.tmp"), b"half a part").unwrap();
    let report = bundle.repair(false).unwrap();
    assert_eq!(report.written, [bundle.new_volume(1)]);
    assert!(!bundle.new_volume(1).join("unfinished.tmp").exists());
    bundle.lose(2);
    fs::create_dir(bundle.new_volume(2)).unwrap();
    fs::write(bundle.new_volume(2).join("notes.txt"), b"mine").unwrap();
    let error = bundle.repair(false).err().unwrap();
    assert!(matches!(error, FlowError::Output(OutputError::VolumeExists(_))), "{error}");
}

/// A report of one volume in that state.
fn checked(state: VolumeState) -> CheckReport {
    let drive = tempfile::tempdir().unwrap();
    fs::write(drive.path().join("seal.age"), b"seal").unwrap();
    let mut report = check(&[drive.path().to_path_buf()], &Silent).unwrap();
    (report.volumes[0].state, report.volumes[0].folder) = (state, "/d/volume-1".into());
    report
}

#[test]
fn a_volume_that_may_be_whole_stops_the_repair() {
    let gone = check_all_known(&checked(VolumeState::Gone), &[]);
    assert!(matches!(gone, Err(FlowError::Drive(DriveError::Gone(folders))) if folders.len() == 1));
    let denied = check_all_known(&checked(VolumeState::Unreadable), &[]);
    assert!(matches!(denied, Err(FlowError::Drive(DriveError::Denied(folders))) if folders.len() == 1));
    assert!(check_all_known(&checked(VolumeState::Damaged), &[]).is_ok());
}

#[test]
fn an_unreadable_volume_of_another_bundle_does_not_stop_the_repair() {
    let fault = crate::format::FormatError::malformed("it", 0, "no");
    let other = Volume::unread(Path::new("/d/volume-1"), fault.into());
    assert!(check_all_known(&checked(VolumeState::Unreadable), &[other]).is_ok());
}

#[test]
fn a_volume_without_parts_is_known_by_its_name_alone() {
    let mut head = striped(2, 2, 1);
    head.parts[0].sha256 = sha256(b"part");
    let part = &head.parts[0];
    let volume = |named, files: &[(&str, Digest)]| WholeVolume {
        named,
        files: files.iter().map(|(name, sum)| (name.to_string(), *sum)).collect(),
    };
    let [first, seventh] = [1, 7].map(VolumeNumber::new);
    assert!(volume(Some(seventh), &[]).stands_for(seventh, &[]) && !volume(None, &[]).stands_for(seventh, &[]));
    assert!(volume(None, &[("000001.age", part.sha256)]).stands_for(first, &[part]));
    assert!(!volume(Some(first), &[("000001.age", sha256(b"else"))]).stands_for(first, &[part]));
    assert!(!volume(Some(first), &[]).stands_for(first, &[part]));
}
