//! Lays out the tar of a walk: every byte offset is known before the first file is read, so that any range of the tar
//! can be filled on its own (FORMAT section 3).

use std::ops::Range;

use crate::base::digest::Digest;
use crate::base::entry::{Entry, Flag, Hole, Kind};
use crate::base::monitor::{Note, NoteKind};
use crate::base::pool::side_by_side;
use crate::format::part::BLOCK;
use crate::format::{bag, member, sums};
use crate::plan::links::{Leads, find, follow};

/// Names of the files at the end, which are made when all digests are known.
const MANIFEST: &str = "manifest-sha256.txt";
const SUMS: &str = "SHA256SUMS";
const TAGMANIFEST: &str = "tagmanifest-sha256.txt";

/// Where everything lies in the tar.
pub(crate) struct Layout {
    /// `bagit.txt` and `bag-info.txt` with their headers: the first bytes of the tar.
    pub(crate) front: Vec<u8>,
    /// Tar offset of each entry's header, ascending.
    pub(crate) starts: Vec<u64>,
    /// Tar offset where the last entry ends and the manifests begin.
    pub(crate) tail_start: u64,
    /// Bytes of the whole tar, a multiple of 512.
    pub(crate) len: u64,
    /// Links that the manifest lists, each with the file whose digest it gets: indices of entries, ascending.
    links: Vec<(u32, u32)>,
    manifest_len: u64,
    /// 0 if no name needs a line in the bag's SHA256SUMS; the file is then left out.
    sums_len: u64,
    info: Vec<u8>,
}

/// Lays out the tar of `entries`, which are in order, and sets where their contents lie. Names and links that BagIt
/// validators refuse are noted.
pub(crate) fn lay_out(entries: &mut [Entry], notes: &mut Vec<Note>) -> Layout {
    let links = listed_links(entries, notes);
    let mut bytes = 0u64;
    let mut files = 0u64;
    let mut manifest_len = 0u64;
    let mut sums_len = 0u64;
    for row in rows(entries, &links) {
        let name = payload_name(row.entry);
        let encoded = bag::encode(&name);
        bytes += entries[row.content].size;
        files += 1;
        manifest_len += bag::manifest_line_len(&encoded);
        if *encoded != *name {
            sums_len += sums::line_len(&name);
        }
    }
    let info = bag::info(bytes, files);
    let front = [tag_file("bagit.txt", bag::DECLARATION), tag_file("bag-info.txt", &info)].concat();
    let mut at = front.len() as u64;
    // Each header is built to be measured, so all cores share the work.
    let stretches: Vec<&[Entry]> = entries.chunks(4096).collect();
    let lens = side_by_side(&stretches, || (), |(), entries| entries.iter().map(member::len_of_entry).collect());
    let lens: Vec<Vec<u64>> = lens;
    let mut starts = Vec::with_capacity(entries.len());
    for (entry, len) in entries.iter_mut().zip(lens.into_iter().flatten()) {
        starts.push(at);
        at += len;
        entry.at = if entry.has_content() { at } else { 0 };
        at += entry.size + member::padding(entry.size);
    }
    let mut layout = Layout { front, starts, tail_start: at, len: 0, links, manifest_len, sums_len, info };
    layout.len = at + layout.tail_len();
    layout
}

impl Layout {
    /// Indices of the entries whose header, content or padding lie in that range.
    pub(crate) fn entries_in(&self, range: &Range<u64>) -> Range<usize> {
        let first = self.starts.partition_point(|start| *start <= range.start).saturating_sub(1);
        let end = self.starts.partition_point(|start| *start < range.end);
        first..end.max(first)
    }

    /// Tar offset of the first member that begins in that range; `None` if none does.
    pub(crate) fn first_member(&self, range: &Range<u64>) -> Option<u64> {
        let at = self.starts.partition_point(|start| *start < range.start);
        let entry = self.starts.get(at).copied();
        let start = if range.start == 0 { Some(0) } else { entry.or_else(|| self.tail_member(range.start)) };
        start.filter(|start| range.contains(start))
    }

    /// Finds byte number `at` of a tar whose `holes` are not counted: its real tar offset, and how many bytes follow
    /// before the next hole.
    pub(crate) fn past_holes(&self, holes: &[Hole], mut at: u64) -> (u64, u64) {
        for (start, len) in holes {
            if *start > at {
                return (at, start - at);
            }
            at += len;
        }
        (at, self.tail_start.saturating_sub(at))
    }

    /// Writes the end of the tar, from `tail_start` on: the manifests, for which all digests must be known, and the
    /// zero blocks. `digest` gives the one to list for the file at an index.
    pub(crate) fn write_tail<E>(
        &self,
        entries: &[Entry],
        digest: impl Fn(usize) -> Digest,
        mut out: impl FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut tags = vec![("bag-info.txt", &self.info[..]), ("bagit.txt", bag::DECLARATION)]
            .into_iter()
            .map(|(name, bytes)| (crate::base::digest::sha256(bytes), name))
            .collect::<Vec<_>>();
        let manifest = rows(entries, &self.links)
            .map(|row| bag::manifest_line(&digest(row.content), &bag::encode(&payload_name(row.entry))));
        tags.push((write_tag_file(MANIFEST, self.manifest_len, manifest, &mut out)?, MANIFEST));
        if self.sums_len > 0 {
            let lines = rows(entries, &self.links).filter_map(|row| {
                let name = payload_name(row.entry);
                (*bag::encode(&name) != *name).then(|| sums::line(&digest(row.content), &name))
            });
            tags.push((write_tag_file(SUMS, self.sums_len, lines, &mut out)?, SUMS));
        }
        tags.sort_by_key(|(_, name)| *name);
        let lines = tags.iter().map(|(sum, name)| bag::manifest_line(sum, name.as_bytes()));
        write_tag_file(TAGMANIFEST, self.tagmanifest_len(), lines, &mut out)?;
        out(&[0; member::END as usize])
    }

    fn tail_len(&self) -> u64 {
        let sums = if self.sums_len > 0 { tag_file_len(self.sums_len) } else { 0 };
        tag_file_len(self.manifest_len) + sums + tag_file_len(self.tagmanifest_len()) + member::END
    }

    fn tagmanifest_len(&self) -> u64 {
        let sums = if self.sums_len > 0 { Some(SUMS) } else { None };
        let names = ["bagit.txt", "bag-info.txt", MANIFEST].into_iter().chain(sums);
        names.map(|name| bag::manifest_line_len(name.as_bytes())).sum()
    }

    /// Tar offset of the first member of the tail at or behind `from`.
    fn tail_member(&self, from: u64) -> Option<u64> {
        let manifest = self.tail_start;
        let sums = manifest + tag_file_len(self.manifest_len);
        let tags = if self.sums_len > 0 { sums + tag_file_len(self.sums_len) } else { sums };
        [manifest, sums, tags].into_iter().find(|start| *start >= from)
    }
}

/// The holes of all files, as stretches of the tar.
pub(crate) fn holes_in(entries: &[Entry]) -> Vec<Hole> {
    entries.iter().flat_map(|entry| entry.holes.iter().map(|(start, len)| (entry.at + start, *len))).collect()
}

/// A line of the manifest: an entry, and the index of the file whose content it lists.
struct ManifestRow<'a> {
    entry: &'a Entry,
    content: usize,
}

/// The lines of the manifest in order: files, and the links that it lists.
fn rows<'a>(entries: &'a [Entry], links: &'a [(u32, u32)]) -> impl Iterator<Item = ManifestRow<'a>> {
    let mut links = links.iter().peekable();
    entries.iter().enumerate().filter_map(move |(at, entry)| {
        let content = match links.next_if(|(link, _)| *link as usize == at) {
            Some((_, content)) => *content as usize,
            None if entry.kind == Kind::File => at,
            None => return None,
        };
        Some(ManifestRow { entry, content })
    })
}

/// The note about a link that no manifest can list.
const ASTRAY: &str = "a link that leads nowhere or out of the bundle; packed as it is, BagIt validators refuse it";

/// The hard links and symlinks that the manifest lists, with the file that each leads to.
fn listed_links(entries: &[Entry], notes: &mut Vec<Note>) -> Vec<(u32, u32)> {
    let mut links = Vec::new();
    for (at, entry) in entries.iter().enumerate() {
        let content = match &entry.kind {
            Kind::Dir => continue,
            Kind::File => None,
            Kind::Hardlink(first) => find(entries, first.as_bytes()),
            Kind::Symlink(_) => match follow(entries, at) {
                Leads::File(file) => Some(file),
                Leads::Dir => continue,
                Leads::Astray => {
                    notes.push(Note::new(NoteKind::BagName, entry.path.as_bytes(), ASTRAY));
                    continue;
                }
            },
        };
        links.extend(content.map(|content| (at as u32, content as u32)));
        if let Some(why) = bag::refused(entry.path.as_bytes()) {
            let text = format!("{why}; packed exactly, but BagIt validators refuse or misread it");
            notes.push(Note::new(NoteKind::BagName, entry.path.as_bytes(), text));
        }
    }
    links
}

/// The digest that the manifests carry: zeros for a flagged file, so that exactly its lines fail by hand.
pub(crate) fn manifest_digest(sha256: Digest, flag: Flag) -> Digest {
    if flag == Flag::Clean { sha256 } else { Digest::ZERO }
}

fn payload_name(entry: &Entry) -> Vec<u8> {
    [bag::PAYLOAD, entry.path.as_bytes()].concat()
}

fn tag_file(name: &str, content: &[u8]) -> Vec<u8> {
    let mut out = member::of_tag_file(name, content.len() as u64);
    out.extend_from_slice(content);
    out.resize(out.len().next_multiple_of(BLOCK as usize), 0);
    out
}

fn tag_file_len(content: u64) -> u64 {
    BLOCK + content + member::padding(content)
}

fn write_tag_file<E>(
    name: &str,
    len: u64,
    lines: impl Iterator<Item = Vec<u8>>,
    out: &mut impl FnMut(&[u8]) -> Result<(), E>,
) -> Result<Digest, E> {
    let mut hasher = crate::base::digest::Hasher::new();
    let mut written = 0;
    out(&member::of_tag_file(name, len))?;
    for line in lines {
        hasher.update(&line);
        written += line.len() as u64;
        out(&line)?;
    }
    assert_eq!(written, len, "{name} has the announced length");
    out(&[0; BLOCK as usize][..member::padding(len) as usize])?;
    Ok(hasher.finish())
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::base::entry::Time;
    use crate::base::path::BytePath;

    pub(crate) fn entry(path: &str, kind: Kind, size: u64) -> Entry {
        Entry {
            path: BytePath::new(path.as_bytes()).unwrap(),
            kind,
            size,
            mode: 0o644,
            mtime: Time::default(),
            at: 0,
            holes: Box::default(),
            sha256: None,
            flag: Flag::Clean,
        }
    }

    pub(crate) fn dir(path: &str) -> Entry {
        entry(path, Kind::Dir, 0)
    }

    pub(crate) fn file(path: &str, size: u64) -> Entry {
        entry(path, Kind::File, size)
    }

    pub(crate) fn symlink(path: &str, target: &str) -> Entry {
        entry(path, Kind::Symlink(target.as_bytes().into()), 0)
    }

    fn hardlink(path: &str, first: &str) -> Entry {
        entry(path, Kind::Hardlink(BytePath::new(first.as_bytes()).unwrap()), 0)
    }

    /// The whole tar, with zeros as contents.
    fn tar_of(entries: &[Entry], layout: &Layout) -> Vec<u8> {
        let mut tar = layout.front.clone();
        for (at, entry) in entries.iter().enumerate() {
            assert_eq!(tar.len() as u64, layout.starts[at]);
            tar.extend(member::of_entry(entry));
            assert!(!entry.has_content() || entry.at == tar.len() as u64);
            tar.resize((tar.len() as u64 + entry.size).next_multiple_of(BLOCK) as usize, 0);
        }
        assert_eq!(tar.len() as u64, layout.tail_start);
        let mut put = |bytes: &[u8]| -> Result<(), ()> {
            tar.extend_from_slice(bytes);
            Ok(())
        };
        layout.write_tail(entries, |_| Digest::ZERO, &mut put).unwrap();
        tar
    }

    #[test]
    fn the_tar_is_as_long_as_announced_and_reads() {
        let mut entries = vec![
            dir("d"),
            file("d/a", 700),
            hardlink("d/b", "d/a"),
            symlink("d/c", "a"),
            symlink("d/e", "nowhere"),
            file("d/new\nline", 3),
            file("d/zero", 0),
        ];
        let mut notes = Vec::new();
        let layout = lay_out(&mut entries, &mut notes);
        let tar = tar_of(&entries, &layout);
        assert_eq!(tar.len() as u64, layout.len);
        assert_eq!(notes.len(), 2, "a link astray and a name with LF: {notes:?}");
        let mut archive = tar::Archive::new(&tar[..]);
        let mut manifest = String::new();
        let mut names = Vec::new();
        for member in archive.entries().unwrap() {
            let mut member = member.unwrap();
            names.push(String::from_utf8_lossy(&member.path_bytes()).into_owned());
            if names.last().unwrap().ends_with("bag/manifest-sha256.txt") {
                std::io::Read::read_to_string(&mut member, &mut manifest).unwrap();
            }
        }
        assert_eq!(names.len(), 2 + entries.len() + 3);
        let listed: Vec<&str> = manifest.lines().map(|line| &line[66..]).collect();
        assert_eq!(listed, ["data/d/a", "data/d/b", "data/d/c", "data/d/new%0Aline", "data/d/zero"]);
        assert!(String::from_utf8_lossy(&layout.info).contains("2103.5"), "links count with their file's bytes");
    }

    #[test]
    fn ranges_find_their_members() {
        let mut entries = vec![file("a", 5000), file("b", 0), file("c", 1)];
        let layout = lay_out(&mut entries, &mut Vec::new());
        let [a, b, c] = layout.starts[..] else { panic!() };
        assert_eq!(layout.entries_in(&(0..a)), 0..0);
        assert_eq!(layout.entries_in(&(0..a + 1)), 0..1);
        assert_eq!(layout.entries_in(&(a + 1024..b + 512)), 0..2);
        assert_eq!(layout.entries_in(&(c..layout.tail_start)), 2..3);
        assert_eq!(layout.first_member(&(0..512)), Some(0));
        assert_eq!(layout.first_member(&(a + 512..b)), None);
        assert_eq!(layout.first_member(&(a + 512..b + 1)), Some(b));
        assert_eq!(layout.first_member(&(c + 512..layout.len)), Some(layout.tail_start));
        assert_eq!(layout.first_member(&(layout.len - 512..layout.len)), None);
    }

    #[test]
    fn holes_are_passed_over() {
        let mut entries = vec![file("a", 10_000), file("b", 5000)];
        entries[0].holes = vec![(0, 4096), (8192, 1808)].into();
        let layout = lay_out(&mut entries, &mut Vec::new());
        let content = entries[0].at;
        let holes = holes_in(&entries);
        assert_eq!(layout.past_holes(&holes, 0), (0, content));
        assert_eq!(layout.past_holes(&holes, content), (content + 4096, 4096));
        assert_eq!(layout.past_holes(&holes, content + 5000), (content + 10_904, layout.tail_start - content - 10_904));
    }

    #[test]
    fn nothing_is_a_bag_too() {
        let layout = lay_out(&mut [], &mut Vec::new());
        assert_eq!(tar_of(&[], &layout).len() as u64, layout.len);
    }
}
