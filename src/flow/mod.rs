//! Floor 4: the story. Each file wires plans and stages into one thing a person asks for; none
//! prints anything.

pub mod bundle;
pub mod check;
pub mod drives;
pub mod error;
pub mod keys;
pub mod list;
pub mod load;
pub mod outcome;
pub mod pack;
pub mod rehearse;
pub mod repair;
pub mod salvage;
pub mod unpack;

pub use error::FlowError;
pub use outcome::Outcome;
