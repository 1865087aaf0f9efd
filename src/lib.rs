//! Pouch packs media into encrypted volumes on USB drives, to be carried by hand where no network may be used.
//!
//! The crate has six layers, called floors; a file imports only its own floor and lower ones. From the ground up:
//! [`base`] wraps the system and the basics that know nothing of bundles, [`mod@format`] turns bytes into values and
//! back (docs/FORMAT.md in code), [`plan`] decides without doing any I/O, [`stage`] does one job per file, [`flow`]
//! runs each command, and [`cli`] talks to people.
//!
//! Packing walks the sources, lays out the tar, fills ranges of it, compresses them, fills parts, seals them and writes
//! them to volumes. List and head follow, and SHA256SUMS comes last. Unpacking scans for volumes, opens a seal, a head
//! and a list, decides which parts it needs, opens these in any order, places and hashes the bytes, and delivers the
//! files that are whole.

pub mod base;
pub mod cli;
pub mod flow;
pub mod format;
pub mod plan;
pub mod stage;
