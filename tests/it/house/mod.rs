//! The rules of the house, exit codes, secrets and terminals.

mod exit_codes;
mod rules;
mod secrets;
mod terminal;
