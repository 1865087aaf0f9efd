//! Floor 3: the stages. Each module does one job with sources, bytes or drives, in both directions where the job has
//! two, and its tests hold the law that both obey. Modules of this floor do not import each other; `flow` wires them.

pub mod archive;
pub mod capacity_marks;
pub mod compress;
pub mod erasure;
pub mod holders;
pub mod journal;
pub mod ordered_hash;
pub mod part_filler;
pub mod restore;
pub mod seal;
pub mod stream;
pub mod target_probe;
pub mod untar;
pub mod volume;
pub mod walk;
