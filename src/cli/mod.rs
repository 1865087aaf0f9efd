//! Floor 5: words for people. One file per command, and the terminal behind one door.

use std::process::ExitCode;

mod args;
mod bars;
mod check;
mod docs;
mod exit;
mod hint;
mod keygen;
mod list;
mod load;
mod pack;
mod rehearse;
mod repair;
mod salvage;
mod secrets;
mod term;
mod unpack;

pub use exit::Exit;

use args::{Cli, Command};
use term::Term;

/// Runs the program; the result is its exit code.
pub fn main() -> ExitCode {
    crate::base::os::keep_memory_private();
    exit::without_randomness();
    let cli = match args::parse() {
        Ok(cli) => cli,
        Err(exit) => return exit.into(),
    };
    let term = Term::new();
    term.stop_on_signals();
    let result = run(&cli, &term);
    term.end();
    let exit = match result {
        Ok(exit) => exit,
        Err(error) => {
            hint::report(&term, &error);
            Exit::from(error.outcome())
        }
    };
    // What could not be printed was not said: a script must not take silence for success.
    if exit == Exit::Ok && term.output_failed() { Exit::Io.into() } else { exit.into() }
}

fn run(cli: &Cli, term: &Term) -> Result<Exit, crate::flow::FlowError> {
    match &cli.command {
        Command::Keygen(args) => keygen::run(args, term),
        Command::Pack(args) => pack::run(args, term),
        Command::Check(args) => check::run(args, term),
        Command::List(args) => list::run(args, term),
        Command::Unpack(args) if args.salvage => salvage::run(args, term),
        Command::Unpack(args) => unpack::run(args, term),
        Command::Repair(args) => repair::run(args, term),
        Command::Load(args) => load::run(args, term),
        Command::Rehearse(args) => rehearse::run(args, term),
        Command::Completions(args) => docs::completions(args, term),
        Command::Man(args) => docs::man(args, term),
    }
}
