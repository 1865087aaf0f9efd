//! Errors in words, with the next thing to do. A hint names no option that was given, nor one that the command does not
//! have.

use std::path::Path;

use crate::base::fault::IoFault;
use crate::base::json::{Value, json};
use crate::base::path::{defuse, show};
use crate::base::size::human;
use crate::cli::args::Command;
use crate::cli::exit::Exit;
use crate::cli::term::Term;
use crate::cli::unforeseen::EXHAUSTED;
use crate::flow::error::{
    BadCopy, BundleError, CopyFault, DriveError, IndexFile, KeyringError, LeftoverError, LoadError, NoCopy,
    OutputError, Remedy, RequestError, SourceError,
};
use crate::flow::{FlowError, Outcome};
use crate::format::FormatError;
use crate::plan::parity::ParityError;
use crate::stage::seal::KeyError;
use crate::stage::volume::PASSPHRASE_SEAL;
use crate::stage::walk::WalkError;

/// What to do about files that this user may not read.
pub(crate) const READABLE: &str = "have it made readable for you, as its owner or root can (chmod -R a+rX)";

/// Prints an error, and a hint if there is one.
pub(crate) fn report(term: &Term, error: &FlowError, command: &Command) {
    term.error(&message(error));
    if let Some(hint) = hint(error, command) {
        term.hint(&hint);
    }
}

/// The error as the JSON document of a run that has no report.
pub(crate) fn to_json(error: &FlowError, command: &Command) -> Value {
    let message = message(error);
    let hint = hint(error, command);
    let code = Exit::from(error.outcome()) as u8;
    json!({"error": {"message": defuse(&message), "hint": hint.as_deref().map(defuse), "code": code}})
}

/// What an error says. The floors below know no options, so errors about those get their words here.
fn message(error: &FlowError) -> String {
    let FlowError::Request(error) = error else { return error.to_string() };
    match error {
        RequestError::NoRecipient => "nobody could open it: give a recipient (-r age1...) or a passphrase (-p)".into(),
        RequestError::StagedInSeveral(folders) => {
            format!("--volumes stages volumes in one folder, and {folders} are given with -o")
        }
        RequestError::SequentialAndLoss => {
            "--fill sequential keeps files together on one drive, --lose must not: leave one of them out".into()
        }
        RequestError::Parity(ParityError::TooFewDrives { lose, drives }) => {
            let drives = if *drives == 1 { "1 is".into() } else { format!("{drives} are") };
            format!("--lose {lose} needs at least {} drives, and {drives} given", lose + 1)
        }
        RequestError::Parity(ParityError::NoRoomForData { lose, mends, drives }) => {
            let both = if *mends { " and --mend together leave" } else { " leaves" };
            format!("--lose {lose}{both} no room for data on {drives} drives")
        }
    }
}

/// What to do about an error; `None` if its message says it all.
fn hint(error: &FlowError, command: &Command) -> Option<String> {
    let text = match error {
        FlowError::Usage(_) | FlowError::Request(_) => return None,
        FlowError::Source(error) => return of_sources(error),
        FlowError::Drive(error) => of_drives(error, command),
        FlowError::Leftover(error) => of_leftovers(error),
        FlowError::Bundle(error) => of_bundles(error, command),
        FlowError::Key(error) => return of_key(error),
        FlowError::Output(error) => return of_output(error, command),
        FlowError::Load(error) => of_loading(error),
        FlowError::Io(fault) => of_the_system(fault, command),
        FlowError::Format(error) => return of_format(error, command),
        FlowError::Unopenable(_) => "no volume of this run looks complete, and nothing of the sources was changed. This is a defect of pouch; please report it. If an entry is named, the others can be packed without it".into(),
        FlowError::Cancelled => INTERRUPTED.into(),
        FlowError::Exhausted(_) => EXHAUSTED.into(),
        FlowError::Defect(_) => "this is a defect of pouch; please report it".into(),
    };
    Some(text)
}

const INTERRUPTED: &str = "run the same command again; pack, unpack and load go on from where they were";

/// The hint if sources cannot be packed.
fn of_sources(error: &SourceError) -> Option<String> {
    let text = match error {
        SourceError::Walk(WalkError::SameName { .. }) => {
            "give each once; rename one, or pack the folder that holds both"
        }
        SourceError::Walk(WalkError::NoName(_)) => "name the folders in it one by one",
        SourceError::Walk(WalkError::Gone(_)) => {
            "no volume of this run is complete, and of what could not be read nothing is known. Plug it in again and run the same command: it goes on from there"
        }
        SourceError::Walk(WalkError::Cancelled) => INTERRUPTED,
        SourceError::Walk(WalkError::Io(_) | WalkError::Special { .. }) => return None,
        SourceError::Changed(_) => {
            "bring back what they were, or begin anew with --restart: what that run packed is then removed"
        }
        SourceError::CannotRepack(_) => {
            "no volume of this run is complete; bring back what they were, or begin anew with --restart"
        }
    };
    Some(text.into())
}

/// The hint if sealed bytes break the format.
fn of_format(error: &FormatError, command: &Command) -> Option<String> {
    let text = match error {
        FormatError::Newer { .. } => "nothing was written; get a newer pouch",
        FormatError::Limit { .. } if matches!(command, Command::Pack(_)) => {
            "nothing was written: no reader takes so much in one bundle. Pack it as several"
        }
        FormatError::Limit { .. } => "nothing of it was used; no bundle made by pouch is like that",
        FormatError::Malformed { .. } | FormatError::Unsafe { .. } => return None,
    };
    Some(text.into())
}

/// The hint if the target cannot take the result.
fn of_output(error: &OutputError, command: &Command) -> Option<String> {
    let text = match error {
        OutputError::NoRoom { .. } | OutputError::NoFiles { .. } => {
            let only = matches!(command, Command::Unpack(args) if args.only.is_empty());
            let less = if only { " (--only takes less)" } else { "" };
            format!("nothing was written; free room there or choose another -o{less}")
        }
        OutputError::VolumeExists(path) => format!(
            "it may hold somebody's bundle, so it is left alone. If `pouch check {}` says that it was never finished, remove it. If it calls it whole, it is a finished volume, also where some files could not be read for it: choose another folder or drive, or remove it yourself if nobody needs it",
            show(path)
        ),
        OutputError::Names { .. } => "nothing was written; choose another -o, or say --rename: what can be held under another name is, and a file beside it says what became of which".into(),
        OutputError::InTheWay(_) | OutputError::Foreign(_) => "nothing was changed; move it away, or choose another -o".into(),
        OutputError::Exists(_) => match command {
            Command::Unpack(_) => "nothing was changed; choose another -o, or say --overwrite".into(),
            _ => "nothing was changed; choose another place".into(),
        },
        OutputError::Busy(_) => return None,
    };
    Some(text)
}

/// The hint if there is no bundle, or too little is left of it.
fn of_bundles(error: &BundleError, command: &Command) -> String {
    match error {
        BundleError::Missing(_) => "bring another volume of the bundle: each carries seal, head and list".into(),
        BundleError::Damaged(_) if matches!(command, Command::Pack(_)) => {
            "what was packed cannot be gone on with. With all drives of that run, --restart removes it and begins anew".into()
        }
        BundleError::Damaged(_) => OTHER_COPIES.into(),
        BundleError::NoVolume(_) => "nothing was done; give the drives, or the volumes' folders on them".into(),
        BundleError::Mixed(bundles) if bundles.iter().all(|bundle| bundle.fingerprint.is_none()) => {
            "nothing was written; give the volumes of one bundle at a time. A seal that none of them belongs to may have been planted: put that file away".into()
        }
        BundleError::Mixed(_) if names_bundle(command) => {
            "nothing was written; give more letters of the fingerprint with --bundle".into()
        }
        BundleError::Mixed(_) => {
            "nothing was written; ask the sender, by another way, for the fingerprint, and choose that bundle with --bundle FINGERPRINT; or give the volumes of one bundle at a time".into()
        }
        BundleError::NotTheOne { .. } => "nothing was written; bring the drives of that bundle".into(),
        BundleError::NoCopy(none) => of_copies(none, command),
    }
}

/// The hint if no key opens the bundle.
fn of_key(error: &KeyringError) -> Option<String> {
    let text = match error {
        KeyringError::FileExists(_) => "it may be somebody's key, so it is left alone; choose another -o",
        KeyringError::NotGiven => "give your identity file with -i; only a recipient of the bundle can open it",
        KeyringError::Wrong { passphrase: true, .. } => "the passphrase is not the one; mind case and hyphens",
        KeyringError::Wrong { seals, .. } if !seals.is_empty() && seals.iter().all(is_to_passphrase) => {
            "only a passphrase opens it: run the same command without -i"
        }
        KeyringError::Wrong { .. } => {
            "it is sealed to others than that key is of: ask the sender to whom; what a passphrase opens is opened without -i"
        }
        KeyringError::BadFile { source: KeyError::NoIdentity { .. }, .. } => {
            "an identity file is what `pouch keygen` writes"
        }
        KeyringError::BadFile { .. } | KeyringError::Refused(_) => return None,
    };
    Some(text.into())
}

fn is_to_passphrase(seal: &BadCopy) -> bool {
    seal.path.file_name().is_some_and(|name| name == PASSPHRASE_SEAL)
}

const OTHER_COPIES: &str = "bring another volume of the bundle: each carries its own copies";

/// The hint if no seal, head or list can be used.
fn of_copies(none: &NoCopy, command: &Command) -> String {
    match none.decisive() {
        Some(CopyFault::Denied(_)) => format!("{READABLE}, then run the same command again"),
        Some(CopyFault::NoMemory(_)) => EXHAUSTED.into(),
        Some(CopyFault::Unread(_)) => {
            "bring another volume of the bundle, or run the same command again once that is mended".into()
        }
        Some(fault) if fault.outcome() == Outcome::Usage => "nothing was written; get a newer pouch".into(),
        Some(CopyFault::Refused(_) | CopyFault::Broken(FormatError::Limit { .. })) => {
            "nothing of it was used; no bundle made by pouch is like that".into()
        }
        Some(CopyFault::Broken(_)) => format!(
            "the key opens it and yet no pouch writes such a file; another volume may hold a good one{}",
            or_salvage(none, command, "does without")
        ),
        _ if none.what == IndexFile::Seal => {
            "bring any one volume of the bundle whose seal is whole: all its volumes carry the same key, and nothing opens without it".into()
        }
        _ => format!("{OTHER_COPIES}{}", or_salvage(none, command, "delivers what is whole without them")),
    }
}

/// A further sentence for a head or list that a salvage does without. Empty for a seal, and if the command salvages.
fn or_salvage(none: &NoCopy, command: &Command, what: &str) -> String {
    match none.what {
        IndexFile::Head | IndexFile::List if !salvages(command) => {
            format!(". If there is none, `pouch unpack --salvage` {what}")
        }
        IndexFile::Seal | IndexFile::Head | IndexFile::List => String::new(),
    }
}

/// Whether the command line says which bundle is meant.
fn names_bundle(command: &Command) -> bool {
    let wanted = match command {
        Command::Unpack(args) => &args.bundle,
        Command::List(args) => &args.bundle,
        Command::Check(args) => &args.bundle,
        Command::Repair(args) => &args.bundle,
        _ => return false,
    };
    wanted.fingerprint.is_some()
}

/// Whether `path` is an identity file from the command line.
fn is_key_of(command: &Command, path: &Path) -> bool {
    let keys = match command {
        Command::Unpack(args) => &args.keys.identities,
        Command::List(args) => &args.keys.identities,
        Command::Check(args) => &args.identities,
        Command::Repair(args) => &args.keys.identities,
        _ => return false,
    };
    keys.iter().any(|key| key == path)
}

/// Whether the command already does without head and list.
fn salvages(command: &Command) -> bool {
    matches!(command, Command::Unpack(args) if args.salvage)
}

/// Whether the command stages its volumes in one folder.
fn stages(command: &Command) -> bool {
    matches!(command, Command::Pack(args) if args.volumes.is_some())
}

/// The hint if a system call failed.
fn of_the_system(fault: &IoFault, command: &Command) -> String {
    if fault.is_denied() && is_key_of(command, &fault.path) {
        "give an identity file of your own; it must stay readable for its owner alone".into()
    } else if fault.is_denied() && !fault.is_of_reading() {
        "you may not write there: choose another place, or have its owner or root make it yours".into()
    } else if fault.is_denied() {
        format!("{READABLE}, then run the same command again")
    } else if fault.is_full() {
        format!(
            "free room where {} is and run the same command again; pack, unpack and load go on from where they were",
            show(&fault.path)
        )
    } else if matches!(command, Command::Pack(_) | Command::Unpack(_) | Command::Load(_)) {
        "run the same command again once that is mended: it goes on from where it was".into()
    } else {
        "run the same command again once that is mended".into()
    }
}

/// The hint if a drive is gone, too small, or did not keep what was written to it.
fn of_drives(error: &DriveError, command: &Command) -> String {
    let staged = stages(command);
    match error {
        DriveError::Gone(_) => {
            "that is no damage: of what could not be read nothing is known. Plug it in again and run the same command; if it is gone for good, leave it out".into()
        }
        DriveError::Denied(_) => format!("{READABLE}, then run the same command again"),
        DriveError::TooSmall { .. } => "nothing was written; free room there, or leave that drive out".into(),
        DriveError::NoRoom { .. } if staged => "nothing was written; give larger --volumes or --volume-size, free room there, or pack less".into(),
        DriveError::NoRoom { .. } => "nothing was written; add a drive (one more -o), a larger one, or pack less".into(),
        DriveError::RanFull { packed, total } => format!(
            "it takes more room than was expected. {}, with room for about {}, to the same command: it goes on from there",
            if staged { "Give larger --volumes" } else { "Add one more -o" },
            human((total - packed) / 9 * 10)
        ),
        DriveError::NoHome { remedy: Remedy::None, .. } => {
            "what tells what is where was on the drive that failed: plug it in again and run the same command. If it is gone for good, remove the volumes that this run left on the others, and pack anew with another drive".into()
        }
        DriveError::NoHome { remedy, .. } => format!(
            "nothing of the sources is lost: {}; it goes on from there as far as that can be",
            find_home(*remedy, staged)
        ),
        DriveError::FailedCapacityTest(_) => "nothing was written but what tried it, and nothing of that is left; take another drive in its place. What else lies on it may be damaged, too".into(),
        DriveError::ReadBackDiffers { .. } => {
            "no volume of this run is complete. With another drive in its place, pack anew (--restart)".into()
        }
    }
}

/// How parts without a home get one.
fn find_home(remedy: Remedy, staged: bool) -> &'static str {
    match remedy {
        Remedy::Replace => {
            "put another drive in the place of the one that did not keep what it was given, and run the same command with --replaced"
        }
        Remedy::Room if staged => "run the same command with larger --volumes, or free room there",
        Remedy::Room => "run the same command with one more -o, or free room on these drives",
        Remedy::Replug | Remedy::None => {
            "plug in again the drive that failed and run the same command; or put another one in its place and say --replaced; or give one more -o"
        }
    }
}

/// The hint if a volume did not reach its drive.
fn of_loading(error: &LoadError) -> String {
    match error {
        LoadError::Unfinished { on_drive: Some(folder), .. } => format!(
            "nothing was written. {} has one: if these are the rest of a volume that was moved there, say --move: it verifies the drive, and then removes them. If not, finish packing first: the same pack command goes on",
            show(folder)
        ),
        LoadError::Unfinished { .. } => "nothing was written. If its packing was interrupted, the same pack command finishes it; else `pouch repair` with the bundle's other volumes makes it anew".into(),
        LoadError::Source { .. } | LoadError::Sums { .. } => {
            "nothing on the drive looks complete. `pouch repair` with the bundle's other volumes makes the volume anew; load that one".into()
        }
        LoadError::Room { .. } => {
            "nothing was written; free room there, or take a larger drive: a volume is never divided among two".into()
        }
        LoadError::NoDrive { .. } => {
            "nothing was written; mount the drive there and run the same command again. `pouch load` without --move copies all the same".into()
        }
        LoadError::Another { folder, .. } => format!(
            "nothing was changed. Take another drive, or, if nobody needs it, remove {}",
            show(folder)
        ),
        LoadError::Changed { .. } => {
            "the copy was left without SHA256SUMS and does not look complete; load the volume onto another drive".into()
        }
    }
}

/// The hint if an earlier run left something that this run cannot go on from.
fn of_leftovers(error: &LeftoverError) -> String {
    match error {
        LeftoverError::BadJournal { unknown: None, .. } => {
            "nothing was changed, and nothing is wrong with the sources. With all drives of that run, --restart removes what it packed and begins anew".into()
        }
        LeftoverError::BadJournal { unknown: Some(folder), .. } => format!(
            "nothing was changed, and nothing is wrong with the sources. If `pouch check {}` says that it was never finished, remove it; then say --restart",
            show(folder)
        ),
        LeftoverError::OtherPacking(_) => {
            "nothing was changed. The same command as then, with the same drives in their order, goes on; one that is lost for good may be another one with --replaced. With all of them, --restart removes what is there and begins anew".into()
        }
        LeftoverError::AllButFinished(_) => {
            "nothing was changed. Without --restart the same command finishes it, if sources and options are as they were; or remove its volumes yourself if nobody needs them".into()
        }
        LeftoverError::OtherUnpacking(path) => format!(
            "nothing was changed; finish that one, or choose another -o, or remove {} if nobody needs it",
            show(path)
        ),
    }
}

#[cfg(test)]
mod tests;
