//! Floor 5: the words for people. There is one file for each command, and commands print through `term.rs` alone.

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
mod unforeseen;
mod unpack;

pub(crate) use exit::Exit;

use args::{Cli, Command};
use term::Term;

/// Bytes of stack of the working thread: as many as the first thread of a process usually has.
const STACK: usize = 8 << 20;

/// Runs the program and returns its exit code. The order matters: memory is private and panics are handled before the
/// arguments are parsed, and Ctrl-C is handled before the work starts.
pub fn main() -> ExitCode {
    // This comes first, because it may start the program once more.
    unforeseen::without_backtrace();
    crate::base::os::keep_memory_private();
    unforeseen::end_on_panic();
    term::end_on_abort();
    let cli = match args::parse() {
        Ok(cli) => cli,
        Err(exit) => return exit.into(),
    };
    unforeseen::owes_json(cli.command.json());
    let term = Term::new();
    term.stop_on_signals();
    let result = beside(|| run(&cli, &term));
    term.end();
    let exit = match result {
        Ok(exit) => exit,
        Err(error) => {
            hint::report(&term, &error, &cli.command);
            // A script that asked for JSON gets a document, even if the run failed before its report.
            if cli.command.json() && !term.answered() {
                term.json(&hint::to_json(&error, &cli.command));
            }
            Exit::from(error.outcome())
        }
    };
    // A script must not take output that failed for success.
    if exit == Exit::Ok && term.output_failed() { Exit::Io.into() } else { exit.into() }
}

/// Runs `work` on a second thread, so that the first one does nothing but wait. The system wakes the first thread of a
/// process for a signal, and a thread that hangs in a drive does not wake.
fn beside<R: Send>(work: impl FnOnce() -> R + Send) -> R {
    let mut work = Some(work);
    let done = std::thread::scope(|scope| {
        let take = &mut work;
        let started =
            std::thread::Builder::new().stack_size(STACK).spawn_scoped(scope, move || take.take().map(|work| work()));
        started.ok().and_then(|started| started.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
    });
    // If the system has no second thread, this one does the work.
    match (done, work) {
        (Some(done), _) => done,
        (None, Some(work)) => work(),
        (None, None) => unreachable!("it was done, or not begun"),
    }
}

/// Runs the command. `unpack --salvage` has a file of its own, because its verdict rests on less.
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
