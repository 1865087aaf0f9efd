//! Pouch packs media into encrypted volumes on USB drives, to be carried by hand where no network may be used.
//!
//! The crate has six layers, called floors; a file imports only its own floor and lower ones. From the ground up:
//! `base` wraps the system and the basics that know nothing of bundles, `format` turns bytes into values and
//! back (docs/FORMAT.md in code), `plan` decides without doing any I/O, `stage` does one job per file, `flow`
//! runs each command, and `cli` talks to people.
//!
//! Packing walks the sources, lays out the tar, fills ranges of it, compresses them, fills parts, seals them and writes
//! them to volumes. List and head follow, and SHA256SUMS comes last. Unpacking scans for volumes, opens a seal, a head
//! and a list, decides which parts it needs, opens these in any order, places and hashes the bytes, and delivers the
//! files that are whole.

#![warn(unreachable_pub)]

mod base;
mod cli;
mod flow;
mod format;
mod plan;
mod stage;

pub use cli::main;

/// What tests, benchmarks and fuzz targets see of the floors. Nothing here is stable.
#[doc(hidden)]
pub mod internals {
    pub mod base {
        pub use crate::base::{crypto, digest, entry, os, path, secret, text};
    }
    pub mod flow {
        pub mod bundle {
            pub use crate::flow::bundle::{open, scan};
        }
    }
    pub mod format {
        pub use crate::format::*;
    }
    pub mod stage {
        pub use crate::stage::{compress, erasure, seal, stream};
    }
}
