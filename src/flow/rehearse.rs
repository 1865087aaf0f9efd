//! Practice: samples to pack, a bit to flip, and a comparison that tells whether what came back
//! is what went in. The hand-off itself is made of the same flows as a real one.

use std::fs::{self, File};
use std::io::{Seek, SeekFrom, Write};
use std::os::unix::fs::{FileExt, symlink};
use std::path::{Path, PathBuf};

use crate::base::digest::Digest;
use crate::base::entry::{Entry, Kind};
use crate::base::fault::{At, IoFault};
use crate::base::memory;
use crate::base::monitor::Silent;
use crate::base::secret::random;
use crate::flow::FlowError;
use crate::stage::volume::digest;
use crate::stage::walk::{Walk, walk};

/// A folder of samples like a reporter's: notes, photos, a clip, what else there may be.
pub fn make_samples(folder: &Path) -> Result<PathBuf, IoFault> {
    let root = folder.join("samples");
    let at = |name: &str| root.join(name);
    for dir in ["notes", "photos", "video", "empty folder"] {
        fs::create_dir_all(at(dir)).at("create", &at(dir))?;
    }
    let lines = (0..20_000).map(|n| format!("{n}: what was said, by whom, and when\n"));
    write(&at("notes/interview.txt"), lines.collect::<String>().as_bytes())?;
    write(&at("notes/nothing yet.txt"), b"")?;
    write(&at("notes/\u{fc}bersetzung.txt"), "Zeugen, Orte, Zeiten\n".as_bytes())?;
    for photo in 1..=4 {
        write(&at(&format!("photos/IMG_{photo:04}.JPG")), &noise(700_000))?;
    }
    write(&at("video/clip.mov"), &noise(9_000_000))?;
    sparse(&at("video/card.img")).at("write", &at("video/card.img"))?;
    symlink("../photos/IMG_0001.JPG", at("notes/cover")).at("create", &at("notes/cover"))?;
    fs::hard_link(at("photos/IMG_0002.JPG"), at("photos/favourite.jpg")).at("create", &at("photos/favourite.jpg"))?;
    Ok(root)
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), IoFault> {
    fs::write(path, bytes).at("write", path)
}

/// As footage: nothing compresses it.
fn noise(len: usize) -> Vec<u8> {
    std::iter::repeat_with(random::<4096>).flatten().take(len).collect()
}

fn sparse(path: &Path) -> std::io::Result<()> {
    let mut file = File::create(path)?;
    file.seek(SeekFrom::Start(20_000_000))?;
    file.write_all(&noise(100_000))?;
    file.set_len(30_000_000)
}

/// Flips the lowest bit in the middle of a file; a second time flips it back.
pub fn flip_bit(path: &Path) -> Result<(), IoFault> {
    let flip = || {
        let file = File::options().read(true).write(true).open(path)?;
        let (at, mut byte) = (file.metadata()?.len() / 2, [0]);
        file.read_exact_at(&mut byte, at)?;
        file.write_all_at(&[byte[0] ^ 1], at)
    };
    flip().at("change", path)
}

/// How two trees differ, in words: types, contents, modes, times, links, holes. Empty: not at all.
pub fn differences(one: &Path, two: &Path) -> Result<Vec<String>, FlowError> {
    let (a, b) = (walk(&[one.to_owned()], &Silent)?, walk(&[two.to_owned()], &Silent)?);
    let mut found = Vec::new();
    for (index, entry) in a.entries.iter().enumerate() {
        match b.entries.binary_search_by(|other| other.path.cmp(&entry.path)) {
            Err(_) => found.push(format!("{} did not come back", entry.path)),
            Ok(other) => found.extend(difference((&a, index), (&b, other))?),
        }
    }
    let extra =
        b.entries.iter().filter(|entry| a.entries.binary_search_by(|other| other.path.cmp(&entry.path)).is_err());
    found.extend(extra.map(|entry| format!("{} was not there before", entry.path)));
    Ok(found)
}

fn difference(one: (&Walk, usize), two: (&Walk, usize)) -> Result<Option<String>, FlowError> {
    let (a, b) = (&one.0.entries[one.1], &two.0.entries[two.1]);
    let what = [
        (a.kind != b.kind, "its type or where it links to"),
        (a.size != b.size, "its size"),
        (a.mode != b.mode, "its mode"),
        (a.mtime != b.mtime, "its time"),
        (is_sparse(a) && !is_sparse(b), "its holes"),
        (a.kind == Kind::File && content(one)? != content(two)?, "its content"),
    ];
    let differs = what.into_iter().find_map(|(differs, what)| differs.then_some(what));
    Ok(differs.map(|what| format!("{}: {what} differs", a.path)))
}

fn is_sparse(entry: &Entry) -> bool {
    !entry.holes.is_empty()
}

fn content((walk, index): (&Walk, usize)) -> Result<Digest, FlowError> {
    let path = walk.real_path(index);
    let hash = || digest(walk.open(index)?, &mut memory::zeros(1 << 20), |_| Ok(()));
    Ok(hash().at("read", &path)?.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_difference_is_seen() {
        let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let a = make_samples(one.path()).unwrap();
        let b = two.path().join("samples");
        let copied = std::process::Command::new("cp").arg("-a").arg(&a).arg(&b).status().unwrap();
        assert!(copied.success());
        let differ = || differences(&a, &b).unwrap();
        assert_eq!(differ(), Vec::<String>::new());
        let at = |name: &str| b.join(name);
        flip_bit(&at("video/clip.mov")).unwrap();
        assert_eq!(differ().len(), 1, "a time and a bit of one file: {:?}", differ());
        fs::remove_file(at("notes/cover")).unwrap();
        symlink("../photos/IMG_0003.JPG", at("notes/cover")).unwrap();
        fs::remove_dir(at("empty folder")).unwrap();
        write(&at("photos/extra"), b"x").unwrap();
        let found = differ().join("\n");
        for what in ["clip.mov", "notes/cover: its type", "empty folder did not", "photos/extra was not"] {
            assert!(found.contains(what), "{what} in {found}");
        }
    }
}
