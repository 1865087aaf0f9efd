//! Bundles that begin on two folders, which the tests may call one drive or two.

use super::*;
use crate::base::monitor::Silent;
use crate::flow::error::OutputError;
use crate::flow::pack::plan::plan;
use crate::flow::pack::tests::request_on;
use crate::format::journal::Journal;
use crate::format::limits;
use crate::format::sums::NamedDigest;
use crate::stage::journal::find;
use crate::stage::volume::SEALS;

/// A request and its plan, below a folder that lasts as long as the first value.
fn planned() -> (tempfile::TempDir, PackRequest, Planned) {
    let desk = tempfile::tempdir().unwrap();
    let request = request_on(desk.path());
    let mut planned = plan(&request, &Silent).unwrap();
    (planned.targets[0].device, planned.targets[1].device) = (1, 1);
    (desk, request, planned)
}

/// The folder of a volume.
fn volume_of(request: &PackRequest, number: u16) -> PathBuf {
    let number = VolumeNumber::new(number);
    volume::folder(&request.outputs[number.index()], number)
}

/// The journal of a run that has ended.
fn journal_in(folder: &Path) -> Journal {
    Journal::parse(&find(folder, limits::HEAD).unwrap().unwrap().text).unwrap()
}

/// Begins a bundle and leaves it, as a run that is stopped right away.
fn begin_and_leave(planned: &Planned, request: &PackRequest) -> BundleIdentity {
    let mut volumes = VolumeSet::new();
    let (bundle, log) = begin(&mut volumes, planned, request, &Silent).unwrap();
    drop(log);
    volumes.leave();
    bundle
}

#[test]
fn the_journal_is_copied_only_to_another_drive() {
    let (_desk, request, mut planned) = planned();
    assert_eq!(journal_folders(&planned), [volume_of(&request, 1)]);
    planned.targets[1].device = 2;
    assert_eq!(journal_folders(&planned), [volume_of(&request, 1), volume_of(&request, 2)]);
}

#[test]
fn an_untouched_drive_is_tested_once_if_it_is_read_back() {
    let (_desk, mut request, mut planned) = planned();
    request.verify = Some(true);
    assert_eq!(untouched_drives(&planned, &request), [request.outputs[0].as_path()]);
    planned.targets[1].device = 2;
    assert_eq!(untouched_drives(&planned, &request), [request.outputs[0].as_path(), request.outputs[1].as_path()]);
    request.verify = Some(false);
    assert!(untouched_drives(&planned, &request).is_empty());
}

#[test]
fn a_volume_with_files_of_an_earlier_run_is_not_untouched() {
    let (_desk, mut request, planned) = planned();
    request.verify = Some(true);
    std::fs::create_dir(volume_of(&request, 1)).unwrap();
    std::fs::write(volume_of(&request, 1).join("000001.age"), b"part").unwrap();
    assert_eq!(untouched_drives(&planned, &request), [request.outputs[1].as_path()]);
}

#[test]
fn every_volume_has_seals_with_bytes_of_their_own() {
    let (_desk, request, _) = planned();
    let (_, seals) = make_bundle(2, &request).unwrap();
    let names: Vec<(u16, &str)> = seals.iter().map(|seal| (seal.volume.get(), seal.name.as_str())).collect();
    assert_eq!(names, [(1, SEALS[0]), (1, SEALS[1]), (2, SEALS[0]), (2, SEALS[1])]);
    for (at, seal) in seals.iter().enumerate() {
        assert!(seals[..at].iter().all(|other| other.bytes != seal.bytes));
    }
}

#[test]
fn a_new_bundle_has_its_seals_on_the_drives_and_in_the_journal() {
    let (_desk, request, planned) = planned();
    let bundle = begin_and_leave(&planned, &request);
    let Journal { opening, parts, .. } = journal_in(&volume_of(&request, 1));
    assert_eq!((opening.bundle, opening.volumes, opening.seals.len()), (bundle.name, 2, 4));
    assert!(parts.is_empty());
    for VolumeSeal { volume, name, sha256: sum } in opening.seals {
        assert_eq!(sha256(&std::fs::read(volume_of(&request, volume.get()).join(name)).unwrap()), sum);
    }
}

#[test]
fn the_journals_of_a_packing_that_could_not_begin_are_removed() {
    let (_desk, request, mut planned) = planned();
    planned.targets[1].device = 2;
    begin_and_leave(&planned, &request);
    assert!([1, 2].iter().all(|number| volume_of(&request, *number).join(JOURNAL).exists()));
    remove_journals(&planned);
    assert!([1, 2].iter().all(|number| !volume_of(&request, *number).join(JOURNAL).exists()));
}

#[test]
fn a_volume_that_exists_already_stops_the_beginning() {
    let (_desk, request, planned) = planned();
    std::fs::create_dir(volume_of(&request, 2)).unwrap();
    std::fs::write(volume_of(&request, 2).join("mine"), b"mine").unwrap();
    let result = begin(&mut VolumeSet::new(), &planned, &request, &Silent);
    assert!(matches!(result, Err(FlowError::Output(OutputError::VolumeExists(_)))));
}

#[test]
fn a_resumed_bundle_stays_the_same_and_gets_back_a_lost_seal() {
    let (_desk, request, first) = planned();
    let begun = begin_and_leave(&first, &request);
    let lost = volume_of(&request, 2).join(SEALS[0]);
    std::fs::remove_file(&lost).unwrap();
    let mut again = plan(&request, &Silent).unwrap();
    let left = again.left.take().unwrap();
    let mut volumes = VolumeSet::new();
    let (resumed, log) = resume(&mut volumes, &again, &request, left, &Silent).unwrap();
    assert!(resumed.name == begun.name && resumed.recipient == begun.recipient);
    assert_eq!(volumes.writers().count(), 2);
    assert_eq!(std::fs::read(lost).unwrap(), std::fs::read(volume_of(&request, 1).join(SEALS[0])).unwrap());
    drop(log);
    let opening = journal_in(&volume_of(&request, 1)).opening;
    assert_eq!(opening.seals.len(), 4);
}

#[test]
fn seals_that_stay_and_seals_to_be_written_are_all_in_the_journal() {
    let sum = Digest([1; 32]);
    let file = |name: &str| NamedDigest { name: name.into(), sha256: sum };
    let stays = KeptFiles { sums: vec![file("seal.age"), file("000001.age")], seals: Vec::new() };
    let written = KeptFiles { sums: Vec::new(), seals: vec![("seal.age".into(), b"seal".to_vec())] };
    let seal = |volume, sha256| VolumeSeal { volume: VolumeNumber::new(volume), name: "seal.age".into(), sha256 };
    let expected = [seal(1, sum), seal(2, sha256(b"seal"))];
    assert_eq!(all_seals(&[stays, written]), expected, "a part is no seal");
}
