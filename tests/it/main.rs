//! The tests that run the real program, in one crate: they are built once, and their names say which command they try.

mod common;

mod check;
mod drives;
mod format;
mod house;
mod load;
mod pack;
mod repair;
mod salvage;
mod unpack;
