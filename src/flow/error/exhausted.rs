//! What is said where the system has no more memory for a run.

use crate::base::size::human;

/// So many bytes of memory cannot be had, in words.
pub fn no_memory(bytes: u64) -> String {
    format!("the system lets this run have no more memory: {} in one piece are missing", human(bytes))
}
