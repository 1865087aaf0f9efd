//! Progress at the terminal: what is being done as a whole, and below it a line for each drive that is
//! written to, with what is on it, what of that was read back, and how it fares. The one address of
//! `indicatif`. Bytes count once they are synced, so that no bar runs at the speed of memory; nothing is
//! drawn where standard error is no terminal.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::io::IsTerminal;
use std::sync::Mutex;
use std::time::Duration;

use indicatif::{
    DecimalBytes, HumanDuration, MultiProgress, ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle,
};

use crate::base::monitor::Phase;
use crate::base::pool::lock;
use crate::base::size::human;

/// Drives that get a line of their own: with more nobody would see the first.
const LINES: usize = 12;

/// All that is drawn.
pub struct Bars {
    all: MultiProgress,
    /// A new one for each phase.
    main: Mutex<ProgressBar>,
    drives: Mutex<BTreeMap<u16, Line>>,
}

/// One drive.
struct Line {
    bar: ProgressBar,
    verified: u64,
}

impl Bars {
    /// Nothing is drawn yet.
    pub fn new() -> Self {
        let all = MultiProgress::with_draw_target(ProgressDrawTarget::stderr_with_hz(5));
        Self { all, main: Mutex::new(ProgressBar::hidden()), drives: Mutex::default() }
    }

    /// Prints in between.
    pub fn suspend<R>(&self, print: impl FnOnce() -> R) -> R {
        self.all.suspend(print)
    }

    /// Takes everything off the screen.
    pub fn clear(&self) {
        self.remove(&lock(&self.main));
        for line in std::mem::take(&mut *lock(&self.drives)).into_values() {
            self.remove(&line.bar);
        }
    }

    fn remove(&self, bar: &ProgressBar) {
        bar.finish_and_clear();
        self.all.remove(bar);
    }

    /// Another phase of so many units begins. How many there are to look at is not known before; of any other
    /// phase 0 means that there is nothing to do.
    pub fn phase(&self, phase: Phase, total: u64) {
        if !std::io::stderr().is_terminal() {
            return;
        }
        // The empty line above: ^C, which a terminal shows below the bars, moves all by one line, and what is
        // cleared then leaves the first.
        let template = if phase == Phase::Walking {
            " \n{prefix} {spinner} {pos} files and folders"
        } else {
            " \n{prefix} {percent:>3} % {bar:20}  {decimal_bytes} of {decimal_total_bytes}{rate}{left}  {wide_msg}"
        };
        let mut main = lock(&self.main);
        self.remove(&main);
        if total == 0 && phase != Phase::Walking {
            *main = ProgressBar::hidden();
            return;
        }
        // What is set before it is one of them is drawn beside them, and never cleared.
        *main = styled(self.all.insert(0, ProgressBar::new(total)), template);
        main.set_prefix(word(phase));
        main.enable_steady_tick(Duration::from_millis(250));
    }

    /// So many units more.
    pub fn advance(&self, units: u64) {
        lock(&self.main).inc(units);
    }

    /// What is worth knowing beside the bar.
    pub fn message(&self, text: String) {
        lock(&self.main).set_message(text);
    }

    /// So many bytes are to come to a volume.
    pub fn expect(&self, volume: u16, bytes: u64) {
        let mut drives = lock(&self.drives);
        if !std::io::stderr().is_terminal() || drives.len() >= LINES || drives.contains_key(&volume) {
            return;
        }
        let bar = self.all.add(ProgressBar::new(bytes));
        let bar = styled(bar, "  {prefix} {bar:16}  {decimal_bytes} of {decimal_total_bytes} on it{rate}{msg}");
        bar.set_prefix(format!("volume-{volume}"));
        drives.insert(volume, Line { bar, verified: 0 });
    }

    /// So many bytes more are on a volume, synced.
    pub fn written(&self, volume: u16, bytes: u64) {
        if let Some(line) = lock(&self.drives).get(&volume) {
            line.bar.inc(bytes);
            // What compressed worse than was thought.
            if line.bar.position() > line.bar.length().unwrap_or(u64::MAX) {
                line.bar.set_length(line.bar.position());
            }
        }
    }

    /// So many bytes more were read back and are as they were written.
    pub fn verified(&self, volume: u16, bytes: u64) {
        if let Some(line) = lock(&self.drives).get_mut(&volume) {
            line.verified += bytes;
            line.bar.set_message(format!(", {} verified", human(line.verified)));
        }
    }

    /// What became of a volume.
    pub fn verdict(&self, volume: u16, words: &str) {
        if let Some(line) = lock(&self.drives).get(&volume) {
            line.bar.abandon_with_message(format!(", {words}"));
        }
    }
}

fn styled(bar: ProgressBar, template: &str) -> ProgressBar {
    let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
    let rate = |state: &ProgressState, out: &mut dyn Write| out.write_str(&rate(state.per_sec())).unwrap_or_default();
    let left = |state: &ProgressState, out: &mut dyn Write| out.write_str(&left(state.eta())).unwrap_or_default();
    bar.with_style(style.progress_chars("=> ").with_key("rate", rate).with_key("left", left))
}

/// How fast it goes, once anything has gone.
fn rate(bytes_per_second: f64) -> String {
    if bytes_per_second < 1.0 { String::new() } else { format!(", {}/s", DecimalBytes(bytes_per_second as u64)) }
}

/// How long it still takes, once that is known.
fn left(time: Duration) -> String {
    if time.as_secs() == 0 { String::new() } else { format!(", {:#} left", HumanDuration(time)) }
}

fn word(phase: Phase) -> &'static str {
    match phase {
        Phase::Walking => "looking",
        Phase::Packing => "packing",
        Phase::Checking => "checking",
        Phase::Unpacking => "unpacking",
        Phase::Repairing => "repairing",
        Phase::Verifying => "reading back",
        Phase::Moving => "packing again",
        Phase::Loading => "loading",
        Phase::Resuming => "looking at what is there",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_known_yet_is_not_said() {
        assert_eq!((rate(0.0), left(Duration::ZERO)), (String::new(), String::new()));
        assert_eq!(rate(12_300_000.0), ", 12.30 MB/s");
        assert_eq!(left(Duration::from_secs(180)), ", 3m left");
    }
}
