//! `pouch repair`: lost and damaged volumes are written anew.

mod again;
mod loss;
