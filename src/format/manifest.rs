//! The bag's manifests, read: what proves files when there is no list (FORMAT section 3).
//!
//! `manifest-sha256.txt` spells some names with percent signs and two of them may then look
//! alike; the bag's `SHA256SUMS` has those names as they are.

use std::collections::HashMap;

use crate::base::digest::Digest;
use crate::base::text::unhex;
use crate::format::{FormatError, bag};

const WHAT: &str = "the manifest";

/// What the manifests say of one name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Said {
    /// Its content has this SHA-256.
    Is(Digest),
    /// It is named, and nobody vouches for its content: it changed or could not be read when it
    /// was packed, or two names look alike.
    Unvouched,
    /// It is not named.
    Nothing,
}

/// Both manifests.
#[derive(Debug, Default)]
pub struct Manifest {
    /// Names below the bag in the order of the manifest, as they are if that is known.
    names: Vec<Vec<u8>>,
    /// By names as the manifest spells them; names that `odd` has are not among them.
    plain: HashMap<Vec<u8>, Vec<Digest>>,
    /// By names as they are.
    odd: HashMap<Vec<u8>, Digest>,
}

impl Manifest {
    /// From both texts, of which the second need not be there.
    pub fn parse(manifest: &[u8], sums: Option<&[u8]>) -> Result<Self, FormatError> {
        let mut out = Manifest::default();
        // By what the manifest makes of them: one line there for each.
        let mut spelled: HashMap<Vec<u8>, Vec<(Vec<u8>, Digest)>> = HashMap::new();
        for (digest, name) in lines(sums.unwrap_or_default(), true)? {
            spelled.entry(bag::encode(&name).into_owned()).or_default().push((name.clone(), digest));
            out.odd.insert(name, digest);
        }
        for (digest, name) in lines(manifest, false)? {
            let odd = spelled.get_mut(&name).and_then(|odd| {
                let at = odd.iter().position(|(_, of)| *of == digest)?;
                Some(odd.remove(at).0)
            });
            match odd {
                Some(raw) => out.names.push(raw),
                None => {
                    out.plain.entry(name.clone()).or_default().push(digest);
                    out.names.push(name);
                }
            }
        }
        Ok(out)
    }

    /// All paths below the payload, in the order of the manifest; those with percent signs as it
    /// spells them, where nothing says how they are.
    pub fn paths(&self) -> impl Iterator<Item = &[u8]> {
        self.names.iter().filter_map(|name| name.strip_prefix(bag::PAYLOAD))
    }

    /// How the manifest spells a path, or as it is where that is known: an item of
    /// [`Manifest::paths`], if it is named at all.
    pub fn spelled(&self, path: &[u8]) -> Vec<u8> {
        let name = [bag::PAYLOAD, path].concat();
        if self.odd.contains_key(&name) { path.to_vec() } else { bag::encode(path).into_owned() }
    }

    /// What is said of the file or link with that path.
    pub fn said(&self, path: &[u8]) -> Said {
        let name = [bag::PAYLOAD, path].concat();
        let digests = match self.odd.get(&name) {
            Some(digest) => std::slice::from_ref(digest),
            None => self.plain.get(&*bag::encode(&name)).map_or(&[][..], Vec::as_slice),
        };
        match digests {
            [] => Said::Nothing,
            [digest] if *digest != Digest::ZERO => Said::Is(*digest),
            _ => Said::Unvouched,
        }
    }
}

/// Digest and name of each line; `escaped`: as coreutils writes names.
fn lines(text: &[u8], escaped: bool) -> Result<Vec<(Digest, Vec<u8>)>, FormatError> {
    let parse = |(at, line): (usize, &[u8])| {
        line_of(line, escaped).ok_or_else(|| FormatError::malformed(WHAT, at + 1, "it is no hash and name"))
    };
    text.split_inclusive(|byte| *byte == b'\n').enumerate().map(parse).collect()
}

fn line_of(line: &[u8], escaped: bool) -> Option<(Digest, Vec<u8>)> {
    let line = line.strip_suffix(b"\n")?;
    let (escaped, line) = match line.strip_prefix(b"\\") {
        Some(rest) if escaped => (true, rest),
        _ => (false, line),
    };
    let (digest, name) = (line.get(..64)?, line.get(64..)?.strip_prefix(b"  ")?);
    let name = if escaped { unescaped(name)? } else { name.to_vec() };
    Some((Digest(unhex(std::str::from_utf8(digest).ok()?)?), name))
}

fn unescaped(name: &[u8]) -> Option<Vec<u8>> {
    let (mut out, mut rest) = (Vec::with_capacity(name.len()), name.iter());
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
            let expected = if byte == 0 { Said::Unvouched } else { Said::Is(Digest([byte; 32])) };
            assert_eq!(read.said(path), expected);
            assert_eq!(read.spelled(path), path);
        }
        assert_eq!(read.paths().collect::<Vec<_>>(), NAMES.map(|(path, _)| path));
        assert_eq!((read.said(b"b"), read.said(b"%ff")), (Said::Nothing, Said::Nothing));
    }

    #[test]
    fn without_the_other_file_what_looks_alike_is_not_vouched_for() {
        let (manifest, _) = texts(&NAMES);
        let read = Manifest::parse(&manifest, None).unwrap();
        assert_eq!((read.said(b"%FF"), read.said(b"\xff")), (Said::Unvouched, Said::Unvouched));
        assert_eq!((read.said(b"a"), read.said(b"b\n\\")), (Said::Is(Digest([1; 32])), Said::Is(Digest([2; 32]))));
        assert_eq!(read.paths().nth(1), Some(&b"b%0A\\"[..]));
        assert_eq!(read.spelled(b"b\n\\"), b"b%0A\\");
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
