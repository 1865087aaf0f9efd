//! A terminal that is full, closed or gone causes no panic and nothing half-done, and the exit code is right. Also,
//! what stays on the screen of a terminal that works.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use crate::common::drive::{Cache, Drive};
use crate::common::stage::Stage;
use crate::common::tree::same;
use crate::common::{Desk, need, noise, pouch_raw, put, until};

/// Commands that print. Those that write get a fresh target.
fn printing(desk: &Desk, target: &str) -> Vec<Vec<String>> {
    let path = |below: &str| desk.path(below).display().to_string();
    let words = |words: &[&str]| words.iter().map(|word| word.to_string()).collect::<Vec<String>>();
    vec![
        words(&["--help"]),
        words(&["completions", "bash"]),
        words(&["list", &path("drive-1"), "-i", &path("key")]),
        words(&["list", &path("drive-1"), "-i", &path("key"), "--json"]),
        words(&["check", &path("drive-1"), &path("drive-2")]),
        words(&[
            "unpack",
            &path("drive-1"),
            &path("drive-2"),
            &path("drive-3"),
            "-i",
            &path("key"),
            "-o",
            &path(target),
        ]),
        words(&["pack", &path("source"), "-r", &desk.recipient, "-o", &path("stage"), "-n"]),
    ]
}

#[test]
fn a_full_standard_output_is_an_error_and_no_panic() {
    let desk = Desk::packed();
    fs::create_dir(desk.path("stage")).unwrap();
    for command in printing(&desk, "out") {
        let full = fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
        let output = pouch_raw(&command).stdout(full).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(!said.contains("panicked"), "{command:?}: {said}");
        let is_help = command.len() < 2;
        let code = output.status.code();
        assert!(code == Some(7) || (is_help && code == Some(0)), "{command:?}: {code:?} {said}");
    }
    same(&desk.source(), &desk.path("out/source"));
}

#[test]
#[cfg_attr(not(stock_tools), ignore = "needs age, zstd, sha256sum, GNU tar, bsdtar, busybox and python3 with bagit")]
fn a_closed_standard_output_or_error_does_no_harm() {
    if !need(&["bash"]) {
        return;
    }
    let desk = Desk::packed();
    fs::create_dir(desk.path("stage")).unwrap();
    for (number, script) in ["\"$@\" | true", "\"$@\" >&-", "\"$@\" 2>&-", "\"$@\" >&- 2>&- <&-"].iter().enumerate() {
        for command in printing(&desk, &format!("out-{number}")) {
            let mut words = vec![env!("CARGO_BIN_EXE_pouch").to_string()];
            words.extend(command.clone());
            let args: Vec<&std::ffi::OsStr> = words.iter().map(std::ffi::OsStr::new).collect();
            let script = format!("set -o pipefail; {script}");
            let said = crate::common::bash(&script, desk.dir.path(), &args);
            assert!(
                [0, 7, 141].contains(&said.code) && !said.err.contains("panicked"),
                "{script} {command:?}: {said:?}"
            );
        }
        same(&desk.source(), &desk.path(&format!("out-{number}/source")));
    }
}

/// A terminal whose screen can be read, ended on drop.
struct Screen(PathBuf);

impl Screen {
    /// Runs the program in the terminal, then shows its exit code.
    fn of(desk: &Desk, args: &[PathBuf]) -> Self {
        let screen = Self(desk.path("screen"));
        let mut command = screen.tmux(&["new-session", "-d", "-x", "120", "-y", "40", "bash", "-c"]);
        let script = r#""$@"; echo "code $?"; read -r"#;
        command.arg(script).arg("bash").arg(env!("CARGO_BIN_EXE_pouch")).args(args);
        assert!(command.status().unwrap().success());
        screen
    }

    fn tmux(&self, words: &[&str]) -> Command {
        let mut command = Command::new("tmux");
        command.env("TERM", "xterm").arg("-f").arg("/dev/null").arg("-S").arg(&self.0).args(words);
        command
    }

    fn text(&self) -> String {
        String::from_utf8(self.tmux(&["capture-pane", "-p"]).output().unwrap().stdout).unwrap()
    }

    fn shows(&self, words: &str) {
        until(|| self.text().contains(words));
    }

    fn interrupt(&self) {
        assert!(self.tmux(&["send-keys", "C-c"]).status().unwrap().success());
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        let _ = self.tmux(&["kill-server"]).output();
    }
}

#[test]
fn what_is_done_leaves_the_screen() {
    if !need(&["tmux", "bash"]) {
        return;
    }
    let desk = Desk::new();
    put(desk.source().join("clip"), noise(6_000_000, 1));
    let args = ["pack", "--no-verify", "-r", &desk.recipient, "-o"].map(PathBuf::from);
    let args: Vec<PathBuf> = args.into_iter().chain([desk.drive(1), desk.source()]).collect();
    let screen = Screen::of(&desk, &args);
    screen.shows("code 0");
    let text = screen.text();
    let stale = ["looking ", "packing ", "reading back ", "of parts on it"];
    assert!(text.contains("written: ") && !stale.iter().any(|words| text.contains(words)), "{text}");
}

#[test]
fn while_a_drive_hangs_ctrl_c_is_answered_and_the_second_one_stops_at_once() {
    if !need(&["tmux", "bash"]) {
        return;
    }
    let stage = Stage::of(1, 20_000_000);
    let Some(drive) = Drive::plug(stage.desk.path("slow"), 64 << 20, Cache::WriteThrough) else { return };
    drive.set(&[crate::common::drive::Fault::Slow { write: 1 << 20, read: 1 << 20 }]);
    let screen = Screen::of(&stage.desk, &stage.args(&drive.path()));
    // The capacity test is over, and the progress bars are shown.
    screen.shows("loading ");
    until(|| fs::read_dir(drive.path().join("volume-1")).is_ok_and(|mut files| files.next().is_some()));
    let hanging = drive.hang();
    // Gives the program time to hang. Too little time can only hide a defect, not report a false one.
    std::thread::sleep(std::time::Duration::from_millis(1500));
    screen.interrupt();
    screen.shows("stopping at the next safe place");
    // The bars are redrawn below the message a few times, and the message has to survive that.
    std::thread::sleep(std::time::Duration::from_millis(1000));
    // No remains of earlier drawings may be left either. While the bars are being drawn, the screen may be incomplete.
    until(|| {
        let text = screen.text();
        let (stopping, loading) = (text.find("stopping at the next safe place"), text.find("loading "));
        stopping.zip(loading).is_some_and(|(stopping, loading)| stopping < loading)
            && text.matches("loading ").count() == 1
    });
    let text = screen.text();
    assert!(!text.contains(" 0s left") && !text.contains(" 0 B/s"), "{text}");
    let pid = only_child(&screen);
    screen.interrupt();
    // The process is gone, or a zombie while the system still waits for the drive.
    until(|| fs::read_to_string(format!("/proc/{pid}/stat")).ok().is_none_or(|stat| stat.contains(") Z ")));
    drop(hanging);
    screen.shows("code 130");
}

/// Process ID of the program that the screen's shell runs.
fn only_child(screen: &Screen) -> String {
    let shell = screen.tmux(&["display-message", "-p", "#{pane_pid}"]).output().unwrap().stdout;
    let shell = String::from_utf8(shell).unwrap().trim().to_string();
    let children = fs::read_to_string(format!("/proc/{shell}/task/{shell}/children")).unwrap();
    children.trim().to_string()
}
