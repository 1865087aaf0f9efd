//! Opens what is there of a bundle: finds its parts, and rebuilds those that are damaged or missing.

pub mod part_rebuilder;
pub mod part_source;
pub mod rebuilt_part;
mod stripe_rows;
