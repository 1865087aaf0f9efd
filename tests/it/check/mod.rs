//! `pouch check`, without a key and with one.

mod capitals;
mod permission;
mod replug;
mod volumes;
