//! What volumes reveal of when and by whom they were written: one time and one mode for all files, and root as owner
//! where root writes. Every user of the drive can read them, whatever the sender's umask is.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use crate::common::drive::{Cache, Drive};
use crate::common::faults::{failing, faulty};
use crate::common::{Desk, Exfat, NOBODY, chmod, is_root, need, noise, pouch, put, run, volumes};

/// 1980-01-01 00:00:00 UTC.
const TIME: i64 = 315_532_800;

/// A file or folder: name, type and mode, mtime, atime and owner.
type Look = (String, u32, (i64, i64), i64, u32);

fn look(path: &Path) -> Look {
    let meta = path.symlink_metadata().unwrap();
    (volumes::name_of(path), meta.mode(), (meta.mtime(), meta.mtime_nsec()), meta.atime(), meta.uid())
}

/// Checks that the files of a volume reveal nothing.
#[track_caller]
fn shows_nothing(volume: &Path) {
    let files = volumes::files(volume);
    assert!(files.len() > 5 && files.iter().any(|file| file.ends_with("SHA256SUMS")), "{files:?}");
    // Reading the folder changes its atime, so `folder_shows_nothing` has to come first.
    let uid = rustix::process::geteuid().as_raw();
    let expect = |path: &Path, mode| (volumes::name_of(path), mode, (TIME, 0), TIME, uid);
    for file in files {
        assert_eq!(look(&file), expect(&file, 0o100_644));
    }
}

/// Checks that a volume's folder reveals nothing. Call this before the folder is read.
#[track_caller]
fn folder_shows_nothing(volume: &Path) {
    let uid = rustix::process::geteuid().as_raw();
    assert_eq!(look(volume), (volumes::name_of(volume), 0o40_755, (TIME, 0), TIME, uid));
}

#[track_caller]
fn show_nothing(all: &[PathBuf]) {
    all.iter().for_each(|volume| folder_shows_nothing(volume));
    all.iter().for_each(|volume| shows_nothing(volume));
}

/// Runs the command under a umask that lets no other user read anything.
fn strictly(command: &assert_cmd::Command) -> assert_cmd::Command {
    let mut strict = assert_cmd::Command::new("bash");
    strict.args(["-c", "umask 077; exec \"$0\" \"$@\""]).arg(command.get_program()).args(command.get_args());
    strict
}

fn volumes_of(desk: &Desk) -> Vec<PathBuf> {
    (1..=3).map(|number| desk.volume(number)).collect()
}

fn desk() -> Desk {
    let desk = Desk::new();
    put(desk.source().join("clip"), noise(4_000_000, 1));
    put(desk.source().join("notes/a.txt"), "notes");
    desk
}

/// Leaves a file as other programs do: with a recent time, and readable by its owner only.
fn give_away(path: &Path) {
    fs::File::open(path).unwrap().set_modified(SystemTime::now() - Duration::from_secs(3)).unwrap();
    chmod(path, if path.is_dir() { 0o700 } else { 0o600 });
}

#[test]
fn a_packed_volume_shows_no_time_and_every_user_can_read_it() {
    let desk = desk();
    for more in [&["--verify"][..], &["--no-verify"], &["--mend", "0"]] {
        let pack = desk.pack_cmd(&[&desk.source()], &desk.drives(), more);
        run(strictly(&pack)).exits(0);
        show_nothing(&volumes_of(&desk));
        run(desk.as_nobody(desk.check_cmd(&desk.drives(), &[]))).exits(0);
        volumes_of(&desk).iter().for_each(|volume| fs::remove_dir_all(volume).unwrap());
    }
    // An empty folder that existed before is treated as one of our own.
    fs::create_dir(desk.volume(2)).unwrap();
    give_away(&desk.volume(2));
    desk.pack();
    show_nothing(&volumes_of(&desk));
}

#[test]
fn a_packing_that_was_stopped_ends_with_volumes_that_show_no_time() {
    let desk = Desk::new();
    put(desk.source().join("clip"), noise(60_000_000, 1));
    let pack = desk.pack_cmd(&[&desk.source()], &desk.drives(), &["--mend", "0"]);
    let mut stopped = crate::common::pouch_raw(pack.get_args());
    let mut child = stopped.spawn().unwrap();
    crate::common::until(|| volumes::parts(&present(&desk)).len() > 12);
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(fs::metadata(desk.volume(1).join("journal")).unwrap().permissions().mode() & 0o777, 0o600);
    volumes::sealed_parts(&desk.drives()).iter().for_each(|part| give_away(part));
    volumes_of(&desk).iter().for_each(|volume| give_away(volume));
    let said = run(strictly(&pack)).exits(0);
    assert!(said.out.contains("goes on from an interrupted run"), "{}", said.out);
    show_nothing(&volumes_of(&desk));
}

/// Drives that hold a volume already.
fn present(desk: &Desk) -> Vec<PathBuf> {
    desk.drives().into_iter().filter(|drive| fs::read_dir(drive).unwrap().count() > 0).collect()
}

#[test]
fn a_loaded_volume_shows_no_time_whatever_the_staged_one_shows() {
    let desk = desk();
    fs::create_dir(desk.path("stage")).unwrap();
    let more = ["--volumes", "1", "--volume-size", "200MB"];
    run(desk.pack_cmd(&[&desk.source()], &[desk.path("stage")], &more)).exits(0);
    let staged = desk.path("stage/volume-1");
    show_nothing(std::slice::from_ref(&staged));
    volumes::files(&staged).iter().for_each(|file| give_away(file));
    let load = |drive: &Path| {
        let mut command = pouch(["load"]);
        command.arg(&staged).arg(drive);
        run(strictly(&command)).exits(0)
    };
    load(&desk.drive(1));
    show_nothing(&[desk.volume(1)]);
    // A user copied the volume there by hand, in part or as a whole.
    for lacks in [&["list.age", "SHA256SUMS"][..], &[]] {
        let drive = desk.drive(2);
        volumes::copy(&staged, &drive.join("volume-1"));
        lacks.iter().for_each(|name| fs::remove_file(drive.join("volume-1").join(name)).unwrap());
        volumes::files(&drive.join("volume-1")).iter().for_each(|file| give_away(file));
        load(&drive);
        show_nothing(&[drive.join("volume-1")]);
        fs::remove_dir_all(drive.join("volume-1")).unwrap();
    }
    assert!(fs::metadata(staged.join("seal.age")).unwrap().mtime() > TIME, "the staged volume is left as it is");
}

#[test]
fn a_repaired_volume_shows_no_time() {
    let desk = desk();
    run(desk.pack_cmd(&[&desk.source()], &desk.drives(), &["--lose", "1"])).exits(0);
    fs::remove_dir_all(desk.volume(2)).unwrap();
    fs::create_dir(desk.path("new")).unwrap();
    let mut repair = pouch(["repair"]);
    repair.args([desk.drive(1), desk.drive(3)]).arg("-i").arg(desk.path("key")).arg("-o").arg(desk.path("new"));
    run(strictly(&repair)).exits(0);
    show_nothing(&[desk.path("new/volume-2")]);
}

#[test]
fn drives_with_drivers_of_their_own_show_no_time_either() {
    for cache in [Cache::WriteThrough, Cache::WriteBack] {
        let desk = desk();
        let Some(mut drive) = Drive::plug(desk.path("stick"), 64 << 20, cache) else { return };
        run(strictly(&desk.pack_cmd(&[&desk.source()], &[drive.path()], &["--verify"]))).exits(0);
        for _ in 0..2 {
            show_nothing(&[drive.path().join("volume-1")]);
            drive.replug();
        }
    }
}

#[test]
fn an_exfat_shows_no_time() {
    let desk = desk();
    let Some(mut drive) = Exfat::mount(desk.path("exfat"), 64) else { return };
    let pack = desk.pack_cmd(&[&desk.source()], &[drive.path()], &[]);
    let said = run(pack).exits(0);
    assert!(!said.err.contains("shows when"), "{}", said.err);
    drive.replug();
    let volume = drive.path().join("volume-1");
    let times: Vec<_> = volumes::files(&volume).iter().chain([&volume]).map(|file| look(file).2.0).collect();
    // West of Greenwich, exFAT's driver takes the first moment in local time.
    assert!(times.iter().all(|time| (TIME..TIME + 86_400).contains(time)), "{times:?}");
}

#[test]
fn a_file_system_that_takes_no_times_is_told_of() {
    if !need(&["strace"]) {
        return;
    }
    let desk = desk();
    let pack = desk.pack_cmd(&[&desk.source()], &[desk.drive(1)], &[]);
    for errno in ["EPERM", "ENOSYS", "EINVAL"] {
        let said = run(faulty(&pack, &[], &format!("utimensat:error={errno}"))).exits(0);
        let note = format!("note: {}: shows when it was written: ", desk.volume(1).display());
        assert_eq!(said.err.matches(&note).count(), 1, "{}", said.err);
        fs::remove_dir_all(desk.volume(1)).unwrap();
    }
    // Modes and owners are not reported: no drive of an ordinary user takes all of them.
    let said = run(faulty(&pack, &[], "fchmod,fchown:error=EPERM")).exits(0);
    assert!(!said.err.contains("note: "), "{}", said.err);
}

#[test]
fn a_drive_that_fails_at_that_is_no_finished_one() {
    if !need(&["strace"]) {
        return;
    }
    let desk = desk();
    let pack = desk.pack_cmd(&[&desk.source()], &[desk.drive(1)], &["--mend", "0"]);
    let mut met = 0;
    for when in 1..40 {
        let (said, was_met) = failing(&pack, &[], &format!("utimensat:error=EIO:when={when}"));
        met += usize::from(was_met);
        match said.code {
            // The failed file was written anew, or the failure hit the folder's last time, when all is complete
            // already.
            0 => shows_nothing(&desk.volume(1)),
            code => {
                assert!(code == 7 && said.err.contains("cannot set mode and time of "), "{said:?}");
                volumes::none_looks_complete(&[desk.drive(1)]);
                run(desk.pack_cmd(&[&desk.source()], &[desk.drive(1)], &["--mend", "0"])).exits(0);
            }
        }
        let _ = fs::remove_dir_all(desk.volume(1));
        if !was_met {
            break;
        }
    }
    assert!(met > 8, "{met}");
}

#[test]
fn files_of_other_owners_are_made_roots_where_root_packs() {
    if !is_root() {
        return;
    }
    let desk = desk();
    // A folder whose group is inherited by everything created in it.
    for drive in desk.drives() {
        std::os::unix::fs::chown(&drive, Some(NOBODY), Some(NOBODY)).unwrap();
        chmod(&drive, 0o2777);
    }
    desk.pack();
    show_nothing(&volumes_of(&desk));
    for file in volumes_of(&desk).iter().flat_map(|volume| volumes::files(volume)) {
        assert_eq!(fs::metadata(&file).unwrap().gid(), 0, "{}", file.display());
    }
}
