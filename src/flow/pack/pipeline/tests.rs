//! Small packings onto real folders, which stand for drives.

use std::path::PathBuf;

use super::*;
use crate::base::digest::{quick, sha256};
use crate::base::entry::Kind;
use crate::base::monitor::Silent;
use crate::base::monitor::fake::Heard;
use crate::flow::drives::drive::DriveState;
use crate::flow::error::DriveError;
use crate::format::head::PartId::{Data, Parity};
use crate::format::part::PartBuf;
use crate::plan::layout::lay_out;
use crate::plan::placement::{DriveRoom, Fill};
use crate::stage::seal::{Identity, Keyring};
use crate::stage::stream::PartOpener;
use crate::stage::volume::Writer;
use crate::stage::walk::walk;

pub(crate) const CLASS: Class = Class::ALL[0];

/// Bytes that do not compress, the same each time.
pub(crate) fn noise(len: usize) -> Vec<u8> {
    let next =
        |state: &u64| Some(state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407));
    std::iter::successors(next(&1), next).map(|state| (state >> 56) as u8).take(len).collect()
}

/// Sources that fill three data parts of 1 MiB, and what a packing of them needs.
pub(crate) struct Desk {
    folder: tempfile::TempDir,
    pub(crate) walk: Walk,
    pub(crate) layout: Layout,
    ring: Keyring,
    recipient: Recipient,
    log: JournalWriter,
    pub(crate) before: Before,
    pub(crate) scheme: Option<Scheme>,
}

impl Desk {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let source = folder.path().join("source");
        std::fs::create_dir(&source).unwrap();
        std::fs::write(source.join("long"), noise(2_500_000)).unwrap();
        std::fs::write(source.join("short"), b"short").unwrap();
        let mut walk = walk(&[source], &Silent).unwrap();
        let layout = lay_out(&mut walk.entries, &mut Vec::new());
        let identity = Identity::generate();
        let recipient = identity.recipient();
        let mut ring = Keyring::new();
        ring.add(identity);
        let log = JournalWriter::create(&[folder.path().to_path_buf()], "BEGUN\n").unwrap();
        Self { folder, walk, layout, ring, recipient, log, before: Before::default(), scheme: None }
    }

    pub(crate) fn with_parity() -> Self {
        Self { scheme: Scheme::new(2, 1, 1), ..Self::new() }
    }

    pub(crate) fn source(&self, name: &str) -> PathBuf {
        self.folder.path().join("source").join(name)
    }

    /// How many parts its journal has.
    pub(crate) fn noted_parts(&self) -> usize {
        self.log.parts()
    }

    /// The text of its journal.
    pub(crate) fn journal(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("journal")).unwrap()
    }

    pub(crate) fn job(&self) -> PackJob<'_> {
        PackJob {
            walk: &self.walk,
            layout: &self.layout,
            class: CLASS,
            bundle: [7; 16],
            recipient: &self.recipient,
            level: Level::Quick,
            estimate: self.layout.len,
            scheme: self.scheme,
            before: &self.before,
            log: &self.log,
            monitor: &Silent,
        }
    }

    /// Drives with one volume each: drive 0 has volume 1, and so on.
    pub(crate) fn drives(&self, count: usize) -> Vec<Drive> {
        let drive = |at: usize| {
            let place = tempfile::tempdir_in(self.folder.path()).unwrap().keep();
            let writers = vec![Writer::create(&place, VolumeNumber::from_index(at)).unwrap()];
            Drive { id: DriveId(at), device: at as u64, place, writers, state: DriveState::InUse }
        };
        (0..count).map(drive).collect()
    }

    /// Volumes that take so many parts each.
    pub(crate) fn placement(&self, parts: &[u64]) -> Placement {
        let room = |(device, parts): (u64, &u64)| {
            let free = parts * CLASS.file_len() as u64 + 500_000;
            DriveRoom { device, free, cluster: 512, cap: None, reserve: 0 }
        };
        let rooms: Vec<DriveRoom> = (1..).zip(parts).map(room).collect();
        Placement::new(&rooms, CLASS, Fill::Spread, self.scheme)
    }

    /// The plaintext of a part as its drive has it.
    pub(crate) fn open(&self, part: &Part, drives: &[Drive]) -> Vec<u8> {
        let file = std::fs::read(file_of(part, drives)).unwrap();
        assert_eq!(sha256(&file), part.sha256);
        let mut buf = PartBuf::new(CLASS);
        buf.file_mut().copy_from_slice(&file);
        let (file_key, _) = self.ring.open_header(&part.header[..]).unwrap();
        assert!(PartOpener::new(&file_key, &part.header, CLASS.chunks()).open_all(&mut buf).is_empty());
        (0..CLASS.chunks()).flat_map(|chunk| buf.plain(chunk).to_vec()).collect()
    }
}

/// The file of a part on drives that [`Desk::drives`] made.
pub(crate) fn file_of(part: &Part, drives: &[Drive]) -> PathBuf {
    drives[part.volume.index()].writers[0].dir().join(part.file_name())
}

/// Removes the volume of a drive, so that every write to it fails.
pub(crate) fn break_drive(drive: &Drive) {
    std::fs::remove_dir_all(drive.writers[0].dir()).unwrap();
}

pub(crate) fn ids(parts: &[Part]) -> Vec<PartId> {
    parts.iter().map(Part::id).collect()
}

/// Whether every file of the desk has its own digest.
fn has_all_digests(desk: &Desk, files: &[(Digest, Flag)]) -> bool {
    let content = |at: usize| std::fs::read(desk.walk.real_path(at)).unwrap();
    let is_file = |at: &usize| desk.walk.entries[*at].kind == Kind::File;
    (0..desk.walk.entries.len()).filter(is_file).all(|at| files[at] == (sha256(&content(at)), Flag::Clean))
}

#[test]
fn all_of_the_tar_is_on_the_drives_afterwards() {
    let desk = Desk::new();
    let mut drives = desk.drives(2);
    let result = run(&desk.job(), desk.placement(&[9, 9]), &mut drives).unwrap();
    assert_eq!(ids(&result.parts), [Data(1), Data(2), Data(3)]);
    result.parts.iter().for_each(|part| drop(desk.open(part, &drives)));
    assert_eq!(result.recipes.values().map(Recipe::length).sum::<u64>(), desk.layout.len);
    assert!(result.unwritten.is_empty() && result.failed.is_empty() && result.distrusted.is_empty());
    assert!(has_all_digests(&desk, &result.files));
}

#[test]
fn every_stripe_gets_its_parity_on_a_drive_of_its_own() {
    let desk = Desk::with_parity();
    let result = run(&desk.job(), desk.placement(&[9, 9, 9]), &mut desk.drives(3)).unwrap();
    assert_eq!(ids(&result.parts), [Data(1), Data(2), Data(3), Parity(1), Parity(2)]);
    for stripe in 0..2 {
        let of_stripe = result.parts.iter().filter(|part| part.shard.is_some_and(|shard| shard.stripe == stripe));
        let volumes: Vec<VolumeNumber> = of_stripe.map(|part| part.volume).collect();
        assert_eq!(volumes.iter().collect::<BTreeSet<_>>().len(), volumes.len(), "{volumes:?}");
    }
}

#[test]
fn a_drive_that_fails_does_not_stop_the_others() {
    let desk = Desk::new();
    let mut drives = desk.drives(2);
    break_drive(&drives[0]);
    let result = run(&desk.job(), desk.placement(&[9, 9]), &mut drives).unwrap();
    assert_eq!(result.failed.iter().map(|failed| failed.drive).collect::<Vec<_>>(), [DriveId(0)]);
    assert!(!result.unwritten.is_empty() && result.unwritten.iter().all(|part| part.volume == 1));
    assert!(result.parts.iter().all(|part| part.volume == 2));
    assert_eq!(result.parts.len() + result.unwritten.len(), 3);
}

#[test]
fn the_last_drive_that_fails_ends_the_run() {
    let desk = Desk::new();
    let mut drives = desk.drives(1);
    break_drive(&drives[0]);
    let error = run(&desk.job(), desk.placement(&[9]), &mut drives).err().unwrap();
    assert!(matches!(error, FlowError::Io(_)), "{error}");
}

#[test]
fn drives_that_run_full_end_the_run_with_how_far_it_came() {
    let desk = Desk::new();
    let error = run(&desk.job(), desk.placement(&[2]), &mut desk.drives(1)).err().unwrap();
    let FlowError::Drive(DriveError::RanFull { packed, total }) = error else { panic!("{error}") };
    assert!(0 < packed && packed < total && total == desk.layout.len);
}

#[test]
fn a_run_that_is_asked_to_stop_does() {
    let desk = Desk::new();
    let job = PackJob { monitor: &Heard::stopping(), ..desk.job() };
    let error = run(&job, desk.placement(&[9]), &mut desk.drives(1)).err().unwrap();
    assert!(matches!(error, FlowError::Cancelled), "{error}");
}

/// The first two parts of a packing, as an earlier run could have left them.
fn two_parts_of(desk: &Desk, drives: &mut [Drive]) -> Before {
    let PipelineResult { mut parts, mut recipes, .. } = run(&desk.job(), desk.placement(&[9]), drives).unwrap();
    parts.truncate(2);
    recipes.remove(&3);
    let tar = recipes.values().map(Recipe::length).sum::<u64>();
    let mut bytes = vec![0; tar as usize];
    SourceReader::new(&desk.walk, &desk.layout, &Silent).raw(0, &mut bytes).unwrap();
    let reads = vec![ReadRange { start: 0, len: tar, hash: quick(&bytes) }];
    Before { parts, data: 2, tar, stripes: 0, reads, recipes }
}

#[test]
fn a_later_run_packs_only_what_the_earlier_one_did_not() {
    let mut desk = Desk::new();
    let mut drives = desk.drives(1);
    desk.before = two_parts_of(&desk, &mut drives);
    let result = run(&desk.job(), desk.placement(&[9]), &mut drives).unwrap();
    assert_eq!(result.parts[..2], desk.before.parts);
    assert_eq!(ids(&result.parts), [Data(1), Data(2), Data(3)]);
    assert_eq!(result.recipes[&3].offset, desk.before.tar);
    assert!(has_all_digests(&desk, &result.files), "the sources are read again for the list");
}

#[test]
fn parts_that_lost_their_drive_are_missing_from_the_earlier_run() {
    let mut before = Before { data: 3, ..Before::default() };
    before.parts = vec![crate::flow::pack::part_ledger::tests::part(Data(2), 1)];
    assert_eq!(before.lost(None), [Data(1), Data(3)]);
    assert_eq!(before.lost(Scheme::new(3, 1, 1)), [Data(1), Data(3), Parity(1)]);
}
