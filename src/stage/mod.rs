//! Floor 3: the stages. Each module does one job with sources, bytes or drives, in both directions where the job has
//! two, and its tests hold the law that both obey. Modules of this floor do not import each other; `flow` wires them.

pub(crate) mod archive;
pub(crate) mod capacity_marks;
pub mod compress;
pub mod erasure;
pub(crate) mod holders;
pub(crate) mod journal;
pub(crate) mod ordered_hash;
pub(crate) mod part_filler;
pub(crate) mod restore;
pub mod seal;
pub mod stream;
pub(crate) mod target_probe;
pub(crate) mod untar;
pub(crate) mod volume;
pub(crate) mod walk;
