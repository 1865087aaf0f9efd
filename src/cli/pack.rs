//! `pouch pack`: prints the plan before the first byte is written, and the report in the end.

use crate::base::fault::At;
use crate::base::monitor::NoteKind;
use crate::base::path::show;
use crate::base::secret::SecretText;
use crate::base::size::{count, grouped, human};
use crate::cli::args::{FillArg, Pack};
use crate::cli::exit::Exit;
use crate::cli::secrets::{ask, new_passphrase};
use crate::cli::term::Term;
use crate::flow::pack::plan::{Planned, plan};
use crate::flow::pack::report::{PackReport, Plan, REPLACED, VolumePlan};
use crate::flow::pack::request::PackRequest;
use crate::flow::pack::resume::leftover::takes_passphrase;
use crate::flow::{FlowError, Outcome, keys};
use crate::format::stripe::Scheme;
use crate::plan::parity::Wish;
use crate::plan::placement::Fill;
use crate::stage::compress::Level;
use crate::stage::seal::Recipient;
use crate::stage::walk::WalkError;

/// Plans and prints the plan, then packs and prints the report. A dry run ends after the plan.
pub(crate) fn run(args: &Pack, term: &Term) -> Result<Exit, FlowError> {
    let request = request(args, term)?;
    let planned = plan(&request, term)?;
    term.end();
    for note in &planned.notes {
        term.print_note(note);
    }
    if !args.json.json {
        show_plan(&planned.plan, term);
    }
    if args.dry_run {
        if args.json.json {
            term.json(&planned.plan.to_json());
        }
        // A plan that does not fit is shown too, and the error follows it.
        planned.check_room()?;
        return Ok(Exit::Ok);
    }
    let report = carry_out(planned, &request, term)?;
    if args.json.json {
        term.json(&report.to_json());
    } else {
        show_report(&report, term);
    }
    Ok(report.outcome().into())
}

/// Packs with the terminal as monitor. Adds the notes about drives that only the terminal heard to the report.
pub(crate) fn carry_out(planned: Planned, request: &PackRequest, term: &Term) -> Result<PackReport, FlowError> {
    let report = crate::flow::pack::pack(planned, request, term);
    term.end();
    report.map(|mut report| {
        term.complete(&mut report.notes);
        report
    })
}

/// The request from the command line. Reads recipient files, drops repeated recipients, and asks for a passphrase.
fn request(args: &Pack, term: &Term) -> Result<PackRequest, FlowError> {
    let mut recipients: Vec<Recipient> = Vec::new();
    for text in &args.recipients {
        recipients.push(Recipient::parse(text).map_err(|error| FlowError::Usage(error.to_string()))?);
    }
    for path in &args.recipient_files {
        recipients.extend(keys::recipients(path)?);
    }
    let mut distinct: Vec<Recipient> = Vec::new();
    for recipient in recipients {
        if !distinct.contains(&recipient) {
            distinct.push(recipient);
        }
    }
    // A missing source is reported before the person types a passphrase.
    for source in &args.sources {
        source.symlink_metadata().at("look at", source).map_err(WalkError::Io)?;
    }
    Ok(PackRequest {
        sources: args.sources.clone(),
        recipients: distinct,
        passphrase: passphrase(args, term)?,
        outputs: args.outputs.clone(),
        volumes: args.volumes,
        volume_size: args.volume_size,
        fill: if args.fill == FillArg::Spread { Fill::Spread } else { Fill::Sequential },
        level: args.level.map_or(Level::Quick, Level::Zstd),
        parity: Wish { lose: args.lose, mend: args.mend },
        // With neither option, the drives that can be pulled out are verified.
        verify: (args.verify || args.no_verify).then_some(args.verify),
        replaced: args.replaced,
        restart: args.restart,
    })
}

/// The passphrase that opens the bundle. `None` if only recipients can.
fn passphrase(args: &Pack, term: &Term) -> Result<Option<SecretText>, FlowError> {
    let is_wanted = args.passphrase || args.fd.passphrase_fd.is_some();
    if !is_wanted {
        return Ok(None);
    }
    let passphrase = if args.dry_run {
        // A dry run seals nothing and asks for no passphrase. The plan only has to know that there is one.
        SecretText::new("no passphrase is used in a dry run".into())
    } else if !args.restart && takes_passphrase(&args.outputs) {
        // The interrupted run has written its seals already, so only its own passphrase opens the bundle.
        ask(&args.fd, "Passphrase of the interrupted run: ", term)?
    } else {
        new_passphrase(&args.fd, term)?
    };
    Ok(Some(passphrase))
}

/// Prints the plan, before the first byte is written. `rehearse` prints it too.
pub(crate) fn show_plan(plan: &Plan, term: &Term) {
    let links = if plan.links > 0 { format!(", {}", count(plan.links, "link")) } else { String::new() };
    term.line(&format!(
        "{}, {}{links}: {}",
        count(plan.files, "file"),
        count(plan.folders, "folder"),
        human(plan.bytes)
    ));
    if plan.packed > 0 {
        let again = if plan.again > 0 { format!(", {} are packed again", human(plan.again)) } else { String::new() };
        term.line(&format!("goes on from an interrupted run: {} are packed and verified{again}", human(plan.packed)));
        term.line("begin anew (--restart) if these drives were in other hands since");
    }
    if plan.begins_anew {
        term.line(
            "begins anew: nothing of what an interrupted run packed can be gone on from (with parity, no stripe was whole); it is removed",
        );
    }
    term.line(&format!("sealed: {}", openers(plan)));
    let parts = format!("in parts of {} MiB", plan.class);
    term.line(&format!("expected {}, at most {}, {parts}", human(plan.expected), human(plan.at_most)));
    for volume in &plan.volumes {
        term.line(&format!("  {}  {}", show(&volume.folder), share(volume)));
    }
    margin(plan.parity, plan.volumes.len()).iter().for_each(|line| term.line(line));
    show_risks(plan, term);
}

/// Prints what the sender should know of the plan before it is carried out.
fn show_risks(plan: &Plan, term: &Term) {
    if plan.volumes.len() > 1 && plan.parity.is_none_or(|scheme| scheme.volumes_spared() == 0) {
        term.line(if plan.sequential {
            "filled one after the other: a missing drive costs the files that lie on it"
        } else {
            "spread over all drives: a missing drive hurts nearly every large file (--fill sequential keeps files together)"
        });
    }
    if plan.shared_drive {
        term.line("several of these volumes are on one drive: whoever loses it loses all of them");
    }
    if plan.class > 16 {
        term.line(&format!("this will take about {} of memory", human(plan.memory)));
    }
    if plan.expected <= plan.room && plan.at_most > plan.room {
        let most = human(plan.at_most);
        let room = human(plan.room);
        term.line(&format!("it should fit, but is not sure to: at most {most}, room for {room}. If it runs over it ends with code 7, to go on with one more drive"));
    }
}

/// Who can open the bundle.
fn openers(plan: &Plan) -> String {
    let recipients = match plan.recipients {
        0 => return "the passphrase opens it".into(),
        1 => "1 recipient can open it".to_string(),
        n => format!("any one of {n} recipients can open it"),
    };
    if plan.passphrase { format!("{recipients}, and so can the passphrase") } else { recipients }
}

/// How much of the free room of its drive a volume takes.
fn share(volume: &VolumePlan) -> String {
    let expected = human(volume.expected);
    match volume.cap.map_or(volume.free, |cap| cap.min(volume.free)) {
        0 => format!("{expected} of no room"),
        room => format!("{expected} of {} free, {:.0} %", human(room), volume.expected as f64 * 100.0 / room as f64),
    }
}

/// What may be lost and what may be damaged, in lines. Both draw on the same parity.
fn margin(scheme: Option<Scheme>, volumes: usize) -> Vec<String> {
    let Some(scheme) = scheme else { return vec!["no parity: what is lost or damaged stays so".into()] };
    let m = scheme.m;
    let shards = scheme.shards();
    let spared = scheme.volumes_spared();
    let mut lines = Vec::new();
    if spared > 0 {
        lines.push(format!("any {spared} of the {volumes} drives may be lost"));
    }
    let all = if spared > 0 { "with all drives there, " } else { "" };
    let percent = f64::from(m) * 100.0 / shards as f64;
    lines.push(format!(
        "bad sectors: {all}any {m} of the {shards} chunks of 64 KiB in a row may be bad ({percent:.1} %)"
    ));
    // The lost drives would use up the parity of every stripe.
    if m % scheme.c == 0 && spared > 0 {
        let more = if spared == 1 && volumes > 2 { "--lose 2" } else { "--mend 5%" };
        lines.push(format!(
            "with {} gone nothing is left for bad sectors: a single one is data lost; {more} would leave some",
            count(spared.into(), "drive")
        ));
    }
    lines
}

/// Prints which drives failed or lost data, although the bundle is complete.
fn show_trouble(report: &PackReport, term: &Term) {
    for (drive, why) in &report.given_up {
        term.error(&format!("{} was given up: {why}", show(drive)));
    }
    if !report.given_up.is_empty() {
        term.hint("the bundle is complete without it: hand on the volumes named above, and nothing on that drive, even if `pouch check` calls it whole");
    }
    for drive in &report.distrusted {
        term.error(&format!("{} did not keep all that was written to it the first time", show(drive)));
        term.hint("its volume is whole now; copy it to a good drive with `pouch load`, and do not trust this one");
    }
    if report.spared > 0 {
        let parts = count(report.spared as u64, "part");
        term.error(&format!("{parts} found no place on the other drives; parity stands for them"));
        term.hint("the bundle opens whole, but less may be lost or damaged now than was asked for; to have that back, pack anew with another drive, or let a recipient run `pouch repair`");
    }
}

/// Prints what was written, how well that is verified, and who can open it.
fn show_report(report: &PackReport, term: &Term) {
    for (folder, bytes) in &report.volumes {
        term.line(&format!("written: {} ({} of parts)", show(folder), human(*bytes)));
    }
    term.line(how_stored(report));
    show_trouble(report, term);
    if report.replaced {
        term.line(REPLACED);
    }
    show_flaws(report, term);
    term.line(&format!("fingerprint {}", report.fingerprint));
    let opens = match (report.plan.recipients, report.plan.passphrase) {
        (0, _) => "the passphrase does",
        (_, true) => "its recipients and the passphrase do",
        (_, false) => "its recipients can",
    };
    term.line(&format!(
        "Nothing on these drives, and nothing kept here, opens the bundle: only {opens}. `pouch check` verifies a drive."
    ));
}

/// How well it is verified that the drives store the bundle.
fn how_stored(report: &PackReport) -> &'static str {
    if !report.read_back {
        "written and synced, not read back (--verify does); `pouch check` after plugging in again shows what is stored"
    } else if !report.past_cache {
        "read back; a file system may have answered from memory: `pouch check --after-replug` shows what is stored"
    } else {
        match report.outcome() {
            Outcome::Ok if report.plan.staged => {
                "read back, past the cache: every byte is stored; `pouch load` copies each volume to its drive"
            }
            Outcome::Io => "read back from these drives, past the cache: every byte is stored",
            _ => "read back from the drives, past the cache: every byte is stored; safe to unplug once unmounted",
        }
    }
}

/// Prints how many sources are not in the bundle as they are now.
fn show_flaws(report: &PackReport, term: &Term) {
    let flaws = [
        (count_notes(report, NoteKind::Changed), "changed while packed, or could have unseen"),
        (count_notes(report, NoteKind::Unreadable), "could not be read"),
        (count_notes(report, NoteKind::Outdated), "no longer as packed"),
    ];
    let said: Vec<String> = flaws
        .iter()
        .filter(|(number, _)| *number > 0)
        .map(|(number, what)| format!("{} {what}", grouped(*number)))
        .collect();
    if !said.is_empty() {
        term.line(&format!(
            "not all of the sources is in the bundle as it is: {}; named above, or counted",
            said.join(", ")
        ));
    }
}

fn count_notes(report: &PackReport, kind: NoteKind) -> u64 {
    report.notes.iter().filter(|note| note.kind == kind).count() as u64
}

#[cfg(test)]
mod tests;
