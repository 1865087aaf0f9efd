//! `pouch unpack`: asks for the next drive if there are fewer ports than drives, and prints the verdict in three lines:
//! intact, complete, origin. `salvage.rs` shares the lines about losses.

use std::collections::BTreeSet;
use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use crate::base::monitor::NoteKind;
use crate::base::path::{escape, show};
use crate::base::pool::lock;
use crate::base::size::{count, grouped, human};
use crate::cli::args::Unpack;
use crate::cli::exit::Exit;
use crate::cli::hint::READABLE;
use crate::cli::secrets::keyring;
use crate::cli::term::Term;
use crate::flow::FlowError;
use crate::flow::bundle::scan::gather;
use crate::flow::error::{not_for_you, stopped_answering};
use crate::flow::unpack::UnpackRequest;
use crate::flow::unpack::drive_rounds::{Ask, Changer};
use crate::flow::unpack::report::{PartState, UnpackReport};
use crate::format::volume_number::VolumeNumber;
use crate::plan::needed_parts::ranges;
use crate::plan::repair::{Margin, Verdict};

/// Files and parts that are named one by one. The others are counted.
const SHOWN: usize = 20;

/// Unpacks and prints the verdict. With `--wait` it first waits for a volume.
pub(crate) fn run(args: &Unpack, term: &Term) -> Result<Exit, FlowError> {
    let changer = DriveChanger::new(&args.volumes, term);
    if args.wait {
        changer.first()?;
    }
    let volumes = changer.places();
    let ring = keyring(&args.keys, &volumes, term)?;
    let waiting = args.wait.then_some(&changer as &dyn Changer);
    let report = crate::flow::unpack::unpack(&UnpackRequest { volumes, ..request(args) }, &ring, waiting, term);
    // The bars go before an error is printed.
    term.end();
    let report = report?;
    if args.json.json {
        term.json_document(&report.to_json());
    } else {
        show_report(&report, term);
    }
    Ok(report.outcome().into())
}

/// Asks the person at the terminal to change drives.
struct DriveChanger<'a> {
    /// Where volumes are looked for: the command line, and places that the person typed.
    places: Mutex<Vec<PathBuf>>,
    term: &'a Term,
}

impl<'a> DriveChanger<'a> {
    fn new(places: &[PathBuf], term: &'a Term) -> Self {
        Self { places: Mutex::new(places.to_vec()), term }
    }

    fn places(&self) -> Vec<PathBuf> {
        lock(&self.places).clone()
    }

    /// Waits until there is at least one volume.
    ///
    /// # Errors
    /// [`FlowError::Usage`] if there is no terminal to ask at.
    fn first(&self) -> Result<(), FlowError> {
        if !std::io::stdin().is_terminal() {
            let text = "--wait asks for drives at a terminal, and there is none; without it, the same command with the other drives goes on from what is there";
            return Err(FlowError::Usage(text.into()));
        }
        while !self.places().iter().any(|place| has_volumes(place)) {
            let places: Vec<String> = self.places().iter().map(|place| show(place)).collect();
            if !self.ask(&format!("There is no volume at {}.", places.join(", ")))? {
                return Err(FlowError::Cancelled);
            }
        }
        // The search for volumes refuses a place that does not exist.
        lock(&self.places).retain(|place| place.is_dir());
        Ok(())
    }

    /// Whether to look again: the person pressed Enter or named another place. `q` and the end of input give up.
    fn ask(&self, what: &str) -> Result<bool, FlowError> {
        self.term.say(what);
        let prompt = "Plug in the next drive and press Enter, or type where it is; q ends with what there is: ";
        let Some(line) = self.term.ask_line(prompt)? else { return Ok(false) };
        match line.trim() {
            "q" => return Ok(false),
            "" => {}
            place => {
                let place = PathBuf::from(place);
                let mut places = lock(&self.places);
                if !places.contains(&place) {
                    places.push(place);
                }
            }
        }
        Ok(true)
    }
}

/// Whether a volume lies there that could be read.
fn has_volumes(place: &Path) -> bool {
    gather(&[place.to_owned()]).is_ok_and(|volumes| volumes.iter().any(|volume| volume.fault.is_none()))
}

impl Changer for DriveChanger<'_> {
    /// Says what is missing and which volume to bring. Asks until a volume is there, or until the person gives up.
    fn next(&self, ask: &Ask) -> Result<Option<Vec<PathBuf>>, FlowError> {
        let wanted = wanted(ask);
        loop {
            if !self.ask(&wanted)? {
                return Ok(None);
            }
            let there: Vec<PathBuf> = self.places().into_iter().filter(|place| has_volumes(place)).collect();
            if !there.is_empty() {
                return Ok(Some(there));
            }
        }
    }
}

/// What is missing, and which volume to bring.
fn wanted(ask: &Ask) -> String {
    let volumes = ranges(ask.bad.iter().map(|part| u32::from(part.volume)).collect::<BTreeSet<u32>>());
    let parts = parts(&ask.bad.iter().map(|part| part.number).collect::<Vec<u32>>());
    let which = match ask.verdict {
        Verdict::Short { any_one, .. } if any_one.len() > 1 => {
            format!("any one of the volumes {} of {}, whole, completes it", of(any_one), ask.volumes)
        }
        _ => format!("wanted: volume {volumes} of {}", ask.volumes),
    };
    let gone = if ask.gone.is_empty() { String::new() } else { format!("{}. ", stopped_answering(ask.gone)) };
    format!("{gone}{parts} missing or damaged; {which}.")
}

fn of(volumes: &[VolumeNumber]) -> String {
    ranges(volumes.iter().map(|volume| u32::from(*volume)))
}

/// The request from the command line, for unpacking and for salvaging.
pub(crate) fn request(args: &Unpack) -> UnpackRequest {
    let only = args.only.iter().map(|path| crate::base::path::as_bytes(path.as_ref()).to_vec()).collect();
    UnpackRequest {
        volumes: args.volumes.clone(),
        bundle: args.bundle.fingerprint.clone(),
        target: args.output.clone(),
        only,
        overwrite: args.overwrite,
        rename: args.rename,
    }
}

/// Prints what is lost, then the verdict: intact, complete, origin.
pub(crate) fn show_report(report: &UnpackReport, term: &Term) {
    show_losses(report, true, term);
    term.line(&format!("intact    {}", intact(report)));
    term.line(&format!("complete  {}", complete(report)));
    term.line(&format!(
        "origin    unknown: nothing signed says who packed this; compare the fingerprint with the sender's: {}",
        report.fingerprint
    ));
}

/// Prints notes, and the parts and files that are damaged or lost. `volumes` says whether it is known to which volume a
/// part belongs; without a head it is not.
pub(crate) fn show_losses(report: &UnpackReport, volumes: bool, term: &Term) {
    for note in &report.notes {
        term.print_note(note);
    }
    show_mended(report, term);
    for part in report.bad_parts.iter().filter(|part| part.state != PartState::Missing).take(SHOWN) {
        let of = if volumes { format!(" of volume {}", part.volume) } else { String::new() };
        let is = if part.state == PartState::Damaged { "is damaged" } else { "is not known" };
        term.line(&format!("part {}{of} {is}: {}", part.number, part.why));
    }
    for lost in report.lost.iter().take(SHOWN) {
        term.line(&format!("not delivered: {}: {}", escape(&lost.path), lost.why));
    }
    if report.lost.len() > SHOWN {
        term.line(&format!("not delivered: {} more (--json has all)", report.lost.len() - SHOWN));
    }
    if let Some(path) = &report.renamed_in {
        let changed = count(report.changes.len() as u64, "path");
        term.line(&format!(
            "renamed: the target could not hold {changed} as packed; {} says what became of each",
            show(path)
        ));
    }
    show_rest(report, term);
}

/// Prints what stopped the run and how to go on. Of several hints it prints the most urgent one.
fn show_rest(report: &UnpackReport, term: &Term) {
    if report.is_unkept() {
        term.error(&format!("{} does not keep what it is given: trust nothing in it", show(&report.target)));
        term.hint(
            "for all that could be seen the bundle is not at fault: unpack it once more, with another -o on another drive",
        );
    }
    if report.lacks_gone() {
        term.error(&stopped_answering(&report.gone));
    } else if !report.gone.is_empty() {
        term.say(&format!("note: {}; nothing is missing for that", stopped_answering(&report.gone)));
    }
    if report.lacks_denied() {
        term.error(&not_for_you(&report.denied));
    }
    let again = match report.kept {
        Some(_) => "run the same command again: it goes on from there",
        None => "unpack once more, into another folder",
    };
    if let Some(why) = &report.failed {
        term.error(why);
        term.hint(&format!("what was whole by then is in place; mend that, then {again}"));
    } else if report.lacks_gone() {
        term.hint(&format!(
            "that is no damage, and nothing that was delivered is lost; plug it in again, then {again}"
        ));
    } else if report.lacks_denied() {
        term.hint(&format!("{READABLE}, then run the same command again: it goes on from there"));
    } else if let Some(kept) = &report.kept {
        let kept = show(kept);
        term.say(&format!(
            "kept: {kept} has what there is of the others; with other drives the same command goes on from there. Remove it if there are none"
        ));
    }
}

/// Prints what parity gave back, and how much more may be lost.
fn show_mended(report: &UnpackReport, term: &Term) {
    let damaged: Vec<_> = report.mended.iter().filter(|part| part.state == PartState::Damaged).collect();
    for part in damaged.iter().take(SHOWN) {
        term.line(&format!("rebuilt: part {} of volume {}, for {}", part.number, part.volume, part.why));
    }
    let more = damaged.len().saturating_sub(SHOWN);
    if more > 0 {
        term.line(&format!("rebuilt: {} more that were damaged (--json has all)", count(more as u64, "part")));
    }
    let missing: Vec<u32> =
        report.mended.iter().filter(|part| part.state != PartState::Damaged).map(|part| part.volume.into()).collect();
    if !missing.is_empty() {
        let volumes: BTreeSet<u32> = missing.iter().copied().collect();
        let parts = count(missing.len() as u64, "part");
        term.line(&format!("rebuilt: {parts} of volume {}, not found on these drives", ranges(volumes)));
    }
    if let Some(margin) = report.margin.filter(|_| !report.mended.is_empty()) {
        term.line(&left(margin));
    }
}

/// How much more may be lost.
fn left(margin: Margin) -> String {
    match (margin.volumes, margin.shards) {
        (0, 0) => {
            "left: no margin; the next bad sector is data lost: copy what was unpacked, or bring all drives".into()
        }
        (0, shards) => {
            format!("left: {} of any row may still be bad; no drive may be lost", count(shards.into(), "chunk"))
        }
        (drives, _) => format!("left: any {} more may be lost", count(drives.into(), "drive")),
    }
}

/// The verdict on the bytes. If nothing was delivered and something is lost, nothing was compared.
fn intact(report: &UnpackReport) -> String {
    if report.intact() && report.delivered == 0 && !report.lost.is_empty() {
        "not known: nothing was delivered, so nothing was held against what was packed".into()
    } else if report.intact() {
        format!("yes: every byte delivered is the one that was read when it was packed{}", mixed(report))
    } else if report.is_unkept() {
        "no: the target does not keep what it is given; nobody knows what it holds of the files it was given".into()
    } else {
        format!(
            "no: files are damaged, they were not delivered; every byte delivered is the one that was read when it was packed{}",
            mixed(report)
        )
    }
}

/// Limits the verdict: a file that changed while it was packed may mix two states.
fn mixed(report: &UnpackReport) -> String {
    let changed = report.notes.iter().filter(|note| note.kind == NoteKind::Changed).count() as u64;
    if changed == 0 {
        return String::new();
    }
    format!("; {} may mix two states, named above", count(changed, "file"))
}

/// The verdict on how many files were delivered, and which volumes would complete them.
fn complete(report: &UnpackReport) -> String {
    let what = if report.selected { "of those asked for" } else { "of the bundle" };
    let where_to = format!("{} in {}", human(report.bytes), show(&report.target));
    if report.complete() {
        return format!("yes: all {} {what}, {where_to}{}", count(report.files, "file"), unneeded(report));
    }
    // All files are here, but a folder could not be read completely when it was packed.
    if report.lost.is_empty() && report.delivered == report.files {
        let all = count(report.files, "file");
        return format!(
            "no: all {all} {what}, {where_to}; folders named above lack something that is not in the bundle"
        );
    }
    // The drives have everything that is in the bundle. Some sources could not be packed.
    if report.lost.is_empty() {
        let got = format!("{} of {}", grouped(report.delivered), count(report.files, "file"));
        return format!("no: {got} {what}, {where_to}; not all of the sources could be packed, as named above");
    }
    // All content is here, and only links could not be made.
    if report.delivered == report.files {
        let links = count(report.lost.len() as u64, "link");
        return format!("no: all {} {what}, {where_to}; {links} not, named above", count(report.files, "file"));
    }
    let got = format!("{} of {}", grouped(report.delivered), count(report.files, "file"));
    format!("no: {got} {what}, {where_to}{}", bring(report))
}

/// Says that parts are lost which hold nothing of the files that were asked for. Empty if no part is lost.
fn unneeded(report: &UnpackReport) -> String {
    let bad: Vec<u32> = report.bad_parts.iter().map(|part| part.number).collect();
    let they = match bad.len() {
        0 => return String::new(),
        1 => "it",
        _ => "they",
    };
    format!("; {} missing or damaged, and what {they} lost holds no byte of these files", parts(&bad))
}

/// Which volumes would complete the files. Empty if no part is missing: then other volumes would not help.
fn bring(report: &UnpackReport) -> String {
    if report.lacks_denied() {
        return "; what you may not read may hold the rest".into();
    }
    let missing: Vec<_> = report.bad_parts.iter().filter(|part| part.state == PartState::Missing).collect();
    let numbers: Vec<u32> = missing.iter().map(|part| part.number).collect();
    if numbers.is_empty() {
        return String::new();
    }
    let volumes: BTreeSet<u32> = missing.iter().map(|part| part.volume.into()).collect();
    let all = report.volumes;
    match &report.verdict {
        Verdict::Short { any_one, .. } if any_one.len() > 1 => {
            format!("; any one of the volumes {} of {all}, whole, would complete it", of(any_one))
        }
        Verdict::Short { at_least, any_one, .. } if volumes.len() > usize::from(*at_least) && any_one.is_empty() => {
            format!("; at least {at_least} of the volumes {} of {all} are needed", ranges(volumes))
        }
        _ => format!("; bring volume {} of {all} ({} missing)", ranges(volumes), parts(&numbers)),
    }
}

/// `parts 3-5 are`. A long list of numbers is replaced by their count.
fn parts(numbers: &[u32]) -> String {
    let list = ranges(numbers.iter().copied());
    let verb = if numbers.len() == 1 { "is" } else { "are" };
    match (numbers.len(), list.len()) {
        (1, _) => format!("part {list} {verb}"),
        (_, ..40) => format!("parts {list} {verb}"),
        (n, _) => format!("{} {verb}", count(n as u64, "part")),
    }
}

#[cfg(test)]
pub(super) mod tests;
