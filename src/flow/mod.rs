//! Floor 4: the story. Each file wires plans and stages into one thing a person asks for; none
//! prints anything.

pub(crate) mod bundle;
pub(crate) mod check;
pub(crate) mod drives;
pub(crate) mod error;
pub(crate) mod keys;
pub(crate) mod list;
pub(crate) mod load;
pub(crate) mod outcome;
pub(crate) mod pack;
pub(crate) mod rehearse;
pub(crate) mod repair;
pub(crate) mod salvage;
pub(crate) mod unpack;

pub(crate) use error::FlowError;
pub(crate) use outcome::Outcome;
