//! Floor 2: decides without any I/O, so that a run can print a decision before it acts on it.

pub mod choose;
pub mod distrust;
pub mod forecast;
pub mod geometry;
pub mod holds;
pub mod layout;
pub mod links;
pub mod name_folding;
pub mod names;
pub mod needed_parts;
pub mod parity;
pub mod placement;
pub mod rehome;
pub mod repair;
pub mod resume;
pub mod select;
pub mod tar_recovery;
