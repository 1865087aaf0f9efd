//! Pouch.
pub mod base;
pub mod flow;
pub mod format;
pub mod plan;
pub mod stage;
