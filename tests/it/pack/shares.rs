//! How bundles are dealt out to drives and limited in size, that they reveal nothing without the key, and what
//! passphrases and `--json` do.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use crate::common::tree::same;
use crate::common::{Desk, PART_FILE, PASSPHRASE, Run, Tmpfs, noise, pouch, put, run, volumes};
use serde_json::Value;

/// A desk with `len` bytes of noise in several files.
fn desk_of(len: usize) -> Desk {
    let desk = Desk::new();
    for (at, piece) in noise(len, len as u64).chunks(700_000).enumerate() {
        put(desk.source().join(format!("clip-{at:02}.mov")), piece);
    }
    desk
}

fn size_of(dir: &Path) -> u64 {
    volumes::files(dir).iter().map(|file| file.metadata().unwrap().len().next_multiple_of(4096)).sum()
}

#[test]
fn volumes_are_staged_in_one_folder_and_keep_to_their_size() {
    let desk = desk_of(7_000_000);
    let stage = desk.path("stage");
    fs::create_dir(&stage).unwrap();
    let size = 3_500_000;
    let more = ["--volumes", "4", "--volume-size", "3.5MB"];
    run(desk.pack_cmd(&[&desk.source()], std::slice::from_ref(&stage), &more)).exits(0);
    let staged = volumes::files(&stage);
    assert_eq!(
        staged.iter().map(|v| volumes::name_of(v)).collect::<Vec<_>>(),
        ["volume-1", "volume-2", "volume-3", "volume-4"]
    );
    staged.iter().for_each(|volume| assert!(size_of(volume) <= size, "{} takes {}", volume.display(), size_of(volume)));
    run(desk.unpack_cmd(&[stage], &desk.path("out"), &[])).exits(0);
    same(&desk.source(), &desk.path("out/source"));
}

#[test]
fn what_does_not_fit_is_refused_before_anything_is_written() {
    let desk = desk_of(7_000_000);
    let refused = run(desk.pack_cmd(&[&desk.source()], &desk.drives(), &["--volume-size", "2MB"])).exits(7);
    assert!(refused.err.contains("missing") && refused.err.contains("MB"), "{}", refused.err);
    assert!(desk.drives().iter().all(|drive| volumes::files(drive).is_empty()));
    let planned = run(desk.pack_cmd(&[&desk.source()], &desk.drives(), &["--volume-size", "2MB", "-n"])).exits(7);
    assert!(planned.out.contains("volume-3"), "the plan is shown all the same: {}", planned.out);
}

#[test]
fn sequential_volumes_keep_whole_files() {
    let desk = desk_of(6_000_000);
    run(desk.pack_cmd(&[&desk.source()], &desk.drives(), &["--volume-size", "4MB", "--fill", "sequential"])).exits(0);
    let numbers: Vec<u32> = desk
        .drives()
        .iter()
        .flat_map(|drive| volumes::parts(std::slice::from_ref(drive)))
        .map(|part| number(&part))
        .collect();
    assert!(numbers.is_sorted() && numbers.len() >= 6, "one after the other: {numbers:?}");
    let first = run(desk.unpack_cmd(&[desk.drive(1)], &desk.path("out"), &[])).exits(3);
    assert!(first.out.contains("volume 2"), "the run says what to bring: {}", first.out);
    let whole = crate::common::tree::only_true_files(&desk.source(), &desk.path("out/source"));
    assert!(whole.len() >= 3 && whole.contains(&b"clip-00.mov".to_vec()), "{whole:?}");
}

fn number(part: &Path) -> u32 {
    volumes::name_of(part)[..6].parse().unwrap()
}

#[test]
#[cfg_attr(not(run_as_root), ignore = "needs root, to mount a tmpfs")]
fn unequal_drives_are_filled_by_their_room() {
    let desk = desk_of(9_000_000);
    let mounts: Option<Vec<Tmpfs>> = [("a", "size=3m"), ("b", "size=6m"), ("c", "size=12m")]
        .iter()
        .map(|(name, options)| Tmpfs::mount(desk.path(name), options))
        .collect();
    let Some(mounts) = mounts else { return };
    let drives: Vec<PathBuf> = mounts.iter().map(Tmpfs::path).collect();
    run(desk.pack_cmd(&[&desk.source()], &drives, &[])).exits(0);
    let counts: Vec<usize> = drives.iter().map(|drive| volumes::parts(std::slice::from_ref(drive)).len()).collect();
    assert!(counts[0] < counts[1] && counts[1] < counts[2] && counts[0] > 0, "{counts:?}");
    run(desk.check_cmd(&drives, &[])).exits(0);
    run(desk.unpack_cmd(&drives, &desk.path("out"), &[])).exits(0);
    same(&desk.source(), &desk.path("out/source"));
}

#[test]
fn two_packs_of_one_tree_share_no_file() {
    let desk = desk_of(2_500_000);
    let again: Vec<PathBuf> = (1..=3).map(|n| desk.path(&format!("again-{n}"))).collect();
    again.iter().for_each(|drive| fs::create_dir(drive).unwrap());
    desk.pack();
    run(desk.pack_cmd(&[&desk.source()], &again, &[])).exits(0);
    let all = desk.drives().into_iter().chain(again);
    let files: Vec<PathBuf> = all.flat_map(|drive| volumes::files(&volumes::files(&drive)[0])).collect();
    let contents: BTreeSet<Vec<u8>> = files.iter().map(|file| fs::read(file).unwrap()).collect();
    assert_eq!(contents.len(), files.len(), "no two files on any two drives are equal");
}

#[test]
fn a_drive_says_nothing_of_names_or_people() {
    let desk = Desk::new();
    put(desk.source().join("a-telling-name.txt"), "a telling line of text\n".repeat(5000));
    std::os::unix::fs::symlink("a-telling-target", desk.source().join("link")).unwrap();
    let mut pack = desk.pack_cmd(&[&desk.source()], &desk.drives(), &[]);
    pack.env("USER", "the-senders-name").env("LOGNAME", "the-senders-name").env("HOSTNAME", "the-senders-host");
    run(pack).exits(0);
    let host = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let folder = desk.dir.path().file_name().unwrap().to_string_lossy().into_owned();
    let words = ["telling", "the-senders", "source/", "bagit", "ustar", host.trim(), &folder, &desk.recipient[4..]];
    for file in desk.drives().iter().flat_map(|drive| volumes::files(&volumes::files(drive)[0])) {
        let bytes = fs::read(&file).unwrap();
        // Shorter words occur in random bytes by chance.
        for word in words.iter().filter(|word| word.len() > 4) {
            let found = bytes.windows(word.len()).any(|window| window == word.as_bytes());
            assert!(!found, "{} holds \"{word}\"", file.display());
        }
    }
}

fn with_passphrase(mut command: assert_cmd::Command, passphrase: &str) -> Run {
    command.args(["--passphrase-fd", "0"]).write_stdin(format!("{passphrase}\n"));
    run(command)
}

#[test]
fn a_passphrase_opens_a_bundle_and_a_wrong_one_does_not() {
    let desk = desk_of(300_000);
    let pack = || {
        let mut pack = pouch(["pack", "-o"]);
        pack.arg(desk.drive(1)).arg(desk.source());
        pack
    };
    let short = with_passphrase(pack(), "too short").exits(2);
    assert!(short.err.contains("20"), "{}", short.err);
    let packed = with_passphrase(pack(), PASSPHRASE).exits(0);
    assert!(packed.out.contains("opens the bundle: only the passphrase does."), "{}", packed.out);
    assert!(desk.drive(1).join("volume-1/seal-p.age").exists() && !desk.drive(1).join("volume-1/seal.age").exists());
    let unpack = |to: &str| {
        let mut unpack = pouch(["unpack"]);
        unpack.arg(desk.drive(1)).arg("-o").arg(desk.path(to));
        unpack
    };
    let wrong = with_passphrase(unpack("wrong"), "another-horse-battery-staple").exits(8);
    assert!(wrong.err.contains("what was given opens no seal") && !wrong.err.contains("key"), "{}", wrong.err);
    run(unpack("wrong")).exits(8);
    let with_key = run(desk.unpack_cmd(&[desk.drive(1)], &desk.path("wrong"), &[])).exits(8);
    assert!(with_key.err.contains("hint: only a passphrase opens it: run the same command without -i"), "{with_key:?}");
    assert!(!desk.path("wrong").exists(), "a wrong passphrase leaves no target behind");
    with_passphrase(unpack("out"), PASSPHRASE).exits(0);
    same(&desk.source(), &desk.path("out/source"));
}

#[test]
fn a_key_file_may_have_a_passphrase() {
    let desk = desk_of(1000);
    let key = desk.path("locked.key");
    let mut keygen = pouch(["keygen", "-o"]);
    keygen.arg(&key);
    let recipient = with_passphrase(keygen, PASSPHRASE).exits(0).out;
    assert!(fs::read(&key).unwrap().starts_with(b"age-encryption.org/v1\n-> scrypt "));
    let mut pack = pouch(["pack", "-r", recipient.trim(), "-o"]);
    pack.arg(desk.drive(1)).arg(desk.source());
    run(pack).exits(0);
    let list = |key: &Path| {
        let mut list = pouch(["list", "-i"]);
        list.arg(key).arg(desk.drive(1));
        list
    };
    with_passphrase(list(&key), PASSPHRASE).exits(0);
    with_passphrase(list(&key), "another-horse-battery-staple").exits(8);
    run(list(&desk.path("key"))).exits(8);
}

#[test]
fn keygen_leaves_an_existing_file_alone() {
    let desk = Desk::new();
    let before = fs::read(desk.path("key")).unwrap();
    run(pouch(["keygen".as_ref(), "-o".as_ref(), desk.path("key").as_os_str()])).exits(2);
    assert_eq!(fs::read(desk.path("key")).unwrap(), before);
    assert_eq!(crate::common::tree::look(&desk.path("key"))[&b""[..]].mode, 0o600);
}

/// Compares an object's keys with `expected`, which are separated by blanks.
#[track_caller]
fn fields(value: &Value, expected: &str) {
    let found: BTreeSet<&str> = value.as_object().expect("an object").keys().map(String::as_str).collect();
    assert_eq!(found, expected.split_whitespace().collect());
}

const PLAN: &str = "files folders links bytes class_mib packed packed_again begins_anew expected at_most room recipients passphrase memory parity fill shared_drive volumes";
const UNPACKED: &str = "command fingerprint target volumes volumes_given selected files delivered bytes intact complete \
    origin bad_parts rebuilt_parts verdict margin failed gone unreadable kept changes renamed_in otherwise lost notes";

#[test]
fn json_holds_one_document_with_the_documented_fields() {
    let desk = desk_of(2_000_000);
    let plan = run(desk.pack_cmd(&[&desk.source()], &desk.drives(), &["--json", "-n"])).exits(0).json();
    fields(&plan, PLAN);
    let packed = run(desk.pack_cmd(&[&desk.source()], &desk.drives(), &["--json"])).exits(0).json();
    fields(
        &packed,
        "command fingerprint parts read_back past_cache plan volumes notes given_up not_trusted parts_left_to_parity do_not_hand_on",
    );
    fields(&packed["plan"], PLAN);
    assert_eq!((&packed["read_back"], &packed["past_cache"]), (&false.into(), &false.into()), "nothing was read back");
    assert_eq!(packed["parts"], volumes::sealed_parts(&desk.drives()).len());
    let checked = run(desk.check_cmd(&desk.drives(), &["--json"])).exits(0).json();
    fields(&checked, "command volumes bundle not_proved not_searched replugged remounted read");
    fields(
        &checked["volumes"][2],
        "folder state past_cache held files read bytes unchecked damaged missing unreadable foreign trouble",
    );
    let mut list = pouch(["list", "--json", "-i"]);
    list.arg(desk.path("key")).arg(desk.drive(2));
    let listed = run(list).exits(0).json();
    fields(&listed, "command fingerprint entries notes");
    fields(&listed["entries"][1], "path type size mode mtime sha256 flag");
    let unpacked = run(desk.unpack_cmd(&desk.drives(), &desk.path("out"), &["--json"])).exits(0).json();
    fields(&unpacked, UNPACKED);
    for report in [&listed, &unpacked] {
        assert_eq!(report["fingerprint"], packed["fingerprint"]);
    }
    let on_drives: u64 =
        packed["volumes"].as_array().unwrap().iter().map(|volume| volume["bytes"].as_u64().unwrap()).sum();
    assert_eq!(on_drives, PART_FILE * packed["parts"].as_u64().unwrap());
}

#[test]
fn json_says_what_failed_where_there_is_no_report() {
    let desk = desk_of(2_000_000);
    let mut list = pouch(["list", "--json"]);
    list.arg(desk.path("nothing"));
    let exists = desk.pack_cmd(&[&desk.path("absent")], &desk.drives(), &["--json"]);
    for command in [list, exists] {
        let said = run(command);
        let (json, first) = (said.json(), said.err.lines().next().unwrap());
        fields(&json, "error");
        fields(&json["error"], "message hint code");
        assert_eq!(json["error"]["code"], said.code);
        assert_eq!(format!("pouch: {}", json["error"]["message"].as_str().unwrap()), first);
    }
    // If there is a report, it is the only document.
    desk.pack();
    let said = run(desk.check_cmd(&desk.drives(), &["--json"])).exits(0);
    fields(&said.json(), "command volumes bundle not_proved not_searched replugged remounted read");
}
