//! Fits entries to what the target can hold, before the first byte is written. Names, links and sizes are tried on the
//! target itself. With `--rename`, entries get other names or are left out; the report and a file beside the output
//! tell which.
//!
//! Not guaranteed: that every link can be made. Links that the target refuses later are reported one by one.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

use crate::base::entry::{Entry, Kind};
use crate::base::fault::{At, IoFault};
use crate::base::json::{Value, json};
use crate::base::monitor::{Monitor, Note, NoteKind};
use crate::base::path::{BytePath, as_bytes, escape};
use crate::base::size::{count, grouped};
use crate::flow::FlowError;
use crate::flow::error::OutputError;
use crate::flow::unpack::report::{Cause, Lost, UnpackReport};
use crate::plan::holds::{Becomes, Change, copies_of};
use crate::plan::links::find;
use crate::plan::name_folding::key;
use crate::plan::names::{Fitted, fit};
use crate::stage::restore::MetadataDifferences;
use crate::stage::target_probe::Probe;

/// The start of the record, the file that tells which entries were changed. It marks a record as ours.
const HEADING: &str = "\
# Names that this folder could not hold as they were packed. Each line: what was done, the path in\n\
# the bundle, the path here (for a symlink: what it points to), parted by tabs. What a renamed\n\
# folder holds moved with it. Controls and bytes that are no UTF-8 are \\xHH, a backslash is \\\\; in\n\
# a new name %XX is a byte, and %~N tells names apart.\n";

/// Entries as the target holds them, and the path of the trial folder if it could not be removed.
///
/// # Errors
/// [`OutputError::Names`] without `rename`, if any entry has to be changed. Nothing was written then.
pub(crate) fn fit_to(
    target: &Path,
    entries: Vec<Entry>,
    rename: bool,
    monitor: &dyn Monitor,
) -> Result<(Fitted, Option<PathBuf>), FlowError> {
    let probe = Probe::begin(target)?;
    let fitted = probe.limits(&entries).and_then(|limits| fit(entries, &probe, &limits));
    let left = probe.end();
    let fitted = match fitted {
        Ok(fitted) if fitted.changes.is_empty() || rename => return Ok((fitted, left)),
        fitted => fitted,
    };
    left.iter().for_each(|left| monitor.note(&left_behind(left)));
    Err(OutputError::Names { target: target.to_owned(), changes: fitted?.changes }.into())
}

/// The note on a folder of this run that could not be removed.
pub(crate) fn left_behind(path: &Path) -> Note {
    let text = "is left of this run, for it could not be removed; nothing in it is needed any more: remove it (rm -r)";
    Note::new(NoteKind::Left, as_bytes(path), text)
}

impl Change {
    /// What was done, in a word, and the path here; for a symlink that was left out, what it pointed to.
    fn action(&self) -> (&'static str, String) {
        match &self.becomes {
            Becomes::Renamed(path) => ("renamed", path.to_string()),
            Becomes::Copy => ("copied", self.path.to_string()),
            Becomes::LeftOut(Some(to)) => ("symlink left out", escape(to).into_owned()),
            Becomes::LeftOut(None) => ("left out", String::new()),
            Becomes::FolderLeftOut => ("folder left out", String::new()),
        }
    }

    /// For `--json`.
    pub(crate) fn to_json(&self) -> Value {
        let (what, to) = self.action();
        json!({"path": self.path.to_string(), "what": what, "to": to, "why": self.why})
    }
}

/// Whether a file can have one name only, so that all hard links become copies.
pub(crate) fn only_copies(fitted: &Fitted) -> bool {
    fitted.names == Some(1)
}

/// The copies that are made in place of hard links: they take room beside the files.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Copies {
    /// How many.
    pub(crate) files: u64,
    /// Their bytes, without regard to holes.
    pub(crate) bytes: u64,
}

/// The copies that are still to be made. `is_there` tells, by index, which hard links an earlier run delivered.
pub(crate) fn copies_to_make(fitted: &Fitted, is_there: impl Fn(usize) -> bool) -> Copies {
    let Some(most) = fitted.names else { return Copies::default() };
    let mut links: HashMap<&[u8], u64> = HashMap::new();
    for (at, entry) in fitted.entries.iter().enumerate() {
        if let (Kind::Hardlink(first), false) = (&entry.kind, is_there(at)) {
            *links.entry(first.as_bytes()).or_default() += 1;
        }
    }
    let mut copies = Copies::default();
    for (first, links) in links {
        let files = copies_of(links, most);
        let size = find(&fitted.entries, first).map_or(0, |at| fitted.entries[at].size);
        copies.files += files;
        copies.bytes = copies.bytes.saturating_add(size.saturating_mul(files));
    }
    copies
}

/// Reports what the target could not hold as packed, and writes the record. Paths in the report become those of the
/// bundle, and files that were left out count as lost.
pub(crate) fn report_changes(fitted: &Fitted, report: &mut UnpackReport) -> Result<(), IoFault> {
    let paths = report.lost.iter_mut().map(|lost| &mut lost.path);
    for path in paths.chain(report.notes.iter_mut().map(|note| &mut note.path)) {
        let former = BytePath::new(path.clone()).ok().and_then(|path| fitted.former.get(&path));
        if let Some(former) = former {
            *path = former.as_bytes().to_vec();
        }
    }
    for change in &fitted.changes {
        if matches!(change.becomes, Becomes::LeftOut(_) | Becomes::FolderLeftOut) {
            // Symlinks and folders are not counted as files.
            report.files += u64::from(change.becomes == Becomes::LeftOut(None));
            report.lost.push(Lost {
                path: change.path.as_bytes().to_vec(),
                cause: Cause::Target,
                why: change.why.clone().into(),
            });
        }
    }
    if !fitted.changes.is_empty() {
        report.renamed_in = Some(write_record(&report.target, fitted)?);
        report.changes = fitted.changes.clone();
    }
    Ok(())
}

/// How many delivered entries had a time outside of what the target counts. `is_delivered` gets their index.
pub(crate) fn count_clamped(fitted: &Fitted, is_delivered: impl Fn(usize) -> bool) -> u64 {
    let entries = fitted.entries.iter().enumerate();
    entries.filter(|(at, entry)| is_delivered(*at) && fitted.clamped.contains(&entry.path)).count() as u64
}

/// Notes the hard links that became copies although the trial of the target did not show that they must. `copied` has
/// their indices.
pub(crate) fn report_copies(fitted: &Fitted, copied: &[usize], report: &mut UnpackReport) {
    let known: HashSet<&BytePath> = fitted.changes.iter().map(|change| &change.path).collect();
    for at in copied {
        let path = &fitted.entries[*at].path;
        let path = fitted.former.get(path).unwrap_or(path);
        if !known.contains(path) {
            let text =
                "became a copy, for the target holds no more names of this file; later names are names of the copy";
            report.notes.push(Note::new(NoteKind::Property, path.as_bytes(), text));
        }
    }
}

/// Notes how many entries have another mode or time than the packed one.
pub(crate) fn report_metadata(report: &mut UnpackReport) {
    let texts = [modes_text(report.otherwise.modes), times_text(report.otherwise, report.clamped)];
    for text in texts.into_iter().flatten() {
        report.notes.push(Note::new(NoteKind::Property, as_bytes(&report.target), text));
    }
}

/// `None` if all modes are as packed.
fn modes_text(modes: u64) -> Option<String> {
    let items = count(modes, "item");
    (modes > 0).then(|| format!("{items} have another mode there; contents are not touched by that"))
}

/// `None` if all times are as packed. `clamped` counts the times outside of what the target counts.
fn times_text(there: MetadataDifferences, clamped: u64) -> Option<String> {
    let far = format!("off by up to {}", count(there.off.div_ceil(1_000_000_000), "second"));
    let which = match (clamped, there.times) {
        (0, 0) => return None,
        (0, _) => format!("they are {far}"),
        (_, 0) => "they lie outside of what it counts and got the nearest that it can".into(),
        (clamped, times) => {
            let clamped = grouped(clamped);
            let times = grouped(times);
            format!("{clamped} outside of what it counts, which got the nearest that it can, and {times} {far}")
        }
    };
    Some(format!("{} have times that the target cannot keep: {which}", count(there.times + clamped, "item")))
}

/// Writes the record under the first name that is free. Returns its path.
fn write_record(target: &Path, fitted: &Fitted) -> Result<PathBuf, IoFault> {
    let text = HEADING.to_string() + &fitted.changes.iter().map(record_line).collect::<String>();
    let tops: BTreeSet<Vec<u8>> = fitted.entries.iter().map(|entry| key(entry.path.top())).collect();
    for number in 1.. {
        let name = if number == 1 { "pouch-renamed.txt".into() } else { format!("pouch-renamed-{number}.txt") };
        let path = target.join(&name);
        // An entry with that name is still in the staging folder.
        if !tops.contains(&key(name.as_bytes())) && write_record_at(&path, &text)? {
            return Ok(path);
        }
    }
    unreachable!("there is always a next number")
}

fn record_line(change: &Change) -> String {
    let (what, to) = change.action();
    format!("{what}\t{}\t{to}\n", change.path)
}

/// Writes the record at that path. Returns `false` if a foreign file has the path.
fn write_record_at(path: &Path, text: &str) -> Result<bool, IoFault> {
    let created = match File::create_new(path) {
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => match earlier_record(path, text)? {
            EarlierRecord::Complete => return Ok(true),
            EarlierRecord::Foreign => return Ok(false),
            EarlierRecord::Begun => {
                std::fs::remove_file(path).at("replace", path)?;
                File::create_new(path)
            }
        },
        created => created,
    };
    let mut file = created.at("create", path)?;
    file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).at("write", path)?;
    Ok(true)
}

/// What has the path of the record.
enum EarlierRecord {
    /// An earlier run wrote the same record.
    Complete,
    /// An earlier run was stopped while it wrote the same record.
    Begun,
    Foreign,
}

fn earlier_record(path: &Path, text: &str) -> Result<EarlierRecord, IoFault> {
    // A file that is longer than the record is not read: it may have any length.
    if !path.symlink_metadata().is_ok_and(|meta| meta.is_file() && meta.len() <= text.len() as u64) {
        return Ok(EarlierRecord::Foreign);
    }
    let begun = std::fs::read(path).at("read", path)?;
    Ok(if begun.len() < HEADING.len() || !text.as_bytes().starts_with(&begun) {
        EarlierRecord::Foreign
    } else if begun.len() == text.len() {
        EarlierRecord::Complete
    } else {
        EarlierRecord::Begun
    })
}

#[cfg(test)]
mod tests;
