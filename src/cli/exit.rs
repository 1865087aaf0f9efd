//! Exit codes: the same in the help, in the man page, in the README, in scripts that rely on them, and here.

use std::process::ExitCode;

use crate::flow::Outcome;

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// All went well.
    Ok = 0,
    /// Failed in a way that was not foreseen.
    Failed = 1,
    /// Wrong usage, or a newer pouch is needed; nothing was done.
    Usage = 2,
    /// Incomplete: more drives would help.
    Incomplete = 3,
    /// Damaged: what is whole was delivered.
    Damaged = 4,
    /// Authentication or origin failed.
    Origin = 5,
    /// Hostile, or over a limit.
    Hostile = 6,
    /// It could not be read or written, or there was no room; can be tried again.
    Io = 7,
    /// Key missing or wrong.
    Key = 8,
    /// Interrupted.
    Interrupted = 130,
}

/// For `--help`.
pub const HELP: &str = "\
Exit codes:
  0    all went well
  1    failed in a way that was not foreseen
  2    wrong usage, or a newer pouch is needed; nothing was done
  3    incomplete: more drives would help
  4    damaged, or packed with files that changed: what is whole was delivered
  5    authentication or origin failed
  6    hostile, or over a limit
  7    could not be read or written, or no room; can be tried again. Also: a drive failed, and the bundle is complete without it
  8    key missing or wrong
  130  interrupted";

impl From<Outcome> for Exit {
    fn from(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Ok => Exit::Ok,
            Outcome::Failed => Exit::Failed,
            Outcome::Usage => Exit::Usage,
            Outcome::Incomplete => Exit::Incomplete,
            Outcome::Damaged => Exit::Damaged,
            Outcome::Origin => Exit::Origin,
            Outcome::Hostile => Exit::Hostile,
            Outcome::Io => Exit::Io,
            Outcome::Key => Exit::Key,
            Outcome::Interrupted => Exit::Interrupted,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        ExitCode::from(exit as u8)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_is_in_the_help() {
        for exit in [
            Exit::Ok,
            Exit::Failed,
            Exit::Usage,
            Exit::Incomplete,
            Exit::Damaged,
            Exit::Origin,
            Exit::Hostile,
            Exit::Io,
            Exit::Key,
            Exit::Interrupted,
        ] {
            let line = format!("\n  {:<3}  ", exit as u8);
            assert!(HELP.contains(&line), "{line}");
        }
    }
}
