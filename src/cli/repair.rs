//! `pouch repair`

use crate::base::path::show;
use crate::base::size::count;
use crate::cli::args::Repair;
use crate::cli::exit::Exit;
use crate::cli::secrets::keyring;
use crate::cli::term::Term;
use crate::flow::FlowError;
use crate::flow::received::RepairReport;
use crate::flow::repair::{Request, repair};
use crate::plan::repair::Verdict;
use crate::plan::want::ranges;

/// Writes what is damaged or lost anew.
pub fn run(args: &Repair, term: &Term) -> Result<Exit, FlowError> {
    let ring = keyring(&args.keys, &args.volumes, term)?;
    let request = Request { volumes: args.volumes.clone(), target: args.output.clone(), dry_run: args.dry_run };
    let report = repair(&request, &ring, term)?;
    term.end();
    match args.json.json {
        true => term.json(&report.to_json()),
        false => show_report(&report, args.dry_run, term),
    }
    Ok(report.outcome().into())
}

fn show_report(report: &RepairReport, dry_run: bool, term: &Term) {
    if report.volumes.is_empty() {
        term.line("all volumes of the bundle are here and whole: nothing is to be repaired");
        return;
    }
    let volumes = ranges(report.volumes.iter().map(|volume| u32::from(*volume)));
    if !report.lost.is_empty() {
        let lost = count(report.lost.len() as u64, "part");
        term.line(&format!("volume {volumes} cannot be made whole with these drives: {lost} cannot be rebuilt"));
        if let Verdict::Short { any_one, at_least, .. } = &report.verdict {
            let which = ranges(any_one.iter().map(|volume| u32::from(*volume)));
            term.hint(&match any_one.is_empty() {
                false => format!("any one more of the volumes {which} would do"),
                true => format!("at least {at_least} more volumes are needed"),
            });
        }
        term.hint("`pouch unpack` delivers every file that is whole");
        return;
    }
    if dry_run {
        term.line(&format!("volume {volumes} is to be written anew into {}", show(&report.target)));
        return;
    }
    for folder in &report.written {
        term.line(&format!("written: {}", show(folder)));
    }
    let rebuilt = count(report.rebuilt as u64, "part");
    term.line(&format!("{rebuilt} rebuilt, the others copied; every part has the SHA-256 it had when it was packed"));
    term.line("Copy each volume onto a drive of its own. The old ones were left as they are.");
}
