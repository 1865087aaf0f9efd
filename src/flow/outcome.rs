//! How a run ended, in ten classes. A class says what the user can do next, not what failed. `cli/exit.rs` gives each
//! class its exit code.

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// The run did everything that was asked for.
    Ok,
    /// Pouch has a defect, or the system has no memory or threads to spare.
    Failed,
    /// The request makes no sense, or needs a newer pouch. The run did nothing.
    Usage,
    /// More drives would help.
    Incomplete,
    /// Some files are damaged, or changed while they were packed. The whole ones were delivered.
    Damaged,
    /// The bundle is not from the sender it should be from. No run of version 1 ends so.
    #[allow(dead_code, reason = "its exit code is promised; signatures will use it")]
    Origin,
    /// A limit was exceeded, or the data was crafted to do harm.
    Hostile,
    /// The system failed, refused or ran out of room. The same command can be run again.
    Io,
    /// There is no key, or none that opens the bundle.
    Key,
    /// The user stopped the run.
    Interrupted,
}
