//! Exit codes, on which scripts rely. The help, the man page and the README list the same codes.

use std::process::ExitCode;

use crate::flow::Outcome;

/// How a run ended, with the exit code as its value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Exit {
    /// Everything that was asked for was done.
    Ok = 0,
    /// A defect of Pouch, or a system without memory, threads or random numbers.
    Failed = 1,
    /// The command makes no sense, or a newer pouch is needed. Nothing was done.
    Usage = 2,
    /// Files are missing, and more drives would help.
    Incomplete = 3,
    /// Files are damaged, or changed while they were packed. The whole ones were delivered.
    Damaged = 4,
    /// Authentication failed, or the origin is not the expected one.
    Origin = 5,
    /// The data was made to do harm, or is over a limit.
    Hostile = 6,
    /// A read or write failed, or there was no room. The same command can be run again. Also: a drive failed, and the
    /// bundle is complete without it.
    Io = 7,
    /// No key was given, or none that opens the bundle.
    Key = 8,
    /// The user stopped the run. 130 is 128 plus SIGINT, as shells have it.
    Interrupted = 130,
}

/// The end of `--help`. A test holds that it lists every code.
pub(crate) const HELP: &str = "\
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

    /// Every way a run ends, with its code.
    const CODES: [(Outcome, u8); 10] = [
        (Outcome::Ok, 0),
        (Outcome::Failed, 1),
        (Outcome::Usage, 2),
        (Outcome::Incomplete, 3),
        (Outcome::Damaged, 4),
        (Outcome::Origin, 5),
        (Outcome::Hostile, 6),
        (Outcome::Io, 7),
        (Outcome::Key, 8),
        (Outcome::Interrupted, 130),
    ];

    #[test]
    fn scripts_find_the_same_codes_for_ever() {
        for (outcome, code) in CODES {
            assert_eq!(Exit::from(outcome) as u8, code, "{outcome:?}");
        }
    }

    #[test]
    fn every_code_is_in_the_help() {
        for (_, code) in CODES {
            let line = format!("\n  {code:<3}  ");
            assert!(HELP.contains(&line), "{line}");
        }
        assert_eq!(HELP.lines().count(), CODES.len() + 1, "and no other");
    }
}
