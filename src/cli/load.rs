//! `pouch load`: prints what reached the drive, how well that is verified, and what became of the staged copy.

use crate::base::path::show;
use crate::base::size::{count, human};
use crate::cli::args::Load;
use crate::cli::exit::Exit;
use crate::cli::term::Term;
use crate::flow::FlowError;
use crate::flow::load::report::LoadReport;
use crate::flow::load::{LoadRequest, load};

/// Copies a staged volume to its drive. With `--move` it removes the staged one once the copy is verified.
pub(crate) fn run(args: &Load, term: &Term) -> Result<Exit, FlowError> {
    let request = LoadRequest { staged: args.staged.clone(), drive: args.drive.clone(), remove: args.remove };
    let mut report = load(&request, term)?;
    term.end();
    term.complete(&mut report.notes);
    if args.json.json {
        term.json(&report.to_json());
    } else {
        show_report(&report, term);
    }
    Ok(report.outcome().into())
}

fn show_report(report: &LoadReport, term: &Term) {
    let files = count(report.files as u64, "file");
    term.line(&format!("loaded: {} ({files}, {})", show(&report.folder), human(report.bytes)));
    if report.kept > 0 {
        term.line(&format!("from an earlier run, found whole: {} of {files}", report.kept));
    }
    term.line(if report.past_cache {
        "read back from the drive, past the cache: every byte is stored; safe to unplug once unmounted"
    } else {
        "read back; this file system may have answered from memory: `pouch check --after-replug` shows what is stored"
    });
    if report.changed.is_some() {
        term.line(
            "this drive did not keep a file that was written well, and kept its second copy: do not trust it with the next hand-off",
        );
    }
    if report.removed {
        let rest = if report.folder_stays { ", but for the folder and what else is in it" } else { "" };
        term.line(&format!("removed: {}{rest}", show(&report.source)));
    }
    if let Some(why) = &report.not_removed {
        term.error(&format!(
            "loaded and verified; only the staged copy at {} could not be removed: {why}",
            show(&report.source)
        ));
        term.hint("the volume on the drive is complete; delete the staged copy, or run the same command again");
    }
}
