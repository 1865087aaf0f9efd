//! Repairing: lost and damaged volumes written anew.

mod again;
mod loss;
