//! A whole bundle on three small volumes, of which some are hurt and repaired.

use std::fs;

use super::*;
use crate::base::digest::sha256;
use crate::base::monitor::Silent;
use crate::base::secret::Secret;
use crate::flow::Outcome;
use crate::flow::bundle::index_files::{head_of, list_of, seals, write_index};
use crate::format::head::tests::striped;
use crate::format::head::{Head, parts_hash};
use crate::format::part::{CHUNK, Class, HEADER, PartBuf};
use crate::format::seal::{Mode, Seal, commitment};
use crate::format::volume_number::tests::volumes;
use crate::stage::erasure::Code;
use crate::stage::seal::{Identity, part_header};
use crate::stage::stream::PartSealer;
use crate::stage::volume::Writer;

/// A bundle of two data parts, on volumes 1 and 2, and their parity, on volume 3.
struct SmallBundle {
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

impl SmallBundle {
    fn new() -> Self {
        let drive = tempfile::tempdir().unwrap();
        let target = tempfile::tempdir().unwrap();
        let secret = Secret::random();
        let identity = Identity::from_secret(&secret);
        let recipient = identity.recipient();
        let mut head = striped(2, 2, 1);
        head.statement.class = Class::ALL[0];
        head.statement.kcommit = commitment(&head.statement.bundle, secret.expose());
        let (list, list_hash) = list_of(&[], head.statement.tar).unwrap();
        head.statement.list_hash = list_hash;
        let mut files = Vec::new();
        let plain = plaintexts(&head);
        for (part, chunks) in head.parts.iter_mut().zip(&plain) {
            let (header, key) = part_header(&recipient);
            let mut file = PartBuf::new(head.statement.class);
            let mut sealer = PartSealer::new(&key, &header, &mut file, |_, _| ());
            chunks.iter().for_each(|chunk| sealer.append(chunk));
            part.sha256 = sealer.finish();
            *part.header = header;
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
        let sealed_head = head_of(&head).unwrap();
        for (part, file) in head.parts.iter().zip(&files) {
            let mut writer = Writer::create(drive.path(), part.volume).unwrap();
            for (name, bytes) in seals((&seal, &recipient), &[owner.recipient()], None).unwrap() {
                writer.put(name, &bytes, sha256(&bytes)).unwrap();
            }
            writer.put(&part.file_name(), file.file(), part.sha256).unwrap();
            write_index(&mut writer, &list, &sealed_head, &recipient).unwrap();
            writer.write_sums().unwrap();
            writer.finish().unwrap();
        }
        let mut keyring = Keyring::new();
        keyring.add(owner);
        Self { drive, target, keyring }
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
    let bundle = SmallBundle::new();
    let report = bundle.repair(false).unwrap();
    assert_eq!((report.volumes.len(), report.outcome()), (0, Outcome::Ok));
    assert!(bundle.is_target_empty());
}

#[test]
fn a_whole_volume_is_known_by_its_parts_under_any_name() {
    let bundle = SmallBundle::new();
    fs::rename(bundle.volume(1), bundle.drive.path().join("copy")).unwrap();
    assert!(bundle.repair(false).unwrap().volumes.is_empty());
}

#[test]
fn a_lost_volume_is_rebuilt_byte_for_byte() {
    let bundle = SmallBundle::new();
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
    let bundle = SmallBundle::new();
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
    let bundle = SmallBundle::new();
    fs::remove_file(bundle.volume(3).join("head2.age")).unwrap();
    let report = bundle.repair(false).unwrap();
    assert_eq!((report.volumes, report.rebuilt), (volumes([3]), 0));
    let old = fs::read(bundle.volume(3).join("000001.par")).unwrap();
    assert!(fs::read(bundle.new_volume(3).join("000001.par")).unwrap() == old);
}

#[test]
fn if_too_many_drives_are_lost_nothing_is_written() {
    let bundle = SmallBundle::new();
    bundle.lose(1);
    bundle.lose(2);
    let report = bundle.repair(false).unwrap();
    assert_eq!((&report.lost[..], report.outcome()), (&[1, 2][..], Outcome::Incomplete));
    assert!(bundle.is_target_empty());
}

#[test]
fn if_too_much_is_damaged_more_drives_would_not_help() {
    let bundle = SmallBundle::new();
    bundle.damage(1, "000001.age", HEADER, usize::MAX / 2);
    bundle.damage(2, "000002.age", HEADER, usize::MAX / 2);
    let report = bundle.repair(false).unwrap();
    assert_eq!((&report.lost[..], report.outcome()), (&[1, 2][..], Outcome::Damaged));
    assert!(bundle.is_target_empty());
}

#[test]
fn a_dry_run_names_the_volumes_and_writes_none() {
    let bundle = SmallBundle::new();
    bundle.lose(3);
    let report = bundle.repair(true).unwrap();
    assert_eq!((report.volumes, report.written.len()), (volumes([3]), 0));
    assert!(bundle.is_target_empty());
}

#[test]
fn what_an_earlier_repair_finished_is_not_written_again() {
    let bundle = SmallBundle::new();
    bundle.lose(1);
    bundle.repair(false).unwrap();
    let again = bundle.repair(false).unwrap();
    assert_eq!((again.volumes.len(), again.rebuilt), (0, 0));
    assert_eq!(again.already, [bundle.new_volume(1)]);
}

#[test]
fn a_leftover_makes_way_and_a_foreign_folder_does_not() {
    let bundle = SmallBundle::new();
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
