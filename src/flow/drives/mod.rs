//! Checks that drives are mounted, honest and readable, and that they keep what is written to them. No file here knows
//! the key of a bundle.

pub mod capacity_test;
pub mod drive;
pub mod folders;
pub mod mounts;
pub mod read_back;
pub mod read_in_order;
pub mod replug;
pub mod unreachable;
