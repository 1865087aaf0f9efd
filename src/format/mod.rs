//! Floor 1: bytes to values and back, without any I/O. What `docs/FORMAT.md` says, in code.
//!
//! Every parser is strict and canonical: what it accepts, its encoder writes again byte by byte.

pub mod age;
pub mod bag;
pub mod checked;
pub mod frame;
pub mod head;
pub mod journal;
pub mod limits;
pub(crate) mod lines;
pub mod list;
pub mod manifest;
pub mod member;
pub mod part;
pub mod recipe;
pub mod seal;
pub mod statement;
pub mod stripe;
pub mod sums;
pub mod ustar;

/// The folder beside an output that holds what an unpacking has not finished.
pub const UNPACKING: &str = ".pouch-unfinished";

/// How a file is named while it is written.
pub const UNFINISHED: &str = "unfinished.tmp";

/// The same once the drive has failed under so many before it: those keep their names, and with them
/// the places on the drive that cannot be written to.
pub fn unfinished(failed: u32) -> String {
    if failed == 0 { UNFINISHED.into() } else { format!("unfinished-{}.tmp", failed + 1) }
}

/// Whether a file is named as those are that are being written.
pub fn is_unfinished(name: &str) -> bool {
    let numbered = || name.strip_prefix("unfinished-")?.strip_suffix(".tmp").and_then(number::<u32>);
    name == UNFINISHED || numbered().is_some()
}

/// Why bytes are refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FormatError {
    /// They do not follow the format.
    #[error("{what} is malformed{}: {why}", at_line(*line))]
    Malformed {
        /// Which file or frame.
        what: &'static str,
        /// Line, from 1; 0 where there are none.
        line: usize,
        /// In words.
        why: String,
    },
    /// They were made to do harm, or look like it.
    #[error("{what} is not safe to follow, line {line}: {why}")]
    Unsafe {
        /// Which file.
        what: &'static str,
        /// Line, from 1.
        line: usize,
        /// In words.
        why: String,
    },
    /// They state or hold more than a reader takes on (FORMAT section 12).
    #[error("{what} is {value}, over the limit of {limit}")]
    Limit {
        /// Of what.
        what: &'static str,
        /// The value found.
        value: u64,
        /// The most that is taken.
        limit: u64,
    },
    /// A later version of the format.
    #[error("{what} is of version {version}, which a newer pouch may read; this one reads version 1")]
    Newer {
        /// Which file.
        what: &'static str,
        /// Its version.
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

    /// Refuses a value over its limit.
    pub(crate) fn limit(what: &'static str, value: u64, limit: u64) -> Result<(), Self> {
        if value > limit { Err(FormatError::Limit { what, value, limit }) } else { Ok(()) }
    }
}

/// A version number as text: 1 is ours, a higher one is said to be newer.
pub(crate) fn version(what: &'static str, text: &str) -> Result<(), FormatError> {
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

/// A decimal number without sign, leading zeros or anything else.
pub(crate) fn number<T: std::str::FromStr + std::fmt::Display>(text: &str) -> Option<T> {
    let value: T = text.parse().ok()?;
    (value.to_string() == text).then_some(value)
}
