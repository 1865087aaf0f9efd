//! Pouch.
pub mod base;
pub mod format;
pub mod plan;
pub mod stage;
