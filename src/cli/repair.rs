//! `pouch repair`: prints which volumes were written anew, or which parts and drives are lacking for that.

use crate::base::path::show;
use crate::base::size::count;
use crate::cli::args::Repair;
use crate::cli::exit::Exit;
use crate::cli::secrets::keyring;
use crate::cli::term::Term;
use crate::flow::FlowError;
use crate::flow::repair::report::RepairReport;
use crate::flow::repair::{RepairRequest, repair};
use crate::format::part::{file_name, parity_name};
use crate::format::volume_number::VolumeNumber;
use crate::plan::needed_parts::ranges;
use crate::plan::repair::Verdict;

/// Writes damaged and lost volumes anew and prints the report. Also prints a report if nothing could be written.
pub(crate) fn run(args: &Repair, term: &Term) -> Result<Exit, FlowError> {
    let ring = keyring(&args.keys, &args.volumes, term)?;
    let request = RepairRequest {
        volumes: args.volumes.clone(),
        bundle: args.bundle.fingerprint.clone(),
        target: args.output.clone(),
        dry_run: args.dry_run,
    };
    let report = repair(&request, &ring, term)?;
    term.end();
    if args.json.json {
        term.json(&report.to_json());
    } else {
        show_report(&report, args.dry_run, term);
    }
    Ok(report.outcome().into())
}

/// Parts that are named one by one. The others are counted.
const SHOWN: usize = 20;

/// Prints what was written. In a dry run it prints what would be written.
fn show_report(report: &RepairReport, dry_run: bool, term: &Term) {
    for folder in &report.already {
        term.line(&format!("written before, and whole: {}", show(folder)));
    }
    if report.volumes.is_empty() {
        term.line(if report.already.is_empty() {
            "all volumes of the bundle are here and whole: nothing is to be repaired"
        } else {
            "nothing else is to be repaired"
        });
        return;
    }
    let one = report.volumes.len() == 1;
    let which = ranges(report.volumes.iter().map(|volume| u32::from(*volume)));
    let volumes = format!("{} {which}", if one { "volume" } else { "volumes" });
    if !report.is_possible() {
        return show_lost(report, &volumes, term);
    }
    if dry_run {
        let is = if one { "is" } else { "are" };
        term.line(&format!("{volumes} {is} to be written anew into {}", show(&report.target)));
        return;
    }
    for folder in &report.written {
        term.line(&format!("written: {}", show(folder)));
    }
    let rebuilt = count(report.rebuilt as u64, "part");
    term.line(&format!("{rebuilt} rebuilt, the others copied; every part has the SHA-256 it had when it was packed"));
    term.line("written and synced, not read back; `pouch check` after plugging in again shows what is stored");
    term.line("Copy each volume onto a drive of its own. The old ones were left as they are. A new one may bear the seals of another.");
}

/// Prints which parts no drive here can give back, and which volumes would help.
fn show_lost(report: &RepairReport, volumes: &str, term: &Term) {
    let counts = lost_counts(report);
    term.line(&format!("{volumes} cannot be made whole with these drives: {counts} cannot be rebuilt"));
    let data = report.lost.iter().map(|number| file_name(*number));
    let names: Vec<String> = data.chain(report.lost_parity.iter().map(|number| parity_name(*number))).collect();
    for name in names.iter().take(SHOWN) {
        term.line(&format!("  {name}"));
    }
    if names.len() > SHOWN {
        term.line(&format!("  and {} more (--json has all)", names.len() - SHOWN));
    }
    if let Verdict::Short { any_one, at_least, .. } = &report.verdict {
        term.hint(&bring(any_one, *at_least));
    }
    term.line("nothing was written");
    term.hint("`pouch unpack` delivers every file that is whole");
}

/// How many data and parity parts are lost.
fn lost_counts(report: &RepairReport) -> String {
    let lost = [(report.lost.len(), "data part"), (report.lost_parity.len(), "parity part")];
    let counts = lost.iter().filter(|(parts, _)| *parts > 0).map(|(parts, what)| count(*parts as u64, what));
    counts.collect::<Vec<_>>().join(" and ")
}

/// Which volumes would help.
fn bring(any_one: &[VolumeNumber], at_least: u16) -> String {
    let which = ranges(any_one.iter().map(|volume| u32::from(*volume)));
    match any_one {
        [] => format!("at least {at_least} more volumes are needed, whole"),
        [_] => format!("bring volume {which}, whole"),
        _ => format!("any one of the volumes {which}, whole, would do"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::volume_number::tests::volumes;

    fn report(lost: &[u32], lost_parity: &[u32]) -> RepairReport {
        RepairReport {
            volumes: volumes([1]),
            target: "/t".into(),
            verdict: Verdict::Complete,
            short: false,
            rebuilt: 0,
            lost: lost.to_vec(),
            lost_parity: lost_parity.to_vec(),
            written: Vec::new(),
            already: Vec::new(),
        }
    }

    #[test]
    fn lost_data_and_lost_parity_are_counted_apart() {
        assert_eq!(lost_counts(&report(&[3], &[])), "1 data part");
        assert_eq!(lost_counts(&report(&[], &[1, 2])), "2 parity parts");
        assert_eq!(lost_counts(&report(&[3, 4], &[1])), "2 data parts and 1 parity part");
    }

    #[test]
    fn the_fewest_volumes_that_help_are_asked_for() {
        assert_eq!(bring(&volumes([2]), 1), "bring volume 2, whole");
        assert_eq!(bring(&volumes([2, 3, 5]), 1), "any one of the volumes 2-3, 5, whole, would do");
        assert_eq!(bring(&[], 2), "at least 2 more volumes are needed, whole");
    }
}
