//! Errors about the files and folders to pack: they cannot be packed, or are no longer what an earlier run packed of
//! them. A file that changes while it is read is no error: it is packed and noted.

use std::path::PathBuf;

use crate::base::path::show;
use crate::base::size::{count, first_ten};
use crate::flow::outcome::Outcome;
use crate::stage::walk::WalkError;

/// Why sources cannot be packed.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// The look at all sources failed, before anything was read.
    #[error(transparent)]
    Walk(WalkError),
    /// These sources changed, came or went since the interrupted run looked at them.
    #[error("{} not as an interrupted run found {}: {}", are(.0), it(.0), names(.0))]
    Changed(Vec<PathBuf>),
    /// These sources changed, so that parts which a drive lost cannot be packed again.
    #[error("{} since they were packed, so what a drive did not keep cannot be made again: {}", changed(.0), names(.0))]
    CannotRepack(Vec<PathBuf>),
}

impl SourceError {
    /// The class of the failure. Where a drive is at fault it is I/O, because the same command can be run again.
    pub(crate) fn outcome(&self) -> Outcome {
        match self {
            SourceError::Walk(WalkError::Cancelled) => Outcome::Interrupted,
            SourceError::Walk(WalkError::Gone(_)) | SourceError::CannotRepack(_) => Outcome::Io,
            SourceError::Walk(_) | SourceError::Changed(_) => Outcome::Usage,
        }
    }
}

fn are(files: &[PathBuf]) -> String {
    format!("{} {}", count(files.len() as u64, "source"), if files.len() == 1 { "is" } else { "are" })
}

fn it(files: &[PathBuf]) -> &'static str {
    if files.len() == 1 { "it" } else { "them" }
}

fn changed(files: &[PathBuf]) -> String {
    format!("{} changed", count(files.len() as u64, "source"))
}

fn names(files: &[PathBuf]) -> String {
    first_ten(files, |path| show(path), |more| format!("and {more} more"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn clips(many: usize) -> Vec<PathBuf> {
        (0..many).map(|at| PathBuf::from(format!("clip-{at}"))).collect()
    }

    #[test]
    fn ten_changed_sources_are_named_and_the_others_counted() {
        let one = SourceError::Changed(clips(1)).to_string();
        assert_eq!(one, "1 source is not as an interrupted run found it: clip-0");
        let many = SourceError::Changed(clips(12)).to_string();
        assert!(many.starts_with("12 sources are not as an interrupted run found them: clip-0, "), "{many}");
        assert!(many.ends_with("clip-9, and 2 more"), "{many}");
    }

    #[test]
    fn a_source_that_cannot_be_packed_again_is_no_usage_error() {
        let changed = SourceError::CannotRepack(clips(2));
        assert_eq!(changed.outcome(), Outcome::Io);
        assert_eq!(
            changed.to_string(),
            "2 sources changed since they were packed, so what a drive did not keep cannot be made again: clip-0, clip-1"
        );
        assert_eq!(SourceError::Changed(clips(2)).outcome(), Outcome::Usage);
    }

    #[test]
    fn a_walk_fails_by_the_user_by_a_drive_or_by_what_was_given() {
        let of = |error| SourceError::Walk(error).outcome();
        assert_eq!(of(WalkError::Cancelled), Outcome::Interrupted);
        assert_eq!(of(WalkError::Gone("/media/camera".into())), Outcome::Io);
        assert_eq!(of(WalkError::NoName("/".into())), Outcome::Usage);
        assert_eq!(of(WalkError::Special { path: "/dev/null".into(), what: "device" }), Outcome::Usage);
    }
}
