//! Floor 2: decisions without any I/O. What is decided here is printed before it is done.

pub mod choose;
pub mod distrust;
pub mod fold;
pub mod forecast;
pub mod geometry;
pub mod holds;
pub mod layout;
pub mod links;
pub mod names;
pub mod parity;
pub mod placement;
pub mod recover;
pub mod rehome;
pub mod repair;
pub mod resume;
pub mod select;
pub mod want;
