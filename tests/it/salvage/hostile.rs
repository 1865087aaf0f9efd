//! Salvaging bundles of an attacker who knows the recipient and follows no rule: a tar that leads out of the target,
//! leads that lie, and bombs.

use std::fs;
use std::path::{Path, PathBuf};

use crate::common::{Desk, Run, pouch, run};
use pouch::internals::base::digest::Digest;
use pouch::internals::base::entry::Time;
use pouch::internals::format::bag;
use pouch::internals::format::member;
use pouch::internals::format::part::{CHUNK, Class, Lead, PartBuf, Trail, file_name};
use pouch::internals::format::seal::{Mode, Seal, commitment};
use pouch::internals::stage::seal::{Identity, Recipient, header_for, part_header};
use pouch::internals::stage::stream::{PartSealer, Sealer};

const BUNDLE: [u8; 16] = [7; 16];

/// A volume with nothing but a seal, and the recipient of its parts.
struct Forged {
    desk: Desk,
    recipient: Recipient,
}

impl Forged {
    fn new() -> Self {
        let (desk, identity) = (Desk::new(), Identity::generate());
        let recipient = identity.recipient();
        let kcommit = commitment(&BUNDLE, identity.secret().expose());
        let seal = Seal { bundle: BUNDLE, mode: Mode::Normal, kcommit, cards: None, identity: identity.to_text() };
        let (header, key) = header_for(&[Recipient::parse(&desk.recipient).unwrap()]);
        let mut sealer = Sealer::new(Vec::new(), &header, &key).unwrap();
        std::io::Write::write_all(&mut sealer, seal.encode().as_bytes()).unwrap();
        fs::write(desk.drive(1).join("seal.age"), sealer.finish().unwrap()).unwrap();
        Self { desk, recipient }
    }

    /// Adds a part with this number, offset and trail, and these frames.
    fn part(&self, number: u32, offset: u64, frames: &[u8], trail: Trail) {
        let ((header, key), class) = (part_header(&self.recipient), Class::ALL[0]);
        let mut buf = PartBuf::new(class);
        let mut sealer = PartSealer::new(&key, &header, &mut buf, |_, _| ());
        sealer.append(&Lead { bundle: BUNDLE, number, offset }.encode());
        sealer.append(frames);
        sealer.append(&trail.encode(class.room() - frames.len()));
        sealer.finish();
        fs::write(self.desk.drive(1).join(file_name(number)), buf.file()).unwrap();
    }

    /// Adds the only part, with a whole tar.
    fn tar(&self, tar: &[u8]) {
        let trail = Trail { length: tar.len() as u64, first_member: Some(0), last: true };
        self.part(1, 0, &stored(tar), trail);
    }

    fn target(&self) -> PathBuf {
        self.desk.path("deep/out")
    }

    fn salvage(&self) -> Run {
        fs::create_dir_all(self.target()).unwrap();
        let mut command = pouch(["unpack", "--salvage", "--json", "-i"]);
        command.arg(self.desk.path("key")).arg(self.desk.drive(1)).arg("-o").arg(self.target());
        run(command)
    }
}

/// Wraps bytes in zstd frames without compressing them.
fn stored(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    for piece in bytes.chunks(CHUNK) {
        out.extend([0x28, 0xB5, 0x2F, 0xFD, 0x00, 0x38]);
        out.extend(&((piece.len() as u32) << 3 | 1).to_le_bytes()[..3]);
        out.extend(piece);
    }
    out
}

/// A tar member with its content.
fn member(kind: u8, name: &str, link: &str, content: &[u8]) -> Vec<u8> {
    let time = Time { secs: 1, nanos: 0 };
    let mut out = member::of_values(kind, name.as_bytes(), link.as_bytes(), content.len() as u64, 0o755, time);
    out.extend(content);
    out.resize(out.len().next_multiple_of(512), 0);
    out
}

/// A tar of these members and of a manifest with these lines.
fn tar(members: &[Vec<u8>], named: &[(&str, &[u8])]) -> Vec<u8> {
    use sha2::Digest as _;
    let line = |(path, content): &(&str, &[u8])| {
        let name = format!("data/{path}");
        bag::manifest_line(&Digest(sha2::Sha256::digest(content).into()), name.as_bytes())
    };
    let manifest: Vec<u8> = named.iter().flat_map(line).collect();
    [members.concat(), member(b'0', "bag/manifest-sha256.txt", "", &manifest), vec![0; 1024]].concat()
}

/// Names of everything below a folder.
fn names(root: &Path) -> Vec<String> {
    let found = crate::common::tree::look(root).into_keys().map(|name| String::from_utf8_lossy(&name).into_owned());
    found.filter(|name| !name.is_empty()).collect()
}

#[test]
fn what_is_forged_well_is_delivered() {
    let forged = Forged::new();
    forged.tar(&tar(&[member(b'0', "bag/data/a", "", b"a")], &[("a", b"a")]));
    let report = forged.salvage().exits(0).json();
    assert_eq!(report["complete"], true, "the other tests would prove nothing: {report}");
    assert_eq!(names(&forged.target()), ["a"]);
}

#[test]
fn nothing_leaves_the_target() {
    let forged = Forged::new();
    let outside = forged.desk.path("outside");
    fs::create_dir(&outside).unwrap();
    let absolute = outside.to_str().unwrap();
    let members = [
        member(b'0', "bag/data/../../escaped", "", b"x"),
        member(b'0', "bag/data/good/../../escaped", "", b"x"),
        member(b'0', &format!("bag/data/{absolute}/x"), "", b"x"),
        member(b'0', &format!("{absolute}/y"), "", b"x"),
        member(b'5', "bag/data/..", "", b""),
        member(b'2', "bag/data/link", absolute, b""),
        member(b'0', "bag/data/link/through", "", b"x"),
        member(b'2', "bag/data/up", "..", b""),
        member(b'5', "bag/data/up/folder/", "", b""),
        member(b'1', "bag/data/hard", "bag/data/../../key", b""),
        member(b'1', "bag/data/hard2", "bag/data/link/through", b""),
        member(b'0', "bag/data/esc\u{1b}[2J\u{202e}/../x", "", b"x"),
        member(b'0', "bag/data/good", "", b"good"),
        member(b'0', "bag/data/good", "", b"evil"),
    ];
    // There is no manifest, so that only the checks of names keep these out.
    forged.tar(&[members.concat(), vec![0; 1024]].concat());
    let said = forged.salvage().exits(4);
    assert_eq!(names(&forged.target()), ["good", "link", "up"], "{said:?}");
    assert_eq!(fs::read(forged.target().join("good")).unwrap(), b"good");
    assert!(names(&outside).is_empty() && !forged.desk.path("escaped").exists());
    assert!(!forged.desk.path("deep/escaped").exists());
    let lost = said.json()["lost"].as_array().unwrap().len();
    assert_eq!(lost, 10, "every refused member below the payload is reported: {said:?}");
}

#[test]
fn only_what_the_manifest_names_and_proves_is_delivered() {
    let forged = Forged::new();
    let all = ["a", "b", "c"].map(|name| member(b'0', &format!("bag/data/{name}"), "", name.as_bytes()));
    forged.tar(&tar(&all, &[("a", b"a"), ("b", b"not b"), ("d", b"d")]));
    let report = forged.salvage().exits(4).json();
    assert_eq!(names(&forged.target()), ["a"], "{report}");
    let lost: Vec<&str> =
        report["lost"].as_array().unwrap().iter().map(|lost| lost["path"].as_str().unwrap()).collect();
    assert_eq!((lost.len(), &report["complete"], &report["intact"]), (3, &false.into(), &false.into()), "{report}");
}

#[test]
fn nothing_is_complete_without_proof() {
    let a = member(b'0', "bag/data/a", "", b"a");
    let (whole, len) = (tar(std::slice::from_ref(&a), &[("a", b"a")]), a.len());
    let trail = |length: usize, first, last| Trail { length: length as u64, first_member: Some(first), last };
    // A manifest behind a gap that may have held folders; no manifest; no end of the tar.
    let gap = Forged::new();
    gap.part(1, 0, &stored(&whole[..len]), trail(len, 0, false));
    gap.part(3, 4096, &stored(&whole[len..]), trail(whole.len() - len, 4096, true));
    let no_manifest = Forged::new();
    no_manifest.tar(&[&a[..], &[0; 1024]].concat());
    let no_end = Forged::new();
    no_end.part(1, 0, &stored(&whole[..whole.len() - 1024]), trail(whole.len() - 1024, 0, false));
    for (what, forged) in [("gap", gap), ("no manifest", no_manifest), ("no end", no_end)] {
        let report = forged.salvage().exits(4).json();
        assert_eq!((&report["complete"], &report["lost"]), (&false.into(), &serde_json::json!([])), "{what}: {report}");
        assert_eq!(names(&forged.target()), ["a"], "{what}: {report}");
    }
}

#[test]
fn leads_that_lie_do_no_harm() {
    let whole = tar(&[member(b'0', "bag/data/a", "", b"a")], &[("a", b"a")]);
    let other = tar(&[member(b'0', "bag/data/b", "", b"b")], &[("b", b"b")]);
    let trail = Trail { length: other.len() as u64, first_member: Some(0), last: true };
    for (number, offset) in [(2, 0), (0, 512), (100_001, 1 << 20), (u32::MAX, 1 << 20), (2, 511), (2, u64::MAX - 511)] {
        let forged = Forged::new();
        forged.part(number, offset, &stored(&other), trail);
        forged.tar(&whole);
        let report = forged.salvage().exits(0).json();
        assert_eq!(names(&forged.target()), ["a"], "{number} at {offset}: {report}");
    }
    // This part begins within the one before it.
    let forged = Forged::new();
    forged.tar(&whole);
    forged.part(2, 1024, &stored(&other), trail);
    let code = forged.salvage().code;
    assert!([4, 6].contains(&code), "{code}");
}

#[test]
fn a_size_that_nothing_has_room_for_stops_nothing() {
    let forged = Forged::new();
    let time = Time { secs: 1, nanos: 0 };
    let huge = member::of_values(b'0', b"bag/data/huge", b"", i64::MAX as u64 - 4096, 0o644, time);
    forged.tar(&[member(b'0', "bag/data/a", "", b"a"), huge, vec![0; 4096]].concat());
    let report = forged.salvage().exits(4).json();
    assert_eq!(names(&forged.target()), ["a"], "{report}");
    assert!(report["lost"][0]["path"] == "huge", "{report}");
}
