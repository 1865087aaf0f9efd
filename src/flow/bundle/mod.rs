//! Opens what the drives hold of a bundle: finds its volumes, keys, heads, list and parts, and rebuilds parts that are
//! damaged or missing.

pub(crate) mod belonging;
pub(crate) mod head_check;
mod heads;
pub(crate) mod index_files;
pub mod open;
pub(crate) mod part_decoder;
pub(crate) mod part_finder;
pub(crate) mod part_rebuilder;
pub(crate) mod part_source;
pub(crate) mod proofread;
pub(crate) mod rebuilt_part;
pub mod scan;
pub(crate) mod sealed_text;
mod stripe_rows;
#[cfg(test)]
pub(crate) mod test_bundle;
pub(crate) mod unseal;
