//! How the process ends where something happens that nobody planned for: a panic of any thread, a system without
//! memory, threads or random numbers. One sentence, exit code 1, and what is on drives is as if the process had been
//! killed: nothing looks complete, and the same command goes on. Small pieces of memory have no sentence of ours:
//! the standard library says that they are missing, and aborts (`term.rs` makes that exit code 1, too).

use std::fs::File;
use std::io::Write;
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::panic::PanicHookInfo;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::base::json::{document, json};
use crate::base::memory::NoMemory;
use crate::base::path::defuse;
use crate::cli::exit::Exit;
use crate::flow::error::no_memory;

/// What to do where the system has no more memory or threads.
pub const EXHAUSTED: &str = "nothing new looks complete. End other programs, or raise the limit that this one runs under \
(`ulimit -a` shows it), and run the same command again; pack, unpack and load go on from where they were";

/// Where there is a panic if the system has no random numbers: here, in the standard library, in age.
const NO_RANDOMNESS: [&str; 4] = ["src/base/secret.rs", "/sys/random/", "/rand_core-", "/getrandom-"];
/// How the standard library begins where foreign code starts a thread and cannot.
const NO_THREAD: &str = "failed to spawn thread";
/// Characters of a panic's message that are shown.
const SHOWN: usize = 400;

/// Whether a thread ends the process already.
static ENDING: AtomicBool = AtomicBool::new(false);
/// Whether the command is to answer with a JSON document, and has not.
static OWES_JSON: AtomicBool = AtomicBool::new(false);

/// The command answers with a JSON document, or has done so.
pub fn owes_json(owes: bool) {
    OWES_JSON.store(owes, Ordering::Relaxed);
}

/// Where memory ends the standard library prints a backtrace, if the environment asks for one, before it ends the
/// process: that takes memory, too, and may wait for itself for ever. Only the environment can take the wish back,
/// so the program begins once more without it; where that cannot be all is as the environment wants it.
pub fn without_backtrace() {
    const ASKED: [&str; 2] = ["RUST_BACKTRACE", "RUST_LIB_BACKTRACE"];
    let (mut args, this) = (std::env::args_os(), std::env::current_exe());
    if let (true, Some(name), Ok(this)) = (ASKED.iter().any(|name| std::env::var_os(name).is_some()), args.next(), this)
    {
        let mut again = Command::new(this);
        for name in ASKED {
            again.env_remove(name);
        }
        let _ = again.arg0(name).args(args).exec();
    }
}

/// The first panic of any thread ends the process, with a sentence and as if it were killed: no thread waits for
/// one that is gone, nothing that looks complete is left, and the same command goes on from there.
pub fn end_on_panic() {
    std::panic::set_hook(Box::new(|info| {
        if ENDING.swap(true, Ordering::SeqCst) {
            // The first one has said what there is to say, and ends all threads.
            loop {
                std::thread::park();
            }
        }
        let (text, hint) = in_words(info);
        let (text, hint) = (defuse(&text), defuse(&hint));
        let _ = writeln!(std::io::stderr(), "pouch: {text}\n  hint: {hint}");
        if OWES_JSON.load(Ordering::Relaxed) {
            let error = json!({"error": {"message": text, "hint": hint, "code": Exit::Failed as u8}});
            // Past the lock of standard output, which a thread that waits for its reader may hold.
            let out = std::io::stdout().as_fd().try_clone_to_owned().map(File::from);
            let _ = out.and_then(|mut out| writeln!(out, "{}", document(&error)));
        }
        std::process::exit(Exit::Failed as i32);
    }));
}

/// What happened, and what to do about it.
fn in_words(info: &PanicHookInfo) -> (String, String) {
    let message = text_of(info).unwrap_or("without a word");
    let place = info.location().map(|place| (place.file(), place.line()));
    if let Some(NoMemory(bytes)) = info.payload().downcast_ref() {
        return (no_memory(*bytes), EXHAUSTED.into());
    }
    if message.starts_with(NO_THREAD) {
        return ("the system lets this run have no more threads".into(), EXHAUSTED.into());
    }
    if place.is_some_and(|(file, _)| NO_RANDOMNESS.iter().any(|known| file.contains(known))) {
        return (
            "the system has no random numbers, and without them there are no keys; nothing new looks complete".into(),
            "run the same command again once the system is up and has some".into(),
        );
    }
    let message: String = message.chars().take(SHOWN).collect();
    let place = place.map_or(String::new(), |(file, line)| format!(" ({}:{line})", last_of(file)));
    (
        format!("it ended in a way that was not foreseen: {message}{place}"),
        "this is a defect of pouch; please report it. Nothing new looks complete: run the same command again; pack, unpack and load go on from where they were".into(),
    )
}

/// What a panic says, if it is text.
fn text_of<'a>(info: &'a PanicHookInfo) -> Option<&'a str> {
    let payload = info.payload();
    payload.downcast_ref::<&str>().copied().or_else(|| payload.downcast_ref::<String>().map(String::as_str))
}

/// The end of the path of a source file: the rest is about the machine that built the program.
fn last_of(file: &str) -> String {
    let names: Vec<&str> = file.split('/').collect();
    names[names.len().saturating_sub(4)..].join("/")
}
