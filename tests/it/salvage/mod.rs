//! `pouch unpack --salvage`: bundles without a head or a list.

mod hostile;
mod without_index;
