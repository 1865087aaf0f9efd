//! Floor 1: turns bytes into values and back, without any I/O. This is `docs/FORMAT.md` in code.
//!
//! The parsers of what is sealed are strict and canonical: what one accepts, its encoder writes again byte for byte.
//! `SHA256SUMS` is the exception: a CR before an LF is forgiven there. No parser proves who wrote the bytes: anyone who
//! has the recipient of a bundle can seal bytes that pass.

pub mod age;
pub mod bag;
pub mod checked_lines;
pub mod frame;
pub mod head;
pub mod journal;
pub(crate) mod limits;
pub(crate) mod lines;
pub mod list;
pub mod manifest;
pub mod member;
pub mod part;
pub(crate) mod recipe;
pub mod seal;
pub(crate) mod statement;
pub mod stripe;
pub mod sums;
pub mod ustar;
pub mod volume_number;

/// Name of the folder beside an output that holds the files of an unfinished unpacking.
pub(crate) const UNPACKING: &str = ".pouch-unfinished";

/// Name of a volume's file while it is written. A rename gives it its final name.
pub(crate) const UNFINISHED: &str = "unfinished.tmp";

/// The temporary name after the drive failed under `failed` others. The failed files keep their names, and with them
/// the bad places of the drive, so that the next try lands elsewhere.
pub fn unfinished(failed: u32) -> String {
    if failed == 0 { UNFINISHED.into() } else { format!("unfinished-{}.tmp", failed + 1) }
}

/// Whether a file with this name is still being written. `unfinished-0.tmp`, the temporary SHA256SUMS, counts too.
pub(crate) fn is_unfinished(name: &str) -> bool {
    let numbered = name.strip_prefix("unfinished-").and_then(|rest| rest.strip_suffix(".tmp"));
    name == UNFINISHED || numbered.and_then(number::<u32>).is_some()
}

/// Why bytes are refused. The variants are the classes of docs/FORMAT.md.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FormatError {
    /// The bytes do not follow the format. Damage can explain this, unless the bytes were sealed so.
    #[error("{what} is malformed{}: {why}", at_line(*line))]
    Malformed {
        /// The file, frame or text, as the message names it.
        what: &'static str,
        /// From 1; 0 if the text has no lines, or if no single line is to blame.
        line: usize,
        why: String,
    },
    /// The bytes are made to do harm, or look like it.
    #[error("{what} is not safe to follow, line {line}: {why}")]
    Unsafe {
        what: &'static str,
        /// From 1.
        line: usize,
        why: String,
    },
    /// The bytes state or hold more than a reader takes on (FORMAT section 12).
    #[error("{what} is {value}, over the limit of {limit}")]
    Limit {
        /// What `value` counts, as the message names it.
        what: &'static str,
        value: u64,
        /// The most that a reader accepts.
        limit: u64,
    },
    /// The bytes follow a later version of the format.
    #[error("{what} is of version {version}, which a newer pouch may read; this one reads version 1")]
    Newer {
        /// The file or part, as the message names it.
        what: &'static str,
        version: u32,
    },
}

fn at_line(line: usize) -> String {
    if line == 0 { String::new() } else { format!(" in line {line}") }
}

impl FormatError {
    pub(crate) fn malformed(what: &'static str, line: usize, why: impl Into<String>) -> Self {
        FormatError::Malformed { what, line, why: why.into() }
    }

    /// Refuses a value over its limit; a value equal to the limit passes.
    pub(crate) fn check_limit(what: &'static str, value: u64, limit: u64) -> Result<(), Self> {
        if value > limit { Err(FormatError::Limit { what, value, limit }) } else { Ok(()) }
    }
}

/// Checks a version number: 1 is ours, a higher one is [`FormatError::Newer`], and all else is malformed.
pub(crate) fn check_version(what: &'static str, text: &str) -> Result<(), FormatError> {
    match number::<u32>(text) {
        Some(1) => Ok(()),
        Some(version) if version > 1 => Err(FormatError::Newer { what, version }),
        _ => Err(FormatError::malformed(
            what,
            1,
            format!("\"{}\" is no version", crate::base::path::brief(text.as_bytes())),
        )),
    }
}

/// Parses a canonical decimal number: no leading zeros, no blanks, and a sign only before a negative value.
pub(crate) fn number<T: std::str::FromStr + std::fmt::Display>(text: &str) -> Option<T> {
    let value: T = text.parse().ok()?;
    (value.to_string() == text).then_some(value)
}
