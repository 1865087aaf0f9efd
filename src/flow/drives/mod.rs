//! Whether drives are present, honest and readable, and keep what is written to them.

pub mod capacity_test;
pub mod drive;
pub mod folders;
pub mod mounts;
pub mod read_back;
pub mod read_in_order;
pub mod replug;
pub mod unreachable;
