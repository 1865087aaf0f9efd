//! `pouch load`: staged volumes onto their drives.

mod failing_drives;
mod staged;
