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
pub(crate) fn run(args: &Unpack, term: &Term) -> Result<Exit, FlowError> {
    let ring = keyring(&args.keys, &args.volumes, term)?;
    let salvaged = salvage(&request(args), &ring, term);
    term.end();
    let salvaged = salvaged?;
    if args.json.json {
        term.json_document(&salvaged.to_json());
    } else if salvaged.is_ordinary() {
        show_report(&salvaged.report, term);
    } else {
        show_salvaged(&salvaged, term);
    }
    Ok(salvaged.outcome().into())
}

/// Prints a verdict that rests on less than head and list.
fn show_salvaged(salvaged: &Salvaged, term: &Term) {
    let report = &salvaged.report;
    let basis = &salvaged.basis;
    if basis.idle_parity > 0 {
        let files = count(basis.idle_parity as u64, "parity file");
        term.line(&format!("not used: {files}; only a head says what they are parity of"));
    }
    if basis.list && !basis.head {
        term.line("the list opens with the bundle's key; that it is the bundle's only list, a head would prove");
    }
    if let Some(missing) = missing(salvaged) {
        term.line(&missing);
    }
    show_losses(report, basis.head, term);
    term.line(&format!("intact    {}", intact(salvaged)));
    term.line(&format!("complete  {}", complete(salvaged)));
    if basis.head {
        term.line(&format!(
            "origin    unknown: nothing signed says who packed this; compare the fingerprint with the sender's: {}",
            report.fingerprint
        ));
    } else {
        term.line("origin    unknown: without a head there is no fingerprint to compare with the sender's");
    }
}

/// Which parts are missing, as far as that can be told. `None` if all are here.
fn missing(salvaged: &Salvaged) -> Option<String> {
    let bad = salvaged.report.bad_parts.iter();
    let missing: Vec<u32> = bad.filter(|part| part.state == PartState::Missing).map(|part| part.number).collect();
    let is_endless = salvaged.basis.endless;
    if missing.is_empty() {
        return is_endless.then(|| "how many parts follow the last is not known".into());
    }
    let which = format!("{} {}", if missing.len() == 1 { "part" } else { "parts" }, ranges(missing));
    let more = if is_endless { "; how many follow the last is not known" } else { "" };
    Some(format!("missing: {which}{more}"))
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
    if salvaged.intact() && nothing {
        "not known: nothing was delivered, and nothing that was found is damaged".into()
    } else if nothing {
        "no: what there is, is damaged; nothing was delivered".into()
    } else if salvaged.intact() {
        format!("yes: each byte delivered was authenticated with the bundle's key{unproven}")
    } else if salvaged.report.is_unkept() {
        "no: the target does not keep what it is given; nobody knows what it holds of the files it was given".into()
    } else {
        format!(
            "no: what is damaged was not delivered; each byte delivered was authenticated with the bundle's key{unproven}"
        )
    }
}

/// The verdict on the number of files. Only a list or a manifest can prove that none is missing.
fn complete(salvaged: &Salvaged) -> String {
    let report = &salvaged.report;
    let basis = &salvaged.basis;
    let what = if report.selected { "of those asked for" } else { "of the bundle" };
    let got = format!("{} in {}", human(report.bytes), show(&report.target));
    let all = format!("{} of {}", grouped(report.delivered), count(report.files, "file"));
    let proof = if basis.list { "list" } else { "manifest" };
    if salvaged.complete() {
        return format!("yes: all {} {what}, {got}, as the {proof} proves", count(report.files, "file"));
    }
    // From the least that is proved to the most.
    let is_known = basis.list || basis.manifest;
    if !is_known && report.files == 0 {
        "no: no file was found; list and manifest are lost, so which there were cannot be told".into()
    } else if !is_known {
        format!(
            "no: {all} that were found, {got}; list and manifest are lost, so which others are missing cannot be told"
        )
    } else if !report.complete() {
        format!("no: {all} {what}, {got}; the others are named above")
    } else if basis.unproven > 0 {
        format!("no: {all} {what}, {got}; the manifest does not vouch for all of them")
    } else {
        format!(
            "no: all {} that the manifest names, {got}; which folders and links were in what is missing cannot be told",
            count(report.files, "file")
        )
    }
}

#[cfg(test)]
mod tests;
