//! Floor 0: the vocabulary of the crate and its access to the operating system. It knows nothing of bundles or volumes.
//! Every other floor may import it; it imports no other floor.

pub(crate) mod branch;
pub(crate) mod crypto;
pub(crate) mod digest;
pub(crate) mod direct;
pub(crate) mod disk;
pub(crate) mod entry;
pub(crate) mod fault;
pub(crate) mod gf;
pub(crate) mod json;
pub(crate) mod locked;
pub(crate) mod memory;
pub(crate) mod monitor;
pub(crate) mod neutral;
pub(crate) mod open_path;
pub(crate) mod os;
pub(crate) mod path;
pub(crate) mod pool;
pub(crate) mod secret;
pub(crate) mod size;
pub(crate) mod text;
pub(crate) mod threads;
