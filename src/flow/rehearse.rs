//! What a rehearsal needs beside the real commands: samples to pack, a bit to flip, and a comparison of what came back
//! with what went in. The hand-off itself runs the flows of a real one.
//!
//! Not compared: what a bundle does not carry, such as owners and extended attributes.

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

/// Makes a folder of samples like a reporter's, and returns its path. It has one of everything that a bundle carries:
/// an empty file and folder, a name that is not ASCII, a sparse file, a symlink and a hard link.
pub(crate) fn make_samples(folder: &Path) -> Result<PathBuf, IoFault> {
    let root = folder.join("samples");
    for dir in ["notes", "photos", "video", "empty folder"].map(|name| root.join(name)) {
        fs::create_dir_all(&dir).at("create", &dir)?;
    }
    let lines = (0..20_000).map(|n| format!("{n}: what was said, by whom, and when\n"));
    write(&root.join("notes/interview.txt"), lines.collect::<String>().as_bytes())?;
    write(&root.join("notes/nothing yet.txt"), b"")?;
    write(&root.join("notes/\u{fc}bersetzung.txt"), "Zeugen, Orte, Zeiten\n".as_bytes())?;
    for photo in 1..=4 {
        write(&root.join(format!("photos/IMG_{photo:04}.JPG")), &noise(700_000))?;
    }
    write(&root.join("video/clip.mov"), &noise(9_000_000))?;
    let sparse = root.join("video/card.img");
    write_sparse(&sparse).at("write", &sparse)?;
    let link = root.join("notes/cover");
    symlink("../photos/IMG_0001.JPG", &link).at("create", &link)?;
    let other_name = root.join("photos/favourite.jpg");
    fs::hard_link(root.join("photos/IMG_0002.JPG"), &other_name).at("create", &other_name)?;
    Ok(root)
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), IoFault> {
    fs::write(path, bytes).at("write", path)
}

/// Random bytes. Like footage, they do not compress.
fn noise(len: usize) -> Vec<u8> {
    std::iter::repeat_with(random::<4096>).flatten().take(len).collect()
}

/// Writes 100 kB of noise between two holes of 20 and almost 10 MB.
fn write_sparse(path: &Path) -> std::io::Result<()> {
    let mut file = File::create(path)?;
    file.seek(SeekFrom::Start(20_000_000))?;
    file.write_all(&noise(100_000))?;
    file.set_len(30_000_000)
}

/// Flips the lowest bit of the byte in the middle of a file. A second call flips it back.
pub(crate) fn flip_bit(path: &Path) -> Result<(), IoFault> {
    flip(path).at("change", path)
}

fn flip(path: &Path) -> std::io::Result<()> {
    let file = File::options().read(true).write(true).open(path)?;
    let middle = file.metadata()?.len() / 2;
    let mut byte = [0];
    file.read_exact_at(&mut byte, middle)?;
    file.write_all_at(&[byte[0] ^ 1], middle)
}

/// How the tree at `two` differs from the one at `one`, a sentence for each path: in types, contents, modes, times,
/// links or holes. Empty if they are the same.
pub(crate) fn differences(one: &Path, two: &Path) -> Result<Vec<String>, FlowError> {
    let before = walk(&[one.to_owned()], &Silent)?;
    let after = walk(&[two.to_owned()], &Silent)?;
    let mut found = Vec::new();
    for (index, entry) in before.entries.iter().enumerate() {
        match position_of(entry, &after) {
            None => found.push(format!("{} did not come back", entry.path)),
            Some(other) => found.extend(difference((&before, index), (&after, other))?),
        }
    }
    let extra = after.entries.iter().filter(|entry| position_of(entry, &before).is_none());
    found.extend(extra.map(|entry| format!("{} was not there before", entry.path)));
    Ok(found)
}

/// The index of the entry with the same path; `None` if the walk has none.
fn position_of(entry: &Entry, walk: &Walk) -> Option<usize> {
    walk.entries.binary_search_by(|other| other.path.cmp(&entry.path)).ok()
}

/// The first difference of two entries with one path; `None` if they are the same. Contents are read last.
fn difference(one: (&Walk, usize), two: (&Walk, usize)) -> Result<Option<String>, FlowError> {
    let a = &one.0.entries[one.1];
    let b = &two.0.entries[two.1];
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
    let file = walk.open(index).at("read", &path)?;
    let (sum, _) = digest(file, &mut memory::zeros(1 << 20), |_| Ok(())).at("read", &path)?;
    Ok(sum)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Samples, and a copy of them that keeps everything.
    struct CopiedSamples {
        _places: [tempfile::TempDir; 2],
        samples: PathBuf,
        copy: PathBuf,
    }

    impl CopiedSamples {
        fn new() -> Self {
            let places = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
            let samples = make_samples(places[0].path()).unwrap();
            let copy = places[1].path().join("samples");
            let copied = std::process::Command::new("cp").arg("-a").arg(&samples).arg(&copy).status().unwrap();
            assert!(copied.success());
            Self { _places: places, samples, copy }
        }

        fn at(&self, name: &str) -> PathBuf {
            self.copy.join(name)
        }

        /// How the copy differs, without the differences of folders, whose times change with what is in them.
        fn differences(&self) -> Vec<String> {
            let all = differences(&self.samples, &self.copy).unwrap();
            all.into_iter().filter(|difference| !difference.ends_with("its time differs")).collect()
        }
    }

    #[test]
    fn a_copy_that_keeps_everything_does_not_differ() {
        let copied = CopiedSamples::new();
        assert_eq!(differences(&copied.samples, &copied.copy).unwrap(), Vec::<String>::new());
    }

    #[test]
    fn a_flipped_bit_is_found_by_time_or_content_and_a_second_flip_undoes_it() {
        let copied = CopiedSamples::new();
        let before = fs::read(copied.at("video/clip.mov")).unwrap();
        flip_bit(&copied.at("video/clip.mov")).unwrap();
        let found = differences(&copied.samples, &copied.copy).unwrap();
        assert!(found.len() == 1 && found[0].contains("clip.mov: its"), "{found:?}");
        flip_bit(&copied.at("video/clip.mov")).unwrap();
        assert!(fs::read(copied.at("video/clip.mov")).unwrap() == before);
    }

    #[test]
    fn what_is_lost_added_or_leads_elsewhere_is_named() {
        let copied = CopiedSamples::new();
        fs::remove_file(copied.at("notes/cover")).unwrap();
        symlink("../photos/IMG_0003.JPG", copied.at("notes/cover")).unwrap();
        fs::remove_dir(copied.at("empty folder")).unwrap();
        write(&copied.at("photos/extra"), b"x").unwrap();
        let found = copied.differences().join("\n");
        for what in ["notes/cover: its type", "empty folder did not come back", "photos/extra was not there before"] {
            assert!(found.contains(what), "{what} in {found}");
        }
    }

    #[test]
    fn another_mode_or_size_is_a_difference() {
        use std::os::unix::fs::PermissionsExt;
        let copied = CopiedSamples::new();
        fs::set_permissions(copied.at("photos/IMG_0003.JPG"), fs::Permissions::from_mode(0o600)).unwrap();
        fs::set_permissions(copied.at("photos/IMG_0004.JPG"), fs::Permissions::from_mode(0o640)).unwrap();
        write(&copied.at("notes/interview.txt"), b"short").unwrap();
        let found = copied.differences().join("\n");
        assert!(found.contains("notes/interview.txt: its size differs"), "{found}");
        assert!(
            found.contains("IMG_0003.JPG: its mode differs") || found.contains("IMG_0004.JPG: its mode"),
            "{found}"
        );
    }

    #[test]
    fn a_file_whose_holes_were_filled_differs() {
        let copied = CopiedSamples::new();
        let card = copied.at("video/card.img");
        let modified = fs::metadata(&card).unwrap().modified().unwrap();
        let bytes = fs::read(&card).unwrap();
        write(&card, &bytes).unwrap();
        File::options().write(true).open(&card).unwrap().set_modified(modified).unwrap();
        assert_eq!(copied.differences(), ["samples/video/card.img: its holes differs"]);
    }
}
