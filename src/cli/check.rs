//! `pouch check`

use crate::base::path::{escape, show};
use crate::base::size::{count, human};
use crate::cli::args::Check;
use crate::cli::exit::Exit;
use crate::cli::term::Term;
use crate::flow::FlowError;
use crate::flow::report::{CHECK_DOES_NOT_PROVE, CheckReport, State, VolumeCheck};

/// File names that are listed one by one.
const SHOWN: usize = 20;

/// Checks and says what each volume is.
pub fn run(args: &Check, term: &Term) -> Result<Exit, FlowError> {
    let report = crate::flow::check::check(&args.volumes, term)?;
    term.end();
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
    term.line(CHECK_DOES_NOT_PROVE);
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
