//! Volumes whose file names a drive shows in capitals, all or only some, and a SHA256SUMS whose line ends a mail
//! program changed: every command still recognizes the files.

use std::fs;
use std::path::{Path, PathBuf};

use crate::common::stage::Stage;
use crate::common::tree::same;
use crate::common::{Desk, noise, pouch, put, run, volumes};

/// Renames every `step`th file of a volume to capitals, as some drives show names. SHA256SUMS becomes lower case.
fn shout(volume: &Path, step: usize) {
    for file in volumes::files(volume).into_iter().step_by(step) {
        let name = volumes::name_of(&file);
        let shown = if name == "SHA256SUMS" { "sha256sums".into() } else { name.to_uppercase() };
        fs::rename(&file, file.with_file_name(shown)).unwrap();
    }
}

/// Renames the volume's folder to capitals.
fn shout_folder(volume: &Path) {
    fs::rename(volume, volume.with_file_name(volumes::name_of(volume).to_uppercase())).unwrap();
}

fn with_key(desk: &Desk, command: &str, drives: &[PathBuf]) -> assert_cmd::Command {
    let mut command = pouch([command]);
    command.args(drives).arg("-i").arg(desk.path("key"));
    command
}

fn packed(words: &[&str]) -> Desk {
    let desk = Desk::new();
    put(desk.source().join("clip.mov"), noise(3_300_000, 1));
    put(desk.source().join("notes/a.txt"), "notes");
    run(desk.pack_cmd(&[&desk.source()], &desk.drives(), words)).exits(0);
    desk
}

#[test]
fn every_command_reads_them() {
    for step in [1, 2] {
        let desk = packed(&["--lose", "1"]);
        (1..=3).for_each(|number| shout(&desk.volume(number), step));
        (1..=3).for_each(|number| shout_folder(&desk.volume(number)));
        let drives = desk.drives();
        let checked = run(desk.check_cmd(&drives, &[])).exits(0);
        assert_eq!(checked.out.matches(": whole (").count(), 3, "{}", checked.out);
        let checked = run(with_key(&desk, "check", &drives)).exits(0);
        assert!(checked.out.contains("every part of the data is whole"), "{}", checked.out);
        run(with_key(&desk, "list", &drives[..1])).exits(0);
        let report = run(desk.unpack_cmd(&drives, &desk.path("out"), &["--json"])).exits(0).json();
        assert!(report["rebuilt_parts"].as_array().unwrap().is_empty(), "{report}");
        same(&desk.source(), &desk.path("out/source"));
        // With the heads moved out of the volumes, salvage has to go by the parts.
        for drive in &drives {
            let files = volumes::files(&volumes::files(drive)[0]);
            let heads = files.iter().filter(|file| volumes::name_of(file).to_lowercase().starts_with("head"));
            heads.for_each(|head| fs::rename(head, drive.join(volumes::name_of(head))).unwrap());
        }
        run(desk.unpack_cmd(&drives, &desk.path("salvaged"), &["--salvage"])).exits(0);
        same(&desk.source(), &desk.path("salvaged/source"));
    }
}

#[test]
fn what_is_repaired_has_the_names_of_the_format() {
    let desk = packed(&["--lose", "1"]);
    (1..=3).for_each(|number| shout(&desk.volume(number), 1));
    fs::create_dir(desk.path("new")).unwrap();
    let repair = |drives: &[PathBuf]| {
        let mut command = with_key(&desk, "repair", drives);
        command.arg("-o").arg(desk.path("new")).arg("--json");
        run(command).exits(0).json()
    };
    assert_eq!(repair(&desk.drives())["volumes"], serde_json::json!([]), "all volumes are whole");
    let kept = [desk.drive(1), desk.drive(3)];
    assert_eq!(repair(&kept)["volumes"], serde_json::json!([2]));
    let new = desk.path("new/volume-2");
    assert!(new.join("SHA256SUMS").exists() && new.join("seal.age").exists());
    assert_eq!(repair(&kept)["already"].as_array().unwrap().len(), 1);
    shout(&new, 1);
    assert_eq!(repair(&kept)["already"].as_array().unwrap().len(), 1, "the volume in capitals is not written twice");
}

#[test]
fn the_exact_name_comes_first() {
    let desk = packed(&["--mend", "0"]);
    for name in ["SEAL.AGE", "HEAD.AGE", "LIST.AGE", "sha256sums", "Sha256Sums"] {
        put(desk.volume(1).join(name), "something else");
    }
    for part in volumes::parts(&[desk.drive(1)]) {
        put(part.with_file_name(volumes::name_of(&part).to_uppercase()), noise(900_000, 2));
    }
    run(desk.check_cmd(&desk.drives(), &[])).exits(0);
    let said = run(desk.unpack_cmd(&desk.drives(), &desk.path("out"), &[])).exits(0);
    assert!(!said.all().contains("could not be used"), "{said:?}");
    same(&desk.source(), &desk.path("out/source"));
}

#[test]
fn a_staged_volume_comes_to_its_drive_under_its_own_names() {
    let stage = Stage::of(1, 2_500_000);
    let plain = stage.desk.path("plain");
    volumes::copy(&stage.staged(1), &plain);
    shout(&stage.staged(1), 1);
    shout_folder(&stage.staged(1));
    let staged = stage.desk.path("stage/VOLUME-1");
    let load = |more: &[&str]| {
        let mut command = pouch(["load"]);
        command.arg(&staged).arg(stage.desk.drive(1)).args(more);
        run(command).exits(0)
    };
    load(&[]);
    crate::common::stage::same(&plain, &stage.loaded());
    // A drive that shows its names in capitals still holds the files.
    shout(&stage.loaded(), 2);
    assert!(load(&[]).out.contains("found whole: "), "nothing is copied again");
    assert!(!volumes::files(&stage.loaded()).iter().any(|file| volumes::name_of(file).ends_with(".tmp")));
    // A damaged file is rewritten under its name in the format, and no file ends up there twice.
    let part =
        volumes::files(&stage.loaded()).into_iter().find(|file| volumes::name_of(file).starts_with("000002")).unwrap();
    volumes::flip(&part, 70_000, 1);
    load(&[]);
    crate::common::stage::same(&plain, &stage.loaded());
}

#[test]
#[cfg_attr(not(run_as_root), ignore = "needs root, to mount a tmpfs")]
fn a_staged_volume_in_capitals_can_be_moved() {
    let stage = Stage::of(1, 2_500_000);
    let plain = stage.desk.path("plain");
    volumes::copy(&stage.staged(1), &plain);
    shout(&stage.staged(1), 1);
    let drive = crate::common::drive::Drive::plug(
        stage.desk.path("moved"),
        64 << 20,
        crate::common::drive::Cache::WriteThrough,
    );
    let Some(drive) = drive else { return };
    let mut command = pouch(["load", "--move"]);
    command.arg(stage.staged(1)).arg(drive.path());
    run(command).exits(0);
    crate::common::stage::same(&plain, &drive.path().join("volume-1"));
    assert!(!stage.staged(1).exists(), "the move removes every staged file, whatever the case of its name");
}

#[test]
fn sums_with_the_line_ends_of_windows_are_read() {
    let desk = packed(&["--mend", "0"]);
    let sums = desk.volume(1).join("SHA256SUMS");
    let text = fs::read_to_string(&sums).unwrap();
    fs::write(&sums, text.replace('\n', "\r\n")).unwrap();
    run(desk.check_cmd(&desk.drives(), &[])).exits(0);
    run(with_key(&desk, "check", &desk.drives())).exits(0);
    let mut command = pouch(["load"]);
    fs::create_dir(desk.path("other")).unwrap();
    command.arg(desk.volume(1)).arg(desk.path("other"));
    run(command).exits(0);
    run(desk.check_cmd(&[desk.path("other")], &[])).exits(0);
}
