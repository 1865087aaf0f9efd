//! Pouch.
fn main() {}
