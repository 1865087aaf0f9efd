//! Opens what the drives hold of a bundle: finds its volumes, keys, heads, list and parts, and rebuilds parts that are
//! damaged or missing.

pub mod belonging;
pub mod head_check;
mod heads;
pub mod index_files;
pub mod open;
pub mod part_decoder;
pub mod part_finder;
pub mod part_rebuilder;
pub mod part_source;
pub mod proofread;
pub mod rebuilt_part;
pub mod scan;
pub mod sealed_text;
mod stripe_rows;
pub mod unseal;
