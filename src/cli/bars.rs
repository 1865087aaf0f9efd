//! Progress at the terminal: a bar for the whole run, and below it a line for each drive that is written to, with what
//! is on it, how much of that was read back, and how the drive fares. This is the only file that uses `indicatif`.
//! Bytes count once they are synced, so no bar runs at the speed of memory. Nothing is drawn if standard error is no
//! terminal.

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
use crate::format::volume_number::VolumeNumber;

/// How many drives get a line of their own. With more, the first lines would leave the screen.
const LINES: usize = 12;

/// Everything that is drawn.
pub(crate) struct Bars {
    all: MultiProgress,
    /// The bar of the current phase. Each phase gets a new one.
    main: Mutex<ProgressBar>,
    drives: Mutex<BTreeMap<VolumeNumber, DriveLine>>,
}

/// The line of one drive.
struct DriveLine {
    bar: ProgressBar,
    /// Bytes that were read back and are as written.
    verified: u64,
}

impl Bars {
    /// Draws nothing before the first phase or the first volume.
    pub(crate) fn new() -> Self {
        let all = MultiProgress::with_draw_target(ProgressDrawTarget::stderr_with_hz(5));
        Self { all, main: Mutex::new(ProgressBar::hidden()), drives: Mutex::default() }
    }

    /// Takes the bars off the screen while `print` runs.
    pub(crate) fn suspend<R>(&self, print: impl FnOnce() -> R) -> R {
        self.all.suspend(print)
    }

    /// Removes all bars, those of the drives included.
    pub(crate) fn clear(&self) {
        self.remove(&lock(&self.main));
        for line in std::mem::take(&mut *lock(&self.drives)).into_values() {
            self.remove(&line.bar);
        }
    }

    fn remove(&self, bar: &ProgressBar) {
        bar.finish_and_clear();
        self.all.remove(bar);
    }

    /// Starts the bar of a phase of `total` units. While walking, the total is not known. In any other phase a total of
    /// 0 means that there is nothing to do, and no bar is drawn.
    pub(crate) fn phase(&self, phase: Phase, total: u64) {
        if !std::io::stderr().is_terminal() {
            return;
        }
        // The template begins with an empty line. A terminal shows ^C below the bars, which moves all of them by one
        // line. Clearing then leaves the first line on the screen, which is the empty one.
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
        // The bar joins the others first. If it were styled before, it would be drawn beside them and never cleared.
        *main = styled(self.all.insert(0, ProgressBar::new(total)), template);
        main.set_prefix(word(phase));
        main.enable_steady_tick(Duration::from_millis(250));
    }

    pub(crate) fn advance(&self, units: u64) {
        lock(&self.main).inc(units);
    }

    /// Shows a text beside the bar of the phase.
    pub(crate) fn message(&self, text: String) {
        lock(&self.main).set_message(text);
    }

    /// Adds a line for a volume that will get about so many bytes, unless there are [`LINES`] already.
    pub(crate) fn expect(&self, volume: VolumeNumber, bytes: u64) {
        let mut drives = lock(&self.drives);
        if !std::io::stderr().is_terminal() || drives.len() >= LINES || drives.contains_key(&volume) {
            return;
        }
        let bar = self.all.add(ProgressBar::new(bytes));
        let bar = styled(bar, "  {prefix} {bar:16}  {decimal_bytes} of {decimal_total_bytes} on it{rate}{msg}");
        bar.set_prefix(format!("volume-{volume}"));
        drives.insert(volume, DriveLine { bar, verified: 0 });
    }

    /// Adds bytes that are synced on the volume.
    pub(crate) fn written(&self, volume: VolumeNumber, bytes: u64) {
        if let Some(line) = lock(&self.drives).get(&volume) {
            line.bar.inc(bytes);
            // The data compresses worse than the plan expected, so the total grows.
            if line.bar.position() > line.bar.length().unwrap_or(u64::MAX) {
                line.bar.set_length(line.bar.position());
            }
        }
    }

    /// Adds bytes of the volume that were read back and are as written.
    pub(crate) fn verified(&self, volume: VolumeNumber, bytes: u64) {
        if let Some(line) = lock(&self.drives).get_mut(&volume) {
            line.verified += bytes;
            line.bar.set_message(format!(", {} verified", human(line.verified)));
        }
    }

    /// Ends the line of a volume with what became of it. The line stays until all bars are cleared.
    pub(crate) fn verdict(&self, volume: VolumeNumber, words: &str) {
        if let Some(line) = lock(&self.drives).get(&volume) {
            line.bar.abandon_with_message(format!(", {words}"));
        }
    }
}

/// Gives a bar its template. An invalid template falls back to the default bar rather than stopping the run.
fn styled(bar: ProgressBar, template: &str) -> ProgressBar {
    let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
    bar.with_style(style.progress_chars("=> ").with_key("rate", write_rate).with_key("left", write_left))
}

fn write_rate(state: &ProgressState, out: &mut dyn Write) {
    out.write_str(&rate(state.per_sec())).unwrap_or_default();
}

fn write_left(state: &ProgressState, out: &mut dyn Write) {
    out.write_str(&left(state.eta())).unwrap_or_default();
}

/// The speed, with a comma before it. Empty before the first byte.
fn rate(bytes_per_second: f64) -> String {
    if bytes_per_second < 1.0 { String::new() } else { format!(", {}/s", DecimalBytes(bytes_per_second as u64)) }
}

/// The time left, with a comma before it. Empty while it is unknown.
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
        assert_eq!(rate(0.9), "", "less than a byte a second");
        assert_eq!(left(Duration::from_millis(999)), "", "less than a second");
    }

    #[test]
    fn speed_and_time_left_follow_a_comma() {
        assert_eq!(rate(12_300_000.0), ", 12.30 MB/s");
        assert_eq!(left(Duration::from_secs(180)), ", 3m left");
    }

    #[test]
    fn every_phase_has_a_word_of_its_own() {
        let phases = [
            Phase::Walking,
            Phase::Packing,
            Phase::Checking,
            Phase::Unpacking,
            Phase::Resuming,
            Phase::Verifying,
            Phase::Repairing,
            Phase::Moving,
            Phase::Loading,
        ];
        let words: std::collections::BTreeSet<&str> = phases.into_iter().map(word).collect();
        assert_eq!(words.len(), phases.len());
    }

    const THIRD: VolumeNumber = VolumeNumber::new(3);

    /// Bars with a line for volume 3, which gets about 1,000 bytes. [`Bars::expect`] adds none without a terminal.
    fn with_line() -> Bars {
        let bars = Bars::new();
        lock(&bars.drives).insert(THIRD, DriveLine { bar: ProgressBar::hidden(), verified: 0 });
        lock(&bars.drives)[&THIRD].bar.set_length(1_000);
        bars
    }

    #[test]
    fn a_volume_that_gets_more_than_was_expected_is_not_over_its_end() {
        let bars = with_line();
        let state = |bars: &Bars| {
            let drives = lock(&bars.drives);
            (drives[&THIRD].bar.position(), drives[&THIRD].bar.length())
        };
        bars.written(THIRD, 600);
        assert_eq!(state(&bars), (600, Some(1_000)));
        bars.written(THIRD, 600);
        assert_eq!(state(&bars), (1_200, Some(1_200)));
    }

    #[test]
    fn what_was_read_back_adds_up_beside_the_bar() {
        let bars = with_line();
        bars.verified(THIRD, 400);
        bars.verified(THIRD, 200);
        assert_eq!(lock(&bars.drives)[&THIRD].bar.message(), ", 600 B verified");
        bars.verdict(THIRD, "given up");
        assert_eq!(lock(&bars.drives)[&THIRD].bar.message(), ", given up");
    }

    #[test]
    fn a_volume_without_a_line_is_no_error() {
        let bars = with_line();
        bars.written(VolumeNumber::new(9), 1);
        bars.verified(VolumeNumber::new(9), 1);
        bars.verdict(VolumeNumber::new(9), "given up");
        assert_eq!(lock(&bars.drives).len(), 1);
        bars.clear();
        assert!(lock(&bars.drives).is_empty());
    }
}
