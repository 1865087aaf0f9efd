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
use crate::flow::{FlowError, Outcome, keys};
use crate::plan::parity::Wish;
use crate::plan::placement::Fill;
use crate::stage::compress::Level;
use crate::stage::seal::{Keyring, Recipient};

/// How many folders stand for drives.
const DRIVES: u16 = 3;

/// Plays sender, courier and receiver. Samples and their folder are removed in the end; with a source, everything stays
/// in the output folder.
pub fn run(args: &Rehearse, term: &Term) -> Result<Exit, FlowError> {
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
    let step = |number: u32, text: &str| term.line(&format!("\n{number}. {text}"));
    step(1, "The receiver makes a key and gives the recipient to the sender.");
    let key_file = folder.join("rehearsal.key");
    let recipient = keys::generate(&key_file, None)?;
    term.line(&format!("   $ pouch keygen -o {}\n{recipient}", show(&key_file)));

    step(2, "The sender packs onto three drives. Who carries them cannot open them, nor can the sender.");
    let drives = drives(folder)?;
    let outputs: Vec<String> = drives.iter().map(|drive| format!("-o {}", show(drive))).collect();
    term.line(&format!("   $ pouch pack {} -r {recipient} {}", show(source), outputs.join(" ")));
    let request = request(source, recipient, &drives);
    let planned = plan::plan(&request, term)?;
    pack::show_plan(&planned.plan, term);
    let packed = pack::carry_out(planned, &request, term)?;

    step(3, "The courier checks a drive, without any key.");
    courier(&drives[1], term)?;

    let part = first_part(&drives)?;
    let text =
        format!("On the way one bit flips, here in {}; the next check notices. It is flipped back.", show(&part));
    step(4, &text);
    flip_bit(&part)?;
    let noticed = crate::flow::check::check(&drives, term)?;
    // The same bit once more: the part is whole again.
    flip_bit(&part)?;
    term.end();
    check::show_report(&noticed, term);
    let damaged = noticed.volumes.iter().filter(|volume| volume.state == VolumeState::Damaged).count();

    step(5, "The receiver unpacks, from the drives in any order.");
    let target = folder.join("unpacked");
    let mut backwards = drives.clone();
    backwards.reverse();
    let shown: Vec<String> = backwards.iter().map(|drive| show(drive)).collect();
    term.line(&format!("   $ pouch unpack {} -i {} -o {}", shown.join(" "), show(&key_file), show(&target)));
    let mut ring = Keyring::new();
    keys::load(&mut ring, &key_file, |_| Err(FlowError::Defect("the rehearsal's key has no passphrase".into())))?;
    let order = crate::flow::unpack::UnpackRequest {
        volumes: backwards,
        bundle: None,
        target: target.clone(),
        only: vec![],
        overwrite: false,
        rename: false,
    };
    let report = crate::flow::unpack::unpack(&order, &ring, None, term)?;
    term.end();
    unpack::show_report(&report, term);

    step(6, "What came back is held against what went in.");
    let name = source.canonicalize().at("look at", source)?;
    let back = target.join(source.file_name().or(name.file_name()).unwrap_or_default());
    let found = differences(source, &back)?;
    found.iter().take(20).for_each(|difference| term.line(difference));
    let good = found.is_empty() && damaged == 1 && report.outcome() == Outcome::Ok && packed.outcome() == Outcome::Ok;
    term.line(match (good, found.is_empty()) {
        (true, _) => "the same: contents, types, modes, times, links, holes. The hand-off works.",
        (false, true) => "the same, but not all went as it should: see above.",
        (false, false) => "not all of it is the same: see above.",
    });
    Ok(if good { Exit::Ok } else { Exit::Damaged })
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
    let part = |file: &&crate::stage::volume::VolumeFile| crate::format::part::is_part(&file.name);
    let order = volumes.iter().skip(1).chain(&volumes);
    let found = order.flat_map(|volume| volume.files.iter().find(part).map(|file| volume.path(&file.name))).next();
    found.ok_or_else(|| FlowError::Defect("the rehearsal wrote no part".into()))
}
