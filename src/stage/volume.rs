//! Volumes on drives. `volume/folder.rs` and `volume/names.rs` say where a volume lies and what its files are called,
//! `volume/found.rs` reads the folder of a volume and its small files, `volume/scan.rs` finds volumes,
//! `volume/writer.rs` writes them and `volume/copier.rs` copies whole ones; both writers see to it that no incomplete
//! volume looks complete. Only regular files are opened, and no link on a drive is followed.
//!
//! Not guaranteed: that a volume is what its names say. Only what opens with a key tells which bundle it belongs to.

mod copier;
mod folder;
mod found;
mod names;
mod scan;
mod writer;

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;

use crate::base::digest::{Digest, Hasher};
use crate::base::fault::At;
use crate::base::os;
pub(crate) use crate::format::seal::{ALL_SEALS, PASSPHRASE_SEAL, SEALS};
pub(crate) use copier::{Copied, Copier, remove_whole};
pub(crate) use folder::{folder, folder_on, is_free};
pub(crate) use found::{ScanError, Volume, read, read_small};
pub(crate) use names::{HEADS, LIST, SUMS, VolumeFile, is_volume_name};
pub(crate) use scan::{PassedOver, Search, scan};
pub(crate) use writer::{SUMS_READY, Writer, is_ours, remove_ours, unpublish};

/// Renames the files of a volume to the exact names of the format, where the drive shows them in another case.
pub(crate) fn restore_exact_names(dir: &Path) -> Result<(), ScanError> {
    for found in read(dir)?.files {
        if let Some(on_drive) = &found.on_drive {
            let path = dir.join(on_drive);
            fs::rename(&path, dir.join(&found.name)).at("name", &path)?;
        }
    }
    Ok(os::sync_dir(dir).at("sync", dir)?)
}

/// Whether `named` knows every small file that a volume needs: a seal (to recipients or to a passphrase), the list and
/// both heads.
pub(crate) fn has_all_small(named: impl Fn(&str) -> bool) -> bool {
    (named(SEALS[0]) || named(PASSPHRASE_SEAL)) && named(LIST) && HEADS.iter().all(|head| named(head))
}

/// SHA-256 of a file, and its length in bytes. `tick` gets the number of bytes after each read; its error ends the
/// reading.
pub(crate) fn digest(
    file: File,
    buf: &mut [u8],
    mut tick: impl FnMut(u64) -> io::Result<()>,
) -> io::Result<(Digest, u64)> {
    let mut hasher = Hasher::new();
    let mut len = 0;
    read_through(file, buf, |bytes| {
        hasher.update(bytes);
        len += bytes.len() as u64;
        tick(bytes.len() as u64)
    })?;
    Ok((hasher.finish(), len))
}

/// Hands a file to `take`, in pieces of at most `buf.len()` bytes, until its end or the first error of `take`.
pub(crate) fn read_through(
    mut file: File,
    buf: &mut [u8],
    mut take: impl FnMut(&[u8]) -> io::Result<()>,
) -> io::Result<()> {
    loop {
        match file.read(buf) {
            Ok(0) => return Ok(()),
            Ok(n) => take(&buf[..n])?,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::digest::sha256;
    use crate::format::UNFINISHED;
    use crate::format::journal::JOURNAL;
    use crate::format::sums::{self, NamedDigest};
    use crate::format::volume_number::VolumeNumber;

    #[test]
    fn a_volume_is_found_as_written() {
        let drive = tempfile::tempdir().unwrap();
        let mut writer = Writer::create(drive.path(), VolumeNumber::new(2)).unwrap();
        writer.put("000001.age", b"part", sha256(b"part")).unwrap();
        let len = writer.put_stream("head.age", |out| out.write_all(b"head")).unwrap();
        assert_eq!(len, 4);
        assert!(!drive.path().join("volume-2/SHA256SUMS").exists(), "the last file");
        writer.write_sums().unwrap();
        assert!(!drive.path().join("volume-2/SHA256SUMS").exists(), "it lacks its name");
        writer.finish().unwrap();
        fs::write(drive.path().join("volume-2/.DS_Store"), b"foreign").unwrap();
        fs::create_dir(drive.path().join("System Volume Information")).unwrap();
        let found = scan(drive.path()).unwrap().volumes;
        assert_eq!(found.len(), 1);
        let names: Vec<_> = found[0].files.iter().map(|file| file.name.as_str()).collect();
        assert_eq!(names, [".DS_Store", "000001.age", "SHA256SUMS", "head.age"]);
        let text = found[0].read_small(SUMS, 1000).unwrap().unwrap();
        let lines = sums::parse(&text).unwrap();
        let line = |name: &str, content: &[u8]| NamedDigest { name: name.into(), sha256: sha256(content) };
        assert_eq!(lines, [line("000001.age", b"part"), line("head.age", b"head")]);
        assert_eq!(scan(&found[0].dir).unwrap().volumes.len(), 1, "given itself");
    }

    #[test]
    fn a_folder_is_free_but_for_what_a_run_left_that_died_with_its_first_file() {
        let drive = tempfile::tempdir().unwrap();
        let dir = drive.path().join("volume-1");
        assert!(is_free(&dir));
        fs::create_dir(&dir).unwrap();
        let seal = [&b"age-encryption.org/v1\n"[..], &[7; 3000]].concat();
        for ours in [&b""[..], b"age-enc", &seal, b"pouch-journal 1 00", &[0; 3000], &[0xff; 16]] {
            fs::write(dir.join(UNFINISHED), ours).unwrap();
            assert!(is_free(&dir), "{}", ours.escape_ascii());
        }
        let late = [&[0; 3000][..], b"text"].concat();
        for foreign in [&b"mine"[..], &late, &[0, 0xff], b"age-encryption?"] {
            fs::write(dir.join(UNFINISHED), foreign).unwrap();
            assert!(!is_free(&dir), "{}", foreign.escape_ascii());
        }
        fs::write(dir.join(UNFINISHED), b"").unwrap();
        for (journal, free) in [(&b""[..], true), (&[0; 700], true), (b"pouch-journal 1 ", false), (b"mine", false)] {
            fs::write(dir.join(JOURNAL), journal).unwrap();
            assert_eq!(is_free(&dir), free, "{}", journal.escape_ascii());
        }
        fs::write(dir.join(JOURNAL), b"").unwrap();
        Writer::create(drive.path(), VolumeNumber::new(1)).unwrap();
        assert!(!dir.join(JOURNAL).exists(), "no volume has one in the end");
        fs::write(dir.join("notes"), b"").unwrap();
        assert!(!is_free(&dir));
    }

    #[test]
    fn an_existing_folder_is_left_alone() {
        let drive = tempfile::tempdir().unwrap();
        fs::create_dir(drive.path().join("volume-1")).unwrap();
        Writer::create(drive.path(), VolumeNumber::new(1)).unwrap();
        fs::write(drive.path().join("volume-1/file"), b"").unwrap();
        let error = Writer::create(drive.path(), VolumeNumber::new(1)).err().unwrap();
        assert_eq!(error.source.kind(), io::ErrorKind::AlreadyExists);
    }

    #[test]
    fn an_abandoned_volume_leaves_nothing() {
        let drive = tempfile::tempdir().unwrap();
        let mut writer = Writer::create(drive.path(), VolumeNumber::new(1)).unwrap();
        writer.put("seal.age", b"x", sha256(b"x")).unwrap();
        let failed = writer.put_stream("list.age", |_| Err(io::Error::other("no")));
        assert!(failed.is_err());
        writer.abandon();
        assert_eq!(fs::read_dir(drive.path()).unwrap().count(), 0);
    }

    #[test]
    fn what_tells_whose_a_volume_is_goes_last() {
        let drive = tempfile::tempdir().unwrap();
        // A folder cannot be removed as a file, so the removal stops here as if the run had been killed.
        fs::create_dir(drive.path().join("000001.age")).unwrap();
        for name in [SUMS, "seal.age", "seal2.age", "head.age", "000002.age"] {
            fs::write(drive.path().join(name), b"").unwrap();
        }
        assert!(remove_ours(drive.path(), |_| false).is_err());
        let left = |name| drive.path().join(name).exists();
        assert!(!left(SUMS) && left("seal.age") && left("seal2.age"));
    }

    #[test]
    fn an_unpublished_volume_has_no_sums_in_any_case_of_the_name() {
        let drive = tempfile::tempdir().unwrap();
        for name in [SUMS, "sha256sums", "seal.age", SUMS_READY] {
            fs::write(drive.path().join(name), b"").unwrap();
        }
        unpublish(drive.path()).unwrap();
        let mut left: Vec<_> = fs::read_dir(drive.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        left.sort();
        assert_eq!(left, ["seal.age", SUMS_READY]);
        unpublish(drive.path()).unwrap();
        let gone = unpublish(&drive.path().join("gone")).unwrap_err();
        assert_eq!((gone.doing, gone.source.kind()), ("look into", io::ErrorKind::NotFound));
    }

    #[test]
    fn traps_are_seen_and_not_entered() {
        let drive = tempfile::tempdir().unwrap();
        let volume = drive.path().join("v");
        fs::create_dir(&volume).unwrap();
        std::os::unix::fs::symlink("/dev/zero", volume.join("000001.age")).unwrap();
        std::os::unix::fs::symlink(&volume, drive.path().join("link")).unwrap();
        let found = scan(drive.path()).unwrap().volumes;
        assert_eq!(found.len(), 1, "the link to it does not count");
        assert!(!found[0].files[0].regular && found[0].open("000001.age").is_err());
        fs::write(volume.join("seal.age"), [0; 100]).unwrap();
        assert!(matches!(read_small(&volume.join("seal.age"), 99), Err(ScanError::Format(_))));
    }
}
