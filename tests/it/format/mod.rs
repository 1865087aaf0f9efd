//! The format, tested with vectors and with stock tools.

mod age_vectors;
mod by_hand;
mod vectors;
