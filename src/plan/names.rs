//! What of a bundle a file system cannot hold as it is, and under which names it can. Nothing is known here of file
//! systems: a [`NameTrial`] tries names on a real one.
//!
//! The same entries on the same ground are always renamed the same way, so that a later run finds what an earlier one
//! placed.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use crate::base::digest::quick;
use crate::base::entry::{Entry, Kind, Time};
use crate::base::fault::IoFault;
use crate::base::path::{BytePath, MAX_COMPONENT, escape};
use crate::base::size::grouped;
use crate::plan::holds::{Becomes, Change, Limits, leave_out, left_out_as};
use crate::plan::name_folding::{cut, is_device, key, percent, pieces};

/// A file system where names can be tried, in an empty folder.
pub(crate) trait NameTrial {
    /// Whether a file can be made under this name and is then found under it.
    fn keeps(&self, name: &[u8]) -> Result<bool, IoFault>;
    /// Makes files in one folder under these names, each of which is kept alone. Says of each whether it is another
    /// file than all before it.
    fn apart(&self, names: &[&[u8]]) -> Result<Vec<bool>, IoFault>;
    /// How many bytes of a path can be made; all of them if the whole path can.
    fn reach(&self, path: &[u8]) -> Result<usize, IoFault>;
}

/// Entries as the file system can hold them.
#[derive(Debug)]
pub(crate) struct Fitted {
    /// Sorted by path; hard links stand behind their file.
    pub(crate) entries: Vec<Entry>,
    /// The path in the bundle, by the new path, of each entry that has another path now.
    pub(crate) former: HashMap<BytePath, BytePath>,
    /// What had to be changed, sorted by the path in the bundle.
    pub(crate) changes: Vec<Change>,
    /// New paths of entries whose time lies outside of what the file system keeps.
    pub(crate) clamped: HashSet<BytePath>,
    /// How many names a file can have; see [`Limits::names`].
    pub(crate) names: Option<u64>,
    /// Whether holes of files take room there.
    pub(crate) fills_holes: bool,
}

impl Fitted {
    /// Bytes that an entry takes there.
    pub(crate) fn room_of(&self, entry: &Entry) -> u64 {
        if self.fills_holes { entry.size } else { entry.stored_size() }
    }
}

/// Fits entries to a file system: what it cannot hold is left out, what it refuses is renamed, times are clamped.
pub(crate) fn fit(entries: Vec<Entry>, ground: &impl NameTrial, limits: &Limits) -> Result<Fitted, IoFault> {
    let mut changes = Vec::new();
    let left_out = leave_out(&entries, limits, &mut changes);
    let names = EntryNames::of(&entries, &left_out, ground)?.choose()?;
    let are_in_time = entries.iter().all(|entry| within(entry.mtime, limits.times) == entry.mtime);
    let mut kept = if left_out.is_empty() && names.is_empty() && are_in_time {
        KeptEntries { entries, ..KeptEntries::default() }
    } else {
        let kept = entries.into_iter().enumerate().filter(|(at, _)| !left_out.contains(at));
        rename(kept, &names, limits, &mut changes)
    };
    cut_off(&mut kept.entries, &kept.former, ground, &mut changes)?;
    changes.sort_by(|a, b| a.path.cmp(&b.path));
    let KeptEntries { entries, former, clamped } = kept;
    let Limits { names, fills_holes, .. } = *limits;
    Ok(Fitted { entries, former, changes, clamped, names, fills_holes })
}

/// Entries that are not left out; the fields are those of [`Fitted`].
#[derive(Default)]
struct KeptEntries {
    entries: Vec<Entry>,
    former: HashMap<BytePath, BytePath>,
    clamped: HashSet<BytePath>,
}

/// Gives entries their new `names`, by index, and the times that the file system keeps. `changes` gets the renamed.
fn rename(
    entries: impl Iterator<Item = (usize, Entry)>,
    names: &HashMap<usize, (Vec<u8>, String)>,
    limits: &Limits,
    changes: &mut Vec<Change>,
) -> KeptEntries {
    let mut kept = KeptEntries::default();
    // New paths by the paths in the bundle.
    let mut renamed: HashMap<Vec<u8>, BytePath> = HashMap::new();
    for (at, entry) in entries {
        let folder = entry.path.parent().map(|parent| renamed.get(parent).map_or(parent, |path| path.as_bytes()));
        let (name, why) = names.get(&at).map_or((entry.path.name(), None), |(name, why)| (name, Some(why)));
        let path = folder.map_or(name.to_vec(), |folder| [folder, b"/", name].concat());
        // Escaping can make a path longer than any path may be.
        let Ok(path) = BytePath::new(path) else {
            let why = "its path would become too long".to_string();
            changes.push(Change { path: entry.path.clone(), why, becomes: left_out_as(&entry) });
            continue;
        };
        if let Some(why) = why {
            let becomes = Becomes::Renamed(path.clone());
            changes.push(Change { path: entry.path.clone(), why: why.clone(), becomes });
        }
        if path != entry.path {
            renamed.insert(entry.path.as_bytes().to_vec(), path.clone());
            kept.former.insert(path.clone(), entry.path.clone());
        }
        let mtime = within(entry.mtime, limits.times);
        if mtime != entry.mtime {
            kept.clamped.insert(path.clone());
        }
        kept.entries.push(Entry { path, mtime, ..entry });
    }
    follow_files(&mut kept.entries, &renamed);
    kept.entries.sort_by(|a, b| a.path.cmp(&b.path));
    files_first(&mut kept.entries);
    kept
}

/// Makes hard links name the new paths of their files.
fn follow_files(entries: &mut [Entry], renamed: &HashMap<Vec<u8>, BytePath>) {
    for entry in entries {
        if let Kind::Hardlink(first) = &mut entry.kind
            && let Some(path) = renamed.get(first.as_bytes())
        {
            *first = path.clone();
        }
    }
}

/// Bytes of a path that every file system holds: only longer ones are tried.
const LONG: usize = 1_000;

/// Leaves out entries whose path is too long as a whole, although each of its names fits.
fn cut_off(
    fitted: &mut Vec<Entry>,
    former: &HashMap<BytePath, BytePath>,
    ground: &impl NameTrial,
    changes: &mut Vec<Change>,
) -> Result<(), IoFault> {
    let longest = fitted.iter().map(|entry| &entry.path).max_by_key(|path| path.as_bytes().len());
    let Some(longest) = longest.filter(|path| path.as_bytes().len() > LONG) else { return Ok(()) };
    let most = ground.reach(longest.as_bytes())?;
    fitted.retain(|entry| {
        let why = match &entry.kind {
            _ if entry.path.as_bytes().len() > most => {
                let len = grouped(entry.path.as_bytes().len() as u64);
                format!("its path has {len} bytes, and the target holds paths of at most {}", grouped(most as u64))
            }
            Kind::Hardlink(first) if first.as_bytes().len() > most => {
                format!("it is a hard link to {first}, whose path is too long for the target")
            }
            _ => return true,
        };
        let path = former.get(&entry.path).unwrap_or(&entry.path).clone();
        changes.push(Change { path, why, becomes: left_out_as(entry) });
        false
    });
    Ok(())
}

/// The nearest time that the file system keeps.
fn within(time: Time, (first, last): (Option<i64>, Option<i64>)) -> Time {
    match time.secs {
        secs if first.is_some_and(|first| secs < first) => Time { secs: first.unwrap_or(secs), nanos: 0 },
        secs if last.is_some_and(|last| secs > last) => Time { secs: last.unwrap_or(secs), nanos: 0 },
        _ => time,
    }
}

/// Moves the content of a file to its first name: with new names a hard link may sort before its file.
fn files_first(entries: &mut [Entry]) {
    let mut first: HashMap<BytePath, usize> = HashMap::new();
    let mut early: Vec<(usize, BytePath)> = Vec::new();
    for (at, entry) in entries.iter().enumerate() {
        match &entry.kind {
            Kind::Hardlink(file) if !first.contains_key(file) => early.push((at, file.clone())),
            Kind::File => drop(first.insert(entry.path.clone(), at)),
            _ => {}
        }
    }
    let mut now: HashMap<BytePath, BytePath> = HashMap::new();
    for (at, file) in early {
        if let Some(new) = now.get(&file) {
            entries[at].kind = Kind::Hardlink(new.clone());
            continue;
        }
        let Some(content) = first.get(&file).copied() else { continue };
        let link = entries[at].clone();
        let path = entries[at].path.clone();
        entries[at] = Entry { path: path.clone(), ..entries[content].clone() };
        entries[content] = Entry { path: file.clone(), kind: Kind::Hardlink(path.clone()), ..link };
        now.insert(file, path);
    }
    for entry in entries {
        if let Kind::Hardlink(file) = &mut entry.kind {
            now.get(file).cloned().into_iter().for_each(|new| *file = new);
        }
    }
}

/// Longest name, in bytes, that is taken without a trial.
const SHORT: usize = 140;
/// Odd characters that are tried together in one name.
const SOME: usize = 40;

/// Whether the ground keeps one name that has all these characters in it, each between plain ones.
fn keeps_together(ground: &impl NameTrial, some: &[&[u8]]) -> Result<bool, IoFault> {
    ground.keeps(&[b"x", &*some.join(&b'x'), b"x"].concat())
}

/// Whether the piece at index `at` of a name may get lost, or makes the name a device's: a dot or space at an end, or
/// the beginning of such a name.
fn is_fragile(name: &[u8], at: usize, piece: &[u8]) -> bool {
    let is_last = at + 1 == pieces(name).count();
    (is_last && matches!(piece, b"." | b" ")) || (at == 0 && (piece == b" " || is_device(name)))
}

/// The names of entries, and which of their characters the ground refuses.
struct EntryNames<'a, G> {
    entries: &'a [Entry],
    ground: &'a G,
    /// Indices of all entries that are not left out, those of one folder beside each other.
    order: Vec<u32>,
    refused: HashSet<&'a [u8]>,
    /// What the ground said to whole names.
    tried: RefCell<HashMap<Vec<u8>, bool>>,
}

impl<'a, G: NameTrial> EntryNames<'a, G> {
    /// Tries every character that is not plain: many in one name, and each alone where the ground refuses that name.
    fn of(entries: &'a [Entry], but: &BTreeSet<usize>, ground: &'a G) -> Result<Self, IoFault> {
        let mut order: Vec<u32> = (0..entries.len() as u32).filter(|at| !but.contains(&(*at as usize))).collect();
        order.sort_unstable_by_key(|at| (entries[*at as usize].path.parent(), *at));
        let mut odd: BTreeSet<&[u8]> = BTreeSet::new();
        for entry in order.iter().map(|at| &entries[*at as usize]) {
            if !entry.path.name().iter().all(is_plain) {
                odd.extend(pieces(entry.path.name()).filter(|piece| !piece.iter().all(is_plain)));
            }
        }
        let mut refused = HashSet::new();
        for some in odd.into_iter().collect::<Vec<_>>().chunks(SOME) {
            if keeps_together(ground, some)? {
                continue;
            }
            for one in some {
                if !keeps_together(ground, &[one])? {
                    refused.insert(*one);
                }
            }
        }
        Ok(Self { entries, ground, order, refused, tried: RefCell::default() })
    }

    /// New names for the entries that need one, by index, with the reason.
    fn choose(&self) -> Result<HashMap<usize, (Vec<u8>, String)>, IoFault> {
        let mut chosen = HashMap::new();
        for members in self.order.chunk_by(|one, next| self.folder(*one) == self.folder(*next)) {
            for at in members.iter().map(|at| *at as usize) {
                let name = self.entries[at].path.name();
                if let Some(why) = self.flaw(name)? {
                    chosen.insert(at, (self.spell(name)?, why));
                }
            }
            self.part(members, &mut chosen)?;
        }
        Ok(chosen)
    }

    fn folder(&self, at: u32) -> Option<&[u8]> {
        self.entries[at as usize].path.parent()
    }

    /// The name that an entry has so far.
    fn name<'s>(&'s self, at: usize, chosen: &'s HashMap<usize, (Vec<u8>, String)>) -> &'s [u8] {
        chosen.get(&at).map_or(self.entries[at].path.name(), |(name, _)| name)
    }

    /// Why the ground does not keep the name as it is; `None` if it does.
    fn flaw(&self, name: &[u8]) -> Result<Option<String>, IoFault> {
        if let Some(piece) = pieces(name).find(|piece| self.refused.contains(piece)) {
            return Ok(Some(match std::str::from_utf8(piece) {
                Ok(_) => format!("the target refuses names with {}", escape(piece)),
                Err(_) => "the target refuses names that are no UTF-8".into(),
            }));
        }
        let ends = matches!(name.last(), Some(b'.' | b' ')) || name.first() == Some(&b' ');
        let why = match () {
            () if ends => "the target does not keep dots and spaces at the ends of names",
            () if is_device(name) => "the target refuses this name, which DOS reserved",
            () if name.len() > SHORT => "the target does not keep so long a name",
            () => return Ok(None),
        };
        Ok((!self.keeps(name)?).then(|| why.into()))
    }

    fn keeps(&self, name: &[u8]) -> Result<bool, IoFault> {
        if let Some(known) = self.tried.borrow().get(name) {
            return Ok(*known);
        }
        let keeps = self.ground.keeps(name)?;
        self.tried.borrow_mut().insert(name.to_vec(), keeps);
        Ok(keeps)
    }

    /// The name in a spelling that the ground keeps: with as few escapes as possible, and shortened if need be.
    fn spell(&self, name: &[u8]) -> Result<Vec<u8>, IoFault> {
        let sparing = percent(name, |at, piece| self.refused.contains(piece) || is_fragile(name, at, piece));
        let thorough = percent(name, |at, piece| !piece.iter().all(is_plain) || is_fragile(name, at, piece));
        for spelled in [sparing, thorough] {
            for most in [MAX_COMPONENT, 200, 143, 100, 60] {
                let short = cut(&spelled, most.min(MAX_COMPONENT - 3));
                let whole = short.len() == spelled.len();
                let tried = if whole { spelled.clone() } else { [short, b"%~"].concat() };
                if tried.len() <= MAX_COMPONENT && self.keeps(&tried)? {
                    return Ok(tried);
                }
            }
        }
        Ok(percent(&name[..name.len().min(10)], |_, _| true))
    }

    /// Gives numbers to names of one folder that the ground takes for an earlier one.
    fn part(&self, members: &[u32], chosen: &mut HashMap<usize, (Vec<u8>, String)>) -> Result<(), IoFault> {
        // A folder may hold millions of names: only marks are kept of all, and keys of those whose marks agree.
        let marks = members.iter().map(|at| (mark(self.name(*at as usize, chosen)), *at));
        let mut marked: Vec<(u64, u32)> = marks.collect();
        marked.sort_unstable();
        let mut groups: BTreeMap<Vec<u8>, Vec<usize>> = BTreeMap::new();
        for alike in marked.chunk_by(|one, next| one.0 == next.0).filter(|alike| alike.len() > 1) {
            for at in alike.iter().map(|(_, at)| *at as usize) {
                groups.entry(key(self.name(at, chosen))).or_default().push(at);
            }
        }
        if groups.is_empty() {
            return Ok(());
        }
        let mut taken: HashSet<u64> = marked.into_iter().map(|(mark, _)| mark).collect();
        for mut group in groups.into_values().filter(|group| group.len() > 1) {
            // An entry that keeps its own name comes first.
            group.sort_by_key(|at| (chosen.contains_key(at), *at));
            let names: Vec<Vec<u8>> = group.iter().map(|at| self.name(*at, chosen).to_vec()).collect();
            let apart = self.ground.apart(&names.iter().map(Vec::as_slice).collect::<Vec<_>>())?;
            let mut number = 2;
            for (at, name) in group.iter().zip(&names).zip(&apart).filter(|(_, apart)| !**apart).map(|(one, _)| one) {
                let former = chosen.remove(at).map(|(_, why)| why);
                let base = if former.is_some() { name.clone() } else { percent(name, |_, _| false) };
                let other = &self.entries[group[0]].path;
                let why = former.unwrap_or_else(|| format!("the target takes it and {other} for one"));
                chosen.insert(*at, (self.numbered(&base, &mut number, &mut taken)?, why));
            }
        }
        Ok(())
    }

    /// The name with the first number that makes it another than all others in the folder.
    fn numbered(&self, base: &[u8], number: &mut u32, taken: &mut HashSet<u64>) -> Result<Vec<u8>, IoFault> {
        loop {
            let suffix = format!("%~{number}");
            *number += 1;
            let mut most = MAX_COMPONENT - suffix.len();
            let name = loop {
                let name = [cut(base, most), suffix.as_bytes()].concat();
                if name.len() <= SHORT || most < 60 || self.keeps(&name)? {
                    break name;
                }
                most -= 20;
            };
            if taken.insert(mark(&name)) {
                return Ok(name);
            }
        }
    }
}

/// A mark of a name's key. Two keys hardly ever share one; if they do, a number is skipped.
fn mark(name: &[u8]) -> u64 {
    quick(&key(name)) as u64
}

/// Whether every file system takes this byte, between others.
fn is_plain(byte: &u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-')
}

#[cfg(test)]
mod tests;
