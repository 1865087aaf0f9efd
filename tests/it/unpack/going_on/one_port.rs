//! `unpack --wait` with fewer ports than drives: it asks for one drive after the other, at a terminal.

use super::*;

/// A command with a terminal of its own.
struct Terminal {
    child: Child,
    input: std::process::ChildStdin,
    seen: std::sync::Arc<std::sync::Mutex<Vec<u8>>>,
}

impl Terminal {
    fn run(words: &[&str]) -> Self {
        let line: Vec<String> = words.iter().map(|word| format!("'{word}'")).collect();
        let mut child = std::process::Command::new("script")
            .args(["-qec", &line.join(" "), "/dev/null"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (input, mut output) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        let seen = std::sync::Arc::<std::sync::Mutex<Vec<u8>>>::default();
        let into = seen.clone();
        std::thread::spawn(move || {
            let mut buf = [0; 4096];
            while let Ok(n @ 1..) = output.read(&mut buf) {
                into.lock().unwrap().extend_from_slice(&buf[..n]);
            }
        });
        Self { child, input, seen }
    }

    /// Waits until the text appeared this many times.
    #[track_caller]
    fn says(&self, text: &str, times: usize) {
        let text_seen = || String::from_utf8_lossy(&self.seen.lock().unwrap()).into_owned();
        let begun = Instant::now();
        while text_seen().matches(text).count() < times {
            assert!(begun.elapsed() < GUARD, "no {text:?} in {}", text_seen());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    fn types(&mut self, line: &str) {
        self.input.write_all(line.as_bytes()).unwrap();
        self.input.flush().unwrap();
    }

    fn ends(mut self) -> i32 {
        self.child.wait().unwrap().code().unwrap()
    }
}

/// Puts a drive into the only port.
fn plug(desk: &Desk, number: u32) -> PathBuf {
    let port = desk.path("port");
    let _ = fs::remove_dir_all(&port);
    fs::create_dir(&port).unwrap();
    volumes::copy(&desk.drive(number), &port);
    port
}

fn waiting(desk: &Desk, port: &Path) -> Terminal {
    let path = |path: PathBuf| path.display().to_string();
    let (key, out) = (path(desk.path("key")), path(desk.path("out")));
    let port = port.display().to_string();
    Terminal::run(&[env!("CARGO_BIN_EXE_pouch"), "unpack", "--wait", &port, "-i", &key, "-o", &out])
}

const PROMPT: &str = "Plug in the next drive";

#[test]
fn with_one_port_each_drive_is_asked_for() {
    if !crate::common::need(&["script"]) {
        return;
    }
    let desk = desk();
    let mut terminal = waiting(&desk, &desk.path("port"));
    terminal.says("There is no volume at", 1);
    for (turn, drive) in [2, 1, 3].into_iter().enumerate() {
        terminal.says(PROMPT, turn + 1);
        plug(&desk, drive);
        terminal.types("\n");
    }
    assert_eq!(terminal.ends(), 0);
    is_whole(&desk);
}

#[test]
fn a_lost_drive_is_made_up_for_by_drives_that_were_there_before() {
    if !crate::common::need(&["script"]) {
        return;
    }
    let desk = Desk::new();
    put(desk.source().join("clip.mov"), noise(9_000_000, 1));
    run(desk.pack_cmd(&[&desk.source()], &desk.drives(), &["--lose", "1"])).exits(0);
    let mut terminal = waiting(&desk, &plug(&desk, 3));
    terminal.says(PROMPT, 1);
    terminal.says("any one of the volumes 1-2 of 3, whole, completes it", 1);
    plug(&desk, 1);
    terminal.types("\n");
    assert_eq!(terminal.ends(), 0, "two of three are enough, though never both at once");
    is_whole(&desk);
}

#[test]
fn a_drive_that_is_pulled_out_while_it_is_read_is_asked_for_again() {
    let desk = Desk::new();
    put(desk.source().join("clip.mov"), noise(9_000_000, 1));
    let Some(mut port) = Drive::plug(desk.path("port"), 32 << 20, Cache::WriteBack) else { return };
    if !crate::common::need(&["script"]) {
        return;
    }
    run(desk.pack_cmd(&[&desk.source()], &[port.path()], &["--mend", "0"])).exits(0);
    for wanted in [0, 7] {
        port.replug();
        port.set(&[Fault::Gone { bytes: 3 << 20, errno: fuser::Errno::ENODEV }]);
        let mut terminal = waiting(&desk, &port.path());
        terminal.says("volume-1: its drive is gone", 1);
        terminal.says(PROMPT, 1);
        match wanted {
            0 => {
                port.set(&[]);
                port.replug();
                terminal.types("\n");
            }
            _ => terminal.types("q\n"),
        }
        assert_eq!(terminal.ends(), wanted);
        if wanted == 0 {
            is_whole(&desk);
            fs::remove_dir_all(desk.path("out")).unwrap();
        }
    }
    assert!(desk.path("out/.pouch-unfinished").exists(), "a later run can resume");
}

#[test]
fn a_drive_whose_heads_are_damaged_is_not_passed_over_but_one_of_another_bundle_is() {
    if !crate::common::need(&["script"]) {
        return;
    }
    let (desk, other) = (desk(), Desk::packed());
    let mut terminal = waiting(&desk, &plug(&desk, 1));
    for (turn, drive) in [2, 0, 3].into_iter().enumerate() {
        terminal.says(PROMPT, turn + 1);
        if drive == 0 {
            fs::remove_dir_all(desk.path("port")).unwrap();
            fs::create_dir(desk.path("port")).unwrap();
            volumes::copy(&other.drive(1), &desk.path("port"));
        } else {
            let port = plug(&desk, drive);
            for name in ["head.age", "head2.age"] {
                volumes::zero(&port.join(format!("volume-{drive}")).join(name));
            }
        }
        terminal.types("\n");
    }
    terminal.says("is not of this bundle", 1);
    assert_eq!(terminal.ends(), 0);
    is_whole(&desk);
}

#[test]
fn whoever_has_no_more_drives_says_so() {
    if !crate::common::need(&["script"]) {
        return;
    }
    let desk = desk();
    let mut terminal = waiting(&desk, &plug(&desk, 1));
    terminal.says(PROMPT, 1);
    terminal.says(" missing or damaged; ", 1);
    terminal.types("\n");
    terminal.says(PROMPT, 2);
    terminal.types("q\n");
    assert_eq!(terminal.ends(), 3);
    only_true_files(&desk.source(), &desk.path("out/source"));
    unpack(&desk, &[desk.drive(2), desk.drive(3)], 0);
    is_whole(&desk);
}

#[test]
fn without_a_terminal_nobody_is_asked() {
    let desk = desk();
    let said = run(desk.unpack_cmd(&[desk.drive(1)], &desk.path("out"), &["--wait"])).exits(2);
    assert!(said.err.contains("terminal"), "{said:?}");
    assert!(!desk.path("out").exists());
}
