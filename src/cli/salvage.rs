//! `pouch unpack --salvage`: prints the three lines of `unpack`, and what they rest on if head or list are lost.

use crate::base::path::show;
use crate::base::size::{count, grouped, human};
use crate::cli::args::Unpack;
use crate::cli::exit::Exit;
use crate::cli::secrets::keyring;
use crate::cli::term::Term;
use crate::cli::unpack::{request, show_losses, show_report};
use crate::flow::FlowError;
use crate::flow::salvage::report::Salvaged;
use crate::flow::salvage::salvage;
use crate::flow::unpack::report::PartState;
use crate::plan::needed_parts::ranges;

/// Unpacks what is whole and prints what proves it. If head and list turn out whole, prints the report of `unpack`.
pub fn run(args: &Unpack, term: &Term) -> Result<Exit, FlowError> {
    let ring = keyring(&args.keys, &args.volumes, term)?;
    let salvaged = salvage(&request(args), &ring, term);
    term.end();
    let salvaged = salvaged?;
    match (args.json.json, salvaged.is_ordinary()) {
        (true, _) => term.json_document(&salvaged.to_json()),
        (false, true) => show_report(&salvaged.report, term),
        (false, false) => show_salvaged(&salvaged, term),
    }
    Ok(salvaged.outcome().into())
}

/// Prints a verdict that rests on less than head and list.
fn show_salvaged(salvaged: &Salvaged, term: &Term) {
    let (report, basis) = (&salvaged.report, &salvaged.basis);
    if basis.idle_parity > 0 {
        let files = count(basis.idle_parity as u64, "parity file");
        term.line(&format!("not used: {files}; only a head says what they are parity of"));
    }
    if basis.list && !basis.head {
        term.line("the list opens with the bundle's key; that it is the bundle's only list, a head would prove");
    }
    let missing: Vec<u32> =
        report.bad_parts.iter().filter(|part| part.state == PartState::Missing).map(|part| part.number).collect();
    if !missing.is_empty() {
        let which = format!("{} {}", if missing.len() == 1 { "part" } else { "parts" }, ranges(missing));
        let more = if basis.endless { "; how many follow the last is not known" } else { "" };
        term.line(&format!("missing: {which}{more}"));
    } else if basis.endless {
        term.line("how many parts follow the last is not known");
    }
    show_losses(report, basis.head, term);
    term.line(&format!("intact    {}", intact(salvaged)));
    term.line(&format!("complete  {}", complete(salvaged)));
    term.line(&match basis.head {
        true => format!(
            "origin    unknown: nothing signed says who packed this; compare the fingerprint with the sender's: {}",
            report.fingerprint
        ),
        false => "origin    unknown: without a head there is no fingerprint to compare with the sender's".into(),
    });
}

/// The verdict on the bytes that were delivered. The bundle's key authenticates all of them; only a hash vouches for a
/// whole file.
fn intact(salvaged: &Salvaged) -> String {
    let unproven = match (salvaged.basis.unproven, salvaged.basis.manifest) {
        (0, _) => "",
        (_, true) => "; some files are known by that alone, no hash vouches for them",
        (_, false) => "; no hash vouches for the files",
    };
    let nothing = salvaged.report.delivered == 0;
    match salvaged.intact() {
        true if nothing => "not known: nothing was delivered, and nothing that was found is damaged".into(),
        false if nothing => "no: what there is, is damaged; nothing was delivered".into(),
        true => format!("yes: each byte delivered was authenticated with the bundle's key{unproven}"),
        false if salvaged.report.is_unkept() => {
            "no: the target does not keep what it is given; nobody knows what it holds of the files it was given".into()
        }
        false => format!(
            "no: what is damaged was not delivered; each byte delivered was authenticated with the bundle's key{unproven}"
        ),
    }
}

/// The verdict on the number of files. Only a list or a manifest can prove that none is missing.
fn complete(salvaged: &Salvaged) -> String {
    let (report, basis) = (&salvaged.report, &salvaged.basis);
    let what = if report.selected { "of those asked for" } else { "of the bundle" };
    let got = format!("{} in {}", human(report.bytes), show(&report.target));
    let all = format!("{} of {}", grouped(report.delivered), count(report.files, "file"));
    let proof = if basis.list { "list" } else { "manifest" };
    if salvaged.complete() {
        return format!("yes: all {} {what}, {got}, as the {proof} proves", count(report.files, "file"));
    }
    // From the least that is proved to the most.
    match () {
        () if !basis.list && !basis.manifest && report.files == 0 => {
            "no: no file was found; list and manifest are lost, so which there were cannot be told".into()
        }
        () if !basis.list && !basis.manifest => format!(
            "no: {all} that were found, {got}; list and manifest are lost, so which others are missing cannot be told"
        ),
        () if !report.complete() => format!("no: {all} {what}, {got}; the others are named above"),
        () if basis.unproven > 0 => format!("no: {all} {what}, {got}; the manifest does not vouch for all of them"),
        () => format!(
            "no: all {} that the manifest names, {got}; which folders and links were in what is missing cannot be told",
            count(report.files, "file")
        ),
    }
}
