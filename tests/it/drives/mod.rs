//! Drives that lie, forget and fail.

mod capacity;
mod faithful;
mod lying;
