//! The terminal: all printing, progress and prompts. The one address of `rpassword`, `ctrlc`
//! and `signal-hook`. Names from a drive are escaped before they get here, and
//! no control passes whatever it came from.
//!
//! Nothing here panics or stops the work because nobody listens: a closed pipe is remembered and
//! told by the exit code.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::base::json::{Document, Value, document};
use crate::base::monitor::{Monitor, Note, NoteKind, Phase};
use crate::base::path::{defuse, escape};
use crate::base::pool::lock;
use crate::base::secret::SecretText;
use crate::base::size::{count, human};
use crate::cli::bars::Bars;
use crate::cli::exit::Exit;
use crate::cli::unforeseen::owes_json;
use crate::flow::FlowError;
use crate::flow::error::KeyringError;

/// Notes of one kind that are printed; the rest is counted. What is wrong with a file is said of
/// every file, what is only worth knowing a few times.
fn shown(kind: NoteKind) -> usize {
    match kind {
        NoteKind::Unreadable | NoteKind::Changed | NoteKind::Outdated | NoteKind::Drive => 1000,
        NoteKind::NotKnown | NoteKind::OwnWork | NoteKind::Open => 20,
        NoteKind::Volume | NoteKind::Followed | NoteKind::Property | NoteKind::Left => 20,
        NoteKind::Repeated | NoteKind::NotLinked | NoteKind::ExtrasDropped => 20,
        NoteKind::Skipped | NoteKind::BitsDropped => 5,
        NoteKind::BagName => 2,
    }
}

/// Where the standard library has no memory for something small it says so and aborts, and so do other
/// libraries in a plight: the process then ends as it does after a panic, without a core dump.
pub fn end_on_abort() {
    let always = Arc::new(AtomicBool::new(true));
    let _ = signal_hook::flag::register_conditional_shutdown(signal_hook::consts::SIGABRT, Exit::Failed as i32, always);
}

/// The terminal, or what stands for it.
pub struct Term {
    bars: Arc<Bars>,
    cancelled: Arc<AtomicBool>,
    output_failed: AtomicBool,
    noted: Mutex<BTreeMap<NoteKind, usize>>,
    /// Notes about drives and volumes: not all of them come with a report.
    heard: Mutex<Vec<Note>>,
    answered: AtomicBool,
}

impl Term {
    /// Progress goes to standard error if that is a terminal.
    pub fn new() -> Self {
        Self {
            bars: Arc::new(Bars::new()),
            cancelled: Arc::default(),
            output_failed: AtomicBool::new(false),
            noted: Mutex::default(),
            heard: Mutex::default(),
            answered: AtomicBool::new(false),
        }
    }

    /// The first Ctrl-C, hang-up or termination stops the work at the next safe place; the
    /// second stops at once, but for a thread that hangs in a drive: the system waits for it.
    pub fn stop_on_signals(&self) {
        // A limit on the size of files is to be an error of the write, not the end of the process.
        let _ = signal_hook::flag::register(signal_hook::consts::SIGXFSZ, Arc::default());
        let (cancelled, bars) = (self.cancelled.clone(), self.bars.clone());
        let _ = ctrlc::set_handler(move || {
            if cancelled.swap(true, Ordering::SeqCst) {
                std::process::exit(130);
            }
            let bars = bars.clone();
            let say = move || {
                let text = "stopping at the next safe place; once more to stop at once";
                bars.suspend(|| drop(writeln!(std::io::stderr(), "\n{text}")));
            };
            // Whoever prints may wait for a terminal that stands still; the second signal is heard all the same.
            let _ = std::thread::Builder::new().spawn(say);
        });
    }

    /// Text for standard output, as it is.
    pub fn out(&self, text: &str) {
        let mut out = std::io::stdout().lock();
        if out.write_all(text.as_bytes()).and_then(|()| out.flush()).is_err() {
            self.output_failed.store(true, Ordering::Relaxed);
        }
    }

    /// A line for standard output.
    pub fn line(&self, text: &str) {
        self.bars.suspend(|| self.out(&format!("{}\n", defuse(text))));
    }

    /// A JSON document for standard output; its strings are escaped by JSON's own rules.
    pub fn json(&self, value: &Value) {
        self.answered.store(true, Ordering::Relaxed);
        owes_json(false);
        self.bars.suspend(|| self.out(&format!("{}\n", document(value))));
    }

    /// The same for a document with long lists.
    pub fn json_document(&self, document: &Document) {
        self.answered.store(true, Ordering::Relaxed);
        owes_json(false);
        self.bars.suspend(|| {
            let mut out = std::io::BufWriter::new(std::io::stdout().lock());
            let written = document.write(&mut out).and_then(|()| writeln!(out)).and_then(|()| out.flush());
            if written.is_err() {
                self.output_failed.store(true, Ordering::Relaxed);
            }
        });
    }

    /// A line for standard error.
    pub fn say(&self, text: &str) {
        self.bars.suspend(|| drop(writeln!(std::io::stderr(), "{}", defuse(text))));
    }

    /// What went wrong.
    pub fn error(&self, text: &str) {
        self.say(&format!("pouch: {text}"));
    }

    /// What to do about it.
    pub fn hint(&self, text: &str) {
        self.say(&format!("  hint: {text}"));
    }

    /// Whether something could not be printed.
    pub fn output_failed(&self) -> bool {
        self.output_failed.load(Ordering::Relaxed)
    }

    /// Whether there was a JSON document.
    pub fn answered(&self) -> bool {
        self.answered.load(Ordering::Relaxed)
    }

    /// Adds what was noted of drives and volumes on the way, and is not among these.
    pub fn complete(&self, notes: &mut Vec<Note>) {
        for note in std::mem::take(&mut *lock(&self.heard)) {
            if !notes.contains(&note) {
                notes.push(note);
            }
        }
    }

    /// Prints a note, unless there were many of its kind.
    pub fn print_note(&self, note: &Note) {
        if matches!(note.kind, NoteKind::Drive | NoteKind::Volume) {
            lock(&self.heard).push(note.clone());
        }
        let mut noted = lock(&self.noted);
        let seen = noted.entry(note.kind).or_insert(0);
        *seen += 1;
        if *seen <= shown(note.kind) {
            self.say(&in_words(note));
        }
    }

    /// Ends progress, and says what was counted only.
    pub fn end(&self) {
        self.bars.clear();
        for (kind, seen) in std::mem::take(&mut *lock(&self.noted)) {
            if seen > shown(kind) {
                let more = count((seen - shown(kind)) as u64, "more note");
                self.say(&format!("note: {more} like the last one (\"{}\"; --json has all)", kind.word()));
            }
        }
    }

    /// Asks for a secret; it is not shown.
    pub fn ask_secret(&self, prompt: &str) -> Result<SecretText, FlowError> {
        // Nothing is drawn meanwhile, and what Ctrl-C says need not wait for an answer.
        self.bars.clear();
        rpassword::prompt_password(prompt).map(SecretText::new).map_err(|error| {
            if self.cancelled() || error.kind() == std::io::ErrorKind::Interrupted {
                return FlowError::Cancelled;
            }
            let text =
                format!("a passphrase is needed and there is no terminal to ask at ({error}); use --passphrase-fd");
            FlowError::Key(KeyringError::Refused(text))
        })
    }

    /// Asks for a line at the terminal; `None` at its end.
    pub fn ask_line(&self, prompt: &str) -> Result<Option<String>, FlowError> {
        self.bars.clear();
        let _ = write!(std::io::stderr(), "{}", defuse(prompt));
        let (tx, rx) = std::sync::mpsc::channel();
        let read = || std::io::stdin().lines().next();
        // Waiting for a line does not hear Ctrl-C; whoever waits for this thread does.
        if std::thread::Builder::new().spawn(move || tx.send(read())).is_err() {
            return Ok(read().and_then(Result::ok));
        }
        loop {
            if self.cancelled() {
                return Err(FlowError::Cancelled);
            }
            match rx.recv_timeout(Duration::from_millis(100)) {
                Ok(line) => return Ok(line.and_then(Result::ok)),
                Err(std::sync::mpsc::RecvTimeoutError::Timeout) => {}
                Err(std::sync::mpsc::RecvTimeoutError::Disconnected) => return Ok(None),
            }
        }
    }

    /// Shows a secret on the terminal itself, never in what was redirected.
    pub fn show_secret(&self, text: &str) -> Result<(), FlowError> {
        let show = || File::options().write(true).open("/dev/tty")?.write_all(text.as_bytes());
        self.bars.suspend(show).map_err(|error| {
            FlowError::Key(KeyringError::Refused(format!(
                "there is no terminal to show the passphrase on ({error}); nothing was done"
            )))
        })
    }
}

fn in_words(note: &Note) -> String {
    let about = if note.path.is_empty() { String::new() } else { format!("{}: ", escape(&note.path)) };
    format!("note: {about}{}", note.text)
}

impl Monitor for Term {
    fn phase(&self, phase: Phase, total: u64) {
        self.bars.phase(phase, total);
    }

    fn advance(&self, units: u64) {
        self.bars.advance(units);
    }

    fn expect(&self, volume: u16, bytes: u64) {
        self.bars.expect(volume, bytes);
    }

    fn on_drive(&self, volume: u16, bytes: u64) {
        self.bars.written(volume, bytes);
    }

    fn verified(&self, volume: u16, bytes: u64) {
        self.bars.verified(volume, bytes);
    }

    fn verdict(&self, volume: u16, words: &str) {
        self.bars.verdict(volume, words);
    }

    fn loaded(&self, written: u64, verified: u64) {
        self.bars.message(format!("{} written, {} verified", human(written), human(verified)));
    }

    fn note(&self, note: &Note) {
        self.print_note(note);
    }

    fn cancelled(&self) -> bool {
        self.cancelled.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_note_about_no_file_names_none() {
        assert_eq!(in_words(&Note::new(NoteKind::Volume, b"", "the tar ends")), "note: the tar ends");
        assert_eq!(in_words(&Note::new(NoteKind::Volume, b"a\n", "is odd")), "note: a\\x0a: is odd");
    }
}
