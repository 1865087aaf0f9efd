//! Provokes every exit code in the table except 5, which no command returns yet.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use crate::common::faults::{failing, faulty};
use crate::common::forge::{Known, new_seal, sealed, stored, to_receiver};
use crate::common::{Desk, need, noise, pouch, put, run, volumes};
use assert_cmd::Command;
use pouch::internals::format::seal::Mode;

/// The codes that were seen.
struct Codes {
    seen: BTreeSet<i32>,
}

impl Codes {
    #[track_caller]
    fn ends(&mut self, what: &str, command: Command, code: i32) {
        let said = run(command);
        assert_eq!(said.code, code, "{what}: {said:?}");
        assert!(!said.all().is_empty(), "{what}: the output says why");
        self.seen.insert(code);
    }
}

fn list(desk: &Desk, drives: &[PathBuf]) -> Command {
    let mut command = pouch(["list"]);
    command.args(drives).arg("-i").arg(desk.path("key"));
    command
}

fn unpack(desk: &Desk) -> Command {
    desk.unpack_cmd(&desk.drives(), &tempfile::tempdir_in(desk.dir.path()).unwrap().keep(), &[])
}

/// A packed desk with every copy of these files replaced.
fn with(names: &[&str], bytes: impl Fn(&Desk) -> Vec<u8>) -> Desk {
    let desk = Desk::packed();
    let bytes = bytes(&desk);
    for number in 1..=3 {
        names.iter().for_each(|name| fs::write(desk.volume(number).join(name), &bytes).unwrap());
    }
    desk
}

const SEALS: [&str; 2] = ["seal.age", "seal2.age"];
const HEADS: [&str; 2] = ["head.age", "head2.age"];

/// The codes in the README's table.
fn table() -> BTreeSet<i32> {
    let readme = fs::read_to_string("README.md").unwrap();
    readme.lines().filter_map(|line| line.strip_prefix("| ")?.split_once(" |")?.0.parse().ok()).collect()
}

#[test]
fn every_row_of_the_table_but_one_is_provoked() {
    if !need(&["strace"]) {
        return;
    }
    let mut codes = Codes { seen: BTreeSet::new() };
    let desk = Desk::packed();
    codes.ends("all went well", list(&desk, &desk.drives()), 0);
    usage(&desk, &mut codes);
    lacking(&mut codes);
    sealed_so(&mut codes);
    of_the_system(&desk, &mut codes);
    let other = Desk::new();
    let mut with_other = pouch(["list"]);
    with_other.args(desk.drives()).arg("-i").arg(other.path("key"));
    codes.ends("another key", with_other, 8);
    let mut without = pouch(["list"]);
    without.args(desk.drives());
    codes.ends("no key", without, 8);
    let mut all = table();
    assert!(all.remove(&5), "{all:?}");
    assert_eq!(codes.seen, all);
}

/// 2: the request makes no sense or needs a newer pouch, and nothing is done.
fn usage(desk: &Desk, codes: &mut Codes) {
    codes.ends("no arguments", pouch(["unpack"]), 2);
    fs::create_dir(desk.path("empty")).unwrap();
    let empty = [desk.path("empty")];
    codes.ends("a folder without volumes", desk.check_cmd(&empty, &[]), 2);
    codes.ends("a folder without volumes, opened", list(desk, &empty), 2);
    codes.ends("a drive that is not there", desk.check_cmd(&[desk.path("nowhere")], &[]), 2);
    let newer =
        with(&SEALS, |desk| to_receiver(desk, new_seal(Mode::Normal).0.replace("seal v1", "seal v2").as_bytes()));
    codes.ends("a newer seal", unpack(&newer), 2);
    let age_2 = with(&SEALS, |_| b"age-encryption.org/v2\n-> x\n---\n".to_vec());
    codes.ends("a seal of a later age", unpack(&age_2), 2);
    let cards = with(&SEALS, |desk| to_receiver(desk, new_seal(Mode::Threshold { need: 2, of: 3 }).0.as_bytes()));
    codes.ends("seals that need cards", unpack(&cards), 2);
}

/// 3: more drives would help. 4: damage explains what is lacking.
fn lacking(codes: &mut Codes) {
    let desk = Desk::packed();
    fs::remove_dir_all(desk.volume(2)).unwrap();
    codes.ends("a drive is missing", unpack(&desk), 3);
    let desk = Desk::packed();
    volumes::flip(&volumes::parts(&desk.drives())[1], 70_000, 1);
    codes.ends("a part is damaged", unpack(&desk), 4);
    codes.ends("a part is damaged, checked", desk.check_cmd(&desk.drives(), &[]), 4);
    for names in [&SEALS[..], &HEADS, &["list.age"]] {
        codes.ends("noise", unpack(&with(names, |_| noise(70_000 / names.len() / 2, 1))), 4);
    }
}

/// 6: a bundle was made that way, as it is sealed or over a limit.
fn sealed_so(codes: &mut Codes) {
    let (seal, _) = new_seal(Mode::Normal);
    let key = seal.lines().last().unwrap().to_string();
    let wrong = seal.replace(&key, &key[..key.len() - 1]);
    codes.ends("a key's checksum", unpack(&with(&SEALS, |desk| to_receiver(desk, wrong.as_bytes()))), 6);
    codes.ends("a seal over the limit", unpack(&with(&SEALS, |_| vec![b'x'; 70_000])), 6);
    let known = |desk: &Desk| Known::of(desk, &desk.volume(1));
    let no_zstd = |names: &[&str]| {
        with(names, |desk| {
            let known = known(desk);
            let text = if names == HEADS { known.head.encode() } else { known.list.clone() };
            sealed(&known.recipient, text.as_bytes())
        })
    };
    codes.ends("a head that is no zstd", unpack(&no_zstd(&HEADS)), 6);
    codes.ends("a list that is no zstd", unpack(&no_zstd(&["list.age"])), 6);
    let other = with(&["list.age"], |desk| sealed(&known(desk).recipient, &stored(known(desk).twin().1.as_bytes())));
    codes.ends("a list that the head does not name", unpack(&other), 6);
    let desk = Desk::packed();
    put(desk.volume(1).join("SHA256SUMS"), format!("{}  ../x\n", "0".repeat(64)));
    codes.ends("sums that lead out", desk.check_cmd(&desk.drives(), &[]), 6);
}

/// 7: trying again may help. 1: a failure that was not foreseen. 130: interrupted.
fn of_the_system(desk: &Desk, codes: &mut Codes) {
    let seals: Vec<PathBuf> = (1..=3).flat_map(|n| SEALS.map(|name| desk.volume(n).join(name))).collect();
    for errno in ["EIO", "EACCES"] {
        let (said, met) = failing(&list(desk, &desk.drives()), &seals, &format!("open,openat,openat2:error={errno}"));
        assert!(met && said.code == 7 && said.err.contains("seal.age"), "{errno}: {said:?}");
        codes.seen.insert(said.code);
    }
    let full = Path::new("/dev/full");
    if full.exists() {
        let full = fs::File::options().write(true).open(full).unwrap();
        let mut output = crate::common::pouch_raw(["list", "-i"]);
        output.arg(desk.path("key")).args(desk.drives());
        assert_eq!(
            output.stdout(full).status().unwrap().code(),
            Some(7),
            "output that could not be printed is an error"
        );
    }
    let pack = Desk::new();
    put(pack.source().join("clip"), noise(2_200_000, 1));
    let command = pack.pack_cmd(&[&pack.source()], &pack.drives(), &[]);
    codes.ends("no random numbers", faulty(&command, &[], "getrandom:error=EIO:when=2+"), 1);
    let pack = Desk::new();
    put(pack.source().join("clip"), noise(2_200_000, 1));
    let command = pack.pack_cmd(&[&pack.source()], &pack.drives(), &[]);
    codes.ends("interrupted", faulty(&command, &[], "fsync,fdatasync:signal=INT:when=1"), 130);
}
