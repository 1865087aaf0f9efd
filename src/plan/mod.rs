//! Floor 2: decides without any I/O, so that a run can print a decision before it acts on it.

pub(crate) mod choose;
pub(crate) mod distrust;
pub(crate) mod forecast;
pub(crate) mod geometry;
pub(crate) mod holds;
pub(crate) mod layout;
pub(crate) mod links;
pub(crate) mod name_folding;
pub(crate) mod names;
pub(crate) mod needed_parts;
pub(crate) mod parity;
pub(crate) mod placement;
pub(crate) mod rehome;
pub(crate) mod repair;
pub(crate) mod resume;
pub(crate) mod select;
pub(crate) mod tar_recovery;
