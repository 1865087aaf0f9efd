//! Lines that show whether a drive kept them: each ends with a check (FORMAT appendix A). Checks find decay and torn
//! writes. They give no protection against a forger: anyone can compute them.

use crate::base::digest::{Quick, quick};
use crate::format::FormatError;

/// The last line of a text's opening. The lines up to it count together or not at all.
pub const BEGUN: &str = "BEGUN";

/// Computes the checks of lines, in their order.
#[derive(Default)]
pub struct Checks {
    /// Hash of the opening so far, checks and LFs included.
    opening: Quick,
    /// The check of [`BEGUN`]. Every later check covers it, so that lines which another text left in the same place on
    /// the drive do not fit.
    begun: Option<String>,
}

/// The lower half of an XXH3-128, as 16 hex digits.
fn short(hash: u128) -> String {
    format!("{:016x}", hash as u64)
}

impl Checks {
    /// Gives each of these whole lines its check.
    pub fn add(&mut self, lines: &str) -> String {
        lines.lines().map(|line| format!("{line} {}\n", self.next(line))).collect()
    }

    /// The check of the next line.
    fn next(&mut self, line: &str) -> String {
        if let Some(begun) = &self.begun {
            return short(quick(format!("{begun}{line}").as_bytes()));
        }
        if line == BEGUN {
            self.opening.update(line.as_bytes());
            let check = short(std::mem::take(&mut self.opening).finish());
            self.begun = Some(check.clone());
            return check;
        }
        let check = alone(line);
        self.opening.update(format!("{line} {check}\n").as_bytes());
        check
    }
}

/// The check of a line of the opening, which depends on that line alone.
fn alone(line: &str) -> String {
    short(quick(line.as_bytes()))
}

/// The lines of a text that are as they were written, without their checks.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct CheckedText<'a> {
    /// All lines up to [`BEGUN`], with their LFs.
    pub(crate) opening: String,
    /// Later lines that fit their checks.
    pub(crate) lines: Vec<&'a str>,
    /// How many later lines do not fit.
    pub(crate) lost: usize,
}

/// Reads a text of checked lines. A last line without its LF is a torn write: it counts neither as kept nor as lost.
///
/// # Errors
/// A line up to [`BEGUN`] is missing or does not fit its check.
pub(crate) fn read<'a>(what: &'static str, text: &'a [u8]) -> Result<CheckedText<'a>, FormatError> {
    let mut checks = Checks::default();
    let mut opening = String::new();
    let mut all = whole_lines(text);
    for at in 1.. {
        let line = all.next().ok_or_else(|| FormatError::malformed(what, at, "it ends too early"))?;
        let (line, check) = split(line).ok_or_else(|| FormatError::malformed(what, at, "the line lacks its check"))?;
        if checks.next(line) != check {
            return Err(FormatError::malformed(what, at, "the line does not fit its check"));
        }
        opening.push_str(line);
        opening.push('\n');
        if line == BEGUN {
            break;
        }
    }
    let mut lines = Vec::new();
    let mut lost = 0;
    for line in all {
        match split(line).filter(|(line, check)| checks.next(line) == *check) {
            Some((line, _)) => lines.push(line),
            None => lost += 1,
        }
    }
    Ok(CheckedText { opening, lines, lost })
}

/// Lines of the opening that fit their checks, from a text that may be damaged anywhere. [`BEGUN`] and later lines
/// never do: their checks cover more than the line.
pub(crate) fn fitting(text: &[u8]) -> impl Iterator<Item = &str> {
    whole_lines(text).filter_map(split).filter(|(line, check)| alone(line) == *check).map(|(line, _)| line)
}

/// Length of the opening in bytes, with checks, to the end of [`BEGUN`]'s line; of the whole text if that is missing.
pub(crate) fn opening_len(text: &[u8]) -> usize {
    let mut len = 0;
    for line in text.split_inclusive(|byte| *byte == b'\n') {
        len += line.len();
        if line.strip_prefix(BEGUN.as_bytes()).is_some_and(|rest| rest.starts_with(b" ")) {
            break;
        }
    }
    len
}

fn whole_lines(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    text.split_inclusive(|byte| *byte == b'\n').filter_map(|line| line.strip_suffix(b"\n"))
}

fn split(line: &[u8]) -> Option<(&str, &str)> {
    std::str::from_utf8(line).ok()?.rsplit_once(' ')
}

#[cfg(test)]
mod tests {
    use super::*;

    const OPENING: &str = "a 1\nb\nBEGUN\n";

    fn text(opening: &str, lines: &str) -> String {
        let mut checks = Checks::default();
        checks.add(opening) + &checks.add(lines)
    }

    #[test]
    fn what_was_written_comes_back() {
        let whole = text(OPENING, "c 2\nd\n");
        assert_eq!(whole.lines().next().unwrap().len(), "a 1 ".len() + 16);
        let kept = read("it", whole.as_bytes()).unwrap();
        assert_eq!(kept, CheckedText { opening: OPENING.into(), lines: vec!["c 2", "d"], lost: 0 });
        let torn = &whole.as_bytes()[..whole.len() - 1];
        assert_eq!(read("it", torn).unwrap().lines, ["c 2"]);
        assert_eq!(fitting(whole.as_bytes()).collect::<Vec<_>>(), ["a 1", "b"]);
        assert_eq!(whole[..opening_len(whole.as_bytes())], text(OPENING, ""));
        assert_eq!(opening_len(b"a 1\nBEGUNNE\n"), 12, "there is none");
    }

    #[test]
    fn lines_of_another_text_do_not_fit() {
        let (one, other) = (text(OPENING, "c 2\nd\n"), text("a 1\nc\nBEGUN\n", "c 2\nd\n"));
        let lines = |text: &str| text.lines().map(|line| format!("{line}\n")).collect::<Vec<_>>();
        for at in 0..5 {
            let mut mixed = lines(&one);
            mixed[at] = lines(&other)[at].clone();
            let mixed = mixed.concat();
            match read("it", mixed.as_bytes()) {
                Ok(kept) if at == 0 => assert_eq!(kept.lost, 0, "that line is the same in both"),
                Ok(kept) => assert!(at > 2 && kept.lost == 1 && kept.lines.len() == 1),
                Err(_) => assert!(at == 1 || at == 2),
            }
        }
    }
}
