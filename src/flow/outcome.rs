//! How a run ended, in ten classes. `cli/exit.rs` gives each its exit code.

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Everything that was asked for was done.
    Ok,
    /// A defect of ours, or a system without memory or threads to spare.
    Failed,
    /// The request makes no sense, or needs a newer pouch. Nothing was done.
    Usage,
    /// More drives would help.
    Incomplete,
    /// Some files are damaged, or changed while they were packed. The whole ones were delivered.
    Damaged,
    /// The bundle is not from the sender it should be from.
    Origin,
    /// A limit was exceeded, or the data was crafted to do harm.
    Hostile,
    /// The system failed, refused or ran out of room. The same command can be run again.
    Io,
    /// No key, or none that opens the bundle.
    Key,
    /// Stopped by the user.
    Interrupted,
}
