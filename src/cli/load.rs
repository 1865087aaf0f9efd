//! `pouch load`

use crate::base::path::show;
use crate::base::size::{count, human};
use crate::cli::args::Load;
use crate::cli::exit::Exit;
use crate::cli::term::Term;
use crate::flow::FlowError;
use crate::flow::load::{Request, load};
use crate::flow::loaded::LoadReport;

/// Copies a staged volume to its drive.
pub fn run(args: &Load, term: &Term) -> Result<Exit, FlowError> {
    let request = Request { staged: args.staged.clone(), drive: args.drive.clone(), remove: args.remove };
    let report = load(&request, term)?;
    term.end();
    match args.json.json {
        true => term.json(&report.to_json()),
        false => show_report(&report, term),
    }
    Ok(Exit::Ok)
}

fn show_report(report: &LoadReport, term: &Term) {
    if report.kept > 0 {
        let which = if report.kept == report.files { "all were" } else { "of them were" };
        term.line(&format!("{} {which} there from an earlier run, whole", count(report.kept as u64, "file")));
    }
    let files = format!("{}, {}", count(report.files as u64, "file"), human(report.bytes));
    term.line(&format!("{}: whole, read back from the drive ({files})", show(&report.folder)));
    match (report.removed, report.folder_stays) {
        (true, true) => {
            term.line(&format!("{}: removed, but for other files in that folder", show(&report.source)));
        }
        (true, false) => term.line(&format!("{}: removed", show(&report.source))),
        (false, _) => {}
    }
    term.line("safe to unplug");
}
