//! What `pouch check` reports: which volumes it checked, which folders it did not search, which files in volumes are
//! foreign, and, with a key, what unpacking would find, whatever SHA256SUMS claims.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use crate::common::{Desk, Run, chmod, noise, pouch, put, run, volumes};
use pouch::internals::flow::bundle::open::{Bundle, open};
use pouch::internals::flow::bundle::scan::gather;
use pouch::internals::format::head::{Head, parts_hash};
use pouch::internals::format::part::{Lead, PartBuf};
use pouch::internals::format::{frame, head::Part};
use pouch::internals::stage::seal::{Keyring, header_for};
use pouch::internals::stage::stream::{PartOpener, PartSealer, Sealer};

/// Start of the sentence that says what a check shows.
const SHOWS: &str = "This shows that";

fn check(desk: &Desk, places: &[PathBuf]) -> Run {
    run(desk.check_cmd(places, &[]))
}

fn with_key(desk: &Desk, places: &[PathBuf]) -> Run {
    let mut command = desk.check_cmd(places, &["-i"]);
    command.arg(desk.path("key"));
    run(command)
}

/// The volume's own line of the report and the indented lines below it.
#[track_caller]
fn lines_of(said: &Run, volume: &Path) -> String {
    let own = format!("{}: ", volume.display());
    let mut lines = said.out.lines().skip_while(|line| !line.starts_with(&own));
    let first = lines.next().unwrap_or_else(|| panic!("nothing about {}: {}", volume.display(), said.out));
    lines.take_while(|line| line.starts_with("  ")).fold(first.to_string(), |all, line| all + "\n" + line)
}

#[test]
fn only_of_whole_volumes_it_is_said_that_nothing_changed() {
    let desk = Desk::packed();
    let whole = check(&desk, &desk.drives()).exits(0);
    assert_eq!(whole.out.matches(SHOWS).count(), 1, "{}", whole.out);
    let json = |code| run(desk.check_cmd(&desk.drives(), &["--json"])).exits(code).json();
    assert!(json(0)["not_proved"].as_str().unwrap().starts_with(SHOWS));
    let part = volumes::parts(&desk.drives())[0].clone();
    volumes::flip(&part, 70_000, 1);
    let damaged = check(&desk, &desk.drives()).exits(4);
    assert!(!damaged.out.contains(SHOWS), "{}", damaged.out);
    assert!(json(4)["not_proved"].is_null());
    fs::remove_file(&part).unwrap();
    assert!(!check(&desk, &desk.drives()).exits(3).out.contains(SHOWS));
    assert!(json(3)["not_proved"].is_null());
    fs::remove_file(desk.volume(2).join("SHA256SUMS")).unwrap();
    assert!(!check(&desk, &[desk.drive(2)]).exits(3).out.contains(SHOWS));
}

#[test]
fn a_rehearsal_shows_the_sentence_for_the_whole_drive_alone() {
    let said = run(pouch(["rehearse"])).exits(0);
    assert!(said.out.contains(": damaged (") && said.out.matches(SHOWS).count() == 1, "{}", said.out);
    assert!(said.out.contains("one bit flips, here in") && said.out.contains("/drive-2/volume-2/0"), "{}", said.out);
}

#[test]
fn volumes_are_found_below_a_drive_and_in_its_folders() {
    let desk = Desk::packed();
    for (number, below) in [(1, "day2"), (2, "a/b/c")] {
        fs::create_dir_all(desk.drive(3).join(below)).unwrap();
        fs::rename(desk.volume(number), desk.drive(3).join(below).join(format!("volume-{number}"))).unwrap();
    }
    let said = check(&desk, &[desk.drive(3)]).exits(0);
    let shown = ["volume-3: whole", "day2/volume-1: whole", "a/b/c/volume-2: whole"];
    assert!(shown.iter().all(|words| said.out.contains(words)) && !said.out.contains("not searched"), "{}", said.out);
    run(desk.unpack_cmd(&[desk.drive(3)], &desk.path("out"), &[])).exits(0);
    crate::common::tree::same(&desk.source(), &desk.path("out/source"));
    volumes::flip(&desk.drive(3).join("day2/volume-1/000001.age"), 70_000, 1);
    let said = check(&desk, &[desk.drive(3)]).exits(4);
    assert!(said.out.contains("day2/volume-1: damaged"), "{}", said.out);
}

#[test]
fn what_is_too_deep_is_named_as_not_searched() {
    let desk = Desk::packed();
    let deep = desk.drive(3).join("1/2/3/4");
    fs::create_dir_all(&deep).unwrap();
    fs::rename(desk.volume(1), deep.join("volume-1")).unwrap();
    let said = check(&desk, &[desk.drive(3)]).exits(0);
    let words = format!("not searched for volumes: 1 folder more than 4 levels below {}", desk.drive(3).display());
    assert!(said.out.contains(&words), "{}", said.out);
    let json = run(desk.check_cmd(&[desk.drive(3)], &["--json"])).exits(0).json();
    assert_eq!(json["not_searched"][0]["deeper"], 1);
    fs::rename(desk.volume(3), desk.path("elsewhere")).unwrap();
    let said = check(&desk, &[desk.drive(3)]);
    assert!(said.err.contains("nor up to 4 folders below (folders not searched: 1)"), "{}", said.err);
}

#[test]
fn folders_that_others_may_not_read_stop_nothing_and_are_named_unless_they_are_the_system_s() {
    let desk = Desk::packed();
    let closed = ["lost+found", "System Volume Information", "day1/diary"].map(|name| desk.drive(1).join(name));
    closed.iter().for_each(|folder| fs::create_dir_all(folder).unwrap());
    closed.iter().for_each(|folder| chmod(folder, 0o000));
    let said = run(desk.as_nobody(desk.check_cmd(&[desk.drive(1)], &[]))).exits(0);
    assert!(
        said.out.contains("volume-1: whole")
            && said.out.contains("day1/diary could not be read by you: Permission denied"),
        "{}",
        said.out
    );
    assert!(!said.out.contains("lost+found") && !said.out.contains("System Volume"), "{}", said.out);
    assert_eq!(said.out.matches("not searched").count(), 1, "{}", said.out);
    closed.iter().for_each(|folder| chmod(folder, 0o700));
}

#[test]
fn a_place_without_a_volume_is_named_beside_those_that_have_some() {
    let desk = Desk::packed();
    let bare = desk.path("a port");
    fs::create_dir(&bare).unwrap();
    let places = [&desk.drives()[..], std::slice::from_ref(&bare)].concat();
    let words = format!("{}: there is no volume here", bare.display());
    for said in [check(&desk, &places).exits(3), with_key(&desk, &places).exits(3)] {
        assert!(said.out.contains(&words) && said.out.contains("volume-3: whole"), "{}", said.out);
    }
    let report = run(desk.check_cmd(&places, &["--json"])).exits(3).json();
    assert_eq!(report["not_searched"][0]["no_volume"], true, "{report}");
    for more in [&[][..], &["--salvage"]] {
        let said = run(desk.unpack_cmd(&places, &desk.path(&format!("out{}", more.len())), more)).exits(0);
        assert!(said.err.contains(&format!("note: {words}")), "{}", said.err);
    }
    check(&desk, &desk.drives()).exits(0);
}

#[test]
fn what_lies_in_a_volume_and_is_not_of_it_is_counted() {
    let desk = Desk::packed();
    assert!(!check(&desk, &[desk.drive(2)]).exits(0).out.contains("not of it"));
    put(desk.volume(2).join("autorun.exe"), "MZ");
    put(desk.volume(2).join("docs/readme"), "x");
    put(desk.volume(2).join("journal"), "left");
    let said = check(&desk, &[desk.drive(2)]).exits(0);
    let words = "also in its folder, and not of it: 3 (autorun.exe, docs, journal)";
    assert!(said.out.contains("volume-2: whole") && said.out.contains(words), "{}", said.out);
    put(desk.volume(2).join("x\u{1b}[2J"), "x");
    let said = check(&desk, &[desk.drive(2)]).exits(0);
    assert!(said.out.contains("4 (autorun.exe, docs, journal, ...)"), "{}", said.out);
    let json = run(desk.check_cmd(&[desk.drive(2)], &["--json"])).exits(0).json();
    assert_eq!(json["volumes"][0]["foreign"]["count"], 4);
    assert_eq!(json["volumes"][0]["foreign"]["names"][3], "x\\x1b[2J");
}

#[test]
fn what_could_not_be_checked_is_not_said_to_be_nothing() {
    let desk = Desk::packed();
    fs::remove_file(desk.volume(1).join("SHA256SUMS")).unwrap();
    let said = check(&desk, &[desk.drive(1)]).exits(3);
    assert!(said.out.contains("incomplete (6 files, 1.18 MB, not checked)"), "{}", said.out);
    fs::remove_file(desk.volume(2).join("seal2.age")).unwrap();
    let said = check(&desk, &[desk.drive(2)]).exits(3);
    assert!(said.out.contains("incomplete (5 files, 1.18 MB; 1 missing)"), "{}", said.out);
}

#[test]
fn a_key_shows_what_sums_that_were_written_anew_hide() {
    let desk = Desk::packed();
    let whole = with_key(&desk, &desk.drives()).exits(0);
    assert!(whole.out.contains("every part opens to its end"), "{}", whole.out);
    let pristine = desk.path("pristine");
    volumes::copy(&desk.volume(1), &pristine);
    let forge = |name: &str| {
        let len = pristine.join(name).metadata().unwrap().len() as usize;
        fs::write(desk.volume(1).join(name), noise(len, 7)).unwrap();
    };
    let part = volumes::name_of(&volumes::parts(&[desk.drive(1)])[0]);
    for (name, words, code) in [
        (&*part, "does not open with the bundle's key in chunk 1 of 15 and 14 more", 4),
        ("seal.age", "cannot be opened", 4),
        ("seal2.age", "cannot be opened", 4),
        ("head.age", "does not hold the bundle's head", 4),
        ("head2.age", "does not hold the bundle's head", 4),
        ("list.age", "does not hold the bundle's list", 4),
    ] {
        forge(name);
        volumes::resum(&desk.volume(1));
        check(&desk, &desk.drives()).exits(0);
        let said = with_key(&desk, &desk.drives()).exits(code);
        let lines = lines_of(&said, &desk.volume(1));
        assert!(lines.contains("volume-1: damaged") && lines.contains(&format!("{name} {words}")), "{}", said.out);
        assert!(!said.out.contains(SHOWS), "{}", said.out);
        fs::remove_dir_all(desk.volume(1)).unwrap();
        volumes::copy(&pristine, &desk.volume(1));
    }
    // Seals and heads tell which bundle a volume belongs to. Here all of them are forged.
    for name in ["seal.age", "seal2.age", "head.age", "head2.age"] {
        forge(name);
    }
    volumes::resum(&desk.volume(1));
    let lines = lines_of(&with_key(&desk, &desk.drives()).exits(4), &desk.volume(1));
    assert!(lines.contains("head2.age does not hold") && lines.contains("seal.age cannot"), "{lines}");
}

#[test]
fn a_single_chunk_that_was_forged_is_named() {
    let desk = Desk::packed();
    let part = volumes::parts(&[desk.drive(2)])[0].clone();
    volumes::flip(&part, 184 + 3 * 65_552 + 9, 4);
    volumes::resum(&desk.volume(2));
    let said = with_key(&desk, &desk.drives()).exits(4);
    assert!(lines_of(&said, &desk.volume(2)).contains("in chunk 4 of 15\n"), "{}", said.out);
}

#[test]
fn a_key_shows_a_part_that_is_missing_with_its_line() {
    let desk = Desk::packed();
    let part = volumes::parts(&[desk.drive(1)])[0].clone();
    fs::remove_file(&part).unwrap();
    volumes::resum(&desk.volume(1));
    check(&desk, &desk.drives()).exits(0);
    let said = with_key(&desk, &desk.drives()).exits(3);
    let lines = lines_of(&said, &desk.volume(1));
    let words = format!("{} is missing", volumes::name_of(&part));
    assert!(lines.contains("volume-1: incomplete (5 files") && lines.contains(&words), "{}", said.out);
}

#[test]
fn with_parity_a_volume_that_lacks_a_part_is_not_whole_either() {
    let desk = Desk::new();
    put(desk.source().join("clip.mov"), noise(2_200_000, 1));
    run(desk.pack_cmd(&[&desk.source()], &desk.drives(), &["--lose", "1"])).exits(0);
    let part = volumes::parts(&[desk.drive(1)])[0].clone();
    volumes::flip(&part, 70_000, 1);
    volumes::resum(&desk.volume(1));
    let said = with_key(&desk, &desk.drives()).exits(4);
    assert!(said.out.contains("to be rebuilt") && said.out.contains("volume-1: damaged"), "{}", said.out);
    fs::remove_file(&part).unwrap();
    volumes::resum(&desk.volume(1));
    assert!(with_key(&desk, &desk.drives()).exits(3).out.contains("volume-1: incomplete"));
}

#[test]
fn a_volume_of_another_bundle_is_not_said_to_have_been_opened() {
    let (desk, other) = (Desk::packed(), Desk::packed());
    let said = with_key(&desk, &[desk.drive(1), other.drive(2)]);
    let lines = lines_of(&said, &other.volume(2));
    assert!(lines.contains("not of the bundle that was looked at"), "{}", said.out);
    assert!(!said.out.contains("every part opens"), "{}", said.out);
    put(desk.volume(1).join("000009.age"), fs::read(volumes::parts(&[other.drive(1)])[0].clone()).unwrap());
    volumes::resum(&desk.volume(1));
    let said = with_key(&desk, &desk.drives()).exits(4);
    assert!(lines_of(&said, &desk.volume(1)).contains("000009.age is no part that the head names"), "{}", said.out);
}

/// An attacker who has the key and can reseal the bundle's parts and heads.
struct Insider {
    desk: Desk,
    bundle: Bundle,
}

impl Insider {
    fn new() -> Self {
        let desk = Desk::packed();
        let mut ring = Keyring::new();
        ring.add_file(&fs::read_to_string(desk.path("key")).unwrap()).unwrap();
        let bundle = open(gather(&desk.drives()).unwrap(), &ring, None).unwrap_or_else(|error| panic!("{error}"));
        Self { desk, bundle }
    }

    /// The first part in the head, and its file.
    fn part(&self) -> (Part, PathBuf) {
        let part = self.bundle.head.parts[0].clone();
        let file = self.desk.volume(part.volume.get().into()).join(part.file_name());
        (part, file)
    }

    /// Seals `head` onto all volumes and renews their SHA256SUMS.
    fn seal_head(&self, mut head: Head) {
        head.statement.parts_hash = parts_hash(&head.parts);
        for volume in (1..=3).map(|number| self.desk.volume(number)) {
            for name in ["head.age", "head2.age"] {
                self.seal(&volume.join(name), head.encode().as_bytes());
            }
            volumes::resum(&volume);
        }
    }

    fn seal(&self, file: &Path, text: &[u8]) {
        let mut stored = Vec::new();
        frame::store(text, |bytes| stored.extend_from_slice(bytes));
        let (header, key) = header_for(std::slice::from_ref(&self.bundle.recipient));
        let mut sealer = Sealer::new(Vec::new(), &header, &key).unwrap();
        sealer.write_all(&stored).unwrap();
        fs::write(file, sealer.finish().unwrap()).unwrap();
    }

    /// Changes the first chunk of the first part's plaintext, and the part's SHA-256 in the head to match.
    fn reseal(&self, change: impl Fn(&mut [u8])) {
        let (part, file) = self.part();
        let (key, _) = self.bundle.keyring.open_header(&part.header[..]).unwrap();
        let class = self.bundle.head.statement.class;
        let mut plain = PartBuf::new(class);
        plain.file_mut().copy_from_slice(&fs::read(&file).unwrap());
        assert!(PartOpener::new(&key, &part.header, class.chunks()).open_all(&mut plain).is_empty());
        let mut first = plain.plain(0).to_vec();
        change(&mut first);
        let mut forged = PartBuf::new(class);
        let mut sealer = PartSealer::new(&key, &part.header, &mut forged, |_, _| ());
        sealer.append(&first);
        (1..class.chunks()).for_each(|chunk| sealer.append(plain.plain(chunk)));
        let mut head = self.bundle.head.clone();
        head.parts[0].sha256 = sealer.finish();
        fs::write(&file, forged.file()).unwrap();
        self.seal_head(head);
    }

    fn says(&self, code: i32, words: &str) {
        check(&self.desk, &self.desk.drives()).exits(0);
        let said = with_key(&self.desk, &self.desk.drives()).exits(code);
        let (part, file) = self.part();
        let lines = lines_of(&said, file.parent().unwrap());
        assert!(lines.contains(&format!("{} {words}", part.file_name())), "{}", said.out);
    }
}

#[test]
fn a_key_shows_a_part_that_is_not_the_file_the_head_names() {
    let insider = Insider::new();
    let mut head = insider.bundle.head.clone();
    head.parts[0].sha256.0[0] ^= 1;
    insider.seal_head(head);
    insider.says(4, "opens, but its SHA-256 is not the one in the head");
}

#[test]
fn a_key_shows_a_part_that_says_it_is_another() {
    for (number, other, words) in [
        (
            2,
            0,
            "opens, but it says that it is part 2, which begins at byte 0 of the tar, and the head that it is part 1,",
        ),
        (1, 1, "opens, but it says that it is a part of another bundle"),
    ] {
        let insider = Insider::new();
        insider.reseal(|first| {
            let mut bundle = insider.bundle.head.statement.bundle;
            bundle[0] ^= other;
            let lead = Lead { bundle, number, offset: 0 }.encode();
            first[..lead.len()].copy_from_slice(&lead);
        });
        insider.says(4, words);
    }
}

#[test]
fn what_cannot_be_decompressed_is_said_so() {
    let insider = Insider::new();
    // A frame begins behind the lead; this zeroes its magic number.
    insider.reseal(|first| first[42..46].fill(0));
    let desk = &insider.desk;
    let said = run(desk.unpack_cmd(&desk.drives(), &desk.path("out"), &[])).exits(4);
    assert!(said.out.contains("its compressed content cannot be read (zstd: "), "{}", said.out);
}

#[test]
fn a_list_without_its_end_is_not_measured_against_a_head_that_is_not_there() {
    let insider = Insider::new();
    let desk = &insider.desk;
    for volume in (1..=3).map(|number| desk.volume(number)) {
        insider.seal(&volume.join("list.age"), b"{");
        fs::remove_file(volume.join("head.age")).unwrap();
        fs::remove_file(volume.join("head2.age")).unwrap();
    }
    let said = run(desk.unpack_cmd(&desk.drives(), &desk.path("out"), &["--salvage"]));
    assert!(said.err.contains("list.age: the list is malformed: its last line does not end"), "{}", said.err);
}
