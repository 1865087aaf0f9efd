//! Floor 0: the vocabulary of the crate and its access to the operating system. It knows nothing of bundles or volumes.
//! Every other floor may import it; it imports no other floor.

pub(crate) mod branch;
pub mod crypto;
pub mod digest;
pub(crate) mod direct;
pub(crate) mod disk;
pub mod entry;
pub(crate) mod fault;
pub(crate) mod gf;
pub(crate) mod json;
pub(crate) mod locked;
pub(crate) mod memory;
pub(crate) mod monitor;
pub(crate) mod neutral;
pub(crate) mod open_path;
pub mod os;
pub mod path;
pub(crate) mod pool;
pub mod secret;
pub(crate) mod size;
pub mod text;
pub(crate) mod threads;
