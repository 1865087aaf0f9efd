//! Lists, heads and seals that a reader takes, and those that it refuses.

use super::*;
use crate::base::digest::Digest;
use crate::base::entry::{Flag, Kind, Time};
use crate::base::path::{BytePath, MAX_PATH};
use crate::base::secret::{Secret, SecretText};
use crate::flow::Outcome;
use crate::flow::bundle::index_files::{head_of, list_of};
use crate::format::head::tests::striped;
use crate::format::seal::Mode;
use crate::plan::layout::tests::{dir, file, symlink};
use crate::stage::compress::{Compressor, Level};

const TAR: u64 = 1 << 30;

/// Files with 9 bytes of content each, at their places in the tar.
fn files(names: &[&str]) -> Vec<Entry> {
    let place = |(at, name): (usize, &&str)| {
        let at = (at as u64 + 1) * 1024;
        Entry { at, sha256: Some(Digest([7; 32])), ..file(name, 9) }
    };
    names.iter().enumerate().map(place).collect()
}

/// Why a list of these is not sealed. It must fail the run as a defect does.
#[track_caller]
fn refusal(entries: &[Entry]) -> String {
    let error = list_of(entries, TAR).err().expect("it is refused");
    assert!(matches!(error, FlowError::Unopenable(_)) && error.outcome() == Outcome::Failed, "{error}");
    error.to_string()
}

#[test]
fn a_good_list_is_sealed() {
    assert!(list_of(&[], TAR).is_ok());
    let mut all = vec![dir("d"), symlink("d/link", "../anywhere")];
    all.extend(files(&["e", "f"]));
    assert!(list_of(&all, TAR).is_ok());
}

#[test]
fn a_name_that_is_listed_twice_is_named() {
    let mut entries = files(&["a", "b", "c"]);
    entries[2].path = entries[1].path.clone();
    assert!(refusal(&entries).contains("in line 3: \"b\" stands out of order or twice"), "{}", refusal(&entries));
}

#[test]
fn an_entry_in_the_wrong_place_is_named() {
    let swapped = files(&["b", "a"]);
    assert!(refusal(&swapped).contains("in line 2: \"a\" stands out of order"));
    let below_a_file = files(&["a", "a/b"]);
    assert!(refusal(&below_a_file).contains("\"a/b\" stands in a folder that is not listed"));
    let mut beyond = files(&["a"]);
    beyond[0].at = TAR;
    assert!(refusal(&beyond).contains("\"a\" has its content at"));
    let mut over = files(&["a", "b"]);
    over[1].at = over[0].at;
    assert!(refusal(&over).contains("\"b\" has its content at"));
    let mut link = files(&["a", "b"]);
    link[0].kind = Kind::Hardlink(BytePath::new(&b"b"[..]).unwrap());
    (link[0].size, link[0].at, link[0].sha256) = (0, 0, None);
    assert!(refusal(&link).contains("\"a\" is a hard link to no earlier file"));
}

#[test]
fn a_path_that_no_target_can_hold_is_refused() {
    let long = [&[b'x'; 255][..], b"/"].concat().repeat(MAX_PATH / 256 + 1);
    let mut parts: Vec<Entry> = Vec::new();
    for end in (0..long.len()).filter(|at| long[*at] == b'/') {
        parts.push(Entry { path: BytePath::unchecked(&long[..end]), ..dir("d") });
    }
    assert!(list_of(&parts[..128], TAR).is_ok(), "up to the limit");
    assert!(refusal(&parts).contains("its path is longer than a path may be"));
    for (wrong, why) in [(&[b'x'; 256][..], "longer than"), (b"..", "\"..\""), (b"a\0", "NUL"), (b"", "empty")] {
        let entry = Entry { path: BytePath::unchecked(wrong), ..dir("d") };
        let said = refusal(&[entry]);
        assert!(said.contains(why), "{said}");
    }
}

#[test]
fn values_that_a_line_cannot_say_are_refused() {
    type Spoil = fn(&mut Entry);
    let cases: [(Spoil, &str); 6] = [
        (|entry| entry.mtime = Time { secs: 1, nanos: 1_000_000_000 }, "its mtime"),
        (|entry| entry.mode = 0o4755, "its mode"),
        (|entry| entry.sha256 = None, "sha256"),
        (|entry| entry.holes = vec![(0, 4), (2, 4)].into(), "its holes"),
        (|entry| entry.kind = Kind::Symlink(vec![b'x'; 4097].into()), "its type and target"),
        (|entry| (entry.kind, entry.flag) = (Kind::Dir, Flag::Changed), "its flag"),
    ];
    for (spoil, why) in cases {
        let mut entries = files(&["a", "b"]);
        if why.contains("type") || why.contains("flag") {
            (entries[1].size, entries[1].at, entries[1].sha256) = (0, 0, None);
        }
        spoil(&mut entries[1]);
        let said = refusal(&entries);
        assert!(said.contains("in line 2") && said.contains(why), "{said}");
    }
}

#[test]
fn the_line_is_named_wherever_it_stands() {
    let names: Vec<String> = (0..40_000).map(|at| format!("{at:06}")).collect();
    let mut entries = files(&names.iter().map(String::as_str).collect::<Vec<_>>());
    assert!(list_of(&entries, TAR).is_ok());
    entries[33_333].mode = 0o7777;
    assert!(refusal(&entries).contains("in line 33334: its mode"));
}

#[test]
fn what_a_line_does_not_say_is_noticed() {
    // A folder's size is in no line.
    let odd = Entry { size: 5, ..dir("d") };
    assert!(refusal(&[odd]).contains("\"d\" comes back as another entry"));
    let text = list::encode(&dir("d")).repeat(2);
    assert!(check_lines(&text, &[dir("d")], 0).unwrap_err().to_string().contains("in line 2: it has a line"));
    assert!(check_lines("", &[dir("d")], 0).is_err());
}

#[test]
fn a_head_that_no_reader_takes_is_refused() {
    assert!(head_of(&striped(7, 3, 2)).is_ok());
    let mut head = striped(7, 3, 2);
    head.parts.swap(0, 1);
    assert!(matches!(head_of(&head), Err(FlowError::Unopenable(_))), "another table than the statement names");
    let mut head = striped(7, 3, 2);
    head.statement.n = 1001;
    let said = head_of(&head).err().unwrap().to_string();
    assert!(said.contains("over the limit of 1000"), "{said}");
    let head = striped(7, 3, 2);
    let said = check_head(&striped(8, 3, 2).encode(), &head).unwrap_err().to_string();
    assert!(said.contains("other values"), "{said}");
}

/// A seal, and the recipient that parts are sealed to.
fn seal() -> (Seal, Recipient) {
    let secret = Secret::random();
    let identity = Identity::from_secret(&secret);
    let kcommit = commitment(&[3; 16], secret.expose());
    let seal = Seal { bundle: [3; 16], mode: Mode::Normal, kcommit, cards: None, identity: identity.to_text() };
    (seal, identity.recipient())
}

#[test]
fn a_seal_that_opens_nothing_is_refused() {
    let (good, recipient) = seal();
    check_seal(&good, &recipient).unwrap();
    let (other, stranger) = seal();
    assert!(check_seal(&good, &stranger).is_err(), "parts are sealed to another key");
    let wrong: [fn(&mut Seal); 4] = [
        |seal| seal.kcommit = Digest([1; 32]),
        |seal| seal.identity = SecretText::new("AGE-SECRET-KEY-1EXAMPLE".into()),
        |seal| seal.cards = Some(Digest([1; 32])),
        |seal| seal.bundle = [4; 16],
    ];
    for spoil in wrong {
        let (mut seal, recipient) = seal();
        spoil(&mut seal);
        assert!(matches!(check_seal(&seal, &recipient), Err(FlowError::Unopenable(_))));
    }
    assert!(check_seal(&Seal { identity: other.identity, ..good }, &recipient).is_err());
}

#[test]
fn a_sealed_seal_must_open_to_its_text() {
    let (header, key) = crate::stage::seal::header_for(&[seal().1]);
    let mut file = Vec::new();
    let mut sealer = crate::stage::stream::Sealer::new(&mut file, &header, &key).unwrap();
    std::io::Write::write_all(&mut sealer, b"text").unwrap();
    sealer.finish().unwrap();
    check_sealed(&file, &key, b"text").unwrap();
    assert!(check_sealed(&file, &key, b"test").is_err());
    assert!(check_sealed(&file, &key, b"tex").is_err());
    assert!(check_sealed(&file, &FileKey::random(), b"text").is_err());
    assert!(check_sealed(&file[..header.len() + 3], &key, b"text").is_err());
    assert!(check_sealed(&file[1..], &key, b"text").is_err());
    *file.last_mut().unwrap() ^= 1;
    assert!(check_sealed(&file, &key, b"text").is_err());
}

#[test]
fn frames_of_another_text_are_refused() {
    let frame = Compressor::new(Level::Quick).unwrap().frame(&[b't'; 300_000]).unwrap();
    let mut frames = Frames::new().unwrap();
    frames.check("it", &frame, &[b't'; 300_000]).unwrap();
    for other in [&[b't'; 299_999][..], &[b't'; 300_001], &[b'u'; 300_000], b""] {
        assert!(frames.check("it", &frame, other).is_err());
    }
    assert!(frames.check("it", &frame[..frame.len() - 1], &[b't'; 300_000]).is_err());
    assert!(frames.check("it", b"no frame at all", b"").is_err());
    frames.check("it", &frame, &[b't'; 300_000]).unwrap();
}
