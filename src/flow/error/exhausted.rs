//! The text for a run that the system gives no more memory. A panic says it too, in `cli/unforeseen.rs`.

use crate::base::size::human;

/// The text for `bytes` of memory in one piece that the system does not have.
pub(crate) fn no_memory(bytes: u64) -> String {
    format!("the system lets this run have no more memory: {} in one piece are missing", human(bytes))
}
