//! `pouch pack`: what it packs, what interrupts it, what it reports.

mod gone_sources;
mod honest;
mod interrupted;
mod moving_sources;
mod odd_sources;
mod round_trip;
mod shares;
mod sources;
