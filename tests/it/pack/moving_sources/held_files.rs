//! Files that another process holds while they are packed: open for writing, or mapped into memory.

use super::*;

/// A process that holds a file until this is dropped.
struct Holder(Child);

impl Holder {
    /// `command` prints `ready` once it holds the file, and ends with its standard input.
    fn of(mut command: Command) -> Self {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("the holder starts");
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line, "ready\n");
        Self(child)
    }

    /// Holds the file open for writing without writing to it.
    fn open(path: &Path) -> Self {
        let mut command = Command::new("sh");
        command.args(["-c", r#"exec 3<>"$1"; echo ready; read line"#, "sh"]).arg(path);
        Self::of(command)
    }

    /// Maps the file, and keeps it open or closes it. Each line on its standard input makes it write.
    fn mapped(path: &Path, and_open: bool) -> Self {
        let script = "import mmap, os, sys\n\
            with open(sys.argv[1], 'r+b') as f: m = mmap.mmap(f.fileno(), 0)\n\
            if sys.argv[2] == 'false': os.closerange(3, 64) # the mapping keeps a copy\n\
            def write(byte): m[:] = byte * len(m)\n\
            print('ready', flush=True)\n\
            for line in sys.stdin: write(line[:1].encode()); print('written', flush=True)";
        let mut command = Command::new("python3");
        command.args(["-c", script]).arg(path).arg(and_open.to_string());
        Self::of(command)
    }

    fn write(&mut self, line: &str) {
        writeln!(self.0.stdin.as_mut().unwrap(), "{line}").unwrap();
        let mut byte = [0];
        while byte != *b"\n" {
            std::io::Read::read_exact(self.0.stdout.as_mut().unwrap(), &mut byte).unwrap();
        }
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_file_that_is_open_for_writing_is_named_and_comes_back_whole() {
    let desk = Desk::new();
    put(desk.source().join("draft"), noise(300_000, 1));
    put(desk.source().join("read only"), "read by somebody");
    let _reader = fs::File::open(desk.source().join("read only")).unwrap();
    let holder = Holder::open(&desk.source().join("draft"));
    let packed = run(desk.pack_cmd(&[&desk.source()], &desk.drives(), &["--json"])).exits(0);
    drop(holder);
    assert!(packed.err.contains("note: source/draft: is open for writing by sh (process "), "{}", packed.err);
    let report = packed.json();
    note(&report, "open", "source/draft");
    assert_eq!(report["notes"].as_array().unwrap().len(), 1, "{report}");
    same(&desk.source(), &desk.unpack("out").join("source"));
}

#[test]
fn a_file_that_is_opened_for_writing_while_packing_is_named() {
    let Some(gate) = Gate::new("z gate") else { return };
    let mut holder = None;
    let packed = gate.pack_while(|source| holder = Some(Holder::open(&source.join("folder/file"))));
    drop(holder);
    note(&packed.exits(0).json(), "open", "source/folder/file");
    // The same, with a write.
    let Some(gate) = Gate::new("a gate") else { return };
    let mut file = None;
    let packed = gate.pack_while(|source| {
        file = fs::File::options().write(true).open(source.join("folder/file")).ok();
        file.as_mut().unwrap().write_all(b"CON").unwrap();
    });
    note(&packed.exits(4).json(), "changed", "source/folder/file");
    gate.unpack(4);
}

#[test]
fn what_is_written_through_a_mapping_is_named_though_no_time_tells() {
    let Some(gate) = Gate::new("a gate") else { return };
    let Some(memory) = Tmpfs::mount(gate.desk.source(), "size=30m") else { return };
    if !need(&["python3"]) {
        return;
    }
    let file = memory.path().join("database");
    put(&file, noise(1_000_000, 1));
    let mut holder = Holder::mapped(&file, false);
    holder.write("0");
    let times = |path: &Path| {
        let meta = path.metadata().unwrap();
        (meta.modified().unwrap(), std::os::unix::fs::MetadataExt::ctime_nsec(&meta))
    };
    let before = times(&file);
    let packed = gate.pack_while(|_| holder.write("1")).exits(4);
    assert_eq!(times(&file), before, "the file's times do not show the write");
    drop(holder);
    let text = note(&packed.json(), "changed", "source/database");
    assert!(text.starts_with("could be changed unseen while it was packed, through the memory of python3"), "{text}");
    let (_, said) = gate.unpack(4);
    assert!(said.all().contains("source/database: changed while it was packed, or a program could"), "{said:?}");
    assert!(said.out.contains("1 file may mix two states, named above"), "{}", said.out);
}

#[test]
#[cfg_attr(not(run_as_root), ignore = "needs root, to hide the list of processes")]
fn where_processes_cannot_be_looked_at_that_is_said() {
    if !need(&["unshare", "mount"]) {
        return;
    }
    let desk = Desk::new();
    put(desk.source().join("file"), "content");
    let mut hidden = assert_cmd::Command::new("unshare");
    hidden.args(["-m", "sh", "-c", r#"mount -t tmpfs none /proc && exec "$@""#, "sh"]);
    hidden.arg(env!("CARGO_BIN_EXE_pouch")).args(["pack", "--json", "-r", &desk.recipient]);
    hidden.arg(desk.source()).arg("-o").arg(desk.drive(1));
    let report = run(hidden).exits(0).json();
    let text = note(&report, "not-known", "/proc");
    assert!(text.contains("whether a file was open for writing while it was packed is not known"), "{text}");
}

/// A packing onto a drive that took all parts and then failed, and its second run. Another process has the file mapped
/// during the first run or during the second.
fn stopped_behind_the_manifests(held_first: bool) -> Option<(Desk, Drive, Run)> {
    if !need(&["python3"]) {
        return None;
    }
    let desk = Desk::new();
    let (draft, source) = (desk.source().join("draft"), desk.source());
    put(&draft, noise(3_000_000, 1));
    let drive = Drive::plug(desk.path("stick"), 64 * MIB, Cache::WriteThrough)?;
    let pack = |to: PathBuf| run(desk.pack_cmd(&[&source], &[to], &["--mend", "0", "--json"]));
    pack(desk.drive(2)).exits(0);
    let bytes = volumes::parts(&[desk.drive(2)]).len() as u64 * crate::common::PART_FILE + 50_000;
    drive.set(&[Fault::FailAfter { bytes, errno: fuser::Errno::ENOSPC }]);
    let holder = held_first.then(|| Holder::mapped(&draft, true));
    pack(drive.path()).exits(7);
    drop(holder);
    drive.set(&[]);
    let _holder = (!held_first).then(|| Holder::mapped(&draft, true));
    let again = pack(drive.path());
    assert!(again.json()["plan"]["packed"].as_u64().unwrap() > 0, "the run resumes: {again:?}");
    Some((desk, drive, again))
}

/// Checks that the list calls every file clean, and the manifests do too.
#[track_caller]
fn list_and_manifests_agree(drive: &Drive, desk: &Desk) {
    run(desk.unpack_cmd(&[drive.path()], &desk.path("out"), &[])).exits(0);
    fs::remove_file(drive.path().join("volume-1/list.age")).unwrap();
    let said = run(desk.unpack_cmd(&[drive.path()], &desk.path("by manifest"), &["--salvage"])).exits(0);
    assert!(said.out.contains("as the manifest proves"), "{}", said.out);
    // A tar has only whole seconds, so times are not compared.
    assert_eq!(only_true_files(&desk.source(), &desk.path("by manifest/source")), [b"draft".to_vec()]);
}

#[test]
fn manifests_that_name_a_changed_file_are_packed_again_by_a_run_that_finds_none() {
    let Some((desk, drive, again)) = stopped_behind_the_manifests(true) else { return };
    again.exits(0);
    list_and_manifests_agree(&drive, &desk);
}

#[test]
fn a_file_that_is_held_when_its_manifest_is_packed_already_is_named_and_keeps_its_digest() {
    let Some((desk, drive, again)) = stopped_behind_the_manifests(false) else { return };
    let text = note(&again.exits(4).json(), "outdated", "source/draft");
    assert!(text.ends_with("every byte of it is the one that was packed before"), "{text}");
    list_and_manifests_agree(&drive, &desk);
}

#[test]
fn a_file_that_is_held_on_a_drive_that_hangs_does_not_stop_the_packing() {
    let desk = Desk::new();
    let Some(camera) = Drive::plug(desk.path("camera"), 64 * MIB, Cache::WriteThrough) else { return };
    let Some(mut share) = Drive::plug(desk.path("share"), 64 * MIB, Cache::WriteThrough) else { return };
    for drive in [&camera, &share] {
        put(drive.path().join("clip"), "content");
    }
    assert_eq!(camera.number("clip"), share.number("clip"), "only the file system tells them apart");
    share.lie(&[]);
    share.replug();
    let holder = Holder::open(&share.path().join("clip"));
    let hanging = share.hang();
    run(desk.pack_cmd(&[&camera.path()], &desk.drives(), &[])).exits(0);
    drop(hanging);
    drop(holder);
}
