//! Changes volumes as a drive, a courier or an attacker would.

use std::fs;
use std::path::{Path, PathBuf};

/// Copies a folder and everything below it.
pub fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a new folder");
    for entry in fs::read_dir(from).expect("a folder") {
        let entry = entry.expect("a name");
        match entry.file_type().expect("a type").is_dir() {
            true => copy(&entry.path(), &to.join(entry.file_name())),
            false => drop(fs::copy(entry.path(), to.join(entry.file_name())).expect("a copy")),
        }
    }
}

/// Entries of a folder, sorted by name.
pub fn files(dir: &Path) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = fs::read_dir(dir).expect("a folder").map(|e| e.expect("a name").path()).collect();
    files.sort();
    files
}

pub fn name_of(path: &Path) -> String {
    path.file_name().expect("it has a name").to_string_lossy().into_owned()
}

/// Whether a file is a part, by its name.
pub fn is_part(path: &Path) -> bool {
    let name = name_of(path);
    name.len() == 10 && name.ends_with(".age") && name.as_bytes()[..6].iter().all(u8::is_ascii_digit)
}

/// All parts on these drives, sorted by number.
pub fn parts(drives: &[PathBuf]) -> Vec<PathBuf> {
    let volumes = drives.iter().flat_map(|drive| files(drive));
    let mut parts: Vec<PathBuf> = volumes.flat_map(|volume| files(&volume)).filter(|file| is_part(file)).collect();
    parts.sort_by_key(|part| name_of(part));
    parts
}

/// All data and parity parts on these drives.
pub fn sealed_parts(drives: &[PathBuf]) -> Vec<PathBuf> {
    let all = drives.iter().flat_map(|drive| files(drive)).flat_map(|volume| files(&volume));
    all.filter(|file| is_part(file) || is_parity(file)).collect()
}

/// Whether a file is a parity part, by its name.
pub fn is_parity(file: &Path) -> bool {
    name_of(file).ends_with(".par")
}

/// Flips one bit.
pub fn flip(path: &Path, at: usize, bit: u8) {
    let mut bytes = fs::read(path).expect("it can be read");
    let at = at % bytes.len();
    bytes[at] ^= 1 << (bit % 8);
    fs::write(path, bytes).expect("it can be written");
}

/// Cuts a file to `len` bytes or fills it up with zeros.
pub fn resize(path: &Path, len: u64) {
    fs::OpenOptions::new().write(true).open(path).and_then(|file| file.set_len(len)).expect("it can be resized");
}

/// Overwrites a file's bytes with zeros.
pub fn zero(path: &Path) {
    let len = path.metadata().expect("it is there").len() as usize;
    fs::write(path, vec![0; len]).expect("it can be written");
}

pub fn swap(one: &Path, two: &Path) {
    let between = one.with_extension("swap");
    fs::rename(one, &between)
        .and_then(|()| fs::rename(two, one))
        .and_then(|()| fs::rename(&between, two))
        .expect("swapped");
}

/// Checks that no volume on these drives looks complete.
#[track_caller]
pub fn none_looks_complete(drives: &[PathBuf]) {
    for drive in drives {
        for sums in files(drive).into_iter().map(|volume| volume.join("SHA256SUMS")) {
            assert!(!sums.exists(), "{}", sums.display());
        }
    }
}

/// Rewrites a volume's SHA256SUMS for what its folder holds now. This takes no key.
pub fn resum(volume: &Path) {
    let of = |file: PathBuf| {
        pouch::internals::format::sums::line(
            &pouch::internals::base::digest::sha256(&fs::read(&file).unwrap()),
            name_of(&file).as_bytes(),
        )
    };
    let listed = files(volume).into_iter().filter(|file| name_of(file) != "SHA256SUMS");
    let sums: Vec<u8> = listed.flat_map(of).collect();
    fs::write(volume.join("SHA256SUMS"), sums).expect("it can be written");
}
