//! Pouch carries media hand to hand where no network may be used.
//!
//! The crate is a house of six floors; a file imports only lower ones. In reading order:
//! [`base`] has words of the trade, [`mod@format`] turns bytes into values (docs/FORMAT.md in code),
//! [`plan`] decides without touching anything, [`stage`] transforms, one thing a file and both
//! ways, [`flow`] tells the story of each command, and [`cli`] finds the words for people.
//!
//! Forwards: walk, lay out the tar, fill ranges of it, compress, fill parts, seal, write to
//! volumes; list and head, SHA256SUMS last. Backwards: scan volumes, seal, head, list, decide,
//! open any part in any order, place bytes, digest, deliver.

pub mod base;
pub mod cli;
pub mod flow;
pub mod format;
pub mod plan;
pub mod stage;
