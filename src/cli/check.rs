//! `pouch check`: prints for each volume whether it is whole. With a key it also prints what can be unpacked from these
//! volumes, and how much more may be lost.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use crate::base::path::{escape, show};
use crate::base::size::{count, grouped, human};
use crate::cli::args::{Check, Keys};
use crate::cli::exit::Exit;
use crate::cli::hint::READABLE;
use crate::cli::secrets::keyring;
use crate::cli::term::Term;
use crate::flow::bundle::head_check::HeadCheck;
use crate::flow::bundle::open::open_at;
use crate::flow::bundle::scan::no_volume_here;
use crate::flow::check::check_drives;
use crate::flow::check::report::{BundleCheck, CheckReport, Foreign, VolumeCheck, VolumeState};
use crate::flow::check::survey::survey_bundle;
use crate::flow::drives::replug::{Event, Freshness, wait};
use crate::flow::{FlowError, Outcome};
use crate::format::limits;
use crate::format::volume_number::VolumeNumber;
use crate::plan::needed_parts::ranges;
use crate::plan::repair::{Margin, Verdict};
use crate::stage::seal::Keyring;
use crate::stage::volume::PassedOver;

/// File names that are listed one by one. The others are counted.
const SHOWN: usize = 20;
/// Whole volumes that are listed one by one.
const MOST_WHOLE: usize = 1000;
/// Volumes that are not whole and are listed one by one.
const MOST_HURT: usize = 100;
/// How many names of foreign files in a volume's folder are shown.
const FOREIGN: usize = 3;

/// Checks the volumes and prints what each one is. With `--after-replug` it first waits until the drives were plugged
/// in again.
pub(crate) fn run(args: &Check, term: &Term) -> Result<Exit, FlowError> {
    let freshness = if args.after_replug {
        wait(&args.volumes, &|event, drive| tell(event, drive, term), term)?
    } else {
        Freshness::AsTheyStand
    };
    let ring = keys(args, term)?;
    let wanted = args.bundle.fingerprint.as_ref();
    // A bundle that does not open keeps no volume from being checked. Its error follows the report.
    let (bundle, mut failed) = match ring.as_ref().map(|ring| open_at(&args.volumes, ring, wanted)) {
        // A wrong key is reported before hours of reading. A volume without a good seal can still be checked.
        Some(Err(error)) if [Outcome::Key, Outcome::Usage].contains(&error.outcome()) => return Err(error),
        Some(Err(error)) => (None, Some(error)),
        Some(Ok(bundle)) => (Some(bundle), None),
        None => (None, None),
    };
    let head = bundle.as_ref().zip(ring.as_ref()).map(|(bundle, ring)| HeadCheck::new(bundle, ring));
    let mut report = check_drives(&args.volumes, freshness, head.as_ref(), term)?;
    if let Some(bundle) = &bundle {
        match survey_bundle(bundle, &report, term) {
            Ok(found) => report.bundle = Some(found),
            Err(error) => failed = Some(error),
        }
    }
    term.end();
    if args.json.json {
        term.json(&report.to_json());
    } else {
        show_report(&report, term);
    }
    match failed {
        Some(error) => Err(error),
        None => Ok(report.outcome().into()),
    }
}

/// The keys from the command line. `None` if the volumes are checked without any.
///
/// # Errors
/// [`FlowError::Usage`] if a bundle is chosen and no key could tell it.
fn keys(args: &Check, term: &Term) -> Result<Option<Keyring>, FlowError> {
    let has_key = !args.identities.is_empty() || args.fd.passphrase_fd.is_some();
    if !has_key && args.bundle.fingerprint.is_some() {
        let text = "only a key can tell which bundle a volume is of: --bundle needs -i";
        return Err(FlowError::Usage(text.into()));
    }
    if !has_key {
        return Ok(None);
    }
    let keys = Keys { identities: args.identities.clone(), fd: args.fd.clone() };
    keyring(&keys, &args.volumes, term).map(Some)
}

/// Tells the person to replug a drive, and what the system saw of it.
fn tell(event: Event, drive: &Path, term: &Term) {
    let drive = show(drive);
    term.say(&match event {
        Event::Wanted => format!("{drive}: unmount it, unplug it, plug it in again and mount it there"),
        Event::Gone => {
            format!("{drive}: gone; waiting for it there (if it comes back under another name, mount it there)")
        }
        Event::Stayed => format!("{drive}: was mounted again but not unplugged: unplug it"),
        Event::Back => format!("{drive}: plugged in again"),
        Event::Mounted => {
            format!(
                "{drive}: mounted again; it is no drive that can be seen to be unplugged, so a cache below may answer"
            )
        }
    });
}

/// Prints each volume, what is wrong with it, and what the check did not prove.
pub(crate) fn show_report(report: &CheckReport, term: &Term) {
    show_volumes(report, term);
    if let Some(bundle) = &report.bundle {
        show_bundle(bundle, term);
    }
    report.not_searched.iter().for_each(|place| show_not_searched(place, term));
    for words in [report.freshness.words(), report.shows()].into_iter().flatten() {
        term.line(words);
    }
}

/// Prints which folders were not searched, and so may hold further volumes.
fn show_not_searched(place: &PassedOver, term: &Term) {
    let below = show(&place.below);
    if place.no_volume {
        term.line(&format!("{below}: {}", no_volume_here()));
    }
    if place.deeper > 0 {
        let folders = count(place.deeper, "folder");
        term.line(&format!("not searched for volumes: {folders} more than {} levels below {below}", limits::DEPTH));
    }
    if place.beyond > 0 {
        let folders = count(place.beyond, "folder");
        term.line(&format!("not searched for volumes: {folders} below {below}, which holds too many"));
    }
    for path in &place.set_aside {
        let path = show(path);
        term.line(&format!("not searched for volumes: {path}, for what was thrown away or is being unpacked"));
    }
    for why in place.unread.iter().take(SHOWN) {
        term.line(&format!("not searched for volumes: {why}"));
    }
    if place.unread.len() > SHOWN {
        let more = place.unread.len() - SHOWN;
        term.line(&format!("not searched for volumes: {more} more that cannot be read (--json has all)"));
    }
}

/// Prints all volumes. If there are very many, the first whole and the first damaged ones are named, and the others are
/// counted by state.
fn show_volumes(report: &CheckReport, term: &Term) {
    let shown = shown(&report.volumes);
    shown.iter().for_each(|at| show_volume(&report.volumes[*at], term));
    if let Some(others) = others(&report.volumes, &shown) {
        term.line(&others);
    }
}

/// The indices of the volumes that are listed one by one.
fn shown(volumes: &[VolumeCheck]) -> BTreeSet<usize> {
    let (whole, hurt): (Vec<usize>, Vec<usize>) =
        (0..volumes.len()).partition(|at| volumes[*at].state == VolumeState::Whole);
    whole.into_iter().take(MOST_WHOLE).chain(hurt.into_iter().take(MOST_HURT)).collect()
}

/// How many volumes of each state are not `shown`. `None` if all are.
fn others(volumes: &[VolumeCheck], shown: &BTreeSet<usize>) -> Option<String> {
    let mut others: BTreeMap<&str, u64> = BTreeMap::new();
    for (_, volume) in volumes.iter().enumerate().filter(|(at, _)| !shown.contains(at)) {
        *others.entry(volume.state.word()).or_default() += 1;
    }
    if others.is_empty() {
        return None;
    }
    let others: Vec<String> = others.iter().map(|(word, many)| format!("{} {word}", grouped(*many))).collect();
    Some(format!("and more volumes: {} (--json has all)", others.join(", ")))
}

/// Prints what these volumes still give back, and how much more may be lost.
fn show_bundle(bundle: &BundleCheck, term: &Term) {
    bundle.notes.iter().for_each(|note| term.print_note(note));
    term.line(&verdict(bundle));
    if let Some(margin) = margin(bundle) {
        term.line(&margin);
    }
    let is_short = matches!(bundle.verdict, Verdict::Short { .. });
    if !bundle.needed.is_empty() && !is_short {
        let needed = named(&bundle.needed, "; without it", "; without any one of these");
        term.line(&format!("needed: {needed}, data may be lost"));
    }
}

/// Which volumes are here, and what can be had from them.
fn verdict(bundle: &BundleCheck) -> String {
    let of = bundle.volumes;
    let here = match bundle.here[..] {
        [] => format!("none of its {} is here", count(of.into(), "volume")),
        _ => named(&bundle.here, &format!(" of {of} is here"), &format!(" of {of} are here")),
    };
    match &bundle.verdict {
        Verdict::Complete => format!("the bundle: {here}: every part of the data is whole"),
        Verdict::Repairable { rebuilt } => {
            let parts = count(rebuilt.len() as u64, "part");
            // If only single chunks are bad, rebuilding reads no whole volume, and none is named.
            let by = match &bundle.sources {
                (_, volumes) if volumes.is_empty() => String::new(),
                (reads, volumes) => {
                    format!(" by reading {} of {}", count(*reads as u64, "part"), named(volumes, "", ""))
                }
            };
            format!("the bundle: {here}: {parts} missing or damaged, to be rebuilt{by}")
        }
        Verdict::Short { lost, any_one, at_least } => {
            let parts = count(lost.len() as u64, "part");
            let bring = match any_one[..] {
                [] => format!("at least {} more are needed, whole", count((*at_least).into(), "volume")),
                [_] => format!("{}, whole, would complete it", named(any_one, "", "")),
                _ => format!("any one of the {}, whole, would complete it", named(any_one, "", "")),
            };
            format!("the bundle: {here}: {parts} cannot be rebuilt; {bring}")
        }
    }
}

/// How much more may be lost or damaged before data is lost. `None` if there was never any margin, or data is lost
/// already.
fn margin(bundle: &BundleCheck) -> Option<String> {
    let text = match bundle.margin {
        Some(Margin { volumes: 0, shards: 0 }) => {
            "margin: none; the next bad sector is data lost: `pouch repair` makes new volumes".into()
        }
        Some(Margin { volumes: 0, shards }) => {
            format!("margin: {} of any row may be bad; no drive may be lost", count(shards.into(), "chunk"))
        }
        Some(Margin { volumes, .. }) => format!("margin: any {volumes} more of these drives may be lost"),
        None if matches!(bundle.verdict, Verdict::Repairable { .. }) => {
            "margin: none that can be promised, for too many parts are damaged: `pouch repair` makes new volumes".into()
        }
        None => return None,
    };
    Some(text)
}

/// `volume 3` or `volumes 1-4`, followed by `one` or by `more`.
fn named(volumes: &[VolumeNumber], one: &str, more: &str) -> String {
    let list = ranges(volumes.iter().map(|volume| u32::from(*volume)));
    match volumes {
        [_] => format!("volume {list}{one}"),
        _ => format!("volumes {list}{more}"),
    }
}

/// Prints one volume: its state, up to [`SHOWN`] files that are wrong with it, foreign files, and a hint.
fn show_volume(volume: &VolumeCheck, term: &Term) {
    term.line(&format!("{}: {} ({})", show(&volume.folder), volume.state.word(), amount(volume)));
    if let Some(trouble) = &volume.trouble {
        term.line(&format!("  {trouble}"));
    }
    let damaged = volume.damaged.iter().map(|(name, why)| format!("  {} {why}", escape(name.as_bytes())));
    let missing = volume.missing.iter().map(|name| format!("  {} is missing", escape(name.as_bytes())));
    let unread = volume.unread.iter().map(|(name, why)| format!("  {} {why}", escape(name.as_bytes())));
    let all: Vec<String> = damaged.chain(missing).chain(unread).collect();
    for line in all.iter().take(SHOWN) {
        term.line(line);
    }
    if all.len() > SHOWN {
        term.line(&format!("  and {} more (--json has all)", all.len() - SHOWN));
    }
    show_foreign(&volume.foreign, term);
    if let Some(hint) = hint(volume) {
        term.line(&format!("  hint: {hint}"));
    }
}

/// How much was checked. If nothing could be checked, how much there is.
fn amount(volume: &VolumeCheck) -> String {
    if let Some((files, bytes)) = volume.unchecked {
        return format!("{}, {}, not checked", count(files as u64, "file"), human(bytes));
    }
    let read = format!("{}, {}", count(volume.read as u64, "file"), human(volume.bytes));
    match volume.missing.len() {
        0 => read,
        missing => format!("{read}; {} missing", grouped(missing as u64)),
    }
}

/// Prints what else lies in the folder. It is no error, but a receiver should not open it.
fn show_foreign(foreign: &Foreign, term: &Term) {
    if foreign.count == 0 {
        return;
    }
    let mut names: Vec<_> = foreign.names.iter().take(FOREIGN).map(|name| escape(name.as_bytes())).collect();
    if foreign.count > names.len() {
        names.push("...".into());
    }
    term.line(&format!(
        "  also in its folder, and not of it: {} ({})",
        grouped(foreign.count as u64),
        names.join(", ")
    ));
}

/// What to do about a volume. `None` if it is whole.
fn hint(volume: &VolumeCheck) -> Option<String> {
    let text = match volume.state {
        VolumeState::Whole => return None,
        VolumeState::Unreadable => {
            return Some(format!("{READABLE}, then check it anew; of what you may not read nothing is known"));
        }
        VolumeState::Unsafe => {
            "nothing of it was used, and no volume made by pouch is like that: copy it again from where it is whole"
        }
        VolumeState::Gone => "plug it in again and check it anew; of what could not be read nothing is known",
        VolumeState::Incomplete if volume.unchecked.is_some() => {
            "if its packing was interrupted, run the same pack command again; else copy the volume again from where it is whole"
        }
        _ => {
            "copy the volume again from where it is whole; unpack still delivers what is whole here if a seal, a head and a list of the bundle are whole somewhere"
        }
    };
    Some(text.into())
}

#[cfg(test)]
mod tests;
