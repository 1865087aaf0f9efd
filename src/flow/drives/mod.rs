//! Checks that drives are mounted, honest and readable, and that they keep what is written to them. No file here knows
//! the key of a bundle.

pub(crate) mod capacity_test;
pub(crate) mod drive;
pub(crate) mod folders;
pub(crate) mod mounts;
pub(crate) mod read_back;
pub(crate) mod read_in_order;
pub(crate) mod replug;
pub(crate) mod unreachable;
