//! Writes one member of the tar: the header blocks before its content (POSIX ustar, and pax only for what ustar cannot
//! hold; FORMAT section 3). Outside tests, no other file uses the `tar` crate.

use crate::base::entry::{Entry, Kind, Time};
use crate::base::path::BytePath;
use crate::format::bag;
use crate::format::part::BLOCK;

/// The largest number that an octal field of 11 digits holds.
const OCTAL_MAX: u64 = (1 << 33) - 1;
/// Name of the member that carries pax records. A tar that does not know pax unpacks a file of that name.
const PAX_NAME: &[u8] = b"././@PaxHeader";

/// Zero bytes that fill `len` bytes of content up to whole blocks.
pub(crate) fn padding(len: u64) -> u64 {
    len.next_multiple_of(BLOCK) - len
}

/// Bytes of the two zero blocks at the end of a tar.
pub(crate) const END: u64 = 2 * BLOCK;

/// The header blocks of an entry. Its path stands below `bag/data/`.
pub fn of_entry(entry: &Entry) -> Vec<u8> {
    let mut name = payload_name(&entry.path);
    let (kind, link) = match &entry.kind {
        Kind::Dir => {
            name.push(b'/');
            (tar::EntryType::Directory, Vec::new())
        }
        Kind::File => (tar::EntryType::Regular, Vec::new()),
        Kind::Symlink(target) => (tar::EntryType::Symlink, target.to_vec()),
        Kind::Hardlink(first) => (tar::EntryType::Link, payload_name(first)),
    };
    encode(&Member { name: &name, link: &link, kind, size: entry.size, mode: entry.mode, mtime: entry.mtime })
}

/// The header block of a tag file of the bag, such as `bagit.txt`.
pub fn of_tag_file(name: &str, size: u64) -> Vec<u8> {
    let name = [bag::ROOT, name.as_bytes()].concat();
    let kind = tar::EntryType::Regular;
    encode(&Member { name: &name, link: &[], kind, size, mode: 0o644, mtime: Time::default() })
}

/// Length of [`of_entry`] in bytes.
pub fn len_of_entry(entry: &Entry) -> u64 {
    // The header is built to be measured: a second rule for its length could disagree.
    of_entry(entry).len() as u64
}

/// The header blocks of any member, from its values; `kind` is the type byte. `format/ustar.rs` compares them with the
/// blocks that it reads.
pub fn of_values(kind: u8, name: &[u8], link: &[u8], size: u64, mode: u32, mtime: Time) -> Vec<u8> {
    encode(&Member { name, link, kind: tar::EntryType::new(kind), size, mode, mtime })
}

fn payload_name(path: &BytePath) -> Vec<u8> {
    [bag::ROOT, bag::PAYLOAD, path.as_bytes()].concat()
}

struct Member<'a> {
    name: &'a [u8],
    link: &'a [u8],
    kind: tar::EntryType,
    size: u64,
    mode: u32,
    mtime: Time,
}

fn encode(member: &Member) -> Vec<u8> {
    let mut header = blank(member.kind, member.mode);
    let mut records = Records::default();
    if !set_name(&mut header, member.name) {
        records.add(b"path", member.name);
    }
    if !set_link(&mut header, member.link) {
        records.add(b"linkpath", member.link);
    }
    header.set_size(member.size);
    if member.size > OCTAL_MAX {
        records.add(b"size", member.size.to_string().as_bytes());
    }
    header.set_mtime(member.mtime.secs.clamp(0, OCTAL_MAX as i64) as u64);
    if member.mtime.secs < 0 || member.mtime.secs as u64 > OCTAL_MAX {
        records.add(b"mtime", member.mtime.secs.to_string().as_bytes());
    }
    header.set_cksum();
    let mut out = records.into_member();
    out.extend_from_slice(header.as_bytes());
    out
}

fn blank(kind: tar::EntryType, mode: u32) -> tar::Header {
    let mut header = tar::Header::new_ustar();
    header.set_entry_type(kind);
    header.set_mode(mode & 0o777);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header
}

/// Puts a name into ustar's two fields. If it does not fit, they hold its first 100 bytes and the result is `false`.
fn set_name(header: &mut tar::Header, name: &[u8]) -> bool {
    let ustar = header.as_ustar_mut().expect("made as ustar");
    if name.len() <= ustar.name.len() {
        ustar.name[..name.len()].copy_from_slice(name);
        return true;
    }
    let slashes = name.iter().enumerate().filter(|(_, b)| **b == b'/').map(|(at, _)| at);
    let slash = slashes.rev().find(|slash| *slash <= 155 && (1..=100).contains(&(name.len() - slash - 1)));
    match slash {
        Some(slash) => {
            ustar.prefix[..slash].copy_from_slice(&name[..slash]);
            ustar.name[..name.len() - slash - 1].copy_from_slice(&name[slash + 1..]);
            true
        }
        None => {
            ustar.name.copy_from_slice(&name[..100]);
            false
        }
    }
}

/// Puts a link's target into its field: `false` if only the beginning fits.
fn set_link(header: &mut tar::Header, link: &[u8]) -> bool {
    let ustar = header.as_ustar_mut().expect("made as ustar");
    let len = link.len().min(ustar.linkname.len());
    ustar.linkname[..len].copy_from_slice(&link[..len]);
    len == link.len()
}

/// The pax records of one member (POSIX.1-2017, pax, section "pax Extended Header").
#[derive(Default)]
struct Records {
    text: Vec<u8>,
    /// Whether a value is not UTF-8, which a record before all others must say.
    binary: bool,
}

impl Records {
    fn add(&mut self, key: &[u8], value: &[u8]) {
        self.binary |= std::str::from_utf8(value).is_err();
        self.text.extend(record(key, value));
    }

    /// The records as a member of their own, which stands before the one they describe; empty without records.
    fn into_member(self) -> Vec<u8> {
        if self.text.is_empty() {
            return Vec::new();
        }
        let mut text = if self.binary { record(b"hdrcharset", b"BINARY") } else { Vec::new() };
        text.extend(self.text);
        let mut header = blank(tar::EntryType::XHeader, 0o644);
        set_name(&mut header, PAX_NAME);
        header.set_size(text.len() as u64);
        header.set_cksum();
        let mut out = header.as_bytes().to_vec();
        out.extend_from_slice(&text);
        out.resize(out.len() + padding(text.len() as u64) as usize, 0);
        out
    }
}

/// `"<len> <key>=<value>\n"`, where the length counts its own digits.
fn record(key: &[u8], value: &[u8]) -> Vec<u8> {
    let rest = key.len() + value.len() + 3;
    let mut len = rest + 1;
    while rest + len.to_string().len() != len {
        len = rest + len.to_string().len();
    }
    [len.to_string().as_bytes(), b" ", key, b"=", value, b"\n"].concat()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::entry::Flag;
    use std::io::Read;

    fn entry(path: &[u8], kind: Kind, size: u64) -> Entry {
        Entry {
            path: BytePath::new(path).unwrap(),
            kind,
            size,
            mode: 0o640,
            mtime: Time { secs: 1_700_000_000, nanos: 5 },
            at: 0,
            holes: Box::default(),
            sha256: None,
            flag: Flag::Clean,
        }
    }

    /// Name, link and size as another reader, the tar crate's own, finds them in a header.
    fn read(bytes: &[u8]) -> (Vec<u8>, Vec<u8>, u64) {
        let mut archive = tar::Archive::new(bytes.chain(std::io::repeat(0)));
        let member = archive.entries().unwrap().next().unwrap().unwrap();
        let link = member.link_name_bytes().map(|l| l.to_vec()).unwrap_or_default();
        (member.path_bytes().to_vec(), link, member.size())
    }

    #[test]
    fn short_names_take_one_block() {
        let bytes = of_entry(&entry(b"photos/a.jpg", Kind::File, 7));
        assert_eq!(bytes.len(), 512);
        assert_eq!(read(&bytes), (b"bag/data/photos/a.jpg".to_vec(), vec![], 7));
        assert_eq!(read(&of_entry(&entry(b"photos", Kind::Dir, 0))).0, b"bag/data/photos/");
    }

    #[test]
    fn every_name_comes_back() {
        let deep = [&[b'd'; 120][..], b"/", &[b'e'; 90]].concat();
        let long = [&[b'd'; 200][..], b"/", &[b'e'; 200]].concat();
        // The name has no newline, because the tar crate parses pax records line by line; tar programs go by lengths.
        let odd = [&[0xff; 150][..], b"/x"].concat();
        for (path, blocks) in [(&deep, 1), (&long, 3), (&odd, 3)] {
            for kind in [Kind::File, Kind::Hardlink(BytePath::new(path.clone()).unwrap())] {
                let bytes = of_entry(&entry(path, kind.clone(), 0));
                let name = [b"bag/data/", &path[..]].concat();
                assert_eq!(read(&bytes).0, name);
                if kind == Kind::File {
                    assert_eq!(bytes.len(), blocks * 512, "{}", path.len());
                } else {
                    assert_eq!(read(&bytes).1, name);
                }
            }
        }
    }

    #[test]
    fn large_sizes_and_early_times_need_pax() {
        let mut big = entry(b"big", Kind::File, 1 << 40);
        assert_eq!(read(&of_entry(&big)).2, 1 << 40);
        big.mtime.secs = -5;
        let bytes = of_entry(&big);
        let text = String::from_utf8_lossy(&bytes);
        assert!(text.contains(" size=1099511627776\n") && text.contains(" mtime=-5\n"));
    }

    #[test]
    fn a_record_counts_itself() {
        assert_eq!(record(b"path", &[b'x'; 90]), [b"99 path=", &[b'x'; 90][..], b"\n"].concat());
        assert_eq!(record(b"path", &[b'x'; 91]), [b"101 path=", &[b'x'; 91][..], b"\n"].concat());
    }

    #[test]
    fn set_id_bits_never_enter() {
        let mut file = entry(b"x", Kind::File, 0);
        file.mode = 0o4755;
        let header = of_entry(&file);
        assert_eq!(&header[100..108], b"0000755\0");
    }
}
