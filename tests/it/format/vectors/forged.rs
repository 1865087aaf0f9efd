//! Bundles made by an attacker who knows R and follows no rule: version 1's own bundle, opened, changed and sealed
//! again. These tests hold the `B-` rules of docs/FORMAT.md that need whole volumes.

use std::fs;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use pouch::internals::base::digest::tagged;
use pouch::internals::base::secret::FileKey;
use pouch::internals::format::head::{Auth, Head, Part, PartKind, parts_hash};
use pouch::internals::format::part::{HEADER, Lead, PartBuf, Trail};
use pouch::internals::format::seal::Seal;
use pouch::internals::format::stripe::{Scheme, ShardPos};
use pouch::internals::stage::compress::Decompressor;
use pouch::internals::stage::seal::{Identity, Keyring, Recipient, header_for};
use pouch::internals::stage::stream::{Opener, PartOpener, PartSealer, Sealer};

use crate::format::vectors::readable::{KEY, VOLUME, pouch};
use crate::format::vectors::stored;

mod seals;
mod volumes;
mod wrong_parity;

const PART: &str = "000001.age";

/// The bundle on a drive of its own, where tests change it.
struct Forged {
    drive: tempfile::TempDir,
    ring: Keyring,
    recipient: Recipient,
    head: Head,
    list: String,
}

impl Forged {
    fn new() -> Self {
        let drive = tempfile::tempdir().unwrap();
        fs::create_dir(drive.path().join("v")).unwrap();
        for name in ["seal.age", "head.age", "list.age", PART] {
            fs::copy(Path::new(VOLUME).join(name), drive.path().join("v").join(name)).unwrap();
        }
        let seal = Seal::parse(own_seal().as_bytes()).unwrap();
        let identity = Identity::parse(&seal.identity).unwrap();
        let mut ring = Keyring::new();
        let recipient = identity.recipient();
        ring.add(identity);
        let text = |name| String::from_utf8(unsealed(&ring, &Path::new(VOLUME).join(name))).unwrap();
        let (head, list) = (Head::parse(text("head.age").as_bytes()).unwrap(), text("list.age"));
        Self { drive, ring, recipient, head, list }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.drive.path().join("v").join(name)
    }

    /// Seals the list and the head as it is now onto the drive, after making the head's hashes fit.
    fn seal_index(&mut self) {
        self.head.statement.list_hash = tagged("list", self.list.as_bytes());
        self.head.statement.parts = self.head.parts.len() as u32;
        self.head.statement.parts_hash = parts_hash(&self.head.parts);
        self.seal_text("list.age", &self.list);
        self.seal_text("head.age", &self.head.encode());
    }

    fn seal_text(&self, name: &str, text: &str) {
        fs::write(self.file(name), sealed(&self.recipient, &stored(text.as_bytes()))).unwrap();
    }

    fn header(&self) -> ([u8; HEADER], FileKey) {
        let header = *self.head.parts[0].header;
        (header, self.ring.open_header(&header).unwrap().0)
    }

    /// The tar that the part holds.
    fn tar(&self) -> Vec<u8> {
        let (header, key) = self.header();
        let mut buf = PartBuf::new(self.head.statement.class);
        buf.file_mut().copy_from_slice(&fs::read(self.file(PART)).unwrap());
        let chunks = self.head.statement.class.chunks();
        assert!(PartOpener::new(&key, &header, chunks).open_all(&mut buf).is_empty());
        decoded((0..chunks).map(|at| buf.plain(at).to_vec()))
    }

    /// The lead that the part should have.
    fn lead(&self) -> Lead {
        Lead { bundle: self.head.statement.bundle, number: 1, offset: 0 }
    }

    /// Seals other content under the part's own header.
    fn seal_part(&self, lead: Lead, tar: &[u8]) {
        let (header, key) = self.header();
        let mut buf = PartBuf::new(self.head.statement.class);
        let mut sealer = PartSealer::new(&key, &header, &mut buf, |_, _| ());
        sealer.append(&lead.encode());
        sealer.append(&stored(tar));
        let padding = self.head.statement.class.room() - stored(tar).len();
        sealer.append(&Trail { length: tar.len() as u64, first_member: Some(0), last: true }.encode(padding));
        sealer.finish();
        fs::write(self.file(PART), buf.file()).unwrap();
    }

    /// Unpacks. Returns the exit code, all output, and where `papers` goes.
    fn unpack(&self) -> (i32, String, PathBuf) {
        let out = tempfile::tempdir_in(self.drive.path()).unwrap().keep();
        let (volume, to) = (self.file(""), out.to_str().unwrap());
        let (code, said, err) = pouch(&["unpack", volume.to_str().unwrap(), "-i", KEY, "-o", to], b"");
        (code, said + &err, out.join("papers"))
    }
}

/// Runs `pouch repair` and `pouch check` with the key. Returns their exit codes, and how many volumes repair wrote.
fn repair_and_check(forged: &Forged) -> (i32, i32, usize) {
    let out = tempfile::tempdir_in(forged.drive.path()).unwrap();
    let (volume, to) = (forged.file(""), out.path().to_str().unwrap());
    let repaired = pouch(&["repair", volume.to_str().unwrap(), "-i", KEY, "-o", to], b"").0;
    let checked = pouch(&["check", volume.to_str().unwrap(), "-i", KEY], b"").0;
    (repaired, checked, fs::read_dir(out.path()).unwrap().count())
}

fn decoded(pieces: impl Iterator<Item = Vec<u8>>) -> Vec<u8> {
    let mut out = Vec::new();
    let take = |bytes: &[u8]| -> Result<(), ()> {
        out.extend_from_slice(bytes);
        Ok(())
    };
    Decompressor::new().unwrap().decode(pieces, take).unwrap();
    out
}

fn unsealed(ring: &Keyring, path: &Path) -> Vec<u8> {
    let bytes = fs::read(path).unwrap();
    let (key, len) = ring.open_header(&bytes).unwrap();
    let mut plain = Vec::new();
    Opener::new(&bytes[len..], &key).unwrap().read_to_end(&mut plain).unwrap();
    decoded(std::iter::once(plain))
}

fn sealed(to: &Recipient, plain: &[u8]) -> Vec<u8> {
    let (header, key) = header_for(std::slice::from_ref(to));
    let mut sealer = Sealer::new(Vec::new(), &header, &key).unwrap();
    sealer.write_all(plain).unwrap();
    sealer.finish().unwrap()
}

/// The text of the bundle's own seal.
fn own_seal() -> String {
    let mut ring = Keyring::new();
    ring.add_file(&fs::read_to_string(KEY).unwrap()).unwrap();
    let sealed = fs::read(Path::new(VOLUME).join("seal.age")).unwrap();
    String::from_utf8(ring.open_small(&sealed, 2048).unwrap().to_vec()).unwrap()
}

/// Encrypts a seal to the key that opens the volumes.
fn seal_to_reader(text: &str) -> Vec<u8> {
    let key = fs::read_to_string(KEY).unwrap();
    let recipient = key.lines().find_map(|line| line.strip_prefix("# public key: ")).unwrap();
    sealed(&Recipient::parse(recipient).unwrap(), text.as_bytes())
}

#[test]
fn what_is_sealed_again_unchanged_opens() {
    let mut forged = Forged::new();
    forged.seal_index();
    forged.seal_part(forged.lead(), &forged.tar());
    fs::write(forged.file("seal.age"), seal_to_reader(&own_seal())).unwrap();
    let (code, said, out) = forged.unpack();
    assert_eq!(code, 0, "the other tests would prove nothing: {said}");
    assert!(out.join("hello.txt").exists());
}

#[test]
fn a_seal_holds_the_key_it_commits_to() {
    let text = own_seal();
    let other = Identity::generate().to_text();
    let own = text.lines().last().unwrap();
    let kcommit = text.lines().find(|line| line.starts_with("# kcommit ")).unwrap();
    let cards = format!("{kcommit}\n# cards {}", "05".repeat(32));
    for (rule, wrong, expected) in [
        ("B-SEAL-1", text.replace(own, &own[..own.len() - 1]), 6),
        ("B-SEAL-2", text.replace(own, &other), 6),
        ("B-SEAL-3", text.replace("mode normal", "mode threshold t=2 n=3").replace(kcommit, &cards), 2),
        ("R-SEAL-3", text.replace("pouch-seal v1", "pouch-seal v2"), 2),
        ("B-SEAL-4", format!("{text}{}", "#".repeat(70_000)), 6),
    ] {
        let forged = Forged::new();
        fs::write(forged.file("seal.age"), seal_to_reader(&wrong)).unwrap();
        let (code, said, _) = forged.unpack();
        assert_eq!(code, expected, "{rule}: {said}");
        assert!(!said.contains(&own[16..]) && !said.contains(&other[16..]), "no key is shown: {said}");
    }
}

#[test]
fn a_head_is_of_its_seal() {
    let mut forged = Forged::new();
    forged.head.statement.bundle[0] ^= 1;
    forged.seal_index();
    assert_eq!(forged.unpack().0, 6, "B-HEAD-1: another bundle");
    let mut forged = Forged::new();
    forged.head.statement.kcommit.0[0] ^= 1;
    forged.seal_index();
    assert_eq!(forged.unpack().0, 6, "B-HEAD-1: another kcommit");
}

#[test]
fn a_hostile_list_writes_nothing_to_the_terminal() {
    let mut forged = Forged::new();
    forged.list = "{\"path\":\"a\",\"\\u001b]0;owned\\u0007\\u202eEVIL\":1}\n".into();
    forged.seal_index();
    let (code, said, _) = forged.unpack();
    assert!(code == 6 && said.contains("EVIL"), "{code} {said}");
    assert!(!said.contains(['\u{1b}', '\u{7}', '\u{202e}']), "{said:?}");
}

#[test]
fn a_profile_of_later_is_refused() {
    let mut forged = Forged::new();
    forged.head.statement.profile = "quiet".into();
    forged.seal_index();
    let (code, said, out) = forged.unpack();
    assert!(code == 2 && said.contains("quiet") && !out.exists(), "B-HEAD-4: {code} {said}");
}

fn folder_line(path: &str) -> String {
    format!("{{\"path\":\"{path}\",\"type\":\"dir\",\"mode\":\"0755\",\"mtime\":\"0.000000000\"}}\n")
}

/// Reads a file below nested folders, one name at a time: its path is too long for any system call.
fn read_deep(top: &Path, folder: &str, depth: usize, file: &str) -> String {
    use rustix::fs::{Mode, OFlags, openat};
    let mut at = fs::File::open(top).unwrap();
    for _ in 0..depth {
        at = openat(&at, folder, OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty()).unwrap().into();
    }
    let file: fs::File = openat(&at, file, OFlags::RDONLY, Mode::empty()).unwrap().into();
    std::io::read_to_string(file).unwrap()
}

#[test]
fn a_path_of_any_length_is_delivered() {
    for (depth, name) in [(60, "n".repeat(100)), (120, "n".repeat(255)), (1000, "n".into())] {
        let mut forged = Forged::new();
        let line = forged.list.lines().find(|line| line.contains("\"papers/hello.txt\",\"type\":\"file\"")).unwrap();
        let paths: Vec<String> = (1..=depth).map(|depth| vec![name.as_str(); depth].join("/")).collect();
        let file = line.replace("papers/hello.txt", &format!("{}/file", paths[depth - 1])) + "\n";
        forged.list = paths.iter().map(|path| folder_line(path)).collect::<String>() + &file;
        forged.seal_index();
        let (code, said, out) = forged.unpack();
        assert_eq!(code, 0, "{depth}: {said}");
        let top = out.parent().unwrap();
        assert_eq!(read_deep(top, &name, depth, "file").len(), 33);
        // The standard library would keep every folder open.
        assert!(std::process::Command::new("rm").arg("-r").arg(top).status().unwrap().success());
    }
}

#[test]
fn no_time_is_too_far() {
    let memory = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
    for secs in [i64::MIN, i64::MIN + 1, i64::MAX] {
        let mut forged = Forged::new();
        let with_time = |line: &str| {
            let (before, after) = line.split_once("\"mtime\":\"").unwrap();
            format!("{before}\"mtime\":\"{secs}.999999999{}\n", &after[after.find('"').unwrap()..])
        };
        forged.list = forged.list.lines().map(with_time).collect();
        forged.seal_index();
        let (volume, to) = (forged.file(""), memory.path().join(secs.to_string()));
        let (volume, to) = (volume.to_str().unwrap(), to.to_str().unwrap());
        let (code, listed, _) = pouch(&["list", volume, "-i", KEY], b"");
        assert!(code == 0 && listed.contains(&secs.to_string()), "{listed}");
        for more in [&[][..], &["--overwrite"], &["--overwrite", "--rename"]] {
            let args = [&["unpack", volume, "-i", KEY, "-o", to], more].concat();
            let (code, said, err) = pouch(&args, b"");
            assert_eq!(code, 0, "{secs} {more:?}: {said}{err}");
        }
    }
}

#[test]
fn what_is_reserved_changes_nothing() {
    let mut forged = Forged::new();
    forged.head.auth.push(Auth { kind: "sshsig".into(), value: "AAAA".into() });
    forged.seal_index();
    let (code, said, _) = forged.unpack();
    assert!(code == 0 && said.contains("origin") && said.contains("unknown"), "B-HEAD-2: {said}");
    let mut forged = Forged::new();
    let said = &mut forged.head.statement;
    said.scheme = Scheme::new(1, 1, 1);
    let shard = Some(ShardPos { stripe: 0, position: 1 });
    let parity = Part { number: 1, kind: PartKind::Parity, shard, ..forged.head.parts[0].clone() };
    forged.head.parts[0].shard = Some(ShardPos { stripe: 0, position: 0 });
    forged.head.parts.push(parity);
    forged.seal_index();
    let (code, said, _) = forged.unpack();
    assert_eq!(code, 0, "B-HEAD-3: there is no 000001.par: {said}");
}

#[test]
fn a_list_is_of_its_head() {
    let mut forged = Forged::new();
    forged.list = forged.list.replace("\"0640\"", "\"0600\"");
    forged.seal_text("list.age", &forged.list);
    let (code, said, out) = forged.unpack();
    assert!(code == 6 && !out.exists(), "B-LIST-1: {code} {said}");
    forged.seal_index();
    assert_eq!(forged.unpack().0, 0, "a list that the head names is accepted");
}

#[test]
fn only_what_is_whole_is_delivered() {
    let mut forged = Forged::new();
    let hello = "0960403b5b8cf4c123e9c20b5b6aa904cf5cb7fff0df712d11ef8118c761177b";
    assert!(forged.list.contains(hello));
    forged.list = forged.list.replace(hello, &"ab".repeat(32));
    let byte = "a8100ae6aa1940d0b663bb31cd466142ebbdbd5187131b92d93818987832eb89\"";
    forged.list = forged.list.replace(byte, &format!("{byte},\"flag\":\"unreadable\""));
    forged.seal_index();
    let (code, said, out) = forged.unpack();
    assert_eq!(code, 4, "{said}");
    for name in ["hello.txt", "twin", "byte.bin"] {
        assert!(!out.join(name).exists(), "B-OUT-2: {name}: {said}");
        assert!(said.contains(name), "{name} is named: {said}");
    }
    assert!(out.join("nothing").exists() && out.join("empty").is_dir());
}

#[test]
fn a_part_is_what_the_head_says() {
    let right = Forged::new().lead();
    let mut other = right;
    other.bundle[3] ^= 1;
    for (rule, lead, more, expected) in [
        ("B-PART-3: bundle", other, 0, 6),
        ("B-PART-3: number", Lead { number: 2, ..right }, 0, 6),
        ("B-PART-3: offset", Lead { offset: 512, ..right }, 0, 6),
        ("B-PART-4", right, 512, 6),
        ("B-PART-5", right, -8192, 4),
    ] {
        let forged = Forged::new();
        let mut tar = forged.tar();
        tar.resize(tar.len().checked_add_signed(more).unwrap(), 0);
        forged.seal_part(lead, &tar);
        let (code, said, out) = forged.unpack();
        assert_eq!(code, expected, "{rule}: {said}");
        assert!(!out.join("hello.txt").exists(), "{rule}: {said}");
    }
}

#[test]
fn a_part_opens_under_the_head_s_header() {
    let forged = Forged::new();
    fs::rename(forged.file(PART), forged.file("renamed.bin")).unwrap();
    let (code, said, _) = forged.unpack();
    assert_eq!(code, 0, "B-PART-1: found by its header: {said}");
    let forged = Forged::new();
    let mut bytes = fs::read(forged.file(PART)).unwrap();
    bytes[..HEADER].fill(b'?');
    fs::write(forged.file(PART), &bytes).unwrap();
    let (code, said, _) = forged.unpack();
    assert_eq!(code, 0, "B-PART-1: the drive's copy does not count: {said}");
    bytes[HEADER + 5] ^= 1;
    fs::write(forged.file(PART), &bytes).unwrap();
    let (code, said, out) = forged.unpack();
    assert!(code == 4 && !out.join("hello.txt").exists(), "B-PART-2: {code} {said}");
}
