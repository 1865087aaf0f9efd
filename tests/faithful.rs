//! What was written is read back from the drives before they are called safe.

mod common;

use std::process::Stdio;

use common::{Desk, noise, pouch_raw, put, run, volumes};

#[test]
fn what_is_stored_is_said_to_be() {
    let desk = Desk::packed();
    desk.drives().iter().for_each(|drive| std::fs::remove_dir_all(&volumes::files(drive)[0]).unwrap());
    let packed = run(desk.pack_cmd(&[&desk.source()], &desk.drives(), &["--verify"])).exits(0);
    assert!(packed.out.contains("every byte is stored"), "{}", packed.out);
    desk.drives().iter().for_each(|drive| std::fs::remove_dir_all(&volumes::files(drive)[0]).unwrap());
    let packed = run(desk.pack_cmd(&[&desk.source()], &desk.drives(), &["--no-verify"])).exits(0);
    assert!(packed.out.contains("not read back"), "{}", packed.out);
}

#[test]
fn a_drive_that_changes_what_it_took_is_named_and_what_it_did_not_keep_is_written_anew() {
    let desk = Desk::new();
    put(desk.source().join("clip"), noise(200_000_000, 1));
    let mut pack = pouch_raw(["pack", "--verify", "--mend", "0", "-r", &desk.recipient]);
    pack.arg(desk.source()).arg("-o").arg(desk.drive(1)).arg("-o").arg(desk.drive(2));
    let child = pack.stdout(Stdio::null()).spawn().unwrap();
    let part = desk.volume(1).join("000001.age");
    common::until(|| part.exists());
    volumes::flip(&part, 600_000, 2);
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(7), "{said}");
    assert!(
        ["volume-1/000001.age", "from byte 0 on", "do not trust this drive"].iter().all(|word| said.contains(word)),
        "{said}"
    );
    let drives = [desk.drive(1), desk.drive(2)];
    run(desk.check_cmd(&drives, &[])).exits(0);
    run(desk.unpack_cmd(&drives, &desk.path("out"), &[])).exits(0);
    common::tree::same(&desk.source(), &desk.path("out/source"));
}
