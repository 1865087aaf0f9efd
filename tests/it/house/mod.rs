//! House rules, exit codes, secrets and terminals.

mod dependencies;
mod exit_codes;
mod rules;
mod screens;
mod secrets;
mod terminal;
