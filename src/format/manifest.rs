//! Reads the bag's manifests, which prove files when there is no list (FORMAT section 3).
//!
//! `manifest-sha256.txt` spells some names with percent signs, and two of them may then look alike; the bag's
//! `SHA256SUMS` has those names as they are. Both texts may be long and are not copied: what is kept beside them is
//! where lines and names begin.

use std::borrow::Cow;

use crate::base::digest::Digest;
use crate::base::text::unhex;
use crate::format::{FormatError, bag};

const WHAT: &str = "the manifest";

/// What the manifests say about one name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ManifestEntry {
    /// The content has this SHA-256.
    Is(Digest),
    /// The name is listed, but no digest counts for it: the file changed or could not be read when it was packed, or
    /// two names look alike.
    Unvouched,
    /// The name is not listed.
    Nothing,
}

/// Both manifests of a bag.
#[derive(Debug, Default)]
pub struct Manifest<'t> {
    /// The lines of `manifest-sha256.txt`, in its order.
    lines: Vec<ManifestLine<'t>>,
    /// Indices of `lines`, sorted by names as the manifest spells them.
    by_name: Vec<u32>,
    /// The lines of `SHA256SUMS`, sorted by names as they are.
    odd: Vec<Odd<'t>>,
}

/// A line of `manifest-sha256.txt`.
#[derive(Debug)]
struct ManifestLine<'t> {
    /// The line without its LF.
    text: &'t [u8],
    /// Index of the line of `SHA256SUMS` that has this file's name as it is.
    odd: Option<u32>,
}

/// A line of the bag's `SHA256SUMS`, which holds the names that the manifest cannot spell as they are.
#[derive(Debug)]
struct Odd<'t> {
    name: Cow<'t, [u8]>,
    digest: Digest,
    /// Index of the manifest's line about the same file.
    line: Option<u32>,
}

impl<'t> ManifestLine<'t> {
    /// The name as the manifest spells it.
    fn name(&self) -> &'t [u8] {
        &self.text[DIGEST..]
    }

    fn digest(&self) -> Digest {
        digest_of(self.text).unwrap_or(Digest::ZERO)
    }
}

impl<'t> Manifest<'t> {
    /// Parses both texts. A bag without odd names has no `sums`.
    ///
    /// # Errors
    /// A line is not a hash and a name.
    pub fn parse(manifest: &'t [u8], sums: Option<&'t [u8]>) -> Result<Self, FormatError> {
        let mut lines = Vec::new();
        for (at, text) in manifest.split_inclusive(|byte| *byte == b'\n').enumerate() {
            let text = line_of(text).filter(|text| digest_of(text).is_some());
            lines.push(ManifestLine { text: text.ok_or_else(|| malformed(at))?, odd: None });
        }
        let mut odd = Vec::new();
        for (at, text) in sums.unwrap_or_default().split_inclusive(|byte| *byte == b'\n').enumerate() {
            odd.push(odd_of(text).ok_or_else(|| malformed(at))?);
        }
        // Of two lines with one name the later counts.
        odd.reverse();
        odd.sort_by(|a, b| a.name.cmp(&b.name));
        odd.dedup_by(|later, first| later.name == first.name);
        let mut by_name: Vec<u32> = (0..lines.len() as u32).collect();
        by_name.sort_unstable_by_key(|at| (lines[*at as usize].name(), *at));
        let mut out = Self { lines, by_name, odd };
        out.pair();
        Ok(out)
    }

    /// Pairs each line of `SHA256SUMS` with the line of the manifest that has its digest and spells its name.
    fn pair(&mut self) {
        for at in 0..self.odd.len() {
            let Odd { name, digest, .. } = &self.odd[at];
            let spelled_so = self.spelled_so(&bag::encode(name)).iter().copied();
            let pair = spelled_so
                .map(|line| (line, &self.lines[line as usize]))
                .find(|(_, line)| line.odd.is_none() && line.digest() == *digest);
            if let Some((line, _)) = pair {
                self.lines[line as usize].odd = Some(at as u32);
                self.odd[at].line = Some(line);
            }
        }
    }

    /// Indices of the lines that spell their name so.
    fn spelled_so(&self, name: &[u8]) -> &[u32] {
        let from = self.by_name.partition_point(|at| self.lines[*at as usize].name() < name);
        let to = self.by_name.partition_point(|at| self.lines[*at as usize].name() <= name);
        &self.by_name[from..to]
    }

    /// The line of `SHA256SUMS` with that name.
    fn odd_of(&self, name: &[u8]) -> Option<&Odd<'t>> {
        self.odd.binary_search_by(|odd| (*odd.name).cmp(name)).ok().map(|at| &self.odd[at])
    }

    /// All paths of the payload that are not in `seen`, in the order of the manifest. A path with percent signs stays
    /// as the manifest spells it, unless `SHA256SUMS` tells how it is.
    pub fn paths_but<'p>(&self, seen: impl Iterator<Item = &'p [u8]>) -> impl Iterator<Item = &[u8]> {
        let mut is_seen = vec![false; self.lines.len()];
        for path in seen {
            let name = [bag::PAYLOAD, path].concat();
            match self.odd_of(&name) {
                Some(odd) => odd.line.into_iter().for_each(|line| is_seen[line as usize] = true),
                None => self.plain(&name).for_each(|line| is_seen[line as usize] = true),
            }
        }
        let unseen = self.lines.iter().zip(is_seen).filter(|(_, is_seen)| !is_seen);
        unseen.filter_map(|(line, _)| self.shown(line).strip_prefix(bag::PAYLOAD))
    }

    /// A line's name as it is, if that is known, else as the manifest spells it.
    fn shown(&self, line: &ManifestLine<'t>) -> &[u8] {
        line.odd.map_or(line.name(), |odd| &self.odd[odd as usize].name)
    }

    /// Indices of the lines that spell this name and are not known to mean another.
    fn plain(&self, name: &[u8]) -> impl Iterator<Item = u32> {
        let lines = self.spelled_so(&bag::encode(name)).iter().copied();
        lines.filter(|line| self.lines[*line as usize].odd.is_none())
    }

    /// What the manifests say about the file or link with that path.
    pub(crate) fn said(&self, path: &[u8]) -> ManifestEntry {
        let name = [bag::PAYLOAD, path].concat();
        let mut digests = self.plain(&name).map(|line| self.lines[line as usize].digest());
        let (first, more) = match self.odd_of(&name) {
            Some(odd) => (Some(odd.digest), None),
            None => (digests.next(), digests.next()),
        };
        match (first, more) {
            (None, _) => ManifestEntry::Nothing,
            (Some(digest), None) if digest != Digest::ZERO => ManifestEntry::Is(digest),
            _ => ManifestEntry::Unvouched,
        }
    }
}

/// Bytes of a line before its name: the digest and two blanks.
const DIGEST: usize = 64 + 2;

fn malformed(at: usize) -> FormatError {
    FormatError::malformed(WHAT, at + 1, "it is no hash and name")
}

fn line_of(line: &[u8]) -> Option<&[u8]> {
    line.strip_suffix(b"\n").filter(|line| line.get(64..DIGEST) == Some(b"  "))
}

fn digest_of(line: &[u8]) -> Option<Digest> {
    Some(Digest(unhex(std::str::from_utf8(line.get(..64)?).ok()?)?))
}

/// Parses a line as coreutils writes it, where a backslash before the hash marks an escaped name.
fn odd_of(line: &[u8]) -> Option<Odd<'_>> {
    let (line, escaped) = match line.strip_prefix(b"\\") {
        Some(rest) => (line_of(rest)?, true),
        None => (line_of(line)?, false),
    };
    let name = &line[DIGEST..];
    let name = if escaped { Cow::Owned(unescaped(name)?) } else { Cow::Borrowed(name) };
    Some(Odd { name, digest: digest_of(line)?, line: None })
}

fn unescaped(name: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(name.len());
    let mut rest = name.iter();
    while let Some(byte) = rest.next() {
        out.push(match byte {
            b'\\' => match rest.next()? {
                b'\\' => b'\\',
                b'n' => b'\n',
                b'r' => b'\r',
                _ => return None,
            },
            byte => *byte,
        });
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::sums;

    fn texts(names: &[(&[u8], u8)]) -> (Vec<u8>, Vec<u8>) {
        let (mut manifest, mut odd) = (Vec::new(), Vec::new());
        for (path, byte) in names {
            let (name, digest) = ([bag::PAYLOAD, path].concat(), Digest([*byte; 32]));
            manifest.extend(bag::manifest_line(&digest, &bag::encode(&name)));
            if *bag::encode(&name) != *name {
                odd.extend(sums::line(&digest, &name));
            }
        }
        (manifest, odd)
    }

    const NAMES: [(&[u8], u8); 5] = [(b"a", 1), (b"b\n\\", 2), (b"%FF", 3), (b"\xff", 4), (b"z", 0)];

    #[test]
    fn every_name_has_its_digest() {
        let (manifest, odd) = texts(&NAMES);
        let read = Manifest::parse(&manifest, Some(&odd)).unwrap();
        for (path, byte) in NAMES {
            let expected = if byte == 0 { ManifestEntry::Unvouched } else { ManifestEntry::Is(Digest([byte; 32])) };
            assert_eq!(read.said(path), expected);
            let others: Vec<&[u8]> = NAMES.map(|(path, _)| path).into_iter().filter(|other| *other != path).collect();
            assert_eq!(read.paths_but([path].into_iter()).collect::<Vec<_>>(), others);
        }
        assert_eq!(read.paths_but(std::iter::empty()).collect::<Vec<_>>(), NAMES.map(|(path, _)| path));
        assert_eq!((read.said(b"b"), read.said(b"%ff")), (ManifestEntry::Nothing, ManifestEntry::Nothing));
    }

    #[test]
    fn without_the_other_file_what_looks_alike_is_not_vouched_for() {
        let (manifest, _) = texts(&NAMES);
        let read = Manifest::parse(&manifest, None).unwrap();
        assert_eq!((read.said(b"%FF"), read.said(b"\xff")), (ManifestEntry::Unvouched, ManifestEntry::Unvouched));
        assert_eq!(
            (read.said(b"a"), read.said(b"b\n\\")),
            (ManifestEntry::Is(Digest([1; 32])), ManifestEntry::Is(Digest([2; 32])))
        );
        assert_eq!(read.paths_but(std::iter::empty()).nth(1), Some(&b"b%0A\\"[..]));
        let seen: [&[u8]; 2] = [b"b\n\\", b"\xff"];
        assert_eq!(read.paths_but(seen.into_iter()).collect::<Vec<_>>(), [&b"a"[..], b"z"], "%FF may be one byte");
    }

    #[test]
    fn what_is_no_manifest_is_refused() {
        let (manifest, odd) = texts(&NAMES);
        for wrong in [&manifest[1..], &manifest[..manifest.len() - 1], b"\n", b"\\", b"x  y\n"] {
            assert!(Manifest::parse(wrong, None).is_err());
        }
        let broken = [&odd[..], &odd[..60]].concat();
        assert!(Manifest::parse(&manifest, Some(&broken)).is_err());
        let unescapable = [b"\\", "00".repeat(32).as_bytes(), b"  data/\\x\n"].concat();
        assert!(Manifest::parse(&manifest, Some(&unescapable)).is_err());
    }
}
