//! Floor 0: the vocabulary of the crate and its access to the operating system. It knows nothing of bundles or volumes.
//! Every other floor may import it; it imports no other floor.

pub(crate) mod branch;
pub mod crypto;
pub mod digest;
pub mod direct;
pub mod disk;
pub mod entry;
pub mod fault;
pub mod gf;
pub mod json;
pub mod locked;
pub mod memory;
pub mod monitor;
pub mod neutral;
pub(crate) mod open_path;
pub mod os;
pub mod path;
pub mod pool;
pub mod secret;
pub mod size;
pub mod text;
pub mod threads;
