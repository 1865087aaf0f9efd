//! Opens what is there of a bundle: finds its parts, and rebuilds those that are damaged or missing.

pub mod part_rebuilder;
