//! The format, held to vectors and to stock tools.

mod age_vectors;
mod by_hand;
mod vectors;
