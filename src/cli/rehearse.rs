//! `pouch rehearse`: plays the whole hand-off, step by step, with a throw-away key. It runs the code of the real
//! commands, so what it shows is what they do.

use std::fs;
use std::path::{Path, PathBuf};

use crate::base::fault::At;
use crate::base::path::show;
use crate::cli::args::Rehearse;
use crate::cli::exit::Exit;
use crate::cli::term::Term;
use crate::cli::{check, pack, unpack};
use crate::flow::check::report::VolumeState;
use crate::flow::error::OutputError;
use crate::flow::pack::plan;
use crate::flow::pack::request::PackRequest;
use crate::flow::rehearse::{differences, flip_bit, make_samples};
use crate::flow::unpack::UnpackRequest;
use crate::flow::{FlowError, Outcome, keys};
use crate::format::part::is_part;
use crate::plan::parity::Wish;
use crate::plan::placement::Fill;
use crate::stage::compress::Level;
use crate::stage::seal::{Keyring, Recipient};
use crate::stage::volume::Volume;

/// How many folders stand for drives.
const DRIVES: u16 = 3;
/// Differences that are shown.
const SHOWN: usize = 20;

/// Plays sender, courier and receiver. Samples and their folder are removed in the end; with a source, everything stays
/// in the output folder.
pub(crate) fn run(args: &Rehearse, term: &Term) -> Result<Exit, FlowError> {
    match (&args.source, &args.output) {
        (Some(source), Some(folder)) => {
            if !folder.is_dir() {
                fs::create_dir(folder).at("create", folder)?;
            }
            let exit = rehearse(source, folder, term)?;
            term.line(&format!("\nAll of it is in {}: the key, the volumes, what was unpacked.", show(folder)));
            Ok(exit)
        }
        _ => {
            let place = std::env::temp_dir();
            let folder = tempfile::tempdir().at("create a folder in", &place)?;
            let source = make_samples(folder.path())?;
            rehearse(&source, folder.path(), term)
        }
    }
}

/// Plays the six steps. The rehearsal passes only if the check finds the flipped bit and everything comes back the
/// same.
fn rehearse(source: &Path, folder: &Path, term: &Term) -> Result<Exit, FlowError> {
    step(1, "The receiver makes a key and gives the recipient to the sender.", term);
    let key_file = folder.join("rehearsal.key");
    let recipient = keys::generate(&key_file, None)?;
    term.line(&format!("   $ pouch keygen -o {}\n{recipient}", show(&key_file)));

    step(2, "The sender packs onto three drives. Who carries them cannot open them, nor can the sender.", term);
    let drives = drives(folder)?;
    let packed = sender(source, recipient, &drives, term)?;

    step(3, "The courier checks a drive, without any key.", term);
    courier(&drives[1], term)?;

    let is_noticed = flipped_bit(&drives, term)?;

    step(5, "The receiver unpacks, from the drives in any order.", term);
    let target = folder.join("unpacked");
    let unpacked = receiver(&drives, &key_file, &target, term)?;

    step(6, "What came back is held against what went in.", term);
    let is_same = compare(source, &target, term)?;
    let is_good = is_same && is_noticed && unpacked == Outcome::Ok && packed == Outcome::Ok;
    term.line(if is_good {
        "the same: contents, types, modes, times, links, holes. The hand-off works."
    } else if is_same {
        "the same, but not all went as it should: see above."
    } else {
        "not all of it is the same: see above."
    });
    Ok(if is_good { Exit::Ok } else { Exit::Damaged })
}

fn step(number: u32, text: &str, term: &Term) {
    term.line(&format!("\n{number}. {text}"));
}

fn sender(source: &Path, recipient: Recipient, drives: &[PathBuf], term: &Term) -> Result<Outcome, FlowError> {
    let outputs: Vec<String> = drives.iter().map(|drive| format!("-o {}", show(drive))).collect();
    term.line(&format!("   $ pouch pack {} -r {recipient} {}", show(source), outputs.join(" ")));
    let request = request(source, recipient, drives);
    let planned = plan::plan(&request, term)?;
    pack::show_plan(&planned.plan, term);
    Ok(pack::carry_out(planned, &request, term)?.outcome())
}

/// Flips a bit of a part, checks all drives, and flips it back. Returns whether the check found that damage and no
/// other.
fn flipped_bit(drives: &[PathBuf], term: &Term) -> Result<bool, FlowError> {
    let part = first_part(drives)?;
    let text =
        format!("On the way one bit flips, here in {}; the next check notices. It is flipped back.", show(&part));
    step(4, &text, term);
    flip_bit(&part)?;
    let noticed = crate::flow::check::check(drives, term)?;
    // The same bit once more: the part is whole again.
    flip_bit(&part)?;
    term.end();
    check::show_report(&noticed, term);
    Ok(noticed.volumes.iter().filter(|volume| volume.state == VolumeState::Damaged).count() == 1)
}

fn receiver(drives: &[PathBuf], key_file: &Path, target: &Path, term: &Term) -> Result<Outcome, FlowError> {
    let backwards: Vec<PathBuf> = drives.iter().rev().cloned().collect();
    let shown: Vec<String> = backwards.iter().map(|drive| show(drive)).collect();
    term.line(&format!("   $ pouch unpack {} -i {} -o {}", shown.join(" "), show(key_file), show(target)));
    let mut ring = Keyring::new();
    keys::load(&mut ring, key_file, |_| Err(FlowError::Defect("the rehearsal's key has no passphrase".into())))?;
    let order = UnpackRequest {
        volumes: backwards,
        bundle: None,
        target: target.to_path_buf(),
        only: vec![],
        overwrite: false,
        rename: false,
    };
    let report = crate::flow::unpack::unpack(&order, &ring, None, term)?;
    term.end();
    unpack::show_report(&report, term);
    Ok(report.outcome())
}

/// Prints the first differences of the source and what was unpacked of it. Returns whether there are none.
fn compare(source: &Path, target: &Path, term: &Term) -> Result<bool, FlowError> {
    let name = source.canonicalize().at("look at", source)?;
    let back = target.join(source.file_name().or(name.file_name()).unwrap_or_default());
    let found = differences(source, &back)?;
    found.iter().take(SHOWN).for_each(|difference| term.line(difference));
    Ok(found.is_empty())
}

/// The request of a sender who leaves all options at their defaults.
fn request(source: &Path, recipient: Recipient, drives: &[PathBuf]) -> PackRequest {
    PackRequest {
        sources: vec![source.to_owned()],
        recipients: vec![recipient],
        passphrase: None,
        outputs: drives.to_vec(),
        volumes: None,
        volume_size: None,
        fill: Fill::Spread,
        level: Level::Quick,
        parity: Wish::default(),
        verify: None,
        replaced: false,
        restart: false,
    }
}

/// Makes the folders that stand for drives. Fails if one exists: it may hold an earlier rehearsal.
fn drives(folder: &Path) -> Result<Vec<PathBuf>, FlowError> {
    let paths: Vec<PathBuf> = (1..=DRIVES).map(|number| folder.join(format!("drive-{number}"))).collect();
    for path in &paths {
        match fs::create_dir(path) {
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
                return Err(FlowError::Output(OutputError::Exists(path.clone())));
            }
            other => other.at("create", path)?,
        }
    }
    Ok(paths)
}

fn courier(drive: &Path, term: &Term) -> Result<(), FlowError> {
    term.line(&format!("   $ pouch check {}", show(drive)));
    let report = crate::flow::check::check(&[drive.to_owned()], term)?;
    term.end();
    check::show_report(&report, term);
    Ok(())
}

/// The first part on the second drive, or on any other if that has none.
fn first_part(drives: &[PathBuf]) -> Result<PathBuf, FlowError> {
    let volumes = crate::flow::bundle::scan::gather(drives)?;
    let mut order = volumes.iter().skip(1).chain(&volumes);
    order.find_map(first_part_on).ok_or_else(|| FlowError::Defect("the rehearsal wrote no part".into()))
}

fn first_part_on(volume: &Volume) -> Option<PathBuf> {
    let part = volume.files.iter().find(|file| is_part(&file.name))?;
    Some(volume.path(&part.name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rehearsal_does_not_use_the_drives_of_an_earlier_one() {
        let folder = tempfile::tempdir().unwrap();
        let made = drives(folder.path()).unwrap();
        assert_eq!(made.len(), 3);
        assert!(made.iter().all(|drive| drive.is_dir()));
        let again = drives(folder.path());
        assert!(matches!(again, Err(FlowError::Output(OutputError::Exists(path))) if path == made[0]));
    }

    #[test]
    fn the_flipped_part_is_on_the_second_drive_if_that_has_one() {
        let folder = tempfile::tempdir().unwrap();
        let drives = drives(folder.path()).unwrap();
        let write = |drive: usize, name: &str| {
            let volume = drives[drive].join(format!("volume-{}", drive + 1));
            fs::create_dir_all(&volume).unwrap();
            fs::write(volume.join("seal.age"), b"seal").unwrap();
            fs::write(volume.join(name), b"part").unwrap();
            volume.join(name)
        };
        let first = write(0, "000001.age");
        write(1, "head.age");
        assert_eq!(first_part(&drives[..2]).unwrap(), first);
        let third = write(2, "000003.age");
        assert_eq!(first_part(&drives).unwrap(), third);
        let second = write(1, "000002.par");
        assert_eq!(first_part(&drives).unwrap(), second);
    }

    #[test]
    fn a_rehearsal_without_parts_is_a_defect() {
        let folder = tempfile::tempdir().unwrap();
        let drive = folder.path().join("volume-1");
        fs::create_dir(&drive).unwrap();
        fs::write(drive.join("seal.age"), b"seal").unwrap();
        assert!(matches!(first_part(&[drive]), Err(FlowError::Defect(_))));
    }
}
