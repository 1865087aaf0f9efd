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
        pub mod crypto {
            pub use crate::base::crypto::*;
        }
        pub mod digest {
            pub use crate::base::digest::*;
        }
        pub mod entry {
            pub use crate::base::entry::*;
        }
        pub mod os {
            pub use crate::base::os::*;
        }
        pub mod path {
            pub use crate::base::path::*;
        }
        pub mod secret {
            pub use crate::base::secret::*;
        }
        pub mod text {
            pub use crate::base::text::*;
        }
    }
    pub mod flow {
        pub mod bundle {
            pub mod open {
                pub use crate::flow::bundle::open::*;
            }
            pub mod scan {
                pub use crate::flow::bundle::scan::*;
            }
        }
    }
    pub mod format {
        pub use crate::format::*;
        pub mod age {
            pub use crate::format::age::*;
        }
        pub mod bag {
            pub use crate::format::bag::*;
        }
        pub mod checked_lines {
            pub use crate::format::checked_lines::*;
        }
        pub mod frame {
            pub use crate::format::frame::*;
        }
        pub mod head {
            pub use crate::format::head::*;
        }
        pub mod journal {
            pub use crate::format::journal::*;
        }
        pub mod list {
            pub use crate::format::list::*;
        }
        pub mod manifest {
            pub use crate::format::manifest::*;
        }
        pub mod member {
            pub use crate::format::member::*;
        }
        pub mod part {
            pub use crate::format::part::*;
        }
        pub mod seal {
            pub use crate::format::seal::*;
        }
        pub mod stripe {
            pub use crate::format::stripe::*;
        }
        pub mod sums {
            pub use crate::format::sums::*;
        }
        pub mod ustar {
            pub use crate::format::ustar::*;
        }
        pub mod volume_number {
            pub use crate::format::volume_number::*;
        }
    }
    pub mod stage {
        pub mod compress {
            pub use crate::stage::compress::*;
        }
        pub mod erasure {
            pub use crate::stage::erasure::*;
        }
        pub mod seal {
            pub use crate::stage::seal::*;
        }
        pub mod stream {
            pub use crate::stage::stream::*;
        }
    }
}
