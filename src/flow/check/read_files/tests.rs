//! Files in temporary folders, read through the cache and past it.

use super::*;
use crate::base::digest::sha256;
use crate::base::monitor::Silent;
use crate::format::limits;

/// The drive of a file that is read past the cache. Any number does.
const PAST_CACHE: Option<u64> = Some(1);

fn volume_of(files: &[(&str, &[u8])]) -> (tempfile::TempDir, Volume) {
    let dir = tempfile::tempdir().unwrap();
    files.iter().for_each(|(name, bytes)| std::fs::write(dir.path().join(name), bytes).unwrap());
    let volume = volume::read(dir.path()).unwrap();
    (dir, volume)
}

fn job(name: &str, sum: Digest, len: u64, drive: Option<u64>) -> FileToRead<'static> {
    FileToRead { volume: 0, name: name.into(), sum, len, drive, head: None }
}

fn read_one(volume: &Volume, job: FileToRead) -> FileRead {
    read_all(std::slice::from_ref(volume), &[job], &Silent).unwrap().pop().unwrap()
}

fn why_wrong(read: FileRead) -> String {
    match read.verdict {
        Err(FileFault::Wrong(why)) => why,
        Err(FileFault::Denied(why)) => panic!("denied: {why}"),
        Ok(()) => panic!("it passed"),
    }
}

#[test]
fn a_file_that_goes_on_behind_its_end_is_not_read_for_ever() {
    let (_dir, volume) = volume_of(&[("seal.age", &[7; 8 << 20])]);
    for drive in [None, PAST_CACHE] {
        let read = read_one(&volume, job("seal.age", Digest([0; 32]), 400, drive));
        assert!(read.bytes <= limits::SEAL_FILE + 2 * READ as u64, "{}", read.bytes);
        let why = why_wrong(read);
        assert!(why.contains("more bytes than any such file"), "{why}");
    }
}

#[test]
fn results_come_in_the_order_of_the_files_whichever_thread_reads_them() {
    let names: Vec<String> = (0..40).map(|number| format!("f{number}")).collect();
    let files: Vec<(&str, &[u8])> = names.iter().map(|name| (name.as_str(), name.as_bytes())).collect();
    let (_dir, volume) = volume_of(&files);
    let drive = |number: usize| [None, PAST_CACHE, Some(2)][number % 3];
    // Every fourth file has another digest than it should.
    let sum =
        |number: usize, name: &str| if number.is_multiple_of(4) { Digest([0; 32]) } else { sha256(name.as_bytes()) };
    let jobs: Vec<FileToRead> = names
        .iter()
        .enumerate()
        .map(|(number, name)| job(name, sum(number, name), name.len() as u64, drive(number)))
        .collect();
    let all = read_all(std::slice::from_ref(&volume), &jobs, &Silent).unwrap();
    for (number, read) in all.iter().enumerate() {
        assert_eq!((read.verdict.is_ok(), read.bytes), (number % 4 != 0, names[number].len() as u64), "{number}");
    }
}

#[test]
fn a_file_that_is_shorter_than_its_folder_said_is_called_cut() {
    let (_dir, volume) = volume_of(&[("seal.age", b"cut")]);
    let cut = read_one(&volume, job("seal.age", sha256(b"cut short"), 9, None));
    assert_eq!(why_wrong(cut), "has another SHA-256 than when it was written, and ends after 3 bytes");
    let changed = read_one(&volume, job("seal.age", sha256(b"cat"), 3, None));
    assert_eq!(why_wrong(changed), "has another SHA-256 than when it was written");
}

#[test]
fn a_file_that_is_gone_when_it_is_read_is_wrong() {
    let (dir, volume) = volume_of(&[("seal.age", b"seal")]);
    std::fs::remove_file(dir.path().join("seal.age")).unwrap();
    for drive in [None, PAST_CACHE] {
        let read = read_one(&volume, job("seal.age", sha256(b"seal"), 4, drive));
        assert_eq!(read.bytes, 0);
        assert!(why_wrong(read).starts_with("could not be read: "));
    }
}

#[test]
fn a_read_that_the_system_denies_tells_nothing_of_the_file() {
    let fault = |code| FileFault::from(io::Error::from_raw_os_error(code));
    assert!(matches!(fault(13), FileFault::Denied(_)));
    assert!(matches!(fault(5), FileFault::Wrong(_)));
}
