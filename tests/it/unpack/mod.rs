//! Unpacking: whatever is damaged, mixed, hostile or in the way.

mod bounds;
mod damage;
mod going_on;
mod hostile;
mod left;
mod mixed;
mod names;
mod planted;
mod two_bundles;
