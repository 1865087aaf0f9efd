//! Floor 3: one transformation a file, both ways, with its law in the tests beside it. Files of
//! this floor do not know each other; `flow` wires them.

pub mod archive;
pub mod compress;
pub mod erasure;
pub mod fill;
pub mod holders;
pub mod journal;
pub mod lane;
pub mod probe;
pub mod restore;
pub mod seal;
pub mod spread;
pub mod stream;
pub mod untar;
pub mod volume;
pub mod walk;
