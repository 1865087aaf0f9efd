//! The terminal: all printing, progress and prompts. This is the only file that uses `rpassword`, `ctrlc` and
//! `signal-hook`. Callers escape names from a drive. Control characters are escaped once more in every line, wherever
//! it comes from.
//!
//! Nothing here panics or stops the work because a reader is gone. A closed pipe is remembered, and the exit code
//! reports it.

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
use crate::format::volume_number::VolumeNumber;

/// How many notes of one kind are printed. The rest is counted. A fault is printed for each file, up to a thousand; a
/// fact that is only worth knowing is printed a few times.
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

/// Makes an abort end the process as a panic does, without a core dump. The standard library aborts, after a line of
/// its own, if it has no memory for something small. Other libraries abort in trouble, too.
pub(crate) fn end_on_abort() {
    let always = Arc::new(AtomicBool::new(true));
    let _ = signal_hook::flag::register_conditional_shutdown(signal_hook::consts::SIGABRT, Exit::Failed as i32, always);
}

/// The terminal, or what stands for it. It is the monitor of every command.
pub(crate) struct Term {
    bars: Arc<Bars>,
    cancelled: Arc<AtomicBool>,
    output_failed: AtomicBool,
    /// How many notes of each kind came up.
    noted: Mutex<BTreeMap<NoteKind, usize>>,
    /// Notes about drives and volumes. Not all of them are in a report, so [`Self::complete`] adds them.
    heard: Mutex<Vec<Note>>,
    /// Whether a JSON document was printed.
    answered: AtomicBool,
}

impl Term {
    /// Progress goes to standard error if that is a terminal.
    pub(crate) fn new() -> Self {
        Self {
            bars: Arc::new(Bars::new()),
            cancelled: Arc::default(),
            output_failed: AtomicBool::new(false),
            noted: Mutex::default(),
            heard: Mutex::default(),
            answered: AtomicBool::new(false),
        }
    }

    /// Handles Ctrl-C, hang-up and termination. The first signal stops the work at its next safe place, the second ends
    /// the process at once. If a thread hangs in a drive, the system waits for it even then.
    pub(crate) fn stop_on_signals(&self) {
        // A limit on file sizes has to fail the write, not kill the process.
        let _ = signal_hook::flag::register(signal_hook::consts::SIGXFSZ, Arc::default());
        let cancelled = self.cancelled.clone();
        let bars = self.bars.clone();
        let _ = ctrlc::set_handler(move || {
            if cancelled.swap(true, Ordering::SeqCst) {
                std::process::exit(130);
            }
            let bars = bars.clone();
            // Printing may wait for a terminal that stands still. On its own thread it does not delay the second
            // signal.
            let _ = std::thread::Builder::new().spawn(move || say_stopping(&bars));
        });
    }

    /// Prints text on standard output as it is. The caller has escaped it.
    pub(crate) fn out(&self, text: &str) {
        let mut out = std::io::stdout().lock();
        if out.write_all(text.as_bytes()).and_then(|()| out.flush()).is_err() {
            self.output_failed.store(true, Ordering::Relaxed);
        }
    }

    /// Prints a line on standard output.
    pub(crate) fn line(&self, text: &str) {
        self.bars.suspend(|| self.out(&format!("{}\n", defuse(text))));
    }

    /// Prints a JSON document on standard output. JSON's own rules escape its strings.
    pub(crate) fn json(&self, value: &Value) {
        self.answered.store(true, Ordering::Relaxed);
        owes_json(false);
        self.bars.suspend(|| self.out(&format!("{}\n", document(value))));
    }

    /// Prints a JSON document with long lists, item by item.
    pub(crate) fn json_document(&self, document: &Document) {
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

    /// Prints a line on standard error.
    pub(crate) fn say(&self, text: &str) {
        self.bars.suspend(|| drop(writeln!(std::io::stderr(), "{}", defuse(text))));
    }

    /// Prints what went wrong.
    pub(crate) fn error(&self, text: &str) {
        self.say(&format!("pouch: {text}"));
    }

    /// Prints what to do about an error.
    pub(crate) fn hint(&self, text: &str) {
        self.say(&format!("  hint: {text}"));
    }

    /// Whether standard output failed, for instance because its reader is gone.
    pub(crate) fn output_failed(&self) -> bool {
        self.output_failed.load(Ordering::Relaxed)
    }

    /// Whether a JSON document was printed. Then an error prints no second one.
    pub(crate) fn answered(&self) -> bool {
        self.answered.load(Ordering::Relaxed)
    }

    /// Adds the notes about drives and volumes that came up during the run, unless they are among `notes` already.
    pub(crate) fn complete(&self, notes: &mut Vec<Note>) {
        for note in std::mem::take(&mut *lock(&self.heard)) {
            if !notes.contains(&note) {
                notes.push(note);
            }
        }
    }

    /// Prints a note, unless enough of its kind were printed. Keeps a note about a drive or volume for the report.
    pub(crate) fn print_note(&self, note: &Note) {
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

    /// Removes the bars, and prints how many notes were only counted.
    pub(crate) fn end(&self) {
        self.bars.clear();
        for (kind, seen) in std::mem::take(&mut *lock(&self.noted)) {
            if seen > shown(kind) {
                let more = count((seen - shown(kind)) as u64, "more note");
                self.say(&format!("note: {more} like the last one (\"{}\"; --json has all)", kind.word()));
            }
        }
    }

    /// Asks for a secret. The terminal does not show what is typed.
    pub(crate) fn ask_secret(&self, prompt: &str) -> Result<SecretText, FlowError> {
        // The bars are cleared, not suspended: the message after Ctrl-C would otherwise wait for the answer.
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

    /// Asks for a line at the terminal. `None` at the end of the input.
    pub(crate) fn ask_line(&self, prompt: &str) -> Result<Option<String>, FlowError> {
        self.bars.clear();
        let _ = write!(std::io::stderr(), "{}", defuse(prompt));
        let (tx, rx) = std::sync::mpsc::channel();
        // A thread that waits for a line does not notice Ctrl-C, so another one reads and this one watches.
        if std::thread::Builder::new().spawn(move || tx.send(read_line())).is_err() {
            return Ok(read_line().and_then(Result::ok));
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

    /// Shows a secret on the terminal itself, so that no redirected output contains it.
    pub(crate) fn show_secret(&self, text: &str) -> Result<(), FlowError> {
        self.bars.suspend(|| write_to_terminal(text)).map_err(|error| {
            FlowError::Key(KeyringError::Refused(format!(
                "there is no terminal to show the passphrase on ({error}); nothing was done"
            )))
        })
    }
}

fn say_stopping(bars: &Bars) {
    let text = "stopping at the next safe place; once more to stop at once";
    bars.suspend(|| drop(writeln!(std::io::stderr(), "\n{text}")));
}

/// Waits for a line on standard input. `None` at its end.
fn read_line() -> Option<std::io::Result<String>> {
    std::io::stdin().lines().next()
}

/// Writes to the terminal of this process, wherever its output goes.
fn write_to_terminal(text: &str) -> std::io::Result<()> {
    File::options().write(true).open("/dev/tty")?.write_all(text.as_bytes())
}

/// The line for a note. A note about no file has no path.
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
        self.bars.expect(VolumeNumber::new(volume), bytes);
    }

    fn on_drive(&self, volume: u16, bytes: u64) {
        self.bars.written(VolumeNumber::new(volume), bytes);
    }

    fn verified(&self, volume: u16, bytes: u64) {
        self.bars.verified(VolumeNumber::new(volume), bytes);
    }

    fn verdict(&self, volume: u16, words: &str) {
        self.bars.verdict(VolumeNumber::new(volume), words);
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
    fn faults_are_printed_for_each_file_and_facts_a_few_times() {
        assert_eq!(shown(NoteKind::Unreadable), 1000);
        assert_eq!(shown(NoteKind::Drive), 1000);
        assert_eq!(shown(NoteKind::Volume), 20);
        assert_eq!(shown(NoteKind::Skipped), 5);
    }

    #[test]
    fn notes_about_drives_are_added_to_the_report_once() {
        let term = Term::new();
        let drive = Note::new(NoteKind::Drive, b"/d", "may not be the drive that was meant");
        let volume = Note::new(NoteKind::Volume, b"/d/volume-1", "could not be used");
        let source = Note::new(NoteKind::Skipped, b"fifo", "is a FIFO");
        [&drive, &volume, &source].into_iter().for_each(|note| term.print_note(note));
        let mut notes = vec![volume.clone()];
        term.complete(&mut notes);
        assert_eq!(notes, [volume, drive]);
        let mut later = Vec::new();
        term.complete(&mut later);
        assert!(later.is_empty(), "they were handed over");
    }

    #[test]
    fn a_note_about_no_file_names_none() {
        assert_eq!(in_words(&Note::new(NoteKind::Volume, b"", "the tar ends")), "note: the tar ends");
        assert_eq!(in_words(&Note::new(NoteKind::Volume, b"a\n", "is odd")), "note: a\\x0a: is odd");
    }
}
