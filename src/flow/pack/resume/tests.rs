//! Interrupted runs in real folders, compared with requests and sources that differ in one way each.

use super::leftover::tests::Leftover;
use super::*;
use crate::base::monitor::Silent;
use crate::base::monitor::fake::Heard;
use crate::flow::pack::request::tests::request;
use crate::format::head::PartId::{self, Data};
use crate::format::journal::{ALL_CLEAN, ReadRange, recipe};
use crate::format::part::Class;
use crate::format::recipe::FrameRecipe;
use crate::plan::parity::Wish;
use crate::plan::placement::Fill;
use crate::stage::compress::Level;
use crate::stage::seal::{Identity, header_for_passphrase};
use crate::stage::stream::Sealer;
use crate::stage::walk::walk;
use std::fs;
use std::io::Write;
use tempfile::TempDir;

/// An interrupted run, the request that it was begun with, and the folder that it packed.
struct Interrupted {
    run: Leftover,
    request: PackRequest,
    source: PathBuf,
    _desk: TempDir,
}

const BEGINNING: &[u8] = b"the beginning of the tar";

impl Interrupted {
    /// A run onto so many drives that packed a folder with one file.
    fn on(drives: u16) -> Self {
        let desk = tempfile::tempdir().unwrap();
        let source = desk.path().join("source");
        fs::create_dir(&source).unwrap();
        fs::write(source.join("clip"), b"frames").unwrap();
        let mut run = Leftover::on(drives);
        let request = request(vec![source.clone()], run.paths.clone());
        let walk = walk(&request.sources, &Silent).unwrap();
        run.opening.options = options(&request);
        run.opening.whom = whom(&request, &walk, BEGINNING);
        run.opening.stamps = walk.marks();
        Self { run, request, source, _desk: desk }
    }

    /// Compares the run with the request and the source as they are now.
    fn check(&self) -> Result<(), FlowError> {
        self.check_after(Ok(()))
    }

    /// The same where the beginning of the tar was read like that.
    fn check_after(&self, read: Result<(), FlowError>) -> Result<(), FlowError> {
        self.run.write_journal(1, "");
        let left = leftover::find(&self.request.outputs).unwrap().unwrap();
        let walk = walk(&self.request.sources, &Silent).unwrap();
        left.check(&self.request, &walk, whom(&self.request, &walk, BEGINNING), read)
    }

    /// Why the run is another one than the request asks for.
    fn difference(&self) -> String {
        let error = self.check().unwrap_err();
        let FlowError::Leftover(LeftoverError::OtherPacking(text)) = error else { panic!("{error}") };
        text
    }
}

#[test]
fn the_same_request_for_the_same_sources_resumes() {
    assert!(Interrupted::on(2).check().is_ok());
}

#[test]
fn a_run_with_other_options_is_another_packing() {
    let mut run = Interrupted::on(1);
    run.request.volume_size = Some(1 << 30);
    assert!(run.difference().ends_with("holds what an interrupted run packed with other options"));
}

#[test]
fn the_options_are_those_that_decide_how_a_bundle_is_cut() {
    let base = || request(vec!["/source".into()], vec!["/drive".into()]);
    let digest = options(&base());
    for other in [
        PackRequest { volumes: Some(1), ..base() },
        PackRequest { volume_size: Some(1), ..base() },
        PackRequest { fill: Fill::Sequential, ..base() },
        PackRequest { parity: Wish { lose: 0, mend: None }, ..base() },
        PackRequest { level: Level::Zstd(3), ..base() },
    ] {
        assert_ne!(options(&other), digest);
    }
    let passphrase = Some(SecretText::new("open sesame".into()));
    for same in [base(), PackRequest { passphrase, verify: Some(true), replaced: true, restart: true, ..base() }] {
        assert_eq!(options(&same), digest, "recipients differ, too");
    }
}

#[test]
fn a_run_onto_more_drives_than_are_given_cannot_be_resumed() {
    let mut run = Interrupted::on(2);
    run.request.outputs.truncate(1);
    assert!(run.difference().ends_with("packed onto 2 volumes, and 1 given now"));
}

#[test]
fn sources_that_changed_are_named() {
    let run = Interrupted::on(1);
    fs::write(run.source.join("clip"), b"other frames").unwrap();
    let error = run.check().unwrap_err();
    let FlowError::Source(SourceError::Changed(changed)) = error else { panic!("{error}") };
    assert_eq!(changed, [run.source.join("clip")]);
}

#[test]
fn sources_that_are_gone_are_counted() {
    let mut run = Interrupted::on(1);
    run.run.opening.stamps.extend([7, 8]);
    assert!(run.difference().ends_with("packed; 2 items of that not among the sources now"));
}

#[test]
fn other_recipients_cannot_open_what_was_packed() {
    let mut run = Interrupted::on(1);
    run.request.recipients = vec![Identity::generate().recipient()];
    assert!(run.difference().contains("is sealed to other recipients than those named now"));
}

#[test]
fn an_unread_beginning_is_no_proof_of_other_recipients() {
    let mut run = Interrupted::on(1);
    let unread = || Err(FlowError::Defect("it was not read".into()));
    assert!(run.check_after(unread()).is_ok(), "the recipients are known to be the same");
    run.request.recipients = vec![Identity::generate().recipient()];
    assert!(matches!(run.check_after(unread()), Err(FlowError::Defect(_))));
}

#[test]
fn a_passphrase_has_to_be_the_one_that_was_sealed_to() {
    let mut run = Interrupted::on(1);
    run.request.passphrase = Some(SecretText::new("open sesame".into()));
    assert!(run.difference().ends_with("opens with no passphrase, and one is asked for now"));
    run.run.opening.seals.push(lost_seal(PASSPHRASE_SEAL));
    let error = run.check().unwrap_err().to_string();
    assert!(error.contains("no seal-p.age is whole on these volumes"), "{error}");
    run.request.passphrase = None;
    assert!(run.difference().ends_with("opens with a passphrase too, and none is asked for now"));
}

#[test]
fn a_damaged_seal_does_not_make_a_passphrase_another_one() {
    let mut run = Interrupted::on(2);
    let passphrase = SecretText::new("open sesame".into());
    let (header, key) = header_for_passphrase(&passphrase);
    let mut sealer = Sealer::new(Vec::new(), &header, &key).unwrap();
    sealer.write_all(b"the key of the bundle").unwrap();
    let sealed = sealer.finish().unwrap();
    for volume in 1..=2 {
        fs::write(run.run.file(volume, PASSPHRASE_SEAL), &sealed).unwrap();
        let seal = VolumeSeal { volume: VolumeNumber::new(volume), ..lost_seal(PASSPHRASE_SEAL) };
        run.run.opening.seals.push(VolumeSeal { sha256: sha256(&sealed), ..seal });
    }
    run.request.passphrase = Some(passphrase);
    assert!(run.check().is_ok());
    fs::write(run.run.file(1, PASSPHRASE_SEAL), [&sealed[..sealed.len() - 1], b"?"].concat()).unwrap();
    assert!(run.check().is_ok(), "volume 2 has it whole");
    run.request.passphrase = Some(SecretText::new("open barley".into()));
    assert!(run.difference().ends_with("opens with another passphrase than the one given now"));
}

#[test]
fn the_order_of_recipients_does_not_matter_and_the_sources_do() {
    let mut run = Interrupted::on(1);
    run.request.recipients.push(Identity::generate().recipient());
    let walk = walk(&run.request.sources, &Silent).unwrap();
    let digest = whom(&run.request, &walk, BEGINNING);
    run.request.recipients.reverse();
    assert_eq!(whom(&run.request, &walk, BEGINNING), digest);
    assert_ne!(whom(&run.request, &walk, b"another beginning"), digest);
    assert_ne!(whom(&run.request, &Walk::default(), BEGINNING), digest);
}

/// Three parts of 512 bytes of tar each lie before the manifests, and a fourth part holds those.
const TAR: TarExtent = TarExtent { len: 2048, tail_start: 1536 };

/// Writes data part `number` to a volume. Returns its lines in the journal.
fn write_part(run: &Leftover, number: u32, volume: u16) -> String {
    let bytes = vec![number as u8; Class::ALL[0].file_len()];
    let offset = u64::from(number - 1) * 512;
    let kind = PartKind::Data { offset, length: 512 };
    let part = WrittenPart { number, kind, volume: VolumeNumber::new(volume), sha256: sha256(&bytes) };
    fs::write(run.file(volume, &part.file_name()), bytes).unwrap();
    recipe(number, &Recipe::new(offset, 0, vec![FrameRecipe::Stored(512)])) + &part.encode()
}

/// A run that read so many bytes of the tar, and wrote parts 1, 2, ... to these volumes.
fn packed(read: u64, between: &str, volumes: &[u16]) -> Leftover {
    let run = Leftover::on(2);
    let read = ReadRange { start: 0, len: read, hash: 0 };
    let parts: String = (1..).zip(volumes).map(|(number, volume)| write_part(&run, number, *volume)).collect();
    run.write_journal(1, &(read.encode() + between + &parts));
    run
}

fn verified(run: &Leftover) -> Before {
    run.found().verify(TAR, false, &Silent).unwrap()
}

fn kept(before: &Before) -> Vec<PartId> {
    before.parts.iter().map(Part::id).collect()
}

#[test]
fn parts_that_are_whole_stay() {
    let before = verified(&packed(1536, "", &[1, 2, 1]));
    assert_eq!(kept(&before), [Data(1), Data(2), Data(3)]);
    assert_eq!((before.data, before.tar, before.stripes, before.reads.len()), (3, 1536, 0, 1));
    assert_eq!((before.parts[1].volume.get(), *before.parts[1].header), (2, [2; HEADER]));
}

#[test]
fn a_damaged_part_before_a_whole_one_is_packed_again() {
    let run = packed(1536, "", &[1, 2, 1]);
    let mut bytes = fs::read(run.file(2, "000002.age")).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(run.file(2, "000002.age"), bytes).unwrap();
    let before = verified(&run);
    assert_eq!((kept(&before), before.data), (vec![Data(1), Data(3)], 3));
    assert_eq!(before.lost(None), [Data(2)]);
}

#[test]
fn a_run_resumes_behind_the_last_part_that_stays() {
    let run = packed(1536, "", &[1, 1, 1]);
    fs::remove_file(run.file(1, "000003.age")).unwrap();
    let before = verified(&run);
    assert_eq!((before.data, before.tar), (2, 1024));
    assert_eq!(before.recipes.keys().copied().collect::<Vec<_>>(), [1, 2]);
}

#[test]
fn parts_behind_a_range_that_was_not_read_well_are_packed_again() {
    let before = verified(&packed(1535, ALL_CLEAN, &[1, 1, 1, 1]));
    assert_eq!((kept(&before), before.tar), (vec![Data(1), Data(2)], 1024));
}

#[test]
fn manifests_stay_only_if_they_have_every_digest() {
    assert_eq!(verified(&packed(1536, "", &[1, 1, 1, 1])).tar, 1536);
    assert_eq!(verified(&packed(1536, ALL_CLEAN, &[1, 1, 1, 1])).tar, 2048);
}

#[test]
fn a_drive_that_is_not_there_has_to_be_called_replaced() {
    let run = packed(1536, "", &[1, 2, 1]);
    fs::remove_dir_all(run.file(2, "")).unwrap();
    let left = run.found();
    let error = left.verify(TAR, false, &Silent).unwrap_err().to_string();
    assert!(error.ends_with("is not there, and an interrupted run wrote seals and 1 part to it"), "{error}");
    let before = left.verify(TAR, true, &Silent).unwrap();
    assert_eq!(before.lost(None), [Data(2)]);
}

#[test]
fn before_the_first_part_any_drive_may_be_missing() {
    let run = packed(1536, "", &[]);
    fs::remove_dir_all(run.file(2, "")).unwrap();
    assert!(verified(&run).parts.is_empty());
}

#[test]
fn reading_parts_back_can_be_stopped() {
    let run = packed(1536, "", &[1]);
    let stopped = run.found().verify(TAR, false, &Heard::stopping());
    assert!(matches!(stopped, Err(FlowError::Cancelled)));
}

/// A seal of the first volume that is not there.
fn lost_seal(name: &str) -> VolumeSeal {
    VolumeSeal { volume: VolumeNumber::new(1), name: name.into(), sha256: Digest::ZERO }
}

/// The names and bytes of the seals that each volume lacks.
fn lacking(left: &Left) -> Vec<Vec<(String, Vec<u8>)>> {
    left.keep(&Before::default()).unwrap().into_iter().map(|kept| kept.seals).collect()
}

#[test]
fn seals_and_parts_that_are_whole_are_kept() {
    let run = packed(1536, "", &[2]);
    let before = verified(&run);
    let kept = run.found().keep(&before).unwrap();
    let names = |volume: usize| kept[volume].sums.iter().map(|file| file.name.as_str()).collect::<Vec<_>>();
    assert_eq!((names(0), names(1)), (vec!["seal.age"], vec!["000001.age", "seal.age"]));
    assert_eq!(kept[1].sums[0].sha256, before.parts[0].sha256);
    assert!(kept.iter().all(|volume| volume.seals.is_empty()));
}

#[test]
fn a_seal_that_is_missing_is_copied_from_another_volume() {
    let run = packed(1536, "", &[]);
    fs::remove_dir_all(run.file(2, "")).unwrap();
    let seal = fs::read(run.file(1, "seal.age")).unwrap();
    assert_eq!(lacking(&run.found()), [vec![], vec![("seal.age".into(), seal)]]);
}

#[test]
fn the_two_seals_to_recipients_stand_in_for_each_other() {
    let mut run = Leftover::on(1);
    run.opening.seals.push(lost_seal(SEALS[1]));
    run.write_journal(1, "");
    let seal = fs::read(run.file(1, "seal.age")).unwrap();
    assert_eq!(lacking(&run.found()), [vec![("seal2.age".into(), seal)]]);
}

#[test]
fn a_seal_to_a_passphrase_that_is_lost_everywhere_ends_the_run() {
    let mut run = Leftover::on(1);
    run.opening.seals.push(lost_seal(PASSPHRASE_SEAL));
    run.write_journal(1, "");
    let error = run.found().keep(&Before::default()).unwrap_err();
    let FlowError::Bundle(BundleError::Damaged(text)) = error else { panic!("{error}") };
    assert!(text.starts_with("no seal-p.age is whole on these volumes"), "{text}");
}
