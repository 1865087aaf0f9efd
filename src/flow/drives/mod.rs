//! Whether drives are there, and keep what is written to them.

pub mod drive;
