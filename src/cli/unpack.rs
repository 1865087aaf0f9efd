//! `pouch unpack`

use crate::base::json::document;
use crate::base::path::{escape, show};
use crate::base::size::{count, grouped, human};
use crate::cli::args::Unpack;
use crate::cli::exit::Exit;
use crate::cli::secrets::keyring;
use crate::cli::term::Term;
use crate::flow::FlowError;
use crate::flow::report::UnpackReport;
use crate::flow::unpack::Request;
use crate::plan::want::ranges;

/// Files and parts that are listed one by one.
const SHOWN: usize = 20;

/// Unpacks and says what came of it in three lines.
pub fn run(args: &Unpack, term: &Term) -> Result<Exit, FlowError> {
    let ring = keyring(&args.keys, &args.volumes, term)?;
    let only = args.only.iter().map(|path| crate::base::path::as_bytes(path.as_ref()).to_vec()).collect();
    let request =
        Request { volumes: args.volumes.clone(), target: args.output.clone(), only, overwrite: args.overwrite };
    let report = crate::flow::unpack::unpack(&request, &ring, term);
    term.end();
    let report = report?;
    match args.json.json {
        true => term.line(&document(&report.to_json())),
        false => show_report(&report, term),
    }
    Ok(report.outcome().into())
}

/// The verdict: what is lost, then intact, complete, origin.
pub fn show_report(report: &UnpackReport, term: &Term) {
    for note in &report.notes {
        term.print_note(note);
    }
    for part in report.bad_parts.iter().filter(|part| part.damaged).take(SHOWN) {
        term.line(&format!("part {} of volume {} is damaged: {}", part.number, part.volume, part.why));
    }
    for lost in report.lost.iter().take(SHOWN) {
        term.line(&format!("not delivered: {}: {}", escape(&lost.path), lost.why));
    }
    if report.lost.len() > SHOWN {
        term.line(&format!("not delivered: {} more (--json has all)", report.lost.len() - SHOWN));
    }
    if let Some(why) = &report.failed {
        term.error(why);
        term.hint("what was whole by then is in place; free room, then run it again with --overwrite to get all of it");
    }
    term.line(&format!("intact    {}", intact(report)));
    term.line(&format!("complete  {}", complete(report)));
    term.line(&format!(
        "origin    unknown: nothing signed says who packed this; compare the fingerprint with the sender's: {}",
        report.fingerprint
    ));
}

fn intact(report: &UnpackReport) -> String {
    match report.intact() {
        true => "yes: every byte delivered is the one that was packed".into(),
        false => {
            "no: files are damaged, they were not delivered; every file delivered is the one that was packed".into()
        }
    }
}

fn complete(report: &UnpackReport) -> String {
    let what = if report.selected { "of those asked for" } else { "of the bundle" };
    let where_to = format!("{} in {}", human(report.bytes), show(&report.target));
    let missing: Vec<u32> = report.bad_parts.iter().filter(|part| !part.damaged).map(|part| part.number).collect();
    let mut volumes: Vec<u32> = report.bad_parts.iter().map(|part| part.volume.into()).collect();
    volumes.sort_unstable();
    volumes.dedup();
    if report.delivered == report.files && report.lost.is_empty() {
        let spare = match report.bad_parts.is_empty() {
            true => String::new(),
            false => format!(
                "; parts {} are missing or damaged and hold none of their bytes",
                ranges(report.bad_parts.iter().map(|part| part.number))
            ),
        };
        return format!("yes: all {} {what}, {where_to}{spare}", count(report.files, "file"));
    }
    let bring = match missing.is_empty() {
        true => String::new(),
        false => {
            format!("; parts {} are missing: bring volume {} of {}", ranges(missing), ranges(volumes), report.volumes)
        }
    };
    format!("no: {} of {} {what}, {where_to}{bring}", grouped(report.delivered), count(report.files, "file"))
}
