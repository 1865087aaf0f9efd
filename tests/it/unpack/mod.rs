//! `pouch unpack` of what is damaged, mixed or hostile, and onto targets that are unfit or in use.

mod bounds;
mod damage;
mod going_on;
mod hostile;
mod left;
mod mixed;
mod names;
mod planted;
mod two_bundles;
