//! `pouch check`

use crate::base::path::{escape, show};
use crate::base::size::{count, human};
use crate::cli::args::{Check, Keys};
use crate::cli::exit::Exit;
use crate::cli::secrets::keyring;
use crate::cli::term::Term;
use crate::flow::FlowError;
use crate::flow::margin::margin;
use crate::flow::received::BundleCheck;
use crate::flow::report::{CHECK_DOES_NOT_PROVE, CheckReport, State, VolumeCheck};
use crate::plan::repair::{Margin, Verdict};
use crate::plan::want::ranges;

/// File names that are listed one by one.
const SHOWN: usize = 20;

/// Checks and says what each volume is.
pub fn run(args: &Check, term: &Term) -> Result<Exit, FlowError> {
    let with_key = !args.identities.is_empty() || args.fd.passphrase_fd.is_some();
    let keys = Keys { identities: args.identities.clone(), fd: args.fd.clone() };
    let ring = if with_key { Some(keyring(&keys, &args.volumes, term)?) } else { None };
    let mut report = crate::flow::check::check(&args.volumes, term)?;
    term.end();
    if let Some(ring) = ring {
        report.bundle = Some(margin(&args.volumes, &report, &ring)?);
    }
    match args.json.json {
        true => term.json(&report.to_json()),
        false => show_report(&report, term),
    }
    Ok(report.outcome().into())
}

/// Each volume, what is wrong with it, and what was not proved.
pub fn show_report(report: &CheckReport, term: &Term) {
    for volume in &report.volumes {
        show_volume(volume, term);
    }
    if let Some(bundle) = &report.bundle {
        show_bundle(bundle, term);
    }
    term.line(CHECK_DOES_NOT_PROVE);
}

/// What can be had from these volumes, and what else may go.
fn show_bundle(bundle: &BundleCheck, term: &Term) {
    let list = |volumes: &[u16]| ranges(volumes.iter().map(|volume| u32::from(*volume)));
    let here = format!("volumes {} of {} are here", list(&bundle.here), bundle.volumes);
    term.line(&match &bundle.verdict {
        Verdict::Complete => format!("the bundle: {here}: every part of the data is whole"),
        Verdict::Repairable { rebuilt } => {
            let parts = count(rebuilt.len() as u64, "part");
            format!("the bundle: {here}: {parts} missing or damaged, to be rebuilt from the others")
        }
        Verdict::Short { lost, any_one, at_least } => {
            let parts = count(lost.len() as u64, "part");
            let bring = match any_one.is_empty() {
                false => format!("any one of the volumes {} would complete it", list(any_one)),
                true => format!("at least {} more are needed", count((*at_least).into(), "volume")),
            };
            format!("the bundle: {here}: {parts} cannot be rebuilt; {bring}")
        }
    });
    match bundle.margin {
        Some(Margin { volumes: 0, shards: 0 }) => {
            term.line("margin: none; the next bad sector is data lost: `pouch repair` makes new volumes")
        }
        Some(Margin { volumes: 0, shards }) => {
            term.line(&format!("margin: {} of any row may be bad; no drive may be lost", count(shards.into(), "chunk")))
        }
        Some(Margin { volumes, .. }) => term.line(&format!("margin: any {volumes} more of these drives may be lost")),
        None => {}
    }
    if !bundle.needed.is_empty() && !matches!(bundle.verdict, Verdict::Short { .. }) {
        term.line(&format!("needed: volume {}; without any one of these, data is lost", list(&bundle.needed)));
    }
}

fn show_volume(volume: &VolumeCheck, term: &Term) {
    let files = format!("{}, {}", count(volume.files as u64, "file"), human(volume.bytes));
    term.line(&format!("{}: {} ({files})", show(&volume.folder), volume.state.word()));
    if let Some(trouble) = &volume.trouble {
        term.line(&format!("  {trouble}"));
    }
    let damaged = volume.damaged.iter().map(|(name, why)| format!("  {} {why}", escape(name.as_bytes())));
    let missing = volume.missing.iter().map(|name| format!("  {} is missing", escape(name.as_bytes())));
    let all: Vec<String> = damaged.chain(missing).collect();
    for line in all.iter().take(SHOWN) {
        term.line(line);
    }
    if all.len() > SHOWN {
        term.line(&format!("  and {} more (--json has all)", all.len() - SHOWN));
    }
    if volume.state != State::Whole {
        term.line("  hint: copy the volume again from where it is whole; unpack still delivers what is whole here");
    }
}
