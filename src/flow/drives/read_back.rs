//! Reads what was written back past the system's cache before a run calls the drives safe: seals, heads, list and
//! SHA256SUMS always, parts if the run wants that. Whole drives are read only after everything is written. A drive that
//! is smaller than it claims overwrites what it took before, and would pass if each file were read as it is written.
//!
//! Not guaranteed: that the drive answered. A cache that cannot be passed may have; [`read_back`] says whether.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::base::direct::DriveReader;
use crate::base::monitor::{Monitor, Phase};
use crate::base::os;
use crate::base::pool::{lock, unlocked};
use crate::base::size::{count, first_ten};
use crate::base::threads::one_each;
use crate::flow::FlowError;
use crate::flow::drives::drive::{Drive, DriveId};
use crate::flow::error::DriveError;
use crate::format::volume_number::VolumeNumber;
use crate::stage::volume::Writer;

/// A file that a drive did not keep as it was written.
#[derive(Debug)]
pub(crate) struct Finding {
    pub(crate) drive: DriveId,
    /// The volume on it.
    pub(crate) volume: VolumeNumber,
    /// The file; `None` if the drive cannot be read any further.
    pub(crate) name: Option<String>,
    pub(crate) error: FlowError,
}

/// What is wrong with one drive, in words. All findings are about that drive.
pub(crate) fn in_words(found: &[Finding]) -> String {
    let files = count(found.len() as u64, "file");
    let named = first_ten(found, describe, |more| format!("and {more} more"));
    format!("did not keep {files} as written: {named}; do not trust this drive")
}

fn describe(Finding { volume, name, error, .. }: &Finding) -> String {
    match (name, error) {
        (Some(name), FlowError::Drive(DriveError::ReadBackDiffers { offset, .. })) => {
            format!("volume-{volume}/{name} (from byte {offset} on)")
        }
        (Some(name), error) => format!("volume-{volume}/{name} ({error})"),
        (None, error) => error.to_string(),
    }
}

/// Reads back the small files that a volume has so far.
///
/// # Errors
/// A file is not as it was written, or cannot be read. The files behind it are not read.
pub(crate) fn read_back_small(writer: &Writer) -> Result<(), FlowError> {
    let mut reader = DriveReader::default();
    for name in writer.small_files() {
        if let Some(offset) = writer.read_back(name, &mut reader)? {
            return Err(DriveError::ReadBackDiffers { path: writer.dir().join(name), offset }.into());
        }
    }
    Ok(())
}

/// Reads back the seals of all volumes, before the first part is written.
///
/// # Errors
/// A drive gave back other bytes, so that it is not to be trusted; nothing depends on it yet. Or no volume could be
/// read. A single volume that cannot be read is left out as soon as parts come to it.
pub(crate) fn read_back_seals<'a>(writers: impl Iterator<Item = &'a Writer>) -> Result<(), FlowError> {
    let mut has_read_any = false;
    let mut first_fault = None;
    for writer in writers {
        match read_back_small(writer) {
            Err(FlowError::Io(fault)) => drop(first_fault.get_or_insert(fault)),
            other => {
                other?;
                has_read_any = true;
            }
        }
    }
    match first_fault {
        Some(fault) if !has_read_any => Err(fault.into()),
        _ => Ok(()),
    }
}

/// Reads back all files that are to be read back, each drive on a thread of its own. Returns what the drives did not
/// keep, and whether everything was read past the cache.
///
/// # Errors
/// [`FlowError::Cancelled`] if the run was to stop.
pub(crate) fn read_back(drives: &[Drive], monitor: &dyn Monitor) -> Result<(Vec<Finding>, bool), FlowError> {
    announce(drives, monitor);
    let findings = Mutex::new(Vec::new());
    let saw_cache = AtomicBool::new(false);
    one_each(drives, |drive| {
        let read = read_back_drive(drive, monitor);
        lock(&findings).extend(read.findings);
        saw_cache.fetch_or(read.saw_cache, Ordering::Relaxed);
    });
    if monitor.cancelled() { Err(FlowError::Cancelled) } else { Ok((unlocked(findings), !saw_cache.into_inner())) }
}

/// Begins the phase, unless only small files are read: these take a moment.
fn announce(drives: &[Drive], monitor: &dyn Monitor) {
    let writers: Vec<&Writer> = drives.iter().flat_map(|drive| &drive.writers).collect();
    if writers.iter().any(|writer| writer.is_read_back()) {
        let lengths = writers
            .into_iter()
            .flat_map(|writer| writer.to_read_back().into_iter().map(move |name| len_of(writer, &name)));
        monitor.phase(Phase::Verifying, lengths.sum());
    }
}

/// Length of a file in bytes; 0 if the drive does not say.
fn len_of(writer: &Writer, name: &str) -> u64 {
    writer.dir().join(name).metadata().map_or(0, |meta| meta.len())
}

/// What came of reading one drive back.
#[derive(Default)]
struct DriveReadBack {
    findings: Vec<Finding>,
    /// Whether a cache may have answered.
    saw_cache: bool,
}

/// Reads a drive until its end, until it cannot be read any further, or until the run is to stop.
fn read_back_drive(drive: &Drive, monitor: &dyn Monitor) -> DriveReadBack {
    let mut read = DriveReadBack::default();
    let mut reader = DriveReader::default();
    for writer in &drive.writers {
        for name in writer.to_read_back() {
            if monitor.cancelled() {
                return read;
            }
            if let Some(finding) = read_back_file(drive.id, writer, &name, &mut reader) {
                let has_failed = finding.name.is_none();
                read.findings.push(finding);
                if has_failed {
                    return read;
                }
            }
            read.saw_cache = reader.saw_cache();
            if writer.is_read_back() {
                let len = len_of(writer, &name);
                monitor.verified(writer.number().get(), len);
                monitor.advance(len);
            }
        }
    }
    read
}

/// What is wrong with a file; `None` if the drive kept it.
fn read_back_file(drive: DriveId, writer: &Writer, name: &str, reader: &mut DriveReader) -> Option<Finding> {
    let finding = |name: Option<&str>, error: FlowError| Finding {
        drive,
        volume: writer.number(),
        name: name.map(String::from),
        error,
    };
    match writer.read_back(name, reader) {
        Ok(None) => None,
        Ok(Some(offset)) => {
            let path = writer.dir().join(name);
            Some(finding(Some(name), DriveError::ReadBackDiffers { path, offset }.into()))
        }
        Err(fault) if os::is_of_one_place(&fault.source) => Some(finding(Some(name), fault.into())),
        Err(fault) => Some(finding(None, fault.into())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::digest::sha256;
    use crate::base::fault::IoFault;
    use crate::base::monitor::Silent;
    use crate::base::monitor::fake::Heard;
    use crate::flow::drives::drive::DriveState;
    use crate::format::seal::SEALS;
    use std::fs;
    use std::path::Path;

    /// A drive with the only volume 1, which has a seal and a part of 3 MiB.
    fn drive(place: &Path, has_marks: bool) -> Drive {
        let mut writer = Writer::create(place, VolumeNumber::new(1)).unwrap();
        if has_marks {
            writer.keep_marks();
        }
        writer.put(SEALS[0], b"seal", sha256(b"seal")).unwrap();
        writer.put("000001.age", &part(), sha256(&part())).unwrap();
        Drive { id: DriveId(4), device: 1, place: place.into(), writers: vec![writer], state: DriveState::InUse }
    }

    fn part() -> Vec<u8> {
        vec![7; 3 << 20]
    }

    /// Puts another file in the place of one, as a drive that lies would.
    fn replace(place: &Path, name: &str, bytes: &[u8]) {
        let path = place.join("volume-1").join(name);
        fs::remove_file(&path).unwrap();
        fs::write(&path, bytes).unwrap();
    }

    fn differs(offset: u64) -> FlowError {
        DriveError::ReadBackDiffers { path: "/media/a/volume-3/000001.age".into(), offset }.into()
    }

    fn failed(code: i32) -> FlowError {
        IoFault { doing: "read back", path: "/media/a".into(), source: std::io::Error::from_raw_os_error(code) }.into()
    }

    #[test]
    fn findings_name_the_files_and_say_where_the_difference_begins() {
        let volume = VolumeNumber::new(3);
        let of = |name: Option<&str>, error| Finding { drive: DriveId(0), volume, name: name.map(Into::into), error };
        let found = [of(Some("000001.age"), differs(1 << 20)), of(Some("000002.age"), failed(5)), of(None, failed(19))];
        let words = in_words(&found);
        assert!(
            words.starts_with("did not keep 3 files as written: volume-3/000001.age (from byte 1048576 on)"),
            "{words}"
        );
        assert!(words.contains("volume-3/000002.age (cannot read back /media/a: "), "{words}");
        assert!(words.ends_with("; do not trust this drive"), "{words}");
    }

    #[test]
    fn a_drive_that_keeps_everything_has_no_finding() {
        let place = tempfile::tempdir().unwrap();
        let (found, _) = read_back(&[drive(place.path(), true)], &Silent).unwrap();
        assert!(found.is_empty(), "{found:?}");
    }

    #[test]
    fn a_part_that_changed_is_found_from_its_first_changed_stretch_on() {
        let place = tempfile::tempdir().unwrap();
        let drive = drive(place.path(), true);
        let mut other = part();
        other[(1 << 20) + 5] = 8;
        replace(place.path(), "000001.age", &other);
        let (found, _) = read_back(&[drive], &Silent).unwrap();
        let [Finding { drive: DriveId(4), volume, name: Some(name), error }] = &found[..] else { panic!("{found:?}") };
        assert_eq!((name.as_str(), volume.get()), ("000001.age", 1));
        assert!(matches!(error, FlowError::Drive(DriveError::ReadBackDiffers { offset: 1_048_576, .. })), "{error}");
    }

    #[test]
    fn without_marks_only_small_files_are_read_back() {
        let place = tempfile::tempdir().unwrap();
        let drive = drive(place.path(), false);
        replace(place.path(), "000001.age", b"other");
        replace(place.path(), SEALS[0], b"lies");
        let (found, _) = read_back(&[drive], &Silent).unwrap();
        let names: Vec<Option<&str>> = found.iter().map(|finding| finding.name.as_deref()).collect();
        assert_eq!(names, [Some(SEALS[0])]);
    }

    #[test]
    fn nothing_more_is_read_from_a_drive_that_fails_as_a_whole() {
        let place = tempfile::tempdir().unwrap();
        let drive = drive(place.path(), true);
        fs::remove_file(place.path().join("volume-1").join(SEALS[0])).unwrap();
        replace(place.path(), "000001.age", b"other");
        let (found, _) = read_back(&[drive], &Silent).unwrap();
        assert_eq!(found.len(), 1, "the part is not looked at: {found:?}");
        assert!(found[0].name.is_none() && matches!(found[0].error, FlowError::Io(_)));
    }

    #[test]
    fn a_read_back_that_was_stopped_is_not_taken_for_a_good_one() {
        let place = tempfile::tempdir().unwrap();
        assert!(matches!(read_back(&[drive(place.path(), true)], &Heard::stopping()), Err(FlowError::Cancelled)));
    }

    #[test]
    fn a_seal_that_changed_ends_the_run_before_parts_are_written() {
        let place = tempfile::tempdir().unwrap();
        let drive = drive(place.path(), false);
        replace(place.path(), SEALS[0], b"lies");
        let error = read_back_seals(drive.writers.iter()).unwrap_err();
        let FlowError::Drive(DriveError::ReadBackDiffers { path, offset: 0 }) = error else { panic!("{error}") };
        assert_eq!(path, place.path().join("volume-1").join(SEALS[0]));
    }

    #[test]
    fn one_volume_that_can_be_read_is_enough_for_the_seals() {
        let [gone, kept] = [(); 2].map(|()| tempfile::tempdir().unwrap());
        let [first, second] = [&gone, &kept].map(|place| drive(place.path(), false));
        fs::remove_file(gone.path().join("volume-1").join(SEALS[0])).unwrap();
        assert!(read_back_seals(first.writers.iter().chain(&second.writers)).is_ok());
        assert!(matches!(read_back_seals(first.writers.iter()), Err(FlowError::Io(_))));
    }
}
