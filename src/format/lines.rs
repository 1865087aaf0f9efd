//! Reads plain lines in a fixed order, for head, statement, seal and journal.

use crate::format::{FormatError, number};

/// The lines of a text, read one by one. Errors name the line that was read last, from 1.
pub(crate) struct Lines<'a> {
    what: &'static str,
    lines: std::str::Lines<'a>,
    at: usize,
}

impl<'a> Lines<'a> {
    pub(crate) fn of(what: &'static str, text: &'a str) -> Self {
        Self { what, lines: text.lines(), at: 0 }
    }

    pub(crate) fn next(&mut self) -> Result<&'a str, FormatError> {
        self.at += 1;
        self.lines.next().ok_or_else(|| self.bad("it ends too early"))
    }

    /// The rest of the next line, which must begin with `key`.
    pub(crate) fn field(&mut self, key: &str) -> Result<&'a str, FormatError> {
        self.next()?.strip_prefix(key).ok_or_else(|| self.bad(&format!("\"{key}...\" is expected")))
    }

    /// The number behind `key`, at most `limit` and within the range of `T`.
    pub(crate) fn number<T: TryFrom<u64>>(&mut self, key: &str, limit: u64) -> Result<T, FormatError> {
        let value: u64 = number(self.field(key)?).ok_or_else(|| self.bad("it is no number"))?;
        FormatError::check_limit("a number in it", value, limit)?;
        T::try_from(value).map_err(|_| self.bad("the number is too large"))
    }

    /// How many lines a section announces.
    pub(crate) fn count(&mut self, key: &str, limit: u32) -> Result<u32, FormatError> {
        self.number(key, limit.into())
    }

    /// The text behind `key`; `None` for `-`, which marks a value that is not used.
    pub(crate) fn optional(&mut self, key: &str) -> Result<Option<&'a str>, FormatError> {
        Ok(Some(self.field(key)?).filter(|value| *value != "-"))
    }

    pub(crate) fn optional_number<T: std::str::FromStr + std::fmt::Display>(
        &mut self,
        key: &str,
    ) -> Result<Option<T>, FormatError> {
        self.optional(key)?.map(|text| number(text).ok_or_else(|| self.bad("it is no number"))).transpose()
    }

    pub(crate) fn one_of(&mut self, key: &str, words: &[&str]) -> Result<String, FormatError> {
        let word = self.field(key)?;
        if words.contains(&word) { Ok(word.into()) } else { Err(self.bad("the word is not known")) }
    }

    /// Takes the last line, which must be `line`.
    pub(crate) fn last(&mut self, line: &str) -> Result<(), FormatError> {
        let is_last = self.field(line)?.is_empty() && self.lines.next().is_none();
        if is_last { Ok(()) } else { Err(self.bad(&format!("\"{line}\" is expected, as its last line"))) }
    }

    /// The error about the line that was read last.
    pub(crate) fn bad(&self, why: &str) -> FormatError {
        FormatError::malformed(self.what, self.at, why)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_line_is_whole_and_none_follows() {
        for (text, is_last) in [("END\n", true), ("END", true), ("ENDS", false), ("END\n\n", false), ("", false)] {
            assert_eq!(Lines::of("the journal", text).last("END").is_ok(), is_last, "{text:?}");
        }
    }

    #[test]
    fn a_limit_does_not_name_another_file() {
        let error = Lines::of("the journal", "volumes 7").number::<u16>("volumes ", 5).unwrap_err();
        assert_eq!(error.to_string(), "a number in it is 7, over the limit of 5");
    }
}
