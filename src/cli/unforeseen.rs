//! How the process ends on an event that no code handles: a panic in any thread, or a system without memory, threads or
//! random numbers. It prints one sentence and exits with code 1. The drives are as if the process had been killed:
//! nothing looks complete, and the same command goes on. Not covered: small pieces of memory. The standard library
//! reports that they are missing, and aborts; `term.rs` turns that into exit code 1, too.

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

/// What to do if the system has no more memory or threads.
pub(crate) const EXHAUSTED: &str = "nothing new looks complete. End other programs, or raise the limit that this one runs under \
(`ulimit -a` shows it), and run the same command again; pack, unpack and load go on from where they were";

/// Pieces of the source paths where a panic means that the system has no random numbers: here, in the standard library,
/// in what age uses.
const NO_RANDOMNESS: [&str; 4] = ["src/base/secret.rs", "/sys/random/", "/rand_core-", "/getrandom-"];
/// How panics of the standard library begin that mean a lack of something, and what is lacking: foreign code cannot
/// start a thread, or a thread that has begun gets no memory for the stack that its signals are handled on.
const LACKS: [(&str, &str); 3] = [
    ("failed to spawn thread", "the system lets this run have no more threads"),
    ("failed to allocate an alternative stack", "the system lets this run have no more memory for its threads"),
    ("failed to set up alternative stack", "the system lets this run have no more memory for its threads"),
];
/// Characters of a panic's message that are shown.
const SHOWN: usize = 400;

/// Whether a thread is ending the process already.
static ENDING: AtomicBool = AtomicBool::new(false);
/// Whether the command still has to print a JSON document.
static OWES_JSON: AtomicBool = AtomicBool::new(false);

/// Records whether the command still has to print a JSON document. If it has, a panic prints one in its place.
pub(crate) fn owes_json(owes: bool) {
    OWES_JSON.store(owes, Ordering::Relaxed);
}

/// Starts the program once more without a wish for backtraces. On lack of memory the standard library prints a
/// backtrace, if the environment asks for one, before it ends the process. That takes memory too, and may wait for
/// itself for ever. Only the environment can withdraw the wish. If the second start fails, this one goes on as it is.
pub(crate) fn without_backtrace() {
    const ASKED: [&str; 2] = ["RUST_BACKTRACE", "RUST_LIB_BACKTRACE"];
    if ASKED.iter().all(|name| std::env::var_os(name).is_none()) {
        return;
    }
    let mut args = std::env::args_os();
    let Some(name) = args.next() else { return };
    let Ok(this) = std::env::current_exe() else { return };
    let mut again = Command::new(this);
    for name in ASKED {
        again.env_remove(name);
    }
    let _ = again.arg0(name).args(args).exec();
}

/// Makes the first panic of any thread end the process with a sentence, as if it had been killed. No thread waits for
/// one that is gone, nothing on the drives looks complete, and the same command goes on from there.
pub(crate) fn end_on_panic() {
    std::panic::set_hook(Box::new(|info| {
        if ENDING.swap(true, Ordering::SeqCst) {
            // The first panic has printed its sentence and ends all threads.
            loop {
                std::thread::park();
            }
        }
        let (text, hint) = in_words(info);
        let text = defuse(&text);
        let hint = defuse(&hint);
        let _ = writeln!(std::io::stderr(), "pouch: {text}\n  hint: {hint}");
        if OWES_JSON.load(Ordering::Relaxed) {
            let error = json!({"error": {"message": text, "hint": hint, "code": Exit::Failed as u8}});
            // Not through the lock of standard output: a thread that waits for a slow reader may hold it.
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
    if let Some(text) = lack_in(message) {
        return (text.into(), EXHAUSTED.into());
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

/// What the system lacks, if a panic of the standard library says so.
fn lack_in(message: &str) -> Option<&'static str> {
    LACKS.iter().find(|(start, _)| message.starts_with(start)).map(|(_, text)| *text)
}

/// The message of a panic. `None` if it is not text.
fn text_of<'a>(info: &'a PanicHookInfo) -> Option<&'a str> {
    let payload = info.payload();
    payload.downcast_ref::<&str>().copied().or_else(|| payload.downcast_ref::<String>().map(String::as_str))
}

/// The last four names of the path of a source file. The rest is about the machine that built the program.
fn last_of(file: &str) -> String {
    let names: Vec<&str> = file.split('/').collect();
    names[names.len().saturating_sub(4)..].join("/")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_source_file_the_last_four_names_are_shown() {
        assert_eq!(last_of("/home/me/.cargo/registry/src/index/age-0.12.1/src/lib.rs"), "index/age-0.12.1/src/lib.rs");
        assert_eq!(last_of("src/cli/term.rs"), "src/cli/term.rs");
        assert_eq!(last_of("lib.rs"), "lib.rs");
    }

    #[test]
    fn a_lack_that_the_standard_library_panics_about_is_no_defect() {
        let threads = lack_in("failed to spawn thread: Os { code: 11 }");
        assert_eq!(threads, Some("the system lets this run have no more threads"));
        let stack = "failed to allocate an alternative stack: Cannot allocate memory (os error 12)";
        assert_eq!(lack_in(stack), Some("the system lets this run have no more memory for its threads"));
        assert_eq!(lack_in("index out of bounds: the len is 3 but the index is 7"), None);
    }
}
